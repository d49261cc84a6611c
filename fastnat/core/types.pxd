# Made by make_layout.py; change codes.h or types.h and run `make layout`.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "types.h" nogil:
    enum:
        FN_ADDR_BITS
        FN_V6
        PROTO_ICMP
        ICMP_ECHO
        ICMP_ECHO_REPLY
        FN_ADDR_BYTES
        FN_TCP_STATE
        FN_HZ
        FN_ID_BITS
        FN_BUCKET_SLOTS
        FN_GROUP_BUCKETS
        FN_STAGE
        FN_CPUS
        FN_WHEEL_SHIFT
        FN_WHEEL_SLOTS
        FN_FAR_SLOTS
        FN_CHUNK_IDS
        FN_WALK_RULES
        FN_APART
        FN_WIDE
        FN_TABLE_MEMO_RULES
        FN_MEMO_RULES
        FN_PASS_RULES
        FN_PASS_MEMOS
        FN_RECENT_ENTRIES
        FN_HASHLIMIT_SLOTS
        FN_CONNLIMIT_HEADS
        FN_EXPECT_HEADS
        FN_IPVS_WHEEL
        FN_RECENT_STAMPS
        FN_NFT_REGISTERS
        FN_NFT_JUMPS
        FN_NFT_BARE
        FN_NFT_TIMELESS
        FN_NFT_KEY
        FN_BY_LO
        FN_MAC_BITS
        FN_DST16
        FN_ROUND_KEYS
        FN_PAGE_PORTS
        FN_PAGES
        FN_PAGE_WORDS
        FN_PAGE_MAPS
        FN_KNOWN
        FN_FIRM
        FN_STATS
        FN_TIMEOUTS
        FN_PLACES
    const uint32_t FN_NONE
    const uint32_t FN_ONLY_BASES
    const uint32_t FN_ANY_IFACE
    const uint32_t ANY_DEVICE
    enum:
        PROTO_TCP
        PROTO_UDP
        PROTO_DCCP
        PROTO_GRE
        PROTO_ESP
        PROTO_AH
        PROTO_SCTP
        PROTO_UDPLITE
    enum:
        IPS_EXPECTED
        IPS_SEEN_REPLY
        IPS_ASSURED
        IPS_CONFIRMED
        IPS_SRC_NAT
        IPS_DST_NAT
        IPS_SEQ_ADJUST
        IPS_SRC_NAT_DONE
        IPS_DST_NAT_DONE
        IPS_DYING
        IPS_FIXED_TIMEOUT
        IPS_NAT_CLASH
        IPS_HELPER
    enum:
        ADDRESS_SECONDARY
        ADDRESS_DEPRECATED
        ADDRESS_TENTATIVE
        ADDRESS_TEMPORARY
    enum:
        CONN_LIVE
        CONN_MARKED
        CONN_HELPED
        CONN_COUNTED
        CONN_PROXIED
    enum:
        IPVS_USED
        IPVS_TEMPLATE
        IPVS_ACTIVE
        IPVS_NFCT
        IPVS_ONE_PACKET
        IPVS_FORGOTTEN
        IPVS_OF_ALL_PORTS
        IPVS_OF_FTP
    enum:
        IPVS_TEMPLATE_NONE
        IPVS_TEMPLATE_ASSURED
    enum:
        SERVICE_HASH_PORTS
        SERVICE_ONE_PACKET
        SERVICE_HASH_FALLBACK
    enum:
        IPVS_TCP_NONE
        IPVS_TCP_ESTABLISHED
        IPVS_TCP_SYN_SENT
        IPVS_TCP_SYN_RECV
        IPVS_TCP_FIN_WAIT
        IPVS_TCP_TIME_WAIT
        IPVS_TCP_CLOSE
        IPVS_TCP_CLOSE_WAIT
        IPVS_TCP_LAST_ACK
        IPVS_TCP_LISTEN
        IPVS_TCP_SYNACK
    enum:
        IPVS_SCTP_NONE
        IPVS_SCTP_INIT1
        IPVS_SCTP_INIT
        IPVS_SCTP_COOKIE_SENT
        IPVS_SCTP_COOKIE_REPLIED
        IPVS_SCTP_COOKIE_WAIT
        IPVS_SCTP_COOKIE
        IPVS_SCTP_COOKIE_ECHOED
        IPVS_SCTP_ESTABLISHED
        IPVS_SCTP_SHUTDOWN_SENT
        IPVS_SCTP_SHUTDOWN_RECEIVED
        IPVS_SCTP_SHUTDOWN_ACK_SENT
        IPVS_SCTP_REJECTED
        IPVS_SCTP_CLOSED
    enum:
        TCP_NONE
        TCP_SYN_SENT
        TCP_SYN_RECV
        TCP_ESTABLISHED
        TCP_FIN_WAIT
        TCP_CLOSE_WAIT
        TCP_LAST_ACK
        TCP_TIME_WAIT
        TCP_CLOSE
        TCP_SYN_SENT2
    enum:
        LINUX_5_4
        LINUX_6_18
    enum:
        HELPER_NONE
        HELPER_FTP
        HELPER_TFTP
        HELPER_PPTP
    enum:
        EXPECT_FREE
        EXPECT_PLAIN
        EXPECT_FOLLOW
        EXPECT_PPTP
        EXPECT_GRE_KEY
    enum:
        IP_CT_ESTABLISHED
        IP_CT_RELATED
        IP_CT_NEW
        IP_CT_ESTABLISHED_REPLY
        IP_CT_RELATED_REPLY
        IP_CT_UNTRACKED
        IP_CT_INVALID
    enum:
        DIR_ORIGINAL
        DIR_REPLY
    enum:
        PART_WHOLE
        PART_FIRST
        PART_LATER
        PART_UNKNOWN
    enum:
        TWIN_NONE
        TWIN_SENT
        TWIN_COPY
    enum:
        HOOK_PREROUTING
        HOOK_INPUT
        HOOK_FORWARD
        HOOK_OUTPUT
        HOOK_POSTROUTING
    enum:
        WAYPOINT_CONNTRACK
        WAYPOINT_ROUTE
        WAYPOINT_SERVER
    enum:
        IFACE_RP_STRICT
        IFACE_RP_LOOSE
        IFACE_ACCEPT_LOCAL
        IFACE_LOOPBACK
        IFACE_ROUTE_LOCALNET
        IFACE_FORWARD
        IFACE_BC_FORWARD
        IFACE_NO_ADDRESS
        IFACE_REDIRECTS
        IFACE_SRC_VMARK
        IFACE_SOURCE_ROUTE
        IFACE_PLAIN
        IFACE_LINK_LAYER
        IFACE_SOLICITED
        IFACE_ROUTER
    enum:
        DIM_NONE
        DIM_ADDRESS
        DIM_NETWORK
        DIM_PROTO_PORT
        DIM_PORT
        DIM_IFACE
        DIM_MARK
    enum:
        SET_RETURN_NOMATCH
        SET_SKIP_COUNTERS
        SET_SKIP_SUBCOUNTERS
        SET_ASK_COUNTERS
        SET_PACKETS_NOT
        SET_BYTES_NOT
    enum:
        RECENT_SET
        RECENT_CHECK
        RECENT_UPDATE
        RECENT_REMOVE
    enum:
        RECENT_OPERATION
        RECENT_DEST
        RECENT_REAP
        RECENT_TTL
    enum:
        HASHLIMIT_DST
        HASHLIMIT_DPORT
        HASHLIMIT_SRC
        HASHLIMIT_SPORT
        HASHLIMIT_ABOVE
        HASHLIMIT_BYTES
        HASHLIMIT_RATE_MATCH
    enum:
        COUNTED_PACKETS
        COUNTED_BYTES
        COUNTED_AVERAGE
    enum:
        COUNTED_ORIGINAL
        COUNTED_REPLY
    enum:
        OWNER_SOCKET
        OWNER_UID
        OWNER_GID
    enum:
        ROUTING_SEGMENTS_LEFT
        ROUTING_TYPE
        ROUTING_LENGTH
        ROUTING_RESERVED
    enum:
        TIME_WEEKDAYS
        TIME_CONTIGUOUS
    enum:
        CONNLIMIT_DST
    enum:
        TABLE_RAW
        TABLE_MANGLE
        TABLE_NAT
        TABLE_FILTER
        TABLE_LAST
    enum:
        PLACE_DST
        PLACE_SRC
        PLACE_RAW
        PLACE_MANGLE_PREROUTING
        PLACE_MANGLE_FORWARD
        PLACE_FILTER
        PLACE_MANGLE_POSTROUTING
        PLACE_ELSEWHERE
    enum:
        SEARCH_OPEN
        SEARCH_FREE
        SEARCH_FAILS
        SEARCH_UNSEEN
        SEARCH_OWNED
    enum:
        MANIP_SRC
        MANIP_DST
    enum:
        RANGE_MAP_IPS
        RANGE_PROTO_SPECIFIED
        RANGE_PROTO_RANDOM
        RANGE_PERSISTENT
        RANGE_PROTO_RANDOM_FULLY
        RANGE_PROTO_OFFSET
        RANGE_RANDOM_ALL
        RANGE_UNSET_BYTES
    enum:
        VERDICT_FORWARD
        VERDICT_LOCAL
        VERDICT_DROP
    enum:
        REASON_NONE
        REASON_INVALID
        REASON_CLASH
        REASON_TABLE_FULL
        REASON_NO_ADDRESS
        REASON_NO_ROUTE
        REASON_TTL
        REASON_MARTIAN
        REASON_IP_HEADER
        REASON_RULE_DROP
        REASON_OUT_DEVICE
        REASON_NOT_FORWARDING
        REASON_ICMP_TRANSLATION
        REASON_TRUNCATED
        REASON_FRAGMENT
        REASON_UNTRACKED
        REASON_INTERFACE
        REASON_HANDLER_DROP
        REASON_TOO_BIG
        REASON_CHAIN_TOO_LONG
        REASON_NO_SERVER
        REASON_HELPER
        REASON_NO_ROOM
        REASON_TOO_MANY_RULES
        REASON_PROXIED
        REASON_SERVICE_REUSED
        REASON_RULE_REJECT
    enum:
        STAT_FOUND
        STAT_INVALID
        STAT_IGNORE
        STAT_INSERT
        STAT_INSERT_FAILED
        STAT_DROP
        STAT_EARLY_DROP
        STAT_ERROR
        STAT_SEARCH_RESTART
        STAT_CLASH_RESOLVE
        STAT_CHAINTOOLONG
        STAT_NEW
        STAT_DELETE
        STAT_PORT_SEARCH_PROBES
        STAT_PORT_SEARCHES
        STAT_PORT_SEARCH_FAILURES
        STAT_PACKETS
        STAT_EXPIRED
        STAT_RULES_WALKED
        STAT_EVICTED
        STAT_BYSOURCE_REUSE
        STAT_RANDOM_DRAWS
        STAT_EXPECT_NEW
        STAT_EXPECT_CREATE
        STAT_EXPECT_DELETE
    enum:
        TIMEOUT_TCP
        TIMEOUT_TCP_MAX_RETRANS
        TIMEOUT_TCP_UNACK
        TIMEOUT_UDP
        TIMEOUT_UDP_STREAM
        TIMEOUT_ICMP
        TIMEOUT_GENERIC
        TIMEOUT_GRE
        TIMEOUT_GRE_STREAM
        TIMEOUT_SCTP
    enum:
        SCHEDULE_RR
        SCHEDULE_WRR
        SCHEDULE_LC
        SCHEDULE_WLC
        SCHEDULE_SH
    enum:
        TABLE_KIND_TUPLES
        TABLE_KIND_SOURCES
    enum:
        ROUTE_UNICAST
        ROUTE_LOCAL
        ROUTE_BROADCAST
        ROUTE_ANYCAST
        ROUTE_MULTICAST
        ROUTE_BLACKHOLE
        ROUTE_UNREACHABLE
        ROUTE_PROHIBIT
        ROUTE_THROW
    enum:
        TARGET_NONE
        TARGET_ACCEPT
        TARGET_DROP
        TARGET_RETURN
        TARGET_JUMP
        TARGET_GOTO
        TARGET_POLICY_ACCEPT
        TARGET_POLICY_DROP
        TARGET_CHAIN_END
        TARGET_SNAT
        TARGET_DNAT
        TARGET_MASQUERADE
        TARGET_REDIRECT
        TARGET_NETMAP
        TARGET_MARK
        TARGET_CONNMARK
        TARGET_NOTRACK
        TARGET_CT_ZONE
        TARGET_DISPATCH
        TARGET_TOS
        TARGET_TTL
        TARGET_TOO_FAR
        TARGET_TCPMSS
        TARGET_NO_ROOM
        TARGET_TPROXY
        TARGET_REJECT
    enum:
        RULE_TESTS_ADDRESSES
        RULE_TESTS_PROTO
        RULE_TESTS_IN
        RULE_TESTS_OUT
        RULE_TESTS_MATCHES
        RULE_TESTS_MATCH
        RULE_TESTS_FRAGMENT
        RULE_TESTS_ALIKE
    enum:
        VARIED_RUN
        VARIED_STEP
        VARIED_STEPS
    enum:
        DISPATCH_DST
        DISPATCH_DPORT
        DISPATCH_SRC
        DISPATCH_MARK
        DISPATCH_IN
        DISPATCH_CT_SRC
    enum:
        MATCH_LISTED
        MATCH_SPORT
        MATCH_DPORT
        MATCH_TCP_FLAGS
        MATCH_ICMP_TYPE
        MATCH_MULTIPORT_SRC
        MATCH_MULTIPORT_DST
        MATCH_MULTIPORT_EITHER
        MATCH_MARK
        MATCH_CONNMARK
        MATCH_ADDRTYPE_SRC
        MATCH_ADDRTYPE_DST
        MATCH_IPRANGE_SRC
        MATCH_IPRANGE_DST
        MATCH_CTSTATE
        MATCH_CTPROTO
        MATCH_NTH
        MATCH_RANDOM
        MATCH_LENGTH
        MATCH_L4_HEADER
        MATCH_CONST
        MATCH_SET
        MATCH_RECENT
        MATCH_LIMIT
        MATCH_TTL
        MATCH_TOS
        MATCH_CT_ADDR
        MATCH_CT_PORT
        MATCH_CT_STATUS
        MATCH_CT_DIR
        MATCH_MORE
        MATCH_RPFILTER
        MATCH_HASHLIMIT
        MATCH_HELPER
        MATCH_CT_EXPIRE
        MATCH_TCP_OPTION
        MATCH_PKT_TYPE
        MATCH_OWNER
        MATCH_QUOTA
        MATCH_TCP_MSS
        MATCH_TIME
        MATCH_ROUTING
        MATCH_CONNLIMIT
        MATCH_CONNBYTES
        MATCH_ECN
        MATCH_SOCKET
        MATCH_MAC
    enum:
        BASE_IPTABLES
        BASE_NFTABLES
    enum:
        NFT_SET_HASH
        NFT_SET_INTERVALS
        NFT_SET_RANGES
    enum:
        NFT_VERDICT
        NFT_IMMEDIATE
        NFT_PAYLOAD
        NFT_META
        NFT_CT
        NFT_FIB
        NFT_RT
        NFT_TCP_OPTION
        NFT_EXTHDR
        NFT_NUMGEN
        NFT_JHASH
        NFT_SYMHASH
        NFT_BITWISE
        NFT_SHIFT
        NFT_COMBINE
        NFT_CMP
        NFT_RANGE
        NFT_LOOKUP
        NFT_COUNTER
        NFT_LIMIT
        NFT_QUOTA
        NFT_LAST
        NFT_CONNLIMIT
        NFT_OBJECT
        NFT_DYNSET
        NFT_SET_MARK
        NFT_SET_ZONE
        NFT_SET_HELPER
        NFT_SET_TOS
        NFT_SET_TTL
        NFT_SET_MSS
        NFT_NOTRACK
        NFT_NAT
        NFT_ZERO_CHECKSUM
        NFT_ADD
        NFT_STRIP
        NFT_SET_TIMEOUT
        NFT_SET_ADDRESS
        NFT_SET_PORT
        NFT_TPROXY
        NFT_CHOOSE
        NFT_FRAME
    enum:
        NFT_BASE_LINK
        NFT_BASE_NETWORK
        NFT_BASE_TRANSPORT
        NFT_BASE_INNER
    enum:
        NFT_EQ
        NFT_NEQ
        NFT_LT
        NFT_LTE
        NFT_GT
        NFT_GTE
    enum:
        NFT_AND
        NFT_OR
        NFT_XOR
    enum:
        NFT_LOOKUP_SET
        NFT_LOOKUP_NOT
        NFT_LOOKUP_MAP
        NFT_LOOKUP_VERDICT
    enum:
        NFT_DYNSET_ADD
        NFT_DYNSET_UPDATE
        NFT_DYNSET_DELETE
    enum:
        NFT_META_LEN
        NFT_META_PRIORITY
        NFT_META_MARK
        NFT_META_IIF
        NFT_META_OIF
        NFT_META_IIFNAME
        NFT_META_OIFNAME
        NFT_META_SKUID
        NFT_META_SKGID
        NFT_META_TIME
        NFT_META_DAY
        NFT_META_HOUR
        NFT_META_PKTTYPE
        NFT_META_L4PROTO
        NFT_META_CGROUP
        NFT_META_RANDOM
        NFT_META_TRANSPARENT
        NFT_META_DEVICE
    enum:
        NFT_CT_STATE
        NFT_CT_DIRECTION
        NFT_CT_STATUS
        NFT_CT_MARK
        NFT_CT_EXPIRATION
        NFT_CT_HELPER
        NFT_CT_L3PROTOCOL
        NFT_CT_SRC
        NFT_CT_DST
        NFT_CT_PROTOCOL
        NFT_CT_PROTO_SRC
        NFT_CT_PROTO_DST
        NFT_CT_PKTS
        NFT_CT_BYTES
        NFT_CT_AVGPKT
        NFT_CT_ZONE
    enum:
        NFT_FIB_DADDR
        NFT_FIB_IIF
        NFT_FIB_OIF
        NFT_FIB_TYPE
        NFT_FIB_OIFNAME
        NFT_FIB_PRESENT
        NFT_FIB_MARK
    enum:
        NFT_RT_NEXTHOP
        NFT_RT_TCPMSS
    enum:
        EVENT_NEW
        EVENT_UPDATE
        EVENT_DESTROY
    enum:
        EVENT_REPLY
        EVENT_ASSURED
        EVENT_PROTOINFO
        EVENT_MARK
    # 128 bits wide in the build for IPv6: an address is only ever kept in an addr_t
    ctypedef uint32_t addr_t

    ctypedef struct tuple_t:
        addr_t src
        addr_t dst
        uint64_t rest
        uint16_t sport
        uint16_t dport
        uint8_t proto
        uint8_t pad
        uint16_t zone

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
        uint8_t policy
        uint32_t help
        uint32_t mark

    ctypedef struct sctp_t:
        uint32_t vtag[2]
        uint8_t init[2]
        uint8_t last_dir
        uint8_t flags
        uint8_t pad[43]
        uint8_t policy
        uint32_t help
        uint32_t mark

    ctypedef struct acct_t:
        uint64_t packets[2]
        uint64_t bytes[2]

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

    ctypedef struct ports_form_t:
        uint32_t low
        uint32_t high

    ctypedef struct range_form_t:
        uint32_t low
        uint32_t high

    ctypedef struct multiport_form_t:
        uint32_t first

    ctypedef struct mark_form_t:
        uint32_t value
        uint32_t mask

    ctypedef struct byte_form_t:
        uint32_t mask
        uint32_t value

    ctypedef struct icmp_form_t:
        uint32_t type
        uint32_t low
        uint32_t high

    ctypedef struct addrtype_form_t:
        uint32_t types
        uint32_t device

    ctypedef struct pkt_type_form_t:
        uint32_t type

    ctypedef struct mac_form_t:
        uint32_t high
        uint32_t low

    ctypedef struct iprange_form_t:
        uint32_t at

    ctypedef struct ctstate_form_t:
        uint32_t bits

    ctypedef struct ctproto_form_t:
        uint32_t proto

    ctypedef struct ct_addr_form_t:
        uint32_t at
        uint32_t pad
        uint32_t end

    ctypedef struct ct_ports_form_t:
        uint32_t low
        uint32_t high
        uint32_t end

    ctypedef struct ct_status_form_t:
        uint32_t bits

    ctypedef struct ct_dir_form_t:
        uint32_t dir

    ctypedef struct nth_form_t:
        uint32_t last
        uint32_t pad
        uint32_t count

    ctypedef struct chance_form_t:
        uint32_t below

    ctypedef struct l4_header_form_t:
        uint32_t bytes

    ctypedef struct const_form_t:
        uint32_t holds

    ctypedef struct set_form_t:
        uint32_t index
        uint32_t sources
        uint32_t n_dims

    ctypedef struct set_more_form_t:
        uint32_t at

    ctypedef struct recent_form_t:
        uint32_t list
        uint32_t window
        uint32_t hits

    ctypedef struct recent_more_form_t:
        uint32_t at

    ctypedef struct limit_form_t:
        uint32_t cost
        uint32_t most

    ctypedef struct limit_more_form_t:
        uint32_t credit
        uint32_t last

    ctypedef struct hashlimit_form_t:
        uint32_t list
        uint32_t at
        uint32_t expiry

    ctypedef struct rpfilter_form_t:
        uint32_t flags

    ctypedef struct helper_form_t:
        uint32_t helper

    ctypedef struct option_form_t:
        uint32_t number

    ctypedef struct owner_form_t:
        uint32_t part
        uint32_t low
        uint32_t high

    ctypedef struct quota_form_t:
        uint32_t low
        uint32_t high

    ctypedef struct time_form_t:
        uint32_t at
        uint32_t monthdays

    ctypedef struct routing_form_t:
        uint32_t part
        uint32_t low
        uint32_t high

    ctypedef struct connlimit_form_t:
        uint32_t list
        uint32_t at
        uint32_t limit

    ctypedef struct connbytes_form_t:
        uint32_t at
        uint32_t part
        uint32_t ways

    ctypedef struct listed_form_t:
        uint32_t first

    ctypedef struct match_t:
        uint8_t kind
        uint8_t invert
        uint16_t n_ports
        uint16_t bits
        uint16_t with_state
        uint16_t n_listed
        uint16_t need
        uint16_t n
        ports_form_t ports
        range_form_t range
        multiport_form_t multiport
        mark_form_t mark
        byte_form_t byte
        icmp_form_t icmp
        addrtype_form_t addrtype
        pkt_type_form_t pkt_type
        mac_form_t mac
        iprange_form_t iprange
        ctstate_form_t ctstate
        ctproto_form_t ctproto
        ct_addr_form_t ct_addr
        ct_ports_form_t ct_ports
        ct_status_form_t ct_status
        ct_dir_form_t ct_dir
        nth_form_t nth
        chance_form_t chance
        l4_header_form_t l4_header
        const_form_t constant
        set_form_t set
        set_more_form_t set_more
        recent_form_t recent
        recent_more_form_t recent_more
        limit_form_t limit
        limit_more_form_t limit_more
        hashlimit_form_t hashlimit
        rpfilter_form_t rpfilter
        helper_form_t helper
        option_form_t option
        owner_form_t owner
        quota_form_t quota
        time_form_t time
        routing_form_t routing
        connlimit_form_t connlimit
        connbytes_form_t connbytes
        listed_form_t listed
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
        uint8_t kind
        uint8_t shift
        uint8_t apart
        uint8_t alike
        uint32_t mask
        uint32_t first_slot
        uint32_t pad

    ctypedef struct dispatch_slot_t:
        uint32_t key
        uint32_t rule

    ctypedef struct base_t:
        uint32_t kind
        uint32_t entry
        uint32_t policy
        uint32_t routes

    ctypedef struct nft_expr_t:
        uint8_t kind
        uint8_t words
        uint8_t dreg
        uint8_t sreg
        uint32_t a
        uint32_t b
        uint32_t c

    ctypedef struct nft_rule_t:
        uint32_t first
        uint32_t n

    ctypedef struct nft_set_t:
        uint32_t kind
        uint32_t key_words
        uint32_t data_words
        uint32_t stride
        uint32_t first
        uint32_t used
        uint32_t size
        uint32_t count
        uint32_t free
        uint32_t words
        uint32_t slot
        uint32_t mask
        uint32_t exact
        uint32_t timeout
        uint32_t any
        uint32_t states
        uint32_t n_states
        uint32_t state_exprs
        uint32_t timed

    ctypedef struct nft_element_t:
        uint32_t next
        uint32_t expires
        uint32_t timeout
        uint32_t used

    ctypedef struct nft_state_t:
        uint64_t packets
        uint64_t bytes
        uint64_t tokens
        uint64_t last
        uint64_t cost
        uint64_t most
        uint64_t period

    ctypedef struct nft_conn_t:
        tuple_t t
        uint64_t next

    ctypedef struct table_memo_t:
        uint64_t key[3]
        uint64_t packets
        uint64_t bytes
        uint32_t mark
        uint32_t target_arg
        uint16_t walked
        uint8_t kind
        uint8_t n
        uint32_t rules[17]
        uint32_t varied
        uint8_t asks_tuple
        uint8_t untracked
        uint8_t pad[2]

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
        uint8_t complete
        uint8_t varied
        uint32_t target_arg
        uint32_t mark
        addr_t to
        uint16_t to_port
        uint16_t back
        uint32_t rules[28]
        uint32_t pad2

    ctypedef struct pass_memo_t:
        uint64_t key[2]
        uint64_t packets
        uint64_t bytes
        uint16_t walked
        uint8_t n
        uint8_t fails
        uint32_t rules[20]
        uint32_t pad[3]

    ctypedef struct memo_bounds_t:
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
        uint8_t proto

    ctypedef struct set_t:
        uint64_t prefixes[3]
        uint32_t mask
        uint32_t first_slot
        uint32_t first_member
        uint32_t n_members
        uint8_t dims[3]
        uint8_t n_dims
        uint8_t netmask
        uint8_t counts
        uint8_t exceptions
        uint8_t pad

    ctypedef struct element_t:
        addr_t addrs[2]
        uint32_t port
        uint8_t prefix
        uint8_t used
        uint8_t nomatch
        uint8_t expires
        uint32_t until
        uint32_t pad
        uint64_t packets
        uint64_t bytes

    ctypedef struct recent_t:
        addr_t addr
        uint32_t used
        uint32_t next
        uint32_t n_stamps
        uint32_t ttl

    ctypedef struct recent_list_t:
        uint32_t ring
        uint32_t first

    ctypedef struct hook_count_t:
        uint64_t packets
        uint64_t bytes

    ctypedef struct hashlimit_t:
        addr_t src
        addr_t dst
        uint32_t ports
        uint32_t used
        uint64_t credit
        uint32_t last
        uint32_t seen
        uint32_t bursts
        uint32_t pad

    ctypedef struct connlimit_t:
        tuple_t t
        addr_t addr
        uint32_t next
        uint16_t list
        uint16_t zone

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
        uint16_t pad
        uint32_t master
        uint32_t serial
        uint32_t master_serial
        uint32_t pad2[2]

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
        uint8_t pad[3]

    ctypedef struct event_t:
        tuple_t tuples[2]
        uint64_t tick
        int32_t timeout
        uint32_t mark
        uint32_t conn
        uint16_t zone
        uint16_t status
        uint8_t kind
        uint8_t what
        uint8_t state
        uint8_t counted
        uint32_t pad
        acct_t acct

    ctypedef struct waypoint_t:
        tuple_t t
        uint32_t mark
        uint16_t out_iface
        uint16_t route
        uint8_t place
        uint8_t ctinfo
        uint8_t reason
        uint8_t is_new
        uint8_t pad[4]

    ctypedef struct network_form_t:
        addr_t addr
        addr_t mask

    ctypedef struct masks_form_t:
        addr_t src
        addr_t dst

    ctypedef struct rate_form_t:
        uint64_t cost
        uint64_t full

    ctypedef struct window_form_t:
        uint32_t jiffies
        uint32_t pad

    ctypedef struct counts_form_t:
        uint64_t low
        uint64_t high

    ctypedef struct period_form_t:
        uint32_t date_start
        uint32_t date_stop
        uint32_t day_start
        uint32_t day_stop

    ctypedef struct target_t:
        network_form_t network
        masks_form_t masks
        addr_t min_addr
        addr_t max_addr
        window_form_t window
        uint16_t min_proto
        uint16_t max_proto
        uint16_t base_proto
        uint16_t flags
        rate_form_t rate
        counts_form_t counts
        period_form_t period
        uint32_t value
        uint32_t mask
        uint32_t mask2
        uint32_t op

    ctypedef struct route_t:
        addr_t dst
        addr_t mask
        addr_t gateway
        uint32_t bound
        uint16_t hops
        uint16_t iface
        uint8_t kind
        uint8_t scope
        uint16_t src

    ctypedef struct neighbour_t:
        addr_t addr
        uint32_t iface
        uint64_t mac

    ctypedef struct fib_rule_t:
        addr_t src
        addr_t smask
        addr_t dst
        addr_t dmask
        addr_t suppressed
        uint32_t mark
        uint32_t mask
        uint16_t in_iface
        uint16_t out_iface
        uint16_t pad
        uint16_t table
        uint16_t sport_min
        uint16_t sport_max
        uint16_t dport_min
        uint16_t dport_max
        uint8_t proto
        uint8_t invert
        uint8_t refuses
        uint8_t suppresses
        uint8_t tos
        uint8_t tos_mask
        uint8_t pad2[2]
        uint32_t first_route
        uint32_t end_route

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
        uint8_t copied
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
        uint32_t flags

    ctypedef struct server_t:
        addr_t addr
        uint32_t weight
        uint32_t active
        uint32_t inactive
        uint16_t port
        uint16_t pad

    ctypedef struct ipvs_conn_t:
        addr_t client
        addr_t service
        addr_t server
        uint16_t client_port
        uint16_t service_port
        uint16_t server_port
        uint8_t proto
        uint8_t state
        uint32_t mark
        uint32_t timeout
        uint32_t expires
        uint32_t next
        uint32_t wheel_next
        uint32_t wheel_prev
        uint32_t dest
        uint32_t control
        uint32_t n_control
        uint16_t slot
        uint16_t flags

    ctypedef struct port_search_t:
        uint64_t state
        uint32_t min_
        uint32_t size
        uint32_t off
        uint32_t attempts
        uint32_t at
        uint32_t changes
        uint32_t probes
        uint32_t found
        uint32_t draws
        uint16_t port
        uint8_t end
        uint8_t hard

    ctypedef struct ahead_t:
        tuple_t reply[3]
        tuple_t source
        uint64_t reply_hash[3]
        uint64_t source_hash
        uint64_t number
        uint64_t key[3]
        memo_t *memo
        uint32_t born
        uint32_t drawn
        uint32_t target
        uint32_t varied
        port_search_t search
        uint8_t checks
        uint8_t searches
        uint8_t proto

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
        uint32_t length
        tuple_t classified
        uint32_t src_class
        uint32_t dst_class
        uint64_t port_classes
        const target_t *target
        uint16_t walks[8]
        uint16_t route
        uint8_t asks_tuple
        uint8_t first
        uint8_t unrepeatable
        uint8_t apart
        uint8_t ctinfo
        uint8_t dir
        uint8_t verdict
        uint8_t reason
        uint8_t hook
        uint8_t has_seq
        uint8_t untracked
        uint8_t is_new
        uint8_t verified
        uint8_t icmp_error
        uint8_t ttl
        uint8_t held
        uint8_t template_helper
        uint8_t expected
        uint8_t evicted
        uint8_t pause
        uint8_t copied
        uint8_t twin
        uint8_t dying
        uint16_t template_zone
        uint8_t template_dir
        uint8_t has_template
        uint8_t tcp_class
        uint8_t tcp_flags
        uint8_t tracked
        uint8_t part
        uint8_t record_at
        uint8_t stamp_at
        uint8_t options_changed
        uint8_t proxied
        uint8_t served
        uint8_t rerouted
        uint8_t srr_at
        uint8_t srr_hop_at
        uint32_t payload
        uint32_t mark_before
        uint16_t status_before
        uint8_t state_before
        uint32_t largest
        uint32_t room
        uint32_t priority
        uint32_t unruled

    ctypedef struct engine_t:
        conn_t *conns
        tcp_t *tcp
        acct_t *acct
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
        uint64_t next_far
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
        uint32_t bitmap_changes
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
        hook_count_t unruled[5][5]
        hook_count_t passed
        uint32_t wide[6]
        uint32_t n_wide
        uint32_t apart[4]
        uint32_t n_apart
        base_t *bases
        uint32_t base_first[5][5]
        uint32_t base_count[5][5]
        uint32_t n_bases
        uint32_t nft_wide[6]
        uint32_t n_nft_wide
        nft_rule_t *nft_rules
        nft_expr_t *nft_exprs
        nft_set_t *nft_sets
        nft_element_t *nft_elements
        uint32_t *nft_slots
        uint32_t *nft_words
        nft_state_t *nft_states
        nft_conn_t *nft_conns
        uint32_t *policies
        uint32_t n_policies
        uint32_t n_nft_conns
        uint32_t max_nft_conns
        uint32_t free_nft_conn
        uint32_t *nft_log
        uint32_t n_nft_log
        uint32_t max_nft_log
        waypoint_t *waypoints
        uint32_t n_waypoints
        uint32_t max_waypoints
        uint32_t holder
        uint16_t slice_first
        uint16_t slice_last
        target_t nft_range
        uint32_t *jump_stack
        uint32_t max_jumps
        dispatch_t *dispatches
        dispatch_slot_t *dispatch_slots
        set_t *sets
        element_t *elements
        uint32_t *set_members
        recent_t *recent
        recent_list_t *recent_lists
        uint32_t *stamps
        uint32_t recent_clock
        hashlimit_t *hashlimits
        service_t *services
        server_t *servers
        uint32_t *service_slots
        uint32_t n_services
        uint32_t service_mask
        ipvs_conn_t *ipvs_conns
        uint32_t *ipvs_heads
        uint32_t *ipvs_wheel
        uint64_t *ipvs_busy
        uint32_t n_ipvs_conns
        uint32_t free_ipvs_conn
        uint32_t ipvs_capacity
        uint32_t ipvs_mask
        uint32_t ipvs_timeouts[3]
        uint32_t conn_reuse_mode
        uint32_t expire_nodest_conn
        uint32_t expire_quiescent_template
        uint32_t sloppy_tcp
        uint32_t sloppy_sctp
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
        table_memo_t *table_memos
        memo_t *memos
        pass_memo_t *pass_memos
        uint32_t n_memos
        memo_bounds_t memo_bounds
        memo_bounds_t untracked_bounds
        uint32_t n_memos_made
        uint32_t *dst16_counts
        connlimit_t *connlimits
        uint32_t *connlimit_heads
        uint32_t n_connlimits
        uint32_t free_connlimit
        uint32_t connlimit_capacity
        uint32_t owner_uid
        uint32_t owner_gid
        uint32_t owner_asked
        uint64_t epoch
        event_t *events
        uint32_t max_events
        uint32_t n_events
        uint64_t lost_events
        route_t *routes
        addr_t *class_start
        uint16_t *class_route
        fib_rule_t *fib_rules
        uint32_t *class_of_octet
        uint32_t *port_start[2]
        address_t *addresses
        uint32_t n_routes
        uint32_t n_classes
        uint32_t n_addresses
        uint32_t n_port_classes[2]
        uint32_t n_fib_rules
        uint32_t routes_by_packet
        uint32_t multipath_policy
        uint32_t multipath_seed
        uint32_t dissects
        uint32_t loopback
        uint32_t *iface_flags
        uint64_t key[10]
        uint64_t secret[10]
        uint64_t rehashes
        uint32_t may_share_tuple
        uint32_t due_at_once
        uint64_t rng[2]
        uint64_t now
        uint32_t profile
        uint32_t tracking
        uint32_t nat_hooks
        uint32_t shortly
        uint32_t untracked_shortly
        uint32_t ruled
        uint32_t checksum
        uint32_t loose
        uint32_t be_liberal
        uint32_t max_retrans
        uint32_t ignore_invalid_rst
        uint32_t accounting
        uint32_t local_routes
        uint32_t timeouts[40]
        addr_t guess_addr
        uint64_t stats[28]
        uint64_t *macs
        neighbour_t *neighbours
        uint32_t n_neighbours
        uint64_t link_dst
        uint64_t link_src

