/* What Cython cannot say: prefetch, the tag compare and the batched keyed hash. */
#ifndef FASTNAT_PLATFORM_H
#define FASTNAT_PLATFORM_H

#include <stdint.h>
#include <string.h>
#include "types.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define fn_prefetch(p) __builtin_prefetch((p), 0, 3)
#define fn_prefetch_write(p) __builtin_prefetch((p), 1, 3)
#define fn_ctz(x) __builtin_ctz(x)
#define fn_ctz64(x) __builtin_ctzll(x)
#define fn_popcount64(x) __builtin_popcountll(x)
#define fn_bswap32(x) __builtin_bswap32(x)
#define fn_bswap16(x) __builtin_bswap16(x)
#define fn_likely(x) __builtin_expect(!!(x), 1)
#define fn_unlikely(x) __builtin_expect(!!(x), 0)

/* fn_tags_equal: which of the 12 tags of a bucket equal `tag`.
 * => A bit mask, bit i for slot i. */
static inline uint32_t fn_tags_equal(const bucket_t *b, uint8_t tag)
{
#if defined(__SSE2__)
    __m128i line = _mm_load_si128((const __m128i *)b);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(line, _mm_set1_epi8((char)tag))) & 0xfff;
#else
    uint32_t m = 0;
    for (int i = 0; i < FN_BUCKET_SLOTS; i++)
        m |= (uint32_t)(b->tags[i] == tag) << i;
    return m;
#endif
}

/* The head of NumPy's ndarray object, unchanged since NumPy 1.7 and part of the NumPy 2 ABI. Read it only of
 * an object whose type was checked: a buffer request for a structured dtype costs half a microsecond a call. */
typedef struct {
    void *head[2];             /* PyObject_HEAD */
    char *data;
    int nd;
    intptr_t *dimensions;
    intptr_t *strides;
    void *base, *descr;
    int flags;                 /* 1 C-contiguous, 0x100 aligned, 0x400 writeable */
} fn_ndarray;

#define FN_ROTL(x, r) (((x) << (r)) | ((x) >> (64 - (r))))
#define FN_SIPROUND(a, b, c, d) \
    do { a += b; b = FN_ROTL(b, 13); b ^= a; a = FN_ROTL(a, 32); c += d; d = FN_ROTL(d, 16); d ^= c; \
         a += d; d = FN_ROTL(d, 21); d ^= a; c += b; b = FN_ROTL(b, 17); b ^= c; c = FN_ROTL(c, 32); } while (0)

/* fn_siphash13: SipHash-1-3 of a 16-byte message (Aumasson and Bernstein, 2012, reduced rounds). */
static inline uint64_t fn_siphash13(const uint64_t key[2], uint64_t m0, uint64_t m1)
{
    uint64_t a = key[0] ^ 0x736f6d6570736575ull, b = key[1] ^ 0x646f72616e646f6dull;
    uint64_t c = key[0] ^ 0x6c7967656e657261ull, d = key[1] ^ 0x7465646279746573ull;
    const uint64_t last = 16ull << 56;
    d ^= m0; FN_SIPROUND(a, b, c, d); a ^= m0;
    d ^= m1; FN_SIPROUND(a, b, c, d); a ^= m1;
    d ^= last; FN_SIPROUND(a, b, c, d); a ^= last;
    c ^= 0xff;
    FN_SIPROUND(a, b, c, d); FN_SIPROUND(a, b, c, d); FN_SIPROUND(a, b, c, d);
    return a ^ b ^ c ^ d;
}

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define FN_CLONES __attribute__((noinline, target_clones("avx512f", "avx2", "default")))
#else
#define FN_CLONES __attribute__((noinline))
#endif

/* fn_siphash13_stage: hashes of one full stage of tuples, in a form that the compiler vectorises.
 * => Reads and writes FN_STAGE elements, whatever the number in use. */
FN_CLONES static void fn_siphash13_stage(const uint64_t *key, const uint64_t *m0, const uint64_t *m1, uint64_t *out)
{
    for (int i = 0; i < FN_STAGE; i++)
        out[i] = fn_siphash13(key, m0[i], m1[i]);
}

#endif
