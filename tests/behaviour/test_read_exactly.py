"""Messages read to their last byte and no further: cut ones with the rest behind them, chunks and blocks."""

import random

import pytest
from behaviour.test_corner_steps import CLIENT, FAMILIES, LAYERS, OWN, SERVER, router
from behaviour.test_ipvs_again import shown
from behaviour.test_ipvs_families import OF, node_of
from kernel.bound_rules import datagram
from kernel.handmade import chunk, sctp
from scapy.layers.inet import TCP, UDP

import fastnat
from fastnat import Verdict

RULES = "*raw\n{}COMMIT\n*nat\n-A POSTROUTING -o r1 -j MASQUERADE\nCOMMIT\n".format(
    "".join(
        f"-A PREROUTING -p {proto} -m {proto} --dport {port} -j CT --helper {name}\n"
        for name, proto, port in (("ftp", "tcp", 21), ("tftp", "udp", 69), ("pptp", "tcp", 1723))
    )
)


def helped(family, rules=RULES):
    """Return an engine with helpers, of which IPv6 has no PPTP."""
    return fastnat.Engine(
        router(family, "".join(line for line in rules.splitlines(True) if family == 4 or "pptp" not in line))
    )


def pptp(message, body, size):
    return bytes.fromhex("00000001 1a2b3c4d") + bytes([0, message, 0, 0]) + body.ljust(size, b"\0")


class Session:
    """A connection of TCP through the masquerade: what its ends say, as packets."""

    def __init__(self, family, dport, client=None):
        self.family, self.dport, self.at = family, dport, [100, 200]
        self.client = client or CLIENT[family]

    def segment(self, way, flags, data=b"", options=(), ack=None):
        """Return the device and the packet of the next segment; way: 0 of the client, 1 of the server."""
        server, own = SERVER[self.family], OWN[self.family]
        src, dst = (self.client, server) if way == 0 else (server, own)
        ports = (4000, self.dport) if way == 0 else (self.dport, 4000)
        layer = LAYERS[self.family](src=src, dst=dst)
        ack = (self.at[1 - way] if ack is None else ack) if "A" in flags else 0
        seq, self.at[way] = self.at[way], self.at[way] + len(data) + ("S" in flags)
        tcp = TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, ack=ack % 2**32, options=list(options))
        return ("r0", "r1")[way], bytes(layer / tcp / data)

    def opened(self):
        """Return the handshake and, for FTP, which is read line by line, a first line of each end."""
        made = [self.segment(0, "S"), self.segment(1, "SA"), self.segment(0, "A")]
        if self.dport == 21:
            made += [self.segment(1, "PA", b"220 .\n"), self.segment(0, "PA", b"NOOP\r\n")]
        return made


def spoken(family, name):
    """Return the packets in front of a message, what makes a packet of a part of it, and the whole message."""
    if name == "tftp":
        ends = LAYERS[family](src=CLIENT[family], dst=SERVER[family])
        return [], lambda part: ("r0", bytes(ends / UDP(sport=4000, dport=69) / part)), b"\0\1boot\0octet\0"
    session = Session(family, 21 if name != "pptp" else 1723)
    before = session.opened()
    if name == "pptp":
        for way, message in ((0, pptp(1, b"", 144)), (1, pptp(2, b"\0\0\1", 144)), (0, pptp(7, b"\0\7", 156))):
            before.append(session.segment(way, "PA", message))
        return (
            before,
            lambda part: session.segment(1, "PA", part),
            pptp(8, b"\0\5" + (4000).to_bytes(2, "big") + b"\1", 20),
        )
    said = {4: "PORT 10,1,0,2,7,1\r\n", 6: "EPRT |2|fd01::2|1793|\r\n"}[family]
    if name == "ftp, the server":
        said = {4: "227 Entering (203,0,113,9,7,1).\r\n", 6: "229 Entering (|||1793|)\r\n"}[family]
    way = int(name != "ftp")
    return before, lambda part: session.segment(way, "PA", part), said.encode()


