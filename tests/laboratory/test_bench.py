"""fastnat bench and the instruction counts: what changed is told, and a slower build is found without a clock."""

import copy
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastnat import bench
from fastnat.cli import group
from fastnat.errors import InputError

ROOT = Path(__file__).parents[2]


def run(*words):
    return CliRunner().invoke(group, ["bench", *(str(w) for w in words)])


@pytest.fixture(scope="module")
def doc(tmp_path_factory):
    """What a real, quick run measures."""
    path = tmp_path_factory.mktemp("bench") / "now.json"
    result = run("--size", "100k", "--json", path)
    assert result.exit_code == 0, result.output
    return json.loads(path.read_text())


def test_counters_are_the_same_in_every_run(doc):
    node = bench.Node.example()
    assert bench.Bench(node).counters() == doc["counters"]
    assert doc["counters"]["failures"] == 72_000 - 64_512
    assert doc["counters"]["rules_per_new"] > 5
    assert 100 < doc["counters"]["bytes_per_entry"] < 160


def test_times_have_intervals_around_their_median(doc):
    assert {"new_100k", "established_100k", "search_99", "process_packet", "load_rules"} <= doc["times"].keys()
    for t in doc["times"].values():
        assert 0 < t["low"] <= t["ratio"] <= t["high"]


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("probes_p99>+0", True), ("probes_p99>+5", False), ("probes_mean>+0", False), ("new_100k>+5%", True),
        ("new_100k>+50%", False), ("established_100k>+0", False), ("new_100k > 1", True), ("search_99<-10%", True),
    ],
)  # fmt: skip
def test_expressions(doc, expression, holds):
    after = copy.deepcopy(doc)
    after["counters"]["probes_p99"] += 3
    for name, factor in (("new_100k", 1.3), ("established_100k", 1.02), ("search_99", 0.5)):
        before = doc["times"][name]
        before.update(low=before["ratio"] * 0.99, high=before["ratio"] * 1.01)
        after["times"][name] = {k: v * factor for k, v in before.items()}
    assert bench.failing(expression, bench.changes(doc, after)) == holds


@pytest.mark.parametrize(
    ("expression", "word"),
    [("nothing>+1", "no figure 'nothing'"), ("new_100k", "expected NAME"), ("new_100k>5%", r"write \+5%")],
)
def test_bad_expressions_say_what_is_accepted(doc, expression, word):
    with pytest.raises(InputError, match=word):
        bench.failing(expression, bench.changes(doc, doc))


def test_forms_and_history(doc, tmp_path):
    worse = copy.deepcopy(doc)
    worse["counters"]["failures"] += 1
    (tmp_path / "old.json").write_text(json.dumps(doc))
    (tmp_path / "new.json").write_text(json.dumps(worse))
    words = ["--from-json", tmp_path / "new.json", "--compare", tmp_path / "old.json", "--fail-on", "failures>+0"]
    text = run(*words)
    assert text.exit_code == 1
    assert "+0.0 % from 7,488" in text.output
    assert "FAILED failures>+0" in text.output
    suite = ET.fromstring(run(*words, "-o", "junit").output)
    assert [c.get("name") for c in suite if len(c)] == ["failures"]
    assert json.loads(run(*words, "-o", "json").output)["failed"] == ["failures>+0"]
    assert "| failures | 7,489 | exact | +0.0 % from 7,488 |" in run(*words, "-o", "md").output
    drawn = run("--from-json", tmp_path / "new.json", "--history", tmp_path / "h", "--plot", tmp_path / "h.png")
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_that_is_no_measurement_is_named(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    assert isinstance(run("--from-json", tmp_path / "x.json").exception, InputError)


# benchmarks/instructions.py with another baseline; further words: operations
COUNT = """
import pathlib, sys, instructions
import fastnat.core.datapath
print("counted", fastnat.core.datapath.__file__)
instructions.BASELINE = pathlib.Path(sys.argv.pop(1))
sys.exit(instructions.main())
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="needs valgrind")
def test_a_slowed_build_is_found_by_its_instructions(tmp_path):
    """One extra hash for every packet, against counts of the release build that this compiler made."""
    where = ROOT / "build" / "slowed"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
    slowed = {**environment, "FASTNAT_BUILD": "slowed", "PYTHONPATH": f"{where}:{ROOT / 'benchmarks'}"}
    build = ["setup.py", "-q", "build", "-j2", "--build-lib", str(where), "--build-temp", f"{where}-temp"]
    subprocess.run([sys.executable, *build], cwd=ROOT, env=slowed, check=True, capture_output=True)

    def counted(env, *words):
        # -P: the working directory, and with it the release build, stays out of the path
        command = [sys.executable, "-P", "-c", COUNT, str(tmp_path / "baseline.json"), "new", "established", *words]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    release = counted(environment, "--write")
    assert release.returncode == 0, release.stderr
    worse = counted(slowed)
    assert worse.stdout.startswith(f"counted {where}")
    assert worse.returncode == 1, worse.stdout + worse.stderr
    assert worse.stdout.endswith("more than 1% more instructions: new, established\n")
