"""Programs of calls with packets: made from a seed, run, written as JSON and read again.

A program is a node (its rules drawn from a pool), an engine's arguments and a list of calls. Arrays stay arrays while a
program lives in memory, so that a million packets cost no text; `encode` makes JSON of one that found something.
"""

import base64
import contextlib
import random
import sys
from functools import cache
from pathlib import Path

import numpy as np

import fastnat
from fastnat import FastnatError, iptables
from fastnat.dtypes import RECORDS4, RECORDS6
from fastnat.errors import CheckError

sys.path.append(str(Path(__file__).parents[1]))

from behaviour.test_hostile_bytes import IP, TCP, UDP, IPv6, conversation, mutate, repair

LO, CNI0, ETH0 = 1, 2, 3
# rules of either family: X is a client's network, Y the servers', N the node's addresses, B a server behind the node
MATCHES = [
    "", "", "", "-p tcp", "-p udp", "! -p tcp", "-p tcp -m tcp --dport 80", "-p udp -m udp --dport 53:60",
    "-s X", "! -s X", "-d Y", "-p tcp -m tcp --tcp-flags SYN,ACK SYN", "-p tcp -m multiport --dports 80,443,8000:8100",
    "-m mark --mark 0x1/0x3", "-m addrtype --dst-type LOCAL", "-m statistic --mode nth --every 3 --packet 1",
    "-m statistic --mode random --probability 0.4", "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate RELATED,ESTABLISHED",
    "-m conntrack --ctstate INVALID", "-m conntrack ! --ctstate DNAT", "-m conntrack --ctexpire 1:100",
    "-m length --length 0:60", "-m recent --name R --rcheck --seconds 5 --hitcount 2 --rsource",
    "-m recent --name R --set --rdest", "-m recent --name R --update --seconds 9 --rsource",
    "-m recent --name R --remove --rsource",
    "-m limit --limit 10/second --limit-burst 3", "-m connmark --mark 0x1/0x1", "-m dscp --dscp 0x0a",
    "-m hashlimit --hashlimit-upto 5/second --hashlimit-burst 2 --hashlimit-mode srcip,dstport --hashlimit-name H",
    "-m hashlimit --hashlimit-above 100/second --hashlimit-mode dstip --hashlimit-name H2",
    "-m set --match-set CLIENTS src",
    "-m set ! --match-set SERVERS dst,dst", "-m helper --helper ftp", "-m pkttype --pkt-type unicast",
    "-m rpfilter --loose",
]  # fmt: skip
PRE, OUT, POST, IN, FORWARD = "PREROUTING", "OUTPUT", "POSTROUTING", "INPUT", "FORWARD"
TARGETS = {  # table: (chains, target, what it needs in front)
    "raw": [
        ((PRE, OUT), "CT --helper ftp", "-p tcp --dport 21"), ((PRE, OUT), "CT --helper tftp", "-p udp --dport 69"),
        ((PRE,), "CT --helper pptp", "-p tcp --dport 1723"), ((PRE, OUT), "CT --zone 1", None),
        ((PRE,), "CT --zone-orig 2", None), ((PRE,), "CT --zone-reply 3", None), ((PRE, OUT), "CT --notrack", None),
        ((PRE, OUT), "DROP", None),
    ],
    "mangle": [
        ((PRE, FORWARD, POST, OUT, IN), t, None)
        for t in ("CONNMARK --set-xmark 0x1/0x3", "CONNMARK --save-mark", "CONNMARK --restore-mark",
                  "MARK --set-xmark 0x1/0x3", "MARK --or-mark 0x2", "TOS --set-tos 0x10/0x3f", "DSCP --set-dscp 0x0a")
    ] + [((PRE, FORWARD, POST), "DROP", None)],
    "nat": [
        ((POST,), "MASQUERADE", None), ((POST,), "MASQUERADE --random-fully", None),
        ((POST,), "MASQUERADE --to-ports 2000-2015", "-p tcp"), ((POST,), "MASQUERADE --to-ports 2000-2003", "-p udp"),
        ((POST,), "SNAT --to-source N2-N9", None), ((POST,), "SNAT --to-source N2-N9 --persistent", None),
        ((POST,), "SNAT --to-source N2 --random", None), ((POST,), "NETMAP --to NM", None),
        ((PRE, OUT), "DNAT --to-destination B80", "-p tcp -d Y"), ((PRE, OUT), "DNAT --to-destination B", "-d Y"),
        ((PRE, OUT), "DNAT --to-destination B-C", None), ((PRE, OUT), "REDIRECT --to-ports 99", "-p udp"),
        ((PRE,), "NETMAP --to XM", None), ((PRE, POST, OUT), "ACCEPT", None),
    ],
    "filter": [((FORWARD, IN, OUT), t, None) for t in ("ACCEPT", "DROP", "REJECT", "RETURN", "LOG --log-prefix x")],
}  # fmt: skip
NAMES = {
    4: {"X": "10.244.1.0/28", "Y": "203.0.113.0/29", "N2-N9": "198.51.100.2-198.51.100.9", "N2": "198.51.100.2",
        "NM": "198.51.100.0/26", "B80": "10.244.1.9:80", "B-C": "10.244.1.9-10.244.1.12", "B": "10.244.1.9",
        "XM": "10.244.1.0/27"},
    6: {"X": "fd01::/124", "Y": "fd03::/125", "N2-N9": "fd02::2-fd02::9", "N2": "fd02::2", "NM": "fd02::1:0/122",
        "B80": "[fd01::9]:80", "B-C": "fd01::9-fd01::c", "B": "fd01::9", "XM": "fd01::/123"},
}  # fmt: skip
SETS = (
    "create CLIENTS hash:ip family inet\nadd CLIENTS 10.244.1.2-10.244.1.5\n"
    "create SERVERS hash:ip,port family inet\nadd SERVERS 203.0.113.1,tcp:80\nadd SERVERS 203.0.113.1,udp:53\n"
    "create CLIENTS6 hash:net family inet6\nadd CLIENTS6 fd01::/125\n"
    "create SERVERS6 hash:ip,port family inet6\nadd SERVERS6 fd03::1,tcp:80\n"
)
SERVICES = [
    "-A -t 198.51.100.10:21 -s rr\n-a -t 198.51.100.10:21 -r 10.244.1.8:21 -m\n"
    "-a -t 198.51.100.10:21 -r 10.244.1.9:21 -m\n",
    "-A -t 203.0.113.1:80 -s wlc -p 5\n"
    "-a -t 203.0.113.1:80 -r 10.244.1.8:80 -m -w 3\n-a -t 203.0.113.1:80 -r 10.244.1.9:8080 -m\n",
    "-A -u 203.0.113.1:53 -s sh -b sh-port\n"
    "-a -u 203.0.113.1:53 -r 10.244.1.8:53 -m\n-a -u 203.0.113.1:53 -r 203.0.113.7:53 -m\n",
    "-A -f 1 -s wrr -p 3 -M 255.255.255.0\n-a -f 1 -r 10.244.1.8:0 -m -w 2\n-a -f 1 -r 10.244.1.9:0 -m -w 0\n",
    "-A -t [fd02::1]:21 -s lc\n-a -t [fd02::1]:21 -r [fd01::8]:21 -m\n-a -t [fd02::1]:21 -r [fd01::9]:21 -m\n",
]
P = "net.netfilter.nf_conntrack_"
SYSCTLS = {
    P + "checksum": (0, 0, 1), P + "tcp_loose": (0, 1, 3), P + "tcp_be_liberal": (0, 1), P + "helper": (0, 1),
    P + "expect_max": (1, 4, 200), P + "tcp_timeout_time_wait": (0, 1, 120), P + "tcp_timeout_syn_sent": (0, 120),
    P + "udp_timeout": (0, 1, 30, 2**31), P + "tcp_max_retrans": (0, 3, 255), P + "buckets": (1, 16, 4096),
    P + "tcp_ignore_invalid_rst": (0, 1), P + "gre_timeout": (1, 30), "net.ipv4.ip_forward": (1, 1, 1, 0),
    "net.ipv6.conf.all.forwarding": (1, 1, 1, 0),
}  # fmt: skip
PROTOS = np.array([6] * 24 + [17] * 16 + [1] * 6 + [47] * 2 + [132] * 3 + [136, 50, 0, 255, 58], np.uint8)
FLAGS = np.array([2] * 14 + [16] * 12 + [18] * 6 + [17] * 8 + [4] * 3 + [20] * 2 + [24, 0, 255, 1, 41, 63], np.uint8)
PORTS = np.array([80] * 6 + [53] * 4 + [21] * 3 + [69, 1723, 1723, 443, 0, 1, 65535, 99, 8080, 20], np.uint16)
ICMP = np.array([8, 0, 3, 11, 4, 5, 13, 128, 129, 1, 2], np.uint16) << 8
# seconds between two calls: jiffies wrap at 2**32 (198 days), and further
WAITS = [0.0] * 8 + [0.001, 0.004, 0.3, 1.0, 5.0, 31.0, 121.0, 700.0, 5e5, 1.7e7, 1e9]
WRONG_TIMES = [float("nan"), float("inf"), -1.0, 1e300, 2e15]


