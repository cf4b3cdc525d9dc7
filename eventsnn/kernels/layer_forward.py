"""Forward pass of a layer whose neurons share their parameters.

Neurons that fire once are taken a few vectors at a time through all events of a sample (`first_spikes`); the times that
they fire at are then solved together (`solve`). Those without a limit are taken all together through the events in
order: per synaptic event the vectorised loop does the two multiply-adds of the accumulation plus a threshold test of
one multiply-add, a subtraction and a maximum. Four events are taken per sweep so that p and q are loaded and stored
once for four rows of weights (one event per sweep costs half as much again, although then no neuron has to be
replayed). The test is the bound of `first_spikes`; neurons that pass are replayed (`many_spikes`).
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.bits import list_flags
from eventsnn.kernels.constants import (
    CROSS,
    GAIN,
    OFF,
    P_ONE,
    P_OTHER,
    REFERENCE,
    RISE,
    STATUS_BUFFER_FULL,
    STATUS_NOT_FINITE,
    STATUS_OK,
    TIME,
    X_NEXT,
)
from eventsnn.kernels.first_spikes import (
    MOST_HITS,
    WIDTH,
    find_first_spikes,
    first_crossings_at_end,
    move_reference,
)
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.many_spikes import flag_late, sort_trace, spikes_at_end, spikes_of_sweep
from eventsnn.kernels.solve import solve_found
from eventsnn.kernels.sorting import sort_events
from eventsnn.kernels.spike_time import FAMILY_DOUBLE

_SWEEP = 4


@kernel(fastmath={"contract"})
def _sweep(weight, j0, j1, j2, j3, values, k, last, theta, work, now, new, flags):
    """Take in the events k .. last (four at most; the same row again with factor 0 for fewer).

    p, q are read from the rows now, now + 1 and written to new, new + 1; flags[n] marks the neurons that may have
    crossed in between.
    """
    k1, k2, k3 = min(k + 1, last), min(k + 2, last), min(k + 3, last)
    zero = values.dtype.type(0.0)
    c0, g0, x0, bound0 = values[CROSS, k], values[GAIN, k], values[X_NEXT, k], values[RISE, k] * theta
    c1, g1, x1, bound1 = values[CROSS, k1], values[GAIN, k1], values[X_NEXT, k1], values[RISE, k1] * theta
    c2, g2, x2, bound2 = values[CROSS, k2], values[GAIN, k2], values[X_NEXT, k2], values[RISE, k2] * theta
    c3, g3, x3, bound3 = values[CROSS, k3], values[GAIN, k3], values[X_NEXT, k3], values[RISE, k3] * theta
    if k + 1 > last:
        c1, g1 = zero, zero
    if k + 2 > last:
        c2, g2 = zero, zero
    if k + 3 > last:
        c3, g3 = zero, zero
    for n in range(weight.shape[1]):
        a = work[now, n] + weight[j0, n] * c0
        b = work[now + 1, n] + weight[j0, n] * g0
        top = (a + b * x0) - bound0
        a += weight[j1, n] * c1
        b += weight[j1, n] * g1
        value = (a + b * x1) - bound1
        top = value if value > top else top
        a += weight[j2, n] * c2
        b += weight[j2, n] * g2
        value = (a + b * x2) - bound2
        top = value if value > top else top
        a += weight[j3, n] * c3
        b += weight[j3, n] * g3
        value = (a + b * x3) - bound3
        top = value if value > top else top
        work[new, n] = a
        work[new + 1, n] = b
        flags[n] = top > work[OFF, n]


@kernel(fastmath={"contract", "reassoc"})
def _total(work, now, n_post):
    """Sum of all coefficients: finite only if all are."""
    total = 0.0
    for n in range(n_post):
        total += np.float64(work[now, n]) + np.float64(work[now + 1, n])
    return total


@kernel(fastmath={"contract"})
def _flag_peaks(constants, work, n_post, now, flags):
    """Flag the neurons whose peak may reach threshold after the last event.

    tau_mem == 2 tau_syn has a cheap exact form, u_peak = (p + tau_mem q)^2/(4 tau_mem q); the slack covers float32.
    Other ratios: all neurons with i_syn > 0.
    """
    real = work.dtype.type
    if constants.family == FAMILY_DOUBLE:
        tau_mem, factor = real(constants.tau_mem), real(4.0 * constants.tau_mem * constants.theta * (1.0 - 1e-5))
        for n in range(n_post):
            b = work[now, n] + tau_mem * work[now + 1, n]
            flags[n] = b * b - factor * work[now + 1, n] > work[OFF, n]
    else:
        for n in range(n_post):
            flags[n] = work[now + 1, n] > work[OFF, n]


@kernel(allocates=True)
def layer_forward(constants, weight, events, first, factors, work, flags, words, found, record, out, trace):
    """Simulate the samples `first` and later of a block.

    Returns (status, sample): STATUS_OK, or what went wrong and in which sample. All samples before it are finished:
    with more room in `out`, and what it holds already, go on from there.

    Parameters
    ----------
    constants : LayerConstants (theta > 0)
    weight : (n_pre, n_post), float32 or float64
    events : InputEvents; factors : Factors of the same events
    work : weight.dtype, (WORK_ROWS, n_post)
    flags : uint8, n_post rounded up to a multiple of 8, zero beyond n_post; words : its memory as uint64
    found : FoundSpikes with room for n_post
    record : SpikeRecord of (n_samples, n_post), filled when max_spikes == 1
    out : OutputEvents, filled in canonical order from offsets[first] on
    trace : float64, (TRACE_ROWS, capacity of out), filled alike where max_spikes > 1; of width 0 when not wanted

    Notes
    -----
    The state at the start is zero (v = v_leak, no bias current). Simultaneous inputs are summed before the threshold is
    tested: the interval between them is empty. The last event of a sample opens an interval without a next event,
    which is looked at neuron by neuron.
    """
    n_post = weight.shape[1]
    only_first = constants.max_spikes == 1
    flagged, counts, rows = np.empty(flags.size + 1, np.int64), np.zeros(n_post, np.int64), np.empty(n_post, np.int32)
    spare_times, spare_neurons = np.empty(n_post), np.empty(n_post, np.int64)
    heads, ends = np.empty(n_post + 1, np.int64), np.empty((3, _SWEEP + 1))
    theta, longest = weight.dtype.type(constants.theta), 0
    for b in range(first, events.offsets.size - 1):
        longest = max(longest, events.offsets[b + 1] - events.offsets[b])
    scratch = (
        np.empty((3, longest if only_first else 0), weight.dtype), np.empty(2, np.int64),
        np.empty((MOST_HITS, 3), np.int64), np.empty((MOST_HITS, 2, WIDTH), weight.dtype),
    )  # fmt: skip
    offsets, neurons = events.offsets, events.neurons
    values, clock = factors.values, factors.clock
    found_floats, found_bits, found_places = found.floats, found.bits, found.places
    out_offsets, out_times, out_neurons, first_time = out.offsets, out.times, out.neurons, record.time
    written = out_offsets[first]
    for b in range(first, offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        while end > start and clock[TIME, end - 1] > constants.t_end:
            end -= 1
        first_out, n_found, now, new = written, 0, P_ONE, P_OTHER
        work[:4] = 0.0
        work[OFF] = 0.0
        counts[:] = 0
        first_time[b] = np.inf
        k = start
        if only_first:
            n_found = find_first_spikes(
                constants, weight, neurons, clock, values, start, end, scratch, work, found_floats, found_places
            )
            if n_found < 0:
                return STATUS_NOT_FINITE, b
            k = end
        while k < end:
            reference = clock[REFERENCE, k]
            if k > start and reference != clock[REFERENCE, k - 1]:
                shift = reference - clock[REFERENCE, k - 1]
                move_reference(work, now, 0, n_post, shift, constants.tau_mem, constants.tau_syn, constants.delta)
            last = k
            while last + 1 < end and last + 1 < k + _SWEEP and clock[REFERENCE, last + 1] == reference:
                last += 1
            _sweep(
                weight, neurons[k], neurons[min(k + 1, last)], neurons[min(k + 2, last)], neurons[last],
                values, k, last, theta, work, now, new, flags,
            )  # fmt: skip
            n_flagged = list_flags(words, flagged, 0)
            if n_flagged > 0:
                stop = min(last + 1, end - 1)  # the interval after the sample's last event comes later
                written = spikes_of_sweep(
                    constants, weight, neurons, clock, values, k, stop, flagged, n_flagged, work, now, new,
                    found_floats, rows, found_places, ends, counts, out_times, out_neurons, trace, written,
                )  # fmt: skip
                if written < 0:
                    return STATUS_BUFFER_FULL, b
            now, new = new, now
            k = last + 1
        if not math.isfinite(_total(work, now, n_post)):
            return STATUS_NOT_FINITE, b
        if end > start:
            if only_first:
                _flag_peaks(constants, work, n_post, now, flags)
                n_flagged = list_flags(words, flagged, 0)
                n_found = first_crossings_at_end(
                    constants, clock, values, end - 1, flagged, n_flagged, work, found_floats, found_places, n_found
                )  # fmt: skip
            else:
                flag_late(constants, clock[TIME, end - 1] - clock[REFERENCE, end - 1], work, n_post, now, flags)
                n_flagged = list_flags(words, flagged, 0)
                written = spikes_at_end(
                    constants, clock, end - 1, flagged, n_flagged, work, now, ends, counts, out_times, out_neurons,
                    trace, written,
                )  # fmt: skip
                if written < 0:
                    return STATUS_BUFFER_FULL, b
        if only_first:
            if out_times.size < written + n_found:
                return STATUS_BUFFER_FULL, b
            written = solve_found(
                constants, clock, found_floats, found_bits, found_places, n_found, b, record, out_times, out_neurons,
                written,
            )  # fmt: skip
        size = written - first_out
        if size > spare_times.size:
            spare_times, spare_neurons = np.empty(2 * size), np.empty(2 * size, np.int64)
            heads = np.empty(2 * size + 1, np.int64)
        sort_events(out_times, out_neurons, spare_times, spare_neurons, heads, first_out, size)
        if trace.shape[1] > 0 and not only_first:
            sort_trace(out_neurons, trace, first_out, written)
        out_offsets[b + 1] = written
    return STATUS_OK, -1
