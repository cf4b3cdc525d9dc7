"""Exponential of an array in a form that LLVM vectorises; the library's scalar one costs four times as much."""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.constants import EXPONENTIAL, POWER, REDUCED
from eventsnn.kernels.jit import kernel

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 to 33 bits: a whole number below 2^20 times it is exact
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to a whole number, which the lowest bits then hold
_BIAS = np.int64(1023 << 52)


@kernel(fastmath={"contract"})
def exp_rows(floats, bits, n):
    """floats[EXPONENTIAL] = exp(floats[REDUCED]) for n numbers in [-700, 700]; within 1 ulp.

    x = m ln 2 + r with |r| <= ln 2/2. The series in r is cut after r^13, with a relative error below 2^-57.
    `bits`: the memory of floats[POWER] as int64; the rows REDUCED and POWER are overwritten.
    """
    for i in range(n):
        m = floats[REDUCED, i] * _LOG2_E + _ROUND
        floats[POWER, i] = m
        m -= _ROUND
        floats[REDUCED, i] = (floats[REDUCED, i] - m * _LN2_HIGH) - m * _LN2_LOW
    for i in range(n):
        bits[i] = (bits[i] << 52) + _BIAS
    for i in range(n):
        r = floats[REDUCED, i]
        series = 1.0 / 6227020800.0
        series = series * r + 1.0 / 479001600.0
        series = series * r + 1.0 / 39916800.0
        series = series * r + 1.0 / 3628800.0
        series = series * r + 1.0 / 362880.0
        series = series * r + 1.0 / 40320.0
        series = series * r + 1.0 / 5040.0
        series = series * r + 1.0 / 720.0
        series = series * r + 1.0 / 120.0
        series = series * r + 1.0 / 24.0
        series = series * r + 1.0 / 6.0
        series = series * r + 0.5
        floats[EXPONENTIAL, i] = floats[POWER, i] * (1.0 + (r + r * r * series))
