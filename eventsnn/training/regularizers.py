"""What brings silent neurons back: a hinge on their highest membrane potential, or weight bumping.

A neuron that does not fire passes no gradient through a spike time. Two remedies:

`SilentHinge` (the default): the loss gains ``strength (v_threshold - v_peak)/(v_threshold - v_inf)`` for silent
neurons, where v_peak is the highest value the membrane reached, known in closed form. Its gradient is exact, reaches
just the inputs that could make the neuron fire, and goes back through the earlier layers as well.

`WeightBumping` (Goeltz et al. 2021): the weights of a layer that misses too many spikes are raised by a constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import ValidationError

__all__ = ["SilentHinge", "WeightBumping"]


@dataclass(frozen=True)
class SilentHinge:
    """Hinge on the closed-form peak potential of silent neurons.

    Parameters
    ----------
    strength : float
        Weight of the hidden layers' term.
    max_silent_fraction : float
        A hidden neuron is pushed only while it is silent in more than this fraction of the samples (running mean over
        recent batches): some silence is useful.
    output_strength : float
        Weight of the term of the output neuron of the right class, in every sample in which it is silent.
    memory : float
        The running mean keeps this fraction of its old value at every batch.
    """

    strength: float = 0.01
    max_silent_fraction: float = 0.5
    output_strength: float = 10.0
    memory: float = 0.9

    def __post_init__(self) -> None:
        for name in ("strength", "output_strength"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValidationError(f"SilentHinge.{name}: must be >= 0, got {getattr(self, name)}")
        if not 0 <= self.max_silent_fraction <= 1:
            raise ValidationError(
                f"SilentHinge.max_silent_fraction: must lie in [0, 1], got {self.max_silent_fraction}"
            )
        if not 0 <= self.memory < 1:
            raise ValidationError(f"SilentHinge.memory: must lie in [0, 1), got {self.memory}")

    def start(self, layer_sizes: list[int]) -> dict[str, Any]:
        """Running state: the silent fraction of each hidden neuron."""
        return {"silent_fraction": [np.zeros(n) for n in layer_sizes[:-1]]}

    def wanted(self, state: dict[str, Any], layer: int) -> NDArray[np.bool_]:
        """Which neurons of a hidden layer are pushed now."""
        return np.asarray(state["silent_fraction"][layer] > self.max_silent_fraction) & (self.strength > 0)

    def observe(self, state: dict[str, Any], layer: int, fraction: NDArray[np.float64]) -> None:
        """Take in the silent fraction of a hidden layer's neurons over one batch."""
        mean = state["silent_fraction"][layer]
        mean *= self.memory
        mean += (1.0 - self.memory) * fraction


@dataclass(frozen=True)
class WeightBumping:
    """Raise the weights of layers that are silent too often (Goeltz et al. 2021, supplement).

    After each batch the first layer (from the input) of whose spikes, over all its neurons and the samples, more than
    `max_silent_fraction` are missing is bumped: its weights grow by `size`; the ordinary update is left out for that
    batch in this layer and all later ones, because their gradients see too few spikes.

    Parameters
    ----------
    size : float
        What is added to the weights, in the drive convention.
    max_silent_fraction : float or tuple of float
        Threshold of all layers, or one per layer; 1: never.
    targeted : bool
        Bump only the neurons that are silent in some sample (True), or the whole layer; of a convolution the channels
        with such neurons.
    exponential : bool
        Double the size in every further batch that needs a bump of the same layer.
    """

    size: float = 5e-4
    max_silent_fraction: float | tuple[float, ...] = 0.3
    targeted: bool = True
    exponential: bool = True

    def __post_init__(self) -> None:
        if not (np.isfinite(self.size) and self.size > 0):
            raise ValidationError(f"WeightBumping.size: must be > 0, got {self.size}")
        if isinstance(self.max_silent_fraction, (list, tuple)):
            object.__setattr__(self, "max_silent_fraction", tuple(self.max_silent_fraction))
        for fraction in np.atleast_1d(self.max_silent_fraction):
            if not 0 <= fraction <= 1:
                raise ValidationError(f"WeightBumping.max_silent_fraction: must lie in [0, 1], got {fraction}")

    def start(self, layer_sizes: list[int]) -> dict[str, Any]:
        """Running state: how many batches in a row needed a bump, and of which layer the last one was."""
        if isinstance(self.max_silent_fraction, tuple) and len(self.max_silent_fraction) != len(layer_sizes):
            raise ValidationError(
                f"WeightBumping.max_silent_fraction: {len(self.max_silent_fraction)} values for "
                f"{len(layer_sizes)} layers"
            )
        return {"repeats": 0, "layer": -1}

    def bump(
        self, state: dict[str, Any], fractions: list[NDArray[np.float64]], weights: list[NDArray[np.floating] | None]
    ) -> int | None:
        """Bump the first layer that needs it, in place; returns its index, or None.

        `fractions[layer]` is the fraction of the batch in which each neuron was silent; `weights[layer]` is None where
        they are not learned.
        """
        limits = np.broadcast_to(np.asarray(self.max_silent_fraction), len(fractions))
        for layer, (fraction, limit, weight) in enumerate(zip(fractions, limits, weights, strict=True)):
            if weight is not None and fraction.mean() > limit:
                if layer != state["layer"]:
                    state.update(repeats=0, layer=layer)
                # 2^30 bumps of any sensible size are beyond repair; the cap keeps the float finite.
                size = self.size * 2.0 ** min(state["repeats"], 30) if self.exponential else self.size
                # a convolution has no weights per neuron: its output channels with a silent neuron
                silent = (fraction.reshape(-1, weight.shape[-1]) > 0).any(axis=0)
                weight[..., silent if self.targeted else slice(None)] += weight.dtype.type(size)
                state["repeats"] += 1
                return layer
        state.update(repeats=0, layer=-1)
        return None
