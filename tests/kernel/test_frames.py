"""Rules that ask for the frames of packets, beside the running kernel: devices with frames and one without."""

import contextlib
import fcntl
import os
import random
import re
import shutil
import struct
import time

import pytest

import fastnat
from kernel import recorder
from kernel.test_live import missing

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft"),
]

SEEDS = int(os.environ.get("FASTNAT_SEEDS", "4"))
# of TUNSETIFF: frames, packets; without a header of its own
KINDS = {"port1": 0x1002, "port2": 0x1002, "tun1": 0x1001}
NETWORKS = dict(zip(KINDS, (1, 2, 3), strict=True))
UDP = 17
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")


def own(name):
    return f"02:00:00:00:00:{NETWORKS[name]:02x}"


def host(family, name, number):
    return f"10.0.{NETWORKS[name]}.{number}" if family == 4 else f"fd00:{NETWORKS[name]}::{number:x}"


def mac(name, number):
    return f"02:00:00:00:{NETWORKS[name]:02x}:{number:02x}"


HOSTS = [(name, number) for name in KINDS for number in (9, 10, 11)]
MACS = [mac(name, number) for name, number in HOSTS if name != "tun1"] + [own("port1"), own("port2")]


class Wires(recorder.Namespace):
    """A namespace with two devices of Ethernet and one without frames."""

    def _open(self, interfaces):
        with self.inside():
            for name in interfaces:
                fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                self.fds[name] = fd
                fcntl.ioctl(fd, recorder.TUNSETIFF, struct.pack("16sH22s", name.encode(), KINDS[name], b""))

    def _configure(self, case):
        for key, value in (recorder.SYSCTLS[case.family] | case.sysctls).items():
            self.run("sysctl", "-qw", f"{key}={value}")
        self._open(KINDS)
        for name in KINDS:
            if name != "tun1":
                recorder.sh("ip", "-n", self.name, "link", "set", "dev", name, "address", own(name))
            recorder.sh("ip", "-n", self.name, "link", "set", "dev", name, "up")
            length = 24 if case.family == 4 else 64
            recorder.sh("ip", "-n", self.name, "addr", "add", f"{host(case.family, name, 1)}/{length}", "dev", name)
        for name, number in HOSTS:
            if name != "tun1":
                where = ("to", host(case.family, name, number), "lladdr", mac(name, number), "dev", name)
                recorder.sh("ip", "-n", self.name, "neigh", "replace", *where, "nud", "permanent")
        time.sleep(0.05)


class Plain:
    """What Wires asks of a case."""

    def __init__(self, family):
        self.family, self.sysctls = family, {}


def asked(rng, family):
    """Return a match that asks for a frame."""
    one, some = rng.choice(MACS), ", ".join(rng.sample(MACS, 3))
    ip = "ip" if family == 4 else "ip6"
    which, end = rng.choice(("saddr", "daddr")), rng.choice(("saddr", "daddr"))
    not_ = rng.choice(("", "!= "))
    hosts = ", ".join(f"{rng.choice(MACS)} . {host(family, *rng.choice(HOSTS))}" for _ in range(4))
    named = ", ".join(f'"{rng.choice(list(KINDS))}" . {m}' for m in rng.sample(MACS, 4))
    kind = rng.choice((ip, "0x0800", "0x86dd", "arp", "vlan"))
    return rng.choice((
        f"ether {which} {not_}{one}", f"ether {which} {not_}{{ {some} }}", f"ether {which} {not_}@known",
        f"ether {which} & 01:00:00:00:00:00 {not_ or '== '}00:00:00:00:00:00", f"ether type {not_}{kind}",
        f"ether {which} {not_}02:00:00:00:01:00-02:00:00:00:01:0a", f"ether saddr . {ip} {end} {not_}{{ {hosts} }}",
        f"iifname . ether {which} {not_}{{ {named} }}", f"@ll,{rng.choice((0, 48))},48 {not_}0x{one.replace(':', '')}",
        f"@ll,{8 * rng.randrange(14)},8 {not_}{rng.choice((0, 2, 8, 9))}",
        f"@ll,{16 * rng.randrange(7)},16 {not_}{rng.choice((0, 0x0200, 0x0800, 0x86DD))}",
        f"meta priority {not_}{rng.choice(('0', '0:2', '0:4', '0:6', '1:7'))}",
        f"meta mark & 0 == 0 meta priority set {rng.choice(('1:7', '0:2'))}",
        "vlan id 5", "vlan id != 5", f"iifname {not_}{rng.choice(list(KINDS))}", f"iif {not_}{rng.choice(list(KINDS))}",
        f"iiftype {not_}ether", f"oifname {not_}{rng.choice(list(KINDS))}",
        f"meta protocol {not_}{ip} ether {which} {not_}{one}", "meta protocol vlan",
        f"ether {which} {one} ether {rng.choice(('saddr', 'daddr', 'type'))} != {rng.choice((one, MACS[0]))}",
    ))  # fmt: skip


