"""`d_slopes` of EventProp against high-precision differences, `d_heights` against potentials just before the spikes."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import (
    LIF,
    Dense,
    Network,
    Population,
    Projection,
    Sequential,
    Spikes,
    VoltageGradient,
    check_eventprop,
    eventprop,
    simulate,
)
from eventsnn.errors import ValidationError
from tests.gradients.test_eventprop_adjoint import (
    N_NETWORKS,
    TOLERANCE,
    arrays_of,
    assert_same,
    compare,
    direction_of,
    draw_case,
    example,
)
from tests.reference.random_networks import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_eventprop_of_slopes_agrees_with_differences(kind):
    rng = np.random.default_rng([KINDS.index(kind), 21])
    for n in range(N_NETWORKS):
        case = draw_case(rng, kind, with_slopes=True)
        for what, kept, scale, n_kinks in compare(case, rng, may_meet=kind == "simultaneous"):
            assert n_kinks == 0 or (kind == "simultaneous" and what in ("input_times", "delays")), what
            for entry, numeric in kept:
                error = abs(entry.analytic - numeric)
                assert error <= TOLERANCE * scale, f"{kind} {n}: {entry}: {entry.analytic!r}, difference {numeric!r}"


@pytest.mark.parametrize("kind", KINDS)
def test_eventprop_of_slopes_agrees_in_a_random_direction_of_all_entries(kind):
    rng = np.random.default_rng([KINDS.index(kind), 22])
    for n in range(N_NETWORKS):
        case = draw_case(rng, kind, with_slopes=True)
        analytic, direction = direction_of(case, rng, kind)
        slope = case.loss.derivative(direction, both_sides=False)
        assert slope.exists
        error = abs(sum(analytic) - slope.value)
        assert error <= TOLERANCE * np.abs(analytic).sum(), f"{kind} {n}: {sum(analytic)!r}, difference {slope.value!r}"


def test_the_slope_of_a_single_spike_has_the_derivatives_of_its_formula():
    # v = w (e^(-s/2) - e^(-s)), threshold w/4 at y = e^(-s/2) = 1/2: dv/dt = w (-y/2 + y^2) = 0; above it there is none
    weight, tau = 8.0, 2.0
    network = Sequential([Dense([[weight]]), LIF(tau_mem=tau, tau_syn=1.0, v_threshold=1.5, max_spikes=1)])
    spikes = Spikes([0], [0], [0.5], n_samples=1, n_neurons=1)
    result = simulate(network, spikes)
    found = eventprop(result, d_slopes={"output": [1.0]})
    y = 0.5 + np.sqrt(0.25 - 1.5 / weight)
    assert result.spikes["output"].times[0] == pytest.approx(0.5 - tau * np.log(y), rel=1e-14)
    # w (y - y^2) = 1.5: dy/dw = (y^2 - y)/(w (1 - 2 y)), and slope = w (y^2 - y/2)
    d_y = (y**2 - y) / (weight * (1.0 - 2.0 * y))
    assert found.weights[0][0, 0] == pytest.approx((y**2 - y / 2) + weight * (2.0 * y - 0.5) * d_y, rel=1e-13)
    assert found.input_times["input"][0] == pytest.approx(0.0, abs=1e-13)  # the slope does not follow the clock
    # dy/d v_threshold = 1/(w (1 - 2 y))
    by_threshold = (2.0 * y - 0.5) / (1.0 - 2.0 * y)
    assert found.neurons["output"]["v_threshold"][0] == pytest.approx(by_threshold, rel=1e-13)


def test_min_slope_bounds_the_motion_of_the_spike_and_not_the_slope_itself():
    network = Sequential([Dense([[4.0 + 1e-9]]), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])  # grazes
    result = simulate(network, Spikes([0], [0], [0.0], n_samples=1, n_neurons=1))
    bounded = eventprop(result, d_slopes={"output": [1.0]}, min_slope=0.1)
    assert bounded.n_raised == 1
    time = result.spikes["output"].times[0]
    i_syn = (4.0 + 1e-9) * np.exp(-time)
    # dL/dT = -i/(tau_syn tau_mem), dL/dv = that over the least slope, 0.1/2; directly dL/di = 1/2
    response = np.exp(-time / 2) - np.exp(-time)
    expected = np.exp(-time) / 2 + i_syn / 2 / (0.1 / 2) * response
    assert bounded.weights[0][0, 0] == pytest.approx(expected, rel=1e-12)
    assert abs(eventprop(result, d_slopes={"output": [1.0]}).weights[0][0, 0]) > 1e3


@pytest.mark.parametrize("kind", KINDS)
def test_heights_are_potentials_just_before_the_spikes(kind):
    rng = np.random.default_rng([KINDS.index(kind), 23])
    case = draw_case(rng, kind)
    heights = {name: rng.normal(size=own.size) for name, own in case.d_times.items()}
    found = arrays_of(eventprop(case.result, case.d_times, d_heights=heights))
    parts = case.spec["populations"]
    ahead = 2.0**-20 * min(np.min(tau) for part in parts for tau in (part["tau_mem"], *part["tau_syn"].values()))

    def before(distance):
        probes = {}
        for name, own in heights.items():
            spikes = case.result.spikes[name]
            probes[name] = VoltageGradient(spikes.samples, spikes.neurons, spikes.times - distance, own)
        return arrays_of(eventprop(case.result, case.d_times, probes))

    near, far = before(ahead), before(2.0 * ahead)
    # linear in the distance up to (distance/tau)^2 = 1e-12, times how fast v changes there in units of tau
    assert_same(found, {name: 2.0 * near[name] - far[name] for name in near}, rtol=1e-9)
    plain = arrays_of(eventprop(case.result, case.d_times))
    assert any(np.abs(found[name] - plain[name]).max(initial=0.0) > 0.0 for name in found)


def test_heights_reach_what_the_potential_depends_on_and_not_the_threshold():
    network = Sequential([Dense([[8.0]]), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    result = simulate(network, Spikes([0], [0], [0.5], n_samples=1, n_neurons=1))
    found = eventprop(result, d_heights={"output": [3.0]})
    s = result.spikes["output"].times[0] - 0.5
    response = np.exp(-s / 2) - np.exp(-s)
    assert found.weights[0][0, 0] == pytest.approx(3.0 * response, rel=1e-14)
    assert found.input_times["input"][0] == pytest.approx(-24.0 * (np.exp(-s) - np.exp(-s / 2) / 2), rel=1e-14)
    assert found.spike_times["output"][0] == 0.0
    assert found.neurons["output"]["v_threshold"][0] == 0.0


def test_both_are_linear_and_zero_is_nothing():
    case = example("receptors")
    rng = np.random.default_rng(24)
    slopes, heights = ({n: rng.normal(size=own.size) for n, own in case.d_times.items()} for _ in range(2))
    zeros = {name: np.zeros_like(own) for name, own in case.d_times.items()}
    plain = arrays_of(eventprop(case.result, case.d_times))
    assert_same(arrays_of(eventprop(case.result, case.d_times, d_slopes=zeros, d_heights=zeros)), plain, rtol=0.0)
    together = arrays_of(eventprop(case.result, case.d_times, d_slopes=slopes, d_heights=heights))
    apart = [arrays_of(eventprop(case.result, d_slopes=slopes)), arrays_of(eventprop(case.result, d_heights=heights))]
    assert_same(together, {name: plain[name] + apart[0][name] + apart[1][name] for name in plain}, rtol=1e-11)


def test_check_eventprop_takes_a_loss_on_slopes():
    rng = np.random.default_rng(25)
    cell = LIF(tau_mem=20.0, tau_syn={"fast": 5.0, "slow": 12.0}, t_refrac=1.0, v_leak=0.1)
    network = Network(
        {"drive": 3},
        {"cells": Population(cell, 3)},
        [
            Projection("drive", "cells", Dense(rng.uniform(2.0, 5.0, (3, 3))), "fast"),
            Projection("cells", "cells", Dense(rng.normal(0.0, 1.0, (3, 3)), delay=2.0), "slow"),
        ],
    )
    spikes = Spikes([0] * 9, [0, 1, 2] * 3, rng.uniform(0, 30, 9), n_samples=1, n_neurons=3)

    def slopes_of(result):
        own = result.spikes["cells"]
        i_syn = np.array(
            [result.i_syn("cells", [t], 0, [n]).item() for n, t in zip(own.neurons, own.times, strict=True)]
        )
        neuron = result.network.populations["cells"].neuron
        parameters = (neuron.per_neuron(p, 3)[own.neurons] for p in ("v_threshold", "v_leak", "i_bias", "tau_mem"))
        v_threshold, v_leak, i_bias, tau_mem = parameters
        return (i_syn + v_leak + i_bias - v_threshold) / tau_mem

    def loss(result):
        slopes, times = slopes_of(result), result.spikes["cells"].times
        return (slopes**2).sum() + 0.01 * times.sum(), {"cells": 0.01 + 0.0 * times}, {}, {"cells": 2.0 * slopes}

    report = check_eventprop(network, spikes, loss, 40.0)
    assert report.passed, str(report)
    wrong = check_eventprop(network, spikes, lambda result: loss(result)[:3], 40.0, parameters=["cells.tau_mem"])
    assert not wrong.passed


def test_slopes_and_heights_that_do_not_fit_are_refused():
    case = example()
    name = next(iter(case.network.populations))
    own = case.d_times[name]
    for what in ("d_slopes", "d_heights"):
        with pytest.raises(ValidationError, match=f"{what}: no population 'nobody'"):
            eventprop(case.result, **{what: {"nobody": own}})
        with pytest.raises(ValidationError, match=f"{what}: must be a dict by population, got list"):
            eventprop(case.result, **{what: [own]})
        with pytest.raises(ValidationError, match=rf"{what}\['{name}'\]: .* the shape must be"):
            eventprop(case.result, **{what: {name: own[:-1]}})
        with pytest.raises(ValidationError, match=rf"{what}\['{name}'\]: must be finite"):
            eventprop(case.result, **{what: {name: np.full_like(own, np.nan)}})


def test_direct_derivatives_are_added_and_checked():
    case = example("receptors")
    name, population = next(iter(case.network.populations.items()))
    n, n_receptors = population.n_neurons, len(population.neuron.receptors)
    direct = {"v_threshold": np.arange(1.0, n + 1), "tau_syn": np.ones((n, n_receptors))}
    plain, found = (eventprop(case.result, case.d_times, d_neurons=own) for own in (None, {name: direct}))
    for key, values in plain.neurons[name].items():
        assert np.array_equal(found.neurons[name][key], values + direct.get(key, 0.0)), key
    for wrong, message in [
        ({"nobody": direct}, "d_neurons: no population 'nobody'"),
        ({name: {"v_thresh": np.ones(n)}}, "no parameter 'v_thresh'; did you mean 'v_threshold'"),
        ({name: {"v_threshold": np.ones(n + 1)}}, "must be finite and of shape"),
        ({name: {"tau_syn": np.full((n, n_receptors), np.inf)}}, "must be finite and of shape"),
        ({name: [1.0]}, "must be a dict by population, got list"),
    ]:
        with pytest.raises(ValidationError, match=message):
            eventprop(case.result, d_neurons=wrong)


def test_a_potential_at_the_time_of_an_arrival_moves_with_it():
    network = Sequential([Dense([[3.0], [-9.0]], 0.25), LIF(tau_mem=2.0, tau_syn=1.0)])
    result = simulate(network, Spikes([0, 0], [0, 1], [0.5, 0.9], n_samples=1, n_neurons=2))
    s = 0.9 - 0.5
    response, rise = np.exp(-s / 2) - np.exp(-s), np.exp(-s) - np.exp(-s / 2) / 2

    def gradients(time, slopes):
        probe = VoltageGradient(np.array([0]), np.array([0]), np.array([time]), np.array([2.0]), slopes)
        return eventprop(result, d_v={"output": probe})

    at = 0.9 + 0.25
    moving, fixed = gradients(at, np.array([3.0 * rise])), gradients(at, None)
    for found in (moving, fixed):
        assert found.weights[0][:, 0] == pytest.approx([2.0 * response, 0.0], rel=1e-14)
    assert moving.input_times["input"] == pytest.approx([-6.0 * rise, 6.0 * rise], rel=1e-14)
    assert fixed.input_times["input"] == pytest.approx([-6.0 * rise, 0.0], rel=1e-14)
    assert moving.delays[0] == pytest.approx(0.0, abs=1e-14)
    assert fixed.delays[0] == pytest.approx(-6.0 * rise, rel=1e-14)
    with pytest.raises(ValidationError, match="nothing arrives at neuron 0 in sample 0 at t = 1;"):
        gradients(1.0, np.array([1.0]))
    with pytest.raises(ValidationError, match="must be finite"):
        gradients(at, np.array([np.nan]))
    with pytest.raises(ValidationError, match="must be of one length"):
        gradients(at, np.ones(2))
