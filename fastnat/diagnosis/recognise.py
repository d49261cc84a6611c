"""Which file an operator has given: recognised by its text, whatever its name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from ..addresses import FAMILIES, family_of
from ..errors import InputError
from ..exhaustion.source_nat import ANY, PortWindows
from ..node import Node
from ..node.model import NFT_LAST
from ..util.files import read_text, scratch, standard_input, sysctl_name
from ..util.text import each_line, excerpt
from . import counters

# lines of a text that are looked at, and of which share one kind must be
LOOKED_AT, MOST = 400, 0.5
SYSCTL = re.compile(r"\s*(?:/proc/sys/)?(net[./][\w./-]+)\s*(?:=|:)\s*(\S.*)?$")
DMESG = re.compile(
    r"nf_conntrack|nf_ct_|conntrack: |net_ratelimit|^\s*\[\s*\d+\.\d+\]|^\w{3}\s+\d+ [\d:]{8} |\bkernel: "
)
ENTRY = re.compile(r"(?:^|\s)src=\S+ dst=\S+ .*\bsrc=\S+ dst=\S+")
EVENT = re.compile(r"\s*\[(?:NEW|UPDATE|DESTROY)\] ")
RULE = re.compile(
    r"\s*(?:\[\d+:\d+\]\s*)?(?:iptables\s+)?(?:-t \w+\s+)?-[AINP] "
    r"|\s*\*(?:nat|filter|mangle|raw|security)\s*$|\s*:\w\S* "
)
NFT = re.compile(r"\s*(?:table (?:ip6?|inet|arp|bridge|netdev) |add table |chain \w)")
IPVS = re.compile(r"\s*-[AaEe] -[tuf] ")
IPSET = re.compile(r"\s*(?:create|add) \S+ ")
TOOL = re.compile(r"conntrack v[\d.]+ \(conntrack-tools\): (\d+) flow entries have been shown")
# other forms of a dump
NO_DUMPS = (re.compile(r"<\?xml|<conntrack"), re.compile(r"-A -t \d+ -u "))
# what is left out, and what would be read instead
OTHERS = (
    (NO_DUMPS[0], "`conntrack -L -o xml`", "`conntrack -L`"),
    (NO_DUMPS[1], "`conntrack -L -o save`", "`conntrack -L`"),
    (re.compile(r"\d+: \S+: <[A-Z_,]+> mtu"), "`ip addr` without -j", "`ip -j addr`"),
    (re.compile(r"(?:default|[\d.]+(?:/\d+)?) (?:via \S+ )?dev \S+"), "`ip route` without -j", "`ip -j route`"),
    (EVENT, "events of `conntrack -E`", "`conntrack -L`"),
    (re.compile(r"Chain \S+ \("), "`iptables -L`", "`iptables-save -c`"),
)
# the file of a node directory that holds each kind
FILES = {
    "addresses": "addr.json", "routes": "route.json", "routes of IPv6": "route6.json", "rules": "rules.v4",
    "rules of IPv6": "rules.v6", "rules of nftables": "rules.nft", "sets": "ipset.save", "IPVS services": "ipvs.save",
    "policy rules": "rule.json", "policy rules of IPv6": "rule6.json",
}  # fmt: skip
# files of a node directory whose text does not tell what they are; the last one says that rules.nft was loaded last
BY_NAME = {
    "route-all.json": "routes of all tables", "route6-all.json": "routes of all tables of IPv6", "passwd": "users",
    "group": "groups", NFT_LAST: "order of rules",
}  # fmt: skip
FILES |= {kind: file for file, kind in BY_NAME.items()}
# of which family a file is that its text does not tell: `*nat ... -j MASQUERADE`, a default route, a rule for all
NAMES = {file: kind for kind, file in FILES.items()}
COMMANDS = {
    "connections": "`conntrack -L`", "counters": "`conntrack -S`", "kernel log": "`dmesg`", "addresses": "`ip -j addr`",
    "rules": "`iptables-save -c` or `nft list ruleset`", "sysctls": "`sysctl -a`",
}  # fmt: skip


@dataclass
class Evidence:
    """What was recognised: texts by kind, with the names that errors give them.

    dumps, stats, logs: (name, what it holds) in the order given; node: None without addresses; rules: a node that has
    them, even if nothing else is known of it; said: what was
    recognised, left out, and what would help.
    """

    dumps: list[tuple[str, str]] = field(default_factory=list)
    stats: list[tuple[str, counters.Counters]] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)
    node: Node | None = None
    has_rules: bool = False
    rules: Node = field(default_factory=Node)
    said: list[str] = field(default_factory=list)

    def windows_of(self, address: str, proto: str) -> set[tuple[int, int]]:
        """Return the first and last ports that rules name for an address and a protocol."""
        family = family_of(address)
        number = family.to_int(address)
        return self.port_windows.of(family, proto, number) - {ANY} if proto in ("tcp", "udp") else set()

    @cached_property
    def port_windows(self) -> PortWindows:
        """What the rules give, once all files are read."""
        return PortWindows(self.rules)

    @property
    def windows(self) -> set[tuple[int, int]]:
        """All that they name."""
        every = (self.port_windows.of(family, proto) for family in FAMILIES.values() for proto in ("tcp", "udp"))
        return set().union(*every) - {ANY}

    def sysctl(self, name: str) -> int | None:
        """Return a sysctl of conntrack as a number, None if no file says it."""
        text = self.sysctls.get(f"net.netfilter.nf_conntrack_{name}")
        return int(text) if text is not None and re.fullmatch(r"\d{1,12}", text.strip()) else None


def kind_of(text: str) -> str:
    """Return what a text is: a key of FILES or COMMANDS, or "" for what is not recognised."""
    start = text.lstrip()
    if start.startswith(("{", "[")) and not start.startswith("[ ") and not re.match(r"\[\d", start):
        return _kind_of_json(text)
    if counters.is_counters(text):
        return "counters"
    lines = [line for line in islice(each_line(text), LOOKED_AT) if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return ""
    if any(form.match(lines[0]) for form in NO_DUMPS):
        return ""
    tests: list[tuple[str, Callable[[str], object]]] = [
        ("connections", lambda line: (ENTRY.search(line) and not EVENT.match(line)) or TOOL.match(line)),
        ("sysctls", SYSCTL.match), ("IPVS services", IPVS.match), ("sets", IPSET.match), ("rules", RULE.match),
        ("rules of nftables", NFT.match), ("kernel log", DMESG.search),
    ]  # fmt: skip
    for kind, test in tests:
        count = sum(bool(test(line)) for line in lines)
        # a rule set of nftables has few lines that say so: its first one has to
        if count >= MOST * len(lines) or (kind == "rules of nftables" and test(lines[0])):
            return _family_of_rules(text) if kind == "rules" else kind
    return ""


def _named(file: str, kind: str) -> str:
    """Return a kind with the family that the name of a node's file says."""
    named = NAMES.get(file, "")
    return named if named.removesuffix(" of IPv6") == kind.removesuffix(" of IPv6") else kind


