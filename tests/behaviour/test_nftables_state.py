"""What rules of nftables remember: in a file, after a reload, and in a group."""

import random
import re

import numpy as np
import pytest
from behaviour.test_nftables import FORWARD, POST, PRE, chain, engine_of, send, text, verdict
from nodes import make_dual

import fastnat
from fastnat import nftables
from fastnat.errors import InputError, RuleError

REMEMBERS = """
    set seen { type ipv4_addr; flags dynamic,timeout; timeout 1m; }
    set pairs { type ipv4_addr . inet_service; size 40; flags dynamic; counter; }
    set few { type ipv4_addr; flags dynamic; }
    set slow { type inet_service; flags dynamic; elements = { 7, 9 } }
    set fixed { type ipv4_addr; timeout 30s; elements = { 10.244.1.5 } }
    map marks { type ipv4_addr : mark; flags dynamic; elements = { 10.244.1.1 : 3 } }
    counter c { packets 5 bytes 6 }
    quota q { over 4000 bytes }
"""
RULES = """
    ct count over 9 counter drop
    numgen inc mod 3 == 1 meta mark set 7
    add @seen { ip saddr timeout 30s } counter name c
    update @pairs { ip saddr . udp dport }
    add @few { ip saddr ct count over 3 } counter drop
    add @slow { udp sport limit rate over 2/hour burst 2 packets } counter drop
    udp sport 3 delete @seen { ip saddr } delete @slow { 7 }
    ip saddr @fixed last counter drop
    limit rate over 40/minute burst 9 packets counter drop
    udp dport 5 add @marks { ip saddr : udp sport }
    ip saddr map @marks 5 counter drop
    quota name q drop
    quota 3000 bytes counter
"""


def batch(engine, rng, n=60):
    """Return packets drawn at random."""
    fields = {
        "proto": "udp", "iface": "cni0", "dst": [f"203.0.113.{rng.randrange(6)}" for _ in range(n)],
        "src": [f"10.244.1.{rng.randrange(9)}" for _ in range(n)], "sport": [rng.randrange(12) for _ in range(n)],
        "dport": [rng.randrange(8) for _ in range(n)],
    }  # fmt: skip
    return engine.packets(**fields)


def answers(engine, seed, start):
    """Run some batches; return what became of them, but for the places of connections, and the listing at the end."""
    rng = random.Random(seed)
    found = [engine.process(batch(engine, rng), now=start + 3.0 * k) for k in range(4)]
    for results in found:
        results["conn"] = 0
    return [results.tobytes() for results in found], engine.list_nft()


@pytest.mark.one_of(2)
@pytest.mark.parametrize("seed", range(6))
def test_an_engine_out_of_a_file_goes_on_as_the_one_that_was_saved(tmp_path, seed):
    rng = random.Random(seed)
    lines = RULES.strip().splitlines()
    rules = "\n".join(rng.sample(lines, rng.randrange(5, len(lines) + 1)))
    text = chain(rules, FORWARD, REMEMBERS) + chain("snat to 198.51.100.20-198.51.100.29", POST).replace("ip t", "ip n")
    engine = engine_of(text, seed=seed, epoch=0.0)
    answers(engine, f"before {seed}", 0.0)
    engine.save(tmp_path / "state")
    restored = fastnat.Engine.restore(tmp_path / "state")
    assert restored.list_nft() == engine.list_nft()
    assert answers(restored, f"behind {seed}", 12.0) == answers(engine, f"behind {seed}", 12.0)
    assert not restored.check()


def test_a_damaged_file_is_refused(tmp_path):
    engine = engine_of(chain("ct count over 9 drop; add @seen { ip saddr }", FORWARD, REMEMBERS), epoch=0.0)
    answers(engine, 1, 0.0)
    engine.save(tmp_path / "state")
    with np.load(tmp_path / "state") as file:
        arrays = dict(file)
    assert len(arrays["nft_conns4"])
    arrays["nft_conns4"]["next"] = 10_000
    with (tmp_path / "broken").open("wb") as file:
        np.savez_compressed(file, **arrays)
    with pytest.raises(InputError, match="connections are counted by a rule that is not there"):
        fastnat.Engine.restore(tmp_path / "broken")


def test_rules_that_were_not_loaded_again_keep_all():
    engine, other = (engine_of(chain(RULES, FORWARD, REMEMBERS), epoch=0.0) for _ in range(2))
    for one in (engine, other):
        answers(one, 3, 0.0)
    engine.node.add_route("192.0.2.0/24", dev="cni0")
    engine.reload()
    assert engine.list_nft() == other.list_nft()
    assert answers(engine, 4, 12.0) == answers(other, 4, 12.0)


