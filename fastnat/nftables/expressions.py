"""Expressions of an nft text to the tree.

Source: nft(8), EXPRESSIONS; parser_bison.y of nftables 1.0.6 for the order of operators: shifts bind first, then &, ^
and |.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from ..util.text import excerpt
from . import fields
from .datatypes import seconds
from .lexer import Cursor, Sources, Token
from .reserved import NO_VALUES
from .tree import (
    Any,
    Concat,
    Ct,
    Element,
    Elements,
    Expression,
    Fib,
    Hash,
    Listed,
    Lookup,
    Meta,
    Named,
    Numgen,
    Operation,
    Option,
    Payload,
    Prefix,
    Range,
    Raw,
    Route,
    Socket,
    Statement,
    Value,
    Verdict,
)

# operators and their words; how strongly each binds
OPERATORS = {
    "|": "|", "or": "|", "^": "^", "xor": "^", "&": "&", "and": "&", "<<": "<<", ">>": ">>", "lshift": "<<",
    "rshift": ">>",
}  # fmt: skip
BINDING = {"|": 0, "^": 1, "&": 2, "<<": 3, ">>": 3}
# kinds of words that are values, and what goes on with one
VALUES = ("number", "address", "quoted")
GO_ON = {*OPERATORS, ".", "-", "/"}
VERDICTS = ("accept", "drop", "continue", "return", "jump", "goto")
# how deep braces, brackets and operators may stand in one another
MAX_NESTING = 64
MAX_MODULUS = 2**32 - 1
# bits of a transport header that have names
PORTS = {(0, 16): "sport", (16, 16): "dport"}


class ExpressionParser(Cursor, ABC):
    """Reads expressions."""

    depth = 0
    # flags are compared: what follows a stroke is their mask, not the length of a prefix
    of_flags = False
    # where the statement at hand begins
    begun = -1

    def __init__(self, sources: Sources, tokens: list[Token]) -> None:
        super().__init__(sources, tokens)
        # what the command at hand names, see uses.py, and the places of these words
        self.used: list[tuple[str, str, int]] = []

    def use(self, kind: str, name: str) -> str:
        """Note that the word before is the name of a thing that the table has to have; return it."""
        self.used.append((kind, name, self.at - 1))
        return name

    @abstractmethod
    def element_statement(self) -> Statement:
        """Read a statement that an element carries; see statements.py."""

    @abstractmethod
    def inline_chain(self) -> str:
        """Read the chain in braces that a verdict leads to; return its name."""

    def expression(self) -> Expression:
        """Read `a . b map { ... }`: what may stand at the left of a comparison, or be assigned."""
        left = self.concatenation()
        if self.accept("map"):
            return Lookup(left, self.table("map"))
        return left

    def concatenation(self, item: Callable[[], Expression] | None = None) -> Expression:
        """Read `a . b`."""
        item = item or self.arithmetic
        first = item()
        if self.tokens[self.at].text != ".":
            return first
        items = [first]
        while self.accept("."):
            self.skip_lines()
            items.append(item())
        return Concat(tuple(items))

    def arithmetic(self, least: int = 0) -> Expression:
        """Read a value and the operators behind it that bind at least so strongly."""
        left = self.primary()
        while (token := self.tokens[self.at]).text in OPERATORS and token.kind in ("sign", "word"):
            op = OPERATORS[token.text]
            if BINDING[op] < least:
                break
            self.at += 1
            left = Operation(op, left, self.arithmetic(BINDING[op] + 1))
        return left

    def primary(self) -> Expression:
        """Read one value or field, or an expression in brackets."""
        token = self.tokens[self.at]
        if token.kind in VALUES:
            self.at += 1
            return Value(token.text)
        if token.text == "(":
            return self.bracketed()
        if token.text == "@":
            return self.raw()
        if token.text == "*":
            self.next()
            return Any()
        if token.text == "[":
            self.next()
            value = Value(self.next().text)
            self.expect("]", "an address in brackets")
            return value
        if token.kind != "word":
            self.fail(f"expected a value or a field, found {self.said()}")
        return self.word()

    def bracketed(self) -> Expression:
        """Read `( ... )`, in which flags may stand side by side."""
        self.expect("(", "brackets")
        self.depth += 1
        if self.depth > MAX_NESTING:
            self.fail(f"brackets stand more than {MAX_NESTING} deep")
        inner = self.right()
        self.depth -= 1
        self.expect(")", "brackets")
        return inner

    def word(self) -> Expression:
        """Read what begins with a word: a field, a key, or a name."""
        word, after = self.tokens[self.at].text, self.peek()
        if word in fields.HEADERS and after.kind == "word" and self._is_field(word, after.text):
            self.at += 1
            return self.payload(word)
        if word in fields.EXTENSIONS and after.text in (*fields.EXTENSIONS[word][1], "exists", "missing"):
            self.next()
            return Option("exthdr", word, self.next().text if after.text not in ("exists", "missing") else "")
        reader = READERS.get(word)
        if reader is not None and (word not in NEED_MORE or after.kind == "word"):
            self.next()
            return reader(self)
        if word in fields.SHORT_META:
            self.next()
            return Meta(word)
        if word in NO_VALUES and self.at != self.begun:
            self.doubt(f"expected a value, found {word!r}, which nft takes as a name in quotation marks alone")
        self.next()
        return Value(word)

    @staticmethod
    def _is_field(protocol: str, word: str) -> bool:
        return (
            word in fields.HEADERS[protocol]
            or (word == "option" and protocol in ("tcp", "ip"))
            or (word, protocol) == ("chunk", "sctp")
            or (protocol == "arp" and word in ("saddr", "daddr"))
        )

    def payload(self, protocol: str) -> Expression:
        """Read the field of a header, or an option."""
        name = self.next().text
        if protocol == "arp" and name in ("saddr", "daddr"):
            name = f"{name} {self.name('ether or ip')}"
            if name not in fields.HEADERS[protocol]:
                self.fail(f"arp {name}: expected ether or ip", self.tokens[self.at - 1])
        if name not in ("option", "chunk"):
            return Payload(protocol, name)
        kind = {"tcp": "tcp", "ip": "ip", "sctp": "sctp"}[protocol]
        if self.accept("@"):
            raw = [str(self.number("a number"))]
            while self.accept(","):
                raw.append(str(self.number("a number")))
            return Option(kind, ",".join(raw), "raw")
        option = self.name("the name or the number of an option")
        option = fields.tcp_option(option, self.token.text) if kind == "tcp" else option
        if self.token.kind == "word" and self.token.text in fields.OPTIONS[kind].get(option, (0, {}))[1]:
            return Option(kind, option, self.next().text)
        return Option(kind, option)

    def raw(self) -> Expression:
        """Read `@nh,8,16`, or `@name`."""
        self.expect("@", "bits of the packet")
        base = self.name("a set, or ll, nh, th or ih")
        if self.token.text != "," or base not in ("ll", "nh", "th", "ih"):
            return Named(self.use("set", base))
        self.next()
        offset = self.number("an offset in bits", 1 << 16)
        self.expect(",", f"@{base}")
        length = self.number("a length in bits", 128)
        if length == 0:
            self.fail("@: no bits")
        if base == "th" and (offset, length) in PORTS:
            return Payload("th", PORTS[offset, length])
        return Raw(base, offset, length)

    def meta(self) -> Expression:
        """Read what follows `meta`."""
        key = self.name("a key of meta")
        key = {"ibriport": "ibrname", "obriport": "obrname", "secpath": "ipsec"}.get(key, key)
        if key not in fields.META:
            self.fail(f"meta {key} is not known; there are {', '.join(fields.META)}", self.tokens[self.at - 1])
        return Meta(key)

    def ct(self) -> Expression:
        """Read what follows `ct`."""
        direction = self.next().text if self.token.text in ("original", "reply") else ""
        family = self.next().text if direction and self.token.text in ("ip", "ip6") else ""
        key = self.name("a key of ct")
        if direction and key not in fields.CT_OF_DIRECTION:
            self.doubt(
                f"ct {key} is the same in both directions: write it without {direction}", self.tokens[self.at - 1]
            )
        if key not in fields.CT:
            self.fail(f"ct {key} is not known; there are {', '.join(fields.CT)}", self.tokens[self.at - 1])
        return Ct(key, direction, family)

    def fib(self) -> Expression:
        """Read what follows `fib`."""
        flags = [self.name("saddr, daddr, mark, iif or oif")]
        while self.accept("."):
            flags.append(self.name("saddr, daddr, mark, iif or oif"))
        result = self.name("type, oif or oifname")
        for flag in flags:
            if flag not in fields.FIB_FLAGS:
                self.fail(f"fib: {flag!r} is none of {', '.join(fields.FIB_FLAGS)}")
        if result not in fields.FIB and result != "check":
            self.fail(f"fib: {result!r} is none of {', '.join(fields.FIB)}")
        ordered = [flag for flag in fields.FIB_FLAGS if flag in flags]
        return Fib(tuple(ordered), result)

    def route(self) -> Expression:
        """Read what follows `rt`."""
        family = self.next().text if self.token.text in ("ip", "ip6") else ""
        key = self.name("a key of rt")
        if key not in fields.RT:
            self.fail(f"rt {key} is not known; there are {', '.join(fields.RT)}")
        return Route(key, family)

    def numgen(self) -> Expression:
        """Read what follows `numgen`."""
        mode = self.name("inc or random")
        if mode not in ("inc", "random"):
            self.fail(f"numgen {mode}: expected inc or random")
        self.expect("mod", "numgen")
        modulus = self.number("a modulus", MAX_MODULUS)
        if modulus == 0:
            self.fail("numgen: mod 0")
        return Numgen(mode, modulus, self.offset())

    def offset(self) -> int:
        """Read `offset N`, if it is there."""
        return self.number("an offset", MAX_MODULUS) if self.accept("offset") else 0

    def jhash(self) -> Expression:
        """Read what follows `jhash`."""
        of = self.concatenation()
        self.expect("mod", "jhash")
        modulus = self.number("a modulus", MAX_MODULUS)
        seed = self.number("a seed", MAX_MODULUS) if self.accept("seed") else None
        if modulus == 0:
            self.fail("jhash: mod 0")
        return Hash("jhash", modulus, of, seed, self.offset())

    def symhash(self) -> Expression:
        """Read what follows `symhash`."""
        self.expect("mod", "symhash")
        modulus = self.number("a modulus", MAX_MODULUS)
        if modulus == 0:
            self.fail("symhash: mod 0")
        return Hash("symhash", modulus, offset=self.offset())

    def socket(self) -> Expression:
        """Read what follows `socket` or `osf`."""
        words = [self.tokens[self.at - 1].text]
        words += [
            self.next().text
            for _ in range(4)
            if self.token.kind == "word"
            and self.token.text
            in ("transparent", "wildcard", "mark", "cgroupv2", "name", "version", "ttl", "loose", "skip")
        ]
        if len(words) == 1:
            self.fail(f"{words[0]}: expected transparent, wildcard, mark or cgroupv2, found {self.said()}")
        if words[-1] == "cgroupv2" and self.accept("level"):
            words += ["level", str(self.number("a level"))]
        return Socket(tuple(words))

    def exthdr(self) -> Expression:
        """Read what follows `exthdr`."""
        return Option("exthdr", self.name("the name of an extension header"))

    def right(self) -> Expression:
        """Read the right side of a comparison: a set, a list of flags, a range, a prefix or a value."""
        if self.token.text == "{":
            return self.elements()
        first = self.ranged()
        if self.token.text != ",":
            return first
        items = [first]
        while self.accept(","):
            self.skip_lines()
            items.append(self.ranged())
        return Listed(tuple(items))

    def ranged(self) -> Expression:
        """Read a concatenation of values, ranges and prefixes."""
        token = self.tokens[self.at]
        if token.kind in VALUES and self.tokens[self.at + 1].text not in GO_ON:
            # one value alone, as most are
            self.at += 1
            return Value(token.text)
        return self.concatenation(self.one_range)

    def one_range(self) -> Expression:
        """Read a value, a range or a prefix."""
        first = self.arithmetic()
        token = self.tokens[self.at]
        if token.text == "-":
            self.next()
            return Range(first, self.arithmetic())
        if token.text == "/" and self.peek().kind == "number" and not self.of_flags:
            self.next()
            return Prefix(first, self.number("the length of a prefix", 128))
        return first

    def table(self, kind: str) -> Elements | Named:
        """Read what a key is looked up in: `{ ... }` or `@name`, a map or a vmap."""
        if self.token.text == "{":
            return self.elements()
        if not self.accept("@"):
            self.fail(f"expected {{ ... }} or @name, found {self.said()}")
        return Named(self.use(kind, self.name("the name of a map")))

    def elements(self, within: bool = False, may_be_empty: bool = False) -> Elements:
        """Read the elements between braces; those of a variable in braces of its own are among them.

        within: such braces; may_be_empty: a variable may say that there are none, whose words all stand at its place.
        """
        begin = self.token
        self.expect("{", "a set")
        self.depth += 1
        if self.depth > MAX_NESTING:
            self.fail(f"braces stand more than {MAX_NESTING} deep")
        items: list[Element] = []
        self.skip_lines()
        while not self.accept("}"):
            if self.token.text == "{":
                items += self.elements(within=True).items
            else:
                items.append(self.element())
            self.skip_lines()
            if not self.accept(","):
                self.skip_lines()
                self.expect("}", "a set: a comma between two elements")
                break
            self.skip_lines()
            # nft takes any number of commas
            while self.accept(","):
                self.skip_lines()
        self.depth -= 1
        if not items and not (within or (may_be_empty and self.tokens[self.at - 1].at == begin.at)):
            self.doubt("a set in braces has no element", begin)
        return Elements(tuple(items))

    def element(self) -> Element:
        """Read an element: its key, what it carries, and its data."""
        key = self.ranged()
        timeout = expires = data = None
        comment, statements = "", []
        while self.tokens[self.at].kind == "word":
            if self.accept("timeout"):
                timeout = self.time()
            elif self.accept("expires"):
                expires = self.time()
            elif self.accept("comment"):
                comment = self.string("a comment")
            elif self.accept("expiration"):
                expires = self.time()
            else:
                statements.append(self.element_statement())
        if self.accept(":"):
            self.skip_lines()
            data = self.data()
        if self.accept("comment"):
            comment = self.string("a comment")
        return Element(key, data, timeout, expires, comment, tuple(statements))

    def data(self) -> Expression:
        """Read the data of an element of a map."""
        if self.token.text in VERDICTS and self.token.kind == "word":
            return self.verdict()
        return self.ranged()

    def verdict(self) -> Verdict:
        """Read a verdict."""
        kind = self.next().text
        if kind not in ("jump", "goto"):
            return Verdict(kind)
        if self.token.text == "{":
            return Verdict(kind, self.inline_chain())
        return Verdict(kind, self.use("chain", self.name("the name of a chain")))

    def time(self) -> float:
        """Read a time, in seconds."""
        token = self.next()
        text = token.text
        if token.kind == "number" and self.token.at != token.at + len(text):
            self.doubt(f"{text} is no time; write its unit, as in {excerpt(text, 20)}s", token)
        while self.token.kind in ("word", "number") and self.tokens[self.at].at == self.tokens[self.at - 1].at + len(
            self.tokens[self.at - 1].text
        ):
            text += self.next().text
        try:
            return seconds(text)
        except ValueError as error:
            self.fail(str(error), token)


READERS: dict[str, Callable[[ExpressionParser], Expression]] = {
    "meta": ExpressionParser.meta, "ct": ExpressionParser.ct, "fib": ExpressionParser.fib, "rt": ExpressionParser.route,
    "numgen": ExpressionParser.numgen, "jhash": ExpressionParser.jhash, "symhash": ExpressionParser.symhash,
    "socket": ExpressionParser.socket, "osf": ExpressionParser.socket, "exthdr": ExpressionParser.exthdr,
}  # fmt: skip
# words that are names, too, where no word follows
NEED_MORE = frozenset(READERS) - {"symhash"}
