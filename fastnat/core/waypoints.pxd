# Where a packet has been, for somebody who traces it.
#
# Source: ours.
# Invariants: nothing depends on what is noted; without room for it, as in every engine that is not traced, nothing is.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t
from .types cimport engine_t, FN_NONE, fn_rarely, fn_unlikely, HOOK_INPUT, HOOK_POSTROUTING, pkt_t, REASON_NONE, WAYPOINT_ROUTE, waypoint_t


cdef inline void write_waypoint(engine_t *e, const pkt_t *p, uint32_t place, uint32_t reason) noexcept nogil:
    # write_waypoint: as far as there is room.
    cdef waypoint_t *w
    fn_rarely()
    # what goes round by lo passes the same places until its TTL is over, more than anybody has room for
    if e.n_waypoints == e.max_waypoints:
        return
    w = &e.waypoints[e.n_waypoints]
    w.t = p.t
    w.mark = p.mark
    w.out_iface = p.out_iface
    w.route = p.route
    w.place = <unsigned char>place
    w.ctinfo = p.ctinfo
    w.is_new = p.is_new
    w.reason = <unsigned char>reason
    e.n_waypoints += 1


cdef inline void note_waypoint(engine_t *e, const pkt_t *p, uint32_t place, uint32_t reason) noexcept nogil:
    # note_waypoint: reason: why the packet is dropped at this place, if it is.
    if fn_unlikely(e.max_waypoints != 0):
        write_waypoint(e, p, place, reason)


cdef inline void note_drop(engine_t *e, const pkt_t *p, uint32_t reason) noexcept nogil:
    # note_drop: a drop that no hook has noted is one of routing, or of forwarding.
    if fn_unlikely(e.max_waypoints != 0) and (e.n_waypoints == 0 or e.waypoints[e.n_waypoints - 1].reason == REASON_NONE):
        write_waypoint(e, p, WAYPOINT_ROUTE, reason)


cdef inline void note_holder(engine_t *e, const pkt_t *p, uint32_t id_) noexcept nogil:
    # note_holder: the owner, by its table id, of the first tuple that nat of the source has found taken. Where the destination
    # is looked up none may be chosen, and nothing stands in the way.
    if fn_unlikely(e.max_waypoints != 0) and e.holder == FN_NONE and (p.hook == HOOK_POSTROUTING or p.hook == HOOK_INPUT):
        e.holder = id_ >> 1
