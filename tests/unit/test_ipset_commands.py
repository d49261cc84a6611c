"""Commands of `ipset restore`, as ipset 7.17 carries them out; kernel/test_sets.py draws them at random beside it."""

import pytest

from fastnat.addresses import V4
from fastnat.errors import InputError
from fastnat.node import ipset


def made(text):
    """Return the elements of each set as text of their addresses, and the members of lists."""

    def shown(e):
        return V4.to_text(e.addrs[0]) + f"/{e.prefix}" * bool(e.prefix)

    return {name: s.members or [shown(e) for e in s.elements] for name, s in ipset.parse(text).items()}


@pytest.mark.parametrize(("commands", "sets"), [
    ("add A 10.0.0.1 -exist\n-! add A 10.0.0.1\nadd --exist A 10.0.0.2\nCOMMIT", ["10.0.0.1", "10.0.0.2"]),
    ("add A 10.0.0.1-10.0.0.4\ndel A 10.0.0.2/31", ["10.0.0.1", "10.0.0.4"]),
    ("add A 10.0.0.1\nflush A\nadd A 10.0.0.2\ndel A 10.0.0.3", ["10.0.0.2"]),
    ("-A A 10.0.0.1\n-D A 10.0.0.1\n-A A 10.0.0.2\n-A A 10.0.0.3\n-D A 10.0.0.3", ["10.0.0.2"]),
    ("-N B iphash\nadd B 10.0.0.1\nswap A B\ndestroy B", ["10.0.0.1"]),
    ("create A hash:ip hashsize 64 -exist\nadd A 10.0.0.1", ["10.0.0.1"]),
    ("rename A B\ncreate A hash:net\nadd A 10.0.0.0-10.0.0.9\ndestroy B", ["10.0.0.0/29", "10.0.0.8/31"]),
    ("destroy\ncreate A hash:net\nadd A 10.0.0.0/8 nomatch", ["10.0.0.0/8"]),
    ("create B hash:mac\nflush B\ndestroy B\nadd A 10.0.0.1", ["10.0.0.1"]),
])  # fmt: skip
def test_commands(commands, sets):
    assert made(f"create A hash:ip\n{commands}\n") == {"A": sets}


def test_a_list_has_what_the_name_of_its_member_has():
    before = "create A hash:ip\ncreate B hash:ip\ncreate C hash:ip\ncreate L list:set\nadd L A\n"
    text = f"{before}add L B before A\nadd L C after B\nadd L A\nadd A 10.0.0.1\nswap A C\ndel L B\n"
    assert made(text) == {"A": [], "B": [], "C": ["10.0.0.1"], "L": ["C", "A"]}


def test_what_an_element_keeps_that_is_added_again():
    """Its counters, unless others are said; its time and whether it is an exception are those of the last command."""
    text = (
        "create A hash:net counters timeout 100\nadd A 10.0.0.0/24 packets 5 bytes 7 timeout 9 nomatch\n"
        "add A 10.0.0.0/24\nadd A 10.0.1.0/24 packets 5 bytes 7\nadd A 10.0.1.0/24 timeout 3 bytes 1 nomatch\n"
    )
    first, second = ipset.parse(text)["A"].elements
    assert (first.packets, first.bytes, first.timeout, first.nomatch) == (5, 7, 100, False)
    assert (second.packets, second.bytes, second.timeout, second.nomatch) == (5, 1, 3, True)


@pytest.mark.parametrize("added", ["10.0.0.0/24,eth", "10.0.0.0/24,eth0", "10.0.0.0/24,ethernet wildcard"])
def test_a_wildcard_is_each_interface_that_begins_so(added):
    text = f"create A hash:net,iface\nadd A 10.0.0.0/24,eth wildcard\nadd A {added}\nadd A 10.0.0.0/24,lo\n"
    assert [e.iface for e in ipset.parse(text)["A"].elements] == ["eth", "lo"]


@pytest.mark.parametrize(("sets", "most", "line"), [
    (40, "1,000", 66), pytest.param(4000, "10,000,000", 6501, marks=pytest.mark.again),
])  # fmt: skip
def test_commands_that_look_at_too_many_sets_are_refused(monkeypatch, sets, most, line):
    """A text of 4000 sets is refused by the limit as it is; that the limit counts takes fewer."""
    if sets < 4000:
        monkeypatch.setattr(ipset, "MAX_STEPS", int(most.replace(",", "")))
    many = "".join(f"create S{n} hash:ip\n" for n in range(sets))
    with pytest.raises(InputError, match=f"<ipset>:{line}: its commands look at more than {most} sets or members"):
        ipset.parse(many + "flush\n" * sets)


@pytest.mark.parametrize(("commands", "says"), [
    ("create A hash:net", "created twice, in two ways"), ("create A hash:ip counters", "created twice, in two ways"),
    ("swap A B", "'B' was not created"), ("create B hash:net\nswap A B", "their type does not match"),
    ("create B hash:ip family inet6\nswap A B", "their type does not match"), ("rename A L", "there is a set 'L'"),
    ("add L A\nrename A B", "cannot be renamed: 'L' has it"), ("add L A\ndestroy A", "cannot be destroyed: 'L' has it"),
    ("add L L", "is not a set created before"), ("add L A before B", "before 'B': no such member"),
    ("add A", "no command"),
    ("add L A before", "before 'before': no such member"), ("flush B", "'B' was not created"), ("save", "no command"),
    ("create B hash:mac\nswap B A", "not supported"), ("del A x", "'x'"), ("del B 10.0.0.1", "'B' was not created"),
    ("create B hash:ip family inet6\nadd B fd00::-fd00::3", "takes single addresses"),
    ("create B hash:net family inet6\nadd B fd00::-fd00::3", "takes single addresses"),
    ("create B hash:ip family inet6\nadd B fd00::/126", "takes single addresses"),
])  # fmt: skip
def test_what_is_refused(commands, says):
    text = f"create A hash:ip\ncreate L list:set\n{commands}\n"
    with pytest.raises(InputError, match=rf"<ipset>:{len(text.splitlines())}: .*{says}"):
        ipset.parse(text)
