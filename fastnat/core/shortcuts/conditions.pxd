# When a short cut may be taken: every condition stands here, each with its reason.
#
# Source: ours; the kernel has no short cuts but the flow table, whose conditions are nft_flow_offload's.
# Invariants: a condition is asked before anything is changed. Where all of one function hold, the short cut gives exactly what
# `walk` of hooks would give, counters included; where one fails, the packet takes the long way.
# Differs from the kernel: nothing.
from libc.stdint cimport int32_t, uint32_t
from ..types cimport *
from ..conntrack.lookup cimport dst16_count
from ..conntrack.tcp cimport is_plain_syn
from ..packet.extensions cimport BEHIND_ADDRESSES
from ..tuples.tuple cimport asks_echo, tuple_dport, tuple_dst, tuple_equal, tuple_proto
from ..validate cimport may_be_forwarded

cdef enum:
    # what the range of a complete memo may say: not that a port is an offset, which depends on the port it replaces
    COMPLETE_FLAGS = RANGE_MAP_IPS | RANGE_PROTO_SPECIFIED | RANGE_RANDOM_ALL | RANGE_PERSISTENT
    # and that of DNAT in any memo: nothing is drawn
    ONE_FLAGS = RANGE_MAP_IPS | RANGE_PROTO_SPECIFIED | RANGE_PERSISTENT
    # complete memos: the source alone is translated, and no ICMP; any other
    COMPLETE_SOURCE = 1
    COMPLETE_ELSE = 2


# the chains beside those of nat that a forwarded packet passes, as bits of pkt_t.unruled and engine_t.ruled
cdef extern from *:
    """
    #define FN_CHAIN(table, hook) (1u << ((table) * 5 + (hook)))
    #define FN_FORWARDED                                                                        \\
        (FN_CHAIN(TABLE_RAW, HOOK_PREROUTING) | FN_CHAIN(TABLE_MANGLE, HOOK_PREROUTING)         \\
         | FN_CHAIN(TABLE_MANGLE, HOOK_FORWARD) | FN_CHAIN(TABLE_FILTER, HOOK_FORWARD)          \\
         | FN_CHAIN(TABLE_MANGLE, HOOK_POSTROUTING))
    static const uint32_t fn_chain[FN_PLACES] = {
        0, 0, FN_CHAIN(TABLE_RAW, HOOK_PREROUTING), FN_CHAIN(TABLE_MANGLE, HOOK_PREROUTING),
        FN_CHAIN(TABLE_MANGLE, HOOK_FORWARD), FN_CHAIN(TABLE_FILTER, HOOK_FORWARD),
        FN_CHAIN(TABLE_MANGLE, HOOK_POSTROUTING), 0,
    };
    """
    const uint32_t FORWARDED "FN_FORWARDED"
    # by enum place
    const uint32_t chain_at "fn_chain"[FN_PLACES]


cdef inline uint32_t ruled_chains(const engine_t *e) noexcept nogil:
    # ruled_chains: => Those of FORWARDED that have rules.
    cdef uint32_t ruled = 0
    cdef uint32_t table, hook
    for table in range(5):
        for hook in range(5):
            if e.hook_entry[table][hook] != FN_NONE:
                ruled |= <uint32_t>1 << (table * 5 + hook)
    return ruled & FORWARDED


cdef inline bint may_go_shortly(const engine_t *e, bint remember) noexcept nogil:
    # may_go_shortly: what forwarded packets meet can be remembered. remember: the user allows short cuts.
    # => What holds for the node as it is configured; all short cuts but the memos of tables ask for it.
    cdef uint32_t table, hook
    # without tracking there is no connection to know anything
    if not e.tracking or not remember:
        return False
    # an entry that is over in the jiffy in which it began is looked at by the long way, which gives it up where it meets it
    if e.due_at_once:
        return False
    # no memo holds what chains of nftables say, and they see each packet, not only the first of a connection as nat's do
    if e.n_bases:
        for table in range(5):
            for hook in range(5):
                if table != TABLE_NAT and e.hook_entry[table][hook] != FN_NONE:
                    return False
    # n_memos 0: masks with holes, or too many interfaces for a key
    if e.ruled and e.n_memos == 0:
        return False
    # a packet for a virtual service changes its course; helpers by port look at new ones; a connection may have timeouts of its own
    if e.ipvs_capacity or e.auto_helpers or e.n_policies:
        return False
    return True


