"""Inputs and orders of calls that once corrupted memory or lost state: each kind, drawn or spelt out."""

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodes import examples, flows, make_node
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

import fastnat
from fastnat import BusyError, InputError, Reason, Verdict

SYN, RST, ACK = 2, 4, 16


def tcp(nat, sport, flags, now, src="10.244.1.2", dst="203.0.113.9", dport=80, iface="cni0"):
    fields = {"src": src, "sport": sport, "dst": dst, "dport": dport, "iface": iface, "tcp_flags": flags}
    return nat.process(nat.packets(proto="tcp", **fields), now)[0]


# --- rules: chains of any depth, walks without end


def nested(levels, builtin="FORWARD", last=""):
    lines = ["*filter", *(f":C{i} - [0:0]" for i in range(levels)), f"-A {builtin} -j C0"]
    lines += [f"-A C{i} -j C{i + 1}" for i in range(levels - 1)]
    return "\n".join([*lines, *([f"-A C{levels - 1} {last}"] if last else []), "COMMIT", ""])


@pytest.mark.parametrize("levels", [1, 61, 300, 5000])
def test_chains_nest_as_deep_as_they_like(levels):
    """Legacy tables take any depth: the deepest rule is met, and the walk finds back through all chains."""
    node = make_node(nested(levels, last="-p udp --dport 53 -j DROP"))
    nat = fastnat.Engine(node, max_connections=100)
    assert nat.stack_of(4).ruleset.jump_depth == levels
    assert nat.process(flows(nat, 1))[0]["reason"] == Reason.RULE_DROP
    assert nat.process(flows(nat, 1, dport=54))[0]["verdict"] == Verdict.FORWARD
    assert nat.fork().process(flows(nat, 1))[0]["reason"] == Reason.RULE_DROP


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_depth_is_the_longest_way_over_all_callers(data):
    """Random call graphs without loops: the stack is as deep as the deepest walk, however often chains were seen."""
    n = data.draw(st.integers(1, 40))
    calls = {i: data.draw(st.lists(st.integers(i + 1, n), max_size=3)) if i < n else [] for i in range(n + 1)}
    goto = {i: [data.draw(st.booleans()) for _ in calls[i]] for i in calls}
    order = data.draw(st.permutations(range(1, n + 1)))
    lines = ["*filter", *(f":C{i} - [0:0]" for i in order)]
    for i in (0, *order):
        name = "FORWARD" if i == 0 else f"C{i}"
        lines += [f"-A {name} -{'g' if g else 'j'} C{c}" for c, g in zip(calls[i], goto[i], strict=True)]
    depth = {}
    for i in reversed(range(n + 1)):
        depth[i] = max((depth[c] + (not g) for c, g in zip(calls[i], goto[i], strict=True)), default=0)
    nat = fastnat.Engine(make_node("\n".join([*lines, "COMMIT", ""])), max_connections=100)
    assert nat.stack_of(4).ruleset.jump_depth == max(depth.values())
    assert nat.process(flows(nat, 2))["verdict"].tolist() == [Verdict.FORWARD] * 2
    nat.check()


def doubling(levels):
    lines = ["*filter", *(f":C{i} - [0:0]" for i in range(levels)), "-A FORWARD -j C0"]
    lines += [f"-A C{i} -j C{i + 1}" for i in range(levels - 1) for _ in range(2)]
    return "\n".join([*lines, "COMMIT", ""])


def test_a_walk_that_doubles_at_every_level_ends_with_a_reason():
    node = make_node()
    (warning,) = node.load_rules(doubling(60))
    assert "TOO_MANY_RULES" in warning and "chain FORWARD" in warning
    nat = fastnat.Engine(node, max_connections=100)
    out = nat.process(flows(nat, 2))
    assert out["reason"].tolist() == [Reason.TOO_MANY_RULES] * 2
    assert out["verdict"].tolist() == [Verdict.DROP] * 2
    nat.check()
    assert not make_node().load_rules(doubling(12))


