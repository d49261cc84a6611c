# SCTP: the state machine over the chunks of a packet, and the verification tags.
#
# Source: nf_conntrack_sctp_packet, sctp_new, do_basic_checks (nf_conntrack_proto_sctp.c, Linux 6.18; linux-5.4
# differences in the code); RFC 9260.
# Invariants: chunks are read only inside the datagram; what the chunks in front of a refused one changed stays.
# Differs from the kernel: packets of a header-only batch have no chunks; they stand for data of an association
# that the first reply establishes.
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset
from ..types cimport *
from ..packet.checksum cimport load_be16, load_be32
from .protocols cimport CT_ACCEPT, CT_INVALID, CT_PASS, refresh

cdef enum:
    # chunks that leave the state as it is cannot open an association: DATA, SACK, ECNE, CWR, and unknown ones
    STATELESS = 1 << 0 | 1 << 3 | 1 << 12 | 1 << 13 | 1 << 15
    HEADER = 12
    # of a chunk; of an INIT or INIT ACK with its fixed part (struct sctp_inithdr)
    CHUNK_HEADER = 4
    INIT_CHUNK = 20
    DATA = 0
    INIT = 1
    INIT_ACK = 2
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    ERROR = 9
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    SHUTDOWN_COMPLETE = 14
    T_FLAG = 1
    VTAG_FAILED = 1
    # shifted by the direction: the tag of a connection that a dump has described, and no packet yet
    VTAG_UNSEEN = 2
    VTAGS_UNSEEN = 6
    NONE = 0
    CLOSED = 1
    COOKIE_ECHOED = 3
    ESTABLISHED = 4
    INVALID_STATE = 10

# sctp_conntracks: next state by profile (6.18, 5.4), direction, row of the chunk and state
cdef extern from *:
    """
    enum { fn_sNO, fn_sCL, fn_sCW, fn_sCE, fn_sES, fn_sSS, fn_sSR, fn_sSA, fn_sHS, fn_sHA, fn_sIV };
    #define R(a,b,c,d,e,f,g,h,i,j) \\
        {fn_s##a,fn_s##b,fn_s##c,fn_s##d,fn_s##e,fn_s##f,fn_s##g,fn_s##h,fn_s##i,fn_s##j}
    static const unsigned char fn_sctp_next[2][2][11][10] = {
        {{R(CL, CL, CW, CE, ES, CL, CL, SA, CW, HA),
          R(CL, CL, CW, CE, ES, SS, SR, SA, CL, HA),
          R(CL, CL, CL, CL, CL, CL, CL, CL, CL, CL),
          R(CL, CL, CW, CE, SS, SS, SR, SA, CL, SS),
          R(SA, CL, CW, CE, ES, SA, SA, SA, SA, HA),
          R(CL, CL, CW, CE, ES, SS, SR, SA, CL, HA),
          R(CL, CL, CE, CE, ES, SS, SR, SA, CL, HA),
          R(CL, CL, CW, ES, ES, SS, SR, SA, CL, HA),
          R(CL, CL, CW, CE, ES, SS, SR, CL, CL, HA),
          R(HS, CL, CW, CE, ES, SS, SR, SA, HS, HA),
          R(CL, CL, CW, CE, ES, SS, SR, SA, HS, HA)},
         {R(IV, CL, CW, CE, ES, SS, SR, SA, IV, HA),
          R(IV, CW, CW, CE, ES, SS, SR, SA, IV, HA),
          R(IV, CL, CL, CL, CL, CL, CL, CL, IV, CL),
          R(IV, CL, CW, CE, SR, SS, SR, SA, IV, SR),
          R(IV, CL, CW, CE, ES, SA, SA, SA, IV, HA),
          R(IV, CL, CW, CL, ES, SS, SR, SA, IV, HA),
          R(IV, CL, CE, CE, ES, SS, SR, SA, IV, HA),
          R(IV, CL, CW, ES, ES, SS, SR, SA, IV, HA),
          R(IV, CL, CW, CE, ES, SS, SR, CL, IV, HA),
          R(IV, CL, CW, CE, ES, SS, SR, SA, HS, HA),
          R(IV, CL, CW, CE, ES, SS, SR, SA, ES, HA)}},
        {{R(CL, CL, CW, CE, ES, SS, SR, SA, CW, HA),
          R(CL, CL, CW, CE, ES, SS, SR, SA, CL, HA),
          R(CL, CL, CL, CL, CL, CL, CL, CL, CL, CL),
          R(CL, CL, CW, CE, SS, SS, SR, SA, CL, SS),
          R(SA, CL, CW, CE, ES, SA, SA, SA, SA, HA),
          R(CL, CL, CW, CE, ES, SS, SR, SA, CL, HA),
          R(CL, CL, CE, CE, ES, SS, SR, SA, CL, HA),
          R(CL, CL, CW, CE, ES, SS, SR, SA, CL, HA),
          R(CL, CL, CW, CE, ES, SS, SR, CL, CL, HA),
          R(HS, CL, CW, CE, ES, SS, SR, SA, HS, HA),
          R(CL, CL, CW, CE, ES, SS, SR, SA, HS, HA)},
         {R(IV, CL, CW, CE, ES, SS, SR, SA, IV, HA),
          R(IV, CW, CW, CE, ES, SS, SR, SA, IV, HA),
          R(IV, CL, CL, CL, CL, CL, CL, CL, IV, CL),
          R(IV, CL, CW, CE, SR, SS, SR, SA, IV, SR),
          R(IV, CL, CW, CE, ES, SA, SA, SA, IV, HA),
          R(IV, CL, CW, CL, ES, SS, SR, SA, IV, HA),
          R(IV, CL, CW, CE, ES, SS, SR, SA, IV, HA),
          R(IV, CL, CW, ES, ES, SS, SR, SA, IV, HA),
          R(IV, CL, CW, CE, ES, SS, SR, CL, IV, HA),
          R(IV, CL, CW, CE, ES, SS, SR, SA, HS, HA),
          R(IV, CL, CW, CE, ES, SS, SR, SA, HA, HA)}}};
    #undef R
    /* row of each chunk type, 255: the chunk keeps the state */
    static const unsigned char fn_sctp_row[16] = {255, 0, 1, 255, 9, 10, 2, 3, 4, 5, 6, 7, 255, 255, 8, 255};
    """
    const unsigned char fn_sctp_next[2][2][11][10]
    const unsigned char fn_sctp_row[16]


