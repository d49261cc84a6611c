# Walking a table's rules for one packet.
#
# Source: ipt_do_table, ip_packet_match (ip_tables.c); xt_tcpudp, xt_multiport, xt_mark, xt_addrtype, xt_iprange,
# xt_conntrack, xt_statistic, xt_connmark, xt_length, xt_hl, xt_dscp, xt_physdev, xt_policy, xt_quota, xt_connbytes,
# xt_CT (Linux 6.18).
# Invariants: matches run in their order and stop at the first that fails; counters move only for rules that
# match; the jump stack holds the longest way through the chains, see iptables/nesting.py, and no walk is endless.
# Differs from the kernel: CONNMARK --set-mark and --save-mark do nothing to the template of a rule with CT.
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from ..types cimport *
from ..conntrack.events cimport conn_mark
from ..helpers.expect cimport help_of
from ..packet.frame cimport frame_in, has_frame
from ..packet.checksum cimport load_be16, load_be32
from ..packet.mangle cimport set_tos, set_ttl, tos_of
from ..fib cimport classify, has_type, incoming, outgoing, packet_type, TYPE_ANYCAST
from ..tuples.hash cimport random_u64
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src
from ..validate cimport comes_from_there
from .calendar cimport time_holds
from .connlimit cimport connlimit_holds
from .dispatch cimport count_rule, dispatch_key, dispatch_rule, rule_of_source
from .hashlimit cimport hashlimit_holds
from .headers cimport ecn_holds, mss_holds, option_holds, routing_holds
from .owner cimport owner_holds
from .proxy cimport give_to_proxy, has_transparent
from .recent cimport limit_holds, recent_holds
from .sets cimport in_set
from .tcpmss cimport set_mss


cdef enum:
    # bytes that tcp_mt needs, and none of the others
    TCP_HEADER = 20
    # slots of a run with more keys than there are memos
    MANY_SLOTS = 4096

# why a packet is dropped, by what do_table returns; 0: it is not
cdef extern from *:
    """
    static const unsigned char fn_rule_reason[32] = {[2] = 9, [21] = 23, [23] = 22, [25] = 26};
    """
    const unsigned char rule_reason "fn_rule_reason"[32]


# what the connection matches see of the template that a CT target has attached: an empty tuple, and these bits (xt_ct_tg_check)
cdef extern from *:
    """
    static const conn_t fn_ct_template = {.status = IPS_CONFIRMED};
    """
    const conn_t ct_template "fn_ct_template"


cdef inline bint ports_listed(const engine_t *e, const match_t *m, uint32_t port) noexcept nogil:
    # ports_listed: => Whether a port lies in one of the pairs of -m multiport (ports_match_v1).
    cdef uint32_t i
    for i in range(m.n_ports):
        if e.port_slots[2 * (m.multiport.first + i)] <= port <= e.port_slots[2 * (m.multiport.first + i) + 1]:
            return True
    return False


cdef inline uint32_t ct_state_bit(const engine_t *e, const pkt_t *p) noexcept nogil:
    # ct_state_bit: XT_CONNTRACK_STATE_* of a packet: INVALID 1, ESTABLISHED 2, RELATED 4, NEW 8, UNTRACKED 64,
    # with SNAT 0x4000 and DNAT 0x8000 of its connection.
    cdef uint32_t bits
    # a template is attached as IP_CT_NEW (xt_ct_target), and rules of raw see it so
    if p.ct == FN_NONE:
        return 64 if p.untracked else 8 if p.has_template else 1
    if p.ctinfo == IP_CT_ESTABLISHED or p.ctinfo == IP_CT_ESTABLISHED_REPLY:
        bits = 2
    elif p.ctinfo == IP_CT_NEW:
        bits = 8
    else:
        bits = 4
    # by the status, not by what rules decided: SNAT to the same address sets no bit, and is none
    if e.conns[p.ct].status & IPS_SRC_NAT:
        bits |= 0x4000
    if e.conns[p.ct].status & IPS_DST_NAT:
        bits |= 0x8000
    return bits


cdef inline void set_conn_mark(engine_t *e, uint32_t ct, uint32_t mark) noexcept nogil:
    # set_conn_mark: note the mark of a connection.
    e.tcp[ct].mark = mark
    e.conns[ct].flags |= CONN_MARKED


