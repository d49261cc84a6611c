# The timing wheel: which connections fall due, without looking at the others.
#
# Source: ours; it stands for gc_worker of nf_conntrack_core.c.
# Invariants: every confirmed connection has exactly one place in the wheel, at or before its timeout; a packet
# writes only the timeout, and the wheel looks again when the place comes up. One slot a jiffy, FN_WHEEL_SLOTS
# jiffies ahead; later ones wait in the far slot of their turn, and find a place of their own a jiffy before it begins. All
# chunks of a slot but its head are full.
# Differs from the kernel: a due entry is collected at its very jiffy, not at the next scan.
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from ..types cimport chunk_t, engine_t, fn_ctz64, FN_CHUNK_IDS, FN_FAR_SLOTS, FN_NONE, fn_unlikely, FN_WHEEL_SHIFT, FN_WHEEL_SLOTS

cdef enum:
    WHEEL_MASK = FN_WHEEL_SLOTS - 1
    FAR_MASK = FN_FAR_SLOTS - 1

cdef extern from *:
    """
    #define FN_NEVER ((uint64_t)-1)
    """
    const uint64_t NEVER "FN_NEVER"


cdef inline uint32_t chunk_new(engine_t *e) noexcept nogil:
    # chunk_new: a chunk for a slot: a released one, else the next of the array.
    cdef uint32_t c = e.free_chunk
    if c != FN_NONE:
        e.free_chunk = e.chunks[c].next
        return c
    e.n_chunks += 1
    return e.n_chunks - 1


cdef inline void chunk_release(engine_t *e, uint32_t c) noexcept nogil:
    # chunk_release: a chunk may be used again.
    e.chunks[c].next = e.free_chunk
    e.free_chunk = c


cdef inline uint32_t slot_chunk(engine_t *e, uint32_t slot) noexcept nogil:
    # slot_chunk: a new head chunk for a slot.
    cdef uint32_t c = chunk_new(e)
    cdef chunk_t *chunk = &e.chunks[c]
    chunk.next = e.wheel[slot]
    chunk.count = 0
    chunk.slot = <uint16_t>slot
    e.wheel[slot] = c
    e.wheel_busy[slot >> 6] |= <uint64_t>1 << (slot & 63)
    return c


cdef inline uint64_t dealt_at(uint64_t turn) noexcept nogil:
    # dealt_at: one jiffy before the turn begins, so that a timeout at its first jiffy is met.
    return (turn << FN_WHEEL_SHIFT) - 1


cdef inline uint32_t far_slot(engine_t *e, uint32_t ahead) noexcept nogil:
    # far_slot: for a timeout at least a turn ahead.
    # a turn is one round of the near slots: FN_WHEEL_SLOTS jiffies, and a far slot holds all that is due in one
    cdef uint64_t here = e.now >> FN_WHEEL_SHIFT
    cdef uint64_t turn = (e.now + ahead) >> FN_WHEEL_SHIFT
    # further than the ring of far slots: looked at in its last one, and put off again
    if turn - here > FAR_MASK:
        turn = here + FAR_MASK
    if dealt_at(turn) <= e.now:
        # now is the last jiffy of a turn: the next one has been dealt out
        return (<uint32_t>e.now + FN_WHEEL_SLOTS - 1) & WHEEL_MASK
    if dealt_at(turn) < e.next_far:
        e.next_far = dealt_at(turn)
    return FN_WHEEL_SLOTS + (<uint32_t>turn & FAR_MASK)


cdef inline void wheel_add(engine_t *e, uint32_t ct, uint32_t timeout) noexcept nogil:
    # wheel_add: look at the connection again at its timeout, or FN_FAR_SLOTS - 1 turns of the wheel ahead.
    # => The pool holds a chunk for every slot and every FN_CHUNK_IDS connections, so it cannot run out.
    cdef int32_t ahead = <int32_t>(timeout - <uint32_t>e.now)
    cdef uint32_t slot, c, count
    cdef chunk_t *chunk
    # its slot of this jiffy has been looked at already: the next one is the earliest
    if ahead < 1:
        ahead = 1
    if fn_unlikely(ahead > FN_WHEEL_SLOTS - 1):
        slot = far_slot(e, <uint32_t>ahead)
    else:
        slot = (<uint32_t>e.now + <uint32_t>ahead) & WHEEL_MASK
    c = e.wheel[slot]
    # only the head of a slot has room, so that none of the others needs to be looked at
    if fn_unlikely(c == FN_NONE or e.chunks[c].count == FN_CHUNK_IDS):
        c = slot_chunk(e, slot)
    chunk = &e.chunks[c]
    count = chunk.count
    chunk.ids[count] = ct
    chunk.count = <uint16_t>(count + 1)
    e.conns[ct].wheel_pos = c * 16 + count


