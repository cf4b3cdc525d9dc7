"""Maximum over time of the potentials of leaky integrators, and its gradient, for a layer with shared parameters.

A readout has few neurons (classes) and many input events, so what is vectorised is `LANES` neurons at a time: weights
come as (n_pre, n_chunks, LANES), padded with zeros. The search is that of `highest`; the maximum may also be the value
at rest (u = 0, before any input).

By the envelope theorem a maximum at rest, inside an interval or at t_end has

    du/dw_j = k(t - t_j),      du/dt_j = -w_j k'(t - t_j),      k(s) = exp(-s/tau_mem) x(s)/tau_mem

for the inputs j before the maximum, and nothing from the motion of the maximum. A kink moves with its arrival: du/ds on
its left goes to that event, whose own weight does not act yet. The sums over j are of rank two in (input, neuron) as in
`layer_backward`.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import CROSS, GAIN, REFERENCE, STATUS_NOT_FINITE, STATUS_OK, TIME
from eventsnn.kernels.flow import synaptic_kernel
from eventsnn.kernels.highest import LANES, P, Q, enter_highest, find_highest
from eventsnn.kernels.jit import kernel

#: Parts of the work array of a chunk, LANES numbers each (in one dimension, as in `highest`): h exp(-s/tau_mem) x,
#: h exp(-s/tau_mem) and h exp(-s/tau_syn) with h = dL/du, s the time of the maximum
A, B, FADE = 0, LANES, 2 * LANES
BACKWARD_WORK = 3 * LANES


@kernel
def readout_max(constants, weight, events, factors, work, best, record, height):
    """Highest u = v - v_inf of every neuron from t = 0 to constants.t_end: (status, sample) as in `layer_forward`.

    Parameters
    ----------
    constants : LayerConstants; t_end may be inf, what has to do with spikes is not read
    weight : (n_pre, n_chunks, LANES), float32 or float64, padded with zeros
    events : InputEvents; factors : Factors of the same events
    work : weight.dtype, (HIGHEST_WORK,); best : int64, (LANES,); scratch
    record : SpikeRecord of float64 arrays (n_samples, n_chunks LANES), filled: time of the maximum (0 for the value at
        rest), decay_mem and warped there, slope minus du/ds on the left of a kink (0 for all others), causal_end
        the end of the events before it (offsets[sample] for the value at rest)
    height : float64, (n_samples, n_chunks LANES), filled with the maxima

    Notes
    -----
    Inputs at t_end or later have no effect. Simultaneous inputs are summed before anything is compared.
    """
    offsets, neurons, clock = events.offsets, events.neurons, factors.clock
    times, decays, warped, slopes, causal_ends = record
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        while end > start and clock[TIME, end - 1] >= constants.t_end:
            end -= 1
        for c in range(weight.shape[1]):
            find_highest(constants, weight, c, neurons, factors, start, end, work, best)
            total = 0.0
            for i in range(LANES):
                total += np.float64(work[P + i]) + np.float64(work[Q + i])
            if not math.isfinite(total):
                return STATUS_NOT_FINITE, b
            for i in range(LANES):
                n = c * LANES + i
                if best[i] >= 0:
                    enter_highest(
                        constants, weight, c, i, neurons, factors, start, end, work, best[i], b, n, record, height
                    )
                else:
                    times[b, n], decays[b, n], warped[b, n], slopes[b, n] = 0.0, 1.0, 0.0, 0.0
                    causal_ends[b, n], height[b, n] = start, 0.0
    return STATUS_OK, -1


@kernel(fastmath={"contract", "reassoc"}, inline=True)
def _give_back(weight, d_weight, j, gain, cross, rate, work):
    """Add the gradient of event j to its row of `d_weight`; returns dL/dt of the event.

    The inner loop has LANES steps, but LLVM must not know: it would write them out one by one and not vectorise them.
    """
    real = weight.dtype.type
    along, fading = real(0.0), real(0.0)
    for c in range(weight.shape[1]):
        own = BACKWARD_WORK * c
        for i in range(weight.shape[2]):
            g = work[own + A + i] * gain + work[own + B + i] * cross
            along += weight[j, c, i] * g
            fading += weight[j, c, i] * work[own + FADE + i]
            d_weight[j, c, i] += g
    return along * rate - gain * fading


@kernel
def _move_reference_back(work, shift, tau_mem, tau_syn, delta):
    """Transpose of `_move_reference`."""
    real = work.dtype.type
    keep = real(math.exp(-shift / tau_mem))
    mix = real(synaptic_kernel(shift, tau_mem, tau_syn, delta))
    fade = real(math.exp(-shift / tau_syn))
    for own in range(0, work.size, BACKWARD_WORK):
        for i in range(own, own + LANES):
            work[A + i] = work[A + i] * fade + work[B + i] * mix
            work[B + i] *= keep
            work[FADE + i] *= fade


@kernel
def readout_max_backward(
    constants, weight, events, factors, record, d_height, by_event, following, work, d_weight, d_times
):
    """Add the weight gradient to `d_weight`, and write dL/dt of every input event to `d_times`.

    Parameters
    ----------
    constants, weight, events, factors, record : as in the forward pass
    d_height : float64, (n_samples, n_chunks LANES); dL/du of the maxima, 0 in the padding
    by_event : int64, room for the events of the longest sample; following : int64, (n_chunks LANES,); scratch
    work : weight.dtype, (n_chunks BACKWARD_WORK,)
    d_weight : weight.dtype, the shape of `weight`; added to
    d_times : float64, (n_events,), overwritten; of size 0 when not wanted
    """
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    real = weight.dtype.type
    rate = real(1.0 / tau_mem)
    want_times = d_times.size > 0
    offsets, neurons, clock, values = events.offsets, events.neurons, factors.clock, factors.values
    decay_mem, warped, slopes, causal_end = record.decay_mem, record.warped, record.slope, record.causal_end
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        if want_times:
            d_times[start:end] = 0.0
        by_event[: end - start] = -1
        work[:] = real(0.0)
        latest = start
        for n in range(following.size):
            last = causal_end[b, n] - 1
            if d_height[b, n] == 0.0 or last < start:
                continue
            following[n] = by_event[last - start]
            by_event[last - start] = n
            latest = max(latest, last + 1)
            if want_times and slopes[b, n] < 0.0:
                d_times[last + 1] -= d_height[b, n] * slopes[b, n]  # a kink moves with its event
        for k in range(latest - 1, start - 1, -1):
            if k + 1 < latest and clock[REFERENCE, k + 1] != clock[REFERENCE, k]:
                shift = clock[REFERENCE, k + 1] - clock[REFERENCE, k]
                _move_reference_back(work, shift, tau_mem, tau_syn, delta)
            n = by_event[k - start]
            while n >= 0:
                i, x = BACKWARD_WORK * (n // LANES) + n % LANES, warped[b, n]
                flow = d_height[b, n] * decay_mem[b, n]
                work[A + i], work[B + i] = flow * x, flow
                work[FADE + i] = flow * (1.0 - delta * x)  # exp(-s/tau_syn)
                n = following[n]
            d_time = _give_back(weight, d_weight, neurons[k], values[GAIN, k], values[CROSS, k], rate, work)
            if want_times:
                d_times[k] += d_time
