"""Solve the first-spike times of a sample together, once it is decided which neurons fire in which interval."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from eventsnn.kernels.flow import warp
from eventsnn.kernels.spike_time import FAMILY_DOUBLE, FAMILY_EQUAL, spike_time_and_slope

#: Of tau_mem == 2 tau_syn: above this square of the relative distance from grazing, the quadratic formula loses nothing.
_NOT_GRAZING = 1e-3


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _quadratic_roots(p, q, theta, tau_mem, n, decay, root):
    """tau_mem == 2 tau_syn: decay = exp(-s/tau_mem) of the first crossing; root: relative distance from grazing."""
    for i in range(n):
        a = tau_mem * q[i]
        b = p[i] + a
        w = math.sqrt(max(b * b - 4.0 * a * theta, 0.0))
        decay[i] = (b + w) / (2.0 * a)
        root[i] = w / b


@njit(cache=True, nogil=True, error_model="numpy")
def solve_found(constants, factors, found, n_found, b, record, out, written):
    """Write the spikes `found` of sample b to `record` and to `out` from `written` on; returns the new `written`.

    For tau_mem == 2 tau_syn the roots are found in one vectorised loop and cost one logarithm each; spikes close to
    grazing, and other ratios, go through `spike_time_and_slope`.
    """
    tau_mem = constants.tau_mem
    found_p, found_q, s_low, s_high, decay, root, neurons, events = found
    times, decays_mem, warped, slopes, causal_ends = record
    out_times, out_neurons, event_reference = out.times, out.neurons, factors.reference
    quadratic = constants.family == FAMILY_DOUBLE
    if quadratic:
        _quadratic_roots(found_p, found_q, constants.theta, tau_mem, n_found, decay, root)
    for i in range(n_found):
        n, e = neurons[i], events[i]
        if quadratic and root[i] * root[i] > _NOT_GRAZING:
            decay_mem = decay[i]
            s = -tau_mem * math.log(decay_mem)
            # du/ds = w y/tau_mem with w = root b, and b y = theta + a y^2
            rise = root[i] * (found_p[i] + tau_mem * found_q[i]) * decay_mem / tau_mem
        else:
            s, rise = spike_time_and_slope(
                found_p[i], found_q[i], constants.theta, tau_mem, constants.tau_syn, constants.delta,
                constants.family, s_low[i], s_high[i],
            )  # fmt: skip
            decay_mem = math.exp(-s / tau_mem)
        s = min(max(s, s_low[i]), s_high[i])
        t = event_reference[e] + s
        times[b, n] = t
        decays_mem[b, n] = decay_mem
        warped[b, n] = tau_mem * (1.0 - decay_mem) if quadratic else warp(s, constants.delta)
        slopes[b, n] = rise
        causal_ends[b, n] = e + 1
        out_times[written] = t
        out_neurons[written] = n
        written += 1
    return written
