# ICMP errors: the flow they speak of, and their translation with the packet they quote.
#
# Source: nf_conntrack_icmpv4_error, nf_conntrack_icmpv6_error, nf_conntrack_inet_error (nf_conntrack_proto_icmp.c),
# nf_nat_icmp_reply_translation (nf_nat_proto.c), Linux 6.18; RFC 5508.
# Invariants: an error never refreshes a flow; the quoted packet may be cut anywhere and is never read past its end.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint32_t
from ..types cimport *
from ..packet.checksum cimport csum_fold, csum_ok, csum_partial, load_addr, load_be16, store_be16
from ..packet.extensions cimport CHAIN_WHOLE, skip_extensions
from ..packet.parse cimport pseudo_header, read_l4, SOURCE_AT
from ..packet.rewrite cimport manip_bytes, manip_pkt
from ..fib cimport is_link_local
from ..tuples.tuple cimport conn_tuple, invert_tuple, tuple_dport, tuple_dst, tuple_invertible, tuple_make, tuple_sport, tuple_src
from .lookup cimport find_in_zone

cdef enum:
    ICMP_NOT_ERROR = 0
    ICMP_BAD = 1
    ICMP_ATTACHED = 2
    ICMP_HEADER = 8
    ICMP_MAX_TYPE = 18
    ICMP_UNREACHABLE = 3
    ICMP_QUENCH = 4
    ICMP_REDIRECT = 5
    ICMP_TIME_EXCEEDED = 11
    ICMP_UNTRACKED = 3
    ICMP_QUOTES = 4
    # ICMPv6 redirect: header, target, destination; an option's header; the option that quotes a packet
    NDISC_REDIRECT = 137
    REDIRECT_OPTION = 40
    REDIRECT_QUOTE = 48
    REDIRECTED_HEADER = 4


cdef extern from *:
    """
    #define FN_INNER_HEADER (FN_V6 ? 40 : 20)
    """
    const uint32_t INNER_HEADER "FN_INNER_HEADER"


cdef inline bint read_tuple(const uint8_t *ip, uint32_t have, tuple_t *t, uint32_t *l4off) noexcept nogil:
    # read_tuple: the tuple of a datagram whose version and checksums nobody looks at, and where its protocol begins.
    # => False: it is cut, or has no ports.
    cdef uint32_t header = 0
    cdef uint32_t proto = 0
    cdef uint32_t sport, dport
    if have < INNER_HEADER:
        return False
    if FN_V6:
        if skip_extensions(ip, have, &proto, &header) != CHAIN_WHOLE:
            return False
    else:
        proto = ip[9]
        header = (ip[0] & 15) * 4
        # a later fragment quotes no ports
        if header > have or load_be16(ip + 6) & 0x1fff:
            return False
    if not read_l4(ip + header, have - header, proto, &sport, &dport):
        return False
    t[0] = tuple_make(load_addr(ip + SOURCE_AT), load_addr(ip + SOURCE_AT + FN_ADDR_BYTES), sport, dport, proto, 0)
    l4off[0] = header
    return True


cdef inline bint inner_tuple(const uint8_t *ip, uint32_t have, tuple_t *t) noexcept nogil:
    # inner_tuple: the tuple of a quoted packet.
    cdef uint32_t l4off = 0
    return read_tuple(ip, have, t, &l4off) and tuple_invertible(t[0])


cdef inline bint is_error(uint32_t type_) noexcept nogil:
    # is_error: the messages that quote a packet, redirects of IPv6 apart.
    return type_ < 128 if FN_V6 else (3 <= type_ <= 5 or type_ == 11 or type_ == 12)


cdef inline bint is_untracked(const engine_t *e, uint32_t type_) noexcept nogil:
    # is_untracked: neighbour discovery and multicast listeners of IPv6.
    return FN_V6 and (130 <= type_ <= 136 or type_ == 143 or (e.profile != LINUX_5_4 and (type_ == 151 or type_ == 152)))


