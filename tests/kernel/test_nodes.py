"""Random nodes beside the running kernel: addresses, routes, policy rules and the sysctls of routing."""

import os
import random
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP

import fastnat
from kernel import cases, recorder
from kernel.test_live import missing

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand")]

DEVICES = {"eth0": "198.51.100.10/24", "cni0": "10.244.1.1/24", "wg0": "172.16.0.1/30", "x0": None}
GATEWAYS = {"eth0": "198.51.100.1", "wg0": "172.16.0.2", "cni0": "10.244.1.9"}
FAR = ("203.0.113", "192.0.2", "10.96.0", "10.244.7", "172.20.1")
PACKETS = int(os.environ.get("FASTNAT_PACKETS", "400")) // 4


def network(rng):
    prefix = rng.choice([16, 24, 24, 26, 32])
    last = {16: "0.0/16", 24: "0/24", 26: f"{rng.choice([0, 64, 128, 192])}/26", 32: f"{rng.randrange(1, 250)}/32"}[
        prefix
    ]
    base = rng.choice(FAR)
    return f"{base.rsplit('.', 1)[0] if prefix == 16 else base}.{last}"


def way(rng):
    device = rng.choice([*GATEWAYS, "x0"])
    return f"dev {device}" if device == "x0" or rng.random() < 0.3 else f"via {GATEWAYS[device]} dev {device}"


def some_routes(rng):
    """Return `ip route add` words: a default, and networks of every kind, some with two next hops."""
    found = {}
    if rng.random() < 0.9:
        found["default"] = "via 198.51.100.1 dev eth0"
    if rng.random() < 0.4:
        weights = rng.randrange(1, 5), rng.randrange(1, 5)
        found["default"] = " ".join(
            f"nexthop via {GATEWAYS[d]} dev {d} weight {w}" for d, w in zip(("eth0", "wg0"), weights, strict=True)
        )
    for _ in range(rng.randrange(6)):
        found[network(rng)] = way(rng)
    routes = [f"{dst} {how}" for dst, how in found.items()]
    for _ in range(rng.randrange(3)):
        dst = network(rng)
        if dst not in found:
            found[dst] = ""
            routes.append(f"{rng.choice(['blackhole', 'unreachable', 'prohibit', 'throw'])} {dst}")
    return routes


def some_policy(rng):
    """Return `ip` words that make tables and rules; none for most nodes."""
    if rng.random() < 0.6:
        return ()
    commands = []
    for table in ("7", "8"):
        commands += [
            f"route add {network(rng)} {way(rng)} table {table}",
            f"route add default {way(rng)} table {table}",
        ]
    commands.append(f"route add throw {rng.choice(FAR)}.128/25 table 7")
    for priority in range(rng.randrange(1, 4)):
        what = rng.choice(
            [f"from {network(rng)}", f"to {network(rng)}", "fwmark 0x1/0x3", f"iif {rng.choice(list(DEVICES))}",
             "not fwmark 0x2/0x2", "ipproto udp dport 53", "ipproto tcp"]
        )  # fmt: skip
        then = rng.choice(["lookup 7", "lookup 8", "lookup main suppress_prefixlength 0", "prohibit", "lookup 7"])
        commands.append(f"rule add prio {100 + priority} {what} {then}")
    return tuple(commands)


def some_sysctls(rng):
    said = {"net.ipv4.fib_multipath_hash_seed": rng.randrange(1, 2**31)}
    said["net.ipv4.fib_multipath_hash_policy"] = rng.choice([0, 0, 1])
    for name, chance in (
        ("rp_filter", 0.3), ("accept_local", 0.2), ("route_localnet", 0.2), ("bc_forwarding", 0.3),
        ("forwarding", 0.15), ("send_redirects", 0.3), ("src_valid_mark", 0.2),
    ):  # fmt: skip
        for device in (*DEVICES, "all"):
            if rng.random() < chance and (device, name) != ("all", "forwarding"):
                value = {"rp_filter": rng.randrange(3), "forwarding": 0, "send_redirects": 0}.get(name, 1)
                said[f"net.ipv4.conf.{device}.{name}"] = value
    return said


def some_rules(rng):
    """Return rules that mark, translate, or only count what they meet."""
    types = ("UNICAST", "LOCAL", "BROADCAST", "MULTICAST", "UNSPEC")
    counting = [
        f"-m addrtype {rng.choice(['', '! '])}--{end}-type {rng.choice(types)}"
        for end in ("src", "dst")
        for _ in range(2)
    ]
    counting += ["-i lo", "-i eth0"]
    flags = " ".join(f for f in ("--loose", "--validmark", "--accept-local", "--invert") if rng.random() < 0.4)
    raw = "".join(f"-A PREROUTING {words}\n" for words in (*counting, f"-m rpfilter {flags}"))
    mangle = "".join(f"-A INPUT {words}\n-A FORWARD {words}\n" for words in counting)
    mangle += "-A FORWARD -o wg0\n"
    mangle += "".join(f"-A {chain} -o {device}\n" for chain in ("OUTPUT", "POSTROUTING") for device in ("lo", "eth0"))
    for _ in range(rng.randrange(3)):
        chain, proto = rng.choice(["PREROUTING", "OUTPUT"]), rng.choice(["udp", "tcp"])
        mangle += f"-A {chain} -p {proto} -j MARK --set-xmark 0x{rng.randrange(4)}/0xffffffff\n"
    nat = "-A POSTROUTING -o eth0 -j MASQUERADE\n"
    if rng.random() < 0.5:
        servers = ["10.244.1.7", "198.51.100.10"]
        nat += f"-A PREROUTING -d 10.96.0.0/24 -p udp -j DNAT --to-destination {rng.choice(servers)}\n"
        nat += f"-A OUTPUT -d 10.96.0.0/24 -j DNAT --to-destination {rng.choice(servers)}\n"
    empty = "*filter\n" + "".join(f":{chain} ACCEPT [0:0]\n" for chain in ("INPUT", "FORWARD", "OUTPUT"))
    empty += "-A OUTPUT -o lo\n-A OUTPUT -o cni0\nCOMMIT\n"
    return f"*raw\n{raw}COMMIT\n*mangle\n{mangle}COMMIT\n*nat\n{nat}COMMIT\n{empty}"


