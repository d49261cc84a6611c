"""What `fastnat plan`, and `exhaust` that looks for a rate, say is what `exhaust` finds at the same load."""

import itertools
import json
import random
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

import fastnat
from fastnat.cli import group
from fastnat.errors import InputError
from fastnat.exhaustion import Workload, plan, steady, variants
from fastnat.exhaustion.variants import Variant
from fastnat.util.text import number_of

WEB = (("203.0.113.10", 443),)
NODE = fastnat.Node.example()
SHARE = 0.001
HOLDS = (1.0, "exp:2", "uniform:1-3", "lognormal:1,0.8", 8.0)
PROFILES = ("linux-6.18", "linux-5.4")


def ran(*words):
    result = CliRunner().invoke(group, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def node_of(ports=None, **timeouts):
    """Return the packaged node with short timeouts, and rules that give so many ports."""
    node = fastnat.Node.example()
    for name, seconds in {"tcp_timeout_time_wait": 20, "udp_timeout": 10, "udp_timeout_stream": 20, **timeouts}.items():
        node.sysctls[f"net.netfilter.nf_conntrack_{name}"] = str(seconds)
    factors = (("ports", (1024, 1023 + ports)),) if ports else ()
    return variants.apply(Variant(factors), node, Workload(WEB), "linux-6.18")[0]


def questions(ports):
    """Return fifty loads, from a third of an address to some, of every hold time, protocol and kernel."""
    made = []
    for k, (hold, proto, profile) in enumerate(itertools.product(HOLDS, ("tcp", "udp"), PROFILES)):
        lasts = (20 if proto == "tcp" else 10) + workload_mean(hold)
        for n, load in enumerate((0.35, 0.9, 1.02, 1.7, 3.3)):
            if (k + n) % 2 == 0:
                work = Workload(
                    WEB, proto, rate=round(load * ports / lasts, 1), hold=hold, clients=300, sport="random",
                    replies=hold == 8.0,
                )  # fmt: skip
                made.append((work, profile))
    return made


def workload_mean(hold):
    from fastnat.exhaustion.workload import mean_hold

    return mean_hold(hold)


def refutation(node, work, profile, made):
    """Return what `exhaust` finds against a plan with another seed, "" for nothing."""
    lasts = steady.lifetime(node, work, profile)
    load = Workload(**{**work.__dict__, "flows": max(int(work.rate * lasts * 2.5), 1000)})
    asked = [n for n in (made.addresses, made.addresses - 1) if n]
    tried = [Variant((("addresses", n), ("max", made.max_connections))) for n in asked]
    results = variants.compare(node, load, tried, profile, seeds=1, first_seed=77)
    for n, result in zip(asked, results, strict=True):
        rows = [r for r in result.outcomes[0].rows if r.time > 1.5 * lasts] or result.outcomes[0].rows
        fails, width = steady.mean_fail(rows)
        if n == made.addresses and fails - width > SHARE:
            return f"{n} addresses: {fails:.3%} fail"
        if n < made.addresses and fails + width < SHARE:
            return f"{n} addresses were enough: {fails:.3%} fail"
    return ""


def refuted(ports, every):
    node = node_of(ports)
    found = []
    for work, profile in questions(ports or 64_512)[::every]:
        made = plan.plan(node, work, profile, SHARE)
        against = refutation(node, work, profile, made)
        if against:
            found.append((work.proto, work.rate, work.hold, profile, made.addresses, against))
    return found


@pytest.mark.slow
def test_no_plan_is_refuted_by_exhaust():
    """A grid with 2,048 ports an address; the long form is over all of them."""
    assert len(questions(2048)) == 50
    assert refuted(2048, every=4) == []


@pytest.mark.slow
@pytest.mark.parametrize("ports", [2048, None])
def test_none_of_fifty_plans_is_refuted_by_exhaust(ports):
    assert refuted(ports, every=1) == []


@pytest.mark.slow
def test_a_plan_begins_with_one_address():
    """Arithmetic says four; linux-6.18 takes over ports in TIME_WAIT, and one is enough."""
    shown = ran("plan", "--rate", 2000, "--hold", 0.01)
    assert shown.startswith("1 SNAT address: then 0.000% of the flows fail")
    assert re.search(r"none of the last [\d,]+ flows of a run over 2\.5 lifetimes \(300 s\) fails", shown)
    made = json.loads(ran("plan", "--rate", 490, "--hold", "exp:5", "--profile", "linux-5.4", "--json"))
    assert (made["addresses"], made["lifetimes"]) == (2, pytest.approx(2.5, abs=0.01))
    assert made["with_one_address_less"] > SHARE


def test_a_plan_counts_the_addresses_that_the_rules_give_already():
    node = variants.apply(Variant((("addresses", 3),)), node_of(2048), Workload(WEB), "linux-6.18")[0]
    made = plan.plan(node, Workload(WEB, "udp", rate=100.0, hold=1.0, clients=300, sport="random"))
    assert made.addresses == 3


SERVICE = (("10.96.0.10", 80),)


def service_node(backends, ports):
    """Return a node with a service of so many backends, each as likely, behind MASQUERADE to so many ports."""
    node = node_of()
    chosen = "".join(
        f"-A PREROUTING -d 10.96.0.10/32 -p tcp -m statistic --mode random --probability {1 / (backends - k):.9f} "
        f"-j DNAT --to-destination 203.0.113.{k}:80\n" for k in range(backends)
    )  # fmt: skip
    rules = f"-A POSTROUTING -s 10.244.0.0/16 -o eth0 -p tcp -j MASQUERADE --to-ports 1024-{1023 + ports}\n"
    node.load_rules(f"*nat\n{chosen}{rules}COMMIT\n")
    return node


@pytest.mark.parametrize("backends", [1, 2, 5])
def test_the_ports_towards_backends_are_counted(backends):
    work = Workload(SERVICE, "tcp", hold=1.0, clients=300, sport="random")
    reach = steady.reach_of(fastnat.Engine(service_node(backends, 300)), work)
    assert (reach.ports, reach.destinations) == (300, backends)
    assert reach.at_least <= 1 / backends <= reach.busiest + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_flows_to_a_service_have_the_ports_towards_each_of_its_backends(seed):
    """A plan and a rate count with them: neither is refuted, and fewer addresses or a higher rate are too little."""
    draw = random.Random(seed)
    backends, ports, profile = draw.randrange(1, 6), draw.choice([300, 600]), draw.choice(PROFILES)
    node = service_node(backends, ports)
    # what one address carries, and 0.4 to 2.2 times that
    whole = backends * ports / (21 if profile == "linux-5.4" else 1)
    work = Workload(SERVICE, "tcp", rate=draw.uniform(0.4, 2.2) * whole, hold=1.0, clients=300, sport="random")
    made = plan.plan(node, work, profile, SHARE)
    assert refutation(node, work, profile, made) == ""
    assert made.busiest == pytest.approx(made.live / backends, rel=0.2)
    engine = fastnat.Engine(node, profile)
    found = steady.sustainable_rate(engine, replace(work, rate=0.0))
    # linux-6.18 takes over what waits in TIME_WAIT
    assert found.rate > 0.6 * whole
    assert not steady.steady(engine, replace(work, rate=1.15 * found.rate), SHARE).allows(SHARE)


@pytest.mark.slow
def test_addresses_are_added_for_whatever_destination_is_translated():
    """The first one is not; one that is named twice is one."""
    inside, outside = ("10.244.3.5", 53), ("203.0.113.10", 53)
    load = {"proto": "udp", "rate": 230.0, "hold": 1.0, "clients": 300, "sport": "random"}
    node, made = node_of(2048), {}
    for name, ends in {"alone": (outside,), "behind": (inside, outside), "twice": (outside, outside)}.items():
        rate = load["rate"] * (2 if name == "behind" else 1)
        made[name] = plan.plan(node, Workload(ends, **{**load, "rate": rate}))
    assert {m.addresses for m in made.values()} == {2}
    assert len({round(m.busiest) for m in made.values()}) == 1


@pytest.mark.one_of(2)
@pytest.mark.parametrize("who", [{"clients": 1}, {"iface": "local"}])
def test_no_number_of_addresses_is_enough_for_one_client(who):
    work = Workload(WEB, "tcp", **{"rate": 60.0, "hold": 1.0, "clients": 300, "sport": "random", **who})
    node = node_of(150)
    node.load_rules("*nat\n-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 1024-1173\nCOMMIT\n")
    with pytest.raises(InputError, match=r"no number of SNAT addresses is enough: 1 SNAT address of \d+ would be used"):
        plan.plan(node, work, "linux-5.4")


def test_a_plan_shows_what_it_is_at():
    told = []
    work = Workload(WEB, "udp", rate=900.0, hold=1.0, clients=300, sport="random")
    made = plan.plan(node_of(2048), work, progress=lambda *n: told.append(n))
    assert {n for n, _, _ in told} == {made.addresses - 1, made.addresses}
    assert all(0 < flows <= of for _, flows, of in told)


@pytest.mark.one_of(2)
@pytest.mark.parametrize("proto", [pytest.param("tcp", marks=pytest.mark.slow), "udp"])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_rate_holds_to_its_steady_state(proto, profile):
    """It is confirmed over 2.5 lifetimes, TIME_WAIT among them, and by another seed; 15 % more is too much."""
    node = node_of(2048)
    work = Workload(WEB, proto, hold="exp:2", clients=300, sport="random")
    found = steady.sustainable_rate(fastnat.Engine(node, profile), work, SHARE)
    assert found.found.lifetimes == pytest.approx(2.5, abs=0.05)
    assert found.found.fails <= SHARE
    assert steady.estimate(fastnat.Engine(node, profile), work) == pytest.approx(found.rate, rel=0.25)
    engine = fastnat.Engine(node, profile, seed=5)
    again, more = (
        steady.steady(engine, Workload(**{**work.__dict__, "rate": found.rate * k}), SHARE) for k in (1, 1.15)
    )
    assert again.fails - again.width <= SHARE
    assert more.fails + more.width > SHARE


@pytest.mark.slow
def test_a_rate_says_how_sure_it_is():
    shown = ran("exhaust", "--proto", "udp", "--hold", 10, "--clients", 100, "--sport", "random")
    assert re.search(r"Up to [\d,]+ flows/s of udp .* at most 1 in 1000 fails\.\n", shown)
    assert re.search(r"At that rate .*95 %.* of the last [\d,]+ flows|none of the last .* 95 % confidence", shown)
    assert "over 2.5 lifetimes" in shown


@pytest.mark.slow
def test_a_rate_honours_what_is_there_and_what_is_varied(tmp_path):
    """A dump in which connections live for days takes its ports for as long as anybody looks."""
    line = (
        "udp 17 100000 src=10.244.9.9 dst=203.0.113.10 sport={0} dport=53 src=203.0.113.10 dst=198.51.100.10 "
        "sport=53 dport={0} [ASSURED] mark=0 use=1\n"
    )
    (tmp_path / "dump").write_text("".join(line.format(port) for port in range(1024, 65536, 2)))
    (tmp_path / "full").write_text("".join(line.format(port) for port in range(1024, 65536)))
    load = ("--proto", "udp", "--hold", 1, "--clients", 100, "--sport", "random", "--profile", "linux-5.4")

    def rate(*words):
        return int(re.search(r"to ([\d,]+) flows/s", ran("exhaust", *load, *words))[1].replace(",", ""))

    assert rate("--start-from", tmp_path / "dump") < 0.6 * rate()
    with pytest.raises(fastnat.InputError, match="connections are there already"):
        ran("exhaust", *load, "--start-from", tmp_path / "full")
    shown = ran("exhaust", *load, "--vary", "addresses=1:2,tcp-time-wait=30")
    assert re.search(r"addresses=2 tcp-time-wait=30: from [\d,]+ to [\d,]+ flows/s", shown)
    assert "tcp-time-wait can change nothing here: all flows are UDP." in shown


@pytest.mark.parametrize(("words", "why"), [(("-o", "junit"), "-o junit"), (("--seeds", 2), "--seeds")])
def test_a_search_for_a_rate_refuses_what_it_cannot_use(words, why):
    with pytest.raises(fastnat.InputError, match=why):
        ran("exhaust", "--hold", 5, *words)


@pytest.mark.parametrize("seed", range(2))
def test_the_clients_are_those_of_the_network_that_is_named(seed, tmp_path):
    """Rules give each network ports of its own; `plan` of one of them is enough in `exhaust` of the same one."""
    rng = random.Random(seed)
    node, ports = node_of(), {f"10.244.{n}.0/24": rng.randrange(100, 900) for n in (1, 2, 3)}
    rules = "".join(
        f"-A POSTROUTING -s {network} -o eth0 -p udp -j MASQUERADE --to-ports {n}000-{n}{size - 1:03}\n"
        for n, (network, size) in enumerate(ports.items(), 2)
    )
    node.load_rules(f"*nat\n{rules}COMMIT\n")
    node.save(tmp_path / "n")
    network, size = rng.choice(list(ports.items())[1:])
    asked = (tmp_path / "n", "--proto", "udp", "--rate", 20, "--hold", 1, "--network", network, "--clients", 200)
    made = json.loads(ran("plan", *asked, "-o", "json"))
    assert made["addresses"] == made["by_arithmetic"] == -(-int(made["busiest"]) // size)
    shown = json.loads(ran("exhaust", *asked, "--replies", "--sport", "random", "--flows", 2000, "--vary",
                           f"addresses={made['addresses']}", "--seeds", 1, "-o", "json"))  # fmt: skip
    assert [run["failed"] for run in shown["runs"]] == [0]
    assert f"of the {number_of(size, 'port')} of" in ran("exhaust", *asked, "--flows", 500)
