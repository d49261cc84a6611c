"""Listings (`iptables -nvL`, `-nL`, `-L`) to iptables-save lines; a warning names what a listing hides.

Sources: the print functions of the extensions in iptables 1.8.9, as their output shows them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ..errors import RuleError
from ..util.text import excerpt

CHAIN = re.compile(
    r"Chain (?P<name>\S+) \((?:policy (?P<policy>\w+)"
    r"(?: (?P<pkts>[0-9]+[KMGT]?) packets, (?P<bytes>[0-9]+[KMGT]?) bytes)?"
    r"|(?P<refs>\d+) references)\)"
)
ROW = re.compile(
    r"(?:(?P<num>\d+)\s+)??(?:(?P<pkts>[0-9]+[KMGT]?)\s+(?P<bytes>[0-9]+[KMGT]?)\s+)?(?:(?P<target>[^\s!]\S*)\s+)??"
    r"(?P<prot>!?[a-z0-9][\w-]*)\s+(?P<opt>--|-f|!f)\s+(?P<rest>.*)$"
)
# of 64 bits
COUNT_DIGITS = 20
SUFFIX = {"K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
RECENT_LINE = (
    r"(!?) ?recent: (CHECK|UPDATE|SET|REMOVE)\b"
    r"((?: (?:seconds: \d+|hit_count: \d+|reap|TTL-Match|name: \S+|side: \w+|mask: \S+))*)"
)
# what may follow the addresses: text of the listing, and the options that it stands for; {0} is the first group
MATCHES = [
    (re.compile(pattern), options)
    for pattern, options in (
        (r"/\*.*?\*/(?: \*/)*", ""),
        (r"\[goto\]", ""),
        (r"(tcp|udp|udplite|sctp)(?= |$)", "-m {0}"),
        (r"dccp(?= |$)", ""),
        (r"dpts?:(!?)(\S+)", "{0} --dport {1}"),
        (r"spts?:(!?)(\S+)", "{0} --sport {1}"),
        (r"flags:(!?)0x([0-9A-Fa-f]{1,2})/0x([0-9A-Fa-f]{1,2})(?= |$)", "flags"),
        (r"multiport (dports|sports|ports)\s+(!?)\s*(\S+)", "-m multiport {1} --{0} {2}"),
        (r"(!?) ?(?:ct)?state (?!$)([A-Z,]+)", "-m conntrack {0} --ctstate {1}"),
        (r"connmark match (!?) ?(\S+)", "-m connmark {0} --mark {1}"),
        (r"mark match (!?) ?(\S+)", "-m mark {0} --mark {1}"),
        (r"(!?) ?match-set (\S+) (\S+)", "-m set {0} --match-set {1} {2}"),
        (r"ADDRTYPE match dst-type (!?)([\w,]+)", "-m addrtype {0} --dst-type {1}"),
        (r"ADDRTYPE match src-type (!?)([\w,]+)", "-m addrtype {0} --src-type {1}"),
        (r"limit-(in|out)", "--limit-iface-{0}"),
        (r"statistic mode random (!?) ?probability (\S+)", "-m statistic --mode random {0} --probability {1}"),
        (r"statistic mode nth (!?) ?every (\d+)(?: packet (\d+))?", "nth"),
        (RECENT_LINE, "recent"),
        (r"limit: (?:up to|avg) (\S+) burst (\d+)", "-m limit --limit {0} --limit-burst {1}"),
        (r"(!?) ?icmp(?:v6|6)? ?type (\d+) code (\d+)", "{0} --icmp-type {1}/{2}"),
        (r"(!?) ?icmp(?:v6|6)? ?(?:type )?([\w-]+)", "{0} --icmp-type {1}"),
        (r"source IP range (!?) ?(\S+)", "-m iprange {0} --src-range {1}"),
        (r"destination IP range (!?) ?(\S+)", "-m iprange {0} --dst-range {1}"),
        (r"policy match dir (\w+) pol (\w+)(?: mode \w+)?", "-m policy --dir {0} --pol {1}"),
        (r"PHYSDEV match((?:\s+(?:! )?--physdev-(?:(?:in|out) \S+|is-\w+))+)", "-m physdev {0}"),
        (r"length (!?) ?(\S+)", "-m length {0} --length {1}"),
        (r"TTL match TTL == (\d+)", "-m ttl --ttl-eq {0}"),
        (r"rpfilter(?: (invert))?", "rpfilter"),
        (r"(!?) ?owner socket exists", "-m owner {0} --socket-exists"),
        (r"(!?) ?owner UID match (\S+)", "-m owner {0} --uid-owner {1}"),
        (r"(!?) ?owner GID match (\S+)(?: incl\. suppl\. groups)?", "-m owner {0} --gid-owner {1}"),
        (r"#conn (src|dst)/(\S+) (<=|>) (\d+)", "connlimit"),
        (r"tcpmss match (!?)(\S+)", "-m tcpmss {0} --mss {1}"),
        (r"ECN match ECT=(\d)", "-m ecn --ecn-ip-ect {0}"),
        (r"PKTTYPE (!?)= ?(\w+)", "-m pkttype {0} --pkt-type {1}"),
        (r"MAC ?(!?) ?([0-9A-Fa-f:]{17})", "-m mac {0} --mac-source {1}"),
    )
]  # fmt: skip
TARGETS = [
    (re.compile(pattern), options)
    for pattern, options in (
        (r"to:(\S+)", "to"),
        (r"redir ports (\S+)", "--to-ports {0}"),
        (r"masq ports: (\S+)", "--to-ports {0}"),
        (r"random-fully|random|persistent", "--"),
        (r"MARK (or|and|xor) (\S+)", "--{0}-mark {1}"),
        (r"MARK x?set (\S+)", "--set-xmark {0}"),
        (r"CONNMARK (save|restore)(?: mask (\S+))?", "connmark"),
        (r"CONNMARK (or|and|xor) (\S+)", "--{0}-mark {1}"),
        (r"CONNMARK x?set (\S+)", "--set-xmark {0}"),
        (r"reject-with (\S+)", "--reject-with {0}"),
        (r"(?:LOG|ULOG|nflog)\b.*", ""),
        (r"TCPMSS (?:clamp to PMTU|set \d+)", "--clamp-mss-to-pmtu"),
        (r"CHECKSUM fill", "--checksum-fill"),
        (r"CT notrack", "--notrack"),
        (r"CT zone (\d+)", "--zone {0}"),
        (r"(\d+\.\d+\.\d+\.\d+/\d+)$", "netmap"),
    )
]  # fmt: skip
WORD = re.compile(r"\S")
RECENT = {"CHECK": "--rcheck", "UPDATE": "--update", "SET": "--set", "REMOVE": "--remove"}
RECENT_OPTION = re.compile(r"(seconds|hit_count|name|mask): (\S+)|(side): (\w+)|(reap|TTL-Match)")
RECENT_NAMES = {"seconds": "--seconds", "hit_count": "--hitcount", "name": "--name", "mask": "--mask"}
TCP_FLAG_NAMES = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
ANYWHERE = ("0.0.0.0/0", "::/0", "anywhere")
# names of /etc/networks and /etc/hosts on every Debian, which a listing without -n prints
NAMES = {"loopback": "127.0.0.0", "link-local": "169.254.0.0", "localhost": "127.0.0.1"}


def is_listing(text: str) -> bool:
    """Tell whether text is a listing rather than iptables-save."""
    return "Chain " in text and any(CHAIN.match(line.strip()) for line in text.splitlines())


def lines(text: str, source: str, warnings: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the iptables-save lines that a listing stands for, with the numbers of its lines.

    Appends to warnings what a listing hides. Raises RuleError naming a line that cannot become a rule.
    """
    rows = [(number, raw.strip()) for number, raw in enumerate(text.splitlines(), 1) if raw.strip()]
    wide = any(" in " in f" {line} " and " out " in f" {line} " for _, line in rows if "prot" in line)
    warnings.append(
        f"{source}: read from a listing (iptables -L), which hides parts of the rules"
        + ("" if wide else "; without -v it hides the interfaces of every rule, so each rule matches any interface")
        + "; give the output of iptables-save to be sure"
    )
    for group in _tables(rows):
        yield group[0][0], f"-t {_table_of(group)}"
        chain = ""
        for number, line in group:
            head = CHAIN.match(line)
            if head:
                chain = head["name"]
                where = f"{source}:{number}"
                counted = f"[{_count(head['pkts'], where)}:{_count(head['bytes'], where)}]"
                yield number, f":{chain} {head['policy'] or '-'} {counted}"
        for number, line in group:
            head = CHAIN.match(line)
            if head:
                chain = head["name"]
            elif not re.match(r"(?:num\s+)?(?:pkts\s+bytes\s+)?target\s+prot\s+opt\b", line):
                yield number, _rule(line, chain, wide, f"{source}:{number}")


