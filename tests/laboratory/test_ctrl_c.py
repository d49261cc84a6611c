"""Ctrl-C, sent to real processes in the middle of their work: a line that says what is kept, 130, and it is kept.

That takes real time, some seconds a command: `make check` runs these.
"""

import contextlib
import csv
import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from laboratory.test_surroundings import COMMAND, LINE

import fastnat
from fastnat import capture

pytestmark = pytest.mark.slow
# for a process that never ends; Ctrl-C itself takes tenths of a second
LONG = 600


@pytest.fixture
def place(tmp_path, monkeypatch):
    fastnat.Node.example().save(tmp_path / "node")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*words, **options):
    """Start a command as a terminal would: in a process group of its own."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*COMMAND, *map(str, words)], start_new_session=True, **{**pipes, **options})


def interrupt(process, to_all=True):
    """Send Ctrl-C, as a terminal does to the whole group; return what was printed."""
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130, (process.returncode, out, err)
    assert "Traceback" not in err, err
    assert err.splitlines()[-1].startswith("fastnat: interrupted: "), err
    # no worker, no tool is left; the one that cleans up behind multiprocessing ends a moment later
    end = time.monotonic() + LONG
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(process.pid, 0)
            assert time.monotonic() < end, "a process is left"
            time.sleep(0.02)
    return out, err


def piped(place):
    """Make a node whose rules come through a pipe."""
    fastnat.Node.example().save(place / "piped")
    (place / "piped" / "rules.v4").unlink()
    os.mkfifo(place / "piped" / "rules.v4")


def open_pipe(pipe, process):
    """Wait until the process reads the pipe; it waits until what this returns is closed."""
    end = time.monotonic() + LONG
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            return os.fdopen(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), "w")
        time.sleep(0.01)
    raise AssertionError(f"nobody reads {pipe}: {process.communicate(timeout=1)}")


def written_by(process):
    """Return how many bytes a process has written so far, to files without a name, too."""
    return int(re.search(r"wchar: (\d+)", Path(f"/proc/{process.pid}/io").read_text())[1])


def test_while_modules_are_loaded(place):
    process = start("exhaust")
    end = time.monotonic() + LONG
    while "_multiarray_umath" not in Path(f"/proc/{process.pid}/maps").read_text() and time.monotonic() < end:
        time.sleep(0.002)
    interrupt(process)


@pytest.mark.parametrize(
    "words",
    [
        ["exhaust", "node", "--start-from", "pipe", "--json", "old.json", "--csv", "old.json2"],
        ["exhaust", "--scenario", "pipe"], ["sweep", "pipe"], ["report", "pipe", "--plot", "old.png"],
        ["top", "pipe", "--plot", "old.png"], ["top", "node/addr.json", "--earlier", "pipe", "--apart", "60"],
        ["trace", "node", "--start-from", "pipe"], ["conntrack", "node", "--start-from", "pipe"],
        ["replay", "node", "pipe", "--start-from", "pipe", "-w", "old.json"], ["check", "piped"],
        ["plan", "piped", "--rate", "5", "--plot", "old.png"], ["bench", "--compare", "pipe", "--json", "old.json"],
    ],
    ids=lambda words: " ".join(words),
)  # fmt: skip
def test_a_command_that_reads_keeps_nothing_and_says_so(place, words):
    """Its input is a pipe that nobody writes to; an output that stood there stays."""
    for old in ("old.json", "old.png"):
        (place / old).write_text("old")
    piped(place)
    before = sorted(place.rglob("*"))
    if words[1] == "node/addr.json":
        (place / "node" / "addr.json").write_text(LINE.format(5))
    process = start(*words)
    pipe = place / ("piped/rules.v4" if "piped" in words else "pipe")
    with open_pipe(pipe, process):
        out, err = interrupt(process)
    assert "nothing is kept, no file was changed" in err
    assert out == ""
    assert (place / "old.json").read_text() == (place / "old.png").read_text() == "old"
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("seed", range(10))
def test_at_any_moment(place, seed):
    """Extension modules that are loaded, and NumPy where it asks classes, may take the exception for an answer."""
    process = start("exhaust", "node", "--flows", 30_000_000, "--rate", 200, "--hold", "exp:30", "--sport", "any")
    time.sleep(random.Random(seed).uniform(0.1, 3))
    interrupt(process)


def test_exhaust_keeps_the_rows_of_its_only_run(place):
    words = ("--flows", 30_000_000, "--rate", 200, "--hold", "exp:30", "--clients", 500, "--sport", "any")
    process = start("exhaust", "node", *words, "--start-from", "pipe", "--json", "run.json", "--csv", "run.csv")
    open_pipe(place / "pipe", process).close()
    time.sleep(4)
    out, err = interrupt(process)
    assert "Incomplete: Ctrl-C came; no run is finished, this one came to " in out
    assert "which run.csv and run.json hold" in err
    doc = json.loads((place / "run.json").read_text())
    rows = list(csv.DictReader((place / "run.csv").read_text().splitlines()))
    assert doc["incomplete"].startswith("Incomplete: ")
    assert len(rows) == len(doc["runs"][0]["rows"]) > 0
    assert doc["runs"][0]["opened"] + doc["runs"][0]["failed"] == int(rows[-1]["sent"]) < 30_000_000
    for form in ("text", "md", "html", "junit", "prometheus"):
        shown = subprocess.run([*COMMAND, "report", "run.json", "-o", form], capture_output=True, text=True, check=True)
        assert "ncomplete" in shown.stdout, form


def test_exhaust_keeps_its_finished_runs(place):
    words = ("--flows", 20_000, "--vary", "random-fully,addresses=1:2:3:4,rate=100:200:300", "--seeds", 100)
    process = start("exhaust", "node", *words, "--start-from", "pipe", "--json", "run.json", "--plot", "run.png")
    open_pipe(place / "pipe", process).close()
    time.sleep(3)
    out, err = interrupt(process)
    doc = json.loads((place / "run.json").read_text())
    assert f"{len(doc['runs']):,} of 2,400 runs are finished" in out
    assert "run.png is not drawn" in err
    assert not (place / "run.png").exists()
    assert all(r["opened"] + r["failed"] == 20_000 for r in doc["runs"])


def test_a_sweep_keeps_its_rows_and_goes_on(place):
    (place / "s.toml").write_text(
        '[workload]\ndestinations = ["203.0.113.10:53"]\nflows = 60000\nrate = 300\nhold = 20\n'
        "[vary]\nrate = [300, 400, 500]\n[run]\nseeds = 4\n"
    )
    process = start("sweep", "s.toml", "--out", "rows.csv", "--jobs", 2)
    end = time.monotonic() + LONG
    rows = place / "rows.csv"
    while time.monotonic() < end and not (rows.exists() and rows.read_text().count("\n") >= 3):
        time.sleep(0.05)
    _, err = interrupt(process)
    rows = list(csv.DictReader((place / "rows.csv").read_text().splitlines()))
    assert 2 <= len(rows) < 12
    assert f"rows.csv holds {len(rows)} of 12 rows; the same command continues from it" in err
    assert all(row["peak"] for row in rows)


def test_replay_keeps_what_became_of_the_packets_so_far(place):
    """Whole lines and whole blocks, of the same packets in every file."""
    packet = (
        bytes.fromhex("4500001c0001000040110000")
        + bytes([10, 244, 1, 2, 203, 0, 113, 9])
        + bytes.fromhex("0fa0003500080000")
    )
    with (place / "in.pcapng").open("wb") as file:
        writer = capture.Writer(file)
        for n in range(0, 1_000_000, 10_000):
            writer.write_all((n / 1e6, "cni0", packet) for _ in range(10_000))
    outs = ("--verdicts", "v.jsonl", "-w", "out.pcapng", "--stats", "stats.json")
    process = start("replay", "node", "in.pcapng", *outs, "--start-from", "pipe")
    open_pipe(place / "pipe", process).close()
    end = time.monotonic() + LONG
    while written_by(process) < 1_000_000 and time.monotonic() < end:
        time.sleep(0.01)
    _, err = interrupt(process)
    verdicts = [json.loads(line) for line in (place / "v.jsonl").read_text().splitlines()]
    assert [v["n"] for v in verdicts] == list(range(len(verdicts)))
    assert 0 < len(verdicts) < 1_000_000
    assert f"as they are after the first {len(verdicts):,} packets" in err
    left = sum(len(b.times) for b in capture.read_batches(place / "out.pcapng"))
    assert left == sum(v["verdict"] == "forward" for v in verdicts)
    assert json.loads((place / "stats.json").read_text())["packets"] == len(verdicts)


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "--rate", "11000", "--hold", "exp:20", "--plot", "x.png"],
        ["bench", "piped", "--size", "1m", "--json", "x.json", "--history", "h"],
        ["exhaust", "node", "--hold", "exp:20", "--proto", "tcp", "--clients", "200", "--sport", "random"],
        ["top", "-"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_command_that_computes(place, words):
    piped(place)
    process = start(*words)
    if words[0] == "top":
        process.stdin.write(LINE.format(1) * 1000)
        process.stdin.flush()
    if words[0] == "bench":
        # it measures for seconds, not more: they begin when it has its rules
        with open_pipe(place / "piped" / "rules.v4", process) as rules:
            rules.write((place / "node" / "rules.v4").read_text())
    time.sleep(0.5 if words[0] == "bench" else 2.5)
    _, err = interrupt(process)
    assert "nothing is kept" in err
    assert not list(place.glob("x.*"))


def test_snapshot_leaves_no_folder(place, monkeypatch):
    tools = place / "bin"
    tools.mkdir()
    (tools / "ip").write_text(f"#!/bin/sh\n: > {place}/begun\nexec sleep 60\n")
    (tools / "ip").chmod(0o755)
    process = start("snapshot", "-o", "new", env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"})
    end = time.monotonic() + LONG
    while not (place / "begun").exists() and time.monotonic() < end:
        time.sleep(0.02)
    interrupt(process)
    assert not (place / "new").exists()
