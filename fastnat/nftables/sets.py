"""Named and anonymous sets and maps as the core looks them up: by hash, in order, or as intervals side by side.

Source: nft_set_hash.c, nft_set_rbtree.c, nft_set_pipapo.c (Linux 6.18); segtree.c of nftables for what may overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core.layout import FN_NFT_BARE, FN_NFT_KEY, NftSetKind
from ..dtypes import HZ
from .datatypes import ascending
from .kinds import Kinds
from .program import Made, Pool, Words, words_of
from .tree import Any, Concat, Element, Expression

# how a value, range or prefix of a type is read: its first and last number
Bounds = Callable[[Expression, int], tuple[int, int]]
# elements of a concatenation into which one with ranges of addresses may fall apart
MAX_PIECES = 4096
# what a set has room for where neither it nor the kernel says so
DEFAULT_SIZE = 65_535


@dataclass
class Entry:
    """An element on its way to the core: its key's ends, part by part, and the words of its data."""

    low: Words
    high: Words
    data: Words
    element: Element
    exact: tuple[bool, ...]


@dataclass
class Layout:
    """What a set is asked to be."""

    key: Kinds
    data_words: int
    # rules add to it
    dynamic: bool
    size: int | None
    # jiffies
    timeout: int
    # states that a new element begins with, and those of one that stands there; the place of their expressions
    states: list[tuple[int, ...]]
    carried: Callable[[Element], list[tuple[int, ...]]]
    state_exprs: int
    # keys of the elements that commands have added, or given another time, see Set of tree.py
    fresh: Mapping[Expression, bool] = field(default_factory=dict)
    # an element that carries nothing, where others do
    bare: Callable[[Element], bool] = lambda _: False

    @property
    def key_words(self) -> int:
        """Words of a key."""
        return sum(k.words for k in self.key)


