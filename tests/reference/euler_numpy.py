"""First spikes of one LIF layer by Euler's method, one neuron and one step at a time. Never imports eventsnn."""

from __future__ import annotations

import math


def euler_first_spike(arrivals, tau_mem, tau_syn, theta, dt, n_steps):
    """First grid point at which u = v - v_leak is at least theta, inf if none; arrivals: [(time, weight), ...].

    An arrival belongs to the step whose end is the first grid point that is not before it.
    """
    u = i = 0.0
    for step in range(1, n_steps + 1):
        end = step * dt
        i = i * (1.0 - dt / tau_syn)
        i += sum(weight for time, weight in arrivals if (end - dt < time or step == 1) and time <= end)
        u = u + (i - u) * dt / tau_mem
        if u >= theta:
            return end
    return math.inf