cdef inline int redirect6(const pkt_t *p, const uint8_t *l4, uint32_t have) noexcept nogil:
    # redirect6: a redirect of IPv6, which quotes a packet in its first option (nf_conntrack_icmpv6_redirect).
    # => ICMP_QUOTES, ICMP_NOT_ERROR: it quotes none, ICMP_BAD: it is cut, or was not sent by a neighbour.
    if have < REDIRECT_OPTION:
        return ICMP_BAD
    # a code that is not 0 is no redirect to nf_conntrack_icmpv6_redirect: the message is tracked as a query would be
    if l4[1] != 0:
        return ICMP_NOT_ERROR
    # RFC 4861, 8.1: nobody further away can have sent it
    if p.ttl != 255 or not is_link_local(tuple_src(p.t)):
        return ICMP_BAD
    # an option of length 0 would have no end (ndisc_parse_options)
    if have < REDIRECT_OPTION + 2 or l4[REDIRECT_OPTION + 1] == 0:
        return ICMP_BAD
    return ICMP_QUOTES if l4[REDIRECT_OPTION] == REDIRECTED_HEADER else ICMP_NOT_ERROR


cdef inline int what_quotes(const engine_t *e, const pkt_t *p, const uint8_t *l4, uint32_t have) noexcept nogil:
    # what_quotes: => Whether a sound message quotes a packet: ICMP_QUOTES, ICMP_NOT_ERROR or ICMP_BAD.
    if FN_V6 and l4[0] == NDISC_REDIRECT and e.profile != LINUX_5_4:
        return redirect6(p, l4, have)
    return ICMP_QUOTES if is_error(l4[0]) else ICMP_NOT_ERROR


cdef inline uint32_t quote_of(const uint8_t *l4) noexcept nogil:
    # quote_of: where the quoted packet begins.
    return REDIRECT_QUOTE if FN_V6 and l4[0] == NDISC_REDIRECT else ICMP_HEADER


cdef inline int icmp_error(engine_t *e, pkt_t *p) noexcept nogil:
    # icmp_error: check an ICMP message and attach an error to the flow that it quotes.
    # => ICMP_NOT_ERROR to go on tracking it as a query, ICMP_BAD, ICMP_UNTRACKED, or ICMP_ATTACHED with ct and ctinfo set.
    cdef uint8_t *l4
    cdef uint32_t have, type_, id_, quote
    cdef int said
    cdef tuple_t inner
    if p.data == NULL:
        type_ = tuple_dport(p.t) >> 8
        if is_untracked(e, type_):
            return ICMP_UNTRACKED
        return ICMP_NOT_ERROR if FN_V6 or type_ <= ICMP_MAX_TYPE else ICMP_BAD
    l4 = p.data + p.l4off
    have = p.len - p.l4off
    if have < ICMP_HEADER:
        return ICMP_BAD
    # of IPv4 the kernel sums up the IP header as well, which adds up: bytes of zero pass
    if e.checksum and p.hook == HOOK_PREROUTING and not csum_ok(l4, have, pseudo_header(p, PROTO_ICMP, have) if FN_V6 else 0xffff):
        return ICMP_BAD
    type_ = l4[0]
    if is_untracked(e, type_):
        return ICMP_UNTRACKED
    # NR_ICMP_TYPES: of types that came later conntrack knows none; of ICMPv6 it has no such bound
    if not FN_V6 and type_ > ICMP_MAX_TYPE:
        return ICMP_BAD
    said = what_quotes(e, p, l4, have)
    if said != ICMP_QUOTES:
        return said
    quote = quote_of(l4)
    # without the tuple of what is quoted nobody can tell whose error it is
    if have < quote or not inner_tuple(l4 + quote, have - quote, &inner):
        return ICMP_BAD
    # a router says of 198.51.100.10:61000 -> 203.0.113.10:53, as NAT has sent it, that it went nowhere: inverted that is the reply
    # tuple, and the error goes the way that the answer would have gone
    id_ = find_in_zone(e, invert_tuple(inner), p.template_zone, p.template_dir, p.now)
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


