# Going on with other rules, routes and services: what the connections that there are keep, and what they look up anew.
#
# Source: nf_ct_tcp_fixup (nf_conntrack_proto.c), ip_vs_trash_get_dest (ip_vs_ctl.c), Linux 6.18.
# Invariants: afterwards no connection names a route, a service or a real server of before.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint32_t
from .types cimport engine_t, IPVS_USED, PROTO_TCP, service_t, TCP_ESTABLISHED
from .ipvs.connection cimport bind_server
from .ipvs.schedule cimport server_again
from .tuples.tuple cimport tuple_proto


cdef inline void forget_routes(engine_t *e) noexcept nogil:
    # forget_routes: the next packet of each direction is routed again.
    cdef uint32_t i
    for i in range(e.high_water):
        # also of records that are free: nobody reads theirs, and conn_alloc clears them again
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
            # 0 says that an end has not been seen: its next segment sets the bounds, whatever its numbers (learn_sender)
            e.tcp[i].td_maxwin[0] = 0
            e.tcp[i].td_maxwin[1] = 0


cdef inline void clear_counts(engine_t *e, const service_t *s) noexcept nogil:
    # clear_counts: the servers of a service have no connections.
    cdef uint32_t i
    for i in range(s.first, s.first + s.n):
        e.servers[i].active = 0
        e.servers[i].inactive = 0


cdef inline void find_servers(engine_t *e) noexcept nogil:
    # find_servers: connections go on with their real server if their service still has it; the others have none, which their next
    # packet notices.
    cdef uint32_t i
    # counted anew: where services are the same their servers have their counts still
    for i in range(e.n_services):
        clear_counts(e, &e.services[i])
    for i in range(e.n_ipvs_conns):
        if e.ipvs_conns[i].flags & IPVS_USED:
            bind_server(e, &e.ipvs_conns[i], server_again(e, &e.ipvs_conns[i]))
