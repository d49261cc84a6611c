"""Find the packets of a classic pcap file, gather their IP datagrams, and lay out the blocks of a pcapng file.

Lengths and places in a capture are anybody's: each is compared with the end of what is in memory before it is followed.
Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; tcpdump.org/linktypes.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    HEADER = 16
    ETHERNET = 1
    COOKED = 113
    COOKED2 = 276
    IPV4 = 0x0800
    IPV6 = 0x86DD
    VLAN = 0x8100
    SERVICE_VLAN = 0x88A8
    # of an enhanced packet block: its kind, and its bytes beside the packet and the padding
    ENHANCED = 6
    AROUND = 32


cdef inline uint32_t word(const uint8_t *at, bint big) noexcept nogil:
    """Return the 32 bits at a place, in the byte order of the file."""
    if big:
        return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]
    return <uint32_t>at[3] << 24 | <uint32_t>at[2] << 16 | <uint32_t>at[1] << 8 | at[0]


cdef inline void put(uint8_t *at, uint32_t value) noexcept nogil:
    """Write 32 bits as little-endian files have them."""
    at[0], at[1] = <uint8_t>(value & 0xFF), <uint8_t>(value >> 8 & 0xFF)
    at[2], at[3] = <uint8_t>(value >> 16 & 0xFF), <uint8_t>(value >> 24)


cdef inline uint16_t kind_at(const uint8_t *frame, int64_t size, int64_t at) noexcept nogil:
    """Return the protocol that a frame names at a place, 0 behind its end."""
    return <uint16_t>(<uint16_t>frame[at] << 8 | frame[at + 1]) if at + 2 <= size else <uint16_t>0


cdef inline int64_t front_of(uint32_t link, const uint8_t *frame, int64_t size) noexcept nogil:
    """Return how many bytes stand in front of the IP datagram of a frame; all of them where it has none."""
    cdef int64_t at
    cdef uint16_t kind
    if link == ETHERNET:
        at, kind = 14, kind_at(frame, size, 12)
        while kind == VLAN or kind == SERVICE_VLAN:
            kind = kind_at(frame, size, at + 2)
            at += 4
    elif link == COOKED:
        at, kind = 16, kind_at(frame, size, 14)
    elif link == COOKED2:
        at, kind = 20, kind_at(frame, size, 0)
    else:
        return 0
    return at if at < size and (kind == IPV4 or kind == IPV6) else size


def scan(
    const uint8_t[::1] text, Py_ssize_t at, bint big, uint32_t link, uint32_t most, int64_t room, int64_t[:, ::1] found
):
    """Find packets from a place on: as many as found has rows, until they have `room` bytes, or one is not whole.

    Fills of each: seconds, their part, where its frame begins and ends, where the IP datagram begins. Returns how many
    there are, and where the next one begins; a packet of more than `most` bytes is none. link: a link type; all but
    Ethernet and Linux cooked are taken as IP. ValueError for a place that is not in the text, or too few columns.
    """
    cdef Py_ssize_t n = 0, left
    cdef int64_t kept
    cdef const uint8_t *head
    if at < 0 or at > len(text) or found.shape[1] != 5:
        raise ValueError("a place in the text, and five columns")
    with nogil:
        while n < found.shape[0] and room > 0:
            left = len(text) - at
            if left < HEADER:
                break
            head = &text[at]
            kept = word(head + 8, big)
            if kept > most or kept > left - HEADER:
                break
            found[n, 0], found[n, 1] = word(head, big), word(head + 4, big)
            found[n, 2], found[n, 3] = at + HEADER, at + HEADER + kept
            found[n, 4] = at + HEADER + front_of(link, head + HEADER, kept)
            at += HEADER + <Py_ssize_t>kept
            room -= kept
            n += 1
    return n, at


def gather(const uint8_t[::1] text, const int64_t[::1] begins, const int64_t[::1] ends, uint8_t[::1] out):
    """Copy parts of a text one behind the other. ValueError for a part that is not in it, or too little room."""
    cdef Py_ssize_t k, at = 0
    cdef int64_t size
    if len(begins) != len(ends):
        raise ValueError("as many begins as ends")
    with nogil:
        for k in range(len(begins)):
            size = ends[k] - begins[k]
            if begins[k] < 0 or size < 0 or ends[k] > len(text) or size > len(out) - at:
                with gil:
                    raise ValueError(f"part {k} does not fit")
            if size:
                memcpy(&out[at], &text[begins[k]], <size_t>size)
            at += <Py_ssize_t>size


def blocks(
    const uint8_t[::1] text, const int64_t[::1] begins, const int64_t[::1] ends, const uint64_t[::1] stamps,
    const uint32_t[::1] numbers, uint8_t[::1] out,
):
    """Lay out packets as enhanced packet blocks of a little-endian section; return their bytes.

    text, begins, ends: the packets; stamps: their times in units of their interfaces, `numbers`. ValueError for a packet
    that is not in the text, or too little room in `out`.
    """
    cdef Py_ssize_t k, at = 0
    cdef int64_t size, padded
    cdef uint8_t *block
    if not len(begins) == len(ends) == len(stamps) == len(numbers):
        raise ValueError("as many begins as ends, stamps and numbers")
    with nogil:
        for k in range(len(begins)):
            size = ends[k] - begins[k]
            if begins[k] < 0 or size < 0 or ends[k] > len(text) or size > 0x7FFFFFFF:
                with gil:
                    raise ValueError(f"packet {k} is not in the text")
            padded = (size + 3) & ~<int64_t>3
            if padded + AROUND > len(out) - at:
                with gil:
                    raise ValueError(f"no room for packet {k}")
            block = &out[at]
            put(block, ENHANCED)
            put(block + 4, <uint32_t>(padded + AROUND))
            put(block + 8, numbers[k])
            put(block + 12, <uint32_t>(stamps[k] >> 32))
            put(block + 16, <uint32_t>stamps[k])
            put(block + 20, <uint32_t>size)
            put(block + 24, <uint32_t>size)
            memset(block + 28, 0, <size_t>padded)
            if size:
                memcpy(block + 28, &text[begins[k]], <size_t>size)
            put(block + 28 + padded, <uint32_t>(padded + AROUND))
            at += <Py_ssize_t>padded + AROUND
    return at
