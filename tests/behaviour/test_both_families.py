"""Corners of IPv4 and IPv6 alike: what only one family was asked, or neither. Expected is what the kernel does."""

import contextlib
import ipaddress
import itertools
import json
import struct

import numpy as np
import pytest
from behaviour.test_corner_steps import CLIENT, FAMILIES, LAYERS, MASQUERADE, OWN, SERVER, clients, nft_chain, router
from behaviour.test_limits import filtered, queries
from kernel.handmade import csum, icmp, ip4, ip6, udp
from scapy.layers.inet import TCP

import fastnat
from fastnat import InputError, Verdict
from fastnat.node.parts import Hop, Route

SYN, ACK, FIN, RST = 2, 16, 1, 4


def swapped(batch, out, iface):
    """Return answers to what has left."""
    made = batch.copy()
    for name, other in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
        made[name] = out[other]
    made["iface"] = iface
    return made


# ---------------------------------------------------------------- who gives way to a SYN that finds no port
@FAMILIES
@pytest.mark.parametrize("owner", ["closed", "established", "the node's own", "newer", "udp"])
def test_who_gives_way(family, owner):
    """nf_nat_used_tuple_harder: a translated connection, in TIME_WAIT or CLOSE, that began with a lower number."""
    own = f"[{OWN[family]}]" if family == 6 else OWN[family]
    nat_of = "".join(
        f"-A POSTROUTING -o r1 -p {p} -s {{}} -j SNAT --to-source {own}:2000-2003\n" for p in ("tcp", "udp")
    )
    inside = "10.1.0.0/16" if family == 4 else "fd01::/64"
    nat = fastnat.Engine(router(family, f"*nat\n{nat_of.replace('{}', inside)}COMMIT\n"))
    fields = {"dst": SERVER[family], "dport": 443, "proto": "udp" if owner == "udp" else "tcp"}
    if owner == "the node's own":
        first = nat.packets(src=OWN[family], sport=np.arange(2000, 2004), iface="local", tcp_flags=SYN, isn=5, **fields)
    else:
        flags = 0 if owner == "udp" else SYN
        first = nat.packets(
            src=clients(family, 4), sport=2000 + np.arange(4), iface="r0", tcp_flags=flags, isn=5, **fields
        )
    out = nat.process(first, 1.0)
    assert sorted(out["sport"].tolist()) == [2000, 2001, 2002, 2003]
    back = swapped(first, out, 2)
    back["tcp_flags"] = 0 if owner == "udp" else SYN | ACK
    nat.process(back, 1.1)
    if owner != "udp":
        for flags in (ACK, RST) if owner not in ("established",) else (ACK,):
            first["tcp_flags"] = flags
            nat.process(first, 1.2)
    before = {c.original for c in nat.conntrack}
    fields["proto"] = "tcp"
    isn = 4 if owner == "newer" else 9
    late = nat.packets(src=clients(family, 9)[8], sport=2002, iface="r0", tcp_flags=SYN, isn=isn, **fields)
    out = nat.process(late, 1.3)[0]
    gone = before - {c.original for c in nat.conntrack}
    if owner in ("closed", "udp"):
        # ports of UDP are others
        assert out["verdict"] == Verdict.FORWARD
        assert len(gone) == (owner == "closed") == nat.stats["evicted"]
    else:
        assert (out["verdict"], len(gone), nat.stats["evicted"]) == (Verdict.DROP, 0, 0)
    nat.check()


# ---------------------------------------------------------------- tables
@FAMILIES
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
def test_conntrack_insert_of_what_is_there_fails(family, profile):
    """6.18 answers EEXIST before it inserts; 5.4 finds the clash as it inserts, and counts it."""
    nat = fastnat.Engine(router(family), profile)
    one, other = SERVER[family], CLIENT[family]
    line = "udp      17 30 src={} dst={} sport={} dport=2 src={} dst={} sport=2 dport={}"
    nat.conntrack.load(line.format(one, other, 1, other, one, 1))
    for sports in ((1, 9), (9, 1)):
        with pytest.raises(InputError):
            nat.conntrack.load(line.format(one, other, sports[0], other, one, sports[1]))
    assert nat.stats["insert_failed"] == (2 if profile == "linux-5.4" else 0)
    assert len(nat.conntrack) == 1
    nat.check()


