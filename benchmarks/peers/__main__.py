"""Run the peers one after the other and print one table: ns, and how many times as long as fastnat takes."""

import argparse
import os
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table
from rows import ACK, SYN_ACK, answers
from workloads import BATCH, live

import fastnat

from . import KINDS, NAT, NAT6, arrays, dictionary, flow, kernel, ovs, rules

EACH = 20_480
# flows to one destination of 64,512 ports, before those that are measured
CROWD = 72_000
UDP = KINDS["UDP"]


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


def picked(n):
    """Return numbers of established flows in random order, by the batch."""
    return in_batches(np.random.default_rng(1).integers(0, n, EACH))


def engine(kind, n, room):
    """Return an engine with n live flows: of UDP on the example node, else with the rules of the kernel's peer."""
    if kind == UDP:
        return live(n, room=room, prefault=True)
    node, family = fastnat.Node(), 6 if kind.src > 2**32 else 4
    for iface, addresses in kernel.INTERFACES[family].items():
        node.add_interface(iface, addresses)
    for route in kernel.ROUTES[family]:
        dst, _, via, _, dev = route.split()
        node.add_route("::/0" if family == 6 else dst, via=via, dev=dev)
    (node.load_rules6 if family == 6 else node.load_rules)(rules(kind))
    nat = fastnat.Engine(node, max_connections=n + room, prefault=True)
    for start in range(0, n, BATCH):
        first = kind.packets(nat, np.arange(start, min(start + BATCH, n)))
        sent = nat.process(first)
        if kind.proto == "tcp":
            nat.process(answers(nat, sent, first, SYN_ACK))
            first["tcp_flags"] = ACK
            nat.process(first)
    return nat


def of_fastnat(kind, n):
    crowd = CROWD if kind == UDP else 0
    nat = engine(kind, n, EACH + crowd + 1024)
    out = np.empty(BATCH, fastnat.dtypes.RESULT6 if kind.src > 2**32 else fastnat.RESULT)
    found = []
    for numbers, opening in ((in_batches(range(n, n + EACH)), True), (picked(n), False)):
        parts = [kind.packets(nat, part, opening) for part in numbers]
        found.append(timed(lambda p: nat.process(p, 0.0, out), parts))
        if (out["verdict"] == fastnat.Verdict.DROP).any() or (out["conn"] == 2**32 - 1).any():
            raise RuntimeError("a packet of the benchmark was dropped or not tracked")
    if crowd:
        packets = nat.packets(
            src=0x0AF40300 + np.arange(CROWD + 1024), proto="udp", sport=40_000, dst="192.0.2.1", dport=53, iface="cni0"
        )
        nat.process(packets[:CROWD])
        found.append(timed(lambda p: nat.process(p, 0.0, out), packets[CROWD:].reshape(-1, BATCH)))
    return found


def of_a_dict(kind, n):
    nat = dictionary.DictNat(NAT6 if kind.src > 2**32 else NAT)
    for key in dictionary.flows(0, n, kind):
        nat.packet(key)

    def each(keys):
        for key in keys:
            nat.packet(key)

    fresh = [dictionary.flows(start, BATCH, kind) for start in range(n, n + EACH, BATCH)]
    keys = dictionary.flows(0, n, kind)
    return timed(each, fresh), timed(each, [[keys[k] for k in part] for part in picked(n)])


def of_arrays(n):
    nat = arrays.ArrayNat(n + EACH)

    def run(numbers):
        nat.process(*(np.asarray(a, np.uint32) for a in flow(numbers)))

    for start in range(0, n, BATCH):
        run(np.arange(start, min(start + BATCH, n)))
    new = timed(run, in_batches(range(n, n + EACH)))
    # one batch has no flow twice
    return new, timed(run, in_batches(np.random.default_rng(1).permutation(n)[: min(n, EACH) // BATCH * BATCH]))


def peers(kind, n, driver, release):
    """Yield the name of each peer that has such flows, and its figures; fastnat's first."""
    yield "fastnat", of_fastnat(kind, n)
    if driver:
        yield (
            f"Open vSwitch {release}, conntrack alone",
            ovs.figures(driver, kind, n, EACH, CROWD if kind == UDP else 0),
        )
    # it has no protocols, and translates sources only
    if kind.proto == "udp" and kind.dst != NAT:
        yield "Python dict", of_a_dict(kind, n)
    if kind == UDP:
        yield "NumPy arrays, batches of 256", of_arrays(n)
    if os.geteuid() == 0:
        yield (
            f"Linux {os.uname().release}, above forwarding",
            kernel.figures(kind, n, EACH, CROWD if kind == UDP else 0),
        )


def main():
    parser = argparse.ArgumentParser(prog="peers", description=__doc__)
    parser.add_argument(
        "live", nargs="?", type=int, default=1_000_000, help="connections that are live before any is measured"
    )
    parser.add_argument("--ovs", metavar="DIR", help="a source tree of Open vSwitch")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args()
    try:
        driver, release = ovs.build(options.ovs) if options.ovs else (None, "")
    except ovs.BuildError as error:
        sys.exit(f"peers: {error}")
    table = Table(title=f"ns a packet, and times fastnat's; {options.live:,} connections live")
    for head in ("packets", "", "new connection", "established packet", "new, ports exhausted"):
        table.add_column(head, justify="left" if head in {"packets", ""} else "right")
    for name, kind in ((name, KINDS[name]) for name in options.kinds):
        own, shown = None, name
        for peer, figures in peers(kind, options.live, driver, release):
            own = own or figures
            cells = [f"{ns:,.0f} ({ns / ours:.1f})" for ns, ours in zip(figures, own, strict=False)]
            table.add_row(shown, peer, *cells, *["-"] * (3 - len(cells)))
            shown = ""
        table.add_section()
    Console(width=130).print(table)
    if os.geteuid():
        print("The kernel was left out: it needs root.")
    if driver is None:
        print(f"{ovs.MISSING}.")


if __name__ == "__main__":
    main()
