# Which next hop of a route a packet takes.
#
# Source: fib_multipath_hash, rt6_multipath_hash, ip_multipath_l3_keys, __flow_hash_from_keys, fib_select_multipath, fib6_select_path
# (Linux 6.18); siphash is Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.
# Invariants: packets with the same headers take one way; the way back has the same hash.
# Differs from the kernel: a packet that the node sends is hashed with its source address; where net.ipv4.fib_multipath_hash_seed
# is not set, the seed is drawn from the engine's.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from .types cimport *
from .packet.checksum cimport load_addr, load_be16, load_be32, store_addr, store_be16
from .packet.extensions cimport extension_size, V6_FRAGMENT, V6_HEADER, V6_HOPS, V6_OPTIONS, V6_ROUTING
from .tuples.tuple cimport tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src

cdef enum:
    # struct flow_keys from `basic` on, its addresses as wide as the family's, in whole words
    PROTO_AT = 2
    LABEL_AT = 4
    PORTS_AT = 28
    ADDRESSES_AT = 36
    ICMP_HEADER = 8

# net.ipv4.fib_multipath_hash_policy
cdef enum:
    BY_ADDRESSES = 0
    BY_PORTS = 1


cdef extern from *:
    """
    #define FN_FLOW_WORDS ((36 + 2 * FN_ADDR_BYTES + 7) / 8)
    #define FN_QUOTED_HEADER (FN_V6 ? 40 : 20)
    #define FN_SOURCE_PLACE (FN_V6 ? 8 : 12)
    """
    const uint32_t FLOW_WORDS "FN_FLOW_WORDS"
    const uint32_t INNER_HEADER "FN_QUOTED_HEADER"
    const uint32_t SOURCE_AT "FN_SOURCE_PLACE"


cdef inline uint64_t rotated(uint64_t x, uint32_t by) noexcept nogil:
    # rotated: to the left.
    return x << by | x >> (64 - by)


