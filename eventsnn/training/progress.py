"""The progress bar of an epoch (tqdm)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _EpochBar:
    """Thin wrapper so that the training loop does not know tqdm."""

    def __init__(self, bar: Any | None) -> None:
        self._bar = bar

    def advance(self, n_samples: int, loss: float, accuracy: float) -> None:
        """Move on by a batch."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}, accuracy {100 * accuracy:.2f} %", refresh=False)
            self._bar.update(n_samples)

    def finish(self, valid_accuracy: float | None) -> None:
        """Add the validation result to the line that stays."""
        if self._bar is not None and valid_accuracy is not None:
            self._bar.set_postfix_str(f"{self._bar.postfix}, valid {100 * valid_accuracy:.2f} %")


@contextmanager
def epoch_bar(epoch: int, n_epochs: int, n_samples: int, *, enabled: bool) -> Iterator[_EpochBar]:
    """A bar over the samples of one epoch, with loss, accuracy and samples/s, on standard error."""
    if not enabled:
        yield _EpochBar(None)
        return
    from tqdm import tqdm

    width = len(str(n_epochs))
    title = f"epoch {epoch:{width}d}/{n_epochs}"
    with tqdm(
        total=n_samples, desc=title, unit=" samples", unit_scale=True, dynamic_ncols=True, mininterval=0.2
    ) as bar:
        yield _EpochBar(bar)
