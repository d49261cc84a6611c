"""Fewer places for what is remembered than kinds of packets: who comes meets what was noted of its own kind."""

import re

import numpy as np
import pytest
from behaviour.test_corner_steps import FAMILIES, LAYERS, SERVER, clients, router
from kernel import handmade
from kernel.bound_rules import datagram
from scapy.layers.inet import TCP

import fastnat
from fastnat import Verdict

SYN, ACK, FIN, RST = 2, 16, 1, 4
PORTS = range(60, 69)
# addresses behind r0, and of the router
INSIDE, OUTSIDE = {4: "10.1.0.{}", 6: "[fd01::{}]"}, {4: "10.2.0.{}", 6: "[fd02::{}]"}


def bare(address):
    return address.strip("[]")


def rules(rng, family):
    """Return rules of some ports each: what they decide differs, and whether it can be remembered."""

    def of(chain, port, target):
        proto = rng.choice(["udp", "udp", "tcp"])
        return f"-A {chain} -p {proto} -m {proto} --dport {port} {target}\n"

    inside, outside = INSIDE[family].format, OUTSIDE[family].format
    dnat, snat, raw, mangle, passing = "", "", "", "", ""
    for port in PORTS:
        to, own = inside(rng.integers(30, 33)), outside(rng.integers(20, 23))
        dnat += rng.choice([
            "", "", of("PREROUTING -i r0", port, f"-j DNAT --to-destination {bare(to)}"),
            of("PREROUTING -i r0", port, f"-j DNAT --to-destination {to}:{rng.choice(PORTS)}"),
            of("PREROUTING -i r0", port, f"-j DNAT --to-destination {to}:{port}"),
            of("PREROUTING -i r0", port, f"-j DNAT --to-destination {to}:70-71"),
            of("PREROUTING", port, "-m statistic --mode nth --every 3 --packet 0 -j ACCEPT"),
        ])  # fmt: skip
        snat += rng.choice([
            "", of("POSTROUTING", port, f"-j SNAT --to-source {bare(own)}"),
            of("POSTROUTING", port, f"-j SNAT --to-source {own}:2000-2900"),
            of("POSTROUTING", port, f"-j SNAT --to-source {bare(own)} --random-fully"),
            of("POSTROUTING", port, f"-j SNAT --to-source {bare(own)} --persistent"),
            of("POSTROUTING", port, "-j MASQUERADE"), of("POSTROUTING", port, "-j ACCEPT"),
        ])  # fmt: skip
        raw += of("PREROUTING", port, "-j NOTRACK") if rng.random() < 0.1 else ""
        mangle += of("FORWARD", port, f"-j MARK --set-mark {port}") if rng.random() < 0.15 else ""
        passing += of("FORWARD", port, rng.choice(["-j ACCEPT", "-j DROP"])) if rng.random() < 0.15 else ""
    led = "-A FORWARD -m conntrack --ctstate DNAT\n-A FORWARD -m conntrack --ctstate SNAT\n" + passing
    passing = rng.choice(["", led, "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n" + passing])
    mangle, raw = (text if rng.random() < 0.4 else "" for text in (mangle, raw))
    rest = rng.choice(["", "-A POSTROUTING -o r1 -j MASQUERADE\n"])
    tables = {"raw": raw, "mangle": mangle, "nat": dnat + snat + rest, "filter": passing}
    return "".join(f"*{name}\n{text}COMMIT\n" for name, text in tables.items() if text)