@FAMILIES
def test_a_zone_that_conntrack_insert_names_lets_two_have_one_tuple(family):
    """Bitmaps of ports may then not take a port for free when one of its owners goes."""
    own = f"[{OWN[family]}]" if family == 6 else OWN[family]
    nat = f"*nat\n-A POSTROUTING -o r1 -p udp -j SNAT --to-source {own}:2000-2063\nCOMMIT\n"
    engine = fastnat.Engine(router(family, nat))
    server, peer = SERVER[family], clients(family, 70)
    lines = [
        f"udp 17 300 src={peer[k]} dst={server} sport={k + 1} dport=53 src={server} dst={OWN[family]} sport=53 "
        f"dport={2000 + k} zone-orig={zone}"
        for k in range(8) for zone in (1, 2)
    ]  # fmt: skip
    # the replies of both are in zone 0: the second one is refused
    taken = 0
    for text in lines:
        with contextlib.suppress(InputError):
            taken += engine.conntrack.load(text)
    assert taken == 8
    engine.check()
    for turn in range(4):
        batch = engine.packets(proto="udp", src=peer, sport=5000 + turn, dst=server, dport=53, iface="r0")
        out = engine.process(batch, 1.0 + turn)
        good = out[out["verdict"] == Verdict.FORWARD]
        tuples = set(good["sport"].tolist())
        assert len(tuples) == len(good)
        engine.conntrack.delete(next(iter(engine.conntrack)))
        engine.check()


@FAMILIES
@pytest.mark.parametrize("device", ["r1", "r0"])
def test_link_down_says_how_many_it_has_ended(family, device):
    nat = fastnat.Engine(router(family, MASQUERADE.format("")))
    nat.process(queries(nat, family, 17))
    assert nat.link_down(device) == (17 if device == "r1" else 0)
    assert len(nat.conntrack) == (0 if device == "r1" else 17)
    nat.check()


@FAMILIES
@pytest.mark.parametrize("remember", [True, False])
def test_headers_of_zeros_come_first(family, remember):
    """No address, no port, no protocol, no device: nobody has been asked about anything yet."""
    nat = fastnat.Engine(router(family, MASQUERADE.format("")), remember=remember)
    batch = queries(nat, family, 40)
    zeros = np.zeros(40, batch.dtype)
    first = nat.process(zeros)
    other = fastnat.Engine(router(family, MASQUERADE.format("")), remember=not remember)
    np.testing.assert_array_equal(other.process(zeros), first)
    mixed = np.concatenate([batch, zeros])[np.random.default_rng(1).permutation(80)]
    np.testing.assert_array_equal(other.process(mixed, 1.0), nat.process(mixed, 1.0))
    assert other.conntrack.format("proc") == nat.conntrack.format("proc")
    assert other.stats == nat.stats
    nat.check()


