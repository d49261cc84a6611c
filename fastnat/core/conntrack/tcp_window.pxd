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
    # which bounds hold: of the segment's numbers, of what it acknowledges
    FITS_UPPER = 1
    FITS_LOWER = 2
    FITS_ACK_UPPER = 4
    FITS_ACK_LOWER = 8
    FITS_ALL = 15
    MAX_SCALE = 14
    # MAXACKWINCONST: an ACK may lag this far at least
    ACK_WINDOW = 66000
    STATE_SYN_SENT = 1
    STATE_SYN_RECV = 2


cdef inline bint before_seq(uint32_t a, uint32_t b) noexcept nogil:
    # before_seq: whether a comes before b, modulo 2**32.
    return <int32_t>(a - b) < 0


cdef inline bint after_seq(uint32_t a, uint32_t b) noexcept nogil:
    # after_seq: whether a comes behind b, modulo 2**32.
    return <int32_t>(b - a) < 0


cdef inline uint32_t seq_offset(const help_t *help, uint32_t dir, uint32_t seq) noexcept nogil:
    # seq_offset: what was added to a number of this direction.
    return help.after[dir] if after_seq(seq, help.pos[dir]) else help.before[dir]


cdef inline uint32_t max_u32(uint32_t a, uint32_t b) noexcept nogil:
    # max_u32: => The larger one.
    return a if a > b else b


cdef inline uint32_t read_u32(const uint8_t *at) noexcept nogil:
    # read_u32: four bytes in network order.
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline uint32_t option_bytes(const pkt_t *p) noexcept nogil:
    # option_bytes: length of the TCP options, 0 for a header-only packet. The header was checked to be whole.
    return (p.data[p.l4off + 12] >> 4) * 4 - 20 if p.data != NULL and p.has_seq else 0


