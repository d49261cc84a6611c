"""Runs of rules for single sources that are looked up in place of cutting the addresses into classes.

A provider has a rule for each of 50,000 subscribers. As classes of addresses these would fill the memory of memos, and
no packet would meet the memo of another. If the rules of a run differ in nothing but the source and the range of SNAT,
one memo serves all of them (core/rules/dispatch.pxd); if they differ in more, a large run is at least no class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.layout import FN_APART, RuleTests, TargetKind, Varied
from ..iptables import Rule

# rules of a run that are worth it where they are alike, and where they are not
MIN_ALIKE, MIN_APART = 16, 4096
# rules for one source
VARIED_STEPS = int(Varied.STEPS)
# targets whose argument is a chain; of the others it is a place in `targets`
CHAINS = (TargetKind.JUMP, TargetKind.GOTO)


@dataclass
class SourceRun:
    """A run of rules that ask for the source: its dispatch, the index of its first rule, its rules, and their keys."""

    dispatch: int
    first: int
    rules: list[Rule]
    keys: list[int]

    def fits(self) -> bool:
        """Tell whether no two networks have one key, and none holds the address that an empty packet has."""
        networks = {(r.src & r.smask) for r in self.rules}
        return len(networks) == len(set(self.keys)) and 0 not in networks


def kinds_of(rules: NDArray[np.void], matches: NDArray[np.void], targets: NDArray[np.void]) -> NDArray[np.intp]:
    """Return a number for each of some compiled rules: equal where they differ in source and range of SNAT alone."""
    rows = rules.copy()
    for name in ("src", "next", "packets", "bytes", "target_arg"):
        rows[name] = np.zeros((), rows.dtype[name])
    chains = np.isin(rules["target"], CHAINS)
    rows["target_arg"][chains] = rules["target_arg"][chains]
    carried = targets[np.where(chains, 0, np.minimum(rules["target_arg"], len(targets) - 1))]
    snat = rules["target"] == TargetKind.SNAT
    one_port = snat & (carried["min_proto"] == carried["max_proto"])
    one_address = snat & (carried["min_addr"] == carried["max_addr"]) & _given(carried["min_addr"])
    for name in ("min_addr", "max_addr", "min_proto", "max_proto"):
        carried[name][snat] = np.zeros((), carried.dtype[name])
    # an address range has to be asked for each flow: rules with one are alike only among themselves
    carried["value"][snat] = one_port[snat] * 1 + one_address[snat] * 2
    carried[chains] = np.zeros((), carried.dtype)
    whole = np.concatenate([_bytes(rows), _bytes(carried), _lists(rows, matches)], axis=1)
    numbers: NDArray[np.intp] = np.unique(_void(whole), return_inverse=True)[1]
    return numbers


def _lists(rows: NDArray[np.void], matches: NDArray[np.void]) -> NDArray[np.uint8]:
    """Return a number for the matches of each rule, as bytes; empties the places of those that are listed."""
    numbers = np.zeros(len(rows), np.uint32)
    seen: dict[bytes, int] = {}
    for n in np.flatnonzero(rows["tests"] & RuleTests.MATCHES):
        first, count = int(rows["match"]["a"][n]), int(rows["match"]["n"][n])
        numbers[n] = seen.setdefault(matches[first : first + count].tobytes(), len(seen))
        rows["match"]["a"][n] = 0
    return _bytes(numbers)


def _given(addresses: NDArray[Any]) -> NDArray[np.bool_]:
    given: NDArray[np.bool_] = addresses != np.zeros((), addresses.dtype)
    return given


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1)


def _void(rows: NDArray[np.uint8]) -> NDArray[np.void]:
    return np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").reshape(-1)


def are_alike(run: SourceRun, numbers: NDArray[np.intp]) -> bool:
    """Tell whether each source of a run meets rules of the same kinds, in the same order."""
    if len(set(run.keys)) == len(run.keys):
        return bool((numbers == numbers[0]).all())
    of_source: dict[int, list[int]] = {}
    for key, number in zip(run.keys, numbers.tolist(), strict=True):
        of_source.setdefault(key, []).append(number)
    kinds = {tuple(mine) for mine in of_source.values()}
    return len(kinds) == 1 and len(kinds.pop()) <= VARIED_STEPS


def set_apart(
    runs: list[SourceRun], rules: NDArray[np.void], matches: NDArray[np.void], targets: NDArray[np.void],
    dispatches: NDArray[np.void],
) -> tuple[list[int], set[int]]:  # fmt: skip
    """Set the greatest runs of sources apart, at most FN_APART; note it in `rules` and `dispatches`.

    Returns
    -------
    list, set
        their dispatches; the ids of their rules, whose sources need be no classes
    """
    apart: list[int] = []
    ids: set[int] = set()
    for run in sorted(runs, key=lambda r: -len(r.keys)):
        if len(apart) == FN_APART or len(run.keys) < MIN_ALIKE:
            break
        if not run.fits():
            continue
        place = slice(run.first, run.first + len(run.rules))
        alike = are_alike(run, kinds_of(rules[place], matches, targets))
        if not alike and len(run.keys) < MIN_APART:
            continue
        apart.append(run.dispatch)
        ids |= {id(r) for r in run.rules}
        dispatches["apart"][run.dispatch], dispatches["alike"][run.dispatch] = len(apart), alike
        if alike:
            rules["tests"][place] |= np.uint8(RuleTests.ALIKE)
    return apart, ids
