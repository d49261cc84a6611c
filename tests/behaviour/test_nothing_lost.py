"""What is refused changes nothing, what is saved can be restored, and goes on as the original does."""

import os
import signal
import threading

import numpy as np
import pytest
from nodes import flows, make_node

import fastnat
from fastnat import BusyError, FastnatError
from fastnat.rules import compiler as ruleset

MASQUERADE = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"


def dual_stack():
    node = make_node()
    node.add_address("cni0", "2001:db8:a::1/64")
    node.add_address("eth0", "2001:db8:b::1/64")
    node.add_route("::/0", via="2001:db8:b::fe", dev="eth0")
    node.load_rules6(MASQUERADE)
    return node


def six(nat, n, **fields):
    given = {"src": "2001:db8:a::2", "dst": "2001:db8:c::9", "sport": np.arange(n) + 1000, "dport": 53, **fields}
    return nat.packets(proto="udp", iface="cni0", **given)


def restored(nat, tmp_path):
    nat.save(tmp_path / "state")
    other = fastnat.Engine.restore(tmp_path / "state")
    other.check()
    return other


def state_of(nat):
    return nat.now, nat.stats, nat.conntrack.format("extended")


REFUSED = {
    "out too short": lambda nat, b: nat.process(b, 100.0, np.empty(1, fastnat.RESULT)),
    "time goes back": lambda nat, b: nat.process(b, np.linspace(100.0, 50.0, len(b))),
    "times of another type": lambda nat, b: nat.process(b, np.full(len(b), 100.0, np.float32)),
    "times that are text": lambda nat, b: nat.process(b, np.full(len(b), "x")),
    "too few times": lambda nat, b: nat.process(b, np.full(1, 100.0)),
    "no cpus": lambda nat, b: nat.process(b, 100.0, cpus=0),
    "strided": lambda nat, b: nat.process(b[::2], 100.0),
    "two-dimensional": lambda nat, b: nat.process(b.reshape(2, -1), 100.0),
    "another dtype": lambda nat, b: nat.process(np.zeros(4, np.int32), 100.0),
    "overlap": lambda nat, b: nat.process(b, 100.0, b.view(np.uint8)[: len(b) * 24].view(fastnat.RESULT)),
    "far future": lambda nat, b: nat.process(b, 1e300),
    "no time": lambda nat, b: nat.process(b, float("nan")),
    "offsets": lambda nat, b: nat.process_frames(np.zeros(9, np.uint8), np.array([0, 99]), "cni0", 100.0),
    "no datagram": lambda nat, b: nat.process_packet("text", "cni0", 100.0),
    "no connection": lambda nat, b: nat.close(None, 100.0),
}


@pytest.mark.one_of(2)
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("version", [4, 6])
def test_a_call_that_is_refused_changes_nothing_in_either_family(name, version):
    nat = fastnat.Engine(dual_stack(), max_connections=1000)
    nat.process(flows(nat, 10), 1.0)
    nat.process(six(nat, 10), 1.0)
    before = state_of(nat)
    batch = (flows(nat, 4) if version == 4 else six(nat, 4)).copy()
    with pytest.raises((FastnatError, AttributeError) if name == "no connection" else FastnatError):
        REFUSED[name](nat, batch)
    assert state_of(nat) == before
    nat.check()


@pytest.mark.one_of(2)
@pytest.mark.parametrize("version", [4, 6])
def test_a_group_that_refuses_a_batch_changes_nothing_in_any_shard(version):
    group = fastnat.EngineGroup(dual_stack(), ["cni0"], shards=2)
    batch = flows(group, 4000) if version == 4 else six(group, 4000)
    group.process(batch, 1.0)
    before = [state_of(engine) for engine in group.engines]
    for now in (np.linspace(100.0, 50.0, 4000), np.full(3, 100.0), np.full(4000, "x"), 1e300):
        with pytest.raises(FastnatError):
            group.process(batch, now)
    with pytest.raises(FastnatError):
        group.process(batch, 100.0, np.empty(3, fastnat.RESULT))
    assert [state_of(engine) for engine in group.engines] == before


def test_two_threads_on_one_group():
    """One gets BusyError; what the other returns is complete."""
    group = fastnat.EngineGroup(make_node(), ["cni0"], shards=2, max_connections=100_000)
    batch = np.tile(flows(group, 1000), 300)
    expected = fastnat.EngineGroup(make_node(), ["cni0"], shards=2, max_connections=100_000).process(batch)
    group.process(batch)
    again = group.process(batch)
    found, busy = [], []

    def run():
        try:
            found.append(group.process(batch))
        except BusyError as error:
            busy.append(error)

    for _ in range(10):
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) + len(busy) == 20
    assert all((out == again).all() for out in found)
    assert (expected["conn"] == again["conn"]).all()


