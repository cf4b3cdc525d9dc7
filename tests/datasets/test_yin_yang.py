from pathlib import Path

import numpy as np
import pytest

from eventsnn import ValidationError
from eventsnn.datasets import generate_yin_yang, load_yin_yang, yin_yang_class

RECORD = Path(__file__).parents[1] / "data" / "fastanddeep_yin_yang_H30_W.npz"


def published(n_samples, seed, r_small=0.1, r_big=0.5):
    """The generator as the paper describes it, sample by sample, in numpy scalars: an oracle."""
    rng = np.random.RandomState(seed)
    rows = []
    for _ in range(n_samples):
        goal = rng.randint(3)
        found = None
        while found != goal:
            x, y = rng.rand(2) * 2.0 * r_big
            if np.sqrt((x - r_big) ** 2 + (y - r_big) ** 2) > r_big:
                continue
            d_right = np.sqrt((x - 1.5 * r_big) ** 2 + (y - r_big) ** 2)
            d_left = np.sqrt((x - 0.5 * r_big) ** 2 + (y - r_big) ** 2)
            is_yin = (
                d_right <= r_small
                or (d_left > r_small and d_left <= 0.5 * r_big)
                or (y > r_big and d_right > 0.5 * r_big)
            )
            found = 2 if d_right < r_small or d_left < r_small else int(is_yin)
        rows.append((x, y, 1 - x, 1 - y, found))
    table = np.array(rows)
    return table[:, :4], table[:, 4].astype(np.int64)


def test_test_set_is_the_one_fastanddeep_recorded():
    with np.load(RECORD) as record:
        times, labels = record["input_times"], record["labels"]
    data = load_yin_yang(tau_syn=1.0, n_train=0, n_valid=0)
    # the record holds float64 in the same arithmetic: equal bits, no tolerance
    np.testing.assert_array_equal(data.test.spikes.first_times(), times)
    np.testing.assert_array_equal(data.test.labels, labels)


@pytest.mark.parametrize(("seed", "n_samples"), [(42, 5000), (41, 1000), (7, 300)])
def test_generate_yin_yang_agrees_bit_for_bit_with_the_published_procedure(seed, n_samples):
    values, labels = generate_yin_yang(n_samples, seed)
    expected_values, expected_labels = published(n_samples, seed)
    np.testing.assert_array_equal(values, expected_values)
    np.testing.assert_array_equal(labels, expected_labels)


def test_load_yin_yang_defaults_are_the_published_parts():
    data = load_yin_yang()
    assert [len(part) for part in (data.train, data.valid, data.test)] == [5000, 1000, 1000]
    assert data.class_names == ("yin", "yang", "dot")
    assert (data.n_inputs, data.n_classes, data.origin) == (4, 3, "generated")
    for part, seed in ((data.train, 42), (data.valid, 41), (data.test, 40)):
        np.testing.assert_array_equal(part.values, generate_yin_yang(len(part), seed)[0])
    # times in seconds, from 0.15 to 2 tau_syn; rtol for two multiplications in another order
    np.testing.assert_allclose(
        data.test.spikes.first_times(), 5e-3 * (0.15 + data.test.values * 1.85), rtol=4 * np.finfo(float).eps
    )


def test_load_yin_yang_adds_a_bias_spike():
    first = load_yin_yang(tau_syn=2.0, bias_time=0.9, n_train=5, n_valid=0, n_test=0).train.spikes.first_times()
    assert first.shape == (5, 5)
    assert np.all(first[:, 4] == 1.8)


def test_yin_yang_class_of_points_and_arrays_agree():
    values, labels = generate_yin_yang(200, 3)
    np.testing.assert_array_equal(yin_yang_class(values[:, 0], values[:, 1]), labels)
    assert [yin_yang_class(float(x), float(y)) for x, y in values[:, :2]] == labels.tolist()


@pytest.mark.parametrize(
    ("x", "y", "label"),
    [
        (0.25, 0.5, 2),  # the dots, their centres and their borders
        (0.75, 0.5, 2),
        (0.25, 0.35, 1),  # in the left half circle
        (0.75, 0.65, 0),  # in the right half circle
        (0.5, 0.95, 1),  # upper rest
        (0.5, 0.05, 0),  # lower rest
        (0.02, 0.02, -1),  # outside the disc
        (1.0, 1.0, -1),
    ],
)
def test_yin_yang_class_of_known_points(x, y, label):
    assert yin_yang_class(x, y) == label


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau_syn": 0.0}, "load_yin_yang.tau_syn"),
        ({"t_early": -0.1}, "load_yin_yang.t_early"),
        ({"t_late": 0.1}, "load_yin_yang.t_late"),
        ({"bias_time": np.nan}, "load_yin_yang.bias_time"),
        ({"n_train": -1}, "load_yin_yang.n_train: must be an integer >= 0"),
        ({"n_test": 1.5}, "load_yin_yang.n_test"),
        ({"seeds": (1, 2)}, "three integers"),
        ({"seeds": (1, 2, -1)}, "load_yin_yang.seeds"),
    ],
)
def test_load_yin_yang_refuses_bad_input(arguments, message):
    with pytest.raises(ValidationError, match=message):
        load_yin_yang(**({"n_train": 1, "n_valid": 1, "n_test": 1} | arguments))


@pytest.mark.parametrize(("r_small", "r_big"), [(0.0, 0.5), (0.3, 0.5), (0.1, 0.6), (np.nan, 0.5)])
def test_generate_yin_yang_refuses_radii_that_do_not_fit(r_small, r_big):
    with pytest.raises(ValidationError, match="radii"):
        generate_yin_yang(1, 0, r_small, r_big)
