# Deciding a manip for a new connection, for each NAT target and for the null binding.
#
# Source: nf_nat_setup_info, nf_nat_alloc_null_binding (nf_nat_core.c), nf_nat_masquerade_ipv4,
# nf_nat_redirect_ipv4, xt_NETMAP.c (Linux 6.18).
# Invariants: only the REPLY tuple changes, and only before confirm; SRC_NAT and DST_NAT are set only if the
# tuple did change; a source manip always enters bysource.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport *
from ..helpers.expect cimport reassign_helper
from ..source_address cimport masquerade_addr, redirect_addr
from ..tuples.hash cimport source_hash
from ..tuples.rehash cimport rehash_for
from ..tuples.tuple cimport conn_tuple, invert_tuple, tuple_dst, tuple_equal, tuple_in_zone, tuple_proto, tuple_src, zone_of
from .bysource cimport bysource_add, bysource_head
from .unique_tuple cimport get_unique_tuple
from .used_tuple cimport used_tuple


cdef inline void setup_info(engine_t *e, pkt_t *p, const target_t *range_, uint32_t manip) noexcept nogil:
    # setup_info: choose the new tuple, note it in the connection, mark the manip done.
    cdef conn_t *c = &e.conns[p.ct]
    cdef tuple_t cur, new
    cdef uint64_t h = 0
    cdef uint32_t head = FN_NONE
    # its tuples are keys in the table by now: a connection is bound before that, or never
    if c.status & IPS_CONFIRMED:
        return
    # from the reply tuple, not the original one: DNAT has changed that already, and the source is chosen for the destination to
    # which the packet really goes
    cur = tuple_in_zone(invert_tuple(conn_tuple(c, 1)), zone_of(c, 0))
    if manip == MANIP_SRC:
        h = p.ahead.source_hash if p.ahead != NULL else source_hash(e, c.tuples[0])
        head = bysource_head(e, c.tuples[0], h)
    new = get_unique_tuple(e, cur, range_, manip, c.zone, head, p)
    # a binding that changes nothing sets no bit, so that none of the packets is rewritten for it
    if not tuple_equal(new, cur):
        c.tuples[1] = tuple_in_zone(invert_tuple(new), zone_of(c, 1))
        c.status |= IPS_SRC_NAT if manip == MANIP_SRC else IPS_DST_NAT
        if fn_unlikely(e.auto_helpers != 0):
            reassign_helper(e, p.ct)
    if manip == MANIP_SRC:
        if fn_unlikely(p.evicted):
            # the search may have deleted the very connection that was the newest of this source
            head = bysource_head(e, c.tuples[0], h)
        if fn_unlikely(not bysource_add(e, p.ct, h, head)):
            rehash_for(e, p)
            bysource_add(e, p.ct, source_hash(e, c.tuples[0]), head)
        c.status |= IPS_SRC_NAT_DONE
        if c.status & IPS_SRC_NAT:
            e.guess_addr = tuple_src(new)
    else:
        c.status |= IPS_DST_NAT_DONE


cdef inline void range_of_address(target_t *range_, addr_t addr) noexcept nogil:
    # range_of_address: a range of one address, the ports as they are.
    range_.flags |= RANGE_MAP_IPS
    range_.min_addr = addr
    range_.max_addr = addr


cdef inline void null_binding(engine_t *e, pkt_t *p, uint32_t manip) noexcept nogil:
    # null_binding: no rule decided; keep the address, but a source whose tuple is taken still gets another port.
    cdef target_t range_
    cdef conn_t *c = &e.conns[p.ct]
    cdef tuple_t reply = c.tuples[1]
    if c.status & IPS_CONFIRMED:
        # it is older than the rules of nat: each of its packets that is still NEW asks them, in vain
        return
    if manip == MANIP_DST and tuple_proto(reply) != PROTO_ICMP:
        # no other destination may be chosen, so the kernel's probe shows only in its counter
        used_tuple(e, tuple_in_zone(invert_tuple(reply), zone_of(c, 0)), p)
        c.status |= IPS_DST_NAT_DONE
        return
    range_.flags = 0
    range_of_address(&range_, tuple_dst(reply) if manip == MANIP_SRC else tuple_src(reply))
    setup_info(e, p, &range_, manip)


cdef inline bint range_of_node(engine_t *e, pkt_t *p, uint32_t kind, uint32_t manip, target_t *range_) noexcept nogil:
    # range_of_node: the one address that MASQUERADE and REDIRECT take of the node, and NETMAP makes of the packet's
    # (nf_nat_masquerade_ipv4, nf_nat_redirect_ipv4, netmap_tg4).
    # => False: there is none.
    cdef addr_t addr, mask
    if kind == TARGET_MASQUERADE:
        addr = masquerade_addr(e, p)
        # when that device goes down, so do the connections that had its address
        e.conns[p.ct].masq_iface = p.out_iface if addr else e.conns[p.ct].masq_iface
    elif kind == TARGET_REDIRECT:
        addr = <addr_t>(1 if FN_V6 else 0x7f000001) if p.hook == HOOK_OUTPUT else redirect_addr(e, p.in_iface, tuple_dst(p.t))
    else:
        # NETMAP gives a network, not a host: the bits behind the prefix stay those of the packet
        mask = ~(range_.min_addr ^ range_.max_addr)
        addr = tuple_dst(p.t) if manip == MANIP_DST else tuple_src(p.t)
        range_of_address(range_, (addr & ~mask) | (range_.min_addr & mask))
        return True
    range_of_address(range_, addr)
    return addr != 0


cdef inline bint nat_target(engine_t *e, pkt_t *p, uint32_t kind, const target_t *target, uint32_t manip) noexcept nogil:
    # nat_target: carry out SNAT, DNAT, MASQUERADE, REDIRECT or NETMAP.
    # => False: the packet is dropped, there is no address to give it.
    cdef target_t range_
    if kind == TARGET_SNAT or kind == TARGET_DNAT:
        setup_info(e, p, target, manip)
        return True
    # who has no address yet asks for one with this sender
    if kind == TARGET_MASQUERADE and not FN_V6 and tuple_src(conn_tuple(&e.conns[p.ct], 0)) == 0:
        return True
    range_ = target[0]
    if not range_of_node(e, p, kind, manip, &range_):
        return False
    setup_info(e, p, &range_, manip)
    if range_.flags & RANGE_UNSET_BYTES and manip == MANIP_DST:
        # by those bytes the tuple differs, which is then no other for all that (97 of 100 recorded)
        e.conns[p.ct].status |= IPS_DST_NAT
    return True


cdef inline bint source_target(engine_t *e, pkt_t *p, uint32_t kind, const target_t *target) noexcept nogil:
    # source_target: what POSTROUTING decided about the source, the null binding included.
    # => False: the packet is dropped, there is no address to give it.
    if kind != TARGET_ACCEPT and not nat_target(e, p, kind, target, MANIP_SRC):
        return False
    if not e.conns[p.ct].status & IPS_SRC_NAT_DONE:
        null_binding(e, p, MANIP_SRC)
    return True
