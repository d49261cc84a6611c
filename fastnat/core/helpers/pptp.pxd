# PPTP: the GRE tunnel that a control connection sets up, and the call ids that NAT changes.
#
# Source: nf_conntrack_pptp.c, nf_nat_pptp.c, nf_conntrack_proto_gre.c, Linux 6.18; RFC 2637.
# Invariants: the client (PNS) opened the control connection; of several calls in it the last is known.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from ..types cimport *
from ..packet.checksum cimport load_be16, load_be32, store_be16
from ..tuples.tuple cimport conn_tuple, tuple_dport, tuple_dst, tuple_src
from .expect cimport (
    EXPECT_DONE, expect_related, forget_expects, forget_tuple, gre_tuple, GRE_KEYS, help_of, link_expect,
)
from .mangle cimport mangle_tcp, tcp_payload_at

cdef enum:
    PPTP_HEADERS = 12
    PPTP_CONTROL = 1
    PPTP_COOKIE = 0x1a2b3c4d
    PPTP_MSG_MAX = 15
    START_SESSION_REQUEST = 1
    START_SESSION_REPLY = 2
    STOP_SESSION_REQUEST = 3
    STOP_SESSION_REPLY = 4
    ECHO_REQUEST = 5
    ECHO_REPLY = 6
    OUT_CALL_REQUEST = 7
    OUT_CALL_REPLY = 8
    IN_CALL_REQUEST = 9
    IN_CALL_REPLY = 10
    IN_CALL_CONNECT = 11
    CALL_CLEAR_REQUEST = 12
    CALL_DISCONNECT_NOTIFY = 13
    WAN_ERROR_NOTIFY = 14
    SET_LINK_INFO = 15
    # enum pptp_ctrlsess_state, enum pptp_ctrlcall_state
    SESSION_NONE = 0
    SESSION_ERROR = 1
    SESSION_STOPREQ = 2
    SESSION_REQUESTED = 3
    SESSION_CONFIRMED = 4
    CALL_NONE = 0
    CALL_OUT_REQ = 2
    CALL_OUT_CONF = 3
    CALL_IN_REQ = 4
    CALL_IN_REP = 5
    CALL_IN_CONF = 6
    CALL_CLEAR_REQ = 7

# the least that each message holds behind the headers, bytes
cdef extern from *:
    """
    static const unsigned char fn_pptp_size[16] = {0, 144, 144, 4, 4, 4, 8, 156, 20, 208, 12, 16, 4, 136, 28, 12};
    """
    const unsigned char fn_pptp_size[16]


cdef inline bint same_key(const expect_t *one, const expect_t *other) noexcept nogil:
    # same_key: (gre_key_cmpfn, which does not look at the key that the sender wants for itself).
    return (tuple_src(one.t) == tuple_src(other.t) and tuple_dst(one.t) == tuple_dst(other.t)
            and tuple_dport(one.t) == tuple_dport(other.t))


cdef inline bint add_gre_key(engine_t *e, expect_t x) noexcept nogil:
    # add_gre_key: packets of this direction are to have the expectation's source key (nf_ct_gre_keymap_add).
    # => False: those of another call have theirs, as there is one a direction.
    cdef uint32_t at = help_of(e, x.master).first
    while at != FN_NONE:
        if e.expects[at].kind == EXPECT_GRE_KEY and e.expects[at].dir == x.dir:
            return same_key(&e.expects[at], &x)
        at = e.expects[at].sibling
    x.kind = EXPECT_GRE_KEY
    link_expect(e, &x)
    return True


