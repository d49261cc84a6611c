"""Long runs on the release build: connections that come and go with flat memory, two threads on one engine.

    python tests/fuzz/soak.py churn CONNECTIONS
    python tests/fuzz/soak.py threads TRIES

`make soak` runs them after the packets and saved states of run.py, which go through the build with sanitizers.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import fastnat
from fastnat import FastnatError

BATCH = 4096
# connections that live at a time, of either family
LIVE = 100_000
# bytes that memory may grow by once every table has its size: a page here and there, not a byte a connection
DRIFT = 4 << 20
RULES = (
    "*nat\n-A PREROUTING -p tcp -d {b} --dport 443 -j DNAT --to-destination {d}\n"
    "-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
    "*mangle\n-A POSTROUTING -m mark --mark 0x1/0x1 -j CONNMARK --set-xmark 0x1/0x1\nCOMMIT\n"
)
SYN, SYN_ACK, ACK, FIN_ACK, RST = 0x02, 0x12, 0x10, 0x11, 0x04


def rss():
    """Return the memory that this process holds [bytes]."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def node():
    made = fastnat.Node()
    made.add_interface("cni0", ["10.0.0.1/8", "fd01::1/64"])
    made.add_interface("eth0", ["198.51.100.10/24", "fd02::1/64"])
    made.add_route("default", via="198.51.100.1", dev="eth0")
    made.add_route("default", via="fd02::ffff", dev="eth0")
    made.load_rules(RULES.format(b="203.0.113.1", d="10.0.0.9:8443"))
    made.load_rules6(RULES.format(b="fd03::1", d="[fd01::9]:8443"))
    made.sysctls["net.netfilter.nf_conntrack_tcp_timeout_time_wait"] = "5"
    return made


def headers(rng, nat, six):
    """Return one packet of BATCH new flows: UDP and TCP SYN, few of them to one crowded destination."""
    n = np.arange(BATCH)
    near, far = rng.integers(2, 1 << 22, BATCH), np.where(n % 16 == 0, 1, rng.integers(1, 250, BATCH))
    fields = {"sport": rng.integers(1024, 65536, BATCH), "dport": np.where(n % 3, 443, 53), "iface": "cni0"}
    fields |= {"proto": np.where(n % 2, 6, 17), "tcp_flags": np.where(n % 2, SYN, 0), "mark": rng.integers(0, 4, BATCH)}
    if not six:
        src, dst = (near + 0x0A000000).astype(np.uint32), (far + 0xCB007100).astype(np.uint32)
        return nat.packets(src=src, dst=dst, **fields)
    src, dst = (np.zeros(BATCH, fastnat.dtypes.ADDR6) for _ in range(2))
    src["low"], src["high"], dst["low"], dst["high"] = near, 0xFD01 << 48, far, 0xFD03 << 48
    return nat.packets(src=src, dst=dst, **fields)


def answered(sent, out, flags):
    """Return the answers to packets."""
    back = sent.copy()
    back["src"], back["dst"], back["sport"], back["dport"] = out["dst"], out["src"], out["dport"], out["sport"]
    back["iface"], back["tcp_flags"] = out["out_iface"], np.where(sent["proto"] == 6, flags, 0)
    return back


def churn(goal):
    """Open, answer, close and let expire so many connections; return 1 when memory does not stay where it was."""
    nat = fastnat.Engine(node(), max_connections=4 * LIVE, events=0)
    rng, now, samples, n = np.random.default_rng(1), 0.0, [], 0
    begin = said = time.monotonic()
    while nat.stats["new"] < goal:
        six, n = bool(n % 2), n + 1
        now = max(now, nat.now) + 30 * BATCH / LIVE
        sent = headers(rng, nat, six)
        out = nat.process(sent, now)
        # a third is answered, a third of those close: the rest expires unanswered, as streams or in TIME_WAIT
        some = slice(0, BATCH // 3)
        nat.process(answered(sent[some], out[some], SYN_ACK), now)
        for flags in (ACK, FIN_ACK, RST) if n % 3 else (ACK, FIN_ACK):
            part = sent[: BATCH // 9].copy()
            part["tcp_flags"] = np.where(part["proto"] == 6, flags, 0)
            nat.process(part, now)
        if n % 64 == 0:
            samples.append((nat.stats["new"], rss(), nat.nbytes))
        if n % 4096 == 0:
            nat.check()
        if time.monotonic() - said > 20:
            said = time.monotonic()
            print(f"  {nat.stats['new']:,} connections, {rss() >> 20} MB", flush=True)
    nat.check()
    # the first tenth fills tables
    settled = [s for s in samples if s[0] > goal / 10]
    if len(settled) < 10:
        sys.exit(f"{goal:,} connections are too few to tell: {len(settled)} samples after the first tenth")
    peak, first = max(s[1] for s in samples), max(s[1] for s in settled[: len(settled) // 5])
    drift = max(s[1] for s in settled[-len(settled) // 5 :]) - first
    print(
        f"churn: {nat.stats['new']:,} connections in {time.monotonic() - begin:.0f} s, "
        f"{len(nat.conntrack):,} live at the end; peak {peak / 2**20:.1f} MB, drift {drift / 2**20:+.2f} MB"
    )
    return drift > DRIFT


def try_threads(seed):
    """Let two threads call one engine at the same time; return how many calls were refused."""
    nat, rng = fastnat.Engine(node(), max_connections=20_000), np.random.default_rng(seed)
    batches = [headers(rng, nat, six) for six in (False, True, False, True)]
    ready, refused = threading.Barrier(2), []
    calls = [
        lambda b: nat.process(b, nat.now), lambda b: nat.advance(nat.now + 40), lambda b: nat.conntrack.flush(),
        lambda b: nat.conntrack.format(), lambda b: nat.process_packet(bytes(60), "cni0", nat.now),
        lambda b: nat.fork(), lambda b: nat.trace(b[:1]), lambda b: nat.reload(), lambda b: nat.stats,
        lambda b: list(nat.conntrack)[:3], lambda b: nat.link_down("eth0"),
    ]  # fmt: skip

    def work(number):
        mine = np.random.default_rng(seed * 2 + number)
        ready.wait()
        for b in batches * 2:
            call = calls[0] if mine.random() < 0.6 else calls[mine.integers(len(calls))]
            try:
                call(b)
            except (FastnatError, RuntimeError) as error:
                refused.append(str(error))

    pair = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for t in pair:
        t.start()
    for t in pair:
        t.join()
    nat.check()
    return len(refused)


def threads(tries, at_once=50):
    """Try so often, each fifty in a process of their own; return how many of those did not end well."""
    bad = refused = 0
    for first in range(0, tries, at_once):
        seeds = [str(s) for s in range(first, min(first + at_once, tries))]
        done = subprocess.run([sys.executable, __file__, "seeds", *seeds], capture_output=True, text=True, check=False)
        if done.returncode:
            bad += 1
            print(f"  seeds {seeds[0]}..{seeds[-1]} ended with {done.returncode}: {done.stderr[-300:]}", flush=True)
        else:
            refused += int(done.stdout)
    print(f"threads: {tries:,} tries, {refused:,} calls refused, {bad} processes ended badly")
    return bad > 0


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "seeds":
        print(sum(try_threads(int(s)) for s in words))
        sys.exit(0)
    sys.exit({"churn": churn, "threads": threads}[what](int(words[0].replace("_", ""))))
