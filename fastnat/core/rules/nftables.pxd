# Walking the chains of nftables for one packet.
#
# Source: nft_do_chain (nf_tables_core.c), nft_cmp.c, nft_range.c, nft_bitwise.c, nft_lookup.c, nft_limit.c, nft_quota.c,
# nft_counter.c, nft_exthdr.c, nft_numgen.c, nft_hash.c, nft_nat.c, nft_masq.c, nft_redir.c, nft_objref.c (Linux 6.18).
# Invariants: an expression that does not hold ends its rule; a verdict ends the chain, a NAT statement as well. Registers hold
# numbers of the host, the most significant word first; nftables/compile.py says which of them an expression may use.
# Differs from the kernel: nothing for the expressions listed.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from ..types cimport *
from ..conntrack.lookup cimport find_tuple
from ..conntrack.protocols cimport refresh, timeouts_of
from ..helpers.expect cimport assign_helper
from ..packet.checksum cimport csum_replace2, load_be16
from ..packet.mangle cimport set_tos, set_ttl
from ..route cimport keep_way, way_of, way_t
from ..tuples.hash cimport random_u64, rol32, tuple_hash
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_equal, tuple_make, tuple_proto, tuple_sport, tuple_src
from .connlimit cimport still_counts
from .match cimport do_table, rule_reason, set_conn_mark, target_ct
from .nft_load cimport (find_tcp_option, get_addr, load_ct, load_extension, load_fib, load_frame, load_meta, load_payload, load_rt,
                       load_tcp_option, OPTION_CUT, OPTION_MISSING, scaled, tcp_header_end)
from .nft_sets cimport change_set, compare_words, element_data, find_in_set
from .nft_store cimport set_address, set_port
from .proxy cimport give_to_proxy

cdef enum:
    # what an expression says beside TARGET_*: the rule goes on, or it is left
    GOES_ON = 0
    LEAVES = 0xff
    NS_PER_JIFFY = 1000000000 // FN_HZ
    # connections that are over, of which one packet takes one more out of a list (CONNCOUNT_GC_MAX_NODES)
    COLLECTED = 64


cdef inline bint cmp_holds(const engine_t *e, const nft_expr_t *x, const uint32_t *from_) noexcept nogil:
    # cmp_holds: nft_cmp_eval.
    cdef int d
    if x.words == 1:
        d = 0 if from_[0] == x.a else -1 if from_[0] < x.a else 1
    else:
        # the kernel compares bytes in network order (memcmp): the order of numbers, the most significant word first
        d = compare_words(from_, &e.nft_words[x.a], x.words)
    if x.b == NFT_EQ or x.b == NFT_NEQ:
        return (d == 0) == (x.b == NFT_EQ)
    if x.b == NFT_LT or x.b == NFT_GTE:
        return (d < 0) == (x.b == NFT_LT)
    return (d <= 0) == (x.b == NFT_LTE)


cdef inline bint range_holds(const engine_t *e, const nft_expr_t *x, const uint32_t *from_) noexcept nogil:
    # range_holds: nft_range_eval.
    cdef const uint32_t *low = &e.nft_words[x.a]
    return (compare_words(from_, low, x.words) >= 0 and compare_words(from_, low + x.words, x.words) <= 0) != x.b


cdef inline void bitwise(const engine_t *e, const nft_expr_t *x, uint32_t *regs) noexcept nogil:
    # bitwise: (value & mask) ^ bits.
    cdef const uint32_t *mask = &e.nft_words[x.a]
    cdef uint32_t i
    for i in range(x.words):
        regs[x.dreg + i] = (regs[x.sreg + i] & mask[i]) ^ mask[x.words + i]


cdef inline void shift(const nft_expr_t *x, uint32_t *regs) noexcept nogil:
    # shift: one word to the left by x.a or to the right by x.b bits.
    regs[x.dreg] = regs[x.sreg] << x.a if x.a else regs[x.sreg] >> x.b


