"""Highest membrane potential of silent neurons, in closed form: what the silent-neuron hinge pushes on."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from eventsnn.kernels.constants import CROSS, GAIN, REFERENCE, RISE, X_NEXT
from eventsnn.kernels.flow import membrane, peak_time, slope, synaptic_kernel, warp


@njit(cache=True, nogil=True, error_model="numpy")
def layer_peaks(constants, weight, events, factors, wanted, record, peaks):
    """Enter the highest peak of every silent neuron with wanted[sample, neuron] into `record`, its height into `peaks`.

    The maximum over a sample lies inside an interval (slope 0), at t_end, or at an event whose input turned the
    potential down: a kink, which moves with that event, so the slope on its left is kept for the gradient. A neuron
    that never rose above its resting value, or that fired, keeps peak 0; its time stays as it was. Must run after the
    outputs of the forward pass have been used: the record of a silent neuron is overwritten.
    """
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    offsets, neurons, times = events.offsets, events.neurons, events.times
    values, clock = factors
    peak_times, decay_mem, warped, slopes, causal_ends = record
    peaks[:, :] = 0.0
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        while end > start and times[end - 1] > constants.t_end:
            end -= 1
        for n in range(weight.shape[1]):
            if not wanted[b, n] or peak_times[b, n] != np.inf:
                continue
            p, q, highest = 0.0, 0.0, 0.0
            p_before, q_before, group = 0.0, 0.0, start
            for k in range(start, end):
                reference = clock[REFERENCE, k]
                if k > start and reference != clock[REFERENCE, k - 1]:
                    shift = reference - clock[REFERENCE, k - 1]
                    p = p * math.exp(-shift / tau_mem) + q * synaptic_kernel(shift, tau_mem, tau_syn, delta)
                    q *= math.exp(-shift / tau_syn)
                if k == start or times[k] > times[k - 1]:
                    p_before, q_before, group = p, q, k
                w = np.float64(weight[neurons[k], n])
                q += w * values[GAIN, k]
                p += w * values[CROSS, k]
                last = k + 1 == end
                if not last and times[k + 1] == times[k]:
                    continue
                s_low = times[k] - reference
                if q > 0.0:
                    # u <= (p + q x_next)/rise inside the interval: most cannot beat the highest value so far
                    if not last and not p + q * values[X_NEXT, k] > highest * values[RISE, k]:
                        continue
                    s_top = peak_time(p, q, tau_mem, tau_syn, delta)
                else:
                    s_top = -np.inf
                left, causal_end = 0.0, k + 1
                if s_top <= s_low:
                    s_top, causal_end = s_low, group
                    left = max(slope(s_low, p_before, q_before, tau_mem, tau_syn, delta), 0.0)
                else:
                    s_high = (constants.t_end if last else times[k + 1]) - reference
                    if s_top > s_high and not last:
                        continue  # still rising at the next event, which will look
                    s_top = min(s_top, s_high)
                    if s_top == np.inf:
                        continue
                u = membrane(s_top, p, q, tau_mem, delta)
                if u > highest:
                    highest = u
                    peaks[b, n] = u
                    peak_times[b, n] = reference + s_top
                    decay_mem[b, n] = math.exp(-s_top / tau_mem)
                    warped[b, n] = warp(s_top, delta)
                    slopes[b, n] = -left
                    causal_ends[b, n] = causal_end
