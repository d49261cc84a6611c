# Which ports of an address a port search would find taken.
#
# Source: what nf_nat_used_tuple asks of each candidate (nf_nat_core.c, Linux 6.18).
# Invariants: looks up, and changes nothing.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint32_t
from ..types cimport engine_t, FN_NONE, tuple_t
from ..conntrack.lookup cimport find_tuple
from ..tuples.hash cimport tuple_hash
from ..tuples.tuple cimport tuple_with_dst


cdef inline void ports_used(const engine_t *e, tuple_t peer, uint8_t *taken) noexcept nogil:
    # ports_used: whether replies of `peer` to each of the 65,536 ports belong to a connection. peer: source, source port,
    # protocol and destination of such a reply.
    cdef uint32_t port
    cdef tuple_t t
    for port in range(65536):
        t = tuple_with_dst(peer, peer.dst, port)
        taken[port] = find_tuple(e, t, tuple_hash(e, t), <uint32_t>e.now) != FN_NONE
