# Routes of the node: by policy rules to a table, in it by the longest prefix, of several next hops by a hash.
#
# Source: fib_rules_lookup, fib4_rule_match, fib_table_lookup, inet_addr_type, ip6_pol_route (Linux 6.18); ip-rule(8).
# Invariants: a class has one answer in each table; table 0 begins with the local table, and holds main and default as well
# where the node has no rules of its own.
# Differs from the kernel: a packet that the node sends is routed with its source address, a socket's often without; no VRF.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from .types cimport *
from .multipath cimport flow_ports
from .packet.mangle cimport tos_of
from .rules.dispatch cimport apart_of
from .tuples.tuple cimport tuple_dport, tuple_dst, tuple_equal, tuple_sport, tuple_src

cdef enum:
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
        # without a branch in the loop: which half it is nobody can predict
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


cdef inline void classify_anew(const engine_t *e, pkt_t *p) noexcept nogil:
    # classify_anew: a search for what has changed since the packet was classified.
    # => A fresh packet's classes are 0, those of its fresh `classified`: classes ascend from address 0 and port 0.
    if tuple_src(p.classified) != tuple_src(p.t):
        p.src_class = address_class(e, tuple_src(p.t))
        # rules that differ by source alone share one class: which of them it is stands apart
        if fn_unlikely(e.n_apart != 0):
            p.apart = <unsigned char>apart_of(e, tuple_src(p.t))
    if tuple_dst(p.classified) != tuple_dst(p.t):
        p.dst_class = address_class(e, tuple_dst(p.t))
    if p.classified.rest != p.t.rest:
        p.port_classes = port_class(e, 0, tuple_sport(p.t)) << 24 | port_class(e, 1, tuple_dport(p.t)) << 42
    p.classified = p.t


cdef inline void classify(const engine_t *e, pkt_t *p) noexcept nogil:
    # classify: the classes of the packet's present addresses and ports.
    if not tuple_equal(p.classified, p.t):
        classify_anew(e, p)


cdef inline bint is_multicast(addr_t addr) noexcept nogil:
    # is_multicast: => Whether an address is ff00::/8 or 224.0.0.0/4.
    return addr >> (FN_ADDR_BITS - 8) == 0xff if FN_V6 else addr >> (FN_ADDR_BITS - 4) == 0xe


cdef inline bint is_limited_broadcast(addr_t addr) noexcept nogil:
    # is_limited_broadcast: => Whether an address is 255.255.255.255.
    return not FN_V6 and addr == <addr_t>0xffffffff


cdef inline bint is_for_link(addr_t addr) noexcept nogil:
    # is_for_link: => Whether an IPv4 address is that of all, or of a group that no router forwards, 224.0.0.0/24.
    return not FN_V6 and (addr == <addr_t>0xffffffff or addr >> 8 == <addr_t>0xe00000)


cdef inline bint is_link_local(addr_t addr) noexcept nogil:
    # is_link_local: fe80::/10; IPv4's 169.254/16 is forwarded like any other.
    return FN_V6 and addr >> (FN_ADDR_BITS - 10) == 0x3fa


cdef struct flow_t:
    # what a route is asked for (struct flowi)
    addr_t src, dst
    uint32_t dst_class, mark
    # 0: the node itself
    uint32_t in_iface
    # 0: nobody insists on one
    uint32_t out_iface
    uint32_t proto, sport, dport, tos


cdef inline bint rule_selects(const fib_rule_t *r, const flow_t *f) noexcept nogil:
    # rule_selects: fib4_rule_match and fib_rule_match, inversion included.
    cdef bint holds = (((f.src ^ r.src) & r.smask) | ((f.dst ^ r.dst) & r.dmask)) == 0
    holds = holds and (f.mark ^ r.mark) & r.mask == 0 and (r.in_iface == FN_ANY_IFACE or r.in_iface == f.in_iface)
    holds = holds and (r.out_iface == FN_ANY_IFACE or r.out_iface == f.out_iface)
    holds = holds and (f.tos ^ r.tos) & r.tos_mask == 0
    if r.proto:
        holds = holds and f.proto == r.proto
    # a rule without ports holds for protocols that have none
    if r.dport_max != 65535 or r.sport_max != 65535:
        holds = holds and r.sport_min <= f.sport <= r.sport_max and r.dport_min <= f.dport <= r.dport_max
    return holds != r.invert


