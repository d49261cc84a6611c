"""iptables-save and iptables -S text to a rule model; every error names file, line, rule and option.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from operator import attrgetter

from ..addresses import V4, Family
from ..errors import RuleError
from ..util.memory import no_garbage
from ..util.text import decimal, excerpt, text_of
from . import listing, nesting
from .model import BUILT_IN, IGNORED_TABLES, Chain, Match, Rule, Rules, Table
from .rule import RuleParser
from .rule_words import Ids
from .shapes import HOOKS, Shapes
from .targets import TARGETS

# blanks within a line only: a pattern that crosses lines is tried again from each of them
COMMENTED_RULE = re.compile(r"^[^\S\n]*#[^\S\n]+-A \w", re.MULTILINE)
COMMENT_MARK = re.compile(r"^[ \t]*#[ \t]?", re.MULTILINE)
BARE_LINE = re.compile(r"^[^\S\n]*[^\s#]", re.MULTILINE)
QUOTED = re.compile(r"^[\s>|`]*(?:[$#]\s+(?=ip6?tables|/|sudo))?")
# only a typed line has these: a command after a mark, or a prompt
TYPED = re.compile(r"@|^#\s+(?:ip6?tables|/|sudo)")
COMMAND = re.compile(r"(?:sudo\s+)?(?:/\S*/)?ip6?tables(?:-legacy|-nft)?\s+(?:-w\s+)?(?=-)")
SAVE = re.compile(r"(?:sudo\s+)?(?:/\S*/)?ip6?tables(?:-legacy|-nft)?-save\b")
SHOWN = re.compile(r"(?:.*\s)?(?:-S|-L|--list|--list-rules)\b")
# of a shell, with a user and host: [root@node ~]# or root@OpenWrt:/#
PROMPT = re.compile(r"\[?[\w.-]++@[\w.-]++[^#$%>]*+[#$%>](?:\s+|$)")
# of `docker compose logs` and its kind
LOGGED = re.compile(r"[\w.-]+\s*\|\s")
TABLE_OPTION = re.compile(r"(?:^|\s)(?:-t|--table)\s+(\S+)")
ADDRESS_LIST = re.compile(r"\s(-s|-d|--src|--dst|--source|--destination)\s+(?:!\s*)?([^\s,]+,[^\s]+)")
COUNTERS = re.compile(r"\[([0-9]+):([0-9]+)\]$")
LINE_COUNTERS = re.compile(r"\[([0-9]+):([0-9]+)\]\s+")
# rules that the lists of addresses of one text may make, and the characters of their texts
MAX_LISTED, MAX_LISTED_TEXT = 32_768, 1 << 23
# rules that the -I, -D and -F of one text may look at or move; pasted text has some hundred commands
MAX_STEPS = 1_000_000
MAX_COUNTER = 2**64 - 1
SUPPORTED = ", ".join(sorted(TARGETS))
# all of a rule but where and how it was written
CONTENT = attrgetter(*(f.name for f in fields(Rule) if f.name not in ("line", "text")))
# rules that are moved in the time in which one is compared
MOVED = 64


def parse(text: str, source: str = "<rules>", lenient: bool = False, family: Family = V4, ids: Ids = ({}, {})) -> Rules:
    """Parse iptables-save, or `iptables -t nat -S`, text.

    Parameters
    ----------
    text : str       CRLF, leading blanks and a missing COMMIT are accepted; `-S` text is taken as the nat table;
                     listings (`iptables -nvL`) are read as far as they are complete, with a warning
    source : str     the file name for messages
    family : Family  V4, or V6 for ip6tables-save text
    lenient : bool   keep an unknown rule as one that never matches, and name it in Rules.warnings
    ids : (dict, dict)   of users and of groups, by name, for -m owner

    Returns
    -------
    Rules

    Raises
    ------
    RuleError        names source, line, column, the option and the rule; nothing is half-loaded
    """
    text_of(text, source)
    with no_garbage():
        reader = Reader(Rules({}, source, lenient=lenient), family, lenient, ids)
        listed = listing.is_listing(text)
        for number, line in listing.lines(text, source, reader.rules.warnings) if listed else _lines(text):
            reader.line(number, line)
        return reader.end()


def _lines(text: str) -> Iterator[tuple[int, str]]:
    if COMMENTED_RULE.search(text) and not BARE_LINE.search(text):
        # every line begins with the mark of a comment, as a program logs it
        text = COMMENT_MARK.sub("", text)
    logged = LOGGED.match(text)
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if logged:
            raw = raw.removeprefix(logged[0])
        if raw.startswith("-A "):
            yield number, raw.rstrip(" \t\r`\\")
            continue
        if not raw or raw.isspace():
            continue
        if raw[0] in "-:*#" and not TYPED.search(raw):
            if raw[0] != "#":
                yield number, raw.rstrip(" \t\r`\\")
            continue
        # quoted, or typed at a prompt, as on web pages
        line = QUOTED.sub("", raw).rstrip(" \t\r`\\")
        prompt = PROMPT.match(line)
        line = line[prompt.end() :] if prompt else line
        command = COMMAND.match(line)
        if SAVE.match(line) or (prompt and not command):
            continue
        if command:
            line = line[command.end() :]
            table = TABLE_OPTION.search(line)
            yield number, f"-t {table[1] if table else 'filter'}"
            line = TABLE_OPTION.sub("", line).strip()
            if SHOWN.match(line):
                continue
        if line and not line.startswith("#"):
            yield number, line


class Reader:
    """Reads the lines of one text, and counts what short lines can expand to."""

    def __init__(self, rules: Rules, family: Family, lenient: bool, ids: Ids = ({}, {})) -> None:
        self.rules, self.family, self.lenient, self.ids = rules, family, lenient, ids
        self.source = rules.source
        self.table: Table | None = None
        # of a table: chains in which rules were put since they were flushed, and the shapes of its rules
        self.filled: dict[str, dict[str, None]] = {}
        # rules inserted at the front of a chain, the last one foremost; they are moved together
        self.fronts: dict[tuple[str, str], list[Rule]] = {}
        self.shapes: dict[str, Shapes] = {}
        # the lines in which *TABLE stood last
        self.begun: dict[str, int] = {}
        self.listed = self.listed_text = self.steps = 0

    def fail(self, number: int, why: str) -> RuleError:
        """Return the error for a line; the caller raises it."""
        return RuleError(f"{self.source}:{number}: {why}")

    def line(self, number: int, line: str) -> None:
        """Read one line of iptables-save, or one command."""
        if line.startswith("-A ") and self.table is not None and self._known_rule(self.table, number, line):
            return
        if line.startswith(("*", "-t ")):
            name = line.removeprefix("-t ").removeprefix("*").strip()
            if name not in BUILT_IN and name not in IGNORED_TABLES:
                raise self.fail(number, f"unknown table {excerpt(name)!r}; expected one of {', '.join(BUILT_IN)}")
            self.table = self._table(name)
            if line[0] == "*" and name in BUILT_IN:
                self._begin(self.table, number)
        elif line == "COMMIT":
            self.table = None
        else:
            if self.table is None:
                self.table = self._table("nat")
            self._table_line(self.table, number, line)

    def end(self) -> Rules:
        """Return the rules read."""
        for name in IGNORED_TABLES:
            self.rules.tables.pop(name, None)
        for table in self.rules.tables.values():
            for chain in table.chains.values():
                self._settle(table, chain)
            _resolve(table, self.rules, self.lenient)
        return self.rules

    def _table(self, name: str) -> Table:
        table = self.rules.tables.get(name)
        if table is None:
            table = self.rules.tables[name] = Table(name)
            for built_in in BUILT_IN.get(name, ("INPUT", "FORWARD", "OUTPUT")):
                table.chains[built_in] = Chain(built_in, "ACCEPT")
        return table

    def _table_line(self, table: Table, number: int, line: str) -> None:
        if table.name in IGNORED_TABLES:
            return
        if line.startswith(("-A ", "-I ", "-D ")):
            self._rule_line(table, number, line)
            return
        if line.startswith(":"):
            words = [":", *line[1:].split(None, 2)]
            if words[2:] == ["-", "[0:0]"] and words[1] not in BUILT_IN[table.name]:
                self._chain(table, words[1])
            else:
                self._chain_line(table, number, line, words)
            return
        words = line.split(None, 3)
        if words[0] in ("-P", "-N"):
            self._chain_line(table, number, line, words)
            return
        if words[0] == "table" and line.endswith("{"):
            raise self.fail(
                number, "this is `nft list ruleset`; give the output of iptables-save, which shows what iptables-nft "
                "made of it",
            )  # fmt: skip
        if words[0] in ("-F", "--flush", "-X", "--delete-chain", "-Z", "--zero"):
            self._flush(table, words)
            return
        self._rule_line(table, number, line)

    def _chain_line(self, table: Table, number: int, line: str, words: list[str]) -> None:
        """Read :NAME POLICY [PACKETS:BYTES], -P NAME POLICY or -N NAME; words: ":", NAME, ... of the first."""
        name, policy = words[1] if len(words) > 1 else "", words[2] if len(words) > 2 else "-"
        counted = COUNTERS.search(line)
        known = BUILT_IN.get(table.name, ())
        if name in known and policy == "-":
            # as the chain has it already
            policy = table.chains[name].policy
        if not name or (name in known and policy not in ("ACCEPT", "DROP")) or (name not in known and policy != "-"):
            expected = ":PREROUTING ACCEPT [0:0] or :MY-CHAIN - [0:0]"
            raise self.fail(number, f"bad chain line {excerpt(line)!r}; expected {expected}")
        if table.name == "nat" and policy == "DROP":
            raise self.fail(number, f"policy DROP for {name}: the nat table is not intended for filtering")
        packets, octets = self._counters(number, counted) if counted else (0, 0)
        self._chain(table, name, policy, packets, octets)

    def _chain(self, table: Table, name: str, policy: str = "-", packets: int = 0, octets: int = 0) -> None:
        """Declare a chain, which keeps its rules if it is there already."""
        there = table.chains.get(name)
        table.chains[name] = Chain(name, policy, packets, octets, there.rules if there else [])

    def _counters(self, number: int, counted: re.Match[str]) -> tuple[int, int]:
        try:
            return decimal(counted[1], 0, MAX_COUNTER), decimal(counted[2], 0, MAX_COUNTER)
        except ValueError as error:
            raise self.fail(number, f"counters {excerpt(counted[0].strip())}: {error}") from None

    def _rule_line(self, table: Table, number: int, line: str) -> None:
        counted = LINE_COUNTERS.match(line) if line[0] == "[" else None
        text = line[counted.end() :] if counted else line
        if not text.startswith(("-A ", "--append ", "-I ", "--insert ", "-D ", "--delete ")):
            why = "is not a rule; expected -A CHAIN ..., :CHAIN, *TABLE or COMMIT"
            raise self.fail(number, f"{excerpt(line)!r} {why}")
        for one in self._expanded(number, text):
            parser = None
            try:
                parser = self._parser(table, one, number)
                rule = parser.parse()
            except RuleError as error:
                if not self.lenient:
                    raise
                rule = never_matching(one, number)
                self.rules.warnings.append(f"never matches: {error}")
            if counted:
                rule.packets, rule.bytes = self._counters(number, counted)
            chain = table.chains.get(rule.chain) or self._undeclared(table, rule)
            self.filled.setdefault(table.name, {})[chain.name] = None
            if parser is None or text.startswith("-A "):
                chain.rules.append(rule)
            else:
                self._place(table, chain, rule, text.split(None, 1)[0], parser)

    def _known_rule(self, table: Table, number: int, text: str) -> bool:
        """Read a rule whose shape is known; False for any other, of which nothing is read."""
        if table.name in IGNORED_TABLES or ("," in text and ADDRESS_LIST.search(text)):
            return False
        shapes = self.shapes.get(table.name)
        if shapes is None:
            shapes = self.shapes[table.name] = Shapes(self.family, partial(self._parsed, table))
        rule = shapes.rule(text, number)
        chain = table.chains.get(rule.chain) if rule else None
        if rule is None or chain is None:
            return False
        self.filled.setdefault(table.name, {})[chain.name] = None
        chain.rules.append(rule)
        return True

    def _parser(self, table: Table, text: str, number: int) -> RuleParser:
        return RuleParser(table.name, self.source, number, text, self.family, self.ids)

    def _parsed(self, table: Table, text: str, number: int) -> Rule:
        return self._parser(table, text, number).parse()

    def _undeclared(self, table: Table, rule: Rule) -> Chain:
        """Declare the chain of a rule; RuleError for one of the kernel's that the table has not."""
        if rule.chain in HOOKS:
            where = f"the table {table.name} has no chain {rule.chain}"
            raise self.fail(rule.line, f"{where}\n  in the rule: {excerpt(rule.text)}")
        self.rules.warnings.append(f"{self.source}:{rule.line}: chain {excerpt(rule.chain)!r} is not declared")
        chain = table.chains[rule.chain] = Chain(rule.chain)
        return chain

    def _expanded(self, number: int, text: str) -> list[str]:
        """Return a rule with lists of addresses (-s A,B) as the rules that iptables makes of it."""
        if "," not in text:
            return [text]
        found = list(ADDRESS_LIST.finditer(text))
        options = [f[1].lstrip("-")[0] for f in found]
        for option in options:
            if options.count(option) > 1:
                raise self.fail(number, f"multiple -{option} flags not allowed\n  in the rule: {excerpt(text, 1000)}")
        made = [text]
        # from the last one on, so that the places found before stay valid
        lists = [f[2].split(",") for f in found]
        count = math.prod(map(len, lists))
        if found:
            self.listed += count
            self.listed_text += count * (len(text) - sum(len(f[2]) for f in found))
            if self.listed > MAX_LISTED or self.listed_text > MAX_LISTED_TEXT:
                why = (
                    f"lists of addresses make {self.listed:,} rules of {self.listed_text:,} characters of this text; "
                    f"at most {MAX_LISTED:,} rules of {MAX_LISTED_TEXT:,} characters are supported: use an ipset"
                )
                raise self.fail(number, why)
        for match, addresses in zip(reversed(found), reversed(lists), strict=True):
            made = [one[: match.start(2)] + a + one[match.end(2) :] for a in addresses for one in made]
        return made

    def _begin(self, table: Table, number: int) -> None:
        """Empty a table that the text has already; iptables-legacy-restore leaves only the policies of its chains."""
        if table.name in self.begun:
            self.rules.warnings.append(
                f"{self.source}:{number}: a second *{table.name}: as iptables-restore has it, what line "
                f"{self.begun[table.name]} begins is gone"
            )
            for chain in table.chains.values():
                chain.packets = chain.bytes = 0
            self._flush(table, ["-F"])
            self._flush(table, ["-X"])
        self.begun[table.name] = number

    def _flush(self, table: Table, words: list[str]) -> None:
        """-F, -X, -Z [CHAIN]."""
        named = [words[1]] if words[1:] and words[1] in table.chains else None
        if words[0] in ("-F", "--flush"):
            filled = self.filled.get(table.name, {})
            for name in named or list(filled):
                self.fronts.pop((table.name, name), None)
                table.chains[name].rules.clear()
                filled.pop(name, None)
        elif words[0] in ("-X", "--delete-chain"):
            for name in named or list(table.chains):
                if name not in BUILT_IN[table.name]:
                    self.fronts.pop((table.name, name), None)
                    self.filled.get(table.name, {}).pop(name, None)
                    del table.chains[name]

    def _settle(self, table: Table, chain: Chain) -> None:
        """Move the inserted rules to the front of their chain."""
        front = self.fronts.pop((table.name, chain.name), None)
        if front:
            self._spend(len(chain.rules) // MOVED)
            chain.rules[:0] = reversed(front)

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise RuleError(
                f"{self.source}: its -I and -D look at more than {MAX_STEPS:,} rules; give the output of iptables-save"
            )

    def _place(self, table: Table, chain: Chain, rule: Rule, command: str, parser: RuleParser) -> None:
        """Append, insert or delete a rule."""
        if command in ("-I", "--insert") and parser.position <= 1:
            self.fronts.setdefault((table.name, chain.name), []).append(rule)
            return
        if command in ("-A", "--append"):
            chain.rules.append(rule)
            return
        self._settle(table, chain)
        rules = chain.rules
        if command in ("-I", "--insert"):
            self._spend(max(len(rules) - parser.position, 0) // MOVED)
            rules.insert(parser.position - 1, rule)
        elif parser.position:
            if parser.position > len(rules):
                raise parser.fail(f"chain {rule.chain!r} has {len(rules)} rules, but no rule number {parser.position}")
            self._spend((len(rules) - parser.position) // MOVED)
            del rules[parser.position - 1]
        else:
            content = CONTENT(rule)
            same = next((n for n, r in enumerate(rules) if CONTENT(r) == content), None)
            self._spend(len(rules) if same is None else same + (len(rules) - same) // MOVED)
            if same is None:
                raise parser.fail("there is no such rule to delete")
            del rules[same]


def never_matching(text: str, line: int) -> Rule:
    """Return a rule that replaces one that is not understood."""
    words = text.split()
    chain = words[1] if len(words) > 1 else ""
    return Rule(chain, line, text, matches=[Match("const", False, (0,))])


def _resolve(table: Table, rules: Rules, lenient: bool) -> None:
    """Check that every jump leads to a chain or a target, and that chains do not loop."""
    source = rules.source
    for chain in table.chains.values():
        for n, rule in enumerate(chain.rules):
            name = rule.target.name
            if name in table.chains and name not in BUILT_IN[table.name]:
                continue
            if name and (name not in TARGETS or rule.target.goto):
                why = (
                    f"{source}:{rule.line}: no chain or supported target {excerpt(name)!r} in table {table.name}; "
                    f"supported targets are {SUPPORTED}\n  in the rule: {excerpt(rule.text, 1000)}"
                )
                if not lenient:
                    raise RuleError(why)
                chain.rules[n] = never_matching(rule.text, rule.line)
                rules.warnings.append(f"never matches: {why}")
    try:
        calls = nesting.Calls(table)
        wrongs = list(nesting.misplaced(table, calls))
        for chain, n, wrong in wrongs:
            rule = chain.rules[n]
            why = f"{source}:{rule.line}: {wrong}\n  in the rule: {excerpt(rule.text, 1000)}"
            if not lenient:
                raise RuleError(why)
            chain.rules[n] = never_matching(rule.text, rule.line)
            rules.warnings.append(f"never matches: {why}")
        said = nesting.warning(table, nesting.Calls(table) if wrongs else calls, source)
    except ValueError as error:
        raise RuleError(f"{source}: {error}") from None
    if said:
        rules.warnings.append(said)
