# The way of a packet through the hooks of the node, top to bottom.
#
# Source: ip_rcv, ip_forward, ip_local_deliver, __ip_local_out, uapi netfilter_ipv4.h priorities (Linux 6.18).
# Invariants: a packet that does not reach the confirm hook leaves no connection behind.
# Differs from the kernel: no neighbour, no queueing, no IPsec. Of a packet that is sent to a group or to all the engine gives one copy:
# `copied` says that the node itself received another.
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy
from .types cimport *
from .conntrack.confirm cimport confirm
from .conntrack.conntrack_in cimport conntrack_in
from .conntrack.events cimport note_changes
from .conntrack.insert cimport conn_release, record_free
from .helpers.helper cimport follow_master, helper_hook
from .ipvs.translate cimport from_server, to_server, translate_error
from .nat.hook cimport nat_hook
from .packet.frame cimport FRAME_HEADER, is_sent_to_all, leaves_in_frame
from .packet.checksum cimport csum_replace2, load_be16
from .packet.extensions cimport hops_sound, V6_HOPS
from .packet.mangle cimport class_of_tos, count_unruled
from .packet.options cimport forward_options, IP_HEADER, is_off_route, receive_options
from .fib cimport is_limited_broadcast, is_local_kind, is_multicast, leads_behind_output, leads_nowhere, route_lookup, route_of
from .route cimport keep_way, kept_route, reroute, set_route, take_route, way_of, way_t
from .rules.match cimport rule_reason
from .rules.walk cimport walk_table
from .shortcuts.conditions cimport comes_by_way_back, FORWARDED, may_follow, may_have_memo
from .shortcuts.hook_memo cimport follow, memorize, remembered
from .tuples.hash cimport tuple_hash
from .tuples.tuple cimport tuple_dst, tuple_proto, tuple_src
from .validate cimport (destination_is_martian, is_loopback, is_member, may_be_forwarded, source_fails,
                        source_is_martian)
from .waypoints cimport note_drop, note_waypoint

cdef enum:
    # bytes at the front of a datagram that rules may rewrite: headers, and raw payload of nftables
    REWRITABLE = 512


cdef inline uint32_t filter_hook(engine_t *e, uint32_t table, uint32_t hook, pkt_t *p) noexcept nogil:
    # filter_hook: a table that only lets pass, drops or marks, and the base chains of nftables around it. hook: p.hook, which the
    # compiler knows where it is said.
    if e.hook_entry[table][hook] == FN_NONE:
        p.unruled |= <uint32_t>1 << (table * 5 + hook)
        return REASON_NONE
    return rule_reason[walk_table(e, table, p)]


cdef inline uint32_t last_hook(engine_t *e, pkt_t *p) noexcept nogil:
    # last_hook: the base chains of nftables behind nat.
    if fn_likely(e.n_bases == 0):
        return REASON_NONE
    return rule_reason[walk_table(e, TABLE_LAST, p)]


cdef inline uint32_t confirm_hook(engine_t *e, pkt_t *p) noexcept nogil:
    # confirm_hook: last in POSTROUTING and INPUT; a packet that is held confirms later.
    cdef uint32_t reason
    if p.ct != FN_NONE and fn_unlikely(e.conns[p.ct].flags & CONN_HELPED) and p.data != NULL and not p.icmp_error:
        reason = helper_hook(e, p)
        if reason:
            return reason
    # helper_hook comes first: a helper may still drop the packet that would confirm
    # REPLY packets and errors never confirm; what is confirmed already only tells its changes (nf_confirm)
    if p.is_new:
        return REASON_NONE if p.held else confirm(e, p)
    note_changes(e, p)
    return REASON_NONE


