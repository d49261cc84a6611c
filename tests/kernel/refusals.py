"""What nft and the kernel refuse of commands and declarations, recorded from the running kernel.

    python tests/kernel/refusals.py     as root, records the texts of refusals.json anew; new ones stand there with []

Each text of `commands` is carried out on BASE in place (nft -f of BASE, then nft -f of the commands), and loaded behind
it in one text: the two answers. Each declaration of `sets` follows each other one in a text: those that are taken.
Each statement of `hooks` stands in a chain of each of HOOKS: those that take it.
"""

import itertools
import json
import subprocess
import sys
from pathlib import Path

PATH = Path(__file__).with_name("refusals.json")
BASE = "table ip t {\nchain c {\ntype filter hook forward priority 0\n}\nchain d {\n}\n}\n"
# family, type and hook of base chains
HOOKS = [
    *(f"inet filter {hook}" for hook in ("prerouting", "input", "forward", "output", "postrouting", "ingress")),
    *(f"inet nat {hook}" for hook in ("prerouting", "input", "output", "postrouting")),
    "inet route output", "netdev filter ingress", "netdev filter egress",
]  # fmt: skip


def in_hook(base, statement):
    """Return a text with a statement in a base chain."""
    family, kind, hook = base.split()
    device = 'device "lo"' if hook in ("ingress", "egress") else ""
    return f"table {family} t {{\nchain c {{\ntype {kind} hook {hook} {device} priority 0\n{statement}\n}}\n}}\n"


def declared(first, second):
    """Return a text with two declarations of one set."""
    return f"table ip t {{\n{first}\n}}\ntable ip t {{\n{second}\n}}\n"


def taken(text):
    """Return whether nft takes a text."""
    return not subprocess.run(["nft", "-f", "-"], input=text, text=True, capture_output=True, check=False).returncode


def recorded(texts):
    """Return what the running kernel takes of texts, in this namespace."""
    said = {"commands": {}, "sets": {first: [] for first in texts["sets"]}, "hooks": {}}
    for statement in texts["hooks"]:
        said["hooks"][statement] = [base for base in HOOKS if taken(f"flush ruleset\n{in_hook(base, statement)}")]
    for text in texts["commands"]:
        assert taken(f"flush ruleset\n{BASE}")
        there = taken(text)
        said["commands"][text] = [there, taken(f"flush ruleset\n{BASE}{text}")]
    for first, second in itertools.product(said["sets"], repeat=2):
        if taken(f"flush ruleset\n{declared(first, second)}"):
            said["sets"][first].append(second)
    return said


if __name__ == "__main__":
    if sys.argv[1:] != ["here"]:
        sys.exit(subprocess.run(["unshare", "-n", sys.executable, __file__, "here"], check=False).returncode)
    PATH.write_text(json.dumps(recorded(json.loads(PATH.read_text())), indent=0) + "\n")
