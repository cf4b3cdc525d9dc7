"""Factors of the events against their formulas in 40 digits."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import exp, mpf, workdps

from eventsnn import LI
from eventsnn.kernels.constants import CROSS, GAIN, POWER, REFERENCE, RISE, TIME, WARPED, X_NEXT, Factors, InputEvents
from eventsnn.kernels.event_factors import event_factors
from eventsnn.simulation.readouts import ReadoutRunner


@pytest.mark.parametrize("tau_mem", [20e-3, 2.0, 3.0, 4.0, 8.0, 9.0, 1.0, 0.25, 3.0 + 1e-9, 1.0 + 1e-9])
def test_event_factors_agree_with_their_formulas(tau_mem):
    tau_syn = 5e-3 if tau_mem == 20e-3 else 1.0
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0.0, 30.0 * tau_syn, 60))
    events = InputEvents(np.array([0, 0, 40, 60]), np.zeros(60, np.int64), times)
    floats = np.empty((4, 60))
    factors = Factors(np.empty((4, 60)), np.empty((2, 60)), floats, floats[POWER].view(np.int64))
    constants = ReadoutRunner(LI(tau_mem, tau_syn), np.ones((1, 1))).constants
    event_factors(constants, events, factors)
    reference = factors.clock[REFERENCE]
    assert factors.clock[TIME].tolist() == times.tolist()
    assert np.unique(reference[:40]).size > 1  # it moves
    with workdps(40):
        fast, slow = 1 / mpf(tau_syn), 1 / mpf(tau_mem)
        delta = fast - slow

        def warped(s):
            return (1 - exp(-delta * s)) / delta if delta else s

        for k in range(60):
            s = mpf(times[k]) - mpf(reference[k])
            after = k + 1 if k not in (39, 59) else k
            s_next = mpf(times[after]) - mpf(reference[k])
            # exponents up to 20, rounded once, and up to eight powers
            assert factors.values[RISE, k] == pytest.approx(float(exp(slow * s)), rel=1e-14)
            assert factors.values[GAIN, k] == pytest.approx(float(exp(fast * s) * slow), rel=2e-14)
            # absolute near zero: p + q x needs no more, and s has the rounding error of times that are much larger
            x = float(warped(s))
            assert factors.floats[WARPED, k] == pytest.approx(x, rel=1e-14, abs=1e-14 * tau_syn)
            assert factors.values[X_NEXT, k] == pytest.approx(float(warped(s_next)), rel=1e-14, abs=1e-14 * tau_syn)
            cross, gain = factors.values[CROSS, k], factors.values[GAIN, k]
            assert cross == pytest.approx(-gain * x, rel=3e-14, abs=1e-14 * tau_syn * gain)
