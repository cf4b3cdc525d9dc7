"""What comes between a population and the connection it drives: repeated channels and bias spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsnn._synapses import real_array
from eventsnn._validation import count
from eventsnn.errors import ValidationError

__all__ = ["BiasSpikes", "ChannelMap", "Repeat", "channel_map"]


@dataclass(frozen=True)
class Repeat:
    """Every channel `factor` times, side by side: 0 0 .. 1 1 .., each with weights and delays of its own.

    Parameters
    ----------
    factor : int, >= 1

    Raises
    ------
    ValidationError
        `factor` is no such number.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, LIF, Repeat, Sequential
    >>> lif = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    >>> Sequential([Repeat(5), Dense(np.ones((20, 3))), lif])
    Sequential(input 4 -> Repeat(5) -> output 3)
    """

    factor: int

    def __post_init__(self) -> None:
        if count("Repeat.factor", self.factor) < 1:
            raise ValidationError(f"Repeat.factor: must be >= 1, got {self.factor}")

    def __repr__(self) -> str:
        return f"Repeat({self.factor})"


@dataclass(frozen=True, eq=False)
class BiasSpikes:
    """Further channels, behind the others, that spike once in every sample.

    Parameters
    ----------
    times : array_like of float, shape (n_bias,), finite and >= 0, in the unit of the spike times

    Raises
    ------
    ValidationError
        Times that are none, negative, not finite, or not one-dimensional.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import BiasSpikes, Dense, LIF, Sequential
    >>> lif = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    >>> Sequential([BiasSpikes([0.9]), Dense(np.ones((5, 3))), lif])
    Sequential(input 4 -> BiasSpikes([0.9]) -> output 3)
    """

    times: Any

    def __post_init__(self) -> None:
        times = np.array(real_array("BiasSpikes.times", self.times), np.float64)
        if times.ndim != 1 or times.size == 0:
            raise ValidationError(f"BiasSpikes.times: must have shape (n_bias,), n_bias >= 1, got {times.shape}")
        if not (np.isfinite(times).all() and (times >= 0).all()):
            raise ValidationError(f"BiasSpikes.times: must be finite and >= 0, got {times.tolist()}")
        times.flags.writeable = False
        object.__setattr__(self, "times", times)

    def __repr__(self) -> str:
        return f"BiasSpikes({self.times.tolist()})"


class ChannelMap(NamedTuple):
    """Where the channels of a connection come from.

    sources : (n_channels,) int64, neuron of the population before, -1 for a bias spike; bias_times : (n_channels,),
    0 for those that are none
    """

    sources: NDArray[np.int64]
    bias_times: NDArray[np.float64]


def channel_map(n_sources: int, channels: Sequence[Repeat | BiasSpikes]) -> ChannelMap:
    """The channels that `channels`, applied in order, make of `n_sources` neurons."""
    sources, times = np.arange(n_sources), np.zeros(n_sources)
    for part in channels:
        if isinstance(part, Repeat):
            sources, times = np.repeat(sources, part.factor), np.repeat(times, part.factor)
        else:
            sources = np.concatenate((sources, np.full(part.times.size, -1)))
            times = np.concatenate((times, part.times))
    return ChannelMap(sources, times)


def n_sources_of(where: str, n_channels: int, channels: Sequence[Repeat | BiasSpikes]) -> int:
    """How many neurons the channels come from; the inverse of `channel_map`.

    Raises
    ------
    ValidationError
        No number of neurons gives so many channels.
    """
    left = n_channels
    for part in reversed(channels):
        n_before = left
        if isinstance(part, Repeat):
            left, rest = divmod(left, part.factor)
        else:
            left, rest = left - part.times.size, 0
        if rest or left < 1:
            raise ValidationError(f"{where}: {part!r} cannot give the {n_before} channels that the connection takes")
    return left
