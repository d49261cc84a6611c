# Protocol handlers without a state machine, and the refresh that all handlers share.
#
# Source: nf_conntrack_udp_packet, nf_conntrack_icmp_packet, nf_conntrack_generic_packet, nf_conntrack_gre_packet,
# __nf_ct_refresh_acct (Linux 6.18; linux-5.4 differences in the code).
# Invariants: the timeout of an unconfirmed connection is relative, of a confirmed one absolute.
# Differs from the kernel: nothing.
from libc.stdint cimport int32_t, uint32_t
from ..types cimport *
from ..tuples.tuple cimport tuple_dport
from .timing_wheel cimport wheel_bring_forward

cdef enum:
    # what a handler says: NF_ACCEPT, -NF_ACCEPT, NF_DROP, NF_REPEAT
    CT_ACCEPT = 0
    CT_INVALID = 1
    CT_DROP = 2
    CT_REPEAT = 3
    # NF_ACCEPT without nf_ct_refresh_acct: the packet neither renews its connection nor counts
    CT_PASS = 4
    # a UDP flow younger than this is not a stream yet, seconds
    STREAM_AFTER = 2


cdef inline const uint32_t *timeouts_of(const engine_t *e, uint32_t ct) noexcept nogil:
    # timeouts_of: those of a connection: a rule has given it others than the node's (nf_ct_timeout_lookup).
    if fn_likely(e.n_policies == 0) or e.tcp[ct].policy == 0:
        return e.timeouts
    return e.policies + (e.tcp[ct].policy - 1) * FN_TIMEOUTS


cdef inline void refresh(engine_t *e, uint32_t ct, uint32_t now, uint32_t timeout) noexcept nogil:
    # refresh: `timeout` jiffies from now.
    cdef conn_t *c = &e.conns[ct]
    cdef uint32_t before = c.timeout
    # a loser of a race has its second, whatever comes meanwhile
    if c.status & IPS_FIXED_TIMEOUT:
        return
    if not c.status & IPS_CONFIRMED:
        c.timeout = timeout
        return
    c.timeout = now + timeout
    # only a shorter time needs another place in the wheel: see wheel_bring_forward
    if <int32_t>(c.timeout - before) < 0:
        wheel_bring_forward(e, ct)


cdef inline uint32_t ctinfo_of(const conn_t *c, uint32_t dir) noexcept nogil:
    # ctinfo_of: => IP_CT_* of a packet that was found in a direction of its connection (resolve_normal_ct).
    if c.status & IPS_SEEN_REPLY:
        return IP_CT_ESTABLISHED_REPLY if dir else IP_CT_ESTABLISHED
    # EXPECTED stays for life, but only the packets in front of the first answer are RELATED
    return IP_CT_ESTABLISHED_REPLY if dir else IP_CT_RELATED if c.status & IPS_EXPECTED else IP_CT_NEW


cdef inline void account(engine_t *e, const pkt_t *p) noexcept nogil:
    # account: one packet more of the connection and its direction (nf_ct_acct_update).
    if fn_unlikely(e.conns[p.ct].flags & CONN_COUNTED):
        e.acct[p.ct].packets[p.dir] += 1
        e.acct[p.ct].bytes[p.dir] += p.length


cdef inline int udp_packet(engine_t *e, uint32_t ct, uint32_t now) noexcept nogil:
    # udp_packet: a stream is longer than one question and its answer (nf_conntrack_udp_packet).
    cdef conn_t *c = &e.conns[ct]
    cdef const uint32_t *timeouts = timeouts_of(e, ct)
    cdef bint stream
    if not c.status & IPS_CONFIRMED:
        c.stream_ts = now + STREAM_AFTER * FN_HZ
    # the first reply counts as unreplied, too: the bit is set behind the tracker
    if not c.status & IPS_SEEN_REPLY:
        refresh(e, ct, now, timeouts[TIMEOUT_UDP])
        return CT_ACCEPT
    # two questions of one socket at once, as DNS asks for A and AAAA, and their answers are no stream yet
    stream = <int32_t>(now - c.stream_ts) > 0
    refresh(e, ct, now, timeouts[TIMEOUT_UDP_STREAM] if stream else timeouts[TIMEOUT_UDP])
    if (stream or e.profile == LINUX_5_4) and not c.status & IPS_NAT_CLASH:
        c.status |= IPS_ASSURED
    return CT_ACCEPT


cdef inline int replied_packet(engine_t *e, pkt_t *p, uint32_t unreplied, uint32_t replied) noexcept nogil:
    # replied_packet: UDP-Lite and GRE: two timeouts, assured by the first packet after the reply.
    cdef conn_t *c = &e.conns[p.ct]
    if not c.status & IPS_SEEN_REPLY:
        refresh(e, p.ct, p.now, e.timeouts[unreplied])
        return CT_ACCEPT
    refresh(e, p.ct, p.now, e.timeouts[replied])
    if not c.status & IPS_NAT_CLASH:
        c.status |= IPS_ASSURED
    return CT_ACCEPT


cdef inline int icmp_packet(engine_t *e, pkt_t *p) noexcept nogil:
    # icmp_packet: only queries open a flow: echo, timestamp, information, address mask.
    # of the connection, not of the packet: an answer is as good as the question that it belongs to
    cdef uint32_t type_ = tuple_dport(e.conns[p.ct].tuples[0]) >> 8
    if (type_ != 128 and type_ != 139) if FN_V6 else (type_ != 8 and type_ != 13 and type_ != 15 and type_ != 17):
        return CT_INVALID
    refresh(e, p.ct, p.now, e.timeouts[TIMEOUT_ICMP])
    return CT_ACCEPT
