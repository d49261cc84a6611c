"""Statements that change the packet or its connection: NAT, marks, header fields.

Source: netlink_linearize.c of nftables 1.0.6; nft_nat.c, nft_masq.c and nft_redir.c (Linux 6.18) for the hooks in which
each may stand.
"""

from __future__ import annotations

from ..addresses import V4
from ..core.layout import Manip, NftExprKind, NftLookup, RangeFlag, TargetKind
from . import fields
from .datatypes import Datatype, ascending, is_address
from .emit import Unsupported
from .loader import Loader
from .tree import (
    Assign,
    Concat,
    Ct,
    Expression,
    Lookup,
    Meta,
    Named,
    Nat,
    Option,
    Payload,
    Prefix,
    Range,
    Route,
    Value,
)

NAT_KINDS = {
    "snat": TargetKind.SNAT,
    "dnat": TargetKind.DNAT,
    "masquerade": TargetKind.MASQUERADE,
    "redirect": TargetKind.REDIRECT,
}
# types and hooks of the base chains from which they may be reached
NAT_HOOKS = {
    "snat": ("nat postrouting", "nat input"), "masquerade": ("nat postrouting",),
    "dnat": ("nat prerouting", "nat output"), "redirect": ("nat prerouting", "nat output"),
}  # fmt: skip
MAP_IPS, PROTO_SPECIFIED, UNSET_BYTES = map(int, (RangeFlag.MAP_IPS, RangeFlag.PROTO_SPECIFIED, RangeFlag.UNSET_BYTES))
NAT_FLAGS = {
    "random": int(RangeFlag.PROTO_RANDOM), "persistent": int(RangeFlag.PERSISTENT),
    "fully-random": int(RangeFlag.PROTO_RANDOM_FULLY),
}  # fmt: skip
NO_REGISTER = 0xFF


def ends_of(x: Expression | None) -> list[str]:
    """Return the address, or both ends of a range of addresses; nothing for what only a packet can tell."""
    parts = (x.low, x.high) if isinstance(x, Range) else (x.address,) if isinstance(x, Prefix) else (x,)
    return [part.text for part in parts if isinstance(part, Value)]


ADDRESSES = {"saddr": Manip.SRC, "daddr": Manip.DST}
PORTS = {"sport": Manip.SRC, "dport": Manip.DST}
WITH_PORTS = ("tcp", "udp", "udplite", "sctp")
# bits of the octet of an IP header that stay, and how far a value is moved to the left
OCTETS = {"dscp": (0x03, 2), "ecn": (0xFC, 0)}


