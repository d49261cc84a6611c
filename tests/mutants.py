"""Mutants of the core's steps: does a test notice when one line of a step says something else?

    python tests/mutants.py [--every 40] [--most 100] [--seed 1] [--jobs 2] [--only nat/l4proto] [--check]

Each mutant changes one line: a comparison, a constant, `and` for `or`, + for -, or it drops a statement. Of each step
one of 40 is drawn, for IPv4 or for IPv6. What is drawn of a step depends on its own lines alone: the same seed draws
the same mutants of it, whatever changes elsewhere. All of them are in one build, of which FASTNAT_MUTANT=ID:FAMILY
chooses one. A first run of all tests that are not slow notes which of them reach which mutant. A mutant meets those,
the quickest in front, for LIMIT seconds of a processor. Who is left is printed with its line; mutants.toml says of some
why no test can tell them. The same command again with --check lets the others meet what `make check` has besides: the
tests that are slow and, as root, walks that the running kernel goes now (kernel/fresh.py).
"""

import argparse
import ast
import ctypes
import hashlib
import json
import mmap
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build/mutants"
# of a processor, for the tests of one mutant [s]
LIMIT, LIMIT_OF_CHECK = 60, 600
# but those that read the sources or judge a build
OWN = (
    "unit/test_build.py",
    "unit/test_layout.py",
    "unit/test_imports.py",
    "unit/test_forms.py",
    "laboratory/test_docs.py",
)
ALL = ["tests/unit", "tests/behaviour", *(f"--ignore=tests/{name}" for name in OWN)]
# by name, of one family with IPv4 or IPv6 in front: why no test can tell it from the step
EQUIVALENT = tomllib.loads((ROOT / "tests/mutants.toml").read_text())["equivalent"]
# beside the build, and in the names of its tests: what the running kernel made of walks
FRESH = "fresh-walks"
# a walk that only tests ask for, and what is only fetched: neither gives an answer
NO_STEPS = {"check", "rules/fetch_ahead", "rules/nft_fetch_ahead"}

HEADER = r"""
#include <stdlib.h>
#define FN_SEEN __attribute__((visibility("default")))
FN_SEEN int fn_mutant;
FN_SEEN unsigned char fn_reached[COUNT + 1];
__attribute__((constructor)) static void fn_choose_mutant(void)
{
    const char *said = getenv("FASTNAT_MUTANT");
    const char *family = said ? said : "";
    while (*family && *family != ':')
        family++;
    if (*family && family[1] == (FN_V6 ? '6' : '4'))
        fn_mutant = atoi(said);
}
/* whether the process has this mutant; notes that the library has the code, and that the process has run it */
static inline __attribute__((always_inline)) int fn_is(const int n)
{
    __asm__ volatile(".pushsection mutants,\"a\"\n.long %c0\n.popsection" : : "i"(n));
    fn_reached[n] = 1;
    return fn_mutant == n;
}
"""
EXTERN = 'cdef extern from "mutant.h" nogil:\n    bint fn_is(int n)\n'
OPERATORS = (
    (r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "),
    (r" and ", " or "), (r" or ", " and "), (r" \+ ", " - "), (r" - ", " + "), (r"(?<=[ (])not ", ""), (r" & ~", " & "),
)  # fmt: skip
# Cython makes one switch of `x == A and x == B` and of `x == A or x == B`: they do not differ
ONE_SWITCH = re.compile(r"([\w.\[\]]+) == [\w.]+ and \1 == ")
# not an index: what lies beside an array is anything
CONSTANT = re.compile(r"(?<![\w.\[])\d+(?![\w.])")
# statements that may go: what they store, or whom they call, is missing then
DROPPED = re.compile(r"\s+(?:[\w.\[\]&]+(?:\[[^=]*\])? [-+|&^]?= .*|(?!fn_prefetch|PyErr|memset)\w+\(.*\))$")
HEAD = re.compile(r"(\s+)(if|elif|while) (.*):$")
# a function of one statement
ONE_RETURN = re.compile(r"^cdef inline bint (\w+)\([^\n]*:\n(?:    #[^\n]*\n)*    return ([^\n]+)\n(?=\n)", re.M)
# by family, see fixed()
FIXED = {4: {}, 6: {}}
# hints to the compiler and to the cache change no answer, nor does when a batch pauses (FN_SLICE)
HINTS = re.compile(
    r"fn_(?:un)?likely|fn_rarely|fn_prefetch|fetch_\w+\(|look_ahead_in_\w+\(|\blines\b|\bn_lines\b|FN_SLICE|cdef |"
    r"static_assert|assert |lambda"
)
# a variable, or what a caller's pointer points to
VARIABLE = re.compile(r"(\w+)(?:\[\d\])? = ")


@dataclass(frozen=True)
class Mutant:
    """A line of a step that says something else."""

    step: str
    line: int
    before: str
    after: str

    def belongs_to(self, family):
        """Return whether the change is in code of a family: of `this if FN_V6 else that` it has one half."""
        return halved(self.before, family) != halved(self.after, family)

    @property
    def name(self):
        """What EQUIVALENT calls it."""
        return f"{self.step}: {self.before.strip()} -> {self.after.strip() or 'nothing'}"


class Halving(ast.NodeTransformer):
    """Leaves of an expression what a family has: FN_V6 is known."""

    def __init__(self, family):
        self.family = family

    def visit_Name(self, node):
        return ast.Constant(self.family == 6) if node.id == "FN_V6" else node

    def visit_UnaryOp(self, node):
        self.generic_visit(node)
        known = isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Constant)
        return ast.Constant(not node.operand.value) if known else node

    def visit_Call(self, node):
        self.generic_visit(node)
        known = FIXED[self.family].get(getattr(node.func, "id", None))
        return node if known is None else ast.Constant(known)

    def visit_BoolOp(self, node):
        self.generic_visit(node)
        ends = isinstance(node.op, ast.Or)
        if any(isinstance(v, ast.Constant) and v.value is ends for v in node.values):
            return ast.Constant(ends)
        left = [v for v in node.values if not (isinstance(v, ast.Constant) and v.value is not ends)]
        if len(left) < 2:
            return left[0] if left else ast.Constant(not ends)
        node.values = left
        return node

    def visit_IfExp(self, node):
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node


