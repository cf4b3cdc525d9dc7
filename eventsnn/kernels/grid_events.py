"""Events on a time grid: which step an event falls into, and where the events of a step begin.

Events of a block of samples are kept by (sample, step): those of step t of sample s are
starts[s n_steps + t] : starts[s n_steps + t + 1] of `neurons` and, unless it is empty, `values`.
"""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.bits import lowest_bit, mask_of
from eventsnn.kernels.jit import kernel


@kernel
def bin_events(offsets, times, dt, n_steps, starts):
    """starts of events that are ordered by (sample, time): t is in step rint(t/dt), what comes later in the last."""
    place = 0
    starts[0] = offsets[0]
    for s in range(offsets.size - 1):
        e = offsets[s]
        for t in range(n_steps - 1):
            while e < offsets[s + 1]:
                if np.rint(times[e] / dt) > t:
                    break
                e += 1
            place += 1
            starts[place] = e
        place += 1
        starts[place] = offsets[s + 1]


@kernel
def inspect_binning(offsets, neurons, times, dt, n_steps, seen):
    """What `bin_events` will do.

    Returns the first event beyond the last step or -1, the number of events moved by more than 1e-6 of a step, the
    largest move in steps, the number that share sample, step and neuron with an earlier one.
    seen : (n_neurons,) int64, -1 everywhere on entry
    """
    n_moved, n_shared, largest = 0, 0, 0.0
    for s in range(offsets.size - 1):
        for e in range(offsets[s], offsets[s + 1]):
            exact = times[e] / dt
            step = np.rint(exact)
            if step >= n_steps:
                return e, n_moved, largest, n_shared
            moved = abs(exact - step)
            if moved > 1e-6:
                n_moved += 1
                largest = max(largest, moved)
            row = s * n_steps + int(step)
            n_shared += seen[neurons[e]] == row
            seen[neurons[e]] = row
    return -1, n_moved, largest, n_shared


@kernel
def events_of_rows(rows, starts, neurons, values):
    """Non-zero entries of rows (n_samples, n_neurons, n_steps) by (sample, step); returns their number.

    neurons, values : one place longer than there may be entries; without a branch, an entry of zero is overwritten
    """
    place, e = 0, 0
    starts[0] = 0
    for s in range(rows.shape[0]):
        for t in range(rows.shape[2]):
            for j in range(rows.shape[1]):
                value = rows[s, j, t]
                neurons[e] = j
                values[e] = value
                e += value != 0
            place += 1
            starts[place] = e
    return e


@kernel
def spike_events(starts, n_steps, dt, offsets, times):
    """Times of spikes that are kept by (sample, step), and where every sample begins."""
    offsets[0] = 0
    for s in range(offsets.size - 1):
        for t in range(n_steps):
            for e in range(starts[s * n_steps + t], starts[s * n_steps + t + 1]):
                times[e - starts[0]] = t * dt
        offsets[s + 1] = starts[(s + 1) * n_steps] - starts[0]


@kernel
def pack_spikes(u, threshold, flags, words, masks, history):
    """Flags of the spikes u > threshold, (n_samples, n_steps, n), as bits.

    flags, words : see `bits.flag_words`
    masks : uint64, (n_samples, n_steps, n_words), of 64 neurons in a step each, 0 beyond the last; overwritten
    history : uint8, (n_samples, n_steps / 8 rounded up, n or more), of a neuron in eight steps, overwritten
    """
    for s in range(u.shape[0]):
        history[s] = 0
        for t in range(u.shape[1]):
            row, eight, place = u[s, t], history[s, t >> 3], np.uint8(t & 7)
            for k in range(flags.size):
                flags[k] = row[k] > threshold[k]
            for j in range(masks.shape[2]):
                masks[s, t, j] = mask_of(words, 8 * j)
            for k in range(flags.size):
                eight[k] |= flags[k] << place


@kernel
def list_spikes(masks, n_spikes, most, starts, neurons):
    """List the spikes of the samples that have at most so many.

    masks : see `pack_spikes`; n_spikes : (n_samples,)
    """
    zero, one = np.uint64(0), np.uint64(1)
    place, n_listed = 0, 0
    starts[0] = 0
    for s in range(masks.shape[0]):
        for t in range(masks.shape[1]):
            if 0 < n_spikes[s] <= most:
                for j in range(masks.shape[2]):
                    mask = masks[s, t, j]
                    while mask != zero:
                        neurons[n_listed] = 64 * j + lowest_bit(mask)
                        n_listed += 1
                        mask &= mask - one
            place += 1
            starts[place] = n_listed


@kernel
def count_grid_spikes(starts, neurons, n_steps, counts):
    """Add the spikes of every neuron to counts (n_samples, n_neurons)."""
    for s in range(counts.shape[0]):
        for e in range(starts[s * n_steps], starts[(s + 1) * n_steps]):
            counts[s, neurons[e]] += 1


@kernel
def first_steps(starts, neurons, n_steps, first):
    """Step of the first spike of every neuron into first (n_samples, n_neurons), which is inf before."""
    for s in range(first.shape[0]):
        for t in range(n_steps):
            for e in range(starts[s * n_steps + t], starts[s * n_steps + t + 1]):
                if t < first[s, neurons[e]]:
                    first[s, neurons[e]] = t


@kernel
def order_of_rows(starts, neurons):
    """0 where neurons ascend in every row, 1 where some are repeated, 2 where some descend."""
    found = 0
    for r in range(starts.size - 1):
        for e in range(starts[r] + 1, starts[r + 1]):
            if neurons[e] < neurons[e - 1]:
                return 2
            if neurons[e] == neurons[e - 1]:
                found = 1
    return found
