# Every invariant of the tables, walked from end to end: what Engine.check() does.
#
# Source: ours; the invariants are those that the heads of the other files name.
# Invariants: reads only, but for the room that it is given; between two packets all of them hold. Each check takes the one
# before it for granted, so that a broken table is named and not followed out of bounds.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from .types cimport *
from .conntrack.insert cimport chain_of
from .conntrack.lookup cimport find_tuple, is_expired, is_live, next_with, dst16_count
from .conntrack.timing_wheel cimport slot_ahead
from .helpers.expect cimport expect_head, help_of
from .ipvs.connection cimport ipvs_head
from .nat.bysource cimport bysource_head
from .nat.port_bitmap cimport bitmap_find, page_words
from .nat.used_tuple cimport may_give_way
from .rules.connlimit cimport connlimit_head
from .tuples.hash cimport source_hash, source_rest, tuple_hash
from .tuples.table cimport bucket_index, DISPLACED, ID_MASK, item_hash, overflow_count, STICKY, table_slot, tag_of
from .tuples.tuple cimport conn_tuple, tuple_zone, zone_of

cdef struct room_t:
    # what is counted anew, all zero at first: per record, per /16, per chain, per real server, per page, per help,
    # expectation and connection of IPVS
    uint8_t *seen
    uint32_t *dst16_counts
    uint16_t *chains
    uint32_t *active
    uint32_t *inactive
    uint8_t *pages
    uint8_t *helps
    uint8_t *expects
    uint32_t *controls
    uint32_t n_servers
    # where something is wrong
    uint32_t at


cdef enum:
    ROOM_ARRAYS = 9


cdef inline void room_sizes(const engine_t *e, uint32_t n_servers, uint64_t *sizes) noexcept nogil:
    # room_sizes: bytes of the arrays of a room, in the order in which room_t names them.
    # a new array needs a place here, one in room_take, and ROOM_ARRAYS: who allocates knows nothing but these numbers
    sizes[0] = e.high_water
    sizes[1] = FN_DST16 * sizeof(uint32_t)
    sizes[2] = e.n_chains * sizeof(uint16_t)
    sizes[3] = n_servers * sizeof(uint32_t)
    sizes[4] = n_servers * sizeof(uint32_t)
    sizes[5] = e.n_pages
    sizes[6] = e.n_helps
    sizes[7] = e.expect_high
    sizes[8] = e.n_ipvs_conns * sizeof(uint32_t)


cdef inline void room_take(room_t *r, void **arrays, uint32_t n_servers) noexcept nogil:
    # room_take: arrays: as room_sizes says them, all zero.
    r.seen = <uint8_t *>arrays[0]
    r.dst16_counts = <uint32_t *>arrays[1]
    r.chains = <uint16_t *>arrays[2]
    r.active = <uint32_t *>arrays[3]
    r.inactive = <uint32_t *>arrays[4]
    r.pages = <uint8_t *>arrays[5]
    r.helps = <uint8_t *>arrays[6]
    r.expects = <uint8_t *>arrays[7]
    r.controls = <uint32_t *>arrays[8]
    r.n_servers = n_servers
    r.at = 0


cdef inline uint32_t directions(const conn_t *c) noexcept nogil:
    # directions: the first of the two by which a confirmed connection is in the table.
    return 1 if c.status & IPS_NAT_CLASH else 0


