# The candidates of a port search: a window of ports, rounds of 128, 64, 32, 16 and 8, each from an offset drawn anew.
#
# Source: nf_nat_l4proto_unique_tuple (nf_nat_core.c, Linux 6.18).
# Invariants: the offset is 16 bits wide and wraps before the modulo.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t
from ..types cimport MANIP_DST, PROTO_GRE, PROTO_ICMP, RANGE_PROTO_SPECIFIED, FN_PAGE_PORTS, target_t, tuple_t
from ..tuples.tuple cimport tuple_proto, tuple_sport
from .range cimport has_ports

cdef enum:
    # NF_NAT_MAX_ATTEMPTS and the round after which the search gives up
    MAX_ATTEMPTS = 128
    MIN_ATTEMPTS = 16
    # NF_NAT_HARDER_THRESH
    HARDER_THRESHOLD = 32


cdef inline bint port_window(tuple_t t, const target_t *range_, uint32_t manip,
                             uint32_t *min_, uint32_t *size) noexcept nogil:
    # port_window: the ports that the search may take.
    # => False for protocols, and manips, whose port is never changed.
    cdef uint32_t proto = tuple_proto(t)
    cdef uint32_t port, max_
    if proto == PROTO_ICMP:
        min_[0] = 0
        size[0] = 65536
        if range_.flags & RANGE_PROTO_SPECIFIED:
            min_[0] = range_.min_proto
            size[0] = <uint32_t>range_.max_proto - range_.min_proto + 1
        return True
    if not has_ports(proto) and proto != PROTO_GRE:
        return False
    if range_.flags & RANGE_PROTO_SPECIFIED:
        min_[0] = range_.min_proto
        # rules may give the ends in either order
        max_ = range_.max_proto
        if max_ < min_[0]:
            min_[0], max_ = max_, min_[0]
        size[0] = max_ - min_[0] + 1
        return True
    if proto == PROTO_GRE:
        min_[0] = 1
        size[0] = 65535
        return True
    if manip == MANIP_DST:
        return False
    port = tuple_sport(t)
    # below 512: credential passing of old r-commands; below 1024: privileged, but not those
    if port < 512:
        min_[0] = 1
        size[0] = 511
    elif port < 1024:
        min_[0] = 600
        size[0] = 424
    else:
        min_[0] = 1024
        size[0] = 64512
    return True


cdef inline uint32_t consecutive(uint32_t min_, uint32_t size, uint32_t off, uint32_t n, uint32_t *port) noexcept nogil:
    # consecutive: the port at a 16-bit offset, and how many of the n from there on follow one another on its page.
    cdef uint32_t at = off % size
    cdef uint32_t run = n
    port[0] = min_ + at
    # neither over the end of the window, nor over the place where the 16-bit offset begins anew, nor over the page's
    if run > size - at:
        run = size - at
    if run > 0x10000 - off:
        run = 0x10000 - off
    if run > FN_PAGE_PORTS - (port[0] & (FN_PAGE_PORTS - 1)):
        run = FN_PAGE_PORTS - (port[0] & (FN_PAGE_PORTS - 1))
    return run


cdef inline uint32_t soft_attempts(bint hard, uint32_t attempts) noexcept nogil:
    # soft_attempts: those of a round in front of the ones that may evict. hard: there are such.
    if not hard:
        return attempts
    return attempts - HARDER_THRESHOLD if attempts > HARDER_THRESHOLD else 0


cdef inline uint32_t first_attempts(uint32_t size) noexcept nogil:
    # first_attempts: => Those of the first round in a window of so many ports.
    return size if size < MAX_ATTEMPTS else MAX_ATTEMPTS


cdef inline bint has_further_round(uint32_t size, uint32_t attempts) noexcept nogil:
    # has_further_round: => Whether a round of half as many attempts follows one in which all were taken.
    # a window that is no larger than a round has been searched whole; the round of 8 is the last, 128 + 64 + 32 + 16 + 8 = 248
    return attempts < size and attempts >= MIN_ATTEMPTS
