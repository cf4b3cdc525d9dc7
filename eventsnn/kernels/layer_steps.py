"""Layers of a chain on a time grid, one after the other, without a record of their potentials: inference.

A kernel takes the events of one layer, by (sample, step), through a connection and the neurons behind it to the events
of the next. All steps of a sample run in a row, so that only the potentials of one layer have to stay in the cache.

Arrays that the kernels share, of neurons in `n_rows` rows of `width` with the same parameters in every row (the rows of
an image, or one row of all):

v : (n_samples, n_rows, width), carried over from one call to the next
beta, bias, threshold : (width,), the same for every row
fired : flags of all neurons, viewed as 64-bit words in `words`, with zeros behind the last
plane, plane_flags, plane_flag_words : what a pool makes of the flags: how many inputs of each window fired, whether any
    did, and the same as words
pool : (12,) int64, geometry of an average pool before the next connection (`kernels.convolution.HEIGHT` ...), or empty
out_starts, out_neurons : events handed on; a window that k inputs of a pool fired into is listed k times, so what it
    stands for is a factor for the whole layer, and no event needs one of its own
n_spikes : (n_samples,), added to; counts : (n_samples, n), likewise, or of no rows
"""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.bits import list_flags
from eventsnn.kernels.convolution import (
    CHANNELS,
    HEIGHT,
    KERNEL_HEIGHT,
    KERNEL_WIDTH,
    OUT_HEIGHT,
    OUT_WIDTH,
    PAD_X,
    PAD_Y,
    STRIDE_X,
    STRIDE_Y,
    WIDTH,
    add_window,
    first_events,
)
from eventsnn.kernels.grid_step import NONE, SUBTRACT
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.weight_rows import add_rows, add_scaled_rows


@kernel(inline=True)
def list_windows(words, plane, neurons, n_listed):
    """Append every window that is flagged, as often as `plane` says."""
    first = n_listed
    n_listed = list_flags(words, neurons, n_listed)
    extra = np.int64(0)
    for e in range(first, n_listed):
        extra += np.int64(plane[neurons[e]]) - 1
    # from the end, so that nothing is overwritten before it is read
    to = n_listed + extra
    for e in range(n_listed - 1, first - 1, -1):
        j = neurons[e]
        for _ in range(plane[j]):
            to -= 1
            neurons[to] = j
    return n_listed + extra


@kernel(inline=True)
def pool_flags(fired, pool, plane, flags):
    """How many inputs of every window fired."""
    channels, width = pool[CHANNELS], pool[WIDTH]
    for y in range(pool[OUT_HEIGHT]):
        top = y * pool[STRIDE_Y] - pool[PAD_Y]
        for x in range(pool[OUT_WIDTH]):
            left = x * pool[STRIDE_X] - pool[PAD_X]
            place = (y * pool[OUT_WIDTH] + x) * channels
            window = plane[place : place + channels]
            window[:] = 0
            for row in range(max(top, 0), min(top + pool[KERNEL_HEIGHT], pool[HEIGHT])):
                for column in range(max(left, 0), min(left + pool[KERNEL_WIDTH], width)):
                    first = (row * width + column) * channels
                    own = fired[first : first + channels]
                    for c in range(channels):
                        window[c] += own[c]
    for j in range(flags.size):
        flags[j] = plane[j] != 0


@kernel(inline=True)
def hand_on(
    fired, words, pool, plane, plane_flags, plane_flag_words, s, n_out, out_neurons, n_spikes, counts
):  # fmt: skip
    """List the events of a step for the next layer, and count them."""
    if counts.shape[0] > 0:
        own = counts[s]
        for k in range(own.size):
            own[k] += fired[k]
    if pool.size == 0:
        after = list_flags(words, out_neurons, n_out)
        n_spikes[s] += after - n_out
        return after
    total = np.int64(0)
    for k in range(fired.size):
        total += fired[k]
    n_spikes[s] += total
    pool_flags(fired, pool, plane, plane_flags)
    return list_windows(plane_flag_words, plane, out_neurons, n_out)


