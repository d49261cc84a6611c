"""What Linux does, packet by packet: the worked examples of the behaviour page, by their numbers.

router.py says how the lines read. Where the two profiles differ a vector stands in PROFILES, with both.
"""

import pytest
from behaviour.router import M, Router, build
from scapy.layers.inet import ICMP, IP, UDP

from fastnat import Engine, RuleError, Status, Verdict
from fastnat.addresses import V4
from fastnat.dtypes import Event

P54, P618 = "linux-5.4", "linux-6.18"
BOTH = (P54, P618)
TO_PORTS = "-A POSTROUTING -p udp -j MASQUERADE --to-ports 6000-6001"
ONE_PORT = "-A POSTROUTING -p tcp -j MASQUERADE --to-ports 6000"
RANGE = "-A POSTROUTING -j SNAT --to-source 10.77.0.3-10.77.0.250"
TO_B = "-A PREROUTING -d 10.1.0.1/32 -p udp -j DNAT --to-destination 10.2.0.2"
OFFSET = "-A PREROUTING -p udp -m udp --dport 3000:5000 -j DNAT --to-destination 10.2.0.2:5000-5010/4000"
HANDSHAKE = """tcp A:4000>B:80 S seq=1000 -> N:4000>B:80
tcp B:80>N:4000 SA seq=5000 ack=1001 -> B:80>A:4000
tcp A:4000>B:80 A seq=1001 ack=5001 -> N:4000>B:80
"""
CLOSED = (
    HANDSHAKE
    + """tcp A:4000>B:80 FA seq=1001 ack=5001 -> N:4000>B:80
tcp B:80>N:4000 A seq=5001 ack=1002 -> B:80>A:4000
tcp B:80>N:4000 FA seq=5001 ack=1002 -> B:80>A:4000
tcp A:4000>B:80 A seq=1002 ack=5002 -> N:4000>B:80
"""
)
SMALL_WINDOWS = (
    HANDSHAKE.replace("seq=1000", "seq=1000 win=1000")
    .replace("ack=1001", "ack=1001 win=1000")
    .replace("ack=5001", "ack=5001 win=1000")
)

