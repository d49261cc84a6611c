# A batch in stages: hash all, probe the buckets, decide. While a group of packets is decided the lines of those behind are
# fetched, so that memory works while the CPU does.
#
# Source: ours.
# Invariants: the stages before `decide` only compute hashes and name lines to fetch; `decide` looks everything up again in
# packet order, so two packets of one new connection in one batch give one connection, and the split of
# the input into batches never shows. So a batch may stop behind any packet, and does where it has taken long
# (somebody may want to interrupt it) or where hashes computed ahead hold no longer (tuples/rehash.pxd).
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from .types cimport *
from .conntrack.expire cimport advance_to, tick_before
from .conntrack.lookup cimport candidate, dst16_count, name_record, RECORD_LINES
from .hooks cimport let_go, set_up, walk
from .nat.fetch_owners cimport fetch_owners, fetch_victims
from .nat.known_ports cimport look_ahead_in_ports
from .packet.packet cimport load, packet_tuple, store
from .rules.fetch_ahead cimport look_ahead_in_rules
from .rules.nft_fetch_ahead cimport look_ahead_in_chains
from .rules.walk cimport APART_SHIFT, DST_CLASS
from .shortcuts.conditions cimport COMPLETE_SOURCE
from .shortcuts.established cimport pass_established
from .shortcuts.hook_memo cimport varied_range
from .shortcuts.opening cimport (bounds_hold, complete_memo, draws_port, look_else, open_shortly, translated, within_bounds)
from .shortcuts.pass_memo cimport count_pass, known_pass, remember_pass
from .shortcuts.untracked cimport known_untracked, pass_untracked, remember_untracked
from .tuples.hash cimport begin_packet, first_u16, source_tuple, tuple_hash
from .tuples.rehash cimport is_crowded
from .tuples.table cimport bucket_home
from .shards cimport SHARD_ROOM
from .tuples.tuple cimport asks_echo, conn_tuple, swap_ends, tuple_dport, tuple_equal, tuple_proto

cdef enum:
    # packets decided behind each of the two fetches, of FN_STAGE
    HALF = FN_STAGE // 2
    # groups between the stages: enough time for a line to come, few enough to stay in the first-level cache
    PROBE = 1
    DECIDE = 2
    RING = 3
    # lines that look_ahead names for a packet, at most
    AHEAD_LINES = 5 + RECORD_LINES
    GROUP_LINES = FN_STAGE * AHEAD_LINES
    # bytes of the longest datagram
    DATAGRAM_ROOM = 65536
    # packets without a connection that are passed before somebody may interrupt: some 2 ms
    UNTRACKED_RUN = 65536

# where a memo's key holds the classes of both ports
cdef extern from *:
    """
    #define FN_PORT_CLASSES (((uint64_t)1 << 60) - ((uint64_t)1 << 24))
    """
    const uint64_t PORT_CLASSES "FN_PORT_CLASSES"


cdef struct group_t:
    const packet_t *packets
    uint32_t n
    # the number of the first packet, see begin_packet
    uint64_t number
    tuple_t tuples[FN_STAGE]
    uint64_t hashes[FN_STAGE]
    # the table id that is probably the packet's, FN_NONE: it will probably open a connection
    uint32_t found[FN_STAGE]
    ahead_t ahead[FN_STAGE]
    # what the next stages of this group will touch: the home bucket of each packet, then what was found there
    const void *homes[FN_STAGE]
    uint32_t n_lines
    const void *lines[GROUP_LINES]


cdef struct batch_t:
    # headers that have been checked
    const packet_t *packets
    result_t *results
    # one a packet, or NULL; the last of them
    double *times
    double last
    uint64_t n


cdef struct scratch_t:
    # the memory of a batch, the engine's own: threads may have small stacks
    # those in flight, and one that holds none
    group_t ring[RING + 1]
    pkt_t held[FN_CPUS]
    # a datagram that may be made longer
    uint8_t room[DATAGRAM_ROOM]
    # what a shard takes out of a batch
    packet_t packets[SHARD_ROOM]
    result_t results[SHARD_ROOM]
    uint64_t places[SHARD_ROOM]
    double times[SHARD_ROOM]


