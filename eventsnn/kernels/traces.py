"""Membrane potential and synaptic current at given times, from the recorded spikes and the exact flow."""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.flow import decay_difference, lif_flow
from eventsnn.kernels.jit import kernel


@kernel
def _flow_to(state, t, v_inf, v_reset, tau_mem, tau_syn, delta):
    """Advance state = [time, v, i_syn, end of the refractory time] to t."""
    if state[0] < state[3]:
        held_until = min(state[3], t)
        state[2] *= np.exp(-(held_until - state[0]) / tau_syn)
        state[0], state[1] = held_until, v_reset
    u, i = lif_flow(state[1] - v_inf, state[2], t - state[0], tau_mem, tau_syn, delta)
    state[0], state[1], state[2] = t, u + v_inf, i


@kernel(allocates=True)
def membrane_traces(parameters, weight, in_neurons, in_times, out_neurons, out_times, at, v, i_syn):
    """Fill v and i_syn, both (n_times, n_post), at the sorted times `at`.

    parameters : (7, n_post): tau_mem, tau_syn, v_threshold, v_reset, v_leak, t_refrac, i_bias
    in_*, out_* : arriving and own spikes of one sample in order; a spike at a time asked for counts as past
    """
    state = np.zeros(4)
    for n in range(weight.shape[1]):
        tau_mem, tau_syn, v_reset, v_leak = parameters[0, n], parameters[1, n], parameters[3, n], parameters[4, n]
        v_inf = v_leak + parameters[6, n]
        delta = decay_difference(tau_mem, tau_syn)
        state[:] = 0.0
        state[1] = v_leak
        k, m = 0, 0
        for a in range(at.size):
            while True:
                while m < out_times.size and out_neurons[m] != n:
                    m += 1
                t_in = in_times[k] if k < in_times.size else np.inf
                t_out = out_times[m] if m < out_times.size else np.inf
                t = min(t_in, t_out)
                if t > at[a]:
                    break
                _flow_to(state, t, v_inf, v_reset, tau_mem, tau_syn, delta)
                # An input at the very time of the spike arrives after it: the spike was decided without it.
                if t_out <= t_in:
                    state[1] = v_reset
                    state[3] = t + parameters[5, n]
                    m += 1
                else:
                    state[2] += weight[in_neurons[k], n]
                    k += 1
            _flow_to(state, at[a], v_inf, v_reset, tau_mem, tau_syn, delta)
            v[a, n] = state[1]
            i_syn[a, n] = state[2]
