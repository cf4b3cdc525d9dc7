"""Double-double arithmetic: numbers of about 32 digits as unevaluated sums (high, low) of two float64.

Used only where a comparison in float64 falls inside its own error bound. Relative error of one operation is about
2^-104 unless stated otherwise. Products use Dekker's splitting, so magnitudes must stay between 1e-140 and 1e290;
there is no test for this.

References: Dekker 1971, Numer. Math. 18:224 (splitting); Knuth, TAOCP 2, 4.2.2 (two_sum); Hida, Li, Bailey 2001,
Proc. 15th IEEE Symp. Computer Arithmetic (double-double add, multiply, divide).
"""

from __future__ import annotations

import math

from eventsnn.kernels.jit import kernel

SPLITTER = 134217729.0  # 2^27 + 1
LN2_HIGH = 0.6931471805599453
LN2_LOW = 2.3190468138462996e-17

# 1/n! for n = 3 ... 12 as double-doubles, for dd_expm1.
INVERSE_FACTORIALS = (
    (0.16666666666666666, 9.25185853854297e-18),
    (0.041666666666666664, 2.3129646346357427e-18),
    (0.008333333333333333, 1.1564823173178714e-19),
    (0.001388888888888889, -5.300543954373577e-20),
    (0.0001984126984126984, 1.7209558293420705e-22),
    (2.48015873015873e-05, 2.1511947866775882e-23),
    (2.7557319223985893e-06, -1.858393274046472e-22),
    (2.755731922398589e-07, 2.3767714622250297e-23),
    (2.505210838544172e-08, -1.448814070935912e-24),
    (2.08767569878681e-09, -1.20734505911326e-25),
)


@kernel
def two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b exactly: the rounded sum and its rounding error (Knuth)."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


@kernel
def quick_two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b exactly where |a| >= |b| (Dekker)."""
    high = a + b
    return high, b - (high - a)


@kernel
def split(a: float) -> tuple[float, float]:
    """a as a sum of two numbers of at most 26 bits (Veltkamp)."""
    scaled = SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high


@kernel
def two_prod(a: float, b: float) -> tuple[float, float]:
    """a * b exactly: the rounded product and its rounding error (Dekker)."""
    product = a * b
    a_high, a_low = split(a)
    b_high, b_low = split(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@kernel
def dd_add(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    """a + b, relative error 2^-104 also where the high parts cancel."""
    high, low = two_sum(a, b)
    tail, rest = two_sum(a_low, b_low)
    high, low = quick_two_sum(high, low + tail)
    return quick_two_sum(high, low + rest)


@kernel
def dd_mul(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    """a * b."""
    high, low = two_prod(a, b)
    return quick_two_sum(high, low + (a * b_low + a_low * b))


@kernel
def dd_div(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    """a / b by long division with three quotient digits; b != 0."""
    first = a / b
    product, product_low = dd_mul(b, b_low, first, 0.0)
    a, a_low = dd_add(a, a_low, -product, -product_low)
    second = a / b
    product, product_low = dd_mul(b, b_low, second, 0.0)
    a, a_low = dd_add(a, a_low, -product, -product_low)
    third = a / b
    high, low = quick_two_sum(first, second)
    return dd_add(high, low, third, 0.0)


@kernel
def _expm1_reduced(x: float, x_low: float) -> tuple[float, float]:
    """exp(x) - 1 for |x| <= 0.36, to full relative precision for small x.

    Taylor series of y = x/64 up to y^12/12! (the next term is below 2^-104 y), then six times
    expm1(2y) = expm1(y) (2 + expm1(y)), which amplifies no error.
    """
    y, y_low = x / 64.0, x_low / 64.0
    total, total_low = INVERSE_FACTORIALS[-1]
    for n in range(len(INVERSE_FACTORIALS) - 2, -1, -1):
        total, total_low = dd_mul(total, total_low, y, y_low)
        coefficient, coefficient_low = INVERSE_FACTORIALS[n]
        total, total_low = dd_add(total, total_low, coefficient, coefficient_low)
    # total = 1/3! + y/4! + ...; e = y + y^2/2 + y^3 total
    square, square_low = dd_mul(y, y_low, y, y_low)
    total, total_low = dd_mul(total, total_low, y, y_low)
    total, total_low = dd_add(total, total_low, 0.5, 0.0)
    total, total_low = dd_mul(total, total_low, square, square_low)
    e, e_low = dd_add(y, y_low, total, total_low)
    for _ in range(6):
        factor, factor_low = dd_add(2.0, 0.0, e, e_low)
        e, e_low = dd_mul(e, e_low, factor, factor_low)
    return e, e_low


@kernel
def dd_expm1(x: float, x_low: float) -> tuple[float, float]:
    """exp(x) - 1; relative error about (1 + |x|) 2^-102; -1 far below, (inf, 0) above 709."""
    if x > 709.0:
        return math.inf, 0.0
    if x < -120.0:
        return -1.0, 0.0
    if -0.36 <= x <= 0.36:
        return _expm1_reduced(x, x_low)
    scale, scale_low = dd_exp(x, x_low)
    return dd_add(scale, scale_low, -1.0, 0.0)


@kernel
def dd_exp(x: float, x_low: float) -> tuple[float, float]:
    """exp(x) = 2^k exp(x - k log 2); relative error about (1 + |x|) 2^-102; 0 below -700, (inf, 0) above 709."""
    if x > 709.0:
        return math.inf, 0.0
    if x < -700.0:
        return 0.0, 0.0
    k = math.floor(x / LN2_HIGH + 0.5)
    shift, shift_low = dd_mul(LN2_HIGH, LN2_LOW, float(k), 0.0)
    x, x_low = dd_add(x, x_low, -shift, -shift_low)
    e, e_low = _expm1_reduced(x, x_low)
    e, e_low = dd_add(1.0, 0.0, e, e_low)
    return math.ldexp(e, k), math.ldexp(e_low, k)


@kernel
def dd_log(a: float, a_low: float) -> tuple[float, float]:
    """log(a), a > 0; absolute error about (1 + |log a|) 2^-102 (for a near 1 take `dd_log1p`).

    One step from y = log(a) in float64: log a = y + log(1 + t), t = a exp(-y) - 1 of the order 1e-16.
    """
    y = math.log(a)
    t, t_low = dd_exp(-y, 0.0)
    t, t_low = dd_mul(t, t_low, a, a_low)
    t, t_low = dd_add(t, t_low, -1.0, 0.0)
    return dd_add(y, 0.0, t, t_low - 0.5 * t * t)


@kernel
def dd_log1p(x: float, x_low: float) -> tuple[float, float]:
    """log(1 + x), x > -1; relative error about 2^-102, also for small x.

    One step from y = log1p(x) in float64: y + log(1 + t), t = (x - expm1(y))/(1 + expm1(y)).
    """
    if x == 0.0:
        return 0.0, 0.0
    y = math.log1p(x)
    e, e_low = dd_expm1(y, 0.0)
    t, t_low = dd_add(x, x_low, -e, -e_low)
    e, e_low = dd_add(1.0, 0.0, e, e_low)
    t, t_low = dd_div(t, t_low, e, e_low)
    return dd_add(y, 0.0, t, t_low - 0.5 * t * t)
