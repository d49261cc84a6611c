"""What answers say in words about nodes where the usual sentence is wrong: nothing tracked, entries too short..."""

import io
import random

import pytest
from laboratory.test_any_node import ask, nat, router, strict

import fastnat
from fastnat.conntrack.dump import read
from fastnat.conntrack.port_spaces import each_space
from fastnat.exhaustion import Workload
from fastnat.exhaustion.lifetimes import cut_short, lifetime
from fastnat.exhaustion.simulation import run

MASQUERADE = "-A POSTROUTING -o eth0 -j MASQUERADE"
NOT_TRACKED = {
    "iptables": ("*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n" + nat(MASQUERADE), ""),
    "nftables": (
        "", "table inet r { chain p { type filter hook prerouting priority raw; notrack; } }\n"
        'table inet n { chain p { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; } }\n',
    ),
    "no rule": ("", ""), "a filter alone": ("*filter\n-A FORWARD -j ACCEPT\nCOMMIT\n", ""),
}  # fmt: skip


def saved(folder, rules="", native="", rules6=None, **sysctls):
    """Save a router with these rules; return its directory."""
    node = router("none", None if rules6 is None else "none", native)
    if rules:
        node.load_rules(rules)
    if rules6:
        node.load_rules6(rules6)
    node.sysctls |= {f"net.netfilter.nf_conntrack_{name}": str(value) for name, value in sysctls.items()}
    node.save(folder)
    return folder


@pytest.mark.one_of(2)
@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow if k in ("no rule", "a filter alone") else ()) for k in NOT_TRACKED]
)
def test_flows_that_nothing_tracks_have_no_entries(tmp_path, kind):
    """`plan` speaks of none, `exhaust` says why nothing runs out, and a rate has no limit."""
    folder = saved(tmp_path / "n", *NOT_TRACKED[kind])
    said = ask("plan", folder, "--rate", "50")[1]
    assert said.startswith("No SNAT address is needed. No flow is tracked")
    assert "at a time" not in said
    told = strict(ask("plan", folder, "--rate", "50", "-o", "json")[1])
    assert (told["addresses"], told["live"], told["lifetime"], told["max_connections"]) == (0, 0, 0, 0)
    assert "No flow is tracked" in ask("plan", folder, "--rate", "50", "-o", "html")[1]
    run_ = ask("exhaust", folder, "--flows", "1500", "-o", "json")[1]
    told = strict(run_)["runs"][0]
    assert (told["kind"], told["untracked"], told["peak"]) == ("untracked", 1500, 0)
    (tmp_path / "run.json").write_text(run_)
    assert "No flow is tracked" in ask("report", tmp_path / "run.json")[1]
    status, _, why = ask("exhaust", folder, "--hold", "5")
    assert (status, "not tracked" in why) == (2, True)


@pytest.mark.slow
def test_a_plan_tells_addresses_of_the_rules_from_those_that_are_needed(tmp_path):
    """Four addresses of a range, or one for each client of a NETMAP: not because a port search gives up."""
    for name, rule in {
        "range": "-A POSTROUTING -o eth0 -j SNAT --to-source 198.51.100.20-198.51.100.23",
        "netmap": "-A POSTROUTING -s 10.244.0.0/16 -o eth0 -j NETMAP --to 100.64.0.0/16",
    }.items():
        said = ask("plan", saved(tmp_path / name, nat(rule)), "--rate", "10", "--clients", "80")[1]
        assert " SNAT addresses, as the rules have them, are enough: " in said
        told = ask("plan", tmp_path / name, "--rate", "10", "--clients", "80", "-o", "json")[1]
        assert strict(told)["of_the_rules"] is True
        assert "gives up" not in said


