"""From the configuration of a chain described layer by layer to its data set, network, loss and trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.channels import BiasSpikes, Repeat
from eventsnn.connections import Dense
from eventsnn.datasets import Dataset
from eventsnn.errors import ConfigError
from eventsnn.experiments.build_shared import (
    build_first_spike_loss,
    build_image_shift,
    build_optimizer,
    build_schedule,
    build_silent,
    build_spike_dataset,
    n_threads,
    network_seed,
    training_seed,
)
from eventsnn.experiments.schema import FirstSpikeConfig
from eventsnn.experiments.schema_first_spike import DelayConfig, FirstSpikeLayer
from eventsnn.network import Sequential
from eventsnn.neurons import LIF

if TYPE_CHECKING:
    from eventsnn.training.learned_delays import LearnedDelay
    from eventsnn.training.trainer import Trainer

__all__ = ["build_dataset", "build_network", "build_trainer"]


def build_dataset(config: FirstSpikeConfig) -> Dataset:
    """Load or generate the data set; times are in the unit of the network's tau_syn."""
    return build_spike_dataset(config.dataset, config.network.tau_syn)


def build_network(config: FirstSpikeConfig, n_inputs: int, n_outputs: int) -> Sequential:
    """The network with its initial weights and delays, each from a stream of the seed that nothing else uses.

    Networks that differ in their delays only begin with the same weights.
    """
    network = config.network
    seed = network_seed(config)
    weights, delays = np.random.default_rng(seed), np.random.default_rng(seed.spawn(1)[0])
    parts: list[Any] = []
    n_before = n_inputs
    for k, layer in enumerate(network.layers):
        n_post = layer.size
        if k == len(network.layers) - 1:
            n_post = _n_outputs(k, layer.size, n_outputs)
        assert n_post is not None  # see the schema
        if layer.repeat > 1:
            parts.append(Repeat(layer.repeat))
        if layer.bias_times:
            parts.append(BiasSpikes(np.array(layer.bias_times) * network.tau_syn))
        n_pre = n_before * layer.repeat + len(layer.bias_times)
        drawn = Dense.normal(n_pre, n_post, rng=weights, **layer.weight_init.moments(n_pre))
        tau_syn = network.value_in(layer, "tau_syn")
        delay: Any = 0.0
        if layer.delay is not None:
            delay = _delays(f"network.layers[{k}].delay", layer.delay, n_pre, n_post, tau_syn, delays)
        parts += [
            Dense(drawn.weight.astype(config.training.dtype), delay),
            LIF(
                tau_mem=network.value_in(layer, "tau_mem"),
                tau_syn=tau_syn,
                v_threshold=network.value_in(layer, "v_threshold"),
                v_reset=network.value_in(layer, "v_leak"),
                v_leak=network.value_in(layer, "v_leak"),
                max_spikes=1,
            ),
        ]
        n_before = n_post
    return Sequential(parts, network.layer_names)


def _n_outputs(k: int, size: int | None, n_classes: int) -> int:
    if size not in (None, n_classes):
        raise ConfigError(
            f"network.layers[{k}].size: the last layer has one neuron for each of the {n_classes} classes of the data "
            f"set, got {size}; leave it out"
        )
    return n_classes


