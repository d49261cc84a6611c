"""The node: interfaces, addresses, routes, sysctls and rule text; load and save of a node directory.

Its parts are in parts.py, `ip -j` text in ip_json.py, its arrays for the core in arrays.py.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from .. import nftables
from ..addresses import V4, V6, AddressLike, Family, family_of, mac_number
from ..errors import ArgumentError, InputError
from ..nftables.tree import Ruleset
from ..util.files import ALIASES, name_of, read_sysctls, read_text
from ..util.output import Output, make_folder
from ..util.text import decimal, excerpt, shown, text_of
from .arrays import ROUTE_KINDS, sorted_routes
from .ip_json import (
    address_json,
    connected_routes,
    load_addresses,
    load_neighbours,
    load_policy,
    load_routes,
    neighbour_json,
    policy_json,
    route_json,
)
from .names import load_ids
from .names import text_of as ids_text
from .parts import (
    DEFAULT_RULES,
    MAX_INTERFACES,
    NATIVE,
    SCOPES,
    Address,
    Interface,
    Neighbour,
    PolicyRule,
    Route,
    check_interface,
)

if TYPE_CHECKING:
    from ..iptables import Rules
    from .ipset import IpSet
    from .ipvs import Service

LOCAL = "local"


# a file of a node directory that need not hold anything
NFT_LAST = "nft-last"
# what Node.texts() may return
NODE_FILES = (
    "addr.json", "route.json", "route6.json", "rule.json", "rule6.json", "sysctl.conf", "rules.v4", "rules.v6",
    "rules.nft", NFT_LAST, "ipset.save", "ipvs.save", "passwd", "group", "neigh.json",
)  # fmt: skip


class Node:
    """What a host's NAT depends on: interfaces, addresses, routes, sysctls and rules.

    Build one by hand with add_interface, add_route and load_rules, or from files with Node.load.

    Attributes
    ----------
    interfaces : dict of name to Interface, in device order; "lo" is always first
    routes, routes6 : list of Route, of all tables
    policy, policy6 : list of PolicyRule, by priority; empty: those that every node has
    sysctls : dict of name to text
    rules_text, rules6_text : str     iptables-save and ip6tables-save text
    rules, rules6 : fastnat.iptables.Rules or None    the parsed text; read-only
    nft : fastnat.nftables.tree.Ruleset    the rules of nftables; nft_text: as load_nft() takes them
    nft_last : bool    rules of nftables were loaded after those of iptables: at equal priority their chains run first
    sets : dict of name to IpSet
    users, groups : dict of str to int   ids by name, of passwd and group, for rules that name them (-m owner)
    neighbours : dict of (interface, 4 or 6, address as an integer) to a link-layer address, an integer
    epoch : float or None   when virtual time 0 is, for -m time: seconds since 1970; Engine(epoch=) goes before
    services : list of fastnat.node.ipvs.Service   of IPVS; needs net.ipv4.vs.conntrack=1, the default here
    conntrack_text : str   `conntrack -L` text of the connections with which engines start
    notes : list of str    what load() assumed, and what it found that is not modelled and may change answers
    """

    def __init__(self) -> None:
        self.interfaces: dict[str, Interface] = {}
        self.routes: list[Route] = []
        self.sysctls: dict[str, str] = {}
        self.rules_text = ""
        self.rules: Rules | None = None
        self.rules6: Rules | None = None
        self.routes6: list[Route] = []
        self.policy: list[PolicyRule] = []
        self.policy6: list[PolicyRule] = []
        self.rules6_text = ""
        self.nft = Ruleset()
        self.nft_text = ""
        self.nft_last = False
        self.sets: dict[str, IpSet] = {}
        self.unsupported_sets: dict[str, str] = {}
        self.sets_text = ""
        self.services: list[Service] = []
        self.services_text = ""
        self.service_timeouts = (900, 120, 300)
        self.conntrack_text = ""
        self.users: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.neighbours: dict[Neighbour, int] = {}
        self.epoch: float | None = None
        self.notes: list[str] = []
        self.add_interface("lo", ["127.0.0.1/8"])
        self.interfaces["lo"].loopback = True
        self.interfaces["lo"].addresses[0].scope = SCOPES["host"]

    def copy(self) -> Node:
        """Return a node of its own with the same parts: changes to one are none to the other."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (dict, list)):
                setattr(other, name, value.copy())
        # these are changed in place; rules, routes, sets and services are replaced as a whole
        for name, iface in self.interfaces.items():
            here, here6 = ([replace(a) for a in there] for there in (iface.addresses, iface.addresses6))
            other.interfaces[name] = replace(iface, addresses=here, addresses6=here6)
        return other

    def add_interface(self, name: str, addresses: list[str] | tuple[str, ...] = (), mtu: int = 1500) -> None:
        """Add an interface with addresses as "a.b.c.d/len" or "a::b/len" and their connected routes.

        Raises InputError if the name is taken or reserved, or an address has another form.
        """
        if not isinstance(name, str) or name in self.interfaces or name == LOCAL:
            raise InputError(f"interface {shown(name)} exists already, is reserved, or is not text")
        before = dict(self.interfaces), list(self.routes), list(self.routes6)
        iface = Interface(name, len(self.interfaces) + 1, mtu)
        self.interfaces[name] = iface
        try:
            for text in addresses:
                self.add_address(name, text)
            check_interface(iface)
        except (ValueError, TypeError) as error:
            self.interfaces, self.routes, self.routes6 = before
            if isinstance(error, InputError):
                raise
            raise InputError(f"interface {shown(name)}: {error}") from None

    def add_address(self, name: str, text: str, scope: str = "global") -> None:
        """Add an address "a.b.c.d/len" or "a::b/len" to an interface, with its connected route.

        Raises InputError if it has another form, the interface is unknown, or the scope is not one of ip-address(8).
        """
        texts = all(isinstance(x, str) for x in (name, text, scope))
        if not texts or name not in self.interfaces or scope not in SCOPES:
            why = f"no interface {shown(name)}, or no scope {shown(scope)} ({', '.join(SCOPES)})"
            raise InputError(f"address {shown(text)}: {why}")
        iface = self.interfaces[name]
        address, _, prefix = text.partition("/")
        family = family_of(address)
        try:
            local = family.to_int(address)
            length = decimal(prefix, 0, family.bits, "prefix length") if prefix else family.bits
        except ValueError as error:
            why = f"{excerpt(str(error))}; write it as 192.0.2.1/24"
            raise InputError(f"interface {name!r}: address {shown(text)}: {why}") from None
        if family is V4:
            iface.addresses.append(Address(local, length, SCOPES[scope]))
        else:
            # the widest scope in front, of one scope the newest (ipv6_link_dev_addr)
            narrower = (n for n, a in enumerate(iface.addresses6) if a.scope >= SCOPES[scope])
            at = next(narrower, len(iface.addresses6))
            iface.addresses6.insert(at, Address(local, length, SCOPES[scope]))
        if length < family.bits and name != "lo":
            self.routes_of(family).append(Route(local & family.mask_of(length), length, name))

    def add_neighbour(self, name: str, address: AddressLike, mac: str) -> None:
        """Say the link-layer address of a host on an interface, as 02:00:00:00:00:01, which rules may ask for.

        Raises InputError if the interface is unknown, or an address has another form.
        """
        number = mac_number(mac) if isinstance(mac, str) else None
        if name not in self.interfaces or number is None:
            why = f"no interface {shown(name)}" if name not in self.interfaces else f"{shown(mac)} is no such address"
            raise InputError(f"link-layer address of {shown(address)}: {why}")
        try:
            family = family_of(address)
            self.neighbours[name, family.version, family.to_int(address)] = number
        except (ValueError, TypeError) as error:
            raise InputError(f"link-layer address of {shown(address)}: {excerpt(str(error))}") from None

    def add_route(
        self, dst: str, via: AddressLike | None = None, dev: str | None = None, kind: str = "unicast"
    ) -> None:
        """Add a route: dst "default" or "a.b.c.d/len"; via a gateway, out of an interface.

        Raises InputError if the interface is unknown, or if it is not given and the gateway does not determine it.
        """
        if not isinstance(dst, str) or not isinstance(dev, (str, type(None))) or not isinstance(kind, str):
            said = f"destination, interface {shown(dev)} and kind {shown(kind)}"
            raise InputError(f"route {shown(dst)}: {said} must be text")
        family = family_of(via) if via is not None else family_of(dst)
        address, _, length = (("::/0" if family is V6 else "0.0.0.0/0") if dst == "default" else dst).partition("/")
        try:
            prefix = decimal(length, 0, family.bits, "prefix length") if length else family.bits
            network = family.to_int(address)
            gateway = family.to_int(via) if via is not None else 0
        except ValueError as error:
            raise InputError(f"route {shown(dst)}: {excerpt(str(error))}") from None
        if kind not in ROUTE_KINDS:
            raise InputError(f"route {shown(dst)}: kind {shown(kind)}: expected one of {', '.join(ROUTE_KINDS)}")
        if kind == "unicast" and dev is None:
            found = (r for r in sorted_routes(self, family) if r.iface)
            dev = next((r.iface for r in found if (gateway ^ r.dst) & family.mask_of(r.prefix) == 0), None)
        if kind == "unicast" and dev not in self.interfaces:
            there = excerpt(", ".join(self.interfaces))
            raise InputError(f"route {shown(dst)}: no interface {shown(dev)}; the node has {there}")
        self.routes_of(family).append(Route(network & family.mask_of(prefix), prefix, dev or "", gateway, kind))

    def remove_address(self, iface: str, address: str) -> None:
        """Remove an address from an interface; Engine.reload() applies it. InputError if there is no such address."""
        if iface not in self.interfaces:
            raise InputError(f"no interface {shown(iface)}; the node has {excerpt(', '.join(self.interfaces))}")
        family = family_of(address)
        there = self.interfaces[iface].addresses_of(family)
        try:
            wanted = family.to_int(address.partition("/")[0])
        except ValueError as error:
            raise InputError(f"address {shown(address)}: {error}") from None
        if all(a.local != wanted for a in there):
            raise InputError(f"{iface} has no address {address}")
        there[:] = [a for a in there if a.local != wanted]

    def remove_route(self, dst: str, dev: str | None = None) -> None:
        """Remove the routes to a destination, those of one device if given. InputError if there are none."""
        family = V6 if ":" in dst else V4
        if dst == "default":
            network, prefix = 0, 0
        else:
            text, _, length = dst.partition("/")
            try:
                network = family.to_int(text)
                prefix = decimal(length, 0, family.bits, "prefix length") if length else family.bits
            except ValueError as error:
                raise InputError(f"route {shown(dst)}: {excerpt(str(error))}") from None
        routes = self.routes_of(family)
        left = [r for r in routes if (r.dst, r.prefix) != (network, prefix) or dev not in (None, r.iface)]
        if len(left) == len(routes):
            raise InputError(f"there is no route to {dst}")
        routes[:] = left

    def routes_of(self, family: Family) -> list[Route]:
        """Return the routes of one family, to be read or changed."""
        return self.routes if family is V4 else self.routes6

    def policy_of(self, family: Family) -> list[PolicyRule]:
        """Return the policy rules of one family, to be read or changed."""
        return self.policy if family is V4 else self.policy6

    def rules_of(self, family: Family) -> Rules | None:
        """Return the rules of one family; None without rules."""
        return self.rules if family is V4 else self.rules6

    @property
    def more_families(self) -> tuple[Family, ...]:
        """The families beside IPv4 of which the node has an address or rules."""
        return (V6,) if self.has_ipv6 else ()

    @property
    def has_ipv6(self) -> bool:
        """Whether anything about this node is IPv6."""
        return bool(self.rules6_text or any(i.addresses6 for i in self.interfaces.values()))

    def load_rules(self, text: str, source: str = "<rules>", lenient: bool = False) -> list[str]:
        """Set the node's IPv4 rules from iptables-save text, which is parsed here; see fastnat.iptables.

        With `lenient`, rules that are not understood are kept and never match. Returns warnings: such rules, and chains
        that were not declared. Raises RuleError naming line, rule and option; then the node keeps its old rules.
        """
        from .. import iptables

        self.rules = iptables.parse(text, source, lenient, ids=(self.users, self.groups))
        self._note_native(text, source)
        self.rules_text = text
        return self.rules.warnings

    def load_rules6(self, text: str, source: str = "<rules6>", lenient: bool = False) -> list[str]:
        """Set the node's IPv6 rules from ip6tables-save text, as load_rules does for IPv4."""
        from .. import iptables

        self.rules6 = iptables.parse(text, source, lenient, V6, (self.users, self.groups))
        self._note_native(text, source)
        self.rules6_text = text
        return self.rules6.warnings

    def load_nft(
        self, text: str, source: str = "<rules.nft>", folder: Path | None = None, lenient: bool = False
    ) -> list[str]:
        """Set the node's rules of nftables: text of nft, or what `nft -j list ruleset` prints.

        folder: where the files of `include` lie, None: the text includes none. lenient: rules that are not supported
        never match. Returns warnings. Raises RuleError
        naming line, column and statement; then the node keeps its old rules.
        """
        self.nft = nftables.load(text_of(text, source), source, folder, lenient)
        self.nft_text = nftables.text_of(self.nft) if "include" in text and folder is not None else text
        return [*self.nft.warnings, *self.nft.doubts]

    def load_sets(self, text: str, source: str = "<ipset>") -> None:
        """Set the node's sets from `ipset save` text. Raises InputError naming the line; then the old sets stay."""
        from . import ipset

        self.sets, self.unsupported_sets = ipset.parse_known(text, source)
        self.sets_text = text
        for name, why in self.unsupported_sets.items():
            self.notes.append(f"set {excerpt(name)} is left out, which matters only to rules that name it: {why}")

    def load_services(self, text: str, source: str = "<ipvs>") -> None:
        """Set the node's virtual services from `ipvsadm-save -n` text. Raises InputError naming the line.

        A line `--set TCP TCPFIN UDP`, or that of `ipvsadm -l --timeout`, says after how many seconds idle ones end.
        """
        from . import ipvs

        services = ipvs.parse(text, source)
        if services and not self.sysctl("net.ipv4.vs.conntrack", 1):
            raise InputError(f"{source}: net.ipv4.vs.conntrack = 0 is not supported: kube-proxy sets it to 1")
        self.services, self.services_text, self.service_timeouts = services, text, ipvs.timeouts(text)

    @classmethod
    def example(cls, name: str = "k8s-worker") -> Node:
        """Return one of the packaged nodes; InputError lists their names."""
        root = resources.files("fastnat") / "examples"
        there = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("_"))
        if name not in there:
            raise InputError(f"no example {name!r}; the examples are {', '.join(there)}")
        with resources.as_file(root / name) as path:
            return cls.load(path)

    @classmethod
    def load(cls, directory: str | Path, lenient: bool = False, with_conntrack: bool = False) -> Node:
        """Load a node directory: addr.json, and, if they exist, route.json, rules.v4, ipset.save, ipvs.save...

        `with_conntrack` also loads conntrack.txt, with whose connections the node's engines then start.

        Raises InputError naming the file and its fault.
        """
        name = name_of(directory)
        path = Path(name)
        if not name or not path.is_dir():
            said = name or repr(name)
            raise InputError(f"{said}: no such directory; a node directory holds addr.json, route.json and rules.v4")
        node = cls()
        for iface in load_addresses(path / "addr.json"):
            node.interfaces[iface.name] = iface
        if len(node.interfaces) > MAX_INTERFACES:
            why = f"{len(node.interfaces):,} interfaces; at most {MAX_INTERFACES:,} are supported"
            raise InputError(f"{path / 'addr.json'}: {why}")
        for family, file, rules in ((V4, "route", "rule.json"), (V6, "route6", "rule6.json")):
            every = path / f"{file}-all.json"
            node._load_routes(family, every if every.exists() else path / f"{file}.json")
            if (path / rules).exists():
                node._load_policy(family, path / rules)
        if (path / "neigh.json").exists():
            node.neighbours = load_neighbours(path / "neigh.json", node.interfaces)
        if (path / "sysctl.conf").exists():
            node.sysctls = read_sysctls(path / "sysctl.conf")
        # in front of the rules, which name them
        if (path / "passwd").exists():
            node.users = load_ids(path / "passwd")
        if (path / "group").exists():
            node.groups = load_ids(path / "group")
        node.nft_last = (path / NFT_LAST).exists()
        if (path / "rules.nft").exists():
            node.load_nft(read_text(path / "rules.nft"), str(path / "rules.nft"), path, lenient)
        if (path / "rules.v4").exists():
            node.load_rules(read_text(path / "rules.v4"), str(path / "rules.v4"), lenient)
        if (path / "rules.v6").exists():
            node.load_rules6(read_text(path / "rules.v6"), str(path / "rules.v6"), lenient)
        if (path / "ipset.save").exists():
            node.load_sets(read_text(path / "ipset.save"), str(path / "ipset.save"))
        if (path / "ipvs.save").exists():
            node.load_services(read_text(path / "ipvs.save"), str(path / "ipvs.save"))
        if (path / "conntrack.txt").exists() and with_conntrack:
            node.conntrack_text = read_text(path / "conntrack.txt")
        return node

    def _load_routes(self, family: Family, path: Path) -> None:
        """Load the routes of a file; without it, those that follow from the addresses."""
        routes = self.routes_of(family)
        if path.exists():
            routes[:] = load_routes(path, family, self.interfaces, self.notes)
            return
        routes[:] = connected_routes(self.interfaces.values(), family)
        if family is V4 or any(a.scope == 0 for i in self.interfaces.values() for a in i.addresses_of(family)):
            made = f"{len(routes)} routes to the networks of addr.json are assumed" if routes else "nothing is routed"
            self.notes.append(f"no {path.name}: {made}; `ip -j{' -6' if family is V6 else ''} route` gives all of them")

    def _load_policy(self, family: Family, path: Path) -> None:
        """Load the policy rules of a file."""
        policy = self.policy_of(family)
        policy[:] = load_policy(path, family, self.notes)
        there = {r.table for r in self.routes_of(family)} | {rule.table for rule in DEFAULT_RULES}
        for table in sorted({rule.table for rule in policy if not rule.refuses} - there):
            six = " -6" if family is V6 else ""
            self.notes.append(
                f"{path}: table {excerpt(table)} has no routes here; `ip -j{six} route show table all` gives them"
            )

    def _note_native(self, text: str, source: str) -> None:
        """Note which tables iptables-save could not show because they are native nftables."""
        for table in NATIVE.findall(text) if not self.nft_text else ():
            self.notes.append(
                f"{source}: table {excerpt(table)} holds native nftables rules, which iptables-save does not show: "
                "no answer includes what they do, unless `nft list ruleset` is given as rules.nft"
            )

    def texts(self) -> dict[str, str]:
        """Return the files of a node directory by name, as save() writes them."""
        found = {
            "addr.json": json.dumps([address_json(i) for i in self.interfaces.values()]) + "\n",
            "route.json": json.dumps([route_json(r, V4) for r in self.routes]) + "\n",
            "route6.json": json.dumps([route_json(r, V6) for r in self.routes6]) + "\n",
            "sysctl.conf": "".join(f"{k} = {v}\n" for k, v in self.sysctls.items()),
            "rules.v4": self.rules_text,
        }  # fmt: skip
        for file, family in (("rule.json", V4), ("rule6.json", V6)):
            if self.policy_of(family):
                found[file] = json.dumps([policy_json(r, family) for r in self.policy_of(family)]) + "\n"
        more = {
            "rules.v6": self.rules6_text,
            "rules.nft": self.nft_text,
            NFT_LAST: "rules.nft was loaded after rules.v4 and rules.v6\n" if self.nft_last else "",
            "ipset.save": self.sets_text,
            "ipvs.save": self.services_text,
            "passwd": ids_text(self.users),
            "group": ids_text(self.groups),
            "neigh.json": json.dumps(neighbour_json(self.neighbours)) + "\n" if self.neighbours else "",
        }
        return found | {name: text for name, text in more.items() if text}

    def save(self, directory: str | Path) -> None:
        """Write the node as a directory that load() takes. Raises OutputError when it cannot be written."""
        path = make_folder(directory)
        for name, text in self.texts().items():
            with Output(path / name) as output:
                output.write_text(text)

    def iface_number(self, name: str) -> int:
        """Return the number by which packets name an interface: 0 for "local", the node itself.

        Raises InputError for a name that the node does not have, ArgumentError for anything but a name.
        """
        if not isinstance(name, str):
            raise ArgumentError(f"expected the name of an interface, got {shown(name, 60)}")
        if name in ("", LOCAL):
            return 0
        for number, known in enumerate(self.interfaces, 1):
            if known == name:
                return number
        there = excerpt(", ".join(self.interfaces))
        raise InputError(f"no interface {shown(name)}; the node has {there} and {LOCAL!r}")

    @property
    def iface_names(self) -> list[str]:
        """Names by number; number 0 is the node itself."""
        return [LOCAL, *self.interfaces]

    def sysctl(self, name: str, default: int) -> int:
        """Return a sysctl as a number; InputError if it is not one, or does not fit into 32 bits."""
        text = self.sysctls.get(name)
        if text is None:
            # files are read with the first name; who fills `sysctls` may use the second one
            text = next((self.sysctls[a] for a, of in ALIASES.items() if of == name and a in self.sysctls), None)
        if text is None:
            return default
        try:
            number = int(text, 0)
        except (ValueError, TypeError):
            raise InputError(f"sysctl {name} = {shown(text)} is not a number") from None
        if not -(2**31) <= number < 2**32:
            raise InputError(f"sysctl {name} = {shown(text)} is beyond the 32 bits of the kernel's sysctls")
        return number
