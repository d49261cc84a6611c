"""Every command asked of every kind of node, in every form: it answers, and no two answers contradict each other."""

import csv
import io
import json
import random
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from nodes import examples

import fastnat
from fastnat import capture
from fastnat.cli import group
from fastnat.conntrack.dump import read
from fastnat.conntrack.port_spaces import each_space

INSIDE = {4: "10.244.1.2", 6: "fd00:10:244::2"}
FAR = {4: "203.0.113.10", 6: "2001:db8:f::10"}


def nat(*rules):
    return "*nat\n" + "\n".join(rules) + "\nCOMMIT\n"


MASQUERADE = nat("-A POSTROUTING -o eth0 -j MASQUERADE")
RULES = {
    "none": "", "masquerade": MASQUERADE, "filter alone": "*filter\n-A FORWARD -j ACCEPT\nCOMMIT\n",
    "all dropped": "*filter\n:FORWARD DROP\nCOMMIT\n",
    "not tracked": "*raw\n-A PREROUTING -j NOTRACK\nCOMMIT\n" + MASQUERADE,
    "one port": nat(*(f"-A POSTROUTING -o eth0 -p {p} -j MASQUERADE --to-ports 5000" for p in ("udp", "tcp"))),
    "a port range": nat(*(f"-A POSTROUTING -o eth0 -p {p} -j MASQUERADE --to-ports 1-9999" for p in ("udp", "tcp"))),
    "mask 0": nat("-A POSTROUTING -s {net}/0 -d {net}/0 -o eth0 -j MASQUERADE"),
    "mask of one": nat("-A POSTROUTING -s {inside} -o eth0 -j MASQUERADE"),
    "many addresses": nat("-A POSTROUTING -o eth0 -j SNAT --to-source {low}-{high}"),
}  # fmt: skip
WORDS = {
    4: {"net": "0.0.0.0", "inside": "10.244.1.2/32", "low": "198.18.0.0", "high": "198.18.255.255"},
    6: {"net": "::", "inside": "fd00:10:244::2/128", "low": "2001:db8:5::", "high": "2001:db8:5::ffff"},
}  # fmt: skip
TABLE = (
    'table inet nat {{ chain post {{ type nat hook postrouting priority srcnat; oifname "eth0" masquerade{0}; }} }}\n'
)


def router(four="none", six=None, native=""):
    """Return a router with these rules of RULES; six: None for a node without IPv6."""
    node = fastnat.Node()
    both = six is not None
    node.add_interface("eth0", ["198.51.100.10/24"] + ["2001:db8:9::1/64"] * both)
    node.add_interface("cni0", ["10.244.0.1/16"] + ["fd00:10:244::1/64"] * both)
    node.add_route("default", "198.51.100.1", "eth0")
    if RULES[four]:
        node.load_rules(RULES[four].format(**WORDS[4]))
    if both:
        node.add_route("default", "2001:db8:9::ff", "eth0")
        node.sysctls["net.ipv6.conf.all.forwarding"] = "1"
        if RULES[six]:
            node.load_rules6(RULES[six].format(**WORDS[6]))
    if native:
        node.load_nft(native)
    return node


def drawn(draw):
    """Return a router of any kind."""
    native = TABLE.format(draw.choice(["", " random", " to :2000-2999"])) if draw.random() < 0.2 else ""
    kinds = sorted(RULES)
    return router(
        "none" if native else draw.choice(kinds), draw.choice([None, *kinds]) if not native else "none", native
    )


def ask(*words):
    """Run a command; return exit status, standard output and error; the test fails with any exception."""
    done = CliRunner().invoke(group, [str(w) for w in words])
    if isinstance(done.exception, fastnat.FastnatError):
        return 2, done.stdout, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exc_info)
    return done.exit_code, done.stdout, done.stderr


