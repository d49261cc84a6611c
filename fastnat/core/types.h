/* Every record of the datapath. Tables hold indices, never pointers, so that they can be viewed by
 * NumPy, saved and copied. Integers are in host byte order unless the name ends in _be. */
#ifndef FASTNAT_TYPES_H
#define FASTNAT_TYPES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "codes.h"

/* 16 bytes (IPv6: 40), all significant: compared and hashed as words.
 *   rest: source port or id | destination port, or ICMP type << 8 | code, << 16 | protocol << 32 | zone << 48 */
typedef struct {
    addr_t src, dst;
    union {
        uint64_t rest;
        struct {
            uint16_t sport, dport;
            uint8_t proto, pad;
            uint16_t zone;
        };
    };
} tuple_t;
static_assert(sizeof(tuple_t) == 2 * FN_ADDR_BYTES + 8, "hashed as a whole");

/* One connection, one cache line (IPv6: 112 bytes in two lines).
 *   0               16              32      36        40       44       48     52     56    58   60     62    63
 *   | original tuple | reply tuple  |timeout|wheel_pos|bysource|bysource|stream|routes|masq |zone|status|state|flags|
 *   |                |              |       |         |next    |prev    |ts    |      |iface|    |      |     |     |
 * Immutable after confirm: tuples, zone, masq_iface. Written per packet: state, status, timeout, stream_ts,
 * routes (once per direction). Written by other records: bysource links, wheel_pos. */
typedef struct {
    tuple_t tuples[2];   /* each with the zone id that its direction is looked up in */
    uint32_t timeout;    /* jiffies: relative until confirmed, then absolute (nf_conn.timeout) */
    uint32_t wheel_pos;  /* chunk * 16 + slot, FN_NONE outside the wheel */
    uint32_t bysource_next, bysource_prev;
    uint32_t stream_ts;  /* UDP: jiffies after which a reply makes a stream */
    uint16_t routes[2];  /* route index + 1 of the last packet of the direction, 0 unknown */
    uint16_t masq_iface; /* the egress interface at MASQUERADE time, 0 none */
    uint16_t zone;       /* nf_conntrack_zone.id */
    uint16_t status;
    uint8_t state;       /* of the l4 protocol */
    uint8_t flags;       /* CONN_* */
} conn_t;
static_assert(sizeof(conn_t) == 2 * sizeof(tuple_t) + 32, "one cache line a connection");

/* What only TCP needs (struct ip_ct_tcp), and the connection mark; same index as conn_t. */
typedef struct {
    uint32_t td_end[2], td_maxend[2], td_maxwin[2], td_maxack[2];
    uint8_t scale[2], flags[2];
    uint8_t last_dir, last_index, retrans, last_wscale;
    uint32_t last_seq, last_ack, last_end;
    uint16_t last_win;
    uint8_t last_flags;
    uint8_t policy;                        /* 1 + a row of engine_t.policies, 0 the node's timeouts; holds only where there are policies */
    uint32_t help;                         /* holds only with CONN_HELPED */
    uint32_t mark;                         /* holds only with CONN_MARKED, so that an unmarked connection never touches this line */
} tcp_t;
#define FN_TCP_STATE offsetof(tcp_t, help) /* what opening a connection clears */
static_assert(sizeof(tcp_t) == 64, "one cache line beside the connection");

/* The same memory for SCTP (struct ip_ct_sctp). */
typedef struct {
    uint32_t vtag[2];
    uint8_t init[2], last_dir, flags;
    uint8_t pad[43], policy; /* as in tcp_t */
    uint32_t help, mark;
} sctp_t;
static_assert(sizeof(sctp_t) == sizeof(tcp_t) && offsetof(sctp_t, mark) == offsetof(tcp_t, mark), "one array for both");
static_assert(offsetof(sctp_t, help) == offsetof(tcp_t, help), "one array for both");
static_assert(offsetof(sctp_t, policy) == offsetof(tcp_t, policy), "one array for both");

/* Packets and bytes by direction (struct nf_conn_acct), of connections with CONN_COUNTED; same index as conn_t. */
typedef struct {
    uint64_t packets[2], bytes[2];
} acct_t;
static_assert(sizeof(acct_t) == 32, "never across two cache lines");

/* Twelve one-byte tags (0 empty), eight 4-bit counters of items that overflowed, by tag class, and
 * twelve items: id in the low 26 bits, five further hash bits, and "displaced" on top. */
typedef struct {
    uint8_t tags[FN_BUCKET_SLOTS];
    uint32_t overflow;
    uint32_t items[FN_BUCKET_SLOTS];
} bucket_t;
static_assert(sizeof(bucket_t) == 64, "one cache line a bucket");

/* A linear-hashing table of groups of buckets; grows by one group at a time. */
typedef struct {
    bucket_t *buckets;
    uint64_t used;        /* items */
    uint32_t bucket_mask; /* buckets at the end of this doubling, minus one */
    uint32_t n_buckets;   /* groups * FN_GROUP_BUCKETS */
    uint32_t level_mask;  /* groups at the start of this doubling, minus one */
    uint32_t half;        /* buckets at the start of this doubling */
    uint32_t split;       /* groups already split in this doubling */
    uint32_t groups, max_groups;
    uint32_t level;       /* doublings so far */
    uint32_t window;      /* the level at which the five further hash bits of items begin */
    uint32_t kind;        /* TABLE_KIND_TUPLES or _SOURCES: how a split hashes a displaced item */
    uint32_t crowded;     /* more items met than chance puts together: somebody knows the key, see tuples/rehash.pxd */
    uint64_t overflows;
} table_t;

/* Ids that fall due in one jiffy, newest chunk first; only the head chunk of a slot is partly filled. */
typedef struct {
    uint32_t next;
    uint16_t count, slot;
    uint32_t ids[FN_CHUNK_IDS];
} chunk_t;
static_assert(sizeof(chunk_t) == 64, "one cache line a chunk");

/* The ports in use towards one (protocol, peer address, peer port, NAT address, zone): bit p of `taken`
 * says that a tuple with destination port p exists; it holds only where bit p of `known` is set; bit p of `firm`, that
 * its owner does not give way to a SYN. A page holds the three for FN_PAGE_PORTS ports, and is there from the first
 * probe of one of them on. */