@pytest.mark.parametrize("begin", ["", "flush ruleset\n", "table ip t\ndelete table ip t\n", "flush ruleset ip6\n"])
def test_sets_and_objects_stay_unless_the_text_deletes_their_table(begin):
    more = "set seen { type ipv4_addr; flags dynamic; elements = { 10.0.0.1 } }\ncounter c { }\n"
    engine = engine_of(chain("udp dport 53 counter name c add @seen { ip saddr } accept", more=more))
    send(engine)
    engine.node.load_nft(begin + chain("ip saddr @seen counter name c counter drop", more=more))
    engine.reload()
    kept = begin in ("", "flush ruleset ip6\n")
    assert verdict(send(engine)) == ("drop" if kept else "forward")
    listed = engine.list_nft()
    assert ("elements = { 10.0.0.1, 10.244.1.2 }" in listed) == kept
    assert ("packets 2 bytes" in listed) == kept
    assert "counter packets 1 bytes" in listed or not kept


def test_a_set_of_another_type_begins_anew():
    engine = engine_of(chain("add @s { ip saddr }", more="set s { type ipv4_addr; flags dynamic; }"))
    send(engine)
    engine.node.load_nft(
        chain("add @s { ip saddr . udp dport }", more="set s { type ipv4_addr . inet_service; flags dynamic; }")
    )
    engine.reload()
    assert "elements" not in engine.list_nft()


def changed(more, commands, rules="udp dport 53 counter"):
    """Return an engine behind one packet of 10.244.1.2 at 5 s, and commands at 7 s."""
    engine = engine_of(chain(rules, more=more))
    send(engine, now=5.0)
    engine.advance(7.0)
    engine.change_nft(commands)
    return engine


@pytest.mark.parametrize(("commands", "left"), [
    ("add rule ip t c counter", ["udp dport 53 counter packets 1 bytes 60", "counter packets 0 bytes 0"]),
    ("insert rule ip t c counter", ["counter packets 0 bytes 0", "udp dport 53 counter packets 1 bytes 60"]),
    ("flush chain ip t c; add rule ip t c udp dport 53 counter", ["udp dport 53 counter packets 0 bytes 0"]),
    ("delete table ip t; add table ip t", []),
    ("chain ip t c { policy drop; }", ["udp dport 53 counter packets 1 bytes 60"]),
])  # fmt: skip
def test_commands_leave_other_rules_alone(commands, left):
    listed = changed("", commands).list_nft().splitlines()
    assert [line.strip() for line in listed if "counter" in line] == left


@pytest.mark.parametrize(("made", "commands", "left"), [
    ("flags dynamic; elements = { 9.9.9.9 }", "add element ip t s { 8.8.8.8 }", "8.8.8.8, 9.9.9.9, 10.244.1.2"),
    ("flags dynamic;", "delete element ip t s { 10.244.1.2 }; add element ip t s { 8.8.8.8 }", "8.8.8.8"),
    ("flags dynamic;", "flush set ip t s; add element ip t s { 8.8.8.8 }", "8.8.8.8"),
    # the same timeout goes on, another begins anew; what a rule added without one stays for ever
    ("flags timeout; elements = { 8.8.8.8 timeout 9s }", "add element ip t s { 8.8.8.8 timeout 9s }",
     "8.8.8.8 timeout 9s expires 2s, 10.244.1.2"),
    ("flags timeout; elements = { 8.8.8.8 timeout 9s }", "add element ip t s { 8.8.8.8 timeout 8s }",
     "8.8.8.8 timeout 8s expires 8s, 10.244.1.2"),
    ("flags timeout; timeout 9s;", "add element ip t s { 10.244.1.2 timeout 8s }", "10.244.1.2 timeout 8s expires 8s"),
    ("flags timeout;", "add element ip t s { 10.244.1.2 timeout 8s }", "10.244.1.2"),
])  # fmt: skip
def test_commands_find_what_rules_have_added(made, commands, left):
    engine = changed(f"set s {{ type ipv4_addr; {made} }}", commands, "add @s { ip saddr }")
    assert f"elements = {{ {left} }}" in " ".join(engine.list_nft().split())


