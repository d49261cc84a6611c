# Bitmaps of the ports in use towards one busy peer: the port search reads 64 candidates at a time.
#
# Source: ours; it gives the answers that nf_conntrack_tuple_taken would give one by one.
# Invariants: for a tuple with destination port p, bit p of `known` says that bit p of `taken` is exact. Every
# insert and delete of any tuple, in either direction, updates the bitmap of its key if there is one. Bit p of `firm`
# says that the tuple's owner does not give way to a SYN; it falls with the owner, and with the state that the owner
# closes in. `known`
# fills as candidates are probed, so a bitmap costs nothing to create and no call ever walks the table.
# Expired entries are collected before a packet is looked at, so a set bit is never out of date; with timeouts of 0 s, where
# an entry is over before that, there are no bitmaps. Memory is bounded:
# pages come one by one with the ports that are probed; at the limit a bitmap that nobody has searched for long gives
# way, and where there is none a search looks its candidates up one by one.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport (bitmap_key_t, engine_t, fn_ctz64, FN_FIRM, fn_hash, FN_KNOWN, fn_likely, FN_NONE, FN_PAGE_MAPS, FN_PAGE_PORTS,
                      FN_PAGE_WORDS, FN_PAGES, fn_unlikely, tuple_t)
from ..tuples.tuple cimport tuple_equal

cdef enum:
    PAGE_SHIFT = 11
    # searches, for each bitmap that there may be, that one must have missed before another takes its place
    IDLE_SEARCHES = 4


cdef inline uint64_t bitmap_key_rest(tuple_t t) noexcept nogil:
    # bitmap_key_rest: => What a bitmap is found by beside the addresses: no destination port.
    return t.rest & ~<uint64_t>0xffff0000


cdef inline uint32_t bitmap_slot(const engine_t *e, tuple_t t) noexcept nogil:
    # bitmap_slot: start of the key's probe sequence; the table holds at most a quarter. The hash is secret, so that
    # nobody can make sequences long.
    t.rest = bitmap_key_rest(t)
    return <uint32_t>(fn_hash(e.secret, &t) >> 40) & e.bitmap_index_mask


cdef inline uint64_t filter_bit(tuple_t t) noexcept nogil:
    # filter_bit: of a key, or of any tuple that would have it.
    # the upper bits of a product hold something of every bit of the factor; 0x9E3779B1 is 2^32 divided by the golden ratio
    return <uint64_t>1 << (((<uint32_t>t.dst ^ (<uint32_t>t.rest & 0xffff)) * <uint32_t>0x9E3779B1) >> 26)


cdef inline int bitmap_find(const engine_t *e, tuple_t t) noexcept nogil:
    # bitmap_find: the bitmap of a tuple's peer.
    # => Its number, or -1.
    cdef uint32_t slot
    # most nodes have none at all
    if fn_likely(e.bitmap_filter == 0) or not e.bitmap_filter & filter_bit(t):
        return -1
    t.rest = bitmap_key_rest(t)
    # what has just been searched is what is noted next
    if e.newest_bitmap != FN_NONE and tuple_equal(e.bitmap_keys[e.newest_bitmap].t, t):
        return <int>e.newest_bitmap
    slot = bitmap_slot(e, t)
    while e.bitmap_index[slot] != FN_NONE:
        if tuple_equal(e.bitmap_keys[e.bitmap_index[slot]].t, t):
            return <int>e.bitmap_index[slot]
        slot = (slot + 1) & e.bitmap_index_mask
    return -1


cdef inline uint64_t *page_words(const engine_t *e, uint32_t page) noexcept nogil:
    # page_words: `taken` of a page; `known` and `firm` lie behind it.
    return e.bitmap_pages + <uint64_t>page * FN_PAGE_MAPS * FN_PAGE_WORDS


