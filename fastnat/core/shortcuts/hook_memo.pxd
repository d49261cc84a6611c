# Remembering what the hooks decide for the first packet of a forwarded connection.
#
# Source: ours; it stands for raw, PREROUTING, routing, FORWARD and POSTROUTING, see hooks and rules/walk.
# Invariants: a memo is made only by a packet that took the long way, and only out of repeatable walks, of which that of nat
# PREROUTING left the destination alone or gave all packets one and the same; packets with its key differ for no rule, no route
# and no martian check. The connection's own steps (null binding, setup_info, confirm) are never remembered.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport *
from ..conntrack.confirm cimport confirm
from ..nat.setup cimport null_binding, range_of_address, setup_info, source_target
from ..fib cimport address_last, classify, is_link_local
from ..rules.dispatch cimport count_rule, varied_rule
from ..rules.walk cimport APART_SHIFT, DST_CLASS, count_rules, table_memo_flush, slot_of
from ..source_address cimport only_addr6
from ..tuples.tuple cimport invert_tuple, tuple_dport, tuple_proto, tuple_src, tuple_with_dst
from .conditions cimport completeness, FORWARDED, gather_rules, may_be_memorized, walk_at
from .pass_memo cimport pass_memo_flush


cdef inline void memo_key(const engine_t *e, pkt_t *p, uint64_t *key) noexcept nogil:
    # memo_key: everything about the packet that a rule, a route or a martian check may ask. Bit 63: the key is in use.
    classify(e, p)
    # classes: no rule and no route tells two addresses of one class apart
    key[0] = p.src_class | <uint64_t>p.dst_class << 32 | <uint64_t>p.apart << APART_SHIFT
    # the mark as conntrack's hook left it: rules behind may ask for it, and change it
    key[1] = p.mark | <uint64_t>(p.tcp_flags & 0xff) << 32 | <uint64_t>tuple_proto(p.t) << 40
    key[2] = p.in_iface | p.port_classes | <uint64_t>1 << 63


cdef inline void memo_flush(engine_t *e, memo_t *memo) noexcept nogil:
    # memo_flush: the rules' own counters hold what the memo counted.
    count_rules(e, memo.rules, memo.n if memo.packets else 0, memo.packets, memo.bytes)
    memo.packets = 0
    memo.bytes = 0


cdef inline addr_t only_addr(const engine_t *e, const pkt_t *p, const uint64_t *key, const table_memo_t *dst_memo,
                             const table_memo_t *src, const target_t *range_) noexcept nogil:
    # only_addr: the SNAT address that all packets of the memo have. key: the memo's.
    # => 0: it has to be asked for each time.
    cdef uint32_t dst = <uint32_t>(key[0] >> 32) & DST_CLASS
    cdef bint translated = dst_memo.kind == TARGET_DNAT
    if FN_V6 and src.kind == TARGET_MASQUERADE and not translated:
        return only_addr6(e, e.routes[p.route - 1].iface, e.class_start[dst], address_last(e, dst))
    # towards a gateway the next hop, and towards one destination that itself, is the same, and with it the address
    if src.kind == TARGET_MASQUERADE and (translated or e.routes[p.route - 1].gateway):
        return tuple_src(invert_tuple(e.conns[p.ct].tuples[1]))
    if src.kind == TARGET_SNAT and range_.flags & RANGE_MAP_IPS and range_.min_addr == range_.max_addr:
        return range_.min_addr
    return 0


cdef inline void take_destination(memo_t *memo, const table_memo_t *dst, const target_t *range_) noexcept nogil:
    # take_destination: where DNAT leads. range_: of dst.
    memo.to = 0
    memo.to_port = 0
    if dst.kind != TARGET_DNAT:
        return
    memo.to = range_.min_addr
    if range_.flags & RANGE_PROTO_SPECIFIED:
        memo.to_port = range_.min_proto


