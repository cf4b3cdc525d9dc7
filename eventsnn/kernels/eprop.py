"""e-prop: eligibility traces of synapses, carried forward in time; see `gradients.eprop` for the equations.

One presynaptic neuron after the other, all steps of a sample: the traces of its synapses are a few rows that stay in
the first-level cache, a neuron without a spike costs nothing, and the others begin at their first. Spikes are therefore
kept by neuron: those of neuron j in sample s are firsts[s n_pre + j] : firsts[s n_pre + j + 1] of `steps` and, unless
it is empty, `values`.
"""

from __future__ import annotations

from eventsnn.kernels.grid_step import SUBTRACT, SUBTRACT_LATER, ZERO
from eventsnn.kernels.jit import kernel

# which traces the synapses of one presynaptic neuron have of their own: none, that of the potential, that of the
# current as well
ONE_TRACE, ONE_CURRENT, OWN_CURRENT = 0, 1, 2


@kernel
def events_by_neuron(starts, neurons, values, n_steps, n_pre, firsts, steps, ordered):
    """Events by (sample, step) to events by (sample, neuron), the steps of a neuron in order.

    firsts : (n_samples n_pre + 1,); steps, and `ordered` for the values unless there are none : (n_events,)
    """
    n_samples = (firsts.size - 1) // n_pre
    base = starts[0]
    for s in range(n_samples):
        own = firsts[s * n_pre + 1 : (s + 1) * n_pre + 1]  # first their numbers, then where they end
        own[:] = 0
        low, high = starts[s * n_steps], starts[(s + 1) * n_steps]
        for e in range(low, high):
            own[neurons[e]] += 1
        place = low - base
        for j in range(n_pre):
            number = own[j]
            own[j] = place
            place += number
        for t in range(n_steps):
            for e in range(starts[s * n_steps + t], starts[s * n_steps + t + 1]):
                at = own[neurons[e]]
                steps[at] = t
                if values.size > 0:
                    ordered[at] = values[e]
                own[neurons[e]] = at + 1
    firsts[0] = 0


@kernel(fastmath={"contract"})
def local_decays(u, sigma, beta, threshold, height, v_reset, reset, is_detached, decay):
    """d(u_t)/d(u_(t-1)) of every neuron through itself, its reset included, into decay (n_samples, n_steps, n)."""
    zero, one = u.dtype.type(0.0), u.dtype.type(1.0)
    through_reset = zero if is_detached else one
    for s in range(u.shape[0]):
        decay[s, 0] = zero
        for t in range(1, u.shape[1]):
            old, slope, out = u[s, t - 1], sigma[s, t - 1], decay[s, t]
            if reset == ZERO:
                for k in range(out.size):
                    kept = zero if old[k] > threshold[k] else one
                    out[k] = beta[k] * (kept + through_reset * slope[k] * (v_reset[k] - old[k]))
            elif reset == SUBTRACT:
                for k in range(out.size):
                    out[k] = beta[k] * (one - through_reset * slope[k] * height[k])
            elif reset == SUBTRACT_LATER:
                for k in range(out.size):
                    out[k] = beta[k] - through_reset * slope[k] * height[k]
            else:
                for k in range(out.size):
                    out[k] = beta[k]