cdef inline void combine(const nft_expr_t *x, uint32_t *regs) noexcept nogil:
    # combine: two values (nft_bitwise_eval_and and its kind).
    cdef uint32_t i
    for i in range(x.words):
        if x.b == NFT_AND:
            regs[x.dreg + i] = regs[x.sreg + i] & regs[x.a + i]
        elif x.b == NFT_OR:
            regs[x.dreg + i] = regs[x.sreg + i] | regs[x.a + i]
        else:
            regs[x.dreg + i] = regs[x.sreg + i] ^ regs[x.a + i]


cdef inline uint32_t numgen(engine_t *e, const nft_expr_t *x) noexcept nogil:
    # numgen: nft_ng_inc_gen and nft_ng_random_gen.
    cdef nft_state_t *s = &e.nft_states[x.a]
    if x.sreg:
        return scaled(<uint32_t>(random_u64(e) >> 32), x.b) + x.c
    # the kernel adds before it answers, and begins one below the modulus: the first answer is 0
    s.packets = s.packets + 1 if s.packets + 1 < x.b else 0
    return <uint32_t>s.packets + x.c


cdef inline bint limit_holds(engine_t *e, const pkt_t *p, const nft_expr_t *x, nft_state_t *s) noexcept nogil:
    # limit_holds: nft_limit_eval. The packet costs what it takes to earn it again, in nanoseconds.
    cdef uint64_t now = e.now * NS_PER_JIFFY
    cdef uint64_t cost = s.cost
    # nanoseconds, as the price is: what a jiffy earns is exact, however little that is
    cdef uint64_t tokens = s.tokens + now - s.last
    if x.b & 2:
        # with a week for a period it wraps from 30,501 bytes on, as in nft_limit_bytes_eval; with a day or less no packet is large enough
        cost = s.period * p.length // s.cost
    # a bucket is never fuller than the burst
    if tokens > s.most:
        tokens = s.most
    # noted whether or not the packet passes: what the time has earned is in the tokens, and must not be earned twice
    s.last = now
    if tokens >= cost:
        s.tokens = tokens - cost
        return not x.b & 1
    s.tokens = tokens
    return x.b & 1


cdef inline bint quota_holds(const engine_t *e, const pkt_t *p, const nft_expr_t *x, nft_state_t *s) noexcept nogil:
    # quota_holds: nft_quota_do_eval. Older kernels took the last byte of a quota as one too many.
    # what is over the quota counts as well (nft_overquota adds before it compares)
    s.bytes += p.length
    return (s.bytes > s.most or (e.profile == LINUX_5_4 and s.bytes == s.most)) == (x.b & 1)


cdef inline bint is_confirmed(const engine_t *e, tuple_t t) noexcept nogil:
    # is_confirmed: a connection has this tuple (nf_conntrack_find_get).
    return find_tuple(e, t, tuple_hash(e, t), <uint32_t>e.now) != FN_NONE


cdef inline uint64_t *last_counted(engine_t *e, nft_state_t *s, const tuple_t *own) noexcept nogil:
    # last_counted: take out connections that are over, COLLECTED and one more at the most, up to the packet's own if there is one.
    # => Where the next one is linked; NULL: the own one stands in the list. s.packets: how many there are.
    cdef uint64_t *link = &s.last
    cdef uint32_t gone = 0
    cdef uint32_t at
    while link[0] and gone <= COLLECTED:
        at = <uint32_t>link[0] - 1
        # even where this packet has closed it
        if own != NULL and tuple_equal(e.nft_conns[at].t, own[0]) and is_confirmed(e, own[0]):
            return NULL
        if not still_counts(e, e.nft_conns[at].t):
            link[0] = e.nft_conns[at].next
            e.nft_conns[at].next = e.free_nft_conn
            e.free_nft_conn = at + 1
            s.packets -= 1
            gone += 1
            continue
        link = &e.nft_conns[at].next
    # only the end of a list gets new connections (list_add_tail), so the walk goes on to it, whatever stood in front
    while link[0]:
        link = &e.nft_conns[link[0] - 1].next
    return link