@FAMILIES
@pytest.mark.parametrize("memos", [1, 2, 4])
def test_kinds_that_push_each_other_out(family, memos, monkeypatch):
    """Fewer memos than kinds of packets: whoever comes meets what was remembered of its own kind, or nothing."""
    for place in ("arrays", "settings"):
        monkeypatch.setattr(f"fastnat.engine.{place}.MEMOS", memos)
    own = ("10.2.0.{}", "10.2.0.{}") if family == 4 else ("fd02::{}", "fd02::{}")
    rules = "".join(
        f"-A POSTROUTING -o r1 -p udp -m udp --dport {60 + n} -j SNAT --to-source {own[0].format(20 + n)}\n"
        for n in range(5)
    )
    engines = [fastnat.Engine(router(family, f"*nat\n{rules}COMMIT\n"), seed=1, remember=r) for r in (True, False)]
    rng, sport = np.random.default_rng(memos), 1024
    for size in rng.choice([1, 1, 2, 3, 40], 150).tolist():
        kinds = rng.integers(60, 66, size) if rng.random() < 0.5 else np.full(size, rng.integers(60, 66))
        batch = engines[0].packets(proto="udp", src=CLIENT[family], sport=sport + np.arange(size), dst=SERVER[family],
                                   dport=kinds, iface="r0")  # fmt: skip
        sport += size
        quick, slow = (nat.process(batch) for nat in engines)
        np.testing.assert_array_equal(quick, slow)
    assert engines[0].stats == engines[1].stats
    assert engines[0].save_rules(family) == engines[1].save_rules(family)


@FAMILIES
@pytest.mark.parametrize("seed", range(4))
def test_who_answers_by_another_device(family, seed):
    """Established by one device, and then from any: rp_filter asks each packet for its way back."""
    found = []
    for remember in (True, False):
        rng = np.random.default_rng(seed)
        node = filtered(rng, family)
        for device in ("r0", "r1", "r2"):
            node.sysctls[f"net.ipv4.conf.{device}.rp_filter"] = str(int(rng.integers(0, 3)))
        load = node.load_rules if family == 4 else node.load_rules6
        load("*filter\n-A FORWARD -m conntrack --ctstate ESTABLISHED\nCOMMIT\n")
        nat = fastnat.Engine(node, seed=seed, remember=remember)
        ends = {4: ("10.1.0.2", "10.3.0.5", "203.0.113.9"), 6: ("fd01::2", "fd04::5", "fd03::9")}[family]
        n, told = 300, []
        one, step = rng.integers(0, 3, n), rng.integers(1, 3, n)
        batch = nat.packets(
            proto=rng.choice([17, 6], n), src=[ends[k] for k in one], dst=[ends[k] for k in (one + step) % 3],
            sport=rng.integers(4000, 4009, n), dport=53, iface=rng.integers(1, 5, n), tcp_flags=SYN,
        )  # fmt: skip
        for turn in range(4):
            out = nat.process(batch, float(turn))
            told.append(out)
            good = batch[out["verdict"] == Verdict.FORWARD]
            back = swapped(good, good, rng.integers(1, 5, len(good)))
            back["tcp_flags"] = SYN | ACK
            told.append(nat.process(back, turn + 0.5))
            batch["iface"] = rng.integers(1, 5, n)
            batch["tcp_flags"] = ACK
        nat.check()
        found.append((told, nat.conntrack.format("proc"), nat.stats))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[0][1:] == found[1][1:]
    assert (np.concatenate(found[0][0])["verdict"] == Verdict.FORWARD).sum() > 100


# ---------------------------------------------------------------- rules that remember
@FAMILIES
@pytest.mark.parametrize("pause", [4.0, 9.9, 10.1, 25.0])
def test_a_bucket_of_hashlimit_lives_from_its_last_packet_on(family, pause):
    """hashlimit_mt_common sets dh->expires anew with each packet: who keeps coming never has a new, full bucket."""
    limit = (
        "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 1 --hashlimit-mode srcip --hashlimit-name H "
        "--hashlimit-htable-expire 10000"
    )
    nat = fastnat.Engine(router(family, f"*filter\n-A FORWARD {limit} -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n"))
    said = [int(nat.process(queries(nat, family, 1, sport=n), pause * n)["verdict"][0]) for n in range(7)]
    again = Verdict.FORWARD if pause > 10 else Verdict.DROP
    assert said == [Verdict.FORWARD] + [again] * 6


