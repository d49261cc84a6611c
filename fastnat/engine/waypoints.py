"""Where a packet has been, out of what the core has noted of it: conntrack, routing, each hook that it came through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import Family
from ..core.layout import Hook, RouteKind, WaypointPlace
from ..dtypes import CtInfo, Reason

# a packet that goes round by lo passes each of them again
MOST = 4096
PLACES = {
    **{int(hook): hook.name for hook in Hook},
    WaypointPlace.CONNTRACK: "conntrack", WaypointPlace.ROUTE: "routing", WaypointPlace.SERVER: "IPVS",
}  # fmt: skip
SAYS = {
    CtInfo.NEW: "NEW: a connection has its tuple, of which no answer was seen",
    CtInfo.RELATED: "RELATED: another connection leads to it",
    CtInfo.RELATED_REPLY: "RELATED_REPLY: another connection leads to it",
    CtInfo.ESTABLISHED: "ESTABLISHED: a connection has its tuple",
    CtInfo.ESTABLISHED_REPLY: "ESTABLISHED_REPLY: a connection has its tuple as its reply",
    CtInfo.UNTRACKED: "UNTRACKED: a rule or its kind keeps conntrack from it",
    CtInfo.INVALID: "INVALID: conntrack knows nothing to make of it",
}


@dataclass(frozen=True)
class Waypoint:
    """How a packet was behind one place: a hook, "conntrack", "routing", or "IPVS" where that has chosen a server."""

    place: str
    # what conntrack or routing found, why it was dropped, or ""
    says: str
    # source address and port, destination address and port
    ends: tuple[str, int, str, int]
    mark: int


def waypoints_of(log: NDArray[Any], routes: NDArray[Any], names: list[str], family: Family) -> list[Waypoint]:
    """Return where a packet has been, in order. log: WAYPOINT[n]; routes: ROUTE[n]; names: of the interfaces."""
    found: list[Waypoint] = []
    for row in log:
        place, reason, t = int(row["place"]), Reason(int(row["reason"])), row["t"]
        src, dst = (family.to_text(family.unpack(t[name])) for name in ("src", "dst"))
        says = ""
        if reason != Reason.NONE:
            says = f"dropped: {reason.name.lower()}"
        elif place == WaypointPlace.CONNTRACK:
            info = CtInfo(int(row["ctinfo"]))
            says = "NEW: no connection has its tuple" if info == CtInfo.NEW and row["is_new"] else SAYS[info]
            # by lo a packet comes round with the connection that it has
            says = f"{info.name}, as before" if any(w.place == "conntrack" for w in found) else says
        elif place in (WaypointPlace.ROUTE, WaypointPlace.SERVER) and row["route"]:
            says = route_text(routes[int(row["route"]) - 1], names, family)
        elif place == Hook.POSTROUTING:
            says = f"leaves by {names[int(row['out_iface'])]}"
        ends = (src, int(t["sport"]), dst, int(t["dport"]))
        found.append(Waypoint(PLACES[place], says, ends, int(row["mark"])))
    return found


def route_text(route: np.void, names: list[str], family: Family) -> str:
    """Return a route as `ip route` prints it, as far as the core knows it."""
    prefix = family.unpack(route["mask"]).bit_count()
    where = f"{family.to_text(family.unpack(route['dst']))}/{prefix}" if prefix else "default"
    kind = RouteKind(int(route["kind"]))
    gateway = family.unpack(route["gateway"])
    words = [where if kind == RouteKind.UNICAST else f"{kind.name.lower()} {where}"]
    if gateway:
        words.append(f"via {family.to_text(gateway)}")
    return " ".join([*words, f"dev {names[int(route['iface'])]}"])