cdef inline const char *check_records(const engine_t *e, room_t *r) noexcept nogil:
    # check_records: each record is in use or free, once, and what it names exists.
    cdef uint32_t i, ct
    cdef uint32_t live = 0
    cdef const conn_t *c
    if e.high_water > e.capacity or e.n_free > e.high_water:
        return b"more records are used than there are"
    for i in range(e.n_free):
        ct = e.free_ids[i]
        r.at = ct
        # the number first: the list itself may be what is broken, and nothing is read through it before
        if ct >= e.high_water or is_live(&e.conns[ct]) or r.seen[ct]:
            return b"a record is free twice, or in use"
        r.seen[ct] = 1
    for i in range(e.high_water):
        c = &e.conns[i]
        r.at = i
        if not is_live(c):
            # a record that is in neither list would never be used again; flags of a free one would be taken over by its next owner
            if c.flags or not r.seen[i]:
                return b"a record is neither in use nor free"
            continue
        live += 1
        # between two packets nobody is on the way: what was not confirmed has gone with its packet
        if not c.status & IPS_CONFIRMED or c.status & IPS_DYING:
            return b"a connection is in use that is not confirmed"
        if c.masq_iface >= e.n_ifaces or c.routes[0] > e.n_routes or c.routes[1] > e.n_routes:
            return b"a connection has an interface or a route that does not exist"
        # a timeout of 0 s is due at once, and collected with the next jiffy
        if <int32_t>(c.timeout - <uint32_t>e.now) < 0:
            return b"a connection is due and still there"
    r.at = live
    if live != e.count or live != e.confirmed:
        return b"the number of connections is counted wrongly"
    return NULL


cdef inline bint has_twin(const engine_t *e, tuple_t t, uint64_t h, uint32_t ct, uint32_t dir) noexcept nogil:
    # has_twin: another connection has this tuple, zones being counted for each direction by itself.
    cdef uint32_t at = 0
    cdef uint32_t id_ = next_with(e, t, h, &at)
    # it is due, and stands in nobody's way any more
    if is_expired(&e.conns[ct], <uint32_t>e.now):
        return False
    while id_ != FN_NONE:
        # nf_ct_zone_equal: the zone that each has in the direction of the other
        if id_ >> 1 != ct and not is_expired(&e.conns[id_ >> 1], <uint32_t>e.now) and (
                id_ & 1 == dir or (zone_of(&e.conns[ct], id_ & 1) == tuple_zone(t)
                                   and zone_of(&e.conns[id_ >> 1], dir) == tuple_zone(t))):
            return True
        id_ = next_with(e, t, h, &at)
    return False


cdef inline const char *check_tuples(const engine_t *e, room_t *r) noexcept nogil:
    # check_tuples: each connection is in the table by its tuples, and found by them; what is counted by tuple is.
    cdef uint32_t i, dir
    cdef uint64_t h
    cdef uint64_t items = 0
    cdef tuple_t t
    for i in range(e.high_water):
        if not is_live(&e.conns[i]):
            continue
        r.at = i
        # of a connection that lost a race the original tuple is the winner's (IPS_NAT_CLASH)
        for dir in range(directions(&e.conns[i]), 2):
            t = conn_tuple(&e.conns[i], dir)
            h = tuple_hash(e, t)
            if table_slot(&e.tuples, h, i << 1 | dir) == NULL:
                return b"a connection is not in the table by one of its tuples"
            # not merely there: overflow counters and tags have to lead a lookup to it
            if not is_expired(&e.conns[i], <uint32_t>e.now) and find_tuple(e, t, h, <uint32_t>e.now) == FN_NONE:
                return b"a connection is not found by one of its tuples"
            if has_twin(e, t, h, i, dir):
                return b"two connections have one tuple"
            items += 1
            r.dst16_counts[dst16_count(e, t.dst) - e.dst16_counts] += 1
            if e.n_chains:
                r.chains[chain_of(e, h) - e.chains] += 1
    # as the records tell it; check_buckets has counted the items themselves, so that none is left that no record has
    if items != e.tuples.used:
        return b"the items of the tuple table are counted wrongly"
    for i in range(FN_DST16):
        r.at = i
        if r.dst16_counts[i] != e.dst16_counts[i]:
            return b"the tuples with a destination in a /16 are counted wrongly"
    for i in range(e.n_chains):
        r.at = i
        if r.chains[i] != e.chains[i]:
            return b"a chain of nf_conntrack_buckets is counted wrongly"
    return NULL