# number: rules, lines; what must hold under both profiles
VECTORS = {
    "2 an empty nat table does not track": ("", "udp A:5000>B:53 -> A:5000>B:53"),
    "3 MARK needs no connection": ("-A PREROUTING -j MARK --set-mark 1", "udp A:5000>B:53 -> A:5000>B:53"),
    "4-8 a free port is kept, a taken one is not, the source keeps what it drew": (
        M, """udp A:5000>B:53 -> N:5000>B:53
        udp A3:5000>B:53 -> N:!5000>B:53
        udp A:5000>B3:53 -> N:5000>B3:53
        udp B:53>N:5000 -> B:53>A:5000""",
    ),
    "9 ports below 512": (M, "udp A:400>B:53 -> N:400>B:53\nudp A3:400>B:53 -> N:1-511>B:53"),
    "10 ports of 512 to 1023": (M, "udp A:512>B:53 -> N:512>B:53\nudp A3:512>B:53 -> N:600-1023>B:53"),
    "11 the last of them": (M, "udp A:1023>B:53 -> N:1023>B:53\nudp A3:1023>B:53 -> N:600-1023>B:53"),
    "12 all others": (M, "udp A:1024>B:53 -> N:1024>B:53\nudp A3:1024>B:53 -> N:1024-65535>B:53"),
    "13-16 a range of two ports": (
        TO_PORTS, """udp A:6000>B:53 -> N:6000>B:53
        udp A:5000>B:53 -> N:6001>B:53
        udp A:5001>B:53 -> drop
        udp A:5001>B3:53 -> N:6000-6001>B3:53""",
    ),
    "17 a range of one port": (ONE_PORT, "tcp A:5000>B:80 S -> N:6000>B:80\ntcp A:5001>B:80 S -> drop"),
    "18 min == max is not probed": (ONE_PORT, "tcp A:5000>B:80 S -> N:6000>B:80\ntcp A:6000>B:80 S -> drop"),
    "21 --random stays in the class": ("-A POSTROUTING -j MASQUERADE --random", "udp A:100>B:53 -> N:1-511>B:53"),
    "23-24 the address is a hash of both ends": (
        RANGE, "udp A:2001>B:53 -> 10.77.0.103:2001>B:53\nudp A:2002>B3:53 -> 10.77.0.194:2002>B3:53",
    ),
    "25 --persistent: of the source alone": (
        RANGE + " --persistent", """udp A:2001>B:53 -> 10.77.0.35:2001>B:53
        udp A:2001>B3:53 -> 10.77.0.35:2001>B3:53
        udp A3:2001>B:53 -> 10.77.0.204:2001>B:53""",
    ),
    "26 DNAT to a range of addresses": (
        "-A PREROUTING -d 10.1.0.99/32 -j DNAT --to-destination 10.2.0.2-10.2.0.9",
        "udp A:7>10.1.0.99:53 -> A:7>10.2.0.3:53\nudp A3:7>10.1.0.99:53 -> A3:7>10.2.0.2:53",
    ),
    "29 a port inside the range is kept": (TO_B + ":5000-5010", "udp A:1113>C:5007 -> A:1113>B:5007"),
    "30 the source manip repairs what DNAT made equal": (
        TO_B + ":5007\n-A POSTROUTING -o r1 -j SNAT --to-source 10.2.0.1",
        "udp A:1111>C:53 -> N:1111>B:5007\nudp A:1111>C:54 -> N:!1111>B:5007",
    ),
    "31 offset": (
        OFFSET, """udp A:1>C:4000 -> A:1>B:5000
        udp A:2>C:4003 -> A:2>B:5003
        udp A:3>C:4010 -> A:3>B:5010""",
    ),
    "32 offset outside the range wraps at 16 bits": (
        OFFSET, "udp A:1>C:3998 -> A:1>B:5007\nudp A:2>C:4012 -> A:2>B:5001",
    ),
    "33 DNAT and back": (TO_B, "udp A:1111>C:53 -> A:1111>B:53\nudp B:53>A:1111 -> C:53>A:1111"),
    "34-35 a null binding changes the source port": (
        TO_B + ":53", """udp A:5000>C:1000 -> A:5000>B:53
        udp A:5000>C:1001 -> A:!5000>B:53
        udp A:5000>B:53 -> A:!5000>B:53""",
    ),
    "36-37 the router's own packets are bound, too": (
        "-A POSTROUTING -s 10.1.0.0/24 -j MASQUERADE", """udp A:5000>B:53 -> N:5000>B:53
        local udp N:5000>B:53 -> N:!5000>B:53
        local udp N:5001>B:53 -> N:5001>B:53""",
    ),
    "39 REDIRECT": (
        "-A PREROUTING -p udp -m udp --dport 53 -j REDIRECT --to-ports 5353",
        "udp A:2222>9.9.9.9:53 -> local A:2222>C:5353\nlocal udp C:5353>A:2222 -> 9.9.9.9:53>A:2222",
    ),
    "40 NETMAP of destinations": (
        "-A PREROUTING -d 192.168.7.0/24 -j NETMAP --to 10.2.0.0/24", "udp A:1>192.168.7.5:2 -> A:1>10.2.0.5:2",
    ),
    "41 NETMAP of sources": (
        "-A POSTROUTING -s 10.1.0.0/24 -j NETMAP --to 10.77.0.0/24", "udp A:1>B:2 -> 10.77.0.2:1>B:2",
    ),
    "42 a source in the range stays": (
        "-A POSTROUTING -j SNAT --to-source 10.1.0.0-10.1.0.255", "udp A:5000>B:53 -> A:5000>B:53",
    ),
    "57 RETURN in a built-in chain is the policy": (
        "-A POSTROUTING -p udp -j RETURN\n-A POSTROUTING -j SNAT --to-source 10.2.0.77", "udp A:1>B:2 -> A:1>B:2",
    ),
    "58 goto does not come back": (
        ":G - [0:0]\n-A POSTROUTING -g G\n-A POSTROUTING -j SNAT --to-source 10.2.0.77\n-A G -p tcp -j ACCEPT",
        "udp A:1>B:2 -> A:1>B:2",
    ),
    "59 a jump does": (
        ":G - [0:0]\n-A POSTROUTING -j G\n-A POSTROUTING -j SNAT --to-source 10.2.0.77\n-A G -p tcp -j ACCEPT",
        "udp A:1>B:2 -> 10.2.0.77:1>B:2",
    ),
    "60 a goto out of a jump ends where the jump was": (
        ":G - [0:0]\n:H - [0:0]\n-A POSTROUTING -j G\n-A POSTROUTING -j SNAT --to-source 10.2.0.77\n-A G -g H\n"
        "-A H -p tcp -j ACCEPT", "udp A:1>B:2 -> 10.2.0.77:1>B:2",
    ),
    "61 a mark holds for the packet": (
        ":KM - [0:0]\n:KP - [0:0]\n-A PREROUTING -p udp -m udp --dport 53 -j KM\n-A KM -j MARK --or-mark 0x4000\n"
        "-A POSTROUTING -j KP\n-A POSTROUTING -m mark --mark 0x4000/0x4000 -j SNAT --to-source 9.9.9.9\n"
        "-A KP -m mark ! --mark 0x4000/0x4000 -j RETURN\n-A KP -j MARK --xor-mark 0x4000\n-A KP -j MASQUERADE",
        "udp A:1>B:53 -> N:1>B:53\nudp A:1>B:54 -> A:1>B:54",
    ),
    "62 all own addresses are LOCAL": (
        "-A PREROUTING -m addrtype --dst-type LOCAL -p udp -j DNAT --to-destination 10.2.0.2:5555",
        "udp A:1>N:53 -> A:1>B:5555",
    ),
    "63 nth of three": (
        "-A PREROUTING -m statistic --mode nth --every 3 --packet 0 -j DNAT --to-destination 10.2.0.2\n"
        "-A PREROUTING -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 10.2.0.3\n"
        "-A PREROUTING -j DNAT --to-destination 10.2.0.4",
        "\n".join(f"udp A:{n + 1}>10.96.0.1:53 -> A:{n + 1}>10.2.0.{2 + n % 3}:53" for n in range(9)),
    ),
    "64 nth, third packet": (
        "-A PREROUTING -m statistic --mode nth --every 3 --packet 2 -j DNAT --to-destination 10.2.0.2\n"
        "-A PREROUTING -j DNAT --to-destination 10.2.0.3",
        "\n".join(f"udp A:{n + 1}>10.96.0.1:53 -> A:{n + 1}>10.2.0.{2 if n % 3 == 2 else 3}:53" for n in range(7)),
    ),
    "67 recent: affinity": (
        "-A PREROUTING -d 10.96.0.1/32 -m recent --name S --rcheck --seconds 100 --reap --rsource -j DNAT "
        "--to-destination 10.2.0.3\n-A PREROUTING -d 10.96.0.1/32 -m recent --name S --set --rsource -j DNAT "
        "--to-destination 10.2.0.2", """tcp A:1>10.96.0.1:80 S -> A:1>10.2.0.2:80
        tcp A:2>10.96.0.1:80 S -> A:2>10.2.0.3:80
        tcp A:3>10.96.0.1:80 S -> A:3>10.2.0.3:80""",
    ),
    "73 a RST answers a SYN: the connection is gone": (
        M, """tcp A:4000>B:80 S seq=1000 -> N:4000>B:80
        tcp B:80>N:4000 RA seq=0 ack=1001 -> B:80>A:4000
        tcp B:80>N:4000 RA seq=0 ack=1001 -> local B:80>N:4000""",
    ),
    "76 what cannot open a connection passes untranslated": (
        M, """tcp A:4000>B:80 FA -> A:4000>B:80
        tcp A:4000>B:80 R -> A:4000>B:80
        tcp A:4000>B:80 SA -> A:4000>B:80""",
    ),
    "77 and 79-80 outside the window, impossible flags, a wrong checksum": (
        M, SMALL_WINDOWS + """tcp A:4000>B:80 A seq=101001 ack=5001 -> A:4000>B:80
        tcp A:4000>B:80 A seq=1001 ack=55001 -> A:4000>B:80
        tcp A:4000>B:80 SA seq=1001 ack=5001 -> A:4000>B:80
        tcp A:4000>B:80 F seq=1001 -> A:4000>B:80
        tcp A:4000>B:80 FPU seq=1001 -> A:4000>B:80
        tcp A:4000>B:80 none seq=1001 -> A:4000>B:80
        tcp A:4000>B:80 A seq=1001 ack=5001 chk=0x1234 -> A:4000>B:80""",
    ),
    "83 a RST behind what was acknowledged goes to the router itself": (
        M, HANDSHAKE + "tcp B:80>N:4000 R seq=4000 -> local B:80>N:4000",
    ),
    "97 echo requests": (
        M, """icmp 8 A>B 77 -> N>B 77
        icmp 8 A3>B 77 -> N>B
        icmp 0 B>N 77 -> B>A 77""",
    ),
    "98-99 what is no query": (
        M, """icmp 0 A>B 5 -> A>B 5
        icmp 10 A>B -> A>B
        icmp 40 A>B -> A>B
        icmp 19 A>B -> A>B""",
    ),
    "100 timestamp requests": (M, "icmp 13 A>B 9 -> N>B 9\nicmp 14 B>N 9 -> B>A 9"),
    "112 a UDP checksum of zero stays": (M, "udp A:1>B:2 chk=0 -> N:1>B:2"),
    "114 a wrong UDP checksum": (M, "udp A:1>B:2 chk=0x1234 -> A:1>B:2"),
    "118 ESP has no port to change": (M, "esp A>B -> N>B\nesp A3>B -> drop"),
    "122 SNAT in INPUT": (
        "-A INPUT -p icmp -j SNAT --to-source 10.1.0.200", "icmp 8 A>C 5 -> local 10.1.0.200>C 5\n"
        "local icmp 0 C>10.1.0.200 5 -> C>A 5",
    ),
    "123 hairpin": (
        "-A PREROUTING -d 10.96.0.1/32 -p udp -j DNAT --to-destination 10.1.0.2:5353\n"
        "-A POSTROUTING -s 10.1.0.2/32 -d 10.1.0.2/32 -j MASQUERADE",
        "udp A:5000>10.96.0.1:53 -> C:5000>A:5353\nudp A:5353>C:5000 -> 10.96.0.1:53>A:5000",
    ),
    "131 what FORWARD drops leaves nothing": (
        "*filter\n-A FORWARD -p udp -m udp --dport 66 -j DROP\nCOMMIT\n*nat\n" + M + "\nCOMMIT\n",
        "udp A:5000>B:66 -> drop",
    ),
    "133 a range of ids": (
        "-A POSTROUTING -p icmp -j MASQUERADE --to-ports 100-101",
        "icmp 8 A>B 5 -> N>B\nicmp 8 A>B 6 -> N>B\nicmp 8 A>B 7 -> drop",
    ),
    "139 two services, one backend": (
        "-A PREROUTING -d 10.96.0.0/16 -p udp -j DNAT --to-destination 10.2.0.2:53\n" + M,
        "udp A:5000>10.96.0.1:53 -> N:5000>B:53\nudp A:5000>10.96.0.2:53 -> N:!5000>B:53",
    ),
    "142 --ctstate DNAT holds at once": (
        "-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 10.2.0.2\n"
        "-A POSTROUTING -m conntrack --ctstate DNAT -j MASQUERADE",
        "udp A:1>10.96.0.1:53 -> N:1>B:53\nudp A:2>B:53 -> A:2>B:53",
    ),
    "143 there is no out device in PREROUTING": (
        ":X - [0:0]\n-A PREROUTING -j X\n-A X -o r1 -j DNAT --to-destination 10.2.0.9\n" + M, "udp A:1>B:2 -> N:1>B:2",
    ),
    "56 NOTRACK": (
        "*raw\n-A PREROUTING -p udp -m udp --dport 77 -j CT --notrack\nCOMMIT\n*nat\n" + M + "\nCOMMIT\n",
        "udp A:1>B:77 -> A:1>B:77\nudp A:1>B:78 -> N:1>B:78",
    ),
    "125 --zone-orig": (
        "*raw\n-A PREROUTING -i r0 -j CT --zone-orig 9\nCOMMIT\n*nat\n" + M + "\nCOMMIT\n",
        "udp A:1>B:2 -> N:1>B:2\nudp B:2>N:1 -> B:2>A:1",
    ),
}  # fmt: skip


