# First packets of connections that a memo decides to the last detail: the short way from a batch into the tables.
#
# Source: `walk` of hooks.pxd for such a packet: nf_conntrack_in, the null binding of the destination, get_unique_tuple that
# keeps the port, __nf_conntrack_confirm (Linux 6.18).
# Invariants: gives exactly what `walk` would give, counters included, or declines and changes nothing. It declines as soon
# as a tuple is taken or the source has a mapping already.
# Differs from the kernel: nothing.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from .types cimport *
from .ct_expire cimport wheel_add
from .ct_lookup cimport is_absent
from .ct_state cimport STREAM_AFTER
from .hash_table cimport bucket_home, has_room, put_home, table_insert, table_remove, tag_of
from .nat_bysource cimport bysource_head
from .nat_port_bitmap cimport bitmap_note
from .route cimport address_class, port_class
from .rule_path cimport slot_of
from .tuple cimport tuple_dst, tuple_proto


cdef inline const memo_t *quick_memo(const engine_t *e, const packet_t *in_, uint64_t *key) noexcept nogil:
    # quick_memo: what was decided for a UDP packet that no rule or route can tell from this one, see hook_memo.
    # => NULL: nothing, or not down to the address.
    cdef const memo_t *memo
    if in_.proto != PROTO_UDP or e.n_paths == 0 or in_.iface == 0 or in_.iface >= e.n_ifaces:
        return NULL
    key[0] = address_class(e, in_.src) | <uint64_t>address_class(e, in_.dst) << 32
    key[1] = in_.mark | <uint64_t>in_.tcp_flags << 32 | <uint64_t>PROTO_UDP << 40
    key[2] = (in_.iface | port_class(e, 0, in_.sport) << 24 | port_class(e, 1, in_.dport) << 42 | <uint64_t>1 << 63)
    memo = &e.memos[slot_of(e, key)]
    return memo if memo.quick and memo.key[0] == key[0] and memo.key[1] == key[1] and memo.key[2] == key[2] else NULL


cdef inline bint still_holds(const ahead_t *ahead) noexcept nogil:
    # still_holds: another packet may have taken the memo's place meanwhile.
    cdef const memo_t *memo = ahead.memo
    return memo.quick and memo.key[0] == ahead.key[0] and memo.key[1] == ahead.key[1] and memo.key[2] == ahead.key[2]


cdef inline bint has_no_source(const engine_t *e, const bucket_t *home, tuple_t t, uint64_t h) noexcept nogil:
    # has_no_source: whether bysource_head would find nothing.
    if home.overflow == 0 and fn_tags_equal(home, tag_of(h)) == 0:
        return True
    return bysource_head(e, t, h) == FN_NONE


cdef inline void fill(engine_t *e, uint32_t ct, tuple_t t, const ahead_t *ahead) noexcept nogil:
    # fill: the record as confirm leaves it.
    cdef conn_t *c = &e.conns[ct]
    cdef const memo_t *memo = ahead.memo
    c.tuples[0] = t
    c.tuples[1] = ahead.reply[1]
    c.timeout = <uint32_t>e.now + e.timeouts[TIMEOUT_UDP]
    c.bysource_next = FN_NONE
    c.bysource_prev = FN_NONE
    c.stream_ts = <uint32_t>e.now + STREAM_AFTER * FN_HZ
    c.routes[0] = memo.route
    c.routes[1] = 0
    c.masq_iface = e.routes[memo.route - 1].iface if memo.kind == TARGET_MASQUERADE else 0
    c.zone = 0
    c.status = IPS_SRC_NAT | IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE | IPS_CONFIRMED
    c.state = 0
    c.flags = CONN_LIVE


cdef inline bint enter_growing(engine_t *e, uint32_t ct, tuple_t t, uint64_t hash, const ahead_t *ahead) noexcept nogil:
    # enter_growing: as enter, where a table grows or a bucket is full.
    # => False: there is no room; then it is in none.
    if not table_insert(e, &e.tuples, ahead.reply_hash[1], ct << 1 | 1):
        return False
    if not table_insert(e, &e.tuples, hash, ct << 1):
        table_remove(&e.tuples, ahead.reply_hash[1], ct << 1 | 1)
        return False
    table_insert(e, &e.sources, ahead.source_hash, ct << 1)
    return True


