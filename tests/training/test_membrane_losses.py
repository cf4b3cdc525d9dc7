"""Cross-entropy on the membrane in every step, against its formula with 40 digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import mp, mpf, workdps

from eventsnn import (
    LIF,
    Dense,
    MaxVoltageCrossEntropy,
    MembraneCrossEntropy,
    Sequential,
    SpikeCountMSE,
    SpikeRateCrossEntropy,
    Spikes,
    Trainer,
    ValidationError,
    loss_and_grad,
)
from eventsnn.training.optimizers import Adam

LOSSES = [MembraneCrossEntropy(), MembraneCrossEntropy(scale=2.5)]


def batch(seed=0, n=3, n_steps=4, n_outputs=3, size=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, size, (n, n_steps, n_outputs)), rng.integers(0, n_outputs, n)


def exact(loss, v, label):
    """The formula, for one sample."""
    total = mpf(0)
    for row in v:
        z = [mpf(loss.scale) * x for x in row]
        total += mp.log(mp.fsum(mp.exp(x) for x in z)) - z[label]
    return total


@pytest.mark.parametrize("size", [1.0, 300.0])  # 300: exponentials beyond the range of float64
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_grad_follows_the_formula(loss, size):
    v, labels = batch(n=2, size=size)
    losses, d_v = loss.value_and_grad(v, labels)
    assert (losses.shape, d_v.shape) == ((2,), v.shape)
    with workdps(60 if size == 1.0 else 2000):  # the smallest derivative, about exp(-4000), beside the loss
        h = mpf(10) ** -20
        for b, label in enumerate(labels):
            own = [[mpf(x) for x in row] for row in v[b].tolist()]
            # A sum of four terms of a handful of operations each.
            assert losses[b] == pytest.approx(float(exact(loss, own, label)), rel=1e-13)
            for t, k in np.ndindex(v.shape[1:]):
                ends = []
                for step in (h, -h):
                    moved = [list(row) for row in own]
                    moved[t][k] += step
                    ends.append(exact(loss, moved, label))
                expected = float((ends[0] - ends[1]) / (2 * h))
                # The exponent carries the rounding of scale v, up to 1000: 1000 times 1e-16.
                assert d_v[b, t, k] == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_small_losses_keep_their_digits():
    v = np.tile([40.0, 0.0], (1, 5, 1))
    losses, d_v = MembraneCrossEntropy().value_and_grad(v, [0])
    assert losses == pytest.approx([5 * math.exp(-40.0)], rel=1e-14)  # a sum and an exponential
    assert d_v[0, 0] == pytest.approx([-math.exp(-40.0), math.exp(-40.0)], rel=1e-14)


def test_nothing_overflows():
    losses, d_v = MembraneCrossEntropy().value_and_grad([[[1e300, -1e300], [-1e300, 1e300]]], [0])
    assert losses.tolist() == [2e300]
    assert d_v.tolist() == [[[0.0, 0.0], [-1.0, 1.0]]]


def test_steps_and_samples_are_independent():
    v, labels = batch(1, n=5, n_steps=6)
    loss = LOSSES[1]
    losses, d_v = loss.value_and_grad(v, labels)
    parts = [loss.value_and_grad(v[:, t : t + 1], labels) for t in range(6)]
    np.testing.assert_allclose(losses, sum(p[0] for p in parts), rtol=1e-15)  # the order of a sum of six
    assert np.array_equal(d_v, np.concatenate([p[1] for p in parts], axis=1))
    order = np.array([3, 0, 4, 1, 2])
    again = loss.value_and_grad(v[order], labels[order])
    assert np.array_equal(again[0], losses[order])
    assert np.array_equal(again[1], d_v[order])


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_predictions_have_the_lowest_loss(loss):
    v, _ = batch(2, n=40)
    per_class = np.stack([loss.value_and_grad(v, np.full(40, k))[0] for k in range(3)], axis=1)
    assert loss.predictions(v).tolist() == per_class.argmin(axis=1).tolist()
    assert loss.predictions(np.zeros((2, 3, 4))).tolist() == [0, 0]
    # neither the maximum over the steps nor the last step decides
    assert loss.predictions([[[5.0, 4.0], [0.0, 4.0], [1.0, 0.0]]]).tolist() == [1]


def test_arguments_are_left_alone_and_may_be_of_any_layout():
    v, labels = batch(3)
    before = v.copy()
    losses, d_v = LOSSES[1].value_and_grad(v, labels)
    assert np.array_equal(v, before)
    assert not np.shares_memory(d_v, v)
    steps_first = np.ascontiguousarray(v.transpose(1, 0, 2)).transpose(1, 0, 2)
    again = LOSSES[1].value_and_grad(steps_first, labels)
    assert np.array_equal(again[0], losses)
    assert np.array_equal(again[1], d_v)


def test_float32_is_computed_in_float64():
    v, labels = batch(4)
    narrow = v.astype(np.float32)
    of_narrow = LOSSES[1].value_and_grad(narrow, labels)
    of_wide = LOSSES[1].value_and_grad(narrow.astype(np.float64), labels)
    assert of_narrow[1].dtype == np.float64
    assert all(np.array_equal(a, b) for a, b in zip(of_narrow, of_wide, strict=True))


def test_no_samples():
    losses, d_v = LOSSES[0].value_and_grad(np.empty((0, 4, 3)), np.empty(0, np.int64))
    assert (losses.shape, d_v.shape) == ((0,), (0, 4, 3))
    assert LOSSES[0].predictions(np.empty((0, 4, 3))).shape == (0,)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, "1"])
def test_scale_is_checked(scale):
    with pytest.raises(ValidationError, match="MembraneCrossEntropy.scale: must be a finite number and > 0"):
        MembraneCrossEntropy(scale=scale)


@pytest.mark.parametrize(
    ("v", "labels", "message"),
    [
        (
            np.zeros((1, 2)),
            [0],
            r"v: must be real numbers of shape \(n_samples, n_steps, n_outputs\), .*shape \(1, 2\)",
        ),
        (np.zeros((1, 0, 2)), [0], "n_steps and n_outputs >= 1, got shape"),
        (np.zeros((1, 2, 0)), [0], "n_steps and n_outputs >= 1, got shape"),
        (np.zeros((1, 2, 2), complex), [0], "got shape .* dtype complex128"),
        ([[[0.0, 1.0], [0.0, np.nan]]], [0], "v: must be finite, .*got nan at sample 0, step 1, output 1"),
        ([[[np.inf, 1.0]]], [0], "got inf at sample 0, step 0, output 0"),
        ([[[1e308, 1.0]]], [0], r"v: must be finite, also times scale=2.5, got 1e\+308 at sample 0"),
        (np.zeros((1, 2, 2)), [2], r"labels: entry 0 is 2, must lie in 0 .. 1 \(number of outputs=2\)"),
        (np.zeros((1, 2, 2)), [-1], "labels: entry 0 is -1"),
        (np.zeros((1, 2, 2)), [0, 1], "labels: one per sample is needed, 1, got 2"),
    ],
)
def test_value_and_grad_checks_its_arguments(v, labels, message):
    with pytest.raises(ValidationError, match=rf"MembraneCrossEntropy.value_and_grad: .*{message}"):
        LOSSES[1].value_and_grad(v, labels)


def test_predictions_checks_the_potentials():
    with pytest.raises(ValidationError, match="MembraneCrossEntropy.predictions: v: must be real numbers of shape"):
        LOSSES[0].predictions([[1.0]])


@pytest.mark.parametrize("loss", [MembraneCrossEntropy(), SpikeRateCrossEntropy()], ids=repr)
def test_without_a_clock_the_trainer_refuses(loss):
    network = Sequential([Dense(np.ones((2, 2))), LIF(tau_mem=2.0, tau_syn=1.0)])
    with pytest.raises(ValidationError, match="looks at the steps of a time grid"):
        Trainer(network, loss, Adam(0.1), t_max=1.0, seed=0)


@pytest.mark.parametrize(
    "loss",
    [MembraneCrossEntropy(), SpikeRateCrossEntropy(), SpikeCountMSE(2, 1), MaxVoltageCrossEntropy()],
    ids=repr,
)
def test_first_spike_gradients_refuse(loss):
    network = Sequential([Dense(np.ones((2, 2))), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    with pytest.raises(ValidationError, match="Trainer.loss: first-spike gradients need a loss on first spike times"):
        Trainer(network, loss, Adam(0.1), seed=0)
    spikes = Spikes([0], [0], [0.1], n_samples=1, n_neurons=2)
    with pytest.raises(ValidationError, match="loss_and_grad.loss: first-spike gradients need a loss on first spike"):
        loss_and_grad(network, spikes, [0], loss)
