"""Exponential of an array in a form that LLVM vectorises; the library's scalar one costs four times as much."""

from __future__ import annotations

import math

import numba
import numba.extending
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


_LOG2_E_SINGLE = np.float32(_LOG2_E)
_LN2_HIGH_SINGLE = np.float32(0.693359375)  # ln 2 to 9 bits: a whole number below 2^15 times it is exact
_LN2_LOW_SINGLE = np.float32(-2.12194440e-4)
_ROUND_SINGLE = np.float32(12582912.0)  # 1.5 * 2^23
_BIAS_SINGLE = np.int32(127 << 23)
_TERMS_SINGLE = tuple(np.float32(1.0 / math.factorial(k)) for k in range(7, 1, -1))
_TERMS = tuple(1.0 / math.factorial(k) for k in range(13, 1, -1))
_ONE_SINGLE, _ZERO_SINGLE = np.float32(1.0), np.float32(0.0)
_LOWEST_SINGLE, _LOWEST = np.float32(87.0), 708.0  # where exp(-z) is about to leave the normal numbers


@kernel(fastmath={"contract"}, inline=True)
def _decay_single(z):
    near = _LOWEST_SINGLE if z > _LOWEST_SINGLE else z
    m = np.float32(_ROUND_SINGLE - near * _LOG2_E_SINGLE)
    power = np.int32((m.view(np.int32) << 23) + _BIAS_SINGLE).view(np.float32)
    m -= _ROUND_SINGLE
    r = (-near - m * _LN2_HIGH_SINGLE) - m * _LN2_LOW_SINGLE
    series = _TERMS_SINGLE[0]
    for k in range(1, 6):
        series = series * r + _TERMS_SINGLE[k]
    return _ZERO_SINGLE if z > _LOWEST_SINGLE else power * (_ONE_SINGLE + (r + r * r * series))


@kernel(fastmath={"contract"}, inline=True)
def _decay_double(z):
    near = _LOWEST if z > _LOWEST else z
    m = np.float64(_ROUND - near * _LOG2_E)
    power = np.int64((m.view(np.int64) << 52) + _BIAS).view(np.float64)
    m -= _ROUND
    r = (-near - m * _LN2_HIGH) - m * _LN2_LOW
    series = _TERMS[0]
    for k in range(1, 12):
        series = series * r + _TERMS[k]
    return 0.0 if z > _LOWEST else power * (1.0 + (r + r * r * series))


def exp_decay(z):
    """exp(-z) of a float32 or float64 scalar in its own precision, so written that a loop over it is vectorised.

    As in `exp_rows`; within 1 ulp for float32 (series to r^7) and float64 (to r^13). Beyond z = 87 or 708, a little
    before the result would leave the normal numbers, it is 0. z must not be below -87 or -708.
    """
    return _decay_single(z) if isinstance(z, np.float32) else _decay_double(np.float64(z))


@numba.extending.overload(exp_decay, jit_options={"forceinline": True, "nogil": True})
def _exp_decay_by_type(z):
    """numba chooses by the type of z while it compiles."""
    return (lambda z: _decay_single(z)) if z == numba.types.float32 else (lambda z: _decay_double(z))
