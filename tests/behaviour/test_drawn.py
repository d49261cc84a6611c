"""Drawn at random: hashes of nftables, whose device a frame is for, what rules write before conntrack, lives of TCP."""

import random
import re

import numpy as np
import pytest
from behaviour.model import jhash2
from behaviour.test_corner_steps import CLIENT, FAMILIES, LAYERS, SERVER, nft_chain, router
from nodes import MASQUERADE, make_dual
from scapy.layers.inet import UDP

import fastnat
from fastnat import Verdict
from fastnat.addresses import V4, V6

TEXT = {4: V4, 6: V6}


def register_words(value, size):
    """Return the words that a register of the kernel holds of a number of so many bytes."""
    data = value.to_bytes(size, "big")
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, size, 4)]


@FAMILIES
@pytest.mark.parametrize("seed", range(3))
def test_jhash_of_every_length(family, seed):
    """nft_jhash_eval: lookup3 over registers, each value filled up to four bytes, 64 bytes at the most."""
    rng = random.Random(seed)
    kind, size = {4: ("ip", 4), 6: ("ip6", 16)}[family]
    values = {
        f"{kind} saddr": (rng.getrandbits(7) | {4: 10 << 24 | 1 << 16, 6: 0xFD01 << 112}[family], size),
        f"{kind} daddr": ({4: 203 << 24, 6: 0xFD03 << 112}[family] | rng.getrandbits(20), size),
        "udp sport": (rng.randrange(1, 65536), 2), "udp dport": (rng.randrange(1, 65536), 2), "udp length": (8, 2),
    }  # fmt: skip
    rules, wanted = [], []
    # as much as a register can take, and less of anything
    most = [[f"{kind} saddr", f"{kind} daddr"] * n for n in range(1, 64 // size // 2 + 1)]
    drawn = [rng.choices(list(values), k=rng.randrange(1, 6)) for _ in range(20)]
    for names in [*most, *([name] for name in values), *drawn]:
        sizes = [(values[name][1] + 3) // 4 * 4 for name in names]
        if sum(sizes) > 64:
            continue
        words = [word for name in names for word in register_words(*values[name])]
        length = sum(sizes) if len(names) > 1 else values[names[0]][1]
        start, modulus, offset = rng.getrandbits(32), rng.choice((2**32 - 1, 7, 1000, 2)), rng.choice((0, 1, 100))
        said = (jhash2(words, start, length) * modulus >> 32) + offset
        for other in (said - 1, said, said + 1):
            shift = f" offset {offset}" if offset else ""
            rules.append(f"jhash {' . '.join(names)} mod {modulus} seed {start}{shift} == {max(other, 0)} counter")
            wanted.append(int(max(other, 0) == said))
    nat = fastnat.Engine(router(family, nft=nft_chain(family, "\n".join(rules))))
    (src, _), (dst, _) = list(values.values())[:2]
    ends = {"src": TEXT[family].to_text(src), "dst": TEXT[family].to_text(dst)}
    packet = LAYERS[family](**ends) / UDP(sport=values["udp sport"][0], dport=values["udp dport"][0])
    nat.process_packet(bytes(packet), "r0", 0.0)
    assert [int(n) for n in re.findall(r"counter packets (\d+)", nat.list_nft())] == wanted


OWN, OTHER, ASIDE = "02:00:00:00:00:01", "02:00:00:00:01:09", "02:00:00:00:02:07"
# destinations, and whose the frame is that brings them; a network's last address is for all on its link
FOR_WHOM = {
    4: {"10.0.1.1": OWN, "192.0.2.9": OWN, "10.0.1.255": "ff:ff:ff:ff:ff:ff", "255.255.255.255": "ff:ff:ff:ff:ff:ff",
        "224.0.0.1": "01:00:5e:00:00:01", "239.255.129.7": "01:00:5e:7f:81:07"},
    6: {"fd00:1::1": OWN, "fd00:9::9": OWN, "ff02::1": "33:33:00:00:00:01", "ff05::89ab:cdef": "33:33:89:ab:cd:ef"},
}  # fmt: skip


def on_a_lan(text):
    node = fastnat.Node()
    node.add_interface("lan0", ["10.0.1.1/24", "fd00:1::1/64"])
    node.add_interface("wan0", ["198.51.100.2/24", "fd00:2::1/64"])
    node.interfaces["lan0"].mac, node.interfaces["wan0"].mac = (int(mac.replace(":", ""), 16) for mac in (OWN, ASIDE))
    for name, address in (("lan0", "10.0.1.9"), ("lan0", "fd00:1::9"), ("wan0", "198.51.100.9"), ("wan0", "fd00:2::9")):
        node.add_neighbour(name, address, OTHER)
    node.load_nft(text)
    return node


def met(nat):
    return [int(n) for n in re.findall(r"counter packets (\d+)", nat.list_nft())]


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("hook", ["prerouting", "ingress", "input"])
def test_for_whom_the_frame_of_a_packet_is(family, hook):
    """eth_type_trans, ip_eth_mc_map, ipv6_eth_mc_map: of what nobody has captured the packet tells."""
    macs = sorted(set(FOR_WHOM[family].values()))
    lines = "\n".join(f"ether daddr {mac} counter" for mac in macs)
    where = 'ingress device "lan0"' if hook == "ingress" else hook
    kind = "netdev" if hook == "ingress" else "inet"
    text = f"table {kind} t {{\nchain c {{\ntype filter hook {where} priority 0;\n{lines}\n}}\n}}\n"
    src = {4: "10.0.1.9", 6: "fd00:1::9"}[family]
    for dst, mac in FOR_WHOM[family].items():
        for alone in (True, False):
            nat = fastnat.Engine(on_a_lan(text))
            if alone:
                (out,) = nat.process(nat.packets(proto="udp", src=src, dst=dst, sport=7, dport=9, iface="lan0"), 0.0)
                verdict = out["verdict"]
            else:
                packet = LAYERS[family](src=src, dst=dst) / UDP(sport=7, dport=9)
                verdict, _ = nat.process_packet(bytes(packet), "lan0", 0.0)
            # a chain at INPUT sees what is for the node
            seen = hook != "input" or verdict == Verdict.LOCAL
            assert met(nat) == [int(seen and mac == one) for one in macs], (dst, alone)


@FAMILIES
def test_to_whom_the_frame_of_a_packet_goes(family):
    """What the node sends: to all on the link, to a group, to the neighbour or the next hop, to who is not known."""
    to = {
        4: {"10.0.1.255": "ff:ff:ff:ff:ff:ff", "224.0.0.7": "01:00:5e:00:00:07", "10.0.1.9": OTHER, "10.0.1.8": None,
            "255.255.255.255": "ff:ff:ff:ff:ff:ff"},
        6: {"ff02::7": "33:33:00:00:00:07", "fd00:1::9": OTHER, "fd00:1::8": None},
    }[family]  # fmt: skip
    macs = sorted({mac for mac in to.values() if mac})
    lines = "\n".join([*(f"ether daddr {mac} counter" for mac in macs), f"ether saddr {OWN} counter"])
    text = f'table netdev t {{\nchain c {{\ntype filter hook egress device "lan0" priority 0;\n{lines}\n}}\n}}\n'
    for dst, mac in to.items():
        node = on_a_lan(text)
        # groups and all leave by the device of their route
        node.add_route("default", dev="lan0")
        node.add_route("::/0", dev="lan0")
        node.add_route("ff00::/8", dev="lan0")
        nat = fastnat.Engine(node)
        src = {4: "10.0.1.1", 6: "fd00:1::1"}[family]
        packet = nat.packets(proto="udp", src=src, dst=dst, sport=7, dport=9, iface="local")
        nat.process(packet, 0.0)
        assert met(nat) == [*(int(mac == one) for one in macs), 1], dst


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("field", ["saddr", "daddr", "sport", "dport"])
def test_what_a_rule_writes_in_front_of_conntrack_has_come_so(family, field):
    """Headers in batches, by ones, and frames: connections of what a rule writes, whatever was looked up before it."""
    kind = {4: "ip", 6: "ip6"}[family]
    rng = np.random.default_rng(family)
    far, first = {4: "203.0.113.{}", 6: "2001:db8:7::{}"}[family], {4: "10.244.1.{}", 6: "fd00:1::{}"}[family]
    written = {"saddr": first.format(5), "daddr": far.format(5), "sport": 5, "dport": 5}[field]
    front = f"{kind} {field}" if "addr" in field else f"udp {field}"
    rules = f"meta mark 9 {front} set {written}"
    nft = nft_chain(family, rules, "prerouting", -350)
    node = make_dual(native=nft, **{"rules" if family == 4 else "rules6": MASQUERADE})
    n = 200
    values = {
        "saddr": [first.format(k) for k in rng.integers(4, 7, n)],
        "daddr": [far.format(k) for k in rng.integers(4, 7, n)],
        "sport": rng.integers(4, 7, n), "dport": rng.integers(4, 7, n),
    }  # fmt: skip
    changed = rng.random(n) < 0.5

    def sent(nat, there, mark):
        ends = {"src": there["saddr"], "dst": there["daddr"], "sport": there["sport"], "dport": there["dport"]}
        return nat.packets(proto="udp", iface="cni0", mark=mark, **ends)

    after = {**values, field: [written if c else v for c, v in zip(changed, values[field], strict=True)]}
    plain = fastnat.Engine(node, seed=1)
    want = plain.process(sent(plain, after, np.where(changed, 8, 0)), 1.0)
    for step in (n, 1, 7):
        for remember in (True, False):
            nat = fastnat.Engine(node, seed=1, remember=remember)
            batch = sent(nat, values, np.where(changed, 9, 0))
            out = np.concatenate([nat.process(batch[at : at + step], 1.0) for at in range(0, n, step)])
            for name in ("verdict", "reason", "ctinfo", "conn", "src", "dst", "sport", "dport"):
                np.testing.assert_array_equal(out[name], want[name], f"{name} {step} {remember}")
            assert nat.conntrack.format() == plain.conntrack.format()
            nat.check()


SYN, ACK, FIN, RST = 0x02, 0x10, 0x01, 0x04
# a life, and what comes in between: (by the client, flags)
LIFE = [(1, SYN), (0, SYN | ACK), (1, ACK), (1, ACK | FIN), (0, ACK | FIN), (1, ACK), (0, ACK)]
STRAY = [SYN, SYN, SYN | ACK, ACK, ACK | FIN, RST, RST | ACK, 0, FIN]
# who is asked anew answers, or challenges it (RFC 5961)
ANSWERED = [[(1, SYN), (0, ACK)], [(1, SYN), (0, SYN | ACK)], [(0, SYN), (1, ACK)], [(1, SYN), (0, ACK), (1, RST)]]


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 30))])
def test_lives_of_headers_with_stray_segments(family, seed):
    """In batches, a few at a time, without what is remembered: states, timeouts, events and counters are the same."""
    rng = random.Random(seed)
    rules = {"rules" if family == 4 else "rules6": MASQUERADE}
    node = make_dual(**rules)
    node.sysctls["net.netfilter.nf_conntrack_acct"] = str(seed & 1)
    node.sysctls["net.netfilter.nf_conntrack_tcp_loose"] = str(rng.randrange(2))
    profile = rng.choice(["linux-5.4", "linux-6.18"])
    n = 100
    script = []
    for _ in range(n):
        one = []
        for step in LIFE[: rng.randrange(1, 8)] if rng.random() < 0.5 else LIFE:
            one += [step] * rng.choice([1, 1, 1, 2])
            while rng.random() < 0.3:
                one += rng.choice([[(rng.randrange(2), rng.choice(STRAY))], rng.choice(ANSWERED)])
        script.append(one)
    src, dst = {4: ("10.244.1.{}", "203.0.113.9"), 6: ("fd00:1::{}", "2001:db8:7::9")}[family]
    own = {4: "198.51.100.10", 6: "2001:db8::10"}[family]
    first = fastnat.Engine(node, profile=profile, seed=1, events=100_000)
    engines = [(first, 1000), (fastnat.Engine(node, profile=profile, seed=1, events=100_000), 7)]
    engines.append((fastnat.Engine(node, profile=profile, seed=1, events=100_000, remember=False), 1000))
    ports, now = {}, 1.0
    for step in range(max(map(len, script))):
        alive = [k for k in range(n) if step < len(script[k])]
        said = [script[k][step] for k in alive]
        out = [by or k not in ports for k, (by, _) in zip(alive, said, strict=True)]
        fields = {
            "src": [src.format(2 + k % 9) if o else dst for k, o in zip(alive, out, strict=True)],
            "dst": [dst if o else own for o in out],
            "sport": [2000 + k if o else 80 for k, o in zip(alive, out, strict=True)],
            "dport": [80 if o else ports[k] for k, o in zip(alive, out, strict=True)],
            "iface": np.where(out, node.iface_number("cni0"), node.iface_number("eth0")),
            "tcp_flags": [flags for _, flags in said], "isn": [rng.randrange(1 << 16) for _ in alive],
        }  # fmt: skip
        batch = first.packets(proto="tcp", length=[rng.choice([40, 60, 1500]) for _ in alive], **fields)
        results = [
            np.concatenate([nat.process(batch[at : at + size], now) for at in range(0, len(batch), size)])
            for nat, size in engines
        ]
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other, str(step))
        for k, o, one in zip(alive, out, results[0], strict=True):
            if o and one["verdict"] == Verdict.FORWARD:
                ports[k] = int(one["sport"])
        now += rng.choice([0, 0.1, 9, 11, 61])
        lines = [nat.conntrack.format() for nat, _ in engines]
        assert lines[1:] == lines[:1] * 2, step
    events = [[e.tobytes() for e in nat.all_events()] for nat, _ in engines]
    assert events[1:] == events[:1] * 2
    for nat, _ in engines:
        nat.check()


