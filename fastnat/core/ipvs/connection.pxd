# The table of IPVS's connections: which there are, until when, and what goes with them.
#
# Source: ip_vs_conn.c (ip_vs_conn_new, ip_vs_conn_in_get, ip_vs_conn_out_get, ip_vs_ct_in_get, ip_vs_conn_expire),
# ip_vs_nfct.c (ip_vs_conn_drop_conntrack), Linux 6.18, with net.ipv4.vs.conntrack=1.
# Invariants: each one in use has a place in the wheel and, but for --ops, in the bucket of its client; the newest stands first.
# A server counts those that name it, a template those that it controls.
# Differs from the kernel: one that is due ends at its very jiffy; memory for them is limited (IPVS_SHARE of engine/arrays).
# The wheel is one of their own: they are few beside those of conntrack, whose wheel packs numbers of its records by the line.
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport *
from ..conntrack.insert cimport conn_delete
from ..conntrack.lookup cimport find_tuple
from ..conntrack.timing_wheel cimport NEVER
from ..tuples.hash cimport tuple_hash
from ..tuples.tuple cimport swap_ends, tuple_dport, tuple_dst, tuple_make, tuple_proto, tuple_sport, tuple_src

cdef enum:
    SLOT_MASK = FN_IPVS_WHEEL - 1
    # of a template that still controls connections when its time is over [s]
    LATER = 60
    # of one that has not seen a packet [s]
    FIRST = 3


cdef inline uint32_t *ipvs_head(const engine_t *e, addr_t client, uint32_t port, uint32_t proto) noexcept nogil:
    # ipvs_head: the bucket of a client; the hash is secret, so that nobody can fill one.
    cdef tuple_t key = tuple_make(client, 0, port, 0, proto, 0)
    return &e.ipvs_heads[<uint32_t>fn_hash(e.secret, &key) & e.ipvs_mask]


cdef inline uint32_t find_conn(const engine_t *e, tuple_t t, bint at_server) noexcept nogil:
    # find_conn: place + 1 of the newest connection whose client is the source of t, and whose service, or real server, the destination.
    cdef uint32_t at = ipvs_head(e, tuple_src(t), tuple_sport(t), tuple_proto(t))[0]
    cdef const ipvs_conn_t *c
    while at:
        c = &e.ipvs_conns[at - 1]
        if (c.client == tuple_src(t) and c.client_port == tuple_sport(t) and c.proto == tuple_proto(t)
                and (c.server if at_server else c.service) == tuple_dst(t)
                and (c.server_port if at_server else c.service_port) == tuple_dport(t) and not c.flags & IPVS_TEMPLATE):
            return at
        at = c.next
    return 0


cdef inline uint32_t find_request(const engine_t *e, tuple_t t) noexcept nogil:
    # find_request: the connection of a packet to a service, place + 1, 0: none (ip_vs_conn_in_get). Port 0 stands for an unknown
    # one there (IP_VS_CONN_F_NO_CPORT), so that what comes from it is scheduled each time.
    return find_conn(e, t, False) if tuple_sport(t) else <uint32_t>0


cdef inline uint32_t find_reply(const engine_t *e, tuple_t t) noexcept nogil:
    # find_reply: the connection of a packet of a real server, place + 1, 0: none. Two services may have sent one client port to
    # one server: the newest counts, so that the answers of both come from its address (ip_vs_conn_out_get).
    return find_conn(e, swap_ends(t), True)


cdef inline uint32_t find_template(const engine_t *e, addr_t client, addr_t service, uint32_t port, uint32_t proto) noexcept nogil:
    # find_template: place + 1 of what a client of a persistent service keeps, 0: nothing (ip_vs_ct_in_get).
    cdef uint32_t at = ipvs_head(e, client, 0, proto)[0]
    cdef const ipvs_conn_t *c
    while at:
        c = &e.ipvs_conns[at - 1]
        if (c.flags & (IPVS_TEMPLATE | IPVS_FORGOTTEN) == IPVS_TEMPLATE and c.client == client and c.service == service
                and c.service_port == port and c.proto == proto):
            return at
        at = c.next
    return 0


cdef inline uint32_t slot_ahead(const engine_t *e, uint32_t slot) noexcept nogil:
    # slot_ahead: jiffies until it comes up.
    return (slot - <uint32_t>e.now) & SLOT_MASK


