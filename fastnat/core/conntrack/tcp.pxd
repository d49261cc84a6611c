# TCP: the state machine and what makes a packet invalid in it.
#
# Source: nf_conntrack_tcp_packet, tcp_new (nf_conntrack_proto_tcp.c, Linux 6.18; linux-5.4 differences in the code).
# Invariants: an ignored packet changes neither state nor timeout; sequence numbers compare modulo 2**32.
# Differs from the kernel: packets of a header-only batch carry no sequence numbers and pass the window check.
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memset
from ..types cimport *
from ..nat.port_bitmap cimport note_closing
from ..tuples.tuple cimport conn_tuple
from .insert cimport conn_delete, conn_kill
from .protocols cimport account, CT_ACCEPT, CT_INVALID, CT_PASS, CT_REPEAT, refresh, timeouts_of
from .tcp_window cimport (before_seq, CLASS_ACK, CLASS_FIN, CLASS_NONE, CLASS_RST, CLASS_SYN, CLASS_SYNACK, in_window,
                          tcp_options, TCP_BE_LIBERAL, TCP_CLOSE_INIT, TCP_DATA_UNACK, TCP_EXP_CHALLENGE_ACK,
                          slide_within, TCP_MAXACK_SET, TCP_SACK_PERM, TCP_SIMULTANEOUS_OPEN, TCP_WINDOW_SCALE, WINDOW_ACCEPT,
                          WINDOW_INVALID)
from .timing_wheel cimport wheel_bring_forward

cdef enum:
    CHECK_WINDOW = 0
    SKIP_WINDOW = 1
    REFUSE = 2

# tcp_conntracks: next state by direction, class (syn, synack, fin, ack, rst, none) and state
cdef extern from *:
    """
    enum {
        fn_NO = TCP_NONE, fn_SS = TCP_SYN_SENT, fn_SR = TCP_SYN_RECV, fn_ES = TCP_ESTABLISHED, fn_FW = TCP_FIN_WAIT,
        fn_CW = TCP_CLOSE_WAIT, fn_LA = TCP_LAST_ACK, fn_TW = TCP_TIME_WAIT, fn_CL = TCP_CLOSE, fn_S2 = TCP_SYN_SENT2,
        fn_IV, fn_IG  /* invalid; ignored */
    };
    #define R(a,b,c,d,e,f,g,h,i,j) {fn_##a,fn_##b,fn_##c,fn_##d,fn_##e,fn_##f,fn_##g,fn_##h,fn_##i,fn_##j}
    static const unsigned char fn_tcp_next[2][6][10] = {
        {R(SS, SS, IG, IG, IG, IG, IG, SS, SS, S2),
         R(IV, IV, SR, IV, IV, IV, IV, IV, IV, SR),
         R(IV, IV, FW, FW, LA, LA, LA, TW, CL, IV),
         R(ES, IV, ES, ES, CW, CW, TW, TW, CL, IV),
         R(IV, CL, CL, CL, CL, CL, CL, CL, CL, CL),
         R(IV, IV, IV, IV, IV, IV, IV, IV, IV, IV)},
        {R(IV, S2, IV, IV, IV, IV, IV, SS, IV, S2),
         R(IV, SR, IG, IG, IG, IG, IG, IG, IG, SR),
         R(IV, IV, FW, FW, LA, LA, LA, TW, CL, IV),
         R(IV, IG, SR, ES, CW, CW, TW, TW, CL, IG),
         R(IV, CL, CL, CL, CL, CL, CL, CL, CL, CL),
         R(IV, IV, IV, IV, IV, IV, IV, IV, IV, IV)}};
    #undef R
    """
    enum:
        NO "fn_NO"
        SS "fn_SS"
        SR "fn_SR"
        ES "fn_ES"
        FW "fn_FW"
        CW "fn_CW"
        LA "fn_LA"
        TW "fn_TW"
        CL "fn_CL"
        S2 "fn_S2"
        IV "fn_IV"
        IG "fn_IG"
    const unsigned char fn_tcp_next[2][6][10]


