# Choosing the address out of a range.
#
# Source: find_best_ips_proto (nf_nat_core.c, Linux 6.18; the same in 5.4).
# Invariants: deterministic: the same source, destination and zone give the same address on every machine.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport addr_t, fn_bswap32, FN_ADDR_BITS, FN_V6, MANIP_SRC, RANGE_MAP_IPS, RANGE_PERSISTENT, target_t, tuple_t
from ..tuples.hash cimport jhash2_words
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_sport, tuple_src, tuple_with_dst, tuple_with_src


cdef inline uint32_t word_of(addr_t addr, uint32_t i) noexcept nogil:
    # word_of: the i-th 32-bit word of an address, host order.
    return <uint32_t>(addr >> (FN_ADDR_BITS - 32 - 32 * i))


cdef inline addr_t with_word(addr_t addr, uint32_t i, uint32_t word) noexcept nogil:
    # with_word: an address with another one of its 32-bit words.
    cdef uint32_t shift = FN_ADDR_BITS - 32 - 32 * i
    return (addr & ~(<addr_t>0xffffffff << shift)) | (<addr_t>word << shift)


cdef inline addr_t address_in_range(tuple_t t, uint32_t zone, const target_t *range_, uint32_t manip) noexcept nogil:
    # address_in_range: the source hashed, word by word; min > max is legal and wraps, as iptables accepts it.
    cdef uint32_t k[4]
    cdef uint32_t last = 3 if FN_V6 else 0
    cdef bint persistent = range_.flags & RANGE_PERSISTENT
    cdef addr_t addr = tuple_src(t) if manip == MANIP_SRC else tuple_dst(t)
    cdef addr_t other
    cdef bint full = False
    cdef uint32_t i, j, low, dist
    # sixteen bytes in both families; of the source also for DNAT, so that a client keeps to one server
    for i in range(4):
        k[i] = fn_bswap32(word_of(tuple_src(t), i)) if i <= last else 0
    j = jhash2_words(k, 0 if persistent else fn_bswap32(word_of(tuple_dst(t), last)) ^ zone)
    for i in range(last + 1):
        low = 0
        dist = 0xffffffff
        if not full:
            low = word_of(range_.min_addr, i)
            # 0 where a word may be anything: then it becomes `low`, as in the kernel
            dist = word_of(range_.max_addr, i) - low + 1
        addr = with_word(addr, i, low + <uint32_t>((<uint64_t>j * dist) >> 32))
        # below the end in one word, an address may have anything in those behind
        # as with digits: of 2..5 in front of 0..3, a first digit of 2 to 4 lets the second be anything, only behind 5 it ends at 3
        if word_of(addr, i) != word_of(range_.max_addr, i):
            full = True
        if not persistent:
            # for the next word another draw: without it all words of an address would lie alike in their ranges
            other = tuple_dst(t) if manip == MANIP_SRC else addr
            j ^= fn_bswap32(word_of(other, i))
    return addr


cdef inline tuple_t best_ips(tuple_t t, uint32_t zone, const target_t *range_, uint32_t manip) noexcept nogil:
    # best_ips: t with the manip's address taken from the range.
    cdef addr_t addr = range_.min_addr
    if not range_.flags & RANGE_MAP_IPS:
        return t
    if range_.min_addr != range_.max_addr:
        addr = address_in_range(t, zone, range_, manip)
    if manip == MANIP_SRC:
        return tuple_with_src(t, addr, tuple_sport(t))
    return tuple_with_dst(t, addr, tuple_dport(t))
