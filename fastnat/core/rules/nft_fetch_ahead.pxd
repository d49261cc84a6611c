# What the chains of nftables will read for new connections to services, fetched before anybody walks them.
#
# Source: ours. A service among thousands is a slot, an element, two chains and the verdicts behind numgen, a dozen lines that
# depend on each other; for a group of packets the same step of all of them can be on its way at once.
# Invariants: reads sets, and rules up to the end of their chain, and changes nothing. What it guesses wrong is fetched in vain: it
# takes comparisons to hold, and the first number that a packet draws to be numgen's.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp
from ..types cimport *
from ..tuples.hash cimport splitmix64, stream_of
from .nft_load cimport put_addr, scaled
from .nft_sets cimport element_data, element_words, key_hash

cdef enum:
    # expressions of a chain that are looked at, and their lines; chains behind one another
    EXPRS = 16
    LINES = 4
    CHAINS = 3


cdef inline bint guess(const nft_expr_t *x, const packet_t *in_, uint32_t *to) noexcept nogil:
    # guess: load a part of a key without a connection.
    # => False: it is none that a packet's headers say.
    cdef uint32_t source_at = 8 if FN_V6 else 12
    if x.kind == NFT_META and x.a == NFT_META_L4PROTO:
        to[0] = in_.proto
    elif x.kind == NFT_PAYLOAD and x.a == NFT_BASE_TRANSPORT and x.c == 2 and (x.b == 0 or x.b == 2):
        to[0] = in_.dport if x.b else in_.sport
    elif x.kind == NFT_PAYLOAD and x.a == NFT_BASE_NETWORK and x.c == FN_ADDR_BYTES and (x.b == source_at or x.b == source_at + FN_ADDR_BYTES):
        put_addr(to, in_.src if x.b == source_at else in_.dst)
    else:
        return False
    return True


cdef inline const nft_set_t *guess_key(const engine_t *e, uint32_t rule, const packet_t *in_, uint32_t *key) noexcept nogil:
    # guess_key: what a rule will look up for a packet.
    # => NULL: nobody can tell.
    cdef const nft_rule_t *r = &e.nft_rules[rule]
    cdef const nft_expr_t *x
    cdef uint32_t regs[FN_NFT_REGISTERS]
    cdef uint32_t i, k
    for i in range(r.n):
        x = &e.nft_exprs[r.first + i]
        if x.kind == NFT_LOOKUP:
            for k in range(e.nft_sets[x.a].key_words):
                key[k] = regs[x.sreg + k]
            return &e.nft_sets[x.a]
        # of what a comparison rejects too much is fetched; most packets that a chain of services sees pass it
        if x.kind != NFT_CMP and not guess(x, in_, regs + x.dreg):
            return NULL
    return NULL


cdef inline void fetch_exprs(engine_t *e, uint32_t rule) noexcept nogil:
    # fetch_exprs: those of the first rules of a chain.
    cdef const nft_expr_t *first = &e.nft_exprs[e.nft_rules[rule].first]
    cdef uint32_t i
    for i in range(LINES):
        fn_prefetch(first + EXPRS // LINES * i)


cdef inline const uint32_t *follow(engine_t *e, uint32_t rule, uint64_t number) noexcept nogil:
    # follow: what the expressions of a chain will read, and where the chain that it leads to is said. number: of the packet.
    # => NULL: it leads to none.
    cdef const uint32_t *said = NULL
    cdef const nft_expr_t *x = &e.nft_exprs[e.nft_rules[rule].first]
    cdef uint64_t state = stream_of(e, number)
    cdef uint32_t drawn = 0
    cdef uint32_t _i
    for _i in range(EXPRS):
        if x.kind == NFT_VERDICT and x.a == TARGET_CHAIN_END:
            break
        # drawn as the walk will draw it: the numbers of a packet follow from its own number alone (begin_packet), not from who came before
        if x.kind == NFT_NUMGEN and x.sreg:
            drawn = scaled(<uint32_t>(splitmix64(&state) >> 32), x.b) + x.c
        elif x.kind == NFT_CHOOSE:
            # a number that the map has not is a guess gone wrong anyway: any element of the map is inside the array
            said = &e.nft_words[x.a + 2 * (drawn if drawn < x.b else 0) + 1]
            fn_prefetch(said)
            break
        elif x.kind == NFT_VERDICT and x.a == TARGET_GOTO:
            said = &x.b
        elif x.words > 1 and (x.kind == NFT_CMP or x.kind == NFT_IMMEDIATE):
            fn_prefetch(&e.nft_words[x.a])
        x += 1
    return said


cdef inline void fetch_chains(engine_t *e, const uint32_t **said, const uint64_t *numbers, uint32_t n) noexcept nogil:
    # fetch_chains: of n packets the chains that their verdicts lead to, step by step, and what these lead to.
    cdef uint32_t chains[FN_STAGE]
    cdef uint32_t _level, i
    for _level in range(CHAINS):
        # three loops, not one: when the second comes back to a packet, what the first has asked for is there
        for i in range(n):
            chains[i] = said[i][0] if said[i] != NULL else 0
            fn_prefetch(&e.nft_rules[chains[i]])
        for i in range(n):
            fetch_exprs(e, chains[i])
        for i in range(n):
            if said[i] != NULL:
                said[i] = follow(e, chains[i], numbers[i])


cdef inline void fetch_wide(engine_t *e, uint32_t rule, const packet_t *in_, const uint32_t *which, uint32_t n, uint64_t number) noexcept nogil:
    # fetch_wide: for the packets that `which` names, at most FN_STAGE, what a rule looks up. number: of the first of in_.
    cdef uint32_t keys[FN_STAGE][FN_NFT_KEY]
    cdef uint32_t heads[FN_STAGE]
    cdef uint64_t numbers[FN_STAGE]
    cdef const uint32_t *said[FN_STAGE]
    cdef const nft_set_t *s = NULL
    cdef uint32_t i, element
    cdef uint32_t found = 0
    for i in range(n):
        s = guess_key(e, rule, in_ + which[i], keys[i])
        # what guess cannot tell it can tell of no packet: that depends on the rule alone, which all of them share
        if s == NULL:
            return
        heads[i] = s.slot + (key_hash(e, s, keys[i]) & s.mask)
        fn_prefetch(&e.nft_slots[heads[i]])
    for i in range(n):
        element = e.nft_slots[heads[i]] - 1
        if element != FN_NONE:
            fn_prefetch(element_words(e, s, element))
            fn_prefetch(element_data(e, s, element) + 1)
    for i in range(n):
        element = e.nft_slots[heads[i]] - 1
        # who has another key is followed no further: the next item of the chain would be one more line to wait for
        if element != FN_NONE and memcmp(element_words(e, s, element), keys[i], 4 * s.key_words) == 0:
            said[found] = element_data(e, s, element) + 1
            numbers[found] = number + which[i]
            found += 1
    fetch_chains(e, said, numbers, found)


cdef inline void look_ahead_in_chains(engine_t *e, const packet_t *in_, const uint32_t *which, uint32_t n, uint64_t number) noexcept nogil:
    # look_ahead_in_chains: for the packets that `which` names, at most FN_STAGE, what all wide maps lead to.
    cdef uint32_t i
    for i in range(e.n_nft_wide):
        fetch_wide(e, e.nft_wide[i], in_, which, n, number)
