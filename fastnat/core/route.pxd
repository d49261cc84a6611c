# The route of a packet: of several next hops one; a connection remembers it; the node's own packets are routed anew when rules
# have changed what it depends on.
#
# Source: ip_route_input, ip_route_output_flow, ip_route_me_harder, nft_chain_route.c, iptable_mangle.c (Linux 6.18).
# Invariants: a route that a connection remembers is that of every packet of its direction.
# Differs from the kernel: nothing.
from libc.stdint cimport uint16_t, uint32_t
from .types cimport *
from .multipath cimport choose_hop, hop_varies
from .packet.mangle cimport tos_of
from .fib cimport (device_of, is_limited_broadcast, is_link_local, is_local_kind, is_multicast, leads_behind_output, leads_nowhere,
                   route_lookup, route_of)
from .tuples.tuple cimport tuple_dst, tuple_src
from .validate cimport is_loopback
from .waypoints cimport note_waypoint

cdef enum:
    # 127.0.0.1
    OWN_LOOPBACK = 0x7f000001


cdef inline void take_route(const engine_t *e, pkt_t *p, uint32_t route) noexcept nogil:
    # take_route: the packet leaves by a route, by its index + 1; what the node sends to itself by lo.
    cdef const route_t *r = &e.routes[route - 1]
    p.route = <uint16_t>route
    p.out_iface = r.iface
    if p.in_iface == 0 and (r.kind == ROUTE_LOCAL or r.kind == ROUTE_ANYCAST):
        p.out_iface = <uint16_t>e.loopback


cdef inline bint may_be_kept(const engine_t *e, const pkt_t *p, uint32_t route) noexcept nogil:
    # may_be_kept: whether every packet of the connection's direction takes this route, from whatever device it comes.
    if e.routes_by_packet or p.ct == FN_NONE or p.icmp_error:
        return False
    # these are asked for the device each time: route_localnet, accept_local, bc_forwarding
    if is_loopback(tuple_src(p.t)) or is_loopback(tuple_dst(p.t)) or is_local_kind(e, e.class_route[p.src_class]):
        return False
    # what leaves by lo comes back
    if e.routes[route - 1].iface == e.loopback and e.routes[route - 1].kind == ROUTE_UNICAST:
        return False
    # what goes to a group goes by it, and not by the route, where it comes in
    return not (e.routes[route - 1].kind == ROUTE_BROADCAST or is_link_local(tuple_dst(p.t)) or is_multicast(tuple_dst(p.t)))


cdef inline uint32_t find_route(engine_t *e, pkt_t *p) noexcept nogil:
    # find_route: route_of, and of several next hops one. The node that sends to 0.0.0.0 or :: means itself.
    cdef uint32_t route
    if p.in_iface == 0 and tuple_dst(p.t) == 0:
        return route_lookup(e, <addr_t>(1 if FN_V6 else OWN_LOOPBACK))
    route = route_of(e, p)
    if leads_nowhere(e, route):
        return route
    if fn_unlikely(e.routes[route - 1].hops > 1) and not is_link_local(tuple_dst(p.t)):
        route = choose_hop(e, p, route)
        # a connection keeps a route only if all of its packets would take it
        if hop_varies(e, p):
            return route
    if may_be_kept(e, p, route):
        e.conns[p.ct].routes[p.dir] = <uint16_t>route
    return route


cdef inline uint32_t kept_route(const engine_t *e, const pkt_t *p) noexcept nogil:
    # kept_route: the route that the packet's connection remembers for its direction, index + 1.
    # => 0: none, or it is not the packet's.
    return 0 if p.ct == FN_NONE or p.icmp_error or p.is_new else e.conns[p.ct].routes[p.dir]


cdef inline uint32_t set_route(engine_t *e, pkt_t *p) noexcept nogil:
    # set_route: the route of the packet's destination; a connection remembers it for each direction.
    # => REASON_NONE or REASON_NO_ROUTE.
    cdef uint32_t route = kept_route(e, p)
    if route == 0:
        route = find_route(e, p)
        if leads_nowhere(e, route) and not (p.in_iface == 0 and leads_behind_output(e, route)):
            return REASON_NO_ROUTE
    take_route(e, p, route)
    return REASON_NONE


cdef struct way_t:
    # what the route of a packet of the node itself depends on
    addr_t src, dst
    uint32_t mark, tos, ttl


cdef inline way_t way_of(const pkt_t *p) noexcept nogil:
    # way_of: what nft_chain_route and ipt_mangle_out remember. => Of IPv6 the hop limit, too.
    cdef way_t w
    w.src = tuple_src(p.t)
    w.dst = tuple_dst(p.t)
    w.mark = p.mark
    w.tos = tos_of(p)
    w.ttl = p.data[7] if FN_V6 and p.data != NULL else 0
    return w


cdef inline uint32_t reroute(engine_t *e, pkt_t *p) noexcept nogil:
    # reroute: a packet of the node's whose way has changed since it was routed (ip_route_me_harder).
    cdef uint32_t device, reason
    p.rerouted = True
    if is_multicast(tuple_dst(p.t)) or is_limited_broadcast(tuple_dst(p.t)):
        # with a source address the device is the one that has it; IPv6 stays on the one that it has (`strict` of ip6_route_me_harder)
        if FN_V6:
            return REASON_NONE
        device = device_of(e, tuple_src(p.t))
        if device == 0:
            return REASON_NO_ROUTE
        p.out_iface = <uint16_t>device
        return REASON_NONE
    reason = set_route(e, p)
    note_waypoint(e, p, WAYPOINT_ROUTE, reason)
    return reason


cdef inline uint32_t keep_way(engine_t *e, pkt_t *p, const way_t *before) noexcept nogil:
    # keep_way: the node's own packet is routed anew if rules have changed its way.
    # => REASON_NONE or REASON_NO_ROUTE.
    cdef way_t w = way_of(p)
    if (w.src == before.src and w.dst == before.dst and w.mark == before.mark and w.tos == before.tos
            and w.ttl == before.ttl) or p.in_iface != 0:
        return REASON_NONE
    return reroute(e, p)
