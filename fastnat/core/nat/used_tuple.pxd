# Whether a translated tuple is taken: the three probes of the kernel.
#
# Source: nf_nat_used_tuple, nf_nat_used_tuple_new, nf_nat_used_tuple_harder (nf_nat_core.c, Linux 6.18);
# nf_conntrack_tuple_taken (nf_conntrack_core.c).
# Invariants: both directions of every confirmed connection count; expired ones do not, nor does this flow.
# Differs from the kernel: nothing. linux-5.4 has only the first probe.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from ..types cimport *
from ..conntrack.insert cimport conn_delete
from ..conntrack.lookup cimport find_for, find_tuple
from ..tuples.hash cimport tuple_hash
from ..waypoints cimport note_holder
from ..tuples.tuple cimport conn_tuple, invert_tuple, tuple_equal, tuple_in_zone, tuple_proto, zone_of
from .candidates cimport HARDER_THRESHOLD

cdef enum:
    # what a probe of the last ones of a round finds; the owner of a firm tuple keeps it whoever asks
    TUPLE_FREE = 0
    TUPLE_TAKEN = 1
    TUPLE_FIRM = 2


cdef inline uint64_t reply_hash(const engine_t *e, tuple_t reply, const pkt_t *p) noexcept nogil:
    # reply_hash: => The hash of a reply tuple that the packet's connection may get.
    # the batch has hashed the tuples that were likely to be asked for; only equal ones may take the hash
    if p.ahead == NULL:
        return tuple_hash(e, reply)
    if tuple_equal(reply, p.ahead.reply[1]):
        return p.ahead.reply_hash[1]
    if p.ahead.checks and tuple_equal(reply, p.ahead.reply[0]):
        return p.ahead.reply_hash[0]
    if p.ahead.searches and tuple_equal(reply, p.ahead.reply[2]):
        return p.ahead.reply_hash[2]
    return tuple_hash(e, reply)


cdef inline uint32_t tuple_taken_by(engine_t *e, tuple_t t, pkt_t *p) noexcept nogil:
    # tuple_taken_by: look up the inverse of t, the reply tuple that it would have.
    # => The table id of its owner, or FN_NONE; then p keeps the reply tuple and its hash for the insert.
    cdef tuple_t reply = tuple_in_zone(invert_tuple(t), zone_of(&e.conns[p.ct], 1))
    cdef uint64_t h = reply_hash(e, reply, p)
    cdef uint32_t id_ = find_for(e, &e.conns[p.ct], 1, reply, h, p.now)
    if id_ == FN_NONE:
        p.reply_checked = reply
        p.reply_hash = h
        p.verified = True
    return id_


cdef inline bint same_origin(const engine_t *e, uint32_t id_, const pkt_t *p) noexcept nogil:
    # same_origin: => Whether two connections have one source, by the original tuple.
    return tuple_equal(conn_tuple(&e.conns[id_ >> 1], 0), conn_tuple(&e.conns[p.ct], 0))


cdef inline uint32_t used_by(engine_t *e, tuple_t t, pkt_t *p) noexcept nogil:
    # used_by: => The table id of another connection that has the reply to a tuple, or FN_NONE (nf_nat_used_tuple).
    cdef uint32_t id_ = tuple_taken_by(e, t, p)
    p.probes += 1
    # one of the same source is this flow in another packet, which confirm settles (nf_conntrack_tuple_taken)
    if id_ == FN_NONE or same_origin(e, id_, p):
        return FN_NONE
    e.stats[STAT_FOUND] += 1
    return id_


cdef inline bint used_tuple(engine_t *e, tuple_t t, pkt_t *p) noexcept nogil:
    # used_tuple: => Whether a tuple cannot be had.
    cdef uint32_t id_ = used_by(e, t, p)
    if id_ == FN_NONE:
        return False
    note_holder(e, p, id_)
    return True


cdef inline bint reply_is_free(engine_t *e, tuple_t reply, pkt_t *p) noexcept nogil:
    # reply_is_free: used_tuple for a caller that has the reply tuple and counts its probes itself.
    # => p.verified: nobody has it; else it is this flow's own.
    cdef uint64_t h = tuple_hash(e, reply)
    cdef uint32_t id_ = find_tuple(e, reply, h, p.now)
    p.verified = id_ == FN_NONE
    if p.verified:
        p.reply_checked = reply
        p.reply_hash = h
        return True
    return same_origin(e, id_, p)


cdef inline bint allows_clash(const engine_t *e, uint32_t proto) noexcept nogil:
    # allows_clash: nf_conntrack_l4proto.allow_clash; linux-6.18.44 has it for protocols without a tracker, too.
    if e.profile == LINUX_5_4:
        return proto == PROTO_UDP or proto == PROTO_UDPLITE
    return proto != PROTO_TCP and proto != PROTO_SCTP and proto != PROTO_ICMP


