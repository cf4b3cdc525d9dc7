"""The worker's side of `common.Peer`; imports the standard library only, because it runs in a peer's environment."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path


def serve(info: Mapping[str, object], work: Callable[..., float]) -> None:
    """Say what is measured, then answer each line of standard input with the seconds that its work took.

    Or with another figure, where the work is to measure something else: bytes, or the number of samples written.
    """
    print(json.dumps(info), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": work(**json.loads(line))}), flush=True)


def peak_mib(work: Callable[[], object]) -> float:
    """MiB by which the resident memory of this process rises while `work` runs, at its peak; NaN where nothing tells.

    Linux counts it from the moment at which the process resets its own high-water mark. What earlier calls freed would
    be used again unseen, so the heap first gives back what it can; measure in a process that has only warmed up.
    """
    marks = Path("/proc/self/clear_refs")
    if not marks.exists():
        return float("nan")
    gc.collect()
    heap = ctypes.CDLL(None)
    if hasattr(heap, "malloc_trim"):
        heap.malloc_trim(0)
    marks.write_text("5")
    before = _status_kib("VmRSS")
    work()
    return (_status_kib("VmHWM") - before) / 1024


def _status_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
