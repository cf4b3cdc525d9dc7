"""The progress bar of a conversion (tqdm), over batches of images; short ones show none."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from eventsnn.simulation.progress import DELAY

__all__ = ["BatchBar"]


class BatchBar:
    """A bar over all images of all stages, on standard error; a context manager.

    It appears after `DELAY` seconds, also while the first batch is still under way, whose kernels may have to be
    compiled.
    """

    def __init__(self, title: str, n_images: int, *, enabled: bool) -> None:
        self._title, self._total, self._done = title, n_images, 0
        self._lock = threading.Lock()
        self._bar: Any = None
        self._is_over = False
        self._timer = threading.Timer(DELAY, self._show) if enabled else None

    def __enter__(self) -> BatchBar:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def _show(self) -> None:
        from tqdm import tqdm

        with self._lock:
            if self._is_over:
                return
            self._bar = tqdm(
                total=self._total, initial=self._done, desc=self._title, unit=" images", dynamic_ncols=True,
                mininterval=0.2,
            )  # fmt: skip

    def advance(self, n_images: int, stage: str) -> None:
        """Move on by a batch; `stage` is what was done, for example a layer's name."""
        with self._lock:
            self._done += n_images
            if self._bar is not None:
                self._bar.set_postfix_str(stage, refresh=False)
                self._bar.update(n_images)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._bar is not None:
                self._bar.close()