cdef inline void stage_hash(engine_t *e, group_t *g, uint64_t number, const packet_t *in_, uint32_t n) noexcept nogil:
    # stage_hash: the tuples of a group, their hashes, and the home bucket of each as the next lines to fetch.
    cdef uint32_t i
    g.packets = in_
    g.n = n
    g.number = number
    for i in range(n):
        g.tuples[i] = packet_tuple(in_ + i)
    fn_hash_stage(e.key, g.tuples, g.hashes, n)
    for i in range(n):
        # only named: they are fetched while another group is worked on
        g.homes[i] = bucket_home(&e.tuples, g.hashes[i])


cdef inline uint32_t ahead_record(const engine_t *e, uint32_t i) noexcept nogil:
    # ahead_record: the record that the i-th connection to be opened from here on will probably have.
    return e.free_ids[e.n_free - 1 - i] if e.n_free > i else e.high_water + i - e.n_free


cdef inline const void **look_ahead(engine_t *e, group_t *g, const uint32_t *misses, uint32_t n, const void **lines) noexcept nogil:
    # look_ahead: for connections about to be opened, the lines that NAT will touch if it chooses the address that a memo
    # has, or that it chose last, and keeps the port or takes the first that it draws or that a bitmap knows: buckets of these
    # reply tuples, bysource bucket, next free record and its TCP state.
    # => The end of the lines, at most AHEAD_LINES a packet. Of ICMP there are but echo requests.
    cdef uint32_t i
    cdef ahead_t *ahead
    cdef const packet_t *in_
    cdef memo_t *memo
    cdef const target_t *range_
    cdef memo_t *near = &e.memos[e.memo_bounds.memo] if bounds_hold(e, &e.memo_bounds) else NULL
    cdef tuple_t t
    for i in range(n):
        t = g.tuples[misses[i]]
        ahead = &g.ahead[misses[i]]
        in_ = g.packets + misses[i]
        memo = near
        ahead.key[2] = 0
        if near == NULL or not within_bounds(&e.memo_bounds, in_):
            memo = complete_memo(e, in_, ahead.key) if e.shortly else NULL
            near = memo if memo != NULL and e.n_apart == 0 else near
        ahead.memo = memo
        ahead.proto = in_.proto
        ahead.searches = False
        ahead.drawn = FN_NONE
        ahead.varied = FN_NONE
        ahead.source = source_tuple(t)
        ahead.checks = dst16_count(e, in_.src)[0] != 0
        ahead.reply[0] = swap_ends(t)
        ahead.reply[1] = ahead.reply[0]
        ahead.reply[1].dst = e.guess_addr
        if memo != NULL:
            ahead.born = memo.born
            ahead.reply[1].dst = memo.addr
            ahead.target = memo.target_arg
            if fn_unlikely(memo.varied != 0):
                ahead.varied = varied_range(e, memo, in_.src, &ahead.reply[1].dst, &ahead.target)
            range_ = &e.targets[ahead.target]
            if draws_port(range_, t):
                ahead.drawn = first_u16(e, g.number + misses[i])
                ahead.reply[1] = translated(range_, ahead.reply[1].dst, t, ahead.drawn)
            if fn_unlikely(memo.complete != COMPLETE_SOURCE):
                look_else(memo, t, ahead)
        if fn_unlikely(e.n_bitmaps != 0):
            fn_rarely()
            ahead.number = g.number + misses[i]
            look_ahead_in_ports(e, t, ahead)
    fn_hash_ahead(e.key, g.ahead, misses, n)
    for i in range(n):
        ahead = &g.ahead[misses[i]]
        lines[0] = bucket_home(&e.tuples, ahead.reply_hash[1])
        lines[1] = bucket_home(&e.sources, ahead.source_hash)
        lines = name_record(e, ahead_record(e, i), ahead.proto, lines + 2)
        if ahead.checks:
            lines[0] = bucket_home(&e.tuples, ahead.reply_hash[0])
            lines += 1
        if fn_unlikely(ahead.searches):
            lines[0] = bucket_home(&e.tuples, ahead.reply_hash[2])
            lines += 1
    return lines


cdef inline bint may_be_opened(tuple_t t) noexcept nogil:
    # may_be_opened: whether it is worth to look ahead for a packet: of ICMP, for echo requests.
    return tuple_proto(t) != PROTO_ICMP or asks_echo(PROTO_ICMP, tuple_dport(t))


