# The states of IPVS's connections, and how long each lasts.
#
# Source: tcp_states, tcp_timeouts, tcp_state_active_table (ip_vs_proto_tcp.c), udp_timeouts (ip_vs_proto_udp.c), sctp_states,
# sctp_events, sctp_timeouts (ip_vs_proto_sctp.c), Linux 6.18; linux-5.4 has the same.
# Invariants: masquerading sees both directions, so the tables for connections that are seen in one alone are never used.
# Differs from the kernel: net.ipv4.vs.secure_tcp and drop_entry are 0; a header alone has no chunks of SCTP and stands for data.
from libc.stdint cimport uint32_t
from ..types cimport *
from ..packet.checksum cimport load_be16
from ..tuples.tuple cimport tuple_proto

cdef enum:
    DIR_INPUT = 0
    DIR_OUTPUT = 1
    # of ipvs_timeouts: ipvsadm --set tcp tcpfin udp
    SET_TCP = 0
    SET_TCPFIN = 1
    SET_UDP = 2
    NO_TIMEOUT = 2
    TCP_SYN = 0x02
    TCP_RST = 0x04
    SCTP_HEADER = 12
    CHUNK_HEADER = 4
    CHUNK_DATA = 0
    CHUNK_INIT = 1
    CHUNK_ABORT = 6
    CHUNK_COOKIE_ECHO = 10
    CHUNK_COOKIE_ACK = 11
    LAST_CHUNK = 15

cdef extern from *:
    """
    enum {
        fn_vNO = IPVS_TCP_NONE, fn_vES = IPVS_TCP_ESTABLISHED, fn_vSS = IPVS_TCP_SYN_SENT, fn_vSR = IPVS_TCP_SYN_RECV,
        fn_vFW = IPVS_TCP_FIN_WAIT, fn_vTW = IPVS_TCP_TIME_WAIT, fn_vCL = IPVS_TCP_CLOSE, fn_vCW = IPVS_TCP_CLOSE_WAIT,
        fn_vLA = IPVS_TCP_LAST_ACK, fn_vLI = IPVS_TCP_LISTEN, fn_vSA = IPVS_TCP_SYNACK
    };
    #define R(a,b,c,d,e,f,g,h,i,j,k) \\
        {fn_v##a,fn_v##b,fn_v##c,fn_v##d,fn_v##e,fn_v##f,fn_v##g,fn_v##h,fn_v##i,fn_v##j,fn_v##k}
    /* by direction, what the segment is (SYN, FIN, ACK, RST) and state */
    static const unsigned char fn_ipvs_tcp[2][4][11] = {
        {R(SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR),
         R(CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW),
         R(ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES),
         R(CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR)},
        {R(SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR),
         R(TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW),
         R(ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES),
         R(CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL)}};
    #undef R
    /* seconds */
    static const unsigned short fn_ipvs_tcp_seconds[11] = {2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120};

    enum {
        fn_wNO = IPVS_SCTP_NONE, fn_wI1 = IPVS_SCTP_INIT1, fn_wIN = IPVS_SCTP_INIT, fn_wCS = IPVS_SCTP_COOKIE_SENT,
        fn_wCR = IPVS_SCTP_COOKIE_REPLIED, fn_wCW = IPVS_SCTP_COOKIE_WAIT, fn_wCO = IPVS_SCTP_COOKIE,
        fn_wCE = IPVS_SCTP_COOKIE_ECHOED, fn_wES = IPVS_SCTP_ESTABLISHED, fn_wSS = IPVS_SCTP_SHUTDOWN_SENT,
        fn_wSR = IPVS_SCTP_SHUTDOWN_RECEIVED, fn_wSA = IPVS_SCTP_SHUTDOWN_ACK_SENT, fn_wRJ = IPVS_SCTP_REJECTED,
        fn_wCL = IPVS_SCTP_CLOSED
    };
    #define R(a,b,c,d,e,f,g,h,i,j,k,l,m,n) \\
        {fn_w##a,fn_w##b,fn_w##c,fn_w##d,fn_w##e,fn_w##f,fn_w##g,fn_w##h,fn_w##i,fn_w##j,fn_w##k,fn_w##l,fn_w##m,fn_w##n}
    /* by direction, event (data, INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, SHUTDOWN, its ACK, its COMPLETE, ERROR, ABORT) and state */
    static const unsigned char fn_ipvs_sctp[2][10][14] = {
        {R(ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL),
         R(I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN),
         R(CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL),
         R(CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL),
         R(ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL),
         R(SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL),
         R(CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL),
         R(CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL),
         R(CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL),
         R(CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL)},
        {R(ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL),
         R(CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW),
         R(CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL),
         R(CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL),
         R(ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL),
         R(SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL),
         R(SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL),
         R(CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL),
         R(CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL),
         R(CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL)}};
    #undef R
    /* seconds: a first INIT may be sent again after three, everything else within RTO.Max of 60 */
    static const unsigned short fn_ipvs_sctp_seconds[14] = {2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61};
    /* event of each chunk type; SACK, heartbeats, ECNE and CWR are as data */
    static const unsigned char fn_ipvs_sctp_event[16] = {0, 1, 2, 0, 0, 0, 9, 5, 6, 8, 3, 4, 0, 0, 7, 0};
    """
    const unsigned char fn_ipvs_tcp[2][4][11]
    const unsigned short fn_ipvs_tcp_seconds[11]
    const unsigned char fn_ipvs_sctp[2][10][14]
    const unsigned short fn_ipvs_sctp_seconds[14]
    const unsigned char fn_ipvs_sctp_event[16]


