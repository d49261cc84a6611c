# Whose socket a packet was sent from: -m owner.
#
# Source: xt_owner.c (Linux 6.18).
# Invariants: one row asks for one of user, group and the socket itself; without a socket exactly the inverted ones hold.
# Differs from the kernel: all packets of the node itself have a socket, of one user and group without further groups.
from libc.stdint cimport uint32_t
from ..types cimport *


cdef inline bint has_socket(pkt_t *p) noexcept nogil:
    # has_socket: => Whether a packet has a socket here: what is forwarded has none, nor has the copy of what is sent to all.
    # no memo's key says which of the two it is
    p.unrepeatable |= p.twin != TWIN_NONE
    return p.in_iface == 0 and p.twin != TWIN_COPY


cdef inline bint owner_holds(engine_t *e, const match_t *m, pkt_t *p) noexcept nogil:
    # owner_holds: => Whether the packet has a socket, and that the id asked for; inversion left out.
    cdef uint32_t number = e.owner_gid if m.owner.part == OWNER_GID else e.owner_uid
    if not has_socket(p):
        return False
    if m.owner.part == OWNER_SOCKET:
        return True
    # nobody may have given an owner: root is assumed then, and commands say so
    e.owner_asked |= 1 << m.owner.part
    return m.owner.low <= number <= m.owner.high
