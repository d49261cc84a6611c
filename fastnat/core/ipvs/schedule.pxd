# Virtual services of IPVS, and which real server their scheduler chooses.
#
# Source: ip_vs_service_find (ip_vs_ctl.c), ip_vs_rr.c, ip_vs_wrr.c, ip_vs_lc.c, ip_vs_wlc.c, ip_vs_sh.c (Linux 6.18).
# Invariants: a server without weight is never chosen.
# Differs from the kernel: nothing that is known; no kernel with IPVS was at hand to record.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from ..types cimport *
from ..rules.sets cimport folded
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src

cdef enum:
    # an active connection weighs as much as this many inactive ones
    ACTIVE_WEIGHT = 256
    SH_BITS = 8
    SH_BUCKETS = 1 << SH_BITS
    # clients of a persistent service there keep their server for all ports
    PORT_FTP = 21


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
        # at least one slot is free, so that the search ends
        slot = (slot + 1) & e.service_mask
    return NULL


cdef inline service_t *find_service(const engine_t *e, const pkt_t *p) noexcept nogil:
    # find_service: the service of the packet's mark, of its destination, or of all ports there (ip_vs_service_find).
    cdef service_t *s
    cdef uint32_t i
    # a service of a mark goes before those of addresses (ip_vs_service_find)
    if p.mark:
        for i in range(e.n_services):
            if e.services[i].fwmark == p.mark:
                return &e.services[i]
    s = service_at(e, tuple_dst(p.t), tuple_dport(p.t), tuple_proto(p.t))
    return s if s != NULL else service_at(e, tuple_dst(p.t), 0, tuple_proto(p.t))


cdef inline bint may_be_server(const service_t *s, const server_t *server, const ipvs_conn_t *c) noexcept nogil:
    # may_be_server: whether a connection, or a template, of the service may have this real server.
    if server.addr != c.server:
        return False
    if server.port == c.server_port:
        return True
    # the client's port may be left as it is, and then says nothing of the server's own (server_port of ipvs/translate)
    return not c.flags & IPVS_TEMPLATE and (server.port == 0 or (s.persist != 0 and c.service_port != s.port))


cdef inline uint32_t server_in(const engine_t *e, const service_t *s, const ipvs_conn_t *c) noexcept nogil:
    # server_in: => The real server of a connection among those of a service, FN_NONE: it is none of them.
    cdef uint32_t i
    if s == NULL:
        return FN_NONE
    for i in range(s.first, s.first + s.n):
        if may_be_server(s, &e.servers[i], c):
            return i
    return FN_NONE


cdef inline uint32_t port_of_service(const ipvs_conn_t *c) noexcept nogil:
    # port_of_service: of the service that has the real server of a connection, or of a template.
    if c.flags & IPVS_OF_FTP:
        return PORT_FTP
    return 0 if c.flags & IPVS_OF_ALL_PORTS else c.service_port


cdef inline void note_service(ipvs_conn_t *c, uint32_t port) noexcept nogil:
    # note_service: the port of the service that has its real server. Two services of one address may have the same server, and a
    # connection that a template of one of them opens may be for the other.
    if port == c.service_port:
        return
    c.flags |= IPVS_OF_ALL_PORTS if port == 0 else IPVS_OF_FTP


cdef inline uint32_t server_again(const engine_t *e, const ipvs_conn_t *c) noexcept nogil:
    # server_again: => The real server of a connection by its address and port, as its service has it now, or FN_NONE.
    cdef uint32_t i
    if c.mark:
        for i in range(e.n_services):
            if e.services[i].fwmark == c.mark:
                return server_in(e, &e.services[i], c)
        return FN_NONE
    # no other service's, though that may have the same server (ip_vs_trash_get_dest)
    return server_in(e, service_at(e, c.service, port_of_service(c), c.proto), c)


cdef inline uint32_t schedule_rr(engine_t *e, service_t *s) noexcept nogil:
    # schedule_rr: each server in turn, those of weight 0 left out (ip_vs_rr_schedule).
    cdef uint32_t i, server
    for i in range(s.n):
        server = (s.at + i) % s.n
        # weight 0 takes a server out for new connections; those that it has go on
        if e.servers[s.first + server].weight:
            s.at = server + 1
            return s.first + server
    return FN_NONE


cdef inline uint32_t schedule_wrr(engine_t *e, service_t *s) noexcept nogil:
    # schedule_wrr: the list is gone through once for every weight, from the greatest down in steps of the divisor.
    cdef uint32_t i
    if s.max_weight <= 0:
        return FN_NONE
    # it ends: one server at least has the greatest weight, and is met when the round begins anew
    while True:
        for i in range(s.at, s.n):
            if <int32_t>e.servers[s.first + i].weight >= s.weight:
                s.at = i + 1
                return s.first + i
        s.at = 0
        # all weights are multiples of the divisor: smaller steps would choose nobody new
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
        # out of service for new connections, however few it has
        if server.weight == 0:
            continue
        load = <uint64_t>server.active * ACTIVE_WEIGHT + server.inactive
        # load through weight, multiplied out: a quotient would be rounded, and take for equal what is not
        if best == FN_NONE or (least * server.weight > load * weight if weighted else load < least):
            best = i
            least = load
            weight = server.weight
    return best


cdef inline uint32_t sh_turns(const server_t *server) noexcept nogil:
    # sh_turns: buckets in a row that a server gets; one without weight gets one, too (ip_vs_sh_reassign).
    return server.weight if server.weight else 1


cdef inline uint32_t sh_bucket(const engine_t *e, const service_t *s, uint64_t at) noexcept nogil:
    # sh_bucket: => The server of a bucket, FN_NONE: it has no weight. at: less than all turns together.
    cdef uint32_t i
    for i in range(s.first, s.first + s.n):
        if at < sh_turns(&e.servers[i]):
            return i if e.servers[i].weight else FN_NONE
        at -= sh_turns(&e.servers[i])
    return FN_NONE


cdef inline uint32_t schedule_sh(const engine_t *e, const service_t *s, const pkt_t *p) noexcept nogil:
    # schedule_sh: 256 buckets, dealt to the servers in turn, each as many as its weight.
    cdef uint32_t h = (folded(tuple_src(p.t)) + (tuple_sport(p.t) if s.flags & SERVICE_HASH_PORTS else 0)) * <uint32_t>0x61c88647
    cdef uint64_t turns = 0
    cdef uint32_t i, found
    for i in range(s.first, s.first + s.n):
        turns += sh_turns(&e.servers[i])
    if turns == 0:
        return FN_NONE
    # hash_32 keeps the highest bits: a multiplication carries upwards only
    h >>= 32 - SH_BITS
    found = sh_bucket(e, s, h % turns)
    if found != FN_NONE or not s.flags & SERVICE_HASH_FALLBACK:
        return found
    # the search begins at twice the hash, which is in the offset already (ip_vs_sh_get_fallback)
    for i in range(SH_BUCKETS):
        found = sh_bucket(e, s, ((2 * h + i) & (SH_BUCKETS - 1)) % turns)
        if found != FN_NONE:
            return found
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
