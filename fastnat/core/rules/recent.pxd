# Lists of addresses seen recently, and the token bucket: the matches that remember.
#
# Source: xt_recent.c, xt_limit.c (Linux 6.18); iptables-extensions(8).
# Invariants: a list holds at most FN_RECENT_ENTRIES addresses; the one unused longest gives way. Each keeps as many stamps as
# the largest --hitcount of the list's rules asks for.
# Differs from the kernel: nothing.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from ..types cimport *
from ..tuples.tuple cimport tuple_dst, tuple_src

cdef enum:
    # xt_limit: credits of a jiffy at HZ 250
    CREDITS = 128


cdef inline recent_t *recent_find(engine_t *e, uint32_t list_, addr_t addr, uint32_t ttl, bint with_ttl) noexcept nogil:
    # recent_find: => The entry of an address, NULL none (recent_entry_lookup).
    cdef recent_t *r = &e.recent[list_ * FN_RECENT_ENTRIES]
    cdef uint32_t i
    for i in range(FN_RECENT_ENTRIES):
        if r[i].used and r[i].addr == addr and (not with_ttl or r[i].ttl == ttl):
            return r + i
    return NULL


cdef inline recent_t *recent_oldest(engine_t *e, uint32_t list_) noexcept nogil:
    # recent_oldest: a free entry, or the one unused longest.
    cdef recent_t *r = &e.recent[list_ * FN_RECENT_ENTRIES]
    cdef uint32_t best = 0
    cdef uint32_t i
    for i in range(FN_RECENT_ENTRIES):
        # used counts changes from 1 on, so that a free entry, with 0, is older than any
        if r[i].used < r[best].used:
            best = i
    return r + best


cdef inline uint32_t *stamps_of(const engine_t *e, uint32_t list_, const recent_t *r) noexcept nogil:
    # stamps_of: the ring of an entry.
    cdef const recent_list_t *said = &e.recent_lists[list_]
    return &e.stamps[said.first + <uint32_t>(r - &e.recent[list_ * FN_RECENT_ENTRIES]) * said.ring]


cdef inline void recent_stamp(engine_t *e, uint32_t list_, recent_t *r, uint32_t now, uint32_t ttl) noexcept nogil:
    # recent_stamp: the address was seen now (recent_entry_update).
    cdef uint32_t ring = e.recent_lists[list_].ring
    stamps_of(e, list_, r)[r.next] = now
    # a ring is a power of two: xt_recent rounds the largest --hitcount up
    r.next = (r.next + 1) & (ring - 1)
    if r.n_stamps < ring:
        r.n_stamps += 1
    r.ttl = ttl
    e.recent_clock += 1
    r.used = e.recent_clock


cdef inline bint recent_hits(const engine_t *e, uint32_t list_, const recent_t *r, uint32_t now, uint32_t window,
                             uint32_t hits) noexcept nogil:
    # recent_hits: `hits` stamps, at least one, are not older than the window; 0: all of them count.
    cdef const uint32_t *stamps = stamps_of(e, list_, r)
    cdef uint32_t n = 0
    cdef uint32_t i
    for i in range(r.n_stamps):
        # the last jiffy of the window counts (time_after)
        if window and <int32_t>(stamps[i] + window - now) < 0:
            continue
        n += 1
        if n >= hits:
            return True
    return False


cdef inline void recent_reap(engine_t *e, uint32_t list_, uint32_t now, uint32_t window) noexcept nogil:
    # recent_reap: the entry unused longest goes when even its newest stamp is too old.
    cdef recent_t *r = &e.recent[list_ * FN_RECENT_ENTRIES]
    cdef recent_t *oldest = NULL
    cdef uint32_t i
    for i in range(FN_RECENT_ENTRIES):
        if r[i].used and (oldest == NULL or r[i].used < oldest.used):
            oldest = r + i
    if oldest != NULL and not recent_hits(e, list_, oldest, now, window, 1):
        oldest.used = 0


cdef inline bint recent_holds(engine_t *e, const match_t *m, const match_t *more, const pkt_t *p) noexcept nogil:
    # recent_holds: --set, --rcheck, --update or --remove of the packet's address (recent_mt); more: the second slot of m.
    cdef uint32_t op = m.bits & RECENT_OPERATION
    cdef addr_t addr = tuple_dst(p.t) if m.bits & RECENT_DEST else tuple_src(p.t)
    # with an out device and no socket the TTL was already lowered
    cdef uint32_t ttl = p.ttl + (1 if p.out_iface and p.in_iface else 0)
    cdef recent_t *r
    cdef bint holds
    # --mask: all of a network is one entry of the list
    addr &= e.targets[more.recent_more.at].masks.src
    r = recent_find(e, m.recent.list, addr, ttl, m.bits & RECENT_TTL)
    # who is not in the list is added by --set alone
    if r == NULL:
        if op != RECENT_SET:
            return False
        r = recent_oldest(e, m.recent.list)
        r.addr = addr
        r.next = 0
        r.n_stamps = 0
        recent_stamp(e, m.recent.list, r, p.now, ttl)
        return True
    if op == RECENT_SET:
        recent_stamp(e, m.recent.list, r, p.now, ttl)
        return True
    if op == RECENT_REMOVE:
        r.used = 0
        return True
    # before the entry is stamped: the packet at hand is no hit of its own
    holds = recent_hits(e, m.recent.list, r, p.now, m.recent.window, m.recent.hits)
    if m.bits & RECENT_REAP:
        recent_reap(e, m.recent.list, p.now, m.recent.window)
    # an inverted rule stamps whom it matches, who had no such hits
    if holds != m.invert and op == RECENT_UPDATE and r.used:
        recent_stamp(e, m.recent.list, r, p.now, ttl)
    return holds


cdef inline void bound_recent(engine_t *e, uint64_t n) noexcept nogil:
    # bound_recent: n entries that may be from anywhere stay within their rings, and the next change is newer than all.
    cdef recent_t *r
    cdef uint32_t ring
    cdef uint64_t i
    for i in range(n):
        r = &e.recent[i]
        ring = e.recent_lists[i // FN_RECENT_ENTRIES].ring
        r.next &= ring - 1
        if r.n_stamps > ring:
            r.n_stamps = ring
        if e.recent_clock < r.used:
            e.recent_clock = r.used


cdef inline bint limit_holds(match_t *m, match_t *more, uint32_t now) noexcept nogil:
    # limit_holds: whether the bucket has the credit of a packet, which it then pays (limit_mt); more: the second slot of m.
    cdef uint32_t past = now - more.limit_more.last
    cdef uint32_t credit = more.limit_more.credit + past * CREDITS
    # the first: what a long time adds does not fit in 32 bits
    if past > m.limit.most // CREDITS or credit > m.limit.most:
        credit = m.limit.most
    # whether or not it suffices: the credit holds what the time has given
    more.limit_more.last = now
    if credit >= m.limit.cost:
        more.limit_more.credit = credit - m.limit.cost
        return True
    more.limit_more.credit = credit
    return False
