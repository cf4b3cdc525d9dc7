"""Layers whose inputs are repeated, delayed or joined by bias spikes, and first-spike layers under given conditions."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.channel_events import channel_events, channel_gradient, count_channel_events
from eventsnn.kernels.constants import DelayTables, InputEvents
from eventsnn.kernels.delayed_backward import delayed_backward
from eventsnn.kernels.delayed_layer import delayed_forward, delayed_peaks, lay_out
from eventsnn.kernels.flow import decay_difference
from eventsnn.kernels.layer_backward import event_to_neuron_gradient
from eventsnn.network import Layer, Sequential
from eventsnn.neurons import LIF
from eventsnn.simulation.convolution_layers import WindowRunner
from eventsnn.simulation.layers import LayerRunner, layer_constants, neuron_constants
from eventsnn.simulation.windows import is_windowed

__all__ = ["DelayedRunner", "LayerConditions", "conditional_runners", "make_runners"]

_NO_JITTER, _NO_THRESHOLD, _NO_DELAYS = np.empty((0, 0, 0)), np.empty((0, 0)), np.empty((0, 0))
#: least |delta| tau_mem at which the response is formed from a difference of two exponentials
_FAR_APART = 0.1


class LayerConditions(NamedTuple):
    """What differs from sample to sample in a first-spike layer.

    jitter : (n_samples, n_pre, n_post), added to the arrival times; arrivals are not before 0
    threshold : (n_samples, n_post), distance from v_leak to the threshold, > 0, in place of the neurons' own
    spike_jitter : (n_samples, n_post), added to the output spike times, which are reflected at 0 (`HardwareRunner`)
    """

    jitter: NDArray[np.float64] | None = None
    threshold: NDArray[np.float64] | None = None
    spike_jitter: NDArray[np.float64] | None = None


class DelayedRunner(LayerRunner):
    """As `LayerRunner`, for layers with channels, delays or conditions.

    Axonal delays only shift the input; for delays that differ between the neurons there is a kernel neuron by neuron.
    """

    def __init__(self, layer: Layer, t_end: float, *, keep_trace: bool = False) -> None:
        connection, neuron, delay = layer.connection, layer.neuron, layer.connection.delay
        self.n_sources = layer.n_sources
        super().__init__(layer, connection.weight, t_end, keep_trace=keep_trace)
        sources, bias_times = layer.channel_map
        self._bias_channels, self._bias_times = np.flatnonzero(sources < 0), bias_times[sources < 0]
        self._channels = np.argsort(sources, kind="stable")[self._bias_channels.size :]
        self._first_channel = np.searchsorted(sources[self._channels], np.arange(self.n_sources + 1))
        self._delay = delay  # its values may be changed in place
        self._per_neuron = layer.has_delay_per_neuron and layer.fires_once
        self._rearranges = bool(layer.channels) or not (self._per_neuron or (delay.ndim == 0 and delay == 0.0))
        self._axonal, self._matrix = np.zeros(self.n_pre), np.zeros(self.weight.shape)
        self._neurons = neuron_constants(neuron, self.n_post, t_end)
        tau_mem, tau_syn = float(self._neurons.tau_mem[0]), float(self._neurons.tau_syn[0])
        delta = decay_difference(tau_mem, tau_syn)
        #: what the kernel takes where all neurons are alike; otherwise it is not looked at
        self._shared = layer_constants(neuron if neuron.is_shared else LIF(tau_mem, tau_syn, max_spikes=1), t_end)
        self._may_use_tables = neuron.is_shared and (delta == 0.0 or abs(delta) * tau_mem >= _FAR_APART)
        turned = self._matrix.shape[::-1]
        self._columns = (np.empty(turned, self.weight.dtype), np.empty(turned))
        self._tables = (np.empty((3, *turned)), np.empty((3, *self._matrix.shape)))
        self._sent, self._origins = self.events, np.empty(0, np.int64)
        self._jitter, self._threshold, self._neuron_wise = _NO_JITTER, _NO_THRESHOLD, False

    def _make_sample_buffers(self, n_samples: int) -> None:
        super()._make_sample_buffers(n_samples)
        self._last = np.empty((n_samples, self.n_post))
        self.d_before = np.zeros((n_samples, self.n_sources))

    def _lay_out(self) -> None:
        """Weights and delays by postsynaptic neuron, and the tables of the delays, from their present values."""
        if self._per_neuron:
            self._matrix[:] = self._delay
        usable = self._may_use_tables and self._jitter.size == self._threshold.size == 0
        by_post, by_pre = self._tables
        longest, usable = lay_out(
            self.weight, self._matrix, self._shared.tau_mem, self._shared.tau_syn, usable, *self._columns, by_post,
            by_pre,
        )  # fmt: skip
        self._by_post = DelayTables(by_post[0], by_post[1], by_post[2], longest, usable)
        self._by_pre = DelayTables(by_pre[0], by_pre[1], by_pre[2], longest, usable)

    def forward(
        self, events: InputEvents, first_sample: int = 0, conditions: LayerConditions | None = None
    ) -> InputEvents:
        """See `LayerRunner.forward`; `conditions` only for neurons that fire once."""
        events = self._receive(events, conditions)
        if not self._neuron_wise:
            return super().forward(events, first_sample)
        weight, delay = self._columns
        status, sample = delayed_forward(
            self._neurons, self._shared, self._by_post, weight, delay, self._by_pre, self.weight, self._matrix,
            self._threshold, self._jitter, events, self._record, self._last, self._found, self._out,
        )  # fmt: skip
        self._require_finite(status, first_sample + sample)
        return self.output

    def _receive(
        self, events: InputEvents, conditions: LayerConditions | None, *, neuron_wise: bool = False
    ) -> InputEvents:
        """Take in conditions and events; those that arrive. neuron_wise: make ready for such kernels in any case."""
        self._sent = events
        if self._rearranges:
            events = self._arrange(events)
        self._jitter, self._threshold = _NO_JITTER, _NO_THRESHOLD
        if conditions is not None:
            self._jitter = _NO_JITTER if conditions.jitter is None else conditions.jitter
            self._threshold = _NO_THRESHOLD if conditions.threshold is None else conditions.threshold
        self._neuron_wise = self._per_neuron or neuron_wise or self._jitter.size > 0 or self._threshold.size > 0
        if self._neuron_wise:
            n_samples = events.offsets.size - 1
            if n_samples != self._record.time.shape[0]:
                self._make_sample_buffers(n_samples)
            self.events = events
            self._lay_out()
        return events

    def _arrange(self, events: InputEvents) -> InputEvents:
        if not self._per_neuron:
            self._axonal[:] = self._delay.reshape(-1)
        size = count_channel_events(events, self._first_channel, self._bias_channels.size)
        made = InputEvents(np.empty(events.offsets.size, np.int64), np.empty(size, np.int64), np.empty(size))
        self._origins = np.empty(size, np.int64)
        channel_events(
            events, self._first_channel, self._channels, self._bias_channels, self._bias_times, self._axonal, made,
            self._origins,
        )  # fmt: skip
        return made

    def peaks(self, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
        """See `LayerRunner.peaks`."""
        if not self._neuron_wise:
            return super().peaks(wanted)
        weight, delay = self._columns
        delayed_peaks(
            self._neurons, weight, delay, self._jitter, self.events, wanted, self._record, self._last, self._peaks
        )
        return self._peaks

    def winners(self) -> list[NDArray[np.int64]]:
        """See `WindowRunner.winners`: there is no maximum."""
        return []

    def n_causal(self) -> NDArray[np.int64]:
        """See `LayerRunner.n_causal`; without conditions."""
        if not self._neuron_wise:
            return super().n_causal()
        found = np.empty(self._last.shape, np.int64)
        for sample, (start, stop) in enumerate(pairwise(self.events.offsets)):
            arrivals = self.events.times[start:stop, None] + self._matrix[self.events.neurons[start:stop]]
            found[sample] = (arrivals <= self._last[sample]).sum(axis=0)
        return found

    def backward(
        self, height: NDArray[np.float64], max_norm: float, d_weight: NDArray[np.floating],
        d_first: NDArray[np.float64] | None, d_delay: NDArray[np.float64] | None = None,
    ) -> int:  # fmt: skip
        """See `LayerRunner.backward`; `d_first` is (n_samples, n_sources), `d_delay` of the delays' shape, added to."""
        d_arrivals, clipped = self._gradients(height, max_norm, d_weight, d_first is not None, d_delay)
        if d_first is not None:
            event_to_neuron_gradient(self._sent, d_arrivals, d_first)
        return clipped

    def backward_events(
        self, height: NDArray[np.float64], d_weight: NDArray[np.floating], *, want_times: bool = True
    ) -> NDArray[np.float64]:
        """See `LayerRunner.backward_events`."""
        return self._gradients(height, np.inf, d_weight, want_times, None)[0]

    def _gradients(
        self, height: NDArray[np.float64], max_norm: float, d_weight: NDArray[np.floating], want_times: bool,
        d_delay: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.float64], int]:  # fmt: skip
        by_axon = d_delay is not None and not self._per_neuron
        matrix: NDArray[np.float64] = _NO_DELAYS
        if d_delay is not None and self._per_neuron:
            matrix = d_delay if d_delay.shape == self.weight.shape else np.zeros(self.weight.shape)
        if self._neuron_wise:
            d_times = np.empty(int(self.events.offsets[-1]) if want_times or by_axon else 0)
            clipped = delayed_backward(
                self._neurons, self._by_pre, self.weight, self._matrix, self._jitter, self.events, self._record,
                self._last, height, max_norm, d_weight, matrix, d_times,
            )  # fmt: skip
        else:
            d_times, clipped = self._backward(height, max_norm, d_weight, want_times or by_axon)
        if d_delay is not None and matrix.size > d_delay.size:
            d_delay += matrix.sum(axis=0, keepdims=True)
        if not self._rearranges:
            return d_times, int(clipped)
        by_channel = np.zeros(self.n_pre if by_axon else 0)
        d_sent = np.empty(int(self._sent.offsets[-1]) if want_times else 0)
        channel_gradient(self.events, self._origins, d_times, d_sent, by_channel)
        if d_delay is not None and by_axon:
            d_delay += by_channel.sum() if d_delay.size == 1 else by_channel.reshape(d_delay.shape)
        return d_sent, int(clipped)


