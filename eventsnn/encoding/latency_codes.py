"""One spike per value: the larger, the earlier; linear in continuous time or on a grid, or as an RC circuit charges."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number
from eventsnn.encoding.blocks import checked_grid, checked_values, value_blocks
from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes, concatenate

__all__ = ["check_window", "encode_latency", "encode_latency_rc", "encode_latency_steps", "latency"]


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
    array = checked_values("encode_latency.values", values)
    early, late = check_window("encode_latency", t_early, t_late)
    if threshold is not None and number("encode_latency.threshold", threshold, at_least=0) >= 1:
        raise ValidationError(f"encode_latency.threshold: must be below 1, got {threshold}: nothing would spike")
    parts = []
    for block, x in value_blocks("encode_latency.values", array):
        times = latency(x, early, late)
        if threshold is not None:
            times[array[block] <= threshold] = np.inf
        parts.append(Spikes.from_first_times(times))
    return concatenate(parts)


def encode_latency_steps(values: ArrayLike, n_steps: int, *, dt: float = 1.0, threshold: float = 0.25) -> Spikes:
    """Encode each value as one spike on a time grid: bright is early, values below the threshold are silent.

    Parameters
    ----------
    values : array_like of float, shape (n_samples, n_features)
        Values in [0, 1].
    n_steps : int, >= 1
        Steps of the grid.
    dt : float, > 0
        Length of a step, in the unit of the network's time constants.
    threshold : float, in [0, 1]
        Values < threshold do not spike; a value equal to it does, compared in float64. With 0 every value spikes.

    Returns
    -------
    Spikes
        n_samples samples of n_features neurons, at most one spike each, at times ``step dt``.

    Raises
    ------
    ValidationError
        A value is NaN or outside [0, 1], `values` is not two-dimensional, or another argument is out of range.

    Notes
    -----
    ``step = min(rint((1 - x) n_steps), n_steps - 1)`` in float64: rounded to the nearest step, half-way cases to the
    even one, as a clock-driven simulation does with the times of `encode_latency`. What rounds to n_steps, the end of
    the grid, spikes in the last step, so no value from the threshold on is lost.

    Two differences from `encode_latency`: the comparison with the threshold is strict here, and times are rounded.

    Examples
    --------
    >>> from eventsnn import encode_latency_steps
    >>> encode_latency_steps([[1.0, 0.8, 0.25, 0.2]], n_steps=100, dt=1e-3).first_times()
    array([[0.   , 0.02 , 0.075,   inf]])
    """
    where = "encode_latency_steps"
    array = checked_values(f"{where}.values", values)
    n_steps, dt = checked_grid(where, n_steps, dt)
    if number(f"{where}.threshold", threshold, at_least=0) > 1:
        raise ValidationError(f"{where}.threshold: must lie in [0, 1], got {threshold}: nothing would spike")
    parts = []
    for _, x in value_blocks(f"{where}.values", array):
        times = np.minimum(np.rint((1.0 - x) * n_steps), n_steps - 1) * dt
        times[x < threshold] = np.inf
        parts.append(Spikes.from_first_times(times))
    return concatenate(parts)


def encode_latency_rc(values: ArrayLike, tau: float, threshold: float = 0.2, *, t_max: float = np.inf) -> Spikes:
    """Encode each value as the time at which an RC circuit, charged by it as a constant current, comes to a threshold.

    Parameters
    ----------
    values : array_like of float, shape (n_samples, n_features)
        Values in [0, 1].
    tau : float, > 0
        Time constant, in the unit of the network's time constants.
    threshold : float, > 0 and < 1
        Values <= threshold never come to it and are silent.
    t_max : float, > 0
        Spikes at t_max and later are left out; on a grid of n_steps steps t_max = (n_steps - 1/2) dt keeps those that
        fall into it. Default: all are kept, and those of values just above the threshold come late.

    Returns
    -------
    Spikes
        n_samples samples of n_features neurons, at most one spike each.

    Raises
    ------
    ValidationError
        A value is NaN or outside [0, 1], `values` is not two-dimensional, or another argument is out of range.

    Notes
    -----
    ``t = tau log(x / (x - threshold))``: the charge ``x (1 - exp(-t/tau))`` is the threshold then. x = 1 spikes first,
    at ``-tau log(1 - threshold)``. Times are exact, without a grid.

    References
    ----------
    Neftci, E. O., Mostafa, H. & Zenke, F. (2019), Surrogate gradient learning in spiking neural networks, doi
    10.1109/MSP.2019.2931595: the code of its tutorial

    Examples
    --------
    >>> from eventsnn import encode_latency_rc
    >>> encode_latency_rc([[1.0, 0.4, 0.2]], tau=20e-3).first_times()
    array([[0.00446287, 0.01386294,        inf]])
    """
    where = "encode_latency_rc"
    array = checked_values(f"{where}.values", values)
    tau = number(f"{where}.tau", tau, above=0)
    if number(f"{where}.threshold", threshold, above=0) >= 1:
        raise ValidationError(f"{where}.threshold: must be below 1, got {threshold}: nothing would spike")
    if t_max != np.inf:
        t_max = number(f"{where}.t_max", t_max, above=0)
    parts = []
    for _, x in value_blocks(f"{where}.values", array):
        times = np.full(x.shape, np.inf)
        charged = x > threshold
        # log(x / (x - threshold)) without the loss of digits where the quotient is close to 1
        times[charged] = tau * np.log1p(threshold / (x[charged] - threshold))
        times[times >= t_max] = np.inf
        parts.append(Spikes.from_first_times(times))
    return concatenate(parts)
