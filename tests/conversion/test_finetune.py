"""Fine-tuning: units of the thresholds change nothing, the surrogate sees v/threshold - 1, and accuracy comes back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from eventsnn import Currents, MembraneCrossEntropy, Trainer, VoltageCrossEntropy, loss_and_grad, simulate_clocked
from eventsnn.clock import Clock
from eventsnn.conversion import (
    ANN,
    AvgPool,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    ReLU,
    convert,
    fine_tune,
    load_ann,
)
from eventsnn.conversion.finetune import with_thresholds_of, with_unit_thresholds
from eventsnn.datasets import load_mnist
from eventsnn.errors import ValidationError
from eventsnn.surrogates import Triangular
from eventsnn.training.optimizers import SGD, Adam


def random_ann(seed=0, sizes=(6, 15, 12, 3)):
    rng = np.random.default_rng(seed)
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [Linear(rng.normal(size=(n_in, n_out)), rng.normal(size=n_out) * 0.3), ReLU()]
    return ANN(layers[:-1], input_shape=(sizes[0],))


def images(n=40, seed=1, n_inputs=6):
    return np.random.default_rng(seed).random((n, n_inputs))


@pytest.mark.parametrize("options", [{}, {"channel_wise": True}, {"beta": 0.9}, {"reset": "zero"}], ids=str)
def test_unit_thresholds_change_no_spike(options):
    snn = convert(random_ann(), images(200, 2), progress=False, **options)
    unit = with_unit_thresholds(snn.network)
    assert all(np.all(layer.neuron.v_threshold == 1) for layer in unit.layers[:-1])
    given, found = (simulate_clocked(net, Currents(images()), n_steps=25) for net in (snn.network, unit))
    for name in ("linear1", "linear2"):
        assert np.array_equal(found.counts(name), given.counts(name))
    assert given.counts("linear2").sum() > 500
    # sums of some hundred terms of size 1
    np.testing.assert_allclose(found.v("output", 3), given.v("output", 3), rtol=1e-12, atol=1e-12)


def random_cnn(pool):
    rng = np.random.default_rng(3)
    layers = [
        Convolution(rng.normal(size=(3, 3, 2, 4)), rng.normal(size=4) * 0.2, padding=1), ReLU(), pool(2),
        Convolution(rng.normal(size=(3, 3, 4, 5)), rng.normal(size=5) * 0.2), ReLU(), Flatten(),
        Linear(rng.normal(size=(20, 3)), rng.normal(size=3)),
    ]  # fmt: skip
    return ANN(layers, input_shape=(8, 8, 2))


@pytest.mark.parametrize("channel_wise", [False, True])
@pytest.mark.parametrize("pool", [AvgPool, MaxPool])
def test_convolutions_are_trained_in_units_of_their_channels(pool, channel_wise):
    x, labels = np.random.default_rng(4).random((60, 8, 8, 2)), np.arange(60) % 3
    snn = convert(random_cnn(pool), x, channel_wise=channel_wise, progress=False)
    unit = with_unit_thresholds(snn.network)
    flat = Currents(x.reshape(60, -1))
    given, found = (simulate_clocked(net, flat, n_steps=12) for net in (snn.network, unit))
    for name in ("conv1", "conv2"):
        assert given.counts(name).sum() > 1000
        assert np.array_equal(found.counts(name), given.counts(name))
    tuned = fine_tune(snn, x, labels, n_steps=5, n_epochs=4, seed=0, optimizer=Adam(3e-3), progress=False)
    losses = [metrics.train_loss for metrics in tuned.history]
    assert losses[-1] < losses[0]
    moved = [not np.array_equal(a, b) for a, b in zip(tuned.network.network.weights, snn.network.weights, strict=True)]
    assert moved == [True] * 3


def test_units_of_thresholds_go_there_and_back():
    snn = convert(random_ann(), images(200, 2), channel_wise=True, calibrate="both", n_steps=20, progress=False)
    back = with_thresholds_of(snn.network, with_unit_thresholds(snn.network))
    for own, wanted in zip(back.layers, snn.network.layers, strict=True):
        # a division and a multiplication
        np.testing.assert_allclose(own.connection.weight, wanted.connection.weight, rtol=4e-16)
        for name in ("v_threshold", "bias", "v_init"):
            np.testing.assert_allclose(getattr(own.neuron, name), getattr(wanted.neuron, name), rtol=4e-16, atol=1e-300)


def test_the_loss_is_that_of_the_last_potential_alone():
    snn = convert(random_ann(), images(200, 2), progress=False)
    x, labels, clock = Currents(images(20)), np.arange(20) % 3, Clock(n_steps=7, decode="last_membrane")
    loss = VoltageCrossEntropy([6], scale=1 / 7)
    value, _ = loss_and_grad(snn.network, x, labels, loss, method="surrogate", clock=clock)
    result = simulate_clocked(snn.network, x, n_steps=7)
    last = np.stack([result.v("output", k)[-1:] for k in range(20)])
    wanted, _ = MembraneCrossEntropy(scale=1 / 7).value_and_grad(last, labels)
    assert value == pytest.approx(wanted.mean(), rel=1e-14)


@pytest.mark.parametrize("kind", ["bias", "weight"])
def test_the_gradient_of_the_readout_is_that_of_differences(kind):
    """What the output's own parameters do needs no surrogate, so the gradient is exact."""
    snn = convert(random_ann(), images(200, 2), progress=False)
    x, labels, clock = Currents(images(20)), np.arange(20) % 3, Clock(n_steps=7, decode="last_membrane")
    loss, graph = VoltageCrossEntropy([6], scale=1 / 7), snn.network.as_network()
    names = {"bias": "output.bias", "weight": "linear2->output.weight"}
    _, gradients = loss_and_grad(graph, x, labels, loss, method="surrogate", clock=clock)
    found = gradients.parameters[names[kind]]
    value = graph.parameter(names[kind])
    for index in list(np.ndindex(value.shape))[:9]:
        ends = []
        for step in (1e-5, -1e-5):
            moved = value.copy()
            moved[index] += step
            other = graph.with_parameters({names[kind]: moved})
            ends.append(loss_and_grad(other, x, labels, loss, method="surrogate", clock=clock)[0])
        # central differences with steps of 1e-5: errors of 1e-10 from the third derivative, 1e-11 from rounding
        assert found[index] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-9)


