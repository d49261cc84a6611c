# Sets and maps of nftables: what is looked up in them, and what rules add to them.
#
# Source: nft_set_hash.c, nft_set_rbtree.c, nft_set_pipapo.c, nft_dynset.c (Linux 6.18).
# Invariants: an element is in one chain of its set; one that is due is not found and gives way to a new one. Links are places
# plus one, 0 none, so that a set that nobody has touched takes no memory. An interval set never changes while the engine runs,
# nor does a concatenation of intervals: the kernel refuses rules that add to those.
# Differs from the kernel: elements that are due leave the set when it is full or when one is added, not by a timer.
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcmp, memcpy
from ..types cimport *


cdef inline uint32_t *element_words(const engine_t *e, const nft_set_t *s, uint32_t element) noexcept nogil:
    # element_words: => The key of an element; its data lie behind it.
    return &e.nft_words[s.words + (element - s.first) * s.stride]


cdef inline uint32_t *element_data(const engine_t *e, const nft_set_t *s, uint32_t element) noexcept nogil:
    # element_data: => The data of an element of a map.
    return element_words(e, s, element) + s.stride - s.data_words


cdef inline bint is_due(const engine_t *e, const nft_element_t *x) noexcept nogil:
    # is_due: nft_set_elem_expired.
    return x.timeout and <int32_t>(x.expires - <uint32_t>e.now) <= 0


cdef inline bint is_over(const engine_t *e, const nft_set_t *s, uint32_t element) noexcept nogil:
    # is_over: is_due of an element of a set; of one without times its record stays where it is, a cache line less.
    return s.timed and is_due(e, &e.nft_elements[element])


cdef inline int compare_words(const uint32_t *a, const uint32_t *b, uint32_t n) noexcept nogil:
    # compare_words: => Less than 0, 0 or more, as numbers whose most significant word stands first.
    cdef uint32_t i
    for i in range(n):
        if a[i] != b[i]:
            return -1 if a[i] < b[i] else 1
    return 0


cdef inline uint32_t key_hash(const engine_t *e, const nft_set_t *s, const uint32_t *key) noexcept nogil:
    # key_hash: multiplicative; nftables/sets.py fills the slots by the same rule.
    cdef uint32_t h = 0
    cdef uint32_t i, word
    for i in range(s.key_words):
        # of ranges only the parts that are single values in all elements say where to look
        word = key[i] & e.nft_words[s.exact + i] if s.kind == NFT_SET_RANGES else key[i]
        h = (h ^ word) * <uint32_t>0x9e3779b1
        h ^= h >> 15
    return h


cdef inline bint lies_between(const engine_t *e, const nft_set_t *s, uint32_t element, const uint32_t *key) noexcept nogil:
    # lies_between: each part of a key between its two ends. Parts of several words are whole prefixes, single values or
    # ranges: nftables/sets.py gives each its own element where its words do not say it one by one.
    cdef const uint32_t *low = element_words(e, s, element)
    cdef uint32_t i
    for i in range(s.key_words):
        if key[i] < low[i] or key[i] > low[s.key_words + i]:
            return False
    return True


cdef inline uint32_t find_interval(const engine_t *e, const nft_set_t *s, const uint32_t *key) noexcept nogil:
    # find_interval: the interval with the last low end that is not above the key.
    # => FN_NONE: there is none, or it ends before the key.
    cdef uint32_t low = 0
    cdef uint32_t high = s.used
    cdef uint32_t middle
    cdef const uint32_t *words
    while low < high:
        middle = (low + high) >> 1
        if compare_words(element_words(e, s, s.first + middle), key, s.key_words) <= 0:
            low = middle + 1
        else:
            high = middle
    # intervals do not overlap: if this one does not hold the key, none does
    if low == 0:
        return FN_NONE
    words = element_words(e, s, s.first + low - 1)
    return s.first + low - 1 if compare_words(key, words + s.key_words, s.key_words) <= 0 else FN_NONE


cdef inline uint32_t find_chained(const engine_t *e, const nft_set_t *s, const uint32_t *key) noexcept nogil:
    # find_chained: an element of exactly this key, or of a concatenation that holds it.
    cdef uint32_t at = e.nft_slots[s.slot + (key_hash(e, s, key) & s.mask)] - 1
    while at != FN_NONE:
        if s.kind == NFT_SET_RANGES:
            if lies_between(e, s, at, key) and not is_over(e, s, at):
                return at
        elif memcmp(element_words(e, s, at), key, 4 * s.key_words) == 0:
            return at
        at = e.nft_elements[at].next - 1
    return FN_NONE


