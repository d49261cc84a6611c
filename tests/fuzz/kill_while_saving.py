"""kill -9 during Engine.save() at random points: the file at the path is the state before or the one behind.

python tests/fuzz/kill_while_saving.py 1000
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import fastnat


def engines():
    """Return two engines in different states, with some thousand connections each."""
    made = []
    for n in (3_000, 5_000):
        nat = fastnat.Engine(fastnat.Node.example(), seed=n)
        sources = [f"10.244.{k // 200}.{k % 200 + 2}" for k in range(n)]
        nat.process(nat.packets(proto="udp", src=sources, sport=4000, dst="203.0.113.9", dport=53, iface="cni0"))
        made.append(nat)
    return made


def save_without_end(states, path):
    while True:
        for nat in states:
            nat.save(path)


def killed(times, folder, seed=0):
    """Kill so many savers; return how often each state was found. AssertionError for anything else at the path."""
    states, path, rng = engines(), Path(folder) / "state", random.Random(seed)
    sizes = [len(nat.conntrack) for nat in states]
    states[0].save(path)
    begin = time.monotonic()
    states[1].save(path)
    lasts = time.monotonic() - begin
    found = dict.fromkeys(sizes, 0)
    for _ in range(times):
        child = os.fork()
        if not child:
            try:
                save_without_end(states, path)
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0, 4 * lasts))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, "the saver ended by itself"
        found[len(fastnat.Engine.restore(path).conntrack)] += 1
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=".") as folder:
        print(killed(int(sys.argv[1]), folder), "left:", [p.name for p in Path(folder).iterdir()])