cdef inline bint flags_valid(uint32_t flags) noexcept nogil:
    # flags_valid: tcp_valid_flags, PSH, ECE and CWR ignored.
    flags &= 0x37
    return (flags == 0x02 or flags == 0x22 or flags == 0x12 or flags == 0x04 or flags == 0x14 or flags == 0x11
            or flags == 0x31 or flags == 0x10 or flags == 0x30)


cdef inline uint32_t flag_class(uint32_t flags) noexcept nogil:
    # flag_class: => CLASS_* of a segment, by which the state table is read (get_conntrack_index).
    # RST before SYN before FIN: what a segment with several flags is taken for
    if flags & 0x04:
        return CLASS_RST
    if flags & 0x02:
        return CLASS_SYNACK if flags & 0x10 else CLASS_SYN
    if flags & 0x01:
        return CLASS_FIN
    return CLASS_ACK if flags & 0x10 else CLASS_NONE


cdef inline void begin_state(tcp_t *t, uint32_t end, uint32_t window) noexcept nogil:
    # begin_state: what a SYN without options says, whose sequence number is followed by `end`.
    # the record may have been another connection's
    memset(t, 0, FN_TCP_STATE)
    t.td_end[0] = end
    t.td_maxend[0] = end
    t.td_maxwin[0] = window
    t.last_index = CLASS_NONE


cdef inline int tcp_new(engine_t *e, pkt_t *p) noexcept nogil:
    # tcp_new: the first packet; a SYN, or with `loose` an ACK of a connection older than the table.
    cdef tcp_t *t = &e.tcp[p.ct]
    cdef uint32_t window = p.window if p.window else 1
    # a SYN/ACK, FIN or RST opens nothing
    if fn_tcp_next[0][p.tcp_class][NO] == IV:
        return CT_INVALID
    begin_state(t, p.end, window)
    if p.tcp_class == CLASS_SYN:
        tcp_options(p, &t.scale[0], &t.flags[0])
    elif not e.loose:
        return CT_INVALID
    else:
        # nothing is known of scaling: whatever the ends send is taken
        # of a SYN td_maxend is its own end: nobody has announced a window to it; here the other end must have
        t.td_maxend[0] = p.end + window
        t.flags[0] = TCP_SACK_PERM | TCP_BE_LIBERAL
        t.flags[1] = TCP_SACK_PERM | TCP_BE_LIBERAL
    return CT_ACCEPT


cdef inline int remember_ignored(engine_t *e, pkt_t *p, uint32_t old) noexcept nogil:
    # remember_ignored: the packet may be right and our state wrong; the other side's answer will tell.
    cdef tcp_t *t = &e.tcp[p.ct]
    cdef uint8_t scale = 0
    cdef uint8_t flags = 0
    t.last_index = p.tcp_class
    t.last_dir = p.dir
    # an answer is compared with these: answers_ignored_syn, judge_rst
    t.last_seq = p.seq
    t.last_end = p.end
    t.last_win = <unsigned short>p.window
    # should it begin a connection after all, the answer sets up windows with what this SYN offered
    if p.tcp_class == CLASS_SYN and p.dir == 0:
        tcp_options(p, &scale, &flags)
        t.last_wscale = scale if flags & TCP_WINDOW_SCALE else 0
        t.last_flags = flags & (TCP_WINDOW_SCALE | TCP_SACK_PERM)
        if old == LA:
            t.last_flags |= TCP_EXP_CHALLENGE_ACK
    # a server that knows an older connection acknowledges that one: the client's RST will carry this number (judge_rst)
    if e.profile != LINUX_5_4 and old == SS and p.tcp_class == CLASS_ACK and p.dir == 1:
        t.last_ack = p.ack
    return CT_PASS


