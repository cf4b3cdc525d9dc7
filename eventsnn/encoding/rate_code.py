"""Values as rates: random spikes on a time grid, independent from step to step."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number
from eventsnn.encoding.blocks import BLOCK, checked_grid, checked_values, sorted_events, value_blocks
from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes, concatenate

__all__ = ["encode_rate"]

#: more events than any memory holds
_FAR_TOO_MANY = 1e12


def encode_rate(
    values: ArrayLike,
    n_steps: int,
    *,
    rng: np.random.Generator,
    gain: float = 1.0,
    process: Literal["bernoulli", "poisson"] = "bernoulli",
    dt: float = 1.0,
) -> Spikes:
    """Encode each value as the rate of random spikes on a time grid.

    Parameters
    ----------
    values : array_like of float, shape (n_samples, n_features)
        Values in [0, 1].
    n_steps : int, >= 1
        Steps of the grid.
    rng : numpy Generator that draws the spikes
    gain : float, >= 0
        Expected spikes per step of the value 1.
    process : "bernoulli" or "poisson"
        In each step one spike with probability ``value gain``, or a Poisson number of spikes with that mean. Several
        spikes of one step have equal times and add up as inputs.
    dt : float, > 0
        Length of a step, in the unit of the network's time constants.

    Returns
    -------
    Spikes
        n_samples samples of n_features neurons, at times ``step dt``, step = 0 .. n_steps - 1.

    Raises
    ------
    ValidationError
        A value is NaN or outside [0, 1], `values` is not two-dimensional, a probability is above 1, `rng` is no
        Generator, or another argument is out of range.

    Notes
    -----
    Bernoulli: the value 1 with gain 1 spikes in every step and 0 never. One random number per step and value; features
    that are 0 in a whole block of samples cost nothing.
    Poisson: exact too, from the number of spikes in all steps, whose steps are then uniform; cost follows the spikes.
    Spikes in continuous time: `poisson_spikes`.

    Memory beyond that of the events, 16 bytes each and twice that while they are joined, does not grow with
    n_samples: no array of shape (n_samples, n_features, n_steps) is made. Data sets are best encoded batch by batch,
    which also draws anew in every epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import encode_rate
    >>> values = [[0.0, 0.2, 1.0]]
    >>> encode_rate(values, n_steps=1000, rng=np.random.default_rng(0)).counts()
    array([[   0,  203, 1000]])
    >>> encode_rate(values, n_steps=1000, rng=np.random.default_rng(1), process="poisson").counts()
    array([[  0, 200, 982]])
    """
    where = "encode_rate"
    array = checked_values(f"{where}.values", values)
    n_steps, dt = checked_grid(where, n_steps, dt)
    gain = number(f"{where}.gain", gain, at_least=0)
    if process not in ("bernoulli", "poisson"):
        raise ValidationError(f"{where}.process: must be 'bernoulli' or 'poisson', got {process!r}")
    if not isinstance(rng, np.random.Generator):
        raise ValidationError(
            f"{where}.rng: must be a numpy.random.Generator, such as numpy.random.default_rng(seed), "
            f"got {type(rng).__name__}"
        )
    parts = []
    n_expected = 0.0
    for block, x in value_blocks(f"{where}.values", array, n_steps * max(gain, 1.0)):
        with np.errstate(over="ignore"):  # inf is far too many as well
            rates = x * gain
            n_expected += rates.sum() * n_steps
        if process == "bernoulli" and rates.max(initial=0.0) > 1.0:
            s, f = np.argwhere(rates > 1.0)[0]
            raise ValidationError(
                f"{where}.gain: the probability of a spike, value times gain, is {rates[s, f]:g} at sample "
                f"{block.start + s}, feature {f}; must be at most 1 (or take process='poisson')"
            )
        if n_expected > _FAR_TOO_MANY:
            raise ValidationError(
                f"{where}: more than {n_expected:.1g} spikes are to be expected; lower gain or n_steps"
            )
        draw = _bernoulli if process == "bernoulli" else _poisson
        samples, steps, neurons = draw(rates, n_steps, rng)
        offsets = np.searchsorted(samples, np.arange(len(x) + 1))
        parts.append(Spikes._from_offsets(offsets, neurons, steps * dt, x.shape[1]))
    return concatenate(parts)


def _bernoulli(rates: NDArray[np.float64], n_steps: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Sample, step and neuron of each spike, in this order."""
    active = np.flatnonzero(rates.any(axis=0))
    # all steps at once; of a single sample whose steps are too many for that, as many as fit
    size = n_steps if len(rates) > 1 else max(BLOCK // max(active.size, 1), 1)
    probability = rates[:, None, active]
    found = []
    for start in range(0, n_steps, size):
        shape = (len(rates), min(size, n_steps - start), active.size)
        samples, steps, columns = np.nonzero(rng.random(shape) < probability)
        found.append((samples, steps + start, active[columns]))
    return tuple(np.concatenate(own) for own in zip(*found, strict=True))


def _poisson(rates: NDArray[np.float64], n_steps: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Sample, step and neuron of each spike, in this order."""
    samples, neurons = np.nonzero(rates)
    counts = rng.poisson(rates[samples, neurons] * n_steps)
    samples, neurons = np.repeat(samples, counts), np.repeat(neurons, counts)
    return sorted_events(samples, rng.integers(0, n_steps, samples.size), neurons, n_steps, rates.shape[1])
