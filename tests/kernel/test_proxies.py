"""Packets that rules give to a proxy on the node: a transparent proxy listens, and counters and packets are compared.

What the proxy answers is passed to the engine as the node's own packet.
"""

import contextlib
import re
import socket

import pytest

import fastnat
from kernel import gateway
from kernel.cases import IP, TCP, UDP, IPv6
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel
IPV6_TRANSPARENT, PORT = 75, 3128
CLIENT, FAR, OWN = {4: "10.244.1.2", 6: "fd01::2"}, {4: "203.0.113.9", 6: "fd03::9"}, {4: "10.244.1.1", 6: "fd01::1"}
NODE = {
    "devices": {"cni0": 1500, "wan0": 1500},
    "ip": [
        "addr add 10.244.1.1/24 dev cni0", "addr add 198.51.100.10/24 dev wan0", "route add default dev wan0",
        "rule add fwmark 1 lookup 100", "route add local default dev lo table 100",
        "-6 addr add fd01::1/64 dev cni0 nodad", "-6 addr add fd02::10/64 dev wan0 nodad",
        "-6 route add default dev wan0", "-6 rule add fwmark 1 lookup 100",
        "-6 route add local default dev lo table 100",
    ],
    "sysctls": {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}, "sets": "", "rules4": None,
    "rules6": None,
}  # fmt: skip
# chains that count what passes each hook
COUNTED = """
 chain in { type filter hook input priority 0
 meta mark 1 counter
 counter
 }
 chain passed { type filter hook forward priority 0
 counter
 }
 chain out { type nat hook postrouting priority srcnat
 oifname "wan0" counter
 }
"""
MARKED = "meta mark set 1"
RULES = [
    f"meta l4proto {{ tcp, udp }} tproxy to {{own}}:{PORT} counter {MARKED} accept",
    f"ct state invalid counter\nmeta l4proto tcp socket transparent 1 counter {MARKED} accept\n"
    f"meta l4proto {{ tcp, udp }} tproxy to {{own}}:{PORT} counter {MARKED}",
    # without a mark its route leads on: it is dropped
    f"meta l4proto tcp tproxy to {{own}}:{PORT} counter",
    f"meta l4proto udp tproxy to {{own}}:{PORT} counter {MARKED}\ntcp dport 80 tproxy to {{own}}:{PORT} counter",
    f"tcp dport 80 tproxy to :{PORT} counter {MARKED}\ncounter",
    # a connection that was led on at first
    f"udp length > 60 tproxy to {{own}}:{PORT} counter",
    f"{{other}} tproxy {{family}} to {{own}}:{PORT} counter",
]  # fmt: skip


def native(rule, version, priority):
    """Return rules for one family; in those of both, `tproxy` says its own."""
    own = {4: "127.0.0.1", 6: "[::1]"}[version]
    family = {4: "ip", 6: "ip6"}[version]
    said = rule.replace("{own}", own).replace("{family}", family).replace("{other}", "meta l4proto tcp")
    kind = "inet" if "{family}" in rule else family
    return (
        f"table {kind} t {{\n chain pre {{ type filter hook prerouting priority {priority};\n"
        f' iifname "cni0" jump given\n }}\n chain given {{\n{said}\n }}\n{COUNTED}}}\n'
    )