@pytest.mark.parametrize(("commands", "why"), [
    ("delete chain ip t sub", "chain c uses it"), ("delete set ip t s", "chain c uses it"),
    ("delete counter ip t n", "chain c uses it"), ("delete element ip t s { 1.1.1.1 }", "an element is not in s"),
    ("create counter ip t n", "exists already"), ("add element ip t m { 1 : 3 }", "says something else"),
    ("add element ip t s { 1.1.1.1 timeout 3s }", "no `flags timeout`"),
    ("chain ip t sub { type filter hook input priority 0; }", "there already"),
    ("add rule ip t c add @s { ip saddr timeout 3s }", "no `flags timeout`"),
    ("delete rule ip t c handle 99", "no rule with handle 99"),
])  # fmt: skip
def test_what_the_kernel_refuses_changes_nothing(commands, why):
    more = (
        "set s { type ipv4_addr; flags dynamic; }\nmap m { type inet_service : mark; elements = { 1 : 2 } }\n"
        "counter n { }\nchain sub { counter; }\n"
    )
    engine = engine_of(chain("counter name n; add @s { ip saddr }; jump sub", more=more))
    send(engine)
    before = engine.list_nft()
    with pytest.raises(RuleError, match=why):
        engine.change_nft(f"add rule ip t c counter; {commands}")
    assert engine.list_nft() == before
    engine.reload()
    assert engine.list_nft() == before


@pytest.mark.parametrize("seed", range(4))
def test_refused_commands_leave_new_rules_of_the_node_for_reload(seed):
    """`nft -f` loads all of a text or nothing: rules that the node has got since do not run because commands failed."""
    rng = random.Random(seed)
    engine = engine_of(chain("counter; ip saddr 10.244.1.7 counter drop"))
    send(engine)
    engine.node.load_nft(chain("counter; udp dport 5 drop"))
    batch = engine.packets(proto="udp", src="10.244.1.2", sport=7, dst="203.0.113.9", dport=5, iface="cni0")
    refused = rng.choice([
        "add rule ip t c counter; add rule ip t nope accept", "flush chain ip t c; add rule ip t c ip saddr @nope drop",
        "add chain ip t d; delete chain ip t nope", "flush ruleset; add rule ip t c accept",
        "add chain ip q x { type nat hook forward priority 0; }",
    ])  # fmt: skip
    with pytest.raises(RuleError):
        engine.change_nft(refused)
    assert engine.fork().process(batch, 1.0)["verdict"][0] != fastnat.Verdict.DROP
    taken = engine.fork()
    taken.change_nft("add chain ip t d")
    engine.reload()
    engine.change_nft("add chain ip t d")
    assert taken.list_nft() == engine.list_nft()
    assert engine.process(batch, 1.0)["verdict"][0] == taken.process(batch, 1.0)["verdict"][0] == fastnat.Verdict.DROP


def test_what_a_rule_names_has_to_be_there_though_nothing_leads_to_it():
    for rule in ("ip saddr @gone", "counter name gone", "add @gone { ip saddr }", "jump gone", "udp dport vmap @gone"):
        with pytest.raises(RuleError, match="gone"):
            engine_of(chain("counter", more=f"chain sub {{ {rule}; }}"))


@pytest.mark.parametrize(
    "leads",
    [
        "jump sub", "counter jump sub", "ip saddr { 10.244.1.2 } goto sub", "udp dport vmap { 53 : jump sub }",
        "ip saddr vmap { 10.244.1.0/25 : goto sub, 10.244.1.128/25 : goto sub }", "jump { jump sub\n}",
        "udp dport vmap @ways",
    ],
)  # fmt: skip
def test_what_leads_to_a_chain_follows_its_new_name(leads):
    more = "map ways { type inet_service : verdict; elements = { 53 : goto %s } }\nchain %s { counter; }\n"
    engine = changed(more % ("sub", "sub"), "rename chain ip t sub other", leads)
    send(engine, now=7.0)
    wanted = engine_of(chain(leads.replace("sub", "other"), more=more % ("other", "other")))
    for _ in range(2):
        send(wanted)
    assert engine.list_nft() == wanted.list_nft()
    engine.reload()
    send(engine, now=8.0)
    assert "counter packets 3 bytes 180" in engine.list_nft()


def test_rules_that_nothing_leads_to_any_more_keep_what_they_counted():
    engine = changed("chain sub { counter; }", "flush chain ip t c; add rule ip t c counter", "jump sub")
    assert "counter packets 1 bytes 60" in engine.list_nft()
    engine.change_nft("add rule ip t c jump sub")
    send(engine, sport=7, now=8.0)
    assert engine.list_nft().count("counter packets 2 bytes 120") == 1


