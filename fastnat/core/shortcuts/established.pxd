# Packets of a connection whose tuples, and for TCP its state, decide everything: the short way through the hooks.
#
# Source: the steps of hooks.pxd for such a packet (what the kernel calls the flow-table fast path gives the
# same answer); nf_conntrack_in, nf_nat_packet (Linux 6.18).
# Invariants: gives exactly what `walk` would give, or declines and changes nothing: shortcuts/conditions says when. It is asked
# only where engine_t.shortly holds, and where rules of raw, mangle or filter are known to let the packet pass (pass_memo).
# Differs from the kernel: nothing.
from libc.stdint cimport int32_t, uint16_t, uint32_t
from ..types cimport *
from ..conntrack.events cimport note_event, note_step
from ..conntrack.protocols cimport ctinfo_of, refresh
from ..conntrack.tcp cimport pass_plain, plain_next
from ..conntrack.timing_wheel cimport wheel_bring_forward
from ..packet.packet cimport store_forwarded
from ..tuples.tuple cimport tuple_dport, tuple_sport
from .conditions cimport passing_route


cdef inline void note_change(engine_t *e, uint32_t ct, uint32_t what) noexcept nogil:
    # note_change: the only thing that a packet has changed, once its time is the new one.
    if fn_unlikely(e.max_events != 0):
        fn_rarely()
        note_event(e, ct, EVENT_UPDATE, what)


cdef inline void refresh_udp(engine_t *e, uint32_t ct, uint32_t now) noexcept nogil:
    # refresh_udp: udp_packet of conntrack/protocols for a confirmed connection without a fixed timeout.
    cdef conn_t *c = &e.conns[ct]
    cdef uint32_t before = c.timeout
    cdef uint32_t after = now + e.timeouts[TIMEOUT_UDP]
    cdef bint stream
    if c.status & IPS_SEEN_REPLY:
        stream = <int32_t>(now - c.stream_ts) > 0
        if stream:
            after = now + e.timeouts[TIMEOUT_UDP_STREAM]
        if (stream or e.profile == LINUX_5_4) and not c.status & IPS_ASSURED:
            c.status |= IPS_ASSURED
            # an event tells how long it has from here on
            c.timeout = after
            note_change(e, ct, EVENT_ASSURED)
    # the packets of one jiffy leave the line clean: what is not written need not go back to memory
    if after == before:
        return
    c.timeout = after
    if fn_unlikely(<int32_t>(after - before) < 0):
        wheel_bring_forward(e, ct)


cdef inline bint pass_datagram(engine_t *e, const packet_t *in_, tuple_t t, uint32_t id_, result_t *out) noexcept nogil:
    # pass_datagram: pass_established for UDP.
    cdef uint32_t dir = id_ & 1
    cdef conn_t *c = &e.conns[id_ >> 1]
    cdef uint32_t ctinfo
    cdef const route_t *route = passing_route(e, c, in_, t, dir)
    if route == NULL:
        return False
    e.passed.packets += 1
    e.passed.bytes += in_.length
    ctinfo = ctinfo_of(c, dir)
    refresh_udp(e, id_ >> 1, <uint32_t>e.now)
    if dir and not c.status & IPS_SEEN_REPLY:
        c.status |= IPS_SEEN_REPLY
        note_change(e, id_ >> 1, EVENT_REPLY)
    store_forwarded(out, &c.tuples[dir ^ 1], id_ >> 1, ctinfo, route.iface, 0)
    return True


cdef inline bint pass_segment(engine_t *e, const packet_t *in_, tuple_t t, uint32_t id_, result_t *out) noexcept nogil:
    # pass_segment: pass_established for TCP.
    cdef uint32_t dir = id_ & 1
    cdef conn_t *c = &e.conns[id_ >> 1]
    cdef uint32_t ctinfo, state, status, before
    cdef const route_t *route = passing_route(e, c, in_, t, dir)
    if route == NULL:
        return False
    state = plain_next(e, id_ >> 1, dir, in_.tcp_flags)
    if not state:
        return False
    e.passed.packets += 1
    e.passed.bytes += in_.length
    ctinfo = ctinfo_of(c, dir)
    status = c.status
    before = c.state
    pass_plain(e, id_ >> 1, dir, in_.tcp_flags, state)
    if dir:
        c.status |= IPS_SEEN_REPLY
    if fn_unlikely(e.max_events != 0):
        fn_rarely()
        note_step(e, id_ >> 1, status, before)
    store_forwarded(out, &c.tuples[dir ^ 1], id_ >> 1, ctinfo, route.iface, 0)
    return True


cdef inline bint is_echo(const conn_t *c, tuple_t t) noexcept nogil:
    # is_echo: whether a tuple is of an echo request or its answer, and its connection was opened by a request.
    cdef uint32_t type_ = tuple_dport(t) >> 8
    return (type_ == ICMP_ECHO or type_ == ICMP_ECHO_REPLY) and tuple_dport(c.tuples[0]) >> 8 == ICMP_ECHO


cdef inline bint pass_echo(engine_t *e, const packet_t *in_, tuple_t t, uint32_t id_, result_t *out) noexcept nogil:
    # pass_echo: pass_established for ICMP. Other messages are looked at by the long way: most are errors, or of the link alone.
    cdef uint32_t dir = id_ & 1
    cdef conn_t *c = &e.conns[id_ >> 1]
    cdef uint32_t ctinfo
    cdef const route_t *route = passing_route(e, c, in_, t, dir)
    if route == NULL or not is_echo(c, t):
        return False
    e.passed.packets += 1
    e.passed.bytes += in_.length
    ctinfo = ctinfo_of(c, dir)
    refresh(e, id_ >> 1, <uint32_t>e.now, e.timeouts[TIMEOUT_ICMP])
    if dir and not c.status & IPS_SEEN_REPLY:
        c.status |= IPS_SEEN_REPLY
        note_change(e, id_ >> 1, EVENT_REPLY)
    store_forwarded(out, &c.tuples[dir ^ 1], id_ >> 1, ctinfo, route.iface, 0)
    # NAT changes the id; what stands in the place of a port is the type, which is the packet's own
    out.sport = <uint16_t>tuple_sport(c.tuples[dir ^ 1])
    out.dport = in_.dport
    return True


cdef inline bint pass_established(engine_t *e, const packet_t *in_, tuple_t t, uint32_t id_, result_t *out) noexcept nogil:
    # pass_established: forward a packet whose connection knows its manips and its route. id_: a table id that may be the packet's.
    # => False: take the long way. Other protocols have trackers of their own.
    if in_.proto == PROTO_UDP:
        return pass_datagram(e, in_, t, id_, out)
    if in_.proto == PROTO_TCP:
        return pass_segment(e, in_, t, id_, out)
    return in_.proto == PROTO_ICMP and pass_echo(e, in_, t, id_, out)