def strict(text):
    """Return JSON, which has neither NaN nor Infinity."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.one_of(3)
@pytest.mark.parametrize("seed", [s if s < 3 else pytest.param(s, marks=pytest.mark.slow) for s in range(examples(40))])
def test_any_command_answers_about_any_node(tmp_path, seed):
    """In text, JSON and CSV, twice the same; and what plan says of translation exhaust says, too."""
    draw = random.Random(seed)
    node, folder = drawn(draw), tmp_path / draw.choice(["node", "a b", "a\nb", "ä", "-n"])
    node.save(folder)
    version = 6 if node.has_ipv6 and draw.random() < 0.6 else 4
    far = f"[{FAR[6]}]:53" if version == 6 else f"{FAR[4]}:53"
    proto = draw.choice(["udp", "tcp"])
    load = ("--dst", far, "--proto", proto)
    packet = ("-s", INSIDE[version], "-d", FAR[version], "-p", draw.choice(["udp", "TCP", "6", "icmp", "132", "gre"]))
    nat_engine = fastnat.Engine(node, seed=seed)
    ends = {"proto": proto, "src": INSIDE[version], "sport": range(2000, 2040), "dst": FAR[version], "dport": 53}
    nat_engine.process(nat_engine.packets(**ends, iface="cni0", tcp_flags=2 if proto == "tcp" else 0))
    dump = tmp_path / "dump"
    dump.write_text(nat_engine.conntrack.format(draw.choice(["conntrack", "extended", "proc"])))
    questions = [
        ("check", folder), ("exhaust", folder, *load, "--flows", draw.choice([1, 999, 1500])),
        ("plan", folder, *load, "--rate", "0.02/s", "--fails", "30%"),
        ("trace", folder, *packet, "--reply"), ("top", dump, "--all"),
        ("top", dump, "--node", folder, "--earlier", dump, "--apart", "1ms"), ("doctor", dump, folder),
        ("conntrack", folder, "--start-from", dump),
    ]  # fmt: skip
    for words in questions:
        status, said, why = ask(*words)
        assert status in (0, 1, 2), words
        assert bool(said) == (status != 2) or words[0] == "conntrack", (words, why)
        if status == 2:
            # no number of addresses is enough; nobody can tell what an empty file is
            assert why
            assert words[0] == "plan" or (words[0], dump.read_text()) == ("doctor", ""), (words, why)
            continue
        text = ask(*words, "-o", "json")[1]
        told = strict(text)
        if words[0] in ("check", "trace", "top", "doctor"):
            assert ask(*words, "-o", "json")[1] == text, words
        rows = list(csv.reader(io.StringIO(ask(*words, "-o", "csv")[1])))
        assert len({len(row) for row in rows}) <= 1, words
        if words[0] == "plan":
            other = strict(ask("exhaust", folder, *load, "--flows", "100", "-o", "json")[1])
            assert bool(told["addresses"]) == bool(other["runs"][0]["translated"])


@pytest.mark.one_of(3)
@pytest.mark.parametrize("four", ["none", "masquerade", "one port"])
def test_doctor_takes_any_node_of_both_families(tmp_path, four):
    """Rules, routes and policy rules whose text tells no family are those that the file's name says."""
    dump = tmp_path / "dump"
    dump.write_text(
        "udp 17 29 src=10.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=198.51.100.10 sport=2 dport=1\n"
    )
    for six in RULES:
        folder = tmp_path / f"{four} {six}"
        router(four, six).save(folder)
        default = '[{"dst": "default", "dev": "eth0", "flags": []}]'
        everyone = '[{"priority": 32766, "src": "all", "table": "main"}]'
        for name, text in {"route6.json": default, "rule.json": everyone, "rule6.json": everyone}.items():
            (folder / name).write_text(text)
        status, said, why = ask("doctor", dump, folder)
        # 1: of what is dropped today an entry is stale
        assert status in (0, 1), (six, why)
        assert "failure " in said
        assert f"{folder / 'route6.json'}: routes of IPv6" in why.replace("fastnat: ", "")


