"""What nft and the kernel refuse of commands and declarations: kernel/refusals.py recorded it."""

import contextlib
import itertools
import json

import pytest
from kernel import refusals
from nodes import make_dual, make_node

import fastnat
from fastnat import nftables

RECORDED = json.loads(refusals.PATH.read_text())


def taken(node, text, commands=""):
    """Return whether an engine takes rules, and commands on them."""
    try:
        node.load_nft(text)
        engine = fastnat.Engine(node)
        if commands:
            engine.change_nft(commands)
    except fastnat.RuleError:
        return False
    return True


@pytest.mark.one_of(2)
@pytest.mark.parametrize("commands", RECORDED["commands"])
def test_the_same_commands_are_refused(commands):
    assert [
        taken(make_node(""), refusals.BASE, commands),
        taken(make_node(""), refusals.BASE + commands),
    ] == RECORDED["commands"][commands]


@pytest.mark.one_of(2)
@pytest.mark.parametrize("statement", RECORDED["hooks"])
def test_the_same_hooks_take_a_statement(statement):
    there = [base for base in refusals.HOOKS if taken(make_dual(), refusals.in_hook(base, statement))]
    assert there == RECORDED["hooks"][statement]


@pytest.mark.parametrize("words", ["ip saddr {}", "ip saddr {{ {} }}", "ip saddr != {{ {}, 10.0.0.9 }}", "snat to {}"])
def test_a_range_with_its_end_before_its_beginning_is_named(words):
    text = f"table ip t {{ chain c {{ type nat hook postrouting priority 0; {words.format('10.0.0.2-10.0.0.1')}; }} }}"
    with pytest.raises(fastnat.RuleError, match=r"10\.0\.0\.2-10\.0\.0\.1: Range negative size"):
        fastnat.Engine(make_node("")).change_nft(text)


def loaded(text):
    """Return whether `fastnat check` takes rules of nftables."""
    node = make_dual()
    try:
        said = node.load_nft(text)
        fastnat.Engine(node)
    except fastnat.RuleError:
        return False
    return not any("nft does not load this" in warning for warning in said)


def test_the_same_rules_are_loaded():
    """What nft knows of a packet before a statement decides whether it loads it, as do ends of lines and its words."""
    for text, there in zip(refusals.drawn(), RECORDED["drawn"], strict=True):
        assert loaded(text) == (there == "1"), text


@pytest.mark.parametrize("line", [
    "ip saddr { 10.0.0.1 : goto x }", "numgen random mod 1 { 0 : jump x }", "meta mark { 1 : 2 }", "socket drop",
])  # fmt: skip
def test_what_no_kernel_can_hold_is_refused(line):
    """A mapping where a set is compared with, and a key that says nothing, ended in a traceback."""
    text = "table ip t {{\nchain x {{\n}}\nchain c {{ {}\ntype filter hook forward priority 0\n{}\n}}\n}}\n"
    with pytest.raises(fastnat.RuleError):
        fastnat.Engine(make_dual(native=text.format("", line)))
    with contextlib.suppress(fastnat.RuleError):
        fastnat.Engine(make_dual(native=text.format("# handle 3", line)))


def test_a_listing_is_what_the_kernel_has():
    """Programs that speak to the kernel directly make rules that nft lists and does not load; the node runs them."""
    rules = "ct original proto-dst 80 accept counter\nmasquerade to :80\n"
    base = "type nat hook postrouting priority 100; policy accept;"
    text = f"table inet t {{ # handle 1\nchain c {{ # handle 2\n{base}\n{rules}}}\n}}\n"
    assert loaded(text)
    assert not loaded(text.replace("# handle", "# "))


def test_the_same_declarations_say_a_set_once_more():
    for first, second in itertools.product(RECORDED["sets"], repeat=2):
        try:
            nftables.load(refusals.declared(first, second))
            there = True
        except fastnat.RuleError:
            there = False
        assert there == (second in RECORDED["sets"][first]), (first, second)
