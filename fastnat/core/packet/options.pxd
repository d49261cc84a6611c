# The options of an IPv4 header that a node on the way reads and writes.
#
# Source: ip_rcv_options, __ip_options_compile, ip_forward_options, ip_options_rcv_srr, fib_compute_spec_dst,
# ip_rt_get_source (Linux 6.18); RFC 791, 1812.
# Invariants: nothing is written outside the header; the header's checksum is right again when the packet is forwarded.
# Differs from the kernel: the time of a time stamp is as exact as a jiffy.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy
from ..types cimport *
from ..multipath cimport choose_hop
from ..fib cimport (addr_type, address_class, classify, flow_back, flow_t, flow_to, is_limited_broadcast, is_local_kind, is_multicast,
                    leads_nowhere, route_back, route_of, route_on, TYPE_UNICAST)
from ..source_address cimport addr_within, next_hop, route_source, SCOPE_LINK, SCOPE_UNIVERSE
from ..tuples.tuple cimport tuple_dst, tuple_src
from ..validate cimport destination_is_martian, source_fails
from .checksum cimport csum_fold, csum_partial, load_addr, store_addr, store_be16, store_be32

cdef enum:
    IP_HEADER = 20
    DESTINATION_AT = 16
    OPTION_END = 0
    OPTION_NOP = 1
    OPTION_RECORD_ROUTE = 7
    OPTION_TIMESTAMP = 68
    OPTION_LOOSE_ROUTE = 131
    OPTION_CIPSO = 134
    OPTION_STRICT_ROUTE = 137
    OPTION_ROUTER_ALERT = 148
    # what a time stamp option asks for, besides
    STAMP_ONLY = 0
    STAMP_AND_ADDRESS = 1
    STAMP_PRESPECIFIED = 3
    DAY_MS = 86_400_000
    JIFFY_MS = 1000 // FN_HZ
    # options that may stand once, as bits
    SEEN_RECORD = 1
    SEEN_STAMP = 2
    SEEN_ROUTE = 4


cdef inline addr_t specific_destination(const engine_t *e, pkt_t *p) noexcept nogil:
    # specific_destination: the node's address as the sender sees it (fib_compute_spec_dst).
    cdef addr_t src = tuple_src(p.t)
    # other addresses of 0/8 may be anybody's (ipv4_is_zeronet)
    cdef uint32_t scope = SCOPE_UNIVERSE if src != 0 else SCOPE_LINK
    cdef uint32_t route
    cdef flow_t f
    # to one of its own addresses: the sender knows it by that
    if is_local_kind(e, p.route) and e.routes[p.route - 1].kind == ROUTE_LOCAL:
        return tuple_dst(p.t)
    if scope == SCOPE_UNIVERSE:
        classify(e, p)
        # fib_compute_spec_dst asks for the way to the sender, and names neither source nor protocol, so that no policy rule with one holds
        f = flow_back(e, p, 0, p.mark if e.iface_flags[p.in_iface] & IFACE_SRC_VMARK else 0)
        f.src = 0
        f.sport = 0
        f.dport = 0
        f.proto = 0
        route = route_back(e, p, &f)
        if not leads_nowhere(e, route):
            return route_source(e, route)
    return addr_within(e, p.in_iface, src, scope)


cdef inline bint record_route(const engine_t *e, pkt_t *p, uint32_t at, uint32_t size) noexcept nogil:
    # record_route: => False: the option is broken.
    cdef uint8_t *option = p.data + at
    if size < 3 or option[2] < 4:
        return False
    # full: the packet goes on without this node's address
    if option[2] > size:
        return True
    # room for a part of an address is an error
    if option[2] + 3 > size:
        return False
    # noted: behind FORWARD the address that the packet leaves by takes its place
    p.record_at = <uint8_t>(at + option[2] - 1)
    store_addr(p.data + p.record_at, specific_destination(e, p))
    option[2] += 4
    p.options_changed = True
    return True


cdef inline bint overflow_stamp(pkt_t *p, uint8_t *option) noexcept nogil:
    # overflow_stamp: there is no room for another stamp: count that.
    # => False: it cannot be counted any more.
    # the list is of chosen nodes: others have nothing to count
    if option[3] & 15 == STAMP_PRESPECIFIED:
        return True
    # four bits count the nodes that found no room
    if option[3] >> 4 == 15:
        return False
    option[3] += 16
    p.options_changed = True
    return True


