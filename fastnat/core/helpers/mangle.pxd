# Writing into the payload of a TCP segment: addresses that an application sends along.
#
# Source: nf_nat_mangle_tcp_packet, mangle_contents (nf_nat_helper.c, Linux 6.18).
# Invariants: nothing is written beyond p.room; lengths and checksums are right afterwards.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memmove
from ..types cimport engine_t, pkt_t, PROTO_TCP
from ..packet.checksum cimport csum_fold, csum_partial, store_be16
from ..packet.mangle cimport set_length
from ..packet.parse cimport pseudo_header
from .seqadj cimport seqadj_set


cdef inline uint32_t tcp_payload_at(const pkt_t *p) noexcept nogil:
    # tcp_payload_at: => p.len or more: there is none. The header itself was checked to be whole.
    return p.l4off + (p.data[p.l4off + 12] >> 4) * 4


cdef inline bint mangle_tcp(engine_t *e, pkt_t *p, uint32_t at, uint32_t n, const uint8_t *by, uint32_t size) noexcept nogil:
    # mangle_tcp: put `size` bytes in the place of n that stand at an offset of the datagram.
    # => False: there is no room.
    cdef uint32_t length = p.len - n + size
    cdef uint8_t *l4 = p.data + p.l4off
    if length > 65535 or length > p.room:
        return False
    memmove(p.data + at + size, p.data + at + n, p.len - at - n)
    memcpy(p.data + at, by, size)
    if size != n:
        set_length(e, p, length)
        # from here on the ends count differently: numbers of later segments are moved, of both directions
        seqadj_set(e, p, size - n)
    store_be16(l4 + 16, 0)
    store_be16(l4 + 16, ~csum_fold(csum_partial(l4, p.len - p.l4off, pseudo_header(p, PROTO_TCP, p.len - p.l4off))) & 0xffff)
    return True
