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


cdef inline const service_t *service_of(const engine_t *e, const ipvs_conn_t *c) noexcept nogil:
    # service_of: the service that a connection or a template belongs to, NULL: there is none any more.
    cdef const service_t *s
    cdef uint32_t i
    if c.mark:
        for i in range(e.n_services):
            if e.services[i].fwmark == c.mark:
                return &e.services[i]
        return NULL
    s = service_at(e, c.service, c.service_port, c.proto)
    return s if s != NULL else service_at(e, c.service, 0, c.proto)


cdef inline uint32_t server_again(const engine_t *e, const ipvs_conn_t *c) noexcept nogil:
    # server_again: => The real server of a connection by its address and port, as its service has it now, or FN_NONE.
    cdef const service_t *s = service_of(e, c)
    cdef uint32_t i
    if s == NULL:
        return FN_NONE
    for i in range(s.first, s.first + s.n):
        if e.servers[i].addr == c.server and (c.server_port == 0 or e.servers[i].port in (0, c.server_port)):
            return i
    return FN_NONE


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
    cdef uint32_t h = (folded(tuple_src(p.t)) + (tuple_sport(p.t) if s.flags & SERVICE_HASH_PORTS else 0)) * <uint32_t>0x61c88647
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
