# Declarations of types.h and the constants of the field. Layouts, offsets and who writes what: types.h.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "types.h" nogil:
    enum:
        FN_HZ
        FN_ID_BITS
        FN_BUCKET_SLOTS
        FN_GROUP_BUCKETS
        FN_STAGE
        FN_CPUS
        FN_WHEEL_SLOTS
        FN_CHUNK_IDS
        FN_WALK_RULES
        FN_PATH_RULES
        FN_RECENT_ENTRIES
        FN_HASHLIMIT_SLOTS
        FN_PERSIST_SLOTS
        FN_EXPECT_HEADS
        FN_TOWARDS
        FN_TCP_STATE
        FN_STATS
        FN_RECENT_STAMPS
        FN_MEMO_RULES
        FN_ROUND_KEYS
        FN_PAGE_PORTS
        FN_PAGES
        FN_PAGE_WORDS
    const uint32_t FN_NONE
    const uint16_t FN_ANY_IFACE

    # 128 bits wide in the build for IPv6: an address is only ever kept in an addr_t
    ctypedef uint32_t addr_t
    enum:
        FN_V6
        FN_ADDR_BITS
        FN_ADDR_BYTES
        PROTO_ICMP
        ICMP_ECHO
        ICMP_ECHO_REPLY
        ADDRESS_SECONDARY
        ADDRESS_DEPRECATED
        ADDRESS_TENTATIVE
        ADDRESS_TEMPORARY

    ctypedef struct tuple_t:
        addr_t src
        addr_t dst
        uint64_t rest

    ctypedef struct conn_t:
        tuple_t tuples[2]
        uint32_t timeout
        uint32_t wheel_pos
        uint32_t bysource_next
        uint32_t bysource_prev
        uint32_t stream_ts
        uint16_t routes[2]
        uint16_t masq_iface
        uint16_t zone
        uint16_t status
        uint8_t state
        uint8_t flags

    ctypedef struct tcp_t:
        uint32_t td_end[2]
        uint32_t td_maxend[2]
        uint32_t td_maxwin[2]
        uint32_t td_maxack[2]
        uint8_t scale[2]
        uint8_t flags[2]
        uint8_t last_dir
        uint8_t last_index
        uint8_t retrans
        uint8_t last_wscale
        uint32_t last_seq
        uint32_t last_ack
        uint32_t last_end
        uint16_t last_win
        uint8_t last_flags
        uint32_t server
        uint32_t help
        uint32_t mark

    ctypedef struct sctp_t:
        uint32_t vtag[2]
        uint8_t init[2]
        uint8_t last_dir
        uint8_t flags
        uint32_t server
        uint32_t mark

    ctypedef struct bucket_t:
        uint8_t tags[12]
        uint32_t overflow
        uint32_t items[12]

    ctypedef struct table_t:
        bucket_t *buckets
        uint64_t used
        uint32_t bucket_mask
        uint32_t n_buckets
        uint32_t level_mask
        uint32_t half
        uint32_t split
        uint32_t groups
        uint32_t max_groups
        uint32_t level
        uint32_t window
        uint32_t kind
        uint32_t crowded
        uint64_t overflows

    ctypedef struct chunk_t:
        uint32_t next
        uint16_t count
        uint16_t slot
        uint32_t ids[14]

    ctypedef struct bitmap_key_t:
        tuple_t t
        uint32_t newer
        uint32_t older
        uint32_t last_search
        uint32_t live
        uint32_t pages[32]

    ctypedef struct match_t:
        uint8_t kind
        uint8_t invert
        uint16_t n
        uint32_t a
        uint32_t b
        uint32_t c

    ctypedef struct rule_t:
        addr_t src
        addr_t smask
        addr_t dst
        addr_t dmask
        uint16_t in_set
        uint16_t out_set
        uint8_t proto
        uint8_t invert
        uint8_t target
        uint8_t tests
        uint32_t target_arg
        uint32_t next
        match_t match
        uint64_t packets
        uint64_t bytes

    ctypedef struct dispatch_t:
        uint32_t kind
        uint32_t mask
        uint32_t first_slot

    ctypedef struct dispatch_slot_t:
        uint32_t key
        uint32_t rule

    ctypedef struct path_t:
        uint64_t key[3]
        uint64_t packets
        uint64_t bytes
        uint32_t mark
        uint32_t target_arg
        uint16_t walked
        uint8_t kind
        uint8_t n
        uint32_t rules[18]

    ctypedef struct memo_t:
        uint64_t key[3]
        uint64_t packets
        uint64_t bytes
        addr_t addr
        uint32_t born
        uint16_t route
        uint16_t walked
        uint16_t out_iface
        uint16_t masq_iface
        uint8_t kind
        uint8_t n
        uint8_t quick
        uint32_t target_arg
        uint32_t mark
        uint32_t rules[30]

    ctypedef struct memo_reach_t:
        uint32_t memo
        uint32_t born
        addr_t src
        addr_t src_width
        addr_t dst
        addr_t dst_width
        uint16_t sport
        uint16_t sport_width
        uint16_t dport
        uint16_t dport_width
        uint32_t mark
        uint16_t iface
        uint8_t tcp_flags

    ctypedef struct set_t:
        uint64_t prefixes[3]
        uint32_t mask
        uint32_t first_slot
        uint32_t first_member
        uint32_t n_members
        uint8_t dims[3]
        uint8_t n_dims

    ctypedef struct element_t:
        addr_t addrs[2]
        uint32_t port
        uint8_t prefix
        uint8_t used
        uint8_t nomatch

    ctypedef struct hashlimit_t:
        addr_t src
        addr_t dst
        uint32_t ports
        uint32_t used
        uint64_t credit
        uint32_t last

    ctypedef struct recent_t:
        addr_t addr
        uint32_t used
        uint8_t ttl
        uint16_t next
        uint16_t n_stamps
        uint32_t stamps[256]

    ctypedef struct help_t:
        uint32_t first
        uint8_t kind
        uint8_t master_kind
        uint8_t n_ends[2]
        uint32_t line_ends[2][2]
        uint32_t pos[2]
        uint32_t before[2]
        uint32_t after[2]
        uint16_t pns_call
        uint16_t pac_call
        uint16_t own_call
        uint16_t far_call
        uint8_t session
        uint8_t call
        uint32_t master
        uint32_t serial
        uint32_t master_serial
        uint32_t server

    ctypedef struct expect_t:
        tuple_t t
        uint32_t master
        uint32_t next
        uint32_t sibling
        uint32_t expires
        uint16_t saved_port
        uint8_t kind
        uint8_t dir
        uint8_t any_sport

    ctypedef struct event_t:
        tuple_t tuples[2]
        uint64_t tick
        uint32_t timeout
        uint32_t mark
        uint32_t conn
        uint16_t zone
        uint16_t status
        uint8_t kind
        uint8_t what
        uint8_t state
        uint8_t pad

    ctypedef struct target_t:
        addr_t min_addr
        addr_t max_addr
        uint16_t min_proto
        uint16_t max_proto
        uint16_t base_proto
        uint16_t flags
        uint32_t value
        uint32_t mask
        uint32_t mask2
        uint32_t op

    ctypedef struct route_t:
        addr_t dst
        addr_t mask
        addr_t gateway
        uint16_t iface
        uint8_t kind
        uint8_t scope

    ctypedef struct address_t:
        addr_t local
        addr_t mask
        addr_t peer
        uint16_t iface
        uint8_t scope
        uint8_t flags

    ctypedef struct packet_t:
        addr_t src
        addr_t dst
        uint16_t sport
        uint16_t dport
        uint16_t iface
        uint16_t length
        uint8_t proto
        uint8_t tcp_flags
        uint16_t isn
        uint32_t mark

    ctypedef struct result_t:
        uint8_t verdict
        uint8_t ctinfo
        uint8_t reason
        uint8_t pad
        addr_t src
        addr_t dst
        uint16_t sport
        uint16_t dport
        uint16_t out_iface
        uint16_t probes
        uint32_t conn

    ctypedef struct service_t:
        addr_t addr
        addr_t client_mask
        uint32_t fwmark
        uint16_t port
        uint8_t proto
        uint8_t scheduler
        uint32_t first
        uint32_t n
        uint32_t at
        int32_t weight
        int32_t max_weight
        int32_t step
        uint32_t persist
        uint32_t hash_ports

    ctypedef struct server_t:
        addr_t addr
        uint32_t weight
        uint32_t active
        uint32_t inactive
        uint16_t port

    ctypedef struct persist_t:
        addr_t client
        uint32_t service
        uint32_t server
        uint32_t expires
        uint32_t used

    ctypedef struct ahead_t:
        tuple_t reply[2]
        tuple_t source
        uint64_t reply_hash[2]
        uint64_t source_hash
        uint64_t key[3]
        memo_t *memo
        uint32_t born
        uint32_t drawn
        uint8_t checks

    ctypedef struct pkt_t:
        tuple_t t
        uint64_t hash
        uint64_t reply_hash
        const ahead_t *ahead
        tuple_t reply_checked
        uint8_t *data
        uint32_t len
        uint32_t l4off
        uint32_t now
        uint32_t mark
        uint32_t ct
        uint32_t seq
        uint32_t ack
        uint32_t window
        uint32_t end
        uint32_t probes
        uint16_t in_iface
        uint16_t out_iface
        uint16_t route
        uint16_t length
        tuple_t classified
        uint32_t src_class
        uint32_t dst_class
        uint64_t port_classes
        const target_t *target
        const path_t *path[2]
        uint16_t tcp_flags
        uint8_t unrepeatable
        uint8_t ctinfo
        uint8_t dir
        uint8_t verdict
        uint8_t reason
        uint8_t hook
        uint8_t has_seq
        uint8_t local
        uint8_t untracked
        uint8_t is_new
        uint8_t verified
        uint8_t icmp_error
        uint8_t held
        uint8_t template_helper
        uint8_t expected
        uint8_t evicted
        uint8_t pause
        uint8_t dying
        uint8_t ttl
        uint16_t template_zone
        uint8_t template_dir
        uint8_t tcp_class
        uint8_t tracked
        uint32_t payload
        uint32_t mark_before
        uint16_t status_before
        uint8_t state_before
        uint32_t largest
        uint32_t room

    ctypedef struct engine_t:
        conn_t *conns
        tcp_t *tcp
        uint32_t *free_ids
        uint32_t n_free
        uint32_t high_water
        uint32_t capacity
        uint32_t max_conns
        uint32_t count
        uint32_t confirmed
        table_t tuples
        table_t sources
        uint16_t *chains
        uint32_t n_chains
        chunk_t *chunks
        uint32_t *wheel
        uint64_t *wheel_busy
        uint32_t n_chunks
        uint32_t max_chunks
        uint32_t free_chunk
        uint64_t *bitmap_pages
        bitmap_key_t *bitmap_keys
        uint32_t *bitmap_index
        uint32_t n_bitmaps
        uint32_t max_bitmaps
        uint32_t free_bitmap
        uint32_t n_pages
        uint32_t max_pages
        uint32_t free_page
        uint32_t newest_bitmap
        uint32_t oldest_bitmap
        uint32_t bitmap_clock
        uint64_t bitmap_filter
        uint32_t bitmap_index_mask
        uint32_t bitmap_probes
        rule_t *rules
        match_t *matches
        target_t *targets
        uint16_t *port_slots
        uint8_t *iface_match
        uint32_t n_ifaces
        uint32_t hook_entry[5][5]
        uint32_t hook_policy[5][5]
        uint32_t widest_run
        uint32_t *jump_stack
        uint32_t max_jumps
        dispatch_t *dispatches
        dispatch_slot_t *dispatch_slots
        set_t *sets
        element_t *elements
        uint32_t *set_members
        recent_t *recent
        hashlimit_t *hashlimits
        uint32_t recent_clock
        service_t *services
        server_t *servers
        persist_t *persists
        uint32_t *service_slots
        uint32_t n_services
        uint32_t service_mask
        uint32_t n_persists
        help_t *helps
        expect_t *expects
        uint32_t *expect_heads
        uint32_t n_helps
        uint32_t free_help
        uint32_t help_capacity
        uint32_t help_serial
        uint32_t expect_high
        uint32_t free_expect
        uint32_t expect_capacity
        uint32_t n_expects
        uint32_t n_gre_keys
        uint32_t max_expects
        uint32_t next_expect
        uint32_t auto_helpers
        expect_t expected
        path_t *paths
        uint32_t n_paths
        memo_t *memos
        memo_reach_t reach
        uint32_t n_memos_made
        uint32_t *towards
        event_t *events
        uint32_t max_events
        uint32_t n_events
        uint64_t lost_events
        route_t *routes
        addr_t *class_start
        uint16_t *class_route
        uint32_t *class_of_octet
        uint32_t *port_start[2]
        address_t *addresses
        uint32_t n_routes
        uint32_t n_classes
        uint32_t n_addresses
        uint32_t n_port_classes[2]
        uint32_t *lo_flags
        uint64_t key[10]
        uint64_t secret[10]
        uint64_t rehashes
        uint32_t zoned
        uint64_t rng[2]
        uint64_t now
        uint32_t profile
        uint32_t tracking
        uint32_t nat_hooks
        uint32_t only_nat_rules
        uint32_t checksum
        uint32_t forward
        uint32_t loose
        uint32_t be_liberal
        uint32_t max_retrans
        uint32_t ignore_invalid_rst
        uint32_t timeouts[40]
        addr_t guess_addr
        uint64_t stats[28]