cdef inline const char *check_buckets(const engine_t *e, const table_t *t, room_t *r) noexcept nogil:
    # check_buckets: as many items as are counted, each where its hash says, and each that overflowed noted at home.
    cdef uint32_t away[256]
    cdef uint32_t group, i, k, id_, home, counted
    cdef uint64_t items = 0
    cdef uint64_t h
    cdef const bucket_t *b
    # before any bucket is read: with a number that is too large the walk would leave the memory of the table
    if t.groups > t.max_groups or t.n_buckets != t.groups * FN_GROUP_BUCKETS:
        return b"a table is larger than its memory"
    for group in range(t.groups):
        # an overflow never leaves its group, so groups can be counted one by one
        memset(away, 0, sizeof(away))
        for i in range(FN_GROUP_BUCKETS):
            b = t.buckets + <uint64_t>group * FN_GROUP_BUCKETS + i
            for k in range(FN_BUCKET_SLOTS):
                if b.tags[k] == 0:
                    continue
                id_ = b.items[k] & ID_MASK
                r.at = id_ >> 1
                items += 1
                if id_ >> 1 >= e.high_water or not is_live(&e.conns[id_ >> 1]):
                    return b"an item of a table names a record that is not in use"
                h = item_hash(e, t, id_)
                home = bucket_index(t, h)
                # a lookup reads the buckets of this one group, and in them only items of its tag: anything else is lost
                if home // FN_GROUP_BUCKETS != group or tag_of(h) != b.tags[k]:
                    return b"an item of a table lies in a group that is not its own"
                if (home % FN_GROUP_BUCKETS != i) != (b.items[k] & DISPLACED() != 0):
                    return b"an item of a table does not say whether it lies at home"
                if home % FN_GROUP_BUCKETS != i:
                    away[home % FN_GROUP_BUCKETS * 8 + (b.tags[k] & 7)] += 1
        for i in range(FN_GROUP_BUCKETS):
            b = t.buckets + <uint64_t>group * FN_GROUP_BUCKETS + i
            for k in range(8):
                counted = overflow_count(b, <uint8_t>k)
                r.at = group * FN_GROUP_BUCKETS + i
                # a counter that was full once counts no more, and sends lookups on for nothing at worst
                if counted != away[8 * i + k] and counted != STICKY:
                    return b"the items that left a bucket are counted wrongly"
    r.at = <uint32_t>items
    if not (items == t.used):
        return b"the items of a table are counted wrongly"
    return NULL


cdef inline const char *check_sources(const engine_t *e, room_t *r) noexcept nogil:
    # check_sources: each connection that nat knows is in the list of its source, whose newest the table names.
    cdef uint32_t i, at, before
    cdef uint64_t heads = 0
    cdef uint32_t listed = 0
    cdef uint32_t have = 0
    cdef tuple_t t, other
    for i in range(e.high_water):
        if not is_live(&e.conns[i]) or not e.conns[i].status & IPS_SRC_NAT_DONE:
            continue
        have += 1
        r.at = i
        # the lists are walked from their newest, which alone the table names
        if e.conns[i].bysource_prev != FN_NONE:
            continue
        heads += 1
        t = conn_tuple(&e.conns[i], 0)
        if bysource_head(e, t, source_hash(e, t)) != i:
            return b"the newest connection of a source is not found by it"
        at = i
        before = FN_NONE
        while at != FN_NONE:
            r.at = at
            # more entries than records: the list is a ring
            if at >= e.high_water or not is_live(&e.conns[at]) or e.conns[at].bysource_prev != before or listed == e.high_water:
                return b"a list of a source is broken"
            other = conn_tuple(&e.conns[at], 0)
            # a reuse of its mapping would be given to another host
            if other.src != t.src or source_rest(other) != source_rest(t):
                return b"a list of a source has a connection of another one"
            listed += 1
            before = at
            at = e.conns[at].bysource_next
    if listed != have or heads != e.sources.used:
        return b"the sources are counted wrongly"
    return NULL


