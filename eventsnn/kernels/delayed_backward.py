"""Backward pass of `delayed_layer`: gradients of weights, delays and arrival times.

With u = v - v_inf at the neuron's event (its spike, or its highest peak), h = T - a_jn and k(h) = exp(-h/tau_mem) x(h)

    du/dw_jn = k(h)/tau_mem,      du/da_jn = -w_jn (exp(-h/tau_syn) - k(h)/tau_mem)/tau_mem      for a_jn <= last_n

and dT/d(.) = -(du/d(.))/slope, so both are multiplied by `height`, as in `layer_backward`. Event by event, all neurons
of a row together: whether an arrival counts is a comparison with the neuron's last causal one, so nothing is sorted.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.delayed_layer import sample_tables
from eventsnn.kernels.exponential import exp_decay
from eventsnn.kernels.flow import decay_difference, slope, synaptic_kernel
from eventsnn.kernels.jit import kernel

#: layers with fewer neurons are taken neuron by neuron: their rows are too short for vectors
_NARROW = 8


@kernel(fastmath={"contract", "reassoc"})
def row_by_tables(
    t, rise, rise_syn, delay, grow_mem, grow_syn, weight, times, last, decay_mem, decay_syn, flow, tau_mem, delta,
    by_weight, by_arrival,
):  # fmt: skip
    """dL/dw and dL/da of one event at all neurons; returns the sum of dL/da. All rows have the length n_post.

    Every loop writes one array, see `delayed_few`. by_arrival first holds the flow through causal arrivals.
    """
    rate = 1.0 / tau_mem
    for n in range(flow.size):
        by_arrival[n] = flow[n] if t + delay[n] <= last[n] else 0.0
    for n in range(flow.size):
        by_weight[n] = decay_mem[n] * (rise * grow_mem[n])
    if delta != 0.0:
        inverse = rate / delta
        for n in range(flow.size):
            by_weight[n] = (by_weight[n] - decay_syn[n] * (rise_syn * grow_syn[n])) * inverse
        for n in range(flow.size):
            fade = by_weight[n] - decay_syn[n] * (rise_syn * grow_syn[n])
            by_arrival[n] *= np.float64(weight[n]) * fade * rate
    else:
        for n in range(flow.size):
            h = times[n] - (t + delay[n])
            # a silent neuron's is inf, and 0 inf is no number
            by_weight[n] *= (h if h < np.inf else 0.0) * rate
        for n in range(flow.size):
            fade = by_weight[n] - decay_mem[n] * (rise * grow_mem[n])
            by_arrival[n] *= np.float64(weight[n]) * fade * rate
    for n in range(flow.size):
        by_weight[n] *= flow[n] if t + delay[n] <= last[n] else 0.0
    total = 0.0
    for n in range(flow.size):
        total += by_arrival[n]
    return total


@kernel(fastmath={"contract", "reassoc"})
def _column_by_tables(
    events, start, end, n, grow_mem, grow_syn, tables, delay, weight, time, last, decay_mem, decay_syn, flow, tau_mem,
    delta, by_weight, d_arrivals,
):  # fmt: skip
    """dL/dw and dL/da of all events of a sample at neuron n, the latter to d_arrivals[event - start, n]."""
    rate = 1.0 / tau_mem
    inverse = 1.0 / delta if delta != 0.0 else 0.0
    for k in range(start, end):
        j, i = events.neurons[k], k - start
        a = events.times[k] + delay[j, n]
        f = flow if a <= last else 0.0
        mem = decay_mem * (grow_mem[i] * tables.grow_mem[j, n])
        syn = decay_syn * (grow_syn[i] * tables.grow_syn[j, n]) if delta != 0.0 else mem
        response = ((mem - syn) * inverse if delta != 0.0 else (time - a) * mem) * rate
        by_weight[i, n] = f * response
        d_arrivals[i, n] = f * np.float64(weight[j, n]) * (response - syn) * rate


@kernel
def row_exactly(constants, t, j, delay, jitter, b, weight, times, last, flow, by_weight, by_arrival):
    """The same with exponentials of their own for every synapse."""
    total = 0.0
    for n in range(flow.size):
        by_weight[n], by_arrival[n] = 0.0, 0.0
        if flow[n] == 0.0:
            continue
        a = t + delay[n]
        if jitter.size > 0:
            a = max(a + jitter[b, j, n], 0.0)
        if a > last[n]:
            continue
        tau_mem, tau_syn = constants.tau_mem[n], constants.tau_syn[n]
        delta = decay_difference(tau_mem, tau_syn)
        h = times[n] - a
        by_weight[n] = flow[n] * synaptic_kernel(h, tau_mem, tau_syn, delta) / tau_mem
        by_arrival[n] = -flow[n] * weight[n] * slope(h, 0.0, 1.0 / tau_mem, tau_mem, tau_syn, delta)
        total += by_arrival[n]
    return total


@kernel(fastmath={"contract", "reassoc"})
def _squares(values):
    total = 0.0
    for i in range(values.size):
        total += values[i] * values[i]
    return total


@kernel
def _add_row(target, row, scale):
    for n in range(row.size):
        target[n] += target.dtype.type(scale * row[n])


@kernel
def _add_rows(targets, neurons, rows, scale):
    """targets[neurons[k]] += scale * rows[k]."""
    if rows.shape[1] >= _NARROW:
        for k in range(neurons.size):
            _add_row(targets[neurons[k]], rows[k], scale)
        return
    # a loop over so few numbers takes longer to set up than to run
    for n in range(rows.shape[1]):
        for k in range(neurons.size):
            targets[neurons[k], n] += targets.dtype.type(scale * rows[k, n])


@kernel(allocates=True)
def delayed_backward(
    constants, tables, weight, delay, jitter, events, record, last, height, max_norm, d_weight, d_delay, d_times
):
    """Gradients of a block; returns the number of samples whose weight gradient was clipped.

    Parameters
    ----------
    constants, jitter, events, record, last : as in `delayed_forward`
    tables : DelayTables, here with rows by presynaptic neuron, (n_pre, n_post), as weight and delay
    height, max_norm : as in `layer_backward`
    d_weight : weight.dtype, (n_pre, n_post), added to
    d_delay : float64, (n_pre, n_post), added to; of size 0 when not wanted
    d_times : float64, (n_events,), overwritten with dL/dt of each input event; of size 0 when not wanted
    """
    n_post = weight.shape[1]
    want_times, want_delay = d_times.size > 0, d_delay.size > 0
    longest = 0
    for b in range(events.offsets.size - 1):
        longest = max(longest, events.offsets[b + 1] - events.offsets[b])
    by_weight, by_arrival = np.empty((longest, n_post)), np.empty((longest, n_post))
    grow_mem, grow_syn = np.empty(longest), np.empty(longest)
    decay_mem, decay_syn = np.empty(n_post), np.empty(n_post)
    tau_mem, tau_syn = constants.tau_mem[0], constants.tau_syn[0]
    delta = decay_difference(tau_mem, tau_syn)
    n_clipped = 0
    for b in range(events.offsets.size - 1):
        start, end = events.offsets[b], events.offsets[b + 1]
        flow, times, latest = height[b], record.time[b], last[b]
        shared = sample_tables(tables, tau_mem, tau_syn, events, start, end, grow_mem, grow_syn)
        if shared:
            for n in range(n_post):
                decay_mem[n] = times[n] - events.times[start] if flow[n] != 0.0 else 0.0
            for n in range(n_post):
                decay_syn[n] = exp_decay(decay_mem[n] / tau_syn)
            for n in range(n_post):
                decay_mem[n] = exp_decay(decay_mem[n] / tau_mem)
        if shared and n_post < _NARROW:
            by_arrival[: end - start] = 0.0
            by_weight[: end - start] = 0.0
            for n in range(n_post):
                if flow[n] != 0.0:
                    _column_by_tables(
                        events, start, end, n, grow_mem, grow_syn, tables, delay, weight, times[n], latest[n],
                        decay_mem[n], decay_syn[n], flow[n], tau_mem, delta, by_weight, by_arrival,
                    )  # fmt: skip
            if want_times:
                for k in range(start, end):
                    total = 0.0
                    for n in range(n_post):
                        total += by_arrival[k - start, n]
                    d_times[k] = total
        else:
            for k in range(start, end):
                j = events.neurons[k]
                i = k - start
                if shared:
                    total = row_by_tables(
                        events.times[k], grow_mem[i], grow_syn[i], delay[j], tables.grow_mem[j], tables.grow_syn[j],
                        weight[j], times, latest, decay_mem, decay_syn, flow, tau_mem, delta, by_weight[i],
                        by_arrival[i],
                    )  # fmt: skip
                else:
                    total = row_exactly(
                        constants, events.times[k], j, delay[j], jitter, b, weight[j], times, latest, flow,
                        by_weight[i], by_arrival[i],
                    )  # fmt: skip
                if want_times:
                    d_times[k] = total
        if want_delay:
            _add_rows(d_delay, events.neurons[start:end], by_arrival, 1.0)
        for n in range(n_post):
            if flow[n] != 0.0 and record.slope[b, n] < 0.0:  # a kink moves with its arrival
                k, move = record.causal_end[b, n], flow[n] * np.float64(record.slope[b, n])
                if want_times:
                    d_times[k] -= move
                if want_delay:
                    d_delay[events.neurons[k], n] -= move
        scale = 1.0
        if max_norm < np.inf:
            norm = math.sqrt(_squares(by_weight[: end - start].reshape((end - start) * n_post)))
            if norm > max_norm:
                scale = max_norm / norm
                n_clipped += 1
        _add_rows(d_weight, events.neurons[start:end], by_weight, scale)
    return n_clipped
