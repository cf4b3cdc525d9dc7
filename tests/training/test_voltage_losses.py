"""Cross-entropies on potentials against their formula in 40 digits, and a network trained through a readout."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import mp, mpf, workdps

from eventsnn import LI, ValidationError
from eventsnn.kernels.constants import InputEvents
from eventsnn.simulation.readouts import ReadoutRunner
from eventsnn.spikes import Spikes
from eventsnn.training.voltage_losses import IntegralCrossEntropy, MaxVoltageCrossEntropy, VoltageCrossEntropy

LOSSES = [
    MaxVoltageCrossEntropy(),
    MaxVoltageCrossEntropy(scale=3.0),
    IntegralCrossEntropy(scale=0.2),
    VoltageCrossEntropy([0.5, 1.0, 1.0]),
    VoltageCrossEntropy((2.0,), scale=0.7),
]


def batch(loss, seed=0, n=12, n_outputs=4):
    rng = np.random.default_rng(seed)
    shape = (n, len(loss.times), n_outputs) if loss.kind == "at" else (n, n_outputs)
    return rng.normal(0.0, 2.0, shape), rng.integers(0, n_outputs, n)


def by_hand(loss, values, label):
    """The formula of one sample in the precision of mpmath."""
    rows = values if loss.kind == "at" else values[None]
    z = [mpf(loss.scale) * mp.fsum(column) / len(rows) for column in rows.T]
    return mp.log(mp.fsum(mp.exp(x) for x in z)) - z[label]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_grad_follows_the_formula(loss):
    values, labels = batch(loss)
    before = values.copy()
    found, grad = loss.value_and_grad(values, labels)
    assert np.array_equal(values, before)
    assert grad.shape == values.shape
    with workdps(40):
        h = mpf(10) ** -15
        precise = np.vectorize(lambda v: mpf(float(v)), otypes=[object])(values)
        for b, label in enumerate(labels):
            # A handful of operations.
            assert found[b] == pytest.approx(float(by_hand(loss, precise[b], label)), rel=1e-13)
            for place in np.ndindex(values.shape[1:]):
                shifted = [precise[b].copy(), precise[b].copy()]
                shifted[0][place] += h
                shifted[1][place] -= h
                difference = (by_hand(loss, shifted[0], label) - by_hand(loss, shifted[1], label)) / (2 * h)
                assert grad[b][place] == pytest.approx(float(difference), rel=1e-12)


def test_value_and_grad_is_stable():
    values = np.array([[1e4, 0.0, 0.0], [0.0, 1e4, -1e300], [40.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1e300, -1e300, 0.0]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        losses, grad = MaxVoltageCrossEntropy().value_and_grad(values, np.zeros(5, np.int64))
    # log1p(2 e^-40): a small loss keeps its digits, and so does its gradient
    assert losses.tolist()[:2] == [0.0, 1e4]
    assert losses[2] == pytest.approx(2.0 * math.exp(-40.0), rel=1e-14)
    assert losses[3] == pytest.approx(math.log(3.0), rel=1e-15)
    assert losses[4] == 0.0
    assert grad[2] == pytest.approx(np.array([-2.0, 1.0, 1.0]) * math.exp(-40.0), rel=1e-14)
    assert grad[1].tolist() == [-1.0, 1.0, 0.0]
    assert np.allclose(grad.sum(axis=1), 0.0, atol=1e-16)


def test_value_and_grad_takes_a_single_output_and_no_samples():
    losses, grad = MaxVoltageCrossEntropy().value_and_grad(np.array([[3.0]]), np.array([0]))
    assert (losses.tolist(), grad.tolist()) == ([0.0], [[0.0]])
    losses, grad = MaxVoltageCrossEntropy().value_and_grad(np.empty((0, 3)), np.empty(0, np.int64))
    assert (losses.shape, grad.shape) == ((0,), (0, 3))


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_predictions_take_the_highest(loss):
    values, _ = batch(loss)
    mean = values.mean(axis=1) if loss.kind == "at" else values
    assert loss.predictions(values).tolist() == mean.argmax(axis=1).tolist()
    assert loss.predictions(np.zeros_like(values)).tolist() == [0] * len(values)


def test_losses_can_be_compared_and_shown():
    assert VoltageCrossEntropy([1, 2]) == VoltageCrossEntropy(np.array([1.0, 2.0]))
    assert VoltageCrossEntropy(1.0).times == (1.0,)
    assert repr(IntegralCrossEntropy(scale=2)) == "IntegralCrossEntropy(scale=2.0)"
    with pytest.raises(TypeError, match="scale"):
        IntegralCrossEntropy()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxVoltageCrossEntropy(scale=0.0), "MaxVoltageCrossEntropy.scale: must be a finite number and > 0"),
        (lambda: IntegralCrossEntropy(scale=math.inf), "IntegralCrossEntropy.scale: must be a finite number"),
        (lambda: VoltageCrossEntropy([]), r"VoltageCrossEntropy.times: must have shape \(n_times,\)"),
        (lambda: VoltageCrossEntropy([[1.0]]), r"VoltageCrossEntropy.times: must have shape \(n_times,\)"),
        (lambda: VoltageCrossEntropy([1.0, 0.5]), "VoltageCrossEntropy.times: must be finite, sorted and >= 0"),
        (lambda: VoltageCrossEntropy([-1.0]), "VoltageCrossEntropy.times: must be finite, sorted and >= 0"),
        (lambda: VoltageCrossEntropy([math.nan]), "VoltageCrossEntropy.times: must be finite, sorted and >= 0"),
        (lambda: VoltageCrossEntropy(["a"]), "VoltageCrossEntropy.times: must hold real numbers"),
    ],
)
def test_losses_refuse_bad_settings(make, message):
    with pytest.raises(ValidationError, match=message):
        make()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[2], LOSSES[3]], ids=repr)
def test_descent_on_the_weights_of_a_readout_learns(loss, dtype):
    # Which of three groups of inputs fires most: linearly separable by the potentials.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    neurons = np.where(rng.random((60, 20)) < 0.6, labels[:, None], rng.integers(0, 3, (60, 20))) * 4
    neurons += rng.integers(0, 4, neurons.shape)
    spikes = Spikes(
        np.repeat(np.arange(60), 20), neurons.ravel(), rng.uniform(0.0, 2.0, 1200), n_samples=60, n_neurons=12
    )
    events = InputEvents(spikes.offsets, spikes.neurons, spikes.times)
    weight = rng.normal(0.0, 0.1, (12, 3)).astype(dtype)
    times = loss.times if loss.kind == "at" else None
    runner = ReadoutRunner(LI(2.0, 1.0), weight, 3.0, kind=loss.kind, times=times)
    means = []
    for _ in range(60):
        losses, d_values = loss.value_and_grad(runner.forward(events), labels)
        means.append(losses.mean())
        d_weight = np.zeros_like(weight)
        runner.backward(d_values / 60, d_weight, want_times=False)
        weight -= 2.0 * d_weight
    assert means[-1] < 0.6 * means[0]
    assert (loss.predictions(runner.forward(events)) == labels).mean() > 0.9
