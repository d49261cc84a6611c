"""fastnat doctor: from all files always right, from some of them right or "cannot tell"."""

import contextlib
import itertools
import json
import random

import numpy as np
import pytest
from click.testing import CliRunner
from laboratory import ill_nodes
from nodes import examples

import fastnat
from fastnat.addresses import V4, to_int
from fastnat.cli import group
from fastnat.diagnosis import counters, recognise
from fastnat.diagnosis.stale import COMES_UP, NEVER, UNKNOWN, Judge, may_depend_on_others, stale
from fastnat.errors import InputError
from fastnat.exhaustion import Workload, run


def asked(folder, files, *words):
    """Return the exit status and the answers to files that are given in this order, under names that say nothing."""
    paths = []
    for k, text in enumerate(files):
        paths.append(folder / f"{k}.txt")
        paths[-1].write_text(text)
    result = CliRunner().invoke(group, ["doctor", *map(str, paths), "--json", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.output)


def truth_of(nat, causes):
    """Return which failures a node has had, by its own counters."""
    stats = nat.stats
    return {
        "table": stats["drop"] > stats["insert_failed"], "early_drop": stats["early_drop"] > 0,
        "ports": "ports" in causes,
        "race": stats["insert_failed"] > stats["port_search_failures"], "invalid": stats["invalid"] > 100,
        "stale": "stale" in causes,
    }  # fmt: skip


def diagnosed(folder, seed):
    """Ask about one node, with all files or some of them; return how many answers were given."""
    draw = random.Random(seed)
    causes = tuple(draw.sample(ill_nodes.CAUSES, draw.choice([0, 1, 1, 2])))
    files, profile, nat = ill_nodes.sick(seed, causes)
    truth = truth_of(nat, causes)
    whole = draw.random() < 0.4
    names = list(files) if whole else draw.sample(list(files), draw.randint(1, len(files)))
    if "stats" not in names and "stats before" in names:
        # alone it tells truly of the time before anything happened
        names.remove("stats before")
    draw.shuffle(names)
    words = ("--profile", profile, "--no-simulation")
    if not {"dump", "stats", "log", "sysctls"} & set(names):
        if names:
            with pytest.raises(InputError, match="nothing here shows a failure"):
                asked(folder, [files[n] for n in names], *words)
        return 0
    status, found = asked(folder, [files[n] for n in names], *words)
    answers = {f["cause"]: f for f in found["findings"]}
    for cause, ill in truth.items():
        answer = answers[cause]["answer"]
        told = f"{seed} {causes} {names}: {cause} {answer}: {answers[cause]['because']}"
        if answer == "unknown":
            # flows lost by a race cannot be told from those lost by a lack of ports
            assert not whole or (cause == "race" and truth["ports"]), told
            assert answers[cause]["needs"], told
        else:
            assert (answer == "yes") == ill, told
    assert status == any(f["answer"] == "yes" for f in answers.values())
    return sum(f["answer"] != "unknown" for f in answers.values())


@pytest.mark.drawn
def test_ill_nodes_are_diagnosed(tmp_path):
    seeds = examples(32)
    assert sum(diagnosed(tmp_path, seed) for seed in range(seeds)) > 1.8 * seeds


@pytest.mark.slow
def test_many_ill_nodes_are_diagnosed(tmp_path):
    assert sum(diagnosed(tmp_path, seed) for seed in range(1000, 1300)) > 900


@pytest.mark.slow
def test_its_figures_are_those_of_the_simulation(tmp_path):
    """The share that fails now, and what a second address changes, agree with opening the flows."""
    files, profile, _ = ill_nodes.sick(8, ("ports",))
    _, found = asked(
        tmp_path, [files[n] for n in ("dump", "rules", "addresses", "routes", "sysctls")], "--profile", profile
    )
    ports = next(f for f in found["findings"] if f["cause"] == "ports")
    changes = {c["change"]: c["fails"] for c in found["changes"]}
    assert changes["as it is"] == pytest.approx(ports["figures"]["fails"], abs=0.1)
    assert changes["one more SNAT address"] < changes["as it is"]


FAR = {4: "203.0.113.10", 6: "2001:db8:f::10"}


def drawn_case(draw, folder):
    """Save a node whose clients of two networks have NAT addresses of their own; return (node, address, pool, flows).

    The flows are of the second network, to one destination, straight or by a service, and more than find a port.
    """
    version = draw.choice([4, 6])
    inside = {4: ["10.5.0.0/24", "10.6.0.0/24"], 6: ["fd00:5::/120", "fd00:6::/120"]}[version]
    own = {4: "198.51.100.{}", 6: "2001:db8:9::{}"}[version]
    low, size, pool = draw.randrange(1024, 60_000), draw.choice([200, 700]), draw.choice([1, 1, 3])
    far = f"[{FAR[6]}]:443" if version == 6 else f"{FAR[4]}:443"
    service = {4: "10.96.0.10", 6: "fd00:96::10"}[version]

    def snat(n, count):
        ends = [own.format(n), own.format(n + count - 1)]
        ends = "-".join(dict.fromkeys(ends))
        return f"[{ends}]" if version == 6 else ends

    rules = f"""*nat
-A PREROUTING -d {service} -p tcp --dport 80 -j DNAT --to-destination {far}
-A POSTROUTING -s {inside[0]} -p tcp -o eth0 -j SNAT --to-source {snat(20, 1)}
-A POSTROUTING -s {inside[1]} -p tcp -o eth0 -j SNAT --to-source {snat(30, pool)}:{low}-{low + size - 1}
COMMIT
"""
    node = fastnat.Node()
    node.add_interface("eth0", [f"{own.format(10)}/{24 if version == 4 else 64}"])
    for k, net in enumerate(inside):
        node.add_interface(f"lan{k}", [net.replace(".0/", ".1/").replace("::/", "::1/")])
    node.add_route("0.0.0.0/0" if version == 4 else "::/0", dev="eth0")
    (node.load_rules if version == 4 else node.load_rules6)(rules)
    node.sysctls |= {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
    node.save(folder)
    end = draw.choice([(FAR[version], 443), (service, 80)])
    work = Workload((end,), "tcp", size * pool * 2, network=inside[1], iface="lan1", clients=60, sport="random")
    return fastnat.Node.load(folder), own.format(30), pool, work


@pytest.mark.parametrize("seed", [pytest.param(n, marks=[pytest.mark.slow] * (n > 0)) for n in range(20)])
def test_what_fails_as_it_is_is_what_fails_now(tmp_path, seed):
    """The next connections are those of the clients that have the port space, whatever the first SNAT rule is for."""
    draw = random.Random(seed)
    node, address, pool, work = drawn_case(draw, tmp_path / "n")
    nat = fastnat.Engine(node, seed=seed)
    run(nat, work)
    (tmp_path / "dump").write_text(nat.conntrack.format())
    result = CliRunner().invoke(group, ["doctor", str(tmp_path / "dump"), str(tmp_path / "n"), "--json"])
    found = json.loads(result.output)
    ports = next(f for f in found["findings"] if f["cause"] == "ports")
    changes = {c["change"]: c["fails"] for c in found["changes"]}
    assert ports["answer"] == "yes"
    assert any(f" of {address[:-2]}3{k} to " in ports["because"] for k in range(pool))
    assert changes["as it is"] == pytest.approx(ports["figures"]["fails"], abs=0.1)
    # an address more than the pool has
    size = ports["figures"]["ports"]
    assert changes["one more SNAT address"] < changes["as it is"] - 0.7 * size / 4000


def test_a_table_without_limit_is_never_full(tmp_path):
    """nf_conntrack_max = 0: `top` ended with a traceback, `doctor` called it full, and nothing could be simulated."""
    node = ill_nodes.node_of("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n", 0)
    node.save(tmp_path / "n")
    nat = fastnat.Engine(node)
    nat.process(nat.packets(proto="udp", src="10.244.3.1", sport=range(1, 50), dst="1.1.1.1", dport=53, iface="cni0"))
    assert (len(nat.conntrack), nat.max_connections) == (49, 1 << 25)
    (tmp_path / "dump").write_text(nat.conntrack.format())
    result = CliRunner().invoke(group, ["doctor", str(tmp_path / "dump"), str(tmp_path / "n"), "--json"])
    answers = {f["cause"]: f["answer"] for f in json.loads(result.output)["findings"]}
    assert answers["table"] == answers["early_drop"] == "no"
    node.sysctls["net.netfilter.nf_conntrack_max"] = str(1 << 26)
    with pytest.raises(InputError, match="nf_conntrack_max = 67108864: at most 33554432 connections are simulated"):
        fastnat.Engine(node)


def test_a_range_of_ports_is_that_of_the_protocol_whose_rule_has_it(tmp_path):
    """Ten ports of UDP say nothing about ten connections of TCP: `top --node` knew it."""
    node = ill_nodes.node_of("*nat\n-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 5000-5009\n"
                             "-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n", 5000)  # fmt: skip
    node.save(tmp_path / "n")
    nat = fastnat.Engine(node)
    for proto, ill in (("tcp", False), ("udp", True)):
        batch = nat.packets(proto=proto, src="10.244.3.1", sport=range(5000, 5010), dst="1.1.1.1", dport=53,
                            iface="cni0", tcp_flags=2)  # fmt: skip
        nat.process(batch)
        (tmp_path / "dump").write_text(nat.conntrack.format())
        loose = [tmp_path / "n/rules.v4", tmp_path / "loose.nft"]
        hook = "type nat hook postrouting priority srcnat;"
        loose[1].write_text(
            f"table ip nat {{ chain post {{ {hook} udp dport 53 masquerade to :5000-5009; masquerade; }} }}\n"
        )
        for rules in (tmp_path / "n", *loose):
            result = CliRunner().invoke(group, ["doctor", str(tmp_path / "dump"), str(rules), "--json"])
            answers = {f["cause"]: f["answer"] for f in json.loads(result.stdout)["findings"]}
            assert (answers["ports"] == "yes") == ill


PARTS = {
    "passwd": ("-A POSTROUTING -m owner ! --uid-owner web -j SNAT --to-source 198.51.100.77", {
        "passwd": "web:x:1000:1000::/:/bin/sh\n",
    }),
    "route-all.json": ("-A POSTROUTING -o eth1 -j MASQUERADE", {
        "rule.json": '[{"priority": 10, "src": "10.244.3.0", "srclen": 24, "table": "7"}]',
        "route-all.json": '[{"dst": "default", "dev": "eth1", "table": "7"}, {"dst": "default", "dev": "eth0"}]',
    }),
    "nft-last": ("-A POSTROUTING -j SNAT --to-source 198.51.100.77", {
        "nft-last": "", "rules.nft": "table ip nft { chain post { type nat hook postrouting priority srcnat; policy "
        "accept; snat to 198.51.100.88; } }",
    }),
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_all_files_of_a_node_count_as_for_other_commands(tmp_path, part):
    """What a node's engine has made is not stale on that node; and a capture beside its files is left out."""
    rule, files = PARTS[part]
    node = ill_nodes.node_of("", 5000)
    node.add_interface("eth1", ["192.0.2.1/24"])
    node.save(tmp_path / "n")
    for name, text in {**files, "rules.v4": f"*nat\n{rule}\nCOMMIT\n"}.items():
        (tmp_path / "n" / name).write_text(text)
    (tmp_path / "n/in.pcap").write_bytes(b"\xd4\xc3\xb2\xa1")
    nat = fastnat.Engine(fastnat.Node.load(tmp_path / "n"))
    for iface, src in (("cni0", "10.244.3.9"), ("local", "198.51.100.10")):
        nat.process(nat.packets(proto="udp", src=src, sport=5000, dst="1.1.1.1", dport=53, iface=iface))
    (tmp_path / "dump").write_text(nat.conntrack.format())
    result = CliRunner().invoke(group, ["doctor", str(tmp_path / "dump"), str(tmp_path / "n"), "--stale", "--json"])
    found = json.loads(result.stdout)
    assert found["stale"] == {"entries": 0, "judged": len(nat.conntrack), "left_out": {}, "groups": []}
    assert any(f"{part}: " in line and "left out" not in line for line in found["files"])
    assert any("in.pcap: left out, " in line for line in found["files"])


def test_what_it_cannot_use_it_names(tmp_path):
    files, _, _ = ill_nodes.sick(1, ())
    others = [
        "2: eth0: <BROADCAST,UP> mtu 1500\n",
        "default via 10.0.0.1 dev eth0\n",
        "    [NEW] udp 17 30 src=1.1.1.1\n",
        "",
    ]
    _, found = asked(tmp_path, [files["dump"], *others, "nonsense\n"])
    said = "\n".join(found["files"])
    for words in (
        "`ip -j addr` is read",
        "`ip -j route` is read",
        "conntrack -E",
        "it is empty",
        "not recognised: 'nonsense'",
    ):
        assert words in said


def test_a_dump_of_another_machine_is_not_used(tmp_path):
    files, _, _ = ill_nodes.sick(3, ("ports",))
    mine = ill_nodes.ADDRESSES.replace("198.51.100.10", "192.0.2.77")
    _, found = asked(tmp_path, [files["dump"], mine, files["routes"], files["rules"], files["sysctls"]])
    assert "of another machine" in "\n".join(found["files"])
    assert {f["cause"]: f["answer"] for f in found["findings"]}["ports"] == "unknown"


@pytest.mark.slow
def test_a_cut_dump_is_no_proof_of_free_ports(tmp_path):
    files, _, _ = ill_nodes.sick(5, ("ports",))
    lines = files["dump"].splitlines(keepends=True)
    _, found = asked(tmp_path, ["".join(lines[: len(lines) // 3]), files["sysctls"], files["stats"]])
    assert {f["cause"]: f["answer"] for f in found["findings"]}["ports"] != "no"
    assert "cut" in "\n".join(found["files"])


def test_counters_of_both_forms_say_the_same():
    nat = fastnat.Engine(fastnat.Node.example())
    nat.process(
        nat.packets(
            proto="tcp", src="10.244.1.2", dst="1.1.1.1", sport=np.arange(9), dport=9, iface="cni0", tcp_flags=3
        )
    )
    proc = counters.parse(fastnat.conntrack.format_proc_stats(0, nat.stats), "proc")
    tool = counters.parse(fastnat.conntrack.format_stats(nat.stats), "tool")
    assert all(proc[name] == tool[name] for name in counters.NEEDED)
    assert tool["invalid"] == 9


@pytest.mark.parametrize("text", [
    "cpu=0 found=1\n", "cpu=0 found=1 invalid=1 insert=0 insert_failed=0 drop=0 early_drop=0\ncpu=0 found=1\n",
    "entries  clashres found\n00000001 x y\n", "cpu=0 found=1 invalid=x\n",
])  # fmt: skip
def test_broken_counters_are_one_error(text):
    with pytest.raises(InputError):
        counters.parse(text, "stats")


@pytest.mark.parametrize(("kind", "text"), [
    ("kernel log", "[ 12.3] nf_conntrack: nf_conntrack: table full, dropping packet\n"),
    ("sysctls", "/proc/sys/net/netfilter/nf_conntrack_max:262144\n"),
    ("sysctls", "net.netfilter.nf_conntrack_max = 5\n"),
    ("rules", "*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"),
    ("rules of IPv6", "*nat\n-A POSTROUTING -s fd00::/8 -j MASQUERADE\n"),
    ("rules of nftables", 'table ip nat {\n chain c {\n  type nat hook postrouting priority srcnat;\n }\n}\n'),
    ("rules of nftables", '{"nftables": []}'), ("sets", "create a hash:ip\nadd a 1.2.3.4\n"),
    ("IPVS services", "-A -t 10.0.0.1:80 -s rr\n"), ("", "hello\n"), ("", "[1, 2"),
    ("", "[" * 50_000), ("", '{"a":' * 50_000), ("", '<?xml version="1.0" encoding="utf-8"?>\n<conntrack>\n'),
    ("", "-A -t 55 -u UNSET -s 10.244.1.5 -d 203.0.113.11 -p udp --sport 4 --dport 53\n"),
])  # fmt: skip
def test_kinds_are_told_by_the_text(kind, text):
    assert recognise.kind_of(text) == kind


def test_any_bytes_are_recognised_or_left_out(tmp_path):
    draw = np.random.default_rng(7)
    pieces = [t for files in (ill_nodes.sick(2, ())[0],) for t in files.values()]
    for n in range(60):
        text = pieces[n % len(pieces)]
        cut = text[: int(draw.integers(0, len(text)))]
        mixed = "".join(draw.permutation(list(itertools.islice(cut, 300))).tolist()) if n % 3 == 0 else cut
        with contextlib.suppress(InputError):
            asked(tmp_path, [mixed, pieces[0]], "--no-simulation")


OLD, NEW = "10.244.7.7", "10.244.9.9"
PLAIN = ill_nodes.rules_of(None, None, OLD)
CASES = [
    (
        ill_nodes.rules_of(None, None, NEW), "another backend today",
        f"conntrack -D -p udp -d 10.96.0.10 --orig-port-dst 53 -r {OLD} --reply-port-src 53",
    ),
    ("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n", "no DNAT today", None),
    (
        PLAIN.replace("MASQUERADE", "SNAT --to-source 198.51.100.77"), "another SNAT address today",
        "conntrack -D -p udp -q 198.51.100.10",
    ),
    (
        f"*filter\n-A FORWARD -d 1.1.1.1 -m conntrack --ctstate NEW -j DROP\nCOMMIT\n{PLAIN}", "dropped today",
        "conntrack -D -p udp -d 1.1.1.1 --orig-port-dst 53 -r 1.1.1.1 --reply-port-src 53",
    ),
    (f"*raw\n-A PREROUTING -d 1.1.1.1 -j CT --notrack\nCOMMIT\n{PLAIN}", "not tracked today", None),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "said", "command"), CASES)
def test_stale_entries_are_named_with_what_removes_them(tmp_path, rules, said, command):
    nat = fastnat.Engine(ill_nodes.node_of(ill_nodes.rules_of(None, None, OLD), 1000))
    nat.process(
        nat.packets(proto="udp", src="10.244.3.1", sport=range(5000, 5010), dst="10.96.0.10", dport=53, iface="cni0")
    )
    nat.process(nat.packets(proto="udp", src="10.244.3.1", sport=5000, dst="1.1.1.1", dport=53, iface="cni0"))
    node = ["net.ipv4.ip_forward = 1\n", ill_nodes.ADDRESSES, ill_nodes.ROUTES]
    status, found = asked(tmp_path, [nat.conntrack.format(), rules, *node], "--stale")
    assert status == 1
    groups = {g["what"]: g for g in found["stale"]["groups"]}
    assert said in groups
    assert command in (None, groups[said]["command"])
    _, found = asked(tmp_path, [nat.conntrack.format(), ill_nodes.rules_of(None, None, OLD), *node], "--stale")
    assert found["stale"] == {"entries": 0, "judged": 11, "left_out": {}, "groups": []}


def test_a_backend_that_rules_draw_is_not_stale(tmp_path):
    """Ten backends by chance: entries of each are as they would be, those of an eleventh are not."""
    chain = "".join(
        f"-A PREROUTING -d 10.96.0.10/32 -p udp -m statistic --mode random --probability {1 / (10 - k):.10f} -j DNAT "
        f"--to-destination 10.244.8.{k}:53\n" for k in range(10)
    )  # fmt: skip
    rules = f"*nat\n{chain}-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
    nat = fastnat.Engine(ill_nodes.node_of(rules, 5000))
    ports = range(5000, 5200)
    nat.process(nat.packets(proto="udp", src="10.244.3.1", sport=ports, dst="10.96.0.10", dport=53, iface="cni0"))
    text = nat.conntrack.format().replace("src=10.244.8.7 ", "src=10.244.8.99 ")
    gone = text.count("src=10.244.8.99 ")
    node = ["net.ipv4.ip_forward = 1\n", ill_nodes.ADDRESSES, ill_nodes.ROUTES]
    _, found = asked(tmp_path, [text, rules, *node], "--stale")
    assert gone > 5
    assert [(g["what"], g["count"], g["was"]) for g in found["stale"]["groups"]] == [
        ("another backend today", gone, "10.244.8.99:53")
    ]


SERVICE_LINE = (
    "udp 17 29 src=10.244.3.{0} dst=10.96.0.{0} sport=900 dport=53 src={1} dst=10.244.3.{0} sport=53 dport=900"
)
DNAT = "-A PREROUTING -d 10.96.0.{} -p udp {} -j DNAT --to-destination 10.244.8.{}:53"
# how rules choose among backends, and whether earlier packets of other entries change what they choose
CHOICES = {
    "chance": ("-m statistic --mode random --probability 0.5", False),
    "source ports": ("-m udp --sport 1024:1055", False),
    "turns": ("-m statistic --mode nth --every 2 --packet 0", True),
    "limit": ("-m limit --limit 1/hour --limit-burst 3", True),
    "recent": ("-m recent --name seen --update --hitcount 3 --seconds 60", True),
    "quota": ("-m quota --quota 300", True),
}


def judge_of(lines, backends):
    """Return a judge under rules, of entries to services 1, 2, ... which have these backends."""
    fresh = fastnat.Engine(ill_nodes.node_of("\n".join(["*nat", *lines, "COMMIT", ""]), 5000), seed=1)
    loaded = fastnat.Engine(fresh.node)
    loaded.conntrack.load("\n".join(SERVICE_LINE.format(k, backend) for k, backend in enumerate(backends, 1)))
    records = loaded.stacks[4].core.arrays["conns"]
    return Judge(fresh, V4, records[records["flags"] & 1 != 0], None)


@pytest.mark.parametrize("choice", CHOICES)
def test_many_entries_are_looked_at_together_only_where_none_changes_what_another_meets(choice):
    match, depends = CHOICES[choice]
    services = range(1, 40)
    lines = [line for k in services for line in (DNAT.format(k, match, k), DNAT.format(k, "", 100 + k))]
    lines = ["-A PREROUTING -m recent --name seen --set"] * (choice == "recent") + lines
    # what the entries have: either backend of today's rules, or one that is gone
    judge = judge_of(lines, [f"10.244.8.{(k, 100 + k, 200)[k % 3]}" for k in services])
    assert may_depend_on_others(judge.fresh) == judge.others_matter == depends
    gone = judge.reply["src"] == to_int("10.244.8.200")
    every = np.arange(len(judge.records))
    if not depends:
        told = judge.sent_again(every)
        # source port 900 is none of those for which the first backend is
        first = judge.reply["src"] - judge.original["dst"] == to_int("10.244.8.0") - to_int("10.96.0.0")
        never = gone | (first & (choice == "source ports"))
        assert (told == np.where(never, NEVER, COMES_UP)).all()
        return
    told = judge.first_look(every)
    assert len(told) == len(services)
    for k, said in enumerate(told):
        if said != UNKNOWN:
            assert (said == COMES_UP) == judge.comes_up(k)
    assert not (told[gone] == COMES_UP).any()


def cut_off(draw):
    """Return rules for one service, their source ports, and which backends may come up for a source port."""
    chance, low = draw.choice([0.5, 0.05, 0.005]), draw.randrange(1024, 60_000)
    high = low + draw.randrange(200)
    ports, rarely = f"-m udp --sport {low}:{high}", f"-m statistic --mode random --probability {chance}"
    match, both = draw.choice([(ports, "ports"), (rarely, "chance"), (f"{ports} {rarely}", "both")])
    lines = [DNAT.format(1, match, 1), DNAT.format(1, "", 2)]
    if draw.random() < 0.3:
        lines.append("COMMIT\n*filter\n-A FORWARD -m statistic --mode random --probability 0.5 -j DROP")

    def backends(port):
        within = low <= port <= high or both == "chance"
        return ({1} if within else set()) | (set() if within and both == "ports" else {2})

    return lines, (low, high), backends


@pytest.mark.one_of(3)
@pytest.mark.parametrize("seed", range(12))
def test_an_entry_is_stale_where_its_own_packet_can_never_be_treated_so(seed):
    """Rules choose by chance and by the source port: of ports only the entry's own counts, of chance all there is."""
    draw = random.Random(seed)
    lines, (low, high), backends = cut_off(draw)
    node = ill_nodes.node_of("\n".join(["*nat", *lines, "COMMIT", ""]), 5000)
    loaded, expected = fastnat.Engine(node), 0
    for k in range(40):
        port, backend = draw.choice([low, high, low - 1, high + 1, draw.randrange(1024, 65536)]), draw.choice([1, 2, 9])
        line = SERVICE_LINE.format(1, f"10.244.8.{backend}").replace("=10.244.3.1", f"=10.244.4.{k}")
        loaded.conntrack.load(line.replace("=900", f"={port}"))
        expected += backend not in backends(port)
    assert stale(fastnat.Engine(node, seed=1), loaded).count == expected


def test_what_rules_do_not_draw_is_told_at_once():
    lines = [DNAT.format(k, "", 100 + k) for k in range(1, 40)]
    judge = judge_of(lines, [f"10.244.8.{100 + k if k % 2 else 200}" for k in range(1, 40)])
    told = judge.sent_again(np.arange(39))
    odd = judge.original["dst"] % 2 == 1
    assert (told == np.where(odd, COMES_UP, NEVER)).all()


@pytest.mark.one_of(3)
@pytest.mark.parametrize("seed", range(6))
def test_ports_that_no_rule_tells_apart_stand_for_empty_tables(seed):
    """Three sources, twenty services, a pool of SNAT addresses: whose mapping a port has must not show."""
    draw = random.Random(seed)
    chance = draw.choice([0.5, 0.3])
    gone = {k for k in range(1, 21) if draw.random() < 0.5}

    def node_of(moved):
        lines = ["-A POSTROUTING -j SNAT --to-source 198.51.100.20-198.51.100.27"]
        for k in range(1, 21):
            first = 200 if k in moved else k
            lines += [DNAT.format(k, f"-m statistic --mode random --probability {chance}", first)]
            lines += [DNAT.format(k, "", 100 + k)]
        return ill_nodes.node_of("\n".join(["*nat", *lines, "COMMIT", ""]), 5000)

    loaded = fastnat.Engine(node_of(gone), seed=seed)
    for k in range(1, 121):
        loaded.process(loaded.packets(
            proto="udp", src=f"10.244.3.{draw.randrange(1, 4)}", sport=draw.randrange(1024, 65536),
            dst=f"10.96.0.{k % 20 + 1}", dport=53, iface="cni0",
        ))  # fmt: skip
    records = loaded.stacks[4].core.arrays["conns"]
    judge = Judge(fastnat.Engine(node_of(set()), seed=1), V4, records[records["flags"] & 1 != 0], None)
    every = np.arange(len(judge.records))
    told = np.full(len(every), UNKNOWN)
    judge.tell_by_ports(every, told)
    known = told != UNKNOWN
    assert known.sum() > 60
    assert {NEVER, COMES_UP} == set(told[known])
    assert (told[known] == judge.tell_by_turns(every[known])).all()