cdef inline const char *check_wheel(const engine_t *e, room_t *r) noexcept nogil:
    # check_wheel: each connection has one place in the wheel, no later than it expires.
    cdef uint32_t slot, c, i, ct, ahead
    cdef uint32_t places = 0
    cdef uint32_t chunks = 0
    cdef bint head
    for slot in range(FN_WHEEL_SLOTS + FN_FAR_SLOTS):
        r.at = slot
        if (e.wheel[slot] != FN_NONE) != ((e.wheel_busy[slot >> 6] >> (slot & 63)) & 1):
            return b"a slot of the wheel is not marked as it is"
        ahead = slot_ahead(e, slot)
        # advance_to looks at next_far alone: before that no far slot is dealt out, whatever is in it
        if slot >= FN_WHEEL_SLOTS and e.wheel[slot] != FN_NONE and e.now + ahead < e.next_far:
            return b"a far slot of the wheel would be dealt out too late"
        c = e.wheel[slot]
        head = True
        while c != FN_NONE:
            chunks += 1
            if c >= e.n_chunks or chunks > e.n_chunks or e.chunks[c].slot != slot or e.chunks[c].count > FN_CHUNK_IDS:
                return b"a slot of the wheel has a chunk that cannot be"
            # wheel_remove fills a gap from the head of the slot; the pool is large enough only if the others are full
            if e.chunks[c].count == 0 or (not head and e.chunks[c].count != FN_CHUNK_IDS):
                return b"a chunk of the wheel has a gap"
            for i in range(e.chunks[c].count):
                ct = e.chunks[c].ids[i]
                r.at = ct
                if ct >= e.high_water or not is_live(&e.conns[ct]) or e.conns[ct].wheel_pos != c * 16 + i:
                    return b"a place in the wheel is not its connection's"
                # may_share_tuple: with a timeout of 0 s a connection is due in the jiffy in which it begins, and ends with the next one
                if e.may_share_tuple == 0 and is_expired(&e.conns[ct], <uint32_t>e.now):
                    return b"a connection is due and still there"
                # it would be found too late; a place in front of the timeout is right, since packets only move the timeout
                if ahead > 1 and <int32_t>(e.conns[ct].timeout - <uint32_t>e.now) < <int32_t>ahead:
                    return b"a place in the wheel lies behind its connection's timeout"
                places += 1
            head = False
            c = e.chunks[c].next
    r.at = places
    if places != e.confirmed:
        return b"a connection has no place in the wheel, or two"
    c = e.free_chunk
    while c != FN_NONE:
        chunks += 1
        if c >= e.n_chunks or chunks > e.n_chunks:
            return b"the list of free chunks is broken"
        c = e.chunks[c].next
    # chunk_new takes the next one of the array without asking: that there is one follows from these two
    if not (chunks == e.n_chunks and e.n_chunks <= e.max_chunks):
        return b"a chunk of the wheel is lost"
    return NULL


cdef inline const char *check_helps(const engine_t *e, room_t *r) noexcept nogil:
    # check_helps: each help_t has one connection or is free; expectations are in their master's list.
    cdef uint32_t i, at
    cdef uint32_t used = 0
    cdef const help_t *help
    if e.n_helps > e.help_capacity or e.expect_high > e.expect_capacity:
        return b"more helps or expectations are used than there are"
    for i in range(e.high_water):
        if not is_live(&e.conns[i]) or not e.conns[i].flags & CONN_HELPED:
            continue
        r.at = i
        # two with one help would delete each other's expectations
        if e.tcp[i].help >= e.n_helps or r.helps[e.tcp[i].help]:
            return b"a connection has another one's help"
        r.helps[e.tcp[i].help] = 1
        used += 1
        help = help_of(e, i)
        # a child knows its master by record and serial, for the record may be another's by now
        if help.serial == 0 or help.serial > e.help_serial:
            return b"a help has a number that was never given"
        at = help.first
        while at != FN_NONE:
            # an expectation whose master is gone would let strangers in
            if at >= e.expect_high or r.expects[at] or e.expects[at].kind == EXPECT_FREE or e.expects[at].master != i:
                return b"the list of a master's expectations is broken"
            r.expects[at] = 1
            at = e.expects[at].sibling
    at = e.free_help
    while at != FN_NONE:
        r.at = at
        if at >= e.n_helps or r.helps[at]:
            return b"a help is free twice, or in use"
        r.helps[at] = 1
        used += 1
        at = e.helps[at].first
    if not (used == e.n_helps):
        return b"a help is lost"
    return NULL