cdef inline bint leads_nowhere(const engine_t *e, uint32_t route) noexcept nogil:
    # leads_nowhere: => Whether there is no route, by its index + 1, or one that refuses packets.
    return route == 0 or e.routes[route - 1].kind >= ROUTE_BLACKHOLE


cdef inline bint leads_behind_output(const engine_t *e, uint32_t route) noexcept nogil:
    # leads_behind_output: of IPv6, whether the node's own packets by such a route pass OUTPUT, where rules may send them elsewhere:
    # a route by lo refuses without an error (ip6_rt_init_dst_reject, ip6_pkt_discard_out).
    return FN_V6 and route != 0 and e.routes[route - 1].scope == FN_BY_LO


cdef inline uint32_t first_on(const engine_t *e, uint32_t first, uint32_t end, addr_t dst, uint32_t iface) noexcept nogil:
    # first_on: of some routes, by their index, the first of a destination that leads to a device. => Its index + 1, 0: there is none.
    cdef uint32_t i
    for i in range(first, end):
        if (dst ^ e.routes[i].dst) & e.routes[i].mask == 0 and e.routes[i].iface == iface:
            return i + 1
    return 0


cdef inline uint32_t ruled_route(const engine_t *e, const flow_t *f, uint32_t iface) noexcept nogil:
    # ruled_route: the first rule whose table has a route, and does not suppress it; of routes to a device alone, unless
    # that is FN_ANY_IFACE.
    # => The route's index + 1, or 0: network unreachable.
    cdef const fib_rule_t *r
    cdef uint32_t i, route
    for i in range(e.n_fib_rules):
        r = &e.fib_rules[i]
        if not rule_selects(r, f):
            continue
        # prohibit, blackhole, unreachable: the rules behind are not asked
        if r.refuses:
            return 0
        if iface == FN_ANY_IFACE:
            route = e.class_route[r.table * e.n_classes + f.dst_class]
        else:
            route = first_on(e, r.first_route, r.end_route, f.dst, iface)
        # a route that refuses ends the search whatever its length: fib_rules_lookup suppresses what a table has found, not an error
        if route and not (r.suppresses and e.routes[route - 1].mask <= r.suppressed and not leads_nowhere(e, route)):
            return route
    return 0


cdef inline uint32_t as_rules_see(const engine_t *e, uint32_t iface) noexcept nogil:
    # as_rules_see: where a packet comes from: lo is the node itself, also for what has come back in by it.
    return 0 if iface == e.loopback else iface


cdef inline flow_t flow_to(const engine_t *e, const pkt_t *p) noexcept nogil:
    # flow_to: the packet's own way; protocol and ports as the flow dissector reads them, where policy rules ask. It is classified.
    cdef uint32_t ports = 0
    cdef flow_t f
    f.src = tuple_src(p.t)
    f.dst = tuple_dst(p.t)
    f.dst_class = p.dst_class
    f.mark = p.mark
    f.in_iface = as_rules_see(e, p.in_iface)
    f.out_iface = 0
    # only if a rule asks for them: otherwise headers behind options need not be followed
    f.proto = flow_ports(p, &ports) if fn_unlikely(e.dissects != 0) else 0
    f.sport = ports >> 16
    f.dport = ports & 0xffff
    f.tos = tos_of(p)
    return f


cdef inline flow_t flow_back(const engine_t *e, const pkt_t *p, uint32_t in_iface, uint32_t mark) noexcept nogil:
    # flow_back: the way of an answer that comes in by a device, 0 from the node itself, to the packet's sender. It is classified.
    cdef flow_t f = flow_to(e, p)
    cdef uint32_t ports
    f.src = tuple_dst(p.t)
    f.dst = tuple_src(p.t)
    f.dst_class = p.src_class
    # src_valid_mark: the mark of the packet is that of its way here, and not always of the way back
    f.mark = mark
    f.in_iface = as_rules_see(e, in_iface)
    ports = f.sport
    f.sport = f.dport
    f.dport = ports
    return f