def test_loops_are_still_refused():
    with pytest.raises(fastnat.RuleError, match="loop: A -> B -> A"):
        make_node().load_rules("*filter\n:A - [0:0]\n:B - [0:0]\n-A A -j B\n-A B -j A\nCOMMIT\n")


# --- records: helpers, services, evictions, resets


def service_node(rules="*raw\n-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\nCOMMIT\n", port=21):
    node = make_node(rules)
    node.load_services(
        f"-A -t 198.51.100.10:{port} -s rr\n"
        f"-a -t 198.51.100.10:{port} -r 10.244.1.8:{port} -m -w 1\n-a -t 198.51.100.10:{port} -r 10.244.1.9:{port} -m\n"
    )
    return node


@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
@pytest.mark.parametrize("auto", [False, True])
def test_a_helper_and_a_virtual_service_on_one_connection(profile, auto, tmp_path):
    """Both keep what they know of it, through deletion, expiry, saving and forking."""
    node = service_node()
    if auto:
        node = service_node("*nat\n-A POSTROUTING -o cni0 -j MASQUERADE\nCOMMIT\n")
        node.sysctls["net.netfilter.nf_conntrack_helper"] = "1"
    nat = fastnat.Engine(node, profile, max_connections=100)
    for k in range(4):
        out = tcp(nat, 1000 + k, SYN, 0.1 * k, "203.0.113.9", "198.51.100.10", 21, "eth0")
        assert out["verdict"] == Verdict.FORWARD
        nat.check()
    assert nat.conntrack.format().count("helper=ftp") == (4 if not auto or profile == "linux-5.4" else 0)
    nat.save(tmp_path / "state")
    for other in (nat.fork(), fastnat.Engine.restore(tmp_path / "state"), nat):
        other.check()
        assert [s["inactive"] + s["active"] for s in other.core_of(4).arrays["servers"]] == [2, 2]
        other.conntrack.delete(next(iter(other.conntrack)))
        other.check()
        other.advance(1e6)
        other.check()
        assert other.core_of(4).arrays["servers"]["active"].sum() == 0


TWO_SERVICES = """*nat
-A PREROUTING -d 203.0.113.1 -p tcp --dport 80 -j DNAT --to-destination 203.0.113.9:80
-A PREROUTING -d 203.0.113.2 -p tcp --dport 80 -j DNAT --to-destination 203.0.113.9:80
-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 2000-2003 {options}
COMMIT
"""


@given(st.integers(0, 2**32), st.sampled_from(["", "--random-fully"]))
@settings(max_examples=examples(40), deadline=None)
def test_a_port_search_that_evicts_connections_of_its_own_source(seed, options):
    """Two services behind one backend, few ports: what was the newest of the source may be gone after the search."""
    draw = np.random.default_rng(seed)
    nat = fastnat.Engine(make_node(TWO_SERVICES.format(options=options)), max_connections=1000, seed=seed)
    now = 0.0
    for _ in range(30):
        now += 0.5
        src, dst = f"10.244.1.{draw.integers(2, 5)}", f"203.0.113.{draw.integers(1, 3)}"
        if draw.random() < 0.6:
            opened = nat.connect("tcp", src, 1000, dst, 80, now)
            if opened is not None:
                nat.close(opened, now)
        else:
            fields = {"src": src, "sport": 1000, "dst": dst, "dport": 80, "iface": "cni0", "tcp_flags": SYN}
            nat.process(nat.packets(proto="tcp", isn=int(draw.integers(0, 2**16)), **fields), now)
        nat.check()
    assert nat.stats["new"] > 4


FTP_HELPER = "*raw\n-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\nCOMMIT\n"
TFTP_HELPER = "*raw\n-A PREROUTING -p udp --dport 69 -j CT --helper tftp\nCOMMIT\n"
MASQUERADE = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"


