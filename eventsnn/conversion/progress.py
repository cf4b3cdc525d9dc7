"""The progress bar of a conversion (tqdm), over batches of images."""

from __future__ import annotations

from typing import Any

from eventsnn.simulation.progress import DelayedBar

__all__ = ["BatchBar"]


class BatchBar(DelayedBar):
    """A bar over all images of all stages; it may appear while the first batch is under way, or its kernels compile."""

    def __init__(self, title: str, n_images: int, *, enabled: bool) -> None:
        super().__init__(enabled=enabled)
        self._title, self._total, self._done = title, n_images, 0

    def _options(self) -> dict[str, Any]:
        return {"total": self._total, "initial": self._done, "desc": self._title, "unit": " images"}

    def advance(self, n_images: int, stage: str) -> None:
        """Move on by a batch; `stage` is what was done, for example a layer's name."""
        with self._lock:
            self._done += n_images
            if self._bar is not None:
                self._bar.set_postfix_str(stage, refresh=False)
                self._bar.update(n_images)
