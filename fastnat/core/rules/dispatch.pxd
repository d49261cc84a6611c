# Runs of rules that all ask for one key each, looked up in place of being walked.
#
# Source: ours; the kernel walks every rule.
# Invariants: a rule that is passed over asks for another key than the packet has, and asks for it before anything that
# counts what it sees. Runs for sources in engine_t.apart are no classes of addresses: classify notes whether a rule of each
# asks for the source, and either all rules of the run are alike, so that a memo of one source serves another, or
# a walk that meets one of them is not remembered.
from libc.stdint cimport uint32_t
from ..types cimport addr_t, dispatch_t, engine_t, FN_ADDR_BITS, FN_NONE, FN_V6, VARIED_RUN, VARIED_STEP


cdef inline uint32_t dispatch_hash(uint32_t key) noexcept nogil:
    # dispatch_hash: multiplicative; rules/compiler.py fills the slots by the same rule.
    return (key * <uint32_t>0x9e3779b1) >> 7


cdef inline uint32_t dispatch_key(const dispatch_t *d, addr_t addr) noexcept nogil:
    # dispatch_key: the network of an address in 32 bits; rules whose networks fold to the same key are tried one after the other.
    cdef addr_t network = addr >> d.shift
    cdef uint32_t key = <uint32_t>network
    cdef uint32_t i
    # of IPv4 the key is the network itself; 128 bits are folded, and rules are asked for the rest (rule_of_source, rule_fits)
    for i in range(1, FN_ADDR_BITS // 32):
        key ^= <uint32_t>(network >> (32 * i))
    return key


cdef inline uint32_t dispatch_slot(const dispatch_t *d, uint32_t key) noexcept nogil:
    # dispatch_slot: => Where the search for a key begins.
    return d.first_slot + (dispatch_hash(key) & d.mask)


cdef inline uint32_t dispatch_rule(const engine_t *e, const dispatch_t *d, uint32_t key) noexcept nogil:
    # dispatch_rule: the first rule of a run that asks for a key.
    # => FN_NONE: none does.
    cdef uint32_t slot = dispatch_slot(d, key)
    # ends: the compiler fills no more than half of a run's slots
    while e.dispatch_slots[slot].rule != FN_NONE and e.dispatch_slots[slot].key != key:
        slot = d.first_slot + ((slot - d.first_slot + 1) & d.mask)
    return e.dispatch_slots[slot].rule


cdef inline uint32_t rule_of_source(const engine_t *e, const dispatch_t *d, addr_t src) noexcept nogil:
    # rule_of_source: the first rule of an apart run that asks for a source.
    # => FN_NONE: none does, also where another network has the same key.
    cdef uint32_t rule = dispatch_rule(e, d, dispatch_key(d, src))
    if FN_V6 and rule != FN_NONE and (src ^ e.rules[rule].src) & e.rules[rule].smask:
        return FN_NONE
    return rule


cdef inline uint32_t apart_of(const engine_t *e, addr_t src) noexcept nogil:
    # apart_of: => Bit per apart run: a rule of it asks for the source.
    cdef uint32_t bits = 0
    cdef uint32_t i
    for i in range(e.n_apart):
        if rule_of_source(e, &e.dispatches[e.apart[i]], src) != FN_NONE:
            bits |= <uint32_t>1 << i
    return bits


cdef inline uint32_t varied_rule(const engine_t *e, uint32_t varied, addr_t src) noexcept nogil:
    # varied_rule: the rule that the source has where a memo's maker had its own. The source has one: the memo's key says it.
    cdef uint32_t rule = rule_of_source(e, &e.dispatches[e.apart[(varied & VARIED_RUN) - 1]], src)
    cdef uint32_t _step
    for _step in range(varied // VARIED_STEP):
        rule = e.rules[rule].next
    return rule


cdef inline void count_rule(engine_t *e, uint32_t rule, uint32_t length) noexcept nogil:
    # count_rule: one packet more.
    e.rules[rule].packets += 1
    e.rules[rule].bytes += length