# of IPv6 the kernel has no helper of PPTP
@pytest.mark.one_of(2)
@pytest.mark.parametrize(
    ("name", "family"),
    [(n, f) for n in ("tftp", "ftp", "ftp, the server", "pptp") for f in (4, 6) if f == 4 or n != "pptp"],
)
def test_what_lies_behind_a_datagram_is_not_read(name, family):
    """A message cut at any byte, with the rest of it as padding: the same packets, statistics and expectations."""
    whole, announced = spoken(family, name)[2], []
    for size in range(len(whole) + 1):
        told = []
        for padding in (b"", whole[size:] + bytes(8)):
            nat = helped(family)
            before, make, _ = spoken(family, name)
            for iface, packet in before:
                assert nat.process_packet(packet, iface)[0] == Verdict.FORWARD
            iface, packet = make(whole[:size])
            told.append((nat.process_packet(packet + padding, iface), nat.stats, nat.conntrack.format()))
        assert told[0] == told[1], size
        announced.append(told[0][1]["expect_create"] > 0)
    # what is as long as it has to be announces something, however much of it is missing then
    least = {"tftp": 2, "pptp": len(whole)}.get(name, announced.index(True))
    assert announced == [size >= least for size in range(len(whole) + 1)]


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("seed", range(2))
def test_the_edges_of_selective_acknowledgements(family, seed):
    """nf_ct_sack_adjust: either edge of each block goes as the acknowledgement does."""
    rng = random.Random(seed)
    for n in range(20):
        # longer than the address of the router, or shorter
        client = {4: f"10.1.{n}.{rng.choice((22, 222))}", 6: f"fd01::{rng.choice(('2', '2:2:2:2:2'))}"}[family]
        nat, session = helped(family), Session(family, 21, client)
        for iface, packet in session.opened():
            nat.process_packet(packet, iface)
        before, by = 0, 0
        for _ in range(rng.randrange(1, 3)):
            said = f"PORT {client.replace('.', ',')},7,1\r\n" if family == 4 else f"EPRT |2|{client}|1793|\r\n"
            at = session.at[0]
            _, out = nat.process_packet(session.segment(0, "PA", said.encode())[1], "r0")
            before, by = by, by + len(LAYERS[family](out)[TCP].payload) - len(said)
            assert by != before
        # what the server lacks, in its numbers
        edges = sorted(rng.sample(range(at + before - 9, at + len(said) + max(by, 0) + 40), 6))
        blocks = ("SAck", tuple(edges[: 2 * rng.randrange(1, 4)]))
        options = rng.choice([[("NOP", None), ("NOP", None), blocks], [blocks], [("Timestamp", (1, 2)), blocks]])
        ack = rng.randrange(at + before - 9, edges[0] + 1)
        _, out = nat.process_packet(session.segment(1, "A", options=options, ack=ack)[1], "r1")
        tcp = LAYERS[family](out)[TCP]
        known = {number: number - (by if number - before > at else before) for number in (ack, *edges)}
        assert tcp.ack == known[ack]
        assert dict(tcp.options)["SAck"] == tuple(known[edge] for edge in blocks[1])


@FAMILIES
def test_an_abort_behind_a_cookie_of_any_length(family):
    """set_sctp_state looks at the chunk behind COOKIE ECHO and COOKIE ACK, each padded to four bytes."""
    front = "--sctp-service {service}:53"
    server = shown(family)["there"]
    node = node_of(family, f"-A {front} -s rr\n-a {front} -r {server}:53 -m -w 1\n")
    nat, pod, service = fastnat.Engine(node), OF[family]["pod"], OF[family]["service"]
    cases = [(kind, length, beside) for kind in (0, 3, 10, 11, 5) for length in range(4, 14) for beside in (-4, 0, 4)]
    closed = set()
    for port, (kind, length, beside) in enumerate(cases, 1000):
        # the first chunk is padded to four bytes, and the other one begins there, or beside it
        first = bytes([kind, 0]) + length.to_bytes(2, "big") + b"\1" * (length - 4)
        at = (length + 3) // 4 * 4 + beside
        if (kind in (10, 11) and beside == 0) or at == 0:
            closed.add(str(port))
        for packet in (
            sctp(port, 53, 0, chunk(1, body=bytes(16))),
            sctp(port, 53, 7, first.ljust(at, b"\0")[:at] + chunk(6)),
        ):
            nat.process_packet(datagram(family, 132, packet, ends=(pod, service)), "cni0", 0.0)
    listed = [line.split() for line in nat.service_connections(family).splitlines() if "CLOSED" in line]
    assert {words[3].rpartition(":")[2] for words in listed} == closed
    nat.check()