# the numbers of those whose addresses follow from a hash of IPv4, or whose packets IPv6 has not
OF_IPV4 = ("23-24", "25 ", "26 ", "98-99", "100 ", "133 ")


def of_both_families(names):
    """Return (name, family): a vector holds for IPv6 as well, but for those of IPv4 alone."""
    return [(name, family) for name in names for family in (4, 6) if family == 4 or not name.startswith(OF_IPV4)]


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize(("name", "family"), of_both_families(VECTORS))
def test_vector(name, family, profile):
    rules, script = VECTORS[name]
    router = Router(rules, profile, family=family)
    router.check(script)
    router.nat.stacks[family].core.check_invariants()


# number: rules, lines under linux-5.4, lines under linux-6.18, sysctls
PROFILES = {
    "20 a SYN with a newer sequence takes over a closed connection's port": (
        ONE_PORT, """tcp A:5000>B:80 S seq=1000 -> N:6000>B:80
        tcp B:80>N:6000 SA seq=5000 ack=1001 -> B:80>A:5000
        tcp A:5000>B:80 A seq=1001 ack=5001 -> N:6000>B:80
        tcp A:5000>B:80 RA seq=1001 ack=5001 -> N:6000>B:80
        tcp A:5001>B:80 S seq=500 -> drop
        tcp A:5001>B:80 S seq=5000 -> """, "drop", "N:6000>B:80",
    ),
    "27 where DNAT to a range of ports begins": (
        TO_B + ":5000-5010", "udp A:1111>C:53 -> ", "A:1111>B:5000-5010", "A:1111>B:5000",
    ),
    "78 an old segment": (
        M, SMALL_WINDOWS + "tcp A:4000>B:80 A seq=4294898297 ack=5001 -> ", "A:4000>B:80", "N:4000>B:80",
    ),
    "a RST into a connection that closes, outside the window": (
        M, HANDSHAKE + """tcp A:4000>B:80 FA seq=1001 ack=5001 -> N:4000>B:80
        tcp B:80>N:4000 R seq=4000 -> """, "local B:80>N:4000", "B:80>A:4000",
    ),
    "82 a little beyond the window": (
        M, SMALL_WINDOWS + "tcp A:4000>B:80 PA seq=2051 ack=5001 len=50 -> ", "A:4000>B:80", "N:4000>B:80",
    ),
}  # fmt: skip


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize(("name", "family"), of_both_families(PROFILES))
def test_vector_of_a_profile(name, family, profile):
    rules, script, old, new = PROFILES[name]
    Router(rules, profile, family=family).check(script + (old if profile == P54 else new))


