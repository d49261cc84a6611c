import ipaddress
import random

import pytest

from fastnat import RuleError, iptables
from fastnat.addresses import V6
from fastnat.iptables import parse
from fastnat.iptables.needed import HAVE

GOOD = """*nat\r
:PREROUTING ACCEPT [1:2]\r
:X - [0:0]\r
[3:4] -A PREROUTING -p tcp -m multiport --dports 80,443,8000:8010 -m comment --comment "a \\"b\\"" -j X\r
-A X ! -s 10.0.0.0/8 -i veth+ -j RETURN
"""


def test_text_as_people_have_it():
    table = iptables.parse(GOOD).tables["nat"]
    rule = table.chains["PREROUTING"].rules[0]
    assert (rule.packets, rule.bytes) == (3, 4)
    assert rule.matches[0].values == (1, 80, 80, 443, 443, 8000, 8010)
    assert table.chains["X"].rules[0].invert_src


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("-A POSTROUTING --frobnicate 1 -j ACCEPT", "unknown option '--frobnicate'"),
        ("-A POSTROUTING -s 1.2.3.400 -j ACCEPT", "'1.2.3.400' is not an IPv4 address"),
        ("-A POSTROUTING -j MASQUERADE --to-ports 1-2", "Need TCP, UDP"),
        ("-A POSTROUTING -p udp -j MASQUERADE --to-ports 70000", "'70000' not valid"),
        ("-A POSTROUTING -p udp -j MASQUERADE --to-ports 10-5", "funky"),
        ("-A POSTROUTING -j SNAT", "--to-source"),
        ("-A OUTPUT -m owner --uid-owner istio -j RETURN", "names of the node's users and groups are unknown"),
        ("-A PREROUTING -m owner --uid-owner 5 -j RETURN", "valid only in OUTPUT, POSTROUTING, not in PREROUTING"),
        ("-A OUTPUT -m cgroup --cgroup 5 -j RETURN", "packets here have no socket"),
        ("-A PREROUTING -j TPROXY --on-port 5", "TPROXY works only with -p tcp or -p udp"),
        ("-A PREROUTING -p tcp -m socket -j DROP", "sockets of the node's own services, which are not known"),
        ("-A PREROUTING -j NFQUEUE --queue-num 1", "another program decides, unless it says --queue-bypass"),
        ("-A PREROUTING -p tcp -j DNAT --to-destination 1.1.1.1 --to-destination 1.1.1.2", "Multiple --to-destination"),
        ("-A PREROUTING -j DSCP --set-dscp 5", "only in the mangle table"),
        ("-A PREROUTING -j REJECT", "only in the filter table"),
        ("-A PREROUTING -p tcp -j CT --helper sip", "expected one of ftp, tftp, pptp"),
        ("table ip nat {", "this is `nft list ruleset`"),
        ("-A PREROUTING -m hashlimit --hashlimit-upto fast -j ACCEPT", "expected for example 3/minute"),
        ("-A PREROUTING -m hashlimit --hashlimit-mode color -j ACCEPT", "'color' is not one of dstip, dstport"),
        ("-D PREROUTING 3", "has 0 rules, but no rule number 3"),
        ("-D PREROUTING -j ACCEPT", "no such rule to delete"),
        ("-A POSTROUTING -j DROP", "inhibited"),
        ("-A POSTROUTING -j NOWHERE", "no chain or supported target 'NOWHERE'"),
        ("-A PREROUTING -j MASQUERADE", "nat table, chains POSTROUTING"),
        ("-A PREROUTING -m time --timestart 25:00 -j ACCEPT", "invalid time '25:00': hh:mm[:ss]"),
        ("-A PREROUTING -m time --datestart 2026-13 -j ACCEPT", "invalid date '2026-13'"),
        ("-A PREROUTING -m connlimit --connlimit-saddr -j ACCEPT", "--connlimit-above or --connlimit-upto must be"),
        ("-A PREROUTING -m rt --rt-type 0 -j ACCEPT", "'rt' is one of IPv6"),
        ("-A POSTROUTING -i eth0 -j ACCEPT", "Can't use -i with POSTROUTING"),
        ('-A POSTROUTING -m comment --comment "open -j ACCEPT', "never closed"),
        ("-A POSTROUTING -m frob -j ACCEPT", "unknown match 'frob'"),
        ("-A POSTROUTING -p udp --dport", "needs a port"),
        ("hello", "is not a rule"),
    ],
)
def test_errors_name_file_line_and_option(rule, says):
    with pytest.raises(RuleError) as error:
        iptables.parse(f"*nat\n{rule}\nCOMMIT\n", "rules.v4")
    assert "rules.v4:2" in str(error.value)
    assert says in str(error.value)


