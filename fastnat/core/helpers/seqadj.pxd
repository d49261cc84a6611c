# Sequence adjustment: what a TCP end sees of the other's numbers after a helper changed the length of a segment.
#
# Source: nf_conntrack_seqadj.c (nf_ct_seqadj_set, nf_ct_seq_adjust, nf_ct_seq_offset, nf_ct_sack_adjust), Linux 6.18.
# Invariants: numbers compare modulo 2**32; window tracking keeps the numbers of the sender.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint32_t
from ..types cimport engine_t, help_t, IPS_SEQ_ADJUST, pkt_t
from ..conntrack.tcp_window cimport after_seq, before_seq, option_bytes, seq_offset
from ..packet.checksum cimport csum_replace4, load_be32, store_be32
from .expect cimport help_of


cdef inline void seqadj_set(engine_t *e, const pkt_t *p, uint32_t by) noexcept nogil:
    # seqadj_set: the present segment has become longer by so much.
    cdef help_t *help = help_of(e, p.ct)
    e.conns[p.ct].status |= IPS_SEQ_ADJUST
    # a retransmission of the segment that changed lengths changes them no second time; of several changes the last two are known
    # shorter is a number that wraps: offsets are added modulo 2**32, as sequence numbers are
    if help.before[p.dir] == help.after[p.dir] or before_seq(help.pos[p.dir], p.seq):
        help.pos[p.dir] = p.seq
        help.before[p.dir] = help.after[p.dir]
        help.after[p.dir] += by


cdef inline uint32_t ack_before(const help_t *help, uint32_t other, uint32_t ack) noexcept nogil:
    # ack_before: an acknowledgement in the numbers of the end that it is for.
    # where 5 bytes were put in behind number 100 (before 0, after 5) the receiver's 106 is the sender's 101, and 100 is 100
    return ack - (help.after[other] if after_seq(ack - help.before[other], help.pos[other]) else help.before[other])


cdef inline void replace_number(pkt_t *p, uint8_t *at, uint32_t new) noexcept nogil:
    # replace_number: another sequence number in the header, the checksum by the difference.
    csum_replace4(p.data + p.l4off + 16, load_be32(at), new)
    store_be32(at, new)


cdef inline bint sack_adjust(const help_t *help, pkt_t *p) noexcept nogil:
    # sack_adjust: the edges of selective acknowledgements; options were checked to lie in the header.
    # => False: an option is cut. What stands in front of it is changed all the same.
    cdef uint32_t n = option_bytes(p)
    cdef uint8_t *at = p.data + p.l4off + 20
    cdef uint32_t size, i
    while n and at[0] != 0:
        if at[0] == 1:
            n -= 1
            at += 1
            continue
        if n < 2:
            return False
        size = at[1]
        if size < 2 or size > n:
            return False
        # the edges acknowledge what the other end has sent: its offsets hold
        if at[0] == 5 and size >= 10 and (size - 2) % 8 == 0:
            for i in range((size - 2) // 4):
                replace_number(p, at + 2 + 4 * i, ack_before(help, 1 - p.dir, load_be32(at + 2 + 4 * i)))
        n -= size
        at += size
    return True


cdef inline bint seq_adjust(engine_t *e, pkt_t *p) noexcept nogil:
    # seq_adjust: give the segment the numbers that its receiver knows.
    # => False: its options are broken, and it is dropped; only those of a segment that acknowledges are looked at.
    cdef const help_t *help = help_of(e, p.ct)
    cdef uint8_t *l4 = p.data + p.l4off
    replace_number(p, l4 + 4, p.seq + seq_offset(help, p.dir, p.seq))
    if not p.tcp_flags & 0x10:
        return True
    replace_number(p, l4 + 8, ack_before(help, 1 - p.dir, p.ack))
    return sack_adjust(help, p)
