"""A grid of scenarios in parallel: processes of this machine, or a Dask cluster; what is done is kept at once.

The result file is CSV, one row a variant and seed, written as results come in: a sweep that was ended goes on where it
was when it is started again with the same file. Each row bears the question's number, a hash of node, workload and
kernel: rows of another question are not gone on with. With the ending .parquet it becomes Parquet at the end.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..engine import Engine
from ..errors import InputError
from ..node import Node
from ..util.escapes import cell
from ..util.output import Output
from ..util.text import excerpt
from .factors import text_of
from .scenario import Scenario
from .simulation import run
from .variants import Variant, apply

FIGURES = (
    "opened", "failed", "first_failure", "first_failure_time", "one_in_thousand", "kind", "steady_occupancy",
    "steady_fail", "probes_mean", "probes_p99", "probes_max", "peak",
)  # fmt: skip
ANEW = "give another --out, or remove the file"
HEAD = ("variant", "seed", "question")
# how often a job is tried whose worker died
TRIES = 3


@dataclass(frozen=True)
class Job:
    """One cell of the grid: a variant and a seed."""

    variant: Variant
    seed: int

    @property
    def key(self) -> tuple[str, str]:
        """What tells this job from the others, as the result file holds it."""
        return cell(" ".join(f"{name}={text_of(value)}" for name, value in self.variant.factors)), str(self.seed)


def jobs_of(s: Scenario) -> list[Job]:
    """Return every variant of a scenario with each of its seeds."""
    return [Job(v, s.seed + n) for v in s.variants for n in range(s.seeds)]


def factors_of(s: Scenario) -> list[str]:
    """Return the factors that a scenario varies: a column each."""
    return list(dict.fromkeys(name for v in s.variants for name, _ in v.factors))


def question_of(s: Scenario) -> str:
    """Return a number that tells a question from others: node, workload and kernel, but neither variants nor seeds."""
    node = Node.load(s.node) if s.node else Node.example()
    dated = [] if s.epoch is None else [s.epoch]
    said = json.dumps([node.texts(), node.conntrack_text, s.profile, asdict(s.work), *dated], sort_keys=True)
    return hashlib.sha256(said.encode(errors="surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Asked:
    """A question and its number, as the workers get it."""

    scenario: Scenario
    question: str

    def work_on(self, job: Job) -> dict[str, Any]:
        """Run one job; return its row. Called in the workers."""
        s = self.scenario
        node = Node.load(s.node) if s.node else Node.example()
        node.epoch = s.epoch
        changed, work, profile = apply(job.variant, node, s.work, s.profile)
        outcome = run(Engine(changed, profile, job.seed), work)
        key = job.key
        values = {name: cell(text_of(value)) for name, value in job.variant.factors}
        figures = {name: getattr(outcome, name) for name in FIGURES}
        return {"variant": key[0], "seed": key[1], "question": self.question, **values, **figures}


def rows_file(path: Path) -> Path:
    """Return where the rows of a sweep go: the file itself, beside a Parquet file a CSV of the same name."""
    return path.with_suffix(".csv") if path.suffix == ".parquet" else path


class ResultFile:
    """The rows of a sweep, appended one by one: each is whole, or not there.

    A pipe or device takes the rows as they come, and holds none to go on with. OutputError when it cannot be written;
    InputError when there are rows of another question, or of none.
    """

    def __init__(self, path: Path, question: str, factors: list[str]) -> None:
        self.path, self.question = path, question
        self.header = [*HEAD, *factors, *FIGURES]
        # that it can be written is found out without touching what is there
        probe = Output(path, "--out")
        self.error = probe.error
        self.regular = probe.target is not None
        try:
            self.done = self._rows() if self.regular else set()
            if self.regular:
                self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                self._end_line()
            else:
                # of a pipe the one that is open: it ends when all are closed
                self.fd = os.dup(probe.file.fileno())
        except OSError as error:
            raise self.error(error) from None
        finally:
            probe.discard()
        if not self.regular or not os.fstat(self.fd).st_size:
            self.append(self.header)

    def _rows(self) -> set[tuple[str, str]]:
        """Return the keys of the rows that are there; InputError when the file is not of this sweep."""
        if not self.path.exists():
            return set()
        wrong = InputError(f"{self.path}: not the results of a sweep; give another --out")
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                named = reader.fieldnames
                if named is not None and list(named) != self.header:
                    self._other_columns(list(named))
                    raise wrong
                # a row that was cut when the sweep was ended has fewer fields: it is run again
                rows = [r for r in reader if r[FIGURES[-1]] not in (None, "")]
        except (UnicodeDecodeError, csv.Error):
            raise wrong from None
        others = {r["question"] for r in rows} - {self.question}
        if others:
            raise InputError(
                f"{self.path}: its rows answer another question, {excerpt(min(others), 20)}; node, workload or profile "
                f"are not the same for this one, {self.question}; {ANEW}"
            )
        return {(r["variant"], r["seed"]) for r in rows}

    def _other_columns(self, named: list[str]) -> None:
        """Raise InputError for columns that another sweep has written."""
        if named == ["variant", "seed", *FIGURES]:
            raise InputError(f"{self.path}: rows of an earlier fastnat, that do not say their question; {ANEW}")
        there = named[len(HEAD) : -len(FIGURES)]
        if named == [*HEAD, *there, *FIGURES]:
            mine = ", ".join(self.header[len(HEAD) : -len(FIGURES)]) or "nothing"
            theirs = excerpt(", ".join(there) or "nothing")
            raise InputError(f"{self.path}: its rows vary {theirs}; this question varies {mine}; {ANEW}")

    def _end_line(self) -> None:
        """Take away the last line if it was cut."""
        size = end = os.fstat(self.fd).st_size
        with self.path.open("rb") as file:
            while end:
                begin = max(end - 4096, 0)
                file.seek(begin)
                at = file.read(end - begin).rfind(b"\n")
                end = begin + at + 1
                if at >= 0:
                    break
                end = begin
        if end < size:
            os.ftruncate(self.fd, end)

    def append(self, values: list[Any]) -> None:
        """Append a row; what a full disk let through of it is taken away again."""
        line = StringIO(newline="")
        csv.writer(line).writerow(values)
        left = line.getvalue().encode()
        before = os.fstat(self.fd).st_size
        try:
            while left:
                left = left[os.write(self.fd, left) :]
        except BaseException as error:
            if self.regular:
                with contextlib.suppress(OSError):
                    os.ftruncate(self.fd, before)
            raise self.error(error) if isinstance(error, OSError) else error from None

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class StoppedSweep(KeyboardInterrupt):
    """Ctrl-C during a sweep: `rows` of `asked` are in the file."""

    def __init__(self, rows: int, asked: int) -> None:
        super().__init__()
        self.rows, self.asked = rows, asked


def sweep(
    s: Scenario, path: Path, jobs: int = 0, scheduler: str = "", progress: Callable[[int], None] | None = None
) -> int:  # fmt: skip
    """Run what the result file does not hold yet, and append to it; return how many rows it now has.

    jobs: processes, 0: one for each CPU. scheduler: "tcp://host:port" of a Dask cluster instead. A job whose worker
    dies is given to another one. Raises InputError when the scheduler cannot be reached, OutputError when the file
    cannot be written, StoppedSweep when Ctrl-C comes; rows already there are kept.
    """
    parquet = Output(path, "--out") if path.suffix == ".parquet" else None
    polars = _polars(path) if parquet else None
    target = rows_file(path)
    question = question_of(s)
    with parquet or contextlib.nullcontext(), ResultFile(target, question, factors_of(s)) as file:
        every = jobs_of(s)
        todo = [job for job in every if job.key not in file.done]
        rows = len(file.done)
        if progress:
            progress(rows)
        try:
            asked = Asked(s, question)
            made = _on_dask(asked, todo, scheduler) if scheduler else _on_processes(asked, todo, jobs)
            with contextlib.closing(made):
                for row in made:
                    file.append(list(row.values()))
                    rows += 1
                    if progress:
                        progress(1)
        except KeyboardInterrupt:
            raise StoppedSweep(rows, len(every)) from None
        if parquet and polars:
            try:
                polars.read_csv(target).write_parquet(parquet.file)
            except OSError as error:
                raise parquet.error(error) from None
    return rows


def _on_processes(asked: Asked, todo: list[Job], jobs: int) -> Generator[dict[str, Any], None, None]:
    """Yield rows as processes finish them; when one dies, its job and those that waited behind it are started anew."""
    tries = dict.fromkeys((job.key for job in todo), 0)
    left = {job.key: job for job in todo}
    others = set(multiprocessing.active_children())
    while left:
        with ProcessPoolExecutor(jobs or None, mp_context=get_context("spawn")) as pool:
            try:
                running = _submit(pool, asked, list(left.values()))
                while running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job = running.pop(future)
                        row = future.result()
                        del left[job.key]
                        yield row
            except BrokenProcessPool:
                for key in left:
                    tries[key] += 1
                if max(tries[key] for key in left) >= TRIES:
                    why = f"workers died {TRIES} times; {len(left)} jobs are left, the others are kept"
                    raise InputError(why) from None
            except BaseException:
                # without this the pool would wait for what is under way: that may take long
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
                raise


def _submit(pool: Executor, asked: Asked, jobs: list[Job]) -> dict[Future[dict[str, Any]], Job]:
    """Submit jobs; the workers that this starts never see Ctrl-C, which a terminal sends to all of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return {pool.submit(asked.work_on, job): job for job in jobs}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _on_dask(asked: Asked, todo: list[Job], scheduler: str) -> Generator[dict[str, Any], None, None]:
    """Yield rows as workers of a cluster finish them; Dask gives the jobs of a lost worker to the others."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise InputError("--scheduler needs distributed: pip install 'fastnat[sweep]'") from None
    try:
        client: Any = Client(scheduler, timeout=10)  # type: ignore[no-untyped-call]  # distributed has no types
    except Exception as error:  # an address that it does not understand ends in any exception
        raise InputError(f"--scheduler {scheduler}: cannot be reached: {error or type(error).__name__}") from None
    with client:
        futures = [client.submit(asked.work_on, job, pure=False, retries=TRIES) for job in todo]
        for future in as_completed(futures):  # type: ignore[no-untyped-call]  # distributed has no types
            yield future.result()


def _polars(path: Path) -> Any:
    try:
        import polars
    except ImportError:
        raise InputError(f"{path}: Parquet needs polars: pip install 'fastnat[report]', or give a .csv") from None
    return polars
