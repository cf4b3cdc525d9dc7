"""Inputs of the clock-driven engine: spikes, grids and currents as events by (sample, step)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._validation import count, number
from eventsnn.currents import Currents
from eventsnn.errors import ValidationError
from eventsnn.graph import Network
from eventsnn.kernels.grid_events import bin_events, events_of_rows, inspect_binning
from eventsnn.spikes import Spikes

__all__ = [
    "BinningWarning",
    "GridEvents",
    "GridInput",
    "binned_events",
    "checked_inputs",
    "events_of_currents",
    "n_steps_of",
    "require_on_grid",
]


class BinningWarning(UserWarning):
    """Spike times were moved to the time grid, or spikes of one neuron fell into one step."""


@dataclass
class GridEvents:
    """Events of a block of samples by (sample, step), see `kernels.grid_events`; `values` is empty if all are 1.

    A constant input has one step, whatever the number of steps.
    """

    starts: NDArray[np.int64]
    neurons: NDArray[np.int64]
    values: NDArray[np.floating]
    is_constant: bool = False


class GridInput:
    """The samples of one input, from which blocks are taken.

    Parameters
    ----------
    where : name of the argument, for messages
    given : Spikes, sparse.COO of shape (n_samples, n_neurons, n_steps), or Currents
    n_neurons : of the input
    dt, n_steps : the grid
    dtype : of the values
    """

    def __init__(self, where: str, given: Any, n_neurons: int, dt: float, n_steps: int, dtype: Any) -> None:
        self.dt, self.n_steps, self.dtype = dt, n_steps, np.dtype(dtype)
        if isinstance(given, (Spikes, Currents)):
            self.n_samples, own = given.n_samples, given.n_neurons
        else:
            self.n_samples, own = int(given.shape[0]), int(given.shape[1])
        if own != n_neurons:
            raise ValidationError(f"{where}: n_neurons={own}, but the network has {n_neurons} input channels")
        self.given = given
        if isinstance(given, Spikes):
            require_on_grid(where, given, dt, n_steps)
        elif not isinstance(given, Currents):
            self._rows, self._neurons, self._values = _from_coo(where, given, n_steps, self.dtype)

    def block(self, start: int, stop: int) -> GridEvents:
        """The events of samples start .. stop - 1."""
        n = self.n_steps
        if isinstance(self.given, Currents):
            return events_of_currents(self.given.values[start:stop], n, self.dtype)
        if isinstance(self.given, Spikes):
            own = self.given
            return binned_events(own.offsets[start : stop + 1], own.neurons, own.times, self.dt, n, self.dtype)
        starts = np.searchsorted(self._rows, np.arange(start * n, stop * n + 1))
        return GridEvents(starts, self._neurons, self._values)


def binned_events(
    offsets: NDArray[np.int64], neurons: NDArray[np.int64], times: NDArray[np.float64], dt: float, n_steps: int,
    dtype: Any,
) -> GridEvents:  # fmt: skip
    """Spikes, ordered by (sample, time), on the grid."""
    starts = np.empty((offsets.size - 1) * n_steps + 1, np.int64)
    bin_events(offsets, times, dt, n_steps, starts)
    return GridEvents(starts, neurons, np.empty(0, dtype))


def events_of_currents(values: NDArray[np.floating], n_steps: int, dtype: Any) -> GridEvents:
    """The non-zero currents of (n_samples, n_neurons), constant in time, or of (n_samples, n_neurons, n_steps)."""
    is_constant = values.ndim == 2
    rows = values[:, :, None] if is_constant else values
    n = 1 if is_constant else n_steps
    starts = np.empty(len(values) * n + 1, np.int64)
    neurons, found = np.empty(rows.size + 1, np.int64), np.empty(rows.size + 1, dtype)
    n_events = events_of_rows(rows, starts, neurons, found)
    return GridEvents(starts, neurons[:n_events], found[:n_events], is_constant)


def require_on_grid(where: str, spikes: Spikes, dt: float, n_steps: int) -> None:
    """Warn of what the grid changes, raise for events beyond it."""
    beyond, n_moved, largest, n_shared = inspect_binning(
        spikes.offsets, spikes.neurons, spikes.times, dt, n_steps, np.full(spikes.n_neurons, -1, np.int64)
    )
    if beyond >= 0:
        raise ValidationError(
            f"{where}: the event at time {spikes.times[beyond]:g} of sample {spikes.samples[beyond]} falls into step "
            f"{np.rint(spikes.times[beyond] / dt):.0f}, beyond n_steps={n_steps}; raise n_steps or dt"
        )
    if n_shared:
        warnings.warn(
            f"{where}: {n_shared} of {spikes.n_events} spikes share their step of dt={dt:g} with another of the same "
            "neuron; they add up",
            BinningWarning,
            stacklevel=4,
        )
    if n_moved:
        warnings.warn(
            f"{where}: {n_moved} of {spikes.n_events} spikes are no multiple of dt={dt:g} and were moved to the "
            f"nearest step, by up to {largest * dt:.3g}",
            BinningWarning,
            stacklevel=4,
        )


def _from_coo(where: str, coo: Any, n_steps: int, dtype: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Number of the row (sample, step), neuron and value of every entry, in this order."""
    samples, neurons, steps = (np.asarray(c) for c in coo.coords)
    for axis, coords in enumerate((samples, neurons, steps)):
        if coords.dtype.kind not in "iu":
            raise ValidationError(f"{where}: coordinates must be integers, those of axis {axis} are {coords.dtype}")
        if coords.size and (coords.min() < 0 or coords.max() >= coo.shape[axis]):
            bad = int(np.flatnonzero((coords < 0) | (coords >= coo.shape[axis]))[0])
            raise ValidationError(
                f"{where}: entry {bad} has coordinate {coords[bad]} on axis {axis}, which has {coo.shape[axis]} places"
            )
    data = np.asarray(coo.data)
    if data.dtype.kind not in "biuf" or not np.isfinite(data.astype(np.float64)).all():
        raise ValidationError(f"{where}: entries must be finite real numbers")
    rows = samples.astype(np.int64) * n_steps + steps
    order = np.lexsort((neurons, rows))
    values = np.empty(0, dtype) if (data == 1).all() else data[order].astype(dtype)
    return rows[order], neurons[order].astype(np.int64), values


