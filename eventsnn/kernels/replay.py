"""First spikes: which of the flagged neurons really crossed in a sweep, and in which interval.

`work` is the forward pass's array (dtype of the weights): p and q before the sweep in the rows now, now + 1;
the other rows are named in `constants`.
"""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.constants import (
    CROSS,
    EVENT,
    FOUND_P,
    FOUND_Q,
    GAIN,
    NEURON,
    OFF,
    P_HIT,
    P_STEP,
    Q_HIT,
    Q_STEP,
    REFERENCE,
    RISE,
    S_HIGH,
    S_LOW,
    TIME,
    W_STEP,
    X_NEXT,
)
from eventsnn.kernels.crossing import crosses
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.solve import highest_peak
from eventsnn.kernels.spike_time import FAMILY_DOUBLE

#: Relative distance from threshold beyond which plain arithmetic decides: far above its rounding errors in float64.
_CLEAR = 1e-9
#: The same for a peak, with more room: float32 knows p and q to seven digits.
_CLEARLY_ABOVE = 1e-4
#: states of a neuron in `_step_flagged` that is not decided
_BELOW, _DOUBTFUL = -1, -2


@kernel
def _crosses(constants, p, q, s_low, s_high):
    """Exact decision for the interval (s_low, s_high]; most neurons that pass the bound fail by their highest peak."""
    if q <= 0.0 or highest_peak(constants, p, q) < constants.theta * (1.0 - _CLEAR):
        return False
    return crosses(p, q, constants.theta, constants.tau_mem, constants.tau_syn, constants.delta, s_low, s_high)


@kernel(fastmath={"contract"})
def _step_flagged(work, size, gain, cross, x_next, certain, possible, turn, r, rows):
    """One event for the gathered neurons: rows[i] = r where the end of the interval is above threshold for certain.

    In doubt is a neuron that passes the bound, ends below threshold and falls there (tau_mem q exp(-delta s) = turn q
    is less than p + q x): it may have peaked above threshold inside. One that still rises has not crossed yet.
    """
    for i in range(size):
        a = work[P_STEP, i] + work[W_STEP, i] * cross
        b = work[Q_STEP, i] + work[W_STEP, i] * gain
        top = a + b * x_next
        work[P_STEP, i] = a
        work[Q_STEP, i] = b
        open_ = rows[i] == _BELOW
        hit = open_ & (top > certain) & (b > 0)
        work[P_HIT, i] = a if hit else work[P_HIT, i]
        work[Q_HIT, i] = b if hit else work[Q_HIT, i]
        rows[i] = r if hit else (_DOUBTFUL if open_ & (top > possible) & (top > turn * b) else rows[i])


@kernel
def _first_crossing(constants, weight, neurons, clock, values, first, stop, n, p, q):
    """Exact search of one neuron's first crossing in the events first : stop; returns (event or -1, p, q) there."""
    for e in range(first, stop):
        w = np.float64(weight[neurons[e], n])
        q += w * values[GAIN, e]
        p += w * values[CROSS, e]
        if p + q * values[X_NEXT, e] > constants.theta * values[RISE, e] and _crosses(
            constants, p, q, clock[TIME, e] - clock[REFERENCE, e], clock[TIME, e + 1] - clock[REFERENCE, e]
        ):
            return e, p, q
    return -1, p, q


@kernel
def first_crossings(
    constants, weight, neurons, clock, values, first, stop, flagged, n_flagged, work, now, rows, found, places, n_found
):
    """First crossings of the flagged neurons in the events first : stop; they go to `found` and are switched off.

    All are stepped together in the precision of the weights; nearly always the end of an interval decides. Those in
    doubt (a peak inside an interval, a value at the threshold) are replayed alone and decided exactly.
    """
    real = weight.dtype.type
    for i in range(n_flagged):
        n = flagged[i]
        work[P_STEP, i], work[Q_STEP, i], rows[i] = work[now, n], work[now + 1, n], _BELOW
    for e in range(first, stop):
        j = neurons[e]
        for i in range(n_flagged):
            work[W_STEP, i] = weight[j, flagged[i]]
        certain, possible = real(np.inf), real(np.inf)
        if clock[TIME, e + 1] > clock[TIME, e]:  # else simultaneous: summed first
            possible = real(constants.theta * values[RISE, e])
            if clock[REFERENCE, e + 1] == clock[REFERENCE, e]:
                certain = real(constants.theta * values[RISE, e + 1] * (1.0 + _CLEAR))
        # a moved reference leaves x_next where it was, but has no `certain`: all that pass the bound are in doubt
        turn = real(constants.tau_mem * (1.0 - constants.delta * values[X_NEXT, e])) if certain < np.inf else real(0.0)
        _step_flagged(
            work, n_flagged, values[GAIN, e], values[CROSS, e], values[X_NEXT, e], certain, possible, turn, e - first,
            rows,
        )  # fmt: skip
    for i in range(n_flagged):
        if rows[i] == _BELOW:
            continue
        n = flagged[i]
        e, p, q = first + rows[i], np.float64(work[P_HIT, i]), np.float64(work[Q_HIT, i])
        if rows[i] == _DOUBTFUL:
            e, p, q = _first_crossing(
                constants, weight, neurons, clock, values, first, stop, n, np.float64(work[now, n]),
                np.float64(work[now + 1, n]),
            )  # fmt: skip
            if e < 0:
                continue
        found[FOUND_P, n_found], found[FOUND_Q, n_found] = p, q
        found[S_LOW, n_found] = clock[TIME, e] - clock[REFERENCE, e]
        found[S_HIGH, n_found] = clock[TIME, e + 1] - clock[REFERENCE, e]
        places[NEURON, n_found], places[EVENT, n_found] = n, e
        n_found += 1
        work[OFF, n] = np.inf
    return n_found


@kernel
def first_crossings_at_end(constants, clock, values, e, flagged, n_flagged, work, now, found, places, n_found):
    """As `first_crossings`, for the interval after the sample's last event e.

    Where it has no end and tau_mem == 2 tau_syn, a neuron that rises at its beginning and whose peak, theta (b^2/(4 a
    theta)) with a = tau_mem q and b = p + a > 0, is clearly above threshold has to cross; the rest is decided exactly.
    """
    s_low, s_high = clock[TIME, e] - clock[REFERENCE, e], constants.t_end - clock[REFERENCE, e]
    tau_mem, theta = constants.tau_mem, constants.theta
    simple = constants.family == FAMILY_DOUBLE and s_high == np.inf
    x_low = np.float64(values[X_NEXT, e])
    turn = tau_mem * (1.0 - constants.delta * x_low)
    for i in range(n_flagged):
        n = flagged[i]
        p, q = np.float64(work[now, n]), np.float64(work[now + 1, n])
        b = p + tau_mem * q
        rises = q > 0.0 and p + q * x_low < turn * q
        certain = simple and rises and b > 0.0 and b * b * (1.0 - _CLEARLY_ABOVE) > 4.0 * tau_mem * q * theta
        if certain or _crosses(constants, p, q, s_low, s_high):
            found[FOUND_P, n_found], found[FOUND_Q, n_found] = p, q
            found[S_LOW, n_found], found[S_HIGH, n_found] = s_low, s_high
            places[NEURON, n_found], places[EVENT, n_found] = n, e
            n_found += 1
    return n_found
