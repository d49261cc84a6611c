# First packets of connections that a memo decides to the last detail: the short way from a batch into the tables.
#
# Source: `walk` of hooks.pxd for such a packet: nf_conntrack_in, DNAT to one address or the null binding of the destination,
# get_unique_tuple that keeps the port, takes the first candidate of a search or ends one where a bitmap says, or the null binding
# of the source, __nf_conntrack_confirm (Linux 6.18).
# Invariants: gives exactly what `walk` would give, counters included, or declines and changes nothing: shortcuts/conditions says
# when. It declines if the source has a mapping, or if a tuple is taken, unless a bitmap knows where the search ends: at a port to
# be had, at one whose owner gives way to a SYN, or nowhere, so that confirm loses the packet.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from ..types cimport *
from ..conntrack.confirm cimport clash_lost
from ..conntrack.events cimport note_event
from ..conntrack.insert cimport conn_delete, give_back, hold_record, next_record
from ..conntrack.lookup cimport dst16_count, find_tuple
from ..conntrack.protocols cimport STREAM_AFTER
from ..conntrack.tcp cimport open_plain
from ..conntrack.timing_wheel cimport wheel_add
from ..nat.bysource cimport bysource_head
from ..nat.candidates cimport port_window
from ..nat.known_ports cimport pass_by_owner, where_it_leads
from ..nat.port_bitmap cimport bitmap_find, bitmap_searched, note_firm, note_taken
from ..nat.range cimport l4proto_in_range
from ..nat.used_tuple cimport allows_clash, is_newer, may_give_way
from ..packet.packet cimport store_forwarded
from ..fib cimport address_class, address_last, port_class, port_last
from ..rules.dispatch cimport apart_of, count_rule
from ..rules.walk cimport APART_SHIFT, slot_of
from ..tuples.table cimport bucket_home, further_bits, has_room, make_room, table_insert, table_remove, tag_of
from ..tuples.tuple cimport answer_echo, swap_ends, tuple_dport, tuple_proto, tuple_sport, tuple_with_dst, tuple_with_src
from .conditions cimport COMPLETE_SOURCE, is_led_away, may_ask_memo, may_open
from .hook_memo cimport back_of

cdef extern from *:
    """
    /* what fn_bucket_look says of a bucket that certainly has no such item */
    #define FN_LOOK_MASK 0xf0000fffu
    #define FN_LOOK_ABSENT 0xf0000000u
    """
    const uint32_t LOOK_MASK "FN_LOOK_MASK"
    const uint32_t LOOK_ABSENT "FN_LOOK_ABSENT"


cdef enum:
    # tuples that a new connection looks for: one for its destination, one for its source
    PROBES = 2


cdef inline bint within_bounds(const memo_bounds_t *r, const packet_t *in_) noexcept nogil:
    # within_bounds: whether the packet is one of those that the memo of r stands for.
    # unsigned: what lies below the first address wraps, and is too far away as well
    return (<addr_t>(in_.src - r.src) <= r.src_width and <addr_t>(in_.dst - r.dst) <= r.dst_width
            and <uint16_t>(in_.sport - r.sport) <= r.sport_width and <uint16_t>(in_.dport - r.dport) <= r.dport_width
            and in_.proto == r.proto and in_.iface == r.iface and in_.tcp_flags == r.tcp_flags and in_.mark == r.mark)


cdef inline bint bounds_hold(const engine_t *e, const memo_bounds_t *r) noexcept nogil:
    # bounds_hold: whether the memo of bounds is still the one that they were made of.
    return r.born != 0 and e.memos[r.memo].born == r.born


cdef inline void set_bounds(const engine_t *e, memo_bounds_t *r, const packet_t *in_, const uint64_t *key, uint32_t memo) noexcept nogil:
    # set_bounds: the classes of a memo's key as bounds.
    cdef uint32_t src = <uint32_t>key[0]
    cdef uint32_t dst = <uint32_t>(key[0] >> 32)
    cdef uint32_t sport = <uint32_t>(key[2] >> 24) & 0x3ffff
    cdef uint32_t dport = <uint32_t>(key[2] >> 42) & 0x3ffff
    r.memo = memo
    r.born = e.memos[memo].born
    r.src = e.class_start[src]
    r.src_width = address_last(e, src) - r.src
    r.dst = e.class_start[dst]
    r.dst_width = address_last(e, dst) - r.dst
    r.sport = <uint16_t>e.port_start[0][sport]
    r.sport_width = <uint16_t>(port_last(e, 0, sport) - r.sport)
    r.dport = <uint16_t>e.port_start[1][dport]
    r.dport_width = <uint16_t>(port_last(e, 1, dport) - r.dport)
    r.mark = in_.mark
    r.iface = in_.iface
    r.tcp_flags = in_.tcp_flags
    r.proto = in_.proto


