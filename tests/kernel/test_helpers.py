"""Helpers beside the running kernel: FTP, TFTP and PPTP conversations, packet by packet, and the table behind them."""

import struct
from dataclasses import dataclass, field

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

import fastnat
from kernel import cases, differential, recorder
from kernel.test_live import missing

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand")]

CLIENT, SERVER, NAT = "10.244.1.7", "203.0.113.20", "198.51.100.10"
MASQUERADE = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
TRACK = "*filter\n-A FORWARD -m conntrack --ctstate INVALID -j ACCEPT\nCOMMIT\n"
HELPERS = (
    "*raw\n-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp\n"
    "-A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp\n"
    "-A PREROUTING -p tcp -m tcp --dport 1723 -j CT --helper pptp\nCOMMIT\n"
)
FAMILIES = {4: IP, 6: IPv6}


@dataclass
class Both:
    """The kernel and the engine on the same node; what is sent goes to both, and must come out the same."""

    case: cases.Case
    now: float = 0.0
    n: int = 0
    kernel: recorder.Namespace = field(init=False)
    nat: fastnat.Engine = field(init=False)

    def __enter__(self):
        self.nat = fastnat.Engine(self.case.node())
        self.kernel = recorder.Namespace(self.case)
        return self

    def __exit__(self, *_):
        self.kernel.close()

    def send(self, iface, packet):
        """Return what came out of the kernel, None for nothing."""
        data = bytes(packet)
        self.now += 0.001
        verdict, mine = self.nat.process_packet(data, iface, self.now)
        mine = mine if verdict == fastnat.Verdict.FORWARD else None
        out = self.kernel.pass_packet(iface, data, wait=0.3 if mine else 0.05)
        theirs = out[1] if out else None
        again = FAMILIES[self.case.family]
        shown = [data and again(data) for data in (theirs, mine)]
        assert theirs == mine, f"packet {self.n} {packet.summary()}:\nkernel {shown[0]!r}\nengine {shown[1]!r}"
        self.n += 1
        return again(theirs) if theirs else None

    def same_table(self):
        kernel, engine = (
            set(differential.lines(table))
            for table in (
                self.kernel.table(self.case.family),
                self.nat.conntrack.format("extended").splitlines(),
            )
        )
        assert kernel == engine


def case_of(rules, family=4, interfaces=cases.INTERFACES, routes=cases.ROUTES):
    return cases.Case(rules, interfaces, routes, list, family=family)


class Control:
    """A TCP connection through both; each end answers with the numbers that it has seen."""

    def __init__(self, both, port, client=CLIENT, server=SERVER, sport=40000):
        self.both, self.ip = both, FAMILIES[both.case.family]
        self.next = {"cni0": 1000, "eth0": 500_000}
        self.seen = {"cni0": 0, "eth0": 0}
        self.ends = {"cni0": (client, server, sport, port), "eth0": None}
        out = self.segment("cni0", "S")
        self.ends["eth0"] = (out.dst, out.src, out.dport, out.sport)
        self.segment("eth0", "SA")
        self.segment("cni0", "A")

    def segment(self, iface, flags="PA", data=b"", options=(), seq=None):
        src, dst, sport, dport = self.ends[iface]
        number = self.next[iface] if seq is None else seq
        tcp = TCP(
            sport=sport,
            dport=dport,
            flags=flags,
            window=30000,
            seq=number % 2**32,
            ack=self.seen[iface] if "A" in flags else 0,
            options=list(options),
        )
        out = self.both.send(iface, self.ip(src=src, dst=dst) / tcp / data)
        if seq is None:
            self.next[iface] += len(data) + ("S" in flags) + ("F" in flags)
        other = "eth0" if iface == "cni0" else "cni0"
        if out is not None:
            got = out[TCP]
            length = len(bytes(got.payload)) + ("S" in flags) + ("F" in flags)
            self.seen[other] = max(self.seen[other], (got.seq + length) % 2**32)
        return out

    def say(self, iface, text, **options):
        return self.segment(iface, data=text.encode(), **options)

    def greet(self):
        self.say("eth0", "220 ready\r\n")
        self.segment("cni0", "A")
        self.say("cni0", "USER anonymous\r\n")
        self.say("eth0", "230 in\r\n")


