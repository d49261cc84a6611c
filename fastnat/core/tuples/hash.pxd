# Hashes: the keyed hash of the tables, jhash2 of the address choice, and the generator of random numbers.
#
# Source: keyed_hash.h for the tables; lookup3 by Bob Jenkins (public domain) as jhash2;
# splitmix64 (Steele, Lea, Flood 2014), whose n-th number can be had without those before it.
# Invariants: nothing here depends on the machine; a hash value never leaves the engine.
# Differs from the kernel: the generator is seeded; the table hash is neither siphash nor jhash (no decision
# depends on it).
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport engine_t, fn_hash, STAT_RANDOM_DRAWS, tuple_t

cdef extern from *:
    """
    /* 2**64 over the golden ratio */
    #define FN_GAMMA 0x9e3779b97f4a7c15ull
    """
    const uint64_t GAMMA "FN_GAMMA"


cdef inline uint64_t tuple_hash(const engine_t *e, tuple_t t) noexcept nogil:
    # tuple_hash: => The hash of a tuple by the table's key.
    return fn_hash(e.key, &t)


cdef inline uint64_t source_rest(tuple_t t) noexcept nogil:
    # source_rest: the source part of a tuple as the second word of a bysource key.
    # => Bit 40 keeps it apart from every tuple.
    return (t.rest & <uint64_t>0xffff00ff0000ffff) | (<uint64_t>1 << 40)


cdef inline tuple_t source_tuple(tuple_t t) noexcept nogil:
    # source_tuple: the message whose hash is the bysource hash of t.
    t.dst = 0
    t.rest = source_rest(t)
    return t


cdef inline uint64_t source_hash(const engine_t *e, tuple_t t) noexcept nogil:
    # source_hash: hash of (protocol, zone, source address, source port), see hash_by_src.
    t = source_tuple(t)
    return fn_hash(e.key, &t)


cdef inline uint64_t splitmix64(uint64_t *state) noexcept nogil:
    # splitmix64: => The next of a sequence of 64-bit numbers (Steele, Lea, Flood 2014).
    cdef uint64_t z
    state[0] += GAMMA
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
    z = (z ^ (z >> 27)) * <uint64_t>0x94d049bb133111eb
    return z ^ (z >> 31)


cdef inline uint64_t stream_of(const engine_t *e, uint64_t number) noexcept nogil:
    # stream_of: the state that the numbers of a packet begin with: the number-th of splitmix64 from the seed on.
    cdef uint64_t state = e.rng[0] + number * GAMMA
    return splitmix64(&state)


cdef inline void begin_packet(engine_t *e, uint64_t number) noexcept nogil:
    # begin_packet: what a packet draws is decided by how many came before it, not by what they drew: so it can be
    # drawn ahead.
    e.rng[1] = stream_of(e, number)


cdef inline uint64_t random_u64(engine_t *e) noexcept nogil:
    # random_u64: => The next random number of the packet at hand.
    e.stats[STAT_RANDOM_DRAWS] += 1
    return splitmix64(&e.rng[1])


cdef inline uint32_t first_u16(const engine_t *e, uint64_t number) noexcept nogil:
    # first_u16: the first random_u16 of a packet.
    cdef uint64_t state = stream_of(e, number)
    return <uint32_t>(splitmix64(&state) >> 48)


cdef inline uint32_t random_u16(engine_t *e) noexcept nogil:
    # random_u16: uniform in 0..65535 (get_random_u16).
    return <uint32_t>(random_u64(e) >> 48)


cdef inline uint32_t rol32(uint32_t x, int r) noexcept nogil:
    # rol32: => A word rotated to the left.
    return (x << r) | (x >> (32 - r))


cdef inline uint32_t jhash2_words(const uint32_t *k, uint32_t iv) noexcept nogil:
    # jhash2_words: jhash2 of four words, as find_best_ips_proto hashes a source address.
    # => Words are loaded as they lie in the packet on a little-endian machine; of IPv4 only the first is not zero.
    cdef uint32_t a = <uint32_t>0xdeadbeef + 16 + iv
    cdef uint32_t b = a
    cdef uint32_t c = a
    a += k[0]
    b += k[1]
    c += k[2]
    # __jhash_mix, once: jhash2 mixes while more than three words are left
    a -= c
    a ^= rol32(c, 4)
    c += b
    b -= a
    b ^= rol32(a, 6)
    a += c
    c -= b
    c ^= rol32(b, 8)
    b += a
    a -= c
    a ^= rol32(c, 16)
    c += b
    b -= a
    b ^= rol32(a, 19)
    a += c
    c -= b
    c ^= rol32(b, 4)
    b += a
    # and __jhash_final for the one that remains
    a += k[3]
    c ^= b
    c -= rol32(b, 14)
    a ^= c
    a -= rol32(c, 11)
    b ^= a
    b -= rol32(a, 25)
    c ^= b
    c -= rol32(b, 16)
    a ^= c
    a -= rol32(c, 4)
    b ^= a
    b -= rol32(a, 14)
    c ^= b
    c -= rol32(b, 24)
    return c