def check(engine):
    """Walk everything that the engine holds; AssertionError where it is broken."""
    try:
        engine.check()
    except CheckError as error:
        # a FastnatError, too, but nothing that an input may lead to
        raise AssertionError(str(error)) from None


def files_of(rng):
    """Draw the files of a node directory beside the addresses."""
    rules = {version: [] for version in (4, 6)}
    for table, there in TARGETS.items():
        chosen = [rng.choice(there) for _ in range(rng.choice([0, 0, 1, 2, 4] if table != "nat" else [1, 2, 3, 5]))]
        lines = []
        for chains, target, needs in chosen:
            said = needs if needs is not None else rng.choice(MATCHES)
            chain = rng.choice(chains)
            if "rpfilter" in said and (table, chain) not in (("raw", PRE), ("mangle", PRE)):
                # the kernel takes it nowhere else
                said = "-s X"
            lines.append(f"-A {chain} {said} -j {target}")
        for version, text in rules.items():
            text += [f"*{table}", *(renamed(line, version) for line in lines), "COMMIT"]
    return {
        "rules.v4": "\n".join([*rules[4], ""]),
        "rules.v6": "\n".join([*rules[6], ""]) if rng.random() < 0.7 else "",
        "ipset.save": SETS,
        "ipvs.save": "".join(rng.sample(SERVICES, rng.choice([0, 0, 0, 1, 3]))),
        "sysctl.conf": "".join(f"{k} = {rng.choice(v)}\n" for k, v in SYSCTLS.items() if rng.random() < 0.3),
    }