cdef inline bint enter(engine_t *e, uint32_t ct, tuple_t t, uint64_t hash, const ahead_t *ahead, bucket_t *orig, bucket_t *reply,
                       bucket_t *source) noexcept nogil:
    # enter: into the table by both tuples, and into bysource; their buckets are given.
    # => False: take enter_growing; nothing was done.
    if fn_unlikely(not has_room(&e.tuples, 2) or not has_room(&e.sources, 1)):
        return False
    if fn_unlikely(not put_home(&e.tuples, reply, ahead.reply_hash[1], ct << 1 | 1)):
        return False
    if fn_unlikely(not put_home(&e.tuples, orig, hash, ct << 1)):
        table_remove(&e.tuples, ahead.reply_hash[1], ct << 1 | 1)
        return False
    if fn_unlikely(not put_home(&e.sources, source, ahead.source_hash, ct << 1)):
        table_insert(e, &e.sources, ahead.source_hash, ct << 1)
    return True


cdef inline void answer(const packet_t *in_, const memo_t *memo, uint32_t ct, uint32_t out_iface, result_t *out) noexcept nogil:
    if FN_V6:
        memset(out, 0, sizeof(result_t))
    out.verdict = VERDICT_FORWARD
    out.ctinfo = IP_CT_NEW
    out.reason = REASON_NONE
    out.pad = 0
    out.src = memo.addr
    out.dst = in_.dst
    out.sport = in_.sport
    out.dport = in_.dport
    out.out_iface = <uint16_t>out_iface
    out.probes = 2
    out.conn = ct


cdef inline bint open_masqueraded(engine_t *e, const packet_t *in_, tuple_t t, uint64_t hash, const ahead_t *ahead,
                                  result_t *out) noexcept nogil:
    # open_masqueraded: => False: take the long way.
    cdef memo_t *memo = ahead.memo
    cdef bucket_t *orig
    cdef bucket_t *reply
    cdef bucket_t *source
    cdef uint32_t ct
    if memo == NULL or not still_holds(ahead) or tuple_dst(ahead.reply[1]) != memo.addr or in_.src == memo.addr:
        return False
    if fn_unlikely(e.count >= e.max_conns or e.n_chains != 0 or e.n_expects != 0):
        return False
    orig = bucket_home(&e.tuples, hash)
    reply = bucket_home(&e.tuples, ahead.reply_hash[1])
    source = bucket_home(&e.sources, ahead.source_hash)
    # another source, another destination, the same tuple: whoever has one of them, or a mapping, goes the long way
    if not (is_absent(e, orig, t, hash) and is_absent(e, reply, ahead.reply[1], ahead.reply_hash[1])
            and is_absent(e, bucket_home(&e.tuples, ahead.reply_hash[0]), ahead.reply[0], ahead.reply_hash[0])
            and has_no_source(e, source, t, ahead.source_hash)):
        return False
    if e.n_free:
        ct = e.free_ids[e.n_free - 1]
    elif e.high_water < e.capacity:
        ct = e.high_water
    else:
        return False
    fill(e, ct, t, ahead)
    if fn_unlikely(not enter(e, ct, t, hash, ahead, orig, reply, source)) and not enter_growing(e, ct, t, hash, ahead):
        e.conns[ct].flags = 0
        return False
    if fn_unlikely(e.n_bitmaps != 0):
        bitmap_note(e, ahead.reply[1], True)
        bitmap_note(e, t, True)
    wheel_add(e, ct, e.conns[ct].timeout)
    if e.n_free:
        e.n_free -= 1
    else:
        e.high_water += 1
    e.count += 1
    e.confirmed += 1
    e.guess_addr = memo.addr
    e.stats[STAT_NEW] += 1
    # the null binding's probe, and that of the translated tuple
    e.stats[STAT_PROBES] += 2
    e.stats[STAT_RULES] += memo.walked
    memo.packets += 1
    memo.bytes += in_.length
    answer(in_, memo, ct, e.routes[memo.route - 1].iface, out)
    return True