cdef inline sctp_t *sctp_of(engine_t *e, uint32_t ct) noexcept nogil:
    # sctp_of: => The record of a connection, in the place of TCP's.
    return <sctp_t *>&e.tcp[ct]


cdef inline uint32_t chunks_of(const pkt_t *p) noexcept nogil:
    # chunks_of: bit per chunk type that the packet carries (do_basic_checks).
    # => 0: no chunk, one of length 0, or one that must stand first or alone and does not; types from 16 on share
    #    bit 15, which no rule of the protocol asks for.
    cdef const uint8_t *l4 = p.data + p.l4off
    cdef uint32_t have = p.len - p.l4off
    cdef uint32_t at = HEADER
    cdef uint32_t n = 0
    cdef uint32_t seen = 0
    cdef bint alone = False
    cdef uint32_t type_, length
    # the last chunk may be cut: only its header is asked for (for_each_sctp_chunk)
    while at + 4 <= have:
        type_ = l4[at]
        length = load_be16(l4 + at + 2)
        if type_ == INIT or type_ == INIT_ACK or type_ == SHUTDOWN_COMPLETE:
            alone = True
        # with length 0 the walk would not end
        if length == 0 or (n and (alone or type_ == COOKIE_ECHO or type_ == COOKIE_ACK)):
            return 0
        seen |= <uint32_t>1 << (type_ if type_ < 15 else 15)
        at += (length + 3) & ~<uint32_t>3
        n += 1
    return seen


cdef inline bint has(uint32_t seen, uint32_t type_) noexcept nogil:
    # has: => Whether a chunk type is among those seen.
    return (seen >> type_) & 1


cdef inline int sctp_new(engine_t *e, pkt_t *p, uint32_t seen) noexcept nogil:
    # sctp_new: what may open an association, and the tag that the other side will carry.
    cdef sctp_t *s = sctp_of(e, p.ct)
    cdef const uint8_t *l4 = p.data + p.l4off
    cdef uint32_t vtag = load_be32(l4 + 4)
    if has(seen, ABORT) or has(seen, SHUTDOWN_COMPLETE) or has(seen, COOKIE_ACK) or seen & STATELESS:
        return CT_INVALID
    memset(s, 0, FN_TCP_STATE)
    # RFC 9260, 8.5.1: an INIT carries no tag, and names the one that answers to it will carry
    if has(seen, INIT):
        if p.len < p.l4off + HEADER + INIT_CHUNK or vtag:
            return CT_INVALID
        s.vtag[1] = load_be32(l4 + HEADER + CHUNK_HEADER)
        s.init[0] = 1
        return CT_ACCEPT
    # another path of an association: its tags are those of the first path, and only this direction's is in the packet
    if has(seen, HEARTBEAT):
        s.vtag[0] = vtag
    # RFC 9260, 8.4: out of the blue; the answer carries the same tag
    if has(seen, SHUTDOWN_ACK) or (e.profile == LINUX_5_4 and seen != 1 << HEARTBEAT):
        s.vtag[1] = vtag
    return CT_ACCEPT


