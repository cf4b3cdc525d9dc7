import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsnn import Spikes, ValidationError, decode_first_spike, decode_max_membrane, decode_rate

INF = np.inf


def test_decode_first_spike_takes_the_earliest():
    labels = decode_first_spike([[3.0, 1.0, 2.0], [INF, INF, 9.0]])
    assert labels.tolist() == [1, 2]
    assert labels.dtype == np.int64


def test_decode_first_spike_takes_the_lowest_index_of_a_tie():
    assert decode_first_spike([[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]]).tolist() == [1, 0]


def test_decode_first_spike_marks_silent_samples():
    assert decode_first_spike([[INF, INF], [INF, 1.0]]).tolist() == [-1, 1]


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0, INF]), min_size=3, max_size=3), min_size=1, max_size=6))
def test_decode_first_spike_of_spikes_is_that_of_their_first_times(first_times):
    expected = [-1 if min(row) == INF else row.index(min(row)) for row in first_times]
    assert decode_first_spike(first_times).tolist() == expected
    assert decode_first_spike(Spikes.from_first_times(first_times)).tolist() == expected


def test_decode_first_spike_of_no_samples_is_empty():
    assert decode_first_spike(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("first_times", "message"),
    [
        ([[1.0, np.nan]], "sample 0, output 1 is nan"),
        ([1.0], r"shape \(1,\)"),
        (np.zeros((2, 0)), "n_outputs >= 1"),
        ([["a"]], "real numbers"),
    ],
)
def test_decode_first_spike_refuses_bad_input(first_times, message):
    with pytest.raises(ValidationError, match=message):
        decode_first_spike(first_times)


def test_decode_rate_takes_the_busiest():
    labels = decode_rate([[0, 3, 1], [0.25, 0.0, 0.5]])
    assert labels.tolist() == [1, 2]
    assert labels.dtype == np.int64


def test_decode_rate_takes_the_lowest_index_of_a_tie_and_marks_silent_samples():
    assert decode_rate([[2, 5, 5], [1, 1, 1], [0, 0, 0]]).tolist() == [1, 0, -1]


def test_decode_rate_counts_spikes():
    spikes = Spikes([0, 0, 0, 2], [1, 1, 0, 0], [1.0, 2.0, 0.5, 3.0], n_samples=3, n_neurons=2)
    assert decode_rate(spikes).tolist() == decode_rate(spikes.counts()).tolist() == [1, -1, 0]


def test_decode_rate_takes_no_samples():
    assert decode_rate(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2], r"decode_rate: must have shape \(n_samples, n_neurons\)"),
        (np.zeros((2, 0)), "with n_neurons >= 1"),
        ([[1, -1]], "decode_rate: must be finite and >= 0, got -1 at sample 0, neuron 1"),
        ([[1, np.nan]], "got nan at sample 0, neuron 1"),
        ([["a"]], "real numbers"),
    ],
)
def test_decode_rate_refuses_bad_input(counts, message):
    with pytest.raises(ValidationError, match=message):
        decode_rate(counts)


@given(st.integers(0, 2**32 - 1))
def test_decode_max_membrane_is_the_argmax_over_steps_and_outputs(seed):
    v = np.random.default_rng(seed).normal(size=(4, 5, 3)).astype(np.float32)
    labels = decode_max_membrane(v)
    assert labels.tolist() == [int(own.argmax()) % 3 for own in v]
    assert decode_max_membrane(v.max(axis=1)).tolist() == labels.tolist()
    assert labels.dtype == np.int64


def test_decode_max_membrane_takes_the_lowest_index_of_a_tie():
    # output 2 comes to 1 first, output 1 later: the index decides, not the step
    assert decode_max_membrane([[[0.0, 0.0, 1.0], [0.5, 1.0, 0.0]], [[-1.0, -1.0, -1.0]] * 2]).tolist() == [1, 0]


def test_decode_max_membrane_takes_no_samples():
    assert decode_max_membrane(np.zeros((0, 4, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("v", "message"),
    [
        ([1.0], r"decode_max_membrane: must be real numbers of shape .* got shape \(1,\)"),
        (np.zeros((1, 0, 2)), "n_steps and n_outputs >= 1"),
        (np.zeros((1, 0)), "n_steps and n_outputs >= 1"),
        ([["a"]], "real numbers"),
        ([[[0.0, 1.0], [np.nan, 2.0]]], "must be finite, got nan at sample 0, step 1, output 0"),
        ([[0.0, np.inf]], "must be finite, got inf at sample 0, output 1"),
    ],
)
def test_decode_max_membrane_refuses_bad_input(v, message):
    with pytest.raises(ValidationError, match=message):
        decode_max_membrane(v)
