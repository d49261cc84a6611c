"""Random commands of `ipset restore`: the reader makes the same sets of them as of what ipset itself then saves."""

import os
import random
import subprocess
from dataclasses import replace

import pytest

from fastnat.node import ipset

SCRIPTS = 30 * int(os.environ.get("FASTNAT_SEEDS", "10"))
SHORT, LONG = 5_000, 10_000


class Script:
    """Commands over three sets of one type and a list, some of which ipset refuses."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.kind = self.rng.choice([kind for kind in ipset.DIMENSIONS if kind != "list:set"])
        self.six = self.rng.random() < 0.4 and not self.kind.startswith("bitmap")
        self.names = ["A", "B", "C"]

    def address(self):
        number = self.rng.randrange(1, 9)
        if self.six:
            return f"fd00::{number}"
        low = f"10.0.0.{number}"
        return self.rng.choice([low] * 4 + [f"{low}-10.0.0.{number + 3}", f"{low}/{self.rng.choice([30, 31, 32])}"])

    def network(self):
        if self.six:
            return f"fd00::{self.rng.randrange(1, 9)}/{self.rng.choice([124, 127, 128])}"
        return self.rng.choice([self.address(), f"10.0.0.{self.rng.randrange(9)}/{self.rng.choice([24, 29, 31])}"])

    def port(self):
        icmp = "icmpv6:echo-request" if self.six else "icmp:8/0"
        return self.rng.choice(["80", "80-82", "tcp:81", "udp:53", "sctp:36", icmp, "gre:0", "47:0"])

    def element(self):
        makers = {
            ipset.ADDRESS: self.address, ipset.NETWORK: self.network, ipset.PROTO_PORT: self.port,
            ipset.PORT: lambda: self.rng.choice(["80", "53", "80-83"]),
            ipset.IFACE: lambda: self.rng.choice(["eth", "eth0", "eth1", "lo"]),
            ipset.MARK: lambda: self.rng.choice(["1", "0x2", "7"]),
        }  # fmt: skip
        return ",".join(makers[dim]() for dim in ipset.DIMENSIONS[self.kind])

    def create(self, name):
        said = {
            "bitmap:ip": " range 10.0.0.0/24", "bitmap:port": " range 0-100",
        }.get(self.kind, " family inet6" if self.six else "")  # fmt: skip
        chance = self.rng.random
        self.timed = chance() < 0.5
        # a bitmap still has the counters of an element that is gone when it comes back
        self.counted = "hash" in self.kind and chance() < 0.5
        said += f" timeout {self.rng.choice([0, LONG])}" if self.timed else ""
        said += " counters" if self.counted else ""
        said += f" netmask {120 if self.six else 30}" if self.kind == "hash:ip" and chance() < 0.3 else ""
        return f"create {name} {self.kind}{said}"

    def add(self):
        said, chance = f"add {self.rng.choice(self.names)} {self.element()}", self.rng.random
        said += f" timeout {self.rng.choice([0, SHORT])}" if self.timed and chance() < 0.4 else ""
        if self.counted:
            said += "".join(f" {c} {self.rng.randrange(9)}" for c in ("packets", "bytes") if chance() < 0.3)
        said += " nomatch" if ":net" in self.kind + self.kind.replace(",", ":") and chance() < 0.2 else ""
        return said + (" wildcard" if "iface" in self.kind and chance() < 0.3 else "")

    def other(self):
        one, two = self.rng.sample([*self.names, "D"], 2)
        return self.rng.choice([
            f"del {one} {self.element()}", f"del {one} {self.element()}", f"flush {one}", f"destroy {one}",
            f"swap {one} {two}", f"rename {one} D", f"rename D {one}", f"add L {one}", f"add L {one} before {two}",
            f"add L {one} after {two}", f"del L {one}", self.create("D"), "COMMIT", "# nothing",
        ])  # fmt: skip

    def lines(self):
        """Return commands of which the first ones are always taken."""
        first = [self.create("A")]
        first += [first[0].replace("create A", f"create {name}") for name in self.names[1:]]
        for _ in range(self.rng.randrange(25)):
            first.append(self.add() if self.rng.random() < 0.7 else self.other())
        return [first[0], *first[1:3], "create L list:set", *first[3:]]


def sh(*words, text=None):
    return subprocess.run(words, input=text, capture_output=True, text=True, check=False)


def near(element):
    """Return an element with the timeout that was said of it."""
    return element._replace(timeout=element.timeout and min(SHORT, LONG, key=lambda said: abs(said - element.timeout)))


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_the_same_sets_as_ipset_has(seed):
    """Line by line, each with -exist, as ipset looks at it only in front; what ipset refuses is left out."""
    namespace, taken = f"sets{os.getpid()}", []
    sh("ip", "netns", "add", namespace)
    within = ("ip", "netns", "exec", namespace, "ipset")
    try:
        for line in Script(seed).lines():
            theirs = sh(*within, "-exist", "restore", text=f"{line}\n").returncode == 0
            if theirs:
                taken.append(line)
                ipset.parse("\n".join(taken))
        saved = sh(*within, "save").stdout
    finally:
        sh("ip", "netns", "del", namespace)
    mine, theirs = ipset.parse("\n".join(taken)), ipset.parse(saved)
    assert mine.keys() == theirs.keys()
    for name, made in mine.items():
        sides = made, theirs[name]
        assert set(map(near, sides[0].elements)) == set(map(near, sides[1].elements)), (saved, taken)
        assert replace(sides[0], elements=[]) == replace(sides[1], elements=[]), taken
