# The packets of virtual services: to the real server, and back to the client.
#
# Source: ip_vs_in_hook, ip_vs_out_hook, ip_vs_schedule, ip_vs_sched_persist, ip_vs_in_icmp, ip_vs_out_icmp, ip_vs_nat_icmp
# (ip_vs_core.c), ip_vs_nat_xmit (ip_vs_xmit.c), ip_vs_update_conntrack (ip_vs_nfct.c), Linux 6.18; linux-5.4 differences in the code.
# Invariants: what `served` says passes here no more; an entry of conntrack is told of a real server before confirm, and never later,
# so DST_NAT is never set for it.
# Differs from the kernel: no FTP, no synchronisation, no thresholds of servers (ipvsadm -x, -y), no schedule_icmp.
from libc.stdint cimport uint8_t, uint32_t
from ..types cimport *
from ..conntrack.icmp_error cimport quoted_for_ipvs, translate_for_ipvs
from ..helpers.expect cimport reassign_helper
from ..packet.rewrite cimport manip_pkt
from ..tuples.tuple cimport (conn_tuple, invert_tuple, tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src,
                             tuple_with_dst, tuple_with_src)
from .connection cimport (bind_server, count_active, end_now, find_reply, find_request, find_template, FIRST, ipvs_new, link_conn, restart,
                          set_expiry)
from .schedule cimport find_service, note_service, PORT_FTP, port_of_service, schedule
from .states cimport assures, DIR_INPUT, DIR_OUTPUT, first_chunk, is_active, is_opening, is_over, may_open, next_state

cdef enum:
    # the client's port of active FTP: such connections are a server's own
    PORT_FTP_DATA = 20


cdef inline bint is_balanced(uint32_t proto) noexcept nogil:
    # is_balanced: the protocols that services can have.
    return proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_SCTP


cdef inline bint is_available(const engine_t *e, const ipvs_conn_t *template) noexcept nogil:
    # is_available: whether a client may keep its server (ip_vs_check_template).
    return template.dest != FN_NONE and (e.servers[template.dest].weight != 0 or not e.expire_quiescent_template)


cdef inline void write_conn(engine_t *e, uint32_t at, uint32_t server, uint32_t timeout) noexcept nogil:
    # write_conn: what a new record and a template have in common; its keys are written already.
    cdef ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    c.timeout = timeout
    c.expires = <uint32_t>e.now + timeout
    c.server = e.servers[server].addr
    bind_server(e, c, server)
    link_conn(e, at)


cdef inline uint32_t new_template(engine_t *e, service_t *s, const pkt_t *p, uint32_t port, uint32_t *server) noexcept nogil:
    # new_template: ask the scheduler for a server that the client keeps. => Place + 1, 0: none. server: FN_NONE, if there is none.
    cdef uint32_t at
    cdef ipvs_conn_t *c
    server[0] = schedule(e, s, p)
    if server[0] == FN_NONE:
        return 0
    at = ipvs_new(e)
    if at == 0:
        return 0
    c = &e.ipvs_conns[at - 1]
    c.client = tuple_src(p.t) & s.client_mask
    # clients of a mark keep their server for whatever address, port and protocol has the mark
    c.service = <addr_t>s.fwmark if s.fwmark else tuple_dst(p.t)
    c.service_port = <uint16_t>port
    c.server_port = e.servers[server[0]].port
    c.proto = <uint8_t>(0 if s.fwmark else tuple_proto(p.t))
    c.mark = s.fwmark
    c.flags = IPVS_TEMPLATE
    if not s.fwmark:
        note_service(c, s.port)
    write_conn(e, at, server[0], s.persist)
    return at


