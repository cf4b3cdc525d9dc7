"""Spikes of a grid or of other neurons, the model's gradient at them, and jitter of the output."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, Dense, Sequential, Spikes
from eventsnn.simulation.delayed_layers import DelayedRunner, LayerConditions
from eventsnn.simulation.hardware_layers import HardwareRunner, TimeGrid
from eventsnn.simulation.layers import input_events
from tests.reference.observed_mpmath import observed_derivatives

N_SAMPLES, N_PRE, N_POST = 3, 7, 4


def layer_of(rng, ratio, kind, dtype=np.float64):
    delay = {"none": 0.0, "axonal": rng.uniform(0, 0.6, (N_PRE, 1)), "synaptic": rng.uniform(0, 0.6, (N_PRE, N_POST))}
    tau_syn = rng.uniform(0.8, 1.2, N_POST) if kind == "none" and ratio == 1.37 else 1.0
    weight = rng.normal(1.2 * ratio**0.5, 0.7, (N_PRE, N_POST)).astype(dtype)
    chain = Sequential([Dense(weight, delay[kind]), LIF(tau_mem=ratio, tau_syn=tau_syn, max_spikes=1)])
    return chain.layers[0]


def events_of(rng, span=2.0):
    return input_events(Spikes.from_first_times(rng.uniform(0.0, span, (N_SAMPLES, N_PRE))))


def gradients(runner, d_times, delay_shape):
    """dL/dw, dL/d delay and dL/d input time for L = sum of d_times * record.time."""
    slope = np.where(np.isfinite(runner.record.time), runner.record.slope, np.inf)
    d_weight = np.zeros((N_PRE, N_POST), runner.weight.dtype)
    d_delay, d_first = np.zeros(delay_shape), np.zeros((N_SAMPLES, N_PRE))
    runner.backward(-d_times / slope, np.inf, d_weight, d_first, d_delay)
    return d_weight, d_delay, d_first


@pytest.mark.parametrize("kind", ["none", "axonal", "synaptic"])
@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.37])
@pytest.mark.parametrize("euler", [False, True])
def test_backward_is_that_of_the_model_at_the_spikes_found(euler, ratio, kind):
    rng = np.random.default_rng(int(100 * ratio) + euler)
    layer, events = layer_of(rng, ratio, kind), events_of(rng)
    model_ratio = ratio if euler else 1.25
    runner = HardwareRunner(
        layer, grid=TimeGrid(1 / 32, 160) if euler else None, tau_ratio=None if euler else model_ratio
    )
    runner.forward(events)
    times = runner.record.time.copy()
    if not euler:  # the spikes themselves are those of the real neurons, to the bit
        exact = DelayedRunner(layer, np.inf)
        exact.forward(events)
        assert (times == exact.record.time).all()
    d_times = rng.normal(size=times.shape)
    delay = layer.connection.delay
    d_weight, d_delay, d_first = gradients(runner, d_times, delay.shape)
    expected = np.zeros((N_PRE, N_POST)), np.zeros((N_PRE, N_POST)), np.zeros((N_SAMPLES, N_PRE))
    tau_syn, n_compared = np.broadcast_to(layer.neuron.tau_syn, N_POST), 0
    for b in range(N_SAMPLES):
        mine = slice(events.offsets[b], events.offsets[b + 1])
        first = np.full(N_PRE, np.inf)
        first[events.neurons[mine]] = events.times[mine]
        for n in range(N_POST):
            if times[b, n] == np.inf:
                continue
            arrival = first + np.broadcast_to(delay, (N_PRE, N_POST))[:, n]
            causal = np.flatnonzero(arrival <= times[b, n])
            arrivals = list(zip(arrival[causal], layer.connection.weight[causal, n], strict=True))
            by_weight, by_arrival, slope = observed_derivatives(
                times[b, n], arrivals, ratio if euler else model_ratio * tau_syn[n], tau_syn[n]
            )
            if slope <= 0.0:  # the model says: no spike, so nothing flows
                assert runner.record.slope[b, n] == np.inf
                continue
            assert runner.record.slope[b, n] == pytest.approx(slope, rel=1e-12)
            expected[0][causal, n] += d_times[b, n] * np.array(by_weight)
            expected[1][causal, n] += d_times[b, n] * np.array(by_arrival)
            expected[2][b, causal] += d_times[b, n] * np.array(by_arrival)
            n_compared += 1
    assert n_compared >= 6
    # sums of a dozen terms in float64, each a difference of exponentials of like size
    scale = max(np.abs(e).max() for e in expected)
    assert np.abs(d_weight - expected[0]).max() <= 1e-12 * scale
    assert np.abs(d_first - expected[2]).max() <= 1e-12 * scale
    if kind != "none":
        by_delay = expected[1] if kind == "synaptic" else expected[1].sum(axis=1, keepdims=True)
        assert np.abs(d_delay - by_delay).max() <= 1e-12 * scale


@pytest.mark.parametrize("kind", ["none", "synaptic"])
def test_observed_gradient_of_the_own_ratio_is_the_exact_one(kind):
    rng = np.random.default_rng(3)
    layer, events = layer_of(rng, 2.0, kind), events_of(rng)
    runner, exact = HardwareRunner(layer, tau_ratio=2.0), DelayedRunner(layer, np.inf)
    runner.forward(events)
    exact.forward(events)
    assert np.isfinite(exact.record.time).sum() >= 6
    d_times = rng.normal(size=exact.record.time.shape)
    shape = layer.connection.delay.shape
    for ours, theirs in zip(gradients(runner, d_times, shape), gradients(exact, d_times, shape), strict=True):
        # both have the slope at the spike to a few ulp of its terms
        assert np.abs(ours - theirs).max() <= 1e-12 * np.abs(theirs).max()


def test_observed_gradient_of_a_spike_without_a_rise_is_zero():
    # a slow neuron still rises where one with tau_mem = tau_syn/8 has long come down
    chain = Sequential([Dense([[8.0]]), LIF(tau_mem=4.0, tau_syn=1.0, max_spikes=1)])
    runner = HardwareRunner(chain.layers[0], tau_ratio=0.125)
    runner.forward(input_events(Spikes([0], [0], [0.0], n_samples=1, n_neurons=1)))
    assert 0.5 < runner.record.time[0, 0] < 1.5
    assert runner.record.slope[0, 0] == np.inf


@pytest.mark.parametrize("kind", ["none", "axonal", "synaptic"])
def test_euler_times_come_to_the_exact_ones_in_proportion_to_the_step(kind):
    rng = np.random.default_rng(5)
    layer, events = layer_of(rng, 2.0, kind), events_of(rng)
    exact = DelayedRunner(layer, np.inf)
    exact.forward(events)
    errors = []
    for n in (2**8, 2**11):
        runner = HardwareRunner(layer, grid=TimeGrid(8 / n / 4, n))
        runner.forward(events)
        both = np.isfinite(runner.record.time) & np.isfinite(exact.record.time)
        assert both.sum() >= 6
        errors.append(np.abs(runner.record.time - exact.record.time)[both].max())
    # eight times as many steps; the error is that of rounding up to the grid and of first order
    assert errors[1] < errors[0] / 4
    assert errors[1] < 5 * 8 / 2**11 / 4


@pytest.mark.parametrize("euler", [False, True])
def test_conditions_reach_the_grid_and_the_real_neurons(euler):
    rng = np.random.default_rng(7)
    layer, events = layer_of(rng, 2.0, "synaptic"), events_of(rng)
    conditions = LayerConditions(
        jitter=rng.normal(0.0, 0.2, (N_SAMPLES, N_PRE, N_POST)), threshold=rng.uniform(0.7, 1.3, (N_SAMPLES, N_POST))
    )
    exact = DelayedRunner(layer, np.inf)
    exact.forward(events, 0, conditions)
    runner = HardwareRunner(layer, grid=TimeGrid(1 / 512, 4096) if euler else None, tau_ratio=1.5)
    runner.forward(events, 0, conditions)
    both = np.isfinite(runner.record.time) & np.isfinite(exact.record.time)
    assert both.sum() >= 6
    # off the grid by first order: a few steps
    assert np.abs(runner.record.time - exact.record.time)[both].max() <= (10 / 512 if euler else 0.0)
    exact.forward(events)
    assert np.abs(runner.record.time - exact.record.time)[both].max() > 0.05


@pytest.mark.parametrize("kind", ["none", "synaptic"])
def test_spike_jitter_moves_what_is_emitted_and_reflects_it(kind):
    rng = np.random.default_rng(9)
    layer, events = layer_of(rng, 1.0, kind), events_of(rng, span=0.5)
    plain = HardwareRunner(layer)
    plain.forward(events)
    times = plain.record.time.copy()
    noise = rng.normal(0.0, 1.5, times.shape)
    runner = HardwareRunner(layer)
    emitted = runner.forward(events, 0, LayerConditions(spike_jitter=noise))
    assert (runner.record.time == times).all()  # the neuron's own spike, at which the gradient is taken
    assert (runner.emitted == np.abs(times + noise)).all()
    turned = times + noise < 0.0
    assert turned.any()
    assert not turned.all()
    expected = Spikes.from_first_times(runner.emitted)
    assert (emitted.times == expected.times).all()
    assert (emitted.neurons == expected.neurons).all()
    d = rng.normal(size=times.shape)
    assert (runner.of_emitted(d) == np.where(turned, -d, d)).all()
    runner.forward(events)
    assert (runner.emitted == times).all()
    assert runner.of_emitted(d) is d
