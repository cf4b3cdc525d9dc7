"""The next spike of a neuron with several receptors: the first upward crossing of a sum of exponentials.

In the words of `flow`, with a coefficient q_r and a delta_r = 1/tau_r - 1/tau_mem for each receptor,

    u(s) = exp(-s/tau_mem) (p + sum_r q_r x_r(s)),   x_r(s) = (1 - exp(-delta_r s))/delta_r,

and u > theta where H(s) = exp(s/tau_mem) (u(s) - theta) > 0. H rises and falls with the sign of

    R(s) = exp(-s/tau_mem) H'(s) = sum_r q_r exp(-s/tau_r) - theta/tau_mem,

which is du/ds where u = theta. The roots of R cut the interval into pieces on which H is monotone. They are isolated,
not sampled: with the slowest exponential of a sum divided out, the derivative has one term less and its roots separate
those of the sum. A sum whose coefficients, ordered by rate, change sign at most once has at most one root (Descartes),
one of two terms has it in closed form: there the descent ends. On the first piece that rises from u < theta to
u >= theta the spike is found by Halley's iteration in a bracket.

Signs are decided in float64 outside an error bound of 12 2^-53 (1 + |s|/tau_mem + |s|/min(tau)) times the terms of u
(at s and s_lo), and in double-double inside it. There a peak within 2^-48 of that bound of the threshold, or within
what rounding of its place does (second order, about 2^-104), is a touch and no spike. Times are right to 4 2^-53 times
max(|s|, tau) plus the same roundings of u divided by du/ds. Grazing spikes are finished with a double-double u: they
lose no digits down to peaks 1e-12 above the threshold.

References: Polya & Szego, Problems and Theorems in Analysis II, part V, no. 75-77 (roots of exponential sums).
"""

from __future__ import annotations

import math

from eventsnn.kernels.crossing import DOUBLE_DOUBLE_FACTOR, ROUNDING, delta_dd
from eventsnn.kernels.double_double import dd_add, dd_div, dd_exp, dd_expm1, dd_mul
from eventsnn.kernels.flow import decay_difference, exp_or_inf, response_and_decay
from eventsnn.kernels.jit import kernel

# Places in `scratch`: scalars, then rows of n_receptors + 1 numbers.
P, THETA, TAU_MEM, MEM_RATE, FASTEST, S_LO, U, SIZE, N_SCALARS = range(9)  # U = u(s_lo), SIZE that of its terms
Q, DRIVE, RATE, TAU, WEIGHT, COEFFICIENT, GAP, ROOT, N_ROWS = range(9)

# The quick tests: intervals that end before 200 tau_mem, where u certainly has this relative error.
NEAR, GENEROUS = 200.0, 2.0**-36
# p, q and theta of a size outside are scaled by a power of two; what is then negligible counts as 0.
LARGE, SMALL, NEGLIGIBLE, SHRINK, GROW = 1e100, 1e-100, 1e-200, 2.0**-700, 2.0**700
# -s_lo beyond so many of the shortest time constant is refused; for theta == 0 u is followed so many of the longest.
EARLIEST, LATEST = 300.0, 600.0
# Time constant of a constant: 1/tau - 1/FOREVER == 1/tau for time constants below 1e50.
FOREVER = 1e150
# Halley's iteration stops after a step shorter than this times the scale on which u bends: the next is its cube.
LAST_STEP = 2.0**-19
# A spike with a smaller tau_mem du/ds than this times theta is finished in double-double.
GRAZING = 2.0**-6


@kernel
def scratch_size(n_receptors: int) -> int:
    """How many float64 numbers `scratch` of `first_crossing_of_sum` must hold."""
    return N_SCALARS + N_ROWS * (n_receptors + 1)


@kernel
def _row(row, n):
    return N_SCALARS + row * (n + 1)


@kernel
def _excess(t, delta, n, scratch):
    """u - theta, du/ds, d2u/ds2 and the sum of the absolute terms of u - theta at s_lo + t."""
    mem_rate, theta = scratch[MEM_RATE], scratch[THETA]
    decay = math.exp(-mem_rate * t)
    u, size = scratch[U] * decay, scratch[SIZE] * decay
    drive, fading = 0.0, 0.0
    for r in range(n):
        a, rate = scratch[_row(DRIVE, n) + r], scratch[_row(RATE, n) + r]
        response, synaptic_decay = response_and_decay(t, decay, rate, delta[r])
        u += a * response
        size += math.fabs(a) * response
        drive += a * synaptic_decay
        fading += rate * (a * synaptic_decay)
    rise = drive - mem_rate * u
    return u - theta, rise, -fading - mem_rate * rise, size + math.fabs(theta)