cdef inline void tcp_options(const pkt_t *p, uint8_t *scale, uint8_t *flags) noexcept nogil:
    # tcp_options: window scale and SACK-permitted of a SYN. An option that is cut ends the walk, what stood in front of it holds.
    # => Without any options neither is touched; otherwise both start at nothing, BE_LIBERAL excepted.
    cdef uint32_t n = option_bytes(p)
    cdef const uint8_t *at
    cdef uint32_t size
    if n == 0:
        return
    at = p.data + p.l4off + 20
    # what an earlier SYN offered does not hold for this one; who is told to be liberal stays so
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
        # a length of 0 would never get past the option
        if size < 2 or size > n:
            return
        if at[0] == 4 and size == 2:
            flags[0] |= TCP_SACK_PERM
        elif at[0] == 3 and size == 3:
            # RFC 7323, 2.3: a larger one counts as 14
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
        # kind, length, and blocks of two edges (RFC 2018)
        if at[0] == 5 and size >= 10 and (size - 2) % 8 == 0:
            for i in range((size - 2) // 8):
                edge = read_u32(at + 2 + i * 8 + 4)
                if after_seq(edge, sack):
                    sack = edge
            # the first such option is the only one that counts (tcp_sack)
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


cdef struct segment_t:
    # a segment from end s to end r. sack: its highest acknowledgement; acknowledgements are as r counted, before a helper
    # changed lengths. win: as it stands in the header.
    uint32_t s
    uint32_t r
    uint32_t seq
    uint32_t end
    uint32_t ack
    uint32_t sack
    uint32_t win
    bint syn
    bint has_ack
    bint rst


cdef inline void read_segment(const engine_t *e, const pkt_t *p, const tcp_t *t, segment_t *g) noexcept nogil:
    # read_segment: the numbers of the packet (the beginning of tcp_in_window).
    cdef uint32_t shift
    g.s = p.dir
    g.r = 1 - p.dir
    g.seq = p.seq
    g.end = p.end
    g.ack = p.ack
    g.win = p.window
    g.syn = (p.tcp_flags & 0x02) != 0
    g.has_ack = (p.tcp_flags & 0x10) != 0
    g.rst = (p.tcp_flags & 0x04) != 0
    # blocks count only where their receiver has permitted them (RFC 2018, 3)
    g.sack = tcp_sack(p) if t.flags[g.r] & TCP_SACK_PERM else g.ack
    if fn_unlikely(e.conns[p.ct].flags & CONN_HELPED):
        # nf_ct_seq_offset of what the other end has sent
        # the last byte acknowledged is the one whose offset counts, hence - 1
        shift = seq_offset(help_of(e, p.ct), g.r, g.ack - 1)
        g.ack -= shift
        g.sack -= shift


cdef inline bint speaks_again(const engine_t *e, const tcp_t *t, const segment_t *g, uint32_t state) noexcept nogil:
    # speaks_again: before the connection is established its sender has begun anew, or answers: a SYN with other numbers.
    if not after_seq(g.end, t.td_end[g.s]):
        return False
    # linux-5.4 takes any segment that reaches further, without a SYN
    if e.profile != LINUX_5_4:
        return g.syn and (state == STATE_SYN_SENT or state == STATE_SYN_RECV)
    return (state == STATE_SYN_SENT and g.s == 0) or (state == STATE_SYN_RECV and g.s == 1)


cdef inline void pick_up(tcp_t *t, const segment_t *g) noexcept nogil:
    # pick_up: the first segment seen of an end is no SYN: the connection was there before us.
    t.td_end[g.s] = g.end
    # at least 1: 0 says that the end has not been seen
    t.td_maxwin[g.s] = max_u32(g.win << t.scale[g.s], 1)
    t.td_maxend[g.s] = g.end + t.td_maxwin[g.s]
    if t.td_maxwin[g.r] == 0:
        # nothing is known of the other end either: what is acknowledged was sent
        t.td_end[g.r] = g.sack
        t.td_maxend[g.r] = g.sack
    elif g.sack == t.td_end[g.r] + 1:
        # the SYN of a connection opened again counts one
        t.td_end[g.r] += 1


cdef inline bint learn_sender(engine_t *e, const pkt_t *p, tcp_t *t, const segment_t *g, uint32_t state) noexcept nogil:
    # learn_sender: what a first segment tells about its end.
    # => True: there is nothing to compare it with; it is accepted.
    if t.td_maxwin[g.s] == 0:
        if not g.syn:
            pick_up(t, g)
            return False
        init_sender(e, p, t, g.s, g.r, g.win)
        # RFC 793: both ends open at once, or the first SYN
        return not g.has_ack
    if not speaks_again(e, t, g, state):
        return False
    if e.profile != LINUX_5_4:
        init_sender(e, p, t, g.s, g.r, g.win)
        return g.s == 1 and not g.has_ack
    # RFC 793, 3.3: who begins anew need not wait. 5.4 takes the numbers over, and leaves out that scaling needs both ends
    t.td_end[g.s] = g.end
    t.td_maxend[g.s] = g.end
    t.td_maxwin[g.s] = max_u32(g.win, 1)
    tcp_options(p, &t.scale[g.s], &t.flags[g.s])
    return False


cdef inline void fill_in(const tcp_t *t, segment_t *g, uint32_t state) noexcept nogil:
    # fill_in: numbers that a segment need not carry are those that fit.
    if not g.has_ack or (g.rst and g.ack == 0):
        g.ack = t.td_end[g.r]
        g.sack = g.ack
    # a RST that answers a SYN has no sequence number
    if g.rst and g.seq == 0 and state == STATE_SYN_SENT:
        g.seq = t.td_end[g.s]
        g.end = g.seq


cdef inline uint32_t compare(const tcp_t *t, const segment_t *g) noexcept nogil:
    # compare: the four bounds of van Rooij's paper.
    # => FITS_*: which of them hold.
    cdef uint32_t fits = 0
    # I: it begins within what the receiver takes
    if before_seq(g.seq, t.td_maxend[g.s] + 1):
        fits |= FITS_UPPER
    # an end that has announced no window yet may be sent anything
    # II: it is no older than a window
    if t.td_maxwin[g.r] == 0 or after_seq(g.end, t.td_end[g.s] - t.td_maxwin[g.r] - 1):
        fits |= FITS_LOWER
    # III: it acknowledges what was sent
    if before_seq(g.sack, t.td_end[g.r] + 1):
        fits |= FITS_ACK_UPPER
    # IV: its acknowledgement is not too old
    if after_seq(g.sack, t.td_end[g.r] - max_u32(ACK_WINDOW, t.td_maxwin[g.s]) - 1):
        fits |= FITS_ACK_LOWER
    return fits


cdef inline int window_failure(const engine_t *e, const tcp_t *t, uint32_t s, int otherwise) noexcept nogil:
    # window_failure: who is told to be liberal takes any segment, and learns nothing from it (nf_tcp_log_invalid).
    if t.flags[s] & TCP_BE_LIBERAL or e.be_liberal:
        return WINDOW_ACCEPT
    return otherwise


cdef inline int outside(const engine_t *e, tcp_t *t, const segment_t *g, uint32_t fits) noexcept nogil:
    # outside: a segment for which not all bounds hold.
    # => What becomes of it: a retransmission, or an answer to one, may do no harm in 6.18.
    cdef uint32_t overshot = g.end - t.td_maxend[g.s] + 1
    if e.profile == LINUX_5_4:
        return window_failure(e, t, g.s, WINDOW_INVALID)
    if not fits & FITS_UPPER:
        # the window may have grown by an ACK that went another way: no further than the largest one seen
        if fits == FITS_ALL & ~FITS_UPPER and t.td_maxwin[g.r] and overshot <= t.td_maxwin[g.r]:
            t.td_end[g.s] = g.end
            t.flags[g.s] |= TCP_DATA_UNACK
            return window_failure(e, t, g.s, WINDOW_IGNORE)
        return window_failure(e, t, g.s, WINDOW_INVALID)
    # it acknowledges what was never sent
    if not fits & FITS_ACK_UPPER:
        return window_failure(e, t, g.s, WINDOW_INVALID)
    # II or IV: it is old, and teaches nothing; called INVALID, it would leave untranslated
    return window_failure(e, t, g.s, WINDOW_IGNORE)


cdef inline void slide_sender(tcp_t *t, const segment_t *g, uint32_t win) noexcept nogil:
    # slide_sender: what the segment says about its own end: how far it has sent, how much it takes, what it has seen.
    # what SACK says has arrived is no longer on the way: the window reaches as much further
    cdef uint32_t swin = win + (g.sack - g.ack)
    if t.td_maxwin[g.s] < swin:
        t.td_maxwin[g.s] = swin
    # new data is on its way: until it is acknowledged the connection lasts shorter (TIMEOUT_TCP_UNACK)
    if after_seq(g.end, t.td_end[g.s]):
        t.td_end[g.s] = g.end
        t.flags[g.s] |= TCP_DATA_UNACK
    if not g.has_ack:
        return
    # 0 is a number as any other, so a flag says whether there is one
    if not t.flags[g.s] & TCP_MAXACK_SET:
        t.td_maxack[g.s] = g.ack
        t.flags[g.s] |= TCP_MAXACK_SET
    elif after_seq(g.ack, t.td_maxack[g.s]):
        t.td_maxack[g.s] = g.ack


cdef inline void slide_receiver(tcp_t *t, const segment_t *g, uint32_t win) noexcept nogil:
    # slide_receiver: what it says about the other end: how far that may send, and whether all of it has arrived.
    # it sent beyond what we have seen announced: the window was larger
    if t.td_maxwin[g.r] and after_seq(g.end, t.td_maxend[g.s]):
        t.td_maxwin[g.r] += g.end - t.td_maxend[g.s]
    if after_seq(g.sack + win, t.td_maxend[g.r] - 1):
        t.td_maxend[g.r] = g.sack + win
        # a closed window lets a probe of one byte through
        if win == 0:
            t.td_maxend[g.r] += 1
    # all has arrived: nothing is to be waited for
    if g.ack == t.td_end[g.r]:
        t.flags[g.r] &= ~TCP_DATA_UNACK & 0xff


cdef inline void count_repeat(tcp_t *t, const segment_t *g) noexcept nogil:
    # count_repeat: a pure ACK equal to the last one is a retransmission; many of them shorten the timeout.
    if t.last_dir == g.s and t.last_seq == g.seq and t.last_ack == g.ack and t.last_end == g.end and t.last_win == g.win:
        # one byte, which begins anew behind 255
        t.retrans = <uint8_t>(t.retrans + 1)
        return
    t.last_dir = <uint8_t>g.s
    t.last_seq = g.seq
    t.last_ack = g.ack
    t.last_end = g.end
    t.last_win = <unsigned short>g.win
    t.retrans = 0


cdef inline void slide(const pkt_t *p, tcp_t *t, const segment_t *g) noexcept nogil:
    # slide: what a segment for which all bounds hold says about the windows.
    # the window of a SYN is never scaled (RFC 7323)
    # and of others it has 30 bits at the most, as tcp_options takes no scale above 14
    cdef uint32_t win = g.win if g.syn else g.win << t.scale[g.s]
    slide_sender(t, g, win)
    slide_receiver(t, g, win)
    if p.tcp_class == CLASS_ACK:
        count_repeat(t, g)


cdef inline int in_window(engine_t *e, pkt_t *p) noexcept nogil:
    # in_window: compare with the windows, and slide them (tcp_in_window).
    # => WINDOW_ACCEPT, WINDOW_INVALID, or WINDOW_IGNORE (6.18): pass it translated, learn nothing from it.
    cdef tcp_t *t = &e.tcp[p.ct]
    cdef uint32_t state = e.conns[p.ct].state
    cdef segment_t g
    cdef uint32_t fits
    read_segment(e, p, t, &g)
    # it may move the bounds, so it comes before any comparison
    if learn_sender(e, p, t, &g, state):
        return WINDOW_ACCEPT
    fill_in(t, &g, state)
    fits = compare(t, &g)
    if fits != FITS_ALL:
        return outside(e, t, &g, fits)
    slide(p, t, &g)
    return WINDOW_ACCEPT


cdef inline bint slide_within(engine_t *e, const pkt_t *p) noexcept nogil:
    # slide_within: in_window for a segment that is not the first of its end and for which all bounds hold.
    # => False: in_window has to judge it; nothing has changed.
    cdef tcp_t *t = &e.tcp[p.ct]
    cdef uint32_t state = e.conns[p.ct].state
    cdef segment_t g
    read_segment(e, p, t, &g)
    if t.td_maxwin[g.s] == 0 or speaks_again(e, t, &g, state):
        return False
    fill_in(t, &g, state)
    if compare(t, &g) != FITS_ALL:
        return False
    slide(p, t, &g)
    return True
