# One's-complement checksums: full sums and incremental updates.
#
# Source: RFC 1071, RFC 1624; csum_replace2, csum_replace4, inet_proto_csum_replace* (net/core/utils.c).
# Invariants: a wrong checksum stays wrong by the same amount; nothing is read beyond the given length.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from ..types cimport addr_t, FN_ADDR_BITS, FN_ADDR_BYTES


cdef inline uint32_t load_be16(const uint8_t *at) noexcept nogil:
    # load_be16: two bytes in network order.
    return (<uint32_t>at[0] << 8) | at[1]


cdef inline uint32_t load_be32(const uint8_t *at) noexcept nogil:
    # load_be32: four bytes in network order.
    return (load_be16(at) << 16) | load_be16(at + 2)


cdef inline void store_be16(uint8_t *at, uint32_t v) noexcept nogil:
    # store_be16: two bytes in network order.
    # byte by byte: headers lie at odd places of a buffer, and machines differ in their order
    at[0] = <uint8_t>(v >> 8)
    at[1] = <uint8_t>v


cdef inline void store_be32(uint8_t *at, uint32_t v) noexcept nogil:
    # store_be32: four bytes in network order.
    store_be16(at, v >> 16)
    store_be16(at + 2, v & 0xffff)


cdef inline uint32_t csum_fold(uint64_t sum_) noexcept nogil:
    # csum_fold: a sum in 16 bits, carries added. Of the four steps each leaves fewer carries, the last none.
    sum_ = <uint32_t>sum_ + (sum_ >> 32)
    sum_ = (sum_ & 0xffff) + (sum_ >> 16)
    sum_ = (sum_ & 0xffff) + (sum_ >> 16)
    return <uint32_t>((sum_ & 0xffff) + (sum_ >> 16))


cdef inline uint64_t csum_partial(const uint8_t *at, uint32_t n, uint64_t sum_) noexcept nogil:
    # csum_partial: add n bytes as big-endian words, to less than 2**48; an odd last byte is padded with zero.
    cdef uint64_t inner = 0
    cdef uint64_t word
    cdef uint32_t half
    cdef uint32_t i = 0
    cdef uint16_t folded
    # four words at once, in the machine's own order: the sum does not depend on it until its bytes are read (RFC 1071, 2)
    while i + 8 <= n:
        memcpy(&word, at + i, 8)
        inner += word
        # the carry comes round
        inner += inner < word
        i += 8
    if i + 4 <= n:
        memcpy(&half, at + i, 4)
        inner += half
        inner += inner < half
        i += 4
    folded = <uint16_t>csum_fold(inner)
    sum_ += load_be16(<const uint8_t *>&folded)
    if i + 2 <= n:
        sum_ += load_be16(at + i)
        i += 2
    if i < n:
        sum_ += <uint32_t>at[i] << 8
    return sum_


cdef inline bint csum_ok(const uint8_t *at, uint32_t n, uint64_t pseudo) noexcept nogil:
    # csum_ok: => Whether bytes and their checksum add up.
    return csum_fold(csum_partial(at, n, pseudo)) == 0xffff


cdef inline void csum_change(uint8_t *check, uint64_t change) noexcept nogil:
    # csum_change: the checksum after words changed (RFC 1624). change: less than 2**48, of each what change2 or another says.
    # equation 3: equation 2 of RFC 1141 makes 0xffff of what a sum over the whole gives as 0
    store_be16(check, ~csum_fold((~load_be16(check) & 0xffff) + change) & 0xffff)


cdef inline uint64_t change2(uint32_t from_, uint32_t to) noexcept nogil:
    # change2: => What a 16-bit word that changed does to a sum.
    return (~from_ & 0xffff) + to


cdef inline uint64_t change4(uint32_t from_, uint32_t to) noexcept nogil:
    # change4: => What a 32-bit word that changed does to a sum; its halves add up when the sum is folded.
    return <uint64_t><uint32_t>~from_ + to


cdef inline uint64_t change_addr(addr_t from_, addr_t to) noexcept nogil:
    # change_addr: => What an address that changed does to a sum.
    cdef uint64_t change = 0
    cdef uint32_t i
    for i in range(FN_ADDR_BYTES // 4):
        change += change4(<uint32_t>(from_ >> (32 * i)), <uint32_t>(to >> (32 * i)))
    return change


cdef inline void csum_replace2(uint8_t *check, uint32_t from_, uint32_t to) noexcept nogil:
    # csum_replace2: the checksum after a 16-bit word changed.
    csum_change(check, change2(from_, to))


cdef inline void csum_replace4(uint8_t *check, uint32_t from_, uint32_t to) noexcept nogil:
    # csum_replace4: the checksum after a 32-bit word changed.
    csum_change(check, change4(from_, to))


cdef inline addr_t load_addr(const uint8_t *at) noexcept nogil:
    # load_addr: an address in network order.
    cdef addr_t addr = 0
    cdef uint32_t i
    for i in range(FN_ADDR_BYTES // 4):
        addr |= <addr_t>load_be32(at + 4 * i) << (FN_ADDR_BITS - 32 - 32 * i)
    return addr


cdef inline void store_addr(uint8_t *at, addr_t addr) noexcept nogil:
    # store_addr: an address in network order.
    cdef uint32_t i
    for i in range(FN_ADDR_BYTES // 4):
        store_be32(at + 4 * i, <uint32_t>(addr >> (FN_ADDR_BITS - 32 - 32 * i)))


cdef inline void csum_replace_addr(uint8_t *check, addr_t from_, addr_t to) noexcept nogil:
    # csum_replace_addr: the checksum after an address changed.
    csum_change(check, change_addr(from_, to))
