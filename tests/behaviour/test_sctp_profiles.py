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
        SCTPChunkCookieAck,
        SCTPChunkCookieEcho,
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


@pytest.mark.parametrize("life", [LIFE, HEARTBEATS], ids=["association", "heartbeats"])
@pytest.mark.parametrize("profile", ["linux-5.4", "linux-6.18"])
def test_lifetime(profile, life):
    nat = fastnat.Engine(make_node(), profile)
    for n, (who, tag, chunk, old, new) in enumerate(life):
        if who == "client":
            iface, ip, ports = "cni0", IP(src="10.244.1.2", dst="203.0.113.10"), {"sport": 3000, "dport": 38412}
        else:
            iface, ip, ports = "eth0", IP(src="203.0.113.10", dst="198.51.100.10"), {"sport": 38412, "dport": 3000}
        nat.process_packet(bytes(ip / SCTP(**ports, tag=tag) / chunk), iface, now=n * 0.004)
        (connection,) = nat.conntrack
        state, seconds = old if profile == "linux-5.4" else new
        assert (str(connection).split()[3], connection.timeout) == (state, pytest.approx(seconds)), chunk.summary()