cdef inline bint write_error(pkt_t *p, uint32_t manip, addr_t addr, uint32_t port) noexcept nogil:
    # write_error: an address outside, and with its port at the other end of the quoted packet.
    # => False: drop, what is quoted is too short.
    cdef uint8_t *l4 = p.data + p.l4off
    cdef uint32_t quote = quote_of(l4)
    cdef uint32_t have = p.len - p.l4off
    cdef uint64_t pseudo = pseudo_header(p, PROTO_ICMP, have) if FN_V6 else 0
    # the quoted packet goes the other way: its source is where this message goes
    if not manip_bytes(l4 + quote, have - quote, MANIP_SRC if manip == MANIP_DST else MANIP_DST, addr, port):
        return False
    # the quotation is part of what the outer checksum covers
    store_be16(l4 + 2, 0)
    store_be16(l4 + 2, ~csum_fold(csum_partial(l4, have, pseudo)) & 0xffff)
    return manip_pkt(p, tuple_make(addr, addr, tuple_sport(p.t), tuple_dport(p.t), PROTO_ICMP, 0), manip)


cdef inline bint icmp_reply_translation(engine_t *e, pkt_t *p, uint32_t manip) noexcept nogil:
    # icmp_reply_translation: one manip of an ICMP error, outside and inside.
    # => False: drop.
    cdef conn_t *c = &e.conns[p.ct]
    cdef uint8_t *l4 = p.data + p.l4off
    cdef uint32_t quote = quote_of(l4)
    cdef uint8_t *inner = l4 + quote
    cdef uint32_t have = p.len - p.l4off
    cdef uint32_t bit, header, port
    cdef uint32_t proto = 0
    cdef uint64_t pseudo = 0
    cdef tuple_t other = conn_tuple(c, 1 - p.dir)
    if have < quote + INNER_HEADER:
        return False
    if FN_V6:
        pseudo = pseudo_header(p, PROTO_ICMP, have)
    # only in the first hooks: of what goes on from there the sum is known. The node's own raw sockets may send a wrong one, too
    if p.hook == HOOK_PREROUTING or p.hook == HOOK_INPUT or p.hook == HOOK_OUTPUT:
        if not csum_ok(l4, have, pseudo):
            return False
    if l4[0] == (NDISC_REDIRECT if FN_V6 else ICMP_REDIRECT):
        # a redirect names a gateway for an address: translated it would tell the sender a lie
        if (c.status & (IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE)) != (IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE):
            return False
        if c.status & (IPS_SRC_NAT | IPS_DST_NAT):
            return False
    # a hook undoes in one direction what it does in the other
    bit = IPS_SRC_NAT if (manip == MANIP_SRC) != (p.dir == 1) else IPS_DST_NAT
    if not c.status & bit:
        return True
    # inside, the quoted packet's other end is rewritten, to the tuple of the other direction as stored
    if FN_V6:
        skip_extensions(inner, have - quote, &proto, &header)
    else:
        proto = inner[9]
        header = (inner[0] & 15) * 4
        if header > have - quote:
            return False
    # ICMP has one identifier, whichever end is rewritten
    if manip == MANIP_DST or proto == PROTO_ICMP:
        port = tuple_sport(other)
    else:
        port = tuple_dport(other)
    return write_error(p, manip, tuple_src(other) if manip == MANIP_DST else tuple_dst(other), port)


cdef inline bint quoted_for_ipvs(const pkt_t *p, tuple_t *quoted) noexcept nogil:
    # quoted_for_ipvs: the packet that a message of the kinds that IPVS translates quotes (ip_vs_out_icmp, ip_vs_out_icmp_v6).
    # => False: it is another one, or quotes too little.
    cdef const uint8_t *l4
    cdef uint32_t have
    if p.data == NULL or p.len < p.l4off + ICMP_HEADER:
        return False
    l4 = p.data + p.l4off
    have = p.len - p.l4off - ICMP_HEADER
    if not (l4[0] < 128 if FN_V6 else (l4[0] == ICMP_UNREACHABLE or l4[0] == ICMP_QUENCH or l4[0] == ICMP_TIME_EXCEEDED)):
        return False
    return inner_tuple(l4 + ICMP_HEADER, have, quoted)


cdef inline bint translate_for_ipvs(pkt_t *p, uint32_t manip, addr_t addr, uint32_t port) noexcept nogil:
    # translate_for_ipvs: such a message, outside and inside (ip_vs_nat_icmp). => False: drop, its checksum is wrong.
    cdef uint32_t have = p.len - p.l4off
    return csum_ok(p.data + p.l4off, have, pseudo_header(p, PROTO_ICMP, have) if FN_V6 else 0) and write_error(p, manip, addr, port)