def test_an_update_without_a_time_ends_an_element_that_has_one():
    made = "set s { type ipv4_addr; flags dynamic,timeout; elements = { 10.244.1.2 timeout 1h, 10.244.1.3 } }"
    engine = engine_of(chain("update @s { ip saddr }", more=made))
    send(engine)
    assert "elements = { 10.244.1.3 }" in engine.list_nft()
    send(engine, sport=7)
    assert "elements = { 10.244.1.2, 10.244.1.3 }" in engine.list_nft()


def test_elements_of_new_rules_have_all_of_their_time():
    text = chain(
        "ip saddr @s counter", more="set s { type ipv4_addr; flags timeout; elements = { 10.244.1.2 timeout 9s } }"
    )
    engine = engine_of(text)
    engine.advance(20.0)
    assert "elements" not in engine.list_nft()
    engine.node.load_nft(f"flush ruleset\n{text}")
    engine.reload()
    assert "10.244.1.2 timeout 9s expires 9s" in engine.list_nft()
    engine.advance(24.0)
    # a reload of anything else does not touch them
    engine.node.add_route("192.0.2.0/24", dev="cni0")
    engine.reload()
    assert "10.244.1.2 timeout 9s expires 5s" in engine.list_nft()


def test_intervals_count():
    made = "set s { type ipv4_addr; flags interval; counter; elements = { 10.244.0.0/16, 9.9.9.9 } }"
    engine = engine_of(chain("ip saddr @s", more=made))
    send(engine)
    listed = "10.244.0.0/16 counter packets 1 bytes 60"
    assert listed in engine.list_nft()
    engine.node.add_route("192.0.2.0/24", dev="cni0")
    engine.reload()
    assert listed in engine.list_nft()


def test_statements_that_differ_from_rule_to_rule_are_refused():
    rules = "add @s { ip saddr limit rate 1/second }; add @s { ip saddr limit rate 2/second }"
    with pytest.raises(RuleError, match="carry different statements"):
        engine_of(chain(rules, more="set s { type ipv4_addr; flags dynamic; }"))


def test_a_state_goes_on_behind_commands(tmp_path):
    engine = engine_of(chain(RULES, FORWARD, REMEMBERS), epoch=0.0)
    answers(engine, 5, 0.0)
    engine.change_nft("add rule ip t c counter; add element ip t slow { 11 }; insert rule ip t c counter")
    engine.save(tmp_path / "state")
    restored = fastnat.Engine.restore(tmp_path / "state")
    assert restored.list_nft(handles=True) == engine.list_nft(handles=True)
    assert answers(restored, 6, 12.0) == answers(engine, 6, 12.0)


LISTED_WITH_HANDLES = """table ip t { # handle 3
	counter n { # handle 9
		packets 0 bytes 0
	}

	set s { # handle 4
		type mark
		elements = { 0x00000001 }
	}

	chain c { # handle 1
		type filter hook forward priority filter; policy accept;
		udp dport 53 counter packets 1 bytes 30 comment "a # handle 7" # handle 12
		counter packets 2 bytes 60 # handle 2
	}
}
"""


def test_numbers_that_nft_lists_are_those_that_commands_name():
    engine = engine_of(LISTED_WITH_HANDLES)
    listed = engine.list_nft(handles=True)
    assert listed.split("\n", 1)[1] == LISTED_WITH_HANDLES.split("\n", 1)[1]
    engine.change_nft("add rule ip t c handle 12 drop; delete rule ip t c handle 2")
    shown = [line.strip() for line in engine.list_nft(handles=True).splitlines()]
    assert shown[-4:-2] == [
        'udp dport 53 counter packets 1 bytes 30 comment "a # handle 7" # handle 12',
        "drop # handle 13",
    ]


