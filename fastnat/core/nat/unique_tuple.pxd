# The order of attempts: keep the tuple, reuse the source's mapping, keep the port, search.
#
# Source: get_unique_tuple (nf_nat_core.c, Linux 6.18).
# Invariants: with RANDOM flags nothing is kept; with min == max a taken port is returned unprobed, and the
# clash is left to the other manip or to confirm.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t
from ..types cimport (engine_t, MANIP_SRC, pkt_t, RANGE_PROTO_OFFSET, RANGE_PROTO_SPECIFIED, RANGE_RANDOM_ALL,
                      STAT_BYSOURCE_REUSE, target_t, tuple_t)
from .best_ips cimport best_ips
from .bysource cimport find_appropriate_src
from .l4proto cimport l4proto_unique_tuple
from .range cimport in_range, l4proto_in_range
from .used_tuple cimport used_tuple, used_tuple_new


cdef inline tuple_t get_unique_tuple(engine_t *e, tuple_t cur, const target_t *range_, uint32_t manip, uint32_t zone,
                                     uint32_t head, pkt_t *p) noexcept nogil:
    # get_unique_tuple: the tuple after the manip; head is the newest connection of its source.
    cdef tuple_t t
    cdef bint random = range_.flags & RANGE_RANDOM_ALL
    cdef bint taken = False
    # a mapping that the source has goes before its own port: all peers see one endpoint (RFC 4787, REQ-1)
    if manip == MANIP_SRC and not random:
        if in_range(cur, range_):
            # this probe alone lets two ends open one conversation at once; see nat/used_tuple
            if not used_tuple_new(e, cur, p):
                return cur
        elif find_appropriate_src(e, cur, head, range_, &t):
            if not used_tuple(e, t, p):
                e.stats[STAT_BYSOURCE_REUSE] += 1
                return t
    # before any port is probed, and for good: where its ports are taken no other address of the range is tried
    t = best_ips(cur, zone, range_, manip)
    if not random:
        if range_.flags & RANGE_PROTO_SPECIFIED:
            # an offset moves a port that lies in the range, too
            if not range_.flags & RANGE_PROTO_OFFSET and l4proto_in_range(t, manip, range_):
                # where a rule leaves one port there is nothing to choose, and a probe would decide nothing
                if range_.min_proto == range_.max_proto or not used_tuple(e, t, p):
                    return t
                taken = True
        elif not used_tuple(e, t, p):
            return t
        else:
            taken = True
    return l4proto_unique_tuple(e, t, range_, manip, taken, p)
