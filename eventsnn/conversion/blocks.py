"""What a conversion sees of an `ANN`: pools, a layer with weights, ReLU, again and again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from eventsnn.conversion.ann import ANN
from eventsnn.conversion.ann_layers import AvgPool, Convolution, Flatten, Linear, MaxPool, ReLU, Shape
from eventsnn.errors import ValidationError

__all__ = ["Block", "blocks_of"]


@dataclass(frozen=True, eq=False)
class Block:
    """One population of the spiking network: what leads to it, and its activation.

    Attributes
    ----------
    name : "conv1", "conv2", ..., "linear1", ...; the last is "output"
    pools : pools between the population before, or the input, and `layer`, in order
    layer : Linear or Convolution, BatchNorm folded in; its bias is an array, of zeros where the network has none
    has_relu : False for the last block only
    input_shape : shape before the pools
    pooled_shape : shape that goes into `layer`, flattened if it is a Linear
    output_shape : shape of the population
    relu_index : index in ``ann.folded().activations(x)`` of the activation; of the pre-activation in the last block
    """

    name: str
    pools: tuple[AvgPool | MaxPool, ...]
    layer: Linear | Convolution
    has_relu: bool
    input_shape: Shape
    pooled_shape: Shape
    output_shape: Shape
    relu_index: int

    @property
    def bias(self) -> np.ndarray:
        """The bias of `layer`, (n_out,)."""
        assert self.layer.bias is not None
        return self.layer.bias


def blocks_of(ann: ANN) -> list[Block]:
    """The blocks of a network whose every layer with weights, but the last, has a ReLU directly after it.

    Parameters
    ----------
    ann : ANN
        As trained: it is folded here first.

    Raises
    ------
    ValidationError
        Layers in an order that no spiking network stands for; the message names the layer.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn.conversion import ANN, AvgPool, Convolution, Flatten, Linear, ReLU, blocks_of
    >>> layers = [Convolution(np.ones((3, 3, 1, 4))), ReLU(), AvgPool(2), Flatten(), Linear(np.ones((36, 10)))]
    >>> [(block.name, block.pools, block.output_shape) for block in blocks_of(ANN(layers, (8, 8, 1)))]
    [('conv1', (), (6, 6, 4)), ('output', (AvgPool(2x2),), (10,))]
    """
    folded = ann.folded()
    shapes = [folded.input_shape, *folded.shapes]
    blocks: list[Block] = []
    pools: list[AvgPool | MaxPool] = []
    start = shapes[0]
    counts = {"conv": 0, "linear": 0}
    for k, layer in enumerate(folded.layers):
        waits = bool(blocks) and not blocks[-1].has_relu
        if isinstance(layer, Flatten):
            continue
        if isinstance(layer, ReLU):
            if not waits:
                _refuse(layer, "has no layer with weights directly before it")
            blocks[-1] = replace(blocks[-1], has_relu=True, relu_index=k)
            start = shapes[k + 1]
        elif waits:
            _refuse(
                blocks[-1].layer,
                f"is followed by {layer!r}, not by a ReLU, and spikes cannot stand for negative values; put a ReLU "
                "between them (two layers with weights and nothing between them are one: multiply their weights)",
            )
        elif isinstance(layer, (AvgPool, MaxPool)):
            pools.append(layer)
        else:
            assert isinstance(layer, (Linear, Convolution))
            kind = "linear" if isinstance(layer, Linear) else "conv"
            counts[kind] += 1
            if layer.bias is None:
                layer = replace(layer, bias=np.zeros(layer.weight.shape[-1], layer.weight.dtype))
            blocks.append(
                Block(f"{kind}{counts[kind]}", tuple(pools), layer, False, start, shapes[k], shapes[k + 1], k)
            )
            pools = []
    if not blocks or pools or blocks[-1].has_relu:
        last = folded.layers[-1]
        _refuse(
            last,
            "is the end, but the last population must accumulate what a layer with weights sends it; append "
            f"Flatten() and Linear(np.eye({folded.n_outputs}))",
        )
    blocks[-1] = replace(blocks[-1], name="output")
    return blocks


def _refuse(layer: object, why: str) -> NoReturn:
    raise ValidationError(f"blocks_of: {layer!r} {why}")
