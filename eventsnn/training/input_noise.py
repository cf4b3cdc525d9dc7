"""Noise on the input spikes of a batch in training: drawn for the whole batch, applied block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.constants import InputEvents

__all__ = ["event_draws"]


def event_draws(
    amount: float,
    draw: Callable[..., Any],
    source: InputEvents,
    chosen: NDArray[np.int64],
    blocks: list[tuple[int, int]],
) -> list[NDArray[np.float32]] | None:
    """Random numbers for every event of the samples `chosen`, by block; None where `amount` is 0.

    Drawn before the blocks are handed to threads, so that they do not depend on them.
    """
    if amount == 0.0:
        return None
    counts = source.offsets[chosen + 1] - source.offsets[chosen]
    draws = draw(int(counts.sum()), dtype=np.float32)  # half the time of float64
    ends = np.concatenate(([0], np.cumsum(counts)))
    return [draws[ends[start] : ends[stop]] for start, stop in blocks]
