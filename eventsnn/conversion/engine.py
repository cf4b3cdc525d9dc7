"""What conversion asks of a chain while it is being made: drives and spike counts of one layer."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eventsnn.clocked_neurons import IF
from eventsnn.connections import Dense
from eventsnn.currents import Currents
from eventsnn.network import Sequential
from eventsnn.simulation.chain_inference import run_chain

__all__ = ["potentials", "spike_counts"]


def potentials(network: Sequential, inputs: Currents, n_steps: int, *, n_threads: int = 1) -> NDArray[np.floating]:
    """Potentials of the last layer, which does not fire, after every step, (n, n_steps, n_neurons)."""
    return run_chain(network, inputs, n_steps=n_steps, n_threads=n_threads, progress=False).outputs


def spike_counts(network: Sequential, inputs: Currents, n_steps: int, *, n_threads: int = 1) -> NDArray[np.int32]:
    """Spikes of every neuron of the last layer, which fires, (n, n_neurons)."""
    last = network.layers[-1]
    nothing = Dense(np.zeros((last.n_neurons, 1), last.connection.dtype))
    parts = [part for layer in network.layers for part in (layer.connection, layer.neuron)]
    # inference runs chains that end in a readout
    chain = Sequential([*parts, nothing, IF(v_threshold=math.inf)], [*(own.name for own in network.layers), "readout"])
    run = run_chain(chain, inputs, n_steps=n_steps, n_threads=n_threads, progress=False, keep=("counts",))
    return run.counts[last.name]
