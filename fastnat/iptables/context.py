"""The matches that ask who sent a packet, when, and what its further headers say: owner, time, ecn, tcpmss, rt.

Sources: iptables-extensions(8) of iptables 1.8.9; its extensions, as iptables-restore shows what they take.
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import dataclass

from ..core.layout import OwnerPart, RoutingPart
from ..util.text import excerpt
from . import refused
from .model import Match
from .rule_words import LENIENT, RuleWords

# the largest id is no user's, and no group's
MAX_ID = 2**32 - 2
ALL_WEEKDAYS, ALL_MONTHDAYS = 0xFE, 0xFFFFFFFE
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LAST_DATE, LAST_SECOND = 2**31 - 1, 86_399
HOUR = re.compile(r"0*([0-9]{1,2}):0*([0-9]{1,2})(?::0*([0-9]{1,2}))?")
DATE = re.compile(
    r"0*([0-9]{4})(?:-0*([0-9]{1,2})(?:-0*([0-9]{1,2})(?:T0*([0-9]{1,2})(?::0*([0-9]{1,2})(?::0*([0-9]{1,2}))?)?)?)?)?"
)
RANGE = re.compile(r"([^-:]*)([-:]?)(.*)", re.DOTALL)
DATE_FORM = "YYYY[-MM[-DD[Thh[:mm[:ss]]]]], UTC"
ECN_CWR, ECN_ECE = 0x80, 0x40


@dataclass
class TimeMatch(Match):
    """-m time while its options are read: seconds since 1970, seconds since midnight, a bit a day."""

    dates: tuple[int, int] = (0, LAST_DATE)
    hours: tuple[int, int] = (0, LAST_SECOND)
    weekdays: int = ALL_WEEKDAYS
    monthdays: int = ALL_MONTHDAYS
    contiguous: bool = False


class ContextMatches(RuleWords):
    """The options of -m owner, time, ecn, tcpmss and rt."""

    # of the last -m owner: a group was named
    grouped = False

    def _owner(self, part: OwnerPart, numbers: str) -> None:
        names = self.ids[part is OwnerPart.GID]
        # a name may have a dash, as www-data has
        plain = numbers in names or numbers[:1].isalpha() or numbers[:1] == "_"
        parts = RANGE.fullmatch(numbers).groups()  # type: ignore[union-attr]  # it matches any text
        low, sep, high = (numbers, "", "") if plain else parts
        first = self._id(part, low)
        last = self._id(part, high) if sep else first
        if last < first:
            raise self.fail(f"option {self.option!r}: {excerpt(numbers)!r} ends before it begins")
        self._owner_match(part, first, last)

    def _owner_match(self, part: OwnerPart, first: int, last: int) -> None:
        self.rule.matches.append(Match("owner", self.invert, (part, first, last), hooks=("OUTPUT", "POSTROUTING")))

    def _id(self, part: OwnerPart, text: str) -> int:
        names = {"root": 0} | self.ids[part is OwnerPart.GID]
        if text in names:
            return names[text]
        if text[:1].isalpha() or text[:1] == "_":
            why = refused.OPTIONS["-m owner --uid-owner NAME"]
            raise self.fail(f"option {self.option!r}: {excerpt(text)!r}: {why}{LENIENT}")
        return self.number(text, MAX_ID)

    def owner_uid(self) -> None:
        """--uid-owner N[-M]."""
        self._owner(OwnerPart.UID, self.take("a user id"))

    def owner_gid(self) -> None:
        """--gid-owner N[-M]."""
        self._owner(OwnerPart.GID, self.take("a group id"))
        self.grouped = True

    def further_groups(self) -> None:
        """--suppl-groups: the sender has none here."""
        if not self.grouped:
            raise self.fail("--suppl-groups: you need to use --gid-owner first")

    def has_socket(self) -> None:
        """--socket-exists: packets of the node itself have one, forwarded ones have none."""
        self._owner_match(OwnerPart.SOCKET, 0, 0)

    def _time(self) -> TimeMatch:
        return next(m for m in reversed(self.rule.matches) if isinstance(m, TimeMatch))

    def time_of_day(self) -> None:
        """--timestart, --timestop hh:mm[:ss]."""
        text = self.take("a time")
        found = HOUR.fullmatch(text)
        hour, minute, second = (int(part or 0) for part in found.groups()) if found else (24, 0, 0)
        if hour > 23 or minute > 59 or second > 59:
            raise self.fail(f"invalid time {excerpt(text)!r}: hh:mm[:ss]")
        of_day, (start, stop) = (hour * 60 + minute) * 60 + second, self._time().hours
        self._time().hours = (of_day, stop) if self.option == "--timestart" else (start, of_day)

    def date(self) -> None:
        """--datestart, --datestop YYYY[-MM[-DD[Thh[:mm[:ss]]]]]."""
        text = self.take("a date")
        found = DATE.fullmatch(text)
        year, month, day, *clock = (
            (int(part or n < 3) for n, part in enumerate(found.groups())) if found else (0, 1, 1, 0)
        )
        fits = 1970 <= year <= 2038 and month <= 12 and day <= 31
        if not fits or clock[0] > 23 or max(clock[1:]) > 59:
            raise self.fail(f"invalid date {excerpt(text)!r}: {DATE_FORM}")
        # 30 February is 1 or 2 March; the day 0 is the one before the first, the month 0 the one before January
        seconds = timegm((year - (month == 0), month or 12, 1, *clock)) + (day - 1) * 86_400
        start, stop = self._time().dates
        # of the kernel's 32 bits
        seconds &= 0xFFFFFFFF
        self._time().dates = (seconds, stop) if self.option == "--datestart" else (start, seconds)

    def weekdays(self) -> None:
        """--weekdays LIST: Mon to Sun, or 1 to 7."""
        bits = 0
        for name in self.take("days").split(","):
            # two letters say enough
            day = next((n for n, known in enumerate(DAYS, 1) if name in (str(n), f"0{n}") or name[:2] == known[:2]), 0)
            if not day:
                raise self.fail(f"{excerpt(name)!r} is not a valid day: {', '.join(DAYS)}, or 1 to 7")
            bits |= 1 << day
        self._time().weekdays = bits ^ ALL_WEEKDAYS if self.invert else bits

    def monthdays(self) -> None:
        """--monthdays LIST."""
        bits = 0
        for text in self.take("days").removesuffix(",").split(","):
            if not text.isdecimal() or len(text) > 2 or int(text) > 31:
                raise self.fail(f"{excerpt(text)!r} is not a valid day for --monthdays: 1 to 31")
            bits |= 1 << int(text) & ALL_MONTHDAYS
        self._time().monthdays = bits ^ ALL_MONTHDAYS if self.invert else bits

    def contiguous(self) -> None:
        """--contiguous: a time beyond midnight belongs to the day on which it began."""
        self._time().contiguous = True

    def time_zone(self) -> None:
        """--kerneltz, --utc, --localtz: the clock is UTC, and so is a kernel's that nobody told a time zone."""

    def check_time(self) -> None:
        """--contiguous needs a time that ends on the next day."""
        for m in self.rule.matches:
            if isinstance(m, TimeMatch) and m.contiguous and m.hours[0] < m.hours[1]:
                raise self.fail("time: --contiguous only makes sense when stoptime is smaller than starttime")

    def ecn_flag(self) -> None:
        """--ecn-tcp-cwr, --ecn-tcp-ece."""
        flag = ECN_CWR if self.option.endswith("cwr") else ECN_ECE
        self.add_match("ecn", flag, flag)

    def ecn_ip(self) -> None:
        """--ecn-ip-ect N: the lowest two bits of the TOS octet."""
        self.add_match("tos", 3, self.number(self.take("a number"), 3))

    def segment_size(self) -> None:
        """--mss N[:M] of tcpmss: the MSS option of the header; a packet header without bytes has none."""
        low, high = self.port_range(self.take("a size"))
        if low > high:
            raise self.fail("tcpmss: invalid range given")
        self.add_match("tcp-mss", low, high)

    def _routing(self, part: RoutingPart, low: int, high: int) -> None:
        self.add_match("routing", part, low, high)

    def routing_type(self) -> None:
        """--rt-type N."""
        n = self.number(self.take("a type"))
        self._routing(RoutingPart.TYPE, n, n)

    def routing_segments(self) -> None:
        """--rt-segsleft N[:M]."""
        low, sep, high = self.take("a number").partition(":")
        first = self.number(low) if low or not sep else 0
        last = first if not sep else self.number(high) if high else 2**32 - 1
        self._routing(RoutingPart.SEGMENTS_LEFT, first, last)

    def routing_length(self) -> None:
        """--rt-len N: bytes of the header."""
        n = self.number(self.take("a length"))
        self._routing(RoutingPart.LENGTH, n, n)

    def routing_reserved(self) -> None:
        """--rt-0-res: the reserved field of a type 0 header is zero."""
        if not any(
            m.kind == "routing" and m.values == (RoutingPart.TYPE, 0, 0) and not m.invert for m in self.rule.matches
        ):
            raise self.fail("'--rt-type 0' required before '--rt-0-res'")
        self._routing(RoutingPart.RESERVED, 0, 0)

    def routing_addresses(self) -> None:
        """--rt-0-addrs LIST, --rt-0-not-strict."""
        raise self.fail(f"{self.option}: {refused.OPTIONS['-m rt --rt-0-addrs']}{LENIENT}")
