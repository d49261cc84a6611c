"""Mutants of the core's steps: does a test notice when one line of a step says something else?

    python tests/mutants.py [--count 200] [--seed 1] [--jobs 2] [--only nat/l4proto]

Each mutant changes one line: a comparison, a constant, `and` for `or`, + for -, or it drops a statement. All of them
are in one build, of which FASTNAT_MUTANT=ID:FAMILY chooses one, for IPv4 or IPv6 alone. The tests that belong to its
step (mutants.toml) must fail within LIMIT seconds; who survives them meets all tests that need no root. What is left is
printed with its line; mutants.toml says of some why no test can tell them apart.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build/mutants"
LIMIT = 60
# the whole of the tests, for who survives those of its step [s]
LONG = 600
# but those that read the sources or judge a build
OWN = (
    "unit/test_build.py",
    "unit/test_layout.py",
    "unit/test_imports.py",
    "unit/test_forms.py",
    "laboratory/test_docs.py",
)
ALL = ["tests/unit", "tests/behaviour", "tests/laboratory", *(f"--ignore=tests/{name}" for name in OWN)]
KNOWN = tomllib.loads((ROOT / "tests/mutants.toml").read_text())
TESTS, EQUIVALENT = KNOWN["tests"], KNOWN["equivalent"]

HEADER = """
#include <stdlib.h>
static int fn_mutant;
__attribute__((constructor)) static void fn_choose_mutant(void)
{
    const char *said = getenv("FASTNAT_MUTANT");
    const char *family = said ? said : "";
    while (*family && *family != ':')
        family++;
    if (*family && family[1] == (FN_V6 ? '6' : '4'))
        fn_mutant = atoi(said);
}
"""
EXTERN = 'cdef extern from "mutant.h" nogil:\n    int fn_mutant\n'
OPERATORS = (
    (r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "),
    (r" and ", " or "), (r" or ", " and "), (r" \+ ", " - "), (r" - ", " + "), (r"(?<=[ (])not ", ""), (r" & ~", " & "),
)  # fmt: skip
# not an index: what lies beside an array is anything
CONSTANT = re.compile(r"(?<![\w.\[])\d+(?![\w.])")
# statements that may go: what they store, or whom they call, is missing then
DROPPED = re.compile(r"\s+(?:[\w.\[\]&]+(?:\[[^=]*\])? [-+|&^]?= .*|(?!fn_prefetch|PyErr|memset)\w+\(.*\))$")
HEAD = re.compile(r"(\s+)(if|elif|while) (.*):$")
# hints to the compiler and to the cache change no answer
HINTS = re.compile(r"fn_(?:un)?likely|fn_prefetch|cdef |static_assert|assert |lambda")


@dataclass(frozen=True)
class Mutant:
    """A line of a step that says something else."""

    step: str
    line: int
    before: str
    after: str

    @property
    def name(self):
        """What EQUIVALENT calls it."""
        return f"{self.step}: {self.before.strip()} -> {self.after.strip() or 'nothing'}"


def candidates(step, text):
    """Yield the mutants that a step has."""
    in_enum = False
    lines = text.splitlines()
    for n, line in enumerate(lines):
        code = line.split("  # ")[0].rstrip()
        if code and not code.startswith(" "):
            in_enum = code.startswith(("cdef enum", "cdef struct", "cdef extern"))
        if not code.startswith(" ") or code.strip().startswith(("#", '"', "from ")):
            continue
        follows = n + 1 < len(lines) and len(lines[n + 1]) - len(lines[n + 1].lstrip()) > len(code) - len(code.lstrip())
        # of a statement that goes on, or of a list, only the whole would make sense
        goes_on = code.count("(") != code.count(")") or any(line.endswith(("\\", ",")) for line in (code, lines[n - 1]))
        if in_enum or goes_on:
            continue
        if code.endswith(":") != follows and not HEAD.match(code):
            continue
        hidden = HINTS.search(code)
        if hidden and hidden[0] not in ("fn_likely", "fn_unlikely"):
            continue
        for pattern, other in OPERATORS:
            for found in re.finditer(pattern, code):
                yield Mutant(step, n, line, code[: found.start()] + other + code[found.end() :])
        for found in CONSTANT.finditer(code):
            changed = str(int(found[0]) + 1)
            yield Mutant(step, n, line, code[: found.start()] + changed + code[found.end() :])
        if DROPPED.match(code):
            yield Mutant(step, n, line, "")


def woven(text, chosen):
    """Return a step's text with its chosen mutants, each taken where fn_mutant is its number."""
    lines = text.splitlines()
    for n in {m.line for m in chosen.values()}:
        code = lines[n].split("  # ")[0].rstrip()
        here = {number: m for number, m in chosen.items() if m.line == n}
        head = HEAD.match(code)
        indent = code[: len(code) - len(code.lstrip())]
        if head:
            # numbers, whatever the types of the conditions
            said = f"1 if ({head[3]}) else 0"
            for number, m in here.items():
                said = f"(1 if ({HEAD.match(m.after)[3]}) else 0) if fn_mutant == {number} else ({said})"
            lines[n] = f"{head[1]}{head[2]} {said}:"
        else:
            made = []
            for k, (number, m) in enumerate(here.items()):
                made.append(f"{indent}{'elif' if k else 'if'} fn_mutant == {number}:")
                made.append(f"    {m.after or indent + 'pass'}")
            lines[n] = "\n".join([*made, f"{indent}else:", f"    {code}"])
    first = next(k for k, line in enumerate(lines) if line.startswith("from "))
    lines.insert(first, EXTERN)
    return "\n".join(lines) + "\n"


