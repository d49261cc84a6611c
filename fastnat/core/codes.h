/* Limits, and the codes that stand in records. make_layout.py makes the Cython and the Python form of both headers: after a
 * change, `make layout`. */
#ifndef FASTNAT_CODES_H
#define FASTNAT_CODES_H

#define FN_HZ               250                   /* jiffies per second of the kernels reproduced */
#define FN_NONE             0xffffffffu           /* no index */
#define FN_ID_BITS          26                    /* a table id: record << 1 | direction */
#define FN_BUCKET_SLOTS     12
#define FN_GROUP_BUCKETS    32                    /* overflow stays inside a group; a group is split as a whole */
#define FN_STAGE            32                    /* packets in flight between two stages of a batch */
#define FN_CPUS             256                   /* packets held at most between set-up and confirm */
#define FN_WHEEL_SHIFT      15
#define FN_WHEEL_SLOTS      (1 << FN_WHEEL_SHIFT) /* one jiffy each: 131 s ahead */
#define FN_FAR_SLOTS        4096                  /* behind those, one turn of them each: 6.2 days ahead, later deadlines are looked at again */
#define FN_CHUNK_IDS        14
#define FN_WALK_RULES       (1 << 24)             /* rules evaluated for one packet in one table, beyond which it is dropped */
/* runs of rules for sources that are no classes; runs whose rules are fetched ahead */
#define FN_APART            4
#define FN_WIDE             6
#define FN_TABLE_MEMO_RULES 17          /* rules that match on a walk through a table; one with more is not remembered */
#define FN_MEMO_RULES       28          /* of all walks of a first packet together */
#define FN_PASS_RULES       20          /* of all walks of a further packet together */
#define FN_PASS_MEMOS       256
#define FN_RECENT_ENTRIES   100         /* xt_recent.ip_list_tot */
#define FN_HASHLIMIT_SLOTS  65536       /* a list */
#define FN_CONNLIMIT_HEADS  65536       /* buckets of what -m connlimit has counted */
#define FN_EXPECT_HEADS     1024
#define FN_IPVS_WHEEL       4096        /* jiffies ahead for which IPVS's connections have a slot each; later ones are looked at again */
#define FN_RECENT_STAMPS    32          /* a list without a larger --hitcount keeps so many (recent_mt_check) */
#define FN_ONLY_BASES       0xfffffffeu /* a hook_entry: no rule of iptables, but base chains of nftables */
#define FN_NFT_REGISTERS    64          /* of 32 bits each; the kernel has 20, nft takes no more */
#define FN_NFT_JUMPS        16          /* NFT_JUMP_STACK_SIZE */
#define FN_NFT_BARE         2           /* of nft_element_t.used: it carries nothing, where others of its set do */
#define FN_NFT_TIMELESS     4           /* of nft_element_t.used: a rule added it without a timeout, and nothing gives it one */
#define FN_NFT_KEY          16          /* words of the longest key: NFT_DATA_VALUE_MAXLEN */
#define FN_ANY_IFACE        0xffffu
#define FN_BY_LO            1           /* route_t.scope of IPv6: it leads to lo, and refuses; what the node sends behind OUTPUT */
#define FN_MAC_BITS         48          /* of a link-layer address; the bit above them: it is known */
#define FN_DST16            65536       /* /16 networks by which destinations are counted */
#define FN_ROUND_KEYS       5           /* of the table hash, keyed_hash.h */
#define FN_PAGE_PORTS       2048        /* ports in a page of a bitmap */
#define FN_PAGES            (65536 / FN_PAGE_PORTS)
#define FN_PAGE_WORDS       (FN_PAGE_PORTS / 64)
#define FN_PAGE_MAPS        3             /* bitmaps in a page: taken, known, firm */
#define FN_KNOWN            FN_PAGE_WORDS /* from a word of `taken` to that of `known` */
#define FN_FIRM             (2 * FN_PAGE_WORDS)

/* The family: the same steps are compiled once for each, over addresses of 32 and of 128 bits. */
#ifdef FN_IPV6
typedef unsigned __int128 addr_t __attribute__((aligned(8)));
#define FN_ADDR_BITS    128
#define FN_V6           1
#define PROTO_ICMP      58
#define ICMP_ECHO       128
#define ICMP_ECHO_REPLY 129
#else
typedef uint32_t addr_t;
#define FN_ADDR_BITS    32
#define FN_V6           0
#define PROTO_ICMP      1
#define ICMP_ECHO       8
#define ICMP_ECHO_REPLY 0
#endif
#define FN_ADDR_BYTES (FN_ADDR_BITS / 8)
#define FN_STATS      28 /* counters of an engine, enum stat */
#define FN_TIMEOUTS   40 /* enum timeout */

