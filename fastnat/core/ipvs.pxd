# Virtual services of IPVS: the real server of a new connection, and the translation of its packets.
#
# Source: ip_vs_in, ip_vs_out, ip_vs_nat_xmit (ip_vs_core.c, ip_vs_xmit.c), ip_vs_update_conntrack (ip_vs_nfct.c),
# ip_vs_rr.c, ip_vs_wrr.c, ip_vs_lc.c, ip_vs_wlc.c, ip_vs_sh.c (Linux 6.18), with net.ipv4.vs.conntrack=1.
# Invariants: the server is chosen once a connection, before confirm; from then on the connection's own tuples hold the
# translation, so DST_NAT is never set for it.
# Differs from the kernel: an IPVS connection lives as long as its conntrack entry; ICMP errors about one keep the real
# server's address inside; a client keeps its server for the service's timeout after its last new connection.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from .types cimport *
from .helpers.expect cimport conn_server, reassign_helper
from .packet.rewrite cimport manip_pkt
from .rules.sets cimport folded
from .tuples.tuple cimport conn_tuple, invert_tuple, tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src, tuple_with_src

cdef enum:
    # an active connection weighs as much as this many inactive ones
    ACTIVE_WEIGHT = 256
    SH_BITS = 8
    # slots looked at for a client; beyond, the one that ends first gives way
    PERSIST_PROBES = 32
    # TCP_CONNTRACK_SYN_SENT to TCP_CONNTRACK_ESTABLISHED
    TCP_FIRST_ACTIVE = 1
    TCP_LAST_ACTIVE = 3


cdef inline uint32_t service_hash(addr_t addr, uint32_t port, uint32_t proto) noexcept nogil:
    # service_hash: multiplicative; ipvs.py fills the slots by the same rule.
    cdef uint32_t h = (folded(addr) ^ (port << 8) ^ proto) * <uint32_t>0x9e3779b1
    return h ^ (h >> 15)


cdef inline service_t *service_at(const engine_t *e, addr_t addr, uint32_t port, uint32_t proto) noexcept nogil:
    # service_at: => The service of an address and a port, NULL none.
    cdef uint32_t slot = service_hash(addr, port, proto) & e.service_mask
    cdef service_t *s
    while e.service_slots[slot] != FN_NONE:
        s = &e.services[e.service_slots[slot]]
        if s.addr == addr and s.port == port and s.proto == proto and s.fwmark == 0:
            return s
        slot = (slot + 1) & e.service_mask
    return NULL


cdef inline service_t *find_service(const engine_t *e, const pkt_t *p) noexcept nogil:
    # find_service: the service of the packet's mark, of its destination, or of all ports there (ip_vs_service_find).
    cdef service_t *s
    cdef uint32_t i
    if p.mark:
        for i in range(e.n_services):
            if e.services[i].fwmark == p.mark:
                return &e.services[i]
    s = service_at(e, tuple_dst(p.t), tuple_dport(p.t), tuple_proto(p.t))
    return s if s != NULL else service_at(e, tuple_dst(p.t), 0, tuple_proto(p.t))


cdef inline uint32_t schedule_rr(engine_t *e, service_t *s) noexcept nogil:
    # schedule_rr: each server in turn, those of weight 0 left out (ip_vs_rr_schedule).
    cdef uint32_t i, server
    for i in range(s.n):
        server = (s.at + i) % s.n
        if e.servers[s.first + server].weight:
            s.at = server + 1
            return s.first + server
    return FN_NONE


cdef inline uint32_t schedule_wrr(engine_t *e, service_t *s) noexcept nogil:
    # schedule_wrr: the list is gone through once for every weight, from the greatest down in steps of the divisor.
    cdef uint32_t i
    if s.max_weight <= 0:
        return FN_NONE
    while True:
        for i in range(s.at, s.n):
            if <int32_t>e.servers[s.first + i].weight >= s.weight:
                s.at = i + 1
                return s.first + i
        s.at = 0
        s.weight -= s.step
        if s.weight <= 0:
            s.weight = s.max_weight


