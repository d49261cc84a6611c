# The datagrams of a buffer that belong to one engine among several: which they are, and their run.
#
# Source: ours.
# Invariants: whose a datagram is, is known before any of them is rewritten; no byte behind the datagram is read. Who cannot be
# tracked is the first engine's.
# Differs from the kernel: it has one table for all CPUs.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from .types cimport *
from .batch cimport scratch_t
from .conntrack.icmp_error cimport ICMP_HEADER, is_error, read_tuple
from .frames cimport frame_at, frames_t, peek, run_frames
from .shards cimport SHARD_ROOM, shard_between, shard_of, shards_t
from .tuples.tuple cimport tuple_dport, tuple_dst, tuple_proto, tuple_sport, tuple_src


cdef inline uint32_t shard_of_bytes(const shards_t *s, const uint8_t *data, uint32_t have, uint32_t iface) noexcept nogil:
    # shard_of_bytes: the shard of any datagram. An error belongs to the connection of the packet that it quotes, which went the
    # other way.
    cdef tuple_t t
    cdef tuple_t quoted
    cdef uint32_t at = 0
    cdef uint32_t sport
    if not read_tuple(data, have, &t, &at):
        return 0
    if tuple_proto(t) == PROTO_ICMP and is_error(tuple_dport(t) >> 8):
        # read_tuple has seen that all of this header is there
        at += ICMP_HEADER
        if not read_tuple(data + at, have - at, &quoted, &at):
            return 0
        # an identifier stands in the place of the source port, whichever way
        sport = tuple_sport(quoted) if tuple_proto(quoted) == PROTO_ICMP else tuple_dport(quoted)
        return shard_between(s, iface, tuple_dst(quoted), tuple_src(quoted), tuple_proto(quoted), sport, tuple_sport(quoted))
    return shard_between(s, iface, tuple_src(t), tuple_dst(t), tuple_proto(t), tuple_sport(t), tuple_dport(t))


cdef inline void shards_of_frames(const shards_t *s, const frames_t *f, uint64_t first, uint64_t end, uint16_t *to) noexcept nogil:
    # shards_of_frames: the shard of each of some frames.
    cdef packet_t header
    cdef uint64_t i, size
    cdef const uint8_t *data
    for i in range(first, end):
        data = f.data + frame_at(f, i, &size)
        peek(data, size, f.ifaces[i], &header)
        # peek knows UDP and TCP without anything in front of them, and calls all else ICMP
        if header.proto != PROTO_ICMP:
            to[i] = <uint16_t>shard_of(s, &header)
        else:
            to[i] = <uint16_t>shard_of_bytes(s, data, <uint32_t>size, f.ifaces[i])


cdef inline uint64_t run_shard_frames(engine_t *e, const frames_t *f, const uint16_t *numbers, uint32_t shard, scratch_t *s,
                                      uint64_t at) noexcept nogil:
    # run_shard_frames: the frames of a shard from frame `at` on. numbers: the shard of each frame.
    # => The frame up to which all were looked at: the end, or where it stops.
    cdef uint64_t begun = fn_cycles()
    cdef uint64_t before, done
    cdef frames_t found = f[0]
    found.places = s.places
    while at < f.n and fn_cycles() - begun <= FN_SLICE:
        before = at
        found.n = 0
        while at < f.n and found.n < SHARD_ROOM:
            s.places[found.n] = at
            found.n += numbers[at] == shard
            at += 1
        done = run_frames(e, &found, 0, s.ring, s.packets, s.room)
        if done < found.n:
            return s.places[done - 1] + 1 if done else before
    return at
