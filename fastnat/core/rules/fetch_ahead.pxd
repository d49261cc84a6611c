# The rules that the addresses of new connections lead to, fetched before anybody walks them.
#
# Source: ours. A service among thousands is four or five lines that depend on each other; for a group of packets the
# same step of all of them can be on its way at once.
# Invariants: reads rules, none behind the end of its chain, and changes nothing. What it guesses wrong is fetched in vain.
from libc.stdint cimport uint32_t
from ..types cimport (dispatch_t, DISPATCH_DST, DISPATCH_MARK, engine_t, fn_prefetch, fn_prefetch_write, FN_NONE, FN_STAGE,
                      packet_t, rule_t, RULE_TESTS_ALIKE, RULE_TESTS_PROTO, TARGET_CHAIN_END, TARGET_DNAT, TARGET_JUMP,
                      TARGET_MARK, TARGET_POLICY_ACCEPT, TARGET_POLICY_DROP, TARGET_SNAT)
from .dispatch cimport dispatch_key, dispatch_rule, dispatch_slot

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
        # to be written: each rule that matches counts the packet
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
        elif r.target == TARGET_DNAT or r.target == TARGET_SNAT:
            fn_prefetch(&e.targets[r.target_arg])
        elif is_end(r):
            return


cdef inline uint32_t fetched_key(const dispatch_t *d, const packet_t *in_, uint32_t mark) noexcept nogil:
    # fetched_key: what a run will probably ask for; mark: the packet's by then.
    if d.kind == DISPATCH_MARK:
        return mark
    return dispatch_key(d, in_.dst if d.kind == DISPATCH_DST else in_.src)


cdef inline uint32_t own_row(engine_t *e, uint32_t rule, uint32_t proto) noexcept nogil:
    # own_row: of alike rules for one source and tcp or udp the packet's; the other one, if it has to be fetched.
    cdef const rule_t *r = &e.rules[rule]
    if not (r.tests & RULE_TESTS_ALIKE and r.tests & RULE_TESTS_PROTO) or r.proto == proto:
        return rule
    fn_prefetch_write(&e.rules[r.next])
    return r.next


cdef inline void fetch_targets(engine_t *e, const uint32_t *rules, uint32_t n) noexcept nogil:
    # fetch_targets: what rules that have come carry, and the chains to which they lead.
    cdef uint32_t chains[FN_STAGE]
    cdef uint32_t found = 0
    cdef uint32_t i
    cdef const rule_t *r
    for i in range(n):
        r = &e.rules[rules[i]]
        if r.target == TARGET_JUMP:
            chains[found] = r.target_arg
            fetch_chain(e, r.target_arg)
            found += 1
        elif r.target == TARGET_SNAT or r.target == TARGET_MARK:
            fn_prefetch(&e.targets[r.target_arg])
    # two rounds, since the second reads the rules that the first has only asked for
    for i in range(found):
        fetch_called(e, chains[i], False)
    for i in range(found):
        fetch_called(e, chains[i], True)


cdef inline void fetch_run(engine_t *e, const dispatch_t *d, const packet_t *in_, const uint32_t *which, uint32_t n,
                           uint32_t *marks) noexcept nogil:
    # fetch_run: for the packets that `which` names, at most FN_STAGE, along a run of rules. marks: theirs in front of it and behind.
    cdef uint32_t keys[FN_STAGE]
    cdef uint32_t rules[FN_STAGE]
    cdef uint32_t places[FN_STAGE]
    cdef uint32_t found = 0
    cdef uint32_t i, rule
    for i in range(n):
        keys[i] = fetched_key(d, in_ + which[i], marks[i])
        fn_prefetch(&e.dispatch_slots[dispatch_slot(d, keys[i])])
    for i in range(n):
        rule = dispatch_rule(e, d, keys[i])
        if rule != FN_NONE:
            fn_prefetch_write(&e.rules[rule])
            rules[found] = rule
            places[found] = i
            found += 1
    for i in range(found):
        rules[i] = own_row(e, rules[i], in_[which[places[i]]].proto)
    fetch_targets(e, rules, found)
    for i in range(found):
        if e.rules[rules[i]].target == TARGET_MARK:
            # as if the rule set all bits: with a mask the guess is wrong, which costs a line that nobody needs
            marks[places[i]] = e.targets[e.rules[rules[i]].target_arg].value


cdef inline void look_ahead_in_rules(engine_t *e, const packet_t *in_, const uint32_t *which, uint32_t n) noexcept nogil:
    # look_ahead_in_rules: for the packets that `which` names, at most FN_STAGE, along all runs that are wide, those by mark last.
    cdef uint32_t marks[FN_STAGE]
    cdef uint32_t i
    for i in range(n):
        marks[i] = in_[which[i]].mark
    for i in range(e.n_wide):
        fetch_run(e, &e.dispatches[e.wide[i]], in_, which, n, marks)
