# The way of a packet through the hooks of the node, top to bottom.
#
# Source: ip_rcv, ip_forward, ip_local_deliver, __ip_local_out, uapi netfilter_ipv4.h priorities (Linux 6.18).
# Invariants: a packet that does not reach the confirm hook leaves no connection behind.
# Differs from the kernel: no neighbour, no queueing, no IPsec; a packet the node sends to itself is delivered
# without a second PREROUTING.
from libc.stdint cimport uint16_t, uint32_t
from .types cimport *
from .conntrack.confirm cimport confirm
from .conntrack.conntrack_in cimport conntrack_in
from .conntrack.events cimport note_changes
from .conntrack.insert cimport conn_release, record_free
from .helpers.helper cimport follow_master, helper_hook
from .ipvs cimport from_server, has_service, to_server
from .nat.hook cimport nat_hook
from .packet.checksum cimport csum_replace2, load_be16
from .route cimport destination_is_martian, is_limited_broadcast, is_local_kind, is_multicast, may_be_forwarded, route_of, source_is_martian
from .rules.match cimport rule_reason
from .rules.walk cimport walk_table
from .shortcuts.conditions cimport may_have_memo
from .shortcuts.hook_memo cimport follow, FORWARDED, memorize, remembered
from .tuples.tuple cimport tuple_dst, tuple_src


cdef inline uint32_t filter_hook(engine_t *e, uint32_t table, pkt_t *p) noexcept nogil:
    # filter_hook: a table that only lets pass, drops or marks.
    if e.hook_entry[table][p.hook] == FN_NONE:
        p.unruled |= <uint32_t>1 << (table * 5 + p.hook)
        return REASON_NONE
    return rule_reason[walk_table(e, table, p)]


cdef inline uint32_t confirm_hook(engine_t *e, pkt_t *p) noexcept nogil:
    # confirm_hook: last in POSTROUTING and INPUT; a packet that is held confirms later.
    cdef uint32_t reason
    if p.ct != FN_NONE and fn_unlikely(e.conns[p.ct].flags & CONN_HELPED) and p.data != NULL and not p.icmp_error:
        reason = helper_hook(e, p)
        if reason:
            return reason
    if p.is_new:
        return REASON_NONE if p.held else confirm(e, p)
    note_changes(e, p)
    return REASON_NONE


cdef inline uint32_t track(engine_t *e, pkt_t *p) noexcept nogil:
    # track: raw and conntrack, common to PREROUTING and OUTPUT.
    cdef uint32_t reason = filter_hook(e, TABLE_RAW, p)
    if not reason and e.tracking:
        reason = conntrack_in(e, p)
        if fn_unlikely(p.expected):
            follow_master(e, p)
    return reason


cdef inline uint32_t mangle_and_dnat(engine_t *e, pkt_t *p) noexcept nogil:
    # mangle_and_dnat: what follows conntrack in the same hook.
    cdef uint32_t reason = filter_hook(e, TABLE_MANGLE, p)
    return reason if reason else nat_hook(e, p, MANIP_DST)


cdef inline uint32_t postrouting(engine_t *e, pkt_t *p) noexcept nogil:
    # postrouting: the last hook of what leaves: mangle, nat of the source, confirm.
    cdef uint32_t reason
    p.hook = HOOK_POSTROUTING
    reason = filter_hook(e, TABLE_MANGLE, p)
    if not reason:
        reason = nat_hook(e, p, MANIP_SRC)
    if not reason:
        reason = confirm_hook(e, p)
    return reason


cdef inline uint32_t age(engine_t *e, pkt_t *p) noexcept nogil:
    # age: a packet that goes on to another machine: its size, its TTL.
    if p.data == NULL:
        return REASON_NONE
    if p.ttl <= 1:
        return REASON_TTL
    if ((p.largest if p.largest else p.len) > e.iface_flags[p.out_iface] >> 16
            and (FN_V6 or load_be16(p.data + 6) & 0x4000)):
        return REASON_TOO_BIG
    if not FN_V6:
        csum_replace2(p.data + 10, load_be16(p.data + 8), load_be16(p.data + 8) - 0x100)
    p.data[7 if FN_V6 else 8] -= 1
    p.ttl -= 1
    return REASON_NONE


