"""Derivatives of an observed spike time: those of a model neuron whose threshold is its potential at that time.

Never imports eventsnn. By differences in 60 digits: the model's spike is moved by Newton's iteration until its
potential is what it was at the observed time.
"""

from __future__ import annotations

from mpmath import exp, mpf, workdps

DIGITS = 60
STEP = mpf(10) ** -25


def response(s, tau_mem, tau_syn):
    """v of a neuron at rest, a time s after one input of weight 1."""
    if tau_mem == tau_syn:
        return s / tau_mem * exp(-s / tau_mem)
    return tau_syn / (tau_mem - tau_syn) * (exp(-s / tau_mem) - exp(-s / tau_syn))


def potential(t, arrivals, tau_mem, tau_syn):
    """Sum over arrivals [(time, weight), ...]."""
    return sum((weight * response(t - time, tau_mem, tau_syn) for time, weight in arrivals), mpf(0))


@workdps(DIGITS)
def observed_derivatives(time, arrivals, tau_mem, tau_syn):
    """(dT/dw, dT/da) of every arrival up to `time`, and du/dt there."""
    time, tau_mem, tau_syn = mpf(time), mpf(tau_mem), mpf(tau_syn)
    arrivals = [(mpf(a), mpf(w)) for a, w in arrivals if a <= time]
    level = potential(time, arrivals, tau_mem, tau_syn)

    def rise(t, moved):
        below, above = (potential(t + sign * STEP, moved, tau_mem, tau_syn) for sign in (-1, 1))
        return (above - below) / (2 * STEP)

    def spike(moved):
        t = time
        for _ in range(3):  # from an error of 1e-25 the next ones are 1e-50 and 1e-60
            t -= (potential(t, moved, tau_mem, tau_syn) - level) / rise(t, moved)
        return t

    def derivative(k, d_time, d_weight):
        ends = []
        for sign in (-1, 1):
            moved = list(arrivals)
            moved[k] = (moved[k][0] + sign * d_time * STEP, moved[k][1] + sign * d_weight * STEP)
            ends.append(spike(moved))
        return float((ends[1] - ends[0]) / (2 * STEP))

    by_weight = [derivative(k, 0, 1) for k in range(len(arrivals))]
    by_arrival = [derivative(k, 1, 0) for k in range(len(arrivals))]
    return by_weight, by_arrival, float(rise(time, arrivals))
