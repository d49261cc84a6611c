# Where a port search ends, as far as a bitmap knows: no table is looked into, and nothing changes.
#
# Source: nf_nat_l4proto_unique_tuple (nf_nat_core.c, Linux 6.18), as nat/l4proto has it.
# Invariants: candidates, their order, draws and probes are those of `l4proto_unique_tuple`, which would end at the same port or
# fail as well, as long as no port that was passed by is given up (engine_t.bitmap_changes) and nobody takes the free one.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from ..types cimport (ahead_t, bitmap_key_t, engine_t, FN_FIRM, LINUX_5_4, MANIP_SRC, port_search_t, PROTO_TCP, RANGE_PROTO_OFFSET,
                      SEARCH_FAILS, SEARCH_FREE, SEARCH_OPEN, SEARCH_OWNED,
                      SEARCH_UNSEEN, target_t, tuple_t)
from ..tuples.hash cimport splitmix64, stream_of, tuple_hash
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_equal, tuple_proto, tuple_with_dst
from .candidates cimport consecutive, first_attempts, has_further_round, port_window, soft_attempts
from .port_bitmap cimport bitmap_find, is_known_free, is_untaken, knows_of, set_run


cdef inline uint32_t pass_taken(const engine_t *e, const bitmap_key_t *key, uint32_t which, uint32_t off, uint32_t n,
                                port_search_t *s) noexcept nogil:
    # pass_taken: past those of n candidates from an offset on that are taken, by one of the bitmaps of a page (set_run).
    # => How many they are; fewer than n: s.port is the first that is not.
    cdef uint32_t done = 0
    cdef uint32_t port, run, taken
    while done < n:
        run = consecutive(s.min_, s.size, (off + done) & 0xffff, n - done, &port)
        taken = set_run(e, key, which, port, run)
        done += taken
        if taken < run:
            s.port = <uint16_t>(port + taken)
            # the port itself is a probe, too
            s.probes += 1
            break
    s.probes += done
    # the probes that may evict do not count what they find taken
    if which == 0:
        s.found += done
    return done


cdef inline void begin_round(port_search_t *s) noexcept nogil:
    # begin_round: each has a start of its own.
    s.off = <uint32_t>(splitmix64(&s.state) >> 48)
    s.at = 0
    s.draws += 1


cdef inline uint8_t end_at(const engine_t *e, const bitmap_key_t *key, uint32_t port) noexcept nogil:
    # end_at: what a bitmap knows of a port that a search does not pass by. => SEARCH_*
    if not knows_of(e, key, port):
        return SEARCH_OPEN
    if is_known_free(e, key, port):
        return SEARCH_FREE
    # only a probe that may evict stops at a port that somebody has
    return SEARCH_UNSEEN if is_untaken(e, key, port) else SEARCH_OWNED


cdef inline void go_on(const engine_t *e, const bitmap_key_t *key, port_search_t *s) noexcept nogil:
    # go_on: from candidate s.at of a round to where the search ends.
    cdef uint32_t soft
    while True:
        soft = soft_attempts(s.hard, s.attempts)
        if s.at < soft:
            s.at += pass_taken(e, key, 0, s.off + s.at, soft - s.at, s)
        # of those that may evict, too, owners that do not give way are passed by
        if s.at >= soft:
            s.at += pass_taken(e, key, FN_FIRM, s.off + s.at, s.attempts - s.at, s)
        if s.at < s.attempts:
            s.end = end_at(e, key, s.port)
            return
        if not has_further_round(s.size, s.attempts):
            s.port = <uint16_t>(s.min_ + ((s.off + s.attempts - 1) & 0xffff) % s.size)
            s.end = SEARCH_FAILS
            return
        s.attempts //= 2
        begin_round(s)


cdef inline bint search_known(const engine_t *e, const bitmap_key_t *key, tuple_t t, const target_t *range_, uint64_t number,
                              port_search_t *s) noexcept nogil:
    # search_known: l4proto_unique_tuple for the source of a first packet that has drawn nothing yet. t: its tuple; number: see
    # begin_packet.
    # => False: its search does not begin at a draw.
    if range_.flags & RANGE_PROTO_OFFSET or not port_window(t, range_, MANIP_SRC, &s.min_, &s.size):
        return False
    s.state = stream_of(e, number)
    s.hard = e.profile != LINUX_5_4 and tuple_proto(t) == PROTO_TCP
    s.changes = e.bitmap_changes
    s.probes = 0
    s.found = 0
    s.draws = 0
    s.attempts = first_attempts(s.size)
    begin_round(s)
    go_on(e, key, s)
    return True


