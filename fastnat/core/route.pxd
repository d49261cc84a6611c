# Routes and addresses of the node.
#
# Source: fib lookup by longest prefix, fib_validate_source, ip_route_input_slow, inet_select_addr, inet_addr_type
# (Linux 6.18).
# Invariants: routes are sorted: local table first, then by prefix length, then by metric, so the first that
# contains an address is the kernel's answer; it is the same for all addresses of a class.
# Differs from the kernel: no policy rules, one table besides local, no multipath, no VRF.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from .types cimport (address_t, engine_t, FN_ANY_IFACE, pkt_t, route_t, ROUTE_BROADCAST, ROUTE_LOCAL, ROUTE_UNICAST,
                     tuple_t)
from .tuple cimport tuple_dport, tuple_dst, tuple_sport, tuple_src

cdef enum:
    SCOPE_UNIVERSE = 0
    SCOPE_LINK = 253
    IFACE_RP_STRICT = 1
    IFACE_RP_LOOSE = 2
    IFACE_ACCEPT_LOCAL = 4
    IFACE_LOOPBACK = 8
    IFACE_ROUTE_LOCALNET = 16
    TYPE_UNICAST = 1
    TYPE_BROADCAST = 3
    TYPE_MULTICAST = 5


cdef inline uint32_t address_class(const engine_t *e, uint32_t addr) noexcept nogil:
    # address_class: binary search among the classes of the first octet.
    cdef uint32_t at = e.class_of_octet[addr >> 24]
    cdef uint32_t n = e.class_of_octet[(addr >> 24) + 1] - at + 1
    cdef uint32_t half
    while n > 1:
        half = n >> 1
        at += half if e.class_start[at + half] <= addr else 0
        n -= half
    return at


cdef inline uint64_t port_class(const engine_t *e, uint32_t which, uint32_t port) noexcept nogil:
    cdef uint32_t at = 0
    cdef uint32_t n = e.n_port_classes[which]
    cdef uint32_t half
    while n > 1:
        half = n >> 1
        at += half if e.port_start[which][at + half] <= port else 0
        n -= half
    return at


cdef inline void classify(const engine_t *e, pkt_t *p) noexcept nogil:
    # classify: the classes of the packet's present addresses and ports.
    if p.classified.addrs != p.t.addrs or p.classified.rest != p.t.rest:
        p.classified = p.t
        p.src_class = address_class(e, tuple_src(p.t))
        p.dst_class = address_class(e, tuple_dst(p.t))
        p.port_classes = port_class(e, 0, tuple_sport(p.t)) << 24 | port_class(e, 1, tuple_dport(p.t)) << 42


cdef inline uint32_t route_lookup(const engine_t *e, uint32_t dst) noexcept nogil:
    # route_lookup: the route of a destination.
    # => Its index + 1, or 0: network unreachable.
    return e.class_route[address_class(e, dst)]


cdef inline uint32_t route_of(const engine_t *e, pkt_t *p) noexcept nogil:
    # route_of: route_lookup of the packet's destination.
    classify(e, p)
    return e.class_route[p.dst_class]


cdef inline bint is_local_kind(const engine_t *e, uint32_t route) noexcept nogil:
    return route and (e.routes[route - 1].kind == ROUTE_LOCAL or e.routes[route - 1].kind == ROUTE_BROADCAST)


cdef inline uint32_t addr_type(const engine_t *e, uint32_t addr, uint32_t class_, uint32_t iface) noexcept nogil:
    # addr_type: RTN_* of an address by the local table alone (inet_addr_type).
    cdef uint32_t route
    if addr == 0 or addr == <uint32_t>0xffffffff:
        return TYPE_BROADCAST
    if addr >> 28 == 0xe:
        return TYPE_MULTICAST
    route = e.class_route[class_]
    if is_local_kind(e, route) and (iface == FN_ANY_IFACE or e.routes[route - 1].iface == iface):
        return e.routes[route - 1].kind
    return TYPE_UNICAST


cdef inline bint source_is_martian(const engine_t *e, pkt_t *p) noexcept nogil:
    # source_is_martian: ip_route_input refuses the packet for its source address.
    cdef uint32_t flags = e.lo_flags[p.in_iface]
    cdef uint32_t src = tuple_src(p.t)
    cdef uint32_t dst = tuple_dst(p.t)
    cdef uint32_t route
    if src >> 28 == 0xe or src == <uint32_t>0xffffffff:
        return True
    if src >> 24 == 0:
        return not (src == 0 and dst == 0) and dst != <uint32_t>0xffffffff
    if src >> 24 == 127 and not flags & (IFACE_LOOPBACK | IFACE_ROUTE_LOCALNET):
        return True
    classify(e, p)
    route = e.class_route[p.src_class]
    if is_local_kind(e, route):
        return not flags & (IFACE_ACCEPT_LOCAL | IFACE_LOOPBACK) or e.routes[route - 1].kind == ROUTE_BROADCAST
    if flags & IFACE_RP_STRICT:
        return route == 0 or e.routes[route - 1].kind != ROUTE_UNICAST or e.routes[route - 1].iface != p.in_iface
    if flags & IFACE_RP_LOOSE:
        return route == 0 or e.routes[route - 1].kind != ROUTE_UNICAST
    return False


cdef inline bint destination_is_martian(const engine_t *e, uint32_t dst, uint32_t in_iface) noexcept nogil:
    if dst >> 24 == 0:
        return True
    return dst >> 24 == 127 and not e.lo_flags[in_iface] & (IFACE_LOOPBACK | IFACE_ROUTE_LOCALNET)


cdef inline uint32_t next_hop(const engine_t *e, const pkt_t *p) noexcept nogil:
    # next_hop: the gateway of the packet's route, or its destination (rt_nexthop).
    if p.route and e.routes[p.route - 1].gateway:
        return e.routes[p.route - 1].gateway
    return tuple_dst(p.t)


cdef inline uint32_t select_addr(const engine_t *e, uint32_t iface, uint32_t hop) noexcept nogil:
    # select_addr: inet_select_addr(iface, hop, RT_SCOPE_UNIVERSE).
    # => 0 when the node has no global address. e.addresses holds devices in order, each in its kernel order.
    cdef uint32_t first = 0
    cdef uint32_t i
    cdef const address_t *a
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        if a.iface != iface or a.secondary or a.scope != SCOPE_UNIVERSE:
            continue
        if (hop ^ a.peer) & a.mask == 0:
            return a.local
        if first == 0:
            first = a.local
    if first:
        return first
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        if not a.secondary and a.scope == SCOPE_UNIVERSE:
            return a.local
    return 0


cdef inline uint32_t first_address(const engine_t *e, uint32_t iface) noexcept nogil:
    # first_address: head of a device's address list, whatever its scope (nf_nat_redirect_ipv4).
    cdef uint32_t i
    for i in range(e.n_addresses):
        if e.addresses[i].iface == iface:
            return e.addresses[i].local
    return 0