typedef struct {
    tuple_t t;                /* with destination port 0 */
    uint32_t newer, older;    /* the bitmaps searched last before and after this one; of a free one `older` is the next free */
    uint32_t last_search;     /* engine_t.bitmap_clock */
    uint32_t live;
    uint32_t pages[FN_PAGES]; /* FN_NONE: nothing is known */
} bitmap_key_t;

/* The forms of a match: what its three words say. codes.h names the form of each kind of match and the option that it
 * comes from; behind a field stands its unit. make_layout.py makes docs/rules.md of both. */
typedef struct {
    uint32_t low, high; /* ports, both included */
} ports_form_t;

typedef struct {
    uint32_t low, high; /* bytes of the datagram or of a segment, hops or seconds left, both included */
} range_form_t;

typedef struct {
    uint32_t first; /* place of the first pair in engine_t.port_slots */
} multiport_form_t;

typedef struct {
    uint32_t value, mask; /* bits of a mark: those of the mask are as in value */
} mark_form_t;

typedef struct {
    uint32_t mask, value; /* bits of the header's byte: those of the mask are as in value */
} byte_form_t;

typedef struct {
    uint32_t type;      /* ICMP type, 255: any */
    uint32_t low, high; /* codes, both included */
} icmp_form_t;

typedef struct {
    uint32_t types;  /* bit per RTN_* of the route to the address */
    uint32_t device; /* 0: any, 1: the one it came in by, 2: the one it goes out by */
} addrtype_form_t;

typedef struct {
    uint32_t type; /* of the destination: 0 unicast, 1 broadcast, 2 multicast */
} pkt_type_form_t;

typedef struct {
    uint32_t high, low; /* the first 16 bits of the address of the sender's device, the other 32 */
} mac_form_t;

typedef struct {
    uint32_t at; /* place in engine_t.targets: min_addr and max_addr */
} iprange_form_t;

typedef struct {
    uint32_t bits; /* XT_CONNTRACK_STATE_* */
} ctstate_form_t;

typedef struct {
    uint32_t proto; /* IP protocol of the original tuple */
} ctproto_form_t;

typedef struct {
    uint32_t at;  /* place in engine_t.targets: its network */
    uint32_t pad;
    uint32_t end; /* bit 0: the destination, bit 1: of the reply tuple */
} ct_addr_form_t;

typedef struct {
    uint32_t low, high; /* ports, both included */
    uint32_t end;       /* bit 0: the destination, bit 1: of the reply tuple */
} ct_ports_form_t;

typedef struct {
    uint32_t bits; /* IPS_*, one of them set */
} ct_status_form_t;

typedef struct {
    uint32_t dir; /* DIR_* of the packet */
} ct_dir_form_t;

typedef struct {
    uint32_t last;  /* packets between two that match */
    uint32_t pad;
    uint32_t count; /* packets since the last that matched; counted by the core */
} nth_form_t;

typedef struct {
    uint32_t below; /* chance, of 2**31 */
} chance_form_t;

typedef struct {
    uint32_t bytes; /* bytes of l4 header without which the kernel's match drops the packet */
} l4_header_form_t;

typedef struct {
    uint32_t holds; /* 0 or 1 */
} const_form_t;

typedef struct {
    uint32_t index;   /* place in engine_t.sets */
    uint32_t sources; /* bit per dimension: it looks at the source */
    uint32_t n_dims;  /* dimensions that the rule gives */
} set_form_t;

typedef struct {
    uint32_t at; /* place in engine_t.targets: counts of packets, and behind it of bytes */
} set_more_form_t;

typedef struct {
    uint32_t list;   /* number of the list */
    uint32_t window; /* jiffies, 0: any time */
    uint32_t hits;   /* packets */
} recent_form_t;

typedef struct {
    uint32_t at; /* place in engine_t.targets: masks.src, of whichever address it is */
} recent_more_form_t;

typedef struct {
    uint32_t cost, most; /* credits of xt_limit: of a packet, and at most */
} limit_form_t;

typedef struct {
    uint32_t credit; /* credits of xt_limit; counted by the core */
    uint32_t last;   /* jiffies of the last packet; noted by the core */
} limit_more_form_t;

typedef struct {
    uint32_t list;   /* number of the list */
    uint32_t at;     /* place in engine_t.targets: its masks and rate */
    uint32_t expiry; /* jiffies */
} hashlimit_form_t;

typedef struct {
    uint32_t flags; /* bits: 1 --loose, 2 --accept-local */
} rpfilter_form_t;

typedef struct {
    uint32_t helper; /* HELPER_*, 0: any */
} helper_form_t;

typedef struct {
    uint32_t number; /* kind of a TCP option */
} option_form_t;

typedef struct {
    uint32_t part;      /* OWNER_* */
    uint32_t low, high; /* user or group ids, both included */
} owner_form_t;

typedef struct {
    uint32_t low, high; /* bytes that may still pass, 64 bits; counted by the core */
} quota_form_t;

typedef struct {
    uint32_t at;        /* place in engine_t.targets: period */
    uint32_t monthdays; /* bit per day of the month, from 1 */
} time_form_t;

typedef struct {
    uint32_t part;      /* ROUTING_* */
    uint32_t low, high; /* of that part, both included */
} routing_form_t;

typedef struct {
    uint32_t list;  /* number of the list */
    uint32_t at;    /* place in engine_t.targets: masks.src, of whichever address it is */
    uint32_t limit; /* connections above which it matches */
} connlimit_form_t;

typedef struct {
    uint32_t at;   /* place in engine_t.targets: counts */
    uint32_t part; /* COUNTED_PACKETS, _BYTES or _AVERAGE */
    uint32_t ways; /* COUNTED_ORIGINAL and _REPLY, bits */
} connbytes_form_t;

typedef struct {
    uint32_t first; /* place of the rule's first match in engine_t.matches */
} listed_form_t;