def renamed(line, version):
    """Return a rule with the addresses of a family."""
    words = [NAMES[version].get(w, w) for w in line.split()]
    if version == 6:
        six = {"CLIENTS": "CLIENTS6", "SERVERS": "SERVERS6"}
        words = [six.get(w, w) for w in words]
    return " ".join(words)


def node_of(files):
    """Return the node; rules that this version refuses are left out, file by file."""
    node = fastnat.Node()
    node.add_interface("cni0", ["10.244.1.1/24", "fd01::1/64"])
    node.add_interface("eth0", ["198.51.100.10/24", "fd02::1/64"])
    node.add_route("default", via="198.51.100.1", dev="eth0")
    node.add_route("default", via="fd02::ffff", dev="eth0")
    change_node(node, files)
    return node


def change_node(node, files):
    """Take files as the node's."""
    node.sysctls = dict(line.split(" = ") for line in files["sysctl.conf"].splitlines())
    for load, name in (
        (node.load_sets, "ipset.save"), (node.load_rules, "rules.v4"), (node.load_rules6, "rules.v6"),
        (node.load_services, "ipvs.save"),
    ):  # fmt: skip
        with contextlib.suppress(FastnatError):
            load(files[name])


def addresses(rng, n, six):
    """Return (clients, servers): mostly plain ones, sometimes the node's own, sometimes absurd."""
    near, far = rng.integers(2, 14, n), rng.integers(1, 8, n)
    if not six:
        a, b = (near + 0x0AF40100).astype(np.uint32), (far + 0xCB007100).astype(np.uint32)
        strange = (0xC633640A, 0xC6336402, 0x0AF40101, 0x0A600001, 0xE0000001, 0xFFFFFFFF, 0x7F000001, 0, 0x0AF401FF)
        odd = np.array(strange, np.uint32)
    else:
        a, b = np.zeros(n, RECORDS6.ADDR), np.zeros(n, RECORDS6.ADDR)
        a["low"], a["high"], b["low"], b["high"] = near, 0xFD01 << 48, far, 0xFD03 << 48
        odd = np.zeros(8, RECORDS6.ADDR)
        odd["low"] = [1, 2, 1, 1, 0, 1, 9, 2**64 - 1]
        odd["high"] = [0xFD02 << 48, 0xFD02 << 48, 0xFD01 << 48, 0xFF02 << 48, 0, 0, 0xFE80 << 48, 2**64 - 1]
    for side in (a, b):
        some = rng.random(n) < 0.08
        side[some] = odd[rng.integers(0, len(odd), int(some.sum()))]
    return a, b


