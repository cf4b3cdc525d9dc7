"""Random small networks for comparisons with `network_mpmath`, as its plain dicts. Never imports eventsnn.

A coarse clock-driven simulation counts the spikes; the weights are scaled until the network is active.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

KINDS = ("feed_forward", "recurrent", "delays", "receptors", "refractory", "simultaneous", "strong", "bias")
DELAY_FORMS = ("scalar", "axonal", "dendritic", "synaptic")
RATIOS = (1.0, 2.0, 4.0, 0.5, 1.37)
FEWEST, MOST = 10, 110  # spikes in the coarse simulation; the true number is a little off


def random_network(rng, kind):
    """One network of a kind in KINDS, with its input: the `spec` of `simulate_reference`, with 5 to 150 spikes.

    Every population fires. Every projection also has its "delay" as an array of the smallest shape that says it all:
    (), (n_pre, 1), (1, n_post) or (n_pre, n_post). Times are in seconds or in units of tau_syn.
    """
    while True:
        spec, gain = _draw(rng, kind), 1.0
        for _ in range(12):
            counts = _coarse_spike_counts(spec, gain)
            if min(counts) > 1 and FEWEST <= sum(counts) <= MOST:
                return _scaled(spec, gain)
            gain *= 1.4 if sum(counts) <= MOST else 0.75


def _draw(rng, kind):
    """A network whose activity is left to chance."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    # A power of two where times shall meet exactly.
    unit = float(rng.choice([1.0, 2.0**-8 if kind == "simultaneous" else 5e-3]))
    sizes = {
        "feed_forward": rng.integers(3, 9, rng.integers(2, 4)),
        "strong": rng.integers(3, 5, 1),
        "bias": rng.integers(3, 8, 1),
    }.get(kind, rng.integers(3, 11, rng.integers(1, 3)))
    names = [f"layer{k}" for k in range(len(sizes))]
    populations = [_population(rng, kind, name, int(n), unit) for name, n in zip(names, sizes, strict=True)]
    n_inputs = int(rng.integers(2, 4) if kind == "strong" else rng.integers(3, 9))
    inputs = [{"name": "drive", "n": n_inputs}]
    if kind == "receptors":
        inputs.append({"name": "noise", "n": 2})
    by_name = {part["name"]: part for part in populations + inputs}
    pairs = [(part["name"], names[0]) for part in inputs]
    if kind == "feed_forward":
        pairs += list(pairwise(names))
    elif kind != "strong":
        pairs += [(source, target) for source in names for target in names]
        if rng.random() < 0.5:
            pairs += [("drive", target) for target in names[1:]]
    projections = []
    for source, target in pairs:
        for receptor in by_name[target]["tau_syn"]:
            if len(by_name[target]["tau_syn"]) == 1 or rng.random() < 0.6:
                projections.append(_projection(rng, kind, by_name[source], by_name[target], receptor, unit))
    t_max = unit * float(rng.uniform(6.0, 12.0))
    spikes = {part["name"]: _input_spikes(rng, kind, part["n"], 0.7 * t_max, unit) for part in inputs}
    spec = {"populations": populations, "inputs": inputs, "projections": projections, "spikes": spikes, "t_max": t_max}
    if kind == "simultaneous":
        _oppose(rng, spec)
    return spec


def _per_neuron(rng, n, draw, shared=0.7):
    """One value for all, or a list."""
    return float(draw()) if rng.random() < shared else [float(draw()) for _ in range(n)]


