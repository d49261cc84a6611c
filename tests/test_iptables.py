import pytest

from fastnat import RuleError, iptables

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
        ("-A POSTROUTING -s 1.2.3 -j ACCEPT", "'1.2.3' is not an IPv4 address"),
        ("-A POSTROUTING -j MASQUERADE --to-ports 1-2", "Need TCP, UDP"),
        ("-A POSTROUTING -p udp -j MASQUERADE --to-ports 70000", "'70000' not valid"),
        ("-A POSTROUTING -p udp -j MASQUERADE --to-ports 10-5", "funky"),
        ("-A POSTROUTING -j SNAT", "--to-source"),
        ("-A POSTROUTING -j DROP", "inhibited"),
        ("-A POSTROUTING -j NOWHERE", "no chain or supported target 'NOWHERE'"),
        ("-A PREROUTING -j MASQUERADE", "nat table, chains POSTROUTING"),
        ("-A POSTROUTING -i eth0 -j ACCEPT", "Can't use -i with POSTROUTING"),
        ('-A POSTROUTING -m comment --comment "open -j ACCEPT', "never closed"),
        ("-A POSTROUTING -m frob -j ACCEPT", "match 'frob' is not supported"),
        ("-A POSTROUTING -p udp --dport", "needs a port"),
        ("hello", "is no rule"),
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
