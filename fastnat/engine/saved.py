"""An engine's state as a file, and an engine from one.

The file is NumPy's .npz: the node's files as text, the connections as records, and what rules and generator remember.
Nothing in it is trusted, because anybody may have made it: each connection is checked and inserted into new tables.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.datapath import Datapath
from ..core.layout import FN_NONE
from ..dtypes import CONN_HELPED, CONN_LIVE
from ..errors import InputError
from ..node import Node
from ..node.model import NODE_FILES
from ..util.files import name_of, open_file, scratch
from ..util.output import Output
from ..util.text import excerpt, finite, shown, whole
from . import nft_state
from .arrays import restore_rules
from .saved_file import StateFile

if TYPE_CHECKING:
    from .engine import Engine

FORMAT = 11
# seconds that 64-bit jiffies hold
MAX_TIME = 1e15
# what rules and services remember
# of rules of nftables, and the arrays whose type each has and than which it is not longer
NFT = {
    "nft_sizes": "nft_words", "nft_words": "nft_words", "nft_elements": "nft_elements", "nft_carried": "nft_states",
    "nft_states": "nft_states", "nft_times": "nft_words", "nft_conns": "nft_conns",
}  # fmt: skip
LISTS = ("recent", "stamps", "hashlimits", "services", "elements")


def save(engine: Engine, path: str | Path) -> None:
    """See Engine.save."""
    with Output(path) as output:
        with ExitStack() as held:
            # no other thread may work in the engine meanwhile
            for stack in engine.stacks.values():
                held.enter_context(stack.core)
                stack.core.collect_due()
            arrays = arrays_of(engine)
        try:
            np.savez_compressed(output.file, allow_pickle=False, **arrays)
        except OSError as error:
            raise output.error(error) from None


def arrays_of(engine: Engine) -> dict[str, NDArray[np.void]]:
    """Return an engine's state by the names of its arrays in a file."""
    meta = {
        "format": FORMAT, "node": engine.node_files, "profile": engine.profile, "seed": engine.seed,
        "max_connections": engine.max_connections, "remember": engine.remember, "events": engine.max_events,
        "now": engine.now, "key": engine.key, "bitmap_bytes": engine.bitmap_bytes,
        "random_fully": engine.random_fully, "epoch": engine.epoch, "uid": engine.uid, "gid": engine.gid,
        "cores": {v: {"generator": s.core.generator, "stats": s.core.stats} for v, s in engine.stacks.items()},
    }  # fmt: skip
    arrays: dict[str, NDArray[np.void]] = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    for version, stack in engine.stacks.items():
        core = stack.core
        order = oldest_first(core.arrays["conns"][: core.high_water])
        rules = core.rule_counters()
        arrays |= {
            f"conns{version}": core.arrays["conns"][order],
            f"tcp{version}": core.arrays["tcp"][order],
            f"acct{version}": core.arrays["acct"][order],
            f"matches{version}": core.arrays["matches"].copy(),
            f"counters{version}": np.array([rules["packets"], rules["bytes"]]),
            **{f"{name}{version}": core.arrays[name].copy() for name in LISTS},
            f"connlimits{version}": core.connlimits(),
            f"ipvs{version}": core.ipvs_connections(),
            **{f"{name}{version}": array for name, array in helpers_of(core, order).items()},
            **{f"{name}{version}": array for name, array in nft_state.taken(core, stack.program).items()},
        }
    return arrays


def helpers_of(core: Datapath, order: NDArray[np.int64]) -> dict[str, NDArray[np.void]]:
    """Return helps[n], helped[n], expects[m]: what helpers know, connections named by their place in `order`."""
    conns, place = core.arrays["conns"][order], np.full(core.high_water, FN_NONE, np.uint32)
    place[order] = np.arange(len(order), dtype=np.uint32)
    helped = np.flatnonzero(conns["flags"] & CONN_HELPED).astype(np.uint32)
    helps = core.arrays["helps"][core.arrays["tcp"]["help"][order[helped]]]
    # one that is over may have left its place to another
    serials = {int(s): n for s, n in zip(helps["serial"], helped, strict=True)}
    helps["master"] = [serials.get(int(s), FN_NONE) for s in helps["master_serial"]]
    expects = core.arrays["expects"][: core.tables["expects"]]
    oldest: list[int] = []
    for first in helps["first"].tolist():
        chain: list[int] = []
        while first != FN_NONE:
            chain.insert(0, first)
            first = int(expects["sibling"][first])
        oldest += chain
    taken = expects[oldest]
    taken["master"] = place[taken["master"]]
    return {"helps": helps, "helped": helped, "expects": taken}


