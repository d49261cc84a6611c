"""Instructions per operation, counted by callgrind: the same on every run, on a busy machine as on an idle one.

`make bench-instructions` counts, compares with instructions.json and exits with 1 when an operation takes 1 % more;
`python benchmarks/instructions.py --write` takes the present counts as the ones to compare with;
names of operations: only those. The counts belong to a
compiler: with another one than instructions.json names they are only shown.
"""

import ctypes
import itertools
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from rows import ROWS
from workloads import (
    DNAT,
    FILTERED,
    FILTERED_TCP,
    FRAMES,
    FRAMES_TCP,
    IPV6,
    IPV6_TCP,
    TCP,
    Services,
    crowded,
    live,
    masqueraded,
    nft_services,
    services,
)

BASELINE = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.01
BATCH = 256
FEW, MANY, LIVE = 20, 60, 40_000
# rows take several packets of each connection
FEWER_LIVE = MANY * BATCH


def new(kind, batches):
    """First packets of connections, none of which fails."""
    nat = kind.live(LIVE)
    for n in range(batches):
        kind.run(nat, np.arange(LIVE + n * BATCH, LIVE + (n + 1) * BATCH))


def established(kind, batches):
    """Further packets of connections, each seen once before."""
    nat = kind.live(LIVE)
    for n in range(batches):
        kind.run(nat, np.arange(n * BATCH, (n + 1) * BATCH), opening=False)


def new_example(batches):
    """First packets on the example node."""
    nat = live(LIVE, room=200_000)
    for n in range(batches):
        nat.process(masqueraded(nat, np.arange(LIVE + n * BATCH, LIVE + (n + 1) * BATCH)))


def established_example(batches):
    """Second packets on the example node."""
    nat = live(LIVE, room=200_000)
    for n in range(batches):
        nat.process(masqueraded(nat, np.arange(n * BATCH, (n + 1) * BATCH)))


def port_search_99(batches):
    """First packets to a destination towards which 99 % of the ports are taken."""
    nat, ports = crowded(0.99)
    for n in range(batches):
        sources = np.arange(n * BATCH, (n + 1) * BATCH, dtype=np.uint32) + 0x0AF40A00
        fields = {"sport": int(ports[0]), "dst": "192.0.2.1", "dport": 53, "iface": "cni0"}
        nat.process(nat.packets(proto="udp", src=sources, **fields))


def to_services(kind, batches):
    """First packets to services: what is counted begins behind the first of them."""
    nat = kind.live(LIVE)
    for n in range(batches):
        if n == FEW:
            instrument()
        kind.run(nat, np.arange(n * BATCH, (n + 1) * BATCH))


def instrument():
    """Let callgrind count from here on: reading ten thousand services while it counts would take minutes."""
    source = "#include <valgrind/callgrind.h>\nvoid start(void) { CALLGRIND_START_INSTRUMENTATION; }\n"
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "start.so"
        cc = sysconfig.get_config_var("CC").split()[0]
        subprocess.run([cc, "-shared", "-fPIC", "-xc", "-", "-o", library], input=source, text=True, check=True)
        ctypes.CDLL(str(library)).start()


def a_row(name, calls, batches):
    """Calls of a row of rows.py, so many in the place of a batch."""
    for call, _ in itertools.islice(ROWS[name](FEWER_LIVE), batches * calls):
        call()