cdef inline void resynchronise(engine_t *e, pkt_t *p) noexcept nogil:
    # resynchronise: the SYN that was ignored has been answered: both ends began anew.
    cdef tcp_t *t = &e.tcp[p.ct]
    cdef uint32_t dir = p.dir
    cdef uint32_t other = 1 - dir
    t.td_end[other] = t.last_end
    t.td_maxend[other] = t.last_end
    # unscaled, as in the SYN itself: scaling holds from the segment behind it on
    t.td_maxwin[other] = t.last_win if t.last_win else 1
    t.scale[other] = t.last_wscale
    t.last_flags &= ~TCP_EXP_CHALLENGE_ACK & 0xff
    t.flags[other] = t.last_flags
    # of the end that answers nothing holds: its SYN/ACK tells all anew behind this (learn_sender)
    t.td_end[dir] = 0
    t.td_maxend[dir] = 0
    t.td_maxwin[dir] = 0
    t.td_maxack[dir] = 0
    t.scale[dir] = 0
    t.flags[dir] = t.flags[dir] & TCP_BE_LIBERAL if e.profile != LINUX_5_4 else 0


cdef inline int judge_rst(engine_t *e, pkt_t *p, uint32_t old, uint32_t *new) noexcept nogil:
    # judge_rst: how far a RST is believed (RFC 5961, blind resets).
    # => CHECK_WINDOW, SKIP_WINDOW or REFUSE; *new is set back to the old state for a possible challenge.
    cdef conn_t *c = &e.conns[p.ct]
    cdef tcp_t *t = &e.tcp[p.ct]
    cdef uint32_t other = 1 - p.dir
    cdef bint modern = e.profile != LINUX_5_4
    cdef bint settled = old == ES and (c.status & IPS_ASSURED) != 0
    # a header of a batch has no numbers to doubt
    if not p.has_seq:
        return SKIP_WINDOW
    # no data is at stake any more
    if modern and FW <= old <= CL:
        return SKIP_WINDOW
    if t.flags[other] & TCP_MAXACK_SET and not (modern and t.last_index == CLASS_SYN):
        # who resets without a connection of its own has no number to send (RFC 9293, 3.10.7.1)
        if modern and p.seq == 0 and not settled:
            return CHECK_WINDOW
        # RFC 5961: below what the other end has acknowledged nobody sends a RST
        if before_seq(p.seq, t.td_maxack[other]) and not (modern and e.ignore_invalid_rst):
            return REFUSE
        # exactly the number that the other end waits for
        if not settled or p.seq == t.td_maxack[other]:
            return CHECK_WINDOW
        # right behind its last ACK, which the other end has not acknowledged yet
        if t.last_index == CLASS_ACK and t.last_dir == p.dir and p.seq == t.last_end:
            return CHECK_WINDOW
        # the end may answer with a challenge ACK: the connection stays, with the timeout of CLOSE
        new[0] = old
    if p.ack == t.last_end:
        # recorded: 6.18 believes a RST that answers a SYN only when the other side sent that SYN
        if c.status & IPS_SEEN_REPLY and t.last_index == CLASS_SYN and not (modern and t.last_dir == p.dir):
            return SKIP_WINDOW
        if not c.status & IPS_ASSURED and t.last_index == CLASS_ACK:
            return SKIP_WINDOW
    # the client resets what the server's ACK belonged to: an older connection, which its SYN has met
    if modern and old == SS and t.last_index == CLASS_ACK and t.last_dir == 1 and p.seq == t.last_ack:
        return SKIP_WINDOW
    return CHECK_WINDOW


cdef inline void note_invalid(engine_t *e, pkt_t *p) noexcept nogil:
    # note_invalid: FIN or RST outside the window from both sides: the connection is over (nf_tcp_handle_invalid).
    cdef conn_t *c = &e.conns[p.ct]
    cdef tcp_t *t = &e.tcp[p.ct]
    cdef uint32_t unacknowledged = timeouts_of(e, p.ct)[TIMEOUT_TCP_UNACK]
    cdef int32_t left = <int32_t>(c.timeout - p.now)
    if e.profile == LINUX_5_4 or not c.status & IPS_ASSURED:
        return
    if p.tcp_class != CLASS_FIN and p.tcp_class != CLASS_RST:
        return
    # the first of the two is only remembered
    if t.last_dir == p.dir or (t.last_index != CLASS_FIN and t.last_index != CLASS_RST):
        t.last_index = p.tcp_class
        t.last_dir = p.dir
        return
    # two minutes are short enough as they are (nf_tcp_handle_invalid), those that are left to the jiffy not
    if left >= 120 * FN_HZ and left > <int32_t>unacknowledged:
        c.timeout = p.now + unacknowledged
        wheel_bring_forward(e, p.ct)