cdef inline bint count_connection(engine_t *e, nft_state_t *s, uint64_t *link, tuple_t own) noexcept nogil:
    # count_connection: add a connection.
    # => False: there is no room.
    cdef uint32_t at
    # places of connections that are over come first: the memory grows to the most that were counted at once
    if e.free_nft_conn:
        at = e.free_nft_conn - 1
        e.free_nft_conn = <uint32_t>e.nft_conns[at].next
    elif e.n_nft_conns < e.max_nft_conns:
        at = e.n_nft_conns
        e.n_nft_conns += 1
    else:
        return False
    e.nft_conns[at].t = own
    e.nft_conns[at].next = 0
    link[0] = at + 1
    s.packets += 1
    return True


cdef inline bint counted(engine_t *e, const pkt_t *p, nft_state_t *s) noexcept nogil:
    # counted: nf_conncount_add_skb. Within one jiffy a connection that is not confirmed is added without a look at the others; one
    # that is ASSURED is not added any more.
    # => False: there is no room.
    cdef tuple_t own = e.conns[p.ct].tuples[0] if p.ct != FN_NONE else p.t
    cdef uint32_t id_ = p.ct << 1 if p.ct != FN_NONE else find_tuple(e, own, tuple_hash(e, own), <uint32_t>e.now)
    cdef uint32_t status = e.conns[id_ >> 1].status if id_ != FN_NONE else 0
    # s.tokens: when the list was looked through last, one more so that 0 says never; s.most: how many it held then
    cdef bint now = s.tokens == e.now + 1
    cdef uint64_t *link
    # it was added by its first packet, or has begun before there was a rule
    if e.profile != LINUX_5_4 and status & IPS_ASSURED:
        if not now:
            last_counted(e, s, NULL)
            s.tokens = e.now + 1
            s.most = s.packets
        return True
    if e.profile != LINUX_5_4 and now and not status & IPS_CONFIRMED and s.packets - s.most < COLLECTED:
        link = &s.last
        while link[0]:
            link = &e.nft_conns[link[0] - 1].next
        return count_connection(e, s, link, own)
    link = last_counted(e, s, &own)
    if link == NULL:
        return True
    if not count_connection(e, s, link, own):
        return False
    s.tokens = e.now + 1
    s.most = s.packets
    return True


cdef inline uint32_t count_says(engine_t *e, const pkt_t *p, const nft_expr_t *x, nft_state_t *s) noexcept nogil:
    # count_says: nft_connlimit_do_eval.
    # => GOES_ON, LEAVES, or TARGET_DROP: the packet makes no tuple, or there is no room.
    if (p.ct == FN_NONE and not p.tracked) or not counted(e, p, s):
        return TARGET_DROP
    # x.b & 1: over, so that the rule holds from one more than the number on
    return GOES_ON if (s.packets > x.c) == (x.b & 1) else LEAVES


cdef inline uint32_t stateful_says(engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t state) noexcept nogil:
    # stateful_says: counter, limit, quota, last or ct count.
    # => GOES_ON, LEAVES or TARGET_DROP.
    cdef nft_state_t *s = &e.nft_states[state]
    if x.kind == NFT_COUNTER:
        s.packets += 1
        s.bytes += p.length
    elif x.kind == NFT_LIMIT:
        return GOES_ON if limit_holds(e, p, x, s) else LEAVES
    elif x.kind == NFT_QUOTA:
        return GOES_ON if quota_holds(e, p, x, s) else LEAVES
    elif x.kind == NFT_CONNLIMIT:
        return count_says(e, p, x, s)
    else:
        # one more than the moment, so that 0 says that no packet has come
        s.last = e.now + 1
    return GOES_ON


cdef inline void collect_each_second(engine_t *e, nft_state_t *s) noexcept nogil:
    # collect_each_second: connections that are over leave the list of an element when its set is looked through
    # (nft_rhash_gc), each second as many as a packet takes out. Recorded: the next packet looks at the list all the same.
    cdef uint64_t second = e.now // FN_HZ
    cdef uint64_t rounds = second - s.period
    cdef uint64_t there = 0
    s.period = second
    # none is left that is over once a round takes nothing out
    while rounds and s.packets != there:
        there = s.packets
        last_counted(e, s, NULL)
        rounds -= 1


