"""Rule sets as software writes them, our own after its documentation, and what becomes of packets under them.

tests/behaviour asks the engine, tests/kernel the running kernel.
"""

from dataclasses import dataclass, field
from pathlib import Path

COLLECTION = Path(__file__).parents[1] / "data" / "nftables" / "collection"
NODE_PORTS = 30_000


@dataclass
class Packet:
    """A connection's first packet, and where it goes: out "" means that it goes nowhere, "node" that the node has it.

    iface: where it comes in, None: of the node itself. src, dst, sport and dport are how it leaves, each one value or
    several that may be; None: as it came. times: how many such connections, each with a source port of its own.
    """

    what: str
    iface: str | None
    came: tuple[str, str, str, int]
    out: str
    src: object = None
    dst: object = None
    sport: object = None
    dport: object = None
    times: int = 1
    # all of them go to one destination
    one: bool = False


@dataclass
class Scenario:
    """A node, its rules, and packets in the order in which they come."""

    name: str
    nft: str
    interfaces: dict[str, list[str]]
    routes: list[str]
    packets: list[Packet] = field(default_factory=list)


def read(name):
    return (COLLECTION / f"{name}.nft").read_text()


@dataclass
class Service:
    """A service of Kubernetes; local: of its endpoints, those on this node; affinity in seconds."""

    name: str
    address: str
    port: int
    endpoints: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    proto: str = "tcp"
    node_port: int = 0
    external: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    affinity: int = 0
    only_local: bool = False


