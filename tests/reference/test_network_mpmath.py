"""The reference against what is known by hand, against the reference of one neuron, and against its own definition."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from mpmath import exp, lambertw, log, mpf, sqrt, workdps

from tests.reference import network_mpmath
from tests.reference.multi_spike_mpmath import spikes_of_neuron
from tests.reference.network_mpmath import WORKING_DIGITS, TooManySpikes, simulate_reference
from tests.reference.random_networks import FEWEST, KINDS, random_network

# 50 digits are promised; the closed forms below and the reference work with 100.
TOLERANCE = mpf(10) ** -50


def _population(n=1, name="cells", **changes):
    plain = {"tau_mem": 1.0, "tau_syn": {"syn": 1.0}, "v_threshold": 1.0, "v_reset": 0.0, "v_leak": 0.0}
    return {"name": name, "n": n, **plain, "t_refrac": 0.0, "i_bias": 0.0, "max_spikes": None, **changes}


def _spec(populations, synapses, spikes, t_max, recurrent=()):
    """Inputs onto the first population, which `recurrent` connects to itself."""
    target = populations[0]["name"]
    projections = [
        {"source": "drive", "target": target, "receptor": None, "synapses": synapses},
        {"source": target, "target": target, "receptor": None, "synapses": list(recurrent)},
    ]
    inputs = [{"name": "drive", "n": 1 + max((j for j, *_ in synapses), default=0)}]
    return {
        "populations": populations,
        "inputs": inputs,
        "projections": projections,
        "spikes": {"drive": spikes},
        "t_max": t_max,
    }


def _one(weight, t_max=20.0, **changes):
    """Outcome of one neuron with one input spike at 0."""
    return simulate_reference(_spec([_population(**changes)], [(0, 0, weight, 0.0)], [(0, 0.0)], t_max))


def _equal_tau_wait(weight, threshold=1.0):
    """First crossing of w s exp(-s), whose peak is w/e."""
    assert weight > threshold * exp(1)
    return -lambertw(-mpf(threshold) / mpf(weight)).real


@workdps(WORKING_DIGITS)
def _assert_times(found, expected):
    assert [neuron for _, neuron in found] == [neuron for _, neuron in expected]
    for (time, _), (exact, _) in zip(found, expected, strict=True):
        assert abs(time - exact) <= TOLERANCE * exact


@workdps(WORKING_DIGITS)
def test_equal_time_constants_agree_with_lambert_w():
    outcome = _one(3.0, max_spikes=1)
    _assert_times(outcome.spikes["cells"], [(_equal_tau_wait(3.0), 0)])
    # The peak is w/e; the scale of the margin is the drive, 3.
    assert outcome.margin == pytest.approx((3.0 / math.e - 1.0) / 3.0, rel=1e-12)


@workdps(WORKING_DIGITS)
def test_ratio_two_agrees_with_the_quadratic():
    outcome = _one(5.0, tau_mem=2.0, max_spikes=1)
    y = (1 + sqrt(1 - 4 / mpf(5))) / 2
    _assert_times(outcome.spikes["cells"], [(-2 * log(y), 0)])


def test_a_touch_is_no_spike_and_one_ulp_more_is():
    # tau_mem == 2 tau_syn: v = w (y - y^2), the peak is exactly w/4.
    touch, above = _one(4.0, tau_mem=2.0), _one(math.nextafter(4.0, 5.0), tau_mem=2.0)
    assert touch.spikes["cells"] == []
    assert len(above.spikes["cells"]) == 1
    assert touch.margin < 1e-50
    # One ulp of the weight is 2^-52 of the peak; the scale is the drive, w/2.
    assert above.margin == pytest.approx(2.0**-53, rel=1e-6)


@workdps(WORKING_DIGITS)
def test_a_chain_adds_waits_and_delays():
    spec = _spec([_population(2, max_spikes=1)], [(0, 0, 3.0, 0.25)], [(0, 0.5)], 20.0, [(0, 1, 5.0, 0.7)])
    first = mpf(0.75) + _equal_tau_wait(3.0)
    second = first + mpf(0.7) + _equal_tau_wait(5.0)
    _assert_times(simulate_reference(spec).spikes["cells"], [(first, 0), (second, 1)])


@workdps(WORKING_DIGITS)
def test_the_current_runs_on_while_v_is_held():
    hold = 0.3
    times, weight = [], mpf(12)
    while weight > exp(1):
        wait = _equal_tau_wait(weight)
        times.append((times[-1] + mpf(hold) if times else mpf(0)) + wait)
        weight *= exp(-wait - mpf(hold))
    assert len(times) > 2
    _assert_times(_one(12.0, t_refrac=hold).spikes["cells"], [(time, 0) for time in times])


@workdps(WORKING_DIGITS)
def test_input_during_the_hold_counts_from_its_end_on():
    first = _equal_tau_wait(3.0)
    end = first + mpf(2)
    late = mpf(1.5)
    left = 3 * exp(-end) + 12 * exp(-(end - late))
    spec = _spec(
        [_population(t_refrac=2.0, max_spikes=2)], [(0, 0, 3.0, 0.0), (1, 0, 12.0, 0.0)], [(0, 0.0), (1, 1.5)], 9.0
    )
    assert first < late < end
    _assert_times(simulate_reference(spec).spikes["cells"], [(first, 0), (end + _equal_tau_wait(left), 0)])


def test_opposite_inputs_at_one_time_cancel():
    synapses = [(0, 0, 30.0, 0.0), (1, 0, -30.0, 0.0), (2, 0, 3.0, 0.0)]
    cancelled = _spec([_population()], synapses, [(0, 0.1), (1, 0.1)], 9.0)
    outcome = simulate_reference(cancelled)
    assert outcome.spikes["cells"] == []
    # the two never meet if one is late
    apart = _spec([_population()], synapses, [(0, 0.1), (1, 0.2)], 9.0)
    assert simulate_reference(apart).spikes["cells"]
    # and leave no trace in the time of a later spike
    third = _spec([_population()], synapses, [(1, 0.1), (2, 0.3), (0, 0.1)], 9.0)
    alone = _spec([_population()], synapses, [(2, 0.3)], 9.0)
    assert simulate_reference(third).spikes == simulate_reference(alone).spikes


@workdps(WORKING_DIGITS)
@pytest.mark.parametrize("t_refrac", [0.0, 0.4])
def test_a_bias_above_threshold_makes_a_regular_spiker(t_refrac):
    changes = {"tau_mem": 2.5, "v_threshold": 1.2, "v_reset": -0.3, "v_leak": -0.1, "i_bias": 1.7, "t_refrac": t_refrac}
    v_inf = mpf(-0.1) + mpf(1.7)
    start = mpf(2.5) * log((v_inf - mpf(-0.1)) / (v_inf - mpf(1.2)))
    period = mpf(2.5) * log((v_inf - mpf(-0.3)) / (v_inf - mpf(1.2))) + mpf(t_refrac)
    found = simulate_reference(_spec([_population(**changes)], [], [], 40.0)).spikes["cells"]
    assert len(found) == 1 + int((40 - start) / period)
    _assert_times(found, [(start + k * period, 0) for k in range(len(found))])


def _crossing_at_one_half(t_max=9.0, extra=()):
    """v - v_threshold = (-1 + 2 s) exp(-s): rest at the threshold, start below it."""
    synapses = [(0, 0, 2.0, 0.0), (1, 0, -50.0, 0.0)]
    return simulate_reference(_spec([_population(i_bias=1.0)], synapses, [(0, 0.0), *extra], t_max)).spikes["cells"]


def test_the_end_of_an_interval_belongs_to_it():
    assert _crossing_at_one_half()[0] == (mpf(0.5), 0)
    assert _crossing_at_one_half(t_max=0.5) == [(mpf(0.5), 0)]
    assert _crossing_at_one_half(t_max=math.nextafter(0.5, 0.0)) == []
    assert _crossing_at_one_half(extra=[(1, 0.5)]) == [(mpf(0.5), 0)]
    assert _crossing_at_one_half(extra=[(1, math.nextafter(0.5, 0.0))]) == []


def test_simultaneous_spikes_come_in_order_and_before_what_they_send():
    # Two equal neurons inhibit each other without delay: neither spike prevents the other.
    synapses = [(0, 1, 3.0, 0.0), (0, 0, 3.0, 0.0)]
    inhibition = [(0, 1, -50.0, 0.0), (1, 0, -50.0, 0.0)]
    (first, zero), (second, one) = simulate_reference(
        _spec([_population(2)], synapses, [(0, 0.0)], 9.0, inhibition)
    ).spikes["cells"]
    assert (zero, one) == (0, 1)
    assert first == second


def test_one_time_reached_on_two_paths_is_one_time():
    # Two chains with the same delays in another order; arrivals of weight 0 on the first make it round differently.
    synapses = [(0, 3, 3.0, 0.3), (0, 1, 3.0, 1.1), (1, 3, 0.0, 0.0), (1, 2, 0.0, 0.0)]
    chains = [(3, 2, 4.0, 1.1), (1, 0, 4.0, 0.3)]
    nothings = [(1, 0.01 * k) for k in range(250)]
    spec = _spec([_population(4, max_spikes=1)], synapses, [(0, 0.1), *nothings], 30.0, chains)
    spikes = simulate_reference(spec).spikes["cells"]
    assert [neuron for _, neuron in spikes] == [3, 1, 0, 2]
    assert spikes[2][0] == spikes[3][0]


def test_a_spike_acts_on_its_own_neuron_without_delay():
    spec = _spec([_population()], [(0, 0, 3.0, 0.0)], [(0, 0.0)], 9.0, [(0, 0, -3.0, 0.0)])
    outcome = simulate_reference(spec)
    assert len(outcome.spikes["cells"]) == 1
    # Its own arrival, at the time of the spike, is no decision about the spike.
    assert outcome.margin == pytest.approx((3.0 / math.e - 1.0) / 3.0, rel=1e-12)


def test_initial_state_is_the_state_at_zero():
    early = simulate_reference(_spec([_population(v0=[0.0], i0={"syn": [3.0]})], [], [], 9.0))
    assert early.spikes == _one(3.0, t_max=9.0).spikes


def test_equal_receptors_are_one():
    rng = np.random.default_rng(5)
    for tau_mem in (1.0, 1.6):
        weights = rng.normal(1.5, 1.0, 8)
        spikes = [(j, float(time)) for j, time in enumerate(rng.uniform(0.0, 3.0, 8))]
        one = _spec([_population(tau_mem=tau_mem)], [(j, 0, w, 0.0) for j, w in enumerate(weights)], spikes, 9.0)
        two = _spec([_population(tau_mem=tau_mem, tau_syn={"a": 1.0, "b": 1.0})], [], spikes, 9.0)
        two["inputs"] = one["inputs"]
        two["projections"] = [
            {"source": "drive", "target": "cells", "receptor": receptor, "synapses": part}
            for receptor, part in [
                ("a", one["projections"][0]["synapses"][::2]),
                ("b", one["projections"][0]["synapses"][1::2]),
            ]
        ]
        found = simulate_reference(one).spikes["cells"]
        assert len(found) > 1
        _assert_times(simulate_reference(two).spikes["cells"], found)


def test_more_spikes_than_allowed_raise():
    spec = _spec([_population(i_bias=2.0)], [], [], 20.0)
    n_spikes = len(simulate_reference(spec).spikes["cells"])
    assert len(simulate_reference(spec, max_events=n_spikes).spikes["cells"]) == n_spikes
    with pytest.raises(TooManySpikes, match=f"more than {n_spikes - 1} spikes"):
        simulate_reference(spec, max_events=n_spikes - 1)


def _arrivals(spec, outcome, name, k):
    """All arrivals [(time, receptor, weight), ...] at one neuron, its own spikes' too."""
    emitted = {source: [(mpf(time), j) for j, time in events] for source, events in spec["spikes"].items()}
    emitted |= outcome.spikes
    found = []
    for part in spec["projections"]:
        if part["target"] == name:
            by_source = {}
            for j, target, weight, delay in part["synapses"]:
                if target == k:
                    by_source.setdefault(j, []).append((weight, delay))
            for time, j in emitted[part["source"]]:
                found += [(time + mpf(delay), part["receptor"], weight) for weight, delay in by_source.get(j, ())]
    return [(time, receptor, weight) for time, receptor, weight in found if time <= spec["t_max"]]


