"""Matches that ask who sends a packet, when it comes, and how many connections or bytes there were."""

import calendar
import datetime

import numpy as np
import pytest
from nodes import MASQUERADE, examples, flows, make_node

import fastnat
from fastnat import FastnatError, RuleError

LOCAL = {"proto": "udp", "src": "198.51.100.10", "dst": "203.0.113.9", "sport": 7, "dport": 53, "iface": "local"}
FORWARDED = {**LOCAL, "src": "10.244.1.2", "iface": "cni0"}
# what xt_owner says without a socket, and of one of user 1000 and group 100
OWNERS = [
    ("--uid-owner 1000", False, True), ("! --uid-owner 1000", True, False), ("--uid-owner 999-1001", False, True),
    ("--gid-owner 1000", False, False), ("! --gid-owner 1000", True, True), ("--socket-exists", False, True),
    ("--uid-owner 1000 --gid-owner 100", False, True), ("--uid-owner 1000 ! --gid-owner 100", False, False),
    ("! --uid-owner 5 --gid-owner 100", False, True), ("! --uid-owner 5 ! --gid-owner 6", True, True),
    ("! --socket-exists", True, False), ("! --socket-exists --uid-owner 1000", False, False),
    ("--gid-owner 100 --suppl-groups", False, True),
]  # fmt: skip


def drops(rule, **engine):
    """Return an engine that drops what a match holds for, when it leaves."""
    return fastnat.Engine(make_node(f"*mangle\n-A POSTROUTING {rule} -j DROP\nCOMMIT\n"), **engine)


def holds(nat, now=0.0, **fields):
    return bool(nat.process(nat.packets(**fields), now)["verdict"][0] == fastnat.Verdict.DROP)


@pytest.mark.parametrize(("said", "forwarded", "local"), OWNERS, ids=[o[0] for o in OWNERS])
def test_a_forwarded_packet_has_no_socket_and_a_local_one_has_its_owner(said, forwarded, local):
    nat = drops(f"-m owner {said}")
    nat.uid, nat.gid = 1000, 100
    assert (holds(nat, **FORWARDED), holds(nat, **LOCAL)) == (forwarded, local)
    assert nat.owner_assumed == []


def test_an_owner_that_nobody_gave_is_root_and_is_told():
    nat = drops("-m owner --uid-owner 0")
    assert not holds(nat, **FORWARDED) and nat.owner_assumed == []
    assert nat.trace(nat.packets(**LOCAL)).owner_assumed == ["uid"]
    assert holds(nat, **LOCAL) and nat.owner_assumed == ["uid"]
    nat.uid = 5
    assert not holds(nat, **LOCAL) and nat.owner_assumed == []
    assert nat.trace(nat.packets(**LOCAL)).owner_assumed == []
    for wrong in (-1, 2**32 - 1, "root", 1.5):
        with pytest.raises(FastnatError, match="uid"):
            nat.uid = wrong
    assert nat.uid == 5


def test_owner_stands_where_the_kernel_lets_it():
    for chains in (
        ":X - [0:0]\n-A INPUT -j X\n-A X",
        ":X - [0:0]\n:Y - [0:0]\n-A FORWARD -g Y\n-A Y -j X\n-A X",
        "-A INPUT",
    ):
        with pytest.raises(RuleError, match=r"owner' is valid only in OUTPUT, POSTROUTING, not in (INPUT|FORWARD)"):
            make_node(f"*filter\n{chains} -m owner --uid-owner 5 -j DROP\nCOMMIT\n")
    make_node("*filter\n:X - [0:0]\n-A OUTPUT -j X\n-A X -m owner --uid-owner 5 -j DROP\nCOMMIT\n")
    make_node("*filter\n:X - [0:0]\n-A X -m owner --uid-owner 5 -j DROP\nCOMMIT\n")


