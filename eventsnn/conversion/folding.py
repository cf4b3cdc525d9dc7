"""Batch normalisation taken into its neighbour: the same function from fewer layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

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
    Shape,
)
from eventsnn.errors import ValidationError

__all__ = ["fold"]

Floats = NDArray[np.float64]


def fold(layers: Sequence[ANNLayer], shapes: Sequence[Shape]) -> list[ANNLayer]:
    """Layers that compute the same without BatchNorm and Dropout, every ReLU before the MaxPool that it follows.

    Parameters
    ----------
    layers : of an `ANN`
    shapes : shape of what goes into each of them, and of what comes out at the end

    Raises
    ------
    ValidationError
        A BatchNorm that cannot be folded exactly, by name and with the reason.

    Notes
    -----
    BatchNorm is ``factor * x + offset`` per channel. After a layer with weights W and bias b it makes them
    ``W * factor`` (output channels) and ``b * factor + offset``; before one, ``factor * W`` (input channels) and
    ``b + sum(offset * W)``. On the way it may pass what commutes with it: Dropout, Flatten, AvgPool (with zero
    padding only if the offset is 0) and MaxPool (if every factor is > 0).
    """
    numbers = [k for k, layer in enumerate(layers) if not isinstance(layer, Dropout)]
    kept: list[ANNLayer] = [layers[k] for k in numbers]
    inputs = [shapes[k] for k in numbers]
    while True:
        place = next((k for k, layer in enumerate(kept) if isinstance(layer, BatchNorm)), None)
        if place is None:
            return _relu_first(kept)
        target = _backward(kept, inputs, place)
        if target is None:
            target = _forward(kept, inputs, place, numbers[place])
        position, changed = target
        kept[position] = changed
        del kept[place], inputs[place], numbers[place]


def _backward(layers: list[ANNLayer], inputs: list[Shape], place: int) -> tuple[int, ANNLayer] | None:
    """Position of the layer with weights before, and it with the norm; None if something between does not commute."""
    norm = layers[place]
    assert isinstance(norm, BatchNorm)
    factor, offset = norm.affine()
    for k in range(place - 1, -1, -1):
        layer = layers[k]
        if isinstance(layer, (Linear, Convolution)):
            bias = np.zeros(factor.size) if layer.bias is None else layer.bias.astype(np.float64)
            return k, _with(layer, layer.weight * factor, bias * factor + offset)
        if isinstance(layer, Flatten):
            shared = _shared_by_plane(factor, offset, inputs[k])
            if shared is None:
                return None
            factor, offset = shared
        elif not _commutes(layer, factor, offset):
            return None
    return None


def _forward(layers: list[ANNLayer], inputs: list[Shape], place: int, number: int) -> tuple[int, ANNLayer]:
    """The layer with weights after it, with the norm in it."""
    norm = layers[place]
    assert isinstance(norm, BatchNorm)
    factor, offset = norm.affine()
    for k, layer in enumerate(layers[place + 1 :], place + 1):
        if isinstance(layer, BatchNorm):  # two in a row: one, folded in the next round
            again, more = layer.affine()
            ones = np.ones(factor.size)
            return k, BatchNorm(factor * again, offset * again + more, 0 * ones, ones, epsilon=0.0)
        if isinstance(layer, Linear):
            bias = offset @ layer.weight.astype(np.float64) + (0.0 if layer.bias is None else layer.bias)
            return k, _with(layer, factor[:, np.newaxis] * layer.weight, bias)
        if isinstance(layer, Convolution):
            if layer.padding != (0, 0) and offset.any():
                _refuse(number, norm, f"{layer!r} after it pads with zeros that the norm does not shift")
            return k, _into_convolution(layer, factor, offset)
        if isinstance(layer, Flatten):
            repeats = int(np.prod(inputs[k][:-1]))
            factor, offset = np.tile(factor, repeats), np.tile(offset, repeats)
        elif not _commutes(layer, factor, offset):
            _refuse(number, norm, f"{layer!r} stands between it and the next layer with weights")
    return _refuse(number, norm, "no layer with weights stands before or after it")


def _into_convolution(layer: Convolution, factor: Floats, offset: Floats) -> Linear | Convolution:
    height, width, n_in, n_out = layer.weight.shape
    grouped = layer.weight.astype(np.float64).reshape(height, width, n_in, layer.groups, n_out // layer.groups)
    shape = (n_in, layer.groups, 1)
    factors = factor.reshape(layer.groups, n_in).T.reshape(shape)
    offsets = offset.reshape(layer.groups, n_in).T.reshape(shape)
    bias = (grouped * offsets).sum((0, 1, 2)).reshape(n_out) + (0.0 if layer.bias is None else layer.bias)
    return _with(layer, (grouped * factors).reshape(layer.weight.shape), bias)


def _with(layer: Linear | Convolution, weight: Floats, bias: Floats) -> Linear | Convolution:
    """The layer with other parameters, in the type it had."""
    dtype = layer.weight.dtype
    return replace(layer, weight=weight.astype(dtype), bias=bias.astype(dtype))


def _commutes(layer: ANNLayer, factor: Floats, offset: Floats) -> bool:
    """Whether ``factor * x + offset`` per channel may change places with a pool."""
    if isinstance(layer, AvgPool):
        return layer.padding == (0, 0) or not offset.any()
    return isinstance(layer, MaxPool) and bool((factor > 0).all())


def _shared_by_plane(factor: Floats, offset: Floats, shape: Shape) -> tuple[Floats, Floats] | None:
    """The values per channel behind those per unit of a flattened plane, if every place has the same."""
    factors, offsets = factor.reshape(-1, shape[-1]), offset.reshape(-1, shape[-1])
    if (factors != factors[0]).any() or (offsets != offsets[0]).any():
        return None
    return factors[0], offsets[0]


def _refuse(number: int, norm: BatchNorm, why: str) -> NoReturn:
    raise ValidationError(
        f"ANN.layers[{number}] {norm!r}: cannot be folded exactly, {why}; train the network with the norm directly "
        "after a Linear or a Convolution"
    )


def _relu_first(layers: list[ANNLayer]) -> list[ANNLayer]:
    """max(x, 0) commutes with MaxPool and Flatten; a second one in a row does nothing."""
    found: list[ANNLayer] = []
    for layer in layers:
        place = len(found)
        if isinstance(layer, ReLU):
            while place and isinstance(found[place - 1], (MaxPool, Flatten)):
                place -= 1
            if place and isinstance(found[place - 1], ReLU):
                continue
            if not any(isinstance(passed, MaxPool) for passed in found[place:]):
                place = len(found)
        found.insert(place, layer)
    return found
