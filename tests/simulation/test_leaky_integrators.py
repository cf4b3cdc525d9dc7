"""Readouts that never spike, in chains and networks."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import (
    LI,
    LIF,
    Dense,
    FirstSpikeCrossEntropy,
    Network,
    Population,
    Projection,
    Sequential,
    Sparse,
    Spikes,
    ValidationError,
    loss_and_grad,
    plotting,
    simulate,
)

LIF_ONCE = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)


def chain(readout, delay=0.0):
    rng = np.random.default_rng(0)
    parts = [Dense.normal(3, 4, mean=3.0, std=0.5, rng=rng), LIF_ONCE]
    return Sequential([*parts, Dense(rng.normal(0.0, 1.0, (4, 2)), delay), readout])


def inputs(n_samples=2):
    rng = np.random.default_rng(1)
    return Spikes.from_first_times(rng.uniform(0.0, 1.0, (n_samples, 3)))


def by_hand(net, result, sample, times):
    """Rest plus the sum of the responses to the hidden spikes, tau_mem = 2, tau_syn = 0.5."""
    hidden, connection = result.spikes["hidden"][sample], net.layers[1].connection
    since = np.asarray(times)[:, None] - hidden.times - connection.delay.reshape(-1)[0]
    response = np.where(since > 0.0, (np.exp(-since / 2.0) - np.exp(-since / 0.5)) / 3.0, 0.0)
    return 0.3 + 0.1 + response @ connection.weight[hidden.neurons]


@pytest.mark.parametrize("delay", [0.0, 0.25])
@pytest.mark.parametrize("form", ["chain", "network", "queue"])
def test_simulate_gives_potentials_and_no_spikes(form, delay):
    net = chain(LI(2.0, 0.5, v_leak=0.3, i_bias=0.1), delay)
    result = simulate(
        net.as_network() if form == "network" else net, inputs(), engine="queue" if form == "queue" else "auto"
    )
    own = result.spikes["output"]
    assert (own.n_samples, own.n_neurons, own.n_events) == (2, 2, 0)
    assert result.spikes["hidden"].n_events == 8
    times = np.linspace(0.0, 6.0, 50)
    for sample in range(2):
        # Sums of four terms: a few ulp.
        assert np.allclose(result.v("output", times, sample), by_hand(net, result, sample, times), rtol=1e-13, atol=0)
    assert np.allclose(result.i_syn("output", [100.0]), 0.0, atol=1e-30)
    assert np.isinf(result.first_times("output")).all()


def test_simulate_takes_several_readouts_with_parameters_per_neuron():
    rng = np.random.default_rng(3)
    network = Network(
        {"drive": 3},
        {
            "cells": Population(LIF_ONCE, 4),
            "slow": Population(LI([2.0, 4.0], 1.0), 2),
            "direct": Population(LI(1.0, 1.0), 3),
        },
        [
            Projection("drive", "cells", Dense(np.full((3, 4), 3.0))),
            Projection("cells", "slow", Sparse.random(4, 2, in_degree=2, weight=1.0, rng=rng)),
            Projection("drive", "direct", Dense(np.eye(3))),
        ],
    )
    spikes = inputs(1)
    result = simulate(network, spikes, t_max=10.0)
    since = 2.0 - spikes[0].times[np.argsort(spikes[0].neurons)]
    assert np.allclose(result.v("direct", [2.0])[0], since * np.exp(-since), rtol=1e-14)
    assert result.v("slow", [2.0]).shape == (1, 2)
    assert result.spikes["direct"].n_events == result.spikes["slow"].n_events == 0
    assert result.rates("direct").tolist() == [[0.0, 0.0, 0.0]]


def test_simulate_of_no_samples():
    assert simulate(chain(LI(2.0, 0.5)), inputs(0)).spikes["output"].n_samples == 0


def test_a_readout_alone_is_a_chain():
    spikes = inputs()
    result = simulate(Sequential([Dense(np.ones((3, 1))), LI(1.0, 1.0)]), spikes)
    assert result.spikes["output"].n_samples == 2
    since = 3.0 - spikes[1].times
    assert result.v("output", [3.0], 1)[0, 0] == pytest.approx((since * np.exp(-since)).sum(), rel=1e-14)


def test_sequential_refuses_a_readout_before_the_end():
    with pytest.raises(ValidationError, match="'hidden' has LI neurons, which never spike, so 'output' would get no"):
        Sequential([Dense(np.ones((3, 4))), LI(1.0, 1.0), Dense(np.ones((4, 2))), LIF_ONCE])


def test_network_refuses_a_projection_from_a_readout():
    populations = {"readout": Population(LI(1.0, 1.0), 2), "cells": Population(LIF_ONCE, 2)}
    for target in populations:
        with pytest.raises(ValidationError, match=f"0\\] \\(readout -> {target}\\): the LI neurons of 'readout' never"):
            Network({"drive": 2}, populations, [Projection("readout", target, Dense(np.ones((2, 2))))])


def test_population_names_the_kind_of_neuron():
    with pytest.raises(ValidationError, match="Population.n_neurons: 3, but the LI parameters are given for 2"):
        Population(LI([1.0, 2.0], 1.0), 3)


@pytest.mark.parametrize("option", [{"resumable": True}, {"initial": {"output": {"v": 1.0}}}])
def test_simulate_refuses_states_of_readouts(option):
    with pytest.raises(ValidationError, match=r"initial, state and resumable do not cover readouts.*\['output'\]"):
        simulate(chain(LI(2.0, 0.5)), inputs(), t_max=1.0, **option)


def test_first_spike_gradients_refuse_readouts():
    with pytest.raises(ValidationError, match=r"neurons that spike: population 'output' is a readout \(LI\("):
        loss_and_grad(chain(LI(2.0, 0.5)), inputs(), [0, 1], FirstSpikeCrossEntropy())


@pytest.mark.parametrize("n_samples", [1, 2])
def test_plot_traces_draws_readouts(n_samples):
    figure = plotting.plot_traces(simulate(chain(LI(2.0, 0.5)), inputs(n_samples)), "output")
    labels = [line.get_label() for ax in figure.axes for line in ax.get_lines()]
    assert "v" in labels
    assert "v_threshold" not in labels
