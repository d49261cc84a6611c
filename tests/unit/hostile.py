# ruff: noqa: E501 (tables of text)
"""What the tests of hostile text share: valid inputs, damage, and what a loader may do with it."""

import copy
import json

from hypothesis import strategies as st
from nodes import make_node

import fastnat
from fastnat.errors import FastnatError

RULES = """*raw
:PREROUTING ACCEPT [12:345]
-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
COMMIT
*mangle
-A FORWARD -m limit --limit 5/second --limit-burst 20 -j MARK --set-xmark 0x1/0xff
-A FORWARD -m hashlimit --hashlimit-upto 9/second --hashlimit-burst 7 --hashlimit-mode srcip,dstport --hashlimit-name h -j DROP
-A FORWARD -m recent --name seen --rcheck --seconds 3 --hitcount 4 --rsource -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:WEB - [0:0]
[3:180] -A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -m comment --comment "a \\"b\\" c" -j WEB
-A WEB -m statistic --mode nth --every 3 --packet 1 -j DNAT --to-destination 10.244.2.5:8080
-A WEB -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.244.2.6-10.244.2.8:80-90
-A WEB -m multiport --dports 1:5,80,443 -j RETURN
-A WEB -m set --match-set peers src,dst -m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT
-A POSTROUTING -s 10.244.0.0/16,10.245.0.0/255.255.0.0 ! -d 10.0.0.0/8 -o eth0 -j MASQUERADE --to-ports 2000-3000 --random-fully
-I POSTROUTING 1 -s 10.1.0.0/16 -j SNAT --to-source 198.51.100.7-198.51.100.9
-D POSTROUTING 1
COMMIT
"""
LISTING = """Chain INPUT (policy ACCEPT 12 packets, 3K bytes)
 pkts bytes target     prot opt in     out     source               destination
   10   600 ACCEPT     tcp  --  eth0   *       0.0.0.0/0            10.0.0.0/8           tcp dpt:80 state NEW
    1    60 DROP       icmp --  *      *       192.0.2.0/24         0.0.0.0/0            icmptype 8 /* a */ flags:0x02/0x17
Chain WEB (1 references)
 pkts bytes target     prot opt in     out     source               destination
    0     0 DNAT       tcp  --  *      *       0.0.0.0/0            10.0.0.1             tcp dpt:80 to:10.0.0.2:8080
    0     0 RETURN     all  --  *      *       0.0.0.0/0            0.0.0.0/0            recent: SET name: x side: source
"""
PASTED = """root@node:~# iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE
$ sudo iptables -A INPUT -s 10.0.0.1,10.0.0.2 -d 10.1.0.1,10.1.0.2 -j DROP
# iptables -F INPUT
"""
SETS = """create peers hash:ip family inet hashsize 1024 maxelem 65536
add peers 10.0.0.1
add peers 10.0.1.0/28
create ports hash:ip,port family inet
add ports 10.0.0.1-10.0.0.4,tcp:80-90
add ports 10.0.0.1,icmp:echo-request
create nets hash:net family inet6
add nets 2001:db8::/32 nomatch
create p bitmap:port range 0-65535
add p 1-9
create all list:set size 8
add all peers
"""
SERVICES = """-A -t 198.51.100.10:80 -s wrr -p 360 -M 255.255.0.0
-a -t 198.51.100.10:80 -r 10.244.1.8:8080 -m -w 3
-A -f 7 -s rr
-a -f 7 -r 10.244.1.9:0 -m -w 1 -x 0 -y 0
"""
SERVICES_LISTED = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  198.51.100.10:443 sh persistent 600 mask 255.255.255.0
  -> 10.244.1.8:443               Masq    1      0          0
FWM  7 IPv6 rr
"""
DUMP = """udp      17 29 src=10.244.2.2 dst=203.0.113.10 sport=40000 dport=53 [UNREPLIED] src=203.0.113.10 dst=198.51.100.10 sport=53 dport=41000 mark=7 use=1
ipv4     2 tcp      6 431999 ESTABLISHED src=10.244.2.3 dst=203.0.113.9 sport=4000 dport=21 src=203.0.113.9 dst=198.51.100.10 sport=21 dport=4000 [ASSURED] mark=0 helper=ftp use=1
ipv4     2 icmp     1 29 src=10.244.2.4 dst=203.0.113.9 type=8 code=0 id=77 src=203.0.113.9 dst=198.51.100.10 type=0 code=0 id=77 mark=0 zone=3 use=2
gre      47 100 src=10.244.2.4 dst=203.0.113.9 srckey=0x1 dstkey=0x2 src=203.0.113.9 dst=198.51.100.10 srckey=0x2 dstkey=0x1 mark=0 use=1
ipv6     10 sctp     132 9 ESTABLISHED src=fd01::2 dst=fd03::9 sport=1 dport=2 src=fd03::9 dst=fd02::1 sport=2 dport=1 [ASSURED] mark=0 zone-orig=9 use=1
unknown  2 599 src=10.0.0.1 dst=224.0.0.1 [UNREPLIED] src=224.0.0.1 dst=10.0.0.1 mark=0 use=1
"""
ADDRESSES = [
    {"ifindex": 1, "ifname": "lo", "flags": ["LOOPBACK", "UP"], "mtu": 65536,
     "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
    {"ifindex": 2, "ifname": "eth0", "flags": ["UP"], "mtu": 1500,
     "addr_info": [{"family": "inet", "local": "198.51.100.10", "prefixlen": 24, "scope": "global"},
                   {"family": "inet", "local": "198.51.100.12", "prefixlen": 24, "address": "198.51.100.13"},
                   {"family": "inet6", "local": "fd02::1", "prefixlen": 64, "deprecated": True}]},
]  # fmt: skip
ROUTES = [
    {"dst": "default", "gateway": "198.51.100.1", "dev": "eth0", "metric": 100},
    {"dst": "10.0.0.0/8", "type": "blackhole"},
    {"dst": "10.1.0.0/16", "nexthops": [{"gateway": "198.51.100.2", "dev": "eth0", "weight": 1}]},
]
SCENARIO = """[node]
profile = "linux-5.4"

