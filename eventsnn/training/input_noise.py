"""Noise on the input spikes in training, and images moved: drawn for a whole batch, applied block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._validation import count
from eventsnn.currents import Currents
from eventsnn.errors import ValidationError
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.gather import drop_events, jitter_events, shift_events
from eventsnn.spikes import Spikes
from eventsnn.training.streams import DROPOUT, IMAGE, INPUT_TIME, root_of, stream

__all__ = ["ImageShift", "InputNoise"]


@dataclass(frozen=True)
class ImageShift:
    """Move every training image by a random number of pixels, another one each time; for inputs that are images.

    Parameters
    ----------
    shape : (height, width) or (height, width, channels); neuron = (row * width + column) * channels + channel
    pixels : the largest move in each direction; rows and columns by -pixels .. pixels, each with the same probability.
        What is moved beyond the edge is left out.

    Raises
    ------
    ValidationError
        Anything but sizes >= 1, and pixels >= 0 and below height and width.
    """

    shape: tuple[int, ...]
    pixels: int = 1

    def __post_init__(self) -> None:
        given = self.shape if isinstance(self.shape, (tuple, list)) else ()
        sizes = tuple(count("ImageShift: shape", n) for n in given)
        if len(sizes) not in (2, 3) or min(sizes) < 1:
            raise ValidationError(f"ImageShift: shape must be (height, width[, channels]), each >= 1, got {self.shape}")
        if count("ImageShift: pixels", self.pixels) >= min(sizes[:2]):
            raise ValidationError(f"ImageShift: pixels ({self.pixels}) must be less than height and width of {sizes}")
        object.__setattr__(self, "shape", sizes)


class InputNoise:
    """Gaussian noise on the times, reflected at 0, dropout of spikes, moves of images, each with a stream of its own.

    Parameters
    ----------
    time_noise : standard deviation, in the unit of the times
    dropout : probability that a spike is left out
    seed : int or numpy SeedSequence
    shift : `ImageShift` or None
    """

    def __init__(
        self,
        time_noise: float,
        dropout: float,
        seed: int | np.random.SeedSequence,
        shift: ImageShift | None = None,
    ) -> None:
        if not (isfinite(time_noise) and time_noise >= 0):
            raise ValidationError(f"Trainer.time_noise: must be >= 0, got {time_noise}")
        if not 0 <= dropout < 1:
            raise ValidationError(f"Trainer.input_dropout: must be >= 0 and < 1, got {dropout}")
        if shift is not None and not isinstance(shift, ImageShift):
            raise ValidationError(f"Trainer.image_shift: must be an ImageShift or None, got {shift!r}")
        self._time_noise, self._dropout, self._shift = float(time_noise), float(dropout), shift
        keys = {"time": INPUT_TIME, "dropout": DROPOUT, "image": IMAGE}
        self._rngs = {name: stream(root_of(seed), key) for name, key in keys.items()}

    def check(self, spikes: Spikes | Currents) -> None:
        """Raise unless this noise can be put on such inputs."""
        if isinstance(spikes, Currents):
            if self._time_noise > 0 or self._dropout > 0 or self._shift is not None:
                raise ValidationError("Trainer.time_noise, input_dropout, image_shift: only for inputs that are spikes")
        elif self._shift is not None and spikes.n_neurons != prod(self._shift.shape):
            raise ValidationError(
                f"Trainer.image_shift: images of {self._shift.shape} do not have the inputs' {spikes.n_neurons} neurons"
            )

    def draw(
        self, source: Any, chosen: NDArray[np.int64], blocks: list[tuple[int, int]]
    ) -> Callable[[int, InputEvents], None]:
        """The noise of one batch, as a function that changes the events of block k in place.

        Drawn before the blocks are handed to threads, so that it does not depend on them.
        """
        times = _by_block(self._time_noise, self._rngs["time"].standard_normal, source, chosen, blocks)
        drops = _by_block(self._dropout, self._rngs["dropout"].random, source, chosen, blocks)
        moves: NDArray[np.int64] | None = None
        if self._shift is not None:
            largest = self._shift.pixels
            moves = self._rngs["image"].integers(-largest, largest, (chosen.size, 2), endpoint=True)

        def apply(k: int, events: InputEvents) -> None:
            if times is not None:
                jitter_events(events, times[k], self._time_noise)
            if drops is not None:
                drop_events(events, drops[k], self._dropout)
            if self._shift is not None and moves is not None:
                height, width, *channels = self._shift.shape
                shift_events(events, moves[slice(*blocks[k])], height, width, *(channels or (1,)))

        return apply

    def state_dict(self) -> dict[str, Any]:
        """Where the streams are."""
        return {name: rng.bit_generator.state for name, rng in self._rngs.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a `state_dict` was written."""
        for name, rng in self._rngs.items():
            if name in state:  # states of older versions had fewer
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
