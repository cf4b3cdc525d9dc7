from __future__ import annotations

import numpy as np
from mpmath import log, mpf, workdps

from eventsnn.kernels.constants import EXPONENT, LOGARITHM, MANTISSA
from eventsnn.kernels.logarithm import log_of_split, split_exponents


def logarithm(values):
    floats = np.full((1 + max(EXPONENT, LOGARITHM, MANTISSA), values.size), np.nan)
    floats[MANTISSA] = values
    split_exponents(floats[MANTISSA].view(np.int64), values.size, floats)
    log_of_split(floats, values.size)
    return floats[LOGARITHM]


def test_log_of_split_is_within_2_ulp():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.uniform(0.5, 2.0, 1000),
            1.0 + rng.choice([-1, 1], 300) * 10.0 ** rng.uniform(-15, -1, 300),
            np.exp(rng.uniform(-700.0, 700.0, 500)),
            np.sqrt(0.5) * (1 + np.arange(-5, 6) * 2.0**-53),
            2.0 ** np.arange(-1022, 1024, 37),
        ]
    )
    found = logarithm(values)
    with workdps(40):
        exact = [log(mpf(float(x))) for x in values]
        errors = [
            abs((mpf(float(a)) - b) / mpf(float(np.spacing(abs(float(b)))))) for a, b in zip(found, exact, strict=True)
        ]
    assert max(errors) <= 2


def test_log_of_split_of_one_is_zero():
    assert logarithm(np.array([1.0])).tolist() == [0.0]


def test_log_of_split_leaves_the_rest_alone():
    floats = np.ones((1 + max(EXPONENT, LOGARITHM, MANTISSA), 4))
    split_exponents(floats[MANTISSA].view(np.int64), 2, floats)
    log_of_split(floats, 2)
    assert floats[:, 2:].tolist() == np.ones((len(floats), 2)).tolist()
