"""Backward pass of a layer with shared parameters: the gradient of a spike time is of rank two in (input, neuron).

With u = v - v_inf at the neuron's event (its spike, or its highest peak when it stayed silent)

    du/dw_j = exp(-S/tau_mem) (gain_j X + cross_j)                     for the causal inputs j
    du/dt_j = -w_j (exp(-S/tau_syn) gain_j - exp(-S/tau_mem) (gain_j X + cross_j)/tau_mem)

and dT/d(.) = -(du/d(.))/slope for a spike; a peak's voltage has du/d(.) itself (its time drops out: the slope is zero
there; a kink moves with the input that makes it, at the slope on its left). So with h = -dL/dT/slope or dL/du:

    dL/dw_j += gain_j a_n + cross_j b_n,        a = h exp(-S/tau_mem) X,  b = h exp(-S/tau_mem)
    dL/dt_j += w_j (gain_j c_n + cross_j d_n),  c = a/tau_mem - h exp(-S/tau_syn),  d = b/tau_mem

Summed over the events in `rank_two`.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import CROSS, GAIN, REFERENCE
from eventsnn.kernels.flow import synaptic_kernel
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.rank_two import add_event_gradients


@kernel(fastmath={"contract"})
def add_rank_two(d_weight, j, a, b, gain, cross):
    """Row j of d_weight += gain a + cross b."""
    for n in range(d_weight.shape[1]):
        d_weight[j, n] += a[n] * gain + b[n] * cross


@kernel
def move_reference_back(a, b, shift, tau_mem, tau_syn, delta):
    """Transpose of the forward pass's move: coefficients for inputs measured from a reference earlier by `shift`."""
    keep = a.dtype.type(math.exp(-shift / tau_mem))
    mix = a.dtype.type(synaptic_kernel(shift, tau_mem, tau_syn, delta))
    fade = a.dtype.type(math.exp(-shift / tau_syn))
    for n in range(a.size):
        a[n] = a[n] * fade + b[n] * mix
        b[n] *= keep


@kernel
def _clip_scale(constants, events, factors, record, height, b, latest, by_event, following, max_norm):
    """min(1, max_norm / norm of this sample's weight gradient), from running sums over the events: no matrix is made.

    sum_j (gain_j a + cross_j b)^2 over the causal inputs needs only the sums of gain^2, gain cross and cross^2.
    """
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    gain_gain, gain_cross, cross_cross, total = 0.0, 0.0, 0.0, 0.0
    start = events.offsets[b]
    values, clock = factors.values, factors.clock
    for k in range(start, latest):
        if k > start and clock[REFERENCE, k] != clock[REFERENCE, k - 1]:
            shift = clock[REFERENCE, k] - clock[REFERENCE, k - 1]
            keep, fade = math.exp(-shift / tau_mem), math.exp(-shift / tau_syn)
            mix = synaptic_kernel(shift, tau_mem, tau_syn, delta)
            cross_cross = keep * keep * cross_cross + 2.0 * keep * mix * gain_cross + mix * mix * gain_gain
            gain_cross = fade * (keep * gain_cross + mix * gain_gain)
            gain_gain *= fade * fade
        gain, cross = np.float64(values[GAIN, k]), np.float64(values[CROSS, k])
        gain_gain += gain * gain
        gain_cross += gain * cross
        cross_cross += cross * cross
        n = by_event[k - start]
        while n >= 0:
            y = height[b, n] * np.float64(record.decay_mem[b, n])
            x = np.float64(record.warped[b, n])
            total += y * y * (x * x * gain_gain + 2.0 * x * gain_cross + cross_cross)
            n = following[n]
    norm = math.sqrt(max(total, 0.0))
    return max_norm / norm if norm > max_norm else 1.0


