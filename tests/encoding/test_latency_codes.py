from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mpmath import mp, mpf, workdps

from eventsnn import ValidationError, encode_latency, encode_latency_rc, encode_latency_steps
from eventsnn.encoding import latency

VALUES = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(0, 5)), elements=st.floats(0, 1, width=16))


@given(VALUES, st.one_of(st.none(), st.floats(0, 0.9)))
def test_encode_latency_is_the_formula_for_every_value(values, threshold):
    spikes = encode_latency(values, 1.0, 3.0, threshold)
    expected = 1.0 + (1.0 - values) * 2.0
    if threshold is not None:
        expected[values <= threshold] = np.inf
    np.testing.assert_array_equal(spikes.first_times(), expected)
    assert spikes.n_events == np.isfinite(expected).sum()


def test_encode_latency_makes_bright_early_and_dark_silent():
    spikes = encode_latency([[1.0, 0.0, 0.25]], t_early=1e-3, t_late=9e-3)
    assert spikes.neurons.tolist() == [0, 2]
    np.testing.assert_allclose(spikes.times, [1e-3, 7e-3], rtol=1e-15)  # two roundings


def test_encode_latency_goes_on_across_blocks():
    values = np.random.default_rng(0).random((9000, 2)).astype(np.float32)
    spikes = encode_latency(values, 0.0, 1.0)
    assert spikes.n_samples == 9000
    np.testing.assert_array_equal(spikes.first_times(), latency(values, 0.0, 1.0))


def test_encode_latency_of_no_samples_is_empty():
    spikes = encode_latency(np.zeros((0, 5)), 0.0, 1.0)
    assert (spikes.n_samples, spikes.n_neurons, spikes.n_events) == (0, 5, 0)


def test_encode_latency_leaves_its_argument_alone():
    values = np.array([[0.0, 0.5]])
    encode_latency(values, 0.0, 1.0)
    assert values.tolist() == [[0.0, 0.5]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [[0.5, np.nan]]}, "sample 0, feature 1 is nan"),
        ({"values": [[0.5], [1.5]]}, "sample 1, feature 0 is 1.5; must lie in .0, 1."),
        ({"values": np.full((5000, 1), 0.5) - np.eye(5000, 1, -4999)}, "sample 4999, feature 0 is -0.5"),
        ({"values": np.array([[255]], dtype=np.uint8)}, "divide 8-bit pixels by 255"),
        ({"values": [0.5]}, r"shape \(1,\)"),
        ({"values": [["a"]]}, "real numbers"),
        ({"t_early": -1.0}, "encode_latency.t_early: must be a finite number and >= 0, got -1.0"),
        ({"t_early": np.nan}, "t_early"),
        ({"t_late": np.inf}, "t_late: must be a finite number"),
        ({"t_late": 1.0}, "t_late: must be a finite number and > 1, got 1.0"),
        ({"t_late": "2"}, "t_late"),
        ({"threshold": 1.0}, "threshold: must be below 1"),
        ({"threshold": -0.1}, "threshold: must be a finite number and >= 0"),
        ({"threshold": np.nan}, "threshold"),
    ],
)
def test_encode_latency_refuses_bad_input(change, message):
    good = {"values": [[0.5, 1.0]], "t_early": 1.0, "t_late": 2.0, "threshold": 0.0}
    encode_latency(**good)
    with pytest.raises(ValidationError, match=message):
        encode_latency(**(good | change))


def test_encode_latency_steps_takes_the_nearest_step():
    # 8-bit pixels and 100 steps: no pixel lies half-way between two, and float64 finds the nearest of all
    pixels = np.arange(64, 256)
    exact = [round((1 - Fraction(int(p), 255)) * 100) for p in pixels]
    spikes = encode_latency_steps((pixels / 255)[None], n_steps=100)
    assert spikes.first_times()[0].tolist() == exact
    assert spikes.n_events == pixels.size
    narrow = encode_latency_steps((pixels / 255)[None].astype(np.float32), n_steps=100)
    assert narrow == spikes


