"""The words of a report for readers who do not know the field, each in a sentence."""

from __future__ import annotations

WORDS = {
    "flow": "A connection: packets between one client's port and one destination's port. A first packet opens it.",
    "SNAT port": "The source port that the node gives a flow when it replaces the client's address by its own. Two "
    "flows to one destination cannot have the same one.",
    "port space": "The ports that one address of the node offers towards one destination: up to 64,512. A second "
    "address, or a second destination, brings as many again.",
    "occupancy": "The share of a port space that is in use; here always of the fullest one.",
    "variant": "One of the compared settings. The first is the baseline; all get the same flows.",
    "first fails": "The number of the first flow that failed, its time in brackets. All flows before it had a port.",
    "at 60k": "The share that failed of the thousand flows up to this one.",
    "failing": "The share of new flows that failed over the last quarter of the run.",
    "failed": "How many flows failed in the whole run.",
    "cause": "What most failures came from: ports (none found), table full, or race (two CPUs chose the same port).",
    "probes": "Ports that the kernel tried for a flow, on average. It gives up after 248: flows fail before all ports "
    "are in use.",
    "p99": "The probes that 99 of 100 flows stay within.",
    "table": "The most entries that the connection tracking table held; nf_conntrack_max is its limit.",
    "hold": "How long a flow is open, until it is closed.",
    "TIME_WAIT": "What follows a closed TCP flow: its entry, and so its port, is kept for a while, 120 s by default.",
    "seed": "What a run's random numbers begin with. Several seeds show by how much chance alone changes an answer.",
    "addresses": "SNAT addresses: addresses of the node, or of a cloud's NAT, by which flows leave.",
    "fits": "Whether the cloud offers as much as is needed.",
}
OF_RUN = (
    "flow", "SNAT port", "port space", "occupancy", "variant", "first fails", "at 60k", "failing", "failed", "cause",
    "probes", "p99", "table", "TIME_WAIT",
)  # fmt: skip
OF_PLAN = ("flow", "SNAT port", "port space", "addresses", "hold", "TIME_WAIT", "table")
OF_RATES = ("flow", "SNAT port", "port space", "variant", "hold", "cause", "TIME_WAIT", "table")
OF_CLOUDS = ("flow", "SNAT port", "port space", "addresses", "hold", "fits")
OF_SWEEP = (
    "flow",
    "SNAT port",
    "port space",
    "variant",
    "seed",
    "first fails",
    "failed",
    "cause",
    "probes",
    "TIME_WAIT",
)


def meaning(word: str) -> str:
    """Return what the head of a column means, "" for a word that needs no explanation."""
    return WORDS["at 60k"] if word.startswith("at ") else WORDS.get(word, "")
