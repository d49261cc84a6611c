# Remembering how packets fare that no rule can tell apart.
#
# Source: ours (Open vSwitch's megaflows are the same idea); the walk itself is ipt_do_table, see rules/match.
# Invariants: two packets with the same key meet the same rules with the same answers: addresses and ports count only
# as classes, cut at every address and port that a rule or a route names; whatever else a match may ask
# makes the walk unrepeatable, and then nothing is remembered. Counters of a memo are those of all its rules.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from ..types cimport *
from ..fib cimport classify
from ..tuples.tuple cimport tuple_proto, tuple_src
from .dispatch cimport count_rule, rule_of_source, varied_rule
from .match cimport ct_state_bit, do_table
from .nftables cimport run_bases


# enum place by table and hook
cdef extern from *:
    """
    static const uint8_t fn_place[5][5] = {
        {PLACE_RAW, PLACE_ELSEWHERE, PLACE_ELSEWHERE, PLACE_ELSEWHERE, PLACE_ELSEWHERE},
        {PLACE_MANGLE_PREROUTING, PLACE_ELSEWHERE, PLACE_MANGLE_FORWARD, PLACE_ELSEWHERE, PLACE_MANGLE_POSTROUTING},
        {PLACE_DST, PLACE_ELSEWHERE, PLACE_ELSEWHERE, PLACE_ELSEWHERE, PLACE_SRC},
        {PLACE_ELSEWHERE, PLACE_ELSEWHERE, PLACE_FILTER, PLACE_ELSEWHERE, PLACE_ELSEWHERE},
        {PLACE_ELSEWHERE, PLACE_ELSEWHERE, PLACE_ELSEWHERE, PLACE_ELSEWHERE, PLACE_ELSEWHERE},
    };
    """
    const uint8_t place_of "fn_place"[5][5]


cdef enum:
    # where a key holds pkt_t.apart, above both classes
    APART_SHIFT = 60
    # of its upper half, the class of the destination
    DST_CLASS = 0xfffffff


cdef inline void table_memo_key(const engine_t *e, uint32_t table, pkt_t *p, uint64_t *key) noexcept nogil:
    # table_memo_key: everything about the packet that a repeatable match may ask.
    cdef uint32_t state = ct_state_bit(e, p)
    classify(e, p)
    key[0] = p.src_class | <uint64_t>p.dst_class << 32 | <uint64_t>p.apart << APART_SHIFT
    key[1] = (p.mark | <uint64_t>(p.tcp_flags & 0xff) << 32 | <uint64_t>tuple_proto(p.t) << 40
              | <uint64_t>(table * 5 + p.hook) << 48 | <uint64_t>(state & 0xff) << 56)
    # its bits: from 0 and 12 on both devices, from 24 and 42 the classes of the ports, 60 and 61 SNAT and DNAT; 63 says that it is a key
    key[2] = p.in_iface | <uint64_t>p.out_iface << 12 | p.port_classes | <uint64_t>(state >> 14) << 60 | <uint64_t>1 << 63


cdef inline uint32_t slot_of(const engine_t *e, const uint64_t *key) noexcept nogil:
    # slot_of: the place of a key among the memos of tables, and of shortcuts/hook_memo's.
    cdef uint64_t h = key[0] ^ key[1] * <uint64_t>0x9e3779b97f4a7c15 ^ key[2]
    # so that the uppermost bits count, too: the table, the hook, the state
    h ^= h >> 32
    return <uint32_t>(h * <uint64_t>0xbf58476d1ce4e5b9 >> 40) & (e.n_memos - 1)


cdef inline void count_rules(engine_t *e, const uint32_t *rules, uint32_t n, uint64_t packets, uint64_t bytes_) noexcept nogil:
    # count_rules: hand remembered counters over to the rules.
    cdef uint32_t i
    for i in range(n):
        e.rules[rules[i]].packets += packets
        e.rules[rules[i]].bytes += bytes_


cdef inline void table_memo_flush(engine_t *e, table_memo_t *memo) noexcept nogil:
    # table_memo_flush: the rules' own counters hold what the memo counted.
    count_rules(e, memo.rules, memo.n if memo.packets else 0, memo.packets, memo.bytes)
    memo.packets = 0
    memo.bytes = 0


cdef inline bint l4_cut(const pkt_t *p) noexcept nogil:
    # l4_cut: the datagram ends inside the l4 header: a port match of its protocol would drop it at once; or it is a fragment
    #    without one, or nobody knows what it is.
    cdef uint32_t need = 8 if tuple_proto(p.t) == PROTO_UDP or tuple_proto(p.t) == PROTO_ICMP else 20
    return p.data != NULL and (p.len < p.l4off + need or p.part >= PART_LATER)


