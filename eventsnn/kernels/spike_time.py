"""The time of the next spike of one LIF neuron, in closed form where there is one, and the slope of v there.

Everything usual (theta = v_threshold - v_inf > 0, q > 0) is measured from the peak. With r = (s_peak - s)/tau_mem and
m = tau_mem/tau_syn, u(s)/u_peak = e^r (1 - E(r)), so the spike is the root r > 0 of

    -r - log(1 - E(r)) = D,   E(r) = (e^((m-1) r) - 1)/(m - 1)  (r at m == 1),   D = log(u_peak/theta) > 0,

and there tau_mem du/ds = theta (e^(D + m r) - 1). For m == 1 it is -r - log(1 - r) = D (Lambert W0, `branch_root`);
m == 2 is a quadratic in exp(-s/tau_mem); any other ratio starts from r = A log(1 + rho/A), rho = sqrt(2 (1 - e^-D)/m),
A = 3/(m + 1), which is right to second order in rho and exact for m = 2 and m = 1/2, and is iterated on u(s) = theta.
Where the peak only just passes the threshold (D < 2^-16), D is formed in double-double and r is the root of its power
series: neither the time nor the slope loses digits there.

Where `crosses` has answered True, times are right to a few ulp of max(tau, s) plus a few roundings of u divided by
du/ds, which is what a change of theta in its last digit does.

References: Goeltz et al. 2021, doi 10.1038/s42256-021-00388-x; Brette 2007, Neural Comput. 19:2604.
"""

from __future__ import annotations

import math

from eventsnn.kernels.crossing import crosses, peak_dd
from eventsnn.kernels.double_double import two_prod, two_sum
from eventsnn.kernels.flow import (
    decay_difference,
    exp_or_inf,
    extremum_time,
    membrane,
    peak_time,
    slope,
    trough_time,
    unwarp,
)
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.lambert_w import branch_root

__all__ = [
    "FAMILY_DOUBLE",
    "FAMILY_EQUAL",
    "FAMILY_GENERAL",
    "crosses",
    "family_of",
    "next_spike_time",
    "spike_slope",
    "spike_time",
    "spike_time_and_slope",
]

FAMILY_EQUAL = 0  # tau_mem == tau_syn: Lambert W0
FAMILY_DOUBLE = 1  # tau_mem == 2 tau_syn: a quadratic
FAMILY_GENERAL = 2  # any other ratio: Halley's iteration from a guess measured from the peak

# Below this D = log(u_peak/theta) its float64 value has lost a third of its digits.
GRAZING = 2.0**-16
# Halley's iteration stops after a step shorter than this times the distance to the peak: the next error is 0.7 times
# its cube (measured).
LAST_STEP = 2.0**-18
# The power series of grazing spikes needs m r << 1, so a ratio m below this.
LARGEST_RATIO = 1e3
# With s_peak beyond so many time constants the bracketed iteration takes over: no exponential overflows.
LARGEST_LOG_DECAY = 600.0


@kernel
def family_of(tau_mem: float, tau_syn: float) -> int:
    """Which closed form serves this pair of time constants: FAMILY_EQUAL, FAMILY_DOUBLE or FAMILY_GENERAL."""
    if tau_mem == tau_syn:
        return FAMILY_EQUAL
    if tau_mem == 2.0 * tau_syn:
        return FAMILY_DOUBLE
    return FAMILY_GENERAL


@kernel
def _grazing_root(d: float, m: float) -> float:
    """Root r of -r - log(1 - E(r)) = d for small d and m r, to full relative precision.

    1 - e^-d = (m/2) r^2 C(r), C = 1 + sum_k c_k r^(k-2), c_k = 2 (1 + m + ... + m^(k-2))/k!, k = 3, 4, ... (exact, all
    terms positive). Newton's iteration on r sqrt(C(r)) = rho.
    """
    rho = math.sqrt(-2.0 * math.expm1(-d) / m)
    r = rho - (m + 1.0) / 6.0 * rho * rho
    for _ in range(3):
        series, weighted = 1.0, 0.0
        geometric, inverse_factorial, power = 1.0, 1.0, 1.0
        for k in range(3, 13):
            geometric = geometric * m + 1.0
            inverse_factorial /= k
            power *= r
            term = inverse_factorial * geometric * power
            series += term
            weighted += (k - 2) * term
        root = math.sqrt(series)
        r -= (r * root - rho) / (root + 0.5 * weighted / root)
    return r


