/* What Cython cannot say: prefetch, bit tricks, the tag compare and the head of an ndarray. */
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
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(line, _mm_set1_epi64x((int64_t)(tag * 0x0101010101010101ull)))) & 0xfff;
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

#endif
