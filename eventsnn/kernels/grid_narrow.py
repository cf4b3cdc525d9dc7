"""Spikes of a population to few neurons: where many of it fire, by step instead of by spike.

A row of ten weights is too short for wide instructions, and adding it costs as much as one of a hundred. The flags of
all source neurons in a step are long enough, whatever the number of targets: forward they are multiplied by the columns
of the weights, backward they are added up, times dL/dx. That costs the same with or without spikes, so every sample is
done in the way that suits it; the choice depends on its own spikes alone. Twins of `scatter_dense` and
`weight_gradient_dense`.
"""

from __future__ import annotations

from eventsnn.kernels.jit import kernel

#: the most targets for which it pays, and the share of neurons and steps with a spike, as 1 in so many
WIDEST, ONE_IN = 32, 12
#: steps that are done together: a load of the weights, or of the sums, for so many
STEPS_FORWARD, STEPS_BACKWARD = 4, 8


@kernel(inline=True)
def most_listed(n_steps, n_pre):
    """Spikes of a sample up to which it is cheaper to go by them than by step."""
    return n_steps * n_pre // ONE_IN


@kernel(inline=True)
def set_flags(u, threshold, t, end, flags):
    """1 where a neuron fires in step t + r, into flags[r]; 0 from step `end` on."""
    one, zero = flags.dtype.type(1.0), flags.dtype.type(0.0)
    for r in range(flags.shape[0]):
        row = flags[r]
        if t + r < end:
            now = u[t + r]
            for k in range(row.size):
                row[k] = one if now[k] > threshold[k] else zero
        else:
            for k in range(row.size):
                row[k] = zero


@kernel(fastmath={"contract", "reassoc"})  # the order of a sum is open, and always the same
def scatter_narrow(starts, neurons, n_spikes, u, threshold, weight, transposed, lag, first, flags, x):
    """Add what the spikes send to x (n_samples, n_steps, n), columns from `first` on.

    n_spikes : (n_samples,); those of samples that have more than `most_listed` need not be listed
    u, threshold : of the source; flags : (STEPS_FORWARD or more, n_pre), work
    """
    zero = x.dtype.type(0.0)
    n_steps, n_pre, n = x.shape[1], weight.shape[0], weight.shape[1]
    end = n_steps - lag
    most = most_listed(n_steps, n_pre)
    f0, f1, f2, f3 = flags[0], flags[1], flags[2], flags[3]
    for s in range(x.shape[0]):
        rows = x[s]
        if n_spikes[s] <= most:
            for t in range(end):
                for e in range(starts[s * n_steps + t], starts[s * n_steps + t + 1]):
                    w = weight[neurons[e]]
                    for o in range(n):
                        rows[t + lag, first + o] += w[o]
            continue
        for t in range(0, end, STEPS_FORWARD):
            set_flags(u[s], threshold, t, end, flags[:STEPS_FORWARD])
            for o in range(n):
                w = transposed[o]
                s0, s1, s2, s3 = zero, zero, zero, zero
                for k in range(n_pre):
                    s0 += f0[k] * w[k]
                    s1 += f1[k] * w[k]
                    s2 += f2[k] * w[k]
                    s3 += f3[k] * w[k]
                rows[t + lag, first + o] += s0
                if t + 1 < end:
                    rows[t + lag + 1, first + o] += s1
                if t + 2 < end:
                    rows[t + lag + 2, first + o] += s2
                if t + 3 < end:
                    rows[t + lag + 3, first + o] += s3


@kernel(fastmath={"contract"})
def weight_gradient_narrow(starts, neurons, n_spikes, u, threshold, a, lag, first, flags, total, d_weight):
    """Add a[s, t + lag, first : first + n] to the row of every spike's neuron.

    starts, neurons, n_spikes : as in `scatter_narrow`; flags : (STEPS_BACKWARD, n_pre), total : (n, n_pre), work
    """
    zero = a.dtype.type(0.0)
    n_steps, n_pre, n = a.shape[1], d_weight.shape[0], d_weight.shape[1]
    end = n_steps - lag
    last = n_steps - 1
    most = most_listed(n_steps, n_pre)
    f0, f1, f2, f3, f4, f5, f6, f7 = (
        flags[0], flags[1], flags[2], flags[3], flags[4], flags[5], flags[6], flags[7],
    )  # fmt: skip
    n_busy = 0
    for s in range(a.shape[0]):
        rows = a[s]
        if n_spikes[s] <= most:
            for t in range(end):
                for e in range(starts[s * n_steps + t], starts[s * n_steps + t + 1]):
                    target = d_weight[neurons[e]]
                    for o in range(n):
                        target[o] += rows[t + lag, first + o]
            continue
        if n_busy == 0:
            total[:] = zero
        n_busy += 1
        for t in range(0, end, STEPS_BACKWARD):
            set_flags(u[s], threshold, t, end, flags)
            p = t + lag  # beyond the last step flags are 0, and any row will do
            for o in range(first, first + n):
                a0, a1, a2, a3, a4, a5, a6, a7 = (
                    rows[p, o], rows[min(p + 1, last), o], rows[min(p + 2, last), o], rows[min(p + 3, last), o],
                    rows[min(p + 4, last), o], rows[min(p + 5, last), o], rows[min(p + 6, last), o],
                    rows[min(p + 7, last), o],
                )  # fmt: skip
                sums = total[o - first]
                for k in range(n_pre):
                    early = (a0 * f0[k] + a1 * f1[k]) + (a2 * f2[k] + a3 * f3[k])
                    sums[k] += early + ((a4 * f4[k] + a5 * f5[k]) + (a6 * f6[k] + a7 * f7[k]))
    if n_busy > 0:
        for j in range(n_pre):
            for o in range(n):
                d_weight[j, o] += total[o, j]