def address(rng):
    own = [a.partition("/")[0] for a in DEVICES.values() if a]
    near = [f"10.244.1.{rng.randrange(2, 30)}", f"198.51.100.{rng.randrange(2, 30)}", "172.16.0.2"]
    odd = ["0.0.0.0", "255.255.255.255", "127.0.0.1", "127.0.0.9", "224.0.0.1", "224.0.0.7", "239.1.1.1",
           "10.244.1.255", "198.51.100.255", "0.1.2.3", "240.0.0.1", "192.0.3.77"]  # fmt: skip
    kind = rng.random()
    if kind < 0.45:
        return f"{rng.choice(FAR)}.{rng.randrange(1, 255)}"
    return rng.choice(near if kind < 0.75 else own if kind < 0.85 else odd)


def some_packet(rng, may_send):
    iface = rng.choice([*DEVICES, "cni0", "cni0", *(["local"] * 2 if may_send else [])])
    own = [a.partition("/")[0] for a in DEVICES.values() if a]
    src, dst = rng.choice(own) if iface == "local" else address(rng), address(rng)
    sport = rng.randrange(1000, 9000)
    layer = rng.choice(
        [UDP(sport=sport, dport=rng.choice([53, 99])) / b"q", TCP(sport=sport, dport=80),
         ICMP(id=rng.randrange(3000)), ICMP(type=3, code=1) / bytes(IP(src=dst, dst=src) / UDP(sport=1, dport=2))]
    )  # fmt: skip
    return iface, bytes(IP(src=src, dst=dst, ttl=64) / layer)


def loaded(kernel, case, folder):
    """Return the node as a snapshot of the namespace gives it."""
    texts = {
        "addr.json": kernel.ip("addr"), "route.json": kernel.ip("-4", "route", "show", "table", "all"),
        "rule.json": kernel.ip("-4", "rule"), "rules.v4": case.rules,
        "sysctl.conf": kernel.run("sysctl", "-a", "-r", "net.ipv4.(ip_forward|fib_|conf)"),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    return fastnat.Node.load(folder)


def counters(text):
    """Return the counters of all chains and rules but those of what the recorder adds."""
    table, found = "", []
    for line in text.splitlines():
        table = line if line.startswith("*") else table
        if line.startswith((":", "[")) and "--uid-owner" not in line:
            found.append(f"{table} {line}")
    return sorted(found)


@pytest.mark.parametrize("seed", range(int(os.environ.get("FASTNAT_SEEDS", "6"))))
def test_random_nodes(seed, tmp_path):
    rng = random.Random(seed)
    interfaces = {name: [a] if a else [] for name, a in DEVICES.items()}
    policy = some_policy(rng)
    case = cases.Case(
        some_rules(rng), interfaces, some_routes(rng), None, sysctls={}, commands=("link set lo up", *policy)
    )  # fmt: skip
    sysctls = some_sysctls(rng)
    # the kernel looks up what a raw socket sends without its source address, protocol and ports
    may_send = not any(word in str((policy, case.routes)) for word in ("from", "ipproto", "nexthop"))
    kernel = recorder.Namespace(case)
    try:
        for key, value in sysctls.items():
            kernel.run("sysctl", "-qw", f"{key}={value}")
        if rng.random() < 0.3:
            kernel.run("ip", "addr", "add", "192.0.3.1/24", "dev", "lo")
        node = loaded(kernel, case, tmp_path)
        nat, start = fastnat.Engine(node), time.monotonic()
        for n in range(PACKETS):
            iface, data = some_packet(rng, may_send)
            verdict, mine, out, *_ = nat.run(data, node.iface_number(iface), time.monotonic() - start)
            if nat.stats["random_draws"]:
                # the kernel draws another port
                return
            wanted = [(node.iface_names[out], mine)] if verdict == fastnat.Verdict.FORWARD else []
            if iface == "local":
                kernel.send(data)
            else:
                kernel.inject(iface, data)
            theirs = kernel.drain(0.02 if wanted else 0.002)
            said = f"seed {seed}, packet {n} by {iface}: {IP(data).summary()}: "
            assert wanted == theirs, said + f"{show(wanted)} for {show(theirs)}\n{policy}\n{case.routes}\n{sysctls}"
        assert counters(nat.save_rules()) == counters(kernel.save_rules()), f"{policy}\n{case.routes}\n{sysctls}"
    finally:
        kernel.close()


def show(packets):
    return [(name, IP(data).summary()) for name, data in packets]