enum ip_protocol {
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_DCCP = 33,
    PROTO_GRE = 47,
    PROTO_ESP = 50,
    PROTO_AH = 51,
    PROTO_SCTP = 132,
    PROTO_UDPLITE = 136,
};

/* enum ip_conntrack_status. */
enum status {
    IPS_EXPECTED = 0x1,
    IPS_SEEN_REPLY = 0x2,
    IPS_ASSURED = 0x4,
    IPS_CONFIRMED = 0x8,
    IPS_SRC_NAT = 0x10,
    IPS_DST_NAT = 0x20,
    IPS_SEQ_ADJUST = 0x40,
    IPS_SRC_NAT_DONE = 0x80,
    IPS_DST_NAT_DONE = 0x100,
    IPS_DYING = 0x200,
    IPS_FIXED_TIMEOUT = 0x400,
    IPS_NAT_CLASH = 0x1000,
    IPS_HELPER = 0x2000,
};

/* address_t.flags */
enum address_flag {
    ADDRESS_SECONDARY = 1,
    ADDRESS_DEPRECATED = 2,
    ADDRESS_TENTATIVE = 4,
    ADDRESS_TEMPORARY = 8,
};

/* conn_t.flags */
enum conn_flag {
    CONN_LIVE = 1,
    CONN_MARKED = 2,
    /* it has a help_t: a helper watches it, or one announced it */
    CONN_HELPED = 16,
    /* nf_conntrack_acct was on when it began: it has an acct_t */
    CONN_COUNTED = 64,
    /* a rule gave it to a proxy on the node: tproxy, TPROXY */
    CONN_PROXIED = 128,
};

/* ipvs_conn_t.flags */
enum ipvs_flag {
    IPVS_USED = 1,
    /* it only says which server a client of a persistent service keeps */
    IPVS_TEMPLATE = 2,
    /* its server counts it as active */
    IPVS_ACTIVE = 4,
    /* its end is that of its entry in conntrack */
    IPVS_NFCT = 8,
    /* --ops: for one datagram, with which it ends; it is in no bucket */
    IPVS_ONE_PACKET = 16,
    /* a template whose server is gone or has no weight: nobody finds it any more (ip_vs_check_template) */
    IPVS_FORGOTTEN = 32,
    /* its real server is one of the service of all ports, and not of its own port's */
    IPVS_OF_ALL_PORTS = 64,
    /* its real server is one of the service of FTP, whose clients keep theirs for all ports */
    IPVS_OF_FTP = 128,
};

/* ipvs_conn_t.state of a template (IP_VS_CTPL_S_*) */
enum ipvs_template_state {
    IPVS_TEMPLATE_NONE = 0,
    /* a connection that it controls was established, or answered */
    IPVS_TEMPLATE_ASSURED = 1,
};

/* service_t.flags */
enum service_flag {
    /* sh: the source port counts too */
    SERVICE_HASH_PORTS = 1,
    /* each datagram of UDP is for a server of its own */
    SERVICE_ONE_PACKET = 2,
    /* sh: a server without weight is passed over */
    SERVICE_HASH_FALLBACK = 4,
};

/* enum ip_vs_tcp_states */
enum ipvs_tcp_state {
    IPVS_TCP_NONE = 0,
    IPVS_TCP_ESTABLISHED = 1,
    IPVS_TCP_SYN_SENT = 2,
    IPVS_TCP_SYN_RECV = 3,
    IPVS_TCP_FIN_WAIT = 4,
    IPVS_TCP_TIME_WAIT = 5,
    IPVS_TCP_CLOSE = 6,
    IPVS_TCP_CLOSE_WAIT = 7,
    IPVS_TCP_LAST_ACK = 8,
    IPVS_TCP_LISTEN = 9,
    IPVS_TCP_SYNACK = 10,
};

/* enum ip_vs_sctp_states */
enum ipvs_sctp_state {
    IPVS_SCTP_NONE = 0,
    IPVS_SCTP_INIT1 = 1,
    IPVS_SCTP_INIT = 2,
    IPVS_SCTP_COOKIE_SENT = 3,
    IPVS_SCTP_COOKIE_REPLIED = 4,
    IPVS_SCTP_COOKIE_WAIT = 5,
    IPVS_SCTP_COOKIE = 6,
    IPVS_SCTP_COOKIE_ECHOED = 7,
    IPVS_SCTP_ESTABLISHED = 8,
    IPVS_SCTP_SHUTDOWN_SENT = 9,
    IPVS_SCTP_SHUTDOWN_RECEIVED = 10,
    IPVS_SCTP_SHUTDOWN_ACK_SENT = 11,
    IPVS_SCTP_REJECTED = 12,
    IPVS_SCTP_CLOSED = 13,
};

