# The table form that tuples and bysource share: cache-line buckets, small tags, linear hashing.
#
# Source: ours; it replaces nf_conntrack_hash and nf_nat_bysource, whose order never decides anything.
# Invariants: an item lies in its home bucket, or, when that was full, in another bucket of the same group
# (home xor q) with one count in the home bucket's overflow counter of its tag class. A counter that
# reached 15 stays there. Growth splits one group at a time, so no insert ever moves more than 384 items.
# Hash bits: 56..63 tag, 0..4 bucket in the group, 5.. group.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from ..types cimport (bucket_t, engine_t, fn_bucket_split, fn_ctz, fn_hash_stage, fn_prefetch, fn_prefetch_write, fn_rarely,
                      fn_tags_equal, FN_GROUP_BUCKETS, FN_ID_BITS, fn_unlikely, table_t, TABLE_KIND_TUPLES, tuple_t)
from .hash cimport source_tuple, tuple_hash
from .tuple cimport conn_tuple, tuple_equal

cdef enum:
    ID_MASK = (1 << 26) - 1
    HASH_BITS = 5
    # items per group, on average, from which the table grows: 0.3 of 384 slots; towards the end of a doubling the
    # groups not yet split hold twice as much, and above 0.6 a new connection costs twice the cache lines
    GROUP_LOAD = 115
    STICKY = 15
    # chance puts fewer together (below 1e-9 a lookup or insert, and a rehash without need only costs time): items of another
    # tuple with the same tag met in one lookup, and full buckets from home on
    CROWDED = 16
    FAR = 8

cdef inline uint32_t DISPLACED() noexcept nogil:
    # DISPLACED: the bit of an item that does not lie in its home bucket.
    return <uint32_t>1 << 31


cdef inline uint32_t KEPT_BITS() noexcept nogil:
    # KEPT_BITS: all of an item but its further hash bits.
    return DISPLACED() | ID_MASK


cdef inline uint8_t tag_of(uint64_t h) noexcept nogil:
    # tag_of: => The tag of a hash, never 0, which is an empty slot.
    cdef uint8_t tag = <uint8_t>(h >> 56)
    return tag + (tag == 0)


cdef inline uint32_t bucket_index(const table_t *t, uint64_t h) noexcept nogil:
    # bucket_index: the home bucket; a group of the upper half that is not split off yet is still in the lower.
    # four groups of which two are split: the mask says eight, and what belongs in 6 or 7 still lies in 2 or 3
    #     | 0 | 1 | 2 3 | 4 | 5 |      4 and 5 are the other halves of 0 and 1
    cdef uint32_t i = <uint32_t>h & t.bucket_mask
    # no branch: while the table grows nobody could guess it
    return i - (t.half & (0 - <uint32_t>(i >= t.n_buckets)))


cdef inline bucket_t *bucket_home(const table_t *t, uint64_t h) noexcept nogil:
    # bucket_home: the bucket in which an item belongs.
    return t.buckets + bucket_index(t, h)


cdef inline bucket_t *bucket_neighbour(const table_t *t, uint64_t h, uint32_t q) noexcept nogil:
    # bucket_neighbour: the q-th bucket in which an item may lie when its home is full.
    return t.buckets + (bucket_index(t, h) ^ q)


cdef inline uint32_t overflow_count(const bucket_t *b, uint8_t tag) noexcept nogil:
    # overflow_count: => How many items of a tag class have left a bucket, STICKY: at least so many.
    return (b.overflow >> ((tag & 7) * 4)) & 15


cdef inline void overflow_add(bucket_t *b, uint8_t tag, int n) noexcept nogil:
    # overflow_add: one item more, or less, has left; a counter that is full stays so.
    cdef uint32_t count = overflow_count(b, tag)
    cdef uint32_t shift = (tag & 7) * 4
    # it has lost count, and a count that is too high only costs a look at the next bucket
    if count == STICKY:
        return
    count = <uint32_t>(<int>count + n)
    b.overflow = (b.overflow & ~(<uint32_t>15 << shift)) | (count << shift)


cdef inline void note_crowd(const table_t *t) noexcept nogil:
    # note_crowd: a lookup changes nothing else.
    (<table_t *>t).crowded = 1


cdef inline uint32_t further_bits(const table_t *t, uint64_t h) noexcept nogil:
    # further_bits: five group bits of the hash from a level that is a multiple of five, for later splits.
    return <uint32_t>((h >> (5 + t.window)) & 31) << FN_ID_BITS


