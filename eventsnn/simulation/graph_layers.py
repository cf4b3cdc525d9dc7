"""Populations without loops among those of any graph, by the kernels of layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eventsnn.connections import Dense
from eventsnn.graph import Network, Projection
from eventsnn.kernels.constants import InputEvents
from eventsnn.network import Layer
from eventsnn.neurons import LIF
from eventsnn.simulation.convolution_layers import WindowRunner
from eventsnn.simulation.layers import LayerRunner
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.simulation.windows import is_windowed
from eventsnn.spikes import Spikes, concatenate

__all__ = ["is_layer", "run_layer"]


def is_layer(network: Network, names: tuple[str, ...]) -> bool:
    """Whether the layer-wise engine can take this part: it wants one sorted stream of events for all its neurons."""
    if len(names) > 1 or network.is_recurrent(names):
        return False
    incoming = network.projections_to(names[0])
    return (
        len(incoming) > 0
        and len(network.populations[names[0]].neuron.receptors) == 1
        and network.populations[names[0]].neuron.starts_below_threshold
        and (
            all(isinstance(p.connection, Dense) and _delay_per_source(p) is not None for p in incoming)
            or (len(incoming) == 1 and is_windowed(incoming[0].connection))
        )
    )


def _delay_per_source(projection: Projection) -> NDArray[np.float64] | None:
    """The delay of each source neuron, (n_pre,), or None if it depends on the target."""
    delay, n_pre = projection.connection.delay, projection.connection.n_pre
    if delay.size == 1:
        return np.full(n_pre, delay.item())
    return delay[:, 0].copy() if delay.shape == (n_pre, 1) else None


def run_layer(
    network: Network, name: str, found: dict[str, Spikes], t_max: float, n_samples: int, pool: BlockPool
) -> Spikes:
    """One population without loops: its projections as one, their events as one stream."""
    population, incoming = network.populations[name], network.projections_to(name)
    neuron = population.neuron
    assert isinstance(neuron, LIF)  # readouts are left out
    if neuron.has_named_receptors:
        neuron = replace(neuron, tau_syn=neuron.tau_syn[neuron.receptors[0]])
    layer = Layer(name, incoming[0].connection, neuron)
    if is_windowed(layer.connection):
        arriving = found[incoming[0].source]
    else:
        arriving = _arriving(incoming, found, n_samples)
        if len(incoming) > 1:
            layer = Layer(name, Dense(np.concatenate([p.connection.weight for p in incoming])), neuron)

    def work(block: tuple[int, int]) -> Spikes:
        mine = arriving[slice(*block)]
        runner: LayerRunner | WindowRunner
        if is_windowed(layer.connection):
            runner = WindowRunner(layer, t_max)
        else:
            runner = LayerRunner(layer, layer.connection.weight, t_max)
        events = runner.forward(InputEvents(mine.offsets, mine.neurons, mine.times), block[0])
        return Spikes._from_offsets(events.offsets, events.neurons.copy(), events.times.copy(), layer.n_neurons)

    parts = pool.map(work, sample_blocks(n_samples))
    return concatenate(parts) if parts else Spikes([], [], [], n_samples=0, n_neurons=layer.n_neurons)


def _arriving(incoming: tuple[Projection, ...], found: dict[str, Spikes], n_samples: int) -> Spikes:
    """What arrives over several `Dense` projections, their sources numbered through."""
    samples, neurons, times, first = [], [], [], 0
    for projection in incoming:
        sent, delay = found[projection.source], _delay_per_source(projection)
        assert delay is not None  # see `is_layer`
        samples.append(sent.samples)
        neurons.append(sent.neurons + first)
        times.append(sent.times + delay[sent.neurons])
        first += projection.connection.n_pre
    return Spikes(
        np.concatenate(samples), np.concatenate(neurons), np.concatenate(times), n_samples=n_samples, n_neurons=first
    )
