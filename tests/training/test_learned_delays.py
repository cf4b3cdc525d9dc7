"""Learned delays: the maps and their derivatives in high precision, sharing, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp, mpf, workdps

from eventsnn import ClippedDelay, DelayL2, LearnedDelay, ShiftedDelay, SigmoidDelay, ValidationError
from eventsnn.training.learned_delays import learned_delay

MAPS = [SigmoidDelay(), SigmoidDelay(scale=1.5, shift=2.0), ClippedDelay(), ShiftedDelay()]
SHAPES = {"axonal": (6, 1), "dendritic": (1, 4), "synaptic": (6, 4)}
UNIT = 5e-3


def exact_delay(positivity, raw):
    if isinstance(positivity, SigmoidDelay):
        return positivity.shift + positivity.scale / (1 + mp.exp(-raw))
    return raw


@pytest.mark.parametrize("positivity", MAPS, ids=repr)
def test_maps_and_slopes_in_high_precision(positivity):
    raw = np.concatenate(([0.0, 1e-9, 30.0, 700.0], np.random.default_rng(0).uniform(0.0, 4.0, 20)))
    if isinstance(positivity, SigmoidDelay):
        raw = np.concatenate((raw, -raw))
    delays, slopes = positivity.delay(raw), positivity.slope(raw)
    with workdps(400):  # exp(-700) next to 1
        for value, delay, slope in zip(raw, delays, slopes, strict=True):
            exact = exact_delay(positivity, mpf(value))
            assert abs(delay - exact) <= 4e-16 * exact  # two roundings
            derivative = positivity.scale * mp.exp(-mpf(value)) / (1 + mp.exp(-mpf(value))) ** 2 \
                if isinstance(positivity, SigmoidDelay) else mpf(1)  # fmt: skip
            assert abs(slope - derivative) <= 1e-15 * derivative  # exp, square, quotient


@pytest.mark.parametrize("positivity", MAPS, ids=repr)
@pytest.mark.parametrize(("pre", "post"), [(1, 1), (3, 1), (1, 2), (2, 4)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_raw_values_and_delays_belong_to_each_other(positivity, pre, post, shape):
    pre, post = min(pre, shape[0]), min(post, shape[1])
    learned = LearnedDelay(positivity=positivity, shared_pre=pre, shared_post=post)
    raw = np.random.default_rng(1).uniform(0.1, 2.0, (shape[0] // pre, shape[1] // post))
    delay = learned.delay_of(raw, UNIT)
    assert delay.shape == shape
    for j, k in np.ndindex(shape):
        assert delay[j, k] == positivity.delay(raw)[j % raw.shape[0], k % raw.shape[1]] * UNIT
    out = np.empty(shape)
    assert learned.delay_of(raw, UNIT, out) is out
    np.testing.assert_array_equal(out, delay)
    # The inverse of the sigmoid amplifies roundings by 1/(1 - sigmoid(2)), and by shift/scale.
    np.testing.assert_allclose(learned.raw_of("delay", delay, UNIT), raw, rtol=1e-13)
    d_delay = np.random.default_rng(2).normal(size=shape)
    exact = np.zeros(raw.shape)
    for j, k in np.ndindex(shape):
        exact[j % raw.shape[0], k % raw.shape[1]] += d_delay[j, k]
    exact *= positivity.slope(raw) * UNIT
    np.testing.assert_allclose(learned.raw_gradient(raw, d_delay, UNIT), exact, rtol=1e-14, atol=1e-17)


def test_a_scalar_delay():
    learned = LearnedDelay(positivity=SigmoidDelay(scale=2.0))
    raw = learned.raw_of("delay", 5e-3, UNIT)
    assert raw.shape == ()
    assert abs(raw) < 1e-15
    assert learned.delay_of(raw, UNIT).shape == ()
    assert learned.raw_gradient(raw, np.array(3.0), UNIT) == pytest.approx(3.0 * 0.5 * UNIT, rel=1e-15)


def test_rectify():
    for positivity, result in [
        (ClippedDelay(), [[0.0, 0.3], [0.0, 1.0]]),
        (ShiftedDelay(), [[0.0, 0.8], [0.4, 1.5]]),
        (SigmoidDelay(), [[-0.5, 0.3], [-0.1, 1.0]]),
    ]:
        raw = np.array([[-0.5, 0.3], [-0.1, 1.0]])
        LearnedDelay(positivity=positivity).rectify(raw)
        np.testing.assert_allclose(raw, result, rtol=1e-15)
    raw = np.array([0.2, 0.3])
    ShiftedDelay().rectify(raw)
    np.testing.assert_array_equal(raw, [0.2, 0.3])


@pytest.mark.parametrize("of", ["delay", "raw"])
def test_the_price_of_delays_in_high_precision(of):
    rng = np.random.default_rng(3)
    delays = {
        "a": (LearnedDelay(positivity=SigmoidDelay(1.5, 0.2), shared_pre=2), rng.normal(size=(3, 4))),
        "b": (LearnedDelay(), rng.uniform(0.1, 1.0, (1, 5))),
    }
    value, gradients = DelayL2(0.3, of).value_and_grad(delays)
    h = mpf(10) ** -15
    with workdps(40):

        def exact(name=None, index=None, step=0):
            squares = []
            for own, (learned, raw) in delays.items():
                for place in np.ndindex(raw.shape):
                    x = mpf(raw[place]) + (step if (own, place) == (name, index) else 0)
                    squares.append((x if of == "raw" else exact_delay(learned.positivity, x)) ** 2)
            return mpf(0.3) * mp.fsum(squares) / len(squares)

        assert abs(value - exact()) <= 1e-15 * value
        for name, gradient in gradients.items():
            for index in np.ndindex(gradient.shape):
                difference = (exact(name, index, h) - exact(name, index, -h)) / (2 * h)
                assert abs(gradient[index] - difference) <= 1e-14 * abs(difference)  # a handful of roundings


@pytest.mark.parametrize(
    ("settings", "delay", "message"),
    [
        ({"shared_pre": 4}, np.ones((6, 1)), r"hidden.delay: LearnedDelay.shared_pre is 4, but .* \(6, 1\) have 6"),
        ({"shared_post": 2}, np.ones((6, 1)), "LearnedDelay.shared_post is 2"),
        ({"shared_pre": 2}, np.float64(1.0), r"shape \(\) cannot be shared"),
        ({"shared_pre": 2}, [[1.0], [2.0], [1.0], [3.0]], r"\[3, 0\] and \[1, 0\] share a delay, but are 3 and 2"),
        ({"positivity": SigmoidDelay()}, [[0.5, 0.0]], r"cannot give a delay of 0 tau_syn at \[0, 1\]"),
        ({"positivity": SigmoidDelay(1.0, 2.0)}, [[2.5, 3.0]], r"SigmoidDelay\(scale=1.0, shift=2.0\) cannot .* of 3 "),
        ({"positivity": SigmoidDelay()}, 4.0, "cannot give a delay of 4 tau_syn; begin inside"),
        ({}, [["a"]], "hidden.delay: must hold real numbers"),
    ],
)
def test_delays_that_do_not_fit_are_refused(settings, delay, message):
    with pytest.raises(ValidationError, match=message):
        LearnedDelay(**settings).raw_of("hidden.delay", delay, 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LearnedDelay(-1.0), "LearnedDelay.rate"),
        (lambda: LearnedDelay(positivity="clip"), "LearnedDelay.positivity: must be SigmoidDelay"),
        (lambda: LearnedDelay(shared_pre=0), "LearnedDelay.shared_pre: must be an integer >= 1, got 0"),
        (lambda: LearnedDelay(shared_post=1.5), "LearnedDelay.shared_post"),
        (lambda: SigmoidDelay(scale=0.0), "SigmoidDelay.scale: must be a finite number and > 0"),
        (lambda: SigmoidDelay(shift=-1.0), "SigmoidDelay.shift"),
        (lambda: DelayL2(0.0), "DelayL2.strength"),
        (lambda: DelayL2(1.0, "weight"), 'DelayL2.of: must be "delay" or "raw"'),
        (lambda: learned_delay("Trainer.learn['delay']", -1.0), r"Trainer.learn\['delay'\]: must be"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValidationError, match=message):
        make()