cdef extern from "platform.h" nogil:
    void fn_prefetch(const void *p)
    void fn_prefetch_write(const void *p)
    int fn_ctz(uint32_t x)
    int fn_ctz64(uint64_t x)
    int fn_popcount64(uint64_t x)
    uint32_t fn_bswap32(uint32_t x)
    uint16_t fn_bswap16(uint16_t x)
    uint32_t fn_bucket_split(bucket_t *from_, bucket_t *to, uint32_t bit, uint32_t *displaced)
    bint fn_likely(bint x)
    bint fn_unlikely(bint x)
    uint32_t fn_tags_equal(const bucket_t *b, uint8_t tag)
    void fn_clear_packet(pkt_t *p)
    uint32_t fn_bucket_look(const bucket_t *b, uint8_t tag)
    uint64_t fn_cycles()
    const uint64_t FN_SLICE
    int fn_claim(unsigned long *owner, unsigned long me)
    void fn_release(unsigned long *owner)

cdef extern from "crc32c.h" nogil:
    void fn_crc32c_init()
    uint32_t fn_sctp_crc(const uint8_t *data, uint32_t n)

cdef extern from "keyed_hash.h" nogil:
    void fn_hash_init()
    uint64_t fn_hash(const uint64_t *key, const tuple_t *t)
    uint64_t fn_hash_plain(const uint64_t *key, const tuple_t *t)
    void fn_hash_stage(const uint64_t *key, const tuple_t *m, uint64_t *out, uint32_t n)
    void fn_hash_ahead(const uint64_t *key, ahead_t *ahead, const uint32_t *which, uint32_t n)
    void fn_aes_round(uint8_t *state, const uint8_t *key)

