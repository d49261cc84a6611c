# The owners of ports that searches will probably take over, and what their deletion touches, fetched ahead.
#
# Source: ours.
# Invariants: nothing changes but `owners_t`; who gives way is found out again when his packet is decided, as packets before it may have
# changed him.
# Differs from the kernel: nothing.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport (ahead_t, engine_t, FN_NONE, fn_prefetch_far, fn_prefetch_write, FN_STAGE, packet_t, SEARCH_FREE, SEARCH_OWNED)
from ..conntrack.insert cimport fetch_links, hash_links
from ..conntrack.lookup cimport candidate, name_record, RECORD_LINES
from ..tuples.table cimport bucket_home
from .known_ports cimport pass_by_owner
from .used_tuple cimport is_newer, may_give_way

cdef enum:
    # owners of one search that are looked at ahead behind the first: half of those in TIME_WAIT are newer than the SYN
    FURTHER = 2
    # packets of one call
    AT_ONCE = FN_STAGE // 2


cdef struct owners_t:
    # searches of a part of a group that have passed by an owner: the port where each is now, who has it, and what follows the SYN's
    # own number
    ahead_t ahead[AT_ONCE]
    uint32_t end[AT_ONCE]
    uint32_t owner[AT_ONCE]
    uint32_t n


cdef inline uint32_t owner_of(const engine_t *e, const ahead_t *ahead) noexcept nogil:
    # owner_of: the table id of who probably has the port with which a search ends, FN_NONE: nobody.
    return candidate(e, bucket_home(&e.tuples, ahead.reply_hash[2]), ahead.reply_hash[2], &ahead.reply[2])


cdef inline void fetch_owner(const engine_t *e, const ahead_t *ahead, uint32_t owner) noexcept nogil:
    # fetch_owner: his record.
    cdef const void *lines[RECORD_LINES + 1]
    cdef const void **end
    cdef uint32_t k
    if owner != FN_NONE:
        end = name_record(e, owner >> 1, ahead.proto, lines)
        for k in range(<uint32_t>(end - <const void **>lines)):
            fn_prefetch_far(lines[k])


cdef inline void fetch_owners(const engine_t *e, const uint32_t *found, const ahead_t *ahead, uint32_t n) noexcept nogil:
    # fetch_owners: the records of those who have the ports with which searches of a group will probably end. found: as of group_t.
    cdef uint32_t i
    for i in range(n):
        # who finds a free port needs nobody's
        if found[i] == FN_NONE and ahead[i].searches and ahead[i].search.end != SEARCH_FREE:
            fetch_owner(e, &ahead[i], owner_of(e, &ahead[i]))


cdef inline void fetch_deletion(const engine_t *e, uint32_t ct) noexcept nogil:
    # fetch_deletion: what the deletion of a connection will touch.
    cdef uint64_t hashes[3]
    hash_links(e, &e.conns[ct], hashes)
    fetch_links(e, &e.conns[ct], hashes)


cdef inline void look_at_owner(const engine_t *e, const ahead_t *ahead, uint32_t owner, uint32_t isn_end, owners_t *o) noexcept nogil:
    # look_at_owner: if he will give way, what his deletion will touch; else the bucket of the port at which the search ends next, which
    # becomes one of o.
    cdef ahead_t *next_ = &o.ahead[o.n]
    if owner == FN_NONE:
        return
    if may_give_way(e, owner) and is_newer(e, owner, isn_end):
        fetch_deletion(e, owner >> 1)
        return
    next_[0] = ahead[0]
    o.end[o.n] = isn_end
    if pass_by_owner(e, next_) == SEARCH_OWNED:
        fn_prefetch_write(bucket_home(&e.tuples, next_.reply_hash[2]))
        o.n += 1


cdef inline void go_to_owners(const engine_t *e, owners_t *o) noexcept nogil:
    # go_to_owners: who has the ports at which the searches end now.
    cdef uint32_t k
    for k in range(o.n):
        o.owner[k] = owner_of(e, &o.ahead[k])
        fetch_owner(e, &o.ahead[k], o.owner[k])


cdef inline void fetch_victims(const engine_t *e, const packet_t *in_, const uint32_t *found, const ahead_t *ahead, uint32_t begin,
                               uint32_t end) noexcept nogil:
    # fetch_victims: what searches of packets begin..end - 1 of a group, at most AT_ONCE, will touch where they may take ports over:
    # owners, and what goes with them.
    cdef owners_t o
    cdef uint32_t i, k, n, _round
    o.n = 0
    for i in range(begin, end):
        if found[i] == FN_NONE and ahead[i].searches and ahead[i].search.end == SEARCH_OWNED:
            look_at_owner(e, &ahead[i], owner_of(e, &ahead[i]), <uint32_t>in_[i].isn << 16, &o)
    go_to_owners(e, &o)
    for _round in range(FURTHER):
        n = o.n
        o.n = 0
        for k in range(n):
            look_at_owner(e, &o.ahead[k], o.owner[k], o.end[k], &o)
        go_to_owners(e, &o)
