"""Changes of a signal as spikes: delta modulation."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number
from eventsnn.encoding.blocks import checked_grid, checked_values, sample_blocks, sorted_events
from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes, concatenate

__all__ = ["encode_delta"]

#: spikes of one neuron in one step; more is a mistake in the unit of the threshold
_MOST = 1e6


def encode_delta(
    signal: ArrayLike,
    threshold: float,
    *,
    reference: Literal["last_sent", "last_step"] = "last_sent",
    initial: float | None = None,
    off: bool = True,
    dt: float = 1.0,
) -> Spikes:
    """Encode a signal by its changes: a spike of the on channel where it rises by the threshold, of off where it falls.

    Parameters
    ----------
    signal : array_like of float, shape (n_samples, n_features, n_steps)
        Finite.
    threshold : float, > 0
        In the unit of the signal.
    reference : "last_sent" or "last_step"
        What a change counts from: the level that the spikes so far add up to, so that slow changes are sent as well
        and large ones as several spikes of one step; or the step before, with one spike at most.
    initial : float, optional
        The signal before step 0. Default: its own first value, so that nothing is sent in step 0.
    off : bool
        Whether falls are sent. Without them the level of "last_sent" follows the signal down all the same.
    dt : float, > 0
        Length of a step, in the unit of the network's time constants.

    Returns
    -------
    Spikes
        n_samples samples at times ``step dt``. Neuron f is the on channel of feature f and, with `off`, neuron
        n_features + f its off channel. Several spikes of one step have equal times and add up as inputs.

    Raises
    ------
    ValidationError
        A signal that is not finite or of another shape; another argument out of range; a step in which the signal
        moves by more than a million thresholds.

    Notes
    -----
    "last_sent", delta modulation: with the level ``y_t = initial + threshold (n_on - n_off)`` over the spikes until t,
    step t sends ``trunc((x_t - y_{t-1}) / threshold)`` spikes, on if positive, off if negative, so that
    ``|x_t - y_t| < threshold``: sums of spikes give the signal back. "last_step": on where
    ``x_t - x_{t-1} >= threshold``, off where it is at most -threshold. All in float64 as written, so changes of exactly
    a multiple of the threshold are subject to rounding: ``0.3 / 0.1 < 3``.

    The work space does not grow with n_samples.

    References
    ----------
    Petro, B., Kasabov, N. & Kiss, R. M. (2020), Selection and optimization of temporal spike encoding methods for
    spiking neural networks, doi 10.1109/TNNLS.2019.2906158: step-forward encoding, which is "last_sent" with at most
    one spike per step, and encoding by temporal contrast, "last_step"

    Examples
    --------
    >>> from eventsnn import encode_delta
    >>> spikes = encode_delta([[[0.0, 0.5, 2.5, 0.0]]], threshold=1.0)
    >>> spikes.neurons, spikes.times  # up by 2.5 in the third step, down by 2 in the fourth
    (array([0, 0, 1, 1]), array([2., 2., 3., 3.]))
    >>> spikes = encode_delta([[[0.0, 0.5, 2.5, 0.0]]], threshold=1.0, reference="last_step")
    >>> spikes.neurons, spikes.times
    (array([0, 1]), array([2., 3.]))
    """
    where = "encode_delta"
    array = checked_values(f"{where}.signal", signal, "n_steps")
    n_samples, n_features, n_steps = array.shape
    n_steps, dt = checked_grid(where, n_steps, dt)
    threshold = number(f"{where}.threshold", threshold, above=0)
    if initial is not None:
        initial = number(f"{where}.initial", initial)
    if reference not in ("last_sent", "last_step"):
        raise ValidationError(f"{where}.reference: must be 'last_sent' or 'last_step', got {reference!r}")
    if not isinstance(off, bool):
        raise ValidationError(f"{where}.off: must be True or False, got {off!r}")
    n_neurons = 2 * n_features if off else n_features
    parts = []
    for block in sample_blocks(n_samples, n_features * n_steps):
        x = array[block].astype(np.float64)
        finite = np.isfinite(x)
        if not finite.all():
            s, f, t = np.argwhere(~finite)[0]
            raise ValidationError(
                f"{where}.signal: sample {block.start + s}, feature {f}, step {t} is {x[s, f, t]}; must be finite"
            )
        before = x[:, :, 0] if initial is None else np.full(x.shape[:2], initial)
        moves_of = _since_last_sent if reference == "last_sent" else _since_last_step
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            moves = moves_of(x, before, threshold)
        far = np.abs(moves) > _MOST
        if far.any():
            s, f, t = np.argwhere(far)[0]
            raise ValidationError(
                f"{where}.threshold: at sample {block.start + s}, feature {f}, step {t} the signal moves by "
                f"{abs(moves[s, f, t]):.1g} thresholds; threshold must be in the unit of the signal"
            )
        if not off:
            moves = np.maximum(moves, 0)
        samples, neurons, steps = np.nonzero(moves)
        sent = moves[samples, neurons, steps].astype(np.int64)
        neurons = np.where(sent < 0, neurons + n_features, neurons)
        samples, steps, neurons = (np.repeat(own, np.abs(sent)) for own in (samples, steps, neurons))
        samples, steps, neurons = sorted_events(samples, steps, neurons, n_steps, n_neurons)
        offsets = np.searchsorted(samples, np.arange(len(x) + 1))
        parts.append(Spikes._from_offsets(offsets, neurons, steps * dt, n_neurons))
    return concatenate(parts)


def _since_last_sent(x: NDArray[np.float64], before: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Thresholds by which each step moves the level, a whole number, (n_samples, n_features, n_steps)."""
    moves = np.empty(x.shape)
    level = np.zeros(before.shape)  # a number of thresholds, so that rounding does not pile up
    for t in range(x.shape[2]):
        moves[:, :, t] = np.trunc((x[:, :, t] - (before + threshold * level)) / threshold)
        level += moves[:, :, t]
    return moves


def _since_last_step(x: NDArray[np.float64], before: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """1 where a step rises, -1 where it falls, else 0."""
    change = np.diff(x, axis=2, prepend=before[:, :, None])
    return (change >= threshold).astype(np.float64) - (change <= -threshold)
