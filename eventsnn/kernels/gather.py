"""Copy the events of chosen samples into a block, optionally with noise on their times."""

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
