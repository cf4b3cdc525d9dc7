from __future__ import annotations

import numpy as np
from mpmath import exp, mpf, workdps

from eventsnn.kernels.constants import EXPONENTIAL, POWER, REDUCED
from eventsnn.kernels.exponential import exp_rows

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
