"""The same work elsewhere: the kernel, Open vSwitch, a plain Python dict, NumPy arrays. `make peers` prints one table.

Workload: every flow has a source and a destination of its own and is masqueraded to 198.51.100.10 or 2001:db8:b::1, or
clients reach a server through DNAT; then packets of flows that exist, in random order. Connections of TCP have shaken
hands. Of UDP, too: new flows to one destination to which 72,000 went before, for 64,512 ports.
"""

from workloads import DNAT, IPV6, TCP, Kind

NAT, SERVER, NAT6 = 0xC633640A, 0x0AF40707, 0x20010DB8000B00000000000000000001
KINDS = {"UDP": Kind(), "TCP": TCP, "UDP, DNAT": DNAT, "UDP over IPv6": IPV6}


def flow(k, kind=KINDS["UDP"]):
    """Return flow number k: source, destination, source port; numbers of Python's where a kind is of IPv6."""
    client = k % 60_000
    return kind.src + client, kind.dst + client * kind.spread, 1024 + k // 60_000 + client * kind.own_ports


def rules(kind):
    """Return what iptables-restore reads for a kind of flows."""
    way = (
        "-A PREROUTING -d 198.51.100.10 -p udp --dport 8000 -j DNAT --to-destination 10.244.7.7:53"
        if kind.dst == NAT
        else "-A POSTROUTING -o eth0 -j MASQUERADE"
    )
    return f"*nat\n{way}\nCOMMIT\n"