cdef inline void header_key(const engine_t *e, const packet_t *in_, uint64_t *key) noexcept nogil:
    # header_key: memo_key of shortcuts/hook_memo for a header.
    key[0] = (address_class(e, in_.src) | <uint64_t>address_class(e, in_.dst) << 32
              | <uint64_t>(apart_of(e, in_.src) if fn_unlikely(e.n_apart != 0) else 0) << APART_SHIFT)
    key[1] = in_.mark | <uint64_t>in_.tcp_flags << 32 | <uint64_t>in_.proto << 40
    key[2] = (in_.iface | port_class(e, 0, in_.sport) << 24 | port_class(e, 1, in_.dport) << 42 | <uint64_t>1 << 63)


cdef inline memo_t *complete_memo(engine_t *e, const packet_t *in_, uint64_t *key) noexcept nogil:
    # complete_memo: what was decided for a packet that no rule or route can tell from this one, see shortcuts/hook_memo.
    # => NULL: nothing, or not down to the address; key: its classes, where they had to be looked up.
    cdef memo_t *memo
    cdef uint32_t slot
    if not may_ask_memo(e, in_):
        return NULL
    header_key(e, in_, key)
    slot = slot_of(e, key)
    memo = &e.memos[slot]
    # slots are shared; a memo of another key is no mistake, the packet just goes the long way and takes the place
    if not memo.complete or memo.key[0] != key[0] or memo.key[1] != key[1] or memo.key[2] != key[2]:
        return NULL
    # bounds are of one class, and a source may be none
    if fn_likely(e.n_apart == 0):
        set_bounds(e, &e.memo_bounds, in_, key, slot)
    return memo


cdef inline bint draws_port(const target_t *range_, tuple_t t) noexcept nogil:
    # draws_port: whether the source port of t gives way to a random one in any case.
    # even a free port is given up (NF_NAT_RANGE_PROTO_RANDOM_ALL)
    if range_.flags & RANGE_RANDOM_ALL:
        return True
    return range_.flags & RANGE_PROTO_SPECIFIED and not l4proto_in_range(t, MANIP_SRC, range_)


cdef inline tuple_t translated(const target_t *range_, addr_t addr, tuple_t t, uint32_t drawn) noexcept nogil:
    # translated: the reply tuple of t from an address; drawn: the offset of a search in the range, FN_NONE: the port is kept.
    cdef tuple_t reply = swap_ends(t)
    cdef uint32_t min_, size
    cdef uint32_t port = tuple_dport(reply)
    if drawn != FN_NONE and port_window(t, range_, MANIP_SRC, &min_, &size):
        port = min_ + drawn % size
    return tuple_with_dst(reply, addr, port)


cdef inline void look_else(const memo_t *memo, tuple_t t, ahead_t *ahead) noexcept nogil:
    # look_else: what was looked at ahead for t, for a memo that does not only translate the source, or an echo.
    cdef tuple_t reply = ahead.reply[1]
    if tuple_proto(t) == PROTO_ICMP:
        ahead.reply[0] = answer_echo(t)
        # swap_ends took the id, kept or drawn, for a port
        ahead.reply[1] = answer_echo(tuple_with_src(t, reply.dst, tuple_dport(reply)))
    elif memo.to:
        if fn_unlikely(not is_led_away(memo, t)):
            # the long way
            ahead.memo = NULL
        t = tuple_with_dst(t, memo.to, memo.to_port if memo.to_port else tuple_dport(t))
        ahead.reply[0] = swap_ends(t)
        ahead.reply[1] = tuple_with_dst(ahead.reply[0], reply.dst, tuple_dport(reply))
    if memo.kind == TARGET_ACCEPT:
        # the null binding keeps the source
        ahead.reply[1] = ahead.reply[0]
        ahead.drawn = FN_NONE


cdef inline bint is_clear(uint32_t look) noexcept nogil:
    # is_clear: a look into a bucket tells already that what was looked for is nowhere.
    return look & LOOK_MASK == LOOK_ABSENT


