# The port search: a window of ports, a random start, rounds of 128, 64, 32, 16 and 8 probes.
#
# Source: nf_nat_l4proto_unique_tuple (nf_nat_core.c, Linux 6.18; linux-5.4 differences in the code).
# Invariants: the offset is 16 bits wide and wraps before the modulo; the number of probes counted is the
# kernel's, also where a bitmap answers them 64 at a time; the last candidate stays when all are taken.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport *
from ..tuples.hash cimport random_u16
from ..tuples.tuple cimport (invert_tuple, tuple_dport, tuple_dst, tuple_in_zone, tuple_proto, tuple_sport, tuple_src,
                             tuple_with_dst, tuple_with_src, zone_of)
from .candidates cimport consecutive, first_attempts, has_further_round, port_window, soft_attempts
from .known_ports cimport holds_still, is_same_search
from .port_bitmap cimport (bitmap_create, bitmap_find, bitmap_searched, has_page, note_firm, note_met, page_words, PAGE_SHIFT,
                           set_run)
from .range cimport has_ports
from .used_tuple cimport hard_probe, reply_is_free, TUPLE_FIRM, TUPLE_FREE, used_tuple_harder

cdef inline tuple_t with_key(tuple_t t, uint32_t manip, uint32_t key) noexcept nogil:
    # with_key: the tuple with another port or ICMP id at the end that nat changes.
    if manip == MANIP_SRC or tuple_proto(t) == PROTO_ICMP:
        # of ICMP the id stands where other protocols have their source port, also where the destination is translated
        return tuple_with_src(t, tuple_src(t), key & 0xffff)
    return tuple_with_dst(t, tuple_dst(t), key & 0xffff)


cdef inline bint is_free(engine_t *e, tuple_t reply, uint32_t port, pkt_t *p) noexcept nogil:
    # is_free: => Whether nobody has the reply tuple with this destination port.
    return reply_is_free(e, tuple_with_dst(reply, tuple_dst(reply), port), p)


cdef inline uint32_t free_in_page(engine_t *e, uint64_t *taken, tuple_t reply, uint32_t port, uint32_t n, pkt_t *p) noexcept nogil:
    # free_in_page: the first free one of n consecutive ports of a page. One not known yet is looked up once and remembered.
    # => Its distance from `port`, or something not below n.
    cdef uint64_t *known = taken + FN_KNOWN
    cdef uint32_t begin = port & (FN_PAGE_PORTS - 1)
    cdef uint32_t end = begin + n
    cdef uint32_t at = begin
    cdef uint64_t free
    while at < end:
        free = ~taken[at >> 6] >> (at & 63)
        if free == 0:
            # all 64 are taken, known or not: a bit is set only where somebody has been found
            at = (at | 63) + 1
            continue
        at += <uint32_t>fn_ctz64(free)
        if at >= end or fn_likely((known[at >> 6] >> (at & 63)) & 1):
            break
        if fn_likely(is_free(e, reply, port - begin + at, p)):
            # free for this flow alone, if it is its own entry that has the tuple
            known[at >> 6] |= <uint64_t>p.verified << (at & 63)
            break
        known[at >> 6] |= <uint64_t>1 << (at & 63)
        taken[at >> 6] |= <uint64_t>1 << (at & 63)
        at += 1
    return at - begin


cdef inline uint32_t free_unnoted(engine_t *e, tuple_t reply, uint32_t port, uint32_t n, pkt_t *p) noexcept nogil:
    # free_unnoted: free_in_page where there is no memory for a page.
    cdef uint32_t i = 0
    while i < n and not is_free(e, reply, port + i, p):
        i += 1
    return i


cdef inline int bitmap_round(engine_t *e, bitmap_key_t *key, tuple_t reply, uint32_t min_, uint32_t size, uint32_t off,
                             uint32_t n, pkt_t *p) noexcept nogil:
    # bitmap_round: up to n probes from a 16-bit offset, in runs of consecutive ports of one page.
    # => Which probe found a free port, or -1; probes and `found` are counted as if done one by one.
    cdef uint32_t done = 0
    cdef uint32_t port, run, hit
    while done < n:
        run = consecutive(min_, size, off, n - done, &port)
        if fn_unlikely(not has_page(e, key, port)):
            hit = free_unnoted(e, reply, port, run, p)
        else:
            hit = free_in_page(e, page_words(e, key.pages[port >> PAGE_SHIFT]), reply, port, run, p)
        if hit < run:
            done += hit
            p.probes += done + 1
            # one by one each taken port would have counted once (conntrack -S `found`)
            e.stats[STAT_FOUND] += done
            return <int>done
        done += run
        off = (off + run) & 0xffff
    p.probes += n
    e.stats[STAT_FOUND] += n
    return -1


