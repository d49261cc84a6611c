"""Bounds of the engine's own: room for exactly one more connection or element, the jiffy of a stream, the way back."""

import ipaddress
import itertools
import json

import numpy as np
import pytest
from behaviour.test_corner_steps import CLIENT, FAMILIES, MASQUERADE, OWN, SERVER, clients, nft_chain, router
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6

import fastnat
from fastnat import CtInfo, InputError, Reason, Verdict


def some(n, quick):
    """Return n seeds, of which `make test` asks the first ones."""
    return [pytest.param(k, marks=[] if k < quick else pytest.mark.slow) for k in range(n)]


def queries(nat, family, n, **fields):
    """Return packets of n clients, each of which opens a connection."""
    given = {
        "proto": "udp",
        "src": clients(family, n),
        "sport": 4000,
        "dst": SERVER[family],
        "dport": 53,
        "iface": "r0",
    }
    return nat.packets(**given | fields)


@FAMILIES
@pytest.mark.parametrize("most", [1, 2, 7])
def test_packets(family, most):
    """nf_conntrack_max connections, and not one more, where none may be dropped early."""
    nat = fastnat.Engine(router(family, MASQUERADE.format("")), max_connections=most)
    batch = queries(nat, family, most + 1)
    out = nat.process(batch[:most])
    back = {"src": out["dst"], "sport": out["dport"], "dst": out["src"], "dport": out["sport"], "iface": 2, "proto": 17}
    answers = np.zeros(most, batch.dtype)
    for name, values in back.items():
        answers[name] = values
    # twice, so that they are assured: the second answer comes when the stream is older than 2 s
    for now in (0.0, 3.0):
        nat.process(answers, now)
        nat.process(batch[:most], now)
    assert (nat.process(answers, 3.0)["verdict"] == Verdict.FORWARD).all()
    assert len(nat.conntrack) == most
    late = nat.process(batch[most:], 3.0)[0]
    assert (late["verdict"], late["reason"]) == (Verdict.DROP, Reason.TABLE_FULL)
    nat.check()


@FAMILIES
@pytest.mark.parametrize("most", [1, 2, 7])
def test_conntrack_insert(family, most):
    nat = fastnat.Engine(router(family), max_connections=most)
    server = SERVER[family]
    lines = [
        f"udp      17 30 src={client} dst={server} sport=1 dport=2 src={server} dst={client} sport=2 dport=1"
        for client in clients(family, most + 1)
    ]
    assert nat.conntrack.load("\n".join(lines[:most])) == most
    before = nat.conntrack.format()
    with pytest.raises(InputError):
        nat.conntrack.load(lines[most])
    assert nat.conntrack.format() == before
    nat.check()


@FAMILIES
@pytest.mark.parametrize("less", [0, 1])
def test_restore(family, less, tmp_path):
    """A saved engine has its own limit: what it held comes back whole, and the next packet meets the limit."""
    nat = fastnat.Engine(router(family, MASQUERADE.format("")), max_connections=5)
    nat.process(queries(nat, family, 5 - less))
    assert len(nat.conntrack) == 5 - less
    nat.save(tmp_path / "state")
    for other in (fastnat.Engine.restore(tmp_path / "state"), nat.fork()):
        assert other.conntrack.format() == nat.conntrack.format()
        # nobody has been answered: one is dropped early for each newcomer
        out = other.process(queries(other, family, 3, sport=9))
        assert (out["verdict"] == Verdict.FORWARD).all()
        assert len(other.conntrack) == 5
        assert other.stats["early_drop"] == nat.stats["early_drop"] + 3 - less
        other.check()


@pytest.mark.one_of(3)
@FAMILIES
@pytest.mark.parametrize("jiffies", [-2, -1, 0, 1, 2, 250])
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
def test_when_a_datagram_makes_a_stream(family, jiffies, profile):
    """udp_packet: what comes behind two seconds from the first packet on: by the short way as by the long one."""
    said = []
    for remember in (True, False):
        nat = fastnat.Engine(router(family, MASQUERADE.format("")), profile, remember=remember)
        sent = queries(nat, family, 40)
        out = nat.process(sent, 1.0)
        back = sent.copy()
        for name, value in (("src", out["dst"]), ("dst", out["src"]), ("sport", out["dport"]), ("dport", out["sport"])):
            back[name] = value
        back["iface"] = nat.node.iface_number("r1")
        nat.process(back, 1.1)
        at = 3.0 + jiffies / 250
        seen = [nat.process(sent, at), nat.process(back, at), nat.process(sent, at + 0.004)]
        said.append((np.concatenate(seen).tobytes(), nat.conntrack.format("proc"), nat.conntrack.to_numpy().tobytes()))
        assured = nat.conntrack.format().count("ASSURED")
        assert assured == (40 if profile == "linux-5.4" or jiffies >= 0 else 0)
        nat.check()
    assert said[0] == said[1]