cdef enum:
    PROTO_TCP = 6
    PROTO_UDP = 17
    PROTO_GRE = 47
    PROTO_SCTP = 132
    PROTO_UDPLITE = 136

# enum ip_conntrack_status
cdef enum:
    IPS_EXPECTED = 0x1
    IPS_SEEN_REPLY = 0x2
    IPS_ASSURED = 0x4
    IPS_CONFIRMED = 0x8
    IPS_SRC_NAT = 0x10
    IPS_DST_NAT = 0x20
    IPS_SEQ_ADJUST = 0x40
    IPS_SRC_NAT_DONE = 0x80
    IPS_DST_NAT_DONE = 0x100
    IPS_DYING = 0x200
    IPS_FIXED_TIMEOUT = 0x400
    IPS_NAT_CLASH = 0x1000
    IPS_HELPER = 0x2000

# conn_t.flags
cdef enum:
    CONN_LIVE = 1
    CONN_MARKED = 2
    # IPVS chose its real server; that server counts it as active
    CONN_SERVICE = 4
    CONN_ACTIVE = 8
    # it has a help_t: a helper watches it, or one announced it
    CONN_HELPED = 16
    # while the node is reloaded: its real server is to be found again
    CONN_ADRIFT = 32

# help_t.kind
cdef enum:
    HELPER_NONE = 0
    HELPER_FTP = 1
    HELPER_TFTP = 2
    HELPER_PPTP = 3

