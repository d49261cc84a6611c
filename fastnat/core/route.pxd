# Routes and addresses of the node.
#
# Source: fib lookup by longest prefix, fib_validate_source, ip_route_input_slow, inet_select_addr, inet_addr_type,
# ip6_rcv_core, ip6_forward, ipv6_dev_get_saddr (Linux 6.18); RFC 6724.
# Invariants: routes are sorted: local table first, then by prefix length, then by metric, so the first that
# contains an address is the kernel's answer; it is the same for all addresses of a class.
# Differs from the kernel: no policy rules, one table besides local, no multipath, no VRF.
from libc.stdint cimport uint32_t, uint64_t
from .types cimport *
from .tuples.tuple cimport tuple_dport, tuple_dst, tuple_equal, tuple_sport, tuple_src

cdef enum:
    SCOPE_UNIVERSE = 0
    SCOPE_LINK = 253
    # RTN_*, as bits of what a rule asks for
    TYPE_UNSPEC = 1 << 0
    TYPE_UNICAST = 1 << 1
    TYPE_LOCAL = 1 << 2
    TYPE_BROADCAST = 1 << 3
    TYPE_ANYCAST = 1 << 4
    TYPE_MULTICAST = 1 << 5
    TYPE_UNREACHABLE = 1 << 7


cdef inline uint32_t address_class(const engine_t *e, addr_t addr) noexcept nogil:
    # address_class: binary search among the classes of the first octet.
    cdef uint32_t at = e.class_of_octet[<uint32_t>(addr >> (FN_ADDR_BITS - 8))]
    cdef uint32_t n = e.class_of_octet[<uint32_t>(addr >> (FN_ADDR_BITS - 8)) + 1] - at + 1
    cdef uint32_t half
    while n > 1:
        half = n >> 1
        at += half if e.class_start[at + half] <= addr else 0
        n -= half
    return at


cdef inline addr_t address_last(const engine_t *e, uint32_t class_) noexcept nogil:
    # address_last: the last address of a class.
    return (e.class_start[class_ + 1] if class_ + 1 < e.n_classes else <addr_t>0) - 1


cdef inline uint32_t port_last(const engine_t *e, uint32_t which, uint32_t class_) noexcept nogil:
    # port_last: the last port of a class.
    return e.port_start[which][class_ + 1] - 1 if class_ + 1 < e.n_port_classes[which] else 65535


cdef inline uint64_t port_class(const engine_t *e, uint32_t which, uint32_t port) noexcept nogil:
    # port_class: => The class of a source port (which 0) or destination port (1), by binary search.
    cdef uint32_t at = 0
    cdef uint32_t n = e.n_port_classes[which]
    cdef uint32_t half
    while n > 1:
        half = n >> 1
        at += half if e.port_start[which][at + half] <= port else 0
        n -= half
    return at


cdef inline void classify(const engine_t *e, pkt_t *p) noexcept nogil:
    # classify: the classes of the packet's present addresses and ports; a search for what has changed since.
    # => A fresh packet's classes are 0, those of its fresh `classified`: classes ascend from address 0 and port 0.
    if tuple_equal(p.classified, p.t):
        return
    if tuple_src(p.classified) != tuple_src(p.t):
        p.src_class = address_class(e, tuple_src(p.t))
    if tuple_dst(p.classified) != tuple_dst(p.t):
        p.dst_class = address_class(e, tuple_dst(p.t))
    if p.classified.rest != p.t.rest:
        p.port_classes = port_class(e, 0, tuple_sport(p.t)) << 24 | port_class(e, 1, tuple_dport(p.t)) << 42
    p.classified = p.t


cdef inline uint32_t route_lookup(const engine_t *e, addr_t dst) noexcept nogil:
    # route_lookup: the route of a destination.
    # => Its index + 1, or 0: network unreachable.
    return e.class_route[address_class(e, dst)]


cdef inline uint32_t route_of(const engine_t *e, pkt_t *p) noexcept nogil:
    # route_of: route_lookup of the packet's destination.
    classify(e, p)
    return e.class_route[p.dst_class]


