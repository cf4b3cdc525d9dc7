"""EventProp, neuron by neuron: derivatives with respect to time constants and rest, integrals over the adjoint.

With dL/dT of a neuron's spikes known (`eventprop_engine`), its adjoint g_v, g_r follows from its own arrivals. Between
two events, at a distance h, with u = v - v_inf and the currents i_r at the first, g_v and g_r at the second,

    dL/dv_inf   += integral g_v/tau_mem                = g_v (1 - exp(-h/tau_mem))
    dL/dtau_mem -= integral g_v (dv/dt)/tau_mem
    dL/dtau_r   += integral g_r i_r/tau_r^2

all of them in closed form by the integrals of the warped time x: Y = integral x ds = (h - x(h))/delta. A loss on V' =
dv/dt just before a spike adds dL/dV'/tau_mem to dL/dv_inf and -dL/dV' V'/tau_mem to dL/dtau_mem.
"""

from __future__ import annotations

import math

from eventsnn.kernels.eventprop_engine import ARRIVAL, PROBE, RELEASE, SPIKE
from eventsnn.kernels.flow import decay_difference, synaptic_kernel, warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.traces import HELD_UNTIL, T_REFRAC, TAU_MEM, V_INF, V_RESET, V_START

#: columns of `gradients`; those of tau_r come behind
D_TAU_MEM, D_V_INF, D_TAU_SYN = 0, 1, 2


@kernel
def warp_integral(h: float, delta: float) -> float:
    """integral from 0 to h of warp(s, delta) = (h - warp(h, delta))/delta; h^2/2 where delta == 0."""
    z = delta * h
    if math.fabs(z) < 0.5:
        # h^2 (1/2! - z/3! + z^2/4! - ...)
        total, term, k = 0.0, 0.5, 2
        while math.fabs(term) > 1e-18:
            total += term
            k += 1
            term *= -z / k
        return h * h * total
    return (h - warp(h, delta)) / delta


@kernel
def decayed_warp_integral(h: float, tau: float, delta: float) -> float:
    """exp(-h/tau) times `warp_integral`; no overflow for any h >= 0 if 1/tau + delta >= 0."""
    if -delta * h < 30.0:
        return math.exp(-h / tau) * warp_integral(h, delta)
    decay = math.exp(-h / tau)
    return (h * decay - (decay - math.exp(-h * (1.0 / tau + delta))) / delta) / delta


@kernel
def _integrate(parameter, tau_syn, h, held, u, currents, g_v, g_syn, out):
    """Add the integrals over one interval; g_v, g_syn at its end, u and currents at its beginning."""
    tau_mem = parameter[TAU_MEM]
    decay = math.exp(-h / tau_mem)
    drift = -u * h / tau_mem
    for r in range(tau_syn.size):
        tau, i = tau_syn[r], currents[r]
        delta = decay_difference(tau_mem, tau)
        flow = g_syn[r] * math.exp(-h / tau) * h
        if not held:
            flow += g_v / tau_mem * decayed_warp_integral(h, tau, -delta)
            drift += i / tau_mem * h
            # decay may be tiny where the integral is huge: they belong together
            out[D_TAU_MEM] += g_v * i / (tau_mem * tau_mem * tau) * decayed_warp_integral(h, tau_mem, delta)
        out[D_TAU_SYN + r] += flow * i / (tau * tau)
    if not held:
        out[D_TAU_MEM] -= g_v * decay * drift / tau_mem
        out[D_V_INF] -= g_v * math.expm1(-h / tau_mem)