def batch(rng, n, six, n_ifaces):
    """Return n packet headers: clients to servers and back, few ports, every protocol."""
    b = np.zeros(n, (RECORDS6 if six else RECORDS4).PACKET)
    near, far = addresses(rng, n, six)
    back = rng.random(n) < 0.15
    b["src"], b["dst"] = np.where(back, far, near), np.where(back, near, far)
    b["proto"] = PROTOS[rng.integers(0, len(PROTOS), n)]
    if six:
        b["proto"][b["proto"] == 1] = 58
    b["sport"] = np.where(rng.random(n) < 0.8, rng.integers(1000, 1024, n), rng.integers(0, 65536, n))
    b["dport"] = PORTS[rng.integers(0, len(PORTS), n)]
    icmp = (b["proto"] == 1) | (b["proto"] == 58)
    b["dport"][icmp] = ICMP[rng.integers(0, len(ICMP), int(icmp.sum()))]
    b["tcp_flags"] = FLAGS[rng.integers(0, len(FLAGS), n)]
    b["iface"] = np.where(back, ETH0, CNI0)
    some = rng.random(n) < 0.05
    b["iface"][some] = rng.choice([0, 1, n_ifaces, 65535], int(some.sum()))
    b["length"] = np.where(rng.random(n) < 0.9, 60, rng.integers(0, 65536, n))
    b["isn"] = rng.integers(0, 65536, n)
    some = rng.random(n) < 0.1
    b["mark"][some] = rng.integers(0, 2**32, int(some.sum()))
    return b


def replies(sent, out, flags=None):
    """Return the answers to packets, as they would come back."""
    b = sent.copy()
    b["src"], b["dst"], b["sport"], b["dport"] = out["dst"], out["src"], out["dport"], out["sport"]
    b["iface"] = out["out_iface"]
    icmp = (sent["proto"] == 1) | (sent["proto"] == 58)
    b["sport"][icmp] = out["sport"][icmp]
    b["dport"][icmp] = np.where(out["dport"][icmp] >> 8 == 128, 129 << 8, 0)
    b["tcp_flags"] = np.where(sent["tcp_flags"] == 2, 18, sent["tcp_flags"]) if flags is None else flags
    return b


def in_bytes(addresses):
    """Return addresses of headers as rows of bytes."""
    if addresses.dtype.names is None:
        return addresses.astype(">u4").view(np.uint8).reshape(-1, 4)
    halves = np.stack([addresses["high"], addresses["low"]], axis=1)
    return halves.astype(">u8").view(np.uint8).reshape(-1, 16)


def raw_of(rng, headers):
    """Return datagrams of headers in one buffer, and their offsets; a few are cut or damaged."""
    n, four = len(headers), headers["src"].dtype.names is None
    src, begin, whole = (12, 20, 40) if four else (8, 40, 60)
    size = 4 if four else 16
    rows = np.zeros((n, whole), np.uint8)
    if four:
        rows[:, 0], rows[:, 8], rows[:, 3], rows[:, 9] = 0x45, 64, 40, headers["proto"]
    else:
        rows[:, 0], rows[:, 7], rows[:, 5], rows[:, 6] = 0x60, 64, 20, headers["proto"]
    rows[:, src : src + size] = in_bytes(headers["src"])
    rows[:, src + size : src + 2 * size] = in_bytes(headers["dst"])
    l4 = rows[:, begin:]
    l4[:, 0:2] = headers["sport"].astype(">u2").view(np.uint8).reshape(n, 2)
    l4[:, 2:4] = headers["dport"].astype(">u2").view(np.uint8).reshape(n, 2)
    l4[:, 12], l4[:, 13], l4[:, 14] = 0x50, headers["tcp_flags"], 0xFF
    l4[headers["proto"] == 17, 4:8] = [0, 20, 0, 0]
    if four:
        total = rows[:, :20].view(">u2").astype(np.uint64).sum(axis=1)
        total = (total >> 16) + (total & 0xFFFF)
        rows[:, 10:12] = (0xFFFF - ((total >> 16) + (total & 0xFFFF))).astype(">u2").view(np.uint8).reshape(n, 2)
    hurt = rng.random(n) < 0.1
    rows[hurt, rng.integers(0, whole, int(hurt.sum()))] = rng.integers(0, 256, int(hurt.sum()))
    lengths = np.where(rng.random(n) < 0.97, whole, rng.integers(0, whole + 1, n))
    kept = np.arange(whole) < lengths[:, None]
    return rows[kept], np.cumsum(np.concatenate([[0], lengths]), dtype=np.int64)