cdef inline uint32_t template_of(engine_t *e, service_t *s, const pkt_t *p, uint32_t *server) noexcept nogil:
    # template_of: the template of the packet's client, a new one if need be (ip_vs_sched_persist).
    # => Place + 1; 0: no server, which `server` says, or no memory.
    cdef uint32_t port = tuple_dport(p.t) if not s.fwmark and tuple_dport(p.t) == s.port and s.port != PORT_FTP else 0
    # port 0: all of the client's connections keep one server. Of FTP they have to, as data goes through other ports
    cdef uint32_t at = find_template(e, tuple_src(p.t) & s.client_mask, <addr_t>s.fwmark if s.fwmark else tuple_dst(p.t), port,
                                     0 if s.fwmark else tuple_proto(p.t))
    if at and is_available(e, &e.ipvs_conns[at - 1]):
        server[0] = e.ipvs_conns[at - 1].dest
        return at
    if at:
        e.ipvs_conns[at - 1].flags |= IPVS_FORGOTTEN
    return new_template(e, s, p, port, server)


cdef inline uint32_t server_port(const engine_t *e, const service_t *s, const pkt_t *p, uint32_t server) noexcept nogil:
    # server_port: the port at the real server; a persistent service of all ports, or of a mark, leaves it.
    cdef uint32_t port = e.servers[server].port
    if port == 0 or (s.persist and tuple_dport(p.t) != s.port):
        return tuple_dport(p.t)
    return port


cdef inline uint32_t open_conn(engine_t *e, service_t *s, const pkt_t *p, uint32_t *at) noexcept nogil:
    # open_conn: a connection to the server that a scheduler or a template says (ip_vs_schedule).
    # => Why the packet is dropped. at: place + 1.
    cdef uint32_t server = FN_NONE
    cdef uint32_t template = 0
    cdef ipvs_conn_t *c
    if s.persist:
        template = template_of(e, s, p, &server)
        if template == 0:
            return REASON_NO_SERVER if server == FN_NONE else REASON_NO_ROOM
    else:
        server = schedule(e, s, p)
        if server == FN_NONE:
            return REASON_NO_SERVER
    at[0] = ipvs_new(e)
    if at[0] == 0:
        return REASON_NO_ROOM
    c = &e.ipvs_conns[at[0] - 1]
    c.client = tuple_src(p.t)
    c.service = tuple_dst(p.t)
    c.client_port = <uint16_t>tuple_sport(p.t)
    c.service_port = <uint16_t>tuple_dport(p.t)
    c.server_port = <uint16_t>server_port(e, s, p, server)
    c.proto = <uint8_t>tuple_proto(p.t)
    c.mark = s.fwmark
    # of one packet: its entry in conntrack goes on, and is the packet's that is just passing
    c.flags = IPVS_ONE_PACKET if s.flags & SERVICE_ONE_PACKET and c.proto == PROTO_UDP else IPVS_NFCT
    if not s.fwmark:
        # the template may be another service's: FTP and the service of all ports have the same keys
        note_service(c, port_of_service(&e.ipvs_conns[template - 1]) if template else s.port)
    write_conn(e, at[0], server, FIRST * FN_HZ)
    # the template's time begins anew with each connection that it opens, not with their packets (ip_vs_control_add, ip_vs_conn_put)
    if template:
        c.control = template
        e.ipvs_conns[template - 1].n_control += 1
        restart(e, template)
    return REASON_NONE


cdef inline uint32_t try_to_schedule(engine_t *e, pkt_t *p, uint32_t *at) noexcept nogil:
    # try_to_schedule: open a connection, if the packet may and is for a service (ip_vs_try_to_schedule).
    # => Why the packet is dropped. at: 0: it is not for IPVS.
    cdef service_t *s
    if tuple_proto(p.t) == PROTO_SCTP and first_chunk(p) < 0:
        return REASON_TRUNCATED
    if not may_open(e, p):
        return REASON_NONE
    s = find_service(e, p)
    # a data connection of FTP comes from the server's side: nobody schedules it
    if s == NULL or tuple_sport(p.t) == PORT_FTP_DATA:
        return REASON_NONE
    # what a server on the node answers
    if (p.in_iface == 0 or p.in_iface == e.loopback) and find_request(e, invert_tuple(p.t)):
        return REASON_NONE
    return open_conn(e, s, p, at)