def _kind_of_json(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if isinstance(value, dict):
        return "rules of nftables" if "nftables" in value else ""
    first = next((entry for entry in value if isinstance(entry, dict) and entry), {})
    six = any(
        ":" in str(entry.get(key, ""))
        for entry in value
        if isinstance(entry, dict)
        for key in ("dst", "gateway", "src")
    )
    if "ifname" in first:
        return "addresses"
    if "priority" in first:
        return "policy rules of IPv6" if six else "policy rules"
    if "dst" in first:
        return "routes of IPv6" if six else "routes"
    return ""


def _family_of_rules(text: str) -> str:
    six = re.search(r"-[sd] \S*:|ip6tables|icmp6|ipv6-icmp|--to-(?:source|destination) \S*\[", text)
    return "rules of IPv6" if six else "rules"


def collect(paths: list[str]) -> Evidence:
    """Return what files and node directories hold; InputError where nothing can be used, or a file is broken."""
    found = Evidence()
    texts: dict[str, tuple[str, str]] = {}
    for path in _files(paths):
        name = "standard input" if path == "-" else str(path)
        try:
            text = standard_input().read().decode(errors="replace") if path == "-" else read_text(Path(path))
        except InputError as error:
            if str(path) in paths:
                raise
            # a node's directory may also hold a capture
            found.said.append(f"{name}: left out, {str(error).removeprefix(f'{name}: ')}")
            continue
        kind = BY_NAME.get(Path(name).name) or _named(Path(name).name, kind_of(text))
        if not kind:
            found.said.append(f"{name}: left out, {_why(text)}")
            continue
        found.said.append(f"{name}: {kind}")
        if kind == "connections":
            found.dumps.append((name, text))
        elif kind == "counters":
            found.stats.append((name, counters.parse(text, name)))
        elif kind == "kernel log":
            found.logs.append((name, text))
        elif kind == "sysctls":
            found.sysctls |= sysctls_of(text)
        elif kind in texts:
            raise InputError(f"{name}: {kind} again, after {texts[kind][0]}; give those of one node at one time")
        else:
            texts[kind] = (name, text)
    if "addresses" in texts:
        found.node = _node(texts, found)
    found.rules = found.node or rules_of(texts, found)
    found.has_rules = any(kind.startswith("rules") for kind in texts)
    return found


def rules_of(texts: dict[str, tuple[str, str]], found: Evidence) -> Node:
    """Return a node that has the rules of loose files alone; a listing of nftables that is cut is left out."""
    node = Node()
    for kind, load in (("rules", node.load_rules), ("rules of IPv6", node.load_rules6)):
        if kind in texts:
            name, text = texts[kind]
            load(text, name, lenient=True)
    if "rules of nftables" in texts:
        name, text = texts["rules of nftables"]
        try:
            node.load_nft(text, name, lenient=True)
        except InputError as error:
            del texts["rules of nftables"]
            found.said.append(f"{name}: left out, {str(error).splitlines()[0].removeprefix(f'{name}:')}")
    return node


def _files(paths: list[str]) -> list[str | Path]:
    """Return the files of node directories beside those that are given alone."""
    found: list[str | Path] = []
    for path in paths:
        if path != "-" and Path(path).is_dir():
            found += sorted(p for p in Path(path).iterdir() if p.is_file() and not p.name.startswith("."))
        else:
            found.append(path)
    return found


def _why(text: str) -> str:
    for form, what, instead in OTHERS:
        if any(form.match(line) for line in islice(each_line(text), LOOKED_AT)):
            return f"it is {what}; {instead} is read"
    if text.strip() in ("", "[]", "{}"):
        return "it is empty"
    first = excerpt(text.strip().splitlines()[0], 60)
    return f"not recognised: {first!r}; read are the outputs of {', '.join(COMMANDS.values())}"


def sysctls_of(text: str) -> dict[str, str]:
    """Return the sysctls of `sysctl -a`, or of `grep . /proc/sys/...`."""
    found = {}
    for line in text.splitlines():
        match = SYSCTL.match(line)
        if match and match[2] is not None:
            found[sysctl_name(match[1])] = match[2].strip()
    return found


def _node(texts: dict[str, tuple[str, str]], found: Evidence) -> Node:
    """Return the node that the files describe; errors name the files as they were given."""
    with scratch() as folder:
        names = {}
        for kind, (name, text) in texts.items():
            path = Path(folder) / FILES[kind]
            path.write_text(text, errors="surrogateescape")
            names[str(path)] = name
        (Path(folder) / "sysctl.conf").write_text("".join(f"{k} = {v}\n" for k, v in found.sysctls.items()))
        names[str(Path(folder) / "sysctl.conf")] = "sysctls"
        try:
            node = Node.load(folder, lenient=True)
        except InputError as error:
            said = str(error)
            for there, name in names.items():
                said = said.replace(there, name)
            raise InputError(said) from None
    found.said += [f"note: {note}" for note in node.notes]
    return node
