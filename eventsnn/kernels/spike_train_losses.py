"""Van Rossum distance of two sets of spike trains and its derivative, in one sweep over the spikes each way.

With s = +1 for a spike of the output and -1 for one of the target, the filtered difference of a neuron's trains is
h(t) = sum s_k exp(-(t - t_k)/tau) over t_k <= t. It is known from one spike to the next, so nothing is summed twice.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.jit import kernel


@kernel
def van_rossum(
    offsets, neurons, times, target_offsets, target_neurons, target_times, tau, after, before, last, losses, d_times
):
    """Fills `losses`, (n_samples,), and adds the derivative to `d_times`; after, before, last: (n_neurons,), work.

    The derivative with respect to a spike of the output is (h from later spikes - h from earlier ones)/tau, each
    decayed by the time between: the sweep forwards gives the second, that backwards the first.
    """
    for b in range(losses.size):
        n, n_targets = offsets[b + 1] - offsets[b], target_offsets[b + 1] - target_offsets[b]
        losses[b] = _sweep(
            1, offsets[b], n, neurons, times, target_offsets[b], n_targets, target_neurons, target_times, tau,
            after, before, last, d_times,
        )  # fmt: skip
        _sweep(
            -1, offsets[b + 1] - 1, n, neurons, times, target_offsets[b + 1] - 1, n_targets, target_neurons,
            target_times, tau, after, before, last, d_times,
        )  # fmt: skip


@kernel
def _sweep(
    direction, i, n, neurons, times, j, n_targets, target_neurons, target_times, tau, after, before, last, d_times
):
    """1/tau times the integral of h^2, summed over the neurons of a sample; h reaches out in `direction`.

    `n` spikes from i on and `n_targets` targets from j on. Of the neuron's spikes that coincide, none sees another.

    Summed over the stretches between spikes, on which h decays: no term is negative, so trains that nearly agree keep
    their digits, which the double sum over pairs of spikes loses.
    """
    after[:] = 0.0
    before[:] = 0.0
    last[:] = -direction * np.inf
    total = 0.0
    while n > 0 or n_targets > 0:
        of_output = n_targets == 0 or (n > 0 and direction * (times[i] - target_times[j]) <= 0.0)
        t = times[i] if of_output else target_times[j]
        k = neurons[i] if of_output else target_neurons[j]
        if t != last[k]:
            gap = direction * (t - last[k]) / tau
            total += decayed_energy(after[k], gap)
            before[k] = after[k] * math.exp(-gap)
            after[k] = before[k]
            last[k] = t
        if of_output:
            d_times[i] -= direction * before[k] / tau
            after[k] += 1.0
            i += direction
            n -= 1
        else:
            after[k] -= 1.0
            j += direction
            n_targets -= 1
    for k in range(after.size):
        total += decayed_energy(after[k], np.inf)
    return total


@kernel
def decayed_energy(h, gap):
    """Integral of (h exp(-s))^2 over s = 0 .. gap."""
    return -0.5 * h * h * math.expm1(-2.0 * gap)
