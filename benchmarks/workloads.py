"""Nodes and packets of the benchmarks: seeded and append-only, so that figures stay comparable."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

import fastnat

# small enough to end, also under callgrind, before a batch would pause by the clock and be counted for it
BATCH = 256
# whether a test only looks that the benchmarks run: then sizes are a thousandth
FEW = "FASTNAT_FEW" in os.environ
LIVE = [1_000, 2_000, 25_600] if FEW else [10_000, 1_000_000, 16_000_000]


def masqueraded(nat, numbers):
    """Headers of the flows with these numbers: every source and destination pair its own, all to be masqueraded."""
    k = np.asarray(numbers, np.uint64)
    return nat.packets(
        proto="udp", src=(0x0AF40300 + k % 60_000).astype(np.uint32), sport=1024 + k // 60_000 % 60_000, iface="cni0",
        dst=(0xCB007100 + k % 60_000).astype(np.uint32), dport=53,
    )  # fmt: skip


def live(connections, room=0, random_fully=False, **options):
    """An engine on the example node that tracks this many connections, with room for more."""
    nat = fastnat.Engine(fastnat.Node.example(), max_connections=max(connections + room, 262_144), **options)
    if random_fully:
        nat.set_random_fully()
    for start in range(0, connections, BATCH):
        nat.process(masqueraded(nat, np.arange(start, min(start + BATCH, connections))))
    return nat


# the example node's like in both families, with a service whose packets are translated to a pod
DUAL_STACK = {
    "interfaces": {"cni0": ["10.244.0.1/16", "2001:db8:a::1/64"], "eth0": ["198.51.100.10/24", "2001:db8:b::1/64"]},
    "routes": [("default", "198.51.100.1"), ("::/0", "2001:db8:b::fe")],
    "rules": """*nat
