# What rules of nftables write into the addresses and ports of a packet.
#
# Source: nft_payload_set_eval, nft_payload_l4csum_update, nft_csum_replace (nft_payload.c, Linux 6.18).
# Invariants: the packet's tuple is what its bytes say; the tuples of its connection stay as they are, so what is written behind
# conntrack is not translated back. A checksum that comes out as 0 is stored as 0xffff, that of the IP header as well.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy
from ..types cimport *
from ..packet.checksum cimport csum_replace2, load_be16, store_addr, store_be16, store_be32
from ..nat.range cimport has_ports
from ..packet.parse cimport read_l4, SOURCE_AT
from ..tuples.hash cimport tuple_hash
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src, tuple_with_dst, tuple_with_src

cdef enum:
    # places in l4 headers: the checksum of TCP, that of UDP and UDP-Lite, that of ICMPv6, the CRC of SCTP
    TCP_SUM = 16
    UDP_SUM = 6
    ICMP_SUM = 2
    SCTP_CRC = 8
    NO_SUM = 0
    CUT_OFF = 0xffffffff


cdef inline void replace_sum(uint8_t *check, const uint8_t *before, const uint8_t *after, uint32_t n) noexcept nogil:
    # replace_sum: the checksum after n bytes changed (nft_csum_replace).
    cdef uint32_t i
    for i in range(0, n, 2):
        csum_replace2(check, load_be16(before + i), load_be16(after + i))
    if load_be16(check) == 0:
        store_be16(check, 0xffff)


cdef inline uint32_t address_sum(const pkt_t *p) noexcept nogil:
    # address_sum: the checksum of the l4 header that the addresses belong to.
    # => Where it stands in the datagram, NO_SUM, or CUT_OFF.
    cdef uint32_t proto = tuple_proto(p.t)
    cdef uint32_t have = p.len - p.l4off if p.len > p.l4off else 0
    cdef uint32_t at
    # a part that is not the first has data there (nft_payload_l4csum_offset asks for its offset)
    if fn_unlikely(p.part == PART_LATER):
        return NO_SUM
    if proto == PROTO_TCP:
        at = TCP_SUM
    elif proto == PROTO_UDP:
        # without a whole header nobody looks for its checksum, and 0 is none
        if have < 8 or load_be16(p.data + p.l4off + UDP_SUM) == 0:
            return NO_SUM
        at = UDP_SUM
    elif proto == PROTO_UDPLITE:
        at = UDP_SUM
    elif FN_V6 and proto == PROTO_ICMP:
        at = ICMP_SUM
    else:
        # the CRC of SCTP covers no addresses, and of DCCP nft_payload_l4csum_offset knows nothing
        return NO_SUM
    return p.l4off + at if have >= at + 2 else CUT_OFF


cdef inline void renamed(const engine_t *e, pkt_t *p) noexcept nogil:
    # renamed: the tuple is another; conntrack, if it has not met the packet yet, looks for that one.
    if p.ct == FN_NONE:
        p.hash = tuple_hash(e, p.t)
        p.ahead = NULL


cdef inline bint set_address(const engine_t *e, pkt_t *p, uint32_t manip, addr_t addr) noexcept nogil:
    # set_address: `ip saddr set`, `ip daddr set` and those of ip6.
    # => False: the l4 header is cut off before its checksum.
    cdef uint8_t after[16]
    cdef uint8_t *at
    cdef uint32_t sum_at
    if p.data != NULL:
        at = p.data + (SOURCE_AT if manip == MANIP_SRC else SOURCE_AT + FN_ADDR_BYTES)
        store_addr(after, addr)
        # the header of IPv6 has no checksum
        if not FN_V6:
            replace_sum(p.data + 10, at, after, FN_ADDR_BYTES)
        sum_at = address_sum(p)
        # the address stays, though the checksum of the header is that of the other one already, as in nft_payload_set_eval
        if sum_at == CUT_OFF:
            return False
        if sum_at != NO_SUM:
            replace_sum(p.data + sum_at, at, after, FN_ADDR_BYTES)
        memcpy(at, after, FN_ADDR_BYTES)
    if manip == MANIP_SRC:
        p.t = tuple_with_src(p.t, addr, tuple_sport(p.t))
    else:
        p.t = tuple_with_dst(p.t, addr, tuple_dport(p.t))
    renamed(e, p)
    return True


cdef inline void reread(const engine_t *e, pkt_t *p, uint32_t have) noexcept nogil:
    # reread: the tuple as the bytes say it now.
    cdef uint32_t sport, dport
    if p.tracked and read_l4(p.data + p.l4off, have, tuple_proto(p.t), &sport, &dport):
        p.t = tuple_with_dst(tuple_with_src(p.t, tuple_src(p.t), sport), tuple_dst(p.t), dport)
        renamed(e, p)


cdef inline bint set_port(const engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t port) noexcept nogil:
    # set_port: `tcp sport set`, `udp dport set` and their kind. UDP without a checksum gets a wrong one; nft asks for none of
    # UDP-Lite, whose checksum becomes wrong (recorded). Behind `ct protocol udp` the packet may be an ICMP error, of which the same
    # bytes are written.
    # => False: the header is cut off, or the packet is a part that has none.
    cdef uint8_t after[2]
    cdef uint32_t sum_at = TCP_SUM if x.b == PROTO_TCP else UDP_SUM if x.b == PROTO_UDP else NO_SUM
    cdef bint has_crc = x.b == PROTO_SCTP and tuple_proto(p.t) == PROTO_SCTP
    cdef uint32_t field = 0 if x.a == MANIP_SRC else 2
    cdef uint32_t have = 0
    cdef uint8_t *at
    if fn_unlikely(p.part == PART_LATER):
        return False
    if p.data == NULL:
        # of a header alone there is nothing but the ports
        if has_ports(tuple_proto(p.t)):
            p.t = (tuple_with_dst(p.t, tuple_dst(p.t), port) if field else tuple_with_src(p.t, tuple_src(p.t), port))
            renamed(e, p)
        return True
    have = p.len - p.l4off if p.len > p.l4off else 0
    at = p.data + p.l4off + field
    # recorded: without a checksum to change the port itself is enough, be the header as short as that
    if have < (sum_at if sum_at != NO_SUM else field) + 2:
        return False
    store_be16(after, port)
    if sum_at != NO_SUM:
        replace_sum(p.data + p.l4off + sum_at, at, after, 2)
    memcpy(at, after, 2)
    if has_crc and have >= SCTP_CRC + 4:
        store_be32(p.data + p.l4off + SCTP_CRC, fn_bswap32(fn_sctp_crc(p.data + p.l4off, have)))
    reread(e, p, have)
    # the kernel sums up what it has written already (nft_payload_csum_sctp)
    return not has_crc or have >= SCTP_CRC + 4
