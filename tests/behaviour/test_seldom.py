"""What seldom happens: a batch that pauses in a shard, a search that passes 16 bits, bitmaps that give way."""

import numpy as np
import pytest
from behaviour.test_corner_steps import CLIENT, FAMILIES, MASQUERADE, OWN, SERVER, clients, router
from behaviour.test_sound import doubling
from kernel.bound_forms import transports
from kernel.bound_rules import datagram
from kernel.bound_streams import ENDS

import fastnat
from fastnat import EngineGroup, Verdict

SYN = 2


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("timed", [False, True])
def test_no_packet_is_passed_over_where_a_batch_of_a_shard_pauses(family, timed):
    """Behind a walk of 65,535 rules or more a batch may pause, and goes on with the next packet."""
    rules = doubling(18) + MASQUERADE.format("")
    node = router(family, rules)
    group = EngineGroup(node, ["r0"], shards=3, seed=3)
    n = 60
    fields = {"proto": "udp", "src": clients(family, n), "sport": 4000 + np.arange(n), "dport": 53, "iface": "r0"}
    batch = group.packets(dst=SERVER[family], **fields)
    out = group.process(batch, np.full(n, 1.0) if timed else 1.0)
    assert (out["verdict"] == Verdict.FORWARD).all()
    assert (out["dport"] == 53).all() and (out["sport"] != 0).all()
    assert group.stats["new"] == len(group) == n
    group.close()


@pytest.mark.one_of(3)
@FAMILIES
@pytest.mark.parametrize("last", [2036, 2098, 2099, 2126])
def test_a_search_begins_anew_behind_the_last_16_bit_offset(family, last):
    """Windows that do not divide 65,536: behind offset 65,535 comes offset 0, with bitmaps as without."""
    node = router(family, MASQUERADE.format(f"--to-ports 2000-{last}").replace("-o r1", "-o r1 -p udp"))
    engines = [fastnat.Engine(node, seed=last, bitmap_bytes=size) for size in (0, 1 << 20)]
    rng = np.random.default_rng(last)
    for step in range(5):
        n = 1200
        there = clients(family, 3000)
        to = [SERVER[family][:-1] + str(k) for k in range(4)]
        fields = {
            "src": [there[k] for k in rng.integers(0, 3000, n)], "dst": [to[k] for k in rng.integers(0, 4, n)],
            "sport": rng.integers(1, 60_000, n), "dport": 53, "proto": "udp", "iface": "r0",
        }  # fmt: skip
        out = [e.process(e.packets(**fields), 1.0 + 11 * step) for e in engines]
        assert (out[0] == out[1]).all()
        assert engines[0].stats["found"] == engines[1].stats["found"]
        for engine in engines:
            engine.check()
    assert engines[1].core_of(family).tables["bitmaps"] > 0


@pytest.mark.one_of(2)
@FAMILIES
def test_bitmaps_that_give_way_leave_all_others_where_they_are_found(family):
    """Many crowded destinations and memory for few of them: keys of one slot stand behind each other in the index."""
    rules = MASQUERADE.format("--to-ports 2000-2015").replace("-o r1", "-o r1 -p udp")
    node = router(family, rules)
    engines = [
        fastnat.Engine(node, seed=1, key=12345, bitmap_bytes=size) for size in (0, 1_800, 3_500, 5_000, 30_000, 120_000)
    ]
    to = [SERVER[family][:-1] + str(k) for k in range(1, 10)]
    rng = np.random.default_rng(family)
    there = clients(family, 400)
    for step in range(6):
        n = 700
        fields = {
            "src": [there[k] for k in rng.integers(0, 400, n)], "dst": [to[k] for k in rng.integers(0, 9, n)],
            "sport": 7, "dport": rng.integers(1, 14, n), "proto": "udp", "iface": "r0",
        }  # fmt: skip
        out = [e.process(e.packets(**fields), 1.0 + 9 * step) for e in engines]
        assert all((out[0] == other).all() for other in out[1:])
        for engine in engines:
            engine.check()
    # memory for one of them, for a few, and for more
    assert engines[1].core_of(family).tables["bitmaps"] == 1 and engines[-1].core_of(family).tables["bitmaps"] > 3