cdef inline const char *check_expects(const engine_t *e, room_t *r) noexcept nogil:
    # check_expects: each is in one bucket, the right one, or free; seen: 1 in a master's list, 2 in a bucket or free, too.
    cdef uint32_t i, at
    cdef uint32_t keys = 0
    cdef uint32_t expected = 0
    for i in range(FN_EXPECT_HEADS):
        at = e.expect_heads[i]
        while at != FN_NONE:
            r.at = at
            # check_helps has noted 1: one that is in no master's list would still be met when its master is over
            if at >= e.expect_high or r.expects[at] != 1 or expect_head(e, e.expects[at].t) != &e.expect_heads[i]:
                return b"a bucket of expectations is broken"
            r.expects[at] = 2
            keys += e.expects[at].kind == EXPECT_GRE_KEY
            expected += e.expects[at].kind != EXPECT_GRE_KEY
            at = e.expects[at].next
    at = e.free_expect
    while at != FN_NONE:
        r.at = at
        if at >= e.expect_high or r.expects[at] or e.expects[at].kind != EXPECT_FREE:
            return b"an expectation is free twice, or in use"
        r.expects[at] = 2
        at = e.expects[at].next
    for i in range(e.expect_high):
        r.at = i
        if r.expects[i] != 2:
            return b"an expectation is lost"
    # packets look for expectations and keys only where these are not 0: with one too few what was announced is not found
    if not (keys == e.n_gre_keys and expected == e.n_expects):
        return b"the expectations are counted wrongly"
    return NULL


cdef inline const char *check_ipvs_conn(const engine_t *e, uint32_t at, room_t *r) noexcept nogil:
    # check_ipvs_conn: one of IPVS is found by its client, has a place in the wheel, and those that count it exist.
    cdef const ipvs_conn_t *c = &e.ipvs_conns[at - 1]
    cdef uint32_t place = ipvs_head(e, c.client, c.client_port, c.proto)[0]
    cdef uint32_t met = 0
    # no more steps than there are records: a bucket that has become a ring would never end
    while place and place != at and met < e.n_ipvs_conns and place <= e.n_ipvs_conns:
        place = e.ipvs_conns[place - 1].next
        met += 1
    if place != at:
        return b"a connection of IPVS is not in its bucket"
    if c.slot >= FN_IPVS_WHEEL or not (e.ipvs_busy[c.slot >> 6] >> (c.slot & 63)) & 1:
        return b"a connection of IPVS waits in an empty slot"
    if c.wheel_prev > e.n_ipvs_conns:
        return b"a connection of IPVS is not in its slot"
    if (e.ipvs_conns[c.wheel_prev - 1].wheel_next if c.wheel_prev else e.ipvs_wheel[c.slot]) != at:
        return b"a connection of IPVS is not in its slot"
    # a time that is up just now is right: expire_now leaves it so, and the wheel looks at it with the next jiffy
    if <int32_t>(c.expires - <uint32_t>e.now) < 0:
        return b"a connection of IPVS is due and still there"
    if c.control > e.n_ipvs_conns or (c.control and not e.ipvs_conns[c.control - 1].flags & IPVS_TEMPLATE):
        return b"a connection of IPVS has a template that does not exist"
    if c.control:
        r.controls[c.control - 1] += 1
    # as count of ipvs/connection has it: a template names a server, and is none of its load
    if c.dest == FN_NONE or c.flags & IPVS_TEMPLATE:
        return NULL
    if c.dest >= r.n_servers:
        return b"a connection has a real server that does not exist"
    r.active[c.dest] += c.flags & IPVS_ACTIVE != 0
    r.inactive[c.dest] += c.flags & IPVS_ACTIVE == 0
    return NULL


