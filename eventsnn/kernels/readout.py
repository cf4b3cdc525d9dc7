"""Maximum over time of the potentials of leaky integrators, and its gradient, for a layer with shared parameters.

A readout has few neurons (classes) and many input events, so what is vectorised is `LANES` neurons at a time: weights
come as (n_pre, n_chunks, LANES), padded with zeros. Per synaptic event the forward pass does the two
multiply-adds of the accumulation and a test of a few more operations. With u = v - v_inf = exp(-s/tau_mem)(p + q x):

    u <= exp(-s_k/tau_mem) max(p + q x_k, p + q x_{k+1})     between the events k and k + 1
    du/ds <= 0 at s    where p + q x >= tau_mem (1 - delta x) q

An interval can hold a new maximum only if that bound exceeds the highest value so far and u falls at its end (where it
rises, a later interval sees a higher value). The height of such a candidate needs no logarithm; only the time of the
winner is solved for.

The maximum is the value at rest (u = 0, before any input), a peak inside an interval, a kink at an arrival that turned
the rise into a fall, or the value at t_end. By the envelope theorem the first two and the last have

    du/dw_j = k(t - t_j),      du/dt_j = -w_j k'(t - t_j),      k(s) = exp(-s/tau_mem) x(s)/tau_mem

for the inputs j before the maximum, and nothing from the motion of the maximum. A kink moves with its arrival: du/ds on
its left goes to that event, whose own weight does not act yet. The sums over j are of rank two in (input, neuron) as in
`layer_backward`.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import (
    CROSS,
    GAIN,
    REFERENCE,
    RISE,
    STATUS_NOT_FINITE,
    STATUS_OK,
    TIME,
    WARPED,
    X_NEXT,
)
from eventsnn.kernels.flow import membrane, peak_time, slope, synaptic_kernel, warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.solve import highest_peak

#: neurons that are taken together
LANES = 16

#: rows of the work array: coefficients p and q, highest u so far, and the coefficients in the interval it lies in
P, Q, HIGH, BEST_P, BEST_Q = 0, 1, 2, 3, 4
READOUT_ROWS = 5
#: backwards: h exp(-s/tau_mem) x, h exp(-s/tau_mem) and h exp(-s/tau_syn) with h = dL/du, s the time of the maximum
A, B, FADE = 0, 1, 2


@kernel(fastmath={"contract"}, inline=True)
def _take_in(weight, j, gain, cross, x_here, x_next, rise, steep, work, flags):
    """Add event j to all coefficients; flag the neurons that may have a new maximum before the next event."""
    found = np.uint8(0)
    for c in range(weight.shape[1]):
        for i in range(LANES):
            p = work[P, c, i] + weight[j, c, i] * cross
            q = work[Q, c, i] + weight[j, c, i] * gain
            here, there = p + q * x_here, p + q * x_next
            top = there if there > here else here
            flag = np.uint8((top > work[HIGH, c, i] * rise) & (there >= steep * q))
            flags[c, i] = flag
            found |= flag
            work[P, c, i] = p
            work[Q, c, i] = q
    return found


@kernel
def _move_reference(work, shift, tau_mem, tau_syn, delta):
    """Express all coefficients with respect to a reference time later by `shift`."""
    real = work.dtype.type
    keep = real(math.exp(-shift / tau_mem))
    mix = real(synaptic_kernel(shift, tau_mem, tau_syn, delta))
    fade = real(math.exp(-shift / tau_syn))
    for c in range(work.shape[1]):
        for i in range(LANES):
            work[P, c, i] = work[P, c, i] * keep + work[Q, c, i] * mix
            work[Q, c, i] *= fade


@kernel
def _keep_if_higher(constants, work, c, i, k, rise, x_here, s_end, best):
    """Enter the highest value of the interval that begins with event k if it exceeds all before.

    s_end : the end of the interval where u may still rise there; inf otherwise, or if there is none
    """
    tau_mem, delta = constants.tau_mem, constants.delta
    p, q = np.float64(work[P, c, i]), np.float64(work[Q, c, i])
    here = p + q * x_here
    if q <= 0.0 or here >= tau_mem * (1.0 - delta * x_here) * q:
        u = here / rise  # from a positive u the potential falls, and a negative one cannot rise above rest
    else:
        u = highest_peak(constants, p, q)
        if u > work[HIGH, c, i] and s_end < np.inf and peak_time(p, q, tau_mem, constants.tau_syn, delta) > s_end:
            u = membrane(s_end, p, q, tau_mem, delta)
    if u > work[HIGH, c, i] and u < np.inf:
        work[HIGH, c, i] = u
        work[BEST_P, c, i] = p
        work[BEST_Q, c, i] = q
        best[c, i] = k


@kernel
def _enter_maximum(constants, weight, neurons, clock, work, c, i, k, start, end, b, record, height):
    """Time, value and what the backward pass needs of the maximum in the interval that begins with event k."""
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    times, decays, warped, slopes, causal_ends = record
    n = c * LANES + i
    if k < 0:
        times[b, n], decays[b, n], warped[b, n], slopes[b, n] = 0.0, 1.0, 0.0, 0.0
        causal_ends[b, n], height[b, n] = start, 0.0
        return
    p, q = np.float64(work[BEST_P, c, i]), np.float64(work[BEST_Q, c, i])
    reference, causal_end, left = clock[REFERENCE, k], k + 1, 0.0
    s_low = clock[TIME, k] - reference
    s = peak_time(p, q, tau_mem, tau_syn, delta) if q > 0.0 else -np.inf
    if s <= s_low:
        s, left = s_low, slope(s_low, p, q, tau_mem, tau_syn, delta)
        while causal_end > start and clock[TIME, causal_end - 1] == clock[TIME, k]:
            causal_end -= 1
            left -= np.float64(weight[neurons[causal_end], c, i]) / tau_mem
    else:
        s = min(s, (constants.t_end if k + 1 == end else clock[TIME, k + 1]) - reference)
    decay, x = math.exp(-s / tau_mem), warp(s, delta)
    height[b, n] = decay * (p + q * x)
    times[b, n] = reference + s
    slopes[b, n] = -max(left, 0.0)
    if clock[REFERENCE, causal_end - 1] != reference:  # a kink at the event that moved the reference
        s += reference - clock[REFERENCE, causal_end - 1]
        decay, x = math.exp(-s / tau_mem), warp(s, delta)
    decays[b, n], warped[b, n], causal_ends[b, n] = decay, x, causal_end


@kernel
def readout_max(constants, weight, events, factors, work, flags, best, record, height):
    """Highest u = v - v_inf of every neuron from t = 0 to constants.t_end: (status, sample) as in `layer_forward`.

    Parameters
    ----------
    constants : LayerConstants; t_end may be inf, what has to do with spikes is not read
    weight : (n_pre, n_chunks, LANES), float32 or float64, padded with zeros
    events : InputEvents; factors : Factors of the same events
    work : weight.dtype, (READOUT_ROWS, n_chunks, LANES); best : int64, flags : uint8, (n_chunks, LANES)
    record : SpikeRecord of float64 arrays (n_samples, n_chunks LANES), filled: time of the maximum (0 for the value at
        rest), decay_mem and warped there, slope minus du/ds on the left of a kink (0 for all others), causal_end
        the end of the events before it (offsets[sample] for the value at rest)
    height : float64, (n_samples, n_chunks LANES), filled with the maxima

    Notes
    -----
    Inputs at t_end or later have no effect. Simultaneous inputs are summed before anything is compared.
    """
    real = weight.dtype.type
    tau_mem, delta = constants.tau_mem, constants.delta
    offsets, neurons, clock, values, floats = (
        events.offsets,
        events.neurons,
        factors.clock,
        factors.values,
        factors.floats,
    )
    n_chunks = weight.shape[1]
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        while end > start and clock[TIME, end - 1] >= constants.t_end:
            end -= 1
        work[: HIGH + 1] = real(0.0)
        best[:] = -1
        for k in range(start, end):
            if k > start and clock[REFERENCE, k] != clock[REFERENCE, k - 1]:
                shift = clock[REFERENCE, k] - clock[REFERENCE, k - 1]
                _move_reference(work, shift, tau_mem, constants.tau_syn, delta)
            x_here, x_next = real(floats[WARPED, k]), values[X_NEXT, k]
            steep = real(tau_mem * (1.0 - delta * np.float64(x_next)))
            found = _take_in(
                weight, neurons[k], values[GAIN, k], values[CROSS, k], x_here, x_next, values[RISE, k], steep, work,
                flags,
            )  # fmt: skip
            if found == 0 or k + 1 == end or clock[TIME, k + 1] == clock[TIME, k]:
                continue  # the interval without an end comes below; one of no length is none
            for c in range(n_chunks):
                for i in range(LANES):
                    if flags[c, i] != 0:
                        rise, x = np.float64(values[RISE, k]), np.float64(x_here)
                        _keep_if_higher(constants, work, c, i, k, rise, x, np.inf, best)
        total = 0.0
        for c in range(n_chunks):
            for i in range(LANES):
                total += np.float64(work[P, c, i]) + np.float64(work[Q, c, i])
        if not math.isfinite(total):
            return STATUS_NOT_FINITE, b
        for c in range(n_chunks):
            for i in range(LANES):
                if end > start:
                    k = end - 1
                    rise, x = np.float64(values[RISE, k]), floats[WARPED, k]
                    _keep_if_higher(constants, work, c, i, k, rise, x, constants.t_end - clock[REFERENCE, k], best)
                _enter_maximum(
                    constants, weight, neurons, clock, work, c, i, best[c, i], start, end, b, record, height
                )  # fmt: skip
    return STATUS_OK, -1


@kernel(fastmath={"contract", "reassoc"}, inline=True)
def _give_back(weight, d_weight, j, gain, cross, rate, work):
    """Add the gradient of event j to its row of `d_weight`; returns dL/dt of the event.

    The inner loop has LANES steps, but LLVM must not know: it would write them out one by one and not vectorise them.
    """
    real = weight.dtype.type
    along, fading = real(0.0), real(0.0)
    for c in range(weight.shape[1]):
        for i in range(weight.shape[2]):
            g = work[A, c, i] * gain + work[B, c, i] * cross
            along += weight[j, c, i] * g
            fading += weight[j, c, i] * work[FADE, c, i]
            d_weight[j, c, i] += g
    return along * rate - gain * fading


@kernel
def _move_reference_back(work, shift, tau_mem, tau_syn, delta):
    """Transpose of `_move_reference`."""
    real = work.dtype.type
    keep = real(math.exp(-shift / tau_mem))
    mix = real(synaptic_kernel(shift, tau_mem, tau_syn, delta))
    fade = real(math.exp(-shift / tau_syn))
    for c in range(work.shape[1]):
        for i in range(LANES):
            work[A, c, i] = work[A, c, i] * fade + work[B, c, i] * mix
            work[B, c, i] *= keep
            work[FADE, c, i] *= fade


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
    work : weight.dtype, at least (3, n_chunks, LANES)
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
        work[: FADE + 1] = real(0.0)
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
                c, i, x = n // LANES, n % LANES, warped[b, n]
                flow = d_height[b, n] * decay_mem[b, n]
                work[A, c, i], work[B, c, i] = flow * x, flow
                work[FADE, c, i] = flow * (1.0 - delta * x)  # exp(-s/tau_syn)
                n = following[n]
            d_time = _give_back(weight, d_weight, neurons[k], values[GAIN, k], values[CROSS, k], rate, work)
            if want_times:
                d_times[k] += d_time