def halved(line, family):
    """Return what a line says to a family, in a form that can be compared."""
    said = HEAD.match(line.split("  # ")[0].rstrip())
    # casts and addresses are not Python
    text = re.sub(r"<\w+ ?\**>|&(?=\w)", "", said[3] if said else line.split("  # ")[0].strip())
    if "FN_V6" not in text and not any(f"{name}(" in text for name in FIXED[family]):
        return line
    try:
        return ast.dump(Halving(family).visit(ast.parse(text)))
    except SyntaxError:
        return line


def fixed(family):
    """Return the functions of the core that say one thing to a family whatever they are asked, as is_limited_broadcast.

    They have a single statement, that FN_V6 decides.
    """
    found = {}
    for path in sorted((ROOT / "fastnat/core").rglob("*.pxd")):
        for name, said in ONE_RETURN.findall(path.read_text()):
            if "FN_V6" in said:
                value = Halving(family).visit(ast.parse(re.sub(r"<\w+ ?\**>", "", said), mode="eval").body)
                if isinstance(value, ast.Constant) and isinstance(value.value, bool):
                    found[name] = value.value
    return found


FIXED.update({family: fixed(family) for family in (4, 6)})


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
        if (code.endswith(":") or follows) and not HEAD.match(code):
            continue
        if any(hint not in ("fn_likely", "fn_unlikely") for hint in HINTS.findall(code)):
            continue
        for pattern, other in OPERATORS:
            for found in re.finditer(pattern, code):
                after = code[: found.start()] + other + code[found.end() :]
                if not ONE_SWITCH.search(after):
                    yield Mutant(step, n, line, after)
        for found in CONSTANT.finditer(code):
            changed = str(int(found[0]) + 1)
            yield Mutant(step, n, line, code[: found.start()] + changed + code[found.end() :])
        if DROPPED.match(code) and not is_first(lines, n) and not is_first_of_member(lines, n):
            yield Mutant(step, n, line, "")


MEMBER = re.compile(r"(\w+)\.\w+ = ")


def is_first_of_member(lines, n):
    """Return whether a line gives a member of a local struct, which has no value yet, its first one."""
    target = MEMBER.match(lines[n].strip())
    if not target:
        return False
    start = next(k for k in reversed(range(n)) if lines[k].startswith("cdef inline"))
    before = "\n".join(lines[start:n])
    # one that is given as a whole, or to somebody else, may have it by then
    given = rf"\b{target[1]} = |&{target[1]}\b(?!\.)|{re.escape(target[0])}"
    return bool(re.search(rf"\n    cdef \w+_t {target[1]}\n", before) and not re.search(given, before))


