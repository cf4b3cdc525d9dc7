"""The scalar factors that turn an input spike into two multiply-adds per synapse."""

from __future__ import annotations

import math

from eventsnn.kernels.constants import CANCELLATION_SPAN, CROSS, GAIN, REFERENCE, REFERENCE_SPAN, RISE, TIME, X_NEXT
from eventsnn.kernels.flow import warp
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.spike_time import FAMILY_DOUBLE, FAMILY_EQUAL


@kernel
def event_factors(constants, events, factors):
    """Fill `factors` for every event of a block.

    The reference time is that of the first event of a sample and moves to the current event when the exponents would
    grow beyond `REFERENCE_SPAN`, or p + q x would cancel. One or two transcendental functions per event:
    exp(s/tau_syn) follows from exp(s/tau_mem) and x, because exp(-delta s) = 1 - delta x, and for tau_mem == 2 tau_syn
    x follows as well (to an absolute precision, which is all that p + q x can use).
    """
    tau_mem, delta = constants.tau_mem, constants.delta
    span = REFERENCE_SPAN * min(tau_mem, constants.tau_syn)
    if delta > 0.0:
        span = min(span, CANCELLATION_SPAN / delta)
    offsets, times = events.offsets, events.times
    values, clock = factors.values, factors.clock
    doubled = constants.family == FAMILY_DOUBLE
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        reference = 0.0
        for k in range(start, end):
            t = times[k]
            moves = k == start or t - reference > span
            if moves:
                if k > start:
                    values[X_NEXT, k - 1] = warp(t - reference, delta)
                reference = t
            rise = math.exp((t - reference) / tau_mem)
            if doubled:
                x = tau_mem * (1.0 - 1.0 / rise)
                gain = rise * rise / tau_mem
            elif constants.family == FAMILY_EQUAL:
                x = t - reference
                gain = rise / tau_mem
            else:
                x = warp(t - reference, delta)
                gain = rise / (tau_mem * (1.0 - delta * x))
            clock[TIME, k] = t
            clock[REFERENCE, k] = reference
            values[RISE, k] = rise
            values[GAIN, k] = gain
            values[CROSS, k] = -gain * x
            values[X_NEXT, k] = x
            if not moves:
                values[X_NEXT, k - 1] = x