@kernel(fastmath={"contract"})
def eprop_gradient(
    firsts, steps, values, lag, kind, alpha, beta, gain, decay, sigma, signal, direct, filtering, traces, d_weight
):  # fmt: skip
    """Add sum_t (signal_t F(e)_t + direct e_t) to d_weight (n_pre, n), e_t = sigma_t du_t/d(weight).

    lag : steps until a spike arrives; kind : which traces there are
    alpha, beta, gain : (n,), of the neurons; their first entries count where neurons share a trace
    decay : (n_samples, n_steps, n), d(u_t)/d(u_(t-1)); not looked at where there is one trace
    sigma, signal : (n_samples, n_steps, n); direct : (n_samples, n), or of no samples
    filtering : (3,), alpha, beta and gain of the readout, whose response to e is F(e)
    traces : (4, n), overwritten
    """
    zero, one = d_weight.dtype.type(0.0), d_weight.dtype.type(1.0)
    n_steps, n_pre, n = sigma.shape[1], d_weight.shape[0], d_weight.shape[1]
    keep_current, keep, amount = filtering[0], filtering[1], filtering[2]
    is_plain, reads_current = values.size == 0, filtering[0] != zero
    i_trace, u_trace, i_filtered, filtered = traces[0], traces[1], traces[2], traces[3]
    for s in range(sigma.shape[0]):
        end = n_steps if direct.shape[0] > 0 else _after_last(signal[s])
        for j in range(n_pre):
            p, stop = firsts[s * n_pre + j], firsts[s * n_pre + j + 1]
            if p == stop:
                continue
            traces[:] = zero
            i_one, u_one = zero, zero
            row = d_weight[j]
            for t in range(steps[p] + lag, end):
                arrived = zero
                while p < stop and steps[p] + lag == t:
                    arrived += one if is_plain else values[p]
                    p += 1
                decays, slope, learn = decay[s, t], sigma[s, t], signal[s, t]
                i_one = alpha[0] * i_one + arrived
                given = gain[0] * i_one
                if kind == ONE_TRACE:
                    u_one = beta[0] * u_one + given
                    if reads_current or direct.shape[0] > 0:
                        u_trace[:] = u_one
                elif kind == ONE_CURRENT:
                    for k in range(n):
                        u_trace[k] = decays[k] * u_trace[k] + given
                else:
                    for k in range(n):
                        i_trace[k] = alpha[k] * i_trace[k] + arrived
                    for k in range(n):
                        u_trace[k] = decays[k] * u_trace[k] + gain[k] * i_trace[k]
                if reads_current:
                    for k in range(n):
                        i_filtered[k] = keep_current * i_filtered[k] + slope[k] * u_trace[k]
                    for k in range(n):
                        new = keep * filtered[k] + amount * i_filtered[k]
                        filtered[k] = new
                        row[k] += learn[k] * new
                elif kind == ONE_TRACE:
                    given = amount * u_one
                    for k in range(n):
                        new = keep * filtered[k] + slope[k] * given
                        filtered[k] = new
                        row[k] += learn[k] * new
                else:
                    for k in range(n):
                        new = keep * filtered[k] + amount * (slope[k] * u_trace[k])
                        filtered[k] = new
                        row[k] += learn[k] * new
                if direct.shape[0] > 0:
                    for k in range(n):
                        row[k] += direct[s, k] * (slope[k] * u_trace[k])


@kernel(inline=True)
def _after_last(rows):
    """The number of rows up to the last one that is not zero."""
    end = rows.shape[0]
    while end > 0 and not rows[end - 1].any():
        end -= 1
    return end


@kernel(fastmath={"contract"})
def readout_gradient(firsts, steps, values, lag, filtering, d_u, d_weight):
    """Add sum_t d_u_t F(z)_t to d_weight (n_pre, n): F(z) is the response of a readout to the spikes z of a neuron.

    d_u : (n_samples, n_steps, n), dL/du of the readouts; filtering : as in `eprop_gradient`
    """
    zero, one = d_weight.dtype.type(0.0), d_weight.dtype.type(1.0)
    n_pre = d_weight.shape[0]
    keep_current, keep, amount = filtering[0], filtering[1], filtering[2]
    is_plain = values.size == 0
    for s in range(d_u.shape[0]):
        for j in range(n_pre):
            p, stop = firsts[s * n_pre + j], firsts[s * n_pre + j + 1]
            if p == stop:
                continue
            row = d_weight[j]
            current, trace = zero, zero
            for t in range(steps[p] + lag, d_u.shape[1]):
                arrived = zero
                while p < stop and steps[p] + lag == t:
                    arrived += one if is_plain else values[p]
                    p += 1
                current = keep_current * current + arrived
                trace = keep * trace + amount * current
                given = d_u[s, t]
                for k in range(row.size):
                    row[k] += trace * given[k]