cdef inline uint32_t track(engine_t *e, uint32_t hook, pkt_t *p) noexcept nogil:
    # track: raw and conntrack, common to PREROUTING and OUTPUT.
    cdef uint32_t reason = filter_hook(e, TABLE_RAW, hook, p)
    # without a rule that asks for connections the kernel registers no hook for them (nf_ct_netns_get)
    # raw stands at priority -300 and conntrack at -200: that is how NOTRACK and zones come in time
    if not reason and e.tracking:
        reason = conntrack_in(e, p)
        # before any rule of mangle or nat: they see the mark and the helper that come from the master
        if fn_unlikely(p.expected):
            follow_master(e, p)
    if e.tracking or reason:
        note_waypoint(e, p, WAYPOINT_CONNTRACK, reason)
    return reason


cdef inline uint32_t mangle_and_dnat(engine_t *e, uint32_t hook, pkt_t *p) noexcept nogil:
    # mangle_and_dnat: what follows conntrack in the same hook, up to nat.
    # -150 and -100: marks and the TOS are those in front of NAT, as are the addresses that mangle sees
    cdef uint32_t reason = filter_hook(e, TABLE_MANGLE, hook, p)
    return reason if reason else nat_hook(e, hook, p, MANIP_DST)


cdef inline uint32_t egress(engine_t *e, pkt_t *p) noexcept nogil:
    # egress: the base chains of nftables at the device by which a packet leaves (nf_hook_egress).
    cdef uint32_t reason, header
    if fn_likely(e.n_bases == 0) or e.base_count[TABLE_LAST][HOOK_FORWARD] == 0:
        return REASON_NONE
    # here a packet is as long as its frame
    header = FRAME_HEADER if leaves_in_frame(e, p) else <uint32_t>0
    p.hook = HOOK_FORWARD
    # and only for the rules: counters behind them are of the datagram
    p.length += header
    reason = rule_reason[walk_table(e, TABLE_LAST, p)]
    p.length -= header
    p.hook = HOOK_POSTROUTING
    return reason


cdef inline bint stays_here(const engine_t *e, const pkt_t *p) noexcept nogil:
    # stays_here: => Whether a packet goes to a group of the node itself, ff01::/16 or below, by a device that others hear (ip6_finish_output2).
    cdef addr_t dst = tuple_dst(p.t)
    if not FN_V6 or fn_likely(not is_multicast(dst)):
        return False
    return <uint32_t>(dst >> (FN_ADDR_BITS - 16)) & 15 <= 1 and not e.iface_flags[p.out_iface] & IFACE_LOOPBACK


cdef inline uint32_t last_hooks(engine_t *e, pkt_t *p) noexcept nogil:
    # last_hooks: the last hook of what leaves: mangle, nat of the source, confirm.
    cdef uint32_t reason
    p.hook = HOOK_POSTROUTING
    # -150, 100 for nat of the source, and confirm as the last of all: what any of these drops leaves no entry
    reason = filter_hook(e, TABLE_MANGLE, HOOK_POSTROUTING, p)
    if not reason:
        reason = nat_hook(e, HOOK_POSTROUTING, p, MANIP_SRC)
    if not reason:
        reason = last_hook(e, p)
    if not reason:
        reason = confirm_hook(e, p)
    return reason


cdef inline uint32_t postrouting(engine_t *e, pkt_t *p) noexcept nogil:
    # postrouting: what leaves, up to the device.
    cdef uint32_t reason = last_hooks(e, p)
    if not reason and stays_here(e, p):
        reason = REASON_MARTIAN
    if not reason:
        reason = egress(e, p)
    note_waypoint(e, p, HOOK_POSTROUTING, reason)
    return reason


cdef inline uint32_t age(engine_t *e, pkt_t *p) noexcept nogil:
    # age: a packet that goes on to another machine: its size, its TTL.
    if p.data == NULL:
        return REASON_NONE
    # before anything is written: the sender gets its own packet back, and FORWARD never sees it (ip_forward)
    if p.ttl <= 1:
        return REASON_TTL
    # what came in parts leaves in parts, if the largest of them fits (ip_exceeds_mtu, ip6_pkt_too_big)
    if (p.len > e.iface_flags[p.out_iface] >> 16 and (FN_V6 or load_be16(p.data + 6) & 0x4000)
            and (p.largest == 0 or p.largest > e.iface_flags[p.out_iface] >> 16)):
        return REASON_TOO_BIG
    # the TTL is the upper byte of the word that the checksum knows; IPv6 has none, and nothing to mend
    if not FN_V6:
        csum_replace2(p.data + 10, load_be16(p.data + 8), load_be16(p.data + 8) - 0x100)
    p.data[7 if FN_V6 else 8] -= 1
    p.ttl -= 1
    return REASON_NONE


