"""Pooling of spikes: averages, which are a connection with fixed weights, and maxima, which are a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from eventsnn._paths import Paths, SharedSynapses
from eventsnn._synapses import LARGEST_SIZE
from eventsnn._windows import Windows, plane_text
from eventsnn.connections import Dense, SynapseRows
from eventsnn.convolution import Conv2d, SharedConnection, scalar_delay
from eventsnn.errors import ValidationError

__all__ = ["AvgPool2d", "MaxPool2d", "Pooled"]

Rule = Literal["max_rate", "first_spike"]


@dataclass(frozen=True, eq=False)
class AvgPool2d(SharedConnection):
    """Mean over windows of a plane: a connection whose weights, 1/(window height window width), are fixed.

    Parameters
    ----------
    image_shape : (height, width, n_channels) of the presynaptic neurons, channel-last as for `Conv2d`
    size : int or pair (vertical, horizontal)
        Of the windows.
    stride : int or pair, default `size`
    padding : int or pair
        Pixels of zeros around the plane; they count in the mean, as torch has it by default. Smaller than `size`.
    dtype : float32 or float64, of `weight`
        `Sequential` sets it to that of the other connections.

    Attributes
    ----------
    weight : (window height, window width, 1, n_channels), read-only: the weights as those of a `Conv2d` with one group
        per channel. They are no parameter of the network.

    Raises
    ------
    ValidationError
        Shapes that are no integers, a window larger than the padded plane, padding as large as the window.

    Notes
    -----
    A mean is linear, so it needs no neurons of its own: in a `Sequential` it may stand before a `Conv2d` or `Dense`,
    which then sees the averaged plane (`Pooled`). Followed by neurons it is the connection that drives them.

    Examples
    --------
    >>> from eventsnn import AvgPool2d
    >>> pool = AvgPool2d((28, 28, 16), 2)
    >>> pool, float(pool.weight[0, 0, 0, 0])
    (AvgPool2d(28x28x16 -> 14x14x16, 2x2, stride 2, float64), 0.25)
    """

    image_shape: tuple[int, int, int]
    size: Any
    stride: Any = None
    padding: Any = 0
    dtype: Any = np.float64
    weight: NDArray[np.floating] = field(init=False, repr=False)
    delay: NDArray[np.float64] = field(init=False, repr=False)
    windows: Windows = field(init=False, repr=False)

    #: its weights are no parameter
    has_fixed_weights = True

    def __post_init__(self) -> None:
        _set_windows(self)
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = np.dtype(object)
        if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValidationError(f"AvgPool2d.dtype: must be float32 or float64, got {self.dtype!r}")
        height, width = self.windows.size
        weight = np.full((height, width, 1, self.image_shape[2]), 1.0 / (height * width), dtype)
        weight.flags.writeable = False
        for name, value in {"dtype": dtype, "weight": weight, "delay": scalar_delay("AvgPool2d", 0.0)}.items():
            object.__setattr__(self, name, value)

    @property
    def groups(self) -> int:
        """As a convolution it has one group per channel."""
        return self.image_shape[2]

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(height, width, n_channels) of the averages."""
        return (*self.windows.n_windows, self.image_shape[2])

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
        return self.windows.n_taps(0) * self.windows.n_taps(1) * self.image_shape[2]

    @cached_property
    def shared(self) -> SharedSynapses:
        """See `SharedConnection.shared`."""
        return SharedSynapses.of(self.paths(), self.n_post)

    def paths(self) -> Paths:
        """Its synapses, and the weight that each has."""
        return Paths.of_windows(self.windows, self.image_shape[2], self.groups)

    def with_values(self, *, weight: ArrayLike | None = None, delay: ArrayLike | None = None) -> AvgPool2d:
        """See `Connection.with_values`: there are no others."""
        if weight is not None or delay is not None:
            raise ValidationError("AvgPool2d: its weights are fixed, and it has no delay; use a Conv2d for others")
        return self

    def astype(self, dtype: DTypeLike) -> AvgPool2d:
        """The same with weights of another float type."""
        return AvgPool2d(self.image_shape, self.size, self.stride, self.padding, dtype)

    def __repr__(self) -> str:
        return f"AvgPool2d({_pool_text(self)}, {self.dtype})"