cdef inline bint is_local_kind(const engine_t *e, uint32_t route) noexcept nogil:
    # is_local_kind: => Whether a route, by its index + 1, leads to the node itself.
    return route and (e.routes[route - 1].kind == ROUTE_LOCAL or e.routes[route - 1].kind == ROUTE_BROADCAST)


cdef inline bint is_multicast(addr_t addr) noexcept nogil:
    # is_multicast: => Whether an address is ff00::/8 or 224.0.0.0/4.
    return addr >> (FN_ADDR_BITS - 8) == 0xff if FN_V6 else addr >> (FN_ADDR_BITS - 4) == 0xe


cdef inline bint is_limited_broadcast(addr_t addr) noexcept nogil:
    # is_limited_broadcast: => Whether an address is 255.255.255.255.
    return not FN_V6 and addr == <addr_t>0xffffffff


cdef inline bint is_link_local(addr_t addr) noexcept nogil:
    # is_link_local: fe80::/10; IPv4's 169.254/16 is forwarded like any other.
    return FN_V6 and addr >> (FN_ADDR_BITS - 10) == 0x3fa


cdef inline uint32_t addr_type(const engine_t *e, addr_t addr, uint32_t class_, uint32_t iface) noexcept nogil:
    # addr_type: the type of an address by the local table alone, its device's if given (inet_dev_addr_type).
    cdef uint32_t route = e.class_route[class_]
    if addr == 0 or is_limited_broadcast(addr):
        return TYPE_BROADCAST
    if is_multicast(addr):
        return TYPE_MULTICAST
    if is_local_kind(e, route) and (iface == FN_ANY_IFACE or e.routes[route - 1].iface == iface):
        return <uint32_t>1 << e.routes[route - 1].kind
    return TYPE_UNICAST


cdef inline uint32_t route_type6(const engine_t *e, uint32_t class_, uint32_t iface) noexcept nogil:
    # route_type6: what the routes say of an IPv6 address (match_lookup_rt6).
    cdef uint32_t route = e.class_route[class_]
    cdef const route_t *r
    if route == 0:
        return TYPE_UNREACHABLE
    r = &e.routes[route - 1]
    if r.kind == ROUTE_LOCAL:
        return TYPE_LOCAL if iface == FN_ANY_IFACE or r.iface == iface else 0
    if r.kind == ROUTE_ANYCAST:
        return TYPE_LOCAL | TYPE_ANYCAST
    return TYPE_UNREACHABLE if r.kind > ROUTE_MULTICAST else 0


cdef inline bint has_type6(const engine_t *e, uint32_t types, addr_t addr, uint32_t class_, uint32_t iface) noexcept nogil:
    # has_type6: match_type6: kinds of address, which must all hold, and then what the routes say.
    if types & TYPE_MULTICAST and not is_multicast(addr):
        return False
    if types & TYPE_UNICAST and (addr == 0 or is_multicast(addr)):
        return False
    if types & TYPE_UNSPEC and addr != 0:
        return False
    if types & (TYPE_LOCAL | TYPE_ANYCAST | TYPE_UNREACHABLE):
        return (types & route_type6(e, class_, iface)) != 0
    return True


cdef inline bint has_type(const engine_t *e, uint32_t types, addr_t addr, uint32_t class_, uint32_t iface) noexcept nogil:
    # has_type: xt_addrtype: bits of RTN_* that a rule asks for. iface: only addresses of this device count.
    if FN_V6:
        return has_type6(e, types, addr, class_, iface)
    return (types & addr_type(e, addr, class_, iface)) != 0


cdef inline uint32_t packet_type(const engine_t *e, addr_t dst, uint32_t class_) noexcept nogil:
    # packet_type: what the link layer would say of the packet: 0 for the node, 1 for all, 2 for a group.
    if is_multicast(dst):
        return 2
    return not FN_V6 and addr_type(e, dst, class_, FN_ANY_IFACE) == TYPE_BROADCAST