cdef inline uint32_t to_client(engine_t *e, pkt_t *p) noexcept nogil:
    # to_client: what a real server answers comes from its service, and where rules ask for that is routed anew
    # (handle_response, ip_vs_route_me_harder).
    cdef uint16_t in_iface = p.in_iface
    cdef uint32_t reason = from_server(e, p)
    # without policy rules the way does not depend on the source, which alone has changed
    if reason or not p.served or e.n_fib_rules == 0 or p.hook == HOOK_INPUT or is_local_kind(e, p.route):
        return reason
    # as if the node had sent it
    p.in_iface = 0
    reason = reroute(e, p)
    p.in_iface = in_iface
    return reason


cdef inline uint32_t route_to_server(engine_t *e, pkt_t *p) noexcept nogil:
    # route_to_server: the destination has just become a real server's; the connection's own route is the service's. Policy rules
    # see nothing but that destination (do_output_route4, __ip_vs_route_output_v6).
    cdef uint32_t route = route_of(e, p) if e.n_fib_rules == 0 else route_lookup(e, tuple_dst(p.t))
    cdef bint is_own = p.in_iface == 0 or p.in_iface == e.loopback
    if leads_nowhere(e, route):
        return REASON_NO_ROUTE
    if not is_local_kind(e, route):
        # 127.0.0.1 stays on the node (crosses_local_route_boundary)
        if is_loopback(tuple_src(p.t)) and (is_own or not FN_V6):
            return REASON_MARTIAN
    elif p.hook == HOOK_FORWARD or (is_loopback(tuple_dst(p.t)) and not is_own):
        return REASON_MARTIAN
    take_route(e, p, route)
    note_waypoint(e, p, WAYPOINT_SERVER, REASON_NONE)
    return REASON_NONE


cdef inline uint32_t send_to_server(engine_t *e, pkt_t *p) noexcept nogil:
    # send_to_server: IPVS puts the packet into OUTPUT, where conntrack knows it already, and as if the node had sent it
    # (ip_vs_nat_send_or_cont).
    cdef uint16_t in_iface = p.in_iface
    cdef uint16_t out_iface = p.out_iface
    # ip_vs_nat_xmit sends by itself, without ip_forward: it has to lower the TTL on its own (decrement_ttl)
    cdef uint32_t reason = age(e, p)
    if reason:
        return reason
    p.in_iface = 0
    p.verdict = VERDICT_FORWARD
    p.hook = HOOK_OUTPUT
    reason = filter_hook(e, TABLE_RAW, HOOK_OUTPUT, p)
    if not reason:
        reason = mangle_output(e, p)
    if not reason:
        reason = nat_hook(e, HOOK_OUTPUT, p, MANIP_DST)
    if not reason:
        reason = filter_output(e, p, out_iface)
    note_waypoint(e, p, HOOK_OUTPUT, reason)
    p.in_iface = in_iface
    return reason if reason else postrouting(e, p)


cdef inline bint is_for_many(const engine_t *e, const pkt_t *p) noexcept nogil:
    # is_for_many: whether the packet goes to a group, or to all on a link.
    cdef addr_t dst = tuple_dst(p.t)
    return is_multicast(dst) or is_limited_broadcast(dst) or is_sent_to_all(e, p)


cdef inline bint meets_ipvs(const engine_t *e, const pkt_t *p) noexcept nogil:
    # meets_ipvs: whether there is IPVS, and it has not translated the packet yet.
    return fn_unlikely(e.ipvs_capacity != 0) and not p.served


