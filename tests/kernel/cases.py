"""The nodes, rules and packets with which the kernel is compared, live and recorded."""

import warnings

import fastnat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP, TCP, UDP

INTERFACES = {"cni0": "10.244.1.1/24", "eth0": "198.51.100.10/24"}
ROUTES = ["default via 198.51.100.1 dev eth0"]

SETS = """create CLIENTS hash:ip family inet hashsize 1024 maxelem 65536
add CLIENTS 10.244.1.3
create SERVERS hash:net,port family inet hashsize 1024 maxelem 65536
add SERVERS 203.0.113.16/30,udp:53
add SERVERS 203.0.113.17,udp:53 nomatch
create PORTS bitmap:port range 0-65535
add PORTS 80
create LOOP hash:ip,port,ip family inet hashsize 1024 maxelem 65536
add LOOP 203.0.113.20,icmp:echo-request,10.244.1.12
create BOTH list:set size 8
add BOTH CLIENTS
add BOTH PORTS
"""
RULES = {
    "masquerade": "-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE",
    "address range": "-A POSTROUTING -s 10.244.0.0/16 -j SNAT --to-source 198.51.100.20-198.51.100.90",
    "persistent": "-A POSTROUTING -s 10.244.0.0/16 -j SNAT --to-source 198.51.100.20-198.51.100.90 --persistent",
    "one port": "-A POSTROUTING -p udp -j SNAT --to-source 198.51.100.20:7000",
    "sets": "-A POSTROUTING -m set --match-set LOOP dst,dst,src -j SNAT --to-source 198.51.100.41\n"
    "-A POSTROUTING -m set --match-set SERVERS dst,dst -j SNAT --to-source 198.51.100.42\n"
    "-A POSTROUTING -m set --match-set BOTH src -j SNAT --to-source 198.51.100.43\n"
    "-A POSTROUTING -m set ! --match-set LOOP dst,dst -j SNAT --to-source 198.51.100.44",
    "recent": "-A PREROUTING -d 10.96.0.1/32 -m recent --name S --rcheck --seconds 100 --hitcount 2 --rsource "
    "-j DNAT --to-destination 10.244.1.7\n"
    "-A PREROUTING -d 10.96.0.1/32 -m recent --name S --set --rsource -j DNAT --to-destination 10.244.1.8\n"
    "-A POSTROUTING -o eth0 -m recent --name D --update --rdest --rttl -j SNAT --to-source 198.51.100.45\n"
    "-A POSTROUTING -o eth0 -m recent --name D --set --rdest -j SNAT --to-source 198.51.100.46",
    "limit": "-A POSTROUTING -p udp -m limit --limit 3/hour --limit-burst 4 -j SNAT --to-source 198.51.100.47\n"
    "-A POSTROUTING -m ttl --ttl-lt 64 -m dscp ! --dscp 0x0a -m limit --limit 9/day --limit-burst 2 "
    "-j SNAT --to-source 198.51.100.48\n"
    "-A POSTROUTING -m physdev ! --physdev-is-bridged -m policy --dir out --pol none "
    "-m addrtype ! --src-type LOCAL --limit-iface-out -j SNAT --to-source 198.51.100.49",
    "reverse path": "COMMIT\n*raw\n-A PREROUTING -s 10.244.1.4/32 -m rpfilter --invert -j DROP\n"
    "-A PREROUTING -s 203.0.113.14/32 -m rpfilter -j DROP\n-A PREROUTING -s 10.244.1.5/32 -m rpfilter --loose -j DROP\n"
    "COMMIT\n*nat\n-A POSTROUTING -m pkttype --pkt-type unicast -m cpu ! --cpu 99 -o eth0 -j MASQUERADE",
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
        for n in range(3):
            yield "cni0", IP(src=src, dst="10.96.0.1") / UDP(sport=7000 + 10 * k + n, dport=53)
        yield "cni0", IP(src=src, dst=f"203.0.113.{k + 100 - k % 2}", tos=40) / UDP(sport=9000 + k, dport=7)
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
    made.load_sets(SETS)
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
