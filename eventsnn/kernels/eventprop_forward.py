"""EventProp, forwards through the recorded events of one sample: dv/dt at the spikes, dv/dp for a neuron's own p.

A neuron's time constants and rest act directly through its own state alone, at fixed spikes and arrivals. With
dL/dv just before its spikes known (`adjoint_run`), their gradient is the sum over its spikes and probes of dL/dv dv/dp,
so one pass forwards takes dv/dp there. In un-decayed coefficients, s = t - R from a reference time R, x_r the warped
time of `flow` and Y_r = integral x_r ds = (s - x_r)/delta_r,

    i_r           = exp(-s/tau_r) I_r                     di_r/dtau_r = exp(-s/tau_r) (s I_r - J_r)/tau_r^2
    v - v_inf     = exp(-s/tau_mem) (P + sum_r I_r x_r/tau_mem)
    dv/dv_inf     = 1 - exp(-s/tau_mem) V
    dv/dtau_mem   = exp(-s/tau_mem) (Z + s P + sum_r I_r (Y_r/tau_mem - x_r))/tau_mem^2
    dv/dtau_r     = exp(-s/tau_mem) (W_r + I_r (s x_r - Y_r) - J_r x_r)/(tau_mem tau_r^2)

The coefficients stay as they are between arrivals: weight w at s_k adds g = w exp(s_k/tau_r) to I_r and

    J_r += g s_k,    W_r += g Y_r(s_k),    P -= g x_r(s_k)/tau_mem,
    Z += g (x_r(s_k) + (s_k x_r(s_k) - Y_r(s_k))/tau_mem)

all of them factors that the targets of a spike share. At the end of a refractory time P, V, Z, W_r are set so that
v = v_reset and the derivatives of v are zero; I_r and J_r run on.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.eventprop_engine import ARRIVAL, KIND, NUMBER, PROBE, SEGMENT, SPIKE, reference_span
from eventsnn.kernels.flow import synaptic_kernel, warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.queue_state import SEGMENT_END, SEGMENT_GROUP, SEGMENT_RECEPTOR, SEGMENT_START

#: columns of the derivatives with respect to a neuron's own parameters; those of tau_r come behind
D_TAU_MEM, D_V_INF, D_TAU_SYN = 0, 1, 2
#: columns of `cells`; from I_SYN on those of the first receptor, the others follow
P, Z, V, I_SYN, J, W = range(6)
_PER_RECEPTOR = 3
#: the last axis of `factors`: s, exp(-s/tau_r), x_r, Y_r
_AT, _FADE, _X, _Y = range(4)
#: 1/2! + z/3! + z^2/4! + ..., from the highest power on: below _SERIES_BELOW what is left out is below 1e-16
_SERIES = tuple(1.0 / math.factorial(k) for k in range(12, 1, -1))
_SERIES_BELOW = 0.25


class EventRecord(NamedTuple):
    """What `forward_run` leaves behind for the way back.

    before, fading, after : (n_spikes,), dv/dt and sum_r i_r/tau_r just before each spike, dv/dt at its release (0 where
        that is not among the items)
    held : uint8, (N + n_probes,), 0; on return, behind the first N, 1 for a probe of a potential held at v_reset
    at_spikes, at_probes : (n_spikes, C), (n_probes, C), dv/dp (just before a spike) in the columns D_TAU_MEM ..., and
        behind them di_r/dtau_r; 0 for a probe of a held potential. C = 2 + 2 K, or C = 0 where they are not wanted
    """

    before: NDArray[np.float64]
    fading: NDArray[np.float64]
    after: NDArray[np.float64]
    held: NDArray[np.uint8]
    at_spikes: NDArray[np.float64]
    at_probes: NDArray[np.float64]


@kernel
def warp_integral(s: float, x: float, delta: float) -> float:
    """integral from 0 to s of warp(s, delta) = (s - x)/delta, x = warp(s, delta); s^2/2 where delta == 0."""
    z = -delta * s
    if math.fabs(z) < _SERIES_BELOW:
        total = 0.0
        for coefficient in _SERIES:
            total = total * z + coefficient
        return s * s * total
    return (s - x) / delta


@kernel
def decayed_warp_integral(s: float, tau: float, delta: float) -> float:
    """exp(-s/tau) times `warp_integral`; no overflow for any s >= 0 if 1/tau + delta >= 0."""
    decay = math.exp(-s / tau)
    if -delta * s < 30.0:
        return decay * warp_integral(s, warp(s, delta), delta)
    return (s * decay - (decay - math.exp(-s * (1.0 / tau + delta))) / delta) / delta


@kernel
def _move_reference(net, cells, factors, shift, wanted):
    """Measure all coefficients from a reference time later by `shift`, however large."""
    for g in range(net.tau_mem.size):
        tau_mem = net.tau_mem[g]
        decay = math.exp(-shift / tau_mem)
        low, high = net.group_start[g], net.group_start[g + 1]
        if wanted:
            for n in range(low, high):
                cells[n, Z] = decay * (cells[n, Z] + shift * cells[n, P])
                cells[n, P] *= decay
                cells[n, V] *= decay
        for r in range(net.n_receptors[g]):
            factors[g, r, _AT] = math.nan
            tau_syn, delta, c = net.tau_syn[g, r], net.delta[g, r], _PER_RECEPTOR * r
            fade = math.exp(-shift / tau_syn)
            if wanted:
                x = synaptic_kernel(shift, tau_mem, tau_syn, delta)
                y = decayed_warp_integral(shift, tau_mem, delta)
                for n in range(low, high):
                    i, j = cells[n, c + I_SYN], cells[n, c + J]
                    cells[n, P] += i * x / tau_mem
                    cells[n, Z] += i * (y / tau_mem - x)
                    cells[n, c + W] = decay * cells[n, c + W] + i * (shift * x - y) - j * x
                    cells[n, c + J] = fade * (j - shift * i)
            for n in range(low, high):
                cells[n, c + I_SYN] *= fade


@kernel(inline=True)
def _move_factors(net, factors, g, r, s, wanted):
    """The factors of a group's receptor, at s; what happens at one instant shares them."""
    own = factors[g, r]
    if own[_AT] != s:
        own[_AT], own[_FADE] = s, math.exp(-s / net.tau_syn[g, r])
        if wanted:
            x = warp(s, net.delta[g, r])
            own[_X], own[_Y] = x, warp_integral(s, x, net.delta[g, r])


