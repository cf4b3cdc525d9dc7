import numpy as np
import pytest

from eventsnn import ValidationError
from eventsnn.datasets import load_single_in_single_out


def test_load_single_in_single_out_has_one_spike_and_one_class():
    data = load_single_in_single_out(tau_syn=2.0, time=1.5, n_train=3)
    assert (data.n_inputs, data.n_classes, len(data.train), len(data.test)) == (1, 1, 3, 1)
    np.testing.assert_array_equal(data.train.spikes.first_times(), np.full((3, 1), 3.0))
    np.testing.assert_array_equal(data.train.labels, np.zeros(3, dtype=np.int64))


def test_load_single_in_single_out_moves_the_spike():
    data = load_single_in_single_out(tau_syn=1.0, time=0.5, jitter=0.5, n_train=2000)
    times = data.train.spikes.first_times()
    assert times.min() == 0.0  # a draw more than one standard deviation early counts as 0
    assert np.median(times) == pytest.approx(0.5, abs=5 * 1.25 * 0.5 / np.sqrt(2000))  # five standard errors
    again = load_single_in_single_out(tau_syn=1.0, time=0.5, jitter=0.5, n_train=2000)
    assert again.train.spikes == data.train.spikes


def test_load_single_in_single_out_refuses_bad_input():
    with pytest.raises(ValidationError, match=r"load_single_in_single_out\.time"):
        load_single_in_single_out(time=-1.0)
    with pytest.raises(ValidationError, match=r"load_single_in_single_out\.n_test"):
        load_single_in_single_out(n_test=-1)