@kernel
def _excess_exactly(s, tau_syn, n, scratch):
    """u(s) - theta from double-double, rounded."""
    decay = dd_exp(*dd_div(-s, 0.0, scratch[TAU_MEM], 0.0))
    u = dd_add(*dd_mul(*decay, scratch[P], 0.0), -scratch[THETA], 0.0)
    for r in range(n):
        # exp(-s/tau_mem) x(s) = exp(-s/slower) (1 - exp(-|delta| s))/|delta|
        delta, delta_low = delta_dd(scratch[TAU_MEM], tau_syn[r])
        slow_decay, x = decay, (s, 0.0)
        if delta < 0.0:
            delta, delta_low = -delta, -delta_low
            slow_decay = dd_exp(*dd_div(-s, 0.0, tau_syn[r], 0.0))
        if delta != 0.0:
            x = dd_expm1(*dd_mul(delta, delta_low, -s, 0.0))
            x = dd_div(-x[0], -x[1], delta, delta_low)
        x = dd_mul(*x, *slow_decay)
        u = dd_add(*u, *dd_mul(*x, scratch[_row(Q, n) + r], 0.0))
    return u[0] + u[1]


@kernel
def _collect_terms(tau_syn, n, scratch):
    """Fill TAU and WEIGHT with the terms of R, the slowest (the constant) first, equal ones summed; their number."""
    tau, weight = _row(TAU, n), _row(WEIGHT, n)
    scratch[tau], scratch[weight] = FOREVER, -scratch[THETA] * scratch[MEM_RATE]
    for r in range(n):
        i = r + 1
        while scratch[tau + i - 1] < tau_syn[r]:
            scratch[tau + i], scratch[weight + i] = scratch[tau + i - 1], scratch[weight + i - 1]
            i -= 1
        scratch[tau + i], scratch[weight + i] = tau_syn[r], scratch[_row(DRIVE, n) + r]
    m = 0
    for i in range(n + 1):
        total = scratch[weight + i]
        if m > 0 and scratch[tau + m - 1] == scratch[tau + i]:
            m -= 1
            total += scratch[weight + m]
        scratch[tau + m], scratch[weight + m] = scratch[tau + i], total
        m += 1 if math.fabs(total) > NEGLIGIBLE else 0
    return m


@kernel
def _sum_and_derivative(t, level, m, n, scratch):
    """The sum of one level and its derivative at t, which may be inf."""
    value, derivative = scratch[_row(COEFFICIENT, n) + level], 0.0
    for i in range(level + 1, m):
        gap = scratch[_row(GAP, n) + i]
        term = scratch[_row(COEFFICIENT, n) + i] * math.exp(-gap * t)
        value += term
        derivative -= gap * term
    return value, derivative


@kernel
def _root_between(low, high, rising, level, m, n, scratch):
    """The root of one level between low and high, where it changes sign once; Newton's iteration in a bracket."""
    others = 0.0
    for i in range(level + 1, m):
        others += math.fabs(scratch[_row(COEFFICIENT, n) + i])
    gap = scratch[_row(GAP, n) + level + 1]
    # From here on the constant is larger than all others together; with one other this is the root.
    far = (math.log(others) - math.log(math.fabs(scratch[_row(COEFFICIENT, n) + level]))) / gap
    high = min(high, max(low, far) + 1.0 / gap)
    t = far if m - level == 2 and low < far < high else low
    last_step = high - low
    for _ in range(200):
        value, derivative = _sum_and_derivative(t, level, m, n, scratch)
        if value == 0.0:
            break
        low, high = (low, t) if (value > 0.0) == rising else (t, high)
        # A step that leaves the bracket, or is not shorter by half than the last, is replaced by a halving.
        step = 0.5 * (low + high) - t
        if math.fabs(value) <= 0.5 * last_step * math.fabs(derivative) and low < t - value / derivative < high:
            step = -value / derivative
        last_step = math.fabs(step)
        t += step
        if last_step <= 2.0**-53 * (t + 1.0 / scratch[FASTEST]):
            break
    return t


