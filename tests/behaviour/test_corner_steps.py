"""Corners of single steps, in both families: what a change of one character of a step would change."""

import ipaddress

import numpy as np
import pytest
from nodes import make_node
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6

import fastnat
from fastnat import CtInfo, Reason, Verdict

FAMILIES = pytest.mark.parametrize("family", [4, 6])
LAYERS = {4: IP, 6: IPv6}
CLIENT, SERVER, OWN = {4: "10.1.0.2", 6: "fd01::2"}, {4: "203.0.113.9", 6: "fd03::9"}, {4: "10.2.0.1", 6: "fd02::1"}


def nft_chain(table, rules, hook="forward", priority=0):
    """Return a table of nftables, of a family by its number or its name, with one chain of filter."""
    kind = {4: "ip", 6: "ip6"}.get(table, table)
    return f"table {kind} t {{\nchain c {{\ntype filter hook {hook} priority {priority};\n{rules}\n}}\n}}\n"


def router(family, rules="", nft=""):
    """Return an engine between r0 and r1, with rules of its family."""
    node = fastnat.Node()
    node.add_interface("r0", ["10.1.0.1/16", "fd01::1/64"])
    node.add_interface("r1", ["10.2.0.1/24", "fd02::1/64"])
    node.add_route("default", via="10.2.0.254", dev="r1")
    node.add_route("::/0", via="fd02::fe", dev="r1")
    if nft:
        node.load_nft(nft)
    if rules:
        (node.load_rules if family == 4 else node.load_rules6)(rules)
    return node


def clients(family, n):
    first = ipaddress.ip_address(CLIENT[family])
    return [first + k for k in range(n)]


MASQUERADE = "*nat\n-A POSTROUTING -o r1 -j MASQUERADE {}\nCOMMIT\n"


