import numpy as np
import pytest

from eventsnn import ValidationError
from eventsnn.datasets import load_bars


def name_of(image):
    """What a 3 x 3 image shows, told from its row and column sums."""
    rows, columns = sorted(image.sum(axis=1)), sorted(image.sum(axis=0))
    return {
        ((0, 0, 3), (1, 1, 1)): "horizontal",
        ((1, 1, 1), (0, 0, 3)): "vertical",
        ((1, 1, 1), (1, 1, 1)): "diagonal",
    }[tuple(rows), tuple(columns)]


def test_load_bars_draws_what_the_labels_say():
    data = load_bars()
    for part in (data.train, data.valid, data.test):
        images = part.values.reshape(-1, 3, 3)
        assert [data.class_names[label] for label in part.labels] == [name_of(image) for image in images]
        assert np.bincount(part.labels).tolist() == [len(part) // 3] * 3
    assert len(np.unique(data.train.values, axis=0)) == 8
    diagonals = data.train.values[data.train.labels == 2].reshape(-1, 3, 3)
    assert np.all(diagonals[:, 1, 1] == 1)  # true diagonals, not any permutation


def test_load_bars_makes_bars_early():
    data = load_bars(tau_syn=2.0, t_early=0.5, t_late=1.5, jitter=0.0, bias_time=1.0)
    first = data.train.spikes.first_times()
    np.testing.assert_array_equal(first[:, :9], np.where(data.train.values == 1, 1.0, 3.0))
    assert np.all(first[:, 9] == 2.0)


def test_load_bars_depends_on_its_seed_only():
    assert load_bars().test.spikes == load_bars().test.spikes
    assert load_bars().test.spikes != load_bars(seed=1).test.spikes


def test_load_bars_refuses_bad_input():
    with pytest.raises(ValidationError, match="load_bars.jitter"):
        load_bars(jitter=np.inf)
    with pytest.raises(ValidationError, match="load_bars.n_train"):
        load_bars(n_train=1.0)
    with pytest.raises(ValidationError, match="load_bars.seed"):
        load_bars(seed=-1)