def fits(match):
    """Tell whether nft takes a match: a type is no address."""
    return not re.search(r"ether type != [0-9a-f:]{17}", match)


def drawn(rng, family, n):
    """Return matches that nft takes."""
    found = []
    while len(found) < n:
        match = asked(rng, family)
        if fits(match):
            found.append(match)
    return found


def rules(rng, family):
    """Return rules that count what they ask of frames, at every hook."""
    proto = rng.choice(("inet", "ip" if family == 4 else "ip6"))
    known = f" set known {{ type ether_addr; elements = {{ {', '.join(rng.sample(MACS, 4))} }}; }}\n"
    text = f"table {proto} t {{\n{known}"
    for hook in HOOKS:
        counted = "".join(f"  {match} counter\n" for match in drawn(rng, family, 6))
        only = f"  meta l4proto != {UDP} accept\n"
        priority = rng.choice((-300, -150, 0, 150, 300))
        text += f" chain {hook} {{\n  type filter hook {hook} priority {priority};\n{only}{counted} }}\n"
    text += "}\n"
    if rng.random() < 0.6:
        text += f"table netdev n {{\n{known}"
        header = "ip protocol" if family == 4 else "ip6 nexthdr"
        for hook in ("ingress", "egress"):
            device = rng.choice(list(KINDS))
            counted = "".join(f"  {m} counter\n" for m in drawn(rng, family, 6) if "vlan" not in m)
            only = f"  {header} != {UDP} accept\n"
            text += f" chain {hook} {{\n  type filter hook {hook} device {device} priority 0;\n{only}{counted} }}\n"
        text += "}\n"
    if rng.random() < 0.5:
        ip = "ip" if family == 4 else "ip6"
        text += (
            f"table {ip} nat {{\n chain post {{\n  type nat hook postrouting priority 100;\n"
            f"  oifname {rng.choice(list(KINDS))} masquerade\n }}\n}}\n"
        )
    return text


def datagram(rng, family, name, number):
    """Return a packet of UDP of a host to another one, or to the node."""
    to, far = rng.choice(HOSTS)
    dst = host(family, to, rng.choice((far, far, far, 1)))
    src = host(family, name, number)
    udp = struct.pack("!HHHH", rng.randrange(1024, 1030), 9, 12, 0) + b"text"
    ends = b"".join(fastnat.addresses.family_of(a).to_int(a).to_bytes(4 if family == 4 else 16) for a in (src, dst))
    tos = rng.choice((0, 0, rng.randrange(256)))
    if family == 6:
        return struct.pack("!IHBB", 6 << 28 | tos << 20, len(udp), UDP, 64) + ends + udp
    head = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(udp), 7, 0, 64, UDP, 0) + ends
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + ends + udp


def counts(listing):
    """Return the counters of a listing with the rules in front of them."""
    return [line.strip() for line in listing.splitlines() if "counter packets" in line]


@pytest.mark.slow
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_frames(seed, family, tmp_path):
    rng = random.Random(f"frames {seed} {family}")
    text = rules(rng, family)
    wires = Wires(Plain(family))
    with contextlib.closing(wires):
        six = ["-6"] if family == 6 else []
        for file, words in (
            ("addr.json", ("-d", "addr")), ("neigh.json", ("neigh",)), ("route.json", ("route",)),
            ("route6.json", ("-6", "route")),
        ):  # fmt: skip
            (tmp_path / file).write_text(wires.ip(*words) if words[0] != "-6" or six else "[]")
        wires.run("nft", "-f", "-", text=text)
        (tmp_path / "rules.nft").write_text(wires.run("nft", "list", "ruleset"))
        engine = fastnat.Engine(fastnat.Node.load(tmp_path), seed=seed)
        for n in range(150):
            name, number = rng.choice(HOSTS)
            data = datagram(rng, family, name, number)
            if name == "tun1":
                wires.inject(name, data)
                engine.process_packet(data, name, now=n * 0.01)
                continue
            sender = rng.choice((mac(name, number), rng.choice(MACS)))
            link = bytes.fromhex((own(name) + sender).replace(":", ""))
            wires.inject(name, link + struct.pack("!H", 0x0800 if family == 4 else 0x86DD) + data)
            # what the neighbours say, the frame need not
            plain = sender == mac(name, number) and rng.random() < 0.5
            engine.process_packet(data, name, now=n * 0.01, link=b"" if plain else link)
            wires.drain(0)
        time.sleep(0.05)
        said, here = counts(wires.run("nft", "list", "ruleset")), counts(engine.list_nft())
        assert here == said
