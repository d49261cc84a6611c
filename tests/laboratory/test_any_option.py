"""Every option of every command with values that nobody means: one message and a status, never an exception."""

import io
import json
import os
import resource
import signal
import sys
from pathlib import Path

import click
import pytest

import fastnat
from fastnat import capture, cli

VALUES = (
    "", "-1", "0", "1", "nan", "inf", "-inf", "1e300", "1e-300", "9" * 23, "0x10", "x", "x" * 300, "\x1b[31m", "\udcff",
    "\u202e", "a=b", "a:b,c", "1-", "exp:nan", "exp:-5", "uniform:5-1", "pareto:1,0", "pareto:5,1", "1.2.3.4:99999",
    "::1", "list", "-", "/nonexistent/x", ".", "/dev/null", "/dev/full", "BINARY", "TEXT", "NODE",
)  # fmt: skip
SCENARIO = '[workload]\ndestinations = ["203.0.113.10:53"]\nflows = 50\n[vary]\nrandom-fully = true\n'
DUMP = "udp 17 29 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=5.5.5.5 sport=2 dport=1 mark=0 use=1\n"
MOST_MEMORY = 3 << 30


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of inputs, and for each command words with which it ends well and soon."""
    folder = tmp_path_factory.mktemp("options")
    fastnat.Node.example().save(folder / "node")
    (folder / "s.toml").write_text(SCENARIO)
    (folder / "dump").write_text(DUMP)
    (folder / "binary").write_bytes(bytes(range(256)) * 4)
    times = dict.fromkeys(("low", "high", "ns"), 1.0)
    there = dict.fromkeys(("node", "profile", "cpu", "fastnat", "python", "numpy"), "1")
    bench = {"format": 2, "date": "2026-01-01", "environment": there, "counters": {"a": 1}, "instructions": {}}
    (folder / "bench.json").write_text(json.dumps({**bench, "times": {"b": times}}))
    with (folder / "in.pcapng").open("wb") as file:
        capture.Writer(file).write(0.0, "cni0", b"\x45" + bytes(19))
    before = sys.stdout
    sys.stdout = io.StringIO()
    assert cli.run(["exhaust", "--flows", "50", "--json", str(folder / "run.json")]) == 0
    sys.stdout = before
    node = str(folder / "node")
    words = {
        "exhaust": [node, "--flows", "50"], "plan": [node, "--rate", "5", "--fails", "0.1"],
        "sweep": [str(folder / "s.toml"), "--out", str(folder / "rows.csv"), "--jobs", "1"],
        "report": [str(folder / "run.json")], "top": [str(folder / "dump")], "trace": [node], "conntrack": [node],
        "doctor": [str(folder / "dump"), node], "diff": [node, node, "--packets", "600", "--seconds", "2"],
        "snapshot": [], "replay": [node, str(folder / "in.pcapng")], "check": [node],
        "bench": ["--from-json", str(folder / "bench.json"), "--compare", str(folder / "bench.json")],
    }  # fmt: skip
    return folder, words


def cases(name):
    """Return every (option or place of an argument, value) of a command."""
    found = []
    command = cli.group.get_command(click.Context(cli.group), name)
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            found += [(command.params.index(parameter), value) for value in VALUES]
        elif parameter.name != "help" and not parameter.is_flag:
            found += [(parameter.opts[-1], value) for value in VALUES]
    return found


@pytest.fixture
def little_memory():
    """At most 3 GB of addresses more than are taken now, so that what asks for too much is told so."""
    # the sanitizer has terabytes of addresses, and a limit of its own in the Makefile
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    # a process with too little to begin with is ended by OpenBLAS, without a word
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_any_value_of_any_option_is_answered(name, place, capfd, monkeypatch):
    folder, words = place
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", "/nonexistent")
    files = {"BINARY": str(folder / "binary"), "TEXT": str(folder / "dump"), "NODE": str(folder / "node")}
    monkeypatch.setattr(cli, "ignore_interrupts", lambda: None)

    def too_long(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    wrong = []
    for where, value in cases(name):
        given = files.get(value, value)
        # what a sweep or a run of the laboratory would take for hours
        if (where, value) in {("--flows", "9" * 23), ("--jobs", "9" * 23)}:
            continue
        line = [name, *words[name]]
        if isinstance(where, int):
            at = next((n for n, word in enumerate(line[1:], 1) if word.startswith("-")), len(line))
            arguments = line[1:at] or [""]
            arguments[min(where, len(arguments) - 1)] = given
            line = [name, *line[at:], "--", *arguments]
        else:
            line += [where, given]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DUMP.encode())))
        # a command takes a second at the most: this is for one that never ends
        signal.alarm(600)
        try:
            status = cli.run(line)
        except BaseException as error:
            wrong.append((line, repr(error)))
            continue
        finally:
            signal.alarm(0)
        said = capfd.readouterr()
        well = status in (0, 1, 2) and (status != 2 or said.err) and "Traceback" not in said.err
        if not well or {"\x1b", "\u202e"} & {*said.out, *said.err}:
            wrong.append((line, status, said))
    signal.signal(signal.SIGALRM, before)
    assert not wrong, "\n".join(map(str, wrong))