cdef inline bint bucket_put(bucket_t *b, uint8_t tag, uint32_t item) noexcept nogil:
    # bucket_put: an item into a free slot of a bucket.
    # => False: there is none.
    cdef uint32_t free = fn_tags_equal(b, 0)
    cdef int i
    if free == 0:
        return False
    i = fn_ctz(free)
    b.tags[i] = tag
    b.items[i] = item
    return True


cdef inline bint table_put(table_t *t, uint64_t h, uint32_t id_) noexcept nogil:
    # table_put: insert without growing.
    # => False when all buckets of the group are full.
    cdef bucket_t *home = bucket_home(t, h)
    cdef uint8_t tag = tag_of(h)
    cdef uint32_t item = id_ | further_bits(t, h)
    cdef uint32_t q
    if bucket_put(home, tag, item):
        return True
    for q in range(1, FN_GROUP_BUCKETS):
        # chance hardly fills so many buckets in a row: somebody may know the key
        if fn_unlikely(q >= FAR):
            t.crowded = 1
        if bucket_put(bucket_neighbour(t, h, q), tag, item | DISPLACED()):
            overflow_add(home, tag, 1)
            t.overflows += 1
            return True
    return False


cdef inline tuple_t item_message(const engine_t *e, const table_t *t, uint32_t id_) noexcept nogil:
    # item_message: what an item's hash is the hash of.
    if t.kind == TABLE_KIND_TUPLES:
        return conn_tuple(&e.conns[id_ >> 1], id_ & 1)
    return source_tuple(conn_tuple(&e.conns[id_ >> 1], 0))


cdef inline uint64_t item_hash(const engine_t *e, const table_t *t, uint32_t id_) noexcept nogil:
    # item_hash: => The hash of an item, computed anew.
    return tuple_hash(e, item_message(e, t, id_))


cdef inline uint32_t slots_in_use(const bucket_t *b) noexcept nogil:
    # slots_in_use: => A bit for each slot that holds an item.
    return ~fn_tags_equal(b, 0) & 0xfff


cdef inline void read_window(const engine_t *e, const table_t *t, bucket_t *b) noexcept nogil:
    # read_window: give all items of a group five hash bits more, out of their records.
    cdef tuple_t messages[12]
    cdef uint64_t hashes[12]
    cdef uint32_t i, k, used, n
    cdef uint32_t *item
    # all records of the group on their way before the first is hashed
    for i in range(FN_GROUP_BUCKETS):
        used = slots_in_use(b + i)
        while used:
            fn_prefetch(&e.conns[(b[i].items[fn_ctz(used)] & ID_MASK) >> 1])
            used &= used - 1
    for i in range(FN_GROUP_BUCKETS):
        n = 0
        used = slots_in_use(b + i)
        while used:
            messages[n] = item_message(e, t, b[i].items[fn_ctz(used)] & ID_MASK)
            used &= used - 1
            n += 1
        fn_hash_stage(e.key, messages, hashes, n)
        used = slots_in_use(b + i)
        for k in range(n):
            item = &b[i].items[fn_ctz(used)]
            item[0] = item[0] & KEPT_BITS() | (<uint32_t>((hashes[k] >> (5 + t.level)) & 31) << FN_ID_BITS)
            used &= used - 1


cdef inline uint32_t *table_slot(const table_t *t, uint64_t h, uint32_t id_) noexcept nogil:
    # table_slot: where an item that must be present lies.
    # => The address of its id word, or NULL.
    cdef bucket_t *b = bucket_home(t, h)
    cdef uint8_t tag = tag_of(h)
    cdef uint32_t q = 0
    cdef uint32_t hits
    cdef int i
    while True:
        hits = fn_tags_equal(b, tag)
        while hits:
            i = fn_ctz(hits)
            if (b.items[i] & ID_MASK) == id_:
                return &b.items[i]
            hits &= hits - 1
        q += 1
        if q == FN_GROUP_BUCKETS:
            return NULL
        b = bucket_neighbour(t, h, q)


cdef inline bint table_remove(table_t *t, uint64_t h, uint32_t id_) noexcept nogil:
    # table_remove: take an item out.
    # => False when it is not there; the table is then unchanged.
    cdef uint32_t *slot = table_slot(t, h, id_)
    cdef uint64_t offset
    if slot == NULL:
        return False
    # only those are counted at home
    if slot[0] & DISPLACED():
        overflow_add(bucket_home(t, h), tag_of(h), -1)
    offset = (<uint64_t>slot - <uint64_t>t.buckets)
    # bucket_t has 64 bytes: twelve tags and the counters, 16 in all, then twelve items of four
    t.buckets[offset >> 6].tags[((offset & 63) - 16) >> 2] = 0
    t.used -= 1
    return True


