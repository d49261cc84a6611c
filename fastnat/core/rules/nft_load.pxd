# What expressions of nftables read: bytes of the packet, what it carries beside them, its connection, the routing table.
#
# Source: nft_payload.c, nft_meta.c, nft_ct.c, nft_fib_ipv4.c, nft_fib_ipv6.c, nft_rt.c, nft_exthdr.c (Linux 6.18).
# Invariants: a function that returns False leaves the rule (NFT_BREAK); no byte beyond the datagram is read.
# Differs from the kernel: a packet of a batch of headers has the bytes that its header says, and zeros.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport *
from ..conntrack.events cimport conn_mark
from ..helpers.expect cimport help_of
from ..multipath cimport choose_hop
from ..nat.range cimport has_ports
from ..packet.checksum cimport load_be16
from ..fib cimport (addr_type, classify, flow_back, flow_t, flow_to, has_address, incoming, is_anycast6, is_for_link, is_link_local,
                      is_multicast, is_unicast6, outgoing, packet_type, route_on, ruled_route, smallest_mtu)
from ..source_address cimport next_hop
from ..tuples.hash cimport random_u64
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src
from ..validate cimport uses_device
from ..packet.frame cimport ETHER_TYPE, FRAME_HEADER, frame_in, frame_out
from .match cimport ct_state_bit
from .owner cimport has_socket
from .proxy cimport has_transparent

cdef enum:
    NS_PER_SECOND = 1000000000
    DAY = 86400
    IPV4_HEADER = 20
    IPV6_HEADER = 40
    V6_HOPS = 0
    V6_ROUTING = 43
    V6_FRAGMENT = 44
    V6_AUTH = 51
    V6_OPTIONS = 60
    # both directions of a connection
    BOTH = 2
    # of a name in registers: 16 bytes (IFNAMSIZ, NF_CT_HELPER_NAME_LEN)
    NAME_WORDS = 4
    # what follow_extension came upon
    EXTENSION_NEXT = 0
    EXTENSION_CUT = 1
    EXTENSION_LATER = 2
    # what is not where an option of TCP begins
    OPTION_MISSING = 0
    OPTION_CUT = 1
    OPTION_RECORD_ROUTE = 7
    OPTION_TIMESTAMP = 68
    OPTION_LOOSE_ROUTE = 131
    OPTION_STRICT_ROUTE = 137
    OPTION_ROUTER_ALERT = 148
    # RTN_*
    RTN_UNSPEC = 0
    RTN_UNICAST = 1
    RTN_MULTICAST = 5
    # ff02::/16 and those like it
    LINK_GROUPS = 0xff02


cdef inline uint32_t scaled(uint32_t value, uint32_t modulus) noexcept nogil:
    # scaled: reciprocal_scale.
    return <uint32_t>(<uint64_t>value * modulus >> 32)


