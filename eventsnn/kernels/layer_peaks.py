"""Highest membrane potential of silent neurons, in closed form: what the silent-neuron hinge pushes on."""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import CROSS, GAIN, REFERENCE, RISE, TIME, X_NEXT
from eventsnn.kernels.flow import membrane, peak_time, slope, synaptic_kernel, warp
from eventsnn.kernels.jit import kernel

#: rows of the scratch array: coefficients of the gathered neurons, those before the present group of simultaneous
#: inputs, and the highest value so far
_P, _Q, _P_BEFORE, _Q_BEFORE, _HIGHEST = 0, 1, 2, 3, 4


@kernel(fastmath={"contract"})
def _take_in(weight, j, silent, m, gain, cross, scratch):
    for i in range(m):
        w = np.float64(weight[j, silent[i]])
        scratch[_P, i] += w * cross
        scratch[_Q, i] += w * gain


@kernel
def _candidates(scratch, m, x_here, x_next, turn, rise, last, chosen):
    """Neurons that may reach a new highest value in this interval; returns how many.

    They pass the bound u <= (p + q x)/rise, at the interval's end for q > 0 and at its beginning for q <= 0, and do
    not still rise at its end (turn q > p + q x): a later interval sees the peak of those that do.
    """
    count = 0
    for i in range(m):
        p, q = scratch[_P, i], scratch[_Q, i]
        end = p + q * x_next
        top = end if q > 0.0 else p + q * x_here
        chosen[count] = i
        count += (top > scratch[_HIGHEST, i] * rise or (last and q > 0.0)) and (q <= 0.0 or end >= turn * q or last)
    return count


@kernel
def _move(scratch, m, shift, tau_mem, tau_syn, delta):
    keep, fade = math.exp(-shift / tau_mem), math.exp(-shift / tau_syn)
    mix = synaptic_kernel(shift, tau_mem, tau_syn, delta)
    for i in range(m):
        scratch[_P, i] = scratch[_P, i] * keep + scratch[_Q, i] * mix
        scratch[_Q, i] *= fade


@kernel
def layer_peaks(constants, weight, events, factors, wanted, record, peaks):
    """Enter the highest peak of every silent neuron with wanted[sample, neuron] into `record`, its height into `peaks`.

    The maximum over a sample lies inside an interval (slope 0), at t_end, or at an event whose input turned the
    potential down: a kink, which moves with that event, so the slope on its left is kept for the gradient. A neuron
    that never rose above its resting value, or that fired, keeps peak 0; its time stays as it was. Must run after the
    outputs of the forward pass have been used: the record of a silent neuron is overwritten.

    The silent neurons of a sample are gathered and take their inputs together.
    """
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    offsets, neurons = events.offsets, events.neurons
    values, clock = factors.values, factors.clock
    peak_times, decay_mem, warped, slopes, causal_ends = record
    n_post = weight.shape[1]
    silent, chosen = np.empty(n_post, np.int64), np.empty(n_post + 1, np.int64)
    scratch = np.empty((5, n_post))
    peaks[:, :] = 0.0
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        while end > start and clock[TIME, end - 1] > constants.t_end:
            end -= 1
        m = 0
        for n in range(n_post):
            silent[m] = n
            m += wanted[b, n] and peak_times[b, n] == np.inf
            if m == n_post:
                break
        if m == 0:
            continue
        scratch[:, :m] = 0.0
        group = start
        for k in range(start, end):
            reference = clock[REFERENCE, k]
            if k > start and reference != clock[REFERENCE, k - 1]:
                _move(scratch, m, reference - clock[REFERENCE, k - 1], tau_mem, tau_syn, delta)
            if k == start or clock[TIME, k] > clock[TIME, k - 1]:
                group = k
                scratch[_P_BEFORE, :m] = scratch[_P, :m]
                scratch[_Q_BEFORE, :m] = scratch[_Q, :m]
            _take_in(weight, neurons[k], silent, m, values[GAIN, k], values[CROSS, k], scratch)
            last = k + 1 == end
            if not last and clock[TIME, k + 1] == clock[TIME, k]:
                continue
            s_low = clock[TIME, k] - reference
            s_high = (constants.t_end if last else clock[TIME, k + 1]) - reference
            x_next = np.float64(values[X_NEXT, k])
            n_chosen = _candidates(
                scratch, m, warp(s_low, delta), x_next, tau_mem * (1.0 - delta * x_next), values[RISE, k], last, chosen
            )
            for c in range(n_chosen):
                i = chosen[c]
                p, q = scratch[_P, i], scratch[_Q, i]
                # q <= 0: from a positive u the potential falls, and a negative one cannot rise above rest
                s_top = peak_time(p, q, tau_mem, tau_syn, delta) if q > 0.0 else -np.inf
                left, causal_end = 0.0, k + 1
                if s_top <= s_low:
                    s_top, causal_end = s_low, group
                    left = max(slope(s_low, scratch[_P_BEFORE, i], scratch[_Q_BEFORE, i], tau_mem, tau_syn, delta), 0.0)
                elif s_top > s_high and not last:
                    continue
                s_top = min(s_top, s_high)
                u = membrane(s_top, p, q, tau_mem, delta) if s_top < np.inf else 0.0
                if u > scratch[_HIGHEST, i]:
                    n = silent[i]
                    scratch[_HIGHEST, i] = u
                    peaks[b, n] = u
                    peak_times[b, n] = reference + s_top
                    # The kink of an event with a new reference time counts from that of the last causal event.
                    s_causal = s_top + (reference - clock[REFERENCE, causal_end - 1])
                    decay_mem[b, n] = math.exp(-s_causal / tau_mem)
                    warped[b, n] = warp(s_causal, delta)
                    slopes[b, n] = -left
                    causal_ends[b, n] = causal_end
