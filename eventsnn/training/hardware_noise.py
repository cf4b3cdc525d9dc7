"""Draws of the noise that `Hardware` describes.

Every kind of noise has a stream of its own, and what is drawn for a block of samples depends on the seed, the number of
the update and the block alone: nothing is remembered from batch to batch, threads change no bit, and switching one kind
on or off leaves the draws of the others as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsnn.network import Sequential
from eventsnn.simulation.delayed_layers import LayerConditions
from eventsnn.training.hardware import NO_NOISE, Hardware, LayerHardware
from eventsnn.training.streams import BATCH, DELAY, FIXED, SAMPLE, SPIKE, root_of, stream

__all__ = ["BatchNoise", "HardwareNoise"]


class _NoisyLayer(NamedTuple):
    """One layer: its settings, its distances from v_leak to the threshold, (n_post,), and its number of inputs."""

    settings: LayerHardware
    theta: NDArray[np.float64]
    n_pre: int


class HardwareNoise:
    """All noise of a network.

    Parameters
    ----------
    hardware : Hardware
    network : Sequential
    seed : int or numpy SeedSequence, of the noise in training and of the fixed pattern
    """

    def __init__(self, hardware: Hardware, network: Sequential, seed: int | np.random.SeedSequence) -> None:
        self.layers = []
        for layer in network.layers:
            v_threshold, v_leak = (layer.neuron.per_neuron(p, layer.n_neurons) for p in ("v_threshold", "v_leak"))
            self.layers.append(_NoisyLayer(hardware.of(layer.name), v_threshold - v_leak, layer.connection.n_pre))
        self._seed = root_of(seed)
        self._draw_pattern()

    def _draw_pattern(self) -> None:
        rng = stream(self._seed, FIXED)
        #: by layer, what the fixed pattern adds to the thresholds, (n_post,)
        self.pattern = []
        for layer in self.layers:
            noise = layer.settings.threshold_noise
            draws = rng.standard_normal(layer.theta.size)  # in any case: a layer's pattern is its own affair
            self.pattern.append(noise.fixed_mean + noise.fixed_std * draws)

    @property
    def has_batches(self) -> bool:
        """Whether samples of one batch share a draw."""
        return any(layer.settings.threshold_noise.batch > 0.0 for layer in self.layers)

    def of_update(self, step: int) -> BatchNoise:
        """The noise of the update number `step` of a training."""
        return BatchNoise(self, self._seed, step)

    def of_evaluation(self, noise_seed: int | None, batch: int) -> BatchNoise:
        """The noise of a batch of an evaluation; None: the fixed pattern only."""
        return BatchNoise(self, None if noise_seed is None else np.random.SeedSequence(noise_seed), batch)

    def state_dict(self) -> dict[str, Any]:
        """The seed: all there is to know."""
        entropy: Any = self._seed.entropy
        own = [int(e) for e in entropy] if isinstance(entropy, Sequence) else int(entropy)
        return {"entropy": own, "spawn_key": [int(k) for k in self._seed.spawn_key]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the seed of a `state_dict`."""
        self._seed = np.random.SeedSequence(state["entropy"], spawn_key=tuple(state["spawn_key"]))
        self._draw_pattern()


class BatchNoise:
    """The noise of one batch.

    Attributes
    ----------
    scales : by layer, what its weights are multiplied with, (n_post,): a neuron whose threshold is further off by a
        factor fires exactly when one with weights smaller by that factor does. None of layers without such noise, and
        of those with noise from sample to sample.
    """

    def __init__(self, noise: HardwareNoise, seed: np.random.SeedSequence | None, number: int) -> None:
        self._noise, self._seed, self._number = noise, seed, number
        rng = stream(seed, BATCH, number) if seed is not None and noise.has_batches else None
        self._shifts, self.scales = [], []
        for layer, pattern in zip(noise.layers, noise.pattern, strict=True):
            settings, shift = layer.settings.threshold_noise, pattern
            if rng is not None and settings.batch > 0.0:
                shift = pattern + settings.batch * rng.standard_normal(pattern.size)
            self._shifts.append(shift)
            scaled = settings != NO_NOISE and (settings.sample == 0.0 or seed is None)
            self.scales.append(layer.theta / np.abs(layer.theta + shift) if scaled else None)

    def conditions(self, block: int, n_samples: int) -> list[LayerConditions]:
        """What is drawn for every sample of the block number `block`."""
        if self._seed is None:
            return [LayerConditions() for _ in self._noise.layers]
        streams: dict[int, np.random.Generator] = {}

        def draw(kind: int, scale: float, *shape: int) -> NDArray[np.float64] | None:
            if scale == 0.0:
                return None
            if kind not in streams:
                assert self._seed is not None
                streams[kind] = stream(self._seed, kind, self._number, block)
            return scale * streams[kind].standard_normal((n_samples, *shape))

        found = []
        for layer, shift in zip(self._noise.layers, self._shifts, strict=True):
            settings, n_post = layer.settings, layer.theta.size
            threshold = draw(SAMPLE, settings.threshold_noise.sample, n_post)
            if threshold is not None:
                threshold = np.abs(layer.theta + shift + threshold)
            found.append(
                LayerConditions(
                    jitter=draw(DELAY, settings.delay_jitter, layer.n_pre, n_post),
                    threshold=threshold,
                    spike_jitter=draw(SPIKE, settings.spike_jitter, n_post),
                )
            )
        return found