cdef inline uint32_t balance(engine_t *e, pkt_t *p, bint *leaves) noexcept nogil:
    # balance: IPVS in INPUT and OUTPUT: an answer of a real server gets the address of its service, a request that of a real server.
    # => Why the packet is dropped. leaves: its real server is another machine.
    cdef uint32_t reason = to_client(e, p)
    leaves[0] = False
    # of what came, nothing that was sent to many (PACKET_HOST in ip_vs_in_hook)
    if reason or p.served or (p.hook == HOOK_INPUT and is_for_many(e, p)):
        return reason
    reason = to_server(e, p)
    if reason or not p.served:
        return reason
    reason = route_to_server(e, p)
    leaves[0] = not reason and not is_local_kind(e, p.route)
    return reason


cdef inline uint32_t deliver_local(engine_t *e, pkt_t *p) noexcept nogil:
    # deliver_local: INPUT, for packets addressed to the node; those for a virtual service leave it again.
    cdef uint32_t reason
    cdef bint leaves = False
    p.hook = HOOK_INPUT
    # before the rules: what INPUT drops was addressed to the node
    p.verdict = VERDICT_LOCAL
    p.out_iface = 0
    reason = filter_hook(e, TABLE_MANGLE, HOOK_INPUT, p)
    if not reason:
        reason = filter_hook(e, TABLE_FILTER, HOOK_INPUT, p)
    # ip_vs_out_hook at 98 and ip_vs_in_hook at 99: between filter, at 0, and nat of the source, at 100 (ip_vs_ops4)
    if not reason and meets_ipvs(e, p):
        reason = balance(e, p, &leaves)
        if leaves:
            return send_to_server(e, p)
        # balance may have set it for a server that is the node itself
        p.out_iface = 0
    if not reason:
        # SNAT of what the node receives, after filter: rules there see the true sender
        reason = nat_hook(e, HOOK_INPUT, p, MANIP_SRC)
    if not reason:
        reason = last_hook(e, p)
    if fn_unlikely(p.proxied) and p.ct != FN_NONE:
        e.conns[p.ct].flags |= CONN_PROXIED
    if not reason:
        reason = confirm_hook(e, p)
    note_waypoint(e, p, HOOK_INPUT, reason)
    return reason


cdef inline uint32_t forward_once(engine_t *e, pkt_t *p) noexcept nogil:
    # forward_once: what goes on to another machine: TTL, FORWARD, POSTROUTING (ip_forward).
    cdef uint32_t reason
    # bc_forwarding alone decides on what is sent to all of a network
    if not e.iface_flags[p.in_iface] & IFACE_FORWARD and e.routes[p.route - 1].kind != ROUTE_BROADCAST:
        return REASON_NOT_FORWARDING
    # what is of one link stays on it (ip6_forward, of IPv4 nothing)
    if not may_be_forwarded(tuple_src(p.t), p.in_iface, p.out_iface):
        return REASON_MARTIAN
    reason = age(e, p)
    if not reason and fn_unlikely(is_off_route(e, p)):
        reason = REASON_NO_ROUTE
    if reason:
        return reason
    # the TOS that it has here gives it another one than rules have; of IPv6 none does (ip_forward)
    if not FN_V6 and fn_unlikely(e.n_bases != 0):
        p.priority = class_of_tos(p)
    p.hook = HOOK_FORWARD
    reason = filter_hook(e, TABLE_MANGLE, HOOK_FORWARD, p)
    if not reason:
        reason = filter_hook(e, TABLE_FILTER, HOOK_FORWARD, p)
    # ip_vs_forward_icmp at 99, ip_vs_out_hook at 100: no request is balanced here, only errors about answers, and answers
    if not reason and meets_ipvs(e, p):
        # ip_vs_forward_icmp, of services whose address is not the node's
        if tuple_proto(p.t) == PROTO_ICMP:
            reason = translate_error(e, p, MANIP_DST)
        if p.served:
            note_waypoint(e, p, HOOK_FORWARD, reason)
            reason = route_to_server(e, p)
            return reason if reason else send_to_server(e, p)
        if not reason:
            reason = to_client(e, p)
    note_waypoint(e, p, HOOK_FORWARD, reason)
    # not before: rules of FORWARD see the options as they came (ip_forward_finish)
    if not FN_V6 and fn_unlikely(p.options_changed):
        forward_options(e, p)
    if not reason:
        reason = postrouting(e, p)
    return reason