@FAMILIES
def test_bytes_of_a_connection_beyond_32_bits(family):
    """nft_ct_get_eval_counter gives 64 bits; lists compare all of them."""
    limits = (2**32 - 1, 2**32, 2**33, 2**33 + 1, 2**34)
    rules = "\n".join(f"ct bytes > {n} counter" for n in limits) + "\nct original bytes < 4294967296 counter"
    nft = nft_chain(family, rules)
    node = router(family, nft=nft)
    nat = fastnat.Engine(node)
    size, total, expected = 65_535, 0, dict.fromkeys(limits, 0)
    one, few = np.tile(queries(nat, family, 1, length=size), 40_000), 0
    for turn in range(5):
        nat.process(one, float(turn))
        counts = total + size * np.arange(1, len(one) + 1)
        for n in limits:
            expected[n] += int((counts > n).sum())
        few += int((counts < 2**32).sum())
        total += size * len(one)
    listed = nat.list_nft()
    for n in limits:
        said = f"counter packets {expected[n]} bytes {expected[n] * size}"
        assert any(str(n) in line and said in line for line in listed.splitlines()), (n, said)
    assert f"4294967296 counter packets {few} " in listed


# ---------------------------------------------------------------- the clock in a packet
@pytest.mark.parametrize("option", [b"\x44\x08\x05\0" + bytes(4), b"\x44\x0c\x05\1" + bytes(8)])
@pytest.mark.parametrize("at", [0.0, 1.0, 3599.0, 86_399.996, 86_400.5])
@pytest.mark.parametrize("epoch", [0.0, 1.7e9])
def test_a_time_stamp_is_milliseconds_since_midnight(option, at, epoch):
    """RFC 791: universal time, modulo a day; alone, and behind the address of who enters it."""
    nat = fastnat.Engine(router(4), epoch=epoch)
    sent = ip4(CLIENT[4], SERVER[4], 17, udp(CLIENT[4], SERVER[4], 1, 2), opts=option)
    verdict, out = nat.process_packet(sent, "r0", at)
    assert verdict == Verdict.FORWARD
    end = 20 + len(option)
    stamp = int.from_bytes(out[end - 4 : end])
    # as exact as a jiffy
    assert (round((epoch + at) * 1000) - stamp) % 86_400_000 < 4


# ---------------------------------------------------------------- buffers
@FAMILIES
@pytest.mark.parametrize("offsets", [(-8, 20), (0, 200), (40, 20), (0, 30, 20), (0, 20, 300), (-1, 0), (0, 1 << 40)])
def test_offsets_that_leave_the_buffer(family, offsets):
    nat = fastnat.Engine(router(family))
    buffer = np.zeros(100, np.uint8)
    core = nat.stacks[family].core
    with pytest.raises(InputError):
        core.process_frames(buffer, np.array(offsets, np.int64), np.zeros(len(offsets) - 1, np.uint16), 1.0)
    assert nat.stats["packets"] == 0
    assert not buffer.any()


# ---------------------------------------------------------------- loading rules anew
LIFE = {"none": (), "SYN_SENT": (0,), "SYN_RECV": (0, 1), "ESTABLISHED": (0, 1, 2), "FIN_WAIT": (0, 1, 2, 3)}


@FAMILIES
@pytest.mark.parametrize("state", list(LIFE)[1:])
def test_windows_are_picked_up_anew_of_established_connections_alone(family, state):
    """nf_ct_tcp_fixup, when a table of the user needs conntrack again: nobody has looked at the segments meanwhile."""
    rules = "*filter\n-A FORWARD -m conntrack --ctstate {}\nCOMMIT\n"
    node = router(family, rules.format("NEW"))
    nat = fastnat.Engine(node)
    layer = LAYERS[family]
    ends = ((CLIENT[family], SERVER[family], 4000, 80, "r0"), (SERVER[family], CLIENT[family], 80, 4000, "r1"))

    def segment(way, flags, seq, ack, now):
        src, dst, sport, dport, iface = ends[way]
        made = layer(src=src, dst=dst) / TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack, window=1000)
        return nat.process_packet(bytes(made), iface, now)

    steps = ((0, "S", 100, 0), (1, "SA", 500, 101), (0, "A", 101, 501), (0, "FA", 101, 501))
    for n in LIFE[state]:
        segment(*steps[n], 1.0)
    load = node.load_rules if family == 4 else node.load_rules6
    for text in ("*filter\n-A FORWARD -p udp\nCOMMIT\n", rules.format("INVALID")):
        load(text)
        nat.reload()
    # far outside of every window
    segment(1 if state != "SYN_SENT" else 0, "A", 4_000_000, 101, 2.0)
    text = nat.save_rules(family)
    invalid = "[1:" in next(line for line in text.splitlines() if "INVALID" in line)
    assert invalid == (state != "ESTABLISHED")
    nat.check()


