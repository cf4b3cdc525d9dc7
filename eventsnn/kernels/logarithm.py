"""Natural logarithm of an array in a form that LLVM vectorises; the library's scalar one costs five times as much."""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.constants import EXPONENT, LOGARITHM, MANTISSA
from eventsnn.kernels.jit import kernel

_MANTISSA = np.int64(0x000FFFFFFFFFFFFF)
_HALF = np.int64(0x3FE0000000000000)
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 to 33 bits: exponent * _LN2_HIGH is exact
_LN2_LOW = 1.90821492927058770002e-10
_SQRT_HALF = 0.7071067811865476


@kernel(fastmath={"contract"})
def split_exponents(bits, n, floats):
    """Replace the bits of n positive normal floats by those of their mantissas in [1/2, 1); exponents to `floats`."""
    for i in range(n):
        floats[EXPONENT, i] = float((bits[i] >> 52) - 1022)
        bits[i] = (bits[i] & _MANTISSA) | _HALF


@kernel(fastmath={"contract"})
def log_of_split(floats, n):
    """log(mantissa 2^exponent) = exponent ln 2 + 2 atanh((m - 1)/(m + 1)), m in [sqrt(1/2), sqrt(2)); within 2 ulp.

    |f| <= 0.1716, so the odd series in f is cut after f^21 with a relative error below 2^-56.
    """
    for i in range(n):
        small = floats[MANTISSA, i] < _SQRT_HALF
        m = 2.0 * floats[MANTISSA, i] if small else floats[MANTISSA, i]
        e = floats[EXPONENT, i] - 1.0 if small else floats[EXPONENT, i]
        f = (m - 1.0) / (m + 1.0)
        z = f * f
        series = 1.0 / 21.0
        series = series * z + 1.0 / 19.0
        series = series * z + 1.0 / 17.0
        series = series * z + 1.0 / 15.0
        series = series * z + 1.0 / 13.0
        series = series * z + 1.0 / 11.0
        series = series * z + 1.0 / 9.0
        series = series * z + 1.0 / 7.0
        series = series * z + 1.0 / 5.0
        series = series * z + 1.0 / 3.0
        floats[LOGARITHM, i] = e * _LN2_HIGH + (2.0 * f + (2.0 * f * (z * series) + e * _LN2_LOW))
