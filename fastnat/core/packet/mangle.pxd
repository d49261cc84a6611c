# What the matches tos and dscp read, and the targets TOS, DSCP, TTL and HL write, in the IP header; its length.
#
# Source: xt_dscp.c, xt_DSCP.c, xt_HL.c (Linux 6.18); RFC 2474, 8200.
# Invariants: a packet without bytes keeps only its TTL; the IPv4 header checksum follows every change.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from ..types cimport engine_t, fn_ctz, FN_V6, hook_count_t, pkt_t, target_t
from .checksum cimport csum_replace2, load_be16, store_be16

cdef enum:
    # of a TOS, the bits that give a packet its priority
    TOS_MASK = 0x1e

# ip_tos2prio: by the first two of these bits, the others say nothing
cdef extern from *:
    """
    static const unsigned char fn_class_of_tos[4] = {0, 2, 6, 4};
    """
    const uint8_t *CLASS_OF_TOS "fn_class_of_tos"


cdef inline void set_octet(pkt_t *p, uint32_t at, uint32_t value) noexcept nogil:
    # set_octet: one octet of the header, with the checksum of IPv4.
    # the checksum adds up words: the octet beside it counts with it
    cdef uint32_t word = at & ~<uint32_t>1
    cdef uint32_t before = load_be16(p.data + word)
    p.data[at] = <uint8_t>value
    if not FN_V6:
        csum_replace2(p.data + 10, before, load_be16(p.data + word))


cdef inline uint32_t tos_of(const pkt_t *p) noexcept nogil:
    # tos_of: TOS or traffic class; 0 without bytes.
    if p.data == NULL:
        return 0
    return (p.data[0] << 4 | p.data[1] >> 4) & 0xff if FN_V6 else p.data[1]


cdef inline uint32_t class_of_tos(const pkt_t *p) noexcept nogil:
    # class_of_tos: the priority that a packet of IPv4 has by its TOS (rt_tos2priority).
    return CLASS_OF_TOS[(tos_of(p) & TOS_MASK) >> 3]


cdef inline void set_tos(pkt_t *p, const target_t *t) noexcept nogil:
    # set_tos: TOS or traffic class: (octet & ~mask) ^ value.
    cdef uint32_t octet = ((tos_of(p) & ~t.mask) ^ t.value) & 0xff
    if p.data == NULL:
        return
    if not FN_V6:
        set_octet(p, 1, octet)
        return
    # the traffic class lies across two bytes, between version and flow label
    p.data[0] = <uint8_t>((p.data[0] & 0xf0) | octet >> 4)
    p.data[1] = <uint8_t>((p.data[1] & 0x0f) | (octet << 4 & 0xf0))


cdef inline void set_ttl(pkt_t *p, const target_t *t) noexcept nogil:
    # set_ttl: TTL or hop limit: op 0 sets, 1 adds up to 255, 2 takes off down to 0.
    cdef uint32_t ttl = t.value
    if t.op == 1:
        ttl = p.ttl + t.value if p.ttl + t.value < 255 else 255
    elif t.op == 2:
        ttl = p.ttl - t.value if p.ttl > t.value else 0
    p.ttl = <uint8_t>ttl
    if p.data != NULL:
        set_octet(p, 7 if FN_V6 else 8, ttl)


cdef inline void count_unruled(engine_t *e, pkt_t *p) noexcept nogil:
    # count_unruled: the policies of the chains without rules that the packet has passed count it, with its present length.
    cdef hook_count_t *count
    while p.unruled:
        count = &e.unruled[0][0] + fn_ctz(p.unruled)
        count.packets += 1
        count.bytes += p.length
        p.unruled &= p.unruled - 1


cdef inline void set_length(engine_t *e, pkt_t *p, uint32_t length) noexcept nogil:
    # set_length: the datagram has another length; the IPv4 header says so with its checksum.
    # the chains that it has passed saw it as it was
    count_unruled(e, p)
    p.len = length
    p.length = <uint16_t>length
    if FN_V6:
        store_be16(p.data + 4, length - 40)
        return
    csum_replace2(p.data + 10, load_be16(p.data + 2), length)
    store_be16(p.data + 2, length)
