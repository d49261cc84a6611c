# To whose socket rules give a packet: a transparent proxy on the node.
#
# Source: nft_tproxy.c, nft_socket.c, xt_TPROXY.c, xt_socket.c (Linux 6.18).
# Invariants: a packet that a proxy has is delivered to the node or dropped, never led on (ip_forward, ip6_forward).
# Differs from the kernel: the proxy is always there, and only its sockets are transparent; they are known by their connection, so
# conntrack has to be on.
from libc.stdint cimport uint32_t
from ..types cimport *
from ..conntrack.lookup cimport find_tuple
from ..tuples.hash cimport tuple_hash
from ..tuples.tuple cimport tuple_proto


cdef inline bint give_to_proxy(engine_t *e, pkt_t *p) noexcept nogil:
    # give_to_proxy: nft_tproxy_eval, tproxy_tg4.
    # => False: the packet is not of TCP or UDP, or its header is cut off.
    cdef uint32_t proto = tuple_proto(p.t)
    if (proto != PROTO_TCP and proto != PROTO_UDP) or (p.data != NULL and p.len < p.l4off + 8):
        return False
    p.proxied = True
    if p.ct != FN_NONE:
        # it is routed anew: route_received looks for proxied packets only there
        e.conns[p.ct].routes[p.dir] = 0
    return True


cdef inline bint has_transparent(const engine_t *e, const pkt_t *p) noexcept nogil:
    # has_transparent: nft_socket_eval, socket_match: whether a socket of the proxy has the packet's connection; of UDP none has.
    cdef uint32_t id_ = p.ct << 1 if p.ct != FN_NONE else find_tuple(e, p.t, tuple_hash(e, p.t), <uint32_t>e.now)
    return tuple_proto(p.t) == PROTO_TCP and id_ != FN_NONE and e.conns[id_ >> 1].flags & CONN_PROXIED
