# TFTP: the answer to a request comes from a port that nobody knows yet.
#
# Source: nf_conntrack_tftp.c, nf_nat_tftp.c, Linux 6.18; RFC 1350.
# Invariants: only requests announce anything.
# Differs from the kernel: nothing.
from libc.stdint cimport uint16_t, uint32_t
from ..types cimport *
from ..packet.checksum cimport load_be16
from ..tuples.tuple cimport conn_tuple, tuple_dport, tuple_dst, tuple_make, tuple_sport, tuple_src
from .expect cimport EXPECT_DONE, expect_related

cdef enum:
    UDP_HEADER = 8
    TFTP_READ = 1
    TFTP_WRITE = 2


cdef inline uint32_t tftp_help(engine_t *e, const pkt_t *p) noexcept nogil:
    # tftp_help: look at a datagram to the server's well-known port.
    # => REASON_NONE or why it is dropped.
    cdef conn_t *c = &e.conns[p.ct]
    cdef tuple_t reply = conn_tuple(c, 1)
    cdef uint32_t request
    cdef expect_t x
    if p.len < p.l4off + UDP_HEADER + 2:
        return REASON_NONE
    request = load_be16(p.data + p.l4off + UDP_HEADER)
    if request != TFTP_READ and request != TFTP_WRITE:
        return REASON_NONE
    # the server answers from a port of its choice (RFC 1350, 4): any source port will do
    x.t = tuple_make(tuple_src(reply), tuple_dst(reply), 0, tuple_dport(reply), PROTO_UDP, c.zone)
    x.master = p.ct
    x.any_sport = True
    x.saved_port = <uint16_t>tuple_sport(conn_tuple(c, 0))
    x.dir = 1
    x.kind = EXPECT_FOLLOW if c.status & (IPS_SRC_NAT | IPS_DST_NAT) else EXPECT_PLAIN
    return REASON_NONE if expect_related(e, &x) == EXPECT_DONE else REASON_HELPER
