"""Exact motion of one current-based LIF neuron between two events.

With s = t - t_ref, v_inf = v_leak + i_bias and delta = 1/tau_syn - 1/tau_mem,

    u(s) = v - v_inf = exp(-s/tau_mem) (p + q x(s)),     i_syn(s) = tau_mem q exp(-s/tau_syn),
    x(s) = warp(s, delta) = (1 - exp(-delta s))/delta    (= s where delta == 0).

(p, q) are the *coefficients* of the neuron with respect to t_ref: p = u(0) and q = i_syn(0)/tau_mem. An input of
weight w at s_j adds ``g = w exp(s_j/tau_syn)/tau_mem`` to q and ``-g x(s_j)`` to p. The same two numbers serve every
ratio of the time constants and pass continuously through tau_mem == tau_syn.

All functions are scalar, float64 and free of exceptions, compiled or not (NUMBA_DISABLE_JIT=1).
"""

from __future__ import annotations

import math

from eventsnn.kernels.jit import kernel

# exp of anything larger is inf: math.exp raises there when the kernels run uncompiled.
LARGEST_EXPONENT = 709.782712893384


@kernel
def exp_or_inf(x: float) -> float:
    """exp(x), inf where it overflows (compiled and uncompiled alike)."""
    return math.exp(x) if x <= LARGEST_EXPONENT else math.inf


@kernel
def decay_difference(tau_mem: float, tau_syn: float) -> float:
    """delta = 1/tau_syn - 1/tau_mem, formed as (tau_mem - tau_syn)/(tau_mem tau_syn).

    That form is right to 2 ulp for every ratio, also next to 1 where the difference of the two inverses has no
    correct digit. It is exactly zero if and only if tau_mem == tau_syn. Every other function of this module expects
    the delta computed here.
    """
    return (tau_mem - tau_syn) / (tau_mem * tau_syn)


@kernel
def warp(s: float, delta: float) -> float:
    """Warped time x(s) = (1 - exp(-delta s))/delta; s where delta == 0; inf where it overflows (delta < 0).

    It increases with s for either sign of delta and tends to 1/delta if delta > 0.
    """
    if delta == 0.0:
        return s
    exponent = -delta * s
    if exponent > LARGEST_EXPONENT:
        return math.inf if delta < 0.0 else -math.inf
    return -math.expm1(exponent) / delta


@kernel
def unwarp(x: float, delta: float) -> float:
    """Inverse of `warp`: s = -log1p(-delta x)/delta; x where delta == 0.

    Out of the range of `warp`: inf for x >= 1/delta (delta > 0), -inf for x <= 1/delta (delta < 0).
    """
    if delta == 0.0:
        return x
    if delta * x >= 1.0:
        return math.inf if delta > 0.0 else -math.inf
    return -math.log1p(-delta * x) / delta


@kernel
def synaptic_kernel(s: float, tau_mem: float, tau_syn: float, delta: float) -> float:
    """exp(-s/tau_mem) x(s): tau_mem times the response of v to one input of weight 1.

    For delta < 0 the equal form exp(-s/tau_syn) warp(s, -delta) is used, whose factors stay bounded: no overflow for
    any s >= 0.
    """
    if delta >= 0.0:
        decay = exp_or_inf(-s / tau_mem)
        return decay * warp(s, delta) if decay > 0.0 else 0.0
    decay = exp_or_inf(-s / tau_syn)
    return decay * warp(s, -delta) if decay > 0.0 else 0.0


@kernel
def membrane(s: float, p: float, q: float, tau_mem: float, delta: float) -> float:
    """u(s) = exp(-s/tau_mem) (p + q x(s)), the distance of v from v_inf; no overflow for any s >= 0.

    For delta < 0 it is evaluated as p exp(-s/tau_mem) + q exp(-s/tau_syn) warp(s, -delta), 1/tau_syn = 1/tau_mem +
    delta.
    """
    decay = exp_or_inf(-s / tau_mem)
    if delta >= 0.0:
        return decay * (p + q * warp(s, delta)) if decay > 0.0 else 0.0
    slow_decay = exp_or_inf(-s * (1.0 / tau_mem + delta))
    if slow_decay == 0.0:
        return 0.0
    return p * decay + q * (slow_decay * warp(s, -delta))


@kernel
def slope(s: float, p: float, q: float, tau_mem: float, tau_syn: float, delta: float) -> float:
    """du/ds = q exp(-s/tau_syn) - u(s)/tau_mem."""
    return q * exp_or_inf(-s / tau_syn) - membrane(s, p, q, tau_mem, delta) / tau_mem


