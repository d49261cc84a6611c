"""What a rule rejects is dropped for another reason than what one drops: its sender is told (xt_REJECT, nft_reject)."""

import random

import numpy as np
import pytest

import fastnat
from fastnat import Reason, Verdict

HOW = {"ACCEPT": Reason.NONE, "DROP": Reason.RULE_DROP, "REJECT": Reason.RULE_REJECT}
NATIVE = {"ACCEPT": ["accept"], "DROP": ["drop"], "REJECT": ["reject", "reject with tcp reset"]}


def router():
    """Return a node that forwards between two networks of each family."""
    node = fastnat.Node()
    node.add_interface("eth0", ["198.51.100.10/24", "2001:db8:1::10/64"])
    node.add_interface("cni0", ["10.244.1.1/16", "fd00:10:244::1/64"])
    node.sysctls.update({"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"})
    return node


@pytest.mark.parametrize("seed", range(24))
def test_reasons_are_those_of_the_rules(seed):
    """Each port has a rule of its own; the second time memos answer."""
    draw = random.Random(seed)
    ports = {draw.randrange(1, 65536): draw.choice(list(HOW)) for _ in range(12)}
    version, form = draw.choice((4, 6)), draw.choice(("iptables", "nftables"))
    node = router()
    if form == "iptables":
        more = ["", " --reject-with tcp-reset"]
        rules = [
            f"-A FORWARD -p tcp --dport {port} -j {how}{draw.choice(more) if how == 'REJECT' else ''}"
            for port, how in ports.items()
        ]
        text = "*filter\n" + "\n".join(rules) + "\nCOMMIT\n"
        (node.load_rules if version == 4 else node.load_rules6)(text)
    else:
        rules = [f"tcp dport {port} {draw.choice(NATIVE[how])}" for port, how in ports.items()]
        node.load_nft("table inet t { chain c { type filter hook forward priority 0; " + "; ".join(rules) + "; } }")
    nat = fastnat.Engine(node)
    wanted = draw.choices(list(ports), k=200)
    src, dst = ("10.244.1.7", "198.51.100.9") if version == 4 else ("fd00:10:244::7", "2001:db8:1::9")
    for sport in (1024, 30_000):
        batch = nat.packets(proto="tcp", src=src, dst=dst, sport=sport + np.arange(200), dport=wanted, tcp_flags=2,
                            iface="cni0")  # fmt: skip
        out = nat.process(batch)
        assert out["reason"].tolist() == [HOW[ports[p]] for p in wanted]
        assert ((out["verdict"] == Verdict.DROP) == [ports[p] != "ACCEPT" for p in wanted]).all()


def test_a_trace_says_who_is_told():
    """The words name REJECT."""
    node = router()
    node.load_rules("*filter\n-A FORWARD -p udp --dport 53 -j REJECT\nCOMMIT\n")
    nat = fastnat.Engine(node)
    traced = nat.trace(nat.packets(proto="udp", src="10.244.1.7", dst="198.51.100.9", sport=1, dport=53, iface="cni0"))
    assert (traced.verdict, traced.reason) == ("drop", "rule_reject")