/* One match of a rule. */
typedef struct {
    uint8_t kind, invert;
    union {
        uint16_t n_ports;    /* pairs of ports */
        uint16_t bits;       /* RECENT_*, HASHLIMIT_*, TIME_* or CONNLIMIT_*, as the kind is */
        uint16_t with_state; /* 1: beside --ctstate, which alone is asked where there is no connection */
        uint16_t n_listed;   /* matches of the rule */
        uint16_t need;       /* in a rule_t: bytes of l4 header without which its only match drops the packet */
        uint16_t n;
    };
    union {
        ports_form_t ports;
        range_form_t range;
        multiport_form_t multiport;
        mark_form_t mark;
        byte_form_t byte;
        icmp_form_t icmp;
        addrtype_form_t addrtype;
        pkt_type_form_t pkt_type;
        mac_form_t mac;
        iprange_form_t iprange;
        ctstate_form_t ctstate;
        ctproto_form_t ctproto;
        ct_addr_form_t ct_addr;
        ct_ports_form_t ct_ports;
        ct_status_form_t ct_status;
        ct_dir_form_t ct_dir;
        nth_form_t nth;
        chance_form_t chance;
        l4_header_form_t l4_header;
        const_form_t constant;
        set_form_t set;
        set_more_form_t set_more;
        recent_form_t recent;
        recent_more_form_t recent_more;
        limit_form_t limit;
        limit_more_form_t limit_more;
        hashlimit_form_t hashlimit;
        rpfilter_form_t rpfilter;
        helper_form_t helper;
        option_form_t option;
        owner_form_t owner;
        quota_form_t quota;
        time_form_t time;
        routing_form_t routing;
        connlimit_form_t connlimit;
        connbytes_form_t connbytes;
        listed_form_t listed;
        struct {
            uint32_t a, b, c;
        };
    };
} match_t;
static_assert(sizeof(match_t) == 16, "four a cache line");

typedef struct {
    addr_t src, smask, dst, dmask;
    uint16_t in_set, out_set; /* row of the interface match table, FN_ANY_IFACE any */
    uint8_t proto, invert;
    uint8_t target, tests;    /* tests: RULE_TESTS_*, which of the other fields say anything */
    uint32_t target_arg;
    uint32_t next;            /* the rule to try after this one */
    match_t match;            /* RULE_TESTS_MATCH: its only one, and `need`; _MATCHES: `listed` and `n_listed` */
    uint64_t packets, bytes;
} rule_t;
static_assert(sizeof(rule_t) == 4 * FN_ADDR_BYTES + 48, "one cache line a rule");

/* A run of rules that all ask for one exact key: open addressing over `slots`, from the key to the first rule of
 * the run that asks for it; those that follow are linked by rule_t.next, so the first match stays the first. */
typedef struct {
    uint8_t kind;  /* DISPATCH_* */
    uint8_t shift; /* of an address: the bits that its rules leave open */
    uint8_t apart; /* 1 + its place in engine_t.apart, 0: it is not there */
    uint8_t alike; /* with `apart`: its rules differ in nothing but the source and what SNAT makes of it */
    uint32_t mask, first_slot, pad;
} dispatch_t;

typedef struct {
    uint32_t key, rule; /* rule FN_NONE: empty */
} dispatch_slot_t;

/* What the kernel calls at one step of a hook: a base chain of nftables, or the table of iptables. */
typedef struct {
    uint32_t kind;   /* BASE_* */
    uint32_t entry;  /* of nftables: first rule in nft_rules */
    uint32_t policy; /* TARGET_ACCEPT or TARGET_DROP */
    uint32_t routes; /* the node's own packets are routed anew where it changes what routes depend on: type route, mangle */
} base_t;

/* One expression of a rule of nftables (struct nft_expr). Registers and words hold values of 32 bits in host order, the
 * most significant word first: an IPv6 address is four of them, an IPv4 address, a port or a mark one. */
typedef struct {
    uint8_t kind, words; /* NFT_*; words that it reads or writes */
    uint8_t dreg, sreg;  /* the registers that it writes and reads first */
    uint32_t a, b, c;    /* codes.h says it for each kind */
} nft_expr_t;

/* A rule of nftables; those of a chain lie in one piece, and the last one only says TARGET_CHAIN_END. */
typedef struct {
    uint32_t first, n;
} nft_rule_t;

/* A set or map. Its elements lie in one piece from `first` on, their words likewise, `stride` each: the key, or the low and
 * the high end of an interval, then the data. */
typedef struct {
    uint32_t kind, key_words, data_words, stride;
    uint32_t first, used, size;     /* elements: ever used, and room */
    uint32_t count, free;           /* elements in use; the last one that was released, plus one, 0 none */
    uint32_t words;                 /* of the first element */
    uint32_t slot, mask;            /* heads of the chains of elements in nft_slots */
    uint32_t exact;                 /* of NFT_SET_RANGES: a word of 0 or ~0 for each word of a key, in nft_words */
    uint32_t timeout;               /* jiffies that an element stays, 0: for ever */
    uint32_t any;                   /* the catch-all element, FN_NONE none */
    uint32_t states;                /* of the first element */
    uint32_t n_states, state_exprs; /* what an element carries, and its expressions: their `a` counts from its first state */
    uint32_t timed;                 /* elements may have a timeout */
} nft_set_t;

typedef struct {
    uint32_t next;             /* in its chain, or among the released ones, plus one; 0 none */
    uint32_t expires, timeout; /* jiffies; timeout 0: never */
    uint32_t used;             /* 0 free; else 1 with FN_NFT_BARE, FN_NFT_TIMELESS */
} nft_element_t;

/* What an expression remembers: a counter, limit, quota, last, or numgen. */
typedef struct {
    uint64_t packets, bytes; /* counter; quota: bytes used; numgen: the number given last, in packets */
    uint64_t tokens, last;   /* limit: nanoseconds; last: jiffies + 1 of the packet that came last; ct count: jiffies + 1 of the
                                last look at all connections, and nft_conn_t + 1 */
    uint64_t cost, most;     /* limit: nanoseconds of a packet, or rate and period of bytes; quota: bytes, in most; ct count:
                                the connections after the last look, in most */
    uint64_t period;         /* limit of bytes: nanoseconds; ct count of an element: the second in which its set was looked through */
} nft_state_t;

/* A connection that `ct count` counts (struct nf_conncount_tuple). */
typedef struct {
    tuple_t t;     /* its original one */
    uint64_t next; /* in its list, or among the free ones, plus one; 0 none */
} nft_conn_t;

/* What the rules of one table said of a packet, for all packets that none of them could tell apart. Its counters go to
 * those of the rules when somebody reads them. */
typedef struct {
    uint64_t key[3];
    uint64_t packets, bytes;
    uint32_t mark; /* the packet's mark afterwards */
    uint32_t target_arg;
    uint16_t walked;
    uint8_t kind;                        /* what do_table returned */
    uint8_t n;
    uint32_t rules[FN_TABLE_MEMO_RULES]; /* those that matched and count, but for a varied one */
    uint32_t varied;                     /* VARIED_*: a rule of a run of alike rules matched, each source's own; 0 none. During the
                                          * walk its index + 1 */
    uint8_t asks_tuple;                  /* a rule that was met asks for an address or a port */
    uint8_t untracked;                   /* the walk has taken the packet from conntrack (NOTRACK) */
    uint8_t pad[2];
} table_memo_t;
static_assert(sizeof(table_memo_t) == 128, "two cache lines a memo of a table");