@kernel
def _turning_points(m, width, n, scratch):
    """Fill ROOT with the roots of R in (0, width), ascending; their number, and whether R > 0 before the first."""
    # Level 0 is R without its slowest exponential, the next the derivative of the one before without its slowest.
    tau, weight = _row(TAU, n), _row(WEIGHT, n)
    level, changes = m - 1, 0
    while level > 0:
        changes += (scratch[weight + level - 1] > 0.0) != (scratch[weight + level] > 0.0)
        if changes > 1:
            break
        level -= 1
    root, n_roots, first_sign = _row(ROOT, n), 0, 0.0
    while level >= 0:
        for i in range(level, m):
            coefficient = scratch[weight + i]
            for k in range(level):
                coefficient *= -decay_difference(scratch[tau + k], scratch[tau + i]) / scratch[FASTEST]
            scratch[_row(COEFFICIENT, n) + i] = coefficient
            scratch[_row(GAP, n) + i] = decay_difference(scratch[tau + level], scratch[tau + i]) if i > level else 0.0
        # The roots of the level before lie in ROOT; those of this one overwrite them, never ahead of the reading.
        low, n_points, n_roots = 0.0, n_roots, 0
        sign = first_sign = _sum_and_derivative(low, level, m, n, scratch)[0]
        for i in range(n_points + 1):
            high = scratch[root + i] if i < n_points else width
            value = _sum_and_derivative(high, level, m, n, scratch)[0]
            if (sign < 0.0 < value) or (value < 0.0 < sign):
                scratch[root + n_roots] = _root_between(low, high, value > 0.0, level, m, n, scratch)
                n_roots += 1
            low, sign = high, value if value != 0.0 else sign
            first_sign = first_sign if first_sign != 0.0 else sign
        level -= 1
    return n_roots, first_sign > 0.0


@kernel
def sign_changes(weights, tau, n, width, scratch, roots):
    """Fill `roots`, (n,), with where sum_r weights_r exp(-s/tau_r) changes sign in (0, width); returns their number.

    weights, tau : the first n numbers of each are read; scratch : as for `first_crossing_of_sum`
    """
    scratch[THETA], scratch[MEM_RATE], scratch[FASTEST] = 0.0, 0.0, 0.0
    for r in range(n):
        scratch[_row(DRIVE, n) + r] = weights[r]
        scratch[FASTEST] = max(scratch[FASTEST], 1.0 / tau[r])
    m = _collect_terms(tau, n, scratch)
    n_roots = _turning_points(m, width, n, scratch)[0] if m > 1 else 0
    for k in range(n_roots):
        roots[k] = scratch[_row(ROOT, n) + k]
    return n_roots


@kernel
def _reaches(t, s, at_end, tau_syn, delta, n, scratch):
    """u >= theta where a rising piece ends, at s = s_lo + t: in a peak (then u > theta) or with the interval."""
    excess, rise, bend, size = _excess(t, delta, n, scratch)
    spread = 1.0 + max(math.fabs(s), -scratch[S_LO]) * (scratch[MEM_RATE] + scratch[FASTEST])
    spread = min(ROUNDING * spread, 1.0)
    if math.fabs(excess) > spread * size:
        return excess > 0.0
    excess = _excess_exactly(s, tau_syn, n, scratch)
    tie = DOUBLE_DOUBLE_FACTOR * (spread * size)
    rise_error = math.fabs(scratch[THETA]) * scratch[MEM_RATE]
    for r in range(n):
        rise_error += math.fabs(scratch[_row(DRIVE, n) + r]) * math.exp(-scratch[_row(RATE, n) + r] * t)
    rise_error *= spread
    if at_end and rise > rise_error:
        return excess >= -tie
    # The peak's place is wrong by rise_error/|dR/ds|, at an inflection by the root of the rounding.
    turn = max(math.fabs(bend + scratch[MEM_RATE] * rise), 2.0**26 * rise_error * scratch[FASTEST])
    return excess > tie + rise_error * (rise_error / turn if turn > 0.0 else 0.0)


