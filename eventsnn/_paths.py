"""Synapses that share weights: which weight each has, with which factor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eventsnn._windows import Windows

__all__ = ["Paths", "SharedSynapses"]

Ints = NDArray[np.int64]


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


def _ranges(starts: Ints, sizes: Ints) -> Ints:
    """start, start + 1, ... of every range, one after the other."""
    ends = np.cumsum(sizes)
    ranges: Ints = np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - (ends - sizes), sizes)
    return ranges
