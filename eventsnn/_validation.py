"""Checks of arguments that several public entries share; each names the argument, the rule and the value it got."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn.errors import ValidationError


def index_array(name: str, values: ArrayLike, upper: int, upper_name: str) -> NDArray[np.int64]:
    """A one-dimensional int64 copy of `values`, all in 0 .. upper - 1."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValidationError(f"{name}: must be one-dimensional, got shape {array.shape}")
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iuf" or (array.dtype.kind == "f" and not np.all(array == np.floor(array))):
        raise ValidationError(f"{name}: must hold integers, got dtype {array.dtype} with other values")
    # Range before conversion: a float or uint64 too large for int64 must not wrap into range.
    if array.min() < 0 or array.max() >= upper:
        bad = int(np.flatnonzero((array < 0) | (array >= upper))[0])
        raise ValidationError(
            f"{name}: entry {bad} is {array[bad]}, must lie in 0 .. {upper - 1} ({upper_name}={upper})"
        )
    return array.astype(np.int64)


def count(name: str, value: int) -> int:
    """An integer >= 0."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
        raise ValidationError(f"{name}: must be an integer >= 0, got {value!r}")
    return int(value)


def float_array(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """A float64 copy of `values`."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iuf":
        raise ValidationError(f"{name}: must hold real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)


def number(name: str, value: float, *, above: float = -np.inf, at_least: float = -np.inf) -> float:
    """A finite number > `above` and >= `at_least`."""
    if (
        not isinstance(value, (int, float, np.integer, np.floating))
        or isinstance(value, bool)
        or not np.isfinite(value)
        or value <= above
        or value < at_least
    ):
        bounds = f" and > {above:g}" if above > -np.inf else f" and >= {at_least:g}" if at_least > -np.inf else ""
        raise ValidationError(f"{name}: must be a finite number{bounds}, got {value!r}")
    return float(value)


def spike_counts(name: str, values: ArrayLike, source: str = "Spikes.counts()") -> NDArray[np.float64]:
    """A float64 copy of spike counts, or of their multiples, shape (n_samples, n_neurons), finite and >= 0."""
    array = float_array(name, values)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValidationError(
            f"{name}: must have shape (n_samples, n_neurons) with n_neurons >= 1, got {array.shape}; "
            f"{source} gives them"
        )
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        b, n = np.argwhere(bad)[0]
        raise ValidationError(f"{name}: must be finite and >= 0, got {array[b, n]:g} at sample {b}, neuron {n}")
    return array
