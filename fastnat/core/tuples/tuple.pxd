# The tuple: how it is read from a packet or a connection, and its inverse.
#
# Source: nf_conntrack_tuple.h, nf_ct_invert_tuple, nf_conntrack_proto_icmp.c (Linux 6.18).
# Invariants: all 16 bytes are significant, so equality and hash need no field list.
# Differs from the kernel: the effective zone id of the direction is part of the tuple.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport addr_t, conn_t, FN_V6, ICMP_ECHO, ICMP_ECHO_REPLY, PROTO_ICMP, tuple_t


cdef inline tuple_t tuple_make(addr_t src, addr_t dst, uint32_t sport, uint32_t dport,
                               uint32_t proto, uint32_t zone) noexcept nogil:
    # tuple_make: a tuple of its parts.
    cdef tuple_t t
    t.src = src
    t.dst = dst
    t.rest = sport | (<uint64_t>dport << 16) | (<uint64_t>proto << 32) | (<uint64_t>zone << 48)
    return t


cdef inline addr_t tuple_src(tuple_t t) noexcept nogil:
    # tuple_src: the source address.
    return t.src


cdef inline addr_t tuple_dst(tuple_t t) noexcept nogil:
    # tuple_dst: the destination address.
    return t.dst


cdef inline uint32_t tuple_sport(tuple_t t) noexcept nogil:
    # tuple_sport: the source port, or an ICMP id, or a GRE key.
    return <uint32_t>(t.rest & 0xffff)


cdef inline uint32_t tuple_dport(tuple_t t) noexcept nogil:
    # tuple_dport: the destination port, or ICMP type << 8 | code.
    return <uint32_t>((t.rest >> 16) & 0xffff)


cdef inline uint32_t tuple_proto(tuple_t t) noexcept nogil:
    # tuple_proto: the protocol.
    return <uint32_t>((t.rest >> 32) & 0xff)


cdef inline uint32_t tuple_zone(tuple_t t) noexcept nogil:
    # tuple_zone: the zone id that it is looked up in.
    return <uint32_t>(t.rest >> 48)


cdef inline bint tuple_equal(tuple_t a, tuple_t b) noexcept nogil:
    # tuple_equal: => Whether all of two tuples is equal.
    # two tests: behind equal tags tuples nearly always are equal, so the two ends need no branch each
    return ((a.src ^ b.src) | (a.dst ^ b.dst)) == 0 and a.rest == b.rest


cdef inline tuple_t tuple_with_src(tuple_t t, addr_t addr, uint32_t port) noexcept nogil:
    # tuple_with_src: the tuple with another source.
    t.src = addr
    t.rest = (t.rest & ~<uint64_t>0xffff) | port
    return t


cdef inline tuple_t tuple_with_dst(tuple_t t, addr_t addr, uint32_t port) noexcept nogil:
    # tuple_with_dst: the tuple with another destination.
    t.dst = addr
    t.rest = (t.rest & ~<uint64_t>0xffff0000) | (<uint64_t>port << 16)
    return t


cdef inline int icmp_inverse(uint32_t type_) noexcept nogil:
    # icmp_inverse: the type that answers an ICMP query (RFC 792, RFC 950; RFC 4443, RFC 4620).
    # => The type, or -1: such a message has no tuple of its own.
    # 128 and 129 differ in the last bit; 139 and 140 add up to 279
    if FN_V6:
        return <int>(type_ ^ 1) if type_ == 128 or type_ == 129 else <int>(279 - type_) if type_ == 139 or type_ == 140 else -1
    if type_ == 8:
        return 0
    if type_ == 0:
        return 8
    if 13 <= type_ <= 18:
        return <int>(type_ + 1) if type_ & 1 else <int>(type_ - 1)
    return -1


cdef inline bint tuple_invertible(tuple_t t) noexcept nogil:
    # tuple_invertible: => Whether a reply can belong to it (nf_ct_invert_tuple).
    return tuple_proto(t) != PROTO_ICMP or icmp_inverse(tuple_dport(t) >> 8) >= 0


cdef inline tuple_t swap_ends(tuple_t t) noexcept nogil:
    # swap_ends: invert_tuple of any protocol but ICMP.
    cdef tuple_t r
    cdef uint32_t ports = <uint32_t>t.rest
    r.src = t.dst
    r.dst = t.src
    r.rest = t.rest & <uint64_t>0xffffffff00000000 | (ports >> 16 | ports << 16)
    return r


cdef inline tuple_t invert_tuple(tuple_t t) noexcept nogil:
    # invert_tuple: the tuple of the opposite direction.
    # => t must be invertible; ICMP keeps its id in the source port and maps the type.
    cdef tuple_t r
    cdef uint64_t dport = (t.rest >> 16) & 0xffff
    if tuple_proto(t) != PROTO_ICMP:
        return swap_ends(t)
    dport = (<uint64_t>icmp_inverse(<uint32_t>(dport >> 8)) << 8) | (dport & 0xff)
    r.src = t.dst
    r.dst = t.src
    r.rest = t.rest & <uint64_t>0xffffffff0000ffff | dport << 16
    return r


cdef inline bint asks_echo(uint32_t proto, uint32_t dport) noexcept nogil:
    # asks_echo: whether a packet is an ICMP echo request. dport: type and code.
    return proto == PROTO_ICMP and dport >> 8 == ICMP_ECHO


cdef inline tuple_t answer_echo(tuple_t t) noexcept nogil:
    # answer_echo: invert_tuple of an echo request.
    cdef tuple_t r
    r.src = t.dst
    r.dst = t.src
    # the code stays
    r.rest = (t.rest & ~<uint64_t>0xff000000) | <uint64_t>ICMP_ECHO_REPLY << 24
    return r


cdef inline uint32_t zone_of(const conn_t *ct, uint32_t dir) noexcept nogil:
    # zone_of: the zone id that a direction is looked up in (nf_ct_zone_id).
    return tuple_zone(ct.tuples[dir])


cdef inline tuple_t conn_tuple(const conn_t *ct, uint32_t dir) noexcept nogil:
    # conn_tuple: the tuple of one direction of a connection.
    return ct.tuples[dir]


cdef inline tuple_t tuple_in_zone(tuple_t t, uint32_t zone) noexcept nogil:
    # tuple_in_zone: the tuple in another zone.
    t.rest = (t.rest & <uint64_t>0x0000ffffffffffff) | (<uint64_t>zone << 48)
    return t