DEVICES = ("r0", "r1", "r2")
SYSCTLS = ("rp_filter", "accept_local", "forwarding", "send_redirects", "src_valid_mark")


def filtered(rng, family):
    """Return a node of three devices and of whatever checks of the way back; two of them lead to the same networks."""
    node = router(family, MASQUERADE.format("") if rng.random() < 0.5 else "")
    node.add_interface("r2", ["10.3.0.1/24", "fd04::1/64"])
    if rng.random() < 0.5:
        to = ("45.7.0.0/16", "10.3.0.9") if family == 4 else ("2600:7::/32", "fd04::9")
        node.add_route(to[0], via=to[1], dev="r2")
    for device in (*DEVICES, "all"):
        for name in SYSCTLS:
            if rng.random() < 0.3 and (device, name) != ("all", "forwarding"):
                value = int(rng.integers(0, 3)) if name == "rp_filter" else int(rng.random() < 0.7)
                node.sysctls[f"net.ipv{family}.conf.{device}.{name}"] = str(value)
    return node


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("seed", some(24, 8))
def test_who_comes_by_another_device(family, seed):
    """Both directions of connections come by each device: short ways ask what the long way asks of the way back."""
    found = []
    for remember in (True, False):
        rng = np.random.default_rng(seed)
        nat = fastnat.Engine(filtered(rng, family), seed=seed, remember=remember)
        ends = {4: ("10.1.0.2", "10.1.0.3", "45.7.7.7", "203.0.113.9", "10.3.0.5"),
                6: ("fd01::2", "fd01::3", "2600:7::7", "fd03::9", "fd04::5")}[family]  # fmt: skip
        n = 1200
        pairs = [(ends[a], ends[b]) for a, b in rng.integers(0, len(ends), (n, 2)).tolist()]
        proto = rng.choice([17, 17, 6], n)
        batch = nat.packets(
            proto=proto, src=[p[0] for p in pairs], dst=[p[1] for p in pairs], sport=rng.choice([4000, 53], n),
            dport=rng.choice([4000, 53], n), iface=rng.integers(0, 4, n), tcp_flags=rng.choice([2, 16, 18], n),
            length=rng.integers(60, 90, n), mark=rng.choice([0, 1], n),
        )  # fmt: skip
        out = nat.process(batch, np.cumsum(rng.choice([0.0, 0.004, 0.5], n)))
        nat.check()
        found.append((out, nat.conntrack.format("proc"), nat.stats))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]
    # without rules nobody is tracked
    assert (out["ctinfo"] <= CtInfo.RELATED).sum() > 20 or not nat.stats["new"]


