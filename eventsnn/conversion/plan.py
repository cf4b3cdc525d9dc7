"""What is known of a spiking network while it is being converted, and the chains that are built from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventsnn.clocked_neurons import IF, Leaky
from eventsnn.connections import Dense
from eventsnn.conversion.ann_layers import AvgPool, Convolution, Linear
from eventsnn.conversion.blocks import Block
from eventsnn.convolution import Conv2d
from eventsnn.network import Sequential
from eventsnn.pooling import AvgPool2d, MaxPool2d

__all__ = ["Plan", "connection_parts", "n_channels", "per_neuron"]

Floats = NDArray[np.float64]


def n_channels(block: Block) -> int:
    """Output channels of a convolution, units of a linear layer."""
    return int(block.output_shape[-1])


def per_neuron(values: Any, block: Block) -> Floats:
    """One number per channel (or one for all) as one per neuron: channels are the fastest index of a plane."""
    spread = np.broadcast_to(np.asarray(values, np.float64), (n_channels(block),))
    return np.tile(spread, math.prod(block.output_shape[:-1]))


@dataclass
class Plan:
    """Blocks of the network, and per block what has been chosen so far.

    Attributes
    ----------
    scales : of the blocks with ReLU, in order: shape () or (n_channels,)
    biases : of all blocks, (n_channels,)
    shifts : what is added to the potentials at the start, of all blocks, () or (n_neurons,)
    """

    blocks: list[Block]
    dtype: np.dtype[np.floating]
    reset: Literal["subtract", "zero"]
    beta: float
    initial_charge: float
    scales: list[Floats] = field(default_factory=list)
    biases: list[Floats] = field(default_factory=list)
    shifts: list[Floats] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.biases = self.biases or [block.bias.astype(np.float64) for block in self.blocks]
        self.shifts = self.shifts or [np.zeros(()) for _ in self.blocks]

    def chain(self, last: int, end: Literal["spikes", "drive"] = "spikes") -> Sequential:
        """The first blocks, up to number `last`, which is what `end` says.

        "spikes": as in the finished network, where the last block accumulates and the others spike. "drive": without
        a threshold and without memory, so that its potential is what arrives in a step, bias included.
        """
        parts: list[Any] = []
        for k in range(last + 1):
            parts += [
                *connection_parts(self.blocks[k], self._weight(k)),
                self._neurons(k, is_drive=end == "drive" and k == last),
            ]
        return Sequential(parts, [block.name for block in self.blocks[: last + 1]])

    def _weight(self, k: int) -> NDArray[np.floating]:
        """The block's weights times what a spike of their source stands for."""
        layer = self.blocks[k].layer
        if k == 0:
            return layer.weight.astype(self.dtype)
        scale = self.scales[k - 1]
        if scale.ndim:
            scale = _per_source(layer, scale)
        return (layer.weight * scale).astype(self.dtype)

    def _neurons(self, k: int, is_drive: bool) -> Any:
        block = self.blocks[k]
        bias = _compact(per_neuron(self.biases[k], block))
        if is_drive:
            return Leaky(beta=0.0, v_threshold=math.inf, bias=bias, reset="none")
        if not block.has_relu:
            return IF(v_threshold=math.inf, bias=bias, v_init=_compact(self.shifts[k]))
        threshold = per_neuron(self.scales[k], block)
        common: dict[str, Any] = {
            "v_threshold": _compact(threshold),
            "bias": bias,
            "reset": self.reset,
            "reset_at": "same_step",
            "v_init": _compact(self.initial_charge * threshold + self.shifts[k]),
        }
        return IF(**common) if self.beta == 1.0 else Leaky(beta=self.beta, **common)


def connection_parts(block: Block, weight: NDArray[np.floating]) -> list[Any]:
    """The parts of a `Sequential` that lead to a block: its pools, and its layer with these weights."""
    shape = block.input_shape
    parts: list[Any] = []
    for pool in block.pools:
        kind = AvgPool2d if isinstance(pool, AvgPool) else MaxPool2d
        parts.append(kind(_plane(shape), pool.size, pool.step, pool.padding))
        shape = pool.output_shape(shape)
    layer = block.layer
    if isinstance(layer, Linear):
        return [*parts, Dense(weight)]
    return [*parts, Conv2d(weight, _plane(shape), layer.stride, layer.padding, layer.groups)]


def _plane(shape: tuple[int, ...]) -> tuple[int, int, int]:
    height, width, channels = shape
    return height, width, channels


def _per_source(layer: Linear | Convolution, scale: Floats) -> Floats:
    """One scale per input channel, such that it can be multiplied with the layer's weights."""
    if isinstance(layer, Linear):  # behind a plane its inputs are the channels over and over again
        return np.tile(scale, layer.weight.shape[0] // scale.size)[:, np.newaxis]
    n_in, n_out = layer.weight.shape[2:]
    group = np.arange(n_out) // (n_out // layer.groups)
    found: Floats = scale[group * n_in + np.arange(n_in)[:, np.newaxis]]
    return found


def _compact(values: Floats) -> Any:
    """One number where all are equal, else the array."""
    values = np.asarray(values)
    return float(values.flat[0]) if (values == values.flat[0]).all() else values
