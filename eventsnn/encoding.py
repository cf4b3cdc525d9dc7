"""Values into spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes, concatenate

__all__ = ["encode_latency", "latency"]

_BLOCK = 4096  # samples encoded at a time: bounds the dense float64 work space


def latency(values: ArrayLike, t_early: float, t_late: float) -> NDArray[np.float64]:
    """Spike time of a value in [0, 1]: ``t_early + (1 - value) (t_late - t_early)``, bright is early.

    Parameters
    ----------
    values : array_like
        Values in [0, 1]; not checked here.
    t_early, t_late : float
        Times of the values 1 and 0.

    Returns
    -------
    float64 array of the shape of `values`, in the unit of `t_early`.
    """
    return t_early + (1.0 - np.asarray(values, dtype=np.float64)) * (t_late - t_early)


def check_window(where: str, t_early: float, t_late: float) -> tuple[float, float]:
    """Both ends of an input window, 0 <= t_early < t_late."""
    early = number(f"{where}.t_early", t_early, at_least=0)
    return early, number(f"{where}.t_late", t_late, above=early)


def encode_latency(values: ArrayLike, t_early: float, t_late: float, threshold: float | None = 0.0) -> Spikes:
    """Encode each value as the time of one spike: bright is early, dark is silent.

    Parameters
    ----------
    values : array_like of float, shape (n_samples, n_features)
        Values in [0, 1].
    t_early, t_late : float
        Spike times of the values 1 and 0, ``0 <= t_early < t_late``, in the unit of the network's time constants.
    threshold : float or None
        Values <= threshold do not spike; in [0, 1). None lets every value spike, 0 included.

    Returns
    -------
    Spikes
        n_samples samples of n_features neurons, at most one spike each, at
        ``t_early + (1 - value) (t_late - t_early)``.

    Raises
    ------
    ValidationError
        A value is NaN or outside [0, 1], `values` is not two-dimensional, or the window or threshold is out of range.

    Examples
    --------
    >>> from eventsnn import encode_latency
    >>> encode_latency([[0.0, 0.5, 1.0]], t_early=1e-3, t_late=11e-3).first_times()
    array([[  inf, 0.006, 0.001]])
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise ValidationError(
            "encode_latency.values: must be real numbers of shape (n_samples, n_features), "
            f"got shape {array.shape}, dtype {array.dtype}"
        )
    early, late = check_window("encode_latency", t_early, t_late)
    if threshold is not None and number("encode_latency.threshold", threshold, at_least=0) >= 1:
        raise ValidationError(f"encode_latency.threshold: must be below 1, got {threshold}: nothing would spike")
    parts = []
    for start in range(0, max(len(array), 1), _BLOCK):
        block = array[start : start + _BLOCK]
        outside = ~((block >= 0) & (block <= 1))  # NaN too
        if outside.any():
            s, f = np.argwhere(outside)[0]
            raise ValidationError(
                f"encode_latency.values: sample {start + s}, feature {f} is {block[s, f]}; must lie in [0, 1] "
                "(divide 8-bit pixels by 255)"
            )
        times = latency(block, early, late)
        if threshold is not None:
            times[block <= threshold] = np.inf
        parts.append(Spikes.from_first_times(times))
    return concatenate(parts)
