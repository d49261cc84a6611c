"""The arrays that a datapath is made of: new ones, those that depend on the node, copies, and their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import Family
from ..core.datapath import Datapath
from ..core.layout import (
    FN_CHUNK_IDS,
    FN_CONNLIMIT_HEADS,
    FN_DST16,
    FN_EXPECT_HEADS,
    FN_FAR_SLOTS,
    FN_GROUP_BUCKETS,
    FN_HASHLIMIT_SLOTS,
    FN_IPVS_WHEEL,
    FN_PAGE_MAPS,
    FN_PAGE_WORDS,
    FN_PASS_MEMOS,
    FN_RECENT_ENTRIES,
    FN_WHEEL_SLOTS,
    MatchKind,
)  # fmt: skip
from ..dtypes import ACCT, BUCKET, CHUNK, CONN_COUNTED, HELP, PASS_MEMO, TABLE_MEMO, TCP, records_of
from ..nftables.program import Program
from ..node import Node
from ..node.arrays import address_array, address_classes, iface_flags, mac_arrays, policy_array, route_array
from ..node.ipset import compile_sets
from ..node.ipvs import compile_services
from ..rules.compiler import Ruleset, lasting
from ..rules.forms import FORMS, view_of
from ..util.memory import reserve
from . import nft_state
from .settings import MEMOS, Settings, expect_max, hash_buckets, is_accounted

# arrays of sets of nftables, most of whose pages nobody has written
SPARSE = ("nft_words", "nft_elements", "nft_states", "nft_slots")
# core/tuples/table.pxd: items a group, on average, that make a table grow
GROUP_LOAD = 115
# most bitmaps of ports, and bytes of a page
BITMAPS, PAGE_BYTES = 16_384, FN_PAGE_MAPS * 8 * FN_PAGE_WORDS
# connections of IPVS for one of conntrack: a query of UDP stays there ten times as long
IPVS_SHARE = 8
# what all lists of -m connlimit together hold, 32 bytes each, if two for each connection are not more
CONNLIMITS = 1 << 22
# items a bucket, on average, below which no chain reaches its limit of 50: one of Poisson(16) has 52 in 1e-12 cases
CHAIN_LOAD = 16


def new_tables(
    node: Node, family: Family, r: Ruleset, program: Program, settings: Settings
) -> dict[str, NDArray[np.void]]:
    """Return all arrays of a new datapath, empty; untouched pages take no memory."""
    n = settings.max_connections
    records = records_of(family)
    now = settings.prefault
    slots = FN_WHEEL_SLOTS + FN_FAR_SLOTS
    return {
        "conns": reserve(n, records.CONN, now),
        "tcp": reserve(n, TCP, now),
        "acct": reserve(n, ACCT, now and is_accounted(node)),
        "free_ids": reserve(n, np.dtype(np.uint32), now),
        "tuples": reserve(_buckets(2 * n), BUCKET, now),
        "sources": reserve(_buckets(n), BUCKET, now),
        "chains": reserve(_chains(node, settings), np.dtype(np.uint16)),
        "chunks": reserve(n // FN_CHUNK_IDS + slots + 16, CHUNK, now),
        "wheel": reserve(slots, np.dtype(np.uint32)),
        "wheel_busy": reserve(slots // 64, np.dtype(np.uint64)),
        "dst16_counts": reserve(FN_DST16, np.dtype(np.uint32)),
        **_bitmaps(settings.bitmap_bytes, records.BITMAP_KEY),
        "events": reserve(settings.max_events, records.EVENT),
        "helps": reserve(n, HELP),
        # two keys a PPTP connection beside what is expected
        "expects": reserve(expect_max(node, settings) + 2 * n, records.EXPECT),
        "expect_heads": reserve(FN_EXPECT_HEADS, np.dtype(np.uint32)),
        **node_tables(node, family, r, program, n),
        **ipvs_tables(node, family, n),
    }


def ipvs_tables(node: Node, family: Family, connections: int) -> dict[str, NDArray[np.void]]:
    """Return the arrays of IPVS's own connections, empty ones for a node without services of this family.

    connections: how many conntrack may have.
    """
    n = IPVS_SHARE * connections if any(s.family is family for s in node.services) else 0
    return {
        "ipvs_conns": reserve(n, records_of(family).IPVS_CONN),
        "ipvs_heads": reserve(1 << max(connections - 1, 1).bit_length() if n else 1, np.dtype(np.uint32)),
        "ipvs_wheel": reserve(FN_IPVS_WHEEL if n else 0, np.dtype(np.uint32)),
        "ipvs_busy": reserve(FN_IPVS_WHEEL // 64 if n else 0, np.dtype(np.uint64)),
    }


def node_tables(
    node: Node, family: Family, r: Ruleset, program: Program, connections: int, now: int = 0
) -> dict[str, NDArray[np.void]]:
    """Return the arrays that depend on the node's rules, addresses and routes.

    connections: how many there may be; now: when the timeouts of the sets' elements begin [jiffies].
    """
    records = records_of(family)
    sets, elements, set_members = compile_sets(node.sets, family, node.iface_names, now)
    rings = [*r.recent_rings.values()]
    firsts = [*accumulate((ring * FN_RECENT_ENTRIES for ring in rings), initial=0)][:-1]
    class_start, class_route, class_of_octet = address_classes(node, r.address_cuts, family)
    return {
        "rules": r.rules,
        "matches": r.matches,
        "targets": r.targets,
        "port_slots": r.port_slots,
        "dispatches": r.dispatches,
        "dispatch_slots": r.dispatch_slots,
        "iface_match": r.iface_match,
        "jump_stack": np.zeros(r.jump_depth, np.uint32),
        "waypoints": np.zeros(0, records.WAYPOINT),
        "routes": route_array(node, family),
        "fib_rules": policy_array(node, family),
        **compile_services(node.services, family),
        "sets": sets,
        "elements": elements,
        "set_members": set_members,
        "recent": reserve(len(rings) * FN_RECENT_ENTRIES, records.RECENT),
        "recent_lists": np.array([*zip(rings, firsts, strict=True)], records.RECENT_LIST),
        "stamps": reserve(sum(rings) * FN_RECENT_ENTRIES, np.dtype(np.uint32)),
        "hashlimits": reserve(len(r.hashlimit_tables) * FN_HASHLIMIT_SLOTS, records.HASHLIMIT),
        "connlimits": reserve(_connlimits(connections, r), records.CONNLIMIT),
        "connlimit_heads": reserve(FN_CONNLIMIT_HEADS * bool(r.connlimit_lists), np.dtype(np.uint32)),
        "table_memos": reserve(MEMOS, TABLE_MEMO),
        "memos": reserve(MEMOS, records.MEMO),
        "pass_memos": reserve(FN_PASS_MEMOS, PASS_MEMO),
        "class_start": class_start,
        "class_route": class_route,
        "class_of_octet": class_of_octet,
        "port_start0": _port_starts(r.sport_starts, [p.sports for p in node.policy_of(family)]),
        "port_start1": _port_starts(r.dport_starts, [p.dports for p in node.policy_of(family)]),
        "addresses": address_array(node, family),
        "iface_flags": iface_flags(node, family),
        **mac_arrays(node, family),
        **program.arrays,
    }


def _port_starts(of_rules: NDArray[np.void], of_policies: list[tuple[int, int]]) -> NDArray[np.void]:
    """Return where the answer of a rule, or the route that a policy rule leads to, may change with the port."""
    cuts = {port for low, high in of_policies for port in (low, high + 1)}
    return np.array(sorted({*of_rules.tolist(), *(port for port in cuts if port < 65536)}), np.uint32)


def fork(core: Datapath) -> Datapath:
    """Return another datapath in the same state: its tables copied as far as they are in use."""
    with core:
        t, high = core.tables, core.high_water
        used = {
            "conns": high, "tcp": high, "free_ids": t["free"], "chunks": t["chunks"], "bitmap_keys": t["bitmaps"],
            "bitmap_pages": t["bitmap_pages"] * PAGE_BYTES // 8, "tuples": t["tuple_groups"] * FN_GROUP_BUCKETS,
            "sources": t["source_groups"] * FN_GROUP_BUCKETS, "helps": t["helps"], "expects": t["expects"],
            "acct": _accounts(core),
            "connlimits": t["connlimits"], "ipvs_conns": t["ipvs_conns"],
            "nft_conns": t["nft_conns"],
        }  # fmt: skip
        arrays = {}
        for name, array in core.arrays.items():
            arrays[name] = reserve(len(array), array.dtype, sparse=name in SPARSE)
            if name in SPARSE:
                continue
            n = used.get(name, len(array))
            arrays[name][:n] = array[:n]
        nft_state.copy_used(core.arrays, arrays)
        other = type(core)(arrays, None, core.packet_dtype, core.result_dtype)
        other.set_state(core.state())
        return other


def bytes_of(core: Datapath) -> int:
    """Return the bytes that a datapath has touched."""
    t, high = core.tables, core.high_water
    conns = core.arrays["conns"]
    tcp = high * 64 if np.isin(conns["tuples"]["proto"][:high, 0], (6, 132)).any() else 0
    fixed = sum(core.arrays[k].nbytes for k in ("wheel", "wheel_busy", "rules", "matches", "targets", "routes"))
    buckets = (t["tuple_groups"] + t["source_groups"]) * FN_GROUP_BUCKETS * 64
    accounts = _accounts(core) * ACCT.itemsize
    helpers = t["helps"] * HELP.itemsize + t["expects"] * core.arrays["expects"].itemsize
    bitmaps = t["bitmaps"] * core.arrays["bitmap_keys"].itemsize + t["bitmap_pages"] * PAGE_BYTES
    index = core.arrays["bitmap_index"].nbytes if t["bitmaps"] else 0
    beside = tcp + accounts + helpers
    return int(high * (conns.itemsize + 4) + beside + buckets + t["chunks"] * 64 + bitmaps + index + fixed)


def _connlimits(connections: int, r: Ruleset) -> int:
    """Return how many connections all lists of -m connlimit hold together; beyond that packets are dropped."""
    # each may be counted for both of its ends
    every = 2 * connections
    return min(every * r.connlimit_lists, max(every, CONNLIMITS))


def _accounts(core: Datapath) -> int:
    """Return the number of records up to the last that was ever accounted, or all that were used."""
    flags = core.arrays["conns"]["flags"][: core.high_water]
    return core.high_water if (flags & CONN_COUNTED).any() else 0


def _bitmaps(size: int, key: np.dtype[Any]) -> dict[str, NDArray[np.void]]:
    """Return the arrays of the bitmaps of ports, together not more than `size` bytes."""
    # a quarter for keys and their index, of which a bitmap has four words
    count = min(size // 4 // (key.itemsize + 16), BITMAPS)
    places = 4 << max(count - 1, 0).bit_length() if count else 1
    pages = (size - count * key.itemsize - places * 4) // PAGE_BYTES if count else 0
    return {
        "bitmap_keys": reserve(count, key),
        "bitmap_index": reserve(places, np.dtype(np.uint32)),
        "bitmap_pages": reserve(max(pages, 0) * PAGE_BYTES // 8, np.dtype(np.uint64)),
    }


def _chains(node: Node, settings: Settings) -> int:
    """Return how many chain lengths to keep: nf_conntrack_buckets, or 0 if no chain can reach the limit."""
    if settings.profile == "linux-5.4":
        return 0
    buckets = hash_buckets(node, settings)
    return buckets if 2 * settings.max_connections > CHAIN_LOAD * buckets else 0


def _buckets(items: int) -> int:
    """Return the buckets that a table of this many items grows to (core/tuples/table)."""
    return (items // GROUP_LOAD + 2) * FN_GROUP_BUCKETS


def restore_rules(core: Datapath, matches: NDArray[np.void], counters: NDArray[np.void]) -> None:
    """Restore the counters of rules, and those of -m statistic nth, -m limit and -m quota.

    Raises ValueError for matches of other rules.
    """
    rules, there = core.writable("rules"), core.writable("matches")
    if not (matches["kind"] == there["kind"]).all():
        raise ValueError("the rules are not those that were saved")
    rules["packets"], rules["bytes"] = counters
    counted = there["kind"] == MatchKind.NTH
    saved, here = view_of(matches, FORMS["nth"]), view_of(there, FORMS["nth"])
    here["count"][counted] = np.minimum(saved["count"][counted], here["last"][counted])
    quotas = there["kind"] == MatchKind.QUOTA
    view_of(there, FORMS["quota"])[quotas] = view_of(matches, FORMS["quota"])[quotas]
    # the slot behind a limit
    behind = np.flatnonzero(there["kind"] == MatchKind.LIMIT) + 1
    view_of(there, FORMS["limit_more"])[behind] = view_of(matches, FORMS["limit_more"])[behind]


def keep_services(core: Datapath, tables: dict[str, NDArray[np.void]], fresh: Mapping[str, NDArray[np.void]]) -> None:
    """Let IPVS go on in `tables`: with the schedulers of services that are the same, and with its own connections.

    fresh: ipvs_tables() for a node that had no service before.
    """
    if not len(core.arrays["ipvs_conns"]):
        tables.update(fresh)
    before = dict(scheduled(core.arrays))
    services = tables["services"]
    for n, (said, _) in enumerate(scheduled(tables)):
        if said in before:
            services["at"][n], services["weight"][n] = before[said]


def scheduled(tables: Mapping[str, NDArray[np.void]]) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield for each service what is said of it and its real servers, and how far its scheduler has got with them."""
    services, servers = tables["services"].copy(), tables["servers"].copy()
    moved = zip(services["at"].tolist(), services["weight"].tolist(), strict=True)
    firsts = services["first"].tolist()
    for one, moves in ((services, ("at", "weight", "first")), (servers, ("active", "inactive"))):
        for field in moves:
            one[field] = 0
    for n, (first, pair) in enumerate(zip(firsts, moved, strict=True)):
        yield services[n].tobytes() + servers[first : first + int(services["n"][n])].tobytes(), pair


