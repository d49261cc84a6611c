"""iptables-restore in the middle of traffic, beside reload() of the engine."""

import random

import pytest
from scapy.layers.inet import IP, UDP

import fastnat
from kernel import cases, recorder
from kernel.test_live import missing

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand")]

# what remembers packets; credits that come back are too few to matter in a test
MATCHES = (
    "-m recent --name A --rcheck --hitcount {n} --rsource", "-m recent --name A --set --rsource",
    "-m recent --name B --update --hitcount {m} --rdest", "-m recent --name B --set --rdest",
    "-m limit --limit 1/hour --limit-burst {n}", "-m statistic --mode nth --every {n} --packet 0",
    "-m hashlimit --hashlimit-above {n}/hour --hashlimit-burst {n} --hashlimit-mode srcip --hashlimit-name H "
    "--hashlimit-htable-expire 600000", "-m hashlimit --hashlimit-upto 9/hour --hashlimit-burst {m} "
    "--hashlimit-mode dstip --hashlimit-name I --hashlimit-htable-expire 600000", "-m quota --quota {q}", "-p udp",
)  # fmt: skip


def some_rules(rng, often):
    """Return rules; those of the same number of hit counts have rings of the same size."""
    chosen = [m for m in MATCHES if rng.random() < often]
    rng.shuffle(chosen)
    n, m, q = rng.randrange(2, 6), rng.choice([3, 40]), rng.randrange(100, 400)
    lines = "".join(f"-A FORWARD {c.format(n=n, m=m, q=q)}{rng.choice(['', ' -j DROP'])}\n" for c in chosen)
    counters = rng.choice(["[0:0]", "[7:70]"])
    lines = lines.replace("-A FORWARD", f"{counters} -A FORWARD")
    return f"*filter\n:FORWARD ACCEPT {counters}\n{lines}COMMIT\n"


def counted(text):
    return [line for line in text.splitlines() if "FORWARD" in line and "ACCEPT [" not in line]


@pytest.mark.parametrize("seed", range(12))
def test_what_rules_remember_over_iptables_restore(seed):
    rng = random.Random(seed)
    first = some_rules(rng, 0.8)
    case = cases.Case(first, cases.INTERFACES, cases.ROUTES, None)
    kernel, node = recorder.Namespace(case), case.node()
    nat, n = fastnat.Engine(node), 0
    kernel.run("iptables-legacy-restore", "-c", text=first)
    try:
        for part in range(4):
            for _ in range(25):
                src, dst = f"10.244.1.{rng.randrange(2, 5)}", f"203.0.113.{rng.randrange(2, 5)}"
                data, n = bytes(IP(src=src, dst=dst) / UDP(sport=1000, dport=53)), n + 1
                verdict, mine = nat.process_packet(data, "cni0", now=n * 0.01)
                kernel.inject("cni0", data)
                theirs = kernel.drain(0.02 if verdict == fastnat.Verdict.FORWARD else 0.002)
                assert theirs == ([("eth0", mine)] if verdict == fastnat.Verdict.FORWARD else []), (
                    seed,
                    part,
                    n,
                    first,
                )
            # some of iptables-save print no number of a match as it was given: only the counters are compared
            words = [line.split(" ", 1)[0] for line in counted(kernel.save_rules())]
            assert [line.split(" ", 1)[0] for line in counted(nat.save_rules())] == words
            rules = first if part == 0 else some_rules(rng, 0.7)
            with_counters = rng.random() < 0.5
            kernel.run("iptables-legacy-restore", *(["-c"] if with_counters else []), text=rules)
            node.load_rules(rules)
            nat.reload(counters=with_counters)
            if part == 1:
                # an address alone touches no rule
                node.add_address("eth0", "198.51.100.77/24")
                nat.reload()
    finally:
        kernel.close()