cdef inline uint32_t find_in_set(const engine_t *e, const nft_set_t *s, const uint32_t *key) noexcept nogil:
    # find_in_set: => The element that holds a key, else the catch-all, else FN_NONE.
    cdef uint32_t at = find_interval(e, s, key) if s.kind == NFT_SET_INTERVALS else find_chained(e, s, key)
    if at != FN_NONE and not is_over(e, s, at):
        return at
    # the catch-all holds whatever no element holds, also where the one that did is over
    at = s.any
    return at if at != FN_NONE and not is_over(e, s, at) else FN_NONE


cdef inline void remove_element(engine_t *e, nft_set_t *s, uint32_t element) noexcept nogil:
    # remove_element: take an element of a hash out of its chain.
    cdef uint32_t *link = &e.nft_slots[s.slot + (key_hash(e, s, element_words(e, s, element)) & s.mask)]
    while link[0] != element + 1:
        link = &e.nft_elements[link[0] - 1].next
    link[0] = e.nft_elements[element].next
    e.nft_elements[element].used = 0
    e.nft_elements[element].next = s.free
    s.free = element + 1
    s.count -= 1


cdef inline void remove_due(engine_t *e, nft_set_t *s) noexcept nogil:
    # remove_due: take out all elements that are due (nft_rhash_gc).
    cdef uint32_t i
    for i in range(s.first, s.first + s.used):
        if e.nft_elements[i].used and is_due(e, &e.nft_elements[i]):
            remove_element(e, s, i)


cdef inline uint32_t new_element(engine_t *e, nft_set_t *s, const uint32_t *key) noexcept nogil:
    # new_element: an element of this key, which is not in the set.
    # => FN_NONE: the set is full.
    cdef uint32_t at
    cdef uint32_t *head
    if s.count == s.size:
        # the kernel collects in the background; here nobody needs the room before the set is full
        remove_due(e, s)
    if s.count == s.size:
        return FN_NONE
    if s.free:
        at = s.free - 1
        s.free = e.nft_elements[at].next
    else:
        at = s.first + s.used
        s.used += 1
    s.count += 1
    memcpy(element_words(e, s, at), key, 4 * s.key_words)
    head = &e.nft_slots[s.slot + (key_hash(e, s, key) & s.mask)]
    e.nft_elements[at].next = head[0]
    e.nft_elements[at].used = 1
    head[0] = at + 1
    return at


cdef inline void start_states(engine_t *e, const nft_set_t *s, uint32_t element) noexcept nogil:
    # start_states: what the element carries begins as the set says it, behind the states of its last element.
    cdef uint32_t at = s.states + (element - s.first) * s.n_states
    memcpy(&e.nft_states[at], &e.nft_states[s.states + s.size * s.n_states], s.n_states * sizeof(nft_state_t))


cdef inline uint32_t change_set(engine_t *e, const nft_expr_t *x, const uint32_t *regs, uint32_t *element) noexcept nogil:
    # change_set: nft_dynset_eval, but for what the element carries.
    # => 1 if the rule goes on. element: the one that was found or made; FN_NONE none.
    cdef nft_set_t *s = &e.nft_sets[x.a]
    cdef uint32_t op = x.b & 0xff
    cdef uint32_t timeout = x.c if x.c else s.timeout
    cdef const uint32_t *key = regs + x.sreg
    cdef uint32_t at = find_chained(e, s, key)
    element[0] = FN_NONE
    if op == NFT_DYNSET_DELETE:
        if at != FN_NONE:
            remove_element(e, s, at)
        return 1
    if at != FN_NONE and is_due(e, &e.nft_elements[at]):
        remove_element(e, s, at)
        at = FN_NONE
    if at == FN_NONE:
        at = new_element(e, s, key)
        if at == FN_NONE:
            return 0
        # a map: the statement says what the key leads to
        if x.b >> 8:
            memcpy(element_data(e, s, at), regs + x.dreg, 4 * s.data_words)
        # a place that was used before still has the counts of its last element
        start_states(e, s, at)
        e.nft_elements[at].timeout = timeout
        e.nft_elements[at].expires = <uint32_t>e.now + timeout
        if not timeout:
            e.nft_elements[at].used = 1 | FN_NFT_TIMELESS
    elif op == NFT_DYNSET_UPDATE and e.nft_elements[at].timeout:
        # one that stays for ever goes on doing so, and its own timeout is what it was; where neither the statement nor the
        # set says a time, it ends at once
        e.nft_elements[at].expires = <uint32_t>e.now + timeout
    element[0] = at
    return 1