def transfer(both, iface, src, dst, sport, dport):
    """Open a data connection; return its first segment as it comes out."""
    return both.send(
        iface, FAMILIES[both.case.family](src=src, dst=dst) / TCP(sport=sport, dport=dport, flags="S", seq=77)
    )


def test_active_ftp_through_masquerade():
    with Both(case_of(MASQUERADE + HELPERS)) as both:
        ftp = Control(both, 21)
        ftp.greet()
        out = ftp.say("cni0", "PORT 10,244,1,7,156,64\r\n")
        assert bytes(out[TCP].payload) == b"PORT 198,51,100,10,156,64\r\n"
        ftp.say("eth0", "200 ok\r\n")
        ftp.segment("cni0", "A")
        data = transfer(both, "eth0", SERVER, NAT, 20, 40000)
        assert (data.dst, data[TCP].dport) == (CLIENT, 40000)
        both.send("cni0", IP(src=CLIENT, dst=SERVER) / TCP(sport=40000, dport=20, flags="SA", seq=5, ack=78))
        both.send("eth0", IP(src=SERVER, dst=NAT) / TCP(sport=20, dport=40000, flags="A", seq=78, ack=6))
        # and another, shorter in the end, after it
        ftp.say("cni0", "PORT 10,244,1,7,0,99\r\n")
        ftp.say("eth0", "200 ok\r\n", options=[("SAck", (ftp.seen["eth0"] - 9, ftp.seen["eth0"] - 3))])
        ftp.say("cni0", "NOOP\r\n")
        ftp.say("eth0", "200 ok\r\n")
        assert transfer(both, "eth0", SERVER, NAT, 20, 99) is not None
        assert transfer(both, "eth0", SERVER, NAT, 20, 98) is None
        both.same_table()


@pytest.mark.parametrize("said", [
    "PORT 10,244,1,7,156,64\r\n", "port 10,244,1,7,1,2\r\n", "EPRT |1|10.244.1.7|40001|\r\n",
    "EPRT !1!10.244.1.7!7!\r\n", "PORT 10,244,1,9,156,64\r\n", "PORT 10,244,1,7\r\n", "PORT 10,244,1,7,156,64",
    "PORT x\r\n", "PORT\r\n", "PO", "EPRT |2|::1|5|\r\n", "EPRT |1|10.244.1.7|0|\r\n",
    "EPRT |1|10.244.1.7|70000|\r\n", "PORT 10,244,1,263,156,64\r\n", "PORT 10,244,1,7,156,64,3\r\n",
    "PORT  10,244,1,7,156,64\r\n", "PORTS 10,244,1,7,156,64\r\n", "QUIT\r\n", "EPRT", "EPR",
    "EPRT |1|10.244.1.7\r\n", "XPORT 1\r\n", "PORT 10,244,1,7,300,64\r\n", "PORT 10,244,1,7,4294967297,64\r\n",
    "EPRT 111\r\n", "EPRT |1|10.244.1.7|66\r\n",
])  # fmt: skip
def test_what_clients_say(said):
    with Both(case_of(MASQUERADE + HELPERS)) as both:
        ftp = Control(both, 21)
        ftp.greet()
        ftp.say("cni0", said)
        both.n = 100
        ftp.say("cni0", "NOOP\r\n")
        ftp.say("eth0", "200 ok\r\n")
        for port in (40000, 258, 40001, 7, 4464, 64 + (300 << 8) & 0xFFFF, 320):
            transfer(both, "eth0", SERVER, NAT, 20, port)
        both.same_table()