cdef inline uint32_t find_in_zones(engine_t *e, tuple_t t, const pkt_t *p) noexcept nogil:
    # find_in_zones: who has a tuple in the packet's zone, which may differ by direction (nf_conntrack_find_get).
    cdef const conn_t *c = &e.conns[p.ct]
    cdef tuple_t there = tuple_in_zone(t, zone_of(c, 0))
    cdef uint32_t id_ = find_for(e, c, 0, there, tuple_hash(e, there), p.now)
    if id_ != FN_NONE or zone_of(c, 0) == zone_of(c, 1):
        return id_
    there = tuple_in_zone(t, zone_of(c, 1))
    return find_for(e, c, 1, there, tuple_hash(e, there), p.now)


cdef inline bint both_have_spoken(engine_t *e, tuple_t t, const pkt_t *p) noexcept nogil:
    # both_have_spoken: => Whether a tuple that is taken is so only by the other end of the same conversation.
    cdef uint32_t id_
    cdef int any_nat = IPS_SRC_NAT | IPS_DST_NAT | IPS_SEQ_ADJUST
    # after any translation the other end speaks of other addresses: that is no crossing of two first packets
    if e.profile == LINUX_5_4 or not allows_clash(e, tuple_proto(t)) or e.conns[p.ct].status & any_nat:
        return False
    id_ = find_in_zones(e, t, p)
    if id_ == FN_NONE:
        id_ = find_in_zones(e, invert_tuple(t), p)
        if id_ == FN_NONE:
            return True
    if e.conns[id_ >> 1].status & any_nat:
        return False
    return tuple_equal(conn_tuple(&e.conns[id_ >> 1], 0), conn_tuple(&e.conns[p.ct], 1))


cdef inline bint used_tuple_new(engine_t *e, tuple_t t, pkt_t *p) noexcept nogil:
    # used_tuple_new: used_tuple for a tuple that needs no change; both ends may have spoken at once (nf_nat_used_tuple_new).
    cdef uint32_t id_ = used_by(e, t, p)
    if id_ == FN_NONE or both_have_spoken(e, t, p):
        return False
    note_holder(e, p, id_)
    return True


cdef inline bint hard_probe(const engine_t *e, tuple_t t, uint32_t attempts_left, const pkt_t *p) noexcept nogil:
    # hard_probe: whether the port search may evict a closing connection for this candidate.
    return (e.profile != LINUX_5_4 and attempts_left <= HARDER_THRESHOLD and tuple_proto(t) == PROTO_TCP
            and e.conns[p.ct].state == TCP_SYN_SENT)


cdef inline bint may_give_way(const engine_t *e, uint32_t id_) noexcept nogil:
    # may_give_way: => Whether the owner of a tuple may lose it to a newer SYN. It can begin to only by its TCP state.
    cdef const conn_t *owner = &e.conns[id_ >> 1]
    if id_ & 1 == DIR_ORIGINAL or tuple_proto(owner.tuples[0]) != PROTO_TCP or owner.state < TCP_TIME_WAIT:
        return False
    # only what NAT has given it can NAT take away; FIXED_TIMEOUT is of who lost a race, DYING of who goes anyway
    return owner.status & IPS_SRC_NAT and not owner.status & (IPS_FIXED_TIMEOUT | IPS_DYING)


cdef inline bint is_newer(const engine_t *e, uint32_t id_, uint32_t end) noexcept nogil:
    # is_newer: => Whether a SYN goes before the closed connection that has its tuple. end: what follows the SYN's own number.
    # the server takes a SYN in TIME_WAIT for a new connection only if its number is higher (RFC 1122, 4.2.2.13)
    return <int32_t>(end - e.tcp[id_ >> 1].td_end[0]) > 0


cdef inline int used_tuple_harder(engine_t *e, tuple_t t, uint32_t attempts_left, pkt_t *p) noexcept nogil:
    # used_tuple_harder: as used_tuple, but a TCP SYN short of ports takes over a closed connection's tuple.
    # => TUPLE_FREE, also where the owner was deleted for it; TUPLE_TAKEN; TUPLE_FIRM.
    cdef uint32_t id_
    if not hard_probe(e, t, attempts_left, p):
        return TUPLE_TAKEN if used_tuple(e, t, p) else TUPLE_FREE
    id_ = tuple_taken_by(e, t, p)
    p.probes += 1
    if id_ == FN_NONE:
        return TUPLE_FREE
    if not may_give_way(e, id_):
        return TUPLE_FIRM
    if not is_newer(e, id_, e.tcp[p.ct].td_end[0]):
        return TUPLE_TAKEN
    conn_delete(e, id_ >> 1)
    p.evicted = True
    e.stats[STAT_EVICTED] += 1
    # once more: p keeps the reply tuple as one that nobody has, which confirm relies on
    tuple_taken_by(e, t, p)
    return TUPLE_FREE
