"""Windows that slide over a plane of neurons: what convolution and pooling ask of their sizes.

Planes are channel-last: shape (height, width, n_channels), and the neuron at (y, x) of channel c has number
(y width + x) n_channels + c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._synapses import LARGEST_SIZE
from eventsnn.errors import ValidationError

__all__ = ["Windows", "image_shape", "indptr_of", "neurons_shape", "pair", "plane_text", "windows_shape"]

Ints = NDArray[np.int64]


def pair(name: str, value: Any, at_least: int) -> tuple[int, int]:
    """(vertical, horizontal) from an integer, which counts for both, or from two of them."""
    try:
        values = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    except TypeError:
        values = ()
    if len(values) != 2 or any(
        isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < at_least for k in values
    ):
        raise ValidationError(f"{name}: must be an integer >= {at_least} or two of them, got {value!r}")
    return int(values[0]), int(values[1])


def image_shape(name: str, value: Any) -> tuple[int, int, int]:
    """(height, width, channels), each >= 1."""
    try:
        values = tuple(value)
    except TypeError:
        values = ()
    if len(values) != 3 or any(isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1 for k in values):
        raise ValidationError(f"{name}: must be (height, width, channels), integers >= 1, got {value!r}")
    return int(values[0]), int(values[1]), int(values[2])


def windows_shape(
    name: str,
    plane: tuple[int, int],
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> tuple[int, int]:
    """(vertical, horizontal) number of windows wholly inside the padded plane; what is left over is cut off."""
    counts = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(plane, size, stride, padding, strict=True)]
    if min(counts) < 1:
        raise ValidationError(
            f"{name}: a window of {size[0]} x {size[1]} does not fit into a plane of {plane[0]} x {plane[1]} with "
            f"padding {padding[0]} x {padding[1]}; take a smaller window or more padding"
        )
    return counts[0], counts[1]


def neurons_shape(name: str, value: Any) -> tuple[int, int, int]:
    """An `image_shape` of less than 2**31 neurons."""
    plane = image_shape(name, value)
    if plane[0] * plane[1] * plane[2] > LARGEST_SIZE:
        raise ValidationError(f"{name}: must have fewer than 2**31 neurons, got {value!r}")
    return plane


def plane_text(shape: tuple[int, ...]) -> str:
    """``28x28x1``."""
    return "x".join(map(str, shape))


def indptr_of(values: Ints, n: int) -> Ints:
    """Where the entries of 0, 1 ... n - 1 begin among sorted values."""
    ends: Ints = np.cumsum(np.bincount(values, minlength=n))
    return np.concatenate(([0], ends))


@dataclass(frozen=True)
class Windows:
    """Windows of `size` at every multiple of `stride` over a plane with `padding` pixels around it.

    The window at (y, x) of the output has its first pixel at (y stride_y - padding_y, x stride_x - padding_x).
    """

    plane: tuple[int, int, int]
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def checked(
        cls, owner: str, image_shape: Any, size: Any, stride: Any, padding: Any, *, is_pool: bool = False
    ) -> Windows:
        """From what a user gives; of a pool every window must hold a pixel."""
        plane = neurons_shape(f"{owner}.image_shape", image_shape)
        window = pair(f"{owner}.size", size, 1)
        step, border = pair(f"{owner}.stride", stride, 1), pair(f"{owner}.padding", padding, 0)
        if is_pool and not (border[0] < window[0] and border[1] < window[1]):
            raise ValidationError(
                f"{owner}.padding: must be smaller than size={window}, got {border}: a window would lie outside"
            )
        windows_shape(owner, plane[:2], window, step, border)
        return cls(plane, window, step, border)

    @property
    def n_windows(self) -> tuple[int, int]:
        """Windows along both axes."""
        return windows_shape("Windows", self.plane[:2], self.size, self.stride, self.padding)

    def n_taps(self, axis: int) -> int:
        """Pairs of a window and one of its places that lie on the plane, along one axis."""
        return int(self._taps(axis)[0].size)

    def _taps(self, axis: int) -> tuple[Ints, Ints, Ints]:
        """Along one axis: pixel, window, place in the window, by pixel, then by window."""
        windows, places = np.indices((self.n_windows[axis], self.size[axis])).reshape(2, -1)
        pixels = windows * self.stride[axis] - self.padding[axis] + places
        inside = (pixels >= 0) & (pixels < self.plane[axis])
        pixels, windows, places = pixels[inside], windows[inside], places[inside]
        order = np.lexsort((windows, pixels))
        return pixels[order], windows[order], places[order]

    def taps(self) -> tuple[Ints, Ints, Ints]:
        """indptr over the pixels (y, x), and number of the window and of the place in it, by pixel, then by window."""
        y, windows_y, places_y = (own[:, None] for own in self._taps(0))
        x, windows_x, places_x = (own[None] for own in self._taps(1))
        pixels = (y * self.plane[1] + x).ravel()
        windows = (windows_y * self.n_windows[1] + windows_x).ravel()
        places = (places_y * self.size[1] + places_x).ravel()
        order = np.lexsort((windows, pixels))
        return indptr_of(pixels, self.plane[0] * self.plane[1]), windows[order], places[order]

    def geometry(self, groups: int = 1) -> Ints:
        """As `kernels.convolution` takes it, with the groups of a convolution."""
        own = (*self.plane, *self.size, *self.stride, *self.padding, *self.n_windows, groups)
        return np.array(own, np.int64)

    def text(self) -> str:
        """What `repr` says of it after the planes."""
        parts = [plane_text(self.size)]
        for name, value, usual in (("stride", self.stride, (1, 1)), ("padding", self.padding, (0, 0))):
            if value != usual:
                parts.append(f"{name} {value[0]}" if value[0] == value[1] else f"{name} {value}")
        return ", ".join(parts)