# ---------------------------------------------------------------- proxies
PROXY = """table {own} t {{
    chain pre {{ type filter hook prerouting priority mangle
        socket transparent 1 counter
        tcp dport 80 tproxy to :3128 meta mark set 1
        udp dport 53 tproxy to :3128 meta mark set 1
    }}
}}
"""


@FAMILIES
def test_a_proxy_has_sockets_of_tcp_it_was_given_and_no_others(family, tmp_path):
    """nft_socket_eval finds what is established: a connection that tproxy took, of TCP; UDP has no such socket."""
    six = "6" if family == 6 else ""
    node = router(family, nft=PROXY.format(own=f"ip{six}"))
    # conntrack on, as the engine knows sockets of the proxy by connections
    (node.load_rules if family == 4 else node.load_rules6)(MASQUERADE.format(""))
    node.save(tmp_path)
    rules = [
        {"priority": 5, "src": "all", "fwmark": "0x1", "table": "100"},
        {"priority": 32766, "src": "all", "table": "main"},
    ]
    (tmp_path / f"rule{six}.json").write_text(json.dumps([{"priority": 0, "src": "all", "table": "local"}, *rules]))
    routes = json.loads((tmp_path / f"route{six}.json").read_text())
    there = {"type": "local", "dst": "default", "dev": "lo", "table": "100"}
    (tmp_path / f"route{six}-all.json").write_text(json.dumps([*routes, there]))
    nat = fastnat.Engine(fastnat.Node.load(tmp_path))

    def found():
        line = next(line for line in nat.list_nft().splitlines() if "socket transparent" in line)
        return int(line.split("packets ")[1].split()[0])

    tcp = {"proto": "tcp", "tcp_flags": SYN}
    for fields, verdict, finds in (
        ({**tcp, "dport": 80}, Verdict.LOCAL, 0), ({**tcp, "dport": 80}, Verdict.LOCAL, 1),
        ({**tcp, "dport": 81}, Verdict.FORWARD, 0), ({**tcp, "dport": 81}, Verdict.FORWARD, 0),
        ({"dport": 53}, Verdict.LOCAL, 0), ({"dport": 53}, Verdict.LOCAL, 0),
        ({"dport": 54}, Verdict.FORWARD, 0), ({"dport": 54}, Verdict.FORWARD, 0),
        # to the node itself, without a proxy
        ({**tcp, "dport": 82, "dst": OWN[family]}, Verdict.LOCAL, 0),
        ({**tcp, "dport": 82, "dst": OWN[family]}, Verdict.LOCAL, 0),
        ({**tcp, "dport": 80, "sport": 7}, Verdict.LOCAL, 0), ({**tcp, "dport": 80}, Verdict.LOCAL, 1),
    ):  # fmt: skip
        before = found()
        assert nat.process(queries(nat, family, 1, **fields))["verdict"][0] == verdict, fields
        assert found() - before == finds, fields
    nat.check()


