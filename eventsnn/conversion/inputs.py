"""Images as what drives a converted network."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn.currents import Currents
from eventsnn.encoding import encode_latency_steps, encode_rate
from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes

__all__ = ["INPUTS", "Input", "checked_input", "encoded"]

Input = Literal["constant", "poisson", "latency"]
INPUTS = ("constant", "poisson", "latency")


def checked_input(where: str, kind: str, images: NDArray[np.floating], rng: object) -> None:
    """Refuse a kind of input that does not exist, values it cannot have, and a missing or needless rng."""
    if kind not in INPUTS:
        raise ValidationError(f"{where}.input: no input {kind!r}{hint(kind, INPUTS)}")
    if kind == "poisson" and not isinstance(rng, np.random.Generator):
        raise ValidationError(
            f"{where}.rng: input='poisson' draws spikes and needs a numpy.random.Generator, such as "
            f"numpy.random.default_rng(seed), got {type(rng).__name__}"
        )
    if kind != "poisson" and rng is not None:
        raise ValidationError(f"{where}.rng: input={kind!r} draws nothing; leave rng out, or take input='poisson'")
    if kind != "constant":
        bad = ~((images >= 0) & (images <= 1))
        if bad.any():
            sample, pixel = (int(k) for k in np.argwhere(bad)[0])
            raise ValidationError(
                f"{where}.images: input={kind!r} needs values in 0 .. 1, got {images[sample, pixel]:g} at image "
                f"{sample}, value {pixel}; take input='constant', or train the network on values in 0 .. 1 and scale "
                "them in its first layer"
            )


def encoded(
    kind: Input, images: NDArray[np.floating], n_steps: int, rng: np.random.Generator | None
) -> Currents | Spikes:
    """Images (n, n_inputs), checked, as input of n_steps steps."""
    if kind == "constant":
        return Currents(images)
    if kind == "poisson":
        assert rng is not None
        return encode_rate(images, n_steps, rng=rng)
    return _latency(images, n_steps)


def _latency(images: NDArray[np.floating], n_steps: int) -> Spikes:
    """Every value switches its input on, bright ones first; from then on it spikes in every step.

    One spike alone would say the same to the network whatever its value. So the input of x is on for x n_steps steps,
    rounded, and what arrives in all of them is what the constant current x sends.
    """
    # rounded to 0 steps: silent, where `encode_latency_steps` by itself lets the last step have a spike
    first = encode_latency_steps(images, n_steps, threshold=0.5 / n_steps)
    begins = np.rint(first.times).astype(np.int64)
    lengths = n_steps - begins
    samples, neurons = np.repeat(first.samples, lengths), np.repeat(first.neurons, lengths)
    ends = np.cumsum(lengths)
    since = np.arange(samples.size) - np.repeat(ends - lengths, lengths)
    times = (np.repeat(begins, lengths) + since).astype(np.float64)
    return Spikes(samples, neurons, times, n_samples=first.n_samples, n_neurons=first.n_neurons)
