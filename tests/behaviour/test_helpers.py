"""Helpers without the kernel at hand: what was recorded beside it is in kernel/test_helpers.py."""

import numpy as np
import pytest
from behaviour.test_corner_steps import nft_chain
from kernel.gateway import expected_by
from scapy.layers.inet import IP, TCP, UDP

import fastnat
from fastnat import CtInfo, Reason, RuleError, Verdict

CLIENT, SERVER, NAT = "10.244.1.7", "203.0.113.20", "198.51.100.10"
RULES = (
    "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n*raw\n"
    "-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp\n"
    "-A PREROUTING -p udp --dport 69 -j CT --helper tftp\nCOMMIT\n"
)
PORT = b"PORT 10,244,1,7,156,64\r\n"
MANGLED = b"PORT 198,51,100,10,156,64\r\n"


def node(rules=RULES, **sysctls):
    made = fastnat.Node()
    made.add_interface("cni0", ["10.244.1.1/24"])
    made.add_interface("eth0", ["198.51.100.10/24"])
    made.add_route("default", via="198.51.100.1", dev="eth0")
    made.load_rules(rules)
    for key, value in sysctls.items():
        made.sysctls[f"net.netfilter.{key}"] = str(value)
    return made


def out(seq, ack, data=b"", flags="PA", dport=21):
    return bytes(IP(src=CLIENT, dst=SERVER) / TCP(sport=4000, dport=dport, flags=flags, seq=seq, ack=ack) / data)


def back(seq, ack, data=b"", flags="PA", sport=21):
    return bytes(IP(src=SERVER, dst=NAT) / TCP(sport=sport, dport=4000, flags=flags, seq=seq, ack=ack) / data)


def login(nat, now=0.0, port=21):
    """Up to the point where the client may say PORT: its next number is 107, the server's 207."""
    for iface, packet in (
        ("cni0", out(100, 0, flags="S", dport=port)), ("eth0", back(200, 101, flags="SA", sport=port)),
        ("cni0", out(101, 201, flags="A", dport=port)), ("eth0", back(201, 101, b"220 .\n", sport=port)),
        ("cni0", out(101, 207, b"USER\r\n", dport=port)),
    ):  # fmt: skip
        assert nat.process_packet(packet, iface, now)[0] == Verdict.FORWARD


def arrives(nat, dport, now, src=SERVER):
    """Tell whether a data connection to a port of the NAT comes to the client."""
    verdict, data = nat.process_packet(bytes(IP(src=src, dst=NAT) / TCP(sport=20, dport=dport)), "eth0", now)
    return verdict == Verdict.FORWARD and IP(data).dst == CLIENT


@pytest.fixture
def nat():
    made = fastnat.Engine(node())
    login(made)
    return made


def test_port_is_translated_and_expected(nat):
    _, data = nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    assert bytes(IP(data)[TCP].payload) == MANGLED
    assert arrives(nat, 40000, 2.0)
    assert not arrives(nat, 40000, 2.0, src="203.0.113.21")
    counts = {k: nat.stats[k] for k in ("expect_create", "expect_new", "expect_delete")}
    assert counts == {"expect_create": 1, "expect_new": 1, "expect_delete": 1}
    related = next(c for c in nat.conntrack if c.status & fastnat.dtypes.Status.EXPECTED)
    assert related.original[3] == 40000
    master = nat.conntrack.find("tcp", CLIENT, 4000, SERVER, 21)
    assert str(master).endswith("helper=ftp use=2")