def test_masquerade_without_a_gateway_asks_for_each_destination(tmp_path):
    """inet_select_addr: of a device's networks the one that the destination is in, though one route leads to all."""
    node = fastnat.Node()
    node.add_interface("r0", ["10.1.0.1/24"])
    node.add_interface("r1", ["10.2.0.1/24", "10.5.0.1/24", "10.6.0.1/24"])
    node.add_route("default", dev="r1")
    node.add_route("9.9.9.0/24", via="10.2.0.9", dev="r1")
    node.load_rules(MASQUERADE.format(""))
    node.save(tmp_path)
    # addresses with noprefixroute
    routes = [r for r in json.loads((tmp_path / "route.json").read_text()) if not r["dst"].startswith("10.")]
    (tmp_path / "route.json").write_text(json.dumps(routes))
    node = fastnat.Node.load(tmp_path)
    expected = {
        "10.2.0.7": "10.2.0.1",
        "10.5.0.7": "10.5.0.1",
        "10.6.0.7": "10.6.0.1",
        "203.0.113.5": "10.2.0.1",
        "9.9.9.9": "10.2.0.1",
    }
    rng = np.random.default_rng(1)
    for remember in (True, False):
        nat = fastnat.Engine(node, remember=remember)
        where = rng.choice(list(expected), 300).tolist()
        batch = nat.packets(proto="udp", src="10.1.0.2", sport=1024 + np.arange(300), dst=where, dport=53, iface="r0")
        out = np.concatenate([nat.process(part) for part in np.array_split(batch, 40)])
        assert [fastnat.addresses.to_text(int(a)) for a in out["src"]] == [expected[dst] for dst in where]


# ---------------------------------------------------------------- races, and what is translated
@FAMILIES
@pytest.mark.parametrize("proto", [17, 136, 50, 89, 47, 6, 132, 1])
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
def test_which_protocols_forgive_a_race(family, proto, profile):
    """nf_conntrack_l4proto.allow_clash: two CPUs with the first packets of one flow; see docs/profiles.md."""
    nat = fastnat.Engine(router(family, "*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n"), profile)
    icmp = proto == 1
    fields = {
        "proto": 58 if icmp and family == 6 else proto,
        "sport": 7,
        "dport": ((8, 128)[family == 6] << 8) if icmp else 9,
    }
    batch = np.tile(queries(nat, family, 1, tcp_flags=SYN if proto == 6 else 0, **fields), 2)
    out = nat.process(batch, 1.0, cpus=2)
    forgiven = proto in (17, 136) or (profile == "linux-6.18" and proto in (50, 89, 47))
    assert out["verdict"].tolist() == [Verdict.FORWARD, Verdict.FORWARD if forgiven else Verdict.DROP]
    assert nat.stats["clash_resolve"] == (1 if forgiven and profile == "linux-6.18" else nat.stats["clash_resolve"])
    assert (nat.stats["drop"] > 0) == (not forgiven)
    assert len(nat.conntrack) == 1
    nat.check()


@FAMILIES
def test_ids_of_every_icmp_query_come_back(family):
    """icmp_manip_pkt: echo, time stamp, information and address mask have an id; of ICMPv6 echo alone."""
    kinds = {8: 0, 13: 14, 15: 16, 17: 18} if family == 4 else {128: 129}
    nat = fastnat.Engine(router(family, MASQUERADE.format("")))
    for kind, answer in kinds.items():
        seen = set()
        for client in map(str, clients(family, 4)):
            made = icmp(
                kind, 0, struct.pack(">HH", 77, 1), b"data", v6=(client, SERVER[family]) if family == 6 else None
            )
            proto, at = (1, 20) if family == 4 else (58, 40)
            sent = ip4(client, SERVER[family], 1, made) if family == 4 else ip6(client, SERVER[family], 58, made)
            verdict, out = nat.process_packet(sent, "r0", 1.0)
            assert verdict == Verdict.FORWARD
            number = int.from_bytes(out[at + 4 : at + 6])
            seen.add(number)
            ends = (SERVER[family], OWN[family])
            made = icmp(answer, 0, struct.pack(">HH", number, 1), b"data", v6=ends if family == 6 else None)
            back = ip4(*ends, proto, made) if family == 4 else ip6(*ends, proto, made)
            verdict, out = nat.process_packet(back, "r1", 1.0)
            assert verdict == Verdict.FORWARD
            expected = icmp(
                answer, 0, struct.pack(">HH", 77, 1), b"data", v6=(SERVER[family], client) if family == 6 else None
            )
            # the checksum, too
            assert out[at:] == expected
        assert len(seen) == 4 and 77 in seen