@pytest.mark.slow
def test_a_plan_of_one_port_an_address_takes_few_runs(tmp_path, monkeypatch):
    """Numbers of addresses are tried in growing steps; the answer says what one less does."""
    from fastnat.exhaustion import plan as module

    tried = []
    run_ = module.Trial.run
    monkeypatch.setattr(module.Trial, "run", lambda self, n, table: tried.append(n) or run_(self, n, table))
    folder = saved(tmp_path / "n", nat("-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 5000"))
    status, _, why = ask("plan", folder, "--rate", "5", "--profile", "linux-5.4")
    assert (status, "more than 64 SNAT addresses" in why) == (2, True)
    tried.clear()
    folder = saved(tmp_path / "m", nat("-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 5000-5009"))
    told = strict(ask("plan", folder, "--rate", "3", "--fails", "8%", "--profile", "linux-5.4", "-o", "json")[1])
    assert told["with_one_address_less"] > 0.08 >= told["fails"]
    assert {told["addresses"], told["addresses"] - 1} <= set(tried)
    assert len(tried) <= 12 < told["addresses"]


@pytest.mark.slow
def test_a_plan_says_that_the_table_of_the_node_is_too_small(tmp_path):
    said = ask("plan", saved(tmp_path / "n", nat(MASQUERADE), max=1000), "--rate", "20")[1]
    assert (
        "nf_conntrack_max = 4096, nf_conntrack_buckets = 1024 (a quarter above the load); this node has 1000." in said
    )


@pytest.mark.parametrize("name", ["net.netfilter.nf_conntrack_max", "net.nf_conntrack_max", "net/nf_conntrack_max"])
def test_nf_conntrack_max_has_two_names(tmp_path, name):
    folder = saved(tmp_path / "n", nat(MASQUERADE))
    (folder / "sysctl.conf").write_text(f"{name} = 700\n")
    assert strict(ask("exhaust", folder, "--flows", "900", "-o", "json")[1])["runs"][0]["max_connections"] == 700
    node = fastnat.Node.load(folder)
    node.sysctls = {name.replace("/", "."): "701"}
    assert fastnat.Engine(node).max_connections == 701
    dump = tmp_path / "dump"
    dump.write_text("udp 17 9 src=10.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=198.51.100.10 sport=2 dport=1\n")
    assert "1 entries of nf_conntrack_max 700" in ask("doctor", dump, folder)[1]


LOADS = [
    ("udp", {"udp_timeout": 5}, 50.0, False), ("udp", {"udp_timeout": 3, "udp_timeout_stream": 7}, 70.0, True),
    ("tcp", {"tcp_timeout_established": 10}, 40.0, False), ("tcp", {"tcp_timeout_established": 6}, "exp:10", False),
    ("udp", {"udp_timeout": 25, "udp_timeout_stream": 4}, 60.0, True), ("udp", {"udp_timeout": 0}, 30.0, True),
    ("tcp", {"tcp_timeout_established": 300}, 40.0, False), ("udp", {}, 50.0, False),
]  # fmt: skip


@pytest.mark.one_of(2)
@pytest.mark.parametrize(
    ("proto", "sysctls", "hold", "replies"),
    [load if n % 3 == 0 else pytest.param(*load, marks=pytest.mark.slow) for n, load in enumerate(LOADS)],
)
def test_entries_that_end_before_their_flows(tmp_path, proto, sysctls, hold, replies):
    """By arithmetic there are as many entries at a time as in the run, and answers say that flows lose theirs."""
    folder = saved(tmp_path / "n", nat(MASQUERADE), **sysctls)
    node = fastnat.Node.load(folder)
    work = Workload((("203.0.113.10", 53),), proto, 5000, clients=500, sport="random", rate=20.0, hold=hold,
                    replies=replies)  # fmt: skip
    outcome = run(fastnat.Engine(node), work)
    live = sum(row.count for row in outcome.rows[3:]) / len(outcome.rows[3:])
    assert live == pytest.approx(20 * lifetime(node, work), rel=0.25, abs=10)
    short = bool(cut_short(node, work, "linux-6.18"))
    assert short == (min([20, *sysctls.values()]) < 20)
    said = ask("exhaust", folder, "--proto", proto, "--hold", hold, "--rate", "20", "--flows", "1500",
               *(["--replies"] * replies))[1]  # fmt: skip
    assert ("Entries end before their flows do: nf_conntrack_" in said) == short
    said = ask("plan", folder, "--proto", proto, "--hold", hold, "--rate", "1")[1]
    # flows of UDP are answered there
    assert ("Entries end before their flows do: nf_conntrack_" in said) == short


