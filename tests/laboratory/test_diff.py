"""fastnat diff: planted differences are found, and what is written otherwise but decides alike is no difference."""

import json
import os
import subprocess
import sys
from random import Random

import pytest
from click.testing import CliRunner
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

import fastnat
from fastnat.addresses import V4, V6
from fastnat.cli import group
from fastnat.diagnosis import wanted
from fastnat.diagnosis.datagrams import datagram_of, is_built
from fastnat.diagnosis.differ import compare, packet_text
from fastnat.diagnosis.wanted import Fields


def node(rules="", sysctls=None, rules6="", native=""):
    """Return a router of both families."""
    made = fastnat.Node()
    made.add_interface("eth0", ["198.51.100.10/24", "2001:db8:1::10/64"])
    made.add_interface("cni0", ["10.244.1.1/16", "fd00:10:244::1/64"])
    made.add_interface("eth1", ["192.0.2.1/24"])
    for gateway in ("198.51.100.1", "2001:db8:1::1"):
        made.add_route("default", gateway, "eth0")
    if rules:
        made.load_rules(rules)
    if rules6:
        made.load_rules6(rules6)
    if native:
        made.load_nft(native)
    made.sysctls.update({"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1", **(sysctls or {})})
    return made


def nat(*rules):
    return "*nat\n" + "\n".join(rules) + "\nCOMMIT\n"


def forward(*rules):
    return "*filter\n" + "\n".join(rules) + "\nCOMMIT\n"


def mangle(*rules):
    return "*mangle\n" + "\n".join(rules) + "\nCOMMIT\n"


def backends(share, first, second):
    """Return a service of two backends of which the first gets a share."""
    service = "-A PREROUTING -d 10.96.0.1 -p tcp --dport 443"
    return nat(
        f"{service} -m statistic --mode random --probability {share} -j DNAT --to-destination 10.244.1.{first}:6443",
        f"{service} -j DNAT --to-destination 10.244.1.{second}:6443", "-A POSTROUTING -o eth0 -j MASQUERADE",
    )  # fmt: skip


def udp(rest):
    return nat(f"-A POSTROUTING -o eth0 -p udp {rest}", "-A POSTROUTING -o eth0 -j MASQUERADE")


def limited(burst):
    dns = "-A FORWARD -p udp --dport 53"
    return forward(f"{dns} -m limit --limit 5/s --limit-burst {burst} -j ACCEPT", f"{dns} -j DROP")


def ssh(hits):
    rule = "-A FORWARD -p tcp --dport 22 -m recent --name s"
    return forward(f"{rule} --update --seconds 60 --hitcount {hits} -j DROP", f"{rule} --set")


def marked(mark):
    marks = f"*mangle\n-A PREROUTING -s 10.244.7.7 -j MARK --set-mark {mark}\nCOMMIT\n"
    return marks + udp("-m mark --mark 5 -j SNAT --to-source 198.51.100.77")


def hashed(burst):
    limit = "-m hashlimit --hashlimit-name h --hashlimit-mode srcip --hashlimit-above 10/s"
    return forward(f"-A FORWARD {limit} --hashlimit-burst {burst} -j DROP")


