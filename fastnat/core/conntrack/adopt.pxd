# A connection as another engine held it, into the tables of this one.
#
# Source: ours; what it leaves is what `confirm` of conntrack/confirm leaves.
# Invariants: the record may be from anywhere: what does not fit is refused with a code, and changes nothing.
# Differs from the kernel: it has no such thing; conntrack -I is Datapath.insert.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport *
from ..nat.bysource cimport bysource_add, bysource_head
from ..packet.packet cimport pkt_reset
from ..tuples.hash cimport source_hash, tuple_hash
from ..tuples.rehash cimport is_crowded, rehash, rehash_for
from ..tuples.tuple cimport conn_tuple, tuple_invertible, tuple_proto
from .confirm cimport confirm, insert_reply_only
from .insert cimport conn_alloc, conn_release
from .lookup cimport find_for, is_expired

cdef enum:
    ADOPTED = 0
    ADOPT_TUPLES = 1
    ADOPT_STATE = 2
    ADOPT_TCP = 3
    ADOPT_SEQADJ = 4
    ADOPT_SCTP = 5
    ADOPT_DUE = 6
    ADOPT_TAKEN = 7
    ADOPT_MAXIMUM = 8
    ADOPT_RECORDS_FULL = 9
    ADOPT_TABLES_FULL = 10
    # the largest state of a protocol, and the bits of status that a saved connection may have
    LAST_STATE = 9
    STATUS_BITS = 0x35ff


cdef inline uint32_t why_not(const engine_t *e, const conn_t *from_, const tcp_t *beside) noexcept nogil:
    # why_not: what of a record cannot be, whatever the tables hold.
    cdef uint32_t proto = tuple_proto(from_.tuples[0])
    if not tuple_invertible(from_.tuples[0]) or not tuple_invertible(from_.tuples[1]) \
            or tuple_proto(from_.tuples[1]) != proto or not from_.status & IPS_CONFIRMED:
        return ADOPT_TUPLES
    # a state is an index into tables of timeouts, an interface one into those of flags: out of range they would read beyond
    if from_.state > LAST_STATE or from_.masq_iface >= e.n_ifaces or from_.status & ~STATUS_BITS:
        return ADOPT_STATE
    # a row of timeouts; where there is none nobody reads it
    if e.n_policies and beside.policy > e.n_policies:
        return ADOPT_STATE
    # RFC 7323: a scale above 14 is taken for 14, so none was ever stored; a direction is an index
    if proto == PROTO_TCP and (beside.scale[0] > 14 or beside.scale[1] > 14 or beside.last_dir > 1
                               or beside.last_index > 5 or beside.last_wscale > 14):
        return ADOPT_TCP
    # its numbers are rewritten in a TCP header, and other headers have other things there
    if from_.status & IPS_SEQ_ADJUST and proto != PROTO_TCP:
        return ADOPT_SEQADJ
    if proto == PROTO_SCTP and (<const sctp_t *>beside).last_dir > 1:
        return ADOPT_SCTP
    # the wheel would look at it in the next jiffy alone, and a lookup before that would not find what is in the table
    if is_expired(from_, <uint32_t>e.now):
        return ADOPT_DUE
    return ADOPTED


cdef inline void take_record(engine_t *e, uint32_t ct, const conn_t *from_, const tcp_t *beside, const acct_t *had) noexcept nogil:
    # take_record: all but the tables' own links, as it is before confirm.
    cdef conn_t *c = &e.conns[ct]
    # from the first connection with a zone on a tuple may be there twice
    e.may_share_tuple |= from_.zone != 0
    c.tuples[1] = from_.tuples[1]
    c.zone = from_.zone
    c.state = from_.state
    c.stream_ts = from_.stream_ts
    c.masq_iface = from_.masq_iface
    # what is left of it: until confirm a timeout is a length of time, as in the kernel
    c.timeout = from_.timeout - <uint32_t>e.now
    c.flags = CONN_LIVE | from_.flags & (CONN_MARKED | CONN_COUNTED)
    # these say in which tables it is, and it is in none yet
    c.status = from_.status & ~(IPS_CONFIRMED | IPS_DYING | IPS_SRC_NAT_DONE) & 0xffff
    e.tcp[ct] = beside[0]
    if c.flags & CONN_COUNTED:
        e.acct[ct] = had[0]


cdef inline void add_to_source(engine_t *e, pkt_t *p) noexcept nogil:
    # add_to_source: the connection becomes the newest of its source.
    cdef tuple_t t = conn_tuple(&e.conns[p.ct], 0)
    cdef uint64_t h = source_hash(e, t)
    cdef uint32_t head = bysource_head(e, t, h)
    # a saved table may be crowded on purpose; another key takes the crowd apart
    if not bysource_add(e, p.ct, h, head):
        rehash_for(e, p)
        bysource_add(e, p.ct, source_hash(e, t), head)


cdef inline uint32_t adopt_conn(engine_t *e, const conn_t *from_, const tcp_t *beside, const acct_t *had,
                                uint32_t *here) noexcept nogil:
    # adopt_conn: => ADOPTED and its number here, or the code of why not.
    cdef pkt_t p
    cdef uint64_t h
    cdef bint hidden = (from_.status & IPS_NAT_CLASH) != 0
    cdef uint32_t why = why_not(e, from_, beside)
    if why:
        return why
    pkt_reset(&p)
    p.now = <uint32_t>e.now
    p.hash = tuple_hash(e, from_.tuples[0])
    h = tuple_hash(e, from_.tuples[1])
    # a hidden one (NAT_CLASH) shares its original tuple with the one that won the race; only its reply leads to it
    if (not hidden and find_for(e, from_, 0, from_.tuples[0], p.hash, p.now) != FN_NONE) \
            or find_for(e, from_, 1, from_.tuples[1], h, p.now) != FN_NONE:
        return ADOPT_TAKEN
    # before conn_alloc, which would drop others early to make room: a saved one pushes nobody out
    if e.count >= e.max_conns:
        return ADOPT_MAXIMUM
    p.ct = conn_alloc(e, from_.tuples[0], p.hash)
    if p.ct == FN_NONE:
        return ADOPT_RECORDS_FULL
    # now already: the caller puts helpers and masters beside it by this number
    here[0] = p.ct
    take_record(e, p.ct, from_, beside, had)
    if from_.status & IPS_SRC_NAT_DONE:
        add_to_source(e, &p)
        e.conns[p.ct].status |= IPS_SRC_NAT_DONE
    # one that only shares its original tuple with another (NAT_CLASH) begins its second anew
    if (insert_reply_only(e, &p, tuple_hash(e, from_.tuples[1])) if hidden else confirm(e, &p)):
        conn_release(e, p.ct)
        return ADOPT_TABLES_FULL
    if fn_unlikely(is_crowded(e)):
        rehash(e)
    return ADOPTED
