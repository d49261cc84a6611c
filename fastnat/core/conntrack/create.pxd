# A connection as somebody outside describes it: conntrack -I.
#
# Source: ctnetlink_new_conntrack, ctnetlink_create_conntrack (nf_conntrack_netlink.c, Linux 6.18).
# Invariants: what cannot be gets a code, and leaves the tables as they were.
# Differs from the kernel: nothing but the counters of the tables tells such a connection from one that a packet opened.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport (CONN_MARKED, conn_t, engine_t, FN_NONE, IPS_DST_NAT_DONE, IPS_SRC_NAT_DONE, LINUX_5_4, pkt_t,
                      PROTO_SCTP, PROTO_TCP, STAT_INSERT, STAT_INSERT_FAILED, tcp_t)
from ..packet.packet cimport pkt_reset
from ..tuples.hash cimport tuple_hash
from ..tuples.rehash cimport is_crowded, rehash
from ..tuples.tuple cimport conn_tuple, tuple_invertible, tuple_proto
from .adopt cimport add_to_source
from .confirm cimport confirm
from .insert cimport conn_alloc, conn_release, fetch_buckets, hash_links
from .lookup cimport find_for
from .sctp cimport sctp_of, VTAGS_UNSEEN
from .tcp_window cimport TCP_BE_LIBERAL, TCP_SACK_PERM

cdef enum:
    CREATED = 0
    CREATE_TUPLE = 1
    CREATE_TAKEN = 2
    CREATE_MAXIMUM = 3
    CREATE_RECORDS_FULL = 4
    CREATE_TABLES_FULL = 5


cdef inline void describe(engine_t *e, uint32_t ct, const conn_t *wanted, uint32_t mark) noexcept nogil:
    # describe: the record as it is before confirm.
    cdef conn_t *c = &e.conns[ct]
    c.tuples[1] = wanted.tuples[1]
    c.zone = wanted.zone
    e.may_share_tuple |= wanted.zone != 0
    c.status = wanted.status
    c.state = wanted.state
    # a span, as of all that are not confirmed: confirm adds the time to it
    c.timeout = wanted.timeout
    # no two seconds to wait, as of a first datagram: the kernel leaves the field 0, which is long past
    c.stream_ts = <uint32_t>e.now
    # a dump knows no windows: with td_maxwin 0 the next segment of either end sets them, and none is out of them
    memset(&e.tcp[ct], 0, sizeof(tcp_t))
    if mark:
        e.tcp[ct].mark = mark
        c.flags |= CONN_MARKED


cdef inline void take_as_it_comes(engine_t *e, uint32_t ct) noexcept nogil:
    # take_as_it_comes: a dump says nothing of the windows and tags that its ends keep to: whatever they send belongs to it.
    cdef uint32_t proto = tuple_proto(conn_tuple(&e.conns[ct], 0))
    if proto == PROTO_TCP:
        # as of one that is picked up (tcp_new)
        e.tcp[ct].flags[0] |= TCP_SACK_PERM | TCP_BE_LIBERAL
        e.tcp[ct].flags[1] |= TCP_SACK_PERM | TCP_BE_LIBERAL
    elif proto == PROTO_SCTP:
        sctp_of(e, ct).flags |= VTAGS_UNSEEN


cdef inline void fetch_for_creation(const engine_t *e, const conn_t *wanted) noexcept nogil:
    # fetch_for_creation: the buckets that a connection described so will enter.
    cdef uint64_t hashes[3]
    hash_links(e, wanted, hashes)
    fetch_buckets(e, hashes)


cdef inline uint32_t create_conntrack(engine_t *e, const conn_t *wanted, uint32_t mark, uint32_t *here) noexcept nogil:
    # create_conntrack: `wanted` says the tuples, zone, state, status without CONFIRMED, and the jiffies left.
    # => CREATED and its number here, or the code of why not.
    cdef pkt_t p
    if not tuple_invertible(wanted.tuples[0]):
        return CREATE_TUPLE
    pkt_reset(&p)
    p.now = <uint32_t>e.now
    p.hash = tuple_hash(e, wanted.tuples[0])
    # of both directions: two connections with one reply tuple would have one answer
    if find_for(e, wanted, 0, wanted.tuples[0], p.hash, p.now) != FN_NONE \
            or find_for(e, wanted, 1, wanted.tuples[1], tuple_hash(e, wanted.tuples[1]), p.now) != FN_NONE:
        # 6.18 answers EEXIST, and counts nothing
        e.stats[STAT_INSERT_FAILED] += e.profile == LINUX_5_4
        return CREATE_TAKEN
    # a packet would drop others early; who asks by hand is refused
    if e.count >= e.max_conns:
        return CREATE_MAXIMUM
    p.ct = conn_alloc(e, wanted.tuples[0], p.hash)
    if p.ct == FN_NONE:
        return CREATE_RECORDS_FULL
    here[0] = p.ct
    describe(e, p.ct, wanted, mark)
    # what comes from this source later keeps to the mapping that it has here, and no rule translates it a second time
    add_to_source(e, &p)
    e.conns[p.ct].status |= IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE
    if confirm(e, &p):
        conn_release(e, here[0])
        return CREATE_TABLES_FULL
    # a dump can be crafted as packets can; last, as another key moves every item
    if is_crowded(e):
        rehash(e)
    e.stats[STAT_INSERT] += 1
    return CREATED
