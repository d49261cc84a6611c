/* The keyed hash of the tables: four AES rounds with five secret round keys over the 16 bytes of a tuple.
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

static uint64_t fn_hash_plain(const uint64_t *key, uint64_t m0, uint64_t m1)
{
    uint64_t block[2] = {m0 ^ key[0], m1 ^ key[1]};
    for (int i = 1; i < FN_ROUND_KEYS; i++)
        fn_aes_round((uint8_t *)block, (const uint8_t *)(key + 2 * i));
    return block[0];
}

#ifdef FN_AES_X86
__attribute__((target("aes"), noinline)) static uint64_t fn_hash_aes(const uint64_t *key, uint64_t m0, uint64_t m1)
{
    const __m128i *k = (const __m128i *)key;
    __m128i s = _mm_xor_si128(_mm_set_epi64x((int64_t)m1, (int64_t)m0), _mm_loadu_si128(k));
    for (int i = 1; i < FN_ROUND_KEYS; i++)
        s = _mm_aesenc_si128(s, _mm_loadu_si128(k + i));
    return (uint64_t)_mm_cvtsi128_si64(s);
}

__attribute__((target("aes"), noinline)) static void fn_hash_aes_stage(const uint64_t *key, const tuple_t *m, uint64_t *out, uint32_t n)
{
    const __m128i *k = (const __m128i *)key;
    __m128i k0 = _mm_loadu_si128(k), k1 = _mm_loadu_si128(k + 1), k2 = _mm_loadu_si128(k + 2);
    __m128i k3 = _mm_loadu_si128(k + 3), k4 = _mm_loadu_si128(k + 4);
    for (uint32_t i = 0; i < n; i++) {
        __m128i s = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(m + i)), k0);
        s = _mm_aesenc_si128(_mm_aesenc_si128(s, k1), k2);
        s = _mm_aesenc_si128(_mm_aesenc_si128(s, k3), k4);
        out[i] = (uint64_t)_mm_cvtsi128_si64(s);
    }
}
#endif

/* fn_hash: hash of one 16-byte message. */
static inline uint64_t fn_hash(const uint64_t *key, uint64_t m0, uint64_t m1)
{
#ifdef FN_AES_X86
    if (__builtin_expect(fn_has_aes, 1))
        return fn_hash_aes(key, m0, m1);
#endif
    return fn_hash_plain(key, m0, m1);
}

/* fn_hash_stage: hashes of n tuples at once, so that their rounds overlap. */
static inline void fn_hash_stage(const uint64_t *key, const tuple_t *m, uint64_t *out, uint32_t n)
{
#ifdef FN_AES_X86
    if (__builtin_expect(fn_has_aes, 1)) {
        fn_hash_aes_stage(key, m, out, n);
        return;
    }
#endif
    for (uint32_t i = 0; i < n; i++)
        out[i] = fn_hash_plain(key, m[i].addrs, m[i].rest);
}

#endif
