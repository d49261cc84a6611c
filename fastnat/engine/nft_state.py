"""What rules of nftables remember, taken from one datapath and put into another: for a file, and for other rules.

Source: nf_tables_api.c (Linux 6.18): sets and named objects stay when rules are added, unless their table is deleted.
Invariants: nothing of a file is trusted: sets and lists are built anew from what it says they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.datapath import Datapath
from ..core.layout import FN_NONE, NftExprKind
from ..nftables.program import KEY_PARTS, Program, link
from ..nftables.sets import hashes_of
from ..nftables.timeouts import KIND as TIMEOUT
from ..nftables.tree import Ruleset

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
# of nft_state_t: what changes while the engine runs
REMEMBERED = ("packets", "bytes", "tokens", "last")
# the same of those that count connections, beside their lists
COUNTING = ("tokens", "most")


def counting(arrays: Arrays) -> NDArray[np.bool_]:
    """Return which states count connections; their `last` is the place of the first one, plus one."""
    exprs, sets = arrays["nft_exprs"], arrays["nft_sets"]
    found = np.zeros(len(arrays["nft_states"]), np.bool_)
    is_count = exprs["kind"] == NftExprKind.CONNLIMIT
    of_rules = is_count.copy()
    for s in sets[sets["n_states"] > 0]:
        n, first = int(s["n_states"]), int(s["state_exprs"])
        of_rules[first : first + n] = False
        rows = found[int(s["states"]) : int(s["states"]) + n * (int(s["size"]) + 1)]
        for at in np.flatnonzero(is_count[first : first + n]):
            rows[at::n] = True
    found[exprs["a"][of_rules]] = True
    return found


def counted(arrays: Arrays) -> dict[int, NDArray[np.void]]:
    """Return the connections that each state counts, in their order; links mean nothing."""
    states, conns = arrays["nft_states"], arrays["nft_conns"]
    found = {}
    for state in np.flatnonzero(counting(arrays) & (states["packets"] > 0)).tolist():
        places, at = [], int(states["last"][state])
        while at:
            places.append(at - 1)
            at = int(conns["next"][at - 1])
        found[state] = conns[places]
    return found


def put_counted(core: Datapath, lists: Mapping[int, NDArray[np.void]]) -> None:
    """Let states count these connections. Raises ValueError if there is no room for them."""
    conns, states = core.writable("nft_conns"), core.writable("nft_states")
    states["last"][counting(core.arrays)] = 0
    states["packets"][counting(core.arrays)] = 0
    used = 0
    for state, entries in lists.items():
        n = len(entries)
        if used + n > len(conns):
            raise ValueError(f"more than {len(conns):,} connections are counted")
        conns[used : used + n] = entries
        conns["next"][used : used + n] = [*range(used + 2, used + n + 1), 0][:n]
        states["last"][state], states["packets"][state] = used + 1 if n else 0, n
        used += n
    core.set_counted(used)


def elements(arrays: Arrays, place: int) -> tuple[NDArray[np.uint32], NDArray[np.void], NDArray[np.void]]:
    """Return what a set that rules change holds: words uint32[n, stride], records [n], states [n, n_states]."""
    s = arrays["nft_sets"][place]
    first, size, stride, n_states = (int(s[name]) for name in ("first", "size", "stride", "n_states"))
    size = int(s["used"])
    records = arrays["nft_elements"][first : first + size]
    used = records["used"] != 0
    words = arrays["nft_words"][int(s["words"]) : int(s["words"]) + size * stride].reshape(size, stride)
    states = arrays["nft_states"][int(s["states"]) : int(s["states"]) + size * n_states].reshape(size, n_states)
    return words[used], records[used], states[used]


def put_elements(
    core: Datapath, place: int, words: NDArray[np.uint32], records: NDArray[np.void], states: NDArray[np.void]
) -> None:
    """Let a set that rules change hold these elements, as elements() returns them, and no others."""
    s = core.writable("nft_sets")[place : place + 1]
    first, size, stride, n_states, keys = (
        int(s[name][0]) for name in ("first", "size", "stride", "n_states", "key_words")
    )
    n = min(len(words), size)
    start, state = int(s["words"][0]), int(s["states"][0])
    core.writable("nft_words")[start : start + n * stride] = words[:n].ravel()
    here = core.writable("nft_elements")[first : first + size]
    here["used"][: int(s["used"][0])] = 0
    here["next"][: max(int(s["used"][0]), n)] = 0
    for name in ("expires", "timeout", "used"):
        here[name][:n] = records[name][:n]
    mine = core.writable("nft_states")[state : state + n * n_states].reshape(n, n_states)
    mine[:] = states[:n]
    # a limit of bytes divides by it
    mine["cost"] = np.maximum(mine["cost"], 1)
    slot, mask = int(s["slot"][0]), int(s["mask"][0])
    heads = core.writable("nft_slots")[slot : slot + mask + 1]
    if s["used"][0]:
        heads[:] = 0
    if n:
        link(hashes_of(words[:n, :keys]), first, here, heads)
    s["used"], s["count"], s["free"] = n, n, 0


def taken(core: Datapath, program: Program) -> dict[str, NDArray[Any]]:
    """Return what the rules remember as arrays for a file; of sets that no rule changes the times alone."""
    arrays = core.arrays
    lists = counted(arrays)
    conns = np.concatenate([arrays["nft_conns"][:0], *lists.values()])
    # in a file the link of an entry is the number of the state that counts it: those of fixed(), then those of elements
    of_elements = [states_of(arrays, place) for place in sorted(program.dynamic)]
    numbers = {state: n for n, state in enumerate(np.concatenate([fixed(arrays, program), *of_elements]).tolist())}
    conns["next"] = np.repeat([numbers[state] for state in lists], [len(c) for c in lists.values()]) if lists else 0
    each = [elements(arrays, place) for place in sorted(program.dynamic)]
    none = elements_of_none(arrays)
    return {
        "nft_sizes": np.array([len(records) for _, records, _ in each], np.uint32),
        "nft_words": np.concatenate([none[0], *(words.ravel() for words, _, _ in each)]),
        "nft_elements": np.concatenate([none[1], *(records for _, records, _ in each)]),
        "nft_carried": np.concatenate([none[2], *(states.ravel() for _, _, states in each)]),
        "nft_states": arrays["nft_states"][fixed(arrays, program)],
        "nft_times": arrays["nft_elements"]["expires"][lasting(arrays, program)],
        "nft_conns": conns,
    }


def elements_of_none(arrays: Arrays) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return no words, no elements and no states."""
    return arrays["nft_words"][:0], arrays["nft_elements"][:0], arrays["nft_states"][:0]