@pytest.mark.parametrize("packet", [
    TCP(sport=20, dport=258, flags="S", seq=5, chksum=1),
    TCP(sport=20, dport=258, flags="SF", seq=5),
    TCP(sport=20, dport=258, flags="A", seq=5),
    b"\x00\x14\x01\x02" + bytes(4),
], ids=["checksum", "flags", "ack", "cut"])  # fmt: skip
def test_an_announced_connection_that_begins_invalid(packet):
    nat = fastnat.Engine(make_node(FTP_HELPER + MASQUERADE), max_connections=100)
    client, server, own = "10.244.1.2", "203.0.113.9", "198.51.100.10"

    def run(iface, p):
        nat.process_packet(bytes(p), iface, 0.0)
        nat.check()

    run("cni0", IP(src=client, dst=server) / TCP(sport=309, dport=21, seq=100))
    run("eth0", IP(src=server, dst=own) / TCP(sport=21, dport=309, flags="SA", seq=200, ack=101))
    run("cni0", IP(src=client, dst=server) / TCP(sport=309, dport=21, flags="A", seq=101, ack=201))
    run("cni0", IP(src=client, dst=server) / TCP(sport=309, dport=21, flags="PA", seq=101, ack=201) / b"USER\r\n")
    command = b"PORT 10,244,1,2,1,2\r\n"
    run("cni0", IP(src=client, dst=server) / TCP(sport=309, dport=21, flags="PA", seq=107, ack=201) / command)
    assert nat.stats["expect_create"] == 1
    run("eth0", IP(src=server, dst=own, proto=6) / packet)


@pytest.mark.parametrize("family", [4, 6])
def test_an_announced_tftp_connection_that_begins_invalid(family):
    node = make_node(TFTP_HELPER + MASQUERADE)
    ip, client, server = IP, "10.244.1.2", "203.0.113.9"
    if family == 6:
        node.add_address("cni0", "2001:db8:a::1/64")
        node.add_address("eth0", "2001:db8:b::1/64")
        node.add_route("::/0", via="2001:db8:b::fe", dev="eth0")
        node.load_rules6(TFTP_HELPER + MASQUERADE)
        ip, client, server = IPv6, "2001:db8:a::2", "2001:db8:c::9"
    nat = fastnat.Engine(node, max_connections=100)
    ask = ip(src=client, dst=server) / UDP(sport=309, dport=69) / b"\0\1x\0octet\0"
    _, sent = nat.process_packet(bytes(ask), "cni0")
    assert nat.stats["expect_create"] == 1
    answer = ip(src=server, dst=ip(sent).src) / UDP(sport=1234, dport=309, chksum=1, len=3)
    nat.process_packet(bytes(answer), "eth0", 0.1)
    nat.check()


@pytest.mark.parametrize("chain", ["PREROUTING", "FORWARD", "POSTROUTING"])
@pytest.mark.parametrize("how", ["--set-mark 1", "--save-mark"])
def test_a_reset_connection_may_be_marked_and_is_gone(chain, how, tmp_path):
    """The RST deletes it; rules go on looking at it until the packet leaves, and nothing lives on."""
    rules = f"*mangle\n-A {chain} -j CONNMARK {how}\n-A POSTROUTING -m connmark --mark 1 -j MARK --set-mark 7\nCOMMIT\n"
    nat = fastnat.Engine(make_node(rules + MASQUERADE), max_connections=5, events=100)
    for k in range(5):
        tcp(nat, 1000 + k, SYN, 0.0)
    tcp(nat, 1000, RST, 0.1)
    nat.check()
    assert len(nat.conntrack) == 4
    nat.save(tmp_path / "state")
    fastnat.Engine.restore(tmp_path / "state").check()
    nat.link_down("eth0")
    nat.check()
    assert len({int(tcp(nat, 3000 + k, SYN, 0.2)["conn"]) for k in range(5)}) == 5
    nat.check()