@given(VALUES, st.integers(1, 7), st.floats(0, 1))
def test_encode_latency_steps_loses_no_value_from_the_threshold_on(values, n_steps, threshold):
    spikes = encode_latency_steps(values, n_steps, dt=0.5, threshold=threshold)
    first = spikes.first_times()
    assert np.array_equal(np.isfinite(first), values >= threshold)
    assert spikes.n_events == np.isfinite(first).sum()
    steps = spikes.times / 0.5
    assert np.array_equal(steps, np.floor(steps))
    assert (steps < n_steps).all()
    bright = values[spikes.samples, spikes.neurons]
    # half a step of rounding; a whole one where the end of the grid is moved into the last step
    assert (np.abs((1 - bright) * n_steps - steps) <= np.where(steps == n_steps - 1, 1.0, 0.5)).all()


def test_encode_latency_steps_at_its_borders():
    below = np.nextafter(0.25, 0.0)
    inf = np.inf
    assert encode_latency_steps([[0.25, below, 1.0]], 100).first_times().tolist() == [[75.0, inf, 0.0]]
    narrow = np.array([[0.25, np.nextafter(np.float32(0.25), np.float32(0))]], np.float32)
    assert encode_latency_steps(narrow, 100).first_times().tolist() == [[75.0, inf]]
    # t = n_steps, and what rounds to it, is the last step
    assert encode_latency_steps([[0.0, 0.004, 0.006]], 100, threshold=0.0).first_times().tolist() == [[99.0] * 3]
    assert encode_latency_steps([[1.0, 0.5, 0.25]], 1).first_times().tolist() == [[0.0, 0.0, 0.0]]
    # half-way: the even step
    assert encode_latency_steps([[0.75, 0.25]], 2).first_times().tolist() == [[0.0, 1.0]]
    assert encode_latency_steps([[0.875, 0.625, 0.375]], 4).first_times().tolist() == [[0.0, 2.0, 2.0]]
    assert encode_latency_steps([[1.0, 0.99]], 100, threshold=1.0).first_times().tolist() == [[0.0, inf]]


def test_encode_latency_steps_is_encode_latency_on_the_grid():
    values = np.random.default_rng(0).random((50, 20))
    values[values < 0.25] = 0.0
    exact = encode_latency(values, 0.0, 40.0)
    assert np.array_equal(encode_latency_steps(values, 40).to_dense(1.0, 40), exact.to_dense(1.0, 40))


def test_encode_latency_rc_is_the_formula():
    values = np.array([[0.2, 0.2 + 1e-15, 0.2 + 1e-9, 0.21, 0.5, 1.0, 0.1, 0.0]])
    first = encode_latency_rc(values, tau=20e-3).first_times()[0]
    with workdps(40):
        for x, t in zip(values[0], first, strict=True):
            if x <= 0.2:
                assert t == np.inf
            else:
                exact = mpf("0.02") * mp.log(mpf(x) / (mpf(x) - mpf(0.2)))
                # a handful of roundings; x - threshold is exact where it is small; 0.02 itself has one
                assert t == pytest.approx(float(exact), rel=2e-15)


def test_encode_latency_rc_of_small_thresholds_keeps_its_digits():
    first = encode_latency_rc([[1.0, 0.5]], tau=1.0, threshold=1e-12).first_times()
    np.testing.assert_allclose(first, [[1e-12 + 5e-25, 2e-12 + 2e-24]], rtol=1e-15)  # log(1 + q) and three roundings


def test_encode_latency_rc_charges_to_the_threshold():
    values = np.random.default_rng(1).uniform(0.3, 1.0, (5, 9)).astype(np.float32)
    first = encode_latency_rc(values, tau=3.0, threshold=0.25).first_times()
    np.testing.assert_allclose(values * (1 - np.exp(-first / 3.0)), 0.25, rtol=1e-14)  # four roundings, no cancellation


