"""The view of the table, and its text."""

import random

import numpy as np
import pytest
from nodes import flows, make_node

import fastnat
from fastnat import InputError
from fastnat.addresses import V4


@pytest.fixture
def nat():
    engine = fastnat.Engine(make_node())
    engine.process(flows(engine, 3))
    return engine


def test_text_is_that_of_the_tools(nat):
    first = nat.conntrack.find("udp", "10.244.2.2", 40000, "203.0.113.10", 53)
    text = (
        "udp      17 30 src=10.244.2.2 dst=203.0.113.10 sport=40000 dport=53 [UNREPLIED] "
        "src=203.0.113.10 dst=198.51.100.10 sport=53 dport=40000 mark=0"
    )
    assert str(first) == text + " use=1"
    assert f"ipv4     2 {text} use=1" in nat.conntrack.format("extended")
    assert f"ipv4     2 {text} zone=0 use=2" in nat.conntrack.format("proc")
    with pytest.raises(ValueError, match="expected conntrack, extended or proc"):
        nat.conntrack.format("xml")


def test_gre_in_the_file_of_proc_shows_its_timeouts():
    node = make_node()
    node.sysctls["net.netfilter.nf_conntrack_gre_timeout"] = "40"
    nat = fastnat.Engine(node)
    nat.process(nat.packets(proto="gre", src="10.244.2.2", dst="203.0.113.10", sport=0, dport=0, iface="cni0"))
    assert nat.conntrack.format("proc").startswith(
        "ipv4     2 gre      47 40 timeout=40, stream_timeout=180 src=10.244.2.2 dst=203.0.113.10 srckey=0x0 "
    )
    assert "timeout=" not in nat.conntrack.format("extended")


@pytest.mark.parametrize(("profile", "failed"), [("linux-5.4", 1), ("linux-6.18", 0)])
def test_an_entry_that_exists_is_refused_and_counted(profile, failed):
    """conntrack -I: `insert` counts entries made by hand; a second one counts as failed under linux-5.4 alone."""
    nat = fastnat.Engine(make_node(), profile)
    line = "udp 17 29 src=10.1.0.2 dst=10.2.0.2 sport=5 dport=53 src=10.2.0.2 dst=10.2.0.1 sport=53 dport=5 mark=0"
    nat.conntrack.load(line)
    with pytest.raises(fastnat.InputError, match="a connection with this tuple exists"):
        nat.conntrack.load(line)
    assert (nat.stats["insert"], nat.stats["insert_failed"], len(nat.conntrack)) == (1, failed, 1)


def test_delete_and_flush(nat):
    first = next(iter(nat.conntrack))
    nat.conntrack.delete(first)
    assert len(nat.conntrack) == 2
    with pytest.raises(IndexError):
        nat.conntrack.delete(first)
    with pytest.raises(IndexError):
        nat.conntrack.delete(10**6)
    assert nat.conntrack.flush() == 2
    assert nat.conntrack.find("udp", "10.244.2.2", 40000, "203.0.113.10", 53) is None
    nat.stacks[4].core.check_invariants()


def test_records_are_arrays(nat):
    rows = nat.conntrack.to_numpy()
    assert rows["sport"].tolist() == [40000] * 3
    assert rows["reply_dst"].tolist() == [V4.to_int("198.51.100.10")] * 3
    assert all(kind.names is None and not kind.shape for kind, *_ in rows.dtype.fields.values())
    assert nat.ports("198.51.100.10", "udp", "203.0.113.10", 53) == {"used": 3, "free": 64509, "total": 64512}


DUMP = """udp      17 29 src=10.244.2.2 dst=203.0.113.10 sport=40000 dport=53 [UNREPLIED] src=203.0.113.10 dst=198.51.100.10 sport=53 dport=41000 mark=7 use=1
ipv4     2 tcp      6 431999 ESTABLISHED src=10.244.2.3 dst=203.0.113.9 sport=4000 dport=80 src=203.0.113.9 dst=198.51.100.10 sport=80 dport=4000 [ASSURED] mark=0 use=1
ipv4     2 icmp     1 29 src=10.244.2.4 dst=203.0.113.9 type=8 code=0 id=77 src=203.0.113.9 dst=198.51.100.10 type=0 code=0 id=77 mark=0 zone=0 use=2
tcp      6 10 TIME_WAIT src=203.0.113.5 dst=198.51.100.10 sport=9 dport=30080 src=10.244.1.7 dst=203.0.113.5 sport=80 dport=9 [ASSURED] mark=0 use=1
"""  # noqa: E501 (lines exactly as the tool prints them)