cdef inline void put_addr(uint32_t *to, addr_t addr) noexcept nogil:
    # put_addr: an address in registers, its first 32 bits first.
    cdef uint32_t i
    for i in range(FN_ADDR_BITS // 32):
        to[i] = <uint32_t>(addr >> (FN_ADDR_BITS - 32 - 32 * i))


cdef inline addr_t get_addr(const uint32_t *from_) noexcept nogil:
    # get_addr: the address that registers hold.
    cdef addr_t addr = from_[0]
    cdef uint32_t i
    for i in range(1, FN_ADDR_BITS // 32):
        addr = addr << (FN_ADDR_BITS // 4) | from_[i]
    return addr


cdef inline uint32_t made_network_byte(const pkt_t *p, uint32_t at) noexcept nogil:
    # made_network_byte: a byte of the IP header that a header-only packet would have.
    cdef uint32_t addresses = 8 if FN_V6 else 12
    # the length of IPv6 counts what stands behind the header, that of IPv4 the header too
    cdef uint32_t length = p.length - 40 if FN_V6 else p.length
    cdef uint32_t back
    cdef addr_t addr
    if at >= addresses:
        addr = tuple_src(p.t) if at < addresses + FN_ADDR_BYTES else tuple_dst(p.t)
        back = (FN_ADDR_BYTES - 1) - (at - addresses) % FN_ADDR_BYTES
        return <uint32_t>(addr >> (8 * back)) & 0xff
    # a header without options, as nobody has said any
    if at == 0:
        return 0x60 if FN_V6 else 0x45
    if at == (4 if FN_V6 else 2):
        return length >> 8
    if at == (5 if FN_V6 else 3):
        return length & 0xff
    if at == (7 if FN_V6 else 8):
        return p.ttl
    return tuple_proto(p.t) if at == (6 if FN_V6 else 9) else 0


cdef inline uint32_t made_transport_byte(const pkt_t *p, uint32_t at) noexcept nogil:
    # made_transport_byte: a byte of the transport header that a header-only packet would have.
    cdef uint32_t proto = tuple_proto(p.t)
    cdef uint32_t port
    # a tuple of ICMP has type and code in the place of one port, and the id of an echo in that of the other
    if proto == PROTO_ICMP:
        if at < 2:
            return tuple_dport(p.t) >> 8 if at == 0 else tuple_dport(p.t) & 0xff
        return (tuple_sport(p.t) >> (8 if at == 4 else 0)) & 0xff if at == 4 or at == 5 else 0
    if at < 4 and has_ports(proto):
        port = tuple_sport(p.t) if at < 2 else tuple_dport(p.t)
        return port & 0xff if at & 1 else port >> 8
    # the data offset: five words, as nobody has said any options
    if proto == PROTO_TCP and at == 12:
        return 0x50
    return p.tcp_flags & 0xff if proto == PROTO_TCP and at == 13 else 0


cdef inline uint32_t made_size(const pkt_t *p, uint32_t base) noexcept nogil:
    # made_size: the bytes that a header-only packet has of a header.
    if base == NFT_BASE_NETWORK:
        return 40 if FN_V6 else 20
    return 20 if tuple_proto(p.t) == PROTO_TCP else 8


cdef inline bint load_made(const pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_made: the fields that most rules ask for, of a header-only packet, without a detour by bytes: addresses and ports.
    # => False: another field.
    cdef uint32_t addresses = 8 if FN_V6 else 12
    # a header is made byte by byte only where a rule asks for anything else
    if x.a == NFT_BASE_NETWORK and x.c == FN_ADDR_BYTES and (x.b == addresses or x.b == addresses + FN_ADDR_BYTES):
        put_addr(to, tuple_src(p.t) if x.b == addresses else tuple_dst(p.t))
        return True
    if x.a == NFT_BASE_TRANSPORT and x.c == 2 and (x.b == 0 or x.b == 2) and has_ports(tuple_proto(p.t)):
        to[0] = tuple_dport(p.t) if x.b else tuple_sport(p.t)
        return True
    return False


cdef inline bint is_extension(uint32_t kind) noexcept nogil:
    # is_extension: => Whether ipv6_find_hdr follows a header to the next one.
    return kind in (V6_HOPS, V6_ROUTING, V6_FRAGMENT, V6_AUTH, V6_OPTIONS)


cdef inline int follow_extension(const pkt_t *p, uint32_t *kind, uint32_t *at) noexcept nogil:
    # follow_extension: from an extension header of IPv6 to what stands behind it.
    # => EXTENSION_CUT, EXTENSION_LATER: *kind lies in a fragment in front of this one, or EXTENSION_NEXT.
    cdef const uint8_t *header = p.data + at[0]
    cdef uint32_t here = kind[0]
    # as many bytes as the kernel reads of each
    if at[0] + (4 if here == V6_ROUTING or here == V6_FRAGMENT else 2) > p.len:
        return EXTENSION_CUT
    kind[0] = header[0]
    if here == V6_FRAGMENT:
        at[0] += 8
        return EXTENSION_LATER if load_be16(header + 2) & 0xfff8 else EXTENSION_NEXT
    # AH counts words of four bytes less two (RFC 4302), all others words of eight less one (RFC 8200)
    at[0] += (header[1] + 2) * 4 if here == V6_AUTH else (header[1] + 1) * 8
    return EXTENSION_NEXT


cdef inline uint32_t find_extension(const pkt_t *p, uint32_t kind) noexcept nogil:
    # find_extension: => Where an extension header of IPv6 begins, 0: it is not there (ipv6_find_hdr). Of fragments that are not
    # the first, nothing behind the fragment header is found.
    cdef uint32_t at = IPV6_HEADER
    cdef uint32_t next_, was, here
    cdef int said = EXTENSION_NEXT
    if p.data == NULL:
        return 0
    next_ = p.data[6]
    while said == EXTENSION_NEXT and is_extension(next_):
        was, here = next_, at
        said = follow_extension(p, &next_, &at)
        # asked for behind the step: of a header that is cut not even its being there is said
        if was == kind and said != EXTENSION_CUT:
            return here
    return at if said == EXTENSION_NEXT and next_ == kind else 0


cdef inline bint find_transport6(const pkt_t *p, uint32_t *proto, uint32_t *at) noexcept nogil:
    # find_transport6: find_transport behind extension headers (ipv6_find_hdr with IP6_FH_F_AUTH).
    cdef int said = EXTENSION_NEXT
    proto[0] = p.data[6]
    at[0] = IPV6_HEADER
    # conntrack and iptables look behind an authentication header; here it is a transport header itself
    while said == EXTENSION_NEXT and is_extension(proto[0]) and proto[0] != V6_AUTH:
        said = follow_extension(p, proto, at)
    if said == EXTENSION_LATER:
        # the kernel leaves the offset at 0, the beginning of the datagram
        at[0] = 0
        return not is_extension(proto[0])
    return said == EXTENSION_NEXT and (proto[0] != V6_AUTH or at[0] + 2 <= p.len)


cdef inline bint find_transport(const pkt_t *p, uint32_t *proto, uint32_t *at) noexcept nogil:
    # find_transport: protocol and offset of the transport header as nft_set_pktinfo has them.
    # => False: the headers of IPv6 are cut, and nobody can tell.
    proto[0] = tuple_proto(p.t)
    at[0] = p.l4off
    if FN_V6 and p.data != NULL and fn_unlikely(p.l4off != IPV6_HEADER or p.part == PART_UNKNOWN):
        return find_transport6(p, proto, at)
    return True


cdef inline bint load_payload(const pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_payload: bytes of a header as a number (nft_payload_eval). x.b: the first byte, x.c: their number.
    cdef uint32_t start = x.b
    cdef uint32_t i, byte_, proto, at
    if p.data == NULL and load_made(p, x, to):
        return True
    # the bytes are put in one by one, and the highest of the first word may be none of the field's
    memset(to, 0, 4 * x.words)
    if x.a == NFT_BASE_INNER or (x.a == NFT_BASE_TRANSPORT and not find_transport(p, &proto, &at)):
        return False
    # recorded: only nft_payload_eval asks whether the packet is a later fragment; nft_payload_fast_eval, which reads 1, 2 or 4
    # bytes at a multiple of their number, takes its data for a header
    if fn_unlikely(p.part == PART_LATER) and x.a == NFT_BASE_TRANSPORT and (x.c not in (1, 2, 4) or x.b % x.c != 0):
        # recorded: behind an authentication header, which is one of transport here, no fragment header was looked for
        if not FN_V6 or at == 0:
            return False
    if p.data != NULL:
        start += at if x.a == NFT_BASE_TRANSPORT else 0
        if start + x.c > p.len:
            return False
    elif start + x.c > made_size(p, x.a):
        return False
    for i in range(x.c):
        if p.data != NULL:
            byte_ = p.data[start + i]
        elif x.a == NFT_BASE_NETWORK:
            byte_ = made_network_byte(p, start + i)
        else:
            byte_ = made_transport_byte(p, start + i)
        to[x.words - 1 - (x.c - 1 - i) // 4] |= byte_ << (8 * ((x.c - 1 - i) & 3))
    return True


cdef inline bint load_frame(engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_frame: bytes of the frame in which the packet came, or with x.sreg of the one in which it leaves; x.b: the first byte.
    # => False: there is no frame, it does not reach so far, or nobody has said who sent it.
    cdef uint64_t dst = 0
    cdef uint64_t src = 0
    cdef uint32_t i, at, byte_
    if not (frame_out(e, p, &dst, &src) if x.sreg else frame_in(e, p, &dst, &src)):
        return False
    # an address of 0 is one that nobody has said: a rule that asks for it must not hold by accident
    if x.b + x.c > FRAME_HEADER or (x.b < 6 and dst == 0) or (x.b < 12 and x.b + x.c > 6 and src == 0):
        return False
    memset(to, 0, 4 * x.words)
    for i in range(x.c):
        at = x.b + i
        if at < 6:
            byte_ = <uint32_t>(dst >> (8 * (5 - at))) & 0xff
        elif at < 12:
            byte_ = <uint32_t>(src >> (8 * (11 - at))) & 0xff
        else:
            byte_ = <uint32_t>(ETHER_TYPE >> (8 * (13 - at))) & 0xff
        to[x.words - 1 - (x.c - 1 - i) // 4] |= byte_ << (8 * ((x.c - 1 - i) & 3))
    return True


cdef inline void put_name(const engine_t *e, uint32_t iface, uint32_t *to) noexcept nogil:
    # put_name: the name of an interface; of none it is empty.
    cdef uint32_t i
    for i in range(NAME_WORDS):
        # names of devices are the first words of all
        to[i] = e.nft_words[NAME_WORDS * iface + i] if iface else 0


cdef inline bint load_owner(engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_owner: nft_meta_get_eval_skugid: only packets of the node itself have a socket; see rules/owner.pxd.
    if not has_socket(p):
        return False
    # who calls is told that the answer depended on an owner that nobody may have named
    e.owner_asked |= 1 << (OWNER_UID if x.a == NFT_META_SKUID else OWNER_GID)
    to[0] = e.owner_uid if x.a == NFT_META_SKUID else e.owner_gid
    return True


cdef inline void load_date(const engine_t *e, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_date: nft_meta_get_eval_time, in UTC. 1 January 1970 was a Thursday, number 4.
    cdef uint64_t now = e.epoch + e.now
    cdef uint64_t ns
    if x.a == NFT_META_TIME:
        ns = now * (NS_PER_SECOND // FN_HZ)
        to[0] = <uint32_t>(ns >> 32)
        to[1] = <uint32_t>ns
    elif x.a == NFT_META_DAY:
        to[0] = <uint32_t>((now // FN_HZ // DAY + 4) % 7)
    else:
        to[0] = <uint32_t>(now // FN_HZ % DAY)


cdef inline uint32_t holding(const engine_t *e, const pkt_t *p) noexcept nogil:
    # holding: the device whose packet it is at present (skb->dev), 0: the node itself has it.
    if p.hook == HOOK_POSTROUTING and e.profile != LINUX_5_4:
        return p.out_iface
    return incoming(e, p)


cdef inline bint load_seldom(const engine_t *e, const pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_seldom: what hardly any rule asks for.
    if x.a == NFT_META_PRIORITY:
        to[0] = p.priority
    elif x.a == NFT_META_DEVICE:
        to[0] = holding(e, p)
    else:
        # NFT_META_CGROUP: who sends from the node is in no class
        to[0] = 0
        return p.in_iface == 0
    return True


cdef inline bint load_meta(engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_meta: nft_meta_get_eval.
    cdef uint32_t at
    if x.a == NFT_META_LEN:
        to[0] = p.length
    elif x.a == NFT_META_MARK:
        to[0] = p.mark
    # where there is no device the kernel loads 0, or an empty name, and does not leave the rule (nft_meta_get_eval since 5.4):
    # `iifname != "eth0"` holds for what the node sends itself
    elif x.a == NFT_META_IIF:
        to[0] = incoming(e, p)
    elif x.a == NFT_META_OIF:
        to[0] = outgoing(p)
    elif x.a == NFT_META_IIFNAME:
        put_name(e, incoming(e, p), to)
    elif x.a == NFT_META_OIFNAME:
        put_name(e, outgoing(p), to)
    # behind headers that are cut nobody knows a protocol: then the rule is left (NFT_PKTINFO_L4PROTO is not set)
    elif x.a == NFT_META_L4PROTO:
        return find_transport(p, to, &at)
    elif x.a == NFT_META_PKTTYPE:
        classify(e, p)
        to[0] = packet_type(e, p)
    elif x.a == NFT_META_SKUID or x.a == NFT_META_SKGID:
        return load_owner(e, p, x, to)
    elif x.a == NFT_META_TRANSPARENT:
        to[0] = 1
        return has_transparent(e, p)
    elif NFT_META_TIME <= x.a <= NFT_META_HOUR:
        load_date(e, x, to)
    elif x.a == NFT_META_RANDOM:
        to[0] = <uint32_t>(random_u64(e) >> 32)
    else:
        fn_rarely()
        return load_seldom(e, p, x, to)
    return True


cdef inline uint32_t expiration(const engine_t *e, const conn_t *c) noexcept nogil:
    # expiration: milliseconds until a connection expires (nf_ct_expires); what is not confirmed has none.
    cdef int32_t left = <int32_t>(c.timeout - <uint32_t>e.now) if c.status & IPS_CONFIRMED else 0
    return <uint32_t>left * (1000 // FN_HZ) if left > 0 else 0


cdef inline bint load_tuple(const conn_t *c, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_tuple: a part of a tuple of the connection; x.b: DIR_*.
    cdef tuple_t t = c.tuples[x.b & 1]
    if x.a == NFT_CT_SRC:
        put_addr(to, tuple_src(t))
    elif x.a == NFT_CT_DST:
        put_addr(to, tuple_dst(t))
    elif x.a == NFT_CT_PROTO_SRC:
        to[0] = tuple_sport(t)
    elif x.a == NFT_CT_PROTO_DST:
        to[0] = tuple_dport(t)
    else:
        # NAT changes no protocol: both directions have one
        to[0] = tuple_proto(c.tuples[0])
    return True


cdef inline void load_account(const engine_t *e, const pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_account: packets, bytes, or bytes a packet; 0 of a connection that is not accounted (nft_ct_get_eval_counter).
    cdef uint64_t packets = 0
    cdef uint64_t bytes_ = 0
    cdef uint32_t way
    # nf_conntrack_acct as it was when the connection began: one that began uncounted stays so
    if e.conns[p.ct].flags & CONN_COUNTED:
        for way in range(2):
            if x.b == way or x.b == BOTH:
                packets += e.acct[p.ct].packets[way]
                bytes_ += e.acct[p.ct].bytes[way]
    if x.a == NFT_CT_AVGPKT:
        bytes_ = bytes_ // packets if packets else 0
    elif x.a == NFT_CT_PKTS:
        bytes_ = packets
    to[0] = <uint32_t>(bytes_ >> 32)
    to[1] = <uint32_t>bytes_


cdef inline bint load_ct(engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_ct: nft_ct_get_eval: without a connection only the state can be asked.
    cdef const conn_t *c
    # without the bits of SNAT and DNAT, which only xt_conntrack calls a state: nftables asks for them by `ct status`
    if x.a == NFT_CT_STATE:
        to[0] = ct_state_bit(e, p) & 0x3fff
        return True
    if p.ct == FN_NONE:
        return False
    c = &e.conns[p.ct]
    if x.a == NFT_CT_DIRECTION:
        to[0] = p.dir
    elif x.a == NFT_CT_STATUS:
        to[0] = c.status
    elif x.a == NFT_CT_MARK:
        to[0] = conn_mark(e, p.ct)
    elif x.a == NFT_CT_EXPIRATION:
        to[0] = 0
        to[1] = expiration(e, c)
    elif x.a == NFT_CT_HELPER:
        # recorded: the helper of the connection that announced this one, be it over by now; its own is never asked for, and
        # whom nobody announced leaves the rule, `!=` or not
        # the kernel loads a name, whose four words the rule compares: here a number stands for it
        memset(to, 0, 4 * NAME_WORDS)
        to[NAME_WORDS - 1] = help_of(e, p.ct).master_kind if c.flags & CONN_HELPED else 0
        return to[NAME_WORDS - 1] != 0
    elif x.a == NFT_CT_ZONE:
        to[0] = c.zone
    elif NFT_CT_PKTS <= x.a <= NFT_CT_AVGPKT:
        load_account(e, p, x, to)
    else:
        return load_tuple(c, x, to)
    return True


cdef inline uint32_t fib_type6(const engine_t *e, addr_t addr, uint32_t route, uint32_t device) noexcept nogil:
    # fib_type6: __nft_fib6_eval_type: => RTN_*, by the route, and where that says nothing by the address.
    cdef uint32_t kind = e.routes[route - 1].kind if route else ROUTE_UNREACHABLE
    # no route, or one that forbids: the address is not asked, be it that of a group
    if kind > ROUTE_MULTICAST:
        return kind
    if is_anycast6(&e.routes[route - 1], addr):
        return ROUTE_ANYCAST
    # of a device its addresses count, not what is merely routed there
    if kind == ROUTE_LOCAL if device == FN_ANY_IFACE else has_address(e, device, addr):
        return ROUTE_LOCAL
    if is_multicast(addr):
        return RTN_MULTICAST
    return RTN_UNICAST if is_unicast6(addr) else RTN_UNSPEC


cdef inline bint has_link_scope(addr_t addr) noexcept nogil:
    # has_link_scope: fe80::/10 and ff02::/16 (IPV6_ADDR_LINKLOCAL).
    return FN_V6 and (is_link_local(addr) or <uint32_t>(addr >> (FN_ADDR_BITS - 16)) & 0xff0f == LINK_GROUPS)


cdef inline uint32_t first_device(const engine_t *e) noexcept nogil:
    # first_device: the first one that has a route of groups.
    cdef uint32_t i
    for i in range(1, e.n_ifaces):
        if not e.iface_flags[i] & IFACE_LOOPBACK:
            return i
    return 0


cdef inline uint32_t fib_route(engine_t *e, pkt_t *p, const nft_expr_t *x, addr_t addr, uint32_t device) noexcept nogil:
    # fib_route: => The index + 1 of the route to the packet's destination, or back to its source. addr: whichever it is. It is
    # classified.
    cdef flow_t f
    cdef bint on_link = is_link_local(addr)
    if e.n_fib_rules == 0 and not on_link:
        return e.class_route[p.dst_class if x.a & NFT_FIB_DADDR else p.src_class]
    f = flow_to(e, p) if x.a & NFT_FIB_DADDR else flow_back(e, p, 0, 0)
    # behind FORWARD policy rules see the way back as one that comes in where the packet leaves
    f.in_iface = p.out_iface if p.hook == HOOK_FORWARD and not x.a & NFT_FIB_DADDR and x.a & NFT_FIB_IIF else 0
    # nft_fib4_eval and nft_fib6_flowi_init fill in the protocol, but no ports
    f.sport = 0
    f.dport = 0
    f.mark = p.mark if x.a & NFT_FIB_MARK else 0
    if on_link:
        # RT6_LOOKUP_F_IFACE: every device has a route of its own
        return route_on(e, &f, device if device != FN_ANY_IFACE else p.in_iface)
    return ruled_route(e, &f, FN_ANY_IFACE)


cdef inline bint has_no_way(const engine_t *e, const pkt_t *p) noexcept nogil:
    # has_no_way: whether a packet gets its own device for an answer (nft_fib_can_skip, nft_fib4_eval, nft_fib_v6_skip_icmpv6):
    # on lo, what comes back to the node that sent it, and who has no address yet.
    cdef addr_t dst = tuple_dst(p.t)
    if p.in_iface == 0 or (p.hook != HOOK_PREROUTING and p.hook != HOOK_INPUT):
        return False
    if e.iface_flags[p.in_iface] & IFACE_LOOPBACK or p.copied:
        return True
    if FN_V6:
        return tuple_src(p.t) == 0 and tuple_proto(p.t) == PROTO_ICMP and has_link_scope(dst)
    return tuple_src(p.t) == 0 and is_for_link(dst)


cdef inline uint32_t fib_device(engine_t *e, pkt_t *p, const nft_expr_t *x, addr_t addr, uint32_t device) noexcept nogil:
    # fib_device: nft_fib4_eval, nft_fib6_eval: => The interface that the way to an address leads out of, or that is asked about.
    # 0: there is none, or the address is the node's own.
    cdef uint32_t route, kind, iface
    if has_no_way(e, p):
        return p.in_iface
    if FN_V6 and is_multicast(addr):
        iface = first_device(e)
        if has_link_scope(addr):
            iface = device if device != FN_ANY_IFACE else p.in_iface
        return iface if device == FN_ANY_IFACE or iface == device else 0
    route = fib_route(e, p, x, addr, device)
    if FN_V6 and route and e.routes[route - 1].hops > 1:
        # ip6_route_lookup hashes the packet itself, be it on its way there or back; fib_lookup of IPv4 stays with the first hop
        route = choose_hop(e, p, route)
    # a way to the node itself leads out of no device
    kind = ROUTE_UNREACHABLE if route == 0 else e.routes[route - 1].kind
    if kind >= ROUTE_BLACKHOLE or kind == ROUTE_LOCAL or kind == ROUTE_ANYCAST:
        return 0
    iface = e.routes[route - 1].iface
    if device == FN_ANY_IFACE:
        return iface
    return device if (iface == device if FN_V6 else uses_device(e, route, device)) else 0


cdef inline bint load_fib(engine_t *e, pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_fib: nft_fib4_eval_type and nft_fib4_eval: the type of an address, or the interface that the way to it leads out of.
    cdef bint dst = x.a & NFT_FIB_DADDR
    cdef addr_t addr = tuple_dst(p.t) if dst else tuple_src(p.t)
    cdef uint32_t device = FN_ANY_IFACE
    cdef uint32_t class_, iface
    classify(e, p)
    class_ = p.dst_class if dst else p.src_class
    if x.a & (NFT_FIB_IIF | NFT_FIB_OIF):
        device = incoming(e, p) if x.a & NFT_FIB_IIF else outgoing(p)
    # a type is a number of RTN_* here, and a bit of it in addrtype of iptables
    if x.a & NFT_FIB_TYPE:
        to[0] = fib_type6(e, addr, fib_route(e, p, x, addr, device), device) if FN_V6 else fn_ctz(addr_type(e, addr, class_, device))
        return True
    iface = fib_device(e, p, x, addr, device)
    if x.a & NFT_FIB_OIFNAME:
        put_name(e, iface, to)
    else:
        to[0] = iface if not x.a & NFT_FIB_PRESENT else iface != 0
    return True


cdef inline uint32_t tcp_mss(const engine_t *e, const pkt_t *p) noexcept nogil:
    # tcp_mss: get_tcpmss: the smaller MTU of the way there and the way back, without headers.
    cdef uint32_t headers = 60 if FN_V6 else 40
    cdef uint32_t mtu = smallest_mtu(e, p)
    # TCP_MSS_DEFAULT, in both families
    return mtu - headers if mtu > headers else 536


cdef inline bint load_rt(const engine_t *e, const pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_rt: nft_rt_get_eval: only a routed packet has a next hop.
    if p.route == 0:
        return False
    if x.a == NFT_RT_NEXTHOP:
        put_addr(to, next_hop(e, p))
    else:
        to[0] = tcp_mss(e, p)
    return True


cdef inline uint32_t tcp_header_end(const pkt_t *p) noexcept nogil:
    # tcp_header_end: => Where the options of TCP end, 0: there is no whole header (nft_tcp_header_pointer).
    cdef uint32_t end
    if p.data == NULL or tuple_proto(p.t) != PROTO_TCP or p.part == PART_LATER or p.len < p.l4off + 20:
        return 0
    end = p.l4off + (p.data[p.l4off + 12] >> 4) * 4
    return end if p.l4off + 20 <= end <= p.len else 0


cdef inline uint32_t find_tcp_option(const pkt_t *p, uint32_t kind, uint32_t need) noexcept nogil:
    # find_tcp_option: => Where an option with `need` bytes or more begins (nft_exthdr_tcp_eval), OPTION_MISSING, or OPTION_CUT: it
    # has not so many, or not all that it says.
    cdef uint32_t at = p.l4off + 20
    cdef uint32_t end = tcp_header_end(p)
    cdef uint32_t size
    while at + 1 < end:
        # the end of the list (0) is passed like a NOP, and what stands behind it is found all the same (optlen of nft_exthdr.c)
        size = 1 if p.data[at] < 2 else p.data[at + 1]
        if size == 0:
            size = 1
        if p.data[at] == kind:
            return at if at + size <= end and need <= size else OPTION_CUT
        at += size
    return OPTION_MISSING


cdef inline bint load_tcp_option(const pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_tcp_option: a field of an option, or whether the option is there.
    cdef uint32_t at = find_tcp_option(p, x.a, x.b + x.c)
    cdef uint32_t i
    to[0] = at > OPTION_CUT
    # a rule that asks for no byte asks whether the option is there, which has an answer in any case
    if x.c == 0:
        return True
    if at <= OPTION_CUT:
        return False
    to[0] = 0
    for i in range(x.c):
        to[0] = to[0] << 8 | p.data[at + x.b + i]
    return True


cdef inline bint is_broken(const uint8_t *option, uint32_t size) noexcept nogil:
    # is_broken: what __ip_options_compile rejects of an option that a rule asks for.
    cdef uint32_t kind = option[0]
    cdef uint32_t pointer = option[2] if size > 2 else 0
    cdef uint32_t wanted
    # a pointer behind the end says that the option is full (RFC 791), which is no fault
    if kind == OPTION_RECORD_ROUTE:
        return pointer < 4 or (pointer <= size and pointer + 3 > size)
    # __ip_options_compile is so strict only where it is given no packet to work on, as nft_exthdr.c gives it none: a route that
    # has been gone some of its way is broken to a rule, and is not to take_option of packet/options
    if kind == OPTION_LOOSE_ROUTE or kind == OPTION_STRICT_ROUTE:
        return size < 7 or pointer != 4 or (size - 3) & 3 != 0
    if kind == OPTION_ROUTER_ALERT:
        return size < 4
    if kind != OPTION_TIMESTAMP:
        return False
    if size < 4 or pointer < 5:
        return True
    wanted = 3 if option[3] & 15 == 0 else 7
    # a full one counts the hops for which it had no room, and four bits hold 15 of them
    return pointer + wanted > size if pointer <= size else option[3] >> 4 == 15


cdef inline uint32_t stands_once(uint32_t kind) noexcept nogil:
    # stands_once: => A bit for options of which a header may have one; both kinds of a source route share theirs.
    if kind == OPTION_LOOSE_ROUTE or kind == OPTION_STRICT_ROUTE:
        return 4
    return 2 if kind == OPTION_TIMESTAMP else kind == OPTION_RECORD_ROUTE


cdef inline uint32_t find_ip_option(const pkt_t *p, uint32_t kind) noexcept nogil:
    # find_ip_option: => Where an option of the IPv4 header begins, 0: it is not there, or some option is broken (ipv4_find_option).
    cdef uint32_t at = IPV4_HEADER
    cdef uint32_t found = 0
    cdef uint32_t seen = 0
    cdef uint32_t end
    if p.data == NULL:
        return 0
    end = (p.data[0] & 15) * 4
    if end > p.len:
        return 0
    while at < end and p.data[at] != 0:
        if p.data[at] == 1:
            at += 1
            continue
        if at + 1 >= end or p.data[at + 1] < 2 or at + p.data[at + 1] > end:
            return 0
        # the second of its kind breaks all, as a bad one does
        if seen & stands_once(p.data[at]) or is_broken(p.data + at, p.data[at + 1]):
            return 0
        seen |= stands_once(p.data[at])
        # a router alert of another value than 0 is none, and of several the last one counts (__ip_options_compile)
        if p.data[at] == kind and not (kind == OPTION_ROUTER_ALERT and load_be16(p.data + at + 2)):
            found = at
        at += p.data[at + 1]
    return found


cdef inline bint load_extension(const pkt_t *p, const nft_expr_t *x, uint32_t *to) noexcept nogil:
    # load_extension: a field of an IPv4 option or IPv6 extension header, or whether it is there (nft_exthdr_ipv4_eval and _ipv6_).
    cdef uint32_t at = find_extension(p, x.a) if FN_V6 else find_ip_option(p, x.a)
    cdef uint32_t i
    to[0] = at != 0
    # as of options of TCP: whether it is there can always be said, what it holds cannot
    if x.c == 0:
        return True
    if at == 0 or at + x.b + x.c > p.len:
        return False
    to[0] = 0
    for i in range(x.c):
        to[0] = to[0] << 8 | p.data[at + x.b + i]
    return True