# rows of rows.py that are counted too, with the packets of a call, and the calls that stand for a batch: where a batch
# that opens what lives pauses, as it waits for a processor, some hundred packets would not outweigh it
FROM_ROWS = {
    "first_answer": ("first answer of UDP", BATCH, 1),
    "new_icmp": ("new ICMP echo", BATCH, 1),
    "established_icmp": ("established ICMP echo", BATCH, 1),
    "new_events": ("events on, new UDP", BATCH, 1),
    "established_events": ("events on, established UDP", BATCH, 1),
    "notrack": ("NOTRACK", BATCH, 1),
    "no_rules": ("no rule at all", BATCH, 1),
    "process_packet": ("process_packet, established UDP", 1, 16),
    "port_search_tcp_100": ("port search, TCP, 100 % established", 32, 1),
    "port_search_tcp_closed": ("port search, TCP, 100 % in TIME_WAIT", 32, 1),
    "tcp_life": ("a TCP connection of seven packets", BATCH, 1),
}
# operations counted: the difference of two runs, so that what both do falls out
OPERATIONS = {
    "new": new_example,
    "established": established_example,
    "port_search_99": port_search_99,
    "new_tcp": partial(new, TCP),
    "established_tcp": partial(established, TCP),
    "new_ipv6": partial(new, IPV6),
    "established_ipv6": partial(established, IPV6),
    "new_ipv6_tcp": partial(new, IPV6_TCP),
    "established_ipv6_tcp": partial(established, IPV6_TCP),
    "new_dnat": partial(new, DNAT),
    "established_dnat": partial(established, DNAT),
    "new_filtered": partial(new, FILTERED),
    "established_filtered": partial(established, FILTERED),
    "new_filtered_tcp": partial(new, FILTERED_TCP),
    "established_filtered_tcp": partial(established, FILTERED_TCP),
    "new_frames": partial(new, FRAMES),
    "established_frames": partial(established, FRAMES),
    "new_frames_tcp": partial(new, FRAMES_TCP),
    "established_frames_tcp": partial(established, FRAMES_TCP),
    **{operation: partial(a_row, name, calls) for operation, (name, _, calls) in FROM_ROWS.items()},
}
# operations counted in one run, from the FEW-th batch on, as they take long to begin
LATE = {
    "services_10": partial(to_services, Services(services, 10)),
    "services_10000": partial(to_services, Services(services, 10_000)),
    "nft_services_10": partial(to_services, Services(nft_services, 10)),
    "nft_services_10000": partial(to_services, Services(nft_services, 10_000)),
}


def callgrind(operation, batches, folder):
    """Run so many batches of an operation under callgrind; return the file with what was counted in the datapath."""
    out = Path(folder) / f"{operation}-{batches}"
    subprocess.run(
        ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=__pyx_pw_*8Datapath_*process*",
         f"--instr-atstart={'no' if operation in LATE else 'yes'}", f"--callgrind-out-file={out}",
         "--", sys.executable, "-P", __file__, "--work", operation, str(batches)],
        check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    return out


def count(operation, batches):
    """Return the instructions that the datapath executed."""
    with tempfile.TemporaryDirectory() as folder:
        text = callgrind(operation, batches, folder).read_text()
    return int(re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)[1])


def measure(operations):
    """Return instructions per operation."""
    with ThreadPoolExecutor(2) as pool:
        jobs = {
            (o, n): pool.submit(count, o, n) for o in operations for n in (FEW, MANY) if n == MANY or o in OPERATIONS
        }
        counts = {key: job.result() for key, job in jobs.items()}
    each = {o: packets * calls for o, (_, packets, calls) in FROM_ROWS.items()}
    return {
        o: round((counts[o, MANY] - counts.get((o, FEW), 0)) / ((MANY - FEW) * each.get(o, BATCH)), 1)
        for o in operations
    }


def compiler():
    """Return the compiler that builds the extension."""
    return subprocess.run([sysconfig.get_config_var("CC").split()[0], "--version"], capture_output=True, text=True,
                          check=True).stdout.splitlines()[0]  # fmt: skip


def main():
    every = OPERATIONS | LATE
    found = measure([o for o in every if o in sys.argv[1:]] or list(every))
    if "--write" in sys.argv:
        BASELINE.write_text(json.dumps({"compiler": compiler(), "instructions": found}, indent=1) + "\n")
        return 0
    baseline = json.loads(BASELINE.read_text())
    comparable = baseline["compiler"] == compiler()
    most = {name: before * (1 + TOLERANCE) for name, before in baseline["instructions"].items()}
    # a batch that waits for a processor pauses in the middle, which costs instructions: what seems worse is run again
    again = measure([name for name, now in found.items() if comparable and now > most.get(name, now)])
    found |= {name: min(now, found[name]) for name, now in again.items()}
    worse = [name for name, now in found.items() if now > most.get(name, now)]
    for name, now in found.items():
        before = baseline["instructions"].get(name, now)
        print(f"{name:<20} {now:>9,.1f} instructions, {before:,.1f} before: {now / before - 1:+.2%}")
    if not comparable:
        print(f"not compared: built by {compiler()}, instructions.json by {baseline['compiler']}")
        return 0
    if worse:
        print(f"more than {TOLERANCE:.0%} more instructions: {', '.join(worse)}")
    return bool(worse)


if __name__ == "__main__":
    if "--work" in sys.argv:
        (OPERATIONS | LATE)[sys.argv[-2]](int(sys.argv[-1]))
    else:
        sys.exit(main())
