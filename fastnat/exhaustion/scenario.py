"""Scenarios: a question to the laboratory as a TOML file.

[node]
path = "node"                  # a node directory, from this file's folder; without it the packaged k8s-worker
profile = "linux-6.18"
epoch = 2026-11-26T20:00:00Z   # when it begins, for rules with -m time; or seconds since 1970

[workload]
proto = "tcp"
destinations = ["203.0.113.10:443", "203.0.113.11:443"]
zipf = 1.1                     # or weights = [3, 1]
rate = 800                     # flows a second, "1.5k/s" in quotes; or [[stage]] tables
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

import ipaddress
import re
import tomllib
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..engine.engine import MAX_DATE
from ..engine.settings import PROFILES
from ..errors import InputError
from ..util.files import read_text
from ..util.text import end_of, excerpt, finite, shown
from ..util.units import COUNT, RATE
from .factors import sport_of
from .times import hold_of, seconds
from .variants import MAX_SEEDS, Variant, combinations, with_rate_of, with_rates_divided
from .workload import MAX_RATE, Workload, zipf

SECTIONS = ("node", "workload", "stage", "vary", "run")
NODE_KEYS = ("path", "profile", "epoch")
RUN_KEYS = ("seeds", "seed")
STAGE_KEYS = ("for", "rate", "to")
# characters of a scenario, parts of a dotted key: tomllib takes the square of the parts; tables [[stage]]
MAX_TEXT, MAX_PARTS, MAX_STAGES = 4 << 20, 16, 1000
# destinations of one network
MOST_HOSTS = 65_536
PART = r"(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')"
DOTTED = re.compile(rf"(?:^|[{{,\[])[ \t]*+{PART}(?:[ \t]*+\.[ \t]*+{PART}){{{MAX_PARTS}}}", re.MULTILINE)
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
    # seconds since 1970
    epoch: float | None = None


def endpoints(text: str) -> list[tuple[str, int]]:
    """Return the destinations of "IP:PORT", "[IPv6]:PORT" or "NET/LEN:PORT"; InputError for anything else.

    Of a network these are its hosts: without its first and last address where it has more than two.
    """
    try:
        address, number = end_of(str(text))
        if not number:
            raise ValueError
        if "/" not in address:
            return [(str(ipaddress.ip_address(address)), number)]
        network = ipaddress.ip_network(address, strict=False)
    except ValueError:
        raise InputError(
            f"destination {shown(text)}: expected IP:PORT, [IPv6]:PORT or NETWORK/LEN:PORT, for example "
            "203.0.113.10:53, [2001:db8::9]:443 or 203.0.113.0/24:443"
        ) from None
    if network.num_addresses > MOST_HOSTS:
        raise InputError(f"destination {shown(text)}: {network.num_addresses:,} addresses; at most {MOST_HOSTS:,}")
    return [(str(host), number) for host in network.hosts()]


class Reader:
    """A TOML file; errors name the file and the line of the key."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, read_text(path)
        if len(self.text) > MAX_TEXT:
            raise InputError(f"{path}: {len(self.text):,} characters; a scenario has at most {MAX_TEXT:,}")
        if DOTTED.search(self.text):
            raise InputError(f"{path}: a key of more than {MAX_PARTS} parts")
        try:
            self.data: dict[str, Any] = tomllib.loads(self.text)
        except RecursionError:
            raise InputError(f"{path}: lists or tables nest too deep") from None
        except ValueError as error:
            # of TOML itself, or an integer of more digits than Python reads
            raise InputError(f"{path}: {excerpt(str(error))}") from None

    def fail(self, key: str, why: str) -> InputError:
        """Return the error for a key; the caller raises it."""
        at = next((n for n, t in enumerate(self.text.splitlines(), 1) if _names(t, key)), 0)
        return InputError(f"{self.path}:{at}: {excerpt(key)}: {excerpt(why, 1000)}")

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
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise self.fail(key, str(error)) from None


def _names(line: str, key: str) -> bool:
    """Tell whether a line begins with a key, or the head of its table."""
    text = line.lstrip().lstrip("[").removeprefix('"')
    return text.startswith(key) and not re.match(r"\w", text[len(key) : len(key) + 1])


def whole(low: int, high: int) -> Any:
    """Return what makes an integer in low..high out of a value of TOML."""

    def make(value: Any) -> int:
        value = COUNT.read(value) if isinstance(value, str) else value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{shown(value, 60)} is not a whole number in {low}..{high}")
        return value

    return make


def number(low: float, high: float) -> Any:
    """Return what makes a number in low..high out of a value of TOML."""
    return lambda value: finite(value, low, high)


def rate_of(value: Any) -> float:
    """Return flows a second of TOML, a number or "3k/s"; ValueError for anything else."""
    return finite(RATE.read(value), 0, MAX_RATE)