@cache
def clean_talk(proto):
    """Return a control connection and what it announces, as (interface, bytes) each."""
    six = proto == "ftp6"
    ip, following = (IPv6, "nh") if six else (IP, "proto")
    client, server, seen = ends = (
        ("fd01::2", "fd03::9", "fd02::1") if six else ("10.244.1.2", "203.0.113.9", "198.51.100.10")
    )
    said = [(iface, bytes(p)) for iface, p in conversation(proto.rstrip("6"), ip, ends)]
    out, back = {"src": client, "dst": server}, {"src": server, "dst": seen}
    gre = bytes.fromhex("3001880b 00030007 00000001 707070")
    data = [("eth0", ip(**back) / TCP(sport=20, dport=p, flags="S", seq=5)) for p in (258, 99)]
    data += [("cni0", ip(**out) / TCP(sport=1000, dport=p, flags="S")) for p in (772, 5)]
    data += [("cni0", ip(**out, **{following: 47}) / gre), ("eth0", ip(**back, **{following: 47}) / gre)]
    data += [("cni0", ip(**out) / UDP(sport=1000, dport=69) / b"\0\1x\0octet\0")]
    data += [("eth0", ip(**back) / UDP(sport=777, dport=1000) / b"\0\3\0\1")]
    return said, [(iface, bytes(p)) for iface, p in data]


def talk(rng):
    """Return a control connection and what it announces, perhaps damaged, as (interface, bytes)."""
    said, data = clean_talk(rng.choice(["ftp", "ftp6", "pptp"]))
    answers = [d for d in data if rng.random() < 0.7]
    out = []
    for iface, clean in said + answers:
        d = bytearray(clean)
        if rng.random() < 0.15:
            for _ in range(rng.randrange(1, 4)):
                d[rng.randrange(len(d))] = rng.choice([48, 44, 124, 58, 10, 255, rng.randrange(256)])
            if rng.random() < 0.3:
                d = d[: rng.randrange(len(d) + 1)]
            if rng.random() < 0.7:
                repair(d)
        out.append((iface, bytes(d)))
    return out


