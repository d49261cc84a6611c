"""Read the lines of a dump that a kernel prints by the million, a row each; all other lines are left to parse_line.

A line is plain if parse_line (text.py) would take it, and understand by it what stands in its row. Whatever is odd
about one, its words, its numbers or its blanks, leaves it to parse_line, which says what is wrong, if something is.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

import os

import numpy as np

from ..dtypes import SCTP_STATES, TCP_STATES, TcpState
from ..node.timeouts import MAX_TIMEOUT
from .text import OFFLOAD_TIMEOUT

cdef enum:
    TCP = 6
    UDP = 17
    DCCP = 33
    SCTP = 132
    UDPLITE = 136
    ICMP = 1
    ICMPV6 = 58

    # line_t.flags
    UNREPLIED = 1
    ASSURED = 2
    OFFLOADED = 4

    # directions in which a line has a zone: zone-orig, zone-reply, zone
    BOTH = 3
    MOST_STATES = 16
    LONGEST_STATE = 24
    # bytes of the longest text of a number of 64 bits
    DIGITS = 20
    GROUPS = 8

cdef struct line_t:
    # original source and destination, reply source and destination: high and low 64 bits; IPv4 in the low 32
    uint64_t ends[4][2]
    uint64_t packets[2]
    uint64_t octets[2]
    uint32_t number
    # [s]
    uint32_t timeout
    uint32_t mark
    # original source and destination, reply source and destination
    uint16_t ports[4]
    uint16_t zone
    uint8_t zone_dir
    uint8_t version
    uint8_t proto
    uint8_t state
    uint8_t flags

# a connection with ports, as port_spaces.py takes it
cdef struct entry_t:
    uint32_t space
    uint32_t source
    uint16_t port
    uint8_t waits
    uint8_t closed
    uint8_t translated

# a row: line_t
LINE = np.dtype(
    [
        ("ends", np.uint64, (4, 2)), ("packets", np.uint64, 2), ("bytes", np.uint64, 2), ("number", np.uint32),
        ("timeout", np.uint32), ("mark", np.uint32), ("ports", np.uint16, 4), ("zone", np.uint16),
        ("zone_dir", np.uint8), ("version", np.uint8), ("proto", np.uint8), ("state", np.uint8), ("flags", np.uint8),
    ],
    align=True,
)  # fmt: skip
# space, source: numbers of a port space and of the original source; waits: in TIME_WAIT; closed: in TIME_WAIT, CLOSE or
# SYN_SENT2; translated: has another address in the reply than its own
ENTRY = np.dtype(
    [
        ("space", np.uint32), ("source", np.uint32), ("port", np.uint16), ("waits", np.bool_), ("closed", np.bool_),
        ("translated", np.bool_),
    ],
    align=True,
)  # fmt: skip
if LINE.itemsize != sizeof(line_t) or ENTRY.itemsize != sizeof(entry_t):
    raise ImportError("a record of a dump has another size in the extension")
FLAGS = {"UNREPLIED": UNREPLIED, "ASSURED": ASSURED}

cdef struct states_t:
    int n
    size_t lengths[MOST_STATES]
    char names[MOST_STATES][LONGEST_STATE]

cdef states_t tcp_states, sctp_states
cdef uint8_t TCP_TIME_WAIT = TcpState.TIME_WAIT, TCP_CLOSE = TcpState.CLOSE, TCP_SYN_SENT2 = TcpState.SYN_SENT2
cdef uint32_t OFFLOAD_SECONDS = OFFLOAD_TIMEOUT, LONGEST_TIMEOUT = MAX_TIMEOUT
cdef uint8_t ESTABLISHED[2]
ESTABLISHED[0], ESTABLISHED[1] = TCP_STATES.index("ESTABLISHED"), SCTP_STATES.index("ESTABLISHED")


cdef int take_names(states_t *states, names) except -1:
    """Note the names of a protocol's states, by their numbers."""
    if len(names) > MOST_STATES or max(map(len, names)) > LONGEST_STATE:
        raise ImportError("more states than a line reader knows")
    states.n = len(names)
    for k, name in enumerate(names):
        states.lengths[k] = len(name)
        for at, letter in enumerate(name.encode()):
            states.names[k][at] = letter
    return 0


take_names(&tcp_states, TCP_STATES)
take_names(&sctp_states, SCTP_STATES)

# a word of a line, and where the line goes on
cdef struct word_t:
    const uint8_t *at
    size_t n
    const uint8_t *next
    const uint8_t *end


