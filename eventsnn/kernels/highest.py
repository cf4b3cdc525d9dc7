"""Highest potential over a sample, of `LANES` neurons at a time that share their time constants and never spike in it.

With u = v - v_inf = exp(-s/tau_mem)(p + q x), between the events k and k + 1

    u <= exp(-s_k/tau_mem) max(p + q x_k, p + q x_{k+1})
    du/ds <= 0 at s    where p + q x >= tau_mem (1 - delta x) q

An interval can hold a new maximum only if that bound exceeds the highest value so far and u falls at its end (where it
rises, a later interval sees a higher value). Four events are taken per sweep over the lanes; a lane that may have a new
maximum in them is gone through again alone. The height of such a candidate needs no logarithm, and at a kink no
exponential; only the place of the winner is solved for.

The maximum is a peak inside an interval, a kink at an arrival that turned the rise into a fall, or the value at t_end.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import CROSS, GAIN, REFERENCE, RISE, TIME, WARPED, X_NEXT
from eventsnn.kernels.flow import membrane, peak_time, synaptic_kernel, warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.solve import highest_peak

#: neurons that are taken together
LANES = 16

#: Parts of the work array, LANES numbers each: coefficients p and q, the same before the sweep, highest u so far,
#: whether a sweep may have raised it, and the coefficients in the interval it lies in. In one dimension, because
#: constant distances between them let LLVM vectorise without testing whether they overlap.
P, Q, P_OLD, Q_OLD, HIGH, FLAG, BEST_P, BEST_Q = (LANES * part for part in range(8))
HIGHEST_WORK = 8 * LANES


@kernel(fastmath={"reassoc"}, inline=True)
def _add(total, flag):
    return total + flag


@kernel(inline=True)
def _margin(clock, k, end, none, endless):
    """0, or inf for an interval of no length or without an end: those are not looked at in the sweep."""
    return none if clock[TIME, min(k + 1, end - 1)] > clock[TIME, k] else endless


@kernel(fastmath={"contract"}, inline=True)
def _sweep(weight, c, j0, j1, j2, j3, values, warped, clock, tau_mem, ratio, k, last, end, work):
    """Take in the events k .. last (four at most; the same row again with factor 0 for fewer).

    Returns how many lanes are flagged: those that may have a new maximum in between. ratio : tau_mem/tau_syn
    """
    real = work.dtype.type
    none, one, endless = real(0.0), real(1.0), real(np.inf)
    k1, k2, k3 = min(k + 1, last), min(k + 2, last), min(k + 3, last)
    c0, g0, x0, rise0 = values[CROSS, k], values[GAIN, k], values[X_NEXT, k], values[RISE, k]
    c1, g1, x1, rise1 = values[CROSS, k1], values[GAIN, k1], values[X_NEXT, k1], values[RISE, k1]
    c2, g2, x2, rise2 = values[CROSS, k2], values[GAIN, k2], values[X_NEXT, k2], values[RISE, k2]
    c3, g3, x3, rise3 = values[CROSS, k3], values[GAIN, k3], values[X_NEXT, k3], values[RISE, k3]
    if k + 1 > last:
        c1, g1 = none, none
    if k + 2 > last:
        c2, g2 = none, none
    if k + 3 > last:
        c3, g3 = none, none
    margin0, margin1 = _margin(clock, k, end, none, endless), _margin(clock, k1, end, none, endless)
    margin2, margin3 = _margin(clock, k2, end, none, endless), _margin(clock, k3, end, none, endless)
    # u falls at x where p + q (ratio x - tau_mem) >= 0
    fall0, fall1, fall2, fall3 = ratio * x0 - tau_mem, ratio * x1 - tau_mem, ratio * x2 - tau_mem, ratio * x3 - tau_mem
    x_here = real(warped[k])
    n_flagged = none
    for i in range(LANES):
        p, q, high = work[P + i], work[Q + i], work[HIGH + i]
        work[P_OLD + i] = p
        work[Q_OLD + i] = q
        p += weight[j0, c, i] * c0
        q += weight[j0, c, i] * g0
        here, there = p + q * x_here, p + q * x0
        top = there if there > here else here
        flag = (top > high * rise0 + margin0) & (p + q * fall0 >= none)
        p += weight[j1, c, i] * c1
        q += weight[j1, c, i] * g1
        here, there = there, p + q * x1  # an input changes u's slope, not u
        top = there if there > here else here
        flag |= (top > high * rise1 + margin1) & (p + q * fall1 >= none)
        p += weight[j2, c, i] * c2
        q += weight[j2, c, i] * g2
        here, there = there, p + q * x2
        top = there if there > here else here
        flag |= (top > high * rise2 + margin2) & (p + q * fall2 >= none)
        p += weight[j3, c, i] * c3
        q += weight[j3, c, i] * g3
        here, there = there, p + q * x3
        top = there if there > here else here
        flag |= (top > high * rise3 + margin3) & (p + q * fall3 >= none)
        work[P + i] = p
        work[Q + i] = q
        flagged = one if flag else none
        work[FLAG + i] = flagged
        n_flagged = _add(n_flagged, flagged)
    return n_flagged


@kernel
def _move_reference(work, shift, tau_mem, tau_syn, delta):
    """Express all coefficients with respect to a reference time later by `shift`."""
    real = work.dtype.type
    keep = real(math.exp(-shift / tau_mem))
    mix = real(synaptic_kernel(shift, tau_mem, tau_syn, delta))
    fade = real(math.exp(-shift / tau_syn))
    for i in range(LANES):
        work[P + i] = work[P + i] * keep + work[Q + i] * mix
        work[Q + i] *= fade


@kernel(inline=True)
def _falls(p, q, x, tau_mem, delta):
    """Whether u falls at x, and from there on for as long as no input comes and u > 0."""
    return q <= 0.0 or p + q * x >= tau_mem * (1.0 - delta * x) * q


@kernel(inline=True)
def _keep_if_higher(work, i, k, u, p, q, best):
    if u > work[HIGH + i] and u < np.inf:
        work[HIGH + i] = u
        work[BEST_P + i] = p
        work[BEST_Q + i] = q
        best[i] = k


@kernel(inline=True)
def _replay(constants, weight, c, i, neurons, clock, values, warped, first, stop, work, best):
    """Look for a new maximum of lane i in the intervals that begin with the events first : stop."""
    tau_mem, delta = constants.tau_mem, constants.delta
    p, q = work[P_OLD + i], work[Q_OLD + i]
    for k in range(first, stop):
        w = weight[neurons[k], c, i]
        p += w * values[CROSS, k]
        q += w * values[GAIN, k]
        x, x_next, rise = np.float64(warped[k]), np.float64(values[X_NEXT, k]), np.float64(values[RISE, k])
        p_here, q_here = np.float64(p), np.float64(q)
        here, top = p_here + q_here * x, np.float64(work[HIGH + i]) * rise
        if (here > top or p_here + q_here * x_next > top) and _falls(p_here, q_here, x_next, tau_mem, delta):
            if clock[TIME, k + 1] == clock[TIME, k]:
                continue
            kink = _falls(p_here, q_here, x, tau_mem, delta)
            _keep_if_higher(work, i, k, here / rise if kink else highest_peak(constants, p_here, q_here), p, q, best)


@kernel(inline=True)
def _look_at_end(constants, clock, values, warped, k, work, best):
    """Look for a new maximum of all lanes after the sample's last event k, until t_end."""
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    x, rise, s_end = np.float64(warped[k]), np.float64(values[RISE, k]), constants.t_end - clock[REFERENCE, k]
    for i in range(LANES):
        p, q = np.float64(work[P + i]), np.float64(work[Q + i])
        u: float = (p + q * x) / rise
        if not _falls(p, q, x, tau_mem, delta):
            # without the leak that a positive u has, u would come to
            if max(u, 0.0) + tau_syn * q * (1.0 - delta * x) / rise <= work[HIGH + i]:
                continue
            u = highest_peak(constants, p, q)
            if u > work[HIGH + i] and s_end < np.inf and peak_time(p, q, tau_mem, tau_syn, delta) > s_end:
                u = membrane(s_end, p, q, tau_mem, delta)
        _keep_if_higher(work, i, k, u, p, q, best)