-A PREROUTING -d 198.51.100.10/32 -p udp --dport 8000 -j DNAT --to-destination 10.244.7.7:53
-A PREROUTING -d 198.51.100.10/32 -p tcp --dport 8000 -j DNAT --to-destination 10.244.7.7:53
-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE
-A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.7.7/32 -j MASQUERADE
COMMIT
""",
    "rules6": "*nat\n-A POSTROUTING -s 2001:db8:a::/64 ! -d 2001:db8:a::/64 -j MASQUERADE\nCOMMIT\n",
}


# what most gateways have beside nat
FILTER = """*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -i cni0 -j ACCEPT
COMMIT
*mangle
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
COMMIT
"""


def dual_stack_node(beside=""):
    """Return a node with IPv4 and IPv6, MASQUERADE in both, DNAT in IPv4; beside: further rules of IPv4."""
    node = fastnat.Node()
    for name, addresses in DUAL_STACK["interfaces"].items():
        node.add_interface(name, addresses)
    for dst, via in DUAL_STACK["routes"]:
        node.add_route(dst, via=via, dev="eth0")
    node.load_rules(DUAL_STACK["rules"] + beside)
    node.load_rules6(DUAL_STACK["rules6"])
    return node


@dataclass(frozen=True)
class Kind:
    """A kind of packet, for a benchmark: where it comes from, where it goes, and how the engine is given it."""

    proto: str = "udp"
    src: int = 0x0AF40300
    dst: int = 0xCB007100
    dport: int = 53
    iface: str = "cni0"
    spread: bool = True
    own_ports: bool = False
    frames: bool = False
    beside: str = ""

    def live(self, connections, room=200_000, **options):
        """Return an engine that tracks so many connections of this kind; TCP ones are picked up in the middle."""
        nat = fastnat.Engine(dual_stack_node(self.beside), max_connections=connections + room, **options)
        for start in range(0, connections, BATCH):
            self.run(nat, np.arange(start, min(start + BATCH, connections)), opening=False)
        return nat

    def packets(self, nat, numbers, opening=True):
        """Return a packet of each of the connections with these numbers, as headers."""
        k = np.asarray(numbers, np.uint64)
        # beyond what addresses there are, other ports
        k, port = k % 60_000, 1024 + k // 60_000
        return nat.packets(
            proto=self.proto, src=self._addresses(self.src, k),
            sport=(port + k * self.own_ports).astype(np.uint16),
            dst=self._addresses(self.dst, k * self.spread), dport=self.dport, iface=self.iface,
            tcp_flags=0 if self.proto != "tcp" else 0x02 if opening else 0x10,
        )  # fmt: skip

    def run(self, nat, numbers, opening=True):
        """Process a packet of each of the connections with these numbers; fails where one is not tracked."""
        batch = self.packets(nat, numbers, opening)
        out = nat.process_frames(*datagrams(batch), iface=self.iface) if self.frames else nat.process(batch)
        if (out["conn"] == 2**32 - 1).any() or (out["verdict"] == fastnat.Verdict.DROP).any():
            raise RuntimeError("a packet of the benchmark was dropped or not tracked")

    @staticmethod
    def _addresses(first, k):
        if first < 2**32:
            return (first + k).astype(np.uint32)
        array = np.empty(len(k), fastnat.dtypes.RECORDS6.ADDR)
        array["low"], array["high"] = (first & 2**64 - 1) + k, first >> 64
        return array


def datagrams(batch):
    """Return IPv4 headers as datagrams of 64 bytes, UDP without a checksum: a buffer and offsets."""
    data = np.zeros((len(batch), 64), np.uint8)
    data[:, [0, 3, 8]] = 0x45, 64, 64
    data[:, 9] = batch["proto"]
    for at, name, order in ((12, "src", ">u4"), (16, "dst", ">u4"), (20, "sport", ">u2"), (22, "dport", ">u2")):
        values = batch[name].astype(order).view(np.uint8).reshape(len(batch), -1)
        data[:, at : at + values.shape[1]] = values
    udp = batch["proto"] == 17
    data[udp, 25] = 44
    data[~udp, 32], data[~udp, 33] = 0x50, batch["tcp_flags"][~udp]
    words = data.view(">u2").astype(np.uint32)
    data[:, 10:12] = _checksum(words[:, :10].sum(axis=1))
    pseudo = words[:, 6:10].sum(axis=1) + 44 + batch["proto"]
    data[~udp, 36:38] = _checksum(pseudo + words[:, 10:].sum(axis=1))[~udp]
    return data.reshape(-1), np.arange(0, 64 * len(batch) + 1, 64)


def _checksum(total):
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).astype(">u2").view(np.uint8).reshape(-1, 2)


@dataclass(frozen=True)
class Services:
    """First packets of connections from pods to one service of many after another, in random order."""

    rules: Callable[..., str]
    n: int

    def live(self, _):
        """Return an engine with rules for so many services of one endpoint each."""
        node = dual_stack_node()
        text = self.rules(self.n, endpoints=1)
        node.load_rules("" if self.rules is nft_services else text)
        node.load_nft(text if self.rules is nft_services else "")
        return fastnat.Engine(node, max_connections=200_000)

    def packets(self, nat, numbers):
        """Return a first packet of each of the connections with these numbers, as headers."""
        k = np.asarray(numbers, np.uint64)
        services = np.random.default_rng(int(k[0])).integers(0, self.n, len(k)).astype(np.uint32)
        return nat.packets(
            proto="tcp", tcp_flags=2, src=(0x0AF40300 + k % 60_000).astype(np.uint32), sport=1024 + k // 60_000,
            dst=0x0A600000 + services, dport=80, iface="cni0",
        )  # fmt: skip

    def run(self, nat, numbers):
        """Process a first packet of each of the connections with these numbers; fails where one meets no service."""
        if (nat.process(self.packets(nat, numbers))["dport"] != 8080).any():
            raise RuntimeError("a packet of the benchmark met no service")


TCP = Kind(proto="tcp", dport=443)
IPV6 = Kind(src=0x20010DB8000A00000000000000000300, dst=0x20010DB8000C00000000000000000100)
IPV6_TCP = replace(IPV6, proto="tcp", dport=443)
DNAT = Kind(src=0xC0000200, dst=0xC633640A, dport=8000, iface="eth0", spread=False, own_ports=True)
FILTERED = Kind(beside=FILTER)
FILTERED_TCP = Kind(proto="tcp", dport=443, beside=FILTER)
FRAMES = Kind(frames=True)
FRAMES_TCP = Kind(proto="tcp", dport=443, frames=True)


def crowded(occupancy):
    """An engine whose SNAT ports towards 192.0.2.1:53 are occupied to this share, and the ports in use."""
    nat = live(10_000, room=200_000)
    ports = np.random.default_rng(2).permutation(np.arange(1024, 65536))[: int(64_512 * occupancy)]
    packets = nat.packets(proto="udp", src="10.244.9.9", sport=ports, dst="192.0.2.1", dport=53, iface="cni0")
    for start in range(0, len(ports), BATCH):
        nat.process(packets[start : start + BATCH])
    return nat, ports


# of a family: the addresses of services and of their endpoints, the network of pods, how rules write an endpoint's
# port, and the bits of an address
SERVICES_OF = {
    "ip": ("10.{}.{}.{}", "10.244.{}.{}", "10.244.0.0/16", "{}:8080", 32),
    "ip6": ("2001:db8:5e:{:x}::{:x}:{:x}", "2001:db8:a:{:x}::{:x}", "2001:db8:a::/48", "[{}]:8080", 128),
}


def services(n, endpoints=3, family="ip", protos=("tcp",)):
    """iptables-save text as kube-proxy writes it for n services of up to three endpoints, these protocols in turn."""
    service, pod, _, to, bits = SERVICES_OF[family]
    chains, rules = [], []
    for k in range(n):
        vip, proto = f"{service.format(96 + (k >> 16), k >> 8 & 255, k & 255)}/{bits}", protos[k % len(protos)]
        chains.append(f":SVC-{k} - [0:0]")
        rules.append(
            f"-A KUBE-SERVICES -d {vip} -p {proto} -m comment --comment svc-{k} -m {proto} --dport 80 -j SVC-{k}"
        )
        for i, probability in enumerate(("0.33333333349", "0.50000000000", None)[-endpoints:]):
            chains.append(f":SEP-{k}-{i} - [0:0]")
            chance = f"-m statistic --mode random --probability {probability} " if probability else ""
            backend = pod.format((3 * k + i) % 250, k % 250 + 2)
            rules += [
                f"-A SVC-{k} {chance}-j SEP-{k}-{i}",
                f"-A SEP-{k}-{i} -s {backend}/{bits} -j KUBE-MARK-MASQ",
                f"-A SEP-{k}-{i} -p {proto} -m {proto} -j DNAT --to-destination {to.format(backend)}",
            ]
    head = [":KUBE-SERVICES - [0:0]", ":KUBE-MARK-MASQ - [0:0]", ":KUBE-POSTROUTING - [0:0]", *chains]
    tail = [
        "-A PREROUTING -j KUBE-SERVICES",
        "-A POSTROUTING -j KUBE-POSTROUTING",
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
    ]
    return "\n".join(["*nat", *head, *tail, *rules, "COMMIT", ""])


def nft_services(n, endpoints=3, family="ip", protos=("tcp",)):
    """The table of kube-proxy in its nftables mode for n services of so many endpoints each, as nft lists it."""
    service, pod, pods, to, _ = SERVICES_OF[family]
    vips, elements, chains = [], [], []
    for k in range(n):
        vip, proto = service.format(96 + (k >> 16), k >> 8 & 255, k & 255), protos[k % len(protos)]
        name = f"ns{k % 50}/svc-{k}/{proto}/http"
        backends = [pod.format((3 * k + i) % 250, k % 250 + 2) for i in range(endpoints)]
        ends = [f"endpoint-{8 * k + i:08X}-{name}__{b.replace(':', '.')}/8080" for i, b in enumerate(backends)]
        vips.append(vip)
        elements.append(f"{vip} . {proto} . 80 : goto service-{k:08X}-{name}")
        ways = ", ".join(f"{i} : goto {end}" for i, end in enumerate(ends))
        chains.append(
            f"\tchain service-{k:08X}-{name} {{\n"
            f"\t\t{family} daddr {vip} {family} saddr != {pods} jump mark-for-masquerade\n"
            f"\t\tnumgen random mod {endpoints} vmap {{ {ways} }}\n\t}}\n"
        )
        chains += [
            f"\tchain {end} {{\n"
            f"\t\t{family} saddr {backend} jump mark-for-masquerade\n"
            f"\t\tmeta l4proto {proto} dnat to {to.format(backend)}\n\t}}\n"
            for end, backend in zip(ends, backends, strict=True)
        ]
    listed = [",\n\t\t\t     ".join(items) for items in (vips, elements)]
    address = "ipv4_addr" if family == "ip" else "ipv6_addr"
    said = {"family": family, "address": address, "vips": listed[0], "elements": listed[1]}
    return NFT_SERVICES % {**said, "chains": "\n".join(chains)}


# what kube-proxy writes beside its services
NFT_SERVICES = """table %(family)s kube-proxy {
	comment "rules for kube-proxy"
	set cluster-ips {
		type %(address)s
		comment "Active ClusterIPs"
		elements = { %(vips)s }
	}

	map firewall-ips {
		type %(address)s . inet_proto . inet_service : verdict
		comment "destinations that are subject to LoadBalancerSourceRanges"
	}

	map no-endpoint-services {
		type %(address)s . inet_proto . inet_service : verdict
	}

	map service-ips {
		type %(address)s . inet_proto . inet_service : verdict
		comment "ClusterIP, ExternalIP and LoadBalancer IP traffic"
		elements = { %(elements)s }
	}

	chain filter-prerouting-pre-dnat {
		type filter hook prerouting priority dstnat - 10; policy accept;
		ct state new jump firewall-check
	}

	chain filter-forward {
		type filter hook forward priority filter; policy accept;
		ct state new jump service-endpoints-check
		ct state new jump cluster-ips-check
	}

	chain cluster-ips-check {
		%(family)s daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
	}

	chain service-endpoints-check {
		%(family)s daddr . meta l4proto . th dport vmap @no-endpoint-services
	}

	chain firewall-check {
		%(family)s daddr . meta l4proto . th dport vmap @firewall-ips
	}

	chain mark-for-masquerade {
		meta mark set meta mark | 0x00004000
	}

	chain masquerading {
		meta mark & 0x00004000 == 0x00000000 return
		meta mark set meta mark ^ 0x00004000
		masquerade fully-random
	}

	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}

	chain nat-output {
		type nat hook output priority -100; policy accept;
		jump services
	}

	chain nat-postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		jump masquerading
	}

	chain services {
		%(family)s daddr . meta l4proto . th dport vmap @service-ips
	}

%(chains)s
}
"""