cdef inline void wheel_put(engine_t *e, uint32_t at) noexcept nogil:
    # wheel_put: look at the connection again when it is due, or a turn ahead; not in the jiffy at hand, whose slot has come up.
    cdef ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    cdef int32_t ahead = <int32_t>(c.expires - <uint32_t>e.now)
    if ahead < 1:
        ahead = 1
    elif ahead > SLOT_MASK:
        ahead = SLOT_MASK
    c.slot = <uint16_t>((<uint32_t>e.now + <uint32_t>ahead) & SLOT_MASK)
    # linked both ways: what gets an earlier time is taken out of the middle of its slot
    c.wheel_prev = 0
    c.wheel_next = e.ipvs_wheel[c.slot]
    if c.wheel_next:
        e.ipvs_conns[c.wheel_next - 1].wheel_prev = at
    e.ipvs_wheel[c.slot] = at
    e.ipvs_busy[c.slot >> 6] |= <uint64_t>1 << (c.slot & 63)


cdef inline void wheel_take(engine_t *e, uint32_t at) noexcept nogil:
    # wheel_take: give up its place in the wheel.
    cdef ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    if c.wheel_next:
        e.ipvs_conns[c.wheel_next - 1].wheel_prev = c.wheel_prev
    if c.wheel_prev:
        e.ipvs_conns[c.wheel_prev - 1].wheel_next = c.wheel_next
        return
    e.ipvs_wheel[c.slot] = c.wheel_next
    if c.wheel_next == 0:
        e.ipvs_busy[c.slot >> 6] &= ~(<uint64_t>1 << (c.slot & 63))


cdef inline void set_expiry(engine_t *e, uint32_t at, uint32_t ahead) noexcept nogil:
    # set_expiry: it is due so many jiffies from now on (mod_timer). The wheel notices later ones by itself.
    cdef ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    c.expires = <uint32_t>e.now + ahead
    # as in conntrack's wheel: a later time leaves the place, so that a packet moves nothing
    if ahead < slot_ahead(e, c.slot):
        wheel_take(e, at)
        wheel_put(e, at)


cdef inline void restart(engine_t *e, uint32_t at) noexcept nogil:
    # restart: its time begins anew (ip_vs_conn_put).
    set_expiry(e, at, e.ipvs_conns[at - 1].timeout)


cdef inline void count(engine_t *e, const ipvs_conn_t *c, int32_t step) noexcept nogil:
    # count: its server has one connection more or less, among the active or the inactive ones; templates are none.
    # a template only remembers: it is no load on its server
    if c.dest == FN_NONE or c.flags & IPVS_TEMPLATE:
        return
    if c.flags & IPVS_ACTIVE:
        e.servers[c.dest].active += <uint32_t>step
    else:
        e.servers[c.dest].inactive += <uint32_t>step


cdef inline void count_active(engine_t *e, ipvs_conn_t *c, bint active) noexcept nogil:
    # count_active: from here on it is among the active ones of its server, or the others.
    if active == (c.flags & IPVS_ACTIVE != 0):
        return
    count(e, c, -1)
    c.flags ^= IPVS_ACTIVE
    count(e, c, 1)


cdef inline void bind_server(engine_t *e, ipvs_conn_t *c, uint32_t server) noexcept nogil:
    # bind_server: a server, FN_NONE none, counts it (ip_vs_bind_dest).
    c.dest = server
    count(e, c, 1)


cdef inline void leave_server(engine_t *e, ipvs_conn_t *c) noexcept nogil:
    # leave_server: its server counts it no more (ip_vs_unbind_dest).
    count(e, c, -1)
    c.dest = FN_NONE


cdef inline uint32_t ipvs_new(engine_t *e) noexcept nogil:
    # ipvs_new: => Place + 1 of an empty record, 0: there is no memory for one more.
    cdef uint32_t at = e.free_ipvs_conn
    if at:
        e.free_ipvs_conn = e.ipvs_conns[at - 1].next
    elif e.n_ipvs_conns < e.ipvs_capacity:
        e.n_ipvs_conns += 1
        at = e.n_ipvs_conns
    else:
        return 0
    memset(&e.ipvs_conns[at - 1], 0, sizeof(ipvs_conn_t))
    return at


cdef inline void link_conn(engine_t *e, uint32_t at) noexcept nogil:
    # link_conn: a record whose keys, flags and times are written becomes the newest of its client (ip_vs_conn_hash).
    cdef ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    cdef uint32_t *head
    c.flags |= IPVS_USED
    # it is gone before anything could look for it
    if not c.flags & IPVS_ONE_PACKET:
        head = ipvs_head(e, c.client, c.client_port, c.proto)
        c.next = head[0]
        head[0] = at
    wheel_put(e, at)