class KubeProxy:
    """Writes the table of kube-proxy in its nftables mode."""

    def __init__(self, services, pods="10.0.0.0/8", node="192.168.0.2", clusters="172.30.0.0/16"):
        self.services, self.pods, self.node, self.clusters = services, pods, node, clusters
        self.sets, self.chains = [], []
        self.maps = {"service-ips": [], "service-nodeports": [], "firewall-ips": []}
        self.maps |= {"no-endpoint-services": [], "no-endpoint-nodeports": []}

    def chain(self, name, *rules):
        self.chains.append(f"\tchain {name} {{\n" + "".join(f"\t\t{rule}\n" for rule in rules) + "\t}\n")

    def text(self):
        for service in self.services:
            self.service(service)
        keys = dict.fromkeys(self.maps, "inet_proto . inet_service")
        keys |= {name: f"ipv4_addr . {key}" for name, key in keys.items() if not name.endswith("nodeports")}
        maps = [
            f"\tmap {name} {{\n\t\ttype {keys[name]} : verdict\n"
            + (f"\t\telements = {{ {', '.join(items)} }}\n" if items else "")
            + "\t}\n"
            for name, items in self.maps.items()
        ]
        addresses = ", ".join(dict.fromkeys(s.address for s in self.services))
        frame = KUBE_PROXY % {"addresses": addresses, "node": self.node, "clusters": self.clusters}
        return frame + "".join([*self.sets, *maps, *self.chains]) + "}\n"

    def service(self, s):
        """Write one service: its chain, those of its endpoints, and the ways that lead to it."""
        tail = f"{s.name}/{s.proto}/p{s.port}"
        keys = {"ip": f"{s.address} . {s.proto} . {s.port}", "port": f"{s.proto} . {s.node_port}"}
        outside = [f"{address} . {s.proto} . {s.port}" for address in s.external]
        if s.sources:
            self.chain(f"firewall-{tail}", f"ip saddr != {{ {', '.join(s.sources)} }} drop")
            self.maps["firewall-ips"] += [f"{key} : goto firewall-{tail}" for key in outside]
        if not s.endpoints:
            self.maps["no-endpoint-services"] += [f"{key} : goto reject-chain" for key in (keys["ip"], *outside)]
            if s.node_port:
                self.maps["no-endpoint-nodeports"].append(f"{keys['port']} : goto reject-chain")
            return
        self.maps["service-ips"].append(f"{keys['ip']} : goto service-{tail}")
        balance = self.balance(s, tail, s.endpoints)
        not_of_pods = f"ip daddr {s.address} ip saddr != {self.pods} jump mark-for-masquerade"
        self.chain(f"service-{tail}", not_of_pods, *balance)
        for end in s.endpoints:
            self.endpoint(s, tail, end)
        if not (s.node_port or s.external):
            return
        self.maps["service-ips"] += [f"{key} : goto external-{tail}" for key in outside]
        if s.node_port:
            self.maps["service-nodeports"].append(f"{keys['port']} : goto external-{tail}")
        if not s.only_local:
            self.chain(f"external-{tail}", "jump mark-for-masquerade", f"goto service-{tail}")
            return
        if not s.local:
            self.maps["no-endpoint-services"] += [f"{key} : drop" for key in outside]
            self.maps["no-endpoint-nodeports"] += [f"{keys['port']} : drop"] if s.node_port else []
        self.chain(
            f"external-{tail}",
            f"ip saddr {self.pods} goto service-{tail}",
            "fib saddr type local jump mark-for-masquerade",
            f"fib saddr type local goto service-{tail}",
            *([f"goto local-{tail}"] if s.local else []),
        )
        if s.local:
            self.chain(f"local-{tail}", *self.balance(s, tail, s.local))

    def balance(self, s, tail, ends):
        """Return the rules that choose one of these endpoints."""
        ways = ", ".join(f"{n} : goto endpoint-{tail}__{end}" for n, end in enumerate(ends))
        kept = [f"ip saddr @affinity-{tail}__{end} goto endpoint-{tail}__{end}" for end in ends if s.affinity]
        return [*kept, f"numgen random mod {len(ends)} vmap {{ {ways} }}"]

    def endpoint(self, s, tail, end):
        name = f"{tail}__{end}"
        keep = []
        if s.affinity:
            said = f"type ipv4_addr\n\t\tflags dynamic,timeout\n\t\ttimeout {s.affinity}s"
            self.sets.append(f"\tset affinity-{name} {{\n\t\t{said}\n\t}}\n")
            keep = [f"update @affinity-{name} {{ ip saddr }}"]
        hairpin = f"ip saddr {end.partition('/')[0]} jump mark-for-masquerade"
        dnat = f"meta l4proto {s.proto} dnat to {end.replace('/', ':')}"
        self.chain(f"endpoint-{name}", hairpin, *keep, dnat)