cdef inline uint32_t schedule_lc(engine_t *e, const service_t *s, bint weighted) noexcept nogil:
    # schedule_lc: the server with the fewest connections, for its weight; the first of equals.
    cdef uint32_t best = FN_NONE
    cdef uint64_t load, least, weight
    cdef const server_t *server
    cdef uint32_t i
    least = 0
    weight = 1
    for i in range(s.first, s.first + s.n):
        server = &e.servers[i]
        if server.weight == 0:
            continue
        load = <uint64_t>server.active * ACTIVE_WEIGHT + server.inactive
        if best == FN_NONE or (least * server.weight > load * weight if weighted else load < least):
            best = i
            least = load
            weight = server.weight
    return best


cdef inline uint32_t schedule_sh(const engine_t *e, const service_t *s, const pkt_t *p) noexcept nogil:
    # schedule_sh: 256 buckets, dealt to the servers in turn, each as many as its weight.
    cdef uint32_t h = (folded(tuple_src(p.t)) + (tuple_sport(p.t) if s.hash_ports else 0)) * <uint32_t>0x61c88647
    cdef uint64_t total = 0
    cdef uint64_t at
    cdef uint32_t i
    for i in range(s.first, s.first + s.n):
        total += e.servers[i].weight if e.servers[i].weight else 1
    if total == 0:
        return FN_NONE
    at = (h >> (32 - SH_BITS)) % total
    for i in range(s.first, s.first + s.n):
        if at < (e.servers[i].weight if e.servers[i].weight else 1):
            return i if e.servers[i].weight else FN_NONE
        at -= e.servers[i].weight if e.servers[i].weight else 1
    return FN_NONE


cdef inline uint32_t schedule(engine_t *e, service_t *s, const pkt_t *p) noexcept nogil:
    # schedule: => Index of the real server, or FN_NONE: none has a weight.
    if s.scheduler == SCHEDULE_RR:
        return schedule_rr(e, s)
    if s.scheduler == SCHEDULE_WRR:
        return schedule_wrr(e, s)
    if s.scheduler == SCHEDULE_SH:
        return schedule_sh(e, s, p)
    return schedule_lc(e, s, s.scheduler == SCHEDULE_WLC)


cdef inline persist_t *persist_of(engine_t *e, uint32_t service, addr_t client, uint32_t now) noexcept nogil:
    # persist_of: the place of a client: its own, else a free one, else the one that ends first.
    cdef uint32_t slot = service_hash(client, service, 0)
    cdef persist_t *best = NULL
    cdef persist_t *r
    cdef uint32_t i
    for i in range(PERSIST_PROBES):
        r = &e.persists[(slot + i) & (e.n_persists - 1)]
        if r.used and <int32_t>(r.expires - now) <= 0:
            r.used = 0
        if r.used and r.client == client and r.service == service:
            return r
        if best == NULL or (best.used and (not r.used or <int32_t>(r.expires - best.expires) < 0)):
            best = r
    return best


cdef inline uint32_t server_of(engine_t *e, service_t *s, const pkt_t *p) noexcept nogil:
    # server_of: the server that the client has, or the scheduler's (ip_vs_sched_persist, ip_vs_schedule).
    cdef addr_t client = tuple_src(p.t) & s.client_mask
    cdef uint32_t service = <uint32_t>(s - e.services)
    cdef uint32_t server
    cdef persist_t *kept
    if not s.persist:
        return schedule(e, s, p)
    kept = persist_of(e, service, client, p.now)
    if kept.used and kept.client == client and kept.service == service and e.servers[kept.server].weight:
        kept.expires = p.now + s.persist
        return kept.server
    server = schedule(e, s, p)
    if server != FN_NONE:
        kept.client = client
        kept.service = service
        kept.server = server
        kept.expires = p.now + s.persist
        kept.used = 1
    return server


cdef inline bint may_open(const pkt_t *p) noexcept nogil:
    # may_open: TCP is only scheduled by its SYN (is_new_conn, net.ipv4.vs.sloppy_tcp=0).
    return tuple_proto(p.t) != PROTO_TCP or p.tcp_flags & 0x12 == 0x02