@FAMILIES
@pytest.mark.parametrize("proto", ["udp", "tcp", "icmp"])
def test_rules_of_nftables_find_nothing_behind_the_end_of_a_header(family, proto):
    """A packet of headers alone ends where its transport header does."""
    sizes = {"nh": 20 if family == 4 else 40, "th": 20 if proto == "tcp" else 8}
    rules = [
        f"@{base},{8 * at},{8 * size} >= 0 counter"
        for base, end in sizes.items() for size in (1, 2, 4, 16) for at in range(max(end - size + 1, 0), end + 17)
    ]  # fmt: skip
    nft = nft_chain(family, "\n".join(rules), "prerouting")
    nat = fastnat.Engine(router(family, nft=nft))
    number = {"udp": 17, "tcp": 6, "icmp": 1 if family == 4 else 58}[proto]
    nat.process(nat.packets(proto=number, src=CLIENT[family], dst=SERVER[family], sport=1, dport=2048, iface="r0"))
    met = [line for line in nat.list_nft().splitlines() if "counter packets" in line and "packets 0" not in line]
    assert met == []


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("seed", some(6, 1))
def test_sets_of_nftables_that_fill_and_empty(family, seed):
    """Elements that rules add, keep for longer and delete, in sets that are soon full: a dict does the same."""
    size, rng = 4, np.random.default_rng(seed)
    own, kind = ("ip", "ipv4_addr") if family == 4 else ("ip6", "ipv6_addr")
    changes = [("add", "plain", ""), ("delete", "plain", ""), ("add", "timed", ""), ("update", "timed", ""),
               ("delete", "timed", ""), ("add", "timed", " timeout 7s")]  # fmt: skip
    text = "\n".join([
        f"table {own} t {{",
        f"set plain {{ type {kind}; flags dynamic; size {size}; }}",
        f"set timed {{ type {kind}; flags dynamic,timeout; timeout 3s; size {size}; }}",
        "chain c {", "type filter hook prerouting priority 0;",
        *(f"udp dport {port} {op} @{name} {{ {own} saddr{more} }} counter"
          for port, (op, name, more) in enumerate(changes, 1)),
        "}", "}", "",
    ])  # fmt: skip
    nat = fastnat.Engine(router(family, nft=text))
    sources, now = clients(family, 9), 0.0
    plain, timed = set(), {}
    for _ in range(400):
        now += float(rng.choice([0.0, 0.25, 0.25, 1.0]))
        op, who = int(rng.integers(1, 7)), sources[int(rng.integers(0, 9))]
        nat.process(nat.packets(proto="udp", src=str(who), dst=SERVER[family], sport=1, dport=op, iface="r0"), now)
        timed = {key: end for key, end in timed.items() if end > now}
        if op == 1 and len(plain) < size:
            plain.add(who)
        elif op == 2:
            plain.discard(who)
        elif op in (3, 4, 6) and (who in timed or len(timed) < size):
            if who not in timed or op == 4:
                timed[who] = now + (7 if op == 6 else 3)
        elif op == 5:
            timed.pop(who, None)
        listed = nat.list_nft()
        for name, held in (("plain", plain), ("timed", timed)):
            block = listed.partition(f"set {name} {{")[2].partition("\n\t}")[0]
            inside = block.partition("elements = {")[2].partition("}")[0]
            there = {ipaddress.ip_address(part.split()[0]) for part in inside.split(",") if part.strip()}
            assert there == set(held), (now, op, who)


def assert_walked_alike(family, rules):
    """Compare how many rules six packets walk, more than 16 bits count for each, with and without memos."""
    walked = []
    for remember in (True, False):
        nat = fastnat.Engine(router(family, rules), remember=remember)
        for _ in range(3):
            nat.process(queries(nat, family, 2))
        walked.append(nat.stats["rules_walked"])
    assert walked[0] == walked[1] > 6 * 65_535


@FAMILIES
def test_more_rules_than_a_memo_counts(family):
    """A walk of 65,536 rules or more is not remembered: its length would not fit."""
    levels = 16
    lines = [f":C{n} - [0:0]" for n in range(levels)] + ["-A FORWARD -j C0"]
    lines += [f"-A C{n} -j C{n + 1}" for n in range(levels - 1) for _ in range(2)]
    rules = "\n".join(["*filter", *lines, "COMMIT", ""])
    assert_walked_alike(family, rules)


@pytest.mark.one_of(2)
@FAMILIES
def test_many_rules_between_few_that_match(family):
    """As many walked, and few enough matches for a memo."""
    lines = [
        ":C - [0:0]",
        *["-A FORWARD -j C"] * 9,
        *(f"-A C -m length --length {n + 2000} -j DROP" for n in range(7300)),
    ]
    rules = "\n".join(["*filter", *lines, "COMMIT", ""])
    assert_walked_alike(family, rules)


@FAMILIES
def test_policies_count_beside_chains_of_nftables(family):
    nft = nft_chain(family, "counter", priority=1)
    empty = "*mangle\n:FORWARD ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
    nat = fastnat.Engine(router(family, empty, nft))
    nat.process(queries(nat, family, 7, length=100))
    text = nat.save_rules(family)
    assert text.count(":FORWARD ACCEPT [7:700]") == 2
    assert ":INPUT ACCEPT [0:0]" in text
    assert "counter packets 7 bytes 700" in nat.list_nft()


