"""EventProp in any network: the adjoint, backwards over the recorded events of one sample.

The adjoint of neuron n is g_v = dL/dv and g_r = dL/di_r (in Wunderlich & Pehle 2021: -tau_mem lambda_v, -tau_syn
lambda_i). Between events it is free; measured from a reference time R, s = t - R >= 0,

    g_v = A exp(s/tau_mem),     g_r = exp(s/tau_r) (B_r - A x_r(s)/tau_mem),     x_r = (1 - exp(-delta_r s))/delta_r

so A and B_r stay as they are until the neuron fires, and R moves to earlier times now and then. An arrival over
weight w takes from them, as two multiply-adds each, dL/dw = g_r and dL/d(arrival time) = w (g_r/tau_r - g_v/tau_mem).
At a spike

    end of the refractory time, at r:   dL/dr = -g_v dv/dt(r+), dL/dv_reset = g_v;   then g_v = 0
    the spike itself, at T:             g_v = -dL/dT / (dv/dt)(T-), dL/dv_threshold = -g_v

where dL/dT has been collected from the loss, from the arrivals that this spike caused and from its r = T + t_refrac;
g_r passes unchanged. A loss on V' = dv/dt just before the spike, with c = dL/dV', adds to that

    V' = (sum_r i_r(T) - (v_threshold - v_inf))/tau_mem:    dL/dT -= c sum_r i_r(T)/(tau_r tau_mem),
    g_r += c/tau_mem,    dL/dv_threshold -= c/tau_mem       (time constants, v_inf: `eventprop_forward`)
"""

from __future__ import annotations

import math

from eventsnn.kernels.constants import CANCELLATION_SPAN, REFERENCE_SPAN
from eventsnn.kernels.flow import synaptic_kernel, warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.queue_state import SEGMENT_END, SEGMENT_GROUP, SEGMENT_RECEPTOR, SEGMENT_START

#: kinds of items, in the order they happen at one instant. A potential that the loss looks at (PROBE) is that after
#: the reset; an arrival comes after everything else.
SPIKE, RELEASE, PROBE, ARRIVAL = 0, 1, 2, 3
#: rows of `items`: the kind; the number of the spike (SPIKE, RELEASE: among the neurons' spikes, ARRIVAL: of a source)
#: or probe; the segment of an arrival
KIND, NUMBER, SEGMENT = 0, 1, 2
#: rows of `sums`: derivatives with respect to v_threshold, v_reset and t_refrac of each neuron
D_THRESHOLD, D_RESET, D_REFRACTORY = 0, 1, 2


@kernel
def reference_span(net):
    """How far an event may lie from the reference time: nothing overflows, and g_r does not cancel."""
    span = math.inf
    for g in range(net.tau_mem.size):
        for r in range(net.n_receptors[g]):
            span = min(span, REFERENCE_SPAN * min(net.tau_mem[g], net.tau_syn[g, r]))
            if net.delta[g, r] > 0.0:
                span = min(span, CANCELLATION_SPAN / net.delta[g, r])
    return span


@kernel
def _move_reference(net, adjoint, shift):
    """Measure all coefficients from a reference time earlier by `shift`."""
    for g in range(net.tau_mem.size):
        tau_mem = net.tau_mem[g]
        keep = math.exp(-shift / tau_mem)
        for r in range(net.n_receptors[g]):
            tau_syn = net.tau_syn[g, r]
            mix = synaptic_kernel(shift, tau_mem, tau_syn, net.delta[g, r]) / tau_mem
            fade = math.exp(-shift / tau_syn)
            for n in range(net.group_start[g], net.group_start[g + 1]):
                adjoint[n, 1 + r] = adjoint[n, 1 + r] * fade + adjoint[n, 0] * mix
        for n in range(net.group_start[g], net.group_start[g + 1]):
            adjoint[n, 0] *= keep


@kernel(inline=True)
def _set_voltage_adjoint(net, adjoint, n, s, value):
    """g_v of neuron n becomes `value` at s; g_r stays."""
    g = net.group_of[n]
    changed = value * math.exp(-s / net.tau_mem[g])
    difference = (changed - adjoint[n, 0]) / net.tau_mem[g]
    for r in range(net.n_receptors[g]):
        adjoint[n, 1 + r] += difference * warp(s, net.delta[g, r])
    adjoint[n, 0] = changed