@kernel(fastmath={"contract"}, inline=True)
def _arrive(net, cells, low, high, r, tau_mem, factors, wanted):
    """Synapses low : high of one segment: a multiply-add each or, with the derivatives, five."""
    c = _PER_RECEPTOR * r
    s, rise, x, y = factors[_AT], 1.0 / factors[_FADE], factors[_X], factors[_Y]
    if not wanted:
        for k in range(low, high):
            cells[net.targets[k], c + I_SYN] += net.weights[k] * rise
        return
    to_p, to_z = -rise * x / tau_mem, rise * (x + (s * x - y) / tau_mem)
    to_j, to_w = rise * s, rise * y
    for k in range(low, high):
        n, w = net.targets[k], net.weights[k]
        cells[n, P] += w * to_p
        cells[n, Z] += w * to_z
        cells[n, c + I_SYN] += w * rise
        cells[n, c + J] += w * to_j
        cells[n, c + W] += w * to_w


@kernel(inline=True)
def _derivatives(net, g, cell, s, factors, out):
    """dv/dp and di_r/dtau_r of a neuron of group g at s, see `EventRecord`."""
    tau_mem, n_receptors = net.tau_mem[g], net.n_receptors[g]
    decay, z = math.exp(-s / tau_mem), cell[Z] + s * cell[P]
    for r in range(n_receptors):
        c, tau_square = _PER_RECEPTOR * r, net.tau_syn[g, r] * net.tau_syn[g, r]
        x, y, i, j = factors[r, _X], factors[r, _Y], cell[c + I_SYN], cell[c + J]
        z += i * (y / tau_mem - x)
        out[D_TAU_SYN + r] = decay * (cell[c + W] + i * (s * x - y) - j * x) / (tau_mem * tau_square)
        out[D_TAU_SYN + net.tau_syn.shape[1] + r] = factors[r, _FADE] * (s * i - j) / tau_square
    out[D_TAU_MEM] = decay * z / (tau_mem * tau_mem)
    out[D_V_INF] = 1.0 - decay * cell[V]


