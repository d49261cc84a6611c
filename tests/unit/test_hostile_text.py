# ruff: noqa: E501 (tables of text)
"""Text that may be anybody's: each loader takes it or raises one FastnatError, and then nothing has changed."""

import copy
import io
import json
import math
import os
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nodes import examples, flows, make_node
from unit import hostile
from unit.hostile import damaged, damaged_tree, loads, node_of_both, runs

import fastnat
from fastnat import capture, conntrack, iptables
from fastnat.capture.fragments import PART_BYTES, QUEUE_BYTES, Reassembler, Whole, checksum, split
from fastnat.conntrack.dump import read as read_dump
from fastnat.conntrack.port_spaces import spaces_of
from fastnat.errors import FastnatError, InputError, RuleError
from fastnat.exhaustion import Workload, report, scenario, variants
from fastnat.exhaustion.document import Document
from fastnat.exhaustion.document import load as load_document
from fastnat.node import ipset, ipvs

EXAMPLES = examples(int(os.environ.get("FASTNAT_EXAMPLES", "100")))
# not shrunk: that takes minutes, and damage is a few pieces anyway
many = settings(
    max_examples=EXAMPLES, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip


def everything(node):
    return copy.deepcopy(vars(node))


@pytest.mark.drawn
@many
@given(data=st.data())
def test_rules_sets_and_services_load_whole_or_not_at_all(data):
    node = node_of_both()
    before = everything(node)
    seed, load = data.draw(
        st.sampled_from(
            [
                (hostile.RULES, node.load_rules), (hostile.RULES, node.load_rules6), (hostile.LISTING, node.load_rules),
                (hostile.PASTED, node.load_rules), (hostile.SETS, node.load_sets),
                (hostile.SERVICES, node.load_services), (hostile.SERVICES_LISTED, node.load_services),
            ]
        )
    )  # fmt: skip
    text = damaged(seed, data.draw)
    lenient = load in (node.load_rules, node.load_rules6) and data.draw(st.booleans())
    loaded = loads(lambda: load(text, "file", True) if lenient else load(text, "file"))[1]
    if loaded:
        runs(node)
    else:
        assert everything(node) == before


@pytest.mark.drawn
@many
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(hostile.ODD), max_size=30).map(" ".join)))
def test_any_text_is_read_or_refused(text):
    for parse in (iptables.parse, ipset.parse, ipvs.parse, conntrack.parse_line):
        loads(lambda parse=parse: parse(text))
    loads(lambda: fastnat.Engine(make_node()).conntrack.load(text))
    loads(lambda: spaces_of(read_dump(io.BytesIO(text.encode(errors="surrogatepass")))))


@pytest.mark.drawn
@many
@given(data=st.data())
def test_a_dump_loads_whole_or_not_at_all(data):
    nat = fastnat.Engine(node_of_both(), data.draw(st.sampled_from(["linux-5.4", "linux-6.18"])))
    nat.process(flows(nat, 3))
    text = damaged(hostile.DUMP, data.draw)
    before = nat.conntrack.format(), {**nat.stats, "insert_failed": 0}
    loaded = loads(lambda: nat.conntrack.load(text, "dump"))[1]
    if not loaded:
        assert (nat.conntrack.format(), {**nat.stats, "insert_failed": 0}) == before
    for core in (stack.core for stack in nat.stacks.values()):
        core.check_invariants()
    nat.conntrack.format("proc")
    nat.advance(1e6)
    nat.conntrack.flush()
    for core in (stack.core for stack in nat.stacks.values()):
        core.check_invariants()


@pytest.mark.drawn
@many
@given(data=st.data())
def test_the_fast_reader_of_dumps_takes_what_the_line_parser_takes(data):
    text = damaged(hostile.DUMP, data.draw).encode(errors="surrogatepass")
    found, read = loads(lambda: spaces_of(read_dump(io.BytesIO(text)), 1000))
    for space in found if read else ():
        assert 0 < space.dport <= 65535 or b"sport=0 " in text
        assert len(space.address) < 50 > len(space.dst)


@pytest.mark.drawn
@many
@given(data=st.data())
def test_a_node_directory_is_a_node_or_refused(tmp_path, data):
    files = {
        "addr.json": hostile.as_json(hostile.ADDRESSES), "route.json": hostile.as_json(hostile.ROUTES),
        "sysctl.conf": "net.netfilter.nf_conntrack_max = 9\nnet.ipv4.conf.all.rp_filter = 1\n",
    }  # fmt: skip
    which = data.draw(st.sampled_from(["addresses", "routes", "text", "sysctl"]))
    if which == "addresses":
        files["addr.json"] = hostile.as_json(damaged_tree(hostile.ADDRESSES, data.draw))
    elif which == "routes":
        files["route.json"] = hostile.as_json(damaged_tree(hostile.ROUTES, data.draw))
    else:
        name = "sysctl.conf" if which == "sysctl" else data.draw(st.sampled_from(sorted(files)))
        files[name] = damaged(files[name], data.draw)
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode(errors="surrogatepass"))
    node, loaded = loads(lambda: fastnat.Node.load(tmp_path))
    if loaded:
        runs(node)
        loads(lambda: node.save(tmp_path / "again"))