def test_a_plan_of_what_is_not_translated_needs_no_address(tmp_path):
    router("filter alone").save(tmp_path / "n")
    status, said, _ = ask("plan", tmp_path / "n", "--rate", "5")
    assert status == 0
    assert "No SNAT address is needed" in said
    told = strict(ask("plan", tmp_path / "n", "--rate", "5", "-o", "json")[1])
    assert (told["addresses"], told["by_arithmetic"]) == (0, 0)
    assert "SNAT addresses needed" in ask("plan", tmp_path / "n", "--rate", "5", "-o", "html")[1]


def test_a_plan_of_what_is_dropped_says_so(tmp_path):
    router("all dropped").save(tmp_path / "n")
    status, _, why = ask("plan", tmp_path / "n", "--rate", "5")
    assert status == 2
    assert "Flows were dropped: by a rule, or by the policy of a chain." in why
    assert "not translated" not in why


def test_a_node_without_ipv6_does_not_decide_as_one_with_it(tmp_path):
    router("masquerade").save(tmp_path / "four")
    router("masquerade", "masquerade").save(tmp_path / "both")
    for one, other in (("four", "both"), ("both", "four")):
        words = ("diff", tmp_path / one, tmp_path / other, "--packets", "600", "--seconds", "1")
        status, said, _ = ask(*words)
        assert status == 1
        assert f"{tmp_path / 'four'} has neither IPv6 addresses nor rules.v6, {tmp_path / 'both'} has." in said
        told = strict(ask(*words, "-o", "json")[1])
        assert (told["alike"], told["without_ipv6"]) == (False, str(tmp_path / "four"))
    for alike in ("four", "both"):
        assert ask("diff", tmp_path / alike, tmp_path / alike, "--packets", "600", "--seconds", "1")[0] == 0


@pytest.mark.parametrize(
    ("given", "same"), [("TCP", "tcp"), ("006", "tcp"), ("6", "tcp"), ("01", "icmp"), ("58", "icmpv6")]
)
def test_a_protocol_is_the_same_however_it_is_written(given, same):
    assert ask("trace", "-p", given, "-o", "json") == ask("trace", "-p", same, "-o", "json")


def test_a_trace_writes_ends_of_ipv6_as_urls_do(tmp_path):
    router("none", "masquerade").save(tmp_path / "n")
    said = ask("trace", tmp_path / "n", "-s", INSIDE[6], "-d", FAR[6])[1]
    assert f"udp [{INSIDE[6]}]:40000 > [{FAR[6]}]:53" in said
    assert "two families" in ask("trace", tmp_path / "n", "-d", FAR[6])[2]


@pytest.mark.again
def test_seed_0_goes_before_that_of_the_scenario(tmp_path):
    question = tmp_path / "q.toml"
    question.write_text('[workload]\ndestinations = ["203.0.113.10:53"]\nflows = 60000\n[run]\nseed = 5\nseeds = 1\n')

    def told(*more):
        """Return what the first run found, but how long it took, and the seed that it names."""
        run = strict(ask("exhaust", "--scenario", question, *more, "-o", "json")[1])["runs"][0]
        return run["first_failure"], run["failed"], run["probes_mean"], run["seed"]

    assert told() == told("--seed", "5")
    assert (told()[3], told("--seed", "0")[3]) == (5, 0)
    assert told()[:3] != told("--seed", "0")[:3]


@pytest.mark.again
def test_a_run_names_its_seeds_and_a_sweep_gives_the_same(tmp_path):
    question = tmp_path / "q.toml"
    question.write_text('[workload]\ndestinations = ["203.0.113.10:53"]\nflows = 60000\n[run]\nseed = 7\nseeds = 2\n')
    (tmp_path / "run.json").write_text(ask("exhaust", "--scenario", question, "-o", "json")[1])
    runs = strict(ask("report", tmp_path / "run.json", "-o", "json")[1])["runs"]
    assert ask("sweep", question, "--out", tmp_path / "rows.csv", "--jobs", "1")[0] == 0
    with (tmp_path / "rows.csv").open(newline="") as file:
        swept = [(int(r["seed"]), int(r["failed"]), int(r["first_failure"])) for r in csv.DictReader(file)]
    assert [(r["seed"], r["failed"], r["first_failure"]) for r in runs] == swept
    assert [seed for seed, *_ in swept] == [7, 8]