cdef inline void put_displaced(engine_t *e, table_t *t, uint32_t id_) noexcept nogil:
    # put_displaced: an item again, after a split. Where a host speaks to itself its reply stays in front.
    cdef uint64_t h = item_hash(e, t, id_)
    if (t.kind == TABLE_KIND_TUPLES and id_ & 1 == 0
            and fn_unlikely(tuple_equal(conn_tuple(&e.conns[id_ >> 1], 0), conn_tuple(&e.conns[id_ >> 1], 1)))
            and table_remove(t, h, id_ | 1)):
        t.used += 1
        table_put(t, h, id_ | 1)
    table_put(t, h, id_)


cdef inline void table_split(engine_t *e, table_t *t) noexcept nogil:
    # table_split: divide the next group in two.
    # => t.groups < t.max_groups. Displaced items are put again from their hash; the others keep their
    #    place in whichever half they belong to.
    cdef bucket_t *low = t.buckets + <uint64_t>t.split * FN_GROUP_BUCKETS
    cdef bucket_t *high = t.buckets + <uint64_t>t.groups * FN_GROUP_BUCKETS
    cdef uint32_t displaced[384]
    cdef uint32_t n = 0
    cdef uint32_t i
    cdef uint32_t bit = t.level % HASH_BITS
    # five bits are used up: five more out of the records, for the next five levels
    if bit == 0 and t.level > 0:
        read_window(e, t, low)
    for i in range(FN_GROUP_BUCKETS):
        n += fn_bucket_split(low + i, high + i, FN_ID_BITS + bit, displaced + n)
    t.groups += 1
    t.n_buckets += FN_GROUP_BUCKETS
    t.split += 1
    if t.split > t.level_mask:
        t.level_mask = t.level_mask * 2 + 1
        t.half = t.bucket_mask + 1
        t.bucket_mask = t.bucket_mask * 2 + 1
        t.split = 0
        t.level += 1
        # items of a window that has just ended are read again by the first split of the next level
        t.window = t.level // HASH_BITS * HASH_BITS
    # replies first, as when they came
    for i in range(n):
        if displaced[i] & 1:
            put_displaced(e, t, displaced[i])
    for i in range(n):
        if not displaced[i] & 1:
            put_displaced(e, t, displaced[i])
    if t.groups < t.max_groups:
        low = t.buckets + <uint64_t>t.split * FN_GROUP_BUCKETS
        high = t.buckets + <uint64_t>t.groups * FN_GROUP_BUCKETS
        for i in range(FN_GROUP_BUCKETS):
            fn_prefetch_write(low + i)
            fn_prefetch_write(high + i)


cdef inline bint has_room(const table_t *t, uint32_t n) noexcept nogil:
    # has_room: whether n items more would not make the table grow.
    return t.used + n <= <uint64_t>t.groups * GROUP_LOAD


cdef inline void make_room(engine_t *e, table_t *t, uint32_t n) noexcept nogil:
    # make_room: grow before n items come, not between them: of two that are equal the first lies in front.
    if fn_unlikely(not has_room(t, n)) and t.groups < t.max_groups:
        fn_rarely()
        table_split(e, t)


cdef inline bint table_insert(engine_t *e, table_t *t, uint64_t h, uint32_t id_) noexcept nogil:
    # table_insert: add an item; the caller knows that it is absent.
    # => False: a whole group of 384 slots is full. With a secret key chance does not do that: see tuples/rehash.pxd.
    if fn_unlikely(t.used >= <uint64_t>t.groups * GROUP_LOAD) and t.groups < t.max_groups:
        table_split(e, t)
    if not table_put(t, h, id_):
        t.crowded = 1
        return False
    t.used += 1
    return True


cdef inline bint table_insert_growing(engine_t *e, table_t *t, uint64_t h, uint32_t id_) noexcept nogil:
    # table_insert_growing: grow until it fits.
    # => False: the table may not grow any more.
    # each split halves one group, not always the full one
    while not table_insert(e, t, h, id_):
        if t.groups == t.max_groups:
            return False
        table_split(e, t)
    return True