@pytest.mark.parametrize("said", [
    "227 Entering Passive Mode (203,0,113,20,156,64).\r\n", "227 =203,0,113,20,156,65\r\n",
    "229 Extended (|||40000|)\r\n", "229 (|||0|)\r\n", "229 no\r\n", "227 no\r\n", "22",
    "227 (203,0,113,21,156,64)\r\n", "229 (!!!5!)\r\n", "229 (|1||5|)\r\n", "228 Long (1,2,3)\r\n",
    "227 203,0,113,20,156,64", "229 Extended (|||40000|", "229 Extended (|||40000", "227 ",
])  # fmt: skip
@pytest.mark.parametrize("rules", [MASQUERADE, TRACK], ids=["masquerade", "without NAT"])
def test_what_servers_say(said, rules):
    with Both(case_of(rules + HELPERS)) as both:
        ftp = Control(both, 21)
        ftp.greet()
        ftp.say("cni0", "PASV\r\n")
        ftp.say("eth0", said)
        ftp.say("cni0", "NOOP\r\n")
        for port in (40000, 40001, 5):
            transfer(both, "cni0", CLIENT, SERVER, 41000, port)
            transfer(both, "cni0", "10.244.1.9", SERVER, 42000, port)
        both.same_table()


def test_passive_ftp_to_a_translated_server():
    rules = (
        "*raw\n-A PREROUTING -d 198.51.100.10/32 -p tcp -m tcp --dport 2121 -j CT --helper ftp\nCOMMIT\n"
        "*nat\n-A PREROUTING -d 198.51.100.10/32 -p tcp -m tcp --dport 2121 -j DNAT "
        "--to-destination 10.244.1.7:21\nCOMMIT\n"
    )
    with Both(case_of(rules)) as both:
        ftp = Control.__new__(Control)
        ftp.both, ftp.ip = both, IP
        ftp.next, ftp.seen = {"cni0": 1, "eth0": 2**32 - 30}, {"cni0": 0, "eth0": 0}
        ftp.ends = {"eth0": (SERVER, NAT, 5555, 2121), "cni0": (CLIENT, SERVER, 21, 5555)}
        ftp.segment("eth0", "S")
        ftp.segment("cni0", "SA")
        ftp.segment("eth0", "A")
        ftp.say("cni0", "220 hi\r\n")
        ftp.say("eth0", "USER joe\r\n")
        ftp.say("cni0", "230 in\r\n")
        ftp.say("eth0", "PASV\r\n")
        out = ftp.say("cni0", "227 Entering Passive Mode (10,244,1,7,200,10)\r\n")
        assert b"(198,51,100,10,200,10)" in bytes(out[TCP].payload)
        ftp.say("eth0", "LIST\r\n")
        # the segment before the change once more, and the changed one
        ftp.segment("cni0", data=b"230 in\r\n", seq=9)
        ftp.say("cni0", "150 coming\r\n")
        data = transfer(both, "eth0", SERVER, NAT, 5556, 200 * 256 + 10)
        assert (data.dst, data[TCP].dport) == (CLIENT, 200 * 256 + 10)
        # another client may use it too where it comes first: here it is gone
        assert transfer(both, "eth0", "203.0.113.99", NAT, 5556, 200 * 256 + 10) is None
        both.same_table()


def test_tftp():
    with Both(case_of(MASQUERADE + HELPERS)) as both:
        ask = IP(src=CLIENT, dst=SERVER) / UDP(sport=7000, dport=69)
        both.send("cni0", ask / b"\0\1boot\0octet\0")
        data = both.send("eth0", IP(src=SERVER, dst=NAT) / UDP(sport=9000, dport=7000) / b"\0\3\0\1hello")
        assert (data.dst, data[UDP].dport) == (CLIENT, 7000)
        both.send("cni0", IP(src=CLIENT, dst=SERVER) / UDP(sport=7000, dport=9000) / b"\0\4\0\1")
        # a second answer to the same request finds nothing
        both.send("eth0", IP(src=SERVER, dst=NAT) / UDP(sport=9001, dport=7000) / b"\0\3\0\1hello")
        # a request from the same port of another client: both are expected
        both.send("cni0", IP(src="10.244.1.9", dst="203.0.113.21") / UDP(sport=7000, dport=69) / b"\0\2boot\0octet\0")
        both.send("eth0", IP(src="203.0.113.21", dst=NAT) / UDP(sport=9000, dport=7000) / b"\0\4\0\0")
        both.send("cni0", ask / b"\0\5")
        both.send("cni0", ask / b"\0")
        both.same_table()