cdef inline uint32_t carried_say(engine_t *e, pkt_t *p, const nft_set_t *s, uint32_t element) noexcept nogil:
    # carried_say: what an element carries, in order (nft_set_elem_update_expr).
    # => As stateful_says.
    cdef uint32_t first = s.states + (element - s.first) * s.n_states
    cdef uint32_t i, said
    # listed without statements: only elements that packets add get those of their set
    if e.nft_elements[element].used & FN_NFT_BARE:
        return GOES_ON
    for i in range(s.n_states):
        # before the packet is counted: what is over in the second in which its set is looked through takes no place
        if e.nft_exprs[s.state_exprs + i].kind == NFT_CONNLIMIT:
            collect_each_second(e, &e.nft_states[first + i])
        said = stateful_says(e, p, &e.nft_exprs[s.state_exprs + i], first + i)
        # a limit that an element carries may end the rule though the element was found
        if said != GOES_ON:
            return said
    return GOES_ON


cdef inline uint32_t lookup(engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t *regs, uint32_t *chain) noexcept nogil:
    # lookup: nft_lookup_eval.
    # => GOES_ON, LEAVES, or the verdict that a map says; chain: where it jumps to.
    cdef const nft_set_t *s = &e.nft_sets[x.a]
    cdef uint32_t at = find_in_set(e, s, regs + x.sreg)
    cdef const uint32_t *data
    cdef uint32_t said
    if x.b == NFT_LOOKUP_NOT:
        return LEAVES if at != FN_NONE else GOES_ON
    if at == FN_NONE:
        return LEAVES
    data = element_data(e, s, at)
    said = carried_say(e, p, s, at) if s.n_states else GOES_ON
    if said != GOES_ON:
        return said
    if x.b == NFT_LOOKUP_MAP:
        memcpy(regs + x.dreg, data, 4 * s.data_words)
    elif x.b == NFT_LOOKUP_VERDICT:
        chain[0] = data[1]
        return data[0]
    return GOES_ON


cdef inline uint32_t choose(const engine_t *e, const nft_expr_t *x, const uint32_t *regs, uint32_t *chain) noexcept nogil:
    # choose: look a number up in a verdict map of 0, 1, 2 and so on, as those behind numgen are.
    # => As lookup.
    # a verdict is two words: what to do, and the chain that it jumps to
    cdef uint32_t at = x.a + 2 * regs[x.sreg]
    # no element: the rule does not hold
    if regs[x.sreg] >= x.b:
        return LEAVES
    chain[0] = e.nft_words[at + 1]
    return e.nft_words[at]


cdef inline uint32_t dynset(engine_t *e, pkt_t *p, const nft_expr_t *x, const uint32_t *regs) noexcept nogil:
    # dynset: change a set, then ask what the element carries.
    cdef uint32_t element
    if not change_set(e, x, regs, &element):
        return LEAVES
    return GOES_ON if element == FN_NONE else carried_say(e, p, &e.nft_sets[x.a], element)


cdef inline uint32_t nat_range(engine_t *e, pkt_t *p, const nft_expr_t *x, const uint32_t *regs) noexcept nogil:
    # nat_range: what nft_nat_eval, nft_masq_ipv4_eval and nft_redir_eval give the connection; nat/hook carries it out.
    # => The TARGET_* that decides; a packet without a connection leaves the chain untranslated.
    cdef target_t *r = &e.nft_range
    cdef uint32_t min_addr = x.c & 0xff
    cdef uint32_t max_addr = (x.c >> 8) & 0xff
    cdef uint32_t min_proto = (x.c >> 16) & 0xff
    cdef uint32_t max_proto = x.c >> 24
    memset(r, 0, sizeof(target_t))
    r.flags = <uint16_t>x.b
    # 0xff: the statement names no register
    if min_addr != 0xff:
        r.min_addr = get_addr(regs + min_addr)
        r.max_addr = get_addr(regs + max_addr)
    if min_proto != 0xff:
        r.min_proto = <uint16_t>regs[min_proto]
        r.max_proto = <uint16_t>regs[max_proto]
    elif e.slice_last and (x.a == TARGET_SNAT or x.a == TARGET_MASQUERADE):
        # a share of the ports holds only where the rule names none: what a rule says goes before
        r.flags |= RANGE_PROTO_SPECIFIED
        r.min_proto = e.slice_first
        r.max_proto = e.slice_last
    p.target = r
    return x.a


