"""Every input that a fuzzer began with or found: taken, or refused with a FastnatError, with sound tables afterwards.

A kind runs in a process of its own, so that a crash names the input. tests/fuzz/run.py finds more of them.
"""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent
KINDS = sorted(p.name for p in (FUZZ / "corpus").iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_corpus(kind):
    command = [sys.executable, FUZZ / "run.py", "--corpus", kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    there = len(list((FUZZ / "corpus" / kind).iterdir()))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert done.stdout.count(" ok\n") == there > 0


def test_kinds():
    """A kind without inputs would not be run."""
    told = subprocess.run([sys.executable, FUZZ / "run.py"], capture_output=True, text=True, check=False).stderr
    assert sorted(told.split("kinds are ")[1].strip().split(", ")) == KINDS


def test_fuzzers_run():
    """Each for a moment: they start, mutate, run inputs and end in time, whatever they find."""
    command = [sys.executable, FUZZ / "run.py", "--runs", "5", "--seed", "1", "--jobs", "1", "state"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert "5 runs" in done.stdout, done.stdout + done.stderr
