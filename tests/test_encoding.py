import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eventsnn import ValidationError, encode_latency
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
