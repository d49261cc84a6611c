# Where a port search ends, as far as a bitmap knows: no table is looked into, and nothing changes.
#
# Source: nf_nat_l4proto_unique_tuple (nf_nat_core.c, Linux 6.18), as nat/l4proto has it.
# Invariants: candidates, their order, draws and probes are those of `l4proto_unique_tuple`, which would end at the same port or
# fail as well, as long as no port that was passed by is given up (engine_t.bitmap_changes) and nobody takes the free one.
# Differs from the kernel: nothing.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from ..types cimport (ahead_t, bitmap_key_t, engine_t, FN_FIRM, LINUX_5_4, MANIP_SRC, port_search_t, PROTO_TCP, RANGE_PROTO_OFFSET,
                      SEARCH_FAILS, SEARCH_FREE, SEARCH_OPEN, target_t, tuple_t)
from ..tuples.hash cimport splitmix64, stream_of
from ..tuples.tuple cimport tuple_dst, tuple_equal, tuple_proto, tuple_with_dst
from .candidates cimport consecutive, first_attempts, has_further_round, port_window, soft_attempts
from .port_bitmap cimport is_known_free, set_run


cdef inline bint pass_taken(const engine_t *e, const bitmap_key_t *key, uint32_t which, uint32_t off, uint32_t n,
                            port_search_t *s) noexcept nogil:
    # pass_taken: past those of n candidates from a 16-bit offset on that are taken, by one of the bitmaps of a page (set_run).
    # => False: s.port is the first that is not.
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
    return done >= n


cdef inline bint search_known(const engine_t *e, const bitmap_key_t *key, tuple_t t, const target_t *range_, uint64_t number,
                              port_search_t *s) noexcept nogil:
    # search_known: l4proto_unique_tuple for the source of a first packet that has drawn nothing yet. t: its tuple; number: see
    # begin_packet.
    # => False: its search does not begin at a draw.
    cdef uint64_t state = stream_of(e, number)
    cdef bint hard = e.profile != LINUX_5_4 and tuple_proto(t) == PROTO_TCP
    cdef uint32_t off, attempts, soft
    if range_.flags & RANGE_PROTO_OFFSET or not port_window(t, range_, MANIP_SRC, &s.min_, &s.size):
        return False
    s.changes = e.bitmap_changes
    s.probes = 0
    s.found = 0
    s.draws = 0
    attempts = first_attempts(s.size)
    while True:
        off = <uint32_t>(splitmix64(&state) >> 48)
        s.draws += 1
        soft = soft_attempts(hard, attempts)
        # of those that may evict, too, owners that do not give way are passed by
        if not (pass_taken(e, key, 0, off, soft, s) and pass_taken(e, key, FN_FIRM, off + soft, attempts - soft, s)):
            s.end = SEARCH_FREE if is_known_free(e, key, s.port) else SEARCH_OPEN
            return True
        if not has_further_round(s.size, attempts):
            s.port = <uint16_t>(s.min_ + ((off + attempts - 1) & 0xffff) % s.size)
            s.end = SEARCH_FAILS
            return True
        attempts //= 2


cdef inline bint holds_still(const engine_t *e, const bitmap_key_t *key, const port_search_t *s) noexcept nogil:
    # holds_still: => Whether a search that was looked for would end there now. key: of the same bitmap.
    if s.end == SEARCH_OPEN or s.changes != e.bitmap_changes:
        return False
    return s.end == SEARCH_FAILS or is_known_free(e, key, s.port)


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