cdef inline const char *check_servers(const engine_t *e, room_t *r) noexcept nogil:
    # check_servers: real servers and templates count the connections that name them; the rest of IPVS's records are free.
    cdef uint32_t at = e.free_ipvs_conn
    cdef uint32_t i
    cdef uint32_t unused = 0
    cdef const char *wrong
    # one step too many is allowed, so that a ring shows in the number; without a bound it would never end
    while at and unused <= e.n_ipvs_conns:
        if at > e.n_ipvs_conns or e.ipvs_conns[at - 1].flags:
            return b"a connection of IPVS is free, and in use"
        unused += 1
        at = e.ipvs_conns[at - 1].next
    for i in range(e.n_ipvs_conns):
        r.at = i
        if not e.ipvs_conns[i].flags & IPVS_USED:
            unused -= 1
            continue
        wrong = check_ipvs_conn(e, i + 1, r)
        if wrong != NULL:
            return wrong
    # below 0 it wraps, and is not 0 either: then a record that nobody uses is missing in the list of the free ones
    if unused != 0:
        return b"a connection of IPVS is lost"
    for i in range(e.n_ipvs_conns):
        r.at = i
        if e.ipvs_conns[i].flags and r.controls[i] != e.ipvs_conns[i].n_control:
            return b"the connections of a persistent client are counted wrongly"
    for i in range(r.n_servers):
        r.at = i
        if r.active[i] != e.servers[i].active or r.inactive[i] != e.servers[i].inactive:
            return b"the connections of a real server are counted wrongly"
    return NULL


cdef inline const char *check_page(const engine_t *e, const bitmap_key_t *key, uint32_t page, room_t *r) noexcept nogil:
    # check_page: what a page knows of its ports is so.
    cdef const uint64_t *taken = page_words(e, key.pages[page])
    cdef uint32_t i, at, owner
    cdef uint64_t h
    cdef bint wrong, firm
    cdef tuple_t t
    for i in range(FN_PAGE_PORTS):
        firm = (taken[FN_FIRM + (i >> 6)] >> (i & 63)) & 1
        if not (taken[FN_KNOWN + (i >> 6)] >> (i & 63)) & 1:
            if firm:
                return b"a bitmap knows an owner of a port that it does not know"
            continue
        # a key leaves the port open; with it, it is a tuple as the table has it
        t = key.t
        t.rest |= <uint64_t>(page * FN_PAGE_PORTS + i) << 16
        r.at = page * FN_PAGE_PORTS + i
        h = tuple_hash(e, t)
        if (taken[i >> 6] >> (i & 63)) & 1:
            # also by one whose timeout of 0 s has just made it due
            at = 0
            owner = next_with(e, t, h, &at)
            wrong = owner == FN_NONE or (firm and may_give_way(e, owner))
        else:
            # the search takes it without a look into the table: two connections would have one tuple
            wrong = firm or find_tuple(e, t, h, <uint32_t>e.now) != FN_NONE
        if wrong:
            return b"a bitmap is wrong about a port"
    return NULL


cdef inline const char *check_pages(const engine_t *e, room_t *r, uint32_t *live) noexcept nogil:
    # check_pages: each bitmap in use is found, and no page has two owners.
    # => live: bitmaps in use.
    cdef uint32_t b, i
    cdef const char *wrong
    cdef const bitmap_key_t *key
    for b in range(e.n_bitmaps):
        key = &e.bitmap_keys[b]
        r.at = b
        if not key.live:
            continue
        live[0] += 1
        # a bitmap that nobody finds is not kept up, and wrong as soon as somebody does
        if bitmap_find(e, key.t) != <int>b:
            return b"a bitmap is not found"
        for i in range(FN_PAGES):
            if key.pages[i] == FN_NONE:
                continue
            if key.pages[i] >= e.n_pages or r.pages[key.pages[i]]:
                return b"two bitmaps have one page"
            r.pages[key.pages[i]] = 1
            wrong = check_page(e, key, i, r)
            if wrong != NULL:
                return wrong
    return NULL