def test_1_without_rules_nothing_is_tracked():
    router = Router("*filter\nCOMMIT\n")
    router.check("udp A:5000>B:53 -> A:5000>B:53")
    assert router.table() == []


def test_4_status_and_line_of_a_masqueraded_flow():
    router = Router(M)
    router.check("udp A:5000>B:53 -> N:5000>B:53")
    (connection,) = router.nat.conntrack
    assert connection.status == 0x198
    assert router.table() == ["udp 30 src=A dst=B sport=5000 dport=53 [UNREPLIED] src=B dst=N sport=53 dport=5000"]


def test_5_and_7_found_counts_and_the_drawn_port_is_used_again():
    router = Router(M)
    router.check("udp A:5000>B:53 -> N:5000>B:53")
    drawn = router.check("udp A3:5000>B:53 -> N:!5000>B:53").sport
    assert router.counted["found"] == 1
    router.check(f"udp A3:5000>10.2.0.9:53 -> N:{drawn}>10.2.0.9:53")


def test_15_counters_of_an_exhausted_range():
    router = Router(TO_PORTS)
    router.check("udp A:6000>B:53 -> N:6000>B:53\nudp A:5000>B:53 -> N:6001>B:53\nudp A:5001>B:53 -> drop")
    counted = {k: router.counted.get(k, 0) for k in ("found", "drop", "insert_failed", "invalid")}
    assert counted == {"found": 2, "drop": 1, "insert_failed": 1, "invalid": 0}


def test_22_four_ports_for_six_flows():
    router = Router("-A POSTROUTING -p udp -j SNAT --to-source 10.2.0.50:7000-7003 --random-fully")
    ports = [out.sport for n in range(6) if (out := router.send(f"udp A:{n + 1}>B:53")[1])]
    assert sorted(ports) == [7000, 7001, 7002, 7003]
    assert router.nat.stats["drop"] == 2


def test_42_and_43_a_manip_that_changes_nothing_sets_no_bit():
    for source in ("10.1.0.0-10.1.0.255", "10.1.0.2"):
        router = Router(f"-A POSTROUTING -j SNAT --to-source {source}")
        router.check("udp A:5000>B:53 -> A:5000>B:53")
        (connection,) = router.nat.conntrack
        assert connection.status & (Status.SRC_NAT | Status.SRC_NAT_DONE) == Status.SRC_NAT_DONE


