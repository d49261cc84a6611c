# The source address that goes with a way out: of MASQUERADE, of REDIRECT.
#
# Source: inet_select_addr, ipv6_dev_get_saddr, nf_nat_masquerade.c, nf_nat_redirect.c (Linux 6.18); RFC 6724.
# Invariants: e.addresses holds devices in order, each with its addresses in the kernel's order.
# Differs from the kernel: no VRF.
from libc.stdint cimport uint32_t
from .types cimport *
from .fib cimport is_limited_broadcast, is_link_local, is_multicast
from .tuples.tuple cimport tuple_dst

cdef enum:
    SCOPE_UNIVERSE = 0
    SCOPE_LINK = 253
    SCOPE_HOST = 254


cdef inline addr_t next_hop(const engine_t *e, const pkt_t *p) noexcept nogil:
    # next_hop: the gateway of the packet's route, or its destination (rt_nexthop); groups and all are on the link.
    cdef addr_t dst = tuple_dst(p.t)
    if p.route and e.routes[p.route - 1].gateway and not is_multicast(dst) and not is_limited_broadcast(dst):
        return e.routes[p.route - 1].gateway
    return dst


cdef inline addr_t addr_within(const engine_t *e, uint32_t iface, addr_t hop, uint32_t scope) noexcept nogil:
    # addr_within: inet_select_addr: an address that is valid as far as a scope; hop: in whose network it is best, 0 in any.
    # => 0 when the node has none. e.addresses holds devices in order, each in its kernel order.
    cdef uint32_t widest = SCOPE_LINK if e.iface_flags[iface] & IFACE_ROUTE_LOCALNET else SCOPE_HOST
    cdef addr_t first = 0
    cdef uint32_t i
    cdef const address_t *a
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        # secondary ones are never chosen, however near the hop lies
        if a.iface != iface or a.flags & ADDRESS_SECONDARY or (a.scope if a.scope < widest else widest) > scope:
            continue
        if hop == 0 or (hop ^ a.peer) & a.mask == 0:
            return a.local
        if first == 0:
            first = a.local
    # no network of the device holds the hop: its first address then
    if first:
        return first
    # the device has none of that scope: any other device's, in their order
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        if not (a.flags & ADDRESS_SECONDARY) and a.scope != SCOPE_LINK and a.scope <= scope:
            return a.local
    return 0


cdef inline addr_t select_addr(const engine_t *e, uint32_t iface, addr_t hop) noexcept nogil:
    # select_addr: an address of global scope.
    return addr_within(e, iface, hop, SCOPE_UNIVERSE)


cdef inline addr_t route_source(const engine_t *e, uint32_t route) noexcept nogil:
    # route_source: what a route, by its index + 1, takes as source (fib_result_prefsrc).
    cdef const route_t *r = &e.routes[route - 1]
    # ip route ... src goes before every choice
    if r.src:
        return e.addresses[r.src - 1].local
    return addr_within(e, r.iface, r.gateway, SCOPE_UNIVERSE if r.gateway else SCOPE_LINK)


cdef inline int scope6(addr_t addr) noexcept nogil:
    # scope6: RFC 4291 scope of an address: 2 link, 5 site, 14 global; of ::1 1, of :: none, which is less than any.
    if addr == 0:
        return -1
    if is_multicast(addr):
        return <int>(addr >> (FN_ADDR_BITS - 16)) & 15
    if addr == 1:
        return 1
    if is_link_local(addr):
        return 2
    # fec0::/10: RFC 3879 has given it up, but kernels still give it a scope of its own
    return 5 if addr >> (FN_ADDR_BITS - 10) == 0x3fb else 14


cdef inline uint32_t scope_bits6(addr_t addr) noexcept nogil:
    # scope_bits6: what of IPV6_ADDR_SCOPE_MASK an address's type has: loopback 16, link 32, site 64, an embedded IPv4 address 128.
    cdef int scope = scope6(addr)
    if addr >> (32 & (FN_ADDR_BITS - 1)) == 0 and addr > 1:
        return 128
    return 16 if scope == 1 else 32 if scope == 2 else 64 if scope == 5 else 0


cdef inline uint32_t word6(addr_t addr, uint32_t i) noexcept nogil:
    # word6: the i-th 32-bit word of an IPv6 address, host order.
    return <uint32_t>(addr >> ((96 - 32 * i) & (FN_ADDR_BITS - 1)))


cdef inline bint is_orchid(addr_t addr) noexcept nogil:
    # is_orchid: => Whether an address is a cryptographic hash, 2001:10::/28 (RFC 4843), that no router knows.
    return addr >> (FN_ADDR_BITS - 28) == 0x2001001


