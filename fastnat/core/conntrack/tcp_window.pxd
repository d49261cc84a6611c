# TCP window tracking: whether a segment lies in the windows that both ends announced.
#
# Source: tcp_in_window, tcp_init_sender, tcp_options, tcp_sack (nf_conntrack_proto_tcp.c, Linux 6.18); van Rooij,
# "Real Stateful TCP Packet Filtering in IP Filter" (2001).
# Invariants: all comparisons modulo 2**32; nothing is read past the TCP header's own length.
# Differs from the kernel: nothing.
from libc.stdint cimport int32_t, uint8_t, uint32_t
from ..types cimport *
from ..helpers.expect cimport help_of

cdef enum:
    CLASS_SYN = 0
    CLASS_SYNACK = 1
    CLASS_FIN = 2
    CLASS_ACK = 3
    CLASS_RST = 4
    CLASS_NONE = 5
    # IP_CT_TCP_FLAG_* and IP_CT_EXP_CHALLENGE_ACK
    TCP_WINDOW_SCALE = 0x01
    TCP_SACK_PERM = 0x02
    TCP_CLOSE_INIT = 0x04
    TCP_BE_LIBERAL = 0x08
    TCP_DATA_UNACK = 0x10
    TCP_MAXACK_SET = 0x20
    TCP_EXP_CHALLENGE_ACK = 0x40
    TCP_SIMULTANEOUS_OPEN = 0x80
    WINDOW_ACCEPT = 0
    WINDOW_INVALID = 1
    WINDOW_IGNORE = 2
    MAX_SCALE = 14
    # MAXACKWINCONST: an ACK may lag this far at least
    ACK_WINDOW = 66000
    STATE_SYN_SENT = 1
    STATE_SYN_RECV = 2


cdef inline bint before_seq(uint32_t a, uint32_t b) noexcept nogil:
    return <int32_t>(a - b) < 0


cdef inline bint after_seq(uint32_t a, uint32_t b) noexcept nogil:
    return <int32_t>(b - a) < 0


cdef inline uint32_t seq_offset(const help_t *help, uint32_t dir, uint32_t seq) noexcept nogil:
    # seq_offset: what was added to a number of this direction.
    return help.after[dir] if after_seq(seq, help.pos[dir]) else help.before[dir]


cdef inline uint32_t max_u32(uint32_t a, uint32_t b) noexcept nogil:
    return a if a > b else b