cdef inline void expire_now(engine_t *e, uint32_t at, bint keeps_entry) noexcept nogil:
    # expire_now: it ends with the next jiffy, as the kernel's timers run behind the packet. keeps_entry: what conntrack has is
    # another connection's by now.
    if keeps_entry:
        e.ipvs_conns[at - 1].flags &= ~IPVS_NFCT & 0xffff
    set_expiry(e, at, 0)


cdef inline uint32_t reuse(engine_t *e, const pkt_t *p, uint32_t *at) noexcept nogil:
    # reuse: the client opens with a port whose connection IPVS still has. Where that is over it is to end, and the packet to be
    # scheduled; but a packet that conntrack takes for the old one's is dropped: the next one will be new. linux-5.4 drops each
    # (ip_vs_conn_uses_conntrack; since 5.9 ip_vs_conn_uses_old_conntrack).
    # => Why the packet is dropped. at: 0: to be scheduled.
    cdef const ipvs_conn_t *c = &e.ipvs_conns[at[0] - 1]
    cdef bint old = p.ct != FN_NONE and (c.flags & IPVS_NFCT != 0 if e.profile == LINUX_5_4 else not p.is_new)
    cdef bint idle = e.expire_nodest_conn and c.dest != FN_NONE and e.servers[c.dest].weight == 0
    if not is_opening(p) or (e.profile == LINUX_5_4 and not e.conn_reuse_mode):
        return REASON_NONE
    # one of a persistent client goes on
    if not idle and (not e.conn_reuse_mode or c.control or not is_over(c)):
        return REASON_NONE
    expire_now(e, at[0], e.profile != LINUX_5_4 and not old)
    at[0] = 0
    return REASON_SERVICE_REUSED if old else REASON_NONE


cdef inline uint32_t without_server(engine_t *e, const pkt_t *p, uint32_t *at) noexcept nogil:
    # without_server: the service has the connection's server no longer.
    # => Why the packet is dropped. at: 0: to be scheduled.
    cdef bint old = e.profile == LINUX_5_4 or (p.ct != FN_NONE and not p.is_new)
    # the server may come back: its clients wait, and their packets are lost meanwhile
    if not e.expire_nodest_conn:
        return REASON_NO_SERVER
    expire_now(e, at[0], not old)
    at[0] = 0
    return REASON_NO_SERVER if old else REASON_NONE


cdef inline void tell_conntrack(engine_t *e, const pkt_t *p, tuple_t reply) noexcept nogil:
    # tell_conntrack: the reply tuple of an entry that begins; of others it stays (ip_vs_update_conntrack).
    # a confirmed tuple never changes: the table would not find it any more
    if p.ct == FN_NONE or not p.is_new or p.dir != 0:
        return
    e.conns[p.ct].tuples[1] = reply
    if fn_unlikely(e.auto_helpers != 0):
        reassign_helper(e, p.ct)


cdef inline void saw_packet(engine_t *e, uint32_t at, const pkt_t *p, uint32_t dir) noexcept nogil:
    # saw_packet: state, time and the server's counts after a packet; a template learns that its client means it.
    cdef ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    cdef uint32_t before = c.state
    next_state(e, c, p, dir)
    if c.control and assures(c, before, dir):
        e.ipvs_conns[c.control - 1].state = IPVS_TEMPLATE_ASSURED
    count_active(e, c, is_active(c))
    set_expiry(e, at, c.timeout)


cdef inline uint32_t request_conn(engine_t *e, pkt_t *p, uint32_t *at) noexcept nogil:
    # request_conn: the connection of a packet to a service, a new one if need be.
    # => Why the packet is dropped. at: place + 1, 0: it is not for IPVS.
    cdef uint32_t reason = REASON_NONE
    at[0] = find_request(e, p.t)
    if at[0]:
        reason = reuse(e, p, at)
    # linux-5.4 asks behind the scheduler, which chooses none that is gone
    if not reason and at[0] and e.ipvs_conns[at[0] - 1].dest == FN_NONE:
        reason = without_server(e, p, at)
    if not reason and at[0] == 0:
        reason = try_to_schedule(e, p, at)
    return reason