@FAMILIES
@pytest.mark.parametrize("seed", range(3))
def test_numbers_that_no_element_of_a_verdict_map_has(family, seed):
    """numgen inc mod N offset K vmap of 0 to M: who draws more goes on with the next rule, as from any other lookup."""
    rng = random.Random(seed)
    # the number of elements, and what is drawn from
    maps = [(rng.randrange(1, 6), rng.randrange(1, 9), rng.choice((0, 0, 0, 1, 3))) for _ in range(7)]
    chains, rules = [], []
    for n, (elements, modulus, offset) in enumerate(maps):
        said = [
            rng.choice((f"jump at{n}_{k}", f"jump at{n}_{k}", f"goto at{n}_{k}", "continue")) for k in range(elements)
        ]
        chains.append([said[k].split("_")[0] if " " in said[k] else said[k] for k in range(elements)])
        rules.append(
            f"numgen inc mod {modulus} offset {offset} vmap {{ {', '.join(f'{k} : {v}' for k, v in enumerate(said))} }}"
        )
    ends = "".join(
        f"chain at{n}_{k} {{\ncounter\n}}\n" for n, (elements, _, _) in enumerate(maps) for k in range(elements)
    )
    main = "chain c {\ntype filter hook prerouting priority 0;\n" + "\ncounter\n".join(rules) + "\n}\n"
    nat = fastnat.Engine(router(family, nft=f"table {'ip' if family == 4 else 'ip6'} t {{\n{ends}{main}}}\n"))
    nat.process(
        nat.packets(proto="udp", src=CLIENT[family], dst=SERVER[family], sport=range(1, 101), dport=9, iface="r0")
    )
    # by chain of an element, and behind each rule but the last
    met, behind, turns = {}, [0] * len(maps), [0] * len(maps)
    for _ in range(100):
        for n, (elements, modulus, offset) in enumerate(maps):
            drawn, turns[n] = turns[n] % modulus + offset, turns[n] + 1
            said = chains[n][drawn] if drawn < elements else "continue"
            if said != "continue":
                met[n, drawn] = met.get((n, drawn), 0) + 1
            if said.startswith("goto"):
                break
            behind[n] += 1
    found = [int(n) for n in re.findall(r"counter packets (\d+)", nat.list_nft())]
    wanted = [met.get((n, k), 0) for n, (elements, _, _) in enumerate(maps) for k in range(elements)]
    assert found == wanted + behind[:-1]