# What of our headers make_layout.py does not read, part of types.pxd: the table of arrays, and functions.
cdef extern from "layout.h" nogil:
    ctypedef struct array_place_t:
        const char *name
        size_t at
        size_t size
    const array_place_t fn_arrays[]
    enum:
        FN_ARRAYS

cdef extern from "platform.h" nogil:
    void fn_prefetch(const void *p)
    void fn_prefetch_far(const void *p)
    void fn_prefetch_write(const void *p)
    int fn_ctz(uint32_t x)
    int fn_ctz64(uint64_t x)
    int fn_popcount64(uint64_t x)
    uint32_t fn_bswap32(uint32_t x)
    uint16_t fn_bswap16(uint16_t x)
    uint32_t fn_bucket_split(bucket_t *from_, bucket_t *to, uint32_t bit, uint32_t *displaced)
    bint fn_likely(bint x)
    bint fn_unlikely(bint x)
    void fn_rarely()
    uint32_t fn_tags_equal(const bucket_t *b, uint8_t tag)
    void fn_clear_packet(pkt_t *p)
    uint32_t fn_conn_bits(const conn_t *c)
    uint32_t fn_bucket_look(const bucket_t *b, uint8_t tag)
    uint64_t fn_cycles()
    const uint64_t FN_SLICE
    int fn_claim(unsigned long *owner, unsigned long me)
    void fn_release(unsigned long *owner)

cdef extern from "packet/crc32c.h" nogil:
    void fn_crc32c_init()
    uint32_t fn_sctp_crc(const uint8_t *data, uint32_t n)

cdef extern from "tuples/keyed_hash.h" nogil:
    void fn_hash_init()
    uint64_t fn_hash(const uint64_t *key, const tuple_t *t)
    uint64_t fn_hash_plain(const uint64_t *key, const tuple_t *t)
    void fn_hash_stage(const uint64_t *key, const tuple_t *m, uint64_t *out, uint32_t n)
    void fn_hash_ahead(const uint64_t *key, ahead_t *ahead, const uint32_t *which, uint32_t n)
    void fn_aes_round(uint8_t *state, const uint8_t *key)