@kernel
def neuron_adjoints(
    parameters, tau_syn, theta, t_start, t_max, start_currents, arrival_ends, arrival_times, arrival_receptors,
    arrival_weights, spike_ends, spike_times, d_times, d_slopes, d_heights, floor, probe_ends, probe_times,
    probe_values, marks, states, g_syn, gradients,
):  # fmt: skip
    """Add the derivatives of n neurons to `gradients`, (n, 2 + K).

    parameters, tau_syn, t_start, start_currents, arrival_*, spike_ends, spike_times : as in `membrane_traces`
    theta : (n,), v_threshold - v_inf; t_max : nothing after it counts
    d_times : dL/dT of the spikes, all contributions; d_slopes, d_heights : as in `adjoint_run`, in their order
    floor : (n,), least dv/dt at a spike
    probe_* : dL/dv of the potentials that the loss looks at, by neuron, in order
    marks : int64, (>= 3 + items, 2), states : (>= 3 + items, 3 + K), scratch for the most items that a neuron has:
        arrivals, probes and twice its spikes; g_syn : (K,), scratch
    """
    n_receptors = tau_syn.shape[1]
    for n in range(parameters.shape[0]):
        parameter = parameters[n]
        tau_mem, v_inf = parameter[TAU_MEM], parameter[V_INF]
        k, m, b = arrival_ends[n], spike_ends[n], probe_ends[n]
        # forwards: every interval's beginning in `states` (time, held, u, currents), what ends it in `marks`
        size, held_until = 0, parameter[HELD_UNTIL]
        states[0, 0], states[0, 1] = t_start, 1.0 if held_until > t_start else 0.0
        states[0, 2] = (parameter[V_RESET] if held_until > t_start else parameter[V_START]) - v_inf
        for r in range(n_receptors):
            states[0, 3 + r] = start_currents[n, r]
        while True:
            t_spike = spike_times[m] if m < spike_ends[n + 1] else math.inf
            t_release = held_until if states[size, 1] > 0.0 else math.inf
            t_probe = probe_times[b] if b < probe_ends[n + 1] else math.inf
            t_arrival = arrival_times[k] if k < arrival_ends[n + 1] else math.inf
            t = min(min(t_spike, t_release), min(t_probe, t_arrival))
            if t > t_max or t == math.inf:
                break
            h, held = t - states[size, 0], states[size, 1] > 0.0
            u = states[size, 2] if held else states[size, 2] * math.exp(-h / tau_mem)
            for r in range(n_receptors):
                i = states[size, 3 + r]
                if not held:
                    delta = decay_difference(tau_mem, tau_syn[n, r])
                    u += i / tau_mem * synaptic_kernel(h, tau_mem, tau_syn[n, r], delta)
                states[size + 1, 3 + r] = i * math.exp(-h / tau_syn[n, r])
            states[size + 1, 0], states[size + 1, 1], states[size + 1, 2] = t, states[size, 1], u
            if t == t_spike:
                marks[size, 0], marks[size, 1] = SPIKE, m
                m += 1
                held_until = t + parameter[T_REFRAC]
                states[size + 1, 1], states[size + 1, 2] = 1.0, parameter[V_RESET] - v_inf
            elif t == t_release:
                marks[size, 0] = RELEASE
                states[size + 1, 1] = 0.0
            elif t == t_probe:
                marks[size, 0], marks[size, 1] = PROBE, b
                b += 1
            else:
                marks[size, 0] = ARRIVAL
                states[size + 1, 3 + arrival_receptors[k]] += arrival_weights[k]
                k += 1
            size += 1
        # backwards
        g_v = 0.0
        g_syn[:] = 0.0
        for item in range(size - 1, -1, -1):
            kind = marks[item, 0]
            if kind == SPIKE:
                e = marks[item, 1]
                i_syn = 0.0
                for r in range(n_receptors):
                    i_syn += states[item + 1, 3 + r]
                slope = (i_syn - theta[n]) / tau_mem
                if d_slopes[e] != 0.0:
                    d_current = d_slopes[e] / tau_mem
                    gradients[n, D_V_INF] += d_current
                    gradients[n, D_TAU_MEM] -= d_current * slope
                    for r in range(n_receptors):
                        g_syn[r] += d_current
                slope = max(slope, floor[n])
                g_v = (-d_times[e] / slope if d_times[e] != 0.0 else 0.0) + d_heights[e]
            elif kind == RELEASE:
                g_v = 0.0
            elif kind == PROBE and states[item, 1] == 0.0:
                g_v += probe_values[marks[item, 1]]
            h, held = states[item + 1, 0] - states[item, 0], states[item, 1] > 0.0
            _integrate(parameter, tau_syn[n], h, held, states[item, 2], states[item, 3:], g_v, g_syn, gradients[n])
            for r in range(n_receptors):
                g_syn[r] *= math.exp(-h / tau_syn[n, r])
                if not held:
                    delta = decay_difference(tau_mem, tau_syn[n, r])
                    g_syn[r] += g_v / tau_mem * synaptic_kernel(h, tau_mem, tau_syn[n, r], delta)
            g_v = 0.0 if held else g_v * math.exp(-h / tau_mem)