def states_of(arrays: Arrays, place: int) -> NDArray[np.int64]:
    """Return the states of the elements of a set, in order."""
    s = arrays["nft_sets"][place]
    first, n_states = int(s["first"]), int(s["n_states"])
    used = np.flatnonzero(arrays["nft_elements"]["used"][first : first + int(s["used"])])
    return (int(s["states"]) + used[:, None] * n_states + np.arange(n_states)).ravel()


def fixed(arrays: Arrays, program: Program) -> NDArray[np.int64]:
    """Return the states that are not of elements of sets that rules change: those lie behind them."""
    ends = [len(arrays["nft_states"])]
    ends += [int(arrays["nft_sets"]["states"][place]) for place in program.dynamic]
    return np.arange(min(ends))


def lasting(arrays: Arrays, program: Program) -> NDArray[np.int64]:
    """Return the elements of sets that no rule changes: those of the others lie behind them."""
    ends = [len(arrays["nft_elements"])]
    ends += [int(arrays["nft_sets"]["first"][place]) for place in program.dynamic]
    return np.arange(min(ends))


def put_back(core: Datapath, program: Program, given: Arrays) -> None:
    """Go on with what taken() returned, of an engine with the same rules; ValueError for what cannot be."""
    own, states = core.arrays, core.writable("nft_states")
    mine = fixed(own, program)
    counts = counting(own)[mine]
    for which, names in ((~counts, REMEMBERED), (counts, COUNTING)):
        for name in names:
            states[name][mine[which]] = given["nft_states"][name][which]
    core.writable("nft_elements")["expires"][lasting(own, program)] = given["nft_times"]
    at = word = state = 0
    for place, n in zip(sorted(program.dynamic), given["nft_sizes"].tolist(), strict=True):
        s = own["nft_sets"][place]
        stride, n_states = int(s["stride"]), int(s["n_states"])
        ends = at + n, word + n * stride, state + n * n_states
        words, records = given["nft_words"][word : ends[1]], given["nft_elements"][at : ends[0]]
        carried = given["nft_carried"][state : ends[2]]
        if n > int(s["size"]) or (len(records), len(words), len(carried)) != (n, n * stride, n * n_states):
            raise ValueError("a set holds more than it has room for, or less than is said")
        put_elements(core, place, words.reshape(n, stride), records, carried.reshape(n, n_states))
        at, word, state = ends
    entries = given["nft_conns"]
    numbers = entries["next"].astype(np.int64)
    mine = np.concatenate([mine, *(states_of(own, place) for place in sorted(program.dynamic))])
    if (numbers >= len(mine)).any() or not counting(own)[mine[numbers]].all():
        raise ValueError("connections are counted by a rule that is not there")
    put_counted(core, {int(mine[n]): entries[numbers == n] for n in dict.fromkeys(numbers.tolist())})