def text(value: Any) -> str:
    """Return a string of TOML; ValueError for another value."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value, 60)} is not text in quotes")
    return value


def flag(value: Any) -> bool:
    """Return true or false of TOML; ValueError for another value."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value, 60)} is not true or false")
    return value


def listed(make: Any) -> Any:
    """Return what makes a tuple out of a list of TOML."""

    def made(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{shown(value, 60)} is not a list")
        return tuple(make(v) for v in value)

    return made


def destinations(value: Any) -> tuple[tuple[str, int], ...]:
    """Return the destinations of a list of TOML; ValueError for another value."""
    return tuple(end for ends in listed(endpoints)(value) for end in ends)


def profile_of(value: Any) -> str:
    """Return a profile's name; ValueError for another value."""
    if text(value) not in PROFILES:
        raise ValueError(f"{shown(value, 60)}: known are {', '.join(PROFILES)}")
    return str(value)


def moment(value: Any) -> float:
    """Return seconds since 1970 of a number or a date; a date without a zone is UTC. ValueError for anything else."""
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return finite(value, 0, MAX_DATE)


def load(path: Path) -> Scenario:
    """Read a scenario; InputError names the file, the line and what is accepted there."""
    r = Reader(path)
    r.known(r.data, "the file", SECTIONS)
    node = r.known(r.data.get("node", {}), "node", NODE_KEYS)
    settings = r.known(r.data.get("run", {}), "run", RUN_KEYS)
    where = r.value(node, "path", text, None)
    table = r.known(r.data.get("workload", {}), "workload", WORKLOAD_KEYS)
    # rates count requests, of which each n-th opens a connection
    requests = float(r.value(table, "requests_per_connection", number(1, MAX_RATE), 1.0))
    variants = with_rates_divided(_variants(r), requests)
    work = _workload(r, table, requests)
    try:
        with_rate_of(variants, work).check()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    seeds = r.value(settings, "seeds", whole(1, MAX_SEEDS), 3 if len(variants) > 1 else 1)
    return Scenario(
        path.parent / where if where else None, r.value(node, "profile", profile_of, "linux-6.18"), work, variants,
        seeds, r.value(settings, "seed", whole(0, 2**64 - 1 - MAX_SEEDS), 0), r.value(node, "epoch", moment, None),
    )  # fmt: skip


def _workload(r: Reader, table: dict[str, Any], requests: float) -> Workload:
    given: dict[str, Any] = {}
    makers = {
        "destinations": destinations, "weights": listed(number(0, 1e300)),
        "hold": hold_of, "rate": rate_of, "flows": whole(1, 2**63), "clients": whole(0, 2**32),
        "cpus": whole(1, 256), "poisson": flag, "replies": flag, "proto": text, "iface": text, "network": text,
        "close": text, "sport": sport_of,
    }  # fmt: skip
    for key, make in makers.items():
        if key in table:
            given[key] = r.value(table, key, make, None)
    given.setdefault("destinations", (("203.0.113.10", 53),))
    if "zipf" in table:
        n = len(given["destinations"])
        given["weights"] = r.value(table, "zipf", lambda v: zipf(n, finite(v, 0, 1000)), ())
    if given.get("proto", "udp") not in ("udp", "tcp"):
        raise r.fail("proto", f"{given['proto']!r} is not udp or tcp")
    stages = r.data.get("stage", [])
    if not isinstance(stages, list):
        raise r.fail("stage", "expected tables [[stage]]")
    if len(stages) > MAX_STAGES:
        raise r.fail("stage", f"{len(stages):,} of them; at most {MAX_STAGES:,} are supported")
    made = []
    for stage in stages:
        r.known(stage, "stage", STAGE_KEYS)
        rate = r.value(stage, "rate", rate_of, 0.0)
        made.append((r.value(stage, "for", seconds, 60.0), rate, r.value(stage, "to", rate_of, rate)))
    given["stages"] = tuple(made)
    if requests != 1.0:
        given["rate"] = given.get("rate", 0.0) / requests
        given["stages"] = tuple((t, a / requests, b / requests) for t, a, b in made)
    return Workload(**given)


def _variants(r: Reader) -> list[Variant]:
    table = r.data.get("vary", {})
    if not isinstance(table, dict):
        raise r.fail("vary", "expected a table")
    given: list[tuple[str, list[object]]] = []
    for key, values in table.items():
        given.append((key, values if isinstance(values, list) else [values]))
        try:
            combinations(given[-1:])
        except InputError as error:
            raise r.fail(key, str(error)) from None
    try:
        return combinations(given)
    except InputError as error:
        raise r.fail("vary", str(error)) from None
