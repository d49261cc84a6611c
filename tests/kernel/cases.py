"""The nodes, rules and packets with which the kernel is compared, live and recorded."""

import warnings

import fastnat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP, TCP, UDP

INTERFACES = {"cni0": "10.244.1.1/24", "eth0": "198.51.100.10/24"}
ROUTES = ["default via 198.51.100.1 dev eth0"]

RULES = {
    "masquerade": "-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE",
    "address range": "-A POSTROUTING -s 10.244.0.0/16 -j SNAT --to-source 198.51.100.20-198.51.100.90",
    "persistent": "-A POSTROUTING -s 10.244.0.0/16 -j SNAT --to-source 198.51.100.20-198.51.100.90 --persistent",
    "one port": "-A POSTROUTING -p udp -j SNAT --to-source 198.51.100.20:7000",
    "dnat": "-A PREROUTING -d 198.51.100.10/32 -p udp -j DNAT --to-destination 10.244.1.5:5000-5010",
}


def traffic():
    """Deterministic in the kernel: no two flows ever want one tuple."""
    for k in range(12):
        src, dst = f"10.244.1.{k + 2}", f"203.0.113.{k + 10}"
        yield "cni0", IP(src=src, dst=dst) / UDP(sport=4000 + k, dport=53) / b"q"
        yield "cni0", IP(src=src, dst=dst) / TCP(sport=5000 + k, dport=80, flags="S", seq=k)
        yield "cni0", IP(src=src, dst=dst) / ICMP(id=k)
        yield "cni0", IP(src=src, dst="10.244.1.99") / UDP(sport=4000 + k, dport=53)
        yield "eth0", IP(src=dst, dst="198.51.100.10") / UDP(sport=53, dport=4000 + k) / b"a"
        yield "eth0", IP(src=dst, dst="198.51.100.10") / TCP(sport=80, dport=5000 + k, flags="SA", ack=k + 1)
        yield "cni0", IP(src=src, dst=dst, ttl=1) / UDP(sport=6000, dport=1)


def rules_text(name):
    return f"*nat\n{RULES[name]}\nCOMMIT\n"


def node(rules):
    made = fastnat.Node()
    for iface, address in INTERFACES.items():
        made.add_interface(iface, [address])
    for route in ROUTES:
        dst, _, via, _, dev = route.split()
        made.add_route(dst, via=via, dev=dev)
    made.load_rules(rules)
    return made


class EngineNode:
    """The engine in the place of the kernel: a packet in, what comes out."""

    def __init__(self, rules):
        self.nat, self.n = fastnat.Engine(node(rules)), 0

    def pass_packet(self, iface, data):
        verdict, out = self.nat.process_packet(data, iface, now=self.n * 0.001)
        self.n += 1
        return out if verdict == fastnat.Verdict.FORWARD else None
