"""Networks from the plain descriptions of tests/reference, for both engines."""

from __future__ import annotations

import numpy as np

from eventsnn import LIF, Dense, Network, Population, Projection, Sparse, Spikes

PARAMETERS = ("tau_mem", "tau_syn", "v_threshold", "v_reset", "v_leak", "t_refrac", "i_bias", "max_spikes")


def network_of(spec, form="sparse"):
    """The Network of a specification; every connection as `Sparse`, or as `Dense` where each pair has a synapse."""
    populations = {
        p["name"]: Population(LIF(**{name: p[name] for name in PARAMETERS if name in p}), p["n"])
        for p in spec["populations"]
    }
    inputs = {p["name"]: p["n"] for p in spec["inputs"]}
    sizes = {**inputs, **{name: p.n_neurons for name, p in populations.items()}}
    projections = []
    for p in spec["projections"]:
        shape = sizes[p["source"]], sizes[p["target"]]
        projections += [
            Projection(p["source"], p["target"], connection, p["receptor"])
            for connection in connections_of(p["synapses"], shape, form)
        ]
    return Network(inputs, populations, projections)


def connections_of(synapses, shape, form):
    """One connection, or several where a pair of neurons has several synapses."""
    from scipy.sparse import coo_array

    layers = []
    for j, k, weight, delay in synapses:
        for layer in layers:
            if (j, k) not in layer:
                layer[j, k] = weight, delay
                break
        else:
            layers.append({(j, k): (weight, delay)})
    for layer in layers:
        rows, columns = np.array(list(layer)).T
        weights, delays = np.array(list(layer.values()), dtype=float).T
        if form == "dense" and len(layer) == shape[0] * shape[1]:
            weight, delay = np.empty(shape), np.empty(shape)
            weight[rows, columns], delay[rows, columns] = weights, delays
            if (delay == delay[:, :1]).all():
                delay = delay[:, :1]
            yield Dense(weight, delay)
        else:
            yield Sparse(coo_array((weights, (rows, columns)), shape=shape), delays)


def spikes_of(spec):
    """Its input spikes by name."""
    inputs = {}
    for p in spec["inputs"]:
        events = spec["spikes"].get(p["name"], [])
        neurons, times = [n for n, _ in events], [t for _, t in events]
        inputs[p["name"]] = Spikes(np.zeros(len(events), int), neurons, times, n_samples=1, n_neurons=p["n"])
    return inputs


def initial_of(spec):
    """Initial potentials and currents, or None."""
    initial = {}
    for p in spec["populations"]:
        own = {}
        if "v0" in p:
            own["v"] = p["v0"]
        if "i0" in p:
            own["i_syn"] = p["i0"]
        if own:
            initial[p["name"]] = own
    return initial or None