KUBE_PROXY = """table ip kube-proxy {
	set cluster-ips {
		type ipv4_addr
		elements = { %(addresses)s }
	}
	set nodeport-ips {
		type ipv4_addr
		elements = { %(node)s }
	}
	chain filter-prerouting-pre-dnat {
		type filter hook prerouting priority -110; policy accept;
		ct state new jump firewall-check
	}
	chain filter-output-pre-dnat {
		type filter hook output priority -110; policy accept;
		ct state new jump firewall-check
	}
	chain filter-input {
		type filter hook input priority filter; policy accept;
		ct state new jump nodeport-endpoints-check
		ct state new jump service-endpoints-check
	}
	chain filter-forward {
		type filter hook forward priority filter; policy accept;
		ct state new jump service-endpoints-check
		ct state new jump cluster-ips-check
	}
	chain filter-output {
		type filter hook output priority filter; policy accept;
		ct state new jump service-endpoints-check
		ct state new jump cluster-ips-check
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
		ip daddr . meta l4proto . th dport vmap @service-ips
		ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
	}
	chain firewall-check {
		ip daddr . meta l4proto . th dport vmap @firewall-ips
	}
	chain service-endpoints-check {
		ip daddr . meta l4proto . th dport vmap @no-endpoint-services
	}
	chain nodeport-endpoints-check {
		ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
	}
	chain cluster-ips-check {
		ip daddr @cluster-ips reject comment "a port that no service has"
		ip daddr { %(clusters)s } drop comment "an address that no service has"
	}
	chain reject-chain {
		reject
	}
	chain mark-for-masquerade {
		meta mark set meta mark | 0x00004000
	}
	chain masquerading {
		meta mark & 0x00004000 == 0x00000000 return
		meta mark set meta mark ^ 0x00004000
		masquerade fully-random
	}
"""
PODS = {"cni0": ["10.180.0.1/16"], "eth0": ["192.168.0.2/24", "192.168.1.2/24"]}
POD, CLIENT, LOCAL_CLIENT = "10.180.0.9", "203.0.113.5", "192.168.0.77"
WEB = ("10.180.1.1/8080", "10.180.1.2/8080", "10.180.1.3/8080")
# the chosen endpoint as a packet has it
AT_WEB = {end.partition("/")[0] for end in WEB}
SERVICES = [
    Service("shop/web", "172.30.0.1", 80, WEB, node_port=30_080, external=("192.0.2.80",)),
    Service("shop/dns", "172.30.0.2", 53, ("10.180.2.1/5353",), proto="udp"),
    Service("shop/sticky", "172.30.0.3", 80, WEB, affinity=10_800),
    Service("shop/limited", "172.30.0.4", 443, WEB, external=("192.0.2.44",), sources=("203.0.113.0/28", "10.0.0.0/8")),
    Service("shop/empty", "172.30.0.5", 80, node_port=30_500, external=("192.0.2.55",)),
    Service("shop/near", "172.30.0.6", 80, WEB, WEB[:1], node_port=30_600, external=("192.0.2.66",), only_local=True),
    Service("shop/far", "172.30.0.7", 80, WEB, node_port=30_700, external=("192.0.2.77",), only_local=True),
]
TO_WEB = {"out": "cni0", "dst": AT_WEB, "dport": 8080}
# masquerade is fully random
MASQUERADED = {"src": "10.180.0.1", "sport": range(1024, 65536)}
SERVICE_PACKETS = [
    Packet("a pod to a ClusterIP", "cni0", (POD, "tcp", "172.30.0.1", 80), **TO_WEB, times=24),
    Packet("an endpoint to itself", "cni0", ("10.180.1.1", "tcp", "172.30.0.1", 80), **TO_WEB, src={"10.180.0.1",
           "10.180.1.1"}, sport=range(1024, 65536), times=24),
    Packet("a client to a ClusterIP", "eth0", (CLIENT, "tcp", "172.30.0.1", 80), **TO_WEB, **MASQUERADED),
    Packet("a client to a NodePort", "eth0", (CLIENT, "tcp", "192.168.0.2", 30_080), **TO_WEB, **MASQUERADED, times=9),
    Packet("a pod to a NodePort", "cni0", (POD, "tcp", "192.168.0.2", 30_080), **TO_WEB, **MASQUERADED),
    Packet("no NodePort at that address", "eth0", (CLIENT, "tcp", "192.168.1.2", 30_080), "node"),
    Packet("a client to an external address", "eth0", (CLIENT, "tcp", "192.0.2.80", 80), **TO_WEB, **MASQUERADED),
    Packet("another port of it", "eth0", (CLIENT, "tcp", "192.0.2.80", 81), "eth0"),
    Packet("UDP", "cni0", (POD, "udp", "172.30.0.2", 53), "cni0", dst="10.180.2.1", dport=5353),
    Packet("not that protocol", "cni0", (POD, "tcp", "172.30.0.2", 53), ""),
    Packet("a ClusterIP, a port that no service has", "cni0", (POD, "tcp", "172.30.0.1", 81), ""),
    Packet("an address that no service has", "cni0", (POD, "tcp", "172.30.9.9", 80), ""),
    Packet("session affinity", "cni0", (POD, "tcp", "172.30.0.3", 80), **TO_WEB, times=24, one=True),
    Packet("session affinity of another", "cni0", ("10.180.0.10", "tcp", "172.30.0.3", 80), **TO_WEB, times=9,
           one=True),
    Packet("a source in range", "eth0", (CLIENT, "tcp", "192.0.2.44", 443), **TO_WEB, **MASQUERADED),
    Packet("a source out of range", "eth0", ("203.0.113.99", "tcp", "192.0.2.44", 443), ""),
    Packet("any source to its ClusterIP", "eth0", ("203.0.113.99", "tcp", "172.30.0.4", 443), **TO_WEB, **MASQUERADED),
    Packet("no endpoints", "cni0", (POD, "tcp", "172.30.0.5", 80), ""),
    Packet("no endpoints, external", "eth0", (CLIENT, "tcp", "192.0.2.55", 80), ""),
    Packet("no endpoints, NodePort", "eth0", (CLIENT, "tcp", "192.168.0.2", 30_500), ""),
    Packet("policy Local, a client", "eth0", (CLIENT, "tcp", "192.0.2.66", 80), "cni0", dst="10.180.1.1", dport=8080,
           times=9),
    Packet("policy Local, a client, NodePort", "eth0", (CLIENT, "tcp", "192.168.0.2", 30_600), "cni0",
           dst="10.180.1.1", dport=8080),
    Packet("policy Local, a pod", "cni0", (POD, "tcp", "192.0.2.66", 80), **TO_WEB, times=24),
    Packet("policy Local, no endpoint here", "eth0", (CLIENT, "tcp", "192.0.2.77", 80), ""),
    Packet("policy Local, no endpoint here, NodePort", "eth0", (CLIENT, "tcp", "192.168.0.2", 30_700), ""),
    Packet("policy Local, no endpoint here, a pod", "cni0", (POD, "tcp", "192.0.2.77", 80), **TO_WEB),
    Packet("what is no service", "cni0", (POD, "tcp", "203.0.113.9", 443), "eth0"),
]  # fmt: skip


