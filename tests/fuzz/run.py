"""Fuzzers: `run.py --seconds 60 [KIND...]` looks for inputs that are neither taken nor refused with a FastnatError.

    python tests/fuzz/run.py KIND FILE...          runs inputs again, one line each
    python tests/fuzz/run.py --seconds N KIND...   all kinds without KIND; --seed N for the same run again
    python tests/fuzz/run.py --runs N state        until so many inputs were run
    python tests/fuzz/run.py --packets N packets   until so many packets were, in large batches
    python tests/fuzz/run.py --corpus              every committed input

`make fuzz` runs it on the build with sanitizers. Every kind runs in a child: a crash, a sanitizer's report or an input
that takes longer than LIMIT ends the child, and the input, which lies in memory that both share, becomes a file below
build/fuzz/. Readers of text are led by the coverage of their Python code where atheris is installed, and get inputs at
random where it is not; packets come from seeded programs, at the speed of the core.
"""

import argparse
import contextlib
import hashlib
import json
import math
import mmap
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# seconds for one input; the sanitizers take ten times as long as the release build
LIMIT = 60
ROOM = 1 << 21
FOUND = Path("build/fuzz")
HERE = str(Path(__file__).parent)
# what a child imports is part of its time
START = time.monotonic()
# kinds whose code is mostly the core's: coverage of Python does not lead anywhere
UNGUIDED = ("packets", "state")
# shares of the time
SHARES = {"packets": 6, "state": 3}


class Current:
    """The input that a child is running, in memory that outlives it: inputs begun, packets, length, beats, bytes."""

    HEAD = 32

    def __init__(self, path):
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(ROOM)
            self.raw = mmap.mmap(file.fileno(), ROOM)

    def put(self, data):
        kept = data[: ROOM - self.HEAD]
        self.set(16, len(kept))
        self.raw[self.HEAD : self.HEAD + len(kept)] = kept
        self.set(0, self.runs + 1)

    def beat(self):
        """Say that the child lives while it does something else than to run inputs."""
        self.set(24, int.from_bytes(self.raw[24:32], "little") + 1)

    def set(self, at, value):
        self.raw[at : at + 8] = value.to_bytes(8, "little")

    @property
    def runs(self):
        return int.from_bytes(self.raw[:8], "little")

    @property
    def packets(self):
        return int.from_bytes(self.raw[8:16], "little")

    @property
    def signs(self):
        """What changes as long as the child lives."""
        return self.raw[:8] + self.raw[24:32]

    @property
    def data(self):
        return self.raw[self.HEAD : self.HEAD + int.from_bytes(self.raw[16:24], "little")]


@dataclass(frozen=True)
class Goal:
    """When to end: seconds of this process, inputs run, packets run."""

    seconds: float = math.inf
    runs: float = math.inf
    packets: float = math.inf

    def reached(self, since, current):
        return time.monotonic() - since > self.seconds or current.runs >= self.runs or current.packets >= self.packets

    def words(self):
        return ["--seconds", str(self.seconds), "--runs", str(self.runs), "--packets", str(self.packets)]


def tried(kind, data, folder):
    """Run one input; return None, or (what it is known by, traceback)."""
    from kinds import KINDS

    from fastnat import FastnatError

    try:
        KINDS[kind](data, folder)
    except FastnatError:
        return None
    except Exception as error:
        last = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(HERE)] or [None]
        where = f"{Path(last[-1].filename).name}:{last[-1].name}" if last[-1] else ""
        # one place has many ways to say KeyError; what an assertion says is the finding
        said = re.sub(r"[0-9]+", "N", str(error))[:80] if isinstance(error, AssertionError) else ""
        return f"{type(error).__name__} {where} {said}".rstrip(), traceback.format_exc()
    return None


