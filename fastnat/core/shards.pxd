# Engines side by side: which of them a packet belongs to, and its packets out of a batch.
#
# Source: ours.
# Invariants: what a shard's SNAT chose comes back to it: its ports are those that `shard_of_port` gives it. Both directions of a
# connection that a client opens, or the node, are of one shard.
# Differs from the kernel: it has one table for all CPUs.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from .types cimport *

cdef enum:
    FIRST_PORT = 1024
    N_PORTS = 64512
    # packets of one shard brought together at a time: they and their results stay in the second-level cache
    SHARD_ROOM = 1024


cdef struct range_t:
    addr_t low
    addr_t high


cdef struct shards_t:
    uint32_t n
    # the numbers of interfaces behind which the clients are, one byte each
    uint32_t n_ifaces
    const uint8_t *inside
    # addresses that connections are translated to, ascending; those to which routes lead through these interfaces
    uint32_t n_ranges, n_clients
    const range_t *ranges
    const range_t *clients


cdef inline uint32_t shard_of_address(const shards_t *s, addr_t addr) noexcept nogil:
    # shard_of_address: the upper half of a product, scaled to the number of shards. 2**32 over the golden ratio spreads
    # neighbours (Knuth, TAOCP 3, 6.4).
    cdef uint32_t folded = <uint32_t>(addr ^ (addr >> (FN_ADDR_BITS >> 1)))
    return ((folded * <uint32_t>0x9E3779B1) >> 16) * s.n >> 16


cdef inline uint32_t shard_of_port(const shards_t *s, uint32_t port) noexcept nogil:
    # shard_of_port: slice k begins at FIRST_PORT + k * N_PORTS // n.
    return ((port - FIRST_PORT + 1) * s.n - 1) // N_PORTS if port >= FIRST_PORT else 0


cdef inline bint is_within(const range_t *ranges, uint32_t n, addr_t addr) noexcept nogil:
    # is_within: => Whether one of n ranges, ascending, has an address; binary search.
    cdef uint32_t at = 0
    cdef uint32_t left = n
    cdef uint32_t half
    while left > 1:
        half = left >> 1
        at += half if ranges[at + half].low <= addr else 0
        left -= half
    return n != 0 and ranges[at].low <= addr <= ranges[at].high


cdef inline bint has_ports(uint32_t proto) noexcept nogil:
    # has_ports: => Whether NAT can tell connections of a protocol apart by their ports, or by the identifier of ICMP.
    return proto == PROTO_UDP or proto == PROTO_TCP or proto == PROTO_ICMP or proto == PROTO_SCTP or proto == PROTO_UDPLITE


cdef inline uint32_t shard_between(const shards_t *s, uint32_t iface, addr_t src, addr_t dst, uint32_t proto, uint32_t sport,
                                   uint32_t dport) noexcept nogil:
    # shard_between: clients by their address; what comes back by the port that was chosen for it, or by the client's address
    # where none was; what the node opens by its own port.
    # one shard has to see all of them, to know which tuples are used
    if fn_unlikely(not has_ports(proto)):
        return 0
    if iface < s.n_ifaces and s.inside[iface]:
        return shard_of_address(s, src)
    if proto == PROTO_ICMP:
        # the identifier is that of both directions
        dport = sport
    if is_within(s.ranges, s.n_ranges, dst):
        # from the node to itself: the same port for both directions
        if iface == 0 and sport < dport and is_within(s.ranges, s.n_ranges, src):
            return shard_of_port(s, sport)
        return shard_of_port(s, dport)
    if iface == 0 and is_within(s.ranges, s.n_ranges, src) and not is_within(s.clients, s.n_clients, dst):
        return shard_of_port(s, sport)
    return shard_of_address(s, dst)


cdef inline uint32_t shard_of(const shards_t *s, const packet_t *p) noexcept nogil:
    # shard_of: => The shard of a packet of which there are headers alone.
    return shard_between(s, p.iface, p.src, p.dst, p.proto, p.sport, p.dport)


cdef inline void shards_of(const shards_t *s, const packet_t *in_, uint64_t n, uint16_t *to) noexcept nogil:
    # shards_of: the shard of each packet of a batch.
    cdef uint64_t i
    for i in range(n):
        to[i] = <uint16_t>shard_of(s, in_ + i)


cdef inline uint32_t gather(const shards_t *s, uint32_t shard, const packet_t *in_, uint64_t n, uint64_t *at,
                            packet_t *packets, uint64_t *places) noexcept nogil:
    # gather: the next packets of a shard from place `at` on, at most SHARD_ROOM, and where they lie.
    # => How many; `at` is behind what was looked at.
    cdef uint64_t i = at[0]
    cdef uint32_t found = 0
    while i < n and found < SHARD_ROOM:
        # written in any case: whether the packet counts is as good as random, and a branch would be mistaken
        packets[found] = in_[i]
        places[found] = i
        found += shard_of(s, in_ + i) == shard
        i += 1
    at[0] = i
    return found