POOL = "-j SNAT --to-source 198.51.100.20-198.51.100.23"
ALIKE = {
    "backends in another order": (backends(0.3, 2, 3), backends(0.7, 3, 2)),
    "draws of another rule": (udp("-j MASQUERADE --random-fully"), udp("-j MASQUERADE --random-fully")
                              + "*mangle\n-A FORWARD -m statistic --mode random --probability 0.3 -j RETURN\nCOMMIT\n"),
    "two rules for one": (forward("-A FORWARD -p tcp -m multiport --dports 80,443 -j DROP"), forward(
        "-A FORWARD -p tcp --dport 80 -j DROP", "-A FORWARD -p tcp --dport 443 -j DROP")),
    "a chain for a rule": (forward(":X -", "-A FORWARD -s 10.244.3.0/24 -j X", "-A X -p udp -j DROP"),
                           forward("-A FORWARD -s 10.244.3.0/24 -p udp -j DROP")),
    "halves of a network": (forward("-A FORWARD -s 10.0.0.0/9 -j DROP", "-A FORWARD -s 10.128.0.0/9 -j DROP"),
                            forward("-A FORWARD -s 10.0.0.0/8 -j DROP")),
}  # fmt: skip
OTHERWISE = {
    "a share": (backends(0.5, 2, 3), backends(0.4, 2, 3)),
    "a backend": (backends(0.5, 2, 3), backends(0.5, 2, 4)),
    "ports": (udp("-j MASQUERADE --to-ports 1024-65535"), udp("-j MASQUERADE --to-ports 1025-65535")),
    "random ports": (udp("-j MASQUERADE"), udp("-j MASQUERADE --random-fully")),
    "a burst": (limited(5), limited(6)),
    "a number of connections": tuple(
        forward(f"-A FORWARD -p tcp --syn -m connlimit --connlimit-above {n} -j DROP") for n in (10, 11)
    ),
    "a number of hits": (ssh(4), ssh(5)),
    "the end of a range": tuple(
        forward(f"-A FORWARD -m iprange --src-range 10.244.2.1-10.244.2.{n} -j DROP") for n in (77, 78)
    ),
    "the last port": tuple(forward(f"-A INPUT -p tcp --dport 1000:{n} -j DROP") for n in (2000, 1999)),
    "own packets": (forward("-A OUTPUT -p icmp --icmp-type echo-request -j DROP"), forward(":X -")),
    "an address more": (udp(POOL), udp(POOL[:-1] + "4")),
    "persistent": (udp(POOL), udp(f"{POOL} --persistent")),
    "a mark": (marked(5), marked(4)),
    "a burst of each source": (hashed(10), hashed(12)),
    "a length": tuple(forward(f"-A FORWARD -m length --length 0:{n} -j DROP") for n in (500, 501)),
}  # fmt: skip
MSS = "-A FORWARD -o eth0 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS"
# what stands in the bytes of a packet alone, or in what its sender is told
BYTES = {
    "who is told": (forward("-A FORWARD -p udp --dport 53 -j REJECT"), forward("-A FORWARD -p udp --dport 53 -j DROP")),
    "an MSS": (mangle(f"{MSS} --set-mss 1400"), mangle(f"{MSS} --set-mss 1401")),
    "clamped": (mangle(f"{MSS} --clamp-mss-to-pmtu"), mangle(f"{MSS} --clamp-mss-to-pmtu".replace("eth0", "eth1"))),
    "a TTL": (mangle("-A POSTROUTING -s 10.244.3.0/24 -j TTL --ttl-set 9"), mangle()),
    "a TTL, one less": tuple(mangle(f"-A PREROUTING -p icmp -j TTL --ttl-dec {n}") for n in (1, 2)),
    "a DSCP": tuple(mangle(f"-A FORWARD -p udp --dport 5060 -j DSCP --set-dscp {n}") for n in (46, 40)),
}  # fmt: skip
NATIVE = "table inet t {{ chain c {{ type filter hook forward priority 0; {} }} }}"
NATIVE_BYTES = {
    "who is told": ("udp dport 53 reject", "udp dport 53 drop"),
    "an MSS": ("tcp flags syn tcp option maxseg size set 1300", "tcp flags syn tcp option maxseg size set 1200"),
    "a hop limit": ("ip6 hoplimit set 7", "ip6 hoplimit set 8"),
    "a class": ("ip6 saddr fd00::/8 ip6 dscp set cs1", ""),
    "a TTL": ("ip ttl set 7", "ip ttl set 8"),
    "an option": ("tcp flags syn reset tcp option maxseg", ""),
}
TIMEOUTS = ("udp_timeout", "tcp_timeout_time_wait", "tcp_timeout_syn_sent", "icmp_timeout", "tcp_timeout_close_wait")
FEW = 20_000


def compared(a, b, most=FEW, seed=0):
    return compare([a, b], ["linux-6.18"] * 2, 60, seed, most)