def answers(batch, out, device):
    """Return what the other ends send back to packets that have left."""
    made = batch.copy()
    for name, other in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
        made[name] = out[other]
    made["iface"] = device
    return made[(out["verdict"] == Verdict.FORWARD) & np.isin(batch["proto"], (6, 17))]


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("memos", [1, 4, 32])
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 24))])
def test_a_memo_says_nothing_of_who_had_its_place_before(family, memos, seed, monkeypatch):
    """Nothing that is remembered changes an answer, a counter of a rule or a statistic."""
    for place in ("arrays", "settings"):
        monkeypatch.setattr(f"fastnat.engine.{place}.MEMOS", memos)
    rng = np.random.default_rng([seed, memos])
    node = router(family, rules(rng, family))
    engines = [fastnat.Engine(node, seed=seed, remember=remember) for remember in (True, False)]
    # who is asked for by the address that DNAT leads to, too
    peers = [SERVER[family], bare(OUTSIDE[family].format(99)), *(bare(INSIDE[family].format(n)) for n in (31, 31, 40))]
    there = clients(family, 9)
    # the node itself sends some of them, or they come by the other device
    devices = [engines[0].node.iface_number("r0")] * 6 + [engines[0].node.iface_number("r1"), 0]
    sport, now = 1024, 0.0
    said = [nat.packets(proto="udp", src=there[0], dst=peers[0], sport=9, dport=9, iface="r0") for nat in engines[:1]]

    def run(batch):
        out = [nat.process(batch, now) for nat in engines]
        np.testing.assert_array_equal(*out)
        return out[0]

    for size in rng.choice([1, 1, 2, 3, 40], 80).tolist():
        now += rng.choice([0.0, 0.01, 3.0, 40.0])
        # of one kind, of two by turns, or of several at once
        n = rng.choice([1, 1, 2, size, size])
        kind = {name: rng.integers(0, end, n) for name, end in (("proto", 4), ("port", len(PORTS)), ("peer", 5))}
        proto = np.array([17, 17, 6, 1 if family == 4 else 58])[kind["proto"]]
        echo = 0x800 if family == 4 else 0x8000
        batch = engines[0].packets(
            proto=np.resize(proto, size),
            src=[there[k] for k in rng.integers(0, 9, size)],
            dst=[peers[k] for k in np.resize(kind["peer"], size)],
            sport=sport + np.arange(size),
            dport=np.resize(np.where(np.isin(proto, (1, 58)), echo, PORTS[0] + kind["port"]), size),
            tcp_flags=np.resize(np.where(proto == 6, SYN, 0), size),
            iface=np.resize(rng.choice(devices, n), size),
            mark=np.resize(rng.integers(0, 2, n), size),
        )
        sport += size
        out = run(batch)
        said.append(batch)
        back = answers(batch, out, engines[0].node.iface_number("r1"))
        back["tcp_flags"] = np.where(back["proto"] == 6, SYN | ACK, 0)
        if len(back) and rng.random() < 0.6:
            run(back)
        # those that came before go on, or end
        again = said[rng.integers(0, len(said))].copy()
        again["tcp_flags"] = np.where(again["proto"] == 6, rng.choice([ACK, ACK, ACK, FIN | ACK, RST]), 0)
        run(again)
    assert engines[0].stats == engines[1].stats
    assert engines[0].save_rules(family) == engines[1].save_rules(family)
    assert engines[0].conntrack.format("proc") == engines[1].conntrack.format("proc")
    np.testing.assert_array_equal(*(nat.conntrack.to_numpy(family)["status"] for nat in engines))
    for nat in engines:
        nat.check()


@FAMILIES
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 24))])
def test_several_rules_of_a_source_on_one_walk(family, seed):
    """Runs of rules by source, of which a packet meets a rule each: a memo finds one of them again, and no other."""
    rng = np.random.default_rng(seed)
    there = [str(c) for c in clients(family, 40)]
    full = {4: 32, 6: 128}[family]
    lines = []
    for _ in range(rng.integers(1, 4)):
        # most of them count, and let the packet go on
        some = rng.permutation(there)[: rng.integers(16, 40)]
        target = rng.choice(["", "", "", "-j MARK --set-mark 7", "-j ACCEPT"])
        lines += [f"-A POSTROUTING -s {src}/{full} {target}" for src in some]
        # what stands between them makes two runs
        lines += ["-A POSTROUTING -p udp -m udp --dport 99"] * int(rng.random() < 0.8)
    lines.append("-A POSTROUTING -p udp -m udp --dport 98")
    own = [OUTSIDE[family].format(20 + k) for k in range(40)]
    lines += [f"-A POSTROUTING -s {src}/{full} -j SNAT --to-source {bare(own[k])}" for k, src in enumerate(there)]
    rules_ = "*nat\n" + "\n".join(lines) + "\nCOMMIT\n"
    if seed % 2:
        marks = "\n".join(f"-A FORWARD -s {src}/{full} -p udp" for src in rng.permutation(there)[:30])
        rules_ += f"*mangle\n{marks}\n-A FORWARD -s {there[0]}/{full} -j MARK --set-mark 3\nCOMMIT\n"
    engines = [fastnat.Engine(router(family, rules_), seed=seed, remember=remember) for remember in (True, False)]
    sport = 1024
    for size in rng.choice([1, 2, 30, 60], 20).tolist():
        batch = engines[0].packets(
            proto=rng.choice(["udp", "tcp"]), src=rng.choice(there, size).tolist(), dst=SERVER[family],
            sport=sport + np.arange(size), dport=int(rng.choice([53, 80])), tcp_flags=SYN, iface="r0",
        )  # fmt: skip
        sport += size
        np.testing.assert_array_equal(*(nat.process(batch) for nat in engines))
    assert engines[0].save_rules(family) == engines[1].save_rules(family)
    assert engines[0].stats == engines[1].stats
    assert (engines[0].core_of(family).arrays["dispatches"]["alike"] != 0).any()


