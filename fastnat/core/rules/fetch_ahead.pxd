# The rules that the destinations of new connections lead to, fetched before anybody walks them.
#
# Source: ours. A service among thousands is four or five lines that depend on each other; for a group of packets the
# same step of all of them can be on its way at once.
# Invariants: reads rules, none behind the end of its chain, and changes nothing. What it guesses wrong is fetched in vain.
from libc.stdint cimport uint32_t
from ..types cimport (dispatch_t, engine_t, fn_prefetch, fn_prefetch_write, FN_NONE, packet_t, rule_t, TARGET_CHAIN_END,
                      TARGET_DNAT, TARGET_JUMP, TARGET_POLICY_ACCEPT, TARGET_POLICY_DROP)
from .match cimport dispatch_rule, dispatch_slot, dispatch_key

cdef enum:
    # rules of a chain that are looked at: more endpoints than that are rarely the next ones
    RULES = 3


cdef inline bint is_end(const rule_t *r) noexcept nogil:
    # is_end: => Whether a chain ends with this rule.
    return r.target == TARGET_CHAIN_END or r.target == TARGET_POLICY_ACCEPT or r.target == TARGET_POLICY_DROP


cdef inline void fetch_chain(engine_t *e, uint32_t first) noexcept nogil:
    # fetch_chain: the first rules of a chain.
    cdef uint32_t k
    for k in range(RULES):
        fn_prefetch_write(&e.rules[first + k])


cdef inline void fetch_called(engine_t *e, uint32_t first, bint deeper) noexcept nogil:
    # fetch_called: the ranges of a chain's targets, and the chains that its first rules jump to; or, deeper, what those
    # call, when they have come themselves.
    cdef const rule_t *r
    cdef uint32_t k
    for k in range(RULES):
        r = &e.rules[first + k]
        if r.target == TARGET_JUMP and deeper:
            fetch_called(e, r.target_arg, False)
        elif r.target == TARGET_JUMP:
            fn_prefetch_write(&e.rules[r.target_arg])
            fn_prefetch_write(&e.rules[r.target_arg + 1])
        elif r.target == TARGET_DNAT:
            fn_prefetch(&e.targets[r.target_arg])
        elif is_end(r):
            return


cdef inline void look_ahead_in_rules(engine_t *e, const packet_t *in_, const uint32_t *which, uint32_t n) noexcept nogil:
    # look_ahead_in_rules: for the packets that `which` names, along the greatest run of rules that ask for a destination.
    # => n is at most FN_STAGE.
    cdef const dispatch_t *d = &e.dispatches[e.widest_run]
    cdef uint32_t rules[32]
    cdef uint32_t found = 0
    cdef uint32_t i, rule
    for i in range(n):
        rules[i] = dispatch_slot(d, dispatch_key(in_[which[i]].dst))
        fn_prefetch(&e.dispatch_slots[rules[i]])
    for i in range(n):
        rule = dispatch_rule(e, d, dispatch_key(in_[which[i]].dst))
        if rule != FN_NONE:
            fn_prefetch_write(&e.rules[rule])
            rules[found] = rule
            found += 1
    n = found
    found = 0
    for i in range(n):
        if e.rules[rules[i]].target == TARGET_JUMP:
            rules[found] = e.rules[rules[i]].target_arg
            fetch_chain(e, rules[found])
            found += 1
    for i in range(found):
        fetch_called(e, rules[i], False)
    for i in range(found):
        fetch_called(e, rules[i], True)