cdef inline void sip_round(uint64_t *v) noexcept nogil:
    # sip_round: one round of SipHash.
    # the rotations are those of Aumasson and Bernstein, 2012: another one would be another hash
    v[0] += v[1]
    v[1] = rotated(v[1], 13) ^ v[0]
    v[0] = rotated(v[0], 32)
    v[2] += v[3]
    v[3] = rotated(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = rotated(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = rotated(v[1], 17) ^ v[2]
    v[2] = rotated(v[2], 32)


cdef inline uint64_t siphash(const uint64_t *words, uint32_t n, uint64_t key) noexcept nogil:
    # siphash: SipHash-2-4 of n words; both halves of the key are equal.
    cdef uint64_t v[4]
    cdef uint32_t i, _
    cdef uint64_t word
    # "somepseudorandomlygeneratedbytes", as the paper has it
    # net.ipv4.fib_multipath_hash_seed has 32 bits, which the kernel repeats four times for a key (fib_multipath_hash_construct_key)
    v[0] = key ^ <uint64_t>0x736f6d6570736575
    v[1] = key ^ <uint64_t>0x646f72616e646f6d
    v[2] = key ^ <uint64_t>0x6c7967656e657261
    v[3] = key ^ <uint64_t>0x7465646279746573
    for i in range(n + 1):
        # the last word says how many bytes there were, and there are none behind the last whole word
        word = words[i] if i < n else <uint64_t>(n * 8) << 56
        v[3] ^= word
        for _ in range(2):
            sip_round(v)
        v[0] ^= word
    v[2] ^= 0xff
    for _ in range(4):
        sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef inline void write_ends(uint8_t *keys, addr_t src, addr_t dst) noexcept nogil:
    # write_ends: both addresses, the smaller one first: of IPv4 as a little-endian number (__flow_hash_consistentify).
    cdef uint8_t ends[2][FN_ADDR_BYTES]
    cdef uint32_t a, b
    cdef bint swap
    # both directions of a flow are to take one way, so the order of the ends must not count
    store_addr(ends[0], src)
    store_addr(ends[1], dst)
    if FN_V6:
        swap = memcmp(ends[1], ends[0], FN_ADDR_BYTES) < 0
    else:
        memcpy(&a, ends[0], 4)
        memcpy(&b, ends[1], 4)
        swap = b < a
    memcpy(keys + ADDRESSES_AT, ends[swap], FN_ADDR_BYTES)
    memcpy(keys + ADDRESSES_AT + FN_ADDR_BYTES, ends[not swap], FN_ADDR_BYTES)


cdef inline void write_ports(uint8_t *keys, uint32_t sport, uint32_t dport) noexcept nogil:
    # write_ports: both ports, in the order of the numbers that they are in little-endian memory.
    cdef uint32_t a = (sport >> 8 | sport << 8) & 0xffff
    cdef uint32_t b = (dport >> 8 | dport << 8) & 0xffff
    store_be16(keys + PORTS_AT, dport if b < a else sport)
    store_be16(keys + PORTS_AT + 2, sport if b < a else dport)


cdef inline bint has_two_ports(uint32_t proto) noexcept nogil:
    # has_two_ports: the protocols of which the flow dissector reads ports; of ESP they are its SPI (proto_ports_offset).
    return (proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_UDPLITE or proto == PROTO_SCTP or proto == PROTO_DCCP
            or proto == PROTO_ESP)


cdef inline uint32_t dissect(const pkt_t *p, uint32_t *ports) noexcept nogil:
    # dissect: __skb_flow_dissect: the protocol behind the headers that it knows, up to a fragment header.
    # => Of a protocol that has them, ports: source << 16 | destination, or the SPI of ESP and AH; else 0.
    cdef uint32_t proto = p.data[6] if FN_V6 else p.data[9]
    cdef uint32_t at = V6_HEADER if FN_V6 else p.l4off
    ports[0] = 0
    if FN_V6:
        while (proto == V6_HOPS or proto == V6_ROUTING or proto == V6_OPTIONS) and at + 2 <= p.len:
            proto, at = p.data[at], at + extension_size(p.data + at, proto)
        if proto == V6_FRAGMENT:
            return p.data[at] if at + 8 <= p.len else proto
    # a later fragment has no ports, and the first one is not to go another way than they
    elif load_be16(p.data + 6) & 0x3fff:
        return proto
    # the SPI of AH stands behind next header, length and a reserved word
    at += 4 if proto == PROTO_AH else 0
    if (has_two_ports(proto) or proto == PROTO_AH) and at + 4 <= p.len:
        ports[0] = load_be32(p.data + at)
    return proto


cdef inline uint32_t flow_ports(const pkt_t *p, uint32_t *ports) noexcept nogil:
    # flow_ports: dissect; of a packet without bytes what its tuple says.
    cdef uint32_t proto = tuple_proto(p.t)
    if p.data != NULL:
        return dissect(p, ports)
    ports[0] = tuple_sport(p.t) << 16 | tuple_dport(p.t) if has_two_ports(proto) else <uint32_t>0
    return proto


cdef inline bint quotes(const pkt_t *p) noexcept nogil:
    # quotes: whether it is an ICMP error with the header of what it is about, right behind the IP header (icmp_is_err, icmpv6_is_err).
    cdef uint32_t type_
    if p.len < p.l4off + ICMP_HEADER + INNER_HEADER or (p.data[6] if FN_V6 else p.data[9]) != PROTO_ICMP:
        return False
    if not FN_V6 and load_be16(p.data + 6) & 0x1fff:
        return False
    type_ = p.data[p.l4off]
    return 1 <= type_ <= 4 if FN_V6 else (3 <= type_ <= 5 or type_ == 11 or type_ == 12)


cdef inline void write_addresses(const engine_t *e, uint8_t *keys, const pkt_t *p) noexcept nogil:
    # write_addresses: those of the IP header, or of the one that an ICMP error quotes; of IPv6 also label and next header.
    cdef const uint8_t *ip = p.data
    cdef uint32_t ports
    if ip == NULL:
        write_ends(keys, tuple_src(p.t), tuple_dst(p.t))
        if FN_V6:
            keys[PROTO_AT] = <uint8_t>tuple_proto(p.t)
        return
    if quotes(p):
        # an error takes the way of the flow that it is about, so that it reaches its sender where several share an address (anycast)
        ip = p.data + p.l4off + ICMP_HEADER
    write_ends(keys, load_addr(ip + SOURCE_AT), load_addr(ip + SOURCE_AT + FN_ADDR_BYTES))
    if FN_V6 and e.dissects and ip == p.data and dissect(p, &ports) == PROTO_ICMP:
        # what policy rules have dissected has the label in the byte order of the machine
        keys[PROTO_AT] = PROTO_ICMP
        keys[LABEL_AT] = ip[3]
        keys[LABEL_AT + 1] = ip[2]
        keys[LABEL_AT + 2] = ip[1] & 15
    elif FN_V6:
        keys[PROTO_AT] = ip[6]
        keys[LABEL_AT + 1] = ip[1] & 15
        keys[LABEL_AT + 2] = ip[2]
        keys[LABEL_AT + 3] = ip[3]


cdef inline uint32_t flow_hash(const engine_t *e, const pkt_t *p) noexcept nogil:
    # flow_hash: 31 bits.
    cdef uint64_t words[FLOW_WORDS]
    cdef uint8_t *keys = <uint8_t *>words
    cdef uint32_t hash_, ports
    # gaps of struct flow_keys are hashed as well, and are 0 there
    memset(words, 0, sizeof(words))
    if e.multipath_policy == BY_PORTS:
        keys[PROTO_AT] = <uint8_t>flow_ports(p, &ports)
        write_ends(keys, tuple_src(p.t), tuple_dst(p.t))
        write_ports(keys, ports >> 16, ports & 0xffff)
    else:
        write_addresses(e, keys, p)
    hash_ = <uint32_t>siphash(words, FLOW_WORDS, <uint64_t>e.multipath_seed << 32 | e.multipath_seed)
    # 0 says that there is no hash yet; bounds are 31 bits wide, so that the last one can be 2^31 - 1
    return (hash_ if hash_ else 1) >> 1


cdef inline bint hop_varies(const engine_t *e, const pkt_t *p) noexcept nogil:
    # hop_varies: whether packets of one connection may take different ways: the hash holds what no tuple does, as flow labels and SPIs.
    cdef uint32_t proto = tuple_proto(p.t)
    return FN_V6 or (e.multipath_policy == BY_PORTS and (proto == PROTO_ESP or proto == PROTO_AH or proto == PROTO_DCCP))


cdef inline uint32_t choose_hop(const engine_t *e, const pkt_t *p, uint32_t route) noexcept nogil:
    # choose_hop: => Of a route, by its index + 1, the next hop that the packet takes.
    cdef uint32_t hash_ = flow_hash(e, p)
    cdef uint32_t i
    for i in range(e.routes[route - 1].hops):
        # bounds ascend with the sum of the weights; the last one lets everything pass
        if hash_ <= e.routes[route - 1 + i].bound:
            return route + i
    return route
