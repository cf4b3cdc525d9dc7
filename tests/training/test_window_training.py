"""Training through convolutions and pools on a time grid."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from eventsnn import (
    IF,
    SGD,
    Adam,
    AvgPool2d,
    BinningWarning,
    Clock,
    Conv2d,
    Currents,
    Dense,
    MaxPool2d,
    MembraneCrossEntropy,
    ParameterMonitor,
    Sequential,
    Trainer,
    Triangular,
    ValidationError,
    loss_and_grad,
)
from eventsnn.training.checkpoint import read_savepoint, write_savepoint
from tests.gradients.test_surrogate_gradient import linear_loss
from tests.simulation.grid_cases import DT
from tests.simulation.window_cases import random_windows

SIDE = 6


@dataclass
class Split:
    spikes: Any
    labels: Any


@pytest.mark.parametrize(
    ("form", "side"), [("groups", "loop"), ("overlapping average", "recurrent"), ("maximum", "average")]
)
def test_steps_of_gradient_descent_are_those_of_loss_and_grad(form, side):
    """Three steps by the trainer, against three by hand with a network made anew for each."""
    case = random_windows(21, form, "leaky", side=side, n_samples=5, n_steps=12)
    labels, loss, rate = np.arange(5) % 4, linear_loss("membrane", 4, 12), 1e-4
    clock = Clock(n_steps=12, dt=DT, surrogate=Triangular(), decode="membrane")
    learn = {"weight": 1.0, "bias": 1.0, "v_init": 0.5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        trainer = Trainer(case.network, loss, SGD(rate), seed=0, batch_size=5, clock=clock, learn=learn)
        history = trainer.fit(Split(case.spikes["x"], labels), None, 3, progress=False)
        values, by_hand = [], case.network
        for _ in range(3):
            value, gradients = loss_and_grad(by_hand, case.spikes, labels, loss, method="surrogate", clock=clock)
            values.append(value)
            moved = {
                name: by_hand.parameter(name) - rate * learn[name.rpartition(".")[2]] * gradient
                for name, gradient in gradients.parameters.items()
                if name.rpartition(".")[2] in learn
            }
            by_hand = by_hand.with_parameters(moved)
    # the samples are shuffled, so sums are taken in another order: rounding
    np.testing.assert_allclose([m.train_loss for m in history], values, rtol=1e-11)
    assert set(case.folds) <= set(moved)
    for name in moved:
        assert not np.array_equal(by_hand.parameter(name), case.network.parameter(name)), name
        np.testing.assert_allclose(trainer.network.parameter(name), by_hand.parameter(name), rtol=1e-10, atol=1e-13)


def bars(n, seed):
    """Images with a horizontal or a vertical bar of three pixels anywhere, and noise: no pixel tells the class."""
    rng = np.random.default_rng(seed)
    images, labels = 0.2 * rng.random((n, SIDE, SIDE)), rng.integers(0, 2, n)
    for image, label in zip(images, labels, strict=True):
        y, x = rng.integers(0, SIDE), rng.integers(0, SIDE - 2)
        (image.T if label else image)[y, x : x + 3] += 1.0
    return Split(Currents(images.reshape(n, -1).astype(np.float32)), labels)


def chain(pool, seed=0):
    rng = np.random.default_rng(seed)
    conv = Conv2d.uniform((SIDE, SIDE, 1), 6, 3, low=-0.4, high=0.4, rng=rng)
    dense = Dense.uniform(6 if pool is AvgPool2d else 24, 2, low=-0.3, high=0.3, rng=rng)
    parts = [conv, IF(bias=np.zeros(conv.n_post)), pool(conv.out_shape, 4 if pool is AvgPool2d else 2)]
    if pool is AvgPool2d:  # by itself, as a connection
        parts += [IF(v_threshold=0.2)]
    return Sequential([*parts, dense, IF(v_threshold=np.inf)]).astype(np.float32)


CLOCK = Clock(n_steps=6, surrogate=Triangular(), decode="mean_membrane")


def trainer_of(pool, **options):
    return Trainer(
        chain(pool), MembraneCrossEntropy(), Adam(5e-3), seed=0, batch_size=50, clock=CLOCK, **options
    )  # fmt: skip


@pytest.mark.parametrize("pool", [AvgPool2d, MaxPool2d])
def test_a_convolution_learns_bars_wherever_they_lie(pool):
    train, test = bars(1000, 1), bars(400, 2)
    trainer = trainer_of(pool)
    before = trainer.evaluate(test).accuracy
    trainer.fit(train, None, 12, progress=False)
    found = trainer.evaluate(test).accuracy
    # chance is 0.5 with a standard error of 0.025; four seeds gave 0.997 and more
    assert before < 0.7
    assert found > 0.95
    assert (np.abs(trainer.network.parameter("hidden.weight" if pool is MaxPool2d else "hidden1.weight")) > 0).all()
    assert (trainer.predict(test.spikes).labels == test.labels).mean() == found


def test_training_goes_on_from_a_savepoint_with_the_same_bits(tmp_path):
    train = bars(200, 3)
    whole = trainer_of(MaxPool2d)
    whole.fit(train, None, 4, progress=False)
    first = trainer_of(MaxPool2d)
    first.fit(train, None, 2, progress=False)
    write_savepoint(tmp_path / "two", first.state_dict())
    second = trainer_of(MaxPool2d)
    second.load_state_dict(read_savepoint(tmp_path / "two"))
    second.fit(train, None, 4, progress=False)
    for name, array in whole.network.parameters().items():
        np.testing.assert_array_equal(second.network.parameter(name), array)


@pytest.mark.parametrize("pool", [AvgPool2d, MaxPool2d])
def test_training_has_the_same_bits_for_every_number_of_threads(pool):
    found = []
    for n_threads in (1, 2):
        trainer = trainer_of(pool, n_threads=n_threads)
        trainer.fit(bars(230, 4), None, 1, progress=False)
        found.append(trainer.network.parameters())
    for name, array in found[0].items():
        np.testing.assert_array_equal(found[1][name], array)


def test_the_trained_network_is_another_one():
    network = chain(AvgPool2d)
    before = {name: array.copy() for name, array in network.parameters().items()}
    trainer = Trainer(network, MembraneCrossEntropy(), Adam(1e-2), seed=0, batch_size=50, clock=CLOCK)
    trainer.fit(bars(50, 5), None, 1, progress=False)
    assert list(before) == ["hidden1.weight", "output.weight"]
    for name, array in network.parameters().items():
        np.testing.assert_array_equal(array, before[name])
        assert (trainer.network.parameter(name) != array).any()
    assert isinstance(trainer.network.layers[1].connection, AvgPool2d)


def test_a_monitor_records_what_is_learned_of_a_convolution():
    monitor = ParameterMonitor()
    monitor.record(0, chain(AvgPool2d))
    assert monitor.names == ("hidden1.weight", "hidden1.delay", "output.weight", "output.delay")
    assert monitor.course("hidden1.weight").shape == (3, 3, 1, 6)


def test_eprop_refuses_convolutions():
    clock = Clock(n_steps=4, method="eprop", decode="membrane")
    with pytest.raises(ValidationError, match="e-prop needs Dense connections .* is .*Conv2d"):
        Trainer(chain(MaxPool2d), MembraneCrossEntropy(), Adam(1e-3), seed=0, clock=clock)