@kernel
def _double_spike(p: float, q: float, theta: float, tau_mem: float) -> tuple[float, float]:
    """(s, du/ds) for tau_mem == 2 tau_syn: y = exp(-s/tau_mem) is the larger root of a y^2 - b y + theta = 0.

    a = tau_mem q, b = p + a > 0; y = (b + w)/(2 a), s = -tau_mem log y, du/ds = y w/tau_mem with w^2 = b^2 - 4 a theta.
    w^2 is formed from exact products (Kahan), so it is right for a q changed by half an ulp.
    """
    a = tau_mem * q
    b, b_low = two_sum(p, a)
    square, square_low = two_prod(b, b)
    product, product_low = two_prod(4.0 * a, theta)
    w_square = (square - product) + (square_low - product_low + 2.0 * b * b_low)
    w = math.sqrt(w_square) if w_square > 0.0 else 0.0
    y = (b + w) / (2.0 * a)
    return -tau_mem * math.log(y), y * w / tau_mem


@kernel
def _halley_time(
    p: float, q: float, theta: float, tau_mem: float, tau_syn: float, delta: float, s_peak: float, gap: float
) -> float:
    """Root of u(s) = theta before s_peak from the closed-form guess, gap = 1 - theta/u_peak; nan if it does not settle.

    u is concave where it rises; u' = q e^(-s/tau_syn) - u/tau_mem, u'' = -u'/tau_mem - (q/tau_syn) e^(-s/tau_syn).
    """
    m = tau_mem / tau_syn
    scale = 3.0 / (m + 1.0)
    s = s_peak - tau_mem * scale * math.log(1.0 + math.sqrt(2.0 * gap / m) / scale)
    mem_rate, syn_rate = 1.0 / tau_mem, 1.0 / tau_syn
    q_per_delta = q / delta if delta != 0.0 else 0.0
    for _ in range(8):
        decay = math.exp(-s * mem_rate)
        rest = math.expm1(-delta * s)
        drive = decay * (q + q * rest)
        u = decay * (p - q_per_delta * rest) if delta != 0.0 else decay * (p + q * s)
        rise = drive - u * mem_rate
        if not rise > 0.0:
            return math.nan
        bend = -rise * mem_rate - drive * syn_rate
        per_rise = 1.0 / rise
        newton = (u - theta) * per_rise
        step = newton / (1.0 - 0.5 * newton * bend * per_rise)
        s -= step
        if math.fabs(step) <= LAST_STEP * (s_peak - s):
            return s
    return math.nan


@kernel
def _rising_root(
    p: float, q: float, theta: float, tau_mem: float, tau_syn: float, delta: float, s_lo: float, s_hi: float
) -> float:
    """The root of u = theta on the rising piece within (s_lo, s_hi], by Newton's iteration kept inside a bracket."""
    low = max(s_lo, trough_time(p, q, tau_mem, tau_syn, delta))
    high = min(s_hi, peak_time(p, q, tau_mem, tau_syn, delta))
    if high == math.inf:
        if theta >= 0.0:
            return low
        width = max(tau_mem, tau_syn)
        while membrane(low + width, p, q, tau_mem, delta) < theta:
            low += width
            width *= 2.0
        high = low + width
    s = low
    for _ in range(200):
        excess = membrane(s, p, q, tau_mem, delta) - theta
        if excess > 0.0:
            high = s
        else:
            low = s
        rise = slope(s, p, q, tau_mem, tau_syn, delta)
        candidate = s - excess / rise if rise > 0.0 else math.inf
        if not low < candidate < high:
            candidate = 0.5 * (low + high)
            if not low < candidate < high:
                break
        if math.fabs(candidate - s) <= 2.0**-52 * math.fabs(s):
            return candidate
        s = candidate
    return s