SYSCTLS = [f"net.netfilter.nf_conntrack_{name}" for name in (
    "max", "buckets", "expect_max", "checksum", "tcp_loose", "tcp_be_liberal", "tcp_max_retrans",
    "tcp_ignore_invalid_rst", "gre_timeout", "gre_timeout_stream", "udp_timeout", "tcp_timeout_established",
    "sctp_timeout_closed", "helper",
)] + ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.rp_filter", "net.ipv4.vs.conntrack",
      "net.ipv4.conf.eth0.accept_local"]  # fmt: skip


@pytest.mark.drawn
@many
@given(
    st.dictionaries(
        st.sampled_from(SYSCTLS),
        st.one_of(st.integers(), st.integers(-2, 2**33), st.sampled_from([10**5000, -(2**63), 2**31 - 1])).map(
            lambda n: hex(n) if abs(n) > 10**4000 else str(n)
        ),
        max_size=5,
    ),
    st.sampled_from(["linux-5.4", "linux-6.18"]),
)
def test_sysctls_of_any_size_and_sign(sysctls, profile):
    node = make_node()
    node.sysctls = sysctls
    loads(lambda: fastnat.Engine(node, profile, max_connections=50).process_packet(b"", "eth0", 1.0))


@pytest.mark.drawn
@many
@given(data=st.data())
def test_a_scenario_is_one_or_refused(tmp_path, data):
    path = tmp_path / "scenario.toml"
    path.write_bytes(damaged(hostile.SCENARIO, data.draw).encode(errors="surrogatepass"))
    loads(lambda: scenario.load(path))


TOML = ["inf", "nan", "-1", "1.5", "9" * 400, "9" * 5000, "[]", "[1]", "{}", '"x"', '""', "true", "1979-05-27", "[[[1]]]",
        '["203.0.113.10:99999"]', '"exp:nan"', '"pareto:1,1e-300"', '"1e300"', "[nan]", "{a = 1}"]  # fmt: skip


@pytest.mark.drawn
@many
@given(data=st.data())
def test_a_scenario_of_wrong_types_is_refused(tmp_path, data):
    lines = hostile.SCENARIO.splitlines()
    keys = [n for n, line in enumerate(lines) if " = " in line]
    for n in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2)):
        lines[n] = lines[n].split(" = ")[0] + " = " + data.draw(st.sampled_from(TOML))
    path = tmp_path / "scenario.toml"
    path.write_text("\n".join(lines))
    loads(lambda: scenario.load(path))


FACTORS = st.sampled_from(["addresses", "clients", "cpus", "rate", "ports", "hold", "sport", "profile", "max", "x"])


@pytest.mark.drawn
@many
@given(FACTORS, st.one_of(st.sampled_from(hostile.ODD), st.text(max_size=6)))
def test_factors_of_any_value(name, value):
    found, parsed = loads(lambda: variants.parse(f"{name}={value}"))
    for variant in found if parsed else ():
        loads(
            lambda variant=variant: variants.apply(
                variant, make_node(), Workload((("203.0.113.10", 53),)), "linux-6.18"
            )
        )


NUMBERS = st.one_of(st.floats(), st.integers(-5, 5), st.sampled_from([1e-300, 1e300, 10**30, "x", None]))


@pytest.mark.drawn
@many
@given(
    st.fixed_dictionaries({}, optional={
        "rate": NUMBERS, "hold": st.one_of(st.none(), st.floats(), st.sampled_from(["exp:1e300", "pareto:1,1e-9", "exp:"])),
        "flows": st.one_of(st.integers(-1, 2000), st.just(10**11), st.just(1.5)), "clients": NUMBERS, "cpus": NUMBERS,
        "sport": st.one_of(st.integers(-1, 70_000), st.sampled_from(["x", "random", None])),
        "network": st.sampled_from([None, "10.0.0.0/33", "zz", "10.244.1.0/30", 5]),
        "weights": st.sampled_from([(), (1.0,), (math.nan,), (1e308,), (-1,)]),
        "stages": st.sampled_from([(), ((1.0, 5.0, 5.0),), ((math.inf, 1.0, 1.0),), ((0.0, 1.0, 2.0),), ((1.0, 0.0, 0.0),)]),
        "destinations": st.sampled_from([(("203.0.113.10", 53),), (), (("x", 1),), (("203.0.113.10", 99_999),)]),
    })
)  # fmt: skip
def test_a_workload_runs_or_is_refused(fields):
    work = Workload(**{"destinations": (("203.0.113.10", 53),), "flows": 1500, **fields})
    _, sound = loads(work.check)
    if sound and work.flows <= 2000:
        loads(lambda: variants.compare(make_node(), work, [variants.Variant()], seeds=1))


@pytest.fixture(scope="module")
def run_doc():
    work = Workload((("203.0.113.10", 53),), flows=3000)
    found = variants.compare(fastnat.Node.example(), work, variants.parse("random-fully"), seeds=1)
    return json.loads(json.dumps(Document("node", "linux-6.18", work, found).to_json()))


@pytest.mark.drawn
@many
@given(data=st.data())
def test_a_run_is_one_or_refused(tmp_path, run_doc, data):
    from fastnat.exhaustion.html import to_html

    path = tmp_path / "run.json"
    text = hostile.as_json(damaged_tree(run_doc, data.draw))
    if data.draw(st.booleans()):
        text = damaged(text, data.draw)
    path.write_bytes(text.encode(errors="surrogatepass"))
    doc, loaded = loads(lambda: load_document(path))
    if loaded:
        for form in (report.to_text, report.to_markdown, report.to_junit, report.to_prometheus, to_html):
            form(doc).encode()


