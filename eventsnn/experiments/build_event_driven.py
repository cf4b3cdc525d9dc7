"""From the configuration of an experiment in continuous time to its data set, network, loss and trainer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsnn.connections import Dense
from eventsnn.datasets import Dataset
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
from eventsnn.experiments.schema import EventDrivenConfig, WeightInit
from eventsnn.graph import Network, Population, Projection
from eventsnn.network import Sequential
from eventsnn.neurons import LI, LIF

if TYPE_CHECKING:
    from eventsnn.training.trainer import Trainer

__all__ = ["build_dataset", "build_network", "build_trainer"]

#: what the sections of training.learn are called in `Trainer`
_KINDS = {"weights": "weight", "delays": "delay", "tau_mem": "tau_mem", "tau_syn": "tau_syn"}


def build_dataset(config: EventDrivenConfig) -> Dataset:
    """Load or generate the data set; times are in the unit of the network's tau_syn."""
    return build_spike_dataset(config.dataset, config.network.tau_syn)


def build_network(config: EventDrivenConfig, n_inputs: int, n_outputs: int) -> Sequential | Network:
    """The network with its initial weights, drawn from a stream of the seed that nothing else uses."""
    network, learn = config.network, config.training.learn
    hidden = LIF(
        tau_mem=network.tau_mem,
        tau_syn=network.tau_syn,
        v_threshold=network.v_threshold,
        v_reset=network.v_leak,
        v_leak=network.v_leak,
        max_spikes=network.hidden_spikes,
    )
    output: LIF | LI = replace(hidden, max_spikes=1)
    if network.output == "leaky":
        output = LI(tau_mem=network.tau_mem, tau_syn=network.tau_syn, v_leak=network.v_leak)
    rng = np.random.default_rng(network_seed(config))
    sizes = [n_inputs, *network.hidden, n_outputs]
    parts: list[Dense | LIF | LI] = []
    for n_pre, n_post, init in zip(sizes[:-1], sizes[1:], _inits(config), strict=True):
        parts += [_dense(n_pre, n_post, init, rng, config.training.dtype), hidden]
    parts[-1] = output
    chain = Sequential(parts)
    if not config.is_graph:
        return chain
    graph = chain.as_network()
    populations, projections = dict(graph.populations), list(graph.projections)
    for name, population in graph.populations.items():
        if name == chain.layers[-1].name:
            continue
        n = population.n_neurons
        own: dict[str, Any] = {
            key: np.full(n, getattr(network, key)) for key in ("tau_mem", "tau_syn") if getattr(learn, key) > 0
        }
        populations[name] = Population(replace(hidden, **own), n)
        if network.recurrent is not None:
            loop = _dense(n, n, network.recurrent, rng, config.training.dtype)
            if network.recurrent.delay[1] > 0:
                loop = Dense(loop.weight, rng.uniform(*network.recurrent.delay, size=(n, 1)))
            projections.append(Projection(name, name, loop))
    return Network(graph.inputs, populations, tuple(projections))


def _dense(n_pre: int, n_post: int, init: WeightInit, rng: np.random.Generator, dtype: str) -> Dense:
    return Dense(Dense.normal(n_pre, n_post, rng=rng, **init.moments(n_pre)).weight.astype(dtype))


def build_trainer(config: EventDrivenConfig, network: Sequential | Network, *, threads: int | None = None) -> Trainer:
    """The trainer of a network, at epoch 0; its random stream is independent of the initial weights."""
    from eventsnn.training.trainer import Trainer

    training = config.training
    return Trainer(
        network,
        build_loss(config),
        build_optimizer(config),
        seed=training_seed(config),
        schedule=build_schedule(config),
        silent=build_silent(training.silent),
        batch_size=training.batch_size,
        max_dw_norm=training.max_dw_norm,
        min_slope=training.min_slope,
        time_noise=training.time_noise * config.network.tau_syn,
        input_dropout=training.input_dropout,
        image_shift=build_image_shift(config),
        t_max=np.inf if config.network.t_max is None else config.network.t_max,
        learn={_KINDS[key]: rate for key, rate in training.learn.model_dump().items()} if config.is_graph else None,
        n_threads=n_threads(config) if threads is None else threads,
    )


def build_loss(config: EventDrivenConfig) -> Any:
    """The loss on first spike times or potentials."""
    from eventsnn.training.voltage_losses import IntegralCrossEntropy, MaxVoltageCrossEntropy, VoltageCrossEntropy

    loss = config.training.loss
    if loss.name == "max_voltage":
        return MaxVoltageCrossEntropy(scale=loss.scale)
    if loss.name == "mean_voltage":
        assert config.network.t_max is not None  # see the schema
        return IntegralCrossEntropy(scale=loss.scale / config.network.t_max)
    if loss.name == "voltage_at":
        return VoltageCrossEntropy(loss.times, scale=loss.scale)
    return build_first_spike_loss(loss)


def _inits(config: EventDrivenConfig) -> list[WeightInit]:
    """The initialisation of each layer, output last."""
    init = config.network.weight_init
    if isinstance(init, tuple):
        return list(init)
    return [init.hidden] * len(config.network.hidden) + [init.output]