# expect_t.kind: what happens when it comes true
cdef enum:
    EXPECT_FREE = 0
    # nothing; nf_nat_follow_master; pptp_nat_expected; not a connection but a GRE key
    EXPECT_PLAIN = 1
    EXPECT_FOLLOW = 2
    EXPECT_PPTP = 3
    EXPECT_GRE_KEY = 4

# enum ip_conntrack_info; INVALID stands for "no entry"
cdef enum:
    IP_CT_ESTABLISHED = 0
    IP_CT_RELATED = 1
    IP_CT_NEW = 2
    IP_CT_ESTABLISHED_REPLY = 3
    IP_CT_RELATED_REPLY = 4
    IP_CT_UNTRACKED = 7
    IP_CT_INVALID = 8

cdef enum:
    DIR_ORIGINAL = 0
    DIR_REPLY = 1

# enum nf_inet_hooks
cdef enum:
    HOOK_PREROUTING = 0
    HOOK_INPUT = 1
    HOOK_FORWARD = 2
    HOOK_OUTPUT = 3
    HOOK_POSTROUTING = 4

cdef enum:
    TABLE_RAW = 0
    TABLE_MANGLE = 1
    TABLE_NAT = 2
    TABLE_FILTER = 3

cdef enum:
    MANIP_SRC = 0
    MANIP_DST = 1