class Child:
    """One kind, until the time is over; what it finds goes to files, and fuzzing goes on."""

    def __init__(self, kind, seed, folder, goal):
        from kinds import CORPUS

        self.kind, self.seed, self.folder, self.goal = kind, seed, folder, goal
        self.begin = START
        self.current = Current(folder / "current")
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        self.seeds = [p.read_bytes() for p in sorted((CORPUS / kind).iterdir())]
        self.known = set((folder / "known").read_text().splitlines()) if (folder / "known").exists() else set()

    def one(self, data):
        self.current.put(data)
        found = tried(self.kind, data, self.work)
        if found and found[0] not in self.known:
            self.known.add(found[0])
            with (self.folder / "known").open("a") as file:
                file.write(found[0] + "\n")
            keep(self.kind, self.reduced(data, found[0]), found[0], found[1])

    def reduced(self, data, name, budget=5.0):
        """Return a shorter input that is known by the same name."""
        if self.kind in UNGUIDED:
            return data
        end, step = min(time.monotonic() + budget, self.begin + self.goal.seconds), len(data) // 2
        while step:
            at = 0
            while at < len(data) and time.monotonic() < end:
                left = data[:at] + data[at + step :]
                self.current.beat()
                found = tried(self.kind, left, self.work)
                if found and found[0] == name:
                    data = left
                else:
                    at += step
            step //= 2
        return data

    def over(self):
        return self.goal.reached(self.begin, self.current)

    def at_random(self):
        from mutate import mutate

        rng = random.Random(self.seed)
        pool = list(self.seeds)
        while not self.over():
            data = mutate(self.kind, rng.choice(pool), rng.choice(self.seeds), rng)
            self.one(data)
            if rng.random() < 0.02:
                pool[len(self.seeds) :] = [*pool[len(self.seeds) :], data][-50:]

    def guided(self):
        import atheris
        from kinds import CORPUS
        from mutate import mutate

        def mutated(data, limit, seed):
            rng = random.Random(seed)
            if rng.random() < 0.2:
                return atheris.Mutate(data, limit)
            # libFuzzer likes what is short, and most of what is short is refused in the first line
            base = data if rng.random() < 0.4 else rng.choice(self.seeds)
            return mutate(self.kind, base, rng.choice(self.seeds), rng, limit)

        (self.folder / "corpus").mkdir(exist_ok=True)
        left = max(1, int(self.begin + self.goal.seconds - time.monotonic()))
        atheris.Setup(
            [sys.argv[0], f"-max_total_time={left}", f"-seed={self.seed % 2**31 + 1}",
             "-max_len=16384", f"-artifact_prefix={self.folder}/",
             "-timeout=1000000", "-rss_limit_mb=0", "-verbosity=0", "-handle_int=0",
             str(self.folder / "corpus"), str(CORPUS / self.kind)],
            self.one, custom_mutator=mutated, enable_python_coverage=True,
        )  # fmt: skip
        atheris.Fuzz()

    def programs(self):
        """Run programs, each drawn from a seed of its own, which is all that the parent needs to draw it again."""
        import programs

        n = 0
        while not self.over():
            drawn = f"{self.seed * 1_000_003 + n} {size_of(self.goal)}"
            n += 1
            self.current.put(drawn.encode())
            found = failing(draw(drawn), self.work)
            self.current.set(8, self.current.packets + programs.Run.packets)
            programs.Run.packets = 0
            if found and found[0] not in self.known:
                self.known.add(found[0])
                with (self.folder / "known").open("a") as file:
                    file.write(found[0] + "\n")
                small = programs.shrink(draw(drawn), self.still(found[0]))
                keep("packets", written(small), *found)

    def still(self, name, budget=15.0):
        """Return a function that tells whether a program fails by this name, and always says no when time is over."""
        end = time.monotonic() + budget

        def fails(program):
            self.current.beat()
            return time.monotonic() < end and (failing(program, self.work) or [""])[0] == name

        return fails


def size_of(goal):
    """Return the most packets of a call: many in a row where packets are counted, many calls where time is."""
    return 256 if goal.packets == math.inf else 8_192


