"""Convolution: a connection between two planes of neurons whose synapses share their weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._paths import Paths, SharedSynapses
from eventsnn._synapses import checked_delay, checked_size, delay_text, real_array, weight_dtype
from eventsnn._windows import Windows, neurons_shape, pair, plane_text
from eventsnn.connections import SynapseRows, _Synapses
from eventsnn.errors import ValidationError

__all__ = ["Conv2d", "SharedConnection"]


class SharedConnection(_Synapses):
    """What connections have in common whose synapses share weights."""

    n_post: int

    @property
    def shared(self) -> SharedSynapses:
        """Which synapse has which weight; worked out when it is first asked for."""
        raise NotImplementedError

    def rows(self) -> SynapseRows:
        """All synapses by presynaptic neuron, see `Connection.rows`; the weights are spread out into a new array."""
        shared = self.shared
        return shared.indptr, shared.indices, shared.weights(self.weight), np.full(shared.n_synapses, float(self.delay))

    def fold(self, per_synapse: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Connection.fold`."""
        return self.shared.fold(per_synapse, self.weight.shape)


@dataclass(frozen=True, eq=False)
class Conv2d(SharedConnection):
    """Two-dimensional convolution from one plane of neurons to another.

    Parameters
    ----------
    weight : array_like of float, shape (kernel_height, kernel_width, n_channels_in // groups, n_channels_out)
        `weight[i, j, a, o]` is what a spike adds to output channel o if it lies at (i, j) of the window and is of the
        a-th input channel of o's group (torch's layout: ``weight.transpose(2, 3, 1, 0)``). float32 is kept as float32,
        everything else becomes float64; the array is copied.
    image_shape : (height, width, n_channels_in) of the presynaptic neurons
        Channel-last: neuron (y, x, channel) has number (y width + x) n_channels + channel, so flattening changes
        nothing.
    stride, padding : int or pair (vertical, horizontal)
        Distance of the windows, and pixels of zeros around the plane.
    groups : int
        Input and output channels are cut into so many groups, connected each to each; both must be multiples.
    delay : float
        As for `Dense`, one for all synapses.

    Raises
    ------
    ValidationError
        Weights of another shape, not finite, channels that do not fit `image_shape` or `groups`, a window larger than
        the padded plane, a delay that is no number >= 0.

    Notes
    -----
    No kernel is flipped: window and weights are multiplied place by place, as in all libraries for neural networks.
    The bias of a channel is that of its neurons, ``IF(bias=...)``.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Conv2d
    >>> edges = Conv2d(np.ones((3, 3, 1, 8)), image_shape=(28, 28, 1), stride=2, padding=1)
    >>> edges, edges.out_shape, edges.n_post
    (Conv2d(28x28x1 -> 14x14x8, 3x3, stride 2, padding 1, float64), (14, 14, 8), 1568)
    """

    weight: NDArray[np.floating]
    image_shape: tuple[int, int, int]
    stride: Any = 1
    padding: Any = 0
    groups: int = 1
    delay: Any = 0.0
    windows: Windows = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given = real_array("Conv2d.weight", self.weight)
        weight = given.astype(weight_dtype(given.dtype), order="C")
        if weight.ndim != 4 or 0 in weight.shape:
            raise ValidationError(
                "Conv2d.weight: must have shape (kernel_height, kernel_width, n_channels_in // groups, "
                f"n_channels_out), all >= 1, got {weight.shape}"
            )
        if not np.isfinite(weight).all():
            place = tuple(int(k) for k in np.argwhere(~np.isfinite(weight))[0])
            raise ValidationError(f"Conv2d.weight: must be finite, got {weight[place]} at {list(place)}")
        groups = checked_size("Conv2d.groups", self.groups)
        windows = Windows.checked("Conv2d", self.image_shape, weight.shape[:2], self.stride, self.padding)
        c_in, c_out = windows.plane[2], weight.shape[3]
        if weight.shape[2] * groups != c_in:
            raise ValidationError(
                f"Conv2d.weight: takes {weight.shape[2]} channels in each of {groups} group(s), but image_shape="
                f"{windows.plane} has {c_in}"
            )
        if c_out % groups:
            raise ValidationError(f"Conv2d.groups: {c_out} output channels are no multiple of groups={groups}")
        neurons_shape("Conv2d: the output", (*windows.n_windows, c_out))
        own = {
            "weight": weight,
            "image_shape": windows.plane,
            "stride": windows.stride,
            "padding": windows.padding,
            "groups": groups,
            "delay": scalar_delay("Conv2d", self.delay),
            "windows": windows,
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @classmethod
    def normal(
        cls,
        image_shape: tuple[int, int, int],
        n_channels: int,
        size: int | tuple[int, int],
        *,
        mean: float,
        std: float,
        rng: np.random.Generator,
        groups: int = 1,
        **others: Any,
    ) -> Conv2d:
        """Weights of windows of `size` to `n_channels`, drawn from a normal distribution; `others` as for `Conv2d`."""
        shape = _weight_shape(image_shape, n_channels, size, groups)
        return cls(rng.normal(mean, std, size=shape), image_shape, groups=groups, **others)

    @classmethod
    def uniform(
        cls,
        image_shape: tuple[int, int, int],
        n_channels: int,
        size: int | tuple[int, int],
        *,
        low: float,
        high: float,
        rng: np.random.Generator,
        groups: int = 1,
        **others: Any,
    ) -> Conv2d:
        """Weights drawn evenly from `low` to `high`, else as `normal`.

        torch begins with -low = high = 1/sqrt(n), n being the weights of an output, ``np.prod(weight.shape[:3])``.
        """
        shape = _weight_shape(image_shape, n_channels, size, groups)
        return cls(rng.uniform(low, high, size=shape), image_shape, groups=groups, **others)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(height, width, n_channels) of the postsynaptic neurons."""
        return (*self.windows.n_windows, int(self.weight.shape[3]))

    @property
    def n_pre(self) -> int:
        """Number of presynaptic neurons."""
        return int(np.prod(self.image_shape))

    @property
    def n_post(self) -> int:  # type: ignore[override]
        """Number of postsynaptic neurons."""
        return int(np.prod(self.out_shape))

    @property
    def n_synapses(self) -> int:
        """Number of synapses; those from the padding do not count."""
        per_tap = self.weight.shape[2] * self.weight.shape[3]
        return self.windows.n_taps(0) * self.windows.n_taps(1) * int(per_tap)

    @cached_property
    def shared(self) -> SharedSynapses:
        """See `SharedConnection.shared`."""
        return SharedSynapses.of(self.paths(), self.n_post)

    def paths(self) -> Paths:
        """Its synapses, and the weight that each has."""
        return Paths.of_windows(self.windows, int(self.weight.shape[3]), self.groups)

    def with_values(self, *, weight: ArrayLike | None = None, delay: ArrayLike | None = None) -> Conv2d:
        """The same connection with other weights or another delay."""
        return Conv2d(
            self.weight if weight is None else weight,  # type: ignore[arg-type]
            self.image_shape,
            self.stride,
            self.padding,
            self.groups,
            self.delay if delay is None else delay,
        )

    def __repr__(self) -> str:
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        planes = f"{plane_text(self.image_shape)} -> {plane_text(self.out_shape)}"
        return f"Conv2d({planes}, {self.windows.text()}{groups}, {self.dtype}{delay_text(self.delay)})"


def scalar_delay(owner: str, delay: Any) -> NDArray[np.float64]:
    """One delay for all synapses, as a read-only array of shape ()."""
    if np.ndim(delay):
        raise ValidationError(f"{owner}.delay: must be one number for all synapses, got shape {np.shape(delay)}")
    return checked_delay(owner, delay, 1, 1)


def _weight_shape(image_shape: Any, n_channels: int, size: Any, groups: int) -> tuple[int, int, int, int]:
    c_in = neurons_shape("Conv2d.image_shape", image_shape)[2]
    groups = checked_size("Conv2d.groups", groups)
    if c_in % groups:
        raise ValidationError(f"Conv2d.groups: {c_in} input channels are no multiple of groups={groups}")
    height, width = pair("Conv2d.size", size, 1)
    return height, width, c_in // groups, checked_size("Conv2d.n_channels", n_channels)
