"""What nft and the kernel refuse of commands and declarations: kernel/refusals.py recorded it."""

import itertools
import json

import pytest
from kernel import refusals
from nodes import make_node

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


@pytest.mark.parametrize("commands", RECORDED["commands"])
def test_the_same_commands_are_refused(commands):
    assert [
        taken(make_node(""), refusals.BASE, commands),
        taken(make_node(""), refusals.BASE + commands),
    ] == RECORDED["commands"][commands]


def test_the_same_declarations_say_a_set_once_more():
    for first, second in itertools.product(RECORDED["sets"], repeat=2):
        try:
            nftables.load(refusals.declared(first, second))
            there = True
        except fastnat.RuleError:
            there = False
        assert there == (second in RECORDED["sets"][first]), (first, second)
