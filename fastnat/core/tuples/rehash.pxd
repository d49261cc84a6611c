# Another key for the table hash, when more items meet than chance puts together: somebody knows the present key.
#
# Source: ours; the kernel draws its key at boot and shows it to nobody.
# Invariants: the next key comes from engine_t.secret, which never leaves the engine. No answer depends on the key but which
# connections early_drop finds and which chains are full (docs/differences.md). Hashes computed before hold no longer.
# Differs from the kernel: it has no such thing.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport (bucket_t, conn_t, engine_t, fn_hash, FN_NONE, FN_ROUND_KEYS, IPS_CONFIRMED, IPS_NAT_CLASH,
                      IPS_SRC_NAT_DONE, pkt_t, STAT_EXPIRED, table_t, tuple_t)
from ..conntrack.insert cimport chain_of, conn_delete
from ..conntrack.lookup cimport is_expired, is_live
from .hash cimport source_hash, tuple_hash
from .table cimport table_insert_growing
from .tuple cimport conn_tuple


cdef inline void next_key(engine_t *e) noexcept nogil:
    # next_key: a function of the secret and of how many there were.
    cdef tuple_t message
    cdef uint64_t key[10]
    cdef uint32_t i
    memset(&message, 0, sizeof(tuple_t))
    e.rehashes += 1
    for i in range(2 * FN_ROUND_KEYS):
        message.rest = e.rehashes << 8 | i
        key[i] = fn_hash(e.secret, &message)
    for i in range(2 * FN_ROUND_KEYS):
        e.key[i] = key[i]


cdef inline void table_clear(table_t *t) noexcept nogil:
    # table_clear: no items; the size stays.
    memset(t.buckets, 0, <uint64_t>t.n_buckets * sizeof(bucket_t))
    t.used = 0
    t.overflows = 0


cdef inline void put_again(engine_t *e, uint32_t ct, uint32_t dir) noexcept nogil:
    # put_again: into the table by one tuple, under the new key.
    cdef uint64_t h = tuple_hash(e, conn_tuple(&e.conns[ct], dir))
    # with a secret key a group that is full is chance, and a larger table has room
    table_insert_growing(e, &e.tuples, h, ct << 1 | dir)
    if e.n_chains:
        chain_of(e, h)[0] += 1


cdef inline void collect_due(engine_t *e) noexcept nogil:
    # collect_due: delete connections with timeouts of 0 s, which are due in the jiffy in which they begin. Any number of them
    # may have one tuple, and no key would put those into different groups.
    cdef uint32_t i
    if e.may_share_tuple == 0:
        return
    for i in range(e.high_water):
        if is_live(&e.conns[i]) and e.conns[i].status & IPS_CONFIRMED and is_expired(&e.conns[i], <uint32_t>e.now):
            conn_delete(e, i)
            e.stats[STAT_EXPIRED] += 1


cdef inline void rehash(engine_t *e) noexcept nogil:
    # rehash: all items again, by another key.
    cdef uint32_t i
    cdef const conn_t *c
    collect_due(e)
    next_key(e)
    table_clear(&e.tuples)
    table_clear(&e.sources)
    if e.n_chains:
        memset(e.chains, 0, <uint64_t>e.n_chains * 2)
    for i in range(e.high_water):
        c = &e.conns[i]
        if not is_live(c):
            continue
        # the table names the newest of a source; the others hang on it, whatever the key
        if c.status & IPS_SRC_NAT_DONE and c.bysource_prev == FN_NONE:
            table_insert_growing(e, &e.sources, source_hash(e, conn_tuple(c, 0)), i << 1)
        if c.status & IPS_CONFIRMED:
            # replies first, as confirm inserts them: of a host that speaks to itself both tuples are equal, and the reply has to be found
            put_again(e, i, 1)
            if not c.status & IPS_NAT_CLASH:
                put_again(e, i, 0)
    e.tuples.crowded = 0
    e.sources.crowded = 0


cdef inline bint is_crowded(const engine_t *e) noexcept nogil:
    # is_crowded: => Whether the key is to be changed when the packet at hand is done.
    return (e.tuples.crowded | e.sources.crowded) != 0


cdef inline void rehash_for(engine_t *e, pkt_t *p) noexcept nogil:
    # rehash_for: in the middle of a packet that found no room; what it knew of hashes is computed again, and the batch stops
    # behind it.
    rehash(e)
    p.hash = tuple_hash(e, conn_tuple(&e.conns[p.ct], 0))
    # what was checked was checked by a hash of the old key
    p.verified = False
    p.ahead = NULL
    # the hashes of the packets behind it in the batch are of the old key as well
    p.pause = True