def test_loops_are_refused():
    with pytest.raises(RuleError, match="A -> B -> A"):
        iptables.parse("*nat\n:A - [0:0]\n:B - [0:0]\n-A A -j B\n-A B -g A\nCOMMIT\n")


@pytest.mark.parametrize(
    ("rule", "low"),
    [("-A POSTROUTING -j SNAT --to 192.0.2.1", 0xC0000201), ("-A PREROUTING -j DNAT --to 192.0.2.2", 0xC0000202)],
)
def test_shortened_options_are_those_of_getopt(rule, low):
    target = next(r for c in iptables.parse(rule).tables["nat"].chains.values() for r in c.rules).target
    assert target.min_addr == low


def test_commands_of_scripts():
    """Insertion by number, deletion, flushing, lists of addresses, names of services and protocols."""
    text = """iptables -t nat -F
iptables -t nat -A POSTROUTING -s 10.0.0.0/8,192.168.0.0/16 -d 1.1.1.1,2.2.2.2 -j MASQUERADE
iptables -t nat -I POSTROUTING 2 -p tcp --dport imaps -j ACCEPT
iptables -t nat -I POSTROUTING -p vrrp -j ACCEPT
iptables -t nat -D POSTROUTING -s 10.0.0.0/8 -d 2.2.2.2 -j MASQUERADE
iptables -t nat -D POSTROUTING 2
iptables -t nat -N GONE
iptables -t nat -X GONE
iptables -t nat -Z
"""
    table = iptables.parse(text).tables["nat"]
    assert "GONE" not in table.chains
    left = table.chains["POSTROUTING"].rules
    shown = [(r.proto, r.src >> 24, r.dst >> 24, *(m.values for m in r.matches)) for r in left]
    assert shown == [(112, 0, 0), (6, 0, 0, (993, 993)), (0, 192, 1), (0, 192, 2)]


def test_options_that_several_modules_share():
    """--mode and --proto of policy are not those of statistic and of every rule; --set of -m set is --match-set."""
    text = """*nat
-A POSTROUTING -p tcp -m policy --dir out --pol ipsec --proto esp --mode tunnel --reqid 5 --strict -j ACCEPT
-A POSTROUTING -m set ! --set NAME src -j ACCEPT
"""
    policy, of_set = iptables.parse(text).tables["nat"].chains["POSTROUTING"].rules
    assert policy.proto == 6
    assert [m.kind for m in policy.matches] == ["const"]
    assert (of_set.matches[0].kind, of_set.matches[0].name, of_set.matches[0].invert) == ("set", "NAME", True)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff{}",
        "root@OpenWrt:/# iptables-save\n{}root@OpenWrt:/# ",
        "[root@node ~]# iptables-save -c | head\n{}[root@node ~]# exit\n",
        "$ sudo /sbin/iptables-save -t nat\n{}",
    ],
)
def test_what_a_terminal_shows_around_a_dump_is_no_rule(text):
    dump = '*nat\n:POSTROUTING ACCEPT [1:2]\n[3:4] -A POSTROUTING -m comment --comment "a@b# c" -j MASQUERADE\nCOMMIT\n'
    plain, pasted = iptables.parse(dump), iptables.parse(text.format(dump))
    assert [len(r.tables["nat"].chains["POSTROUTING"].rules) for r in (plain, pasted)] == [1, 1]
    assert list(pasted.tables) == ["nat"]


def test_a_dump_out_of_a_containers_log():
    logged = "app-1  | *nat\napp-1  | -A POSTROUTING -j MASQUERADE\napp-1  | COMMIT\napp-1  | ready\n"
    with pytest.raises(RuleError, match="<rules>:4: 'ready' is not a rule"):
        iptables.parse(logged)
    rules = iptables.parse(logged.replace("app-1  | ready\n", ""))
    assert len(rules.tables["nat"].chains["POSTROUTING"].rules) == 1


def test_a_listing_command_names_the_table_of_what_it_shows():
    rules = iptables.parse("root@node:~# iptables -S FORWARD\n-P FORWARD DROP\n-A FORWARD -i eth0 -j ACCEPT\n")
    assert list(rules.tables) == ["filter"]
    assert rules.tables["filter"].chains["FORWARD"].policy == "DROP"


