"""EventProp where something else says the same: the layer kernel, the first-spike gradient, closed-form potentials."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import (
    LIF,
    Dense,
    FirstSpikeCrossEntropy,
    Network,
    Population,
    Projection,
    Sequential,
    SimulationError,
    Spikes,
    ValidationError,
    loss_and_grad,
    simulate,
)
from eventsnn.gradients import VoltageGradient, eventprop
from eventsnn.simulation.delayed_layers import make_runners
from eventsnn.simulation.layers import input_events

RATIOS = [(20.0, 5.0), (10.0, 5.0), (5.0, 5.0), (5.0, 10.0), (6.85, 5.0)]


def chain(rng, tau_mem, tau_syn, dtype=np.float64, **lif):
    neuron = LIF(tau_mem=tau_mem, tau_syn=tau_syn, v_reset=-0.2, **lif)
    scale = np.sqrt(tau_mem / tau_syn)
    hidden, output = rng.normal(0.8, 2.0, (30, 20)) * scale, rng.normal(0.3, 1.0, (20, 9)) * scale
    return Sequential([Dense(hidden.astype(dtype)), neuron, Dense(output.astype(dtype)), neuron])


def inputs(rng, span=300.0, n_events=200):
    """Long enough to move the reference time of the kernels."""
    samples, neurons = rng.integers(0, 5, n_events), rng.integers(0, 30, n_events)
    return Spikes(samples, neurons, rng.uniform(0.0, span, n_events), n_samples=5, n_neurons=30)


def layer_gradients(network, spikes, d_times, t_max=np.inf):
    """Weight gradients of both layers and dL/dt of the input events, by the layer kernel."""
    hidden, output = make_runners(network, t_max, keep_trace=True)
    output.forward(hidden.forward(input_events(spikes)))
    d_weights = [np.zeros_like(w) for w in network.weights]
    d_hidden, _ = output.backward_spikes(d_times, d_weights[1])
    d_input, _ = hidden.backward_spikes(d_hidden, d_weights[0])
    return [*d_weights, d_input]


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("max_spikes", [None, 3])
@pytest.mark.parametrize(("tau_mem", "tau_syn"), RATIOS)
def test_the_layer_kernel_agrees_with_the_engine_of_any_network(tau_mem, tau_syn, max_spikes):
    rng = np.random.default_rng(1)
    network, spikes = chain(rng, tau_mem, tau_syn, max_spikes=max_spikes), inputs(rng)
    result = simulate(network, spikes)
    assert result.spikes["output"].counts().max() >= 3
    d_times = rng.normal(size=result.spikes["output"].n_events)
    gradients = eventprop(result, {"output": d_times})
    expected = [*gradients.weights, gradients.input_times["input"]]
    for own, other in zip(layer_gradients(network, spikes, d_times), expected, strict=True):
        assert relative(own, other) <= 1e-11  # measured: 2e-14 .. 4e-13

    single = network.astype(np.float32)
    result = simulate(single, spikes)
    d_times = rng.normal(size=result.spikes["output"].n_events)
    gradients = eventprop(result, {"output": d_times})
    for own, other in zip(layer_gradients(single, spikes, d_times), gradients.weights, strict=False):
        assert own.dtype == np.float32
        assert relative(own, other) <= 2e-3  # measured: 1e-6 .. 2e-4; first order in 6e-8/slope


def test_the_layer_kernel_ends_where_the_simulation_does():
    rng = np.random.default_rng(2)
    network, spikes = chain(rng, 20.0, 5.0), inputs(rng)
    result = simulate(network, spikes, t_max=150.0)
    d_times = rng.normal(size=result.spikes["output"].n_events)
    gradients = eventprop(result, {"output": d_times})
    own = layer_gradients(network, spikes, d_times, t_max=150.0)
    assert relative(own[0], gradients.weights[0]) <= 1e-11
    assert relative(own[1], gradients.weights[1]) <= 1e-11
    late = spikes.times > 150.0
    assert late.any()
    assert not own[2][late].any()
    assert not gradients.input_times["input"][late].any()


@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.37])
def test_eventprop_is_the_closed_form_gradient_of_first_spikes(ratio):
    rng = np.random.default_rng(3)
    network, loss = chain(rng, 5.0 * ratio, 5.0, max_spikes=1), FirstSpikeCrossEntropy(xi=0.5, t_silent=20.0)
    spikes = Spikes.from_first_times(rng.uniform(0.0, 20.0, (6, 30)))
    labels = rng.integers(0, 9, 6)
    _, expected = loss_and_grad(network, spikes, labels, loss)
    result = simulate(network, spikes)
    _, d_first = loss.value_and_grad(result.first_times("output"), labels, 5.0)
    output = result.spikes["output"]
    gradients = eventprop(result, {"output": d_first[output.samples, output.neurons] / 6})
    for own, other in zip(gradients.weights, expected.parameters.values(), strict=True):
        assert relative(own, other) <= 1e-12
    d_inputs = np.zeros((6, 30))
    d_inputs[spikes.samples, spikes.neurons] = gradients.input_times["input"]
    assert relative(d_inputs, expected.input_times) <= 1e-12


def recurrent(rng, weight_scale=1.0):
    cell = LIF(tau_mem=20.0, tau_syn={"fast": 5.0, "slow": 12.0}, t_refrac=1.0)
    return Network(
        {"drive": 4},
        {"cells": Population(cell, 6)},
        [
            Projection("drive", "cells", Dense(rng.uniform(1.0, 4.0, (4, 6)) * weight_scale), "fast"),
            Projection("cells", "cells", Dense(rng.normal(0.0, 1.5, (6, 6)), delay=2.0), "slow"),
        ],
    )


def drive(rng, n_samples=3):
    n = 12 * n_samples
    return Spikes(
        np.repeat(np.arange(n_samples), 12), rng.integers(0, 4, n), rng.uniform(0.0, 40.0, n), n_samples=n_samples,
        n_neurons=4,
    )  # fmt: skip


def test_a_potential_is_differentiated_exactly():
    """dL/dv at given times, against central differences of the closed-form potential."""
    rng = np.random.default_rng(4)
    network, spikes = recurrent(rng), drive(rng)
    samples, neurons = np.array([0, 1, 1, 2]), np.array([5, 0, 3, 2])
    times, values = np.array([31.7, 44.4, 12.3, 50.0]), rng.normal(size=4)

    def loss_of(network):
        result = simulate(network, spikes, 60.0)
        v = [result.v("cells", [t], s, [n]).item() for s, n, t in zip(samples, neurons, times, strict=True)]
        return result, float(values @ v)

    result, _ = loss_of(network)
    assert result.spikes["cells"].n_events > 30
    gradients = eventprop(result, d_v={"cells": VoltageGradient(samples, neurons, times, values)})
    for k, projection in enumerate(network.projections):
        weight = projection.connection.weight
        for index in [(0, 1), (2, 3), (3, 0)]:
            sides = []
            for step in (1e-6, -1e-6):
                before = weight[index]
                weight[index] += step
                sides.append(loss_of(network)[1])
                weight[index] = before
            assert gradients.weights[k][index] == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6, abs=1e-9)


def test_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(5)
    network, spikes = recurrent(rng), drive(rng, n_samples=250)
    result = simulate(network, spikes, 60.0)
    d_times = {"cells": rng.normal(size=result.spikes["cells"].n_events)}
    one, two = (eventprop(result, d_times, n_threads=n) for n in (1, 2))
    for a, b in zip(one.weights + one.delays, two.weights + two.delays, strict=True):
        assert np.array_equal(a, b)
    for name, values in one.neurons["cells"].items():
        assert np.array_equal(values, two.neurons["cells"][name]), name
    assert np.array_equal(one.input_times["drive"], two.input_times["drive"])


def grazing():
    """A neuron that touches its threshold from below: tau_mem = tau_syn = 1, v = s exp(-s) has its peak 1/e at 1."""
    network = Sequential([Dense([[1.0]]), LIF(tau_mem=1.0, tau_syn=1.0, v_threshold=np.exp(-1.0) * (1 - 1e-15))])
    return simulate(network, Spikes([0], [0], [0.0], n_samples=1, n_neurons=1))


def test_a_grazing_spike_is_refused_or_bounded_and_counted():
    result = grazing()
    assert result.spikes["output"].n_events == 1
    bounded = eventprop(result, {"output": [1.0]}, min_slope=0.1)
    assert bounded.n_raised == 1
    assert np.isfinite(bounded.weights[0]).all()
    assert np.abs(bounded.weights[0]).max() < 100.0
    # nothing depends on it: no gradient, no complaint
    assert eventprop(result).weights[0].tolist() == [[0.0]]


def test_wrong_input_is_named():
    rng = np.random.default_rng(6)
    result = simulate(recurrent(rng), drive(rng), 60.0)
    n = result.spikes["cells"].n_events
    one = VoltageGradient(np.array([0]), np.array([0]), np.array([1.0]), np.array([1.0]))
    for arguments, message in [
        (({"cell": np.zeros(n)},), "d_times: no population 'cell'"),
        (({"cells": np.zeros(n + 1)},), r"d_times\['cells'\]: 'cells' has .* spikes, so the shape must be"),
        (({"cells": np.full(n, np.nan)},), r"d_times\['cells'\]: must be finite"),
        (([0.0] * n,), "d_times: must be a dict by population, got list"),
        ((None, {"cells": (0, 0, 1.0, 1.0)}), r"d_v\['cells'\]: must be a VoltageGradient, got tuple"),
        ((None, {"drive": one}), "d_v: no population 'drive'"),
        ((None, {"cells": VoltageGradient(one.samples + 3, one.neurons, one.times, one.values)}), "samples: must lie"),
        ((None, {"cells": VoltageGradient(one.samples, one.neurons + 6, one.times, one.values)}), "neurons: must lie"),
        ((None, {"cells": VoltageGradient(one.samples, one.neurons, one.times + 60, one.values)}), "times: must lie"),
        ((None, {"cells": VoltageGradient(one.samples, one.neurons, one.times, np.ones(2))}), "of one length"),
    ]:
        with pytest.raises(ValidationError, match=message):
            eventprop(result, *arguments)
    for slope in (-1.0, np.nan):
        with pytest.raises(ValidationError, match="eventprop.min_slope"):
            eventprop(result, min_slope=slope)
    with pytest.raises(ValidationError, match="expected the Result of simulate, got Spikes"):
        eventprop(result.spikes["cells"])


def test_a_continued_run_is_refused():
    rng = np.random.default_rng(7)
    network = recurrent(rng)
    state = simulate(network, drive(rng), 60.0, resumable=True).state
    with pytest.raises(ValidationError, match="continued at t = 60"):
        eventprop(simulate(network, None, 80.0, state=state))


def test_an_infinite_gradient_names_the_spike():
    result = grazing()
    # the slope in float64 may be a rounding error or exactly zero: make it zero
    result.spikes["output"].times.flags.writeable = True
    result.spikes["output"].times[:] = 1.0
    result._graph.populations["output"].neuron.__dict__["v_threshold"] = float(np.exp(-1.0))
    with pytest.raises(SimulationError, match="population 'output', neuron 0, sample 0: the spike at t = 1 grazes"):
        eventprop(result, {"output": [1.0]})
