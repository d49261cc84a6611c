"""Rules read by their shapes: the same rules, warnings and errors as the general parser has."""

import random

import pytest
from fuzz import programs

from fastnat import iptables
from fastnat.addresses import V4, V6
from fastnat.iptables import needed, refused, shapes, targets

# plain values first: where the others stand seldom, shapes are learned
ADDRESSES = {
    V4: ("10.0.0.1/32", "10.1.2.3/24", "192.0.2.7", "198.18.77.4/30", "0.0.0.0/0", "10.0.0.1/255.255.0.255", "10/8",
         "10.0.0.1/", "10.0.0.1/032", "10.0.0.256", "10.0.0.1/33", "1.2.3.4,5.6.7.8", "host", "-1", "10.0.0.1/0x8"),
    V6: ("2001:db8::1/128", "2001:db8::/32", "fe80::1", "2001:2::4/126", "::/0", "::ffff:10.0.0.1", "2001:db8::1/",
         "2001:db8::1/ffff::", "2001:db8::1/129", "1::2::3", "fe80::1%eth0", "::1,::2", "10.0.0.1", "::01.2.3.4"),
}  # fmt: skip
TO = {
    V4: ("10.0.0.1:80", "10.0.0.2:8080", "10.0.0.3:54323", "10.0.0.1", "10.0.0.1-10.0.0.9:80", ":80", "10.0.0.1:0",
         "10.0.0.1:080", "10.0.0.1:80-90", "10.0.0.1:http", "10.0.0.1:65536", "10.0.0:80"),
    V6: ("[2001:db8::1]:80", "[2001:db8::2]:8080", "2001:db8::1", "[2001:db8::1]", "[::1]-[::9]:80", ":80", "[::1]:080",
         "[::1]:65536", "::1:80", "[::1:80"),
}  # fmt: skip
PORTS = ("80", "443", "54321", "54322", "1024:65535", "0", "080", "0x50", "http", "90:80", ":80", "65536", "8o", "! 80")
CHAINS = ("KUBE-A", "KUBE-B", "made-up-chain", "made-up-target", "PREROUTING", "POSTROUTING", "NOT-THERE", "--x", "!Y")
JUMPS = ("KUBE-B", "KUBE-MARK", "ACCEPT", "MASQUERADE", "RETURN", "NOT-THERE", "DROP", "SET", "SNAT", "--x", "INPUT")
COMMENTS = (
    '"ns/svc:http cluster IP"',
    "svc-1",
    '"a, -s b,c"',
    '"!"',
    "!",
    '"it\'s"',
    '"a \\" b"',
    '"open',
    'a"b',
    "''",
)
BESIDE = (
    "-m statistic --mode random --probability 0.50000000000", "-m mark --mark 0x4000/0x4000", "-i eth0", "-o eth1",
    "-m mark ! --mark 0x4000", "-m conntrack --ctstate RELATED,ESTABLISHED", "-m multiport --dports 80,443", "-f",
    "-m addrtype --dst-type LOCAL", "-m recent --set --name x", "-m limit --limit 5/sec", "--destination-port 54322",
    "-m udp", "-m tcp ! --dport 54322", "-p udp", "--nonsense", "-m tcp --tcp-flags SYN,RST SYN",
)  # fmt: skip


def drawn(rng, values, plain=2):
    return rng.choice(values[:plain]) if rng.random() < 0.9 else rng.choice(values)