def _value(parameter, k):
    return parameter[k] if isinstance(parameter, list) else parameter


@workdps(WORKING_DIGITS)
@pytest.mark.parametrize(
    ("kind", "seed"),
    [("feed_forward", 1), ("feed_forward", 4), ("recurrent", 2), ("delays", 2), ("refractory", 2), ("simultaneous", 6)],
)
def test_every_neuron_agrees_with_the_reference_of_one_neuron(kind, seed):
    spec = random_network(np.random.default_rng(seed), kind)
    outcome = simulate_reference(spec)
    for population in spec["populations"]:
        for k in range(population["n"]):
            arrivals = [(time, weight) for time, _, weight in _arrivals(spec, outcome, population["name"], k)]
            names = ("tau_mem", "v_threshold", "v_reset", "v_leak", "t_refrac", "i_bias")
            parameters = {name: _value(population[name], k) for name in names}
            parameters["tau_syn"] = _value(population["tau_syn"]["syn"], k)
            limits = {"max_spikes": population["max_spikes"], "t_max": spec["t_max"]}
            alone = spikes_of_neuron(arrivals, **parameters, **limits)
            found = [time for time, j in outcome.spikes[population["name"]] if j == k]
            _assert_times([(time, k) for time in found], [(time, k) for time in alone])