cdef inline uint32_t firm_round(engine_t *e, const bitmap_key_t *key, uint32_t min_, uint32_t size, uint32_t off, uint32_t n,
                                pkt_t *p) noexcept nogil:
    # firm_round: => How many of n candidates from an offset on have, one after another, an owner that is known to keep its
    #    port whoever asks; each is a probe.
    cdef uint32_t done = 0
    cdef uint32_t port, run, firm
    off &= 0xffff
    while done < n:
        run = consecutive(min_, size, off, n - done, &port)
        firm = set_run(e, key, FN_FIRM, port, run)
        done += firm
        if firm < run:
            break
        off = (off + run) & 0xffff
    p.probes += done
    return done


cdef inline int probe(engine_t *e, const bitmap_key_t *key, tuple_t t, uint32_t port, uint32_t attempts_left,
                      pkt_t *p) noexcept nogil:
    # probe: used_tuple_harder, whose answer a bitmap keeps, if there is one.
    cdef int found = used_tuple_harder(e, t, attempts_left, p)
    if key != NULL and found == TUPLE_FIRM:
        note_firm(e, key, port)
    return found


cdef inline uint32_t first_offset(engine_t *e, tuple_t t, const target_t *range_, uint32_t manip) noexcept nogil:
    # first_offset: where in the window a search begins; without a reason for another place a draw, of the source at least.
    # DNAT to a base port keeps the distance that the packet's port has from it
    if range_.flags & RANGE_PROTO_OFFSET:
        return ((tuple_sport(t) if manip == MANIP_SRC else tuple_dport(t)) - range_.base_proto) & 0xffff
    # for a destination 6.18 draws only if asked to; else it takes the ports of the range in their order
    if e.profile == LINUX_5_4 or range_.flags & RANGE_RANDOM_ALL or manip == MANIP_SRC:
        return random_u16(e)
    return 0


cdef struct search_t:
    uint32_t min_
    uint32_t size
    uint32_t manip
    # its last probes of each round may evict
    bint hard
    # the reply tuple, whose port is left open
    tuple_t reply
    # the ports towards the peer, NULL: they are probed one by one
    bitmap_key_t *key


cdef inline uint32_t candidate_port(const search_t *s, uint32_t off) noexcept nogil:
    # candidate_port: => The port at an offset of the window.
    return s.min_ + (off & 0xffff) % s.size


cdef inline tuple_t with_candidate(const search_t *s, tuple_t t, uint32_t off) noexcept nogil:
    # with_candidate: => The tuple with the port at an offset of the window.
    return with_key(t, s.manip, candidate_port(s, off))


cdef inline bint may_have_bitmap(const engine_t *e, const search_t *s, tuple_t t, const pkt_t *p) noexcept nogil:
    # may_have_bitmap: bitmaps are of ports that the source may have.
    # of a tuple they do not know the direction, which decides where zones differ by it
    if fn_unlikely(zone_of(&e.conns[p.ct], 0) != zone_of(&e.conns[p.ct], 1)):
        return False
    # nor which entry is over in the jiffy in which it began
    if fn_unlikely(e.due_at_once != 0):
        return False
    return s.manip == MANIP_SRC and e.max_bitmaps and has_ports(tuple_proto(t))


cdef inline void take_bitmap(engine_t *e, search_t *s, int bitmap) noexcept nogil:
    # take_bitmap: by its place, below 0: there is none.
    s.key = &e.bitmap_keys[bitmap] if bitmap >= 0 else NULL


