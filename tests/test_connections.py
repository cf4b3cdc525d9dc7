import dataclasses

import numpy as np
import pytest

from eventsnn import Dense, ValidationError


@pytest.mark.parametrize(
    ("dtype", "kept"), [("float32", "float32"), ("float64", "float64"), ("float16", "float64"), ("int64", "float64")]
)
def test_dense_keeps_float32_and_makes_the_rest_float64(dtype, kept):
    dense = Dense(np.arange(6).reshape(2, 3).astype(dtype))
    assert dense.weight.dtype == kept
    assert dense.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (dense.n_pre, dense.n_post) == (2, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_copies_into_contiguous_rows(dtype):
    given = np.arange(6, dtype=dtype).reshape(2, 3).T
    dense = Dense(given)
    given[:] = -1
    assert dense.weight.flags.c_contiguous
    assert dense.weight.tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 2.0], r"shape \(n_pre, n_post\), both >= 1, got \(2,\)"),
        (np.zeros((0, 3)), r"got \(0, 3\)"),
        (np.zeros((3, 0)), r"got \(3, 0\)"),
        ([[1.0, np.nan]], r"must be finite, got nan at \[0, 1\]"),
        (np.array([[1.0], [np.inf]], dtype=np.float32), r"must be finite, got inf at \[1, 0\]"),
        ([["1.0"]], "must hold real numbers"),
        ([[1j]], "must hold real numbers"),
        ([[None]], "must hold real numbers"),
    ],
)
def test_dense_refuses_bad_weights(weight, message):
    with pytest.raises(ValidationError, match=f"Dense.weight: .*{message}"):
        Dense(weight)


def test_dense_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dense(np.ones((1, 1))).weight = np.zeros((1, 1))


def test_normal_draws_from_the_given_generator():
    dense = Dense.normal(200, 100, mean=1.5, std=0.5, rng=np.random.default_rng(3))
    again = Dense.normal(200, 100, mean=1.5, std=0.5, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(dense.weight, again.weight)
    # 20,000 draws: five standard errors of mean (0.0035) and standard deviation (0.0025)
    assert abs(dense.weight.mean() - 1.5) < 0.018
    assert abs(dense.weight.std() - 0.5) < 0.013


def test_dense_repr_shows_sizes_and_type():
    assert repr(Dense(np.ones((2, 3), dtype=np.float32))) == "Dense(2 -> 3, float32)"