def test_a_state_saved_beside_another_thread_s_work_can_be_restored(tmp_path):
    """save() or process() is refused, or waits for nothing; a file that is written is whole."""
    nat = fastnat.Engine(make_node(), max_connections=50_000)
    batches = [flows(nat, 2000, dport=k) for k in range(20)]
    stop, saved = threading.Event(), 0

    def work():
        now = 0.0
        while not stop.is_set():
            for batch in batches:
                try:
                    nat.process(batch, now)
                    now += 3.0
                except BusyError:
                    pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(60):
            try:
                nat.save(tmp_path / "state")
            except BusyError:
                continue
            saved += 1
            fastnat.Engine.restore(tmp_path / "state").check()
    finally:
        stop.set()
        thread.join()
    nat.save(tmp_path / "state")
    fastnat.Engine.restore(tmp_path / "state").check()


def test_events_that_were_not_asked_for_do_not_stop_a_restore(tmp_path):
    nat = fastnat.Engine(make_node(), events=5, max_connections=100)
    nat.process(flows(nat, 5))
    nat.events()
    nat.process(flows(nat, 5, dport=54))
    nat.events()
    other = restored(nat, tmp_path)
    assert len(other.conntrack) == 10 and len(other.events()) == 0


CHANGES = {
    "rules": lambda node: node.load_rules("*filter\n-A FORWARD -m recent --name R --set -j ACCEPT\nCOMMIT\n"),
    "services": lambda node: node.load_services("-A -t 198.51.100.10:80 -s rr -p 300\n"),
    "sysctl": lambda node: node.sysctls.update({"net.netfilter.nf_conntrack_udp_timeout": "abc"}),
    "address": lambda node: node.add_address("eth0", "2001:db8:b::1/64"),
    "gone": lambda node: node.remove_address("eth0", "198.51.100.10"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_is_that_of_the_engine_not_of_a_node_changed_since(change, tmp_path):
    nat = fastnat.Engine(make_node(), max_connections=1000)
    nat.process(flows(nat, 10))
    CHANGES[change](nat.node)
    other = restored(nat, tmp_path)
    later = flows(nat, 10, dport=99)
    assert (nat.process(later) == other.process(later)).all()
    assert nat.save_rules() == other.save_rules()


@pytest.mark.parametrize("proto", ["sctp", "tcp", "udp", "gre"])
def test_a_record_that_another_protocol_had_before(proto, tmp_path):
    """Nothing of the connection before shows, in the table or in a saved state."""
    nat = fastnat.Engine(make_node(), max_connections=20)
    nat.process(flows(nat, 20, proto="tcp", tcp_flags=2))
    nat.process(flows(nat, 20, proto="tcp", tcp_flags=16))
    nat.conntrack.flush()
    nat.process(flows(nat, 20, proto=proto, tcp_flags=2))
    assert restored(nat, tmp_path).conntrack.format() == nat.conntrack.format()


def test_a_timeout_of_zero_can_be_saved(tmp_path):
    node = make_node()
    node.sysctls["net.netfilter.nf_conntrack_udp_timeout"] = "0"
    nat = fastnat.Engine(node, max_connections=100)
    nat.process(flows(nat, 5))
    other = restored(nat, tmp_path)
    for engine in (nat, other):
        engine.advance(1.0)
        engine.check()
        assert len(engine.conntrack) == 0


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc", "sh"])
def test_a_scheduler_goes_on_where_it_was(scheduler, tmp_path):
    node = make_node()
    servers = "".join(f"-a -t 198.51.100.10:80 -r 10.244.1.{7 + k}:80 -m -w {k + 1}\n" for k in range(3))
    node.load_services(f"-A -t 198.51.100.10:80 -s {scheduler}\n{servers}")
    nat = fastnat.Engine(node, max_connections=1000)

    def opened(engine, first):
        fields = {"sport": np.arange(first, first + 5), "dst": "198.51.100.10", "dport": 80, "tcp_flags": 2}
        return engine.process(engine.packets(proto="tcp", src="203.0.113.9", iface="eth0", **fields))["dst"].tolist()

    opened(nat, 100)
    other, copy = restored(nat, tmp_path), nat.fork()
    assert opened(nat, 200) == opened(copy, 200) == opened(other, 200)


def test_random_ports_stay_random_over_reload_and_restore(tmp_path):
    nat = fastnat.Engine(make_node(), max_connections=1000)
    nat.set_random_fully()
    nat.reload()
    other = restored(nat, tmp_path)
    other.reload()
    for engine in (nat, other):
        assert (engine.process(flows(engine, 50))["sport"] != 40000).sum() > 40


def test_an_interrupted_reload_is_done_whole(monkeypatch):
    """Ctrl-C while the tables are exchanged comes after that."""
    nat = fastnat.Engine(make_node())
    nat.node.load_rules("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n*filter\n-A FORWARD -j DROP\nCOMMIT\n")
    exchange = ruleset.with_arrays_of

    def interrupted(*given):
        os.kill(os.getpid(), signal.SIGINT)
        return exchange(*given)

    monkeypatch.setattr("fastnat.engine.stack.with_arrays_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nat.reload()
    assert len(nat.stack_of(4).ruleset.rules) == len(nat.core_of(4).arrays["rules"])
    assert (nat.process(flows(nat, 4), nat.now)["reason"] == fastnat.Reason.RULE_DROP).all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