@kernel
def _crossing_time(low, high, guess, s_hi, tau_syn, delta, n, scratch):
    """s, at most s_hi, of the only upward crossing between the local times low and high."""
    t, rise, bend, size = guess, 0.0, 0.0, 0.0
    for _ in range(200):
        excess, rise, bend, size = _excess(t, delta, n, scratch)
        low, high = (low, t) if excess > 0.0 else (t, high)
        if math.fabs(excess) <= 2.0**-53 * size:
            break
        step = math.inf
        if rise * scratch[TAU_MEM] > 2.0**-60 * size:
            newton = -excess / rise
            step = newton / max(0.5, 1.0 + 0.5 * newton * (bend / rise))
        if low <= t + step <= high:
            t += step
            if math.fabs(step) * max(scratch[FASTEST], math.fabs(bend) / rise) <= LAST_STEP:
                break
        else:
            t = 0.5 * (low + high)
            if not low < t < high:
                break
    s = scratch[S_LO] + t
    flat = 2.0**-27 * scratch[FASTEST] * size < rise and rise * scratch[TAU_MEM] < GRAZING * math.fabs(scratch[THETA])
    if flat and rise * rise > 2.0**-46 * size * math.fabs(bend):  # rounding of u has not hidden the slope
        for _ in range(3):
            step = _excess_exactly(s, tau_syn, n, scratch) / rise
            s -= step
            rise -= bend * step
    return min(max(s, scratch[S_LO]), s_hi)


@kernel
def _set_out(p, q, tau_mem, tau_syn, delta, n, theta, s_lo, scale, scratch):
    """Fill the scalars and the rows Q, DRIVE (q_r exp(-s_lo/tau_r)) and RATE; p, q and theta times `scale`."""
    mem_rate = 1.0 / tau_mem
    decay = exp_or_inf(-s_lo * mem_rate)
    u = scale * p * decay
    size, fastest = math.fabs(u), mem_rate
    for r in range(n):
        a, rate = scale * q[r], 1.0 / tau_syn[r]
        scratch[_row(Q, n) + r], scratch[_row(RATE, n) + r] = a, rate
        fastest = max(fastest, rate)
        if s_lo != 0.0:
            response, synaptic_decay = response_and_decay(s_lo, decay, rate, delta[r])
            u += a * response
            size += math.fabs(a * response)
            a *= synaptic_decay
        scratch[_row(DRIVE, n) + r] = a
    scratch[P], scratch[THETA] = scale * p, 0.0 if math.fabs(scale * theta) <= NEGLIGIBLE else scale * theta
    scratch[TAU_MEM], scratch[MEM_RATE], scratch[FASTEST] = tau_mem, mem_rate, fastest
    scratch[S_LO], scratch[U], scratch[SIZE] = s_lo, u, size


@kernel
def _within_short_interval(tau_syn, delta, n, s_hi, scratch):
    """The answer where bounds prove that H stays negative, or only rises, on an interval <= tau_mem; nan elsewhere."""
    width, mem_rate = s_hi - scratch[S_LO], scratch[MEM_RATE]
    # Bounds on R, from exp(-x) in [1 - x + x^2/2 - x^3/6, 1].
    start = -scratch[THETA] * mem_rate
    most, least, gross = start, start, math.fabs(start)
    for r in range(n):
        a, x = scratch[_row(DRIVE, n) + r], scratch[_row(RATE, n) + r] * width
        end = a * max(0.0, 1.0 - x * (1.0 - x * (0.5 - x * (1.0 / 6.0))))
        start += a
        most += max(a, end)
        least += min(a, end)
        gross += math.fabs(a)
    excess = scratch[U] - scratch[THETA]
    error = GENEROUS * (scratch[SIZE] + math.fabs(scratch[THETA]) + gross * width)
    # H rises by at most most tau_mem (exp(leak) - 1), and exp(leak) - 1 <= leak (1 + leak) for leak <= 1.
    growth = 1.0 + mem_rate * width
    if excess + max(most, 0.0) * width * growth < -error:
        return math.inf
    excess_end, rise_end, _, size = _excess(width, delta, n, scratch)
    error = GENEROUS * (size + scratch[SIZE] + gross * width)
    if excess < -error and least > GENEROUS * gross:
        if not excess_end > error:
            return math.inf if excess_end < -error else math.nan
        # Cubic interpolation of t as a function of u.
        span = excess_end - excess
        y = -excess / span
        guess = y * width
        rise = start - mem_rate * excess
        if rise_end > 0.25 * rise:
            guess = y * y * (3.0 - 2.0 * y) * width + y * (1.0 - y) * span * ((1.0 - y) / rise - y / rise_end)
        return _crossing_time(0.0, width, guess, s_hi, tau_syn, delta, n, scratch)
    # H lies below the lines of steepest rise from its start and of steepest fall to its end.
    if excess_end < 0.0:
        growth = 1.0 + mem_rate * width * growth
        up, down = max(most, 0.0) * growth, -min(least, 0.0) * growth
        if excess * down + excess_end * up + width * up * down < -error * (up + down):
            return math.inf
    return math.nan