cdef inline uint32_t enter_by_lo(engine_t *e, pkt_t *p) noexcept nogil:
    # enter_by_lo: what has left by lo comes in by it, up to the end of PREROUTING.
    cdef uint32_t reason
    # it may pass chains that it has passed before
    count_unruled(e, p)
    # loopback_xmit: it arrives by the device that it left by
    p.in_iface = p.out_iface
    if p.ct == FN_NONE and not p.untracked:
        # conntrack has refused it, and looks at it anew
        p.has_template = False
        # conntrack has hashed it in the zone that it had then
        if p.template_zone:
            p.hash = tuple_hash(e, p.t)
        p.template_zone = 0
        p.template_dir = 0
        p.template_helper = 0
    if FN_V6 and p.data != NULL and p.data[6] == V6_HOPS and not hops_sound(p.data, p.len):
        return REASON_IP_HEADER
    p.hook = HOOK_PREROUTING
    # its connection comes along: conntrack does not look at it a second time, but rules of raw do
    reason = track(e, HOOK_PREROUTING, p)
    if not reason:
        reason = mangle_and_dnat(e, HOOK_PREROUTING, p)
    if not reason:
        reason = last_hook(e, p)
    note_waypoint(e, p, HOOK_PREROUTING, reason)
    return reason


cdef inline uint32_t forward(engine_t *e, pkt_t *p) noexcept nogil:
    # forward: forward_once; what leaves by lo comes back with its route, and goes round until its TTL ends.
    cdef uint32_t reason
    while True:
        reason = forward_once(e, p)
        if fn_likely(reason or p.out_iface != e.loopback):
            return reason
        fn_rarely()
        # a header alone has no TTL
        reason = REASON_TTL if p.data == NULL else enter_by_lo(e, p)
        if reason:
            return reason


cdef inline bint options_fail(engine_t *e, pkt_t *p) noexcept nogil:
    # options_fail: => Whether the options of a routed packet, if it has any, are broken or not wanted (ip_rcv_options).
    return not FN_V6 and fn_unlikely(p.l4off > IP_HEADER) and not receive_options(e, p)


cdef inline uint32_t deliver_received(engine_t *e, pkt_t *p) noexcept nogil:
    # deliver_received: INPUT sees whole datagrams of IPv4 (ip_local_deliver).
    return REASON_FRAGMENT if not FN_V6 and fn_unlikely(p.part != PART_WHOLE) else deliver_local(e, p)


cdef inline uint32_t receive_group(engine_t *e, pkt_t *p) noexcept nogil:
    # receive_group: a packet to a group, or to all (ip_route_input_mc, brd_input of ip_route_input_slow).
    cdef addr_t dst = tuple_dst(p.t)
    # a router of groups (mrouted) is not here: what nobody asked for goes nowhere
    if is_multicast(dst) and not is_member(e, dst, p.in_iface):
        return REASON_NO_ROUTE
    # who has no address yet asks all, or the groups of its link (source_is_martian lets no other pass)
    if not FN_V6 and tuple_src(p.t) != 0 and source_fails(e, p, 0):
        return REASON_MARTIAN
    return REASON_IP_HEADER if options_fail(e, p) else deliver_received(e, p)


cdef inline bint is_checked(const engine_t *e, const pkt_t *p) noexcept nogil:
    # is_checked: of a packet with a kept route: an earlier one of this direction has passed the checks of its addresses, with
    # the answer for this one, too.
    return (not e.iface_flags[p.in_iface] & (IFACE_RP_STRICT | IFACE_RP_LOOSE)
            or comes_by_way_back(e, &e.conns[p.ct], p.in_iface, p.dir))


cdef inline bint is_delivered(const engine_t *e, const pkt_t *p) noexcept nogil:
    # is_delivered: whether the packet's route leads to the node itself; a broadcast may go on to another device.
    return is_local_kind(e, p.route) and not (e.routes[p.route - 1].kind == ROUTE_BROADCAST
                                              and e.iface_flags[p.in_iface] & IFACE_BC_FORWARD)