@kernel(allocates=True)
def layer_backward(constants, weight, events, factors, record, height, max_norm, work, d_weight, d_times):
    """Gradients of a block; returns the number of samples whose weight gradient was clipped.

    Parameters
    ----------
    constants, weight, events, factors, record : as in the forward pass
    height : float64, (n_samples, n_post); h above, 0 where nothing flows
    max_norm : bound on the Frobenius norm of each sample's weight gradient; inf for none
    work : weight.dtype, (4, n_post)
    d_weight : weight.dtype, (n_pre, n_post); added to
    d_times : float64, (n_events,) overwritten with dL/dt of each input event; of size 0 when not wanted
    """
    n_post = weight.shape[1]
    want_times = d_times.size > 0
    n_clipped, longest, zero = 0, 0, weight.dtype.type(0.0)
    offsets, neurons = events.offsets, events.neurons
    values, clock = factors.values, factors.clock
    decay_mem, warped, slope, causal_end = record.decay_mem, record.warped, record.slope, record.causal_end
    for b in range(offsets.size - 1):
        longest = max(longest, offsets[b + 1] - offsets[b])
    by_event = np.empty(longest, np.int64)  # neurons by last causal event: heads of linked lists
    following, n_seen = np.empty(n_post, np.int64), np.empty(n_post, np.int32)
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        if want_times:
            d_times[start:end] = 0.0
        for n in range(n_post):
            n_seen[n] = causal_end[b, n] - start if height[b, n] != 0.0 else 0
        scale = 1.0
        if max_norm < np.inf:
            by_event[: end - start] = -1
            latest = start
            for n in range(n_post):
                if n_seen[n] > 0:
                    following[n] = by_event[n_seen[n] - 1]
                    by_event[n_seen[n] - 1] = n
                    latest = max(latest, start + n_seen[n])
            scale = _clip_scale(constants, events, factors, record, height, b, latest, by_event, following, max_norm)
            n_clipped += scale < 1.0
        for n in range(n_post):
            x, flow = np.float64(warped[b, n]), height[b, n] * np.float64(decay_mem[b, n])
            flows = n_seen[n] > 0  # what else is on record of a neuron is not defined
            work[0, n], work[1, n] = flow * x * scale if flows else zero, flow * scale if flows else zero
        if want_times:
            for n in range(n_post):
                work[2, n], work[3, n] = zero, zero
                if n_seen[n] > 0:
                    x, flow = np.float64(warped[b, n]), height[b, n] * np.float64(decay_mem[b, n])
                    # exp(-S/tau_syn) = exp(-S/tau_mem) (1 - delta X)
                    work[2, n] = flow * (x / constants.tau_mem - (1.0 - constants.delta * x))
                    work[3, n] = flow / constants.tau_mem
                    if slope[b, n] < 0.0:
                        d_times[causal_end[b, n]] -= height[b, n] * slope[b, n]  # a kink moves with its event
        add_event_gradients(constants, weight, neurons, clock, values, start, work, n_seen, d_weight, d_times)
    return n_clipped


@kernel
def event_to_neuron_gradient(events, d_times, d_first):
    """Scatter dL/dt of a layer's input events to the first spike times of the layer before, (n_samples, n_pre).

    Only the first event of a neuron carries the gradient: later ones do not exist for first-spike neurons.
    """
    d_first[:, :] = 0.0
    for b in range(events.offsets.size - 1):
        for k in range(events.offsets[b], events.offsets[b + 1]):
            d_first[b, events.neurons[k]] = d_times[k]


@kernel
def spike_heights(d_first, record, floor, height):
    """height = -dL/dT / max(slope, floor[n]) where a neuron fired, else 0; all (n_samples, n_post), floor (n_post,)."""
    times, slopes = record.time, record.slope
    for b in range(d_first.shape[0]):
        for n in range(d_first.shape[1]):
            d = d_first[b, n]
            if d != 0.0 and times[b, n] < np.inf:
                height[b, n] = -d / max(np.float64(slopes[b, n]), floor[n])
            else:
                height[b, n] = 0.0