cdef inline uint32_t answers_route(const engine_t *e, const pkt_t *p, uint32_t src) noexcept nogil:
    # answers_route: the route that the connection of an answer to p would keep, see may_be_kept of route. src: the class of the
    # client's address.
    # => Its index + 1, 0: it has to be found when an answer comes.
    cdef uint32_t back = e.class_route[src]
    if e.n_fib_rules or e.routes_by_packet or back == 0:
        return 0
    # then neither end is the node, a group or lo: the checks of their addresses have but one answer, that of the first packet
    if e.routes[back - 1].kind != ROUTE_UNICAST or e.routes[p.route - 1].kind != ROUTE_UNICAST:
        return 0
    return back if e.routes[back - 1].hops <= 1 and e.routes[back - 1].iface != e.loopback else 0


cdef inline uint16_t back_of(const memo_t *memo, addr_t client) noexcept nogil:
    # back_of: the route of answers to a client; addresses of a link are of the device that they come by.
    return 0 if is_link_local(client) else memo.back


cdef inline void memorize(engine_t *e, pkt_t *p, const uint64_t *key) noexcept nogil:
    # memorize: p has just gone the long way, key is that of the packet that came in.
    # a table of nat has all its chains, and each ends with a policy: both have been walked
    cdef const table_memo_t *dst = walk_at(e, p, PLACE_DST)
    cdef const table_memo_t *src = walk_at(e, p, PLACE_SRC)
    cdef const target_t *range_
    cdef memo_t *memo
    cdef uint32_t rules[FN_MEMO_RULES]
    cdef uint32_t n, walked, i
    # routes that depend on more than a memo's key are not kept by the connection either
    if e.conns[p.ct].routes[0] == 0 or not may_be_memorized(e, p, dst, src):
        return
    n = gather_rules(e, p, PLACE_DST, rules, FN_MEMO_RULES, &walked)
    # walked rules are counted in 16 bits
    # too long to be noted: the next packet walks again, with the same answer
    if n > FN_MEMO_RULES or walked > 0xffff:
        return
    memo = &e.memos[slot_of(e, key)]
    # another key may have had the place: what its packets counted goes to the rules first
    memo_flush(e, memo)
    for i in range(3):
        memo.key[i] = key[i]
    range_ = &e.targets[src.target_arg]
    memo.target_arg = src.target_arg
    memo.kind = src.kind
    memo.varied = <unsigned char>src.varied
    memo.mark = src.mark
    memo.route = p.route
    memo.out_iface = e.routes[p.route - 1].iface
    # so that the connections go with their device (nf_nat_masquerade), as those of the long way do
    memo.masq_iface = memo.out_iface if src.kind == TARGET_MASQUERADE else 0
    memo.back = <uint16_t>answers_route(e, p, <uint32_t>key[0])
    memo.addr = only_addr(e, p, key, dst, src, range_)
    take_destination(memo, dst, &e.targets[dst.target_arg])
    memo.complete = completeness(memo, range_)
    e.n_memos_made += 1
    memo.born = e.n_memos_made
    memo.walked = <uint16_t>walked
    memo.n = <unsigned char>n
    for i in range(n):
        memo.rules[i] = rules[i]


cdef inline memo_t *remembered(engine_t *e, pkt_t *p, uint64_t *key) noexcept nogil:
    # remembered: what was decided for such a packet.
    # => NULL: nothing; key is then for memorize.
    cdef memo_t *memo
    memo_key(e, p, key)
    memo = &e.memos[slot_of(e, key)]
    # a hash that meets says nothing: all three words have to
    if memo.key[0] != key[0] or memo.key[1] != key[1] or memo.key[2] != key[2]:
        return NULL
    return memo


cdef inline uint32_t varied_range(const engine_t *e, const memo_t *memo, addr_t src, addr_t *addr, uint32_t *target) noexcept nogil:
    # varied_range: the source's own rule of those that are alike; if it chooses the range, that, and its address if there is one.
    # => The rule.
    cdef uint32_t rule = varied_rule(e, memo.varied, src)
    if e.rules[rule].target == TARGET_SNAT:
        target[0] = e.rules[rule].target_arg
        addr[0] = e.targets[target[0]].min_addr if memo.addr else <addr_t>0
    return rule


