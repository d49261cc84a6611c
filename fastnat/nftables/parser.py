"""Text of nft, as it is listed and as people write it, to the tree.

Source: nft(8), COMMANDS, RULESET, TABLES, CHAINS, RULES, SETS, MAPS, ELEMENTS, FLOWTABLES, STATEFUL OBJECTS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..errors import RuleError
from . import elements, hooks, uses
from .canonical import Writer
from .datatypes import TYPES
from .evaluated import Evaluated
from .kinds import OBJECTS, kinds_of
from .lexer import Reader, Sources, Token, tokens_of
from .reserved import RESERVED
from .statements import StatementParser
from .tree import (
    INLINE,
    UNREAD,
    Base,
    Chain,
    Element,
    Flowtable,
    Object,
    Other,
    Quota,
    Rule,
    Ruleset,
    Set,
    Statement,
    Table,
    Value,
)

FAMILIES = ("ip", "ip6", "inet", "arp", "bridge", "netdev")
OBJECT_MAPS = ("counter", "quota", "limit", "synproxy", "secmark")
# why nft does not load a text, before no more reasons are noted
MAX_DOUBTS = 100
HANDLE = re.compile(r"# handle (\d{1,18})\s*$")
CT_OBJECTS = ("helper", "timeout", "expectation")
VERBS = ("add", "create", "insert", "replace", "delete", "destroy", "flush", "rename")
TABLE_FLAGS = ("dormant", "owner", "persist")
SET_FLAGS = ("constant", "dynamic", "interval", "timeout")
PRIORITY = re.compile(r"([A-Za-z_]+)(?:-(\d+))?")


class RulesetParser(StatementParser):
    """Carries out the commands of a text, one after the other."""

    ruleset: Ruleset
    # the table in which a rule stands
    home: Table
    handles = 0
    # the rule set was there before: its values are canonical already; the greatest handle in it
    changes = False
    before = 0
    # the text is what `nft -a list ruleset` prints
    listed = False
    # the table of the command at hand
    here: Table | None = None

    def __init__(self, sources: Sources, tokens: list[Token]) -> None:
        super().__init__(sources, tokens)
        # what sets hold, by their id, while one command behind the other adds elements
        self.held: dict[int, elements.Held] = {}
        # chains get their new names at the end
        self.renames: list[tuple[Table, Chain, str]] = []
        # and sets what a later declaration says of them
        self.declared_again: list[tuple[Set, Set]] = []
        # sets and meters that rules of the text name: up to its end they are in use, also if the rule goes
        self.bound: set[tuple[str, str, str]] = set()

    def run(self, ruleset: Ruleset) -> Ruleset:
        """Carry out all commands."""
        self.ruleset = ruleset
        self.skip_ends()
        while self.token.kind != "eof":
            self.command()
            self.check_used()
            if self.token.kind not in ("end", "eof"):
                self.fail(f"expected the end of the command, found {self.said()}")
            self.skip_ends()
        for table, chain, name in self.renames:
            uses.rename(table, chain, name)
        for there, again in self.declared_again:
            elements.declare_again(there, again)
        return ruleset

    def check_used(self) -> None:
        """Refuse what the command named and its table does not have: the kernel looks for it at once."""
        (used, self.used), table = (self.used, []), self.here
        for kind, name, at in used if not self.ruleset.lenient else ():
            assert table is not None
            if kind == "chain" and name in table.chains and table.chains[name].base is None:
                continue
            why, key = uses.wrong(table, kind, name), (table.family, table.name, name)
            if kind == "meter" and key in self.bound:
                why = f"there is a meter or set {name} already"
            if why:
                self.fail(why, self.tokens[at])
            if kind in ("set", "map", "vmap", "filled", "meter"):
                self.bound.add(key)

    def handle(self) -> int:
        """Return the next handle."""
        self.handles += 1
        return self.handles

    def command(self) -> None:
        """Carry out one command."""
        verb = self.next().text if self.token.text in VERBS else "add"
        kind = self.token
        if kind.text != "element" or verb not in ("add", "create"):
            self.held.clear()
        if kind.text == "table" or (kind.text in FAMILIES and verb == "add"):
            return self.table_command(verb)
        if kind.text == "ruleset" and verb == "flush":
            return self.flush_ruleset()
        reader = COMMANDS.get(kind.text)
        if reader is None or kind.kind != "word":
            self.fail(
                f"expected a command as `table inet filter {{ ... }}` or `add rule ...`, found {self.said()}", kind
            )
        self.next()
        return reader(self, verb)

    def family(self) -> str:
        """Read a family; ip where none is named."""
        return self.next().text if self.token.text in FAMILIES and self.peek().kind in ("word", "quoted") else "ip"

    def new_name(self, what: str) -> str:
        """Read the name of what is declared; nft itself takes no words of its own as names."""
        token, name = self.token, self.name(f"the name of a {what}")
        if name in RESERVED and token.kind == "word":
            self.doubt(f"{name!r} is a word of its language and names no {what}; give it another name", token)
        return name

    def doubt(self, why: str, token: Token | None = None) -> None:
        """See Cursor: it is noted, for `fastnat check` above all."""
        if not self.listed and len(self.ruleset.doubts) < MAX_DOUBTS:
            token = token or self.token
            line, column = self.sources.place(token.file, token.at)
            self.ruleset.doubts.append(
                f"{self.sources.names[token.file]}:{line}:{column}: nft does not load this (nft 1.0.6): {why}"
            )

    def table_of(self) -> Table:
        """Read `[family] table`, which has to exist."""
        token, family = self.token, self.family()
        name = self.name("the name of a table")
        table = self.ruleset.tables.get((family, name))
        if table is None:
            known = ", ".join(f"{f} {n}" for f, n in self.ruleset.tables) or "none yet"
            self.fail(f"no table {family} {name}; there are: {known}; add `table {family} {name}` before", token)
        self.here = table
        return table

    def chain_of(self, table: Table) -> Chain:
        """Read the name of a chain, which has to exist."""
        token, name = self.token, self.name("the name of a chain")
        if name not in table.chains or table.chains[name].inline:
            known = ", ".join([c.name for c in table.chains.values() if not c.inline][:20]) or "none yet"
            self.fail(f"no chain {name} in table {table.family} {table.name}; there are: {known}", token)
        return table.chains[name]

    def set_of(self, table: Table) -> Set:
        """Read the name of a set, which has to exist."""
        token, name = self.token, self.name("the name of a set")
        if name not in table.sets:
            known = ", ".join(list(table.sets)[:20]) or "none yet"
            self.fail(f"no set or map {name} in table {table.family} {table.name}; there are: {known}", token)
        return table.sets[name]

    def flush_ruleset(self) -> None:
        """`flush ruleset [family]`."""
        self.next()
        family = self.next().text if self.token.text in FAMILIES else ""
        self.ruleset.emptied.add((family, ""))
        for key in [k for k in self.ruleset.tables if family in ("", k[0])]:
            del self.ruleset.tables[key]

    def table_command(self, verb: str) -> None:
        """`table`, with or without its block; delete, destroy, flush."""
        self.accept("table")
        token = self.token
        if verb in ("delete", "destroy", "flush"):
            family = self.family()
            key = family, self.name("the name of a table")
            if key not in self.ruleset.tables and verb != "destroy":
                self.fail(f"no table {family} {key[1]}; add it before, or use destroy", token)
            table = self.ruleset.tables.get(key)
            if verb == "flush":
                for chain in table.chains.values() if table else ():
                    chain.rules.clear()
            else:
                self.ruleset.tables.pop(key, None)
                self.ruleset.emptied.add(key)
            return
        family = self.family()
        key = family, self.new_name("table")
        if verb == "create" and key in self.ruleset.tables:
            self.fail(f"table {family} {key[1]} exists already", token)
        self.here = table = self.ruleset.tables.setdefault(key, Table(family, key[1], handle=self.handle()))
        if self.accept("{"):
            self.table_block(table)

    def table_block(self, table: Table) -> None:
        """Read what stands in a table."""
        self.skip_ends()
        while not self.accept("}"):
            word = self.token.text
            if word == "comment":
                self.next()
                table.comment = self.string("a comment")
            elif word == "flags":
                self.next()
                table.flags = self.flags(TABLE_FLAGS)
            elif word in BLOCKS and self.token.kind == "word":
                self.next()
                BLOCKS[word](self, table, "add")
            else:
                self.fail(f"table {table.name}: expected chain, set, map or an object, found {self.said()}")
            self.end(f"table {table.name}")

    def end(self, what: str) -> None:
        """Take the end of a line within braces, which nft asks for in front of the brace, too, and all that follow."""
        if self.token.kind == "eof":
            self.fail(f"{what}: expected }}, found the end of the text")
        if self.token.kind != "end":
            self.doubt(f"{what}: expected a semicolon or the end of the line, found {self.said()}")
        self.skip_ends()

    def evaluated(self) -> Evaluated | None:
        """See StatementParser: what listings of the kernel's rules say it has taken, whoever made them."""
        return None if self.listed else Evaluated(self.home)

    def flags(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """Read names between commas."""
        found = [self.name("a flag")]
        while self.accept(","):
            found.append(self.name("a flag"))
        for flag in found:
            if flag not in known:
                self.fail(f"flag {flag!r} is not known; there are {', '.join(known)}")
        return tuple(f for f in known if f in found)

    # --- chains and rules

    def chain_block(self, table: Table, verb: str) -> None:
        """Read the name of a chain and its block, if there is one."""
        token, place = self.token, self.place()
        name = self.new_name("chain")
        if verb == "create" and name in table.chains:
            self.fail(f"chain {name} exists already in table {table.family} {table.name}", token)
        known = name in table.chains
        if not known:
            self.ruleset.begin_chain(table, Chain(name, handle=self.handle(), place=place))
        chain = table.chains[name]
        before = chain.base
        if self.accept("{"):
            self.skip_ends()
            while not self.accept("}"):
                self.chain_line(table, chain)
                if known and chain.base is not before:
                    self.same_base(chain, before, token)
                    before = chain.base
                self.end(f"chain {name}")

    def same_base(self, chain: Chain, before: Base | None, token: Token) -> None:
        """Refuse to call a chain otherwise than it is called already; its policy stays until another is said."""
        now = chain.base
        if before is None or now is None or replace(now, policy=before.policy) != before:
            self.fail(f"chain {chain.name} is there already with another type, hook or priority, or with none", token)
        now.policy = before.policy

    def chain_line(self, table: Table, chain: Chain) -> None:
        """Read one line of a chain: what it is, or a rule."""
        word, after = self.token.text, self.peek()
        if word == "type" and self.token.kind == "word":
            chain.base = self.base(table, chain)
        elif word == "policy" and after.text in ("accept", "drop"):
            self.policy(chain)
        elif word == "comment" and after.kind == "quoted" and self.peek(2).kind == "end":
            self.next()
            chain.comment = self.next().text
        elif word == "devices":
            devices = self.devices()
            if chain.base is not None:
                chain.base.devices += devices
        elif word == "flags" and after.text == "offload":
            self.next()
            self.next()
        else:
            rule = self.read_rule(table)
            rule.handle = self.handle()
            chain.rules.append(rule)

    def inline_chain(self) -> str:
        """Read the chain that a verdict has in braces; return the name under which it stands in the table."""
        table = self.home
        name = free_name(table)
        chain = table.chains[name] = Chain(name, inline=True, place=self.place())
        self.expect("{", "a chain in a rule")
        self.skip_ends()
        while not self.accept("}"):
            self.chain_line(table, chain)
            self.end("a chain in a rule")
        return name

    def read_rule(self, table: Table) -> Rule:
        """Read a rule; leniently one that cannot be read is kept by its words, and never matches."""
        first, self.home = self.at, table
        try:
            return self.rule()
        except RuleError as error:
            if not self.ruleset.lenient:
                raise
            self.ruleset.warnings.append(f"never matches: {str(error).splitlines()[0]}")
        self.at, depth, start = first, 0, self.tokens[first]
        while self.token.kind != "eof" and (depth or (self.token.kind != "end" and self.token.text != "}")):
            depth += (self.token.text == "{") - (self.token.text == "}")
            self.next()
        words = tuple(t.text for t in self.tokens[first : self.at] if t.text != "\n")
        return Rule((Other(UNREAD, words),), place=self.sources.place(start.file, start.at))

    def policy(self, chain: Chain) -> None:
        """Read `policy drop`."""
        self.next()
        if chain.base is None:
            self.fail(f"chain {chain.name} has no hook, so it can have no policy")
        chain.base.policy = self.next().text

    def base(self, table: Table, chain: Chain) -> Base:
        """Read `type nat hook postrouting priority srcnat`."""
        start = self.next()
        kind = self.name("filter, nat or route")
        self.expect("hook", f"chain {chain.name}")
        hook = self.name("the name of a hook")
        why = hooks.wrong(table.family, kind, hook)
        if why:
            self.fail(f"chain {chain.name}: {why}", start)
        devices = self.devices() if self.token.text in ("device", "devices") else ()
        self.expect("priority", f"chain {chain.name}")
        priority = self.priority(table.family, hook)
        why = hooks.too_early(kind, priority)
        if why:
            self.fail(f"chain {chain.name}: {why}", start)
        return Base(kind, hook, priority, "accept", devices)

    def devices(self) -> tuple[str, ...]:
        """Read `device eth0` or `devices = { eth0, eth1 }`."""
        several = self.next().text == "devices"
        if not several:
            return (self.name("the name of a device"),)
        self.expect("=", "devices")
        self.expect("{", "devices")
        found = []
        self.skip_lines()
        while not self.accept("}"):
            found.append(self.name("the name of a device"))
            self.accept(",")
            self.skip_lines()
        return tuple(found)

    def priority(self, family: str, hook: str) -> int:
        """Read a priority: a number, or a name with what is added to it."""
        self.accept("=")
        token, sign = self.token, -1 if self.accept("-") else 1
        if self.token.kind == "number":
            return sign * self.number("a priority", 2**31 - 1)
        word = self.name("a priority: a number, or a name as filter or srcnat")
        m = PRIORITY.fullmatch(word)
        priority = hooks.priority(family, m[1]) if m else None
        if m is None or priority is None:
            self.fail(
                f"priority {word!r} is not known here; there are {', '.join(hooks.names(family))} and numbers", token
            )
        priority -= int(m[2] or 0)
        if self.token.text in ("+", "-"):
            minus = self.next().text == "-"
            priority += (-1 if minus else 1) * self.number("a number", 2**31 - 1)
        return priority

    def rule_command(self, verb: str) -> None:
        """Add, insert, replace or delete a rule."""
        table = self.table_of()
        chain = self.chain_of(table)
        place: tuple[str, int, Token] | None = None
        if self.token.text in ("handle", "position", "index") and self.peek().kind == "number":
            place = self.next().text, self.number("a handle or an index"), self.token
        at = self.rule_at(chain, place)
        if verb in ("delete", "destroy"):
            if place is None:
                self.fail("delete rule: expected handle and its number")
            del chain.rules[at]
            return
        rule = self.read_rule(table)
        rule.handle = self.handle()
        if verb == "replace":
            chain.rules[at] = rule
        elif place is None:
            chain.rules.insert(0 if verb == "insert" else len(chain.rules), rule)
        else:
            chain.rules.insert(at if verb == "insert" else at + 1, rule)

    def rule_at(self, chain: Chain, place: tuple[str, int, Token] | None) -> int:
        """Return the index of a rule in its chain."""
        if place is None:
            return 0
        kind, number, token = place
        numbers = [at if kind == "index" else rule.handle for at, rule in enumerate(chain.rules)]
        if number not in numbers:
            self.fail(f"chain {chain.name} has no rule with {kind} {number}", token)
        return numbers.index(number)

    def chain_command(self, verb: str) -> None:
        """Add, delete, flush or rename a chain."""
        if verb == "flush" and self.peek().kind in ("end", "eof"):
            self.fail("flush chain: expected a table and a chain")
        table = self.table_of()
        if verb in ("add", "create"):
            self.chain_block(table, verb)
            return
        if verb == "destroy" and self.token.text not in table.chains:
            self.next()
            return
        chain = self.chain_of(table)
        if verb == "flush":
            chain.rules.clear()
        elif verb == "rename":
            self.rename(table, chain)
        else:
            self.unused(table, uses.of_chain(chain.name), f"chain {chain.name}", chain)
            del table.chains[chain.name]

    def rename(self, table: Table, chain: Chain) -> None:
        """Read the new name of a chain; its old one stands for it up to the end of the text."""
        if chain.handle > self.before:
            self.fail(f"rename chain {chain.name}: the same text makes it, so the kernel does not find it yet")
        name = self.new_name("chain")
        if name in table.chains or any(t is table and n == name for t, _, n in self.renames):
            self.fail(f"chain {name} exists already in table {table.family} {table.name}", self.tokens[self.at - 1])
        self.renames.append((table, chain, name))

    def unused(self, table: Table, test: uses.Test, what: str, without: Chain | None = None) -> None:
        """Refuse to delete what a rule or a map uses; without: a chain whose own rules go with it."""
        user = uses.user(table, test, without)
        if user:
            self.fail(f"delete {what}: {user} uses it, so the kernel refuses that", self.tokens[self.at - 1])

    # --- sets and maps

    def set_block(self, table: Table, verb: str, is_map: bool = False) -> None:
        """Read the name of a set or map and its block."""
        token, place = self.token, self.place()
        name = self.new_name("map" if is_map else "set")
        if verb == "create" and name in table.sets:
            self.fail(f"set {name} exists already in table {table.family} {table.name}", token)
        made = Set(name, handle=self.handle(), place=place)
        self.expect("{", f"set {name}")
        self.skip_ends()
        while not self.accept("}"):
            if self.set_line(made, is_map):
                self.skip_ends()
            else:
                self.end(f"{'map' if is_map else 'set'} {name}")
        if not made.key and made.typeof is None:
            self.fail(f"set {name}: its type is missing", token)
        if is_map and not made.data and made.data_typeof is None:
            self.fail(f"map {name}: the type of its data is missing", token)
        there = table.sets.get(name)
        if there is not None and not elements.alike(table, there, made):
            self.fail(f"{name} is there already with other types, flags or statements", token)
        why = elements.no_count(made, made.statements)
        if why:
            self.fail(why, token)
        self.check_times(there or made, made.elements)
        self.use_objects(made, made.elements)
        if there is None:
            items, made.elements = made.elements, []
            table.sets[name] = made
            self.add_elements(table, made, items)
            made.fresh.clear()
        else:
            self.add_elements(table, there, made.elements)
            self.declared_again.append((there, made))

    def map_block(self, table: Table, verb: str) -> None:
        """Read a map."""
        self.set_block(table, verb, True)

    def set_line(self, made: Set, is_map: bool) -> bool:
        """Read one line of a set; return whether another may follow at once, as behind elements."""
        word = self.name(f"what set {made.name} is")
        if word == "type":
            made.key = self.types()
            if self.accept(":"):
                made.intervals = self.accept("interval")
                made.data = self.types(is_map)
        elif word == "typeof":
            made.typeof = self.concatenation()
            if self.accept(":"):
                self.map_typeof(made)
        elif word == "flags":
            made.flags = self.flags(SET_FLAGS)
        elif word in ("timeout", "gc-interval"):
            setattr(made, word.replace("-", "_"), self.time())
        elif word == "size":
            made.size = self.number("a size", 2**32 - 1)
        elif word == "policy":
            made.policy = self.name("performance or memory")
        elif word == "auto-merge":
            made.auto_merge = True
        elif word == "comment":
            made.comment = self.string("a comment")
        elif word == "elements":
            self.expect("=", "elements")
            made.elements += self.elements(may_be_empty=True).items
        elif word in ("counter", "limit", "quota", "ct", "last"):
            self.at -= 1
            made.statements += (self.element_statement(),)
        else:
            self.fail(
                f"set {made.name}: {word!r} is not known; expected type, flags, timeout, elements and so on",
                self.tokens[self.at - 1],
            )
        return word == "elements"

    def map_typeof(self, made: Set) -> None:
        """Read the data of a map declared by typeof."""
        made.intervals = self.accept("interval")
        if self.token.text == "verdict" or (self.token.text in OBJECT_MAPS and self.peek().kind == "end"):
            made.data = (self.next().text,)
        else:
            made.data_typeof = self.concatenation()

    def types(self, objects: bool = False) -> tuple[str, ...]:
        """Read the names of types, between dots."""
        found = []
        while True:
            token, word = self.token, self.name("a type")
            if word == "ct" and objects:
                word = f"ct {self.name('helper, timeout or expectation')}"
                if word not in OBJECTS:
                    self.fail(f"type {word}: expected ct helper, ct timeout or ct expectation", token)
            elif (word not in TYPES or word == "integer") and not (objects and word in OBJECT_MAPS):
                known = ", ".join(list(TYPES)[:12])
                self.fail(
                    f"type {word!r} is not known; there are {known} and others; of a raw or plain number say typeof",
                    token,
                )
            found.append(word)
            if not self.accept("."):
                return tuple(found)

    def set_command(self, verb: str, is_map: bool = False) -> None:
        """Add, delete or flush a set."""
        table = self.table_of()
        if verb in ("add", "create"):
            self.set_block(table, verb, is_map)
        elif verb == "destroy" and self.token.text not in table.sets:
            self.next()
        else:
            token, found = self.token, self.set_of(table)
            if verb == "flush" and is_map != elements.is_map(found):
                self.fail(f"{found.name} is a {'set, not a map' if is_map else 'map, not a set'}", token)
            if verb == "flush":
                self.check_constant(table, found)
                found.elements.clear()
            else:
                self.unused(table, uses.of_set(found.name), f"{'map' if is_map else 'set'} {found.name}")
                del table.sets[found.name]

    def map_command(self, verb: str) -> None:
        """Add, delete or flush a map."""
        self.set_command(verb, True)

    def element_command(self, verb: str) -> None:
        """Add or delete elements."""
        table = self.table_of()
        found = self.set_of(table)
        token = self.token
        items = self.elements().items
        self.check_constant(table, found)
        if verb in ("add", "create"):
            self.check_times(found, items)
            self.use_objects(found, items)
            self.add_elements(table, found, items, verb == "create")
            return
        keys = {item.key for item in (self.canonical_items(table, found, items) if self.changes else items)}
        left = [e for e in found.elements if e.key not in keys]
        if verb == "delete" and len(found.elements) - len(left) < len(keys):
            self.fail(f"delete element: an element is not in {found.name}", token)
        found.elements[:] = left

    def check_times(self, named: Set, items: Iterable[Element]) -> None:
        """Refuse elements with a time in a set whose elements stay for ever."""
        if "timeout" not in named.flags and named.timeout is None and any(e.timeout or e.expires for e in items):
            self.fail(f"set {named.name} has no `flags timeout`, so the kernel refuses a timeout of its elements")

    def check_constant(self, table: Table, named: Set) -> None:
        """Refuse to change a constant set into which a rule looks."""
        if "constant" not in named.flags:
            return
        bound = (table.family, table.name, named.name) in self.bound
        user = "a rule" if bound else uses.user(table, uses.of_set(named.name))
        if user:
            self.fail(f"{named.name} has the flag constant and {user} uses it, so the kernel refuses that")

    def use_objects(self, named: Set, items: Iterable[Element]) -> None:
        """Note which objects the elements of a map name."""
        for kind in named.data if named.data[:1] and named.data[0] in OBJECTS else ():
            for e in items:
                if isinstance(e.data, Value):
                    self.use(kind, e.data.text)

    def add_elements(self, table: Table, named: Set, items: Iterable[Element], create: bool = False) -> None:
        """Add elements to a set; those that it has stay as they are, or are refused."""
        if not self.changes:
            if create and {e.key for e in items} & {e.key for e in named.elements}:
                self.fail(f"an element is in {named.name} already", self.tokens[self.at - 1])
            named.elements += items
            if named.size is not None and len(named.elements) > named.size < len({e.key for e in named.elements}):
                self.fail(f"{named.name} has room for {named.size} elements", self.tokens[self.at - 1])
            return
        fresh = self.canonical_items(table, named, items)
        held = self.held.get(id(named))
        if held is None:
            held = self.held[id(named)] = elements.Held(named, kinds_of(table, named)[0], named.elements)
        why = held.refused(fresh)
        if why:
            self.fail(f"{why}, so the kernel refuses that", self.tokens[self.at - 1])
        for e in fresh:
            at = held.places[e.key]
            if at == len(named.elements):
                named.elements.append(e)
                named.fresh[e.key] = True
            elif create:
                self.fail(f"an element is in {named.name} already", self.tokens[self.at - 1])
            elif not self.same_time(named, named.elements[at], e):
                # nft_add_set_elem: the element stays, its time begins anew
                named.elements[at] = replace(named.elements[at], timeout=e.timeout, expires=e.expires)
                named.fresh.setdefault(e.key, False)

    @staticmethod
    def same_time(named: Set, old: Element, new: Element) -> bool:
        """Tell whether the time of an element goes on when it is added again: it does if it has the same timeout."""
        timeouts = (named.timeout if e.timeout is None else e.timeout for e in (old, new))
        return old.timeless or (new.expires is None and next(timeouts) == next(timeouts))

    def canonical_items(self, table: Table, named: Set, items: Iterable[Element]) -> list[Element]:
        """Return elements in the form in which those of a set stand."""
        return Writer(self.ruleset, table).items(tuple(items), *kinds_of(table, named))

    # --- objects

    def object_block(self, table: Table, verb: str, kind: str) -> None:
        """Read the name of an object and what it says."""
        place, name = self.place(), self.new_name(kind)
        if verb == "create" and (kind, name) in table.objects:
            self.fail(f"{kind} {name} exists already in table {table.family} {table.name}", self.tokens[self.at - 1])
        made = Object(kind, name, handle=self.handle(), place=place)
        braces = self.accept("{")
        if braces:
            self.skip_ends()
        while self.token.kind not in ("end", "eof") and not (braces and self.token.text == "}"):
            self.object_line(made)
            if braces and kind[:3] == "ct " and not self.on_one_line(made):
                self.end(f"{kind} {name}")
            elif braces:
                self.skip_ends()
        if braces:
            self.expect("}", f"{kind} {name}")
        if made.says is None and kind in ("counter", "quota", "limit"):
            self.at -= 1
            if kind != "counter":
                self.fail(f"{kind} {name}: what it says is missing")
            from .tree import Counter

            self.at += 1
            made.says = Counter()
        there = table.objects.setdefault((kind, name), made)
        if isinstance(made.says, Quota) and isinstance(there.says, Quota):
            # nft_quota_obj_update: of all objects quotas alone take what is said again
            there.says = replace(made.says, used=there.says.used)

    def object_line(self, made: Object) -> None:
        """Read one line of an object."""
        if self.accept("comment"):
            made.comment = self.string("a comment")
        elif made.kind == "counter" and self.token.text in ("packets", "bytes"):
            made.says = self.counter()
        elif made.kind == "limit":
            made.says = self.limit_says()
        elif made.kind == "quota":
            made.says = self.quota_says()
        else:
            made.words += (self.object_words(made),)

    def on_one_line(self, made: Object) -> bool:
        """Tell whether the protocol of a helper follows its type."""
        return made.kind == "ct helper" and made.words[-1:] != () and made.words[-1][0] == "type"

    def object_words(self, made: Object) -> tuple[str, str]:
        """Read `type "ftp" protocol tcp` and its kind, a word and its value at a time."""
        word = self.name(f"what {made.kind} {made.name} is")
        if word == "policy" and self.accept("="):
            start = self.at
            self.elements()
            return word, " ".join(t.text for t in self.tokens[start + 1 : self.at - 1] if t.text != "\n")
        if self.token.kind == "end":
            return word, ""
        return word, self.next().text

    def ct_block(self, table: Table, verb: str) -> None:
        """Read `ct helper name { ... }`."""
        kind = self.name("helper, timeout or expectation")
        if kind not in CT_OBJECTS:
            self.fail(f"ct {kind}: expected {', '.join(CT_OBJECTS)}", self.tokens[self.at - 1])
        self.object_block(table, verb, f"ct {kind}")

    def object_command(self, verb: str) -> None:
        """Add or delete an object; `ct helper`."""
        kind = self.tokens[self.at - 1].text
        if kind == "ct":
            kind = f"ct {self.name('helper, timeout or expectation')}"
        table = self.table_of()
        if verb in ("add", "create"):
            self.object_block(table, verb, kind)
            return
        token, name = self.token, self.name("the name of an object")
        if (kind, name) in table.objects:
            self.unused(table, uses.of_object(table, kind, name), f"{kind} {name}")
        if table.objects.pop((kind, name), None) is None and verb != "destroy":
            self.fail(f"no {kind} {name} in table {table.family} {table.name}", token)

    def flowtable_block(self, table: Table, verb: str) -> None:
        """Read a flow table."""
        made = Flowtable(self.new_name("flowtable"), handle=self.handle())
        self.expect("{", f"flowtable {made.name}")
        self.skip_ends()
        while not self.accept("}"):
            if self.accept("hook"):
                made.hook = self.name("ingress")
                self.expect("priority", f"flowtable {made.name}")
                made.priority = self.priority("netdev", made.hook)
            elif self.token.text == "devices":
                made.devices += self.devices()
            elif self.accept("counter"):
                made.counter = True
            elif self.accept("flags"):
                made.flags = self.flags(("offload",))
            else:
                self.fail(f"flowtable {made.name}: expected hook, devices, counter or flags, found {self.said()}")
            self.end(f"flowtable {made.name}")
        table.flowtables[made.name] = made

    def flowtable_command(self, verb: str) -> None:
        """Add or delete a flow table."""
        table = self.table_of()
        if verb in ("add", "create"):
            self.flowtable_block(table, verb)
        else:
            table.flowtables.pop(self.name("the name of a flow table"), None)


def free_name(table: Table) -> str:
    """Return a name for a chain that stands in a rule, as the kernel calls it."""
    return next(name for n in range(len(table.chains) + 1) if (name := f"{INLINE}{n}") not in table.chains)


Block = Callable[[RulesetParser, Table, str], None]


def _object(kind: str) -> Block:
    return lambda parser, table, verb: parser.object_block(table, verb, kind)


BLOCKS: dict[str, Block] = {
    "chain": RulesetParser.chain_block, "set": RulesetParser.set_block, "map": RulesetParser.map_block,
    "ct": RulesetParser.ct_block, "flowtable": RulesetParser.flowtable_block,
    **{kind: _object(kind) for kind in OBJECT_MAPS},
}  # fmt: skip
COMMANDS: dict[str, Callable[[RulesetParser, str], None]] = {
    "chain": RulesetParser.chain_command, "rule": RulesetParser.rule_command, "set": RulesetParser.set_command,
    "map": RulesetParser.map_command, "element": RulesetParser.element_command, "ct": RulesetParser.object_command,
    "flowtable": RulesetParser.flowtable_command, **dict.fromkeys(OBJECT_MAPS, RulesetParser.object_command),
}  # fmt: skip


def parse(text: str, source: str = "<rules.nft>", read: Reader | None = None, lenient: bool = False) -> Ruleset:
    """Parse nft text as it stands, values as written; see canonical.py for the form in which trees are compared.

    read: returns (name, text) of the files that an include names, None: no file may be included. lenient: a rule that
    cannot be read stands in the tree as one that never matches, and in the warnings. Raises RuleError,
    which names file, line and column.
    """
    sources, tokens = tokens_of(text, source, read)
    parser = RulesetParser(sources, tokens)
    parser.listed = "# handle " in text
    ruleset = parser.run(Ruleset(source=source, lenient=lenient, warnings=sources.notes))
    if parser.listed and len(sources.names) == 1:
        take_handles(ruleset, text)
    return ruleset


def take_handles(ruleset: Ruleset, text: str) -> None:
    """Give parts the numbers that `nft -a list ruleset` prints at the ends of their lines; others take further ones."""
    listed = {n: int(m[1]) for n, line in enumerate(text.split("\n"), 1) if (m := HANDLE.search(line))}
    for table in ruleset.tables.values():
        parts: list[Chain | Set | Object | Rule] = [*table.chains.values(), *table.sets.values()]
        parts += [*table.objects.values(), *(rule for chain in table.chains.values() for rule in chain.rules)]
        for part in parts:
            part.handle = listed.pop(part.place[0], 0)
    ruleset.number()


def change(ruleset: Ruleset, text: str, source: str, read: Reader | None = None) -> Ruleset:
    """Carry out commands on a canonical rule set, as `nft -f` does on what is there; the same object is returned.

    Raises RuleError; then the rule set is half changed.
    """
    sources, tokens = tokens_of(text, source, read)
    parser = RulesetParser(sources, tokens)
    parser.changes, parser.before = True, ruleset.number()
    parser.handles = parser.before
    return parser.run(ruleset)


def parse_statement(text: str, table: Table | None = None) -> Statement:
    """Parse one statement as nft lists it: what JSON holds of those that it has no form for.

    table: where the chain goes that stands in it, if one does.
    """
    sources, tokens = tokens_of(text, "<statement>", None)
    parser = RulesetParser(sources, tokens)
    parser.ruleset, parser.home, parser.listed = Ruleset(), table or Table("ip", ""), True
    return parser.statement()