cdef inline bint is_full(uint32_t look) noexcept nogil:
    # is_full: whether the look found no free slot.
    return look & 0xfff0000 == 0


cdef inline bint is_absent(const engine_t *e, uint32_t look, tuple_t t, uint64_t h) noexcept nogil:
    # is_absent: whether nobody has a tuple: by the look into its bucket, or by looking it up.
    return is_clear(look) or find_tuple(e, t, h, <uint32_t>e.now) == FN_NONE


cdef inline void put(table_t *t, bucket_t *b, uint32_t look, uint64_t h, uint32_t id_) noexcept nogil:
    # put: into the first slot that the look found free; there is one.
    cdef int i = fn_ctz(look >> 16)
    b.tags[i] = tag_of(h)
    b.items[i] = id_ | further_bits(t, h)
    t.used += 1


cdef inline bint put_growing(engine_t *e, uint32_t ct, uint64_t hash, const ahead_t *ahead) noexcept nogil:
    # put_growing: into the table by both tuples and into bysource, where a table grows or a bucket is full.
    # => False: there is no room; then it is in none.
    # before the first of them: growth in between could change which of two equal tuples lies in front
    make_room(e, &e.tuples, 2)
    if not table_insert(e, &e.tuples, ahead.reply_hash[1], ct << 1 | 1):
        return False
    if not table_insert(e, &e.tuples, hash, ct << 1):
        # the long way comes next, and must find the tables as they were
        table_remove(&e.tuples, ahead.reply_hash[1], ct << 1 | 1)
        return False
    if not table_insert(e, &e.sources, ahead.source_hash, ct << 1):
        table_remove(&e.tuples, ahead.reply_hash[1], ct << 1 | 1)
        table_remove(&e.tuples, hash, ct << 1)
        return False
    return True


cdef inline void fill(engine_t *e, uint32_t ct, const packet_t *in_, tuple_t t, const ahead_t *ahead, const memo_t *memo) noexcept nogil:
    # fill: the record as confirm leaves it, but for its place in the wheel.
    cdef uint32_t now = <uint32_t>e.now
    cdef conn_t *c = &e.conns[ct]
    c.tuples[0] = t
    c.tuples[1] = ahead.reply[1]
    c.bysource_next = FN_NONE
    c.bysource_prev = FN_NONE
    c.routes[0] = memo.route
    c.routes[1] = back_of(memo, t.src)
    c.masq_iface = memo.masq_iface
    # a packet with a template has no memo
    c.zone = 0
    c.status = IPS_SRC_NAT | IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE | IPS_CONFIRMED
    c.flags = CONN_LIVE
    if in_.proto == PROTO_UDP:
        c.state = 0
        # from when on a packet of both directions makes a stream: udp_packet compares with two seconds behind the first
        c.stream_ts = now + STREAM_AFTER * FN_HZ
        c.timeout = now + e.timeouts[TIMEOUT_UDP]
        return
    c.stream_ts = 0
    if in_.proto == PROTO_TCP:
        # a header says the upper half of the first number alone
        c.timeout = now + open_plain(e, ct, <uint32_t>in_.isn << 16)
    else:
        c.state = 0
        c.timeout = now + e.timeouts[TIMEOUT_ICMP]


cdef struct looks_t:
    # the buckets that a new connection enters, and what one look into each has told (fn_bucket_look); the last: of the
    # untranslated reply tuple, which enters none
    bucket_t *orig
    bucket_t *reply
    bucket_t *source
    uint32_t of_orig
    uint32_t of_reply
    uint32_t of_source
    uint32_t of_untranslated


cdef inline void look(const engine_t *e, uint64_t hash, const ahead_t *ahead, looks_t *l) noexcept nogil:
    # look: once into each bucket. hash: of the original tuple.
    l.orig = bucket_home(&e.tuples, hash)
    l.reply = bucket_home(&e.tuples, ahead.reply_hash[1])
    l.source = bucket_home(&e.sources, ahead.source_hash)
    l.of_orig = fn_bucket_look(l.orig, tag_of(hash))
    l.of_reply = fn_bucket_look(l.reply, tag_of(ahead.reply_hash[1]))
    # where no tuple leads into the source's /16, nobody has the untranslated reply tuple
    l.of_untranslated = LOOK_ABSENT
    if ahead.checks:
        l.of_untranslated = fn_bucket_look(bucket_home(&e.tuples, ahead.reply_hash[0]), tag_of(ahead.reply_hash[0]))
    l.of_source = fn_bucket_look(l.source, tag_of(ahead.source_hash))


