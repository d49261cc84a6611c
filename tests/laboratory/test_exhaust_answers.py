"""Answers of `fastnat exhaust` that hold: TIME_WAIT, port spaces, causes, advice, labels."""

import csv
import itertools
import json
import os
import random
import re
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from nodes import make_node

import fastnat
from fastnat.cli import group
from fastnat.exhaustion import Workload, drawing, remedy, report, scenario, simulation, sweep, variants, verdict
from fastnat.exhaustion.document import Document, load
from fastnat.exhaustion.html import to_html
from fastnat.exhaustion.report import occupancy_line
from fastnat.exhaustion.spaces import Space

WEB = (("203.0.113.10", 443),)
WAITING = (
    "tcp      6 110 TIME_WAIT src=10.{}.{}.{} dst=203.0.113.10 sport={port} dport=443 "
    "src=203.0.113.10 dst=198.51.100.10 sport=443 dport={port} [ASSURED] mark=0 use=1\n"
)


def waiting(n):
    """Return a dump of n connections to WEB in TIME_WAIT."""
    return "".join(WAITING.format(244 + k // 62500, k // 250 % 250, 2 + k % 250, port=1024 + k) for k in range(n))


@pytest.mark.one_of(3)
@pytest.mark.parametrize("held", [{}, {"rate": 500.0, "hold": 5.0}, {"rate": 500.0, "hold": "exp:5", "clients": 200}])
@pytest.mark.parametrize(("there", "flows"), [(60_000, 1000), (64_512, 2000)])
def test_ports_in_time_wait_are_taken_over_as_the_kernel_does(there, flows, held):
    """linux-6.18 passes 1,000 of 1,000 SYNs among 60,000 in TIME_WAIT, and 2,000 of 2,000 where all 64,512 are."""
    text = waiting(there)
    for seed in range(2):
        nat = fastnat.Engine(fastnat.Node.example(), seed=seed)
        nat.conntrack.load(text)
        outcome = simulation.run(nat, Workload(WEB, "tcp", flows, sport="random", **held))
        assert (outcome.failed, outcome.opened) == (0, flows)
        assert outcome.stats["evicted"] > 0


def test_sequence_numbers_of_neighbours_are_independent():
    """Ports that count up do not count in sequence numbers: a search would find 32 neighbours all newer, or none."""
    batch = fastnat.packets(proto="tcp", src="10.244.0.2", dst="203.0.113.10", sport=np.arange(1024, 9216), dport=443)
    steps = np.diff(drawing.initial_sequence(batch, np.zeros(len(batch))).astype(np.int64)) % 2**16
    # of a progression there were two or three
    assert len(np.unique(steps)) > 7000


NODE = fastnat.Node.example()
DNS = (("203.0.113.10", 53),)


def ran(*words):
    """Return what `fastnat exhaust` prints."""
    result = CliRunner().invoke(group, ["exhaust", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


def outcome_of(node=NODE, dump="", seed=0, **load):
    nat = fastnat.Engine(node, seed=seed)
    nat.conntrack.load(dump)
    return simulation.run(nat, Workload(**{"destinations": DNS, **load}))


def test_occupancy_is_that_of_the_fullest_port_space():
    """One destination of three is full: it was 41 % of all ports together."""
    ends = (*DNS, ("203.0.113.11", 53), ("203.0.113.12", 53))
    outcome = outcome_of(destinations=ends, weights=(10, 1, 1), flows=90_000)
    assert outcome.rows[-1].occupancy == 1.0
    assert outcome.fullest.name == "198.51.100.10 to udp 203.0.113.10:53"
    assert [(s.name, s.failed) for s in outcome.ran_out] == [(outcome.fullest.name, outcome.failed)]
    assert outcome.ran_out[0].name in verdict(outcome)
    assert "100.0% of the 64,512 ports of 198.51.100.10 to udp 203.0.113.10:53, the fullest of 3" in occupancy_line(
        outcome
    )


def test_what_a_dump_holds_towards_others_is_not_in_the_port_space():
    """60,000 connections to another destination were 93 % of this one's ports."""
    outcome = outcome_of(dump=waiting(60_000), flows=8000)
    assert outcome.rows[-1].occupancy == 8000 / 64_512
    assert outcome.peak == 68_000


def test_arithmetic_expects_no_more_than_there_are_flows():
    outcome = outcome_of(flows=72_000, rate=1e8, hold=5.0)
    assert outcome.expected == 72_000
    assert "by arithmetic 112%" in occupancy_line(outcome)


def test_a_range_of_ports_in_the_rules_is_the_port_space():
    (narrow, work, _) = variants.apply(
        variants.Variant((("ports", (1024, 2047)), ("addresses", 2))), NODE, Workload(DNS, flows=3000), "linux-6.18"
    )
    outcome = simulation.run(fastnat.Engine(narrow), work)
    assert (outcome.window, outcome.rows[-1].occupancy, outcome.addresses) == (1024, 1.0, 2)
    assert {s.address for s in outcome.ran_out} == {"198.51.100.10", "198.51.100.11"}


def node_with(**sysctls):
    node = fastnat.Node.example()
    node.sysctls.update({f"net.netfilter.nf_conntrack_{name}": str(n) for name, n in sysctls.items()})
    return node


def test_early_drop_is_the_answer_not_a_figure_behind_it():
    outcome = outcome_of(node_with(max=20_000), flows=30_000)
    assert (outcome.kind, outcome.failed, outcome.stats["early_drop"]) == ("early_drop", 0, 10_000)
    assert "10,000 earlier connections without an answer were dropped" in verdict(outcome)
    assert "larger nf_conntrack_max" in remedy(outcome)


def test_each_variant_has_its_cause_and_its_remedy():
    """With six addresses it is the table that is short, which the headline of the others said would not help."""
    load = ("--proto", "tcp", "--dst", "203.0.113.10:443", "--rate", 5000, "--hold", 60, "--flows", 90_000)
    shown = ran(*load, "--vary", "addresses=1:6,max=80000", "--profile", "linux-5.4", "--seeds", 1)
    rows = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert " ports " in rows["max=80000"]
    assert " table full " in rows["addresses=6 max=80000"]
    assert re.search(r"addresses=6 max=80000: .* fail instead of .*, now by table full\.", shown)
    assert "addresses=6 max=80000 (table full): A larger nf_conntrack_max" in shown


def test_flows_to_the_node_itself_are_answered_and_fill_the_table():
    """Unanswered they were dropped early, one for another, and none failed; the kernel passes 0 of 200 at the end."""
    node = node_with(max=10_000)
    local = fastnat.addresses.to_text(next(iter(node.interfaces["eth0"].addresses)).local)
    ends = {"destinations": ((local, 80),), "network": "198.51.100.0/24", "iface": "eth0"}
    outcome = outcome_of(node, proto="tcp", flows=30_000, rate=500.0, hold=0.01, sport="random", **ends)
    assert (outcome.kind, outcome.stats["early_drop"], outcome.translated) == ("table", 0, 0)
    assert outcome.opened == pytest.approx(10_000, rel=0.01)


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({}, "More SNAT addresses or destinations help;"),
        ({"rate": 50_000.0}, "More SNAT addresses, destinations or a shorter nf_conntrack_udp_timeout help;"),
        ({"proto": "tcp"}, "More SNAT addresses or destinations help;"),
        pytest.param(
            {"proto": "tcp", "rate": 5000.0, "hold": 30.0}, "taken over already (linux-6.18)", marks=pytest.mark.slow
        ),
    ],
)
def test_advice_fits_the_question(load, said):
    assert said in remedy(outcome_of(flows=72_000 if "hold" not in load else 300_000, **load))


@pytest.mark.parametrize(
    ("factor", "load", "why"),
    [
        ("tcp-time-wait=120:30", {}, "all flows are UDP"),
        ("udp=30:10", {"proto": "tcp"}, "all flows are TCP"),
        ("udp=30:10", {}, "all flows come at once"),
        ("tcp-time-wait=30", {"proto": "tcp", "rate": 9.0}, "give --hold"),
        ("tcp-time-wait=30", {"proto": "tcp", "rate": 9.0, "hold": 1.0, "close": "rst"}, r"--close rst"),
        ("udp=30:10", {"rate": 9.0}, None),
        ("tcp-time-wait=30", {"proto": "tcp", "rate": 9.0, "hold": 1.0}, None),
        ("addresses=2,max=9,random-fully", {}, None),
    ],
)
def test_a_factor_that_can_change_nothing_is_said_to(factor, load, why):
    notes = variants.idle(variants.parse(factor), Workload(DNS, **load))
    if why is None:
        assert notes == []
    else:
        assert re.fullmatch(rf"\S+ can change nothing here: .*{why}.*", notes[0])


def test_as_it_is_is_the_node_as_it_is():
    def labels(text, node=NODE, profile="linux-6.18", **load):
        return [v.label for v in variants.named(variants.parse(text), node, Workload(DNS, **load), profile)]

    assert labels("addresses=6:8:10") == ["addresses=6", "addresses=8", "addresses=10"]
    assert labels("tcp-time-wait=120:30") == ["as it is", "tcp-time-wait=30"]
    assert labels("tcp-time-wait=120:30", node_with(tcp_timeout_time_wait=30)) == ["tcp-time-wait=120", "as it is"]
    assert labels("profile=linux-5.4:linux-6.18") == ["profile=linux-5.4", "as it is"]
    assert labels("rate=100:200", rate=200.0) == ["rate=100", "as it is"]
    shown = ran("--flows", 1000, "--vary", "addresses=6:8:10")
    rows = [line.split()[0] for line in shown.splitlines() if line.startswith("addresses=") and ":" not in line]
    assert rows == ["addresses=6", "addresses=8", "addresses=10"]


def test_values_stand_in_their_order_and_sentences_best_first():
    shown = ran("--vary", "addresses=1:2:4", "--seeds", 1, "--flows", 140_000)
    lines = shown.splitlines()
    assert [line.split("  ")[0] for line in lines if re.match(r"(as it is|addresses=\d) ", line)] == [
        "as it is", "addresses=2", "addresses=4"
    ]  # fmt: skip
    assert [line.split(":")[0] for line in lines if re.match(r"addresses=\d:", line)] == ["addresses=4", "addresses=2"]


def test_a_variant_that_loses_others_by_early_drop_is_not_the_best():
    shown = ran("--vary", "addresses=1:2,max=262144:60000", "--seeds", 1)
    sentences = [line.split(":")[0] for line in shown.splitlines() if re.match(r"(addresses=2|max=60000)[^:]*: ", line)]
    assert sentences[0] == "addresses=2"


def timeless(outcome):
    """Return an outcome without what depends on the machine."""
    return replace(outcome, rows=[replace(row, ns_per_conn=0) for row in outcome.rows])


@pytest.mark.slow
def test_runs_beside_each_other_give_what_each_gives_alone():
    work = Workload(DNS, flows=66_000, clients=500, sport="random", rate=9000.0)
    told = variants.parse("random-fully,addresses=1:2")
    seen, prepared = [], []
    found = variants.compare(NODE, work, told, seeds=3, first_seed=7, progress=seen.append, prepare=prepared.append)
    assert sum(seen) == work.flows * len(told) * 3
    assert len(prepared) == len(told) * 3
    for result, variant in zip(found, told, strict=True):
        changed, load, kernel = variants.apply(variant, NODE, work, "linux-6.18")
        for seed, outcome in enumerate(result.outcomes, 7):
            alone = simulation.run(fastnat.Engine(changed, kernel, seed), load)
            assert timeless(outcome) == timeless(alone)


def test_nothing_stands_for_the_first_variant_that_is_not_finished(monkeypatch):
    """All others are compared with it: what overtook it, until Ctrl-C came, is no answer."""
    finished = simulation.run(fastnat.Engine(NODE), Workload(DNS, flows=10))

    def slowly(engine, load, progress):
        while load.rate == 20:
            progress(0)
            time.sleep(0.01)
        return finished

    monkeypatch.setattr(variants, "run", slowly)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(variants.StoppedBetween) as stop:
        variants.compare(NODE, Workload(DNS, flows=10, rate=20.0), variants.parse("rate=20:1000:2000"), seeds=2)
    assert (stop.value.results, stop.value.done, stop.value.asked) == ([], 0, 6)


def test_what_a_run_beside_others_raises_comes_out(monkeypatch):
    def fails(engine, load, progress):
        raise fastnat.InputError("no such thing")

    monkeypatch.setattr(variants, "run", fails)
    with pytest.raises(fastnat.InputError, match="no such thing"):
        variants.compare(NODE, Workload(DNS), variants.parse("addresses=1:2:3"), seeds=3)


def test_a_run_with_its_port_spaces_is_read_as_what_it_was(tmp_path):
    results = variants.compare(NODE, Workload(DNS), variants.parse("addresses=1:2"), seeds=1)
    doc = Document("n", "linux-6.18", Workload(DNS), results, notes=("a note",))
    (tmp_path / "run.json").write_text(json.dumps(doc.to_json()))
    again = load(tmp_path / "run.json")
    assert (again.firsts, again.notes) == (doc.firsts, doc.notes)
    wrong = doc.to_json()
    wrong["runs"][0]["fullest"] = {"address": 5}
    (tmp_path / "run.json").write_text(json.dumps(wrong))
    with pytest.raises(fastnat.InputError, match="run 1: fullest cannot be"):
        load(tmp_path / "run.json")


def test_names_of_port_spaces_in_a_file_are_shown_not_obeyed():
    results = variants.compare(NODE, Workload(DNS), [variants.Variant()], seeds=1)
    evil = Space("\x1b[31m", "|", "<b>", 1, 0, 1, 1)
    first = replace(results[0].outcomes[0], fullest=evil, ran_out=[evil])
    doc = Document("n", "p", Workload(DNS), [replace(results[0], outcomes=[first])], notes=("\x1b[2J<b>",))
    for form in (report.to_text, report.to_markdown, to_html, report.to_junit, report.to_prometheus):
        assert "\x1b" not in form(doc)
        assert "<b>" not in form(doc) or form is report.to_text


def test_every_flow_is_closed_however_short():
    """A flow that ended within the half slice before it was opened stayed open: 30 a second at 10,500/s."""
    r = simulation.Run(fastnat.Engine(NODE), Workload(WEB, "tcp", 40_000, rate=4000.0, hold="exp:1", sport="random"))
    simulation.open_all(r)
    assert r.pool.open.any()
    assert not (r.pool.open & (r.pool.ends < r.engine.now - 1)).any()


def test_the_second_flow_of_a_tuple_leaves_nothing_behind():
    """Its last ACK, the first one's entry being gone, would be taken for a connection that lives five days."""
    work = Workload(WEB, "tcp", 20_000, rate=200.0, hold="exp:5", clients=1, sport="random")
    r = simulation.Run(fastnat.Engine(node_with(tcp_timeout_time_wait=1)), work)
    simulation.open_all(r)
    living = sum(fastnat.dtypes.TCP_STATES[c.state] == "ESTABLISHED" for c in r.engine.conntrack)
    assert living <= r.pool.open.sum()


QUESTION = (
    '[run]\nseeds = 1\n[workload]\nflows = {flows}\n[vary]\naddresses = [1, 2]\nhold = ["exp:1"]\nrate = [100, 200]\n'
)


@pytest.mark.slow
def test_a_sweep_does_not_go_on_with_rows_of_another_question(tmp_path):
    """It kept rows of other workloads, as only variant and seed told them apart."""
    path, out = tmp_path / "s.toml", tmp_path / "r.csv"

    def swept(text):
        path.write_text(text)
        return sweep.sweep(scenario.load(path), out, jobs=1)

    assert swept(QUESTION.format(flows=1000)) == 4
    whole = out.read_text()
    rows = list(csv.DictReader(whole.splitlines()))
    assert [(r["addresses"], r["hold"], r["rate"]) for r in rows][:2] == [
        ("1", "exp:1.0", "100"),
        ("1", "exp:1.0", "200"),
    ]
    assert len({r["question"] for r in rows}) == 1
    # more seeds and more values are the same question
    assert swept(QUESTION.format(flows=1000).replace("[1, 2]", "[1, 2, 3]")) == 6
    for other, why in [
        (QUESTION.format(flows=2000), "its rows answer another question, [0-9a-f]{16}; .* give another --out"),
        (QUESTION.format(flows=1000) + "cpus = [1]\n", "its rows vary addresses, hold, rate; this question varies"),
    ]:
        with pytest.raises(fastnat.InputError, match=why):
            swept(other)
    assert out.read_text().startswith(whole)
    out.write_text("variant,seed," + ",".join(sweep.FIGURES) + "\n")
    with pytest.raises(fastnat.InputError, match="do not say their question"):
        swept(QUESTION.format(flows=1000))


@pytest.mark.parametrize("more", [[], ["--hold", "5"], ["--vary", "addresses=2"]])
def test_a_node_without_ipv6_says_so(more):
    result = CliRunner().invoke(group, ["exhaust", "--dst", "[2001:db8::9]:443", *more])
    assert isinstance(result.exception, fastnat.InputError)
    assert "has no IPv6" in str(result.exception)


def last_times(folder, text, *words):
    """Return of each variant of a scenario its name, and when its last flow came [s]."""
    (folder / "s.toml").write_text(text)
    runs = json.loads(ran("--scenario", folder / "s.toml", "--seeds", 1, "-o", "json", *words))["runs"]
    return {r["variant"]: round(r["rows"][-1]["time"], 3) for r in runs}


VARIED = '[workload]\nflows = 1000\n{}\n[vary]\nrate = [100, "200/s"]\n'


def test_a_rate_that_is_varied_goes_before_stages(tmp_path):
    """As --rate does: the labels said so, and the stages were run."""
    stages = VARIED.format("rate = 100") + '[[stage]]\nfor = "1m"\nrate = 20\n'
    assert last_times(tmp_path, stages) == {"rate=100": 10, "rate=200": 5}
    without = stages.replace("rate = 100\n", "", 1)
    assert last_times(tmp_path, without) == {"rate=100": 10, "rate=200": 5}


def test_rates_that_are_varied_count_requests_as_the_rate_does(tmp_path):
    shared = VARIED.format("requests_per_connection = 4\nrate = 100")
    assert last_times(tmp_path, shared) == {"as it is": 40, "rate=50": 20}
    # what is given to the command counts connections
    assert last_times(tmp_path, shared, "--vary", "rate=25:100") == {"as it is": 40, "rate=100": 10}


def test_the_exit_status_and_junit_agree_on_how_many_may_fail(tmp_path):
    for share, status in (("1%", 1), ("50%", 0)):
        words = ["exhaust", "--flows", "72k", "--vary", "sport=40000", "--seeds", "1", "--max-fail", share]
        result = CliRunner().invoke(group, [*words, "-o", "junit"])
        assert (result.exit_code, 'failures="1"' in result.stdout) == (status, bool(status))


def test_clients_of_the_nodes_own_flows_are_idle():
    said = ran("--iface", "local", "--flows", 100, "--vary", "clients=1:9")
    assert "clients can change nothing here: the node itself opens the flows." in said


@pytest.mark.parametrize("named", ["192.168.7.0/24", "{ 192.168.7.0/24, 192.168.8.0/24 }", "192.168.7.9"])
@pytest.mark.parametrize("family", ["ip", "inet"])
def test_clients_are_those_that_rules_of_nftables_name(tmp_path, named, family):
    """As for rules of iptables: they were 10.244.0.0/14, and "these rules do not SNAT this traffic"."""
    node = fastnat.Node()
    node.add_interface("eth0", ["198.51.100.10/24"])
    node.add_interface("lan0", ["192.168.0.1/16"])
    node.add_route("0.0.0.0/0", dev="eth0")
    node.load_nft(
        f"table {family} nat {{ chain post {{ type nat hook postrouting priority srcnat; policy accept; "
        f'ip6 saddr fd00::/64 masquerade; ip saddr != 10.0.0.0/8 ip saddr {named} oifname "eth0" masquerade }} }}'
        if family == "inet" else f"table ip nat {{ chain post {{ type nat hook postrouting priority srcnat; "
        f'ip saddr {named} oifname "eth0" masquerade }} }}'
    )  # fmt: skip
    node.save(tmp_path)
    words = (tmp_path, "--iface", "lan0", "--flows", 500)
    assert "All 500 flows found a port." in ran(*words)
    # who chooses others is told how, and who has chosen is not
    said = ran(*words, "--network", "172.16.0.0/16")
    assert "No flow was translated" in said
    assert "--network" not in said
    hook = "type nat hook postrouting priority srcnat;"
    node.load_nft(f"table ip nat {{ chain post {{ {hook} ip daddr 192.0.2.1 masquerade }} }}")
    node.save(tmp_path)
    assert "--network NET opens flows of others" in ran(*words)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("nftables", [False, True])
def test_arithmetic_of_several_ranges_is_of_those_who_want_them(seed, nftables):
    """Of a carrier's subscribers each has ports of its own: the fullest range is compared with its own flows."""
    rng = random.Random(seed)
    sizes = [rng.randrange(60, 200) for _ in range(rng.randrange(2, 6))]
    ends = list(itertools.accumulate(sizes, initial=2000))
    ranges = [(low, high - 1) for low, high in itertools.pairwise(ends)]
    said = [(f"10.244.0.{2 + n}", f"198.51.100.1{n % 2}:{low}-{high}") for n, (low, high) in enumerate(ranges)]
    one = "-A POSTROUTING -s {} -p udp -j SNAT --to-source {}\n"
    one = "ip saddr {} udp dport 53 snat to {}\n" if nftables else one
    rules = "".join(one.format(*s) for s in said)
    if nftables:
        node = make_node("")
        node.load_nft(f"table ip t {{\nchain c {{\ntype nat hook postrouting priority srcnat\n{rules}}}\n}}\n")
    else:
        node = make_node(f"*nat\n{rules}COMMIT\n")
    work = Workload(DNS, "udp", 6000, rate=200.0, hold=0.0, clients=len(said), sport="random", network="10.244.0.0/16")
    outcome = simulation.run(fastnat.Engine(node), work)
    # a flow of one packet keeps its port for the 30 s of its timeout
    wanted = min(200.0 * 30, 6000) / len(said) / outcome.window
    assert outcome.demand == pytest.approx(wanted, rel=0.05)
    assert f"by arithmetic {outcome.demand:.0%};" in occupancy_line(outcome)
    assert outcome.failed > 0 or max(row.occupancy for row in outcome.rows) == pytest.approx(wanted, rel=0.05)