cdef inline bint holds_still(const engine_t *e, const bitmap_key_t *key, const port_search_t *s) noexcept nogil:
    # holds_still: => Whether a search that was looked for would end there now. key: of the same bitmap.
    if s.end == SEARCH_OPEN or s.changes != e.bitmap_changes:
        return False
    return s.end == SEARCH_FAILS or is_known_free(e, key, s.port)


cdef inline void name_end(const engine_t *e, ahead_t *ahead) noexcept nogil:
    # name_end: the reply tuple that the search ends at.
    ahead.reply[2] = tuple_with_dst(ahead.reply[1], ahead.reply[1].dst, ahead.search.port)
    ahead.reply_hash[2] = tuple_hash(e, ahead.reply[2])


cdef inline void look_ahead_in_ports(const engine_t *e, tuple_t t, ahead_t *ahead) noexcept nogil:
    # look_ahead_in_ports: where the port search will probably lead if the port is taken, as a bitmap may know.
    cdef int bitmap = bitmap_find(e, ahead.reply[1])
    cdef const bitmap_key_t *key
    cdef target_t range_
    if bitmap < 0:
        return
    key = &e.bitmap_keys[bitmap]
    if not set_run(e, key, 0, tuple_dport(ahead.reply[1]), 1):
        return
    range_.flags = 0
    if ahead.memo != NULL:
        range_ = e.targets[ahead.target]
    if search_known(e, key, t, &range_, ahead.number, &ahead.search):
        ahead.searches = True
        name_end(e, ahead)


cdef inline uint8_t pass_by_owner(const engine_t *e, ahead_t *ahead) noexcept nogil:
    # pass_by_owner: the search goes on behind a port whose owner keeps it. => Where it ends now, SEARCH_*
    ahead.search.at += 1
    go_on(e, &e.bitmap_keys[bitmap_find(e, ahead.reply[1])], &ahead.search)
    name_end(e, ahead)
    return ahead.search.end


cdef inline bint is_there_still(const engine_t *e, const bitmap_key_t *key, const port_search_t *s) noexcept nogil:
    # is_there_still: whether a search that was looked for has the same end now; whether a port is free is for the caller to see.
    if s.changes != e.bitmap_changes:
        return False
    if s.end == SEARCH_FAILS or s.end == SEARCH_OPEN:
        return True
    # an owner who kept his port when he was asked is passed by from then on
    return is_untaken(e, key, s.port) if s.end != SEARCH_OWNED else not set_run(e, key, FN_FIRM, s.port, 1)


cdef inline uint8_t where_it_leads(const engine_t *e, tuple_t t, ahead_t *ahead) noexcept nogil:
    # where_it_leads: the end of the search of a packet whose own port was known to be taken, as it is now. => SEARCH_*
    cdef int bitmap = bitmap_find(e, ahead.reply[1])
    if bitmap >= 0 and is_there_still(e, &e.bitmap_keys[bitmap], &ahead.search):
        return ahead.search.end
    ahead.searches = False
    look_ahead_in_ports(e, t, ahead)
    return ahead.search.end if ahead.searches else <uint8_t>SEARCH_OPEN


cdef inline bint is_same_search(const engine_t *e, const ahead_t *ahead, tuple_t reply, uint32_t min_, uint32_t size, bint hard) noexcept nogil:
    # is_same_search: => Whether the search that was looked for is one for this reply tuple in this window, of which only the first
    #    number has been drawn.
    cdef uint64_t state = stream_of(e, ahead.number)
    splitmix64(&state)
    if ahead.search.min_ != min_ or ahead.search.size != size or e.rng[1] != state:
        return False
    if hard != (e.profile != LINUX_5_4 and tuple_proto(reply) == PROTO_TCP):
        return False
    return tuple_equal(tuple_with_dst(reply, tuple_dst(reply), ahead.search.port), ahead.reply[2])
