"""All spikes of the flagged neurons of a sweep, for layers without a limit on spikes.

u = v - v_inf between two events rises to one peak at most. So if it is below threshold at the beginning and above it at
the end (of the interval, or at the peak inside it), it crosses once, and Halley's iteration from the parabola at the
beginning finds the place in two steps. The neurons that do so in one interval, nearly all, are solved together in a
vectorised loop; what peaks inside, fires twice or takes longer is solved alone, and what lies too close to threshold
for plain arithmetic is decided by `crossing`.

When a spike comes does not depend, to the last bit, on where its interval ends or whether it was solved alone: both
use `short_rise`, compiled without fused operations.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import CROSS, GAIN, OFF, REFERENCE, SPIKE_DECAY, SPIKE_SLOPE, SPIKE_WARPED, TIME
from eventsnn.kernels.crossing import crosses
from eventsnn.kernels.flow import exp_or_inf, extremum_time, synaptic_kernel, warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.rise import is_near, parabola, rise_to, short_rise
from eventsnn.kernels.solve import highest_peak
from eventsnn.kernels.spike_time import spike_time

#: Relative distance from threshold beyond which plain arithmetic decides: far above its rounding errors in float64.
_CLEAR = 1e-7
#: The same for the bound on what comes after the last event, whose p and q may be float32.
_CLEARLY_BELOW = 1e-4
#: Where |delta| tau_syn is smaller (but not 0), the closed form of a peak loses digits to its large exponent.
_NEARLY_EQUAL = 1e-4
#: float64 numbers of the widest vectors
_VECTOR = 8
#: state of a neuron in an interval
_NONE, _RISES, _DOUBTFUL = 0, 1, 2
#: bits for the place of a spike in the buffers: neurons have the other 27 of 63
_PLACE_BITS = 36
#: first of the rows of a trace that are in the order of finding
_FOUND = 3
#: rows of `ends`: an event's time s from its reference, warp(s) and exp(-s/tau_mem)
AT, WARPED_AT, DECAY_AT = 0, 1, 2
#: rows of `scratch`: p, q, a weight, u at the beginning and what resets took away, of the flagged neurons; then u and
#: i_syn/tau_mem at the beginning, and the time, its warp and its decay, of those that rise through threshold
_P, _Q, _W, _HERE, _TAKEN, _U, _I, _H, _X, _DECAY = range(10)


@kernel(inline=True)
def _stays_below(end, i_end, width, limit, rate, delta):
    """Whether u, below `limit` at both ends of an interval and i_syn > 0, is so in between for certain.

    It has no peak inside if it still rises at the end. Else it lies below its tangent there if it is concave there, as
    it has been before.
    """
    slope = i_end - end * rate
    return (slope > 0.0) | ((i_end * (delta + rate) + slope * rate > 0.0) & (end - slope * width < limit))


@kernel
def _crosses_after(constants, p, q, s, s_high, here, i_here, end, i_end, doubt):
    """Whether u, i_syn > 0, crosses in (s, s_high]: by its values at both ends and at the peak, exactly if in doubt."""
    tau_mem, tau_syn, delta, theta = constants.tau_mem, constants.tau_syn, constants.delta, constants.theta
    if here < theta - doubt:
        if end > theta + doubt:
            return True
        if end < theta - doubt:
            if _stays_below(end, i_end, s_high - s, theta - doubt, 1.0 / tau_mem, delta) or i_here <= here / tau_mem:
                return False
            if delta == 0.0 or abs(delta) * tau_syn > _NEARLY_EQUAL:
                top = highest_peak(constants, p, q)  # inside: u rises at s and does not at s_high
                if top < theta - doubt:
                    return False
                if theta + doubt < top < math.inf:
                    return True
    return crosses(p, q, theta, tau_mem, tau_syn, delta, s, s_high)


@kernel(inline=True)
def _write(constants, q, s, x, decay, reference, n, times, neurons, trace, written):
    """Enter a spike; with a trace (see `sort_trace`) the neuron carries the place where it was written."""
    times[written] = reference + s
    neurons[written] = n
    if trace.shape[1] > 0:
        neurons[written] = (n << _PLACE_BITS) | written
        slope = q * (1.0 - constants.delta * x) * decay - constants.theta / constants.tau_mem
        trace[_FOUND + SPIKE_SLOPE, written] = slope
        trace[_FOUND + SPIKE_WARPED, written] = x
        trace[_FOUND + SPIKE_DECAY, written] = decay


@kernel
def sort_trace(neurons, trace, first, stop):
    """Bring the trace of the spikes first : stop into their order, which is sorted by now; undo `_write`'s places.

    A neuron number with the place behind it sorts as the number alone.
    """
    for i in range(first, stop):
        place = neurons[i] & ((1 << _PLACE_BITS) - 1)
        neurons[i] >>= _PLACE_BITS
        for row in range(3):
            trace[row, i] = trace[_FOUND + row, place]


@kernel
def _spikes_between(constants, p, q, s, x, decay, ends, k, reference, count, n, times, neurons, trace, written):
    """All spikes of a neuron with i_syn > 0 from (s, x, decay) to ends[:, k + 1].

    Returns the new p, its spike count and `written` (-1: the buffers are full).
    """
    theta, tau_mem, tau_syn, delta = constants.theta, constants.tau_mem, constants.tau_syn, constants.delta
    s_high, x_high, decay_high = ends[AT, k + 1], ends[WARPED_AT, k + 1], ends[DECAY_AT, k + 1]
    endless = decay_high == 0.0
    i_high = 0.0 if endless else q * (1.0 - delta * x_high) * decay_high
    while count < constants.max_spikes:
        here = (p + q * x) * decay
        end = 0.0 if endless else (p + q * x_high) * decay_high
        doubt = _CLEAR * (theta + (abs(p) + q * x) * decay)
        i_here = q * (1.0 - delta * x) * decay
        if not _crosses_after(constants, p, q, s, s_high, here, i_here, end, i_high, doubt):
            break
        if written == times.size:
            return p, count, -1
        h, x_step, decay_step = math.nan, 0.0, 1.0
        if here < theta - doubt:
            if is_near(parabola(here, i_here, theta, 1.0 / tau_mem, delta), 1.0 / tau_mem, delta):
                h, x_step, decay_step = short_rise(here, i_here, theta, tau_mem, delta)
            if not h > 0.0:
                h, x_step, decay_step = rise_to(here, i_here, theta, tau_mem, delta)
        if h > 0.0:
            s = min(s + h, s_high)
            x += (1.0 - delta * x) * x_step
            decay *= decay_step
        else:
            s = spike_time(p, q, theta, tau_mem, tau_syn, delta, constants.family, s, s_high)
            x, decay = warp(s, delta), math.exp(-s / tau_mem)
        _write(constants, q, s, x, decay, reference, n, times, neurons, trace, written)
        written += 1
        count += 1
        p -= constants.reset_jump / decay
    return p, count, written


@kernel
def _set_end(constants, s, ends, k):
    ends[AT, k], ends[WARPED_AT, k] = s, warp(s, constants.delta)
    ends[DECAY_AT, k] = exp_or_inf(-s / constants.tau_mem)


@kernel(fastmath={"contract"})
def _step(scratch, size, cross, gain):
    """One event for the gathered neurons, in the arithmetic of the sweep."""
    for i in range(size):
        scratch[_P, i] += scratch[_W, i] * cross
        scratch[_Q, i] += scratch[_W, i] * gain


@kernel
def _classify(constants, scratch, size, ends, k, states):
    """Which of the gathered neurons rise through threshold from ends[:, k] to ends[:, k + 1], in `states`."""
    theta, delta = constants.theta, constants.delta
    x_low, decay_low = ends[WARPED_AT, k], ends[DECAY_AT, k]
    x_high, decay_high = ends[WARPED_AT, k + 1], ends[DECAY_AT, k + 1]
    drive, width, rate = (1.0 - delta * x_high) * decay_high, ends[AT, k + 1] - ends[AT, k], 1.0 / constants.tau_mem
    bound = theta / decay_low * (1.0 - _CLEAR)
    for i in range(size):
        p, q = scratch[_P, i], scratch[_Q, i]
        top = p + q * x_high
        here, end = (p + q * x_low) * decay_low, top * decay_high
        doubt = _CLEAR * (theta + (abs(p) + q * x_low) * decay_low)
        possible = (q > 0.0) & (top > bound)
        below, low_end = here < theta - doubt, end < theta - doubt
        rises = below & (end > theta + doubt)
        no_peak = below & low_end & _stays_below(end, q * drive, width, theta - doubt, rate, delta)
        scratch[_HERE, i] = here
        states[i] = (_RISES if rises else (_NONE if no_peak else _DOUBTFUL)) if possible else _NONE


@kernel
def _rise_together(scratch, size, theta, tau_mem, delta):
    for i in range(size):
        h, x, decay = short_rise(scratch[_U, i], scratch[_I, i], theta, tau_mem, delta)
        scratch[_H, i] = h
        scratch[_X, i] = x
        scratch[_DECAY, i] = decay


@kernel
def _spikes_of_interval(
    constants, scratch, states, places, flagged, n_flagged, ends, k, reference, counts, times, neurons, trace,
    written,
):  # fmt: skip
    """All spikes of the gathered neurons between ends[:, k] and ends[:, k + 1]; returns `written`.

    places: int64, (2, n_post); scratch
    """
    theta, tau_mem, delta = constants.theta, constants.tau_mem, constants.delta
    s_low, x_low, decay_low = ends[AT, k], ends[WARPED_AT, k], ends[DECAY_AT, k]
    s_high, x_high, decay_high = ends[AT, k + 1], ends[WARPED_AT, k + 1], ends[DECAY_AT, k + 1]
    _classify(constants, scratch, n_flagged, ends, k, states)
    n_rising, n_doubtful = 0, 0
    for i in range(n_flagged):
        places[0, n_rising] = i
        n_rising += states[i] == _RISES
        places[1, n_doubtful] = i
        n_doubtful += states[i] == _DOUBTFUL
    drive, drive_high, rate = (1.0 - delta * x_low) * decay_low, (1.0 - delta * x_high) * decay_high, 1.0 / tau_mem
    limit = theta * (1.0 - _CLEAR)
    for j in range(n_rising):
        i = places[0, j]
        scratch[_U, j], scratch[_I, j] = scratch[_HERE, i], scratch[_Q, i] * drive
    # full vectors: what remains of a vectorised loop is taken one by one, and ten neurons rise in a typical interval
    padded = min(-(-n_rising // _VECTOR) * _VECTOR, counts.size)
    for j in range(n_rising, padded):
        scratch[_U, j], scratch[_I, j] = scratch[_U, 0], scratch[_I, 0]
    _rise_together(scratch, padded, theta, tau_mem, delta)
    for j in range(n_rising + n_doubtful):
        i = places[0, j] if j < n_rising else places[1, j - n_rising]
        n = flagged[i]
        p, q, s, x, decay = scratch[_P, i], scratch[_Q, i], s_low, x_low, decay_low
        before, count, more = p, counts[n], True
        if j < n_rising and scratch[_H, j] > 0.0:
            if written == times.size:
                return -1
            s = min(s + scratch[_H, j], s_high)
            x += (1.0 - delta * x) * scratch[_X, j]
            decay *= scratch[_DECAY, j]
            _write(constants, q, s, x, decay, reference, n, times, neurons, trace, written)
            written += 1
            count += 1
            p -= constants.reset_jump / decay
            end = (p + q * x_high) * decay_high
            more = not (end < limit and _stays_below(end, q * drive_high, s_high - s, limit, rate, delta))
        if more:
            p, count, written = _spikes_between(
                constants, p, q, s, x, decay, ends, k, reference, count, n, times, neurons, trace, written
            )
            if written < 0:
                return written
        counts[n] = count
        scratch[_TAKEN, i] += before - p
        scratch[_P, i] = p if count < constants.max_spikes else -np.inf
    return written


@kernel
def spikes_of_sweep(
    constants, weight, neurons, clock, values, first, stop, flagged, n_flagged, work, now, new, scratch, states,
    places, ends, counts, out_times, out_neurons, trace, written,
):  # fmt: skip
    """All spikes of the flagged neurons in the events first : stop; resets go to row `new`. Returns `written`.

    `work` is the forward pass's array (dtype of the weights): p and q before the sweep in the rows now, now + 1.
    Scratch: scratch float64, (10, n_post); states (n_post,); places int64, (2, n_post); ends float64,
    (3, >= stop - first + 1).
    """
    reference = clock[REFERENCE, first]
    for e in range(first, stop + 1):
        _set_end(constants, clock[TIME, e] - reference, ends, e - first)
    for i in range(n_flagged):
        n = flagged[i]
        scratch[_P, i], scratch[_Q, i], scratch[_TAKEN, i] = work[now, n], work[now + 1, n], 0.0
    for e in range(first, stop):
        j = neurons[e]
        for i in range(n_flagged):
            scratch[_W, i] = weight[j, flagged[i]]
        _step(scratch, n_flagged, values[CROSS, e], values[GAIN, e])
        if clock[TIME, e + 1] > clock[TIME, e]:  # else simultaneous: summed first
            written = _spikes_of_interval(
                constants, scratch, states, places, flagged, n_flagged, ends, e - first, reference, counts, out_times,
                out_neurons, trace, written,
            )  # fmt: skip
            if written < 0:
                return written
    for i in range(n_flagged):
        n = flagged[i]
        work[new, n] -= scratch[_TAKEN, i]
        if counts[n] >= constants.max_spikes:
            work[OFF, n] = np.inf
    return written


@kernel(fastmath={"contract"})
def flag_late(constants, s, work, n_post, now, flags):
    """Flag the neurons that may still come to threshold after the last event, at time s from the reference.

    A neuron that rises there (du/ds = i - u/tau_mem > 0) from u <= 0 stays below i max k, k the synaptic kernel. From
    u > 0 it stays below what it would reach if the leak remained as it is: with r = u/(tau_mem i) < 1,

        u + tau_syn i (1 - r) + u (tau_syn/tau_mem) log r,   log r <= -(1 - r) - (1 - r)^2/2.
    """
    real = work.dtype.type
    delta, rate, tau_syn = constants.delta, real(1.0 / constants.tau_mem), real(constants.tau_syn)
    s_top = extremum_time(0.0, 1.0, constants.tau_mem, constants.tau_syn, delta)
    highest = real(synaptic_kernel(s_top, constants.tau_mem, constants.tau_syn, delta))
    decay, x = real(math.exp(-s / constants.tau_mem)), real(warp(s, delta))
    fade = real(decay * (1.0 - delta * x))
    bound, zero, half = real(constants.theta * (1.0 - _CLEARLY_BELOW)), real(0.0), real(0.5)
    for n in range(n_post):
        q = work[now + 1, n]
        u, i = (work[now, n] + q * x) * decay, q * fade
        leak = u * rate
        gap = (i - leak) / i
        top = u + gap * tau_syn * (i - leak - half * leak * gap) if u > zero else i * highest
        flags[n] = (q > zero) & (gap > zero) & (top > bound + work[OFF, n])


@kernel
def spikes_at_end(
    constants, clock, e, flagged, n_flagged, work, now, ends, counts, out_times, out_neurons, trace, written
):  # fmt: skip
    """As `spikes_of_sweep`, for the interval after the sample's last event e."""
    reference = clock[REFERENCE, e]
    _set_end(constants, clock[TIME, e] - reference, ends, 0)
    _set_end(constants, constants.t_end - reference, ends, 1)
    for i in range(n_flagged):
        n = flagged[i]
        _, counts[n], written = _spikes_between(
            constants, np.float64(work[now, n]), np.float64(work[now + 1, n]), ends[AT, 0], ends[WARPED_AT, 0],
            ends[DECAY_AT, 0], ends, 0, reference, counts[n], n, out_times, out_neurons, trace, written,
        )  # fmt: skip
        if written < 0:
            break
    return written