def _potential(population, k, arrivals, start, v_start, times):
    """v at times >= start from the kernels of the arrivals, in float64: the definition, with nothing carried along."""
    tau_mem = _value(population["tau_mem"], k)
    v_inf = _value(population["v_leak"], k) + _value(population["i_bias"], k)
    v = v_inf + (v_start - v_inf) * np.exp(-(times - start) / tau_mem)
    for arrival, receptor, weight in arrivals:
        tau_syn = _value(population["tau_syn"][receptor], k)
        begin = max(start, float(arrival))
        s = np.maximum(times - begin, 0.0)
        if tau_mem == tau_syn:
            kernel = s / tau_mem * np.exp(-s / tau_mem)
        else:
            kernel = tau_syn / (tau_mem - tau_syn) * (np.exp(-s / tau_mem) - np.exp(-s / tau_syn))
        v += weight * math.exp(-(begin - float(arrival)) / tau_syn) * kernel
    return v


@pytest.mark.parametrize("kind", KINDS)
def test_the_threshold_is_met_at_spikes_and_nowhere_else(kind):
    for seed in (10, 11, 12):
        spec = random_network(np.random.default_rng(seed), kind)
        outcome = simulate_reference(spec)
        assert outcome.margin > 0.0
        for population in spec["populations"]:
            for k in range(population["n"]):
                arrivals = _arrivals(spec, outcome, population["name"], k)
                threshold = _value(population["v_threshold"], k)
                # float64, sums of up to 500 kernels, and coefficients of up to 1/(tau_mem/tau_syn - 1)
                close = 1e-9 * (1.0 + sum(abs(weight) for _, _, weight in arrivals))
                start, v_start = 0.0, _value(population["v_leak"], k)
                own = [float(time) for time, j in outcome.spikes[population["name"]] if j == k]
                for time in own:
                    v = _potential(population, k, arrivals, start, v_start, np.linspace(start, time, 200))
                    assert abs(v[-1] - threshold) <= close
                    assert np.all(v[:-1] < threshold + close)
                    start, v_start = time + _value(population["t_refrac"], k), _value(population["v_reset"], k)
                if start < spec["t_max"] and (population["max_spikes"] is None or len(own) < population["max_spikes"]):
                    times = np.linspace(start, spec["t_max"], 1000)
                    assert np.all(_potential(population, k, arrivals, start, v_start, times) < threshold + close)


