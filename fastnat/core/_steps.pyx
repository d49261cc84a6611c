"""Test-only: a def around single steps, compiled from the same inline bodies as the datapath."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from .types cimport *
from .conntrack.tcp cimport flag_class, flags_valid, fn_tcp_next
from .nat.best_ips cimport best_ips
from .nat.candidates cimport port_window
from .packet.checksum cimport csum_fold, csum_partial, csum_replace4
from .tuples.hash cimport jhash2_words, splitmix64
from .tuples.rehash cimport next_key
from .tuples.tuple cimport invert_tuple, tuple_dport, tuple_dst, tuple_make, tuple_proto, tuple_sport, tuple_src, tuple_zone


fn_hash_init()
fn_crc32c_init()


def aes_round(bytes state not None, bytes key not None):
    """One AES round over 16 bytes, without AES instructions."""
    cdef unsigned char s[16]
    cdef unsigned char k[16]
    for i in range(16):
        s[i] = state[i]
        k[i] = key[i]
    fn_aes_round(s, k)
    return bytes([s[i] for i in range(16)])


def keyed_hash(list key, uint64_t m0, uint64_t m1):
    """The table hash of (m0, m1) three ways: at once, without AES instructions, and as one of a stage."""
    cdef uint64_t keys[10]
    cdef tuple_t stage[3]
    cdef uint64_t out[3]
    for i in range(10):
        keys[i] = key[i]
    cdef uint64_t m
    for i in range(3):
        m = m0 + <uint64_t>i
        stage[i].src = <uint32_t>m
        stage[i].dst = <uint32_t>(m >> 32)
        stage[i].rest = m1
    fn_hash_stage(keys, stage, out, 3)
    return fn_hash(keys, &stage[2]), fn_hash_plain(keys, &stage[2]), out[2]


def table_key(uint64_t seed):
    """The ten words that Engine(key=seed) hashes the IPv4 table with."""
    return [splitmix64(&seed) for _ in range(2 * FN_ROUND_KEYS)]


def next_keys(uint32_t n):
    """The words of n keys that the tables change to one after the other, of a secret of zeros."""
    cdef engine_t *e = <engine_t *>calloc(1, sizeof(engine_t))
    if e == NULL:
        raise MemoryError
    found = []
    for _ in range(n):
        next_key(e)
        found.append([e.key[i] for i in range(2 * FN_ROUND_KEYS)])
    free(e)
    return found


def packet_hashes(list key, const unsigned char[::1] packets, uint64_t[::1] hashes):
    """The table hash of each packet's tuple: PACKET[n] as bytes, uint64[n] that is filled."""
    cdef uint64_t keys[10]
    cdef const packet_t *p = <const packet_t *>&packets[0]
    cdef tuple_t t
    for i in range(10):
        keys[i] = key[i]
    for i in range(hashes.shape[0]):
        t = tuple_make(p[i].src, p[i].dst, p[i].sport, p[i].dport, p[i].proto, 0)
        hashes[i] = fn_hash(keys, &t)


def sctp_crc(bytes data not None):
    """CRC32c of an SCTP packet, its checksum field taken as zero."""
    return fn_sctp_crc(<const unsigned char *>data, <uint32_t>len(data))


def jhash2(uint32_t word, uint32_t iv):
    """jhash2 of {word, 0, 0, 0}."""
    cdef uint32_t k[4]
    k[0] = word
    k[1] = 0
    k[2] = 0
    k[3] = 0
    return jhash2_words(k, iv)


def choose_address(uint32_t src, uint32_t dst, uint32_t low, uint32_t high, uint32_t flags, uint32_t manip, uint32_t zone):
    """The address that a range gives a tuple (find_best_ips_proto)."""
    cdef target_t t
    t.min_addr = low
    t.max_addr = high
    t.flags = flags | RANGE_MAP_IPS
    made = best_ips(tuple_make(src, dst, 1, 2, 17, 0), zone, &t, manip)
    return tuple_src(made) if manip == MANIP_SRC else tuple_dst(made)


def search_window(uint32_t proto, uint32_t sport, uint32_t manip, ports):
    """The first port, or ICMP id, that a search may take, and how many there are; None: there is none. ports: those of the rule, None."""
    cdef target_t t
    cdef uint32_t low, size
    t.flags = 0
    if ports is not None:
        t.flags = RANGE_PROTO_SPECIFIED
        t.min_proto, t.max_proto = ports
    return (low, size) if port_window(tuple_make(1, 2, sport, 3, proto, 0), &t, manip, &low, &size) else None


def invert(uint32_t src, uint32_t dst, uint32_t sport, uint32_t dport, uint32_t proto):
    """The inverse tuple as (src, dst, sport, dport)."""
    cdef tuple_t t = invert_tuple(tuple_make(src, dst, sport, dport, proto, 0))
    return tuple_src(t), tuple_dst(t), tuple_sport(t), tuple_dport(t)


def tcp_next(int direction, int class_, int state):
    """The TCP state table: 0..9 states, 10 invalid, 11 ignore."""
    return fn_tcp_next[direction][class_][state]


def tcp_flags(uint32_t flags):
    """(valid, class) of a TCP flag byte."""
    return bool(flags_valid(flags)), flag_class(flags)


def checksum(bytes data):
    """The Internet checksum of some bytes."""
    return ~csum_fold(csum_partial(<const unsigned char *>data, <uint32_t>len(data), 0)) & 0xffff


def replace4(int check, uint32_t old, uint32_t new):
    """The checksum after a 32-bit word changed (RFC 1624)."""
    cdef unsigned char at[2]
    at[0] = check >> 8
    at[1] = check & 0xff
    csum_replace4(at, old, new)
    return at[0] << 8 | at[1]


def conn_fields(packed):
    """The fields of one CONN record as the core reads them."""
    cdef const unsigned char[::1] raw = packed
    cdef const conn_t *c = <const conn_t *>&raw[0]
    return {
        "tuples": [[tuple_src(c.tuples[i]), tuple_dst(c.tuples[i]), tuple_sport(c.tuples[i]), tuple_dport(c.tuples[i]),
                    tuple_proto(c.tuples[i]), tuple_zone(c.tuples[i])] for i in range(2)],
        "timeout": c.timeout, "wheel_pos": c.wheel_pos, "bysource_next": c.bysource_next, "bysource_prev": c.bysource_prev,
        "stream_ts": c.stream_ts, "routes": [c.routes[0], c.routes[1]], "masq_iface": c.masq_iface, "zone": c.zone,
        "status": c.status, "state": c.state, "flags": c.flags,
    }


def random_lines(uint64_t[::1] buffer, uint32_t reads, uint64_t seed):
    """Read `reads` independent random cache lines of a buffer: the yardstick R.

    Lines are taken as a batch takes them, 32 at a time: prefetched, then read. The buffer holds a power of two of words.
    Returns the sum of the words read, so that no read can be left out.
    """
    cdef uint64_t mask = buffer.shape[0] - 1
    cdef uint64_t total = 0
    cdef uint64_t here = seed
    cdef uint64_t places[32]
    cdef uint32_t i, k, n
    with nogil:
        for i in range(0, reads, 32):
            n = reads - i if reads - i < 32 else 32
            for k in range(n):
                here = here * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
                places[k] = (here >> 20) & mask & ~<uint64_t>7
                fn_prefetch(&buffer[places[k]])
            for k in range(n):
                total += buffer[places[k]]
    return total
