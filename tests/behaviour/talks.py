"""Random control connections of FTP through a NAT, in both families: what the helper reads, writes anew and expects."""

import random

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

import fastnat

ENDS = {4: ("10.244.1.2", "203.0.113.9", "198.51.100.10"), 6: ("fd01::2", "fd03::9", "fd02::1")}
RULES = (
    "*raw\n-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp\nCOMMIT\n"
    "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
)


def node(six):
    made = fastnat.Node()
    made.add_interface("cni0", ["fd01::1/64" if six else "10.244.1.1/24"])
    made.add_interface("eth0", ["fd02::1/64" if six else "198.51.100.10/24"])
    made.add_route("::/0" if six else "default", via="fd02::9" if six else "198.51.100.1", dev="eth0")
    (made.load_rules6 if six else made.load_rules)(RULES)
    return made


def commas(address, port, between=","):
    return between.join([*address.split("."), str(port >> 8), str(port & 255)])


def client_line(rng, six, address, port):
    """Return what a client may say about where it listens, often not quite."""
    family, mark = (2 if six else 1), rng.choice("||||!#")
    where = f"{mark}{address}{mark}{port}{mark}\r\n"
    said = [
        f"EPRT {mark}{family}{where}", f"eprt {mark}{family}{where}", f"EPRT {mark}{3 - family}{where}", "EPSV\r\n",
        "PASV\r\n", "NOOP\r\n", f"EPRT {mark}{family}{where[:-3]}\r\n", f"EPRT  {mark}{family}{where}",
    ]  # fmt: skip
    if not six:
        plain = commas(address, port)
        said += [
            f"PORT {plain}\r\n", f"PORT {plain}\r\n", f"port {plain}\r\n", f"PORT {plain}\n", f"PORT {plain}",
            f"PORT {commas(address, port, '.')}\r\n", f"PORT {plain},7\r\n", f"PORT 300,{plain[4:]}\r\n",
        ]  # fmt: skip
    return rng.choice(said)


def server_line(rng, six, address, port):
    """Return what a server may answer."""
    mark = rng.choice("|||!")
    where, extended = f"({mark * 3}{port}{mark})\r\n", "Extended Passive Mode"
    said = [
        f"229 Entering {extended} {where}", f"229 {where[:-3]}\r\n", f"229 {extended} OK {where}",
        f"229 ({mark * 3}{port}x{mark})\r\n", "200 ok\r\n",
    ]  # fmt: skip
    if not six:
        numbers = commas(address, port)
        said += [
            f"227 Entering Passive Mode ({numbers}).\r\n", f"227 Entering Passive Mode ({numbers}).\r\n",
            f"227 ={numbers}\r\n", f"227 no numbers\r\n227 {numbers}\r\n", f"227 {port}\r\n",
        ]  # fmt: skip
    return rng.choice(said)


def talk(seed, turns=10):
    """Yield (interface, datagram) of a control connection and of data connections; it is sent what came out."""
    rng = random.Random(seed)
    six = seed % 2 == 1
    client, server, seen = ENDS[6 if six else 4]
    ip = IPv6 if six else IP
    mine, theirs = rng.choice([100, 2**32 - 60]), 7000
    # what the server has seen of the client, which may be longer or shorter than what the client said
    acked = mine + 1

    def segment(way, flags, data=b"", at=None):
        src, dst, sport, dport = (client, server, 4000, 21) if way == 0 else (server, seen, 21, 4000)
        seq, ack = (mine, theirs) if way == 0 else (theirs, acked)
        tcp = TCP(sport=sport, dport=dport, flags=flags, seq=(seq if at is None else at) % 2**32, ack=ack % 2**32)
        return "cni0" if way == 0 else "eth0", bytes(ip(src=src, dst=dst) / tcp / data)

    yield segment(0, "S")
    mine += 1
    yield segment(1, "SA")
    theirs += 1
    yield segment(0, "A")
    for _ in range(turns):
        port = rng.choice([1024, 2000, 40000, 65535, 20, 256])
        address = rng.choice([client, client, client, server])
        data = client_line(rng, six, address, port).encode()
        cut = rng.randrange(1, len(data)) if rng.random() < 0.15 else len(data)
        for piece in filter(None, (data[:cut], data[cut:])):
            out = yield segment(0, "PA", piece)
            if rng.random() < 0.2:
                # the same once more
                yield segment(0, "PA", piece)
            mine += len(piece)
            passed = ip(out)[TCP] if out else None
            acked = passed.seq + len(bytes(passed.payload)) if passed else acked
        reply = server_line(rng, six, rng.choice([server, server, client]), port).encode()
        yield segment(1, "PA", reply)
        theirs += len(reply)
        yield segment(0, "A")
        for data_port in {port, port + 1} if rng.random() < 0.7 else ():
            back = ip(src=server, dst=seen) / TCP(sport=20, dport=data_port & 0xFFFF, flags="S", seq=5)
            forth = ip(src=client, dst=server) / TCP(sport=1000 + port % 7, dport=port, flags="S", seq=9)
            yield rng.choice([("eth0", bytes(back)), ("cni0", bytes(forth))])
        if rng.random() < 0.1:
            # from before the last change of lengths
            yield segment(0, "PA", b"NOOP\r\n", at=mine - 90)
