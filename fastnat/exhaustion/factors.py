"""What can be varied: the factors of --vary and of [vary], the values that each takes, and their text.

A value is read once, from the command line's text or from TOML's, and keeps its type from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..engine.settings import PROFILES
from ..errors import InputError
from ..node.timeouts import PREFIX, SCTP_TIMEOUTS, TIMEOUTS
from ..util.text import decimal, excerpt, finite, shown
from ..util.units import COUNT, RATE, TIME, Unit
from .times import hold_of
from .workload import MAX_RATE, SPORTS, hold_spec

# (first, last) of ports; True of a flag
Value = bool | int | float | str | tuple[int, int]

# sysctls by their names without what all of them have in common
SYSCTLS = {
    **{name.removesuffix("_timeout").replace("_timeout_", "-").replace("_", "-"): PREFIX + name for name in TIMEOUTS},
    **{f"sctp-{name.replace('_', '-')}": f"{PREFIX}sctp_timeout_{name}" for name, _, _ in SCTP_TIMEOUTS},
    "max": PREFIX + "max", "buckets": PREFIX + "buckets", "tcp-loose": PREFIX + "tcp_loose",
}  # fmt: skip
# those that are no times
NUMBERS = ("max", "buckets", "tcp-loose")
# NAT addresses of one rule
MAX_ADDRESSES = 65_536


@dataclass(frozen=True)
class Factor:
    """Something that a variant may change. form: how --vary is told about it; read: a value, ValueError for none."""

    form: str
    read: Callable[[object], Value]


def whole(low: int, high: int) -> Callable[[object], int]:
    """Return what reads a whole number in low..high, from text or from a number."""

    def read(given: object) -> int:
        if isinstance(given, bool):
            raise ValueError(f"{shown(given)} is not a whole number in {low}..{high}")
        return decimal(given if isinstance(given, str) else shown(given), low, high)

    return read


def _of_unit(unit: Unit, low: int, high: int) -> Callable[[object], int]:
    """Return what reads a whole number in low..high that may have a unit: 10k, 2m."""
    number = whole(low, high)
    return lambda given: number(unit.read(given) if isinstance(given, str) else given)


def _flag(given: object) -> bool:
    if isinstance(given, bool):
        return given
    if given not in ("on", "off"):
        raise ValueError("it is on or off")
    return given == "on"


def _rate(given: object) -> float:
    rate = finite(RATE.read(given), 0, MAX_RATE)
    if not rate:
        raise ValueError("a rate of 0 opens nothing")
    return rate


def _ports(given: object) -> tuple[int, int]:
    low, high = (decimal(p, 1, 65535) for p in str(given).split("-"))
    if low > high:
        raise ValueError("the first port is greater than the last")
    return low, high


def _profile(given: object) -> str:
    if given not in PROFILES:
        raise ValueError(f"known are {', '.join(PROFILES)}")
    return str(given)


def _hold(given: object) -> float | str:
    found = hold_of(given)
    hold_spec(found)
    return found


def sport_of(given: object) -> int | str:
    """Return a source port or how ports are drawn; InputError for anything else."""
    text = given if isinstance(given, str) else shown(given)
    if text in SPORTS:
        return "random" if text == "ephemeral" else text
    try:
        return decimal(text, 1, 65535)
    except ValueError:
        raise InputError(f"source port {excerpt(text)!r}: expected 1..65535, {', '.join(SPORTS)}") from None


FACTORS = {
    "random-fully": Factor("random-fully", _flag),
    "addresses": Factor("addresses=N", _of_unit(COUNT, 1, MAX_ADDRESSES)),
    "ports": Factor("ports=FIRST-LAST", _ports),
    "profile": Factor("profile=NAME", _profile),
    "rate": Factor("rate", _rate),
    "hold": Factor("hold", _hold),
    "clients": Factor("clients", _of_unit(COUNT, 1, 2**32 - 1)),
    "cpus": Factor("cpus", whole(1, 256)),
    "sport": Factor("sport", sport_of),
    **{name: Factor(name, _of_unit(COUNT if name in NUMBERS else TIME, 0, 2**32 - 1)) for name in SYSCTLS},
}


def read(name: str, given: object) -> Value:
    """Return a factor's value; InputError for a factor or value that no variant can have."""
    factor = FACTORS.get(name)
    if factor is None:
        known = ", ".join(f.form for f in FACTORS.values())
        raise InputError(f"{excerpt(name, 60)}: unknown; known are {known}")
    try:
        return factor.read(given)
    except (ValueError, TypeError, OverflowError) as error:
        what = f"{excerpt(name, 60)}={excerpt(given if isinstance(given, str) else shown(given), 60)}"
        raise InputError(f"{what}: not a value that it can have: {excerpt(str(error))}") from None


def text_of(value: Value) -> str:
    """Return a value as --vary takes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return "{}-{}".format(*value)
    return f"{value:.15g}" if isinstance(value, float) else str(value)