cdef inline bint is_new_here(const engine_t *e, tuple_t t, uint64_t hash, const ahead_t *ahead, const looks_t *l) noexcept nogil:
    # is_new_here: whether the packet belongs to no connection, its answer as it is to none either, and its source has no mapping.
    return (is_absent(e, l.of_orig, t, hash) and is_absent(e, l.of_untranslated, ahead.reply[0], ahead.reply_hash[0])
            and (is_clear(l.of_source) or bysource_head(e, t, ahead.source_hash) == FN_NONE))


cdef inline bint nobody_has(const engine_t *e, tuple_t t, uint64_t hash, const ahead_t *ahead, const looks_t *l) noexcept nogil:
    # nobody_has: another source, another destination, the same tuple: whoever has one of them, or a mapping, goes the long way
    # (nf_nat_used_tuple, find_appropriate_src).
    if fn_likely(is_clear(l.of_orig) and is_clear(l.of_reply) and is_clear(l.of_untranslated) and is_clear(l.of_source)):
        return True
    return is_absent(e, l.of_reply, ahead.reply[1], ahead.reply_hash[1]) and is_new_here(e, t, hash, ahead, l)


cdef inline bint put_all(engine_t *e, uint32_t ct, uint64_t hash, const ahead_t *ahead, const looks_t *l) noexcept nogil:
    # put_all: into the tables by both tuples and by the source.
    # => False: there is no room; then it is in none.
    # the looks name free slots only while no table grows, no bucket is full, and two items do not want one slot
    if fn_unlikely(not has_room(&e.tuples, 2) or not has_room(&e.sources, 1) or l.orig == l.reply
                   or is_full(l.of_orig) or is_full(l.of_reply) or is_full(l.of_source)):
        return put_growing(e, ct, hash, ahead)
    # the reply first, as confirm does: see tuples/rehash
    put(&e.tuples, l.reply, l.of_reply, ahead.reply_hash[1], ct << 1 | 1)
    put(&e.tuples, l.orig, l.of_orig, hash, ct << 1)
    put(&e.sources, l.source, l.of_source, ahead.source_hash, ct << 1)
    return True


cdef inline void enter(engine_t *e, uint32_t ct, tuple_t t, const ahead_t *ahead) noexcept nogil:
    # enter: what confirm does beside the tables: bitmaps, wheel, the record, counts.
    if fn_unlikely(e.n_bitmaps != 0):
        note_taken(e, ahead.reply[1], True)
        note_taken(e, t, True)
    wheel_add(e, ct, e.conns[ct].timeout)
    hold_record(e)
    dst16_count(e, t.dst)[0] += 1
    dst16_count(e, ahead.reply[1].dst)[0] += 1
    e.count += 1
    e.confirmed += 1
    e.stats[STAT_NEW] += 1


cdef inline void count_passage(engine_t *e, const packet_t *in_, const ahead_t *ahead, memo_t *memo) noexcept nogil:
    # count_passage: the counters of the hooks as the long way leaves them, whether confirm then takes the connection or not.
    # that of the destination, and that of the source
    e.stats[STAT_PORT_SEARCH_PROBES] += PROBES
    e.stats[STAT_RULES_WALKED] += memo.walked
    if ahead.drawn != FN_NONE:
        e.stats[STAT_PORT_SEARCHES] += 1
        e.stats[STAT_RANDOM_DRAWS] += 1
    memo.packets += 1
    memo.bytes += in_.length
    if fn_unlikely(ahead.varied != FN_NONE):
        count_rule(e, ahead.varied, in_.length)
    e.passed.packets += 1
    e.passed.bytes += in_.length