@FAMILIES
@pytest.mark.parametrize("given", [0, 1])
def test_the_helper_that_a_connection_gets_by_its_port_no_memo_gives(family, given):
    """nf_conntrack_helper of linux-5.4: looked at for each new connection."""
    node = router(family, "*nat\n-A POSTROUTING -o r1 -j MASQUERADE\nCOMMIT\n")
    node.sysctls["net.netfilter.nf_conntrack_helper"] = str(given)
    engines = [fastnat.Engine(node, "linux-5.4", seed=1, remember=remember) for remember in (True, False)]
    for n in range(6):
        batch = engines[0].packets(
            proto=[17, 6] * 8, src=clients(family, 16), dst=SERVER[family], sport=2000 + n,
            dport=[69, 21, 53, 80] * 4, tcp_flags=[0, SYN] * 8, iface="r0",
        )  # fmt: skip
        np.testing.assert_array_equal(*(nat.process(batch, float(n)) for nat in engines))
    told = [sorted(nat.conntrack.format("extended").splitlines()) for nat in engines]
    assert told[0] == told[1]
    assert "".join(told[0]).count("helper=") == given * 6 * 8


@FAMILIES
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
def test_what_a_match_reads_that_stands_in_no_key(family, profile):
    """Datagrams of one kind for every route and address: what else a rule asks for is asked of each of them."""
    src, dst = clients(family, 1)[0], SERVER[family]
    layer = LAYERS[family](src=str(src), dst=dst)
    hops = {4: "ttl", 6: "hlim"}[family]

    def tcp(**fields):
        return bytes(layer / TCP(sport=7, dport=9, **{"flags": "S", **fields}))

    def dccp(sport, dport):
        ends = str(src), dst
        return datagram(family, 33, handmade.dccp(*ends, sport, dport, 0), ends=ends)

    other = layer.copy()
    setattr(other, hops, 9)
    asked = {
        "-p dccp -m multiport --dports 53,80:90": [dccp(1, 53), dccp(1, 54), dccp(1, 85)],
        "-p dccp -m multiport --sports 53": [dccp(53, 1), dccp(54, 1)],
        "-p tcp -m tcp --tcp-option 8": [tcp(), tcp(options=[("Timestamp", (1, 2))])],
        "-p tcp -m tcpmss --mss 1000:1500": [tcp(options=[("MSS", n)]) for n in (999, 1000, 1501)],
        "-p tcp -m ecn --ecn-tcp-cwr": [tcp(flags="S"), tcp(flags="SC"), tcp(flags="SE")],
        "-m length --length 40:70": [tcp(), bytes(layer / TCP(sport=7, dport=9, flags="S") / bytes(90))],
        {4: "-m ttl --ttl-lt 20", 6: "-m hl --hl-lt 20"}[family]: [
            tcp(), bytes(other / TCP(sport=7, dport=9, flags="S")),
        ],
        "-m mac --mac-source 02:00:00:00:00:09": [(tcp(), n) for n in (9, 8)],
    }  # fmt: skip
    for rule, packets in asked.items():
        met = []
        for remember in (True, False):
            nat = fastnat.Engine(router(family, f"*raw\n-A PREROUTING {rule}\nCOMMIT\n"), profile, remember=remember)
            said = []
            for turn in range(12):
                packet = packets[(0, 0, 1, 0, 1, -1)[turn % 6]]
                data, last = packet if isinstance(packet, tuple) else (packet, 9)
                link = bytes([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, last])
                nat.process_packet(data, "r0", turn / 100, link=link)
                said.append(re.findall(r"\[(\d+):\d+\] -A PREROUTING", nat.save_rules(family)))
            met.append(said)
        assert met[0] == met[1], rule
        assert 0 < int(met[0][-1][0]) < 12, (rule, met[0])
