"""What can be asked of the laboratory: both families, networks of destinations, half-closed and own flows."""

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnat
from fastnat.cli import group
from fastnat.errors import InputError
from fastnat.exhaustion import Workload, calendar, drawing, run, scenario, simulation

PORTS = "--to-ports 2000-2299"
WEB = {4: (("203.0.113.10", 443),), 6: (("2001:db8::9", 443),)}


def node(rules="-A POSTROUTING -o eth0 -p tcp -j MASQUERADE " + PORTS, **sysctls):
    """Return a node of both families whose rules masquerade to 300 ports."""
    made = fastnat.Node()
    made.add_interface("eth0", ["198.51.100.10/24", "2001:db8:1::10/64"])
    made.add_interface("cni0", ["10.244.1.1/24", "fd00:10:244::1/64"])
    for gateway in ("198.51.100.1", "2001:db8:1::1"):
        made.add_route("default", gateway, "eth0")
    text = f"*nat\n{rules}\nCOMMIT\n"
    made.load_rules(text)
    made.load_rules6(text)
    made.sysctls.update({"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"})
    made.sysctls.update({f"net.netfilter.nf_conntrack_{name}": str(value) for name, value in sysctls.items()})
    return made


def load(version, **fields):
    return Workload(WEB[version], "tcp", **{"flows": 3000, "sport": "random", "clients": 200, **fields})


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("fields", [
    {}, *(pytest.param(fields, marks=pytest.mark.slow) for fields in (
        {"rate": 20.0, "hold": "exp:5"}, {"rate": 40.0, "hold": 5.0, "close": "rst"},
    )),
])  # fmt: skip
def test_both_families_run_out_alike(version, fields):
    """300 ports are 300 ports: the share that fails differs only by what is drawn."""
    found = [run(fastnat.Engine(node(), "linux-5.4", seed=seed), load(version, **fields)) for seed in range(3)]
    other = [run(fastnat.Engine(node(), "linux-5.4", seed=seed), load(10 - version, **fields)) for seed in range(3)]
    shares = [[o.failed / 3000 for o in outcomes] for outcomes in (found, other)]
    assert np.mean(shares[0]) == pytest.approx(np.mean(shares[1]), abs=0.03)
    assert np.mean(shares[0]) > 0
    named = found[0].ran_out[0].name
    assert named == {
        4: "198.51.100.10 to tcp 203.0.113.10:443", 6: "2001:db8:1::10 to tcp [2001:db8::9]:443",
    }[version]  # fmt: skip
    assert found[0].fullest.used <= 300


@pytest.mark.parametrize(("close", "state", "keeps"), [
    ("fin", "TIME_WAIT", 120), ("rst", "CLOSE", 10), ("client", "CLOSE_WAIT", 60), ("server", "CLOSE_WAIT", 60),
])  # fmt: skip
@pytest.mark.parametrize("version", [4, 6])
def test_a_closed_flow_waits_in_the_state_of_its_end(version, close, state, keeps):
    engine = fastnat.Engine(node())
    outcome = run(engine, load(version, flows=100, rate=50.0, hold=1.0, close=close))
    states = [fastnat.dtypes.TCP_STATES[c.state] for c in engine.conntrack]
    assert set(states) == {state, "ESTABLISHED"}
    assert outcome.lingers == f"nf_conntrack_tcp_timeout_{state.lower()}"
    engine.advance(engine.now + keeps + 1)
    assert state not in {fastnat.dtypes.TCP_STATES[c.state] for c in engine.conntrack}


@pytest.mark.parametrize("version", [4, 6])
def test_the_nodes_own_flows_come_from_its_address(version):
    engine = fastnat.Engine(node("-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 2000-2099 --random"))
    outcome = run(engine, load(version, flows=200, iface="local", sport="sequential"))
    own = {4: "198.51.100.10", 6: "2001:db8:1::10"}[version]
    assert {c.original[0] for c in engine.conntrack} == {fastnat.addresses.FAMILIES[version].to_int(own)}
    assert outcome.ran_out[0].address == own
    assert outcome.failed >= 100


def test_a_network_of_destinations_is_its_hosts():
    assert scenario.endpoints("203.0.113.0/30:443") == [("203.0.113.1", 443), ("203.0.113.2", 443)]
    assert scenario.endpoints("[2001:db8::/127]:53") == [("2001:db8::", 53), ("2001:db8::1", 53)]
    assert scenario.endpoints("[2001:DB8:0::9]:1") == [("2001:db8::9", 1)]