def pptp(message, body):
    sizes = {
        1: 144,
        2: 144,
        3: 4,
        4: 4,
        5: 4,
        6: 8,
        7: 156,
        8: 20,
        9: 208,
        10: 12,
        11: 16,
        12: 4,
        13: 136,
        14: 28,
        15: 12,
    }
    body = body.ljust(sizes.get(message, 4), b"\0")
    return struct.pack("!HHIHH", 12 + len(body), 1, 0x1A2B3C4D, message, 0) + body


def gre(call, data=b"ppp"):
    return struct.pack("!HHHH", 0x3001, 0x880B, len(data), call) + b"\0\0\0\1" + data


@pytest.mark.parametrize("rules", [MASQUERADE, TRACK], ids=["masquerade", "without NAT"])
def test_pptp(rules):
    nat = NAT if rules is MASQUERADE else CLIENT
    with Both(case_of(rules + HELPERS)) as both:
        out, back = IP(src=CLIENT, dst=SERVER, proto=47), IP(src=SERVER, dst=nat, proto=47)
        control = Control(both, 1723, sport=1500)
        control.segment("cni0", data=pptp(1, b"\1\0"))
        control.segment("eth0", data=pptp(2, b"\1\0\1"))
        sent = control.segment("cni0", data=pptp(7, struct.pack("!HH", 0x1111, 1)))
        call = struct.unpack("!H", bytes(sent[TCP].payload)[12:14])[0]
        control.segment("eth0", data=pptp(8, struct.pack("!HHB", 0x2222, call, 1)))
        control.segment("cni0", data=pptp(15, struct.pack("!H", 0x2222)))
        both.send("cni0", out / gre(0x2222))
        both.send("eth0", back / gre(call))
        both.send("cni0", out / gre(0x2222))
        # another tunnel's
        both.send("eth0", back / gre(0x3333))
        control.segment("cni0", data=pptp(5, b""))
        control.segment("eth0", data=pptp(6, b""))
        control.segment("eth0", data=pptp(15, struct.pack("!H", call)))
        both.same_table()
        control.segment("cni0", data=pptp(12, struct.pack("!H", 0x1111)))
        control.segment("eth0", data=pptp(13, struct.pack("!HB", 0x2222, 1)))
        both.same_table()
        both.send("cni0", out / gre(0x2222))
        both.same_table()


@pytest.mark.parametrize("rules", [MASQUERADE, TRACK], ids=["masquerade", "without NAT"])
def test_pptp_call_from_the_server(rules):
    nat = NAT if rules is MASQUERADE else CLIENT
    with Both(case_of(rules + HELPERS)) as both:
        control = Control(both, 1723, sport=1500)
        control.segment("cni0", data=pptp(1, b""))
        control.segment("eth0", data=pptp(2, b"\1\0\1"))
        control.segment("eth0", data=pptp(9, struct.pack("!HH", 0x2222, 1)))
        control.segment("cni0", data=pptp(10, struct.pack("!HHB", 0x1111, 0x2222, 1)))
        control.segment("eth0", data=pptp(11, struct.pack("!H", 0x1111)))
        both.send("eth0", IP(src=SERVER, dst=nat, proto=47) / gre(0x1111))
        both.send("cni0", IP(src=CLIENT, dst=SERVER, proto=47) / gre(0x2222))
        both.same_table()


@pytest.mark.parametrize("body", [b"", b"\1\0\1", bytes(143), bytes(144)])
@pytest.mark.parametrize("message", [0, 1, 7, 16])
def test_pptp_short_messages(body, message):
    with Both(case_of(MASQUERADE + HELPERS)) as both:
        control = Control(both, 1723, sport=1500)
        control.segment("cni0", data=struct.pack("!HHIHH", 12 + len(body), 1, 0x1A2B3C4D, message, 0) + body)
        control.segment("eth0", data=pptp(2, b"\1\0\1"))
        control.segment("cni0", data=pptp(7, struct.pack("!HH", 0x1111, 1)))
        both.same_table()