def _tables(rows: list[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    """Cut the rows where a chain occurs a second time, because several tables were listed one after the other."""
    groups: list[list[tuple[int, str]]] = [[]]
    seen: set[str] = set()
    for number, line in rows:
        head = CHAIN.match(line)
        if head and head["name"] in seen:
            groups.append([])
            seen.clear()
        if head:
            seen.add(head["name"])
        if head or groups[-1]:
            groups[-1].append((number, line))
    return groups


def _table_of(group: list[tuple[int, str]]) -> str:
    chains = {head["name"] for _, line in group if (head := CHAIN.match(line)) and head["policy"]}
    if {"FORWARD", "PREROUTING"} <= chains:
        return "mangle"
    if "FORWARD" in chains:
        return "filter"
    if chains == {"PREROUTING", "OUTPUT"}:
        return "raw"
    return "nat"


def _count(text: str | None, where: str) -> int:
    if not text:
        return 0
    number = text[:-1] if text[-1] in SUFFIX else text
    if len(number) > COUNT_DIGITS:
        raise RuleError(f"{where}: counter {excerpt(text, 40)!r} has more than {COUNT_DIGITS} digits")
    return int(number) * SUFFIX.get(text[-1], 1)


def _rule(line: str, chain: str, wide: bool, where: str) -> str:
    row = ROW.match(line)
    if row is None:
        raise RuleError(f"{where}: {excerpt(line)!r} is not a row of a listing; give the output of iptables-save")
    words = row["rest"].split(None, 4 if wide else 2)
    addresses = words[2 if wide else 0 :][:2]
    if len(addresses) < 2:
        raise RuleError(f"{where}: {excerpt(line)!r} ends before its addresses; give the output of iptables-save")
    in_iface, out_iface = (words[0], words[1]) if wide else ("*", "*")
    extras = words[4 if wide else 2 :][0] if len(words) > (4 if wide else 2) else ""
    target = row["target"] or ""
    out = [f"-A {chain}"]
    for flag, iface in (("-i", in_iface), ("-o", out_iface)):
        if iface not in ("*", "any"):
            out.append(("! " if iface.startswith("!") else "") + f"{flag} {iface.lstrip('!')}")
    if row["prot"] not in ("all", "0"):
        out.append(("! " if row["prot"].startswith("!") else "") + f"-p {row['prot'].lstrip('!')}")
    for flag, address in zip(("-s", "-d"), addresses, strict=True):
        if address not in ANYWHERE:
            name, slash, length = address.lstrip("!").partition("/")
            out.append(("! " if address.startswith("!") else "") + f"{flag} {NAMES.get(name, name)}{slash}{length}")
    if row["opt"] != "--":
        out.append("! -f" if row["opt"] == "!f" else "-f")
    goto = "[goto]" in extras
    matches, options = _extras(extras, target)
    counted = f"[{_count(row['pkts'], where)}:{_count(row['bytes'], where)}] " if row["pkts"] else ""
    jump = [f"{'-g' if goto else '-j'} {target}"] if target else []
    return counted + " ".join([*out, *matches, *jump, *options])


def _extras(text: str, target: str) -> tuple[list[str], list[str]]:
    """Return the options of matches and of the target that the end of a row contains."""
    matches: list[str] = []
    options: list[str] = []
    text, at = text.strip(), 0
    while at < len(text):
        for kind, pieces in ((MATCHES, matches), (TARGETS, options)):
            fits = ((pattern.match(text, at), template) for pattern, template in kind)
            found, template = next(((m, t) for m, t in fits if m and m.end() > at), (None, ""))
            if found:
                pieces.append(_options(template, [g or "" for g in found.groups()], found.group(), target))
                behind = WORD.search(text, found.end())
                at = behind.start() if behind else len(text)
                break
        else:
            return [*matches, f"--listed-as {shlex.quote(text[at:])}"], options
    return matches, options


def _options(template: str, groups: list[str], text: str, target: str) -> str:
    """Return the options that one piece of text stands for."""
    if template == "--":
        return f"--{text}"
    if template == "flags":
        mask, comp = (_flags(int(g, 16)) for g in groups[1:])
        return f"{groups[0]} --tcp-flags {mask} {comp}"
    if template == "nth":
        return f"-m statistic --mode nth {groups[0]} --every {groups[1]} --packet {groups[2] or 0}"
    if template == "recent":
        return f"-m recent {groups[0]} {RECENT[groups[1]]} {_recent(groups[2])}"
    if template == "connlimit":
        bound = {">": "above", "<=": "upto"}[groups[2]]
        return (
            f"-m connlimit --connlimit-{bound} {groups[3]} --connlimit-mask {groups[1]} --connlimit-{groups[0][0]}addr"
        )
    if template == "rpfilter":
        return "-m rpfilter" + (" --invert" if groups[0] else "")
    if template == "to":
        return {"SNAT": "--to-source ", "DNAT": "--to-destination "}.get(target, "--to ") + groups[0]
    if template == "netmap":
        return f"--to {groups[0]}"
    if template == "connmark":
        return f"--{groups[0]}-mark" + (f" --mask {groups[1]}" if groups[1] else "")
    return template.format(*groups)


def _flags(bits: int) -> str:
    names = [name for n, name in enumerate(TCP_FLAG_NAMES) if bits >> n & 1]
    return ",".join(names) or "NONE"


def _recent(text: str) -> str:
    out = []
    for found in RECENT_OPTION.finditer(text):
        if found[1]:
            out.append(f"{RECENT_NAMES[found[1]]} {found[2]}")
        elif found[3]:
            out.append("--rdest" if found[4] == "dest" else "--rsource")
        else:
            out.append("--reap" if found[5] == "reap" else "--rttl")
    return " ".join(out)