@dataclass(frozen=True, eq=False)
class MaxPool2d:
    """Of every window only one neuron's spikes pass: a gate before a connection, see `Pooled`.

    Parameters
    ----------
    image_shape : (height, width, n_channels) of the neurons before it, channel-last as for `Conv2d`
    size : int or pair (vertical, horizontal)
        Of the windows, one for each channel.
    stride : int or pair, default `size`
    padding : int or pair
        Pixels around the plane that never spike. Smaller than `size`.
    rule : {"max_rate", "first_spike"}
        Who passes, the winner. "max_rate": the neuron with most spikes so far, this step included; it stays the winner
        until another has more, and at first it is the one with the lowest number. "first_spike": the neuron that is the
        first to spike, for the whole sample; of several in one step, the one with the lowest number.

    Raises
    ------
    ValidationError
        Shapes that are no integers, a window larger than the padded plane, padding as large as the window, an unknown
        rule.

    Notes
    -----
    Numbers instead of spikes, such as input `Currents`, are not counted: of a window the largest passes, in every step.
    A neuron that spikes twice in one step, which only inputs can, passes one spike.

    Over many steps the winner of "max_rate" is the neuron with the highest rate, so the gate passes the maximum of the
    rates; while the lead changes hands, spikes are lost or doubled. For neurons that fire once "first_spike" passes the
    earliest spike, in continuous time too: `simulate` layer by layer, first-spike gradients, `Trainer` of a chain.

    A gradient goes to the winner; it is not that of a network in which another neuron would win. On a time grid, before
    there is a winner, it goes to the whole window, for each of its neurons would pass.

    Examples
    --------
    >>> from eventsnn import MaxPool2d
    >>> MaxPool2d((28, 28, 16), 2), MaxPool2d((28, 28, 16), 3, stride=2, padding=1, rule="first_spike").out_shape
    (MaxPool2d(28x28x16 -> 14x14x16, 2x2, stride 2, rule 'max_rate'), (14, 14, 16))
    """

    image_shape: tuple[int, int, int]
    size: Any
    stride: Any = None
    padding: Any = 0
    rule: Rule = "max_rate"
    windows: Windows = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set_windows(self)
        if self.rule not in ("max_rate", "first_spike"):
            raise ValidationError(f"MaxPool2d.rule: must be 'max_rate' or 'first_spike', got {self.rule!r}")

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(height, width, n_channels) of the maxima."""
        return (*self.windows.n_windows, self.image_shape[2])

    @property
    def n_pre(self) -> int:
        """Number of neurons before it."""
        return int(np.prod(self.image_shape))

    @property
    def n_post(self) -> int:
        """Number of channels after it."""
        return int(np.prod(self.out_shape))

    def paths(self) -> Paths:
        """Which windows every neuron before it lies in."""
        return Paths.of_windows(self.windows, self.image_shape[2], self.image_shape[2])

    def __repr__(self) -> str:
        return f"MaxPool2d({_pool_text(self)}, rule {self.rule!r})"


@dataclass(frozen=True, eq=False)
class Pooled(SharedConnection):
    """A `Conv2d` or `Dense` that sees a plane through pools: one connection from the plane before them.

    Parameters
    ----------
    pools : MaxPool2d or AvgPool2d, or a sequence of them in the order in which they apply
        Maxima before averages: a mean of spikes is no spike, and a gate has nothing to count there.
    connection : Conv2d or Dense with one delay, from the last pool's plane

    Attributes
    ----------
    weight, delay : those of the connection inside, the arrays themselves
    gates, averages : the `MaxPool2d` and the `AvgPool2d` among the pools

    Raises
    ------
    ValidationError
        Shapes that do not chain, a maximum after an average, a connection of another kind.

    Notes
    -----
    `Sequential` builds it from pools that stand before a connection. With averages alone it is linear, and `rows` gives
    its synapses from the plane before them; a maximum has none.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import AvgPool2d, Dense, Pooled
    >>> pooled = Pooled(AvgPool2d((4, 4, 2), 2), Dense(np.ones((8, 3))))
    >>> pooled, pooled.rows()[2][:3]
    (Pooled(AvgPool2d(4x4x2 -> 2x2x2, 2x2, stride 2), Dense(8 -> 3, float64)), array([0.25, 0.25, 0.25]))
    """

    pools: tuple[MaxPool2d | AvgPool2d, ...]
    connection: Conv2d | Dense

    def __post_init__(self) -> None:
        given: Any = self.pools
        pools = (given,) if isinstance(given, (MaxPool2d, AvgPool2d)) else given
        if (
            not isinstance(pools, Sequence)
            or not pools
            or not all(isinstance(p, (MaxPool2d, AvgPool2d)) for p in pools)
        ):
            raise ValidationError(f"Pooled.pools: must be one or more MaxPool2d and AvgPool2d, got {given!r}")
        for k, (pool, later) in enumerate(pairwise(pools)):
            if later.image_shape != pool.out_shape:
                raise ValidationError(
                    f"Pooled.pools: pool {k + 1}, {later!r}, expects {plane_text(later.image_shape)}, "
                    f"but pool {k} gives {plane_text(pool.out_shape)}"
                )
            if isinstance(pool, AvgPool2d) and isinstance(later, MaxPool2d):
                raise ValidationError(
                    f"Pooled.pools: pool {k + 1}, {later!r}, follows an average, which is no spike train that a gate "
                    "could count; put neurons between them, or the maximum first"
                )
        inner = self.connection
        if not isinstance(inner, (Conv2d, Dense)) or inner.delay.ndim:
            raise ValidationError(f"Pooled.connection: must be Conv2d, or Dense with one delay, got {inner!r}")
        shape = pools[-1].out_shape
        expected = inner.image_shape if isinstance(inner, Conv2d) else (inner.n_pre,)
        if expected != (shape if isinstance(inner, Conv2d) else (pools[-1].n_post,)):
            raise ValidationError(
                f"Pooled: {inner!r} expects {plane_text(expected)} inputs, but {pools[-1]!r} gives "
                f"{plane_text(shape)} = {pools[-1].n_post}"
            )
        object.__setattr__(self, "pools", tuple(pools))

    @property
    def gates(self) -> tuple[MaxPool2d, ...]:
        """The maxima, in order."""
        return tuple(pool for pool in self.pools if isinstance(pool, MaxPool2d))

    @property
    def averages(self) -> tuple[AvgPool2d, ...]:
        """The averages, in order."""
        return tuple(pool for pool in self.pools if isinstance(pool, AvgPool2d))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, n_channels) of the neurons before the pools."""
        return self.pools[0].image_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the postsynaptic neurons; of a `Dense` (n_post,)."""
        inner = self.connection
        return inner.out_shape if isinstance(inner, Conv2d) else (inner.n_post,)

    @property
    def weight(self) -> NDArray[np.floating]:  # type: ignore[override]
        """The weights of the connection inside, the array itself."""
        return self.connection.weight

    @property
    def delay(self) -> NDArray[np.float64]:
        """The delay of the connection inside."""
        found: NDArray[np.float64] = self.connection.delay
        return found

    @property
    def n_pre(self) -> int:
        """Number of neurons before the pools."""
        return self.pools[0].n_pre

    @property
    def n_post(self) -> int:  # type: ignore[override]
        """Number of postsynaptic neurons."""
        return self.connection.n_post

    @property
    def n_synapses(self) -> int:
        """Synapses from the neurons before the averages, or, if there is a maximum, from those after it."""
        return self._after_gates.n_synapses

    @cached_property
    def _after_gates(self) -> SharedSynapses:
        inner = self.connection
        paths = inner.paths() if isinstance(inner, Conv2d) else Paths.dense(inner.n_pre, inner.n_post)
        for pool in reversed(self.averages):
            paths = pool.paths().scaled(float(pool.weight.flat[0])).then(paths)
        return SharedSynapses.of(paths, inner.n_post)

    @property
    def shared(self) -> SharedSynapses:
        """See `SharedConnection.shared`."""
        if self.gates:
            raise ValidationError(
                f"Pooled: {self.gates[0]!r} is a gate on the spikes and no set of synapses; simulate_clocked takes it, "
                "and with rule='first_spike' simulate layer by layer, first-spike gradients and the Trainer of a "
                "chain; AvgPool2d works everywhere"
            )
        return self._after_gates

    def after_gates(self) -> SynapseRows:
        """As `rows`, but from the plane that the maxima give."""
        own = self._after_gates
        return own.indptr, own.indices, own.weights(self.weight), np.full(own.n_synapses, float(self.delay))

    def with_values(self, *, weight: ArrayLike | None = None, delay: ArrayLike | None = None) -> Pooled:
        """The same connection with other weights or another delay."""
        return Pooled(self.pools, self.connection.with_values(weight=weight, delay=delay))

    def fold(self, per_synapse: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Connection.fold`; the synapses are those of `after_gates`."""
        return self._after_gates.fold(per_synapse, self.weight.shape)

    def __repr__(self) -> str:
        pools = ", ".join(repr(p) if isinstance(p, MaxPool2d) else f"AvgPool2d({_pool_text(p)})" for p in self.pools)
        return f"Pooled({pools}, {self.connection!r})"


def _set_windows(pool: MaxPool2d | AvgPool2d) -> None:
    """Fill in and check what describes the windows."""
    stride = pool.size if pool.stride is None else pool.stride
    windows = Windows.checked(type(pool).__name__, pool.image_shape, pool.size, stride, pool.padding, is_pool=True)
    if int(np.prod(windows.n_windows)) * windows.plane[2] > LARGEST_SIZE:
        raise ValidationError(f"{type(pool).__name__}: more than 2**31 windows")
    own = {
        "image_shape": windows.plane,
        "size": windows.size,
        "stride": windows.stride,
        "padding": windows.padding,
        "windows": windows,
    }
    for name, value in own.items():
        object.__setattr__(pool, name, value)


def _pool_text(pool: MaxPool2d | AvgPool2d) -> str:
    return f"{plane_text(pool.image_shape)} -> {plane_text(pool.out_shape)}, {pool.windows.text()}"
