/* The keyed hash of the tables: four AES rounds with five secret round keys over the bytes of a tuple.
 * One block, so it is a keyed function with a proven bound on collisions (four rounds: differential probability
 * about 2^-113), and hash values never leave the engine. The value is the same with and without AES
 * instructions, because early drop walks the table in hash order. */
#ifndef FASTNAT_KEYED_HASH_H
#define FASTNAT_KEYED_HASH_H

#include <stdint.h>
#include <string.h>
#include "types.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define FN_AES_X86 1
#include <wmmintrin.h>
#endif

static uint8_t fn_sbox[256];
static int fn_has_aes;

/* fn_hash_init: before the first hash. The S-box is the inverse in GF(2^8), then an affine map (FIPS 197, 5.1.1):
 * p runs through the powers of 3 and q through those of its inverse, so q is always 1/p. */
static void fn_hash_init(void)
{
    uint8_t p = 1, q = 1;
    do {
        p = (uint8_t)(p ^ (p << 1) ^ (p & 0x80 ? 0x1b : 0));
        q ^= (uint8_t)(q << 1);
        q ^= (uint8_t)(q << 2);
        q ^= (uint8_t)(q << 4);
        q ^= q & 0x80 ? 0x09 : 0;
        uint32_t doubled = q * 0x101u;
        fn_sbox[p] = (uint8_t)(q ^ (doubled >> 7) ^ (doubled >> 6) ^ (doubled >> 5) ^ (doubled >> 4) ^ 0x63);
    } while (p != 1);
    fn_sbox[0] = 0x63;
#ifdef FN_AES_X86
    fn_has_aes = __builtin_cpu_supports("aes");
#endif
}

/* fn_aes_round: one round, as the AESENC instruction does it. */
static void fn_aes_round(uint8_t s[16], const uint8_t key[16])
{
    uint8_t t[16];
    for (int i = 0; i < 16; i++)
        t[i] = fn_sbox[s[(i + 4 * (i & 3)) & 15]];
    for (int c = 0; c < 16; c += 4) {
        uint8_t all = t[c] ^ t[c + 1] ^ t[c + 2] ^ t[c + 3];
        for (int r = 0; r < 4; r++) {
            uint8_t pair = t[c + r] ^ t[c + ((r + 1) & 3)];
            s[c + r] = (uint8_t)(t[c + r] ^ all ^ (pair << 1) ^ (pair & 0x80 ? 0x1b : 0) ^ key[c + r]);
        }
    }
}

/* The message in 16-byte blocks, the last filled with zeros; each is mixed in before four rounds. */
#define FN_HASH_BLOCKS ((sizeof(tuple_t) + 15) / 16)

static uint64_t fn_hash_plain(const uint64_t *key, const tuple_t *t)
{
    uint64_t m[2 * FN_HASH_BLOCKS] = {0}, block[2] = {key[0], key[1]};
    memcpy(m, t, sizeof(*t));
    for (unsigned b = 0; b < FN_HASH_BLOCKS; b++) {
        block[0] ^= m[2 * b];
        block[1] ^= m[2 * b + 1];
        for (int i = 1; i < FN_ROUND_KEYS; i++)
            fn_aes_round((uint8_t *)block, (const uint8_t *)(key + 2 * i));
    }
    return block[0];
}

#ifdef FN_AES_X86
__attribute__((target("aes"))) static inline __m128i fn_aes4(__m128i s, const __m128i *k)
{
    s = _mm_aesenc_si128(_mm_aesenc_si128(s, _mm_loadu_si128(k + 1)), _mm_loadu_si128(k + 2));
    return _mm_aesenc_si128(_mm_aesenc_si128(s, _mm_loadu_si128(k + 3)), _mm_loadu_si128(k + 4));
}

__attribute__((target("aes"))) static inline uint64_t fn_hash_one(const uint64_t *key, const tuple_t *t)
{
    const __m128i *k = (const __m128i *)key, *m = (const __m128i *)t;
    __m128i s = fn_aes4(_mm_xor_si128(_mm_loadu_si128(m), _mm_loadu_si128(k)), k);
#ifdef FN_IPV6
    s = fn_aes4(_mm_xor_si128(s, _mm_loadu_si128(m + 1)), k);
    s = fn_aes4(_mm_xor_si128(s, _mm_loadl_epi64(m + 2)), k);
#endif
    return (uint64_t)_mm_cvtsi128_si64(s);
}

__attribute__((target("aes"), noinline)) static uint64_t fn_hash_aes(const uint64_t *key, const tuple_t *t)
{
    return fn_hash_one(key, t);
}

__attribute__((target("aes"), noinline)) static void fn_hash_aes_stage(const uint64_t *key, const tuple_t *m, uint64_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = fn_hash_one(key, m + i);
}

__attribute__((target("aes"), noinline)) static void fn_hash_aes_ahead(const uint64_t *key, ahead_t *ahead, const uint32_t *which, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        ahead_t *a = ahead + which[i];
        if (a->checks)
            a->reply_hash[0] = fn_hash_one(key, &a->reply[0]);
        a->reply_hash[1] = fn_hash_one(key, &a->reply[1]);
        a->source_hash = fn_hash_one(key, &a->source);
    }
}
#endif

/* fn_hash: hash of one tuple. */
static inline uint64_t fn_hash(const uint64_t *key, const tuple_t *t)
{
#ifdef FN_AES_X86
    if (__builtin_expect(fn_has_aes, 1))
        return fn_hash_aes(key, t);
#endif
    return fn_hash_plain(key, t);
}

/* fn_hash_stage: hashes of n tuples at once, so that their rounds overlap. */
static inline void fn_hash_stage(const uint64_t *key, const tuple_t *m, uint64_t *out, uint32_t n)
{
#ifdef FN_SLOWED
    static volatile uint64_t unused;
    for (uint32_t i = 0; i < n; i++)
        unused ^= fn_hash_plain(key, m + i);
#endif
#ifdef FN_AES_X86
    if (__builtin_expect(fn_has_aes, 1)) {
        fn_hash_aes_stage(key, m, out, n);
        return;
    }
#endif
    for (uint32_t i = 0; i < n; i++)
        out[i] = fn_hash_plain(key, m + i);
}

/* fn_hash_ahead: the hashes that are needed of each of the n packets of a group that `which` names. */
static inline void fn_hash_ahead(const uint64_t *key, ahead_t *ahead, const uint32_t *which, uint32_t n)
{
#ifdef FN_AES_X86
    if (__builtin_expect(fn_has_aes, 1)) {
        fn_hash_aes_ahead(key, ahead, which, n);
        return;
    }
#endif
    for (uint32_t i = 0; i < n; i++) {
        ahead_t *a = ahead + which[i];
        if (a->checks)
            a->reply_hash[0] = fn_hash_plain(key, &a->reply[0]);
        a->reply_hash[1] = fn_hash_plain(key, &a->reply[1]);
        a->source_hash = fn_hash_plain(key, &a->source);
    }
}

#endif
