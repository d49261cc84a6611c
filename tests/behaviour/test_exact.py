"""To the jiffy: what is left of a connection, and the windows of rates, in both families."""

import re

import numpy as np
import pytest
from behaviour.test_corner_steps import CLIENT, FAMILIES, LAYERS, SERVER, router
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach

import fastnat
from fastnat import Verdict
from fastnat.dtypes import HZ


def counts(engine, family):
    """Return the packets that each rule of FORWARD has met."""
    found = re.findall(r"^\[(\d+):\d+\] -A FORWARD", engine.save_rules(family), re.MULTILINE)
    return [int(n) for n in found]


@FAMILIES
def test_what_is_left_of_a_connection_is_compared_in_whole_seconds(family):
    """An error belongs to the connection that it quotes, and does not renew it."""
    bounds = [(low, high) for low in (0, 1, 2, 28, 29, 30) for high in (0, 1, 2, 28, 29, 30) if low <= high]
    asks = [f"-m conntrack --ctstatus CONFIRMED {inverse}--ctexpire {low}:{high}" for inverse in ("", "! ")
            for low, high in bounds]  # fmt: skip
    rules = "".join(f"-A FORWARD {rule}\n" for rule in asks)
    nat = fastnat.Engine(router(family, f"*filter\n{rules}COMMIT\n"))
    layer, error = LAYERS[family], ICMP(type=3, code=3) if family == 4 else ICMPv6DestUnreach(code=4)
    sent = layer(src=CLIENT[family], dst=SERVER[family]) / UDP(sport=7, dport=53) / b"question"
    assert nat.process_packet(bytes(sent), "r0", 1.0)[0] == Verdict.FORWARD
    quoting = bytes(layer(src=SERVER[family], dst=CLIENT[family]) / error / layer(bytes(sent)))
    # a datagram that nobody has answered lives for 30 s
    for left in sorted((k * HZ + near for k in (0, 1, 2, 3, 28, 29, 30) for near in (-1, 0, 1)), reverse=True):
        if not 0 < left <= 30 * HZ:
            continue
        before = counts(nat, family)
        assert nat.process_packet(quoting, "r1", 1.0 + (30 * HZ - left) / HZ)[0] == Verdict.FORWARD
        met = [after - one for one, after in zip(before, counts(nat, family), strict=True)]
        within = [low <= left // HZ <= high for low, high in bounds]
        assert met == [*map(int, within), *(int(not one) for one in within)], left


def windowed(rate, burst, interval, arrivals):
    """Return which packets pass a rate match; arrivals: jiffies. A window that had too many closes the next one."""
    passed, begun, n, closed = [], None, 0, False
    for now in arrivals:
        if begun is None:
            begun = now
        elif now - begun >= interval * HZ:
            closed = n * interval * HZ > (now - begun) * rate
            begun, n = now, 0
        n += 1
        passed.append(not closed and n <= burst)
    return passed


@FAMILIES
@pytest.mark.parametrize("seed", range(6))
def test_windows_of_rates_are_judged_to_the_jiffy(family, seed):
    """Windows that end at the very jiffy or beside it, with as many packets as the rate allows, or one more or less."""
    rng = np.random.default_rng(seed)
    rate, interval = int(rng.integers(2, 9)), int(rng.integers(1, 4))
    burst = int(rng.integers(1, 4))
    rule = f"--hashlimit-upto {rate}/sec --hashlimit-burst {burst} --hashlimit-rate-match --hashlimit-name R"
    rule += f" --hashlimit-rate-interval {interval} --hashlimit-htable-expire 6000000"
    node = router(family, f"*filter\n-A FORWARD -m hashlimit {rule} -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n")
    nat = fastnat.Engine(node)
    arrivals = []
    now = HZ
    for _ in range(60):
        n = max(rate * int(rng.choice([1, interval])) + int(rng.integers(-1, 2)), 1)
        # all within the window, the last of them at its end
        there = np.sort(rng.integers(0, interval * HZ, n))
        arrivals += [now + int(k) for k in (0, *there[1:])]
        now += interval * HZ + int(rng.choice([-1, 0, 0, 0, 1, HZ]))
        now = max(now, arrivals[-1])
    fields = {"proto": "udp", "src": CLIENT[family], "dst": SERVER[family], "sport": np.arange(len(arrivals)) + 1,
              "dport": 53, "iface": "r0"}  # fmt: skip
    out = nat.process(nat.packets(**fields), np.array(arrivals) / HZ)
    # user2rate of the burst: what passes at once is the rate and so many more
    assert (out["verdict"] == Verdict.FORWARD).tolist() == windowed(rate, rate + burst, interval, arrivals)