@kernel(inline=True)
def _release(net, g, cell, s, factors, u):
    """v - v_inf = u from s on, whatever the parameters are."""
    tau_mem = net.tau_mem[g]
    rise, p, z = math.exp(s / tau_mem), 0.0, 0.0
    for r in range(net.n_receptors[g]):
        c = _PER_RECEPTOR * r
        x, y, i, j = factors[r, _X], factors[r, _Y], cell[c + I_SYN], cell[c + J]
        p -= i * x / tau_mem
        z -= i * (y / tau_mem - x)
        cell[c + W] = j * x - i * (s * x - y)
    p += u * rise
    cell[P], cell[Z], cell[V] = p, z - s * p, rise


@kernel
def forward_run(net, times, items, spike_neurons, probe_neurons, cells, factors, t_start, record):
    """Go through one sample and fill `record`.

    net : QueueNetwork
    times : (n_items,), items : int64, (3, n_items), all that happens, in order
    spike_neurons : (n_spikes,); probe_neurons : (n_probes,)
    cells : (N, 3 + 3 K), the coefficients at t_start, P = v - v_inf, V = 1, I_r = i_r, all others 0; scratch from then
        on. Side by side, because a synaptic event needs nearly all of them
    factors : (G, K, 4), scratch
    record : EventRecord
    """
    span, reference, n_neurons = reference_span(net), t_start, net.theta.size
    wanted, held = record.at_spikes.shape[1] > 0, record.held
    factors[:, :, _AT] = math.nan
    for k in range(times.size):
        s, kind, e = times[k] - reference, items[KIND, k], items[NUMBER, k]
        if s > span:
            _move_reference(net, cells, factors, s, wanted)
            reference, s = times[k], 0.0
        if kind == ARRIVAL:
            place = net.segment_place[items[SEGMENT, k]]
            g, r = place[SEGMENT_GROUP], place[SEGMENT_RECEPTOR]
            _move_factors(net, factors, g, r, s, wanted)
            low, high = place[SEGMENT_START], place[SEGMENT_END]
            _arrive(net, cells, low, high, r, net.tau_mem[g], factors[g, r], wanted)
            continue
        n = probe_neurons[e] if kind == PROBE else spike_neurons[e]
        g = net.group_of[n]
        i_syn, faded = 0.0, 0.0
        for r in range(net.n_receptors[g]):
            _move_factors(net, factors, g, r, s, wanted)
            own = cells[n, _PER_RECEPTOR * r + I_SYN] * factors[g, r, _FADE]
            i_syn += own
            faded += own / net.tau_syn[g, r]
        if kind == PROBE:
            held[n_neurons + e] = held[n]
            if wanted and held[n] == 0:
                _derivatives(net, g, cells[n], s, factors[g], record.at_probes[e])
        elif kind == SPIKE:
            held[n] = 1
            record.before[e], record.fading[e] = (i_syn - net.theta[n]) / net.tau_mem[g], faded
            if wanted:
                _derivatives(net, g, cells[n], s, factors[g], record.at_spikes[e])
        else:
            held[n] = 0
            record.after[e] = (i_syn - net.reset[n]) / net.tau_mem[g]
            if wanted:
                _release(net, g, cells[n], s, factors[g], net.reset[n])


@kernel
def add_neuron_parameters(
    net, spike_neurons, probe_neurons, probe_values, record, d_slopes, d_heights, gradients
):  # fmt: skip
    """Add dL/dp of every neuron to `gradients`, (N, 2 + K).

    net, spike_neurons, probe_neurons, probe_values, record, d_slopes : as in `adjoint_run`
    d_heights : (n_spikes,), dL/dv just before each spike, as `adjoint_run` leaves it
    """
    n_receptors = net.tau_syn.shape[1]
    for e in range(spike_neurons.size):
        own, at = gradients[spike_neurons[e]], record.at_spikes[e]
        for c in range(D_TAU_SYN + n_receptors):
            own[c] += d_heights[e] * at[c]
        if d_slopes[e] != 0.0:
            # of dv/dt = (sum_r i_r - (v_threshold - v_inf))/tau_mem
            d_current = d_slopes[e] / net.tau_mem[net.group_of[spike_neurons[e]]]
            own[D_TAU_MEM] -= d_current * record.before[e]
            own[D_V_INF] += d_current
            for r in range(n_receptors):
                own[D_TAU_SYN + r] += d_current * at[D_TAU_SYN + n_receptors + r]
    for e in range(probe_neurons.size):
        own, at = gradients[probe_neurons[e]], record.at_probes[e]
        for c in range(D_TAU_SYN + n_receptors):
            own[c] += probe_values[e] * at[c]
