"""Run a sweep: every combination of values in a run folder of its own, several at a time, resumable at any moment.

What is finished is read from the run folders, so a killed sweep needs no record of its own: the same command goes on.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventsnn.errors import CheckpointError, EventSNNError
from eventsnn.experiments.build_shared import available_cores
from eventsnn.experiments.config import plain
from eventsnn.experiments.run import continue_run, train
from eventsnn.experiments.run_folder import RunFolder
from eventsnn.experiments.schema import Config
from eventsnn.experiments.sweep_file import Sweep, SweepPoint, read_sweep
from eventsnn.experiments.sweep_table import SweepTable, run_results, write_table
from eventsnn.training.files import reason

__all__ = ["SweepInterrupted", "SweepResult", "sweep"]

_STOP = ".stop"  # while this file is in the sweep's folder, runs end after their epoch and none starts


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C in a sweep; every finished epoch of every run is saved, and the message says how to go on."""


@dataclass(frozen=True)
class SweepResult:
    """A sweep's folder and its table."""

    path: Path
    table: SweepTable


@dataclass(frozen=True)
class _Task:
    """A run to do: its number, its latest savepoint (-1: none), what it is called in print ("": say nothing)."""

    index: int
    point: SweepPoint
    epoch: int
    label: str


@dataclass(frozen=True)
class _Outcome:
    """How a run ended: "finished", "interrupted" or "failed", and why; how long this process was at it."""

    index: int
    state: str
    message: str
    seconds: float


def sweep(
    file: str | Path,
    out: Path | str = "sweeps",
    *,
    config: str | Path | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    progress: bool = True,
    plots: bool = False,
) -> SweepResult:
    """Run all combinations of a sweep file that have not been run yet.

    Parameters
    ----------
    file : path
        The sweep file, see `eventsnn.experiments.sweep_file.read_sweep`.
    out : path
        Folder in which the sweep's folder is made, named like the file. In it every combination has a run folder, named
        by its values, and ``sweep.csv`` the results of all.
    config : str or path, optional
        A built-in configuration or a file, instead of the one that the sweep file names.
    jobs : int, optional
        Runs at a time, each in a process of its own. Default: as many as there are cores, or what
        ``joblib.parallel_config`` says: with ``backend="dask"`` the runs go to the workers of a cluster, which must
        see the folder under the same path.
    threads : int, optional
        Threads of each run; default the cores divided by `jobs`. The results do not depend on them.
    progress : bool
        Print what starts and what ends.
    plots : bool
        Draw the pictures of every run, too.

    Returns
    -------
    SweepResult

    Raises
    ------
    ConfigError
        The sweep file or one of its configurations cannot be used; nothing has been run then.
    CheckpointError
        The folder cannot be written, is in use, or holds a run of the same values and another configuration.
    EventSNNError
        Some runs failed; all others are finished, and the message names each.
    SweepInterrupted
        Ctrl-C (a KeyboardInterrupt); all finished epochs are saved.

    Notes
    -----
    A run that is finished is not run again; one that was killed goes on from its latest savepoint, to the same bits.
    More values may be added to the file later: what is there is kept.
    """
    plan = read_sweep(file, config, note=print if progress else None)
    folder = Path(out) / plan.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot be made ({reason(error)}); give another folder with --out DIR"
        ) from error
    with RunFolder(folder).locked():
        return _Runner(plan, folder, jobs, threads, progress, plots).run()


