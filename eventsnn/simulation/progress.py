"""Progress bars (tqdm) of what may take long; short runs show none."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

__all__ = ["DELAY", "DelayedBar", "TimeBar"]

#: seconds before a bar appears
DELAY = 2.0


class DelayedBar:
    """A bar on standard error that appears after `DELAY` seconds, whatever is under way then; a context manager.

    `_options` says what it shows; what moves it on holds `_lock`, and finds `_bar` None as long as there is none.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._lock = threading.Lock()
        self._bar: Any = None
        self._is_over = False
        self._timer = threading.Timer(DELAY, self._show) if enabled else None

    def _options(self) -> dict[str, Any]:
        """Of tqdm."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def _show(self) -> None:
        from tqdm import tqdm

        with self._lock:
            if not self._is_over:
                self._bar = tqdm(dynamic_ncols=True, mininterval=0.2, **self._options())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._bar is not None:
                self._bar.close()


class TimeBar(DelayedBar):
    """A bar over the simulated time of all samples and parts.

    Until the first run has reported, the kernels are being compiled, and it says so.
    """

    def __init__(self, t_start: float, t_max: float, n_runs: int, *, enabled: bool) -> None:
        super().__init__(enabled=enabled and n_runs > 0)
        span = (t_max - t_start) * n_runs
        self._total = span if math.isfinite(span) and span > 0.0 else None
        self._t_start = t_start
        self._done, self._n_spikes, self._running = 0.0, 0, False

    def _options(self) -> dict[str, Any]:
        form = "{l_bar}{bar}| {n:.3g}/{total:.3g} [{elapsed}<{remaining}{postfix}]" if self._total else None
        title = "simulate" if self._running else "compiling, on first use"
        return {"total": self._total, "initial": self._done, "desc": title, "bar_format": form}

    def reporter(self) -> Callable[[float, int], None] | None:
        """What one run calls with the time it has reached and its number of spikes."""
        if self._timer is None:
            return None
        before: list[float] = [self._t_start, 0]

        def report(t: float, n_spikes: int) -> None:
            with self._lock:
                step = t - before[0]
                self._done += step
                self._n_spikes += n_spikes - int(before[1])
                before[:] = [t, n_spikes]
                if self._bar is not None:
                    if not self._running:
                        self._bar.set_description("simulate", refresh=False)
                        self._bar.reset()  # the time left is not that of the compiler
                    self._bar.set_postfix_str(f"{self._n_spikes:,} spikes", refresh=False)
                    self._bar.update(step)
                self._running = True

        return report