cdef inline uint32_t route_one(engine_t *e, pkt_t *p, bint *local) noexcept nogil:
    # route_one: the route of a received packet for one destination, and the way back to its sender.
    # => Why it is dropped; local: it is delivered.
    cdef uint32_t reason = set_route(e, p)
    if reason:
        return reason
    local[0] = is_delivered(e, p)
    return REASON_MARTIAN if not FN_V6 and source_fails(e, p, 0 if local[0] else p.out_iface) else REASON_NONE


cdef inline uint32_t refuse_proxied(engine_t *e, pkt_t *p) noexcept nogil:
    # refuse_proxied: what a proxy has goes on to no other machine (ip_forward, ip6_forward).
    # => Why it is dropped.
    if options_fail(e, p):
        return REASON_IP_HEADER
    return REASON_PROXIED if e.iface_flags[p.in_iface] & IFACE_FORWARD else REASON_NOT_FORWARDING


cdef inline uint32_t route_received(engine_t *e, pkt_t *p) noexcept nogil:
    # route_received: from behind PREROUTING on: routing, and the hooks behind it (ip_rcv_finish, ip_route_input_slow).
    cdef addr_t dst = tuple_dst(p.t)
    cdef uint32_t route = kept_route(e, p)
    cdef bint local = False
    cdef uint32_t reason
    if route and is_checked(e, p):
        take_route(e, p, route)
        local = is_delivered(e, p)
    else:
        # a kept route has been through this: martians leave no connection to keep one
        if source_is_martian(e, p) or destination_is_martian(e, p):
            return REASON_MARTIAN
        # before any route: no table decides on these (of IPv4 ip_route_input_rcu, ip_route_input_slow)
        if is_multicast(dst) or is_limited_broadcast(dst) or (not FN_V6 and dst == 0):
            return receive_group(e, p)
        reason = route_one(e, p, &local)
        if reason:
            return reason
        # they have to be routed to the node, by a policy rule on their mark
        if fn_unlikely(p.proxied) and not local:
            return refuse_proxied(e, p)
    note_waypoint(e, p, WAYPOINT_ROUTE, REASON_NONE)
    # behind routing: options are read only of what is going somewhere (ip_rcv_finish_core, ip_rcv_options)
    if options_fail(e, p):
        return REASON_IP_HEADER
    return deliver_received(e, p) if local and not p.srr_hop_at else forward(e, p)


cdef inline uint32_t receive_first(engine_t *e, pkt_t *p) noexcept nogil:
    # receive_first: a packet that has just opened a connection and whose way may be remembered.
    cdef uint64_t key[3]
    cdef uint32_t reason
    cdef memo_t *memo = remembered(e, p, key)
    # chains with rules are in the memo; the policies of the empty ones count at the end
    if memo != NULL and may_follow(e, p, memo):
        p.unruled = FORWARDED & ~e.ruled
        return follow(e, p, memo)
    reason = mangle_and_dnat(e, HOOK_PREROUTING, p)
    if not reason:
        reason = route_received(e, p)
    if not reason and p.verdict == VERDICT_FORWARD and memo == NULL:
        memorize(e, p, key)
    return reason


cdef inline uint32_t receive(engine_t *e, pkt_t *p) noexcept nogil:
    # receive: a packet that came in on an interface.
    cdef uint32_t reason
    p.hook = HOOK_PREROUTING
    reason = track(e, HOOK_PREROUTING, p)
    if reason:
        return reason
    if may_have_memo(e, p):
        return receive_first(e, p)
    reason = mangle_and_dnat(e, HOOK_PREROUTING, p)
    if not reason:
        reason = last_hook(e, p)
    note_waypoint(e, p, HOOK_PREROUTING, reason)
    return reason if reason else route_received(e, p)


