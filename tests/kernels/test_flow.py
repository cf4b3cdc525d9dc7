"""The exact motion between events against mpmath, and its algebra."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf, workdps

from eventsnn.kernels.flow import (
    decay_difference,
    lif_flow,
    membrane,
    peak_time,
    rebase,
    slope,
    synaptic_kernel,
    trough_time,
    unwarp,
    warp,
)
from tests.reference.neuron_mpmath import Neuron

RATIOS = [1.0, 2.0, 0.5, 4.0, 1.37, 100.0, 0.01, *(1.0 + s * 10.0**-k for k in (1, 4, 8, 12, 15) for s in (1, -1))]
UNIT = 2.0**-53

ratios = st.sampled_from(RATIOS)
states = st.floats(-3.0, 3.0)
steps = st.floats(0.0, 8.0)


def _size(s: float, p: float, q: float, tau_mem: float, tau_syn: float, delta: float) -> float:
    """What u(s) is summed from, times the relative condition of the exponentials: 1 + s/tau."""
    terms = abs(p) * math.exp(-s / tau_mem) + abs(q) * abs(synaptic_kernel(s, tau_mem, tau_syn, delta))
    return terms * (1.0 + abs(s) / tau_mem + abs(s) / tau_syn)


@pytest.mark.parametrize("ratio", RATIOS)
def test_decay_difference_is_right_next_to_ratio_one(ratio):
    tau_mem, tau_syn = ratio * 0.005, 0.005
    with workdps(50):
        exact = 1 / mpf(tau_syn) - 1 / mpf(tau_mem)
        # Three roundings; the difference itself is exact next to ratio 1.
        assert abs(mpf(decay_difference(tau_mem, tau_syn)) - exact) <= 3 * UNIT * abs(exact)
    assert (decay_difference(tau_mem, tau_syn) == 0.0) == (tau_mem == tau_syn)


@pytest.mark.parametrize("ratio", RATIOS)
def test_membrane_and_slope_agree_with_mpmath(ratio):
    rng = np.random.default_rng(0)
    tau_mem, tau_syn = ratio, 1.0
    delta = decay_difference(tau_mem, tau_syn)
    for _ in range(40):
        p, q = float(rng.normal()), float(rng.normal())
        s = float(rng.uniform(-1.0, 6.0)) * min(tau_mem, tau_syn)
        neuron = Neuron(p, q, tau_mem, tau_syn)
        size = _size(s, p, q, tau_mem, tau_syn, delta)
        # Six roundings, each at most half an ulp of a term; the decays amplify those of their exponents by s/tau.
        assert abs(mpf(membrane(s, p, q, tau_mem, delta)) - neuron.potential(mpf(s))) <= 6 * UNIT * size
        drive = abs(q) * math.exp(-s / tau_syn) * (1.0 + abs(s) / tau_syn)
        error = abs(mpf(slope(s, p, q, tau_mem, tau_syn, delta)) - neuron.slope(mpf(s)))
        assert error <= 8 * UNIT * (size / tau_mem + drive)


@settings(max_examples=300, derandomize=True)
@given(exponent=st.floats(-16.0, 2.0), sign=st.sampled_from([1.0, -1.0]), s=st.floats(-5.0, 5.0))
def test_unwarp_inverts_warp(exponent, sign, s):
    delta = sign * 10.0**exponent
    x = warp(s, delta)
    # ds/dx = exp(delta s): a rounding of x comes back multiplied by x exp(delta s).
    if delta * s < 36.0:
        assert abs(unwarp(x, delta) - s) <= 4 * UNIT * (abs(s) + abs(x) * math.exp(delta * s)) + 1e-300
    else:
        # x is 1/delta up to its rounding: as late as a float64 can tell, or inf.
        assert abs(unwarp(x, delta)) >= 35.0 / abs(delta)


def test_warp_and_unwarp_limits():
    assert warp(3.0, 0.0) == 3.0
    assert unwarp(3.0, 0.0) == 3.0
    assert warp(math.inf, 2.0) == 0.5
    assert warp(math.inf, 0.0) == math.inf
    assert warp(math.inf, -2.0) == math.inf
    assert warp(1e6, -2.0) == math.inf
    assert unwarp(0.5, 2.0) == math.inf
    assert unwarp(7.0, 2.0) == math.inf
    assert unwarp(-7.0, -2.0) == -math.inf
    assert unwarp(math.inf, -2.0) == math.inf
    assert unwarp(math.inf, 2.0) == math.inf


@settings(max_examples=200, derandomize=True)
@given(ratio=ratios, p=states, q=states, a=steps, b=steps)
def test_lif_flow_is_a_semigroup(ratio, p, q, a, b):
    tau_mem, tau_syn = ratio, 1.0
    delta = decay_difference(tau_mem, tau_syn)
    v, i = lif_flow(*lif_flow(p, q, a, tau_mem, tau_syn, delta), b, tau_mem, tau_syn, delta)
    v_once, i_once = lif_flow(p, q, a + b, tau_mem, tau_syn, delta)
    # Both sides round terms no larger than |p| e^(-s/tau_mem) + |q/tau_mem| x e^(-s/tau_mem); 16 roundings in all.
    size = _size(a + b, p, q / tau_mem, tau_mem, tau_syn, delta)
    assert abs(v - v_once) <= 16 * UNIT * size + 1e-300
    assert abs(i - i_once) <= 4 * UNIT * abs(q) * math.exp(-(a + b)) * (1.0 + a + b) + 1e-300


@settings(max_examples=200, derandomize=True)
@given(ratio=ratios, p=states, q=states, shift=steps, s=steps)
def test_rebase_describes_the_same_motion(ratio, p, q, shift, s):
    tau_mem, tau_syn = ratio, 1.0
    delta = decay_difference(tau_mem, tau_syn)
    p_later, q_later = rebase(p, q, shift, tau_mem, tau_syn, delta)
    assert p_later == pytest.approx(membrane(shift, p, q, tau_mem, delta), rel=1e-12, abs=1e-13)
    size = _size(shift + s, p, q, tau_mem, tau_syn, delta)
    later = membrane(s, p_later, q_later, tau_mem, delta)
    # As for the semigroup.
    assert abs(later - membrane(shift + s, p, q, tau_mem, delta)) <= 16 * UNIT * size + 1e-300


@pytest.mark.parametrize("k", range(3, 16))
def test_flow_is_continuous_through_ratio_one(k):
    step = 10.0**-k
    p, q, s = -0.7, 2.3, 1.9
    at_one = membrane(s, p, q, 1.0, 0.0)
    for ratio in (1.0 + step, 1.0 - step):
        near = membrane(s, p, q, ratio, decay_difference(ratio, 1.0))
        # |du/d(ratio)| < 3 here: u moves by less than 3 step, plus 20 roundings.
        assert abs(near - at_one) <= 3.0 * step + 20 * UNIT * (abs(p) + q * s)


@pytest.mark.parametrize("ratio", RATIOS)
def test_nothing_overflows_at_a_million_time_constants(ratio):
    tau_mem, tau_syn = ratio, 1.0
    delta = decay_difference(tau_mem, tau_syn)
    for h in (1e3 * ratio, 1e6 * ratio, 1e6, 1e6 * max(1.0, ratio), 1e300):
        v, i = lif_flow(-3.0, 4.0, h, tau_mem, tau_syn, delta)
        p, q = rebase(-3.0, 4.0, h, tau_mem, tau_syn, delta)
        values = (v, i, p, q, membrane(h, -3.0, 4.0, tau_mem, delta), slope(h, -3.0, 4.0, tau_mem, tau_syn, delta))
        assert all(math.isfinite(x) for x in values)
        assert abs(v) <= 7.0
        assert abs(p) <= 3.0 + 4.0 * max(1.0, ratio)
    assert lif_flow(-3.0, 4.0, 1e6 * max(1.0, ratio), tau_mem, tau_syn, delta) == (0.0, 0.0)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_peak_and_trough_times_agree_with_mpmath(ratio, sign):
    rng = np.random.default_rng(1)
    tau_mem, tau_syn = ratio, 1.0
    delta = decay_difference(tau_mem, tau_syn)
    for _ in range(40):
        q = sign * float(rng.uniform(0.1, 3.0)) / tau_mem
        p = float(rng.normal())
        exact = Neuron(p, q, tau_mem, tau_syn).extremum()
        peak, trough = peak_time(p, q, tau_mem, tau_syn, delta), trough_time(p, q, tau_mem, tau_syn, delta)
        if exact is None:
            rises = slope(0.0, p, q, tau_mem, tau_syn, delta) > 0.0
            assert (peak, trough) == (math.inf if rises else -math.inf, -math.inf)
            continue
        found = peak if sign > 0.0 else trough
        # See peak_log_error in kernels/crossing.py: s/tau_syn is off by (R/tau_mem)(1 + |delta| R)/c roundings.
        amplified = (1.0 + abs(p / q) / tau_mem) * (1.0 + abs(delta) * (tau_mem + abs(p / q))) / (1.0 + delta * p / q)
        assert abs(mpf(found) - exact) <= 8 * UNIT * (abs(float(exact)) + tau_syn * amplified)
        if sign < 0.0:
            assert peak == math.inf


def test_peak_time_without_drive():
    assert peak_time(-1.0, 0.0, 1.0, 1.0, 0.0) == math.inf
    assert peak_time(1.0, 0.0, 1.0, 1.0, 0.0) == -math.inf
    assert peak_time(0.0, 0.0, 2.0, 1.0, 0.5) == -math.inf
    assert trough_time(-1.0, 0.0, 1.0, 1.0, 0.0) == -math.inf
