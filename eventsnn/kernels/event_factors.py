"""The scalar factors that turn an input spike into two multiply-adds per synapse."""

from __future__ import annotations

import math

from numba import njit

from eventsnn.kernels.constants import REFERENCE_SPAN
from eventsnn.kernels.flow import warp
from eventsnn.kernels.spike_time import FAMILY_EQUAL


@njit(cache=True, nogil=True, error_model="numpy")
def event_factors(constants, events, factors):
    """Fill `factors` for every event of a block.

    The reference time is that of the first event of a sample and moves to the current event when the exponents would
    grow beyond `REFERENCE_SPAN`. One or two transcendental functions per event: exp(s/tau_syn) follows from
    exp(s/tau_mem) and x, because exp(-delta s) = 1 - delta x.
    """
    tau_mem, delta = constants.tau_mem, constants.delta
    span = REFERENCE_SPAN * min(tau_mem, constants.tau_syn)
    offsets, times = events.offsets, events.times
    gains, crosses, x_next, rises, references = factors
    for b in range(offsets.size - 1):
        start, end = offsets[b], offsets[b + 1]
        reference, x = 0.0, 0.0
        for k in range(start, end):
            t = times[k]
            if k == start or t - reference > span:
                reference, x = t, 0.0
            s = t - reference
            rise = math.exp(s / tau_mem)
            gain = rise / tau_mem
            if constants.family != FAMILY_EQUAL:
                gain /= 1.0 - delta * x
            references[k] = reference
            rises[k] = rise
            gains[k] = gain
            crosses[k] = -gain * x
            if k + 1 < end:
                x = warp(times[k + 1] - reference, delta)
            x_next[k] = x