cdef inline bint may_pass_untracked(const engine_t *e, bint remember) noexcept nogil:
    # may_pass_untracked: => What holds for the node as it is configured: what packets without a connection meet can be remembered.
    # n_memos 0: nftables has chains, too, or the rules allow none
    if not remember or e.n_memos == 0 or e.ipvs_capacity:
        return False
    # a route that depends on more than classes
    if e.n_fib_rules or e.routes_by_packet:
        return False
    return not e.tracking or e.ruled & chain_at[PLACE_RAW] != 0


cdef inline bint may_be_repeated(const engine_t *e, const pkt_t *p) noexcept nogil:
    # may_be_repeated: whether a packet without a connection that has gone the long way stands for all of its kind.
    cdef const table_memo_t *raw = walk_at(e, p, PLACE_RAW)
    if p.ct != FN_NONE or p.verdict != VERDICT_FORWARD or p.in_iface == 0 or p.data != NULL or p.route == 0:
        return False
    # who is untracked for another reason, or INVALID, is so by more than a key says
    if (e.tracking or p.untracked) and (raw == NULL or not raw.untracked):
        return False
    # of several hops each flow has its own; a group, or all of a network, may be listened to here as well
    return e.routes[p.route - 1].kind == ROUTE_UNICAST and e.routes[p.route - 1].hops <= 1 and are_there(e, p, PLACE_RAW)


cdef inline bint is_bare(const pkt_t *p) noexcept nogil:
    # is_bare: whether a parsed datagram is whole, and nothing lies between its addresses and its protocol: options are followed,
    # and time stamps written; extension headers are read.
    return p.tracked and p.part == PART_WHOLE and p.l4off == BEHIND_ADDRESSES


cdef inline bint may_have_memo(const engine_t *e, const pkt_t *p) noexcept nogil:
    # may_have_memo: whether hooks may follow a memo, or make one, for a packet behind conntrack in PREROUTING.
    if not e.shortly or e.n_memos == 0:
        return False
    # later packets are not asked: nat rules run once a connection
    if not p.is_new:
        return False
    # without nat there is no null binding either
    if not e.nat_hooks:
        return False
    if p.data != NULL and not is_bare(p):
        return False
    # a zone of a template is in no key; who is held confirms later, and not in `follow`
    if p.template_zone or p.held:
        return False
    # of ICMP only what `open_by_memo` takes: echoes are by far the most frequent query
    return tuple_proto(p.t) != PROTO_ICMP or asks_echo(PROTO_ICMP, tuple_dport(p.t))


cdef inline bint is_led_away(const memo_t *memo, tuple_t t) noexcept nogil:
    # is_led_away: whether DNAT of a memo changes a packet's destination, as far as it has one, so that rules see it as translated.
    return memo.to == 0 or memo.to != tuple_dst(t) or (memo.to_port != 0 and memo.to_port != tuple_dport(t))


cdef inline bint may_follow(const engine_t *e, const pkt_t *p, const memo_t *memo) noexcept nogil:
    # may_follow: whether a packet, as it came out of conntrack, goes by its memo up to confirm.
    # bytes are rewritten hook by hook
    if p.data != NULL:
        return False
    # rules of raw have counted the packet already
    if e.ruled & chain_at[PLACE_RAW] or not is_led_away(memo, p.t):
        return False
    # the null binding of the destination may change an ICMP id before the rules see the packet; where it does not, `open_by_memo`
    # has opened the connection
    return tuple_proto(p.t) != PROTO_ICMP


cdef inline bint names_one(const engine_t *e, const target_t *range_) noexcept nogil:
    # names_one: whether the range of DNAT has one address, and one port or none: where it leads is then the same for all.
    if range_.flags & ~ONE_FLAGS or not range_.flags & RANGE_MAP_IPS or range_.min_addr != range_.max_addr:
        return False
    if not range_.flags & RANGE_PROTO_SPECIFIED:
        return True
    # a port of 0 stands for none in a memo; linux-5.4 draws where a search begins, even among one port
    return range_.min_proto == range_.max_proto and range_.min_proto != 0 and e.profile != LINUX_5_4


