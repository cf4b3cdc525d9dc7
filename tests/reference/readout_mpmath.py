"""Potentials of leaky integrators as sums of kernels, their integral and their maximum, in the precision of mpmath."""

import numpy as np
from mpmath import mp, mpf


def response(s, tau_mem, tau_syn):
    """v a time s after one input of weight 1."""
    if s <= 0:
        return mpf(0)
    if tau_mem == tau_syn:
        return s / tau_mem * mp.exp(-s / tau_mem)
    return tau_syn / (tau_mem - tau_syn) * (mp.exp(-s / tau_mem) - mp.exp(-s / tau_syn))


def potential(t, arrivals, weights, tau_mem, tau_syn):
    """v - v_inf at time t."""
    return mp.fsum(w * response(t - a, tau_mem, tau_syn) for a, w in zip(arrivals, weights, strict=True))


def integral(t_end, arrivals, weights, tau_mem, tau_syn):
    """By the antiderivative of each kernel; tau_mem != tau_syn is asked for."""
    total = mpf(0)
    for a, w in zip(arrivals, weights, strict=True):
        s = max(t_end - a, mpf(0))
        slow, fast = (tau * (1 - mp.exp(-s / tau)) for tau in (tau_mem, tau_syn))
        total += w * tau_syn / (tau_mem - tau_syn) * (slow - fast)
    return total


def maximum(arrivals, weights, tau_mem, tau_syn, t_end, near):
    """Maximum and its time, by golden section around the float64 grid's highest point `near` (low, high)."""

    def u(t):
        return potential(t, arrivals, weights, tau_mem, tau_syn)

    low, high = near
    ratio = (mp.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if u(left) >= u(right) else (left, high)
    candidates = [mpf(0), (low + high) / 2, *near] + ([t_end] if t_end < mp.inf else [])
    return max((u(t), t) for t in candidates)


def grid_brackets(arrivals, weights, tau_mem, tau_syn, t_end, n=4000):
    """Neighbours of the highest point of a grid that has all arrivals among its points."""
    last = min(t_end, arrivals.max(initial=0.0) + 20.0 * max(tau_mem, tau_syn))
    grid = np.unique(np.concatenate((np.linspace(0.0, last, n), arrivals[arrivals <= last])))
    s = np.maximum(grid[:, None] - arrivals, 0.0)
    if tau_mem == tau_syn:
        k = s / tau_mem * np.exp(-s / tau_mem)
    else:
        k = tau_syn / (tau_mem - tau_syn) * (np.exp(-s / tau_mem) - np.exp(-s / tau_syn))
    top = int(np.argmax(k @ weights))
    # the interval between two grid points has no arrival inside: one side of `top` at a time is smooth
    return [(grid[max(top - 1, 0)], grid[top]), (grid[top], grid[min(top + 1, grid.size - 1)])]


def exact_maximum(arrivals, weights, tau_mem, tau_syn, t_end):
    brackets = grid_brackets(arrivals, weights, tau_mem, tau_syn, t_end)
    a, w = [mpf(float(x)) for x in arrivals], [mpf(float(x)) for x in weights]
    return max(
        maximum(a, w, mpf(tau_mem), mpf(tau_syn), mpf(t_end), (mpf(float(low)), mpf(float(high))))
        for low, high in brackets
    )
