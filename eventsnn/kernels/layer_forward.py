"""Forward pass of a layer whose neurons share their parameters: events in order, all postsynaptic neurons at once.

Per synaptic event the vectorised loop does the two multiply-adds of the accumulation plus a threshold test of one
multiply-add and a maximum. Four events are taken per sweep so that p and q are loaded and stored once for four rows of
weights. The test is a bound: for q > 0 the bracket p + q x only grows inside an interval, so a neuron can cross inside
it only if its value at the interval's end exceeds theta exp(s/tau_mem) at the beginning of the sweep; for q <= 0 and
theta > 0 it cannot cross. Neurons that pass are replayed alone and decided exactly; for first-spike neurons the times
of a sample are then solved together (`solve`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from eventsnn.kernels.constants import STATUS_BUFFER_FULL, STATUS_NOT_FINITE, STATUS_OK
from eventsnn.kernels.crossing import crosses
from eventsnn.kernels.flow import synaptic_kernel
from eventsnn.kernels.solve import highest_peak, solve_found
from eventsnn.kernels.sorting import sort_events
from eventsnn.kernels.spike_time import FAMILY_DOUBLE, spike_time

_SWEEP = 4
_TILE = 32
#: Relative distance from threshold beyond which plain arithmetic decides: far above its rounding errors.
_CLEAR = 1e-9


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _sweep(row0, row1, row2, row3, cross, gain, x_next, rise, p, q, p_new, q_new, threshold, margin):
    """Take in four events; margin > 0 marks the neurons that may have crossed in between."""
    c0, c1, c2, c3 = cross[0], cross[1], cross[2], cross[3]
    g0, g1, g2, g3 = gain[0], gain[1], gain[2], gain[3]
    x0, x1, x2, x3 = x_next[0], x_next[1], x_next[2], x_next[3]
    for n in range(p.size):
        a = p[n] + row0[n] * c0
        b = q[n] + row0[n] * g0
        top = a + b * x0
        a += row1[n] * c1
        b += row1[n] * g1
        value = a + b * x1
        top = value if value > top else top
        a += row2[n] * c2
        b += row2[n] * g2
        value = a + b * x2
        top = value if value > top else top
        a += row3[n] * c3
        b += row3[n] * g3
        value = a + b * x3
        top = value if value > top else top
        p_new[n] = a
        q_new[n] = b
        margin[n] = top - threshold[n] * rise


@njit(cache=True, nogil=True, error_model="numpy")
def _maximum(values):
    top = values[0]
    for n in range(values.size):
        top = values[n] if values[n] > top else top
    return top


@njit(cache=True, nogil=True, error_model="numpy")
def _collect_positive(bits, flagged):
    """Indices of the positive floats with these bits, in order, in `flagged`; returns how many.

    Read as signed integers, floats keep the sign of their order; an integer maximum per tile vectorises, and a tile
    without a positive entry costs no more than that.
    """
    found = 0
    for start in range(0, bits.size, _TILE):
        tile = bits[start : start + _TILE]
        if _maximum(tile) > 0:
            for n in range(tile.size):
                flagged[found] = start + n
                found += tile[n] > 0
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _move_reference(p, q, shift, tau_mem, tau_syn, delta):
    """Express all coefficients with respect to a reference time later by `shift`."""
    keep = p.dtype.type(math.exp(-shift / tau_mem))
    mix = p.dtype.type(synaptic_kernel(shift, tau_mem, tau_syn, delta))
    fade = p.dtype.type(math.exp(-shift / tau_syn))
    for n in range(p.size):
        p[n] = p[n] * keep + q[n] * mix
        q[n] *= fade


@njit(cache=True, nogil=True, error_model="numpy")
def _crosses(constants, p, q, s_low, s_high):
    """Exact decision for the interval (s_low, s_high]; most neurons that pass the bound fail by their highest peak."""
    if q <= 0.0 or highest_peak(constants, p, q) < constants.theta * (1.0 - _CLEAR):
        return False
    return crosses(p, q, constants.theta, constants.tau_mem, constants.tau_syn, constants.delta, s_low, s_high)


@njit(cache=True, nogil=True, error_model="numpy")
def _first_crossings(constants, weight, events, factors, first, n_rows, flagged, p, q, threshold, found, n_found):
    """Replay the flagged neurons through a sweep; those that cross go to `found` and are switched off."""
    neurons, times, reference = events.neurons, events.times, factors.reference
    gain, cross, x_next, rise = factors.gain, factors.cross, factors.x_next, factors.rise
    found_p, found_q, found_low, found_high = found.p, found.q, found.s_low, found.s_high
    found_neurons, found_events = found.neurons, found.events
    for i in range(flagged.size):
        n = flagged[i]
        pn, qn = np.float64(p[n]), np.float64(q[n])
        for e in range(first, first + n_rows):
            w = np.float64(weight[neurons[e], n])
            qn += w * gain[e]
            pn += w * cross[e]
            top = pn + qn * x_next[e]
            if not top > constants.theta * rise[e]:
                continue
            s_low, s_high = times[e] - reference[e], times[e + 1] - reference[e]
            if s_high <= s_low:
                continue  # simultaneous inputs
            # certain if the end of the interval is above threshold (known where the reference stays)
            above = constants.theta * rise[e + 1] if reference[e + 1] == reference[e] else np.inf
            if (qn > 0.0 and top > above * (1.0 + _CLEAR)) or _crosses(constants, pn, qn, s_low, s_high):
                found_p[n_found], found_q[n_found] = pn, qn
                found_low[n_found], found_high[n_found] = s_low, s_high
                found_neurons[n_found], found_events[n_found] = n, e
                n_found += 1
                threshold[n] = np.inf
                break
    return n_found


@njit(cache=True, nogil=True, error_model="numpy")
def _peak_margin(constants, p, q, threshold, margin):
    """margin > 0 marks the neurons whose peak may reach threshold; tau_mem == 2 tau_syn has a cheap exact form.

    There u_peak = (p + tau_mem q)^2/(4 tau_mem q); the slack covers float32. Other ratios: all with i_syn > 0.
    """
    real = p.dtype.type
    if constants.family == FAMILY_DOUBLE:
        tau_mem, factor = real(constants.tau_mem), real(4.0 * constants.tau_mem * (1.0 - 1e-5))
        for n in range(p.size):
            b = p[n] + tau_mem * q[n]
            margin[n] = b * b - factor * q[n] * threshold[n]
    else:
        for n in range(p.size):
            margin[n] = q[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _first_crossings_at_end(constants, event, s_low, flagged, p, q, threshold, reference, found, n_found):
    """As `_first_crossings`, for the interval after the last event."""
    found_p, found_q, found_low, found_high = found.p, found.q, found.s_low, found.s_high
    found_neurons, found_events = found.neurons, found.events
    s_high = constants.t_end - reference
    for i in range(flagged.size):
        n = flagged[i]
        pn, qn = np.float64(p[n]), np.float64(q[n])
        if threshold[n] < np.inf and _crosses(constants, pn, qn, s_low, s_high):
            found_p[n_found], found_q[n_found] = pn, qn
            found_low[n_found], found_high[n_found] = s_low, s_high
            found_neurons[n_found], found_events[n_found] = n, event
            n_found += 1
    return n_found


@njit(cache=True, nogil=True, error_model="numpy")
def _all_spikes(constants, p, q, s_low, s_high, count, n, times, neurons, written, reference):
    """All spikes of a neuron in (s_low, s_high]; returns the new p, its spike count and `written` (-1: full)."""
    while count < constants.max_spikes and _crosses(constants, p, q, s_low, s_high):
        if written == times.size:
            return p, count, -1
        s = spike_time(
            p, q, constants.theta, constants.tau_mem, constants.tau_syn, constants.delta,
            constants.family, s_low, s_high,
        )  # fmt: skip
        times[written] = reference + s
        neurons[written] = n
        written += 1
        count += 1
        p -= constants.reset_jump * math.exp(s / constants.tau_mem)
        s_low = s
    return p, count, written


@njit(cache=True, nogil=True, error_model="numpy")
def _spikes_of_sweep(
    constants, weight, events, factors, first, n_rows, flagged, p, q, p_new, threshold, counts, out, written
):
    """Replay the flagged neurons through a sweep, spike by spike; resets go to p_new. Returns `written`."""
    neurons, times, reference = events.neurons, events.times, factors.reference
    gain, cross, x_next, rise = factors.gain, factors.cross, factors.x_next, factors.rise
    out_times, out_neurons = out.times, out.neurons
    for i in range(flagged.size):
        n = flagged[i]
        pn, qn, taken = np.float64(p[n]), np.float64(q[n]), 0.0
        for e in range(first, first + n_rows):
            w = np.float64(weight[neurons[e], n])
            qn += w * gain[e]
            pn += w * cross[e]
            if not pn + qn * x_next[e] > constants.theta * rise[e]:
                continue
            after, counts[n], written = _all_spikes(
                constants, pn, qn, times[e] - reference[e], times[e + 1] - reference[e], counts[n], n,
                out_times, out_neurons, written, reference[e],
            )  # fmt: skip
            if written < 0:
                return written
            taken += pn - after
            pn = after
            if counts[n] >= constants.max_spikes:
                threshold[n] = np.inf
                break
        p_new[n] -= p_new.dtype.type(taken)
    return written


@njit(cache=True, nogil=True, error_model="numpy")
def _spikes_at_end(constants, s_low, p, q, threshold, reference, counts, out, written):
    """As `_spikes_of_sweep`, for all neurons and the interval after the last event."""
    for n in range(p.size):
        if q[n] > 0.0 and threshold[n] < np.inf:
            _, counts[n], written = _all_spikes(
                constants, np.float64(p[n]), np.float64(q[n]), s_low, constants.t_end - reference, counts[n], n,
                out.times, out.neurons, written, reference,
            )  # fmt: skip
            if written < 0:
                break
    return written


@njit(cache=True, nogil=True, error_model="numpy")
def layer_forward(constants, weight, events, factors, work, bits, found, record, out):
    """Simulate a block of samples; returns (status, sample): STATUS_OK, or what went wrong and in which sample.

    Parameters
    ----------
    constants : LayerConstants (theta > 0)
    weight : (n_pre, n_post), float32 or float64
    events : InputEvents; factors : Factors of the same events
    work : weight.dtype, (6, n_post); bits : the same memory as signed integers; found : FoundSpikes with room for n_post
    record : SpikeRecord of (n_samples, n_post), filled when max_spikes == 1
    out : OutputEvents, filled in canonical order

    Notes
    -----
    The state at the start is zero (v = v_leak, no bias current). Simultaneous inputs are summed before the threshold is
    tested: the interval between them is empty. The last event of a sample opens an interval without a next event,
    which is looked at neuron by neuron.
    """
    n_post = weight.shape[1]
    only_first = constants.max_spikes == 1
    p, q, p_new, q_new, threshold, margin = work[0], work[1], work[2], work[3], work[4], work[5]
    gain4, cross4 = np.zeros(_SWEEP, weight.dtype), np.zeros(_SWEEP, weight.dtype)
    x4 = np.zeros(_SWEEP, weight.dtype)
    flagged, counts = np.empty(n_post + 1, np.int64), np.zeros(n_post, np.int64)
    spare_times, spare_neurons = np.empty(n_post), np.empty(n_post, np.int64)
    zero, theta = weight.dtype.type(0.0), weight.dtype.type(constants.theta)
    # Fields are taken out once: touching a tuple of arrays inside a loop costs reference counting.
    offsets, neurons, times = events.offsets, events.neurons, events.times
    gain, cross, x_next, rise, references = factors
    first_time, out_offsets = record.time, out.offsets
    written = 0
    out_offsets[0] = 0
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        while end > start and times[end - 1] > constants.t_end:
            end -= 1
        first_out, n_found = written, 0
        work[:4] = zero
        threshold[:] = theta
        counts[:] = 0
        first_time[b] = np.inf
        k = start
        while k < end and not (only_first and n_found == n_post):
            reference = references[k]
            if k > start and reference != references[k - 1]:
                shift = reference - references[k - 1]
                _move_reference(p, q, shift, constants.tau_mem, constants.tau_syn, constants.delta)
            n_rows = 1
            while n_rows < _SWEEP and k + n_rows < end and references[k + n_rows] == reference:
                n_rows += 1
            last = k + n_rows - 1
            for r in range(_SWEEP):
                live = r < n_rows
                gain4[r] = gain[k + r] if live else zero
                cross4[r] = cross[k + r] if live else zero
                x4[r] = x_next[min(k + r, last)]
            _sweep(
                weight[neurons[k]], weight[neurons[min(k + 1, last)]],
                weight[neurons[min(k + 2, last)]], weight[neurons[min(k + 3, last)]],
                cross4, gain4, x4, rise[k], p, q, p_new, q_new, threshold, margin,
            )  # fmt: skip
            n_flagged = _collect_positive(bits[5], flagged)
            if n_flagged > 0:
                with_next = n_rows if last + 1 < end else n_rows - 1
                if only_first:
                    n_found = _first_crossings(
                        constants, weight, events, factors, k, with_next, flagged[:n_flagged], p, q, threshold,
                        found, n_found,
                    )  # fmt: skip
                else:
                    written = _spikes_of_sweep(
                        constants, weight, events, factors, k, with_next, flagged[:n_flagged], p, q, p_new, threshold,
                        counts, out, written,
                    )  # fmt: skip
                    if written < 0:
                        return STATUS_BUFFER_FULL, b
            p, p_new = p_new, p
            q, q_new = q_new, q
            k += n_rows
        total = 0.0
        for n in range(n_post):
            total += p[n] + q[n]
        if not math.isfinite(total):
            return STATUS_NOT_FINITE, b
        if k == end and end > start:
            reference = references[end - 1]
            s_low = times[end - 1] - reference
            if only_first:
                _peak_margin(constants, p, q, threshold, margin)
                n_flagged = _collect_positive(bits[5], flagged)
                n_found = _first_crossings_at_end(
                    constants, end - 1, s_low, flagged[:n_flagged], p, q, threshold, reference, found, n_found
                )
            else:
                written = _spikes_at_end(constants, s_low, p, q, threshold, reference, counts, out, written)
                if written < 0:
                    return STATUS_BUFFER_FULL, b
        if only_first:
            if out.times.size < written + n_found:
                return STATUS_BUFFER_FULL, b
            written = solve_found(constants, factors, found, n_found, b, record, out, written)
        size = written - first_out
        if size > spare_times.size:
            spare_times, spare_neurons = np.empty(2 * size), np.empty(2 * size, np.int64)
        sort_events(out.times[first_out:written], out.neurons[first_out:written], spare_times, spare_neurons, size)
        out_offsets[b + 1] = written
    return STATUS_OK, -1
