"""iptables-save and iptables -S text to a rule model; every error names file, line, rule and option.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ..addresses import V4, Family
from ..errors import RuleError
from ..memory import no_garbage
from . import listing, nesting
from .model import BUILT_IN, IGNORED_TABLES, Chain, Match, Rule, Rules, Table, Target
from .rule import RuleParser
from .targets import TARGETS

__all__ = ["Chain", "Match", "Rule", "Rules", "Table", "Target", "parse"]

COMMENTED_RULE = re.compile(r"^\s*#\s+-A \w", re.MULTILINE)
COMMENT_MARK = re.compile(r"^[ \t]*#[ \t]?", re.MULTILINE)
BARE_LINE = re.compile(r"^\s*[^\s#]", re.MULTILINE)
COMMAND = re.compile(r"(?:sudo\s+)?(?:/\S*/)?ip6?tables(?:-legacy|-nft)?\s+(?:-w\s+)?(?=-)")
SAVE = re.compile(r"(?:sudo\s+)?(?:/\S*/)?ip6?tables(?:-legacy|-nft)?-save\b")
SHOWN = re.compile(r"(?:.*\s)?(?:-S|-L|--list|--list-rules)\b")
# of a shell, with a user and host: [root@node ~]# or root@OpenWrt:/#
PROMPT = re.compile(r"\[?[\w.-]+@[\w.-]+[^#$%>]*[#$%>](?:\s+|$)")
# of `docker compose logs` and its kind
LOGGED = re.compile(r"[\w.-]+\s*\|\s")
TABLE_OPTION = re.compile(r"(?:^|\s)(?:-t|--table)\s+(\S+)")
ADDRESS_LIST = re.compile(r"\s(?:-s|-d|--src|--dst|--source|--destination)\s+(?:!\s*)?([^\s,]+,[^\s]+)")
COUNTERS = re.compile(r"\[(\d+):(\d+)\]$")
LINE_COUNTERS = re.compile(r"\[(\d+):(\d+)\]\s+")


def parse(text: str, source: str = "<rules>", lenient: bool = False, family: Family = V4) -> Rules:
    """Parse iptables-save, or `iptables -t nat -S`, text.

    Parameters
    ----------
    text : str       CRLF, leading blanks and a missing COMMIT are accepted; `-S` text is taken as the nat table;
                     listings (`iptables -nvL`) are read as far as they go, with a warning of what they hide
    source : str     the file name for messages
    family : Family  V4, or V6 for ip6tables-save text
    lenient : bool   keep a rule that is not understood as one that never matches, and say so in Rules.warnings

    Returns
    -------
    Rules

    Raises
    ------
    RuleError        names source, line, column, the option and the rule; nothing is half-loaded
    """
    with no_garbage():
        return _parse(text, source, family, lenient)


def _parse(text: str, source: str, family: Family, lenient: bool) -> Rules:
    rules = Rules({}, source)
    table: Table | None = None
    listed = listing.is_listing(text)
    for number, line in listing.lines(text, source, rules.warnings) if listed else _lines(text):
        if line.startswith("*"):
            name = line[1:].strip()
            if name not in BUILT_IN and name not in IGNORED_TABLES:
                raise RuleError(f"{source}:{number}: unknown table {name!r}; known are {', '.join(BUILT_IN)}")
            table = rules.tables.setdefault(name, Table(name))
            for built_in in BUILT_IN.get(name, ("INPUT", "FORWARD", "OUTPUT")):
                table.chains.setdefault(built_in, Chain(built_in, "ACCEPT"))
        elif line == "COMMIT":
            table = None
        else:
            if table is None:
                table = rules.tables.setdefault("nat", Table("nat"))
                for built_in in BUILT_IN["nat"]:
                    table.chains.setdefault(built_in, Chain(built_in, "ACCEPT"))
            _table_line(table, rules, number, line, lenient, family)
    for name in IGNORED_TABLES:
        rules.tables.pop(name, None)
    for t in rules.tables.values():
        _resolve(t, rules, lenient)
    return rules


def _lines(text: str) -> Iterator[tuple[int, str]]:
    if COMMENTED_RULE.search(text) and not BARE_LINE.search(text):
        # the whole of it stands behind marks of a comment, as a program logs it
        text = COMMENT_MARK.sub("", text)
    logged = LOGGED.match(text)
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if logged:
            raw = raw.removeprefix(logged[0])
        if raw.startswith("-A "):
            yield number, raw.rstrip(" \t\r`\\")
            continue
        # quoted, or typed at a prompt, as it stands on web pages
        line = re.sub(r"^[\s>|`]*(?:[$#]\s+(?=ip6?tables|/|sudo))?", "", raw).rstrip(" \t\r`\\")
        prompt = PROMPT.match(line)
        line = line[prompt.end() :] if prompt else line
        command = COMMAND.match(line)
        if SAVE.match(line) or (prompt and not command):
            continue
        if command:
            line = line[command.end() :]
            table = TABLE_OPTION.search(line)
            yield number, f"*{table[1] if table else 'filter'}"
            line = TABLE_OPTION.sub("", line).strip()
            if SHOWN.match(line):
                continue
        if line and not line.startswith("#"):
            yield number, line


def _table_line(table: Table, rules: Rules, number: int, line: str, lenient: bool, family: Family) -> None:
    if line.startswith("-A "):
        if table.name not in IGNORED_TABLES:
            _rule_line(table, rules, number, line, lenient, family)
        return
    source = rules.source
    words = line.split(None, 3)
    if line.startswith(":") or words[0] in ("-P", "-N"):
        name = line[1:].split()[0] if line.startswith(":") else words[1] if len(words) > 1 else ""
        policy = words[1] if line.startswith(":") and len(words) > 1 else words[2] if len(words) > 2 else "-"
        counted = COUNTERS.search(line)
        known = BUILT_IN.get(table.name, ())
        if not name or (name in known and policy not in ("ACCEPT", "DROP")) or (name not in known and policy != "-"):
            expected = ":PREROUTING ACCEPT [0:0] or :MY-CHAIN - [0:0]"
            raise RuleError(f"{source}:{number}: bad chain line {line!r}; expected {expected}")
        if table.name == "nat" and policy == "DROP":
            raise RuleError(f"{source}:{number}: policy DROP for {name}: the nat table is not intended for filtering")
        packets, octets = (int(counted[1]), int(counted[2])) if counted else (0, 0)
        rules_there = table.chains[name].rules if name in table.chains else []
        table.chains[name] = Chain(name, policy, packets, octets, rules_there)
        return
    if table.name in IGNORED_TABLES:
        return
    if words[0] == "table" and line.endswith("{"):
        raise RuleError(
            f"{source}:{number}: this is `nft list ruleset`; give the output of iptables-save, "
            "which shows what iptables-nft made of it"
        )
    if words[0] in ("-F", "--flush", "-X", "--delete-chain", "-Z", "--zero"):
        _flush(table, words)
        return
    _rule_line(table, rules, number, line, lenient, family)


def _rule_line(table: Table, rules: Rules, number: int, line: str, lenient: bool, family: Family) -> None:
    source = rules.source
    counted = LINE_COUNTERS.match(line) if line[0] == "[" else None
    text = line[counted.end() :] if counted else line
    if not text.startswith(("-A ", "--append ", "-I ", "--insert ", "-D ", "--delete ")):
        raise RuleError(f"{source}:{number}: {line!r} is no rule; expected -A CHAIN ..., :CHAIN, *TABLE or COMMIT")
    for one in _expanded(text):
        parser = RuleParser(table.name, source, number, one, family)
        try:
            rule = parser.parse()
        except RuleError as error:
            if not lenient:
                raise
            rule = never_matching(one, number)
            rules.warnings.append(f"never matches: {error}")
        if counted:
            rule.packets, rule.bytes = int(counted[1]), int(counted[2])
        chain = table.chains.get(rule.chain)
        if chain is None:
            rules.warnings.append(f"{source}:{number}: chain {rule.chain!r} is not declared")
            chain = table.chains[rule.chain] = Chain(rule.chain)
        if text.startswith("-A "):
            chain.rules.append(rule)
        else:
            _place(chain.rules, rule, text.split(None, 1)[0], parser)


def _flush(table: Table, words: list[str]) -> None:
    """-F, -X, -Z [CHAIN]."""
    chains = [table.chains[words[1]]] if words[1:] and words[1] in table.chains else list(table.chains.values())
    for chain in chains:
        if words[0] in ("-F", "--flush"):
            chain.rules.clear()
        elif words[0] in ("-X", "--delete-chain") and chain.name not in BUILT_IN[table.name]:
            del table.chains[chain.name]


def _expanded(text: str) -> list[str]:
    """Return a rule with lists of addresses (-s A,B) as the rules that iptables makes of it."""
    found = ADDRESS_LIST.search(text) if "," in text else None
    if not found:
        return [text]
    each = [text[: found.start(1)] + address + text[found.end(1) :] for address in found[1].split(",")]
    return [one for part in each for one in _expanded(part)]


def _place(chain: list[Rule], rule: Rule, command: str, parser: RuleParser) -> None:
    """Append, insert or delete a rule."""
    if command in ("-I", "--insert"):
        chain.insert(max(parser.position - 1, 0), rule)
    elif command in ("-A", "--append"):
        chain.append(rule)
    elif parser.position:
        if parser.position > len(chain):
            raise parser.fail(f"chain {rule.chain!r} has {len(chain)} rules, none of number {parser.position}")
        del chain[parser.position - 1]
    else:
        same = next((r for r in chain if replace(r, line=rule.line, text=rule.text) == rule), None)
        if same is None:
            raise parser.fail("there is no such rule to delete")
        chain.remove(same)


def never_matching(text: str, line: int) -> Rule:
    """Return a rule that stands for one that is not understood."""
    words = text.split()
    chain = words[1] if len(words) > 1 else ""
    return Rule(chain, line, text, matches=[Match("const", False, (0,))])


def _resolve(table: Table, rules: Rules, lenient: bool) -> None:
    """Check that every jump leads to a chain or a target, and that chains do not loop."""
    source = rules.source
    for chain in table.chains.values():
        for rule in list(chain.rules):
            name = rule.target.name
            if name in table.chains and name not in BUILT_IN[table.name]:
                continue
            if name and (name not in TARGETS or rule.target.goto):
                why = (
                    f"{source}:{rule.line}: no chain or supported target {name!r} in table {table.name}; supported "
                    f"targets are {', '.join(sorted(TARGETS))}\n  in the rule: {rule.text}"
                )
                if not lenient:
                    raise RuleError(why)
                chain.rules[chain.rules.index(rule)] = never_matching(rule.text, rule.line)
                rules.warnings.append(f"never matches: {why}")
    try:
        said = nesting.warning(table, source)
    except ValueError as error:
        raise RuleError(f"{source}: {error}") from None
    if said:
        rules.warnings.append(said)