cdef inline void stage_probe(engine_t *e, group_t *g) noexcept nogil:
    # stage_probe: which record each packet of a group is probably of; for the others, look ahead.
    cdef uint32_t misses[FN_STAGE]
    cdef uint32_t n = 0
    cdef const void **lines = <const void **>g.lines
    cdef uint32_t i, found
    for i in range(g.n):
        # the home bucket, if it has not been split meanwhile; then the packet takes the long way
        found = candidate(e, <const bucket_t *>g.homes[i], g.hashes[i], &g.tuples[i])
        g.found[i] = found
        if found != FN_NONE:
            lines = name_record(e, found >> 1, tuple_proto(g.tuples[i]), lines)
        elif may_be_opened(g.tuples[i]):
            misses[n] = i
            n += 1
        else:
            # opened by the long way alone
            g.found[i] = 0
    if n:
        if e.n_wide:
            look_ahead_in_rules(e, g.packets, misses, n)
        if fn_unlikely(e.n_nft_wide != 0):
            fn_rarely()
            look_ahead_in_chains(e, g.packets, misses, n, g.number)
        lines = look_ahead(e, g, misses, n, lines)
    g.n_lines = <uint32_t>(lines - <const void **>g.lines)


cdef inline void take_classes(pkt_t *p, const ahead_t *ahead) noexcept nogil:
    # take_classes: what look_ahead has found out about addresses and ports already, as classify does it.
    if ahead.key[2]:
        p.classified = p.t
        p.src_class = <uint32_t>ahead.key[0]
        p.dst_class = <uint32_t>(ahead.key[0] >> 32) & DST_CLASS
        p.apart = <unsigned char>(ahead.key[0] >> APART_SHIFT)
        p.port_classes = ahead.key[2] & PORT_CLASSES


cdef inline bint was_mistaken(engine_t *e, group_t *g, uint32_t i) noexcept nogil:
    # was_mistaken: the record that a tag named is another connection's; look ahead now for the one that is missing.
    cdef const void *lines[AHEAD_LINES]
    cdef uint32_t k, n
    if not may_be_opened(g.tuples[i]) or tuple_equal(e.conns[g.found[i] >> 1].tuples[g.found[i] & 1], g.tuples[i]):
        return False
    n = <uint32_t>(look_ahead(e, g, &i, 1, lines) - <const void **>lines)
    for k in range(n):
        fn_prefetch_write(lines[k])
    return True


cdef inline bint decide_shortly(engine_t *e, group_t *g, uint32_t i, bint *missed, result_t *out) noexcept nogil:
    # decide_shortly: => False: take the long way.
    cdef pass_memo_t *memo = NULL
    if not missed[0]:
        # looked for in front, where it costs a node without such rules nothing
        if fn_unlikely(e.ruled != 0):
            memo = known_pass(e, g.packets + i, g.found[i])
        if (memo != NULL or fn_likely(e.ruled == 0)) and pass_established(e, g.packets + i, g.tuples[i], g.found[i], out):
            if fn_unlikely(memo != NULL):
                count_pass(e, g.packets + i, memo)
            return True
        missed[0] = was_mistaken(e, g, i)
    return missed[0] and open_shortly(e, g.packets + i, True, g.tuples[i], g.hashes[i], &g.ahead[i], out)


cdef inline bint decide_at_length(engine_t *e, group_t *g, uint32_t i, bint missed, result_t *out) noexcept nogil:
    # decide_at_length: => True: the batch is to stop behind it.
    cdef pkt_t p
    load(&p, g.packets + i, g.tuples[i], g.hashes[i])
    begin_packet(e, g.number + i)
    p.now = <uint32_t>e.now
    if missed:
        p.ahead = &g.ahead[i]
        take_classes(&p, p.ahead)
    if p.in_iface >= e.n_ifaces:
        p.verdict = VERDICT_DROP
        p.reason = REASON_INTERFACE
    else:
        walk(e, &p)
    if fn_unlikely(e.ruled != 0) and e.shortly:
        remember_pass(e, g.packets + i, &p)
    if fn_unlikely(e.untracked_shortly != 0) and p.ct == FN_NONE:
        remember_untracked(e, g.packets + i, &p)
    e.stats[STAT_PORT_SEARCH_PROBES] += p.probes
    store(&p, out)
    return p.pause


cdef inline bint decide(engine_t *e, group_t *g, uint32_t i, bint shortly, result_t *out) noexcept nogil:
    # decide: one packet, with everything that the stages before have fetched.
    # => True: the batch is to stop behind it.
    cdef bint missed = g.found[i] == FN_NONE
    if shortly and decide_shortly(e, g, i, &missed, out):
        return False
    return decide_at_length(e, g, i, missed, out)


