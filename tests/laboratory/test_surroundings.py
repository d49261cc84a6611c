"""Closed pipes, full devices and odd surroundings of a real process: the right status, and one line at the most."""

import os
import subprocess
import sys

import pytest

import fastnat

COMMAND = [sys.executable, "-m", "fastnat"]
LINE = "udp 17 29 src=10.1.1.1 dst=2.2.2.2 sport={0} dport=2 src=2.2.2.2 dst=5.5.5.5 sport=2 dport={0} mark=0 use=1\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    fastnat.Node.example().save(tmp_path / "node")
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@pytest.mark.parametrize("words", [["exhaust", "--flows", "1000"], ["trace", "--json"], ["--help"], ["check", "node"]])
@pytest.mark.parametrize("where", ["/dev/full", "closed", "read-only"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
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