@pytest.mark.parametrize("dst", ["0.0.0.0", "127.0.0.1", "127.255.255.255", "198.51.100.10"])
def test_what_goes_round_by_lo_is_for_one_host_whatever_its_address(dst):
    # recorded: a neighbour on lo has the device's own address (arp_constructor), that of a broadcast, too
    for said, verdict in (("! --pkt-type unicast", "LOCAL"), ("--pkt-type unicast", "DROP")):
        nat = fastnat.Engine(make_node(f"*filter\n-A INPUT -m pkttype {said} -j DROP\nCOMMIT\n"))
        result = nat.process(nat.packets(**{**LOCAL, "src": "127.0.0.1", "dst": dst}), 0.0)
        assert result["verdict"][0] == fastnat.Verdict[verdict], said


def at(text):
    return float(calendar.timegm(datetime.datetime.fromisoformat(text).timetuple()))


TIMES = [
    ("--timestart 08:00 --timestop 17:00",
     "2026-11-26T08:00:00 2026-11-26T17:00:00", "2026-11-26T07:59:59 2026-11-26T17:00:01"),
    ("--timestart 22:00 --timestop 02:00",
     "2026-11-26T22:00:00 2026-11-27T02:00:00", "2026-11-26T21:59:59 2026-11-27T02:00:01"),
    ("--weekdays Thu,6",
     "2026-11-26T00:00:00 2026-11-28T23:59:59", "2026-11-25T23:59:59 2026-11-27T12:00:00"),
    ("! --weekdays Sun",
     "2026-11-28T00:00:00", "2026-11-29T00:00:00 1970-01-04T00:00:00"),
    ("--monthdays 29,31",
     "2024-02-29T12:00:00 2026-12-31T12:00:00", "2026-03-01T00:00:00 2026-02-28T23:59:59"),
    ("! --monthdays 1",
     "1999-12-31T23:59:59", "2000-03-01T00:00:00 2036-01-01T00:00:00"),
    ("--datestart 2026-11-26T12:00 --datestop 2026-12",
     "2026-11-26T12:00:00 2026-12-01T00:00:00", "2026-11-26T11:59:59 2026-12-01T00:00:01"),
    ("--weekdays Thu --timestart 22:00 --timestop 02:00",
     "2026-11-26T23:00:00 2026-11-26T01:00:00", "2026-11-27T01:00:00"),
    ("--weekdays Thu --timestart 22:00 --timestop 02:00 --contiguous",
     "2026-11-26T23:00:00 2026-11-27T01:00:00", "2026-11-26T01:00:00"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "inside", "outside"), TIMES, ids=[t[0] for t in TIMES])
def test_the_date_is_that_of_the_epoch(said, inside, outside):
    for texts, expected in ((inside, True), (outside, False)):
        for text in texts.split():
            early = drops(f"-m time {said}", epoch=0.0)
            late = drops(f"-m time {said}", epoch=at(text) - 100.0)
            assert holds(early, at(text), **FORWARDED) is expected, text
            assert holds(late, 100.0, **FORWARDED) is expected, text


def test_every_day_of_the_calendar():
    """monthday and weekday beside those of Python, for days drawn over the years that --datestart knows."""
    rng = np.random.default_rng(17)
    for day in rng.integers(0, 24_000, examples(40)).tolist():
        date = datetime.date(1970, 1, 1) + datetime.timedelta(day)
        held = f"--monthdays {date.day}", f"--weekdays {date.isoweekday()}"
        not_held = f"! --monthdays {date.day}", f"! --weekdays {date:%a}"
        for said, expected in [*((w, True) for w in held), *((w, False) for w in not_held)]:
            assert holds(drops(f"-m time {said}", epoch=day * 86400.0 + 5), **FORWARDED) is expected, (date, said)


