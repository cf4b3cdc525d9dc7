import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsnn import Spikes, ValidationError, decode_first_spike

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