@kernel
def find_highest(constants, weight, c, neurons, factors, start, end, work, best):
    """Where the potentials of chunk c come highest under the events start : end of a sample, up to constants.t_end.

    Parameters
    ----------
    constants : LayerConstants; what has to do with spikes is not read
    weight : (n_pre, n_chunks, LANES), float32 or float64, padded with zeros
    neurons : of the input events; factors : their Factors
    work : weight.dtype, (HIGHEST_WORK,); P and Q become the coefficients after the last event
    best : int64, (LANES,); the event whose interval holds the maximum, -1 if u never rose above 0

    Notes
    -----
    Simultaneous inputs are summed before anything is compared.
    """
    real = work.dtype.type
    clock, values, warped = factors.clock, factors.values, factors.floats[WARPED]
    tau_mem, ratio = real(constants.tau_mem), real(constants.tau_mem / constants.tau_syn)
    work[:] = real(0.0)
    best[:] = -1
    k = start
    while k < end:
        reference = clock[REFERENCE, k]
        if k > start and reference != clock[REFERENCE, k - 1]:
            shift = reference - clock[REFERENCE, k - 1]
            _move_reference(work, shift, constants.tau_mem, constants.tau_syn, constants.delta)
        last = k
        while last + 1 < end and last + 1 < k + 4 and clock[REFERENCE, last + 1] == reference:
            last += 1
        n_flagged = _sweep(
            weight, c, neurons[k], neurons[min(k + 1, last)], neurons[min(k + 2, last)], neurons[last],
            values, warped, clock, tau_mem, ratio, k, last, end, work,
        )  # fmt: skip
        if n_flagged > real(0.0):
            stop = min(last + 1, end - 1)  # the interval after the sample's last event comes later
            for i in range(LANES):
                if work[FLAG + i] > real(0.0):
                    _replay(constants, weight, c, i, neurons, clock, values, warped, k, stop, work, best)
        k = last + 1
    if end > start:
        _look_at_end(constants, clock, values, warped, end - 1, work, best)


