"""Services of IPVS and what conntrack has of their connections, in both families: ports in use again, servers that are
gone, answers without an entry; random packets beside an engine that is reloaded and forked meanwhile."""

import random

import pytest
from behaviour.test_corner_steps import FAMILIES, LAYERS
from behaviour.test_ipvs_families import OF, node_of
from scapy.layers.inet import TCP, UDP

import fastnat
from fastnat import Verdict
from fastnat.addresses import FAMILIES as FAMILY
from fastnat.core.layout import IpvsFlag
from fastnat.dtypes import HZ

PROFILES = pytest.mark.parametrize("profile", ["linux-5.4", "linux-6.18"])
SERVERS = {4: [f"10.244.2.{n}" for n in (5, 6, 7)], 6: [f"fd00:2::{n}" for n in (5, 6, 7)]}


def services(family, ports, servers=(0, 1), scheduler="rr", weights=(1, 1, 1)):
    """Return services of TCP and UDP with real servers by their numbers."""
    shown = [f"[{at}]" if family == 6 else at for at in SERVERS[family]]
    lines = []
    for flag, port in ports:
        front = f"-{flag} {{service}}:{port}"
        lines.append(f"-A {front} -s {scheduler}")
        lines += [f"-a {front} -r {shown[k]}:{port + 1000} -m -w {weights[k]}" for k in servers]
    return "\n".join(lines) + "\n"


class Talk:
    """Packets of one client and the servers of a service."""

    def __init__(self, family, profile, saved, **sysctls):
        self.family = family
        node = node_of(family, saved)
        node.sysctls |= {f"net.ipv4.vs.{name}": str(value) for name, value in sysctls.items()}
        self.nat = fastnat.Engine(node, profile=profile, max_connections=1000)
        self.now = 0.0

    def send(self, l4, server=None):
        """Send to the service, or from a server to the client; return who gets it, None: it is dropped."""
        src, dst = (OF[self.family]["pod"], OF[self.family]["service"])
        if server is not None:
            src, dst = SERVERS[self.family][server], src
        layer = LAYERS[self.family]
        verdict, data = self.nat.process_packet(bytes(layer(src=src, dst=dst) / l4), "cni0", self.now)
        self.nat.check()
        if verdict == Verdict.DROP:
            return None
        out = layer(data)
        who = out.src if server is not None else out.dst
        return SERVERS[self.family].index(who) if who in SERVERS[self.family] else who

    def wait(self, seconds):
        self.now = round((self.now + seconds) * HZ) / HZ
        self.nat.advance(self.now)
        self.nat.check()

    def listed(self):
        """Return how many connections IPVS has, and how many conntrack."""
        return len(self.nat.service_connections(self.family).splitlines()[2:]), len(self.nat.conntrack)


def client(flags, seq=100, **more):
    return TCP(sport=40_000, dport=80, flags=flags, seq=seq, **{"ack": 501, **more})


def answer(flags, seq=500, ack=101):
    return TCP(sport=1080, dport=40_000, flags=flags, seq=seq, ack=ack)


@FAMILIES
@PROFILES
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("mode", [0, 1])
def test_a_client_s_port_in_use_again_and_what_conntrack_has_of_it(family, profile, known, mode):
    """known: conntrack takes the SYN for the old connection's, which a stray RST has ended for IPVS alone."""
    talk = Talk(family, profile, services(family, [("t", 80)]), conn_reuse_mode=mode)
    assert talk.send(client("S", ack=0)) == 0
    assert talk.send(answer("SA"), 0) == OF[family]["service"]
    assert talk.send(client("A", 101)) == 0
    assert talk.listed() == (1, 1)
    if known:
        talk.nat.node.sysctls["net.netfilter.nf_conntrack_tcp_be_liberal"] = "0"
        # far out of the window: invalid to conntrack, which lets it pass
        talk.send(client("R", 1 << 29, ack=0))
    else:
        for l4, server in ((client("FA", 101), None), (answer("FA", 501, 102), 0), (client("A", 102, ack=502), None)):
            assert talk.send(l4, server) is not None
    over = "CLOSE" if known else "TIME_WAIT"
    assert over in talk.nat.service_connections(family)
    talk.wait(1.0)
    said = talk.send(client("S", 1 << 30 if not known else 102, ack=0))
    if not mode:
        # it goes on with its server
        assert (said, talk.listed()) == (0, (1, 1))
        return
    lost = known or profile == "linux-5.4"
    assert said == (None if lost else 1)
    # the old one ends behind the packet, with its entry, unless that is the new one's by now
    talk.wait(1 / HZ)
    assert talk.listed() == ((0, 0) if lost else (1, 1))
    assert talk.send(client("S", 1 << 30, ack=0)) == 1
    assert talk.listed() == (1, 1)