def is_first(lines, n):
    """Return whether a line gives a local variable, or what a parameter points to, its first value.

    Without that the value is undefined, and a compiler takes the only one that the program names: the step's own.
    """
    target = VARIABLE.match(lines[n].strip())
    if not target:
        return False
    given = re.compile(rf"(?:cdef (?:const )?\w+ \**)?{re.escape(target[0].removesuffix(' = '))} = ")
    depth = len(lines[n]) - len(lines[n].lstrip())
    for k, line in reversed([*enumerate(lines[:n])]):
        if line.startswith("cdef inline"):
            head = "".join(lines[k : k + 3]).partition("noexcept")[0]
            # the caller gives parameters their values, but not always what they point to; a pointer that the function
            # has made itself points into a table
            if "[" in target[0]:
                return bool(re.search(rf"\*{target[1]}\b", head))
            return not re.search(rf"\b{target[1]}\b", head)
        indent = len(line) - len(line.lstrip())
        # only what stands in a block around the line, in front of it, is certain to have run
        if line.strip() and indent <= depth:
            depth = indent
            if given.match(line.strip()):
                return False
    return False


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
                said = f"(1 if ({HEAD.match(m.after)[3]}) else 0) if fn_is({number}) else ({said})"
            lines[n] = f"{head[1]}{head[2]} {said}:"
        else:
            made = []
            for k, (number, m) in enumerate(here.items()):
                made.append(f"{indent}{'elif' if k else 'if'} fn_is({number}):")
                made.append(f"    {m.after or indent + 'pass'}")
            lines[n] = "\n".join([*made, f"{indent}else:", f"    {code}"])
    first = next(k for k, line in enumerate(lines) if line.startswith("from "))
    lines.insert(first, EXTERN)
    return "\n".join(lines) + "\n"


def lot(*words):
    """Return what decides about a mutant: a number that only these words determine."""
    return int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:8])


def choose(every, seed, only):
    """Return mutants by number: of each step one of so many, of the smallest ones one."""
    core = ROOT / "fastnat/core"
    chosen = []
    for path in sorted(core.rglob("*.pxd")):
        step = str(path.relative_to(core).with_suffix(""))
        if step not in NO_STEPS and not step.endswith(("types", "__init__")) and re.fullmatch(only, step):
            same = Counter()
            lots = {}
            for mutant in candidates(step, path.read_text()):
                # by what it says, not by the number of its line: others may move it
                same[mutant.name] += 1
                lots[mutant] = lot(seed, mutant.name, same[mutant.name])
            chosen += sorted(lots, key=lots.get)[: max(round(len(lots) / every), 1)]
    return dict(enumerate(chosen, 1))


def drawn(mutants, seed, numbers):
    """Return each mutant's number with the family that is drawn for it, in the order in which they are judged.

    numbers: by family, those that its library has; a line of one family alone is no mutant of the other.
    """
    found = {}
    for n, mutant in mutants.items():
        first = 4 if lot(seed, mutant.name, "family") & 1 else 6
        for family in (first, 10 - first):
            if n in numbers[family] and mutant.belongs_to(family):
                # in no order of steps, so that what an interrupted run has judged stands for all of them
                found[n, family] = lot(seed, mutant.name, mutant.line, "order")
                break
    return sorted(found, key=found.get)


def build(mutants):
    """Build a copy of the package with all of them that compile; return those."""
    source = copied()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "fastnat/core/mutant.h").write_text(HEADER.replace("COUNT", str(max(mutants))))
    words = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    log = BUILD / "build.log"
    while True:
        for step in {m.step for m in mutants.values()}:
            text = (ROOT / f"fastnat/core/{step}.pxd").read_text()
            here = {n: m for n, m in mutants.items() if m.step == step}
            (source / f"fastnat/core/{step}.pxd").write_text(woven(text, here))
        with log.open("w") as file:
            done = subprocess.run(
                words, cwd=source, env={**os.environ, "FASTNAT_BUILD": "mutants"}, stdout=file, stderr=file
            )
        if not done.returncode:
            return mutants
        wrong = uncompilable(source, log.read_text())
        if not wrong:
            sys.exit(f"the mutants do not compile: see {log}")
        mutants = {n: m for n, m in mutants.items() if n not in wrong}