@pytest.mark.parametrize("nat", ["masquerade", "snat to 198.51.100.20-198.51.100.22", "snat to ip saddr map @m"])
def test_a_group_gives_each_shard_ports_of_its_own(nat):
    more = "map m { type ipv4_addr : ipv4_addr; flags interval; elements = { 10.244.0.0/16 : 198.51.100.20 } }"
    node = make_dual(native=chain(nat, POST, more))
    group = fastnat.EngineGroup(node, ["cni0"], 4)
    n = 4000
    fields = {"proto": "udp", "dst": "203.0.113.9", "dport": 53, "iface": "cni0", "sport": 4000}
    out = group.process(group.packets(src=[f"10.244.{i >> 8}.{i & 255}" for i in range(512, 512 + n)], **fields))
    assert (out["verdict"] == 0).all()
    ends = {(text(row["src"]), int(row["sport"])) for row in out}
    assert len(ends) == n
    back = group.packets(
        proto="udp", src="203.0.113.9", sport=53, dst=[text(r["src"]) for r in out], dport=out["sport"].tolist(),
        iface="eth0",
    )  # fmt: skip
    answered = group.process(back)
    assert (answered["verdict"] == 0).all()
    assert {text(row["dst"]) for row in answered} == {f"10.244.{i >> 8}.{i & 255}" for i in range(512, 512 + n)}


def test_a_group_has_to_know_the_addresses_of_snat():
    more = "map m { type ipv4_addr : ipv4_addr; flags dynamic; }"
    node = make_dual(native=chain("add @m { ip saddr : 198.51.100.20 } snat to ip saddr map @m", POST, more))
    with pytest.raises(InputError, match="a group needs to know them all"):
        fastnat.EngineGroup(node, ["cni0"], 2)


def test_a_group_takes_rules_that_choose_destinations():
    group = fastnat.EngineGroup(make_dual(native=chain("udp dport 53 dnat to 10.244.1.9:5353", PRE)), ["eth0"], 2)
    out = group.process(
        group.packets(proto="udp", src="203.0.113.9", dst="198.51.100.10", sport=5, dport=53, iface="eth0")
    )
    assert text(out[0]["dst"]) == "10.244.1.9"


def marks(r, name):
    """Return a base chain at one of few priorities that shifts the mark and adds its own."""
    hook, number = r.choice(["prerouting", "forward"]), r.randrange(1, 8)
    said = f"meta mark set meta mark << 3 meta mark set meta mark | {number}"
    return f"chain {name} {{ type filter hook {hook} priority {r.choice([0, 0, 5])}; {said}; }}"


@pytest.mark.one_of(3)
@pytest.mark.parametrize("seed", range(12))
def test_base_chains_keep_their_order_where_rules_are_saved_as_text(tmp_path, seed):
    """Of one priority the chain made last runs first, and a listing has the order of tables."""
    r = random.Random(f"order {seed}")
    names, tables = iter(f"c{n}" for n in range(99)), ["ip a", "inet b", "inet c"]

    def made(there):
        lines = ["chain sub { counter; }"] if r.random() < 0.3 else []
        return "\n".join([f"table {there} {{", *lines, *(marks(r, next(names)) for _ in range(r.randrange(3))), "}\n"])

    engine = engine_of("".join(made(r.choice(tables)) for _ in range(5)) or "table ip a { }")
    for _ in range(3):
        chains = [(t, c.name) for t in engine.node.nft.tables.values() for c in t.chains.values() if c.base]
        commands = made(r.choice(tables))
        if chains and r.random() < 0.7:
            table, name = r.choice(chains)
            where = f"{table.family} {table.name}"
            gone = f"flush chain {where} {name}\ndelete chain {where} {name}\n"
            commands += r.choice([gone, f"rename chain {where} {name} {next(names)}\n"])
        engine.change_nft(commands)
    engine.save(tmp_path / "state")
    engine.node.save(tmp_path / "node")
    loaded = fastnat.Node.load(tmp_path / "node")
    again = make_dual()
    again.load_nft(loaded.nft_text)
    others = [fastnat.Engine.restore(tmp_path / "state"), engine.fork(), fastnat.Engine(loaded), fastnat.Engine(again)]
    rows = [[(b.hook, b.priority) for b in ordered(e)] for e in (engine, *others)]
    assert all(row == rows[0] for row in rows)
    assert len({e.list_nft() for e in others[2:]} | {nftables.listing(engine.node.nft)}) == 1
    assert len({mark_of(e) for e in (engine, *others)}) == 1


def ordered(engine):
    """Return how the base chains of an engine are called, in the order in which they were made."""
    chains = [c for t in engine.node.nft.tables.values() for c in t.chains.values() if c.base]
    return [c.base for c in sorted(chains, key=lambda c: c.made)]


def mark_of(engine):
    """Return the mark with which a packet leaves the chains; the engine is changed."""
    engine.change_nft("table inet z { chain p { type filter hook postrouting priority 900; ct mark set meta mark; } }")
    send(engine, now=50.0)
    return next(iter(engine.conntrack)).mark