@pytest.mark.parametrize("text", [
    "", ":", "1.2.3.4", "1.2.3.4:0", "1.2.3.4:65536", "[1.2.3.4]:5", "2001:db8::9:443", "[2001:db8::9]", "[::1:5",
    "1.2.3.0/33:5", "10.0.0.0/8:53", "[fe80::1%eth0]:5x", "1.2.3.4/:5",
])  # fmt: skip
def test_what_is_no_destination_says_what_is(text):
    with pytest.raises(InputError, match=r"expected IP:PORT|at most 65,536"):
        scenario.endpoints(text)


def test_destinations_are_of_one_family():
    result = CliRunner().invoke(group, ["exhaust", "--dst", "[2001:db8::9]:443", "--dst", "203.0.113.10:443"])
    assert isinstance(result.exception, InputError)
    assert "all have to be IPv6" in str(result.exception)


@given(st.lists(st.lists(st.integers(0, 300), max_size=30), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_calendar_gives_back_each_entry_in_its_slice(puts):
    """Slices are skipped, and entries come while others are due."""
    made, now, expected, n = calendar.Calendar(), 0, {}, 0
    for delays in puts:
        slices = now + np.array(delays, np.int64)
        made.put(slices, np.arange(n, n + len(delays)))
        for k in slices.tolist():
            expected.setdefault(k, []).append(n)
            n += 1
        due = made.next()
        assert due == min(expected, default=None)
        if due is not None:
            now = due
            assert sorted(made.take(now).tolist()) == expected.pop(now)
    while expected:
        now = made.next()
        assert sorted(made.take(now).tolist()) == expected.pop(now)
    assert made.next() is None


@given(st.integers(1, 3000), st.integers(1, 900), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_parts_draw_the_flows_of_one_piece(flows, part, seed):
    """Arrivals, stages included, and clients do not depend on how many are drawn at a time."""
    work = Workload(WEB[4], "tcp", flows, stages=((3.0, 100.0, 300.0), (5.0, 50.0, 400.0)), sport="sequential")
    engine = fastnat.Engine(node(), seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        whole = drawing.Drawing(engine, work).next()
        patch.setattr(drawing, "PART", part)
        made = drawing.Drawing(engine, work)
        parts = [made.next() for _ in range(-(-flows // part))]
    assert np.concatenate([p.times for p in parts]) == pytest.approx(whole.times)
    assert (np.concatenate([p.batch for p in parts])["sport"] == whole.batch["sport"]).all()
    assert (np.concatenate([p.batch for p in parts])["src"] == whole.batch["src"]).all()


@pytest.mark.one_of(3)
@pytest.mark.parametrize("load", [
    {"rate": 300.0, "hold": "exp:2"}, {"rate": 300.0, "hold": "pareto:1,1.1", "close": "rst"}, {},
    {"rate": 5.0, "hold": 50.0},
    {"proto": "udp", "rate": 30.0, "hold": "exp:45", "replies": True}, {"proto": "udp", "rate": 3.0, "hold": 61.0},
])  # fmt: skip
def test_a_run_keeps_only_the_flows_that_are_open(load, monkeypatch):
    """Drawn in small parts: nothing is left in a slot when all are over, and slots are used again."""
    monkeypatch.setattr(drawing, "PART", 500)
    engine = fastnat.Engine(fastnat.Node.example())
    r = simulation.Run(engine, Workload(WEB[4], **{"proto": "tcp", "flows": 3000, "sport": "random", **load}))
    simulation.open_all(r)
    assert (r.tally.opened, r.tally.failed) == (3000, 0)
    live = r.pool.open.sum()
    if load:
        assert live <= len(r.pool.open) < 3000 or load["rate"] < 10 or "pareto" in str(load["hold"])
        assert (r.pool.ends[r.pool.open] > engine.now - 1).all()
    assert len(r.pool.open) - r.pool.n_free == live
    engine.check()


def test_rows_of_a_run_are_its_flows():
    work = Workload(WEB[4], "tcp", 3500, rate=700.0, hold="exp:2", sport="random")
    outcome = run(fastnat.Engine(fastnat.Node.example()), work)
    assert [r.sent for r in outcome.rows] == [1000, 2000, 3000, 3500]
    assert [r.time for r in outcome.rows] == pytest.approx([1000 / 700, 2000 / 700, 3000 / 700, 5.0])