def generate(seed, n_calls=40, size=256):
    """Draw a program: rules, an engine's arguments, calls."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    files = files_of(rng)
    six = bool(files["rules.v6"]) or rng.random() < 0.5
    calls = []
    for _ in range(n_calls):
        wait = rng.choice(WAITS) if rng.random() < 0.98 else rng.choice(WRONG_TIMES)
        kind = rng.random()
        of_six = six and rng.random() < 0.4
        n = rng.randrange(1, size)
        if kind < 0.40:
            call = {"do": "process", "packets": batch(numbers, n, of_six, 4), "cpus": rng.choice([1, 1, 1, 2, 4, 256])}
            if rng.random() < 0.2:
                call["times"] = np.cumsum(numbers.choice([0, 0.001, 2.0], n))
        elif kind < 0.60:
            call = {"do": "reply", "flags": rng.choice([None, None, 16, 17, 4, 20])}
        elif kind < 0.70:
            call = {"do": "frames", "packets": batch(numbers, n, False, 4), "seed": rng.randrange(2**32)}
        elif kind < 0.76:
            said = [[rng.choice(["cni0", "eth0", "local"]), mutate(rng).hex()] for _ in range(8)]
            call = {"do": "datagrams", "said": said}
        elif kind < 0.84:
            call = {"do": "datagrams", "said": [[iface, d.hex()] for iface, d in talk(rng)]}
        elif kind < 0.87:
            call = {"do": "advance"}
        elif kind < 0.89:
            call = {"do": "reload", "files": files_of(rng)}
        else:
            call = rng.choice([
                {"do": "save"}, {"do": "fork", "seed": rng.choice([None, 5])}, {"do": "flush"},
                {"do": "link_down", "iface": rng.choice(["eth0", "cni0"])}, {"do": "delete", "which": rng.random()},
                {"do": "connect", "sport": rng.randrange(1000, 1010), "proto": rng.choice(["tcp", "udp", "sctp"])},
                {"do": "close"}, {"do": "load"}, {"do": "trace"}, {"do": "list"}, {"do": "random_fully"},
                {"do": "misuse"},
            ])  # fmt: skip
        calls.append({"wait": wait, **call})
    return {
        "files": files, "profile": rng.choice(["linux-6.18", "linux-5.4"]), "seed": rng.randrange(2**64),
        "max_connections": rng.choice([1, 2, 20, 100, 1000, 100_000]), "remember": rng.random() < 0.8,
        "events": rng.choice([0, 0, 10, 10_000]), "start": rng.choice([0.0, 0.0, 1.0, 4e6, 1.7e7, 8.5e6]),
        "calls": calls,
    }  # fmt: skip


def encode(value):
    """Return what json can write."""
    if isinstance(value, np.ndarray):
        return {"base64": base64.b64encode(value.tobytes()).decode(), "size": value.dtype.itemsize}
    if isinstance(value, dict):
        return {k: encode(v) for k, v in value.items()}
    return [encode(v) for v in value] if isinstance(value, list) else value


def array(value):
    """Return an array that encode() wrote, or that is one already."""
    if isinstance(value, np.ndarray):
        return value
    dtype = {24: RECORDS4.PACKET, RECORDS6.PACKET.itemsize: RECORDS6.PACKET, 8: np.dtype(float)}[value["size"]]
    return np.frombuffer(base64.b64decode(value["base64"]), dtype).copy()


class Run:
    """A program while it runs."""

    # of all programs of this process, until somebody takes them
    packets = 0

    def __init__(self, program, folder):
        self.folder = folder
        self.node = node_of(program["files"])
        self.engine = fastnat.Engine(
            self.node, program["profile"], program["seed"], program["max_connections"], remember=program["remember"],
            events=program["events"],
        )  # fmt: skip
        self.engine.advance(program["start"])
        self.now = self.engine.now
        self.last = None
        self.connection = None

    def do(self, call):
        """Do one call; a refusal is an answer."""
        wanted, before = self.now + call["wait"], self.engine.stats["packets"]
        with contextlib.suppress(FastnatError):
            getattr(self, call["do"])(call, wanted)
        self.now = self.engine.now
        Run.packets += self.engine.stats["packets"] - before if self.engine.stats["packets"] > before else 0
        if self.engine.max_events:
            with contextlib.suppress(FastnatError):
                self.engine.all_events()

    def process(self, call, now):
        sent = array(call["packets"])
        times = now + array(call["times"]) if "times" in call else now
        self.last = sent, self.engine.process(sent, times, cpus=call["cpus"])

    def reply(self, call, now):
        if self.last is not None:
            sent = replies(*self.last, call["flags"])
            self.last = sent, self.engine.process(sent, now)

    def frames(self, call, now):
        buffer, offsets = raw_of(np.random.default_rng(call["seed"]), array(call["packets"]))
        ifaces = array(call["packets"])["iface"].copy()
        self.engine.process_frames(buffer, offsets, ifaces, now)

    def datagrams(self, call, now):
        for iface, data in call["said"]:
            self.engine.process_packet(bytes.fromhex(data), iface, now)

    def advance(self, call, now):
        self.engine.advance(now)

    def reload(self, call, now):
        change_node(self.node, call["files"])
        self.engine.reload()

    def save(self, call, now):
        self.engine.save(self.folder / "state.npz")
        other = fastnat.Engine.restore(self.folder / "state.npz")
        check(other)
        assert len(other.conntrack) == len(self.engine.conntrack), "restored another number of connections"
        self.engine, self.node = other, other.node

    def fork(self, call, now):
        other = self.engine.fork(call["seed"])
        check(other)
        self.engine, self.node = other, other.node

    def link_down(self, call, now):
        self.engine.link_down(call["iface"])

    def flush(self, call, now):
        self.engine.conntrack.flush()
        assert len(self.engine.conntrack) == 0, "flush left connections"

    def delete(self, call, now):
        there = list(self.engine.conntrack)
        if there:
            self.engine.conntrack.delete(there[int(call["which"] * len(there))])

    def connect(self, call, now):
        made = self.engine.connect(call["proto"], "10.244.1.3", call["sport"], "203.0.113.1", 80, now)
        self.connection = made or self.connection

    def close(self, call, now):
        if self.connection is not None:
            self.engine.close(self.connection, now)

    def load(self, call, now):
        text = self.engine.conntrack.format("extended")
        self.engine.conntrack.flush()
        self.engine.conntrack.load(text)

    def trace(self, call, now):
        if self.last is not None and len(self.last[0]):
            self.engine.trace(self.last[0][:1], now).lines()

    def list(self, call, now):
        for style in ("conntrack", "extended", "proc"):
            self.engine.conntrack.format(style)
        for version in self.engine.stacks:
            self.engine.save_rules(version)
            self.engine.services(version)
            self.engine.conntrack.to_numpy(version)
        self.engine.ports("198.51.100.10", "udp", "203.0.113.1", 53)
        assert self.engine.nbytes > 0

    def random_fully(self, call, now):
        self.engine.set_random_fully()

    def misuse(self, call, now):
        """Arrays that overlap, that lie elsewhere or that say nonsense: refused, or treated as copies."""
        sent = batch(np.random.default_rng(1), 64, False, 4)
        whole = np.zeros(4096, np.uint8)
        for wrong in (
            lambda: self.engine.process(sent[::2], now),
            lambda: self.engine.process(sent, now, out=sent.view(RECORDS4.RESULT)),
            lambda: self.engine.process(sent, now, cpus=0),
            lambda: self.engine.process(sent, now, cpus=257),
            lambda: self.engine.process_frames(whole, np.array([0, 4097]), "cni0", now),
            lambda: self.engine.process_frames(whole, np.array([0, 40, 20]), "cni0", now),
            lambda: self.engine.process_frames(whole, np.array([-8, 40]), "cni0", now),
            lambda: self.engine.process_frames(whole, whole[8:40].view(np.int64), "cni0", now),
            lambda: self.engine.process_frames(whole, np.array([], np.int64), "cni0", now),
        ):
            with contextlib.suppress(FastnatError, ValueError, TypeError):
                wrong()


def run(program, folder, every=1):
    """Run a program; check the tables after every so many calls."""
    try:
        r = Run(program, folder)
    except FastnatError:
        return
    for n, call in enumerate(program["calls"]):
        r.do(call)
        if n % every == 0:
            check(r.engine)
    check(r.engine)


def shrink(program, fails):
    """Return a smaller program that still fails: fewer calls, fewer packets in each."""
    calls = smaller(program["calls"], lambda c: fails({**program, "calls": c}))
    for n, call in enumerate(calls):
        for key in ("packets", "said"):
            if key in call and "times" not in call:
                calls = with_(calls, n, key, fewer(program, calls, n, key, fails))
    return {**program, "calls": calls}


def fewer(program, calls, n, key, fails):
    """Return a part of what one call holds with which the program still fails."""
    there = calls[n][key]
    kept = smaller(list(range(len(there))), lambda k: fails({**program, "calls": with_(calls, n, key, pick(there, k))}))
    return pick(there, kept)


def pick(there, kept):
    return there[kept] if isinstance(there, np.ndarray) else [there[k] for k in kept]


def with_(calls, n, key, value):
    return [*calls[:n], {**calls[n], key: value}, *calls[n + 1 :]]


def smaller(items, fails):
    """Return a part of a list that still fails, by leaving out ever smaller runs of it."""
    step = len(items) // 2
    while step:
        at = 0
        while at < len(items):
            left = items[:at] + items[at + step :]
            if left and fails(left):
                items = left
            else:
                at += step
        step //= 2
    return items


def read_rules(text, family, lenient):
    """Return what a text says, or why it is refused."""
    try:
        read = iptables.parse(text, "rules", lenient, family)
    except FastnatError as error:
        return str(error)
    return read.tables, read.warnings