cdef inline void fetch(const void *const *lines, uint32_t n) noexcept nogil:
    # fetch: all lines of a stage at once. A fetch retires when its address is translated; where that takes long, only
    #    fetches side by side overlap. Into the second level: the first one can wait for fewer lines at a time.
    cdef uint32_t k
    for k in range(n):
        fn_prefetch_far(lines[k])


cdef inline void bring_near(const engine_t *e, const group_t *g) noexcept nogil:
    # bring_near: what was fetched for a group, into the first level, now that it is about to be decided.
    cdef uint32_t k
    for k in range(g.n_lines):
        fn_prefetch_write(g.lines[k])
    if fn_unlikely(e.n_bitmaps != 0):
        fn_rarely()
        fetch_owners(e, g.found, g.ahead, g.n)


cdef struct turn_t:
    # what one turn of a run works on: a group that has just been hashed, one that has been probed, one to be decided. The first two
    # hold no packets where there is none
    group_t *hashed
    group_t *probed
    group_t *group


cdef inline uint64_t turns_of(uint64_t n) noexcept nogil:
    # turns_of: how many turns a run of n packets takes: one a group, and those in which no further group comes.
    return (n + FN_STAGE - 1) // FN_STAGE + DECIDE


cdef inline uint32_t group_size(uint64_t n, uint64_t k) noexcept nogil:
    # group_size: how many of the n packets of a run its group k has; 0: there is no such group.
    if k * FN_STAGE >= n:
        return 0
    return <uint32_t>(n - k * FN_STAGE if n - k * FN_STAGE < FN_STAGE else FN_STAGE)


cdef inline void take_turn(engine_t *e, group_t *ring, uint64_t n, uint64_t k, const packet_t *in_, uint64_t number,
                           turn_t *turn) noexcept nogil:
    # take_turn: turn k of a run of n packets: group k is hashed, that of PROBE turns ago probed, that of DECIDE turns ago to be
    # decided by who calls. in_: the packets of group k; number: of the run's first; ring: room for RING groups and an empty one.
    cdef group_t *idle = ring + RING
    idle.n = 0
    idle.n_lines = 0
    turn.hashed = idle
    turn.probed = idle
    turn.group = idle
    if group_size(n, k):
        turn.hashed = ring + k % RING
        stage_hash(e, turn.hashed, number + k * FN_STAGE, in_, group_size(n, k))
    if k >= PROBE and group_size(n, k - PROBE):
        turn.probed = ring + (k - PROBE) % RING
        stage_probe(e, turn.probed)
    if k >= DECIDE:
        turn.group = ring + (k - DECIDE) % RING
        bring_near(e, turn.group)


cdef inline uint32_t begin_half(const turn_t *turn, uint32_t half) noexcept nogil:
    # begin_half: fetch what a group behind will touch, while half of the group in front is decided.
    # => The end of that half.
    if half:
        fetch(turn.probed.lines, turn.probed.n_lines)
    else:
        fetch(turn.hashed.homes, turn.hashed.n)
    return (half + 1) * HALF if (half + 1) * HALF < turn.group.n else turn.group.n


cdef inline uint32_t stage_decide(engine_t *e, group_t *g, const turn_t *turn, result_t *out, const double *times,
                                  double last) noexcept nogil:
    # stage_decide: the group in front. times, if given, holds one time a packet and never goes back; `last` is the last of them.
    # => How many packets were decided; fewer than the group has: the batch is to stop.
    cdef uint32_t half, i, end
    cdef uint64_t tick
    cdef bint shortly = e.shortly
    for half in range(2):
        end = begin_half(turn, half)
        if fn_unlikely(e.n_bitmaps != 0):
            fn_rarely()
            fetch_victims(e, g.packets, g.found, g.ahead, half * HALF, end)
        for i in range(half * HALF, end):
            if times != NULL:
                tick = tick_before(times[i], last)
                if tick != e.now:
                    advance_to(e, tick)
            if fn_unlikely(decide(e, g, i, shortly, out + i)):
                e.stats[STAT_PACKETS] += i + 1
                return i + 1
    e.stats[STAT_PACKETS] += g.n
    return g.n


