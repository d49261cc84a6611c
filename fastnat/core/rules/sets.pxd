# Membership of a packet in an ipset.
#
# Source: xt_set.c, ip_set_core.c (ip_set_test), ip_set_getport.c, ip_set_hash_*.c, ip_set_bitmap_port.c,
# ip_set_list_set.c (Linux 6.18); ipset(8).
# Invariants: a set never changes while the engine runs; the longest prefix decides, and `nomatch` with it.
# Differs from the kernel: elements with a timeout do not run out, targets that add to sets are refused.
from libc.stdint cimport uint32_t
from ..types cimport *
from ..nat.range cimport has_ports
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src


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


cdef inline const element_t *find_element(const engine_t *e, const set_t *s, const addr_t *addrs, uint32_t port,
                                          uint32_t prefix) noexcept nogil:
    # find_element: => The element of exactly these dimensions, NULL none.
    cdef uint32_t slot = element_hash(addrs, port, prefix) & s.mask
    cdef const element_t *m
    while True:
        m = &e.elements[s.first_slot + slot]
        if not m.used:
            return NULL
        if m.addrs[0] == addrs[0] and m.addrs[1] == addrs[1] and m.port == port and m.prefix == prefix:
            return m
        slot = (slot + 1) & s.mask


cdef inline bint packet_port(const pkt_t *p, bint src, bint with_proto, uint32_t *port) noexcept nogil:
    # packet_port: ip_set_get_ip4_port.
    # => False: a packet without a port cannot be in the set.
    cdef uint32_t proto = tuple_proto(p.t)
    port[0] = 0
    if has_ports(proto):
        port[0] = tuple_sport(p.t) if src else tuple_dport(p.t)
    elif not with_proto:
        return False
    elif proto == PROTO_ICMP:
        port[0] = tuple_dport(p.t)
    if with_proto:
        port[0] |= proto << 16
    return proto != 0


cdef inline bint in_one_set(const engine_t *e, const set_t *s, const pkt_t *p, uint32_t sources, uint32_t n) noexcept nogil:
    # in_one_set: => Whether the packet's dimensions are in one set; of networks the longest prefix decides.
    cdef addr_t addrs[2]
    cdef uint32_t port = 0
    cdef uint32_t at = 0
    cdef uint32_t i
    cdef addr_t whole = 0
    cdef int network = -1
    cdef int prefix
    cdef bint src
    cdef const element_t *m
    if n < s.n_dims:
        return False
    addrs[0] = 0
    addrs[1] = 0
    for i in range(s.n_dims):
        src = (sources >> i) & 1
        if s.dims[i] == DIM_PROTO_PORT or s.dims[i] == DIM_PORT:
            if not packet_port(p, src, s.dims[i] == DIM_PROTO_PORT, &port):
                return False
            continue
        addrs[at] = tuple_src(p.t) if src else tuple_dst(p.t)
        if s.dims[i] == DIM_NETWORK:
            network = <int>at
        at += 1
    if network < 0:
        return find_element(e, s, addrs, port, 0) != NULL
    whole = addrs[network]
    for prefix in range(FN_ADDR_BITS, -1, -1):
        if not (s.prefixes[prefix >> 6] >> (prefix & 63)) & 1:
            continue
        addrs[network] = whole & mask_of(<uint32_t>prefix)
        m = find_element(e, s, addrs, port, <uint32_t>prefix)
        if m != NULL:
            return not m.nomatch
    return False


cdef inline bint in_set(const engine_t *e, uint32_t index, const pkt_t *p, uint32_t sources, uint32_t n) noexcept nogil:
    # in_set: bit i of `sources` says that dimension i looks at the packet's source; n dimensions were given.
    cdef const set_t *s = &e.sets[index]
    cdef uint32_t i
    if s.n_members == 0:
        return in_one_set(e, s, p, sources, n)
    for i in range(s.n_members):
        if in_one_set(e, &e.sets[e.set_members[s.first_member + i]], p, sources, n):
            return True
    return False
