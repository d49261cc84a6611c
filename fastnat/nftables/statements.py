"""Statements of an nft rule to the tree.

Source: nft(8), STATEMENTS; parser_bison.y of nftables 1.0.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from . import fields
from .evaluated import Doubt, Evaluated
from .expressions import VERDICTS, ExpressionParser
from .lexer import Token
from .tree import (
    Assign,
    Counter,
    Ct,
    CtCount,
    Dynamic,
    Element,
    Expression,
    Last,
    Limit,
    Listed,
    Log,
    Lookup,
    Match,
    Nat,
    Notrack,
    Operation,
    Other,
    Payload,
    Quota,
    Reference,
    Reject,
    Rule,
    Statement,
    Value,
    VerdictMap,
)

COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
COMPARISON_WORDS = {"eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">="}
SIZES = {"bytes": 1, "kbytes": 1 << 10, "mbytes": 1 << 20, "gbytes": 1 << 30, "string": 1}
PERIODS = ("second", "minute", "hour", "day", "week")
LOG_OPTIONS = ("prefix", "group", "snaplen", "queue-threshold", "level", "flags")
LOG_LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit")
LOG_WORDS = ("skuid", "ether", "all")
LOG_FLAGS = {"tcp": ("sequence", "options"), "ip": ("options",)}
QUEUE_FLAGS = ("bypass", "fanout")
NAT_FLAGS = ("random", "fully-random", "persistent")
# words that begin an expression which is not read
UNSUPPORTED = {
    "ipsec": "no packet here goes through a policy of IPsec", "rt0": "addresses of a routing header are not compared",
    "rt2": "addresses of a routing header are not compared", "srh": "segments are not compared",
    **dict.fromkeys(("vxlan", "geneve", "gre", "gretap"), "packets within tunnels are not looked at"),
}  # fmt: skip
# fields of `ct` that a rule may set; and objects of that kind
CT_OBJECTS = ("helper", "timeout", "expectation")
# the most words of one statement that are only kept
MAX_WORDS = 64


def has_flags(x: Expression) -> bool:
    """Tell whether a field holds bits that have names."""
    if isinstance(x, Payload):
        return fields.HEADERS[x.protocol][x.field].type.flags
    kind = fields.CT[x.key] if isinstance(x, Ct) else None
    return kind is not None and kind.flags


class StatementParser(ExpressionParser):
    """Reads the statements of a rule."""

    def rule(self) -> Rule:
        """Read a rule up to the end of its line."""
        tokens, first = self.tokens, self.at
        statements: list[Statement] = []
        begins: list[Token] = [tokens[first]]
        comment, evaluated = "", self.evaluated()
        while (token := tokens[self.at]).kind not in ("end", "eof") and token.text != "}":
            if token.text == "comment" and token.kind == "word":
                self.next()
                comment = self.string("a comment")
                continue
            begins.append(token)
            statements.append(self.statement())
            if evaluated is not None:
                try:
                    evaluated.statement(statements[-1])
                except Doubt as error:
                    self.doubt(str(error), token)
                except ValueError as error:
                    self.fail(str(error), token)
        place, *places = self.sources.places(begins)
        text = self.sources.line(begins[0].file, begins[0].at)
        return Rule(tuple(statements), comment, place=place, places=tuple(places), text=text)

    def evaluated(self) -> Evaluated | None:
        """Return what looks at the statements of a rule one by one; None: nothing does."""
        return None

    def statement(self) -> Statement:
        """Read one statement."""
        token = self.tokens[self.at]
        if token.kind == "word":
            if token.text in VERDICTS:
                return self.verdict()
            reader = READERS.get(token.text)
            if reader is not None and self._begins(token.text):
                self.at += 1
                return reader(self)
        return self.comparison()

    def _begins(self, word: str) -> bool:
        """Tell whether a word begins a statement here rather than an expression."""
        after = self.peek().text
        if word == "ct":
            return after == "count" or (after in CT_OBJECTS and self.peek(2).text == "set")
        if word == "set":
            return after in ("add", "update", "delete")
        return True

    def element_statement(self) -> Statement:
        """See ExpressionParser: counter, limit, quota, ct count and last stand in elements."""
        if self.token.text not in ("counter", "limit", "quota", "ct", "last"):
            self.fail(
                f"an element carries timeout, comment, counter, limit, quota, ct count or last, not {self.said()}"
            )
        return self.statement()

    def comparison(self) -> Statement:
        """Read a comparison, an assignment or a look-up in a verdict map."""
        start, self.begun = self.token, self.at
        left = self.expression()
        self.begun = -1
        if isinstance(left, (Value, Listed)):
            known = fields.HEADERS.get(start.text)
            says = (
                f"{start.text} has the fields {', '.join(known)}"
                if known
                else f"{start.text} is not supported: {UNSUPPORTED[start.text]}"
                if start.text in UNSUPPORTED
                else "a rule is made of statements as `tcp dport 80`"
            )
            self.fail(f"{start.text!r} begins no statement here; {says}", start)
        if self.accept("vmap"):
            return VerdictMap(left, self.table("vmap"))
        token, op = self.tokens[self.at], ""
        if token.text == "set" and token.kind == "word":
            self.next()
            return Assign(left, self.assigned())
        if token.text in COMPARISONS or token.text == "!":
            op = self.next().text
        elif token.text in COMPARISON_WORDS and token.kind == "word":
            op = COMPARISON_WORDS[self.next().text]
        self.skip_lines()
        token = self.tokens[self.at]
        if token.kind in ("end", "eof") or token.text == "}":
            self.fail(f"expected what to compare with, or a statement, found {self.said()}")
        self.of_flags = has_flags(left)
        right = self.right()
        if op in ("", "==", "!=") and self.token.text == "/":
            if not self.of_flags:
                self.doubt("a mask behind / stands with flags alone; write `& mask == value`")
            self.next()
            return self.masked(left, op or "==", right)
        self.of_flags = False
        return Match(op, left, right)

    def masked(self, left: Expression, op: str, value: Expression) -> Statement:
        """Read `flags syn / syn,ack`, also with == or != in front of the flags."""
        mask = self.right()
        self.of_flags = False
        return Match(op, Operation("&", left, mask), value)

    def assigned(self) -> Expression:
        """Read what is assigned."""
        value = self.expression()
        if self.token.text == ",":
            items = [value]
            while self.accept(","):
                items.append(self.expression())
            return Listed(tuple(items))
        return value

    def counter(self) -> Statement:
        """Read `counter`, `counter packets 1 bytes 2`, or `counter name "x"`."""
        if self.accept("name") or self.token.kind == "quoted":
            return self.reference("counter")
        packets = count = 0
        while self.token.text in ("packets", "bytes"):
            if self.next().text == "packets":
                packets = self.number("a number of packets")
            else:
                count = self.number("a number of bytes")
        return Counter(packets, count)

    def reference(self, kind: str) -> Reference:
        """Read the name of an object, or a look-up that says it."""
        said = Value(self.next().text) if self.token.kind == "quoted" else self.expression()
        for x in [said, *(e.data for e in getattr(getattr(said, "table", None), "items", ()))]:
            if isinstance(x, Value):
                self.use(kind, x.text)
        return Reference(kind, said)

    def limit(self) -> Statement:
        """Read `limit rate over 10/second burst 5 packets`."""
        if self.accept("name"):
            return self.reference("limit")
        return self.limit_says()

    def limit_says(self) -> Limit:
        """Read what a limit says."""
        self.expect("rate", "limit")
        over = self.accept("over")
        if not over:
            self.accept("until")
        rate, unit, factor = self.number("a rate"), "packets", 1
        word, _, per = self.token.text.partition("/")
        if word in SIZES and self.token.kind == "word":
            factor, unit = SIZES[word], "bytes"
            self.next()
        if not per:
            self.expect("/", "limit rate")
            per = self.name("second, minute, hour, day or week")
        if per not in PERIODS:
            self.fail(f"limit rate: {per!r} is none of {', '.join(PERIODS)}", self.tokens[self.at - 1])
        burst = 0 if unit == "bytes" else 5
        if self.accept("burst"):
            burst = self.number("a burst", 2**32 - 1)
            if burst == 0 and unit == "packets":
                self.doubt("limit rate: a burst of no packets", self.tokens[self.at - 1])
            if self.token.text in ("packets", *SIZES) and self.token.kind == "word":
                if (self.token.text == "packets") != (unit == "packets"):
                    self.doubt(f"limit rate: a burst in {self.token.text} of a rate in {unit}")
                burst *= 1 if self.token.text == "packets" else SIZES[self.token.text]
                self.next()
        return Limit(rate * factor, per, unit, burst, over)

    def quota(self) -> Statement:
        """Read `quota over 10 mbytes used 2 bytes`."""
        if self.accept("name") or self.token.kind == "quoted":
            return self.reference("quota")
        return self.quota_says()

    def quota_says(self) -> Quota:
        """Read what a quota says."""
        over = self.accept("over")
        if not over:
            self.accept("until")
        most = self.size("quota")
        used = self.size("quota used") if self.accept("used") else 0
        return Quota(most, used, over)

    def size(self, what: str) -> int:
        """Read a number of bytes with its unit."""
        number = self.number("a number of bytes")
        if self.token.text not in SIZES:
            self.fail(f"{what}: expected bytes, kbytes or mbytes, found {self.said()}")
        return number * SIZES[self.next().text]

    def last(self) -> Statement:
        """Read `last`, `last used never` or `last used 1m`."""
        if not self.accept("used") or self.accept("never"):
            return Last()
        return Last(round(self.time() * 1000))

    def ct_statement(self) -> Statement:
        """Read `ct count over 2` or `ct helper set "ftp"`."""
        kind = self.next().text
        if kind == "count":
            over = self.accept("over")
            if not over:
                self.accept("until")
            return CtCount(self.number("a number of connections", 2**32 - 1), over)
        self.expect("set", f"ct {kind}")
        return self.reference(f"ct {kind}")

    def reject(self) -> Statement:
        """Read `reject`, `reject with tcp reset` or `reject with icmpx type port-unreachable`."""
        if not self.accept("with"):
            return Reject()
        kind = self.name("tcp reset, icmp, icmpv6 or icmpx")
        if kind == "tcp":
            self.expect("reset", "reject with tcp")
            return Reject("tcp reset")
        if kind not in ("icmp", "icmpv6", "icmpx"):
            self.fail(f"reject with {kind}: expected tcp reset, icmp, icmpv6 or icmpx", self.tokens[self.at - 1])
        self.accept("type") or self.accept("code")
        return Reject(kind, self.name("why it is rejected"))

    def log(self) -> Statement:
        """Read `log` and its options."""
        found: dict[str, str] = {}
        flags: list[str] = []
        while self.token.text in LOG_OPTIONS and self.token.kind == "word":
            option = self.next().text
            if option != "flags":
                found[option] = (self.string if option == "prefix" else self.name)(f"what log {option} says")
                if option == "level" and found[option] not in LOG_LEVELS:
                    self.doubt(f"log level: expected {', '.join(LOG_LEVELS)}", self.tokens[self.at - 1])
                continue
            word = self.log_flag((*LOG_FLAGS, *LOG_WORDS))
            flags += self.log_flags(word) if word in LOG_FLAGS else [word]
            while self.accept(","):
                flags.append(self.log_flag(LOG_WORDS))
        if found.get("level") == "warn":
            del found["level"]
        options = [(o, found[o]) for o in LOG_OPTIONS if o in found]
        return Log((*options, *(("flags", flag) for flag in log_flags(flags))))

    def log_flag(self, known: Iterable[str]) -> str:
        """Read one flag of log."""
        if self.token.text not in known:
            self.doubt(f"log flags: expected {', '.join(known)}, found {self.said()}")
        return self.next().text

    def log_flags(self, header: str) -> list[str]:
        """Read `sequence,options` behind `log flags tcp`, or `options` behind `log flags ip`."""
        found = [f"{header} {self.log_flag(LOG_FLAGS[header])}"]
        while self.token.text == "," and self.peek().text in LOG_FLAGS[header]:
            self.next()
            found.append(f"{header} {self.next().text}")
        return found

    def nat(self) -> Statement:
        """Read what follows snat, dnat, masquerade or redirect."""
        kind = self.tokens[self.at - 1].text
        prefix = self.accept("prefix")
        if kind in ("snat", "dnat"):
            self.accept("interval")
        family = (
            self.next().text
            if self.token.text in ("ip", "ip6") and self.peek().text in ("to", "prefix", "interval", "addr")
            else ""
        )
        prefix = self.accept("prefix") or prefix
        self.accept("interval")
        while self.accept("addr", ".", "port") and self.token.text != "to":
            pass
        address = port = None
        bare = kind in ("masquerade", "redirect")
        if self.accept("to") or not bare:
            if self.token.text != ":":
                address = self.nat_value()
            if self.accept(":"):
                port = self.nat_value()
            if bare and port is None:
                address, port = None, address
        flags = []
        while self.token.text in NAT_FLAGS and self.token.kind == "word":
            flags.append(self.next().text)
            self.accept(",")
        return Nat(kind, family, address, port, tuple(f for f in NAT_FLAGS if f in flags), prefix)

    def nat_value(self) -> Expression:
        """Read an address or a port, a range of them, or a map that says it."""
        value = self.ranged()
        if self.accept("map"):
            return Lookup(value, self.table("map"))
        return value

    def notrack(self) -> Statement:
        """`notrack` says nothing more."""
        return Notrack()

    def dynamic(self) -> Statement:
        """Read `update @set { key ... }`."""
        op = self.tokens[self.at - 1].text
        self.expect("@", op)
        name = self.use("filled", self.name("the name of a set"))
        self.expect("{", f"{op} @{name}")
        self.skip_lines()
        element = self.changed()
        self.skip_lines()
        self.expect("}", f"{op} @{name}")
        return Dynamic(op, name, element)

    def changed(self) -> Element:
        """Read the element that a rule adds: its key, what it carries, and its data, which may be any expression."""
        key = self.expression()
        timeout, statements, comment, data = None, [], "", None
        while self.token.kind == "word" and self.token.text not in ("}",):
            if self.accept("timeout"):
                timeout = self.time()
            elif self.accept("comment"):
                comment = self.string("a comment")
            else:
                statements.append(self.element_statement())
        if self.accept(":"):
            data = self.data() if self.token.text in VERDICTS else self.expression()
        return Element(key, data, timeout, None, comment, tuple(statements))

    def old_dynamic(self) -> Statement:
        """Read `set update key @set`, as nft 0.9 wrote it."""
        op = self.next().text
        key = self.expression()
        timeout = self.time() if self.accept("timeout") else None
        self.expect("@", f"set {op}")
        return Dynamic(op, self.use("filled", self.name("the name of a set")), Element(key, timeout=timeout))

    def meter(self) -> Statement:
        """Read `meter name size 10 { key limit rate 5/second }`: a set that the rule makes, by its name."""
        name = self.use("meter", self.name("the name of a meter"))
        size = self.number("a size") if self.accept("size") else None
        self.expect("{", f"meter {name}")
        element = self.changed()
        self.expect("}", f"meter {name}")
        return Dynamic("meter", name, element, size)

    def reset(self) -> Statement:
        """Read `reset tcp option x`."""
        self.expect("tcp", "reset")
        self.expect("option", "reset tcp")
        option = self.name("a TCP option")
        return Other("reset tcp option", (fields.tcp_option(option),))

    def queue(self) -> Statement:
        """Read `queue flags bypass,fanout to 1-3`, or `queue num 1-3 bypass` as older versions wrote it."""
        flags: list[str] = []
        numbers = ""
        while self.token.kind not in ("end", "eof") and self.token.text not in ("}", "comment"):
            if self.accept("num", "to"):
                start = self.at
                self.expression() if self.token.kind == "word" else self.one_range()
                numbers = spelled(self.tokens[start : self.at])
            elif self.accept("flags", ","):
                continue
            elif self.token.text in QUEUE_FLAGS:
                flags.append(self.next().text)
            else:
                self.fail(f"queue: expected num, to, {' or '.join(QUEUE_FLAGS)}, found {self.said()}")
        return Other("queue", queue_words(flags, numbers))

    def copy(self) -> Statement:
        """Read `dup to 10.0.0.1 device "eth0"` or `fwd to "eth0"`."""
        name = self.tokens[self.at - 1].text
        family = self.next().text if self.token.text in ("ip", "ip6") else ""
        self.expect("to", name)
        after = self.peek()
        alone = after.kind in ("end", "eof") or after.text in ("}", "comment", *VERDICTS)
        if self.token.kind in ("word", "quoted") and alone:
            return Other(name, copy_words("", self.next().text, family))
        start = self.at
        self.expression()
        address = spelled(self.tokens[start : self.at])
        device = self.name("the name of a device") if self.accept("device") else ""
        return Other(name, copy_words(address, device, family))

    def tproxy(self) -> Statement:
        """Read `tproxy ip to 127.0.0.1:3128`, or without the address, or without the port."""
        family = (self.next().text,) if self.token.text in ("ip", "ip6") else ()
        self.expect("to", "tproxy")
        start = self.at
        if self.token.text != ":":
            self.nat_value()
        if self.accept(":"):
            self.nat_value()
        # an address and its port are one word
        return Other("tproxy", (*family, "to", "".join(t.text for t in self.tokens[start : self.at])))

    def synproxy(self) -> Statement:
        """Read `synproxy mss 1460 wscale 7 timestamp sack-perm`, or `synproxy name x`."""
        words: list[str] = []
        while self.token.text in ("mss", "wscale", "timestamp", "sack-perm", "name"):
            words.append(self.next().text)
            if words[-1] in ("mss", "wscale"):
                words.append(str(self.number(words[-1], 65_535)))
            elif words[-1] == "name":
                words.append(f'"{self.name("the name of a synproxy")}"')
        return Other("synproxy", tuple(words))

    def flow(self) -> Statement:
        """Read `flow add @f`; older versions wrote offload for add, and `flow table` for meter."""
        if self.accept("table"):
            return self.meter()
        if not self.accept("add", "offload"):
            self.fail(f"flow: expected add, found {self.said()}")
        self.expect("@", "flow add")
        return Other("flow", ("add", "@" + self.name("the name of a flow table")))

    def xt(self) -> Statement:
        """Read `xt match addrtype`, or `xt match "comment"` as newer versions list it."""
        kind = self.name("xt: match, target or watcher")
        return Other("xt", (kind, self.name(f"the name of a {kind}")))

    def other(self) -> Statement:
        """Read a statement whose words are only kept: it is refused by its name."""
        name, words = self.tokens[self.at - 1].text, []
        while self.token.kind not in ("end", "eof") and self.token.text not in ("}", "comment", *VERDICTS):
            words.append(f'"{self.token.text}"' if self.token.kind == "quoted" else self.token.text)
            self.next()
            if len(words) > MAX_WORDS:
                self.fail(f"{name}: more than {MAX_WORDS} words")
        return Other(name, tuple(words))


def spelled(tokens: list[Token]) -> str:
    """Return words as they are listed, those of an address or a range as one."""
    text = " ".join(f'"{t.text}"' if t.kind == "quoted" else t.text for t in tokens)
    return text.replace(" - ", "-").replace("[ ", "[").replace(" ]", "]")


def queue_words(flags: list[str], numbers: str) -> tuple[str, ...]:
    """Return the words of a queue statement as they are listed."""
    said = ("flags", ",".join(flag for flag in QUEUE_FLAGS if flag in flags)) if flags else ()
    return (*said, "to", numbers or "0")


def copy_words(address: str, device: str, family: str = "") -> tuple[str, ...]:
    """Return the words of a dup or fwd statement as they are listed; without an address it names a device alone."""
    said = (family,) if family else ()
    if not address:
        return (*said, "to", f'"{device}"')
    return (*said, "to", address, *(("device", f'"{device}"') if device else ()))


def log_flags(flags: list[str]) -> list[str]:
    """Return the flags of a log statement as they are listed, one `flags` each."""
    of_tcp = [flag.removeprefix("tcp ") for flag in ("tcp sequence", "tcp options") if flag in flags]
    found = [f"tcp {','.join(of_tcp)}"] if of_tcp else []
    if len(flags) > 1 and {"tcp sequence", "tcp options", "ip options", "skuid", "ether"} <= set(flags):
        return ["all"]
    return found + [flag for flag in ("ip options", "skuid", "ether", "all") if flag in flags]


READERS: dict[str, Callable[[StatementParser], Statement]] = {
    "counter": StatementParser.counter, "limit": StatementParser.limit, "quota": StatementParser.quota,
    "last": StatementParser.last, "ct": StatementParser.ct_statement, "reject": StatementParser.reject,
    "log": StatementParser.log, **dict.fromkeys(("snat", "dnat", "masquerade", "redirect"), StatementParser.nat),
    "notrack": StatementParser.notrack, **dict.fromkeys(("add", "update", "delete"), StatementParser.dynamic),
    "set": StatementParser.old_dynamic, "meter": StatementParser.meter, "reset": StatementParser.reset,
    "flow": StatementParser.flow, "tproxy": StatementParser.tproxy, "synproxy": StatementParser.synproxy,
    "fullcone": StatementParser.other, "xt": StatementParser.xt, "queue": StatementParser.queue,
    **dict.fromkeys(("dup", "fwd"), StatementParser.copy),
}  # fmt: skip
