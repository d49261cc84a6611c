# A packet at both ends of its way: what it begins with, and what its result says.
#
# Source: ours; it stands for struct sk_buff, whose fields begin empty as well.
# Invariants: a field that no step has set says so: no connection, ctinfo INVALID, no template, all of it tracked.
# Differs from the kernel: nothing.
from libc.string cimport memset
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from ..types cimport fn_clear_packet, FN_NONE, FN_V6, IP_CT_INVALID, packet_t, pkt_t, REASON_NONE, result_t, tuple_t, VERDICT_FORWARD
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_make, tuple_sport, tuple_src


cdef inline void pkt_reset(pkt_t *p) noexcept nogil:
    # pkt_reset: everything that a packet gathers on its way starts empty.
    fn_clear_packet(p)
    p.ct = FN_NONE
    p.ctinfo = IP_CT_INVALID
    # a header-only packet has none: that of a sender near by
    p.ttl = 64
    # a zone of a template counts for both directions
    p.template_dir = 3
    p.tracked = 1


cdef inline void load(pkt_t *p, const packet_t *in_, tuple_t t, uint64_t hash) noexcept nogil:
    # load: a header-only packet of a batch; t and hash are its tuple's.
    pkt_reset(p)
    p.t = t
    p.hash = hash
    p.in_iface = in_.iface
    p.length = in_.length
    p.tcp_flags = in_.tcp_flags
    p.mark = in_.mark
    p.end = <uint32_t>in_.isn << 16


cdef inline tuple_t packet_tuple(const packet_t *in_) noexcept nogil:
    # packet_tuple: => The tuple of a header, in zone 0.
    return tuple_make(in_.src, in_.dst, in_.sport, in_.dport, in_.proto, 0)


cdef inline void store(const pkt_t *p, result_t *out) noexcept nogil:
    # store: what became of a packet, for who sent it in.
    if FN_V6:
        memset(out, 0, sizeof(result_t))
    out.verdict = p.verdict
    out.ctinfo = p.ctinfo
    out.reason = p.reason
    out.copied = p.copied
    out.src = tuple_src(p.t)
    out.dst = tuple_dst(p.t)
    out.sport = <uint16_t>tuple_sport(p.t)
    out.dport = <uint16_t>tuple_dport(p.t)
    out.out_iface = p.out_iface
    out.probes = <uint16_t>p.probes
    out.conn = p.ct


cdef inline void store_forwarded(result_t *out, const tuple_t *back, uint32_t ct, uint32_t ctinfo, uint16_t out_iface,
                                 uint16_t probes) noexcept nogil:
    # store_forwarded: store for a packet that a short cut forwards. back: the tuple of the other direction, whose inverse leaves.
    if FN_V6:
        memset(out, 0, sizeof(result_t))
    out.verdict = VERDICT_FORWARD
    out.ctinfo = <unsigned char>ctinfo
    out.reason = REASON_NONE
    out.copied = 0
    out.src = tuple_dst(back[0])
    out.dst = tuple_src(back[0])
    out.sport = <uint16_t>tuple_dport(back[0])
    out.dport = <uint16_t>tuple_sport(back[0])
    out.out_iface = out_iface
    out.probes = probes
    out.conn = ct
