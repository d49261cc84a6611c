"""Codes and records as codes.h and types.h have them.

Made by make_layout.py; change codes.h or types.h and run `make layout`.
"""

from __future__ import annotations

from enum import EnumMeta, IntEnum
from typing import NamedTuple

FN_HZ = 250
FN_NONE = 4294967295
FN_ID_BITS = 26
FN_BUCKET_SLOTS = 12
FN_GROUP_BUCKETS = 32
FN_STAGE = 32
FN_CPUS = 256
FN_WHEEL_SHIFT = 15
FN_WHEEL_SLOTS = 32768
FN_FAR_SLOTS = 4096
FN_CHUNK_IDS = 14
FN_WALK_RULES = 16777216
FN_APART = 4
FN_WIDE = 6
FN_TABLE_MEMO_RULES = 17
FN_MEMO_RULES = 28
FN_PASS_RULES = 20
FN_PASS_MEMOS = 256
FN_RECENT_ENTRIES = 100
FN_HASHLIMIT_SLOTS = 65536
FN_CONNLIMIT_HEADS = 65536
FN_EXPECT_HEADS = 1024
FN_IPVS_WHEEL = 4096
FN_RECENT_STAMPS = 32
FN_ONLY_BASES = 4294967294
FN_NFT_REGISTERS = 64
FN_NFT_JUMPS = 16
FN_NFT_BARE = 2
FN_NFT_TIMELESS = 4
FN_NFT_KEY = 16
FN_ANY_IFACE = 65535
FN_BY_LO = 1
FN_MAC_BITS = 48
FN_DST16 = 65536
FN_ROUND_KEYS = 5
FN_PAGE_PORTS = 2048
FN_PAGES = 32
FN_PAGE_WORDS = 32
FN_PAGE_MAPS = 3
FN_KNOWN = 32
FN_FIRM = 64
FN_STATS = 28
FN_TIMEOUTS = 40
ANY_DEVICE = 4294967295
FN_PLACES = 8


class CodeMeta(EnumMeta):
    """Enumerations that NumPy may compare with arrays.

    It asks a class for __array_ufunc__ and the like and takes every exception as a no. EnumMeta of Python 3.11 looks
    for them in Python, and a Ctrl-C at that moment was lost; type looks in C.
    """

    __getattr__ = type.__getattribute__


class IpProtocol(IntEnum, metaclass=CodeMeta):
    """enum ip_protocol of codes.h."""

    TCP = 6
    UDP = 17
    DCCP = 33
    GRE = 47
    ESP = 50
    AH = 51
    SCTP = 132
    UDPLITE = 136


class Status(IntEnum, metaclass=CodeMeta):
    """enum ip_conntrack_status."""

    EXPECTED = 1
    SEEN_REPLY = 2
    ASSURED = 4
    CONFIRMED = 8
    SRC_NAT = 16
    DST_NAT = 32
    SEQ_ADJUST = 64
    SRC_NAT_DONE = 128
    DST_NAT_DONE = 256
    DYING = 512
    FIXED_TIMEOUT = 1024
    NAT_CLASH = 4096
    HELPER = 8192


class AddressFlag(IntEnum, metaclass=CodeMeta):
    """address_t.flags."""

    SECONDARY = 1
    DEPRECATED = 2
    TENTATIVE = 4
    TEMPORARY = 8


class ConnFlag(IntEnum, metaclass=CodeMeta):
    """conn_t.flags."""

    LIVE = 1
    MARKED = 2
    HELPED = 16
    COUNTED = 64
    PROXIED = 128


class IpvsFlag(IntEnum, metaclass=CodeMeta):
    """ipvs_conn_t.flags."""

    USED = 1
    TEMPLATE = 2
    ACTIVE = 4
    NFCT = 8
    ONE_PACKET = 16
    FORGOTTEN = 32
    OF_ALL_PORTS = 64
    OF_FTP = 128


class IpvsTemplateState(IntEnum, metaclass=CodeMeta):
    """ipvs_conn_t.state of a template (IP_VS_CTPL_S_*)."""

    NONE = 0
    ASSURED = 1


class ServiceFlag(IntEnum, metaclass=CodeMeta):
    """service_t.flags."""

    HASH_PORTS = 1
    ONE_PACKET = 2
    HASH_FALLBACK = 4


class IpvsTcpState(IntEnum, metaclass=CodeMeta):
    """enum ip_vs_tcp_states."""

    NONE = 0
    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT = 4
    TIME_WAIT = 5
    CLOSE = 6
    CLOSE_WAIT = 7
    LAST_ACK = 8
    LISTEN = 9
    SYNACK = 10


class IpvsSctpState(IntEnum, metaclass=CodeMeta):
    """enum ip_vs_sctp_states."""

    NONE = 0
    INIT1 = 1
    INIT = 2
    COOKIE_SENT = 3
    COOKIE_REPLIED = 4
    COOKIE_WAIT = 5
    COOKIE = 6
    COOKIE_ECHOED = 7
    ESTABLISHED = 8
    SHUTDOWN_SENT = 9
    SHUTDOWN_RECEIVED = 10
    SHUTDOWN_ACK_SENT = 11
    REJECTED = 12
    CLOSED = 13


class TcpState(IntEnum, metaclass=CodeMeta):
    """enum tcp_conntrack."""

    NONE = 0
    SYN_SENT = 1
    SYN_RECV = 2
    ESTABLISHED = 3
    FIN_WAIT = 4
    CLOSE_WAIT = 5
    LAST_ACK = 6
    TIME_WAIT = 7
    CLOSE = 8
    SYN_SENT2 = 9


class Profile(IntEnum, metaclass=CodeMeta):
    """The kernels whose decisions are taken: engine_t.profile."""

    LINUX_5_4 = 54
    LINUX_6_18 = 618


class Helper(IntEnum, metaclass=CodeMeta):
    """help_t.kind."""

    NONE = 0
    FTP = 1
    TFTP = 2
    PPTP = 3


class ExpectKind(IntEnum, metaclass=CodeMeta):
    """expect_t.kind: what happens when it comes true."""

    FREE = 0
    PLAIN = 1
    FOLLOW = 2
    PPTP = 3
    GRE_KEY = 4


class CtInfo(IntEnum, metaclass=CodeMeta):
    """enum ip_conntrack_info; INVALID: the packet has no connection."""

    ESTABLISHED = 0
    RELATED = 1
    NEW = 2
    ESTABLISHED_REPLY = 3
    RELATED_REPLY = 4
    UNTRACKED = 7
    INVALID = 8


