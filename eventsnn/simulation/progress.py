"""The progress bar of a long simulation (tqdm), over simulated time; short ones show none."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

#: seconds before a bar appears
_DELAY = 2.0


class TimeBar:
    """A bar over the simulated time of all samples and parts, on standard error; a context manager."""

    def __init__(self, t_start: float, t_max: float, n_runs: int, *, enabled: bool) -> None:
        self._t_start, self._t_max = t_start, t_max
        self._span = (t_max - t_start) * n_runs
        self._lock = threading.Lock()
        self._bar: Any = None
        self._n_spikes = 0
        self._enabled = enabled and n_runs > 0

    def __enter__(self) -> TimeBar:
        if self._enabled:
            from tqdm import tqdm

            known = math.isfinite(self._span) and self._span > 0.0
            self._bar = tqdm(
                total=self._span if known else None, desc="simulate", delay=_DELAY, dynamic_ncols=True, mininterval=0.2,
                bar_format="{l_bar}{bar}| {n:.3g}/{total:.3g} [{elapsed}<{remaining}{postfix}]" if known else None,
            )  # fmt: skip
        return self

    def reporter(self) -> Callable[[float, int], None] | None:
        """What one run calls with the time it has reached and its number of spikes."""
        if self._bar is None:
            return None
        before = [self._t_start, 0]

        def report(t: float, n_spikes: int) -> None:
            with self._lock:
                self._n_spikes += n_spikes - int(before[1])
                self._bar.set_postfix_str(f"{self._n_spikes:,} spikes", refresh=False)
                self._bar.update(t - before[0])
                before[:] = [t, n_spikes]

        return report

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