cdef inline int segment_row(uint32_t flags) noexcept nogil:
    # segment_row: => Row of a segment, -1: it has none of the flags (tcp_state_idx).
    # a segment with several flags counts as the first of these: what ends a connection goes before what opens one
    if flags & TCP_RST:
        return 3
    if flags & TCP_SYN:
        return 0
    if flags & 0x01:
        return 1
    return 2 if flags & 0x10 else -1


cdef inline bint chunk_at(const pkt_t *p, uint32_t at, uint32_t *type_, uint32_t *length) noexcept nogil:
    # chunk_at: the header of a chunk, by its offset behind the header of SCTP. => False: the datagram ends before.
    cdef uint32_t off = p.l4off + SCTP_HEADER + at
    if off + CHUNK_HEADER > p.len:
        return False
    type_[0] = p.data[off]
    length[0] = load_be16(p.data + off + 2)
    return True


cdef inline int first_chunk(const pkt_t *p) noexcept nogil:
    # first_chunk: => Type of the chunk that counts; -1: the datagram has none. An ABORT may stand behind a cookie (set_sctp_state).
    cdef uint32_t type_ = CHUNK_DATA
    cdef uint32_t length = 0
    cdef uint32_t second = CHUNK_DATA
    if p.data == NULL:
        return CHUNK_DATA
    # the kernel leaves state and timeout alone then (set_sctp_state)
    if not chunk_at(p, 0, &type_, &length):
        return -1
    if (type_ == CHUNK_COOKIE_ECHO or type_ == CHUNK_COOKIE_ACK) and length >= CHUNK_HEADER:
        # a chunk is padded to a multiple of four bytes, which its length does not count (RFC 9260, 3.2)
        if chunk_at(p, (length + 3) & ~<uint32_t>3, &second, &length) and second == CHUNK_ABORT:
            return CHUNK_ABORT
    return <int>type_


cdef inline bint is_opening(const pkt_t *p) noexcept nogil:
    # is_opening: a SYN, with or without ACK, or an INIT: the client may have begun anew (is_new_conn).
    if tuple_proto(p.t) == PROTO_TCP:
        return p.tcp_flags & TCP_SYN != 0
    return tuple_proto(p.t) == PROTO_SCTP and p.data != NULL and first_chunk(p) == CHUNK_INIT


