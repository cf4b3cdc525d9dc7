import numpy as np
import pytest

from eventsnn import Spikes, ValidationError
from eventsnn.currents import Currents
from eventsnn.datasets import Dataset, Split
from eventsnn.datasets.base import spikes_from_times


def split(n=4):
    values = np.arange(2.0 * n).reshape(n, 2)
    return Split(Spikes.from_first_times(values), np.arange(n), values)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (1, [1]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        ([2, 0], [2, 0]),
        ([], []),
        (np.array([True, False, False, True]), [0, 3]),
    ],
    ids=str,
)
def test_getitem_selects_spikes_labels_and_values_alike(key, expected):
    chosen = split()[key]
    assert len(chosen) == len(expected)
    assert chosen.labels.tolist() == expected
    np.testing.assert_array_equal(chosen.values, split().values[expected])
    np.testing.assert_array_equal(chosen.spikes.first_times(), split().values[expected])


def test_getitem_does_without_values():
    assert Split(split().spikes, split().labels)[1:].values is None


def test_split_takes_currents():
    images = Split(Currents([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]), np.array([1, 0, 1]))
    assert len(images) == 3
    assert images[[2, 0]].spikes.values.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert images[1].spikes.values.tolist() == [[2.0, 3.0]]
    assert Dataset("d", images, images, images, ("a", "b")).n_inputs == 2


def test_split_refuses_other_lengths():
    with pytest.raises(ValidationError, match=r"4 samples but labels of shape \(3,\)"):
        Split(split().spikes, np.arange(3))
    with pytest.raises(ValidationError, match=r"4 samples but values of shape \(3, 2\)"):
        Split(split().spikes, np.arange(4), np.zeros((3, 2)))


def test_dataset_counts_classes_and_inputs():
    data = Dataset("d", split(), split(), split(), ("a", "b", "c"))
    assert (data.n_classes, data.n_inputs, data.origin) == (3, 2, "generated")


def test_spikes_from_times_scales_and_adds_the_bias():
    spikes = spikes_from_times("f", np.array([[1.0, 2.0]]), 0.5, bias_time=0.25)
    assert spikes.first_times().tolist() == [[0.5, 1.0, 0.125]]


def test_spikes_from_times_jitters_inputs_only_and_stays_non_negative():
    times = np.full((2000, 2), 0.1)
    spikes = spikes_from_times("f", times, 1.0, bias_time=0.9, jitter=0.1, rng=np.random.default_rng(0))
    first = spikes.first_times()
    assert np.all(first[:, 2] == 0.9)
    assert first.min() == 0.0
    # 4,000 normal draws cut at one standard deviation below the mean: 15.9 +- 5 * 0.58 % are set to 0
    assert abs((first[:, :2] == 0).mean() - 0.159) < 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau_syn": 0.0}, "f.tau_syn: must be a finite number and > 0"),
        ({"bias_time": -1.0}, "f.bias_time"),
        ({"jitter": -1.0}, "f.jitter"),
        ({"jitter": np.nan}, "f.jitter"),
    ],
)
def test_spikes_from_times_refuses_bad_input(change, message):
    good = {"tau_syn": 1.0, "bias_time": 1.0, "jitter": 0.0}
    with pytest.raises(ValidationError, match=message):
        spikes_from_times("f", np.zeros((1, 1)), **(good | change), rng=np.random.default_rng(0))