def copied():
    """Copy the package, but for what is built; return the folder."""
    kept_out = shutil.ignore_patterns("*.so", "__pycache__", "*.c")
    shutil.copytree(ROOT / "fastnat", BUILD / "src/fastnat", ignore=kept_out, dirs_exist_ok=True)
    return BUILD / "src"


def uncompilable(source, said):
    """Return the numbers of the mutants in the lines that Cython complains about."""
    wrong = set()
    for path, line in re.findall(r"(fastnat/core/\S+\.pxd):(\d+):\d+: ", said):
        lines = (source / path).read_text().splitlines()[max(int(line) - 2, 0) : int(line)]
        wrong |= {int(n) for n in re.findall(r"fn_is\((\d+)\)", " ".join(lines))}
    return wrong


def compiled(library):
    """Return the numbers of the mutants that a library has: not those in code of the other family."""
    out = BUILD / "numbers"
    subprocess.run(["objcopy", "-O", "binary", "--only-section=mutants", library, out], check=True)
    return set(np.fromfile(out, np.int32).tolist())


class Libraries:
    """The extensions of the build, for one family; the steps for the tests are of IPv4."""

    def __init__(self, source):
        self.of = {4: [], 6: []}
        self.numbers = {4: set(), 6: set()}
        for name, family in (("datapath", 4), ("_steps", 4), ("datapath6", 6)):
            path = next((source / "fastnat/core").glob(f"{name}.*.so"))
            library, here = ctypes.CDLL(str(path)), compiled(path)
            # of the steps that --only names the compiler may have left out all, and with them what counts
            if hasattr(library, "fn_mutant"):
                self.of[family].append(library)
                self.numbers[family] |= here

    def choose(self, number, family):
        """From now on this process has the mutant."""
        for library in self.of[family]:
            ctypes.c_int.in_dll(library, "fn_mutant").value = number

    def reached(self, count, clear=False):
        """Return by family the mutants whose lines have run since they were cleared last."""
        found = {}
        for family, libraries in self.of.items():
            maps = [(ctypes.c_ubyte * (count + 1)).in_dll(lib, "fn_reached") for lib in libraries]
            found[family] = {n for m in maps for n, was in enumerate(bytes(m)) if was}
            for m in maps if clear else ():
                ctypes.memset(m, 0, count + 1)
        return found