cdef inline uint32_t state_timeout(const engine_t *e, const uint32_t *timeouts, const tcp_t *t, uint32_t segment, bint has_seq,
                                   uint32_t new) noexcept nogil:
    # state_timeout: timeouts: of the connection.
    # => Jiffies that it lasts in the state that a segment of class `segment` led to.
    cdef uint32_t own = timeouts[TIMEOUT_TCP + new]
    # in the order of the kernel's ifs: only one of these shortens
    if t.retrans >= e.max_retrans and own > timeouts[TIMEOUT_TCP_MAX_RETRANS]:
        return timeouts[TIMEOUT_TCP_MAX_RETRANS]
    # even where the state was kept for a challenge: it ends soon unless the other end answers
    if segment == CLASS_RST:
        return timeouts[TIMEOUT_TCP + CL]
    if (t.flags[0] | t.flags[1]) & TCP_DATA_UNACK and own > timeouts[TIMEOUT_TCP_UNACK]:
        return timeouts[TIMEOUT_TCP_UNACK]
    if has_seq and t.last_win == 0 and own > timeouts[TIMEOUT_TCP_MAX_RETRANS]:
        return timeouts[TIMEOUT_TCP_MAX_RETRANS]
    return own


cdef inline void enter_state(engine_t *e, uint32_t ct, uint32_t dir, uint32_t segment, uint32_t old, uint32_t new) noexcept nogil:
    # enter_state: a segment of class `segment` counts.
    cdef conn_t *c = &e.conns[ct]
    cdef tcp_t *t = &e.tcp[ct]
    t.last_index = <uint8_t>segment
    t.last_dir = <uint8_t>dir
    c.state = <uint8_t>new
    # a port whose connection is closing may be taken over from now on (nf_nat_used_tuple_harder)
    if fn_unlikely(e.n_bitmaps != 0) and old < TW <= new:
        note_closing(e, conn_tuple(c, 1))
    # who closes first: opens_anew asks for it
    if new == FW and old != FW:
        t.flags[dir] |= TCP_CLOSE_INIT


cdef inline void renew(engine_t *e, const uint32_t *timeouts, uint32_t ct, uint32_t now, uint32_t old, uint32_t new,
                       uint32_t timeout) noexcept nogil:
    # renew: refresh a connection that has come from one state into another, and assure it once both ends have agreed. timeouts:
    # of the connection.
    cdef conn_t *c = &e.conns[ct]
    if not c.status & IPS_SEEN_REPLY:
        # picked up in the middle, and nobody has answered yet
        if new == ES and timeout > timeouts[TIMEOUT_TCP_UNACK]:
            timeout = timeouts[TIMEOUT_TCP_UNACK]
    elif not c.status & IPS_ASSURED and (old == SR or old == ES) and new == ES:
        # the handshake's last ACK; of a connection picked up in the middle the first packet behind an answer
        c.status |= IPS_ASSURED
    refresh(e, ct, now, timeout)


cdef inline int tcp_accepted(engine_t *e, pkt_t *p, uint32_t old, uint32_t new) noexcept nogil:
    # tcp_accepted: the packet counts: enter the state, choose the timeout.
    cdef conn_t *c = &e.conns[p.ct]
    cdef const uint32_t *timeouts = timeouts_of(e, p.ct)
    cdef uint32_t timeout
    enter_state(e, p.ct, p.dir, p.tcp_class, old, new)
    timeout = state_timeout(e, timeouts, &e.tcp[p.ct], p.tcp_class, p.has_seq, new)
    # SEEN_REPLY is set behind this: the first reply is still among those that find none
    if not c.status & IPS_SEEN_REPLY:
        if fn_unlikely(p.tcp_class == CLASS_RST):
            # nobody answered but to refuse: the entry would only be in the way of the next SYN
            account(e, p)
            if c.status & IPS_CONFIRMED:
                conn_kill(e, p)
            return CT_PASS
        # SYNs that come again must not keep an entry alive for ever
        if e.profile != LINUX_5_4 and p.tcp_class == CLASS_SYN and old == SS:
            return CT_PASS
    renew(e, timeouts, p.ct, p.now, old, new, timeout)
    return CT_ACCEPT


