# A token bucket for each address, port or pair of them: -m hashlimit.
#
# Source: xt_hashlimit.c, proto_ports_offset (Linux 6.18); iptables-extensions(8).
# Invariants: a slot belongs to one key of one list; a bucket unused for its expiry time is as good as none. Key, masks and rate
# are those of the rule that made the list; a rule's own is only whether it asks for what is above.
# Differs from the kernel: such a bucket is forgotten at once, not at the next collection; a full table drops when no slot
# is near, not at an exact count.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport *
from ..nat.range cimport has_ports
from ..packet.checksum cimport load_be32
from ..packet.extensions cimport chain_end, CHAIN_LATER, CHAIN_WHOLE, skip_extensions
from ..tuples.tuple cimport tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src
from .sets cimport folded

cdef enum:
    # slots looked at for one key
    NEAR = 64
    # credits of a jiffy: 2 to the power of this
    CREDIT_BITS = 39
    # the same of byte rates, whose full bucket has those of a second
    BYTE_CREDIT_BITS = 24


cdef inline bint key_ports(const pkt_t *p, uint32_t *ports) noexcept nogil:
    # key_ports: source << 16 | destination; of ESP and AH the SPI stands there, of others nothing (hashlimit_init_dst).
    # => False: the datagram ends before them, or nothing follows the headers of IPv6.
    cdef uint32_t proto = tuple_proto(p.t)
    cdef uint32_t at = p.l4off
    cdef chain_end end
    if FN_V6 and p.data != NULL:
        end = skip_extensions(p.data, p.len, &proto, &at)
        ports[0] = 0
        # a later part has no ports, and counts with all that have none; where nothing follows the packet is dropped
        if end != CHAIN_WHOLE:
            return end == CHAIN_LATER
    # proto_ports_offset: 4 bytes at an offset; those of AH stand behind its lengths
    at += 4 if proto == PROTO_AH else 0
    if p.data != NULL and (has_ports(proto) or proto == PROTO_DCCP or proto == PROTO_ESP or proto == PROTO_AH):
        if p.len < at + 4:
            return False
        ports[0] = load_be32(p.data + at)
    elif has_ports(proto):
        ports[0] = tuple_sport(p.t) << 16 | tuple_dport(p.t)
    else:
        ports[0] = 0
    return True


cdef inline void renew(hashlimit_t *bucket, const match_t *m, const target_t *said, uint32_t now) noexcept nogil:
    # renew: what the time since the last renewal gives back (rateinfo_recalc).
    cdef uint32_t ticks = now - bucket.last
    cdef uint64_t full = said.rate.full
    cdef uint32_t bits = CREDIT_BITS
    if m.bits & HASHLIMIT_RATE_MATCH:
        # at the end of an interval the rate is judged, and the next one begins with nothing counted
        if ticks and ticks >= said.window.jiffies:
            bucket.last = now
            bucket.bursts = bucket.credit * said.window.jiffies > ticks * said.rate.cost
            bucket.credit = 0
        return
    if m.bits & HASHLIMIT_BYTES:
        full = <uint64_t>FN_HZ << BYTE_CREDIT_BITS
        bits = BYTE_CREDIT_BITS
    bucket.last = now
    # the first: what a long time adds does not fit in 64 bits
    if ticks > full >> bits or bucket.credit + (<uint64_t>ticks << bits) > full:
        bucket.credit = full
    else:
        bucket.credit += <uint64_t>ticks << bits


cdef inline void start_bucket(hashlimit_t *bucket, const match_t *m, const target_t *said, uint32_t now) noexcept nogil:
    # start_bucket: a new one is full, and one that counts has counted nothing (rateinfo_init).
    bucket.used = 1
    bucket.last = now
    bucket.bursts = 0
    if m.bits & HASHLIMIT_RATE_MATCH:
        bucket.credit = 0
    elif m.bits & HASHLIMIT_BYTES:
        bucket.credit = <uint64_t>FN_HZ << BYTE_CREDIT_BITS
        # a burst of bytes is no larger bucket: so many times byte_cost fills it anew (credit_burst)
        bucket.bursts = <uint32_t>said.rate.full
    else:
        bucket.credit = said.rate.full