@kernel(fastmath={"contract"}, inline=True)
def fire_row(v, x, scale, bias, beta, threshold, reset, fired):
    """One step of some neurons: u = beta v + scale x + bias; all : (n,)."""
    zero = v.dtype.type(0.0)
    if reset == SUBTRACT:
        for k in range(v.size):
            u = beta[k] * v[k] + scale * x[k] + bias[k]
            fires = u > threshold[k]
            lower = u - threshold[k]
            v[k] = lower if fires else u
            fired[k] = fires
    elif reset == NONE:
        for k in range(v.size):
            u = beta[k] * v[k] + scale * x[k] + bias[k]
            v[k] = u
            fired[k] = u > threshold[k]
    else:
        for k in range(v.size):
            u = beta[k] * v[k] + scale * x[k] + bias[k]
            fires = u > threshold[k]
            v[k] = zero if fires else u
            fired[k] = fires


@kernel(fastmath={"contract"})
def fire(v, x, scale, bias, beta, threshold, reset, fired):
    """One step of all neurons of a sample; x : (n_rows, width)."""
    width = beta.size
    for r in range(v.shape[0]):
        fire_row(v[r], x[r], scale, bias, beta, threshold, reset, fired[r * width : (r + 1) * width])


@kernel(fastmath={"contract"})
def fire_constant(
    drive, bias, v, beta, threshold, reset, n_steps, fired, words, pool, plane, plane_flags, plane_flag_words,
    out_starts, out_neurons, n_spikes, counts,
):  # fmt: skip
    """Neurons with the same input in every step, drive (n_samples, n_rows, width)."""
    one = v.dtype.type(1.0)
    n_out = 0
    out_starts[0] = 0
    for s in range(v.shape[0]):
        for t in range(n_steps):
            fire(v[s], drive[s], one, bias, beta, threshold, reset, fired)
            n_out = hand_on(
                fired, words, pool, plane, plane_flags, plane_flag_words, s, n_out, out_neurons, n_spikes, counts
            )
            out_starts[s * n_steps + t + 1] = n_out


@kernel(fastmath={"contract"})
def fire_convolution(
    starts, neurons, values, weight, geometry, places, rows, factors, x, scale, bias, v, beta, threshold, reset,
    n_steps, fired, words, pool, plane, plane_flags, plane_flag_words, out_starts, out_neurons, n_spikes, counts,
    n_rows_added,
):  # fmt: skip
    """Neurons behind a convolution, of which a pixel takes `n_together` steps before the next one.

    Its potentials then stay in the cache, and those weights that its busiest inputs need in one step after the other.

    places : (n_pixels + 1, n_together), `place` of every step; x : (n_together, out_channels), work
    fired, words : (n_together, ...)
    n_rows_added : (n_samples,), the weight rows that were added, added to. The list goes on at out_starts[0].
    """
    n_out, (n_together, n_channels) = out_starts[0], x.shape
    for s in range(v.shape[0]):
        potentials = v[s].reshape(geometry[OUT_HEIGHT] * geometry[OUT_WIDTH], n_channels)
        stop = (s + 1) * n_steps
        for begin in range(s * n_steps, stop, n_together):
            n = min(n_together, stop - begin)
            for t in range(n):
                r = begin + t
                first_events(neurons, starts[r], starts[r + 1], geometry[CHANNELS], places[:, t])
            for p in range(potentials.shape[0]):
                y, own, first = p // geometry[OUT_WIDTH], potentials[p], p * n_channels
                x[:] = 0
                n_rows_added[s] += add_window(
                    neurons, values, y, p - y * geometry[OUT_WIDTH], weight, geometry, places, rows, factors, x[:n]
                )
                low = first % beta.size
                high = low + n_channels
                for t in range(n):
                    fire_row(
                        own, x[t], scale, bias[low:high], beta[low:high], threshold[low:high], reset,
                        fired[t, first : first + n_channels],
                    )  # fmt: skip
            for t in range(n):
                n_out = hand_on(
                    fired[t], words[t], pool, plane, plane_flags, plane_flag_words, s, n_out, out_neurons, n_spikes,
                    counts,
                )  # fmt: skip
                out_starts[begin + t + 1] = n_out