# NF_NAT_RANGE_*
cdef enum:
    RANGE_MAP_IPS = 1
    RANGE_PROTO_SPECIFIED = 2
    RANGE_PROTO_RANDOM = 4
    RANGE_PERSISTENT = 8
    RANGE_PROTO_RANDOM_FULLY = 16
    RANGE_PROTO_OFFSET = 32
    RANGE_RANDOM_ALL = 20

cdef enum:
    VERDICT_FORWARD = 0
    VERDICT_LOCAL = 1
    VERDICT_DROP = 2

# Why a packet was dropped, or passed without translation (fastnat.Reason mirrors it).
cdef enum:
    REASON_NONE = 0
    REASON_INVALID = 1
    REASON_CLASH = 2
    REASON_TABLE_FULL = 3
    REASON_NO_ADDRESS = 4
    REASON_NO_ROUTE = 5
    REASON_TTL = 6
    REASON_MARTIAN = 7
    REASON_IP_HEADER = 8
    REASON_RULE_DROP = 9
    REASON_OUT_DEVICE = 10
    REASON_NOT_FORWARDING = 11
    REASON_ICMP_TRANSLATION = 12
    REASON_TRUNCATED = 13
    REASON_FRAGMENT = 14
    REASON_UNTRACKED = 15
    REASON_INTERFACE = 16
    REASON_HANDLER_DROP = 17
    REASON_TOO_BIG = 18
    REASON_CHAIN_TOO_LONG = 19
    REASON_NO_SERVER = 20
    REASON_HELPER = 21
    REASON_NO_ROOM = 22
    REASON_TOO_MANY_RULES = 23

# indices of engine_t.stats; fastnat.dtypes.STATS names them in this order
cdef enum:
    STAT_FOUND = 0
    STAT_INVALID = 1
    STAT_IGNORE = 2
    STAT_INSERT = 3
    STAT_INSERT_FAILED = 4
    STAT_DROP = 5
    STAT_EARLY_DROP = 6
    STAT_ERROR = 7
    STAT_SEARCH_RESTART = 8
    STAT_CLASH_RESOLVE = 9
    STAT_CHAINTOOLONG = 10
    STAT_NEW = 11
    STAT_DELETE = 12
    STAT_PROBES = 13
    STAT_SEARCHES = 14
    STAT_SEARCH_FAILURES = 15
    STAT_PACKETS = 16
    STAT_EXPIRED = 17
    STAT_RULES = 18
    STAT_EVICTED = 19
    STAT_BYSOURCE_REUSE = 20
    STAT_DRAWS = 21
    STAT_EXPECT_NEW = 22
    STAT_EXPECT_CREATE = 23
    STAT_EXPECT_DELETE = 24

