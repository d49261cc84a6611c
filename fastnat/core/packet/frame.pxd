# The frame around a packet: whose device sent it, and for whose device it is.
#
# Source: nft_payload_eval (NFT_PAYLOAD_LL_HEADER), xt_mac.c, eth_type_trans, __dev_queue_xmit with nf_hook_egress (Linux 6.18).
# Invariants: an address is FN_MAC_BITS long, and 0, without the bit above them, where nobody has said it. A frame's own addresses,
# of a capture or of process_packet, go before what neighbours and interfaces have.
# Differs from the kernel: VLAN tags are taken off with their device, also in front of INGRESS.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport *
from ..fib cimport classify, is_limited_broadcast, is_multicast, packet_type
from ..source_address cimport next_hop
from ..tuples.tuple cimport tuple_dst, tuple_src

cdef enum:
    FRAME_HEADER = 14

# the bit of an address that is known; where those of groups begin
cdef extern from *:
    """
    #define FN_ETHER_TYPE (FN_V6 ? 0x86ddu : 0x0800u)
    #define FN_MAC_KNOWN ((uint64_t)1 << FN_MAC_BITS)
    #define FN_MAC_ALL (((uint64_t)2 << FN_MAC_BITS) - 1)
    #define FN_MAC_GROUP (FN_MAC_KNOWN | (FN_V6 ? (uint64_t)0x333300000000 : (uint64_t)0x01005e000000))
    #define FN_MAC_GROUP_BITS (FN_V6 ? 0xffffffffu : 0x7fffffu)
    """
    const uint32_t ETHER_TYPE "FN_ETHER_TYPE"
    const uint64_t MAC_KNOWN "FN_MAC_KNOWN"
    const uint64_t MAC_ALL "FN_MAC_ALL"
    const uint64_t MAC_GROUP "FN_MAC_GROUP"
    const uint32_t MAC_GROUP_BITS "FN_MAC_GROUP_BITS"


cdef inline uint64_t mac_of(const engine_t *e, uint32_t iface, addr_t addr) noexcept nogil:
    # mac_of: => The link-layer address of a neighbour, 0 unknown.
    cdef uint32_t first = 0
    cdef uint32_t end = e.n_neighbours
    cdef uint32_t middle
    cdef const neighbour_t *n
    while first < end:
        middle = (first + end) // 2
        n = &e.neighbours[middle]
        if n.iface == iface and n.addr == addr:
            return n.mac
        # they stand by device, then by address: fe80:: of two links may be two machines
        if n.iface < iface or (n.iface == iface and n.addr < addr):
            first = middle + 1
        else:
            end = middle
    return 0


cdef inline uint64_t mac_of_group(addr_t dst) noexcept nogil:
    # mac_of_group: ip_eth_mc_map, ipv6_eth_mc_map.
    return MAC_GROUP | (<uint32_t>dst & MAC_GROUP_BITS)


cdef inline bint has_frame(const engine_t *e, const pkt_t *p) noexcept nogil:
    # has_frame: whether the packet came in a frame with addresses; what the node sends, and its own copy of it, has none yet.
    return p.in_iface != 0 and not p.copied and e.iface_flags[p.in_iface] & IFACE_LINK_LAYER != 0


cdef inline addr_t sender_of(const engine_t *e, const pkt_t *p) noexcept nogil:
    # sender_of: the source address with which the packet came, whatever NAT has made of it since.
    if p.ct != FN_NONE and not p.icmp_error:
        return tuple_src(e.conns[p.ct].tuples[p.dir])
    return tuple_src(p.t)


cdef inline bint is_sent_to_all(const engine_t *e, const pkt_t *p) noexcept nogil:
    # is_sent_to_all: whether the route of the packet says that all on the link get it.
    return p.route != 0 and e.routes[p.route - 1].kind == ROUTE_BROADCAST


cdef inline bint frame_in(engine_t *e, pkt_t *p, uint64_t *dst, uint64_t *src) noexcept nogil:
    # frame_in: the addresses of the frame in which a packet came, which it keeps until it leaves.
    # => False: it came in none.
    cdef uint32_t kind
    if p.in_iface != 0 and e.iface_flags[p.in_iface] & IFACE_LOOPBACK:
        # on lo both addresses are 0: known, other than those that nobody has said
        dst[0] = MAC_KNOWN
        src[0] = MAC_KNOWN
        return True
    if not has_frame(e, p):
        return False
    dst[0] = e.link_dst
    src[0] = e.link_src
    if src[0] == 0:
        src[0] = mac_of(e, p.in_iface, sender_of(e, p))
    # what the device took was for itself, for all, or for a group: the packet tells which
    if dst[0] == 0:
        classify(e, p)
        kind = packet_type(e, p)
        dst[0] = e.macs[p.in_iface] if kind == 0 else MAC_ALL if kind == 1 else mac_of_group(tuple_dst(p.t))
    return True


cdef inline bint leaves_in_frame(const engine_t *e, const pkt_t *p) noexcept nogil:
    # leaves_in_frame: whether the device by which a packet leaves puts it into a frame.
    return e.iface_flags[p.out_iface] & (IFACE_LINK_LAYER | IFACE_LOOPBACK) != 0


cdef inline bint frame_out(engine_t *e, pkt_t *p, uint64_t *dst, uint64_t *src) noexcept nogil:
    # frame_out: the addresses of the frame in which a packet leaves, as a chain at EGRESS sees it.
    # => False: it leaves in none.
    cdef addr_t to = tuple_dst(p.t)
    if not leaves_in_frame(e, p):
        return False
    if e.iface_flags[p.out_iface] & IFACE_LOOPBACK:
        dst[0] = MAC_KNOWN
        src[0] = MAC_KNOWN
        return True
    src[0] = e.macs[p.out_iface]
    if is_multicast(to):
        dst[0] = mac_of_group(to)
    # 255.255.255.255 has whatever route its device has, the default one for example (arp_constructor asks for the address)
    elif not FN_V6 and (is_sent_to_all(e, p) or is_limited_broadcast(to)):
        dst[0] = MAC_ALL
    else:
        # 0 where nobody has said it: load_frame leaves the rule then, whatever it compares with
        dst[0] = mac_of(e, p.out_iface, next_hop(e, p))
    return True
