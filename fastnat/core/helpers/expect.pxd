# Expectations: the connections that a helper has announced, until they come or their time is over.
#
# Source: nf_conntrack_expect.c (nf_ct_expect_related, nf_ct_find_expectation, nf_ct_remove_expectations),
# nf_conntrack_proto_gre.c (nf_ct_gre_keymap_add), Linux 6.18.
# Invariants: an expectation is in the list of its master and in one bucket; it goes when its master goes. The newest
# stands first in both.
# Differs from the kernel: nothing.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport (CONN_HELPED, conn_t, engine_t, EXPECT_FREE, EXPECT_GRE_KEY, expect_t, fn_hash,
                      FN_EXPECT_HEADS, FN_HZ, FN_NONE, FN_V6, help_t, HELPER_FTP, HELPER_NONE, HELPER_PPTP, HELPER_TFTP,
                      IPS_EXPECTED, IPS_HELPER, PROTO_GRE, PROTO_TCP, PROTO_UDP, STAT_EXPECT_CREATE, STAT_EXPECT_DELETE,
                      tuple_t)
from ..tuples.tuple cimport conn_tuple, tuple_dport, tuple_dst, tuple_make, tuple_proto, tuple_sport, tuple_src

cdef enum:
    EXPECT_DONE = 0
    # -EBUSY: another master expects the same; and every other refusal
    EXPECT_BUSY = 1
    EXPECT_REFUSED = 2
    # nf_conntrack_expect_policy of ftp, tftp and pptp: seconds, and how many at a time
    EXPECT_LIFETIME = 300
    EXPECT_AT_ONCE = 1
    EXPECT_AT_ONCE_PPTP = 2
    EXPECTATIONS = 1
    GRE_KEYS = 2
    PORT_FTP = 21
    PORT_TFTP = 69
    PORT_PPTP = 1723


cdef inline uint32_t *expect_head(const engine_t *e, tuple_t t) noexcept nogil:
    # expect_head: the bucket of a destination; the hash is secret, so that nobody can fill one.
    cdef tuple_t key = tuple_make(0, tuple_dst(t), 0, tuple_dport(t), tuple_proto(t), 0)
    return &e.expect_heads[fn_hash(e.secret, &key) % FN_EXPECT_HEADS]


cdef inline help_t *help_of(const engine_t *e, uint32_t ct) noexcept nogil:
    # help_of: => NULL: no helper has to do with the connection.
    return &e.helps[e.tcp[ct].help] if e.conns[ct].flags & CONN_HELPED else NULL


cdef inline help_t *help_of_master(const engine_t *e, const help_t *help) noexcept nogil:
    # help_of_master: => NULL: nobody announced the connection, or the one that did is over.
    cdef help_t *of_master
    if help.master_kind == HELPER_NONE:
        return NULL
    of_master = help_of(e, help.master)
    return of_master if of_master != NULL and of_master.serial == help.master_serial else NULL


cdef inline bint expects_tuple(const expect_t *x, tuple_t t, bint any_sport) noexcept nogil:
    # expects_tuple: equal where both look; zone and protocol are part of the tuple.
    cdef uint64_t differs = x.t.rest ^ t.rest
    # a data connection of FTP comes from a port that nobody has announced
    if any_sport or x.any_sport:
        differs &= ~<uint64_t>0xffff
    return differs == 0 and tuple_src(x.t) == tuple_src(t) and tuple_dst(x.t) == tuple_dst(t)


cdef inline uint32_t find_expect(const engine_t *e, tuple_t t) noexcept nogil:
    # find_expect: the newest expectation of a packet's tuple, FN_NONE none.
    cdef uint32_t at = expect_head(e, t)[0]
    # keys lie in the same buckets, but announce nothing
    while at != FN_NONE and (e.expects[at].kind == EXPECT_GRE_KEY or not expects_tuple(&e.expects[at], t, False)):
        at = e.expects[at].next
    return at


cdef inline uint32_t gre_key(const engine_t *e, tuple_t t) noexcept nogil:
    # gre_key: the source key of a PPTP packet, which does not carry it (gre_keymap_lookup). The oldest holds.
    cdef uint32_t at = expect_head(e, t)[0]
    cdef uint32_t key = 0
    while at != FN_NONE:
        if e.expects[at].kind == EXPECT_GRE_KEY and expects_tuple(&e.expects[at], t, True):
            key = <uint32_t>(e.expects[at].t.rest & 0xffff)
        at = e.expects[at].next
    return key


cdef inline void leave_list(engine_t *e, uint32_t *head, uint32_t x, bint siblings) noexcept nogil:
    # leave_list: take one out of a list of expectations, which links only forward.
    while head[0] != x:
        head = &e.expects[head[0]].sibling if siblings else &e.expects[head[0]].next
    head[0] = e.expects[x].sibling if siblings else e.expects[x].next


