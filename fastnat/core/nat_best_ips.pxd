# Choosing the address out of a range.
#
# Source: find_best_ips_proto (nf_nat_core.c, Linux 6.18; the same in 5.4).
# Invariants: deterministic: the same source, destination and zone give the same address on every machine.
# Differs from the kernel: nothing, for IPv4.
from libc.stdint cimport uint32_t, uint64_t
from .types cimport fn_bswap32, MANIP_SRC, RANGE_MAP_IPS, RANGE_PERSISTENT, target_t, tuple_t
from .tuple cimport tuple_dport, tuple_dst, tuple_sport, tuple_src, tuple_with_dst, tuple_with_src
from .tuple_hash cimport jhash2_addr


cdef inline tuple_t best_ips(tuple_t t, uint32_t zone, const target_t *range_, uint32_t manip) noexcept nogil:
    # best_ips: t with the manip's address taken from the range.
    # => min > max is legal and wraps modulo 2**32, as iptables accepts it.
    cdef uint32_t addr = range_.min_addr
    cdef uint32_t iv, dist
    if not range_.flags & RANGE_MAP_IPS:
        return t
    if range_.min_addr != range_.max_addr:
        iv = 0 if range_.flags & RANGE_PERSISTENT else fn_bswap32(tuple_dst(t)) ^ zone
        dist = range_.max_addr - range_.min_addr + 1
        addr += <uint32_t>((<uint64_t>jhash2_addr(fn_bswap32(tuple_src(t)), iv) * dist) >> 32)
    if manip == MANIP_SRC:
        return tuple_with_src(t, addr, tuple_sport(t))
    return tuple_with_dst(t, addr, tuple_dport(t))