@kernel
def spike_slope(p: float, q: float, theta: float, tau_mem: float, tau_syn: float, delta: float, s: float) -> float:
    """du/ds at a spike at s: q exp(-s/tau_syn) - theta/tau_mem.

    Next to a grazing spike this loses the digits that the rounding of s has lost, a relative error of about
    ulp(s)/(s_peak - s); `spike_time_and_slope` does not.
    """
    return q * exp_or_inf(-s / tau_syn) - theta / tau_mem


@kernel
def spike_time_and_slope(
    p: float,
    q: float,
    theta: float,
    tau_mem: float,
    tau_syn: float,
    delta: float,
    family: int,
    s_lo: float,
    s_hi: float,
) -> tuple[float, float]:
    """First upward crossing of theta in (s_lo, s_hi] and du/ds > 0 there, where `crosses` has answered True.

    The time is clamped into [s_lo, s_hi]. theta <= 0: `unwarp` (theta == 0) or the bracketed iteration for every
    family. family must be `family_of(tau_mem, tau_syn)`; FAMILY_GENERAL is right for every ratio.
    """
    if theta <= 0.0 or not q > 0.0:
        if theta == 0.0 and q > 0.0:
            s = unwarp(-p / q, delta)
        else:
            s = _rising_root(p, q, theta, tau_mem, tau_syn, delta, s_lo, s_hi)
        s = min(max(s, s_lo), s_hi)
        return s, spike_slope(p, q, theta, tau_mem, tau_syn, delta, s)

    m = tau_mem / tau_syn
    s_peak = extremum_time(p, q, tau_mem, tau_syn, delta)
    log_gain = s_peak / tau_syn
    if not (math.fabs(log_gain) < LARGEST_LOG_DECAY and math.fabs(s_peak) < LARGEST_LOG_DECAY * tau_mem):
        s = _rising_root(p, q, theta, tau_mem, tau_syn, delta, s_lo, s_hi)
        return s, spike_slope(p, q, theta, tau_mem, tau_syn, delta, s)
    gap = 1.0 - theta / (tau_mem * q) * math.exp(log_gain)
    if gap < GRAZING and m < LARGEST_RATIO:
        s_peak, _, d, _ = peak_dd(p, q, theta, tau_mem, tau_syn)
        d = max(d, 0.0)
        r = _grazing_root(d, m)
        s, rise = s_peak - tau_mem * r, theta * math.expm1(d + m * r) / tau_mem
    elif family == FAMILY_DOUBLE:
        s, rise = _double_spike(p, q, theta, tau_mem)
    elif family == FAMILY_EQUAL:
        r = branch_root(math.log(tau_mem * q / theta) - log_gain)
        s, rise = s_peak - tau_mem * r, theta * r / ((1.0 - r) * tau_mem)
    else:
        s = _halley_time(p, q, theta, tau_mem, tau_syn, delta, s_peak, gap)
        if math.isnan(s):
            s = _rising_root(p, q, theta, tau_mem, tau_syn, delta, s_lo, s_hi)
        rise = spike_slope(p, q, theta, tau_mem, tau_syn, delta, s)
    if s < s_lo:
        return s_lo, spike_slope(p, q, theta, tau_mem, tau_syn, delta, s_lo)
    return min(s, s_hi), rise


@kernel
def spike_time(
    p: float,
    q: float,
    theta: float,
    tau_mem: float,
    tau_syn: float,
    delta: float,
    family: int,
    s_lo: float,
    s_hi: float,
) -> float:
    """First upward crossing of theta in (s_lo, s_hi], where `crosses` has answered True; see `spike_time_and_slope`."""
    return spike_time_and_slope(p, q, theta, tau_mem, tau_syn, delta, family, s_lo, s_hi)[0]


@kernel
def next_spike_time(v0: float, i0: float, tau_mem: float, tau_syn: float, v_threshold: float, v_inf: float) -> float:
    """Time from (v0, i0), v0 < v_threshold, to the next spike if no input comes; inf if there is none."""
    delta = decay_difference(tau_mem, tau_syn)
    p, q, theta = v0 - v_inf, i0 / tau_mem, v_threshold - v_inf
    if not crosses(p, q, theta, tau_mem, tau_syn, delta, 0.0, math.inf):
        return math.inf
    return spike_time(p, q, theta, tau_mem, tau_syn, delta, family_of(tau_mem, tau_syn), 0.0, math.inf)