class Changes(Loader):
    """Compiles NAT statements and assignments."""

    def nat(self, s: Nat) -> bool:
        """Compile a NAT statement; one of the other family says nothing."""
        wrong = [reached for reached in self.reached if reached not in NAT_HOOKS[s.kind]]
        if wrong:
            raise ValueError(
                f"{s.kind} is reached from a chain of type and hook {wrong[0]}, where the kernel refuses it"
            )
        for end in ends_of(s.address) if s.family else ():
            if is_address(end) and (":" in end) != (s.family == "ip6"):
                raise ValueError(f"{s.kind} {s.family} to {end}: the address is of the other family")
        if s.family and s.family != ("ip" if self.family is V4 else "ip6"):
            return True
        flags = sum(NAT_FLAGS[f] for f in s.flags)
        registers = [NO_REGISTER] * 4
        target = NAT_KINDS[s.kind]
        if s.kind == "snat" and s.address is not None:
            self.note_addresses(s.address)
        if s.address is not None:
            found = self.nat_values(s.address, self.address_kind)
            if found is None:
                return self.never()
            registers[:2], flags = found[:2], flags | MAP_IPS
            if len(found) == 4:
                registers[2:], flags = found[2:], flags | PROTO_SPECIFIED
            if s.prefix:
                target = TargetKind.NETMAP
                flags |= UNSET_BYTES if self.family is V4 else 0
        if s.port is not None:
            found = self.nat_values(s.port, self.port_kind)
            if found is None:
                return self.never()
            registers[2:], flags = found[:2], flags | PROTO_SPECIFIED
        packed = sum(r << 8 * i for i, r in enumerate(registers))
        self.emit(NftExprKind.NAT, a=target, b=flags, c=packed)
        return False

    def note_addresses(self, x: Expression) -> None:
        """Note which addresses snat gives."""
        said = [x]
        if isinstance(x, Lookup):
            named = self.table.sets.get(x.table.name) if isinstance(x.table, Named) else None
            if named is not None and "dynamic" in named.flags:
                self.snat = None
            items = named.elements if named is not None else getattr(x.table, "items", ())
            said = [e.data.items[0] if isinstance(e.data, Concat) else e.data for e in items if e.data is not None]
        if self.snat is not None:
            try:
                self.snat += [self.bounds(part, self.address_kind) for part in said]
            except ValueError:
                self.snat = None

    def nat_values(self, x: Expression, kind: Datatype) -> list[int] | None:
        """Load what a NAT statement says; return the registers of the lowest and the highest, and those of ports."""
        if isinstance(x, Lookup):
            return self.nat_lookup(x, kind)
        try:
            low, high = self.bounds(x, kind)
        except ValueError:
            loaded = self.load(x)
            return None if loaded is None else [loaded.register] * 2
        ascending(low, high, kind)
        first = self.immediate(low, kind)
        return [first, self.immediate(high, kind) if high != low else first]

    def nat_lookup(self, x: Lookup, kind: Datatype) -> list[int] | None:
        """Load an address, or an address and a port, out of a map."""
        loaded = self.load(x.key)
        if loaded is None:
            return None
        loaded = self.as_asked(loaded, x.table)
        place, data = self.map_of(x.table, loaded.kinds, (kind,), intervals=True)
        register = self.allocate(sum(k.words for k in data) * 2)
        self.emit(NftExprKind.LOOKUP, sreg=loaded.register, dreg=register, a=place, b=NftLookup.MAP)
        high = register + sum(k.words for k in data) * self.has_intervals(place)
        if len(data) == 2:
            words = data[0].words
            return [register, high, register + words, high + words]
        return [register, high]

    def assign(self, s: Assign) -> bool:
        """Compile an assignment."""
        key = s.key
        if isinstance(key, Meta):
            return self.assign_meta(key, s.value)
        if isinstance(key, Ct):
            return self.assign_ct(key, s.value)
        if isinstance(key, Payload):
            return self.assign_payload(key, s.value)
        if isinstance(key, Option) and (key.kind, key.name, key.field) == ("tcp", "maxseg", "size"):
            return self.assign_mss(s.value)
        raise Unsupported("setting this is not supported")

    def assign_meta(self, key: Meta, value: Expression) -> bool:
        """Compile `meta mark set`, and what changes no answer here."""
        if key.key == "mark":
            return self.assign_value(value, key, NftExprKind.SET_MARK, 0)
        if key.key == "priority":
            return self.assign_value(value, key, NftExprKind.SET_MARK, 2)
        if key.key in ("nftrace", "secmark"):
            # nobody here looks at it, but a map may say nothing
            return not isinstance(value, Lookup) or self.load(value, self.kinds(key)) is not None or self.never()
        if key.key == "pkttype":
            raise Unsupported("meta pkttype set is not supported")
        raise Unsupported(f"meta {key.key} set is not supported")

    def assign_ct(self, key: Ct, value: Expression) -> bool:
        """Compile `ct mark set` and `ct zone set`."""
        self.needs_conntrack(f"ct {key.key} set")
        if key.key == "mark":
            return self.assign_value(value, key, NftExprKind.SET_MARK, 1)
        if key.key == "zone":
            return self.assign_value(
                value, key, NftExprKind.SET_ZONE, {"original": 1, "reply": 2}.get(key.direction, 3)
            )
        if key.key in ("event", "label", "secmark"):
            return True
        raise Unsupported(f"ct {key.key} set is not supported")

    def assign_value(self, value: Expression, key: Expression, kind: NftExprKind, a: int, b: int = 0) -> bool:
        """Load a value, then set it."""
        loaded = self.load(value, self.kinds(key))
        if loaded is None:
            return self.never()
        self.emit(kind, sreg=loaded.register, a=a, b=b)
        return True

    def assign_payload(self, key: Payload, value: Expression) -> bool:
        """Compile what a rule changes in the packet."""
        if not self.needs(key):
            return self.never()
        if key.protocol in ("ip", "ip6") and key.field in OCTETS:
            stays, left = OCTETS[key.field]
            loaded = self.load(value, self.kinds(key))
            if loaded is None:
                return self.never()
            if left:
                self.emit(NftExprKind.SHIFT, dreg=loaded.register, sreg=loaded.register, a=left)
            self.emit(NftExprKind.SET_TOS, sreg=loaded.register, a=stays)
            return True
        if (key.protocol, key.field) in (("ip", "ttl"), ("ip6", "hoplimit")):
            return self.assign_value(value, key, NftExprKind.SET_TTL, 0)
        if (key.protocol, key.field) == ("udp", "checksum") and value == Value("0"):
            self.emit(NftExprKind.ZERO_CHECKSUM)
            return True
        if key.field in ADDRESSES and key.protocol in ("ip", "ip6"):
            self.writes = True
            return self.assign_value(value, key, NftExprKind.SET_ADDRESS, ADDRESSES[key.field])
        if key.field in PORTS and key.protocol in WITH_PORTS:
            self.writes = True
            number = fields.L4_PROTOCOLS[key.protocol]
            return self.assign_value(value, key, NftExprKind.SET_PORT, PORTS[key.field], number)
        raise Unsupported(f"{key.protocol} {key.field} set is not supported")

    def assign_mss(self, value: Expression) -> bool:
        """Compile `tcp option maxseg size set`."""
        if not self.needs(Payload("tcp", "flags")):
            return self.never()
        if value == Route("mtu"):
            register = self.allocate(1)
            self.load_mss(register)
            self.emit(NftExprKind.SET_MSS, sreg=register)
            return True
        return self.assign_value(value, Payload("tcp", "window"), NftExprKind.SET_MSS, 0)
