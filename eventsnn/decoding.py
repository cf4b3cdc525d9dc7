"""Spikes and potentials into labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import spike_counts
from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes

__all__ = ["busiest", "decode_first_spike", "decode_max_membrane", "decode_rate"]


def decode_first_spike(first_times: ArrayLike | Spikes) -> NDArray[np.int64]:
    """Label of each sample: the output that fires first.

    Parameters
    ----------
    first_times : array_like of float, shape (n_samples, n_outputs), or Spikes
        First spike time of each output, `inf` where it is silent; of `Spikes` the first spikes count.

    Returns
    -------
    int64 array, shape (n_samples,)
        Index of the earliest output; of equal times the lowest index; -1 where every output is silent.

    Raises
    ------
    ValidationError
        NaN, not two-dimensional, or no outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import decode_first_spike
    >>> decode_first_spike([[2e-3, 1e-3], [np.inf, np.inf]])
    array([ 1, -1])
    """
    times = first_times.first_times() if isinstance(first_times, Spikes) else np.asarray(first_times)
    if times.ndim != 2 or times.shape[1] == 0 or times.dtype.kind not in "iuf":
        raise ValidationError(
            "decode_first_spike: must be real numbers of shape (n_samples, n_outputs), n_outputs >= 1, "
            f"got shape {times.shape}, dtype {times.dtype}"
        )
    if np.isnan(times).any():
        s, n = np.argwhere(np.isnan(times))[0]
        raise ValidationError(f"decode_first_spike: sample {s}, output {n} is nan; use inf for a silent output")
    earliest = np.argmin(times, axis=1)  # the first of equal minima
    return np.where(np.isposinf(times.min(axis=1)), -1, earliest).astype(np.int64)


def busiest(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """`decode_rate` of checked counts."""
    return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)


def decode_rate(counts: ArrayLike | Spikes) -> NDArray[np.int64]:
    """Label of each sample: the output that fires most.

    Parameters
    ----------
    counts : array_like, shape (n_samples, n_outputs), or Spikes
        Spikes of each output, or rates; of `Spikes` all are counted.

    Returns
    -------
    int64 array, shape (n_samples,)
        Index of the output with the highest count; of equal counts the lowest index; -1 where every output is silent.

    Raises
    ------
    ValidationError
        Counts that are negative or not finite, not two-dimensional, or of no outputs.

    Examples
    --------
    >>> from eventsnn import decode_rate
    >>> decode_rate([[3, 7, 1], [2, 0, 2], [0, 0, 0]])
    array([ 1,  0, -1])
    """
    return busiest(spike_counts("decode_rate", counts.counts() if isinstance(counts, Spikes) else counts))


def decode_max_membrane(v: ArrayLike) -> NDArray[np.int64]:
    """Label of each sample: the output whose membrane potential comes highest in any step.

    Parameters
    ----------
    v : array_like, shape (n_samples, n_steps, n_outputs) or (n_samples, n_outputs)
        Potential of each output in every step, or its maximum over the steps.

    Returns
    -------
    int64 array, shape (n_samples,)
        Index of the output with the highest potential; of equal ones the lowest index.

    Raises
    ------
    ValidationError
        Potentials that are not finite or of another shape; no steps or no outputs.

    Examples
    --------
    >>> from eventsnn import decode_max_membrane
    >>> decode_max_membrane([[[0.1, 0.4], [0.9, 0.2]]])  # 0.9 in the second step
    array([0])
    """
    potentials = np.asarray(v)
    if potentials.ndim not in (2, 3) or 0 in potentials.shape[1:] or potentials.dtype.kind not in "iuf":
        raise ValidationError(
            "decode_max_membrane: must be real numbers of shape (n_samples, n_steps, n_outputs) or "
            f"(n_samples, n_outputs), n_steps and n_outputs >= 1, got shape {potentials.shape}, "
            f"dtype {potentials.dtype}"
        )
    finite = np.isfinite(potentials)
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        step = f"step {place[1]}, " if potentials.ndim == 3 else ""
        raise ValidationError(
            f"decode_max_membrane: must be finite, got {potentials[place]} at sample {place[0]}, {step}"
            f"output {place[-1]}"
        )
    highest = potentials.max(axis=1) if potentials.ndim == 3 else potentials
    labels: NDArray[np.int64] = highest.argmax(axis=1)
    return labels
