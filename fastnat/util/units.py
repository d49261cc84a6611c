"""Numbers with a unit, as people write them: 100k, 3k/s, 5%, 5m, 0x10; one reader for options, --vary and TOML."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from .text import shown

# so few digits that no text costs more than it is long
NUMBER = re.compile(r"([+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?)(.*)", re.DOTALL)
HEX = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
MULTIPLES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
PER = {"": 1, "/s": 1, "/min": 60, "/m": 60, "/h": 3600}


@dataclass(frozen=True)
class Unit:
    """A kind of number: its name, examples of what is accepted, and what each unit stands for."""

    name: str
    accepted: str
    factors: dict[str, Fraction]
    whole: bool = False

    def read(self, given: object) -> float:
        """Return the number of a text; a number as it is. ValueError says what is accepted."""
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            return given
        text = given.strip() if isinstance(given, str) else ""
        if self is MARK and HEX.fullmatch(text):
            return int(text, 16)
        found = NUMBER.fullmatch(text)
        factor = self.factors.get(found[2]) if found else None
        number = Fraction(found[1]) * factor if found and factor is not None else None
        if number is None or (self.whole and number.denominator > 1):
            raise ValueError(f"{shown(given, 60)} is no {self.name}; accepted are {self.accepted}")
        if number.denominator == 1 and abs(number) < 1 << 64:
            return number.numerator
        try:
            return float(number)
        except OverflowError:
            return math.inf


COUNT = Unit("whole number", "72000, 72k, 2M", {k: Fraction(m) for k, m in MULTIPLES.items()}, whole=True)
RATE = Unit(
    "rate", "flows a second, as 3000, 3k or 3k/s, or 180k/min",
    {k + p: Fraction(m, s) for k, m in MULTIPLES.items() for p, s in PER.items()},
)  # fmt: skip
SHARE = Unit("share", "0.05 or 5%", {"": Fraction(1), "%": Fraction(1, 100)})
TIME = Unit(
    "time", "seconds, or a number with ms, s, m, h or d",
    {"ms": Fraction(1, 1000)}
    | {name: Fraction(s) for name, s in (("", 1), ("s", 1), ("m", 60), ("min", 60), ("h", 3600), ("d", 86_400))},
)  # fmt: skip
MARK = Unit("mark", "16 or 0x10", {"": Fraction(1)}, whole=True)
