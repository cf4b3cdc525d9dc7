"""`MarginPenalty`: value and gradient against the 100-digit reference, and against differences of the simulation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
import pytest
from mpmath import mpf, workdps

from eventsnn import (
    LIF,
    Dense,
    MarginPenalty,
    Network,
    Population,
    Projection,
    Sequential,
    Spikes,
    ValidationError,
    VoltageGradient,
    check_eventprop,
    eventprop,
    margins,
    simulate,
)
from eventsnn.gradients.spike_margins import PLACES
from tests.gradients.test_eventprop_adjoint import direction_of, draw_case
from tests.reference.gradients_mpmath import Derivative, moved
from tests.reference.margins_mpmath import peaks_of
from tests.reference.network_mpmath import WORKING_DIGITS, simulate_reference
from tests.reference.random_networks import KINDS

#: so wide that nearly all neurons and spikes cost
WIDE = MarginPenalty(gain=1.5, slope=20.0, strength=0.7)
STEP = mpf(10) ** -25


@workdps(WORKING_DIGITS)
def reference(spec, penalty):
    """The loss, and the places of all peaks and numbers of spikes."""
    outcome, total, kinds = simulate_reference(spec), mpf(0), []
    peaks = peaks_of(spec, outcome)
    for part in spec["populations"]:

        def value(key, k, part=part):
            return mpf(part[key][k])

        def unit(k):
            return abs(value("v_threshold", k) - value("v_leak", k) - value("i_bias", k))

        for k, (peak, _, place) in enumerate(peaks[part["name"]]):
            kinds.append(place)
            if place != "none":
                relative = (value("v_threshold", k) - peak) / unit(k)
                total += max(mpf(0), 1 - relative / mpf(penalty.gain)) ** 2
        for slope, k in outcome.slopes[part["name"]]:
            kinds.append(k)
            total += max(mpf(0), 1 - slope * value("tau_mem", k) / unit(k) / mpf(penalty.slope)) ** 2
    return mpf(penalty.strength) * total, kinds


@dataclass
class Differences:
    """Stands in for `gradients_mpmath.Loss`."""

    spec: dict
    penalty: MarginPenalty

    @workdps(WORKING_DIGITS)
    def derivative(self, direction, both_sides=False):
        here, kinds = reference(self.spec, self.penalty)
        there, others = reference(moved(self.spec, direction, STEP), self.penalty)
        return Derivative(None, None if kinds != others else (there - here) / STEP, changed=kinds != others)


@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_agree_with_the_reference(kind):
    rng = np.random.default_rng([KINDS.index(kind), 43])
    case = draw_case(rng, kind)
    outcome = WIDE.value_and_grad(case.result)
    value, _ = reference(case.loss.spec, WIDE)
    assert outcome.losses == pytest.approx([float(value)], rel=1e-10)
    assert outcome.d_times == {}
    case.loss = Differences(case.loss.spec, WIDE)
    gradients = eventprop(case.result, *outcome[1:3], d_slopes=outcome.d_slopes, d_neurons=outcome.d_neurons)
    case.gradients = lambda: gradients
    # None of these seeds has a peak where two spikes arrive at once: a kink in their delays.
    analytic, direction = direction_of(case, rng, kind)
    slope = case.loss.derivative(direction)
    assert slope.exists
    # as for other losses: test_eventprop_adjoint
    error = abs(sum(analytic) - slope.value)
    assert error <= 1e-9 * np.abs(analytic).sum(), f"{sum(analytic)!r}, difference {slope.value!r}"


def test_a_peak_at_an_arrival_moves_with_it():
    # what cuts the rise: an input, a delayed spike of another neuron, and one of the neuron's own
    network = Network(
        {"drive": 2},
        {"first": Population(LIF(2.0, 1.0), 2), "second": Population(LIF(2.0, 1.0, v_threshold=1.4), 2)},
        [
            Projection("drive", "first", Dense([[5.0, 3.0], [-0.1, -9.0]], np.array([[0.0, 0.0], [0.1, 0.2]]))),
            Projection("drive", "second", Dense([[5.0, 5.2], [0.0, 0.0]], 0.6)),
            Projection("first", "second", Dense([[-9.0, -8.0], [0.0, 0.0]], np.array([[0.5, 0.6], [0.0, 0.0]]))),
        ],
    )
    spikes = Spikes([0, 0], [0, 1], [0.5, 0.8], n_samples=1, n_neurons=2)
    result = simulate(network, spikes, 9.0)
    found = margins(result)
    assert [PLACES[place] for place in found.peak_place["second"][0]] == ["arrival", "arrival"]
    assert PLACES[found.peak_place["first"][0, 1]] == "arrival"
    assert (found.peak_slope["second"] > 0.0).all()

    def loss(result):
        outcome = MarginPenalty(gain=2.0, slope=0.0).value_and_grad(result)
        return outcome.losses.sum(), *outcome[1:]

    report = check_eventprop(network, spikes, loss, 9.0)
    assert report.n_changed == 0
    for entry in chain(*report.entries.values()):
        # rounding over the step of 6e-6, about 1e-10, times 1/(dv/dt) at the spikes
        assert entry.analytic == pytest.approx(entry.numeric, rel=1e-7, abs=1e-8), str(report)

    def fixed(result):
        value, d_times, d_v, *others = loss(result)
        d_v = {name: VoltageGradient(own.samples, own.neurons, own.times, own.values) for name, own in d_v.items()}
        return value, d_times, d_v, *others

    for name in ("drive.times", "drive->first.delay", "first->second.delay"):
        assert not check_eventprop(network, spikes, fixed, 9.0, parameters=[name]).passed, name


def test_several_samples_and_receptors_pass_the_check():
    rng = np.random.default_rng(42)
    cell = LIF(tau_mem=[20.0, 18.0, 22.0], tau_syn={"fast": 4.0, "slow": 12.0, "late": 30.0}, v_leak=0.1, t_refrac=1.0)
    network = Network(
        {"drive": 4},
        {"cells": Population(cell, 3)},
        [
            Projection("drive", "cells", Dense(rng.uniform(1.0, 5.0, (4, 3))), "fast"),
            Projection("drive", "cells", Dense(rng.normal(-1.0, 1.0, (4, 3)), delay=1.0), "late"),
            Projection("cells", "cells", Dense(rng.normal(0.0, 1.0, (3, 3)), delay=2.0), "slow"),
        ],
    )
    n = 20
    spikes = Spikes(rng.integers(0, 2, n), rng.integers(0, 4, n), rng.uniform(0, 40, n), n_samples=2, n_neurons=4)

    def loss(result):
        outcome = WIDE.value_and_grad(result)
        return outcome.losses.sum(), *outcome[1:]

    report = check_eventprop(network, spikes, loss, 60.0, n_entries=4, rng=0)
    assert report.passed, str(report)


def test_peaks_at_reset_at_the_start_and_at_rest_depend_on_these_alone():
    spikes = Spikes([0], [0], [0.0], n_samples=1, n_neurons=1)

    def loss(result):
        outcome = MarginPenalty(gain=2.0, slope=0.0).value_and_grad(result)
        return outcome.losses.sum(), *outcome[1:]

    for weight, changes, place in [
        (5.0, {"v_reset": 0.4, "t_refrac": 30.0}, "release"),
        (-1.0, {"v_leak": 0.2}, "start"),
        (-1.0, {"v_leak": 0.2, "i_bias": 0.3}, "end"),
    ]:
        network = Sequential([Dense([[weight]]), LIF(tau_mem=2.0, tau_syn=1.0, v_threshold=1.1, **changes)])
        t_max = 9.0 if place == "start" else np.inf
        assert PLACES[margins(simulate(network, spikes, t_max)).peak_place["output"][0, 0]] == place
        report = check_eventprop(network, spikes, loss, t_max, tolerance=1e-5)
        for name, entries in report.entries.items():
            for entry in entries:
                # the derivatives are 0 or of the order of 1
                assert entry.analytic == pytest.approx(entry.numeric, rel=1e-7, abs=1e-8), (place, name)


def test_a_penalty_of_nothing_is_zero_and_wrong_arguments_are_named():
    network = Sequential([Dense([[3.9, 4.2]]), LIF(tau_mem=2.0, tau_syn=1.0)])
    result = simulate(network, Spikes([0], [0], [0.5], n_samples=2, n_neurons=1))
    outcome = MarginPenalty(gain=0.0, slope=0.0).value_and_grad(result)
    assert outcome.losses.tolist() == [0.0, 0.0]
    assert not any(own.any() for own in outcome.d_neurons["output"].values())
    assert MarginPenalty(gain=0.1, slope=0.0).value_and_grad(result).losses == pytest.approx([0.5625, 0.0])
    assert MarginPenalty(populations=[]).value_and_grad(result).d_v == {}
    for arguments, message in [
        ({"gain": -0.1}, "MarginPenalty.gain: must be a finite number and >= 0"),
        ({"slope": np.nan}, "MarginPenalty.slope"),
        ({"strength": "1"}, "MarginPenalty.strength"),
        ({"populations": "output"}, "MarginPenalty.populations: must be a list"),
    ]:
        with pytest.raises(ValidationError, match=message):
            MarginPenalty(**arguments)
    with pytest.raises(ValidationError, match="no population 'nobody'"):
        MarginPenalty(populations=("nobody",)).value_and_grad(result)
