"""A small stand-in for `simulate` and `Result`: first-spike chains with tau_mem = 2 tau_syn, in plain NumPy.

With y = exp(-t / tau_mem) the voltage between events is ``v = a y - b y**2``, so spike times are roots of a quadratic.
It lets the pictures be tested without the engine, and what they show be checked against an independent formula.
"""

from __future__ import annotations

import numpy as np

from eventsnn import Network, Population, Projection, connections, network, neurons, poisson_spikes
from eventsnn.simulation import Result
from eventsnn.spikes import Spikes


class FakeResult:
    """Same interface as `eventsnn.simulation.Result`."""

    def __init__(self, net, inputs, first_times):
        self.network, self.inputs, self.n_samples = net, inputs, inputs.n_samples
        self.t_start, self.t_max = 0.0, np.inf
        self._first = {"input": inputs.first_times(), **first_times}
        self.spikes = {name: Spikes.from_first_times(times) for name, times in self._first.items()}

    def first_times(self, name):
        return self._first[name]

    def v(self, name, times, sample=0, neurons=slice(None)):
        """Voltage with a hard reset to 0 at the first spike, after which the neuron stays at rest."""
        names = ["input", *(layer.name for layer in self.network.layers)]
        k = names.index(name)
        layer = self.network.layers[k - 1]
        arrivals = self._first[names[k - 1]][sample]
        own = self._first[name][sample]
        s = np.asarray(times)[:, None] - arrivals[None, :]
        live = np.where(s > 0, s, np.inf)
        kernel = np.exp(-live / layer.neuron.tau_mem) - np.exp(-live / layer.neuron.tau_syn)
        return np.where(np.asarray(times)[:, None] > own, 0.0, kernel @ layer.connection.weight)[:, neurons]


def simulate(net, spikes, t_max=np.inf, n_threads=1):
    """First spike times of every layer."""
    times, answer = spikes.first_times(), {}
    for layer in net.layers:
        assert layer.neuron.tau_mem == 2 * layer.neuron.tau_syn
        times = answer[layer.name] = _layer(times, layer.connection.weight, layer.neuron)
    return FakeResult(net, spikes, answer)


def _layer(times, weight, neuron):
    n_samples, n_post = times.shape[0], weight.shape[1]
    order = np.argsort(times, axis=1)
    ordered = np.take_along_axis(times, order, axis=1)
    ends = np.column_stack((ordered[:, 1:], np.full(n_samples, np.inf)))
    a, b = np.zeros((n_samples, n_post)), np.zeros((n_samples, n_post))
    first = np.full((n_samples, n_post), np.inf)
    tau, threshold = neuron.tau_mem, neuron.v_threshold
    for k in range(times.shape[1]):
        t, alive = ordered[:, k, None], np.isfinite(ordered[:, k, None])
        if not alive.any():
            break
        w = np.where(alive, weight[order[:, k]], 0.0)
        growth = np.exp(np.where(alive, t, 0.0) / tau)
        a, b = a + w * growth, b + w * growth**2
        with np.errstate(invalid="ignore", divide="ignore"):
            root = (a + np.sqrt(a * a - 4 * b * threshold)) / (2 * b)
            crossing = -tau * np.log(root)
            found = alive & (b > 0) & (root > 0) & (crossing >= t) & (crossing <= ends[:, k, None])
        first = np.where(found & np.isinf(first), crossing, first)
    return first


def make_network(sizes, seed=0, tau_syn=5e-3, mean=None, std=None):
    """A first-spike chain with random weights; means and stds per layer, for `sizes` inputs to outputs."""
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(len(sizes) - 1):
        m = 3.0 / sizes[k] if mean is None else mean[k]
        s = 3.0 / np.sqrt(sizes[k]) if std is None else std[k]
        parts.append(connections.Dense.normal(sizes[k], sizes[k + 1], mean=m, std=s, rng=rng))
        parts.append(neurons.LIF(tau_mem=2 * tau_syn, tau_syn=tau_syn, max_spikes=1))
    return network.Sequential(parts)


def make_graph_result(t_max=0.2, n_exc=30, rate=40.0, n_samples=2):
    """A real `Result` of a network of two inputs, three populations and delays; its spikes are drawn, not simulated."""
    rng = np.random.default_rng(3)
    cell = neurons.LIF(20e-3, {"ampa": 5e-3, "gaba": 10e-3}, t_refrac=2e-3)
    projections = [
        Projection("drive", "exc", connections.Dense(np.full((4, n_exc), 0.3)), "ampa"),
        Projection("exc", "exc", connections.Sparse.random(n_exc, n_exc, in_degree=3, weight=0.2, rng=rng), "ampa"),
        Projection("inh", "exc", connections.Dense(np.full((8, n_exc), -0.1), delay=5e-3), "gaba"),
        Projection("exc", "inh", connections.Dense(np.full((n_exc, 8), 0.1)), "ampa"),
        Projection("exc", "out", connections.Dense(np.full((n_exc, 1), 0.1))),
    ]
    net = Network(
        inputs={"drive": 4, "noise": 2},
        populations={
            "exc": Population(cell, n_exc),
            "inh": Population(cell, 8),
            "out": Population(neurons.LIF(20e-3, 5e-3), 1),
        },
        projections=projections,
    )
    end = min(t_max, 0.2)
    spikes = {
        name: poisson_spikes(0.0 if name == "out" else rate, end, n_neurons=n, rng=rng, n_samples=n_samples)
        for name, n in net.sizes.items()
    }
    return Result(net, spikes, t_max)
