"""Spikes into labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes

__all__ = ["decode_first_spike"]


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