def test_encode_latency_rc_leaves_out_late_spikes():
    values = np.random.default_rng(2).random((30, 20))
    full = encode_latency_rc(values, tau=1.0, threshold=0.1).first_times()
    t_max = np.sort(full[np.isfinite(full)])[200]
    cut = encode_latency_rc(values, tau=1.0, threshold=0.1, t_max=t_max).first_times()
    np.testing.assert_array_equal(cut, np.where(full < t_max, full, np.inf))
    assert np.isfinite(cut).sum() == 200
    on_grid = encode_latency_rc(values, tau=1.0, threshold=0.1, t_max=(10 - 0.5) * 0.05)
    assert on_grid.to_dense(0.05, 10).sum() == on_grid.n_events == (full < 0.475).sum()


@pytest.mark.parametrize("encode", [lambda x: encode_latency_steps(x, 10), lambda x: encode_latency_rc(x, 1.0)])
def test_other_codes_go_on_across_blocks_and_leave_their_argument(encode):
    values = np.random.default_rng(3).random((1500, 1000))
    before = values.copy()
    spikes = encode(values)
    assert np.array_equal(values, before)
    assert spikes[1400:1410] == encode(values[1400:1410])
    empty = encode(np.zeros((0, 5)))
    assert (empty.n_samples, empty.n_neurons, empty.n_events) == (0, 5, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [[0.5, np.nan]]}, "encode_latency_steps.values: sample 0, feature 1 is nan"),
        ({"values": np.array([[255]], dtype=np.uint8)}, "is 255; must lie in .0, 1. .divide 8-bit pixels by 255"),
        ({"values": np.zeros((2, 3, 4))}, r"real numbers of shape \(n_samples, n_features\), got shape \(2, 3, 4\)"),
        ({"n_steps": 0}, "encode_latency_steps.n_steps: must be an integer >= 1 .*got 0"),
        ({"n_steps": 10.0}, "n_steps: must be an integer >= 1 .*got 10.0"),
        ({"n_steps": True}, "n_steps: must be an integer >= 1"),
        ({"dt": 0.0}, "encode_latency_steps.dt: must be a finite number and > 0, got 0.0"),
        ({"dt": 1e308}, r"encode_latency_steps.dt: n_steps \* dt must be finite, got dt=1e\+308"),
        ({"threshold": 1.5}, "threshold: must lie in .0, 1., got 1.5: nothing would spike"),
        ({"threshold": -0.1}, "threshold: must be a finite number and >= 0"),
        ({"threshold": None}, "threshold: must be a finite number and >= 0, got None"),
    ],
)
def test_encode_latency_steps_refuses_bad_input(change, message):
    good = {"values": [[0.5, 1.0]], "n_steps": 10, "dt": 1.0, "threshold": 0.25}
    encode_latency_steps(**good)
    with pytest.raises(ValidationError, match=message):
        encode_latency_steps(**(good | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [[0.5], [1.5]]}, "encode_latency_rc.values: sample 1, feature 0 is 1.5"),
        ({"tau": 0.0}, "encode_latency_rc.tau: must be a finite number and > 0, got 0.0"),
        ({"threshold": 0.0}, "encode_latency_rc.threshold: must be a finite number and > 0, got 0.0"),
        ({"threshold": 1.0}, "encode_latency_rc.threshold: must be below 1, got 1.0: nothing would spike"),
        ({"t_max": 0.0}, "encode_latency_rc.t_max: must be a finite number and > 0"),
        ({"t_max": np.nan}, "encode_latency_rc.t_max: must be a finite number"),
    ],
)
def test_encode_latency_rc_refuses_bad_input(change, message):
    good = {"values": [[0.5, 1.0]], "tau": 1.0, "threshold": 0.2, "t_max": np.inf}
    encode_latency_rc(**good)
    with pytest.raises(ValidationError, match=message):
        encode_latency_rc(**(good | change))
