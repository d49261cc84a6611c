"""One question asked of several commands: none of the answers may contradict another. Rules and packets are random."""

import json
import random

import pytest
from laboratory.test_any_node import FAR, INSIDE, ask, router, strict
from nodes import examples

import fastnat
from fastnat import capture
from fastnat.exhaustion import Workload
from fastnat.exhaustion.simulation import run

NETWORK = {4: "10.244.0.0/17", 6: "fd00:10:244::/64"}
# of one client each
INSIDE_NETWORK = {4: "10.244.0.{}/32", 6: "fd00:10:244::{:x}/128"}
OWN = {4: "198.51.100.{}", 6: "[2001:db8:9::{}]"}
SEEDS = [n if n < 3 else pytest.param(n, marks=pytest.mark.slow) for n in range(examples(60))]


def drawn_rules(draw, version):
    """Return rules of a family: windows of ports, also by client, pools, zones, by destination, none, not tracked."""
    own = OWN[version].format
    pool = f"{own(20)}-{own(22)}" if version == 4 else "2001:db8:9::20-2001:db8:9::22"
    raw = draw.choice(["", "-A PREROUTING -p tcp -j CT --zone 4\n", "-A PREROUTING -d {far} -j CT --zone-orig 3\n",
                       "-A PREROUTING -p udp -j CT --notrack\n"])  # fmt: skip
    low = draw.choice([600, 1024, 5000, 65000])
    window = f"{low}-{low + draw.choice([0, 9, 99, 400])}"
    last = draw.choice(["-j MASQUERADE", f"-j SNAT --to-source {pool}", "-p udp -j MASQUERADE --random-fully"])
    proto = draw.choice(["tcp", "udp"])
    # two or more subscribers have their own ports of one address
    n, each, text = draw.choice([2, 3, 7, 30]), draw.choice([20, 200, 2000]), INSIDE_NETWORK[version]
    first = draw.randrange(1024, 65536 - n * each)
    subscribers = [
        f"-s {text.format(k + 2)} -p {p} -j SNAT --to-source {own(31)}:{first + k * each}-{first + (k + 1) * each - 1}"
        for k in range(n) for p in ("tcp", "udp")
    ] * draw.choice([0, 0, 1])  # fmt: skip
    lines = [
        *subscribers,
        draw.choice([f"-p {proto} -j MASQUERADE --to-ports {window}", "-d {far} -j MASQUERADE --random-fully",
                     f"-p {proto} -j SNAT --to-source {own(30)}:{window}", "-m mark --mark 0x7 -j ACCEPT"]),
        last,
    ]  # fmt: skip
    dropped = draw.choice(["", "", "", "-A FORWARD -p tcp -m tcp --dport 80 -j DROP\n"])
    text = "".join(f"-A POSTROUTING -o eth0 {line}\n" for line in lines)
    every = f"*raw\n{raw}COMMIT\n*nat\n{text}COMMIT\n*filter\n{dropped}COMMIT\n"
    return every.replace("{far}", FAR[version])


def drawn_node(draw, folder):
    """Save a router with such rules of both families; return it as loaded."""
    node = router("none", "none")
    node.load_rules(drawn_rules(draw, 4))
    node.load_rules6(drawn_rules(draw, 6))
    node.save(folder)
    return fastnat.Node.load(folder)


@pytest.mark.parametrize("seed", SEEDS)
def test_exhaust_top_and_doctor_agree_on_the_fullest_port_space(tmp_path, seed):
    """`top --node` and `doctor` read the table at the end of a run: ports in use, and whether they ran out."""
    draw = random.Random(seed)
    node, version = drawn_node(draw, tmp_path / "n"), draw.choice([4, 6])
    proto = draw.choice(["tcp", "udp"])
    work = Workload(((FAR[version], 443),), proto, draw.choice([300, 1500]), clients=draw.choice([3, 40]),
                    sport="random", network=NETWORK[version])  # fmt: skip
    engine = fastnat.Engine(node, seed=seed)
    outcome = run(engine, work)
    dump = tmp_path / "dump"
    dump.write_text(engine.conntrack.format(draw.choice(["conntrack", "extended"])))
    told = strict(ask("top", dump, "--node", tmp_path / "n", "--rows", "9", "-o", "json")[1])
    assert told["connections"] == outcome.rows[-1].count
    if outcome.kind in ("untracked", "untranslated"):
        assert told["spaces"] == []
        assert bool(told["connections"]) == (outcome.kind == "untranslated")
        return
    first = told["spaces"][0]
    seen = (first["used"], first["ports"], first["zone"])
    assert seen == (outcome.fullest.used, outcome.window, outcome.fullest.zone)
    assert first["occupancy"] == outcome.rows[-1].occupancy
    words = ("doctor", dump, tmp_path / "n", "--no-simulation", "-o", "json")
    found = {f["cause"]: f for f in strict(ask(*words)[1])["findings"]}
    # neither is wrong where few of the next connections fail
    if outcome.kind == "ports" and outcome.rows[-1].fail > 0.05:
        assert found["ports"]["answer"] == "yes"
        assert any(space["fails"] > 0.001 for space in told["spaces"])
    if found["ports"]["answer"] == "yes":
        assert found["ports"]["figures"]["fails"] == max(space["fails"] for space in told["spaces"])
    said = found["ports"]["because"]
    if "the fullest port space has" in said:
        assert f"has {max(space['occupancy'] for space in told['spaces']):.1%} of its ports" in said
    assert found["stale"]["answer"] == "no"


