"""Integrate-and-fire units without leak in continuous time: between arrivals the potential is a straight line.

A unit keeps c of v(t) = c + drift t: an arrival adds its weight to c, a soft reset subtracts the threshold from it, a
hard reset sets it to -drift t. No time step enters c, so what it has received, its spikes and what is left add up
exactly as far as its sums are exact.

All that arrives at one time is added up before the threshold is tested; a unit fires at once where it is at or above
it, with a soft reset as often as it takes.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.constants import STATUS_BUFFER_FULL, STATUS_NOT_FINITE, STATUS_OK
from eventsnn.kernels.convolution import (
    CHANNELS,
    KERNEL_HEIGHT,
    KERNEL_WIDTH,
    OUT_HEIGHT,
    OUT_WIDTH,
    PAD_X,
    PAD_Y,
    STRIDE_X,
    STRIDE_Y,
    WIDTH,
)
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.sorting import sort_events
from eventsnn.kernels.window_events import windows_of_pixel


@kernel
def _fire(c, drift, threshold, counts, now, t, at_t, subtracts, first, times, neurons, written):
    """Spikes of a window's units after `now` and before t or, with `at_t`, at t; returns the new `written`.

    -1: no room is left; -2: a potential is not finite
    """
    for n in range(c.size):
        while True:
            height = c[n] + drift[n] * t
            if not (height >= threshold[n] if at_t else height > threshold[n]):
                break
            if not math.isfinite(height):
                return -2
            if written == times.size:
                return -1
            # the line decides whether, its crossing when; rounding may not take it out of the interval
            when = t
            if not at_t and drift[n] > 0.0:
                when = min(max((threshold[n] - c[n]) / drift[n], now), t)
            c[n] = c[n] - threshold[n] if subtracts else -drift[n] * when
            counts[n] += 1
            times[written], neurons[written] = when, first + n
            written += 1
    return written


@kernel(inline=True)
def _n_above(c, drift, threshold, t):
    """How many units are above threshold at t; a sum, because a loop without branches is a few wide instructions."""
    n_above = 0
    for n in range(c.size):
        n_above += c[n] + drift[n] * t > threshold[n]
    return n_above


@kernel(inline=True)
def _n_at(c, drift, threshold, t):
    """How many are at or above it."""
    n_at = 0
    for n in range(c.size):
        n_at += c[n] + drift[n] * t >= threshold[n]
    return n_at


@kernel(allocates=True)
def if_layer(weight, offsets, rows, arrivals, c, received, drift, threshold, subtracts, t_max, counts, times, neurons):
    """Spikes of a layer in one sample, up to and at t_max; returns (status, window or number of spikes).

    Parameters
    ----------
    weight : (n_rows, n_channels), float64
    offsets, rows, arrivals : events by window, see `kernels.window_events`
    c, received : float64, (n_windows, n_channels); c is the potential at t = 0, afterwards v - drift t_max; what has
        arrived is added to `received`, without the drift
    drift, threshold : float64, (n_windows, n_channels)
    subtracts : whether the reset is soft
    counts : int64, (n_windows, n_channels), added to
    times, neurons : filled in the order of (time, neuron)
    """
    n_channels = weight.shape[1]
    written = 0
    for i in range(offsets.size - 1):
        own, line, limit, count, first = c[i], drift[i], threshold[i], counts[i], i * n_channels
        arrived = received[i]
        k, end, now = offsets[i], offsets[i + 1], 0.0
        while end > k and arrivals[end - 1] > t_max:
            end -= 1
        if (k == end or arrivals[k] > 0.0) and _n_at(own, line, limit, 0.0) > 0:  # a unit may start at its threshold
            written = _fire(own, line, limit, count, 0.0, 0.0, True, subtracts, first, times, neurons, written)
        while k < end and written >= 0:
            t = arrivals[k]
            if _n_above(own, line, limit, t) > 0:
                written = _fire(own, line, limit, count, now, t, False, subtracts, first, times, neurons, written)
            while k < end and arrivals[k] == t:
                row = rows[k]
                for n in range(n_channels):
                    own[n] += weight[row, n]
                    arrived[n] += weight[row, n]
                k += 1
            if written >= 0 and _n_at(own, line, limit, t) > 0:
                written = _fire(own, line, limit, count, t, t, True, subtracts, first, times, neurons, written)
            now = t
        if written >= 0:
            written = _fire(own, line, limit, count, now, t_max, False, subtracts, first, times, neurons, written)
        if written >= 0:
            written = _fire(own, line, limit, count, now, t_max, True, subtracts, first, times, neurons, written)
        total = 0.0
        for n in range(n_channels):
            total += own[n]
        if written == -2 or not math.isfinite(total):
            return STATUS_NOT_FINITE, i
        if written == -1:
            return STATUS_BUFFER_FULL, i
    spare_times, spare_neurons = np.empty(written), np.empty(written, np.int64)
    sort_events(times, neurons, spare_times, spare_neurons, np.empty(written + 1, np.int64), 0, written)
    return STATUS_OK, written


@kernel
def if_readout(weight, offsets, rows, arrivals, start, drift, at, values):
    """Potentials of units that never fire at the times `at`, ascending, with what arrives at them.

    start, drift : float64, (n_windows, n_channels); values : (n_times, n_windows, n_channels), filled
    """
    n_channels = weight.shape[1]
    for i in range(offsets.size - 1):
        k = offsets[i]
        for m in range(at.size):
            for n in range(n_channels):
                values[m, i, n] = values[m - 1, i, n] if m > 0 else start[i, n]
            while k < offsets[i + 1] and arrivals[k] <= at[m]:
                for n in range(n_channels):
                    values[m, i, n] += weight[rows[k], n]
                k += 1
        for m in range(at.size):
            for n in range(n_channels):
                values[m, i, n] += drift[i, n] * at[m]


@kernel
def most_spikes_events(geometry, events, counts, winners, made, origins):
    """As `window_events.pooled_events`, for maximum pools whose winner is the neuron with most spikes so far.

    Those of this time are counted in. The winner stays until another has more; the first is the one with the lowest
    number. counts : int64, (n_neurons,), scratch
    """
    width, n_channels = geometry[WIDTH], geometry[CHANNELS]
    n_y, n_x = geometry[OUT_HEIGHT], geometry[OUT_WIDTH]
    written = 0
    made.offsets[0] = 0
    for b in range(events.offsets.size - 1):
        winners[:] = -1
        counts[:] = 0
        start, end = events.offsets[b], events.offsets[b + 1]
        while start < end:
            stop = start
            while stop < end and events.times[stop] == events.times[start]:
                counts[events.neurons[stop]] += 1
                stop += 1
            for passes in range(2):
                for k in range(start, stop):
                    neuron = events.neurons[k]
                    pixel, channel = neuron // n_channels, neuron % n_channels
                    y, x = pixel // width, pixel % width
                    x_first, x_end = windows_of_pixel(
                        x, geometry[KERNEL_WIDTH], geometry[STRIDE_X], geometry[PAD_X], n_x
                    )
                    y_first, y_end = windows_of_pixel(
                        y, geometry[KERNEL_HEIGHT], geometry[STRIDE_Y], geometry[PAD_Y], n_y
                    )
                    for window_y in range(y_first, y_end):
                        for window_x in range(x_first, x_end):
                            pool = (window_y * n_x + window_x) * n_channels + channel
                            winner = winners[pool]
                            if passes == 0:
                                if winner < 0 or counts[neuron] > counts[winner]:
                                    winners[pool] = neuron
                            elif winner == neuron:
                                made.times[written], made.neurons[written] = events.times[k], pool
                                origins[written] = k
                                written += 1
            start = stop
        made.offsets[b + 1] = written
