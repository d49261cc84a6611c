# From bytes to a tuple, and every check that a packet must pass before it is tracked.
#
# Source: ip_rcv_core (ip_input.c), nf_ct_get_tuple, nf_conntrack_inet_error, udp_error, tcp_error,
# nf_conntrack_icmpv4_error, ip6_rcv_core, ipv6_skip_exthdr (Linux 6.18); RFC 791, 768, 793, 792, 8200.
# Invariants: no byte beyond p.len is read, whatever the header says; p.len is the datagram without padding.
# Differs from the kernel: where conntrack asks for whole datagrams fragments are refused here; capture/fragments collects them.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from ..types cimport *
from ..conntrack.tcp cimport flags_valid
from ..validate cimport is_refused6
from ..tuples.tuple cimport tuple_make, tuple_proto
from .checksum cimport csum_fold, csum_ok, csum_partial, load_addr, load_be16, load_be32
from .extensions cimport (CHAIN_CUT, chain_end, CHAIN_LATER, CHAIN_WHOLE, has_fragment_header, hides_protocol, hops_sound,
                         is_extension, skip_extensions, V6_HEADER, V6_HOPS)

cdef extern from *:
    """
    #define FN_FOREIGN_ICMP (FN_V6 ? 1 : 58)
    """
    const uint32_t FOREIGN_ICMP "FN_FOREIGN_ICMP"

cdef enum:
    IP_HEADER = 20
    FRAGMENT_BITS = 0x3fff
    FRAGMENT_OFFSET = 0x1fff
    SCTP_HEADER = 12


cdef enum datagram_entry:
    ENTRY_HOOKS = 0
    ENTRY_ALONE = 1
    ENTRY_INPUT = 2


cdef struct datagram_t:
    # one that enters: where it lies, and how long it may become
    uint8_t *data
    uint32_t length
    uint32_t room
    uint32_t iface
    uint32_t mark
    # bytes of the largest fragment it came in, 0: whole
    uint32_t largest
    # where it comes from: from outside; from among the fragments, put together or given back; the same, on its way to INPUT
    datagram_entry entry


# where the source address stands in the IP header
cdef extern from *:
    """
    #define FN_SOURCE_AT (FN_V6 ? 8 : 12)
    """
    const uint32_t SOURCE_AT "FN_SOURCE_AT"


cdef inline uint64_t pseudo_header(const pkt_t *p, uint32_t proto, uint32_t length) noexcept nogil:
    # pseudo_header: => The sum of the pseudo header.
    return csum_partial(p.data + SOURCE_AT, 2 * FN_ADDR_BYTES, proto + length)


cdef inline bint read_l4(const uint8_t *l4, uint32_t have, uint32_t proto, uint32_t *sport, uint32_t *dport) noexcept nogil:
    # read_l4: the tuple's port fields (nf_ct_get_tuple).
    # => False: too short for a tuple, or a GRE that cannot be tracked.
    sport[0] = 0
    dport[0] = 0
    # an identifier is read in any message of ICMP, and is none in most; type and code stand in the place of a port
    if proto == PROTO_ICMP:
        if have < 8:
            return False
        sport[0] = load_be16(l4 + 4)
        dport[0] = load_be16(l4)
    elif proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_SCTP or proto == PROTO_UDPLITE:
        if have < 4:
            return False
        sport[0] = load_be16(l4)
        dport[0] = load_be16(l4 + 2)
    # of version 0 there are no keys; version 1 is PPTP, whose protocol is always PPP
    elif proto == PROTO_GRE and have >= 8 and (l4[1] & 7) == 1:
        if load_be16(l4 + 2) != 0x880b:
            return False
        dport[0] = load_be16(l4 + 6)
    return True