[workload]
proto = "tcp"
destinations = ["203.0.113.10:443", "203.0.113.11:443"]
zipf = 1.1
rate = 800
hold = "exp:5s"
clients = 200
sport = "random"
requests_per_connection = 2

[[stage]]
for = "2m"
rate = 100
to = 800

[vary]
addresses = [1, 2]
tcp-time-wait = [120, 30]
random-fully = [false, true]

[run]
seeds = 2
"""
# pieces that break readers: numbers of any size and kind, halves of characters, what opens and is never closed
ODD = [
    "9" * 5000, "0x" + "f" * 5000, "-1", "4294967296", "18446744073709551616", "1e400", "nan", "Infinity", "-0", "00",
    "07", "1_0", "\u00b2", "\u0663", "\0", "\r", "\n", "\r\n", "\x0b", "\x1f", "\x85", "\u2028", "\ufeff", "\ud800", "é", '"', "'",
    "\\", "!", ",", "-", "/", ":", "=", "[", "]", "{", "}", "*", "#", "%", " ", "\t", "::1", "0.0.0.0/0", "256.1.1.1",
    "-s 1.1.1.1,2.2.2.2 ", "--every 2 ", "--mode nth ", "--ttl 5 ", "65536", "300", "src=", "dport=", "icmp:300/0",
    "a" * 300, "1.1.1.1," * 50, "! " * 2000, "[" * 2000,
]  # fmt: skip
VALUES = [
    None, True, False, 0, -1, 1.5, 10**30, 10**5000, float("inf"), float("nan"), "", "x", "\ud800", "\0", "9" * 5000, [],
    [[]], {}, {"a": 1}, [None], "1.1.1.1", "::1", 65536, 2**64, [1, 2], ["a", 1], "a" * 300,
]  # fmt: skip


def damaged(text, draw):
    """Return text with a few pieces cut out, put in, doubled or exchanged."""
    for _ in range(draw(st.integers(1, 4))):
        a = draw(st.integers(0, len(text)))
        b = min(a + draw(st.sampled_from([0, 1, 2, 5, 20, 200])), len(text))
        kind = draw(st.integers(0, 3))
        piece = (draw(st.sampled_from(ODD)), draw(st.text(max_size=5)), text[a:b] * 2, "")[kind]
        text = text[:a] + piece + text[b:]
    return text


def damaged_tree(tree, draw):
    """Return a tree of dicts and lists in which one or two values are others."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 2))):
        here, places = tree, []
        while isinstance(here, (dict, list)) and here:
            key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
            places.append((here, key))
            here = here[key]
        if places:
            holder, key = places[draw(st.integers(0, len(places) - 1))]
            value = copy.deepcopy(draw(st.sampled_from(VALUES)))
            if draw(st.booleans()) and isinstance(holder, dict):
                holder.pop(key)
                holder[draw(st.sampled_from(["x", "", key]))] = value
            else:
                holder[key] = value
    return tree


def as_json(tree):
    """Return a tree as Python's json writes it, an integer of more digits than it prints by hand."""
    marked = json.dumps(tree, default=str) if not _has_giant(tree) else json.dumps(_without_giants(tree))
    return marked.replace('"GIANT"', "9" * 5000)


def _has_giant(tree):
    if isinstance(tree, dict):
        return any(map(_has_giant, tree.values()))
    if isinstance(tree, list):
        return any(map(_has_giant, tree))
    return isinstance(tree, int) and abs(tree) >= 10**4300


def _without_giants(tree):
    if isinstance(tree, dict):
        return {k: _without_giants(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_without_giants(v) for v in tree]
    return "GIANT" if _has_giant(tree) else tree


def loads(call):
    """Return what a loader returned, None where it refused; nothing but FastnatError may get out of it."""
    try:
        return call(), True
    except FastnatError as error:
        refused = str(error)
    assert len(refused) < 5000
    return None, False


def node_of_both():
    """Return a node of both families."""
    node = make_node()
    node.add_address("eth0", "fd02::1/64")
    node.load_sets("create peers hash:ip family inet\nadd peers 10.0.0.1\n")
    return node


def runs(node):
    """Make an engine of a node that was loaded, and open a flow: or have it refused."""

    def go():
        nat = fastnat.Engine(node, max_connections=50)
        nat.process(nat.packets(proto="udp", src="10.244.1.9", sport=7, dst="203.0.113.9", dport=9, iface=1), 1.0)
        for core in (stack.core for stack in nat.stacks.values()):
            core.check_invariants()

    loads(go)
