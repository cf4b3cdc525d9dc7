"""Does the membrane potential cross its threshold upward before the next event? The decision, before any time.

u(s) = exp(-s/tau_mem) (p + q x(s)) of `flow` rises on one interval only, from `trough_time` to `peak_time`. Given
u(s_lo) < theta it crosses theta in (s_lo, s_hi] if and only if its value where it stops rising, or at s_hi if that is
earlier, is above theta. The comparison is made in float64 with an error bound; where the two values are closer than
the bound it is repeated in double-double. There two values that agree to about 30 digits count as equal: that is how a
touch of peak and threshold, which is no spike, is told from a crossing.
"""

from __future__ import annotations

import math

from eventsnn.kernels.double_double import dd_add, dd_div, dd_exp, dd_expm1, dd_log, dd_log1p, dd_mul, two_prod
from eventsnn.kernels.flow import exp_or_inf, extremum_time, membrane, peak_time, synaptic_kernel, trough_time, warp
from eventsnn.kernels.jit import kernel

# Unit roundoff times a safety factor. The bounds below count, to first order, at most 8 roundings per term.
ROUNDING = 12 * 2.0**-53
# A float64 error bound times this is a bound for the same formula in double-double (2^-53 times it is 2^-101).
DOUBLE_DOUBLE_FACTOR = 2.0**-48
# First bound tried for the peak, and the condition numbers up to which it holds: 12 2^-53 (1 + 2 2^28) < 2^-20.
GENEROUS = 2.0**-20
WELL_CONDITIONED = 2.0**28
# exp(s/tau) is not formed beyond: there u counts as its limit 0.
LARGEST_LOG_DECAY = 690.0


@kernel
def peak_log_error(s_peak: float, p: float, q: float, tau_mem: float, tau_syn: float, delta: float) -> float:
    """Bound on the float64 error of log(u_peak/theta), and of s_peak/tau_syn, for q > 0 and q + delta p > 0.

    With R = tau_mem + |p/q| and c = (q + delta p)/q, the roundings of numerator, denominator and delta in
    s_peak = L((tau_mem q - p)/(q + delta p)) move s_peak/tau_syn by at most a few times (R/tau_mem)(1 + |delta| R)/c.
    """
    size = tau_mem * q + math.fabs(p)
    amplified = size / tau_mem * (1.0 + math.fabs(delta) * size / q) / (q + delta * p)
    return ROUNDING * (1.0 + math.fabs(s_peak) / tau_syn + amplified)


@kernel
def membrane_excess(
    s: float, p: float, q: float, theta: float, tau_mem: float, tau_syn: float, delta: float
) -> tuple[float, float]:
    """u(s) - theta and a bound on its float64 error; u as in `flow.membrane`."""
    leak = p * exp_or_inf(-s / tau_mem)
    drive = q * synaptic_kernel(s, tau_mem, tau_syn, delta)
    terms = math.fabs(leak) + math.fabs(drive)
    error = ROUNDING * (terms * (1.0 + math.fabs(s) * (1.0 / tau_mem + 1.0 / tau_syn)) + math.fabs(theta))
    return leak + drive - theta, error


@kernel
def delta_dd(tau_mem: float, tau_syn: float) -> tuple[float, float]:
    """delta = (tau_mem - tau_syn)/(tau_mem tau_syn) in double-double."""
    difference, difference_low = dd_add(tau_mem, 0.0, -tau_syn, 0.0)
    product, product_low = two_prod(tau_mem, tau_syn)
    return dd_div(difference, difference_low, product, product_low)


@kernel
def peak_dd(p: float, q: float, theta: float, tau_mem: float, tau_syn: float) -> tuple[float, float, float, float]:
    """(s_peak, D), each as (high, low), D = log(u_peak/theta); theta > 0, q > 0.

    D = log(tau_mem q/theta) - s_peak/tau_syn. No peak (q + delta p <= 0): (nan, nan, -inf, 0).
    """
    delta, delta_low = delta_dd(tau_mem, tau_syn)
    drive, drive_low = two_prod(tau_mem, q)
    denominator, denominator_low = dd_mul(delta, delta_low, p, 0.0)
    denominator, denominator_low = dd_add(q, 0.0, denominator, denominator_low)
    if denominator <= 0.0:
        return math.nan, math.nan, -math.inf, 0.0
    s, s_low = dd_add(drive, drive_low, -p, 0.0)
    s, s_low = dd_div(s, s_low, denominator, denominator_low)
    if delta != 0.0:
        y, y_low = dd_mul(s, s_low, delta, delta_low)
        if y < -0.5:
            y, y_low = dd_div(drive, drive_low, denominator, denominator_low)
            y, y_low = dd_div(y, y_low, tau_syn, 0.0)
            s, s_low = dd_log(y, y_low)
        else:
            s, s_low = dd_log1p(y, y_low)
        s, s_low = dd_div(s, s_low, delta, delta_low)
    d, d_low = dd_div(drive, drive_low, theta, 0.0)
    d, d_low = dd_log(d, d_low)
    decayed, decayed_low = dd_div(s, s_low, tau_syn, 0.0)
    d, d_low = dd_add(d, d_low, -decayed, -decayed_low)
    return s, s_low, d, d_low