cdef inline uint32_t parse_v6(const engine_t *e, pkt_t *p, const datagram_t *d, uint32_t *header, uint32_t *total,
                              uint32_t *proto) noexcept nogil:
    # parse_v6: check the IPv6 header as ip6_rcv_core does.
    cdef const uint8_t *data = d.data
    cdef chain_end end
    if d.length < V6_HEADER:
        return REASON_TRUNCATED
    if data[0] >> 4 != 6:
        return REASON_IP_HEADER
    total[0] = load_be16(data + 4) + V6_HEADER
    if total[0] > d.length:
        return REASON_IP_HEADER
    if d.iface != 0 and d.iface < e.n_ifaces:
        if is_refused6(e, load_addr(data + SOURCE_AT), load_addr(data + SOURCE_AT + FN_ADDR_BYTES), d.iface):
            return REASON_MARTIAN
        if data[6] == V6_HOPS and not hops_sound(data, total[0]):
            return REASON_IP_HEADER
    # a payload length of 0 is that of a jumbogram, which has no fragments (nf_ct_frag6_gather)
    if (is_extension(data[6]) and e.tracking and d.entry == ENTRY_HOOKS and total[0] != V6_HEADER
            and has_fragment_header(data, total[0])):
        return REASON_FRAGMENT
    p.ttl = data[7]
    end = skip_extensions(data, total[0], proto, header)
    p.part = PART_LATER if end == CHAIN_LATER else PART_WHOLE
    # without the last header there is no protocol: rules that ask for one drop the packet (rule_fits)
    if end == CHAIN_CUT or (end == CHAIN_LATER and is_extension(proto[0])):
        p.part = PART_UNKNOWN
        proto[0] = 0
        header[0] = total[0]
    elif fn_unlikely(header[0] == total[0]) and hides_protocol(data, total[0]):
        p.part = PART_UNKNOWN
    # the ICMP of IPv4 is nothing that could be tracked
    p.tracked = end == CHAIN_WHOLE and proto[0] != FOREIGN_ICMP
    return REASON_NONE


cdef inline uint32_t parse_v4(const engine_t *e, pkt_t *p, const datagram_t *d, uint32_t *header, uint32_t *total,
                              uint32_t *proto) noexcept nogil:
    # parse_v4: check the IPv4 header as ip_rcv_core does.
    cdef const uint8_t *data = d.data
    cdef uint32_t n = d.length
    if n < IP_HEADER:
        return REASON_TRUNCATED
    header[0] = (data[0] & 15) * 4
    if data[0] >> 4 != 4 or header[0] < IP_HEADER or header[0] > n:
        return REASON_IP_HEADER
    total[0] = load_be16(data + 2)
    # padding of the link may follow the datagram, but what its length promises has to be there
    if total[0] > n or total[0] < header[0]:
        return REASON_IP_HEADER
    if csum_fold(csum_partial(data, header[0], 0)) != 0xffff:
        return REASON_IP_HEADER
    if load_be16(data + 6) & FRAGMENT_BITS:
        # conntrack's hook never sees a fragment: nf_defrag_ipv4 stands in front of it
        if e.tracking:
            return REASON_FRAGMENT
        p.part = PART_LATER if load_be16(data + 6) & FRAGMENT_OFFSET else PART_FIRST
        # rules see fragments then; ports are only in the first
        p.tracked = p.part == PART_FIRST
    proto[0] = data[9]
    p.tracked = p.tracked and proto[0] != FOREIGN_ICMP
    p.ttl = data[8]
    return REASON_NONE


cdef inline uint32_t parse_ip(const engine_t *e, pkt_t *p, const datagram_t *d) noexcept nogil:
    # parse_ip: check the IP header, fill the packet.
    # => REASON_NONE, or why the host throws it away before any hook.
    cdef uint8_t *data = d.data
    cdef uint32_t header = 0
    cdef uint32_t total = 0
    cdef uint32_t proto = 0
    cdef uint32_t sport = 0
    cdef uint32_t dport = 0
    cdef uint32_t reason = (parse_v6(e, p, d, &header, &total, &proto) if FN_V6
                            else parse_v4(e, p, d, &header, &total, &proto))
    if reason:
        return reason
    p.data = data
    p.len = total
    p.length = total
    p.l4off = header
    # of TCP, tcp_sound takes its header off, too
    p.payload = total - header
    # too short for a tuple: it goes on as INVALID, with addresses for the rules
    if p.tracked and not read_l4(data + header, total - header, proto, &sport, &dport):
        p.tracked = False
        sport = 0
        dport = 0
    p.t = tuple_make(load_addr(data + SOURCE_AT), load_addr(data + SOURCE_AT + FN_ADDR_BYTES), sport, dport, proto & 0xff, 0)
    p.has_seq = 0
    p.tcp_flags = 0
    # a header that is cut has no flags or numbers to go by: conntrack finds it invalid
    if proto == PROTO_TCP and total - header >= 20 and p.part < PART_LATER:
        p.tcp_flags = data[header + 13]
        p.seq = load_be32(data + header + 4)
        p.ack = load_be32(data + header + 8)
        p.window = load_be16(data + header + 14)
        p.has_seq = 1
    return REASON_NONE


