"""The way back through pools on a time grid: errors of windows to the inputs in them; see `kernels.pooling`."""

from __future__ import annotations

from eventsnn.kernels.jit import kernel
from eventsnn.kernels.pooling import gate_step

__all__ = ["average_backward", "gate_backward", "record_winners"]


@kernel
def average_backward(indptr, windows, share, given, source, e):
    """Add `share` times the errors of its windows to every input.

    given : (n_rows, n_windows); e : (n_rows, n), the inputs being the columns from `source` on
    """
    for r in range(given.shape[0]):
        row, target = given[r], e[r]
        for j in range(indptr.size - 1):
            total = given.dtype.type(0.0)
            for p in range(indptr[j], indptr[j + 1]):
                total += row[windows[p]]
            target[source + j] += share * total


@kernel
def record_winners(starts, neurons, n_steps, indptr, windows, rule, counts, winners, flags, record):
    """The winner of every window in every step, after its spikes, -1 before there is one.

    counts : (n_inputs,), winners : (n_windows,), flags : (n_windows,) work
    record : (n_samples, n_steps, n_windows) int32
    """
    for s in range(record.shape[0]):
        counts[:] = 0
        winners[:] = -1
        for t in range(n_steps):
            r = s * n_steps + t
            gate_step(neurons, starts[r], starts[r + 1], indptr, windows, rule, counts, winners, flags)
            row = record[s, t]
            for w in range(row.size):
                row[w] = winners[w]


@kernel
def gate_backward(indptr, windows, record, given, source, e):
    """Add the error of every window to its winner, or, as long as there is none, to all of its inputs.

    record : (n_samples, n_steps, n_windows), given : the same shape; e : (n_samples, n_steps, n), the inputs being the
        columns from `source` on
    """
    for s in range(given.shape[0]):
        for t in range(given.shape[1]):
            row, winners, target = given[s, t], record[s, t], e[s, t]
            n_open = 0
            for w in range(row.size):
                j = winners[w]
                if j >= 0:
                    target[source + j] += row[w]
                else:
                    n_open += 1
            if n_open > 0:
                for j in range(indptr.size - 1):
                    for p in range(indptr[j], indptr[j + 1]):
                        if winners[windows[p]] < 0:
                            target[source + j] += row[windows[p]]
