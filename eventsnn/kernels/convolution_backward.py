"""The way back through a convolution on a time grid: to its inputs and to its weights; see `kernels.convolution`.

The errors of the inputs are the errors of the outputs times the transposed kernel, spread over the windows: a matrix
product, done elsewhere, whose rows `fold_columns` adds up; with several groups the products are too small for that.
The gradient of the weights goes by the events, as the way forward does.
"""

from __future__ import annotations

from eventsnn.kernels.convolution import (
    CHANNELS,
    GROUPS,
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
    first_events,
    list_window,
)
from eventsnn.kernels.jit import kernel

__all__ = ["convolution_weight_gradient", "fold_columns", "gather_groups"]


@kernel(fastmath={"contract"})
def convolution_weight_gradient(
    starts, neurons, values, a, geometry, lag, first, place, rows, factors, d_weight
):  # fmt: skip
    """Add what `convolve_events` gives: d_weight[row] += value a[s, t + lag, pixel] for every event in its window.

    a : (n_samples, n_steps, n), dL/dx, columns from `first` on; d_weight : as `weight` there
    """
    n_steps, n_out = a.shape[1], d_weight.shape[1]
    out_height, out_width, groups = geometry[OUT_HEIGHT], geometry[OUT_WIDTH], geometry[GROUPS]
    own = n_out // groups
    is_plain = values.size == 0
    for s in range(a.shape[0]):
        for t in range(n_steps - lag):
            start, stop = starts[s * n_steps + t], starts[s * n_steps + t + 1]
            if start == stop:
                continue
            first_events(neurons, start, stop, geometry[CHANNELS], place)
            for y in range(out_height):
                for x in range(out_width):
                    pixel = first + (y * out_width + x) * n_out
                    for g in range(groups):
                        given = a[s, t + lag, pixel + g * own : pixel + (g + 1) * own]
                        is_zero = True
                        for k in range(own):
                            is_zero &= given[k] == 0
                        if is_zero:
                            continue
                        n = list_window(neurons, values, y, x, g, geometry, place, rows, factors)
                        if is_plain:
                            for m in range(n):
                                target = d_weight[rows[m], g * own : (g + 1) * own]
                                for k in range(own):
                                    target[k] += given[k]
                        else:
                            for m in range(n):
                                target, factor = d_weight[rows[m], g * own : (g + 1) * own], factors[m]
                                for k in range(own):
                                    target[k] += factor * given[k]


@kernel
def fold_columns(columns, geometry, begin, source, e):
    """Add every window's errors to its pixels: the transpose of cutting a plane into windows.

    columns : (n, kernel_height * kernel_width * channels), of windows begin, begin + 1, ... counted on over all rows of
        e : (n_rows, n_neurons), of which the plane are the columns from `source` on
    """
    channels, height, width = geometry[CHANNELS], geometry[HEIGHT], geometry[WIDTH]
    kernel_width, out_width = geometry[KERNEL_WIDTH], geometry[OUT_WIDTH]
    n_windows = geometry[OUT_HEIGHT] * out_width
    for m in range(columns.shape[0]):
        r = (begin + m) // n_windows
        window = begin + m - r * n_windows
        top = window // out_width
        x0 = (window - top * out_width) * geometry[STRIDE_X] - geometry[PAD_X]
        left, right = max(x0, 0), min(x0 + kernel_width, width)
        if left >= right:
            continue
        for ky in range(geometry[KERNEL_HEIGHT]):
            y = top * geometry[STRIDE_Y] - geometry[PAD_Y] + ky
            if y < 0 or y >= height:
                continue
            low = source + (y * width + left) * channels
            size = (right - left) * channels
            given = columns[m, (ky * kernel_width + left - x0) * channels : (ky * kernel_width + right - x0) * channels]
            target = e[r, low : low + size]
            for k in range(size):
                target[k] += given[k]


@kernel(fastmath={"contract", "reassoc"})
def gather_groups(weight, a, geometry, first, source, e):
    """Add the errors of the inputs, window by window: for several groups.

    weight : as in `kernels.convolution`; a : (n_rows, n), dL/dx, columns from `first` on; e : (n_rows, n_neurons), the
        plane being the columns from `source` on
    """
    channels, height, width = geometry[CHANNELS], geometry[HEIGHT], geometry[WIDTH]
    kernel_width, out_width, groups = geometry[KERNEL_WIDTH], geometry[OUT_WIDTH], geometry[GROUPS]
    n_out = weight.shape[1]
    per_group, own = channels // groups, n_out // groups
    for r in range(e.shape[0]):
        for top in range(geometry[OUT_HEIGHT]):
            for side in range(out_width):
                pixel = first + (top * out_width + side) * n_out
                for ky in range(geometry[KERNEL_HEIGHT]):
                    y = top * geometry[STRIDE_Y] - geometry[PAD_Y] + ky
                    if y < 0 or y >= height:
                        continue
                    for kx in range(kernel_width):
                        x = side * geometry[STRIDE_X] - geometry[PAD_X] + kx
                        if x < 0 or x >= width:
                            continue
                        target = e[r, source + (y * width + x) * channels : source + (y * width + x + 1) * channels]
                        tap = (ky * kernel_width + kx) * per_group
                        for g in range(groups):
                            given = a[r, pixel + g * own : pixel + (g + 1) * own]
                            for c in range(per_group):
                                row = weight[tap + c, g * own : (g + 1) * own]
                                total = a.dtype.type(0.0)
                                for k in range(own):
                                    total += row[k] * given[k]
                                target[g * per_group + c] += total