@FAMILIES
@PROFILES
@pytest.mark.parametrize("forgotten", [True, False])
@pytest.mark.parametrize("expire", [0, 1])
def test_packets_whose_server_is_gone(family, profile, forgotten, expire):
    """forgotten: the entry of conntrack is over, that of IPVS, which lasts longer, is not."""
    talk = Talk(family, profile, services(family, [("u", 53)]), expire_nodest_conn=0)
    query = UDP(sport=40_000, dport=53) / b"?"
    assert talk.send(query) == 0
    talk.nat.node.load_services(services(family, [("u", 53)], (1, 2)).format(**shown(family)))
    talk.nat.reload()
    talk.nat.node.sysctls["net.ipv4.vs.expire_nodest_conn"] = str(expire)
    talk.nat.reload()
    talk.wait(40.0 if forgotten else 1.0)
    if expire and profile == "linux-6.18":
        # ended by the command itself (ip_vs_expire_nodest_conn_flush), with its entry
        assert talk.listed() == (0, 0)
        assert talk.send(query) == 1
        assert talk.listed() == (1, 1)
        return
    before = (1, 0 if forgotten else 1)
    assert talk.listed() == before
    assert talk.send(query) is None
    talk.wait(1 / HZ)
    # without expire_nodest_conn the server may come back; what was dropped leaves no entry that has begun with it
    assert talk.listed() == ((0, 0) if expire else before)


def shown(family):
    return {name: f"[{at}]" if family == 6 and name != "net" else at for name, at in OF[family].items()}


@FAMILIES
@PROFILES
def test_an_answer_whose_entry_is_gone_begins_one_with_the_service_in_it(family, profile):
    """ip_vs_update_conntrack for what a real server sends: the reply goes to the service."""
    talk = Talk(family, profile, services(family, [("u", 53)]))
    assert talk.send(UDP(sport=40_000, dport=53) / b"?") == 0
    talk.wait(60.0)
    assert talk.listed() == (1, 0)
    for _ in range(2):
        assert talk.send(UDP(sport=1053, dport=40_000) / b"!", 0) == OF[family]["service"]
        (c,) = talk.nat.conntrack
        kind = FAMILY[family]
        ends = [[kind.to_text(src), kind.to_text(dst), *ports] for src, dst, *ports in (c.original, c.reply)]
        pod, service = OF[family]["pod"], OF[family]["service"]
        assert ends == [[SERVERS[family][0], pod, 1053, 40_000], [pod, service, 40_000, 53]]


@FAMILIES
@PROFILES
def test_an_entry_from_before_the_service_keeps_its_reply(family, profile):
    """A confirmed tuple never changes: what the node had answered goes to a server, and conntrack is not told."""
    talk = Talk(family, profile, services(family, [("u", 99)]))
    query = UDP(sport=40_000, dport=53) / b"?"
    assert talk.send(query) == OF[family]["service"]
    before = talk.nat.conntrack.format()
    talk.nat.node.load_services(services(family, [("u", 53)]).format(**shown(family)))
    talk.nat.reload()
    assert talk.send(query) == 0
    assert talk.nat.conntrack.format() == before