cdef inline void count_active(engine_t *e, uint32_t ct) noexcept nogil:
    # count_active: TCP counts as active until one side closes, everything else as inactive.
    cdef conn_t *c = &e.conns[ct]
    cdef server_t *server = &e.servers[conn_server(e, ct)[0]]
    cdef bint active = tuple_proto(c.tuples[0]) == PROTO_TCP and TCP_FIRST_ACTIVE <= c.state <= TCP_LAST_ACTIVE
    if active and not c.flags & CONN_ACTIVE:
        server.active += 1
        server.inactive -= 1
        c.flags |= CONN_ACTIVE
    elif not active and c.flags & CONN_ACTIVE:
        server.active -= 1
        server.inactive += 1
        c.flags &= ~CONN_ACTIVE & 0xff


cdef inline bint bind_server(engine_t *e, pkt_t *p, service_t *s) noexcept nogil:
    # bind_server: choose the real server; the reply tuple says it from here on (ip_vs_update_conntrack).
    # => False: no server.
    cdef uint32_t server = server_of(e, s, p)
    cdef conn_t *c = &e.conns[p.ct]
    cdef uint32_t port
    if server == FN_NONE:
        return False
    port = e.servers[server].port if e.servers[server].port else tuple_dport(p.t)
    c.tuples[1] = tuple_with_src(c.tuples[1], e.servers[server].addr, port)
    c.flags |= CONN_SERVICE
    conn_server(e, p.ct)[0] = server
    e.servers[server].inactive += 1
    if fn_unlikely(e.auto_helpers != 0):
        reassign_helper(e, p.ct)
    return True


cdef inline uint32_t server_like(const engine_t *e, uint32_t n, tuple_t reply) noexcept nogil:
    # server_like: the first of n real servers that this reply tuple comes from, or FN_NONE.
    cdef uint32_t i
    for i in range(n):
        if e.servers[i].addr == tuple_src(reply) and e.servers[i].port in (0, tuple_sport(reply)):
            return i
    return FN_NONE


cdef inline bint has_service(const engine_t *e, const pkt_t *p) noexcept nogil:
    # has_service: => Whether the packet's connection has a real server.
    return e.n_services != 0 and p.ct != FN_NONE and not p.icmp_error and e.conns[p.ct].flags & CONN_SERVICE


cdef inline bint wants_service(engine_t *e, const pkt_t *p, service_t **s) noexcept nogil:
    # wants_service: whether the packet opens a connection to a virtual service.
    if not e.n_services or p.ct == FN_NONE or p.icmp_error or not p.is_new or e.conns[p.ct].flags & CONN_SERVICE:
        return False
    if tuple_proto(p.t) == PROTO_ICMP or not may_open(p):
        return False
    s[0] = find_service(e, p)
    return s[0] != NULL


cdef inline uint32_t to_server(engine_t *e, pkt_t *p) noexcept nogil:
    # to_server: give a packet to a service the address of its real server (ip_vs_in).
    # => REASON_NONE, also for a packet that is for no service.
    cdef service_t *s = NULL
    if wants_service(e, p, &s) and not bind_server(e, p, s):
        return REASON_NO_SERVER
    if not has_service(e, p) or p.dir != 0:
        return REASON_NONE
    count_active(e, p.ct)
    return REASON_NONE if manip_pkt(p, invert_tuple(conn_tuple(&e.conns[p.ct], 1)), MANIP_DST) else REASON_TRUNCATED


cdef inline uint32_t from_server(engine_t *e, pkt_t *p) noexcept nogil:
    # from_server: give an answer of a real server the address of its service (ip_vs_out).
    if not has_service(e, p) or p.dir != 1:
        return REASON_NONE
    count_active(e, p.ct)
    return REASON_NONE if manip_pkt(p, invert_tuple(conn_tuple(&e.conns[p.ct], 0)), MANIP_SRC) else REASON_TRUNCATED


cdef inline void bound_persists(engine_t *e, uint32_t n_servers) noexcept nogil:
    # bound_persists: clients whose server there is not, as the list may be from anywhere, are forgotten.
    cdef uint32_t i
    for i in range(e.n_persists):
        if e.persists[i].server >= n_servers:
            e.persists[i].used = 0