def hashes_of(keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the hash of each key of uint32[n, words]: key_hash of core/rules/nft_sets.pxd."""
    h = np.zeros(len(keys), np.uint32)
    for word in keys.T:
        h = (h ^ word) * np.uint32(0x9E3779B1)
        h ^= h >> np.uint32(15)
    return h


def jiffies(seconds: float | None) -> int:
    """Return a time in jiffies."""
    return round((seconds or 0) * HZ)


def add_set(
    pool: Pool, layout: Layout, elements: list[Element], data: Callable[[Element], Words], bounds: Bounds
) -> int:
    """Append a set with its elements; return its place. Raises ValueError for elements that the kernel refuses."""
    if layout.key_words > FN_NFT_KEY:
        raise ValueError(f"a key of {4 * layout.key_words} bytes is longer than {4 * FN_NFT_KEY}")
    plain = [e for e in elements if not isinstance(e.key, Any)]
    entries = [x for e in plain for x in entries_of(e, layout, data(e), bounds)]
    entries += [Entry(z := (0,) * layout.key_words, z, data(e), e, ()) for e in elements if isinstance(e.key, Any)]
    ranges = any(x.low != x.high for x in entries)
    kind = NftSetKind.HASH if not ranges else NftSetKind.INTERVALS if len(layout.key) == 1 else NftSetKind.RANGES
    if layout.dynamic and kind is not NftSetKind.HASH:
        raise ValueError("rules add to it, so it cannot hold intervals: the kernel refuses that as well")
    has_any = len(plain) < len(elements)
    keyed = entries[: len(entries) - has_any]
    if kind is NftSetKind.INTERVALS:
        keyed = in_order(keyed)
    elif kind is NftSetKind.HASH:
        keyed = without_doubles(keyed)
    return Writer(pool, layout, kind).write(keyed, entries[-1] if has_any else None)


def entries_of(element: Element, layout: Layout, data: Words, bounds: Bounds) -> list[Entry]:
    """Return the entries of one element: one, or those of the prefixes that a range of long addresses falls into."""
    parts = element.key.items if isinstance(element.key, Concat) else (element.key,)
    if len(parts) != len(layout.key):
        raise ValueError(f"an element has {len(parts)} parts, the set's type has {len(layout.key)}")
    found: list[tuple[Words, Words, tuple[bool, ...]]] = [((), (), ())]
    for n, (part, kind) in enumerate(zip(parts, layout.key, strict=True)):
        low, high = bounds(part, n)
        ascending(low, high, kind)
        pieces = [(low, high)] if kind.words == 1 or len(parts) == 1 else prefixes(low, high, kind.bits)
        found = [
            (a + words_of(x, kind.words), b + words_of(y, kind.words), c + (low == high,) * kind.words)
            for a, b, c in found
            for x, y in pieces
        ]
        if len(found) > MAX_PIECES:
            raise ValueError(f"an element falls into more than {MAX_PIECES} prefixes; give prefixes in place of ranges")
    return [Entry(a, b, data, element, c) for a, b, c in found]


def prefixes(low: int, high: int, bits: int) -> list[tuple[int, int]]:
    """Return the ends of the prefixes that a range is made of."""
    found = []
    while low <= high:
        width = min(low & -low or 1 << bits, 1 << (high - low + 1).bit_length() - 1)
        found.append((low, low + width - 1))
        low += width
    return found


def in_order(entries: list[Entry]) -> list[Entry]:
    """Return intervals by their low end; ValueError where two overlap."""
    found: list[Entry] = []
    for x in sorted(entries, key=lambda x: (x.low, x.high)):
        if found and x.low <= found[-1].high:
            if (x.low, x.high, x.data) == (found[-1].low, found[-1].high, found[-1].data):
                continue
            raise ValueError("two of its elements overlap, which the kernel refuses; write auto-merge, or one of them")
        found.append(x)
    return found


def without_doubles(entries: list[Entry]) -> list[Entry]:
    """Return entries of different keys; ValueError where one key has two values."""
    found: dict[Words, Entry] = {}
    for x in entries:
        if found.setdefault(x.low, x).data != x.data:
            raise ValueError("one of its keys has two values, which the kernel refuses")
    return list(found.values())


class Writer:
    """Appends the records of one set."""

    def __init__(self, pool: Pool, layout: Layout, kind: NftSetKind) -> None:
        self.pool, self.layout, self.kind = pool, layout, kind

    def write(self, entries: list[Entry], any_: Entry | None) -> int:
        """Append the set; return its place. The catch-all element stands behind the room for all others."""
        pool, layout, n = self.pool, self.layout, len(entries)
        room = self.room(n)
        ends = 1 if self.kind is NftSetKind.HASH else 2
        exact = self.exact(entries)
        everything = [*entries, *([any_] if any_ is not None else [])]
        words = [x.low + (x.high if ends == 2 else ()) + x.data for x in everything]
        carried = [layout.carried(x.element) if layout.states else [] for x in everything]
        made = Made(
            int(self.kind), layout.key_words, layout.data_words, ends * layout.key_words + layout.data_words, room, n,
            any_ is not None, pool.constant(tuple(exact)), layout.timeout, layout.states, layout.state_exprs, words,
            [self.element(x.element) for x in everything], carried,
            self.hashes(entries, exact) if self.kind is not NftSetKind.INTERVALS else [],
            layout.dynamic, [x.element.key for x in entries] if ends == 2 else [], self.fresh(entries, any_),
        )  # fmt: skip
        return pool.add(made)

    def fresh(self, entries: list[Entry], any_: Entry | None) -> dict[int, bool]:
        """Return what commands have done to elements, by their numbers; the catch-all has that of the set's room."""
        said = self.layout.fresh
        found = {n: said[x.element.key] for n, x in enumerate(entries) if x.element.key in said} if said else {}
        if any_ is not None and any_.element.key in said:
            found[self.room(len(entries))] = said[any_.element.key]
        return found

    def room(self, n: int) -> int:
        """Return how many elements a set of n has room for."""
        return max(self.layout.size or DEFAULT_SIZE, n) if self.layout.dynamic else n

    def element(self, e: Element) -> tuple[int, int, int]:
        """Return when an element is due, and after which time, in jiffies; and that it is there."""
        timeout = jiffies(e.timeout) if e.timeout is not None else self.layout.timeout
        used = 1 | (FN_NFT_BARE if self.layout.states and self.layout.bare(e) else 0)
        return jiffies(e.expires) if e.expires is not None else timeout, timeout, used

    def exact(self, entries: list[Entry]) -> list[int]:
        """Return the words of a key that are single values in all elements, as masks."""
        if self.kind is not NftSetKind.RANGES:
            return []
        return [0xFFFFFFFF * all(x.exact[i] for x in entries) for i in range(self.layout.key_words)]

    def hashes(self, entries: list[Entry], exact: list[int]) -> list[int]:
        """Return the hashes of the keys; exact: masks of the words that count where a key may be a range."""
        keys = np.array([x.low for x in entries], np.uint32).reshape(len(entries), self.layout.key_words)
        found: list[int] = hashes_of(keys & np.array(exact, np.uint32) if exact else keys).tolist()
        return found


__all__ = ["Layout", "add_set", "hashes_of", "jiffies"]
