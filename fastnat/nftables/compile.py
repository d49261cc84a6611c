"""A canonical rule set to what the core runs of it in one family.

Source: netlink_linearize.c and payload.c of nftables 1.0.6 for the expressions of a rule and the protocols that fields
ask for; nf_tables_api.c (Linux 6.18) for what the kernel refuses.
Invariants: registers begin anew with each statement; what cannot be decided is refused with its place, never left out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress

from ..addresses import V4, Family
from ..core.layout import FN_NFT_JUMPS, NftExprKind, NftLookup, NftMeta, TargetKind
from ..errors import RuleError
from ..util.memory import no_garbage
from ..util.text import excerpt
from . import elements, fields, hooks, uses
from .canonical import ABOUT_TCP, ask_tcp, family_asked, options_of
from .changes import Changes
from .emit import Device, Unsupported
from .kinds import Kinds
from .program import BESIDE, BaseChain, Origin, Pool, Program, Words, base_rows, wide_rules
from .sets import jiffies
from .state import state_row, stateful
from .timeouts import KIND as TIMEOUT
from .timeouts import MAX_POLICIES, protocol_of, timeouts_in, times_of
from .tracking import turns_tracking_on
from .tree import (
    UNREAD,
    Assign,
    Chain,
    Counter,
    CtCount,
    Dynamic,
    Element,
    Elements,
    Expression,
    Last,
    Limit,
    Log,
    Lookup,
    Match,
    Named,
    Nat,
    Notrack,
    Object,
    Other,
    Payload,
    Quota,
    Reference,
    Reject,
    Rule,
    Ruleset,
    Set,
    Statement,
    Table,
    Value,
    Verdict,
    VerdictMap,
)

VERDICTS = {
    "accept": TargetKind.ACCEPT, "drop": TargetKind.DROP, "return": TargetKind.RETURN, "jump": TargetKind.JUMP,
    "goto": TargetKind.GOTO,
}  # fmt: skip
# statements that change what becomes of a packet
CHANGING = (Assign, Nat, Notrack, Reject, Other, Dynamic)
# nft_reject_validate, nft_reject_inet_validate, nft_reject_netdev_validate
REJECT_HOOKS = ("prerouting", "input", "forward", "output", "ingress", "netdev ingress")
STATEFUL = (Counter, Limit, Quota, CtCount, Last)
# statements that change no answer of this engine
WITHOUT_EFFECT = {
    "dup": "copies are not sent here",
    "flow": "packets of a flow in a flow table pass by the rules behind ingress; here every packet meets all of them",
}  # fmt: skip
REMEDY = "take the rule out to see what the others do (fastnat check --lenient lists all such rules)"
REFUSED = {
    "queue": "a program decides, unless it says bypass", "fwd": "it takes packets out of the node's way",
    "synproxy": "it answers connections in place of a server",
    "fullcone": "it is not part of the kernel",
    "xt": "iptables-nft made it, and nft does not list what it says: give iptables-save of the same moment as rules.v4",
}  # fmt: skip


class Compiler(Changes):
    """Compiles the tables that one family sees."""

    def __init__(self, ruleset: Ruleset, iface_names: list[str], indexes: dict[int, int], family: Family) -> None:
        pool = Pool(iface_names)
        super().__init__(pool, iface_names, indexes, family)
        self.ruleset = ruleset
        self.program = Program(ruleset, {}, places=self.places, dynamic=pool.dynamic, warnings=self.warnings)
        self.bases: list[BaseChain] = []
        self.starts: dict[str, int] = {}

    def knows(
        self, dated: bool, seed: int, owners: dict[str, Mapping[str, int]], devices: Mapping[str, Device]
    ) -> Compiler:
        """Say whether there is a date, from which seed jhash draws, who has which id, and what devices are."""
        self.dated, self.draws, self.owners, self.devices = dated, random.Random(seed), owners, devices
        return self

    def run(self, iptables: set[tuple[int, int]], iptables_first: bool, twins: set[tuple[str, str]]) -> Program:
        """Compile all tables but those that iptables-save shows."""
        own = ("inet", "netdev", "ip" if self.family is V4 else "ip6")
        for key, table in self.ruleset.tables.items():
            if key in twins:
                self.program.warnings.append(
                    f"table {table.family} {table.name} of {self.ruleset.source} is that of iptables-nft: its rules "
                    "run once, as iptables-save shows them, which says more"
                )
            elif table.family in own:
                if table.family != "netdev":
                    self.program.tracking |= turns_tracking_on(table, own[2])
                    self.note_policies(table)
                if "dormant" not in table.flags:
                    self.compile_table(table)
            elif table.family in ("arp", "bridge"):
                self.leave_out(table)
        rows, self.program.bases = base_rows(self.bases, iptables, iptables_first)
        self.program.arrays = self.pool.arrays(self.family, rows if self.bases else [])
        if not self.bases:
            self.program.bases = {}
        self.program.wide = wide_rules(self.program.arrays)
        self.program.keys = {place: made.keys for place, made in enumerate(self.pool.sets) if made.keys}
        self.program.fresh = {place: made.fresh for place, made in enumerate(self.pool.sets) if made.fresh}
        self.program.snat, self.program.writes = self.snat, self.writes
        return self.program

    def leave_out(self, table: Table) -> None:
        """Say that a table of another family is left out; refuse one of bridge that may keep packets from the node."""
        for chain in table.chains.values() if table.family == "bridge" else ():
            # packets from one port to another are not the node's
            if chain.base is not None and chain.base.hook != "forward":
                self.refuse_change(table, chain)
        if any(c.base is not None and c.rules for c in table.chains.values()):
            self.program.warnings.append(
                f"table {table.family} {table.name} is left out: packets here begin behind the rules of that family"
            )

    def refuse_change(self, table: Table, chain: Chain) -> None:
        """Refuse a chain of bridge with rules that drop packets or change them."""
        way, seen = [chain], {chain.name}
        while way:
            here = way.pop()
            for rule in here.rules:
                if any(isinstance(s, CHANGING) or s == Verdict("drop") for s in rule.statements):
                    why = "it may drop or change packets before the rules of IP, and bridges are not modelled"
                    self.refuse(self.error(table, here, rule, why))
                named = [table.chains[t] for t in targets_of(table, rule) if t in table.chains and t not in seen]
                seen |= {c.name for c in named}
                way += named
        if chain.base is not None and chain.base.policy == "drop":
            self.refuse(self.error(table, chain, None, "its policy is drop, and bridges are not modelled"))

    def compile_table(self, table: Table) -> None:
        """Compile the chains that packets can reach."""
        self.enter(table, self.verdict_words)
        reached = self.reachable(table)
        self.starts, at = {}, len(self.pool.rules)
        for name in reached:
            self.starts[name] = at
            at += len(table.chains[name].rules) + 1
        at_devices = []
        for chain in table.chains.values():
            b = chain.base
            if b is not None and b.hook in hooks.INET:
                self.bases.append(BaseChain(b.hook, b.type, b.priority, b.policy, self.starts[chain.name], chain.made))
                self.program.nat |= b.type == "nat"
            elif b is not None and b.hook in hooks.OF_DEVICE:
                at_devices.append(chain)
        for name, chain in table.chains.items():
            if name in reached:
                continue
            for rule in chain.rules:
                missing = next(uses.missing(table, rule), None)
                if missing is not None:
                    self.refuse(self.error(table, chain, rule, missing))
        for name in reached:
            self.compile_chain(table, table.chains[name], reached[name])
        for chain in at_devices:
            self.compile_guard(table, chain)
        self.keep_unused(table)
        for name, place in self.named.items():
            self.program.sets[table.family, table.name, name] = place

    def note_policies(self, table: Table) -> None:
        """Make the rows of the timeout policies of a table: connections keep theirs, whether rules name it or not."""
        for made in table.objects.values():
            if made.kind != TIMEOUT:
                continue
            # of a rule set that is read leniently: rules that name it never match
            with suppress(ValueError):
                self.pool.policies.append(timeouts_in(made))
                self.program.policies[table.family, table.name, made.name] = len(self.pool.policies) - 1
        if len(self.pool.policies) > MAX_POLICIES:
            many = f"{len(self.pool.policies)} {TIMEOUT} objects: up to {MAX_POLICIES} are supported"
            raise RuleError(f"{self.ruleset.source}: {many}")

    def keep_unused(self, table: Table) -> None:
        """Make what remembers and is named by no rule: the next rules may name it."""
        for made in table.objects.values():
            if made.kind in ("counter", "quota", "limit"):
                self.object_state(made)
        for named in table.sets.values():
            if named.name not in self.named and {"dynamic", "timeout"} & set(named.flags):
                with suppress(ValueError, Unsupported):
                    self.named_set(named)

    def reachable(self, table: Table) -> dict[str, set[str]]:
        """Return the chains that base chains lead to, each with the hooks from which it is reached."""
        found: dict[str, set[str]] = {}
        depths: dict[str, int] = {}
        ways = {name: [(r, t) for r in c.rules for t in targets_of(table, r)] for name, c in table.chains.items()}

        def visit(chain: Chain, hook: str, way: tuple[str, ...]) -> None:
            if chain.name in way:
                raise self.error(
                    table, chain, None, f"chain {chain.name} leads back to itself: {' '.join((*way, chain.name))}"
                )
            if len(way) > FN_NFT_JUMPS:
                raise self.error(
                    table,
                    chain,
                    None,
                    f"more than {FN_NFT_JUMPS} jumps lead to chain {chain.name}, which the kernel refuses",
                )
            if hook in found.setdefault(chain.name, set()) and depths[chain.name] >= len(way):
                return
            found[chain.name].add(hook)
            depths[chain.name] = max(depths.get(chain.name, 0), len(way))
            longer = (*way, chain.name)
            for rule, target in ways[chain.name]:
                if target not in table.chains:
                    raise self.error(table, chain, rule, f"no chain {target} in table {table.family} {table.name}")
                visit(table.chains[target], hook, longer)

        for chain in table.chains.values():
            if chain.base is not None and (chain.base.hook in hooks.INET or chain.base.hook in hooks.OF_DEVICE):
                visit(chain, f"{chain.base.type} {chain.base.hook}", ())
        return found

    def error(
        self, table: Table, chain: Chain, rule: Rule | None, why: str, place: tuple[int, int] = (0, 0)
    ) -> RuleError:
        """Return an error that names the place."""
        line, column = place if place != (0, 0) else rule.place if rule is not None else chain.place
        where = (
            f"{self.ruleset.source}:{line}:{column}"
            if line
            else f"{self.ruleset.source}: table {table.family} {table.name}, chain {chain.name}"
        )
        return RuleError(
            f"{where}: {why}" + (f"\n  in: {excerpt(rule.text)}" if rule is not None and rule.text else "")
        )

    def compile_chain(self, table: Table, chain: Chain, reached: set[str]) -> None:
        """Append the rules of a chain, and its end."""
        for number, rule in enumerate(chain.rules):
            self.begin_rule((table.family, table.name, chain.name, number), reached)
            if not self.answers(table, rule):
                self.begin_statement(0)
                self.never()
                self.end_rule(Origin(table, chain, rule))
                continue
            for n, statement in enumerate(rule.statements):
                self.begin_statement(n)
                try:
                    resets = isinstance(statement, Reject) and statement.kind == "tcp reset"
                    # nothing says it where it is left out as in listings of nft
                    if resets and not ask_tcp(rule.statements[:n]):
                        self.match(ABOUT_TCP)
                    if not self.statement(statement):
                        break
                except (ValueError, Unsupported) as error:
                    place = rule.places[n] if n < len(rule.places) else rule.place
                    why = str(error)
                    if isinstance(error, Unsupported) and ";" not in why:
                        why = f"{why}; {REMEDY}"
                    self.refuse(self.error(table, chain, rule, why, place))
                    break
            self.end_rule(Origin(table, chain, rule))
        self.begin_rule((), reached)
        self.emit(NftExprKind.VERDICT, a=TargetKind.CHAIN_END)
        self.end_rule(Origin(table, chain, None))

    def answers(self, table: Table, rule: Rule) -> bool:
        """Tell whether a rule may hold for this family.

        One that rejects by ICMP of the other asks first which it is, and so does one with an extension header of IPv6
        or an option of IPv4 in a table of both families: in front of all that it says (expr_evaluate_exthdr).
        """
        other = "icmpv6" if self.family is V4 else "icmp"
        if any(type(s) is Reject and s.kind == other for s in rule.statements):
            return False
        if table.family != "inet":
            return True
        of_other = "exthdr" if self.family is V4 else "ip"
        for s in rule.statements:
            if family_asked(s):
                return True
            if any(x.kind == of_other for x in options_of(s)):
                return False
        return True

    def refuse(self, error: RuleError) -> None:
        """Raise an error; of a rule set that is read leniently the rule never matches, and is named."""
        if not self.ruleset.lenient:
            raise error from None
        said = f"never matches: {str(error).splitlines()[0]}"
        if said not in self.ruleset.warnings:
            self.ruleset.warnings.append(said)
        self.code = []
        self.begin_statement(0)
        self.never()

    def compile_guard(self, table: Table, chain: Chain) -> None:
        """Append the base chain that leads packets of the devices of a chain to it."""
        b = chain.base
        assert b is not None
        before = b.hook == "ingress"
        priority = b.priority + (-BESIDE if before else BESIDE)
        hook = hooks.OF_DEVICE[b.hook]
        self.bases.append(BaseChain(hook, b.type, priority, b.policy, len(self.pool.rules), chain.made))
        origin = Origin(table, chain, None, guard=True)
        for device in b.devices:
            self.begin_rule((), set())
            self.begin_statement(0)
            try:
                number = self.iface_number(device)
            except ValueError as error:
                self.refuse(self.error(table, chain, None, str(error)))
            else:
                register = self.allocate(1)
                self.emit(NftExprKind.META, dreg=register, a=NftMeta.IIF if before else NftMeta.OIF)
                self.emit(NftExprKind.CMP, sreg=register, a=number)
                self.emit(NftExprKind.VERDICT, a=TargetKind.GOTO, b=self.starts[chain.name])
            self.end_rule(origin)
        self.begin_rule((), set())
        self.emit(NftExprKind.VERDICT, a=TargetKind.ACCEPT)
        self.end_rule(origin)

    def end_rule(self, origin: Origin) -> None:
        """Append the rule at hand."""
        self.pool.rules.append((len(self.pool.exprs), len(self.code)))
        self.pool.exprs += self.code
        self.program.origin.append(origin)

    def statement(self, s: Statement) -> bool:
        """Compile a statement; return whether those behind it can be met."""
        if isinstance(s, Match):
            return self.match(s)
        if isinstance(s, Verdict):
            return self.verdict(s)
        if isinstance(s, VerdictMap):
            return self.verdict_map(s)
        if isinstance(s, STATEFUL):
            self.stateful(s)
        elif isinstance(s, Reference):
            return self.reference(s)
        elif isinstance(s, Nat):
            return self.nat(s)
        elif isinstance(s, Assign):
            return self.assign(s)
        elif isinstance(s, Reject):
            self.reject(s)
            return False
        elif isinstance(s, Dynamic):
            return self.dynamic(s)
        elif isinstance(s, Notrack):
            self.emit(NftExprKind.NOTRACK)
        elif isinstance(s, Other) and s.name == "reset tcp option":
            return self.strip(s)
        elif isinstance(s, Other) and s.name == UNREAD:
            return self.never()
        elif isinstance(s, Other) and s.name == "tproxy":
            return self.tproxy(s)
        elif isinstance(s, Other) and s.name == "queue" and "bypass" in s.words[1].split(","):
            self.note("queue", "packets pass, as the kernel lets them where no program listens (bypass)")
            self.emit(NftExprKind.VERDICT, a=TargetKind.ACCEPT)
            return False
        elif isinstance(s, Other):
            self.other(s)
        elif not isinstance(s, Log):
            raise Unsupported(f"{type(s).__name__.lower()} is not supported")
        return True

    def strip(self, s: Other) -> bool:
        """Compile `reset tcp option`: NOPs take its place."""
        name = s.words[0]
        if name not in fields.TCP_OPTIONS and not name.isdecimal():
            raise Unsupported(f"tcp option {name} is not supported")
        if not self.needs(Payload("tcp", "flags")):
            return self.never()
        self.emit(NftExprKind.STRIP, a=fields.TCP_OPTIONS[name][0] if name in fields.TCP_OPTIONS else int(name))
        return True

    def other(self, s: Other) -> None:
        """Take a statement that changes nothing here, or refuse it by its name."""
        if s.name not in WITHOUT_EFFECT:
            why = REFUSED.get(s.name.split(" ")[0], REFUSED.get(s.name, ""))
            raise Unsupported(f"{s.name} is not supported{': ' + why if why else ''}")
        self.note(s.name, WITHOUT_EFFECT[s.name])

    def tproxy(self, s: Other) -> bool:
        """Compile `tproxy`: the packet goes to a proxy on the node, if its route leads there."""
        self.only_in("tproxy", "prerouting")
        if self.reached != {"filter prerouting"}:
            raise Unsupported("tproxy in a chain of type nat, which sees first packets alone, is not supported")
        if s.words[0] in ("ip", "ip6") and s.words[0] != ("ip" if self.family is V4 else "ip6"):
            return self.never()
        self.note("tproxy", "a proxy is taken to listen where the rules send packets")
        self.emit(NftExprKind.TPROXY)
        return True

    def verdict(self, v: Verdict) -> bool:
        """Compile a verdict; `continue` says nothing."""
        if v.kind == "continue":
            return True
        kind, chain = self.verdict_words(v)
        self.emit(NftExprKind.VERDICT, a=kind, b=chain)
        return False

    def verdict_words(self, x: Expression | None) -> tuple[int, int]:
        """Return a verdict as two words: TARGET_*, and the first rule of the chain that it leads to."""
        if not isinstance(x, Verdict):
            raise ValueError("a verdict map says verdicts alone")
        if x.kind == "continue":
            return 0, 0
        if x.chain and self.table.chains[x.chain].base is not None:
            raise ValueError(f"chain {x.chain} is a base chain, to which no rule can {x.kind}")
        return int(VERDICTS[x.kind]), self.starts[x.chain] if x.chain else 0

    def verdict_map(self, s: VerdictMap) -> bool:
        """Compile a look-up in a verdict map."""
        loaded = self.load(s.key)
        if loaded is None:
            return self.never()
        loaded = self.as_asked(loaded, s.table)
        chosen = self.in_turn(s.table, loaded.kinds)
        if chosen:
            self.emit(NftExprKind.CHOOSE, sreg=loaded.register, a=self.pool.constant(chosen), b=len(chosen) // 2)
            return True
        place = self.set_of(s.table, loaded.kinds, verdicts=True)
        self.emit(NftExprKind.LOOKUP, sreg=loaded.register, a=place, b=NftLookup.VERDICT)
        return True

    def in_turn(self, x: Elements | Named, kinds: Kinds) -> Words:
        """Return the verdicts of an anonymous map of 0, 1, 2 and so on, in this order; of any other nothing."""
        if not isinstance(x, Elements) or len(kinds) > 1 or kinds[0].words > 1:
            return ()
        said: dict[int, Words] = {}
        for e in x.items:
            if not isinstance(e.key, Value):
                return ()
            low, high = self.bounds(e.key, kinds[0])
            if low != high or low in said:
                return ()
            said[low] = self.verdict_words(e.data)
        if sorted(said) != list(range(len(said))):
            return ()
        return tuple(word for n in range(len(said)) for word in said[n])

    def stateful(self, s: Counter | Limit | Quota | CtCount | Last) -> None:
        """Compile what remembers."""
        state = self.pool.state(**state_row(s))
        self.program.places[(*self.rule_key, self.statement_number)] = state
        self.emit_stateful(s, state)

    def emit_stateful(self, s: Statement, state: int) -> None:
        """Append the expression of what remembers."""
        kind, b, c = stateful(s)
        if isinstance(s, CtCount):
            self.needs_conntrack("ct count")
            self.pool.counts = True
        self.emit(kind, a=state, b=b, c=c)

    def object_of(self, kind: str, name: str) -> Object:
        """Return a named object; ValueError where there is none."""
        made = self.table.objects.get((kind, name))
        if made is None:
            known = ", ".join(n for k, n in self.table.objects if k == kind) or "none"
            raise ValueError(f"no {kind} {name} in table {self.table.family} {self.table.name}; there are: {known}")
        return made

    def object_state(self, made: Object) -> int:
        """Return the state of a named counter, quota or limit, which all rules share."""
        key = self.table.family, self.table.name, made.kind, made.name
        if key not in self.program.places:
            assert made.says is not None
            self.program.places[key] = self.pool.state(**state_row(made.says))
        return self.program.places[key]

    def object_data(self, e: Element, kind: str) -> tuple[int, ...]:
        """Return the place of the expression of the object that an element of a map names."""
        if not isinstance(e.data, Value):
            raise ValueError(f"a map of {kind} says names of objects")
        made = self.object_of(kind, e.data.text)
        if kind == "ct helper":
            self.pool.exprs.append((int(NftExprKind.SET_HELPER), 1, 0, 0, *self.helper(made), 0))
            return (len(self.pool.exprs) - 1,)
        if kind == TIMEOUT:
            self.pool.exprs.append((int(NftExprKind.SET_TIMEOUT), 1, 0, 0, *self.policy(made), 0))
            return (len(self.pool.exprs) - 1,)
        assert made.says is not None
        row, b, c = stateful(made.says)
        self.pool.exprs.append((int(row), 1, 0, 0, self.object_state(made), b, c))
        return (len(self.pool.exprs) - 1,)

    def reference(self, s: Reference) -> bool:
        """Compile the use of a named object."""
        if isinstance(s.name, Lookup):
            if s.kind not in ("counter", "quota", "limit", "ct helper", TIMEOUT):
                raise Unsupported(f"{s.kind} from a map is not supported")
            loaded = self.load(s.name.key)
            if loaded is None:
                return self.never()
            place = self.set_of(s.name.table, loaded.kinds, objects=s.kind)
            self.emit(NftExprKind.LOOKUP, sreg=loaded.register, dreg=0, a=place, b=NftLookup.MAP)
            self.emit(NftExprKind.OBJECT, sreg=0)
            return True
        if not isinstance(s.name, Value):
            raise Unsupported(f"{s.kind} by such a name is not supported")
        made = self.object_of(s.kind, s.name.text)
        if s.kind in ("counter", "quota", "limit"):
            assert made.says is not None
            self.emit_stateful(made.says, self.object_state(made))
        elif s.kind == "ct helper":
            kind, protocol = self.helper(made)
            if kind:
                self.emit(NftExprKind.SET_HELPER, a=kind, b=protocol)
        elif s.kind == TIMEOUT:
            row, protocol = self.policy(made)
            self.emit(NftExprKind.SET_TIMEOUT, a=row, b=protocol)
        else:
            raise Unsupported(f"{s.kind} is not supported")
        return True

    def policy(self, made: Object) -> tuple[int, int]:
        """Return the row of timeouts that `ct timeout set` names, and its protocol; ValueError for what nft refuses."""
        times_of(made)
        return self.program.policies[self.table.family, self.table.name, made.name], protocol_of(made)

    def helper(self, made: Object) -> tuple[int, int]:
        """Return which helper `ct helper set` names, 0 if there is none here, and its protocol."""
        words = dict(made.words)
        kind, protocol = self.helper_code(words.get("type", "")), 17 if words.get("protocol") == "udp" else 6
        if kind:
            self.program.helpers = True
            return kind, protocol
        kind_of = words.get("type")
        said = f"ct helper {made.name}: there is no helper {kind_of!r} here: what it would announce is not expected"
        if said not in self.program.warnings:
            self.program.warnings.append(said)
        return 0, protocol

    def reject(self, s: Reject) -> None:
        """Compile a reject: the packet is dropped; the answer to it is not shown."""
        self.only_in("reject", *REJECT_HOOKS)
        self.emit(NftExprKind.VERDICT, a=TargetKind.REJECT)

    def dynamic(self, s: Dynamic) -> bool:
        """Compile `update @set { ... }`."""
        named = self.changed_set(s)
        key, data = self.kinds_of_set(named)
        loaded = self.load(s.element.key, key)
        if loaded is None:
            return self.never()
        if self.carried.get(s.table, s.element.statements) != s.element.statements and s.element.statements:
            raise Unsupported(
                f"rules add elements to {s.table} that carry different statements; give each of them a set of its own"
            )
        carried = self.carried_by(s, named)
        why = elements.no_count(named, carried)
        if why:
            raise ValueError(why)
        place = self.named_set(named, carried)
        operation = {"add": 0, "update": 1, "delete": 2, "meter": 1}[s.op]
        dreg = 0
        if s.element.data is not None and s.op != "delete":
            said = self.load(s.element.data, data)
            if said is None:
                return self.never()
            dreg, operation = said.register, operation | 1 << 8
        timeout = jiffies(s.element.timeout)
        if timeout and "timeout" not in named.flags and s.op != "meter":
            raise ValueError(f"set {s.table} has no `flags timeout`, so the kernel refuses a timeout of its elements")
        self.emit(NftExprKind.DYNSET, sreg=loaded.register, dreg=dreg, words=0, a=place, b=operation, c=timeout)
        return True

    def changed_set(self, s: Dynamic) -> Set:
        """Return the set that a statement changes; a meter makes its own."""
        if s.op == "meter" and s.table not in self.table.sets:
            self.table.sets[s.table] = Set(
                s.table,
                typeof=s.element.key,
                flags=("dynamic",),
                size=s.size,
                statements=s.element.statements,
                meter=True,
            )
        if s.table not in self.table.sets:
            known = ", ".join(self.table.sets) or "none"
            raise ValueError(
                f"no set or map {s.table} in table {self.table.family} {self.table.name}; there are: {known}"
            )
        named = self.table.sets[s.table]
        if "constant" in named.flags or "interval" in named.flags:
            flag = "constant" if "constant" in named.flags else "interval"
            raise ValueError(f"{s.table} has the flag {flag}, so no rule can change it")
        return named

    def carried_by(self, s: Dynamic, named: Set) -> tuple[Statement, ...]:
        """Return what the elements that a statement adds carry."""
        return s.element.statements or named.statements

    def match(self, m: Match) -> bool:
        """Compile a comparison; see loader.py."""
        return self.compare(m)


def targets_of(table: Table, rule: Rule) -> list[str]:
    """Return the chains to which a rule leads, those of named maps included."""
    found: list[str] = []
    for s in rule.statements:
        if type(s) is Verdict:
            if s.chain:
                found.append(s.chain)
        elif type(s) is VerdictMap:
            named = getattr(s.table, "name", None)
            items = table.sets[named].elements if named in table.sets else getattr(s.table, "items", ())
            found += [e.data.chain for e in items if isinstance(e.data, Verdict) and e.data.chain]
    return list(dict.fromkeys(found)) if len(found) > 1 else found


def compile_ruleset(
    ruleset: Ruleset,
    iface_names: list[str],
    indexes: dict[int, int],
    family: Family = V4,
    iptables: set[tuple[int, int]] | None = None,
    iptables_first: bool = False,
    *,
    dated: bool = True,
    seed: int = 0,
    twins: set[tuple[str, str]] | None = None,
    owners: dict[str, Mapping[str, int]] | None = None,
    devices: Mapping[str, Device] | None = None,
) -> Program:
    """Compile a canonical rule set for one family of a node.

    indexes: numbers of interfaces by the index that the kernel gives them; iptables: (table, hook) of the iptables
    rules beside it; iptables_first: those were loaded before these; dated: the engine has a date; seed: jhash draws
    from it the seeds that rules do not give; twins: the tables that run as rules of iptables;
    owners: ids by name, of users as "uid" and of groups as "gid"; devices: what is known of interfaces, by name.
    Raises RuleError, which names the place, for what is not supported and what the kernel would refuse.
    """
    with no_garbage():
        compiler = Compiler(ruleset, iface_names, indexes, family).knows(dated, seed, owners or {}, devices or {})
        return compiler.run(iptables or set(), iptables_first, twins or set())