def section(order="<", magic=0x1A2B3C4D):
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", magic, 1, 0, -1), order)


def block(kind, body, order="<"):
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def interface(options=b"", order="<"):
    return block(1, struct.pack(order + "HHI", 101, 0, 0) + options, order)


def packet(data=b"abcd", number=0, time=(0, 1), order="<"):
    return block(6, struct.pack(order + "IIIII", number, *time, len(data), len(data)) + data, order)


PCAPNG = section() + interface(struct.pack("<HHB3x", 9, 1, 9)) + packet() * 3 + block(5, b"x" * 30) + packet(b"")
PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101) + struct.pack("<IIII", 1, 2, 4, 4) + b"abcd"


@pytest.mark.drawn
@many
@given(data=st.data())
def test_a_capture_of_any_bytes_is_read_or_refused(tmp_path, data):
    raw = bytearray(data.draw(st.sampled_from([PCAP, PCAPNG, PCAP * 3, PCAPNG * 2])))
    for _ in range(data.draw(st.integers(0, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from([0, 1, 4, 127, 128, 255]))
    raw = bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
    (tmp_path / "capture").write_bytes(raw)
    found, read = loads(lambda: list(capture.read(tmp_path / "capture")))
    for p in found if read else ():
        out = io.BytesIO()
        loads(lambda p=p, out=out: capture.Writer(out).write(p.time, p.iface, p.data))


@pytest.fixture(scope="module")
def state_members(tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "state"
    nat = fastnat.Engine(node_of_both(), max_connections=100)
    nat.conntrack.load(hostile.DUMP)
    nat.save(path)
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def archive(members, **how):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **how) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return file.getvalue()


def array(values, dtype=None):
    file = io.BytesIO()
    np.save(file, np.asarray(values, dtype), allow_pickle=True)
    return file.getvalue()


@pytest.mark.drawn
@many
@given(data=st.data())
def test_a_state_of_any_bytes_raises_only_input_errors(tmp_path, state_members, data):
    members = dict(state_members)
    meta = json.loads(np.load(io.BytesIO(members["meta.npy"])).tobytes())
    kind = data.draw(st.integers(0, 3))
    if kind == 0:
        meta = hostile.as_json(damaged_tree(meta, data.draw)).encode()
        members["meta.npy"] = array(np.frombuffer(meta, np.uint8))
    elif kind == 1:
        name = data.draw(st.sampled_from(sorted(members)))
        odd = [
            np.zeros(3),
            np.zeros((2, 2), np.uint8),
            np.zeros(0),
            np.array(5),
            np.array([None, {}], object),
            np.zeros(5, "S9"),
        ]
        members[name] = array(data.draw(st.sampled_from(odd)))
    elif kind == 2:
        members.pop(data.draw(st.sampled_from(sorted(members))))
    raw = bytearray(archive(members))
    if kind == 3:
        for _ in range(data.draw(st.integers(1, 5))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    (tmp_path / "state").write_bytes(raw)
    try:
        nat = fastnat.Engine.restore(tmp_path / "state")
    except InputError:
        return
    for core in (stack.core for stack in nat.stacks.values()):
        core.check_invariants()


def test_a_state_is_refused_before_its_arrays_are_unpacked(tmp_path, state_members):
    """A header that says more than belongs there: a packed file of some hundred KB could hold gigabytes."""
    conns = np.lib.format.descr_to_dtype(np.load(io.BytesIO(state_members["conns4.npy"])).dtype.descr)
    for name, content in (
        ("conns4.npy", array(np.zeros(101, conns))), ("matches4.npy", array(np.zeros(10_000_000, np.uint8))),
        ("recent4.npy", array(np.zeros(10_000_000, np.uint8))), ("../x.npy", b""),
    ):  # fmt: skip
        path = tmp_path / "state"
        path.write_bytes(archive({**state_members, name: content}, compression=zipfile.ZIP_DEFLATED))
        if name == "../x.npy":
            assert len(fastnat.Engine.restore(path).conntrack) == 6
            continue
        with pytest.raises(InputError, match=name.removesuffix(".npy")):
            fastnat.Engine.restore(path)


@pytest.mark.parametrize("name", ["..", "/etc/passwd", "x/y", "conntrack.txt", "\0"])
def test_a_state_names_the_files_of_a_node_only(tmp_path, state_members, name):
    meta = json.loads(np.load(io.BytesIO(state_members["meta.npy"])).tobytes())
    meta["node"][name] = "x"
    members = {**state_members, "meta.npy": array(np.frombuffer(json.dumps(meta).encode(), np.uint8))}
    (tmp_path / "state").write_bytes(archive(members))
    with pytest.raises(InputError, match="is not a file of a node"):
        fastnat.Engine.restore(tmp_path / "state")


@pytest.mark.parametrize(
    ("load", "text", "says"),
    [
        ("load_rules", "*nat\n-A POSTROUTING -s 1.1.1.1,2.2.2.2 -s 3.3.3.3,4.4.4.4 -j ACCEPT\n", "multiple -s flags not allowed"),
        ("load_rules", "*nat\n-A POSTROUTING -s " + "1.1.1.1," * 300 + "1.1.1.1 -d " + "1.1.1.1," * 300 + "1.1.1.1\n",
         "lists of addresses make 90,601 rules"),
        ("load_rules", "*nat\n[99999999999999999999999:1] -A POSTROUTING -j ACCEPT\n", "is not in 0..18446744073709551615"),
        ("load_rules", "*nat\n:POSTROUTING ACCEPT [" + "9" * 5000 + ":1]\n", "counters"),
        ("load_rules", "*nat\n:\n", "bad chain line"),
        ("load_rules", "*filter\n-A INPUT -m statistic --mode random --every 3 -j DROP\n", "--every belongs to --mode nth"),
        ("load_rules", "*filter\n-A INPUT -m statistic --mode nth -j ACCEPT\n", "--mode nth needs --every"),
        ("load_rules", "*nat\n-A PREROUTING -p tcp -j REDIRECT --to-ports \u00b2\n", "not valid"),
        ("load_rules", "*filter\n-A INPUT -m limit --limit \u00b2/second\n", "expected for example 3/minute"),
        ("load_rules", "*filter\n-A INPUT -m set --match-set s " + "src," * 6 + "src\n", "Can't be more src/dst options than 6"),
        ("load_rules", "Chain INPUT (policy ACCEPT)\ntarget prot opt in out source destination\nACCEPT tcp -- x\n", "ends before"),
        ("load_rules", "Chain A (1 references)\nDROP tcp -- 0.0.0.0/0 0.0.0.0/0 recent: FOO\n", "cannot tell"),
        ("load_rules", "a\ud800", "surrogate"),
        ("load_sets", "create s hash:ip,port,ip\nadd s 10.0.0.0/16,0-65535,10.0.0.0/16\n", "names 281,474,976,710,656 elements"),
        pytest.param(
            "load_sets", "create s hash:ip\n" + "".join(f"add s 10.{n}.0.0/16\n" for n in range(2)), "Hash is full",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "load_sets", "create s hash:ip maxelem 99999999\n" + "".join(f"add s 10.{n}.0.0/16\n" for n in range(5)),
            "all ranges together name 327,675 elements; at most 262,144", marks=pytest.mark.again,
        ),
        ("load_sets", "create s hash:ip,port\nadd s 1.1.1.1,icmp:300/0\n", "is not in 0..255"),
        ("load_sets", "create s hash:ip,port\nadd s 1.1.1.1,-5:1\n", "is not in 0..255"),
        ("load_sets", "create s hash:ip maxelem -1\n", "maxelem"),
        ("load_services", "-A -f 99999999999 -s rr\n", "firewall mark"),
        ("load_services", "-A -f 0 -s rr\n", "firewall mark"),
        ("load_services", "-A -t 1.1.1.1:80 -s rr\n-a -t 1.1.1.1:80 -r 1.1.1.2:80 -m -w -1\n", "weight"),
        ("load_services", "-A -t 1.1.1.1:80 -s\n", "a value is missing"),
        ("load_services", "-A -t 1.1.1.1:80 -p 9 -M 99\n", "netmask"),
    ],
)  # fmt: skip
def test_what_is_refused_and_how(load, text, says):
    with pytest.raises(InputError) as caught:
        getattr(make_node(), load)(text)
    assert says in str(caught.value)


def test_ranges_of_a_text_are_counted_together(monkeypatch):
    """Each of them is small enough; the limit as it is takes seconds to reach."""
    monkeypatch.setattr(ipset, "MAX_RANGES", 1000)
    text = "create s hash:ip\n" + "".join(f"add s 10.0.{n}.0/24\n" for n in range(4))
    with pytest.raises(InputError, match="<ipset>:5: all ranges together name 1,020 elements; at most 1,000"):
        ipset.parse(text)


def test_the_rules_that_lists_and_commands_make_are_the_same_as_ever():
    text = "*filter\n-A INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.4 -j DROP\n"
    texts = [r.text for r in iptables.parse(text).tables["filter"].chains["INPUT"].rules]
    assert texts == [f"-A INPUT -s {s} -d {d} -j DROP" for s in ("1.1.1.1", "2.2.2.2") for d in ("3.3.3.3", "4.4.4.4")]
    made = "".join(
        f"iptables {c}\n" for c in (
            "-A INPUT -s 10.0.0.1", "-I INPUT -s 10.0.0.2", "-I INPUT -s 10.0.0.3", "-I INPUT 2 -s 10.0.0.4",
            "-I INPUT 99 -s 10.0.0.5", "-A INPUT -s 10.0.0.6", "-D INPUT 2", "-D INPUT -s 10.0.0.1", "-I INPUT 1 -s 10.0.0.7",
        )
    )  # fmt: skip
    rules = iptables.parse(made).tables["filter"].chains["INPUT"].rules
    assert [r.src & 255 for r in rules] == [7, 3, 2, 5, 6]


@given(st.lists(st.tuples(st.sampled_from("AIDFX"), st.integers(0, 4), st.integers(1, 4)), max_size=40))
def test_commands_leave_what_they_leave_in_a_plain_list(commands):
    """-A, -I [N], -D [N], -F in any order, as on a list."""
    plain, text = [], "*filter\n"
    for what, at, who in commands:
        if what == "A":
            text += f"-A INPUT -s 10.0.0.{who}\n"
            plain.append(who)
        elif what == "I":
            text += f"-I INPUT {at or ''} -s 10.0.0.{who}\n"
            plain.insert(max(at - 1, 0), who)
        elif what == "D" and 0 < at <= len(plain):
            text += f"-D INPUT {at}\n"
            del plain[at - 1]
        elif what == "D" and who in plain and not at:
            text += f"-D INPUT -s 10.0.0.{who}\n"
            plain.remove(who)
        elif what == "F":
            text += "-F\n" if at else "-F INPUT\n"
            plain.clear()
        elif what == "X":
            text += "-N C\n-A C\n-X C\n"
    rules = iptables.parse(text).tables["filter"].chains["INPUT"].rules
    assert [r.src & 255 for r in rules] == plain


def test_text_that_takes_too_many_steps_says_so():
    text = "*filter\n" + "-A INPUT\n" * 20_000 + "-D INPUT -s 1.1.1.1\n"
    with pytest.raises(RuleError, match="there is no such rule"):
        iptables.parse(text)
    with pytest.raises(RuleError, match=r"look at more than 1,000,000 rules"):
        iptables.parse("*filter\n" + "-A INPUT\n" * 20_000 + "-A INPUT -s 1.1.1.1\n-D INPUT -s 1.1.1.1\n" * 60)


@pytest.mark.parametrize("family", [4, 6])
def test_elements_and_services_whose_hashes_agree_take_no_square_of_time(family):
    """The place of each is that of a walk over the slots, found without the walk."""
    from fastnat.util.slots import Slots

    rng = np.random.default_rng(family)
    for size in (2, 8, 64, 512):
        free, taken = Slots(size), set()
        for home in rng.integers(0, size if rng.random() < 0.5 else 2, size - 1).tolist():
            slot = home
            while slot in taken:
                slot = (slot + 1) % size
            taken.add(slot)
            assert free.take(home) == slot
    free = Slots(1 << 17)
    assert [free.take(5) for _ in range(65_536)] == [(5 + n) % (1 << 17) for n in range(65_536)]


LINE = (
    "udp 17 {} src=1.1.1.1 dst=2.2.2.2 sport={} dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport={} mark={} zone={} use=1"
)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((5, 65536, 1, 0, 0), "sport '65536' is not in 0..65535"), ((5, 2**32, 1, 0, 0), "sport"),
        ((5, 1, "9" * 5000, 0, 0), "dport"), ((5, 1, 1, -1, 0), "mark '-1'"), ((5, 1, 1, 2**32, 0), "mark"),
        ((5, 1, 1, 0, 70000), "zone '70000'"), (("9" * 400, 1, 1, 0, 0), "timeout"), ((2**40, 1, 1, 0, 0), "timeout"),
    ],
)  # fmt: skip
def test_numbers_of_a_dump_do_not_spill(values, says):
    nat = fastnat.Engine(make_node())
    with pytest.raises(InputError, match=says):
        nat.conntrack.load(LINE.format(*values))
    with pytest.raises(InputError, match=r"is not in 0..255"):
        nat.conntrack.load("x 300 5 src=1.1.1.1 dst=2.2.2.2 src=2.2.2.2 dst=1.1.1.1 mark=0 use=1")
    assert len(nat.conntrack) == 0


def test_a_timeout_is_bounded_as_in_the_kernel():
    nat = fastnat.Engine(make_node())
    nat.conntrack.load(LINE.format(2**32 - 1, 1, 1, 0, 0))
    assert next(iter(nat.conntrack)).timeout == 2**31 // 250 - 1
    nat.stacks[4].core.check_invariants()
    nat.advance(1e7)
    assert len(nat.conntrack) == 0


def test_a_dump_that_does_not_fit_leaves_nothing():
    nat = fastnat.Engine(node_of_both(), max_connections=4)
    before = nat.stats
    with pytest.raises(InputError, match=r":5: the table holds 4 connections, its maximum"):
        nat.conntrack.load("".join(LINE.format(5, n, n, 0, 0) + "\n" for n in range(1, 6)))
    with pytest.raises(InputError, match=r":3: a connection with this tuple exists"):
        nat.conntrack.load("".join(LINE.format(5, n, n, 0, 0) + "\n" for n in (1, 2, 1)))
    assert nat.stats == before
    assert nat.stacks[4].core.high_water == 0


def test_a_listing_counts_announced_connections_once():
    """One look at the table for all lines, and the count that each connection alone has."""
    nat = fastnat.Engine(node_of_both())
    nat.conntrack.load(hostile.DUMP)
    assert [str(c) for c in nat.conntrack] == [str(nat.conntrack.at(c.family.version, c.index)) for c in nat.conntrack]


@pytest.mark.parametrize("name", ["icmp", "igmp"])
def test_a_dump_without_ports_has_no_port_spaces(name):
    line = next(li for li in hostile.DUMP.splitlines() if {"icmp": "icmp ", "igmp": "unknown"}[name] in li)
    dump = read_dump(io.BytesIO(f"{line}\n".encode() * 3))
    assert (dump.connections, dump.others, spaces_of(dump)) == (3, 3, [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dst=198.51.100.10", "dst=[bold]5.5.5.5"), ("src=10.244.2.2", "src=[/x]"), ("dport=41000", "dport=99999"),
        ("dport=41000", "dport=410000"), ("sport=53 dport=41000", "sport=65536 dport=4"), ("dport=41000", "dport="),
        ("dst=198.51.100.10", "dst=" + "1" * 5000), ("src=10.244.2.2", "src=" + "1" * 5000),
    ],
)  # fmt: skip
def test_top_refuses_what_is_no_address_or_port(old, new):
    line = hostile.DUMP.splitlines()[0]
    assert spaces_of(read_dump(io.BytesIO(f"{line}\n".encode())))[0].dport == 53
    with pytest.raises(InputError, match=r"dump:2|lines 1 to 2"):
        read_dump(io.BytesIO(f"{line}\n{line.replace(old, new)}\n".encode()), "dump")


class Endless:
    """A file that never ends."""

    def __init__(self, piece):
        self.piece = piece
        self.given = 0

    def read(self, n):
        self.given += n
        return (self.piece * (n // len(self.piece) + 1))[:n]


def test_a_dump_without_end_is_refused_with_the_limit():
    endless = Endless(b"\0")
    with pytest.raises(InputError, match=r"zero:1: a line of more than 65,536 bytes"):
        read_dump(endless, "zero")
    assert endless.given < 1 << 24


def test_text_without_end_is_refused_with_the_limit(tmp_path, monkeypatch):
    from fastnat.util import files

    monkeypatch.setattr(files, "MAX_TEXT", 1 << 20)
    monkeypatch.setattr(files.read_bytes, "__defaults__", (1 << 20,))
    os.mkfifo(tmp_path / "rules.v4")

    def write():
        with (tmp_path / "rules.v4").open("wb", buffering=0) as file:
            try:
                for _ in range(64):
                    file.write(bytes(1 << 20))
            except BrokenPipeError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(InputError, match=r"rules\.v4: larger than 1,048,576 bytes"):
        files.read_text(tmp_path / "rules.v4")
    writer.join()


def test_a_capture_out_of_a_pipe_is_that_of_the_file(tmp_path):
    (tmp_path / "file").write_bytes(PCAPNG)
    os.mkfifo(tmp_path / "pipe")
    for raw in (PCAPNG, PCAP):
        (tmp_path / "file").write_bytes(raw)
        writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(raw,))
        writer.start()
        assert list(capture.read(tmp_path / "pipe")) == list(capture.read(tmp_path / "file"))
        writer.join()


def test_a_capture_that_is_cut_while_it_is_read(tmp_path):
    """Read through a buffer: the file may become shorter at any time."""
    path = tmp_path / "capture"
    path.write_bytes(PCAP + (struct.pack("<IIII", 1, 2, 1000, 1000) + bytes(1000)) * 40_000)
    batches = capture.read_batches(path)
    assert 0 < len(next(batches).data) <= 4096
    os.truncate(path, 1000)
    with pytest.raises(InputError, match=r"is cut after|cut within a packet header"):
        list(batches)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (section(magic=5), "byte-order magic"), (section() + struct.pack("<II", 5, 1 << 30) + bytes(8), "at most 16,777,216"),
        (PCAP[:24] + struct.pack("<IIII", 1, 2, 1 << 30, 4), "at most 262,144"), (section() + packet(), "broken block"),
        (section() + interface() + packet(bytes(300_000)), "a packet of 300000 bytes"), (section() + b"ab", "cut within"),
        (section() + interface() * 65_537, "more than 65,536 interfaces"),
        (section() + interface(struct.pack("<HHi", 14, 4, 5)), "broken block"),
    ],
)  # fmt: skip
def test_blocks_of_captures_that_are_refused(tmp_path, raw, says):
    (tmp_path / "capture").write_bytes(raw)
    with pytest.raises(InputError, match=says):
        list(capture.read(tmp_path / "capture"))