@pytest.mark.one_of(2)
@pytest.mark.parametrize("name", ALIKE)
def test_what_decides_alike_is_no_difference(name):
    found = compared(*map(node, ALIKE[name]), most=6_000)
    assert found.difference is None, [packet_text(s) for s in found.difference.sequence]
    assert found.packets >= 6_000


@pytest.mark.one_of(3)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "a number of connections" else ()) for n in OTHERWISE]
)
def test_a_planted_difference_is_found(name):
    found = compared(*map(node, OTHERWISE[name]))
    assert found.difference is not None
    assert found.difference.drawn == (name in ("a share", "a backend"))
    assert len(found.difference.sequence) <= 12


@pytest.mark.one_of(3)
@pytest.mark.parametrize("name", BYTES)
def test_what_rules_write_is_a_difference(name):
    """TTL, DSCP and MSS are no fields of a header; who is rejected is told so, who is dropped waits."""
    found = compared(*map(node, BYTES[name]))
    assert len(found.difference.sequence) == 1, found.difference
    # and the same rules do not differ in them
    assert compared(node(BYTES[name][0]), node(BYTES[name][0]), most=3_000).difference is None


@pytest.mark.one_of(3)
@pytest.mark.parametrize("name", NATIVE_BYTES)
def test_what_native_rules_write_is_a_difference(name):
    """The same of nftables, which writes into any byte."""
    a, b = (NATIVE.format(rule) for rule in NATIVE_BYTES[name])
    assert len(compared(node(native=a), node(native=b)).difference.sequence) == 1
    assert compared(node(native=a), node(native=a), most=3_000).difference is None


@pytest.mark.parametrize("seed", range(30))
def test_datagrams_are_sound(seed):
    """What is sent with all its bytes has the lengths and checksums of its protocol, in both families."""
    draw = Random(seed)
    for family, layer in ((V4, IP), (V6, IPv6)):
        bits = family.bits
        proto = draw.choice((6, 17, family.icmp))
        dport = draw.randrange(65536) if proto != family.icmp else (8 if bits == 32 else 128) << 8
        f = Fields(
            proto, draw.getrandbits(bits), draw.getrandbits(bits), draw.randrange(65536), dport, "eth0",
            draw.choice((2, 16, 18, 4, 17)) if proto == 6 else 0, 0, 60, True,
        )  # fmt: skip
        assert is_built(f, family)
        sent = datagram_of(f, family)
        parsed = layer(sent)
        assert (family.to_int(parsed.src), family.to_int(parsed.dst)) == (f.src, f.dst)
        assert parsed[1].name == {6: "TCP", 17: "UDP"}.get(proto, parsed[1].name)
        again = parsed.copy()
        for part in (again, again[1]):
            for name in ("chksum", "cksum", "len", "plen", "ihl", "dataofs"):
                if name in part.fields:
                    delattr(part, name)
        assert bytes(again) == sent


@pytest.mark.one_of(2)
@pytest.mark.parametrize("name", TIMEOUTS)
def test_a_timeout_is_a_difference(name):
    found = compared(
        node(udp("-j MASQUERADE")), node(udp("-j MASQUERADE"), {f"net.netfilter.nf_conntrack_{name}": "7"})
    )
    assert " 7 s" in found.difference.answers[1]
    assert len(found.difference.sequence) <= 4


def test_both_families_are_asked():
    rules = "*nat\n-A POSTROUTING -s fd00::/8 -o eth0 -j MASQUERADE\nCOMMIT\n"
    found = compared(node(rules6=rules), node(rules6=rules.replace("fd00::/8", "fd00::/17")))
    assert found.difference.sequence[-1].version == 6


def test_native_rules_are_asked():
    text = """table ip nat {
 map back { type ipv4_addr : ipv4_addr; elements = { 10.96.0.1 : 10.244.1.2, 10.96.0.2 : 10.244.1.3 } }
 chain pre { type nat hook prerouting priority dstnat; tcp dport 443 dnat to ip daddr map @back; }
 chain post { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
}
"""
    assert compared(node(native=text), node(native=text), most=4_000).difference is None
    assert compared(node(native=text), node(native=text.replace("10.244.1.3", "10.244.1.4"))).difference