def random_saved(draw, family):
    """Return services of any kind: whoever a service is of, and whatever its servers and their weights."""
    lines = []
    shown_ = [f"[{at}]" if family == 6 else at for at in SERVERS[family]]
    for flag, port in draw.sample([("t", 80), ("t", 0), ("u", 53), ("u", 0), ("t", 21)], draw.randint(1, 4)):
        kept = f" -p {draw.choice([1, 60])}" if port == 0 or draw.random() < 0.4 else ""
        once = " -o" if flag == "u" and draw.random() < 0.2 and not kept else ""
        front = f"-{flag} {{service}}:{port}"
        lines.append(f"-A {front} -s {draw.choice(['rr', 'wrr', 'lc', 'wlc', 'sh'])}{kept}{once}")
        lines += [
            f"-a {front} -r {server}:{draw.choice([port, 7000])} -m -w {draw.choice([0, 1, 2, 5])}"
            for server in draw.sample(shown_, draw.randint(1, 3))
        ]
    return ("\n".join(lines) + "\n").format(**shown(family))


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 20))])
def test_who_loads_the_same_again_goes_on_as_if_nothing_was(family, seed):
    """Servers count their connections, schedulers have their turn, clients their server over reloads and forks."""
    draw = random.Random(seed)
    saved = random_saved(draw, family)
    node = node_of(family, saved)
    names = ("conn_reuse_mode", "expire_nodest_conn", "expire_quiescent_template", "sloppy_tcp")
    node.sysctls |= {f"net.ipv4.vs.{name}": str(draw.randrange(2)) for name in names}
    profile = draw.choice(["linux-5.4", "linux-6.18"])
    plain, other = (fastnat.Engine(node, profile=profile, seed=seed, max_connections=1000) for _ in "12")
    service, layer, now = OF[family]["service"], LAYERS[family], 0.0
    hosts = [OF[family]["pod"], OF[family]["pod"][:-1] + "8"]
    for step in range(120):
        now = round((now + draw.choice([0, 0.004, 0.1, 1, 9, 60])) * HZ) / HZ
        flags = draw.choice(["S", "S", "SA", "A", "FA", "R"])
        host, port = draw.choice(hosts), draw.choice([4000, 4001, 20, 1])
        there, back = draw.choice([80, 53, 21, 9]), draw.random() < 0.4
        ports = {"sport": draw.choice([there, 7000]), "dport": port} if back else {"sport": port, "dport": there}
        l4 = TCP(**ports, flags=flags, seq=step * 70_000, ack=1) if draw.random() < 0.6 else UDP(**ports) / b"?"
        src, dst = (draw.choice(SERVERS[family]), host) if back else (host, service)
        packet = bytes(layer(src=src, dst=dst) / l4)
        assert other.process_packet(packet, "cni0", now) == plain.process_packet(packet, "cni0", now), step
        if draw.random() < 0.06:
            other.reload()
        elif draw.random() < 0.02:
            other = other.fork()
        if step % 30 == 29:
            other.check()
            plain.check()
            assert other.services(family) == plain.services(family)
            assert sorted(other.service_connections(family).splitlines()) == sorted(
                plain.service_connections(family).splitlines()
            )
    assert other.conntrack.format() == plain.conntrack.format()


@FAMILIES
@pytest.mark.parametrize("seed", range(2))
def test_what_another_engine_has_counted_and_linked_says_nothing_here(family, seed):
    """Of the flags of a connection that comes from elsewhere only those count that say what it is."""
    draw = random.Random(seed)
    profile, service = draw.choice(["linux-5.4", "linux-6.18"]), OF[family]["service"]
    kept = draw.choice(("", " -p 60"))
    saved = "".join(
        services(family, [ports], (0, 1, 2), kind) for ports, kind in ((("t", 80), "wlc"), (("u", 53), "rr" + kept))
    )
    nat = fastnat.Engine(node_of(family, saved), profile=profile, max_connections=1000)
    for n in range(60):
        l4 = TCP(sport=4000 + n, dport=80, flags="S") if n % 2 else UDP(sport=4000 + n, dport=53)
        packet = LAYERS[family](src=OF[family]["pod"], dst=service) / l4
        nat.process_packet(bytes(packet), "cni0", n / 100)
        if draw.random() < 0.4:
            back = (
                TCP(sport=1080, dport=l4.sport, flags=draw.choice(["SA", "SA", "R"]))
                if n % 2
                else UDP(sport=1053, dport=4000 + n)
            )
            answer = LAYERS[family](src=draw.choice(SERVERS[family]), dst=OF[family]["pod"]) / back
            nat.process_packet(bytes(answer), "cni0", n / 100)
    told = nat.core_of(family).ipvs_connections()
    assert len(told) > 5
    adopted = []
    for more in (0, IpvsFlag.ACTIVE, IpvsFlag.ONE_PACKET, draw.randrange(256, 1 << 16) & ~255):
        other = fastnat.Engine(nat.node, profile=profile, max_connections=1000)
        other.advance(nat.now)
        records = told.copy()
        records["flags"] = records["flags"] & (0xFFFF ^ IpvsFlag.ACTIVE) | more
        other.core_of(family).adopt_ipvs(records)
        other.check()
        # in whatever order they stand: the key of the table is the engine's own
        ours = other.core_of(family).ipvs_connections()[["client_port", "proto", "state", "flags"]]
        adopted.append((sorted(ours.tolist()), other.services(family)))
    assert adopted == adopted[:1] * 4