def services(n):
    """Return n services of three endpoints each, in front of those of SERVICES."""
    more = [
        Service(
            f"load/s{k}",
            f"172.30.{64 + k // 250}.{k % 250 + 1}",
            80,
            tuple(f"10.180.{100 + k // 250}.{k % 250 + 1}/{8000 + i}" for i in range(3)),
            node_port=NODE_PORTS + 1000 + k if k < 1000 else 0,
        )
        for k in range(n)
    ]
    return [*more, *SERVICES]


def kube_proxy(n):
    """Return the scenario of n services."""
    last = n - 1
    address, end = f"172.30.{64 + last // 250}.{last % 250 + 1}", f"10.180.{100 + last // 250}.{last % 250 + 1}"
    extra = Packet(
        "the last of many", "cni0", (POD, "tcp", address, 80), "cni0", dst=end, dport={8000, 8001, 8002}, times=9
    )
    text = KubeProxy(services(n)).text()
    return Scenario(f"kube-proxy-{n}", text, PODS, ["default via 192.168.0.1 dev eth0"], [*SERVICE_PACKETS, extra])


def map_e(blocks, psid, size=16, step=4096, out="map0", address="203.0.113.9"):
    """Return the rules of a MAP-E router, and its ports: of its blocks of `size` each connection takes one in turn."""
    first = [(n + 1) * step + psid * size for n in range(blocks)]
    picks = ", ".join(f"{n} : jump block{n}" for n in range(blocks))
    chains = "".join(
        f"\tchain block{n} {{\n\t\tmeta l4proto {{ tcp, udp }} snat ip to {address}:{low}-{low + size - 1}\n"
        f"\t\tip protocol icmp snat ip to {address}:{low}-{low + size - 1}\n\t}}\n"
        for n, low in enumerate(first)
    )
    return (
        f"table inet mape {{\n{chains}\tchain srcnat {{\n"
        f"\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
        f'\t\toifname "{out}" meta nfproto ipv4 numgen inc mod {blocks} vmap {{ {picks} }}\n\t}}\n'
        f"\tchain mangle_forward {{\n\t\ttype filter hook forward priority mangle; policy accept;\n"
        f'\t\toifname "{out}" tcp flags syn tcp option maxseg size set 1420\n\t}}\n}}\n'
    ), {port for low in first for port in range(low, low + size)}


