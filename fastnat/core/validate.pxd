# What the node refuses to receive or to forward for its addresses, whatever the rules say.
#
# Source: ip_route_input_slow, ip_mc_validate_source, fib_validate_source, ip_check_mc_rcu (fib_frontend.c, route.c, igmp.c), ip6_rcv_core,
# ip6_forward, ip6_mc_input, ipt_rpfilter.c, ip6t_rpfilter.c (Linux 6.18).
# Invariants: every packet is asked, not only the first of a connection; who asks less often knows that the answer is the same.
# Differs from the kernel: groups that a program has joined are not known.
from libc.stdint cimport uint32_t
from .types cimport *
from .fib cimport (classify, flow_back, flow_t, is_for_link, is_limited_broadcast, is_link_local, is_multicast, leads_nowhere,
                     route_back)
from .tuples.tuple cimport tuple_dst, tuple_src

cdef enum:
    # 224.0.0.1
    ALL_HOSTS = <int>0xe0000001


cdef inline bint is_loopback(addr_t addr) noexcept nogil:
    # is_loopback: => Whether an address is in 127/8, or ::1.
    return addr == 1 if FN_V6 else addr >> (FN_ADDR_BITS - 8) == 127


cdef inline bint uses_device(const engine_t *e, uint32_t route, uint32_t iface) noexcept nogil:
    # uses_device: => Whether a next hop of a route, by its index + 1, lies on a device (fib_info_nh_uses_dev).
    cdef uint32_t i
    for i in range(e.routes[route - 1].hops):
        if e.routes[route - 1 + i].iface == iface:
            return True
    return False


cdef inline bint source_fails(const engine_t *e, pkt_t *p, uint32_t out_iface) noexcept nogil:
    # source_fails: fib_validate_source, with rp_filter; out_iface: of the packet's route, 0 where it is for the node.
    cdef uint32_t flags = e.iface_flags[p.in_iface]
    cdef uint32_t filter_ = flags & (IFACE_RP_STRICT | IFACE_RP_LOOSE)
    cdef uint32_t route
    cdef flow_t back
    classify(e, p)
    # without rp_filter no route is asked: only an address of the node itself is refused. Where redirects are sent the route tells
    # whether the sender lies on the device by which the packet leaves again, and the kernel asks it for that
    if not filter_ and (p.in_iface != out_iface or not flags & IFACE_REDIRECTS):
        if flags & IFACE_ACCEPT_LOCAL:
            return False
        if e.n_fib_rules == 0 and not e.local_routes:
            route = e.class_route[p.src_class]
            # an address of the node, not merely of a prefix on lo
            return route and e.routes[route - 1].kind == ROUTE_LOCAL and e.routes[route - 1].mask == ~<addr_t>0
    back = flow_back(e, p, out_iface, p.mark if flags & IFACE_SRC_VMARK else 0)
    if out_iface == 0 and (p.route == 0 or e.routes[p.route - 1].kind == ROUTE_BROADCAST):
        # who is asked with all others answers from no address in particular
        back.src = 0
    route = route_back(e, p, &back)
    # nobody could answer: that alone makes no packet invalid (last_resort of __fib_validate_source)
    if leads_nowhere(e, route):
        return filter_ != 0
    if e.routes[route - 1].kind != ROUTE_UNICAST and not (e.routes[route - 1].kind == ROUTE_LOCAL and flags & IFACE_ACCEPT_LOCAL):
        return True
    if uses_device(e, route, p.in_iface) or (e.routes[route - 1].kind == ROUTE_LOCAL and flags & IFACE_LOOPBACK):
        return False
    # without an address the device has no network of its own: loose is as strict there
    if flags & IFACE_NO_ADDRESS:
        return filter_ != 0
    return filter_ == IFACE_RP_STRICT


cdef inline bint source_is_martian(const engine_t *e, const pkt_t *p) noexcept nogil:
    # source_is_martian: an address that no sender has; of IPv6 ip6_rcv_core and ip6_forward refuse it.
    cdef uint32_t flags = e.iface_flags[p.in_iface]
    cdef addr_t src = tuple_src(p.t)
    if is_multicast(src) or is_limited_broadcast(src):
        return True
    if FN_V6:
        return src == 1 and not flags & IFACE_LOOPBACK
    # who asks all may have any address
    if is_limited_broadcast(tuple_dst(p.t)):
        return False
    # nor does a group of the link ask who speaks: ip_mc_validate_source refuses 0.0.0.0 towards other groups alone
    if src == 0:
        return tuple_dst(p.t) != 0 and not is_for_link(tuple_dst(p.t))
    # who asks 127/8 for something is refused for the destination
    return is_loopback(src) and not flags & (IFACE_LOOPBACK | IFACE_ROUTE_LOCALNET)


cdef inline bint destination_is_martian(const engine_t *e, const pkt_t *p) noexcept nogil:
    # destination_is_martian: an address that is nowhere.
    cdef uint32_t flags = e.iface_flags[p.in_iface]
    cdef addr_t dst = tuple_dst(p.t)
    if FN_V6:
        return dst == 1 and not flags & IFACE_LOOPBACK
    if dst == 0:
        return tuple_src(p.t) != 0
    return is_loopback(dst) and not flags & (IFACE_LOOPBACK | IFACE_ROUTE_LOCALNET)