def test_ct_helper_of_nftables_asks_who_announced_the_connection():
    """Recorded: of the control connection itself neither `ct helper "ftp"` nor its negation holds."""
    said = {"is": 'ct helper "ftp"', "is not": 'ct helper != "ftp"', "is another": 'ct helper != "tftp"'}
    rules = "\n".join(f'{match} counter comment "{name}"' for name, match in said.items())
    made = node()
    made.load_nft(nft_chain("inet", rules, priority=1))
    nat = fastnat.Engine(made)

    def counted():
        found = dict.fromkeys(said, 0)
        for line in nat.list_nft().splitlines():
            if "counter packets" in line:
                found[line.split('comment "')[1].split('"')[0]] = int(line.split("counter packets ")[1].split()[0])
        return found

    plain = nat.packets(proto="udp", src=CLIENT, dst=SERVER, sport=9, dport=9, iface="cni0")
    assert nat.process(plain, 0.0)["ctinfo"][0] == CtInfo.NEW
    login(nat)
    nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    assert counted() == {"is": 0, "is not": 0, "is another": 0}
    assert arrives(nat, 40000, 2.0)
    assert counted() == {"is": 1, "is not": 0, "is another": 1}
    # a child knows who announced it when that is over (recorded)
    nat.conntrack.delete(nat.conntrack.find("tcp", CLIENT, 4000, SERVER, 21))
    assert arrives(nat, 40000, 3.0)
    assert counted() == {"is": 2, "is not": 0, "is another": 2}


def test_numbers_behind_the_change_are_adjusted(nat):
    nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    longer = len(MANGLED) - len(PORT)
    _, data = nat.process_packet(out(107 + len(PORT), 207, b"NOOP\r\n"), "cni0", 1.0)
    assert IP(data)[TCP].seq == 107 + len(MANGLED)
    _, data = nat.process_packet(back(207, 107 + len(MANGLED) + 6, b"200 .\n"), "eth0", 1.0)
    assert IP(data)[TCP].ack == 107 + len(PORT) + 6
    # a segment from before the change keeps its number
    _, data = nat.process_packet(out(101, 207, b"USER\r\n"), "cni0", 1.0)
    assert IP(data)[TCP].seq == 101
    assert longer > 0


@pytest.mark.parametrize(("options", "passes"), [
    ("01010105", False), ("05010000", False), ("05050000", False), ("01010101", True), ("00050000", True),
    ("08020101", True),
])  # fmt: skip
def test_broken_options_behind_the_change_drop_the_segment(nat, options, passes):
    """nf_ct_sack_adjust: of a segment that acknowledges; one that does not has none looked at."""
    nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    nat.process_packet(back(207, 107 + len(MANGLED), b"200 .\n"), "eth0", 1.0)
    segment = TCP(sport=4000, dport=21, flags="A", seq=107 + len(PORT), ack=213, dataofs=6)
    packet = bytes(IP(src=CLIENT, dst=SERVER) / segment / bytes.fromhex(options))
    other = nat.fork()
    assert (nat.process_packet(packet, "cni0", 1.0)[0] == Verdict.FORWARD) == passes
    segment.flags, segment.ack = "R", 0
    verdict, data = other.process_packet(
        bytes(IP(src=CLIENT, dst=SERVER) / segment / bytes.fromhex(options)), "cni0", 1.0
    )
    assert (verdict, IP(data)[TCP].seq) == (Verdict.FORWARD, 107 + len(MANGLED))


def test_an_expectation_lasts_five_minutes(nat):
    nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    # so that nothing waits for an acknowledgement, which would end the master after five minutes as well
    nat.process_packet(back(207, 107 + len(MANGLED), b"200 .\n"), "eth0", 1.0)
    nat.process_packet(out(107 + len(PORT), 213, flags="A"), "cni0", 1.0)
    assert arrives(nat.fork(), 40000, 300.9)
    nat.advance(301.0)
    assert nat.conntrack.find("tcp", CLIENT, 4000, SERVER, 21)
    assert nat.stats["expect_delete"] == 1
    assert not arrives(nat, 40000, 301.0)


def test_it_ends_with_its_master(nat):
    nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    nat.conntrack.delete(nat.conntrack.find("tcp", CLIENT, 4000, SERVER, 21))
    assert nat.stats["expect_delete"] == 1
    assert not arrives(nat, 40000, 1.0)
    nat.core_of(4).check_invariants()


