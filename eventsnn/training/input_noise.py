"""Noise on the input spikes in training: drawn for a whole batch, applied block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.gather import drop_events, jitter_events
from eventsnn.training.streams import DROPOUT, INPUT_TIME, root_of, stream

__all__ = ["InputNoise"]


class InputNoise:
    """Gaussian noise on the times, reflected at 0, and dropout of spikes, each with a stream of its own.

    Parameters
    ----------
    time_noise : standard deviation, in the unit of the times
    dropout : probability that a spike is left out
    seed : int or numpy SeedSequence
    """

    def __init__(self, time_noise: float, dropout: float, seed: int | np.random.SeedSequence) -> None:
        self._time_noise, self._dropout = float(time_noise), float(dropout)
        self._rngs = {"time": stream(root_of(seed), INPUT_TIME), "dropout": stream(root_of(seed), DROPOUT)}

    def draw(
        self, source: Any, chosen: NDArray[np.int64], blocks: list[tuple[int, int]]
    ) -> Callable[[int, InputEvents], None]:
        """The noise of one batch, as a function that changes the events of block k in place.

        Drawn before the blocks are handed to threads, so that it does not depend on them.
        """
        times = _by_block(self._time_noise, self._rngs["time"].standard_normal, source, chosen, blocks)
        drops = _by_block(self._dropout, self._rngs["dropout"].random, source, chosen, blocks)

        def apply(k: int, events: InputEvents) -> None:
            if times is not None:
                jitter_events(events, times[k], self._time_noise)
            if drops is not None:
                drop_events(events, drops[k], self._dropout)

        return apply

    def state_dict(self) -> dict[str, Any]:
        """Where the streams are."""
        return {name: rng.bit_generator.state for name, rng in self._rngs.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a `state_dict` was written."""
        for name, rng in self._rngs.items():
            rng.bit_generator.state = state[name]


def _by_block(
    amount: float,
    draw: Callable[..., Any],
    source: InputEvents,
    chosen: NDArray[np.int64],
    blocks: list[tuple[int, int]],
) -> list[NDArray[np.float32]] | None:
    """Random numbers for every event of the samples `chosen`; None where `amount` is 0."""
    if amount == 0.0:
        return None
    counts = source.offsets[chosen + 1] - source.offsets[chosen]
    draws = draw(int(counts.sum()), dtype=np.float32)  # half the time of float64
    ends = np.concatenate(([0], np.cumsum(counts)))
    return [draws[ends[start] : ends[stop]] for start, stop in blocks]