def test_a_mark_on_a_reset_connection_is_seen_by_the_rules_behind():
    """As in the kernel, where the packet holds a reference: what PREROUTING marks, POSTROUTING can ask for."""
    rules = "*mangle\n-A PREROUTING -j CONNMARK --set-mark 1\n-A POSTROUTING -m connmark --mark 1 -j DROP\nCOMMIT\n"
    nat = fastnat.Engine(make_node(rules + MASQUERADE), max_connections=100)
    nat.node.load_rules(MASQUERADE)
    nat.reload()
    tcp(nat, 1000, SYN, 0.0)
    nat.node.load_rules(rules + MASQUERADE)
    nat.reload()
    assert tcp(nat, 1000, RST, 0.1)["reason"] == Reason.RULE_DROP
    assert len(nat.conntrack) == 0
    nat.check()


def test_a_child_outlives_its_master_whose_record_is_used_again():
    """What was announced keeps the number of its master; another connection with a helper may have it by then."""
    nat = fastnat.Engine(make_node(TFTP_HELPER + MASQUERADE), max_connections=100)
    ask = b"\0\1x\0octet\0"
    client, server, own = "10.244.1.2", "203.0.113.9", "198.51.100.10"
    nat.process_packet(bytes(IP(src=client, dst=server) / UDP(sport=309, dport=69) / ask), "cni0", 0.0)
    nat.process_packet(bytes(IP(src=server, dst=own) / UDP(sport=1234, dport=309) / b"\0\3\0\1"), "eth0", 0.1)
    assert len(nat.conntrack) == 2
    nat.conntrack.delete(nat.conntrack.find("udp", client, 309, server, 69))
    nat.process_packet(bytes(IP(src=client, dst="203.0.113.8") / UDP(sport=310, dport=69) / ask), "cni0", 0.2)
    assert [c.helper for c in nat.conntrack if c.helper] == ["tftp"]
    nat.check()
    other = nat.fork()
    other.conntrack.flush()
    other.check()
    nat.advance(1e6)
    nat.check()


# --- copies: fork, save, restore after the node has changed


@pytest.mark.parametrize(("before", "after"), [(200, 1), (1, 200)])
def test_a_fork_does_not_look_at_the_node(before, after, tmp_path):
    """expect_max, buckets, rules and addresses may have changed; the copy has the sizes of the original."""
    node = make_node(FTP_HELPER + MASQUERADE)
    node.sysctls["net.netfilter.nf_conntrack_expect_max"] = str(before)
    nat = fastnat.Engine(node, max_connections=200)
    nat.process(flows(nat, 50))
    node.sysctls["net.netfilter.nf_conntrack_expect_max"] = str(after)
    node.sysctls["net.netfilter.nf_conntrack_buckets"] = "1"
    node.load_rules(nested(100))
    node.add_interface("eth1", ["192.0.2.1/24"])
    for other in (nat.fork(), nat.fork(seed=7)):
        sizes = {name: len(a) for name, a in other.core_of(4).arrays.items()}
        assert sizes == {name: len(a) for name, a in nat.core_of(4).arrays.items()}
        other.check()
        other.process(flows(other, 50, dport=54))
        other.check()
    assert nat.trace(flows(nat, 1, dport=55)).verdict == "forward"
    nat.reload()
    nat.check()
    nat.fork().check()


