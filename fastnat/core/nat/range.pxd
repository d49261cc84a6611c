# Ranges: what a NAT target allows, and whether a tuple already lies inside.
#
# Source: nf_nat_in_range, l4proto_in_range (nf_nat_core.c, Linux 6.18); struct nf_nat_range2.
# Invariants: addresses and ports in host order, limits included; min > max holds nothing.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t
from ..types cimport (MANIP_SRC, PROTO_GRE, PROTO_ICMP, PROTO_SCTP, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, RANGE_MAP_IPS,
                      RANGE_PROTO_SPECIFIED, target_t, tuple_t)
from ..tuples.tuple cimport tuple_dport, tuple_proto, tuple_sport, tuple_src


cdef inline bint has_ports(uint32_t proto) noexcept nogil:
    # has_ports: => Whether a protocol has ports that nat may change.
    return proto == PROTO_UDP or proto == PROTO_TCP or proto == PROTO_SCTP or proto == PROTO_UDPLITE


cdef inline bint l4proto_in_range(tuple_t t, uint32_t manip, const target_t *range_) noexcept nogil:
    # l4proto_in_range: => Whether the tuple's port lies in the range (nf_nat_l4proto_in_range).
    cdef uint32_t proto = tuple_proto(t)
    cdef uint32_t port
    # the id of ICMP stands in the source port, whichever manip asks
    if proto == PROTO_ICMP or manip == MANIP_SRC:
        port = tuple_sport(t)
    else:
        port = tuple_dport(t)
    if proto == PROTO_ICMP or proto == PROTO_GRE or has_ports(proto):
        return range_.min_proto <= port <= range_.max_proto
    return True


cdef inline bint in_range(tuple_t t, const target_t *range_) noexcept nogil:
    # in_range: whether the source of a tuple lies in the range of a source manip.
    if range_.flags & RANGE_MAP_IPS:
        if tuple_src(t) < range_.min_addr or tuple_src(t) > range_.max_addr:
            return False
    if not range_.flags & RANGE_PROTO_SPECIFIED:
        return True
    return l4proto_in_range(t, MANIP_SRC, range_)
