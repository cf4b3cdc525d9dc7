"""First spikes on a time grid by Euler's method: the approximation that exact spike times are compared with."""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import STATUS_NOT_FINITE, STATUS_OK
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.sorting import sort_events

#: An arrival this small part of a step after a grid point is one at it: spikes lie on the grid, and time/dt rounds.
_ROUNDING = 1e-9


@kernel
def _scatter(weight, delay, jitter, events, b, dt, n_steps, drive):
    """Add the weights of a sample's arrivals to the rows of their steps."""
    drive[:, :] = 0.0
    for k in range(events.offsets[b], events.offsets[b + 1]):
        t, j = events.times[k], events.neurons[k]
        if delay.size == 0 and jitter.size == 0:
            step = max(math.ceil(t / dt - _ROUNDING) - 1.0, 0.0)
            if step < n_steps:
                row = drive[int(step)]
                for n in range(row.size):
                    row[n] += weight[j, n]
            continue
        for n in range(weight.shape[1]):
            a = t
            if delay.size > 0:
                a += delay[j, n]
            if jitter.size > 0:
                a = max(a + jitter[b, j, n], 0.0)
            step = max(math.ceil(a / dt - _ROUNDING) - 1.0, 0.0)
            if step < n_steps:
                drive[int(step), n] += weight[j, n]


@kernel(allocates=True)
def euler_forward(constants, weight, delay, threshold, jitter, events, dt, n_steps, times):
    """First spikes of a block on the grid dt, 2 dt, ..., n_steps dt; returns (status, sample) as `layer_forward`.

    Parameters
    ----------
    constants : NeuronConstants, without bias currents and with v_leak < v_threshold
    weight : (n_pre, n_post)
    delay : float64, (n_pre, n_post), or of size 0 for none
    threshold : float64, (n_samples, n_post), v_threshold - v_leak of every neuron in every sample, or of size 0
    jitter : float64, (n_samples, n_pre, n_post), added to the arrival times, which are not before 0; or of size 0
    events : InputEvents
    times : float64, (n_samples, n_post), filled; inf for no spike

    Notes
    -----
    In the step that ends at t: i *= 1 - dt/tau_syn, then every arrival in (t - dt, t] adds its weight to i (one at 0
    belongs to the first step), then u += (i - u) dt/tau_mem; where u reaches the threshold, the neuron fires at t.
    """
    n_post = weight.shape[1]
    drive, u, current, theta = np.empty((n_steps, n_post)), np.empty(n_post), np.empty(n_post), np.empty(n_post)
    keep, rate = 1.0 - dt / constants.tau_syn, dt / constants.tau_mem
    for b in range(events.offsets.size - 1):
        _scatter(weight, delay, jitter, events, b, dt, n_steps, drive)
        for n in range(n_post):
            u[n], current[n], times[b, n] = 0.0, 0.0, np.inf
            theta[n] = threshold[b, n] if threshold.size > 0 else constants.v_threshold[n] - constants.v_leak[n]
        total, n_left = 0.0, n_post
        for step in range(n_steps):
            t = (step + 1) * dt
            if n_left == 0 or t > constants.t_end:
                break
            row = drive[step]
            for n in range(n_post):
                current[n] = current[n] * keep[n] + row[n]
                u[n] += (current[n] - u[n]) * rate[n]
                if u[n] >= theta[n] and times[b, n] == np.inf:
                    times[b, n] = t
                    n_left -= 1
        for n in range(n_post):
            total += u[n] + current[n]
        if not math.isfinite(total):
            return STATUS_NOT_FINITE, b
    return STATUS_OK, -1


@kernel(allocates=True)
def events_of_first_spikes(times, out):
    """Fill `out` (OutputEvents with room for all) with the finite entries of `times`, (n_samples, n_neurons)."""
    n_neurons = times.shape[1]
    spare_times, spare_neurons = np.empty(n_neurons), np.empty(n_neurons, np.int64)
    heads = np.empty(n_neurons + 1, np.int64)
    written = 0
    out.offsets[0] = 0
    for b in range(times.shape[0]):
        first = written
        for n in range(n_neurons):
            if times[b, n] < np.inf:
                out.times[written], out.neurons[written] = times[b, n], n
                written += 1
        sort_events(out.times, out.neurons, spare_times, spare_neurons, heads, first, written - first)
        out.offsets[b + 1] = written