# --- memory that is shared


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.booleans())
@settings(max_examples=examples(100), deadline=None)
def test_arrays_that_share_memory_are_refused(a, b, c, frames):
    """Whatever overlaps what is written is refused before a packet runs; everything else is taken."""
    nat = fastnat.Engine(make_node(), max_connections=100)
    memory = np.zeros(4096, np.uint8)
    if frames:
        n = 4
        buffer = memory[a * 8 : a * 8 + 128]
        offsets = memory[b * 8 : b * 8 + 8 * (n + 1)].view(np.int64)
        now = memory[c * 8 : c * 8 + 8 * n].view(np.float64)
        clash = np.may_share_memory(buffer, offsets) or np.may_share_memory(buffer, now)
        ifaces = np.ones(n, np.uint16)

        def run():
            return nat.process_frames(buffer, offsets, ifaces, now)
    else:
        n = 2
        size = fastnat.PACKET.itemsize * n
        batch = memory[a * 8 : a * 8 + size].view(fastnat.PACKET)
        out = memory[b * 8 : b * 8 + fastnat.RESULT.itemsize * n].view(fastnat.RESULT)
        now = memory[c * 8 : c * 8 + 8 * n].view(np.float64)
        clash = np.may_share_memory(batch, out) or np.may_share_memory(now, out)

        def run():
            return nat.process(batch, now, out)

    if clash:
        with pytest.raises(InputError, match="memory of"):
            run()
        assert nat.stats["packets"] == 0
    else:
        assert len(run()) == n
    nat.check()


def test_the_arrays_that_are_shown_are_read_only():
    nat = fastnat.Engine(make_node(), max_connections=100)
    ruleset = nat.stack_of(4).ruleset
    shown = [*nat.core_of(4).arrays.values(), ruleset.rules, ruleset.targets, ruleset.dispatches]
    assert not any(array.flags.writeable for array in shown)
    with pytest.raises(ValueError, match="read-only"):
        nat.stack_of(4).ruleset.rules["next"] = 2**31


# --- threads, small stacks, interruptions


def on_a_thread(work, stack=128 * 1024):
    before, failures = threading.stack_size(stack), []

    def run():
        try:
            work()
        except BaseException as error:
            failures.append(error)

    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    if failures:
        raise failures[0]


def test_a_thread_with_a_small_stack():
    """All batch forms in both families, on 128 KB: what a batch needs is the engine's own memory."""
    node = make_node()
    node.add_address("cni0", "2001:db8:a::1/64")
    node.add_route("::/0", dev="eth0")
    nat = fastnat.Engine(node, max_connections=10_000)
    group = fastnat.EngineGroup(node, ["cni0"], shards=1)
    data = bytes(IP(src="10.244.1.2", dst="203.0.113.9") / UDP(sport=1, dport=2) / bytes(30_000))

    def work():
        times = np.zeros(3000)
        nat.process(flows(nat, 3000), times)
        nat.process(flows(nat, 3000, dport=54), times, cpus=256)
        nat.process(flows(nat, 300, src="2001:db8:a::2", dst="2001:db8:c::9", sport=np.arange(300)), 0.0, cpus=8)
        nat.process_packet(data, "cni0")
        nat.process_frames(np.frombuffer(bytearray(data), np.uint8), np.array([0, len(data)]), "cni0")
        group.process(flows(nat, 3000), times)
        nat.check()

    on_a_thread(work)


