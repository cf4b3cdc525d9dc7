"""Training by EventProp: exact gradients through several spikes, silent neurons and readouts; the same bits always."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from eventsnn import (
    LI,
    LIF,
    Adam,
    CosineDecay,
    Dense,
    FirstSpikeCrossEntropy,
    Sequential,
    SilentHinge,
    Spikes,
    Trainer,
    ValidationError,
    WeightBumping,
    simulate,
)
from eventsnn.datasets import load_xor
from eventsnn.datasets.base import Split
from eventsnn.gradients.chain import ChainGradient
from eventsnn.simulation.layers import input_events
from eventsnn.training.voltage_losses import IntegralCrossEntropy, MaxVoltageCrossEntropy, VoltageCrossEntropy

TAU_MEM, TAU_SYN, T_MAX = 20e-3, 5e-3, 40e-3
MAX = MaxVoltageCrossEntropy(scale=2.0)


@pytest.fixture(scope="module")
def xor():
    return load_xor(tau_syn=TAU_SYN, jitter=0.05, n_train=300, n_valid=60, n_test=60, seed=3)


def network(*, hidden=(16,), n_inputs=3, n_outputs=2, max_spikes=None, output=None, gain=1.0, seed=0):
    rng = np.random.default_rng(seed)
    lif = LIF(tau_mem=TAU_MEM, tau_syn=TAU_SYN, max_spikes=max_spikes)
    sizes = [n_inputs, *hidden, n_outputs]
    parts = []
    for n_pre, n_post in pairwise(sizes):
        parts += [Dense.normal(n_pre, n_post, mean=4.0 * gain / n_pre, std=6.0 * gain / n_pre, rng=rng), lif]
    parts[-1] = output or LI(tau_mem=TAU_MEM, tau_syn=TAU_SYN)
    return Sequential(parts)


ONCE = LIF(tau_mem=TAU_MEM, tau_syn=TAU_SYN, max_spikes=1)
MANY = LIF(tau_mem=TAU_MEM, tau_syn=TAU_SYN)
FIRST = FirstSpikeCrossEntropy(xi=0.5)


def gradients(net, loss, spikes, labels, t_max=T_MAX, hinge=0.0):
    d_weights = [np.zeros_like(w) for w in net.weights]
    chain = ChainGradient(net, d_weights, loss, t_max)
    hidden = [(np.ones(layer.n_neurons, dtype=bool), hinge) for layer in net.layers[:-1]]
    outcome = chain.run(
        input_events(spikes), labels, loss, hidden_hinge=hidden if hinge else None, output_hinge=hinge
    )  # fmt: skip
    return float(outcome.losses.sum()), d_weights, outcome


CASES = {
    "maximum": (network(), MAX, 0.0),
    "integral": (network(), IntegralCrossEntropy(scale=2.0 / T_MAX), 0.0),
    "samples": (network(), VoltageCrossEntropy(times=[10e-3, 21e-3]), 0.0),
    "two hidden layers": (network(hidden=(12, 10)), MAX, 0.0),
    "hinge on silent neurons": (network(hidden=(12, 10), gain=0.45), MAX, 0.3),
    "first-spike hidden layers": (network(hidden=(12, 10), max_spikes=1), MAX, 0.0),
    "three spikes": (network(max_spikes=3), MAX, 0.0),
    "first spikes of many": (network(output=MANY), FIRST, 0.0),
    "first spikes of one": (network(output=ONCE), FIRST, 0.1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_the_loss(case):
    """Against central differences with the simulation kernels; those next to a spike that appears are left out."""
    net, loss, hinge = CASES[case]
    rng = np.random.default_rng(1)
    n = 60
    spikes = Spikes(
        rng.integers(0, 6, n), rng.integers(0, 3, n), rng.uniform(0.0, 20e-3, n), n_samples=6, n_neurons=3
    )  # fmt: skip
    labels = rng.integers(0, 2, 6)
    value, d_weights, outcome = gradients(net, loss, spikes, labels, hinge=hinge)
    n_spikes = sum(s.n_events for s in simulate(net, spikes, T_MAX).spikes.values())
    if hinge and case.startswith("hinge"):
        assert all(counts.any() for counts in outcome.silent_counts[:-1])
    compared = 0
    for weight, d_weight in zip(net.weights, d_weights, strict=True):
        for index in rng.permutation(np.argwhere(np.ones(weight.shape)))[:12]:
            index, before, h = tuple(index), weight[tuple(index)], 1e-6
            sides, same = [], True
            for step in (h, -h):
                weight[index] = before + step
                sides.append(gradients(net, loss, spikes, labels, hinge=hinge)[0])
                same &= n_spikes == sum(s.n_events for s in simulate(net, spikes, T_MAX).spikes.values())
            weight[index] = before
            if same:
                compared += 1
                assert d_weight[index] == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=2e-5, abs=1e-6 * value)
    assert compared >= 18


@pytest.mark.parametrize(
    ("net", "loss"),
    [
        (network(hidden=(30,), gain=2.0), MAX),
        (network(hidden=(30,), gain=2.0), IntegralCrossEntropy(scale=2.0 / T_MAX)),
        (network(hidden=(30,), gain=2.0, output=ONCE), FIRST),
    ],
    ids=["maximum", "integral", "first spikes"],
)
def test_fit_learns_xor(xor, net, loss):
    own = Trainer(net, loss, Adam(1e-2), seed=1, batch_size=32, min_slope=0.1, t_max=T_MAX)
    history = own.fit(xor.train, xor.valid, 30, progress=False)
    assert history[0].train_accuracy < 0.9
    assert own.evaluate(xor.test).accuracy >= 0.97
    predictions = own.predict(xor.test.spikes)
    assert (predictions.labels == xor.test.labels).mean() == own.evaluate(xor.test).accuracy
    assert predictions.outputs.shape == (60, 2)


#: everything that has a state or draws random numbers
FULL = {
    "schedule": CosineDecay(6), "silent": SilentHinge(max_silent_fraction=0.1), "time_noise": 0.1 * TAU_SYN,
    "input_dropout": 0.2, "min_slope": 0.1, "batch_size": 200, "t_max": T_MAX,
}  # fmt: skip


def weights_after(xor, n_epochs, n_threads=1, state=None, **changes):
    net = network(hidden=(20, 12), gain=2.0).astype(np.float32)
    own = Trainer(net, MAX, Adam(1e-2), seed=1, n_threads=n_threads, **(FULL | changes))
    if state is not None:
        own.load_state_dict(state)
    own.fit(xor.train, xor.valid, n_epochs, progress=False)
    return own


def test_the_same_bits_for_any_number_of_threads_and_in_parts(xor):
    whole = weights_after(xor, 4)
    threads = weights_after(xor, 4, n_threads=2)
    parts = weights_after(xor, 4, state=weights_after(xor, 2).state_dict())
    for name, weight in whole.network.parameters().items():
        assert weight.dtype == np.float32
        assert np.array_equal(weight, threads.network.parameters()[name]), name
        assert np.array_equal(weight, parts.network.parameters()[name]), name
    other = weights_after(xor, 4, input_dropout=0.0)
    assert not np.array_equal(whole.network.weights[0], other.network.weights[0])


def test_grazing_spikes_are_counted(xor):
    assert weights_after(xor, 1, min_slope=50.0).history[0].n_raised > 0
    assert weights_after(xor, 1, min_slope=0.0).history[0].n_raised == 0


def test_dropout_leaves_out_the_share_of_the_spikes():
    """With all weights zero nothing fires, so the counts of silent neurons say nothing; the kernel itself is asked."""
    from eventsnn.gradients.first_spike import block_events
    from eventsnn.kernels.gather import drop_events

    rng = np.random.default_rng(0)
    n = 20_000
    spikes = Spikes(rng.integers(0, 50, n), rng.integers(0, 9, n), rng.uniform(0, 1, n), n_samples=50, n_neurons=9)
    block = block_events(input_events(spikes), np.arange(50))
    draws = rng.random(n, dtype=np.float32)
    drop_events(block, draws, 0.3)
    kept = draws >= 0.3
    assert block.offsets[-1] == kept.sum()
    assert abs(kept.mean() - 0.7) < 0.02
    assert np.array_equal(np.diff(block.offsets), np.bincount(spikes.samples[kept], minlength=50))
    assert np.array_equal(block.times[: kept.sum()], spikes.times[kept])
    assert np.array_equal(block.neurons[: kept.sum()], spikes.neurons[kept])


def test_an_empty_sample_has_a_prediction():
    own = Trainer(network(), MAX, Adam(1e-3), seed=0, t_max=T_MAX)
    nothing = Spikes([], [], [], n_samples=2, n_neurons=3)
    assert own.predict(nothing).labels.tolist() == [0, 0]
    history = own.fit(Split(nothing, np.array([0, 1]), None), None, 1, progress=False)
    assert history[0].train_loss == pytest.approx(np.log(2.0))


def test_what_does_not_fit_is_named():
    spiking = network(output=ONCE)
    delayed = Sequential([Dense(np.ones((3, 2)), delay=1e-3), LI(tau_mem=TAU_MEM, tau_syn=TAU_SYN)])
    biased = Sequential([Dense(np.ones((3, 2))), replace(MANY, i_bias=0.1), Dense(np.ones((2, 2))), ONCE])
    for net, loss, settings, message in [
        (network(), FIRST, {}, "population 'output' is LI.*so the loss must be on potentials"),
        (spiking, MAX, {}, "population 'output' is LIF.*so the loss must be on first spike times or spike counts"),
        (delayed, MAX, {}, "the connection to population 'output' has delays"),
        (biased, FIRST, {}, "population 'hidden' fires more than once and has a bias current"),
        (network(), MAX, {"max_dw_norm": 1.0}, "Trainer.max_dw_norm: only for chains"),
        (network(), MAX, {"silent": WeightBumping()}, "WeightBumping is for spiking outputs"),
        (network(), MAX, {"input_dropout": 1.0}, "Trainer.input_dropout: must be >= 0 and < 1"),
        (network(), MAX, {"t_max": 0.0}, "Trainer.t_max: must be > 0"),
        (network(), IntegralCrossEntropy(scale=1.0), {}, "must be finite"),
        (
            network(),
            MAX,
            {"learn": {"tau_mem": 1.0}},
            "Trainer.learn: a Sequential whose neurons may fire more than once",
        ),
        (network(), MAX, {"output": "hidden"}, "Trainer.output: that of a Sequential is its last population, 'output'"),
    ]:
        with pytest.raises(ValidationError, match=message):
            Trainer(net, loss, Adam(1e-3), seed=0, **settings)