cdef inline uint64_t run_untracked(engine_t *e, const packet_t *in_, result_t *out, const double *times, double last,
                                   uint64_t n) noexcept nogil:
    # run_untracked: the packets in front that memos say to have no connection: neither hashed nor looked for.
    # => How many.
    cdef uint64_t done = 0
    cdef uint64_t tick
    cdef memo_t *memo
    # a batch of them may be long, but each takes little
    while done < n and done < UNTRACKED_RUN:
        memo = known_untracked(e, in_ + done)
        # before its time comes, as somebody may interrupt the batch in front of it
        if memo == NULL:
            break
        if times != NULL:
            tick = tick_before(times[done], last)
            if tick != e.now:
                advance_to(e, tick)
        pass_untracked(e, in_ + done, memo, out + done)
        done += 1
    e.stats[STAT_PACKETS] += done
    return done


cdef inline uint64_t run_batch(engine_t *e, group_t *ring, const packet_t *in_, result_t *out, const double *times,
                               double last, uint64_t n) noexcept nogil:
    # run_batch: what a stage names is fetched while a group in front is decided. ring: as for take_turn.
    # => How many packets were decided: all, or those up to where it stops.
    cdef uint64_t k, at
    cdef uint64_t number = e.stats[STAT_PACKETS]
    cdef uint64_t begun = fn_cycles()
    cdef uint32_t decided
    cdef turn_t turn
    if fn_unlikely(e.untracked_shortly != 0):
        at = run_untracked(e, in_, out, times, last, n)
        # and then the caller asks for the rest
        if at:
            return at
    for k in range(turns_of(n)):
        take_turn(e, ring, n, k, in_ + k * FN_STAGE, number, &turn)
        if k < DECIDE:
            begin_half(&turn, 0)
            begin_half(&turn, 1)
            continue
        at = (k - DECIDE) * FN_STAGE
        # two calls: a single one gcc would inline, and then nothing more into it: 20 instructions a segment
        if times == NULL:
            decided = stage_decide(e, turn.group, &turn, out + at, NULL, last)
        else:
            decided = stage_decide(e, turn.group, &turn, out + at, times + at, last)
        if fn_unlikely(decided < turn.group.n or is_crowded(e) or fn_cycles() - begun > FN_SLICE):
            return at + decided
    return n


cdef inline void hash_held(engine_t *e, pkt_t *held, uint32_t n) noexcept nogil:
    # hash_held: after a rehash, for packets that wait before confirm.
    cdef uint32_t i
    for i in range(n):
        if held[i].is_new:
            held[i].hash = tuple_hash(e, conn_tuple(&e.conns[held[i].ct], 0))
            held[i].verified = False


cdef inline uint64_t run_race(engine_t *e, const packet_t *in_, result_t *out, const double *times, double last,
                              uint64_t n, pkt_t *held, uint32_t cpus) noexcept nogil:
    # run_race: `cpus` packets at a time are set up before the first of them confirms. held has room for that many.
    # => How many packets were decided: all, or those up to where it stops.
    cdef uint64_t first = 0
    cdef uint64_t begun = fn_cycles()
    cdef uint64_t rehashes
    cdef uint32_t reasons[FN_CPUS]
    cdef uint32_t i, k
    cdef tuple_t t
    while first < n:
        k = <uint32_t>(n - first if n - first < cpus else cpus)
        rehashes = e.rehashes
        for i in range(k):
            if times != NULL:
                advance_to(e, tick_before(times[first + i], last))
            begin_packet(e, e.stats[STAT_PACKETS] + i)
            t = packet_tuple(in_ + first + i)
            load(&held[i], &in_[first + i], t, tuple_hash(e, t))
            held[i].now = <uint32_t>e.now
            reasons[i] = REASON_INTERFACE if held[i].in_iface >= e.n_ifaces else set_up(e, &held[i])
        # what is drawn at confirm goes on behind what the last of them drew
        for i in range(k):
            # the other packets have taken their time: it is the time of confirm that counts
            held[i].now = <uint32_t>e.now
            if fn_unlikely(e.rehashes != rehashes):
                rehashes = e.rehashes
                hash_held(e, held + i, k - i)
            let_go(e, &held[i], reasons[i])
            e.stats[STAT_PORT_SEARCH_PROBES] += held[i].probes
            store(&held[i], out + first + i)
        e.stats[STAT_PACKETS] += k
        first += k
        if is_crowded(e) or fn_cycles() - begun > FN_SLICE:
            break
    return first
