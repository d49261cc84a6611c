# ICMP errors: the flow they speak of, and their translation with the packet they quote.
#
# Source: nf_conntrack_icmpv4_error, nf_conntrack_inet_error (nf_conntrack_proto_icmp.c),
# nf_nat_icmp_reply_translation (nf_nat_proto.c), Linux 6.18; RFC 5508.
# Invariants: an error never refreshes a flow; the quoted packet may be cut anywhere and is never read past its end.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint32_t
from .types cimport *
from .checksum cimport csum_fold, csum_ok, csum_partial, load_be16, load_be32, store_be16
from .ct_lookup cimport find_tuple
from .packet_parse cimport read_l4
from .packet_rewrite cimport manip_bytes, manip_pkt
from .tuple cimport (conn_tuple, icmp_inverse, invert_tuple, tuple_dport, tuple_dst, tuple_in_zone, tuple_invertible, tuple_make, tuple_proto,
                     tuple_sport, tuple_src)
from .tuple_hash cimport tuple_hash

cdef enum:
    ICMP_NOT_ERROR = 0
    ICMP_BAD = 1
    ICMP_ATTACHED = 2
    ICMP_HEADER = 8
    ICMP_MAX_TYPE = 18
    ICMP_REDIRECT = 5


cdef inline bint inner_tuple(const uint8_t *ip, uint32_t have, tuple_t *t) noexcept nogil:
    # inner_tuple: the tuple of a quoted packet.
    cdef uint32_t header, sport, dport
    if have < 20 or ip[0] >> 4 != 4:
        return False
    header = (ip[0] & 15) * 4
    if header < 20 or header > have or load_be16(ip + 6) & 0x1fff:
        return False
    if not read_l4(ip + header, have - header, ip[9], &sport, &dport):
        return False
    t[0] = tuple_make(load_be32(ip + 12), load_be32(ip + 16), sport, dport, ip[9], 0)
    return tuple_invertible(t[0])


cdef inline int icmp_error(engine_t *e, pkt_t *p, uint32_t zone) noexcept nogil:
    # icmp_error: check an ICMP message and attach an error to the flow that it quotes.
    # => ICMP_NOT_ERROR to go on tracking it as a query, ICMP_BAD, or ICMP_ATTACHED with ct and ctinfo set.
    cdef uint8_t *l4
    cdef uint32_t have, type_, id_
    cdef tuple_t inner
    if p.data == NULL:
        return ICMP_NOT_ERROR if tuple_dport(p.t) >> 8 <= ICMP_MAX_TYPE else ICMP_BAD
    l4 = p.data + p.l4off
    have = p.len - p.l4off
    if have < ICMP_HEADER:
        return ICMP_BAD
    if e.checksum and p.hook == HOOK_PREROUTING and not csum_ok(l4, have, 0):
        return ICMP_BAD
    type_ = l4[0]
    if type_ > ICMP_MAX_TYPE:
        return ICMP_BAD
    if type_ != 3 and type_ != 4 and type_ != 5 and type_ != 11 and type_ != 12:
        return ICMP_NOT_ERROR
    if not inner_tuple(l4 + ICMP_HEADER, have - ICMP_HEADER, &inner):
        return ICMP_BAD
    inner = tuple_in_zone(invert_tuple(inner), zone)
    id_ = find_tuple(e, inner, tuple_hash(e, inner), p.now)
    if id_ == FN_NONE:
        return ICMP_BAD
    # the quoted packet went the other way: its sender is whom the error must be addressed to
    if tuple_dst(conn_tuple(&e.conns[id_ >> 1], id_ & 1)) != tuple_dst(p.t):
        return ICMP_BAD
    p.ct = id_ >> 1
    p.dir = id_ & 1
    p.ctinfo = IP_CT_RELATED_REPLY if p.dir else IP_CT_RELATED
    p.icmp_error = True
    return ICMP_ATTACHED


cdef inline bint icmp_reply_translation(engine_t *e, pkt_t *p, uint32_t manip) noexcept nogil:
    # icmp_reply_translation: one manip of an ICMP error, outside and inside.
    # => False: drop.
    cdef conn_t *c = &e.conns[p.ct]
    cdef uint8_t *l4 = p.data + p.l4off
    cdef uint8_t *inner = l4 + ICMP_HEADER
    cdef uint32_t have = p.len - p.l4off
    cdef uint32_t bit, header, port
    cdef tuple_t other = conn_tuple(c, 1 - p.dir)
    if have < ICMP_HEADER + 20:
        return False
    if p.hook == HOOK_PREROUTING or p.hook == HOOK_INPUT:
        if not csum_ok(l4, have, 0):
            return False
    if l4[0] == ICMP_REDIRECT:
        if (c.status & (IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE)) != (IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE):
            return False
        if c.status & (IPS_SRC_NAT | IPS_DST_NAT):
            return False
    bit = IPS_SRC_NAT if (manip == MANIP_SRC) != (p.dir == 1) else IPS_DST_NAT
    if not c.status & bit:
        return True
    # inside, the quoted packet's other end is rewritten, to the tuple of the other direction as stored
    header = (inner[0] & 15) * 4
    if header < 20 or header > have - ICMP_HEADER:
        return False
    if manip == MANIP_DST or inner[9] == PROTO_ICMP:
        port = tuple_sport(other)
    else:
        port = tuple_dport(other)
    if not manip_bytes(inner, have - ICMP_HEADER, MANIP_SRC if manip == MANIP_DST else MANIP_DST,
                       tuple_src(other) if manip == MANIP_DST else tuple_dst(other), port):
        return False
    store_be16(l4 + 2, 0)
    store_be16(l4 + 2, ~csum_fold(csum_partial(l4, have, 0)) & 0xffff)
    other = tuple_make(tuple_dst(other), tuple_src(other), tuple_sport(p.t), tuple_dport(p.t), PROTO_ICMP, 0)
    return manip_pkt(p, other, manip)
