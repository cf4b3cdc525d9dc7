"""Spikes through connections on a time grid, and back: three twins for dense and for sparse connections.

scatter: x[s, t + lag] += weight[j] for every event (s, t, j)
gather: its transpose, e[s, t, j] += sum_k weight[j, k] a[s, t + lag, k]
weight_gradient: d_weight[j] += a[s, t + lag] for every event, also where truncated backpropagation ends between them

Sums over neurons take several rows at once: a load and a store of the target for four rows instead of one each.
"""

from __future__ import annotations

from eventsnn.kernels.jit import kernel


@kernel(fastmath={"contract"})
def scatter_dense(starts, neurons, values, weight, lag, first, x):
    """Add the rows of the events' neurons to x (n_samples, n_steps, n), columns from `first` on."""
    n_steps, n = x.shape[1], weight.shape[1]
    is_plain = values.size == 0
    for s in range(x.shape[0]):
        for t in range(n_steps - lag):
            e, stop = starts[s * n_steps + t], starts[s * n_steps + t + 1]
            if e == stop:
                continue
            row = x[s, t + lag, first : first + n]
            if is_plain:
                while e + 4 <= stop:
                    w0, w1, w2, w3 = (
                        weight[neurons[e]], weight[neurons[e + 1]], weight[neurons[e + 2]], weight[neurons[e + 3]],
                    )  # fmt: skip
                    for k in range(n):
                        row[k] += (w0[k] + w1[k]) + (w2[k] + w3[k])
                    e += 4
                while e < stop:
                    w0 = weight[neurons[e]]
                    for k in range(n):
                        row[k] += w0[k]
                    e += 1
            else:
                add_products(neurons[e:stop], values[e:stop], weight, 0, row)


@kernel(fastmath={"contract"}, inline=True)
def add_products(neurons, values, rows, low, out):
    """out += sum_e values[e] rows[neurons[e], low : low + out.size]."""
    e, stop, high = 0, neurons.size, low + out.size
    while e + 4 <= stop:
        f0, f1, f2, f3 = values[e], values[e + 1], values[e + 2], values[e + 3]
        w0, w1 = rows[neurons[e], low:high], rows[neurons[e + 1], low:high]
        w2, w3 = rows[neurons[e + 2], low:high], rows[neurons[e + 3], low:high]
        for k in range(out.size):
            out[k] += (f0 * w0[k] + f1 * w1[k]) + (f2 * w2[k] + f3 * w3[k])
        e += 4
    while e < stop:
        f0, w0 = values[e], rows[neurons[e], low:high]
        for k in range(out.size):
            out[k] += f0 * w0[k]
        e += 1


@kernel(fastmath={"contract"})
def constant_dense(starts, neurons, values, rows, begin, end, first, out):
    """out[s, first + k] += sum of values[e] rows[neurons[e], k] over the entries e of sample s, k in begin : end.

    A sparse matrix times a dense one: the drive of constant inputs with rows = weight, and with the transposed entries
    their weight gradient, rows = dL/d(drive). In tiles of columns, so that the rows stay in the second-level cache.
    """
    for low in range(begin, end, 256):
        high = min(low + 256, end)
        for s in range(out.shape[0]):
            add_products(
                neurons[starts[s] : starts[s + 1]], values[starts[s] : starts[s + 1]], rows, low,
                out[s, first + low : first + high],
            )  # fmt: skip


@kernel
def transpose_entries(starts, neurons, values, place, samples, entries):
    """Entries by sample into entries by neuron, those of neuron j from place[j] on; place : (n_neurons + 1,)."""
    place[:] = 0
    for e in range(starts[0], starts[-1]):
        place[neurons[e] + 1] += 1
    for j in range(1, place.size):
        place[j] += place[j - 1]
    for s in range(starts.size - 1):
        for e in range(starts[s], starts[s + 1]):
            j = neurons[e]
            samples[place[j]] = s
            entries[place[j]] = values[e]
            place[j] += 1
    for j in range(place.size - 1, 0, -1):
        place[j] = place[j - 1]
    place[0] = 0


@kernel(fastmath={"contract"})
def scatter_sparse(starts, neurons, values, indptr, indices, weights, lags, first, x):
    """The same for synapses with a lag each: those of neuron j are indptr[j] : indptr[j + 1]."""
    n_steps = x.shape[1]
    is_plain = values.size == 0
    one = weights.dtype.type(1.0)
    for s in range(x.shape[0]):
        rows = x[s]
        for t in range(n_steps):
            for e in range(starts[s * n_steps + t], starts[s * n_steps + t + 1]):
                factor = one if is_plain else values[e]
                for p in range(indptr[neurons[e]], indptr[neurons[e] + 1]):
                    if t + lags[p] < n_steps:
                        rows[t + lags[p], first + indices[p]] += factor * weights[p]