cdef inline uint32_t label6(addr_t addr) noexcept nogil:
    # label6: the default label table of RFC 6724 as addrlabel.c has it, with site-local addresses and those of the 6bone, which
    # the RFC has dropped meanwhile.
    cdef uint32_t top = word6(addr, 0)
    # addrlabel.c takes the longest prefix that holds: of two the longer has to stand in front here
    if addr == 1:
        return 0
    # ::/96, IPv4-compatible; ::1 is one of them, and has its own label in front
    if top == 0 and word6(addr, 1) == 0 and word6(addr, 2) == 0:
        return 3
    if top == 0 and word6(addr, 1) == 0 and word6(addr, 2) == 0xffff:
        return 4
    if top >> 25 == 0x7e:
        return 5
    if top >> 22 == 0x3fb:
        return 11
    if top >> 16 == 0x3ffe:
        return 12
    if top >> 16 == 0x2002:
        return 2
    if top == 0x20010000:
        return 6
    return 7 if is_orchid(addr) else 1


cdef inline uint32_t common_prefix(addr_t a, addr_t b, addr_t mask) noexcept nogil:
    # common_prefix: leading bits that are equal, at most those of the mask.
    cdef addr_t differs = (a ^ b) | ~mask
    cdef uint32_t n = 0
    # the prefix of the candidate is the bound (RFC 6724, 2.2): bits behind it say nothing of where an address lies
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
    # rule 2: of those that reach far enough the narrowest, else the widest
    mine = -mine if mine >= want else mine - 128
    other = -other if other >= want else other - 128
    if mine != other:
        return mine > other
    # rule 3
    if (a.flags & worse) != (best.flags & worse):
        return not a.flags & worse
    # rule 5
    if (a.iface == iface) != (best.iface == iface):
        return a.iface == iface
    # rule 6
    if (label6(a.local) == label6(dst)) != (label6(best.local) == label6(dst)):
        return label6(a.local) == label6(dst)
    # rule 7, turned round as use_tempaddr is below 2
    if (a.flags & ADDRESS_TEMPORARY) != (best.flags & ADDRESS_TEMPORARY):
        return not a.flags & ADDRESS_TEMPORARY
    # no rule of the RFC: a hash is for who is named by one (IPV6_SADDR_RULE_ORCHID)
    if is_orchid(a.local) != is_orchid(best.local):
        return is_orchid(a.local) == is_orchid(dst)
    # rule 8
    return common_prefix(a.local, dst, a.mask) > common_prefix(best.local, dst, best.mask)


cdef inline addr_t select_addr6(const engine_t *e, uint32_t iface, addr_t dst) noexcept nogil:
    # select_addr6: ipv6_dev_get_saddr(iface, dst, no preferences); ties keep the earlier one.
    # => 0 when there is no candidate.
    # groups and addresses of the link mean nothing on another device
    cdef bint own = is_multicast(dst) or scope6(dst) <= 2
    cdef const address_t *best = NULL
    cdef const address_t *a
    cdef uint32_t i
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        # another node may have it: who is tentative is still asking (RFC 4862, 5.4)
        if (own and a.iface != iface) or a.flags & ADDRESS_TENTATIVE:
            continue
        if best == NULL or better6(a, best, dst, iface):
            best = a
    return best.local if best != NULL else <addr_t>0


cdef inline addr_t only_addr6(const engine_t *e, uint32_t iface, addr_t first, addr_t last) noexcept nogil:
    # only_addr6: what select_addr6 gives for each destination of a range, none of them an address of the node.
    # => 0: it has to be asked for each.
    cdef addr_t only = 0
    cdef const address_t *a
    cdef uint32_t i
    # destinations of narrower scope want other addresses: fe80::/10, what is above it, and ::1
    if first <= 1 or last >> (FN_ADDR_BITS - 10) >= 0x3fa:
        return 0
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        if a.iface != iface or a.flags & (ADDRESS_TENTATIVE | ADDRESS_DEPRECATED) or scope6(a.local) != 14:
            continue
        # of several the labels decide, ORCHID or not, and how many leading bits are the destination's
        if only:
            return 0
        only = a.local
    return only


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
    cdef uint32_t wanted = scope_bits6(dst) if FN_V6 else <uint32_t>0
    cdef uint32_t i
    for i in range(e.n_addresses):
        a = &e.addresses[i]
        if a.iface != iface:
            continue
        # linux-5.4 takes the head of the list, whatever it is
        if FN_V6 and e.profile != LINUX_5_4 and (a.flags & ADDRESS_TENTATIVE or (wanted and not wanted & scope_bits6(a.local))):
            continue
        return a.local
    return 0
