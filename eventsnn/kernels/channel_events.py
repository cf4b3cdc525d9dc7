"""Events of a population as events of the channels of a connection: repeated, delayed by axon, and bias spikes."""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.jit import kernel
from eventsnn.kernels.sorting import sort_events


@kernel
def count_channel_events(events, first_channel, n_bias):
    """How many events `channel_events` makes of a block."""
    total = 0
    for k in range(events.offsets[events.offsets.size - 1]):
        j = events.neurons[k]
        total += first_channel[j + 1] - first_channel[j]
    return total + (events.offsets.size - 1) * n_bias


@kernel(allocates=True)
def channel_events(events, first_channel, channels, bias_channels, bias_times, delay, made, origins):
    """Fill `made` (InputEvents with room for all) with the arrivals at the channels, by time within each sample.

    Parameters
    ----------
    events : InputEvents of the population before
    first_channel, channels : int64, (n_sources + 1,) and (n,); source j has channels[first_channel[j] : [j + 1]]
    bias_channels, bias_times : int64 and float64, (n_bias,)
    delay : float64, (n_channels,), added to the time of every event
    origins : int64, filled with the event that each arrival comes from, -1 for a bias spike
    """
    longest = 0
    for b in range(events.offsets.size - 1):
        n_made = bias_channels.size
        for k in range(events.offsets[b], events.offsets[b + 1]):
            n_made += first_channel[events.neurons[k] + 1] - first_channel[events.neurons[k]]
        longest = max(longest, n_made)
    spare_times, spare_places, heads = np.empty(longest), np.empty(longest, np.int64), np.empty(longest + 1, np.int64)
    times, places = np.empty(longest), np.empty(longest, np.int64)
    own_channels, own_origins = np.empty(longest, np.int64), np.empty(longest, np.int64)
    written = 0
    made.offsets[0] = 0
    for b in range(events.offsets.size - 1):
        n = 0
        for k in range(events.offsets[b], events.offsets[b + 1]):
            j = events.neurons[k]
            for i in range(first_channel[j], first_channel[j + 1]):
                times[n], places[n] = events.times[k] + delay[channels[i]], n
                own_channels[n], own_origins[n] = channels[i], k
                n += 1
        for i in range(bias_channels.size):
            times[n], places[n] = bias_times[i] + delay[bias_channels[i]], n
            own_channels[n], own_origins[n] = bias_channels[i], -1
            n += 1
        sort_events(times, places, spare_times, spare_places, heads, 0, n)
        for i in range(n):
            made.times[written] = times[i]
            made.neurons[written] = own_channels[places[i]]
            origins[written] = own_origins[places[i]]
            written += 1
        made.offsets[b + 1] = written


@kernel
def channel_gradient(made, origins, d_arrivals, d_events, d_delay):
    """Transpose of `channel_events`: dL/dt of its events, (n_events,), overwritten, and dL/d delay, added to.

    `d_events` may be of size 0 when not wanted, `d_delay` likewise.
    """
    d_events[:] = 0.0
    want_events, want_delay = d_events.size > 0, d_delay.size > 0
    for k in range(d_arrivals.size):
        if want_events and origins[k] >= 0:
            d_events[origins[k]] += d_arrivals[k]
        if want_delay:
            d_delay[made.neurons[k]] += d_arrivals[k]
