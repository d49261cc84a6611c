"""The words of one rule line: quoting, numbers, ports, addresses; every error names line, column and option.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ..addresses import V4, V6, Family
from ..errors import RuleError
from .model import Match, Rule

SERVICES = {"domain": 53, "http": 80, "https": 443, "ssh": 22, "ntp": 123, "bootps": 67, "bootpc": 68, "snmp": 161}


# what may itself begin with two dashes
FREE_TEXT = ("a text", "a value")


class Token(NamedTuple):
    """A word of a rule and the column it starts at."""

    text: str
    column: int


QUOTED = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
WORD = re.compile(rf"(?:[^\s\"']+|{QUOTED})+")
PART = re.compile(QUOTED)
ESCAPED = re.compile(r"\\(.)")


def tokenize(text: str, fail: Callable[[str, int], RuleError]) -> list[Token]:
    """Split a rule as iptables-restore does: blanks separate, double quotes group, backslash escapes inside them."""
    tokens = []
    ends = 0
    for match in WORD.finditer(text):
        word, start = match.group(), match.start()
        if text[ends:start].strip():
            break
        ends = match.end()
        if '"' in word or "'" in word:
            word = PART.sub(lambda quoted: ESCAPED.sub(r"\1", quoted.group()[1:-1]), word)
        tokens.append(Token(word, start + 1))
    rest = text[ends:].strip()
    if rest:
        raise fail(f"quote {rest[0]} is never closed", text.index(rest, ends) + 1)
    return tokens


class RuleWords:
    """One rule line: a cursor over its words, and the rule that they make so far."""

    def __init__(self, table: str, source: str, line: int, text: str, family: Family = V4) -> None:
        self.table, self.source, self.line, self.text, self.family = table, source, line, text, family
        self.tokens = tokenize(text, self.fail)
        self.at = 0
        self.invert = False
        self.option = self.tokens[0] if self.tokens else Token("", 1)
        self.modules: list[str] = []
        self.rule = Rule("", line, text)

    def fail(self, why: str, column: int | None = None) -> RuleError:
        """Return the error for this rule; the caller raises it."""
        where = self.option.column if column is None else column
        return RuleError(f"{self.source}:{self.line}:{where}: {why}\n  in the rule: {self.text}")

    def take(self, what: str) -> str:
        """Return the value of the current option; a `!` before it inverts, as old iptables wrote it."""
        if self.at < len(self.tokens) and self.tokens[self.at].text == "!":
            self.invert = not self.invert
            self.at += 1
        if self.at == len(self.tokens):
            raise self.fail(f"option {self.option.text!r} needs {what}")
        token = self.tokens[self.at]
        if token.text.startswith("--") and what not in FREE_TEXT:
            raise self.fail(f"option {self.option.text!r} needs {what}, but {token.text!r} follows", token.column)
        self.at += 1
        return token.text

    def number(self, text: str, high: int = 0xFFFFFFFF) -> int:
        """Return a decimal, 0x or octal number up to a limit."""
        try:
            value = int(text, 0) if not re.fullmatch(r"0\d+", text) else int(text, 8)
        except ValueError:
            raise self.fail(f"option {self.option.text!r}: {text!r} is not a number") from None
        if not 0 <= value <= high:
            raise self.fail(f"option {self.option.text!r}: {text} is not in 0..{high}")
        return value

    def port(self, text: str) -> int:
        """Return a port number or the port of a well-known service name."""
        return SERVICES[text] if text in SERVICES else self.number(text, 65535)

    def port_range(self, text: str, separator: str = ":") -> tuple[int, int]:
        """Return "p", "p:q", ":q" or "p:" as limits."""
        low, sep, high = text.partition(separator)
        if not sep:
            return self.port(low), self.port(low)
        return self.port(low) if low else 0, self.port(high) if high else 65535

    def mask_value(self, text: str) -> tuple[int, int]:
        """Return "value[/mask]"."""
        value, _, mask = text.partition("/")
        return self.number(value), self.number(mask) if mask else 0xFFFFFFFF

    def address(self, text: str) -> int:
        """Return one address of the rule's family."""
        try:
            return self.family.to_int(text)
        except ValueError:
            raise self.fail(
                f"option {self.option.text!r}: {text!r} is not an IPv{self.family.version} address"
            ) from None

    def network(self, text: str) -> tuple[int, int]:
        """Return "address[/length or mask]" as address and mask."""
        address, sep, length = text.partition("/")
        if not sep:
            mask = self.family.full
        elif "." in length or (self.family is V6 and ":" in length):
            mask = self.address(length)
        else:
            mask = self.family.mask_of(self.number(length, self.family.bits))
        return self.address(address) & mask, mask

    def add_match(self, kind: str, *values: int) -> None:
        """Append a match to the rule, inverted if a `!` stood before it."""
        self.rule.matches.append(Match(kind, self.invert, values))