def test_an_engine_without_a_date_refuses_rules_that_ask_for_it():
    rules = "*mangle\n-A POSTROUTING -m time --weekdays Mon -j DROP\nCOMMIT\n"
    with pytest.raises(RuleError, match=r"rules>:2: match 'time' needs a date: give Engine\(epoch="):
        fastnat.Engine(make_node(rules))
    node = make_node()
    node.load_rules(rules, lenient=True)
    nat = fastnat.Engine(node)
    assert not holds(nat, **FORWARDED) and "never matches" in node.rules.warnings[0]
    with pytest.raises(FastnatError, match="no date"):
        nat.epoch = 5.0
    for wrong in (-1, float("nan"), "now", 1e300):
        with pytest.raises(FastnatError, match="epoch"):
            fastnat.Engine(node, epoch=wrong)


COUNTING = (
    "*filter\n-A FORWARD -m connlimit --connlimit-above 5 --connlimit-mask 24 --connlimit-saddr -j DROP\n"
    "-A FORWARD -p udp -m quota --quota 4000 -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n" + MASQUERADE
)


def counted(nat, now, seed):
    rng = np.random.default_rng(seed)
    batch = flows(nat, 40, src=rng.integers(0x0AF40200, 0x0AF40600, 40).astype(np.uint32), sport=rng.integers(1, 9, 40))
    return nat.process(batch, now)["verdict"].tolist()


def test_connlimit_and_quota_go_on_in_forks_and_saved_states(tmp_path):
    nat = fastnat.Engine(make_node(COUNTING))
    counted(nat, 1.0, 1)
    nat.uid = 7
    nat.save(tmp_path / "state")
    others = [nat.fork(), fastnat.Engine.restore(tmp_path / "state")]
    assert others[1].uid == 7
    # the first connections are over by the last time
    for now, seed in ((2.0, 2), (20.0, 3), (45.0, 4), (80.0, 5)):
        expected = counted(nat, now, seed)
        for other in others:
            assert counted(other, now, seed) == expected
            other.check()
    assert {0, 2} <= set(expected) | set(counted(nat, 90.0, 6))


def test_connlimit_forgets_what_is_over_when_it_has_no_room():
    rules = "*filter\n-A FORWARD -m connlimit --connlimit-above 2 --connlimit-mask 32 -j DROP\nCOMMIT\n"
    nat = fastnat.Engine(make_node(rules + MASQUERADE), max_connections=50)
    for n in range(20):
        out = nat.process(flows(nat, 40, sport=1000 + n), 100.0 * n)
        assert (out["verdict"] == fastnat.Verdict.FORWARD).all()
        nat.check()
    assert len(nat.core_of(4).arrays["connlimits"]) == 100


def test_connlimit_forgets_clients_that_come_no_more():
    """Each client once: nobody looks at its list again, and all of them together would not fit."""
    rules = "*filter\n-A FORWARD -m connlimit --connlimit-above 2 --connlimit-mask 32 -j DROP\nCOMMIT\n"
    nat = fastnat.Engine(make_node(rules + MASQUERADE), max_connections=50)
    for n in range(130):
        batch = nat.packets(proto="udp", src=f"10.244.1.{n + 2}", sport=1000, dst="203.0.113.9", dport=53, iface="cni0")
        assert nat.process(batch, 100.0 * n)["verdict"][0] == fastnat.Verdict.FORWARD
        nat.check()
    assert nat.core_of(4).tables["connlimits"] == 100


@pytest.mark.parametrize(("said", "there", "gone"), [
    ("1/hour --hashlimit-burst 1", 3599, 3601), ("1/minute --hashlimit-burst 1", 59, 61),
    ("1/hour --hashlimit-burst 1 --hashlimit-htable-expire 5000", 4, 6), ("16b/s", 0.1, 16),
    ("16b/s --hashlimit-burst 32b", 0.1, 61),
])  # fmt: skip
def test_a_bucket_of_hashlimit_lives_as_long_as_the_unit_of_its_rate(said, there, gone):
    """A new one lets pass what the old one had no credit for."""
    for later, passes in ((there, False), (gone, True)):
        limit = f"-m hashlimit --hashlimit-upto {said} --hashlimit-name H"
        nat = fastnat.Engine(make_node(f"*filter\n-A FORWARD {limit} -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n"))
        batch = flows(nat, 1, length=5000)
        while nat.process(batch, 0.0)["verdict"][0] == fastnat.Verdict.FORWARD:
            pass
        assert (nat.process(batch, float(later))["verdict"][0] == fastnat.Verdict.FORWARD) == passes, later


