# Giving a packet its connection: found, new, related or none.
#
# Source: nf_conntrack_in, resolve_normal_ct, init_conntrack (nf_conntrack_core.c, Linux 6.18).
# Invariants: an INVALID packet has no connection and goes on untranslated; SEEN_REPLY is set after the handler of
# the first reply ran, so that handler still sees it unset.
# Differs from the kernel: nothing for the protocols tracked.
from libc.stdint cimport uint32_t
from ..types cimport *
from ..helpers.expect cimport assign_helper, find_expect, give_help, gre_key, help_of, helper_by_port, unlink_expect
from ..packet.parse cimport l4_sound
from ..tuples.hash cimport tuple_hash
from ..tuples.tuple cimport tuple_dport, tuple_in_zone, tuple_invertible, tuple_proto
from .events cimport watch
from .icmp_error cimport icmp_error, ICMP_ATTACHED, ICMP_BAD, ICMP_UNTRACKED
from .insert cimport conn_alloc, conn_release
from .lookup cimport find_in_zone, find_tuple
from .protocols cimport (account, CT_ACCEPT, CT_DROP, CT_INVALID, CT_PASS, CT_REPEAT, ctinfo_of, icmp_packet, refresh,
                         replied_packet, udp_packet)
from .sctp cimport sctp_packet
from .tcp cimport tcp_packet


cdef inline uint32_t find_packet(engine_t *e, pkt_t *p) noexcept nogil:
    # find_packet: look the packet up where its template says.
    if p.template_zone == 0:
        return find_tuple(e, p.t, p.hash, p.now)
    # what was looked up ahead was looked up in zone 0
    p.ahead = NULL
    p.hash = tuple_hash(e, tuple_in_zone(p.t, p.template_zone if p.template_dir & 1 else 0))
    return find_in_zone(e, p.t, p.template_zone, p.template_dir, p.now)


cdef inline int handle(engine_t *e, pkt_t *p) noexcept nogil:
    # handle: the tracker of the packet's protocol (nf_conntrack_handle_packet).
    # => CT_*.
    cdef uint32_t proto = tuple_proto(e.conns[p.ct].tuples[0])
    if proto == PROTO_UDP:
        return udp_packet(e, p.ct, p.now)
    if proto == PROTO_TCP:
        return tcp_packet(e, p)
    if proto == PROTO_ICMP:
        return icmp_packet(e, p)
    if proto == PROTO_SCTP:
        return sctp_packet(e, p)
    if proto == PROTO_UDPLITE:
        return replied_packet(e, p, TIMEOUT_UDP, TIMEOUT_UDP_STREAM)
    if proto == PROTO_GRE:
        # recorded: that of a PPTP tunnel as well, whose own timeouts the tracker forgets again
        return replied_packet(e, p, TIMEOUT_GRE, TIMEOUT_GRE_STREAM)
    refresh(e, p.ct, p.now, e.timeouts[TIMEOUT_GENERIC])
    return CT_ACCEPT


cdef inline uint32_t untrackable(engine_t *e, pkt_t *p) noexcept nogil:
    # untrackable: the packet goes on without a connection.
    e.stats[STAT_INVALID] += 1
    p.ct = FN_NONE
    p.ctinfo = IP_CT_INVALID
    p.reason = REASON_INVALID
    return REASON_NONE


cdef inline bint was_expected(engine_t *e, pkt_t *p) noexcept nogil:
    # was_expected: whether a helper has announced the connection that the packet opens; e.expected says how.
    cdef uint32_t at = find_expect(e, tuple_in_zone(p.t, p.template_zone))
    cdef uint32_t master
    cdef help_t *help
    if at == FN_NONE:
        return False
    master = e.expects[at].master
    # one that is about to be confirmed may still be dropped (nf_ct_find_expectation)
    if not e.conns[master].status & IPS_CONFIRMED:
        return False
    e.expected = e.expects[at]
    unlink_expect(e, at)
    e.stats[STAT_EXPECT_NEW] += 1
    p.expected = True
    e.conns[p.ct].status |= IPS_EXPECTED
    help = give_help(e, p.ct)
    if help != NULL:
        help.master_kind = help_of(e, master).kind
        help.master = master
        # the place of the master's help may be another's when somebody asks
        help.master_serial = help_of(e, master).serial
    # init_conntrack: rules that know a connection by its mark know its children
    if e.conns[master].flags & CONN_MARKED:
        e.tcp[p.ct].mark = e.tcp[master].mark
        e.conns[p.ct].flags |= CONN_MARKED
    return True