@pytest.mark.parametrize(
    ("said", "low", "high", "ports"),
    [
        ("::c633:640a", "::c633:640a", "::c633:640a", None), ("::1-::2", "::1", "::2", None),
        (":53", None, None, (53, 53)),
        ("[::c633:640a]:53", "::c633:640a", "::c633:640a", (53, 53)), ("[]:53", None, None, (53, 53)),
        ("[::1]-[::2]:53-54", "::1", "::2", (53, 54)), ("fd00::1", "fd00::1", "fd00::1", None),
    ],
)  # fmt: skip
def test_where_dnat_of_ipv6_leads(said, low, high, ports):
    """As ip6tables 1.8.9 reads and prints them: what begins with two colons is an address, with one a port."""
    rule = f"*nat\n-A PREROUTING -p udp -j DNAT --to-destination {said}\nCOMMIT\n"
    target = iptables.parse(rule, "rules.v6", family=V6).tables["nat"].chains["PREROUTING"].rules[0].target
    assert (target.min_addr, target.max_addr) == tuple(int(ipaddress.ip_address(a or "::")) for a in (low, high))
    assert (target.min_proto, target.max_proto) == (ports or (0, 0))


def test_a_table_that_stands_twice_is_what_the_second_says():
    """As iptables-legacy-restore has it (recorded): of the first one, only the policies stay."""
    text = (
        "*filter\n:INPUT DROP [1:2]\n:X - [0:0]\n-A INPUT -s 10.0.0.1 -j X\n-A X -j ACCEPT\nCOMMIT\n*nat\nCOMMIT\n"
        "*filter\n:FORWARD DROP [0:0]\n-A INPUT -s 10.0.0.2 -j DROP\nCOMMIT\n"
    )
    rules = iptables.parse(text)
    chains = rules.tables["filter"].chains
    assert {name: (c.policy, c.packets, c.bytes, len(c.rules)) for name, c in chains.items()} == {
        "INPUT": ("DROP", 0, 0, 1), "FORWARD": ("DROP", 0, 0, 0), "OUTPUT": ("ACCEPT", 0, 0, 0),
    }  # fmt: skip
    assert chains["INPUT"].rules[0].text == "-A INPUT -s 10.0.0.2 -j DROP"
    said = "<rules>:9: a second *filter: as iptables-restore has it, what line 1 begins is gone"
    assert rules.warnings == [said]
    # commands go on with what is there
    commands = "iptables -t nat -A POSTROUTING -j MASQUERADE\niptables -A INPUT -j DROP\n" * 2
    tables = iptables.parse(commands).tables
    assert [len(tables["nat"].chains["POSTROUTING"].rules), len(tables["filter"].chains["INPUT"].rules)] == [2, 2]


VALUES = (
    "LOCAL",
    "NEW",
    "1",
    "1:2",
    "Mon,Tue",
    "10:00",
    "random",
    "0.5",
    "3/second",
    "eth0",
    "x",
    "10.0.0.1-10.0.0.9",
    "",
)


@pytest.mark.parametrize("seed", range(4))
def test_an_option_stands_behind_its_match(seed):
    """iptables does not know the options of a match that no -m has named; some ended in a traceback."""
    rng = random.Random(seed)
    for option, names in HAVE.items():
        before = rng.choice(["", "-p tcp ", "-p tcp -m tcp --dport 3 ", "-m comment --comment x ", "-j LOG "])
        rule = f"{before}{rng.choice(['', '! '])}{option} {rng.choice(VALUES)} -j ACCEPT"
        if not any(f"-m {name} " in before for name in names):
            with pytest.raises(RuleError, match=r"unknown option|cannot be inverted|used once|needs -p"):
                parse(f"*filter\n-A FORWARD {rule}\nCOMMIT\n")


@pytest.mark.parametrize("seed", range(3))
def test_an_exclamation_mark_that_inverts_nothing_is_refused(seed):
    """Old iptables wrote `-s ! 10.0.0.1`, which is read; nobody wrote two, or one in front of what a target takes."""
    rng = random.Random(seed)
    parse('*filter\n-A FORWARD -s ! 10.0.0.1 -p ! tcp -m comment --comment "!" -j DROP\nCOMMIT\n')
    rules = [
        "! ! -s 10.0.0.1 -j DROP", "! -s ! 10.0.0.1 -j DROP", "-s ! ! 10.0.0.1 -j DROP", "-j ! DROP",
        "-m ! ttl --ttl-lt 5", "-j MARK --set-mark ! 3", "-m limit --limit ! 3/second",
        "-m recent --name ! x --set",
    ]  # fmt: skip
    for rule in rng.sample(rules, 6):
        with pytest.raises(RuleError, match="!"):
            parse(f"*mangle\n-A FORWARD {rule}\nCOMMIT\n")
