# Writing a manip into the packet: the present tuple, and the bytes where there are any.
#
# Source: nf_nat_ipv4_manip_pkt, nf_nat_ipv6_manip_pkt, udp_manip_pkt, tcp_manip_pkt, icmp_manip_pkt, ... (nf_nat_proto.c, Linux 6.18);
# RFC 1624, RFC 3022.
# Invariants: nothing is written beyond the datagram; lengths never change.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint32_t
from ..types cimport *
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_sport, tuple_src, tuple_with_dst, tuple_with_src
from .checksum cimport (change2, change_addr, csum_change, csum_replace2, csum_replace_addr, load_addr, load_be16,
                       store_addr, store_be16, store_be32)
from .extensions cimport CHAIN_WHOLE, skip_extensions
from .parse cimport SOURCE_AT


cdef inline void replace_port_and_addr(uint8_t *check, uint8_t *port, uint32_t new_port, addr_t old_addr,
                                       addr_t new_addr) noexcept nogil:
    # replace_port_and_addr: the checksum of an l4 header after a port and an address changed.
    csum_change(check, change_addr(old_addr, new_addr) + change2(load_be16(port), new_port))


cdef inline bint has_id(uint32_t type_) noexcept nogil:
    # has_id: the ICMP messages whose bytes 4 and 5 are the identifier that NAT translates.
    if FN_V6:
        return type_ == ICMP_ECHO or type_ == ICMP_ECHO_REPLY
    return type_ == ICMP_ECHO or type_ == ICMP_ECHO_REPLY or 13 <= type_ <= 18


cdef inline bint manip_l4(uint8_t *l4, uint32_t have, uint32_t proto, uint32_t manip, uint32_t port,
                          addr_t old_addr, addr_t new_addr) noexcept nogil:
    # manip_l4: the port or id, and the checksum that covers it and the addresses.
    # => False when the header is too short to be rewritten: the packet is dropped.
    cdef uint8_t *at
    cdef uint32_t crc
    if proto == PROTO_ICMP:
        if have < 8:
            return False
        # ICMPv6 has a pseudo header (RFC 4443, 2.3), ICMP has none
        if FN_V6:
            csum_replace_addr(l4 + 2, old_addr, new_addr)
        if has_id(l4[0]):
            csum_replace2(l4 + 2, load_be16(l4 + 4), port)
            store_be16(l4 + 4, port)
        return True
    if proto == PROTO_GRE:
        # version 0 is left as it is, of others than 0 and 1 nobody knows the key (gre_manip_pkt)
        if have < 8 or (manip == MANIP_DST and (l4[1] & 7) > 1):
            return False
        if (l4[1] & 7) == 1 and manip == MANIP_DST:
            store_be16(l4 + 6, port)
        return True
    if proto != PROTO_TCP and proto != PROTO_UDP and proto != PROTO_UDPLITE and proto != PROTO_SCTP:
        return True
    if have < 8:
        return False
    at = l4 if manip == MANIP_SRC else l4 + 2
    if proto == PROTO_TCP:
        # what an error quotes of a segment may be eight bytes, and its checksum stands behind them
        if have >= 20:
            replace_port_and_addr(l4 + 16, at, port, old_addr, new_addr)
    elif proto == PROTO_UDPLITE or (proto == PROTO_UDP and load_be16(l4 + 6)):
        replace_port_and_addr(l4 + 6, at, port, old_addr, new_addr)
        # 0 says that there is no checksum (RFC 768); the ones' complement has two zeros, and this is the other
        if load_be16(l4 + 6) == 0:
            store_be16(l4 + 6, 0xffff)
    store_be16(at, port)
    if proto == PROTO_SCTP and have >= 12:
        # no sum that could be adjusted: a CRC of all that follows, and of SCTP alone in the order of little endian
        crc = fn_bswap32(fn_sctp_crc(l4, have))
        store_be32(l4 + 8, crc)
    return True


cdef inline bint manip_bytes(uint8_t *ip, uint32_t have, uint32_t manip, addr_t addr, uint32_t port) noexcept nogil:
    # manip_bytes: rewrite one side of a datagram; the header itself was checked.
    # => A chain of extension headers that is cut leaves only the address to rewrite.
    cdef uint32_t header = (ip[0] & 15) * 4
    cdef uint32_t proto = ip[9]
    cdef bint whole = True
    cdef uint8_t *at = ip + (SOURCE_AT if manip == MANIP_SRC else SOURCE_AT + FN_ADDR_BYTES)
    cdef addr_t old = load_addr(at)
    if FN_V6:
        whole = skip_extensions(ip, have, &proto, &header) == CHAIN_WHOLE
    if whole and not manip_l4(ip + header, have - header, proto, manip, port, old, addr):
        return False
    if not FN_V6:
        csum_replace_addr(ip + 10, old, addr)
    store_addr(at, addr)
    return True


cdef inline bint manip_pkt(pkt_t *p, tuple_t target, uint32_t manip) noexcept nogil:
    # manip_pkt: give the packet the source, or destination, of the target tuple.
    # => False: drop, the header is too short.
    cdef addr_t addr
    cdef uint32_t port
    # an echo has one id for both ends, which a tuple holds in the place of the source port
    if manip == MANIP_SRC or (p.t.rest >> 32) & 0xff == PROTO_ICMP:
        port = tuple_sport(target)
    else:
        port = tuple_dport(target)
    addr = tuple_src(target) if manip == MANIP_SRC else tuple_dst(target)
    if p.data != NULL and not manip_bytes(p.data, p.len, manip, addr, port):
        return False
    if (p.t.rest >> 32) & 0xff == PROTO_ICMP:
        p.t = tuple_with_src(p.t, tuple_src(p.t), port)
        port = tuple_sport(p.t) if manip == MANIP_SRC else tuple_dport(p.t)
    if manip == MANIP_SRC:
        p.t = tuple_with_src(p.t, addr, port)
    else:
        p.t = tuple_with_dst(p.t, addr, port)
    return True