cdef inline void unlink_conn(engine_t *e, uint32_t at) noexcept nogil:
    # unlink_conn: out of its bucket.
    cdef const ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    cdef uint32_t *link = ipvs_head(e, c.client, c.client_port, c.proto)
    if c.flags & IPVS_ONE_PACKET:
        return
    while link[0] != at:
        link = &e.ipvs_conns[link[0] - 1].next
    link[0] = c.next


cdef inline void drop_conntrack(engine_t *e, const ipvs_conn_t *c) noexcept nogil:
    # drop_conntrack: the entry of its original tuple, in zone 0, ends with it (ip_vs_conn_drop_conntrack).
    cdef tuple_t t = tuple_make(c.client, c.service, c.client_port, c.service_port, c.proto, 0)
    cdef uint32_t found = find_tuple(e, t, tuple_hash(e, t), <uint32_t>e.now)
    # port 0 stands for an unknown one: the entry of such a tuple may be anybody's
    if found != FN_NONE and c.client_port:
        conn_delete(e, found >> 1)


cdef inline void ipvs_release(engine_t *e, uint32_t at) noexcept nogil:
    # ipvs_release: a record that is in the wheel no more is free again.
    cdef ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    unlink_conn(e, at)
    # the template ends once it controls nobody
    if c.control:
        e.ipvs_conns[c.control - 1].n_control -= 1
    leave_server(e, c)
    c.flags = 0
    c.next = e.free_ipvs_conn
    e.free_ipvs_conn = at


cdef inline void ipvs_expire(engine_t *e, uint32_t at) noexcept nogil:
    # ipvs_expire: it is due, and in the wheel no more (ip_vs_conn_expire).
    cdef ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    if c.n_control:
        # from here on it lasts a minute each time
        c.timeout = LATER * FN_HZ
        c.expires = <uint32_t>e.now + c.timeout
        wheel_put(e, at)
        return
    # before the record is free: conn_delete may ask for others
    if c.flags & IPVS_NFCT and not c.flags & IPVS_TEMPLATE:
        drop_conntrack(e, c)
    ipvs_release(e, at)


cdef inline void end_now(engine_t *e, uint32_t at) noexcept nogil:
    # end_now: one that controls nothing ends before it is due (ip_vs_conn_del).
    wheel_take(e, at)
    ipvs_expire(e, at)


cdef inline void end_serverless(engine_t *e) noexcept nogil:
    # end_serverless: connections and templates whose server is gone end, and templates with the last connection that does
    # (ip_vs_expire_nodest_conn_flush).
    cdef uint32_t i, control
    cdef const ipvs_conn_t *c
    for i in range(e.n_ipvs_conns):
        c = &e.ipvs_conns[i]
        if not c.flags & IPVS_USED or c.dest != FN_NONE or c.n_control:
            continue
        control = c.control
        end_now(e, i + 1)
        if control and e.ipvs_conns[control - 1].n_control == 0:
            end_now(e, control)


cdef inline uint64_t ipvs_due(const engine_t *e) noexcept nogil:
    # ipvs_due: => The next jiffy with a slot in use, NEVER: there is none.
    cdef uint32_t slot = (<uint32_t>e.now + 1) & SLOT_MASK
    cdef uint32_t word = slot >> 6
    cdef uint32_t looked = 0
    cdef uint64_t bits
    if e.n_ipvs_conns == 0:
        return NEVER
    bits = e.ipvs_busy[word] & (~<uint64_t>0 << (slot & 63))
    while bits == 0:
        # the first word is looked at twice: what lies in front of `slot` comes last
        looked += 1
        if looked > FN_IPVS_WHEEL // 64:
            return NEVER
        word = (word + 1) & (FN_IPVS_WHEEL // 64 - 1)
        bits = e.ipvs_busy[word]
    return e.now + 1 + ((word * 64 + <uint32_t>fn_ctz64(bits) - slot) & SLOT_MASK)


cdef inline void expire_ipvs(engine_t *e) noexcept nogil:
    # expire_ipvs: what is due in the jiffy at hand ends, the others of its slot find another place.
    cdef uint32_t slot = <uint32_t>e.now & SLOT_MASK
    cdef uint32_t at = e.ipvs_wheel[slot]
    cdef uint32_t following
    e.ipvs_wheel[slot] = 0
    e.ipvs_busy[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
    while at:
        # read first: ipvs_expire makes the record a free one, wheel_put links it anew
        following = e.ipvs_conns[at - 1].wheel_next
        if <int32_t>(e.ipvs_conns[at - 1].expires - <uint32_t>e.now) <= 0:
            ipvs_expire(e, at)
        else:
            wheel_put(e, at)
        at = following