def silence():
    """Let this process print nothing more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for end in (1, 2):
        os.dup2(nowhere, end)


class Judge:
    """A plugin of pytest that collects the tests once; each mutant meets those that reach it, in a forked process.

    A first run of the tests without a mutant notes how long each takes, and which mutants' lines it reaches. Notes and
    verdicts are kept beside the build and hold for a test as long as its file does: an interrupted run is gone on with,
    and after a change of tests a survivor meets those that it has not met.
    """

    def __init__(self, mutants, source, asked):
        self.mutants, self.size = mutants, max(mutants)
        self.jobs, self.seed, self.most = asked.jobs, asked.seed, asked.most
        self.check, self.limit = asked.check, LIMIT_OF_CHECK if asked.check else LIMIT
        self.libraries = Libraries(source)
        self.failed = False
        # by name of a test with the checksum of its file: seconds, and mutants by family
        self.seen = {}
        # by number and family: "failed", "crashed", "endless", or "" for who survives; the test that caught it; the
        # tests that it has met
        self.said, self.by, self.met = {}, {}, {}
        self.notes, self.verdicts = BUILD / "notes", BUILD / "verdicts"

    def pytest_runtest_logreport(self, report):
        self.failed |= report.failed

    def pytest_runtestloop(self, session):
        if session.testsfailed:
            raise session.Failed("the tests cannot be collected")
        marks = checksums()
        self.items = {f"{marks[item.path]} {item.nodeid}": item for item in session.items}
        self.note(session)
        alive = drawn(self.mutants, self.seed, self.libraries.numbers)
        print(f"{len(alive)} are compiled", flush=True)
        self.remember()
        asked = {*alive[: self.most], *self.met}
        waiting = [one for one in alive if one in asked and not self.said.get(one)]
        if self.check:
            waiting = [one for one in waiting if one in self.met and not known(self.mutants, *one)]
        self.judge(waiting)
        return True

    def is_of_check(self, name):
        """Return whether a test is asked by --check alone."""
        return FRESH in name or self.items[name].get_closest_marker("slow") is not None

    def note(self, session):
        """Run the tests without notes once, without a mutant: each of the jobs has its part of them."""
        self.seen = pickle.loads(self.notes.read_bytes()) if self.notes.exists() else {}
        new = [name for name in self.items if name not in self.seen]
        parts = [BUILD / f"notes-{k}" for k in range(self.jobs)]
        for k, path in enumerate(parts):
            if not os.fork():
                silence()
                path.write_bytes(pickle.dumps(self.noted(new[k :: self.jobs])))
                os._exit(0)
        ends = [os.wait()[1] for _ in parts]
        if any(ends):
            print("a test ends the process without a mutant", flush=True)
            raise session.Failed("a test ends the process without a mutant")
        for path in parts:
            self.seen |= pickle.loads(path.read_bytes())
        self.notes.write_bytes(pickle.dumps(self.seen))

    def noted(self, names):
        """Run some of the tests; return by name the seconds each takes, and by family the mutants that it reaches."""
        seen = {}
        self.libraries.reached(self.size, clear=True)
        for name in names:
            begun = time.process_time()
            self.run(name)
            seen[name] = time.process_time() - begun, self.libraries.reached(self.size, clear=True)
            # it would notice everything: it asks for a terminal, or for the whole of a session
            if self.failed:
                self.failed = False
                seen[name] = 0, {4: set(), 6: set()}
                with (BUILD / "left-out").open("a") as file:
                    file.write(f"{name}\n")
        return seen

    def run(self, name):
        """Run one test."""
        item = self.items[name]
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)

    def belonging(self, number, family):
        """Return the tests that reach a mutant and that it has not met, the quickest in front."""
        met = self.met.get((number, family), ())
        mine = ((self.seen[name][0], name) for name in self.items if number in self.seen[name][1][family])
        return [name for _, name in sorted(mine) if name not in met]

    def remember(self):
        """Take over the verdicts of an earlier run, of tests that are still the same."""
        for line in self.verdicts.read_text().splitlines() if self.verdicts.exists() else ():
            number, family, how, *tests = json.loads(line)
            if not how:
                self.met[number, family] = self.met.get((number, family), set()) | set(tests)
            elif tests[0] in self.items:
                self.said[number, family], self.by[number, family] = how, tests[0]

    def judge(self, waiting):
        """Let mutants meet their tests, some at a time."""
        running, waiting = {}, list(reversed(waiting))
        while waiting or running:
            while waiting and len(running) < self.jobs:
                one = waiting.pop()
                tests = self.belonging(*one)
                place = mmap.mmap(-1, 8)
                pid = os.fork()
                if not pid:
                    self.meet(*one, tests, place)
                running[pid] = one, tests, place, time.monotonic() + 20 * self.limit
            pid, status = os.waitpid(-1, os.WNOHANG)
            # who waits for something needs no processor
            for late, (*_, until) in running.items() if not pid else ():
                if time.monotonic() > until:
                    os.kill(late, signal.SIGPROF)
            if not pid:
                time.sleep(0.01)
                continue
            one, tests, place, _ = running.pop(pid)
            how = {0: "", 1: "failed", -signal.SIGPROF: "endless"}.get(os.waitstatus_to_exitcode(status), "crashed")
            self.said[one] = how
            n = int.from_bytes(place, "little")
            if how:
                self.by[one] = tests[n]
            with self.verdicts.open("a") as file:
                file.write(json.dumps([*one, how, *([tests[n]] if how else tests[:n])]) + "\n")
            if not how:
                print(f"  survives {n} tests of {len(tests)}: {self.mutants[one[0]].name} IPv{one[1]}", flush=True)

    def meet(self, number, family, tests, place):
        """Be the mutant, and meet tests in turn until one fails; place says at which it is. Ends this process."""
        os.setpgid(0, 0)
        os.environ["FASTNAT_MUTANT"] = f"{number}:{family}"
        silence()
        self.libraries.choose(number, family)
        until = time.process_time() + self.limit
        for n, name in enumerate(tests):
            if time.process_time() > until:
                os._exit(0)
            place[:] = n.to_bytes(8, "little")
            # the processor's time, whatever else the machine does: SIGPROF ends the process
            signal.setitimer(signal.ITIMER_PROF, 10 + 10 * self.seen[name][0])
            self.run(name)
            if self.failed:
                os._exit(1)
        place[:] = len(tests).to_bytes(8, "little")
        os._exit(0)


def checksums():
    """Return by file of tests a checksum of it: so long notes and verdicts hold; `rm -r build/mutants` begins anew."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in (ROOT / "tests").rglob("test_*.py")}