def test_rules_see_related():
    rules = (
        "*filter\n-A FORWARD -m helper --helper ftp -m conntrack --ctstate RELATED -j ACCEPT\n"
        "-A FORWARD -i eth0 -m conntrack --ctstate NEW -j DROP\nCOMMIT\n"
        "*mangle\n-A PREROUTING -p tcp -m tcp --dport 21 -j CONNMARK --set-xmark 0x7/0xffffffff\nCOMMIT\n"
    )
    with Both(case_of(MASQUERADE + HELPERS + rules)) as both:
        ftp = Control(both, 21)
        ftp.greet()
        ftp.say("cni0", "PORT 10,244,1,7,156,64\r\n")
        assert transfer(both, "eth0", "203.0.113.21", NAT, 20, 40000) is None
        assert transfer(both, "eth0", SERVER, NAT, 20, 40000) is not None
        both.same_table()


def test_ports_expected_twice():
    with Both(case_of(MASQUERADE + HELPERS)) as both:
        first, second = Control(both, 21), Control(both, 21, client="10.244.1.8", sport=40001)
        for ftp, said in ((first, "PORT 10,244,1,7,4,1\r\n"), (second, "PORT 10,244,1,8,4,2\r\n")):
            ftp.greet()
            ftp.say("cni0", said)
        first.say("cni0", "PORT 10,244,1,7,4,1\r\n")
        transfer(both, "eth0", SERVER, NAT, 20, 1025)
        transfer(both, "eth0", SERVER, NAT, 20, 1026)
        both.same_table()


ADDRESSES6 = {"cni0": ["fd00:1::1/64"], "eth0": ["2001:db8::10/64"]}


@pytest.mark.parametrize("said", [
    "EPRT |2|fd00:1::7|40000|\r\n", "EPRT |2|fd00:1:0:0:0:0:0:7|40000|\r\n", "EPRT |2|fd00:1::0.0.0.7|40000|\r\n",
    "EPRT |2|fd00:1::8|40000|\r\n", "EPRT |2|fd00:1:::7|40000|\r\n", "EPRT |2|::|5|\r\n",
    "PORT 10,244,1,7,156,64\r\n", "EPRT |2|fd00:1:0:0:0:0:0:7:|40000|\r\n", "EPRT |2|FD00:1::7|40000|\r\n",
    "EPRT |2|fd00:1::00007|40000|\r\n", "EPRT |2|fd00:1::1:2:3:4:5:6:7|1|\r\n", "EPRT |2|fd00:1::7%1|1|\r\n",
    "EPRT |2|fd00:1::7\r\n", "EPRT |2|1:2|1|\r\n", "EPRT |2|fd00:1::|1|\r\n", "EPRT |1|10.0.0.1|1|\r\n",
    "EPRT |2|fd00:1:0:0:0:0::7|40000|\r\n",
])  # fmt: skip
def test_ftp_over_ipv6(said):
    rules = MASQUERADE + HELPERS.replace("-A PREROUTING -p tcp -m tcp --dport 1723 -j CT --helper pptp\n", "")
    node = case_of(rules, 6, ADDRESSES6, ["default via 2001:db8::1 dev eth0"])
    with Both(node) as both:
        ftp = Control(both, 21, client="fd00:1::7", server="2001:db8:9::20")
        ftp.greet()
        ftp.say("cni0", said)
        ftp.say("cni0", "NOOP\r\n")
        ftp.say("eth0", "229 Extended (|||40000|)\r\n")
        transfer(both, "eth0", "2001:db8:9::20", "2001:db8::10", 20, 40000)
        transfer(both, "cni0", "fd00:1::7", "2001:db8:9::20", 50000, 40000)
        both.same_table()
