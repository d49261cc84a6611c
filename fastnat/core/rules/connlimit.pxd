# How many connections an address or a network has: -m connlimit.
#
# Source: xt_connlimit.c, nf_conncount.c (Linux 6.18).
# Invariants: a list holds the connections whose packets met its rule; those that are over or closed leave it when a
# connection comes that is not in it yet, or is in it but no longer in the table, or when there is no room. Buckets and
# the free list hold every entry once.
# Differs from the kernel: it looks for connections that are over once a jiffy and removes 64 of them at most; here all of
# them go, as soon as somebody counts.
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memset
from ..types cimport *
from ..conntrack.lookup cimport find_tuple
from ..tuples.hash cimport tuple_hash
from ..tuples.tuple cimport tuple_dst, tuple_equal, tuple_proto, tuple_src
from .sets cimport folded


cdef inline uint32_t *connlimit_head(const engine_t *e, addr_t addr, uint32_t list_, uint32_t zone) noexcept nogil:
    # connlimit_head: the bucket of a key.
    cdef uint32_t h = (folded(addr) * <uint32_t>0x9e3779b1) ^ ((list_ << 16 | zone) * <uint32_t>0x85ebca6b)
    h ^= h >> 15
    return &e.connlimit_heads[h & (FN_CONNLIMIT_HEADS - 1)]


cdef inline bint is_there(const engine_t *e, tuple_t t) noexcept nogil:
    # is_there: the table has a connection with this tuple.
    return find_tuple(e, t, tuple_hash(e, t), <uint32_t>e.now) != FN_NONE


cdef inline bint still_counts(const engine_t *e, tuple_t t) noexcept nogil:
    # still_counts: the connection is there, and has not been closed (already_closed).
    cdef uint32_t id_ = find_tuple(e, t, tuple_hash(e, t), <uint32_t>e.now)
    cdef uint32_t state
    if id_ == FN_NONE:
        return False
    state = e.conns[id_ >> 1].state
    return tuple_proto(t) != PROTO_TCP or (state != TCP_TIME_WAIT and state != TCP_CLOSE)


cdef inline void connlimit_release(engine_t *e, uint32_t *link) noexcept nogil:
    # connlimit_release: the entry that a link names is free again; the link names the one behind it.
    cdef uint32_t here = link[0]
    link[0] = e.connlimits[here - 1].next
    e.connlimits[here - 1].next = e.free_connlimit
    e.free_connlimit = here


cdef inline void drop_entry(engine_t *e, uint32_t *link, uint32_t entry) noexcept nogil:
    # drop_entry: release one entry, given by place + 1, of the bucket that a link begins.
    while link[0] != entry:
        link = &e.connlimits[link[0] - 1].next
    connlimit_release(e, link)


cdef inline void connlimit_clean(engine_t *e) noexcept nogil:
    # connlimit_clean: release all entries of connections that are over.
    cdef uint32_t *link
    cdef uint32_t i
    for i in range(FN_CONNLIMIT_HEADS):
        link = &e.connlimit_heads[i]
        while link[0]:
            if still_counts(e, e.connlimits[link[0] - 1].t):
                link = &e.connlimits[link[0] - 1].next
            else:
                connlimit_release(e, link)


cdef inline void make_room(engine_t *e) noexcept nogil:
    # make_room: with every entry in use, those that are over go.
    if e.free_connlimit == 0 and e.n_connlimits == e.connlimit_capacity:
        connlimit_clean(e)


cdef inline uint32_t connlimit_new(engine_t *e) noexcept nogil:
    # connlimit_new: => Place + 1 of an entry that nobody uses; 0: there is none.
    cdef uint32_t here = e.free_connlimit
    if here:
        e.free_connlimit = e.connlimits[here - 1].next
    elif e.n_connlimits < e.connlimit_capacity:
        e.n_connlimits += 1
        here = e.n_connlimits
    return here


cdef inline bint connlimit_put(engine_t *e, uint32_t *link, const connlimit_t *c) noexcept nogil:
    # connlimit_put: a copy of an entry, in front of the one that a link names; a link of its bucket is not moved by that.
    # => False: there is no room.
    cdef uint32_t here = connlimit_new(e)
    if here == 0:
        return False
    e.connlimits[here - 1] = c[0]
    e.connlimits[here - 1].next = link[0]
    link[0] = here
    return True


cdef inline bint connlimit_adopt(engine_t *e, const connlimit_t *c) noexcept nogil:
    # connlimit_adopt: an entry of another engine, in front of its bucket.
    return connlimit_put(e, connlimit_head(e, c.addr, c.list, c.zone), c)