cdef inline void unlink_expect(engine_t *e, uint32_t at) noexcept nogil:
    # unlink_expect: it came true, its time is over, or nobody expects it any more.
    cdef expect_t *x = &e.expects[at]
    leave_list(e, expect_head(e, x.t), at, False)
    leave_list(e, &help_of(e, x.master).first, at, True)
    # the kernel has them in a list of their own, which no statistic counts
    if x.kind == EXPECT_GRE_KEY:
        e.n_gre_keys -= 1
    else:
        e.n_expects -= 1
        e.stats[STAT_EXPECT_DELETE] += 1
    x.kind = EXPECT_FREE
    x.next = e.free_expect
    e.free_expect = at


cdef inline void forget_tuple(engine_t *e, tuple_t t) noexcept nogil:
    # forget_tuple: the newest expectation of a packet's tuple, if there is one.
    cdef uint32_t at = find_expect(e, t)
    if at != FN_NONE:
        unlink_expect(e, at)


cdef inline void forget_expects(engine_t *e, uint32_t ct, uint32_t which) noexcept nogil:
    # forget_expects: those of a master, its GRE keys, or both.
    cdef uint32_t at = help_of(e, ct).first
    cdef uint32_t following
    while at != FN_NONE:
        # read first: unlink_expect makes the place a link of the free ones
        following = e.expects[at].sibling
        if which & (GRE_KEYS if e.expects[at].kind == EXPECT_GRE_KEY else EXPECTATIONS):
            unlink_expect(e, at)
        at = following


cdef inline uint32_t link_expect(engine_t *e, const expect_t *given) noexcept nogil:
    # link_expect: => its place, FN_NONE: there is no room.
    cdef uint32_t at = e.free_expect
    cdef uint32_t *head
    cdef help_t *help = help_of(e, given.master)
    if at != FN_NONE:
        e.free_expect = e.expects[at].next
    elif e.expect_high < e.expect_capacity:
        at = e.expect_high
        e.expect_high += 1
    else:
        return FN_NONE
    e.expects[at] = given[0]
    head = expect_head(e, given.t)
    e.expects[at].next = head[0]
    head[0] = at
    e.expects[at].sibling = help.first
    help.first = at
    # counted apart: nf_conntrack_expect_max is of expectations alone, and packets of GRE look for a key only while there are any
    if given.kind == EXPECT_GRE_KEY:
        e.n_gre_keys += 1
    else:
        e.n_expects += 1
    return at


cdef inline void make_way(engine_t *e, uint32_t master) noexcept nogil:
    # make_way: a helper expects few connections at a time; the oldest gives way (evict_oldest_expect).
    cdef uint32_t at = help_of(e, master).first
    cdef uint32_t oldest = FN_NONE
    cdef uint32_t n = 0
    while at != FN_NONE:
        if e.expects[at].kind != EXPECT_GRE_KEY:
            # a list begins with its newest, so that the last one met is the oldest
            oldest = at
            n += 1
        at = e.expects[at].sibling
    if n >= <uint32_t>(EXPECT_AT_ONCE_PPTP if help_of(e, master).kind == HELPER_PPTP else EXPECT_AT_ONCE):
        unlink_expect(e, oldest)


cdef inline int expect_related(engine_t *e, const expect_t *given) noexcept nogil:
    # expect_related: announce a connection, in place of the same one of the same master.
    # => EXPECT_DONE, EXPECT_BUSY or EXPECT_REFUSED.
    cdef expect_t x = given[0]
    cdef uint32_t at = expect_head(e, x.t)[0]
    while at != FN_NONE:
        if e.expects[at].kind != EXPECT_GRE_KEY and expects_tuple(&e.expects[at], x.t, x.any_sport):
            # of its own master it is a retransmission (expect_matches), of another one it clashes
            if e.expects[at].master != x.master or e.expects[at].any_sport != x.any_sport:
                return EXPECT_BUSY
            unlink_expect(e, at)
            break
        at = e.expects[at].next
    # only now: a retransmission has taken its own place back, and pushes nobody out
    make_way(e, x.master)
    # nf_conntrack_expect_max is of all masters together
    if e.n_expects >= e.max_expects:
        return EXPECT_REFUSED
    x.expires = <uint32_t>e.now + EXPECT_LIFETIME * FN_HZ
    if link_expect(e, &x) == FN_NONE:
        return EXPECT_REFUSED
    # all live equally long, so a newer one is never due earlier
    if e.n_expects == 1:
        e.next_expect = x.expires
    e.stats[STAT_EXPECT_CREATE] += 1
    return EXPECT_DONE