/* What all hooks decide for the first packet of a forwarded connection, for packets that neither rule nor route
 * could tell apart: both walks through the nat rules, the route, the source manip. Or for packets without a connection: the route
 * and the rules, and in `kind` whether it is NOTRACK that has left them without one. */
typedef struct {
    uint64_t key[3];
    uint64_t packets, bytes;
    addr_t addr;   /* the SNAT address if it is always the same, as MASQUERADE's towards a gateway or behind DNAT, else 0 */
    uint32_t born; /* no other memo ever had this number; 0 where there is none */
    uint16_t route, walked;
    uint16_t out_iface, masq_iface;
    uint8_t kind, n;
    uint8_t complete; /* COMPLETE_*: it says both addresses, and whether the port is kept or drawn: all that
                       * shortcuts/opening.pxd asks; 0: it does not */
    uint8_t varied;   /* as in a table_memo_t; then addr is one of many */
    uint32_t target_arg;
    uint32_t mark;
    addr_t to;        /* where DNAT leads; 0: the destination stays */
    uint16_t to_port; /* 0: the port stays */
    uint16_t back;    /* the route of answers, index + 1, which all of them have; 0: it has to be found */
    uint32_t rules[FN_MEMO_RULES];
    uint32_t pad2;
} memo_t;
static_assert(sizeof(memo_t) == (FN_V6 ? 216 : 192), "three cache lines a memo, of which opening reads one, with DNAT two");

/* What the rules of raw, mangle and filter do with further packets of forwarded connections, where none of them asks for an
 * address or a port: they let them pass. */
typedef struct {
    uint64_t key[2];
    uint64_t packets, bytes;
    uint16_t walked;
    uint8_t n;
    uint8_t fails; /* some rule may decide otherwise for another packet of this key: each takes the long way */
    uint32_t rules[FN_PASS_RULES];
    uint32_t pad[3];
} pass_memo_t;
static_assert(sizeof(pass_memo_t) == 128, "two cache lines a memo of further packets");

/* The packets that a complete memo stands for: of each class that its key names the first member, and `last - first`. */
typedef struct {
    uint32_t memo, born; /* holds while this memo has this number */
    addr_t src, src_width, dst, dst_width;
    uint16_t sport, sport_width, dport, dport_width;
    uint32_t mark;
    uint16_t iface;
    uint8_t tcp_flags, proto;
} memo_bounds_t;

/* An ipset: open addressing over the elements from first_slot. Dimensions are 0 none, 1 address, 2 network, 3 protocol
 * and port, 4 port alone; a list:set has members instead. */
typedef struct {
    uint64_t prefixes[3]; /* bit per prefix length that an element's network has */
    uint32_t mask, first_slot;
    uint32_t first_member, n_members;
    uint8_t dims[3], n_dims; /* n_dims 255: a set of the other family, which matches nothing */
    uint8_t netmask;         /* prefix length of the first dimension, 255: all of it */
    uint8_t counts;          /* its elements count packets and bytes */
    uint8_t exceptions;      /* a set of networks, of which some may be exceptions: `nomatch` */
    uint8_t pad;
} set_t;

typedef struct {
    addr_t addrs[2];                        /* first and second address or network */
    uint32_t port;                          /* protocol << 16 | port; of an interface its number; a mark */
    uint8_t prefix, used, nomatch, expires; /* expires: at `until` */
    uint32_t until, pad;                    /* jiffies */
    uint64_t packets, bytes;
} element_t;

/* One address in a list of xt_recent; the times at which it was seen lie in engine_t.stamps. */
typedef struct {
    addr_t addr;
    uint32_t used;           /* orders the entries by their last change, 0: free */
    uint32_t next, n_stamps; /* the stamp to be written next; those that were written, at most the list's ring */
    uint32_t ttl;
} recent_t;

/* A list of xt_recent: each of its addresses has `ring` stamps, a power of two, in engine_t.stamps from `first` on. */
typedef struct {
    uint32_t ring, first;
} recent_list_t;

/* Packets of a chain without rules, which its policy counts. */
typedef struct {
    uint64_t packets, bytes;
} hook_count_t;

/* One bucket of -m hashlimit: who it is for, and what it may still spend; of --hashlimit-rate-match what it has spent. */
typedef struct {
    addr_t src, dst;
    uint32_t ports; /* source << 16 | destination */
    uint32_t used;
    uint64_t credit;
    uint32_t last, seen; /* jiffies: when its credit was renewed, when it was used */
    uint32_t bursts;     /* how often a byte rate may be full again at once; a rate match: 1: its last window was too much */
    uint32_t pad;
} hashlimit_t;

/* A connection that -m connlimit has counted for an address. */
typedef struct {
    tuple_t t;     /* its original tuple */
    addr_t addr;
    uint32_t next; /* place + 1 in its bucket, or of free ones; 0 last */
    uint16_t list, zone;
#ifndef FN_IPV6
    uint32_t pad;
#endif
} connlimit_t;

/* What only a connection has that a helper watches, or that one expected (struct nf_conn_help, nf_conn_seqadj,
 * nf_ct_ftp_master, nf_ct_pptp_master, nf_nat_pptp). */
typedef struct {
    uint32_t first;               /* its newest expectation; of a free record the next free one */
    uint8_t kind;                 /* HELPER_*, of the connection itself */
    uint8_t master_kind;          /* of the one that expected it, as -m helper asks for it */
    uint8_t n_ends[2];            /* FTP: how many of line_ends hold, by direction */
    uint32_t line_ends[2][2];     /* FTP: sequence numbers behind the last lines */
    uint32_t pos[2];              /* sequence adjustment, by direction: where it last changed, */
    uint32_t before[2], after[2]; /* what is added up to there and behind it */
    uint16_t pns_call, pac_call;  /* PPTP: call ids as the server sees them */
    uint16_t own_call, far_call;  /* PPTP: as the client sees them, where NAT changed them */
    uint8_t session, call;        /* PPTP: PPTP_SESSION_*, PPTP_CALL_* */
    uint16_t pad;
    uint32_t master;              /* record of the one that expected it, with master_kind; it may be over, see master_serial */
    uint32_t serial;              /* no other help_t ever had it, not even at this place */
    uint32_t master_serial;       /* `serial` of the master */
    uint32_t pad2[2];
} help_t;