cdef inline const table_memo_t *walk_at(const engine_t *e, const pkt_t *p, uint32_t place) noexcept nogil:
    # walk_at: how the packet's walk at a place of enum place was remembered.
    # => NULL: it was not, or there was none.
    return &e.table_memos[p.walks[place] - 1] if p.walks[place] else NULL


cdef inline bint has_rules(const engine_t *e, uint32_t place) noexcept nogil:
    # has_rules: whether a chain that forwarded packets pass has any. place: of enum place.
    if place >= PLACE_RAW:
        return e.ruled & chain_at[place] != 0
    return e.hook_entry[TABLE_NAT][HOOK_PREROUTING if place == PLACE_DST else HOOK_POSTROUTING] != FN_NONE


cdef inline bint are_there(const engine_t *e, const pkt_t *p, uint32_t first) noexcept nogil:
    # are_there: whether all walks of a forwarded packet were repeatable, from a place of enum place on, and let it pass.
    cdef const table_memo_t *memo
    cdef uint32_t place, before
    for place in range(first, PLACE_ELSEWHERE):
        memo = walk_at(e, p, place)
        if not has_rules(e, place):
            continue
        if memo == NULL or (place >= PLACE_RAW and (memo.kind != TARGET_ACCEPT or memo.varied)):
            return False
        # a later walk may have taken the place of an earlier one's memo
        for before in range(first, place):
            if p.walks[before] == p.walks[place]:
                return False
    return True


cdef inline uint32_t gather_rules(const engine_t *e, const pkt_t *p, uint32_t first, uint32_t *rules, uint32_t room,
                                  uint32_t *walked) noexcept nogil:
    # gather_rules: those that matched on the packet's walks, from a place of enum place on, and how many were walked past.
    # => How many; more than `room`: they do not fit.
    cdef const table_memo_t *memo
    cdef uint32_t n = 0
    cdef uint32_t place, i
    walked[0] = 0
    for place in range(first, PLACE_ELSEWHERE):
        memo = walk_at(e, p, place)
        if memo == NULL:
            continue
        walked[0] += memo.walked
        for i in range(memo.n if n + memo.n <= room else 0):
            rules[n + i] = memo.rules[i]
        n += memo.n
    return n


cdef inline bint may_be_memorized(const engine_t *e, const pkt_t *p, const table_memo_t *dst, const table_memo_t *src) noexcept nogil:
    # may_be_memorized: whether the walks of a connection's first packet make a memo. dst, src: those through nat.
    cdef const table_memo_t *raw = walk_at(e, p, PLACE_RAW)
    if not are_there(e, p, PLACE_DST):
        return False
    # the key of a memo has the mark with which the packet came in
    if raw != NULL and raw.mark != <uint32_t>raw.key[1]:
        return False
    # of several next hops each flow has its own
    if e.routes[p.route - 1].hops > 1:
        return False
    # behind DNAT to what it asked for the rules have seen a packet that is not translated; of others of its kind they see that it is
    if dst.kind == TARGET_DNAT and not e.conns[p.ct].status & IPS_DST_NAT:
        return False
    # behind a null binding that changed an id the rules have seen a translated packet, and DNAT searches for an id, too
    if tuple_proto(p.t) == PROTO_ICMP and (dst.kind != TARGET_ACCEPT or e.conns[p.ct].status & IPS_DST_NAT):
        return False
    # met for the first time, a kind may never come again: among thousands of services most would only push out another
    if dst.packets == 0 or src.packets == 0:
        return False
    # of rules for single sources a memo has room for one
    if dst.varied:
        return False
    # the new destination decides the route, and with it which rules the source meets
    if dst.kind != TARGET_ACCEPT and not (dst.kind == TARGET_DNAT and names_one(e, &e.targets[dst.target_arg])):
        return False
    # REDIRECT and NETMAP choose by the packet's own address
    return src.kind == TARGET_ACCEPT or src.kind == TARGET_MASQUERADE or src.kind == TARGET_SNAT