def draw(text):
    """Return the program that a seed and the most packets of a call stand for."""
    import programs

    seed, size = map(int, text.split())
    return programs.generate(seed, 40, size)


def failing(program, folder):
    """Run a program in memory; return what tried() returns."""
    import kinds
    import programs

    real, kinds.KINDS["packets"] = kinds.KINDS["packets"], lambda data, where: programs.run(data, where)
    try:
        return tried("packets", program, folder)
    finally:
        kinds.KINDS["packets"] = real


def written(program):
    import programs

    return json.dumps(programs.encode(program)).encode()


def keep(kind, data, name, told):
    """Write an input that found something, and say how to run it again."""
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / f"{kind}-{hashlib.sha1(data).hexdigest()[:12]}"
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(f"{name}\n\n{told}")
    print(f"found: {kind}: {name}\n  python tests/fuzz/run.py {kind} {path}", flush=True)


def child(kind, goal, seed, folder):
    """Be a child: in a folder of its own, which the parent made."""
    guide = None
    if kind not in UNGUIDED:
        with contextlib.suppress(ImportError):
            import atheris as guide
    if guide:
        with guide.instrument_imports(include=["fastnat"], enable_loader_override=False):
            import fastnat  # noqa: F401 (its modules are instrumented as they load)
    c = Child(kind, seed, folder, goal)
    if kind == "packets":
        c.programs()
    elif guide:
        c.guided()
    else:
        c.at_random()


def watch(kind, goal, seed):
    """Keep a child running until the goal is reached; return (inputs, packets, ends by a crash or a hang, findings)."""
    end, runs, packets, lost = time.monotonic() + goal.seconds, 0, 0, 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        while (left := end - time.monotonic()) > 0.5 and runs < goal.runs and packets < goal.packets:
            current = Current(folder / "current")
            current.raw[: Current.HEAD] = bytes(Current.HEAD)
            log, todo = folder / "log", Goal(left, goal.runs - runs, goal.packets - packets)
            how = [sys.executable, "-X", "faulthandler", __file__, "--child", str(folder), *todo.words()]
            how += ["--seed", str(seed + lost), kind]
            with log.open("wb") as errors:
                process = subprocess.Popen(how, stderr=errors, start_new_session=True)
                ended = wait(process, current, end)
            runs, packets = runs + current.runs, packets + current.packets
            if ended == "over" or process.returncode == 0:
                break
            lost += 1
            crashed(kind, current.data, ended, log.read_text(errors="replace"), folder)
        known = folder / "known"
        return runs, packets, lost, len(known.read_text().splitlines()) if known.exists() else 0


def wait(process, current, end):
    """Wait for a child: "" when it ended itself, "over" when its time is, "hang" when one input takes too long."""
    seen, since = b"", time.monotonic()
    while process.poll() is None:
        time.sleep(0.05)
        now = time.monotonic()
        if current.signs != seen:
            seen, since = current.signs, now
        # the first input waits for imports
        if now - since > LIMIT * (1 if current.runs > 1 else 3) or now > end + LIMIT:
            over = now > end + LIMIT and now - since < 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "over" if over else "hang"
    return ""


def crashed(kind, data, ended, told, folder):
    """Keep the input that a child did not survive, a program as small as it can be had in a while."""
    # the sanitizer's word; where the release build ended; what ended the fuzzer itself
    patterns = (
        r"SUMMARY: .*",
        r"runtime error: .*",
        r"ERROR: AddressSanitizer: [\w-]+",
        r"^Fatal Python error[^$]*?line \d+ in \w+",
        r"^\w*Error: .*",
    )
    said = next(filter(None, (re.search(p, told, re.MULTILINE) for p in patterns)), None)
    name = "takes too long" if ended else said[0] if said else f"ended without a word: {told[-200:]}"
    name = re.sub(r"0x[0-9a-f]+|/\S*/|\d+", lambda m: "" if m[0][0] == "/" else "N", " ".join(name.split()))
    there = folder / "known"
    if there.exists() and name in there.read_text().splitlines():
        return
    with there.open("a") as file:
        file.write(name + "\n")
    if kind == "packets" and data:
        import programs

        program = draw(data.decode())
        end = time.monotonic() + 20

        def fails(p):
            if time.monotonic() > end:
                return False
            path = folder / "try"
            path.write_bytes(written(p))
            with contextlib.suppress(subprocess.TimeoutExpired):
                again = [sys.executable, __file__, kind, path]
                return subprocess.run(again, capture_output=True, timeout=LIMIT, check=False).returncode != 0
            return True

        data = written(programs.shrink(program, fails))
    keep(kind, data, name, told[-20_000:])


