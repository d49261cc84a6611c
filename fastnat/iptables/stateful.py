"""The matches that remember packets or ask what is counted of them: statistic, set, recent, limit, hashlimit...

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..addresses import V6
from ..core.layout import FN_HZ, ConnlimitBit, CountedPart, CountedWay, HashlimitBit, RecentBit, RecentOperation, SetBit
from ..util.text import excerpt
from .model import Match
from .rule_words import RuleWords

# xt_limit is told rates in 1/10000 s, and counts 128 credits a jiffy (CREDITS_PER_JIFFY)
CREDITS, LIMIT_SCALE, MAX_CREDIT = 128, 10_000, 2**32 - 1
# of a byte rate: bytes that cost alike; seconds after which a bucket is forgotten, without and with bursts
PIECE, BYTE_EXPIRY, BURST_EXPIRY = 16, 15, 60
BYTE_RATE = re.compile(r"([0-9]{1,18})([km]?)b/s.*")
BURST = re.compile(r"([0-9]{1,18})([km]?)b?")
FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20}
# of packets; a burst without a suffix is as many
PACKET_BURST, MAX_BURST = 5, 1_000_000
RATE = re.compile(r"[0-9]{1,18}")
# XT_RECENT_MAX_NSTAMPS - 1
MAX_HITS = 65535
# IPSET_DIM_MAX
SET_DIMENSIONS = 6
LIMIT_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def credits(rate: int) -> int:
    """Return a rate of xt_limit in its credits, 32 bits wide as in the kernel (user2credits)."""
    if rate > MAX_CREDIT // (FN_HZ * CREDITS):
        return rate // LIMIT_SCALE * FN_HZ * CREDITS & MAX_CREDIT
    return rate * FN_HZ * CREDITS // LIMIT_SCALE


@dataclass
class SetMatch(Match):
    """-m set while its options are read."""

    bits: int = 0
    # of packets and bytes that an element has counted
    limits: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass
class RecentMatch(Match):
    """-m recent while its options are read."""

    operation: int = 1
    seconds: int = 0
    hits: int = 0
    bits: int = 0
    # all ones where None
    address_mask: int | None = None


@dataclass
class HashlimitMatch(Match):
    """-m hashlimit while its options are read.

    cost: of a packet in microseconds, of a byte rate 2**32 divided by its pieces of 16 bytes a second and one;
    burst: in packets or bytes, None: not given; unit: seconds of a rate's unit; expire: milliseconds, None: not given;
    interval: seconds of a rate match, 0: not given.
    """

    cost: int = 0
    burst: int | None = None
    mode: int = 0
    masks: tuple[int, int] | None = None
    unit: int = 1
    expire: int | None = None
    interval: int = 0

    @property
    def in_bytes(self) -> bool:
        """Whether the rate is one of bytes."""
        return bool(self.mode & HashlimitBit.BYTES)

    @property
    def bursts(self) -> int:
        """The burst in packets, of a byte rate in seconds of the rate, rounded up."""
        if not self.in_bytes:
            return PACKET_BURST if self.burst is None else self.burst
        return -(-(self.burst or 0) // self.bytes_a_second)

    @property
    def bytes_a_second(self) -> int:
        """The rate that the kernel makes of a byte rate: whole pieces of 16 bytes (cost_to_bytes, user2rate_bytes)."""
        return (MAX_CREDIT // self.cost - 1) * PIECE

    @property
    def lifetime(self) -> int:
        """Milliseconds after which an unused bucket is forgotten."""
        if self.expire is not None:
            return self.expire
        return 1000 * (BURST_EXPIRY if self.in_bytes and self.burst else self.unit)


COUNTED_WAYS = {
    "original": CountedWay.ORIGINAL, "reply": CountedWay.REPLY, "both": CountedWay.ORIGINAL | CountedWay.REPLY,
}  # fmt: skip
COUNTED_PARTS = {"packets": CountedPart.PACKETS, "bytes": CountedPart.BYTES, "avgpkt": CountedPart.AVERAGE}
# parts of the key
HASHLIMIT_MODES = {
    "dstip": HashlimitBit.DST, "dstport": HashlimitBit.DPORT, "srcip": HashlimitBit.SRC, "srcport": HashlimitBit.SPORT,
}  # fmt: skip
RECENT_OPERATIONS = {
    "--set": RecentOperation.SET, "--rcheck": RecentOperation.CHECK, "--update": RecentOperation.UPDATE,
    "--remove": RecentOperation.REMOVE,
}  # fmt: skip
RECENT_BITS = {"--rsource": 0, "--rdest": RecentBit.DEST, "--reap": RecentBit.REAP, "--rttl": RecentBit.TTL}


SET_BITS = {
    "--return-nomatch": SetBit.RETURN_NOMATCH, "--update-counters": SetBit.SKIP_COUNTERS,
    "--update-subcounters": SetBit.SKIP_SUBCOUNTERS,
}  # fmt: skip
MAX_COUNT = 2**64 - 1


class StatefulMatches(RuleWords):
    """The options of -m statistic, set, recent, limit, hashlimit, connlimit, connbytes and quota."""

    match_of_set: SetMatch | None = None
    recent: RecentMatch | None = None
    hashlimit: HashlimitMatch | None = None

    def statistic_mode(self) -> None:
        """--mode random|nth."""
        mode = self.take("random or nth")
        if mode not in ("random", "nth"):
            raise self.fail(f"--mode {mode!r} is not random or nth")
        self.add_match(mode, *((-1,) if mode == "random" else (0, 0)))

    def _statistic(self) -> Match:
        last = self.rule.matches[-1] if self.rule.matches else Match("")
        if last.kind not in ("nth", "random"):
            raise self.fail(f"{self.option} needs --mode in front of it")
        return last

    def probability(self) -> None:
        """--probability P."""
        text = self.take("a probability")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise self.fail(f"--probability {text!r} is not in 0..1")
        last = self._statistic()
        if last.kind != "random":
            raise self.fail("--probability belongs to --mode random")
        last.values, last.invert = (round(value * 2**31),), self.invert

    def _nth(self) -> Match:
        last = self._statistic()
        if last.kind != "nth":
            raise self.fail(f"{self.option} belongs to --mode nth")
        return last

    def check_statistic(self) -> None:
        """--mode nth needs --every, and a later --every must not be smaller than --packet."""
        for m in self.rule.matches:
            if m.kind == "nth" and not m.values[1] < m.values[0]:
                raise self.fail("--mode nth needs --every, and --packet must be smaller than it")
            if m.kind == "random" and m.values[0] < 0:
                raise self.fail("--probability must be specified when using random mode")
            if m.kind == "limit" and credits(m.values[0] * m.values[1] & MAX_CREDIT) < credits(m.values[0]):
                raise self.fail(
                    f"limit: the rate is too slow for a burst of {m.values[1]}: the kernel's credits overflow"
                )

    def every(self) -> None:
        """--every N."""
        last = self._nth()
        last.values = (self.number(self.take("a number")), last.values[1])
        last.invert = self.invert
        if last.values[0] == 0:
            raise self.fail("--every 0: must be at least 1")

    def every_packet(self) -> None:
        """--packet K."""
        last = self._nth()
        last.values = (last.values[0], self.number(self.take("a number")))

    def match_set(self) -> None:
        """--match-set NAME FLAGS."""
        name = self.take("a set name")
        sources = 0
        flags = self.take("flags like dst,src").split(",")
        if len(flags) > SET_DIMENSIONS:
            raise self.fail(f"--match-set {name}: Can't be more src/dst options than {SET_DIMENSIONS}")
        for n, flag in enumerate(flags):
            if flag not in ("src", "dst"):
                raise self.fail(f"--match-set {name}: flag {flag!r} is not src or dst")
            sources |= (flag == "src") << n
        self.match_of_set = SetMatch("set", self.invert, (0, sources, len(flags)), name)
        self.rule.matches.append(self.match_of_set)

    def _set(self) -> SetMatch:
        if self.match_of_set is None:
            raise self.fail(f"{self.option} needs --match-set in front of it")
        return self.match_of_set

    def set_option(self) -> None:
        """--return-nomatch, ! --update-counters, ! --update-subcounters."""
        # counters are updated unless somebody says that they are not
        if self.option == "--return-nomatch" or self.invert:
            self._set().bits |= SET_BITS[self.option]

    def set_counter(self) -> None:
        """--packets-eq, --packets-lt, --packets-gt and --bytes-* N."""
        match, n = self._set(), self.number(self.take("a number"), MAX_COUNT)
        what, how = self.option[2:].split("-")
        none = (1, 0)
        limits = {
            "eq": (n, n), "lt": (0, n - 1) if n else none, "gt": (n + 1, MAX_COUNT) if n < MAX_COUNT else none,
        }  # fmt: skip
        match.limits[what] = limits[how]
        match.bits |= SetBit.ASK_COUNTERS | self.invert * (
            SetBit.PACKETS_NOT if what == "packets" else SetBit.BYTES_NOT
        )

    def recent_name(self) -> None:
        """--name of recent; the list exists from the first rule that names it."""
        self._recent().name = self.take("a name")

    def _recent(self) -> RecentMatch:
        if self.recent is None:
            self.recent = RecentMatch("recent", self.invert, (), "DEFAULT")
            self.rule.matches.append(self.recent)
        return self.recent

    def recent_operation(self) -> None:
        """--set, --rcheck, --update, --remove."""
        match = self._recent()
        match.operation = RECENT_OPERATIONS[self.option]
        match.invert = self.invert

    def recent_seconds(self) -> None:
        """--seconds N."""
        self._recent().seconds = self.number(self.take("seconds"))
        if not self._recent().seconds:
            raise self.fail("--seconds 0: at least 1")

    def recent_hitcount(self) -> None:
        """--hitcount N."""
        self._recent().hits = self.number(self.take("a number"), MAX_HITS)

    def recent_mask(self) -> None:
        """--mask A of recent."""
        self._recent().address_mask = self.address(self.take("a mask"))

    def recent_flag(self) -> None:
        """--rsource, --rdest, --reap, --rttl."""
        self._recent().bits |= RECENT_BITS[self.option]

    def limit(self) -> None:
        """--limit N[/UNIT]."""
        self.add_match("limit", self._rate(self.take("a rate"), LIMIT_SCALE)[0], 5)

    def _rate(self, text: str, scale: int) -> tuple[int, int]:
        """Return the time of a packet at a rate in units of 1/scale s, and the seconds of the rate's own unit."""
        amount, _, unit = text.partition("/")
        seconds = next((s for name, s in LIMIT_UNITS.items() if name.startswith(unit or "second")), 0)
        if not seconds or not RATE.fullmatch(amount) or int(amount) == 0:
            raise self.fail(f"{self.option} {excerpt(text)!r}: expected for example 3/minute")
        if not scale * seconds // int(amount):
            raise self.fail(f"Rate too fast {excerpt(text)!r}")
        return scale * seconds // int(amount), seconds

    def _hashlimit(self) -> HashlimitMatch:
        if self.hashlimit is None:
            self.hashlimit = HashlimitMatch("hashlimit", False, (), "")
            self.rule.matches.append(self.hashlimit)
        return self.hashlimit

    def hashlimit_rate(self) -> None:
        """--hashlimit-upto, --hashlimit-above N/UNIT; `!` turns one into the other."""
        match = self._hashlimit()
        above = self.option.endswith("above") != self.invert
        text = self.take("a rate")
        in_bytes = BYTE_RATE.fullmatch(text)
        if in_bytes:
            pieces = int(in_bytes[1]) * FACTORS[in_bytes[2]] // PIECE
            match.cost, match.unit = MAX_CREDIT // (pieces + 1), BYTE_EXPIRY
            match.mode |= HashlimitBit.BYTES
            # what the kernel makes of it must not be nothing
            if not int(in_bytes[1]) or match.cost * FN_HZ < 1 << 8:
                raise self.fail(
                    f"{self.option} {excerpt(text)!r}: no such byte rate; expected for example 4kb/s or 2mb/s"
                )
        else:
            match.cost, match.unit = self._rate(text, 1_000_000)
        match.mode |= HashlimitBit.ABOVE * above

    def hashlimit_mode(self) -> None:
        """--hashlimit-mode LIST."""
        for name in self.take("modes").split(","):
            if name not in HASHLIMIT_MODES:
                raise self.fail(f"--hashlimit-mode {name!r} is not one of {', '.join(HASHLIMIT_MODES)}")
            self._hashlimit().mode |= HASHLIMIT_MODES[name]

    def hashlimit_mask(self) -> None:
        """--hashlimit-srcmask, --hashlimit-dstmask N."""
        match = self._hashlimit()
        src, dst = match.masks or (self.family.bits, self.family.bits)
        length = self.number(self.take("a prefix length"), self.family.bits)
        match.masks = (length, dst) if "src" in self.option else (src, length)

    def hashlimit_number(self) -> None:
        """--hashlimit-htable-expire MS; size, max and gcinterval change no answer."""
        n = self.number(self.take("a number"))
        if self.option == "--hashlimit-htable-expire":
            self._hashlimit().expire = n

    def hashlimit_burst(self) -> None:
        """--hashlimit-burst N, or of a byte rate N[k|m]b."""
        text = self.take("a burst")
        found = BURST.fullmatch(text)
        burst = int(found[1]) * FACTORS[found[2]] if found else 0
        if not 1 <= burst <= 2**32 - 1:
            raise self.fail(f"{self.option} {excerpt(text)!r}: expected packets, as 20, or bytes, as 400kb")
        self._hashlimit().burst = burst

    def hashlimit_rate_match(self) -> None:
        """--hashlimit-rate-match: packets are counted in windows of time."""
        self._hashlimit().mode |= HashlimitBit.RATE_MATCH

    def hashlimit_interval(self) -> None:
        """--hashlimit-rate-interval S: the length of such a window."""
        self._hashlimit().interval = self.number(self.take("seconds"))
        if not self._hashlimit().interval:
            raise self.fail("--hashlimit-rate-interval 0: at least 1")

    def check_hashlimit(self) -> None:
        """A burst fits its rate, and a rate counts in a rate match."""
        for m in self.rule.matches:
            if not isinstance(m, HashlimitMatch):
                continue
            if m.in_bytes and m.burst is not None and m.burst < m.bytes_a_second:
                raise self.fail(f"hashlimit: burst cannot be smaller than {m.bytes_a_second}b")
            if not m.in_bytes and m.bursts > MAX_BURST:
                raise self.fail(f"hashlimit: a burst of packets is one of 1..{MAX_BURST}")
            if m.mode & HashlimitBit.RATE_MATCH and not m.in_bytes and not m.cost // m.unit:
                raise self.fail("hashlimit: the rate is too fast for --hashlimit-rate-match")

    def hashlimit_name(self) -> None:
        """--hashlimit-name NAME: rules of one name share a table."""
        self._hashlimit().name = self.take("a name")

    def connlimit_number(self) -> None:
        """--connlimit-above N, --connlimit-upto N, which is `!` the other."""
        n = self.number(self.take("a number"))
        last = self._connlimit()
        last.values = (n, *last.values[1:])
        last.invert = self.option.endswith("upto") != self.invert

    def _connlimit(self) -> Match:
        last = self.rule.matches[-1] if self.rule.matches else Match("")
        return last if last.kind == "connlimit" else Match("connlimit")

    def connlimit_mask(self) -> None:
        """--connlimit-mask LENGTH or mask."""
        text = self.take("a mask")
        if "." in text or ":" in text:
            mask = self.address(text)
        else:
            # of IPv4 iptables takes any length
            length = self.number(text, self.family.bits if self.family is V6 else 0xFFFFFFFF)
            mask = self.family.mask_of(min(length, self.family.bits))
        last = self._connlimit()
        last.values = (*last.values[:2], mask)

    def connlimit_side(self) -> None:
        """--connlimit-saddr, --connlimit-daddr: whose connections are counted."""
        last = self._connlimit()
        last.values = (last.values[0], ConnlimitBit.DST * (self.option == "--connlimit-daddr"), last.values[2])

    def _connbytes(self) -> Match:
        return next((m for m in reversed(self.rule.matches) if m.kind == "connbytes"), Match("connbytes"))

    def connbytes_range(self) -> None:
        """--connbytes N[:M]; without a colon there is no upper limit."""
        low, _, high = self.take("a range").partition(":")
        first = self.number(low, 2**64 - 1) if low else 0
        last = self.number(high, 2**64 - 1) if high else 2**64 - 1
        if last < first:
            raise self.fail(f"--connbytes: {first} should be less than {last}")
        match = self._connbytes()
        match.values = (first, last, *match.values[2:])
        # a range of one number is told to the kernel as it is, inverted or not
        match.invert = self.invert and first != last

    def connbytes_direction(self) -> None:
        """--connbytes-dir original|reply|both."""
        text = self.take("a direction")
        if text not in COUNTED_WAYS:
            raise self.fail(f"--connbytes-dir {excerpt(text)!r} is not one of {', '.join(COUNTED_WAYS)}")
        match = self._connbytes()
        match.values = (*match.values[:3], COUNTED_WAYS[text])

    def connbytes_mode(self) -> None:
        """--connbytes-mode packets|bytes|avgpkt."""
        text = self.take("a mode")
        if text not in COUNTED_PARTS:
            raise self.fail(f"--connbytes-mode {excerpt(text)!r} is not one of {', '.join(COUNTED_PARTS)}")
        match = self._connbytes()
        match.values = (*match.values[:2], COUNTED_PARTS[text], match.values[3])

    def quota(self) -> None:
        """--quota BYTES."""
        self.add_match("quota", self.number(self.take("bytes"), 2**64 - 1))

    def limit_burst(self) -> None:
        """--limit-burst N."""
        burst = self.number(self.take("a number"), 10_000)
        last = self.rule.matches[-1] if self.rule.matches else Match("")
        if last.kind != "limit":
            self.add_match("limit", LIMIT_SCALE * 3600 // 3, burst)
        else:
            last.values = (last.values[0], burst)
