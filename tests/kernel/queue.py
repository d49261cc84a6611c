"""Holding packets in the kernel between hooks, so that several are under way at once: a NFQUEUE client (nfnetlink)."""

import socket
import struct

NETLINK_NETFILTER, NFNL_SUBSYS_QUEUE = 12, 3
MSG_PACKET, MSG_VERDICT, MSG_CONFIG = 0, 1, 2
CFG_CMD, CFG_PARAMS, CMD_BIND, COPY_META = 1, 2, 1, 1
PACKET_HDR, VERDICT_HDR, NF_ACCEPT = 1, 2, 1
NLM_F_REQUEST = 1
HEADERS = 20  # nlmsghdr and nfgenmsg


def attribute(kind, payload):
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


class Queue:
    """Queue 0 of the network namespace in which it is made."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.bind((0, 0))
        self.socket.settimeout(1)
        self._send(MSG_CONFIG, attribute(CFG_CMD, struct.pack(">BxH", CMD_BIND, socket.AF_INET)))
        self._send(MSG_CONFIG, attribute(CFG_PARAMS, struct.pack(">IB", 0, COPY_META)))
        self.held = []

    def _send(self, kind, attributes):
        kind |= NFNL_SUBSYS_QUEUE << 8
        header = struct.pack("=IHHII", HEADERS + len(attributes), kind, NLM_F_REQUEST, 0, 0)
        self.socket.send(header + struct.pack(">BBH", socket.AF_UNSPEC, 0, 0) + attributes)

    def wait_for(self, n):
        """Wait until n packets are held."""
        while len(self.held) < n:
            data = self.socket.recv(65536)
            if struct.unpack_from("=H", data, 4)[0] != NFNL_SUBSYS_QUEUE << 8 | MSG_PACKET:
                continue
            at = HEADERS
            while at < len(data):
                size, kind = struct.unpack_from("=HH", data, at)
                if kind == PACKET_HDR:
                    self.held.append(struct.unpack_from(">I", data, at + 4)[0])
                at += size + -size % 4

    def release(self):
        """Let all go on, in the order in which they came."""
        for number in self.held:
            self._send(MSG_VERDICT, attribute(VERDICT_HDR, struct.pack(">II", NF_ACCEPT, number)))
        self.held.clear()

    def close(self):
        self.socket.close()
