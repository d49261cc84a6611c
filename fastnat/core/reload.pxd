# Going on with other rules, routes and services: what the connections that there are keep, and what they look up anew.
#
# Source: nf_ct_tcp_fixup (nf_conntrack_proto.c), ip_vs_in with net.ipv4.vs.expire_nodest_conn=1 (ip_vs_core.c), Linux 6.18.
# Invariants: afterwards no connection names a route, a service or a real server of before.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint32_t
from .types cimport (CONN_ACTIVE, CONN_ADRIFT, CONN_SERVICE, engine_t, FN_NONE, PROTO_TCP, TCP_ESTABLISHED)
from .conntrack.adopt cimport give_server
from .conntrack.insert cimport conn_delete
from .ipvs cimport server_like
from .tuples.tuple cimport conn_tuple, tuple_proto


cdef inline void forget_routes(engine_t *e) noexcept nogil:
    # forget_routes: the next packet of each direction is routed again.
    cdef uint32_t i
    for i in range(e.high_water):
        e.conns[i].routes[0] = 0
        e.conns[i].routes[1] = 0


cdef inline void change_policies(engine_t *e, const uint8_t *now) noexcept nogil:
    # change_policies: now: which policy takes the place of each one; of one that is gone 0: its connections last as long as they
    # have, and then take the node's timeouts (nf_ct_untimeout).
    cdef uint32_t i
    for i in range(e.high_water):
        e.tcp[i].policy = now[e.tcp[i].policy]


cdef inline void pick_up_windows(engine_t *e) noexcept nogil:
    # pick_up_windows: tracking begins anew (nf_ct_tcp_fixup): nobody has looked at the windows of established connections
    # meanwhile.
    cdef uint32_t i
    for i in range(e.high_water):
        if tuple_proto(e.conns[i].tuples[0]) == PROTO_TCP and e.conns[i].state == TCP_ESTABLISHED:
            e.tcp[i].td_maxwin[0] = 0
            e.tcp[i].td_maxwin[1] = 0


cdef inline uint32_t n_servers(const engine_t *e) noexcept nogil:
    # n_servers: => How many real servers the services have together.
    cdef uint32_t n = 0
    cdef uint32_t i
    for i in range(e.n_services):
        n += e.services[i].n
    return n


cdef inline void leave_servers(engine_t *e) noexcept nogil:
    # leave_servers: no connection has a server any more: to delete one may delete others, and the numbers of their servers
    # hold no longer.
    cdef uint32_t i
    for i in range(e.high_water):
        if e.conns[i].flags & CONN_SERVICE:
            e.conns[i].flags = e.conns[i].flags & ~(CONN_SERVICE | CONN_ACTIVE) & 0xff | CONN_ADRIFT


cdef inline void find_servers(engine_t *e) noexcept nogil:
    # find_servers: connections go on with their real server if it is still there, else they end (expire_nodest_conn=1).
    cdef uint32_t n = n_servers(e)
    cdef uint32_t i, server
    leave_servers(e)
    for i in range(e.high_water):
        if not e.conns[i].flags & CONN_ADRIFT:
            continue
        e.conns[i].flags &= ~CONN_ADRIFT & 0xff
        server = server_like(e, n, conn_tuple(&e.conns[i], 1))
        if server == FN_NONE:
            conn_delete(e, i)
        else:
            give_server(e, i, server)
