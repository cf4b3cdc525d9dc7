"""Regularisers of spike counts against their formulas in fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from eventsnn import (
    SpikeCountLowerBound,
    SpikeCountTarget,
    SpikeCountUpperBound,
    SpikeRateL1,
    SpikeRateL2,
    ValidationError,
)

BOUNDS = [
    kind(bound=bound, strength=0.25, power=power, over=over)
    for kind in (SpikeCountLowerBound, SpikeCountUpperBound)
    for bound in (2.0, 3.5)
    for power in (1, 2)
    for over in ("neurons", "population")
]


def batch(seed=0):
    return np.random.default_rng(seed).integers(0, 7, (8, 4))  # eighths and quarters: no rounding in the means


def target_value(regularizer, counts):
    """The mean over the samples of the values."""
    n_samples = len(counts)
    means = [sum(column) / n_samples for column in zip(*counts, strict=True)]
    return Fraction(regularizer.strength) / 2 * sum((m - Fraction(regularizer.target)) ** 2 for m in means)


def bound_value(regularizer, row):
    """What one sample pays."""
    observed = [sum(row) / len(row)] if regularizer.over == "population" else row
    bound = Fraction(regularizer.bound)
    below = isinstance(regularizer, SpikeCountLowerBound)
    excess = [max(bound - c if below else c - bound, Fraction(0)) for c in observed]
    return Fraction(regularizer.strength) * sum(e**regularizer.power for e in excess) / len(observed)


def fractions(counts):
    return [[Fraction(int(c)) for c in row] for row in counts]


def test_target_is_on_the_mean_over_the_samples():
    regularizer, counts = SpikeCountTarget(target=2.5, strength=0.5), batch()
    values, d_counts = regularizer.value_and_grad(counts)
    exact = target_value(regularizer, fractions(counts))
    assert values.tolist() == [exact] * 8
    for b, n in np.ndindex(counts.shape):
        both = []
        for step in (1, -1):
            moved = fractions(counts)
            moved[b][n] += step
            both.append(8 * target_value(regularizer, moved))  # of the sum of the values
        assert d_counts[b, n] == (both[0] - both[1]) / 2  # exact for a square


def test_target_leaves_single_samples_free():
    values, d_counts = SpikeCountTarget(target=2.0, strength=1.0).value_and_grad([[0, 4], [4, 0]])
    assert values.tolist() == [0.0, 0.0]
    assert not d_counts.any()


@pytest.mark.parametrize("regularizer", BOUNDS, ids=repr)
def test_bounds_are_their_formulas(regularizer):
    counts = batch(1)
    values, d_counts = regularizer.value_and_grad(counts)
    step = Fraction(1, 2**20)
    for b, row in enumerate(fractions(counts)):
        assert values[b] == bound_value(regularizer, row)
        for n in range(4):
            moved = [[c + s if k == n else c for k, c in enumerate(row)] for s in (step, -step)]
            up, down = (bound_value(regularizer, own) for own in moved)
            observed = sum(row) / 4 if regularizer.over == "population" else row[n]
            if observed == Fraction(regularizer.bound):
                assert d_counts[b, n] == 0.0
            else:
                assert d_counts[b, n] == (up - down) / (2 * step)  # exact on either side of the bound


@pytest.mark.parametrize("kind", [SpikeCountLowerBound, SpikeCountUpperBound])
def test_bounds_cost_nothing_on_their_good_side(kind):
    counts = [[4, 4]] if kind is SpikeCountLowerBound else [[2, 2]]
    for over in ("neurons", "population"):
        values, d_counts = kind(bound=3, strength=1, over=over).value_and_grad(counts)
        assert (values.tolist(), d_counts.tolist()) == ([0.0], [[0.0, 0.0]])


def test_a_population_may_have_busy_neurons():
    counts = [[6, 0]]
    neurons = SpikeCountUpperBound(bound=3, strength=1, over="neurons").value_and_grad(counts)
    population = SpikeCountUpperBound(bound=3, strength=1, over="population").value_and_grad(counts)
    assert (neurons[0].tolist(), neurons[1].tolist()) == ([4.5], [[3.0, 0.0]])
    assert (population[0].tolist(), population[1].tolist()) == ([0.0], [[0.0, 0.0]])


@pytest.mark.parametrize(("regularizer", "power"), [(SpikeRateL1(0.25), 1), (SpikeRateL2(0.25), 2)], ids=repr)
def test_rates_are_sums_over_the_neurons(regularizer, power):
    counts = batch(2)
    values, d_counts = regularizer.value_and_grad(counts)
    assert d_counts.shape == counts.shape
    for b, row in enumerate(fractions(counts)):
        assert values[b] == sum(c**power for c in row) / 4
        for n, c in enumerate(row):
            assert d_counts[b, n] == ((c + 1) ** power - (c - 1) ** power) / Fraction(8)  # exact up to a square


@pytest.mark.parametrize(("kind", "power"), [(SpikeRateL1, 1), (SpikeRateL2, 2)])
def test_rates_are_bounds_at_zero_summed(kind, power):
    counts = batch(3)
    values, d_counts = kind(strength=0.5).value_and_grad(counts)
    bound = SpikeCountUpperBound(bound=0, strength=2.0, power=power).value_and_grad(counts)  # 0.5 times 4 neurons
    assert values.tolist() == bound[0].tolist()
    fires = counts > 0
    assert d_counts[fires].tolist() == bound[1][fires].tolist()


@pytest.mark.parametrize(
    "regularizer", [SpikeCountTarget(1, 1), SpikeRateL1(1), SpikeRateL2(1), *BOUNDS[:2], *BOUNDS[-2:]], ids=repr
)
def test_value_and_grad_takes_no_samples(regularizer):
    values, d_counts = regularizer.value_and_grad(np.empty((0, 3)))
    assert (values.shape, d_counts.shape) == ((0,), (0, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpikeCountTarget(-1, 1), "SpikeCountTarget.target: must be a finite number and >= 0, got -1"),
        (lambda: SpikeCountTarget(1, np.inf), "SpikeCountTarget.strength: .*got inf"),
        (lambda: SpikeCountUpperBound(-1, 1), "SpikeCountUpperBound.bound: .*got -1"),
        (lambda: SpikeRateL1(-1), "SpikeRateL1.strength: must be a finite number and >= 0, got -1"),
        (lambda: SpikeRateL2(np.nan), "SpikeRateL2.strength: .*got nan"),
        (lambda: SpikeCountLowerBound(1, "2"), "SpikeCountLowerBound.strength: .*got '2'"),
        (lambda: SpikeCountUpperBound(1, 1, power=3), "SpikeCountUpperBound.power: must be 1 or 2, got 3"),
        (lambda: SpikeCountLowerBound(1, 1, power=True), "SpikeCountLowerBound.power: must be 1 or 2, got True"),
        (lambda: SpikeCountLowerBound(1, 1, over="all"), "SpikeCountLowerBound.over: must be 'neurons' or 'pop.*'all'"),
    ],
)
def test_parameters_are_checked(make, message):
    with pytest.raises(ValidationError, match=message):
        make()


@pytest.mark.parametrize("regularizer", [SpikeCountTarget(1, 1), SpikeCountUpperBound(1, 1), SpikeRateL2(1)], ids=repr)
@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2], r"must have shape \(n_samples, n_neurons\) with n_neurons >= 1, got \(2,\); Spikes.counts"),
        ([[0, -2]], "must be finite and >= 0, got -2 at sample 0, neuron 1"),
        ([[np.nan]], "got nan at sample 0, neuron 0"),
    ],
)
def test_value_and_grad_checks_the_counts(regularizer, counts, message):
    with pytest.raises(ValidationError, match=rf"{type(regularizer).__name__}.value_and_grad: counts: .*{message}"):
        regularizer.value_and_grad(counts)
