"""Events of a plane of neurons as events of the windows that slide over it, and of the pools on it.

Each window of each sample becomes a sample of its own: its events are those of the pixels under it, and the "neuron" of
an event is its row in the weights (size_y, size_x, n_channels), taken as a matrix. So the kernels of dense layers serve
convolutions as they are, and their weight gradients add up over the windows by themselves.
"""

from __future__ import annotations

import numpy as np

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


@kernel(inline=True)
def windows_of_pixel(pixel, size, stride, padding, n_windows):
    """The windows along one axis that hold a pixel: first, and one behind the last."""
    low = pixel + padding - size + 1
    first = (low + stride - 1) // stride if low > 0 else 0
    return first, min((pixel + padding) // stride + 1, n_windows)


@kernel
def count_window_events(geometry, events, offsets):
    """Fill `offsets`, int64 (n_samples n_windows + 1,), of the events of every window; returns how many there are."""
    width, n_channels = geometry[WIDTH], geometry[CHANNELS]
    n_y, n_x = geometry[OUT_HEIGHT], geometry[OUT_WIDTH]
    offsets[:] = 0
    for b in range(events.offsets.size - 1):
        first = b * n_y * n_x + 1
        for k in range(events.offsets[b], events.offsets[b + 1]):
            pixel = events.neurons[k] // n_channels
            y, x = pixel // width, pixel % width
            x_first, x_end = windows_of_pixel(x, geometry[KERNEL_WIDTH], geometry[STRIDE_X], geometry[PAD_X], n_x)
            y_first, y_end = windows_of_pixel(y, geometry[KERNEL_HEIGHT], geometry[STRIDE_Y], geometry[PAD_Y], n_y)
            for window_y in range(y_first, y_end):
                for window_x in range(x_first, x_end):
                    offsets[first + window_y * n_x + window_x] += 1
    for i in range(offsets.size - 1):
        offsets[i + 1] += offsets[i]
    return offsets[offsets.size - 1]


@kernel
def window_events(geometry, events, delay, places, made, origins):
    """Fill the events of the windows of a block; the order within a sample stays.

    Parameters
    ----------
    geometry : (12,) int64, see `kernels.convolution`
    events : InputEvents of the plane
    delay : added to all times
    places : int64, (n_windows,), scratch
    made : InputEvents; `offsets` from `count_window_events`, room for all
    origins : int64, filled with the event of the plane that each comes from
    """
    width, n_channels = geometry[WIDTH], geometry[CHANNELS]
    n_y, n_x = geometry[OUT_HEIGHT], geometry[OUT_WIDTH]
    for b in range(events.offsets.size - 1):
        for i in range(n_y * n_x):
            places[i] = made.offsets[b * n_y * n_x + i]
        for k in range(events.offsets[b], events.offsets[b + 1]):
            pixel, channel = events.neurons[k] // n_channels, events.neurons[k] % n_channels
            y, x = pixel // width, pixel % width
            t = events.times[k] + delay
            x_first, x_end = windows_of_pixel(x, geometry[KERNEL_WIDTH], geometry[STRIDE_X], geometry[PAD_X], n_x)
            y_first, y_end = windows_of_pixel(y, geometry[KERNEL_HEIGHT], geometry[STRIDE_Y], geometry[PAD_Y], n_y)
            for window_y in range(y_first, y_end):
                row = (y + geometry[PAD_Y] - window_y * geometry[STRIDE_Y]) * geometry[KERNEL_WIDTH]
                for window_x in range(x_first, x_end):
                    i = window_y * n_x + window_x
                    place = places[i]
                    places[i] = place + 1
                    made.times[place] = t
                    column = x + geometry[PAD_X] - window_x * geometry[STRIDE_X]
                    made.neurons[place] = (row + column) * n_channels + channel
                    origins[place] = k


@kernel
def pooled_events(geometry, events, only_first, winners, made, origins):
    """Events on the plane of the pools, channel by channel: all that the pools hold, or those of each one's winner.

    Parameters
    ----------
    geometry, events, made, origins : as in `window_events`; made.offsets is (n_samples + 1,) and is filled too, with
        room for as many events as `count_window_events` counts
    only_first : the winner of a pool is the neuron that spikes first, of simultaneous ones the first in `events`
    winners : int64, (n_windows n_channels,), scratch; after the call the winners of the last sample, -1 for none
    """
    width, n_channels = geometry[WIDTH], geometry[CHANNELS]
    n_y, n_x = geometry[OUT_HEIGHT], geometry[OUT_WIDTH]
    written = 0
    made.offsets[0] = 0
    for b in range(events.offsets.size - 1):
        winners[:] = -1
        for k in range(events.offsets[b], events.offsets[b + 1]):
            neuron = events.neurons[k]
            pixel, channel = neuron // n_channels, neuron % n_channels
            y, x = pixel // width, pixel % width
            x_first, x_end = windows_of_pixel(x, geometry[KERNEL_WIDTH], geometry[STRIDE_X], geometry[PAD_X], n_x)
            y_first, y_end = windows_of_pixel(y, geometry[KERNEL_HEIGHT], geometry[STRIDE_Y], geometry[PAD_Y], n_y)
            for window_y in range(y_first, y_end):
                for window_x in range(x_first, x_end):
                    pool = (window_y * n_x + window_x) * n_channels + channel
                    if only_first:
                        if winners[pool] < 0:
                            winners[pool] = neuron
                        if winners[pool] != neuron:
                            continue
                    made.times[written] = events.times[k]
                    made.neurons[written] = pool
                    origins[written] = k
                    written += 1
        made.offsets[b + 1] = written


@kernel(allocates=True)
def join_windows(found, n_windows, n_channels, out, order):
    """The output events of the windows of a sample as those of one plane, in canonical order.

    Parameters
    ----------
    found : InputEvents of n_samples n_windows samples, neurons are channels
    out : InputEvents of n_samples samples, filled
    order : int64, (n_events,), filled with where each was in `found`
    """
    n_samples = out.offsets.size - 1
    longest = 0
    for b in range(n_samples):
        longest = max(longest, found.offsets[(b + 1) * n_windows] - found.offsets[b * n_windows])
    spare_times, spare_places, heads = np.empty(longest), np.empty(longest, np.int64), np.empty(longest + 1, np.int64)
    owner = np.empty(longest, np.int64)
    out.offsets[0] = 0
    for b in range(n_samples):
        start, end = found.offsets[b * n_windows], found.offsets[(b + 1) * n_windows]
        for i in range(n_windows):
            for e in range(found.offsets[b * n_windows + i], found.offsets[b * n_windows + i + 1]):
                out.times[e], order[e] = found.times[e], e
                owner[e - start] = i * n_channels + found.neurons[e]
        # at one time the window decides, within it the channel: that is the order in which they stand
        sort_events(out.times, order, spare_times, spare_places, heads, start, end - start)
        for e in range(start, end):
            out.neurons[e] = owner[order[e] - start]
        out.offsets[b + 1] = end