cdef inline bint search_round(engine_t *e, search_t *s, tuple_t *t, uint32_t off, uint32_t attempts, pkt_t *p) noexcept nogil:
    # search_round: so many candidates from an offset on.
    # => Whether t is a free one; else it is the last.
    cdef uint32_t i = 0
    cdef uint32_t port
    cdef int hit
    if s.key != NULL:
        i = soft_attempts(s.hard, attempts)
        hit = bitmap_round(e, s.key, s.reply, s.min_, s.size, off, i, p)
        if hit >= 0:
            t[0] = with_candidate(s, t[0], off + <uint32_t>hit)
            return True
    while i < attempts:
        if s.key != NULL:
            i += firm_round(e, s.key, s.min_, s.size, off + i, attempts - i, p)
            if i == attempts:
                break
        port = candidate_port(s, off + i)
        t[0] = with_key(t[0], s.manip, port)
        if probe(e, s.key, t[0], port, attempts - i, p) == TUPLE_FREE:
            return True
        i += 1
        # few probes are the rule; a bitmap for each of those peers would take more memory than it saves time
        if s.key == NULL and i == e.bitmap_probes and may_have_bitmap(e, s, t[0], p):
            # a crowded peer: the rest of this search and all later ones read a bitmap
            take_bitmap(e, s, bitmap_create(e, s.reply))
            if s.key != NULL and not s.hard:
                hit = bitmap_round(e, s.key, s.reply, s.min_, s.size, (off + i) & 0xffff, attempts - i, p)
                if hit >= 0:
                    t[0] = with_candidate(s, t[0], off + i + <uint32_t>hit)
                    return True
                break
    t[0] = with_candidate(s, t[0], off + attempts - 1)
    return False


cdef inline bint take_foreseen(engine_t *e, const search_t *s, tuple_t *t, pkt_t *p) noexcept nogil:
    # take_foreseen: the end of the search, if the batch has looked for it ahead and it is still what it was.
    # => False: search.
    cdef const port_search_t *ahead = &p.ahead.search
    cdef uint32_t _i
    if not is_same_search(e, p.ahead, s.reply, s.min_, s.size, s.hard) or not holds_still(e, s.key, ahead):
        return False
    t[0] = with_key(t[0], s.manip, ahead.port)
    p.probes += ahead.probes
    e.stats[STAT_FOUND] += ahead.found
    if ahead.end == SEARCH_FAILS:
        e.stats[STAT_PORT_SEARCH_FAILURES] += 1
    # who draws next gets the number that he would get; the first draw is done
    for _i in range(1, ahead.draws):
        random_u16(e)
    return True


cdef inline tuple_t l4proto_unique_tuple(engine_t *e, tuple_t t, const target_t *range_, uint32_t manip, bint taken,
                                         pkt_t *p) noexcept nogil:
    # l4proto_unique_tuple: t with a port, or ICMP id, that makes it unique (nf_nat_l4proto_unique_tuple). taken: as it is, somebody
    #    was found to have it.
    # => The last candidate when none was found; confirm then sees the clash.
    cdef uint32_t off, attempts
    cdef int bitmap
    cdef search_t s
    # GRE has keys to change only as the tunnel of PPTP
    if tuple_proto(t) == PROTO_GRE and not e.conns[p.ct].status & IPS_EXPECTED:
        return t
    if not port_window(t, range_, manip, &s.min_, &s.size):
        return t
    s.manip = manip
    # as if no attempt were left: whether any probe of this search may evict
    s.hard = hard_probe(e, t, 0, p)
    s.key = NULL
    off = first_offset(e, t, range_, manip)
    e.stats[STAT_PORT_SEARCHES] += 1
    if may_have_bitmap(e, &s, t, p):
        s.reply = tuple_in_zone(invert_tuple(with_key(t, MANIP_SRC, 0)), zone_of(&e.conns[p.ct], 1))
        bitmap = bitmap_find(e, s.reply)
        take_bitmap(e, &s, bitmap)
        if bitmap >= 0:
            bitmap_searched(e, <uint32_t>bitmap)
            # a batch looks ahead only for those whose own port is known to be taken
            if taken:
                note_met(e, s.key, tuple_sport(t))
            if p.ahead != NULL and p.ahead.searches and take_foreseen(e, &s, &t, p):
                return t
    attempts = first_attempts(s.size)
    # each round has half of the attempts of the one before, from a place drawn anew
    while not search_round(e, &s, &t, off, attempts, p):
        if not has_further_round(s.size, attempts):
            e.stats[STAT_PORT_SEARCH_FAILURES] += 1
            break
        attempts //= 2
        off = random_u16(e)
    return t