cdef inline uint32_t set_mss(pkt_t *p, uint32_t mss) noexcept nogil:
    # set_mss: nft_exthdr_tcp_set_eval: a maximum segment size only gets smaller. A header without the option stays as it is.
    # => GOES_ON, or LEAVES: the header or the option is cut.
    cdef uint32_t at, before
    if p.data == NULL:
        return GOES_ON
    at = find_tcp_option(p, 2, 4)
    # what is cut cannot be judged; the kernel leaves the rule rather than read on
    if at == OPTION_CUT or tcp_header_end(p) == 0:
        return LEAVES
    if at == OPTION_MISSING:
        return GOES_ON
    before = load_be16(p.data + at + 2)
    # a larger one would promise more than its sender takes
    if before <= mss:
        return GOES_ON
    p.data[at + 2] = <uint8_t>(mss >> 8)
    p.data[at + 3] = <uint8_t>mss
    csum_replace2(p.data + p.l4off + 16, before, mss)
    return GOES_ON


cdef inline uint32_t strip_option(pkt_t *p, uint32_t kind) noexcept nogil:
    # strip_option: nft_exthdr_tcp_strip_eval: NOPs in place of an option.
    # => GOES_ON, LEAVES: there is no whole header, or TARGET_DROP: the option is cut, and cannot be taken away.
    cdef uint32_t at, i, n, high
    if p.data == NULL:
        return GOES_ON
    at = find_tcp_option(p, kind, 0)
    if at == OPTION_CUT:
        return TARGET_DROP
    if at == OPTION_MISSING:
        return GOES_ON if tcp_header_end(p) else LEAVES
    n = p.data[at + 1] if kind > 1 and p.data[at + 1] else 1
    for i in range(at, at + n):
        # the checksum is over words: a byte at an even place is the higher half of one
        high = 8 if (i - p.l4off) % 2 == 0 else 0
        csum_replace2(p.data + p.l4off + 16, <uint32_t>p.data[i] << high, <uint32_t>1 << high)
        p.data[i] = 1
    return GOES_ON


cdef inline uint32_t jhash(const uint32_t *k, uint32_t length, uint32_t seed) noexcept nogil:
    # jhash: linux/jhash.h over `length` bytes; k: the bytes as words whose first byte is the most significant.
    cdef uint32_t a = <uint32_t>0xdeadbeef + length + seed
    cdef uint32_t b = a
    cdef uint32_t c = a
    cdef uint32_t n = (length + 3) // 4
    # of no bytes not even the seed is mixed
    if n == 0:
        return c
    # not at twelve: the last words go through the final mixing, which is another one
    while length > 12:
        # the kernel reads words as its CPU has them in memory, little-endian; registers here hold the number that the bytes write
        a += fn_bswap32(k[0])
        b += fn_bswap32(k[1])
        c += fn_bswap32(k[2])
        a = (a - c) ^ rol32(c, 4)
        c += b
        b = (b - a) ^ rol32(a, 6)
        a += c
        c = (c - b) ^ rol32(b, 8)
        b += a
        a = (a - c) ^ rol32(c, 16)
        c += b
        b = (b - a) ^ rol32(a, 19)
        a += c
        c = (c - b) ^ rol32(b, 4)
        b += a
        k += 3
        length -= 12
        n -= 3
    a += fn_bswap32(k[0])
    if n > 1:
        b += fn_bswap32(k[1])
    if n > 2:
        c += fn_bswap32(k[2])
    c = (c ^ b) - rol32(b, 14)
    a = (a ^ c) - rol32(c, 11)
    b = (b ^ a) - rol32(a, 25)
    c = (c ^ b) - rol32(b, 16)
    a = (a ^ c) - rol32(c, 4)
    b = (b ^ a) - rol32(a, 14)
    return (c ^ b) - rol32(b, 24)