def keep(core: Datapath, old: Arrays, before: Program, after: Program, commands: bool = False) -> None:
    """Keep what stays when rules take the place of others: all if they are the same, else sets and named objects.

    old: the arrays of the datapath under the rules before; commands: of nft made the rules out of those before, so that
    what they do not name stays. A table that the new text deletes begins empty.
    """
    same = after.ruleset is before.ruleset
    if commands:
        keep_unchanged(core, old, before, after)
        return
    states = core.writable("nft_states")
    before_lists = counted(old)
    lists: dict[int, NDArray[np.void]] = {}
    counts = counting(core.arrays)
    for key, place in after.places.items():
        was = before.places.get(key)
        stays = same or (len(key) == KEY_PARTS and not after.ruleset.begins_empty(str(key[0]), str(key[1])))
        if was is None or not stays:
            continue
        if counts[place]:
            lists[place] = before_lists.get(was, old["nft_conns"][:0])
            for name in COUNTING:
                states[name][place] = old["nft_states"][name][was]
            continue
        for name in REMEMBERED:
            states[name][place] = old["nft_states"][name][was]
    for key, place in after.sets.items():
        there = before.sets.get(key)
        if there is None or (not same and after.ruleset.begins_empty(*key[:2])):
            continue
        if not alike(core.arrays, place, old, there):
            continue
        if place in after.dynamic and there in before.dynamic:
            lists |= keep_set(core, place, old, there, before_lists, same)
        elif same:
            keep_elements(core, place, old, there, before_lists, {})
    put_counted(core, lists)


def keep_unchanged(core: Datapath, old: Arrays, before: Program, after: Program) -> None:
    """Keep what all rules, objects and elements remember that are there before and after commands."""
    same, had = same_parts(before.ruleset, after.ruleset), counted(old)
    states, counts = core.writable("nft_states"), counting(core.arrays)
    lists: dict[int, NDArray[np.void]] = {}
    for key, place in after.places.items():
        part = same.get(key[:KEY_PARTS])
        was = None if part is None else before.places.get((*part, *key[KEY_PARTS:]))
        if was is None:
            continue
        for name in COUNTING if counts[place] else REMEMBERED:
            states[name][place] = old["nft_states"][name][was]
        if counts[place]:
            lists[place] = had.get(was, old["nft_conns"][:0])
    for set_key, place in after.sets.items():
        there = before.sets.get(set_key) if set_key in same else None
        if there is not None and alike(core.arrays, place, old, there):
            lists |= keep_elements(core, place, old, there, had, after.fresh.get(place, {}))
    put_counted(core, lists)


def same_parts(before: Ruleset, after: Ruleset) -> dict[tuple[object, ...], tuple[object, ...]]:
    """Return under which key each rule, object and set of before stands after commands, which leave handles alone.

    Keys are those of Program.places up to a statement, and of Program.sets.
    """
    found: dict[tuple[object, ...], tuple[object, ...]] = {}
    for key, table in after.tables.items():
        was = before.tables.get(key)
        if was is None or was.handle != table.handle:
            continue
        places = {r.handle: (*key, c.name, n) for c in was.chains.values() for n, r in enumerate(c.rules)}
        for chain in table.chains.values():
            rules = enumerate(chain.rules)
            found |= {(*key, chain.name, n): places[r.handle] for n, r in rules if r.handle in places}
        for name, made in table.objects.items():
            if name in was.objects and was.objects[name].handle == made.handle:
                found[*key, *name] = (*key, *name)
        for set_name, named in table.sets.items():
            if set_name in was.sets and was.sets[set_name].handle == named.handle:
                found[*key, set_name] = (*key, set_name)
    return found


def kept_policies(before: Program, after: Program, commands: bool) -> NDArray[np.uint8]:
    """Return which timeout policy takes the place of each one of before, by their numbers in the core; 0: none does.

    One that is deleted, or another one of its name, leaves its connections (nf_ct_untimeout).
    """
    now = np.zeros(256, np.uint8)
    same = same_parts(before.ruleset, after.ruleset) if commands else {}
    for (family, table, name), row in after.policies.items():
        was = before.policies.get((family, table, name))
        if was is None:
            continue
        made, there = (
            ruleset.tables[family, table].objects[TIMEOUT, name] for ruleset in (after.ruleset, before.ruleset)
        )
        if commands:
            stays = (family, table, TIMEOUT, name) in same
        else:
            stays = not after.ruleset.begins_empty(family, table) and made.words == there.words
        if stays or after.ruleset is before.ruleset:
            now[was + 1] = row + 1
    return now