cdef inline uint32_t read_u32(const uint8_t *at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline uint32_t option_bytes(const pkt_t *p) noexcept nogil:
    # option_bytes: length of the TCP options, 0 for a header-only packet. The header was checked to be whole.
    return (p.data[p.l4off + 12] >> 4) * 4 - 20 if p.data != NULL and p.has_seq else 0


cdef inline void tcp_options(const pkt_t *p, uint8_t *scale, uint8_t *flags) noexcept nogil:
    # tcp_options: window scale and SACK-permitted of a SYN.
    # => Without any options neither is touched; otherwise both start at nothing, BE_LIBERAL excepted.
    cdef uint32_t n = option_bytes(p)
    cdef const uint8_t *at
    cdef uint32_t size
    if n == 0:
        return
    at = p.data + p.l4off + 20
    scale[0] = 0
    flags[0] &= TCP_BE_LIBERAL
    while n:
        if at[0] == 0:
            return
        if at[0] == 1:
            n -= 1
            at += 1
            continue
        if n < 2:
            return
        size = at[1]
        if size < 2 or size > n:
            return
        if at[0] == 4 and size == 2:
            flags[0] |= TCP_SACK_PERM
        elif at[0] == 3 and size == 3:
            scale[0] = at[2] if at[2] < MAX_SCALE else MAX_SCALE
            flags[0] |= TCP_WINDOW_SCALE
        n -= size
        at += size


cdef inline uint32_t tcp_sack(const pkt_t *p) noexcept nogil:
    # tcp_sack: the highest sequence number acknowledged, selectively or not.
    cdef uint32_t sack = p.ack
    cdef uint32_t n = option_bytes(p)
    cdef const uint8_t *at
    cdef uint32_t size, i, edge
    if n == 0:
        return sack
    at = p.data + p.l4off + 20
    while n:
        if at[0] == 0:
            return sack
        if at[0] == 1:
            n -= 1
            at += 1
            continue
        if n < 2:
            return sack
        size = at[1]
        if size < 2 or size > n:
            return sack
        if at[0] == 5 and size >= 10 and (size - 2) % 8 == 0:
            for i in range((size - 2) // 8):
                edge = read_u32(at + 2 + i * 8 + 4)
                if after_seq(edge, sack):
                    sack = edge
            return sack
        n -= size
        at += size
    return sack


cdef inline void init_sender(engine_t *e, const pkt_t *p, tcp_t *t, uint32_t s, uint32_t r, uint32_t win) noexcept nogil:
    # init_sender: a SYN tells everything about its sender.
    # => Scaling holds only if both ends offered it; the end that offers first cannot know yet (6.18).
    t.td_end[s] = p.end
    t.td_maxend[s] = p.end
    t.td_maxwin[s] = max_u32(win, 1)
    tcp_options(p, &t.scale[s], &t.flags[s])
    if e.profile == LINUX_5_4 or p.dir == 1:
        if not (t.flags[s] & TCP_WINDOW_SCALE and t.flags[r] & TCP_WINDOW_SCALE):
            t.scale[s] = 0
            t.scale[r] = 0


cdef inline int window_failure(engine_t *e, const tcp_t *t, uint32_t s, int otherwise) noexcept nogil:
    if t.flags[s] & TCP_BE_LIBERAL or e.be_liberal:
        return WINDOW_ACCEPT
    return otherwise


cdef inline int in_window(engine_t *e, pkt_t *p, uint32_t new) noexcept nogil:
    # in_window: compare with the windows, and slide them.
    # => WINDOW_ACCEPT, WINDOW_INVALID, or WINDOW_IGNORE (6.18): pass it translated, learn nothing from it.
    cdef tcp_t *t = &e.tcp[p.ct]
    cdef uint32_t state = e.conns[p.ct].state
    cdef uint32_t s = p.dir
    cdef uint32_t r = 1 - p.dir
    cdef uint32_t seq = p.seq
    cdef uint32_t end = p.end
    cdef uint32_t ack = p.ack
    cdef uint32_t win_raw = p.window
    cdef uint32_t win = win_raw
    cdef uint32_t sack = ack
    cdef uint32_t overshot, swin, shift
    cdef bint syn = (p.tcp_flags & 0x02) != 0
    cdef bint has_ack = (p.tcp_flags & 0x10) != 0
    cdef bint rst = (p.tcp_flags & 0x04) != 0
    cdef bint in_recv, seq_ok, ack_low, ack_high, renew
    cdef bint modern = e.profile != LINUX_5_4
    if t.flags[r] & TCP_SACK_PERM:
        sack = tcp_sack(p)
    if fn_unlikely(e.conns[p.ct].flags & CONN_HELPED):
        shift = seq_offset(help_of(e, p.ct), r, ack - 1)
        ack -= shift
        sack -= shift
    renew = (syn and after_seq(end, t.td_end[s]) and (state == STATE_SYN_SENT or state == STATE_SYN_RECV)) if modern else (
        after_seq(end, t.td_end[s]) and ((state == STATE_SYN_SENT and s == 0) or (state == STATE_SYN_RECV and s == 1)))
    if t.td_maxwin[s] == 0:
        if syn:
            init_sender(e, p, t, s, r, win)
            if not has_ack:
                return WINDOW_ACCEPT
        else:
            swin = win << t.scale[s]
            t.td_end[s] = end
            t.td_maxwin[s] = max_u32(swin, 1)
            t.td_maxend[s] = end + t.td_maxwin[s]
            if t.td_maxwin[r] == 0:
                t.td_end[r] = sack
                t.td_maxend[r] = sack
            elif sack == t.td_end[r] + 1:
                t.td_end[r] += 1
    elif renew:
        if modern:
            init_sender(e, p, t, s, r, win)
            if s == 1 and not has_ack:
                return WINDOW_ACCEPT
        else:
            t.td_end[s] = end
            t.td_maxend[s] = end
            t.td_maxwin[s] = max_u32(win, 1)
            tcp_options(p, &t.scale[s], &t.flags[s])
    if not has_ack or (rst and ack == 0):
        ack = t.td_end[r]
        sack = ack
    if rst and seq == 0 and state == STATE_SYN_SENT:
        seq = t.td_end[s]
        end = seq
    seq_ok = before_seq(seq, t.td_maxend[s] + 1)
    in_recv = t.td_maxwin[r] == 0 or after_seq(end, t.td_end[s] - t.td_maxwin[r] - 1)
    ack_high = before_seq(sack, t.td_end[r] + 1)
    ack_low = after_seq(sack, t.td_end[r] - max_u32(ACK_WINDOW, t.td_maxwin[s]) - 1)
    if not (seq_ok and in_recv and ack_high and ack_low):
        if not modern:
            return window_failure(e, t, s, WINDOW_INVALID)
        if not seq_ok:
            overshot = end - t.td_maxend[s] + 1
            if ack_low and ack_high and t.td_maxwin[r] and in_recv and overshot <= t.td_maxwin[r]:
                t.td_end[s] = end
                t.flags[s] |= TCP_DATA_UNACK
                return window_failure(e, t, s, WINDOW_IGNORE)
            return window_failure(e, t, s, WINDOW_INVALID)
        if not ack_high:
            return window_failure(e, t, s, WINDOW_INVALID)
        return window_failure(e, t, s, WINDOW_IGNORE)
    if not syn:
        win <<= t.scale[s]
    swin = win + (sack - ack)
    if t.td_maxwin[s] < swin:
        t.td_maxwin[s] = swin
    if after_seq(end, t.td_end[s]):
        t.td_end[s] = end
        t.flags[s] |= TCP_DATA_UNACK
    if has_ack:
        if not t.flags[s] & TCP_MAXACK_SET:
            t.td_maxack[s] = ack
            t.flags[s] |= TCP_MAXACK_SET
        elif after_seq(ack, t.td_maxack[s]):
            t.td_maxack[s] = ack
    if t.td_maxwin[r] and after_seq(end, t.td_maxend[s]):
        t.td_maxwin[r] += end - t.td_maxend[s]
    if after_seq(sack + win, t.td_maxend[r] - 1):
        t.td_maxend[r] = sack + win
        if win == 0:
            t.td_maxend[r] += 1
    if ack == t.td_end[r]:
        t.flags[r] &= ~TCP_DATA_UNACK & 0xff
    if p.tcp_class == CLASS_ACK:
        if t.last_dir == s and t.last_seq == seq and t.last_ack == ack and t.last_end == end and t.last_win == win_raw:
            if t.retrans < 255:
                t.retrans += 1
        else:
            t.last_dir = <uint8_t>s
            t.last_seq = seq
            t.last_ack = ack
            t.last_end = end
            t.last_win = <unsigned short>win_raw
            t.retrans = 0
    return WINDOW_ACCEPT
