"""Why a packet was dropped, in words: for those reasons whose names do not say it."""

from __future__ import annotations

REASONS = {
    "table_full": "the conntrack table is full (nf_conntrack_max), and early drop found no entry to end",
    "no_address": "MASQUERADE found no address on the interface of the way out",
    "no_route": "no route leads to the destination",
    "ttl": "the TTL or hop limit ends at this node",
    "martian": "the node takes no packet with these addresses from this interface (rp_filter, its own addresses, ...)",
    "rule_drop": "by a rule, or by the policy of a chain",
    "rule_reject": "by a rule that tells the sender (REJECT)",
    "not_forwarding": "the node does not forward what enters by this interface (net.ipv4.ip_forward and its kind)",
    "too_big": "larger than the MTU of the way out, and not to be cut",
    "chain_too_long": "lost at confirm: the hash chain of its tuple is too long",
    "no_server": "the virtual service has no real server, or that of the connection is gone",
    "service_reused": "the client's port is in use again: IPVS first ends its old connection (conn_reuse_mode)",
    "too_many_rules": "more rules were met than are followed for one packet",
    "proxied": "a proxy has the packet, and the route leads on to another machine",
}
