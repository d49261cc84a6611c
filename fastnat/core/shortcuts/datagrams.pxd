# Datagrams of UDP and TCP, with all their bytes, of which a connection or a memo decides everything: the short way through the hooks.
#
# Source: as shortcuts/established, shortcuts/pass_memo and shortcuts/opening; what bytes have beside a header: age and translate of
# hooks and nat/hook, udp_error, tcp_error, tcp_in_window.
# Invariants: gives exactly what `walk` would give, or declines and changes nothing of engine and bytes: bytes are written once the
# connection has decided. What stages and memos know is of a header that says the same as the bytes.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t
from ..types cimport *
from ..conntrack.conntrack_in cimport attach
from ..conntrack.events cimport note_changes
from ..conntrack.tcp cimport learn_opener, pass_within
from ..hooks cimport age
from ..nat.hook cimport translate
from ..packet.packet cimport store_forwarded
from ..packet.parse cimport l4_sound
from ..tuples.tuple cimport tuple_proto
from .conditions cimport is_bare, passing_route
from .established cimport pass_datagram
from .opening cimport open_shortly
from .pass_memo cimport count_pass, known_pass


cdef inline bint fits_device(const engine_t *e, const pkt_t *p, uint32_t route) noexcept nogil:
    # fits_device: whether the datagram is no longer than the device of a route takes; longer ones may be sent in parts, or not.
    # route: its index + 1, 0: nobody knows.
    return route != 0 and p.len <= e.iface_flags[e.routes[route - 1].iface] >> 16


cdef inline bint may_go_on(const engine_t *e, pkt_t *p) noexcept nogil:
    # may_go_on: what stands in the datagram's bytes alone: that it is sound, and nothing beside its ports is read or written.
    cdef uint32_t proto = tuple_proto(p.t)
    if (proto != PROTO_UDP and proto != PROTO_TCP) or not is_bare(p) or p.ttl <= 1:
        return False
    p.hook = HOOK_PREROUTING
    return l4_sound(e, p)


cdef inline void rewrite(engine_t *e, pkt_t *p, uint32_t ct, uint32_t dir, const result_t *out) noexcept nogil:
    # rewrite: what the hooks write into a datagram that its connection lets pass. out: what becomes of its header.
    cdef const conn_t *c = &e.conns[ct]
    p.dir = <unsigned char>dir
    p.out_iface = out.out_iface
    # none of them fails: the headers are whole, and what age asks has been asked
    translate(p, c, MANIP_DST)
    age(e, p)
    translate(p, c, MANIP_SRC)
    p.verdict = VERDICT_FORWARD


cdef inline bint pass_bytes_of_tcp(engine_t *e, const packet_t *in_, pkt_t *p, uint32_t id_, result_t *out) noexcept nogil:
    # pass_bytes_of_tcp: pass_segment of shortcuts/established for a segment with sequence numbers.
    cdef const conn_t *c = &e.conns[id_ >> 1]
    cdef const route_t *route = passing_route(e, c, in_, p.t, id_ & 1)
    if route == NULL:
        return False
    attach(e, p, id_)
    if not pass_within(e, p):
        # the long way looks for its connection anew
        p.ct = FN_NONE
        p.dir = 0
        p.ctinfo = IP_CT_INVALID
        return False
    e.passed.packets += 1
    e.passed.bytes += in_.length
    if p.dir:
        e.conns[p.ct].status |= IPS_SEEN_REPLY
    note_changes(e, p)
    store_forwarded(out, &c.tuples[p.dir ^ 1], p.ct, p.ctinfo, route.iface, 0)
    return True


cdef inline bint pass_bytes(engine_t *e, const packet_t *in_, pkt_t *p, uint32_t id_, result_t *out) noexcept nogil:
    # pass_bytes: forward a parsed datagram of a known connection, and rewrite it. in_: its header; id_: a table id that may be its.
    # => False: take the long way.
    cdef const conn_t *c = &e.conns[id_ >> 1]
    cdef pass_memo_t *memo = NULL
    if fn_unlikely(e.ruled != 0):
        memo = known_pass(e, in_, id_)
        if memo == NULL:
            return False
    # a helper reads what is said
    if c.flags & CONN_HELPED or not fits_device(e, p, c.routes[id_ & 1]) or not may_go_on(e, p):
        return False
    if not (pass_datagram(e, in_, p.t, id_, out) if in_.proto == PROTO_UDP else pass_bytes_of_tcp(e, in_, p, id_, out)):
        return False
    if fn_unlikely(memo != NULL):
        count_pass(e, in_, memo)
    rewrite(e, p, id_ >> 1, id_ & 1, out)
    return True


cdef inline bint open_bytes(engine_t *e, const packet_t *in_, pkt_t *p, ahead_t *ahead, result_t *out) noexcept nogil:
    # open_bytes: open the connection of a parsed datagram by what was found ahead for its header, in_, and rewrite it.
    # => False: take the long way.
    cdef const memo_t *memo = ahead.memo
    if memo == NULL or not fits_device(e, p, memo.route) or not may_go_on(e, p):
        return False
    # a SYN with numbers may last no longer than what has announced no window
    if in_.proto == PROTO_TCP and e.timeouts[TIMEOUT_TCP + TCP_SYN_SENT] > e.timeouts[TIMEOUT_TCP_MAX_RETRANS]:
        return False
    if not open_shortly(e, in_, False, p.t, p.hash, ahead, out):
        return False
    if in_.proto == PROTO_TCP:
        learn_opener(e, p, out.conn)
    rewrite(e, p, out.conn, 0, out)
    return True
