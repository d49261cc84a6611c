"""Timeout policies of nftables, `ct timeout`: which connections get one, how long they last, and what takes it away.

Times and refusals were recorded with nft 1.0.6 and Linux 6.18 by `conntrack -L`.
"""

import random

import numpy as np
import pytest
from behaviour.test_nftables import FORWARD, V6, chain, engine_of, send

import fastnat
from fastnat import nftables
from fastnat.errors import InputError, RuleError

LATE = "type filter hook postrouting priority 300;"
OBJECTS = """
    ct timeout quick { protocol udp; policy = { unreplied: 7, replied: 9 }; }
    ct timeout slow { protocol udp; policy = { replied: 900 }; }
    ct timeout closing { protocol tcp; policy = { established: 200, time_wait: 10 }; }
    ct timeout opening { protocol tcp; policy = { syn_sent: 44, retrans: 5, unack: 6, close: 3 }; }
    ct timeout none { protocol udp; policy = { unreplied: 0 }; }
"""
TCP = {"proto": "tcp", "dport": 80, "sport": 5000}
FIN, SYN, RST, ACK = 1, 2, 4, 16


def made(rules, base=FORWARD, family="ip", more="", **settings):
    return engine_of(chain(rules, base, OBJECTS, family) + more, **settings)


def left(engine, **wanted):
    """Return the seconds that the only connection has left."""
    (found,) = (c for c in engine.conntrack if all(getattr(c, k) == v for k, v in wanted.items()))
    return round(found.timeout)


def talk(engine, flags, at=0.0):
    """Pass segments of a TCP flow, (direction, flags) each, a second apart; return what is left behind the last."""
    for n, (reply, bits) in enumerate(flags):
        ends = (
            {"src": "203.0.113.10", "dst": "10.244.1.2", "sport": 80, "dport": 5000, "iface": "eth0"} if reply else {}
        )
        send(engine, at + n, **{**TCP, **ends, "tcp_flags": bits})
    return left(engine)


OPENED = [(False, SYN), (True, SYN | ACK), (False, ACK)]
CLOSED = [*OPENED, (False, FIN | ACK), (True, FIN | ACK), (False, ACK)]


@pytest.mark.one_of(3)
@pytest.mark.parametrize(
    ("rules", "flags", "seconds"),
    [
        ('ct timeout set "closing"', OPENED, 200),
        ('ct timeout set "closing"', CLOSED, 10),
        ('ct timeout set "closing"', CLOSED[:5], 30),
        ('ct timeout set "opening"', OPENED, 432_000),
        ('ct timeout set "opening"', OPENED[:1], 44),
        ('ct timeout set "closing"', OPENED[:1], 120),
        ('ct timeout set "closing" ct timeout set "opening"', CLOSED, 120),
        ('ct timeout set "opening"\nct timeout set "closing"', CLOSED, 10),
        ('ct timeout set "quick"', CLOSED, 120),
        # picked up in the middle: its first packet leaves it the time of SYN_SENT, the next one that of no answer
        ('ct timeout set "opening"', OPENED[2:], 44),
        ('ct timeout set "closing"', OPENED[2:], 120),
        ('ct timeout set "opening"', OPENED[2:] * 2, 6),
        ('ct timeout set "closing"', OPENED[2:] * 2, 200),
        ('ct timeout set "opening"', [*OPENED, (True, RST)], 3),
        ('tcp flags syn ct timeout set "closing"', CLOSED, 10),
        ('tcp flags != syn ct timeout set "closing"', CLOSED, 120),
        ('ct state established ct timeout set "closing"', CLOSED, 120),
        ('ct timeout set tcp dport map { 80 : "closing", 81 : "opening" }', CLOSED, 10),
        ('ct timeout set tcp dport map { 81 : "opening" }', CLOSED, 120),
    ],
)
@pytest.mark.parametrize("remember", [False, True])
def test_tcp_lasts_as_its_policy_says(rules, flags, seconds, remember):
    assert talk(made(rules, remember=remember), flags) == seconds


@pytest.mark.parametrize(
    ("rules", "seconds"),
    [
        ('ct timeout set "quick"', (7, 9, 9)),
        # what an object leaves out is nft's own
        ('ct timeout set "slow"', (30, 30, 900)),
        ('ct timeout set "quick"\nct timeout set "slow"', (30, 30, 900)),
        ('udp dport 54 ct timeout set "quick"', (55, 55, 77)),
        ('ct timeout set "closing"', (55, 55, 77)),
        ('ct direction reply ct timeout set "quick"', (55, 55, 77)),
    ],
)
@pytest.mark.parametrize("base", [FORWARD, LATE, "type filter hook prerouting priority -150;"])
def test_udp_lasts_as_its_policy_says_whatever_the_sysctls_say(rules, seconds, base):
    from nodes import make_dual

    node = make_dual(native=chain(rules, base, OBJECTS))
    node.sysctls |= {
        "net.netfilter.nf_conntrack_udp_timeout": "55", "net.netfilter.nf_conntrack_udp_timeout_stream": "77",
    }  # fmt: skip
    engine, found = fastnat.Engine(node), []
    reply = {"src": "203.0.113.10", "dst": "10.244.1.2", "sport": 53, "dport": 4000, "iface": "eth0"}
    for now, fields in ((0.0, {}), (1.0, reply), (3.0, {})):
        send(engine, now, **fields)
        found.append(left(engine))
    unreplied, replied, stream = seconds
    # a question and its answer last as long as a question
    assert found == [unreplied, unreplied if replied == unreplied else 7, stream]


