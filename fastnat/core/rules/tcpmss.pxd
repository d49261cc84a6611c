# The target TCPMSS: the largest segment that a SYN announces.
#
# Source: xt_TCPMSS.c (Linux 6.18); RFC 1122, 8200, 9293.
# Invariants: an MSS is never made larger; nothing is written beyond p.room; checksums and lengths are right afterwards.
# Differs from the kernel: routes have the MTU of their device.
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memmove
from ..types cimport *
from ..packet.checksum cimport csum_replace2, csum_replace4, load_be16, load_be32, store_be16
from ..packet.mangle cimport set_length
from ..fib cimport smallest_mtu

cdef enum:
    TCP_HEADER = 20
    # doff has four bits
    MAX_HEADER = 60
    OPTION_NOP = 1
    OPTION_MSS = 2
    MSS_LENGTH = 4


# the IP and TCP headers without options; the MSS of who announces none
cdef extern from *:
    """
    #define FN_MSS_HEADERS ((FN_V6 ? 40 : 20) + 20)
    #define FN_DEFAULT_MSS (FN_V6 ? 1220 : 536)
    """
    const uint32_t MSS_HEADERS "FN_MSS_HEADERS"
    const uint32_t DEFAULT_MSS "FN_DEFAULT_MSS"


cdef inline uint32_t mss_option(const uint8_t *l4, uint32_t header) noexcept nogil:
    # mss_option: => Where the option begins, 0: there is none.
    cdef uint32_t at = TCP_HEADER
    while at + MSS_LENGTH <= header:
        if l4[at] == OPTION_MSS and l4[at + 1] == MSS_LENGTH:
            return at
        # the end of the list (0) is passed like a NOP: an MSS behind it is clamped, too (optlen of xt_TCPMSS.c)
        at += 1 if l4[at] <= OPTION_NOP or l4[at + 1] == 0 else l4[at + 1]
    return 0


cdef inline void add_option(engine_t *e, pkt_t *p, uint32_t mss) noexcept nogil:
    # add_option: an MSS option in front of all others. There is room for it.
    cdef uint8_t *l4 = p.data + p.l4off
    cdef uint32_t have = p.len - p.l4off
    cdef uint32_t before = load_be16(l4 + 12)
    memmove(l4 + TCP_HEADER + MSS_LENGTH, l4 + TCP_HEADER, have - TCP_HEADER)
    # the length is part of the pseudo header, and what is new counts as if zeros had stood there
    csum_replace2(l4 + 16, have, have + MSS_LENGTH)
    l4[TCP_HEADER] = OPTION_MSS
    l4[TCP_HEADER + 1] = MSS_LENGTH
    store_be16(l4 + TCP_HEADER + 2, mss)
    csum_replace4(l4 + 16, 0, load_be32(l4 + TCP_HEADER))
    l4[12] += MSS_LENGTH // 4 << 4
    csum_replace2(l4 + 16, before, load_be16(l4 + 12))
    set_length(e, p, p.len + MSS_LENGTH)


cdef inline uint32_t set_mss(engine_t *e, pkt_t *p, const target_t *t) noexcept nogil:
    # set_mss: tcpmss_mangle_packet; op 1 clamps to the path MTU, 0 sets t.value. A packet without bytes has no options.
    # => TARGET_NONE: the walk goes on; TARGET_DROP, TARGET_NO_ROOM: it ends.
    cdef uint8_t *l4 = p.data + p.l4off
    cdef uint32_t have = p.len - p.l4off
    cdef uint32_t mss = t.value
    cdef uint32_t header, at, before
    if p.data == NULL:
        return TARGET_NONE
    if have < TCP_HEADER:
        return TARGET_DROP
    header = (l4[12] >> 4) * 4
    if header < TCP_HEADER or header > have:
        return TARGET_DROP
    if t.op:
        mss = smallest_mtu(e, p)
        if mss <= MSS_HEADERS:
            return TARGET_DROP
        mss -= MSS_HEADERS
    at = mss_option(l4, header)
    if at:
        before = load_be16(l4 + at + 2)
        if before > mss:
            store_be16(l4 + at + 2, mss)
            csum_replace2(l4 + 16, before, mss)
        return TARGET_NONE
    # data behind the header would have to give way, and 60 bytes are all that a header can have
    if have > header or header >= MAX_HEADER:
        return TARGET_NONE
    if p.len + MSS_LENGTH > p.room:
        return TARGET_NO_ROOM
    # who announces nothing is sent segments of the default (RFC 1122, 4.2.2.6): an option with more would make them larger
    add_option(e, p, mss if mss < DEFAULT_MSS else DEFAULT_MSS)
    return TARGET_NONE
