# Packets without a connection that no rule or route can tell apart: the short way through the hooks.
#
# Source: as shortcuts/hook_memo; nf_conntrack_in for a packet that NOTRACK has marked, and a node whose rules ask for no
# connection (nf_ct_netns_get), Linux 6.18.
# Invariants: gives exactly what `walk` would give, counters included, or declines and changes nothing: shortcuts/conditions says
# when. No connection is looked for: where conntrack is at work, the memo's walk through raw has said NOTRACK, and says so of each
# packet with its key, whoever has its tuple.
# Differs from the kernel: nothing.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport *
from ..rules.walk cimport slot_of
from .conditions cimport gather_rules, may_be_repeated
from .hook_memo cimport memo_flush
from .opening cimport bounds_hold, header_key, set_bounds, within_bounds

cdef extern from *:
    """
    /* memos of packets without a connection have keys of their own: this bit of the third word is no class's */
    #define FN_KEY_UNTRACKED ((uint64_t)1 << 61)
    """
    const uint64_t KEY_UNTRACKED "FN_KEY_UNTRACKED"


cdef inline memo_t *untracked_memo(engine_t *e, const packet_t *in_, uint64_t *key) noexcept nogil:
    # untracked_memo: the place of what is known of such a packet.
    header_key(e, in_, key)
    key[2] |= KEY_UNTRACKED
    return &e.memos[slot_of(e, key)]


cdef inline memo_t *known_untracked(engine_t *e, const packet_t *in_) noexcept nogil:
    # known_untracked: what was decided for packets like this one.
    # => NULL: nothing is known.
    cdef uint64_t key[3]
    cdef memo_t *memo
    if fn_likely(bounds_hold(e, &e.untracked_bounds) and within_bounds(&e.untracked_bounds, in_)):
        return &e.memos[e.untracked_bounds.memo]
    memo = untracked_memo(e, in_, key)
    if memo.key[0] != key[0] or memo.key[1] != key[1] or memo.key[2] != key[2]:
        return NULL
    # bounds are of one class, and a source may be none
    if e.n_apart == 0:
        set_bounds(e, &e.untracked_bounds, in_, key, <uint32_t>(memo - e.memos))
    return memo


cdef inline void pass_untracked(engine_t *e, const packet_t *in_, memo_t *memo, result_t *out) noexcept nogil:
    # pass_untracked: forward a packet by its memo.
    cdef bint untracked = memo.kind == TARGET_NOTRACK
    memo.packets += 1
    memo.bytes += in_.length
    e.stats[STAT_RULES_WALKED] += memo.walked
    # what conntrack does not look at it counts (nf_conntrack_in)
    if fn_unlikely(e.profile == LINUX_5_4) and e.tracking:
        e.stats[STAT_IGNORE] += 1
    e.passed.packets += 1
    e.passed.bytes += in_.length
    if FN_V6:
        memset(out, 0, sizeof(result_t))
    out.verdict = VERDICT_FORWARD
    out.ctinfo = IP_CT_UNTRACKED if untracked else IP_CT_INVALID
    out.reason = REASON_UNTRACKED if untracked else REASON_NONE
    out.copied = 0
    out.src = in_.src
    out.dst = in_.dst
    out.sport = in_.sport
    out.dport = in_.dport
    out.out_iface = memo.out_iface
    out.probes = 0
    out.conn = FN_NONE


cdef inline void remember_untracked(engine_t *e, const packet_t *in_, const pkt_t *p) noexcept nogil:
    # remember_untracked: a packet has gone the long way: what it met, for others of its kind. p: as it left.
    cdef uint64_t key[3]
    cdef uint32_t rules[FN_MEMO_RULES]
    cdef uint32_t n, walked, i
    cdef memo_t *memo
    if not may_be_repeated(e, p):
        return
    n = gather_rules(e, p, PLACE_RAW, rules, FN_MEMO_RULES, &walked)
    # walked rules are counted in 16 bits
    if n > FN_MEMO_RULES or walked > 0xffff:
        return
    memo = untracked_memo(e, in_, key)
    # another key may have had the place: what its packets counted goes to the rules first
    memo_flush(e, memo)
    memset(memo, 0, sizeof(memo_t))
    for i in range(3):
        memo.key[i] = key[i]
    memo.kind = TARGET_NOTRACK if p.untracked else TARGET_ACCEPT
    memo.out_iface = p.out_iface
    memo.walked = <uint16_t>walked
    memo.n = <unsigned char>n
    for i in range(n):
        memo.rules[i] = rules[i]
    e.n_memos_made += 1
    memo.born = e.n_memos_made
