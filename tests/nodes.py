import os

import numpy as np

import fastnat

# how many events an engine of a comparison keeps: none, fewer than happen between two looks, all
EVENTS = (0, 0, 1, 40, 300, 100_000)
MASQUERADE = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"


# the grid of a small sweep
SWEEP = """
[workload]
flows = 3000
clients = 50
sport = "random"
rate = 100
[vary]
rate = [100, 200, 400]
ports = ["1024-1500", "1024-2000"]
udp = ["30s", "2m"]
[run]
seeds = 1
"""


def make_node(rules=MASQUERADE, eth0=("198.51.100.10/24",)):
    node = fastnat.Node()
    node.add_interface("cni0", ["10.244.1.1/16"])
    node.add_interface("eth0", list(eth0))
    node.add_route("default", via="198.51.100.1", dev="eth0")
    node.load_rules(rules)
    return node


def make_dual(rules="", rules6="", native=""):
    """Return a node of both families, with rules of iptables, ip6tables and nftables."""
    node = fastnat.Node()
    node.add_interface("cni0", ["10.244.1.1/16", "fd00:1::1/64"])
    node.add_interface("eth0", ["198.51.100.10/24", "2001:db8::10/64"])
    node.add_route("default", via="198.51.100.1", dev="eth0")
    node.add_route("default", via="2001:db8::1", dev="eth0")
    for load, text in ((node.load_rules, rules), (node.load_rules6, rules6), (node.load_nft, native)):
        if text:
            load(text)
    return node


def taken_events(nat, version=4):
    """Return the events since the last time, as bytes, and how many were lost."""
    taken, lost = nat.core_of(version).take_events()
    return taken.tobytes(), lost


def flows(engine, n, **fields):
    values = {"proto": "udp", "src": np.arange(n, dtype=np.uint32) + 0x0AF40202, "dst": "203.0.113.10", "sport": 40000,
              "dport": 53, "iface": "cni0", **fields}  # fmt: skip
    return engine.packets(**values)


def examples(n):
    """Return how many examples a test draws: n of them in `make slow`, a quarter in `make test`."""
    return n if os.environ.get("FASTNAT_LONG") else max(n // 4, 8)