/* enum tcp_conntrack */
enum tcp_state {
    TCP_NONE = 0,
    TCP_SYN_SENT = 1,
    TCP_SYN_RECV = 2,
    TCP_ESTABLISHED = 3,
    TCP_FIN_WAIT = 4,
    TCP_CLOSE_WAIT = 5,
    TCP_LAST_ACK = 6,
    TCP_TIME_WAIT = 7,
    TCP_CLOSE = 8,
    TCP_SYN_SENT2 = 9,
};

/* the kernels whose decisions are taken: engine_t.profile */
enum profile {
    LINUX_5_4 = 54,
    LINUX_6_18 = 618,
};

/* help_t.kind */
enum helper {
    HELPER_NONE = 0,
    HELPER_FTP = 1,
    HELPER_TFTP = 2,
    HELPER_PPTP = 3,
};

/* expect_t.kind: what happens when it comes true */
enum expect_kind {
    EXPECT_FREE = 0,
    /* nothing; nf_nat_follow_master; pptp_nat_expected; not a connection but a GRE key */
    EXPECT_PLAIN = 1,
    EXPECT_FOLLOW = 2,
    EXPECT_PPTP = 3,
    EXPECT_GRE_KEY = 4,
};

/* enum ip_conntrack_info; INVALID: the packet has no connection. */
enum ct_info {
    IP_CT_ESTABLISHED = 0,
    IP_CT_RELATED = 1,
    IP_CT_NEW = 2,
    IP_CT_ESTABLISHED_REPLY = 3,
    IP_CT_RELATED_REPLY = 4,
    IP_CT_UNTRACKED = 7,
    IP_CT_INVALID = 8,
};

enum direction {
    DIR_ORIGINAL = 0,
    DIR_REPLY = 1,
};

/* pkt_t.part: of a datagram that nobody has put together */
enum datagram_part {
    PART_WHOLE = 0,
    PART_FIRST = 1,
    PART_LATER = 2,
    /* its extension headers end within themselves: rules cannot tell its protocol, conntrack only behind a cut routing header */
    PART_UNKNOWN = 3,
};

/* pkt_t.twin: of what the node sends to a group or to all */
enum twin_kind {
    TWIN_NONE = 0,
    TWIN_SENT = 1,
    /* the copy that comes back to the node: it has no socket (skb_clone) */
    TWIN_COPY = 2,
};

/* enum nf_inet_hooks */
enum hook {
    HOOK_PREROUTING = 0,
    HOOK_INPUT = 1,
    HOOK_FORWARD = 2,
    HOOK_OUTPUT = 3,
    HOOK_POSTROUTING = 4,
};

/* waypoint_t.place, beside enum hook */
enum waypoint_place {
    WAYPOINT_CONNTRACK = 5,
    WAYPOINT_ROUTE = 6,
    WAYPOINT_SERVER = 7,
};

/* engine_t.iface_flags; the MTU stands in the high half */
enum iface_flag {
    IFACE_RP_STRICT = 1,
    IFACE_RP_LOOSE = 2,
    IFACE_ACCEPT_LOCAL = 4,
    IFACE_LOOPBACK = 8,
    IFACE_ROUTE_LOCALNET = 16,
    IFACE_FORWARD = 32,
    IFACE_BC_FORWARD = 64,
    /* it has no address of the family */
    IFACE_NO_ADDRESS = 128,
    IFACE_REDIRECTS = 256,
    IFACE_SRC_VMARK = 512,
    IFACE_SOURCE_ROUTE = 1024,
    /* it forwards, and looks for no way back */
    IFACE_PLAIN = 2048,
    /* the link layer addresses its packets to all, to groups and to one */
    IFACE_LINK_LAYER = 4096,
    /* of IPv6: it listens to the solicited-node groups of its addresses */
    IFACE_SOLICITED = 8192,
    IFACE_ROUTER = 16384,
};

/* element_t.port of a network that is in a hash:net,iface of whatever device */
#define ANY_DEVICE 0xffffffffu

/* set_t.dims */
enum set_dimension {
    DIM_NONE = 0,
    DIM_ADDRESS = 1,
    DIM_NETWORK = 2,
    DIM_PROTO_PORT = 3,
    DIM_PORT = 4,
    DIM_IFACE = 5,
    DIM_MARK = 6,
};

