"""An engine's state as a file, and an engine from one.

The file is NumPy's .npz: the node's files as text, the connections as records, and what rules and generator remember.
Nothing in it is believed: connections are put into new tables one by one, each checked, as the file may be anybody's.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .dtypes import CONN_HELPED
from .errors import InputError
from .iptables.model import RANDOM_FULLY
from .node import Node
from .output import Output

if TYPE_CHECKING:
    from .engine import Engine

FORMAT = 3
NONE = 0xFFFFFFFF
# matches whose slots change as packets pass: their code in MATCH, and which fields
NTH, LIMIT = 16, 24


def save(engine: Engine, path: str | Path) -> None:
    """See Engine.save."""
    with Output(path) as output:
        arrays = arrays_of(engine)
        try:
            np.savez_compressed(output.file, allow_pickle=False, **arrays)
        except OSError as error:
            raise output.error(error) from None


def arrays_of(engine: Engine) -> dict[str, NDArray[Any]]:
    """Return an engine's state by the names that it has in a file."""
    meta = {
        "format": FORMAT, "node": engine.node.texts(), "profile": engine.profile, "seed": engine.seed,
        "max_connections": engine.max_connections, "remember": engine.remember, "events": engine.max_events,
        "now": engine.now,
        "cores": {v: {"generator": c.generator, "stats": c.stats} for v, c in engine._cores.items()},
    }  # fmt: skip
    arrays: dict[str, NDArray[Any]] = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    for version, core in engine._cores.items():
        order = oldest_first(core.arrays["conns"][: core.high_water])
        rules = core.rule_counters()
        arrays |= {
            f"conns{version}": core.arrays["conns"][order],
            f"tcp{version}": core.arrays["tcp"][order],
            f"matches{version}": core.arrays["matches"],
            f"flags{version}": core.arrays["targets"]["flags"],
            f"counters{version}": np.array([rules["packets"], rules["bytes"]]),
            **{f"{name}{version}": core.arrays[name] for name in ("recent", "hashlimits", "persists")},
            **{f"{name}{version}": array for name, array in helpers_of(core, order).items()},
        }
    return arrays


def helpers_of(core: Any, order: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return helps[n], helped[n], expects[m]: what helpers know, connections named by their place in `order`."""
    conns, place = core.arrays["conns"][order], np.zeros(core.high_water, np.uint32)
    place[order] = np.arange(len(order), dtype=np.uint32)
    helped = np.flatnonzero(conns["flags"] & CONN_HELPED).astype(np.uint32)
    helps = core.arrays["helps"][core.arrays["tcp"]["help"][order[helped]]]
    announced = helps["master_kind"] != 0
    helps["master"][announced] = place[helps["master"][announced]]
    expects = core.arrays["expects"][: core.tables["expects"]]
    oldest: list[int] = []
    for first in helps["first"].tolist():
        chain: list[int] = []
        while first != NONE:
            chain.insert(0, first)
            first = int(expects["sibling"][first])
        oldest += chain
    taken = expects[oldest]
    taken["master"] = place[taken["master"]]
    return {"helps": helps, "helped": helped, "expects": taken}


def oldest_first(conns: NDArray[Any]) -> NDArray[np.int64]:
    """Return the live records, of those with one source the oldest first: a list of bysource begins with the newest."""
    live = np.flatnonzero(conns["flags"])
    depth = np.zeros(len(conns), np.int64)
    at = live[conns["bysource_prev"][live] == NONE]
    level = 0
    while len(at):
        depth[at] = level
        level += 1
        following = conns["bysource_next"][at]
        at = following[following != NONE].astype(np.int64)
    order: NDArray[np.int64] = live[np.argsort(-depth[live], kind="stable")]
    return order


def restore(path: str | Path) -> Engine:
    """See Engine.restore."""
    try:
        meta, arrays = _read(path)
        if meta["format"] != FORMAT:
            raise InputError(f"{path}: format {meta['format']}; this fastnat reads {FORMAT}")
        return _engine(meta, arrays)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        if str(error).startswith(f"{path}:"):
            raise
        raise InputError(f"{path}: not a state that this version can take over: {error}") from None


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads(arrays.pop("meta").tobytes()), arrays
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except Exception as error:
        # NumPy's reader raises SyntaxError, TokenError, BadZipFile, zlib.error and more, as the damage has it
        raise InputError(f"{path}: not a state that fastnat saved: {error}") from None


def _engine(meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Engine:
    from .engine import Engine

    with tempfile.TemporaryDirectory() as folder:
        for name, text in meta["node"].items():
            if Path(name).name != name:
                raise ValueError(f"file name {name!r}")
            (Path(folder) / name).write_text(text)
        node = Node.load(folder, lenient=True)
    engine = Engine(
        node, meta["profile"], int(meta["seed"]), int(meta["max_connections"]), remember=bool(meta["remember"]),
        events=int(meta["events"]),
    )  # fmt: skip
    engine.advance(float(meta["now"]))
    for version, core in engine._cores.items():
        given = {name: arrays[f"{name}{version}"] for name in ("conns", "tcp", "matches", "flags", "counters")}
        numbers = core.adopt(np.ascontiguousarray(given["conns"]), np.ascontiguousarray(given["tcp"]))
        _helpers(core, numbers, *(arrays[f"{name}{version}"] for name in ("helps", "helped", "expects")))
        lists = (arrays[f"{name}{version}"] for name in ("recent", "hashlimits", "persists"))
        saved = meta["cores"][str(version)]
        core.take_over(*lists, [int(n) for n in saved["generator"]], [int(n) for n in saved["stats"]])
        _rules(core, given["matches"], given["counters"])
        # what Engine.set_random_fully changed; a ValueError where the shapes differ
        core.arrays["targets"]["flags"] |= given["flags"].astype(np.uint16) & np.uint16(RANDOM_FULLY)
    if engine.max_events:
        engine.all_events()
    return engine


def _helpers(
    core: Any, numbers: NDArray[np.uint32], helps: NDArray[Any], helped: NDArray[Any], expects: NDArray[Any]
) -> None:
    """Take over what helpers know; an IndexError where a place is not one of the connections'."""
    masters = np.zeros(len(helps), np.uint32)
    announced = helps["master_kind"] != 0
    masters[announced] = numbers[helps["master"][announced]]
    core.adopt_help(np.ascontiguousarray(helps), numbers[helped], masters)
    expects = np.ascontiguousarray(expects).copy()
    expects["master"] = numbers[expects["master"]]
    core.adopt_expects(expects)


def _rules(core: Any, matches: NDArray[Any], counters: NDArray[Any]) -> None:
    """Take over counters of rules, and what -m statistic nth and -m limit have counted."""
    rules, there = core.arrays["rules"], core.arrays["matches"]
    same = matches.dtype == there.dtype and matches.shape == there.shape and (matches["kind"] == there["kind"]).all()
    if not same or counters.shape != (2, len(rules)):
        raise ValueError("the rules are not those that were saved")
    rules["packets"], rules["bytes"] = counters
    counted = there["kind"] == NTH
    there["c"][counted] = np.minimum(matches["c"][counted], there["a"][counted])
    # the slot behind a limit holds its credit and the time of the last packet
    behind = np.flatnonzero(there["kind"] == LIMIT) + 1
    there["a"][behind], there["b"][behind] = matches["a"][behind], matches["b"][behind]
