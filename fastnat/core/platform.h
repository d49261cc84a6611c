/* What Cython cannot say: prefetch, bit tricks, the tag compare and the head of an ndarray. */
#ifndef FASTNAT_PLATFORM_H
#define FASTNAT_PLATFORM_H

#include <Python.h>
#include <stdint.h>
#include <string.h>
#include "types.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* the empty asm: to gcc a function that only prefetches has no effect, and calls of it would be left out */
#define fn_prefetch(p)                                                                                                                          \
    do {                                                                                                                                        \
        __builtin_prefetch((p), 0, 3);                                                                                                          \
        __asm__ volatile("");                                                                                                                   \
    } while (0)
/* into the second level alone */
#define fn_prefetch_far(p)                                                                                                                      \
    do {                                                                                                                                        \
        __builtin_prefetch((p), 0, 2);                                                                                                          \
        __asm__ volatile("");                                                                                                                   \
    } while (0)
#define fn_prefetch_write(p)                                                                                                                    \
    do {                                                                                                                                        \
        __builtin_prefetch((p), 1, 3);                                                                                                          \
        __asm__ volatile("");                                                                                                                   \
    } while (0)
#define fn_ctz(x)        __builtin_ctz(x)
#define fn_ctz64(x)      __builtin_ctzll(x)
#define fn_popcount64(x) __builtin_popcountll(x)
#define fn_bswap32(x)    __builtin_bswap32(x)
#define fn_bswap16(x)    __builtin_bswap16(x)
#define fn_likely(x)     __builtin_expect(!!(x), 1)
#define fn_unlikely(x)   __builtin_expect(!!(x), 0)

/* fn_clear_packet: memset, but for so few bytes `rep stos`, which compilers take, begins slowly. */
static inline void fn_clear_packet(pkt_t *p)
{
#if defined(__SSE2__)
    static_assert(sizeof(pkt_t) % 8 == 0, "the last store clears eight bytes");
    const __m128i zero = _mm_setzero_si128();
    size_t i = 0;
#pragma GCC unroll 32
    for (; i + 16 <= sizeof(pkt_t); i += 16)
        _mm_storeu_si128((__m128i *)((char *)p + i), zero);
    if (sizeof(pkt_t) % 16)
        _mm_storel_epi64((__m128i *)((char *)p + i), zero);
#else
    memset(p, 0, sizeof(pkt_t));
#endif
}

static_assert(offsetof(conn_t, state) == offsetof(conn_t, status) + 2 && offsetof(conn_t, flags) == offsetof(conn_t, status) + 3, "one load");
/* fn_conn_bits: a connection's status, its state << 16, its flags << 24. */
static inline uint32_t fn_conn_bits(const conn_t *c)
{
    uint32_t bits;
    memcpy(&bits, &c->status, sizeof bits);
    return bits;
}

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

/* fn_bucket_look: the whole of a bucket's head in one look.
 * => Bits 0..11: slots whose tag equals `tag`; 16..27: slots that are free; 28..31 all set: no item overflowed. */
static inline uint32_t fn_bucket_look(const bucket_t *b, uint8_t tag)
{
#if defined(__SSE2__)
    __m128i line = _mm_load_si128((const __m128i *)b);
    __m128i tags = _mm_set1_epi64x((int64_t)(tag * 0x0101010101010101ull));
    return ((uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(line, tags)) & 0xfff) |
           (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(line, _mm_setzero_si128())) << 16;
#else
    return fn_tags_equal(b, tag) | fn_tags_equal(b, 0) << 16 | (b->overflow == 0 ? 0xf0000000u : 0);
#endif
}

/* fn_bucket_split: divide a bucket by one bit of its items: those that have it go to `to`, in their slots. Displaced
 * items (bit 31) leave both; their ids are written to `displaced`.
 * => How many those were. Overflow counters start anew. */