def test_times_keep_their_digits_through_many_spikes():
    spec = random_network(np.random.default_rng(13), "recurrent")
    found = simulate_reference(spec)
    with workdps(2 * WORKING_DIGITS):
        finer = simulate_reference.__wrapped__(spec)
    assert len(finer.spikes["layer0"]) > 20
    for name, spikes in found.spikes.items():
        _assert_times(spikes, finer.spikes[name])


def test_float64_locates_what_all_digits_locate(monkeypatch):
    spec = random_network(np.random.default_rng(2), "receptors")
    quick = simulate_reference(spec)
    # Nothing is sure for float64 any more, so that every decision falls to the 100 digits.
    monkeypatch.setattr(network_mpmath, "FLOAT", dataclasses.replace(network_mpmath.FLOAT, noise=math.inf))
    slow = simulate_reference(spec)
    assert len(slow.spikes["layer0"]) > 20
    for name, spikes in slow.spikes.items():
        _assert_times(quick.spikes[name], spikes)
    assert quick.margin == pytest.approx(slow.margin, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_random_network_is_active_and_reproducible(kind):
    spec = random_network(np.random.default_rng(3), kind)
    assert str(spec) == str(random_network(np.random.default_rng(3), kind))
    counts = [len(spikes) for spikes in simulate_reference(spec).spikes.values()]
    # The coarse simulation counts a few more or less than there are.
    assert FEWEST / 2 <= sum(counts) <= 150
    for part in spec["projections"]:
        sizes = {p["name"]: p["n"] for p in spec["populations"] + spec["inputs"]}
        delays = np.broadcast_to(part["delay"], (sizes[part["source"]], sizes[part["target"]]))
        assert all(delays[j, k] == delay for j, k, _, delay in part["synapses"])