def kind_of_rule(rng):
    """Return how rules of a kind are made, each with values of its own."""
    marks = {name: "! " if rng.random() < 0.1 else "" for name in ("s", "d", "p", "sport", "dport")}
    has = {name for name in ("s", "d", "p", "comment", "sport", "dport", "beside") if rng.random() < 0.4}
    proto, beside = rng.choice(("tcp", "udp", "tcp", "sctp", "icmp", "6")), rng.choice(BESIDE)
    target, mark = rng.choice(("-j", "-j", "-j", "-g", "DNAT", "MARK", "MASQUERADE", "")), rng.choice(("", " --random"))

    def rule(family):
        text = f"-A {drawn(rng, CHAINS)}"
        for end in ("s", "d"):
            if end in has:
                text += f" {marks[end]}-{end} {drawn(rng, ADDRESSES[family], 5)}"
        if has & {"p", "sport", "dport"}:
            text += f" {marks['p']}-p {proto}"
        if "comment" in has:
            text += f" -m comment --comment {drawn(rng, COMMENTS)}"
        if has & {"sport", "dport"}:
            text += f" -m {proto}"
        for end in ("sport", "dport"):
            if end in has:
                text += f" {marks[end]}--{end} {drawn(rng, PORTS, 5)}"
        if "beside" in has:
            text += f" {beside}"
        if target in ("-j", "-g"):
            text += f" {target} {drawn(rng, JUMPS, 3)}"
        elif target == "DNAT":
            text += f" -j DNAT --to-destination {drawn(rng, TO[family])}{mark}"
        elif target:
            text += f" -j {target}" + (" --set-xmark 0x1/0x1" if target == "MARK" else " --random-fully")
        if rng.random() < 0.03:
            at = rng.randrange(len(text))
            text = (
                text[:at] + rng.choice(("", " ", '"', "'", "!", " ! ", "\\", ",", "-", "\x00", "\xa0")) + text[at + 1 :]
            )
        return text

    return rule


@pytest.mark.one_of(4)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 12))])
@pytest.mark.parametrize("family", [V4, V6])
def test_random_rules_are_what_the_general_parser_makes_of_them(family, seed, monkeypatch):
    rng = random.Random(f"{family.version} {seed}")
    known, met = shapes.Shapes.rule, []

    def by_shape(self, text, line):
        made = known(self, text, line)
        met.append(made is not None)
        return made

    def both(text, lenient):
        monkeypatch.setattr(shapes.Shapes, "rule", lambda self, text, line: None)
        general = programs.read_rules(text, family, lenient)
        monkeypatch.setattr(shapes.Shapes, "rule", by_shape)
        assert programs.read_rules(text, family, lenient) == general
        return general

    names = ("KUBE-A", "KUBE-B", "KUBE-MARK", "made-up-chain")
    for _ in range(10):
        head = f"*{rng.choice(('nat', 'nat', 'filter', 'mangle', 'security'))}\n"
        head += "".join(f":{name} - [0:0]\n" for name in names)
        kinds = [kind_of_rule(rng) for _ in range(8)]
        lines = [rng.choice(kinds)(family) + "\n" for _ in range(150)]
        both(head + "".join(lines), lenient=True)
        # each line behind all that are right
        right = [line for line in lines if not isinstance(both(head + line, lenient=False), str)]
        for line in rng.sample(lines, 10):
            both(head + "".join(right) + line, lenient=False)
    # the comparison is worth something
    assert sum(met) > 200


def test_rules_of_a_shape_share_what_they_say():
    rules = [
        f'-A KUBE -s 10.0.0.{n}/32 -p tcp -m comment --comment "c {n}" -m tcp --dport 80 -j NEXT' for n in range(9)
    ]
    text = "*nat\n:KUBE - [0:0]\n:NEXT - [0:0]\n" + "\n".join(rules) + "\nCOMMIT\n"
    read_rules = iptables.parse(text).tables["nat"].chains["KUBE"].rules
    assert [r.src & 255 for r in read_rules] == list(range(9))
    assert [r.line for r in read_rules] == list(range(4, 13))
    assert len({id(r.matches) for r in read_rules[4:]}) == len({id(r.target) for r in read_rules[4:]}) == 1


def test_kinds_of_rules_are_noted_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(shapes, "MAX_KINDS", 10)
    made = shapes.Shapes(V4, lambda text, line: pytest.fail("nothing is learned of rules that differ"))
    for n in range(100):
        assert made.rule(f"-A FORWARD -m mark --mark {n} -j ACCEPT", n) is None
        assert made.rule(f"-A FORWARD --option-{n} -j ACCEPT", n) is None
    assert len(made.options) + sum(len(o.shapes) for o in made.options.values()) <= 10


def test_a_target_with_options_of_its_own_is_never_taken_for_a_chain():
    special = {*targets.TARGET_CHAINS, *targets.TARGET_TABLES, *needed.TARGETS, *refused.TARGETS, *targets.PASSING}
    assert special <= shapes.NO_CHAINS