static inline uint32_t fn_bucket_split(bucket_t *from, bucket_t *to, uint32_t bit, uint32_t *displaced)
{
    uint32_t n = 0;
#if defined(__SSE2__)
    __m128i head = _mm_load_si128((const __m128i *)from), zero = _mm_setzero_si128();
    __m128i items[3], goes[3], home[3];
    for (int i = 0; i < 3; i++) {
        items[i] = _mm_load_si128((const __m128i *)from + 1 + i);
        goes[i] = _mm_srai_epi32(_mm_sll_epi32(items[i], _mm_cvtsi32_si128((int)(31 - bit))), 31);
        home[i] = _mm_xor_si128(_mm_srai_epi32(items[i], 31), _mm_set1_epi32(-1));
    }
    /* a byte a slot, and zeros over the overflow counters */
    __m128i go = _mm_packs_epi16(_mm_packs_epi32(goes[0], goes[1]), _mm_packs_epi32(goes[2], zero));
    __m128i in = _mm_packs_epi16(_mm_packs_epi32(home[0], home[1]), _mm_packs_epi32(home[2], zero));
    __m128i tags = _mm_and_si128(head, in);
    uint32_t out = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_or_si128(in, _mm_cmpeq_epi8(head, zero)), zero)) & 0xfff;
    _mm_store_si128((__m128i *)to, _mm_and_si128(tags, go));
    _mm_store_si128((__m128i *)from, _mm_andnot_si128(go, tags));
    for (int i = 0; i < 3; i++)
        _mm_store_si128((__m128i *)to + 1 + i, items[i]);
    for (; fn_unlikely(out); out &= out - 1)
        displaced[n++] = from->items[fn_ctz(out)] & ((1u << FN_ID_BITS) - 1);
#else
    *to = *from;
    from->overflow = to->overflow = 0;
    for (int i = 0; i < FN_BUCKET_SLOTS; i++) {
        uint32_t item = from->items[i];
        if (from->tags[i] && item >> 31)
            displaced[n++] = item & ((1u << FN_ID_BITS) - 1);
        if (item >> 31 || item >> bit & 1)
            from->tags[i] = 0;
        if (item >> 31 || !(item >> bit & 1))
            to->tags[i] = 0;
    }
#endif
    return n;
}

/* fn_cycles: a clock that costs next to nothing; it only says when a long batch should look at signals, FN_SLICE apart
 * (some 50 ms). No answer depends on it. */
#if defined(__x86_64__)
#define fn_cycles() ((uint64_t)__builtin_ia32_rdtsc())
#define FN_SLICE    ((uint64_t)1 << 27)
#else
#include <time.h>
static inline uint64_t fn_cycles(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
#define FN_SLICE ((uint64_t)50000000)
#endif

/* fn_claim: take an engine for a thread, if no other has it.
 * => 0: another has it; 1: this one had it already; 2: it is free and now this one's. */
static inline int fn_claim(unsigned long *owner, unsigned long me)
{
    unsigned long nobody = 0;
    if (__atomic_load_n(owner, __ATOMIC_RELAXED) == me)
        return 1;
    return __atomic_compare_exchange_n(owner, &nobody, me, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) ? 2 : 0;
}

static inline void fn_release(unsigned long *owner)
{
    __atomic_store_n(owner, 0ul, __ATOMIC_RELEASE);
}

/* The head of NumPy's ndarray object, unchanged since NumPy 1.7 and part of the NumPy 2 ABI. Read it only of
 * an object whose type was checked: a buffer request for a structured dtype costs half a microsecond a call. */
typedef struct {
    PyObject_HEAD /* wider where Python has no GIL */
        char *data;
    int nd;
    intptr_t *dimensions;
    intptr_t *strides;
    void *base, *descr;
    int flags; /* 1 C-contiguous, 0x100 aligned, 0x400 writeable */
} fn_ndarray;

/* Says that the code around it hardly ever runs: what it calls is then not copied into the place where it is called. */
__attribute__((cold, noinline)) static void fn_rarely(void)
{
    __asm__ volatile("");
}

#endif
