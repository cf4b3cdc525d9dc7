from __future__ import annotations

import numpy as np
import pytest

from eventsnn.training.effective_weights import clamp_weights, round_weights


def rounded(values, step, weight_max=None, dtype=np.float64):
    weight = np.array(values, dtype)
    out = np.empty_like(weight)
    round_weights(weight, out, step, weight_max)
    assert out.dtype == dtype
    assert (weight == np.array(values, dtype)).all()
    return out


def test_clamp_weights_clamps_in_place():
    weight = np.array([[-3.0, -2.0, 0.5, 2.5]], np.float32)
    clamp_weights(weight, 2.0)
    assert weight.tolist() == [[-2.0, -2.0, 0.5, 2.0]]
    clamp_weights(weight, None)
    assert weight.tolist() == [[-2.0, -2.0, 0.5, 2.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_weights_takes_the_nearest_multiple(dtype):
    values = [-0.74, -0.125, 0.1, 0.125, 0.375, 0.38, 5.1]
    # halves go to the even multiple: 0.5 -> 0, 1.5 -> 2
    assert rounded(values, 0.25, dtype=dtype).tolist() == [-0.75, 0.0, 0.0, 0.0, 0.5, 0.5, 5.0]
    assert (rounded(values, None, dtype=dtype) == np.array(values, dtype)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_weights_stays_within_the_largest_weight(dtype):
    # 1 is not a multiple of 0.3: the last one below it is 0.9, although 1 would be rounded to it and 1.1 to 1.2
    out = rounded([1.1, -1.1, 1.0, 0.2], 0.3, 1.0, dtype)
    assert np.rint(out / dtype(0.3)).tolist() == [3.0, -3.0, 3.0, 1.0]
    # whole numbers of steps that do not divide exactly: 0.3/0.1 is just below 3, 2.1/0.0333333 just above 63
    assert np.rint(rounded([0.31, -9.0], 0.1, 0.3, dtype) / dtype(0.1)).tolist() == [3.0, -3.0]
    assert np.rint(rounded([2.1], 0.0333333, 2.1, dtype) / dtype(0.0333333)).tolist() == [63.0]


def test_round_weights_in_place_is_allowed():
    weight = np.array([0.6, -0.6])
    round_weights(weight, weight, 0.5)
    assert weight.tolist() == [0.5, -0.5]