cdef inline void expect_tunnel(engine_t *e, uint32_t ct) noexcept nogil:
    # expect_tunnel: GRE from either end (exp_gre; pptp_exp_gre where NAT changed something).
    cdef help_t *help = help_of(e, ct)
    cdef bint nat = (e.conns[ct].status & (IPS_SRC_NAT | IPS_DST_NAT)) != 0
    cdef expect_t out, back
    out.master = ct
    out.any_sport = False
    out.dir = 0
    out.kind = EXPECT_PPTP
    back = out
    back.dir = 1
    # GRE names the receiver's call alone. A client with call 7, whose control connection has port 61000 behind NAT, and a server
    # with call 9 (own_call 7, pns_call 61000, pac_call 9):
    #     out     client -> server, key 9; its own would be 7, and 61000 behind NAT
    #     back    server -> NAT, key 61000, which becomes the client's 7
    if nat:
        # the server's packets carry the call that it was told, the client's own call is behind NAT
        help.far_call = help.pac_call
        out.t = gre_tuple(e, ct, 0, help.own_call, help.pac_call)
        out.saved_port = help.pns_call
        back.t = gre_tuple(e, ct, 1, help.far_call, help.pns_call)
        back.saved_port = help.own_call
    else:
        out.t = gre_tuple(e, ct, 0, help.pns_call, help.pac_call)
        out.saved_port = 0
        back.t = gre_tuple(e, ct, 1, help.pac_call, help.pns_call)
        back.saved_port = 0
    # nobody drops the message: without expectations its tunnel is only a stranger's GRE
    if expect_related(e, &out) != EXPECT_DONE:
        return
    # half a tunnel is none
    if expect_related(e, &back) != EXPECT_DONE:
        forget_tuple(e, out.t)
        return
    if add_gre_key(e, out):
        if add_gre_key(e, back):
            return
        forget_expects(e, ct, GRE_KEYS)
    # a second call while the first one is not over
    forget_tuple(e, out.t)
    forget_tuple(e, back.t)


cdef inline bint from_client(help_t *help, uint32_t message, const uint8_t *at) noexcept nogil:
    # from_client: PNS to PAC (pptp_outbound_pkt).
    # => False: out of place, it changes nothing.
    # states only restrain: what is out of place passes, and the helper looks away (pptp_outbound_pkt says "invalid")
    if message == START_SESSION_REQUEST:
        if help.session != SESSION_NONE:
            return False
        help.session = SESSION_REQUESTED
    elif message == STOP_SESSION_REQUEST:
        help.session = SESSION_STOPREQ
    elif message == OUT_CALL_REQUEST:
        if help.session != SESSION_CONFIRMED:
            return False
        help.call = CALL_OUT_REQ
        help.pns_call = <uint16_t>load_be16(at)
    elif message == IN_CALL_REPLY:
        # the reply names the call that it answers: of another call of the session it says nothing about this one
        if (help.call != CALL_IN_REQ and help.call != CALL_IN_REP) or help.pac_call != load_be16(at + 2):
            return False
        # result 1: connected, accepted, stopped, in every reply of RFC 2637
        if at[4] == 1:
            help.call = CALL_IN_REP
            help.pns_call = <uint16_t>load_be16(at)
        else:
            help.call = CALL_NONE
    elif message == CALL_CLEAR_REQUEST:
        if help.session != SESSION_CONFIRMED:
            return False
        help.call = CALL_CLEAR_REQ
    else:
        return message == SET_LINK_INFO or message == ECHO_REQUEST or message == ECHO_REPLY
    return True


cdef inline bint from_server(help_t *help, uint32_t message, const uint8_t *at, bint *tunnel) noexcept nogil:
    # from_server: PAC to PNS (pptp_inbound_pkt); *tunnel: GRE will come.
    # => False: out of place, it changes nothing.
    if message == START_SESSION_REPLY:
        # a second reply may come: the order of the states is that of the enum, and the kernel compares them so
        if help.session < SESSION_REQUESTED:
            return False
        help.session = SESSION_CONFIRMED if at[2] == 1 else SESSION_ERROR
    elif message == STOP_SESSION_REPLY:
        # nobody asked for it; an error may stop as well
        if help.session > SESSION_STOPREQ:
            return False
        help.session = SESSION_NONE if at[0] == 1 else SESSION_ERROR
    elif message == OUT_CALL_REPLY:
        if help.session != SESSION_CONFIRMED or (help.call != CALL_OUT_REQ and help.call != CALL_OUT_CONF):
            return False
        # an answer to a call that the client has given up since
        if help.pns_call != load_be16(at + 2):
            return False
        if at[4] == 1:
            help.call = CALL_OUT_CONF
            help.pac_call = <uint16_t>load_be16(at)
            tunnel[0] = True
        else:
            help.call = CALL_NONE
    elif message == IN_CALL_REQUEST:
        if help.session != SESSION_CONFIRMED:
            return False
        help.call = CALL_IN_REQ
        help.pac_call = <uint16_t>load_be16(at)
    elif message == IN_CALL_CONNECT:
        if help.session != SESSION_CONFIRMED or (help.call != CALL_IN_REP and help.call != CALL_IN_CONF):
            return False
        if help.pns_call != load_be16(at):
            return False
        help.call = CALL_IN_CONF
        tunnel[0] = True
    elif message == CALL_DISCONNECT_NOTIFY:
        help.call = CALL_NONE
    else:
        # they change no state; of some of them NAT has to change the call id
        return (message == WAN_ERROR_NOTIFY or message == SET_LINK_INFO or message == ECHO_REQUEST
                or message == ECHO_REPLY)
    return True


