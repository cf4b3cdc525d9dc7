import numpy as np
import pytest

from eventsnn import ValidationError
from eventsnn.datasets import load_xor


def test_load_xor_labels_what_differs():
    data = load_xor()
    for part in (data.train, data.valid, data.test):
        np.testing.assert_array_equal(part.labels, (part.values[:, 0] != part.values[:, 1]).astype(int))
        patterns, counts = np.unique(part.values, axis=0, return_counts=True)
        assert len(patterns) == 4
        assert np.all(counts == len(part) / 4)
    assert (data.n_inputs, data.n_classes) == (3, 2)


def test_load_xor_makes_ones_early():
    data = load_xor(tau_syn=2.0, t_early=0.5, t_late=1.5, bias_time=0.25)
    first = data.train.spikes.first_times()
    np.testing.assert_array_equal(first[:, :2], np.where(data.train.values == 1, 1.0, 3.0))
    assert np.all(first[:, 2] == 0.5)
    assert load_xor(bias_time=None).n_inputs == 2


def test_load_xor_depends_on_its_seed_only():
    first, again, other = load_xor(jitter=0.1), load_xor(jitter=0.1), load_xor(jitter=0.1, seed=1)
    assert first.train.spikes == again.train.spikes
    assert first.train.spikes != other.train.spikes
    assert first.valid.spikes != first.test.spikes


def test_load_xor_refuses_bad_input():
    with pytest.raises(ValidationError, match="load_xor.jitter"):
        load_xor(jitter=-0.1)
    with pytest.raises(ValidationError, match="load_xor.n_valid"):
        load_xor(n_valid=-1)
    with pytest.raises(ValidationError, match="load_xor.t_late"):
        load_xor(t_early=2.0)


def test_load_xor_has_complements_on_request():
    data = load_xor(tau_syn=1.0, t_early=0.5, t_late=1.5, bias_time=None, complements=True)
    times = data.train.spikes.first_times()
    assert times.shape == (400, 4)
    np.testing.assert_array_equal(times[:, :2] + times[:, 2:], 2.0)  # where one is early, the other is late
    np.testing.assert_array_equal(data.train.labels, load_xor().train.labels)
