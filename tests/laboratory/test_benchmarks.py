"""The benchmarks run: what they measure is nobody's business here, but each of them still has to find what it calls."""

import ipaddress
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from peers import KINDS, NAT, NAT6, flow, kernel, ovs
from peers.__main__ import engine
from peers.arrays import ArrayNat
from peers.dictionary import DictNat, flows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6

ROOT = Path(__file__).resolve().parents[2]


def run(*words):
    """Run something of the benchmarks at a thousandth of its size; return what it printed."""
    # pytest-benchmark does not measure in a worker of pytest-xdist, and reads from the environment whether it is in one
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    where = {**inherited, "FASTNAT_FEW": "1", "PYTHONPATH": str(ROOT / "benchmarks")}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_benchmark_runs():
    said = run("-m", "pytest", "benchmarks", "--benchmark-enable", "--benchmark-only", "-q", "-p", "no:cacheprovider")
    assert " passed" in said
    assert "failed" not in said


@pytest.mark.slow
def test_every_row_of_the_table_is_measured():
    said = run("benchmarks/rows.py", "--live", "2048")
    figures = [line.split("|")[2] for line in said.splitlines() if line.startswith("| ")]
    assert len(figures) > 30
    assert all(float(figure.replace(",", "")) > 0 for figure in figures)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "not a source tree of Open vSwitch"),
        ({"lib/conntrack.h": "", "configure.ac": "AC_INIT(another, 1.0)"}, "does not say which version"),
        ({"lib/conntrack.h": "", "configure.ac": "AC_INIT(openvswitch, 3.1.0, x)"}, "run ./boot.sh there"),
        (
            {"lib/conntrack.h": "", "configure.ac": "AC_INIT(openvswitch, 3.1.0, x)",
             "configure": "echo no compiler; exit 77"},
            "no compiler",
        ),
        (
            {"lib/conntrack.h": "", "configure.ac": "AC_INIT(openvswitch, 3.1.0, x)", "config.status": "",
             "configure": "", "Makefile": "lib/libopenvswitch.la:\n\techo no library; exit 1\n"},
            "no library",
        ),
    ],
    ids=["empty", "other", "not booted", "configure fails", "make fails"],
)  # fmt: skip
def test_a_peer_that_does_not_build_says_why(files, said, tmp_path, monkeypatch):
    """A tree that is none of Open vSwitch, or does not build, is named with the reason before anything is measured."""
    monkeypatch.setattr(ovs, "ROOT", tmp_path)
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, text in files.items():
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(f"#!/bin/sh\n{text}\n" if name == "configure" else text)
        (tree / name).chmod(0o755)
    with pytest.raises(ovs.BuildError) as caught:
        ovs.build(tree)
    assert str(tree) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["UDP", "UDP over IPv6"])
def test_peers_translate_alike(name):
    """What is compared is the same work: the peers of Python and the engine give each flow the same source and port."""
    kind, numbers = KINDS[name], np.arange(60_000 - 128, 60_000 + 128)
    nat = engine(kind, 0, 1024)
    out = nat.process(kind.packets(nat, numbers))
    peer = DictNat(NAT if name == "UDP" else NAT6)
    translated = [peer.packet(key) for key in flows(int(numbers[0]), len(numbers), kind)]
    assert out["sport"].tolist() == [port for _, _, port, _, _ in translated]
    sources = out["src"] if name == "UDP" else out["src"]["low"] + (out["src"]["high"].astype(object) << 64)
    assert sources.tolist() == [src for src, *_ in translated]
    if name == "UDP":
        assert (
            ArrayNat(1024).process(*(np.asarray(a, np.uint32) for a in flow(numbers))).tolist() == out["sport"].tolist()
        )


@pytest.mark.parametrize("name", list(KINDS))
def test_the_kernel_gets_the_engine_s_flows(name):
    """The datagrams for the kernel have the headers of the engine's packets, and right lengths and checksums."""
    kind, numbers = KINDS[name], np.arange(0, 120_000, 30_001)
    nat = engine(kind, 0, 1024)
    segment = (0x02, 1000, 0) if kind.proto == "tcp" else None
    layer, other = (IPv6, IP) if kind.src > 2**32 else (IP, IPv6)
    for data, p in zip(kernel.packets(kind, numbers, segment), kind.packets(nat, numbers), strict=True):
        read = layer(data)
        inner = TCP if segment else UDP
        assert other not in read
        assert (read[inner].sport, read[inner].dport) == (p["sport"], p["dport"])
        numeric = [int(ipaddress.ip_address(a)) for a in (read.src, read.dst)]
        wide = [
            int(p[end]) if layer is IP else (int(p[end]["high"]) << 64) + int(p[end]["low"]) for end in ("src", "dst")
        ]
        assert numeric == wide
        # scapy fills in lengths and checksums anew
        if layer is IP:
            del read.len, read.chksum
        else:
            del read.plen
        if segment:
            assert read[TCP].flags == "S"
            del read[TCP].chksum
        else:
            del read[UDP].len
        assert bytes(read) == data
