from __future__ import annotations

import numpy as np
import pytest
from mpmath import exp, mpf, workdps

from eventsnn.kernels.constants import EXPONENTIAL, POWER, REDUCED
from eventsnn.kernels.exponential import exp_decay, exp_rows
from eventsnn.kernels.jit import kernel

N_ROWS = 1 + max(EXPONENTIAL, POWER, REDUCED)


def exponential(values):
    floats = np.full((N_ROWS, values.size), np.nan)
    floats[REDUCED] = values
    exp_rows(floats, floats[POWER].view(np.int64), values.size)
    return floats[EXPONENTIAL]


def test_exp_rows_is_within_1_ulp():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.uniform(0.0, 20.0, 1000),
            rng.uniform(-700.0, 700.0, 500),
            rng.choice([-1, 1], 300) * 10.0 ** rng.uniform(-18, 0, 300),
            np.log(2.0) * (np.arange(-20, 20) + 0.5),  # where the rounded exponent changes
        ]
    )
    found = exponential(values)
    with workdps(40):
        exact = [exp(mpf(float(x))) for x in values]
        errors = [
            abs((mpf(float(a)) - b) / mpf(float(np.spacing(float(b))))) for a, b in zip(found, exact, strict=True)
        ]
    assert max(errors) <= 1


def test_exp_rows_of_zero_is_one():
    assert exponential(np.array([0.0, -0.0])).tolist() == [1.0, 1.0]


def test_exp_rows_leaves_the_rest_alone():
    floats = np.ones((N_ROWS, 4))
    exp_rows(floats, floats[POWER].view(np.int64), 2)
    assert floats[:, 2:].tolist() == np.ones((N_ROWS, 2)).tolist()


@kernel
def decay_all(values):
    """The loop of a caller, in place."""
    for i in range(values.size):
        values[i] = exp_decay(values[i])


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 87.0), (np.float64, 708.0)])
def test_exp_decay_is_within_1_ulp_in_its_own_type(dtype, largest):
    rng = np.random.default_rng(1)
    edges = np.log(2.0) * (np.arange(0, 20) + 0.5)  # where the rounded exponent changes
    parts = [rng.uniform(0.0, largest, 1000), rng.uniform(0.0, 2.0, 500), 10.0 ** rng.uniform(-18, 0, 300), edges]
    values = np.concatenate([*parts, [largest]]).astype(dtype)
    found = values.copy()
    decay_all(found)
    with workdps(40):
        exact = [exp(-mpf(float(z))) for z in values]
        errors = [
            abs((mpf(float(a)) - b) / mpf(float(np.spacing(dtype(b))))) for a, b in zip(found, exact, strict=True)
        ]
    assert max(errors) <= 1


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 87.0), (np.float64, 708.0)])
def test_exp_decay_at_the_ends(dtype, largest):
    beyond = np.nextafter(dtype(largest), dtype(np.inf))
    values = np.array([0.0, -0.0, largest, beyond, 1e30, np.inf, np.nan], dtype)
    decay_all(values)
    assert values[:2].tolist() == [1.0, 1.0]
    assert values[2] >= np.finfo(dtype).smallest_normal
    assert values[3:6].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(values[6])