@kernel(fastmath={"contract"})
def _take(adjoint, targets, weights, low, high, r, fade, cross, rate, rise, d_weights, d_delays):
    """Add the derivatives of one arrival to its synapses; returns dL/d(arrival time)."""
    total = 0.0
    want_delays = d_delays.size > 0
    for k in range(low, high):
        n = targets[k]
        g_syn = adjoint[n, 1 + r] * fade - adjoint[n, 0] * cross
        d_weights[k] += g_syn
        d_arrival = weights[k] * (g_syn * rate - adjoint[n, 0] * rise)
        total += d_arrival
        if want_delays:
            d_delays[k] += d_arrival
    return total


@kernel
def adjoint_run(
    net, times, items, spike_neurons, probe_neurons, probe_values, record, floor, t_start, adjoint, d_times,
    d_slopes, d_heights, d_weights, d_delays, sums,
):  # fmt: skip
    """Go backwards through one sample; returns how many slopes were raised to `floor`.

    Parameters
    ----------
    net : QueueNetwork
    times, items : as in `forward_run`, which fills `record`
    spike_neurons : (n_spikes,); probe_neurons, probe_values : (n_probes,), dL/dv
    floor : (N,), least dv/dt at a spike
    adjoint : (N, 1 + K), zero; on return g_v and g_r at t_start
    d_times : (n_source_spikes + n_spikes,), dL/dt of the external, then the neurons' spikes: on entry that of the loss,
        on return everything
    d_slopes : (n_spikes,), dL/d(dv/dt) just before each spike
    d_heights : (n_spikes,), dL/dv just before each spike, at a fixed time: on entry that which is put in, on return
        everything
    d_weights : (n_synapses,), added to; d_delays : likewise, or of size 0 when not wanted
    sums : (3, N), added to
    """
    span, reference = reference_span(net), math.inf
    n_external = d_times.size - spike_neurons.size
    n_raised = 0
    for k in range(times.size - 1, -1, -1):
        t, kind, number = times[k], items[KIND, k], items[NUMBER, k]
        if t < reference:
            earlier = max(t - span, t_start)
            if reference < math.inf:
                _move_reference(net, adjoint, reference - earlier)
            reference = earlier
        s = t - reference
        if kind == ARRIVAL:
            place = net.segment_place[items[SEGMENT, k]]
            g, r = place[SEGMENT_GROUP], place[SEGMENT_RECEPTOR]
            tau_mem, tau_syn = net.tau_mem[g], net.tau_syn[g, r]
            fade = math.exp(s / tau_syn)
            d_times[number] += _take(
                adjoint, net.targets, net.weights, place[SEGMENT_START], place[SEGMENT_END], r, fade,
                fade * warp(s, net.delta[g, r]) / tau_mem, 1.0 / tau_syn, math.exp(s / tau_mem) / tau_mem,
                d_weights, d_delays,
            )  # fmt: skip
        elif kind == PROBE:
            n = probe_neurons[number]
            if record.held[net.theta.size + number] != 0:
                sums[D_RESET, n] += probe_values[number]
                continue
            g_v = adjoint[n, 0] * math.exp(s / net.tau_mem[net.group_of[n]])
            _set_voltage_adjoint(net, adjoint, n, s, g_v + probe_values[number])
        elif kind == RELEASE:
            n = spike_neurons[number]
            g_v = adjoint[n, 0] * math.exp(s / net.tau_mem[net.group_of[n]])
            sums[D_RESET, n] += g_v
            d_release = -g_v * record.after[number]
            sums[D_REFRACTORY, n] += d_release
            d_times[n_external + number] += d_release
            _set_voltage_adjoint(net, adjoint, n, s, 0.0)
        else:
            n = spike_neurons[number]
            if d_slopes[number] != 0.0:
                g = net.group_of[n]
                d_current = d_slopes[number] / net.tau_mem[g]
                d_times[n_external + number] -= d_current * record.fading[number]
                sums[D_THRESHOLD, n] -= d_current
                for r in range(net.n_receptors[g]):
                    adjoint[n, 1 + r] += d_current * math.exp(-s / net.tau_syn[g, r])
            d_time = d_times[n_external + number]
            slope = record.before[number]
            if d_time != 0.0 and slope < floor[n]:
                slope = floor[n]
                n_raised += 1
            g_v = -d_time / slope if d_time != 0.0 else 0.0
            sums[D_THRESHOLD, n] -= g_v
            d_heights[number] += g_v
            _set_voltage_adjoint(net, adjoint, n, s, d_heights[number])
    if reference < math.inf:
        _move_reference(net, adjoint, reference - t_start)
    return n_raised
