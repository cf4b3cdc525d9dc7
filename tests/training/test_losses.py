"""Losses against their formulas, and their derivatives against the complex step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import mp, mpf, workdps

from eventsnn import FirstSpikeCrossEntropy, FirstSpikeMSE, ShiftInvariantMSE, ValidationError

LOSSES = [
    FirstSpikeCrossEntropy(xi=0.3),
    FirstSpikeCrossEntropy(xi=0.2, alpha=0.02, beta=0.7),
    FirstSpikeMSE(t_correct=0.8, t_wrong=1.6),
    FirstSpikeMSE(t_correct=0.8, t_wrong=1.6, alpha=0.05),
    ShiftInvariantMSE(delta_t=0.5),
    ShiftInvariantMSE(delta_t=0.5, alpha=0.1, beta=2.0),
]
TAU_SYN = 5e-3


def batch(seed=0, n=20, n_outputs=4):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 3.0, (n, n_outputs)) * TAU_SYN, rng.integers(0, n_outputs, n)


def by_hand(loss, times, label):
    """The formula of one sample, spelled out; t in units of tau_syn."""
    t = times / TAU_SYN
    wrong = [t[k] for k in range(t.size) if k != label]
    if isinstance(loss, FirstSpikeCrossEntropy):
        value = math.log(sum(math.exp(-x / loss.xi) for x in t)) + t[label] / loss.xi
    elif isinstance(loss, FirstSpikeMSE):
        value = 0.5 * ((t[label] - loss.t_correct) ** 2 + sum((x - loss.t_wrong) ** 2 for x in wrong))
    else:
        value = 0.5 * sum((x - t[label] - loss.delta_t) ** 2 for x in wrong)
    return value + loss.alpha * math.exp(t[label] / loss.beta)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_grad_follows_the_formula(loss):
    times, labels = batch()
    value, _ = loss.value_and_grad(times, labels, TAU_SYN)
    expected = [by_hand(loss, t, label) for t, label in zip(times, labels, strict=True)]
    # A handful of operations.
    assert np.allclose(value, expected, rtol=1e-12, atol=1e-14)
    assert np.allclose(loss.value(times, labels, TAU_SYN), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_grad_gives_the_derivative(loss):
    times, labels = batch(1)
    before = times.copy()
    _, grad = loss.value_and_grad(times, labels, TAU_SYN)
    assert np.array_equal(times, before)
    h = 1e-30
    for k in range(times.shape[1]):
        moved = times.astype(complex)
        moved[:, k] += 1j * h
        # The complex step has no subtraction: exact to rounding.
        derivative = loss.value(moved, labels, TAU_SYN).imag / h
        assert np.allclose(grad[:, k], derivative, rtol=1e-11, atol=1e-12 * np.abs(grad).max())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_works_in_high_precision(loss):
    times, labels = batch(2, n=3)
    with workdps(40):
        precise = np.vectorize(lambda t: mpf(float(t)), otypes=[object])(times)
        value = loss.value(precise, labels, TAU_SYN, exp=np.frompyfunc(mp.exp, 1, 1), log=np.frompyfunc(mp.log, 1, 1))
        step = mpf(10) ** -15 * mpf(TAU_SYN)
        moved = precise.copy()
        moved[:, 0] += step
        difference = (
            loss.value(moved, labels, TAU_SYN, exp=np.frompyfunc(mp.exp, 1, 1), log=np.frompyfunc(mp.log, 1, 1)) - value
        ) / step
    fast, grad = loss.value_and_grad(times, labels, TAU_SYN)
    assert np.allclose(fast, value.astype(float), rtol=1e-12, atol=1e-14)
    # The step of 1e-15 leaves 1e-15 by truncation and 1e-25 by rounding: seen only if `value` keeps all digits.
    assert np.allclose(grad[:, 0], difference.astype(float), rtol=1e-11, atol=1e-11 * np.abs(grad).max())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_grad_does_not_depend_on_the_unit_of_time(loss):
    times, labels = batch(3)
    value, grad = loss.value_and_grad(times, labels, TAU_SYN)
    scaled, scaled_grad = loss.value_and_grad(times * 1024.0, labels, TAU_SYN * 1024.0)  # a power of two: exact
    assert np.array_equal(value, scaled)
    assert np.array_equal(grad, scaled_grad * 1024.0)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_grad_takes_one_tau_syn_per_output(loss):
    times, labels = batch(4)
    tau = np.array([1.0, 2.0, 0.5, 4.0]) * TAU_SYN
    value, grad = loss.value_and_grad(times * tau / TAU_SYN, labels, tau)
    same, same_grad = loss.value_and_grad(times, labels, TAU_SYN)
    assert np.allclose(value, same, rtol=1e-12)
    assert np.allclose(grad * tau, same_grad * TAU_SYN, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_grad_counts_silent_outputs_at_t_silent(loss):
    times, labels = batch(5)
    silent = times.copy()
    silent[:, 1] = np.inf
    silent[3] = np.inf
    counted = np.where(np.isinf(silent), loss.t_silent * TAU_SYN, silent)
    value, grad = loss.value_and_grad(silent, labels, TAU_SYN)
    same, same_grad = loss.value_and_grad(counted, labels, TAU_SYN)
    assert np.isfinite(value).all()
    assert np.allclose(value, same, rtol=1e-13)
    assert np.allclose(loss.value(silent, labels, TAU_SYN), same, rtol=1e-12)
    fires = np.isfinite(silent)
    assert not grad[~fires].any()
    assert np.allclose(grad[fires], same_grad[fires], rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_grad_survives_extreme_times(loss):
    times = np.array([[1e6, 0.0], [0.0, 1e6], [1e6, 1e6], [1e300, 1.0]]) * TAU_SYN
    with np.errstate(over="ignore" if not isinstance(loss, FirstSpikeCrossEntropy) else "raise"):
        value, grad = loss.value_and_grad(times, np.zeros(4, np.int64), TAU_SYN)
    # Squares of 1e300 are inf, which the trainer reports; nothing here is nan, and up to 1e6 tau_syn all is finite.
    assert np.isfinite(value[:3]).all()
    assert np.isfinite(grad[:3]).all()
    assert not np.isnan(value).any()
    assert not np.isnan(grad).any()


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_cross_entropy_of_equal_times_is_the_logarithm_of_their_number(n_outputs):
    value, grad = FirstSpikeCrossEntropy(xi=0.5).value_and_grad(np.ones((1, n_outputs)), np.array([0]), 1.0)
    assert value[0] == pytest.approx(math.log(n_outputs), abs=1e-15)
    assert grad.sum() == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FirstSpikeCrossEntropy(xi=0.0), "FirstSpikeCrossEntropy.xi: must be > 0, got 0.0"),
        (lambda: FirstSpikeCrossEntropy(xi=math.nan), "FirstSpikeCrossEntropy.xi: must be finite"),
        (lambda: FirstSpikeCrossEntropy(alpha=-1.0), "FirstSpikeCrossEntropy.alpha: must be >= 0"),
        (lambda: FirstSpikeCrossEntropy(beta=0.0), "FirstSpikeCrossEntropy.beta: must be > 0"),
        (lambda: FirstSpikeCrossEntropy(t_silent=-1.0), "FirstSpikeCrossEntropy.t_silent: must be > 0"),
        (lambda: FirstSpikeMSE(t_correct=math.inf, t_wrong=1.0), "FirstSpikeMSE.t_correct: must be finite"),
        (lambda: ShiftInvariantMSE(delta_t=0.0), "ShiftInvariantMSE.delta_t: must be > 0"),
    ],
)
def test_losses_refuse_bad_settings(make, message):
    with pytest.raises(ValidationError, match=message):
        make()