MAPE, MAPE_PORTS = map_e(15, 0x34)
MAPE_SCENARIO = Scenario(
    "map-e-15-blocks", MAPE, {"lan0": ["192.168.1.1/24"], "map0": ["203.0.113.9/32"]}, ["default dev map0"],
    [
        Packet("TCP", "lan0", ("192.168.1.7", "tcp", "198.51.100.1", 443), "map0", "203.0.113.9", sport=MAPE_PORTS,
               times=60),
        Packet("UDP", "lan0", ("192.168.1.7", "udp", "198.51.100.1", 53), "map0", "203.0.113.9", sport=MAPE_PORTS,
               times=60),
        Packet("to the router", "lan0", ("192.168.1.7", "udp", "192.168.1.1", 53), "node"),
    ],
)  # fmt: skip
HOST = ["198.51.100.10/24"]
BY_ETH0 = ["default via 198.51.100.1 dev eth0"]
OUTSIDE = "203.0.113.5"
SCENARIOS = [
    MAPE_SCENARIO,
    Scenario("docker", read("docker"), {"docker0": ["172.17.0.1/16"], "br-app": ["172.18.0.1/16"], "eth0": HOST},
             BY_ETH0, [
        Packet("a container out", "docker0", ("172.17.0.2", "tcp", OUTSIDE, 443), "eth0", "198.51.100.10"),
        Packet("a container of the other network out", "br-app", ("172.18.0.3", "udp", OUTSIDE, 53), "eth0",
               "198.51.100.10"),
        Packet("a published port", "eth0", (OUTSIDE, "tcp", "198.51.100.10", 8080), "docker0", dst="172.17.0.2",
               dport=80),
        Packet("a published port of UDP", "eth0", (OUTSIDE, "udp", "198.51.100.10", 5353), "br-app", dst="172.18.0.3",
               dport=53),
        Packet("a port that is not published", "eth0", (OUTSIDE, "tcp", "198.51.100.10", 8081), "node"),
        Packet("a container, past the published port", "eth0", (OUTSIDE, "tcp", "172.17.0.2", 80), ""),
        Packet("another container from outside", "eth0", (OUTSIDE, "tcp", "172.17.0.9", 80), ""),
        Packet("from one network to the other", "docker0", ("172.17.0.2", "tcp", "172.18.0.2", 443), "br-app",
               "172.18.0.1"),
        Packet("within a network", "docker0", ("172.17.0.2", "tcp", "172.17.0.3", 9), "docker0"),
        Packet("within one that forbids it", "br-app", ("172.18.0.2", "tcp", "172.18.0.3", 9), ""),
        Packet("a published port from a container of its network", "docker0", ("172.17.0.3", "tcp", "198.51.100.10",
               8080), "node"),
    ]),
    Scenario("podman", read("podman"), {"podman0": ["10.88.0.1/16"], "podman1": ["10.89.0.1/24"], "eth0": HOST},
             BY_ETH0, [
        Packet("a container out", "podman0", ("10.88.0.5", "tcp", OUTSIDE, 443), "eth0", "198.51.100.10"),
        Packet("a network with an address of its own out", "podman1", ("10.89.0.7", "udp", OUTSIDE, 53), "eth0",
               "198.51.100.20"),
        Packet("a published port", "eth0", (OUTSIDE, "tcp", "198.51.100.10", 8080), "podman0", dst="10.88.0.5",
               dport=80),
        Packet("one of a range", "eth0", (OUTSIDE, "udp", "198.51.100.10", 5004), "podman0", dst="10.88.0.5"),
        Packet("behind the range", "eth0", (OUTSIDE, "udp", "198.51.100.10", 5010), "node"),
        Packet("a port of one address", "eth0", (OUTSIDE, "tcp", "198.51.100.10", 8443), "podman1", dst="10.89.0.7",
               dport=443),
        Packet("hairpin", "podman0", ("10.88.0.5", "tcp", "198.51.100.10", 8080), "podman0", "10.88.0.1", "10.88.0.5",
               dport=80),
        Packet("isolated networks", "podman0", ("10.88.0.5", "tcp", "10.89.0.7", 443), ""),
        Packet("isolated, the other way", "podman1", ("10.89.0.7", "tcp", "10.88.0.5", 80), ""),
        Packet("within a network", "podman0", ("10.88.0.5", "tcp", "10.88.0.6", 80), "podman0"),
    ]),
    Scenario("fw4", read("fw4"), {"br-lan": ["192.168.1.1/24"], "br-guest": ["192.168.3.1/24"],
             "wan": ["203.0.113.2/24"], "wan6": []}, ["default via 203.0.113.1 dev wan"], [
        Packet("the LAN out", "br-lan", ("192.168.1.5", "tcp", "198.51.100.1", 443), "wan", "203.0.113.2"),
        Packet("guests out", "br-guest", ("192.168.3.5", "tcp", "198.51.100.1", 443), "wan", "203.0.113.3"),
        Packet("mail of guests", "br-guest", ("192.168.3.5", "tcp", "198.51.100.1", 25), ""),
        Packet("guests to the LAN", "br-guest", ("192.168.3.5", "tcp", "192.168.1.10", 80), ""),
        Packet("a redirect", "wan", ("198.51.100.1", "tcp", "203.0.113.2", 8080), "br-lan", dst="192.168.1.10",
               dport=80),
        Packet("its reflection", "br-lan", ("192.168.1.5", "tcp", "203.0.113.2", 8080), "br-lan", "192.168.1.1",
               "192.168.1.10", dport=80),
        Packet("a range of ports", "wan", ("198.51.100.1", "udp", "203.0.113.2", 27020), "br-lan", dst="192.168.1.11"),
        Packet("ports of a list", "wan", ("198.51.100.1", "tcp", "203.0.113.2", 6884), "br-lan", dst="192.168.1.12"),
        Packet("of a blocked source", "wan", ("198.51.100.200", "tcp", "203.0.113.2", 6884), ""),
        Packet("everyone's DNS", "br-lan", ("192.168.1.5", "udp", "8.8.8.8", 53), "node"),
        Packet("from outside to the router", "wan", ("198.51.100.1", "tcp", "203.0.113.2", 22), ""),
        Packet("its DHCP", "wan", ("198.51.100.1", "udp", "203.0.113.2", 68), "node"),
        Packet("from outside into the LAN", "wan", ("198.51.100.1", "tcp", "192.168.1.5", 22), ""),
        Packet("IPsec into the LAN", "wan", ("198.51.100.1", "udp", "192.168.1.5", 500), "br-lan"),
        Packet("the LAN to the router", "br-lan", ("192.168.1.5", "tcp", "192.168.1.1", 22), "node"),
    ]),
    Scenario("libvirt", read("libvirt"), {"virbr0": ["192.168.122.1/24"], "virbr1": ["192.168.140.1/24"],
             "virbr2": ["192.168.150.1/24"], "eth0": HOST}, BY_ETH0, [
        Packet("a guest out", "virbr0", ("192.168.122.5", "tcp", OUTSIDE, 443), "eth0", "198.51.100.10"),
        Packet("a guest out by a low port", "virbr0", ("192.168.122.5", "udp", OUTSIDE, 53), "eth0", "198.51.100.10",
               sport=range(1024, 65536)),
        Packet("a source that is not of the network", "virbr0", ("10.1.1.1", "tcp", OUTSIDE, 443), ""),
        Packet("from outside to a guest", "eth0", (OUTSIDE, "tcp", "192.168.122.5", 22), ""),
        Packet("between guests", "virbr0", ("192.168.122.5", "tcp", "192.168.122.6", 22), "virbr0"),
        Packet("from one network to the other", "virbr0", ("192.168.122.5", "tcp", "192.168.140.6", 22), ""),
        Packet("an isolated network out", "virbr1", ("192.168.140.5", "tcp", OUTSIDE, 22), ""),
        Packet("within an isolated network", "virbr1", ("192.168.140.5", "tcp", "192.168.140.6", 22), "virbr1"),
        Packet("a routed network out", "virbr2", ("192.168.150.5", "tcp", OUTSIDE, 22), "eth0"),
        Packet("into a routed network", "eth0", (OUTSIDE, "tcp", "192.168.150.5", 22), "virbr2"),
        Packet("a guest to the host", "virbr0", ("192.168.122.5", "udp", "192.168.122.1", 53), "node"),
    ]),
    Scenario("firewalld", read("firewalld"), {"lan0": ["10.10.0.1/16"], "wan0": HOST},
             ["default via 198.51.100.1 dev wan0"], [
        Packet("the internal zone out", "lan0", ("10.10.0.77", "tcp", OUTSIDE, 443), "wan0", "198.51.100.10"),
        Packet("a forwarded port", "wan0", (OUTSIDE, "tcp", "198.51.100.10", 8080), "lan0", dst="10.10.0.5", dport=80),
        Packet("a port of some", "wan0", ("198.51.100.3", "tcp", "198.51.100.10", 8443), "lan0", dst="10.10.0.6",
               dport=443),
        Packet("of others", "wan0", ("198.51.100.99", "tcp", "198.51.100.10", 8443), ""),
        Packet("a port of the node", "wan0", (OUTSIDE, "tcp", "198.51.100.10", 2200), "node"),
        Packet("a source that has a zone of its own", "wan0", ("172.16.9.9", "tcp", "198.51.100.10", 8080), ""),
    ]),
    Scenario("balancer-by-marks", read("balancer-by-marks"), {"lan0": ["10.0.0.1/24"], "eth0": HOST}, BY_ETH0, [
        Packet("the first of four", "eth0", ("203.0.113.1", "tcp", "198.51.100.10", 80), "lan0", "10.0.0.1",
               "10.0.0.11", dport=8081),
        Packet("the same source again", "eth0", ("203.0.113.1", "tcp", "198.51.100.10", 80), "lan0", "10.0.0.1",
               "10.0.0.11", dport=8081, times=4),
        Packet("its sixth connection", "eth0", ("203.0.113.1", "tcp", "198.51.100.10", 80), ""),
        Packet("a source with a server of its own", "eth0", ("203.0.113.50", "tcp", "198.51.100.10", 80), "lan0",
               "10.0.0.99", "10.0.0.12", dport=8082, times=3),
        Packet("the second of four", "eth0", ("203.0.113.2", "tcp", "198.51.100.10", 80), "lan0", "10.0.0.1",
               "10.0.0.11", dport=8081),
        Packet("the third", "eth0", ("203.0.113.3", "tcp", "198.51.100.10", 80), "lan0", "10.0.0.1", "10.0.0.11",
               dport=8081),
        Packet("the fourth", "eth0", ("203.0.113.4", "tcp", "198.51.100.10", 80), "lan0", "10.0.0.99", "10.0.0.12",
               dport=8082),
        Packet("by hash", "eth0", ("203.0.113.2", "udp", "198.51.100.10", 53), "lan0", dst={"10.0.0.21", "10.0.0.22"},
               times=5, one=True),
        Packet("what is no service", "eth0", ("203.0.113.2", "udp", "198.51.100.10", 54), "node"),
    ]),
    Scenario("crio-hostports", read("crio-hostports"), {"cni0": ["10.85.0.1/16"], "eth0": HOST}, BY_ETH0, [
        Packet("a pod out", "cni0", ("10.85.0.7", "tcp", OUTSIDE, 443), "eth0", "198.51.100.10"),
        Packet("a port of the host", "eth0", (OUTSIDE, "tcp", "198.51.100.10", 8080), "cni0", dst="10.85.0.7",
               dport=80),
        Packet("another protocol", "eth0", (OUTSIDE, "udp", "198.51.100.10", 53), "cni0", dst="10.85.0.7", dport=5353),
        Packet("of one address", "eth0", (OUTSIDE, "tcp", "198.51.100.10", 8443), "cni0", dst="10.85.0.8", dport=443),
        Packet("a pod to itself", "cni0", ("10.85.0.7", "tcp", "198.51.100.10", 8080), "cni0", "10.85.0.1", "10.85.0.7",
               dport=80),
        Packet("a pod to another", "cni0", ("10.85.0.9", "tcp", "198.51.100.10", 8080), "cni0", dst="10.85.0.7",
               dport=80),
        Packet("no port of the host", "eth0", (OUTSIDE, "tcp", "198.51.100.10", 8081), "node"),
    ]),
    Scenario("flannel-and-tailscale", read("flannel-and-tailscale"), {"cni0": ["10.244.1.1/24"], "flannel.1":
             ["10.244.1.0/32"], "tailscale0": ["100.101.102.103/32"], "eth0": HOST},
             [*BY_ETH0, "10.244.2.0/24 dev flannel.1", "100.64.0.0/10 dev tailscale0"], [
        Packet("a pod out", "cni0", ("10.244.1.5", "tcp", OUTSIDE, 443), "eth0", "198.51.100.10",
               sport=range(1024, 65536)),
        Packet("a pod to a pod of another node", "cni0", ("10.244.1.5", "tcp", "10.244.2.5", 80), "flannel.1"),
        Packet("from outside to a pod", "eth0", (OUTSIDE, "tcp", "10.244.1.5", 80), "cni0"),
        Packet("from the tailnet out", "tailscale0", ("100.64.0.9", "tcp", OUTSIDE, 443), "eth0", "198.51.100.10"),
        Packet("from the tailnet to a pod", "tailscale0", ("100.64.0.9", "tcp", "10.244.1.5", 80), "cni0",
               "10.244.1.1"),
        Packet("an address of the tailnet from outside", "eth0", ("100.64.0.9", "tcp", "198.51.100.10", 22), ""),
        Packet("those of ChromeOS", "eth0", ("100.115.92.9", "tcp", "198.51.100.10", 22), "node"),
        Packet("from the tailnet to the node", "tailscale0", ("100.64.0.9", "tcp", "100.101.102.103", 22), "node"),
        Packet("to the tailnet with an address of it", "eth0", ("100.64.0.9", "tcp", "100.64.0.10", 22), ""),
        Packet("to the tailnet", "eth0", (OUTSIDE, "tcp", "100.64.0.10", 22), "tailscale0"),
    ]),
    Scenario("istio-ambient", read("istio-ambient"), {"eth0": ["10.244.1.5/24"]}, ["default via 10.244.1.1 dev eth0"], [
        Packet("into the pod", "eth0", ("10.244.1.9", "tcp", "10.244.1.5", 80), "node"),
        Packet("out of the pod", None, ("10.244.1.5", "tcp", "10.96.0.9", 80), "node", dst="127.0.0.1", dport=15001),
        Packet("its DNS", None, ("10.244.1.5", "udp", "10.96.0.10", 53), "node", dst="127.0.0.1", dport=15053),
        Packet("UDP that is no DNS", None, ("10.244.1.5", "udp", "10.96.0.10", 123), "eth0"),
    ]),
]  # fmt: skip