def test_it_is_a_trainer_in_units_of_the_thresholds():
    snn = convert(random_ann(), images(200, 2), method=[2.0, 4.0], progress=False)
    data = images(30), np.arange(30) % 3
    one = fine_tune(snn, *data, n_steps=5, n_epochs=1, seed=0, optimizer=SGD(1e-2), progress=False)
    assert one.history[0].train_loss > 0
    unit = with_unit_thresholds(snn.network)
    trainer = Trainer(
        unit, VoltageCrossEntropy([4], scale=0.2), SGD(1e-2), seed=0, batch_size=100,
        learn={"weight": 1.0, "linear1.bias": 1.0, "linear2.bias": 1.0, "output.bias": 1.0},
        clock=Clock(n_steps=5, surrogate=Triangular(0.3, 1.0), decode="last_membrane"),
    )  # fmt: skip

    class Data:
        spikes, labels = Currents(data[0]), data[1]

    trainer.fit(Data, None, 1, progress=False)
    for own, wanted, scale in zip(one.network.network.weights, trainer.network.weights, (2.0, 4.0, 1.0), strict=True):
        np.testing.assert_array_equal(own, wanted * scale)  # powers of two: no rounding
    assert not np.array_equal(one.network.network.weights[0], snn.network.weights[0])


def test_the_given_network_is_left_alone():
    snn = convert(random_ann(), images(200, 2), progress=False)
    before = [w.copy() for w in snn.network.weights]
    fine_tune(snn, images(30), np.arange(30) % 3, n_steps=4, n_epochs=2, seed=0, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, snn.network.weights, strict=True))