def test_time_stamps_of_any_unit_and_begin(tmp_path):
    offset = struct.pack("<HHB3xHHq", 9, 1, 0, 14, 8, 1000)
    (tmp_path / "capture").write_bytes(section(">") + interface(order=">") + packet(time=(0, 5_000_000), order=">")
                                       + section() + interface(offset) + packet(time=(4, 0)) + packet(time=(0, 7)))  # fmt: skip
    times = [p.time for p in capture.read(tmp_path / "capture")]
    assert times == [5.0, 4 * 2**32 + 1000.0, 1007.0]
    out = io.BytesIO()
    for time in (2e10, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="cannot be written"):
            capture.Writer(out).write(time, "eth0", b"abcd")
    with pytest.raises(InputError, match="70,000 bytes"):
        capture.Writer(out).write(1.0, "x" * 70_000, b"abcd")


def fragment(offset, more, ident, src=b"\x0a\xf4\1\2", n=8):
    header = bytearray(struct.pack(">BBHHHBBH", 0x45, 0, 20 + n, ident & 0xFFFF, more << 13 | offset // 8, 64, 17, 0))
    header += src + struct.pack(">I", 0xCB007100 + (ident >> 16))
    struct.pack_into(">H", header, 10, checksum(header))
    return bytes(header) + bytes(n)


def test_datagrams_under_way_are_bounded_as_in_the_kernel():
    box = Reassembler()
    each = QUEUE_BYTES + PART_BYTES + 28
    for k in range(20_000):
        box.add(fragment(0, 1, k, struct.pack(">I", k)), 0.0)
    assert len(box._queues) == (4 << 20) // each + 1
    # above the limit every part is lost, also of a datagram that is under way (recorded)
    assert box.add(fragment(8, 0, 19_999, struct.pack(">I", 19_999)), 1.0) is None
    assert box.add(fragment(8, 0, 7, struct.pack(">I", 7)), 1.0) is None
    # ipfrag_time later there is room
    assert box.add(fragment(0, 1, 30_000), 31.0) is None
    assert len(box._queues) == 1


def test_a_datagram_of_6000_parts_comes_together_in_any_order():
    rng = np.random.default_rng(1)
    box = Reassembler()
    # more do not fit below ipfrag_high_thresh
    parts = [fragment(8 * k, int(k < 5999), 1) for k in range(6000)]
    whole = [w for w in (box.add(parts[k], 0.0) for k in rng.permutation(6000)) if w]
    assert [len(w.data) for w in whole] == [20 + 8 * 6000]
    assert not box._queues
    assert box._held[4] == 0


@pytest.mark.parametrize(("between", "whole"), [(63, True), (64, False)])
def test_parts_too_far_apart_are_given_up(between, whole):
    """ipfrag_max_dist: more than 64 fragments of the source between two of a datagram."""
    box = Reassembler()
    box.add(fragment(0, 1, 1), 0.0)
    for k in range(between):
        box.add(fragment(0, 1, 2 + k), 0.0)
    assert (box.add(fragment(8, 0, 1), 0.0) is not None) == whole


@pytest.mark.parametrize("mtu", [0, 20, 27, 28, 67])
def test_no_device_is_too_small_to_cut_for(mtu):
    data = fragment(0, 0, 1, n=100)
    assert [len(p) for p in split(Whole(data), data, mtu)] == [68, 68, 24]


@given(st.binary(max_size=200), st.lists(st.integers(0, 250), max_size=3), st.sampled_from([0, 43, 60, 44, 17]))
def test_cutting_again_never_breaks(payload, cuts, kind):
    """Chains of headers that go on into the payload, datagrams that a helper made shorter."""
    six = struct.pack(">IHBB", 6 << 28, len(payload), kind, 64) + bytes(32) + payload
    four = bytes(fragment(0, 0, 1, n=0)) + payload
    for data, key in ((six, (6, bytes(36))), (four, (4, b""))):
        split(Whole(data, tuple(sorted(8 * c for c in cuts)), 100, key), data, 1500)


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_connections": 10.5}, {"max_connections": True}, {"max_connections": 0}, {"max_connections": 10**5000},
        {"max_connections": "9"}, {"seed": -1}, {"seed": 2**64}, {"seed": 1.0}, {"seed": None}, {"events": -1},
        {"events": 2**40}, {"events": math.inf}, {"profile": ["linux-6.18"]}, {"profile": None}, {"profile": "x" * 10**6},
    ],
)  # fmt: skip
def test_arguments_of_an_engine(arguments):
    with pytest.raises(InputError):
        fastnat.Engine(make_node(), **arguments)


