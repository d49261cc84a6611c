# Membership of a packet in an ipset.
#
# Source: xt_set.c, ip_set_core.c (ip_set_test), ip_set_getport.c, ip_set_hash_*.c, ip_set_bitmap_port.c,
# ip_set_list_set.c (Linux 6.18); ipset(8).
# Invariants: which elements there are never changes while the engine runs, but that their time is over; the longest prefix
# decides, and `nomatch` with it.
# Differs from the kernel: targets that add to sets are refused.
from libc.stdint cimport int32_t, uint32_t
from ..types cimport *
from ..nat.range cimport has_ports
from ..fib cimport incoming, outgoing
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src

cdef enum:
    # set_t.netmask
    WHOLE = 255


cdef inline uint32_t folded(addr_t addr) noexcept nogil:
    # folded: an address as one word; of IPv4 the address itself.
    cdef uint32_t h = 0
    cdef uint32_t i
    for i in range(FN_ADDR_BITS // 32):
        h ^= <uint32_t>(addr >> (32 * i))
    return h


cdef inline addr_t mask_of(uint32_t prefix) noexcept nogil:
    # mask_of: => The mask of a prefix length.
    if prefix == 0:
        return 0
    return ~<addr_t>0 << (FN_ADDR_BITS - prefix)


cdef inline uint32_t element_hash(const addr_t *addrs, uint32_t port, uint32_t prefix) noexcept nogil:
    # element_hash: multiplicative; node/ipset.py fills the slots by the same rule.
    cdef uint32_t h = folded(addrs[0]) * <uint32_t>0x9e3779b1
    h = (h ^ (h >> 15) ^ folded(addrs[1])) * <uint32_t>0x85ebca6b
    h = (h ^ (h >> 13) ^ port ^ (prefix << 24)) * <uint32_t>0xc2b2ae35
    return h ^ (h >> 16)


cdef inline element_t *find_element(const engine_t *e, const set_t *s, const addr_t *addrs, uint32_t port, uint32_t prefix,
                                    uint32_t now) noexcept nogil:
    # find_element: => The element of exactly these dimensions whose time is not over, NULL none.
    cdef uint32_t slot = element_hash(addrs, port, prefix) & s.mask
    cdef element_t *m
    while True:
        m = &e.elements[s.first_slot + slot]
        if not m.used:
            return NULL
        # whose time is over is not taken out: the slot stays in the way of those behind it
        if m.addrs[0] == addrs[0] and m.addrs[1] == addrs[1] and m.port == port and m.prefix == prefix:
            return NULL if m.expires and <int32_t>(now - m.until) > 0 else m
        slot = (slot + 1) & s.mask


cdef inline uint32_t header_of(uint32_t proto) noexcept nogil:
    # header_of: bytes of l4 header without which a packet has no port (get_port of ip_set_getport.c).
    if proto == PROTO_TCP:
        return 20
    if proto == PROTO_SCTP:
        return 12
    return 8 if has_ports(proto) or proto == PROTO_ICMP else 0


cdef inline bint packet_port(const pkt_t *p, bint src, bint with_proto, uint32_t *port) noexcept nogil:
    # packet_port: ip_set_get_ip4_port; without the protocol ip_set_get_ip_port, which knows TCP and UDP alone.
    # => False: a packet without a port cannot be in the set.
    cdef uint32_t proto = tuple_proto(p.t)
    port[0] = 0
    # a packet of headers alone has its ports in the tuple, whatever was cut off
    if p.data != NULL and p.len < p.l4off + header_of(proto):
        return False
    if has_ports(proto):
        port[0] = tuple_sport(p.t) if src else tuple_dport(p.t)
    elif proto == PROTO_ICMP:
        port[0] = tuple_dport(p.t)
    if with_proto:
        # one number for both: port 53 of UDP is another element than that of TCP
        port[0] |= proto << 16
        return proto != 0
    return proto == PROTO_TCP or proto == PROTO_UDP


cdef inline bint packet_iface(const engine_t *e, const pkt_t *p, bint src, uint32_t *port) noexcept nogil:
    # packet_iface: the number of the device that it came in by, or goes out by.
    # => False: there is none in this hook.
    port[0] = incoming(e, p) if src else outgoing(p)
    return port[0] != 0


cdef inline bint packet_key(const engine_t *e, const set_t *s, uint32_t dim, const pkt_t *p, bint src, uint32_t *port) noexcept nogil:
    # packet_key: a dimension that is no address.
    # => False: the packet has none.
    if dim == DIM_IFACE:
        return packet_iface(e, p, src, port)
    if dim == DIM_MARK:
        port[0] = p.mark
        return True
    return packet_port(p, src, dim == DIM_PROTO_PORT, port)


cdef inline bint counts_hold(const engine_t *e, const match_t *m, const element_t *x) noexcept nogil:
    # counts_hold: --packets-* and --bytes-* (ip_set_match_counter).
    cdef const target_t *packets = &e.targets[m[1].set_more.at]
    cdef const target_t *bytes_ = &e.targets[m[1].set_more.at + 1]
    if (packets.counts.low <= x.packets <= packets.counts.high) == ((m.bits & SET_PACKETS_NOT) != 0):
        return False
    return (bytes_.counts.low <= x.bytes <= bytes_.counts.high) != ((m.bits & SET_BYTES_NOT) != 0)


cdef inline bint extensions_hold(const engine_t *e, const set_t *s, const match_t *m, element_t *x, const pkt_t *p,
                                 bint member) noexcept nogil:
    # extensions_hold: the packet counts for an element, and what its counters are asked holds (ip_set_match_extensions).
    if not s.counts:
        return True
    # counted before its counters are asked, so that the packet itself is among them
    if not m.bits & SET_SKIP_COUNTERS and not (member and m.bits & SET_SKIP_SUBCOUNTERS):
        x.packets += 1
        x.bytes += p.length
    # what a rule asks of counters it asks of the list, not of the sets in it
    return member or not m.bits & SET_ASK_COUNTERS or counts_hold(e, m, x)


cdef inline element_t *element_of(const engine_t *e, const set_t *s, const match_t *m, const pkt_t *p, bint member) noexcept nogil:
    # element_of: => The element that the packet's dimensions name, of networks that hold the longest prefix; NULL: there is none.
    cdef addr_t addrs[2]
    cdef uint32_t port = 0
    cdef uint32_t at = 0
    cdef uint32_t i
    cdef addr_t whole = 0
    cdef int network = -1
    cdef int prefix
    cdef bint src
    cdef element_t *x
    # recorded: fewer directions than dimensions name no element, and inverted all packets match
    if m.set.n_dims < s.n_dims:
        return NULL
    addrs[0] = 0
    # a set of one dimension has 0 here, and node/ipset.py has hashed it so
    addrs[1] = 0
    for i in range(s.n_dims):
        src = (m.set.sources >> i) & 1
        if s.dims[i] != DIM_ADDRESS and s.dims[i] != DIM_NETWORK:
            if not packet_key(e, s, s.dims[i], p, src, &port):
                return NULL
            continue
        addrs[at] = tuple_src(p.t) if src else tuple_dst(p.t)
        if s.dims[i] == DIM_NETWORK:
            network = <int>at
        at += 1
    # all of a network is one element of the set (create ... netmask)
    if s.netmask != WHOLE:
        addrs[0] &= mask_of(s.netmask)
    if network < 0:
        x = find_element(e, s, addrs, port, 0, p.now)
        return x if x != NULL and extensions_hold(e, s, m, x, p, member) else NULL
    whole = addrs[network]
    for prefix in range(FN_ADDR_BITS, -1, -1):
        # only the lengths that the set has: a look-up for each
        if not (s.prefixes[prefix >> 6] >> (prefix & 63)) & 1:
            continue
        addrs[network] = whole & mask_of(<uint32_t>prefix)
        x = find_element(e, s, addrs, port, <uint32_t>prefix, p.now)
        if x != NULL and extensions_hold(e, s, m, x, p, member):
            return x
        # a network that is there for other devices alone ends the search (mtype_test_cidrs, IP_SET_HASH_WITH_MULTI)
        if x == NULL and s.dims[1] == DIM_IFACE and find_element(e, s, addrs, ANY_DEVICE, <uint32_t>prefix, p.now) != NULL:
            return NULL
    return NULL


cdef inline bint in_one_set(const engine_t *e, const set_t *s, const match_t *m, const pkt_t *p, bint member) noexcept nogil:
    # in_one_set: one set (ip_set_test), for itself or as a member of a list.
    cdef const element_t *x = element_of(e, s, m, p, member)
    if x == NULL:
        return False
    # the rule wants the exceptions themselves
    if s.exceptions and m.bits & SET_RETURN_NOMATCH:
        return x.nomatch
    return not x.nomatch


cdef inline bint in_set(const engine_t *e, const match_t *m, const pkt_t *p) noexcept nogil:
    # in_set: -m set, inversion left out.
    cdef const set_t *s = &e.sets[m.set.index]
    cdef uint32_t i
    if s.n_members == 0:
        return in_one_set(e, s, m, p, False)
    for i in range(s.n_members):
        if in_one_set(e, &e.sets[e.set_members[s.first_member + i]], m, p, True):
            return True
    return False