@kernel
def _reaches_exactly(p: float, q: float, theta: float, tau_mem: float, tau_syn: float, s: float) -> bool:
    """u(s) >= theta by the sign of (u(s) - theta) exp(s/tau_slow) in double-double, equal within its error.

    tau_slow is the larger time constant, and u(s) exp(s/tau_slow) = p e + q warp(s, |delta|) with e = 1 for delta >= 0,
    e = exp(delta s) for delta < 0.
    """
    slow = max(tau_mem, tau_syn)
    delta, delta_low = delta_dd(tau_mem, tau_syn)
    leak, leak_low = p, 0.0
    if delta < 0.0:
        exponent, exponent_low = dd_mul(delta, delta_low, s, 0.0)
        leak, leak_low = dd_exp(exponent, exponent_low)
        leak, leak_low = dd_mul(leak, leak_low, p, 0.0)
        delta, delta_low = -delta, -delta_low
    x, x_low = s, 0.0
    if delta > 0.0:
        x, x_low = dd_mul(delta, delta_low, -s, 0.0)
        x, x_low = dd_expm1(x, x_low)
        x, x_low = dd_div(-x, -x_low, delta, delta_low)
    drive, drive_low = dd_mul(x, x_low, q, 0.0)
    excess, excess_low = dd_add(leak, leak_low, drive, drive_low)
    size = math.fabs(leak) + math.fabs(drive)
    if theta != 0.0:
        if s > LARGEST_LOG_DECAY * slow:
            return theta < 0.0
        level, level_low = dd_div(s, 0.0, slow, 0.0)
        level, level_low = dd_exp(level, level_low)
        level, level_low = dd_mul(level, level_low, theta, 0.0)
        excess, excess_low = dd_add(excess, excess_low, -level, -level_low)
        size += math.fabs(level) * (1.0 + math.fabs(s) / slow)
    return excess + excess_low >= -DOUBLE_DOUBLE_FACTOR * ROUNDING * size


@kernel
def reaches(p: float, q: float, theta: float, tau_mem: float, tau_syn: float, delta: float, s: float) -> bool:
    """u(s) >= theta: float64 outside its error bound, double-double inside."""
    excess, error = membrane_excess(s, p, q, theta, tau_mem, tau_syn, delta)
    if math.fabs(excess) > error:
        return excess > 0.0
    return _reaches_exactly(p, q, theta, tau_mem, tau_syn, s)


@kernel
def _crosses_exactly(
    p: float, q: float, theta: float, tau_mem: float, tau_syn: float, delta: float, s_lo: float, s_hi: float
) -> bool:
    """`crosses` for theta > 0 and q > 0 in double-double."""
    s_peak, s_low, d, d_low = peak_dd(p, q, theta, tau_mem, tau_syn)
    if math.isnan(s_peak) or not (s_peak - s_lo) + s_low > 0.0:
        return False
    equal = DOUBLE_DOUBLE_FACTOR * peak_log_error(s_peak, p, q, tau_mem, tau_syn, delta)
    if (s_peak - s_hi) + s_low <= equal * tau_syn:
        return d + d_low > equal
    return reaches(p, q, theta, tau_mem, tau_syn, delta, s_hi)


@kernel
def _crosses_by_bound(
    p: float,
    q: float,
    theta: float,
    tau_mem: float,
    tau_syn: float,
    delta: float,
    s_lo: float,
    s_hi: float,
    s_peak: float,
    error: float,
) -> int:
    """`crosses` for theta > 0 and q > 0: 1 or 0 where float64 can tell, -1 where it cannot.

    error bounds that of log(u_peak/theta) and of s_peak/tau_syn.
    """
    time_error = error * tau_syn
    if s_peak <= s_lo + time_error:
        return 0 if s_peak <= s_lo - time_error else -1
    if s_peak <= s_hi - time_error:
        exponent = -s_peak / tau_syn
        u_peak = tau_mem * q * math.exp(exponent) if exponent < 700.0 else math.nan
        if theta < u_peak * (1.0 - error):
            return 1
        return 0 if theta > u_peak * (1.0 + error) else -1
    if s_peak <= s_hi + time_error:
        return -1
    excess, error = membrane_excess(s_hi, p, q, theta, tau_mem, tau_syn, delta)
    if math.fabs(excess) <= error:
        return -1
    return 1 if excess > 0.0 else 0