def test_no_room_in_a_buffer(nat):
    data = out(107, 207, PORT)
    got = nat.process_frames(np.frombuffer(bytearray(data), np.uint8), np.array([0, len(data)]), "cni0", 1.0)
    assert (got["verdict"][0], got["reason"][0]) == (Verdict.DROP, Reason.NO_ROOM)
    assert not arrives(nat, 40000, 1.0)


def test_nf_conntrack_expect_max():
    nat = fastnat.Engine(node(nf_conntrack_expect_max=1))
    login(nat)
    nat.process_packet(bytes(IP(src=CLIENT, dst=SERVER) / UDP(sport=1, dport=69) / b"\0\1x"), "cni0", 0.0)
    verdict, _ = nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    assert verdict == Verdict.DROP
    assert nat.stats["expect_create"] == 1


@pytest.mark.parametrize(("profile", "sysctl", "helped"), [
    ("linux-5.4", 0, False), ("linux-5.4", 1, True), ("linux-6.18", 1, False),
])  # fmt: skip
def test_helpers_by_port(profile, sysctl, helped):
    """nf_conntrack_helper=1 of linux-5.4 looks at the port behind NAT; Linux 6.0 has removed it."""
    rules = (
        "*nat\n-A PREROUTING -p tcp --dport 2121 -j DNAT --to-destination :21\n"
        "-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
    )
    for port in (21, 2121):
        nat = fastnat.Engine(node(rules, nf_conntrack_helper=sysctl), profile)
        assert nat.has_helpers == helped
        for iface, packet in (
            ("cni0", out(100, 0, flags="S", dport=port)), ("eth0", back(200, 101, flags="SA")),
            ("cni0", out(101, 201, flags="A", dport=port)), ("eth0", back(201, 101, b"220 .\n")),
            ("cni0", out(101, 207, b"USER\r\n", dport=port)),
        ):  # fmt: skip
            nat.process_packet(packet, iface)
        _, data = nat.process_packet(out(107, 207, PORT, dport=port), "cni0", 1.0)
        assert bytes(IP(data)[TCP].payload) == (MANGLED if helped else PORT)


def test_linux_54_counts_up_to_a_port_nobody_expects():
    for profile in ("linux-5.4", "linux-6.18"):
        nat = fastnat.Engine(node(), profile)
        login(nat)
        nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
        other = "10.244.1.8"
        for iface, packet in (
            ("cni0", IP(src=other, dst=SERVER) / TCP(sport=4001, dport=21, seq=100)),
            ("eth0", IP(src=SERVER, dst=NAT) / TCP(sport=21, dport=4001, flags="SA", seq=200, ack=101)),
            ("cni0", IP(src=other, dst=SERVER) / TCP(sport=4001, dport=21, flags="PA", seq=101, ack=201) / b"USER\r\n"),
        ):
            nat.process_packet(bytes(packet), iface, 1.0)
        said = TCP(sport=4001, dport=21, flags="PA", seq=107, ack=201) / b"PORT 10,244,1,8,156,64\r\n"
        _, data = nat.process_packet(bytes(IP(src=other, dst=SERVER) / said), "cni0", 1.0)
        text = bytes(IP(data)[TCP].payload)
        assert (text == b"PORT 198,51,100,10,156,65\r\n") == (profile == "linux-5.4")
        assert text != MANGLED


def test_state_goes_on(nat, tmp_path):
    nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    nat.save(tmp_path / "state")
    for other in (fastnat.Engine.restore(tmp_path / "state"), nat.fork()):
        _, data = other.process_packet(out(107 + len(PORT), 207, b"NOOP\r\n"), "cni0", 2.0)
        assert IP(data)[TCP].seq == 107 + len(MANGLED)
        assert arrives(other, 40000, 2.0)
        assert str(other.conntrack.find("tcp", CLIENT, 4000, SERVER, 21)).endswith("helper=ftp use=2")
        again = tmp_path / "again"
        other.save(again)
        third = fastnat.Engine.restore(again)
        assert str(third.conntrack.find("tcp", CLIENT, 4000, SERVER, 21)).endswith("helper=ftp use=2")
        third.core_of(4).check_invariants()