@pytest.mark.parametrize("flows", [1, 700, 1000, 1500, 2500, 4500])
def test_loads_of_a_short_run_are_named_once(flows):
    said = ask("exhaust", "--flows", flows)[1]
    header = next(line for line in said.splitlines() if line.startswith("variant")).split("  ")
    names = [cell.strip() for cell in header if cell.strip().startswith("at ")]
    assert len(names) == len(set(names)) > 0


@pytest.mark.slow
def test_dashes_are_standard_input(tmp_path):
    """A run, a dump and a capture, each out of a pipe."""
    router("masquerade").save(tmp_path / "n")
    line = "udp 17 29 src=10.244.1.9 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=198.51.100.10 sport=2 dport=1 use=1\n"
    packets = io.BytesIO()
    capture.Writer(packets).write(0.0, "cni0", b"\x45" + bytes(19))
    run = ask("exhaust", "--flows", "50", "-o", "json")[1].encode()

    def pipe(data, *words, shell='"$@"'):
        command = ["sh", "-c", shell, "sh", sys.executable, "-m", "fastnat", *map(str, words)]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    assert "All 50 flows found a port" in pipe(run, "report", "-")[1]
    for words in (
        ["conntrack", tmp_path / "n"],
        ["exhaust", tmp_path / "n", "--flows", "50"],
        ["trace", tmp_path / "n"],
    ):
        status, said, why = pipe(line.encode(), *words, "--start-from", "-")
        assert (status, why) == (0, ""), words
        assert said
    assert pipe(packets.getvalue(), "replay", tmp_path / "n", "-")[0] == 0
    assert pipe(b"", "report", "-", shell='"$@" <&-')[2] == "fastnat: -: standard input is closed; give a file\n"


@pytest.mark.one_of(2)
@pytest.mark.parametrize("seed", range(examples(40)))
def test_a_dump_says_what_its_engine_says(seed):
    """Connections and ports in use, of every protocol, family and layout; and a trace what a packet meets."""
    draw = random.Random(seed)
    nat_engine = fastnat.Engine(drawn(draw), seed=seed)
    version = 6 if nat_engine.node.has_ipv6 and draw.random() < 0.6 else 4
    proto, n = draw.choice(["udp", "tcp", "sctp", "udplite", "icmp", "gre", "esp"]), draw.choice([3, 500])
    batch = nat_engine.packets(
        proto=proto, src=INSIDE[version], sport=np.arange(n) + 900, dst=FAR[version], dport=draw.choice([53, 8 << 8]),
        iface="cni0", tcp_flags=2 if proto == "tcp" else 0,
    )  # fmt: skip
    nat_engine.process(batch)
    for style in ("conntrack", "extended", "proc"):
        dump = read(io.BytesIO(nat_engine.conntrack.format(style).encode()))
        assert dump.connections == len(nat_engine.conntrack)
        for space in each_space(dump, every=True):
            there = nat_engine.ports(space.address, proto=space.proto, dst=space.dst, dport=space.dport)
            assert there["used"] == space.used, (style, space)
    for _ in range(10):
        one = batch[draw.randrange(n) :][:1].copy()
        one["sport"], one["iface"] = draw.randrange(65536), draw.randrange(3)
        one["dport"], one["tcp_flags"] = draw.choice([0, 53, 443, 8 << 8]), draw.choice([0, 2, 4, 16, 18])
        told, other = nat_engine.trace(one), nat_engine.fork()
        out = other.process(one, other.now)[0]
        reason, verdict = fastnat.Reason(int(out["reason"])), fastnat.Verdict(int(out["verdict"]))
        assert (told.verdict, told.reason, told.probes) == (
            verdict.name.lower(),
            reason.name.lower(),
            int(out["probes"]),
        )
        assert (told.after[1], told.after[3]) == (int(out["sport"]), int(out["dport"]))
