"""fastnat top: port spaces of a dump, and how near they are to exhaustion."""

import bz2
import contextlib
import csv
import gzip
import io
import itertools
import json
import lzma
from itertools import cycle

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nodes import MASQUERADE, examples, flows, make_dual, make_node

import fastnat
from fastnat.cli import group
from fastnat.conntrack import parse_line, port_spaces
from fastnat.conntrack.dump import read
from fastnat.conntrack.port_spaces import PORTS, search_fails, seconds_left, spaces_of
from fastnat.errors import InputError


def dump_of(style="conntrack", n=2000, **fields):
    nat = fastnat.Engine(make_node(), seed=1)
    nat.process(flows(nat, n, **fields))
    nat.process(flows(nat, 3, proto="icmp", dport=0x800))
    return nat, nat.conntrack.format(style)


@pytest.mark.parametrize("style", ["conntrack", "extended", "proc"])
def test_every_layout_gives_the_engines_own_count(style):
    nat, text = dump_of(style)
    dump = read(io.BytesIO(text.encode()))
    (space,) = spaces_of(dump)
    assert (dump.connections, dump.others) == (2003, 3)
    assert (space.address, space.proto, space.dst, space.dport) == ("198.51.100.10", "udp", "203.0.113.10", 53)
    assert space.used == nat.ports("198.51.100.10", "udp", "203.0.113.10", 53)["used"] == 2000
    assert space.sources[0][1] == 1


def test_search_fails_is_what_the_engine_does():
    """94 % of the ports in use: the share of lost flows of one more thousand is the computed probability."""
    nat = fastnat.Engine(make_node(), seed=2)
    nat.process(flows(nat, 61_500))
    taken = nat.stacks[4].core.ports_used(0xC633640A, 17, 0xCB00710A, 53)[1024:]
    lost = 0
    for seed in range(8):
        out = nat.fork(seed=seed).process(flows(nat, 300, src=np.arange(300, dtype=np.uint32) + 0x0AF4FF00))
        lost += (out["verdict"] == fastnat.Verdict.DROP).sum()
    chance = search_fails(taken)
    assert 0.01 < chance < 0.3
    assert lost / 2400 == pytest.approx(chance, rel=0.35)


def test_search_fails_at_the_ends():
    assert search_fails(np.zeros(PORTS, np.bool_)) == 0
    assert search_fails(np.ones(PORTS, np.bool_)) == pytest.approx(1)


def test_time_wait_and_who_holds_most():
    line = "tcp 6 {} src={} dst=1.2.3.4 sport={} dport=443 src=1.2.3.4 dst=9.9.9.9 sport=443 dport={} [ASSURED] use=1"
    states = ["119 TIME_WAIT", "431999 ESTABLISHED", "119 TIME_WAIT", "50 TIME_WAIT"]
    text = "\n".join(line.format(s, f"10.0.0.{n // 3}", 2000 + n, 3000 + n) for n, s in enumerate(states))
    (space,) = spaces_of(read(io.BytesIO(text.encode())))
    assert (space.used, space.time_wait, space.sources[0]) == (4, 3, ("10.0.0.0", 3))


def test_command_says_what_is_near(tmp_path):
    now, before = tmp_path / "now", tmp_path / "before"
    now.write_text(dump_of(n=62_000)[1])
    before.write_text(dump_of(n=20_000)[1])
    shown = CliRunner().invoke(group, ["top", str(now)]).output
    assert "Ports are running out now" in shown
    told = CliRunner().invoke(group, ["top", str(before), "--earlier", str(before), "--apart", "60", "--json"]).output
    assert json.loads(told)["spaces"][0]["seconds_left"] is None
    grown = CliRunner().invoke(group, ["top", str(now), "--earlier", str(before), "--apart", "600"]).output
    assert "At +69.8/s, as between the two dumps, it is full in 38 s." in grown
    grown = CliRunner().invoke(group, ["top", "-", "--csv"], input=now.read_bytes()).output
    assert next(csv.DictReader(io.StringIO(grown)))["dport"] == "53"
    assert seconds_left(PORTS - 20_000, 10_000 / 60) == pytest.approx((PORTS - 20_000) / 10_000 * 60)