/* A connection that a helper has announced (struct nf_conntrack_expect), or a GRE key that PPTP has (nf_ct_gre_keymap). */
typedef struct {
    tuple_t t;              /* in the master's zone; source port 0 where any will do */
    uint32_t master;
    uint32_t next, sibling; /* in its bucket; of its master: older ones, FN_NONE last */
    uint32_t expires;       /* jiffies */
    uint16_t saved_port;    /* to which NAT maps the port back */
    uint8_t kind, dir;      /* EXPECT_*; direction of the master that it is expected in */
    uint8_t any_sport, pad[3];
} expect_t;

/* What happened to a connection: its state right after that. */
typedef struct {
    tuple_t tuples[2];
    uint64_t tick;   /* jiffies */
    int32_t timeout; /* jiffies left, 0 or less: it expired */
    uint32_t mark, conn;
    uint16_t zone, status;
    uint8_t kind, what, state;
    uint8_t counted; /* acct holds: what a connection that was accounted had had when it was deleted */
    uint32_t pad;
    acct_t acct;
} event_t;

/* where a packet has been that somebody traces, and how it was then */
typedef struct {
    tuple_t t;
    uint32_t mark;
    uint16_t out_iface;
    uint16_t route;         /* index + 1, 0: not routed yet */
    uint8_t place;          /* HOOK_*: behind the chains of this hook; WAYPOINT_* */
    uint8_t ctinfo, reason; /* IP_CT_*; REASON_*: it was dropped there */
    uint8_t is_new;         /* its connection is not confirmed yet */
    uint8_t pad[4];
} waypoint_t;

typedef struct {
    addr_t addr, mask;
} network_form_t;

typedef struct {
    addr_t src, dst;
} masks_form_t;

typedef struct {
    uint64_t cost, full; /* credits of xt_hashlimit: of a packet or of 16 bytes, and of a full bucket or bursts; or rate and burst */
} rate_form_t;

typedef struct {
    uint32_t jiffies; /* of --hashlimit-rate-match */
    uint32_t pad;
} window_form_t;

typedef struct {
    uint64_t low, high; /* of -m connbytes, both included */
} counts_form_t;

typedef struct {
    uint32_t date_start, date_stop; /* seconds since 1970, both included */
    uint32_t day_start, day_stop;   /* seconds since midnight, both included */
} period_form_t;

/* What a target carries: a NAT range (struct nf_nat_range2) or a mark operation; also what a match needs beyond its words:
 * addresses, the rate of -m hashlimit, the period of -m time. */
typedef struct {
    union {
        network_form_t network;
        masks_form_t masks;
        struct {
            addr_t min_addr, max_addr;
        };
    };
    union {
        window_form_t window;
        struct {
            uint16_t min_proto, max_proto, base_proto, flags;
        };
    };
    union {
        rate_form_t rate;
        counts_form_t counts;
        period_form_t period;
        struct {
            uint32_t value, mask, mask2, op;
        };
    };
} target_t;

/* A route, or one next hop of it: those of one route stand one behind the other. */
typedef struct {
    addr_t dst, mask, gateway;
    uint32_t bound;      /* the largest hash of a flow that takes this next hop */
    uint16_t hops;       /* next hops of the route */
    uint16_t iface;
    uint8_t kind, scope; /* scope: RT_SCOPE_*, of IPv6 FN_BY_LO or 0 */
    uint16_t src;        /* IPv4: that it prefers, by its place in engine_t.addresses + 1, 0 none */
#ifdef FN_IPV6
    uint32_t pad2;
#endif
#ifndef FN_IPV6
    uint32_t pad3[2];
#endif
} route_t;
static_assert(sizeof(route_t) == (FN_V6 ? 64 : 32), "a power of two: found by a shift");

/* Whose link-layer address is known (struct neighbour); by interface and address. */
typedef struct {
    addr_t addr;
    uint32_t iface;
#ifdef FN_IPV6
    uint32_t pad;
#endif
    uint64_t mac;
} neighbour_t;

/* A policy rule (struct fib_rule). */
typedef struct {
    addr_t src, smask, dst, dmask;
    addr_t suppressed;  /* with `suppresses`: routes with this mask, or a shorter one, do not count */
    uint32_t mark, mask;
    uint16_t in_iface;  /* 0 the node itself, FN_ANY_IFACE any */
    uint16_t out_iface; /* that somebody insists on, FN_ANY_IFACE any */
    uint16_t pad;
    uint16_t table;     /* place among those of engine_t.class_route */
    uint16_t sport_min, sport_max, dport_min, dport_max;
    uint8_t proto, invert, refuses, suppresses;
    uint8_t tos, tos_mask;           /* TOS or traffic class, and its bits that count */
    uint8_t pad2[2];
    uint32_t first_route, end_route; /* of the table, those of engine_t.routes */
} fib_rule_t;

typedef struct {
    addr_t local, mask, peer;
    uint16_t iface;
    uint8_t scope;
    uint8_t flags; /* ADDRESS_* */
#ifdef FN_IPV6
    uint32_t pad;
#endif
} address_t;

/* One packet header as a batch brings it. */
typedef struct {
    addr_t src, dst;
    uint16_t sport, dport; /* ICMP: id, type << 8 | code */
    uint16_t iface;        /* node interface index; 0: sent by the node itself */
    uint16_t length;       /* IP total length, bytes */
    uint8_t proto, tcp_flags;
    uint16_t isn;          /* upper half of the sequence number of a SYN */
    uint32_t mark;
} packet_t;

typedef struct {
    uint8_t verdict, ctinfo, reason;
    uint8_t copied; /* 1: sent to a group or to all, and delivered to the node as well */
#ifdef FN_IPV6
    uint32_t pad2;
#endif
    addr_t src, dst;
    uint16_t sport, dport;
    uint16_t out_iface, probes;
    uint32_t conn;
#ifdef FN_IPV6
    uint32_t pad3;
#endif
} result_t;

