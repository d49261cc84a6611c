# What was masqueraded on an interface goes when the interface or its address goes.
#
# Source: masq_device_event, masq_inet_event, device_cmp, inet_cmp (nf_nat_masquerade.c, Linux 6.18).
# Invariants: a connection was masqueraded on conn_t.masq_iface, 0 on none; its address is where its replies go.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t
from ..types cimport addr_t, engine_t
from ..conntrack.insert cimport conn_delete
from ..conntrack.lookup cimport is_live
from ..tuples.tuple cimport tuple_dst


cdef inline uint32_t flush_masqueraded(engine_t *e, uint32_t iface, const addr_t *addr) noexcept nogil:
    # flush_masqueraded: delete what was masqueraded on an interface with one address; NULL: with any.
    # => How many went.
    cdef uint32_t n = 0
    cdef uint32_t i
    # all records (nf_ct_iterate_cleanup_net): devices go rarely, and lists by device would cost each connection
    for i in range(e.high_water):
        if not is_live(&e.conns[i]) or e.conns[i].masq_iface != iface:
            continue
        if addr == NULL or tuple_dst(e.conns[i].tuples[1]) == addr[0]:
            conn_delete(e, i)
            n += 1
    return n