cdef inline bint may_open(const engine_t *e, const pkt_t *p) noexcept nogil:
    # may_open: what a scheduler is asked for (tcp_conn_schedule, udp_conn_schedule, sctp_conn_schedule).
    cdef int chunk
    if tuple_proto(p.t) == PROTO_TCP:
        # sloppy_tcp: connections that another balancer has opened go on here, so that any segment may be the first one seen
        return not p.tcp_flags & TCP_RST and (p.tcp_flags & TCP_SYN != 0 or e.sloppy_tcp != 0)
    if tuple_proto(p.t) == PROTO_SCTP and p.data != NULL:
        chunk = first_chunk(p)
        return chunk >= 0 and chunk != CHUNK_ABORT and (chunk == CHUNK_INIT or e.sloppy_sctp != 0)
    return tuple_proto(p.t) == PROTO_UDP or tuple_proto(p.t) == PROTO_SCTP


cdef inline bint is_over(const ipvs_conn_t *c) noexcept nogil:
    # is_over: it has ended, and an opening of its client begins another one (is_new_conn_expected).
    if c.proto == PROTO_TCP:
        return c.state == IPVS_TCP_TIME_WAIT or c.state == IPVS_TCP_CLOSE
    return c.proto == PROTO_SCTP and c.state == IPVS_SCTP_CLOSED


cdef inline bint is_active(const ipvs_conn_t *c) noexcept nogil:
    # is_active: what a server counts among ActiveConn; of UDP nothing.
    if c.proto == PROTO_TCP:
        return (c.state == IPVS_TCP_ESTABLISHED or c.state == IPVS_TCP_SYN_SENT or c.state == IPVS_TCP_SYN_RECV
                or c.state == IPVS_TCP_SYNACK)
    return c.proto == PROTO_SCTP and c.state == IPVS_SCTP_ESTABLISHED


cdef inline bint assures(const ipvs_conn_t *c, uint32_t before, uint32_t dir) noexcept nogil:
    # assures: a packet shows that the connection is no flood's: it becomes established, or a server answers by UDP
    # (ip_vs_control_assure_ct). before: its state in front of the packet.
    if c.proto == PROTO_UDP:
        return dir == DIR_OUTPUT
    return c.state != before and c.state == (IPVS_TCP_ESTABLISHED if c.proto == PROTO_TCP else IPVS_SCTP_ESTABLISHED)


cdef inline uint32_t timeout_of(const engine_t *e, const ipvs_conn_t *c) noexcept nogil:
    # timeout_of: jiffies that a state lasts.
    if c.proto == PROTO_UDP:
        return e.ipvs_timeouts[SET_UDP]
    if c.proto == PROTO_SCTP:
        return fn_ipvs_sctp_seconds[c.state] * FN_HZ
    if c.state == IPVS_TCP_ESTABLISHED:
        return e.ipvs_timeouts[SET_TCP]
    # ipvsadm --set knows three timeouts; those of the other states stand in the kernel's tables
    return e.ipvs_timeouts[SET_TCPFIN] if c.state == IPVS_TCP_FIN_WAIT else fn_ipvs_tcp_seconds[c.state] * FN_HZ


cdef inline void next_state(const engine_t *e, ipvs_conn_t *c, const pkt_t *p, uint32_t dir) noexcept nogil:
    # next_state: the state and timeout that a packet leaves (ip_vs_set_state).
    cdef int row
    if c.proto == PROTO_TCP:
        row = segment_row(p.tcp_flags)
        # a segment without any of the flags closes, whatever the state (set_tcp_state begins with CLOSE)
        c.state = fn_ipvs_tcp[dir][row][c.state] if row >= 0 else IPVS_TCP_CLOSE
    elif c.proto == PROTO_SCTP:
        row = first_chunk(p)
        if row < 0:
            return
        # of types that the kernel's table does not reach it takes the event of DATA
        c.state = fn_ipvs_sctp[dir][fn_ipvs_sctp_event[row if row <= LAST_CHUNK else CHUNK_DATA]][c.state]
    c.timeout = timeout_of(e, c)