cdef inline bint opens_anew(const tcp_t *t, uint32_t dir) noexcept nogil:
    # opens_anew: a SYN behind the end of a connection: both ends have closed, or the sender has reset it.
    return (t.flags[0] | t.flags[1]) & TCP_CLOSE_INIT or (t.last_dir == dir and t.last_index == CLASS_RST)


cdef inline bint answers_ignored_syn(const tcp_t *t, const pkt_t *p) noexcept nogil:
    # answers_ignored_syn: a SYN/ACK for the SYN that was ignored last: the other end knows no connection.
    return (p.has_seq and p.tcp_class == CLASS_SYNACK and t.last_index == CLASS_SYN and t.last_dir == 1 - p.dir
            and p.ack == t.last_end)


cdef inline bint answers_challenge(const tcp_t *t, const pkt_t *p, uint32_t old) noexcept nogil:
    # answers_challenge: the ACK that RFC 5961 has an end send for a SYN within a connection.
    return (old == LA and p.tcp_class == CLASS_ACK and t.last_dir == 1 - p.dir and t.last_index == CLASS_SYN
            and t.last_flags & TCP_EXP_CHALLENGE_ACK)


cdef inline int judge_state(engine_t *e, pkt_t *p, uint32_t *old, uint32_t *new, int *check) noexcept nogil:
    # judge_state: what the new state asks beside the window (the switch of nf_conntrack_tcp_packet).
    # => CT_ACCEPT: go on, with check CHECK_WINDOW or another; else what tcp_packet returns.
    cdef tcp_t *t = &e.tcp[p.ct]
    if new[0] == IG:
        if not answers_ignored_syn(t, p):
            return remember_ignored(e, p, old[0])
        # both ends are in step and conntrack is not: the SYN that it took for a stray one has been answered
        old[0] = SS
        new[0] = SR
        resynchronise(e, p)
    elif new[0] == TW:
        if answers_challenge(t, p, old[0]):
            t.last_flags &= ~TCP_EXP_CHALLENGE_ACK & 0xff
            return CT_PASS
    elif new[0] == S2:
        # two SYNs crossed: an ACK of the other end may end the handshake then
        t.last_flags |= TCP_SIMULTANEOUS_OPEN
    elif new[0] == SR:
        if p.dir == 1 and p.tcp_class == CLASS_ACK and t.last_flags & TCP_SIMULTANEOUS_OPEN:
            new[0] = ES
    elif new[0] == CL and p.tcp_class == CLASS_RST:
        check[0] = judge_rst(e, p, old[0], new)
        if check[0] == REFUSE:
            return CT_INVALID
    return CT_ACCEPT


cdef inline int tcp_packet(engine_t *e, pkt_t *p) noexcept nogil:
    # tcp_packet: nf_conntrack_tcp_packet after the header checks.
    # => CT_REPEAT when the connection was deleted and the packet opens a new one.
    cdef conn_t *c = &e.conns[p.ct]
    cdef uint32_t old, new
    cdef int check = CHECK_WINDOW
    cdef int verdict
    p.tcp_class = <uint8_t>flag_class(p.tcp_flags)
    # for each packet up to confirm: the kernel asks nf_ct_is_confirmed, not whether it is the first one
    if not c.status & IPS_CONFIRMED and tcp_new(e, p) == CT_INVALID:
        return CT_INVALID
    old = c.state
    new = fn_tcp_next[p.dir][p.tcp_class][old]
    # the table cannot tell a new connection of old ports from a SYN that comes late
    if new == SS and old >= TW and old <= CL:
        if opens_anew(&e.tcp[p.ct], p.dir):
            conn_delete(e, p.ct)
            return CT_REPEAT
        new = IG
    if new == IV:
        return CT_INVALID
    # before the window: a challenge, or an answer to an ignored SYN, lies in none of this connection
    verdict = judge_state(e, p, &old, &new, &check)
    if verdict != CT_ACCEPT:
        return verdict
    if check == CHECK_WINDOW and p.has_seq:
        check = in_window(e, p)
        if check == WINDOW_INVALID:
            note_invalid(e, p)
            return CT_INVALID
        if check != WINDOW_ACCEPT:
            return CT_PASS
    return tcp_accepted(e, p, old, new)