def test_windows_of_a_rate_match():
    """Five a second and a burst of three: eight pass in a window; one that had too many closes the next one."""
    rule = "--hashlimit-upto 5/sec --hashlimit-burst 3 --hashlimit-rate-match --hashlimit-htable-expire 60000"
    rules = f"*filter\n-A FORWARD -m hashlimit {rule} --hashlimit-name R -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n"
    nat = fastnat.Engine(make_node(rules))
    passed = [int((nat.process(flows(nat, n), t)["verdict"] == fastnat.Verdict.FORWARD).sum())
              for t, n in ((0.0, 12), (1.1, 4), (2.2, 4), (2.3, 9), (30.0, 12))]  # fmt: skip
    assert passed == [8, 0, 4, 4, 8]


def test_a_rule_with_connbytes_turns_accounting_on():
    rule = "-m connbytes --connbytes 2 --connbytes-dir both --connbytes-mode packets -j DROP"
    nat = fastnat.Engine(make_node(f"*filter\n-A FORWARD {rule}\nCOMMIT\n" + MASQUERADE))
    assert [nat.process(flows(nat, 1))["verdict"][0] for _ in range(2)] == [
        fastnat.Verdict.FORWARD,
        fastnat.Verdict.DROP,
    ]
    assert "packets=2 bytes=" in nat.conntrack.format()


def test_what_nothing_tracks_is_counted_once():
    """The entry of an untracked packet is over when the next one comes, as the kernel's is."""
    raw = "*raw\n-A PREROUTING -j NOTRACK\nCOMMIT\n"
    nat = fastnat.Engine(make_node(raw + "*filter\n-A FORWARD -m connlimit --connlimit-above 1 -j DROP\nCOMMIT\n"))
    out = nat.process(flows(nat, 6, src="10.244.1.5", sport=np.arange(6)), np.arange(6) / 100)
    assert (out["verdict"] == fastnat.Verdict.FORWARD).all()


@pytest.mark.parametrize(("profile", "passes"), [("linux-6.18", 1), ("linux-5.4", 0)])
def test_assured_connections_and_connlimit(profile, passes):
    """Three established flows meet the rule behind a new one: only linux-5.4 counts them."""
    rules = "*filter\n-A FORWARD -m mark --mark 1 -m connlimit --connlimit-above 2 -j DROP\nCOMMIT\n" + MASQUERADE
    nat = fastnat.Engine(make_node(rules), profile=profile)
    old = [nat.connect("tcp", "10.244.1.5", 1000 + n, "203.0.113.9", 80, 1.0, "cni0") for n in range(3)]
    for c in old:
        src, dst, sport, dport = c.reply
        back = nat.packets(proto="tcp", src=src, sport=sport, dst=dst, dport=dport, iface="eth0", tcp_flags=0x12)
        nat.process(back, 1.0)
    there = {"proto": "tcp", "src": "10.244.1.5", "dst": "203.0.113.9", "dport": 80, "iface": "cni0"}
    nat.process(nat.packets(**there, sport=[1000, 1001, 1002], tcp_flags=0x10), 1.0)
    new = nat.packets(**there, sport=[2000, 2001], tcp_flags=2, mark=1)
    assert nat.process(new[:1], 2.0)["verdict"][0] == fastnat.Verdict.FORWARD
    nat.process(nat.packets(**there, sport=[1000, 1001, 1002], tcp_flags=0x10, mark=1), 3.0)
    assert (nat.process(new[1:], 4.0)["verdict"][0] == fastnat.Verdict.FORWARD) == bool(passes)
