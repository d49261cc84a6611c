"""How the collector of garbage is kept out of the way while many objects are made."""

import gc

import pytest
from nodes import make_node

import fastnat
from fastnat.util.memory import FEW_OBJECTS, no_garbage


@pytest.fixture
def called(monkeypatch):
    """The calls of gc that go over frozen objects or move them, in their order."""
    calls = []
    for name in ("get_freeze_count", "freeze", "unfreeze"):
        monkeypatch.setattr(gc, name, lambda name=name: calls.append(name))
    return calls


def test_few_objects_stay_young(called):
    """To count what a program has frozen is to walk over all of it: rules of every size would do so, each time."""
    fastnat.Engine(make_node()).save_rules()
    assert gc.isenabled()
    assert called == []


def test_many_objects_are_old_at_once(called):
    """As young ones all of them would be looked through as soon as the collector is on again."""
    with no_garbage():
        made = [[] for _ in range(FEW_OBJECTS + 10_000)]
        assert not gc.isenabled()
    assert gc.isenabled()
    assert called == ["get_freeze_count", "freeze", "unfreeze"]
    del made


def test_who_has_no_collector_gets_none(called):
    gc.disable()
    try:
        with no_garbage():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert called == []