POLICIES = """table ip t {{
    ct timeout brief {{ protocol {proto}; policy = {{ {said} }}; }}
    chain c {{ type filter hook forward priority 0; {match} ct timeout set "brief"; }}
    chain s {{ type nat hook postrouting priority 100; oifname "eth0" masquerade; }}
}}
"""


def with_policy(folder, proto, said, match="ip protocol != 1"):
    """Return a node whose rules give connections a timeout policy, in a folder."""
    node = saved(folder, nat())
    (node / "rules.nft").write_text(POLICIES.format(proto=proto, said=said, match=match))
    return node


@pytest.mark.slow
@pytest.mark.parametrize(
    ("proto", "said", "match", "lasts"),
    [
        ("tcp", "time_wait: 10", "ip protocol != 1", 16), ("tcp", "time_wait: 150", "ip protocol != 1", 156),
        ("tcp", "close: 5", "ip protocol != 1", 126), ("udp", "unreplied: 45", "ip protocol != 1", 51),
        ("udp", "unreplied: 45", "ip protocol 1", 36), ("udp", "unreplied: 5", "ip protocol != 1", 10),
        # of two destinations one alone has it
        ("tcp", "time_wait: 10", "ip daddr 203.0.113.10", 71),
    ],
)  # fmt: skip
def test_a_timeout_policy_shows_in_answers(tmp_path, proto, said, match, lasts):
    """By arithmetic there are as many entries at a time as in the run."""
    node = fastnat.Node.load(with_policy(tmp_path / "n", proto, said, match))
    ends = (("203.0.113.10", 53), ("203.0.113.11", 53))
    work = Workload(ends, proto, 15 * lasts, clients=500, sport="random", rate=5.0, hold=6.0)
    assert lifetime(node, work) == lasts
    outcome = run(fastnat.Engine(node), work)
    assert outcome.rows[-1].count == pytest.approx(5 * lasts, rel=0.1)
    assert outcome.expected == 5 * lasts


@pytest.mark.slow
def test_a_timeout_policy_decides_when_ports_run_out(tmp_path):
    rate = ["--proto", "tcp", "--hold", "1", "--rate", "800", "--flows", "80000", "--clients", "500"]
    rate += ["--profile", "linux-5.4"]
    slow, quick = (
        strict(ask("exhaust", with_policy(tmp_path / name, "tcp", said), *rate, "-o", "json")[1])["runs"][0]
        for name, said in (("slow", "time_wait: 120"), ("quick", "time_wait: 10"))
    )
    assert (slow["failed"] > 1000, quick["failed"]) == (True, 0)
    assert slow["lingers"] == quick["lingers"] == "time_wait of ct timeout brief"
    told = ask("exhaust", with_policy(tmp_path / "told", "tcp", "time_wait: 120"), *rate)[1]
    assert "a shorter time_wait of ct timeout brief help" in told


def test_diff_and_trace_show_a_timeout_policy(tmp_path):
    nodes = [with_policy(tmp_path / said[-2:], "udp", said) for said in ("unreplied: 11", "unreplied: 22")]
    status, said, _ = ask("diff", *nodes)
    assert (status, "entry lives 11 s" in said, "entry lives 22 s" in said) == (1, True, True)
    words = ["-p", "udp", "-s", "10.244.1.2", "--sport", "4000", "-d", "203.0.113.10", "--dport", "53", "-i", "cni0"]
    said = ask("trace", nodes[0], *words)[1]
    assert 'ct timeout set "brief"' in said
    assert "udp      17 11 src=10.244.1.2" in said


def test_entries_that_a_policy_ends_before_their_flows(tmp_path):
    folder = with_policy(tmp_path / "n", "tcp", "established: 5")
    said = ask("exhaust", folder, "--proto", "tcp", "--hold", "9", "--rate", "20", "--flows", "900")[1]
    assert "Entries end before their flows do: established of ct timeout brief is 5 s" in said


def test_check_counts_both_families(tmp_path):
    folder = saved(tmp_path / "n", nat(MASQUERADE), rules6=nat(MASQUERADE))
    told = strict(ask("check", folder, "-o", "json")[1])
    node = fastnat.Node.load(folder)
    assert (told["rules"], told["routes"]) == (2, len(node.routes) + len(node.routes6))
    assert f": 3 interfaces, {told['routes']} routes, 2 rules: fine" in ask("check", folder)[1]
    assert " 1 rule: fine" in ask("check", saved(tmp_path / "m", nat(MASQUERADE)))[1]


