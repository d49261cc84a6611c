# Remembering that the rules of raw, mangle and filter let a further packet of a forwarded connection pass.
#
# Source: ours; the walks themselves are ipt_do_table's, see rules/walk.
# Invariants: a memo is made only by a packet that took the long way, and only out of repeatable walks in which no rule asked for
# an address or a port: what else a rule may ask is in the key. Most rules are of this kind for a further packet, as the first
# ones let pass what is established.
# Differs from the kernel: nothing.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport *
from ..conntrack.protocols cimport ctinfo_of
from ..rules.walk cimport count_rules
from ..tuples.tuple cimport tuple_proto
from .conditions cimport are_there, gather_rules, walk_at

cdef enum:
    # of a connection's status, and where they stand in a key
    NAT_BITS = IPS_SRC_NAT | IPS_DST_NAT
    NAT_SHIFT = 44


cdef inline void pass_key(const packet_t *in_, uint32_t out_iface, uint32_t ctinfo, uint32_t status, uint64_t *key) noexcept nogil:
    # pass_key: all that such rules may ask of a packet. Bit 63: the key is in use.
    key[0] = (in_.iface | <uint64_t>out_iface << 12 | <uint64_t>in_.proto << 24 | <uint64_t>in_.tcp_flags << 32
              | <uint64_t>ctinfo << 40 | <uint64_t>(status & NAT_BITS) << NAT_SHIFT | <uint64_t>1 << 63)
    key[1] = in_.mark


cdef inline pass_memo_t *pass_memo_at(const engine_t *e, const uint64_t *key) noexcept nogil:
    # pass_memo_at: the place of a key.
    cdef uint64_t h = (key[0] ^ key[1] << 20) * <uint64_t>0x9e3779b97f4a7c15
    # the uppermost bits, which depend on all of a key
    return &e.pass_memos[(h >> 56) & (FN_PASS_MEMOS - 1)]


cdef inline bint holds(const pass_memo_t *memo, const uint64_t *key) noexcept nogil:
    # holds: whether a memo is that of a key.
    return memo.key[0] == key[0] and memo.key[1] == key[1]


cdef inline void pass_memo_flush(engine_t *e, pass_memo_t *memo) noexcept nogil:
    # pass_memo_flush: the rules' own counters hold what the memo counted.
    count_rules(e, memo.rules, memo.n if memo.packets else 0, memo.packets, memo.bytes)
    memo.packets = 0
    memo.bytes = 0


cdef inline pass_memo_t *known_pass(const engine_t *e, const packet_t *in_, uint32_t id_) noexcept nogil:
    # known_pass: what lets the packet pass, if it belongs to the connection with this table id, as established looks into.
    # => NULL: nobody knows.
    cdef const conn_t *c = &e.conns[id_ >> 1]
    cdef uint64_t key[2]
    cdef pass_memo_t *memo
    if c.routes[id_ & 1] == 0:
        return NULL
    pass_key(in_, e.routes[c.routes[id_ & 1] - 1].iface, ctinfo_of(c, id_ & 1), c.status, key)
    memo = pass_memo_at(e, key)
    return memo if holds(memo, key) and not memo.fails else NULL


cdef inline void count_pass(engine_t *e, const packet_t *in_, pass_memo_t *memo) noexcept nogil:
    # count_pass: the rules count the packet.
    memo.packets += 1
    memo.bytes += in_.length
    e.stats[STAT_RULES_WALKED] += memo.walked


cdef inline bint asks_tuple(const engine_t *e, const pkt_t *p) noexcept nogil:
    # asks_tuple: whether a rule that the packet has met asks for an address or a port.
    cdef uint32_t place
    for place in range(PLACE_RAW, PLACE_ELSEWHERE):
        if p.walks[place] and walk_at(e, p, place).asks_tuple:
            return True
    return False


cdef inline void remember_pass(engine_t *e, const packet_t *in_, const pkt_t *p) noexcept nogil:
    # remember_pass: a packet has gone the long way: what its rules said of it, for others of its kind. p: as it left.
    cdef uint64_t key[2]
    cdef pass_memo_t *memo
    cdef uint32_t n, walked
    cdef uint32_t proto = tuple_proto(p.t)
    if p.first or p.verdict != VERDICT_FORWARD or p.ct == FN_NONE or (proto != PROTO_UDP and proto != PROTO_TCP):
        return
    # who has no route of its own, or is no plain packet of its connection, goes the long way in any case
    if e.conns[p.ct].routes[p.dir] == 0 or p.icmp_error or p.dying or in_.iface == 0:
        return
    pass_key(in_, p.out_iface, p.ctinfo, e.conns[p.ct].status, key)
    memo = pass_memo_at(e, key)
    if holds(memo, key):
        return
    pass_memo_flush(e, memo)
    memset(memo, 0, sizeof(pass_memo_t))
    memo.key[0] = key[0]
    memo.key[1] = key[1]
    n = gather_rules(e, p, PLACE_RAW, memo.rules, FN_PASS_RULES, &walked)
    memo.n = <unsigned char>n
    memo.walked = <uint16_t>walked
    memo.fails = not are_there(e, p, PLACE_RAW) or asks_tuple(e, p) or n > FN_PASS_RULES or walked > 0xffff
