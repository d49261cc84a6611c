"""What nft and the kernel refuse of commands and declarations: kernel/refusals.py recorded it."""

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


def test_the_same_declarations_say_a_set_once_more():
    for first, second in itertools.product(RECORDED["sets"], repeat=2):
        try:
            nftables.load(refusals.declared(first, second))
            there = True
        except fastnat.RuleError:
            there = False
        assert there == (second in RECORDED["sets"][first]), (first, second)
