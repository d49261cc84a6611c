# Connections of IPVS as another engine held them, or as the entries of a dump tell of them, into the table of this one.
#
# Source: ours; what it leaves is what open_conn of ipvs/translate leaves. An entry says its real server in its reply tuple, and has
# no DST_NAT (ip_vs_update_conntrack of ip_vs_nfct.c, Linux 6.18).
# Invariants: the record may be from anywhere: what does not fit is refused. What is there already stays as it is.
# Differs from the kernel: its counterpart is the synchronisation of IPVS (ip_vs_sync.c), which keeps no timers.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset
from ..types cimport *
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_make, tuple_proto, tuple_sport, tuple_src
from .connection cimport bind_server, find_request, find_template, ipvs_new, link_conn
from .schedule cimport note_service, server_again
from .states cimport is_active, timeout_of

cdef extern from *:
    """
    /* by state of conntrack: what the packets that led to it make of one of IPVS */
    static const unsigned char fn_ipvs_from_tcp[10] = {
        IPVS_TCP_NONE, IPVS_TCP_SYN_RECV, IPVS_TCP_SYN_RECV, IPVS_TCP_ESTABLISHED, IPVS_TCP_CLOSE_WAIT, IPVS_TCP_CLOSE_WAIT,
        IPVS_TCP_TIME_WAIT, IPVS_TCP_TIME_WAIT, IPVS_TCP_CLOSE, IPVS_TCP_SYN_SENT};
    """
    const unsigned char fn_ipvs_from_tcp[10]

cdef enum:
    # jiffies: no timeout is longer, as those of ipvsadm and -p are days at most
    LONGEST = 1 << 30
    KEPT_FLAGS = IPVS_TEMPLATE | IPVS_NFCT | IPVS_FORGOTTEN | IPVS_OF_ALL_PORTS | IPVS_OF_FTP


cdef inline bint may_be(const engine_t *e, const ipvs_conn_t *c) noexcept nogil:
    # may_be: whether a record can be one: its state is an index into tables, and its time not over.
    cdef bint template = c.flags & IPVS_TEMPLATE != 0
    # signed differences of jiffies hold for half of 32 bits: a time beyond would be one that is over
    if not c.flags & IPVS_USED or c.timeout > LONGEST or c.expires - <uint32_t>e.now - 1 >= LONGEST:
        return False
    if template and c.state > IPVS_TEMPLATE_ASSURED:
        return False
    if c.proto == PROTO_TCP:
        return c.state <= IPVS_TCP_SYNACK
    if c.proto == PROTO_SCTP:
        return c.state <= IPVS_SCTP_CLOSED
    return c.proto == PROTO_UDP or (c.proto == 0 and template)


cdef inline uint32_t place_of(const engine_t *e, const ipvs_conn_t *c) noexcept nogil:
    # place_of: place + 1 of the connection, or the template, with these keys; 0: there is none.
    # nobody looks for it: only its connections know it
    if c.flags & IPVS_FORGOTTEN:
        return 0
    if c.flags & IPVS_TEMPLATE:
        return find_template(e, c.client, c.service, c.service_port, c.proto)
    return find_request(e, tuple_make(c.client, c.service, c.client_port, c.service_port, c.proto, 0))


cdef inline uint32_t adopt_ipvs(engine_t *e, const ipvs_conn_t *from_) noexcept nogil:
    # adopt_ipvs: => Place + 1, 0: it cannot be, or there is no memory for it.
    cdef uint32_t at
    cdef ipvs_conn_t *c
    if not may_be(e, from_):
        return 0
    at = place_of(e, from_)
    # of two with equal keys the one that is there already goes on
    if at:
        return at
    at = ipvs_new(e)
    if at == 0:
        return 0
    c = &e.ipvs_conns[at - 1]
    c[0] = from_[0]
    # what links and counts it is this engine's own, and is made anew below
    c.flags &= KEPT_FLAGS
    c.control = 0
    c.n_control = 0
    if not c.flags & IPVS_TEMPLATE and is_active(c):
        c.flags |= IPVS_ACTIVE
    bind_server(e, c, server_again(e, c))
    link_conn(e, at)
    return at


cdef inline bint control_again(engine_t *e, uint32_t at, uint32_t template) noexcept nogil:
    # control_again: a template controls a connection, both by place + 1. => False: it is none.
    if not e.ipvs_conns[template - 1].flags & IPVS_TEMPLATE or e.ipvs_conns[at - 1].flags & IPVS_TEMPLATE:
        return False
    if e.ipvs_conns[at - 1].control == 0:
        e.ipvs_conns[at - 1].control = template
        e.ipvs_conns[template - 1].n_control += 1
    return True


cdef inline bint told_by_entry(engine_t *e, const conn_t *entry, ipvs_conn_t *c) noexcept nogil:
    # told_by_entry: the connection that an entry of conntrack tells of, as of a packet just now.
    # => False: its destination is no service, or its reply comes from none of the service's servers.
    cdef uint32_t proto = tuple_proto(entry.tuples[0])
    if proto != PROTO_TCP and proto != PROTO_UDP and proto != PROTO_SCTP:
        return False
    memset(c, 0, sizeof(ipvs_conn_t))
    c.client = tuple_src(entry.tuples[0])
    c.service = tuple_dst(entry.tuples[0])
    c.server = tuple_src(entry.tuples[1])
    c.client_port = <uint16_t>tuple_sport(entry.tuples[0])
    c.service_port = <uint16_t>tuple_dport(entry.tuples[0])
    c.server_port = <uint16_t>tuple_sport(entry.tuples[1])
    c.proto = <uint8_t>proto
    # the entry may be older than the service, or NAT's own
    if server_again(e, c) == FN_NONE:
        note_service(c, 0)
        if server_again(e, c) == FN_NONE:
            return False
    if proto == PROTO_TCP:
        c.state = fn_ipvs_from_tcp[entry.state] if entry.state <= TCP_SYN_SENT2 else IPVS_TCP_CLOSE
    elif proto == PROTO_SCTP:
        # the two machines of SCTP have no states in common: this one lasts longest, so that none is cut off early
        c.state = IPVS_SCTP_ESTABLISHED
    c.flags |= IPVS_USED | IPVS_NFCT
    c.timeout = timeout_of(e, c)
    c.expires = <uint32_t>e.now + c.timeout
    return True
