"""Double-double arithmetic against exact fractions and 60-digit mpmath."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from mpmath import exp, expm1, log, log1p, mpf, workdps

from eventsnn.kernels.double_double import (
    INVERSE_FACTORIALS,
    LN2_HIGH,
    LN2_LOW,
    dd_add,
    dd_div,
    dd_exp,
    dd_expm1,
    dd_log,
    dd_log1p,
    dd_mul,
    quick_two_sum,
    two_prod,
    two_sum,
)

# One unit of the relative error that a double-double operation may have (Hida, Li, Bailey 2001).
UNIT = 2.0**-104
N = 400


def _numbers(seed: int, low: float, high: float, signed: bool = True) -> list[tuple[float, float]]:
    """Random double-doubles with magnitudes log-uniform between 10^low and 10^high."""
    rng = np.random.default_rng(seed)
    high = 10.0 ** rng.uniform(low, high, N) * (rng.choice([-1.0, 1.0], N) if signed else 1.0)
    low = high * rng.uniform(-1e-16, 1e-16, N)
    return [quick_two_sum(float(a), float(b)) for a, b in zip(high, low, strict=True)]


def _exact(number: tuple[float, float]) -> mpf:
    return mpf(number[0]) + mpf(number[1])


def test_two_sum_and_two_prod_are_exact():
    # Any contraction to a fused multiply-add by the compiler would show here: Fractions know no rounding.
    rng = np.random.default_rng(0)
    for a, b in rng.normal(size=(N, 2)) * 10.0 ** rng.uniform(-20, 20, (N, 2)):
        for function, value in ((two_sum, Fraction(a) + Fraction(b)), (two_prod, Fraction(a) * Fraction(b))):
            high, low = function(float(a), float(b))
            assert Fraction(high) + Fraction(low) == value
            assert high == float(value)


@pytest.mark.parametrize(("function", "exact"), [(dd_add, "+"), (dd_mul, "*"), (dd_div, "/")])
def test_arithmetic_is_right_to_one_unit(function, exact):
    operation = {"+": lambda a, b: a + b, "*": lambda a, b: a * b, "/": lambda a, b: a / b}[exact]
    with workdps(60):
        for a, b in zip(_numbers(1, -5, 5), _numbers(2, -5, 5), strict=True):
            value = operation(_exact(a), _exact(b))
            # Measured: 0.3 units.
            assert abs(_exact(function(*a, *b)) - value) <= UNIT * abs(value)


def test_dd_add_keeps_cancelling_sums():
    with workdps(60):
        for a in _numbers(3, -3, 3):
            b = quick_two_sum(-a[0] * (1.0 + 2.0**-50), a[1])
            value = _exact(a) + _exact(b)
            assert abs(_exact(dd_add(*a, *b)) - value) <= UNIT * abs(value)


@pytest.mark.parametrize(("function", "exact"), [(dd_exp, exp), (dd_expm1, expm1)])
def test_exponentials_are_right_also_for_tiny_and_large_arguments(function, exact):
    with workdps(60):
        for x in _numbers(4, -18, 2.8):
            if function is dd_expm1 and x[0] < -115.0:
                continue
            value = exact(_exact(x))
            # k log 2 is known to 2^-106 relative, so its error in the exponent grows like |x|; |x| <= 630 here.
            assert abs(_exact(function(*x)) - value) <= 8 * UNIT * (1.0 + abs(x[0])) * abs(value)


def test_dd_log1p_is_right_for_tiny_arguments():
    with workdps(60):
        for x in _numbers(5, -25, 6):
            if x[0] > -0.9:
                value = log1p(_exact(x))
                assert abs(_exact(dd_log1p(*x)) - value) <= 8 * UNIT * abs(value)


def test_dd_log_is_right_absolutely():
    with workdps(60):
        for x in _numbers(6, -100, 100, signed=False):
            value = log(_exact(x))
            # exp(-y) inside carries an error that grows like |y|, see dd_exp.
            assert abs(_exact(dd_log(*x)) - value) <= 8 * UNIT * (1.0 + abs(value))


def test_limits_of_the_exponentials():
    assert dd_exp(-1e6, 0.0) == (0.0, 0.0)
    assert dd_exp(1e6, 0.0) == (math.inf, 0.0)
    assert dd_expm1(-1e6, 0.0) == (-1.0, 0.0)
    assert dd_expm1(1e6, 0.0) == (math.inf, 0.0)
    assert dd_expm1(0.0, 0.0) == (0.0, 0.0)
    assert dd_log1p(0.0, 0.0) == (0.0, 0.0)


def test_tables_are_double_doubles_of_their_constants():
    with workdps(60):
        assert abs(_exact((LN2_HIGH, LN2_LOW)) - log(2)) < 2.0**-107
        for n, pair in enumerate(INVERSE_FACTORIALS, start=3):
            assert abs(_exact(pair) * math.factorial(n) - 1) < 2.0**-105
