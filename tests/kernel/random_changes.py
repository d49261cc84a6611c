"""Gateways at random that change while packets pass: other rules, lowered timeouts with time that goes by, batches."""

import random
import re

from kernel.gateway import PAUSE, RELOAD
from kernel.random_gateway import BUILT, gateway_of

# no multiple of it, nor what some hundred packets take besides, comes near one of the timeouts [s]
BREAK, TIMEOUTS = 1.4, (1, 2, 4)
LOWERED = [
    *(f"{kind}_timeout" for kind in ("udp", "icmp", "icmpv6", "generic", "gre")),
    "udp_timeout_stream", "gre_timeout_stream",
    *(f"tcp_timeout_{state}" for state in (
        "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close",
        "max_retrans", "unacknowledged",
    )),
    *(f"sctp_timeout_{state}" for state in (
        "closed", "cookie_wait", "cookie_echoed", "established", "shutdown_sent", "shutdown_recd",
        "shutdown_ack_sent", "heartbeat_sent",
    )),
]  # fmt: skip
# what the generator of gateways says of times that no run lasts, and what is said of as many seconds as TIMEOUTS
SOON = {
    "1/hour": "1/second", "5/hour": "30/minute", "20/day": "15/minute", "--seconds 300": "--seconds 2",
    "--seconds 1000": "--seconds 4", "timeout 900": "timeout 1", "timeout 3000": "timeout 2",
    "timeout 5000": "timeout 4",
}  # fmt: skip
LATER = re.compile("|".join(rf"{said}\b" for said in SOON))


def hurried(text):
    """Return rules or sets whose limits, lists and elements change within seconds."""
    return text and LATER.sub(lambda m: SOON[m[0]], text)


def mutated(rng, text):
    """Return rules with some left out, some twice, and some in each other's place."""
    lines = []
    for line in text.splitlines():
        at = rng.random()
        if "-A " not in line or at > 0.15:
            lines.append(line)
        if "-A " in line and at > 0.9:
            lines.append(line)
        if len(lines) > 1 and "-A " in lines[-1] and "-A " in lines[-2] and rng.random() < 0.1:
            lines[-2:] = lines[:-3:-1]
    return "\n".join([*lines, ""])


def with_tables(text, before):
    """Return rules with all tables that there were, so that nothing of the rules before stays."""
    gone = [t for t in BUILT if f"*{t}\n" in before and f"*{t}\n" not in text]
    for table in gone:
        chains = "".join(f":{chain} ACCEPT [0:0]\n" for chain in BUILT[table])
        text += f"*{table}\n{chains}COMMIT\n"
    return text


class Changing:
    """Traffic with changes in between: every so many packets, `often` one by one; `kinds`: of RELOAD and PAUSE."""

    def __init__(self, rng, node, traffic, make_rules, kinds, most):
        self.rng, self.node, self.traffic, self.make_rules, self.kinds, self.left = (
            rng,
            node,
            traffic,
            make_rules,
            kinds,
            most,
        )
        self.tell = traffic.tell
        self.rested = True
        self.often = 0.05 if PAUSE in kinds else 0.02

    def other_text(self, name):
        """Return other rules of a family: the same, some of the same, or new ones."""
        before, chance = self.node[name], self.rng.random()
        if chance < 0.33:
            return before
        text = mutated(self.rng, before) if chance < 0.67 else self.make_rules(int(name[-1]))
        return with_tables(text, before)

    def other_rules(self):
        """Return rules for one family, both, or none, and whether their counters are loaded."""
        names = [name for name in ("rules4", "rules6") if self.node[name] is not None and self.rng.random() < 0.8]
        parts = {"counters": self.rng.random() < 0.5} | {name: self.other_text(name) for name in names}
        self.node = self.node | parts
        return parts

    def step(self):
        """Return what comes next: a packet, some of them at once, a change, or None at the end."""
        if self.left <= 0:
            return None
        if self.kinds and not self.rested and self.rng.random() < self.often:
            self.rested = True
            kind = self.rng.choice(self.kinds)
            return kind, BREAK if kind == PAUSE else self.other_rules()
        self.rested = False
        number = min(self.left, self.rng.choice([1, 1, 1, self.rng.randrange(2, 12)]))
        self.left -= number
        steps = [self.traffic.step() for _ in range(number)]
        return steps if number > 1 else steps[0]


def changing_gateway(seed, most, kinds=(RELOAD,)):
    """Return the node of a seed, with low timeouts if time passes, and its traffic of so many packets."""
    node, traffic, make_rules = gateway_of(seed)
    rng = random.Random(f"changes {seed}")
    if PAUSE in kinds:
        low = {f"net.netfilter.nf_conntrack_{name}": rng.choice(TIMEOUTS) for name in LOWERED if rng.random() < 0.7}
        node |= {name: hurried(node[name]) for name in ("rules4", "rules6", "sets")}
        node |= {"sysctls": node["sysctls"] | low, "hurried": True}
        return node, Changing(rng, node, traffic, lambda family: hurried(make_rules(family)), kinds, most)
    return node, Changing(rng, node, traffic, make_rules, kinds, most)