cdef inline bint conn_addr_holds(const engine_t *e, const conn_t *c, const match_t *m) noexcept nogil:
    # conn_addr_holds: --ctorigsrc and its kind.
    # end: bit 0 the destination, bit 1 the reply tuple, as the options name them
    cdef tuple_t t = c.tuples[(m.ct_addr.end >> 1) & 1]
    cdef const target_t *said = &e.targets[m.ct_addr.at]
    return ((tuple_dst(t) if m.ct_addr.end & 1 else tuple_src(t)) & said.network.mask) == said.network.addr


cdef inline bint conn_port_holds(const conn_t *c, const match_t *m) noexcept nogil:
    # conn_port_holds: --ctorigsrcport and its kind.
    cdef tuple_t t = c.tuples[(m.ct_ports.end >> 1) & 1]
    return m.ct_ports.low <= (tuple_dport(t) if m.ct_ports.end & 1 else tuple_sport(t)) <= m.ct_ports.high


cdef inline bint conn_expire_holds(const engine_t *e, const conn_t *c, const match_t *m) noexcept nogil:
    # conn_expire_holds: --ctexpire; what is not confirmed yet has no expiry to compare with.
    cdef int32_t left = <int32_t>(c.timeout - <uint32_t>e.now) if c.status & IPS_CONFIRMED else 0
    return m.range.low <= (<uint32_t>left // FN_HZ if left > 0 else 0) <= m.range.high


cdef inline bint conn_holds(const engine_t *e, const conn_t *c, const match_t *m, uint32_t dir) noexcept nogil:
    # conn_holds: the matches of a connection's own (conntrack_mt of xt_conntrack.c). dir: the packet's direction in it.
    if m.kind == MATCH_CT_ADDR:
        return conn_addr_holds(e, c, m)
    if m.kind == MATCH_CT_PORT:
        return conn_port_holds(c, m)
    if m.kind == MATCH_CT_EXPIRE:
        return conn_expire_holds(e, c, m)
    if m.kind == MATCH_CT_STATUS:
        return (c.status & m.ct_status.bits) != 0
    return dir == m.ct_dir.dir


cdef inline bint announced_by(const engine_t *e, const pkt_t *p, uint32_t kind) noexcept nogil:
    # announced_by: whether a connection with this helper, 0 any, announced the packet's (xt_helper.c).
    cdef uint32_t of_master
    if p.ct == FN_NONE or not e.conns[p.ct].flags & CONN_HELPED:
        return False
    of_master = help_of(e, p.ct).master_kind
    return of_master != 0 and (kind == 0 or kind == of_master)


cdef inline bint icmp_holds(const match_t *m, const pkt_t *p) noexcept nogil:
    # icmp_holds: icmp_type_code_match of xt_tcpudp.c; the tuple carries type and code in place of a port.
    cdef uint32_t type_ = tuple_dport(p.t) >> 8
    cdef uint32_t code = tuple_dport(p.t) & 0xff
    # "any" of IPv4; of ICMPv6, type 255 is a type as all others
    return (not FN_V6 and m.icmp.type == 0xff) or (type_ == m.icmp.type and m.icmp.low <= code <= m.icmp.high)


cdef inline bint in_range(const engine_t *e, const match_t *m, addr_t addr) noexcept nogil:
    # in_range: iprange_mt4 of xt_iprange.c.
    return e.targets[m.iprange.at].min_addr <= addr <= e.targets[m.iprange.at].max_addr


cdef inline bint type_holds(engine_t *e, const match_t *m, pkt_t *p, bint dst) noexcept nogil:
    # type_holds: addrtype_mt_v1 of xt_addrtype.c, for the destination or the source. --limit-iface-in and -out name the
    # device whose addresses count.
    cdef uint32_t iface = FN_ANY_IFACE
    if m.addrtype.device:
        iface = p.in_iface if m.addrtype.device == 1 else p.out_iface
    # the first address of a network is one of its class, and alone is for anybody (is_anycast6 of fib)
    if FN_V6 and m.addrtype.types & TYPE_ANYCAST:
        p.unrepeatable = True
    classify(e, p)
    if dst:
        return has_type(e, m.addrtype.types, tuple_dst(p.t), p.dst_class, iface)
    return has_type(e, m.addrtype.types, tuple_src(p.t), p.src_class, iface)


cdef inline bint nth_holds(match_t *m) noexcept nogil:
    # nth_holds: statistic_mt of xt_statistic.c, mode nth.
    # last is --every less one; --packet is where the count began
    # every rule has a count of its own, and one that stands behind others counts only what these let through
    m.nth.count = 0 if m.nth.count == m.nth.last else m.nth.count + 1
    return m.nth.count == 0


cdef inline bint quota_holds(match_t *m, const pkt_t *p) noexcept nogil:
    # quota_holds: the bytes left suffice for the packet, which then uses them up (quota_mt of xt_quota.c).
    cdef uint64_t left = m.quota.low | <uint64_t>m.quota.high << 32
    cdef bint enough = left >= p.length
    # one that is too large takes the rest away, so no smaller one passes behind it
    left = left - p.length if enough else 0
    m.quota.low = <uint32_t>left
    m.quota.high = <uint32_t>(left >> 32)
    return enough


cdef inline bint connbytes_holds(const engine_t *e, const match_t *m, const pkt_t *p) noexcept nogil:
    # connbytes_holds: packets or bytes of a connection, or the bytes of a packet on average (connbytes_mt of xt_connbytes.c).
    # => Of a packet without a connection that is accounted neither that nor its inversion holds.
    cdef const target_t *said = &e.targets[m.connbytes.at]
    cdef uint64_t packets = 0
    cdef uint64_t bytes_ = 0
    cdef uint64_t value
    cdef uint32_t way
    if p.ct == FN_NONE or not e.conns[p.ct].flags & CONN_COUNTED:
        return False
    # one that began while nf_conntrack_acct was 0 has no counters, not even of 0
    for way in range(2):
        if (m.connbytes.ways >> way) & 1:
            packets += e.acct[p.ct].packets[way]
            bytes_ += e.acct[p.ct].bytes[way]
    value = packets if m.connbytes.part == COUNTED_PACKETS else bytes_
    if m.connbytes.part == COUNTED_AVERAGE:
        value = bytes_ // packets if packets else 0
    return (said.counts.low <= value <= said.counts.high) != m.invert


cdef inline bint asks_connection(uint32_t kind) noexcept nogil:
    # asks_connection: kinds that without a connection have one answer, inverted or not (conntrack_mt, connmark_mt).
    return (kind == MATCH_CT_ADDR or kind == MATCH_CT_PORT or kind == MATCH_CT_STATUS or kind == MATCH_CT_DIR
            or kind == MATCH_CT_EXPIRE or kind == MATCH_CONNMARK or kind == MATCH_CTPROTO)


cdef inline bint asks_more_than_key(uint32_t kind) noexcept nogil:
    # asks_more_than_key: kinds whose answer is another one for a packet of equal classes, or that count what they see.
    return (kind == MATCH_LENGTH or kind == MATCH_RANDOM or kind == MATCH_NTH or kind == MATCH_SET or kind == MATCH_RECENT
            or kind == MATCH_LIMIT or kind == MATCH_TTL or kind == MATCH_TOS or kind == MATCH_HELPER
            or kind == MATCH_OWNER or kind == MATCH_QUOTA or kind == MATCH_TIME or kind == MATCH_SOCKET)


cdef inline bint decides_alone(uint32_t kind) noexcept nogil:
    # decides_alone: kinds that drop some packets at once, or whose answer is not always turned round by inversion.
    return (kind == MATCH_HASHLIMIT or kind == MATCH_TCP_MSS or kind == MATCH_ROUTING or kind == MATCH_CONNLIMIT
            or kind == MATCH_CONNBYTES or kind == MATCH_ECN or kind == MATCH_TCP_OPTION or kind == MATCH_MAC)


cdef inline bint of_connection_holds(const engine_t *e, const match_t *m, const pkt_t *p) noexcept nogil:
    # of_connection_holds: a kind of asks_connection, its inversion included.
    cdef const conn_t *c = &ct_template
    cdef uint32_t mark = 0
    if p.ct != FN_NONE:
        c = &e.conns[p.ct]
    elif not p.has_template:
        # beside --ctstate the state alone has decided
        return m.kind != MATCH_CONNMARK and m.with_state
    if m.kind == MATCH_CTPROTO:
        return (tuple_proto(c.tuples[0]) == m.ctproto.proto) != m.invert
    if m.kind == MATCH_CONNMARK:
        mark = conn_mark(e, p.ct) if p.ct != FN_NONE else 0
        return ((mark & m.mark.mask) == m.mark.value) != m.invert
    return conn_holds(e, c, m, p.dir) != m.invert


cdef inline bint beyond_key_holds(engine_t *e, match_t *m, pkt_t *p) noexcept nogil:
    # beyond_key_holds: a kind of asks_more_than_key, inversion left out.
    cdef uint32_t kind = m.kind
    if kind == MATCH_LENGTH:
        return m.range.low <= p.length <= m.range.high
    if kind == MATCH_RANDOM:
        # 31 bits: xt_statistic compares with get_random_u32() & 0x7FFFFFFF
        return (random_u64(e) >> 33) < m.chance.below
    if kind == MATCH_NTH:
        return nth_holds(m)
    if kind == MATCH_SET:
        return in_set(e, m, p)
    if kind == MATCH_RECENT:
        return recent_holds(e, m, m + 1, p)
    if kind == MATCH_LIMIT:
        return limit_holds(m, m + 1, p.now)
    if kind == MATCH_TTL:
        return m.range.low <= p.ttl <= m.range.high
    if kind == MATCH_TOS:
        return (tos_of(p) & m.byte.mask) == m.byte.value
    if kind == MATCH_OWNER:
        return owner_holds(e, m, p)
    if kind == MATCH_QUOTA:
        return quota_holds(m, p)
    if kind == MATCH_TIME:
        return time_holds(e, m)
    if kind == MATCH_SOCKET:
        return has_transparent(e, p)
    return announced_by(e, p, m.helper.helper)


cdef inline bint mac_holds(engine_t *e, const match_t *m, pkt_t *p) noexcept nogil:
    # mac_holds: mac_mt, inversion included: a packet without a frame has no sender that could be another one.
    cdef uint64_t dst = 0
    cdef uint64_t src = 0
    # who sent it stands in no key
    p.unrepeatable = True
    if not has_frame(e, p) or not frame_in(e, p, &dst, &src) or src == 0:
        return False
    return (<uint32_t>src == m.mac.low and (<uint32_t>(src >> 32) & 0xffff) == m.mac.high) != m.invert


cdef inline bint alone_holds(engine_t *e, const match_t *m, pkt_t *p, bint *hotdrop) noexcept nogil:
    # alone_holds: a kind of decides_alone, inversion included.
    # => hotdrop: the packet is dropped at once.
    if m.kind == MATCH_TCP_MSS:
        return mss_holds(m, p, hotdrop)
    if m.kind == MATCH_ROUTING:
        return routing_holds(m, p, hotdrop)
    if m.kind == MATCH_CONNLIMIT:
        return connlimit_holds(e, m, p, hotdrop) != m.invert
    if m.kind == MATCH_CONNBYTES:
        return connbytes_holds(e, m, p)
    if m.kind == MATCH_TCP_OPTION:
        return option_holds(m, p, hotdrop)
    if m.kind == MATCH_ECN:
        return ecn_holds(m, p)
    if fn_unlikely(m.kind == MATCH_MAC):
        fn_rarely()
        return mac_holds(e, m, p)
    return hashlimit_holds(e, m, p, hotdrop) != m.invert


cdef inline bint multiport_holds(const engine_t *e, const match_t *m, pkt_t *p) noexcept nogil:
    # multiport_holds: multiport_mt of xt_multiport.c. The ports of DCCP, whose flows have none, stand in the packet alone.
    cdef uint32_t ports = tuple_sport(p.t) << 16 | tuple_dport(p.t)
    if fn_unlikely(tuple_proto(p.t) == PROTO_DCCP) and p.data != NULL and p.len >= p.l4off + 4:
        p.unrepeatable = True
        ports = load_be32(p.data + p.l4off)
    return ((m.kind != MATCH_MULTIPORT_DST and ports_listed(e, m, ports >> 16))
            or (m.kind != MATCH_MULTIPORT_SRC and ports_listed(e, m, ports & 0xffff)))


cdef inline bint by_key_holds(engine_t *e, const match_t *m, pkt_t *p) noexcept nogil:
    # by_key_holds: kinds that ask only what the key of a memo holds (rules/walk), inversion left out.
    cdef uint32_t kind = m.kind
    if kind == MATCH_MARK:
        return (p.mark & m.mark.mask) == m.mark.value
    if kind == MATCH_CTSTATE:
        return (ct_state_bit(e, p) & m.ctstate.bits) != 0
    if kind == MATCH_TCP_FLAGS:
        return (p.tcp_flags & m.byte.mask) == m.byte.value
    p.asks_tuple = True
    if kind == MATCH_SPORT:
        return m.ports.low <= tuple_sport(p.t) <= m.ports.high
    if kind == MATCH_DPORT:
        return m.ports.low <= tuple_dport(p.t) <= m.ports.high
    if kind == MATCH_ADDRTYPE_DST or kind == MATCH_ADDRTYPE_SRC:
        return type_holds(e, m, p, kind == MATCH_ADDRTYPE_DST)
    if kind == MATCH_MULTIPORT_SRC or kind == MATCH_MULTIPORT_DST or kind == MATCH_MULTIPORT_EITHER:
        return multiport_holds(e, m, p)
    if kind == MATCH_ICMP_TYPE:
        return icmp_holds(m, p)
    if kind == MATCH_IPRANGE_SRC or kind == MATCH_IPRANGE_DST:
        return in_range(e, m, tuple_src(p.t) if kind == MATCH_IPRANGE_SRC else tuple_dst(p.t))
    if kind == MATCH_PKT_TYPE:
        classify(e, p)
        return packet_type(e, p) == m.pkt_type.type
    if kind == MATCH_RPFILTER:
        # policy rules may ask for what no key holds
        if e.n_fib_rules:
            p.unrepeatable = True
        return comes_from_there(e, p, m.rpfilter.flags)
    return m.constant.holds


cdef inline bint match_holds(engine_t *e, match_t *m, pkt_t *p) noexcept nogil:
    # match_holds: one match, its inversion included.
    # => What it says of the packet. p.unrepeatable: a packet of the same key may get another answer.
    if asks_connection(m.kind):
        # the protocol of a connection is that of its packets, which is part of the key, but not that of errors about it
        if m.kind != MATCH_CTPROTO or p.icmp_error:
            p.unrepeatable = True
        return of_connection_holds(e, m, p)
    if asks_more_than_key(m.kind):
        p.unrepeatable = True
        return beyond_key_holds(e, m, p) != m.invert
    return by_key_holds(e, m, p) != m.invert


cdef inline bint rule_fits(const engine_t *e, const rule_t *r, pkt_t *p, bint *hotdrop) noexcept nogil:
    # rule_fits: the fixed part: addresses, interfaces, fragments, protocol, each possibly inverted.
    # => hotdrop: the rule asks for a protocol, and nobody can tell which one it is (ip6_packet_match).
    cdef uint32_t tests = r.tests
    cdef uint32_t inv = r.invert
    cdef uint32_t src_differs, dst_differs
    if tests & RULE_TESTS_ADDRESSES:
        p.asks_tuple = True
        src_differs = ((tuple_src(p.t) ^ r.src) & r.smask) != 0
        dst_differs = ((tuple_dst(p.t) ^ r.dst) & r.dmask) != 0
        # bit 0 of invert turns the source's test round, bit 1 the destination's
        if (src_differs ^ (inv & 1)) | (dst_differs ^ ((inv >> 1) & 1)):
            return False
    # a protocol that nobody can tell is judged last: the rule drops only what fits it otherwise (ip6_packet_match)
    if tests & RULE_TESTS_PROTO and ((tuple_proto(p.t) != r.proto) ^ ((inv >> 2) & 1)) and not (FN_V6 and p.part == PART_UNKNOWN):
        return False
    if tests & RULE_TESTS_IN and not e.iface_match[r.in_set * e.n_ifaces + incoming(e, p)]:
        return False
    if tests & RULE_TESTS_OUT and not e.iface_match[r.out_set * e.n_ifaces + outgoing(p)]:
        return False
    if fn_unlikely(tests & RULE_TESTS_FRAGMENT) and (p.part == PART_LATER) == (inv >> 3 & 1):
        return False
    if FN_V6 and p.part == PART_UNKNOWN and tests & RULE_TESTS_PROTO:
        hotdrop[0] = True
        return False
    return True


cdef inline bint run_key(const engine_t *e, const dispatch_t *d, pkt_t *p, uint32_t *key) noexcept nogil:
    # run_key: what the rules of a run ask for.
    # => False: its rules have to be walked.
    if d.kind == DISPATCH_DST:
        key[0] = dispatch_key(d, tuple_dst(p.t))
    elif d.kind == DISPATCH_SRC:
        key[0] = dispatch_key(d, tuple_src(p.t))
    elif d.kind == DISPATCH_DPORT:
        # both in one key: the rules of a run may name different protocols
        key[0] = tuple_proto(p.t) << 16 | tuple_dport(p.t)
    elif FN_V6 and p.part == PART_UNKNOWN:
        # a rule that asks for a protocol drops the packet, whatever it would ask then
        return False
    elif d.kind == DISPATCH_MARK:
        key[0] = p.mark
        # a memo for each of so many marks would be met by nobody again
        p.unrepeatable |= d.mask >= MANY_SLOTS
    elif d.kind == DISPATCH_IN:
        key[0] = incoming(e, p)
    else:
        # no memo's key has the original source
        p.unrepeatable = True
        if p.ct == FN_NONE:
            return False
        key[0] = dispatch_key(d, tuple_src(e.conns[p.ct].tuples[0]))
    return True


cdef inline uint32_t dispatch(const engine_t *e, uint32_t at, pkt_t *p) noexcept nogil:
    # dispatch: where in the run of rules behind rule `at` the packet's key stands first.
    # => The index of that rule, or of the one behind the run.
    cdef const dispatch_t *d = &e.dispatches[e.rules[at].target_arg]
    cdef uint32_t rule, key
    p.asks_tuple |= d.kind <= DISPATCH_SRC
    if d.apart:
        rule = rule_of_source(e, d, tuple_src(p.t))
        p.unrepeatable |= rule != FN_NONE and not d.alike
    elif run_key(e, d, p, &key):
        rule = dispatch_rule(e, d, key)
    else:
        return at + 1
    return rule if rule != FN_NONE else e.rules[at].next


cdef inline bint lacks_header(const pkt_t *p, uint32_t need, bint *hotdrop) noexcept nogil:
    # lacks_header: a match that needs so many bytes of l4 header, 0 none, fails for a fragment that is not the first.
    # => hotdrop: the datagram ends within the header, or a TCP fragment would overwrite one (tcp_mt).
    if need == 0 or p.data == NULL:
        return False
    if fn_unlikely(p.part == PART_LATER):
        # an offset of 8 bytes would lie within the header of TCP, and write its flags anew behind the filter (RFC 1858)
        hotdrop[0] = not FN_V6 and need == TCP_HEADER and load_be16(p.data + 6) & 0x1fff == 1
        return True
    hotdrop[0] = p.len < p.l4off + need
    return hotdrop[0]


cdef inline bint matches_hold(engine_t *e, const rule_t *r, pkt_t *p, bint *hotdrop) noexcept nogil:
    # matches_hold: the rule's matches in order.
    # => A match that needs an l4 header which the packet lacks drops the packet at once.
    cdef match_t *m = &e.matches[r.match.listed.first]
    cdef uint32_t i
    for i in range(r.match.n_listed):
        # the second slot of -m recent, set or limit, which the first one has read
        if m[i].kind == MATCH_MORE:
            continue
        if m[i].kind == MATCH_L4_HEADER:
            if lacks_header(p, m[i].l4_header.bytes, hotdrop):
                return False
            continue
        if decides_alone(m[i].kind):
            # it counts, or reads bytes that are in no key: nothing that other packets met says what this one meets
            p.unrepeatable = True
            if not alone_holds(e, &m[i], p, hotdrop) or hotdrop[0]:
                return False
            continue
        if not match_holds(e, &m[i], p):
            return False
    return True


cdef inline bint own_match_holds(engine_t *e, rule_t *r, pkt_t *p, bint *hotdrop) noexcept nogil:
    # own_match_holds: matches_hold for a rule that carries its only match.
    return not lacks_header(p, r.match.need, hotdrop) and match_holds(e, &r.match, p)


cdef inline void target_mark(pkt_t *p, const target_t *t) noexcept nogil:
    # target_mark: mark_tg of xt_mark.c.
    # turned round, not set: --set-xmark may name bits that its mask leaves, and --xor-mark is a mark with an empty mask
    p.mark = (p.mark & ~t.mask) ^ t.value


cdef inline void target_connmark(engine_t *e, pkt_t *p, const target_t *t) noexcept nogil:
    # target_connmark: op 0 sets, 1 saves the packet's mark, 2 restores it (xt_connmark.c).
    cdef uint32_t mark
    if p.ct == FN_NONE:
        # a template counts as a connection whose mark is 0
        if p.has_template and t.op == 2:
            p.mark &= ~t.mask2
        return
    mark = conn_mark(e, p.ct)
    if t.op == 0:
        set_conn_mark(e, p.ct, (mark & ~t.mask) ^ t.value)
    elif t.op == 1:
        set_conn_mark(e, p.ct, (mark & ~t.mask) ^ (p.mark & t.mask2))
    else:
        p.mark = (p.mark & ~t.mask2) ^ (mark & t.mask)


cdef inline void target_ct(pkt_t *p, uint32_t kind, const target_t *t) noexcept nogil:
    # target_ct: NOTRACK, or a template; a packet that already carries one is left alone.
    if p.ct != FN_NONE or p.has_template or p.untracked:
        return
    if kind == TARGET_NOTRACK:
        p.untracked = True
        p.ctinfo = IP_CT_UNTRACKED
    else:
        p.has_template = True
        # --zone mark, or a number
        p.template_zone = <uint16_t>(p.mark & 0xffff if t.op else t.value)
        p.template_dir = <unsigned char>t.mask
        p.template_helper = <unsigned char>t.mask2


cdef inline uint32_t tproxy(engine_t *e, pkt_t *p, const target_t *t) noexcept nogil:
    # tproxy: tproxy_tg4, tproxy_tg6.
    # without a listener there is nobody to give it to: the kernel drops it rather than let it go on (NF_DROP)
    if not give_to_proxy(e, p):
        return TARGET_DROP
    target_mark(p, t)
    return TARGET_ACCEPT


cdef inline uint32_t alter(engine_t *e, pkt_t *p, uint32_t kind, const target_t *t) noexcept nogil:
    # alter: a target after which the walk goes on.
    # => TARGET_NONE, or how the walk ends after all.
    if kind == TARGET_MARK:
        target_mark(p, t)
    elif kind == TARGET_NOTRACK:
        # a memo says it
        target_ct(p, kind, t)
    elif kind != TARGET_NONE and (kind != TARGET_TCPMSS or p.data != NULL):
        # what it changes is in no key of a memo, and neither is what it changes it to
        p.unrepeatable = True
        if kind == TARGET_CONNMARK:
            target_connmark(e, p, t)
        elif kind == TARGET_TOS:
            set_tos(p, t)
        elif kind == TARGET_TTL:
            set_ttl(p, t)
        elif kind == TARGET_TCPMSS:
            return set_mss(e, p, t)
        elif kind == TARGET_TPROXY:
            return tproxy(e, p, t)
        else:
            target_ct(p, kind, t)
    return TARGET_NONE


cdef inline void note_rule(table_memo_t *memo, uint32_t rule, const rule_t *r, pkt_t *p) noexcept nogil:
    # note_rule: remember a rule that matched; one more than fit says that there were too many. Of alike rules one may match.
    # a walk names the rule that varies apart, so that a memo can find each source's own again
    if fn_unlikely(r.tests & RULE_TESTS_ALIKE):
        p.unrepeatable |= memo.varied != 0
        memo.varied = rule + 1
        return
    if memo.n < FN_TABLE_MEMO_RULES:
        memo.rules[memo.n] = rule
    memo.n += memo.n <= FN_TABLE_MEMO_RULES


cdef inline bint rule_holds(engine_t *e, rule_t *r, pkt_t *p, bint *hotdrop) noexcept nogil:
    # rule_holds: all that a rule asks (ip_packet_match, xt_ematch_foreach of ipt_do_table).
    # => hotdrop: the packet is dropped at once.
    # ends of chains and policies ask nothing, as does a rule that only jumps
    if r.tests == 0:
        return True
    if not rule_fits(e, r, p, hotdrop):
        return False
    if r.tests & RULE_TESTS_MATCH and not own_match_holds(e, r, p, hotdrop):
        return False
    return not r.tests & RULE_TESTS_MATCHES or matches_hold(e, r, p, hotdrop)


cdef inline uint32_t caller_of(const engine_t *e, uint32_t table, uint32_t hook, uint32_t *depth) noexcept nogil:
    # caller_of: where the walk goes on behind the end of a chain, or RETURN.
    # a goto left the built-in chain, or RETURN stands in it: the policy, which counts
    if depth[0] == 0:
        return e.hook_policy[table][hook]
    depth[0] -= 1
    return e.jump_stack[depth[0]]


cdef inline bint goes_on(uint32_t kind) noexcept nogil:
    # goes_on: targets behind which the walk takes the next rule (XT_CONTINUE).
    return kind == TARGET_NONE or TARGET_MARK <= kind <= TARGET_CT_ZONE or TARGET_TOS <= kind < TARGET_REJECT


cdef inline uint32_t count_walk(engine_t *e, pkt_t *p, table_memo_t *memo, uint32_t walked, uint32_t kind) noexcept nogil:
    # count_walk: the end of a walk. One of so many rules took long: the batch may pause behind it.
    # => kind, a policy as what it says.
    e.stats[STAT_RULES_WALKED] += walked
    # a memo counts walked rules in 16 bits
    memo.walked = <uint16_t>walked if walked < 0xffff else 0xffff
    p.unrepeatable |= walked >= 0xffff
    p.pause |= walked >= 0xffff
    if kind == TARGET_POLICY_ACCEPT:
        return TARGET_ACCEPT
    return TARGET_DROP if kind == TARGET_POLICY_DROP else kind


cdef inline uint32_t do_table(engine_t *e, uint32_t table, pkt_t *p, table_memo_t *memo) noexcept nogil:
    # do_table: walk the chain of p.hook in a table, which must exist (ipt_do_table).
    # => TARGET_ACCEPT, TARGET_DROP, TARGET_REJECT, TARGET_TOO_FAR, or the NAT target that decided; memo.target_arg is its range, memo.rules
    #    are the rules that matched, p.unrepeatable says that another packet of the same key may fare otherwise.
    cdef uint32_t depth = 0
    cdef uint32_t at = e.hook_entry[table][p.hook]
    cdef uint32_t walked = 0
    cdef bint hotdrop = False
    cdef rule_t *r
    cdef uint32_t kind
    while True:
        r = &e.rules[at]
        # it stands in front of a run of rules, and is none: neither walked nor counted
        if r.target == TARGET_DISPATCH:
            at = dispatch(e, at, p)
            continue
        walked += 1
        if not rule_holds(e, r, p, &hotdrop):
            if hotdrop:
                kind = TARGET_DROP
                p.unrepeatable = True
                break
            at = r.next
            continue
        kind = r.target
        # no counter is shown of the end of a chain
        if kind != TARGET_CHAIN_END:
            count_rule(e, at, p.length)
            note_rule(memo, at, r, p)
        if kind == TARGET_JUMP:
            if fn_unlikely(walked >= FN_WALK_RULES or depth >= e.max_jumps):
                p.unrepeatable = True
                kind = TARGET_TOO_FAR
                break
            e.jump_stack[depth] = r.next
            depth += 1
            # a chain lies in one piece: its next rules come while the first is read
            at = r.target_arg
        elif kind == TARGET_RETURN or kind == TARGET_CHAIN_END:
            at = caller_of(e, table, p.hook, &depth)
        elif kind == TARGET_GOTO:
            at = r.target_arg
        elif goes_on(kind):
            kind = alter(e, p, kind, &e.targets[r.target_arg])
            if kind != TARGET_NONE:
                break
            at = r.next
        else:
            memo.target_arg = r.target_arg
            break
    return count_walk(e, p, memo, walked, kind)
