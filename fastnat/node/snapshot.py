"""Collecting a node directory on a live node, with its stock tools, reading only.

A snapshot holds rules (of nftables those that iptables-save does not show), sets, virtual services, addresses, routes,
policy rules, and the sysctls that NAT depends on, and nothing else. Comments of rules stay as they are.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..iptables.model import TABLES
from ..util.output import Output, make_folder
from .parts import NATIVE

# file: the command that fills it, and whether it may be missing
COMMANDS = {
    "addr.json": (("ip", "-j", "-d", "addr"), False),
    "route.json": (("ip", "-j", "route"), False),
    "route6.json": (("ip", "-j", "-6", "route"), True),
    "neigh.json": (("ip", "-j", "neigh"), True),
    "rule.json": (("ip", "-j", "rule"), True),
    "rule6.json": (("ip", "-j", "-6", "rule"), True),
    "route-all.json": (("ip", "-j", "-4", "route", "show", "table", "all"), True),
    "route6-all.json": (("ip", "-j", "-6", "route", "show", "table", "all"), True),
    "rules.v4": (("iptables-save", "-c"), False),
    "rules.v6": (("ip6tables-save", "-c"), True),
    "ipset.save": (("ipset", "save"), True),
    "ipvs.save": (("ipvsadm-save", "-n"), True),
}
CONNTRACK = ("conntrack", "-L", "-o", "extended")
SYSCTLS = re.compile(
    r"net\.(?:netfilter\.nf_conntrack_\w+|ipv[46]\.fib_multipath_hash_(?:policy|seed)"
    r"|ipv4\.(?:ip_forward|ip_local_port_range|vs\.(?:conntrack|conn_reuse_mode|expire_\w+|sloppy_\w+)|(?:ip|tcp)_early_demux|ipfrag_(?:time|high_thresh|max_dist))"
    r"|ipv6\.conf\.[^.=]+(?:\.\d+)?\.(?:force_)?forwarding|ipv4\.conf\.[^.=]+(?:\.\d+)?\."
    r"(?:rp_filter|accept_local|route_localnet|forwarding|bc_forwarding|send_redirects|src_valid_mark|accept_source_route))"
)
# not asked of a node without IPv6
EMPTY = {"rules.v6", "route6.json", "route6-all.json", "ipset.save", "ipvs.save"}
SECONDS = 60
RULES = ("rules.v4", "rules.v6")


@dataclass(frozen=True)
class Snapshot:
    """What was written, and what was left out and why."""

    written: list[str]
    left_out: dict[str, str]


def run(command: tuple[str, ...]) -> str:
    """Return the output of a command; InputError says why there is none."""
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
    """Return the output of NAME-save for the legacy tables and for those of nftables: a node may use either.

    If both hold rules, both are returned, one after the other; InputError if the tool is missing.
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


def native_tables(shown: dict[str, str]) -> str:
    """Return the tables of nftables that iptables-nft does not show; none without nft.

    shown: by family of nft what iptables-save or ip6tables-save said.
    """
    try:
        text = run(("nft", "-a", "list", "ruleset"))
    except InputError:
        return ""
    found = []
    for table in re.split(r"^(?=table )", text, flags=re.MULTILINE)[1:]:
        _, family, name = table.split(None, 3)[:3]
        hidden = set(NATIVE.findall(shown.get(family, "")))
        if family not in shown or name not in TABLES or name in hidden:
            found.append(table)
    return "".join(found)


def snapshot(directory: Path, with_conntrack: bool = False) -> Snapshot:
    """Write this machine's node directory; write nothing if a required part is missing.

    Raises InputError naming a tool that fails, and if the directory is not empty; OutputError if it cannot be created.
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
    """Run the tools, then write their output into an empty directory: all of it or nothing."""
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
                raise InputError(f"{error}; snapshot needs it, as root") from None
            left_out[name] = str(error)
    if texts.get("ipvs.save", "").strip():
        # ipvsadm-save does not say them
        with contextlib.suppress(InputError):
            texts["ipvs.save"] += run(("ipvsadm", "-l", "--timeout"))
    for name in EMPTY & texts.keys():
        if not texts[name].strip() or texts[name].strip() == "[]":
            left_out[name] = "nothing there"
            del texts[name]
    native = native_tables({"ip": texts["rules.v4"], "ip6": texts.get("rules.v6", "")})
    if native:
        texts["rules.nft"] = native
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
