"""Feed-forward layers as loops over single outputs: slow, from the definitions, channel-last. Imports no eventsnn."""

import numpy as np


def convolution(x, weight, bias, stride, padding, groups):
    """x (n, h, w, c), weight (kh, kw, c / groups, n_out) -> (n, h', w', n_out)."""
    kernel_height, kernel_width, n_in, n_out = weight.shape
    n, height, width, _ = x.shape
    out_height = (height + 2 * padding[0] - kernel_height) // stride[0] + 1
    out_width = (width + 2 * padding[1] - kernel_width) // stride[1] + 1
    out = np.zeros((n, out_height, out_width, n_out))
    for y, column, k in np.ndindex(out_height, out_width, n_out):
        group = k // (n_out // groups)
        for i, j, c in np.ndindex(kernel_height, kernel_width, n_in):
            at_y, at_x = y * stride[0] + i - padding[0], column * stride[1] + j - padding[1]
            if 0 <= at_y < height and 0 <= at_x < width:
                out[:, y, column, k] += weight[i, j, c, k] * x[:, at_y, at_x, group * n_in + c]
        out[:, y, column, k] += bias[k]
    return out


def pool(x, size, stride, padding, kind):
    """Mean (zeros of the padding count) or maximum (they do not) of windows of x (n, h, w, c)."""
    n, height, width, channels = x.shape
    out_height = (height + 2 * padding[0] - size[0]) // stride[0] + 1
    out_width = (width + 2 * padding[1] - size[1]) // stride[1] + 1
    out = np.zeros((n, out_height, out_width, channels))
    for s, y, column, c in np.ndindex(out.shape):
        top, left = y * stride[0] - padding[0], column * stride[1] - padding[1]
        inside = x[s, max(top, 0) : max(top + size[0], 0), max(left, 0) : max(left + size[1], 0), c]
        out[s, y, column, c] = inside.sum() / (size[0] * size[1]) if kind == "mean" else inside.max()
    return out


def batch_norm(x, scale, shift, mean, variance, epsilon):
    return scale * (x - mean) / np.sqrt(variance + epsilon) + shift
