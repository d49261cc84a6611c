# Confirm: the new connection enters the table, or meets another that took one of its tuples meanwhile.
#
# Source: __nf_conntrack_confirm, nf_ct_resolve_clash, nf_ct_resolve_clash_harder (nf_conntrack_core.c, Linux 6.18 and 5.4).
# Invariants: a packet whose connection was merged goes on with the one that was there and keeps its ctinfo; a connection
# with NAT_CLASH is in the table by its reply tuple only, for one second.
# Differs from the kernel: the chain limit is counted over buckets of this table's hash, not of the kernel's.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport *
from ..nat.port_bitmap cimport note_taken
from ..nat.used_tuple cimport allows_clash, may_give_way
from ..tuples.hash cimport random_u64, tuple_hash
from ..tuples.rehash cimport rehash_for
from ..tuples.table cimport bucket_neighbour, ID_MASK, make_room, table_insert
from ..tuples.tuple cimport conn_tuple, tuple_equal, tuple_proto
from ..waypoints cimport note_holder
from .events cimport note_event
from .insert cimport chain_of, conn_release, unlink_tuple
from .lookup cimport dst16_count, find_for, next_with
from .protocols cimport account
from .timing_wheel cimport wheel_add

cdef enum:
    # MIN_CHAINLEN and MAX_CHAINLEN - MIN_CHAINLEN of linux-6.18
    CHAIN_LENGTH = 50
    CHAIN_LENGTH_VARIES = 30
    # a connection that only shares its original tuple with another lives this long, seconds
    CLASH_LIFETIME = 1


cdef inline uint32_t clash_lost(engine_t *e) noexcept nogil:
    # clash_lost: => Why a packet whose tuple another took is dropped, counted as in the kernel.
    e.stats[STAT_INSERT_FAILED] += 1
    e.stats[STAT_DROP] += 1
    return REASON_CLASH


cdef inline uint32_t merge(engine_t *e, pkt_t *p, uint32_t winner) noexcept nogil:
    # merge: give up the packet's own connection for the one that won, which counts the packet (nf_ct_acct_merge).
    # it has been in no table: only bysource knows it
    conn_release(e, p.ct)
    p.ct = winner
    account(e, p)
    p.is_new = False
    e.stats[STAT_CLASH_RESOLVE if e.profile != LINUX_5_4 else STAT_INSERT_FAILED] += 1
    return REASON_NONE


cdef inline bint same_connection(const conn_t *a, const conn_t *b) noexcept nogil:
    # same_connection: => Whether both have the same tuples (nf_ct_match).
    return tuple_equal(a.tuples[0], b.tuples[0]) and tuple_equal(a.tuples[1], b.tuples[1])


cdef inline bint opposite_connection(const conn_t *a, const conn_t *b) noexcept nogil:
    # opposite_connection: both ends spoke first, at the same moment.
    return tuple_equal(a.tuples[0], b.tuples[1]) and tuple_equal(a.tuples[1], b.tuples[0])


cdef inline bint mergeable(const engine_t *e, const conn_t *loser, const conn_t *winner) noexcept nogil:
    # mergeable: => Whether a clash leaves only one connection (__nf_ct_resolve_clash).
    if e.profile == LINUX_5_4:
        # nf_ct_resolve_clash of 5.4 merges where NAT has not decided anything about the winner yet
        return not winner.status & (IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE) or same_connection(loser, winner)
    return same_connection(loser, winner) or opposite_connection(loser, winner)


cdef inline void put_in_front(engine_t *e, uint32_t item) noexcept nogil:
    # put_in_front: of several items with one tuple the one that came last is found (hlist_nulls_add_head_rcu); of one connection
    # the reply.
    cdef tuple_t t = conn_tuple(&e.conns[item >> 1], item & 1)
    cdef uint64_t h = tuple_hash(e, t)
    cdef uint32_t carried = item
    cdef uint32_t at = 0
    cdef uint32_t *place
    cdef uint32_t here = next_with(e, t, h, &at)
    while here != FN_NONE:
        if here >> 1 != item >> 1 or here == item:
            # their hashes are equal, so each may lie where another lay
            place = &bucket_neighbour(&e.tuples, h, (at - 1) >> 4).items[(at - 1) & 15]
            place[0] = place[0] & ~<uint32_t>ID_MASK | carried
            carried = here
        if here == item:
            return
        here = next_with(e, t, h, &at)


cdef inline bint link_tuple(engine_t *e, pkt_t *p, uint32_t dir, uint64_t h) noexcept nogil:
    # link_tuple: into the table by one tuple, and what counts tuples.
    # => False: there is no room.
    if not table_insert(e, &e.tuples, h, p.ct << 1 | dir):
        return False
    # counters that spare searches: what is in the table has to be in them
    dst16_count(e, e.conns[p.ct].tuples[dir].dst)[0] += 1
    if e.n_chains:
        chain_of(e, h)[0] += 1
    note_taken(e, conn_tuple(&e.conns[p.ct], dir), not may_give_way(e, p.ct << 1 | dir))
    return True


cdef inline bint link_both(engine_t *e, pkt_t *p, uint64_t h_reply) noexcept nogil:
    # link_both: the reply tuple first: where a host speaks to itself both are the same, and the kernel finds the reply.
    # => False: there is no room; it is in the table by neither.
    make_room(e, &e.tuples, 2)
    if not link_tuple(e, p, 1, h_reply):
        return False
    if not link_tuple(e, p, 0, p.hash):
        # half a connection would be found by answers, and never end
        unlink_tuple(e, p.ct, 1, h_reply)
        return False
    return True


