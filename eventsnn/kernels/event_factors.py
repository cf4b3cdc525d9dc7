"""The scalar factors that turn an input spike into two multiply-adds per synapse."""

from __future__ import annotations

from eventsnn.kernels.constants import (
    CANCELLATION_SPAN,
    CROSS,
    EXPONENTIAL,
    GAIN,
    POWER,
    REDUCED,
    REFERENCE,
    REFERENCE_SPAN,
    RISE,
    TIME,
    WARPED,
    X_NEXT,
)
from eventsnn.kernels.exponential import exp_rows
from eventsnn.kernels.flow import warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.spike_time import FAMILY_EQUAL

#: least |delta| tau_mem at which the warped time is formed from an exponential
_FAR_APART = 0.1
#: largest tau_mem/tau_syn for which powers are cheaper than a second exponential
_MOST_POWERS = 8


@kernel
def _whole_ratio(tau_mem, tau_syn):
    """tau_mem/tau_syn if that is a whole number from 2 to _MOST_POWERS, up to its rounding errors; else 0."""
    ratio = tau_mem / tau_syn
    whole = int(ratio + 0.5) if ratio < _MOST_POWERS + 0.5 else 0
    return whole if whole >= 2 and abs(ratio - whole) <= 4e-16 * whole else 0


@kernel(fastmath={"contract"})
def _factors_of_multiple(values, floats, n_events, tau_mem, delta, ratio):
    """All rows from EXPONENTIAL, for tau_mem == ratio tau_syn: exp(delta s) = rise^(ratio - 1)."""
    for k in range(n_events):
        floats[POWER, k] = floats[EXPONENTIAL, k]
    for _ in range(ratio - 2):
        for k in range(n_events):
            floats[POWER, k] *= floats[EXPONENTIAL, k]
    for k in range(n_events):
        rise = floats[EXPONENTIAL, k]
        x = (1.0 - 1.0 / floats[POWER, k]) / delta
        gain = floats[POWER, k] * rise / tau_mem
        floats[WARPED, k] = x
        values[RISE, k] = rise
        values[GAIN, k] = gain
        values[CROSS, k] = -gain * x


@kernel
def _warp_times(events, factors, tau_mem, delta):
    """The WARPED row, from s to warp(s), for time constants that differ; REDUCED is left as it was.

    Where they differ by enough, 1 - exp(-delta s) has the absolute precision that p + q x can use.
    """
    clock, floats = factors.clock, factors.floats
    n_events = events.offsets[events.offsets.size - 1]
    if abs(delta) * tau_mem < _FAR_APART:
        for k in range(n_events):
            floats[WARPED, k] = warp(floats[WARPED, k], delta)
        return
    for k in range(n_events):
        floats[REDUCED, k] = -delta * floats[WARPED, k]
    exp_rows(floats, factors.bits, n_events)
    for k in range(n_events):
        floats[WARPED, k] = (1.0 - floats[EXPONENTIAL, k]) / delta
        floats[REDUCED, k] = (clock[TIME, k] - clock[REFERENCE, k]) / tau_mem


@kernel
def event_factors(constants, events, factors):
    """Fill `factors` for every event of a block.

    The reference time is that of the first event of a sample and moves to the current event when the exponents would
    grow beyond `REFERENCE_SPAN`, or p + q x would cancel. One or two exponentials per event, vectorised:
    exp(s/tau_syn) follows from exp(s/tau_mem) and x, because exp(-delta s) = 1 - delta x, and where tau_mem is a
    multiple of tau_syn x follows as well (to an absolute precision, which is all that p + q x can use).
    """
    tau_mem, delta = constants.tau_mem, constants.delta
    span = REFERENCE_SPAN * min(tau_mem, constants.tau_syn)
    if delta > 0.0:
        span = min(span, CANCELLATION_SPAN / delta)
    offsets, times = events.offsets, events.times
    values, clock, floats = factors.values, factors.clock, factors.floats
    n_events = offsets[offsets.size - 1]
    for b in range(offsets.size - 1):
        reference = times[offsets[b]] if offsets[b + 1] > offsets[b] else 0.0
        for k in range(offsets[b], offsets[b + 1]):
            t = times[k]
            reference = t if t - reference > span else reference
            clock[TIME, k] = t
            clock[REFERENCE, k] = reference
            floats[WARPED, k] = t - reference
            floats[REDUCED, k] = (t - reference) / tau_mem
    ratio = _whole_ratio(tau_mem, constants.tau_syn)
    if ratio == 0 and constants.family != FAMILY_EQUAL:
        _warp_times(events, factors, tau_mem, delta)
    exp_rows(floats, factors.bits, n_events)
    if ratio > 0:
        _factors_of_multiple(values, floats, n_events, tau_mem, delta, ratio)
    else:
        for k in range(n_events):
            rise, x = floats[EXPONENTIAL, k], floats[WARPED, k]
            gain = rise / (tau_mem * (1.0 - delta * x))
            values[RISE, k] = rise
            values[GAIN, k] = gain
            values[CROSS, k] = -gain * x
    for b in range(offsets.size - 1):
        last = offsets[b + 1] - 1
        for k in range(offsets[b], last):
            if clock[REFERENCE, k + 1] == clock[REFERENCE, k]:
                values[X_NEXT, k] = floats[WARPED, k + 1]
            else:
                values[X_NEXT, k] = warp(clock[TIME, k + 1] - clock[REFERENCE, k], delta)
        if last >= offsets[b]:
            values[X_NEXT, last] = floats[WARPED, last]
