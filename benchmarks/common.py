"""What the benchmarks share: interleaved rounds, medians, the machine, tables, peers in a process of their own.

Speed drifts with whatever else the machine does. So every comparison is made inside one run: all candidates take turns
for several rounds, the median of each counts, and what is quoted is a ratio. The last line printed is one JSON object
with everything; `--out FILE` writes it too.

A peer (torch, jaxsnn) is never a dependency. It runs in a worker process, so that it may live in another environment:
`--peer-python PATH` names the interpreter of that environment (`pip install -r benchmarks/requirements-peers.txt`
there); without it this interpreter is tried. A worker (common_worker.py) reads one JSON object per line, does that work
and answers with one.
"""

from __future__ import annotations

import os

# NumPy's own products are measured on one thread; must be set before NumPy is loaded.
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_GIVEN = {name: os.environ.get(name) for name in _BLAS_THREADS}
os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numba
import numpy as np

import eventsnn

HERE = Path(__file__).parent
Name = TypeVar("Name", bound=Hashable)


def arguments(description: str, *, rounds: int, peers: bool = False) -> argparse.ArgumentParser:
    """The options of all benchmarks; the first line of the docstring is the description."""
    parser = argparse.ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds, help=f"interleaved rounds (default {rounds})")
    parser.add_argument("--out", type=Path, help="write the JSON line to this file, too; pictures go beside it")
    if peers:
        parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default 1 2)")
        parser.add_argument("--peer-python", metavar="PATH", help="interpreter of an environment that has the peer")
        parser.add_argument("--no-peer", action="store_true", help="leave the peer out")
    return parser


def machine() -> dict[str, str | int]:
    """Processor, cores this process may use, and versions."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model, "cores": cores or 1, "system": platform.system(), "python": platform.python_version(),
        "numpy": np.__version__, "numba": numba.__version__, "eventsnn": eventsnn.__version__,
    }  # fmt: skip


def print_machine() -> None:
    print(" | ".join(f"{name} {value}" for name, value in machine().items()), flush=True)


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes; or what it returns, where it is a float (a worker's own clock)."""
    start = time.perf_counter()
    outcome = work()
    seconds = time.perf_counter() - start
    return outcome if isinstance(outcome, float) else seconds


def medians(candidates: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """Median seconds of each candidate. They take turns, in changing order, after one round that is not counted.

    Says so if the machine was busy with something else, seen by a loop on one thread that got less than all of a core.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in candidates}
    shares = []
    for turn in range(rounds + 1):
        names = list(candidates)
        shares.append(_share_of_a_core())
        for name in names if turn % 2 else reversed(names):
            took = timed(candidates[name])
            if turn:
                seconds[name].append(took)
    share = statistics.mean(shares)
    if share < 0.95:
        print(f"THE MACHINE WAS BUSY: one thread got {100 * share:.0f} % of a core; measure again\n", flush=True)
    return {name: statistics.median(took) for name, took in seconds.items()}


def _share_of_a_core() -> float:
    wall, own = time.perf_counter(), time.process_time()
    while time.perf_counter() < wall + 0.05:
        pass
    return (time.process_time() - own) / (time.perf_counter() - wall)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table with the first column left, all others right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    for number, row in enumerate(cells):
        print("  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))))
        if number == 0:
            print("  ".join("-" * w for w in widths))
    print(flush=True)


def finish(name: str, results: Mapping[str, object], out: Path | None) -> None:
    """Print everything as one JSON line, last; write it to `out`."""
    line = json.dumps({"benchmark": name, "machine": machine(), **results}, default=_plain)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(line + "\n")
    print(line)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else str(value)


def significant(value: float, digits: int = 3) -> float:
    """Rounded to so many digits: more would be noise."""
    return float(f"{value:.{digits}g}")


class Peer:
    """A worker process that measures a peer in turn with the candidates of this process."""

    def __init__(self, script: str, python: str | None, options: Sequence[str] = ()) -> None:
        self.missing: str | None = None
        environment = {name: value for name, value in os.environ.items() if name not in _BLAS_THREADS}
        environment |= {name: value for name, value in _GIVEN.items() if value is not None}
        self._process = subprocess.Popen(
            [python or sys.executable, str(HERE / script), *options], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            self.info = self._answer()
        except RuntimeError as error:
            self.missing = str(error)
            print(f"peer left out: {error}", flush=True)

    def __call__(self, **work: object) -> float:
        """Seconds that the peer takes for this work, on its own clock."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(work) + "\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # anything else is the peer's chatter
                return json.loads(line)
        errors = self._process.stderr.read().strip().splitlines()
        raise RuntimeError(errors[-1] if errors else "the worker ended without an answer")

    def close(self) -> None:
        self._process.communicate()