@pytest.mark.parametrize(("option", "says"), [
    ("-p tcp -j CT --helper sip", "expected one of ftp, tftp"), ("-p udp -j CT --helper ftp", "it watches -p tcp"),
    ("-j CT --helper ftp", "You must specify a L4 protocol"), ("! -p tcp -j CT --helper ftp", "You must specify"),
])  # fmt: skip
def test_what_is_refused(option, says):
    with pytest.raises(RuleError, match=says):
        fastnat.Engine(node(f"*raw\n-A PREROUTING {option}\nCOMMIT\n"))


def test_a_dump_names_its_helpers():
    line = (
        "tcp      6 431999 ESTABLISHED src=10.244.1.7 dst=203.0.113.20 sport=4000 dport=21 src=203.0.113.20 "
        "dst=198.51.100.10 sport=21 dport=4000 [ASSURED] mark=0 helper=ftp use=1"
    )
    nat = fastnat.Engine(node())
    nat.conntrack.load(line)
    assert nat.conntrack.format().strip() == line
    other = fastnat.Engine(node())
    other.conntrack.load(line.replace("=ftp", "=sip"))
    assert other.conntrack.format().strip() == line.replace("helper=ftp ", "")


def pptp(message, body, size=160):
    return bytes.fromhex("00000001 1a2b3c4d") + bytes([0, message, 0, 0]) + body.ljust(size, b"\0")


OUT_CALL = (pptp(7, b"\0\7"), pptp(8, b"\0\5" + (4000).to_bytes(2, "big") + b"\1"))
IN_CALL = (pptp(9, b"\0\5", 208), pptp(10, b"\0\7\0\5\1"), pptp(11, b"\0\7"))
FROM_SERVER = {2, 8, 9, 11, 13}


class Talk:
    """A control connection of PPTP behind NAT, up to the answer to its start."""

    def __init__(self, nat):
        self.nat, self.at = nat, {"cni0": 101, "eth0": 201}
        for iface, packet in (
            ("cni0", out(100, 0, flags="S", dport=1723)),
            ("eth0", back(200, 101, flags="SA", sport=1723)),
        ):
            assert nat.process_packet(packet, iface)[0] == Verdict.FORWARD
        self.say(pptp(1, b""), pptp(2, b"\0\0\1"))

    def say(self, *messages):
        """Send messages, each from whom they come."""
        for message in messages:
            mine, theirs = self.at.values()
            if message[9] in FROM_SERVER:
                iface, packet = "eth0", back(theirs, mine, message, sport=1723)
            else:
                iface, packet = "cni0", out(mine, theirs, message, dport=1723)
            assert self.nat.process_packet(packet, iface)[0] == Verdict.FORWARD
            self.at[iface] += len(message)

    def tunnel(self, call, iface="cni0"):
        """Return whether GRE of a call, as its other end numbers it, belongs to a tunnel that was announced."""
        ip = IP(src=CLIENT, dst=SERVER, proto=47) if iface == "cni0" else IP(src=SERVER, dst=NAT, proto=47)
        had = self.nat.stats["expect_new"]
        self.nat.process_packet(bytes(ip / bytes.fromhex(f"3001880b0000{call:04x}00000001")), iface)
        return self.nat.stats["expect_new"] > had


def calling_node(rules=RULES):
    return node(rules.replace("*raw\n", "*raw\n-A PREROUTING -p tcp --dport 1723 -j CT --helper pptp\n"))


@pytest.mark.parametrize(("first", "again"), [("eth0", True), ("cni0", False)])
def test_the_half_of_a_tunnel_that_is_left_behind_nat(first, again):
    """As recorded: a tunnel that the server begins leaves what the client was to begin, over the end of the call."""
    talk = Talk(fastnat.Engine(calling_node()))
    talk.say(*IN_CALL)
    assert talk.tunnel(7 if first == "eth0" else 5, first)
    assert not talk.tunnel(5)
    talk.say(pptp(13, b"\0\5"))
    assert len(talk.nat.conntrack) == 1
    assert talk.tunnel(5) == again
    talk.nat.check()