cdef inline uint32_t rewrite_call(engine_t *e, pkt_t *p, uint32_t at, uint32_t call) noexcept nogil:
    # rewrite_call: another call id in the payload.
    # => REASON_NONE or REASON_NO_ROOM.
    cdef uint8_t bytes_[2]
    store_be16(bytes_, call)
    return REASON_NONE if mangle_tcp(e, p, at, 2, bytes_, 2) else REASON_NO_ROOM


cdef inline uint32_t nat_from_client(engine_t *e, pkt_t *p, uint32_t message, uint32_t at) noexcept nogil:
    # nat_from_client: the client's call id becomes one that is its own behind NAT: the port of the control connection.
    cdef help_t *help = help_of(e, p.ct)
    # two clients may have chosen one id, but behind NAT their control connections have two ports
    if message == OUT_CALL_REQUEST:
        help.own_call = help.pns_call
        help.pns_call = <uint16_t>tuple_dport(conn_tuple(&e.conns[p.ct], 1))
    elif message != IN_CALL_REPLY and message != CALL_CLEAR_REQUEST:
        return REASON_NONE
    return rewrite_call(e, p, at, help.pns_call)


cdef inline uint32_t nat_from_server(engine_t *e, pkt_t *p, uint32_t message, uint32_t at) noexcept nogil:
    # nat_from_server: the server speaks of the client's call by the id that it knows.
    # the server's own call stands in front of the client's there, and nobody changes it
    if message == OUT_CALL_REPLY:
        at += 2
    elif (message != IN_CALL_CONNECT and message != WAN_ERROR_NOTIFY and message != CALL_DISCONNECT_NOTIFY
            and message != SET_LINK_INFO):
        return REASON_NONE
    return rewrite_call(e, p, at, help_of(e, p.ct).own_call)


cdef inline uint32_t pptp_help(engine_t *e, pkt_t *p, bint *hung_up) noexcept nogil:
    # pptp_help: look at a message of a control connection; *hung_up: its tunnel is over.
    # => REASON_NONE or why it is dropped.
    cdef uint32_t at = tcp_payload_at(p)
    cdef uint32_t have = p.len - at if p.len > at else 0
    cdef uint32_t message
    cdef bint tunnel = False
    cdef bint nat = (e.conns[p.ct].status & (IPS_SRC_NAT | IPS_DST_NAT)) != 0
    # no message counts before the handshake of TCP is over
    if p.ctinfo != IP_CT_ESTABLISHED and p.ctinfo != IP_CT_ESTABLISHED_REPLY:
        return REASON_NONE
    if have < PPTP_HEADERS or load_be16(p.data + at + 2) != PPTP_CONTROL or load_be32(p.data + at + 4) != PPTP_COOKIE:
        return REASON_NONE
    message = load_be16(p.data + at + 8)
    at += PPTP_HEADERS
    # a message that is cut would be read beyond its end; the kernel lets it pass
    if message > PPTP_MSG_MAX or have < PPTP_HEADERS + fn_pptp_size[message]:
        return REASON_NONE
    if p.dir == 0:
        if not from_client(help_of(e, p.ct), message, p.data + at):
            return REASON_NONE
        return nat_from_client(e, p, message, at) if nat else REASON_NONE
    if not from_server(help_of(e, p.ct), message, p.data + at, &tunnel):
        return REASON_NONE
    if tunnel:
        expect_tunnel(e, p.ct)
    hung_up[0] = message == CALL_DISCONNECT_NOTIFY
    return nat_from_server(e, p, message, at) if nat else REASON_NONE