def test_a_dump_cut_in_the_middle_names_the_line(tmp_path):
    text = dump_of(n=50)[1]
    cut = tmp_path / "cut"
    cut.write_text(text[: len(text) // 2])
    result = CliRunner().invoke(group, ["top", str(cut)])
    assert isinstance(result.exception, fastnat.InputError)
    assert f"{cut}:" in str(result.exception)
    assert "is the line cut?" in str(result.exception)
    # what stands before the cut is shown
    assert "Port spaces of 2" in result.output


@pytest.mark.parametrize("style", ["conntrack", "extended", "proc"])
def test_a_dump_cut_at_any_byte_makes_up_nothing(tmp_path, style):
    """`dport=40001` that is cut behind `dport=40` is not a connection from port 40."""
    nat = fastnat.Engine(make_node(), seed=1)
    nat.process(flows(nat, 3, sport=40_001))
    text = nat.conntrack.format(style)
    whole = {c.original + c.reply for c in nat.conntrack}
    begin = text.rstrip().rfind("\n") + 1
    for end in range(begin, len(text)):
        got = read(io.BytesIO(text[:end].encode()))
        ports = {port for s in spaces_of(got, every=True) for port in np.flatnonzero(s.every_port()).tolist()}
        assert ports <= {c[7] for c in whole}
        assert bool(got.cut) == (got.connections < 3 and end > begin)
        for left_out in ([], None):
            other = fastnat.Engine(make_node(), seed=1)
            try:
                other.conntrack.load(text[:end], **({} if left_out is None else {"left_out": left_out}))
            except InputError:
                assert left_out is None
                assert got.cut
            assert {c.original + c.reply for c in other.conntrack} <= whole
            assert not left_out or got.cut


@pytest.mark.parametrize(("pack", "said"), [
    (gzip.compress, "compressed by gzip: give what `zcat` prints"), (bz2.compress, "compressed by bzip2"),
    (lzma.compress, "compressed by xz"), (lambda data: data.decode().encode("utf-16"), "UTF-16 text"),
    (lambda data: data.decode().encode("utf-8-sig"), ""), (lambda data: data.replace(b"\n", b"\r\n"), ""),
])  # fmt: skip
def test_a_dump_in_another_form_is_named(tmp_path, pack, said):
    """Every command says what to do with it, or reads it as what it is."""
    dump, node = tmp_path / "dump", tmp_path / "n"
    make_node().save(node)
    dump.write_bytes(pack(dump_of(n=20)[1].encode()))
    for words in (("top", dump), ("doctor", dump), ("conntrack", "--start-from", dump, node), ("replay", node, dump)):
        result = CliRunner().invoke(group, list(map(str, words)))
        if said:
            assert said in str(result.exception)
        elif words[0] != "replay":
            assert result.exit_code == 0


def test_empty_and_missing(tmp_path):
    assert "0 connections" in CliRunner().invoke(group, ["top", "-"], input="").output
    result = CliRunner().invoke(group, ["top", str(tmp_path / "none")])
    assert "No such file" in str(result.exception)


SPACE = "udp 17 9 src=10.0.0.{} dst=1.2.3.4 sport=9 dport=53 src=1.2.3.4 dst={} sport=53 dport={} mark=0{} use=1\n"


def test_zones_are_apart():
    zones = ["", " zone=7", " zone-reply=8", " zone-orig=9"]
    text = "".join(SPACE.format(n, "9.9.9.9", 2000 + n % 3, zones[n % 4]) for n in range(40))
    found = spaces_of(read(io.BytesIO(text.encode())))
    assert sorted((s.zone, s.connections) for s in found) == [(0, 20), (7, 10), (8, 10)]
    shown = CliRunner().invoke(group, ["top", "-"], input=text).output
    assert "zone" in shown.splitlines()[1]


def test_an_address_that_nothing_is_translated_to_is_no_nat_address():
    text = SPACE.format(1, "10.0.0.1", 9, "") + SPACE.format(2, "9.9.9.9", 9, "") + SPACE.format(3, "9.9.9.9", 10, "")
    ours = SPACE.format(4, "9.9.9.9", 9, "").replace("10.0.0.4", "9.9.9.9").replace("53", "54")
    dump = read(io.BytesIO((text + ours).encode()))
    assert [(s.address, s.dport, s.translated) for s in spaces_of(dump)] == [("9.9.9.9", 53, 2), ("9.9.9.9", 54, 0)]
    assert len(spaces_of(dump, every=True)) == 3
    result = CliRunner().invoke(group, ["top", "-"], input=text.splitlines()[0] + "\n")
    assert result.output == (
        "1 connections with ports, 0 without; none is translated to a NAT address (--all shows every address).\n"
    )


@pytest.mark.parametrize("apart", [[], ["--apart", "60"]])
def test_a_forecast_needs_both_dumps_and_their_time(tmp_path, apart):
    (tmp_path / "dump").write_text(GOOD + "\n")
    words = ["top", str(tmp_path / "dump"), *(apart or ["--earlier", str(tmp_path / "dump")])]
    assert "needs both" in str(CliRunner().invoke(group, words).exception)


def test_entries_of_a_flow_table_and_events():
    offload = GOOD.replace("17 29 ", "17 ").replace("mark=0", "[OFFLOAD] mark=0")
    assert spaces_of(read(io.BytesIO(f"{offload}\n".encode())), every=True)[0].dport == 53
    assert (parse_line(offload).timeout, parse_line(offload.replace("udp      17", "tcp 6")).state) == (86_400, 3)
    for event in ("[DESTROY] ", "    [NEW] ", "[1700000000.5]\t [UPDATE] "):
        with pytest.raises(InputError, match="dump:2: an event of `conntrack -E`"):
            read(io.BytesIO(f"{GOOD}\n{event}{GOOD}\n".encode()), "dump")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_nothing_is_cut_at_any_width(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = SPACE.format(2, "2001:db8:1234:5678:9abc:def0:1234:5678", 9, "").replace("10.0.0.2", "2001:db8::1:2")
    text = text.replace("1.2.3.4", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")
    shown = CliRunner().invoke(group, ["top", "-"], input=text).output
    far = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:53"
    for whole in ("2001:db8:1234:5678:9abc:def0:1234:5678", far, "2001:db8::1:2"):
        assert whole in shown


def test_ports_in_time_wait_yield_to_a_syn():
    """What linux-6.18 does: as often as the computed chance, with independent sequences."""
    taken = np.ones(PORTS, np.bool_)
    assert search_fails(taken, taken) < 1e-9
    rng = np.random.default_rng(4)
    few = rng.random(PORTS) < 0.03
    assert 0.03 < search_fails(taken, few) < 0.3
    line = GOOD.replace("udp      17 29", "tcp      6 119 TIME_WAIT")
    busy = "".join(line.replace("sport=53 dport=5", f"sport=53 dport={n}") + "\n" for n in range(1024, 65536))
    dump = read(io.BytesIO(busy.encode()))
    assert spaces_of(dump)[0].fails < 1e-9
    assert spaces_of(dump, profile="linux-5.4")[0].fails == pytest.approx(1)


GOOD = "udp      17 29 src=10.0.0.1 dst=2.2.2.2 sport=5 dport=53 src=2.2.2.2 dst=1.1.1.1 sport=53 dport=5 mark=0 use=1"


@pytest.mark.parametrize(
    "line",
    [
        "udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 mark=0",
        "udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2",
        "udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.256 sport=2 dport=1",
        "src= src= dport=",
        "=src==dport=src=",
    ],
)
def test_odd_lines_are_refused_not_lost(line):
    with pytest.raises(InputError, match=r"dump.*2"):
        read(io.BytesIO(f"{GOOD}\n{line}\n".encode()), "dump")


@pytest.mark.drawn
def test_any_bytes_are_read_or_refused():
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(examples(2000)):
        text = bytearray(f"{GOOD}\n".encode() * 3)
        for at in rng.integers(0, len(text), rng.integers(1, 6)):
            text[at] = rng.integers(0, 256)
        try:
            assert len(spaces_of(read(io.BytesIO(bytes(text))))) <= 3
        except InputError:
            refused += 1
    assert refused > examples(2000) // 10


WORDS = (
    " ", "        ", "\t", "\n", "ipv4", "ipv6", "     2 ", "tcp", "udp", " 6 ", " 17 29 ", "TIME_WAIT ", "src=",
    "dst=", "sport=", "dport=", "10.0.0.1 ", "2001:db8::1 ", "53 ", "=", "[ASSURED] ", "\x00", "\x85", "conntrack v",
)  # fmt: skip
BLANKS = st.text(" \t\r\x0b\x0c", min_size=1, max_size=14)


@pytest.mark.drawn
@settings(max_examples=examples(150), deadline=None)
@example(with_family=False, blanks=["\r", *" " * 6], indent="")
@given(st.booleans(), st.lists(st.just(" ") | BLANKS, min_size=1, max_size=7), st.just("") | BLANKS)
def test_blanks_do_not_count(with_family, blanks, indent):
    """Lines that were indented, pasted or lost their columns: `top` counts what `conntrack.load` takes over."""
    lines = []
    apart = cycle(blanks)
    for n, state in enumerate(["ESTABLISHED", "TIME_WAIT", "TIME_WAIT"]):
        tuples = f"src=10.0.0.{n} dst=2.2.2.2 sport=5 dport=53 src=2.2.2.2 dst=1.1.1.1 sport=53 dport={2000 + n}"
        words = [*(("ipv4", "2") if with_family else ()), *f"tcp 6 119 {state} {tuples} [ASSURED] mark=0 use=1".split()]
        lines.append(indent * (n % 2) + "".join(w + next(apart) for w in words))
    text = "\n".join(lines) + "\n"
    (space,) = spaces_of(read(io.BytesIO(text.encode())))
    found = (space.proto, space.dst, space.dport, space.used, space.time_wait)
    assert found == ("tcp", "2.2.2.2", 53, 3, 2)
    assert [address for address, _ in space.sources] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    parsed = [parse_line(line) for line in text.split("\n") if line.strip()]
    assert [c.reply[3] for c in parsed] == [2000, 2001, 2002]


@pytest.mark.drawn
@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.sampled_from([*WORDS, GOOD]), max_size=40))
def test_any_words_are_read_or_refused(words):
    with contextlib.suppress(InputError):
        spaces_of(read(io.BytesIO("".join(words).encode())))


def test_a_node_says_which_addresses_are_its_own_and_how_full_its_table_is(tmp_path):
    node = fastnat.Node.example()
    node.sysctls["net.netfilter.nf_conntrack_max"] = "2"
    node.save(tmp_path / "node")
    mine = GOOD.replace("dst=1.1.1.1", "dst=198.51.100.10")
    (tmp_path / "dump").write_text(f"{GOOD}\n{mine}\n{mine.replace('dport=5 ', 'dport=6 ')}\n")
    plot = tmp_path / "ports.png"
    words = ["top", str(tmp_path / "dump"), "--node", str(tmp_path / "node"), "--plot", str(plot)]
    shown = CliRunner().invoke(group, words).output
    assert "1.1.1.1" not in shown
    assert "Table: 3 of nf_conntrack_max 2, 150%: the table is full" in shown
    assert plot.read_bytes().startswith(b"\x89PNG")
    # the kernel asks no more
    node.sysctls["net.netfilter.nf_conntrack_max"] = "0"
    node.save(tmp_path / "node")
    assert "Table: 3; nf_conntrack_max is 0: it has no limit." in CliRunner().invoke(group, words).output
    # nobody has said it
    del node.sysctls["net.netfilter.nf_conntrack_max"]
    node.save(tmp_path / "node")
    shown = CliRunner().invoke(group, words).output
    assert "Table: 3 of nf_conntrack_max 262,144 (assumed: the node's files do not say), 0%: room is left" in shown


def test_what_cannot_fail_is_not_searched(monkeypatch):
    """A gateway has a port space for each destination: hundreds of thousands in which one port is in use."""
    line = "udp 17 29 src=10.0.0.1 dst=9.9.{0}.{1} sport={2} dport=53 src=9.9.{0}.{1} dst=1.1.1.1 sport=53 dport={2}\n"
    text = "".join(line.format(k >> 8, k & 255, 2000 + k) for k in range(2000))
    text += "".join(line.format(9, 9, 5000 + k) for k in range(3000))
    dump = read(io.BytesIO(text.encode()))

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(port_spaces, "search_fails", refuse)
    found = spaces_of(dump, 5000)
    assert [s.fails for s in found] == [0.0] * 2001
    assert (found[0].used, found[1].used, len(found)) == (3000, 1, 2001)


@pytest.mark.parametrize("seed", range(30))
def test_no_distribution_of_ports_fails_more_than_at_most(seed):
    draw = np.random.default_rng(seed)
    taken = np.zeros(PORTS, np.bool_)
    begin, used = int(draw.integers(0, PORTS)), int(draw.integers(1, PORTS))
    # one block, which fails most, with some ports elsewhere
    block = used if seed % 2 else used * 3 // 4
    taken[(begin + np.arange(block)) % PORTS] = True
    taken[draw.permutation(np.flatnonzero(~taken))[: used - block]] = True
    assert used / PORTS * search_fails(taken) <= port_spaces.at_most(used)


@pytest.mark.parametrize("form", ["--json", "--csv"])
@pytest.mark.parametrize(("proto", "version"), list(itertools.product(["tcp", "udp", "sctp"], [4, 6])))
def test_every_form_prints_every_protocol(tmp_path, form, proto, version):
    """--json of a TCP dump once ended in a traceback."""
    nat = fastnat.Engine(make_dual(MASQUERADE, MASQUERADE))
    src, dst = {4: ("10.244.1.2", "203.0.113.9"), 6: ("fd00:1::2", "2001:db8:9::9")}[version]
    flags = {"tcp_flags": 2} if proto == "tcp" else {}
    fields = {"src": src, "dst": dst, "sport": range(5000, 5200), "dport": 80, "iface": "cni0"}
    nat.process(nat.packets(proto=proto, **fields, **flags))
    path = tmp_path / "dump"
    path.write_text(nat.conntrack.format("extended"))
    result = CliRunner().invoke(group, ["top", str(path), form])
    assert result.exit_code == 0, result.exception
    if form == "--json":
        (found,) = json.loads(result.output)["spaces"]
        assert (found["proto"], found["used"], found["connections"], found["free"]) == (proto, 200, 200, PORTS - 200)
        assert found["sources"] == [[src, 200]]
    else:
        assert f",{proto},{dst},80,200," in result.output


def test_with_rules_of_nftables_any_address_may_be_one_of_the_node(tmp_path):
    node = fastnat.Node()
    node.add_interface("eth0", ["198.51.100.10/24"])
    node.load_nft("table ip t { chain c { type nat hook postrouting priority 100; snat to 192.0.2.7 } }")
    node.save(tmp_path / "node")
    line = "udp 17 29 src=10.0.0.1 dst=9.9.9.9 sport=1 dport=53 src=9.9.9.9 dst=192.0.2.7 sport=53 dport=1\n"
    (tmp_path / "dump").write_text(line)
    result = CliRunner().invoke(group, ["top", str(tmp_path / "dump"), "--node", str(tmp_path / "node")])
    assert "192.0.2.7" in result.output


@pytest.mark.parametrize(("text", "said"), [
    ('<?xml version="1.0" encoding="utf-8"?>\n<conntrack>\n</conntrack>\n', "conntrack -L -o xml"),
    ("-A -t 55 -u UNSET -s 10.1.1.5 -d 10.2.2.2 -q 10.3.3.3 -p udp --sport 4 --dport 53\n", "conntrack -L -o save"),
    ("cpu=0 found=3 invalid=4\n", "as `conntrack -L` prints them"), ("hello\n", "as `conntrack -L` prints them"),
])  # fmt: skip
def test_what_is_no_dump_is_refused_by_every_command(text, said, tmp_path):
    """`--start-from` named each line and answered as if nothing were there."""
    path = tmp_path / "dump.txt"
    path.write_text(text)
    for command in (["top", path], ["trace", "--start-from", path], ["exhaust", "--flows", "9", "--start-from", path]):
        with pytest.raises(InputError, match=said):
            CliRunner().invoke(group, [*map(str, command)], catch_exceptions=False)