cdef inline bint connlimit_add(engine_t *e, tuple_t t, addr_t addr, uint32_t list_, uint32_t zone) noexcept nogil:
    # connlimit_add: count a connection, behind those of its key. => False: there is no room.
    cdef uint32_t *link = connlimit_head(e, addr, list_, zone)
    cdef connlimit_t c
    memset(&c, 0, sizeof(connlimit_t))
    c.t = t
    c.addr = addr
    c.list = <uint16_t>list_
    c.zone = <uint16_t>zone
    make_room(e)
    # at the end (list_add_tail): connlimit_count looks for connections that are over only in front of the packet's own
    while link[0]:
        link = &e.connlimits[link[0] - 1].next
    return connlimit_put(e, link, &c)


cdef inline bint has_key(const connlimit_t *c, addr_t addr, uint32_t list_, uint32_t zone) noexcept nogil:
    # has_key: a bucket holds several keys.
    return c.addr == addr and c.list == list_ and c.zone == zone


cdef inline uint32_t count_for_assured(engine_t *e, uint32_t *link, addr_t addr, uint32_t list_, uint32_t zone) noexcept nogil:
    # count_for_assured: the connections of a key for a packet of one that is ASSURED, which is not added itself. link: the bucket.
    # => FN_NONE: the key is not known. 0: it is, and all that it counted are over; one of them stays, so that it is still known.
    cdef uint32_t n = FN_NONE
    cdef uint32_t over = 0
    while link[0]:
        if has_key(&e.connlimits[link[0] - 1], addr, list_, zone):
            n = 0 if n == FN_NONE else n
            if still_counts(e, e.connlimits[link[0] - 1].t):
                n += 1
            elif over:
                connlimit_release(e, link)
                continue
            else:
                over = link[0]
        link = &e.connlimits[link[0] - 1].next
    if over and n:
        drop_entry(e, connlimit_head(e, addr, list_, zone), over)
    return n


cdef inline uint32_t connlimit_count(engine_t *e, const pkt_t *p, addr_t addr, uint32_t list_) noexcept nogil:
    # connlimit_count: the connections of a key, the packet's among them (nf_conncount_count).
    # => 0: there is no room to count it, or it is ASSURED and all that were counted are over.
    cdef tuple_t own = e.conns[p.ct].tuples[0] if p.ct != FN_NONE else p.t
    cdef uint32_t zone = e.conns[p.ct].zone if p.ct != FN_NONE else 0
    cdef uint32_t *link = connlimit_head(e, addr, list_, zone)
    # of a packet that conntrack calls invalid, the connection that has its tuple
    cdef uint32_t id_ = p.ct << 1 if p.ct != FN_NONE else find_tuple(e, own, tuple_hash(e, own), <uint32_t>e.now)
    cdef uint32_t n = 0
    cdef bint counted = False
    if id_ != FN_NONE and e.conns[id_ >> 1].status & IPS_ASSURED and e.profile != LINUX_5_4:
        n = count_for_assured(e, link, addr, list_, zone)
        if n != FN_NONE:
            return n
        n = 0
    while link[0]:
        if has_key(&e.connlimits[link[0] - 1], addr, list_, zone):
            # behind the packet's own nobody is looked at, as long as it is in the table: a RST has just ended it
            # (nf_ct_kill), or another rule of this list has counted it before it is confirmed
            counted |= tuple_equal(e.connlimits[link[0] - 1].t, own) and is_there(e, own)
            if not counted and not still_counts(e, e.connlimits[link[0] - 1].t):
                connlimit_release(e, link)
                continue
            n += 1
        link = &e.connlimits[link[0] - 1].next
    if counted:
        return n
    return n + 1 if connlimit_add(e, own, addr, list_, zone) else 0


cdef inline bint connlimit_holds(engine_t *e, const match_t *m, const pkt_t *p, bint *hotdrop) noexcept nogil:
    # connlimit_holds: more connections than the limit (connlimit_mt); inversion left out.
    # => hotdrop: the kernel drops a packet for which it counts nothing.
    cdef addr_t addr = tuple_dst(p.t) if m.bits & CONNLIMIT_DST else tuple_src(p.t)
    cdef uint32_t n = connlimit_count(e, p, addr & e.targets[m.connlimit.at].masks.src, m.connlimit.list)
    hotdrop[0] = n == 0
    return n > m.connlimit.limit