cdef inline void note_else(engine_t *e, const packet_t *in_, tuple_t t, const ahead_t *ahead, const memo_t *memo,
                           result_t *out) noexcept nogil:
    # note_else: what is otherwise of a connection whose memo does not only translate the source, or of an echo. t: its original tuple.
    cdef conn_t *c = &e.conns[out.conn]
    if in_.proto == PROTO_ICMP:
        # NAT may have changed the id; what stands in the place of a port is the type, which is the packet's own
        out.sport = <uint16_t>tuple_sport(ahead.reply[1])
        out.dport = in_.dport
    if memo.kind == TARGET_ACCEPT:
        c.status &= ~<uint32_t>IPS_SRC_NAT
    if memo.to:
        c.status |= IPS_DST_NAT
    if memo.to_port == 0:
        return
    if memo.to_port == in_.dport:
        # DNAT to the port that the packet asked for looks at nothing
        e.stats[STAT_PORT_SEARCH_PROBES] -= 1
        out.probes -= 1
    else:
        # to another one it is a search among one port
        e.stats[STAT_PORT_SEARCHES] += 1


cdef inline bint open_by_memo(engine_t *e, const packet_t *in_, tuple_t t, uint64_t hash, const ahead_t *ahead,
                                  result_t *out) noexcept nogil:
    # open_by_memo: open the packet's connection, from conntrack to confirm. hash: of t, its tuple.
    # => False: take the long way; nothing has changed.
    cdef memo_t *memo = ahead.memo
    cdef looks_t l
    cdef uint32_t ct
    if not may_open(e, t, ahead, memo):
        return False
    look(e, hash, ahead, &l)
    if fn_unlikely(not nobody_has(e, t, hash, ahead, &l)):
        return False
    ct = next_record(e)
    if ct == FN_NONE:
        return False
    fill(e, ct, in_, t, ahead, memo)
    if not put_all(e, ct, hash, ahead, &l):
        # the record was never taken out of the free ones; it only has to look unused again
        e.conns[ct].flags = 0
        return False
    enter(e, ct, t, ahead)
    count_passage(e, in_, ahead, memo)
    store_forwarded(out, &ahead.reply[1], ct, IP_CT_NEW, memo.out_iface, PROBES)
    if fn_unlikely(memo.complete != COMPLETE_SOURCE):
        note_else(e, in_, t, ahead, memo, out)
    # behind all that the record says
    if fn_unlikely(e.max_events != 0):
        fn_rarely()
        note_event(e, ct, EVENT_NEW, 0)
    return True


cdef inline void take_port(engine_t *e, ahead_t *ahead) noexcept nogil:
    # take_port: let the packet have the port to which its search leads, as it cannot have its own.
    ahead.searches = False
    ahead.reply[1] = ahead.reply[2]
    ahead.reply_hash[1] = ahead.reply_hash[2]


cdef inline void count_search(engine_t *e, const ahead_t *ahead, result_t *out) noexcept nogil:
    # count_search: what a search counts beyond count_passage.
    cdef uint32_t probes = ahead.search.probes
    e.stats[STAT_FOUND] += ahead.search.found
    e.stats[STAT_RANDOM_DRAWS] += ahead.search.draws
    if ahead.drawn == FN_NONE:
        # the port that was to be kept was found taken
        e.stats[STAT_FOUND] += 1
        e.stats[STAT_PORT_SEARCHES] += 1
    else:
        # the first draw, and the probe of its port, are the search's own
        e.stats[STAT_RANDOM_DRAWS] -= 1
        probes -= 1
    e.stats[STAT_PORT_SEARCH_PROBES] += probes
    out.probes += <uint16_t>probes


cdef inline bint may_search(const engine_t *e, tuple_t t, uint64_t hash, const ahead_t *ahead) noexcept nogil:
    # may_search: whether the packet is one that `open_by_memo` would open if it had not found the reply tuple taken.
    cdef looks_t l
    # the null binding has no range in which the memo could search
    if ahead.memo == NULL or ahead.memo.kind == TARGET_ACCEPT or not may_open(e, t, ahead, ahead.memo):
        return False
    look(e, hash, ahead, &l)
    return is_new_here(e, t, hash, ahead, &l) and next_record(e) != FN_NONE


cdef inline bint take_over(engine_t *e, const packet_t *in_, const ahead_t *ahead, uint32_t owner) noexcept nogil:
    # take_over: who has the port that a SYN wants goes, if he gives way (nf_nat_used_tuple_harder). owner: his table id.
    # => False: he does not; nothing has changed but what a bitmap knows of him.
    cdef uint32_t ct = next_record(e)
    if not may_give_way(e, owner):
        note_firm(e, &e.bitmap_keys[bitmap_find(e, ahead.reply[1])], ahead.search.port)
        return False
    if not is_newer(e, owner, <uint32_t>in_.isn << 16):
        return False
    # the long way has its own record before it looks for a port
    hold_record(e)
    conn_delete(e, owner >> 1)
    give_back(e, ct)
    e.stats[STAT_EVICTED] += 1
    return True


