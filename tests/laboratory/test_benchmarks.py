"""The benchmarks run: what they measure is nobody's business here, but each of them still has to find what it calls."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