cdef inline uint32_t receive_own(engine_t *e, pkt_t *p) noexcept nogil:
    # receive_own: what the node has sent comes back in by the device that it left by; it has its route.
    cdef addr_t dst = tuple_dst(p.t)
    cdef uint32_t reason = enter_by_lo(e, p)
    if not reason and tuple_dst(p.t) != dst and not p.copied:
        # translated only here: it needs another route
        return route_received(e, p)
    # by lo, too, the route that it has leads to the node only where that listens (__mkroute_output, ip6_mc_input)
    if not reason and is_multicast(dst) and not is_member(e, dst, p.in_iface):
        return REASON_NO_ROUTE
    return reason if reason else deliver_local(e, p)


cdef struct twin_t:
    # one of two packets of which both have one connection: itself and its first bytes
    pkt_t p
    uint32_t size
    uint8_t data[REWRITABLE]


cdef inline void keep(twin_t *twin, const pkt_t *p) noexcept nogil:
    # keep: a packet as it is, while its twin passes hooks in the same record.
    twin.p = p[0]
    twin.size = p.len if p.len < REWRITABLE else REWRITABLE
    if p.data != NULL:
        memcpy(twin.data, p.data, twin.size)


cdef inline void bring_back(pkt_t *p, const twin_t *twin) noexcept nogil:
    # bring_back: a packet that was kept; what its twin has done to their connection stays (skb_clone).
    cdef pkt_t other = p[0]
    p[0] = twin.p
    p.ct = other.ct
    p.is_new = other.is_new
    p.dying = other.dying
    p.evicted = other.evicted
    p.pause = other.pause
    p.probes = other.probes
    # what the twin has passed was counted when it passed
    p.unruled = other.unruled
    if p.data != NULL:
        memcpy(p.data, twin.data, twin.size)


cdef inline uint32_t send_to_group(engine_t *e, pkt_t *p) noexcept nogil:
    # send_to_group: a packet to a group or to all leaves, and a copy comes back where the node listens (ip_mc_output).
    cdef bint copied = not is_multicast(tuple_dst(p.t)) or is_member(e, tuple_dst(p.t), p.out_iface)
    cdef uint32_t reason
    cdef twin_t original, copy
    p.twin = TWIN_SENT
    if copied:
        keep(&original, p)
        p.twin = TWIN_COPY
        # ip_mc_output clones first: the copy meets POSTROUTING before the original does, and no device (ip_mc_finish_output)
        reason = last_hooks(e, p)
        note_waypoint(e, p, HOOK_POSTROUTING, reason)
        copied = reason == REASON_NONE
        count_unruled(e, p)
        keep(&copy, p)
        bring_back(p, &original)
    # whatever became of the copy: it is another packet from here on
    reason = postrouting(e, p)
    if not copied:
        return reason
    keep(&original, p)
    bring_back(p, &copy)
    # so that matches know the copy
    p.copied = True
    copied = receive_own(e, p) == REASON_NONE
    bring_back(p, &original)
    p.copied = copied
    return reason


cdef inline uint32_t mangle_output(engine_t *e, pkt_t *p) noexcept nogil:
    # mangle_output: rules of mangle may send a packet another way; beside nftables base_says looks for that.
    cdef way_t before = way_of(p)
    cdef uint32_t reason = filter_hook(e, TABLE_MANGLE, HOOK_OUTPUT, p)
    return keep_way(e, p, &before) if e.n_bases == 0 and not reason else reason


cdef inline uint32_t filter_output(engine_t *e, pkt_t *p, uint16_t out_iface) noexcept nogil:
    # filter_output: rules of filter see the device to which the packet was routed first.
    cdef uint16_t leaves_by = p.out_iface
    cdef uint32_t reason
    p.out_iface = out_iface
    p.rerouted = False
    reason = filter_hook(e, TABLE_FILTER, HOOK_OUTPUT, p)
    if fn_likely(not p.rerouted):
        p.out_iface = leaves_by
    return reason


