"""iptables-restore and the reader of rules side by side: what one takes or rejects, the other does."""

import json
import os
import random
import shutil
import subprocess
import sys
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


# one namespace for all: a text that is taken replaces the rules before it
ASK = """
import json, subprocess, sys
answers = []
for six, text in json.load(sys.stdin):
    done = subprocess.run(["ip6tables-legacy-restore" if six else "iptables-legacy-restore"], input=text, text=True,
                          capture_output=True)
    answers.append([not done.returncode, done.stderr.strip()])
json.dump(answers, sys.stdout)
"""


def all_taken_by_the_kernel(asked):
    """Return for (six, text) what taken_by_the_kernel() says, each text in the same namespace."""
    words = ["unshare", "-n", sys.executable, "-c", ASK]
    return json.loads(subprocess.run(words, input=json.dumps(asked), text=True, capture_output=True, check=True).stdout)


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


# a module, what must stand in front of it, its options, and what may stand behind them; {} is a number
PORTS = ["{}", "5:{}", ":{}", "7:", "http", "ftp-data"]
NUMBER = ["{}"]
MATCHES = [
    ("tcp", "-p tcp", ["--sport", "--dport"], PORTS), ("udp", "-p udp", ["--sport", "--dport"], PORTS),
    ("tcp", "-p tcp", ["--tcp-flags"], ["SYN,ACK SYN", "ALL NONE", "SYN", "X SYN"]),
    ("tcp", "-p tcp", ["--syn"], [""]), ("tcp", "-p tcp", ["--tcp-option"], NUMBER),
    ("multiport", "-p tcp", ["--dports", "--sports", "--ports"], ["{},{}", "{}:{}", "{}", "http,{}"]),
    ("mark", "", ["--mark"], ["{}", "0x{}/0xff", "{}/{}"]), ("connmark", "", ["--mark"], ["{}", "{}/0x3"]),
    ("conntrack", "", ["--ctstate", "--ctdir", "--ctproto"], ["NEW", "NEW,RELATED", "ORIGINAL", "tcp", "{}"]),
    ("conntrack", "", ["--ctorigsrc", "--ctrepldst"], ["{addr}", "{net}"]), ("state", "", ["--state"], ["NEW"]),
    ("conntrack", "", ["--ctexpire", "--ctorigsrcport", "--ctstatus"], ["{}", "5:{}", "ASSURED", "NONE,EXPECTED", "X"]),
    ("addrtype", "", ["--src-type", "--dst-type"], ["LOCAL", "LOCAL,UNICAST", "HERE", "LOCAL --limit-iface-in"]),
    ("iprange", "", ["--src-range", "--dst-range"], ["{addr}-{addr}", "{addr}"]),
    ("length", "", ["--length"], PORTS[:4]), ("ttl4", "", ["--ttl-eq", "--ttl-lt", "--ttl-gt"], NUMBER),
    ("hl6", "", ["--hl-eq", "--hl-lt", "--hl-gt"], NUMBER),
    ("limit", "", ["--limit", "--limit-burst"], ["{}/sec", "{}/minute", "{}/hour", "{}"]),
    ("statistic", "", ["--mode random --probability", "--mode nth --packet 0 --every"], ["0.{}", "{}"]),
    ("tos", "", ["--tos"], ["{}", "0x10/0x3f", "Minimize-Delay"]),
    ("dscp", "", ["--dscp", "--dscp-class"], ["{}", "EF"]),
    ("recent", "", ["--set", "--rcheck", "--update --seconds {}", "--rcheck --hitcount"], ["", "--name n", "5"]),
    ("comment", "", ["--comment"], ["text"]), ("pkttype", "", ["--pkt-type"], ["unicast", "multicast", "strange"]),
    ("icmp4", "-p icmp", ["--icmp-type"], ["8", "echo-request", "{}", "3/{}"]),
    ("icmp66", "-p icmpv6", ["--icmpv6-type"], ["128", "echo-request", "{}", "1/{}"]),
    ("owner", "", ["--uid-owner", "--gid-owner", "--socket-exists"], ["{}", "{}-{}", "root", "nosuchuser", ""]),
    ("owner", "", ["--gid-owner 5 --suppl-groups", "--suppl-groups"], [""]),
    ("quota", "", ["--quota"], ["{}", "18446744073709551616", "5k"]),
    ("ecn4", "", ["--ecn-ip-ect"], NUMBER), ("ecn", "-p tcp", ["--ecn-tcp-cwr", "--ecn-tcp-ece"], [""]),
    ("tcpmss", "-p tcp", ["--mss"], ["{}", "{}:{}", ":{}", "{}:"]),
    ("connlimit", "", ["--connlimit-above", "--connlimit-upto"],
     ["{}", "{} --connlimit-mask {}", "5 --connlimit-daddr", "5 --connlimit-saddr --connlimit-daddr"]),
    ("time", "", ["--timestart", "--timestop"], ["{}:{}", "5:{}:{}", "{}", "24:00"]),
    ("time", "", ["--datestart", "--datestop"], ["2026-{}", "2026-1-{}", "{}", "2026-01-01T{}:{}:{}"]),
    ("time", "", ["--weekdays", "--monthdays"], ["7", "0", "Mon,Su", "Montag", "5,{}", "mon"]),
    ("time", "", ["--timestart 5:00 --timestop {}:00 --contiguous", "--utc", "--kerneltz --utc", "--contiguous"], [""]),
    ("rt6", "", ["--rt-type", "--rt-segsleft", "--rt-len", "--rt-type 0 --rt-0-res", "--rt-0-res"],
     ["{}", "{}:{}", ""]),
    ("hashlimit", "", ["--hashlimit-name {name} --hashlimit-upto", "--hashlimit-name {name} --hashlimit-above"],
     ["{}/sec", "{}b/s", "{}kb/s", "4mb/s", "{}/hour --hashlimit-burst {}", "4kb/s --hashlimit-burst {}kb",
      "5/sec --hashlimit-rate-match --hashlimit-rate-interval {}", "{}/min --hashlimit-mode srcip,dstport",
      "{}kb/s --hashlimit-rate-match --hashlimit-burst {}b", "9/min --hashlimit-srcmask {}",
      "9/min --hashlimit-burst 5k"]),
    ("connbytes", "", ["--connbytes"],
     [f"{n} --connbytes-dir {d} --connbytes-mode {m}" for n in ("{}", "{}:{}", ":{}") for d in ("both", "x")
      for m in ("bytes", "packets", "x")] + ["5"]),
    ("policy", "", ["--dir in --pol", "--dir out --pol", "--pol"], ["none", "ipsec", "x"]),
    ("physdev", "", ["--physdev-in", "--physdev-is-in", "--physdev-is-bridged"], ["", "eth0"]),
    ("cpu", "", ["--cpu"], NUMBER), ("helper", "", ["--helper"], ["ftp", "x"]),
    ("rpfilter", "", ["--loose", "--invert"], [""]),
    ("sctp", "-p sctp", ["--sport", "--dport"], PORTS),
]  # fmt: skip
# of both families in the tables that have them; 4 or 6 behind a target: of that family alone
TARGETS = {
    "filter": [
        "ACCEPT", "DROP", "REJECT", "REJECT --reject-with icmp-host-prohibited4", "REJECT --reject-with tcp-reset",
        "REJECT --reject-with icmp6-no-route6", "LOG --log-level {}", "LOG --log-level bad", "MASQUERADE", "NOWHERE",
        "MARK --set-mark {}", "NFLOG --nflog-group {}", "AUDIT --type accept", "LOG --log-prefix text --log-uid",
        "RETURN", "TRACE", "DNAT --to-destination {addr}", "AUDIT", "AUDIT --type x",
    ],
    "nat": [
        "MASQUERADE", "MASQUERADE --to-ports {}-{}", "SNAT --to-source 1.1.1.1:{}4", "SNAT --to-source {addr}-{addr}",
        "DNAT --to-destination 1.1.1.1:{}4", "DNAT --to-destination [fd00::1]:{}6", "REDIRECT --to-ports {}", "SNAT",
        "NETMAP --to {net}", "ACCEPT", "DROP", "REDIRECT --to-ports {}-ssh",
        "DNAT --to-destination {addr} --persistent",
        "MASQUERADE --random-fully", "DNAT --to-destination {addr} --random", "REDIRECT", "MASQUERADE --random",
    ],
    "mangle": [
        "MARK --set-xmark {}/{}", "MARK --set-mark {} --set-mark 2", "CONNMARK --save-mark", "TOS --set-tos {}",
        "DSCP --set-dscp {}", "TTL --ttl-inc {}4", "TTL --ttl-set {}4", "HL --hl-dec {}6", "TCPMSS --set-mss {}",
        "MARK",
        "ACCEPT", "TCPMSS --clamp-mss-to-pmtu", "CLASSIFY --set-class {}:{}", "CHECKSUM --checksum-fill",
        "CONNMARK --restore-mark --mask {}", "DSCP --set-dscp-class EF", "DSCP --set-dscp-class XX", "CONNMARK", "TOS",
        "CONNMARK --set-xmark {}/{}", "MARK --and-mark {}", "CHECKSUM",
    ],
    "raw": [
        "NOTRACK", "CT --notrack", "CT --zone {}", "ACCEPT", "CT --zone mark", "CT --helper ftp", "TRACE", "CT",
        "CT --zone-orig {}",
    ],
}  # fmt: skip
CHAINS = {
    "filter": ["INPUT", "FORWARD", "OUTPUT", "PREROUTING", "X"], "raw": ["PREROUTING", "OUTPUT", "X"],
    "nat": ["PREROUTING", "POSTROUTING", "OUTPUT", "INPUT", "X"],
    "mangle": ["PREROUTING", "FORWARD", "POSTROUTING", "X"],
}  # fmt: skip
CALLERS = {"filter": "FORWARD", "nat": "POSTROUTING", "mangle": "OUTPUT", "raw": "OUTPUT"}


