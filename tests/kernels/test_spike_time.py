"""The next spike: the decision against 50 digits on hard cases, times and slopes to the condition of the problem."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import exp, inf, isinf, mpf, workdps

from eventsnn.kernels.flow import decay_difference, membrane, peak_time, rebase, synaptic_kernel
from eventsnn.kernels.spike_time import (
    FAMILY_DOUBLE,
    FAMILY_EQUAL,
    FAMILY_GENERAL,
    crosses,
    family_of,
    next_spike_time,
    spike_slope,
    spike_time,
    spike_time_and_slope,
)
from tests.reference.decision_cases import RATIOS, DecisionCase, decision_cases
from tests.reference.neuron_mpmath import Neuron
from tests.reference.neuron_mpmath import next_spike_time as exact_next_spike_time

UNIT = 2.0**-53


def _decides(case: DecisionCase) -> bool:
    delta = decay_difference(case.tau_mem, case.tau_syn)
    return crosses(case.p, case.q, case.theta, case.tau_mem, case.tau_syn, delta, case.s_lo, case.s_hi)


def _solves(case: DecisionCase, family: int | None = None) -> tuple[float, float]:
    delta = decay_difference(case.tau_mem, case.tau_syn)
    family = family_of(case.tau_mem, case.tau_syn) if family is None else family
    arguments = (case.p, case.q, case.theta, case.tau_mem, case.tau_syn, delta, family, case.s_lo, case.s_hi)
    s, rise = spike_time_and_slope(*arguments)
    assert spike_time(*arguments) == s
    return s, rise


def _exact(case: DecisionCase) -> tuple[mpf, mpf]:
    neuron = Neuron(case.p, case.q, case.tau_mem, case.tau_syn)
    s = neuron.spike_time(case.theta, case.s_lo, case.s_hi)
    return s, neuron.slope(s)


def _condition(case: DecisionCase, s: float) -> float:
    """Sum of the terms of u(s) - theta, each times its condition: what one relative rounding moves u by."""
    delta = decay_difference(case.tau_mem, case.tau_syn)
    kernel = abs(synaptic_kernel(s, case.tau_mem, case.tau_syn, delta))
    terms = abs(case.p) * math.exp(-s / case.tau_mem) + abs(case.q) * kernel
    return terms * (1.0 + abs(s) / case.tau_mem + abs(s) / case.tau_syn) + abs(case.theta)


def _assert_time_and_slope(case: DecisionCase, family: int | None = None) -> None:
    """Time: 4 roundings of max(tau, s), and of u divided by du/ds. Slope: the same of its own terms (measured: 1)."""
    s, rise = _solves(case, family)
    exact, exact_rise = _exact(case)
    size = _condition(case, float(exact))
    tau = max(case.tau_mem, case.tau_syn)
    with workdps(60):
        assert abs(mpf(s) - exact) <= 4 * UNIT * (max(tau, abs(s)) + mpf(size) / exact_rise), case
        # d(du/ds) = u'' ds plus roundings of q exp(-s/tau_syn) and theta/tau_mem.
        bend = abs(exact_rise) / case.tau_mem + abs(case.q) * exp(-exact / case.tau_syn) / case.tau_syn
        error = bend * 4 * UNIT * (max(tau, abs(s)) + mpf(size) / exact_rise)
        drive = abs(case.q) * exp(-exact / case.tau_syn) * (1 + abs(s) / case.tau_syn)
        assert abs(mpf(rise) - exact_rise) <= error + 4 * UNIT * (drive + abs(case.theta) / case.tau_mem), case
    assert rise > 0.0
    assert case.s_lo <= s <= case.s_hi


# The decision -----------------------------------------------------------------------------------------------------


def _assert_all_right(cases: list[DecisionCase]) -> None:
    wrong = [case for case in cases if _decides(case) != case.answer]
    assert not wrong, f"{len(wrong)} of {len(cases)} decisions are wrong, first: {wrong[0]}"
    # The cases must be what they claim to be: both answers, every kind, half of them on the edge.
    kinds = [case.kind for case in cases]
    assert {"near peak", "near end", "touch", "generic", "signs"} == set(kinds)
    assert sum(kind in ("near peak", "near end", "touch") for kind in kinds) > 0.5 * len(cases)
    assert not any(case.answer for case in cases if case.kind == "touch")
    assert 0.25 < sum(case.answer for case in cases) / len(cases) < 0.75


def test_crosses_agrees_with_50_digits():
    _assert_all_right(decision_cases(2000, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_crosses_agrees_with_50_digits_on_100000_cases(seed):
    _assert_all_right(decision_cases(10_000, seed))


@pytest.mark.parametrize("ratio", RATIOS)
def test_crosses_is_false_for_a_touch_and_true_one_float_below(ratio):
    # Peak at s = 0 with u = p = tau_mem q exactly.
    tau_mem, tau_syn = ratio * 0.25, 0.25
    delta = decay_difference(tau_mem, tau_syn)
    q = 2.0
    theta = tau_mem * q
    for s_hi in (0.0, 0.5, math.inf):
        assert not crosses(theta, q, theta, tau_mem, tau_syn, delta, -0.5, s_hi)
        assert crosses(theta, q, math.nextafter(theta, 0.0), tau_mem, tau_syn, delta, -0.5, s_hi)
        assert not crosses(theta, q, math.nextafter(theta, 9.0), tau_mem, tau_syn, delta, -0.5, s_hi)


@pytest.mark.parametrize("ratio", RATIOS)
def test_crosses_counts_the_end_of_the_interval_in(ratio):
    # u(0) = theta exactly, still rising: s = 0 belongs to (-1, 0], not to (0, 1].
    tau_mem, tau_syn = ratio, 1.0
    delta = decay_difference(tau_mem, tau_syn)
    theta, q = 0.5, 3.0 / tau_mem
    assert crosses(theta, q, theta, tau_mem, tau_syn, delta, -0.1, 0.0)
    assert not crosses(math.nextafter(theta, 0.0), q, theta, tau_mem, tau_syn, delta, -0.1, 0.0)


def test_crosses_is_false_in_an_empty_interval():
    for s_hi in (0.0, -1.0):
        assert not crosses(0.0, 9.0, 1.0, 1.0, 1.0, 0.0, 0.0, s_hi)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 0.5, 1.37])
def test_start_on_the_threshold_by_rounding_spikes_at_once_if_rising(ratio):
    delta = decay_difference(ratio, 1.0)
    family = family_of(ratio, 1.0)
    above = 1.0 + 2.0**-51
    rising, falling = 4.0 / ratio, 0.5 / ratio
    assert crosses(above, rising, 1.0, ratio, 1.0, delta, 0.0, math.inf)
    assert crosses(above, rising, 1.0, ratio, 1.0, delta, 0.0, 1e-3)
    assert spike_time(above, rising, 1.0, ratio, 1.0, delta, family, 0.0, math.inf) == 0.0
    assert not crosses(above, falling, 1.0, ratio, 1.0, delta, 0.0, math.inf)
    # Rest above the threshold: an inhibited neuron falls and comes back, an excited one spikes at once.
    above = -1.0 + 2.0**-51
    assert crosses(above, 1.0, -1.0, ratio, 1.0, delta, 0.0, math.inf)
    assert spike_time(above, 1.0, -1.0, ratio, 1.0, delta, family, 0.0, math.inf) == 0.0
    assert crosses(above, -5.0, -1.0, ratio, 1.0, delta, 0.0, math.inf)
    assert spike_time(above, -5.0, -1.0, ratio, 1.0, delta, family, 0.0, math.inf) > 0.1


@pytest.mark.parametrize("ratio", [1.0, 2.0, 0.5, 1.37, 4.0])
def test_crosses_without_drive_or_with_inhibition(ratio):
    delta = decay_difference(ratio, 1.0)
    for p in (-1.0, 0.0, 0.9):
        for q in (0.0, -0.0, -2.0):
            # Rest below the threshold and no excitation: never, however long.
            assert not crosses(p, q, 1.0, ratio, 1.0, delta, 0.0, math.inf)
    # Rest exactly on the threshold is approached, not crossed.
    assert not crosses(-1.0, 0.0, 0.0, ratio, 1.0, delta, 0.0, math.inf)
    assert not crosses(-1.0, -2.0, 0.0, ratio, 1.0, delta, 0.0, math.inf)
    # Rest above it is reached whatever the current.
    for q in (-5.0, 0.0, 5.0):
        assert crosses(-2.0, q, -0.5, ratio, 1.0, delta, 0.0, math.inf)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 0.5, 1.37, 4.0])
def test_decision_survives_late_times(ratio):
    delta = decay_difference(ratio, 1.0)
    family = family_of(ratio, 1.0)
    late = 1e6 * max(ratio, 1.0)
    assert not crosses(-1.0, 2.0, 3.0, ratio, 1.0, delta, 0.0, late)
    assert not crosses(-1.0, 2.0, 3.0, ratio, 1.0, delta, late, 2.0 * late)
    assert crosses(-1.0, -2.0, -0.5, ratio, 1.0, delta, 0.0, late)
    s = spike_time(-1.0, -2.0, -0.5, ratio, 1.0, delta, family, 0.0, late)
    # Two brackets, two roundings of the same root.
    assert s == pytest.approx(spike_time(-1.0, -2.0, -0.5, ratio, 1.0, delta, family, 0.0, math.inf), rel=4 * UNIT)


# The time ---------------------------------------------------------------------------------------------------------


def test_spike_time_and_slope_agree_with_mpmath():
    for case in decision_cases(1500, seed=100):
        if case.answer:
            _assert_time_and_slope(case)


@pytest.mark.slow
def test_spike_time_and_slope_agree_with_mpmath_on_many_cases():
    for case in decision_cases(10_000, seed=101):
        if case.answer:
            _assert_time_and_slope(case)


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_general_family_agrees_with_the_closed_forms(ratio):
    rng = np.random.default_rng(0)
    for _ in range(200):
        p, q = float(rng.uniform(-1.0, 0.9)), float(rng.uniform(0.5, 9.0))
        if crosses(p, q, 1.0, ratio, 1.0, decay_difference(ratio, 1.0), 0.0, math.inf):
            case = DecisionCase(p, q, 1.0, ratio, 1.0, 0.0, math.inf, True, "generic")
            _assert_time_and_slope(case, FAMILY_GENERAL)


@pytest.mark.parametrize("exponent", np.linspace(-5.0, 5.0, 21))
def test_spike_time_serves_very_different_time_constants(exponent):
    rng = np.random.default_rng(1)
    ratio = 10.0**exponent
    delta = decay_difference(ratio, 1.0)
    for _ in range(20):
        p = float(rng.uniform(-0.5, 0.9))
        # The peak of q alone is tau_mem q ratio^(-ratio/(ratio - 1))
        q = (
            float(rng.uniform(1.0, 5.0))
            / ratio
            * math.exp(math.log(ratio) * ratio / (ratio - 1.0) if ratio != 1 else 1.0)
        )
        if p < 1.0 and crosses(p, q, 1.0, ratio, 1.0, delta, 0.0, math.inf):
            _assert_time_and_slope(DecisionCase(p, q, 1.0, ratio, 1.0, 0.0, math.inf, True, "generic"))


@pytest.mark.parametrize("ratio", RATIOS)
def test_grazing_spikes_keep_all_digits_of_time_and_slope(ratio):
    # u_peak = theta (1 + margin): the distance to the peak is sqrt(2 margin tau_mem tau_syn) or so. Against the exact
    # root of the float64 numbers, not within the (huge) condition of a grazing spike.
    tau_mem, tau_syn = ratio, 1.0
    for margin in (1e-5, 1e-6, 1e-7, 1e-9, 1e-12, 1e-14, 1e-15):
        p, q = 0.3, 2.9 / tau_mem
        neuron = Neuron(p, q, tau_mem, tau_syn)
        with workdps(60):
            theta = float(neuron.potential(neuron.extremum()) * (1 - mpf(margin)))
        case = DecisionCase(p, q, theta, tau_mem, tau_syn, 0.0, math.inf, True, "near peak")
        if not _decides(case):
            assert margin == 1e-15
            assert neuron.sign(neuron.extremum(), theta) <= 0
            continue
        s, rise = _solves(case)
        exact, exact_rise = _exact(case)
        with workdps(60):
            # s = s_peak - tau_mem r with both parts right to an ulp or two.
            assert abs(mpf(s) - exact) <= 4 * UNIT * max(tau_mem, exact)
            # From D and r, each to a few ulp.
            assert abs(mpf(rise) / exact_rise - 1) <= 1e-14


@pytest.mark.parametrize("ratio", RATIOS)
def test_spike_time_does_not_depend_on_the_reference_time(ratio):
    tau_mem, tau_syn = ratio, 1.0
    delta = decay_difference(tau_mem, tau_syn)
    family = family_of(tau_mem, tau_syn)
    p, q, theta = -0.2, 6.0 / tau_mem, 0.6
    s = spike_time(p, q, theta, tau_mem, tau_syn, delta, family, 0.0, math.inf)
    for shift in (0.01, 0.1 * s, 0.9 * s, -1.0, -3.0):
        p_later, q_later = rebase(p, q, shift, tau_mem, tau_syn, delta)
        later = spike_time(p_later, q_later, theta, tau_mem, tau_syn, delta, family, -math.inf, math.inf)
        # Rebasing rounds p and q by a few ulp, |p|, |q x| are at most e^3 times theta: 200 roundings are plenty.
        assert later + shift == pytest.approx(s, abs=200 * UNIT * max(1.0, tau_mem))


@pytest.mark.parametrize("k", range(2, 16))
def test_spike_time_is_continuous_through_ratio_one(k):
    step = 10.0**-k
    at_one = next_spike_time(0.1, 6.0, 1.0, 1.0, 1.0, 0.0)
    for ratio in (1.0 + step, 1.0 - step):
        # |ds/d(ratio)| < 1 for this neuron; a few roundings.
        assert abs(next_spike_time(0.1, 6.0, ratio, 1.0, 1.0, 0.0) - at_one) <= step + 1e-15


def test_spike_slope_matches_the_slope_at_the_time():
    for case in decision_cases(300, seed=5):
        if case.answer and case.kind == "generic":
            s, rise = _solves(case)
            delta = decay_difference(case.tau_mem, case.tau_syn)
            by_time = spike_slope(case.p, case.q, case.theta, case.tau_mem, case.tau_syn, delta, s)
            # It rounds two terms whose difference is the slope, and u'' times the rounding of s.
            terms = (abs(case.q) * math.exp(-s / case.tau_syn) + abs(case.theta) / case.tau_mem) * UNIT
            drift = 8 * (1.0 + abs(s) / case.tau_syn + max(1.0, _condition(case, s) / (rise * case.tau_syn)))
            assert abs(by_time - rise) <= terms * drift


def test_family_of_tells_the_closed_forms():
    assert family_of(0.01, 0.01) == FAMILY_EQUAL
    assert family_of(0.01, 0.005) == FAMILY_DOUBLE
    assert family_of(0.005, 0.01) == FAMILY_GENERAL
    assert family_of(0.01 * (1.0 + 2.0**-52), 0.01) == FAMILY_GENERAL


@pytest.mark.parametrize("ratio", [1.0, 2.0, 0.5, 1.37, 4.0])
def test_next_spike_time_covers_every_sign(ratio):
    rng = np.random.default_rng(2)
    n_spikes = 0
    for _ in range(100):
        v_threshold = 1.0
        v_inf = float(rng.choice([-0.5, 0.0, 0.5, 1.0, 1.3, 2.0]))
        v0, i0 = float(rng.uniform(-2.0, 0.99)), float(rng.normal() * 4.0)
        found = next_spike_time(v0, i0, ratio, 1.0, v_threshold, v_inf)
        exact = exact_next_spike_time(v0, i0, ratio, 1.0, v_threshold, v_inf)
        assert math.isinf(found) == isinf(exact)
        if exact != inf:
            n_spikes += 1
            # v0 - v_inf and i0/tau_mem round once more; slopes at these spikes are above 1e-3.
            assert abs(found - float(exact)) <= 1e-12
    assert n_spikes > 20


def test_spike_time_lies_on_the_threshold_before_the_peak():
    rng = np.random.default_rng(3)
    for ratio in (1.0, 2.0, 0.7):
        delta = decay_difference(ratio, 1.0)
        for _ in range(100):
            p, q = float(rng.uniform(-1.0, 0.9)), float(rng.uniform(0.0, 9.0))
            if crosses(p, q, 1.0, ratio, 1.0, delta, 0.0, math.inf):
                s = spike_time(p, q, 1.0, ratio, 1.0, delta, family_of(ratio, 1.0), 0.0, math.inf)
                assert s <= peak_time(p, q, ratio, 1.0, delta)
                # |du/ds| < 20 and s has an error of an ulp or two.
                assert membrane(s, p, q, ratio, delta) == pytest.approx(1.0, abs=1e-14)
