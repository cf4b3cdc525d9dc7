"""First-spike chains with delays, repeated channels and bias spikes: the layer kernels against the event queue."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, BiasSpikes, Dense, FirstSpikeMSE, Repeat, Sequential, Spikes, loss_and_grad, simulate

KINDS = ("none", "axonal", "dendritic", "synaptic")
#: both closed forms, their neighbours, and ratios for which no table is used
RATIOS = (1.0, 2.0, 1.37, 0.5, 1.02)


def delay_of(kind, rng, n_pre, n_post):
    shape = {"none": (), "axonal": (n_pre, 1), "dendritic": (1, n_post), "synaptic": (n_pre, n_post)}[kind]
    return rng.uniform(0.0, 2.5, shape) if shape else 0.0


def random_chain(rng, ratio, kinds, *, repeat=1, bias=(), per_neuron=False):
    lif = LIF(tau_mem=np.full(6, ratio) if per_neuron else ratio, tau_syn=1.0, max_spikes=1)
    n = 4 * repeat + len(bias)
    channels = ([Repeat(repeat)] if repeat > 1 else []) + ([BiasSpikes(bias)] if bias else [])
    return Sequential(
        [
            *channels,
            Dense(rng.normal(2.0, 2.0, (n, 6)) / repeat, delay_of(kinds[0], rng, n, 6)),
            lif,
            Dense(rng.normal(1.5, 1.5, (6, 3)), delay_of(kinds[1], rng, 6, 3)),
            LIF(tau_mem=ratio, tau_syn=1.0, max_spikes=1),
        ]
    )


def batch(rng, span):
    return Spikes.from_first_times(rng.uniform(0.0, span, (5, 4))), rng.integers(0, 3, 5)


@pytest.mark.parametrize("kinds", [(a, b) for a in KINDS for b in ("synaptic", "axonal", "dendritic")], ids="-".join)
def test_chain_agrees_with_the_queue_and_with_eventprop(kinds):
    rng = np.random.default_rng([ord(letter) for letter in "".join(kinds)])
    loss = FirstSpikeMSE(t_correct=1.0, t_wrong=2.0)
    n_found = 0
    for trial, ratio in enumerate(RATIOS):
        repeat = 1 + trial % 2
        # a span of 60 time constants does not fit into the tables
        spikes, labels = batch(rng, 60.0 if trial == 3 else 3.0)
        chain = random_chain(rng, ratio, kinds, repeat=repeat, per_neuron=trial == 1)
        graph = chain.as_network()
        ours, theirs = simulate(chain, spikes), simulate(graph, spikes, engine="queue")
        for name in ("hidden", "output"):
            times = theirs.first_times(name)
            # 1e-12: times of a few units from sums of a few terms; seen 4e-14
            np.testing.assert_allclose(ours.first_times(name), times, rtol=0, atol=1e-12)
            n_found += np.isfinite(times).sum()
        _, own = loss_and_grad(chain, spikes, labels, loss)
        _, other = loss_and_grad(graph, spikes, labels, loss, method="eventprop")
        for name, gradient in own.parameters.items():
            owner, kind = name.split(".")
            source = {"hidden": "input", "output": "hidden"}[owner]
            expected = other.parameters[f"{source}->{owner}.{kind}"]
            if owner == "hidden" and repeat == 2:
                second = other.parameters[f"{source}->{owner}#2.{kind}"]
                rows = gradient.shape and gradient.shape[0] == 8
                expected = np.stack((expected, second), axis=1).reshape(gradient.shape) if rows else expected + second
            # relative to the largest entry; a slope of a nearly grazing spike costs digits: seen 1e-13
            np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-10 * max(np.abs(expected).max(), 1e-30))
        by_time = own.input_times[spikes.samples, spikes.neurons]
        np.testing.assert_allclose(by_time, other.input_times, rtol=0, atol=1e-10 * np.abs(other.input_times).max())
    assert n_found > 100


@pytest.mark.parametrize("kind", KINDS)
def test_bias_spikes_are_inputs_of_the_network(kind):
    rng = np.random.default_rng(3)
    chain = random_chain(rng, 2.0, (kind, "synaptic"), repeat=2, bias=(0.4, 1.1))
    spikes, _ = batch(rng, 2.0)
    result = simulate(chain, spikes)
    assert result.inputs is spikes
    np.testing.assert_array_equal(result.spikes["hidden.bias"].first_times(), np.tile([0.4, 1.1], (5, 1)))
    given = {"input": spikes, "hidden.bias": result.spikes["hidden.bias"]}
    other = simulate(chain.as_network(), given, engine="queue")
    for name in ("hidden", "output"):
        np.testing.assert_allclose(result.first_times(name), other.first_times(name), rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.v("output", [0.5, 2.0]), other.v("output", [0.5, 2.0]), rtol=0, atol=1e-12)
    queued = simulate(chain, spikes, engine="queue")
    np.testing.assert_allclose(queued.first_times("output"), other.first_times("output"), rtol=0, atol=0)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.37])
@pytest.mark.parametrize("kind", ["axonal", "dendritic", "synaptic"])
def test_t_max_ends_a_chain_with_delays(kind, ratio):
    rng = np.random.default_rng(5)
    chain = random_chain(rng, ratio, (kind, kind))
    spikes, _ = batch(rng, 3.0)
    for t_max in (1.5, 3.0):
        ours, theirs = simulate(chain, spikes, t_max), simulate(chain.as_network(), spikes, t_max, engine="queue")
        for name in ("hidden", "output"):
            np.testing.assert_allclose(ours.first_times(name), theirs.first_times(name), rtol=0, atol=1e-12)
    assert np.isfinite(ours.first_times("hidden")).any()


def test_more_inputs_than_are_inserted_one_by_one():
    rng = np.random.default_rng(6)
    lif = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    chain = Sequential([Dense(rng.normal(0.1, 0.1, (120, 20)), rng.uniform(0.0, 3.0, (120, 20))), lif])
    spikes = Spikes.from_first_times(rng.uniform(0.0, 3.0, (4, 120)))
    theirs = simulate(chain.as_network(), spikes, engine="queue").first_times("output")
    np.testing.assert_allclose(simulate(chain, spikes).first_times("output"), theirs, rtol=0, atol=1e-12)
    assert np.isfinite(theirs).mean() > 0.5


def test_simultaneous_opposite_inputs_cancel():
    """Delays that bring opposite spikes to one instant: they are added before the threshold is tested."""
    lif = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    chain = Sequential([Dense([[20.0], [-20.0], [6.0]], [[0.5], [0.25], [1.0]]), lif])
    both = Sequential([Dense([[20.0, 1.0], [-20.0, 1.0], [6.0, 1.0]], [[0.5, 0.0], [0.25, 0.0], [1.0, 0.0]]), lif])
    spikes = Spikes.from_first_times([[0.25, 0.5, 0.0]])
    alone = simulate(Sequential([Dense([[6.0]], [[1.0]]), lif]), Spikes.from_first_times([[0.0]])).first_times("output")
    for network in (chain, both):
        # 1e-14: a term 20 comes and goes at 0.75
        np.testing.assert_allclose(simulate(network, spikes).first_times("output")[0, 0], alone[0, 0], atol=1e-14)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.4])
def test_axonal_delays_of_neurons_that_fire_often(ratio):
    rng = np.random.default_rng(0)
    lif = LIF(tau_mem=ratio, tau_syn=1.0)
    first = Dense(rng.normal(3.0, 3.0, (8, 6)), rng.uniform(0.0, 2.0, (8, 1)))
    chain = Sequential([Repeat(2), first, lif, Dense(rng.normal(1.0, 1.5, (6, 3)), delay=0.7), lif])
    assert chain.is_layerwise
    spikes, _ = batch(rng, 3.0)
    ours, theirs = simulate(chain, spikes, 10.0), simulate(chain.as_network(), spikes, 10.0, engine="queue")
    for name in ("hidden", "output"):
        found, expected = ours.spikes[name], theirs.spikes[name]
        np.testing.assert_array_equal(found.neurons, expected.neurons)
        # 1e-11: a hundred spikes of one neuron follow each other; seen 6e-13
        np.testing.assert_allclose(found.times, expected.times, rtol=0, atol=1e-11)
    assert ours.spikes["output"].n_events > 100