cdef inline uint32_t route_to_server(engine_t *e, pkt_t *p) noexcept nogil:
    # route_to_server: the destination has just become a real server's; the connection's own route is the service's.
    cdef uint32_t route = route_of(e, p)
    if route == 0 or e.routes[route - 1].kind > ROUTE_BROADCAST:
        return REASON_NO_ROUTE
    p.route = <uint16_t>route
    p.out_iface = e.routes[route - 1].iface
    return REASON_NONE


cdef inline uint32_t send_to_server(engine_t *e, pkt_t *p) noexcept nogil:
    # send_to_server: IPVS puts the packet into OUTPUT, where conntrack knows it already (ip_vs_nat_send_or_cont).
    cdef uint32_t reason
    p.verdict = VERDICT_FORWARD
    p.hook = HOOK_OUTPUT
    reason = filter_hook(e, TABLE_RAW, p)
    if not reason:
        reason = mangle_and_dnat(e, p)
    if not reason:
        reason = filter_hook(e, TABLE_FILTER, p)
    return reason if reason else postrouting(e, p)


cdef inline uint32_t deliver_local(engine_t *e, pkt_t *p) noexcept nogil:
    # deliver_local: INPUT, for packets addressed to the node; those for a virtual service leave it again.
    cdef uint32_t reason
    p.hook = HOOK_INPUT
    p.verdict = VERDICT_LOCAL
    p.out_iface = 0
    reason = filter_hook(e, TABLE_MANGLE, p)
    if not reason:
        reason = filter_hook(e, TABLE_FILTER, p)
    if not reason and e.n_services:
        reason = from_server(e, p)
        if not reason:
            reason = to_server(e, p)
        if not reason and has_service(e, p) and p.dir == 0:
            reason = route_to_server(e, p)
            if not reason and not is_local_kind(e, p.route):
                reason = age(e, p)
                return reason if reason else send_to_server(e, p)
            p.out_iface = 0
    if not reason:
        reason = nat_hook(e, p, MANIP_SRC)
    if not reason:
        reason = confirm_hook(e, p)
    return reason


cdef inline uint32_t set_route(engine_t *e, pkt_t *p) noexcept nogil:
    # set_route: the route of the packet's destination; a connection remembers it for each direction.
    # => REASON_NONE or REASON_NO_ROUTE.
    cdef uint32_t route = 0
    cdef bint cached = p.ct != FN_NONE and not p.icmp_error and not p.is_new
    if cached:
        route = e.conns[p.ct].routes[p.dir]
    if route == 0:
        route = route_of(e, p)
        if route == 0:
            return REASON_NO_ROUTE
        if p.ct != FN_NONE and not p.icmp_error:
            e.conns[p.ct].routes[p.dir] = <uint16_t>route
    p.route = <uint16_t>route
    p.out_iface = e.routes[route - 1].iface
    if e.routes[route - 1].kind > ROUTE_BROADCAST:
        return REASON_NO_ROUTE
    return REASON_NONE


cdef inline uint32_t forward(engine_t *e, pkt_t *p) noexcept nogil:
    # forward: what goes on to another machine: TTL, FORWARD, POSTROUTING (ip_forward).
    cdef uint32_t reason
    if not e.forward:
        return REASON_NOT_FORWARDING
    if not may_be_forwarded(tuple_src(p.t), p.in_iface, p.out_iface):
        return REASON_MARTIAN
    reason = age(e, p)
    if reason:
        return reason
    p.hook = HOOK_FORWARD
    reason = filter_hook(e, TABLE_MANGLE, p)
    if not reason:
        reason = filter_hook(e, TABLE_FILTER, p)
    if not reason:
        reason = from_server(e, p)
    if not reason:
        reason = postrouting(e, p)
    return reason