cdef inline bint next_word(word_t *w) noexcept nogil:
    """Go on to the next word of a line; answers whether there is one."""
    while w.next < w.end and (w.next[0] == 32 or w.next[0] == 9 or w.next[0] == 13):
        w.next += 1
    w.at = w.next
    # other control characters and all beyond ASCII are blanks to some readers: a line with one is not plain
    while w.next < w.end and 32 < w.next[0] < 127:
        w.next += 1
    w.n = w.next - w.at
    return w.n > 0


cdef inline bint number(const uint8_t *at, size_t n, uint64_t high, uint64_t *value) noexcept nogil:
    """Read n decimal digits without a needless zero; answers whether they are a number up to high."""
    cdef uint64_t found = 0
    cdef size_t k
    cdef uint8_t digit
    if n == 0 or n > DIGITS or (at[0] == c'0' and n > 1):
        return False
    for k in range(n):
        digit = at[k] - <uint8_t>c'0'
        # of the longest text alone the number may be one of more than 64 bits
        if digit > 9 or (n == DIGITS and found > (high - digit) // 10):
            return False
        found = found * 10 + digit
    value[0] = found
    return found <= high


cdef inline bint quad(const uint8_t *at, size_t n, uint64_t *value) noexcept nogil:
    """Read an IPv4 address as inet_ntop writes it."""
    cdef const uint8_t *end = at + n
    cdef const uint8_t *begin
    cdef uint32_t found = 0, part
    cdef uint8_t digit
    cdef int k
    for k in range(4):
        begin, part = at, 0
        while at < end and at - begin < 4:
            digit = at[0] - <uint8_t>c'0'
            if digit > 9:
                break
            part = part * 10 + digit
            at += 1
        if at == begin or part > 255 or (begin[0] == c'0' and at - begin > 1):
            return False
        found = found << 8 | part
        if k < 3:
            if at == end or at[0] != c'.':
                return False
            at += 1
    value[0] = found
    return at == end


cdef inline int hexadecimal(uint8_t c) noexcept nogil:
    """Answer the value of a digit, -1 for anything else."""
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 32
    return c - c'a' + 10 if c'a' <= c <= c'f' else -1


cdef bint groups(const uint8_t *at, size_t n, uint64_t *value) noexcept nogil:
    """Read an IPv6 address of groups, with `::` at most once; one with dots or a zone is not plain."""
    cdef const uint8_t *end = at + n
    cdef uint16_t found[GROUPS]
    # where `::` stands among the groups
    cdef int k = 0, gap = -1, digits, digit, zeros
    cdef uint32_t group
    cdef uint64_t halves[2]
    if n >= 2 and at[0] == c':' and at[1] == c':':
        gap = 0
        at += 2
    while at < end:
        if k == GROUPS:
            return False
        group, digits = 0, 0
        while at < end and at[0] != c':':
            digit = hexadecimal(at[0])
            digits += 1
            if digit < 0 or digits > 4:
                return False
            group = group << 4 | <uint32_t>digit
            at += 1
        if digits == 0:
            return False
        found[k] = group
        k += 1
        if at == end:
            break
        at += 1
        if at == end:
            return False
        if at[0] == c':':
            if gap >= 0:
                return False
            gap = k
            at += 1
    if (k == GROUPS) == (gap >= 0):
        return False
    zeros = GROUPS - k
    halves[0] = halves[1] = 0
    for digit in range(k):
        digits = digit if gap < 0 or digit < gap else digit + zeros
        halves[digits >> 2] |= <uint64_t>found[digit] << 16 * (3 - (digits & 3))
    value[0], value[1] = halves[0], halves[1]
    return True


cdef inline bint is_word(const uint8_t *at, size_t n, const char *name, size_t length) noexcept nogil:
    """Answer whether a word is that name."""
    return n == length and memcmp(at, name, n) == 0


cdef inline bint address(word_t *value, line_t *row, int k) noexcept nogil:
    """Read an address of a line, whose first one says of which family all are."""
    if row.version == 0:
        row.version = 6 if memchr(value.at, c':', value.n) != NULL else 4
    if row.version == 6:
        return groups(value.at, value.n, row.ends[k])
    return quad(value.at, value.n, &row.ends[k][1])


# how often each key has stood in a line so far
cdef struct seen_t:
    int src, dst, near, far, kind, code, packets, octets, mark, zone


cdef bint take_pair(word_t *key, word_t *value, line_t *row, seen_t *seen, bint has_ports) noexcept nogil:
    """Note the value of a key; answers whether both are what plain lines have."""
    cdef uint64_t found = 0
    cdef const uint8_t *at = key.at
    cdef size_t n = key.n
    if is_word(at, n, b"src", 3):
        seen.src += 1
        return seen.src <= 2 and address(value, row, 2 * (seen.src - 1))
    if is_word(at, n, b"dst", 3):
        seen.dst += 1
        return seen.dst <= 2 and address(value, row, 2 * (seen.dst - 1) + 1)
    if is_word(at, n, b"sport", 5) and has_ports:
        seen.near += 1
        if seen.near > 2 or not number(value.at, value.n, 0xFFFF, &found):
            return False
        row.ports[2 * (seen.near - 1)] = found
        return True
    if is_word(at, n, b"dport", 5) and has_ports:
        seen.far += 1
        if seen.far > 2 or not number(value.at, value.n, 0xFFFF, &found):
            return False
        row.ports[2 * (seen.far - 1) + 1] = found
        return True
    if is_word(at, n, b"mark", 4):
        seen.mark += 1
        if seen.mark > 1 or not number(value.at, value.n, 0xFFFFFFFF, &found):
            return False
        row.mark = found
        return True
    # printed, and part of no connection
    if is_word(at, n, b"use", 3):
        return number(value.at, value.n, 0xFFFFFFFF, &found)
    if is_word(at, n, b"delta-time", 10) or (has_ports and is_word(at, n, b"id", 2)):
        return number(value.at, value.n, 0xFFFFFFFFFFFFFFFF, &found)
    if is_word(at, n, b"packets", 7):
        seen.packets += 1
        return seen.packets <= 2 and number(value.at, value.n, 0xFFFFFFFFFFFFFFFF, &row.packets[seen.packets - 1])
    if is_word(at, n, b"bytes", 5):
        seen.octets += 1
        return seen.octets <= 2 and number(value.at, value.n, 0xFFFFFFFFFFFFFFFF, &row.octets[seen.octets - 1])
    if is_word(at, n, b"id", 2):
        seen.near += 1
        if seen.near == 3:
            # the connection's own, with `-o id`
            return number(value.at, value.n, 0xFFFFFFFFFFFFFFFF, &found)
        if seen.near > 3 or not number(value.at, value.n, 0xFFFF, &found):
            return False
        row.ports[2 * (seen.near - 1)] = found
        return True
    # of ICMP the type and the code are the destination's port, as in the tuple
    if is_word(at, n, b"type", 4) and not has_ports:
        seen.kind += 1
        if seen.kind > 2 or not number(value.at, value.n, 0xFF, &found):
            return False
        row.ports[2 * (seen.kind - 1) + 1] |= <uint16_t>(found << 8)
        return True
    if is_word(at, n, b"code", 4) and not has_ports:
        seen.code += 1
        if seen.code > 2 or not number(value.at, value.n, 0xFF, &found):
            return False
        row.ports[2 * (seen.code - 1) + 1] |= <uint16_t>found
        return True
    if n >= 4 and memcmp(at, b"zone", 4) == 0:
        seen.zone += 1
        if seen.zone > 1 or not number(value.at, value.n, 0xFFFF, &found):
            return False
        row.zone = found
        row.zone_dir = BOTH if n == 4 else 1 if is_word(at, n, b"zone-orig", 9) else 2
        return n == 4 or row.zone_dir == 1 or is_word(at, n, b"zone-reply", 10)
    return False


cdef inline bint take_mark(word_t *w, line_t *row) noexcept nogil:
    """Note a word in brackets; answers whether it is known."""
    if is_word(w.at, w.n, b"[UNREPLIED]", 11):
        row.flags |= UNREPLIED
    elif is_word(w.at, w.n, b"[ASSURED]", 9):
        row.flags |= ASSURED
    elif is_word(w.at, w.n, b"[OFFLOAD]", 9) or is_word(w.at, w.n, b"[HW_OFFLOAD]", 12):
        row.flags |= OFFLOADED
    else:
        return False
    return True


cdef inline int state_of(const states_t *states, const word_t *w) noexcept nogil:
    """Answer the number of a state by its name, -1 for anything else."""
    cdef int k
    for k in range(states.n):
        if is_word(w.at, w.n, states.names[k], states.lengths[k]):
            return k
    return -1


cdef bint take_line(const uint8_t *at, const uint8_t *end, line_t *row) noexcept nogil:
    """Read a line into its row; answers whether it is plain."""
    cdef word_t w, key, value
    cdef seen_t seen
    cdef const uint8_t *equals
    cdef const states_t *states = NULL
    cdef uint64_t found = 0
    cdef bint has_timeout = False, has_ports, is_complete
    cdef int state = -1
    cdef size_t k
    memset(&seen, 0, sizeof(seen))
    memset(row, 0, sizeof(row[0]))
    w.next, w.end = at, end
    if not next_word(&w):
        return False
    # "ipv4     2" of -o extended and /proc
    if is_word(w.at, w.n, b"ipv4", 4) or is_word(w.at, w.n, b"ipv6", 4):
        if not next_word(&w) or not number(w.at, w.n, 0xFF, &found) or not next_word(&w):
            return False
    # the name of the protocol says nothing more than its number
    for k in range(w.n):
        if not (c'a' <= w.at[k] <= c'z' or c'0' <= w.at[k] <= c'9'):
            return False
    if not next_word(&w) or not number(w.at, w.n, 0xFF, &found) or not next_word(&w):
        return False
    row.proto = found
    has_ports = row.proto in (TCP, UDP, DCCP, SCTP, UDPLITE)
    if not has_ports and row.proto != ICMP and row.proto != ICMPV6:
        return False
    if number(w.at, w.n, 0xFFFFFFFF, &found):
        row.timeout, has_timeout = min(<uint32_t>found, LONGEST_TIMEOUT), True
        if not next_word(&w):
            return False
    if row.proto == TCP or row.proto == SCTP:
        states = &tcp_states if row.proto == TCP else &sctp_states
        state = state_of(states, &w)
        if state >= 0 and not next_word(&w):
            return False
    row.zone_dir = BOTH
    while True:
        if w.at[0] == c'[':
            if not take_mark(&w, row):
                return False
        else:
            equals = <const uint8_t *>memchr(w.at, c'=', w.n)
            if equals == NULL:
                return False
            key.at, key.n = w.at, equals - w.at
            value.at, value.n = equals + 1, w.n - key.n - 1
            if not take_pair(&key, &value, row, &seen, has_ports):
                return False
        if not next_word(&w):
            break
    # what stopped the last word was no blank
    if w.next != end:
        return False
    is_complete = seen.src == 2 and seen.dst == 2
    if has_ports:
        is_complete &= seen.near == 2 and seen.far == 2
    else:
        is_complete &= seen.near >= 2 and seen.kind == 2 and (seen.code == 2 or seen.code == 0)
    if not is_complete or seen.packets != seen.octets or seen.packets == 1:
        return False
    if not has_ports and (row.proto == ICMP) != (row.version == 4):
        return False
    # an entry in a flow table has neither, because neither can run out
    if row.flags & OFFLOADED:
        row.flags = row.flags & ~OFFLOADED | ASSURED
        if not has_timeout:
            row.timeout = OFFLOAD_SECONDS
        if states != NULL and state < 0:
            state = ESTABLISHED[row.proto == SCTP]
    elif not has_timeout or (states != NULL and state < 0):
        return False
    row.state = state if state >= 0 else 0
    return True


def scan(const unsigned char[::1] text, line_t[::1] rows, long long[:, ::1] odd, uint32_t first):
    """Read the lines of a text, of which the last one ends by a newline or with the text.

    text: uint8[n]; rows: LINE[m], to be filled by the plain lines, whose `number` counts on from `first`; odd:
    int64[m, 3], filled by the others: number, begin and end in the text. Returns how many of both there are. m is the
    number of lines at least: ValueError otherwise.
    """
    cdef Py_ssize_t plain = 0, others = 0, begin = 0, n = len(text)
    cdef const uint8_t *start = &text[0] if n else NULL
    cdef const uint8_t *newline
    cdef Py_ssize_t end
    cdef uint32_t line = first
    if len(odd) != len(rows) or odd.shape[1] != 3:
        raise ValueError("rows and odd have one length, and odd three columns")
    with nogil:
        while begin < n:
            if plain + others == len(rows):
                with gil:
                    raise ValueError(f"more than {len(rows)} lines")
            newline = <const uint8_t *>memchr(start + begin, c'\n', n - begin)
            end = newline - start if newline != NULL else n
            if take_line(start + begin, start + end, &rows[plain]):
                rows[plain].number = line
                plain += 1
            else:
                odd[others, 0], odd[others, 1], odd[others, 2] = line, begin, end
                others += 1
            begin = end + 1
            line += 1
    return plain, others


@cython.final
cdef class Interned:
    """Keys of three numbers, each of which gets the next number when it comes for the first time."""

    cdef readonly object keys
    cdef uint64_t[:, ::1] known
    cdef int[::1] slots
    # of this table alone: nobody can write a dump whose keys meet in one slot
    cdef uint64_t seed
    cdef readonly Py_ssize_t n

    def __cinit__(self):
        self.seed = int.from_bytes(os.urandom(8), "little")
        self.keys, self.n = np.zeros((0, 3), np.uint64), 0
        self.known, self.slots = self.keys, np.zeros(0, np.int32)

    cdef int leave_room(self, Py_ssize_t more) except -1:
        """Take so many more keys without growing."""
        cdef Py_ssize_t needed = self.n + more, size = 1024, k
        if needed > len(self.known):
            grown = np.zeros((max(needed, 2 * len(self.known)), 3), np.uint64)
            grown[: self.n] = self.keys[: self.n]
            self.keys = self.known = grown
        while size < 2 * needed:
            size *= 2
        if size > len(self.slots):
            self.slots = np.full(size, -1, np.int32)
            for k in range(self.n):
                self.slots[self.slot_of(self.known[k, 0], self.known[k, 1], self.known[k, 2])] = <int>k
        return 0

    cdef inline Py_ssize_t slot_of(self, uint64_t a, uint64_t b, uint64_t c) noexcept nogil:
        """Answer where a key is, or would be; at least one slot is empty."""
        cdef uint64_t h = (a ^ self.seed) * <uint64_t>0x9E3779B97F4A7C15
        cdef Py_ssize_t slot, mask = len(self.slots) - 1
        cdef int there
        h = ((h ^ h >> 32) + b) * <uint64_t>0xD6E8FEB86659FD93
        h = ((h ^ h >> 32) + c) * <uint64_t>0x9E3779B97F4A7C15
        slot = <Py_ssize_t>(h >> 32) & mask
        while True:
            there = self.slots[slot]
            if there < 0 or (self.known[there, 0] == a and self.known[there, 1] == b and self.known[there, 2] == c):
                return slot
            slot = (slot + 1) & mask

    cdef inline uint32_t id_of(self, uint64_t a, uint64_t b, uint64_t c) noexcept nogil:
        """Answer the number of a key; there is room for it."""
        cdef Py_ssize_t slot = self.slot_of(a, b, c)
        if self.slots[slot] < 0:
            self.known[self.n, 0], self.known[self.n, 1], self.known[self.n, 2] = a, b, c
            self.slots[slot] = <int>self.n
            self.n += 1
        return <uint32_t>self.slots[slot]


def port_spaces(const line_t[::1] rows, Interned addresses, Interned spaces, unsigned char[::1] entries):
    """Fill an entry for each row that has ports, in their order; return how many have.

    rows: LINE[n]; entries: the bytes of ENTRY[m], ValueError if m < n. addresses: (high, low, version); spaces: (address
    of the reply's source << 32 | of its destination, protocol, zone of the reply << 16 | source port of the reply).
    """
    cdef Py_ssize_t k, there = 0
    cdef line_t row
    cdef entry_t *entry
    cdef uint64_t near, far, zone
    if len(entries) < len(rows) * <Py_ssize_t>sizeof(entry_t):
        raise ValueError(f"{len(entries)} bytes of entries are not enough for {len(rows)} rows")
    addresses.leave_room(3 * len(rows))
    spaces.leave_room(len(rows))
    with nogil:
        for k in range(len(rows)):
            row = rows[k]
            if row.proto not in (TCP, UDP, DCCP, SCTP, UDPLITE):
                continue
            # /proc of a kernel since 6.17 shows no ports of DCCP
            if row.proto == DCCP and row.ports[2] == 0 and row.ports[3] == 0:
                continue
            entry = <entry_t *>&entries[there * <Py_ssize_t>sizeof(entry_t)]
            entry.source = addresses.id_of(row.ends[0][0], row.ends[0][1], row.version)
            far = addresses.id_of(row.ends[2][0], row.ends[2][1], row.version)
            near = addresses.id_of(row.ends[3][0], row.ends[3][1], row.version)
            zone = row.zone if row.zone_dir & 2 else 0
            entry.space = spaces.id_of(far << 32 | near, row.proto, zone << 16 | row.ports[2])
            entry.port = row.ports[3]
            entry.translated = entry.source != near
            entry.waits = row.proto == TCP and row.state == TCP_TIME_WAIT
            entry.closed = row.proto == TCP and row.state in (TCP_TIME_WAIT, TCP_CLOSE, TCP_SYN_SENT2)
            there += 1
    return there
