"""The settings of an engine, and the numbers about the node that its datapath gets beside the arrays."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import Any

from ..addresses import FAMILIES, V6, Family
from ..core.layout import Profile
from ..dtypes import HZ
from ..errors import InputError
from ..nftables.program import Program
from ..node import Node
from ..node.timeouts import PREFIX, timeouts_of
from ..rules.compiler import Ruleset

PROFILES = {"linux-5.4": int(Profile.LINUX_5_4), "linux-6.18": int(Profile.LINUX_6_18)}
BITMAP_PROBES = 16
# walks through the rules that are remembered, a power of two
MEMOS = 512
# exclusive-ored to the seed from which that of the multipath hash is drawn
MULTIPATH = 0x6D756C7469706174
# of a policy rule
ANY_PORT = (0, 65535)
# buckets a possible expectation: nf_conntrack_expect_max is four times a 256th of nf_conntrack_buckets
EXPECT_SHARE = 64
MAX_CONNECTIONS = 1 << 25
ACCOUNTING = PREFIX + "acct"


@dataclass(frozen=True)
class Settings:
    """What an engine was asked for besides its node."""

    profile: str
    seed: int
    max_connections: int
    remember: bool
    max_events: int
    prefault: bool = False
    # of the hash of the tables
    key: int = 0
    # memory for bitmaps of ports, bytes
    bitmap_bytes: int = 32 << 20
    # seconds from 1970 to the engine's time 0; None: the engine has no date
    epoch: float | None = None


def config_of(node: Node, family: Family, r: Ruleset, program: Program, settings: Settings) -> dict[str, Any]:
    """Return the numbers that go with the arrays."""
    prefix, sysctl, profile = PREFIX, node.sysctl, settings.profile
    n_ifaces = len(node.iface_names)

    def flag(name: str, default: int) -> int:
        return int(sysctl(name, default) != 0)

    dissects = any(p.proto or p.sports != ANY_PORT or p.dports != ANY_PORT for p in node.policy_of(family))
    # in front of a protocol IPv6 may have other headers in each packet
    by_packet = any(p.iface or p.mask or p.tos_mask for p in node.policy_of(family)) or (dissects and family is V6)
    return {
        "seed": settings.seed, "key": settings.key, "secret": os.urandom(80),
        "max_connections": settings.max_connections, "bitmap_probes": BITMAP_PROBES, "groups": 1,
        # rules of nftables are met by each packet: nothing that other packets of its kind met is remembered
        "n_memos": MEMOS if settings.remember and r.repeatable and n_ifaces < 4096 and not program.bases else 0,
        "bases": program.bases, "nft_wide": program.wide,
        "remember": settings.remember, "n_ifaces": n_ifaces, "hook_entry": r.hook_entry,
        "hook_policy": r.hook_policy, "wide": r.wide, "apart": r.apart,
        "profile": PROFILES[profile], "tracking": r.tracking or program.tracking or bool(node.services),
        "nat_hooks": r.nat_hooks or program.nat,
        "due_at_once": (program.arrays["policies"] == 0).any(),
        "timeouts": timeouts_of(node, profile, family), "checksum": flag(prefix + "checksum", 1),
        # what rules write into packets is not in the tuples of their connection
        "routes_by_packet": by_packet or program.writes,
        "dissects": dissects,
        "multipath_policy": sysctl(f"net.ipv{family.version}.fib_multipath_hash_policy", 0),
        "multipath_seed": multipath_seed(node, settings), "loopback": node.iface_number("lo"),
        "loose": flag(prefix + "tcp_loose", 1),
        "be_liberal": flag(prefix + "tcp_be_liberal", 0),
        # unsigned in the kernel: a negative one is never reached
        "max_retrans": sysctl(prefix + "tcp_max_retrans", 3) & 0xFFFFFFFF,
        "ignore_invalid_rst": flag(prefix + "tcp_ignore_invalid_rst", 0),
        "accounting": int(is_accounted(node)),
        "local_routes": int(any(r.kind == "local" and not r.kernel for r in node.routes)),
        **ipvs_config(node, profile),
        "max_expects": expect_max(node, settings),
        "auto_helpers": int(helpers_by_port(node, profile)), "epoch": jiffies_of(settings.epoch or 0.0),
    }  # fmt: skip


def ipvs_config(node: Node, profile: str) -> dict[str, Any]:
    """Return how IPVS goes about its connections: net.ipv4.vs.*, as kube-proxy sets them by default, and --set."""
    return {
        # kube-proxy writes 0 before Linux 5.9, where each reused port would cost its client a second
        "conn_reuse_mode": node.sysctl("net.ipv4.vs.conn_reuse_mode", 0 if profile == "linux-5.4" else 1) & 0xFFFFFFFF,
        "expire_nodest_conn": int(node.sysctl("net.ipv4.vs.expire_nodest_conn", 1) != 0),
        "expire_quiescent_template": int(node.sysctl("net.ipv4.vs.expire_quiescent_template", 1) != 0),
        "sloppy_tcp": int(node.sysctl("net.ipv4.vs.sloppy_tcp", 0) != 0),
        "sloppy_sctp": int(node.sysctl("net.ipv4.vs.sloppy_sctp", 0) != 0),
        "ipvs_timeouts": [seconds * HZ for seconds in node.service_timeouts],
    }


def is_accounted(node: Node) -> bool:
    """Tell whether connections that begin now are counted: nf_conntrack_acct, which -m connbytes and ct bytes set."""
    if node.sysctl(ACCOUNTING, 0) or node.nft.accounted:
        return True
    tables = [t for rules in map(node.rules_of, FAMILIES.values()) if rules for t in rules.tables.values()]
    every = (rule for table in tables for chain in table.chains.values() for rule in chain.rules)
    return any(m.kind == "connbytes" for rule in every for m in rule.matches)


def jiffies_of(epoch: float) -> int:
    """Return seconds since 1970 in jiffies."""
    return round(epoch * HZ)


def multipath_seed(node: Node, settings: Settings) -> int:
    """Return net.ipv4.fib_multipath_hash_seed; where it is not set, as the kernel draws one, one from the seed."""
    given = node.sysctl("net.ipv4.fib_multipath_hash_seed", 0)
    return given or random.Random(settings.seed ^ MULTIPATH).getrandbits(32)


def helpers_by_port(node: Node, profile: str) -> bool:
    """Tell whether the kernel itself gives connections to well-known ports a helper (removed in Linux 6.0)."""
    return profile == "linux-5.4" and node.sysctl(PREFIX + "helper", 0) != 0


def room_of(node: Node) -> int:
    """Return nf_conntrack_max as the node has it, 262,144 if it does not say; InputError if no engine takes it."""
    # 0 is no limit (__nf_conntrack_alloc)
    room = node.sysctl(PREFIX + "max", 262_144) or MAX_CONNECTIONS
    if room < 0:
        raise InputError(f"sysctl {PREFIX}max = {room}: expected 0 or more in the node's sysctl.conf")
    if room > MAX_CONNECTIONS:
        raise InputError(
            f"sysctl {PREFIX}max = {room}: at most {MAX_CONNECTIONS} connections are simulated; set it to that in the "
            "node's sysctl.conf"
        )
    return room


def hash_buckets(node: Node, settings: Settings) -> int:
    """Return nf_conntrack_buckets: the node's, or one for each connection."""
    return max(int(node.sysctl(PREFIX + "buckets", settings.max_connections)), 1)


def expect_max(node: Node, settings: Settings) -> int:
    """Return nf_conntrack_expect_max, the node's or the kernel's choice; no more than connections."""
    wanted = node.sysctl(PREFIX + "expect_max", max(hash_buckets(node, settings) // EXPECT_SHARE, 4))
    return int(min(max(wanted, 0), settings.max_connections))