cdef inline const char *check_queue(const engine_t *e, room_t *r, uint32_t live) noexcept nogil:
    # check_queue: the bitmaps in use by their last search.
    cdef uint32_t queued = 0
    cdef uint32_t newer = FN_NONE
    cdef uint32_t b = e.newest_bitmap
    while b != FN_NONE:
        r.at = b
        queued += 1
        if b >= e.n_bitmaps or not e.bitmap_keys[b].live or e.bitmap_keys[b].newer != newer or queued > live:
            return b"the queue of bitmaps is broken"
        newer = b
        b = e.bitmap_keys[b].older
    if queued != live or e.oldest_bitmap != newer:
        return b"the queue of bitmaps is broken"
    return NULL


cdef inline const char *check_free(const engine_t *e, room_t *r, uint32_t live) noexcept nogil:
    # check_free: what is not in use is free, once.
    cdef uint32_t i
    cdef uint32_t b = e.free_bitmap
    while b != FN_NONE:
        live += 1
        if b >= e.n_bitmaps or e.bitmap_keys[b].live or live > e.n_bitmaps:
            return b"the list of free bitmaps is broken"
        b = e.bitmap_keys[b].older
    i = e.free_page
    while i != FN_NONE:
        r.at = i
        if i >= e.n_pages or r.pages[i]:
            return b"a page is free twice, or in use"
        r.pages[i] = 1
        # see bitmap_drop: a free page names the next one
        i = <uint32_t>page_words(e, i)[0]
    for i in range(e.n_pages):
        r.at = i
        if not r.pages[i]:
            return b"a page is lost"
    if live != e.n_bitmaps:
        return b"a bitmap is lost"
    return NULL


cdef inline const char *check_bitmaps(const engine_t *e, room_t *r) noexcept nogil:
    # check_bitmaps: each bitmap is found and queued, each page has one owner or is free.
    cdef uint32_t live = 0
    cdef const char *wrong
    if e.n_bitmaps > e.max_bitmaps or e.n_pages > e.max_pages:
        return b"more bitmaps are used than there are"
    wrong = check_pages(e, r, &live)
    if wrong == NULL:
        wrong = check_queue(e, r, live)
    if wrong == NULL:
        wrong = check_free(e, r, live)
    return wrong


cdef inline const char *check_connlimits(const engine_t *e, room_t *r) noexcept nogil:
    # check_connlimits: each entry is in the bucket of its key, or free.
    cdef uint64_t met = 0
    cdef uint32_t i, at
    if e.n_connlimits > e.connlimit_capacity:
        return b"more entries of connlimit are used than there are"
    for i in range(FN_CONNLIMIT_HEADS if e.connlimit_capacity else 0):
        at = e.connlimit_heads[i]
        while at:
            met += 1
            r.at = at - 1
            # in another bucket than its key's it would take room for ever: nobody who counts would come by, and no count hold it
            if at > e.n_connlimits or met > e.n_connlimits or connlimit_head(
                    e, e.connlimits[at - 1].addr, e.connlimits[at - 1].list, e.connlimits[at - 1].zone) != &e.connlimit_heads[i]:
                return b"a bucket of connlimit is broken"
            at = e.connlimits[at - 1].next
    at = e.free_connlimit
    # the list may be a ring, too
    while at and met <= e.n_connlimits:
        met += 1
        at = e.connlimits[at - 1].next
    if met != e.n_connlimits:
        return b"an entry of connlimit is lost, or free twice"
    return NULL


cdef inline const char *check_engine(const engine_t *e, room_t *r) noexcept nogil:
    # check_engine: => What is wrong, or NULL; r.at says where.
    cdef const char *wrong = check_records(e, r)
    if wrong == NULL:
        wrong = check_buckets(e, &e.tuples, r)
    if wrong == NULL:
        wrong = check_buckets(e, &e.sources, r)
    if wrong == NULL:
        wrong = check_tuples(e, r)
    if wrong == NULL:
        wrong = check_sources(e, r)
    if wrong == NULL:
        wrong = check_wheel(e, r)
    if wrong == NULL:
        wrong = check_helps(e, r)
    if wrong == NULL:
        wrong = check_expects(e, r)
    if wrong == NULL:
        wrong = check_servers(e, r)
    if wrong == NULL:
        wrong = check_bitmaps(e, r)
    if wrong == NULL:
        wrong = check_connlimits(e, r)
    return wrong