@FAMILIES
def test_where_a_packet_without_a_route_is_dropped(family):
    node = router(family, MASQUERADE.format(""))
    node.remove_route("default" if family == 4 else "::/0")
    lost = fastnat.Engine(node)
    for iface, src in (("r0", CLIENT[family]), ("local", OWN[family])):
        packet = lost.packets(proto="udp", src=src, dst=SERVER[family], sport=7, dport=53, iface=iface)
        told = lost.trace(packet)
        assert (told.reason, told.waypoints[-1].says) == ("no_route", "dropped: no_route")


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("takes_own", [0, 1])
def test_what_comes_in_by_lo_with_an_own_address_passes_a_strict_rp_filter(order, takes_own):
    """fib_validate_source: on lo a local source is at home, whatever device has it and whatever routes there are."""
    nets = ["10.1.0.1/16", "10.2.0.1/24", "10.3.0.1/30", "10.4.0.1/32"]
    node = fastnat.Node()
    node.add_interface("r0", nets[order:] + nets[:order])
    node.add_interface("r1", ["198.51.100.1/24"])
    node.add_route("default", via="198.51.100.9", dev="r1")
    node.sysctls |= {"net.ipv4.conf.all.rp_filter": "1", "net.ipv4.conf.lo.accept_local": str(takes_own)}
    nat = fastnat.Engine(node)
    own = [net.split("/")[0] for net in nets] + ["198.51.100.1"]
    fields = {"proto": "udp", "dst": own[1], "sport": np.arange(len(own)) + 1, "dport": 53, "iface": "lo"}
    out = nat.process(nat.packets(src=own, **fields))
    assert set(out["verdict"].tolist()) == {int(Verdict.LOCAL if takes_own else Verdict.DROP)}


@FAMILIES
def test_ports_of_a_result_are_those_of_the_header_or_none(family):
    """A datagram that ends within its ports has none, whatever it is; of an echo they are its id, its type and code."""
    nat = fastnat.Engine(router(family, MASQUERADE.format("")))
    # not translated, as nobody has a rule for what comes by r1
    for proto, l4 in transports(family, 7):
        for size in range(len(l4) + 1):
            data = np.frombuffer(datagram(family, proto, l4[:size], ends=ENDS[family][:2]), np.uint8).copy()
            out = nat.process_frames(data, np.array([0, len(data)]), iface="r1")[0]
            said = int(out["sport"]), int(out["dport"])
            if proto == "icmp":
                whole = int.from_bytes(l4[4:6]), int.from_bytes(l4[:2])
            else:
                whole = int.from_bytes(l4[:2]), int.from_bytes(l4[2:4])
            least = 8 if proto == "icmp" else 4
            assert said in {(0, 0), whole}, (proto, size)
            assert said == (whole if size == len(l4) and proto != 33 else (0, 0)) or size >= least, (proto, size)


@FAMILIES
@pytest.mark.parametrize("rule", ["PREROUTING -i r2 -p udp -j REDIRECT", "POSTROUTING -o r2 -p udp -j MASQUERADE"])
@pytest.mark.parametrize("bare", [False, True])
def test_who_has_no_address_to_give_drops(family, rule, bare):
    """nf_nat_redirect_ipv4 and _ipv6 ask the device by which a packet came, masquerading the one by which it leaves."""
    node = router(family)
    node.add_interface("r2", [] if bare else ["10.3.0.1/24", "fd04::1/64"])
    node.add_route("192.0.2.0/24", dev="r2")
    node.add_route("fd05::/64", dev="r2")
    (node.load_rules if family == 4 else node.load_rules6)(f"*nat\n-A {rule}\nCOMMIT\n")
    if bare:
        # who masquerades would take another device's
        for name in ("r0", "r1"):
            node.interfaces[name].addresses.clear()
            node.interfaces[name].addresses6.clear()
    nat = fastnat.Engine(node)
    there = {4: "192.0.2.9", 6: "fd05::9"}[family]
    ends = {"src": there, "dst": SERVER[family]} if "REDIRECT" in rule else {"src": CLIENT[family], "dst": there}
    iface = "r2" if "REDIRECT" in rule else "r0"
    (out,) = nat.process(nat.packets(proto="udp", sport=7, dport=53, iface=iface, **ends))
    assert out["verdict"] == (Verdict.DROP if bare else Verdict.LOCAL if "REDIRECT" in rule else Verdict.FORWARD)
    nat.check()