def test_a_dump_comes_back_as_it_was():
    engine = fastnat.Engine(make_node())
    assert engine.conntrack.load(DUMP) == 4
    text = engine.conntrack.format("conntrack")
    for line in DUMP.splitlines():
        words = line.replace("ipv4     2 ", "").replace(" zone=0 use=2", " use=1")
        assert words in text
    engine.stacks[4].core.check_invariants()
    first = next(iter(engine.conntrack))
    assert first.status & fastnat.Status.SRC_NAT
    assert not first.status & fastnat.Status.DST_NAT
    back = engine.packets(proto="udp", src="203.0.113.10", sport=53, dst="198.51.100.10", dport=41000, iface="eth0")
    assert engine.process(back)["dport"][0] == 40000
    # the same source reuses its mapping elsewhere
    again = engine.packets(proto="udp", src="10.244.2.2", sport=40000, dst="203.0.113.77", dport=53, iface="cni0")
    assert engine.process(again)["sport"][0] == 41000


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (DUMP.splitlines()[0][:90], "is the line cut"),
        (DUMP.splitlines()[1].replace("ESTABLISHED ", ""), "no tcp state"),
        ("hello world", "expected protocol"),
        (DUMP.splitlines()[0], "exists"),
        (DUMP.splitlines()[0].replace("10.244.2.2", "10.244.2.999"), "10.244.2.999"),
    ],
)
def test_a_broken_dump_names_its_line_and_loads_nothing(line, says):
    engine = fastnat.Engine(make_node())
    with pytest.raises(fastnat.InputError, match=rf"dump\.txt:5: .*{says}"):
        engine.conntrack.load(DUMP + line, "dump.txt")
    assert len(engine.conntrack) == 0


LINE = (
    "tcp 6 {} src=10.244.1.{} dst=203.0.113.10 sport=5 dport=443 src=203.0.113.10 dst=198.51.100.10 sport=443 dport={} "
    "mark={} use=1\n"
)


def test_a_line_that_cannot_be_costs_only_itself():
    good = "".join(LINE.format("100 TIME_WAIT", n, 2000 + n, 0) for n in range(1, 101))
    bad = (
        LINE.format("100 TIME_WAIT", 1, 2001, 0), LINE.format("100 TIME_WAITING", 150, 4000, 0),
        LINE.format("100 ESTABLISHED", 151, 4001, "0x10"), LINE.format("100 ESTABLISHED", 152, 70_000, 0),
        "what is this\n",
    )  # fmt: skip
    nat, left_out = fastnat.Engine(make_node()), []
    assert nat.conntrack.load(good + "".join(bad) + LINE.format("9 CLOSE", 200, 9000, 0), "dump", left_out) == 101
    assert [said.split(": ")[0] for said in left_out] == [f"dump:{n}" for n in range(101, 106)]
    for said, word in zip(left_out, ("exists", "no tcp state", "mark", "70000", "expected protocol"), strict=True):
        assert word in said
    with pytest.raises(InputError, match="dump:102"):
        fastnat.Engine(make_node()).conntrack.load(good + "".join(bad), "dump")


def test_plain_lines_are_read_as_all_others_are():
    """The columns that a large dump is read in against parse_line."""
    rng = random.Random(5)
    lines = []
    for n in range(500):
        state, zone = rng.choice(["", "ESTABLISHED ", "TIME_WAIT ", "SYN_SENT2 "]), rng.choice(["", "zone=7 "])
        near = f"src=10.0.{n // 250}.{n % 250} dst=1.2.3.4 sport={rng.randrange(65536)} dport=53 "
        far = f"src=1.2.3.{rng.choice([4, 5])} dst=10.0.{n // 250}.{n % 250 + rng.choice([0, 1])} sport=53 dport={n} "
        flags = rng.choice(["", "[UNREPLIED] "]), rng.choice(["", "[ASSURED] "])
        head = rng.choice(["", "ipv4     2 "]) + ("tcp      6" if state else "udp      17")
        lines.append(f"{head} {rng.randrange(500)} {state}{near}{flags[0]}{far}{flags[1]}mark={n % 3} {zone}use=1")
    plain, slow = fastnat.Engine(make_node()), fastnat.Engine(make_node())
    assert plain.conntrack.load("\n".join(lines)) == 500
    # two blanks are not what the columns take
    assert slow.conntrack.load("\n".join(line.replace(" src=", "  src=", 1) for line in lines)) == 500
    assert plain.conntrack.format() == slow.conntrack.format()
    assert (plain.conntrack.to_numpy()["status"] == slow.conntrack.to_numpy()["status"]).all()


def test_closed_connections_of_a_dump_have_sequences_of_their_own():
    line = LINE.replace("sport=5 ", "sport={} ")
    text = "".join(line.format("100 TIME_WAIT", n % 250, n, 2000 + n, 0) for n in range(1, 2000))
    engines = [fastnat.Engine(make_node(), seed=s) for s in (1, 1, 2)]
    ends = []
    for nat in engines:
        nat.conntrack.load(text)
        ends.append(nat.stacks[4].core.arrays["tcp"]["td_end"][: len(nat.conntrack), 0].copy())
    assert (ends[0] == ends[1]).all()
    assert (ends[0] != ends[2]).all()
    assert 0.45 < (ends[0].view(np.int32) > 0).mean() < 0.55