/* -m set, in match_t.bits */
enum set_bit {
    /* --return-nomatch: exceptions match, and nothing else */
    SET_RETURN_NOMATCH = 1,
    SET_SKIP_COUNTERS = 2,
    SET_SKIP_SUBCOUNTERS = 4,
    /* counters of the element are asked, in the slot behind; _NOT: they lie outside the limits */
    SET_ASK_COUNTERS = 8,
    SET_PACKETS_NOT = 16,
    SET_BYTES_NOT = 32,
};

/* -m recent, in match_t.bits: an operation, and bits beside it */
enum recent_operation {
    RECENT_SET = 0,
    RECENT_CHECK = 1,
    RECENT_UPDATE = 2,
    RECENT_REMOVE = 3,
};

enum recent_bit {
    RECENT_OPERATION = 3,
    RECENT_DEST = 4,
    RECENT_REAP = 8,
    RECENT_TTL = 16,
};

/* -m hashlimit, in match_t.bits: parts of the key, whether it asks for what is above, the kind of rate */
enum hashlimit_bit {
    HASHLIMIT_DST = 1,
    HASHLIMIT_DPORT = 2,
    HASHLIMIT_SRC = 4,
    HASHLIMIT_SPORT = 8,
    HASHLIMIT_ABOVE = 16,
    HASHLIMIT_BYTES = 32,
    HASHLIMIT_RATE_MATCH = 64,
};

/* -m connbytes: what is counted, in which directions */
enum counted_part {
    COUNTED_PACKETS = 0,
    COUNTED_BYTES = 1,
    COUNTED_AVERAGE = 2,
};

enum counted_way {
    COUNTED_ORIGINAL = 1,
    COUNTED_REPLY = 2,
};

/* -m owner: what of the socket it asks for */
enum owner_part {
    OWNER_SOCKET = 0,
    OWNER_UID = 1,
    OWNER_GID = 2,
};

/* -m rt: what of the routing header it asks for */
enum routing_part {
    ROUTING_SEGMENTS_LEFT = 0,
    ROUTING_TYPE = 1,
    ROUTING_LENGTH = 2,
    ROUTING_RESERVED = 3,
};

/* -m time, in match_t.bits: a bit for each weekday from Monday 1 to Sunday 7, and --contiguous */
enum time_bit {
    TIME_WEEKDAYS = 0xfe,
    TIME_CONTIGUOUS = 0x100,
};

/* -m connlimit, in match_t.bits */
enum connlimit_bit {
    CONNLIMIT_DST = 1,
};

enum rule_table {
    TABLE_RAW = 0,
    TABLE_MANGLE = 1,
    TABLE_NAT = 2,
    TABLE_FILTER = 3,
    /* no table of iptables: base chains of nftables behind those of a hook; in FORWARD those at egress, behind confirm */
    TABLE_LAST = 4,
};

/* the chains of rules that a forwarded packet passes */
enum place {
    PLACE_DST = 0, /* nat PREROUTING */
    PLACE_SRC = 1, /* nat POSTROUTING */
    PLACE_RAW = 2,
    PLACE_MANGLE_PREROUTING = 3,
    PLACE_MANGLE_FORWARD = 4,
    PLACE_FILTER = 5,
    PLACE_MANGLE_POSTROUTING = 6,
    PLACE_ELSEWHERE = 7, /* any other */
};
#define FN_PLACES 8

/* What a bitmap knows of the end of a port search (port_search_t). */
enum search_end {
    SEARCH_OPEN = 0,   /* not enough */
    SEARCH_FREE = 1,   /* nobody has the port */
    SEARCH_FAILS = 2,  /* all candidates are taken, and none gives way */
    SEARCH_UNSEEN = 3, /* at a port that nobody is known to have; whoever takes it has to look */
    SEARCH_OWNED = 4,  /* at a port whose owner may have to give way to this SYN */
};

enum manip {
    MANIP_SRC = 0,
    MANIP_DST = 1,
};

/* NF_NAT_RANGE_* */
enum range_flag {
    RANGE_MAP_IPS = 1,
    RANGE_PROTO_SPECIFIED = 2,
    RANGE_PROTO_RANDOM = 4,
    RANGE_PERSISTENT = 8,
    RANGE_PROTO_RANDOM_FULLY = 16,
    RANGE_PROTO_OFFSET = 32,
    RANGE_RANDOM_ALL = 20,
    /* none of the kernel's: a prefix of IPv4 in nftables, of whose addresses nft_nat_setup_netmap leaves 12 bytes as they are */
    RANGE_UNSET_BYTES = 64,
};

/* What became of a packet. */
enum verdict {
    VERDICT_FORWARD = 0,
    VERDICT_LOCAL = 1,
    VERDICT_DROP = 2,
};