def oldest_first(conns: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the live records, the oldest of each source first, because a bysource list begins with the newest."""
    live = np.flatnonzero(conns["flags"] & CONN_LIVE)
    depth = np.zeros(len(conns), np.int64)
    at = live[conns["bysource_prev"][live] == FN_NONE]
    level = 0
    while len(at):
        depth[at] = level
        level += 1
        following = conns["bysource_next"][at]
        at = following[following != FN_NONE].astype(np.int64)
    order: NDArray[np.int64] = live[np.argsort(-depth[live], kind="stable")]
    return order


def restore(path: str | Path, new: type[Engine]) -> Engine:
    """See Engine.restore. new: the class of the engine."""
    path = name_of(path)
    where = excerpt(path)
    try:
        with open_file(path) as raw, StateFile(raw) as file:
            meta = file.meta()
            if meta["format"] != FORMAT:
                raise InputError(f"format {shown(meta['format'])}; this fastnat reads {FORMAT}")
            return _engine(meta, file, new)
    except MemoryError:
        raise InputError(f"{where}: there is not enough memory for this state") from None
    except Exception as error:
        # a damaged file raises BadZipFile, zlib.error, SyntaxError, RuntimeError and more; none of these may get out
        why = excerpt(str(error) or type(error).__name__, 1000)
        if isinstance(error, InputError) and why.startswith(f"{where}:"):
            raise
        raise InputError(f"{where}: this version cannot restore this state: {why}") from None


def _node(texts: Any) -> Node:
    """Return the node of the files that were saved, by name."""
    if not isinstance(texts, dict):
        raise TypeError("the node's files are not a JSON object")
    with scratch() as folder:
        for name, text in texts.items():
            if name not in NODE_FILES or not isinstance(text, str):
                raise ValueError(f"{shown(name, 60)} is not a file of a node")
            (Path(folder) / name).write_text(text)
        try:
            return Node.load(folder, lenient=True)
        except InputError as error:
            raise InputError(str(error).replace(f"{folder}/", "")) from None


def _engine(meta: dict[str, Any], file: StateFile, new: type[Engine]) -> Engine:
    engine = new(
        _node(meta["node"]), meta["profile"], meta["seed"], meta["max_connections"], remember=bool(meta["remember"]),
        events=meta["events"], key=meta["key"], bitmap_bytes=meta["bitmap_bytes"], epoch=meta["epoch"],
    )  # fmt: skip
    engine.uid, engine.gid = meta["uid"], meta["gid"]
    engine.advance(finite(meta["now"], 0, MAX_TIME))
    for version, stack in engine.stacks.items():
        core = stack.core
        numbers = [np.zeros(0, np.uint32)]
        records = {f"{name}{version}": core.arrays[name].dtype for name in ("conns", "tcp", "acct")}
        for conns, tcp, acct in file.together(records, engine.max_connections):
            numbers.append(core.adopt(conns, tcp, acct))
        _helpers(core, np.concatenate(numbers), file, version)
        lists = {name: _like(core, name, file, version) for name in LISTS}
        saved = meta["cores"][str(version)]
        generator, stats = _words(saved["generator"], len(core.generator)), _words(saved["stats"], len(core.stats))
        core.take_over(lists, generator, stats)
        connlimits = core.arrays["connlimits"]
        counted = file.take_some(f"connlimits{version}", connlimits.dtype, len(connlimits))
        core.adopt_connlimits(counted, stack.ruleset.connlimit_lists)
        there = core.arrays["ipvs_conns"]
        core.adopt_ipvs(file.take_some(f"ipvs{version}", there.dtype, len(there)))
        counters = file.take(f"counters{version}", np.dtype(np.uint64), (2, len(core.arrays["rules"])))
        restore_rules(core, _like(core, "matches", file, version), counters)
        given = {
            name: file.take_some(f"{name}{version}", core.arrays[like].dtype, len(core.arrays[like]))
            for name, like in NFT.items()
        }
        nft_state.put_back(core, stack.program, given)
    if meta["random_fully"]:
        engine.set_random_fully()
    if engine.max_events:
        # restoring a connection is no event
        for stack in engine.stacks.values():
            stack.core.take_events()
    return engine


def _words(given: object, n: int) -> list[int]:
    """Return n numbers of 64 bits; the core reads n, whatever the file holds."""
    if not isinstance(given, list) or len(given) != n:
        raise ValueError(f"expected a list of {n} numbers, got {shown(given, 60)}")
    return [whole("number", word, 0, 2**64 - 1) for word in given]


def _like(core: Datapath, name: str, file: StateFile, version: int) -> NDArray[np.void]:
    """Return an array that is as long as this engine's own."""
    there = core.arrays[name]
    return file.take(f"{name}{version}", there.dtype, there.shape)


def _helpers(core: Datapath, numbers: NDArray[np.uint32], file: StateFile, version: int) -> None:
    """Restore what helpers know; IndexError if a place is not that of a connection."""
    helps = file.take_some(f"helps{version}", core.arrays["helps"].dtype, len(numbers))
    helped = file.take(f"helped{version}", np.dtype(np.uint32), (len(helps),))
    expects = file.take_some(f"expects{version}", core.arrays["expects"].dtype, len(core.arrays["expects"]))
    masters = np.full(len(helps), FN_NONE, np.uint32)
    announced = (helps["master_kind"] != 0) & (helps["master"] != FN_NONE)
    masters[announced] = numbers[helps["master"][announced]]
    core.adopt_help(helps, numbers[helped], masters)
    expects["master"] = numbers[expects["master"]]
    core.adopt_expects(expects)