cdef inline void expire_expects(engine_t *e) noexcept nogil:
    # expire_expects: those whose time is over.
    cdef uint32_t i
    cdef uint32_t now = <uint32_t>e.now
    if e.n_expects == 0 or <int32_t>(e.next_expect - now) > 0:
        return
    # the latest that any can be due: those that are left may only bring it forward
    e.next_expect = now + EXPECT_LIFETIME * FN_HZ
    for i in range(e.expect_high):
        # a key has no time of its own: it goes with its control connection, or with its tunnel
        if e.expects[i].kind == EXPECT_FREE or e.expects[i].kind == EXPECT_GRE_KEY:
            continue
        if <int32_t>(e.expects[i].expires - now) <= 0:
            unlink_expect(e, i)
        elif <int32_t>(e.expects[i].expires - e.next_expect) < 0:
            e.next_expect = e.expects[i].expires


cdef inline help_t *give_help(engine_t *e, uint32_t ct) noexcept nogil:
    # give_help: room for what a helper knows about a connection.
    # => NULL: there is none left.
    cdef uint32_t at = e.free_help
    cdef help_t *help
    if e.conns[ct].flags & CONN_HELPED:
        return help_of(e, ct)
    if at != FN_NONE:
        e.free_help = e.helps[at].first
    elif e.n_helps < e.help_capacity:
        at = e.n_helps
        e.n_helps += 1
    else:
        return NULL
    help = &e.helps[at]
    memset(help, 0, sizeof(help_t))
    # 0 would be an expectation
    help.first = FN_NONE
    e.help_serial += 1
    # a child knows its master by place and serial: the place may be another's by then
    help.serial = e.help_serial
    e.tcp[ct].help = at
    e.conns[ct].flags |= CONN_HELPED
    return help


cdef inline void take_help(engine_t *e, uint32_t ct) noexcept nogil:
    # take_help: the connection is over, and with it what it announced.
    cdef uint32_t at = e.tcp[ct].help
    forget_expects(e, ct, EXPECTATIONS | GRE_KEYS)
    e.helps[at].first = e.free_help
    e.helps[at].serial = 0
    e.free_help = at
    e.conns[ct].flags &= ~CONN_HELPED & 0xff


cdef inline tuple_t gre_tuple(const engine_t *e, uint32_t ct, uint32_t dir, uint32_t from_key, uint32_t to_key) noexcept nogil:
    # gre_tuple: the tunnel's packets of one direction of a control connection.
    cdef tuple_t t = conn_tuple(&e.conns[ct], dir)
    return tuple_make(tuple_src(t), tuple_dst(t), from_key, to_key, PROTO_GRE, e.conns[ct].zone)


cdef inline tuple_t sibling_tuple(const engine_t *e, uint32_t ct, uint32_t dir) noexcept nogil:
    # sibling_tuple: the tunnel's own connection, as pptp_destroy_siblings looks for it.
    cdef const help_t *help = help_of(e, ct)
    return gre_tuple(e, ct, dir, help.pac_call if dir else help.pns_call, help.pns_call if dir else help.pac_call)


cdef inline uint32_t helper_by_port(const conn_t *c) noexcept nogil:
    # helper_by_port: whom linux-5.4 asks by itself with nf_conntrack_helper=1: by the server's port, NAT undone.
    cdef uint32_t port = tuple_sport(c.tuples[1])
    cdef uint32_t proto = tuple_proto(c.tuples[1])
    if proto == PROTO_TCP and port == PORT_FTP:
        return HELPER_FTP
    if proto == PROTO_UDP and port == PORT_TFTP:
        return HELPER_TFTP
    return HELPER_PPTP if proto == PROTO_TCP and port == PORT_PPTP and not FN_V6 else HELPER_NONE


cdef inline void assign_helper(engine_t *e, uint32_t ct, uint32_t kind, uint32_t status) noexcept nogil:
    # assign_helper: status: IPS_HELPER where a rule said so, which nothing changes any more.
    cdef help_t *help
    if kind == HELPER_NONE and not e.conns[ct].flags & CONN_HELPED:
        return
    help = give_help(e, ct)
    if help != NULL:
        help.kind = <uint8_t>kind
        e.conns[ct].status |= <uint16_t>status


cdef inline void reassign_helper(engine_t *e, uint32_t ct) noexcept nogil:
    # reassign_helper: the reply tuple has changed (nf_conntrack_alter_reply).
    cdef const conn_t *c = &e.conns[ct]
    # what a rule gave stays, and a child has its master's; who has announced something goes on reading
    if c.status & (IPS_HELPER | IPS_EXPECTED) or (c.flags & CONN_HELPED and help_of(e, ct).first != FN_NONE):
        return
    assign_helper(e, ct, helper_by_port(c), 0)
