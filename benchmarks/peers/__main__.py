"""Run the peers one after the other and print one table: ns, and how many times as long as fastnat takes."""

import os
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table
from workloads import BATCH, live, masqueraded

import fastnat

from . import arrays, dictionary, flow, kernel

# connections that are live before anything is measured
LIVE = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
EACH = 20_480
# flows to one destination of 64,512 ports, before those that are measured
CROWD = 72_000


def timed(call, batches):
    """Return the median ns of a packet over calls with batches."""
    spent = []
    for batch in batches:
        start = time.perf_counter_ns()
        call(batch)
        spent.append((time.perf_counter_ns() - start) / len(batch))
    return float(np.median(spent))


def in_batches(numbers):
    return np.asarray(numbers).reshape(-1, BATCH)


def of_fastnat():
    nat = live(LIVE, room=EACH + CROWD + 1024, prefault=True)
    out = np.empty(BATCH, fastnat.RESULT)
    new = timed(lambda p: nat.process(p, 0.0, out), [masqueraded(nat, k) for k in in_batches(range(LIVE, LIVE + EACH))])
    picked = in_batches(np.random.default_rng(1).integers(0, LIVE, EACH))
    old = timed(lambda p: nat.process(p, 0.0, out), [masqueraded(nat, k) for k in picked])
    crowd = nat.packets(src=0x0AF40300 + np.arange(CROWD + 1024), proto="udp", sport=40_000, dst="192.0.2.1", dport=53,
                        iface="cni0")  # fmt: skip
    nat.process(crowd[:CROWD])
    late = crowd[CROWD:].reshape(-1, BATCH)
    return new, old, timed(lambda p: nat.process(p, 0.0, out), late)


def of_a_dict():
    nat = dictionary.DictNat()
    for key in dictionary.flows(0, LIVE):
        nat.packet(key)

    def each(keys):
        for key in keys:
            nat.packet(key)

    fresh = [dictionary.flows(start, BATCH) for start in range(LIVE, LIVE + EACH, BATCH)]
    keys = dictionary.flows(0, LIVE)
    old = [[keys[k] for k in row] for row in in_batches(np.random.default_rng(1).integers(0, LIVE, EACH))]
    return timed(each, fresh), timed(each, old), None


def of_arrays():
    nat = arrays.ArrayNat(LIVE + EACH)

    def run(numbers):
        nat.process(*(np.asarray(a, np.uint32) for a in flow(numbers)))

    for start in range(0, LIVE, BATCH):
        run(np.arange(start, min(start + BATCH, LIVE)))
    new = timed(run, in_batches(range(LIVE, LIVE + EACH)))
    return new, timed(run, in_batches(np.random.default_rng(1).permutation(LIVE)[:EACH])), None


def main():
    rows = {"fastnat": of_fastnat(), "Python dict": of_a_dict(), "NumPy arrays, batches of 256": of_arrays()}
    if os.geteuid() == 0:
        rows[f"Linux {os.uname().release}, above forwarding"] = kernel.figures(LIVE, EACH, CROWD)
    table = Table(title=f"ns a packet, and times fastnat's; {LIVE:,} connections live")
    for head in ("", "new connection", "established packet", "new, ports exhausted"):
        table.add_column(head, justify="left" if not head else "right")
    for name, figures in rows.items():
        cells = [
            "-" if ns is None else f"{ns:,.0f} ({ns / own:.1f})"
            for ns, own in zip(figures, rows["fastnat"], strict=True)
        ]
        table.add_row(name, *cells)
    Console().print(table)
    if os.geteuid():
        print("the kernel was left out: it needs root")


if __name__ == "__main__":
    main()
