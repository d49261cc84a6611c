# Hashes: the keyed hash of the tables, jhash2 of the address choice, and the generator of random numbers.
#
# Source: keyed_hash.h for the tables; lookup3 by Bob Jenkins (public domain) as jhash2;
# xoroshiro128+ (Blackman, Vigna 2018), state filled by splitmix64.
# Invariants: nothing here depends on the machine; a hash value never leaves the engine.
# Differs from the kernel: the generator is seeded; the table hash is neither siphash nor jhash (no decision
# depends on it).
from libc.stdint cimport uint32_t, uint64_t
from .types cimport engine_t, fn_hash, STAT_DRAWS, tuple_t


cdef inline uint64_t tuple_hash(const engine_t *e, tuple_t t) noexcept nogil:
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


cdef inline uint64_t rotl64(uint64_t x, int r) noexcept nogil:
    return (x << r) | (x >> (64 - r))


cdef inline uint64_t splitmix64(uint64_t *state) noexcept nogil:
    cdef uint64_t z
    state[0] += <uint64_t>0x9e3779b97f4a7c15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
    z = (z ^ (z >> 27)) * <uint64_t>0x94d049bb133111eb
    return z ^ (z >> 31)


cdef inline uint64_t random_u64(engine_t *e) noexcept nogil:
    cdef uint64_t a = e.rng[0]
    cdef uint64_t b = e.rng[1]
    cdef uint64_t result = a + b
    b ^= a
    e.rng[0] = rotl64(a, 24) ^ b ^ (b << 16)
    e.rng[1] = rotl64(b, 37)
    e.stats[STAT_DRAWS] += 1
    return result


cdef inline uint32_t random_u16(engine_t *e) noexcept nogil:
    # random_u16: uniform in 0..65535 (get_random_u16); the top bits are the good ones of xoroshiro128+.
    return <uint32_t>(random_u64(e) >> 48)


cdef inline uint32_t rol32(uint32_t x, int r) noexcept nogil:
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