cdef inline uint32_t flow_hash(const engine_t *e, const pkt_t *p) noexcept nogil:
    # flow_hash: skb_get_hash: the same for both directions of a flow; the kernel's is random from boot to boot.
    cdef tuple_t t = p.t
    if tuple_src(t) > tuple_dst(t) or (tuple_src(t) == tuple_dst(t) and tuple_sport(t) > tuple_dport(t)):
        t = tuple_make(tuple_dst(t), tuple_src(t), tuple_dport(t), tuple_sport(t), tuple_proto(t), 0)
    return <uint32_t>(tuple_hash(e, t) >> 16)


cdef inline void set_helper(engine_t *e, const pkt_t *p, uint32_t helper, uint32_t proto) noexcept nogil:
    # set_helper: nft_ct_helper_obj_eval: a new connection of the helper's protocol gets it, unless it has one by a rule already.
    # a confirmed connection has its extensions, and gets no other; helper 0 is one that is not known here
    if helper == 0 or not p.is_new or tuple_proto(e.conns[p.ct].tuples[0]) != proto or e.conns[p.ct].status & IPS_HELPER:
        return
    assign_helper(e, p.ct, helper, IPS_HELPER)


cdef inline void set_timeout(engine_t *e, const pkt_t *p, uint32_t row, uint32_t proto) noexcept nogil:
    # set_timeout: nft_ct_timeout_obj_eval: a new connection of the policy's protocol takes it, in place of one that it has, and
    # lasts at first as if it had just begun, whatever state its packet has led to.
    cdef const uint32_t *timeouts
    if not p.is_new or tuple_proto(p.t) != proto:
        return
    e.tcp[p.ct].policy = <uint8_t>(row + 1)
    timeouts = timeouts_of(e, p.ct)
    refresh(e, p.ct, p.now, timeouts[TIMEOUT_UDP if proto == PROTO_UDP else TIMEOUT_TCP])


cdef inline uint32_t assign(engine_t *e, pkt_t *p, const nft_expr_t *x, const uint32_t *regs) noexcept nogil:
    # assign: what a rule sets: mark, zone, helper, timeouts, TOS, TTL, MSS, a checksum of 0.
    # => As evaluate; what only bytes have is set in those that are there.
    cdef target_t t
    memset(&t, 0, sizeof(target_t))
    t.value = regs[x.sreg]
    if x.kind == NFT_SET_MARK:
        if x.a == 0:
            p.mark = regs[x.sreg]
        elif x.a == 2:
            p.priority = regs[x.sreg]
        elif p.ct != FN_NONE:
            set_conn_mark(e, p.ct, regs[x.sreg])
    elif x.kind == NFT_SET_TOS:
        t.value = regs[x.sreg] & ~x.a & 0xff
        t.mask = ~x.a & 0xff
        set_tos(p, &t)
    elif x.kind == NFT_SET_TTL:
        set_ttl(p, &t)
    elif x.kind == NFT_SET_ZONE:
        t.mask = x.a
        target_ct(p, TARGET_CT_ZONE, &t)
    elif x.kind == NFT_NOTRACK:
        target_ct(p, TARGET_NOTRACK, &t)
    elif x.kind == NFT_SET_MSS:
        return set_mss(p, regs[x.sreg])
    elif x.kind == NFT_STRIP:
        return strip_option(p, x.a)
    elif x.kind == NFT_SET_HELPER:
        set_helper(e, p, x.a, x.b)
    elif x.kind == NFT_SET_TIMEOUT:
        set_timeout(e, p, x.a, x.b)
    # UDP alone may go without a checksum, and says so by 0; behind `ct protocol udp` nobody asks whether the packet is of UDP
    elif p.data != NULL:
        # of a header that is cut off there is none to set (nft_payload_set_eval), nor of a part that is not the first
        if p.len < p.l4off + 8 or p.part == PART_LATER:
            return LEAVES
        p.data[p.l4off + 6] = 0
        p.data[p.l4off + 7] = 0
    return GOES_ON