@pytest.mark.one_of(3)
@FAMILIES
@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize(("sport", "first", "last"), [(1, 1, 511), (511, 1, 511), (512, 600, 1023), (1023, 600, 1023)])
def test_the_ports_of_a_class_are_all_taken_before_any_flow_is_lost(family, proto, sport, first, last):
    """RFC 6056 leaves these classes to the node; nf_nat_l4proto_unique_tuple keeps a port within its own."""
    size = last - first + 1
    nat = fastnat.Engine(router(family, MASQUERADE.format("")))
    batch = nat.packets(proto=proto, src=clients(family, 4 * size), sport=sport, dst=SERVER[family], dport=53,
                        iface="r0", **({"tcp_flags": 2} if proto == "tcp" else {}))  # fmt: skip
    out = nat.process(batch)
    ports = out["sport"][out["verdict"] == Verdict.FORWARD]
    # 512 stays where it is free, though a search takes nothing below 600
    kept = {sport} - set(range(first, last + 1))
    assert len(ports) == len(set(ports.tolist())) > size * 0.95
    assert set(ports.tolist()) <= set(range(first, last + 1)) | kept
    assert {min(set(ports.tolist()) - kept) - first, last - max(ports.tolist())} <= set(range(size // 20))
    assert (out["verdict"] == Verdict.DROP).any()


@FAMILIES
def test_ids_of_echos_come_from_all_numbers(family):
    nat = fastnat.Engine(router(family, MASQUERADE.format("")))
    layer = ICMP(type=8, id=7) if family == 4 else ICMPv6EchoRequest(id=7)
    found = []
    for client in clients(family, 200):
        _, out = nat.process_packet(bytes(LAYERS[family](src=str(client), dst=SERVER[family]) / layer), "r0", 0.0)
        found.append(LAYERS[family](out).payload.id)
    assert len(set(found)) == 200
    assert found[0] == 7
    assert np.histogram(found[1:], 4, (0, 65536))[0].min() > 25


@pytest.mark.slow
@FAMILIES
def test_a_crowded_window_that_begins_anew_at_65536_is_searched_as_by_single_probes(family, monkeypatch):
    """Offsets wrap at 16 bits before the modulo: bitmaps know that as single probes do."""

    def run():
        snat = "--to-source " + ("10.2.0.1:2000-2100" if family == 4 else "[fd02::1]:2000-2100")
        rules = f"*nat\n-A POSTROUTING -o r1 -p udp -j SNAT {snat}\nCOMMIT\n"
        nat = fastnat.Engine(router(family, rules), seed=5)
        said, first = [], ipaddress.ip_address(SERVER[family])
        for hundred in range(20):
            dst = [first + hundred * 100 + peer for peer in range(100) for _ in range(99)]
            sport = np.tile(np.arange(99) + 3000, 100)
            batch = nat.packets(proto="udp", src=CLIENT[family], sport=sport, dst=dst, dport=53, iface="r0")
            said.append(nat.process(batch).tobytes())
        return nat, said

    monkeypatch.setattr("fastnat.engine.settings.BITMAP_PROBES", 2)
    fast, one = run()
    monkeypatch.setattr("fastnat.engine.settings.BITMAP_PROBES", 1 << 30)
    slow, other = run()
    assert one == other
    assert fast.stats == slow.stats
    assert fast.stacks[family].core.tables["bitmaps"] > slow.stacks[family].core.tables["bitmaps"] == 0


@FAMILIES
def test_more_rules_of_nftables_than_a_walk_may_have(family):
    depth, wide = 7, 12
    chains = [f"chain c{depth} {{\ncounter\n}}"]
    for n in reversed(range(depth)):
        head = "type filter hook forward priority 0;\n" if n == 0 else ""
        chains.append(f"chain c{n} {{\n{head}" + f"jump c{n + 1}\n" * wide + "}")
    nft = f"table {'ip' if family == 4 else 'ip6'} t {{\n" + "\n".join(chains) + "\n}\n"
    nat = fastnat.Engine(router(family, nft=nft))
    batch = nat.packets(proto="udp", src=CLIENT[family], sport=1, dst=SERVER[family], dport=53, iface="r0")
    out = nat.process(batch)[0]
    assert (out["verdict"], out["reason"]) == (Verdict.DROP, Reason.TOO_MANY_RULES)


@FAMILIES
@pytest.mark.parametrize(("before", "set_to", "after"), [(0xFF, "8", 0x23), (0xB9, "0", 0x01), (0x00, "63", 0xFC)])
def test_a_dscp_takes_the_place_of_the_old_one_and_ecn_stays(family, before, set_to, after):
    own = "ip" if family == 4 else "ip6"
    chain = f"chain c {{\ntype filter hook forward priority 0;\n{own} dscp set {set_to}\n}}"
    nat = fastnat.Engine(router(family, nft=f"table {own} t {{\n{chain}\n}}\n"))
    packet = LAYERS[family](src=CLIENT[family], dst=SERVER[family]) / UDP(sport=1, dport=2)
    setattr(packet, "tos" if family == 4 else "tc", before)
    _, out = nat.process_packet(bytes(packet), "r0", 0.0)
    out = LAYERS[family](out)
    assert (out.tos if family == 4 else out.tc) == after


@pytest.mark.one_of(2)
@FAMILIES
def test_what_recent_has_seen_is_known_after_a_restore(family, tmp_path):
    """The fifth packet within the time is the first to be dropped, wherever between them the engine was saved."""
    recent = "-A FORWARD -m recent --name R --rsource"
    rules = f"*filter\n{recent} --rcheck --seconds 100 --hitcount 4 -j DROP\n{recent} --set\nCOMMIT\n"
    for saved_after in range(6):
        nat, said = fastnat.Engine(router(family, rules)), []
        for n in range(6):
            if n == saved_after:
                nat.save(tmp_path / "state")
                nat = fastnat.Engine.restore(tmp_path / "state")
            batch = nat.packets(proto="udp", src=CLIENT[family], sport=n, dst=SERVER[family], dport=53, iface="r0")
            said.append(int(nat.process(batch, 10.0 + n)["verdict"][0]))
        assert said == [Verdict.FORWARD] * 4 + [Verdict.DROP] * 2, saved_after


@FAMILIES
def test_every_number_of_no_interface_is_a_verdict_for_an_established_flow(family):
    node = router(family, MASQUERADE.format(""))
    nat = fastnat.Engine(node)
    ask = nat.packets(proto="udp", src=CLIENT[family], sport=4000, dst=SERVER[family], dport=53, iface="r0")
    answer = nat.packets(proto="udp", src=SERVER[family], sport=53, dst=OWN[family], dport=4000, iface="r1")
    for now in (0.0, 1.0, 3.0):
        nat.process(ask, now)
        nat.process(answer, now)
    names = len(node.iface_names)
    for number in range(names, names + 3):
        ask["iface"] = number
        assert nat.process(ask, 4.0)["reason"][0] == Reason.INTERFACE, number


@FAMILIES
@pytest.mark.parametrize("turn", [0, 1, 2, 3, 4094, 4095, 4096, 4097])
def test_a_connection_of_days_that_is_reset_expires_after_its_ten_seconds(family, turn):
    """Wherever in the timing wheel its place of five days is: a turn is 32,768 jiffies."""
    nat = fastnat.Engine(router(family, MASQUERADE.format("")))
    start = turn * 32768 / 250 + 60
    nat.advance(start)
    fields = {"proto": "tcp", "src": CLIENT[family], "sport": 4000, "dst": SERVER[family], "dport": 80, "iface": "r0"}
    back = {"proto": "tcp", "src": SERVER[family], "sport": 80, "dst": OWN[family], "dport": 4000, "iface": "r1"}
    for way, flags in ((fields, 2), (back, 18), (fields, 16)):
        nat.process(nat.packets(**way, tcp_flags=flags), start)
    assert nat.next_expiry > start + 80
    nat.process(nat.packets(**fields, tcp_flags=4), start + 1)
    nat.advance(start + 10.9)
    assert len(nat.conntrack) == 1
    nat.advance(start + 11.1)
    assert len(nat.conntrack) == 0
    nat.check()


def test_a_broadcast_leaves_as_it_was_sent_whatever_its_copy_met():
    """What the node sends to all of a network it gets itself, too: changes of that copy do not leave (ip_mc_output)."""
    node = make_node("*mangle\n-A PREROUTING -j TOS --set-tos 0x20/0xfc\n-A PREROUTING -j TTL --ttl-set 9\nCOMMIT\n")
    nat = fastnat.Engine(node)
    sent = bytes(IP(src="198.51.100.10", dst="198.51.100.255", ttl=33) / UDP(sport=1, dport=2) / b"all")
    verdict, out = nat.process_packet(sent, "local", 0.0)
    assert (verdict, out) == (Verdict.FORWARD, sent)


def pptp(kind, body, size):
    return (
        (12 + size).to_bytes(2, "big")
        + b"\0\1\x1a\x2b\x3c\x4d"
        + kind.to_bytes(2, "big")
        + b"\0\0"
        + body.ljust(size, b"\0")
    )


def test_without_its_tunnel_a_pptp_connection_has_no_keys():
    """Recorded: when the tunnel ends its master's keys go, and packets of it have key 0 (destroy_gre_conntrack)."""
    node = make_node("*raw\n-A PREROUTING -p tcp --dport 1723 -j CT --helper pptp\nCOMMIT\n")
    nat = fastnat.Engine(node)
    client, server = "10.244.1.2", "203.0.113.9"
    seqs = {client: 100, server: 200}
    now = 0.0

    def control(src, dst, flags, data=b""):
        ports = (4000, 1723) if src == client else (1723, 4000)
        packet = IP(src=src, dst=dst) / TCP(
            sport=ports[0], dport=ports[1], flags=flags, seq=seqs[src], ack=seqs[dst] if "A" in flags else 0
        )
        seqs[src] += len(data) + ("S" in flags)
        nat.process_packet(bytes(packet / data), "cni0" if src == client else "eth0", now)

    def tunnel():
        gre = b"\x30\x01\x88\x0b\0\3\0\5\0\0\0\1ppp"
        nat.process_packet(bytes(IP(src=client, dst=server, proto=47) / gre), "cni0", now)
        return [line.split("srckey=")[1].split()[0] for line in nat.conntrack.format().splitlines() if "srckey" in line]

    control(client, server, "S")
    control(server, client, "SA")
    control(client, server, "A")
    control(client, server, "PA", pptp(1, b"", 144))
    control(server, client, "PA", pptp(2, b"\1\0\1", 144))
    control(client, server, "PA", pptp(7, b"\0\7", 156))
    control(server, client, "PA", pptp(8, b"\0\5\0\7\1", 20))
    assert tunnel() == ["0x7"]
    now = 40.0
    nat.advance(now)
    assert [line for line in nat.conntrack.format().splitlines() if "srckey" in line] == []
    assert tunnel() == ["0x0"]


@pytest.mark.one_of(2)
@FAMILIES
def test_of_a_host_that_speaks_to_itself_the_reply_is_found_wherever_the_table_grows(family):
    """Of two equal tuples the kernel finds the reply, which it puts in front (__nf_conntrack_hash_insert)."""
    for key in range(6):
        nat = fastnat.Engine(router(family, MASQUERADE.format("")), key=key)
        for host in clients(family, 1000):
            packet = nat.packets(proto="udp", src=host, dst=host, sport=9, dport=9, iface="r1")
            assert nat.process(packet)["ctinfo"][0] == CtInfo.NEW
        again = nat.packets(
            proto="udp", src=clients(family, 1000), dst=clients(family, 1000), sport=9, dport=9, iface="r1"
        )
        assert set(nat.process(again)["ctinfo"].tolist()) == {CtInfo.ESTABLISHED_REPLY}


@FAMILIES
def test_reap_forgets_whom_nobody_has_seen_for_long(family):
    """recent_entry_reap: the entry unused longest goes when another one is asked for, one at a time."""
    rules = (
        "*filter\n-A FORWARD -p udp --sport 1 -m recent --name R --set --rsource\n"
        "-A FORWARD -p udp --sport 2 -m recent --name R --rcheck --seconds 5 --reap --rsource\n"
        "-A FORWARD -p udp --sport 3 -m recent --name R --rcheck --rsource -j DROP\nCOMMIT\n"
    )
    nat, (first, second, third) = fastnat.Engine(router(family, rules)), clients(family, 3)
    for now, client, sport, verdict in (
        (0.0, first, 1, Verdict.FORWARD), (1.0, second, 1, Verdict.FORWARD), (6.0, third, 1, Verdict.FORWARD),
        (6.0, third, 2, Verdict.FORWARD), (6.0, first, 3, Verdict.FORWARD), (6.0, second, 3, Verdict.DROP),
        # the last jiffy of the window counts
        (6.0, third, 2, Verdict.FORWARD), (6.0, second, 3, Verdict.DROP), (6.004, third, 2, Verdict.FORWARD),
        (6.004, second, 3, Verdict.FORWARD), (6.004, third, 3, Verdict.DROP),
    ):  # fmt: skip
        batch = nat.packets(proto="udp", src=client, sport=sport, dst=SERVER[family], dport=53, iface="r0")
        assert nat.process(batch, now)["verdict"][0] == verdict, (now, client, sport)


@FAMILIES
@pytest.mark.parametrize(("code", "there"), [(0, True), (1, False)])
def test_a_set_holds_type_and_code_in_place_of_a_port(family, code, there):
    kind, named = (8, "icmp:8/0") if family == 4 else (128, "icmpv6:128/0")
    node = router(family)
    node.load_sets(f"create S hash:ip,port family inet{6 if family == 6 else ''}\nadd S {SERVER[family]},{named}\n")
    rules = "*filter\n-A FORWARD -m set --match-set S dst,dst -j DROP\nCOMMIT\n"
    (node.load_rules if family == 4 else node.load_rules6)(rules)
    nat = fastnat.Engine(node)
    proto = "icmp" if family == 4 else 58
    batch = nat.packets(
        proto=proto, src=CLIENT[family], sport=7, dst=SERVER[family], dport=kind << 8 | code, iface="r0"
    )
    assert (nat.process(batch)["verdict"][0] == Verdict.DROP) == there