@FAMILIES
@pytest.mark.parametrize("first", [21, 99])
def test_the_server_of_another_service_of_the_address(family, first, tmp_path):
    """FTP and the service of all ports have one template for a client: whose server it is stays so over everything."""
    front, one = "-{0} {{service}}:{1}", "-r {2}:{3} -m -w 1\n"
    server = f"[{SERVERS[family][0]}]" if family == 6 else SERVERS[family][0]
    saved = "".join(
        f"-A {front} -s rr -p 60\n-a {front} {one}".format("t", port, server, to) for port, to in ((21, 2121), (0, 0))
    )
    nat = fastnat.Engine(node_of(family, saved), max_connections=1000)
    for sport, dport in ((4000, first), (4001, 120 - first), (4002, 7)):
        packet = LAYERS[family](src=OF[family]["pod"], dst=OF[family]["service"]) / TCP(
            sport=sport, dport=dport, flags="S"
        )
        _, out = nat.process_packet(bytes(packet), "cni0", 0.0)
        assert LAYERS[family](out).dst == SERVERS[family][0]
    before = nat.services(family), sorted(nat.service_connections(family).splitlines())
    # all connections count for the service whose scheduler was asked
    counted = [line.split()[-2:] for line in before[0].splitlines() if "Masq" in line]
    assert sorted(map(sum, ([int(n) for n in words] for words in counted))) == [0, 3]
    nat.save(tmp_path / "state")
    nat.reload()
    for other in (nat, nat.fork(), fastnat.Engine.restore(tmp_path / "state")):
        assert (other.services(family), sorted(other.service_connections(family).splitlines())) == before
        other.check()


@FAMILIES
@pytest.mark.parametrize("kept", ["", " -p 60"])
def test_one_server_by_several_ports(family, kept, tmp_path):
    """A service of a mark, of any port: each connection goes on with its own server, one of an address by its port."""
    server = f"[{SERVERS[family][0]}]" if family == 6 else SERVERS[family][0]
    mark = "-f 7 -6" if family == 6 else "-f 7"
    servers = "".join(f"-a {mark} -r {server}:{port} -m -w 1\n" for port in (80, 7000, 9, 53))
    saved = f"-A {mark} -s rr{kept}\n{servers}"
    marks = "*mangle\n-A PREROUTING -p udp -j MARK --set-mark 7\nCOMMIT\n"
    nat = fastnat.Engine(node_of(family, saved, marks), max_connections=1000)
    for n in range(7):
        packet = LAYERS[family](src=OF[family]["pod"], dst=OF[family]["service"]) / UDP(sport=4000 + n, dport=60 + n)
        assert nat.process_packet(bytes(packet), "cni0", 0.0)[0] == Verdict.FORWARD
    before = nat.services(family)
    counted = sorted(int(line.split()[-1]) for line in before.splitlines() if "Masq" in line)
    assert counted == ([0, 0, 0, 7] if kept else [1, 2, 2, 2])
    nat.save(tmp_path / "state")
    nat.reload()
    for other in (nat, nat.fork(), fastnat.Engine.restore(tmp_path / "state")):
        assert other.services(family) == before
