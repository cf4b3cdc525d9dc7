"""The way of events to the windows of a convolution, through the pools before it, and of derivatives back.

Every window of every sample is a sample of a small dense layer: the events under a window keep their order, their rows
in the weights are their places in the window, and its neurons are its output channels. An average pool only sends
events on to its window's neuron (its factor goes into the weights), a maximum pool those of the window's first neuron.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._windows import Windows
from eventsnn.connections import Dense, SynapseRows
from eventsnn.convolution import Conv2d
from eventsnn.errors import ValidationError
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.if_exact import most_spikes_events
from eventsnn.kernels.window_events import count_window_events, pooled_events, window_events
from eventsnn.network import Layer
from eventsnn.pooling import AvgPool2d, MaxPool2d, Pooled
from eventsnn.spikes import Spikes

__all__ = ["Arrivals", "fold_matrix", "is_windowed", "linear_rows", "matrix_of", "passed_spikes", "windows_of"]

#: size, stride and padding of windows that are single pixels
_ONE_BY_ONE = (1, 1), (1, 1), (0, 0)


def is_windowed(connection: Any) -> bool:
    """Whether a connection is one for `WindowRunner`."""
    return isinstance(connection, (Conv2d, AvgPool2d, Pooled))


@dataclass(frozen=True)
class _Pool:
    """A pool on the way to a connection; rule : of a maximum."""

    geometry: NDArray[np.int64]
    n_inputs: int
    n_windows: int
    n_neurons: int
    rule: str | None

    @classmethod
    def of(cls, name: str, pool: AvgPool2d | MaxPool2d, may_count: bool = False) -> _Pool:
        rule = pool.rule if isinstance(pool, MaxPool2d) else None
        if rule == "max_rate" and not may_count:
            raise ValidationError(
                f"population {name!r}: MaxPool2d(rule='max_rate') is for rates: simulate_clocked and simulate_if; in "
                "networks of LIF neurons use rule='first_spike'"
            )
        n_windows = int(np.prod(pool.windows.n_windows))
        return cls(pool.windows.geometry(), pool.n_pre, n_windows, n_windows * pool.windows.plane[2], rule)

    def take(self, events: InputEvents) -> tuple[InputEvents, NDArray[np.int64]]:
        """Events on the plane of the pools, and the event that each comes from."""
        n_samples = events.offsets.size - 1
        room = int(count_window_events(self.geometry, events, np.empty(n_samples * self.n_windows + 1, np.int64)))
        made = InputEvents(np.empty(n_samples + 1, np.int64), np.empty(room, np.int64), np.empty(room))
        origins, winners = np.empty(room, np.int64), np.empty(self.n_neurons, np.int64)
        if self.rule == "max_rate":
            counts = np.empty(self.n_inputs, np.int64)
            most_spikes_events(self.geometry, events, counts, winners, made, origins)
        else:
            pooled_events(self.geometry, events, self.rule is not None, winners, made, origins)
        n = int(made.offsets[-1])
        return InputEvents(made.offsets, made.neurons[:n], made.times[:n]), origins[:n]


class Arrivals:
    """The way from the events of the layer before to those of the windows, and back.

    spread_out : one window over everything, whose matrix has a place for every pair of neurons; for neurons that differ
        from window to window
    may_count : whether a maximum may go by the numbers of spikes
    """

    def __init__(self, name: str, connection: Any, *, spread_out: bool = False, may_count: bool = False) -> None:
        is_pooled = isinstance(connection, Pooled)
        self._connection = connection
        self._inner = connection.connection if is_pooled else connection
        self._spread_out = spread_out
        pools = connection.pools if is_pooled else ()
        windows: Windows | None = getattr(self._inner, "windows", None)
        averages = connection.averages if is_pooled else ()
        if spread_out:
            pools, averages, windows = (connection.gates if is_pooled else ()), (), None
        elif isinstance(connection, AvgPool2d):
            # the events of the pools, one weight for all
            pools, averages, windows = (connection,), (connection,), Windows((connection.n_post, 1, 1), *_ONE_BY_ONE)
        self._factor = math.prod(float(own.weight.flat[0]) for own in averages)
        self._pools = [_Pool.of(name, own, may_count) for own in pools]
        self._windows = None if windows is None else windows.geometry()
        self.n_windows = 1 if windows is None else int(np.prod(windows.n_windows))
        self._delay = connection.delay  # its value may be changed in place
        self._n_sent = 0
        self._origins: list[NDArray[np.int64]] = []
        self._gated: list[tuple[_Pool, InputEvents, InputEvents]] = []

    def take(self, events: InputEvents) -> InputEvents:
        """Events of the windows: n_samples times n_windows samples."""
        delay = float(self._delay)
        self._n_sent, self._origins, self._gated = int(events.offsets[-1]), [], []
        for pool in self._pools:
            passed, origins = pool.take(events)
            self._origins.append(origins)
            if pool.rule is not None:
                self._gated.append((pool, events, passed))
            events = passed
        if self._windows is None:
            n = int(events.offsets[-1])
            return events if delay == 0.0 else InputEvents(events.offsets, events.neurons, events.times[:n] + delay)
        offsets = np.empty((events.offsets.size - 1) * self.n_windows + 1, np.int64)
        n = int(count_window_events(self._windows, events, offsets))
        made, origins = InputEvents(offsets, np.empty(n, np.int64), np.empty(n)), np.empty(n, np.int64)
        window_events(self._windows, events, delay, np.empty(self.n_windows, np.int64), made, origins)
        self._origins.append(origins)
        return made

    def d_sent(self, d_arrivals: NDArray[np.float64]) -> NDArray[np.float64]:
        """dL/dt of the events that were taken, from that of the windows' events."""
        for k in range(len(self._origins) - 1, -1, -1):
            size = self._origins[k - 1].size if k > 0 else self._n_sent
            d_arrivals = np.asarray(np.bincount(self._origins[k], d_arrivals, minlength=size), np.float64)
        return d_arrivals

    def winners(self) -> list[NDArray[np.int64]]:
        """Of every maximum on the way, the winner of each of its windows, -1 for none, (n_samples, n_windows)."""
        found = []
        for k, (pool, events, passed) in enumerate(self._gated):  # maxima come before averages
            winners = np.full((events.offsets.size - 1, pool.n_neurons), -1)
            samples = np.repeat(np.arange(winners.shape[0]), np.diff(passed.offsets))
            winners[samples, passed.neurons] = events.neurons[self._origins[k]]
            found.append(winners)
        return found

    def matrix(self) -> NDArray[np.floating]:
        """The weights of a window, rows by place in it and columns by output; where it can be, the weights' memory."""
        weight: NDArray[np.floating] = self._inner.weight
        if self._spread_out:
            return matrix_of(self._connection)
        if isinstance(self._inner, AvgPool2d):
            return np.full((1, 1), self._factor, weight.dtype)
        if isinstance(self._inner, Conv2d) and self._inner.groups > 1:
            full = np.zeros((*weight.shape[:2], self._inner.image_shape[2], weight.shape[3]), weight.dtype)
            for inputs, outputs in _blocks(self._inner):
                full[:, :, inputs, outputs] = weight[..., outputs]
            weight = full
        matrix = weight.reshape(-1, weight.shape[-1])
        return matrix if self._factor == 1.0 else matrix * weight.dtype.type(self._factor)

    def add_to(self, d_weight: NDArray[np.floating], d_matrix: NDArray[np.floating]) -> None:
        """Add the gradient of `matrix` to that of the weights."""
        factor = d_weight.dtype.type(self._factor)
        if isinstance(self._inner, AvgPool2d):
            return
        if self._spread_out:
            d_weight += fold_matrix(self._connection, d_matrix)
        elif isinstance(self._inner, Conv2d) and self._inner.groups > 1:
            full = d_matrix.reshape(*d_weight.shape[:2], self._inner.image_shape[2], -1)
            for inputs, outputs in _blocks(self._inner):
                d_weight[..., outputs] += factor * full[:, :, inputs, outputs]
        else:
            d_weight += factor * d_matrix.reshape(d_weight.shape)