cdef inline uint32_t send(engine_t *e, pkt_t *p) noexcept nogil:
    # send: a packet of the node itself.
    cdef addr_t dst = tuple_dst(p.t)
    cdef uint32_t reason = set_route(e, p)
    cdef uint16_t out_iface = p.out_iface
    cdef bint leaves = False
    note_waypoint(e, p, WAYPOINT_ROUTE, reason)
    if reason:
        return reason
    # routed before any hook: rules of OUTPUT see a device, and mangle may change what it was chosen by
    p.hook = HOOK_OUTPUT
    reason = track(e, HOOK_OUTPUT, p)
    if not reason:
        reason = mangle_output(e, p)
    if not reason:
        reason = nat_hook(e, HOOK_OUTPUT, p, MANIP_DST)
    # nat asks for the destination alone
    if not reason and tuple_dst(p.t) != dst:
        reason = reroute(e, p)
    # in OUTPUT at -99 and -98: behind nat, in front of filter, which sees the real server here and the service in INPUT
    if not reason and meets_ipvs(e, p):
        reason = balance(e, p, &leaves)
        if leaves:
            note_waypoint(e, p, HOOK_OUTPUT, reason)
            return send_to_server(e, p)
    if not reason:
        reason = filter_output(e, p, out_iface)
    note_waypoint(e, p, HOOK_OUTPUT, reason)
    if reason:
        return reason
    # no rule has sent it elsewhere
    if leads_behind_output(e, p.route):
        return REASON_NO_ROUTE
    # by lo one packet both leaves and comes back, and needs no copy
    if p.out_iface != e.loopback and is_for_many(e, p):
        return send_to_group(e, p)
    reason = postrouting(e, p)
    return receive_own(e, p) if not reason and p.out_iface == e.loopback else reason


cdef inline uint32_t pass_hooks(engine_t *e, pkt_t *p) noexcept nogil:
    # pass_hooks: => REASON_NONE or why the packet is dropped.
    p.verdict = VERDICT_FORWARD
    return send(e, p) if p.in_iface == 0 else receive(e, p)


cdef inline void count_policies(engine_t *e, pkt_t *p) noexcept nogil:
    # count_policies: of the chains without rules that the packet has passed.
    if fn_likely(p.unruled == FORWARDED & ~e.ruled):
        e.passed.packets += 1
        e.passed.bytes += p.length
        return
    count_unruled(e, p)


cdef inline void leave(engine_t *e, pkt_t *p, uint32_t reason) noexcept nogil:
    # leave: a verdict for the packet; what it did not confirm goes.
    count_policies(e, p)
    if reason:
        note_drop(e, p, reason)
        p.verdict = VERDICT_DROP
        p.reason = <unsigned char>reason
        p.out_iface = 0
    if p.is_new:
        conn_release(e, p.ct)
        p.ct = FN_NONE
    elif fn_unlikely(p.dying):
        # only now: rules behind the tracker may still have asked for it
        record_free(e, p.ct)
    if p.untracked and p.reason == REASON_NONE:
        p.reason = REASON_UNTRACKED


cdef inline void walk(engine_t *e, pkt_t *p) noexcept nogil:
    # walk: the whole life of one packet; sets its verdict and reason.
    leave(e, p, pass_hooks(e, p))


cdef inline void deliver(engine_t *e, pkt_t *p) noexcept nogil:
    # deliver: the rest of the life of a packet whose fragments were put together behind PREROUTING.
    cdef uint32_t reason = REASON_NONE
    if not is_multicast(tuple_dst(p.t)) and not is_limited_broadcast(tuple_dst(p.t)):
        # its hooks up to here were those of its fragments; only the route to INPUT is still to be found
        reason = set_route(e, p)
    leave(e, p, reason if reason else deliver_local(e, p))


cdef inline uint32_t set_up(engine_t *e, pkt_t *p) noexcept nogil:
    # set_up: the life of a packet up to confirm, where it waits while other CPUs work.
    # => What `let_go` is told afterwards.
    p.held = True
    return pass_hooks(e, p)


cdef inline void let_go(engine_t *e, pkt_t *p, uint32_t reason) noexcept nogil:
    # let_go: what set_up has held back: confirm, and the verdict.
    if not reason and p.is_new:
        reason = confirm(e, p)
    leave(e, p, reason)
