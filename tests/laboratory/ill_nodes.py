"""Nodes with failures, made by simulation: the files that an operator would have of each, and what is wrong."""

import numpy as np

import fastnat
from fastnat.conntrack.text import format_stats
from fastnat.dtypes import Status
from fastnat.exhaustion import Workload, run

CAUSES = ("ports", "table", "race", "early_drop", "invalid", "stale")
FULL = "[{:12.6f}] nf_conntrack: nf_conntrack: table full, dropping packet\n"
ADDRESSES = """[{"ifindex":2,"ifname":"eth0","flags":["UP"],"addr_info":[
{"family":"inet","local":"198.51.100.10","prefixlen":24,"scope":"global"}]},
{"ifindex":3,"ifname":"cni0","flags":["UP"],"addr_info":[
{"family":"inet","local":"10.244.1.1","prefixlen":16,"scope":"global"}]}]"""
ROUTES = """[{"dst":"default","gateway":"198.51.100.1","dev":"eth0"},{"dst":"198.51.100.0/24","dev":"eth0"},
{"dst":"10.244.0.0/16","dev":"cni0"}]"""


def rules_of(draw, window, service):
    """Return rules: a service, and MASQUERADE to some ports."""
    ports = f" --to-ports {window[0]}-{window[1]}" if window else ""
    limits = "".join(f"-A POSTROUTING -o eth0 -p {proto} -j MASQUERADE{ports}\n" for proto in ("udp", "tcp"))
    backend = f"-A PREROUTING -d 10.96.0.10/32 -p udp --dport 53 -j DNAT --to-destination {service}:53\n"
    return f"*nat\n{backend}{limits}-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"


def sick(seed, causes):
    """Return {kind of file: text} of a node with these failures, and what happened to it in counters."""
    draw = np.random.default_rng(seed)
    profile = str(draw.choice(["linux-6.18", "linux-5.4"]))
    low = int(draw.integers(1024, 50_000))
    window = (low, low + int(draw.integers(200, 900))) if draw.random() < 0.7 else None
    if "race" in causes:
        # the port that both clients have, and would keep
        window = None if "ports" not in causes else (9000, 9000 + int(draw.integers(200, 900)))
    most = 2000 if {"table", "early_drop"} & set(causes) else 1 << 20
    size = window[1] - window[0] + 1 if window else 64_512
    if "ports" in causes and most == 2000:
        window, size = ((9000, 9300) if "race" in causes else (low, low + 300)), 301
    node = node_of(rules_of(draw, window, "10.244.7.7"), most)
    nat = fastnat.Engine(node, profile, seed=seed)
    before = dict(nat.stats)
    quiet(nat, draw)
    if "stale" in causes:
        n = int(draw.integers(5, 60))
        clients = [f"10.244.3.{k}" for k in range(n)]
        nat.process(
            nat.packets(proto="udp", src=clients, sport=5000, dst="10.96.0.10", dport=53, iface="cni0"), nat.now
        )
    fill(nat, draw, causes, size, most)
    if "race" in causes:
        race(nat, draw)
    if "invalid" in causes:
        broken = int(draw.integers(1000, 3000))
        spread = draw.integers(0, 2**32, broken, np.uint64).astype(np.uint32)
        nat.process(
            nat.packets(proto="tcp", src=spread, sport=5, dst="198.51.100.10", dport=7, iface="eth0", tcp_flags=3)
        )
    files = {
        "dump": nat.conntrack.format(), "stats": format_stats(nat.stats, profile),
        "stats before": format_stats(before, profile), "addresses": ADDRESSES, "routes": ROUTES,
        "rules": rules_of(draw, window, "10.244.9.9" if "stale" in causes else "10.244.7.7"),
        "sysctls": f"net.ipv4.ip_forward = 1\nnet.netfilter.nf_conntrack_max = {most}\n"
        f"net.netfilter.nf_conntrack_count = {len(nat.conntrack)}\n",
    }  # fmt: skip
    if "table" in causes:
        files["log"] = "".join(FULL.format(1000 + k / 7) for k in range(int(draw.integers(1, 9))))
    return files, profile, nat


def node_of(rules, most):
    """Return the node that all failures happen on."""
    node = fastnat.Node()
    node.add_interface("eth0", ["198.51.100.10/24"])
    node.add_interface("cni0", ["10.244.1.1/16"])
    node.add_route("default", "198.51.100.1", "eth0")
    node.load_rules(rules)
    node.sysctls.update({"net.ipv4.ip_forward": "1", "net.netfilter.nf_conntrack_max": str(most)})
    return node


def quiet(nat, draw):
    """Open a few answered connections to many destinations."""
    n = int(draw.integers(10, 200))
    ends = (0xC0000200 + np.arange(n)).astype(np.uint32)
    batch = nat.packets(proto="udp", src="10.244.2.2", sport=6000, dst=ends, dport=123, iface="cni0")
    out = nat.process(batch, 0.0)
    ends = {"src": out["dst"], "sport": out["dport"], "dst": out["src"], "dport": out["sport"]}
    nat.process(nat.packets(proto="udp", iface="eth0", **ends), 0.0)


def fill(nat, draw, causes, size, most):
    """Fill the ports towards one destination, or the table."""
    if "ports" in causes:
        flows = int(size * 1.2)
        work = Workload((("203.0.113.10", 53),), "udp", flows, sport="any", clients=250, network="10.244.0.0/16")
        run(nat, work)
    if {"table", "early_drop"} & set(causes):
        room = most - len(nat.conntrack)
        ends = (0xCB007200 + np.arange(2 * most)).astype(np.uint32)
        fields = {"proto": "udp", "src": "10.244.2.9", "sport": 7000, "dport": 99, "iface": "cni0"}
        nat.process(nat.packets(dst=ends[: max(room, 0)], **fields), nat.now)
        status = nat.stacks[4].core.writable("conns")["status"]
        # what is assured is not dropped early
        status[: len(status) if "table" in causes and "early_drop" not in causes else most // 2] |= int(Status.ASSURED)
        nat.process(nat.packets(dst=ends[room : room + int(draw.integers(300, 900))], **fields), nat.now)
        if "table" in causes and "early_drop" in causes:
            status |= int(Status.ASSURED)
            nat.process(nat.packets(dst=ends[-int(draw.integers(300, 900)) :], **fields), nat.now)


def race(nat, draw):
    """Let two CPUs choose one port for flows of two clients."""
    n = int(draw.integers(50, 200))
    ends = np.repeat((0xC6336400 + np.arange(n)).astype(np.uint32), 2)
    clients = np.tile(np.array([0x0AF40505, 0x0AF40506], np.uint32), n)
    batch = nat.packets(proto="tcp", src=clients, sport=9000, dst=ends, dport=443, iface="cni0", tcp_flags=2)
    nat.process(batch, nat.now, cpus=2)
