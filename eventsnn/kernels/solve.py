"""Solve the first-spike times of a sample together, once it is decided which neurons fire in which interval."""

from __future__ import annotations

import math

from eventsnn.kernels.constants import (
    DECAY,
    EVENT,
    FOUND_P,
    FOUND_Q,
    LOGARITHM,
    MANTISSA,
    NEURON,
    REFERENCE,
    ROOT,
    S_HIGH,
    S_LOW,
    SLOPE,
)
from eventsnn.kernels.flow import warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.logarithm import log_of_split, split_exponents
from eventsnn.kernels.spike_time import FAMILY_DOUBLE, FAMILY_EQUAL, spike_time_and_slope

#: Of tau_mem == 2 tau_syn: above this relative distance from grazing, the quadratic formula loses nothing.
_NOT_GRAZING = 0.03


@kernel
def highest_peak(constants, p, q):
    """Value of the peak of exp(-s/tau_mem)(p + q x), q > 0, wherever it lies: tau_mem q r^(1/(delta tau_syn)).

    inf where there is no peak.
    """
    tau_mem = constants.tau_mem
    if constants.family == FAMILY_EQUAL:
        return tau_mem * q * math.exp(p / (tau_mem * q) - 1.0)
    r = constants.tau_syn / tau_mem * (1.0 + constants.delta * p / q)
    if r <= 0.0:
        return math.inf
    if constants.family == FAMILY_DOUBLE:
        return tau_mem * q * r * r
    return tau_mem * q * r ** (1.0 / (constants.delta * constants.tau_syn))


@kernel(fastmath={"contract"})
def _quadratic_roots(floats, n, theta, tau_mem):
    """tau_mem == 2 tau_syn: DECAY = exp(-s/tau_mem) of the first crossing (MANTISSA: a copy), SLOPE = du/ds there.

    ROOT: relative distance from grazing. The slope is w y/tau_mem.
    """
    for i in range(n):
        a = tau_mem * floats[FOUND_Q, i]
        b = floats[FOUND_P, i] + a
        square = b * b - 4.0 * a * theta
        w = math.sqrt(square if square > 0.0 else 0.0)
        y = (b + w) / (2.0 * a)
        floats[DECAY, i] = y
        floats[MANTISSA, i] = y
        floats[ROOT, i] = w / b
        floats[SLOPE, i] = w * y / tau_mem


@kernel
def solve_found(constants, clock, floats, bits, places, n_found, b, record, out_times, out_neurons, written):
    """Write the spikes found in sample b to `record` and to the output from `written` on; returns the new `written`.

    For tau_mem == 2 tau_syn the roots and their logarithms are found in vectorised loops; spikes close to grazing, and
    other ratios, go through `spike_time_and_slope`.
    """
    tau_mem, quadratic = constants.tau_mem, constants.family == FAMILY_DOUBLE
    times, decays, warped, slopes, causal_ends = record
    if quadratic:
        _quadratic_roots(floats, n_found, constants.theta, tau_mem)
        split_exponents(bits, n_found, floats)
        log_of_split(floats, n_found)
    for i in range(n_found):
        n, e = places[NEURON, i], places[EVENT, i]
        slope, decay = floats[SLOPE, i], floats[DECAY, i]
        if quadratic and floats[ROOT, i] > _NOT_GRAZING:
            s = min(max(-tau_mem * floats[LOGARITHM, i], floats[S_LOW, i]), floats[S_HIGH, i])
            x = tau_mem * (1.0 - decay)
        else:
            s, slope = spike_time_and_slope(
                floats[FOUND_P, i], floats[FOUND_Q, i], constants.theta, tau_mem, constants.tau_syn, constants.delta,
                constants.family, floats[S_LOW, i], floats[S_HIGH, i],
            )  # fmt: skip
            decay = math.exp(-s / tau_mem)
            x = warp(s, constants.delta)
        t = clock[REFERENCE, e] + s
        times[b, n] = t
        decays[b, n] = decay
        warped[b, n] = x
        slopes[b, n] = slope
        causal_ends[b, n] = e + 1
        out_times[written] = t
        out_neurons[written] = n
        written += 1
    return written