# indices of engine_t.timeouts; TCP states first, by their number
cdef enum:
    TIMEOUT_TCP = 0
    TIMEOUT_TCP_MAX_RETRANS = 10
    TIMEOUT_TCP_UNACK = 11
    TIMEOUT_UDP = 12
    TIMEOUT_UDP_STREAM = 13
    TIMEOUT_ICMP = 14
    TIMEOUT_GENERIC = 15
    TIMEOUT_GRE = 16
    TIMEOUT_GRE_STREAM = 17
    TIMEOUT_UDPLITE = 18
    TIMEOUT_UDPLITE_STREAM = 19
    # 21 to 29: SCTP states
    TIMEOUT_SCTP = 20
    # PPTP_GRE_TIMEOUT, PPTP_GRE_STREAM_TIMEOUT
    TIMEOUT_PPTP = 30
    TIMEOUT_PPTP_STREAM = 31

cdef enum:
    TABLE_KIND_TUPLES = 0
    TABLE_KIND_SOURCES = 1

cdef enum:
    ROUTE_UNICAST = 1
    ROUTE_LOCAL = 2
    ROUTE_BROADCAST = 3
    ROUTE_BLACKHOLE = 6
    ROUTE_UNREACHABLE = 7
    ROUTE_PROHIBIT = 8
    ROUTE_THROW = 9

cdef enum:
    TARGET_NONE = 0
    TARGET_ACCEPT = 1
    TARGET_DROP = 2
    TARGET_RETURN = 3
    TARGET_JUMP = 4
    TARGET_GOTO = 5
    TARGET_POLICY_ACCEPT = 6
    TARGET_POLICY_DROP = 7
    TARGET_CHAIN_END = 8
    TARGET_SNAT = 9
    TARGET_DNAT = 10
    TARGET_MASQUERADE = 11
    TARGET_REDIRECT = 12
    TARGET_NETMAP = 13
    TARGET_MARK = 14
    TARGET_CONNMARK = 15
    TARGET_NOTRACK = 16
    TARGET_CT_ZONE = 17
    TARGET_DISPATCH = 18
    TARGET_TOS = 19
    TARGET_TTL = 20
    # no rule's: the walk met more than FN_WALK_RULES rules
    TARGET_TOO_FAR = 21

# rule_t.tests
cdef enum:
    RULE_TESTS_ADDRESSES = 1
    RULE_TESTS_PROTO = 2
    RULE_TESTS_IN = 4
    RULE_TESTS_OUT = 8
    # a list of matches, or one in the rule itself
    RULE_TESTS_MATCHES = 16
    RULE_TESTS_MATCH = 32

cdef enum:
    DISPATCH_DST = 0
    DISPATCH_DPORT = 1

cdef enum:
    MATCH_SPORT = 1
    MATCH_DPORT = 2
    MATCH_TCP_FLAGS = 3
    MATCH_ICMP_TYPE = 4
    MATCH_MULTIPORT_SRC = 5
    MATCH_MULTIPORT_DST = 6
    MATCH_MULTIPORT_EITHER = 7
    MATCH_MARK = 8
    MATCH_CONNMARK = 9
    MATCH_ADDRTYPE_SRC = 10
    MATCH_ADDRTYPE_DST = 11
    MATCH_IPRANGE_SRC = 12
    MATCH_IPRANGE_DST = 13
    MATCH_CTSTATE = 14
    MATCH_CTPROTO = 15
    MATCH_NTH = 16
    MATCH_RANDOM = 17
    MATCH_LENGTH = 18
    MATCH_NEVER = 19
    MATCH_L4_HEADER = 20
    MATCH_CONST = 21
    MATCH_SET = 22
    MATCH_RECENT = 23
    MATCH_LIMIT = 24
    MATCH_TTL = 25
    MATCH_TOS = 26
    MATCH_CT_ADDR = 27
    MATCH_CT_PORT = 28
    MATCH_CT_STATUS = 29
    MATCH_CT_DIR = 30
    # the second slot of a match that takes two
    MATCH_MORE = 31
    MATCH_RPFILTER = 32
    MATCH_HASHLIMIT = 33
    MATCH_HELPER = 34
    MATCH_CT_EXPIRE = 35
    MATCH_TCP_OPTION = 36

cdef enum:
    EVENT_NEW = 1
    EVENT_UPDATE = 2
    EVENT_DESTROY = 3
    # what an UPDATE is about, bits
    EVENT_REPLY = 1
    EVENT_ASSURED = 2
    EVENT_PROTOINFO = 4
    EVENT_MARK = 8
