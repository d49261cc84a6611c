"""The words of one rule line: quoting, numbers, ports, addresses; every error names line, column and option.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

from ..addresses import V4, V6, Family
from ..dtypes import DSCP_CLASSES, PROTOCOL_NUMBERS
from ..errors import RuleError
from ..util.text import excerpt
from .model import Match, Rule
from .needed import INVERTED, SAME, Uses

SERVICES = {  # of /etc/services, as pasted commands name them
    "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "bootps": 67, "bootpc": 68,
    "tftp": 69, "gopher": 70, "finger": 79, "http": 80, "www": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111,
    "auth": 113, "ntp": 123, "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap": 143, "imap2": 143,
    "snmp": 161, "snmp-trap": 162, "bgp": 179, "ldap": 389, "https": 443, "microsoft-ds": 445, "urd": 465,
    "submissions": 465, "isakmp": 500, "syslog": 514, "submission": 587, "ipp": 631, "ldaps": 636, "domain-s": 853,
    "rsync": 873, "imaps": 993, "pop3s": 995, "socks": 1080, "openvpn": 1194, "l2f": 1701, "pptp": 1723,
    "radius": 1812, "nfs": 2049, "mysql": 3306, "ms-wbt-server": 3389, "ipsec-nat-t": 4500, "sip": 5060,
    "sip-tls": 5061, "postgresql": 5432, "http-alt": 8080, "webcache": 8080,
}  # fmt: skip
TOS_NAMES = {
    "minimize-delay": 0x10, "maximize-throughput": 0x08, "maximize-reliability": 0x04, "minimize-cost": 0x02,
    "normal-service": 0x00,
}  # fmt: skip
LENIENT = "; --lenient loads the rule as never matching"


# what may itself begin with two dashes
FREE_TEXT = ("a text", "a value")


# possessive: text with unclosed quotes must not be tried in every other way
QUOTED = r'"(?:[^"\\]++|\\.)*+"|\'(?:[^\'\\]++|\\.)*+\''
WORD = re.compile(rf"(?:[^\s\"']+|{QUOTED})+")
PART = re.compile(QUOTED)
ESCAPED = re.compile(r"\\(.)")
# a network as people write it: the numbers that are missing are 0
SHORT_NETWORK = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,2}")
OCTAL = re.compile(r"0\d+")
# characters of 64 bits as zeros and ones, 0b in front
LONGEST_NUMBER = 66


def tokenize(text: str, fail: Callable[[str, int], RuleError]) -> list[str]:
    """Split a rule as iptables-restore does: blanks separate, double quotes group, backslash escapes inside them."""
    if '"' not in text and "'" not in text:
        return text.split()
    tokens = []
    ends = 0
    for match in WORD.finditer(text):
        word = match.group()
        if text[ends : match.start()].strip():
            break
        ends = match.end()
        if '"' in word or "'" in word:
            word = PART.sub(unquoted, word)
        tokens.append(word)
    rest = text[ends:].strip()
    if rest:
        raise fail(f"quote {rest[0]} is never closed", text.index(rest, ends) + 1)
    return tokens


def number_of(text: str) -> int:
    """Return a number as C reads it: 0x and a leading 0 tell its base."""
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} characters")
    return int(text, 8) if OCTAL.fullmatch(text) else int(text, 0)


def unquoted(part: re.Match[str]) -> str:
    """Return the text between quotes."""
    inside = part[0][1:-1]
    return ESCAPED.sub(r"\1", inside) if "\\" in inside else inside


def column_of(text: str, n: int) -> int:
    """Return the column, from 1, at which the n-th word of a rule begins."""
    found = next(islice(WORD.finditer(text), n, None), None)
    return found.start() + 1 if found else 1


# the ids of users and of groups, by name
Ids = tuple[dict[str, int], dict[str, int]]


class RuleWords:
    """One rule line: a cursor over its words, and the rule made from them so far."""

    def __init__(self, table: str, source: str, line: int, text: str, family: Family = V4, ids: Ids = ({}, {})) -> None:
        self.table, self.source, self.line, self.text, self.family = table, source, line, text, family
        self.ids = ids
        self.at = self.option_at = 0
        self.option = ""
        self.tokens = tokenize(text, self.fail)
        self.invert = False
        self.modules: list[str] = []
        self.uses = Uses()
        self.rule = Rule("", line, text)

    def fail(self, why: str, column: int | None = None) -> RuleError:
        """Return the error for this rule; the caller raises it."""
        where = column_of(self.text, self.option_at) if column is None else column
        text = excerpt(self.text, 1000)
        return RuleError(f"{self.source}:{self.line}:{where}: {excerpt(why, 2000)}\n  in the rule: {text}")

    def take(self, what: str) -> str:
        """Return the value of the current option; a `!` before it inverts, as old iptables wrote it."""
        if self.at < len(self.tokens) and self.tokens[self.at] == "!" and what not in FREE_TEXT:
            if self.invert or SAME.get(self.option, self.option) not in INVERTED:
                raise self.fail(
                    f"option {excerpt(self.option)!r}: this ! inverts nothing", column_of(self.text, self.at)
                )
            self.invert = True
            self.at += 1
        if self.at == len(self.tokens):
            raise self.fail(f"option {excerpt(self.option)!r} needs {what}")
        token = self.tokens[self.at]
        if token.startswith("--") and what not in FREE_TEXT:
            column = column_of(self.text, self.at)
            raise self.fail(f"option {self.option!r} needs {what}, but {token!r} follows", column)
        self.at += 1
        return token

    def number(self, text: str, high: int = 0xFFFFFFFF) -> int:
        """Return a decimal, 0x or octal number up to a limit."""
        try:
            value = number_of(text)
        except ValueError:
            raise self.fail(f"option {self.option!r}: {excerpt(text)!r} is not a number") from None
        if not 0 <= value <= high:
            raise self.fail(f"option {self.option!r}: {excerpt(text)} is not in 0..{high}")
        return value

    def port(self, text: str) -> int:
        """Return a port number or the port of a well-known service name; of SCTP none has a name."""
        return SERVICES[text] if text in SERVICES and self.rule.proto != 132 else self.number(text, 65535)

    def protocol_number(self, text: str) -> int:
        """Return the number of a protocol, given as a number or by name."""
        name = text.lower()
        if name == "all":
            return 0
        return PROTOCOL_NUMBERS[name] if name in PROTOCOL_NUMBERS else self.number(text, 255)

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

    def dscp_value(self) -> int:
        """Return the value of an option for a DSCP: a number, or a name where the option is for classes."""
        text = self.take("a DSCP")
        if not self.option.endswith("-class"):
            return self.number(text, 63)
        if text.upper() not in DSCP_CLASSES:
            raise self.fail(f"Invalid DSCP value {excerpt(text)!r}: {', '.join(DSCP_CLASSES)}")
        return DSCP_CLASSES[text.upper()]

    def tos_value(self, text: str) -> tuple[int, int]:
        """Return a TOS and its mask."""
        name = text.lower()
        if name in TOS_NAMES:
            return TOS_NAMES[name], 0x3F
        value, slash, mask = text.partition("/")
        return self.number(value, 255), self.number(mask, 255) if slash else 255

    def address(self, text: str) -> int:
        """Return one address of the rule's family."""
        try:
            return self.family.to_int(text)
        except ValueError:
            raise self.fail(
                f"option {self.option!r}: {excerpt(text)!r} is not an IPv{self.family.version} address"
            ) from None

    def network(self, text: str) -> tuple[int, int]:
        """Return "address[/length or mask]" as address and mask."""
        address, sep, length = text.partition("/")
        if self.family is not V6 and SHORT_NETWORK.fullmatch(address):
            address += ".0" * (3 - address.count("."))
        if not sep:
            mask = self.family.full
        elif "." in length or (self.family is V6 and ":" in length):
            mask = self.address(length)
        else:
            mask = self.family.mask_of(self.number(length, self.family.bits))
        return self.address(address) & mask, mask

    def prefix(self, text: str) -> tuple[int, int]:
        """Return "address[/length or mask]" as address and mask; a mask that is no prefix counts as that of a host."""
        address, mask = self.network(text)
        rest = ~mask & self.family.full
        if rest & rest + 1:
            return self.address(text.partition("/")[0]), self.family.full
        return address, mask

    def add_match(self, kind: str, *values: int) -> None:
        """Append a match to the rule, inverted if a `!` stood before it."""
        self.rule.matches.append(Match(kind, self.invert, values))
