"""Losses on spike trains against their definitions and differences, and a recurrent network trained to a train."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from eventsnn import (
    LIF,
    Dense,
    Network,
    Population,
    Projection,
    Spikes,
    TargetSpikeTimes,
    ValidationError,
    VanRossum,
    eventprop,
    simulate,
)

TAU = 3.0
LOSSES = [VanRossum(TAU), TargetSpikeTimes(TAU, penalty=0.7)]


def trains(seed, n=60, n_samples=3, n_neurons=5, t_max=20.0, silent=()):
    rng = np.random.default_rng(seed)
    neurons = rng.choice(np.setdiff1d(np.arange(n_neurons), silent), n)
    return Spikes(
        rng.integers(0, n_samples, n), neurons, rng.uniform(0.0, t_max, n), n_samples=n_samples, n_neurons=n_neurons
    )


def no_spikes(n_samples=3, n_neurons=5):
    return Spikes([], [], [], n_samples=n_samples, n_neurons=n_neurons)


def train_of(spikes, sample, neuron):
    return spikes.times[(spikes.samples == sample) & (spikes.neurons == neuron)]


def over_neurons(formula, spikes, targets):
    """The sum over neurons of a formula of one train and its target, per sample."""
    return [
        math.fsum(formula(train_of(spikes, b, n), train_of(targets, b, n)) for n in range(spikes.n_neurons))
        for b in range(spikes.n_samples)
    ]


def double_sum(times, targets):
    def pairs(a, b):
        return 0.5 * np.exp(-np.abs(a[:, None] - b) / TAU).sum()

    return pairs(times, times) + pairs(targets, targets) - 2.0 * pairs(times, targets)


def integral(times, targets):
    """1/tau integral (f - g)^2 of the traces by the Gauss-Legendre rule, piece by piece between the spikes."""
    ends = np.unique(np.concatenate((times, targets, [0.0])))
    ends = np.append(ends, ends[-1] + TAU * np.arange(1.0, 21.0))
    x, weights = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for start, stop in pairwise(ends):
        t = 0.5 * (start + stop) + 0.5 * (stop - start) * x

        def trace(spikes, t=t):
            late = t[:, None] - spikes
            return np.where(late >= 0, np.exp(-np.abs(late) / TAU), 0.0).sum(axis=1)

        total += 0.5 * (stop - start) * weights @ (trace(times) - trace(targets)) ** 2
    return total / TAU


def squared_errors(times, targets):
    pairs = list(zip(times, targets, strict=False))
    return sum(0.5 * (a - b) ** 2 / TAU**2 for a, b in pairs) + 0.7 * (times.size + targets.size - 2 * len(pairs))


def moved(spikes, event, step):
    times = spikes.times.copy()
    times[event] += step
    return Spikes(spikes.samples, spikes.neurons, times, n_samples=spikes.n_samples, n_neurons=spikes.n_neurons)


@pytest.mark.parametrize(
    ("loss", "formula"),
    [(LOSSES[0], double_sum), (LOSSES[0], integral), (LOSSES[1], squared_errors)],
    ids=["van_rossum_pairs", "van_rossum_integral", "target_times"],
)
def test_the_value_is_the_definition(loss, formula):
    cases = [
        (trains(0), trains(1)),
        (trains(0), trains(1, n=25, silent=[2])),  # a neuron without target
        (trains(0, n=25, silent=[0, 3]), trains(1)),  # silent neurons with a target
        (trains(0), no_spikes()),
        (no_spikes(), trains(1)),
    ]
    for spikes, targets in cases:
        losses, d_times = loss.value_and_grad(spikes, targets)
        assert d_times.shape == (spikes.n_events,)
        assert losses == pytest.approx(over_neurons(formula, spikes, targets), rel=1e-13)  # measured: 2e-16, 2e-15


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("targets", [trains(1), trains(1, n=25, silent=[2]), no_spikes()], ids=["all", "few", "none"])
def test_the_gradient_is_that_of_the_sum(loss, targets):
    spikes = trains(0)
    _, d_times = loss.value_and_grad(spikes, targets)
    for e in range(spikes.n_events):
        up, down = (loss.value_and_grad(moved(spikes, e, step), targets)[0].sum() for step in (1e-5, -1e-5))
        assert d_times[e] == pytest.approx((up - down) / 2e-5, rel=1e-6, abs=1e-8)  # measured: 2e-9


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_train_is_at_no_distance_from_itself(loss):
    spikes = trains(2)
    losses, d_times = loss.value_and_grad(spikes, spikes)
    assert losses.tolist() == [0.0] * 3
    assert not d_times.any()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_samples_without_spikes_and_no_samples(loss):
    losses, d_times = loss.value_and_grad(no_spikes(), no_spikes())
    assert (losses.tolist(), d_times.shape) == ([0.0] * 3, (0,))
    losses, d_times = loss.value_and_grad(no_spikes(0), no_spikes(0))
    assert (losses.shape, d_times.shape) == ((0,), (0,))
    losses, _ = loss.value_and_grad(no_spikes(2, 0), no_spikes(2, 0))
    assert losses.tolist() == [0.0, 0.0]


def one_neuron(*times):
    return Spikes([0] * len(times), [0] * len(times), times, n_samples=1, n_neurons=1)


def test_coinciding_spikes_add_the_mean_of_both_sides():
    spikes, targets = one_neuron(2.0, 5.0), one_neuron(5.0, 9.0)
    losses, d_times = VanRossum(TAU).value_and_grad(spikes, targets)
    assert losses == pytest.approx([double_sum(spikes.times, targets.times)], rel=1e-14)
    sides = [VanRossum(TAU).value_and_grad(one_neuron(2.0, 5.0 + step), targets)[1][1] for step in (1e-9, -1e-9)]
    assert sides[0] - sides[1] == pytest.approx(2.0 / TAU, rel=1e-8)
    assert d_times[1] == pytest.approx(0.5 * sum(sides), rel=1e-8)
    # the same among spikes of one train, which Spikes allows
    twice = one_neuron(2.0, 5.0, 5.0)
    losses, d_times = VanRossum(TAU).value_and_grad(twice, targets)
    assert losses == pytest.approx([double_sum(twice.times, targets.times)], rel=1e-14)
    pulled = (-math.exp(-3.0 / TAU) - math.exp(-4.0 / TAU)) / TAU  # back by the spike at 2, on by the target at 9
    assert d_times[1:] == pytest.approx([pulled, pulled], rel=1e-14)


def test_a_small_distance_keeps_its_digits():
    targets = one_neuron(*np.arange(1.0, 40.0, 0.5))
    distance = 2.0**-40
    losses, _ = VanRossum(TAU).value_and_grad(moved(targets, 30, distance), targets)
    assert losses == pytest.approx([-math.expm1(-distance / TAU)], rel=1e-9)
    # alone far away: the gradient is tiny, not rounded away
    _, d_times = VanRossum(TAU).value_and_grad(one_neuron(300.0), one_neuron(0.0))
    assert d_times == pytest.approx([math.exp(-300.0 / TAU) / TAU], rel=1e-13)


def test_spikes_without_a_partner_pay_the_penalty_and_feel_no_pull():
    spikes = Spikes([0, 0, 1], [0, 0, 1], [1.0, 4.0, 2.0], n_samples=2, n_neurons=2)
    targets = Spikes([0, 0, 1, 1], [0, 1, 1, 1], [3.0, 1.0, 2.5, 7.0], n_samples=2, n_neurons=2)
    losses, d_times = TargetSpikeTimes(2.0, penalty=10.0).value_and_grad(spikes, targets)
    assert losses.tolist() == [0.5 + 20.0, 0.03125 + 10.0]
    assert d_times.tolist() == [-0.5, 0.0, -0.125]
    assert TargetSpikeTimes(2.0).value_and_grad(spikes, targets)[0].tolist() == [0.5, 0.03125]


def test_wrong_input_is_named():
    spikes = trains(0)
    for loss in LOSSES:
        name = type(loss).__name__
        for arguments, message in [
            ((spikes.times, spikes), f"{name}.value_and_grad: spikes: must be Spikes, got ndarray"),
            ((spikes, None), f"{name}.value_and_grad: targets: must be Spikes, got NoneType"),
            ((spikes, no_spikes(4)), "targets: n_samples must be that of spikes, 3, got 4"),
            ((spikes, no_spikes(3, 6)), "targets: n_neurons must be that of spikes, 5, got 6"),
        ]:
            with pytest.raises(ValidationError, match=message):
                loss.value_and_grad(*arguments)
        for tau in (0.0, -1.0, math.inf, math.nan, "1"):
            with pytest.raises(ValidationError, match=f"{name}.tau: must be a finite number and > 0"):
                type(loss)(tau)
    with pytest.raises(ValidationError, match="TargetSpikeTimes.penalty: must be a finite number and >= 0"):
        TargetSpikeTimes(1.0, penalty=-1.0)


def recurrent(weights):
    cell = LIF(tau_mem=20.0, tau_syn={"fast": 5.0, "slow": 12.0}, t_refrac=1.0)
    return Network(
        {"drive": 4},
        {"cells": Population(cell, 6)},
        [
            Projection("drive", "cells", Dense(weights[0]), "fast"),
            Projection("cells", "cells", Dense(weights[1], delay=2.0), "slow"),
        ],
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_descent_through_eventprop_comes_closer_to_the_target_train(seed):
    rng = np.random.default_rng(seed)
    drive = Spikes(
        np.repeat(np.arange(3), 12), rng.integers(0, 4, 36), rng.uniform(0.0, 40.0, 36), n_samples=3, n_neurons=4
    )
    right = [rng.uniform(1.0, 4.0, (4, 6)), rng.normal(0.0, 0.5, (6, 6))]
    target = simulate(recurrent(right), drive, 60.0, progress=False).spikes["cells"]
    assert target.n_events > 60
    weights = [w + rng.normal(0.0, 0.1, w.shape) for w in right]
    loss, means = VanRossum(tau=10.0), []
    for _ in range(100):
        result = simulate(recurrent(weights), drive, 60.0, progress=False)
        losses, d_times = loss.value_and_grad(result.spikes["cells"], target)
        means.append(losses.mean())
        gradients = eventprop(result, {"cells": d_times / 3}, min_slope=0.1, neuron_parameters=False)
        weights = [w - 1e-3 * g for w, g in zip(weights, gradients.weights, strict=True)]
    assert means[0] > 1.0
    assert means[-1] < 0.4 * means[0]  # measured: 0.09, 0.33, 0.14; 0.09 .. 0.56 over seeds 0 .. 9