SEVERAL = [
    ("10.2.0.100/24", "global"), ("10.3.0.1/24", "global"), ("10.7.0.1/16", "global"), ("10.4.0.1/24", "link"),
    ("10.6.0.1/24", "site"), ("10.5.0.1/32", "host"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("dst", "via", "source"),
    [
        ("10.3.0.2", None, "10.3.0.1"), ("10.4.0.2", None, "10.2.0.1"), ("10.6.0.2", None, "10.2.0.1"),
        ("9.9.9.9", "10.3.0.2", "10.3.0.1"), ("9.9.9.9", "10.7.0.2", "10.7.0.1"), ("9.9.9.9", "10.2.0.2", "10.2.0.1"),
        ("10.99.0.1", None, "10.2.0.1"),
    ],
)  # fmt: skip
def test_44_which_of_several_addresses(dst, via, source):
    router = Router(M, addresses=SEVERAL)
    router.node.remove_route("default")
    router.node.add_route("10.99.0.0/16", dev="r1")
    if via:
        router.node.add_route("default", via=via, dev="r1")
    router.nat.reload()
    router.check(f"udp A:1>{dst}:2 -> {source}:1>{dst}:2")


@pytest.mark.parametrize(
    ("lo", "r0", "result"),
    [("10.99.0.1/32", True, "-> 10.99.0.1:1>B:2"), (None, True, "-> C:1>B:2"), (None, False, "-> drop")],
)
def test_45_to_47_an_out_device_without_address(lo, r0, result):
    router = Router(M)
    router.node.remove_address("r1", "10.2.0.1")
    if not r0:
        router.node.remove_address("r0", "10.1.0.1")
    if lo:
        router.node.add_address("lo", lo)
    router.nat.reload()
    router.check(f"udp A:1>B:2 {result}")
    assert set(router.counted) <= {"packets", "new", "found", "rules_walked", "port_search_probes"}


def test_48_losing_an_address_deletes_what_was_masqueraded_with_it():
    router = Router(M, addresses=[("10.3.0.1/24", "global")])
    router.check("udp A:1>B:2 -> N:1>B:2\nudp A:1>10.3.0.2:2 -> 10.3.0.1:1>10.3.0.2:2")
    router.node.remove_address("r1", "10.2.0.1")
    router.nat.reload()
    assert [c.original[1] for c in router.nat.conntrack] == [V4.to_int("10.3.0.2")]


def test_49_and_50_link_down_deletes_masqueraded_connections_only():
    for rules, left in ((M, 0), ("-A POSTROUTING -o r1 -j SNAT --to-source 10.2.0.1", 1)):
        router = Router(rules)
        router.check("udp A:1>B:2 -> N:1>B:2")
        router.nat.link_down("r1")
        assert len(router.nat.conntrack) == left


@pytest.mark.parametrize(
    ("rules", "first", "second"),
    [
        ("-A POSTROUTING -o r+ -j MASQUERADE", "drop", "C:1>B:2"),
        ("-A POSTROUTING -j SNAT --to-source 10.2.0.1", "N:1>B:2", "N:1>B:2"),
    ],
)
def test_51_and_52_a_connection_that_is_routed_elsewhere(rules, first, second):
    router = Router(rules)
    router.check("udp A:1>B:2 -> N:1>B:2")
    router.node.add_route("10.2.0.2/32", dev="r0")
    router.nat.reload()
    before = dict(router.nat.stats)
    router.check(f"udp A:1>B:2 -> {first}")
    assert router.nat.stats["drop"] == before["drop"]
    router.check(f"udp A:1>B:2 -> {second}")


@pytest.mark.parametrize(
    ("rules", "old", "new"),
    [("-A POSTROUTING -p tcp -j MASQUERADE", "N:1>B:2", "A:3>B:2"), ("", "A:1>B:2", "A:3>B:2")],
)
def test_53_and_54_rules_that_go(rules, old, new):
    router = Router(M)
    router.check("udp A:1>B:2 -> N:1>B:2")
    router.node.load_rules(f"*nat\n{rules}\nCOMMIT\n")
    router.nat.reload()
    router.check(f"udp A:1>B:2 -> {old}\nudp A:3>B:2 -> {new}")
    assert any(c.original[2] == 1 for c in router.nat.conntrack)


def test_55_a_rule_that_comes_later_does_not_touch_a_connection():
    router = Router("-A POSTROUTING -p tcp -j MASQUERADE")
    router.check("udp A:1>B:2 -> A:1>B:2")
    router.node.load_rules(f"*nat\n{M}\nCOMMIT\n")
    router.nat.reload()
    router.check("udp A:1>B:2 -> A:1>B:2\nudp A:3>B:2 -> N:3>B:2")


STATES = {  # rules or sysctls, lines, states behind the last line of each part
    "68-69 handshake": [
        ("tcp A:4000>B:80 S seq=1000 -> N:4000>B:80", "120 SYN_SENT [UNREPLIED]"),
        ("tcp B:80>N:4000 SA seq=5000 ack=1001 -> B:80>A:4000", "60 SYN_RECV"),
        ("tcp A:4000>B:80 A seq=1001 ack=5001 -> N:4000>B:80", "432000 ESTABLISHED [ASSURED]"),
    ],
    "70 data not acknowledged": [
        (HANDSHAKE + "tcp A:4000>B:80 PA seq=1001 ack=5001 len=5 -> N:4000>B:80", "300 ESTABLISHED [ASSURED]"),
        ("tcp B:80>N:4000 A seq=5001 ack=1006 -> B:80>A:4000", "432000 ESTABLISHED [ASSURED]"),
    ],
    "71-72 close and open again": [
        (HANDSHAKE + "tcp A:4000>B:80 FA seq=1001 ack=5001 -> N:4000>B:80", "120 FIN_WAIT [ASSURED]"),
        ("tcp B:80>N:4000 A seq=5001 ack=1002 -> B:80>A:4000", "60 CLOSE_WAIT [ASSURED]"),
        ("tcp B:80>N:4000 FA seq=5001 ack=1002 -> B:80>A:4000", "30 LAST_ACK [ASSURED]"),
        ("tcp A:4000>B:80 A seq=1002 ack=5002 -> N:4000>B:80", "120 TIME_WAIT [ASSURED]"),
        ("tcp A:4000>B:80 S seq=77 -> N:4000>B:80", "120 SYN_SENT [UNREPLIED]"),
    ],
    "74 picked up in the middle": [
        ("tcp A:4000>B:80 A seq=7000 ack=1 -> N:4000>B:80", "300 ESTABLISHED [UNREPLIED]"),
        ("tcp B:80>N:4000 A seq=1 ack=7000 -> B:80>A:4000", "300 ESTABLISHED"),
        ("tcp A:4000>B:80 A seq=7000 ack=1 -> N:4000>B:80", "432000 ESTABLISHED [ASSURED]"),
    ],
    "84 a RST that may be a challenge": [
        (HANDSHAKE + "tcp B:80>N:4000 R seq=5050 -> B:80>A:4000", "10 ESTABLISHED [ASSURED]"),
    ],
    "85-86 the server's RST, then a SYN": [
        (HANDSHAKE + "tcp B:80>N:4000 R seq=5001 -> B:80>A:4000", "10 CLOSE [ASSURED]"),
        ("@2 tcp A:4000>B:80 S seq=9000 -> N:4000>B:80", "8 CLOSE [ASSURED]"),
    ],
    "87 the client's own RST, then a SYN": [
        (HANDSHAKE + "tcp A:4000>B:80 R seq=1001 -> N:4000>B:80", "10 CLOSE [ASSURED]"),
        ("tcp A:4000>B:80 S seq=9000 -> N:4000>B:80", "120 SYN_SENT [UNREPLIED]"),
    ],
    "88 a SYN into an open connection, challenged": [
        (HANDSHAKE + "@1 tcp A:4000>B:80 S seq=9000 -> N:4000>B:80", "431999 ESTABLISHED [ASSURED]"),
        ("tcp B:80>N:4000 A seq=5001 ack=1001 -> B:80>A:4000", "432000 ESTABLISHED [ASSURED]"),
        ("tcp A:4000>B:80 R seq=1001 -> N:4000>B:80", "10 CLOSE [ASSURED]"),
        ("tcp A:4000>B:80 S seq=9500 -> N:4000>B:80", "120 SYN_SENT [UNREPLIED]"),
    ],
    "89 both open at once": [
        ("tcp A:4000>B:80 S seq=1000 -> N:4000>B:80", "120 SYN_SENT [UNREPLIED]"),
        ("tcp B:80>N:4000 S seq=5000 -> B:80>A:4000", "120 SYN_SENT2"),
        ("tcp A:4000>B:80 SA seq=1000 ack=5001 -> N:4000>B:80", "60 SYN_RECV"),
        ("@1 tcp B:80>N:4000 SA seq=5000 ack=1001 -> B:80>A:4000", "59 SYN_RECV"),
        ("tcp A:4000>B:80 A seq=1001 ack=5001 -> N:4000>B:80", "432000 ESTABLISHED [ASSURED]"),
    ],
    "90 a challenge before the handshake": [
        ("tcp A:4000>B:80 S seq=1000 -> N:4000>B:80", "120 SYN_SENT [UNREPLIED]"),
        ("@1 tcp B:80>N:4000 A seq=7 ack=4242 -> B:80>A:4000", "119 SYN_SENT"),
        ("tcp A:4000>B:80 R seq=4242 -> N:4000>B:80", "10 CLOSE"),
    ],
    "91 a window of zero, and one ACK again and again": [
        (HANDSHAKE + "tcp A:4000>B:80 A seq=1001 ack=5001 win=0 -> N:4000>B:80", "300 ESTABLISHED [ASSURED]"),
        ("tcp A:4000>B:80 A seq=1001 ack=5001 win=500 -> N:4000>B:80", "432000 ESTABLISHED [ASSURED]"),
        (4 * "tcp A:4000>B:80 A seq=1001 ack=5001 win=500 -> N:4000>B:80\n", "300 ESTABLISHED [ASSURED]"),
    ],
    "96 UDP without a reply never is a stream": [
        ("udp A:5000>B:53 -> N:5000>B:53", "30 [UNREPLIED]"),
        ("@9 udp A:5000>B:53 -> N:5000>B:53", "30 [UNREPLIED]"),
    ],
    "118 ESP": [("esp A>B -> N>B", "600 [UNREPLIED]"), ("esp B>N -> B>A", "600")],
    "119 GRE": [("gre A>B -> N>B", "30 [UNREPLIED]"), ("gre B>N -> B>A", "30"), ("gre A>B -> N>B", "180 [ASSURED]")],
}  # fmt: skip


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize(("name", "family"), of_both_families(STATES))
def test_state(name, family, profile):
    router = Router(M, profile, family=family)
    for script, state in STATES[name]:
        router.check(script)
        assert router.states() == [state], script.splitlines()[-1]


PROFILE_STATES = {
    "93 a SYN again": (
        "tcp A:4000>B:80 S seq=1000 -> N:4000>B:80\n@3.1 tcp A:4000>B:80 S seq=1000 -> ",
        "N:4000>B:80", "120 SYN_SENT [UNREPLIED]", "N:4000>B:80", "116 SYN_SENT [UNREPLIED]",
    ),
    "94 UDP within two seconds": (
        "udp A:1>B:2 -> N:1>B:2\n@0.5 udp B:2>N:1 -> B:2>A:1\n@1 udp A:1>B:2 -> N:1>B:2\n@1.5 udp B:2>N:1 -> ",
        "B:2>A:1", "30 [ASSURED]", "B:2>A:1", "30",
    ),
    "95 UDP after two seconds": (
        "udp A:1>B:2 -> N:1>B:2\n@0.5 udp B:2>N:1 -> B:2>A:1\n@2.1 udp A:1>B:2 -> ",
        "N:1>B:2", "120 [ASSURED]", "N:1>B:2", "120 [ASSURED]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize(("name", "family"), of_both_families(PROFILE_STATES))
def test_state_of_a_profile(name, family, profile):
    script, *expected = PROFILE_STATES[name]
    packet, state = expected[:2] if profile == P54 else expected[2:]
    router = Router(M, profile, family=family)
    router.check(script + packet)
    assert router.states() == [state]


def test_75_without_loose_an_ack_opens_nothing():
    router = Router(M, sysctls={"nf_conntrack_tcp_loose": 0})
    router.check("tcp A:4000>B:80 A seq=7000 ack=1 -> A:4000>B:80")
    assert router.counted["invalid"] == 1


def test_81_be_liberal():
    router = Router(M, sysctls={"nf_conntrack_tcp_be_liberal": 1})
    router.check(SMALL_WINDOWS + "tcp A:4000>B:80 A seq=101001 ack=5001 -> N:4000>B:80")
    assert "invalid" not in router.counted


@pytest.mark.parametrize(("ignore", "expected"), [(0, "local B:80>N:4000"), (1, "B:80>A:4000")])
def test_ignore_invalid_rst(ignore, expected):
    router = Router(M, sysctls={"nf_conntrack_tcp_ignore_invalid_rst": ignore})
    router.check(HANDSHAKE + f"tcp B:80>N:4000 R seq=4990 -> {expected}")


@pytest.mark.parametrize(("profile", "invalid"), [(P54, 1), (P618, 0)])
def test_72_opening_again_counts(profile, invalid):
    router = Router(M, profile)
    router.check(CLOSED + "tcp A:4000>B:80 S seq=77 -> N:4000>B:80")
    assert router.counted.get("invalid", 0) == invalid


@pytest.mark.parametrize(("profile", "ignored"), [(P54, 1), (P618, 0)])
def test_56_untracked_packets_are_ignored(profile, ignored):
    router = Router("*raw\n-A PREROUTING -j NOTRACK\nCOMMIT\n*nat\n" + M + "\nCOMMIT\n", profile)
    router.check("udp A:1>B:77 -> A:1>B:77")
    assert router.counted.get("ignore", 0) == ignored


@pytest.mark.parametrize(("profile", "errors"), [(P54, 1), (P618, 0)])
def test_packets_too_short_for_a_tuple(profile, errors):
    router = Router(M, profile)
    packet = IP(src="10.1.0.2", dst="10.2.0.2", proto=17) / b"ab"
    before = dict(router.nat.stats)
    assert router.nat.process_packet(bytes(packet), "r0", 0.1)[1][12:16] == bytes([10, 1, 0, 2])
    counted = {k: router.nat.stats[k] - before[k] for k in ("error", "invalid")}
    assert counted == {"error": errors, "invalid": 1}


def test_92_the_server_opens_a_connection_of_its_own_after_time_wait():
    router = Router(M)
    router.check(CLOSED + "tcp B:80>N:4000 S seq=90000 -> local B:80>N:4000")
    assert router.states() == ["120 SYN_SENT [UNREPLIED]"]
    assert router.table()[0].endswith("[UNREPLIED] src=N dst=B sport=4000 dport=80")


@pytest.mark.parametrize(("profile", "also_invalid"), [(P54, 1), (P618, 0)])
def test_99_104_errors_count(profile, also_invalid):
    router = Router(M, profile)
    router.check("icmp 40 A>B -> A>B")
    assert (router.counted["error"], router.counted.get("invalid", 0)) == (1, also_invalid)


def unreachable(inner, src="B", dst="N", cut=None):
    quoted = bytes(build(inner)[2])[:cut]
    names = {"B": "10.2.0.2", "N": "10.2.0.1", "X": "10.2.0.7", "A": "10.1.0.2", "C": "10.1.0.1"}
    return bytes(IP(src=names.get(src, src), dst=names.get(dst, dst)) / ICMP(type=3, code=3) / quoted)


FLOW, QUOTED, INSIDE = "udp A:4001>B:9999 -> N:4001>B:9999", "udp N:4001>B:9999", "10.1.0.2:4001>10.2.0.2:9999"
ERRORS = {  # flow, quoted packet, from, to, cut after so many bytes; expected outer and inner, or a verdict
    "101": (FLOW, QUOTED, "B", "N", None, "B>A", INSIDE),
    "101 from a router": (
        FLOW, QUOTED, "X", "N", None, "X>A", INSIDE,
    ),
    "102 cut to 8 bytes": (
        FLOW, "udp N:4001>B:9999 len=9", "B", "N", 28, "B>A", INSIDE,
    ),
    "103 cut to 4 bytes": (FLOW, QUOTED, "B", "N", 24, "drop", ""),
    "104 of an unknown flow": (FLOW, "udp N:1>B:9999", "B", "N", None, "local", ""),
    "105 to another address": (
        FLOW, QUOTED, "B", "A", None, "B>A", "10.2.0.1:4001>10.2.0.2:9999",
    ),
    "107 inner checksum zero": (
        "udp A:4001>B:9999 chk=0 -> N:4001>B:9999", "udp N:4001>B:9999 chk=0", "B", "N", None, "B>A",
        INSIDE,
    ),
    "108 inner TCP of 8 bytes": (
        "tcp A:4001>B:9999 S -> N:4001>B:9999", "tcp N:4001>B:9999 S", "B", "N", 28, "B>A", INSIDE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_icmp_error(name):
    flow, inner, src, dst, cut, outer, quoted = ERRORS[name]
    router = Router(M)
    router.check(flow)
    verdict, data = router.nat.process_packet(unreachable(inner, src, dst, cut), "r1", 0.1)
    if outer in ("drop", "local"):
        assert verdict.name.lower() == outer
        return
    out = IP(data)
    short = {"10.2.0.2": "B", "10.2.0.7": "X", "10.1.0.2": "A"}
    assert f"{short[out.src]}>{short[out.dst]}" == outer
    there = IP(bytes(out[ICMP].payload))
    ports = bytes(there)[20:24]
    shown = [int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big")]
    assert f"{there.src}:{shown[0]}>{there.dst}:{shown[1]}" == quoted
    again = out.copy()
    del again.chksum, again[ICMP].chksum
    assert bytes(again) == bytes(out)


def test_106_a_redirect_of_a_translated_flow_is_dropped():
    router = Router(M)
    router.check("udp A:4001>B:9999 -> N:4001>B:9999")
    quoted = bytes(build("udp N:4001>B:9999")[2])
    packet = IP(src="10.2.0.2", dst="10.2.0.1") / ICMP(type=5, code=1, gw="10.2.0.9") / quoted
    before = dict(router.nat.stats)
    assert router.nat.process_packet(bytes(packet), "r1", 0.1)[0] == Verdict.DROP
    assert {k for k, v in router.nat.stats.items() if v != before[k]} == {"packets"}


def test_109_an_error_in_the_original_direction():
    router = Router(M)
    router.check("udp A:4001>B:9999 -> N:4001>B:9999\nudp B:9999>N:4001 -> B:9999>A:4001")
    verdict, data = router.nat.process_packet(unreachable("udp B:9999>A:4001", "A", "B"), "r0", 0.1)
    out = IP(data)
    inner = IP(bytes(out[ICMP].payload))
    assert (verdict, out.src, out.dst) == (Verdict.FORWARD, "10.2.0.1", "10.2.0.2")
    assert (inner.src, inner.dst, inner[UDP].dport) == ("10.2.0.2", "10.2.0.1", 4001)


def test_110_an_error_of_a_dnated_flow_comes_from_the_address_asked_for():
    router = Router("-A PREROUTING -d 10.1.0.1/32 -p udp -j DNAT --to-destination 10.2.0.2:53")
    router.check("udp A:5000>C:1000 -> A:5000>B:53")
    _, data = router.nat.process_packet(unreachable("udp A:5000>B:53", "B", "A"), "r1", 0.1)
    out = IP(data)
    inner = IP(bytes(out[ICMP].payload))
    assert (out.src, out.dst) == ("10.1.0.1", "10.1.0.2")
    assert (inner.dst, inner[UDP].dport) == ("10.1.0.1", 1000)


def test_113_a_udp_checksum_that_becomes_zero_is_written_as_ones():
    router = Router(M)
    packet = IP(src="10.1.0.2", dst="10.2.0.2") / UDP(sport=4000, dport=53)
    checksum = router.nat.process_packet(bytes(packet / bytes(4)), "r0", 0.1)[1][26:28]
    # with its own checksum as data the sum of the translated datagram is zero
    out = router.nat.process_packet(bytes(packet / (checksum + bytes(2))), "r0", 0.2)[1]
    assert out[26:28] == b"\xff\xff"


def test_140_and_141_what_is_expired_is_gone():
    """The kernel keeps it until it is collected; see docs/differences.md."""
    router = Router(M, sysctls={"nf_conntrack_udp_timeout": 1})
    router.check("udp A:5000>B:53 -> N:5000>B:53\n@1.1 udp A3:5000>B:53 -> N:5000>B:53")
    assert len(router.nat.conntrack) == 1


def test_145_rules_count_flows():
    router = Router(M)
    router.check("tcp A:4000>B:80 S seq=1 -> N:4000>B:80\ntcp A:4000>B:80 S seq=1 -> N:4000>B:80")
    assert "[1:40] -A POSTROUTING -o r1 -j MASQUERADE" in router.nat.save_rules()


def test_19_a_syn_that_is_not_newer_takes_over_nothing():
    for profile in BOTH:
        router = Router(ONE_PORT, profile)
        router.check("""tcp A:5000>B:80 S seq=1000 -> N:6000>B:80
            tcp B:80>N:6000 SA seq=5000 ack=1001 -> B:80>A:5000
            tcp A:5000>B:80 RA seq=1001 ack=5001 -> N:6000>B:80
            tcp A:5001>B:80 S seq=500 -> drop""")
        assert len(router.nat.conntrack) == 1


def test_28_two_clients_of_a_dnat_range_may_share_its_first_port():
    router = Router(TO_B + ":5000-5010")
    router.check("udp A:1111>C:53 -> A:1111>B:5000\nudp A:1112>C:53 -> A:1112>B:5000")


def test_37_an_echo_request_of_the_node_gets_its_id_where_it_begins():
    """nf_nat_alloc_null_binding: of ICMP the manip of the destination changes the id, so one probe finds the other."""
    router = Router(M)
    router.check("icmp 8 A>B 77 -> N>B 77\nlocal icmp 8 N>B 77 -> N>B")
    assert router.counted["found"] == 1
    assert [c.reply[2] for c in router.nat.conntrack][1] != 77


def test_38_the_node_sends_to_what_dnat_moves_to_another_device():
    """The source is that of the first route; the packet leaves by the second."""
    router = Router("-A OUTPUT -d 10.96.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.2.0.5:5353")
    router.node.remove_route("default")
    router.node.add_route("default", via="10.1.0.9", dev="r0")
    router.nat.reload()
    router.check("local udp C:6000>10.96.0.1:53 -> C:6000>10.2.0.5:5353")
    packet = router.nat.packets(proto="udp", src="10.1.0.1", sport=1, dst="10.96.0.1", dport=53)
    out = router.nat.process(packet, router.now)
    assert router.nat.iface_names[out["out_iface"][0]] == "r1"


@pytest.mark.parametrize(("profile", "left"), [(P54, 120), (P618, 117)])
def test_93_a_syn_sent_again(profile, left):
    router = Router(M, profile)
    router.check("@1 tcp A:4000>B:80 S seq=1 -> N:4000>B:80\n@4 tcp A:4000>B:80 S seq=1 -> N:4000>B:80")
    assert router.states() == [f"{left} SYN_SENT [UNREPLIED]"]


@pytest.mark.parametrize(("profile", "early"), [(P54, "30 [ASSURED]"), (P618, "30")])
def test_94_and_95_udp_becomes_a_stream_after_two_seconds(profile, early):
    router = Router(M, profile)
    router.check("""@1 udp A:5000>B:53 -> N:5000>B:53
        @1.1 udp B:53>N:5000 -> B:53>A:5000
        @1.2 udp A:5000>B:53 -> N:5000>B:53
        @1.3 udp B:53>N:5000 -> B:53>A:5000""")
    assert router.states() == [early]
    router.check("@3.5 udp A:5000>B:53 -> N:5000>B:53")
    assert router.states() == ["120 [ASSURED]"]


def test_115_a_udp_length_shorter_than_the_datagram_is_fine():
    router = Router(M)
    packet = IP(src="10.1.0.2", dst="10.2.0.2") / UDP(sport=1, dport=2, len=9, chksum=0) / bytes(12)
    verdict, data = router.nat.process_packet(bytes(packet), "r0", 0.1)
    assert (verdict, IP(data).src) == (Verdict.FORWARD, "10.2.0.1")


def test_124_the_zone_is_part_of_the_choice_of_an_address():
    rules = f"*raw\n-A PREROUTING -i r0 -j CT --zone {{zone}}\nCOMMIT\n*nat\n{RANGE}\nCOMMIT\n"
    found = [Router(rules.format(zone=zone)).send("udp A:2001>B:53")[1].src for zone in (0, 7, 8)]
    assert found[0] == "10.77.0.103"
    assert len(set(found)) == 3
    assert all(a.startswith("10.77.0.") for a in found)


def test_132_a_range_the_wrong_way_round_gives_any_address():
    router = Router("-A POSTROUTING -j SNAT --to-source 10.77.0.9-10.77.0.1")
    seen = {router.send(f"udp A:{n}>10.3.0.{n}:53")[1].src for n in range(1, 40)}
    assert len(seen) > 30
    assert not all(a.startswith("10.77.0.") for a in seen)


@pytest.mark.parametrize("rule", [
    "*nat\n-A PREROUTING -j MASQUERADE", "*nat\n-A PREROUTING -j SNAT --to-source 1.1.1.1",
    "*nat\n-A POSTROUTING -j DNAT --to-destination 1.1.1.1", "*filter\n-A FORWARD -j MASQUERADE",
])  # fmt: skip
def test_138_targets_where_they_cannot_stand(rule):
    with pytest.raises(RuleError, match=r"is valid only in the nat table"):
        Router(f"{rule}\nCOMMIT\n")


def test_141_an_expired_connection_is_replaced_by_a_new_one():
    router = Router(M, sysctls={"nf_conntrack_udp_timeout": 1})
    nat = Engine(router.node, events=10)
    packet = nat.packets(proto="udp", src="10.1.0.2", sport=5000, dst="10.2.0.2", dport=53, iface="r0")
    for now in (0.0, 1.5):
        nat.process(packet, now)
    assert [Event(e["kind"]).name for e in nat.events()] == ["NEW", "DESTROY", "NEW"]
    assert len(nat.conntrack) == 1