@pytest.mark.one_of(3)
@pytest.mark.parametrize("calls", [
    ("process", "process"), ("process", "fork"), ("process", "conntrack"), ("fork", "process"), ("process", "save"),
    ("process", "reload"), ("process", "packet"),
])  # fmt: skip
def test_two_threads_on_one_engine(calls, tmp_path):
    """The second gets one clear error, or its turn; nothing breaks. FASTNAT_THREADS=1000 tries more."""
    import os

    nat = fastnat.Engine(make_node(), max_connections=100_000)
    batch = flows(nat, 50_000)
    data = bytes(IP(src="10.244.1.2", dst="203.0.113.9") / UDP(sport=1, dport=2))
    work = {
        "process": lambda: nat.process(batch, nat.now),
        "fork": lambda: nat.fork().check(),
        "conntrack": lambda: [nat.conntrack.find("udp", "10.244.2.2", k, "203.0.113.10", 53) for k in range(100)],
        "save": lambda: nat.save(tmp_path / "state"),
        "reload": nat.reload,
        "packet": lambda: [nat.process_packet(data, "cni0", nat.now) for _ in range(100)],
    }
    busy = []
    for _ in range(int(os.environ.get("FASTNAT_THREADS", 10))):
        start = threading.Barrier(2)

        def run(name, start=start):
            start.wait()
            try:
                work[name]()
            except BusyError as error:
                busy.append(str(error))

        threads = [threading.Thread(target=run, args=(name,)) for name in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        nat.check()
    assert all("one thread at a time" in said for said in busy)


INTERRUPTED = """
import signal, sys, time
import numpy as np
sys.path.insert(0, {tests!r})
import fastnat
from nodes import flows, make_node
from behaviour.test_sound import doubling

def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
form = {form!r}
node = make_node(doubling(18) if form == "rules" else make_node().rules_text)
n = 3000 if form == "rules" else 8_000_000
batch = np.tile(flows(fastnat.Engine(node), 1000), n // 1000)
now = np.arange(n) * 1e-6 if form in ("times", "race") else 0.0
out = np.zeros(n, fastnat.RESULT)
# on a machine that has done it all by then, earlier; on one that has not begun, again
for after in (0.1, 0.05, 0.02, 0.01, 0.005, 0.05, 0.1):
    nat, reference = fastnat.Engine(node, max_connections=1 << 20), fastnat.Engine(node, max_connections=1 << 20)
    out[:] = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        nat.process(batch, now, out, cpus=8 if form == "race" else 1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        continue
    except KeyboardInterrupt:
        pass
    nat.check()
    done = nat.processed
    # the alarm may fall before the first packet, or between the last one and the alarm's end
    if done in (0, n):
        continue
    first = now[:done] if isinstance(now, np.ndarray) else now
    expected = reference.process(batch[:done], first, cpus=8 if form == "race" else 1)
    assert (expected == out[:done]).all() and not out[done:]["verdict"].any() and not out[done:]["dport"].any()
    assert nat.stats == reference.stats and nat.now == reference.now
    again = nat.process(batch[done : done + 100], nat.now)
    assert (again == reference.process(batch[done : done + 100], reference.now)).all()
    print("interrupted")
    break
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["scalar", "times", "race", "rules"])
def test_ctrl_c_stops_between_two_packets(form):
    """`processed` of the batch are done, their results in `out`; the engine goes on as one that was given no more."""
    from pathlib import Path

    code = INTERRUPTED.format(tests=str(Path(__file__).parents[1]), form=form)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.startswith("interrupted"), run.stdout + run.stderr


def test_a_signal_handler_cannot_run_the_engine_it_interrupts():
    nat = fastnat.Engine(make_node(), max_connections=1000)
    said = []

    def handler(*_):
        try:
            nat.process(flows(nat, 1), nat.now)
        except BusyError as error:
            said.append(error)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        batch = np.tile(flows(nat, 1000), 3000)
        while not said:
            nat.process(batch, nat.now)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    nat.check()


# --- the key of the tables


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32))
@settings(max_examples=examples(15), deadline=None)
def test_no_answer_depends_on_the_key(key, seed):
    draw = np.random.default_rng(seed)
    engines = [fastnat.Engine(make_node(), key=k, max_connections=5000, events=100_000) for k in (None, key)]
    for step in range(5):
        n = 400
        fields = {
            "src": (0x0AF40100 + draw.integers(0, 50, n)).astype(np.uint32), "sport": draw.integers(1, 20, n),
            "dst": (0xCB007100 + draw.integers(0, 3, n)).astype(np.uint32), "dport": draw.integers(1, 3, n),
            "proto": draw.choice([6, 17], n), "tcp_flags": draw.choice([SYN, ACK, RST, 17], n),
        }  # fmt: skip
        out = [e.process(e.packets(iface="cni0", **fields), step * 10.0) for e in engines]
        assert (out[0] == out[1]).all()
    assert engines[0].stats == engines[1].stats
    assert engines[0].conntrack.format() == engines[1].conntrack.format()
    assert (engines[0].events() == engines[1].events()).all()
    for engine in engines:
        engine.check()


@given(st.integers(0, 2**32), st.sampled_from([0, 600, 2000, 20_000]))
@settings(max_examples=examples(20), deadline=None)
def test_bitmaps_change_no_answer_however_little_memory_they_have(seed, size):
    """Crowded peers, more of them than bitmaps or pages: the ports are those that probing one by one finds."""
    rules = "*nat\n-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 2000-2063 --random-fully\nCOMMIT\n"
    little = fastnat.Engine(make_node(rules), bitmap_bytes=size, max_connections=50_000)
    much = fastnat.Engine(make_node(rules), max_connections=50_000)
    draw = np.random.default_rng(seed)
    for step in range(4):
        n = 800
        fields = {
            "src": (0x0AF40100 + draw.integers(0, 5000, n)).astype(np.uint32), "sport": draw.integers(1, 1000, n),
            "dst": (0xCB007100 + draw.integers(0, 12, n)).astype(np.uint32), "dport": 53,
        }  # fmt: skip
        out = [e.process(e.packets(proto="udp", iface="cni0", **fields), step * 12.0) for e in (little, much)]
        assert (out[0] == out[1]).all()
        little.check()
        much.check()
    assert much.core_of(4).tables["bitmaps"] > 5
    held = sum(little.core_of(4).arrays[name].nbytes for name in ("bitmap_keys", "bitmap_index", "bitmap_pages"))
    assert held <= max(size, 8)


@given(
    st.integers(0, 2**32),
    st.sampled_from(["linux-6.18", "linux-5.4"]),
    st.sampled_from(["2000-2023", "2000-2063", "2000-2099"]),
)
@settings(max_examples=examples(20), deadline=None)
def test_bitmaps_know_which_owners_give_way(seed, profile, ports):
    """Few ports, TCP that opens, closes and opens again: a SYN takes over what it would take over without bitmaps."""
    rules = f"*nat\n-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports {ports}\nCOMMIT\n"
    engines = [fastnat.Engine(make_node(rules), profile, bitmap_bytes=size) for size in (0, 1 << 20)]
    draw = np.random.default_rng(seed)
    flows = {
        "src": (0x0AF40100 + draw.integers(0, 250, 900)).astype(np.uint32), "sport": draw.integers(1024, 1100, 900),
        "dst": (0xCB007100 + draw.integers(0, 2, 900)).astype(np.uint32), "dport": 443,
    }  # fmt: skip
    answers = np.zeros(900, fastnat.RESULT)
    for step in range(24):
        some = draw.integers(0, 900, 300)
        asked = {k: v[some] if isinstance(v, np.ndarray) else v for k, v in flows.items()}
        flags = draw.choice([SYN, ACK, RST, 17], 300, p=[0.5, 0.2, 0.1, 0.2])
        batch = engines[0].packets(proto="tcp", iface="cni0", tcp_flags=flags, **asked)
        batch["isn"] = draw.integers(0, 65536, 300)
        out = [e.process(batch, step * 2.0) for e in engines]
        assert (out[0] == out[1]).all()
        answers[some] = out[0]
        known = answers[(answers["sport"] > 0) & (answers["verdict"] == 0)]
        known = known[draw.integers(0, len(known), 100)]
        back = engines[0].packets(
            proto="tcp", iface="eth0", src=known["dst"], sport=known["dport"], dst=known["src"], dport=known["sport"],
            tcp_flags=draw.choice([SYN | ACK, ACK, RST, 17], 100),
        )  # fmt: skip
        assert (engines[0].process(back, step * 2.0 + 1) == engines[1].process(back, step * 2.0 + 1)).all()
        for engine in engines:
            engine.check()
    assert engines[0].stats == engines[1].stats
    assert engines[1].core_of(4).tables["bitmaps"] > 0
    assert (engines[1].stats["evicted"] > 0) == (profile == "linux-6.18")