cdef inline void leave_queue(engine_t *e, uint32_t b) noexcept nogil:
    # leave_queue: out of the queue of bitmaps.
    cdef bitmap_key_t *key = &e.bitmap_keys[b]
    if key.newer == FN_NONE:
        e.newest_bitmap = key.older
    else:
        e.bitmap_keys[key.newer].older = key.older
    if key.older == FN_NONE:
        e.oldest_bitmap = key.newer
    else:
        e.bitmap_keys[key.older].newer = key.newer


cdef inline void join_queue(engine_t *e, uint32_t b) noexcept nogil:
    # join_queue: to the newest end of the queue of bitmaps.
    cdef bitmap_key_t *key = &e.bitmap_keys[b]
    key.newer = FN_NONE
    key.older = e.newest_bitmap
    if e.newest_bitmap == FN_NONE:
        e.oldest_bitmap = b
    else:
        e.bitmap_keys[e.newest_bitmap].newer = b
    e.newest_bitmap = b


cdef inline void bitmap_searched(engine_t *e, uint32_t b) noexcept nogil:
    # bitmap_searched: it is the last that gives way.
    # a clock of searches, not of time: what is idle is so because others are searched, however fast packets come
    e.bitmap_clock += 1
    e.bitmap_keys[b].last_search = e.bitmap_clock
    if fn_unlikely(e.newest_bitmap != b):
        leave_queue(e, b)
        join_queue(e, b)


cdef inline void index_remove(engine_t *e, uint32_t b) noexcept nogil:
    # index_remove: those behind it in the probe sequence move up, so that no gap cuts them off.
    cdef uint32_t mask = e.bitmap_index_mask
    cdef uint32_t gap = bitmap_slot(e, e.bitmap_keys[b].t)
    cdef uint32_t at, home
    # by its number, not by its key: no comparison of tuples is needed, and the bitmap is certain to be there
    while e.bitmap_index[gap] != b:
        gap = (gap + 1) & mask
    at = gap
    while True:
        at = (at + 1) & mask
        if e.bitmap_index[at] == FN_NONE:
            break
        home = bitmap_slot(e, e.bitmap_keys[e.bitmap_index[at]].t)
        # it may move if the gap lies between its home and its place
        if (at - home) & mask >= (at - gap) & mask:
            e.bitmap_index[gap] = e.bitmap_index[at]
            gap = at
    e.bitmap_index[gap] = FN_NONE


cdef inline void bitmap_drop(engine_t *e, uint32_t b) noexcept nogil:
    # bitmap_drop: forget a bitmap and give its pages back.
    cdef bitmap_key_t *key = &e.bitmap_keys[b]
    cdef uint32_t i
    index_remove(e, b)
    leave_queue(e, b)
    # what becomes of its ports is not noted any more
    e.bitmap_changes += 1
    for i in range(FN_PAGES):
        if key.pages[i] != FN_NONE:
            # a free page holds the number of the next one: it needs no memory beside the pages
            page_words(e, key.pages[i])[0] = e.free_page
            e.free_page = key.pages[i]
    key.live = 0
    key.older = e.free_bitmap
    e.free_bitmap = b


cdef inline void forget_bitmaps(engine_t *e) noexcept nogil:
    # forget_bitmaps: all of them; who searches looks each candidate up.
    cdef uint32_t b
    for b in range(e.n_bitmaps):
        if e.bitmap_keys[b].live:
            bitmap_drop(e, b)
    e.bitmap_filter = 0


cdef inline bint drop_idle(engine_t *e) noexcept nogil:
    # drop_idle: make room if the bitmap searched longest ago has been idle for long.
    cdef uint32_t b = e.oldest_bitmap
    # else two peers that are searched in turn would take each other's bitmap each time, and both would begin anew for ever
    if b == FN_NONE or e.bitmap_clock - e.bitmap_keys[b].last_search <= IDLE_SEARCHES * e.max_bitmaps:
        return False
    bitmap_drop(e, b)
    return True