@kernel(fastmath={"contract"}, inline=True)
def add_rows(factors, rows, low, out):
    """out += sum_o factors[o] rows[o, low : low + out.size]; blocks of factors that are zero cost little."""
    # slices, and loops from 0: numba asks every index of range(low, high) whether it is negative
    o, stop, high = 0, factors.size, low + out.size
    while o + 5 <= stop:  # five: ten classes in two sweeps
        f0, f1, f2, f3, f4 = factors[o], factors[o + 1], factors[o + 2], factors[o + 3], factors[o + 4]
        if f0 != 0 or f1 != 0 or f2 != 0 or f3 != 0 or f4 != 0:
            w0, w1, w2 = rows[o, low:high], rows[o + 1, low:high], rows[o + 2, low:high]
            w3, w4 = rows[o + 3, low:high], rows[o + 4, low:high]
            for k in range(out.size):
                out[k] += (f0 * w0[k] + f1 * w1[k]) + (f2 * w2[k] + f3 * w3[k]) + f4 * w4[k]
        o += 5
    while o < stop:
        f0 = factors[o]
        if f0 != 0:
            w0 = rows[o, low:high]
            for k in range(out.size):
                out[k] += f0 * w0[k]
        o += 1


@kernel(inline=True)
def tile_width(n_rows):
    """Columns of so many rows that stay in the nearest cache (of 32 kB) while they are used again and again."""
    return max(64, (4096 // max(n_rows, 1)) // 64 * 64)


@kernel(inline=True)
def same_window(t, lag, window):
    """Whether step t + lag is in the same window of truncated backpropagation as step t; 0: one window."""
    return window == 0 or (t + lag) // window == t // window


@kernel(fastmath={"contract"})
def gather_dense(transposed, a, lag, first, window, source, e):
    """Add weight a[s, t + lag, first : first + n] to e[s, t], columns from `source` on.

    transposed : (n, n_pre) = weight.T
    """
    n_steps, n, n_pre = e.shape[1], transposed.shape[0], transposed.shape[1]
    tile = tile_width(n)
    for s in range(e.shape[0]):
        for low in range(0, n_pre, tile):
            high = min(low + tile, n_pre)
            for t in range(n_steps - lag):
                if same_window(t, lag, window):
                    add_rows(a[s, t + lag, first : first + n], transposed, low, e[s, t, source + low : source + high])


@kernel(fastmath={"contract"})
def gather_sparse(indptr, indices, weights, lags, a, first, window, source, e):
    """The same for synapses with a lag each."""
    n_steps = e.shape[1]
    for s in range(e.shape[0]):
        rows = a[s]
        for t in range(n_steps):
            row = e[s, t]
            for j in range(indptr.size - 1):
                total = row[source + j]
                for p in range(indptr[j], indptr[j + 1]):
                    if t + lags[p] < n_steps and same_window(t, lags[p], window):
                        total += weights[p] * rows[t + lags[p], first + indices[p]]
                row[source + j] = total


@kernel(fastmath={"contract"})
def weight_gradient_dense(starts, neurons, values, a, lag, first, d_weight):
    """Add a[s, t + lag, first : first + n] to the row of every event's neuron."""
    n_steps, n = a.shape[1], d_weight.shape[1]
    is_plain = values.size == 0
    for s in range(a.shape[0]):
        for t in range(n_steps - lag):
            low, high = starts[s * n_steps + t], starts[s * n_steps + t + 1]
            if low == high:
                continue
            row = a[s, t + lag, first : first + n]
            if is_plain:
                for e in range(low, high):
                    target = d_weight[neurons[e]]
                    for k in range(n):
                        target[k] += row[k]
            else:
                for e in range(low, high):
                    target, factor = d_weight[neurons[e]], values[e]
                    for k in range(n):
                        target[k] += factor * row[k]


@kernel(fastmath={"contract"})
def weight_gradient_sparse(starts, neurons, values, indptr, indices, lags, a, first, d_weights):
    """The same for synapses with a lag each."""
    n_steps = a.shape[1]
    is_plain = values.size == 0
    one = d_weights.dtype.type(1.0)
    for s in range(a.shape[0]):
        rows = a[s]
        for t in range(n_steps):
            for e in range(starts[s * n_steps + t], starts[s * n_steps + t + 1]):
                factor = one if is_plain else values[e]
                for p in range(indptr[neurons[e]], indptr[neurons[e] + 1]):
                    if t + lags[p] < n_steps:
                        d_weights[p] += factor * rows[t + lags[p], first + indices[p]]
