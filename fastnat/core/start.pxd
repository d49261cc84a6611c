# An engine before its first packet: keys, empty tables, empty lists.
#
# Source: nf_conntrack_init_start (nf_conntrack_core.c), nf_nat_init (nf_nat_core.c), Linux 6.18.
# Invariants: the arrays are attached and as large as they will ever be. A key and a seed give the same engine anywhere.
# Differs from the kernel: the tables begin small and grow.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from .types cimport (bucket_t, engine_t, fn_ctz, FN_EXPECT_HEADS, FN_FAR_SLOTS, FN_GROUP_BUCKETS, FN_NONE, FN_ROUND_KEYS,
                     FN_WHEEL_SLOTS, TABLE_KIND_SOURCES, TABLE_KIND_TUPLES, table_t)
from .conntrack.timing_wheel cimport NEVER
from .tuples.hash cimport splitmix64


cdef inline void start_generator(engine_t *e, uint64_t seed) noexcept nogil:
    # start_generator: the two words that random numbers come from.
    cdef uint32_t _
    # the first numbers of a seed were the key of the tables once: a seed still gives the numbers behind them
    for _ in range(2 * FN_ROUND_KEYS):
        splitmix64(&seed)
    e.rng[0] = splitmix64(&seed)
    e.rng[1] = splitmix64(&seed)


cdef inline void start_keys(engine_t *e, uint64_t key, uint64_t seed) noexcept nogil:
    # start_keys: the key of the tables, and the generator.
    cdef uint32_t i
    for i in range(2 * FN_ROUND_KEYS):
        e.key[i] = splitmix64(&key)
    start_generator(e, seed)


cdef inline void start_table(table_t *t, uint32_t groups, uint32_t kind) noexcept nogil:
    # start_table: `groups`, a power of two, at the start of a doubling.
    t.groups = groups
    t.level_mask = groups - 1
    # as if a doubling had just begun: no group is split yet, and what belongs in the upper half lies in the lower one
    t.half = groups * FN_GROUP_BUCKETS
    t.bucket_mask = 2 * groups * FN_GROUP_BUCKETS - 1
    t.n_buckets = groups * FN_GROUP_BUCKETS
    t.level = <uint32_t>fn_ctz(groups)
    t.kind = kind
    memset(t.buckets, 0, <uint64_t>groups * FN_GROUP_BUCKETS * sizeof(bucket_t))


cdef inline void start_tables(engine_t *e, uint32_t groups) noexcept nogil:
    # start_tables: everything that links records is empty. Every byte of FN_NONE is 0xff.
    start_table(&e.tuples, groups, TABLE_KIND_TUPLES)
    start_table(&e.sources, groups, TABLE_KIND_SOURCES)
    e.free_chunk = FN_NONE
    e.free_help = FN_NONE
    e.free_expect = FN_NONE
    e.free_bitmap = FN_NONE
    e.free_page = FN_NONE
    e.newest_bitmap = FN_NONE
    e.oldest_bitmap = FN_NONE
    memset(e.expect_heads, 0xff, FN_EXPECT_HEADS * 4)
    memset(e.wheel, 0xff, (FN_WHEEL_SLOTS + FN_FAR_SLOTS) * 4)
    e.next_far = NEVER
    memset(e.bitmap_index, 0xff, <uint64_t>(e.bitmap_index_mask + 1) * 4)