class Direction(IntEnum, metaclass=CodeMeta):
    """enum direction of codes.h."""

    ORIGINAL = 0
    REPLY = 1


class DatagramPart(IntEnum, metaclass=CodeMeta):
    """pkt_t.part: of a datagram that nobody has put together."""

    WHOLE = 0
    FIRST = 1
    LATER = 2
    UNKNOWN = 3


class TwinKind(IntEnum, metaclass=CodeMeta):
    """pkt_t.twin: of what the node sends to a group or to all."""

    NONE = 0
    SENT = 1
    COPY = 2


class Hook(IntEnum, metaclass=CodeMeta):
    """enum nf_inet_hooks."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


class WaypointPlace(IntEnum, metaclass=CodeMeta):
    """waypoint_t.place, beside enum hook."""

    CONNTRACK = 5
    ROUTE = 6
    SERVER = 7


class IfaceFlag(IntEnum, metaclass=CodeMeta):
    """engine_t.iface_flags; the MTU stands in the high half."""

    RP_STRICT = 1
    RP_LOOSE = 2
    ACCEPT_LOCAL = 4
    LOOPBACK = 8
    ROUTE_LOCALNET = 16
    FORWARD = 32
    BC_FORWARD = 64
    NO_ADDRESS = 128
    REDIRECTS = 256
    SRC_VMARK = 512
    SOURCE_ROUTE = 1024
    PLAIN = 2048
    LINK_LAYER = 4096
    SOLICITED = 8192
    ROUTER = 16384


class SetDimension(IntEnum, metaclass=CodeMeta):
    """set_t.dims."""

    NONE = 0
    ADDRESS = 1
    NETWORK = 2
    PROTO_PORT = 3
    PORT = 4
    IFACE = 5
    MARK = 6


class SetBit(IntEnum, metaclass=CodeMeta):
    """-m set, in match_t.bits."""

    RETURN_NOMATCH = 1
    SKIP_COUNTERS = 2
    SKIP_SUBCOUNTERS = 4
    ASK_COUNTERS = 8
    PACKETS_NOT = 16
    BYTES_NOT = 32


class RecentOperation(IntEnum, metaclass=CodeMeta):
    """-m recent, in match_t.bits: an operation, and bits beside it."""

    SET = 0
    CHECK = 1
    UPDATE = 2
    REMOVE = 3


class RecentBit(IntEnum, metaclass=CodeMeta):
    """enum recent_bit of codes.h."""

    OPERATION = 3
    DEST = 4
    REAP = 8
    TTL = 16


class HashlimitBit(IntEnum, metaclass=CodeMeta):
    """-m hashlimit, in match_t.bits: parts of the key, whether it asks for what is above, the kind of rate."""

    DST = 1
    DPORT = 2
    SRC = 4
    SPORT = 8
    ABOVE = 16
    BYTES = 32
    RATE_MATCH = 64


class CountedPart(IntEnum, metaclass=CodeMeta):
    """-m connbytes: what is counted, in which directions."""

    PACKETS = 0
    BYTES = 1
    AVERAGE = 2


class CountedWay(IntEnum, metaclass=CodeMeta):
    """enum counted_way of codes.h."""

    ORIGINAL = 1
    REPLY = 2


class OwnerPart(IntEnum, metaclass=CodeMeta):
    """-m owner: what of the socket it asks for."""

    SOCKET = 0
    UID = 1
    GID = 2


class RoutingPart(IntEnum, metaclass=CodeMeta):
    """-m rt: what of the routing header it asks for."""

    SEGMENTS_LEFT = 0
    TYPE = 1
    LENGTH = 2
    RESERVED = 3


class TimeBit(IntEnum, metaclass=CodeMeta):
    """-m time, in match_t.bits: a bit for each weekday from Monday 1 to Sunday 7, and --contiguous."""

    WEEKDAYS = 254
    CONTIGUOUS = 256


class ConnlimitBit(IntEnum, metaclass=CodeMeta):
    """-m connlimit, in match_t.bits."""

    DST = 1


class RuleTable(IntEnum, metaclass=CodeMeta):
    """enum rule_table of codes.h."""

    RAW = 0
    MANGLE = 1
    NAT = 2
    FILTER = 3
    LAST = 4


class Place(IntEnum, metaclass=CodeMeta):
    """The chains of rules that a forwarded packet passes."""

    DST = 0
    SRC = 1
    RAW = 2
    MANGLE_PREROUTING = 3
    MANGLE_FORWARD = 4
    FILTER = 5
    MANGLE_POSTROUTING = 6
    ELSEWHERE = 7


class SearchEnd(IntEnum, metaclass=CodeMeta):
    """What a bitmap knows of the end of a port search (port_search_t)."""

    OPEN = 0
    FREE = 1
    FAILS = 2
    UNSEEN = 3
    OWNED = 4


class Manip(IntEnum, metaclass=CodeMeta):
    """enum manip of codes.h."""

    SRC = 0
    DST = 1


class RangeFlag(IntEnum, metaclass=CodeMeta):
    """NF_NAT_RANGE_*."""

    MAP_IPS = 1
    PROTO_SPECIFIED = 2
    PROTO_RANDOM = 4
    PERSISTENT = 8
    PROTO_RANDOM_FULLY = 16
    PROTO_OFFSET = 32
    RANDOM_ALL = 20
    UNSET_BYTES = 64


class Verdict(IntEnum, metaclass=CodeMeta):
    """What became of a packet."""

    FORWARD = 0
    LOCAL = 1
    DROP = 2


class Reason(IntEnum, metaclass=CodeMeta):
    """Why a packet was dropped, or passed untranslated (INVALID, UNTRACKED)."""

    NONE = 0
    INVALID = 1
    CLASH = 2
    TABLE_FULL = 3
    NO_ADDRESS = 4
    NO_ROUTE = 5
    TTL = 6
    MARTIAN = 7
    IP_HEADER = 8
    RULE_DROP = 9
    OUT_DEVICE = 10
    NOT_FORWARDING = 11
    ICMP_TRANSLATION = 12
    TRUNCATED = 13
    FRAGMENT = 14
    UNTRACKED = 15
    INTERFACE = 16
    HANDLER_DROP = 17
    TOO_BIG = 18
    CHAIN_TOO_LONG = 19
    NO_SERVER = 20
    HELPER = 21
    NO_ROOM = 22
    TOO_MANY_RULES = 23
    PROXIED = 24
    SERVICE_REUSED = 25
    RULE_REJECT = 26


class StatIndex(IntEnum, metaclass=CodeMeta):
    """Indices of engine_t.stats; dtypes.STATS names them in this order."""

    FOUND = 0
    INVALID = 1
    IGNORE = 2
    INSERT = 3
    INSERT_FAILED = 4
    DROP = 5
    EARLY_DROP = 6
    ERROR = 7
    SEARCH_RESTART = 8
    CLASH_RESOLVE = 9
    CHAINTOOLONG = 10
    NEW = 11
    DELETE = 12
    PORT_SEARCH_PROBES = 13
    PORT_SEARCHES = 14
    PORT_SEARCH_FAILURES = 15
    PACKETS = 16
    EXPIRED = 17
    RULES_WALKED = 18
    EVICTED = 19
    BYSOURCE_REUSE = 20
    RANDOM_DRAWS = 21
    EXPECT_NEW = 22
    EXPECT_CREATE = 23
    EXPECT_DELETE = 24


class TimeoutIndex(IntEnum, metaclass=CodeMeta):
    """Indices of engine_t.timeouts; TCP states first, by their number."""

    TCP = 0
    TCP_MAX_RETRANS = 10
    TCP_UNACK = 11
    UDP = 12
    UDP_STREAM = 13
    ICMP = 14
    GENERIC = 15
    GRE = 16
    GRE_STREAM = 17
    SCTP = 20


class Scheduler(IntEnum, metaclass=CodeMeta):
    """service_t.scheduler."""

    RR = 0
    WRR = 1
    LC = 2
    WLC = 3
    SH = 4


class TableKind(IntEnum, metaclass=CodeMeta):
    """enum table_kind of codes.h."""

    TUPLES = 0
    SOURCES = 1


class RouteKind(IntEnum, metaclass=CodeMeta):
    """enum route_kind of codes.h."""

    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8
    THROW = 9


class TargetKind(IntEnum, metaclass=CodeMeta):
    """enum target_kind of codes.h."""

    NONE = 0
    ACCEPT = 1
    DROP = 2
    RETURN = 3
    JUMP = 4
    GOTO = 5
    POLICY_ACCEPT = 6
    POLICY_DROP = 7
    CHAIN_END = 8
    SNAT = 9
    DNAT = 10
    MASQUERADE = 11
    REDIRECT = 12
    NETMAP = 13
    MARK = 14
    CONNMARK = 15
    NOTRACK = 16
    CT_ZONE = 17
    DISPATCH = 18
    TOS = 19
    TTL = 20
    TOO_FAR = 21
    TCPMSS = 22
    NO_ROOM = 23
    TPROXY = 24
    REJECT = 25


class RuleTests(IntEnum, metaclass=CodeMeta):
    """rule_t.tests."""

    ADDRESSES = 1
    PROTO = 2
    IN = 4
    OUT = 8
    MATCHES = 16
    MATCH = 32
    FRAGMENT = 64
    ALIKE = 128


class Varied(IntEnum, metaclass=CodeMeta):
    """table_memo_t.varied: 1 + the place of the run in engine_t.apart, and which of the rules for one source it is."""

    RUN = 7
    STEP = 8
    STEPS = 32


class DispatchKey(IntEnum, metaclass=CodeMeta):
    """enum dispatch_key of codes.h."""

    DST = 0
    DPORT = 1
    SRC = 2
    MARK = 3
    IN = 4
    CT_SRC = 5


class MatchKind(IntEnum, metaclass=CodeMeta):
    """match_t.kind; behind each its form, a 16-bit field if it uses one, and the option of iptables."""

    LISTED = 0
    SPORT = 1
    DPORT = 2
    TCP_FLAGS = 3
    ICMP_TYPE = 4
    MULTIPORT_SRC = 5
    MULTIPORT_DST = 6
    MULTIPORT_EITHER = 7
    MARK = 8
    CONNMARK = 9
    ADDRTYPE_SRC = 10
    ADDRTYPE_DST = 11
    IPRANGE_SRC = 12
    IPRANGE_DST = 13
    CTSTATE = 14
    CTPROTO = 15
    NTH = 16
    RANDOM = 17
    LENGTH = 18
    L4_HEADER = 20
    CONST = 21
    SET = 22
    RECENT = 23
    LIMIT = 24
    TTL = 25
    TOS = 26
    CT_ADDR = 27
    CT_PORT = 28
    CT_STATUS = 29
    CT_DIR = 30
    MORE = 31
    RPFILTER = 32
    HASHLIMIT = 33
    HELPER = 34
    CT_EXPIRE = 35
    TCP_OPTION = 36
    PKT_TYPE = 37
    OWNER = 40
    QUOTA = 41
    TCP_MSS = 42
    TIME = 43
    ROUTING = 44
    CONNLIMIT = 45
    CONNBYTES = 46
    ECN = 47
    SOCKET = 48
    MAC = 49


class BaseKind(IntEnum, metaclass=CodeMeta):
    """base_t.kind."""

    IPTABLES = 0
    NFTABLES = 1


class NftSetKind(IntEnum, metaclass=CodeMeta):
    """nft_set_t.kind."""

    HASH = 0
    INTERVALS = 1
    RANGES = 2


class NftExprKind(IntEnum, metaclass=CodeMeta):
    """nft_expr_t.kind; behind each what a, b and c are. "words": a place in engine_t.nft_words."""

    VERDICT = 0
    IMMEDIATE = 1
    PAYLOAD = 2
    META = 3
    CT = 4
    FIB = 5
    RT = 6
    TCP_OPTION = 7
    EXTHDR = 8
    NUMGEN = 9
    JHASH = 10
    SYMHASH = 11
    BITWISE = 12
    SHIFT = 13
    COMBINE = 14
    CMP = 15
    RANGE = 16
    LOOKUP = 17
    COUNTER = 18
    LIMIT = 19
    QUOTA = 20
    LAST = 21
    CONNLIMIT = 22
    OBJECT = 23
    DYNSET = 24
    SET_MARK = 25
    SET_ZONE = 26
    SET_HELPER = 27
    SET_TOS = 28
    SET_TTL = 29
    SET_MSS = 30
    NOTRACK = 31
    NAT = 32
    ZERO_CHECKSUM = 33
    ADD = 34
    STRIP = 35
    SET_TIMEOUT = 36
    SET_ADDRESS = 37
    SET_PORT = 38
    TPROXY = 39
    CHOOSE = 40
    FRAME = 41


class NftBase(IntEnum, metaclass=CodeMeta):
    """enum nft_base of codes.h."""

    LINK = 0
    NETWORK = 1
    TRANSPORT = 2
    INNER = 3


class NftCmp(IntEnum, metaclass=CodeMeta):
    """enum nft_cmp of codes.h."""

    EQ = 0
    NEQ = 1
    LT = 2
    LTE = 3
    GT = 4
    GTE = 5


class NftBoolean(IntEnum, metaclass=CodeMeta):
    """enum nft_boolean of codes.h."""

    AND = 0
    OR = 1
    XOR = 2


class NftLookup(IntEnum, metaclass=CodeMeta):
    """enum nft_lookup of codes.h."""

    SET = 0
    NOT = 1
    MAP = 2
    VERDICT = 3


class NftDynset(IntEnum, metaclass=CodeMeta):
    """enum nft_dynset of codes.h."""

    ADD = 0
    UPDATE = 1
    DELETE = 2


class NftMeta(IntEnum, metaclass=CodeMeta):
    """enum nft_meta of codes.h."""

    LEN = 0
    PRIORITY = 2
    MARK = 3
    IIF = 4
    OIF = 5
    IIFNAME = 6
    OIFNAME = 7
    SKUID = 10
    SKGID = 11
    TIME = 28
    DAY = 29
    HOUR = 30
    PKTTYPE = 17
    L4PROTO = 16
    CGROUP = 23
    RANDOM = 24
    TRANSPARENT = 200
    DEVICE = 201


class NftCt(IntEnum, metaclass=CodeMeta):
    """enum nft_ct of codes.h."""

    STATE = 0
    DIRECTION = 1
    STATUS = 2
    MARK = 3
    EXPIRATION = 5
    HELPER = 6
    L3PROTOCOL = 7
    SRC = 8
    DST = 9
    PROTOCOL = 10
    PROTO_SRC = 11
    PROTO_DST = 12
    PKTS = 14
    BYTES = 15
    AVGPKT = 16
    ZONE = 17


class NftFib(IntEnum, metaclass=CodeMeta):
    """Bits of a fib expression."""

    DADDR = 1
    IIF = 2
    OIF = 4
    TYPE = 8
    OIFNAME = 16
    PRESENT = 32
    MARK = 64


class NftRt(IntEnum, metaclass=CodeMeta):
    """enum nft_rt of codes.h."""

    NEXTHOP = 0
    TCPMSS = 3


class Event(IntEnum, metaclass=CodeMeta):
    """What an event says: nf_conntrack_events as conntrack -E names them."""

    NEW = 1
    UPDATE = 2
    DESTROY = 3


class EventWhat(IntEnum, metaclass=CodeMeta):
    """What an UPDATE is about, bits (enum ip_conntrack_events)."""

    REPLY = 1
    ASSURED = 2
    PROTOINFO = 4
    MARK = 8


class Form(NamedTuple):
    """One meaning of the same bytes: its fields, each with the byte where it begins and its NumPy type."""

    name: str
    fields: dict[str, tuple[int, str]]


# what else TARGET may hold, by family and form: bytes and types of its fields
TARGET_FORMS: dict[int, dict[str, Form]] = {
    4: {
        "network": Form("network", {
            "addr": (0, "addr"),
            "mask": (4, "addr"),
        }),
        "masks": Form("masks", {
            "src": (0, "addr"),
            "dst": (4, "addr"),
        }),
        "window": Form("window", {
            "jiffies": (8, "uint32"),
        }),
        "rate": Form("rate", {
            "cost": (16, "uint64"),
            "full": (24, "uint64"),
        }),
        "counts": Form("counts", {
            "low": (16, "uint64"),
            "high": (24, "uint64"),
        }),
        "period": Form("period", {
            "date_start": (16, "uint32"),
            "date_stop": (20, "uint32"),
            "day_start": (24, "uint32"),
            "day_stop": (28, "uint32"),
        }),
    },
    6: {
        "network": Form("network", {
            "addr": (0, "addr"),
            "mask": (16, "addr"),
        }),
        "masks": Form("masks", {
            "src": (0, "addr"),
            "dst": (16, "addr"),
        }),
        "window": Form("window", {
            "jiffies": (32, "uint32"),
        }),
        "rate": Form("rate", {
            "cost": (40, "uint64"),
            "full": (48, "uint64"),
        }),
        "counts": Form("counts", {
            "low": (40, "uint64"),
            "high": (48, "uint64"),
        }),
        "period": Form("period", {
            "date_start": (40, "uint32"),
            "date_stop": (44, "uint32"),
            "day_start": (48, "uint32"),
            "day_stop": (52, "uint32"),
        }),
    },
}
# the forms of each kind of match; more than one where the slot in front decides
MATCH_FORMS: dict[MatchKind, tuple[Form, ...]] = {
    MatchKind.LISTED: (
        Form("listed", {
            "n_listed": (2, "uint16"),
            "first": (4, "uint32"),
        }),
    ),
    MatchKind.SPORT: (
        Form("ports", {
            "low": (4, "uint32"),
            "high": (8, "uint32"),
        }),
    ),
    MatchKind.DPORT: (
        Form("ports", {
            "low": (4, "uint32"),
            "high": (8, "uint32"),
        }),
    ),
    MatchKind.TCP_FLAGS: (
        Form("byte", {
            "mask": (4, "uint32"),
            "value": (8, "uint32"),
        }),
    ),
    MatchKind.ICMP_TYPE: (
        Form("icmp", {
            "type": (4, "uint32"),
            "low": (8, "uint32"),
            "high": (12, "uint32"),
        }),
    ),
    MatchKind.MULTIPORT_SRC: (
        Form("multiport", {
            "n_ports": (2, "uint16"),
            "first": (4, "uint32"),
        }),
    ),
    MatchKind.MULTIPORT_DST: (
        Form("multiport", {
            "n_ports": (2, "uint16"),
            "first": (4, "uint32"),
        }),
    ),
    MatchKind.MULTIPORT_EITHER: (
        Form("multiport", {
            "n_ports": (2, "uint16"),
            "first": (4, "uint32"),
        }),
    ),
    MatchKind.MARK: (
        Form("mark", {
            "value": (4, "uint32"),
            "mask": (8, "uint32"),
        }),
    ),
    MatchKind.CONNMARK: (
        Form("mark", {
            "value": (4, "uint32"),
            "mask": (8, "uint32"),
        }),
    ),
    MatchKind.ADDRTYPE_SRC: (
        Form("addrtype", {
            "types": (4, "uint32"),
            "device": (8, "uint32"),
        }),
    ),
    MatchKind.ADDRTYPE_DST: (
        Form("addrtype", {
            "types": (4, "uint32"),
            "device": (8, "uint32"),
        }),
    ),
    MatchKind.IPRANGE_SRC: (
        Form("iprange", {
            "at": (4, "uint32"),
        }),
    ),
    MatchKind.IPRANGE_DST: (
        Form("iprange", {
            "at": (4, "uint32"),
        }),
    ),
    MatchKind.CTSTATE: (
        Form("ctstate", {
            "bits": (4, "uint32"),
        }),
    ),
    MatchKind.CTPROTO: (
        Form("ctproto", {
            "with_state": (2, "uint16"),
            "proto": (4, "uint32"),
        }),
    ),
    MatchKind.NTH: (
        Form("nth", {
            "last": (4, "uint32"),
            "count": (12, "uint32"),
        }),
    ),
    MatchKind.RANDOM: (
        Form("chance", {
            "below": (4, "uint32"),
        }),
    ),
    MatchKind.LENGTH: (
        Form("range", {
            "low": (4, "uint32"),
            "high": (8, "uint32"),
        }),
    ),
    MatchKind.L4_HEADER: (
        Form("l4_header", {
            "bytes": (4, "uint32"),
        }),
    ),
    MatchKind.CONST: (
        Form("constant", {
            "holds": (4, "uint32"),
        }),
    ),
    MatchKind.SET: (
        Form("set", {
            "bits": (2, "uint16"),
            "index": (4, "uint32"),
            "sources": (8, "uint32"),
            "n_dims": (12, "uint32"),
        }),
    ),
    MatchKind.RECENT: (
        Form("recent", {
            "bits": (2, "uint16"),
            "list": (4, "uint32"),
            "window": (8, "uint32"),
            "hits": (12, "uint32"),
        }),
    ),
    MatchKind.LIMIT: (
        Form("limit", {
            "cost": (4, "uint32"),
            "most": (8, "uint32"),
        }),
    ),
    MatchKind.TTL: (
        Form("range", {
            "low": (4, "uint32"),
            "high": (8, "uint32"),
        }),
    ),
    MatchKind.TOS: (
        Form("byte", {
            "mask": (4, "uint32"),
            "value": (8, "uint32"),
        }),
    ),
    MatchKind.CT_ADDR: (
        Form("ct_addr", {
            "with_state": (2, "uint16"),
            "at": (4, "uint32"),
            "end": (12, "uint32"),
        }),
    ),
    MatchKind.CT_PORT: (
        Form("ct_ports", {
            "with_state": (2, "uint16"),
            "low": (4, "uint32"),
            "high": (8, "uint32"),
            "end": (12, "uint32"),
        }),
    ),
    MatchKind.CT_STATUS: (
        Form("ct_status", {
            "with_state": (2, "uint16"),
            "bits": (4, "uint32"),
        }),
    ),
    MatchKind.CT_DIR: (
        Form("ct_dir", {
            "with_state": (2, "uint16"),
            "dir": (4, "uint32"),
        }),
    ),
    MatchKind.MORE: (
        Form("recent_more", {
            "at": (4, "uint32"),
        }),
        Form("set_more", {
            "at": (4, "uint32"),
        }),
        Form("limit_more", {
            "credit": (4, "uint32"),
            "last": (8, "uint32"),
        }),
    ),
    MatchKind.RPFILTER: (
        Form("rpfilter", {
            "flags": (4, "uint32"),
        }),
    ),
    MatchKind.HASHLIMIT: (
        Form("hashlimit", {
            "bits": (2, "uint16"),
            "list": (4, "uint32"),
            "at": (8, "uint32"),
            "expiry": (12, "uint32"),
        }),
    ),
    MatchKind.HELPER: (
        Form("helper", {
            "helper": (4, "uint32"),
        }),
    ),
    MatchKind.CT_EXPIRE: (
        Form("range", {
            "with_state": (2, "uint16"),
            "low": (4, "uint32"),
            "high": (8, "uint32"),
        }),
    ),
    MatchKind.TCP_OPTION: (
        Form("option", {
            "number": (4, "uint32"),
        }),
    ),
    MatchKind.PKT_TYPE: (
        Form("pkt_type", {
            "type": (4, "uint32"),
        }),
    ),
    MatchKind.OWNER: (
        Form("owner", {
            "part": (4, "uint32"),
            "low": (8, "uint32"),
            "high": (12, "uint32"),
        }),
    ),
    MatchKind.QUOTA: (
        Form("quota", {
            "low": (4, "uint32"),
            "high": (8, "uint32"),
        }),
    ),
    MatchKind.TCP_MSS: (
        Form("range", {
            "low": (4, "uint32"),
            "high": (8, "uint32"),
        }),
    ),
    MatchKind.TIME: (
        Form("time", {
            "bits": (2, "uint16"),
            "at": (4, "uint32"),
            "monthdays": (8, "uint32"),
        }),
    ),
    MatchKind.ROUTING: (
        Form("routing", {
            "part": (4, "uint32"),
            "low": (8, "uint32"),
            "high": (12, "uint32"),
        }),
    ),
    MatchKind.CONNLIMIT: (
        Form("connlimit", {
            "bits": (2, "uint16"),
            "list": (4, "uint32"),
            "at": (8, "uint32"),
            "limit": (12, "uint32"),
        }),
    ),
    MatchKind.CONNBYTES: (
        Form("connbytes", {
            "at": (4, "uint32"),
            "part": (8, "uint32"),
            "ways": (12, "uint32"),
        }),
    ),
    MatchKind.ECN: (
        Form("byte", {
            "mask": (4, "uint32"),
            "value": (8, "uint32"),
        }),
    ),
    MatchKind.SOCKET: (
        Form("constant", {
            "holds": (4, "uint32"),
        }),
    ),
    MatchKind.MAC: (
        Form("mac", {
            "high": (4, "uint32"),
            "low": (8, "uint32"),
        }),
    ),
}

# the members of each record: name; "addr" for an address of the family, else a record or a NumPy type; shape; the only
# family that has it, 0: both
RECORDS: dict[str, list[tuple[str, str, tuple[int, ...], int]]] = {
    "TUPLE": [
        ("src", "addr", (), 0),
        ("dst", "addr", (), 0),
        ("sport", "uint16", (), 0),
        ("dport", "uint16", (), 0),
        ("proto", "uint8", (), 0),
        ("pad", "uint8", (), 0),
        ("zone", "uint16", (), 0),
    ],
    "CONN": [
        ("tuples", "TUPLE", (2,), 0),
        ("timeout", "uint32", (), 0),
        ("wheel_pos", "uint32", (), 0),
        ("bysource_next", "uint32", (), 0),
        ("bysource_prev", "uint32", (), 0),
        ("stream_ts", "uint32", (), 0),
        ("routes", "uint16", (2,), 0),
        ("masq_iface", "uint16", (), 0),
        ("zone", "uint16", (), 0),
        ("status", "uint16", (), 0),
        ("state", "uint8", (), 0),
        ("flags", "uint8", (), 0),
    ],
    "TCP": [
        ("td_end", "uint32", (2,), 0),
        ("td_maxend", "uint32", (2,), 0),
        ("td_maxwin", "uint32", (2,), 0),
        ("td_maxack", "uint32", (2,), 0),
        ("scale", "uint8", (2,), 0),
        ("flags", "uint8", (2,), 0),
        ("last_dir", "uint8", (), 0),
        ("last_index", "uint8", (), 0),
        ("retrans", "uint8", (), 0),
        ("last_wscale", "uint8", (), 0),
        ("last_seq", "uint32", (), 0),
        ("last_ack", "uint32", (), 0),
        ("last_end", "uint32", (), 0),
        ("last_win", "uint16", (), 0),
        ("last_flags", "uint8", (), 0),
        ("policy", "uint8", (), 0),
        ("help", "uint32", (), 0),
        ("mark", "uint32", (), 0),
    ],
    "ACCT": [
        ("packets", "uint64", (2,), 0),
        ("bytes", "uint64", (2,), 0),
    ],
    "BUCKET": [
        ("tags", "uint8", (12,), 0),
        ("overflow", "uint32", (), 0),
        ("items", "uint32", (12,), 0),
    ],
    "CHUNK": [
        ("next", "uint32", (), 0),
        ("count", "uint16", (), 0),
        ("slot", "uint16", (), 0),
        ("ids", "uint32", (14,), 0),
    ],
    "BITMAP_KEY": [
        ("t", "TUPLE", (), 0),
        ("newer", "uint32", (), 0),
        ("older", "uint32", (), 0),
        ("last_search", "uint32", (), 0),
        ("live", "uint32", (), 0),
        ("pages", "uint32", (32,), 0),
    ],
    "MATCH": [
        ("kind", "uint8", (), 0),
        ("invert", "uint8", (), 0),
        ("n", "uint16", (), 0),
        ("a", "uint32", (), 0),
        ("b", "uint32", (), 0),
        ("c", "uint32", (), 0),
    ],
    "RULE": [
        ("src", "addr", (), 0),
        ("smask", "addr", (), 0),
        ("dst", "addr", (), 0),
        ("dmask", "addr", (), 0),
        ("in_set", "uint16", (), 0),
        ("out_set", "uint16", (), 0),
        ("proto", "uint8", (), 0),
        ("invert", "uint8", (), 0),
        ("target", "uint8", (), 0),
        ("tests", "uint8", (), 0),
        ("target_arg", "uint32", (), 0),
        ("next", "uint32", (), 0),
        ("match", "MATCH", (), 0),
        ("packets", "uint64", (), 0),
        ("bytes", "uint64", (), 0),
    ],
    "DISPATCH": [
        ("kind", "uint8", (), 0),
        ("shift", "uint8", (), 0),
        ("apart", "uint8", (), 0),
        ("alike", "uint8", (), 0),
        ("mask", "uint32", (), 0),
        ("first_slot", "uint32", (), 0),
        ("pad", "uint32", (), 0),
    ],
    "DISPATCH_SLOT": [
        ("key", "uint32", (), 0),
        ("rule", "uint32", (), 0),
    ],
    "BASE": [
        ("kind", "uint32", (), 0),
        ("entry", "uint32", (), 0),
        ("policy", "uint32", (), 0),
        ("routes", "uint32", (), 0),
    ],
    "NFT_EXPR": [
        ("kind", "uint8", (), 0),
        ("words", "uint8", (), 0),
        ("dreg", "uint8", (), 0),
        ("sreg", "uint8", (), 0),
        ("a", "uint32", (), 0),
        ("b", "uint32", (), 0),
        ("c", "uint32", (), 0),
    ],
    "NFT_RULE": [
        ("first", "uint32", (), 0),
        ("n", "uint32", (), 0),
    ],
    "NFT_SET": [
        ("kind", "uint32", (), 0),
        ("key_words", "uint32", (), 0),
        ("data_words", "uint32", (), 0),
        ("stride", "uint32", (), 0),
        ("first", "uint32", (), 0),
        ("used", "uint32", (), 0),
        ("size", "uint32", (), 0),
        ("count", "uint32", (), 0),
        ("free", "uint32", (), 0),
        ("words", "uint32", (), 0),
        ("slot", "uint32", (), 0),
        ("mask", "uint32", (), 0),
        ("exact", "uint32", (), 0),
        ("timeout", "uint32", (), 0),
        ("any", "uint32", (), 0),
        ("states", "uint32", (), 0),
        ("n_states", "uint32", (), 0),
        ("state_exprs", "uint32", (), 0),
        ("timed", "uint32", (), 0),
    ],
    "NFT_ELEMENT": [
        ("next", "uint32", (), 0),
        ("expires", "uint32", (), 0),
        ("timeout", "uint32", (), 0),
        ("used", "uint32", (), 0),
    ],
    "NFT_STATE": [
        ("packets", "uint64", (), 0),
        ("bytes", "uint64", (), 0),
        ("tokens", "uint64", (), 0),
        ("last", "uint64", (), 0),
        ("cost", "uint64", (), 0),
        ("most", "uint64", (), 0),
        ("period", "uint64", (), 0),
    ],
    "NFT_CONN": [
        ("t", "TUPLE", (), 0),
        ("next", "uint64", (), 0),
    ],
    "TABLE_MEMO": [
        ("key", "uint64", (3,), 0),
        ("packets", "uint64", (), 0),
        ("bytes", "uint64", (), 0),
        ("mark", "uint32", (), 0),
        ("target_arg", "uint32", (), 0),
        ("walked", "uint16", (), 0),
        ("kind", "uint8", (), 0),
        ("n", "uint8", (), 0),
        ("rules", "uint32", (17,), 0),
        ("varied", "uint32", (), 0),
        ("asks_tuple", "uint8", (), 0),
        ("untracked", "uint8", (), 0),
        ("pad", "uint8", (2,), 0),
    ],
    "MEMO": [
        ("key", "uint64", (3,), 0),
        ("packets", "uint64", (), 0),
        ("bytes", "uint64", (), 0),
        ("addr", "addr", (), 0),
        ("born", "uint32", (), 0),
        ("route", "uint16", (), 0),
        ("walked", "uint16", (), 0),
        ("out_iface", "uint16", (), 0),
        ("masq_iface", "uint16", (), 0),
        ("kind", "uint8", (), 0),
        ("n", "uint8", (), 0),
        ("complete", "uint8", (), 0),
        ("varied", "uint8", (), 0),
        ("target_arg", "uint32", (), 0),
        ("mark", "uint32", (), 0),
        ("to", "addr", (), 0),
        ("to_port", "uint16", (), 0),
        ("back", "uint16", (), 0),
        ("rules", "uint32", (28,), 0),
        ("pad2", "uint32", (), 0),
    ],
    "PASS_MEMO": [
        ("key", "uint64", (2,), 0),
        ("packets", "uint64", (), 0),
        ("bytes", "uint64", (), 0),
        ("walked", "uint16", (), 0),
        ("n", "uint8", (), 0),
        ("fails", "uint8", (), 0),
        ("rules", "uint32", (20,), 0),
        ("pad", "uint32", (3,), 0),
    ],
    "MEMO_BOUNDS": [
        ("memo", "uint32", (), 0),
        ("born", "uint32", (), 0),
        ("src", "addr", (), 0),
        ("src_width", "addr", (), 0),
        ("dst", "addr", (), 0),
        ("dst_width", "addr", (), 0),
        ("sport", "uint16", (), 0),
        ("sport_width", "uint16", (), 0),
        ("dport", "uint16", (), 0),
        ("dport_width", "uint16", (), 0),
        ("mark", "uint32", (), 0),
        ("iface", "uint16", (), 0),
        ("tcp_flags", "uint8", (), 0),
        ("proto", "uint8", (), 0),
    ],
    "SET": [
        ("prefixes", "uint64", (3,), 0),
        ("mask", "uint32", (), 0),
        ("first_slot", "uint32", (), 0),
        ("first_member", "uint32", (), 0),
        ("n_members", "uint32", (), 0),
        ("dims", "uint8", (3,), 0),
        ("n_dims", "uint8", (), 0),
        ("netmask", "uint8", (), 0),
        ("counts", "uint8", (), 0),
        ("exceptions", "uint8", (), 0),
        ("pad", "uint8", (), 0),
    ],
    "ELEMENT": [
        ("addrs", "addr", (2,), 0),
        ("port", "uint32", (), 0),
        ("prefix", "uint8", (), 0),
        ("used", "uint8", (), 0),
        ("nomatch", "uint8", (), 0),
        ("expires", "uint8", (), 0),
        ("until", "uint32", (), 0),
        ("pad", "uint32", (), 0),
        ("packets", "uint64", (), 0),
        ("bytes", "uint64", (), 0),
    ],
    "RECENT": [
        ("addr", "addr", (), 0),
        ("used", "uint32", (), 0),
        ("next", "uint32", (), 0),
        ("n_stamps", "uint32", (), 0),
        ("ttl", "uint32", (), 0),
    ],
    "RECENT_LIST": [
        ("ring", "uint32", (), 0),
        ("first", "uint32", (), 0),
    ],
    "HOOK_COUNT": [
        ("packets", "uint64", (), 0),
        ("bytes", "uint64", (), 0),
    ],
    "HASHLIMIT": [
        ("src", "addr", (), 0),
        ("dst", "addr", (), 0),
        ("ports", "uint32", (), 0),
        ("used", "uint32", (), 0),
        ("credit", "uint64", (), 0),
        ("last", "uint32", (), 0),
        ("seen", "uint32", (), 0),
        ("bursts", "uint32", (), 0),
        ("pad", "uint32", (), 0),
    ],
    "CONNLIMIT": [
        ("t", "TUPLE", (), 0),
        ("addr", "addr", (), 0),
        ("next", "uint32", (), 0),
        ("list", "uint16", (), 0),
        ("zone", "uint16", (), 0),
        ("pad", "uint32", (), 4),
    ],
    "HELP": [
        ("first", "uint32", (), 0),
        ("kind", "uint8", (), 0),
        ("master_kind", "uint8", (), 0),
        ("n_ends", "uint8", (2,), 0),
        ("line_ends", "uint32", (2, 2), 0),
        ("pos", "uint32", (2,), 0),
        ("before", "uint32", (2,), 0),
        ("after", "uint32", (2,), 0),
        ("pns_call", "uint16", (), 0),
        ("pac_call", "uint16", (), 0),
        ("own_call", "uint16", (), 0),
        ("far_call", "uint16", (), 0),
        ("session", "uint8", (), 0),
        ("call", "uint8", (), 0),
        ("pad", "uint16", (), 0),
        ("master", "uint32", (), 0),
        ("serial", "uint32", (), 0),
        ("master_serial", "uint32", (), 0),
        ("pad2", "uint32", (2,), 0),
    ],
    "EXPECT": [
        ("t", "TUPLE", (), 0),
        ("master", "uint32", (), 0),
        ("next", "uint32", (), 0),
        ("sibling", "uint32", (), 0),
        ("expires", "uint32", (), 0),
        ("saved_port", "uint16", (), 0),
        ("kind", "uint8", (), 0),
        ("dir", "uint8", (), 0),
        ("any_sport", "uint8", (), 0),
        ("pad", "uint8", (3,), 0),
    ],
    "EVENT": [
        ("tuples", "TUPLE", (2,), 0),
        ("tick", "uint64", (), 0),
        ("timeout", "int32", (), 0),
        ("mark", "uint32", (), 0),
        ("conn", "uint32", (), 0),
        ("zone", "uint16", (), 0),
        ("status", "uint16", (), 0),
        ("kind", "uint8", (), 0),
        ("what", "uint8", (), 0),
        ("state", "uint8", (), 0),
        ("counted", "uint8", (), 0),
        ("pad", "uint32", (), 0),
        ("acct", "ACCT", (), 0),
    ],
    "WAYPOINT": [
        ("t", "TUPLE", (), 0),
        ("mark", "uint32", (), 0),
        ("out_iface", "uint16", (), 0),
        ("route", "uint16", (), 0),
        ("place", "uint8", (), 0),
        ("ctinfo", "uint8", (), 0),
        ("reason", "uint8", (), 0),
        ("is_new", "uint8", (), 0),
        ("pad", "uint8", (4,), 0),
    ],
    "TARGET": [
        ("min_addr", "addr", (), 0),
        ("max_addr", "addr", (), 0),
        ("min_proto", "uint16", (), 0),
        ("max_proto", "uint16", (), 0),
        ("base_proto", "uint16", (), 0),
        ("flags", "uint16", (), 0),
        ("value", "uint32", (), 0),
        ("mask", "uint32", (), 0),
        ("mask2", "uint32", (), 0),
        ("op", "uint32", (), 0),
    ],
    "ROUTE": [
        ("dst", "addr", (), 0),
        ("mask", "addr", (), 0),
        ("gateway", "addr", (), 0),
        ("bound", "uint32", (), 0),
        ("hops", "uint16", (), 0),
        ("iface", "uint16", (), 0),
        ("kind", "uint8", (), 0),
        ("scope", "uint8", (), 0),
        ("src", "uint16", (), 0),
        ("pad2", "uint32", (), 6),
        ("pad3", "uint32", (2,), 4),
    ],
    "NEIGHBOUR": [
        ("addr", "addr", (), 0),
        ("iface", "uint32", (), 0),
        ("pad", "uint32", (), 6),
        ("mac", "uint64", (), 0),
    ],
    "FIB_RULE": [
        ("src", "addr", (), 0),
        ("smask", "addr", (), 0),
        ("dst", "addr", (), 0),
        ("dmask", "addr", (), 0),
        ("suppressed", "addr", (), 0),
        ("mark", "uint32", (), 0),
        ("mask", "uint32", (), 0),
        ("in_iface", "uint16", (), 0),
        ("out_iface", "uint16", (), 0),
        ("pad", "uint16", (), 0),
        ("table", "uint16", (), 0),
        ("sport_min", "uint16", (), 0),
        ("sport_max", "uint16", (), 0),
        ("dport_min", "uint16", (), 0),
        ("dport_max", "uint16", (), 0),
        ("proto", "uint8", (), 0),
        ("invert", "uint8", (), 0),
        ("refuses", "uint8", (), 0),
        ("suppresses", "uint8", (), 0),
        ("tos", "uint8", (), 0),
        ("tos_mask", "uint8", (), 0),
        ("pad2", "uint8", (2,), 0),
        ("first_route", "uint32", (), 0),
        ("end_route", "uint32", (), 0),
    ],
    "ADDRESS": [
        ("local", "addr", (), 0),
        ("mask", "addr", (), 0),
        ("peer", "addr", (), 0),
        ("iface", "uint16", (), 0),
        ("scope", "uint8", (), 0),
        ("flags", "uint8", (), 0),
        ("pad", "uint32", (), 6),
    ],
    "PACKET": [
        ("src", "addr", (), 0),
        ("dst", "addr", (), 0),
        ("sport", "uint16", (), 0),
        ("dport", "uint16", (), 0),
        ("iface", "uint16", (), 0),
        ("length", "uint16", (), 0),
        ("proto", "uint8", (), 0),
        ("tcp_flags", "uint8", (), 0),
        ("isn", "uint16", (), 0),
        ("mark", "uint32", (), 0),
    ],
    "RESULT": [
        ("verdict", "uint8", (), 0),
        ("ctinfo", "uint8", (), 0),
        ("reason", "uint8", (), 0),
        ("copied", "uint8", (), 0),
        ("pad2", "uint32", (), 6),
        ("src", "addr", (), 0),
        ("dst", "addr", (), 0),
        ("sport", "uint16", (), 0),
        ("dport", "uint16", (), 0),
        ("out_iface", "uint16", (), 0),
        ("probes", "uint16", (), 0),
        ("conn", "uint32", (), 0),
        ("pad3", "uint32", (), 6),
    ],
    "SERVICE": [
        ("addr", "addr", (), 0),
        ("client_mask", "addr", (), 0),
        ("fwmark", "uint32", (), 0),
        ("port", "uint16", (), 0),
        ("proto", "uint8", (), 0),
        ("scheduler", "uint8", (), 0),
        ("first", "uint32", (), 0),
        ("n", "uint32", (), 0),
        ("at", "uint32", (), 0),
        ("weight", "int32", (), 0),
        ("max_weight", "int32", (), 0),
        ("step", "int32", (), 0),
        ("persist", "uint32", (), 0),
        ("flags", "uint32", (), 0),
    ],
    "SERVER": [
        ("addr", "addr", (), 0),
        ("weight", "uint32", (), 0),
        ("active", "uint32", (), 0),
        ("inactive", "uint32", (), 0),
        ("port", "uint16", (), 0),
        ("pad", "uint16", (), 0),
    ],
    "IPVS_CONN": [
        ("client", "addr", (), 0),
        ("service", "addr", (), 0),
        ("server", "addr", (), 0),
        ("client_port", "uint16", (), 0),
        ("service_port", "uint16", (), 0),
        ("server_port", "uint16", (), 0),
        ("proto", "uint8", (), 0),
        ("state", "uint8", (), 0),
        ("mark", "uint32", (), 0),
        ("timeout", "uint32", (), 0),
        ("expires", "uint32", (), 0),
        ("next", "uint32", (), 0),
        ("wheel_next", "uint32", (), 0),
        ("wheel_prev", "uint32", (), 0),
        ("dest", "uint32", (), 0),
        ("control", "uint32", (), 0),
        ("n_control", "uint32", (), 0),
        ("slot", "uint16", (), 0),
        ("flags", "uint16", (), 0),
    ],
    "PORT_SEARCH": [
        ("state", "uint64", (), 0),
        ("min_", "uint32", (), 0),
        ("size", "uint32", (), 0),
        ("off", "uint32", (), 0),
        ("attempts", "uint32", (), 0),
        ("at", "uint32", (), 0),
        ("changes", "uint32", (), 0),
        ("probes", "uint32", (), 0),
        ("found", "uint32", (), 0),
        ("draws", "uint32", (), 0),
        ("port", "uint16", (), 0),
        ("end", "uint8", (), 0),
        ("hard", "uint8", (), 0),
    ],
}