def replayed(kind, files):
    """Run inputs again in this process; return how many are neither taken nor refused."""
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        for path in files:
            print(f"{kind} {path} ", end="", flush=True)
            found = tried(kind, Path(path).read_bytes(), Path(name))
            print("ok" if found is None else found[1], flush=True)
            bad += found is not None
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("seconds", "runs", "packets"):
        parser.add_argument(f"--{name}", type=lambda text: float(text.replace("_", "")), default=math.inf)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "little"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--child", type=Path)
    parser.add_argument("--corpus", action="store_true")
    parser.add_argument("kind", nargs="?")
    parser.add_argument("rest", nargs="*")
    a = parser.parse_args()
    goal = Goal(a.seconds, a.runs, a.packets)
    if a.child:
        child(a.kind, goal, a.seed, a.child)
        return 0
    from kinds import CORPUS, KINDS

    kinds = [k for k in (a.kind, *a.rest) if k]
    if a.corpus:
        return sum(replayed(k, sorted((CORPUS / k).iterdir())) for k in kinds or KINDS) > 0
    if goal == Goal():
        if a.kind not in KINDS or not a.rest:
            parser.error(f"expected --seconds, --runs or --packets, or KIND FILE; kinds are {', '.join(KINDS)}")
        return replayed(a.kind, a.rest) > 0
    kinds = kinds or list(KINDS)
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no kind {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if goal.seconds == math.inf and (set(kinds) - set(UNGUIDED) or len(kinds) > 1):
        parser.error("--runs and --packets go with one of " + ", ".join(UNGUIDED))
    try:
        import atheris  # noqa: F401 (only whether it is there)

        how = "readers are led by atheris"
    except ImportError:
        how = "atheris is not installed: readers get inputs at random"
    print(f"seed {a.seed}; {how}", flush=True)
    return fuzz(kinds, goal, a.seed, a.jobs) > 0


def fuzz(kinds, goal, seed, jobs):
    """Run kinds side by side, in shares of the time, or one kind in equal parts; return how much was found."""
    if goal.seconds == math.inf:
        part = Goal(runs=goal.runs / jobs, packets=goal.packets / jobs)
        work = [(kinds[0], part, seed + 1_000 * n) for n in range(jobs)]
    else:
        jobs = min(jobs, len(kinds))
        each = goal.seconds * jobs / sum(SHARES.get(k, 1) for k in kinds)
        # the longest first, so that the jobs end together
        order = sorted(kinds, key=lambda k: -SHARES.get(k, 1))
        work = [(k, Goal(min(goal.seconds, each * SHARES.get(k, 1))), seed) for k in order]
    total = 0
    with ThreadPoolExecutor(jobs) as pool:
        for (kind, _, _), part in zip(work, pool.map(lambda w: watch(*w), work), strict=True):
            runs, packets, lost, found = part
            total += found
            said = [f"{runs:,} runs", *([f"{packets:,} packets"] if packets else [])]
            print(f"{kind:<9}", ", ".join(said + ([f"{lost} ended by a crash or a hang"] if lost else [])), flush=True)
    print(f"{total} found" + (f", in {FOUND}/" if total else ""))
    return total


if __name__ == "__main__":
    sys.exit(main())
