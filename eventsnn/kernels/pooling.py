"""Pooling of spikes on a time grid: events of a plane into events of the smaller plane, in order.

Events by (sample, step) as in `kernels.grid_events`. Which windows an input lies in is a table by input:
windows[indptr[j] : indptr[j + 1]].

Output arrays are as long as there are pairs of an event and a window, at most.
"""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.bits import list_flags
from eventsnn.kernels.jit import kernel

__all__ = ["average_events", "gate_events", "gate_step", "maximum_events"]

#: rules of a gate
MAX_RATE, FIRST_SPIKE = 0, 1


@kernel
def average_events(starts, neurons, values, indptr, windows, share, sums, words, new_starts, new_neurons, new_values):
    """The windows that saw an event, by (sample, step), with `share` times the sum of its inputs.

    values : empty where all are 1
    sums : (n_windows,) zeros; words : zeros, a byte for every window; both are zero again afterwards
    """
    flags = words.view(np.uint8)
    n_new = 0
    new_starts[0] = 0
    for r in range(starts.size - 1):
        for e in range(starts[r], starts[r + 1]):
            value = share if values.size == 0 else share * values[e]
            for p in range(indptr[neurons[e]], indptr[neurons[e] + 1]):
                sums[windows[p]] += value
                flags[windows[p]] = 1
        first = n_new
        n_new = list_flags(words, new_neurons, n_new)
        words[:] = 0
        for e in range(first, n_new):
            new_values[e] = sums[new_neurons[e]]
            sums[new_neurons[e]] = 0
        new_starts[r + 1] = n_new


@kernel(inline=True)
def gate_step(neurons, start, stop, indptr, windows, rule, counts, winners, flags):
    """One step of maximum pooling: flags the windows whose winner spikes; winners : -1 before the first spike."""
    for e in range(start, stop):
        counts[neurons[e]] += 1
    for e in range(start, stop):
        j = neurons[e]
        for p in range(indptr[j], indptr[j + 1]):
            winner = winners[windows[p]]
            if winner < 0 or (rule == MAX_RATE and counts[j] > counts[winner]):
                winners[windows[p]] = j
    for e in range(start, stop):
        j = neurons[e]
        for p in range(indptr[j], indptr[j + 1]):
            if winners[windows[p]] == j:
                flags[windows[p]] = 1


@kernel
def gate_events(
    starts, neurons, n_steps, indptr, windows, rule, counts, winners, words, new_starts, new_neurons, passed
):  # fmt: skip
    """The spikes that pass a gate, by (sample, step).

    counts : (n_samples, n_inputs), 0, and winners : (n_samples, n_windows), -1 before the first step; carried on
    words : as in `average_events`
    passed : (n_events,) the input that each new event came from, or empty
    """
    flags = words.view(np.uint8)
    n_new = 0
    new_starts[0] = 0
    for r in range(starts.size - 1):
        s = r // n_steps
        gate_step(neurons, starts[r], starts[r + 1], indptr, windows, rule, counts[s], winners[s], flags)
        first = n_new
        n_new = list_flags(words, new_neurons, n_new)
        words[:] = 0
        if passed.size > 0:
            for e in range(first, n_new):
                passed[e] = winners[s, new_neurons[e]]
        new_starts[r + 1] = n_new


@kernel
def maximum_events(starts, neurons, values, indptr, inputs, plane, new_starts, new_neurons, new_values):
    """The largest number in every window, by row; what is not listed is 0, and zeros are not listed on.

    indptr, inputs : the inputs of every window; plane : (n_inputs,) zeros, and zero again afterwards
    new_neurons, new_values : as long as there are rows and windows, at most
    """
    n_new = 0
    new_starts[0] = 0
    for r in range(starts.size - 1):
        for e in range(starts[r], starts[r + 1]):
            plane[neurons[e]] += values[e]
        for w in range(indptr.size - 1):
            best = plane[inputs[indptr[w]]]
            for p in range(indptr[w] + 1, indptr[w + 1]):
                best = max(best, plane[inputs[p]])
            if best != 0:
                new_neurons[n_new] = w
                new_values[n_new] = best
                n_new += 1
        for e in range(starts[r], starts[r + 1]):
            plane[neurons[e]] = 0
        new_starts[r + 1] = n_new
