"""Highest membrane potential of silent neurons, in closed form: what the silent-neuron hinge pushes on."""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import CROSS, GAIN, REFERENCE, RISE, TIME, X_NEXT
from eventsnn.kernels.flow import membrane, peak_time, slope, synaptic_kernel, warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.solve import highest_peak


@kernel
def _highest(constants, weight, neurons, clock, values, start, end, n):
    """Where neuron n comes highest: (group, event, p, q, p and q before the group); event -1 if never above rest.

    group: first of the simultaneous inputs that end with `event`. The height of a peak inside an interval and of a kink
    at its beginning need no logarithm and next to no exponential, so only the winner's time is solved for.
    """
    tau_mem, delta = constants.tau_mem, constants.delta
    p, q, p_before, q_before, group = 0.0, 0.0, 0.0, 0.0, start
    highest, best, best_group = 0.0, -1, start
    best_p, best_q, best_p_before, best_q_before = 0.0, 0.0, 0.0, 0.0
    for k in range(start, end):
        if k > start and clock[REFERENCE, k] != clock[REFERENCE, k - 1]:
            shift = clock[REFERENCE, k] - clock[REFERENCE, k - 1]
            keep, fade = math.exp(-shift / tau_mem), math.exp(-shift / constants.tau_syn)
            p = p * keep + q * synaptic_kernel(shift, tau_mem, constants.tau_syn, delta)
            q *= fade
        if k == start or clock[TIME, k] > clock[TIME, k - 1]:
            group, p_before, q_before = k, p, q
        w = np.float64(weight[neurons[k], n])
        p += w * values[CROSS, k]
        q += w * values[GAIN, k]
        last = k + 1 == end
        if not last and clock[TIME, k + 1] == clock[TIME, k]:
            continue
        # u <= (p + q x)/rise, at the interval's end for q > 0 and at its beginning for q <= 0
        rise, x_next = np.float64(values[RISE, k]), np.float64(values[X_NEXT, k])
        value = p + q * x_next
        if q > 0.0 and not last and (value <= highest * rise or value < tau_mem * (1.0 - delta * x_next) * q):
            continue  # too low, or still rising at the end: a later interval sees the peak
        x_here = -np.float64(values[CROSS, k]) / np.float64(values[GAIN, k])
        value = p + q * x_here
        if q <= 0.0 or value >= tau_mem * (1.0 - delta * x_here) * q:
            u = value / rise  # from a positive u the potential falls, and a negative one cannot rise above rest
        else:
            u = highest_peak(constants, p, q)
            if last and constants.t_end < np.inf:
                s_end = constants.t_end - clock[REFERENCE, k]
                if peak_time(p, q, tau_mem, constants.tau_syn, delta) > s_end:
                    u = membrane(s_end, p, q, tau_mem, delta)
        if u > highest and u < np.inf:
            highest, best, best_group = u, k, group
            best_p, best_q, best_p_before, best_q_before = p, q, p_before, q_before
    return best_group, best, best_p, best_q, best_p_before, best_q_before


@kernel
def layer_peaks(constants, weight, events, factors, wanted, record, peaks):
    """Enter the highest peak of every silent neuron with wanted[sample, neuron] into `record`, its height into `peaks`.

    The maximum over a sample lies inside an interval (slope 0), at t_end, or at an event whose input turned the
    potential down: a kink, which moves with that event, so the slope on its left is kept for the gradient. A neuron
    that never rose above its resting value, or that fired, keeps peak 0; its time stays as it was. Must run after the
    outputs of the forward pass have been used: the record of a silent neuron is overwritten.
    """
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    offsets, neurons = events.offsets, events.neurons
    values, clock = factors.values, factors.clock
    peak_times, decay_mem, warped, slopes, causal_ends = record
    peaks[:, :] = 0.0
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        while end > start and clock[TIME, end - 1] > constants.t_end:
            end -= 1
        for n in range(weight.shape[1]):
            if not wanted[b, n] or peak_times[b, n] != np.inf:
                continue
            group, k, p, q, p_before, q_before = _highest(constants, weight, neurons, clock, values, start, end, n)
            if k < 0:
                continue
            reference = clock[REFERENCE, k]
            s_low = clock[TIME, k] - reference
            s_top = peak_time(p, q, tau_mem, tau_syn, delta) if q > 0.0 else -np.inf
            left, causal_end = 0.0, k + 1
            if s_top <= s_low:
                s_top, causal_end = s_low, group
                left = max(slope(s_low, p_before, q_before, tau_mem, tau_syn, delta), 0.0)
            s_top = min(s_top, (constants.t_end if k + 1 == end else clock[TIME, k + 1]) - reference)
            peaks[b, n] = membrane(s_top, p, q, tau_mem, delta)
            peak_times[b, n] = reference + s_top
            # The kink of an event with a new reference time counts from that of the last causal event.
            s_causal = s_top + (reference - clock[REFERENCE, causal_end - 1])
            decay_mem[b, n] = math.exp(-s_causal / tau_mem)
            warped[b, n] = warp(s_causal, delta)
            slopes[b, n] = -left
            causal_ends[b, n] = causal_end