def filled(rng, text, six):
    numbers = [0, 1, 2, 5, 16, 33, 63, 64, 255, 256, 1000, 65535, 65536, 4294967295]
    text = text.replace("{net}", "fd00::/64" if six else "10.0.0.0/24")
    while "{addr}" in text:
        text = text.replace("{addr}", f"fd00::{rng.randrange(9)}" if six else f"10.0.0.{rng.randrange(9)}", 1)
    # a table of hashlimit that is there is not made anew
    text = text.replace("{name}", f"n{rng.randrange(10**9)}")
    while "{}" in text:
        text = text.replace("{}", str(rng.choice(numbers)), 1)
    return " ".join(text.split())


def fits(name, six):
    return name[-1] not in "46" or name[-1] == ("6" if six else "4")


def random_rule(seed):
    """Return a table with one rule, sometimes in a chain that another one calls; every third seed is IPv6."""
    rng, six = random.Random(seed), seed % 3 == 0
    table = rng.choice(list(TARGETS))
    chain = rng.choice(CHAINS[table])
    words = [f"-A {chain}"]
    if rng.random() < 0.2:
        words.append(rng.choice(["-i eth0", "-o eth0", "! -i eth+", "-s {addr}", "! -d {net}", "-p ipcomp", "-p {}"]))
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        name, proto, options, values = rng.choice([m for m in MATCHES if fits(m[0], six)])
        name = name.removesuffix("6" if six else "4")
        said = f"-m {name} {'! ' if rng.random() < 0.15 else ''}{rng.choice(options)} {rng.choice(values)}"
        if rng.random() < 0.05:
            said = f"-m {name}"
        if proto and proto not in " ".join(words) and rng.random() < 0.95:
            said = f"{proto} {said}"
        words.append(said)
    target = rng.choice([t for t in TARGETS[table] if fits(t, six) or not t[-1].isdecimal() or t[-2] == " "])
    words.append(f"-j {target.removesuffix('6' if six else '4')}")
    called = f":X - [0:0]\n-A {CALLERS[table]} -j X\n" if chain == "X" else ""
    return six, f"*{table}\n{called}{filled(rng, ' '.join(words), six)}\nCOMMIT\n"


@pytest.mark.parametrize("part", range(int(os.environ.get("FASTNAT_RULES", "2000")) // 100))
def test_random_rules(part):
    """A hundred a part, asked together: two thousand rules; FASTNAT_RULES=100000 for more."""
    asked = [random_rule(100 * part + n) for n in range(100)]
    for (six, text), theirs in zip(asked, all_taken_by_the_kernel(asked), strict=True):
        ours = taken_by_us(text, six)
        said = f"IPv{6 if six else 4} {text}iptables-restore: {theirs[1] or 'taken'}\nfastnat: {ours[1] or 'taken'}"
        # 65536 is 0 there, by an overflow that nobody means, and 33 a Monday
        nonsense = "not in 0..65535" in ours[1] or "is not a valid day" in ours[1]
        nonsense = nonsense or "4294967295 is not in 0..32" in ours[1]
        assert theirs[0] == ours[0] or "--lenient" in ours[1] or nonsense, said
