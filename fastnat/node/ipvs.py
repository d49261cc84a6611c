"""Virtual services: `ipvsadm-save -n` text, or the listing of `ipvsadm -Ln`, to the arrays that core/ipvs/ reads.

Sources: ipvsadm(8) and its output; ip_vs_sync.h and ip_vs_wrr.c for what schedulers start from (Linux 6.18).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, V6, Family, family_of, fold
from ..core.layout import FN_NONE, IpvsFlag, IpvsSctpState, IpvsTcpState, IpvsTemplateState, Scheduler, ServiceFlag
from ..dtypes import HZ, PROTOCOLS, records_of
from ..errors import InputError
from ..util.slots import Slots
from ..util.text import decimal, excerpt, text_of

SCHEDULERS = {s.name.lower(): int(s) for s in Scheduler}
HASH_PORTS, HASH_FALLBACK = int(ServiceFlag.HASH_PORTS), int(ServiceFlag.HASH_FALLBACK)
ONE_PACKET = int(ServiceFlag.ONE_PACKET)
# ipvsadm -b, by both names; schedulers other than sh do not look at them
SCHEDULER_FLAGS = {
    "sh-port": "hash_ports",
    "flag-2": "hash_ports",
    "sh-fallback": "hash_fallback",
    "flag-1": "hash_fallback",
}
DEFAULT_PERSISTENCE = 300
SERVICE_OPTIONS = {"-t": "tcp", "-u": "udp", "--tcp-service": "tcp", "--udp-service": "udp", "--sctp-service": "sctp"}
LISTED = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp", "FWM": ""}
PROTOCOL_STATES = {PROTOCOLS["tcp"]: IpvsTcpState, PROTOCOLS["sctp"]: IpvsSctpState}
TEMPLATE, FORGOTTEN = int(IpvsFlag.TEMPLATE), int(IpvsFlag.FORGOTTEN)
# seconds, as core/ipvs/adopt.pxd takes them
MAX_PERSISTENCE = 2**30 // HZ
# seconds after which idle connections end: of TCP, of TCP in FIN_WAIT, of UDP (ipvsadm --set)
TIMEOUTS = (900, 120, 300)
# a listing of them, "Timeout (tcp tcpfin udp): 900 120 300", and the command
TIMEOUT_LINE = re.compile(r"(?:ipvsadm\s+)?(?:Timeout \(tcp tcpfin udp\):|--set)\s+(\S+)\s+(\S+)\s+(\S+)\s*")


@dataclass
class RealServer:
    """A real server: address, port (0: that of the service) and weight."""

    addr: int
    port: int
    weight: int = 1


@dataclass
class Service:
    """A virtual service: of an address and port, or of a firewall mark (then without an address)."""

    family: Family
    addr: int
    port: int
    proto: int
    fwmark: int = 0
    scheduler: str = "wlc"
    # seconds for which a client keeps its server (0: none), and the mask that defines a client
    persistence: int = 0
    client_mask: int = 0
    hash_ports: bool = False
    # sh: what would go to a server without weight goes to another one
    hash_fallback: bool = False
    # --ops: each datagram of UDP is scheduled
    one_packet: bool = False
    servers: list[RealServer] = field(default_factory=list)


def parse(text: str, source: str = "<ipvs>") -> list[Service]:
    """Parse `ipvsadm-save -n` (or `ipvsadm -S -n`) text, or an `ipvsadm -Ln` listing.

    Raises InputError naming source, line and what is not understood. Supported are masquerading (-m) and the
    schedulers rr, wrr, lc, wlc and sh.
    """
    services: dict[Any, Service] = {}
    last: Service | None = None
    for number, line in enumerate(text_of(text, source).splitlines(), 1):
        words = line.split()
        if (
            not words
            or words[0].startswith("#")
            or line.startswith(("IP Virtual Server", "Prot ", "  -> RemoteAddress"))
        ):
            continue
        try:
            if TIMEOUT_LINE.match(line):
                _timeouts(line)
            elif words[0] in ("-A", "-a", "--add-service", "--add-server"):
                _saved(services, words)
            elif words[0] in LISTED:
                last = _listed_service(services, words)
            elif words[0] == "->" and last is not None:
                _listed_server(last, words)
            else:
                raise ValueError("neither -A nor -a; give the output of `ipvsadm-save -n` or `ipvsadm -Ln`")
        except (ValueError, IndexError) as error:
            why = "a value is missing" if isinstance(error, IndexError) else str(error)
            why = excerpt(why, 1000)
            raise InputError(f"{source}:{number}: {why}\n  in the line: {excerpt(line.strip())}") from None
    return list(services.values())


def timeouts(text: str) -> tuple[int, int, int]:
    """Return the idle times of TCP, of TCP in FIN_WAIT and of UDP [s] that a text says, else the kernel's.

    A text says them by `--set 900 120 300`, or as `ipvsadm -l --timeout` does; parse() has refused what cannot be.
    """
    said = [line for line in text.splitlines() if TIMEOUT_LINE.match(line)]
    return _timeouts(said[-1]) if said else TIMEOUTS


def _timeouts(line: str) -> tuple[int, int, int]:
    match = TIMEOUT_LINE.fullmatch(line)
    if match is None:
        raise ValueError("expected --set TCP TCPFIN UDP, in seconds")
    tcp, fin, udp = (
        decimal(word, 0, MAX_PERSISTENCE, "timeout") or kernel
        for word, kernel in zip(match.groups(), TIMEOUTS, strict=True)
    )
    return tcp, fin, udp


def _endpoint(text: str, family: Family | None = None) -> tuple[Family, int, int]:
    """Return family, address and port of "a.b.c.d:port" or "[a::b]:port"."""
    address, colon, port = text.rpartition(":")
    try:
        number = decimal(port, 0, 65535)
    except ValueError:
        colon = ""
    if not colon:
        raise ValueError(f"{excerpt(text)!r} is not ADDRESS:PORT with numbers: use -n") from None
    address = address.strip("[]")
    found = family_of(address)
    if family is not None and found is not family:
        raise ValueError(f"{excerpt(text)!r} is of another family than its service")
    return found, found.to_int(address), number


def _key(kind: str, text: str, v6: bool) -> tuple[Any, Service]:
    if kind == "":
        family = V6 if v6 else V4
        mark = decimal(text, 1, 2**32 - 1, "firewall mark")
        return ("fwmark", mark, family.version), Service(family, 0, 0, 0, fwmark=mark)
    family, addr, port = _endpoint(text)
    return (kind, addr, port, family.version), Service(family, addr, port, PROTOCOLS[kind])


def _take(words: list[str], *names: str) -> str | None:
    """Remove an option and its value from the words."""
    for name in names:
        if name in words:
            at = words.index(name)
            value = words[at + 1]
            del words[at : at + 2]
            return value
    return None


def _saved(services: dict[Any, Service], words: list[str]) -> None:
    command, rest = words[0], words[1:]
    v6 = "-6" in rest
    rest = [w for w in rest if w not in ("-6", "--ipv6")]
    kind = next((k for k in rest if k in (*SERVICE_OPTIONS, "-f", "--fwmark-service")), None)
    if kind is None:
        raise ValueError("no service; expected -t, -u, --sctp-service or -f")
    key, service = _key(SERVICE_OPTIONS.get(kind, ""), str(_take(rest, kind)), v6)
    if command in ("-A", "--add-service"):
        if key in services:
            raise ValueError("the service is added twice")
        service.scheduler = _take(rest, "-s", "--scheduler") or "wlc"
        if any(w in rest for w in ("-p", "--persistent")):
            value = "-p" if "-p" in rest else "--persistent"
            at = rest.index(value)
            seconds = rest[at + 1] if at + 1 < len(rest) and rest[at + 1].isdecimal() else ""
            del rest[at : at + 1 + bool(seconds)]
            _persist(service, seconds or str(DEFAULT_PERSISTENCE), _take(rest, "-M", "--netmask"))
        _flag(service, _take(rest, "-b", "--sched-flags") or "")
        service.one_packet = any(w in rest for w in ("-o", "--ops"))
        _check(service)
        services[key] = service
    else:
        if key not in services:
            raise ValueError("the service was not added before")
        server = _endpoint(str(_take(rest, "-r", "--real-server")), service.family)
        weight = _take(rest, "-w", "--weight") or "1"
        for name in ("-x", "--u-threshold", "-y", "--l-threshold"):
            if (_take(rest, name) or "0").strip("0"):
                raise ValueError("connection thresholds (-x, -y) are not supported: take them out")
        rest = [w for w in rest if w not in ("-m", "--masquerading")]
        services[key].servers.append(RealServer(*server[1:], _weight(weight)))
    refuse = {"-g": "direct routing", "-i": "tunnels", "--gatewaying": "direct routing", "--ipip": "tunnels"}
    for word in rest:
        if word in refuse:
            raise ValueError(f"{word}: {refuse[word]} translate nothing and are not supported; only -m is")
        if word not in ("-o", "--ops"):
            raise ValueError(f"option {word!r} is not supported")


def _persist(service: Service, seconds: str, netmask: str | None) -> None:
    service.persistence = decimal(seconds, 0, MAX_PERSISTENCE, "persistence")
    service.client_mask = service.family.full
    if netmask is not None:
        service.client_mask = (
            service.family.mask_of(decimal(netmask, 0, service.family.bits, "netmask"))
            if netmask.isdecimal()
            else service.family.to_int(netmask)
        )


def _flag(service: Service, flags: str) -> None:
    for flag in filter(None, flags.split(",")):
        if flag not in SCHEDULER_FLAGS:
            known = ", ".join(SCHEDULER_FLAGS)
            raise ValueError(f"flag {excerpt(flag)!r} of a scheduler is not supported; expected some of {known}")
        setattr(service, SCHEDULER_FLAGS[flag], True)


def _weight(weight: str) -> int:
    return decimal(weight, 0, 65535, "weight")


def _check(service: Service) -> None:
    if service.scheduler not in SCHEDULERS:
        raise ValueError(f"scheduler {service.scheduler!r} is not supported; expected one of {', '.join(SCHEDULERS)}")
    if service.port == 0 and not service.fwmark and not service.persistence:
        raise ValueError("port 0 is only possible with -p")


def _listed_service(services: dict[Any, Service], words: list[str]) -> Service:
    key, service = _key(LISTED[words[0]], words[1], "IPv6" in words)
    service.scheduler = words[2]
    if "persistent" in words:
        at = words.index("persistent")
        _persist(service, words[at + 1], _take(words, "mask"))
    _flag(service, next((w.strip("()") for w in words[3:] if w.startswith("(")), ""))
    service.one_packet = "ops" in words[3:]
    _check(service)
    services[key] = service
    return service


def _listed_server(service: Service, words: list[str]) -> None:
    if words[2] != "Masq":
        raise ValueError(f"{words[2]} translates nothing and is not supported; only Masq is")
    service.servers.append(RealServer(*_endpoint(words[1], service.family)[1:], _weight(words[3])))


def _hash(addr: int, port: int, proto: int) -> int:
    # as service_hash of core/ipvs/schedule.pxd
    h = (fold(addr) ^ port << 8 ^ proto) * 0x9E3779B1 & 0xFFFFFFFF
    return h ^ h >> 15


def compile_services(services: list[Service], family: Family) -> dict[str, NDArray[np.void]]:
    """Return the arrays of a family: services SERVICE[n], servers SERVER[m], service_slots uint32[]."""
    records = records_of(family)
    ours = [s for s in services if s.family is family]
    rows: list[Any] = []
    servers: list[Any] = []
    for s in ours:
        weights = [r.weight for r in s.servers]
        step = math.gcd(*weights) or 1
        greatest = max(weights, default=0)
        top = greatest - (step - 1) if greatest else 0
        where = (len(servers), len(s.servers), 0, top, top, step)
        rows.append(
            (
                family.pack(s.addr), family.pack(s.client_mask), s.fwmark, s.port, s.proto, SCHEDULERS[s.scheduler],
                *where, s.persistence * HZ,
                s.hash_ports * HASH_PORTS | s.hash_fallback * HASH_FALLBACK | s.one_packet * ONE_PACKET,
            )
        )  # fmt: skip
        servers += [(family.pack(r.addr), r.weight, 0, 0, r.port, 0) for r in s.servers]
    slots = np.full(1 << (2 * len(ours)).bit_length(), FN_NONE, np.uint32)
    free = Slots(len(slots))
    for n, s in enumerate(ours):
        slots[free.take(_hash(s.addr, s.port, s.proto))] = n
    return {
        "services": np.array(rows, records.SERVICE), "servers": np.array(servers, records.SERVER),
        "service_slots": slots,
    }  # fmt: skip


def format_services(services: list[Service], family: Family, servers: NDArray[np.void]) -> str:
    """Return what `ipvsadm -Ln` prints; servers: SERVER[m] with their counts of connections."""
    out = [
        "IP Virtual Server version 1.2.1 (size=4096)", "Prot LocalAddress:Port Scheduler Flags",
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
    ]  # fmt: skip
    names = {number: name.upper() for name, number in PROTOCOLS.items()}
    place = 0
    for s in (s for s in services if s.family is family):
        where = f"FWM  {s.fwmark}" if s.fwmark else f"{names[s.proto]:<4} {_text(family, s.addr, s.port)}"
        out.append(
            f"{where} {s.scheduler}"
            + (f" persistent {s.persistence}" if s.persistence else "")
            + (" ops" if s.one_packet else "")
        )
        for r in s.servers:
            row = servers[place]
            place += 1
            where = _text(family, r.addr, r.port)
            out.append(f"  -> {where:<28} Masq    {r.weight:<6} {row['active']:<10} {row['inactive']:<10}".rstrip())
    return "\n".join(out) + "\n"


def _text(family: Family, addr: int, port: int) -> str:
    text = family.to_text(addr)
    return f"[{text}]:{port}" if family is V6 else f"{text}:{port}"


def format_connections(family: Family, connections: NDArray[np.void], now: float) -> str:
    """Return what `ipvsadm -Lnc` prints of IPVS_CONN[n] and of templates among them; now: seconds."""
    out = [
        "IPVS connection entries", f"pro {'expire':<6} {'state':<11} {'source':<18} {'virtual':<18} destination",
    ]  # fmt: skip
    names = {number: name.upper() for name, number in PROTOCOLS.items()}
    here = int(now * HZ + 1e-6)
    for c in connections:
        # jiffies wrap
        left = (int(c["expires"]) - here & 0xFFFFFFFF) // HZ
        source, service, server = (
            _text(family, family.unpack(c[f]), _port(c, f)) for f in ("client", "service", "server")
        )
        name = names[int(c["proto"])] if c["proto"] else "IP"
        out.append(f"{name:<3} {left // 60:02d}:{left % 60:02d}  {_state(c):<11} {source:<18} {service:<18} {server}")
    return "\n".join(out) + "\n"


def _state(connection: np.void) -> str:
    kind = IpvsTemplateState if connection["flags"] & TEMPLATE else PROTOCOL_STATES.get(int(connection["proto"]))
    name = kind(int(connection["state"])).name if kind else "UDP"
    if kind is IpvsSctpState:
        # as sctp_state_name_table abbreviates them
        name = name.replace("COOKIE_", "C-").replace("SHUTDOWN_", "S-").replace("ACK_", "ACK-")
    return name


def _port(connection: np.void, end: str) -> int:
    # a template that is not to be found has lost its ports (ip_vs_check_template)
    lost = connection["flags"] & FORGOTTEN and end != "client"
    return 65535 if lost else int(connection[f"{end}_port"])
