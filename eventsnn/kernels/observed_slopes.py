"""The slopes that a model has at spikes made by something else: a chip, a time grid, neurons with other time constants.

A spike is observed at T; the model's potential there, u(T) = sum_j w_j k(T - a_j), need not be the threshold. The
gradient is that of the model with its threshold where u(T) is: with du/dt at T, the same as in `layer_backward`,

    dT/dw_j = -(du/dw_j)/(du/dt),   dT/da_j = -(du/da_j)/(du/dt),   du/dt = -sum_j du/da_j.

So a shift of all arrivals shifts the spike by as much, whatever the mismatch.
"""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.delayed_backward import row_by_tables, row_exactly
from eventsnn.kernels.delayed_layer import sample_tables
from eventsnn.kernels.flow import decay_difference, exp_or_inf
from eventsnn.kernels.jit import kernel


@kernel(allocates=True)
def observed_slopes(constants, tables, weight, delay, jitter, events, record, last):
    """Fill record.slope and `last` for the spikes at record.time, from all arrivals up to that time.

    Takes what `delayed_backward` takes. The slope is inf where the model's potential does not rise: no gradient passes.
    An arrival at the time of the spike counts: on a grid it may have made the spike.
    """
    n_post = weight.shape[1]
    longest = 0
    for b in range(events.offsets.size - 1):
        longest = max(longest, events.offsets[b + 1] - events.offsets[b])
    grow_mem, grow_syn = np.empty(longest), np.empty(longest)
    by_weight, by_arrival, rise, flow = np.empty(n_post), np.empty(n_post), np.empty(n_post), np.empty(n_post)
    decay_mem, decay_syn = np.empty(n_post), np.empty(n_post)
    tau_mem, tau_syn = constants.tau_mem[0], constants.tau_syn[0]
    delta = decay_difference(tau_mem, tau_syn)
    for b in range(events.offsets.size - 1):
        start, end = events.offsets[b], events.offsets[b + 1]
        shared = sample_tables(tables, tau_mem, tau_syn, events, start, end, grow_mem, grow_syn)
        latest = -np.inf
        for n in range(n_post):
            t = record.time[b, n]
            flow[n] = 1.0 if t < np.inf else 0.0
            last[b, n] = t if t < np.inf else -np.inf
            latest = max(latest, last[b, n])
            rise[n] = 0.0
            if shared:
                s = t - events.times[start] if t < np.inf else 0.0
                decay_mem[n] = exp_or_inf(-s / tau_mem)
                decay_syn[n] = exp_or_inf(-s / tau_syn) if delta != 0.0 else decay_mem[n]
        for k in range(start, end):
            t, j, i = events.times[k], events.neurons[k], k - start
            if shared:
                if t > latest:
                    break  # delays only make it later
                row_by_tables(
                    t, grow_mem[i], grow_syn[i], delay[j], tables.grow_mem[j], tables.grow_syn[j], weight[j],
                    record.time[b], last[b], decay_mem, decay_syn, flow, tau_mem, delta, by_weight, by_arrival,
                )  # fmt: skip
            else:
                row_exactly(
                    constants, t, j, delay[j], jitter, b, weight[j], record.time[b], last[b], flow, by_weight,
                    by_arrival,
                )  # fmt: skip
            for n in range(n_post):
                rise[n] -= by_arrival[n]
        for n in range(n_post):
            if record.time[b, n] < np.inf:
                record.slope[b, n] = rise[n] if rise[n] > 0.0 else np.inf
