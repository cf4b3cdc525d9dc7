"""Convolutions and pools on a time grid: what the clock-driven engine keeps of them, and their forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.convolution import Conv2d
from eventsnn.kernels.bits import flag_words
from eventsnn.kernels.convolution import convolve_events
from eventsnn.kernels.grid_events import order_of_rows
from eventsnn.kernels.grid_projection import scatter_dense
from eventsnn.kernels.pooling import FIRST_SPIKE, MAX_RATE, average_events, gate_events, maximum_events
from eventsnn.pooling import AvgPool2d, MaxPool2d, Pooled
from eventsnn.simulation.grid_inputs import GridEvents

__all__ = ["GridPool", "GridWindows", "WindowWork", "in_order"]

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

_PLAIN, _REPEATED, _UNORDERED = 0, 1, 2


class GridPool:
    """One pool: which windows every input lies in, and the inputs of every window.

    rule : of a gate, MAX_RATE or FIRST_SPIKE; share : of an average, what every input counts
    """

    def __init__(self, pool: AvgPool2d | MaxPool2d) -> None:
        self.n_in, self.n_out = pool.n_pre, pool.n_post
        paths = pool.paths()
        self.indptr, self.windows = paths.indptr, paths.targets
        self.is_gate = isinstance(pool, MaxPool2d)
        self.rule = FIRST_SPIKE if isinstance(pool, MaxPool2d) and pool.rule == "first_spike" else MAX_RATE
        self.share = 0.0 if isinstance(pool, MaxPool2d) else float(pool.weight.flat[0])
        order = np.argsort(self.windows, kind="stable")
        self.inputs = np.repeat(np.arange(self.n_in), np.diff(self.indptr))[order]
        self.input_indptr = np.concatenate(([0], np.cumsum(np.bincount(self.windows, minlength=self.n_out))))

    def memory(self, n_samples: int) -> tuple[Ints, Ints]:
        """What a gate knows before the first step, see `gate_events`; empty arrays of an average."""
        n_in, n_out = (self.n_in, self.n_out) if self.is_gate else (0, 0)
        return np.zeros((n_samples, n_in), np.int64), np.full((n_samples, n_out), -1, np.int64)

    def send(
        self, events: GridEvents, n_steps: int, dtype: np.dtype[Any], memory: tuple[Ints, Ints] | None = None
    ) -> GridEvents:
        """The events of the smaller plane, sorted by neuron in every row (sample, step), each neuron once.

        memory : of the steps before, carried on
        """
        n_rows = events.starts.size - 1
        starts = np.empty(n_rows + 1, np.int64)
        if self.is_gate and events.values.size:
            neurons = np.empty(n_rows * self.n_out, np.int64)
            values = np.empty(neurons.size, dtype)
            maximum_events(
                events.starts, events.neurons, events.values, self.input_indptr, self.inputs,
                np.zeros(self.n_in, dtype), starts, neurons, values,
            )  # fmt: skip
            return GridEvents(starts, neurons, values, events.is_constant)
        # at most one event for every pair of an event and a window
        sent = events.neurons[events.starts[0] : events.starts[-1]]
        neurons = np.empty(int(np.diff(self.indptr)[sent].sum()) + 1, np.int64)
        _, words = flag_words(self.n_out)
        if self.is_gate:
            counts, winners = self.memory(n_rows // n_steps) if memory is None else memory
            gate_events(
                events.starts, events.neurons, n_steps, self.indptr, self.windows, self.rule, counts, winners, words,
                starts, neurons, np.empty(0, np.int64),
            )  # fmt: skip
            return GridEvents(starts, neurons, np.empty(0, dtype), events.is_constant)
        values = np.empty(neurons.size, dtype)
        average_events(
            events.starts, events.neurons, events.values, self.indptr, self.windows, dtype.type(self.share),
            np.zeros(self.n_out, dtype), words, starts, neurons, values,
        )  # fmt: skip
        return GridEvents(starts, neurons, values, events.is_constant)


@dataclass
class GridWindows:
    """A `Conv2d` or `Pooled` into a part from an input or an earlier part.

    weight : a view of that of the connection, (kernel_height kernel_width channels / groups, n_channels), or (n_pre,
        n_post) of a `Dense` behind pools, `geometry` then being empty
    """

    name: str
    source: str
    first: int
    weight: Floats
    lag: int
    geometry: Ints
    pools: list[GridPool]
    #: of the other kinds of projections, to which this one never belongs
    is_dense: bool = False

    @classmethod
    def of(cls, connection: Conv2d | Pooled, name: str, source: str, first: int, lag: int) -> Any:
        """The projection of a connection; `first` neuron of the target in its part."""
        inner = connection.connection if isinstance(connection, Pooled) else connection
        pools = [GridPool(pool) for pool in connection.pools] if isinstance(connection, Pooled) else []
        if isinstance(inner, Conv2d):
            weight = inner.weight.reshape(-1, inner.weight.shape[3])
            return cls(name, source, first, weight, lag, inner.windows.geometry(inner.groups), pools)
        return cls(name, source, first, inner.weight, lag, np.empty(0, np.int64), pools)

    @property
    def n_post(self) -> int:
        """Number of postsynaptic neurons."""
        n_windows = int(np.prod(self.geometry[9:11])) if self.geometry.size else 1
        return n_windows * int(self.weight.shape[1])


class WindowWork:
    """Work arrays of one projection, and what it sent last; belongs to one runner.

    stages : the events before every pool and those that the connection behind them gets
    """

    def __init__(self, projection: GridWindows, dtype: np.dtype[Any]) -> None:
        self.projection, self.dtype = projection, dtype
        geometry = projection.geometry
        n_pixels, n_window = (int(geometry[0] * geometry[1]), int(np.prod(geometry[2:5]))) if geometry.size else (0, 0)
        self.place, self.rows = np.zeros(n_pixels + 1, np.int64), np.zeros(n_window, np.int64)
        self.factors = np.zeros(n_window, dtype)
        self.stages: list[GridEvents] = []

    def scatter(self, events: GridEvents, x: Floats) -> None:
        """Add what the events send over the connection to x (n_samples, n_steps, n)."""
        projection, (_, n_steps, _) = self.projection, x.shape
        last = self.through_pools(events, n_steps)
        if projection.geometry.size:
            convolve_events(
                last.starts, last.neurons, last.values, projection.weight, projection.geometry, projection.lag,
                projection.first, self.place, self.rows, self.factors, x, np.empty(0, np.int64),
            )  # fmt: skip
        else:
            scatter_dense(
                last.starts, last.neurons, last.values, projection.weight, projection.lag, projection.first, x
            )

    def through_pools(self, events: GridEvents, n_steps: int) -> GridEvents:
        """The events that the connection behind the pools gets."""
        events = in_order(events, self.dtype, keeps_repeated=bool(self.projection.pools))
        self.stages = [events]
        for pool in self.projection.pools:
            self.stages.append(pool.send(self.stages[-1], n_steps, self.dtype))
        return self.stages[-1]


def in_order(events: GridEvents, dtype: np.dtype[Any], *, keeps_repeated: bool) -> GridEvents:
    """Events sorted by neuron in every row, several of one neuron as one with a value unless they are kept.

    Those of populations are in order; of spikes that were moved to the grid several may have come into one step.
    """
    order = order_of_rows(events.starts, events.neurons)
    if order == _PLAIN or (order == _REPEATED and keeps_repeated):
        return events
    begin, end = int(events.starts[0]), int(events.starts[-1])
    neurons = events.neurons[begin:end]
    values = events.values[begin:end]
    rows = np.repeat(np.arange(events.starts.size - 1), np.diff(events.starts))
    by_neuron = np.lexsort((neurons, rows))
    rows, neurons = rows[by_neuron], neurons[by_neuron]
    values = values[by_neuron] if values.size else values
    if not keeps_repeated:
        is_first = np.ones(rows.size, np.bool_)
        is_first[1:] = (np.diff(rows) != 0) | (np.diff(neurons) != 0)
        given = values if values.size else np.ones(rows.size, dtype)
        values = np.add.reduceat(given, np.flatnonzero(is_first)).astype(dtype)
        rows, neurons = rows[is_first], neurons[is_first]
    starts = np.searchsorted(rows, np.arange(events.starts.size))
    return GridEvents(starts, neurons, values, events.is_constant)
