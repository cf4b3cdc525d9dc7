"""Convolutions and pools in the exact engines, by the kernels of dense layers on the windows (see `windows`).

Forward and backward passes serve as they are, gradients of shared weights add up over the windows by themselves, and
nothing of the size of all synapses is made.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.constants import InputEvents, SpikeRecord
from eventsnn.kernels.layer_backward import event_to_neuron_gradient
from eventsnn.kernels.window_events import join_windows
from eventsnn.network import Layer
from eventsnn.simulation.layers import LayerRunner
from eventsnn.simulation.readouts import ReadoutRunner
from eventsnn.simulation.windows import windows_of

__all__ = ["WindowReadout", "WindowRunner"]


class _WindowLayer(LayerRunner):
    """The dense layer of all windows."""

    n_windows: int

    def of_sample(self, sample: int) -> _WindowLayer:
        """The same with the windows of one sample alone, for the backward pass."""
        own, first, end = copy(self), sample * self.n_windows, (sample + 1) * self.n_windows
        own.events = self.events._replace(offsets=self.events.offsets[first : end + 1])
        rows: Any = (column[first:end] for column in self._record)
        own._record = SpikeRecord(*rows)
        return own

    def _require_finite(self, status: int, sample: int) -> None:
        super()._require_finite(status, sample // self.n_windows)


class WindowRunner:
    """As `DelayedRunner`, for `Conv2d`, `AvgPool2d` and `Pooled`; conditions there are none."""

    def __init__(self, layer: Layer, t_end: float = np.inf, *, keep_trace: bool = False) -> None:
        connection: Any = layer.connection
        self.name, self.n_sources = layer.name, connection.n_pre
        self.n_pre, self.n_post = connection.n_pre, connection.n_post
        self.weight = connection.weight
        self._delay = connection.delay
        self._arrivals, inner = windows_of(layer)
        self._n_windows = self._arrivals.n_windows
        matrix = self._arrivals.matrix()
        self._is_view = np.shares_memory(matrix, self.weight)
        self._inner = _WindowLayer(inner, matrix, t_end, keep_trace=keep_trace)
        self._inner.n_windows = self._n_windows
        self.theta, self.slope_unit = (
            np.tile(own, self._n_windows) for own in (self._inner.theta, self._inner.slope_unit)
        )
        self._sent = self._out = InputEvents(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0))
        self._order = np.empty(0, np.int64)
        self.d_before = np.zeros((0, self.n_sources))

    # -- forward ---------------------------------------------------------------------------------------------------

    def forward(self, events: InputEvents, first_sample: int = 0, conditions: Any = None) -> InputEvents:
        """See `LayerRunner.forward`."""
        assert conditions is None  # `Hardware` refuses convolutions
        n_samples = events.offsets.size - 1
        if self.d_before.shape[0] != n_samples:
            self.d_before = np.zeros((n_samples, self.n_sources))
        self._sent = events
        if not self._is_view:
            self._inner.weight[:] = self._arrivals.matrix()
        found = self._inner.forward(self._arrivals.take(events), first_sample * self._n_windows)
        if self._n_windows == 1:
            self._out = found
        else:
            n = found.times.size
            self._out = InputEvents(np.empty(n_samples + 1, np.int64), np.empty(n, np.int64), np.empty(n))
            self._order = np.empty(n, np.int64)
            join_windows(found, self._n_windows, self._inner.n_post, self._out, self._order)
        return self._out

    @property
    def output(self) -> InputEvents:
        """See `LayerRunner.output`."""
        return self._out

    @property
    def record(self) -> SpikeRecord:
        """See `LayerRunner.record`; `causal_end` counts the events of the windows."""
        return SpikeRecord(*(self._by_sample(own) for own in self._inner.record))

    @property
    def emitted(self) -> NDArray[np.float64]:
        """See `LayerRunner.emitted`."""
        return self._by_sample(self._inner.record.time)

    @property
    def pushed(self) -> NDArray[np.bool_]:
        """See `LayerRunner`."""
        return self._by_sample(self._inner.pushed)

    @property
    def height(self) -> NDArray[np.float64]:
        """See `LayerRunner`."""
        return self._by_sample(self._inner.height)

    def of_emitted(self, d_emitted: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `LayerRunner.of_emitted`."""
        return d_emitted

    def n_causal(self) -> NDArray[np.int64]:
        """See `LayerRunner.n_causal`: of the events under the neuron's window."""
        return self._by_sample(self._inner.n_causal())

    def winners(self) -> list[NDArray[np.int64]]:
        """Of every maximum before the layer, the winner of each of its windows, -1 for none."""
        return self._arrivals.winners()

    def peaks(self, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
        """See `LayerRunner.peaks`."""
        return self._by_sample(self._inner.peaks(self._by_window(wanted)))

    def _by_sample(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(-1, self.n_post)

    def _by_window(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(-1, self._inner.n_post)

    # -- backward --------------------------------------------------------------------------------------------------

    def backward(
        self, height: NDArray[np.float64], max_norm: float, d_weight: NDArray[np.floating],
        d_first: NDArray[np.float64] | None, d_delay: NDArray[np.float64] | None = None,
    ) -> int:  # fmt: skip
        """See `DelayedRunner.backward`."""
        d_arrivals, clipped = self._gradients(height, max_norm, d_weight, d_first is not None or d_delay is not None)
        if d_first is not None:
            event_to_neuron_gradient(self._sent, self._arrivals.d_sent(d_arrivals), d_first)
        if d_delay is not None:
            d_delay += d_arrivals.sum()
        return clipped

    def backward_events(
        self, height: NDArray[np.float64], d_weight: NDArray[np.floating], *, want_times: bool = True
    ) -> NDArray[np.float64]:
        """See `LayerRunner.backward_events`."""
        d_arrivals, _ = self._gradients(height, np.inf, d_weight, want_times)
        return self._arrivals.d_sent(d_arrivals) if want_times else d_arrivals

    def backward_spikes(
        self, d_out: NDArray[np.float64], d_weight: NDArray[np.floating], *, min_slope: float = 0.0,
        want_times: bool = True,
    ) -> tuple[NDArray[np.float64], int]:  # fmt: skip
        """See `LayerRunner.backward_spikes`."""
        if self._n_windows > 1:
            in_windows = np.empty_like(d_out)
            in_windows[self._order] = d_out
            d_out = in_windows
        d_matrix = np.zeros_like(self._inner.weight)
        d_arrivals, n_raised = self._inner.backward_spikes(d_out, d_matrix, min_slope=min_slope, want_times=want_times)
        self._arrivals.add_to(d_weight, d_matrix)
        return self._arrivals.d_sent(d_arrivals) if want_times else d_arrivals, n_raised

    def _gradients(
        self, height: NDArray[np.float64], max_norm: float, d_weight: NDArray[np.floating], want_times: bool
    ) -> tuple[NDArray[np.float64], int]:
        d_matrix, heights = np.zeros_like(self._inner.weight), self._by_window(height)
        if max_norm == np.inf:
            d_arrivals = self._inner.backward_events(heights, d_matrix, want_times=want_times)
            self._arrivals.add_to(d_weight, d_matrix)
            return d_arrivals, 0
        # the bound is on the gradient of the shared weights: sample by sample
        n_clipped, own = 0, np.zeros_like(d_weight)
        d_arrivals = np.zeros(int(self._inner.events.offsets[-1]) if want_times else 0)
        for sample in range(height.shape[0]):
            mine = slice(sample * self._n_windows, (sample + 1) * self._n_windows)
            d_matrix[:], own[:] = 0.0, 0.0
            inner = self._inner.of_sample(sample)
            found = inner.backward_events(heights[mine], d_matrix, want_times=want_times)
            if want_times:
                start, end = inner.events.offsets[[0, -1]]
                d_arrivals[start:end] = found[start:end]
            self._arrivals.add_to(own, d_matrix)
            norm = float(np.linalg.norm(own))
            if norm > max_norm:
                own *= max_norm / norm
                n_clipped += 1
            d_weight += own
        return d_arrivals, n_clipped


class WindowReadout:
    """As `ReadoutRunner`, behind `Conv2d`, `AvgPool2d` and `Pooled`; arguments as there."""

    def __init__(self, layer: Layer, t_end: float = np.inf, **options: Any) -> None:
        connection: Any = layer.connection
        self.n_post, self.weight = connection.n_post, connection.weight
        self._arrivals, inner = windows_of(layer)
        self._inner = ReadoutRunner(inner, self._arrivals.matrix().copy(), t_end, **options)

    def forward(self, events: InputEvents, first_sample: int = 0) -> NDArray[np.float64]:
        """See `ReadoutRunner.forward`."""
        n_windows = self._arrivals.n_windows
        self._inner.weight[:] = self._arrivals.matrix()
        values = self._inner.forward(self._arrivals.take(events), first_sample * n_windows)
        if n_windows == 1:
            return values
        if values.ndim == 2:
            return values.reshape(-1, self.n_post)
        by_time = values.reshape(-1, n_windows, *values.shape[1:]).swapaxes(1, 2)
        return np.ascontiguousarray(by_time).reshape(-1, values.shape[1], self.n_post)

    def backward(
        self, d_values: NDArray[np.float64], d_weight: NDArray[np.floating], want_times: bool = True
    ) -> NDArray[np.float64] | None:
        """See `ReadoutRunner.backward`."""
        n_windows = self._arrivals.n_windows
        if n_windows > 1 and d_values.ndim == 2:
            d_values = d_values.reshape(-1, self.n_post // n_windows)
        elif n_windows > 1:
            by_window = d_values.reshape(-1, d_values.shape[1], n_windows, self.n_post // n_windows).swapaxes(1, 2)
            d_values = np.ascontiguousarray(by_window).reshape(-1, *by_window.shape[2:])
        d_matrix = np.zeros_like(self._inner.weight)
        d_arrivals = self._inner.backward(d_values, d_matrix, want_times)
        self._arrivals.add_to(d_weight, d_matrix)
        return None if d_arrivals is None else self._arrivals.d_sent(d_arrivals)