def test_a_rate_that_is_varied_needs_no_other(tmp_path):
    """In a scenario and on the command line, with --hold: a run for each rate, the first one is the baseline."""
    question = tmp_path / "q.toml"
    question.write_text(
        '[workload]\nproto = "tcp"\nhold = 5\nclients = 50\nsport = "random"\nflows = 1500\n'
        "[vary]\nrate = [50, 300]\n[run]\nseeds = 1\n"
    )
    load = ("--proto", "tcp", "--hold", "5", "--clients", "50", "--sport", "random", "--flows", "1500", "--seeds", "1")
    for words in (("--scenario", question), ("--vary", "rate=50:300", *load)):
        told = strict(ask("exhaust", *words, "-o", "json")[1])
        assert [run["variant"] for run in told["runs"]] == ["rate=50", "rate=300"]
        assert [round(run["rows"][0]["time"]) for run in told["runs"]] == [20, 3]
        assert told["workload"]["rate"] == 50
    assert ask("sweep", question, "--out", tmp_path / "rows.csv", "--jobs", "1")[0] == 0


@pytest.mark.slow
def test_a_page_says_which_rate_is_too_much(tmp_path):
    folder = saved(tmp_path / "n", nat("-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 1024-1123"))
    words = ("exhaust", folder, "--proto", "tcp", "--hold", "2", "--clients", "40", "--sport", "random", "--profile",
             "linux-5.4")  # fmt: skip
    told = strict(ask(*words, "-o", "json")[1])
    page = ask(*words, "-o", "html")[1]
    assert f"<strong>{told['rates'][0]['rate']:,.0f}</strong>flows a second are carried" in page
    assert "As many TCP flows a second as pass to 203.0.113.10:53, held 2 s" in page
    assert ask(*words)[1].splitlines()[0].replace("'", "") in page


def test_doctor_sees_the_ports_below_1024_that_rules_give(tmp_path):
    """--to-ports 600-1023: `exhaust` finds them used up, `doctor` does so in a dump."""
    folder = saved(tmp_path / "n", nat("-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 600-699"))
    engine = fastnat.Engine(fastnat.Node.load(folder))
    engine.process(engine.packets(proto="udp", src="10.244.1.2", sport=range(2000, 2300), dst="203.0.113.10", dport=53,
                                  iface="cni0"))  # fmt: skip
    dump = tmp_path / "dump"
    dump.write_text(engine.conntrack.format())
    assert "100 of the 100 ports of 198.51.100.10 to udp 203.0.113.10:53 are in use" in ask("doctor", dump, folder)[1]
    assert "ran out (198.51.100.10 to udp" in ask("exhaust", folder, "--flows", "1000")[1]


def test_doctor_says_what_it_knows_of_the_table(tmp_path):
    dump = tmp_path / "dump"
    dump.write_text("udp 17 9 src=10.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=198.51.100.10 sport=2 dport=1\n")
    assert "1 entries; nothing says how many there may be (nf_conntrack_max)" in ask("doctor", dump)[1]


@pytest.mark.parametrize("seed", range(6))
def test_the_fullest_port_space_has_most_ports_in_use(seed):
    """Not most connections: ports below 1024, and lines that stand twice, are none of 1024..65535."""
    draw = random.Random(seed)
    lines = [
        f"udp 17 9 src=10.1.1.{draw.randrange(9)} dst=2.2.2.{far} sport=5 dport=53 src=2.2.2.{far} dst=5.5.5.5 "
        f"sport=53 dport={draw.choice([draw.randrange(1, 1024), draw.randrange(1, 65536), 40_000])}\n"
        for far in draw.choices(range(8), k=400)
    ]
    spaces = list(each_space(read(io.BytesIO("".join(lines).encode()))))
    used = [space.used for space in spaces]
    assert used == sorted(used, reverse=True)
    assert sum(space.connections for space in spaces) == 400
    for space in spaces:
        ports = {int(line.rsplit("=", 1)[1]) for line in lines if f" dst={space.dst} " in line}
        assert space.used == len([p for p in ports if p >= 1024])
        assert space.every_port().nonzero()[0].tolist() == sorted(ports)


