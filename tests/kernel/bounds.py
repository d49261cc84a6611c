"""Packets right at the bounds of what the kernel compares, and one to either side: the running kernel's word on each.

    python tests/kernel/bounds.py [KIND...]     as root, writes bounds/KIND.json.xz anew: recordings of gateway.py

The engine goes first; where it differs from the kernel nothing is written. tests/behaviour/test_bounds.py goes them on
every machine. Conversations of TCP and SCTP run behind the rules of random_streams.py, which write into each packet
what conntrack makes of it.
"""

import itertools
import json
import lzma
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kernel import bound_drawn, bound_forms, bound_more, bound_rest, gateway
from kernel.bound_calls import calls_of_ftp, calls_of_pptp, calls_of_tftp
from kernel.bound_rules import matches, nftables, options
from kernel.bound_streams import chunks, segments
from kernel.bound_ways import ways

FOLDER = Path(__file__).with_name("bounds")
# names, nodes and conversations: lists of packets
KINDS = {
    "segments": segments,
    "chunks": chunks,
    "ftp": calls_of_ftp,
    "pptp": calls_of_pptp,
    "tftp": calls_of_tftp,
    "matches": matches,
    "nftables": nftables,
    "options": options,
    "ways": ways,
    "children": bound_rest.children,
    "repeats": bound_rest.repeats,
    "by_ports": bound_rest.by_ports,
    "source_routes": bound_rest.source_routes,
    "behind": bound_rest.behind,
    "groups": bound_rest.groups,
    "hops": bound_rest.hops,
    "routing": bound_rest.routing,
    "sets": bound_rest.counted_sets,
    "by_devices": bound_rest.by_devices,
    "late": bound_rest.late,
    "parts": bound_rest.parts,
    "ip_options": bound_rest.ip_options,
    "several": bound_rest.several,
    "ftp_of_ipv4": bound_rest.ftp_of_ipv4,
    "zones": bound_rest.zones,
    "device_sets": bound_rest.device_sets,
    "own_ways": bound_rest.own_ways,
    "icmp_types": bound_more.icmp_types,
    "lists": bound_more.lists,
    "over_at_once": bound_more.over_at_once,
    "byte_bursts": bound_more.byte_bursts,
    "cut_extensions": bound_more.cut_extensions,
    "parts_with_options": bound_more.parts_with_options,
    "unspecified": bound_more.unspecified,
    "odd_routes": bound_more.odd_routes,
    "option_walks": bound_forms.option_walks,
    "cut_stores": bound_forms.cut_stores,
    "cut_matches": bound_forms.cut_matches,
    "flows": bound_forms.flows,
    "lo_zones": bound_forms.lo_zones,
    "directed": bound_forms.directed,
    "near_addresses": bound_forms.near_addresses,
    "crossings": bound_forms.crossings,
    "own_records": bound_forms.own_records,
    "nested": bound_forms.nested,
    "sources_by_lo": bound_forms.sources_by_lo,
    "restarts": bound_drawn.restarts,
    "pointed": bound_drawn.pointed,
    "zeroed": bound_drawn.zeroed,
    "stored_parts": bound_drawn.stored_parts,
    "cut_routing": bound_drawn.cut_routing,
    "socket_owners": bound_drawn.socket_owners,
    "by_protocol": bound_drawn.by_protocol,
    "errors": bound_drawn.errors,
    "offers": bound_drawn.offers,
    "named": bound_drawn.named,
    "by_lo": bound_drawn.by_lo,
    "stripped": bound_drawn.stripped,
    "counted_ends": bound_drawn.counted_ends,
}


def recorded(name, node, talks):
    """Return the recording of conversations but those in which a port is drawn; or raise gateway.Difference."""
    while True:
        packets = [packet for talk in talks for packet in talk]
        with tempfile.TemporaryDirectory() as folder:
            number = gateway.compare(node, gateway.Given(packets), Path(folder))
        if number == len(packets):
            return gateway.recorded(node, packets, name)
        ends = list(itertools.accumulate(map(len, talks)))
        # the one whose packet comes next
        talks.pop(next(n for n, end in enumerate(ends) if end > number))


def main():
    """Record kinds."""
    FOLDER.mkdir(exist_ok=True)
    failed = 0
    for kind in sys.argv[1:] or KINDS:
        found = []
        for name, node, talks in KINDS[kind]():
            try:
                found.append(recorded(name, node, talks))
            except gateway.Difference as difference:
                failed += 1
                print(f"{kind}, {name}: {difference}")
            print(name, len(found and found[-1]["packets"]), flush=True)
        text = json.dumps(found, separators=(",", ":"))
        (FOLDER / f"{kind}.json.xz").write_bytes(lzma.compress(text.encode()))
        print(f"{kind}: {len(found)} recordings, {sum(len(said['packets']) for said in found)} packets")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