def rows_of(arrays: Arrays, place: int) -> dict[bytes, int]:
    """Return the elements of a set by the words of their keys, the catch-all by none: their numbers in the set."""
    s = arrays["nft_sets"][place]
    first, used, size, stride = (int(s[name]) for name in ("first", "used", "size", "stride"))
    words = arrays["nft_words"][int(s["words"]) : int(s["words"]) + used * stride].reshape(used, stride)
    keys = words[:, : stride - int(s["data_words"])].copy()
    there = np.flatnonzero(arrays["nft_elements"]["used"][first : first + used]).tolist()
    found = {keys[n].tobytes(): n for n in there}
    return found | ({b"": size} if s["any"] != FN_NONE else {})


def keep_elements(
    core: Datapath, place: int, old: Arrays, there: int, had: Mapping[int, NDArray[np.void]], fresh: Mapping[int, bool]
) -> dict[int, NDArray[np.void]]:
    """Keep the times and states of the elements that a set had before; fresh: what commands did to some of them.

    Returns the connections that they count.
    """
    arrays, lists = core.arrays, {}
    s, t = arrays["nft_sets"][place], old["nft_sets"][there]
    records, states, n_states = core.writable("nft_elements"), core.writable("nft_states"), int(s["n_states"])
    if not s["timed"] and not n_states:
        return {}
    before = rows_of(old, there)
    for key, row in rows_of(arrays, place).items():
        was = before.get(key)
        if was is None or fresh.get(row):
            continue
        for name in ("used",) if row in fresh else ("expires", "timeout", "used"):
            records[name][int(s["first"]) + row] = old["nft_elements"][name][int(t["first"]) + was]
        for n in range(n_states):
            now, then = int(s["states"]) + row * n_states + n, int(t["states"]) + was * n_states + n
            states[now] = old["nft_states"][then]
            if then in had:
                lists[now] = had[then]
    return lists


def alike(arrays: Arrays, place: int, old: Arrays, there: int) -> bool:
    """Tell whether two sets hold elements of one form, with the same kinds of states."""

    def form(arrays: Arrays, place: int) -> tuple[object, ...]:
        s = arrays["nft_sets"][place]
        first, n = int(s["state_exprs"]), int(s["n_states"])
        kinds = arrays["nft_exprs"]["kind"][first : first + n].tolist()
        return (*(int(s[name]) for name in ("kind", "key_words", "stride", "n_states")), kinds)

    return form(arrays, place) == form(old, there)


def keep_set(
    core: Datapath, place: int, old: Arrays, there: int, lists: Mapping[int, NDArray[np.void]], same: bool
) -> dict[int, NDArray[np.void]]:
    """Keep the elements of a set, in front of those of the new text; return the connections that they count."""
    states_there = states_of(old, there).tolist()
    mine, theirs = elements(core.arrays, place), elements(old, there)
    keys = int(core.arrays["nft_sets"]["key_words"][place])
    known = set(map(bytes, theirs[0][:, :keys].copy()))
    fresh = np.array([not same and bytes(row) not in known for row in mine[0][:, :keys].copy()], np.bool_)
    words, records, states = (np.concatenate([b, a[fresh]]) for a, b in zip(mine, theirs, strict=True))
    put_elements(core, place, words, records, states)
    here = states_of(core.arrays, place).tolist()
    return {now: lists[was] for now, was in zip(here, states_there, strict=False) if was in lists}


def copy_used(arrays: Arrays, to: Mapping[str, NDArray[Any]]) -> None:
    """Copy what sets hold to the arrays of another datapath; pages that nobody has written stay so."""
    sets = arrays["nft_sets"]
    columns = {
        name: sets[name].tolist() for name in ("words", "states", "first", "slot", "used", "size", "mask", "any")
    }
    strides = sets["stride"].tolist(), sets["n_states"].tolist()
    for name in ("words", "states"):
        end = min(columns[name], default=len(arrays[f"nft_{name}"]))
        to[f"nft_{name}"][:end] = arrays[f"nft_{name}"][:end]
    rows = zip(*columns.values(), *strides, strict=True)
    for words, states, first, slot, used, size, mask, any_, stride, n_states in rows:
        ends = ((0, used), (size, size + 1))
        parts = [("nft_words", words, stride), ("nft_states", states, n_states)]
        for name, start, each in [*parts, ("nft_elements", first, 1)]:
            for low, high in ends if name != "nft_elements" or any_ != FN_NONE else ends[:1]:
                here = slice(start + low * each, start + high * each)
                to[name][here] = arrays[name][here]
        if used:
            to["nft_slots"][slot : slot + mask + 1] = arrays["nft_slots"][slot : slot + mask + 1]