@pytest.mark.one_of(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_trace_replay_and_the_engine_agree_on_a_packet(tmp_path, seed):
    """The packet as a header, as bytes, and in a capture; and what is left of it in the table."""
    draw = random.Random(seed)
    node = drawn_node(draw, tmp_path / "n")
    for _ in range(4):
        version, profile = draw.choice([4, 6]), draw.choice(["linux-6.18", "linux-5.4"])
        far = draw.choice([FAR[version], INSIDE[version].replace("::2", "::77").replace(".1.2", ".9.9")])
        packet = {
            "proto": 17, "src": INSIDE[version], "sport": draw.choice([900, 5000, 40000]), "dst": far,
            "dport": draw.choice([53, 80]), "iface": "cni0",
        }  # fmt: skip
        engines = [fastnat.Engine(node, profile, seed=seed) for _ in range(2)]
        result = engines[0].process(engines[0].packets(**packet))[0]
        verdict, data = engines[1].process_packet(datagram(packet, version), "cni0")
        words = ("-p", "udp", "-s", packet["src"], "--sport", packet["sport"], "-d", far, "--dport", packet["dport"])
        told = strict(ask("trace", tmp_path / "n", *words, "--profile", profile, "--seed", seed, "-o", "json")[1])
        names = fastnat.Verdict(int(result["verdict"])).name.lower(), fastnat.Reason(int(result["reason"])).name.lower()
        assert (told["verdict"], told["reason"]) == names
        assert told["verdict"] == fastnat.Verdict(int(verdict)).name.lower()
        with (tmp_path / "in.pcapng").open("wb") as file:
            capture.Writer(file).write(0.0, "cni0", datagram(packet, version))
        status, _, why = ask("replay", tmp_path / "n", tmp_path / "in.pcapng", "--verdicts", tmp_path / "v",
                             "--conntrack", tmp_path / "ct", "--profile", profile, "--seed", seed)  # fmt: skip
        assert (status, why) == (0, "")
        line = json.loads((tmp_path / "v").read_text())
        assert (line["verdict"], line["reason"] or "none") == (told["verdict"], told["reason"])
        if data is not None:
            assert (line["src"], line["sport"], line["dst"], line["dport"]) == tuple(told["after"])
        left = (tmp_path / "ct").read_text().split()[2:]
        assert left == (told["connection"] or "").split()


def datagram(packet, version):
    """Return a packet of UDP as bytes, IPv4 without a checksum of UDP."""
    family = fastnat.addresses.FAMILIES[version]
    ends = [family.to_int(packet[end]).to_bytes(family.bits // 8, "big") for end in ("src", "dst")]
    ports = [packet[end].to_bytes(2, "big") for end in ("sport", "dport")]
    body = b"".join(ports) + (12).to_bytes(2, "big") + bytes(2) + b"data"
    if version == 6:
        body = body[:6] + checksum(b"".join(ends) + bytes(3) + b"\x0c" + bytes(3) + b"\x11" + body) + body[8:]
        return b"\x60\0\0\0\0\x0c\x11\x40" + b"".join(ends) + body
    head = b"\x45\0\0\x20\0\7\0\0\x40\x11\0\0" + b"".join(ends)
    return head[:10] + checksum(head) + head[12:] + body


def checksum(data):
    """Return the Internet checksum of an even number of bytes."""
    total = sum(int.from_bytes(data[k : k + 2], "big") for k in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


@pytest.mark.parametrize("name", ["max", "buckets", "expect_max", "udp_timeout", "tcp_loose", "tcp_max_retrans"])
def test_a_node_that_check_takes_is_one_for_every_command(name, tmp_path):
    """`check` said fine of a nf_conntrack_max that is no number, or too large, with which no other command ran."""
    draw, node = random.Random(name), tmp_path / "n"
    router("masquerade").save(node)
    values = ["!5", "", "x", "-1", "0", "1", "67108864", "33554433", str(2**32), "٣", "1e5", "0x10", "5 6"]
    for value in draw.sample(values, 8):
        (node / "sysctl.conf").write_text(f"net.netfilter.nf_conntrack_{name} = {value}\n")
        taken = [ask(command, node)[0] == 0 for command in ("check", "trace")]
        assert taken[0] == taken[1], value
