"""The slow model: NAT of UDP and ICMP echo with dicts, from the behaviour page; it shares no code with the engine.

Tuples are (src, dst, sport, dport, proto); an ICMP tuple holds the id as sport and type << 8 | code as dport.
"""

from dataclasses import dataclass, field

ICMP, UDP = 1, 17
HZ = 250
MASK64 = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15


class Generator:
    """splitmix64 twice: its eleventh number seeds a second one, whose n-th number is the state of the n-th packet."""

    def __init__(self, seed):
        for n in range(1, 12):
            self.seed = self._mix(seed + n * GAMMA)
        self.packets = self.state = 0

    def _mix(self, state):
        z = state & MASK64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK64
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK64
        return z ^ z >> 31

    def next_packet(self):
        self.packets += 1
        self.state = self._mix(self.seed + self.packets * GAMMA)

    def u16(self):
        self.state += GAMMA
        return self._mix(self.state) >> 48


def rol(x, n):
    return (x << n | x >> 32 - n) & 0xFFFFFFFF


def jhash2(words, iv, length=None):
    """Return lookup3 of words; length: of their bytes, if the last word has less than four."""
    a = b = c = 0xDEADBEEF + (4 * len(words) if length is None else length) + iv & 0xFFFFFFFF
    words = list(words)
    while len(words) > 3:
        a, b, c = a + words.pop(0) & 0xFFFFFFFF, b + words.pop(0) & 0xFFFFFFFF, c + words.pop(0) & 0xFFFFFFFF
        for n in (4, 6, 8, 16, 19, 4):
            a = a - c & 0xFFFFFFFF ^ rol(c, n)
            c = c + b & 0xFFFFFFFF
            a, b, c = b, c, a  # the next step's x, y, z
    words += [0] * (3 - len(words))
    a, b, c = a + words[0] & 0xFFFFFFFF, b + words[1] & 0xFFFFFFFF, c + words[2] & 0xFFFFFFFF
    for n in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - rol(b, n)) & 0xFFFFFFFF
        a, b, c = b, c, a
    # seven rotations: the word changed last stands in b
    return b


def swap32(x):
    return int.from_bytes(x.to_bytes(4, "big"), "little")


def invert(t):
    src, dst, sport, dport, proto = t
    if proto == ICMP:
        return dst, src, sport, {8: 0, 0: 8}[dport >> 8] << 8 | dport & 255, proto
    return dst, src, dport, sport, proto


@dataclass
class Range:
    """What SNAT or MASQUERADE allows; ports None: not specified."""

    low: int
    high: int
    ports: tuple[int, int] | None = None
    random: bool = False
    persistent: bool = False


@dataclass(eq=False)
class Conn:
    orig: tuple
    reply: tuple
    deadline: int
    stream_after: int
    seen_reply: bool = False
    assured: bool = False
    translated: bool = False


@dataclass
class Model:
    """One node that source-translates everything it forwards to one range."""

    range: Range
    generator: Generator
    profile: str = "linux-6.18"
    # of IPv6 the words of 32 bits in front of the last one, the same in every address
    front: tuple[int, ...] = ()
    now: int = 0
    table: dict = field(default_factory=dict)
    by_source: dict = field(default_factory=dict)
    found: int = 0
    dropped: int = 0
    probes: int = 0

    def advance(self, jiffy):
        self.now = jiffy
        for conn in [c for t, c in self.table.items() if t == c.orig and c.deadline <= jiffy]:
            self.delete(conn)

    def delete(self, conn):
        del self.table[conn.orig], self.table[conn.reply]
        self.by_source[source(conn.orig)].remove(conn)

    def packet(self, t):
        """Return the tuple with which the packet leaves, or None: it was dropped."""
        self.generator.next_packet()
        conn = self.table.get(t)
        if conn is None:
            return self.first(t)
        reply = t == conn.reply
        if t[4] == UDP:
            stream = conn.seen_reply and self.now > conn.stream_after
            conn.deadline = self.now + HZ * (120 if stream else 30)
            conn.assured |= stream or (conn.seen_reply and self.profile == "linux-5.4")
        else:
            conn.deadline = self.now + HZ * 30
        conn.seen_reply |= reply
        return invert(conn.orig if reply else conn.reply)

    def first(self, t):
        conn = Conn(t, invert(t), self.now + 30 * HZ, self.now + 2 * HZ)
        translated = self.unique(self.null_destination(t, conn), conn)
        conn.reply, conn.translated = invert(translated), translated != t
        if conn.reply in self.table:
            self.dropped += 1
            return None
        self.table[conn.orig] = self.table[conn.reply] = conn
        self.by_source.setdefault(source(t), []).insert(0, conn)
        return translated

    def used(self, t, conn):
        self.probes += 1
        owner = self.table.get(invert(t))
        taken = owner is not None and owner.orig != conn.orig
        self.found += taken
        return taken

    def null_destination(self, t, conn):
        """Bind the destination to itself: only an ICMP id may be changed by it."""
        if self.used(t, conn) and t[4] == ICMP:
            return self.search(t, conn, None)
        return t

    def in_range(self, t):
        r = self.range
        return r.low <= t[0] <= r.high and (r.ports is None or r.ports[0] <= t[2] <= r.ports[1])

    def unique(self, cur, conn):
        r = self.range
        if not r.random:
            if self.in_range(cur):
                if not self.used(cur, conn):
                    return cur
            else:
                mapped = (self.mapping(c, cur) for c in self.by_source.get(source(cur), []))
                reuse = next((m for m in mapped if self.in_range(m)), None)
                if reuse is not None and not self.used(reuse, conn):
                    return reuse
        t = (self.address(cur), *cur[1:])
        if not r.random:
            if r.ports is None:
                if not self.used(t, conn):
                    return t
            elif r.ports[0] <= t[2] <= r.ports[1] and (r.ports[0] == r.ports[1] or not self.used(t, conn)):
                return t
        return self.search(t, conn, r.ports)

    @staticmethod
    def mapping(conn, cur):
        there = invert(conn.reply)
        return there[0], cur[1], there[2], cur[3], cur[4]

    def address(self, t):
        r = self.range
        if r.low == r.high:
            return r.low
        words = [swap32(w) for w in (*self.front, t[0])]
        j = jhash2([*words, 0, 0, 0][:4], 0 if r.persistent else swap32(t[1]))
        # each word of the address is chosen in turn, and the word of the destination goes into the next choice
        for word in () if r.persistent else self.front:
            j ^= swap32(word)
        return r.low + (j * (r.high - r.low + 1) >> 32)

    def search(self, t, conn, ports):
        if ports is not None:
            low, size = min(ports), abs(ports[1] - ports[0]) + 1
        elif t[4] == ICMP:
            low, size = 0, 65536
        else:
            low, size = (1, 511) if t[2] < 512 else (600, 424) if t[2] < 1024 else (1024, 64512)
        offset, attempts = self.generator.u16(), min(size, 128)
        while True:
            for _ in range(attempts):
                t = (t[0], t[1], low + offset % size, *t[3:])
                if not self.used(t, conn):
                    return t
                offset = offset + 1 & 0xFFFF
            if attempts >= size or attempts < 16:
                return t
            attempts //= 2
            offset = self.generator.u16()


def source(t):
    return t[4], t[0], t[2]
