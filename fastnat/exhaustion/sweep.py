"""A grid of scenarios in parallel: processes of this machine, or a Dask cluster; what is done is kept at once.

The result file is CSV, one row a variant and seed, written as results come in: a sweep that was ended goes on where it
was when it is started again with the same file. With the ending .parquet it becomes Parquet at the end.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..engine import Engine
from ..errors import InputError
from ..node import Node
from .scenario import Scenario
from .simulation import run
from .variants import Variant, apply

FIGURES = (
    "opened", "failed", "first_failure", "first_failure_time", "one_in_thousand", "kind", "steady_occupancy",
    "steady_fail", "probes_mean", "probes_p99", "probes_max", "peak",
)  # fmt: skip
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
        return " ".join(f"{name}={value}" for name, value in self.variant.factors), str(self.seed)


def jobs_of(s: Scenario) -> list[Job]:
    """Return every variant of a scenario with each of its seeds."""
    return [Job(v, s.seed + n) for v in s.variants for n in range(s.seeds)]


def work_on(s: Scenario, job: Job) -> dict[str, Any]:
    """Run one job; return its row. Called in the workers."""
    node = Node.load(s.node) if s.node else Node.example()
    changed, work, profile = apply(job.variant, node, s.work, s.profile)
    outcome = run(Engine(changed, profile, job.seed), work)
    key = job.key
    return {"variant": key[0], "seed": key[1], **{name: getattr(outcome, name) for name in FIGURES}}


def done_before(path: Path) -> set[tuple[str, str]]:
    """Return the keys of the rows that a result file holds; InputError when it is not of a sweep."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != ["variant", "seed", *FIGURES]:
            raise InputError(f"{path}: not the results of a sweep; give another --out")
        # a row that was cut when the sweep was ended has fewer fields: it is run again
        return {(r["variant"], r["seed"]) for r in reader if r[FIGURES[-1]] not in (None, "")}


def sweep(
    s: Scenario, path: Path, jobs: int = 0, scheduler: str = "", progress: Callable[[int], None] | None = None
) -> int:  # fmt: skip
    """Run what the result file does not hold yet, and append to it; return how many rows it now has.

    jobs: processes, 0: one for each CPU. scheduler: "tcp://host:port" of a Dask cluster instead. A job whose worker
    dies is given to another one. Raises InputError when the scheduler cannot be reached; rows already there are kept.
    """
    target = path.with_suffix(".csv")
    done = done_before(target)
    todo = [job for job in jobs_of(s) if job.key not in done]
    if progress:
        progress(len(done))
    _end_line(target)
    with target.open("a", newline="") as file:
        writer = csv.DictWriter(file, ["variant", "seed", *FIGURES])
        if not done and not file.tell():
            writer.writeheader()
        for row in _on_dask(s, todo, scheduler) if scheduler else _on_processes(s, todo, jobs):
            writer.writerow(row)
            file.flush()
            if progress:
                progress(1)
    if path.suffix == ".parquet":
        _to_parquet(target, path)
    return len(done) + len(todo)


def _end_line(path: Path) -> None:
    """Drop the last line of a file if it was cut."""
    if path.exists():
        text = path.read_text()
        if text and not text.endswith("\n"):
            path.write_text(text[: text.rfind("\n") + 1])


def _on_processes(s: Scenario, todo: list[Job], jobs: int) -> Iterator[dict[str, Any]]:
    """Yield rows as processes finish them; when one dies, its job and those that waited behind it are started anew."""
    tries = dict.fromkeys((job.key for job in todo), 0)
    left = {job.key: job for job in todo}
    while left:
        with ProcessPoolExecutor(jobs or None, mp_context=get_context("spawn")) as pool:
            running = _submit(pool, s, list(left.values()))
            try:
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


def _submit(pool: Executor, s: Scenario, jobs: list[Job]) -> dict[Future[dict[str, Any]], Job]:
    return {pool.submit(work_on, s, job): job for job in jobs}


def _on_dask(s: Scenario, todo: list[Job], scheduler: str) -> Iterator[dict[str, Any]]:
    """Yield rows as workers of a cluster finish them; Dask gives the jobs of a lost worker to the others."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise InputError("--scheduler needs distributed: pip install 'fastnat[sweep]'") from None
    try:
        # distributed leaves Client without types
        client: Any = Client(scheduler, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(f"--scheduler {scheduler}: cannot be reached: {error}") from None
    with client:
        futures = [client.submit(work_on, s, job, pure=False, retries=TRIES) for job in todo]
        # and as_completed
        for future in as_completed(futures):  # type: ignore[no-untyped-call]
            yield future.result()


def _to_parquet(source: Path, target: Path) -> None:
    try:
        import polars
    except ImportError:
        why = f"{target}: Parquet needs polars: pip install 'fastnat[report]'; the rows are in {source}"
        raise InputError(why) from None
    polars.read_csv(source).write_parquet(target)