@pytest.mark.parametrize("now", [math.inf, -math.inf, math.nan, -1.0, 1e16, "x", None, 10**400])
def test_times_that_are_none(now):
    nat = fastnat.Engine(node_of_both(), max_connections=10)
    nat.advance(5.0)
    with pytest.raises(FastnatError):
        nat.advance(now)
    assert nat.now == 5.0


def test_a_node_stays_as_it_was_when_an_interface_address_or_route_is_refused():
    node = node_of_both()
    before = everything(node)
    for call in (
        lambda: node.add_interface("x", ["10.9.0.1/24", "10.9.0.999/24"]), lambda: node.add_interface("x", mtu=-1),
        lambda: node.add_interface("x", ["10.9.0.1/24"], mtu=20), lambda: node.add_interface("x", 5),
        lambda: node.add_interface(5), lambda: node.add_interface("\ud800"), lambda: node.add_interface(""),
        lambda: node.add_interface("x" * 300), lambda: node.add_interface("a b"), lambda: node.add_interface("local"),
        lambda: node.add_address("eth0", "10.9.0.1/33"), lambda: node.add_address("eth0", 5),
        lambda: node.add_address("eth0", "10.9.0.1/24", "x"), lambda: node.add_address(["eth0"], "10.9.0.1/24"),
        lambda: node.add_route("10.0.0.0/-1", dev="eth0"), lambda: node.add_route("10.0.0.0/8", via="x", dev="eth0"),
        lambda: node.add_route(5), lambda: node.add_route("default", dev=["eth0"]), lambda: node.add_route("default", kind="x"),
        lambda: node.remove_address("nope", "10.9.0.1"), lambda: node.remove_address("eth0", "x"),
        lambda: node.remove_route("10.0.0.0/x"), lambda: node.remove_route("zz"), lambda: node.load_rules(5),
        lambda: node.load_sets(None), lambda: node.load_services(b"-A"), lambda: node.load_services("\ud800"),
    ):  # fmt: skip
        with pytest.raises(InputError):
            call()
        assert everything(node) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nest too deeply"), ("[{\"ifname\": \"eth0\", \"ifindex\": Infinity}]", "Infinity is not a JSON number"),
        ("[{\"ifname\": \"eth0\", \"ifindex\": 1, \"mtu\": 1e400}]", "beyond 64-bit"),
        ("[{\"ifname\": \"eth0\", \"ifindex\": " + "9" * 5000 + "}]", "addr.json"),
        ("[{\"ifname\": \"\\ud800\", \"ifindex\": 1}]", "ifname"), ("[{\"ifname\": 5, \"ifindex\": 1}]", "ifname 5 is not text"),
        ("[{\"ifname\": \"e\", \"ifindex\": 1, \"mtu\": -5}]", "mtu -5"), ("\xff", "addr.json"),
    ],
)  # fmt: skip
def test_json_of_a_node_that_is_refused(tmp_path, text, says):
    (tmp_path / "addr.json").write_text(text, "latin1")
    with pytest.raises(InputError) as caught:
        fastnat.Node.load(tmp_path)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a=" + "[" * 100_000, "nest too deep"), ("[run]\nseeds=inf", "seeds"), ("[node]\npath=5", "path: 5 is not text"),
        ("[node]\nprofile=[1]", "profile"), ("[workload]\nrate=nan", "rate: nan"), ("[workload]\ndestinations=[]", "no destination"),
        ("[run]\nseed=" + "9" * 5000, "scenario.toml"), (".".join(["a"] * 50) + " = 1", "a key of more than 16 parts"),
        ("x = {" + ".".join(["a"] * 50) + " = 1}", "a key of more than 16 parts"),
        ("[vary]\n" + "".join(f"{name} = {list(range(1, 200))}\n" for name in ("addresses", "tcp-time-wait", "max")),
         "combinations and more; at most 10,000"),
        ("[[stage]]\n" * 1001, "at most 1,000"), ("[workload]\npoisson = 5", "poisson"), ("[workload]\nzipf = 1e9", "zipf"),
        ("[vary]\naddresses = []", "addresses: there is no value"), ("[vary]\nrate = [1]\naddresses = []\nports = []", "addresses: there is no value"),
    ],
)  # fmt: skip
def test_scenarios_that_are_refused(tmp_path, text, says):
    (tmp_path / "scenario.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        scenario.load(tmp_path / "scenario.toml")
    assert says in str(caught.value)


def test_a_factor_is_named_once():
    with pytest.raises(InputError, match="given twice"):
        variants.parse("addresses=1:2,addresses=1:2")


# Each reader reads each text twice, once four times as long. In linear time that takes four times as much of the CPU, in a
# square of it sixteen times. What takes a moment is not compared; what looks like a square must do so three times.
LARGE = """
import gc, io, resource, sys, time
import fastnat
from unit import hostile
from fastnat import conntrack, iptables
from fastnat.conntrack.dump import read as read_dump
from fastnat.conntrack.port_spaces import spaces_of
from fastnat.node import ipset, ipvs
from fastnat.exhaustion import scenario
from pathlib import Path
SIZES = 25_000, 100_000
resource.setrlimit(resource.RLIMIT_CPU, (900, 900))
gc.disable()
node = fastnat.Node.example()
path = Path(sys.argv[1])
def spent(read, text):
    begin = time.process_time()
    hostile.loads(lambda: read(text))
    return time.process_time() - begin
def is_square(read, head, piece):
    short, long = (spent(read, head + piece * (size // len(piece))) for size in SIZES)
    return long > 0.2 and long > 8 * short
heads = ["", "*nat\\n-A POSTROUTING ", "a@", "Chain INPUT (policy ACCEPT)\\nACCEPT tcp -- 0.0.0.0/0 0.0.0.0/0 ",
         "*filter\\n-A INPUT -m comment --comment \\"", "*filter\\n-A INPUT -s 1.1.1.1,", "create s hash:ip\\nadd s ",
         "-A -t ", "udp 17 12 ", "udp 17 12 src=1.1.1.1 dst=", "[workload]\\nproto = \\"", "[vary]\\n"]
pieces = ["\\n", "\\r", " ", "a", "\\"", "'", "\\\\\\"", "-A A\\n", "-I A\\n", "-I A 3\\n", "-D A\\n", "-A A\\n-D A\\n", "-F\\n",
          "! ", "1.1.1.1,", "tcp ", "/* ", "dpt:1 ", "src=1.1.1.1 ", "a.", "a=1\\n", "[a]\\n", "[[stage]]\\n", "-A -f 7\\n", "=", "-",
          "#\\n", "add s 1.1.1.1\\n", "add s 10.0.0.0/16\\n", "x|", "$ ", "[", "9", "a = [", "-N c\\n-F\\n",
          "udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1\\n"]
def toml(text):
    path.write_text(text)
    scenario.load(path)
readers = [iptables.parse, ipset.parse, ipvs.parse, conntrack.parse_line, toml,
           lambda text: read_dump(io.BytesIO(text.encode())), fastnat.Engine(node).conntrack.load]
for head in heads:
    for piece in pieces:
        for read in readers:
            if all(is_square(read, head, piece) for _ in range(3)):
                print("in a square of time:", read, repr(head), repr(piece))
    gc.collect()
print("done")
"""


@pytest.mark.slow
def test_large_text_of_any_kind_is_read_in_linear_time(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path / "file")], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout == "done\n", done.stdout + done.stderr