cdef inline bint loaded(engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # loaded: an expression that reads something into registers.
    if x.kind == NFT_PAYLOAD:
        return load_payload(p, x, to)
    if x.kind == NFT_META:
        return load_meta(e, p, x, to)
    if x.kind == NFT_CT:
        return load_ct(e, p, x, to)
    if x.kind == NFT_FIB:
        return load_fib(e, p, x, to)
    if x.kind == NFT_RT:
        return load_rt(e, p, x, to)
    if x.kind == NFT_EXTHDR:
        return load_extension(p, x, to)
    return load_tcp_option(p, x, to)


cdef inline bint stored(engine_t *e, pkt_t *p, const nft_expr_t *x, const uint32_t *regs) noexcept nogil:
    # stored: an address or a port that a rule writes, or a proxy to which it gives the packet.
    # => False: the rule ends here.
    if x.kind == NFT_SET_ADDRESS:
        return set_address(e, p, x.a, get_addr(regs + x.sreg))
    if x.kind == NFT_SET_PORT:
        return set_port(e, p, x, regs[x.sreg] & 0xffff)
    return give_to_proxy(e, p)


cdef inline uint32_t evaluate(engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t *regs, uint32_t *chain) noexcept nogil:
    # evaluate: one expression.
    # => GOES_ON, LEAVES, or a verdict, TARGET_*.
    cdef uint32_t kind = x.kind
    # what most rules are made of is asked for first
    if kind == NFT_CMP:
        return GOES_ON if cmp_holds(e, x, regs + x.sreg) else LEAVES
    # codes.h keeps the kinds that load side by side
    if NFT_PAYLOAD <= kind <= NFT_EXTHDR:
        return GOES_ON if loaded(e, p, x, regs + x.dreg) else LEAVES
    if kind == NFT_LOOKUP:
        return lookup(e, p, x, regs, chain)
    if kind == NFT_VERDICT:
        chain[0] = x.b
        return x.a
    if kind == NFT_CHOOSE:
        return choose(e, x, regs, chain)
    if kind == NFT_IMMEDIATE:
        if x.words == 1:
            regs[x.dreg] = x.a
        else:
            memcpy(regs + x.dreg, &e.nft_words[x.a], 4 * x.words)
    elif kind == NFT_RANGE:
        return GOES_ON if range_holds(e, x, regs + x.sreg) else LEAVES
    elif kind == NFT_BITWISE:
        bitwise(e, x, regs)
    elif kind == NFT_SHIFT:
        shift(x, regs)
    elif kind == NFT_COMBINE:
        combine(x, regs)
    elif kind == NFT_NUMGEN:
        regs[x.dreg] = numgen(e, x)
    elif kind == NFT_JHASH:
        regs[x.dreg] = scaled(jhash(regs + x.sreg, x.a, x.c), x.b)
    elif kind == NFT_SYMHASH:
        regs[x.dreg] = scaled(flow_hash(e, p), x.b)
    elif kind == NFT_ADD:
        regs[x.dreg] += x.a
    elif NFT_COUNTER <= kind <= NFT_CONNLIMIT:
        return stateful_says(e, p, x, x.a)
    elif kind == NFT_OBJECT:
        # a map of objects: the register names the expression of the object that was found
        x = &e.nft_exprs[regs[x.sreg]]
        if x.kind == NFT_SET_HELPER or x.kind == NFT_SET_TIMEOUT:
            return assign(e, p, x, regs)
        return stateful_says(e, p, x, x.a)
    elif kind == NFT_DYNSET:
        return dynset(e, p, x, regs)
    elif kind == NFT_NAT:
        return nat_range(e, p, x, regs)
    elif kind == NFT_FRAME:
        fn_rarely()
        return GOES_ON if load_frame(e, p, x, regs + x.dreg) else LEAVES
    elif kind >= NFT_SET_ADDRESS:
        return GOES_ON if stored(e, p, x, regs) else LEAVES
    else:
        return assign(e, p, x, regs)
    return GOES_ON


cdef inline uint32_t rule_says(engine_t *e, pkt_t *p, uint32_t rule, uint32_t *regs, uint32_t *chain) noexcept nogil:
    # rule_says: => What the rule says: TARGET_*, GOES_ON if it says nothing, LEAVES if it does not hold.
    cdef const nft_rule_t *r = &e.nft_rules[rule]
    cdef uint32_t i, said
    for i in range(r.n):
        said = evaluate(e, p, &e.nft_exprs[r.first + i], regs, chain)
        if said != GOES_ON:
            return said
    return GOES_ON


cdef inline void log_rule(engine_t *e, uint32_t rule, uint32_t said) noexcept nogil:
    # log_rule: note a rule that held, for a trace.
    # a full log ends without a word: a trace says less, but the packet goes the same way
    if e.n_nft_log + 2 <= e.max_nft_log:
        e.nft_log[e.n_nft_log] = rule
        e.nft_log[e.n_nft_log + 1] = said
        e.n_nft_log += 2


cdef inline uint32_t walk_chain(engine_t *e, pkt_t *p, const base_t *base) noexcept nogil:
    # walk_chain: nft_do_chain.
    # => TARGET_ACCEPT, TARGET_DROP, TARGET_TOO_FAR, or the NAT target that decided, with p.target its range.
    cdef uint32_t regs[FN_NFT_REGISTERS]
    cdef uint32_t stack[FN_NFT_JUMPS]
    cdef uint32_t depth = 0
    cdef uint32_t walked = 0
    cdef uint32_t at = base.entry
    cdef uint32_t chain = 0
    cdef uint32_t said
    while True:
        walked += 1
        said = rule_says(e, p, at, regs, &chain)
        if fn_unlikely(e.max_nft_log != 0) and said != LEAVES:
            log_rule(e, at, said)
        # before the verdict: a jump comes back to the rule behind its own
        at += 1
        if said == GOES_ON or said == LEAVES:
            continue
        if said == TARGET_JUMP:
            # the kernel's own bound is checked when rules are loaded; the other one ends walks that take for ever
            if fn_unlikely(depth == FN_NFT_JUMPS or walked >= FN_WALK_RULES):
                said = TARGET_TOO_FAR
                break
            stack[depth] = at
            depth += 1
            at = chain
        elif said == TARGET_GOTO:
            # nothing is put on the stack: the end of that chain leads to where this one was jumped from
            at = chain
        elif said == TARGET_RETURN or said == TARGET_CHAIN_END:
            if depth == 0:
                said = base.policy
                break
            depth -= 1
            at = stack[depth]
        else:
            break
    e.stats[STAT_RULES_WALKED] += walked
    return said


cdef inline uint32_t chain_says(engine_t *e, uint32_t table, pkt_t *p, const base_t *base) noexcept nogil:
    # chain_says: base_says but for the way.
    cdef table_memo_t memo
    cdef uint32_t kind
    if base.kind == BASE_NFTABLES:
        return walk_chain(e, p, base)
    memo.n = 0
    memo.varied = 0
    memo.target_arg = 0
    kind = do_table(e, table, p, &memo)
    p.target = &e.targets[memo.target_arg]
    return kind


cdef inline uint32_t base_says(engine_t *e, uint32_t table, pkt_t *p, const base_t *base) noexcept nogil:
    # base_says: what a base chain says, or the table of iptables at its place, of which nothing is remembered beside nftables.
    # => As walk_chain; TARGET_DROP where it has changed the way of the node's own packet, and no route leads there.
    cdef way_t before
    cdef uint32_t said
    if fn_likely(not base.routes):
        return chain_says(e, table, p, base)
    # type route, and mangle: a mark or TOS that it sets may choose another route (nf_route_table_hook4, ipt_mangle_out)
    before = way_of(p)
    said = chain_says(e, table, p, base)
    if not rule_reason[said] and keep_way(e, p, &before):
        return TARGET_DROP
    return said


cdef inline uint32_t run_bases(engine_t *e, uint32_t table, pkt_t *p) noexcept nogil:
    # run_bases: what is called at this step of the hook, base chains and the table of iptables, in their order.
    # => The first verdict but accept, which ends it, as walk_chain returns it.
    cdef uint32_t first = e.base_first[table][p.hook]
    cdef uint32_t i, said
    if e.hook_entry[table][p.hook] == FN_ONLY_BASES and table != TABLE_LAST:
        # the table of iptables is there without a rule: its policy counts the packet
        p.unruled |= <uint32_t>1 << (table * 5 + p.hook)
    for i in range(first, first + e.base_count[table][p.hook]):
        said = base_says(e, table, p, &e.bases[i])
        if rule_reason[said]:
            return said
    return TARGET_ACCEPT