@pytest.mark.parametrize(
    "base", ["type filter hook prerouting priority -300;", "type filter hook output priority -300;"]
)
def test_in_front_of_conntrack_there_is_no_connection_to_give_it_to(base):
    engine = made('ct timeout set "quick"', base)
    send(engine)
    assert left(engine) == 30


def test_the_protocol_of_layer_3_that_an_object_names_decides_nothing():
    more = """table inet both {
        ct timeout v4 { protocol udp; l3proto ip; policy = { unreplied: 8 }; }
        ct timeout v6 { protocol udp; l3proto ip6; policy = { unreplied: 6 }; }
        chain c {
            type filter hook forward priority 5; meta nfproto ipv6 ct timeout set "v4"; ip ttl 64 ct timeout set "v6";
        }
    }"""
    engine = engine_of(more)
    send(engine)
    assert left(engine) == 6
    send(engine, **V6)
    assert sorted(round(c.timeout) for c in engine.conntrack) == [6, 8]


def test_a_time_of_0_ends_a_connection_in_the_jiffy_in_which_it_begins():
    engine = made('udp dport 53 ct timeout set "none"')
    send(engine)
    reply = {"src": "203.0.113.10", "dst": "10.244.1.2", "sport": 53, "dport": 4000, "iface": "eth0"}
    assert send(engine, **reply)["ctinfo"] == fastnat.dtypes.CtInfo.NEW
    engine.check()
    engine.advance(1.0)
    assert len(engine.conntrack) == 1


@pytest.mark.parametrize(
    ("commands", "seconds"),
    [
        # an object that is there stays as it is
        ("add ct timeout ip t quick { protocol udp; policy = { unreplied: 70, replied: 90 }; }", 9),
        ("flush chain ip t c", 9),
        ("flush chain ip t c\ndelete ct timeout ip t quick", 120),
        ("flush chain ip t c\ndelete ct timeout ip t quick\nadd ct timeout ip t quick { protocol udp; }", 120),
        ("delete table ip t", 120),
        ("flush ruleset", 120),
        ("table ip t { flags dormant; }", 9),
        ("add ct timeout ip t a { protocol udp; }\nadd ct timeout ip t b { protocol tcp; }", 9),
        ("delete ct timeout ip t closing", 9),
    ],
)
def test_what_commands_do_to_connections_with_a_policy(commands, seconds):
    engine = made('ct timeout set "quick"', more="table ip u { chain c { ct state new } }\n")
    send(engine)
    if "flush ruleset" in commands:
        commands += "\ntable ip u { chain c { ct state new } }"
    engine.change_nft(commands)
    # nothing happens to a connection until its next packet
    assert left(engine) == 7
    reply = {"src": "203.0.113.10", "dst": "10.244.1.2", "sport": 53, "dport": 4000, "iface": "eth0"}
    send(engine, 1.0, **reply)
    send(engine, 3.0)
    assert left(engine) == seconds
    engine.check()


def test_an_object_in_use_cannot_be_deleted():
    engine = made('ct timeout set "quick"')
    with pytest.raises(RuleError, match="quick"):
        engine.change_nft("delete ct timeout ip t quick")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (chain('ct timeout set "quick"', more=OBJECTS), 9),
        (chain("counter", more=OBJECTS), 9),
        ("flush ruleset\n" + chain('ct timeout set "quick"', more=OBJECTS), 120),
        (chain("ct state new", more="ct timeout quick { protocol udp; policy = { unreplied: 70 }; }"), 120),
        (chain("ct state new"), 120),
    ],
)
def test_a_reload_keeps_the_policies_whose_objects_stay(text, seconds):
    engine = made('ct timeout set "quick"')
    send(engine)
    engine.node.load_nft(text)
    engine.reload()
    send(engine, 1.0, src="203.0.113.10", dst="10.244.1.2", sport=53, dport=4000, iface="eth0")
    send(engine, 3.0)
    assert left(engine) == seconds
    engine.check()


def test_rules_without_policies_before_and_behind_leave_nothing_in_records():
    engine = engine_of(chain("ct state new"))
    send(engine)
    engine.node.load_nft(chain("ct state new", more=OBJECTS))
    engine.reload()
    engine.node.load_nft(chain('udp sport 9 ct timeout set "quick"', more=OBJECTS))
    engine.reload()
    send(engine, 1.0)
    assert left(engine) == 30