cdef inline int bitmap_create(engine_t *e, tuple_t t) noexcept nogil:
    # bitmap_create: a bitmap that knows nothing yet.
    # => Its number, or -1: all are in use.
    cdef uint32_t b, slot, i
    e.bitmap_clock += 1
    if e.free_bitmap == FN_NONE and e.n_bitmaps == e.max_bitmaps and not drop_idle(e):
        return -1
    b = e.free_bitmap
    if b != FN_NONE:
        e.free_bitmap = e.bitmap_keys[b].older
    else:
        b = e.n_bitmaps
        e.n_bitmaps += 1
    t.rest = bitmap_key_rest(t)
    e.bitmap_keys[b].t = t
    e.bitmap_keys[b].live = 1
    e.bitmap_keys[b].last_search = e.bitmap_clock
    for i in range(FN_PAGES):
        e.bitmap_keys[b].pages[i] = FN_NONE
    # a bit stays when its bitmap goes: others may share it, and a bit too many only costs a look
    e.bitmap_filter |= filter_bit(t)
    join_queue(e, b)
    slot = bitmap_slot(e, t)
    while e.bitmap_index[slot] != FN_NONE:
        slot = (slot + 1) & e.bitmap_index_mask
    e.bitmap_index[slot] = b
    return <int>b


cdef inline bint new_page(engine_t *e, uint32_t *page) noexcept nogil:
    # new_page: => False: there is no memory for it.
    # the bitmap that wants it has just been searched and is not idle
    if e.free_page == FN_NONE and e.n_pages == e.max_pages and not drop_idle(e):
        return False
    if e.free_page != FN_NONE:
        page[0] = e.free_page
        e.free_page = <uint32_t>page_words(e, page[0])[0]
    elif e.n_pages < e.max_pages:
        page[0] = e.n_pages
        e.n_pages += 1
    else:
        return False
    # nothing is known yet; a page that was free still has the ports of its last bitmap
    memset(page_words(e, page[0]), 0, FN_PAGE_MAPS * FN_PAGE_WORDS * 8)
    return True


cdef inline bint has_page(engine_t *e, bitmap_key_t *key, uint32_t port) noexcept nogil:
    # has_page: the page of a port, a new one if need be.
    cdef uint32_t *page = &key.pages[port >> PAGE_SHIFT]
    # a page for each 2048 ports: a bitmap of a narrow range takes one of 32
    return fn_likely(page[0] != FN_NONE) or new_page(e, page)


cdef inline uint64_t *word_of(const engine_t *e, const bitmap_key_t *key, uint32_t port) noexcept nogil:
    # word_of: => The word of `taken` with the bit of a port, NULL where there is no page.
    cdef uint32_t page = key.pages[port >> PAGE_SHIFT]
    if page == FN_NONE:
        return NULL
    return page_words(e, page) + ((port & (FN_PAGE_PORTS - 1)) >> 6)


cdef inline uint32_t set_run(const engine_t *e, const bitmap_key_t *key, uint32_t which, uint32_t port, uint32_t n) noexcept nogil:
    # set_run: => How many of n ports of a page, from the first on, have their bit in one of its bitmaps. which: 0 for `taken`, or
    #    FN_KNOWN, FN_FIRM.
    cdef const uint64_t *word = word_of(e, key, port)
    cdef uint32_t done = 0
    cdef uint64_t other
    if word == NULL:
        return 0
    word += which
    # a word has 64 ports, the first one those from `port` on
    other = ~word[0] >> (port & 63)
    if other:
        done = <uint32_t>fn_ctz64(other)
        return done if done < n else n
    done = 64 - (port & 63)
    while done < n:
        word += 1
        other = ~word[0]
        if other:
            done += <uint32_t>fn_ctz64(other)
            break
        done += 64
    return done if done < n else n


cdef inline bint is_known_free(const engine_t *e, const bitmap_key_t *key, uint32_t port) noexcept nogil:
    # is_known_free: => Whether nobody has a port, as far as its page knows.
    cdef const uint64_t *word = word_of(e, key, port)
    return word != NULL and (word[FN_KNOWN] & ~word[0]) >> (port & 63) & 1


