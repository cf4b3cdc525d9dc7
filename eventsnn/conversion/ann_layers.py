"""The layers of an `ANN`: what each holds, and which shapes it takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._synapses import real_array
from eventsnn._validation import number
from eventsnn._windows import pair, windows_shape
from eventsnn.errors import ValidationError

__all__ = [
    "ANNLayer",
    "AvgPool",
    "BatchNorm",
    "Convolution",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool",
    "ReLU",
    "Shape",
]

#: (n,) or (height, width, channels)
Shape = tuple[int, ...]


def _parameters(name: str, values: ArrayLike, n_dims: int, axes: str) -> NDArray[np.floating]:
    """A read-only float32 or float64 copy: float16 becomes float32, integers become float64."""
    given = real_array(name, values)
    dtype = np.float32 if given.dtype in (np.float16, np.float32) else np.float64
    array: NDArray[np.floating] = np.array(given, dtype=dtype, order="C")
    if array.ndim != n_dims or array.size == 0:
        raise ValidationError(f"{name}: must have shape {axes}, none of them 0, got {array.shape}")
    if not np.isfinite(array).all():
        place = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise ValidationError(f"{name}: must be finite, got {array[place]} at {list(place)}")
    array.flags.writeable = False
    return array


def _bias(name: str, values: ArrayLike | None, n: int, dtype: np.dtype[Any]) -> NDArray[np.floating] | None:
    if values is None:
        return None
    array = _parameters(name, values, 1, "(n_out,)")
    if array.shape != (n,):
        raise ValidationError(f"{name}: must have one value per output, shape ({n},), got {array.shape}")
    array = array.astype(dtype)
    array.flags.writeable = False
    return array


def _image(what: str, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValidationError(f"{what}: needs an input of shape (height, width, channels), gets {shape}")
    return shape[0], shape[1], shape[2]


@dataclass(frozen=True, eq=False)
class Linear:
    """Fully connected layer, ``x @ weight + bias``.

    Parameters
    ----------
    weight : array_like of float, shape (n_in, n_out)
        torch's is transposed. float16 and float32 become float32, everything else float64; a read-only copy is kept.
    bias : array_like of float, shape (n_out,), or None
        None is no bias. Kept in the type of `weight`.

    Raises
    ------
    ValidationError
        Another shape, or values that are not finite.
    """

    weight: NDArray[np.floating]
    bias: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        weight = _parameters("Linear.weight", self.weight, 2, "(n_in, n_out)")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", _bias("Linear.bias", self.bias, weight.shape[1], weight.dtype))

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of what comes out, ``(n_out,)``, if `shape` goes in."""
        n_in, n_out = self.weight.shape
        if shape != (n_in,):
            more = "; put Flatten() before it" if len(shape) == 3 and np.prod(shape) == n_in else ""
            raise ValidationError(f"Linear: its weights take {n_in} inputs, shape ({n_in},), but get {shape}{more}")
        return (n_out,)

    def __repr__(self) -> str:
        return f"Linear({self.weight.shape[0]} -> {self.weight.shape[1]}{'' if self.bias is not None else ', no bias'})"