/* Why a packet was dropped, or passed untranslated (INVALID, UNTRACKED). */
enum reason {
    REASON_NONE = 0,
    REASON_INVALID = 1,
    REASON_CLASH = 2,
    REASON_TABLE_FULL = 3,
    REASON_NO_ADDRESS = 4,
    REASON_NO_ROUTE = 5,
    REASON_TTL = 6,
    REASON_MARTIAN = 7,
    REASON_IP_HEADER = 8,
    REASON_RULE_DROP = 9,
    REASON_OUT_DEVICE = 10,
    REASON_NOT_FORWARDING = 11,
    REASON_ICMP_TRANSLATION = 12,
    REASON_TRUNCATED = 13,
    REASON_FRAGMENT = 14,
    REASON_UNTRACKED = 15,
    REASON_INTERFACE = 16,
    REASON_HANDLER_DROP = 17,
    REASON_TOO_BIG = 18,
    REASON_CHAIN_TOO_LONG = 19,
    REASON_NO_SERVER = 20,
    REASON_HELPER = 21,
    REASON_NO_ROOM = 22,
    REASON_TOO_MANY_RULES = 23,
    /* a proxy has it, and its route leads on to another machine */
    REASON_PROXIED = 24,
    /* the client's port is in use again, and IPVS first ends the connection that it was in */
    REASON_SERVICE_REUSED = 25,
    /* by a rule that tells the sender: REJECT, reject */
    REASON_RULE_REJECT = 26,
};

/* indices of engine_t.stats; dtypes.STATS names them in this order */
enum stat_index {
    STAT_FOUND = 0,
    STAT_INVALID = 1,
    STAT_IGNORE = 2,
    STAT_INSERT = 3,
    STAT_INSERT_FAILED = 4,
    STAT_DROP = 5,
    STAT_EARLY_DROP = 6,
    STAT_ERROR = 7,
    STAT_SEARCH_RESTART = 8,
    STAT_CLASH_RESOLVE = 9,
    STAT_CHAINTOOLONG = 10,
    STAT_NEW = 11,
    STAT_DELETE = 12,
    STAT_PORT_SEARCH_PROBES = 13,
    STAT_PORT_SEARCHES = 14,
    STAT_PORT_SEARCH_FAILURES = 15,
    STAT_PACKETS = 16,
    STAT_EXPIRED = 17,
    STAT_RULES_WALKED = 18,
    STAT_EVICTED = 19,
    STAT_BYSOURCE_REUSE = 20,
    STAT_RANDOM_DRAWS = 21,
    STAT_EXPECT_NEW = 22,
    STAT_EXPECT_CREATE = 23,
    STAT_EXPECT_DELETE = 24,
};

/* indices of engine_t.timeouts; TCP states first, by their number */
enum timeout_index {
    TIMEOUT_TCP = 0,
    TIMEOUT_TCP_MAX_RETRANS = 10,
    TIMEOUT_TCP_UNACK = 11,
    TIMEOUT_UDP = 12,
    TIMEOUT_UDP_STREAM = 13,
    TIMEOUT_ICMP = 14,
    TIMEOUT_GENERIC = 15,
    TIMEOUT_GRE = 16,
    TIMEOUT_GRE_STREAM = 17,
    /* 21 to 29: SCTP states */
    TIMEOUT_SCTP = 20,
};

/* service_t.scheduler */
enum scheduler {
    SCHEDULE_RR = 0,
    SCHEDULE_WRR = 1,
    SCHEDULE_LC = 2,
    SCHEDULE_WLC = 3,
    SCHEDULE_SH = 4,
};

enum table_kind {
    TABLE_KIND_TUPLES = 0,
    TABLE_KIND_SOURCES = 1,
};

enum route_kind {
    ROUTE_UNICAST = 1,
    ROUTE_LOCAL = 2,
    ROUTE_BROADCAST = 3,
    ROUTE_ANYCAST = 4,
    ROUTE_MULTICAST = 5,
    ROUTE_BLACKHOLE = 6,
    ROUTE_UNREACHABLE = 7,
    ROUTE_PROHIBIT = 8,
    ROUTE_THROW = 9,
};

enum target_kind {
    TARGET_NONE = 0,
    TARGET_ACCEPT = 1,
    TARGET_DROP = 2,
    TARGET_RETURN = 3,
    TARGET_JUMP = 4,
    TARGET_GOTO = 5,
    TARGET_POLICY_ACCEPT = 6,
    TARGET_POLICY_DROP = 7,
    TARGET_CHAIN_END = 8,
    TARGET_SNAT = 9,
    TARGET_DNAT = 10,
    TARGET_MASQUERADE = 11,
    TARGET_REDIRECT = 12,
    TARGET_NETMAP = 13,
    TARGET_MARK = 14,
    TARGET_CONNMARK = 15,
    TARGET_NOTRACK = 16,
    TARGET_CT_ZONE = 17,
    TARGET_DISPATCH = 18,
    TARGET_TOS = 19,
    TARGET_TTL = 20,
    /* no rule's: the walk met more than FN_WALK_RULES rules */
    TARGET_TOO_FAR = 21,
    TARGET_TCPMSS = 22,
    /* no rule's: TCPMSS has no room for its option */
    TARGET_NO_ROOM = 23,
    TARGET_TPROXY = 24, /* marks and accepts; drops what no proxy can have */
    TARGET_REJECT = 25, /* drops, and tells the sender, whose answer is not shown */
};