def main():
    """Make, build and judge mutants; end with 1 when more than 5 of 100 survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=40, help="draw one of so many")
    parser.add_argument("--most", type=int, help="judge no more than so many of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--check", action="store_true", help="who is left meets what `make check` has besides")
    parser.add_argument("--only", default=".*", help="steps, a regular expression")
    asked = parser.parse_args()
    kept, now = BUILD / "mutants", state(asked)
    before, mutants = pickle.loads(kept.read_bytes()) if kept.exists() else ("", {})
    if before != now:
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir(parents=True)
        mutants = build(choose(asked.every, asked.seed, asked.only))
        kept.write_bytes(pickle.dumps((now, mutants)))
    source = copied()
    print(f"{len(mutants)} mutants of {len({m.step for m in mutants.values()})} steps", flush=True)
    os.environ["PYTHONPATH"] = str(source)
    sys.path.insert(0, str(source))
    # all examples of what draws, and, as it is not slow, what `make test` leaves out as said again
    os.environ["FASTNAT_LONG"] = "1"
    if asked.check:
        os.environ["FASTNAT_WALKS"] = str(fresh_walks(source, asked.seed))
    judge = Judge(mutants, source, asked)
    some = "not kernel" if asked.check else "not kernel and not slow"
    words = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-m", some, *ALL]
    if pytest.main(words, plugins=[judge]):
        sys.exit(1)
    sys.exit(report(mutants, judge.said, Counter(f for (_, f), name in judge.by.items() if judge.is_of_check(name))))


def fresh_walks(source, seed):
    """Let the running kernel go walks once; return the folder of what it made of them, empty for who is not root."""
    folder = BUILD / FRESH
    if not folder.exists():
        folder.mkdir()
        words = [sys.executable, ROOT / "tests/kernel/fresh.py", folder, "--first", str(1000 * seed)]
        if os.geteuid():
            print("no walks of the running kernel: needs root", flush=True)
        else:
            subprocess.run(["unshare", "-n", *words], env=os.environ | {"PYTHONPATH": str(source)}, check=True)
    return folder


def known(mutants, number, family):
    """Return why no test can tell a mutant from the step, or None."""
    name = mutants[number].name
    return EQUIVALENT.get(name) or EQUIVALENT.get(f"IPv{family} {name}")


def state(asked):
    """Return what a build holds for: a checksum of the core, and what is asked."""
    found = hashlib.sha256(repr((asked.every, asked.seed, asked.only, HEADER, OPERATORS)).encode())
    for path in sorted((ROOT / "fastnat/core").rglob("*.[hp]*")):
        if path.suffix in (".pyx", ".pxd", ".pxi", ".h"):
            found.update(path.read_bytes())
    return found.hexdigest()


def report(mutants, said, of_check):
    """Print who survived; return whether they are too many. of_check: how many only `make check` catches, by family."""
    left = Counter()
    total, caught = Counter(), Counter()
    of_family = {4: Counter(), 6: Counter()}
    for (number, family), how in said.items():
        part, why = mutants[number].step.split("/")[0], known(mutants, number, family)
        if how and why:
            # its line may stand in the step twice, or the reason is wrong
            print(f"caught, though said to be equivalent: IPv{family} {mutants[number].name}")
            why = None
        total[part] += not why
        caught[part] += bool(how) and not why
        of_family[family][bool(how)] += not why
        if not how:
            left[part] += not why
            print(f"{f'equivalent: {why}' if why else 'SURVIVES'} IPv{family} {mutants[number].name}")
    for part in sorted(total):
        print(f"{part:<14} {caught[part]:>4} of {total[part]:>4}")
    for family, found in of_family.items():
        share, only = found[True] / max(found.total(), 1), of_check[family]
        print(f"IPv{family:<11} {found[True]:>4} of {found.total():>4} ({share:.1%}), {only} by `make check` alone")
    print(f"{caught.total()} of {total.total()} caught ({caught.total() / max(total.total(), 1):.1%})")
    return left.total() > total.total() // 20


if __name__ == "__main__":
    main()
