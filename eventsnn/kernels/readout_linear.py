"""Potentials of leaky integrators at given times, and their integral: linear in the weights, with their gradients.

Both are sums over the input events, value_m = sum_j w_j r_m(t_j), with responses r_m that all neurons of a layer with
shared parameters have in common; so one number per event and value is computed, and a synaptic event is one
multiply-add per value, forwards and backwards:

    dL/dw_j += sum_m r_m(t_j) dL/dvalue_m,      dL/dt_j = sum_n w_jn sum_m r_m'(t_j) dL/dvalue_mn

`responses` and `changes` (r and dr/dt_j) are float64, (n_events, n_values).
"""

from __future__ import annotations

import math

from eventsnn.kernels.flow import synaptic_kernel
from eventsnn.kernels.jit import kernel


@kernel
def responses_at(constants, times, events, responses, changes):
    """Of u = v - v_inf at the given times: r_m(t) = k(times[m] - t), k(s) = exp(-s/tau_mem) x(s)/tau_mem; 0 for s <= 0.

    dr/dt = -k'(s) follows from tau_mem k' = -k + exp(-s/tau_syn).
    """
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    arrivals = events.times
    for k in range(events.offsets[events.offsets.size - 1]):
        for m in range(times.size):
            s = times[m] - arrivals[k]
            responses[k, m], changes[k, m] = 0.0, 0.0
            if s > 0.0:
                response = synaptic_kernel(s, tau_mem, tau_syn, delta) / tau_mem
                responses[k, m] = response
                changes[k, m] = (response - math.exp(-s / tau_syn)) / tau_mem


@kernel
def responses_of_integral(constants, events, responses, changes):
    """Of the integral of u = v - v_inf from 0 to T = constants.t_end < inf, as a single value.

    From tau_mem du/dt = -u + i_syn follows r(t) = tau_syn (1 - exp(-s/tau_syn)) - tau_mem k(s), s = T - t, and
    dr/dt = -k(s). Of inputs just before T nearly all digits cancel, to an error of an ulp of s.
    """
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    for k in range(events.offsets[events.offsets.size - 1]):
        s = max(constants.t_end - events.times[k], 0.0)
        response = synaptic_kernel(s, tau_mem, tau_syn, delta)
        responses[k, 0] = -tau_syn * math.expm1(-s / tau_syn) - response
        changes[k, 0] = -response / tau_mem


@kernel(fastmath={"contract"})
def readout_linear(weight, events, responses, values):
    """values[sample, m, n] = sum over its events k of weight[neuron of k, n] responses[k, m]."""
    offsets, neurons = events.offsets, events.neurons
    for b in range(offsets.size - 1):
        values[b] = 0.0
        for k in range(offsets[b], offsets[b + 1]):
            j = neurons[k]
            for m in range(responses.shape[1]):
                response = responses[k, m]
                for n in range(weight.shape[1]):
                    values[b, m, n] += weight[j, n] * response


@kernel(fastmath={"contract", "reassoc"})
def readout_linear_backward(weight, events, responses, changes, d_values, d_weight, d_times):
    """Add the gradient to `d_weight`, (n_pre, n_post), and write dL/dt of every event to `d_times`.

    d_values : float64, (n_samples, n_values, n_post); d_times : float64, (n_events,), of size 0 when not wanted
    """
    offsets, neurons = events.offsets, events.neurons
    real = weight.dtype.type
    for b in range(offsets.size - 1):
        for k in range(offsets[b], offsets[b + 1]):
            j, d_time = neurons[k], 0.0
            for m in range(responses.shape[1]):
                response, along = responses[k, m], 0.0
                for n in range(weight.shape[1]):
                    d_weight[j, n] += real(response * d_values[b, m, n])
                    along += weight[j, n] * d_values[b, m, n]
                d_time += changes[k, m] * along
            if d_times.size > 0:
                d_times[k] = d_time