cdef inline void wheel_remove(engine_t *e, uint32_t ct) noexcept nogil:
    # wheel_remove: give up the connection's place; the last id of the slot's head chunk moves into it.
    cdef uint32_t pos = e.conns[ct].wheel_pos
    cdef uint32_t slot, head, last
    cdef chunk_t *chunk
    if pos == FN_NONE:
        return
    slot = e.chunks[pos >> 4].slot
    head = e.wheel[slot]
    chunk = &e.chunks[head]
    # the slot has no gaps: whoever walks it need not ask whether a place is in use
    chunk.count -= 1
    last = chunk.ids[chunk.count]
    e.chunks[pos >> 4].ids[pos & 15] = last
    e.conns[last].wheel_pos = pos
    # behind the line above: where the connection is the last one itself, that has just given it its place back
    e.conns[ct].wheel_pos = FN_NONE
    if chunk.count == 0:
        e.wheel[slot] = chunk.next
        if chunk.next == FN_NONE:
            e.wheel_busy[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
        chunk_release(e, head)


cdef inline uint32_t slot_ahead(const engine_t *e, uint32_t slot) noexcept nogil:
    # slot_ahead: jiffies until it comes up.
    cdef uint64_t here = e.now >> FN_WHEEL_SHIFT
    if slot < FN_WHEEL_SLOTS:
        return (slot - <uint32_t>e.now) & WHEEL_MASK
    return <uint32_t>(dealt_at(here + ((slot - FN_WHEEL_SLOTS - <uint32_t>here) & FAR_MASK)) - e.now)


cdef inline void wheel_bring_forward(engine_t *e, uint32_t ct) noexcept nogil:
    # wheel_bring_forward: the timeout became earlier; move the place if it now lies behind it.
    cdef uint32_t slot = e.chunks[e.conns[ct].wheel_pos >> 4].slot
    # what a far slot deals out finds its place in a later jiffy
    cdef uint32_t ahead = slot_ahead(e, slot) + (slot >= FN_WHEEL_SLOTS)
    # a later timeout leaves the place: it is looked at then, and put off; that spares each packet a move
    if <int32_t>(e.conns[ct].timeout - <uint32_t>e.now) < <int32_t>ahead:
        wheel_remove(e, ct)
        wheel_add(e, ct, e.conns[ct].timeout)


cdef inline int32_t wheel_next(const engine_t *e) noexcept nogil:
    # wheel_next: jiffies from e.now to the next slot in use, this one excluded.
    # => -1 when the wheel is empty.
    cdef uint32_t slot = (<uint32_t>e.now + 1) & WHEEL_MASK
    cdef uint32_t word = slot >> 6
    # a bit a slot: an idle hour costs a look at the words, not at the slots
    cdef uint64_t bits = e.wheel_busy[word] & (~<uint64_t>0 << (slot & 63))
    cdef uint32_t n = 0
    while bits == 0:
        n += 1
        if n > FN_WHEEL_SLOTS // 64:
            return -1
        word = (word + 1) & (FN_WHEEL_SLOTS // 64 - 1)
        bits = e.wheel_busy[word]
    return <int32_t>(((word * 64 + <uint32_t>fn_ctz64(bits)) - <uint32_t>e.now) & WHEEL_MASK)


cdef inline uint64_t far_next(const engine_t *e, uint64_t turn) noexcept nogil:
    # far_next: when the next far slot in use behind that of `turn` is dealt out.
    cdef uint32_t i = 1
    cdef uint32_t slot
    cdef uint64_t bits
    while i < FN_FAR_SLOTS:
        slot = FN_WHEEL_SLOTS + ((<uint32_t>turn + i) & FAR_MASK)
        bits = e.wheel_busy[slot >> 6] >> (slot & 63)
        if bits:
            return dealt_at(turn + i + <uint32_t>fn_ctz64(bits))
        # the rest of this word is empty: on to the first slot of the next
        i += 64 - (slot & 63)
    return NEVER


cdef inline void deal_far(engine_t *e) noexcept nogil:
    # deal_far: the turn that begins with the next jiffy: its connections find places in it, or far ones anew.
    cdef uint64_t turn = (e.now + 1) >> FN_WHEEL_SHIFT
    cdef uint32_t slot = FN_WHEEL_SLOTS + (<uint32_t>turn & FAR_MASK)
    cdef uint32_t c = e.wheel[slot]
    cdef uint32_t i, ct, next_
    # emptied first: wheel_add gives out places anew below
    e.wheel[slot] = FN_NONE
    e.wheel_busy[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
    e.next_far = far_next(e, turn)
    while c != FN_NONE:
        next_ = e.chunks[c].next
        for i in range(e.chunks[c].count):
            ct = e.chunks[c].ids[i]
            wheel_add(e, ct, e.conns[ct].timeout)
        chunk_release(e, c)
        c = next_