@pytest.mark.parametrize("seed", range(3))
def test_saved_forked_and_remembered_engines_go_on_alike(seed, tmp_path):
    rng = random.Random(seed)
    rules = 'udp dport 1-4 ct timeout set "quick"\ntcp dport 2-5 ct timeout set "closing"\n'
    rules += 'udp dport 4 ct timeout set "slow"'
    engine, other = made(rules, remember=True), made(rules, remember=False)

    def step(now, *engines):
        flow = {"sport": rng.randrange(4000, 4020), "dport": rng.randrange(1, 7), "proto": rng.choice(["udp", "tcp"])}
        bits = rng.choice([SYN, ACK, SYN | ACK, FIN | ACK, RST]) if flow["proto"] == "tcp" else 0
        if rng.random() < 0.5:
            flow |= {
                "src": "203.0.113.10",
                "dst": "10.244.1.2",
                "sport": flow["dport"],
                "dport": flow["sport"],
                "iface": "eth0",
            }
        for one in engines:
            send(one, now, **flow, tcp_flags=bits)

    for n in range(200):
        step(n * 0.5, engine, other)
    assert engine.conntrack.format() == other.conntrack.format()
    engine.save(tmp_path / "state")
    restored, fork = fastnat.Engine.restore(tmp_path / "state"), engine.fork()
    for n in range(200, 300):
        step(n * 0.5, engine, other, restored, fork)
    texts = {"\n".join(sorted(e.conntrack.format().splitlines())) for e in (engine, other, restored, fork)}
    assert len(texts) == 1
    for one in (engine, restored, fork):
        one.check()


@pytest.mark.parametrize(
    ("said", "listed"),
    [
        ("protocol tcp; policy = { established: 3m, close_wait: 20s };", "established : 180, close_wait : 20"),
        # in the order of the states, and without what nft says anyway
        ("policy = { time_wait: 120, unack: 5, syn_sent: 1h1m }; protocol tcp;", "syn_sent : 3660, unack : 5"),
        ("protocol tcp; policy = { established: 300, established: 3 };", "established : 3"),
        ("protocol udp; policy = { unreplied: 30, replied: 120 };", ""),
        ("protocol udp;", ""),
        # what the kernel multiplies is 32 bits wide
        ("protocol tcp; policy = { established: 4294967296 };", "established : 0"),
        ("protocol tcp; policy = { established: 4294967295 };", "established : 17179868"),
    ],
)
def test_how_policies_are_listed(said, listed):
    found = nftables.load(f"table ip t {{ ct timeout x {{ {said} }}\n}}")
    assert f"policy = {{ {listed} }}" in nftables.listing(found)
    assert nftables.load(nftables.listing(found)) == found == nftables.load(nftables.json_listing(found))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("protocol tcp; policy = { unreplied: 3 };", "tcp has no state 'unreplied'; there are syn_sent, "),
        ("protocol udp; policy = { established: 3 };", "udp has no state 'established'; there are unreplied, replied"),
        ("policy = { unreplied: 3 };", "no protocol"),
        ("protocol sctp;", "protocol sctp, but nft knows policies of tcp and udp alone"),
        ("protocol tcp; policy = { close: soon };", "'soon' is no time"),
        ("protocol tcp; policy = { close };", "policy: expected a state and its time, found 'close'"),
    ],
)
def test_policies_that_nft_refuses(said, why):
    text = f"table ip t {{\n  ct timeout x {{ {said} }}\n}}"
    with pytest.raises(RuleError, match=rf":2:14: ct timeout x: {why}"):
        nftables.load(text, "f")
    engine = engine_of(chain("counter"))
    with pytest.raises(RuleError, match=f"ct timeout x: {why}"):
        engine.change_nft(f"add ct timeout ip t x {{ {said} }}")
    lenient = nftables.load(chain('ct timeout set "x" drop', more=f"ct timeout x {{ {said} }}"), lenient=True)
    node = fastnat.Node()
    node.add_interface("cni0", ["10.244.1.1/16"])
    node.nft = lenient
    engine = fastnat.Engine(node)
    assert any("never matches" in w and "ct timeout x" in w for w in lenient.warnings)


def test_more_policies_than_a_record_can_name_are_refused():
    many = "\n".join(f"ct timeout t{n} {{ protocol udp; }}" for n in range(256))
    with pytest.raises(RuleError, match="256 ct timeout objects: up to 255 are supported"):
        engine_of(chain("counter", more=many))
    many = many.replace("ct timeout t255 { protocol udp; }", "")
    engine = engine_of(chain('ct timeout set "t254"', more=many.replace("t254 {", "t254 { policy = { unreplied: 5 };")))
    send(engine)
    assert left(engine) == 5


def test_a_file_that_names_a_policy_that_is_not_there_is_refused(tmp_path):
    engine = made('ct timeout set "quick"')
    send(engine)
    engine.save(tmp_path / "state")
    with np.load(tmp_path / "state") as saved:
        arrays = dict(saved)
    for policy, taken in ((5, True), (6, False), (255, False)):
        arrays["tcp4"]["policy"] = policy
        with (tmp_path / "other").open("wb") as file:
            np.savez(file, **arrays)
        if taken:
            fastnat.Engine.restore(tmp_path / "other").check()
        else:
            with pytest.raises(InputError, match="connection 0"):
                fastnat.Engine.restore(tmp_path / "other")
