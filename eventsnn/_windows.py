"""Windows that slide over a plane of neurons, and the synapses that follow where many of them share a weight.

Planes are channel-last: shape (height, width, n_channels), and the neuron at (y, x) of channel c has number
(y width + x) n_channels + c.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._synapses import LARGEST_SIZE
from eventsnn.errors import ValidationError

__all__ = ["Paths", "SharedSynapses", "Windows", "checked_plane", "plane_text"]

Ints = NDArray[np.int64]


def checked_plane(name: str, shape: Any) -> tuple[int, int, int]:
    """A shape (height, width, n_channels) of integers >= 1."""
    given = tuple(shape) if isinstance(shape, (tuple, list, np.ndarray)) else (shape,)
    if len(given) != 3 or not all(_is_integer(n) and n >= 1 for n in given):
        raise ValidationError(f"{name}: must be (height, width, n_channels), integers >= 1, got {shape!r}")
    plane = (int(given[0]), int(given[1]), int(given[2]))
    if plane[0] * plane[1] * plane[2] > LARGEST_SIZE:
        raise ValidationError(f"{name}: must have fewer than 2**31 neurons, got {shape!r}")
    return plane


def checked_pair(name: str, value: Any, *, at_least: int) -> tuple[int, int]:
    """An integer for both axes, or one for each, (vertical, horizontal)."""
    given = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value, value)
    if len(given) != 2 or not all(_is_integer(n) and n >= at_least for n in given):
        raise ValidationError(f"{name}: must be an integer >= {at_least} or a pair of them, got {value!r}")
    return int(given[0]), int(given[1])


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def plane_text(shape: tuple[int, ...]) -> str:
    """``28x28x1``."""
    return "x".join(map(str, shape))


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
        plane = checked_plane(f"{owner}.image_shape", image_shape)
        window = checked_pair(f"{owner}.size", size, at_least=1)
        step = checked_pair(f"{owner}.stride", stride, at_least=1)
        border = checked_pair(f"{owner}.padding", padding, at_least=0)
        if is_pool and not (border[0] < window[0] and border[1] < window[1]):
            raise ValidationError(
                f"{owner}.padding: must be smaller than size={window}, got {border}: a window would lie outside"
            )
        found = cls(plane, window, step, border)
        for axis, letter in enumerate(("height", "width")):
            if found.n_windows[axis] < 1:
                raise ValidationError(
                    f"{owner}: a window of {plane_text(window)} does not fit into image_shape={plane}: the {letter} is "
                    f"{plane[axis]}" + (f" + 2 * {border[axis]} of padding" if border[axis] else "")
                )
        return found

    @property
    def n_windows(self) -> tuple[int, int]:
        """Windows along both axes."""
        height, width = (
            (self.plane[axis] + 2 * self.padding[axis] - self.size[axis]) // self.stride[axis] + 1 for axis in (0, 1)
        )
        return height, width

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
        return _indptr(pixels, self.plane[0] * self.plane[1]), windows[order], places[order]

    def text(self) -> str:
        """What `repr` says of it after the planes."""
        parts = [plane_text(self.size)]
        for name, value, usual in (("stride", self.stride, (1, 1)), ("padding", self.padding, (0, 0))):
            if value != usual:
                parts.append(f"{name} {value[0]}" if value[0] == value[1] else f"{name} {value}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Paths:
    """Ways from presynaptic to postsynaptic neurons: neuron j has indptr[j] : indptr[j + 1].

    targets : postsynaptic neuron; place : of the way's weight among all weights; factor : of that weight
    """

    indptr: Ints
    targets: Ints
    place: Ints
    factor: NDArray[np.float64]

    @classmethod
    def of_windows(cls, windows: Windows, n_channels: int, groups: int) -> Paths:
        """Those of a convolution with weights (size_y, size_x, channels per group, n_channels)."""
        n_pixels, c_in = windows.plane[0] * windows.plane[1], windows.plane[2]
        per_group, own_channels = c_in // groups, n_channels // groups
        pixel_indptr, window, place = windows.taps()
        neurons = np.arange(n_pixels * c_in)
        pixels, channels = np.divmod(neurons, c_in)
        sizes = np.diff(pixel_indptr)[pixels]
        taps = _ranges(pixel_indptr[pixels], sizes)
        group, channel = np.divmod(np.repeat(channels, sizes), per_group)
        outputs = group[:, None] * own_channels + np.arange(own_channels)
        targets = window[taps][:, None] * n_channels + outputs
        places = (place[taps] * per_group + channel)[:, None] * n_channels + outputs
        indptr = np.concatenate(([0], np.cumsum(sizes))) * own_channels
        return cls(indptr, targets.ravel(), places.ravel(), np.ones(targets.size))

    @classmethod
    def dense(cls, n_pre: int, n_post: int) -> Paths:
        """All to all."""
        places = np.arange(n_pre * n_post)
        return cls(np.arange(n_pre + 1) * n_post, places % n_post, places, np.ones(places.size))

    def then(self, later: Paths) -> Paths:
        """These ways, whose weights are their factors, followed by those of another connection."""
        sizes = np.diff(later.indptr)[self.targets]
        follow = _ranges(later.indptr[self.targets], sizes)
        ends = np.concatenate(([0], np.cumsum(sizes)))
        factor = np.repeat(self.factor, sizes) * later.factor[follow]
        return Paths(ends[self.indptr], later.targets[follow], later.place[follow], factor)

    def scaled(self, factor: float) -> Paths:
        """With all factors times a number."""
        return Paths(self.indptr, self.targets, self.place, self.factor * factor)


@dataclass(frozen=True)
class SharedSynapses:
    """One synapse per pair of neurons that some way connects, and its weight from the weights that they share.

    paths : by presynaptic, then by postsynaptic neuron
    """

    paths: Paths
    n_post: int

    @classmethod
    def of(cls, paths: Paths, n_post: int) -> SharedSynapses:
        """From ways in any order within a neuron."""
        sources = np.repeat(np.arange(paths.indptr.size - 1), np.diff(paths.indptr))
        keys = sources * n_post + paths.targets
        if (np.diff(keys) < 0).any():
            order = np.argsort(keys, kind="stable")
            paths = Paths(paths.indptr, paths.targets[order], paths.place[order], paths.factor[order])
        return cls(paths, n_post)

    @cached_property
    def _first(self) -> Ints:
        """The first way of every synapse."""
        targets = self.paths.targets
        starts = np.ones(targets.size, np.bool_)
        starts[1:] = np.diff(targets) != 0
        begins = self.paths.indptr[:-1]
        starts[begins[begins < targets.size]] = True
        return np.flatnonzero(starts)

    @property
    def n_synapses(self) -> int:
        """Number of synapses."""
        return int(self._first.size)

    @cached_property
    def indptr(self) -> Ints:
        """Where the synapses of every presynaptic neuron begin."""
        return np.searchsorted(self._first, self.paths.indptr)

    @cached_property
    def indices(self) -> NDArray[np.int32]:
        """The postsynaptic neuron of every synapse."""
        return self.paths.targets[self._first].astype(np.int32)

    def weights(self, shared: NDArray[np.floating]) -> NDArray[np.floating]:
        """The weight of every synapse."""
        if not self._first.size:
            return np.empty(0, shared.dtype)
        values = self.paths.factor * shared.reshape(-1)[self.paths.place]
        return np.add.reduceat(values, self._first).astype(shared.dtype)

    def fold(self, per_synapse: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.floating]:
        """The transpose of `weights`: derivatives by synapse into derivatives by shared weight."""
        sizes = np.diff(self._first, append=self.paths.targets.size)
        values = self.paths.factor * np.repeat(per_synapse, sizes)
        total = np.bincount(self.paths.place, values, minlength=int(np.prod(shape)))
        return total.astype(per_synapse.dtype).reshape(shape)


def _indptr(values: Ints, n: int) -> Ints:
    ends: Ints = np.cumsum(np.bincount(values, minlength=n))
    return np.concatenate(([0], ends))


def _ranges(starts: Ints, sizes: Ints) -> Ints:
    """start, start + 1, ... of every range, one after the other."""
    ends = np.cumsum(sizes)
    ranges: Ints = np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - (ends - sizes), sizes)
    return ranges