@FAMILIES
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
@pytest.mark.parametrize("more", ["", " --random"])
def test_where_the_search_for_a_port_of_dnat_begins(family, profile, more):
    """nf_nat_l4proto_unique_tuple: for a destination 6.18 begins at the first port unless asked to draw; 5.4 draws."""
    to = f"[{SERVER[family]}]:3000-3999" if family == 6 else f"{SERVER[family]}:3000-3999"
    rules = f"*nat\n-A PREROUTING -i r0 -p udp -j DNAT --to-destination {to}{more}\nCOMMIT\n"
    for remember in (True, False):
        nat = fastnat.Engine(router(family, rules), profile, remember=remember)
        ports = nat.process(queries(nat, family, 200))["dport"].tolist()
        drawn = profile == "linux-5.4" or bool(more)
        assert (len(set(ports)) > 100) if drawn else set(ports) == {3000}
        assert min(ports) >= 3000 and max(ports) <= 3999


@FAMILIES
@pytest.mark.parametrize("policy", [0, 1])
@pytest.mark.parametrize("proto", [17, 6, 132, 136, 89, 103, 255, 47])
def test_headers_alone_take_the_next_hop_of_their_packets(family, policy, proto):
    """The flow dissector reads the same: ports where there are two, else none."""
    node = router(family)
    node.sysctls |= {
        f"net.ipv{family}.fib_multipath_hash_policy": str(policy),
        "net.ipv4.fib_multipath_hash_seed": "77",
    }
    node.add_interface("r2", ["10.7.0.1/24", "fd07::1/64"])
    far, *hops = ("45.0.0.0", "10.2.0.7", "10.7.0.7") if family == 4 else ("2600::", "fd02::7", "fd07::7")
    hops = tuple(Hop(device, int(ipaddress.ip_address(a))) for device, a in zip(("r1", "r2"), hops, strict=True))
    (node.routes if family == 4 else node.routes6).append(
        Route(int(ipaddress.ip_address(far)), 8 if family == 4 else 16, "r1", hops[0].gateway, hops=hops)
    )
    nat = fastnat.Engine(node)
    first = ipaddress.ip_address("45.7.7.1" if family == 4 else "2600:7::1")
    ways = set()
    for n in range(40):
        src, dst = str(clients(family, 40)[n]), str(first + n)
        batch = nat.packets(proto=proto, src=src, dst=dst, sport=1000 + n, dport=53, iface="r0", tcp_flags=SYN)
        alone = int(nat.process(batch)["out_iface"][0])
        l4 = struct.pack(">HHHH", 1000 + n, 53, 8, 0) + bytes(16)
        sent = ip4(src, dst, proto, l4) if family == 4 else ip6(src, dst, proto, l4)
        result = nat.stacks[family].core.process_frames(
            np.frombuffer(bytearray(sent), np.uint8), np.array([0, len(sent)]), batch["iface"].copy(), 0.0
        )
        if proto != 47:
            # what is within GRE is read, too, if its header says that it is of version 0
            assert int(result["out_iface"][0]) == alone, n
        ways.add(alone)
    assert len(ways) == 2


