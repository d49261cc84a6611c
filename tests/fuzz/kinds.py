"""What is done with an input of each kind: it is taken or refused with a FastnatError; every other end is a finding.

A kind is a function of the input's bytes and of a folder of its own. It goes as far as a user would: what was read is
compiled, packets run through it, it is written and read again.
"""

import io
import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import programs

import fastnat
from fastnat import FastnatError, bench, capture
from fastnat.addresses import FAMILIES
from fastnat.capture.replay import Replay
from fastnat.conntrack.dump import read as read_dump
from fastnat.conntrack.port_spaces import spaces_of
from fastnat.exhaustion import document, html, report, scenario, simulation
from fastnat.iptables import shapes

# 64 connections: the table fills up, too
ROOM = 64
ADDR = [
    {"ifindex": 1, "ifname": "lo", "flags": ["LOOPBACK"], "mtu": 65536,
     "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
    {"ifindex": 2, "ifname": "cni0", "mtu": 1500,
     "addr_info": [{"family": "inet", "local": "10.244.1.1", "prefixlen": 24, "scope": "global"},
                   {"family": "inet6", "local": "fd01::1", "prefixlen": 64, "scope": "global"}]},
    {"ifindex": 3, "ifname": "eth0", "mtu": 1500,
     "addr_info": [{"family": "inet", "local": "198.51.100.10", "prefixlen": 24, "scope": "global"},
                   {"family": "inet6", "local": "fd02::1", "prefixlen": 64, "scope": "global"}]},
]  # fmt: skip
ROUTE = [{"dst": "default", "gateway": "198.51.100.1", "dev": "eth0"}, {"dst": "10.244.1.0/24", "dev": "cni0"}]
ROUTE6 = [{"dst": "default", "gateway": "fd02::ffff", "dev": "eth0"}, {"dst": "fd01::/64", "dev": "cni0"}]
# files of a node directory, as an input of the kind "node" names them
FILES = (
    "addr.json", "route.json", "route6.json", "sysctl.conf", "rules.v4", "rules.v6", "ipset.save", "ipvs.save",
    "conntrack.txt",
)  # fmt: skip
PART = re.compile(rb"^=== ([a-z0-9.]+)\n", re.MULTILINE)
MASQUERADE = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
MATCHED = "*filter\n{}\nCOMMIT\n"


def directory(folder, **files):
    """Write a node directory: two networks, and the files given (`_` in a name for the dot)."""
    base = {"addr_json": json.dumps(ADDR), "route_json": json.dumps(ROUTE), "route6_json": json.dumps(ROUTE6)}
    base |= {"rules_v4": MASQUERADE, "rules_v6": MASQUERADE}
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for name, content in (base | files).items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def exercise(engine):
    """Run a little traffic of both families, there and back, and check every table."""
    now = engine.now
    for six in (False, True) if 6 in engine.stacks else (False,):
        rng = np.random.default_rng(7)
        for _ in range(3):
            batch = programs.batch(rng, 48, six, len(engine.iface_names))
            try:
                out = engine.process(batch, now)
                engine.process(programs.replies(batch, out), now + 0.5)
                engine.advance(now + 2)
            except fastnat.ClockError:
                return
            now = engine.now
    programs.check(engine)


def rules(data, folder):
    """A file of iptables-save text, as rules.v4 and as rules.v6; read by shapes as by the general parser."""
    text = data.decode(errors="replace")
    for family, lenient in product(FAMILIES.values(), (False, True)):
        quick = programs.read_rules(text, family, lenient)
        with patch.object(shapes.Shapes, "rule", lambda *_: None):
            assert programs.read_rules(text, family, lenient) == quick, "by its shape, and by the general parser"
    for version in (4, 6):
        for lenient in (False, True):
            try:
                node = fastnat.Node.load(directory(folder, **{f"rules_v{version}": data}), lenient)
                engine = fastnat.Engine(node, max_connections=ROOM)
            except FastnatError:
                continue
            exercise(engine)
            saved = engine.save_rules(version)
            (node.load_rules if version == 4 else node.load_rules6)(saved, "saved", lenient=True)
            break


def ipset(data, folder):
    """A file of `ipset save` text, and a rule for every set."""
    node = fastnat.Node.load(directory(folder, ipset_save=data))
    for family, load in (("inet", node.load_rules), ("inet6", node.load_rules6)):
        named = [s for s in node.sets.values() if re.fullmatch(r"\w{1,31}", s.name)][:20]
        lines = []
        for s in named:
            dims = {"list:set": 3}.get(s.kind, s.kind.count(",") + 1)
            lines.append(f"-A FORWARD -m set --match-set {s.name} {','.join(('src', 'dst', 'dst')[:dims])} -j ACCEPT")
        try:
            load(MATCHED.format("\n".join(lines)))
            fastnat.Engine(node, max_connections=ROOM)
        except FastnatError:
            # a set of the other family, or of both
            load(MATCHED.format("\n".join(line for line, s in zip(lines, named, strict=True) if s.family == family)))
    exercise(fastnat.Engine(node, max_connections=ROOM))


def ipvs(data, folder):
    """A file of virtual services, as saved or listed."""
    node = fastnat.Node.load(directory(folder, ipvs_save=data))
    engine = fastnat.Engine(node, max_connections=ROOM)
    for s in node.services[:8]:
        if not s.fwmark and s.family.version == 4:
            headers = engine.packets(proto=s.proto, src="203.0.113.9", sport=np.arange(9), dst=s.addr, dport=s.port,
                                     iface="eth0", tcp_flags=2)  # fmt: skip
            engine.process(headers, engine.now)
    exercise(engine)
    for version in engine.stacks:
        node.load_services(engine.services(version))


def dump(data, folder):
    """`conntrack -L` text: to start from, and for `top`."""
    engine = fastnat.Engine(fastnat.Node.load(directory(folder)), max_connections=4096)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    try:
        engine.conntrack.load(text)
    except FastnatError:
        # all or nothing
        assert len(engine.conntrack) == 0, f"{len(engine.conntrack)} connections of a dump that was refused"
    programs.check(engine)
    for style in ("conntrack", "extended", "proc"):
        engine.conntrack.format(style)
    for c in engine.conntrack:
        str(c)
    exercise(engine)
    engine.conntrack.flush()
    programs.check(engine)
    try:
        there = read_dump(io.BytesIO(data))
    except FastnatError:
        return
    for space in spaces_of(there):
        assert 0 <= space.occupancy <= 1, space


HELPED = "*raw\n-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\nCOMMIT\n"


def captured(data, folder):
    """A capture, pcap or pcapng, replayed in one call and datagram by datagram."""
    path = folder / "capture"
    path.write_bytes(data)
    for more in ({}, {"rules_v4": HELPED, "rules_v6": HELPED}):
        engine = fastnat.Engine(fastnat.Node.load(directory(folder, **more)), max_connections=ROOM, events=1 << 12)
        for iface in (None, "cni0"):
            out, one_by_one = capture.Writer(io.BytesIO()), capture.Writer(io.BytesIO())
            try:
                for answers in Replay(engine, iface).run(capture.read_batches(path)):
                    answers.counts()
                    json.loads("[" + ",".join(line.json() for line in answers.lines()) + "]")
                    one_by_one.write_all(answers.emitted())
                    answers.write(out)
                    engine.all_events()
            except FastnatError:
                continue
            assert out.file.getvalue() == one_by_one.file.getvalue(), "written in one piece, and packet by packet"
        programs.check(engine)


def node(data, folder):
    """A whole node directory as one text: lines `=== NAME` begin its files."""
    words = PART.split(data)
    files = {name.decode().replace(".", "_"): text for name, text in zip(words[1::2], words[2::2], strict=True)}
    kept = {name: text for name, text in files.items() if name.replace("_", ".") in FILES}
    loaded = fastnat.Node.load(directory(folder, **kept), with_conntrack=True)
    try:
        engine = fastnat.Engine(loaded)
    except FastnatError:
        engine = fastnat.Engine(loaded, max_connections=ROOM)
    exercise(engine)
    loaded.save(folder / "again")
    again = fastnat.Node.load(folder / "again")
    assert again.iface_names == loaded.iface_names
    engine.reload()
    exercise(engine)
    engine.save(folder / "state.npz")
    exercise(fastnat.Engine.restore(folder / "state.npz"))


def toml(data, folder):
    """A scenario; what it asks for is run at a small scale."""
    path = folder / "scenario.toml"
    path.write_bytes(data)
    s = scenario.load(path)
    work = replace(s.work, flows=min(s.work.flows, 64), clients=min(s.work.clients, 64))
    example = fastnat.Node.example()
    for variant in s.variants[:2]:
        str(variant)
    simulation.MAX_KEEPING = 20_000
    simulation.run(fastnat.Engine(example, s.profile, max_connections=256), work)


def run(data, folder):
    """What `exhaust --json` wrote, in every form of `report`."""
    path = folder / "run.json"
    path.write_bytes(data)
    doc = document.load(path)
    for form in (report.to_text, report.to_markdown, report.to_junit, report.to_prometheus, html.to_html):
        form(doc).encode()


def figures(data, folder):
    """What `bench --json` wrote, compared with itself."""
    path = folder / "bench.json"
    path.write_bytes(data)
    doc = bench.load(path)
    for change in bench.changes(doc, doc):
        str(change.percent)


def state(data, folder):
    """A file of Engine.save(): taken over, used, saved and taken over again."""
    path, second = folder / "state.npz", folder / "second.npz"
    path.write_bytes(data)
    engine = fastnat.Engine.restore(path)
    programs.check(engine)
    exercise(engine)
    engine.save(second)
    again = fastnat.Engine.restore(second)
    programs.check(again)
    assert len(again.conntrack) == len(engine.conntrack)
    for style in ("conntrack", "extended", "proc"):
        again.conntrack.format(style)


def packets(data, folder):
    """A program of calls with packets as programs.py writes it."""
    programs.run(json.loads(data), folder)


KINDS = {
    "packets": packets, "state": state, "rules": rules, "ipset": ipset, "ipvs": ipvs, "dump": dump,
    "capture": captured, "node": node, "scenario": toml, "run": run, "bench": figures,
}  # fmt: skip
CORPUS = Path(__file__).parent / "corpus"