def choose(count, seed, only):
    """Return mutants by number, spread over the steps by their size."""
    core = ROOT / "fastnat/core"
    found = []
    for path in sorted(core.rglob("*.pxd")):
        step = str(path.relative_to(core).with_suffix(""))
        if step in TESTS and re.fullmatch(only, step):
            every = list(candidates(step, path.read_text()))
            # as many of each step as it has lines to change, in a fixed order
            random.Random(f"{seed} {step}").shuffle(every)
            found.append((step, every))
    total = sum(len(every) for _, every in found)
    chosen = [m for _, every in found for m in every[: max(round(count * len(every) / total), 1)]]
    return dict(enumerate(chosen, 1))


def build(mutants):
    """Build a copy of the package with all of them that compile; return its folder, and those."""
    shutil.rmtree(BUILD / "src", ignore_errors=True)
    source = BUILD / "src"
    kept_out = shutil.ignore_patterns("*.so", "__pycache__", "*.c")
    shutil.copytree(ROOT / "fastnat", source / "fastnat", ignore=kept_out)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "fastnat/core/mutant.h").write_text(HEADER)
    words = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    log = BUILD / "build.log"
    while True:
        for step in {m.step for m in mutants.values()}:
            text = (ROOT / f"fastnat/core/{step}.pxd").read_text()
            here = {n: m for n, m in mutants.items() if m.step == step}
            (source / f"fastnat/core/{step}.pxd").write_text(woven(text, here))
        with log.open("w") as file:
            done = subprocess.run(words, cwd=source, env={**os.environ, "FASTNAT_STEPS": "1"}, stdout=file, stderr=file)
        if not done.returncode:
            return source, mutants
        wrong = uncompilable(source, log.read_text())
        if not wrong:
            sys.exit(f"the mutants do not compile: see {log}")
        mutants = {n: m for n, m in mutants.items() if n not in wrong}


def uncompilable(source, said):
    """Return the numbers of the mutants in the lines that Cython complains about."""
    wrong = set()
    for path, line in re.findall(r"(fastnat/core/\S+\.pxd):(\d+):\d+: ", said):
        lines = (source / path).read_text().splitlines()[max(int(line) - 2, 0) : int(line)]
        wrong |= {int(n) for n in re.findall(r"fn_mutant == (\d+)", " ".join(lines))}
    return wrong


def take_interrupts():
    """Let Ctrl-C be noticed, which who runs in the background inherits as ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def fails(source, number, family, tests, limit):
    """Tell whether tests notice a mutant: "failed", "crashed" or "endless"; "" where none does."""
    # `python -P`: the package of the build, not that of the working folder
    words = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not kernel and not slow",
    ]
    environment = {**os.environ, "PYTHONPATH": str(source), "FASTNAT_MUTANT": f"{number}:{family}"}
    try:
        done = subprocess.run(
            [*words, *tests], cwd=ROOT, env=environment, timeout=limit, capture_output=True, preexec_fn=take_interrupts
        )
    except subprocess.TimeoutExpired:
        return "endless"
    if done.returncode not in (0, 1) and done.returncode > 0:
        sys.exit(f"pytest {' '.join(tests)}: {done.stdout.decode()[-3000:]}")
    return {0: "", 1: "failed"}.get(done.returncode, "crashed")


def judge(source, number, mutant):
    """Return which family's tests notice a mutant, and how."""
    said = {}
    for family in TESTS[mutant.step].get("families", [4, 6]):
        said[family] = fails(source, number, family, TESTS[mutant.step]["tests"], LIMIT)
    return said


def main():
    """Make, build and judge mutants; end with 1 when more than 5 of 100 survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default=".*", help="steps, a regular expression")
    asked = parser.parse_args()
    mutants = choose(asked.count, asked.seed, asked.only)
    print(
        f"{len(mutants)} mutants of {len({m.step for m in mutants.values()})} steps, each for IPv4 and IPv6", flush=True
    )
    source, mutants = build(mutants)
    # a test that fails anyway would notice everything
    every = sorted({test for m in mutants.values() for test in TESTS[m.step]["tests"]})
    for tests in (every, ALL):
        if fails(source, 0, 4, tests, LONG):
            sys.exit(f"some of these tests fail without a mutant: {' '.join(tests)}")
    caught, survivors = 0, []
    with ThreadPoolExecutor(asked.jobs) as pool:
        judged = pool.map(lambda item: (item, judge(source, *item)), mutants.items())
        for (number, mutant), said in judged:
            for family, how in said.items():
                caught += bool(how)
                if not how:
                    survivors.append((number, family, mutant))
                    print(f"  survives IPv{family}: {mutant.name}", flush=True)
    left = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        judged = pool.map(lambda one: fails(source, *one[:2], ALL, LONG), survivors)
        for (_, family, mutant), how in zip(survivors, judged, strict=True):
            known = EQUIVALENT.get(mutant.name)
            said = "caught by all tests" if how else f"equivalent: {known}" if known else "SURVIVES"
            print(f"{said} IPv{family} {mutant.name}", flush=True)
            if not how and not known:
                left.append(mutant)
    total = caught + len(survivors)
    print(f"{caught} of {total} caught by the tests of their step, {len(left)} survive all tests unexplained")
    sys.exit(len(left) > total // 20)


if __name__ == "__main__":
    main()
