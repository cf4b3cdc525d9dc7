"""Drive the readout kernels over blocks of samples: what losses need of potentials without spikes, and its gradient."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import float_array
from eventsnn.errors import SimulationError, ValidationError
from eventsnn.kernels.constants import (
    NO_LIMIT,
    POWER,
    STATUS_NOT_FINITE,
    Factors,
    InputEvents,
    LayerConstants,
    SpikeRecord,
)
from eventsnn.kernels.event_factors import event_factors
from eventsnn.kernels.flow import decay_difference
from eventsnn.kernels.highest import HIGHEST_WORK, LANES
from eventsnn.kernels.readout import BACKWARD_WORK, readout_max, readout_max_backward
from eventsnn.kernels.readout_linear import (
    readout_linear,
    readout_linear_backward,
    responses_at,
    responses_of_integral,
)
from eventsnn.kernels.spike_time import family_of
from eventsnn.network import Layer
from eventsnn.neurons import LI

__all__ = ["ReadoutRunner"]

_NO_GRADIENT = np.empty(0)


class ReadoutRunner:
    """The readout layer on one block of samples at a time: forward and backward.

    Parameters
    ----------
    layer : Layer or LI
        The neurons; their time constants must be shared, `v_leak` and `i_bias` may differ.
    weight : (n_pre, n_post), float32 or float64
        Read at every call, never copied for longer.
    t_end : float
        Inputs at t_end or later have no effect; finite for "integral".
    kind : "max", "integral" or "at"
        The highest potential from 0 to t_end, its integral over that time, or its values at `times`.
    times : array_like, shape (n_times,), only for "at"
        Sorted, >= 0, at most t_end.

    Raises
    ------
    ValidationError
        Parameters as above do not hold.

    Notes
    -----
    Not thread-safe: every block that may run at the same time has a runner of its own. What the methods return is
    valid until the next call.
    """

    def __init__(
        self,
        layer: Layer | LI,
        weight: NDArray[np.floating],
        t_end: float = math.inf,
        *,
        kind: Literal["max", "integral", "at"] = "max",
        times: ArrayLike | None = None,
    ) -> None:
        self.name = layer.name if isinstance(layer, Layer) else "readout"
        neuron = layer.neuron if isinstance(layer, Layer) else layer
        if not isinstance(neuron, LI):
            raise ValidationError(f"ReadoutRunner: {self.name!r} needs LI neurons, got {neuron!r}")
        for name in ("tau_mem", "tau_syn"):
            if isinstance(getattr(neuron, name), np.ndarray):
                raise ValidationError(
                    f"ReadoutRunner: LI.{name} of {self.name!r} is given per neuron; readouts with a loss need one "
                    "value for all"
                )
        if math.isnan(t_end) or t_end < 0 or (kind == "integral" and t_end == math.inf):
            rule = "finite and >= 0" if kind == "integral" else ">= 0"
            raise ValidationError(f"ReadoutRunner.t_end: must be {rule} for kind {kind!r}, got {t_end}")
        if kind not in ("max", "integral", "at"):
            raise ValidationError(f"ReadoutRunner.kind: must be 'max', 'integral' or 'at', got {kind!r}")
        if (kind == "at") != (times is not None):
            raise ValidationError(f"ReadoutRunner.times: needed for kind 'at' and for no other, kind is {kind!r}")
        self.kind, self.weight = kind, weight
        self.n_pre, self.n_post = weight.shape
        self.times = np.zeros(1) if times is None else _checked_times(times, t_end)
        self.v_inf = neuron.v_start(self.n_post)
        self.constants = LayerConstants(
            tau_mem=neuron.tau_mem,
            tau_syn=neuron.tau_syn,
            delta=decay_difference(neuron.tau_mem, neuron.tau_syn),
            theta=0.0,
            reset_jump=0.0,
            t_end=float(t_end),
            family=int(family_of(neuron.tau_mem, neuron.tau_syn)),
            max_spikes=NO_LIMIT,
        )
        self.events = InputEvents(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0))
        n_chunks = -(-self.n_post // LANES)
        shape = (n_chunks, LANES)
        if kind == "max":
            self._lanes = np.zeros((self.n_pre, *shape), weight.dtype)
            self._d_lanes = np.zeros_like(self._lanes)
            self._work, self._best = np.empty(HIGHEST_WORK, weight.dtype), np.empty(LANES, np.int64)
            self._backward_work = np.empty(n_chunks * BACKWARD_WORK, weight.dtype)
            self._following = np.zeros(n_chunks * LANES, np.int64)
        self._make_sample_buffers(0)
        self._make_event_buffers(0)

    def _make_sample_buffers(self, n_samples: int) -> None:
        self._values = np.zeros((n_samples, self.times.size, self.n_post))
        if self.kind == "max":
            shape = (n_samples, self._following.size)
            time, decay_mem, warped, slope, self._height, self._d_height = np.zeros((6, *shape))
            self._record = SpikeRecord(time, decay_mem, warped, slope, np.zeros(shape, np.int32))

    def _make_event_buffers(self, n_events: int) -> None:
        self._d_times = np.zeros(n_events)
        if self.kind == "max":
            floats = np.empty((4, n_events))
            self._factors = Factors(
                np.empty((4, n_events), self.weight.dtype), np.empty((2, n_events)), floats,
                floats[POWER].view(np.int64),
            )  # fmt: skip
            self._by_event = np.zeros(n_events, np.int64)
        else:
            self._responses, self._changes = np.zeros((2, n_events, self.times.size))

    @property
    def record(self) -> SpikeRecord:
        """Of kind "max": where the last block's maxima are, arrays (n_samples, n_post and padding).

        `time` is 0 where the potential never rose above its value at rest.
        """
        return self._record

    def forward(self, events: InputEvents, first_sample: int = 0) -> NDArray[np.float64]:
        """Values of v, (n_samples, n_post), or (n_samples, n_times, n_post) for kind "at".

        Raises
        ------
        SimulationError
            The membrane potential stopped being finite; `first_sample` is added to the sample it names.
        """
        n_samples, n_events = events.offsets.size - 1, int(events.offsets[-1])
        if n_samples != self._values.shape[0]:
            self._make_sample_buffers(n_samples)
        if n_events > self._d_times.size:
            self._make_event_buffers(n_events + n_events // 4)
        self.events = events
        if self.kind == "max":
            self._lanes.reshape(self.n_pre, -1)[:, : self.n_post] = self.weight
            event_factors(self.constants, events, self._factors)
            status, sample = readout_max(
                self.constants, self._lanes, events, self._factors, self._work, self._best, self._record, self._height
            )  # fmt: skip
            if status == STATUS_NOT_FINITE:
                self._not_finite(first_sample + sample)
            values = self._values[:, 0]
            np.add(self._height[:, : self.n_post], self.v_inf, out=values)
            return values
        offset = self.v_inf
        if self.kind == "at":
            responses_at(self.constants, self.times, events, self._responses, self._changes)
        else:
            responses_of_integral(self.constants, events, self._responses, self._changes)
            offset = self.v_inf * self.constants.t_end
        readout_linear(self.weight, events, self._responses, self._values)
        self._values += offset
        finite = np.isfinite(self._values).all(axis=(1, 2))
        if not finite.all():
            self._not_finite(first_sample + int(np.argmin(finite)))
        return self._values if self.kind == "at" else self._values[:, 0]

    def _not_finite(self, sample: int) -> None:
        raise SimulationError(
            f"population {self.name!r}, sample {sample}: the membrane potential is not finite; look for huge weights "
            "(a diverged training run?) or time constants far too short"
        )

    def backward(
        self, d_values: NDArray[np.float64], d_weight: NDArray[np.floating], want_times: bool = True
    ) -> NDArray[np.float64] | None:
        """Add the weight gradient of the last block to `d_weight`; returns dL/dt of its input events, or None.

        `d_values` has the shape of what `forward` returned: dL/dv. The derivative with respect to `v_leak` and
        `i_bias` is its sum over the samples (and times; times t_end for "integral").
        """
        d_times = self._d_times[: int(self.events.offsets[-1])] if want_times else _NO_GRADIENT
        if self.kind == "max":
            self._d_height[:, : self.n_post] = d_values
            self._d_lanes[:] = 0.0
            readout_max_backward(
                self.constants, self._lanes, self.events, self._factors, self._record, self._d_height, self._by_event,
                self._following, self._backward_work, self._d_lanes, d_times,
            )  # fmt: skip
            d_weight += self._d_lanes.reshape(self.n_pre, -1)[:, : self.n_post]
        else:
            d_all = np.ascontiguousarray(d_values, dtype=np.float64).reshape(self._values.shape)
            readout_linear_backward(self.weight, self.events, self._responses, self._changes, d_all, d_weight, d_times)
        return d_times if want_times else None


def _checked_times(times: ArrayLike, t_end: float) -> NDArray[np.float64]:
    array = float_array("ReadoutRunner.times", times)
    if array.ndim != 1 or array.size == 0:
        raise ValidationError(f"ReadoutRunner.times: must have shape (n_times,) with n_times >= 1, got {array.shape}")
    if not np.isfinite(array).all() or array[0] < 0 or (np.diff(array) < 0).any() or array[-1] > t_end:
        raise ValidationError(f"ReadoutRunner.times: must be finite, sorted and between 0 and t_end={t_end}")
    return array