def make_runners(
    network: Sequential, t_end: float = np.inf, *, keep_trace: bool = False
) -> list[LayerRunner | WindowRunner]:
    """One runner per layer of the chain that can spike, sharing the network's weight and delay arrays.

    Half-precision weights never get here: `Dense` keeps float32 and float64 only. All layers of a network compute in
    the dtype of their own weights.
    """
    return [_make_runner(layer, t_end, keep_trace) for layer in network.layers if layer.can_spike]


def _make_runner(layer: Layer, t_end: float, keep_trace: bool) -> LayerRunner | WindowRunner:
    if is_windowed(layer.connection):
        return WindowRunner(layer, t_end, keep_trace=keep_trace)
    if layer.channels or layer.connection.has_delay:
        return DelayedRunner(layer, t_end, keep_trace=keep_trace)
    return LayerRunner(layer, layer.connection.weight, t_end, keep_trace=keep_trace)


def conditional_runners(network: Sequential, t_end: float = np.inf) -> list[DelayedRunner | WindowRunner]:
    """Runners of a first-spike chain that give gradients of delays, also where there are none.

    They take conditions, but for convolutions.
    """
    return [
        WindowRunner(layer, t_end) if is_windowed(layer.connection) else DelayedRunner(layer, t_end)
        for layer in network.layers
    ]