/* rule_t.tests */
enum rule_tests {
    RULE_TESTS_ADDRESSES = 1,
    RULE_TESTS_PROTO = 2,
    RULE_TESTS_IN = 4,
    RULE_TESTS_OUT = 8,
    /* a list of matches, or one in the rule itself */
    RULE_TESTS_MATCHES = 16,
    RULE_TESTS_MATCH = 32,
    /* -f, or ! -f with bit 3 of `invert` */
    RULE_TESTS_FRAGMENT = 64,
    /* nothing more: the rule is one of a run of alike rules, see dispatch_t */
    RULE_TESTS_ALIKE = 128,
};

/* table_memo_t.varied: 1 + the place of the run in engine_t.apart, and which of the rules for one source it is */
enum varied {
    VARIED_RUN = 7,
    VARIED_STEP = 8,
    VARIED_STEPS = 32,
};

enum dispatch_key {
    DISPATCH_DST = 0,
    DISPATCH_DPORT = 1,
    DISPATCH_SRC = 2,
    DISPATCH_MARK = 3,
    DISPATCH_IN = 4,
    /* --ctorigsrc */
    DISPATCH_CT_SRC = 5,
};

/* match_t.kind; behind each its form, a 16-bit field if it uses one, and the option of iptables */
enum match_kind {
    MATCH_LISTED = 0,           /* listed + n_listed: none; a rule with several matches has it in place of its only one */
    MATCH_SPORT = 1,            /* ports: --sport */
    MATCH_DPORT = 2,            /* ports: --dport */
    MATCH_TCP_FLAGS = 3,        /* byte: --tcp-flags, --syn */
    MATCH_ICMP_TYPE = 4,        /* icmp: --icmp-type, --icmpv6-type */
    MATCH_MULTIPORT_SRC = 5,    /* multiport + n_ports: --sports */
    MATCH_MULTIPORT_DST = 6,    /* multiport + n_ports: --dports */
    MATCH_MULTIPORT_EITHER = 7, /* multiport + n_ports: --ports */
    MATCH_MARK = 8,             /* mark: -m mark --mark */
    MATCH_CONNMARK = 9,         /* mark: -m connmark --mark */
    MATCH_ADDRTYPE_SRC = 10,    /* addrtype: --src-type */
    MATCH_ADDRTYPE_DST = 11,    /* addrtype: --dst-type */
    MATCH_IPRANGE_SRC = 12,     /* iprange: --src-range */
    MATCH_IPRANGE_DST = 13,     /* iprange: --dst-range */
    MATCH_CTSTATE = 14,         /* ctstate: --ctstate, --state */
    MATCH_CTPROTO = 15,         /* ctproto + with_state: --ctproto */
    MATCH_NTH = 16,             /* nth: -m statistic --mode nth */
    MATCH_RANDOM = 17,          /* chance: -m statistic --mode random */
    MATCH_LENGTH = 18,          /* range: -m length --length */
    MATCH_L4_HEADER = 20,       /* l4_header: none; in front of matches that need the header */
    MATCH_CONST = 21,           /* constant: those whose answer is always the same here, as --physdev-in */
    MATCH_SET = 22,             /* set + bits: --match-set */
    MATCH_RECENT = 23,          /* recent + bits: -m recent */
    MATCH_LIMIT = 24,           /* limit: -m limit */
    MATCH_TTL = 25,             /* range: -m ttl, -m hl */
    MATCH_TOS = 26,             /* byte: --tos, --dscp */
    MATCH_CT_ADDR = 27,         /* ct_addr + with_state: --ctorigsrc, --ctorigdst, --ctreplsrc, --ctrepldst */
    MATCH_CT_PORT = 28,         /* ct_ports + with_state: --ctorigsrcport and its kind */
    MATCH_CT_STATUS = 29,       /* ct_status + with_state: --ctstatus */
    MATCH_CT_DIR = 30,          /* ct_dir + with_state: --ctdir */
    MATCH_MORE = 31,            /* recent_more, set_more, limit_more: the second slot of -m recent, set and limit */
    MATCH_RPFILTER = 32,        /* rpfilter: -m rpfilter */
    MATCH_HASHLIMIT = 33,       /* hashlimit + bits: -m hashlimit */
    MATCH_HELPER = 34,          /* helper: -m helper --helper */
    MATCH_CT_EXPIRE = 35,       /* range + with_state: --ctexpire */
    MATCH_TCP_OPTION = 36,      /* option: --tcp-option */
    MATCH_PKT_TYPE = 37,        /* pkt_type: --pkt-type */
    MATCH_OWNER = 40,           /* owner: -m owner */
    MATCH_QUOTA = 41,           /* quota: -m quota */
    MATCH_TCP_MSS = 42,         /* range: -m tcpmss --mss */
    MATCH_TIME = 43,            /* time + bits: -m time */
    MATCH_ROUTING = 44,         /* routing: -m rt */
    MATCH_CONNLIMIT = 45,       /* connlimit + bits: -m connlimit */
    MATCH_CONNBYTES = 46,       /* connbytes: -m connbytes */
    MATCH_ECN = 47,             /* byte: --ecn-tcp-cwr, --ecn-tcp-ece */
    MATCH_SOCKET = 48,          /* constant: -m socket --transparent */
    MATCH_MAC = 49,             /* mac: --mac-source */
};