def n_steps_of(where: str, inputs: Mapping[str, Any], n_steps: int | None) -> int:
    """The number of steps that was given, or that of the inputs."""
    known = {}
    for name, given in inputs.items():
        if isinstance(given, Currents):
            if given.n_steps is not None:
                known[name] = given.n_steps
        elif not isinstance(given, Spikes):
            known[name] = int(given.shape[2])
    if n_steps is None:
        if len(set(known.values())) != 1:
            raise ValidationError(
                f"{where}: n_steps is needed: "
                + (f"the inputs have {known}" if known else "spikes and constant currents do not say how long it goes")
            )
        return next(iter(known.values()))
    if count(f"{where}: n_steps", n_steps) < 1:
        raise ValidationError(f"{where}: n_steps must be >= 1, got {n_steps}")
    for name, own in known.items():
        if own != n_steps:
            raise ValidationError(
                f"{where}: n_steps={n_steps}, but input {name!r} has {own} steps; leave n_steps out, cut the data, or "
                "pad them with empty steps"
            )
    return int(n_steps)


def checked_inputs(where: str, network: Network, inputs: Any, dt: float) -> dict[str, Any]:
    """The inputs by name, each of a type that a grid takes, all of one number of samples."""
    number(f"{where}: dt", dt, above=0)
    names = list(network.inputs)
    if not isinstance(inputs, Mapping):
        if len(names) != 1:
            raise ValidationError(f"{where}: the network has {len(names)} inputs {names}; give them as a dict by name")
        inputs = {names[0]: inputs}
    unknown = [name for name in inputs if name not in network.inputs]
    if unknown or len(inputs) != len(names):
        raise ValidationError(f"{where}: the network has the inputs {names}, got {list(inputs)}")
    for name, given in inputs.items():
        if isinstance(given, (Spikes, Currents)):
            continue
        is_coo = hasattr(given, "coords") and hasattr(given, "data") and getattr(given, "ndim", None) == 3
        if not is_coo:
            raise ValidationError(
                f"{where}: input {name!r} must be Spikes, Currents, or a sparse.COO of shape (n_samples, n_neurons, "
                f"n_steps), got {type(given).__name__} of shape {getattr(given, 'shape', None)}"
            )
        if given.shape[2] == 0:
            raise ValidationError(f"{where}: input {name!r}: needs at least one step, got shape {given.shape}")
        if given.fill_value != 0:
            raise ValidationError(f"{where}: input {name!r}: fill_value must be 0, got {given.fill_value}")
    sizes = {name: given.n_samples if isinstance(given, (Spikes, Currents)) else given.shape[0]
             for name, given in inputs.items()}  # fmt: skip
    if len(set(sizes.values())) > 1:
        raise ValidationError(f"{where}: inputs differ in their number of samples: {sizes}")
    return dict(inputs)
