# Engines side by side: which of them a packet belongs to, and its packets out of a batch.
#
# Source: ours.
# Invariants: what a shard's SNAT chose comes back to it: its ports are those that `shard_of_port` gives it.
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
    # addresses that connections are translated to, ascending
    uint32_t n_ranges
    const range_t *ranges


cdef inline uint32_t shard_of_address(const shards_t *s, addr_t addr) noexcept nogil:
    # shard_of_address: the upper half of a product, scaled to the number of shards. 2**32 over the golden ratio spreads
    # neighbours (Knuth, TAOCP 3, 6.4).
    cdef uint32_t folded = <uint32_t>(addr ^ (addr >> (FN_ADDR_BITS >> 1)))
    return ((folded * <uint32_t>0x9E3779B1) >> 16) * s.n >> 16


cdef inline uint32_t shard_of_port(const shards_t *s, uint32_t port) noexcept nogil:
    # shard_of_port: slice k begins at FIRST_PORT + k * N_PORTS // n.
    return ((port - FIRST_PORT + 1) * s.n - 1) // N_PORTS if port >= FIRST_PORT else 0


cdef inline bint is_translated(const shards_t *s, addr_t addr) noexcept nogil:
    # is_translated: => Whether connections are translated to an address; binary search among the ranges.
    cdef uint32_t at = 0
    cdef uint32_t n = s.n_ranges
    cdef uint32_t half
    while n > 1:
        half = n >> 1
        at += half if s.ranges[at + half].low <= addr else 0
        n -= half
    return n != 0 and s.ranges[at].low <= addr <= s.ranges[at].high


cdef inline uint32_t shard_of(const shards_t *s, const packet_t *p) noexcept nogil:
    # shard_of: clients by their address; what comes back by the port that was chosen for it, or by the client's address
    # where none was.
    if p.iface < s.n_ifaces and s.inside[p.iface]:
        return shard_of_address(s, p.src)
    if is_translated(s, p.dst):
        return shard_of_port(s, p.dport)
    return shard_of_address(s, p.dst)


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
