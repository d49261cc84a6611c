"""Words of an nft text, with `define` and `include` carried out; every error names file, line and column.

Source: nft(8), LEXICAL CONVENTIONS, INCLUDE FILES and SYMBOLIC VARIABLES.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from ..errors import RuleError
from ..util.text import excerpt
from .reserved import RESERVED
from .tree import Place

# an IPv6 address has two colons at least; a MAC address has five, of pairs; a class of tc has one. No group is repeated
# possessively: before 3.11.5 Python takes what such a group has read before it fails (gh-106052)
PATTERN = re.compile(
    r"""
    (?:[ \t\r]++|\\\r?\n|\#[^\n]*+)*
  (?: (?P<end>[\n;])
  | (?P<name>(?:[g-zG-Z_]|[a-fA-F][0-9a-fA-F]*+(?!:))[\w/.\-]*+(?:\\(?=\S)[\w/.\-]*+)*\*?)
  | (?P<sign>==|!=|<=|>=|<<|>>|[{}()\[\]=<>&|^!,.+\-/*@~])
  | "(?P<quoted>[^"\n]*)"
  | (?P<address>(?:[0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}(?![\w:])
      | (?=[0-9a-fA-F]*:[0-9a-fA-F]*:)[0-9a-fA-F:]+(?:(?<=:)\d+\.\d+\.\d+\.\d+|(?:\.\d+){3})?(?![\w])
      | \d+\.\d+\.\d+\.\d+(?![\w.]))
  | (?P<number>0x[0-9a-fA-F]+|\d+(?![\w])(?!:[0-9a-fA-F]{1,4}(?![\w:.])))
  | (?P<word>[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}(?![\w:.])
      | [A-Za-z_][\w/.\-]*+(?:\\(?=\S)[\w/.\-]*+)*\*?
      | \d+[A-Za-z_][\w.]*)
  | \$(?P<variable>\w[\w/.\-]*)
  | (?P<colon>:)
  | \Z)
    """,
    re.VERBOSE,
)
# by the number of its group: the kind of a word, and how many characters in front of its text belong to it; names are
# words that can be no address, which are most of them
ALIASES = {"name": "word", "colon": "sign"}
KINDS = {group: ALIASES.get(kind, kind) for kind, group in PATTERN.groupindex.items()}
QUOTED = {group: int(kind in ("quoted", "variable")) for group, kind in KINDS.items()}
# files that include one another, and words that variables may grow to
MAX_DEPTH, MAX_TOKENS = 16, 20_000_000


class Token(NamedTuple):
    """kind: end, quoted, address, number, word, variable, sign or eof; at: file and offset in it."""

    kind: str
    text: str
    file: int
    at: int


class Sources:
    """The texts that were read, for places in errors."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.texts: list[str] = []
        self._starts: list[list[int]] = []
        # what included nothing
        self.notes: list[str] = []
        # the line that was asked for last
        self._last = 0, 0

    def add(self, name: str, text: str) -> int:
        """Add a text; return its number."""
        self.names.append(name)
        self.texts.append(text)
        self._starts.append([0, *(m.end() for m in re.finditer("\n", text))])
        return len(self.names) - 1

    def place(self, file: int, at: int) -> Place:
        """Return line and column, from 1."""
        starts, (last, line) = self._starts[file], self._last
        if not (last == file and 0 < line < len(starts) and starts[line - 1] <= at < starts[line]):
            line = bisect_right(starts, at)
            self._last = file, line
        return line, at - starts[line - 1] + 1

    def places(self, tokens: list[Token]) -> tuple[Place, ...]:
        """Return lines and columns of words that mostly stand in one line."""
        found: list[Place] = []
        starts, line, begin, end = self._starts[tokens[0].file] if tokens else [0], 0, 0, 0
        for token in tokens:
            if not begin <= token.at < end:
                line = self.place(token.file, token.at)[0]
                starts = self._starts[token.file]
                begin, end = starts[line - 1], starts[line] if line < len(starts) else token.at + 1
            found.append((line, token.at - begin + 1))
        return tuple(found)

    def line(self, file: int, at: int) -> str:
        """Return the text of a line."""
        starts, line = self._starts[file], self.place(file, at)[0]
        end = starts[line] if line < len(starts) else len(self.texts[file])
        return self.texts[file][starts[line - 1] : end].strip()

    def error(self, token: Token, why: str) -> RuleError:
        """Return an error that names the place and shows the line."""
        line, column = self.place(token.file, token.at)
        shown = excerpt(self.line(token.file, token.at))
        return RuleError(f"{self.names[token.file]}:{line}:{column}: {why}\n  in: {shown}")


Reader = Callable[[str], list[tuple[str, str]]]


def scan(sources: Sources, file: int) -> list[Token]:
    """Return the words of one text."""
    text = sources.texts[file]
    tokens: list[Token] = []
    append, new = tokens.append, tuple.__new__
    m = None
    # it finds one word right behind the other
    for m in iter(PATTERN.scanner(text).match, None):  # type: ignore[attr-defined]  # typeshed has no scanner of re
        group = m.lastindex
        if group is not None:
            # Token(...) would take twice the time
            append(new(Token, (KINDS[group], m[group], file, m.start(group) - QUOTED[group])))
    at = m.end() if m is not None else 0
    if at != len(text):
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r"))
        bad = Token("", text[at : at + 1], file, at)
        why = "this quotation has no end" if bad.text == '"' else f"{bad.text!r} begins no word of nft"
        raise sources.error(bad, why)
    tokens.append(Token("end", "\n", file, at))
    return tokens


class Expander:
    """Carries out define, redefine, undefine and include; replaces variables by what they stand for."""

    def __init__(self, sources: Sources, read: Reader | None) -> None:
        self.sources, self.read = sources, read
        self.variables: dict[str, list[Token]] = {}
        self.made: list[Token] = []

    def run(self, tokens: list[Token], depth: int = 0) -> None:
        """Append the words of one text to `made`."""
        at, fresh = 0, True
        while at < len(tokens):
            token = tokens[at]
            if fresh and token.kind == "word" and token.text in ("define", "redefine", "undefine", "include"):
                at = self.directive(tokens, at, depth)
                continue
            if token.kind == "variable":
                self.made += [Token(t.kind, t.text, token.file, token.at) for t in self.value(token)]
            else:
                self.made.append(token)
            if len(self.made) > MAX_TOKENS:
                raise self.sources.error(token, f"the variables grow to more than {MAX_TOKENS:,} words")
            fresh = token.kind == "end" or token.text in ("{", "}")
            at += 1

    def value(self, token: Token) -> list[Token]:
        """Return what a variable stands for."""
        if token.text not in self.variables:
            known = ", ".join(f"${name}" for name in self.variables) or "none is defined"
            raise self.sources.error(token, f"unknown variable ${token.text}; defined before it: {excerpt(known)}")
        return self.variables[token.text]

    def directive(self, tokens: list[Token], at: int, depth: int) -> int:
        """Carry out the directive at a place; return where the text goes on."""
        word, name = tokens[at], tokens[at + 1]
        if word.text == "include":
            self.include(name, depth)
            return at + 2
        if name.kind != "word":
            raise self.sources.error(name, f"{word.text}: expected the name of a variable")
        if word.text == "undefine":
            self.value(name._replace(kind="variable"))
            del self.variables[name.text]
            return at + 2
        if tokens[at + 2].text != "=":
            raise self.sources.error(tokens[at + 2], f"{word.text} {name.text}: expected =")
        value: list[Token] = []
        at, braces = at + 3, 0
        while braces or tokens[at].kind != "end":
            if tokens[at].kind == "end" and at + 1 == len(tokens):
                raise self.sources.error(word, f"define {name.text}: its braces are not closed")
            braces += (tokens[at].text == "{") - (tokens[at].text == "}")
            if braces < 0:
                break
            value += self.value(tokens[at]) if tokens[at].kind == "variable" else [tokens[at]]
            at += 1
        if not value:
            raise self.sources.error(word, f"define {name.text}: a value is missing")
        self.variables[name.text] = value
        return at

    def include(self, name: Token, depth: int) -> None:
        """Read the files that an include names."""
        if name.kind != "quoted":
            raise self.sources.error(name, "include: expected the name of a file in quotation marks")
        if depth >= MAX_DEPTH:
            raise self.sources.error(name, f"include: more than {MAX_DEPTH} files deep; does one include itself?")
        if self.read is None:
            raise self.sources.error(
                name, "include: this text stands in no folder; put the rules of that file in its place"
            )
        try:
            found = self.read(name.text)
        except (OSError, ValueError) as error:
            raise self.sources.error(name, f"include: {error}") from None
        if not found:
            line, column = self.sources.place(name.file, name.at)
            self.sources.notes.append(
                f"{self.sources.names[name.file]}:{line}:{column}: no file beside the rules fits {name.text}: "
                "it includes nothing, as on a node that has none"
            )
        for source, text in found:
            self.run(scan(self.sources, self.sources.add(source, text)), depth + 1)


def tokens_of(text: str, source: str, read: Reader | None) -> tuple[Sources, list[Token]]:
    """Return the words of a text and of the files that it includes, the last one of kind eof."""
    sources = Sources()
    tokens = scan(sources, sources.add(source, text))
    if "$" in text or "define" in text or "include" in text:
        expander = Expander(sources, read)
        expander.run(tokens)
        tokens = expander.made
    tokens.append(Token("eof", "the end", 0, len(text)))
    return sources, tokens


class Cursor:
    """A place among the words."""

    def __init__(self, sources: Sources, tokens: list[Token]) -> None:
        self.sources, self.tokens = sources, tokens
        self.at = 0

    @property
    def token(self) -> Token:
        """The word at hand."""
        return self.tokens[self.at]

    def peek(self, ahead: int = 1) -> Token:
        """Return a word further on."""
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        """Take the word at hand."""
        token = self.tokens[self.at]
        if token.kind != "eof":
            self.at += 1
        return token

    def accept(self, *texts: str) -> bool:
        """Take the word at hand if it is one of these, not in quotation marks."""
        token = self.tokens[self.at]
        if token.text in texts and token.kind != "quoted":
            self.at += 1
            return True
        return False

    def expect(self, text: str, where: str) -> None:
        """Take a word that has to be this one."""
        if not self.accept(text):
            self.fail(f"{where}: expected {text!r}, found {self.said()}")

    def said(self) -> str:
        """Return the word at hand as an error shows it."""
        token = self.token
        if token.kind == "eof" or token.text == "\n":
            return "the end of the text" if token.kind == "eof" else "the end of the line"
        return repr(excerpt(token.text, 60))

    def fail(self, why: str, token: Token | None = None) -> NoReturn:
        """Raise an error at a word, the one at hand if none is given."""
        raise self.sources.error(token or self.token, why)

    def doubt(self, why: str, token: Token | None = None) -> None:
        """Say that nft does not load what has a clear meaning all the same."""
        self.fail(why, token)

    def place(self) -> Place:
        """Return line and column of the word at hand."""
        return self.sources.place(self.token.file, self.token.at)

    def skip_ends(self) -> None:
        """Take ends of lines and semicolons."""
        while self.tokens[self.at].kind == "end":
            self.at += 1

    def skip_lines(self) -> None:
        """Take ends of lines, as between braces."""
        while self.tokens[self.at].text == "\n":
            self.at += 1

    def name(self, what: str) -> str:
        """Take a name, quoted or not."""
        if self.token.kind not in ("word", "quoted", "number"):
            self.fail(f"expected {what}, found {self.said()}")
        return self.next().text

    def string(self, what: str) -> str:
        """Take a text, quoted or a word that is none of nft's own."""
        if self.token.kind == "number" or (self.token.kind == "word" and self.token.text in RESERVED):
            self.doubt(f"expected {what}, found {self.said()}, which nft takes in quotation marks alone")
        return self.name(what)

    def number(self, what: str, most: int = 2**64 - 1) -> int:
        """Take a number."""
        if self.token.kind != "number":
            self.fail(f"expected {what}, found {self.said()}")
        number = (
            int(self.token.text, 16 if self.token.text[:2] == "0x" else 10) if len(self.token.text) < 40 else most + 1
        )
        if number > most:
            self.fail(f"{what} {excerpt(self.token.text, 40)} is more than {most}")
        self.next()
        return number