cdef inline bint heartbeat_sound(sctp_t *s, uint32_t type_, uint32_t dir, uint32_t vtag, uint32_t seen, bint *ignore) noexcept nogil:
    # heartbeat_sound: a heartbeat may teach the tag of a path that was never set up here.
    # => False: invalid. *ignore: the packet passes and changes nothing.
    # the other path of an association whose INIT went another way
    if s.vtag[dir] == 0:
        s.vtag[dir] = vtag
        return True
    if vtag == s.vtag[dir]:
        s.flags &= ~VTAG_FAILED
        return True
    # data with a wrong tag is nobody's; one chunk in doubt is all that is remembered
    if has(seen, DATA) or ignore[0]:
        return False
    # a first HEARTBEAT with another tag may be a restart: the answer of the other end will tell
    if type_ == HEARTBEAT:
        s.flags |= VTAG_FAILED
        s.last_dir = <uint8_t>dir
        ignore[0] = True
        return True
    # no HEARTBEAT of the other end was in doubt: nothing is answered here
    if not s.flags & VTAG_FAILED or s.last_dir == dir:
        return False
    s.flags &= ~VTAG_FAILED
    # the other end answers with this tag: it holds, and that of the way back is learnt anew
    s.vtag[dir] = vtag
    s.vtag[1 - dir] = 0
    return True


cdef inline bint tag_sound(const engine_t *e, const sctp_t *s, uint32_t type_, uint32_t chunk_flags, uint32_t dir,
                           uint32_t vtag) noexcept nogil:
    # tag_sound: the verification tag of the chunks that have a rule of their own (RFC 9260, 8.5.1).
    if type_ == INIT:
        return vtag == 0
    # the tag that the INIT ACK has named
    if type_ == COOKIE_ECHO:
        return vtag == s.vtag[dir]
    if type_ == ABORT and e.profile == LINUX_5_4:
        return vtag == s.vtag[dir] or vtag == s.vtag[1 - dir]
    if type_ == SHUTDOWN_COMPLETE and e.profile == LINUX_5_4:
        return vtag == s.vtag[dir] or (chunk_flags & T_FLAG and vtag == s.vtag[1 - dir]) or not chunk_flags & T_FLAG
    # with the T bit the sender had no association, and reflects the tag that it was sent
    if type_ == ABORT or type_ == SHUTDOWN_COMPLETE:
        return vtag == s.vtag[1 - dir if chunk_flags & T_FLAG else dir]
    return True


cdef inline bint note_init(const engine_t *e, sctp_t *s, uint32_t type_, uint32_t dir, uint32_t tag) noexcept nogil:
    # note_init: an INIT or INIT ACK names the tag that the other side must carry.
    # => False: an INIT ACK that belongs to none of two INITs that crossed.
    if e.profile != LINUX_5_4:
        if s.vtag[1 - dir] == tag:
            # recorded: an INIT that comes again opens nothing, and ends no collision
            pass
        elif type_ == INIT:
            if s.init[dir] and s.init[1 - dir]:
                s.init[1 - dir] = 0
            s.init[dir] = 1
        else:
            # recorded: where two INITs crossed an INIT ACK must repeat the tag of its sender's INIT
            if s.init[dir] and s.init[1 - dir]:
                return False
            if not s.init[1 - dir] and s.vtag[1 - dir]:
                return False
    s.vtag[1 - dir] = tag
    s.flags &= ~(VTAG_UNSEEN << (1 - dir)) & 0xff
    return True


cdef inline void learn_tag(sctp_t *s, uint32_t dir, const uint8_t *l4, uint32_t have) noexcept nogil:
    # learn_tag: a connection of a dump was there before us: its tag is that of each packet that comes, until an INIT or its ACK
    # names it. It is the other direction's if the T bit says that it is reflected.
    cdef uint32_t type_
    if have < HEADER + CHUNK_HEADER:
        return
    type_ = l4[HEADER]
    # it has none of its own
    if type_ == INIT:
        return
    if (type_ == ABORT or type_ == SHUTDOWN_COMPLETE) and l4[HEADER + 1] & T_FLAG:
        dir = 1 - dir
    if s.flags & (VTAG_UNSEEN << dir):
        s.vtag[dir] = load_be32(l4 + 4)


cdef inline int header_only(engine_t *e, pkt_t *p) noexcept nogil:
    # header_only: a packet without bytes has no chunks to go by: what its direction suggests.
    cdef conn_t *c = &e.conns[p.ct]
    if not c.status & IPS_CONFIRMED:
        # the record may have been another connection's
        memset(sctp_of(e, p.ct), 0, FN_TCP_STATE)
        c.state = CLOSED
    elif p.dir and c.state != ESTABLISHED:
        c.state = ESTABLISHED
        c.status |= IPS_ASSURED
    refresh(e, p.ct, p.now, e.timeouts[TIMEOUT_SCTP + c.state])
    return CT_ACCEPT