@pytest.mark.one_of(2)
@FAMILIES
def test_both_directions_have_one_symhash(family):
    """skb_get_hash does not ask which end speaks; also where a host speaks to itself, and ports alone differ."""
    own, buckets = ("ip" if family == 4 else "ip6"), 16
    chains = "".join(f"chain c{n} {{\ncounter\n}}\n" for n in range(buckets))
    jumps = ", ".join(f"{n} : jump c{n}" for n in range(buckets))
    main = f"chain m {{\ntype filter hook prerouting priority 0;\nsymhash mod {buckets} vmap {{ {jumps} }}\n}}\n"
    ends = [str(one) for one in clients(family, 4)]
    rng = np.random.default_rng(1)
    for _ in range(25):
        nat = fastnat.Engine(router(family, nft=f"table {own} t {{\n{chains}{main}}}\n"))
        src, dst = (ends[k] for k in rng.integers(0, len(ends), 2).tolist())
        sport, dport = rng.integers(1, 9, 2).tolist()
        for there in ((src, dst, sport, dport), (dst, src, dport, sport)):
            fields = dict(zip(("src", "dst", "sport", "dport"), there, strict=True))
            nat.process(nat.packets(proto="udp", iface="r0", **fields))
        assert nat.list_nft().count("counter packets 2") == 1


SYN, ACK, FIN, RST = 2, 16, 1, 4
# what the two ends say behind the handshake, and whether the connection still counts
ENDINGS = {
    "open": ((), True), "half closed": ((("there", FIN | ACK), ("back", ACK)), True),
    "reset": ((("there", RST | ACK),), False),
    "closed": ((("there", FIN | ACK), ("back", FIN | ACK), ("there", ACK)), False),
}  # fmt: skip


@FAMILIES
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("native", [False, True])
def test_connections_that_are_over_do_not_count(family, ending, native):
    """already_closed of nf_conncount.c: TIME_WAIT and CLOSE, of TCP alone."""
    nft = nft_chain(family, "ct count over 2 drop")
    limit = "*filter\n-A FORWARD -p tcp -m connlimit --connlimit-above 2 -j DROP\nCOMMIT\n"
    nat = fastnat.Engine(router(family, nft=nft) if native else router(family, limit))
    now = 0.0

    def say(sport, way, flags):
        nonlocal now
        now += 0.1
        here, there = (CLIENT[family], sport, "r0"), (SERVER[family], 80, "r1")
        (src, sport, iface), (dst, dport, _) = (here, there) if way == "there" else (there, here)
        ends = {"src": src, "dst": dst, "sport": sport, "dport": dport, "iface": iface}
        return nat.process(nat.packets(proto="tcp", tcp_flags=flags, **ends), now)["verdict"][0]

    said, counts = ENDINGS[ending]
    for sport in (1000, 1001):
        for way, flags in (("there", SYN), ("back", SYN | ACK), ("there", ACK)):
            assert say(sport, way, flags) == Verdict.FORWARD
    for way, flags in said:
        say(1000, way, flags)
    assert (say(1002, "there", SYN) == Verdict.DROP) == counts


@FAMILIES
def test_what_elements_of_nftables_carry(family):
    """A counter and a quota for each element: the counter counts all, the rule goes on as long as the quota holds."""
    own, kind = ("ip", "ipv4_addr") if family == 4 else ("ip6", "ipv6_addr")
    text = (
        f"table {own} t {{\nset s {{ type {kind}; size 9; flags dynamic; counter; quota 250 bytes; }}\n"
        f"chain c {{\ntype filter hook prerouting priority 0;\nupdate @s {{ {own} saddr }} counter\n}}\n}}\n"
    )
    nat = fastnat.Engine(router(family, nft=text))
    for n in (1, 2, 3, 3, 3, 3):
        nat.process(queries(nat, family, 1, src=clients(family, 4)[n], length=100))
    listed = nat.list_nft()
    for n, held, elements in ((1, 100, 2), (4, 250, 1)):
        assert listed.count(f"counter packets {n} bytes {n}00 quota 250 bytes used {held} bytes") == elements
    # of the third source two packets are within the quota
    assert "} counter packets 4 bytes 400" in listed


@pytest.mark.parametrize("forwarding", [0, 1])
def test_groups_of_ipv6_that_a_node_is_in(forwarding):
    """addrconf_join_solict, dev_forward_change: all nodes of a link or of the node; routers also those of the site."""
    node = fastnat.Node()
    node.add_interface("r0", ["fd01::1/64"])
    node.sysctls["net.ipv6.conf.all.forwarding"] = str(forwarding)
    node.load_rules6(MASQUERADE.format(""))
    nat = fastnat.Engine(node)
    # and those of the machine itself, ff01::1 and ff01::2: RFC 4291, 2.7: they do not come from another
    members = {(2, 1), (2, 2), (5, 2)} if forwarding else {(2, 1)}
    for scope, low in itertools.product(range(16), (0, 1, 2, 3, 5, 0x101, 0x10002)):
        dst = f"ff{scope:02x}::{low >> 16:x}:{low & 0xFFFF:x}"
        verdict, _ = nat.process_packet(bytes(IPv6(src="fd01::2", dst=dst) / UDP(sport=1, dport=2)), "r0")
        assert (verdict == Verdict.LOCAL) == ((scope, low) in members), (scope, low)


