# Matches that look into headers behind the fixed ones: TCP options, and the routing header of IPv6.
#
# Source: tcp_find_option (xt_tcpudp.c), xt_tcpmss.c, xt_ecn.c, ip6t_rt.c, ipv6_find_hdr (exthdrs_core.c), Linux 6.18.
# Invariants: no byte behind the datagram is read. A header-only packet has neither options nor extension headers.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t
from ..types cimport *
from ..packet.checksum cimport load_be16, load_be32

cdef enum:
    TCP_HEADER = 20
    OPTION_MSS = 2
    MSS_SIZE = 4
    V6_HEADER = 40
    V6_HOPS = 0
    V6_ROUTING = 43
    V6_FRAGMENT = 44
    V6_AUTH = 51
    V6_OPTIONS = 60
    # no routing header; headers that end behind the datagram
    NO_HEADER = 0
    CUT_HEADER = 1


cdef inline uint32_t tcp_at(const pkt_t *p) noexcept nogil:
    # tcp_at: where matches that do not ask for fragments read a TCP header. Of a part of an IPv6 datagram that is not its first
    # nobody tells them: they read the IPv6 header (ipv6_find_hdr leaves the offset as it is).
    return 0 if FN_V6 and p.part == PART_LATER else p.l4off


cdef inline bint option_holds(const match_t *m, const pkt_t *p, bint *hotdrop) noexcept nogil:
    # option_holds: whether a TCP option is in the header; inversion included (tcp_find_option).
    # => hotdrop: a header that ends too early, or says that it does.
    cdef uint32_t at, end
    if p.data == NULL:
        return m.invert
    at = p.l4off + TCP_HEADER
    end = p.l4off + (p.data[p.l4off + 12] >> 4) * 4 if p.len >= at else 0
    if end < at or end > p.len:
        hotdrop[0] = True
        return False
    while at < end:
        # the number alone: the kernel looks for an option, and does not ask whether all of it is there
        if p.data[at] == m.option.number:
            return not m.invert
        # a length of 0 would never end: the kernel goes on by one byte
        at += 1 if p.data[at] < 2 or at + 1 >= end or p.data[at + 1] == 0 else p.data[at + 1]
    return m.invert


cdef inline bint mss_holds(const match_t *m, const pkt_t *p, bint *hotdrop) noexcept nogil:
    # mss_holds: whether the segment's MSS option lies in the range (tcpmss_mt).
    # => hotdrop: a header that ends too early, or says that it does.
    cdef uint32_t header = tcp_at(p)
    cdef uint32_t at, end
    if p.data == NULL:
        return m.invert
    at = header + TCP_HEADER
    end = header + (p.data[header + 12] >> 4) * 4 if p.len >= at else 0
    if end < at or end > p.len:
        hotdrop[0] = True
        return False
    while at < end:
        # another length is none of RFC 9293's, and its bytes are no size
        if p.data[at] == OPTION_MSS and end - at >= MSS_SIZE and p.data[at + 1] == MSS_SIZE:
            return (m.range.low <= load_be16(p.data + at + 2) <= m.range.high) != m.invert
        at += 1 if p.data[at] < 2 or at + 1 >= end or p.data[at + 1] == 0 else p.data[at + 1]
    return m.invert


cdef inline bint ecn_holds(const match_t *m, const pkt_t *p) noexcept nogil:
    # ecn_holds: flags of a TCP header, which must be there whole; inversion included (match_tcp of xt_ecn.c).
    cdef uint32_t header = tcp_at(p)
    if p.data == NULL:
        return ((p.tcp_flags & m.byte.mask) == m.byte.value) != m.invert
    if p.len < header + TCP_HEADER:
        return False
    return ((p.data[header + 13] & m.byte.mask) == m.byte.value) != m.invert


cdef inline uint32_t routing_header(const pkt_t *p) noexcept nogil:
    # routing_header: where the routing header of an IPv6 datagram begins (ipv6_find_hdr).
    # => NO_HEADER, CUT_HEADER, or its offset, which is at least V6_HEADER; 4 bytes of it are there.
    cdef uint32_t at = V6_HEADER
    cdef uint32_t kind
    if p.data == NULL or not FN_V6:
        return NO_HEADER
    kind = p.data[6]
    while kind == V6_HOPS or kind == V6_ROUTING or kind == V6_OPTIONS or kind == V6_AUTH or kind == V6_FRAGMENT:
        # as many bytes as ipv6_find_hdr reads of each: of two bytes a routing or fragment header is cut, and no other one
        if at + (4 if kind == V6_ROUTING or kind == V6_FRAGMENT else 2) > p.len:
            return CUT_HEADER
        if kind == V6_ROUTING:
            return at
        if kind == V6_FRAGMENT:
            # what follows stands in the first part: behind this header comes payload
            if load_be16(p.data + at + 2) & 0xfff8:
                return NO_HEADER
            kind = p.data[at]
            at += 8
            continue
        kind, at = p.data[at], at + ((p.data[at + 1] + 2) * 4 if kind == V6_AUTH else (p.data[at + 1] + 1) * 8)
    return NO_HEADER


cdef inline bint routing_holds(const match_t *m, const pkt_t *p, bint *hotdrop) noexcept nogil:
    # routing_holds: one part of the routing header (rt_mt6). Without such a header none holds, inverted or not.
    # => hotdrop: the headers are cut off.
    cdef uint32_t at = routing_header(p)
    cdef uint32_t length, value
    if at < V6_HEADER:
        hotdrop[0] = at == CUT_HEADER
        return False
    length = (p.data[at + 1] + 1) * 8
    # rt_mt6: a header that promises more than came is no mismatch but the end of the packet
    if length > p.len - at:
        hotdrop[0] = True
        return False
    if m.routing.part == ROUTING_TYPE:
        value = p.data[at + 2]
    elif m.routing.part == ROUTING_LENGTH:
        value = length
    elif m.routing.part == ROUTING_RESERVED:
        # eight bytes are the least that a header says, so these four are there
        value = load_be32(p.data + at + 4)
    else:
        value = p.data[at + 3]
    return (m.routing.low <= value <= m.routing.high) != m.invert