@kernel
def extremum_time(p: float, q: float, tau_mem: float, tau_syn: float, delta: float) -> float:
    """The only zero of du/ds, L((tau_mem q - p)/(q + delta p)) with L(z) = log1p(delta z)/delta (z at delta == 0).

    It is L(tau_mem) - L(p/q) joined into one logarithm. Valid if q and q + delta p have the same sign, nan if not. For
    delta z < -1/2 the logarithm is taken of 1 + delta z = (tau_mem/tau_syn) q/(q + delta p) instead, which loses no
    digits there.
    """
    denominator = q + delta * p
    if denominator == 0.0 or (denominator > 0.0) != (q > 0.0):
        return math.nan
    z = (tau_mem * q - p) / denominator
    if delta == 0.0:
        return z
    y = delta * z
    if y < -0.5:
        return math.log(tau_mem / tau_syn * (q / denominator)) / delta
    return math.log1p(y) / delta


@kernel
def peak_time(p: float, q: float, tau_mem: float, tau_syn: float, delta: float) -> float:
    """The time from which on u falls for ever: its maximum, or -inf (u only falls) or +inf (u ends rising).

    q > 0: the maximum at `extremum_time` if q + delta p > 0; else u only rises (delta > 0: it comes up to v_inf from
    below, +inf) or only falls (delta < 0, -inf). q < 0: no maximum; u has a minimum and then rises to v_inf from below
    (+inf) if q + delta p < 0, else it only falls (delta >= 0, -inf) or only rises (delta < 0, +inf). q == 0: +inf for
    p < 0, else -inf. Never nan for finite arguments, so callers can compare without a test.
    """
    denominator = q + delta * p
    if q > 0.0:
        if denominator > 0.0:
            return extremum_time(p, q, tau_mem, tau_syn, delta)
        return math.inf if delta > 0.0 else -math.inf
    if q < 0.0:
        return math.inf if (denominator < 0.0 or delta < 0.0) else -math.inf
    return math.inf if p < 0.0 else -math.inf


@kernel
def trough_time(p: float, q: float, tau_mem: float, tau_syn: float, delta: float) -> float:
    """The time from which on u rises until `peak_time`: its minimum if it has one (q < 0), else -inf."""
    if q < 0.0 and q + delta * p < 0.0:
        return extremum_time(p, q, tau_mem, tau_syn, delta)
    return -math.inf


@kernel
def rebase(p: float, q: float, shift: float, tau_mem: float, tau_syn: float, delta: float) -> tuple[float, float]:
    """Coefficients for the reference time t_ref + shift.

    p' = (p + q x(shift)) exp(-shift/tau_mem),  q' = q exp(-shift/tau_syn); no overflow for any shift >= 0.
    """
    p_shifted = p * exp_or_inf(-shift / tau_mem) + q * synaptic_kernel(shift, tau_mem, tau_syn, delta)
    return p_shifted, q * exp_or_inf(-shift / tau_syn)


@kernel
def lif_flow(
    v_minus_inf: float, i: float, h: float, tau_mem: float, tau_syn: float, delta: float
) -> tuple[float, float]:
    """State (v - v_inf, i_syn) a time h >= 0 later; never overflows.

    v - v_inf -> (v - v_inf) exp(-h/tau_mem) + (i_syn/tau_mem) exp(-h/tau_mem) x(h),  i_syn -> i_syn exp(-h/tau_syn).
    """
    v_later = v_minus_inf * math.exp(-h / tau_mem) + i / tau_mem * synaptic_kernel(h, tau_mem, tau_syn, delta)
    return v_later, i * math.exp(-h / tau_syn)


@kernel
def response_and_decay(s, decay, rate, delta):
    """exp(-s/tau_mem) x(s) and exp(-s/tau_syn), where decay = exp(-s/tau_mem) and rate = 1/tau_syn."""
    if math.fabs(delta * s) >= 1.0:
        synaptic_decay = exp_or_inf(-s * rate)
        return (decay - synaptic_decay) / delta, synaptic_decay
    if delta == 0.0:
        return s * decay, decay
    change = decay * math.expm1(-delta * s)
    return -change / delta, decay + change


@kernel
def sum_membrane(s, p, q, tau_mem, delta, n_receptors):
    """u(s) = exp(-s/tau_mem) (p + sum_r q_r x_r(s)), the distance of v from v_inf; no overflow for any s >= 0."""
    decay = exp_or_inf(-s / tau_mem)
    u = p * decay
    for r in range(n_receptors):
        u += q[r] * response_and_decay(s, decay, 1.0 / tau_mem + delta[r], delta[r])[0]
    return u