class _Runner:
    """One process that runs a sweep."""

    def __init__(
        self, plan: Sweep, folder: Path, jobs: int | None, threads: int | None, progress: bool, plots: bool
    ) -> None:
        self.plan, self.folder, self.progress, self.plots = plan, folder, progress, plots
        (folder / _STOP).unlink(missing_ok=True)
        self.epochs = [_saved_epoch(folder, point) for point in plan.points]
        self.failures: dict[int, str] = {}
        self.table = self._write()
        self.todo = [k for k, row in enumerate(self.table.rows) if row["state"] != "finished"]
        self.jobs, self.threads = _resources(jobs, threads, len(self.todo))
        self.stopped = False
        self.seconds: list[float] = []  # of the runs that ended

    def run(self) -> SweepResult:
        """Run what is to be done."""
        n_points, n_todo = len(self.plan.points), len(self.todo)
        n_half = sum(self.epochs[k] > 0 for k in self.todo)
        self._say(f"sweep folder: {self.folder}")
        self._say(
            f"{_counted(n_points, 'run')}: {n_points - n_todo} finished, {n_half} begun, {n_todo - n_half} to start"
            + (f"; {self.jobs} at a time, {_counted(self.threads, 'thread')} each" if self.todo else "")
        )
        if self.todo:
            with self._interruptible():
                self._run_all()
        if self.stopped:
            n_finished = sum(row["state"] == "finished" for row in self.table.rows)
            raise SweepInterrupted(
                f"interrupted; {n_finished} of {n_points} runs are finished, the finished epochs of the "
                "others are saved; the same command goes on"
            )
        self._say(f"table: {self.folder / 'sweep.csv'}; pictures: eventsnn sweep-plot {self.folder}")
        if self.failures:
            named = "\n  ".join(f"{self.plan.points[k].name}: {text}" for k, text in self.failures.items())
            raise EventSNNError(
                f"{len(self.failures)} of {n_points} runs failed, the others are finished; the same "
                f"command tries again\n  {named}"
            )
        return SweepResult(self.folder, self.table)

    def _run_all(self) -> None:
        from joblib import Parallel

        # A batch would hide its first results, and tasks handed out early would still start after Ctrl-C.
        parallel = Parallel(
            n_jobs=self.jobs, return_as="generator_unordered", pre_dispatch=self.jobs, batch_size=1, max_nbytes=None
        )
        try:
            for outcome in parallel(self._tasks()):
                self._ended(outcome)
            (self.folder / _STOP).unlink(missing_ok=True)  # whoever was to see it has seen it
        except BrokenProcessPool as error:
            if not self.stopped:  # Ctrl-C can also hit a process between two runs
                raise EventSNNError(
                    f"a process of the sweep ended before its run ({str(error).partition('.')[0]}; killed, or no "
                    "memory left?); what is finished is kept, the same command goes on, --jobs 1 needs least memory"
                ) from error
        finally:
            self.table = self._write()

    def _tasks(self) -> Iterator[Any]:
        from joblib import delayed

        common = (str(self.folder.absolute()), self.threads, self.plots)
        for k in self.todo:
            if self.stopped:
                return
            label = self._label(k) if self.progress else ""
            yield delayed(_run_point)(_Task(k, self.plan.points[k], self.epochs[k], label), *common)

    def _ended(self, outcome: _Outcome) -> None:
        """A run has ended: table and one line."""
        k = outcome.index
        if outcome.state == "failed":
            self.failures[k] = outcome.message
        self.table = self._write()
        self.seconds.append(outcome.seconds)
        row = self.table.rows[k]
        if outcome.state == "finished":
            text = f"test accuracy {100 * row['test_accuracy']:.2f} %, {_counted(row['epochs'], 'epoch')}, "
            text += _duration(row["seconds"])
        else:
            text = f"{outcome.state} after {_counted(row['epochs'], 'epoch')}"
            text += f": {outcome.message}" if outcome.message else ""
        self._say(f"{self._label(k)}: {text}{self._remaining()}")

    def _remaining(self) -> str:
        n_left = len(self.todo) - len(self.seconds)
        if self.stopped or n_left == 0:
            return ""
        seconds = sum(self.seconds) / len(self.seconds) * n_left / self.jobs
        return f" ({n_left} left, about {_duration(seconds)})"

    def _write(self) -> SweepTable:
        """The table as the run folders have it now."""
        rows = []
        for k, point in enumerate(self.plan.points):
            results = run_results(RunFolder(self.folder / point.name), point.config.training.epochs)
            if k in self.failures:
                results["state"] = "failed"
            rows.append({**dict(zip(self.plan.parameters, point.values, strict=True)), **results, "run": point.name})
        table = SweepTable(self.plan.parameters, tuple(rows))
        write_table(table, self.folder / "sweep.csv")
        return table

    def _label(self, k: int) -> str:
        n = len(self.plan.points)
        return f"[{k + 1:{len(str(n))}}/{n}] {self.plan.points[k].name}"

    def _say(self, text: str) -> None:
        if self.progress:
            print(text, flush=True)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C lets the runs end after their epoch, a second one ends everything at once."""
        stop = self.folder / _STOP

        def interrupt(signum: int, frame: Any) -> None:
            if self.stopped:
                raise KeyboardInterrupt
            self.stopped = True
            stop.touch()
            self._say("\nending the runs after the epoch that is under way; Ctrl-C again ends them at once")

        in_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, interrupt) if in_main_thread else None
        try:
            yield
        except KeyboardInterrupt:
            self.stopped = True
            stop.touch()  # for runs on other machines
        finally:
            if in_main_thread:
                signal.signal(signal.SIGINT, before)


def _run_point(task: _Task, folder: str, threads: int, plots: bool) -> _Outcome:
    """Train one combination, in whatever process; nothing is raised, for that would end the other runs."""
    stop = Path(folder) / _STOP

    def look(_: int) -> None:
        if stop.exists():
            raise KeyboardInterrupt

    start, state, message = time.monotonic(), "finished", ""
    try:
        look(0)
        if task.label:  # said by the process that does it: joblib takes tasks from the sweep before their turn
            print(f"{task.label}: {f'goes on after epoch {task.epoch}' if task.epoch > 0 else 'starts'}", flush=True)
        options: dict[str, Any] = {"threads": threads, "progress": False, "plots": plots, "on_epoch": look}
        if task.epoch >= 0:
            continue_run(Path(folder) / task.point.name, **options)
        else:
            train(task.point.config, folder, folder_name=task.point.name, **options)
    except KeyboardInterrupt:
        state = "interrupted"
    except EventSNNError as error:
        state, message = "failed", str(error)
    except Exception as error:
        state, message = "failed", f"{type(error).__name__}: {error}"
    return _Outcome(task.index, state, message, time.monotonic() - start)


def _saved_epoch(folder: Path, point: SweepPoint) -> int:
    """Latest savepoint of a combination's run, -1 without a run.

    Raises
    ------
    CheckpointError
        The run that is there has another configuration.
    """
    run = RunFolder(folder / point.name)
    saved = run.epochs()
    if not saved:
        return -1
    there = run.read_config()
    if (difference := _first_difference(_comparable(there), _comparable(point.config))) is not None:
        raise CheckpointError(
            f"{run.path}: holds a run of another configuration ({difference}); give another folder with --out DIR, or "
            "move this one away"
        )
    return saved[-1]


def _comparable(config: Config) -> Any:
    values = plain(config)
    del values["training"]["threads"]  # any number gives the same bits
    return values


def _first_difference(there: Any, here: Any, path: str = "") -> str | None:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            inner = f"{path}.{key}" if path else key
            found = _first_difference(there.get(key), here.get(key), inner)
            if found is not None:
                return found
        return None
    return None if there == here else f"{path} is {there!r} there and {here!r} in the sweep"


def _resources(jobs: int | None, threads: int | None, n_runs: int) -> tuple[int, int]:
    """Runs at a time and threads of each."""
    from joblib import effective_n_jobs
    from joblib.parallel import get_active_backend

    chosen = get_active_backend()[1]  # of joblib.parallel_config
    cores = available_cores()
    if jobs is None:
        jobs = effective_n_jobs(-1 if chosen is None else chosen)
    jobs = max(1, min(jobs, n_runs))
    return jobs, max(1, cores // jobs) if threads is None else threads


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _duration(seconds: float) -> str:
    """``8.1 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
