# Walking a table's rules for one packet.
#
# Source: ipt_do_table, ip_packet_match (ip_tables.c); xt_tcpudp, xt_multiport, xt_mark, xt_addrtype, xt_iprange,
# xt_conntrack, xt_statistic, xt_connmark, xt_length (Linux 6.18).
# Invariants: matches run in their order and stop at the first that fails; counters move only for rules that
# match; the jump stack cannot overflow, the compiler of the rules measured its depth.
# Differs from the kernel: nothing for the matches listed.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from .types cimport *
from .tuple cimport conn_tuple, tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src
from .tuple_hash cimport random_u64
from .nat_range cimport has_ports
from .route cimport addr_type


cdef inline bint ports_listed(const engine_t *e, const match_t *m, uint32_t port) noexcept nogil:
    cdef uint32_t i
    for i in range(m.n):
        if e.port_slots[2 * (m.a + i)] <= port <= e.port_slots[2 * (m.a + i) + 1]:
            return True
    return False


cdef inline uint32_t ct_state_bit(const engine_t *e, const pkt_t *p) noexcept nogil:
    # ct_state_bit: XT_CONNTRACK_STATE_* of a packet: INVALID 1, ESTABLISHED 2, RELATED 4, NEW 8, UNTRACKED 64,
    # with SNAT 0x4000 and DNAT 0x8000 of its connection.
    cdef uint32_t bits
    if p.ct == FN_NONE:
        return 64 if p.untracked else 1
    if p.ctinfo == IP_CT_ESTABLISHED or p.ctinfo == IP_CT_ESTABLISHED_REPLY:
        bits = 2
    elif p.ctinfo == IP_CT_NEW:
        bits = 8
    else:
        bits = 4
    if e.conns[p.ct].status & IPS_SRC_NAT:
        bits |= 0x4000
    if e.conns[p.ct].status & IPS_DST_NAT:
        bits |= 0x8000
    return bits


cdef inline bint match_holds(engine_t *e, match_t *m, pkt_t *p) noexcept nogil:
    cdef uint32_t kind = m.kind
    cdef uint32_t v
    if kind == MATCH_SPORT:
        return (m.a <= tuple_sport(p.t) <= m.b) != m.invert
    if kind == MATCH_DPORT:
        return (m.a <= tuple_dport(p.t) <= m.b) != m.invert
    if kind == MATCH_MARK:
        return ((p.mark & m.b) == m.a) != m.invert
    if kind == MATCH_ADDRTYPE_DST or kind == MATCH_ADDRTYPE_SRC:
        v = addr_type(e, tuple_dst(p.t) if kind == MATCH_ADDRTYPE_DST else tuple_src(p.t))
        return ((m.a >> v) & 1) != m.invert
    if kind == MATCH_MULTIPORT_SRC:
        return ports_listed(e, m, tuple_sport(p.t)) != m.invert
    if kind == MATCH_MULTIPORT_DST:
        return ports_listed(e, m, tuple_dport(p.t)) != m.invert
    if kind == MATCH_MULTIPORT_EITHER:
        return (ports_listed(e, m, tuple_sport(p.t)) or ports_listed(e, m, tuple_dport(p.t))) != m.invert
    if kind == MATCH_TCP_FLAGS:
        return ((p.tcp_flags & m.a) == m.b) != m.invert
    if kind == MATCH_ICMP_TYPE:
        v = tuple_dport(p.t)
        return (m.a == 0xff or (v >> 8 == m.a and m.b <= (v & 0xff) <= m.c)) != m.invert
    if kind == MATCH_IPRANGE_SRC:
        return (m.a <= tuple_src(p.t) <= m.b) != m.invert
    if kind == MATCH_IPRANGE_DST:
        return (m.a <= tuple_dst(p.t) <= m.b) != m.invert
    if kind == MATCH_CONNMARK:
        return p.ct != FN_NONE and ((e.conns[p.ct].mark & m.b) == m.a) != m.invert
    if kind == MATCH_CTSTATE:
        return ((ct_state_bit(e, p) & m.a) != 0) != m.invert
    if kind == MATCH_CTPROTO:
        return p.ct != FN_NONE and (e.conns[p.ct].proto == m.a) != m.invert
    if kind == MATCH_NTH:
        m.c = 0 if m.c == m.a else m.c + 1
        return (m.c == 0) != m.invert
    if kind == MATCH_RANDOM:
        return ((random_u64(e) >> 33) < m.a) != m.invert
    if kind == MATCH_LENGTH:
        return (m.a <= p.length <= m.b) != m.invert
    return False