def test_dccp_without_ports_is_read_back():
    """As /proc of a kernel since 6.17 shows it."""
    engine = fastnat.Engine(router("masquerade"))
    line = "ipv4     2 unknown  33 29 src=10.2.0.2 dst=8.8.8.8 src=8.8.8.8 dst=10.2.0.2 [ASSURED] mark=0 zone=0 use=2\n"
    assert engine.conntrack.load(line) == 1
    assert engine.conntrack.format("proc") == line
    dump = read(io.BytesIO(line.encode()))
    assert (dump.connections, dump.others, list(each_space(dump, every=True))) == (1, 1, [])


def test_a_trace_says_in_words_why_a_packet_was_dropped(tmp_path):
    """And that a connection lasts of which one packet was."""
    folder = saved(tmp_path / "n", "*filter\n-A FORWARD -p udp -j DROP\nCOMMIT\n" + nat(MASQUERADE))
    said = ask("trace", folder, "-p", "udp")[1]
    assert "dropped: rule_drop: by a rule, or by the policy of a chain\n" in said
    assert "chosen  none of it lasts" in said
    dump = tmp_path / "dump"
    dump.write_text(
        "udp 17 29 src=10.244.1.2 dst=203.0.113.10 sport=40000 dport=53 src=203.0.113.10 dst=198.51.100.10 sport=53 "
        "dport=40000 mark=0 use=1\n"
    )
    said = ask("trace", folder, "-p", "udp", "--start-from", dump)[1]
    assert "chosen  an established connection: it lasts, only the packet was dropped\n" in said
    (folder / "sysctl.conf").write_text("net.ipv4.ip_forward = 0\n")
    assert "(net.ipv4.ip_forward and its kind)" in ask("trace", folder)[1]


def test_clouds_are_listed_without_a_load():
    status, said, _ = ask("plan", "--cloud", "list")
    assert (status, "aws-nat-gateway: " in said) == (0, True)
    assert ask("plan")[0] == 2


def test_conntrack_takes_protocols_as_trace_does(tmp_path):
    dump = tmp_path / "dump"
    dump.write_text("udp 17 9 src=10.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=198.51.100.10 sport=2 dport=1\n")
    folder = saved(tmp_path / "n", nat(MASQUERADE))
    for given, n in {"udp": 1, "UDP": 1, "17": 1, "tcp": 0, "6": 0}.items():
        assert ask("conntrack", folder, "--start-from", dump, "-p", given, "--count")[1] == f"{n}\n"
    assert ask("conntrack", folder, "-p", "nothing")[0] == 2


def test_top_tells_programs_the_limit_that_it_tells_people(tmp_path):
    dump = tmp_path / "dump"
    dump.write_text("udp 17 9 src=10.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=198.51.100.10 sport=2 dport=1\n")
    folder = saved(tmp_path / "n", nat(MASQUERADE), max=1)
    assert strict(ask("top", dump, "--node", folder, "-o", "json")[1])["nf_conntrack_max"] == 1
    assert "or unanswered ones early for them" in ask("top", dump, "--node", folder)[1]


@pytest.mark.one_of(2)
@pytest.mark.parametrize("low", [600, 5000])
def test_top_knows_the_ports_that_the_rules_of_a_node_give(tmp_path, low):
    """100 of 100 are in use: `top --node` says what `doctor` and `exhaust` say of them."""
    rule = f"-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports {low}-{low + 99}"
    folder, dump = saved(tmp_path / "n", nat(rule)), tmp_path / "dump"
    engine = fastnat.Engine(fastnat.Node.load(folder))
    ends = {"proto": "udp", "src": "10.244.1.2", "sport": range(2000, 2300), "iface": "cni0"}
    engine.process(engine.packets(**ends, dst="203.0.113.10", dport=53))
    engine.process(engine.packets(**ends | {"proto": "tcp"}, dst="203.0.113.11", dport=53, tcp_flags=2))
    dump.write_text(engine.conntrack.format())
    words = ("top", dump, "--node", folder)
    first = strict(ask(*words, "-o", "json")[1])["spaces"][0]
    assert (first["proto"], first["used"], first["ports"], first["free"], first["fails"]) == ("udp", 100, 100, 0, 1)
    said = ask(*words)[1]
    where = f"198.51.100.10 towards udp 203.0.113.10:53 by its 100 ports ({low}-{low + 99})"
    assert f"Ports are running out now: of new connections from {where} 100.0% fail." in said
    assert "100 of the 100 ports of 198.51.100.10 to udp 203.0.113.10:53" in ask("doctor", dump, folder)[1]
    # without the node nobody knows
    assert "No port space is exhausted" in ask("top", dump)[1]