def _population(rng, kind, name, n, unit):
    def ratio():
        return rng.choice([*RATIOS, 10.0 ** rng.uniform(-0.5, 0.8)])

    v_threshold = _per_neuron(rng, n, lambda: rng.choice([1.0, rng.uniform(0.5, 1.5)]))
    v_leak = float(rng.choice([0.0, rng.uniform(-0.3, 0.3)]))
    i_bias = float(rng.choice([0.0, rng.uniform(-0.2, 0.1)]))
    t_refrac = 0.0
    max_spikes = None
    if kind == "bias":
        # Rest from clearly below to clearly above the threshold, for each neuron its own.
        i_bias = [float(np.min(v_threshold) * rng.uniform(0.7, 2.0)) for _ in range(n)]
    if kind == "refractory" or rng.random() < 0.15:
        t_refrac = _per_neuron(rng, n, lambda: unit * rng.choice([0.0, 0.1, rng.uniform(0.1, 1.5)], p=[0.1, 0.3, 0.6]))
    if rng.random() < (0.5 if kind == "feed_forward" else 0.1):
        max_spikes = int(rng.integers(1, 4))
    tau_syn = {"syn": unit}
    tau_mem = _per_neuron(rng, n, lambda: ratio() * unit)
    if kind == "receptors":
        names = ("fast", "slow", "inhibitory")[: int(rng.integers(2, 4))]
        tau_syn = {receptor: _per_neuron(rng, n, lambda: unit / ratio()) for receptor in names}
        if rng.random() < 0.4:
            tau_syn["slow"] = tau_mem
        if rng.random() < 0.3:
            tau_syn[names[-1]] = tau_syn["fast"]
    elif rng.random() < 0.3:
        tau_mem, tau_syn = unit, {"syn": _per_neuron(rng, n, lambda: unit / ratio())}
    return {
        "name": name,
        "n": n,
        "tau_mem": tau_mem,
        "tau_syn": tau_syn,
        "v_threshold": v_threshold,
        "v_reset": _per_neuron(rng, n, lambda: rng.choice([v_leak, rng.uniform(-0.5, 0.4)])),
        "v_leak": v_leak,
        "t_refrac": t_refrac,
        "i_bias": i_bias,
        "max_spikes": max_spikes,
    }


def _projection(rng, kind, source, target, receptor, unit):
    """Dense or sparse; inputs mostly excite, populations excite and inhibit about equally."""
    n_pre, n_post = source["n"], target["n"]
    from_input = "tau_mem" not in source
    mean, spread = (1.5, 1.2) if from_input or kind == "feed_forward" else (0.2, 1.2)
    if receptor == "inhibitory":
        mean = -1.0
    if kind == "strong":
        mean, spread = 14.0, 4.0
    weight = rng.normal(mean, spread, (n_pre, n_post)) / math.sqrt(n_pre / 4.0)
    present = rng.random((n_pre, n_post)) < (1.0 if rng.random() < 0.5 else 0.6)
    delay = np.zeros(())
    if kind in ("delays", "simultaneous") or rng.random() < 0.15:
        shape = {"scalar": (), "axonal": (n_pre, 1), "dendritic": (1, n_post), "synaptic": (n_pre, n_post)}[
            str(rng.choice(DELAY_FORMS))
        ]
        delay = unit * rng.uniform(0.0, 2.0, shape)
        if kind == "simultaneous":
            delay = unit * np.round(delay / unit * 4.0) / 4.0  # times that meet, whatever the path
        delay = np.where(rng.random(shape) < 0.3, 0.0, delay)
    part = {"source": source["name"], "target": target["name"], "receptor": receptor, "delay": delay}
    return {**part, "synapses": _synapses(np.where(present, weight, 0.0), delay)}


def _synapses(weight, delay):
    """The entries that are not zero."""
    delay = np.broadcast_to(delay, weight.shape)
    return [(int(j), int(k), float(weight[j, k]), float(delay[j, k])) for j, k in np.argwhere(weight)]


def _input_spikes(rng, kind, n, last, unit):
    n_events = int(rng.integers(2, 4)) if kind == "strong" else int(rng.integers(8, 25))
    times = rng.uniform(0.0, last, n_events)
    if kind == "simultaneous":
        times = unit * np.round(times / unit * 4.0) / 4.0
    return [(int(rng.integers(n)), float(time)) for time in times]


