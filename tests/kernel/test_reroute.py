"""Own packets that rules change are routed anew, or are not: chains of nftables by type and priority, and iptables."""

import itertools

import pytest

import fastnat
from fastnat.capture.pcap import Batch
from fastnat.capture.replay import Replay
from kernel import gateway
from kernel.cases import IP, UDP, IPv6
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel
ENDS = {4: ("198.51.100.10", "203.0.113.9"), 6: ("2001:db8:1::10", "2001:db8:f::9")}
NODE = {
    "devices": {"wan0": 1500, "wan1": 1500, "wan2": 1500},
    "ip": [
        "addr add 198.51.100.10/24 dev wan0", "route add default dev wan0", "route add default dev wan1 table 100",
        "route add default dev wan2 table 200", "rule add fwmark 1 lookup 100", "rule add tos 0x10 lookup 200",
        "-6 addr add 2001:db8:1::10/64 dev wan0 nodad", "-6 route add default dev wan0",
        "-6 route add default dev wan1 table 100", "-6 route add default dev wan2 table 200",
        "-6 rule add fwmark 1 lookup 100", "-6 rule add tos 0x10 lookup 200",
    ],
    "sysctls": {}, "sets": "", "rules4": None, "rules6": None,
}  # fmt: skip
CHANGES = {"mark": "meta mark set 1", "dscp": "{ip} dscp set 4", "none": "counter"}
PRIORITIES = (-350, -300, -150, -120, 0, 50)
CHAIN = "chain {name} {{ type {kind} hook output priority {priority}; {change}; }}"


def table(*chains):
    """Return a table of chains, each a name, type, priority and what it changes; {ip} stands for the family."""
    inside = "; ".join(CHAIN.format(name=n, kind=k, priority=p, change=c) for n, k, p, c in chains)
    return f"table {{ip}} t {{ {inside}; }}"


NFT = [
    table(("c", kind, priority, change))
    for kind, priority, change in itertools.product(("filter", "route"), PRIORITIES, CHANGES.values())
]
# one chain changes the packet, a later or earlier one of the other type does, too
NFT += [
    table(("a", one, p, CHANGES["mark"]), ("b", other, q, CHANGES["dscp"]))
    for (one, other), (p, q) in itertools.product(
        (("filter", "route"), ("route", "filter")), ((-150, -149), (-300, 0), (0, -150))
    )
]
IPTABLES = [
    f"*{name}\n-A OUTPUT {target}\nCOMMIT\n"
    for name, target in (
        ("mangle", "-j MARK --set-mark 1"), ("mangle", "-j TOS --set-tos 0x10"), ("raw", "-j MARK --set-mark 1"),
    )
]  # fmt: skip
# whether an address is anycast: the first one of a network on the link is, of one behind a gateway is not
ANYCAST = "table ip6 t { chain c { type filter hook prerouting priority 0; fib daddr type anycast drop; }; }"
ASKED = ("2001:db8:5::", "2001:db8:5::1", "2001:db8:6::", "2001:db8:1::", "2001:db8:7::", "2001:db8:8::")


def datagram(version, src="", dst=""):
    """Return a UDP datagram, by default of the node itself."""
    src, dst = src or ENDS[version][0], dst or ENDS[version][1]
    return bytes((IP if version == 4 else IPv6)(src=src, dst=dst) / UDP(sport=4000, dport=53) / b"abc")


def left_by(node, native, folder, data, iface="local"):
    """Return the devices by which a packet leaves: the kernel's, and ours."""
    kernel = gateway.Gateway(node)
    try:
        files = kernel.files()
        if native:
            gateway.sh("nft", "-f", "-", text=native)
            files["rules.nft"] = native
        theirs = [name for name, _ in kernel.go(iface, data, 1)]
    finally:
        kernel.close()
    for name, text in files.items():
        (folder / name).write_text(text)
    run = Replay(fastnat.Engine(fastnat.Node.load(folder)))
    answers = run.run([Batch([1.0], [iface], [data])])
    return theirs, [out for answer in answers for _, out, _ in answer.emitted() if out != "local"]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("form", NFT)
def test_chains_of_nftables(form, version, tmp_path):
    native = form.replace("{ip}", {4: "ip", 6: "ip6"}[version])
    theirs, mine = left_by(NODE, native, tmp_path, datagram(version))
    assert theirs == mine


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("rules", IPTABLES)
def test_tables_of_iptables(rules, version, tmp_path):
    theirs, mine = left_by({**NODE, f"rules{version}": rules}, "", tmp_path, datagram(version))
    assert theirs == mine


@pytest.mark.parametrize("dst", ASKED)
def test_anycast_is_asked_of_the_route(dst, tmp_path):
    routes = ["2001:db8:5::/64 dev wan1", "2001:db8:6::/64 via 2001:db8:1::1", "2001:db8:7::/127 dev wan1"]
    node = {**NODE, "ip": [*NODE["ip"], *(f"-6 route add {r}" for r in routes)]}
    theirs, mine = left_by(node, ANYCAST, tmp_path, datagram(6, "2001:db8:1::77", dst), "wan0")
    assert theirs == mine