def test_variants_in_which_entries_end_early_are_named(tmp_path):
    folder = saved(tmp_path / "n", nat(MASQUERADE))
    said = ask("exhaust", folder, "--proto", "tcp", "--hold", "60", "--rate", "20", "--flows", "1200", "--seeds", "1",
               "--vary", "tcp-established=432000:10")[1]  # fmt: skip
    assert "\ntcp-established=10: Entries end before their flows do: nf_conntrack_tcp_timeout_established is 10" in said
    assert said.count("Entries end") == 1


@pytest.mark.parametrize("seed", range(6))
def test_clients_without_addresses_are_named(tmp_path, seed):
    """Twenty clients of a rule for one address are one client; `exhaust` and `plan` say so, and only then."""
    draw = random.Random(seed)
    length, clients = draw.choice([24, 28, 29, 30, 32]), draw.choice([1, 2, 6, 7, 14, 15, 200, 300])
    node = router("none", "none")
    node.load_rules(f"*nat\n-A POSTROUTING -s 10.244.64.0/{length} -o eth0 -j MASQUERADE\nCOMMIT\n")
    node.save(tmp_path)
    # neither the network nor the address of a router in front of it
    there = max((1 << 32 - length) - 2, 1)
    words = ("--proto", "udp", "--dst", "203.0.113.10:53", "--clients", clients, "--rate", "20", "--hold", "1")
    for command in (("exhaust", tmp_path, "--flows", "1000"), ("plan", tmp_path)):
        said = ask(*command, *words)[1]
        assert (f"Of the {clients:,} clients asked for only {there:,} ha" in said) == (clients > there)


@pytest.mark.parametrize("native", [False, True])
def test_top_names_the_subscriber_whose_ports_run_out(tmp_path, native):
    """Of one address each client has its own ports: who holds most of it need not be who has none left."""
    own = {2: "2000-2099", 3: "3000-3099", 4: "4000-4999"}
    rules = "".join(
        f"-A POSTROUTING -o eth0 -s 10.244.1.{k} -p udp -j SNAT --to-source 198.51.100.9:{ports}\n"
        for k, ports in own.items()
    )
    each = ", ".join(f"10.244.1.{k} : 198.51.100.9 . {ports}" for k, ports in own.items())
    text = "table ip t { map m { type ipv4_addr : interval ipv4_addr . inet_service; flags interval; elements = { "
    text += f"{each} }}; }}; chain c {{ type nat hook postrouting priority srcnat; meta l4proto udp "
    text += "snat ip to ip saddr map @m; } }"
    rules, text = ("", text) if native else (f"*nat\n{rules}COMMIT\n", "")
    folder, dump = saved(tmp_path / "n", rules, text), tmp_path / "dump"
    engine = fastnat.Engine(fastnat.Node.load(folder))
    for k, n in ((2, 30), (3, 300), (4, 500)):
        ends = {"proto": "udp", "src": f"10.244.1.{k}", "sport": range(9000, 9000 + n), "iface": "cni0"}
        engine.process(engine.packets(**ends, dst="203.0.113.10", dport=53))
    dump.write_text(engine.conntrack.format())
    (first,) = strict(ask("top", dump, "--node", folder, "-o", "json")[1])["spaces"]
    assert (first["used"], first["ports"], first["connections"]) == (100, 100, 100)
    assert first["sources"] == [["10.244.1.3", 100]]
    assert "by its 100 ports (3000-3099) 100.0% fail" in ask("top", dump, "--node", folder)[1]