cdef inline bint udp_sound(const engine_t *e, const pkt_t *p, const uint8_t *l4, uint32_t have) noexcept nogil:
    # udp_sound: udp_error of nf_conntrack_proto_udp.c: length and checksum; nf_checksum sums up all that is there, and takes the
    #    pseudo header for it, so behind the end of what UDP says nothing may follow.
    cdef uint32_t length
    if have < 8:
        return False
    length = load_be16(l4 + 4)
    # it may be shorter than what is there, not longer
    if length < 8 or length > have:
        return False
    # no checksum is allowed, over IPv6 as well; what the node sends itself has none yet
    if load_be16(l4 + 6) == 0 or not e.checksum or p.hook != HOOK_PREROUTING:
        return True
    return csum_ok(l4, have, pseudo_header(p, PROTO_UDP, have))


cdef inline bint udplite_sound(const engine_t *e, const pkt_t *p, const uint8_t *l4, uint32_t have) noexcept nogil:
    # udplite_sound: udplite_error: coverage and checksum; nf_checksum_partial is asked with the pseudo header of UDP, so it
    #    takes what RFC 3828 has wrong, and refuses what it has right.
    cdef uint32_t coverage
    if have < 8 or load_be16(l4 + 6) == 0:
        return False
    coverage = load_be16(l4 + 4)
    if coverage == 0:
        coverage = have
    if coverage < 8 or coverage > have:
        return False
    if not e.checksum or p.hook != HOOK_PREROUTING:
        return True
    return csum_ok(l4, coverage, pseudo_header(p, PROTO_UDP, have))


cdef inline bint tcp_sound(const engine_t *e, pkt_t *p, const uint8_t *l4, uint32_t have) noexcept nogil:
    # tcp_sound: tcp_error: header, checksum and flags.
    cdef uint32_t header
    if have < 20:
        return False
    header = (l4[12] >> 4) * 4
    # the options would reach beyond the segment
    if header < 20 or header > have:
        return False
    if e.checksum and p.hook == HOOK_PREROUTING and not csum_ok(l4, have, pseudo_header(p, PROTO_TCP, have)):
        return False
    # the checks in front have seen that the header lies within the segment: this cannot wrap
    p.payload = have - header
    # SYN and FIN take a number each
    p.end = p.seq + p.payload + ((p.tcp_flags >> 1) & 1) + (p.tcp_flags & 1)
    return flags_valid(p.tcp_flags)


cdef inline bint sctp_sound(const engine_t *e, const pkt_t *p, const uint8_t *l4, uint32_t have) noexcept nogil:
    # sctp_sound: sctp_error: the CRC.
    # the CRC is the last word of the common header
    if have < SCTP_HEADER:
        return False
    if not e.checksum or p.hook != HOOK_PREROUTING:
        return True
    return load_be32(l4 + 8) == fn_bswap32(fn_sctp_crc(l4, have))


cdef inline bint l4_sound(const engine_t *e, pkt_t *p) noexcept nogil:
    # l4_sound: whether the protocol's own header allows tracking.
    # => Header-only packets are judged by their TCP flags alone.
    cdef uint32_t proto = tuple_proto(p.t)
    cdef const uint8_t *l4
    cdef uint32_t have
    # lengths and checksums are what a batch of headers leaves to its maker
    if p.data == NULL:
        return proto != PROTO_TCP or flags_valid(p.tcp_flags)
    l4 = p.data + p.l4off
    have = p.len - p.l4off
    if proto == PROTO_UDP:
        return udp_sound(e, p, l4, have)
    if proto == PROTO_TCP:
        return tcp_sound(e, p, l4, have)
    if proto == PROTO_UDPLITE:
        return udplite_sound(e, p, l4, have)
    if proto == PROTO_SCTP:
        return sctp_sound(e, p, l4, have)
    return True