/* base_t.kind */
enum base_kind {
    /* the table of iptables at this step */
    BASE_IPTABLES = 0,
    /* a base chain of nftables */
    BASE_NFTABLES = 1,
};

/* nft_set_t.kind */
enum nft_set_kind {
    /* whole keys, by hash */
    NFT_SET_HASH = 0,
    /* intervals that do not overlap, in order */
    NFT_SET_INTERVALS = 1,
    /* a concatenation of intervals, by a hash of the parts that are single values everywhere */
    NFT_SET_RANGES = 2,
};

/* nft_expr_t.kind; behind each what a, b and c are. "words": a place in engine_t.nft_words */
enum nft_expr_kind {
    NFT_VERDICT = 0,     /* TARGET_*, first rule of the chain */
    NFT_IMMEDIATE = 1,   /* the value where words is 1, else words */
    NFT_PAYLOAD = 2,     /* NFT_BASE_*, first byte, bytes */
    NFT_META = 3,        /* NFT_META_* */
    NFT_CT = 4,          /* NFT_CT_*, DIR_* */
    NFT_FIB = 5,         /* NFT_FIB_* */
    NFT_RT = 6,          /* NFT_RT_* */
    NFT_TCP_OPTION = 7,  /* kind of the option, first byte in it, bytes; bytes 0: whether it is there */
    NFT_EXTHDR = 8,      /* kind of an IPv4 option or IPv6 header, first byte in it, bytes; bytes 0: whether it is there */
    NFT_NUMGEN = 9,      /* a state, modulus, offset; sreg 1: at random */
    NFT_JHASH = 10,      /* bytes of the key, modulus, seed */
    NFT_SYMHASH = 11,    /* -, modulus */
    NFT_BITWISE = 12,    /* words: mask, then bits that are exclusive-ored */
    NFT_SHIFT = 13,      /* bits to the left, bits to the right */
    NFT_COMBINE = 14,    /* second register; NFT_AND, NFT_OR or NFT_XOR */
    NFT_CMP = 15,        /* the value where words is 1, else words; NFT_CMP_* */
    NFT_RANGE = 16,      /* words: low, then high; 1: not in it */
    NFT_LOOKUP = 17,     /* set; NFT_LOOKUP_*; dreg: of the data of a map */
    NFT_COUNTER = 18,    /* state */
    NFT_LIMIT = 19,      /* state; bit 0: over, bit 1: of bytes */
    NFT_QUOTA = 20,      /* state; 1: over */
    NFT_LAST = 21,       /* state */
    NFT_CONNLIMIT = 22,  /* state; 1: over; connections */
    NFT_OBJECT = 23,     /* expression of the object in nft_exprs, in the register */
    NFT_DYNSET = 24,     /* set; NFT_DYNSET_* | bit 8: a map; timeout in jiffies, 0: the set's. sreg: key, dreg: data */
    NFT_SET_MARK = 25,   /* 0: of the packet, 1: of the connection, 2: priority of the packet */
    NFT_SET_ZONE = 26,   /* directions, 1 original, 2 reply */
    NFT_SET_HELPER = 27, /* HELPER_*, IP protocol */
    NFT_SET_TOS = 28,    /* mask of the bits that stay */
    NFT_SET_TTL = 29,
    NFT_SET_MSS = 30,
    NFT_NOTRACK = 31,
    NFT_NAT = 32,         /* TARGET_*, RANGE_*; c: registers of min_addr, max_addr, min_proto, max_proto, a byte each, 255 none */
    NFT_ZERO_CHECKSUM = 33,
    NFT_ADD = 34,         /* what is added to the register */
    NFT_STRIP = 35,       /* kind of the TCP option of which NOPs are made */
    NFT_SET_TIMEOUT = 36, /* row of engine_t.policies, IP protocol */
    NFT_SET_ADDRESS = 37, /* MANIP_* */
    NFT_SET_PORT = 38,    /* MANIP_*, IP protocol that the rule names */
    NFT_TPROXY = 39,
    NFT_CHOOSE = 40,      /* words: the verdicts of 0, 1, 2 and so on, TARGET_* and first rule of the chain; how many */
    NFT_FRAME = 41,       /* -, first byte, bytes; sreg 0: of the frame that came, 1: of the one that leaves */
};

