"""Collecting a node directory on a live node: with its stock tools, reading only.

Taken are rules, sets, virtual services, addresses, routes, policy rules, and those sysctls that NAT depends on;
nothing else leaves the node. Comments of rules stay as they are.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..util.output import Output, make_folder

# file: the command that fills it, and whether a node directory can do without
COMMANDS = {
    "addr.json": (("ip", "-j", "addr"), False),
    "route.json": (("ip", "-j", "route"), False),
    "route6.json": (("ip", "-j", "-6", "route"), True),
    "rule.json": (("ip", "-j", "rule"), True),
    "rule6.json": (("ip", "-j", "-6", "rule"), True),
    "route-all.json": (("ip", "-j", "route", "show", "table", "all"), True),
    "rules.v4": (("iptables-save", "-c"), False),
    "rules.v6": (("ip6tables-save", "-c"), True),
    "ipset.save": (("ipset", "save"), True),
    "ipvs.save": (("ipvsadm-save", "-n"), True),
}
CONNTRACK = ("conntrack", "-L", "-o", "extended")
SYSCTLS = re.compile(
    r"net\.(?:netfilter\.nf_conntrack_\w+|ipv4\.(?:ip_forward|ip_local_port_range|vs\.conntrack)"
    r"|ipv6\.conf\.all\.forwarding|ipv4\.conf\.[^.=]+(?:\.\d+)?\.(?:rp_filter|accept_local|route_localnet))"
)
# IPv6's rules and routes are not asked of a node that has none
EMPTY = {"rules.v6", "route6.json", "ipset.save", "ipvs.save"}
SECONDS = 60
RULES = ("rules.v4", "rules.v6")


@dataclass(frozen=True)
class Snapshot:
    """What was written, and what was left out and why."""

    written: list[str]
    left_out: dict[str, str]


def run(command: tuple[str, ...]) -> str:
    """Return what a command prints; InputError says why it could not."""
    if not shutil.which(command[0]):
        raise InputError(f"{command[0]} is not installed")
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{' '.join(command)} did not end within {SECONDS} s") from None
    except OSError as error:
        raise InputError(f"{command[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"{' '.join(command)}: {said[-1] if said else f'exit {done.returncode}'}")
    # names of interfaces and comments of rules may be any bytes, whatever the locale
    return done.stdout.decode(errors="surrogateescape")


def rules(name: str) -> str:
    """Return what NAME-save says, of the legacy tables and of those of nftables: a node may use either.

    Where both hold rules both are taken, one after the other; InputError when there is no such tool.
    """
    found: dict[str, str] = {}
    for tool in (f"{name}-save", f"{name}-nft-save", f"{name}-legacy-save"):
        if shutil.which(tool):
            text = run((tool, "-c"))
            told = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
            if re.search(r"^\[\d+:\d+\] -A ", text, re.MULTILINE) or not found:
                found[told] = text
    if not found:
        raise InputError(f"{name}-save is not installed")
    with_rules = [text for text in found.values() if " -A " in text]
    return "".join(with_rules or [next(iter(found.values()))])


def native_tables() -> list[str]:
    """Return the tables of nftables that iptables-nft did not make; none without nft."""
    try:
        text = run(("nft", "list", "ruleset"))
    except InputError:
        return []
    found = []
    for table in re.split(r"^(?=table )", text, flags=re.MULTILINE)[1:]:
        kind, family, name = table.split(None, 3)[:3]
        # tables of these names hold what iptables-nft shows, unless it says that it cannot
        if family not in ("ip", "ip6") or name not in ("filter", "nat", "mangle", "raw", "security"):
            found.append(f"{kind} {family} {name}")
    return found


def snapshot(directory: Path, with_conntrack: bool = False) -> Snapshot:
    """Write this machine's node directory; nothing is written when what it cannot do without is missing.

    Raises InputError naming the tool, and when the directory holds files already; OutputError when it cannot be made.
    """
    there = directory.exists()
    make_folder(directory, "--output")
    try:
        if any(directory.iterdir()):
            raise InputError(f"{directory}: not empty; give a new directory")
        return collect(directory, with_conntrack)
    except BaseException:
        if not there:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise


def collect(directory: Path, with_conntrack: bool) -> Snapshot:
    """Ask the tools, then write what they say into an empty directory: all of it or nothing."""
    texts: dict[str, str] = {}
    left_out: dict[str, str] = {}
    commands = dict(COMMANDS)
    if with_conntrack:
        commands["conntrack.txt"] = (CONNTRACK, False)
    for name, (command, optional) in commands.items():
        try:
            texts[name] = rules(command[0].removesuffix("-save")) if name in RULES else run(command)
        except InputError as error:
            if not optional:
                raise InputError(f"{error}; it is needed, as root") from None
            left_out[name] = str(error)
    for name in EMPTY & texts.keys():
        if not texts[name].strip() or texts[name].strip() == "[]":
            left_out[name] = "nothing there"
            del texts[name]
    native = native_tables()
    if native:
        left_out["rules.nft"] = f"native nftables rules are not read yet: {', '.join(native)}"
    lines = [line for line in run(("sysctl", "-a")).splitlines() if SYSCTLS.match(line)]
    texts["sysctl.conf"] = "\n".join(lines) + "\n"
    try:
        for name, text in texts.items():
            with Output(directory / name) as output:
                output.write_text(text)
    except BaseException:
        for name in texts:
            (directory / name).unlink(missing_ok=True)
        raise
    return Snapshot(sorted(texts), left_out)
