# Connections of IPVS as another engine held them, into the table of this one.
#
# Source: ours; what it leaves is what open_conn of ipvs/translate leaves.
# Invariants: the record may be from anywhere: what does not fit is refused.
# Differs from the kernel: its counterpart is the synchronisation of IPVS (ip_vs_sync.c), which keeps no timers.
from libc.stdint cimport uint32_t
from ..types cimport (engine_t, IPVS_ACTIVE, ipvs_conn_t, IPVS_FORGOTTEN, IPVS_NFCT, IPVS_SCTP_CLOSED, IPVS_TCP_SYNACK, IPVS_TEMPLATE,
                      IPVS_USED, PROTO_SCTP, PROTO_TCP, PROTO_UDP)
from .connection cimport bind_server, ipvs_new, link_conn
from .schedule cimport server_again
from .states cimport is_active

cdef enum:
    # jiffies: no timeout is longer, as those of ipvsadm and -p are days at most
    LONGEST = 1 << 30
    KEPT_FLAGS = IPVS_TEMPLATE | IPVS_NFCT | IPVS_FORGOTTEN


cdef inline bint may_be(const engine_t *e, const ipvs_conn_t *c) noexcept nogil:
    # may_be: whether a record can be one: its state is an index into tables, and its time not over.
    cdef bint template = c.flags & IPVS_TEMPLATE != 0
    if not c.flags & IPVS_USED or c.timeout > LONGEST or c.expires - <uint32_t>e.now - 1 >= LONGEST:
        return False
    if c.proto == PROTO_TCP:
        return c.state <= IPVS_TCP_SYNACK
    if c.proto == PROTO_SCTP:
        return c.state <= IPVS_SCTP_CLOSED
    return c.proto == PROTO_UDP or (c.proto == 0 and template)


cdef inline bint adopt_ipvs(engine_t *e, const ipvs_conn_t *from_) noexcept nogil:
    # adopt_ipvs: => False: it cannot be, or there is no memory for it.
    cdef uint32_t at
    cdef ipvs_conn_t *c
    if not may_be(e, from_):
        return False
    at = ipvs_new(e)
    if at == 0:
        return False
    c = &e.ipvs_conns[at - 1]
    c[0] = from_[0]
    c.flags &= KEPT_FLAGS
    c.control = 0
    c.n_control = 0
    if not c.flags & IPVS_TEMPLATE and is_active(c):
        c.flags |= IPVS_ACTIVE
    bind_server(e, c, server_again(e, c))
    link_conn(e, at)
    return True


cdef inline bint control_again(engine_t *e, uint32_t at, uint32_t template) noexcept nogil:
    # control_again: a template controls a connection, both by place + 1. => False: it is none.
    if template > e.n_ipvs_conns or not e.ipvs_conns[template - 1].flags & IPVS_TEMPLATE or e.ipvs_conns[at - 1].flags & IPVS_TEMPLATE:
        return False
    e.ipvs_conns[at - 1].control = template
    e.ipvs_conns[template - 1].n_control += 1
    return True
