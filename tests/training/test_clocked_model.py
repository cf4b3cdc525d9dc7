"""Training on a time grid: what the trainer does in one step is what `loss_and_grad` says, and it learns."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from eventsnn import (
    SGD,
    Adam,
    Arctan,
    BinningWarning,
    Clock,
    CurrentLIF,
    Currents,
    Dense,
    Leaky,
    MaxVoltageCrossEntropy,
    Network,
    Sequential,
    Sparse,
    SpikeCountCrossEntropy,
    SpikeCountLowerBound,
    SpikeCountMSE,
    SpikeCountTarget,
    SpikeCountUpperBound,
    Spikes,
    Trainer,
    Triangular,
    ValidationError,
    loss_and_grad,
    simulate_clocked,
)
from tests.gradients.test_surrogate_gradient import linear_loss
from tests.reference import grid_numpy as reference
from tests.simulation.grid_cases import DT, WIRINGS, random_case

POSITIVE = ("tau_mem", "tau_syn", "v_threshold")
KINDS_OF = {
    "leaky": ("weight", "bias", "beta", "v_threshold"),
    "synaptic": ("weight", "bias", "alpha", "beta", "v_threshold"),
    "current_lif": ("weight", "bias", "tau_mem", "tau_syn", "v_threshold"),
    "lif": ("weight",),
}


@dataclass
class Split:
    spikes: Any
    labels: Any


def one_input(case):
    """The case without its second input, since a trainer takes one."""
    network = case.network
    kept = [p for p in network.projections if p.source != "y"]
    return Network({"x": network.inputs["x"]}, dict(network.populations), kept), case.spikes["x"]


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", KINDS_OF)
def test_steps_of_gradient_descent_are_those_of_loss_and_grad(kind, wiring):
    """Three steps by the trainer, against three by hand with a network made anew for each."""
    case = random_case(21, kind, wiring, n_samples=5, n_steps=15)
    network, spikes = one_input(case)
    labels = np.arange(5) % 4
    loss, rate = linear_loss("membrane", 4, 15), 1e-4
    clock = Clock(n_steps=15, dt=DT, surrogate=Triangular(), decode="membrane")
    learn = dict.fromkeys(KINDS_OF[kind], 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        trainer = Trainer(network, loss, SGD(rate), seed=0, batch_size=5, clock=clock, learn=learn)
        history = trainer.fit(Split(spikes, labels), None, 3, progress=False)
        values, by_hand = [], network
        for _ in range(3):
            value, gradients = loss_and_grad(by_hand, spikes, labels, loss, method="surrogate", clock=clock)
            values.append(value)
            moved = {}
            for name, gradient in gradients.parameters.items():
                old, key = by_hand.parameter(name), name.rpartition(".")[2]
                if key not in learn or (key == "v_threshold" and not np.isfinite(old).all()):
                    continue
                if key in POSITIVE:
                    moved[name] = old * np.exp(-rate * gradient * old)
                elif key in ("alpha", "beta"):
                    moved[name] = np.clip(old - rate * gradient, 0.0, 1.0)
                else:
                    moved[name] = old - rate * gradient
            by_hand = by_hand.with_parameters(moved)
    # the samples are shuffled, so sums are taken in another order: rounding
    np.testing.assert_allclose([m.train_loss for m in history], values, rtol=1e-11)
    assert len(moved) >= len(network.projections)
    for name in moved:
        assert not np.array_equal(by_hand.parameter(name), network.parameter(name)), name
        np.testing.assert_allclose(trainer.network.parameter(name), by_hand.parameter(name), rtol=1e-10, atol=1e-13)


def test_regularizers_act_on_every_hidden_population():
    case = random_case(31, "leaky", "loop", n_samples=5, n_steps=15)
    network, spikes = one_input(case)
    labels, loss, rate = np.arange(5) % 4, linear_loss("membrane", 4, 15), 1e-3
    bounds = SpikeCountUpperBound(bound=2.0, strength=0.7), SpikeCountLowerBound(bound=1.0, strength=0.3)
    clock = Clock(n_steps=15, dt=DT, decode="membrane")
    projections = [p for p in case.projections if p.pre != "y"]
    result = reference.run(case.populations, projections, {"x": case.dense["x"]}, surrogate=clock.surrogate.derivative)
    d_counts = {name: sum(bound.value_and_grad(result.counts(name))[1] for bound in bounds) / 5 for name in ("a", "b")}
    assert all(derivative.any() for derivative in d_counts.values())
    d_u = loss.value_and_grad(result.u["out"], labels)[1] / 5
    expected = result.backward(d_counts, {"out": d_u}).weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        trainer = Trainer(network, loss, SGD(rate), seed=0, batch_size=5, clock=clock, regularizers=bounds,
                          learn={"weight": 1.0})  # fmt: skip
        trainer.fit(Split(spikes, labels), None, 1, progress=False)
    for name, projection, gradient in zip(network.projection_names, network.projections, expected, strict=True):
        connection = projection.connection
        if isinstance(connection, Sparse):
            sources = np.repeat(np.arange(connection.n_pre), np.diff(connection.indptr))
            gradient = gradient[sources, connection.indices]
        step = (connection.weight - trainer.network.parameter(f"{name}.weight")) / rate
        # weights of size 1 differ by rate times the gradient: rounding of 1e-16/rate
        np.testing.assert_allclose(step, gradient, rtol=1e-11, atol=1e-12, err_msg=name)


def test_the_network_given_is_not_changed():
    case = random_case(22, "leaky", "loop", n_samples=5, n_steps=10)
    network, spikes = one_input(case)
    before = {name: np.array(network.parameter(name)) for name in network.parameter_names}
    clock = Clock(n_steps=10, dt=DT, decode="membrane")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        trainer = Trainer(network, linear_loss("membrane", 4, 10), SGD(1e-3), seed=0, clock=clock)
        trainer.fit(Split(spikes, np.zeros(5, int)), None, 1, progress=False)
    for name, value in before.items():
        np.testing.assert_array_equal(network.parameter(name), value)


@pytest.mark.parametrize("decode", ["rate", "latency", "membrane", "mean_membrane", "last_membrane"])
def test_predict_reads_the_class_as_the_clock_says(decode):
    rng = np.random.default_rng(31)
    network, data = _chain(rng, Leaky(0.9), np.float64), _two_classes(40, rng)
    clock = Clock(n_steps=20, decode=decode)
    trainer = Trainer(network, SpikeCountCrossEntropy(), SGD(1e-3), seed=0, clock=clock)
    result = simulate_clocked(network, data.spikes, n_steps=20)
    v, first = np.stack([result.v("output", k) for k in range(40)]), result.spikes["output"].first_times()
    counts = result.counts("output")
    expected = {
        "rate": np.where(counts.any(axis=1), counts.argmax(axis=1), -1),
        "latency": np.where(np.isfinite(first).any(axis=1), first.argmin(axis=1), -1),
        "membrane": v.max(axis=1).argmax(axis=1),
        "mean_membrane": v.mean(axis=1).argmax(axis=1),
        "last_membrane": v[:, -1].argmax(axis=1),
    }
    found = trainer.predict(data.spikes)
    np.testing.assert_array_equal(found.labels, expected[decode])
    assert len({tuple(labels) for labels in expected.values()}) == 5  # they are told apart
    shown = {"membrane": v.max(axis=1), "mean_membrane": v.mean(axis=1), "last_membrane": v[:, -1]}
    np.testing.assert_allclose(found.outputs, shown.get(decode, counts), rtol=1e-14)  # a sum in another order


def _two_classes(n_samples, rng, n_steps=20):
    """Spikes of 12 channels; the first six are the busier ones in class 0, the others in class 1."""
    labels = rng.integers(0, 2, n_samples)
    rates = np.where((np.arange(12) < 6) == (labels[:, None] == 0), 0.25, 0.05)
    counts = rng.random((n_samples, 12, n_steps)) < rates[:, :, None]
    return Split(Spikes.from_dense(counts, 1.0), labels)


def _chain(rng, cell, dtype=np.float32):
    weights = rng.normal(0.1, 0.3, (12, 20)), rng.normal(0.0, 0.3, (20, 2))
    return Sequential([Dense(weights[0].astype(dtype)), cell, Dense(weights[1].astype(dtype)), cell])


@pytest.mark.parametrize(
    ("cell", "learn"),
    [
        (Leaky(0.9), None),
        (Leaky(0.9, bias=0.0), {"weight": 1.0, "beta": 0.3, "v_threshold": 0.3}),
        (CurrentLIF(10.0, 3.0), {"weight": 1.0, "tau_mem": 0.3, "tau_syn": 0.3}),
    ],
)
@pytest.mark.parametrize("loss", [SpikeCountMSE(correct=10, wrong=2), SpikeCountCrossEntropy(scale=0.5)], ids=repr)
def test_a_chain_learns_two_classes(cell, learn, loss):
    rng = np.random.default_rng(23)
    train, test = _two_classes(200, rng), _two_classes(200, rng)
    clock = Clock(n_steps=20, surrogate=Arctan(alpha=1.0))
    trainer = Trainer(_chain(rng, cell), loss, Adam(5e-3), seed=1, batch_size=20, clock=clock, learn=learn)
    before = trainer.evaluate(test).accuracy
    trainer.fit(train, test, 5, progress=False)
    after = trainer.evaluate(test).accuracy
    # 30 against 6 spikes expected in 6 channels and 20 steps: all but separable; chance is 0.5
    assert before < 0.9 < after


def _images(n_samples, rng):
    """Constant currents of 12 channels, stronger in the half of the class; an eighth of them is 0."""
    labels = rng.integers(0, 2, n_samples)
    rows = np.where((np.arange(12) < 6) == (labels[:, None] == 0), 0.5, 0.2) * rng.uniform(0.5, 1.5, (n_samples, 12))
    rows[rng.random(rows.shape) < 0.125] = 0.0
    return Split(Currents(rows), labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_threads", [2, 3])
@pytest.mark.parametrize("make", [_two_classes, _images])
def test_training_has_the_same_bits_for_every_number_of_threads(make, n_threads, dtype):
    states = []
    for threads in (1, n_threads):
        rng = np.random.default_rng(24)
        train = make(500, rng)
        trainer = Trainer(
            _chain(rng, Leaky(0.9), dtype), SpikeCountMSE(correct=10, wrong=2), Adam(5e-3), seed=1, batch_size=250,
            clock=Clock(n_steps=20), n_threads=threads,
        )  # fmt: skip
        trainer.fit(train, None, 2, progress=False)
        states.append(trainer.network.parameters())
    for name, weight in states[0].items():
        np.testing.assert_array_equal(weight, states[1][name])


@pytest.mark.parametrize("make", [_two_classes, _images])
def test_a_step_of_a_large_batch_is_that_of_loss_and_grad(make):
    rng = np.random.default_rng(30)
    train = make(250, rng)  # several blocks and chunks
    network, loss, clock = _chain(rng, Leaky(0.9), np.float64), SpikeCountMSE(correct=10, wrong=2), Clock(n_steps=20)
    value, gradients = loss_and_grad(network, train.spikes, train.labels, loss, method="surrogate", clock=clock)
    trainer = Trainer(network, loss, SGD(0.1), seed=1, batch_size=250, clock=clock, n_threads=2)
    assert trainer.fit(train, None, 1, progress=False)[0].train_loss == pytest.approx(value, rel=1e-12)
    for name, weight in network.parameters().items():
        step = (weight - trainer.network.parameters()[name]) / 0.1
        # the difference of weights of size 1 has a rounding of 1e-16/0.1; sums over shuffled samples
        scale = np.abs(gradients.parameters[name]).max()
        np.testing.assert_allclose(step, gradients.parameters[name], rtol=0, atol=1e-12 * scale + 1e-14)


def test_training_goes_on_from_a_state_with_the_same_bits():
    clock = Clock(n_steps=20)

    def trainer(rng):
        learn = {"weight": 1.0, "beta": 0.5}
        return Trainer(_chain(rng, Leaky(0.9)), SpikeCountMSE(correct=10, wrong=2), Adam(5e-3), seed=1, batch_size=64,
                       clock=clock, learn=learn)  # fmt: skip

    train = _two_classes(100, np.random.default_rng(25))
    whole, first, second = (trainer(np.random.default_rng(26)) for _ in range(3))
    whole.fit(train, None, 4, progress=False)
    first.fit(train, None, 2, progress=False)
    second.load_state_dict(first.state_dict())
    second.fit(train, None, 4, progress=False)
    for one, other in zip(whole.network.layers, second.network.layers, strict=True):
        np.testing.assert_array_equal(one.connection.weight, other.connection.weight)
        assert one.neuron.beta == other.neuron.beta != 0.9


def test_constant_currents_are_learned():
    rng = np.random.default_rng(27)
    split = _images(120, rng)
    trainer = Trainer(
        _chain(rng, Leaky(0.9)), SpikeCountMSE(correct=10, wrong=2), Adam(5e-3), seed=1, batch_size=20,
        clock=Clock(n_steps=20),
    )  # fmt: skip
    trainer.fit(split, None, 8, progress=False)
    assert trainer.evaluate(split).accuracy > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learn": {"gain": 1.0}}, "Trainer.learn: no parameter 'gain'"),
        ({"learn": {"weight": -1.0}}, "Trainer.learn"),
        ({"learn": {"weight": 0.0}}, "leaves nothing to learn"),
        ({"clock": 1.0}, "Trainer.clock: must be a Clock"),
        ({"t_max": 5.0}, "Trainer.t_max: not with a clock"),
        ({"output": "nobody"}, "nobody"),
        # its mean over the batch is not known while a chunk of it runs
        ({"regularizers": [SpikeCountTarget(target=1.0, strength=1.0)]}, "counts of one sample, .* SpikeCountTarget"),
    ],
)
def test_trainer_with_a_clock_refuses(options, message):
    rng = np.random.default_rng(28)
    options = {"clock": Clock(n_steps=20)} | options
    with pytest.raises(ValidationError, match=message):
        Trainer(_chain(rng, Leaky(0.9)), SpikeCountMSE(correct=10, wrong=2), SGD(1.0), seed=0, **options)


def test_trainer_refuses_labels_beyond_the_outputs():
    rng = np.random.default_rng(29)
    trainer = Trainer(
        _chain(rng, Leaky(0.9)), SpikeCountMSE(correct=10, wrong=2), SGD(1.0), seed=0, clock=Clock(n_steps=20)
    )
    split = _two_classes(10, rng)
    split.labels[3] = 2
    with pytest.raises(ValidationError, match="targets"):
        trainer.fit(split, None, 1, progress=False)


def test_noise_beyond_the_last_step_loses_no_spike():
    """Times that noise moves behind the grid come in its last step; the spikes of a sample stay its own."""
    spikes = Spikes(np.repeat([0, 1], 50), np.zeros(100, int), np.ones(100), n_samples=2, n_neurons=1)
    seen = []

    @dataclass(frozen=True)
    class Watch:
        looks_at = "membrane"

        def value_and_grad(self, v, labels):
            seen.append(v.copy())
            return np.zeros(len(v)), np.zeros_like(v)

    net = Sequential([Dense([[1.0]]), Leaky(1.0, v_threshold=np.inf)])
    trainer = Trainer(
        net, Watch(), SGD(0.1), seed=0, clock=Clock(n_steps=2, decode="membrane"), time_noise=5.0, batch_size=2
    )
    with pytest.warns(BinningWarning, match="add up"):
        trainer.fit(Split(spikes, np.zeros(2, np.int64)), None, 1, progress=False)
    total = np.concatenate(seen)[:, -1, 0]  # a perfect integrator counts its input
    assert total.tolist() == [50.0, 50.0]


def test_noise_on_currents_is_refused():
    net = Sequential([Dense([[1.0]]), Leaky(1.0, v_threshold=np.inf)])
    trainer = Trainer(
        net, MaxVoltageCrossEntropy(), SGD(0.1), seed=0, clock=Clock(n_steps=2, decode="membrane"), time_noise=1.0
    )
    with pytest.raises(ValidationError, match="only for inputs that are spikes"):
        trainer.fit(Split(Currents([[1.0]]), np.zeros(1, np.int64)), None, 1, progress=False)