@dataclass(frozen=True, eq=False)
class Convolution:
    """Two-dimensional convolution (cross-correlation, as everywhere in the field) on a channel-last plane.

    Parameters
    ----------
    weight : array_like of float, shape (kernel_height, kernel_width, n_in / groups, n_out)
        torch's (out, in, height, width) is ``transpose(2, 3, 1, 0)`` of it. Types as in `Linear`.
    bias : array_like of float, shape (n_out,), or None
    stride : int or (vertical, horizontal), default 1
    padding : int or (vertical, horizontal), default 0
        Zeros on every side.
    groups : int, default 1
        Output channels ``g * n_out/groups ...`` see the input channels ``g * n_in/groups ...`` only.

    Raises
    ------
    ValidationError
        Another shape, values that are not finite, groups that do not divide the channels.
    """

    weight: NDArray[np.floating]
    bias: NDArray[np.floating] | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    def __post_init__(self) -> None:
        axes = "(kernel_height, kernel_width, n_in / groups, n_out)"
        weight = _parameters("Convolution.weight", self.weight, 4, axes)
        n_out = weight.shape[3]
        groups = self.groups
        if isinstance(groups, bool) or not isinstance(groups, (int, np.integer)) or groups < 1 or n_out % groups:
            raise ValidationError(
                f"Convolution.groups: must be an integer >= 1 that divides the {n_out} output channels, got {groups!r}"
            )
        own = {
            "weight": weight,
            "bias": _bias("Convolution.bias", self.bias, n_out, weight.dtype),
            "stride": pair("Convolution.stride", self.stride, 1),
            "padding": pair("Convolution.padding", self.padding, 0),
            "groups": int(groups),
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of what comes out, (height, width, n_out), if `shape` goes in."""
        height, width, channels = _image("Convolution", shape)
        kernel_height, kernel_width, n_in, n_out = self.weight.shape
        if channels != n_in * self.groups:
            raise ValidationError(
                f"Convolution: its weights take {n_in * self.groups} channels ({n_in} in each of {self.groups} "
                f"groups), but get {channels} of the input {shape} (height, width, channels)"
            )
        size = (kernel_height, kernel_width)
        return (*windows_shape("Convolution", (height, width), size, self.stride, self.padding), n_out)

    def __repr__(self) -> str:
        kernel_height, kernel_width, n_in, n_out = self.weight.shape
        text = f"{kernel_height}x{kernel_width}, {n_in * self.groups} -> {n_out}"
        text += f", stride {self.stride[0]}x{self.stride[1]}" if self.stride != (1, 1) else ""
        text += f", padding {self.padding[0]}x{self.padding[1]}" if self.padding != (0, 0) else ""
        text += f", groups {self.groups}" if self.groups != 1 else ""
        return f"Convolution({text}{'' if self.bias is not None else ', no bias'})"


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """Batch normalisation with fixed statistics, per channel or per unit: the last axis of the input.

    ``scale * (x - mean) / sqrt(variance + epsilon) + shift``

    Parameters
    ----------
    scale, shift : array_like of float, shape (n,)
        torch's weight and bias.
    mean, variance : array_like of float, shape (n,)
        The running statistics; variance >= 0.
    epsilon : float, default 1e-5, >= 0
        As the network was trained with; variance + epsilon must be > 0.

    Raises
    ------
    ValidationError
        Shapes that differ, values that are not finite, a variance below 0 or a variance + epsilon of 0.
    """

    scale: NDArray[np.floating]
    shift: NDArray[np.floating]
    mean: NDArray[np.floating]
    variance: NDArray[np.floating]
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("scale", "shift", "mean", "variance"):
            object.__setattr__(self, name, _parameters(f"BatchNorm.{name}", getattr(self, name), 1, "(n,)"))
            if getattr(self, name).shape != self.scale.shape:
                raise ValidationError(
                    f"BatchNorm.{name}: must have as many values as scale, {self.scale.size}, got "
                    f"{getattr(self, name).size}"
                )
        object.__setattr__(self, "epsilon", number("BatchNorm.epsilon", self.epsilon, at_least=0))
        bad = np.flatnonzero((self.variance < 0) | (self.variance.astype(np.float64) + self.epsilon <= 0))
        if bad.size:
            raise ValidationError(
                "BatchNorm.variance: must be >= 0, and > 0 together with epsilon, got "
                f"{self.variance[bad[0]]:g} at [{bad[0]}], epsilon {self.epsilon:g}"
            )

    def affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same as ``factor * x + offset``: (factor, offset) in float64."""
        factor = self.scale.astype(np.float64) / np.sqrt(self.variance.astype(np.float64) + self.epsilon)
        return factor, self.shift.astype(np.float64) - factor * self.mean

    def output_shape(self, shape: Shape) -> Shape:
        """`shape`, if its last axis fits."""
        if shape[-1] != self.scale.size:
            raise ValidationError(
                f"BatchNorm: has {self.scale.size} channels, but gets {shape[-1]} of the input {shape}"
            )
        return shape

    def __repr__(self) -> str:
        return f"BatchNorm({self.scale.size})"


@dataclass(frozen=True)
class ReLU:
    """``max(x, 0)``."""

    def output_shape(self, shape: Shape) -> Shape:
        """`shape`."""
        return shape


@dataclass(frozen=True)
class _Pool:
    size: tuple[int, int]
    stride: tuple[int, int] | None = None
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        name = type(self).__name__
        size = pair(f"{name}.size", self.size, 1)
        padding = pair(f"{name}.padding", self.padding, 0)
        if padding[0] >= size[0] or padding[1] >= size[1]:
            raise ValidationError(f"{name}.padding: must be smaller than the window {size}, got {padding}")
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "stride", size if self.stride is None else pair(f"{name}.stride", self.stride, 1))
        object.__setattr__(self, "padding", padding)

    @property
    def step(self) -> tuple[int, int]:
        """The stride, as two integers."""
        return self.stride or self.size

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of what comes out, (height, width, channels), if `shape` goes in."""
        name = type(self).__name__
        height, width, channels = _image(name, shape)
        return (*windows_shape(name, (height, width), self.size, self.step, self.padding), channels)

    def __repr__(self) -> str:
        text = f"{self.size[0]}x{self.size[1]}"
        text += f", stride {self.step[0]}x{self.step[1]}" if self.step != self.size else ""
        text += f", padding {self.padding[0]}x{self.padding[1]}" if self.padding != (0, 0) else ""
        return f"{type(self).__name__}({text})"


@dataclass(frozen=True, repr=False)
class AvgPool(_Pool):
    """Mean over windows; zeros of the padding count.

    Parameters
    ----------
    size : int or (vertical, horizontal)
    stride : int or (vertical, horizontal), default `size`
    padding : int or (vertical, horizontal), default 0, smaller than `size`
        What does not fill a window at the right and lower edge is cut off.

    Raises
    ------
    ValidationError
        Values out of range.
    """


@dataclass(frozen=True, repr=False)
class MaxPool(_Pool):
    """Largest value of each window; the padding never wins.

    Parameters
    ----------
    size, stride, padding
        As in `AvgPool`.

    Raises
    ------
    ValidationError
        Values out of range.
    """


@dataclass(frozen=True)
class Dropout:
    """What training dropped at random; it does nothing here.

    Parameters
    ----------
    rate : float, default 0.5, in [0, 1)

    Raises
    ------
    ValidationError
        Values out of range.
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        if number("Dropout.rate", self.rate, at_least=0) >= 1:
            raise ValidationError(f"Dropout.rate: must be below 1, got {self.rate!r}")

    def output_shape(self, shape: Shape) -> Shape:
        """`shape`."""
        return shape


@dataclass(frozen=True)
class Flatten:
    """The plane as a vector: unit ``(y * width + x) * channels + c``, the order the numbers have in memory."""

    def output_shape(self, shape: Shape) -> Shape:
        """``(height * width * channels,)``."""
        return (int(np.prod(shape)),)


ANNLayer = Linear | Convolution | BatchNorm | ReLU | AvgPool | MaxPool | Dropout | Flatten