cdef inline uint32_t translate_error(engine_t *e, pkt_t *p, uint32_t manip) noexcept nogil:
    # translate_error: MANIP_DST: an ICMP error about an answer of a service goes on to the real server that gave it (ip_vs_in_icmp).
    # MANIP_SRC: one about a packet to a real server comes from the service then, whoever sent it (ip_vs_out_icmp).
    # => Why it is dropped; p.served: it was one.
    cdef tuple_t quoted
    cdef uint32_t at
    cdef const ipvs_conn_t *c
    cdef bint done
    # what is too short to be told is none of a service's, and goes on
    if not quoted_for_ipvs(p, &quoted) or not is_balanced(tuple_proto(quoted)):
        return REASON_NONE
    # what is quoted went the other way: inverted it is a request of the client, or an answer of the server, as the table knows them
    quoted = invert_tuple(quoted)
    at = find_request(e, quoted) if manip == MANIP_DST else find_reply(e, quoted)
    if at == 0:
        return REASON_NONE
    c = &e.ipvs_conns[at - 1]
    if manip == MANIP_DST:
        done = translate_for_ipvs(p, MANIP_DST, c.server, c.server_port)
    else:
        done = translate_for_ipvs(p, MANIP_SRC, c.service, c.service_port)
    p.served = done
    return REASON_NONE if done else REASON_ICMP_TRANSLATION


cdef inline uint32_t to_server(engine_t *e, pkt_t *p) noexcept nogil:
    # to_server: give a packet to a service the address of its real server (ip_vs_in_hook).
    # => Why it is dropped, REASON_NONE also for a packet that is for no service; p.served says which.
    cdef uint32_t at = 0
    cdef uint32_t reason, port
    cdef addr_t server
    cdef tuple_t reply
    if tuple_proto(p.t) == PROTO_ICMP:
        return translate_error(e, p, MANIP_DST)
    if not is_balanced(tuple_proto(p.t)):
        return REASON_NONE
    reason = request_conn(e, p, &at)
    if reason or at == 0:
        return reason
    server = e.ipvs_conns[at - 1].server
    port = e.ipvs_conns[at - 1].server_port
    if e.ipvs_conns[at - 1].flags & IPVS_ONE_PACKET:
        # its server counts it no more when the next datagram comes (ip_vs_conn_put)
        end_now(e, at)
    else:
        saw_packet(e, at, p, DIR_INPUT)
    # states and times count before that, as ip_vs_in_hook has them: a cut packet has come, too
    if not manip_pkt(p, tuple_with_dst(p.t, server, port), MANIP_DST):
        return REASON_TRUNCATED
    p.served = True
    if p.ct != FN_NONE:
        reply = conn_tuple(&e.conns[p.ct], 1)
        tell_conntrack(e, p, tuple_with_src(reply, server, port))
    return REASON_NONE


cdef inline uint32_t from_server(engine_t *e, pkt_t *p) noexcept nogil:
    # from_server: give an answer of a real server the address of its service (ip_vs_out_hook).
    # => Why it is dropped; p.served: it was one.
    cdef uint32_t at
    cdef const ipvs_conn_t *c
    cdef tuple_t reply
    if tuple_proto(p.t) == PROTO_ICMP:
        return translate_error(e, p, MANIP_SRC)
    if not is_balanced(tuple_proto(p.t)):
        return REASON_NONE
    at = find_reply(e, p.t)
    if at == 0:
        return REASON_NONE
    c = &e.ipvs_conns[at - 1]
    saw_packet(e, at, p, DIR_OUTPUT)
    if not manip_pkt(p, tuple_with_src(p.t, c.service, c.service_port), MANIP_SRC):
        return REASON_TRUNCATED
    p.served = True
    if p.ct != FN_NONE:
        # the entry that the client's packets opened has gone, or never was
        reply = conn_tuple(&e.conns[p.ct], 1)
        tell_conntrack(e, p, tuple_with_dst(reply, c.service, c.service_port))
    return REASON_NONE
