"""Closed pipes, full devices and odd surroundings of a real process: the right status, and one line at the most."""

import copy
import json
import os
import pickle
import pty
import re
import subprocess
import sys

import pytest
from laboratory.test_any_node import ask

import fastnat

COMMAND = [sys.executable, "-m", "fastnat"]
LINE = "udp 17 29 src=10.1.1.1 dst=2.2.2.2 sport={0} dport=2 src=2.2.2.2 dst=5.5.5.5 sport=2 dport={0} mark=0 use=1\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    fastnat.Node.example().save(tmp_path / "node")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.one_of(3)
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["exhaust"], 0), (["exhaust", "--flows", "70000", "--max-fail", "0.01"], 1), (["trace"], 0), (["--help"], 0),
        (["exhaust", "--help"], 0), (["conntrack", "node", "--start-from", "dump"], 0), (["top", "dump", "--json"], 0),
        (["exhaust", "--json", "-"], 0), (["exhaust", "--flows", "2000", "--csv", "/dev/stdout"], 0),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else None,
)  # fmt: skip
def test_a_closed_pipe_ends_quietly_and_keeps_the_answer(place, words, status):
    """`| head -0`: nobody reads a byte."""
    (place / "dump").write_text("".join(LINE.format(n) for n in range(1, 5000)))
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, *words], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.one_of(4)
@pytest.mark.parametrize("words", [["exhaust", "--flows", "1000"], ["trace", "--json"], ["--help"], ["check", "node"]])
@pytest.mark.parametrize("where", ["/dev/full", "closed", "read-only"])
@pytest.mark.parametrize("unbuffered", ["", pytest.param("1", marks=pytest.mark.slow)])
def test_standard_output_that_takes_nothing(place, monkeypatch, words, where, unbuffered):
    """One line, and 2, whether Python buffers or not."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    shell = {"/dev/full": '"$@" > /dev/full', "closed": '"$@" >&-', "read-only": '"$@" 1< /dev/null'}[where]
    done = subprocess.run(["sh", "-c", shell, "sh", *COMMAND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("fastnat: standard output: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "shell",
    ['"$@" 2>&-', '"$@" 2> /dev/full', '"$@" <&-', 'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$@"', "env -i \"$@\"",
     'PYTHONIOENCODING=latin-1 "$@"', 'TERM=dumb COLUMNS=1 "$@"', 'COLUMNS=x LINES=-1 "$@"', 'HOME= "$@"'],
)  # fmt: skip
def test_surroundings(place, shell):
    for words in (["exhaust", "--flows", "1000"], ["trace"], ["exhaust", "--help"], ["check", "node"]):
        done = subprocess.run(["sh", "-c", shell, "sh", *COMMAND, *words], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), words
        assert done.stdout


@pytest.mark.slow
def test_the_status_of_check(place):
    """1: the node is there, and its rules do not load; 2: there is no node."""

    def check(*words):
        done = subprocess.run([*COMMAND, "check", *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr.count("\n")

    assert check("node") == (0, 0)
    (place / "node" / "rules.v4").write_text("*nat\n-A POSTROUTING -j NOWHERE\nCOMMIT\n")
    assert check("node") == (1, 1)
    assert check("none") == (2, 1)
    assert check("node/addr.json") == (2, 1)
    assert check("/dev/null") == (2, 1)
    assert check("node", "--nothing")[0] == 2


def test_names_that_are_no_utf_8(place):
    """They are shown with the bytes escaped; a run about such a node is saved and reported; JSON has no half pair."""
    node, dump, run = (os.fsdecode(name) for name in (b"no\xffde", b"d\xfe.txt", b"r\xfd.json"))
    (place / "node").rename(place / node)
    (place / dump).write_text(LINE.format(7))
    assert ask("check", node)[1].startswith(r"no\xffde: ")
    assert json.loads(ask("check", node, "-o", "json")[1])["node"] == r"no\xffde"
    assert ask("exhaust", node, "--flows", "500", "--json", run)[0] == 0
    assert (place / run).read_text().isascii()
    assert "All 500 flows found a port." in ask("report", run)[1]
    assert r"node no\xffde, kernel" in ask("report", run, "-o", "html")[1]
    assert ask("top", dump)[0] == ask("conntrack", node, "--start-from", dump)[0] == 0
    done = subprocess.run([*COMMAND, "check", f"{node}/none"], capture_output=True, check=False)
    assert rb"no\xffde/none: No such" in done.stderr


def on_a_terminal(words, columns):
    """Run a command on a terminal of so many columns; return its exit status and what it showed."""
    pid, fd = pty.fork()
    if not pid:
        os.environ.update(COLUMNS=str(columns), TERM="xterm")
        os.execv(COMMAND[0], [*COMMAND, *words])
    said = b""
    while True:
        try:
            more = os.read(fd, 65536)
        except OSError:
            break
        if not more:
            break
        said += more
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode().replace("\r\n", "\n")


def test_a_terminal_of_40_columns(place):
    """Each row of a table becomes lines, all of them with the name of what they are."""
    (place / "dump").write_text(LINE.format(2000))
    status, said = on_a_terminal(["top", "dump"], 40)
    assert status == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert "NAT address 5.5.5.5\n  proto        udp\n  destination  2.2.2.2:2\n  used         1\n" in text


@pytest.mark.slow
def test_what_takes_longer_than_a_second_says_so(place, monkeypatch):
    """Loading, reading, replaying: a line on the terminal that is gone afterwards; at once here."""
    (place / "dump").write_text("".join(LINE.format(n) for n in range(1, 60_000)))
    (place / "sitecustomize.py").write_text("import fastnat.cli.terminal as t\nt.PATIENCE = 0.0\n")
    monkeypatch.setenv("PYTHONPATH", str(place))
    status, said = on_a_terminal(["conntrack", "node", "--start-from", "dump", "--count"], 80)
    assert (status, said.rstrip().endswith("59999")) == (0, True)
    assert "loading the node" in said
    assert "loading dump" in said
    done = subprocess.run([*COMMAND, "top", "dump"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("make", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_an_engine_is_forked_or_saved_not_copied(make):
    node = fastnat.Node.example()
    engine = fastnat.Engine(node)
    for thing, remedy in ((engine, "fork"), (engine.conntrack, "to_numpy")):
        with pytest.raises(fastnat.ArgumentError, match=remedy):
            make(thing)
    assert len(engine.fork().conntrack) == 0
    assert pickle.loads(pickle.dumps(node)).rules_text == node.rules_text


@pytest.mark.slow
def test_a_user_without_a_home_draws_without_a_word(place):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    (place / "dump").write_text("".join(LINE.format(n) for n in range(1, 50)))
    env = {**os.environ, "HOME": "/proc/nobody"}
    for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        env.pop(name, None)
    done = subprocess.run([*COMMAND, "top", "dump", "--plot", "x.png"], capture_output=True, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (place / "x.png").stat().st_size > 1000
