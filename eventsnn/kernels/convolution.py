"""Convolution of spikes on a time grid, in planes (height, width, channels): channel-last.

What the events of a step add to one output pixel is summed up at once, instead of one event scattering its patch over
many: the sum stays in registers. Channel-last makes that simple. The events of the pixels x0 : x0 + kernel_width of an
image row are one run of the list, as it is sorted by neuron, and the weight row of an event is its neuron minus the
first one of that run of pixels.

geometry : (12,) int64, see `HEIGHT` and so on
weight : (kernel_height * kernel_width * in_channels / groups, out_channels), the kernel as rows
place : (height * width + 1,) int64 work, the first event of every pixel
rows, factors : as many as there are inputs in a window, work; of more than one group only

Measured (AVX-512, 1 MB of second-level cache, 64 to 128 channels of a 3 x 3 kernel): 0.05 to 0.07 ns per synaptic
event, 0.03 to 0.05 where one pixel takes all steps before the next; scattering patches took 0.31 to 0.36.
"""

from __future__ import annotations

from eventsnn.kernels.jit import kernel
from eventsnn.kernels.weight_rows import add_rows, add_scaled_rows

#: places in `geometry`
HEIGHT, WIDTH, CHANNELS, KERNEL_HEIGHT, KERNEL_WIDTH, STRIDE_Y, STRIDE_X = range(7)
PAD_Y, PAD_X, OUT_HEIGHT, OUT_WIDTH, GROUPS = range(7, 12)


@kernel(inline=True)
def first_events(neurons, start, stop, n_channels, place):
    """First event of every pixel, of events start : stop that are sorted by neuron."""
    e = start
    n_pixels = place.size - 1
    for p in range(n_pixels):
        place[p] = e
        end = (p + 1) * n_channels
        while e < stop and neurons[e] < end:
            e += 1
    place[n_pixels] = e


@kernel(inline=True)
def list_window(neurons, values, y, x, g, geometry, place, rows, factors):
    """Weight rows of the events in the window at (y, x) that lie in group g, and their values; returns their number."""
    height, width, channels = geometry[HEIGHT], geometry[WIDTH], geometry[CHANNELS]
    kernel_width, groups = geometry[KERNEL_WIDTH], geometry[GROUPS]
    own = channels // groups
    x0 = x * geometry[STRIDE_X] - geometry[PAD_X]
    left, right = max(x0, 0), min(x0 + kernel_width, width)
    is_plain, n = values.size == 0, 0
    for ky in range(geometry[KERNEL_HEIGHT]):
        row = y * geometry[STRIDE_Y] - geometry[PAD_Y] + ky
        if row < 0 or row >= height or left >= right:
            continue
        first, last = place[row * width + left], place[row * width + right]
        if groups == 1:
            offset = (row * width + x0 - ky * kernel_width) * channels
            for e in range(first, last):
                rows[n + e - first] = neurons[e] - offset
            if not is_plain:
                for e in range(first, last):
                    factors[n + e - first] = values[e]
            n += last - first
            continue
        for e in range(first, last):
            pixel = neurons[e] // channels
            channel = neurons[e] - pixel * channels - g * own
            if channel >= 0 and channel < own:
                rows[n] = (ky * kernel_width + pixel - row * width - x0) * own + channel
                if not is_plain:
                    factors[n] = values[e]
                n += 1
    return n


@kernel(inline=True)
def add_window(neurons, values, y, x, weight, geometry, places, rows, factors, out):
    """Add what the events of the window at (y, x) give in every step to out (n_steps, out_channels).

    places : (n_pixels + 1, n_steps or more), `place` of every step. Returns how many rows were added.
    """
    groups, n_added = geometry[GROUPS], 0
    if groups > 1:
        own = out.shape[1] // groups
        for t in range(out.shape[0]):
            for g in range(groups):
                n = list_window(neurons, values, y, x, g, geometry, places[:, t], rows, factors)
                target = out[t, g * own : (g + 1) * own]
                if values.size == 0:
                    add_rows(weight, rows, 0, n, 0, g * own, target)
                else:
                    add_scaled_rows(weight, rows, factors, 0, n, 0, g * own, target)
                n_added += n
        return n_added
    width, kernel_width = geometry[WIDTH], geometry[KERNEL_WIDTH]
    x0 = x * geometry[STRIDE_X] - geometry[PAD_X]
    y0 = y * geometry[STRIDE_Y] - geometry[PAD_Y]
    left, right = max(x0, 0), min(x0 + kernel_width, width)
    if left >= right:
        return n_added
    for row in range(max(y0, 0), min(y0 + geometry[KERNEL_HEIGHT], geometry[HEIGHT])):
        firsts, lasts = places[row * width + left], places[row * width + right]
        offset = (row * width + x0 - (row - y0) * kernel_width) * geometry[CHANNELS]
        for t in range(out.shape[0]):
            if values.size == 0:
                add_rows(weight, neurons, firsts[t], lasts[t], offset, 0, out[t])
            else:
                add_scaled_rows(weight, neurons, values, firsts[t], lasts[t], offset, 0, out[t])
            n_added += lasts[t] - firsts[t]
    return n_added


@kernel(inline=True)
def convolve_step(neurons, values, start, stop, weight, geometry, place, rows, factors, out):
    """Add what the events start : stop of one step give to out (out_height * out_width, out_channels).

    `values` is empty where all are 1. Returns the number of weight rows that were added.
    """
    out_width, n_added = geometry[OUT_WIDTH], 0
    first_events(neurons, start, stop, geometry[CHANNELS], place)
    places = place.reshape(place.size, 1)
    for y in range(geometry[OUT_HEIGHT]):
        for x in range(out_width):
            p = y * out_width + x
            n_added += add_window(neurons, values, y, x, weight, geometry, places, rows, factors, out[p : p + 1])
    return n_added


@kernel
def convolve_events(starts, neurons, values, weight, geometry, lag, first, place, rows, factors, x, n_added):
    """Add the convolution of all events to x (n_samples, n_steps, n), `lag` steps later, columns from `first` on.

    n_added : (n_samples,), the weight rows that were added, added to; or empty
    """
    n_steps, n_out = x.shape[1], weight.shape[1]
    n_pixels = geometry[OUT_HEIGHT] * geometry[OUT_WIDTH]
    for s in range(x.shape[0]):
        for t in range(n_steps - lag):
            start, stop = starts[s * n_steps + t], starts[s * n_steps + t + 1]
            if start < stop:
                out = x[s, t + lag, first : first + n_pixels * n_out].reshape(n_pixels, n_out)
                n = convolve_step(neurons, values, start, stop, weight, geometry, place, rows, factors, out)
                if n_added.size > 0:
                    n_added[s] += n