cdef inline bint lose_by_memo(engine_t *e, const packet_t *in_, const ahead_t *ahead, result_t *out) noexcept nogil:
    # lose_by_memo: the packet has found no port, keeps the last candidate, and is lost at confirm.
    # => False: take the long way; nothing has changed.
    cdef uint32_t owner = find_tuple(e, ahead.reply[2], ahead.reply_hash[2], <uint32_t>e.now)
    cdef uint32_t ct = next_record(e)
    if ahead.memo.complete != COMPLETE_SOURCE or owner == FN_NONE:
        return False
    # whether two of one protocol may come to terms depends on the owner, and in 5.4 on more of him: see confirm
    if allows_clash(e, in_.proto) and (e.profile == LINUX_5_4 or e.conns[owner >> 1].status & IPS_NAT_CLASH):
        return False
    # the record that the connection had until then is the next one again
    hold_record(e)
    give_back(e, ct)
    count_passage(e, in_, ahead, ahead.memo)
    e.stats[STAT_PORT_SEARCH_FAILURES] += 1
    store_forwarded(out, &ahead.reply[2], FN_NONE, IP_CT_NEW, 0, PROBES)
    out.verdict = VERDICT_DROP
    out.reason = <unsigned char>clash_lost(e)
    count_search(e, ahead, out)
    return True


cdef inline uint8_t end_search(engine_t *e, const packet_t *in_, bint whole, tuple_t t, uint64_t hash, ahead_t *ahead,
                               result_t *out) noexcept nogil:
    # end_search: the search of a packet whose port a bitmap knew to be taken, to its end; who has to give way for it goes. whole: as
    #    for open_shortly.
    # => SEARCH_FAILS: the packet is lost. SEARCH_OPEN: the short way cannot end it; where ahead.searches is cleared now, the packet may
    #    have its own port again. Any other: ahead.reply[1] has the port that was found.
    cdef uint32_t owner
    cdef uint8_t end = where_it_leads(e, t, ahead)
    if end == SEARCH_OPEN:
        return SEARCH_OPEN
    # of a datagram the header does not tell the SYN's whole number, and what is dropped leaves as bytes, too
    if not whole and (end == SEARCH_FAILS or end == SEARCH_OWNED):
        return SEARCH_OPEN
    if not may_search(e, t, hash, ahead):
        return SEARCH_OPEN
    while end == SEARCH_OWNED:
        owner = find_tuple(e, ahead.reply[2], ahead.reply_hash[2], <uint32_t>e.now)
        if owner == FN_NONE:
            return SEARCH_OPEN
        if take_over(e, in_, ahead, owner):
            break
        end = pass_by_owner(e, ahead)
    if end == SEARCH_OPEN or (end == SEARCH_FAILS and not lose_by_memo(e, in_, ahead, out)):
        return SEARCH_OPEN
    bitmap_searched(e, <uint32_t>bitmap_find(e, ahead.reply[1]))
    if end != SEARCH_FAILS:
        take_port(e, ahead)
    return end


cdef inline bint open_shortly(engine_t *e, const packet_t *in_, bint whole, tuple_t t, uint64_t hash, ahead_t *ahead,
                              result_t *out) noexcept nogil:
    # open_shortly: open_by_memo, with the packet's own port or the one to which a bitmap knows that its search leads. whole: the
    #    packet is no more than its header.
    # => False: take the long way; nothing has changed but `ahead`, or but that the search's victim is gone.
    cdef uint8_t end = SEARCH_OPEN
    if fn_unlikely(ahead.searches):
        fn_rarely()
        end = end_search(e, in_, whole, t, hash, ahead, out)
        if end == SEARCH_FAILS:
            return True
        if ahead.searches:
            return False
    if not open_by_memo(e, in_, t, hash, ahead, out):
        return False
    if fn_unlikely(end != SEARCH_OPEN):
        fn_rarely()
        count_search(e, ahead, out)
        # a port that only changed its owner was taken for all who passed it by, and is
        if end == SEARCH_OWNED and e.bitmap_changes == ahead.search.changes + 1:
            e.bitmap_changes = ahead.search.changes
    return True