cdef inline bint write_stamp(const engine_t *e, pkt_t *p, uint32_t at, uint32_t size) noexcept nogil:
    # write_stamp: => False: the option is broken.
    cdef uint8_t *option = p.data + at
    cdef uint8_t *place
    cdef uint32_t kind, step
    if size < 4 or option[2] < 5:
        return False
    if option[2] > size:
        return overflow_stamp(p, option)
    kind = option[3] & 15
    step = 4 if kind == STAMP_ONLY else 8
    # in front of the kind: too little room is an error of a kind that nobody knows, too (__ip_options_compile)
    if option[2] + 3 > size:
        return False
    if kind != STAMP_ONLY and kind != STAMP_AND_ADDRESS and kind != STAMP_PRESPECIFIED:
        return True
    if option[2] + step - 1 > size:
        return False
    place = option + option[2] - 1
    if kind == STAMP_PRESPECIFIED and addr_type(e, load_addr(place), address_class(e, load_addr(place)), FN_ANY_IFACE) == TYPE_UNICAST:
        # another node's: this one leaves the pointer where it is
        return True
    if kind == STAMP_AND_ADDRESS:
        p.stamp_at = <uint8_t>(at + option[2] - 1)
        store_addr(place, specific_destination(e, p))
    # RFC 791: milliseconds since midnight UT
    store_be32(place + step - 4, <uint32_t>((e.epoch + e.now) * JIFFY_MS % DAY_MS))
    option[2] += <uint8_t>step
    p.options_changed = True
    return True


cdef inline bint leads_on(engine_t *e, pkt_t *p, addr_t hop, bint *local) noexcept nogil:
    # leads_on: whether a packet from where it comes may go to an address of its source route, which gives it its route (ip_route_input).
    # => local: the address is the node's own.
    cdef tuple_t t = p.t
    cdef uint32_t route
    cdef bint fails
    # routes and rp_filter are asked by the packet's tuple, so the hop stands there meanwhile
    p.t.dst = hop
    route = 0 if destination_is_martian(e, p) or is_multicast(hop) or is_limited_broadcast(hop) or hop == 0 else route_of(e, p)
    if leads_nowhere(e, route):
        p.t = t
        return False
    if e.routes[route - 1].hops > 1:
        route = choose_hop(e, p, route)
    local[0] = e.routes[route - 1].kind == ROUTE_LOCAL
    fails = ((not local[0] and e.routes[route - 1].kind != ROUTE_UNICAST)
             or source_fails(e, p, 0 if local[0] else e.routes[route - 1].iface))
    p.t = t
    p.route = <uint16_t>route
    p.out_iface = e.routes[route - 1].iface
    return not fails


cdef inline bint source_route(engine_t *e, pkt_t *p) noexcept nogil:
    # source_route: where the packet goes on to (ip_options_rcv_srr). Of the node's own addresses each leads to the next one.
    # => False: the route is refused, broken, or leads nowhere.
    cdef uint8_t *option = p.data + p.srr_at
    cdef uint32_t at = option[2]
    cdef bint local
    # accept_source_route: a sender could choose a way around a filter
    if not e.iface_flags[p.in_iface] & IFACE_SOURCE_ROUTE or p.route == 0:
        return False
    if e.routes[p.route - 1].kind == ROUTE_UNICAST:
        # a strict one would have to name this node
        return option[0] == OPTION_LOOSE_ROUTE
    if e.routes[p.route - 1].kind != ROUTE_LOCAL:
        return False
    while at <= option[1]:
        if at + 3 > option[1] or not leads_on(e, p, load_addr(option + at - 1), &local):
            return False
        p.options_changed = True
        if not local:
            p.srr_hop_at = <uint8_t>(p.srr_at + at - 1)
            return True
        # the node is a hop of its own route: the next address is the destination now
        p.t.dst = load_addr(option + at - 1)
        memcpy(p.data + DESTINATION_AT, option + at - 1, FN_ADDR_BYTES)
        at += FN_ADDR_BYTES
    return True


