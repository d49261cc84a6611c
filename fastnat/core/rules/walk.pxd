# Remembering how packets fare that no rule can tell apart.
#
# Source: ours (Open vSwitch's megaflows are the same idea); the walk itself is ipt_do_table, see rules/match.
# Invariants: two packets with the same key meet the same rules with the same answers: addresses and ports count only
# as classes, cut at every address and port that a rule or a route names; whatever else a match may ask
# makes the walk unrepeatable, and then nothing is remembered. Counters of a path are those of all its rules.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport *
from ..route cimport classify
from ..tuples.tuple cimport tuple_proto
from .match cimport ct_state_bit, do_table


cdef inline void path_key(const engine_t *e, uint32_t table, pkt_t *p, uint64_t *key) noexcept nogil:
    # path_key: everything about the packet that a repeatable match may ask.
    cdef uint32_t state = ct_state_bit(e, p)
    classify(e, p)
    key[0] = p.src_class | <uint64_t>p.dst_class << 32
    key[1] = (p.mark | <uint64_t>(p.tcp_flags & 0xff) << 32 | <uint64_t>tuple_proto(p.t) << 40
              | <uint64_t>(table * 5 + p.hook) << 48 | <uint64_t>(state & 0xff) << 56)
    key[2] = p.in_iface | <uint64_t>p.out_iface << 12 | p.port_classes | <uint64_t>(state >> 14) << 60 | <uint64_t>1 << 63


cdef inline uint32_t slot_of(const engine_t *e, const uint64_t *key) noexcept nogil:
    # slot_of: the place of a key in the direct-mapped memory of paths, and of shortcuts/hook_memo's.
    cdef uint64_t h = key[0] ^ key[1] * <uint64_t>0x9e3779b97f4a7c15 ^ key[2]
    return <uint32_t>(h * <uint64_t>0xbf58476d1ce4e5b9 >> 40) & (e.n_paths - 1)


cdef inline void count_rules(engine_t *e, const uint32_t *rules, uint32_t n, uint64_t packets, uint64_t bytes_) noexcept nogil:
    # count_rules: hand remembered counters over to the rules.
    cdef uint32_t i
    for i in range(n):
        e.rules[rules[i]].packets += packets
        e.rules[rules[i]].bytes += bytes_


cdef inline void path_flush(engine_t *e, path_t *path) noexcept nogil:
    count_rules(e, path.rules, path.n if path.packets else 0, path.packets, path.bytes)
    path.packets = 0
    path.bytes = 0


cdef inline bint l4_cut(const pkt_t *p) noexcept nogil:
    # l4_cut: the datagram ends inside the l4 header: a port match of its protocol would drop it at once.
    cdef uint32_t need = 8 if tuple_proto(p.t) == PROTO_UDP or tuple_proto(p.t) == PROTO_ICMP else 20
    return p.data != NULL and p.len < p.l4off + need


cdef inline uint32_t walk_table(engine_t *e, uint32_t table, pkt_t *p) noexcept nogil:
    # walk_table: what the table's rules say about the packet, as do_table does.
    # => What do_table returns: TARGET_ACCEPT, TARGET_DROP, TARGET_TOO_FAR, or the NAT target that decided, with p.target its range.
    cdef path_t fresh
    cdef path_t *path
    if e.hook_entry[table][p.hook] == FN_NONE:
        return TARGET_ACCEPT
    fresh.n = 0
    fresh.target_arg = 0
    if e.n_paths == 0 or l4_cut(p):
        fresh.kind = <unsigned char>do_table(e, table, p, &fresh)
        p.target = &e.targets[fresh.target_arg]
        return fresh.kind
    path_key(e, table, p, fresh.key)
    path = &e.paths[slot_of(e, fresh.key)]
    if path.key[0] == fresh.key[0] and path.key[1] == fresh.key[1] and path.key[2] == fresh.key[2]:
        path.packets += 1
        path.bytes += p.length
        e.stats[STAT_RULES_WALKED] += path.walked
        p.mark = path.mark
        p.target = &e.targets[path.target_arg]
        p.path[p.hook == HOOK_POSTROUTING] = path
        return path.kind
    p.unrepeatable = False
    fresh.kind = <unsigned char>do_table(e, table, p, &fresh)
    p.target = &e.targets[fresh.target_arg]
    if not p.unrepeatable and fresh.n <= FN_PATH_RULES:
        path_flush(e, path)
        fresh.packets = 0
        fresh.bytes = 0
        fresh.mark = p.mark
        path[0] = fresh
        p.path[p.hook == HOOK_POSTROUTING] = path
    return fresh.kind
