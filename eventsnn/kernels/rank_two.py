"""Gradients of a sample's input events: each is of rank two in (event, neuron), see `layer_backward`.

For every event k, of input neuron j, and every postsynaptic neuron that has seen it,

    dL/dw_j += gain_k a + cross_k b,        dL/dt_k += w_j (gain_k c + cross_k d)

A few vectors of neurons are taken through all events, a to d in registers, so that an event costs a load and a store of
the weight gradient; how many events a neuron has seen is compared, not listed.

The bodies are made of instructions of LLVM (`vector_writer`); with NUMBA_DISABLE_JIT=1 plain ones stand in.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils

from eventsnn.kernels.constants import CROSS, GAIN, REFERENCE
from eventsnn.kernels.flow import synaptic_kernel
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.vector_writer import VECTOR, VectorWriter, tile

__all__ = ["add_event_gradients"]

#: vectors that are taken together
_TOGETHER = 4


class _Events:
    """The events low : high from late to early, and what an event and the neurons have in common in both gradients."""

    def __init__(self, w: VectorWriter, factors: Any, rows: Any, n_seen: Any, numbers: Any) -> None:
        self.w, self.factors, self._seen = w, factors, w.load_counts(n_seen)
        self.along_gain, self.along_cross = (w.load(w.pointer(own)) for own in rows)
        self.first_event, self.low, self.high = numbers

    def count(self) -> Any:
        """How many there are."""
        return self.w.builder.sub(self.high, self.low)

    def event(self, index: Any) -> Any:
        """Number of the event, from the last one on."""
        return self.w.builder.sub(self.w.builder.sub(self.high, ir.Constant(self.w.word, 1)), index)

    def plus(self, k: Any, term: list[Any]) -> list[Any]:
        """gain along_gain + cross along_cross + term; only the term for neurons that have not seen event k."""
        w = self.w
        found = w.linear(self.along_gain, self._factor(GAIN, k), term)
        found = w.linear(self.along_cross, self._factor(CROSS, k), found)
        number = w.builder.trunc(w.builder.sub(k, self.first_event), w.short)
        place = w.splat(number, self._seen[0].type)
        return w.choose([w.builder.icmp_signed(">", own, place) for own in self._seen], found, term)

    def _factor(self, row: int, k: Any) -> list[Any]:
        w = self.w
        start = w.builder.mul(w.builder.extract_value(self.factors.shape, 1), ir.Constant(w.word, row))
        return [w.splat(w.builder.load(w.builder.gep(self.factors.data, [w.builder.add(start, k)])))] * w.n_vectors


def _write_weights(w: VectorWriter, types: Any, values: Any) -> None:
    d_weight, neurons, factors, a, b, n_seen = (
        w.array(kind, value) for kind, value in zip(types[:6], values[:6], strict=True)
    )
    events = _Events(w, factors, (a, b), n_seen, values[6:9])
    with cgutils.for_range(w.builder, events.count()) as loop:
        k = events.event(loop.index)
        row = w.pointer(d_weight, w.builder.load(w.builder.gep(neurons.data, [k])))
        w.store(events.plus(k, w.load(row)), row)


def _write_times(w: VectorWriter, types: Any, values: Any) -> None:
    weight, neurons, factors, c, d, n_seen, d_times = (
        w.array(kind, value) for kind, value in zip(types[:7], values[:7], strict=True)
    )
    builder, double = w.builder, ir.DoubleType()
    events = _Events(w, factors, (c, d), n_seen, values[7:10])
    nothing = [w.constant(0.0)] * w.n_vectors
    with cgutils.for_range(builder, events.count()) as loop:
        k = events.event(loop.index)
        row = w.load(w.pointer(weight, builder.load(builder.gep(neurons.data, [k]))))
        total = w.sum(w.times(row, events.plus(k, nothing)))
        place = builder.gep(d_times.data, [k])
        total = total if w.item == double else builder.fpext(total, double)
        builder.store(builder.fadd(builder.load(place), total), place)


if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _some_weights(given: Any, first: int, n_left: int) -> None:
        d_weight, neurons, factors, a, b, n_seen, first_event, low, high = given
        mine = slice(first, first + n_left)
        for k in range(high - 1, low - 1, -1):
            own = a[mine] * factors[GAIN, k] + b[mine] * factors[CROSS, k]
            d_weight[neurons[k], mine] += np.where(n_seen[mine] > k - first_event, own, 0)

    def _some_times(given: Any, first: int, n_left: int) -> None:
        weight, neurons, factors, c, d, n_seen, d_times, first_event, low, high = given
        mine = slice(first, first + n_left)
        for k in range(high - 1, low - 1, -1):
            own = c[mine] * factors[GAIN, k] + d[mine] * factors[CROSS, k]
            d_times[k] += (weight[neurons[k], mine] * np.where(n_seen[mine] > k - first_event, own, 0)).sum()

    _many_weights, _many_times = _some_weights, _some_times
else:
    _many_weights, _many_times = (tile(own, _TOGETHER, is_masked=False) for own in (_write_weights, _write_times))
    _some_weights, _some_times = (tile(own, 1, is_masked=True) for own in (_write_weights, _write_times))


@kernel
def add_event_gradients(constants, weight, neurons, clock, values, start, work, n_seen, d_weight, d_times):
    """Add the gradients of the sample whose events begin at `start`.

    work : rows a, b, c, d, (4, n_post), measured from the reference of the last event that a neuron has seen; changed
    n_seen : int32, (n_post,), how many it has seen; 0 where nothing flows
    d_times : float64, (n_events,), or of size 0 if not wanted, and c and d with it
    """
    n_post, lanes, first, real = n_seen.size, VECTOR // weight.itemsize, 0, weight.dtype.type
    n_rows = 4 if d_times.size > 0 else 2
    while first < n_post:
        last = first + (_TOGETHER * lanes if n_post - first >= _TOGETHER * lanes else min(lanes, n_post - first))
        most = 0
        for n in range(first, last):
            most = max(most, n_seen[n])
        high = start + most
        while high > start:
            low, reference = high - 1, clock[REFERENCE, high - 1]
            while low > start and clock[REFERENCE, low - 1] == reference:
                low -= 1
            given = (d_weight, neurons, values, work[0], work[1], n_seen, start, low, high)
            of_times = (weight, neurons, values, work[2], work[3], n_seen, d_times, start, low, high)
            if last - first > lanes:
                _many_weights(given, first, last - first)
                if n_rows == 4:
                    _many_times(of_times, first, last - first)
            else:
                _some_weights(given, first, last - first)
                if n_rows == 4:
                    _some_times(of_times, first, last - first)
            high = low
            if high > start:
                shift = reference - clock[REFERENCE, high - 1]
                keep, fade = real(math.exp(-shift / constants.tau_mem)), real(math.exp(-shift / constants.tau_syn))
                mix = real(synaptic_kernel(shift, constants.tau_mem, constants.tau_syn, constants.delta))
                for row in range(0, n_rows, 2):
                    for n in range(first, last):
                        if n_seen[n] > high - start:
                            work[row, n] = work[row, n] * fade + work[row + 1, n] * mix
                            work[row + 1, n] *= keep
        first = last