SERVICES = """table ip kube {
 map services { type ipv4_addr . inet_proto . inet_service : verdict
  elements = { 10.96.0.1 . tcp . 443 : goto one, 10.96.0.2 . udp . 53 : goto two } }
 chain one { dnat to 10.244.1.2:6443; }
 chain two { ip saddr 10.244.9.0/24 dnat to 10.244.1.3:53; }
 chain pre { type nat hook prerouting priority dstnat; ip daddr . meta l4proto . th dport vmap @services; }
}
"""


@pytest.mark.one_of(3)
@pytest.mark.parametrize(("old", "new"), [("1.3:53", "1.4:53"), ("udp . 53", "udp . 54"), ("9.0/24", "9.0/25")])
def test_packets_go_through_maps_to_the_chains_behind_them(old, new):
    found = compared(node(native=SERVICES), node(native=SERVICES.replace(old, new)))
    assert len(found.difference.sequence) == 1


def test_the_answer_of_the_command(tmp_path):
    for name, timeout in (("a", 30), ("b", 31)):
        made = fastnat.Node.example()
        made.sysctls["net.netfilter.nf_conntrack_udp_timeout"] = str(timeout)
        made.save(tmp_path / name)
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    result = CliRunner().invoke(group, ["diff", *paths, "--json"])
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert (told["alike"], len(told["difference"]["sequence"])) == (False, 1)
    result = CliRunner().invoke(group, ["diff", *paths])
    assert "entry lives 31 s" in result.output
    assert "Rules met in" in result.output
    result = CliRunner().invoke(group, ["diff", paths[0], paths[0], "--packets", "3000"])
    assert result.exit_code == 0
    assert "No difference in" in result.output
    result = CliRunner().invoke(group, ["diff", paths[0], "--profile", "linux-6.18,linux-5.4"])
    assert result.exit_code == 1


@pytest.mark.parametrize("words", [("diff", "node"), ("diff", "node", "--profile", "linux-1,linux-2")])
def test_nothing_to_compare_is_one_error(words):
    result = CliRunner().invoke(group, list(words))
    assert isinstance(result.exception, fastnat.FastnatError)


def test_rules_that_lead_to_a_chain_count():
    """A packet for a rule far down meets what the rules above it ask for."""
    service = "-A PREROUTING -d 10.96.0.7/32 -p tcp -m tcp --dport 8443 -j SVC\n"
    text = f"{service}-A SVC -s 10.244.3.0/24 -j SEP\n-A SEP -j DNAT --to 1.1.1.1\n"
    wants = wanted.wants_of(text, {})
    assert [(w.chain, sorted(w.roles), w.protos, w.leads) for w in wants] == [
        ("PREROUTING", ["dport", "dst"], [6], ["SVC"]), ("SVC", ["src"], [], ["SEP"]), ("SEP", [], [], ["DNAT"]),
    ]  # fmt: skip


def test_rules_of_nftables_that_no_packet_reaches_are_named():
    native = (
        'table inet t { chain d { drop; }; chain f { type filter hook forward priority 0; iifname "nope0" accept; '
        'tcp dport 80 limit rate 5/second accept; udp dport 77 goto d; }; '
        'chain c { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }; }'
    )  # fmt: skip
    nodes = [node(native=native) for _ in range(2)]
    was = nodes[0].nft_text
    found = compare(nodes, ["linux-6.18"] * 2, seconds=60, most=20_000)
    assert found.difference is None
    assert found.unreached == (['nft inet t f: iifname "nope0" accept'],) * 2
    assert nodes[0].nft_text == was


@pytest.mark.slow
def test_the_answer_does_not_depend_on_the_order_of_sets(tmp_path):
    """Of several answers that chance cannot explain one is shown: the same in every process."""
    names = [str(tmp_path / name) for name in "ab"]
    for name, second in zip(names, (2, 3), strict=True):
        node(backends(0.5, 1, second)).save(name)
    command = [sys.executable, "-m", "fastnat", "diff", *names, "--seed", "1"]
    said = {
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=False).stdout
        for seed in "123456"
    }
    assert len(said) == 1
    assert b"% of the time" in said.pop()