@kernel(inline=True)
def enter_highest(constants, weight, c, i, neurons, factors, start, end, work, k, b, n, record, height):
    """Time, height and gradient factors of lane i's maximum in the interval of event k, as neuron n of sample b.

    At a kink, which moves with its event, the slope on its left is kept for the gradient, with a minus sign.
    """
    tau_mem, delta = constants.tau_mem, constants.delta
    clock, values, floats = factors.clock, factors.values, factors.floats
    times, decays, warped, slopes, causal_ends = record
    p, q = float(work[BEST_P + i]), float(work[BEST_Q + i])
    x, decay, left = float(floats[WARPED, k]), 1.0 / float(values[RISE, k]), 0.0
    reference, causal_end = clock[REFERENCE, k], k + 1
    if _falls(p, q, x, tau_mem, delta):
        time = clock[TIME, k]
        u = decay * (p + q * x)
        left = decay * (1.0 - delta * x) * q - u / tau_mem
        while causal_end > start and clock[TIME, causal_end - 1] == time:
            causal_end -= 1
            left -= np.float64(weight[neurons[causal_end], c, i]) / tau_mem
    else:
        s = peak_time(p, q, tau_mem, constants.tau_syn, delta)
        s = min(s, (constants.t_end if k + 1 == end else clock[TIME, k + 1]) - reference)
        time, decay, x = reference + s, math.exp(-s / tau_mem), warp(s, delta)
        u = membrane(s, p, q, tau_mem, delta)
    height[b, n] = u
    times[b, n] = time
    slopes[b, n] = -max(left, 0.0)
    # The kink of an event with a new reference time counts from that of the last causal event.
    if clock[REFERENCE, causal_end - 1] != reference:
        s = time - clock[REFERENCE, causal_end - 1]
        decay, x = math.exp(-s / tau_mem), warp(s, delta)
    decays[b, n], warped[b, n], causal_ends[b, n] = decay, x, causal_end
