# The packets of a batch that belong to one engine among several, run as if they were a batch of their own.
#
# Source: ours.
# Invariants: each result goes to its packet's place; between two runs somebody may interrupt the batch.
# Differs from the kernel: it has one table for all CPUs.
from libc.stdint cimport uint32_t, uint64_t
from .types cimport engine_t, fn_cycles, FN_SLICE
from .batch cimport batch_t, run_batch, scratch_t
from .shards cimport gather, shards_t


cdef inline uint32_t run_found(engine_t *e, scratch_t *s, const batch_t *b, uint32_t found) noexcept nogil:
    # run_found: run what gather() has found.
    # => How many of them were decided.
    cdef uint32_t i, done
    if b.times != NULL:
        for i in range(found):
            s.times[i] = b.times[s.places[i]]
    done = <uint32_t>run_batch(e, s.ring, s.packets, s.results, s.times if b.times != NULL else NULL, b.last, found)
    for i in range(done):
        b.results[s.places[i]] = s.results[i]
    return done


cdef inline uint64_t run_shard(engine_t *e, const shards_t *shards, uint32_t number, scratch_t *s, const batch_t *b,
                               uint64_t at) noexcept nogil:
    # run_shard: the packets of shard `number` from place `at` of a batch on.
    # => The place up to which all packets were looked at: the end, or where it stops.
    cdef uint64_t begun = fn_cycles()
    cdef uint64_t before
    cdef uint32_t found, done
    while at < b.n and fn_cycles() - begun <= FN_SLICE:
        before = at
        found = gather(shards, number, b.packets, b.n, &at, s.packets, s.places)
        done = run_found(e, s, b, found)
        if done < found:
            return s.places[done - 1] + 1 if done else before
    return at