cdef inline uint32_t route_lookup(const engine_t *e, addr_t dst) noexcept nogil:
    # route_lookup: the route of a destination, for a packet of which nothing else is known.
    # => Its index + 1, or 0: network unreachable.
    cdef flow_t f
    if e.n_fib_rules == 0:
        return e.class_route[address_class(e, dst)]
    memset(&f, 0, sizeof(f))
    f.dst = dst
    f.dst_class = address_class(e, dst)
    return ruled_route(e, &f, FN_ANY_IFACE)


cdef inline uint32_t smallest_mtu(const engine_t *e, const pkt_t *p) noexcept nogil:
    # smallest_mtu: of the way out and of the way back to the sender (tcpmss_reverse_mtu, get_tcpmss); to the node itself that is lo's.
    cdef uint32_t mtu = e.iface_flags[p.out_iface] >> 16
    cdef uint32_t back = route_lookup(e, tuple_src(p.t))
    if back and e.routes[back - 1].kind == ROUTE_UNICAST and e.iface_flags[e.routes[back - 1].iface] >> 16 < mtu:
        return e.iface_flags[e.routes[back - 1].iface] >> 16
    return mtu


cdef inline uint32_t route_on(const engine_t *e, const flow_t *f, uint32_t iface) noexcept nogil:
    # route_on: the route of a destination that belongs to one device alone (rt6_need_strict); 0: there is none on it.
    if e.n_fib_rules == 0:
        return first_on(e, 0, e.n_routes, f.dst, iface)
    return ruled_route(e, f, iface)


cdef inline uint32_t route_back(const engine_t *e, pkt_t *p, const flow_t *f) noexcept nogil:
    # route_back: the route to the packet's sender; f: the way as policy rules see it. It is classified.
    # fe80::/10 is on every link: the way back is the one by which it came
    if is_link_local(tuple_src(p.t)):
        return route_on(e, f, p.in_iface)
    return e.class_route[p.src_class] if fn_likely(e.n_fib_rules == 0) else ruled_route(e, f, FN_ANY_IFACE)


cdef inline uint32_t device_of(const engine_t *e, addr_t local) noexcept nogil:
    # device_of: the first device with an address, 0 none.
    cdef uint32_t i
    for i in range(e.n_addresses):
        if e.addresses[i].local == local:
            return e.addresses[i].iface
    return 0


cdef inline bint has_address(const engine_t *e, uint32_t iface, addr_t local) noexcept nogil:
    # has_address: => Whether an address is a device's own (ipv6_chk_addr): what a route of type local leads to need not be one.
    cdef uint32_t i
    for i in range(e.n_addresses):
        if e.addresses[i].local == local and e.addresses[i].iface == iface:
            return True
    return False


cdef inline uint32_t route_of(const engine_t *e, pkt_t *p) noexcept nogil:
    # route_of: the route of the packet, of several next hops the first.
    # => Its index + 1, or 0: network unreachable.
    cdef flow_t f
    classify(e, p)
    if fn_likely(e.n_fib_rules == 0 and not is_link_local(tuple_dst(p.t))):
        return e.class_route[p.dst_class]
    f = flow_to(e, p)
    if is_link_local(tuple_dst(p.t)):
        return route_on(e, &f, p.in_iface if p.in_iface else device_of(e, tuple_src(p.t)))
    return ruled_route(e, &f, FN_ANY_IFACE)


cdef inline bint is_local_kind(const engine_t *e, uint32_t route) noexcept nogil:
    # is_local_kind: => Whether a route, by its index + 1, leads to the node itself.
    return route and ROUTE_LOCAL <= e.routes[route - 1].kind <= ROUTE_ANYCAST


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


cdef inline bint is_anycast6(const route_t *r, addr_t addr) noexcept nogil:
    # is_anycast6: ipv6_anycast_destination: of a network on the link also its first address.
    # recorded: whatever the type of the route, so long as it does not refuse; one of type anycast to a network, which
    # somebody has added, lacks the flag of those that the kernel has for single addresses
    if r.kind == ROUTE_ANYCAST and r.mask == ~<addr_t>0:
        return True
    return r.kind <= ROUTE_MULTICAST and r.gateway == 0 and r.dst == addr and not (r.mask & 2)