cdef inline uint32_t varied_of(const engine_t *e, pkt_t *p, uint32_t rule) noexcept nogil:
    # varied_of: => VARIED_* of an alike rule that matched; the packet is not repeatable if it has too many of its kind.
    cdef uint32_t run, step, at
    for run in range(e.n_apart):
        if not (p.apart >> run) & 1:
            continue
        at = rule_of_source(e, &e.dispatches[e.apart[run]], tuple_src(p.t))
        for step in range(VARIED_STEPS):
            if at == rule:
                return run + 1 + VARIED_STEP * step
            # behind the last rule for this source the run is left
            if not e.rules[at].tests & RULE_TESTS_ALIKE:
                break
            at = e.rules[at].next
    p.unrepeatable = True
    return 0


cdef inline const target_t *varied_target(engine_t *e, const pkt_t *p, const table_memo_t *memo) noexcept nogil:
    # varied_target: count the source's own rule of those that are alike.
    # => The range that decides.
    cdef uint32_t rule = varied_rule(e, memo.varied, tuple_src(p.t))
    count_rule(e, rule, p.length)
    # a rule for the source that lets the walk go on has no range
    return &e.targets[e.rules[rule].target_arg if e.rules[rule].target == TARGET_SNAT else memo.target_arg]


cdef inline uint32_t walk_anew(engine_t *e, uint32_t table, pkt_t *p, table_memo_t *memo, const uint64_t *key) noexcept nogil:
    # walk_anew: walk, and remember in the place of memo how the packet fared; NULL: nowhere.
    # => As walk_table.
    cdef table_memo_t fresh
    cdef bint untracked = p.untracked
    fresh.n = 0
    fresh.varied = 0
    fresh.target_arg = 0
    p.unrepeatable = False
    p.asks_tuple = False
    fresh.kind = <unsigned char>do_table(e, table, p, &fresh)
    p.target = &e.targets[fresh.target_arg]
    if memo == NULL:
        return fresh.kind
    # of alike rules, which differ by source, the memo notes which kind it is, not which rule
    if fresh.varied:
        fresh.varied = varied_of(e, p, fresh.varied - 1)
    # a rule that asked for more than the key, or changed more than the mark: the next packet walks again
    if not p.unrepeatable and fresh.n <= FN_TABLE_MEMO_RULES:
        table_memo_flush(e, memo)
        fresh.key[0] = key[0]
        fresh.key[1] = key[1]
        fresh.key[2] = key[2]
        fresh.packets = 0
        fresh.bytes = 0
        fresh.mark = p.mark
        fresh.asks_tuple = p.asks_tuple
        fresh.untracked = p.untracked and not untracked
        memo[0] = fresh
        p.walks[place_of[table][p.hook]] = <uint16_t>(memo - e.table_memos + 1)
    return fresh.kind


cdef inline uint32_t walk_table(engine_t *e, uint32_t table, pkt_t *p) noexcept nogil:
    # walk_table: what the table's rules say about the packet, as do_table does.
    # => What do_table returns: TARGET_ACCEPT, TARGET_DROP, TARGET_TOO_FAR, or the NAT target that decided, with p.target its range.
    cdef uint64_t key[3]
    cdef uint32_t slot
    cdef table_memo_t *memo
    if e.hook_entry[table][p.hook] == FN_NONE:
        return TARGET_ACCEPT
    if fn_unlikely(e.n_bases != 0):
        fn_rarely()
        return run_bases(e, table, p)
    # what is cut off may be dropped by any rule that asks for ports, which a key does not say
    if e.n_memos == 0 or l4_cut(p):
        return walk_anew(e, table, p, NULL, NULL)
    table_memo_key(e, table, p, key)
    slot = slot_of(e, key)
    memo = &e.table_memos[slot]
    if memo.key[0] != key[0] or memo.key[1] != key[1] or memo.key[2] != key[2]:
        return walk_anew(e, table, p, memo, key)
    memo.packets += 1
    memo.bytes += p.length
    # what is reported does not depend on whether something was remembered
    e.stats[STAT_RULES_WALKED] += memo.walked
    # rules may have set it; the key has the mark in front of them, so it is the same for all
    p.mark = memo.mark
    p.target = &e.targets[memo.target_arg]
    if fn_unlikely(memo.untracked):
        # the key says that it had neither connection nor template
        p.untracked = True
        p.ctinfo = IP_CT_UNTRACKED
    if fn_unlikely(memo.varied != 0):
        p.target = varied_target(e, p, memo)
    p.walks[place_of[table][p.hook]] = <uint16_t>(slot + 1)
    return memo.kind
