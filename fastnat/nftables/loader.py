"""Expressions to registers, and comparisons.

Source: netlink_linearize.c and payload.c of nftables 1.0.6: a field asks for the protocol of its header, unless the
rule has asked for it already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..addresses import V4
from ..core.layout import (
    NftBase,
    NftBoolean,
    NftCmp,
    NftCt,
    NftExprKind,
    NftFib,
    NftLookup,
    NftMeta,
    NftRt,
)
from . import fields
from .canonical import ACCOUNTS, FAMILY_NUMBERS, TYPES_WITH, implied_by, is_bare_address, may_imply, says_type
from .datatypes import IFACE, INDEX, LINK_TYPES, TYPES
from .emit import Alike, Unsupported
from .hooks import INET
from .kinds import Kinds
from .lookups import Lookups
from .program import words_of
from .tree import (
    Concat,
    Ct,
    Element,
    Elements,
    Expression,
    Fib,
    Hash,
    Listed,
    Lookup,
    Match,
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
    Value,
)

COMPARISONS = {
    "==": NftCmp.EQ, "!=": NftCmp.NEQ, "<": NftCmp.LT, "<=": NftCmp.LTE, ">": NftCmp.GT, ">=": NftCmp.GTE,
}  # fmt: skip
METAS = {
    "length": NftMeta.LEN, "mark": NftMeta.MARK, "iif": NftMeta.IIF, "oif": NftMeta.OIF, "iifname": NftMeta.IIFNAME,
    "oifname": NftMeta.OIFNAME, "pkttype": NftMeta.PKTTYPE, "l4proto": NftMeta.L4PROTO, "random": NftMeta.RANDOM,
    "skuid": NftMeta.SKUID, "skgid": NftMeta.SKGID,
    "priority": NftMeta.PRIORITY, "cgroup": NftMeta.CGROUP, "time": NftMeta.TIME, "day": NftMeta.DAY,
    "hour": NftMeta.HOUR,
}  # fmt: skip
CTS = {
    "state": NftCt.STATE, "direction": NftCt.DIRECTION, "status": NftCt.STATUS, "mark": NftCt.MARK,
    "expiration": NftCt.EXPIRATION, "helper": NftCt.HELPER, "protocol": NftCt.PROTOCOL, "saddr": NftCt.SRC,
    "daddr": NftCt.DST, "proto-src": NftCt.PROTO_SRC, "proto-dst": NftCt.PROTO_DST, "zone": NftCt.ZONE,
    "packets": NftCt.PKTS, "bytes": NftCt.BYTES, "avgpkt": NftCt.AVGPKT,
}  # fmt: skip
OF_IPV4, OF_IPV6 = ("ip", "icmp", "igmp"), ("ip6", "icmpv6")
# what is known of an interface: see Device of emit.py
TRAITS = {"group": 0, "type": 1, "kind": 2}
UNKNOWN_CT = {"label": "connections carry no labels here", "id": "the kernel draws it"}
DATES = ("time", "day", "hour")
# chains at a device, as Emitter.reached names them; ARPHRD_ETHER; bits of a frame in front of its packet
AT_EGRESS = "filter egress"
AT_DEVICE = {"filter ingress", AT_EGRESS}
ETHERNET, FRAME_BITS = 1, 112
TRANSPARENT = Socket(("socket", "transparent"))
# where the kernel takes what asks for a socket, for its system, for the policy of IPsec that a packet came through, for
# an answer of the routing table (nft_fib_validate), and for an MSS (nft_rt_validate)
SOCKET_HOOKS = ("prerouting", "input", "output")
SYSTEM_HOOKS = ("prerouting", "input", "forward")
CAME_HOOKS = (*SYSTEM_HOOKS, "netdev ingress")
LEAVES_HOOKS = ("forward", "output", "postrouting")
FIB_HOOKS = (*INET, "netdev ingress", "netdev egress")
# keys of meta that rules read in some hooks alone (nft_meta_get_validate)
NOWHERE_ELSE: dict[str, tuple[str, ...]] = {
    "ipsec": CAME_HOOKS, "nftrace": (), "sdif": ("input", "forward"), "sdifname": ("input", "forward"),
}  # fmt: skip
# of packets and bytes: both directions together
BOTH = 2


@dataclass(frozen=True)
class Loaded:
    """Where an expression was loaded to, and its types."""

    register: int
    kinds: Kinds

    @property
    def words(self) -> int:
        """Registers that it takes."""
        return sum(k.words for k in self.kinds)


class Loader(Lookups):
    """Loads expressions into registers and compares them."""

    def load(self, x: Expression, hint: Kinds = ()) -> Loaded | None:
        """Load an expression; None: no packet of this family has it. hint: the types of its other side."""
        if isinstance(x, Concat):
            return self.load_concat(x, hint)
        kinds = self.kinds(x) or hint
        if isinstance(x, (Value, Listed)):
            if len(kinds) != 1:
                raise ValueError("a value without a type")
            return Loaded(self.immediate(self.bounds(x, kinds[0])[0], kinds[0]), kinds)
        if isinstance(x, Operation):
            return self.load_operation(x, kinds)
        if isinstance(x, Lookup):
            return self.load_lookup(x, kinds)
        loader = LOADERS.get(type(x))
        if loader is None:
            raise Unsupported(f"{type(x).__name__.lower()} cannot stand here")
        register = self.allocate(sum(k.words for k in kinds))
        return Loaded(register, kinds) if loader(self, x, register) else None

    def load_concat(self, x: Concat, hint: Kinds) -> Loaded | None:
        """Load values side by side, into registers side by side."""
        parts: list[Loaded] = []
        for n, item in enumerate(x.items):
            hinted = hint[n : n + 1] if len(hint) == len(x.items) else ()
            loaded = self.load(item, hinted)
            if loaded is None:
                return None
            parts.append(loaded)
        first, kinds = parts[0].register, tuple(k for p in parts for k in p.kinds)
        at = first
        if any(p.register != at + sum(q.words for q in parts[:n]) for n, p in enumerate(parts)):
            at = self.allocate(sum(p.words for p in parts))
            for n, p in enumerate(parts):
                self.copy(at + sum(q.words for q in parts[:n]), p)
        return Loaded(at, kinds)

    def copy(self, to: int, loaded: Loaded) -> None:
        """Copy registers."""
        place = self.pool.constant((0xFFFFFFFF,) * loaded.words + (0,) * loaded.words)
        self.emit(NftExprKind.BITWISE, loaded.words, dreg=to, sreg=loaded.register, a=place)

    def load_payload(self, x: Payload, register: int) -> bool:
        """Load a field of a header, once its protocol is asked for."""
        if x.protocol in fields.LINK:
            return self.load_frame(x, register)
        asked, number = self.known.get("l4", ""), fields.L4_PROTOCOLS.get(x.protocol)
        if number is not None and asked.isdecimal() and asked != str(number):
            named = fields.L4_NAMES.get(int(asked), asked)
            raise ValueError(f"conflicting protocols specified: {named} vs. {x.protocol}, as nft says")
        if not self.needs(x):
            return False
        self.needs_type(x)
        field = fields.HEADERS[x.protocol][x.field]
        base = NftBase.NETWORK if x.protocol in fields.NETWORK else NftBase.TRANSPORT
        self.load_bits(base, field.offset, field.bits, register)
        return True

    def load_frame(self, x: Payload, register: int) -> bool:
        """Load a field of the frame around the packet, which nft looks for on devices of Ethernet alone."""
        if x.protocol == "arp":
            raise Unsupported(f"arp {x.field}: packets here are those of IP")
        if x.protocol == "vlan":
            if self.reached & AT_DEVICE:
                raise Unsupported(f"vlan {x.field}: frames here have lost their tags in front of chains at a device")
            # the device of a VLAN takes the tag off, and frames of one that has no device do not reach IP
            return False
        if "frame" not in self.known:
            kind = self.allocate(1)
            self.load_trait(Meta("oiftype" if self.leaves() else "iiftype"), kind)
            self.emit(NftExprKind.CMP, sreg=kind, a=ETHERNET)
            self.known["frame"] = "ether"
        field = fields.HEADERS[x.protocol][x.field]
        self.load_bits(NftBase.LINK, field.offset, field.bits, register)
        return True

    def leaves(self) -> bool:
        """Tell whether packets have left the node where the rule stands; Unsupported if some have, and others not."""
        if AT_EGRESS not in self.reached:
            return False
        if len(self.reached) > 1:
            raise Unsupported("a chain that both ingress and egress lead to; give each its own")
        return True

    def load_raw(self, x: Raw, register: int) -> bool:
        """Load bits of the packet by their place."""
        bases = {"ll": NftBase.LINK, "nh": NftBase.NETWORK, "th": NftBase.TRANSPORT}
        if x.base not in bases:
            raise Unsupported(f"@{x.base}: packets here have no such header")
        if x.base == "ll" and x.offset + x.length > FRAME_BITS:
            raise Unsupported(
                f"@ll: bits {x.offset} to {x.offset + x.length} reach behind the type of a frame; see @nh"
            )
        self.load_bits(bases[x.base], x.offset, x.length, register)
        return True

    def load_bits(self, base: NftBase, offset: int, bits: int, register: int) -> None:
        """Load bits: whole bytes, then a mask and a shift where they are parts of them."""
        first, last = offset // 8, (offset + bits - 1) // 8
        n, words = last - first + 1, (bits + 31) // 32
        if (n + 3) // 4 != words:
            raise Unsupported(f"{bits} bits from bit {offset} on are not supported")
        if base == NftBase.LINK:
            self.emit(NftExprKind.FRAME, words, dreg=register, sreg=int(self.leaves()), b=first, c=n)
        else:
            self.emit(NftExprKind.PAYLOAD, words, dreg=register, a=base, b=first, c=n)
        if bits < 8 * n and words > 1:
            raise Unsupported(f"{bits} bits from bit {offset} on are not supported")
        self.narrow(register, offset, bits, n)

    def narrow(self, register: int, offset: int, bits: int, size: int) -> None:
        """Keep the bits that were asked for of the bytes that hold them, and move them to the right."""
        if bits == 8 * size:
            return
        right = 8 * size - offset % 8 - bits
        place = self.pool.constant((((1 << bits) - 1) << right, 0))
        self.emit(NftExprKind.BITWISE, dreg=register, sreg=register, a=place)
        if right:
            self.emit(NftExprKind.SHIFT, dreg=register, sreg=register, b=right)

    def needs(self, x: Payload) -> bool:
        """Ask for the protocol of a field, unless the rule has; return whether packets of this family can have it."""
        of_one = self.table.family in ("ip", "ip6")
        if x.protocol in fields.NETWORK and of_one and x.protocol != self.table.family:
            raise ValueError(
                f"{x.protocol} {x.field}: conflicting protocols specified: {self.table.family} vs. {x.protocol}, as "
                "nft says"
            )
        # of ICMP, a table of one family asks for the number alone
        other = OF_IPV6 if self.family is V4 else OF_IPV4
        if x.protocol in other and not of_one:
            return False
        if x.protocol in FAMILY_NUMBERS:
            self.known["l3"] = FAMILY_NUMBERS[x.protocol]
        number = fields.L4_PROTOCOLS.get(x.protocol)
        if number is not None and self.known.get("l4") != str(number):
            register = self.allocate(1)
            self.emit(NftExprKind.META, dreg=register, a=NftMeta.L4PROTO)
            self.emit(NftExprKind.CMP, sreg=register, a=number)
            self.known["l4"] = str(number)
        return True

    def needs_type(self, x: Payload) -> None:
        """Ask for the type of ICMP that a field stands in, unless the rule has."""
        types = TYPES_WITH.get((x.protocol, x.field), ())
        if len(types) != 1 or "icmp" in self.known:
            return
        register = self.allocate(1)
        self.emit(NftExprKind.PAYLOAD, dreg=register, a=NftBase.TRANSPORT, b=0, c=1)
        number = fields.HEADERS[x.protocol]["type"].type.number(types[0])
        self.emit(NftExprKind.CMP, sreg=register, a=number)
        self.known["icmp"] = types[0]

    def load_meta(self, x: Meta, register: int) -> bool:
        """Load a key of meta; what is the same for all packets of a family is a constant."""
        constants = {
            "nfproto": 2 if self.family is V4 else 10,
            "protocol": 0x0800 if self.family is V4 else 0x86DD,
        }
        # the engine is one CPU, number 0
        constants |= {"ipsec": 0, "cpu": 0}
        if x.key in NOWHERE_ELSE:
            self.only_in(f"meta {x.key}", *NOWHERE_ELSE[x.key])
        if x.key in ("iif", "iifname") and self.leaves():
            # a chain at egress is told the device that the packet leaves by alone
            words = fields.META[x.key].words
            a = 0 if words == 1 else self.pool.constant((0,) * words)
            self.emit(NftExprKind.IMMEDIATE, words, dreg=register, a=a)
        elif x.key[:3] in ("iif", "oif") and x.key[3:] in TRAITS:
            if x.key[0] == "i" and self.leaves():
                if x.key != "iiftype":
                    return False
                x = Meta("oiftype")
            self.load_trait(x, register)
        elif x.key in constants:
            self.emit(NftExprKind.IMMEDIATE, dreg=register, a=constants[x.key])
        elif x.key == "rtclassid":
            return self.load_realm(f"meta {x.key}", register)
        elif x.key in DATES and not self.dated:
            raise Unsupported(f"meta {x.key} asks for a date; give Engine(epoch=...), or --epoch")
        elif x.key in METAS:
            if x.key == "cgroup":
                self.note("meta cgroup", "what the node sends is taken to be in class 0, as whoever is in none")
            self.emit(NftExprKind.META, words=fields.META[x.key].words, dreg=register, a=METAS[x.key])
        else:
            raise Unsupported(f"meta {x.key} is not supported: packets here do not have it")
        return True

    def load_trait(self, x: Meta, register: int) -> None:
        """Load what an interface is; one of which that is not known, and a packet without one, end the rule."""
        at, kind = TRAITS[x.key[3:]], fields.META[x.key]
        known = {name: device[at] for name, device in self.devices.items()}
        if at == TRAITS["kind"] and None in known.values():
            raise Unsupported(
                f"meta {x.key}: addr.json does not say of which kind interfaces are; make it with `ip -j -d addr`"
            )
        elements = []
        for name, said in known.items():
            number = LINK_TYPES.get(said or "") if at == TRAITS["type"] else said
            if at == TRAITS["group"] and said != "default" and not (said or "").isdecimal():
                raise Unsupported(f"meta {x.key}: the number of group {said!r} is not known; let `ip -N` print it")
            if number not in (None, ""):
                elements.append(Element(Value(name), Value(str(number))))
        index = self.allocate(1)
        of = {"iiftype": NftMeta.DEVICE}.get(x.key, NftMeta.IIF if x.key[0] == "i" else NftMeta.OIF)
        self.emit(NftExprKind.META, dreg=index, a=of)
        place, _ = self.map_of(Elements(tuple(elements)), (IFACE,), (kind,))
        self.emit(NftExprKind.LOOKUP, sreg=index, dreg=register, a=place, b=NftLookup.MAP)

    def as_index(self, loaded: Loaded, swapped: bool = False) -> Loaded:
        """Turn the numbers that interfaces have in the node into the indexes that the kernel gives them.

        swapped: whose first byte is the last, as they lie in a register of a little-endian kernel.
        """
        if IFACE not in loaded.kinds:
            return loaded
        known = {0: 0} | {number: index for index, number in self.indexes.items()}
        if swapped:
            known = {number: int.from_bytes(index.to_bytes(4, "little"), "big") for number, index in known.items()}
        names = {number: name for name, number in self.ifaces.items()}
        elements = [Element(Value(names.get(number, "0")), Value(str(index))) for number, index in known.items()]
        at = loaded.register
        for kind in loaded.kinds:
            if kind == IFACE:
                place, _ = self.map_of(Elements(tuple(elements)), (IFACE,), (TYPES["mark"],))
                self.emit(NftExprKind.LOOKUP, sreg=at, dreg=at, a=place, b=NftLookup.MAP)
            at += kind.words
        return Loaded(loaded.register, tuple(INDEX if kind == IFACE else kind for kind in loaded.kinds))

    def as_asked(self, loaded: Loaded, x: Expression) -> Loaded:
        """Return as_index of what is compared with x, or looked up in it, if it has ranges."""
        return self.as_index(loaded) if has_ranges(x) else loaded

    def load_ct(self, x: Ct, register: int) -> bool:
        """Load what conntrack knows."""
        self.needs_conntrack(f"ct {x.key}")
        if x.family and x.family != ("ip" if self.family is V4 else "ip6"):
            return False
        if x.key == "l3proto":
            self.emit(NftExprKind.CT, dreg=register, a=NftCt.PROTOCOL)
            self.emit(NftExprKind.IMMEDIATE, dreg=register, a=2 if self.family is V4 else 10)
            return True
        if is_bare_address(x) and self.table.family == "inet":
            of = f"ct {x.direction or 'original'}"
            raise ValueError(f"{of} {x.key}: of IPv4 or of IPv6? Write `{of} ip {x.key}` or `{of} ip6 {x.key}`")
        if x.key not in CTS:
            raise Unsupported(f"ct {x.key} is not supported: {UNKNOWN_CT.get(x.key, 'it is not modelled')}")
        if x.key in ACCOUNTS:
            way = {"original": 0, "reply": 1}.get(x.direction, BOTH)
            self.emit(NftExprKind.CT, words=2, dreg=register, a=CTS[x.key], b=way)
            return True
        self.emit(NftExprKind.CT, dreg=register, a=CTS[x.key], b=int(x.direction == "reply"))
        return True

    def load_fib(self, x: Fib, register: int) -> bool:
        """Load an answer of the routing table."""
        said = f"fib {' . '.join(x.flags)} {x.result}"
        if {"iif", "oif"} <= {*x.flags}:
            raise ValueError(f"{said}: fib: iif and oif are mutually exclusive, as nft says")
        if x.result != "type" or "iif" in x.flags:
            self.only_in(said, *CAME_HOOKS)
        else:
            self.only_in(said, *((*LEAVES_HOOKS, "netdev egress") if "oif" in x.flags else FIB_HOOKS))
        bits = NftFib.DADDR * ("daddr" in x.flags) | NftFib.IIF * ("iif" in x.flags) | NftFib.OIF * ("oif" in x.flags)
        bits |= NftFib.MARK * ("mark" in x.flags)
        results = {"type": NftFib.TYPE, "oifname": NftFib.OIFNAME, "check": NftFib.PRESENT}
        self.emit(
            NftExprKind.FIB, words=4 if x.result == "oifname" else 1, dreg=register, a=bits | results.get(x.result, 0)
        )
        return True

    def load_route(self, x: Route, register: int) -> bool:
        """Load what the packet's route says."""
        self.only_in(f"rt {x.key}", *INET, "ingress")
        if x.key == "ipsec":
            # no packet here goes through a policy of IPsec
            self.emit(NftExprKind.IMMEDIATE, dreg=register, a=0)
            return True
        if x.key == "mtu":
            self.load_mss(register)
            return True
        if x.key == "classid":
            return self.load_realm(f"rt {x.key}", register)
        if x.family and x.family != ("ip" if self.family is V4 else "ip6"):
            return False
        self.emit(NftExprKind.RT, dreg=register, a=NftRt.NEXTHOP)
        return True

    def load_mss(self, register: int) -> None:
        """Load the MSS that the packet's route takes."""
        self.only_in("rt mtu", *LEAVES_HOOKS)
        self.emit(NftExprKind.RT, dreg=register, a=NftRt.TCPMSS)

    def load_realm(self, said: str, register: int) -> bool:
        """Load the realm of the packet's route: of a packet that has none yet nothing is said."""
        self.note(said, "routes are taken to have no realms")
        self.emit(NftExprKind.RT, dreg=register, a=NftRt.TCPMSS)
        self.emit(NftExprKind.IMMEDIATE, dreg=register, a=0)
        return True

    def load_option(self, x: Option, register: int) -> bool:
        """Load the field of a TCP option, or whether it is there."""
        if x.kind in ("exthdr", "ip"):
            return self.load_extension(x, register)
        if x.kind != "tcp":
            raise Unsupported(f"sctp chunk {x.name} is not supported: chunks are not looked through")
        if x.field != "raw" and x.name not in fields.TCP_OPTIONS and not x.name.isdecimal():
            raise Unsupported(f"tcp option {x.name} is not supported")
        if x.field == "raw":
            number, offset, bits = map(int, x.name.split(","))
        else:
            number, known = fields.TCP_OPTIONS.get(x.name, (int(x.name) if x.name.isdecimal() else 0, {}))
            offset, bits = known.get(x.field, (0, 0))
        size = (offset + bits + 7) // 8 - offset // 8
        if not 0 <= size <= 4:
            raise Unsupported(f"tcp option @{x.name}: up to 32 bits of an option are supported")
        self.emit(NftExprKind.TCP_OPTION, dreg=register, a=number, b=offset // 8, c=size if bits else 0)
        if bits:
            self.narrow(register, offset, bits, size)
        return True

    def load_extension(self, x: Option, register: int) -> bool:
        """Load the field of an IPv4 option or of an extension header of IPv6, or whether it is there."""
        own, known = ("ip", fields.IP_OPTIONS) if x.kind == "ip" else ("ip6", fields.EXTENSIONS)
        if self.table.family in ("ip", "ip6") and self.table.family != own:
            raise ValueError(f"{x.kind} {x.name}: no packet of a table of family {self.table.family} has it")
        if x.name not in known or (x.field and x.field not in known[x.name][1]):
            raise Unsupported(f"{x.kind} {x.name} {x.field} is not supported")
        if (own == "ip") != (self.family is V4):
            return False
        number, said = known[x.name]
        offset, bits = said.get(x.field, (0, 0))
        first, size = offset // 8, (offset + bits + 7) // 8 - offset // 8
        self.emit(NftExprKind.EXTHDR, dreg=register, a=number, b=first, c=size if bits else 0)
        if bits:
            self.narrow(register, offset, bits, size)
        return True

    def load_numgen(self, x: Numgen, register: int) -> bool:
        """Load a number in turn or at random."""
        random = x.mode == "random"
        state = 0
        if not random:
            state = self.pool.state(packets=x.modulus - 1)
            self.places[(*self.rule_key, self.statement_number, "numgen", len(self.code))] = state
        self.emit(NftExprKind.NUMGEN, dreg=register, sreg=int(random), a=state, b=x.modulus, c=x.offset)
        return True

    def load_hash(self, x: Hash, register: int) -> bool:
        """Load a hash: jhash over bytes as they lie in registers of the kernel, the first of each word in front."""
        if x.of is None:
            self.emit(NftExprKind.SYMHASH, dreg=register, b=x.modulus)
        else:
            # the kernel draws the seed that a rule does not give when the rule is loaded
            seed = x.seed if x.seed is not None else self.draws.getrandbits(32)
            loaded = self.load(x.of)
            if loaded is None:
                return False
            loaded = self.as_index(loaded, swapped=True)
            at, length = loaded.register, 0
            for kind in loaded.kinds:
                if (kind.form == "hex" and kind.bits == 32) or kind.name == "ifname":
                    raise Unsupported(f"jhash of a {kind.name} is not supported")
                if kind.bits < 32:
                    self.emit(NftExprKind.SHIFT, dreg=at, sreg=at, a=32 - (kind.bits + 7) // 8 * 8)
                at, length = at + kind.words, length + 4 * kind.words
            if len(loaded.kinds) == 1:
                length = (loaded.kinds[0].bits + 7) // 8
            self.emit(NftExprKind.JHASH, dreg=register, sreg=loaded.register, a=length, b=x.modulus, c=seed)
        if x.offset:
            self.emit(NftExprKind.ADD, dreg=register, a=x.offset)
        return True

    def load_socket(self, x: Socket, register: int) -> bool:
        """Load what a proxy's socket says that has the connection: packets here have no others."""
        said = " ".join(x.words)
        self.only_in(said, *(SYSTEM_HOOKS if x.words[0] == "osf" else SOCKET_HOOKS))
        if x.words[1] == "transparent":
            self.emit(NftExprKind.META, dreg=register, a=NftMeta.TRANSPARENT)
            return True
        if x.words[1] == "wildcard" and self.known.get("socket") == "transparent":
            # that of a connection has its address
            self.emit(NftExprKind.IMMEDIATE, dreg=register, a=0)
            return True
        if x.words[1] == "cgroupv2":
            self.note(said, "what the node sends and gets is taken to belong to no such group")
            return False
        why = "which sockets the node has is not known"
        raise Unsupported(
            f"{said} is not supported{' but behind `socket transparent 1`' * (x.words[1] == 'wildcard')}: {why}"
        )

    def load_operation(self, x: Operation, kinds: Kinds) -> Loaded | None:
        """Load a value, then change its bits."""
        left = self.load(x.left, kinds)
        if left is None:
            return None
        left = self.as_index(left)
        kind = left.kinds[0]
        try:
            number = self.bounds(x.right, kind if x.op in "&|^" else TYPES["mark"])[0]
        except ValueError:
            return self.combine(x, left)
        if x.op in ("<<", ">>"):
            if left.words != 1 or not 0 < number < 32:
                raise Unsupported(f"{x.op} {number} of {left.words} words is not supported")
            key = "a" if x.op == "<<" else "b"
            self.emit(NftExprKind.SHIFT, dreg=left.register, sreg=left.register, **{key: number})
            return left
        full = (1 << 32 * left.words) - 1
        mask, bits = {"&": (number, 0), "|": (full & ~number, number), "^": (full, number)}[x.op]
        place = self.pool.constant(words_of(mask, left.words) + words_of(bits, left.words))
        self.emit(NftExprKind.BITWISE, left.words, dreg=left.register, sreg=left.register, a=place)
        return left

    def combine(self, x: Operation, left: Loaded) -> Loaded | None:
        """Load the other side as well, then combine both."""
        right = self.load(x.right, left.kinds)
        if right is None:
            return None
        right = self.as_index(right)
        if x.op not in ("&", "|", "^") or right.words != left.words:
            raise Unsupported(f"{x.op} of two such values is not supported")
        op = {"&": NftBoolean.AND, "|": NftBoolean.OR, "^": NftBoolean.XOR}[x.op]
        self.emit(NftExprKind.COMBINE, left.words, dreg=left.register, sreg=left.register, a=right.register, b=op)
        return left

    def load_lookup(self, x: Lookup, kinds: Kinds) -> Loaded | None:
        """Load what a map says of a key."""
        key = self.load(x.key)
        if key is None:
            return None
        key = self.as_asked(key, x.table)
        place, data = self.map_of(x.table, key.kinds, kinds)
        register = self.allocate(sum(k.words for k in data))
        self.emit(NftExprKind.LOOKUP, sreg=key.register, dreg=register, a=place, b=NftLookup.MAP)
        return Loaded(register, data)

    def compare(self, m: Match) -> bool:
        """Compile a comparison; return whether a packet of this family can fulfil it."""
        if type(m.right) is not Value or type(m.left) not in (Payload, Meta) or m.op not in COMPARISONS:
            return self.compare_any(m)
        if type(m.left) is Meta and (m.left.key in NOWHERE_ELSE or m.op not in ("==", "!=")):
            return self.compare_any(m)
        # comparisons of a field with one value are alike but for a number, unless it says more than that
        of_frame = AT_EGRESS in self.reached
        key = m.left, m.op, m.right.text if may_imply(m.left) else "", of_frame, *self.known.items()
        alike = self.alike.get(key)
        if alike is not None:
            low, high = self.value_bounds(m.right.text, alike.kind)
            if low == high:
                self.code += alike.code
                self.code.append((*alike.compares, low, *alike.how))
                self.known.update(alike.known)
                return True
        at = len(self.code)
        answered = self.compare_any(m)
        (kind,), last = self.kinds(m.left), self.code[-1]
        if answered and kind.words == 1 and last[0] == NftExprKind.CMP:
            self.alike[key] = Alike(kind, self.code[at:-1], last[:4], last[5:], self.known.copy())
        return answered

    def compare_any(self, m: Match) -> bool:
        """Compile any comparison."""
        left = self.presence(m)
        loaded = self.load(left)
        if loaded is None:
            return self.never()
        loaded = self.as_index(loaded) if m.op not in ("==", "!=") else self.as_asked(loaded, m.right)
        said = implied_by(m) or self.implied_by_conntrack(m) if m.op == "==" else None
        if says_type(m):
            self.known["icmp"] = ""
        if isinstance(m.right, (Elements, Named)):
            if m.op not in ("==", "!="):
                raise ValueError(f"{m.op} a set: expected == or !=")
            if isinstance(m.right, Elements) and any(e.data is not None for e in m.right.items):
                raise ValueError("a mapping outside of a map")
            place = self.set_of(m.right, loaded.kinds)
            self.emit(
                NftExprKind.LOOKUP, sreg=loaded.register, a=place, b=NftLookup.NOT if m.op == "!=" else NftLookup.SET
            )
        elif m.op in ("in", "!"):
            self.flags_set(m, loaded)
        else:
            self.compare_value(m, loaded)
        if said is not None:
            self.known[said[0]] = said[1]
        if m == Match("==", TRANSPARENT, Value("1")):
            self.known["socket"] = "transparent"
        return True

    def implied_by_conntrack(self, m: Match) -> tuple[str, str] | None:
        """Return what `ct l3proto` or `ct protocol` asks for, which nft takes for the packet's protocol.

        It then reads fields of that protocol without asking for it: of an ICMP error, those of the error. By
        `ct protocol` it knows one only where the rule has said which IP it is (ct_expr_pctx_update of nft).
        """
        if not isinstance(m.right, Value) or m.left not in (Ct("l3proto"), Ct("protocol")):
            return None
        number = self.bounds(m.right, self.kinds(m.left)[0])[0]
        if m.left == Ct("l3proto"):
            return ("l3", str(number)) if self.table.family not in ("ip", "ip6") else None
        is_known = self.table.family in ("ip", "ip6") or "l3" in self.known
        return ("l4", str(number)) if is_known and number in fields.L4_NAMES else None

    @staticmethod
    def presence(m: Match) -> Expression:
        """Return the left side; `fib ... oif missing` asks whether there is one."""
        if isinstance(m.left, Fib) and m.right in (Value("missing"), Value("exists")):
            return Fib(m.left.flags, "check")
        return m.left

    def flags_set(self, m: Match, loaded: Loaded) -> None:
        """Compile `ct state established,related`: one of the flags is set, or with ! none of them."""
        number = self.bounds(m.right, loaded.kinds[0])[0]
        register = self.allocate(1)
        self.emit(NftExprKind.BITWISE, dreg=register, sreg=loaded.register, a=self.pool.constant((number, 0)))
        self.emit(NftExprKind.CMP, sreg=register, a=0, b=NftCmp.NEQ if m.op == "in" else NftCmp.EQ)

    def compare_value(self, m: Match, loaded: Loaded) -> None:
        """Compile a comparison with one value, range, prefix, or concatenation of values."""
        low, high = self.both_ends(m.right, loaded.kinds)
        words = loaded.words
        if low == high:
            a = low[0] if words == 1 else self.pool.constant(low)
            self.emit(NftExprKind.CMP, words, sreg=loaded.register, a=a, b=COMPARISONS[m.op])
        elif m.op not in ("==", "!="):
            raise ValueError(f"{m.op} a range: expected == or !=")
        elif len(loaded.kinds) > 1:
            place = self.set_of(Elements((Element(m.right),)), loaded.kinds)
            self.emit(
                NftExprKind.LOOKUP, sreg=loaded.register, a=place, b=NftLookup.NOT if m.op == "!=" else NftLookup.SET
            )
        else:
            self.emit(
                NftExprKind.RANGE, words, sreg=loaded.register, a=self.pool.constant(low + high), b=int(m.op == "!=")
            )


def has_ranges(x: Expression) -> bool:
    """Tell whether a value, or an element of an anonymous set or map, is a range or has one."""
    keys = [e.key for e in x.items] if isinstance(x, Elements) else [x]
    parts = [part for key in keys for part in (key.items if isinstance(key, Concat) else (key,))]
    return any(isinstance(part, (Range, Prefix)) for part in parts)


LOADERS: dict[type, Callable[..., bool]] = {
    Payload: Loader.load_payload, Raw: Loader.load_raw, Meta: Loader.load_meta, Ct: Loader.load_ct,
    Fib: Loader.load_fib,
    Route: Loader.load_route, Option: Loader.load_option, Numgen: Loader.load_numgen, Hash: Loader.load_hash,
    Socket: Loader.load_socket,
}  # fmt: skip
