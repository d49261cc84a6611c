"""Numbers and text from untrusted files: bounded, and shortened in errors."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator
from typing import Any

from ..errors import InputError

# characters of a line or value that an error shows
SHOWN = 300
DECIMAL = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
# [IPv6]:PORT and [IPv6], IPv4:PORT
END = re.compile(r"\[([^]]{0,80}:[^]]{0,80})\](?::(.*))?|([^:]*):([^:]*)")


def excerpt(text: str, limit: int = SHOWN) -> str:
    """Return text as an error shows it; a long text is cut."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


def shown(value: object, limit: int = SHOWN) -> str:
    """Return the repr of a value as an error shows it; Python cannot print integers of over 4,300 digits."""
    try:
        return excerpt(repr(value), limit)
    except ValueError:
        return "a number of thousands of digits"


def each_line(text: str) -> Iterator[str]:
    """Yield what text.splitlines() lists, for whoever wants the first lines of a long text."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin) + 1 or len(text)
        yield from text[begin:end].splitlines()
        begin = end


def decimal(text: str, low: int, high: int, what: str = "number") -> int:
    """Return a decimal integer in low..high; ValueError for anything else."""
    if not DECIMAL.fullmatch(text) or not low <= int(text) <= high:
        raise ValueError(f"{what} {excerpt(text, 40)!r} is not in {low}..{high}")
    return int(text)


def end_of(text: str) -> tuple[str, int | None]:
    """Return the address and the port, None without one, of 192.0.2.1, 192.0.2.1:80, 2001:db8::1 or [2001:db8::1]:80.

    Raises ValueError for a port that is none; the address is not looked at.
    """
    found = END.fullmatch(text)
    if found is None:
        return text, None
    six, port6, four, port4 = found.groups()
    port = port4 if six is None else port6
    return four if six is None else six, None if port is None else decimal(port, 0, 65535, "port")


def number_of(n: int, what: str, plural: str = "s") -> str:
    """Return how many of something there are: "1 port", "64,512 ports"."""
    return f"{n:,} {what}{'' if n == 1 else plural}"


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return an argument that is an integer of any kind, not a bool; InputError names it, the value and the limits."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not low <= number <= high:
        raise InputError(f"{name} {shown(value, 60)} is not a whole number in {low}..{high}")
    return number


def finite(value: object, low: float, high: float) -> float:
    """Return a number as a float in low..high; ValueError for NaN, infinity, text and anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{shown(value, 60)} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not low <= number <= high:
        raise ValueError(f"{shown(value, 60)} is not in {low:g}..{high:g}")
    return number


def text_of(text: object, source: str) -> str:
    """Return text that can be written as UTF-8; InputError names the source of anything else."""
    if not isinstance(text, str):
        raise InputError(f"{source}: expected text, got {type(text).__name__}")
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        why = "is half of a surrogate pair, which no UTF-8 file holds"
        raise InputError(f"{source}: character {error.start} {why}") from None
    return text
