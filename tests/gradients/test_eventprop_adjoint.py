"""EventProp against high-precision differences: random networks of every kind, every kind of entry."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy.sparse import coo_array

from eventsnn import LIF, Dense, Network, Population, Projection, Sparse, Spikes, simulate
from eventsnn.errors import ValidationError
from eventsnn.gradients.eventprop_adjoint import eventprop
from eventsnn.simulation.result import Result
from tests.reference.gradients_mpmath import (
    DELAY,
    TIME,
    WEIGHT,
    Loss,
    loss_slope,
    loss_slope_of_slopes,
    value_at,
)
from tests.reference.network_mpmath import TooManySpikes, simulate_reference
from tests.reference.random_networks import KINDS, random_network
from tests.simulation.network_specs import PARAMETERS, initial_of, spikes_of

#: networks per kind entry by entry, three times as many in a random direction; EVENTSNN_NETWORKS=38 runs 300 and 900
N_NETWORKS = int(os.environ.get("EVENTSNN_NETWORKS", "1"))
#: of each kind of entry and network: the largest of the analytic answer, the others at random
N_ENTRIES = int(os.environ.get("EVENTSNN_ENTRIES", "2"))
#: A spike that just happens has a slope of v near zero at its time, and derivatives that float64 has few digits of.
CLEAR = 1e-4
#: Relative to the largest of the differences of one kind of entry in one network, all projections and populations
#: together; one in the random direction: relative to the sum of the absolute values that it is made of.
TOLERANCE = 1e-9
NEURON_PARAMETERS = ("tau_mem", "v_threshold", "v_reset", "v_leak", "i_bias", "t_refrac")


@dataclass
class Case:
    """A spec, the same as a network, what it does, and a loss."""

    spec: dict
    network: Network
    result: Result
    d_times: dict
    loss: Loss
    d_slopes: dict | None = None

    def gradients(self):
        return eventprop(self.result, self.d_times, d_slopes=self.d_slopes)


@dataclass(frozen=True)
class Entry:
    """What moves in the spec with one entry of the gradients, and that entry."""

    kind: str
    paths: tuple
    analytic: float

    def __str__(self):
        return f"{self.kind} at {self.paths[0] if self.paths else 'no synapse'}"


# --- networks ---


def draw_spec(rng, kind):
    """A spec whose synapses are in the order of `Connection.rows`, some projections with all pairs, some starts."""
    spec = random_network(rng, kind)
    sizes = {part["name"]: part["n"] for part in spec["populations"] + spec["inputs"]}
    projections = []
    for part in spec["projections"]:
        shape = sizes[part["source"]], sizes[part["target"]]
        delays = np.broadcast_to(part["delay"], shape)
        weights = {(j, k): weight for j, k, weight, _ in part["synapses"]}
        is_dense = rng.random() < 0.5
        pairs = [pair for pair in np.ndindex(shape) if is_dense or pair in weights]
        synapses = [(j, k, weights.get((j, k), 0.0), float(delays[j, k])) for j, k in pairs]
        delay = delays[tuple(np.transpose(pairs))] if not is_dense and rng.random() < 0.3 else part["delay"]
        projections.append({**part, "is_dense": is_dense, "delay": delay, "synapses": synapses})
    start = rng.choice(["rest", "state", "currents"], p=[0.5, 0.25, 0.25])
    populations = [{**part, **_start(rng, part, start)} for part in spec["populations"]]
    events = {name: sorted(own, key=lambda event: event[::-1]) for name, own in spec["spikes"].items()}
    return {**spec, "populations": populations, "projections": projections, "spikes": events}


def _start(rng, part, start):
    n, own = part["n"], {}
    if start == "state":
        own["v0"] = (
            part["v_leak"] + rng.uniform(-0.5, 0.9, n) * (np.min(part["v_threshold"]) - part["v_leak"])
        ).tolist()
    if start != "rest":
        own["i0"] = {receptor: rng.normal(0.0, 0.4, n).tolist() for receptor in part["tau_syn"]}
    return own


def network_of(spec):
    """The network with each projection in the form that the spec names, and its delays in their shape."""
    sizes = {part["name"]: part["n"] for part in spec["populations"] + spec["inputs"]}
    populations = {
        part["name"]: Population(LIF(**{name: part[name] for name in PARAMETERS}), part["n"])
        for part in spec["populations"]
    }
    projections = []
    for part in spec["projections"]:
        shape = sizes[part["source"]], sizes[part["target"]]
        rows, columns, weights, _ = map(np.array, zip(*part["synapses"], strict=True))
        if part["is_dense"]:
            connection = Dense(weights.reshape(shape), part["delay"])
        else:
            connection = Sparse(coo_array((weights, (rows, columns)), shape=shape), part["delay"])
        projections.append(Projection(part["source"], part["target"], connection, part["receptor"]))
    return Network({part["name"]: part["n"] for part in spec["inputs"]}, populations, projections)


def draw_case(rng, kind, with_slopes=False):
    """A network with clear decisions."""
    while True:
        spec = draw_spec(rng, kind)
        try:
            margin = simulate_reference(spec, max_events=200).margin
        except TooManySpikes:
            continue
        if margin > CLEAR:
            return case_of(spec, rng, with_slopes)


def case_of(spec, rng, with_slopes=False):
    """Simulate it and draw the loss."""
    network = network_of(spec)
    result = run(network, spikes_of(spec), spec)
    d_times, coefficients = {}, {}
    for part in spec["populations"]:
        spikes = result.spikes[part["name"]]
        own = rng.normal(0.0, 1.0, spikes.n_events)
        d_times[part["name"]] = own * loss_slope(spikes.times, spec["t_max"])
        coefficients[part["name"]] = [own[spikes.neurons == k].tolist() for k in range(part["n"])]
    if not with_slopes:
        return Case(spec, network, result, d_times, Loss(spec, coefficients))
    d_slopes, slope_coefficients = {}, {}
    for name, pairs in simulate_reference(spec).slopes.items():
        slopes, neurons = np.array([float(slope) for slope, _ in pairs]), np.array([neuron for _, neuron in pairs])
        own = rng.normal(0.0, 1.0, slopes.size)
        d_slopes[name] = own * loss_slope_of_slopes(slopes, spec["t_max"])
        slope_coefficients[name] = [own[neurons == k].tolist() for k in range(network.populations[name].n_neurons)]
    return Case(spec, network, result, d_times, Loss(spec, coefficients, slope_coefficients), d_slopes)


def run(network, spikes, spec):
    initial = initial_of(spec)
    return simulate(network, spikes, spec["t_max"], engine="queue", initial=initial, progress=False)


# --- entries ---


def entries_of(case, gradients):
    """Every entry of the gradients, by kind."""
    entries = []
    for p, projection in enumerate(case.network.projections):
        connection = projection.connection
        assert gradients.weights[p].shape == connection.weight.shape
        assert gradients.delays[p].shape == connection.delay.shape
        synapses = [("projections", p, "synapses", s) for s in range(connection.n_synapses)]
        flat = gradients.weights[p].ravel()
        entries += [Entry("weights", ((*synapse, WEIGHT),), flat[s]) for s, synapse in enumerate(synapses)]
        owners = _delay_owners(connection)
        for d, analytic in enumerate(gradients.delays[p].ravel()):
            paths = tuple((*synapses[s], DELAY) for s in np.flatnonzero(owners == d))
            entries.append(Entry("delays", paths, analytic))
    for p, part in enumerate(case.spec["populations"]):
        name, n, receptors = part["name"], part["n"], list(part["tau_syn"])
        own, start = gradients.neurons[name], gradients.initial[name]
        assert own["tau_syn"].shape == (n, len(receptors))
        assert start["v"].shape == (1, n)
        assert start["i_syn"].shape == (1, n, len(receptors))
        for k in range(n):
            for parameter in NEURON_PARAMETERS:
                assert own[parameter].shape == (n,)
                entries.append(Entry(parameter, (("populations", p, parameter, k),), own[parameter][k]))
            entries.append(Entry("initial v", (("populations", p, "v0", k),), start["v"][0, k]))
            for r, receptor in enumerate(receptors):
                entries.append(Entry("tau_syn", (("populations", p, "tau_syn", receptor, k),), own["tau_syn"][k, r]))
                path = ("populations", p, "i0", receptor, k)
                entries.append(Entry("initial i_syn", (path,), start["i_syn"][0, k, r]))
    for name, events in case.spec["spikes"].items():
        assert gradients.input_times[name].shape == (len(events),)
        for e, analytic in enumerate(gradients.input_times[name]):
            entries.append(Entry("input_times", (("spikes", name, e, TIME),), analytic))
    by_kind = {}
    for entry in entries:
        by_kind.setdefault(entry.kind, []).append(entry)
    return by_kind


def _delay_owners(connection):
    """For each synapse the entry of `connection.delay` that is its delay."""
    delay = connection.delay
    numbers = np.arange(delay.size).reshape(delay.shape)
    if delay.ndim == 1:
        return numbers
    indptr, columns, _, _ = connection.rows()
    rows = np.repeat(np.arange(connection.n_pre), np.diff(indptr))
    return np.broadcast_to(numbers, (connection.n_pre, connection.n_post))[rows, columns]


def sampled(rng, entries):
    """The largest of the analytic answer, which is the scale if it is right, and some others."""
    largest = int(np.argmax([abs(entry.analytic) for entry in entries]))
    others = np.delete(np.arange(len(entries)), largest)
    n = min(N_ENTRIES - 1, others.size)
    return [entries[k] for k in (largest, *rng.choice(others, n, replace=False))]


def is_on_a_kink(case, entry):
    """Whether the entry is a hold of 0 of a neuron whose own spike comes back to it at once.

    A hold that begins there ends behind the arrival, a delay that begins there lets the arrival come behind the end of
    the hold: each has a one-sided derivative, but they do not add up, and both times are one in the simulation.
    """
    if entry.kind != "t_refrac":
        return False
    (path,) = entry.paths
    part, k = case.loss.spec["populations"][path[1]], path[3]
    returns = any(
        (i, j, delay) == (k, k, 0.0) and weight
        for projection in case.spec["projections"]
        if projection["source"] == projection["target"] == part["name"]
        for i, j, weight, delay in projection["synapses"]
    )
    return returns and value_at(case.loss.spec, path) == 0.0


def compare(case, rng, may_meet):
    """Yield (kind, [(entry, difference), ...], the largest difference, the number of kinks) for each kind of entry.

    may_meet : whether events may coincide, so that moving the one or the other earlier or later is not the same
    """
    for kind, entries in entries_of(case, case.gradients()).items():
        entries = [entry for entry in entries if not is_on_a_kink(case, entry)]
        if not entries:
            continue
        chosen, kept = sampled(rng, entries), []
        for entry in chosen:
            slope = case.loss.derivative(dict.fromkeys(entry.paths, 1.0), both_sides=may_meet)
            if slope.exists:
                kept.append((entry, slope.value))
        yield kind, kept, max((abs(value) for _, value in kept), default=0.0), len(chosen) - len(kept)


# --- tests ---


@pytest.mark.parametrize("kind", KINDS)
def test_eventprop_agrees_with_differences(kind):
    rng = np.random.default_rng([KINDS.index(kind), 11])
    for n in range(N_NETWORKS):
        case = draw_case(rng, kind)
        for what, kept, scale, n_kinks in compare(case, rng, may_meet=kind == "simultaneous"):
            # Only events that coincide, and only by moving one of them, make a kink.
            assert n_kinks == 0 or (kind == "simultaneous" and what in ("input_times", "delays")), what
            for entry, numeric in kept:
                error = abs(entry.analytic - numeric)
                assert error <= TOLERANCE * scale, f"{kind} {n}: {entry}: {entry.analytic!r}, difference {numeric!r}"


@pytest.mark.parametrize("kind", KINDS)
def test_eventprop_agrees_in_a_random_direction_of_all_entries(kind):
    rng = np.random.default_rng([KINDS.index(kind), 12])
    for n in range(3 * N_NETWORKS):
        case = draw_case(rng, kind)
        analytic, direction = direction_of(case, rng, kind)
        slope = case.loss.derivative(direction, both_sides=False)
        assert slope.exists
        error = abs(sum(analytic) - slope.value)
        assert error <= TOLERANCE * np.abs(analytic).sum(), f"{kind} {n}: {sum(analytic)!r}, difference {slope.value!r}"


def direction_of(case, rng, kind):
    """Terms of the analytic derivative along a direction in which every kind of entry counts about equally."""
    analytic, direction = [], {}
    for what, entries in entries_of(case, case.gradients()).items():
        if kind == "simultaneous" and what in ("input_times", "delays"):
            continue
        size = max(abs(entry.analytic) for entry in entries) or 1.0
        for entry in entries:
            if is_on_a_kink(case, entry):
                continue
            factor = rng.normal() / size
            if what in ("input_times", "delays", "t_refrac"):
                at_zero = any(value_at(case.loss.spec, path) == 0.0 for path in entry.paths)
                factor = abs(factor) if at_zero else factor  # not less than 0
            analytic.append(factor * entry.analytic)
            direction.update(dict.fromkeys(entry.paths, factor))
    return np.array(analytic), direction


def test_a_neuron_whose_leak_is_above_its_threshold_starts_at_its_reset():
    rng = np.random.default_rng(14)
    part = {
        "name": "cells", "n": 2, "tau_mem": [1.0, 1.6], "tau_syn": {"syn": 0.7}, "v_threshold": 1.0,
        "v_reset": [-0.1, 0.2], "v_leak": [1.3, 0.1], "t_refrac": 0.2, "i_bias": 0.0, "max_spikes": None,
    }  # fmt: skip
    synapses = [(0, 0, -0.4, 0.0), (0, 1, 5.0, 0.0), (1, 0, 0.3, 0.0), (1, 1, 2.0, 0.0)]
    projection = {"source": "drive", "target": "cells", "receptor": "syn", "delay": np.zeros(()), "is_dense": True}
    spec = {
        "populations": [part],
        "inputs": [{"name": "drive", "n": 2}],
        "projections": [{**projection, "synapses": synapses}],
        "spikes": {"drive": [(0, 0.3), (1, 0.8), (0, 1.1), (1, 2.5)]},
        "t_max": 6.0,
    }
    result = run(network_of(spec), spikes_of(spec), spec)
    case = case_of({**spec, "populations": [{**part, "v0": [-0.1, 0.1]}]}, rng)
    assert result.spikes["cells"].times.tolist() == case.result.spikes["cells"].times.tolist()
    assert (result.spikes["cells"].counts() > 1).all()
    gradients = eventprop(result, case.d_times)
    cells = ("populations", 0)
    for k, follows in enumerate(("v_reset", "v_leak")):
        for parameter in ("v_reset", "v_leak"):
            paths = [(*cells, parameter, k), *([(*cells, "v0", k)] if parameter == follows else [])]
            slope = case.loss.derivative(dict.fromkeys(paths, 1.0)).value
            assert gradients.neurons["cells"][parameter][k] == pytest.approx(slope, rel=1e-12), (parameter, k)


def test_a_hold_of_zero_and_the_delay_of_the_own_spike_that_comes_back_at_once_add_up():
    # Moved together the arrival stays where the simulation has it, not before the end of the hold.
    case = case_of(_self_connected(t_refrac=0.0), np.random.default_rng(15))
    assert case.result.spikes["cells"].n_events > 2
    entries = entries_of(case, eventprop(case.result, case.d_times))
    (hold,), (*_, delay) = entries["t_refrac"], entries["delays"]
    assert is_on_a_kink(case, hold)
    apart = [case.loss.derivative(dict.fromkeys(entry.paths, 1.0)).value for entry in (hold, delay)]
    together = case.loss.derivative(dict.fromkeys(hold.paths + delay.paths, 1.0)).value
    assert abs(sum(apart) - together) > 1e-2 * abs(together)
    assert hold.analytic + delay.analytic == pytest.approx(together, rel=1e-12)


def _self_connected(**changes):
    """One neuron that is driven by two inputs and by itself, at once."""
    part = {
        "name": "cells", "n": 1, "tau_mem": 1.3, "tau_syn": {"syn": 0.7}, "v_threshold": 1.0, "v_reset": 0.1,
        "v_leak": 0.0, "t_refrac": 0.3, "i_bias": 0.0, "max_spikes": None, **changes,
    }  # fmt: skip
    plain = {"target": "cells", "receptor": "syn", "delay": np.zeros(()), "is_dense": True}
    return {
        "populations": [part],
        "inputs": [{"name": "drive", "n": 2}],
        "projections": [
            {**plain, "source": "drive", "synapses": [(0, 0, 6.0, 0.0), (1, 0, 4.0, 0.0)]},
            {**plain, "source": "cells", "synapses": [(0, 0, -0.8, 0.0)]},
        ],
        "spikes": {"drive": [(0, 0.25), (1, 0.5), (0, 2.0), (1, 2.25)]},
        "t_max": 4.0,
    }


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_a_delay_in_every_form_sums_over_its_synapses(form):
    rng = np.random.default_rng(16)
    weight = rng.normal(3.0, 1.0, (3, 4)) * (np.ones((3, 4)) if form == "dense" else rng.random((3, 4)) < 0.6)
    neuron, spikes = LIF(1.0, 0.6), Spikes([0] * 6, [0, 1, 2] * 2, np.arange(6) / 3.0, n_samples=1, n_neurons=3)
    rows, columns = np.nonzero(weight)

    def d_delay(delay):
        connection = Dense(weight, delay) if form == "dense" else Sparse(coo_array(weight), delay)
        network = Network({"drive": 3}, {"cells": Population(neuron, 4)}, [Projection("drive", "cells", connection)])
        result = simulate(network, {"drive": spikes}, 5.0, engine="queue", progress=False)
        return eventprop(result, {"cells": np.cos(result.spikes["cells"].times)}).delays[0]

    each = np.zeros((3, 4))
    each[rows, columns] = (
        d_delay(np.full(rows.size, 0.5)) if form == "sparse" else d_delay(np.full((3, 4), 0.5)).ravel()
    )
    assert each.any()
    by_form = {(): each.sum(), (3, 1): each.sum(axis=1)[:, None], (1, 4): each.sum(axis=0)[None], (3, 4): each}
    for shape, expected in by_form.items():
        found = d_delay(np.full(shape, 0.5))
        assert found.shape == shape
        assert np.allclose(found, expected, rtol=1e-12, atol=1e-13), shape


@cache
def example(kind="delays"):
    return draw_case(np.random.default_rng([KINDS.index(kind), 13]), kind)


def arrays_of(gradients):
    """All arrays of the gradients by name; of the weights and delays see the projections."""
    found = {}
    for name, own in gradients.neurons.items():
        found.update({(name, parameter): value for parameter, value in own.items()})
    for name, own in gradients.initial.items():
        found.update({(name, "initial", what): value for what, value in own.items()})
    found.update({(name, "times"): value for name, value in gradients.input_times.items()})
    for k in range(len(gradients.weights)):
        found[k, "weights"], found[k, "delays"] = gradients.weights[k], gradients.delays[k]
    return found


def assert_same(found, expected, rtol=1e-12):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        scale = np.abs(expected[name]).max(initial=0.0)
        assert value.shape == expected[name].shape, name
        assert np.abs(value - expected[name]).max(initial=0.0) <= rtol * scale, name


@pytest.mark.parametrize("kind", ["delays", "receptors"])
def test_dense_and_sparse_give_the_same_gradients(kind):
    case = example(kind)
    sizes = {part["name"]: part["n"] for part in case.spec["populations"] + case.spec["inputs"]}
    forms = []
    for is_dense in (True, False):
        projections = []
        for part in case.spec["projections"]:
            shape = sizes[part["source"]], sizes[part["target"]]
            weights, delays = np.zeros(shape), np.zeros(shape)
            for j, k, weight, delay in part["synapses"]:
                weights[j, k], delays[j, k] = weight, delay
            synapses = [(j, k, weights[j, k], delays[j, k]) for j, k in np.ndindex(shape)]
            projections.append({**part, "is_dense": is_dense, "delay": delays, "synapses": synapses})
        spec = {**case.spec, "projections": projections}
        gradients = eventprop(run(network_of(spec), spikes_of(spec), spec), case.d_times)
        forms.append(arrays_of(gradients))
    dense, sparse = forms
    sparse = {name: value.reshape(dense[name].shape) for name, value in sparse.items()}
    assert_same(sparse, dense)


def test_two_samples_give_the_sum_of_their_gradients():
    case = example()
    rng = np.random.default_rng(5)
    alone, t_max = [], case.spec["t_max"]
    inputs = [spikes_of(case.spec), {}]
    for name, own in inputs[0].items():
        times = rng.uniform(0.0, 0.7 * t_max, 15)
        inputs[1][name] = Spikes(
            np.zeros(15, int), rng.integers(own.n_neurons, size=15), times, n_samples=1, n_neurons=own.n_neurons
        )
    results = [run(case.network, spikes, case.spec) for spikes in inputs]
    slopes = [
        {name: rng.normal(size=result.spikes[name].n_events) for name in case.network.populations} for result in results
    ]
    assert all(result.spikes[name].n_events > 0 for result in results for name in case.network.populations)
    alone = [arrays_of(eventprop(result, own)) for result, own in zip(results, slopes, strict=True)]
    together = {
        name: Spikes(
            np.repeat([0, 1], [first.n_events, second.n_events]),
            np.concatenate([first.neurons, second.neurons]),
            np.concatenate([first.times, second.times]),
            n_samples=2,
            n_neurons=first.n_neurons,
        )
        for name, first, second in ((name, inputs[0][name], inputs[1][name]) for name in inputs[0])
    }
    both = {name: np.concatenate([slopes[0][name], slopes[1][name]]) for name in slopes[0]}
    found = arrays_of(eventprop(run(case.network, together, case.spec), both))
    expected = {
        name: np.concatenate([alone[0][name], alone[1][name]])
        if name[1] in ("times", "initial")
        else alone[0][name] + alone[1][name]
        for name in alone[0]
    }
    assert_same(found, expected)


def test_a_population_left_out_has_zeros():
    case = example()
    *_, last = case.network.populations
    zeros = {name: np.zeros_like(own) for name, own in case.d_times.items() if name != last}
    only_last = arrays_of(eventprop(case.result, {last: case.d_times[last]}))
    assert_same(only_last, arrays_of(eventprop(case.result, {**zeros, last: case.d_times[last]})), rtol=0.0)
    assert all(not value.any() for value in arrays_of(eventprop(case.result, {})).values())


def test_d_times_that_do_not_fit_are_refused():
    case = example()
    name = next(iter(case.network.populations))
    own = case.d_times[name]
    with pytest.raises(ValidationError, match="nobody"):
        eventprop(case.result, {"nobody": own})
    for wrong in (own[:-1], np.append(own, 0.0), own[:, None], np.float64(1.0)):
        with pytest.raises(ValidationError, match=name):
            eventprop(case.result, {name: wrong})