cdef inline uint32_t linked(engine_t *e, pkt_t *p) noexcept nogil:
    # linked: the connection lives from here on.
    cdef conn_t *c = &e.conns[p.ct]
    # until here it was relative: the trackers do not know when the packet will be confirmed
    c.timeout += p.now
    c.status |= IPS_CONFIRMED
    wheel_add(e, p.ct, c.timeout)
    # only zones and timeouts of 0 let two have one tuple
    if fn_unlikely(e.may_share_tuple != 0):
        # here, once, as gcc would inline it with each insertion
        fn_rarely()
        put_in_front(e, p.ct << 1 | 1)
        if not c.status & IPS_NAT_CLASH:
            put_in_front(e, p.ct << 1)
    e.confirmed += 1
    p.is_new = False
    if fn_unlikely(e.max_events != 0):
        note_event(e, p.ct, EVENT_NEW, 0)
    return REASON_NONE


cdef inline uint32_t insert_reply_only(engine_t *e, pkt_t *p, uint64_t h) noexcept nogil:
    # insert_reply_only: let the answer to a packet already translated find its way back (nf_ct_resolve_clash_harder).
    cdef conn_t *c = &e.conns[p.ct]
    if fn_unlikely(not link_tuple(e, p, 1, h)):
        # a group is full though the table is not: somebody knows the key, and gets another one
        rehash_for(e, p)
        if not link_tuple(e, p, 1, tuple_hash(e, c.tuples[1])):
            return clash_lost(e)
    c.timeout = CLASH_LIFETIME * FN_HZ
    c.status |= IPS_FIXED_TIMEOUT | IPS_NAT_CLASH
    e.stats[STAT_CLASH_RESOLVE] += 1
    return linked(e, p)


cdef inline uint32_t resolve_clash(engine_t *e, pkt_t *p, uint32_t by_orig, uint32_t by_reply, uint64_t h) noexcept nogil:
    # resolve_clash: by_orig and by_reply are the table ids that hold our tuples, FN_NONE none; h hashes the reply tuple.
    cdef conn_t *loser = &e.conns[p.ct]
    cdef uint32_t first = by_orig if by_orig != FN_NONE else by_reply
    cdef uint32_t proto = tuple_proto(loser.tuples[0])
    # of TCP and SCTP two first packets are two handshakes, which one entry cannot follow
    if not allows_clash(e, proto):
        return clash_lost(e)
    if mergeable(e, loser, &e.conns[first >> 1]):
        return merge(e, p, first >> 1)
    # 5.4 knows nothing beside merging: who cannot be merged is lost
    if e.profile == LINUX_5_4:
        return clash_lost(e)
    # two packets of one socket, translated apart: only the original tuple is taken, and answers tell the two connections apart
    if by_reply == FN_NONE:
        return insert_reply_only(e, p, h)
    if mergeable(e, loser, &e.conns[by_reply >> 1]):
        return merge(e, p, by_reply >> 1)
    return clash_lost(e)


cdef inline bint chains_full(engine_t *e, uint64_t h_orig, uint64_t h_reply) noexcept nogil:
    # chains_full: => Whether a chain of nf_conntrack_buckets is too long; the limit varies, so that nobody learns it.
    cdef uint32_t limit = CHAIN_LENGTH + <uint32_t>(random_u64(e) % CHAIN_LENGTH_VARIES)
    # the kernel asks at each item whether so many were in front: of two more than the limit the last one finds it exceeded
    return chain_of(e, h_orig)[0] >= limit + 2 or chain_of(e, h_reply)[0] >= limit + 2


cdef inline uint32_t confirm(engine_t *e, pkt_t *p) noexcept nogil:
    # confirm: put the packet's new connection into the tables.
    # => REASON_NONE, or why the packet is lost: the port search found nothing, or another CPU was faster.
    cdef conn_t *c = &e.conns[p.ct]
    cdef tuple_t reply = c.tuples[1]
    cdef uint64_t h = p.reply_hash
    cdef uint32_t by_orig = FN_NONE
    cdef uint32_t by_reply = FN_NONE
    # only while it waited may another packet have taken its tuple
    if p.held:
        by_orig = find_for(e, c, 0, c.tuples[0], p.hash, p.now)
    # NAT has just looked for the reply tuple: no second look where nothing has come between
    if p.held or not (p.verified and tuple_equal(p.reply_checked, reply)):
        h = tuple_hash(e, reply)
        by_reply = find_for(e, c, 1, reply, h, p.now)
    if fn_unlikely(by_orig != FN_NONE or by_reply != FN_NONE):
        note_holder(e, p, by_reply if by_reply != FN_NONE else by_orig)
        return resolve_clash(e, p, by_orig, by_reply, h)
    if fn_unlikely(e.n_chains != 0) and chains_full(e, p.hash, h):
        e.stats[STAT_CHAINTOOLONG] += 1
        e.stats[STAT_INSERT_FAILED] += 1
        return REASON_CHAIN_TOO_LONG
    if fn_unlikely(not link_both(e, p, h)):
        rehash_for(e, p)
        if not link_both(e, p, tuple_hash(e, reply)):
            e.stats[STAT_INSERT_FAILED] += 1
            return REASON_TABLE_FULL
    e.stats[STAT_NEW] += 1
    return linked(e, p)