def _oppose(rng, spec):
    """Make some pairs of inputs equal and opposite, and let them spike together."""
    part = spec["projections"][0]
    pairs = [(0, 1), (2, 3)] if rng.random() < 0.5 and spec["inputs"][0]["n"] > 3 else [(0, 1)]
    for j, partner in pairs:
        if part["delay"].ndim and len(part["delay"]) > 1:
            part["delay"][partner] = part["delay"][j]
        others = [synapse for synapse in part["synapses"] if synapse[0] != partner]
        part["synapses"] = others + [(partner, k, -w, delay) for i, k, w, delay in others if i == j]
        events = spec["spikes"][part["source"]]
        events += [(partner, time) for i, time in events if i == j and rng.random() < 0.6]


def _scaled(spec, gain):
    projections = [
        {**part, "synapses": [(j, k, weight * gain, delay) for j, k, weight, delay in part["synapses"]]}
        for part in spec["projections"]
    ]
    return {**spec, "projections": projections}


def _coarse_spike_counts(spec, gain):
    """About how many spikes each population emits: steps of 1/40 of the shortest time constant.

    Stops when there are too many, or when a neuron fires so fast that the steps cannot tell: for one that runs away.
    """
    populations, first, n = spec["populations"], {}, 0
    for part in populations + spec["inputs"]:
        first[part["name"]] = n
        n += part["n"]
    receptors = sorted({name for part in populations for name in part["tau_syn"]})
    n_neurons = sum(part["n"] for part in populations)

    def column(read):
        return np.concatenate([np.broadcast_to(read(part), part["n"]) for part in populations]).astype(float)

    tau_mem, v_reset, v_threshold, t_refrac, v_leak, i_bias = (
        column(lambda part, name=name: part[name])
        for name in ("tau_mem", "v_reset", "v_threshold", "t_refrac", "v_leak", "i_bias")
    )
    tau_syn = np.array([column(lambda part, r=r: part["tau_syn"].get(r, math.inf)) for r in receptors])
    allowed = column(lambda part: math.inf if part["max_spikes"] is None else part["max_spikes"])
    dt = min(tau_mem.min(), tau_syn.min()) / 40.0
    n_steps = int(spec["t_max"] / dt)
    due = np.zeros((n_steps + 1, len(receptors), n_neurons))
    synapses = {}
    for part in spec["projections"]:
        for j, k, weight, delay in part["synapses"]:
            place = (receptors.index(part["receptor"]), first[part["target"]] + k, weight * gain, delay)
            synapses.setdefault(first[part["source"]] + j, []).append(place)

    def send(source, time):
        for receptor, target, weight, delay in synapses.get(source, ()):
            due[min(round((time + delay) / dt), n_steps), receptor, target] += weight

    for name, events in spec["spikes"].items():
        for j, time in events:
            send(first[name] + j, time)
    keep_v, keep_i, half_i = np.exp(-dt / tau_mem), np.exp(-dt / tau_syn), np.exp(-0.5 * dt / tau_syn)
    v, i = v_leak.copy(), np.zeros((len(receptors), n_neurons))
    held, last = np.zeros(n_neurons), np.full(n_neurons, -math.inf)
    counts, n_unclear = np.zeros(n_neurons, dtype=int), 0
    for step in range(n_steps):
        i = i * keep_i + due[step]
        v_inf = v_leak + i_bias + (i * half_i).sum(axis=0)  # in the middle of the step
        v = np.where(held > step * dt, v_reset, v_inf + (v - v_inf) * keep_v)
        fires = (v >= v_threshold) & (counts < allowed)
        n_unclear += np.count_nonzero(fires & (step - last <= 5))
        last[fires] = step
        for k in np.flatnonzero(fires):
            v[k], held[k] = v_reset[k], step * dt + t_refrac[k]
            counts[k] += 1
            send(int(k), (step + 1) * dt)
        if n_unclear > 10:
            counts += MOST
        if counts.sum() > MOST:
            break
    return [int(counts[first[part["name"]] :][: part["n"]].sum()) for part in populations]