@contextlib.contextmanager
def proxy(version):
    """Listen on all ports that rules say, for any address."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    option = (socket.SOL_IP, socket.IP_TRANSPARENT) if version == 4 else (socket.IPPROTO_IPV6, IPV6_TRANSPARENT)
    with contextlib.ExitStack() as stack:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            listener = stack.enter_context(socket.socket(family, kind))
            listener.setsockopt(*option, 1)
            listener.bind(("", PORT))
            if kind == socket.SOCK_STREAM:
                listener.listen()
        yield


def sent(version):
    """Yield what a client sends; each answer is what came out for it."""
    ip = IP if version == 4 else IPv6
    ends = ip(src=CLIENT[version], dst=FAR[version])
    answer = yield ends / TCP(sport=4000, dport=80, flags="S", seq=100)
    heard = ip(answer)[TCP].seq + 1 if answer else 0
    yield ends / TCP(sport=4000, dport=80, flags="A", seq=101, ack=heard)
    yield ends / TCP(sport=4000, dport=80, flags="PA", seq=101, ack=heard) / b"hello"
    yield ends / UDP(sport=4001, dport=53) / b"abc"
    yield ends / UDP(sport=4001, dport=53) / b"abc"
    yield ends / UDP(sport=4001, dport=53) / bytes(80)
    yield ends / TCP(sport=4002, dport=81, flags="S", seq=7)
    yield ends / (IP if version == 4 else IPv6)(src=CLIENT[version], dst=OWN[version])
    yield ip(src=CLIENT[version], dst=OWN[version]) / UDP(sport=4003, dport=9) / b"x"


def counts(text):
    return re.findall(r"packets (\d+) bytes (\d+)", text)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("priority", [-250, -150])
@pytest.mark.parametrize("rule", RULES)
def test_tproxy(rule, priority, version, tmp_path):
    kernel = gateway.Gateway(NODE)
    try:
        files = kernel.files() | {"rules.nft": native(rule, version, priority)}
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        engine = fastnat.Engine(fastnat.Node.load(tmp_path))
        gateway.sh("nft", "-f", "-", text=files["rules.nft"])
        with proxy(version):
            run(kernel, engine, version)
        assert counts(engine.list_nft()) == counts(gateway.sh("nft", "list", "ruleset"))
    finally:
        kernel.close()


def run(kernel, engine, version):
    """Send the same packets through both; compare what is forwarded."""
    talk, answer = sent(version), None
    while True:
        try:
            packet = bytes(talk.send(answer))
        except StopIteration:
            return
        verdict, mine = engine.process_packet(packet, "cni0")
        forwarded = verdict == fastnat.Verdict.FORWARD
        out = kernel.go("cni0", packet, 1)
        answers = [data for device, data in out if device == "cni0"]
        assert [data for device, data in out if device != "cni0"] == ([mine] if forwarded else [])
        answer = answers[0] if answers and not forwarded else None
        for data in answers:
            engine.process_packet(data, "local")


# the same with iptables: a chain for what a proxy's socket has, and a queue at which no program listens
TABLES = f"""*mangle
:PREROUTING ACCEPT [0:0]
:DIVERT - [0:0]
-A PREROUTING -i cni0 -p tcp -m socket --transparent -j DIVERT
-A PREROUTING -i cni0 -p tcp -m tcp --dport 80 -j TPROXY --on-port {PORT} --tproxy-mark 0x1/0x1
-A PREROUTING -i cni0 -p tcp -m tcp --dport 81 -j TPROXY --on-port {PORT}
-A PREROUTING -i cni0 -p udp -m udp --dport 53 -j TPROXY --on-port {PORT} --tproxy-mark 0x3/0x2
-A PREROUTING -i cni0 -p udp -j TPROXY --on-port {PORT} --tproxy-mark 0x1
-A PREROUTING -i cni0 -j NFQUEUE --queue-num 7 --queue-bypass
-A PREROUTING -i cni0 -j DROP
-A DIVERT -j MARK --set-mark 1
-A DIVERT -j ACCEPT
COMMIT
*filter
-A INPUT -m mark --mark 0x1
-A INPUT -m conntrack --ctstate NEW
-A FORWARD -m mark --mark 0x1
-A FORWARD -i cni0
COMMIT
"""


def counted(text):
    """Return the counters of rules, but of those in raw, where the namespace has one of its own."""
    return [line.split()[0] for line in text[text.index("*mangle") :].split("*raw")[0].splitlines() if line[0] == "["]


@pytest.mark.parametrize("version", [4, 6])
def test_tables_of_iptables(version, tmp_path):
    kernel = gateway.Gateway({**NODE, f"rules{version}": TABLES})
    try:
        for name, text in kernel.files().items():
            (tmp_path / name).write_text(text)
        engine = fastnat.Engine(fastnat.Node.load(tmp_path))
        with proxy(version):
            run(kernel, engine, version)
        saved = gateway.sh(f"{gateway.TOOLS[version]}-save", "-c", "-t", "mangle")
        saved += gateway.sh(f"{gateway.TOOLS[version]}-save", "-c", "-t", "filter")
        assert len(set(counted(saved))) > 2
        assert sorted(counted(engine.save_rules(version))) == sorted(counted(saved))
    finally:
        kernel.close()
