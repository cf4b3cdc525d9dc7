"""Spikes of a population to few neurons: where many of it fire, by step instead of by spike.

A row of ten weights is too short for wide instructions, and where half of the neurons fire there are many of them. Of
four neurons there are sixteen ways to fire, so the sums of their rows are worked out beforehand: forward every four
neurons of a step, and backward every four steps of a neuron (the sums of dL/dx then), add one row of a table instead of
up to four. That costs the same with or without spikes, so every sample is done in the way that suits it; the choice
depends on its own spikes alone. Twins of `scatter_dense` and `weight_gradient_dense`.
"""

from __future__ import annotations

from eventsnn.kernels.jit import kernel
from eventsnn.kernels.pattern_rows import LANES, add_patterns, add_rows_of_patterns, sums_of_four

#: the most targets for which it pays, and the share of neurons and steps with a spike, as 1 in so many
WIDEST, ONE_IN = 32, 32
#: bytes of neurons whose tables are used together: they and the sums stay in the first-level cache
BYTES = 8


@kernel(inline=True)
def most_listed(n_steps, n_pre):
    """Spikes of a sample up to which it is cheaper to go by them than by step."""
    return n_steps * n_pre // ONE_IN


@kernel(fastmath={"contract"})
def scatter_narrow(starts, neurons, n_spikes, bits, weight, lag, first, table, x):
    """Add what the spikes send to x (n_samples, n_steps, n), columns from `first` on.

    n_spikes : (n_samples,); those of samples that have more than `most_listed` need not be listed
    bits : masks of `grid_events.pack_spikes` as bytes
    table : (blocks of LANES columns, 32 bytes of a step, LANES), work
    """
    n_steps, n_pre, n, n_bytes = x.shape[1], weight.shape[0], weight.shape[1], bits.shape[2]
    end, most, is_filled = n_steps - lag, most_listed(n_steps, n_pre), False
    for s in range(x.shape[0]):
        if n_spikes[s] <= most:
            for t in range(end):
                for e in range(starts[s * n_steps + t], starts[s * n_steps + t + 1]):
                    w = weight[neurons[e]]
                    for o in range(n):
                        x[s, t + lag, first + o] += w[o]
            continue
        if not is_filled:
            _fill_table(weight, table)
            is_filled = True
        for block in range(table.shape[0]):
            low = block * LANES
            high = min(low + LANES, n)
            for j in range(0, n_bytes, BYTES):
                rows = table[block, 32 * j : 32 * (j + BYTES)]
                for t in range(end):
                    add_patterns(rows, bits[s, t, j : j + BYTES], x[s, t + lag, first + low : first + high])


@kernel
def _fill_table(weight, table):
    """Sums of every four rows of weights, LANES columns of them in a block."""
    for block in range(table.shape[0]):
        low = block * LANES
        high = min(low + LANES, weight.shape[1])
        for group in range(table.shape[1] // 16):
            sums_of_four(table[block, 16 * group : 16 * group + 16], weight, 4 * group, low, high)


@kernel(fastmath={"contract"})
def weight_gradient_narrow(
    starts, neurons, n_spikes, history, a, lag, first, sums, total, d_weight
):  # fmt: skip
    """Add a[s, t + lag, first : first + n] to the row of every spike's neuron.

    starts, neurons, n_spikes : as in `scatter_narrow`; history : see `grid_events.pack_spikes`
    sums : (32, LANES), total : (blocks of LANES columns, n_pre, LANES), work
    """
    zero = a.dtype.type(0.0)
    n_steps, n_pre, n = a.shape[1], d_weight.shape[0], d_weight.shape[1]
    end, most, n_busy = n_steps - lag, most_listed(n_steps, n_pre), 0
    for s in range(a.shape[0]):
        if n_spikes[s] <= most:
            for t in range(end):
                for e in range(starts[s * n_steps + t], starts[s * n_steps + t + 1]):
                    target = d_weight[neurons[e]]
                    for o in range(n):
                        target[o] += a[s, t + lag, first + o]
            continue
        if n_busy == 0:
            total[:] = zero
        n_busy += 1
        for eighth in range((end + 7) // 8):
            own = history[s, eighth, :n_pre]
            for block in range(total.shape[0]):
                low = first + block * LANES
                high = min(low + LANES, first + n)
                t = 8 * eighth + lag  # steps without a later one count nothing
                sums_of_four(sums[:16], a[s], t, low, high)
                sums_of_four(sums[16:], a[s], t + 4, low, high)
                add_rows_of_patterns(sums, own, total[block])
    if n_busy > 0:
        for j in range(n_pre):
            for o in range(n):
                d_weight[j, o] += total[o // LANES, j, o % LANES]
