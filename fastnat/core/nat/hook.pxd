# The NAT hook: decide a manip once a connection, apply it to every packet.
#
# Source: nf_nat_inet_fn, nf_nat_ipv4_fn, nf_nat_packet (nf_nat_core.c, nf_nat_proto.c, Linux 6.18).
# Invariants: rules run only for a NEW packet whose manip is not decided; afterwards the tuples decide.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t
from ..types cimport *
from ..conntrack.icmp_error cimport icmp_reply_translation
from ..conntrack.insert cimport conn_delete
from ..conntrack.lookup cimport is_live
from ..packet.rewrite cimport manip_pkt
from ..rules.match cimport rule_reason
from ..rules.nftables cimport base_says
from ..rules.walk cimport walk_table
from ..tuples.tuple cimport conn_tuple, invert_tuple
from .setup cimport nat_target, null_binding, source_target


cdef inline uint32_t decide_by_bases(engine_t *e, pkt_t *p, uint32_t manip) noexcept nogil:
    # decide_by_bases: as decide_manip, where nftables has nat chains or others at this node: the first binding ends.
    cdef uint32_t first = e.base_first[TABLE_NAT][p.hook]
    cdef uint32_t done = IPS_SRC_NAT_DONE if manip == MANIP_SRC else IPS_DST_NAT_DONE
    cdef uint32_t i, kind
    for i in range(first, first + e.base_count[TABLE_NAT][p.hook]):
        kind = base_says(e, TABLE_NAT, p, &e.bases[i])
        if rule_reason[kind]:
            return rule_reason[kind]
        # no address to masquerade with: dropped, and not counted as a drop of conntrack's
        if kind != TARGET_ACCEPT and not nat_target(e, p, kind, p.target, manip):
            return REASON_NO_ADDRESS
        # a chain that has bound the connection is the last one, whatever those behind it say (nf_nat_inet_fn)
        if e.conns[p.ct].status & done:
            return REASON_NONE
    null_binding(e, p, manip)
    return REASON_NONE


cdef inline uint32_t decide_manip(engine_t *e, pkt_t *p, uint32_t manip) noexcept nogil:
    # decide_manip: ask the rules of this hook, or bind the connection to what it has.
    cdef const target_t *target
    cdef uint32_t kind = TARGET_ACCEPT
    p.target = NULL
    if fn_unlikely(e.n_bases != 0):
        fn_rarely()
        return decide_by_bases(e, p, manip)
    if e.hook_entry[TABLE_NAT][p.hook] != FN_NONE:
        kind = walk_table(e, TABLE_NAT, p)
    target = p.target
    if rule_reason[kind]:
        return rule_reason[kind]
    if manip == MANIP_SRC:
        return REASON_NONE if source_target(e, p, kind, target) else REASON_NO_ADDRESS
    if kind != TARGET_ACCEPT and not nat_target(e, p, kind, target, manip):
        return REASON_NO_ADDRESS
    # a rule that decided has bound the connection already
    if not e.conns[p.ct].status & IPS_DST_NAT_DONE:
        null_binding(e, p, manip)
    return REASON_NONE


cdef inline uint32_t translate(pkt_t *p, const conn_t *c, uint32_t manip) noexcept nogil:
    # translate: what the connection has decided, for this packet (nf_nat_packet).
    # on the way back the ends have changed places: what was done to the source is undone at the destination
    cdef uint32_t bit = IPS_SRC_NAT if (manip == MANIP_SRC) != (p.dir == 1) else IPS_DST_NAT
    if c.status & bit and not manip_pkt(p, invert_tuple(conn_tuple(c, 1 - p.dir)), manip):
        return REASON_TRUNCATED
    return REASON_NONE


cdef inline bint leaves_elsewhere(const conn_t *c, const pkt_t *p, uint32_t hook) noexcept nogil:
    # leaves_elsewhere: a masqueraded connection leaves by another device than it did (nf_nat_oif_changed).
    return hook == HOOK_POSTROUTING and p.dir == 0 and c.masq_iface and c.masq_iface != p.out_iface


cdef inline uint32_t nat_first(engine_t *e, pkt_t *p, uint32_t manip) noexcept nogil:
    # nat_first: nat_hook for what may need a decision, an answer by ICMP, or an end.
    cdef const conn_t *c = &e.conns[p.ct]
    cdef uint32_t reason
    # rules of nat never see errors: what they are about was decided by its first packet
    if p.icmp_error:
        return REASON_NONE if icmp_reply_translation(e, p, manip) else REASON_ICMP_TRANSLATION
    if (p.ctinfo == IP_CT_NEW or p.ctinfo == IP_CT_RELATED) and not c.status & (IPS_SRC_NAT_DONE if manip == MANIP_SRC else IPS_DST_NAT_DONE):
        reason = decide_manip(e, p, manip)
        if reason:
            return reason
    elif leaves_elsewhere(c, p, p.hook):
        # peers know it by the address of the device that it was masqueraded on: it begins anew (nf_ct_kill)
        if is_live(c) and c.status & IPS_CONFIRMED:
            conn_delete(e, p.ct)
            p.ct = FN_NONE
        return REASON_OUT_DEVICE
    return translate(p, c, manip)


cdef inline uint32_t nat_hook(engine_t *e, uint32_t hook, pkt_t *p, uint32_t manip) noexcept nogil:
    # nat_hook: one of the four NAT hooks; hook, p.hook, says which, manip what it may change (nf_nat_inet_fn).
    # => REASON_NONE or why the packet is dropped.
    cdef const conn_t *c
    # INVALID and untracked packets pass as they are, private addresses included
    if p.ct == FN_NONE or not e.nat_hooks:
        return REASON_NONE
    c = &e.conns[p.ct]
    if (p.ctinfo == IP_CT_ESTABLISHED or p.ctinfo == IP_CT_ESTABLISHED_REPLY) and not p.icmp_error \
            and not leaves_elsewhere(c, p, hook):
        return translate(p, c, manip)
    return nat_first(e, p, manip)