cdef inline bint source_is_martian(const engine_t *e, pkt_t *p) noexcept nogil:
    # source_is_martian: ip_route_input, or ip6_rcv and ip6_forward, refuse the packet for its source address.
    cdef uint32_t flags = e.iface_flags[p.in_iface]
    cdef addr_t src = tuple_src(p.t)
    cdef addr_t dst = tuple_dst(p.t)
    cdef uint32_t route
    if is_multicast(src) or is_limited_broadcast(src):
        return True
    if FN_V6:
        return src == 1 and not flags & IFACE_LOOPBACK
    if src == 0:
        return dst != 0 and not is_limited_broadcast(dst)
    if src >> (FN_ADDR_BITS - 8) == 127 and not flags & (IFACE_LOOPBACK | IFACE_ROUTE_LOCALNET):
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


cdef inline bint comes_from_there(const engine_t *e, const pkt_t *p, uint32_t flags) noexcept nogil:
    # comes_from_there: ipt_rpfilter, ip6t_rpfilter: the way back to the source leads out where the packet came in.
    # => flags: bit 0 any device will do (--loose), bit 1 an own address will do (--accept-local).
    cdef uint32_t route = e.class_route[p.src_class]
    cdef addr_t dst = tuple_dst(p.t)
    if e.iface_flags[p.in_iface] & IFACE_LOOPBACK:
        return True
    if tuple_src(p.t) == 0 and (FN_V6 or is_limited_broadcast(dst) or dst >> 8 == <addr_t>0xe00000):
        return True
    if route == 0:
        return False
    if e.routes[route - 1].kind == ROUTE_LOCAL:
        if not flags & 2:
            return False
        if FN_V6:
            return True
    elif e.routes[route - 1].kind != ROUTE_UNICAST:
        return False
    return flags & 1 or e.routes[route - 1].iface == p.in_iface


cdef inline bint destination_is_martian(const engine_t *e, addr_t dst, uint32_t in_iface) noexcept nogil:
    # destination_is_martian: ip_route_input refuses the packet for its destination address.
    if FN_V6:
        return dst == 0 or (dst == 1 and not e.iface_flags[in_iface] & IFACE_LOOPBACK)
    if dst == 0:
        return True
    return dst >> (FN_ADDR_BITS - 8) == 127 and not e.iface_flags[in_iface] & (IFACE_LOOPBACK | IFACE_ROUTE_LOCALNET)


cdef inline bint may_be_forwarded(addr_t src, uint32_t in_iface, uint32_t out_iface) noexcept nogil:
    # may_be_forwarded: ip6_forward keeps packets of unspecified, loopback and link-local senders on their link.
    return not FN_V6 or in_iface == out_iface or not (src == 0 or src == 1 or is_link_local(src))


cdef inline addr_t next_hop(const engine_t *e, const pkt_t *p) noexcept nogil:
    # next_hop: the gateway of the packet's route, or its destination (rt_nexthop).
    if p.route and e.routes[p.route - 1].gateway:
        return e.routes[p.route - 1].gateway
    return tuple_dst(p.t)


cdef inline addr_t select_addr(const engine_t *e, uint32_t iface, addr_t hop) noexcept nogil:
    # select_addr: inet_select_addr(iface, hop, RT_SCOPE_UNIVERSE).
    # => 0 when the node has no global address. e.addresses holds devices in order, each in its kernel order.
    cdef addr_t first = 0
    cdef uint32_t i
    cdef const address_t *a
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        if a.iface != iface or a.flags & ADDRESS_SECONDARY or a.scope != SCOPE_UNIVERSE:
            continue
        if (hop ^ a.peer) & a.mask == 0:
            return a.local
        if first == 0:
            first = a.local
    if first:
        return first
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        if not (a.flags & ADDRESS_SECONDARY) and a.scope == SCOPE_UNIVERSE:
            return a.local
    return 0


cdef inline int scope6(addr_t addr) noexcept nogil:
    # scope6: RFC 4291 scope of an address: 2 link, 5 site, 14 global; of ::1 1.
    if is_multicast(addr):
        return <int>(addr >> (FN_ADDR_BITS - 16)) & 15
    if addr == 1:
        return 1
    if is_link_local(addr):
        return 2
    return 5 if addr >> (FN_ADDR_BITS - 10) == 0x3fb else 14


