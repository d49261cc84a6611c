"""Random walks as the running kernel went them: tests/behaviour/test_walks.py goes them again, on every machine.

    python tests/kernel/walks.py [KIND...]      as root, writes walks/KIND.json.xz anew: recordings of gateway.py

Kinds: `gateways` of random_gateway.py, `nftables` with the rules of test_nftables.py, `calls` that helpers read, and
`segments` and `chunks`, conversations of TCP and SCTP behind rules that write what conntrack makes of a packet into it,
and `turns`, where rules of nftables change meanwhile, and `moves`, where addresses, routes and sysctls do.
The engine goes each walk first; where it differs from the kernel nothing is written.
"""

import contextlib
import json
import lzma
import random
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from behaviour import talks

from kernel import cases, gateway, random_calls, random_streams, random_traffic, test_nftables
from kernel.random_gateway import random_gateway
from kernel.random_moves import moving_gateway
from kernel.random_turns import turning_gateway

FOLDER = Path(__file__).with_name("walks")
DEVICES = {"cni0": 1500, "eth0": 1500}


class Walk:
    """Traffic for gateway.compare from a generator that is sent what left."""

    def __init__(self, talk, most=10**6):
        self.talk, self.left, self.answer, self.begun = iter(talk), most, None, False

    def step(self):
        """Return the next packet, or None at the end."""
        self.left -= 1
        with contextlib.suppress(StopIteration):
            if self.left >= 0:
                said = self.talk.send(self.answer) if self.begun else next(self.talk)
                self.begun = True
                return said
        return None

    def tell(self, _, packets):
        """Take what left in place of the last packet."""
        self.answer = packets[0][1] if len(packets) == 1 else None


class Reactive(Walk):
    """The first packets of traffic that has step() and tell() itself."""

    def __init__(self, traffic, most):
        self.step = lambda: traffic.step() if self.more() else None
        self.tell, self.left = traffic.tell, most

    def more(self):
        """Count a packet; return whether it is among the first ones."""
        self.left -= 1
        return self.left >= 0


class Sent:
    """Traffic that keeps what it sent."""

    def __init__(self, traffic):
        self.traffic, self.packets, self.tell = traffic, [], traffic.tell

    def step(self):
        said = self.traffic.step()
        if said:
            self.packets += [one[:2] for one in (said if isinstance(said, list) else [said])]
        return said

    def refused(self, step):
        self.traffic.refused(step)


def node_of(family, sysctls=(), **rules):
    """Return the node of cases.py in the form of gateway.py."""
    plan, routes = (cases.INTERFACES, cases.ROUTES) if family == 4 else (cases.INTERFACES6, cases.ROUTES6)
    front = "-6 " if family == 6 else ""
    ip = [f"{front}addr add {address} dev {name}" for name, there in plan.items() for address in there]
    ip += [f"{front}route add {words}" for words in routes]
    node = {"devices": DEVICES, "ip": ip, "sysctls": dict(sysctls), "sets": "", "rules4": None, "rules6": None}
    return node | {f"rules{family}": ""} | rules


def one_source(node):
    """Leave the node the first address of each device: it is the one that masquerading takes."""
    node["ip"] = [words for words in node["ip"] if "2001:db8::1" not in words and "fd02::aaaa" not in words]
    return node


def gateways(seed, most=150):
    """A node with rules of every kind, and whatever packets."""
    node, traffic = random_gateway(7000 + seed)
    return node, Reactive(traffic, most)


def nftables(seed, most=120):
    """Rules of nftables; every other seed is of IPv6."""
    return rules_of_nftables(seed, 6 if seed % 2 else 4, most)


def rules_of_nftables(seed, family, most):
    """Rules of nftables of a family."""
    rng = random.Random(f"walk {seed}")
    talk = random_traffic.traffic(f"walk {seed}", family, most)
    # within one jiffy the kernel does not look again which connections are over
    nft = re.sub(r"ct count (over )?\d", "", test_nftables.ruleset(rng, family))
    # reports of multicast listeners would count in tables of inet
    node = node_of(family, {"net.ipv6.conf.all.disable_ipv6": 1} if family == 4 else {}, nft=nft)
    return node, Walk(random_traffic.changed(talk, lambda data: test_nftables.extended(rng, data)))


def streams(seed, kind, most=35):
    """So many conversations of one protocol; every other seed is of IPv6."""
    family = 6 if seed % 2 else 4
    rng = random.Random(f"{kind} {seed}")
    rules = {f"rules{family}": random_streams.rules(kind, family)}
    node = node_of(family, random_streams.sysctls(kind, rng), **rules)
    return node, Walk(random_streams.traffic(kind, family, rng, most))


def calls(seed):
    """Connections that helpers read: FTP, PPTP and TFTP."""
    if seed % 2:
        family, nat = (6 if seed // 2 % 2 else 4), True
        rng = random.Random(f"sack {seed}")
        talk = random_traffic.changed(talks.talk(seed // 2), lambda data: random_calls.with_sack(rng, data, family))
    else:
        family, nat, talk = random_calls.talk(seed // 2)
    node = node_of(family, **{f"rules{family}": random_calls.rules(family, nat)})
    one_source(node)
    return node, Walk(talk)


def segments(seed):
    """TCP."""
    return streams(seed, "tcp")


def chunks(seed):
    """SCTP."""
    return streams(seed, "sctp")


def turns(seed):
    """Rules of nftables that commands change meanwhile."""
    return turning_gateway(seed, 90)


def moves(seed):
    """Gateways whose addresses, routes, policy rules and sysctls change meanwhile."""
    return moving_gateway(seed, 80)


# with the number of walks
KINDS = {
    "gateways": (gateways, 60),
    "nftables": (nftables, 60),
    "calls": (calls, 80),
    "segments": (segments, 40),
    "chunks": (chunks, 30),
    "turns": (turns, 45),
    "moves": (moves, 18),
}
# a walk that a port drawn at random ends before so many packets is none
SHORT = 10


def recorded(node, traffic, about):
    """Return the recording of a walk, or None: its rules are refused, or a port drawn at random ends it soon."""
    sent = Sent(traffic)
    with tempfile.TemporaryDirectory() as folder:
        try:
            number = gateway.compare(node, sent, Path(folder))
        except RuntimeError:
            return None
    return gateway.recorded(node, sent.packets[:number], about) if number >= SHORT else None


def write(path, found):
    """Write recordings to a file."""
    path.write_bytes(lzma.compress(json.dumps(found, separators=(",", ":")).encode()))
    walked = sum(len(said["packets"]) for said in found)
    print(f"{path.name.split('.')[0]}: {len(found)} walks, {walked} packets", flush=True)


def main():
    """Record kinds of walks."""
    FOLDER.mkdir(exist_ok=True)
    every = 0
    for kind in sys.argv[1:] or KINDS:
        found, seed, failed = [], 0, 0
        while len(found) + failed < KINDS[kind][1]:
            try:
                found += filter(None, [recorded(*KINDS[kind][0](seed), f"{kind} {seed}")])
            except gateway.Difference as difference:
                failed += 1
                print(f"{kind} {seed}: {difference}")
            seed += 1
        write(FOLDER / f"{kind}.json.xz", found)
        every += failed
    sys.exit(every > 0)


if __name__ == "__main__":
    main()
