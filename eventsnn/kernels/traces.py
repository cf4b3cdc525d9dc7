"""Membrane potential and synaptic currents at given times, from the recorded spikes and the exact flow."""

from __future__ import annotations

import math

from eventsnn.kernels.flow import decay_difference, synaptic_kernel
from eventsnn.kernels.jit import kernel

#: columns of `parameters`, and places in `state`
TAU_MEM, V_INF, V_RESET, T_REFRAC, V_START, HELD_UNTIL = range(6)
_TIME, _V, _HELD = 0, 1, 2


@kernel
def _flow_to(state, currents, t, parameter, tau_syn):
    """Advance state = [time, v, end of the refractory time] and the currents to t."""
    tau_mem, start = parameter[TAU_MEM], state[_TIME]
    if start < state[_HELD]:
        start = min(state[_HELD], t)
        for r in range(currents.size):
            currents[r] *= math.exp(-(start - state[_TIME]) / tau_syn[r])
        state[_V] = parameter[V_RESET]
    u = (state[_V] - parameter[V_INF]) * math.exp(-(t - start) / tau_mem)
    for r in range(currents.size):
        delta = decay_difference(tau_mem, tau_syn[r])
        u += currents[r] / tau_mem * synaptic_kernel(t - start, tau_mem, tau_syn[r], delta)
        currents[r] *= math.exp(-(t - start) / tau_syn[r])
    state[_TIME], state[_V] = t, u + parameter[V_INF]


@kernel
def membrane_traces(
    parameters, tau_syn, t_start, start_currents, arrival_ends, arrival_times, arrival_receptors, arrival_weights,
    spike_ends, spike_times, at, state, currents, v, i_syn,
):  # fmt: skip
    """Fill v, (n_times, n), and i_syn, (n_times, n, K), of n neurons at the sorted times `at`, all >= t_start.

    parameters : (n, 6), columns TAU_MEM ... HELD_UNTIL; tau_syn, start_currents : (n, K)
    arrival_* : what arrives at neuron k, in order, lies in arrival_ends[k] : arrival_ends[k + 1]; likewise its spikes
    state : (3,), currents : (K,), scratch

    Spikes and arrivals at a time asked for count as past. An arrival at the very time of a spike comes after it: the
    spike was decided without it.
    """
    for n in range(parameters.shape[0]):
        parameter = parameters[n]
        state[_TIME], state[_V], state[_HELD] = t_start, parameter[V_START], parameter[HELD_UNTIL]
        for r in range(currents.size):
            currents[r] = start_currents[n, r]
        k, m = arrival_ends[n], spike_ends[n]
        for a in range(at.size):
            while True:
                t_in = arrival_times[k] if k < arrival_ends[n + 1] else math.inf
                t_out = spike_times[m] if m < spike_ends[n + 1] else math.inf
                t = min(t_in, t_out)
                if t > at[a] or t == math.inf:
                    break
                _flow_to(state, currents, t, parameter, tau_syn[n])
                if t_out <= t_in:
                    state[_V] = parameter[V_RESET]
                    state[_HELD] = t + parameter[T_REFRAC]
                    m += 1
                else:
                    currents[arrival_receptors[k]] += arrival_weights[k]
                    k += 1
            _flow_to(state, currents, at[a], parameter, tau_syn[n])
            v[a, n] = state[_V]
            for r in range(currents.size):
                i_syn[a, n, r] = currents[r]