def keep_lists(core: Datapath, old: Mapping[str, NDArray[Any]], before: Ruleset, after: Ruleset) -> None:
    """Copy what lists of -m recent and tables of -m hashlimit remember to those of the same name.

    A list of -m recent that a larger hit count makes longer begins empty (recent_table_flush).
    """
    kept = lasting(before.parsed, after.parsed)
    recent, stamps, buckets = core.writable("recent"), core.writable("stamps"), core.writable("hashlimits")
    froms, tos = old["recent_lists"], core.arrays["recent_lists"]
    lists = {name: n for n, name in enumerate(before.recent_rings)}
    tables = {name: n for n, name in enumerate(before.hashlimit_tables)}
    for n, (name, ring) in enumerate(after.recent_rings.items()):
        if before.recent_rings.get(name) == ring and ("recent", name) in kept:
            m, size = lists[name], FN_RECENT_ENTRIES
            recent[n * size : (n + 1) * size] = old["recent"][m * size : (m + 1) * size]
            here, there = int(tos["first"][n]), int(froms["first"][m])
            stamps[here : here + ring * size] = old["stamps"][there : there + ring * size]
    for n, name in enumerate(after.hashlimit_tables):
        if ("hashlimit", name) in kept:
            m, size = tables[name], FN_HASHLIMIT_SLOTS
            buckets[n * size : (n + 1) * size] = old["hashlimits"][m * size : (m + 1) * size]
