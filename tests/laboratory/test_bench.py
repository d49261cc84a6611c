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

import fastnat
from fastnat import bench
from fastnat.bench.paired import instructions
from fastnat.cli import group
from fastnat.errors import InputError

# the function of the same name stands in front of it
paired_module = sys.modules["fastnat.bench.paired"]
ROOT = Path(__file__).parents[2]


def run(*words):
    return CliRunner().invoke(group, ["bench", *(str(w) for w in words)])


@pytest.fixture(scope="module")
def doc(tmp_path_factory):
    """What a real, quick run measures."""
    path = tmp_path_factory.mktemp("bench") / "now.json"
    result = run("--size", "100k", "--json", path)
    assert result.exit_code == 0, result.output
    return {**json.loads(path.read_text()), "path": path}


def test_counters_are_the_same_in_every_run(doc):
    node = fastnat.Node.example()
    assert bench.Bench(node).counters() == doc["counters"]
    assert doc["counters"]["failures"] == 72_000 - 64_512
    assert doc["counters"]["rules_per_new"] > 5
    assert 100 < doc["counters"]["bytes_per_entry"] < 160


def test_what_the_kernel_pays_comes_first(doc):
    assert list(doc["counters"])[:2] == ["rules_per_new", "probes_mean"]
    text = run("--from-json", doc["path"]).output
    assert text.index("cost the kernel") < text.index("rules_per_new") < text.index("What the engine takes")


def test_times_have_intervals_around_their_median(doc):
    assert {"new_100k", "established_100k", "search_99", "process_packet", "load_rules"} <= doc["times"].keys()
    for t in doc["times"].values():
        assert 0 < t["low"] <= t["ns"] <= t["high"]


def holds(text, found, figures):
    return [bench.failing(c, found, figures) for c in bench.conditions((text,))]


PAIRS = [bench.Pair("new", 130.0, 100.0, 22.0, 30.0, 41.0), bench.Pair("established", 51.0, 50.0, -3.0, 2.0, 9.0)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("probes_p99>+0", [True]), ("probes_p99>+5", [False]), ("probes_mean>+0", [False]), ("new>+5%", [True]),
        ("new>+25%", [False]), ("new>+20", [True]), ("established>+0%", [False]), ("new > 120", [True]),
        ("search_99<-10%", None), ("probes_p99>+0, new>+50%,established<-2%", [True, False, False]),
        ("failures<-0", [False]),
    ],
)  # fmt: skip
def test_expressions(doc, expression, expected):
    """Of a time the pair that shows the least decides."""
    after = copy.deepcopy(doc)
    after["counters"]["probes_p99"] += 3
    found = [*bench.changes(doc, after), *bench.time_changes(PAIRS)]
    if expected is None:
        with pytest.raises(InputError, match="times of two runs are not compared; --against"):
            holds(expression, found, {})
    else:
        assert holds(expression, found, {"new": 130.0}) == expected


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        ("nothing>+1", "no figure 'nothing'"),
        ("new_100k", "expected NAME"),
        ("new_100k>5%", r"write \+5%"),
        ("failures>+0,", "expected NAME"),
        ("new_100k>+5%", "times of two runs are not compared"),
        ("nothing>1", "no figure 'nothing'"),
    ],
)
def test_bad_expressions_say_what_is_accepted(doc, expression, word):
    with pytest.raises(InputError, match=word):
        holds(expression, bench.changes(doc, doc), {})


def test_conditions_are_read_before_anything_is_measured():
    result = run("--fail-on", "failures>+0,new>>5", "--compare", "/nowhere")
    assert isinstance(result.exception, InputError) and "new>>5" in str(result.exception)
    assert "needs --compare or --against" in run("--fail-on", "failures>+0").output


def test_another_environment_is_said_and_counts_are_compared_all_the_same(doc, tmp_path):
    old = copy.deepcopy(doc)
    old["environment"] |= {"cpu": "another", "numpy": "1.0"}
    old["counters"]["failures"] -= 1
    (tmp_path / "old.json").write_text(json.dumps(old, default=str))
    result = run("--from-json", doc["path"], "--compare", tmp_path / "old.json", "--fail-on", "failures>+0")
    assert result.exit_code == 1
    assert "times of two runs are not compared (the environment differs: cpu (another, now" in result.output
    assert "numpy (1.0, now" in result.output
    old["environment"]["node"] = "0"
    (tmp_path / "old.json").write_text(json.dumps(old, default=str))
    said = run("--from-json", doc["path"], "--compare", tmp_path / "old.json").output
    assert "the counts are those of different nodes or profiles" in said


@pytest.mark.slow
def test_times_of_two_builds_are_measured_in_turns(doc, monkeypatch):
    """The same build on both sides; with a wide margin nothing is told."""
    monkeypatch.setattr(paired_module, "PAIRS", 2)
    monkeypatch.setattr(paired_module, "TURNS", 4)
    words = ["--from-json", doc["path"], "--against", sys.executable]
    result = run(*words, "--fail-on", "new>+500%,established<-90%", "-o", "json")
    assert result.exit_code == 0, result.output
    told = {c["name"]: c for c in json.loads(result.output)["changes"]}
    assert {"new", "established", "search"} == told.keys()
    assert all(c["low"] <= c["high"] and c["before"] > 0 for c in told.values())
    assert run(*words, "--fail-on", "new<+1000000%").exit_code == 1


@pytest.mark.one_of(3)
@pytest.mark.parametrize("other", ["nowhere", "/dev/null", "/bin/false"])
def test_what_nothing_can_be_measured_against(doc, other):
    result = run("--from-json", doc["path"], "--against", other)
    assert isinstance(result.exception, InputError), result.output
    assert "neither a node directory" in str(result.exception) or "cannot measure" in str(result.exception)


def test_forms_for_history_services(doc):
    github = json.loads(run("--from-json", doc["path"], "-o", "github").output)
    assert {"name": "failures", "unit": "count", "value": 7488} in github
    assert all({"name", "unit", "value"} <= entry.keys() for entry in github)
    bencher = json.loads(run("--from-json", doc["path"], "-o", "bencher").output)
    assert bencher["failures"] == {"count": {"value": 7488}}
    latency = bencher["new_100k"]["latency"]
    assert latency["lower_value"] <= latency["value"] <= latency["upper_value"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="needs valgrind")
def test_instructions_are_counted_on_the_node(tmp_path):
    fastnat.Node.example().save(tmp_path / "node")
    found = instructions(str(tmp_path / "node"), ("cni0", "linux-6.18", 0x0AF40003, 60_000))
    assert found.keys() == {"instructions_new", "instructions_established", "instructions_search"}
    assert 100 < found["instructions_established"] < found["instructions_new"] < found["instructions_search"]


def test_forms_and_history(doc, tmp_path):
    worse = copy.deepcopy(doc)
    worse["counters"]["failures"] += 1
    (tmp_path / "old.json").write_text(json.dumps(doc, default=str))
    (tmp_path / "new.json").write_text(json.dumps(worse, default=str))
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