cdef inline bint knows_of(const engine_t *e, const bitmap_key_t *key, uint32_t port) noexcept nogil:
    # knows_of: => Whether there is a page with a port, whatever that says.
    return word_of(e, key, port) != NULL


cdef inline bint is_untaken(const engine_t *e, const bitmap_key_t *key, uint32_t port) noexcept nogil:
    # is_untaken: => Whether nobody is known to have a port; that nobody has it, is_known_free says.
    cdef const uint64_t *word = word_of(e, key, port)
    return word != NULL and not (word[0] >> (port & 63)) & 1


cdef inline void note_met(engine_t *e, const bitmap_key_t *key, uint32_t port) noexcept nogil:
    # note_met: somebody has been found to have a port.
    cdef uint64_t *word = word_of(e, key, port)
    cdef uint64_t bit = <uint64_t>1 << (port & 63)
    if word != NULL:
        word[0] |= bit
        word[FN_KNOWN] |= bit


cdef inline void note_firm(engine_t *e, const bitmap_key_t *key, uint32_t port) noexcept nogil:
    # note_firm: the owner of a port has been looked at, and does not give way.
    cdef uint64_t *word = word_of(e, key, port)
    note_met(e, key, port)
    if word != NULL:
        word[FN_FIRM] |= <uint64_t>1 << (port & 63)


cdef inline void note_closing(engine_t *e, tuple_t t) noexcept nogil:
    # note_closing: the owner of a tuple has come into a state in which it may give way.
    cdef int b = bitmap_find(e, t)
    cdef uint32_t port = <uint32_t>(t.rest >> 16) & 0xffff
    cdef uint64_t *word = word_of(e, &e.bitmap_keys[b], port) if b >= 0 else NULL
    if word != NULL:
        # `taken` stays: whether the owner does give way depends on the SYN that asks
        word[FN_FIRM] &= ~(<uint64_t>1 << (port & 63))
        e.bitmap_changes += 1


cdef inline uint64_t *noted_word(engine_t *e, tuple_t t) noexcept nogil:
    # noted_word: the word of `taken` for a tuple that enters or leaves the table; from here on the bit of its port is known.
    # => NULL: nobody keeps one.
    cdef int b = bitmap_find(e, t)
    cdef uint32_t port = <uint32_t>(t.rest >> 16) & 0xffff
    cdef uint64_t *word
    if b < 0:
        return NULL
    word = word_of(e, &e.bitmap_keys[b], port)
    if word == NULL:
        return NULL
    word[FN_KNOWN] |= <uint64_t>1 << (port & 63)
    # the last owner's, if it was set
    word[FN_FIRM] &= ~(<uint64_t>1 << (port & 63))
    return word


cdef inline void note_taken(engine_t *e, tuple_t t, bint firm) noexcept nogil:
    # note_taken: a tuple has entered the table. firm: its owner does not give way until note_closing.
    cdef uint64_t *word = noted_word(e, t)
    cdef uint64_t bit = <uint64_t>1 << ((t.rest >> 16) & 63)
    if word == NULL:
        return
    word[0] |= bit
    # where two may have one tuple, the other one may give way
    if firm and e.may_share_tuple == 0:
        word[FN_FIRM] |= bit


cdef inline void note_given_up(engine_t *e, tuple_t t) noexcept nogil:
    # note_given_up: a tuple has left the table.
    cdef uint64_t *word = noted_word(e, t)
    cdef uint64_t bit = <uint64_t>1 << ((t.rest >> 16) & 63)
    if word == NULL:
        return
    word[0] &= ~bit
    e.bitmap_changes += 1
    if fn_unlikely(e.may_share_tuple != 0):
        # where zones count for one direction, another connection may have the tuple still
        word[FN_KNOWN] &= ~bit
