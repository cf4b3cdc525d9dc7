"""The values that a layer of an `ANN` gives, for a block of samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.conversion.ann_layers import (
    ANNLayer,
    AvgPool,
    BatchNorm,
    Convolution,
    Dropout,
    Flatten,
    Linear,
    MaxPool,
    ReLU,
)

__all__ = ["forward"]

Values = NDArray[np.floating]

#: values of the matrix of windows, one sample at least: 256 kB in float32, still in the cache when it is multiplied
_PATCH_VALUES = 2**16


def forward(layer: ANNLayer, x: Values, *, in_place: bool = False) -> Values:
    """Output of one layer, (n, *output_shape), for (n, *shape); the type of `x` is kept.

    May be a view of `x`, which is only written to where it may be, `in_place`.
    """
    if isinstance(layer, Linear):
        return _add(x @ layer.weight, layer.bias)
    if isinstance(layer, Convolution):
        return _convolve(layer, x)
    if isinstance(layer, BatchNorm):
        factor, offset = layer.affine()
        out: Values = x * factor.astype(x.dtype)
        return _add(out, offset.astype(x.dtype))
    if isinstance(layer, ReLU):
        return np.maximum(x, x.dtype.type(0), out=x if in_place else None)
    if isinstance(layer, AvgPool):
        return _sum_of_windows(layer, x)
    if isinstance(layer, MaxPool):
        return _largest_of_windows(layer, x)
    if isinstance(layer, Flatten):
        return x.reshape(len(x), math.prod(x.shape[1:]))
    assert isinstance(layer, Dropout)
    return x


def _add(out: Values, bias: Values | None) -> Values:
    if bias is not None:
        out += bias
    return out


def _padded(x: Values, padding: tuple[int, int], value: float) -> Values:
    if padding == (0, 0):
        return x
    vertical, horizontal = padding
    n, height, width, channels = x.shape
    out = np.full((n, height + 2 * vertical, width + 2 * horizontal, channels), value, x.dtype)
    out[:, vertical : vertical + height, horizontal : horizontal + width] = x
    return out


def _convolve(layer: Convolution, x: Values) -> Values:
    """The windows of some samples copied into the rows of a matrix, times the weights; again for the next samples."""
    height, width, n_out = layer.output_shape(x.shape[1:])
    kernel_height, kernel_width, n_in, _ = layer.weight.shape
    n_weights, share = kernel_height * kernel_width * n_in, n_out // layer.groups
    x = _padded(x, layer.padding, 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel_height, kernel_width), (1, 2))
    windows = windows[:, :: layer.stride[0], :: layer.stride[1]].transpose(0, 1, 2, 4, 5, 3)
    out = np.empty((len(x), height, width, n_out), x.dtype)
    n = max(1, min(len(x), _PATCH_VALUES // (height * width * n_weights)))
    buffer = np.empty((n, height, width, kernel_height, kernel_width, n_in), x.dtype)
    for first in range(0, len(x), n):
        block = out[first : first + n].reshape(-1, n_out)
        patches = buffer[: len(block) // (height * width)]
        for g in range(layer.groups):
            np.copyto(patches, windows[first : first + n, ..., g * n_in : (g + 1) * n_in])
            columns = slice(g * share, (g + 1) * share)
            weight = layer.weight[..., columns].reshape(n_weights, share)
            np.matmul(patches.reshape(-1, n_weights), weight, out=block[:, columns])
        _add(block, layer.bias)
    return out


def _window_parts(layer: AvgPool | MaxPool, x: Values, padding_value: float) -> Any:
    """For each position in the window, the values there of all windows: (n, height, width, channels)."""
    height, width, _ = layer.output_shape(x.shape[1:])
    x = _padded(x, layer.padding, padding_value)
    down, right = layer.step
    for y in range(layer.size[0]):
        for column in range(layer.size[1]):
            yield x[:, y : y + (height - 1) * down + 1 : down, column : column + (width - 1) * right + 1 : right]


def _sum_of_windows(layer: AvgPool, x: Values) -> Values:
    parts = _window_parts(layer, x, 0.0)
    out: Values = next(parts).copy()
    for part in parts:
        out += part
    out *= x.dtype.type(1.0 / (layer.size[0] * layer.size[1]))
    return out


def _largest_of_windows(layer: MaxPool, x: Values) -> Values:
    parts = _window_parts(layer, x, -np.inf)
    out: Values = next(parts).copy()
    for part in parts:
        np.maximum(out, part, out=out)
    return out