@kernel
def _within_any_interval(tau_syn, delta, n, s_hi, scratch):
    """The answer by way of all turning points."""
    s_lo, theta = scratch[S_LO], scratch[THETA]
    m = _collect_terms(tau_syn, n, scratch)
    if m == 0 or math.isnan(scratch[U] - theta):
        return math.inf
    if theta == 0.0:
        s_hi = min(s_hi, s_lo + LATEST * max(scratch[TAU_MEM], scratch[_row(TAU, n)]))
    n_roots, rising = _turning_points(m, s_hi - s_lo, n, scratch)
    below = scratch[U] < theta
    if rising and not below:
        return s_lo
    low = 0.0
    for i in range(n_roots + 1):
        at_end = i == n_roots
        high = s_hi - s_lo if at_end else scratch[_row(ROOT, n) + i]
        if rising and below:
            if high == math.inf:
                # R ends with the sign of -theta, and so does u - theta.
                high = low + scratch[TAU_MEM]
                while _excess(high, delta, n, scratch)[0] < 0.0:
                    low, high = high, high + 2.0 * (high - low)
                return _crossing_time(low, high, low, s_hi, tau_syn, delta, n, scratch)
            if _reaches(high, s_hi if at_end else s_lo + high, at_end, tau_syn, delta, n, scratch):
                guess = low if low == 0.0 else 0.5 * (low + high)
                return _crossing_time(low, high, guess, s_hi, tau_syn, delta, n, scratch)
        elif not below and not at_end:
            # Only by rounding was u not below theta at s_lo: it has to come there before it can cross.
            excess, _, _, size = _excess(high, delta, n, scratch)
            below = excess <= ROUNDING * size
        low, rising = high, not rising
    return math.inf


@kernel
def first_crossing_of_sum(p, q, tau_mem, tau_syn, delta, n_receptors, theta, s_lo, s_hi, scratch):
    """The first s in (s_lo, s_hi] at which u passes theta upward, given u(s_lo) < theta; inf if there is none.

    q, tau_syn, delta : float64 arrays, the first n_receptors numbers of each are read; delta from
        `flow.decay_difference`. Equal time constants and zeros are allowed, and any signs of p, q and theta.
    s_lo, s_hi : s_hi may be inf; the interval is empty for s_hi <= s_lo. s_lo < -300 min(tau): nan.
    scratch : float64 array of `scratch_size(n_receptors)` numbers, overwritten.

    A peak that only touches theta is no crossing; u(s_hi) == theta while rising is one. If rounding has made u(s_lo) >=
    theta the answer is s_lo where u rises there; where it falls, the next crossing after it has come below theta.
    p, q, theta and the time constants count as exact. Nothing overflows for time constants between 1e-50 and 1e50;
    theta and currents below 1e-90 of the largest may count as 0. A nan among p, q and theta gives inf.
    """
    if not s_hi > s_lo:
        return math.inf
    largest, fastest = max(math.fabs(p), math.fabs(theta)), tau_mem
    for r in range(n_receptors):
        largest = max(largest, math.fabs(q[r]))
        fastest = min(fastest, tau_syn[r])
    if s_lo < -EARLIEST * fastest:
        return math.nan
    usual = SMALL < largest < LARGE
    short = usual and s_lo >= 0.0 and s_hi < NEAR * tau_mem and s_hi - s_lo <= tau_mem
    scale = 1.0 if usual else (SHRINK if largest >= LARGE else GROW)
    _set_out(p, q, tau_mem, tau_syn, delta, n_receptors, theta, s_lo, scale, scratch)
    s = _within_short_interval(tau_syn, delta, n_receptors, s_hi, scratch) if short else math.nan
    return s if not math.isnan(s) else _within_any_interval(tau_syn, delta, n_receptors, s_hi, scratch)