cdef inline uint32_t word6(addr_t addr, uint32_t i) noexcept nogil:
    # word6: the i-th 32-bit word of an IPv6 address, host order.
    return <uint32_t>(addr >> ((96 - 32 * i) & (FN_ADDR_BITS - 1)))


cdef inline uint32_t label6(addr_t addr) noexcept nogil:
    # label6: the default label table of RFC 6724 as addrlabel.c has it.
    cdef uint32_t top = word6(addr, 0)
    if addr == 1:
        return 0
    if top == 0 and word6(addr, 1) == 0 and word6(addr, 2) == 0:
        return 3
    if top == 0 and word6(addr, 1) == 0 and word6(addr, 2) == 0xffff:
        return 4
    if top >> 25 == 0x7e:
        return 5
    if top >> 16 == 0x2002:
        return 2
    if top == 0x20010000:
        return 6
    return 7 if top >> 4 == 0x2001001 else 1


cdef inline uint32_t common_prefix(addr_t a, addr_t b, addr_t mask) noexcept nogil:
    # common_prefix: leading bits that are equal, at most those of the mask.
    cdef addr_t differs = (a ^ b) | ~mask
    cdef uint32_t n = 0
    while n < FN_ADDR_BITS and not (differs >> (FN_ADDR_BITS - 1 - n)) & 1:
        n += 1
    return n


cdef inline int better6(const address_t *a, const address_t *best, addr_t dst, uint32_t iface) noexcept nogil:
    # better6: whether a beats the best so far, by the first rule of RFC 6724 section 5 that tells them apart.
    cdef int want = scope6(dst)
    cdef int mine = scope6(a.local)
    cdef int other = scope6(best.local)
    cdef int worse = ADDRESS_DEPRECATED
    if (a.local == dst) != (best.local == dst):
        return a.local == dst
    mine = -mine if mine >= want else mine - 128
    other = -other if other >= want else other - 128
    if mine != other:
        return mine > other
    if (a.flags & worse) != (best.flags & worse):
        return not a.flags & worse
    if (a.iface == iface) != (best.iface == iface):
        return a.iface == iface
    if (label6(a.local) == label6(dst)) != (label6(best.local) == label6(dst)):
        return label6(a.local) == label6(dst)
    if (a.flags & ADDRESS_TEMPORARY) != (best.flags & ADDRESS_TEMPORARY):
        return not a.flags & ADDRESS_TEMPORARY
    return common_prefix(a.local, dst, a.mask) > common_prefix(best.local, dst, best.mask)


cdef inline addr_t select_addr6(const engine_t *e, uint32_t iface, addr_t dst) noexcept nogil:
    # select_addr6: ipv6_dev_get_saddr(iface, dst, no preferences); ties keep the earlier one.
    # => 0 when there is no candidate.
    cdef bint own = is_multicast(dst) or scope6(dst) <= 2
    cdef const address_t *best = NULL
    cdef const address_t *a
    cdef uint32_t i
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        if (own and a.iface != iface) or a.flags & ADDRESS_TENTATIVE:
            continue
        if best == NULL or better6(a, best, dst, iface):
            best = a
    return best.local if best != NULL else <addr_t>0


cdef inline addr_t masquerade_addr(const engine_t *e, const pkt_t *p) noexcept nogil:
    # masquerade_addr: nf_nat_masquerade_ipv4 asks for the next hop, nf_nat_masquerade_ipv6 for the destination.
    if FN_V6:
        return select_addr6(e, p.out_iface, tuple_dst(p.t))
    return select_addr(e, p.out_iface, next_hop(e, p))


cdef inline addr_t redirect_addr(const engine_t *e, uint32_t iface, addr_t dst) noexcept nogil:
    # redirect_addr: head of a device's address list, whatever its scope (nf_nat_redirect_ipv4); of IPv6 the first
    # that is usable and whose scope fits the destination's (nf_nat_redirect_ipv6).
    # => 0: there is none.
    cdef const address_t *a
    cdef uint32_t i
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        if a.iface != iface:
            continue
        if FN_V6 and e.profile != LINUX_5_4 and (a.flags & ADDRESS_TENTATIVE or scope6(a.local) != scope6(dst)):
            continue
        return a.local
    return 0