@kernel
def add_rows_of_events(starts, neurons, values, weight, n_together, reached, x):
    """Add the weight rows of the events to x (n_samples * n_steps, n_post).

    `n_together` rows of the weights, as many as fit into the second-level cache, are added for all samples and steps
    before the next. reached : (n_samples * n_steps,), work
    """
    for r in range(reached.size):
        reached[r] = starts[r]
    n_pre = weight.shape[0]
    for low in range(0, n_pre, n_together):
        high = low + n_together
        for r in range(reached.size):
            first, stop = reached[r], starts[r + 1]
            e = first
            if high >= n_pre:
                e = stop
            else:
                while e < stop and neurons[e] < high:
                    e += 1
            reached[r] = e
            if values.size == 0:
                add_rows(weight, neurons, first, e, 0, 0, x[r])
            else:
                add_scaled_rows(weight, neurons, values, first, e, 0, 0, x[r])


@kernel(fastmath={"contract"})
def fire_inputs(
    x, scale, bias, v, beta, threshold, reset, fired, words, pool, plane, plane_flags, plane_flag_words,
    out_starts, out_neurons, n_spikes, counts,
):  # fmt: skip
    """Neurons with inputs x (n_samples, n_steps, n_rows, width); the list goes on at out_starts[0]."""
    n_out, n_steps = out_starts[0], x.shape[1]
    for s in range(x.shape[0]):
        for t in range(n_steps):
            fire(v[s], x[s, t], scale, bias, beta, threshold, reset, fired)
            n_out = hand_on(
                fired, words, pool, plane, plane_flags, plane_flag_words, s, n_out, out_neurons, n_spikes, counts
            )
            out_starts[s * n_steps + t + 1] = n_out


@kernel(fastmath={"contract"})
def integrate(x, scale, bias, v, beta, outputs):
    """A readout that never fires: its potential after every step, outputs (n_samples, n_steps, n).

    x : (n_samples, n_steps, n or more); v : (n_samples, n)
    """
    for s in range(outputs.shape[0]):
        for t in range(outputs.shape[1]):
            for k in range(outputs.shape[2]):
                v[s, k] = beta[k] * v[s, k] + scale * x[s, t, k] + bias[k]
                outputs[s, t, k] = v[s, k]


@kernel
def fill_windows(starts, neurons, values, n_steps, s, first_step, geometry, patches):
    """Windows as rows for a matrix product, of steps first_step : first_step + n of sample s, one group only.

    patches : (n, out_height * out_width, kernel_height * kernel_width * channels), zeros on entry
    """
    channels, width, kernel_width = geometry[CHANNELS], geometry[WIDTH], geometry[KERNEL_WIDTH]
    one = patches.dtype.type(1.0)
    for i in range(patches.shape[0]):
        r = s * n_steps + first_step + i
        for e in range(starts[r], starts[r + 1]):
            pixel = neurons[e] // channels
            channel = neurons[e] - pixel * channels
            row = pixel // width + geometry[PAD_Y]
            column = pixel - (pixel // width) * width + geometry[PAD_X]
            value = one if values.size == 0 else values[e]
            for ky in range(geometry[KERNEL_HEIGHT]):
                y = row - ky
                if y < 0 or y % geometry[STRIDE_Y] != 0 or y // geometry[STRIDE_Y] >= geometry[OUT_HEIGHT]:
                    continue
                for kx in range(kernel_width):
                    x = column - kx
                    if x < 0 or x % geometry[STRIDE_X] != 0 or x // geometry[STRIDE_X] >= geometry[OUT_WIDTH]:
                        continue
                    window = (y // geometry[STRIDE_Y]) * geometry[OUT_WIDTH] + x // geometry[STRIDE_X]
                    patches[i, window, (ky * kernel_width + kx) * channels + channel] += value
