"""Layers of other libraries, one after the other: channel-first orders turned, every error with the layer's name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from eventsnn._windows import pair
from eventsnn.conversion.ann import ANN
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

__all__ = ["SOFTMAX_REMEDY", "LayerChain"]

SOFTMAX_REMEDY = "leave it away: the largest output stays the largest"

Pair = int | tuple[int, int]


class LayerChain:
    """Collects the layers of an `ANN` in the words of torch and ONNX.

    Parameters
    ----------
    owner : the public function that errors name first
    input_shape : (n,) or (height, width, channels)
    channel_first : whether planes are flattened channel by channel and weights are stored outputs first, as in torch;
        otherwise as in `ANN`
    """

    def __init__(self, owner: str, input_shape: Iterable[int], *, channel_first: bool = True) -> None:
        self._owner = owner
        self._channel_first = channel_first
        self._name = ""
        self._count = 0
        self._layers: list[ANNLayer] = []
        # an empty chain: its input shape is checked as every ANN's is
        self._shape: Shape = ANN([Dropout()], input_shape).input_shape
        self._input_shape = self._shape
        # for each unit of the flattened plane, where the other library has it; None: at the same place
        self._order: NDArray[np.int64] | None = None

    @contextmanager
    def layer(self, name: str) -> Iterator[None]:
        """Inside, every error is one of the next layer, which the other library calls `name`."""
        self._name = f"{self._owner}: layer {self._count} ({name})"
        self._count += 1
        try:
            yield
        except ValidationError as error:
            if str(error).startswith(self._name):
                raise
            raise ValidationError(f"{self._name}: {error}") from None

    def refuse(self, why: str) -> NoReturn:
        """The error that this layer cannot be taken over."""
        raise ValidationError(f"{self._name}: {why}")

    @property
    def shape(self) -> Shape:
        """Shape behind the last layer so far."""
        return self._shape

    def linear(self, weight: NDArray[Any], bias: NDArray[Any] | None) -> None:
        """A fully connected layer; weight (n_out, n_in), or (n_in, n_out) if not channel-first."""
        if weight.ndim == 2 and self._channel_first:
            weight = weight.T
        if weight.ndim == 2 and self._order is not None and len(weight) == self._order.size:
            weight = weight[self._order]
            self._order = None
        self._add(Linear(weight, bias))

    def convolution(
        self, weight: NDArray[Any], bias: NDArray[Any] | None, stride: Pair, padding: Pair, groups: int
    ) -> None:
        """A convolution; weight (n_out, n_in / groups, height, width), or as in `Convolution` if not channel-first."""
        if weight.ndim == 4 and self._channel_first:
            weight = weight.transpose(2, 3, 1, 0)
        self._add(Convolution(weight, bias, pair("stride", stride, 1), pair("padding", padding, 0), groups))

    def batch_norm(
        self,
        scale: NDArray[Any] | None,
        shift: NDArray[Any] | None,
        mean: NDArray[Any],
        variance: NDArray[Any],
        epsilon: float,
    ) -> None:
        """Batch normalisation; scale and shift may be missing."""
        scale = np.ones_like(mean) if scale is None else scale
        shift = np.zeros_like(mean) if shift is None else shift
        arrays = [np.asarray(array) for array in (scale, shift, mean, variance)]
        if self._order is not None and all(array.shape == self._order.shape for array in arrays):
            arrays = [array[self._order] for array in arrays]
        scale, shift, mean, variance = arrays
        self._add(BatchNorm(scale, shift, mean, variance, epsilon))

    def relu(self) -> None:
        """max(x, 0)."""
        self._add(ReLU())

    def dropout(self) -> None:
        """Nothing is dropped after training."""

    def pool(self, kind: str, size: Pair, stride: Pair | None, padding: Pair, *, ceil_mode: bool = False) -> None:
        """A pool of `kind` "avg" or "max"."""
        window = pair("size", size, 1)
        layer = (AvgPool if kind == "avg" else MaxPool)(
            window, None if stride is None else pair("stride", stride, 1), pair("padding", padding, 0)
        )
        if ceil_mode and len(self._shape) == 3:
            left = [
                (n + 2 * p - k) % s for n, p, k, s in zip(self._shape, layer.padding, window, layer.step, strict=False)
            ]
            if any(left):
                self.refuse(
                    f"ceil_mode adds windows that reach beyond the plane of {self._shape[0]} x {self._shape[1]}, which "
                    "is not supported; export it without ceil_mode"
                )
        self._add(layer)

    def adaptive_pool(self, kind: str, output_size: tuple[int | None, int | None]) -> None:
        """A pool to a plane of `output_size`, which must divide the plane before it; None keeps a side."""
        if len(self._shape) != 3:
            self.refuse(f"needs an input of shape (height, width, channels), gets {self._shape}")
        plane = self._shape[:2]
        wanted = [n if size is None else size for n, size in zip(plane, output_size, strict=True)]
        if any(size < 1 or n % size for n, size in zip(plane, wanted, strict=True)):
            self.refuse(
                f"the output size {wanted[0]} x {wanted[1]} does not divide the plane of {plane[0]} x {plane[1]}, so "
                "its windows differ in size, which is not supported; take a size that divides it"
            )
        self.pool(kind, (plane[0] // wanted[0], plane[1] // wanted[1]), None, 0)

    def global_pool(self, kind: str) -> None:
        """A pool over the whole plane."""
        self.adaptive_pool(kind, (1, 1))

    def flatten(self) -> None:
        """A plane becomes a vector; what is one already stays."""
        if len(self._shape) == 3:
            height, width, channels = self._shape
            if self._channel_first and channels > 1 and height * width > 1:
                order = np.arange(height * width * channels).reshape(channels, height, width)
                self._order = order.transpose(1, 2, 0).ravel()
            self._add(Flatten())

    def add_bias(self, values: NDArray[Any]) -> None:
        """A constant per output that comes after a layer with weights."""
        last = self._layers[-1] if self._layers else None
        if not isinstance(last, (Linear, Convolution)):
            self.refuse("adds a constant, but not directly after a layer with weights; remove it")
        n_out = last.weight.shape[-1]
        values = np.asarray(values, last.weight.dtype)
        per_output = np.broadcast_to(values.ravel(), (n_out,)) if values.size in (1, n_out) else None
        axis = -1 if isinstance(last, Linear) else -3
        if per_output is None or (values.size > 1 and (values.ndim < -axis or values.shape[axis] != n_out)):
            self.refuse(f"adds a constant of shape {values.shape}, which is not one value per output ({n_out})")
        bias = per_output if last.bias is None else last.bias + per_output
        if isinstance(last, Linear):
            self._layers[-1] = Linear(last.weight, bias)
        else:
            self._layers[-1] = Convolution(last.weight, bias, last.stride, last.padding, last.groups)

    def build(self) -> ANN:
        """The network."""
        if self._order is not None:
            raise ValidationError(
                f"{self._owner}: the network ends with a flattened plane, whose order is another one here "
                "(channel-last); leave the last Flatten away"
            )
        if not self._layers:
            raise ValidationError(f"{self._owner}: the network has no layers")
        return ANN(self._layers, self._input_shape)

    def _add(self, layer: ANNLayer) -> None:
        self._shape = layer.output_shape(self._shape)
        self._layers.append(layer)
