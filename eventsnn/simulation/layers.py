"""Drive the layer kernels over blocks of samples: buffers, choice of kernel, growth, and errors with their place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import SimulationError
from eventsnn.kernels.bits import flag_words
from eventsnn.kernels.constants import (
    MANTISSA,
    NO_LIMIT,
    POWER,
    STATUS_BUFFER_FULL,
    STATUS_NOT_FINITE,
    TRACE_ROWS,
    WORK_ROWS,
    Factors,
    FoundSpikes,
    InputEvents,
    LayerConstants,
    NeuronConstants,
    OutputEvents,
    SpikeRecord,
)
from eventsnn.kernels.event_factors import event_factors
from eventsnn.kernels.flow import decay_difference
from eventsnn.kernels.layer_backward import event_to_neuron_gradient, layer_backward
from eventsnn.kernels.layer_eventprop import layer_eventprop
from eventsnn.kernels.layer_forward import layer_forward
from eventsnn.kernels.layer_peaks import layer_peaks
from eventsnn.kernels.neuron_wise import neuron_wise_backward, neuron_wise_forward, neuron_wise_peaks
from eventsnn.kernels.spike_time import family_of
from eventsnn.network import Layer
from eventsnn.neurons import LIF
from eventsnn.spikes import Spikes

_NO_GRADIENT = np.empty(0)


def input_events(spikes: Spikes) -> InputEvents:
    """The events of all samples in the form the kernels take; the arrays are shared, not copied."""
    return InputEvents(spikes.offsets, spikes.neurons, spikes.times)


def is_uniform(neuron: LIF) -> bool:
    """Whether the fast kernel applies: shared parameters, resting state at the start, rest below threshold.

    A refractory time matters only to neurons that may spike again.
    """
    return (
        neuron.is_shared
        and neuron.i_bias == 0.0
        and neuron.v_threshold > neuron.v_leak
        and (neuron.t_refrac == 0.0 or neuron.max_spikes == 1)
    )


def layer_constants(neuron: LIF, t_end: float) -> LayerConstants:
    """Constants of the fast kernel (see `is_uniform`)."""
    return LayerConstants(
        tau_mem=neuron.tau_mem,
        tau_syn=neuron.tau_syn,
        delta=decay_difference(neuron.tau_mem, neuron.tau_syn),
        theta=neuron.v_threshold - neuron.v_leak,
        reset_jump=neuron.v_threshold - neuron.v_reset,
        t_end=float(t_end),
        family=int(family_of(neuron.tau_mem, neuron.tau_syn)),
        max_spikes=neuron.max_spikes or NO_LIMIT,
    )


def neuron_constants(neuron: LIF, n_neurons: int, t_end: float) -> NeuronConstants:
    """Constants of the neuron-wise kernel: one value per neuron, any parameters."""
    arrays = {name: neuron.per_neuron(name, n_neurons) for name in neuron.parameter_names()}
    return NeuronConstants(**arrays, t_end=float(t_end), max_spikes=neuron.max_spikes or NO_LIMIT)


class LayerRunner:
    """One layer on one block of samples at a time: forward, peaks of silent neurons, backward.

    Not thread-safe: every block that may run at the same time has a runner of its own.
    """

    def __init__(
        self,
        layer: Layer,
        weight: NDArray[np.floating],
        t_end: float,
        name: str | None = None,
        *,
        keep_trace: bool = False,
    ) -> None:
        neuron = layer.neuron
        assert isinstance(neuron, LIF)  # readouts have a `ReadoutRunner`
        self.name = name or layer.name
        self.weight = weight
        self.n_pre, self.n_post = weight.shape
        self.uniform = is_uniform(neuron)
        #: whether `forward` also keeps what `backward_spikes` needs of every output spike
        self._keep_trace = keep_trace and self.uniform
        self.constants = (
            layer_constants(neuron, t_end) if self.uniform else neuron_constants(neuron, self.n_post, t_end)
        )
        #: distance from the driven resting potential to threshold, and the slope it makes, both (n_post,)
        v_threshold, v_leak, i_bias = (neuron.per_neuron(p, self.n_post) for p in ("v_threshold", "v_leak", "i_bias"))
        self.theta = v_threshold - v_leak - i_bias
        self.slope_unit = np.abs(self.theta) / neuron.per_neuron("tau_mem", self.n_post)
        self._work = np.empty((WORK_ROWS, self.n_post), weight.dtype)
        _, self._words = flag_words(self.n_post)
        self._flags = self._words.view(np.uint8)
        n = self.n_post
        floats = np.empty((10, n))
        self._found = FoundSpikes(floats, floats[MANTISSA].view(np.int64), np.empty((2, n), np.int64))
        self._factors = self._make_factors(0)
        self._make_sample_buffers(0)
        self.events = InputEvents(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0))

    def _make_factors(self, n_events: int) -> Factors:
        floats = np.empty((4, n_events))
        return Factors(
            np.empty((4, n_events), self.weight.dtype), np.empty((2, n_events)), floats, floats[POWER].view(np.int64)
        )

    def _make_sample_buffers(self, n_samples: int) -> None:
        shape = (n_samples, self.n_post)
        decay_mem, warped, slope = np.zeros((3, *shape), self.weight.dtype)
        self._record = SpikeRecord(np.zeros(shape), decay_mem, warped, slope, np.zeros(shape, np.int32))
        self._peaks = np.zeros(shape)
        #: buffers of the backward pass; arrays of this size made anew for every block would be paged in every time
        self.pushed = np.zeros(shape, dtype=bool)
        self.height = np.zeros(shape)
        self.d_before = np.zeros((n_samples, self.n_pre))
        self._make_output(n_samples, n_samples * self.n_post)

    def _make_output(self, n_samples: int, capacity: int) -> None:
        self._out = OutputEvents(np.zeros(n_samples + 1, np.int64), np.empty(capacity, np.int64), np.empty(capacity))
        self._trace = np.empty((TRACE_ROWS, capacity if self._keep_trace else 0))

    def _grow_output(self, finished: int) -> None:
        """More room for output events; those of the samples before `finished` are kept."""
        old, trace, kept = self._out, self._trace, int(self._out.offsets[finished])
        # as many spikes per sample as so far, and at least twice the room
        expected = kept * (old.offsets.size - 1) // max(finished, 1)
        self._make_output(old.offsets.size - 1, max(2 * old.times.size, expected + expected // 8) + 64)
        self._out.offsets[:] = old.offsets
        self._out.neurons[:kept] = old.neurons[:kept]
        self._out.times[:kept] = old.times[:kept]
        if self._keep_trace:
            self._trace[:, :kept] = trace[:, :kept]

    def forward(self, events: InputEvents, first_sample: int = 0) -> InputEvents:
        """Output spikes of a block, in canonical order; valid until the next call.

        Raises
        ------
        SimulationError
            The membrane potential stopped being finite; `first_sample` is added to the sample it names.
        """
        n_samples = events.offsets.size - 1
        n_events = int(events.offsets[-1])
        if n_samples != self._record.time.shape[0]:
            self._make_sample_buffers(n_samples)
        if n_events > self._factors.values.shape[1]:
            self._factors = self._make_factors(n_events + n_events // 4)
        self.events = events
        if self.uniform:
            event_factors(self.constants, events, self._factors)
        sample = 0
        self._out.offsets[0] = 0
        while True:
            if self.uniform:
                status, sample = layer_forward(
                    self.constants, self.weight, events, sample, self._factors, self._work, self._flags, self._words,
                    self._found, self._record, self._out, self._trace,
                )  # fmt: skip
            else:
                status, sample = neuron_wise_forward(
                    self.constants, self.weight, events, sample, self._record, self._out
                )
            if status != STATUS_BUFFER_FULL:
                break
            self._grow_output(sample)
        self._require_finite(status, first_sample + sample)
        return self.output

    def _require_finite(self, status: int, sample: int) -> None:
        if status == STATUS_NOT_FINITE:
            raise SimulationError(
                f"population {self.name!r}, sample {sample}: the membrane potential is not finite; look for huge "
                "weights (a diverged training run?) or time constants far too short"
            )

    def n_causal(self) -> NDArray[np.int64]:
        """How many inputs every spike, or highest peak on record, has seen, shape (n_samples, n_post)."""
        return np.asarray(self.record.causal_end - self.events.offsets[:-1, None])

    @property
    def output(self) -> InputEvents:
        """The output spikes of the last block."""
        end = int(self._out.offsets[-1])
        return InputEvents(self._out.offsets, self._out.neurons[:end], self._out.times[:end])

    @property
    def record(self) -> SpikeRecord:
        """The last block's record (first-spike neurons only)."""
        return self._record

    @property
    def emitted(self) -> NDArray[np.float64]:
        """First spike times of the last block as the next layer sees them (first-spike neurons only)."""
        return self._record.time

    def of_emitted(self, d_emitted: NDArray[np.float64]) -> NDArray[np.float64]:
        """dL/dT of the neurons' spikes from dL/dT of those emitted."""
        return d_emitted

    def peaks(self, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Enter the highest peaks of the silent neurons with wanted[sample, neuron] into the record.

        Returns v - v_inf at the peaks, (n_samples, n_post), 0 where there is none.
        """
        if self.uniform:
            layer_peaks(self.constants, self.weight, self.events, self._factors, wanted, self._record, self._peaks)
        else:
            neuron_wise_peaks(self.constants, self.weight, self.events, wanted, self._record, self._peaks)
        return self._peaks

    def backward(
        self,
        height: NDArray[np.float64],
        max_norm: float,
        d_weight: NDArray[np.floating],
        d_first: NDArray[np.float64] | None,
    ) -> int:
        """Add the weight gradient to `d_weight` and write dL/dt of the layer before to `d_first`; returns the clips.

        `height` is (n_samples, n_post): -dL/dT/slope for a spike, dL/du for a peak. `d_first`: (n_samples, n_pre), or
        None if not wanted.
        """
        d_times, clipped = self._backward(height, max_norm, d_weight, d_first is not None)
        if d_first is not None:
            event_to_neuron_gradient(self.events, d_times, d_first)
        return clipped

    def backward_events(
        self, height: NDArray[np.float64], d_weight: NDArray[np.floating], *, want_times: bool = True
    ) -> NDArray[np.float64]:
        """As `backward`, without a bound; returns dL/dt of every input event (empty if not wanted)."""
        return self._backward(height, np.inf, d_weight, want_times)[0]

    def _backward(
        self, height: NDArray[np.float64], max_norm: float, d_weight: NDArray[np.floating], want_times: bool
    ) -> tuple[NDArray[np.float64], int]:
        d_times = np.empty(int(self.events.offsets[-1])) if want_times else _NO_GRADIENT
        if self.uniform:
            clipped = layer_backward(
                self.constants, self.weight, self.events, self._factors, self._record, height, max_norm,
                self._work, d_weight, d_times,
            )  # fmt: skip
        else:
            clipped = neuron_wise_backward(
                self.constants, self.weight, self.events, self._record, height, max_norm, d_weight, d_times
            )
        return d_times, int(clipped)

    def backward_spikes(
        self,
        d_out: NDArray[np.float64],
        d_weight: NDArray[np.floating],
        *,
        min_slope: float = 0.0,
        want_times: bool = True,
    ) -> tuple[NDArray[np.float64], int]:
        """Backward pass of a layer without a limit on spikes, over what the last `forward` kept.

        Adds to `d_weight`; `d_out` is dL/dT of every output spike, in their order. Returns dL/dt of every input event
        (empty if not wanted) and how many slopes were raised to `min_slope` (in units of theta/tau_mem).
        """
        d_times = np.empty(int(self.events.offsets[-1])) if want_times else _NO_GRADIENT
        n_raised = layer_eventprop(
            self.constants, self.weight, self.events, self._factors, self._out, self._trace, d_out,
            min_slope * float(self.slope_unit[0]), self._work, d_weight, d_times,
        )  # fmt: skip
        return d_times, int(n_raised)