@FAMILIES
@pytest.mark.parametrize("size", [1499, 1500, 1501, 2000])
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_too_large_for_the_next_device(family, size, whole):
    """ip_forward, ip6_forward: dropped where it may not be cut, of IPv6 always; in a buffer and alone."""
    l4 = bytes(8) + bytes(size - (28 if family == 4 else 48))
    l4 = struct.pack(">HHHH", 1, 2, len(l4), 0) + l4[8:]
    sent = bytearray(ip4(CLIENT[4], SERVER[4], 17, l4) if family == 4 else ip6(CLIENT[6], SERVER[6], 17, l4))
    if family == 4 and whole:
        sent[6] |= 0x40
        sent[10:12] = bytes(2)
        sent[10:12] = struct.pack(">H", csum(bytes(sent[:20])))
    assert len(sent) == size
    expected = Verdict.DROP if size > 1500 and (whole or family == 6) else Verdict.FORWARD
    nat = fastnat.Engine(router(family))
    assert nat.process_packet(bytes(sent), "r0", 1.0)[0] == expected
    core = nat.stacks[family].core
    number = np.array([nat.node.iface_number("r0")], np.uint16)
    out = core.process_frames(np.frombuffer(sent, np.uint8), np.array([0, size]), number, 1.0)
    assert out["verdict"][0] == expected
    # a device that nobody has
    out = core.process_frames(np.frombuffer(sent, np.uint8), np.array([0, size]), number + 40, 1.0)
    assert (out["verdict"][0], out["reason"][0]) == (Verdict.DROP, fastnat.Reason.INTERFACE)


@FAMILIES
def test_a_limit_of_nftables_saves_up_no_more_than_its_burst(family):
    rules = "limit rate 1/second burst 3 packets accept\ndrop"
    nft = nft_chain(family, rules)
    nat = fastnat.Engine(router(family, nft=nft))
    passed = [
        int((nat.process(queries(nat, family, 6), now)["verdict"] == Verdict.FORWARD).sum())
        for now in (0.0, 1.0, 100.0, 102.5)
    ]
    assert passed == [3, 1, 3, 2]


HELPERS = {(6, 21): "ftp", (17, 69): "tftp", (6, 1723): "pptp"}


@FAMILIES
@pytest.mark.parametrize("on", [0, 1])
def test_linux_54_gives_helpers_by_port(family, on):
    """nf_conntrack_helper=1: by protocol and port alone; of IPv6 there is none for PPTP."""
    node = router(family, "*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n")
    node.sysctls["net.netfilter.nf_conntrack_helper"] = str(on)
    nat = fastnat.Engine(node, "linux-5.4")
    for proto, dport in itertools.product((6, 17), (20, 21, 22, 68, 69, 70, 1722, 1723, 1724)):
        nat.process(queries(nat, family, 1, proto=proto, sport=dport, dport=dport, tcp_flags=SYN if proto == 6 else 0))
        line = str(nat.conntrack.find({6: "tcp", 17: "udp"}[proto], CLIENT[family], dport, SERVER[family], dport))
        name = HELPERS.get((proto, dport)) if on else None
        name = None if name == "pptp" and family == 6 else name
        assert (f"helper={name}" in line) if name else "helper=" not in line, line


@FAMILIES
def test_elements_of_a_set_end_at_their_time(family):
    """hash:ip with a timeout: the jiffy in which it ends still has the element, the next has not (SET_ELEM_EXPIRED)."""
    node = router(family)
    one, two = map(str, clients(family, 2))
    node.load_sets(
        f"create T hash:ip family inet{'6' if family == 6 else ''} timeout 5\nadd T {one}\nadd T {two} timeout 0\n"
    )
    (node.load_rules if family == 4 else node.load_rules6)(
        "*filter\n-A FORWARD -m set --match-set T src -j DROP\nCOMMIT\n"
    )
    nat = fastnat.Engine(node)
    dropped = [
        [v == Verdict.DROP for v in nat.process(queries(nat, family, 3, sport=9 + n), now)["verdict"].tolist()]
        for n, now in enumerate((0.0, 4.9, 5.0, 5.004, 5.008, 100.0))
    ]
    assert [row[0] for row in dropped[:2]] == [True, True]
    assert [row[0] for row in dropped[3:]] == [False, False, False]
    assert [row[1:] for row in dropped] == [[True, False]] * 6