cdef inline uint32_t plain_next(const engine_t *e, uint32_t ct, uint32_t dir, uint32_t flags) noexcept nogil:
    # plain_next: the state to which a segment without sequence numbers leads where tcp_packet asks nothing but the present one:
    # an ACK or FIN of a connection that both ends have opened.
    # => NO: tcp_packet has to judge it.
    cdef uint32_t segment = flag_class(flags)
    cdef uint32_t new
    if not flags_valid(flags) or (segment != CLASS_ACK and segment != CLASS_FIN):
        return NO
    new = fn_tcp_next[dir][segment][e.conns[ct].state]
    if new < ES or new > TW:
        return NO
    # it may answer a challenge
    return NO if new == TW and e.tcp[ct].last_flags & TCP_EXP_CHALLENGE_ACK else new


cdef inline void pass_plain(engine_t *e, uint32_t ct, uint32_t dir, uint32_t flags, uint32_t new) noexcept nogil:
    # pass_plain: tcp_packet for a segment of which plain_next told the next state. No connection has timeouts of its own.
    cdef uint32_t old = e.conns[ct].state
    cdef uint32_t segment = flag_class(flags)
    enter_state(e, ct, dir, segment, old, new)
    renew(e, e.timeouts, ct, <uint32_t>e.now, old, new, state_timeout(e, e.timeouts, &e.tcp[ct], segment, False, new))


cdef inline uint32_t open_plain(engine_t *e, uint32_t ct, uint32_t end) noexcept nogil:
    # open_plain: tcp_packet for the SYN, without sequence numbers but one, that opens a connection; end: what follows that.
    # => Jiffies that it lasts.
    cdef tcp_t *t = &e.tcp[ct]
    # a header says no window: 1 stands for it, as tcp_new takes it for 0, which says that an end is unknown
    begin_state(t, end, 1)
    enter_state(e, ct, 0, CLASS_SYN, NO, SS)
    return state_timeout(e, e.timeouts, t, CLASS_SYN, False, SS)


cdef inline bint is_plain_syn(uint32_t flags) noexcept nogil:
    # is_plain_syn: whether a segment opens a connection.
    return flags_valid(flags) and flag_class(flags) == CLASS_SYN


cdef inline bint pass_within(engine_t *e, pkt_t *p) noexcept nogil:
    # pass_within: tcp_packet for a segment with sequence numbers of which plain_next tells the next state, and that lies within
    # the windows: it is accepted.
    # => False: tcp_packet has to judge it; nothing has changed.
    cdef uint32_t old = e.conns[p.ct].state
    cdef uint32_t new = plain_next(e, p.ct, p.dir, p.tcp_flags)
    if new == NO:
        return False
    p.tcp_class = <uint8_t>flag_class(p.tcp_flags)
    if not slide_within(e, p):
        return False
    tcp_accepted(e, p, old, new)
    return True


cdef inline void learn_opener(engine_t *e, pkt_t *p, uint32_t ct) noexcept nogil:
    # learn_opener: what open_plain left out of the state of a connection whose SYN has sequence numbers, a window and options.
    p.ct = ct
    p.dir = 0
    p.tcp_class = CLASS_SYN
    tcp_new(e, p)
    in_window(e, p)
    enter_state(e, ct, 0, CLASS_SYN, NO, SS)
