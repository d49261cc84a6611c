"""A node whose table is a dump of `conntrack -L`: what goes on there is what went on before."""

import random
import re

import pytest
from behaviour.test_walks import RECORDED
from kernel import gateway
from kernel.gateway import PAUSE, RELOAD

import fastnat
from fastnat.capture.replay import Replay

# what rules remember and no listing says
REMEMBERED = re.compile(
    r"mode nth|-m limit|limit rate|recent|hashlimit|quota|numgen|--helper|ct helper set|SET |socket|statistic"
)
KINDS = ("gateways", "nftables", "segments", "chunks")
WALKS = {kind: RECORDED[kind] for kind in KINDS}
# of each kind a tenth in make test
EVERY = [
    pytest.param(kind, n, marks=pytest.mark.slow if n % 10 else [])
    for kind, found in WALKS.items()
    for n, said in enumerate(found)
    if not any(packet[0] in (PAUSE, RELOAD) for packet in said["packets"])
]


def forgetful(text):
    """Return rules without those that remember what no listing says."""
    kept = re.compile(r"\s*(set|map|limit|quota|counter|chain|table|type|elements|[:*}]|COMMIT)")
    return "".join(f"{line}\n" for line in text.splitlines() if kept.match(line) or not REMEMBERED.search(line))


def step(run, nat, now, packet):
    """Return what leaves for a packet, and whether the packet is invalid, and whether it opens a connection."""
    before = nat.stats
    left = gateway.answers_of(run, now, [(packet[0], bytes.fromhex(packet[1]))])[0]
    return gateway.shown(left), *(nat.stats[name] - before[name] for name in ("invalid", "new"))


def ports(packet):
    """Return the ports of a packet, whichever way it goes."""
    at = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    return frozenset((packet[at : at + 2], packet[at + 2 : at + 4]))


def is_reset(packet):
    """Tell whether a packet resets a connection of TCP: which acknowledgement it has to reach is in no dump."""
    at = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    return (
        packet[9 if packet[0] >> 4 == 4 else 6] == 6 and packet[at + 13 : at + 14] > b"\3" and packet[at + 13] & 4 != 0
    )


def is_part(packet):
    """Tell whether a packet is a fragment, or cut: what came of its datagram before is in no dump."""
    if len(packet) < 20:
        return True
    if packet[0] >> 4 == 4:
        return (packet[6] << 8 | packet[7]) & 0x3FFF != 0
    return 44 in (packet[6], *packet[40:41])


@pytest.mark.one_of(2)
@pytest.mark.parametrize(("kind", "n"), EVERY)
def test_goes_on_from_a_dump(kind, n, tmp_path):
    """A recorded walk goes on in an engine that begins with the table, the rules and the counters of the first one.

    A dump says neither the windows of TCP nor the tags of SCTP: what the first engine takes is taken, and what it finds
    invalid may be, after which that connection goes its own way; as after a SYN, for who has closed first decides
    whether it may begin anew, which no dump says either. All others leave alike; but rules of segments and
    chunks write the seconds that are left into them, which depend on windows, and a port that is drawn is another.
    """
    said = WALKS[kind][n]
    files = {name: forgetful(text) if name.startswith("rules") else text for name, text in said["files"].items()}
    for folder in ("first", "then"):
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text)
    packets, now = said["packets"], said["epoch"]
    pace, middle = said["seconds"] / len(packets), random.Random(f"{kind} {n}").randrange(1, len(packets))
    first = fastnat.Engine(fastnat.Node.load(tmp_path / "first"), epoch=now)
    run = Replay(first)
    for packet in packets[:middle]:
        step(run, first, now, packet)
        now += pace
    (tmp_path / "then/conntrack.txt").write_text(first.conntrack.format())
    texts = {
        "rules.v4": lambda: first.save_rules(4),
        "rules.v6": lambda: first.save_rules(6),
        "rules.nft": first.list_nft,
    }
    for name in texts.keys() & files.keys():
        (tmp_path / "then" / name).write_text(texts[name]())
    then = fastnat.Engine(fastnat.Node.load(tmp_path / "then", with_conntrack=True), epoch=now)
    assert len(then.conntrack) == len(first.conntrack)
    again, drawn, apart = Replay(then), first.stats["random_draws"], set()
    for at, packet in enumerate(packets[middle:], middle):
        left, invalid, new = step(run, first, now, packet)
        also, refused, opened = step(again, then, now, packet)
        now += pace
        if first.stats["random_draws"] != drawn:
            return
        data = bytes.fromhex(packet[1])
        key = ports(data)
        if refused < invalid or opened != new or (refused > invalid and is_reset(data)):
            apart.add(key)
        if key not in apart and not is_part(data):
            assert refused == invalid, f"packet {at}: {packet[1]}"
            assert left == also or kind in ("segments", "chunks"), f"packet {at}: {packet[1]}"