@FAMILIES
@pytest.mark.parametrize("remember", [True, False])
def test_nothing_of_the_connection_that_a_record_had_shows(family, remember):
    """Zones, marks, helpers and translation are another's: new rules meet records as an engine without a past does."""
    before = (
        "*raw\n-A PREROUTING -p tcp -j CT --zone 5\n-A PREROUTING -p udp --dport 53 -j CT --zone-orig 7\n"
        "-A PREROUTING -p udp --dport 69 -j CT --helper tftp\nCOMMIT\n"
        "*mangle\n-A FORWARD -j CONNMARK --set-mark 9\nCOMMIT\n" + MASQUERADE.format("--random")
    )
    node = router(family, before)
    node.sysctls["net.netfilter.nf_conntrack_acct"] = "1"
    used = fastnat.Engine(node, remember=remember)
    for proto, dport in (("tcp", 80), ("udp", 53), ("udp", 69), ("sctp", 7)):
        used.process(queries(used, family, 30, proto=proto, dport=dport, tcp_flags=2))
    assert used.conntrack.flush() == 120
    (node.load_rules if family == 4 else node.load_rules6)(MASQUERADE.format(""))
    node.sysctls["net.netfilter.nf_conntrack_acct"] = "0"
    used.reload()
    new = fastnat.Engine(router(family, MASQUERADE.format("")), remember=remember)
    shown = []
    for nat in (used, new):
        batch = queries(nat, family, 150, sport=np.arange(5000, 5150))
        out = nat.process(batch)
        back = batch.copy()
        for name, value in (("src", out["dst"]), ("dst", out["src"]), ("sport", out["dport"]), ("dport", out["sport"])):
            back[name] = value
        back["iface"] = nat.node.iface_number("r1")
        assert (nat.process(back, 0.1)["ctinfo"] == CtInfo.ESTABLISHED_REPLY).all()
        nat.check()
        shown.append(sorted(nat.conntrack.format("extended").splitlines()))
    assert shown[0] == shown[1]


@FAMILIES
def test_a_redirect_of_the_node_s_own_packets_leads_to_itself(family):
    """nf_nat_redirect: what the node sends goes to 127.0.0.1 or ::1."""
    rules = "*nat\n-A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 5353\nCOMMIT\n"
    node = router(family, rules)
    node.add_address("lo", "::1/128")
    nat = fastnat.Engine(node)
    out = nat.process(nat.packets(proto="udp", src=OWN[family], dst=SERVER[family], sport=9, dport=53, iface=0))[0]
    (connection,) = nat.conntrack
    assert connection.reply[0] == (1 if family == 6 else 0x7F000001)
    assert (out["dport"], out["verdict"]) == (5353, Verdict.LOCAL)


@FAMILIES
@pytest.mark.parametrize("mark", [0, 1])
def test_fib_asks_for_marks_if_a_rule_names_them(family, mark, tmp_path):
    """nft_fib: without `mark` among what it asks for, policy rules see a packet without one."""
    own, more = ("ip", "") if family == 4 else ("ip6", "6")
    router(family).save(tmp_path)
    network = ipaddress.ip_network(f"{CLIENT[family]}/{16 if family == 4 else 64}", strict=False)
    routes = [{"dst": str(network), "dev": "r0"}, {"dst": "default", "dev": "r1", "table": "100"}]
    marked = {"priority": 5, "src": "all", "fwmark": "0x1", "table": "100"}
    policy = [marked, *({"priority": n, "src": "all", "table": name} for n, name in ((0, "local"), (32766, "main")))]
    (tmp_path / f"route{more}-all.json").write_text(json.dumps(routes))
    (tmp_path / f"rule{more}.json").write_text(json.dumps(policy))
    (tmp_path / "rules.nft").write_text(
        f"table {own} t {{\nchain c {{\ntype filter hook prerouting priority 0;\n"
        'fib saddr oifname "r0" counter\nfib saddr . mark oifname "r0" counter\n}\n}\n'
    )
    nat = fastnat.Engine(fastnat.Node.load(tmp_path))
    nat.process(queries(nat, family, 1, mark=mark))
    counted = [line.split("packets ")[1][0] for line in nat.list_nft().splitlines() if "packets" in line]
    assert counted == ["1", "0" if mark else "1"]