cdef inline bint take_option(engine_t *e, pkt_t *p, uint32_t at, uint32_t size, uint32_t *seen) noexcept nogil:
    # take_option: one option of size bytes, at its place in the datagram.
    # => False: the packet is dropped.
    cdef uint32_t kind = p.data[at]
    cdef uint32_t once = (SEEN_RECORD if kind == OPTION_RECORD_ROUTE else SEEN_STAMP if kind == OPTION_TIMESTAMP
                          else SEEN_ROUTE if kind == OPTION_LOOSE_ROUTE or kind == OPTION_STRICT_ROUTE else 0)
    # RFC 791: at most one of each
    if seen[0] & once:
        return False
    seen[0] |= once
    if kind == OPTION_RECORD_ROUTE:
        return record_route(e, p, at, size)
    if kind == OPTION_TIMESTAMP:
        return write_stamp(e, p, at, size)
    if once:
        p.srr_at = <uint8_t>at
        return size >= 3 and p.data[at + 2] >= 4
    # without a domain of NetLabel no label is valid
    return kind != OPTION_CIPSO and (kind != OPTION_ROUTER_ALERT or size >= 4)


cdef inline bint receive_options(engine_t *e, pkt_t *p) noexcept nogil:
    # receive_options: read and write the options of a routed packet.
    # => False: one of them is broken, or not wanted here.
    cdef uint32_t at = IP_HEADER
    cdef uint32_t seen = 0
    cdef uint32_t size
    while at < p.l4off and p.data[at] != OPTION_END:
        size = 1
        if p.data[at] != OPTION_NOP:
            if at + 2 > p.l4off:
                return False
            size = p.data[at + 1]
            if size < 2 or at + size > p.l4off or not take_option(e, p, at, size, &seen):
                return False
        at += size
    # what stands behind the end is cleared (__ip_options_compile), and the checksum follows
    while at < p.l4off:
        p.options_changed |= p.data[at] != OPTION_END
        p.data[at] = OPTION_END
        at += 1
    return p.srr_at == 0 or source_route(e, p)


cdef inline bint is_off_route(const engine_t *e, const pkt_t *p) noexcept nogil:
    # is_off_route: a strict source route leads to a gateway (ip_forward).
    return p.srr_at != 0 and p.data[p.srr_at] == OPTION_STRICT_ROUTE and e.routes[p.route - 1].gateway != 0


cdef inline addr_t leaving_source(const engine_t *e, pkt_t *p) noexcept nogil:
    # leaving_source: the node's address as the next machine sees it: of the route for the packet's addresses alone, on the device by
    # which it leaves (ip_rt_get_source).
    cdef uint32_t route = p.route
    cdef flow_t f
    # on a source route they are those that the packet has at the time: the node's own, then those of the next hop
    if e.n_fib_rules or p.srr_hop_at:
        f = flow_to(e, p)
        f.dst_class = address_class(e, f.dst)
        f.out_iface = p.out_iface
        f.proto = 0
        f.sport = 0
        f.dport = 0
        route = route_on(e, &f, p.out_iface)
        if leads_nowhere(e, route):
            return addr_within(e, p.out_iface, next_hop(e, p), SCOPE_UNIVERSE)
    return route_source(e, route)


cdef inline void forward_options(const engine_t *e, pkt_t *p) noexcept nogil:
    # forward_options: where this node entered itself stands the address that the packet leaves by; on a source route it takes the
    # place of the next address.
    # the sum over the header holds as it is
    if not p.options_changed:
        return
    if p.record_at:
        store_addr(p.data + p.record_at, leaving_source(e, p))
    if p.srr_hop_at:
        p.t.dst = load_addr(p.data + p.srr_hop_at)
        memcpy(p.data + DESTINATION_AT, p.data + p.srr_hop_at, FN_ADDR_BYTES)
        store_addr(p.data + p.srr_hop_at, leaving_source(e, p))
        p.data[p.srr_at + 2] = <uint8_t>(p.srr_hop_at - p.srr_at + 1 + FN_ADDR_BYTES)
        # ip_forward_options does so on a source route alone
        if p.stamp_at:
            store_addr(p.data + p.stamp_at, leaving_source(e, p))
    store_be16(p.data + 10, 0)
    store_be16(p.data + 10, ~csum_fold(csum_partial(p.data, p.l4off, 0)) & 0xffff)