cdef inline uint32_t route_received(engine_t *e, pkt_t *p) noexcept nogil:
    # route_received: from behind PREROUTING on: routing, and the hooks behind it.
    cdef addr_t dst = tuple_dst(p.t)
    cdef uint32_t reason
    if p.ct == FN_NONE or p.icmp_error or e.conns[p.ct].routes[p.dir] == 0:
        # the first packet of a direction; the others have the same addresses
        if source_is_martian(e, p):
            return REASON_MARTIAN
        if is_limited_broadcast(dst):
            return deliver_local(e, p)
        if destination_is_martian(e, dst, p.in_iface):
            return REASON_MARTIAN
    reason = set_route(e, p)
    if reason:
        return reason
    if is_local_kind(e, p.route):
        return deliver_local(e, p)
    if is_multicast(dst):
        return REASON_NO_ROUTE
    return forward(e, p)


cdef inline uint32_t receive_first(engine_t *e, pkt_t *p) noexcept nogil:
    # receive_first: a packet that has just opened a connection and that only nat rules see.
    cdef uint64_t key[3]
    cdef uint32_t reason
    cdef memo_t *memo = remembered(e, p, key)
    if memo != NULL:
        p.unruled = FORWARDED
        return follow(e, p, memo)
    reason = mangle_and_dnat(e, p)
    if not reason:
        reason = route_received(e, p)
    if not reason and p.verdict == VERDICT_FORWARD:
        memorize(e, p, key)
    return reason


cdef inline uint32_t receive(engine_t *e, pkt_t *p) noexcept nogil:
    # receive: a packet that came in on an interface.
    cdef uint32_t reason
    p.hook = HOOK_PREROUTING
    reason = track(e, p)
    if reason:
        return reason
    if may_have_memo(e, p):
        return receive_first(e, p)
    reason = mangle_and_dnat(e, p)
    return reason if reason else route_received(e, p)


cdef inline uint32_t send(engine_t *e, pkt_t *p) noexcept nogil:
    # send: a packet of the node itself.
    cdef addr_t dst = tuple_dst(p.t)
    cdef uint32_t reason = set_route(e, p)
    if reason:
        return reason
    p.hook = HOOK_OUTPUT
    reason = track(e, p)
    if not reason:
        reason = mangle_and_dnat(e, p)
    if not reason and tuple_dst(p.t) != dst:
        reason = set_route(e, p)
    if not reason:
        reason = from_server(e, p)
    if not reason:
        reason = to_server(e, p)
    if not reason and has_service(e, p) and p.dir == 0:
        reason = route_to_server(e, p)
    if not reason:
        reason = filter_hook(e, TABLE_FILTER, p)
    if not reason:
        reason = postrouting(e, p)
    if reason or not is_local_kind(e, p.route):
        return reason
    p.in_iface = p.out_iface
    return deliver_local(e, p)


cdef inline uint32_t pass_hooks(engine_t *e, pkt_t *p) noexcept nogil:
    # pass_hooks: => REASON_NONE or why the packet is dropped.
    p.verdict = VERDICT_FORWARD
    return send(e, p) if p.in_iface == 0 else receive(e, p)


cdef inline void count_policies(engine_t *e, const pkt_t *p) noexcept nogil:
    # count_policies: of the chains without rules that the packet has passed.
    cdef uint32_t left = p.unruled
    cdef hook_count_t *count
    if fn_likely(left == FORWARDED):
        e.passed.packets += 1
        e.passed.bytes += p.length
        return
    while left:
        count = &e.unruled[0][0] + fn_ctz(left)
        count.packets += 1
        count.bytes += p.length
        left &= left - 1


cdef inline void leave(engine_t *e, pkt_t *p, uint32_t reason) noexcept nogil:
    # leave: a verdict for the packet; what it did not confirm goes.
    count_policies(e, p)
    if reason:
        p.verdict = VERDICT_DROP
        p.reason = <unsigned char>reason
        p.out_iface = 0
    if p.is_new:
        conn_release(e, p.ct)
        p.ct = FN_NONE
    elif fn_unlikely(p.dying):
        record_free(e, p.ct)
    if p.untracked and p.reason == REASON_NONE:
        p.reason = REASON_UNTRACKED


cdef inline void walk(engine_t *e, pkt_t *p) noexcept nogil:
    # walk: the whole life of one packet; sets its verdict and reason.
    leave(e, p, pass_hooks(e, p))


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