cdef inline void bind_destination(engine_t *e, pkt_t *p, const memo_t *memo) noexcept nogil:
    # bind_destination: as PREROUTING does: by DNAT, or the null binding.
    cdef target_t range_
    if memo.to == 0:
        null_binding(e, p, MANIP_DST)
        return
    range_.flags = RANGE_PROTO_SPECIFIED if memo.to_port else 0
    range_.min_proto = memo.to_port
    range_.max_proto = memo.to_port
    range_of_address(&range_, memo.to)
    setup_info(e, p, &range_, MANIP_DST)
    p.t = tuple_with_dst(p.t, memo.to, memo.to_port if memo.to_port else tuple_dport(p.t))


cdef inline uint32_t follow(engine_t *e, pkt_t *p, memo_t *memo) noexcept nogil:
    # follow: the first packet of a connection, from conntrack to confirm, by a memo.
    # => REASON_NONE or why the packet is dropped.
    cdef conn_t *c = &e.conns[p.ct]
    cdef addr_t addr = memo.addr
    cdef uint32_t target = memo.target_arg
    cdef target_t range_
    # the rules' own counters are spared: memo_flush gives them all packets at once
    memo.packets += 1
    memo.bytes += p.length
    # as if the rules had been walked: what is reported must not depend on who came by first
    e.stats[STAT_RULES_WALKED] += memo.walked
    p.mark = memo.mark
    p.route = memo.route
    p.out_iface = memo.out_iface
    p.hook = HOOK_POSTROUTING
    c.routes[0] = memo.route
    c.routes[1] = back_of(memo, tuple_src(p.t))
    # DNAT first: the source is chosen for the translated destination, as in POSTROUTING
    bind_destination(e, p, memo)
    if fn_unlikely(memo.varied != 0):
        count_rule(e, varied_range(e, memo, tuple_src(p.t), &addr, &target), p.length)
    # one address for all: no rule, route or address list is asked any more
    if addr:
        range_ = e.targets[target]
        range_of_address(&range_, addr)
        c.masq_iface = memo.masq_iface
        setup_info(e, p, &range_, MANIP_SRC)
    elif not source_target(e, p, memo.kind, &e.targets[target]):
        return REASON_NO_ADDRESS
    p.t = invert_tuple(c.tuples[1])
    return confirm(e, p)


cdef inline void flush_policies(engine_t *e) noexcept nogil:
    # flush_policies: the counters of chains without rules go to their policies.
    cdef hook_count_t *count
    cdef uint32_t table, hook
    for table in range(4):
        for hook in range(5):
            count = &e.unruled[table][hook]
            # packets that passed all of these chains were counted once for all of them
            if (FORWARDED & ~e.ruled) >> (table * 5 + hook) & 1:
                count.packets += e.passed.packets
                count.bytes += e.passed.bytes
            if e.hook_policy[table][hook] != FN_NONE:
                e.rules[e.hook_policy[table][hook]].packets += count.packets
                e.rules[e.hook_policy[table][hook]].bytes += count.bytes
            memset(count, 0, sizeof(hook_count_t))
    memset(&e.passed, 0, sizeof(hook_count_t))


cdef inline void flush_counters(engine_t *e) noexcept nogil:
    # flush_counters: the counters of the rules hold what was remembered, too.
    cdef uint32_t i
    flush_policies(e)
    for i in range(e.n_memos):
        table_memo_flush(e, &e.table_memos[i])
        memo_flush(e, &e.memos[i])
    for i in range(FN_PASS_MEMOS):
        pass_memo_flush(e, &e.pass_memos[i])


cdef inline void forget_memos(engine_t *e) noexcept nogil:
    # forget_memos: after a change to rules or targets nothing that is remembered holds; its counters stay.
    flush_counters(e)
    memset(e.table_memos, 0, e.n_memos * sizeof(table_memo_t))
    memset(e.memos, 0, e.n_memos * sizeof(memo_t))
    memset(e.pass_memos, 0, FN_PASS_MEMOS * sizeof(pass_memo_t))
