"""Copy the events of chosen samples into a block, optionally with noise or dropout; count events by neuron."""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.jit import kernel
from eventsnn.kernels.sorting import sort_events


@kernel
def gather_events(source, chosen, block):
    """Fill `block` (InputEvents with room for all events) with the samples `chosen` of `source`, in that order."""
    written = 0
    block.offsets[0] = 0
    for b in range(chosen.size):
        for k in range(source.offsets[chosen[b]], source.offsets[chosen[b] + 1]):
            block.neurons[written] = source.neurons[k]
            block.times[written] = source.times[k]
            written += 1
        block.offsets[b + 1] = written


@kernel(allocates=True)
def jitter_events(events, noise, scale):
    """Add scale * noise[event] to the times, reflect them at zero and restore canonical order, in place."""
    longest = 0
    for b in range(events.offsets.size - 1):
        longest = max(longest, events.offsets[b + 1] - events.offsets[b])
    spare_times, spare_neurons = np.empty(longest, np.float64), np.empty(longest, np.int64)
    heads = np.empty(longest + 1, np.int64)
    for k in range(events.offsets[events.offsets.size - 1]):
        events.times[k] = abs(events.times[k] + scale * noise[k])
    for b in range(events.offsets.size - 1):
        start, end = events.offsets[b], events.offsets[b + 1]
        sort_events(events.times, events.neurons, spare_times, spare_neurons, heads, start, end - start)


@kernel
def drop_events(events, draws, probability):
    """Keep the events with draws[event] >= probability, in place; the arrays keep their sizes.

    draws : float32, (n_events,), uniform in [0, 1)
    """
    written, start = 0, 0
    for b in range(events.offsets.size - 1):
        end = events.offsets[b + 1]
        for k in range(start, end):
            events.neurons[written], events.times[written] = events.neurons[k], events.times[k]
            written += draws[k] >= probability
        start = end
        events.offsets[b + 1] = written


@kernel
def shift_events(events, moves, height, width, channels):
    """Move every sample's image by (down, right) = moves[sample] pixels, in place; spikes beyond the edge are left out.

    moves : int64, (n_samples, 2); neuron = (row * width + column) * channels + channel. The order of the events stays,
    as all of a sample move by as much.
    """
    written, start = 0, 0
    for b in range(events.offsets.size - 1):
        end = events.offsets[b + 1]
        down, right = moves[b, 0], moves[b, 1]
        for k in range(start, end):
            pixel = events.neurons[k] // channels
            row, column = pixel // width + down, pixel % width + right
            events.neurons[written] = events.neurons[k] + (down * width + right) * channels
            events.times[written] = events.times[k]
            written += 0 <= row < height and 0 <= column < width
        start = end
        events.offsets[b + 1] = written


@kernel
def count_spikes(events, counts):
    """counts : float64, (n_samples, n_neurons), filled with the number of events of every neuron."""
    counts[:, :] = 0.0
    for b in range(events.offsets.size - 1):
        for k in range(events.offsets[b], events.offsets[b + 1]):
            counts[b, events.neurons[k]] += 1.0


@kernel
def first_spikes(events, times, places):
    """Time of every neuron's first event, and which event it is; (n_samples, n_neurons), `times` filled with inf."""
    for b in range(events.offsets.size - 1):
        for k in range(events.offsets[b + 1] - 1, events.offsets[b] - 1, -1):
            times[b, events.neurons[k]] = events.times[k]
            places[b, events.neurons[k]] = k