enum nft_base {
    NFT_BASE_LINK = 0,
    NFT_BASE_NETWORK = 1,
    NFT_BASE_TRANSPORT = 2,
    NFT_BASE_INNER = 3,
};

enum nft_cmp {
    NFT_EQ = 0,
    NFT_NEQ = 1,
    NFT_LT = 2,
    NFT_LTE = 3,
    NFT_GT = 4,
    NFT_GTE = 5,
};

enum nft_boolean {
    NFT_AND = 0,
    NFT_OR = 1,
    NFT_XOR = 2,
};

enum nft_lookup {
    NFT_LOOKUP_SET = 0,
    NFT_LOOKUP_NOT = 1,
    NFT_LOOKUP_MAP = 2,
    NFT_LOOKUP_VERDICT = 3,
};

enum nft_dynset {
    NFT_DYNSET_ADD = 0,
    NFT_DYNSET_UPDATE = 1,
    NFT_DYNSET_DELETE = 2,
};

enum nft_meta {
    NFT_META_LEN = 0,
    NFT_META_PRIORITY = 2,
    NFT_META_MARK = 3,
    NFT_META_IIF = 4,
    NFT_META_OIF = 5,
    NFT_META_IIFNAME = 6,
    NFT_META_OIFNAME = 7,
    NFT_META_SKUID = 10,
    NFT_META_SKGID = 11,
    NFT_META_TIME = 28, /* nanoseconds since 1970, two words */
    NFT_META_DAY = 29,  /* 0: Sunday */
    NFT_META_HOUR = 30, /* seconds of the day */
    NFT_META_PKTTYPE = 17,
    NFT_META_L4PROTO = 16,
    NFT_META_CGROUP = 23,
    NFT_META_RANDOM = 24,
    /* beyond those of the kernel: 1 where a proxy's socket has the connection */
    NFT_META_TRANSPARENT = 200,
    /* the device in whose hands it is, which `iiftype` asks about */
    NFT_META_DEVICE = 201,
};

enum nft_ct {
    NFT_CT_STATE = 0,
    NFT_CT_DIRECTION = 1,
    NFT_CT_STATUS = 2,
    NFT_CT_MARK = 3,
    NFT_CT_EXPIRATION = 5,
    NFT_CT_HELPER = 6,
    NFT_CT_L3PROTOCOL = 7,
    NFT_CT_SRC = 8,
    NFT_CT_DST = 9,
    NFT_CT_PROTOCOL = 10,
    NFT_CT_PROTO_SRC = 11,
    NFT_CT_PROTO_DST = 12,
    NFT_CT_PKTS = 14, /* b: DIR_*, 2: both */
    NFT_CT_BYTES = 15,
    NFT_CT_AVGPKT = 16,
    NFT_CT_ZONE = 17,
};

/* bits of a fib expression */
enum nft_fib {
    NFT_FIB_DADDR = 1,
    NFT_FIB_IIF = 2,
    NFT_FIB_OIF = 4,
    /* results; none: the index of the interface */
    NFT_FIB_TYPE = 8,
    NFT_FIB_OIFNAME = 16,
    NFT_FIB_PRESENT = 32,
    NFT_FIB_MARK = 64,
};

enum nft_rt {
    NFT_RT_NEXTHOP = 0,
    NFT_RT_TCPMSS = 3,
};

/* What an event says: nf_conntrack_events as conntrack -E names them. */
enum event {
    EVENT_NEW = 1,
    EVENT_UPDATE = 2,
    EVENT_DESTROY = 3,
};

/* What an UPDATE is about, bits (enum ip_conntrack_events). */
enum event_what {
    EVENT_REPLY = 1,
    EVENT_ASSURED = 2,
    EVENT_PROTOINFO = 4,
    EVENT_MARK = 8,
};

#endif