/* A virtual service of IPVS (struct ip_vs_service) and what its scheduler remembers. */
typedef struct {
    addr_t addr;        /* 0 for a service of a firewall mark */
    addr_t client_mask; /* of persistence */
    uint32_t fwmark;
    uint16_t port;
    uint8_t proto, scheduler;
    uint32_t first, n;                /* its real servers */
    uint32_t at;                      /* rr: where to look next; wrr: one behind the server taken last */
    int32_t weight, max_weight, step; /* wrr: current and greatest weight, their common divisor */
    uint32_t persist;                 /* jiffies that a client keeps its server, 0 none */
    uint32_t flags;                   /* SERVICE_* */
} service_t;

/* A real server (struct ip_vs_dest). */
typedef struct {
    addr_t addr;
    uint32_t weight, active, inactive;
    uint16_t port, pad;
} server_t;

/* A connection of IPVS (struct ip_vs_conn), or the template that says which server a client of a persistent service keeps. */
typedef struct {
    addr_t client, service, server;  /* caddr, vaddr, daddr; of a template: the client's network; a mark stands for the service's address */
    uint16_t client_port, service_port, server_port;
    uint8_t proto, state;            /* proto 0: the template of a mark's service */
    uint32_t mark;                   /* of its service, 0 none */
    uint32_t timeout, expires;       /* jiffies from its last packet on; at which it is due */
    uint32_t next;                   /* place + 1 of what follows in its bucket, or among the free ones */
    uint32_t wheel_next, wheel_prev; /* place + 1, in the slot */
    uint32_t dest;                   /* its real server, FN_NONE: the service has it no longer */
    uint32_t control, n_control;     /* place + 1 of its template; of a template: how many connections it has */
    uint16_t slot, flags;            /* of the wheel; IPVS_* */
} ipvs_conn_t;

/* Where a port search will end, as far as a bitmap knows (nat/known_ports); counts as the search has them then. */
typedef struct {
    uint64_t state;             /* of the packet's random numbers, see tuples/hash */
    uint32_t min_, size;        /* the window */
    uint32_t off, attempts, at; /* of the round it ends in: where that begins, its candidates, the one it ends at */
    uint32_t changes;           /* engine_t.bitmap_changes when it was looked for */
    uint32_t probes, found, draws;
    uint16_t port;              /* that is free; or about which the bitmap does not say enough, or the last candidate */
    uint8_t end;                /* SEARCH_* */
    uint8_t hard;               /* the last candidates of each round may be taken from who has them */
} port_search_t;

/* What a batch computed and fetched ahead for a packet that will probably open a connection: its reply tuples, with the source
 * untranslated, with the NAT address chosen last and the port that is probably drawn, and with that to which a port search
 * will probably lead, and the bysource hash. */
typedef struct {
    tuple_t reply[3];
    tuple_t source; /* the message of source_hash */
    uint64_t reply_hash[3];
    uint64_t source_hash;
    uint64_t number;  /* of the packet, by which it draws, see begin_packet */
    uint64_t key[3];  /* classes as a memo's key has them; key[2] 0: nobody has asked for them */
    memo_t *memo;     /* NULL: there was none; it may be gone when it is wanted */
    uint32_t born;    /* of the memo */
    uint32_t drawn;   /* the offset that reply[1]'s port is the first candidate of, FN_NONE: the port is kept */
    uint32_t target;  /* with a memo: the place of the range in engine_t.targets */
    uint32_t varied;  /* the rule of this source alone, FN_NONE none */
    port_search_t search;
    uint8_t checks;   /* somebody may have reply[0]: its hash was computed, its bucket fetched */
    uint8_t searches; /* reply[1] is taken, as a bitmap says: `search`, reply[2] and its hash were found, its bucket fetched */
    uint8_t proto;
} ahead_t;

/* A packet on its way through the hooks. All of it is empty at first but for what pkt_reset of packet/packet sets; each step
 * writes what it finds out. `data` is NULL for header-only batches. */
typedef struct {
    tuple_t t;                                  /* as it is at present: each manip changes it */
    uint64_t hash;                              /* of the tuple by which conntrack looked for its connection */
    uint64_t reply_hash;                        /* of reply_checked */
    const ahead_t *ahead;                       /* NULL: nothing was computed ahead */
    tuple_t reply_checked;                      /* the reply tuple that nat_used_tuple looked at last; free if `verified` */
    uint8_t *data;
    uint32_t len, l4off;                        /* data: bytes of the datagram; offset of the l4 header */
    uint32_t now;                               /* jiffies */
    uint32_t mark, ct;                          /* ct: its connection's record, FN_NONE none */
    uint32_t seq, ack, window, end;             /* TCP: with has_seq; end also of header-only packets, from the upper half of isn */
    uint32_t probes;                            /* tuples that nat has looked up for it */
    uint16_t in_iface, out_iface;               /* 0: the node itself */
    uint32_t length;                            /* of the IP datagram, bytes */
    tuple_t classified;                         /* the tuple that the classes belong to */
    uint32_t src_class, dst_class;
    uint64_t port_classes;                      /* source << 24 | destination << 42, as they stand in keys */
    const target_t *target;                     /* what the rule that decided last carries */
    uint16_t walks[FN_PLACES];                  /* enum place: the memo of the walk there, by its index + 1; 0: it was not repeatable, or none */
    uint16_t route;                             /* route index + 1, 0: not routed yet */
    uint8_t asks_tuple;                         /* a rule was met that asks for an address or a port */
    uint8_t first;                              /* it has opened its connection */
    uint8_t unrepeatable;                       /* a match was met whose answer depends on more than a memo's key */
    uint8_t apart;                              /* bit per run in engine_t.apart: a rule of it asks for the source in `classified` */
    uint8_t ctinfo, dir, verdict, reason, hook; /* IP_CT_*, DIR_*, VERDICT_*, REASON_*, HOOK_* */
    uint8_t has_seq;                            /* seq, ack and window were read, and options lie within the header */
    uint8_t untracked;                          /* NOTRACK, or ICMPv6 that conntrack leaves alone */
    uint8_t is_new;                             /* its connection is not confirmed yet, and goes if the packet does */
    uint8_t verified;                           /* nobody has reply_checked */
    uint8_t icmp_error, ttl;                    /* icmp_error: it belongs to the connection that the datagram inside names */
    uint8_t held;                               /* waits before confirm, see hooks */
    uint8_t template_helper;                    /* HELPER_* that a CT target gives */
    uint8_t expected;                           /* e.expected is what announced its connection */
    uint8_t evicted;                            /* its port search has deleted another connection */
    uint8_t pause;                              /* the batch is to stop behind it: it took long, or hashes are not what they were */
    uint8_t copied;                             /* it leaves, and a copy of it was delivered to the node */
    uint8_t twin;                               /* TWIN_*, in the hooks behind OUTPUT */
    uint8_t dying;                              /* its connection is in no table any more; the record goes with the packet */
    uint16_t template_zone;                     /* that a CT target gives, for the directions of template_dir: 1 original, 2 reply */
    uint8_t template_dir;
    uint8_t has_template;                       /* a CT target has given it a template, which conntrack has not met yet */
    uint8_t tcp_class;                          /* CLASS_* of conntrack/tcp_window */
    uint8_t tcp_flags;
    uint8_t tracked;                            /* its l4 header makes a tuple */
    uint8_t part;                               /* PART_* */
    uint8_t record_at, stamp_at;                /* IPv4 options: where the node's address was entered, 0 nowhere */
    uint8_t options_changed;
    uint8_t proxied;                            /* a rule gave it to a proxy on the node */
    uint8_t served;                             /* IPVS has translated it: it passes IPVS no more (skb->ipvs_property) */
    uint8_t rerouted;                           /* the node's own: rules have changed its way, and it was routed anew */
    uint8_t srr_at, srr_hop_at;                 /* IPv4 source route, and its address to which the packet goes on; 0: none */
    uint32_t payload;                           /* bytes behind the IP header, of TCP behind the l4 header */
    uint32_t mark_before;                       /* of its connection, where somebody asked for events */
    uint16_t status_before;
    uint8_t state_before;
    uint32_t largest;  /* bytes of the largest fragment it came in, 0: whole */
    uint32_t room;     /* bytes that a helper may lengthen the datagram to */
    uint32_t priority; /* skb->priority, of use to rules of nftables alone */
    uint32_t unruled;  /* bit table * 5 + hook: it has passed this chain, which has no rule */
} pkt_t;

