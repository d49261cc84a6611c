"""An SCTP association through its life, under both profiles (nf_conntrack_proto_sctp.c)."""

import warnings

import pytest
from nodes import make_node

import fastnat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import IP
    from scapy.layers.sctp import (
        SCTP,
        SCTPChunkAbort,
        SCTPChunkCookieAck,
        SCTPChunkCookieEcho,
        SCTPChunkError,
        SCTPChunkHeartbeatAck,
        SCTPChunkHeartbeatReq,
        SCTPChunkInit,
        SCTPChunkInitAck,
        SCTPChunkShutdown,
        SCTPChunkShutdownAck,
        SCTPChunkShutdownComplete,
    )

COOKIE = SCTPChunkCookieEcho(cookie=b"1234")
# who sends, with which tag, what; state and seconds left under linux-5.4 and linux-6.18
LIFE = [
    ("client", 0, SCTPChunkInit(init_tag=7), ("CLOSED", 10), ("CLOSED", 10)),
    ("server", 7, SCTPChunkInitAck(init_tag=9), ("COOKIE_WAIT", 3), ("COOKIE_WAIT", 3)),
    ("client", 9, COOKIE, ("COOKIE_ECHOED", 3), ("COOKIE_ECHOED", 3)),
    ("server", 7, SCTPChunkCookieAck(), ("ESTABLISHED", 432000), ("ESTABLISHED", 210)),
    ("client", 9, SCTPChunkShutdown(), ("SHUTDOWN_SENT", 0.3), ("SHUTDOWN_SENT", 3)),
    ("server", 7, SCTPChunkShutdownAck(), ("SHUTDOWN_ACK_SENT", 3), ("SHUTDOWN_ACK_SENT", 3)),
    ("client", 9, SCTPChunkShutdownComplete(), ("CLOSED", 10), ("CLOSED", 10)),
]
HEARTBEATS = [
    ("client", 5, SCTPChunkHeartbeatReq(), ("HEARTBEAT_SENT", 30), ("HEARTBEAT_SENT", 30)),
    ("server", 6, SCTPChunkHeartbeatAck(), ("HEARTBEAT_ACKED", 210), ("ESTABLISHED", 210)),
]


def sent(nat, who, tag, chunk, now):
    """Send a chunk; return whether its packet was translated."""
    if who == "client":
        iface, ip, ports = "cni0", IP(src="10.244.1.2", dst="203.0.113.10"), {"sport": 3000, "dport": 38412}
    else:
        iface, ip, ports = "eth0", IP(src="203.0.113.10", dst="198.51.100.10"), {"sport": 38412, "dport": 3000}
    out = IP(nat.process_packet(bytes(ip / SCTP(**ports, tag=tag) / chunk), iface, now=now)[1])
    return (out.src, out.dst) != (ip.src, ip.dst)


@pytest.mark.parametrize("life", [LIFE, HEARTBEATS], ids=["association", "heartbeats"])
@pytest.mark.parametrize("profile", ["linux-5.4", "linux-6.18"])
def test_lifetime(profile, life):
    nat = fastnat.Engine(make_node(), profile)
    for n, (who, tag, chunk, old, new) in enumerate(life):
        sent(nat, who, tag, chunk, n * 0.004)
        (connection,) = nat.conntrack
        state, seconds = old if profile == "linux-5.4" else new
        assert (str(connection).split()[3], connection.timeout) == (state, pytest.approx(seconds)), chunk.summary()


# which tags are right in an association: the receiver's own, the sender's, any other
OWN, THEIRS, WRONG = "own", "theirs", "wrong"
ALL = {OWN, THEIRS, WRONG}
# a chunk and its tags under linux-5.4 and linux-6.18; the T bit: the sender reflects the tag that it was sent
TAGS = {
    "cookie ack": (SCTPChunkCookieAck(), {OWN}, {OWN}), "error": (SCTPChunkError(), {OWN}, {OWN}),
    "shutdown": (SCTPChunkShutdown(), {OWN}, {OWN}), "cookie echo": (COOKIE, {OWN}, {OWN}),
    "shutdown ack": (SCTPChunkShutdownAck(), ALL, ALL), "init": (SCTPChunkInit(init_tag=5), set(), set()),
    "abort": (SCTPChunkAbort(), {OWN, THEIRS}, {OWN}), "abort, T": (SCTPChunkAbort(TCB=1), {OWN, THEIRS}, {THEIRS}),
    "shutdown complete": (SCTPChunkShutdownComplete(), ALL, {OWN}),
    "shutdown complete, T": (SCTPChunkShutdownComplete(TCB=1), {OWN, THEIRS}, {THEIRS}),
}  # fmt: skip


@pytest.mark.one_of(3)
@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("name", TAGS)
@pytest.mark.parametrize("profile", ["linux-5.4", "linux-6.18"])
def test_which_tag_a_chunk_must_have(profile, name, who):
    """sctp_packet; RFC 9260, 8.5.1."""
    nat = fastnat.Engine(make_node(), profile)
    for n, (sender, tag, chunk, *_) in enumerate(LIFE[:4]):
        assert sent(nat, sender, tag, chunk, n * 0.004)
    chunk, old, new = TAGS[name]
    tags = {OWN: 9 if who == "client" else 7, THEIRS: 7 if who == "client" else 9, WRONG: 11}
    taken = {kind for kind, tag in tags.items() if sent(nat.fork(), who, tag, chunk, 0.1)}
    assert taken == (old if profile == "linux-5.4" else new)
