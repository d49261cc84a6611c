# Events: what became of connections, for those who asked for it.
#
# Source: nf_conntrack_ecache.c, ctnetlink_conntrack_event (nf_conntrack_netlink.c), Linux 6.18.
# Invariants: without room for events nothing is compared or written; what does not fit is counted, never overwritten.
# Differs from the kernel: changes made by a packet that is dropped before the confirm hook are not reported later.
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset
from ..types cimport *
from ..tuples.tuple cimport tuple_proto
from .lookup cimport is_live


cdef inline uint32_t conn_mark(const engine_t *e, uint32_t ct) noexcept nogil:
    # conn_mark: => The mark of a connection; only a marked one has it in memory that is true.
    return e.tcp[ct].mark if e.conns[ct].flags & CONN_MARKED else 0


cdef inline void note_event(engine_t *e, uint32_t ct, uint32_t kind, uint32_t what) noexcept nogil:
    # note_event: the connection as it is now; it is confirmed.
    cdef conn_t *c = &e.conns[ct]
    cdef event_t *event
    # the loser of a race that listings hide, too: its packets are those of the winner
    if c.status & IPS_NAT_CLASH:
        return
    if e.n_events == e.max_events:
        e.lost_events += 1
        return
    event = &e.events[e.n_events]
    e.n_events += 1
    event.tuples[0] = c.tuples[0]
    event.tuples[1] = c.tuples[1]
    event.tick = e.now
    # what is left, as CTA_TIMEOUT says it: a reader has no clock of the engine to compare with
    event.timeout = c.timeout - <uint32_t>e.now
    event.mark = conn_mark(e, ct)
    event.conn = ct
    event.zone = c.zone
    event.status = c.status
    event.kind = <uint8_t>kind
    event.what = <uint8_t>what
    event.state = c.state
    # counters are told at the end alone: ctnetlink_conntrack_event leaves them out of NEW and UPDATE
    event.counted = kind == EVENT_DESTROY and c.flags & CONN_COUNTED != 0
    event.pad = 0
    if event.counted:
        event.acct = e.acct[ct]
    else:
        memset(&event.acct, 0, sizeof(acct_t))


cdef inline void watch(const engine_t *e, pkt_t *p) noexcept nogil:
    # watch: how the connection was before the packet.
    if e.max_events:
        p.status_before = e.conns[p.ct].status
        p.state_before = e.conns[p.ct].state
        p.mark_before = conn_mark(e, p.ct)


cdef inline uint32_t changes_of(const conn_t *c, uint32_t status, uint32_t state) noexcept nogil:
    # changes_of: => EVENT_* of how a connection has changed since it had this status and state, its mark left out.
    cdef uint32_t what = EVENT_REPLY if (c.status ^ status) & IPS_SEEN_REPLY else 0
    if (c.status ^ status) & IPS_ASSURED:
        what |= EVENT_ASSURED
    # a state of UDP is the engine's own: the kernel has none to report
    if c.state != state and tuple_proto(c.tuples[0]) != PROTO_UDP:
        what |= EVENT_PROTOINFO
    return what


cdef inline void note_step(engine_t *e, uint32_t ct, uint32_t status, uint32_t state) noexcept nogil:
    # note_step: note_changes for a packet that a short cut has passed, which marks no connection. status, state: as before it.
    cdef uint32_t what = changes_of(&e.conns[ct], status, state)
    if what:
        note_event(e, ct, EVENT_UPDATE, what)


cdef inline void note_changes(engine_t *e, const pkt_t *p) noexcept nogil:
    # note_changes: one UPDATE for all that the packet changed (nf_ct_deliver_cached_events).
    cdef const conn_t *c
    cdef uint32_t what
    if e.max_events == 0 or p.ct == FN_NONE or p.icmp_error:
        return
    c = &e.conns[p.ct]
    if not c.status & IPS_CONFIRMED or not is_live(c):
        return
    what = changes_of(c, p.status_before, p.state_before)
    if conn_mark(e, p.ct) != p.mark_before:
        what |= EVENT_MARK
    if what:
        note_event(e, p.ct, EVENT_UPDATE, what)