cdef inline uint32_t open_conn(engine_t *e, pkt_t *p) noexcept nogil:
    # open_conn: a new unconfirmed connection for the packet's tuple.
    # => REASON_NONE, or REASON_TABLE_FULL: drop.
    cdef conn_t *c
    cdef tuple_t t = tuple_in_zone(p.t, p.template_zone if p.template_dir & 1 else 0)
    p.ct = conn_alloc(e, t, p.hash)
    if p.ct == FN_NONE:
        return REASON_TABLE_FULL
    if p.template_zone:
        # equal in all but the zone of one direction: from here on insertion looks at the order
        e.may_share_tuple = 1
        c = &e.conns[p.ct]
        c.zone = p.template_zone
        c.tuples[1] = tuple_in_zone(c.tuples[1], p.template_zone if p.template_dir & 2 else 0)
    p.dir = 0
    p.ctinfo = IP_CT_NEW
    p.is_new = True
    p.first = True
    # who was announced gets no helper of its own: the first of these that holds decides, as in init_conntrack
    if fn_unlikely(e.n_expects != 0) and was_expected(e, p):
        p.ctinfo = IP_CT_RELATED
    elif fn_unlikely(p.template_helper != 0):
        assign_helper(e, p.ct, p.template_helper, IPS_HELPER)
    elif fn_unlikely(e.auto_helpers != 0):
        assign_helper(e, p.ct, helper_by_port(&e.conns[p.ct]), 0)
    return REASON_NONE


cdef inline bint take_icmp(engine_t *e, pkt_t *p) noexcept nogil:
    # take_icmp: what ICMP needs before its tuple is looked up (nf_conntrack_icmpv4_error and its kind).
    # => True: nothing is left to be tracked; the packet goes on.
    cdef int said = icmp_error(e, p)
    # an error renews nothing, and counts for no connection: it only goes where its packet came from
    if said == ICMP_ATTACHED:
        return True
    if said == ICMP_UNTRACKED:
        p.untracked = True
        p.ctinfo = IP_CT_UNTRACKED
        return True
    if said == ICMP_BAD:
        e.stats[STAT_ERROR] += 1
        if e.profile == LINUX_5_4:
            e.stats[STAT_INVALID] += 1
        p.ctinfo = IP_CT_INVALID
        p.reason = REASON_INVALID
        return True
    return False


cdef inline void attach(engine_t *e, pkt_t *p, uint32_t id_) noexcept nogil:
    # attach: the packet belongs to the connection and direction of a table id (resolve_normal_ct).
    p.ct = id_ >> 1
    p.dir = id_ & 1
    # before the tracker: events tell what it changes
    watch(e, p)
    p.ctinfo = <unsigned char>ctinfo_of(&e.conns[p.ct], p.dir)


cdef inline uint32_t refuse(engine_t *e, pkt_t *p, int said) noexcept nogil:
    # refuse: the tracker does not take the packet; said: CT_INVALID or CT_DROP.
    # => REASON_NONE: it goes on as INVALID.
    # one that was there before stays: a packet that its tracker refuses ends no connection
    if p.is_new:
        conn_release(e, p.ct)
        p.is_new = False
        # the expectation is used up all the same; there is nothing that could follow its master
        p.expected = False
    untrackable(e, p)
    if said == CT_DROP:
        e.stats[STAT_DROP] += 1
        return REASON_HANDLER_DROP
    return REASON_NONE


cdef inline uint32_t conntrack_in(engine_t *e, pkt_t *p) noexcept nogil:
    # conntrack_in: attach the packet to its connection (nf_conntrack_in).
    # => REASON_NONE: it goes on, tracked or not; anything else: drop.
    cdef uint32_t id_, reason
    cdef int said
    # from here on rules see no template any more
    p.has_template = False
    # NOTRACK, or a second pass by lo or IPVS
    if p.untracked or p.ct != FN_NONE:
        e.stats[STAT_IGNORE] += e.profile == LINUX_5_4
        return REASON_NONE
    if not p.tracked and (tuple_proto(p.t) != PROTO_ICMP or p.part == PART_LATER):
        e.stats[STAT_ERROR] += e.profile == LINUX_5_4
        return untrackable(e, p)
    if tuple_proto(p.t) == PROTO_ICMP and take_icmp(e, p):
        return REASON_NONE
    # the tunnel's packets carry the receiver's key alone; what a helper has noted gives the sender's
    if fn_unlikely(e.n_gre_keys != 0) and tuple_proto(p.t) == PROTO_GRE and tuple_dport(p.t):
        p.t.rest |= gre_key(e, tuple_in_zone(p.t, p.template_zone))
        p.hash = tuple_hash(e, p.t)
    while True:
        id_ = find_packet(e, p)
        if id_ != FN_NONE:
            attach(e, p, id_)
        elif not tuple_invertible(p.t):
            # an answer that nobody has asked for: no entry could ever match what it answers
            return untrackable(e, p)
        else:
            reason = open_conn(e, p)
            if reason:
                return reason
        # behind the look-up, as the trackers check headers: an entry that a broken packet finds stays as it is
        said = handle(e, p) if l4_sound(e, p) else CT_INVALID
        # what the tracker ignores is translated, but counts and renews nothing
        if said == CT_ACCEPT:
            account(e, p)
            break
        if said == CT_PASS:
            break
        if said != CT_REPEAT:
            return refuse(e, p, said)
        # the packet has ended its connection, and opens the next one
        p.ct = FN_NONE
        if e.profile == LINUX_5_4:
            e.stats[STAT_INVALID] += 1
    # behind the tracker, which still sees the first reply as one of a connection without reply
    if p.dir:
        e.conns[p.ct].status |= IPS_SEEN_REPLY
    return REASON_NONE
