"""EventProp in a layer without a limit on spikes: backwards over its input and output spikes, in the order of time.

In the un-decayed form of `layer_backward`, neuron n has dL/di_syn = gain a_n + cross b_n and dL/dv = exp(s/tau_mem) b_n
at any s; both coefficients stay as they are between its own spikes. An input spike takes dL/dw = dL/di_syn, as two
multiply-adds per synapse, and its time w ((dL/di_syn)/tau_syn - (dL/dv)/tau_mem). At an output spike at T, dL/di_syn
passes unchanged and dL/dv becomes

    dL/dv(T-) = -(dL/dT - dL/dv(T+) dv/dt(T+)) / dv/dt(T-),      dv/dt(T+) = dv/dt(T-) + (v_threshold - v_reset)/tau_mem

(Wunderlich & Pehle 2021, doi 10.1038/s41598-021-91786-z).
"""

from __future__ import annotations

from eventsnn.kernels.constants import (
    CROSS,
    GAIN,
    REFERENCE,
    RISE,
    SPIKE_DECAY,
    SPIKE_SLOPE,
    SPIKE_WARPED,
    TIME,
)
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.layer_backward import add_rank_two, move_reference_back


@kernel(fastmath={"contract", "reassoc"})
def _dots(weight, j, a, b):
    """The sums over n of weight[j, n] a[n] and weight[j, n] b[n]."""
    along_a, along_b = weight.dtype.type(0.0), weight.dtype.type(0.0)
    for n in range(weight.shape[1]):
        along_a += weight[j, n] * a[n]
        along_b += weight[j, n] * b[n]
    return along_a, along_b


@kernel
def layer_eventprop(constants, weight, events, factors, out, trace, d_out, floor, work, d_weight, d_times):
    """Gradients of a block; returns the number of slopes that were raised to `floor`.

    Parameters
    ----------
    constants, weight, events, factors : as in the forward pass
    out, trace : the output spikes, as the forward pass left them
    d_out : float64, (n_output_events,), dL/dT
    floor : least dv/dt at a spike
    work : weight.dtype, (>= 2, n_post)
    d_weight : weight.dtype, (n_pre, n_post); added to
    d_times : float64, (n_events,), overwritten with dL/dt of each input event; of size 0 when not wanted
    """
    tau_mem, tau_syn, delta = constants.tau_mem, constants.tau_syn, constants.delta
    rise_of_slope = constants.reset_jump / tau_mem
    want_times = d_times.size > 0
    a, b = work[0], work[1]
    offsets, neurons, values, clock = events.offsets, events.neurons, factors.values, factors.clock
    out_offsets, out_neurons, out_times = out.offsets, out.neurons, out.times
    n_raised = 0
    for sample in range(offsets.size - 1):
        start, end, first = offsets[sample], offsets[sample + 1], out_offsets[sample]
        if want_times:
            d_times[start:end] = 0.0
        work[:2] = weight.dtype.type(0.0)
        e, k = out_offsets[sample + 1] - 1, end - 1
        while k >= start and clock[TIME, k] > constants.t_end:
            k -= 1
        if e < first:
            continue  # nothing fired: all gradients are zero
        while k >= start:
            if k + 1 < end and clock[REFERENCE, k + 1] != clock[REFERENCE, k]:
                move_reference_back(a, b, clock[REFERENCE, k + 1] - clock[REFERENCE, k], tau_mem, tau_syn, delta)
            # an output spike at the time of an input came before it
            while e >= first and out_times[e] > clock[TIME, k]:
                n, slope, decay = out_neurons[e], trace[SPIKE_SLOPE, e], trace[SPIKE_DECAY, e]
                before = b[n]
                d_time = d_out[e] - before / decay * (slope + rise_of_slope)
                if d_time != 0.0 and slope < floor:
                    slope = floor
                    n_raised += 1
                after = -d_time / slope * decay if d_time != 0.0 else 0.0
                a[n] += (after - before) * trace[SPIKE_WARPED, e]
                b[n] = after
                e -= 1
            j = neurons[k]
            add_rank_two(d_weight, j, a, b, values[GAIN, k], values[CROSS, k])
            if want_times:
                along_a, along_b = _dots(weight, j, a, b)
                current = values[GAIN, k] * along_a + values[CROSS, k] * along_b
                d_times[k] = current / tau_syn - values[RISE, k] * along_b / tau_mem
            k -= 1
    return n_raised