cdef inline uint64_t byte_cost(hashlimit_t *bucket, const target_t *said, uint32_t length) noexcept nogil:
    # byte_cost: of a packet, in pieces of 16 bytes; a bucket that has not so much takes one of its bursts (hashlimit_byte_cost).
    cdef uint64_t most = <uint64_t>FN_HZ << BYTE_CREDIT_BITS
    cdef uint64_t cost = ((length >> 4) + 1) * said.rate.cost
    # one that costs more than a full bucket would never get through
    if cost > most:
        cost = most
    if bucket.credit < cost and bucket.bursts:
        bucket.bursts -= 1
        bucket.credit = most
    return cost


cdef inline hashlimit_t *hashlimit_bucket(engine_t *e, const match_t *m, const pkt_t *p) noexcept nogil:
    # hashlimit_bucket: the bucket of the packet's key, renewed.
    # => NULL: no slot is free, or the packet has not the ports that the key asks for.
    cdef const target_t *said = &e.targets[m.hashlimit.at]
    cdef addr_t src = tuple_src(p.t) & said.masks.src if m.bits & HASHLIMIT_SRC else <addr_t>0
    cdef addr_t dst = tuple_dst(p.t) & said.masks.dst if m.bits & HASHLIMIT_DST else <addr_t>0
    cdef uint32_t ports = 0
    cdef uint32_t h, i
    cdef hashlimit_t *bucket
    cdef hashlimit_t *free = NULL
    # only who asks for ports needs them: a cut datagram still has addresses
    if m.bits & (HASHLIMIT_SPORT | HASHLIMIT_DPORT) and not key_ports(p, &ports):
        return NULL
    # 0 in the place of what the rule does not tell apart: all of its packets share a bucket
    if not m.bits & HASHLIMIT_SPORT:
        ports &= 0xffff
    if not m.bits & HASHLIMIT_DPORT:
        ports &= <uint32_t>0xffff0000
    h = (folded(src) * <uint32_t>0x9e3779b1) ^ (folded(dst) * <uint32_t>0x85ebca6b) ^ (ports * <uint32_t>0xc2b2ae35)
    h ^= h >> 15
    for i in range(NEAR):
        bucket = &e.hashlimits[m.hashlimit.list * FN_HASHLIMIT_SLOTS + ((h + i) & (FN_HASHLIMIT_SLOTS - 1))]
        if bucket.used and p.now - bucket.seen < m.hashlimit.expiry:
            if bucket.src == src and bucket.dst == dst and bucket.ports == ports:
                renew(bucket, m, said, p.now)
                # it lives from its last packet on, be it within the rate or not (dh->expires)
                bucket.seen = p.now
                return bucket
            continue
        # an expired one may be taken, but others of this key may stand behind it; behind one never used nobody stands
        if free == NULL:
            free = bucket
        if not bucket.used:
            break
    if free != NULL:
        free.src = src
        free.dst = dst
        free.ports = ports
        free.seen = p.now
        start_bucket(free, m, said, p.now)
    return free


cdef inline bint within_rate(hashlimit_t *bucket, const match_t *m, const pkt_t *p, const target_t *said) noexcept nogil:
    # within_rate: whether the bucket has what the packet costs, which it then pays; a rate match counts it in any case.
    cdef uint64_t cost
    if m.bits & HASHLIMIT_RATE_MATCH:
        # counted in any case: a rate is that of what comes, not of what is let through
        bucket.credit += p.length if m.bits & HASHLIMIT_BYTES else 1
        return not bucket.bursts and bucket.credit <= said.rate.full
    cost = byte_cost(bucket, said, p.length) if m.bits & HASHLIMIT_BYTES else said.rate.cost
    if bucket.credit < cost:
        return False
    bucket.credit -= cost
    return True


cdef inline bint hashlimit_holds(engine_t *e, const match_t *m, const pkt_t *p, bint *hotdrop) noexcept nogil:
    # hashlimit_holds: whether the packet of a key is within the rate, or above it where the rule asks for that (hashlimit_mt_common).
    # => hotdrop: the packet has no key, or there is no room for another bucket.
    cdef hashlimit_t *bucket = hashlimit_bucket(e, m, p)
    if bucket == NULL:
        hotdrop[0] = True
        return False
    return within_rate(bucket, m, p, &e.targets[m.hashlimit.at]) != ((m.bits & HASHLIMIT_ABOVE) != 0)
