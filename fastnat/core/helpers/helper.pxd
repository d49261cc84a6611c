# Helpers: who looks into a connection's payload, and what becomes of a connection that one has announced.
#
# Source: nf_confirm (nf_conntrack_proto.c), __nf_ct_try_assign_helper (nf_conntrack_helper.c), nf_nat_follow_master
# (nf_nat_helper.c), pptp_nat_expected (nf_nat_pptp.c), Linux 6.18; linux-5.4 differences in the code.
# Invariants: helpers run on bytes only; a batch of headers has none.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t
from ..types cimport *
from ..conntrack.insert cimport delete_siblings
from ..nat.setup cimport range_of_address, setup_info
from ..tuples.tuple cimport conn_tuple, invert_tuple, tuple_dst, tuple_src
from .expect cimport forget_tuple, gre_tuple, help_of
from .ftp cimport ftp_help
from .pptp cimport pptp_help
from .seqadj cimport seq_adjust
from .tftp cimport tftp_help


cdef inline uint32_t helper_hook(engine_t *e, pkt_t *p) noexcept nogil:
    # helper_hook: what stands right before confirm.
    # => REASON_NONE or why the packet is dropped.
    cdef help_t *help = help_of(e, p.ct)
    # nf_confirm asks before the helper runs: the first segment that becomes longer keeps its number
    cdef bint adjust = (e.conns[p.ct].status & IPS_SEQ_ADJUST) != 0
    cdef bint hung_up = False
    cdef uint32_t reason = REASON_NONE
    if help.kind == HELPER_FTP:
        reason = ftp_help(e, p)
    elif help.kind == HELPER_TFTP:
        reason = tftp_help(e, p)
    elif not FN_V6 and help.kind == HELPER_PPTP:
        # of IPv6 the kernel has no such helper
        reason = pptp_help(e, p, &hung_up)
    if hung_up:
        delete_siblings(e, p.ct)
    if not reason and adjust and not seq_adjust(e, p):
        e.stats[STAT_DROP] += 1
        return REASON_HELPER
    return reason


cdef inline void forget_other_half(engine_t *e, pkt_t *p) noexcept nogil:
    # forget_other_half: the tunnel was announced from both ends; one connection is both.
    cdef const expect_t *x = &e.expected
    cdef const help_t *help = help_of(e, x.master)
    if not e.conns[x.master].status & (IPS_SRC_NAT | IPS_DST_NAT):
        forget_tuple(e, invert_tuple(x.t))
    # recorded: behind NAT a tunnel that the server begins leaves the client's half, which opens another one when the call is over
    elif x.dir == 0:
        forget_tuple(e, gre_tuple(e, x.master, 1, help.pac_call, help.pns_call))


cdef inline void map_port(target_t *range_, uint32_t port) noexcept nogil:
    # map_port: a range of one port.
    range_.flags |= RANGE_PROTO_SPECIFIED
    range_.min_proto = <unsigned short>port
    range_.max_proto = <unsigned short>port


cdef inline void follow_master(engine_t *e, pkt_t *p) noexcept nogil:
    # follow_master: give a connection that was expected the addresses that its master has.
    cdef const expect_t *x = &e.expected
    cdef tuple_t other = conn_tuple(&e.conns[x.master], 1 - x.dir)
    cdef target_t range_
    cdef bint tunnel = x.kind == EXPECT_PPTP
    if tunnel:
        forget_other_half(e, p)
    # without NAT the addresses are as they should be
    if x.kind == EXPECT_PLAIN or not e.conns[x.master].status & (IPS_SRC_NAT | IPS_DST_NAT):
        return
    # one who is not the master's end keeps its own address
    if tunnel or tuple_src(conn_tuple(&e.conns[p.ct], 0)) == tuple_src(conn_tuple(&e.conns[x.master], x.dir)):
        range_.flags = 0
        range_of_address(&range_, tuple_dst(other))
        # the client's call as the server knows it (pptp_nat_expected)
        if tunnel and x.dir == 0:
            map_port(&range_, x.saved_port)
        setup_info(e, p, &range_, MANIP_SRC)
    range_.flags = 0
    range_of_address(&range_, tuple_src(other))
    # where the client listens, which may not be the port that was announced for it
    if not tunnel or x.dir == 1:
        map_port(&range_, x.saved_port)
    setup_info(e, p, &range_, MANIP_DST)