cdef inline int enter_chunk(engine_t *e, pkt_t *p, const uint8_t *chunk, uint32_t have, uint32_t seen, bint *ignore) noexcept nogil:
    # enter_chunk: one chunk through the state machine; have: bytes from its beginning on, at least those of its header.
    # => CT_ACCEPT or CT_INVALID. *ignore: the packet passes, but renews nothing.
    cdef conn_t *c = &e.conns[p.ct]
    cdef sctp_t *s = sctp_of(e, p.ct)
    cdef uint32_t vtag = load_be32(p.data + p.l4off + 4)
    cdef bint modern = e.profile != LINUX_5_4
    cdef bint passed_over = ignore[0]
    cdef uint32_t type_ = chunk[0]
    cdef uint32_t old = c.state
    cdef uint32_t new = old
    # before the state moves: a forged chunk changes nothing
    if not tag_sound(e, s, type_, chunk[1], p.dir, vtag):
        return CT_INVALID
    if type_ == HEARTBEAT or type_ == HEARTBEAT_ACK:
        if not heartbeat_sound(s, type_, p.dir, vtag, seen, ignore):
            return CT_INVALID
        if ignore[0] != passed_over:
            return CT_ACCEPT
    if type_ < 16 and fn_sctp_row[type_] != 255:
        new = fn_sctp_next[0 if modern else 1][p.dir][fn_sctp_row[type_]][old]
    if new == INVALID_STATE:
        return CT_INVALID
    if type_ == INIT or type_ == INIT_ACK:
        # the tag that it names may lie behind the end of what is there
        if have < INIT_CHUNK or not note_init(e, s, type_, p.dir, load_be32(chunk + CHUNK_HEADER)):
            return CT_INVALID
        # an INIT that comes again must not keep an entry alive for ever, as of a SYN (tcp_accepted)
        if modern and type_ == INIT and old == CLOSED and new == CLOSED and c.status & IPS_CONFIRMED:
            ignore[0] = True
    elif type_ == COOKIE_ACK:
        # the association is set up: whether INITs crossed does not matter any more
        s.init[0] = 0
        s.init[1] = 0
    c.state = <uint8_t>new
    if modern and new == ESTABLISHED and old != ESTABLISHED:
        c.status |= IPS_ASSURED
    return CT_ACCEPT


cdef inline int sctp_packet(engine_t *e, pkt_t *p) noexcept nogil:
    # sctp_packet: run the chunks of a packet through the state machine.
    cdef conn_t *c = &e.conns[p.ct]
    cdef const uint8_t *l4
    cdef uint32_t have, seen
    cdef uint32_t own_rule = (1 << INIT | 1 << SHUTDOWN_COMPLETE | 1 << COOKIE_ECHO | 1 << ABORT | 1 << SHUTDOWN_ACK
                              | 1 << HEARTBEAT | 1 << HEARTBEAT_ACK)
    cdef uint32_t at = HEADER
    cdef uint32_t old = NONE
    cdef bint ignore = False
    if p.data == NULL:
        return header_only(e, p)
    l4 = p.data + p.l4off
    have = p.len - p.l4off
    seen = chunks_of(p)
    if seen == 0:
        return CT_INVALID
    if p.is_new and sctp_new(e, p, seen) != CT_ACCEPT:
        return CT_INVALID
    if fn_unlikely(sctp_of(e, p.ct).flags & VTAGS_UNSEEN):
        learn_tag(sctp_of(e, p.ct), p.dir, l4, have)
    # all other packets carry the tag of the end that they go to
    # one chunk with a rule of its own exempts the whole packet from this check: enter_chunk asks it chunk by chunk
    if not seen & own_rule and load_be32(l4 + 4) != sctp_of(e, p.ct).vtag[p.dir]:
        return CT_INVALID
    while at + CHUNK_HEADER <= have:
        old = c.state
        if enter_chunk(e, p, l4 + at, have - at, seen, &ignore) == CT_INVALID:
            return CT_INVALID
        at += (load_be16(l4 + at + 2) + 3) & ~<uint32_t>3
    # neither the time of the connection nor its reply bit: as if the packet had not come
    if ignore:
        return CT_PASS
    refresh(e, p.ct, p.now, e.timeouts[TIMEOUT_SCTP + c.state])
    # linux-5.4 looks at the last chunk alone
    if e.profile == LINUX_5_4 and old == COOKIE_ECHOED and p.dir and c.state == ESTABLISHED:
        c.status |= IPS_ASSURED
    return CT_ACCEPT
