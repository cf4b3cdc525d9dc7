"""Losses on spike counts against their formulas in exact and 40-digit arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from mpmath import mp, mpf, workdps

from eventsnn import (
    MaxVoltageCrossEntropy,
    SpikeCountCrossEntropy,
    SpikeCountMSE,
    SpikeRateCrossEntropy,
    ValidationError,
)

SQUARES = [
    SpikeCountMSE(5, 1),
    SpikeCountMSE(correct=2.5, wrong=0.0),
    SpikeCountMSE(correct=100, wrong=10, reduction="mean"),
]
ENTROPIES = [SpikeCountCrossEntropy(), SpikeCountCrossEntropy(scale=0.25), SpikeRateCrossEntropy(scale=3.0)]
LOSSES = SQUARES + ENTROPIES


def batch(seed=0, n=12, n_outputs=4):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 9, (n, n_outputs)), rng.integers(0, n_outputs, n)


def squared_error(loss, counts, label):
    """The formula in fractions."""
    targets = [Fraction(loss.correct) if k == label else Fraction(loss.wrong) for k in range(len(counts))]
    total = sum((n - t) ** 2 for n, t in zip(counts, targets, strict=True))
    return total / (2 if loss.reduction == "half_sum" else len(counts))


def cross_entropy(loss, counts, label):
    z = [mpf(loss.scale) * n for n in counts]
    return mp.log(mp.fsum(mp.exp(x) for x in z)) - z[label]


def shifted(counts, k, step):
    return [n + step if j == k else n for j, n in enumerate(counts)]


@pytest.mark.parametrize("loss", SQUARES, ids=repr)
def test_squared_error_is_exact(loss):
    counts, labels = batch()
    losses, d_counts = loss.value_and_grad(counts, labels)
    for b, label in enumerate(labels):
        own = [Fraction(int(n)) for n in counts[b]]
        assert losses[b] == squared_error(loss, own, label)  # quarters of small whole numbers: no rounding
        for k in range(len(own)):
            up, down = (squared_error(loss, shifted(own, k, step), label) for step in (1, -1))
            assert d_counts[b, k] == (up - down) / 2  # exact for a square


@pytest.mark.parametrize("loss", ENTROPIES, ids=repr)
def test_cross_entropy_follows_the_formula(loss):
    counts, labels = batch()
    losses, d_counts = loss.value_and_grad(counts, labels)
    with workdps(40):
        h = mpf(10) ** -15
        for b, label in enumerate(labels):
            own = [mpf(int(n)) for n in counts[b]]
            # A handful of operations.
            assert losses[b] == pytest.approx(float(cross_entropy(loss, own, label)), rel=1e-13)
            for k in range(len(own)):
                up, down = (cross_entropy(loss, shifted(own, k, step), label) for step in (h, -h))
                assert d_counts[b, k] == pytest.approx(float((up - down) / (2 * h)), rel=1e-12)


def test_mean_reduction_is_the_mean_over_all_entries():
    counts, labels = batch(2, n=8)
    targets = np.where(np.arange(4) == labels[:, None], 5.0, 1.0)
    losses, _ = SpikeCountMSE(5, 1, reduction="mean").value_and_grad(counts, labels)
    assert losses.mean() == ((counts - targets) ** 2).mean()  # eighths and quarters of whole numbers: no rounding


def test_cross_entropy_of_rates_does_not_depend_on_the_number_of_steps():
    counts, labels = batch(3)
    losses, d_rates = SpikeRateCrossEntropy(scale=8.0).value_and_grad(counts / 16, labels)
    of_counts, d_counts = SpikeCountCrossEntropy(scale=0.5).value_and_grad(counts, labels)
    assert losses.tolist() == of_counts.tolist()  # powers of two: no rounding
    assert d_rates.tolist() == (16 * d_counts).tolist()
    assert (SpikeRateCrossEntropy.looks_at, SpikeCountCrossEntropy.looks_at) == ("rates", "counts")


def test_cross_entropy_is_that_of_potentials():
    counts, labels = batch(1)
    of_counts = SpikeCountCrossEntropy(scale=0.3).value_and_grad(counts, labels)
    of_potentials = MaxVoltageCrossEntropy(scale=0.3).value_and_grad(counts.astype(float), labels)
    assert all(np.array_equal(a, b) for a, b in zip(of_counts, of_potentials, strict=True))


def test_cross_entropy_of_silence_asks_for_the_right_output():
    losses, d_counts = SpikeCountCrossEntropy(scale=2.0).value_and_grad(np.zeros((1, 4)), [2])
    assert losses == pytest.approx([math.log(4.0)], rel=1e-15)
    assert d_counts.tolist() == [[0.5, 0.5, -1.5, 0.5]]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_grad_leaves_its_arguments_and_takes_no_samples(loss):
    counts, labels = batch()
    counts = counts.astype(float)
    before = counts.copy()
    loss.value_and_grad(counts, labels)
    assert np.array_equal(counts, before)
    losses, d_counts = loss.value_and_grad(np.empty((0, 3)), np.empty(0, np.int64))
    assert (losses.shape, d_counts.shape) == ((0,), (0, 3))


@pytest.mark.parametrize("loss", LOSSES[1::2], ids=repr)
def test_predictions(loss):
    counts = [[0, 3, 1], [2, 0, 2], [0, 0, 0], [0, 1, 1]]
    assert loss.predictions(counts).tolist() == [1, 0, -1, 1]
    assert loss.predictions(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpikeCountMSE(-1, 0), r"SpikeCountMSE.correct: must be a finite number and >= 0, got -1"),
        (lambda: SpikeCountMSE(3, np.nan), r"SpikeCountMSE.wrong: .*got nan"),
        (lambda: SpikeCountMSE(2, 2), r"SpikeCountMSE.correct: must be above wrong \(2\), got 2"),
        (
            lambda: SpikeCountMSE(2, 1, reduction="sum"),
            r"SpikeCountMSE.reduction: must be 'half_sum' or 'mean', got 's",
        ),
        (lambda: SpikeRateCrossEntropy(scale=-1), r"SpikeRateCrossEntropy.scale: .* > 0, got -1"),
        (lambda: SpikeCountCrossEntropy(scale=0), r"SpikeCountCrossEntropy.scale: .* > 0, got 0"),
    ],
)
def test_parameters_are_checked(make, message):
    with pytest.raises(ValidationError, match=message):
        make()


@pytest.mark.parametrize(
    ("counts", "labels", "message"),
    [
        ([1, 2], [0], r"counts: must have shape \(n_samples, n_neurons\)"),
        (
            np.zeros((2, 0)),
            [0, 0],
            r"counts: must have shape \(n_samples, n_neurons\) with n_neurons >= 1, got \(2, 0\)",
        ),
        ([[1, 2], [0, -1]], [0, 0], "counts: must be finite and >= 0, got -1 at sample 1, neuron 1"),
        ([[np.inf, 2]], [0], "counts: must be finite and >= 0, got inf at sample 0, neuron 0"),
        ([["a", "b"]], [0], "counts: must hold real numbers"),
        ([[1, 2]], [2], r"labels: entry 0 is 2, must lie in 0 .. 1 \(number of outputs=2\)"),
        ([[1, 2]], [0.5], "labels: must hold integers"),
        ([[1, 2]], [0, 1], "labels: one per sample is needed, 1, got 2"),
    ],
)
@pytest.mark.parametrize("loss", [SQUARES[1], ENTROPIES[0]], ids=repr)
def test_value_and_grad_checks_its_arguments(loss, counts, labels, message):
    with pytest.raises(ValidationError, match=rf"{type(loss).__name__}.value_and_grad: {message}"):
        loss.value_and_grad(counts, labels)


def test_predictions_checks_the_counts():
    with pytest.raises(ValidationError, match=r"SpikeCountMSE.predictions: counts: must have shape"):
        SpikeCountMSE(2, 1).predictions([1, 2])


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ([0.5], r"rates: must have shape \(n_samples, n_neurons\) .*; Spikes.counts\(\) / n_steps gives them"),
        ([[0.5, -0.5]], "rates: must be finite and >= 0, got -0.5 at sample 0, neuron 1"),
    ],
)
def test_rates_are_named_in_messages(rates, message):
    with pytest.raises(ValidationError, match=f"SpikeRateCrossEntropy.value_and_grad: {message}"):
        SpikeRateCrossEntropy().value_and_grad(rates, [0])
