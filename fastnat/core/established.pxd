# Packets of a connection that nothing but its tuples decides any more: the short way through the hooks.
#
# Source: the steps of hooks.pxd for such a packet (what the kernel calls the flow-table fast path gives the
# same answer); nf_conntrack_in, nf_nat_packet (Linux 6.18).
# Invariants: gives exactly what `walk` would give, or declines and changes nothing. It is asked only when no rule of
# raw, mangle or filter can see the packet, and then every hook but conntrack's and NAT's is empty.
# Differs from the kernel: nothing.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from .types cimport *
from .ct_lookup cimport find_tuple
from .ct_state cimport udp_packet
from .route cimport is_multicast, may_be_forwarded
from .tuple cimport conn_tuple, invert_tuple, tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src


cdef inline bint pass_established(engine_t *e, const packet_t *in_, tuple_t t, uint64_t hash, result_t *out) noexcept nogil:
    # pass_established: forward a UDP packet whose connection knows its manips and its route.
    # => False: take the long way. Ports of UDP are all that may change, so the inverse of the other
    #    direction's tuple is the packet that leaves.
    cdef uint32_t id_ = FN_NONE
    cdef uint32_t dir, route, ctinfo
    cdef int done = IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE
    cdef int looked_at = done | IPS_FIXED_TIMEOUT
    cdef conn_t *c
    cdef tuple_t leaving
    if tuple_proto(t) != PROTO_UDP or in_.iface == 0 or in_.iface >= e.n_ifaces:
        return False
    id_ = find_tuple(e, t, hash, <uint32_t>e.now)
    if id_ == FN_NONE:
        return False
    dir = id_ & 1
    c = &e.conns[id_ >> 1]
    route = c.routes[dir]
    if route == 0 or c.status & looked_at != done or e.routes[route - 1].kind != ROUTE_UNICAST:
        return False
    if dir == 0 and c.masq_iface and c.masq_iface != e.routes[route - 1].iface:
        return False
    leaving = invert_tuple(conn_tuple(c, 1 - dir))
    if is_multicast(tuple_dst(leaving)) or not may_be_forwarded(in_.src, in_.iface, e.routes[route - 1].iface):
        return False
    ctinfo = IP_CT_ESTABLISHED_REPLY if dir else (IP_CT_ESTABLISHED if c.status & IPS_SEEN_REPLY else IP_CT_NEW)
    udp_packet(e, id_ >> 1, <uint32_t>e.now)
    if dir:
        c.status |= IPS_SEEN_REPLY
    if FN_V6:
        memset(out, 0, sizeof(result_t))
    out.verdict = VERDICT_FORWARD
    out.ctinfo = <unsigned char>ctinfo
    out.reason = REASON_NONE
    out.pad = 0
    out.src = tuple_src(leaving)
    out.dst = tuple_dst(leaving)
    out.sport = <uint16_t>tuple_sport(leaving)
    out.dport = <uint16_t>tuple_dport(leaving)
    out.out_iface = e.routes[route - 1].iface
    out.probes = 0
    out.conn = id_ >> 1
    return True