@pytest.mark.one_of(3)
@pytest.mark.parametrize("kind", ["type ipv4_addr; flags interval;", "type ipv4_addr . inet_service; flags interval;",
                                  "type ipv4_addr; size 9;",
                                  "type ipv4_addr : mark;", "type ipv4_addr; flags timeout;"])  # fmt: skip
@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 8))])
def test_many_commands_at_once_say_what_each_says_alone(kind, seed):
    """A set is known from one `add element` to the next."""
    r = random.Random(f"{kind} {seed}")

    def element():
        low = r.randrange(40)
        key = r.choice([f"10.0.0.{low}", f"10.0.0.{low}-10.0.0.{low + r.randrange(1, 4)}", f"10.0.0.{low & ~3}/30"])
        key = key if "interval" in kind else f"10.0.0.{low}"
        key += r.choice([" . 5", " . 5-9"]) if " . " in kind else f" : {low}" if " : " in kind else ""
        return key + (" timeout 9s" if "timeout" in kind and r.random() < 0.5 else "")

    def command():
        several = ", ".join(element() for _ in range(r.choice([1, 1, 1, 2, 20])))
        said = r.choice(["add", "add", "add", "create"])
        what = "map" if " : " in kind else "set"
        return r.choice([*[f"{said} element ip t s {{ {several} }}"] * 9, f"flush {what} ip t s", "add chain ip t d",
                         f"table ip t {{ {what} s {{ {kind} elements = {{ {several} }} }} }}"])  # fmt: skip

    more = f"{'map' if ' : ' in kind else 'set'} s {{ {kind} }}"
    engine, taken = engine_of(chain("counter", more=more)), []
    for _ in range(15):
        # until the kernel would refuse one
        one = command()
        try:
            engine.change_nft(one)
        except RuleError:
            with pytest.raises(RuleError):
                engine_of(chain("counter", more=more)).change_nft("\n".join([*taken, one]))
            continue
        taken.append(one)
    other = engine_of(chain("counter", more=more))
    other.change_nft("\n".join(taken))
    assert other.list_nft() == engine.list_nft()


def declared(times, elements, more=""):
    """Return a declaration of a set with a default time, 0: none, and elements with times of their own or none."""
    said = ", ".join(f"10.0.0.{k}" + (f" timeout {own}s" if own else "") for k, own in elements)
    default = f"timeout {times}s;" if times else ""
    own = f"type ipv4_addr; flags dynamic,timeout; {default} {more} elements = {{ {said} }}"
    return f"table ip a {{ set b {{ {own}; }} }}\n"


@pytest.mark.one_of(3)
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_a_set_that_is_declared_again(seed, at_once):
    """Its default time, interval and size are those of the last declaration once the text has been carried out.

    Elements keep the time that was the default when their text began (nf_tables_newset, nf_tables_commit; listed so by
    nft 1.0.6 and Linux 6.18). A set that a text makes has from its first declaration on.
    """
    rng = random.Random(seed)
    said = [(rng.choice((0, 90, 600)), [(10 * n + k, rng.choice((0, 90, 600))) for k in range(rng.randrange(1, 5))])
            for n in range(3)]  # fmt: skip
    texts = [declared(*one, f"size {50 + n};" if rng.random() < 0.5 else "") for n, one in enumerate(said)]
    node = make_dual()
    node.load_nft("".join(texts) if at_once else texts[0])
    engine = fastnat.Engine(node)
    for again in [] if at_once else texts[1:]:
        engine.change_nft(again)
    defaults = [said[0][0] if at_once else said[max(n - 1, 0)][0] for n in range(3)]
    held = {k: own or default for (_, some), default in zip(said, defaults, strict=True) for k, own in some}
    listed = engine.list_nft()
    now = said[-1][0]
    assert ("\ttimeout " in listed.replace("flags", "").split("elements")[0]) == bool(now)
    for k, own in held.items():
        found = re.search(rf"10\.0\.0\.{k}( timeout (\S+))?(?: expires (\S+?))?(?=,| }})", listed)
        lasts = {"1m30s": 90, "10m": 600, None: 0}
        assert lasts[found[3]] == own, (k, listed)
        assert lasts[found[2]] == (own if own != now else 0), (k, listed)
    sizes = re.findall(r"size (\d+)", " ".join(texts))
    assert re.findall(r"size (\d+)", listed) == sizes[-1:]
