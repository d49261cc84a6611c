"""iptables-restore and the reader of rules side by side: what one takes or rejects, the other does."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from fastnat import RuleError, iptables
from fastnat.addresses import V4, V6

LINES = (Path(__file__).parents[1] / "data/restore.rules").read_text().splitlines()[1:]
TOOLS = ("iptables-legacy-restore", "ip6tables-legacy-restore", "unshare")
missing = "needs root" if os.geteuid() else " ".join(f"needs {t}" for t in TOOLS if not shutil.which(t))
pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(missing), reason=missing or "iptables is at hand")]


def taken_by_the_kernel(text, six=False):
    """Tell whether iptables-restore and the kernel take a text, in a namespace of its own."""
    words = ["unshare", "-n", "ip6tables-legacy-restore" if six else "iptables-legacy-restore"]
    done = subprocess.run(words, input=text, text=True, capture_output=True)
    return not done.returncode, done.stderr.strip()


def taken_by_us(text, six=False):
    try:
        iptables.parse(text, "rules", family=V6 if six else V4)
    except RuleError as error:
        return False, str(error)
    return True, ""


@pytest.mark.parametrize("line", LINES)
def test_lines_that_once_differed(line):
    table, rule = line.removeprefix("(v6) ").split(" ", 1)
    text = f"{table}\n{rule}\nCOMMIT\n"
    theirs, ours = (ask(text, line.startswith("(v6)")) for ask in (taken_by_the_kernel, taken_by_us))
    assert theirs[0] == ours[0], (theirs, ours)


# a module or target, and what may stand behind it; {} is a number
# 65536: is 0: there, by an overflow that nobody means
PORTS = ["{}", "5:{}", ":{}", "7:", "http"]
MATCHES = [
    ("tcp", "-p tcp", ["--sport", "--dport"], PORTS), ("udp", "-p udp", ["--sport", "--dport"], PORTS),
    ("tcp", "-p tcp", ["--tcp-flags"], ["SYN,ACK SYN", "ALL NONE", "SYN", "X SYN"]), ("tcp", "-p tcp", ["--syn"], [""]),
    ("multiport", "-p tcp", ["--dports", "--sports", "--ports"], ["{},{}", "{}:{}", "{}", "http,{}"]),
    ("mark", "", ["--mark"], ["{}", "0x{}/0xff", "{}/{}"]), ("connmark", "", ["--mark"], ["{}", "{}/0x3"]),
    ("conntrack", "", ["--ctstate", "--ctdir", "--ctproto"], ["NEW", "NEW,RELATED", "ORIGINAL", "tcp", "{}"]),
    ("conntrack", "", ["--ctorigsrc", "--ctrepldst"], ["10.0.0.{}", "10.0.0.0/24"]),
    ("state", "", ["--state"], ["NEW"]),
    ("addrtype", "", ["--src-type", "--dst-type"], ["LOCAL", "LOCAL,UNICAST", "HERE"]),
    ("iprange", "", ["--src-range", "--dst-range"], ["10.0.0.1-10.0.0.9", "10.0.0.{}"]),
    ("length", "", ["--length"], PORTS[:4]), ("ttl", "", ["--ttl-eq", "--ttl-lt", "--ttl-gt"], ["{}"]),
    ("limit", "", ["--limit", "--limit-burst"], ["{}/sec", "{}/minute", "{}/hour", "{}"]),
    ("statistic", "", ["--mode random --probability", "--mode nth --packet 0 --every"], ["0.{}", "{}"]),
    ("tos", "", ["--tos"], ["{}", "0x10/0x3f", "Minimize-Delay"]),
    ("dscp", "", ["--dscp", "--dscp-class"], ["{}", "EF"]),
    ("recent", "", ["--set", "--rcheck", "--update --seconds {}", "--rcheck --hitcount"], ["", "--name n", "5"]),
    ("comment", "", ["--comment"], ["text"]), ("pkttype", "", ["--pkt-type"], ["unicast", "multicast", "strange"]),
    ("icmp", "-p icmp", ["--icmp-type"], ["8", "echo-request", "{}", "3/{}"]),
]  # fmt: skip
TARGETS = {
    "filter": [
        "ACCEPT", "DROP", "REJECT", "REJECT --reject-with icmp-host-prohibited", "REJECT --reject-with tcp-reset",
        "LOG --log-level {}", "MASQUERADE", "MARK --set-mark {}", "NOWHERE",
    ],
    "nat": [
        "MASQUERADE", "MASQUERADE --to-ports {}-{}", "SNAT --to-source 1.1.1.1:{}", "SNAT --to-source 1.1.1.1-1.1.1.9",
        "DNAT --to-destination 1.1.1.1:{}", "REDIRECT --to-ports {}", "NETMAP --to 10.0.0.0/24", "ACCEPT", "DROP",
        "SNAT",
    ],
    "mangle": [
        "MARK --set-xmark {}/{}", "MARK --set-mark {} --set-mark 2", "CONNMARK --save-mark", "TOS --set-tos {}",
        "DSCP --set-dscp {}", "TTL --ttl-inc {}", "TTL --ttl-set {}", "TCPMSS --set-mss {}", "MARK", "ACCEPT",
    ],
    "raw": ["NOTRACK", "CT --notrack", "CT --zone {}", "ACCEPT"],
}  # fmt: skip
CHAINS = {
    "filter": ["INPUT", "FORWARD", "OUTPUT", "PREROUTING"], "nat": ["PREROUTING", "POSTROUTING", "OUTPUT", "INPUT"],
    "mangle": ["PREROUTING", "FORWARD", "POSTROUTING"], "raw": ["PREROUTING", "OUTPUT"],
}  # fmt: skip


def filled(rng, text):
    numbers = [0, 1, 2, 5, 16, 33, 63, 64, 255, 256, 1000, 65535, 65536]
    while "{}" in text:
        text = text.replace("{}", str(rng.choice(numbers)), 1)
    return text


def random_rule(seed):
    rng = random.Random(seed)
    table = rng.choice(list(TARGETS))
    words = [f"-A {rng.choice(CHAINS[table])}"]
    if rng.random() < 0.3:
        words.append(rng.choice(["-i eth0", "-o eth0", "! -i eth+", "-s 10.0.0.{}", "! -d 10.0.0.0/{}"]))
    for _ in range(rng.choice([0, 1, 1, 2])):
        name, proto, options, values = rng.choice(MATCHES)
        said = f"-m {name} {'! ' if rng.random() < 0.15 else ''}{rng.choice(options)} {rng.choice(values)}"
        if rng.random() < 0.08:
            said = f"-m {name}"
        if proto and proto not in " ".join(words) and rng.random() < 0.9:
            said = f"{proto} {said}"
        words.append(said)
    words.append(f"-j {rng.choice(TARGETS[table])}")
    return f"*{table}\n{' '.join(filled(rng, ' '.join(words)).split())}\nCOMMIT\n"


@pytest.mark.parametrize("part", range(10))
def test_random_rules(part):
    """A hundred a part: a thousand rules."""
    for n in range(100):
        text = random_rule(100 * part + n)
        theirs, ours = taken_by_the_kernel(text), taken_by_us(text)
        assert theirs[0] == ours[0], f"{text}iptables-restore: {theirs[1] or 'taken'}\nfastnat: {ours[1] or 'taken'}"
