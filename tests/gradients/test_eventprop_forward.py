"""Derivatives with respect to time constants and rest where the closed forms are delicate, against mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from mpmath import mpf, workdps

from eventsnn import LI, LIF, Dense, Network, Population, Projection, Sequential, Spikes, eventprop, simulate
from eventsnn.errors import ValidationError
from eventsnn.gradients import VoltageGradient
from eventsnn.kernels.eventprop_forward import decayed_warp_integral, warp_integral
from eventsnn.kernels.flow import decay_difference, warp
from tests.gradients.test_eventprop_adjoint import arrays_of, assert_same, case_of, draw_case, entries_of
from tests.reference.random_networks import KINDS

#: tau_mem/tau_syn: far apart, where closed forms have their own case, and next to 1
RATIOS = (1.0, 2.0, 0.5, 60.0, 0.02, *(1.0 + sign * 10.0**-k for k in (2, 6, 12) for sign in (1, -1)))


# --- integrals of the warped time ---


@pytest.mark.parametrize("ratio", RATIOS)
def test_warp_integrals_agree_with_mpmath(ratio):
    tau_mem, tau_syn = ratio, 1.0
    delta = decay_difference(tau_mem, tau_syn)
    for s in [*(min(tau_mem, tau_syn) * 2.0 ** np.arange(-12.0, 4.0)), 200.0 * max(tau_mem, tau_syn)]:
        with workdps(60):
            d, h = mpf(delta), mpf(s)
            exact = h**2 / 2 if d == 0 else (h - (1 - mpmath.exp(-d * h)) / d) / d
            decayed = mpmath.exp(-h / mpf(tau_mem)) * exact
        if abs(delta * s) < 300.0:
            # 8 roundings of s in s - x, which is at least s/9 where the series is left
            assert warp_integral(s, warp(s, delta), delta) == pytest.approx(float(exact), rel=1e-14)
        # besides, the exponents' own roundings, s/tau of them
        tolerance = 1e-14 + 2.0**-52 * s * (1.0 / tau_mem + 1.0 / tau_syn)
        assert decayed_warp_integral(s, tau_mem, delta) == pytest.approx(float(decayed), rel=tolerance)


# --- spikes ---


def spec_of(ratio):
    """Two neurons with resets, silences of many time constants, arrivals at a rest, and loops."""
    part = {
        "name": "cells", "n": 2, "tau_mem": [ratio, ratio], "tau_syn": {"fast": [1.0, 1.0], "slow": [1.7, 1.0]},
        "v_threshold": 1.0, "v_reset": [-0.2, 0.1], "v_leak": 0.1, "t_refrac": [0.0, 0.3], "i_bias": 0.05,
        "max_spikes": None,
    }  # fmt: skip
    strength = 6.0 * max(ratio, 1.0)
    plain = {"target": "cells", "delay": np.zeros(()), "is_dense": True}
    drive = [(0, 0, strength, 0.0), (0, 1, 0.8 * strength, 0.0), (1, 0, 0.7 * strength, 0.0), (1, 1, 0.0, 0.0)]
    loop = [(0, 0, -0.4, 0.2), (0, 1, 0.9, 0.2), (1, 0, 0.5, 0.2), (1, 1, -0.3, 0.2)]
    return {
        "populations": [part],
        "inputs": [{"name": "drive", "n": 2}],
        "projections": [
            {**plain, "source": "drive", "receptor": "fast", "synapses": drive},
            {**plain, "source": "cells", "receptor": "slow", "delay": np.array(0.2), "synapses": loop},
        ],
        "spikes": {"drive": [(0, 0.25), (1, 0.5), (0, 45.0), (1, 45.25), (0, 47.0), (1, 400.0)]},
        "t_max": 420.0,
    }


@pytest.mark.parametrize("ratio", RATIOS)
def test_time_constants_and_rest_agree_with_differences_for_every_ratio(ratio):
    case = case_of(spec_of(ratio), np.random.default_rng(31), with_slopes=True)
    counts = case.result.spikes["cells"].counts()
    assert (counts >= 3).all()
    assert (case.result.spikes["cells"].times > 400.0).any()
    entries = entries_of(case, case.gradients())
    for what in ("tau_mem", "tau_syn", "v_leak", "i_bias"):
        exact = [case.loss.derivative(dict.fromkeys(entry.paths, 1.0), both_sides=False) for entry in entries[what]]
        assert all(slope.exists for slope in exact)
        scale = max(abs(slope.value) for slope in exact)
        for entry, slope in zip(entries[what], exact, strict=True):
            # exp(4) = 55 roundings cancel in the coefficients, and s/tau <= 20 of them in every exponent
            assert abs(entry.analytic - slope.value) <= 1e-11 * scale, str(entry)


# --- potentials ---


@pytest.mark.parametrize("ratio", RATIOS)
def test_potentials_of_readouts_agree_with_their_closed_form(ratio):
    tau_mem, tau_syn = ratio, 1.0
    weights, arrivals, times = [1.3, -0.7, 2.1], [0.25, 1.5, 48.0], [0.5, 3.0, 30.0, 48.5, 60.0]
    network = Network(
        {"drive": 3},
        {"out": Population(LI(tau_mem=tau_mem, tau_syn=tau_syn), 1)},
        [Projection("drive", "out", Dense(np.array(weights)[:, None]))],
    )
    result = simulate(network, Spikes([0] * 3, [0, 1, 2], arrivals, n_samples=1, n_neurons=3), 70.0, progress=False)
    for t in times:
        zero = np.zeros(1, np.int64)
        found = eventprop(result, d_v={"out": VoltageGradient(zero, zero, np.array([t]), np.ones(1))}).neurons["out"]

        def v(tau_mem, tau_syn, t=t):
            s = [mpf(t) - mpf(arrival) for arrival in arrivals]
            c = tau_syn / (tau_mem - tau_syn)
            kernels = [c * (mpmath.exp(-h / tau_mem) - mpmath.exp(-h / tau_syn)) if h > 0 else mpf(0) for h in s]
            return sum(mpf(w) * k for w, k in zip(weights, kernels, strict=True))

        with workdps(80):
            # next to tau_mem = tau_syn the formula divides by zero, a hair beside it only by 1e-30
            at = mpf(tau_mem) + mpf(10) ** -30, mpf(tau_syn)
            step = mpf(10) ** -20
            by_mem = (v(at[0] + step, at[1]) - v(at[0] - step, at[1])) / (2 * step)
            by_syn = (v(at[0], at[1] + step) - v(at[0], at[1] - step)) / (2 * step)
        # relative to the largest arrival's share
        scale = max(abs(float(by_mem)), abs(float(by_syn)))
        assert found["tau_mem"][0] == pytest.approx(float(by_mem), abs=1e-12 * scale)
        assert found["tau_syn"][0, 0] == pytest.approx(float(by_syn), abs=1e-12 * scale)
        assert found["v_leak"][0] == found["i_bias"][0] == pytest.approx(1.0, rel=1e-15)


def test_a_potential_in_the_refractory_time_depends_on_nothing_but_v_reset():
    network = Sequential([Dense([[8.0]]), LIF(tau_mem=2.0, tau_syn=1.0, t_refrac=1.0, v_reset=-0.1)])
    result = simulate(network, Spikes([0], [0], [0.5], n_samples=1, n_neurons=1), 9.0)
    zero = np.zeros(1, np.int64)
    time = result.spikes["output"].times[:1]
    held = eventprop(result, d_v={"output": VoltageGradient(zero, zero, time + 0.9, np.array([3.0]))})
    assert held.neurons["output"].pop("v_reset").tolist() == [3.0]
    assert not any(values.any() for values in held.neurons["output"].values())
    # continuous from the release on
    free = [
        eventprop(result, d_v={"output": VoltageGradient(zero, zero, time + 1.0 + h, np.array([3.0]))})
        for h in (0.0, 1e-9)
    ]
    assert free[0].neurons["output"]["tau_mem"][0] == pytest.approx(free[1].neurons["output"]["tau_mem"][0], rel=1e-8)
    assert free[0].neurons["output"]["v_reset"][0] == 3.0


# --- the option, and what is refused ---


@pytest.mark.parametrize("kind", KINDS)
def test_without_time_constants_everything_else_stays(kind):
    case = draw_case(np.random.default_rng([KINDS.index(kind), 32]), kind)
    both = [arrays_of(eventprop(case.result, case.d_times, neuron_parameters=wanted)) for wanted in (True, False)]
    missing = both[0].keys() - both[1].keys()
    assert {parameter for _, parameter in missing} == {"tau_mem", "tau_syn", "v_leak", "i_bias"}
    assert_same(both[1], {name: own for name, own in both[0].items() if name not in missing}, rtol=0.0)


def test_a_run_continued_at_zero_with_spikes_on_the_way_is_refused():
    connection = Dense([[8.0]], delay=1.0)
    cells = Population(LIF(1.0, 0.5), 1)
    network = Network({"drive": 1}, {"cells": cells}, [Projection("drive", "cells", connection)])
    spikes = Spikes([0], [0], [0.0], n_samples=1, n_neurons=1)
    state = simulate(network, spikes, 0.0, resumable=True).state
    result = simulate(network, None, 5.0, state=state)
    assert result.spikes["cells"].n_events > 0
    with pytest.raises(ValidationError, match="continued at t = 0"):
        eventprop(result)