@kernel
def _crosses_to_rest(
    p: float, q: float, theta: float, tau_mem: float, tau_syn: float, delta: float, s_lo: float, s_hi: float
) -> bool:
    """`crosses` for theta <= 0: rest lies on or above the threshold, u comes up to it from below.

    theta < 0: u(s) tends to 0 > theta, so there is a crossing before s_hi = inf, else if and only if u(s_hi) >= theta.
    theta == 0: u has the sign of p + q x(s), which must pass zero while it grows (q > 0).
    """
    if theta < 0.0:
        if not membrane(s_lo, p, q, tau_mem, delta) < theta:
            # Only by rounding. Falling at s_lo, u must first go below theta to cross it.
            trough = trough_time(p, q, tau_mem, tau_syn, delta)
            if trough > s_lo and not membrane(trough, p, q, tau_mem, delta) < theta:
                return False
            if peak_time(p, q, tau_mem, tau_syn, delta) <= s_lo:
                return False
        return s_hi == math.inf or reaches(p, q, theta, tau_mem, tau_syn, delta, s_hi)
    if not (q > 0.0 and peak_time(p, q, tau_mem, tau_syn, delta) > s_lo):
        return False
    if s_hi == math.inf:
        return q + delta * p > 0.0
    # The sign of u without its decay, which may underflow.
    x = warp(s_hi, delta)
    excess = p + q * x
    error = ROUNDING * (math.fabs(p) + math.fabs(q * x) * (1.0 + math.fabs(delta * s_hi)))
    if math.fabs(excess) > error or not error < math.inf:
        return excess > 0.0
    return _reaches_exactly(p, q, 0.0, tau_mem, tau_syn, s_hi)


@kernel
def crosses(
    p: float, q: float, theta: float, tau_mem: float, tau_syn: float, delta: float, s_lo: float, s_hi: float
) -> bool:
    """True if and only if u passes theta upward (u = theta, du/ds > 0) in (s_lo, s_hi], given u(s_lo) < theta.

    A peak that only touches theta is no crossing; u(s_hi) == theta while rising is one. s_hi may be inf; the interval
    is empty for s_hi <= s_lo. If rounding of the coefficients has made u(s_lo) >= theta, the answer is True where u
    rises at s_lo (the spike is then at s_lo) and False where it falls.

    p, q, theta and the time constants count as exact. theta > 0, q > 0: u_peak = tau_mem q exp(-s_peak/tau_syn) is
    compared if s_peak <= s_hi, else u(s_hi): first with one generous error bound where the place of the peak is well
    conditioned, then with the proper one, then in double-double. theta > 0, q <= 0: u rises to v_inf < v_threshold at
    most, never. theta <= 0: see `_crosses_to_rest`. A nan among the arguments answers False: callers check for it.
    """
    if not s_hi > s_lo:
        return False
    if theta <= 0.0:
        return _crosses_to_rest(p, q, theta, tau_mem, tau_syn, delta, s_lo, s_hi)
    if not q > 0.0:
        return False
    denominator = q + delta * p
    if denominator <= ROUNDING * q:
        # No peak, or one whose place cancellation hides.
        return _crosses_exactly(p, q, theta, tau_mem, tau_syn, delta, s_lo, s_hi)
    s_peak = extremum_time(p, q, tau_mem, tau_syn, delta)
    # peak_log_error <= GENEROUS, without its divisions.
    size = tau_mem * q + math.fabs(p)
    amplified = size * (q + math.fabs(delta) * size)
    well_placed = amplified < WELL_CONDITIONED * tau_mem * q * denominator
    if well_placed and math.fabs(s_peak) < WELL_CONDITIONED * tau_syn:
        answer = _crosses_by_bound(p, q, theta, tau_mem, tau_syn, delta, s_lo, s_hi, s_peak, GENEROUS)
        if answer >= 0:
            return answer == 1
    error = peak_log_error(s_peak, p, q, tau_mem, tau_syn, delta)
    answer = _crosses_by_bound(p, q, theta, tau_mem, tau_syn, delta, s_lo, s_hi, s_peak, error)
    if answer >= 0:
        return answer == 1
    return _crosses_exactly(p, q, theta, tau_mem, tau_syn, delta, s_lo, s_hi)
