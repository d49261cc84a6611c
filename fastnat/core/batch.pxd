# A batch in stages: hash all, fetch buckets, fetch records, decide. The stages of neighbouring groups of packets
# overlap, so that some sixty cache misses are under way at once.
#
# Source: ours.
# Invariants: the stages before `decide` only prefetch and compute hashes; `decide` looks everything up again in
# packet order, so two packets of one new connection in one batch give one connection, and the split of
# the input into batches never shows.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from .types cimport *
from .ct_lookup cimport prefetch_candidate
from .hash_table cimport bucket_home
from .hooks cimport walk
from .expire cimport advance_to
from .tuple cimport invert_tuple, tuple_make, tuple_proto, tuple_sport, tuple_dport, tuple_dst, tuple_src, tuple_with_src
from .tuple_hash cimport source_rest

cdef struct group_t:
    pkt_t packets[32]
    uint64_t m0[32]
    uint64_t m1[32]
    uint64_t hashes[32]
    uint32_t n


cdef inline void pkt_reset(pkt_t *p) noexcept nogil:
    # pkt_reset: everything that a packet gathers on its way starts empty.
    p.data = NULL
    p.ct = FN_NONE
    p.probes = 0
    p.out_iface = 0
    p.route = 0
    p.ctinfo = IP_CT_INVALID
    p.dir = 0
    p.reason = REASON_NONE
    p.has_seq = 0
    p.seq = 0
    p.ack = 0
    p.window = 0
    p.end = 0
    p.payload = 0
    p.ttl = 64
    p.untracked = 0
    p.is_new = 0
    p.verified = 0
    p.icmp_error = 0
    p.guessed = 0
    p.has_source_hash = 0
    p.template_zone = 0
    p.template_dir = 3
    p.tracked = 1


cdef inline void load(pkt_t *p, const packet_t *in_) noexcept nogil:
    pkt_reset(p)
    p.t = tuple_make(in_.src, in_.dst, in_.sport, in_.dport, in_.proto, 0)
    p.in_iface = in_.iface
    p.length = in_.length
    p.tcp_flags = in_.tcp_flags
    p.mark = in_.mark


cdef inline void stage_hash(engine_t *e, group_t *g, const packet_t *in_, uint32_t n) noexcept nogil:
    cdef uint32_t i
    g.n = n
    for i in range(n):
        load(&g.packets[i], in_ + i)
        g.m0[i] = g.packets[i].t.addrs
        g.m1[i] = g.packets[i].t.rest
    fn_siphash13_stage(e.key, g.m0, g.m1, g.hashes)
    for i in range(n):
        g.packets[i].hash = g.hashes[i]
        fn_prefetch(bucket_home(&e.tuples, g.hashes[i]))


cdef inline void prefetch_new(engine_t *e, group_t *g, const uint32_t *misses, uint32_t n) noexcept nogil:
    # prefetch_new: for connections about to be opened, the lines that NAT will touch if it chooses the address
    # that it chose last and keeps the port: buckets of both reply tuples, bysource bucket, next free record.
    cdef uint32_t i, which
    cdef pkt_t *p
    for which in range(2):
        for i in range(n):
            p = &g.packets[misses[i]]
            p.guess[which] = invert_tuple(tuple_with_src(p.t, e.guess_addr, tuple_sport(p.t)) if which else p.t)
            g.m0[i] = p.guess[which].addrs
            g.m1[i] = p.guess[which].rest
        fn_siphash13_stage(e.key, g.m0, g.m1, g.hashes)
        for i in range(n):
            g.packets[misses[i]].guess_hash[which] = g.hashes[i]
            fn_prefetch_write(bucket_home(&e.tuples, g.hashes[i]))
    for i in range(n):
        p = &g.packets[misses[i]]
        p.guessed = True
        fn_prefetch_write(&e.conns[e.free_ids[e.n_free - 1 - i] if e.n_free > i else e.high_water + i - e.n_free])
        g.m0[i] = p.t.addrs & <uint64_t>0xffffffff
        g.m1[i] = source_rest(p.t)
    fn_siphash13_stage(e.key, g.m0, g.m1, g.hashes)
    for i in range(n):
        p = &g.packets[misses[i]]
        p.source_hash = g.hashes[i]
        p.has_source_hash = True
        fn_prefetch_write(bucket_home(&e.sources, p.source_hash))


cdef inline void stage_probe(engine_t *e, group_t *g) noexcept nogil:
    cdef uint32_t misses[FN_STAGE]
    cdef uint32_t n = 0
    cdef uint32_t i
    for i in range(g.n):
        if not prefetch_candidate(e, g.packets[i].hash) and tuple_proto(g.packets[i].t) != PROTO_ICMP:
            misses[n] = i
            n += 1
    if n:
        prefetch_new(e, g, misses, n)


cdef inline void store(const pkt_t *p, result_t *out) noexcept nogil:
    out.verdict = p.verdict
    out.ctinfo = p.ctinfo
    out.reason = p.reason
    out.pad = 0
    out.src = tuple_src(p.t)
    out.dst = tuple_dst(p.t)
    out.sport = <uint16_t>tuple_sport(p.t)
    out.dport = <uint16_t>tuple_dport(p.t)
    out.out_iface = p.out_iface
    out.probes = <uint16_t>p.probes
    out.conn = p.ct


cdef inline void stage_decide(engine_t *e, group_t *g, result_t *out, const uint64_t *ticks) noexcept nogil:
    # stage_decide: => ticks, if given, holds one jiffy a packet and never goes back.
    cdef uint32_t i
    cdef pkt_t *p
    for i in range(g.n):
        p = &g.packets[i]
        if ticks != NULL and ticks[i] != e.now:
            advance_to(e, ticks[i])
        p.now = <uint32_t>e.now
        if p.in_iface >= e.n_ifaces:
            p.verdict = VERDICT_DROP
            p.reason = REASON_INTERFACE
        else:
            walk(e, p)
        e.stats[STAT_PROBES] += p.probes
        store(p, out + i)
    e.stats[STAT_PACKETS] += g.n


cdef inline void run_batch(engine_t *e, const packet_t *in_, result_t *out, const uint64_t *ticks,
                           uint64_t n) noexcept nogil:
    # run_batch: three groups in flight: one hashed, one probed, one decided.
    cdef group_t groups[3]
    cdef uint64_t n_groups = (n + FN_STAGE - 1) // FN_STAGE
    cdef uint64_t k, size
    for k in range(n_groups + 2):
        if k < n_groups:
            size = n - k * FN_STAGE
            stage_hash(e, &groups[k % 3], in_ + k * FN_STAGE, <uint32_t>(size if size < FN_STAGE else FN_STAGE))
        if 1 <= k <= n_groups:
            stage_probe(e, &groups[(k - 1) % 3])
        if k >= 2:
            stage_decide(e, &groups[(k - 2) % 3], out + (k - 2) * FN_STAGE,
                         ticks + (k - 2) * FN_STAGE if ticks != NULL else NULL)
