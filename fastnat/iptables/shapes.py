"""Rules that differ from others in names, addresses and ports alone, read from the shape that these have in common.

kube-proxy writes a hundred thousand rules of a dozen shapes. No shape is stated here: the general parser (rule.py)
reads a rule of the shape with made-up values, and a shape counts only if it makes of a real rule what the general
parser made of it. Whatever is odd about a rule, its words, a value or a name, leaves it to the general parser, which
says what is wrong, if something is.

Rules of a shape share their matches, and targets that say the same: nobody changes those of a rule that is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any, Literal

from ..addresses import Family, parse_text
from ..errors import RuleError
from .model import BUILT_IN, Match, Rule, Target
from .refused import TARGETS as REFUSED
from .targets import TARGETS

# options whose values may vary within a shape
VARIED = ("-A", "-s", "-d", "--sport", "--dport", "-j", "--to-destination", "--comment")
HOOKS = frozenset(chain for chains in BUILT_IN.values() for chain in chains)
# what stands behind -j and is no chain of the user
NO_CHAINS = frozenset((*TARGETS, *REFUSED))
PLAIN_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
# kinds of rules that are noted for one table
MAX_KINDS = 4096
# the fields of a rule between its addresses and its matches
BESIDE = attrgetter(
    "invert_src", "invert_dst", "in_iface", "out_iface", "invert_in", "invert_out", "proto", "invert_proto",
    "fragment", "invert_fragment",
)  # fmt: skip
# the values with which a shape is learned
JUMP, SPORT, DPORT = "made-up-target", 54_321, 54_322
MADE_UP_PORTS = ((SPORT, SPORT), (DPORT, DPORT))
MADE_UP = {
    "-A": "made-up-chain", "-j": JUMP, "--sport": str(SPORT), "--dport": str(DPORT), "--comment": "made-up-comment",
}  # fmt: skip
MADE_UP_ADDRESSES = {
    4: {"-s": "198.18.77.4/30", "-d": "198.18.77.8/29", "--to-destination": "198.18.77.9:54323"},
    6: {"-s": "2001:2::4/126", "-d": "2001:2::8/125", "--to-destination": "[2001:2::9]:54323"},
}


def words_of(text: str) -> list[str] | None:
    """Split a rule into options and values in turn; a `!` stands with its option. None for quotes beside a comment."""
    if '"' in text:
        parts = text.split('"')
        if len(parts) != 3 or "\\" in text or parts[1] == "!":
            return None
        front, _, behind = parts
        if not front.endswith(" --comment ") or behind[:1] not in ("", " "):
            return None
        # what it says is no part of the rule
        text = f"{front}.{behind}"
    if "'" in text:
        return None
    if "!" in text:
        if text.count("!") != text.count(" ! "):
            return None
        text = text.replace(" ! ", " !")
    return text.split()


class Options:
    """Rules with the same options in the same order: where values that vary stand, and the shapes known so far."""

    def __init__(self, options: tuple[str, ...]) -> None:
        self.options = options
        self.varies = options[0] == "-A" and all(options.count(option) < 2 for option in VARIED)
        # 0, where the chain stands: the rule has none
        self.src, self.dst, self.sport, self.dport, self.jump, self.to = (
            options.index(option) if option in options else 0
            for option in ("-s", "-d", "--sport", "--dport", "-j", "--to-destination")
        )
        self.has_ports = bool(self.sport or self.dport)
        fixed = [n for n, option in enumerate(options) if option not in VARIED]
        self.fixed: Callable[[list[str]], Any] = itemgetter(*fixed) if fixed else len
        # by what does not vary; None: met once, False: rules that no shape is made of
        self.shapes: dict[Any, Shape | Literal[False] | None] = {}


class Shape:
    """What the rules of a shape have in common, out of one with made-up values."""

    def __init__(self, made_up: Rule) -> None:
        # those that do not vary, as of an inverted -s
        self.ends = made_up.src, made_up.smask, made_up.dst, made_up.dmask
        self.beside: Any = BESIDE(made_up)
        self.matches = made_up.matches
        # None: a chain, which varies
        self.target = None if made_up.target.name == JUMP else made_up.target
        self.port_places = [n for n, m in enumerate(self.matches) if m.values in MADE_UP_PORTS]
        # by the texts of their ports
        self.with_ports: dict[tuple[str, str], list[Match]] = {}

    def matches_of(self, ports: dict[str, tuple[int, int]]) -> list[Match]:
        """Return the matches of a rule with these ports."""
        made = list(self.matches)
        for n in self.port_places:
            m = made[n]
            made[n] = Match(m.kind, m.invert, ports[m.kind], m.name, m.hooks)
        return made


class Shapes:
    """The shapes of the rules of one table of a text; parse: the general parser, of a text and its line."""

    def __init__(self, family: Family, parse: Callable[[str, int], Rule]) -> None:
        self.version, self.parse = family.version, parse
        self.made_up = MADE_UP | MADE_UP_ADDRESSES[family.version]
        self.masks = {f"/{n}": family.mask_of(n) for n in range(family.bits + 1)} | {"": family.full}
        self.options: dict[tuple[str, ...], Options] = {}
        self.kinds = 0
        self.ports: dict[str, int] = {}
        self.jumps: dict[str, Target] = {}

    def rule(self, text: str, line: int) -> Rule | None:
        """Return the rule of a text; None leaves it to the general parser."""
        words = words_of(text)
        if words is None:
            return None
        if len(words) % 2:
            # a flag at the end
            if words[-1] in VARIED:
                return None
            words.append("")
        names, values = tuple(words[::2]), words[1::2]
        options = self.options.get(names)
        if options is None:
            if self.room():
                self.options[names] = Options(names)
            return None
        if not options.varies:
            return None
        jump = values[options.jump]
        # a chain of the user may have any name
        kind = options.fixed(values), values[0] in HOOKS and values[0], jump in NO_CHAINS and jump
        shape = options.shapes.get(kind, False)
        if shape:
            return self.made(shape, options, values, text, line)
        if shape is None:
            options.shapes[kind] = self.learned(options, kind, values, text, line)
        elif kind not in options.shapes and self.room():
            options.shapes[kind] = None
        return None

    def room(self) -> bool:
        """Count one more kind of rules; False if there are too many to note them."""
        self.kinds += 1
        return self.kinds <= MAX_KINDS

    def learned(self, options: Options, kind: Any, values: list[str], text: str, line: int) -> Shape | Literal[False]:
        """Return the shape of a rule, False if no shape makes the same rule."""
        _, hook, target = kind
        words = ""
        for option, value in zip(options.options, values, strict=True):
            fixed = (option == "-A" and hook) or (option == "-j" and target) or option not in VARIED
            words += f"{option} {value if fixed else self.made_up[option]} "
        try:
            shape = Shape(self.parse(words.replace(" !", " ! ").rstrip(), line))
            if len(shape.port_places) != (options.sport > 0) + (options.dport > 0):
                return False
            made = self.made(shape, options, values, text, line)
            return shape if made is not None and made == self.parse(text, line) else False
        except RuleError:
            return False

    def made(self, shape: Shape, options: Options, values: list[str], text: str, line: int) -> Rule | None:
        """Return the rule of a shape with these values, None if one is not plain."""
        src, smask, dst, dmask = shape.ends
        matches, target = shape.matches, shape.target
        chain = values[0]
        if chain[0] in "-!":
            return None
        try:
            if options.src:
                address, slash, length = values[options.src].partition("/")
                smask = self.masks[slash + length]
                src = parse_text(address, self.version) & smask
            if options.dst:
                address, slash, length = values[options.dst].partition("/")
                dmask = self.masks[slash + length]
                dst = parse_text(address, self.version) & dmask
            if options.has_ports:
                # the chain, of an option that the rule has not
                texts = values[options.sport], values[options.dport]
                known = shape.with_ports.get(texts)
                matches = known if known is not None else self.with_ports(shape, options, texts)
            if target is None:
                name = values[options.jump]
                target = self.jumps.get(name) or self.jump(name)
            elif options.to:
                target = self.target_to(target, values[options.to])
        except (KeyError, ValueError):
            return None
        rest = (*shape.beside, matches, target)
        return Rule(chain, line, text, src, smask, dst, dmask, *rest)

    def with_ports(self, shape: Shape, options: Options, texts: tuple[str, str]) -> list[Match]:
        """Return the matches of a shape with the ports that are said; ValueError if one is not plain."""
        ports = {}
        for kind, at, text in zip(("sport", "dport"), (options.sport, options.dport), texts, strict=True):
            if at:
                low, colon, high = text.partition(":")
                ports[kind] = first, last = self.port(low), self.port(high if colon else low)
                if last < first:
                    raise ValueError(text)
        made = shape.with_ports[texts] = shape.matches_of(ports)
        return made

    def port(self, text: str) -> int:
        """Return a port as iptables-save writes it; ValueError for anything else."""
        port = self.ports.get(text)
        if port is None:
            if not PLAIN_PORT.fullmatch(text) or int(text) > 65535:
                raise ValueError(text)
            port = self.ports[text] = int(text)
        return port

    def jump(self, name: str) -> Target:
        """Return the target of a jump to a chain; ValueError for what is no name."""
        if name[0] in "-!":
            raise ValueError(name)
        made = self.jumps[name] = Target(name)
        return made

    def target_to(self, made_up: Target, text: str) -> Target:
        """Return the target of --to-destination ADDRESS:PORT; ValueError for any other value."""
        address, _, port = text.rpartition(":")
        if self.version == 6:
            if address[:1] != "[" or address[-1:] != "]":
                raise ValueError(text)
            address = address[1:-1]
        to, at, t = parse_text(address, self.version), self.port(port), made_up
        return Target(t.name, t.goto, to, to, at, at, t.base_proto, t.flags, t.value, t.mask, t.mask2, t.op)
