"""From the configuration of an experiment on a time grid to its data set, network, loss and trainer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.clocked_neurons import IF, CurrentLIF, Leaky, StepNeuron, Synaptic
from eventsnn.connections import Dense
from eventsnn.currents import Currents
from eventsnn.datasets import Dataset, load_mnist
from eventsnn.encoding import encode_latency_steps
from eventsnn.experiments.build_shared import (
    build_image_shift,
    build_optimizer,
    build_schedule,
    generate_dataset,
    n_threads,
    network_seed,
    training_seed,
)
from eventsnn.experiments.schema import ClockedConfig
from eventsnn.experiments.schema_clocked import ClockedMnist, InitialWeights
from eventsnn.graph import Network, Projection
from eventsnn.network import Sequential

if TYPE_CHECKING:
    from eventsnn.clock import Clock
    from eventsnn.training.trainer import Trainer

__all__ = ["build_clock", "build_dataset", "build_network", "build_trainer"]

_UNITS: dict[str, type[StepNeuron]] = {"current_lif": CurrentLIF, "leaky": Leaky, "synaptic": Synaptic, "if": IF}


def build_dataset(config: ClockedConfig) -> Dataset:
    """Load or generate the data set; times are in the unit of `network.dt`."""
    dataset, network = config.dataset, config.network
    if not isinstance(dataset, ClockedMnist):
        assert network.neuron.name == "current_lif"  # see the schema
        return generate_dataset(dataset, network.neuron.tau_syn)
    options = dataset.model_dump(exclude={"name", "encoding"})
    encode: Any = Currents
    if dataset.encoding.name == "latency":
        threshold = dataset.encoding.threshold
        encode = partial(encode_latency_steps, n_steps=network.n_steps, dt=network.dt, threshold=threshold)
    return load_mnist(dataset.side, encode=encode, **options)


def build_network(config: ClockedConfig, n_inputs: int, n_outputs: int) -> Sequential | Network:
    """The network with its initial weights, and one value per unit of every parameter that is learned."""
    network = config.network
    rng = np.random.default_rng(network_seed(config))
    sizes = [n_inputs, *network.hidden, n_outputs]
    parts: list[Dense | StepNeuron] = []
    for k, (n_pre, n_post, init) in enumerate(zip(sizes[:-1], sizes[1:], _inits(config), strict=True)):
        connection = _dense(n_pre, n_post, init, rng, config.training.dtype)
        bias = _biases(n_pre, n_post, init, rng) if network.bias else 0.0
        is_readout = k == len(network.hidden) and network.output == "readout"
        parts += [connection, _unit(config, n_post, bias, is_readout)]
    chain = Sequential(parts)
    if network.recurrent is None:
        return chain
    graph = chain.as_network()
    loops = [
        Projection(layer.name, layer.name, _dense(n, n, network.recurrent, rng, config.training.dtype))
        for layer, n in zip(chain.layers[:-1], network.hidden, strict=True)
    ]
    return Network(graph.inputs, graph.populations, (*graph.projections, *loops))


def build_trainer(config: ClockedConfig, network: Sequential | Network, *, threads: int | None = None) -> Trainer:
    """The trainer of a network, at epoch 0."""
    from eventsnn.training.trainer import Trainer

    training = config.training
    kinds = {"weight": training.learn.weights} | training.learn.model_dump(exclude={"weights"})
    if config.network.bias:
        kinds["bias"] = training.learn.weights
    return Trainer(
        network,
        build_loss(config),
        build_optimizer(config),
        seed=training_seed(config),
        schedule=build_schedule(config),
        batch_size=training.batch_size,
        input_dropout=training.input_dropout,
        image_shift=build_image_shift(config),
        learn={kind: rate for kind, rate in kinds.items() if rate > 0},
        regularizers=_regularizers(config),
        clock=build_clock(config),
        n_threads=n_threads(config) if threads is None else threads,
    )


def build_clock(config: ClockedConfig) -> Clock:
    """How the network runs on the grid, and how its gradient is taken."""
    from eventsnn.clock import Clock
    from eventsnn.surrogates import surrogate_of

    network, training = config.network, config.training
    return Clock(
        dt=network.dt,
        n_steps=network.n_steps,
        surrogate=surrogate_of(training.surrogate.name, **training.surrogate.model_dump(exclude={"name"})),
        detach_reset=training.detach_reset,
        truncate=training.truncate,
        method=training.method,
        decode=network.decode,
    )


def build_loss(config: ClockedConfig) -> Any:
    """The loss on spike counts or potentials of the outputs."""
    from eventsnn.training.count_losses import SpikeCountCrossEntropy, SpikeCountMSE, SpikeRateCrossEntropy
    from eventsnn.training.membrane_losses import MembraneCrossEntropy
    from eventsnn.training.voltage_losses import IntegralCrossEntropy, MaxVoltageCrossEntropy

    kinds: dict[str, Any] = {
        "spike_count_mse": SpikeCountMSE,
        "spike_count_cross_entropy": SpikeCountCrossEntropy,
        "spike_rate_cross_entropy": SpikeRateCrossEntropy,
        "membrane_cross_entropy": MembraneCrossEntropy,
        "max_voltage": MaxVoltageCrossEntropy,
    }
    loss = config.training.loss
    if loss.name == "mean_voltage":
        return IntegralCrossEntropy(scale=loss.scale / (config.network.n_steps * config.network.dt))
    return kinds[loss.name](**loss.model_dump(exclude={"name"}))


def _regularizers(config: ClockedConfig) -> list[Any]:
    from eventsnn.training.count_regularizers import SpikeRateL1, SpikeRateL2

    kinds: dict[str, Any] = {"spike_rate_l1": SpikeRateL1, "spike_rate_l2": SpikeRateL2}
    return [kinds[term.name](term.strength) for term in config.training.regularizers]


def _unit(config: ClockedConfig, n_units: int, bias: Any, is_readout: bool) -> StepNeuron:
    """The units of one layer; what they learn beside weights is given for each of them."""
    unit = config.network.neuron
    options = unit.model_dump(exclude={"name"}) | {"bias": bias}
    if is_readout:
        options |= {"v_threshold": np.inf, "reset": "none"}
    for parameter, rate in config.training.learn:
        if parameter in options and rate > 0 and not (is_readout and parameter == "v_threshold"):
            options[parameter] = np.full(n_units, options[parameter])
    return _UNITS[unit.name](**options)


def _inits(config: ClockedConfig) -> list[InitialWeights]:
    """The initialisation of each layer, output last."""
    init = config.network.weight_init
    return list(init) if isinstance(init, tuple) else [init] * (len(config.network.hidden) + 1)


def _dense(n_pre: int, n_post: int, init: InitialWeights, rng: np.random.Generator, dtype: str) -> Dense:
    match init.name:
        case "uniform":
            dense = Dense.uniform(n_pre, n_post, low=init.low, high=init.high, rng=rng)
        case "torch_linear":
            bound = n_pre**-0.5
            dense = Dense.uniform(n_pre, n_post, low=-bound, high=bound, rng=rng)
        case "normal":
            dense = Dense.normal(n_pre, n_post, rng=rng, **init.moments(n_pre))
    return Dense(dense.weight.astype(dtype))


def _biases(n_pre: int, n_post: int, init: InitialWeights, rng: np.random.Generator) -> NDArray[np.float64]:
    if init.name == "torch_linear":
        bound = n_pre**-0.5
        return rng.uniform(-bound, bound, n_post)
    return np.zeros(n_post)