cdef inline unsigned char completeness(const memo_t *memo, const target_t *range_) noexcept nogil:
    # completeness: => COMPLETE_* where a memo says the address, and its range whether a port is kept or the first one drawn is
    #    tried, else 0.
    # no rule for the source: its null binding keeps both
    if memo.kind == TARGET_ACCEPT:
        return COMPLETE_ELSE
    if memo.addr == 0 or range_.flags & ~COMPLETE_FLAGS:
        return 0
    # a range of one port has no draw: the search begins at that port
    if range_.flags & RANGE_PROTO_SPECIFIED and range_.min_proto == range_.max_proto:
        return 0
    return COMPLETE_ELSE if memo.to or (memo.key[1] >> 40 & 0xff) == PROTO_ICMP else COMPLETE_SOURCE


cdef inline bint may_ask_memo(const engine_t *e, const packet_t *in_) noexcept nogil:
    # may_ask_memo: whether a header may be opened from a complete memo alone, as far as the header itself goes.
    # a SYN, an echo request and any packet of UDP may open a connection; a packet of the node itself begins in OUTPUT
    if in_.proto != PROTO_UDP and not (in_.proto == PROTO_TCP and is_plain_syn(in_.tcp_flags)) and not asks_echo(in_.proto, in_.dport):
        return False
    return e.n_memos != 0 and in_.iface != 0 and in_.iface < e.n_ifaces


cdef inline bint may_open(const engine_t *e, tuple_t t, const ahead_t *ahead, const memo_t *memo) noexcept nogil:
    # may_open: whether a connection may be opened from what was computed ahead and from its memo, as far as sizes go.
    # another packet may have taken the memo's place meanwhile
    if memo == NULL or memo.born != ahead.born:
        return False
    # a source that is the NAT address already keeps its port by other rules
    if t.src == ahead.reply[1].dst and memo.kind != TARGET_ACCEPT:
        return False
    # early drop, the chain limit, what a helper has announced, and accounting are looked at by the long way alone
    if fn_unlikely(e.count >= e.max_conns or (e.n_chains | e.n_expects | e.accounting) != 0):
        return False
    # since the look ahead somebody may have come who has the untranslated reply tuple, whose hash was not computed
    return ahead.checks or fn_likely(dst16_count(e, t.src)[0] == 0)


cdef inline bint comes_by_way_back(const engine_t *e, const conn_t *c, uint32_t iface, uint32_t dir) noexcept nogil:
    # comes_by_way_back: whether packets of the other direction leave by a device, so that rp_filter lets pass what comes by it.
    return c.routes[dir ^ 1] != 0 and e.routes[c.routes[dir ^ 1] - 1].iface == iface


cdef inline const route_t *passing_route(const engine_t *e, const conn_t *c, const packet_t *in_, tuple_t t, uint32_t dir) noexcept nogil:
    # passing_route: the route of a packet that its connection decides alone. dir: the direction in which c may have t.
    # => NULL: it takes the long way.
    cdef uint32_t wanted = IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE | IPS_CONFIRMED | <uint32_t>CONN_LIVE << 24
    cdef uint32_t looked_at = wanted | IPS_FIXED_TIMEOUT | <uint32_t>CONN_COUNTED << 24
    cdef const route_t *route
    cdef uint32_t flags
    if not tuple_equal(c.tuples[dir], t) or <int32_t>(c.timeout - <uint32_t>e.now) <= 0:
        return NULL
    # a record that was released keeps its tuples until it is used again; nat rules have to have decided; a fixed timeout is
    # not refreshed; accounting counts each packet
    if fn_conn_bits(c) & looked_at != wanted:
        return NULL
    # the first packet of a direction is routed
    if c.routes[dir] == 0 or in_.iface >= e.n_ifaces:
        return NULL
    # the device may not forward, as the node itself does not, which begins in OUTPUT; or look for the way back of each packet:
    # known where answers take it
    flags = e.iface_flags[in_.iface]
    if fn_unlikely(not flags & IFACE_PLAIN) and not (flags & IFACE_FORWARD and comes_by_way_back(e, c, in_.iface, dir)):
        return NULL
    route = &e.routes[c.routes[dir] - 1]
    # deliver_local, and a masqueraded connection that leaves by another device ends (nf_nat_oif_changed). A route to a group is
    # not kept
    if route.kind != ROUTE_UNICAST or (dir == 0 and c.masq_iface and c.masq_iface != route.iface):
        return NULL
    return route if may_be_forwarded(in_.src, in_.iface, route.iface) else NULL
