# What of our headers make_layout.py does not read, part of types.pxd: the table of arrays, and functions.
cdef extern from "layout.h" nogil:
    ctypedef struct array_place_t:
        const char *name
        size_t at
        size_t size
    const array_place_t fn_arrays[]
    enum:
        FN_ARRAYS

cdef extern from "platform.h" nogil:
    void fn_prefetch(const void *p)
    void fn_prefetch_far(const void *p)
    void fn_prefetch_write(const void *p)
    int fn_ctz(uint32_t x)
    int fn_ctz64(uint64_t x)
    int fn_popcount64(uint64_t x)
    uint32_t fn_bswap32(uint32_t x)
    uint16_t fn_bswap16(uint16_t x)
    uint32_t fn_bucket_split(bucket_t *from_, bucket_t *to, uint32_t bit, uint32_t *displaced)
    bint fn_likely(bint x)
    bint fn_unlikely(bint x)
    void fn_rarely()
    uint32_t fn_tags_equal(const bucket_t *b, uint8_t tag)
    void fn_clear_packet(pkt_t *p)
    uint32_t fn_conn_bits(const conn_t *c)
    uint32_t fn_bucket_look(const bucket_t *b, uint8_t tag)
    uint64_t fn_cycles()
    const uint64_t FN_SLICE
    int fn_claim(unsigned long *owner, unsigned long me)
    void fn_release(unsigned long *owner)

cdef extern from "packet/crc32c.h" nogil:
    void fn_crc32c_init()
    uint32_t fn_sctp_crc(const uint8_t *data, uint32_t n)

cdef extern from "tuples/keyed_hash.h" nogil:
    void fn_hash_init()
    uint64_t fn_hash(const uint64_t *key, const tuple_t *t)
    uint64_t fn_hash_plain(const uint64_t *key, const tuple_t *t)
    void fn_hash_stage(const uint64_t *key, const tuple_t *m, uint64_t *out, uint32_t n)
    void fn_hash_ahead(const uint64_t *key, ahead_t *ahead, const uint32_t *which, uint32_t n)
    void fn_aes_round(uint8_t *state, const uint8_t *key)
