"""Scenarios: a question to the laboratory as a TOML file.

[node]
path = "node"                  # a node directory, from this file's folder; without it the packaged k8s-worker
profile = "linux-6.18"

[workload]
proto = "tcp"
destinations = ["203.0.113.10:443", "203.0.113.11:443"]
zipf = 1.1                     # or weights = [3, 1]
rate = 800                     # flows a second, or [[stage]] tables
hold = "exp:5s"
clients = 200
sport = "random"

[[stage]]
for = "2m"
rate = 100
to = 800

[vary]
addresses = [1, 2]
tcp-time-wait = [120, 30]
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_text
from .variants import Variant, label_of, parse, sport_of
from .workload import Workload, zipf

TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?$")
UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
SECTIONS = ("node", "workload", "stage", "vary", "run")
NODE_KEYS = ("path", "profile")
RUN_KEYS = ("seeds", "seed")
STAGE_KEYS = ("for", "rate", "to")
WORKLOAD_KEYS = (*(f.name for f in fields(Workload) if f.name != "stages"), "zipf", "requests_per_connection")


@dataclass(frozen=True)
class Scenario:
    """A question: where (None: the packaged node), under which kernel, what is opened, what is varied, how often."""

    node: Path | None
    profile: str
    work: Workload
    variants: list[Variant] = field(default_factory=list)
    seeds: int = 1
    seed: int = 0


def endpoint(text: str) -> tuple[str, int]:
    """Return "a.b.c.d:port" as a pair; InputError for anything else."""
    from ..addresses import to_int

    address, colon, port = str(text).rpartition(":")
    try:
        to_int(address)
        if not colon or not 0 < int(port) <= 65535:
            raise ValueError
    except ValueError:
        raise InputError(f"destination {text!r}: expected IP:PORT, for example 203.0.113.10:53") from None
    return address, int(port)


def seconds(value: Any) -> float:
    """Return a time: a number of seconds, or "90s", "5m", "2h", "300ms"; ValueError for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    found = TIME.match(str(value).strip())
    if not found:
        raise ValueError(f"{value!r} is no time; accepted are seconds, or a number with ms, s, m or h")
    return float(found[1]) * UNITS[found[2] or ""]


def hold_of(value: Any) -> float | str:
    """Return a hold time, its times turned to seconds."""
    kind, colon, rest = str(value).partition(":")
    if not colon:
        return seconds(value)
    separator = "-" if kind == "uniform" else ","
    words = rest.split(separator)
    times = words if kind == "uniform" else words[:1]
    return f"{kind}:" + separator.join([*(repr(seconds(w)) for w in times), *words[len(times) :]])


class Reader:
    """A TOML file; errors name the file and the line of the key."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, read_text(path)
        try:
            self.data: dict[str, Any] = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: {error}") from None

    def fail(self, key: str, why: str) -> InputError:
        """Return the error for a key; the caller raises it."""
        lines = self.text.splitlines()
        at = next((n for n, t in enumerate(lines, 1) if re.match(rf"\s*\[*\"?{re.escape(key)}\b", t)), 0)
        return InputError(f"{self.path}:{at}: {key}: {why}")

    def known(self, table: Any, section: str, keys: tuple[str, ...]) -> dict[str, Any]:
        """Return a table whose keys are all known."""
        if not isinstance(table, dict):
            raise self.fail(section, "expected a table")
        for key in table:
            if key not in keys:
                raise self.fail(key, f"unknown in [{section}]; accepted are {', '.join(keys)}")
        return table

    def value(self, table: dict[str, Any], key: str, make: Any, default: Any) -> Any:
        """Return a key's value, made by `make`; its ValueErrors and InputErrors name the key."""
        if key not in table:
            return default
        try:
            return make(table[key])
        except (ValueError, TypeError) as error:
            raise self.fail(key, str(error)) from None


def load(path: Path) -> Scenario:
    """Read a scenario; InputError names the file, the line and what is accepted there."""
    r = Reader(path)
    r.known(r.data, "the file", SECTIONS)
    node = r.known(r.data.get("node", {}), "node", NODE_KEYS)
    settings = r.known(r.data.get("run", {}), "run", RUN_KEYS)
    where = node.get("path")
    work = _workload(r)
    try:
        work.check()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    variants = _variants(r)
    seeds = r.value(settings, "seeds", int, 3 if len(variants) > 1 else 1)
    return Scenario(
        path.parent / where if where else None, node.get("profile", "linux-6.18"), work, variants, seeds,
        r.value(settings, "seed", int, 0),
    )  # fmt: skip


def _workload(r: Reader) -> Workload:
    table = r.known(r.data.get("workload", {}), "workload", WORKLOAD_KEYS)
    given: dict[str, Any] = {}
    makers = {
        "destinations": lambda v: tuple(endpoint(d) for d in v), "weights": lambda v: tuple(float(w) for w in v),
        "hold": hold_of, "rate": float, "flows": int, "clients": int, "cpus": int, "poisson": bool, "replies": bool,
        "proto": str, "iface": str, "network": str, "close": str,
        "sport": lambda v: sport_of(str(v)),
    }  # fmt: skip
    for key, make in makers.items():
        if key in table:
            given[key] = r.value(table, key, make, None)
    given.setdefault("destinations", (("203.0.113.10", 53),))
    if "zipf" in table:
        given["weights"] = zipf(len(given["destinations"]), r.value(table, "zipf", float, 1.0))
    if given.get("proto", "udp") not in ("udp", "tcp"):
        raise r.fail("proto", f"{given['proto']!r} is not udp or tcp")
    stages = r.data.get("stage", [])
    if not isinstance(stages, list):
        raise r.fail("stage", "expected tables [[stage]]")
    made = []
    for stage in stages:
        r.known(stage, "stage", STAGE_KEYS)
        rate = r.value(stage, "rate", float, 0.0)
        made.append((r.value(stage, "for", seconds, 60.0), rate, r.value(stage, "to", float, rate)))
    given["stages"] = tuple(made)
    requests = r.value(table, "requests_per_connection", float, 1.0)
    if requests < 1:
        raise r.fail("requests_per_connection", f"{requests} is less than 1")
    if requests != 1.0:
        # rates count requests: connections are opened for every n-th of them
        given["rate"] = given.get("rate", 0.0) / requests
        given["stages"] = tuple((t, a / requests, b / requests) for t, a, b in made)
    return Workload(**given)


def _variants(r: Reader) -> list[Variant]:
    table = r.data.get("vary", {})
    if not isinstance(table, dict):
        raise r.fail("vary", "expected a table")
    words = []
    for key, values in table.items():
        listed = values if isinstance(values, list) else [values]
        texts = [("on" if v else "off") if isinstance(v, bool) else str(v) for v in listed]
        words.append(f"{key}={':'.join(texts)}")
        try:
            parse(words[-1])
        except InputError as error:
            raise r.fail(key, str(error).removeprefix("--vary ")) from None
    variants = parse(",".join(words))
    first = list(variants[0].factors)
    return [Variant(v.factors, label_of(v.factors, first)) for v in variants]
