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
from ..nftables.program import Program
from ..nftables.sets import hashes_of

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
# of nft_state_t: what changes while the engine runs
REMEMBERED = ("packets", "bytes", "tokens", "last")
# a key of Program.places that names an object rather than a statement has so many parts
OBJECT_PARTS = 4


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
    here["used"], here["next"] = 0, FN_NONE
    for name in ("expires", "timeout"):
        here[name][:n] = records[name][:n]
    here["used"][:n] = 1
    mine = core.writable("nft_states")[state : state + n * n_states].reshape(n, n_states)
    for name in REMEMBERED:
        mine[name] = states[name][:n]
    mine["tokens"] = np.minimum(mine["tokens"], mine["most"])
    slot, mask = int(s["slot"][0]), int(s["mask"][0])
    heads = core.writable("nft_slots")[slot : slot + mask + 1]
    heads[:] = FN_NONE
    if n:
        bucket = hashes_of(words[:n, :keys]) & np.uint32(mask)
        order = np.argsort(bucket, kind="stable")
        same = bucket[order[1:]] == bucket[order[:-1]]
        here["next"][order[:-1][same]] = first + order[1:][same]
        begins = order[np.concatenate([[True], ~same])]
        heads[bucket[begins]] = first + begins
    s["used"], s["count"], s["free"] = n, n, FN_NONE


def taken(core: Datapath) -> dict[str, NDArray[Any]]:
    """Return what the rules remember as arrays for a file."""
    lists = counted(core.arrays)
    conns = np.concatenate([core.arrays["nft_conns"][:0], *lists.values()])
    # in a file the link of an entry is the state that counts it
    conns["next"] = np.repeat([*lists], [len(entries) for entries in lists.values()]) if lists else 0
    copies = {name: core.arrays[name].copy() for name in ("nft_elements", "nft_words", "nft_states")}
    return copies | {"nft_conns": conns}


def put_back(core: Datapath, program: Program, given: Arrays) -> None:
    """Go on with what taken() returned, of an engine with the same rules; ValueError for what cannot be."""
    own = core.arrays
    states, times = core.writable("nft_states"), core.writable("nft_elements")
    counts = counting(own)
    for name in REMEMBERED:
        states[name][~counts] = given["nft_states"][name][~counts]
    states["tokens"][~counts] = np.minimum(states["tokens"], states["most"])[~counts]
    lasting = np.ones(len(times), np.bool_)
    for place in sorted(program.dynamic):
        s = own["nft_sets"][place]
        lasting[int(s["first"]) : int(s["first"]) + int(s["size"])] = False
        put_elements(core, place, *elements({**own, **given}, place))
    times["expires"][lasting] = given["nft_elements"]["expires"][lasting]
    entries = given["nft_conns"]
    numbers = entries["next"].astype(np.int64)
    if len(numbers) and not (counts[np.minimum(numbers, len(counts) - 1)] & (numbers < len(counts))).all():
        raise ValueError("connections are counted by a rule that is not there")
    put_counted(core, {int(state): entries[numbers == state] for state in dict.fromkeys(numbers.tolist())})


def keep(core: Datapath, old: Arrays, before: Program, after: Program) -> None:
    """Keep what stays when rules take the place of others: all if they are the same, else sets and named objects.

    old: the arrays of the datapath under the rules before. A table that the new text deletes begins empty.
    """
    same = after.ruleset is before.ruleset
    states = core.writable("nft_states")
    before_lists = counted(old)
    lists: dict[int, NDArray[np.void]] = {}
    counts = counting(core.arrays)
    for key, place in after.places.items():
        was = before.places.get(key)
        stays = same or (len(key) == OBJECT_PARTS and not after.ruleset.begins_empty(str(key[0]), str(key[1])))
        if was is None or not stays:
            continue
        if counts[place]:
            lists[place] = before_lists.get(was, old["nft_conns"][:0])
            continue
        for name in REMEMBERED:
            states[name][place] = old["nft_states"][name][was]
        states["tokens"][place] = min(states["tokens"][place], states["most"][place])
    for key, place in after.sets.items():
        there = before.sets.get(key)
        if there is None or (not same and after.ruleset.begins_empty(*key[:2])):
            continue
        if place in after.dynamic and there in before.dynamic and alike(core.arrays, place, old, there):
            keep_set(core, place, old, there, same)
    put_counted(core, lists)


def alike(arrays: Arrays, place: int, old: Arrays, there: int) -> bool:
    """Tell whether two sets hold elements of one form, with the same kinds of states."""

    def form(arrays: Arrays, place: int) -> tuple[object, ...]:
        s = arrays["nft_sets"][place]
        first, n = int(s["state_exprs"]), int(s["n_states"])
        kinds = arrays["nft_exprs"]["kind"][first : first + n].tolist()
        return (*(int(s[name]) for name in ("kind", "key_words", "stride", "n_states")), kinds)

    return form(arrays, place) == form(old, there)


def keep_set(core: Datapath, place: int, old: Arrays, there: int, same: bool) -> None:
    """Keep the elements of a set, in front of those that the new text gives it; `ct count` in elements begins anew."""
    mine, theirs = elements(core.arrays, place), elements(old, there)
    keys = int(core.arrays["nft_sets"]["key_words"][place])
    known = set(map(bytes, theirs[0][:, :keys].copy()))
    fresh = np.array([not same and bytes(row) not in known for row in mine[0][:, :keys].copy()], np.bool_)
    words, records, states = (np.concatenate([b, a[fresh]]) for a, b in zip(mine, theirs, strict=True))
    put_elements(core, place, words, records, states)
