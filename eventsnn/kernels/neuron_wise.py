"""Layers of unlike neurons: one neuron after the other, any parameters, any number of spikes.

The general twin of `layer_forward`, `layer_peaks` and `layer_backward`: time constants per neuron, bias current, rest
above threshold, refractory time. An exponential per synaptic event makes it slower; both agree to rounding.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import STATUS_BUFFER_FULL, STATUS_NOT_FINITE, STATUS_OK
from eventsnn.kernels.flow import decay_difference, lif_flow, membrane, peak_time, slope, synaptic_kernel
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.sorting import sort_events
from eventsnn.kernels.spike_time import crosses, family_of, spike_time


@kernel
def _advance(constants, n, state, t_next, times, neurons, written):
    """Take neuron n from state[0] to t_next; spikes go to the buffers. Returns the new `written`, -1 if full.

    state: time, v - v_inf, i_syn, end of the refractory time, spikes so far, du/dt at the last spike.
    """
    tau_mem, tau_syn = constants.tau_mem[n], constants.tau_syn[n]
    delta, family = decay_difference(tau_mem, tau_syn), family_of(tau_mem, tau_syn)
    v_inf = constants.v_leak[n] + constants.i_bias[n]
    theta = constants.v_threshold[n] - v_inf
    while state[0] < t_next and state[4] < constants.max_spikes:
        if state[0] < state[3]:
            held_until = min(state[3], t_next)
            state[2] *= math.exp(-(held_until - state[0]) / tau_syn)
            state[0] = held_until
            continue
        p, q, h = state[1], state[2] / tau_mem, t_next - state[0]
        if not crosses(p, q, theta, tau_mem, tau_syn, delta, 0.0, h):
            state[1], state[2] = lif_flow(p, state[2], h, tau_mem, tau_syn, delta)
            state[0] = t_next
            continue
        if written == times.size:
            return -1
        s = spike_time(p, q, theta, tau_mem, tau_syn, delta, family, 0.0, h)
        state[2] *= math.exp(-s / tau_syn)
        state[5] = (state[2] - theta) / tau_mem
        state[1] = constants.v_reset[n] - v_inf
        state[0] += s
        state[3] = state[0] + constants.t_refrac[n]
        state[4] += 1.0
        times[written] = state[0]
        neurons[written] = n
        written += 1
    return written


@kernel
def _start(constants, n, state):
    state[:] = 0.0
    state[1] = -constants.i_bias[n]


@kernel(allocates=True)
def neuron_wise_forward(constants, weight, events, first, record, out):
    """As `layer_forward`, for `NeuronConstants`; of the record, decay_mem and warped are not filled."""
    state = np.zeros(6)
    spare_times, spare_neurons, heads = np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
    written = out.offsets[first]
    for b in range(first, events.offsets.size - 1):
        start, end = events.offsets[b], events.offsets[b + 1]
        first_out = written
        for n in range(weight.shape[1]):
            _start(constants, n, state)
            record.time[b, n] = np.inf
            before = written
            for k in range(start, end + 1):
                t_next = min(events.times[k], constants.t_end) if k < end else constants.t_end
                written = _advance(constants, n, state, t_next, out.times, out.neurons, written)
                if written < 0:
                    return STATUS_BUFFER_FULL, b
                if written > before and record.time[b, n] == np.inf:
                    record.time[b, n] = out.times[before]
                    record.slope[b, n] = state[5]
                    record.causal_end[b, n] = k
                if state[4] >= constants.max_spikes or t_next == constants.t_end:
                    break
                if k < end:
                    state[2] += weight[events.neurons[k], n]
            if not math.isfinite(state[1] + state[2]):
                return STATUS_NOT_FINITE, b
        size = written - first_out
        if size > spare_times.size:
            spare_times, spare_neurons = np.empty(2 * size), np.empty(2 * size, np.int64)
            heads = np.empty(2 * size + 1, np.int64)
        sort_events(out.times, out.neurons, spare_times, spare_neurons, heads, first_out, size)
        out.offsets[b + 1] = written
    return STATUS_OK, -1


@kernel
def neuron_wise_peaks(constants, weight, events, wanted, record, peaks):
    """As `layer_peaks`, for `NeuronConstants`."""
    peaks[:, :] = 0.0
    for b in range(events.offsets.size - 1):
        start, end = events.offsets[b], events.offsets[b + 1]
        for n in range(weight.shape[1]):
            if not wanted[b, n] or record.time[b, n] != np.inf:
                continue
            tau_mem, tau_syn = constants.tau_mem[n], constants.tau_syn[n]
            delta = decay_difference(tau_mem, tau_syn)
            u, i, t, group, left = -constants.i_bias[n], 0.0, 0.0, start, 0.0
            for k in range(start, end):
                if events.times[k] > constants.t_end:
                    break
                if k == start or events.times[k] > t:
                    u, i = lif_flow(u, i, events.times[k] - t, tau_mem, tau_syn, delta)
                    t, group, left = events.times[k], k, (i - u) / tau_mem
                i += weight[events.neurons[k], n]
                last = k + 1 == end or events.times[k + 1] > constants.t_end
                if not last and events.times[k + 1] == t:
                    continue
                # i <= 0: from a positive u the potential falls, and a negative one cannot rise above rest
                s_top = peak_time(u, i / tau_mem, tau_mem, tau_syn, delta) if i > 0.0 else -np.inf
                causal_end, slope_left = k + 1, 0.0
                if s_top <= 0.0:
                    s_top, causal_end, slope_left = 0.0, group, max(left, 0.0)
                elif not last and s_top > events.times[k + 1] - t:
                    continue
                s_top = min(s_top, constants.t_end - t)
                if s_top == np.inf:
                    continue
                peak = membrane(s_top, u, i / tau_mem, tau_mem, delta)
                if peak > peaks[b, n]:
                    peaks[b, n] = peak
                    record.time[b, n] = t + s_top
                    record.slope[b, n] = -slope_left
                    record.causal_end[b, n] = causal_end


@kernel
def neuron_wise_backward(constants, weight, events, record, height, max_norm, d_weight, d_times):
    """As `layer_backward`, for `NeuronConstants`."""
    want_times = d_times.size > 0
    d_times[:] = 0.0
    n_clipped = 0
    for b in range(events.offsets.size - 1):
        start = events.offsets[b]
        scale = 1.0
        if max_norm < np.inf:
            total = 0.0
            for n in range(weight.shape[1]):
                if height[b, n] != 0.0:
                    tau_mem, tau_syn = constants.tau_mem[n], constants.tau_syn[n]
                    delta = decay_difference(tau_mem, tau_syn)
                    for k in range(start, record.causal_end[b, n]):
                        h = record.time[b, n] - events.times[k]
                        total += (height[b, n] * synaptic_kernel(h, tau_mem, tau_syn, delta) / tau_mem) ** 2
            norm = math.sqrt(total)
            if norm > max_norm:
                scale = max_norm / norm
                n_clipped += 1
        for n in range(weight.shape[1]):
            flow = height[b, n]
            if flow == 0.0:
                continue
            tau_mem, tau_syn = constants.tau_mem[n], constants.tau_syn[n]
            delta = decay_difference(tau_mem, tau_syn)
            for k in range(start, record.causal_end[b, n]):
                h = record.time[b, n] - events.times[k]
                d_weight[events.neurons[k], n] += scale * flow * synaptic_kernel(h, tau_mem, tau_syn, delta) / tau_mem
                if want_times:
                    response_slope = slope(h, 0.0, 1.0 / tau_mem, tau_mem, tau_syn, delta)
                    d_times[k] -= flow * weight[events.neurons[k], n] * response_slope
            if want_times and record.slope[b, n] < 0.0:
                d_times[record.causal_end[b, n]] -= flow * record.slope[b, n]
    return n_clipped
