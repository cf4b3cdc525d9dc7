"""Highest potential under spikes of given weights, interval by interval, in plain NumPy."""

import numpy as np


def response(s, tau_mem, tau_syn):
    """v a time s after one input of weight 1."""
    if s <= 0:
        return 0.0
    if tau_mem == tau_syn:
        return s / tau_mem * np.exp(-s / tau_mem)
    return tau_syn / (tau_mem - tau_syn) * (np.exp(-s / tau_mem) - np.exp(-s / tau_syn))


def potential(t, arrivals, weights, tau_mem, tau_syn):
    """v - v_inf at time t."""
    return sum(w * response(t - a, tau_mem, tau_syn) for a, w in zip(arrivals, weights, strict=True))


def highest(arrivals, weights, tau_mem, tau_syn, t_end):
    """(v - v_inf, time) of the maximum: at rest, at an arrival, where dv/dt = 0 between two of them, or at t_end."""
    starts = np.unique(arrivals[arrivals <= t_end])
    candidates = [0.0, *starts] + ([t_end] if t_end < np.inf else [])
    for start, stop in zip(starts, [*starts[1:], t_end], strict=True):
        u = potential(start, arrivals, weights, tau_mem, tau_syn)
        i = sum(w * np.exp(-(start - a) / tau_syn) for a, w in zip(arrivals, weights, strict=True) if a <= start)
        # with i exp(-s/tau_syn) = u(s): the ratio of both exponentials at the extremum, in closed form
        if tau_mem == tau_syn:
            s = tau_mem * (i - u) / i if i != 0 else -1.0
        else:
            c = i * tau_syn / (tau_syn - tau_mem)  # u(s) = (u - c) exp(-s/tau_mem) + c exp(-s/tau_syn)
            ratio = -c * tau_mem / ((u - c) * tau_syn) if u != c else -1.0
            s = np.log(ratio) / (1.0 / tau_syn - 1.0 / tau_mem) if ratio > 0 else -1.0
        if 0 < s < stop - start:
            candidates.append(start + s)
    return max((potential(t, arrivals, weights, tau_mem, tau_syn), t) for t in candidates)