@pytest.mark.parametrize("first", ["cni0", "eth0"])
@pytest.mark.parametrize(("second", "announced"), [(6, False), (5, True)])
def test_a_second_call_while_the_first_is_not_over_has_no_tunnel(second, announced, first):
    """nf_ct_gre_keymap_add has one key for each direction; as recorded, neither call's tunnel is expected any more.

    Nor is either half of it, whichever end begins, and nothing else.
    """
    talk = Talk(fastnat.Engine(calling_node()))
    talk.say(*OUT_CALL, pptp(8, bytes([0, second]) + (4000).to_bytes(2, "big") + b"\1"))
    assert len(expected_by(talk.nat)) == 2 * announced
    assert talk.tunnel(5 if first == "cni0" else 4000, first) == announced
    assert not talk.tunnel(second)
    talk.nat.check()


def test_a_node_that_calls_itself():
    """Both halves of its tunnel are one."""
    lo = IP(src="127.0.0.1", dst="127.0.0.1")
    nat = fastnat.Engine(node("*raw\n-A PREROUTING -p tcp --dport 1723 -j CT --helper pptp\nCOMMIT\n"))
    mine, theirs = {"sport": 4000, "dport": 1723}, {"sport": 1723, "dport": 4000}
    for packet in (
        TCP(**mine, flags="S", seq=100), TCP(**theirs, flags="SA", seq=200, ack=101),
        TCP(**mine, flags="PA", seq=101, ack=201) / pptp(1, b""),
        TCP(**theirs, flags="PA", seq=201, ack=273) / pptp(2, b"\0\0\1"),
        TCP(**mine, flags="PA", seq=273, ack=373) / pptp(7, b"\0\7"),
        TCP(**theirs, flags="PA", seq=373, ack=445) / pptp(8, b"\0\7\0\7\1"),
        TCP(**theirs, flags="PA", seq=545, ack=445) / pptp(8, b"\0\5\0\7\1"),
    ):  # fmt: skip
        assert nat.process_packet(bytes(lo / packet), "local")[0] == Verdict.LOCAL
        nat.check()


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("first", ["control", "tunnel"])
def test_a_tunnel_ends_with_its_control_connection(first, again):
    """Both fall due in the same jiffy, in either order; or the control connection is deleted; or the tunnel goes on.

    A connection that is used again keeps its place in the wheel until that comes round.
    """
    rules = RULES.replace("*raw\n", "*raw\n-A PREROUTING -p tcp --dport 1723 -j CT --helper pptp\n")
    lasting = {f"nf_conntrack_{name}": 600 for name in ("tcp_timeout_established", "gre_timeout")}
    nat = fastnat.Engine(node(rules, nf_conntrack_tcp_be_liberal=1, **lasting))
    for iface, packet in (
        ("cni0", out(100, 0, flags="S", dport=1723)), ("eth0", back(200, 101, flags="SA", sport=1723)),
        ("cni0", out(101, 201, pptp(1, b""), dport=1723)), ("eth0", back(201, 101, pptp(2, b"\1\0\1"), sport=1723)),
        ("cni0", out(273, 373, pptp(7, b"\0\7"), dport=1723)),
        ("eth0", back(373, 445, pptp(8, b"\0\5" + (4000).to_bytes(2, "big") + b"\1"), sport=1723)),
        ("cni0", out(445, 545, flags="A", dport=1723)),
    ):  # fmt: skip
        assert nat.process_packet(packet, iface)[0] == Verdict.FORWARD
    tunnel = bytes(IP(src=CLIENT, dst=SERVER, proto=47) / bytes.fromhex("3001880b 0000 0005 00000001"))
    packets = [tunnel, out(445, 545, flags="A", dport=1723)]
    for packet in packets if first == "tunnel" else reversed(packets):
        nat.process_packet(packet, "cni0", 1.0)
    if again:
        nat.process_packet(tunnel, "cni0", 300.0)
    assert len(nat.conntrack) == 2
    gone = nat.fork()
    gone.conntrack.delete(gone.conntrack.find("tcp", CLIENT, 4000, SERVER, 1723))
    assert len(gone.conntrack) == 0
    nat.advance(601.0)
    assert len(nat.conntrack) == 0
    for engine in (nat, gone):
        engine.core_of(4).check_invariants()


