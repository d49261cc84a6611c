# What helpers know about connections as another engine held it, and what those expected.
#
# Source: ours; what it leaves is what helpers/expect and the helpers leave.
# Invariants: the records may be from anywhere: what does not fit gets a code. The list and the serial of a help_t are this
# engine's own.
# Differs from the kernel: it has no such thing.
from libc.stdint cimport uint32_t
from ..types cimport (engine_t, EXPECT_FREE, EXPECT_GRE_KEY, expect_t, FN_NONE, help_t, HELPER_NONE, HELPER_PPTP,
                      HELPER_TFTP, PROTO_TCP, PROTO_UDP)
from ..conntrack.lookup cimport is_live
from ..tuples.tuple cimport tuple_proto
from .expect cimport give_help, help_of, link_expect

cdef enum:
    HELP_ADOPTED = 0
    HELP_NUMBERS = 1
    HELP_PROTOCOL = 2
    HELP_MASTER = 3
    HELP_NO_ROOM = 4


cdef inline bint has_conn(const engine_t *e, uint32_t ct) noexcept nogil:
    # has_conn: => Whether a number from outside is a connection's.
    return ct < e.high_water and is_live(&e.conns[ct])


cdef inline uint32_t why_no_help(const engine_t *e, uint32_t ct, const help_t *from_, uint32_t master) noexcept nogil:
    # why_no_help: what of a record cannot be, for a connection that there is.
    cdef uint32_t proto = tuple_proto(e.conns[ct].tuples[0])
    if from_.kind > HELPER_PPTP or from_.master_kind > HELPER_PPTP or from_.n_ends[0] > 2 or from_.n_ends[1] > 2:
        return HELP_NUMBERS
    if from_.kind and proto != (PROTO_UDP if from_.kind == HELPER_TFTP else PROTO_TCP):
        return HELP_PROTOCOL
    if from_.master_kind and master != FN_NONE and not has_conn(e, master):
        return HELP_MASTER
    return HELP_ADOPTED


cdef inline uint32_t adopt_help(engine_t *e, uint32_t ct, const help_t *from_, uint32_t master) noexcept nogil:
    # adopt_help: give a connection what a helper knows about it. master: who announced it, FN_NONE: nobody, or it is over.
    # => HELP_ADOPTED, or the code of why not. The master's serial follows by find_master.
    cdef help_t *help
    cdef help_t given
    cdef uint32_t why = why_no_help(e, ct, from_, master)
    if why:
        return why
    help = give_help(e, ct)
    if help == NULL:
        return HELP_NO_ROOM
    given = help[0]
    # all that the helper has learnt; lists and serials of the other engine name nobody here
    help[0] = from_[0]
    help.first = given.first
    help.serial = given.serial
    help.master = master
    help.master_serial = 0
    return HELP_ADOPTED


cdef inline void find_master(engine_t *e, uint32_t ct, uint32_t master) noexcept nogil:
    # find_master: once all have been adopted, as a master may stand behind those that it has announced.
    cdef help_t *help = help_of(e, ct)
    if help.master_kind != HELPER_NONE and master != FN_NONE and help_of(e, master) != NULL:
        help.master_serial = help_of(e, master).serial


cdef inline bint adopt_expect(engine_t *e, const expect_t *x) noexcept nogil:
    # adopt_expect: expect a connection of a master that there is.
    # => False: it cannot be, or there is no room.
    if help_of(e, x.master) == NULL or not EXPECT_FREE < x.kind <= EXPECT_GRE_KEY or x.dir > 1 or x.any_sport > 1:
        return False
    return e.n_expects < e.max_expects and link_expect(e, x) != FN_NONE