cdef inline bint is_refused6(const engine_t *e, addr_t src, addr_t dst, uint32_t in_iface) noexcept nogil:
    # is_refused6: addresses for which an IPv6 packet is thrown away before any hook (ip6_rcv_core).
    cdef bint loopback = e.iface_flags[in_iface] & IFACE_LOOPBACK != 0
    cdef uint32_t scope = <uint32_t>(dst >> (FN_ADDR_BITS - 16)) & 15
    if is_multicast(src) or ((src == 1 or dst == 1) and not loopback):
        return True
    # scopes of multicast: 0 is reserved, 1 does not leave the node
    return is_multicast(dst) and (scope == 0 or (scope == 1 and not loopback))


cdef inline bint may_be_forwarded(addr_t src, uint32_t in_iface, uint32_t out_iface) noexcept nogil:
    # may_be_forwarded: ip6_forward keeps packets of unspecified, loopback and link-local senders on their link.
    return not FN_V6 or in_iface == out_iface or not (src == 0 or src == 1 or is_link_local(src))


cdef inline bint is_solicited(const engine_t *e, addr_t group, uint32_t iface) noexcept nogil:
    # is_solicited: the solicited-node group of an address of the device (addrconf_join_solict).
    cdef uint32_t i
    if not e.iface_flags[iface] & IFACE_SOLICITED:
        return False
    for i in range(e.n_addresses):
        if e.addresses[i].iface == iface and (e.addresses[i].local ^ group) & 0xffffff == 0:
            return True
    return False


cdef inline bint is_member(const engine_t *e, addr_t group, uint32_t iface) noexcept nogil:
    # is_member: whether the node listens to a group on a device, as it does without being asked.
    cdef uint32_t scope, low
    if not FN_V6:
        return group == <addr_t><uint32_t>ALL_HOSTS
    scope = <uint32_t>(group >> (FN_ADDR_BITS - 16)) & 15
    # ff02::1:ff00:0/104: each address has a group there, by its last 24 bits (RFC 4291)
    if (group >> 24 << 24) == (<addr_t>0xff02 << (FN_ADDR_BITS - 16)) + (<addr_t>0x1ff << 24):
        return is_solicited(e, group, iface)
    low = <uint32_t>group
    # all others that are known have a single number behind their scope
    if group - low != <addr_t>(0xff00 | scope) << (FN_ADDR_BITS - 16):
        return False
    # ff01::1 and ff02::1 are all nodes', ff01::2, ff02::2 and ff05::2 all routers' (RFC 4291, 2.7.1)
    if low == 1:
        return scope == 1 or scope == 2
    return low == 2 and (scope == 1 or scope == 2 or scope == 5) and e.iface_flags[iface] & IFACE_ROUTER


cdef inline uint32_t table_end(const engine_t *e, uint32_t at) noexcept nogil:
    # table_end: => The index behind the last route of the table that holds one, given by its index.
    cdef uint32_t i
    for i in range(e.n_fib_rules):
        if e.fib_rules[i].first_route <= at < e.fib_rules[i].end_route:
            return e.fib_rules[i].end_route
    # without rules of the node's own all tables are one
    return e.n_routes


cdef inline uint32_t by_device(const engine_t *e, uint32_t route, uint32_t iface) noexcept nogil:
    # by_device: rt6_device_match: of all routes to a network, whatever their metric, the first by a device; else the best of them.
    # route: that one's index + 1, or 0.
    cdef const route_t *best
    cdef uint32_t i
    if route == 0:
        return 0
    best = &e.routes[route - 1]
    for i in range(route - 1, table_end(e, route - 1)):
        if e.routes[i].mask != best.mask:
            break
        # routes stand by their prefix, then by metric: between two to one network there may be others
        if e.routes[i].dst != best.dst:
            continue
        # what refuses is on lo, where nobody asks
        if e.routes[i].iface == iface and e.routes[i].kind < ROUTE_BLACKHOLE:
            return i + 1
    return route


cdef inline bint comes_from_there(const engine_t *e, pkt_t *p, uint32_t flags) noexcept nogil:
    # comes_from_there: ipt_rpfilter, ip6t_rpfilter: the way back to the source leads out where the packet came in.
    # => flags: bits 1 any device will do (--loose), 2 an own address will do (--accept-local), 4 its mark counts (--validmark).
    cdef addr_t dst = tuple_dst(p.t)
    cdef uint32_t route
    cdef flow_t back
    # also what the node has sent to all
    if e.iface_flags[p.in_iface] & IFACE_LOOPBACK or p.copied:
        return True
    if tuple_src(p.t) == 0 and (FN_V6 or is_for_link(dst)):
        return True
    classify(e, p)
    back = flow_back(e, p, 0, p.mark if flags & 4 else 0)
    back.sport = 0
    back.dport = 0
    # ipt_rpfilter names no protocol, ip6t_rpfilter does: a policy rule that asks for one holds for one family alone
    if not FN_V6:
        back.proto = 0
    elif p.data != NULL:
        # what the IP header says follows, be it an extension
        back.proto = p.data[6]
    back.out_iface = p.in_iface if FN_V6 and not flags & 1 else 0
    route = route_back(e, p, &back)
    if back.out_iface:
        route = by_device(e, route, back.out_iface)
    if leads_nowhere(e, route):
        return False
    if e.routes[route - 1].kind == ROUTE_LOCAL:
        if not flags & 2:
            return False
        if FN_V6:
            return True
    elif e.routes[route - 1].kind != ROUTE_UNICAST:
        return False
    return flags & 1 or uses_device(e, route, p.in_iface)