@pytest.mark.parametrize("remember", [True, False])
def test_an_announced_connection_is_related_until_it_is_answered(remember):
    """By the short way, too, which the packets take once no rule of raw is left."""
    nat = fastnat.Engine(node(), remember=remember)
    request = IP(src=CLIENT, dst=SERVER) / UDP(sport=2000, dport=69) / b"\0\1file\0octet\0"
    assert nat.process_packet(bytes(request), "cni0", 0.0)[0] == Verdict.FORWARD
    nat.node.load_rules(RULES.partition("*raw")[0])
    nat.reload()
    ends = {"proto": "udp", "src": SERVER, "dst": NAT, "sport": 3000, "dport": 2000, "iface": "eth0"}
    data = nat.process(nat.packets(**ends, length=[516] * 3), np.array([1.0, 1.0, 2.0]))
    assert data["ctinfo"].tolist() == [CtInfo.RELATED] * 3
    ends = {"proto": "udp", "src": CLIENT, "dst": SERVER, "sport": 2000, "dport": 3000, "iface": "cni0"}
    nat.process(nat.packets(**ends), 3.0)
    ends = {"proto": "udp", "src": SERVER, "dst": NAT, "sport": 3000, "dport": 2000, "iface": "eth0"}
    assert nat.process(nat.packets(**ends), 4.0)["ctinfo"].tolist() == [CtInfo.ESTABLISHED]


@pytest.mark.parametrize(("rule", "arrived"), [
    ("-m helper --helper ftp", False), ("-m helper --helper tftp", True), ("-m helper --helper pptp", True),
    ("-p tcp --dport 40000 -m helper ! --helper ftp", True), ("-p tcp --dport 40000 -m helper ! --helper tftp", False),
])  # fmt: skip
def test_who_announced_a_connection(rule, arrived):
    nat = fastnat.Engine(node(RULES + f"*filter\n-A FORWARD {rule} -j DROP\nCOMMIT\n"))
    login(nat)
    nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    assert arrives(nat, 40000, 2.0) == arrived


@pytest.mark.parametrize("profile", ["linux-5.4", "linux-6.18"])
def test_a_port_that_dnat_takes_away_has_no_helper(profile):
    """nf_conntrack_alter_reply looks again: behind NAT the server's port is another."""
    rules = (
        "*nat\n-A PREROUTING -p tcp --dport 21 -j DNAT --to-destination :2121\n"
        "-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
    )
    nat = fastnat.Engine(node(rules, nf_conntrack_helper=1), profile)
    for iface, packet in (
        ("cni0", out(100, 0, flags="S")), ("eth0", back(200, 101, flags="SA", sport=2121)),
        ("cni0", out(101, 201, flags="A")), ("eth0", back(201, 101, b"220 .\n", sport=2121)),
        ("cni0", out(101, 207, b"USER\r\n")),
    ):  # fmt: skip
        assert nat.process_packet(packet, iface)[0] == Verdict.FORWARD
    _, data = nat.process_packet(out(107, 207, PORT), "cni0", 1.0)
    assert bytes(IP(data)[TCP].payload) == PORT


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_datagram_becomes_as_long_as_a_datagram_can_be_and_no_longer(nat, over):
    longer = len(MANGLED) - len(PORT)
    filler = b"x" * (65535 - longer + over - len(out(107, 207, PORT)))
    verdict, data = nat.process_packet(out(107, 207, PORT + filler), "cni0", 1.0)
    if over > 0:
        assert verdict == Verdict.DROP
        # who could not be told is not expected either
        assert nat.stats["expect_create"] == nat.stats["expect_delete"] == 1
    else:
        assert verdict == Verdict.FORWARD
        assert len(data) == 65535 + over
        assert bytes(IP(data)[TCP].payload) == MANGLED + filler