cdef inline bint rule_fits(const engine_t *e, const rule_t *r, const pkt_t *p) noexcept nogil:
    # rule_fits: the fixed part: addresses, interfaces, protocol, each possibly inverted.
    cdef uint32_t src_differs = ((tuple_src(p.t) ^ r.src) & r.smask) != 0
    cdef uint32_t dst_differs = ((tuple_dst(p.t) ^ r.dst) & r.dmask) != 0
    cdef uint32_t inv = r.invert
    if (src_differs ^ (inv & 1)) | (dst_differs ^ ((inv >> 1) & 1)):
        return False
    if r.proto and ((tuple_proto(p.t) != r.proto) ^ ((inv >> 2) & 1)):
        return False
    if r.in_set != FN_ANY_IFACE and not e.iface_match[r.in_set * e.n_ifaces
                                                      + (p.in_iface if p.hook <= HOOK_FORWARD else 0)]:
        return False
    if r.out_set != FN_ANY_IFACE and not e.iface_match[r.out_set * e.n_ifaces
                                                       + (p.out_iface if p.hook >= HOOK_FORWARD else 0)]:
        return False
    return True


cdef inline bint matches_hold(engine_t *e, const rule_t *r, pkt_t *p, bint *hotdrop) noexcept nogil:
    # matches_hold: the rule's matches in order.
    # => A match that needs an l4 header which the packet lacks drops the packet at once.
    cdef uint32_t i, kind
    for i in range(r.n_matches):
        kind = e.matches[r.first_match + i].kind
        if kind == MATCH_L4_HEADER:
            if p.data != NULL and p.len < p.l4off + e.matches[r.first_match + i].a:
                hotdrop[0] = True
                return False
            continue
        if not match_holds(e, &e.matches[r.first_match + i], p):
            return False
    return True


cdef inline void target_mark(pkt_t *p, const target_t *t) noexcept nogil:
    p.mark = (p.mark & ~t.mask) ^ t.value


cdef inline void target_connmark(engine_t *e, pkt_t *p, const target_t *t) noexcept nogil:
    # target_connmark: op 0 sets, 1 saves the packet's mark, 2 restores it (xt_connmark.c).
    cdef conn_t *c
    if p.ct == FN_NONE:
        return
    c = &e.conns[p.ct]
    if t.op == 0:
        c.mark = (c.mark & ~t.mask) ^ t.value
    elif t.op == 1:
        c.mark = (c.mark & ~t.mask) ^ (p.mark & t.mask2)
    else:
        p.mark = (p.mark & ~t.mask2) ^ (c.mark & t.mask)


cdef inline uint32_t do_table(engine_t *e, uint32_t table, pkt_t *p, const target_t **target) noexcept nogil:
    # do_table: walk the chain of p.hook in a table.
    # => TARGET_ACCEPT, TARGET_DROP, or the NAT target that decided, with *target its range.
    cdef uint32_t stack[FN_STACK]
    cdef uint32_t depth = 0
    cdef uint32_t at = e.hook_entry[table][p.hook]
    cdef uint32_t walked = 0
    cdef bint hotdrop = False
    cdef rule_t *r
    cdef uint32_t kind
    if at == FN_NONE:
        return TARGET_ACCEPT
    while True:
        r = &e.rules[at]
        walked += 1
        if not rule_fits(e, r, p) or (r.n_matches and not matches_hold(e, r, p, &hotdrop)):
            if hotdrop:
                kind = TARGET_DROP
                break
            at += 1
            continue
        kind = r.target
        if kind != TARGET_CHAIN_END:
            r.packets += 1
            r.bytes += p.length
        if kind == TARGET_JUMP:
            stack[depth] = at + 1
            depth += 1
            at = r.target_arg
        elif kind == TARGET_GOTO:
            at = r.target_arg
        elif kind == TARGET_RETURN or kind == TARGET_CHAIN_END:
            if depth == 0:
                # a goto left the built-in chain, or RETURN stands in it: the policy, which counts
                at = <uint32_t>(e.hook_entry[table][p.hook] + e.rules[e.hook_entry[table][p.hook]].pad2)
            else:
                depth -= 1
                at = stack[depth]
        elif kind == TARGET_NONE:
            at += 1
        elif kind == TARGET_MARK:
            target_mark(p, &e.targets[r.target_arg])
            at += 1
        elif kind == TARGET_CONNMARK:
            target_connmark(e, p, &e.targets[r.target_arg])
            at += 1
        elif kind == TARGET_NOTRACK:
            # xt_CT leaves a packet alone that already carries a template
            if p.ct == FN_NONE and p.template_zone == 0:
                p.untracked = True
                p.ctinfo = IP_CT_UNTRACKED
            at += 1
        elif kind == TARGET_CT_ZONE:
            if p.template_zone or p.untracked:
                at += 1
                continue
            p.template_zone = <uint16_t>(p.mark & 0xffff if e.targets[r.target_arg].op else e.targets[r.target_arg].value)
            p.template_dir = <unsigned char>e.targets[r.target_arg].mask
            at += 1
        else:
            target[0] = &e.targets[r.target_arg]
            break
    e.stats[STAT_RULES] += walked
    if kind == TARGET_POLICY_ACCEPT:
        return TARGET_ACCEPT
    if kind == TARGET_POLICY_DROP:
        return TARGET_DROP
    return kind
