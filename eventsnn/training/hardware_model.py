"""A first-spike chain in training as hardware runs it: noise, weights of few bits, a gradient of another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.gradients.first_spike import BlockGradient, TimeLoss
from eventsnn.network import Layer, Sequential
from eventsnn.simulation.delayed_layers import LayerConditions
from eventsnn.simulation.event_driven import slice_events
from eventsnn.simulation.hardware_layers import HardwareRunner, TimeGrid
from eventsnn.simulation.layers import input_events
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.simulation.windows import is_windowed
from eventsnn.spikes import Spikes
from eventsnn.training.effective_weights import clamp_weights, round_weights
from eventsnn.training.first_spike_model import FirstSpikeModel
from eventsnn.training.hardware import NO_NOISE, Hardware, LayerHardware
from eventsnn.training.hardware_noise import BatchNoise, HardwareNoise
from eventsnn.training.learned_delays import DelayL2

__all__ = ["HardwareModel"]


class HardwareModel(FirstSpikeModel):
    """As `FirstSpikeModel`; the runners compute with weights that every batch makes anew from those learned.

    Parameters
    ----------
    network, loss, learn, regularizers : as in `FirstSpikeModel`
    hardware : Hardware
    seed : of the noise
    batch_size : samples that share the noise from batch to batch, in evaluation
    """

    def __init__(
        self,
        network: Sequential,
        loss: TimeLoss,
        learn: Mapping[str, Any],
        regularizers: Sequence[DelayL2],
        *,
        hardware: Hardware,
        seed: int | np.random.SeedSequence,
        batch_size: int,
    ) -> None:
        _require_fits(hardware, network)
        self._hardware = hardware
        super().__init__(network, loss, learn, regularizers)
        self._settings = [hardware.of(name) for name in self.layer_names]
        self._batch_size = batch_size
        self.noise = HardwareNoise(hardware, network, seed)
        self._simulated = self._copy()
        self._drawn: BatchNoise | None = None

    def _copy(self) -> Sequential:
        """The network with weights of its own; delays are followed."""
        copy = self._network.with_parameters({name: w.copy() for name, w in self._network.parameters().items()})
        for own, layer in zip(self._network.layers, copy.layers, strict=True):
            object.__setattr__(layer.connection, "delay", own.connection.delay)
        return copy

    def _enter_weights(self, network: Sequential, drawn: BatchNoise | None) -> None:
        """Rounded weights, scaled as the thresholds of the batch want it."""
        for k, (own, settings) in enumerate(zip(self._network.layers, self._settings, strict=True)):
            weight = network.layers[k].connection.weight
            round_weights(own.connection.weight, weight, settings.weight_step, settings.weight_max)
            scale = None if drawn is None else drawn.scales[k]
            if scale is not None:
                weight *= scale.astype(weight.dtype)

    def _runners(self, network: Sequential) -> list[HardwareRunner]:
        euler = self._hardware.euler
        grid = None if euler is None else TimeGrid(euler.dt, euler.n_steps)
        return [
            HardwareRunner(layer, grid=grid, tau_ratio=settings.gradient_tau_ratio)
            for layer, settings in zip(network.layers, self._settings, strict=True)
        ]

    @property
    def hardware_network(self) -> Sequential:
        """Rounded weights and the fixed pattern of the thresholds, without random noise."""
        copy = self._copy()
        self._enter_weights(copy, None)
        parts: list[Any] = []
        for layer, noisy, pattern in zip(copy.layers, self.noise.layers, self.noise.pattern, strict=True):
            neuron = layer.neuron
            if pattern.any():
                v_leak = neuron.per_neuron("v_leak", layer.n_neurons)
                neuron = replace(neuron, v_threshold=v_leak + np.abs(noisy.theta + pattern))
            parts += [*layer.channels, layer.connection, neuron]
        return Sequential(parts, self.layer_names)

    def refresh(self, blocks: list[Any]) -> None:
        """See `Model.refresh`; weights are clamped."""
        super().refresh(blocks)
        for layer in self._network.layers:
            clamp_weights(layer.connection.weight, self._hardware.of(layer.name).weight_max)

    def block(self, gradients: dict[str, NDArray[np.floating]]) -> BlockGradient:
        """See `Model.block`."""
        return self._block_of(self._simulated, gradients, self._runners(self._simulated))

    def noise_state(self) -> dict[str, Any]:
        """See `Model.noise_state`."""
        return self.noise.state_dict()

    def load_noise_state(self, state: dict[str, Any]) -> None:
        """See `Model.load_noise_state`."""
        self.noise.load_state_dict(state)

    def begin_batch(self, step: int) -> None:
        """See `Model.begin_batch`."""
        self._drawn = self.noise.of_update(step)
        self._enter_weights(self._simulated, self._drawn)

    def options_of_block(self, block: int, n_samples: int) -> dict[str, Any]:
        """See `Model.options_of_block`."""
        assert self._drawn is not None  # begin_batch comes first
        return {"conditions": self._drawn.conditions(block, n_samples)}

    def end_batch(self, gradients: Mapping[str, NDArray[np.floating]]) -> None:
        """See `Model.end_batch`: straight through the rounding, and through the scale of the thresholds.

        `Trainer.max_dw_norm` has bounded the gradient with respect to the scaled weights, a few percent from these.
        """
        assert self._drawn is not None
        for layer, scale in zip(self._network.layers, self._drawn.scales, strict=True):
            name = f"{layer.name}.weight"
            if scale is not None and name in gradients:
                by_neuron = gradients[name].reshape(-1, scale.size)
                by_neuron *= scale.astype(by_neuron.dtype)

    def outputs(self, spikes: Spikes, pool: BlockPool, noise_seed: int | None = 0) -> NDArray[np.float64]:
        """See `Model.outputs`; with the noise of `noise_seed`, None for none but the fixed pattern."""
        times = np.full((spikes.n_samples, self.n_outputs), np.inf)
        source, network = input_events(spikes), self._copy()
        size = self._batch_size if self.noise.has_batches and noise_seed is not None else max(spikes.n_samples, 1)
        for number, first in enumerate(range(0, spikes.n_samples, size)):
            drawn = self.noise.of_evaluation(noise_seed, number)
            self._enter_weights(network, drawn)
            blocks = sample_blocks(min(size, spikes.n_samples - first))

            def work(k: int, first: int = first, blocks: Any = blocks, drawn: BatchNoise = drawn) -> None:
                start, stop = first + blocks[k][0], first + blocks[k][1]
                events = slice_events(source, start, stop)
                runners = self._runners(network)
                conditions: list[LayerConditions] = drawn.conditions(k, stop - start)
                for runner, own in zip(runners, conditions, strict=True):
                    events = runner.forward(events, start, own)
                times[start:stop] = runners[-1].emitted

            pool.map(work, range(len(blocks)))
        return times


def _require_fits(hardware: Hardware, network: Sequential) -> None:
    """Raise for settings that the network's layers cannot have."""
    hardware.require_names([layer.name for layer in network.layers])
    for layer in network.layers:
        if is_windowed(layer.connection):
            raise ValidationError(
                f"Trainer.hardware: population {layer.name!r} is driven by {layer.connection!r}, and noise per synapse "
                "is for Dense connections; leave hardware out, or write the convolution out as Dense"
            )
        needs = _needs_rest(hardware, hardware.of(layer.name))
        if needs and np.any(layer.neuron.i_bias != 0):
            raise ValidationError(
                f"Hardware.{needs}: for neurons without bias current, population {layer.name!r} has "
                f"i_bias={layer.neuron.i_bias}; BiasSpikes can drive it"
            )
        if hardware.euler is not None:
            _require_step(hardware.euler.dt, layer)


def _needs_rest(hardware: Hardware, settings: LayerHardware) -> str | None:
    """The first setting that is only for neurons that rest without input."""
    if settings.threshold_noise != NO_NOISE:
        return "threshold_noise"
    if settings.delay_jitter > 0.0:
        return "delay_jitter"
    if settings.gradient_tau_ratio is not None:
        return "gradient_tau_ratio"
    return "euler" if hardware.euler is not None else None


def _require_step(dt: float, layer: Layer) -> None:
    shortest = min(float(np.min(layer.neuron.tau_mem)), float(np.min(layer.neuron.tau_syn)))
    if dt >= shortest:
        raise ValidationError(
            f"Hardware.euler: EulerForward.dt must be < all time constants, got {dt}; population {layer.name!r} has "
            f"one of {shortest}"
        )
