# Datagrams of UDP whose connection decides everything: the short way through the hooks for a packet with all its bytes.
#
# Source: as shortcuts/established; what bytes have beside a header: age and translate of hooks and nat/hook, udp_error.
# Invariants: gives exactly what `walk` would give, or declines and changes nothing: bytes are written once the connection has
# decided. Rules of raw, mangle and filter may ask for bytes, and what they say is not remembered: where there are any, the
# datagram takes the long way.
# Differs from the kernel: nothing.
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memset
from ..types cimport *
from ..hooks cimport age
from ..nat.hook cimport translate
from ..packet.parse cimport udp_sound
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_sport, tuple_src
from .established cimport pass_datagram

# where the header of UDP stands when nothing lies between it and the addresses
cdef extern from *:
    """
    #define FN_BEHIND_ADDRESSES (FN_V6 ? 40 : 20)
    """
    const uint32_t BEHIND_ADDRESSES "FN_BEHIND_ADDRESSES"


cdef inline bint fits_route(const engine_t *e, const conn_t *c, const pkt_t *p, uint32_t dir) noexcept nogil:
    # fits_route: whether the datagram is no longer than the device of its route takes; longer ones may be sent in parts, or not.
    return c.routes[dir] != 0 and p.len <= e.iface_flags[e.routes[c.routes[dir] - 1].iface] >> 16


cdef inline bint may_pass_shortly(const engine_t *e, pkt_t *p, uint32_t id_) noexcept nogil:
    # may_pass_shortly: what the connection does not say: all that stands in the datagram's bytes.
    cdef const conn_t *c = &e.conns[id_ >> 1]
    if not e.shortly or e.ruled or p.part != PART_WHOLE or not p.tracked or (p.t.rest >> 32) & 0xff != PROTO_UDP:
        return False
    # options are followed, and time stamps written; extension headers are read; the last hop is refused
    if p.l4off != BEHIND_ADDRESSES or p.ttl <= 1:
        return False
    # a helper reads what is said
    if c.flags & CONN_HELPED or not fits_route(e, c, p, id_ & 1):
        return False
    return udp_sound(e, p, p.data + p.l4off, p.len - p.l4off)


cdef inline bint pass_bytes(engine_t *e, pkt_t *p, uint32_t id_, result_t *out) noexcept nogil:
    # pass_bytes: forward a datagram, parsed and of no other mark than 0, and rewrite it. id_: a table id that may be its.
    # => False: take the long way.
    cdef packet_t header
    cdef const conn_t *c = &e.conns[id_ >> 1]
    p.hook = HOOK_PREROUTING
    if p.mark or not may_pass_shortly(e, p, id_):
        return False
    memset(&header, 0, sizeof(packet_t))
    header.src = tuple_src(p.t)
    header.dst = tuple_dst(p.t)
    header.sport = <uint16_t>tuple_sport(p.t)
    header.dport = <uint16_t>tuple_dport(p.t)
    header.proto = PROTO_UDP
    header.iface = p.in_iface
    header.length = <uint16_t>p.length
    if not pass_datagram(e, &header, p.t, id_, out):
        return False
    p.dir = id_ & 1
    p.out_iface = out.out_iface
    # none of them fails: the header of UDP is whole, and what age asks has been asked
    translate(p, c, MANIP_DST)
    age(e, p)
    translate(p, c, MANIP_SRC)
    p.verdict = VERDICT_FORWARD
    return True