cdef inline uint32_t route_type6(const engine_t *e, addr_t addr, uint32_t class_, uint32_t iface) noexcept nogil:
    # route_type6: what the routes say of an IPv6 address that the node itself asks for, of one device alone (match_lookup_rt6).
    cdef const route_t *r
    cdef uint32_t route
    cdef bint local
    cdef flow_t f
    if is_multicast(addr) and (iface == FN_ANY_IFACE or not e.iface_flags[iface] & IFACE_LOOPBACK):
        # each device but lo has a route to all groups
        return 0
    memset(&f, 0, sizeof(f))
    # match_lookup_rt6 names the device as the one to leave by, and nobody's source
    f.out_iface = iface if iface != FN_ANY_IFACE else <uint32_t>0
    f.dst = addr
    f.dst_class = class_
    if iface != FN_ANY_IFACE:
        route = route_on(e, &f, iface)
    else:
        route = e.class_route[class_] if fn_likely(e.n_fib_rules == 0) else ruled_route(e, &f, FN_ANY_IFACE)
    if route == 0:
        return TYPE_UNREACHABLE
    r = &e.routes[route - 1]
    if r.kind > ROUTE_MULTICAST:
        return TYPE_UNREACHABLE
    # the first address of a local network is both
    local = r.kind == ROUTE_LOCAL if iface == FN_ANY_IFACE else has_address(e, iface, addr)
    return (TYPE_LOCAL if local else 0) | (TYPE_ANYCAST if is_anycast6(r, addr) else 0)


cdef inline bint is_unicast6(addr_t addr) noexcept nogil:
    # is_unicast6: IPV6_ADDR_UNICAST: neither ::, nor a group, nor an IPv4 address that is mapped.
    return addr != 0 and not is_multicast(addr) and addr >> (32 & (FN_ADDR_BITS - 1)) != 0xffff


cdef inline bint has_type6(const engine_t *e, uint32_t types, addr_t addr, uint32_t class_, uint32_t iface) noexcept nogil:
    # has_type6: match_type6: kinds of address, which must all hold, and then what the routes say.
    # all that are asked for have to hold, one by one; of IPv4 (has_type) any of them is enough
    if types & TYPE_MULTICAST and not is_multicast(addr):
        return False
    if types & TYPE_UNICAST and not is_unicast6(addr):
        return False
    if types & TYPE_UNSPEC and addr != 0:
        return False
    if types & (TYPE_LOCAL | TYPE_ANYCAST | TYPE_UNREACHABLE):
        return (types & route_type6(e, addr, class_, iface)) != 0
    return True


cdef inline bint has_type(const engine_t *e, uint32_t types, addr_t addr, uint32_t class_, uint32_t iface) noexcept nogil:
    # has_type: xt_addrtype: bits of RTN_* that a rule asks for. iface: only addresses of this device count.
    if FN_V6:
        return has_type6(e, types, addr, class_, iface)
    return (types & addr_type(e, addr, class_, iface)) != 0


cdef inline uint32_t incoming(const engine_t *e, const pkt_t *p) noexcept nogil:
    # incoming: the interface that a hook is told the packet came in by, 0 none; POSTROUTING is told since Linux 5.7.
    if p.hook == HOOK_OUTPUT or (p.hook == HOOK_POSTROUTING and e.profile == LINUX_5_4):
        return 0
    return p.in_iface


cdef inline uint32_t outgoing(const pkt_t *p) noexcept nogil:
    # outgoing: the interface that a hook is told the packet goes out by, 0 none.
    return p.out_iface if p.hook >= HOOK_FORWARD else 0


cdef inline uint32_t packet_type(const engine_t *e, const pkt_t *p) noexcept nogil:
    # packet_type: what the link layer says of the packet: 0 for the node, 1 for all, 2 for a group (eth_type_trans). What the node
    # sends is 0, but the copy that it receives itself is always for many (pkttype_mt). It is classified.
    cdef addr_t dst = tuple_dst(p.t)
    if p.copied:
        return 2 if FN_V6 or is_multicast(dst) else 1
    if not e.iface_flags[p.in_iface] & IFACE_LINK_LAYER:
        return 0
    if is_multicast(dst):
        return 2
    return not FN_V6 and addr_type(e, dst, p.dst_class, FN_ANY_IFACE) == TYPE_BROADCAST