def _blocks(connection: Conv2d) -> list[tuple[slice, slice]]:
    """Input and output channels of every group."""
    own, n_out = connection.weight.shape[2], connection.weight.shape[3] // connection.groups
    return [(slice(g * own, (g + 1) * own), slice(g * n_out, (g + 1) * n_out)) for g in range(connection.groups)]


def linear_rows(connection: Any) -> SynapseRows:
    """The synapses of a connection, of a `Pooled` from the plane that its maxima give."""
    rows: SynapseRows = connection.after_gates() if isinstance(connection, Pooled) else connection.rows()
    return rows


def passed_spikes(connection: Any, spikes: Spikes) -> Spikes:
    """What the maxima before a connection let through, on the plane that they give; else the spikes themselves."""
    for gate in connection.gates if isinstance(connection, Pooled) else ():
        events, _ = _Pool.of("", gate).take(InputEvents(spikes.offsets, spikes.neurons, spikes.times))
        samples = np.repeat(np.arange(spikes.n_samples), np.diff(events.offsets))
        spikes = Spikes(samples, events.neurons, events.times, n_samples=spikes.n_samples, n_neurons=gate.n_post)
    return spikes


def matrix_of(connection: Any) -> NDArray[np.floating]:
    """The weights of all pairs of neurons, 0 where there is no synapse; of a `Pooled` behind its maxima."""
    if isinstance(connection, Dense):
        return connection.weight
    indptr, indices, weights, _ = linear_rows(connection)
    matrix = np.zeros((indptr.size - 1, connection.n_post), weights.dtype)
    matrix[np.repeat(np.arange(indptr.size - 1), np.diff(indptr)), indices] = weights
    return matrix


def fold_matrix(connection: Any, d_matrix: NDArray[np.floating]) -> NDArray[np.floating]:
    """The transpose of `matrix_of`: derivatives by the connection's weights."""
    if isinstance(connection, Dense):
        return d_matrix
    indptr, indices, _, _ = linear_rows(connection)
    folded: NDArray[np.floating] = connection.fold(
        d_matrix[np.repeat(np.arange(indptr.size - 1), np.diff(indptr)), indices]
    )
    return folded


def _neuron_of_windows(layer: Layer, n_windows: int) -> Any:
    """The neurons of one window, where all windows have the same; else None."""
    neuron, n = layer.neuron, layer.n_neurons // n_windows
    if neuron.is_shared:
        return neuron
    values: dict[str, Any] = {}
    for name in neuron.parameter_names():
        own = neuron.per_neuron(name, layer.n_neurons).reshape(n_windows, n)
        if (own != own[0]).any():
            return None
        values[name] = own[0]
    return replace(neuron, **values)


def windows_of(layer: Layer) -> tuple[Arrivals, Layer]:
    """The way to the windows of a layer, and what it is for one of them."""
    arrivals = Arrivals(layer.name, layer.connection)
    neuron = _neuron_of_windows(layer, arrivals.n_windows)
    if neuron is None:
        arrivals, neuron = Arrivals(layer.name, layer.connection, spread_out=True), layer.neuron
    return arrivals, Layer(layer.name, layer.connection, neuron)
