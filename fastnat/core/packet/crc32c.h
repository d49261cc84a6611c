/* CRC32c (Castagnoli, RFC 9260 appendix A) as SCTP carries it: reflected 0x82f63b78, first and last inverted. */
#ifndef FASTNAT_CRC32C_H
#define FASTNAT_CRC32C_H

#include <stdint.h>

static uint32_t fn_crc32c_table[256];

/* fn_crc32c_init: before the first checksum. */
static void fn_crc32c_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        fn_crc32c_table[i] = c;
    }
}

/* fn_sctp_crc: the checksum of an SCTP packet of n >= 12 bytes, its own four bytes taken as zero.
 * => In the order in which it is stored, least significant byte first. */
static uint32_t fn_sctp_crc(const uint8_t *data, uint32_t n)
{
    uint32_t c = 0xffffffffu;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t byte = i >= 8 && i < 12 ? 0 : data[i];
        c = c >> 8 ^ fn_crc32c_table[(c ^ byte) & 255];
    }
    return ~c;
}

#endif