def test_thresholds_can_be_learned():
    snn = convert(random_ann(), images(200, 2), progress=False)
    tuned = fine_tune(
        snn, images(60), np.arange(60) % 3, n_steps=4, n_epochs=3, seed=0, optimizer=Adam(1e-2),
        learn={"v_threshold": 1.0}, progress=False,
    ).network  # fmt: skip
    assert tuned.network.layers[0].neuron.v_threshold != snn.network.layers[0].neuron.v_threshold
    assert np.array_equal(tuned.network.weights[1], snn.network.weights[1]) or np.allclose(
        tuned.network.weights[1], snn.network.weights[1], rtol=4e-16
    )


def test_validation_is_looked_at_and_not_learned_from():
    snn = convert(random_ann(), images(200, 2), progress=False)
    data, held_out = (images(30), np.arange(30) % 3), (images(12, 5), np.arange(12) % 3)
    with_it = fine_tune(snn, *data, n_steps=4, n_epochs=1, seed=0, valid=held_out, progress=False)
    without = fine_tune(snn, *data, n_steps=4, n_epochs=1, seed=0, progress=False)
    expected = with_it.network.accuracy(*held_out, 4, progress=False)
    assert with_it.history[0].valid_accuracy == pytest.approx(expected)
    assert without.history[0].valid_accuracy is None
    assert np.array_equal(with_it.network.network.weights[0], without.network.network.weights[0])


@pytest.mark.slow
def test_fine_tuning_regains_the_accuracy_at_few_steps_on_mnist():
    data = load_mnist(encode=Currents, n_train=5_000, n_valid=0, n_test=1_000)
    ann = load_ann("mnist_mlp")
    x, y, x_test, y_test = data.train.values, data.train.labels, data.test.values, data.test.labels
    snn = convert(ann, x[:500], initial_charge=0.0, progress=False)  # without a charge few steps lose most
    whole = ann.accuracy(x_test, y_test)
    # of all 10,000 test images: 75.6 % before and 97.2 % after 2 steps, 98.2 and 98.6 % after 4; the ANN has 98.9 %
    for n_steps, lost_before, lost_after in ((2, 0.15, 0.03), (4, 0.005, 0.01)):
        tuned = fine_tune(snn, x, y, n_steps=n_steps, n_epochs=2, seed=0, progress=False).network
        before, after = (net.accuracy(x_test, y_test, n_steps, progress=False) for net in (snn, tuned))
        assert whole - before > lost_before
        assert whole - after < lost_after
        assert after > before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 0}, "fine_tune.n_steps: must be >= 1, got 0"),
        ({"n_epochs": 0}, "fine_tune.n_epochs: must be >= 1, got 0"),
        ({"network": "snn"}, "fine_tune.network: must be a SpikingNetwork, got str; convert makes it"),
        ({"images": np.zeros((4, 5))}, r"fine_tune.images: must have shape \(n, 6\), got \(4, 5\)"),
        ({"labels": np.arange(4)}, "entry 3 is 3"),
        ({"labels": np.zeros(3, int)}, "3"),
        ({"valid": (np.zeros((4, 5)), np.zeros(4, int))}, r"fine_tune.valid: must have shape \(n, 6\)"),
    ],
)
def test_arguments_are_checked(change, message):
    given = {"network": convert(random_ann(), images(200, 2), progress=False), "images": images(4)}
    given |= {"labels": np.zeros(4, int), "n_steps": 4, "n_epochs": 1, "seed": 0, "progress": False} | change
    with pytest.raises(ValidationError, match=message):
        fine_tune(given.pop("network"), given.pop("images"), given.pop("labels"), **given)