typedef struct {
    conn_t *conns;
    tcp_t *tcp;
    acct_t *acct;
    uint32_t *free_ids; /* stack of released records */
    uint32_t n_free, high_water, capacity, max_conns;
    uint32_t count;     /* live records, unconfirmed included (nf_conntrack_count) */
    uint32_t confirmed;
    table_t tuples, sources;

    uint16_t *chains; /* lengths of nf_conntrack_buckets, where the chain limit can matter */
    uint32_t n_chains;

    chunk_t *chunks;
    uint32_t *wheel;      /* head chunk of each slot, the far ones behind the near ones */
    uint64_t *wheel_busy; /* bit per slot */
    uint64_t next_far;    /* the jiffy at which the next far slot in use is dealt out, or one before */
    uint32_t n_chunks, max_chunks, free_chunk;

    uint64_t *bitmap_pages;                       /* taken, known, firm of each, FN_PAGE_WORDS long; of a free one the first word is the next */
    bitmap_key_t *bitmap_keys;
    uint32_t *bitmap_index;                       /* open addressing over bitmap_keys, FN_NONE none */
    uint32_t n_bitmaps, max_bitmaps, free_bitmap; /* bitmaps ever used; the last released one */
    uint32_t n_pages, max_pages, free_page;
    uint32_t newest_bitmap, oldest_bitmap;        /* by their last search */
    uint32_t bitmap_clock;                        /* searches of crowded peers so far */
    uint32_t bitmap_changes;                      /* how often a candidate that a search had to pass by may have ceased to be one */
    uint64_t bitmap_filter;                       /* a bit that many peers share; not set: there is no bitmap. Never cleared */
    uint32_t bitmap_index_mask, bitmap_probes;

    rule_t *rules;
    match_t *matches;
    target_t *targets;
    uint16_t *port_slots;       /* min, max pairs */
    uint8_t *iface_match;       /* row per interface set, column per interface */
    uint32_t n_ifaces;
    uint32_t hook_entry[5][5];  /* [table][hook] first rule, FN_NONE none */
    uint32_t hook_policy[5][5]; /* [table][hook] the policy behind its rules, FN_NONE: there is no such chain */
    hook_count_t unruled[5][5]; /* [table][hook] packets that met no rule there, since somebody read the counters */
    hook_count_t passed;        /* forwarded by a short cut, past the chains of PREROUTING, FORWARD and POSTROUTING that have no rule */
    uint32_t wide[FN_WIDE];     /* dispatches of addresses and marks, of so many that their rules do not stay in the cache */
    uint32_t n_wide;
    uint32_t apart[FN_APART];   /* dispatches of sources that are no classes, see rules/dispatch.pxd */
    uint32_t n_apart;

    base_t *bases;              /* in the order in which they are called */
    uint32_t base_first[5][5];  /* [table][hook]: what is called at this step, its table of iptables included */
    uint32_t base_count[5][5];
    uint32_t n_bases;           /* 0: the node has no rules of nftables, and each step is its table of iptables */
    uint32_t nft_wide[FN_WIDE]; /* rules that look addresses up in verdict maps of so many that these do not stay in the cache */
    uint32_t n_nft_wide;
    nft_rule_t *nft_rules;
    nft_expr_t *nft_exprs;
    nft_set_t *nft_sets;
    nft_element_t *nft_elements;
    uint32_t *nft_slots;
    uint32_t *nft_words; /* constants, keys and data */
    nft_state_t *nft_states;
    nft_conn_t *nft_conns;
    uint32_t *policies; /* jiffies: FN_TIMEOUTS, as in `timeouts`, of each policy that a rule may give a connection */
    uint32_t n_policies;
    uint32_t n_nft_conns, max_nft_conns, free_nft_conn; /* ever used; the last one released, plus one */
    uint32_t *nft_log;                                  /* rules whose expressions all held, while somebody traces: rule, then what it said */
    uint32_t n_nft_log, max_nft_log;
    waypoint_t *waypoints;                              /* of the packet, while somebody traces */
    uint32_t n_waypoints, max_waypoints;
    uint32_t holder;                  /* of the first tuple that was taken when nat of the source looked it up, while somebody traces */
    uint16_t slice_first, slice_last; /* ports of SNAT and MASQUERADE where a rule gives none; 0: any */
    target_t nft_range;               /* what the NAT statement that decided last gives */

    uint32_t *jump_stack;             /* where the walk at hand goes on after the chains that it is in */
    uint32_t max_jumps;               /* the deepest nesting of the rules' chains */

    dispatch_t *dispatches;
    dispatch_slot_t *dispatch_slots;
    set_t *sets;
    element_t *elements;
    uint32_t *set_members;
    recent_t *recent;        /* FN_RECENT_ENTRIES a list */
    recent_list_t *recent_lists;
    uint32_t *stamps;        /* jiffies */
    uint32_t recent_clock;
    hashlimit_t *hashlimits; /* FN_HASHLIMIT_SLOTS a list */
    service_t *services;     /* of IPVS */
    server_t *servers;
    uint32_t *service_slots; /* open addressing over services, FN_NONE empty */
    uint32_t n_services, service_mask;
    ipvs_conn_t *ipvs_conns;
    uint32_t *ipvs_heads;                                                    /* place + 1 of the newest of each bucket */
    uint32_t *ipvs_wheel;                                                    /* place + 1 of the first of each of FN_IPVS_WHEEL slots */
    uint64_t *ipvs_busy;                                                     /* bit per slot */
    uint32_t n_ipvs_conns, free_ipvs_conn;                                   /* ever used; place + 1 of the last released one */
    uint32_t ipvs_capacity, ipvs_mask;                                       /* 0: there was never a service; buckets, minus one */
    uint32_t ipvs_timeouts[3];                                               /* ipvsadm --set: tcp, tcpfin, udp [jiffies] */
    uint32_t conn_reuse_mode, expire_nodest_conn, expire_quiescent_template; /* net.ipv4.vs.* */
    uint32_t sloppy_tcp, sloppy_sctp;
    help_t *helps;
    expect_t *expects;
    uint32_t *expect_heads;                      /* FN_EXPECT_HEADS buckets of expectations and keys */
    uint32_t n_helps, free_help, help_capacity;  /* helps ever used; the last released one */
    uint32_t help_serial;                        /* of the help_t given last */
    uint32_t expect_high, free_expect, expect_capacity;
    uint32_t n_expects, n_gre_keys, max_expects; /* max: nf_conntrack_expect_max */
    uint32_t next_expect;                        /* jiffies: no expectation is due before */
    uint32_t auto_helpers;                       /* nf_conntrack_helper of linux-5.4: by port */
    expect_t expected;                           /* what the connection being opened was announced by */
    table_memo_t *table_memos;                   /* direct-mapped; n_memos of them */
    memo_t *memos;                               /* direct-mapped; n_memos of them */
    pass_memo_t *pass_memos;                     /* direct-mapped; FN_PASS_MEMOS of them */
    uint32_t n_memos;                            /* power of two, or 0: the rules allow none */
    memo_bounds_t memo_bounds;                   /* of the complete memo found last */
    memo_bounds_t untracked_bounds;              /* of the memo of packets without a connection found last */
    uint32_t n_memos_made;
    uint32_t *dst16_counts;                      /* tuples by the /16 of their destination, see conntrack/lookup.pxd; FN_DST16 of them */

    connlimit_t *connlimits;
    uint32_t *connlimit_heads;                                 /* place + 1 of the first of each of FN_CONNLIMIT_HEADS buckets */
    uint32_t n_connlimits, free_connlimit, connlimit_capacity; /* ever used; place + 1 of the last released one */
    uint32_t owner_uid, owner_gid;                             /* of the sockets from which the node sends */
    uint32_t owner_asked;                                      /* bit per OWNER_*: a rule has asked for it */
    uint64_t epoch;                                            /* jiffies from 1970 to the engine's time 0 */

    event_t *events;
    uint32_t max_events, n_events;
    uint64_t lost_events;

    route_t *routes;          /* of all tables, in the order in which they are tried */
    addr_t *class_start;      /* ascending; addresses cut into classes where a route or a rule could tell them apart */
    uint16_t *class_route;    /* route index + 1 of each class, 0 unreachable; so for each table, one behind the other */
    fib_rule_t *fib_rules;    /* by their priority; none where the node has only those that every node has */
    uint32_t *class_of_octet; /* [257] class of the first address of each first octet, then the last class */
    uint32_t *port_start[2];  /* ascending from 0; source and destination ports cut likewise */
    address_t *addresses;
    uint32_t n_routes, n_classes, n_addresses, n_port_classes[2], n_fib_rules;
    uint32_t routes_by_packet;          /* policy rules ask for mark or device: packets of a connection may be routed apart */
    uint32_t multipath_policy;          /* net.ipv4.fib_multipath_hash_policy, .ipv6. of IPv6 */
    uint32_t multipath_seed;            /* net.ipv4.fib_multipath_hash_seed */
    uint32_t dissects;                  /* policy rules ask for protocol or ports */
    uint32_t loopback;                  /* number of lo */
    uint32_t *iface_flags;              /* per interface: IFACE_*, the MTU in the high half */

    uint64_t key[2 * FN_ROUND_KEYS];    /* of the tuple hash */
    uint64_t secret[2 * FN_ROUND_KEYS]; /* random, never shown or saved: of what no answer depends on, and of the next key */
    uint64_t rehashes;
    uint32_t may_share_tuple;           /* two connections may have one tuple: zones, or timeouts of 0 s */
    uint32_t due_at_once;               /* there are timeouts of 0 s: an entry in the tables may be over already */
    uint64_t rng[2];                    /* seed; state of the packet at hand, see begin_packet */
    uint64_t now;                       /* jiffies since the engine's time 0 */
    uint32_t profile;                   /* enum profile */
    uint32_t tracking, nat_hooks;
    uint32_t shortly;                   /* what a forwarded packet meets can be remembered: short cuts are open */
    uint32_t untracked_shortly;         /* and so what one meets that has no connection */
    uint32_t ruled;                     /* bit table * 5 + hook: a chain of raw, mangle or filter that forwarded packets pass has rules */
    uint32_t checksum, loose, be_liberal, max_retrans, ignore_invalid_rst;
    uint32_t accounting;                /* nf_conntrack_acct */
    uint32_t local_routes;              /* somebody has added local ones (fib_has_custom_local_routes) */
    uint32_t timeouts[FN_TIMEOUTS];
    addr_t guess_addr;                  /* the last address that source NAT chose: prefetch only */
    uint64_t stats[FN_STATS];

    /* link-layer addresses, see FN_MAC_BITS */
    uint64_t *macs;              /* per interface: its own */
    neighbour_t *neighbours;     /* ascending */
    uint32_t n_neighbours;
    uint64_t link_dst, link_src; /* of the frame in which the packet at hand came */
} engine_t;

#endif