def _delays(
    where: str, delay: DelayConfig, n_pre: int, n_post: int, tau_syn: float, rng: np.random.Generator
) -> NDArray[np.floating]:
    shape = (1 if delay.kind == "dendritic" else n_pre, 1 if delay.kind == "axonal" else n_post)
    own = []
    for key, n, what in (("shared_pre", shape[0], "channels before"), ("shared_post", shape[1], "neurons of")):
        share = getattr(delay, key)
        if n % share:
            raise ConfigError(f"{where}.{key}: the {n} {what} the layer are no multiple of it, got {share}")
        own.append(n // share)
    learned = learned_delay(delay)
    raw = rng.normal(delay.mean, delay.std, size=own)
    learned.rectify(raw)
    return np.asarray(learned.delay_of(raw, tau_syn), np.float64)


def learned_delay(delay: DelayConfig, rate: float = 1.0) -> LearnedDelay:
    """How the delays of a connection are learned, with a rate relative to the learning rate."""
    from eventsnn.training.learned_delays import ClippedDelay, LearnedDelay, ShiftedDelay, SigmoidDelay

    kinds = {"sigmoid": SigmoidDelay, "clip": ClippedDelay, "shift": ShiftedDelay}
    positivity = kinds[delay.positivity.name](**delay.positivity.model_dump(exclude={"name"}))
    return LearnedDelay(rate, positivity, shared_pre=delay.shared_pre, shared_post=delay.shared_post)


def build_trainer(config: FirstSpikeConfig, network: Sequential, *, threads: int | None = None) -> Trainer:
    """The trainer of a network, at epoch 0; its random streams are independent of the initial weights."""
    from eventsnn.training.learned_delays import DelayL2
    from eventsnn.training.trainer import Trainer

    training = config.training
    limits: dict[str, Any] = {}
    if training.silent.name == "bumping":
        common = training.silent.max_silent_fraction
        own = (layer.max_silent_fraction for layer in config.network.layers)
        limits["max_silent_fraction"] = tuple(common if value is None else value for value in own)
    hardware = _hardware(config)
    options = {} if hardware is None else {"hardware": hardware}
    return Trainer(
        network,
        build_first_spike_loss(training.loss),
        build_optimizer(config),
        seed=training_seed(config),
        schedule=build_schedule(config),
        silent=build_silent(training.silent, **limits),
        batch_size=training.batch_size,
        max_dw_norm=_by_layer(config, lambda layer: layer.max_dw_norm, training.max_dw_norm),
        min_slope=training.min_slope,
        time_noise=training.time_noise * config.network.tau_syn,
        input_dropout=training.input_dropout,
        image_shift=build_image_shift(config),
        learn=_learn(config),
        regularizers=[DelayL2(item.strength, of=item.of) for item in training.regularizers],
        n_threads=n_threads(config) if threads is None else threads,
        **options,
    )


def _learn(config: FirstSpikeConfig) -> dict[str, Any]:
    """Relative learning rates by the names of the parameters; 0 for what stays."""
    base = config.training.learning_rate
    learn: dict[str, Any] = {}
    for name, layer in zip(config.network.layer_names, config.network.layers, strict=True):
        learn[f"{name}.weight"] = (layer.learning_rate or base) / base if layer.trainable else 0.0
        if layer.delay is not None and layer.delay.trainable:
            learn[f"{name}.delay"] = learned_delay(layer.delay, (layer.delay.learning_rate or base) / base)
    return learn


def _hardware(config: FirstSpikeConfig) -> Any:
    """Noise and limits of the layers; None where there are none."""
    training, layers, tau_syn = config.training, config.network.layers, config.network.tau_syn
    given = {
        "delay_jitter": _by_layer(config, lambda layer: layer.delay.jitter * tau_syn if layer.delay else 0.0),
        "spike_jitter": _by_layer(config, lambda layer: layer.spike_jitter * tau_syn),
        "weight_max": _by_layer(config, lambda layer: layer.weight_max, training.weight_max),
        "weight_step": _by_layer(config, lambda layer: layer.weight_step, training.weight_step),
        "gradient_tau_ratio": _by_layer(config, lambda layer: layer.gradient_tau_ratio, training.gradient_tau_ratio),
    }
    given = {key: value for key, value in given.items() if value not in (None, 0.0)}
    if training.forward.name == "exact" and not given and not any(layer.has_threshold_noise for layer in layers):
        return None
    from eventsnn.training.hardware import EulerForward, Hardware, ThresholdNoise

    if training.forward.name == "euler":
        step, end = training.forward.resolution * tau_syn, training.forward.t_max * tau_syn
        given["euler"] = EulerForward(dt=step, t_max=end)
    noise = _by_layer(config, lambda layer: ThresholdNoise(**layer.threshold_noise.model_dump()))
    return Hardware(threshold_noise=noise, **given)


def _by_layer(config: FirstSpikeConfig, value: Callable[[FirstSpikeLayer], Any], common: Any = None) -> Any:
    """One value where all layers have the same, else those there are by the names of the layers."""
    found = {}
    for name, layer in zip(config.network.layer_names, config.network.layers, strict=True):
        own = value(layer)
        found[name] = common if own is None else own
    values = list(found.values())
    if all(one == values[0] for one in values):
        return values[0]
    return {name: own for name, own in found.items() if own is not None}
