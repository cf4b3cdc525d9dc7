"""Highest potentials of silent neurons against maxima found interval by interval."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, Dense, Sequential
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.highest import LANES
from eventsnn.simulation.delayed_layers import make_runners
from eventsnn.spikes import Spikes
from tests.reference.highest_numpy import highest

RATIOS = (1.0, 2.0, 4.0, 0.5, 1.37)


def events_of(times, neurons, n_pre):
    """One sample per row of `times`."""
    n_samples, n_events = times.shape
    samples = np.repeat(np.arange(n_samples), n_events)
    spikes = Spikes(samples, neurons.ravel(), times.ravel(), n_samples=n_samples, n_neurons=n_pre)
    return InputEvents(spikes.offsets, spikes.neurons, spikes.times)


def runner_of(weight, ratio, t_end=np.inf, v_threshold=1e3, **options):
    neuron = LIF(tau_mem=ratio, tau_syn=1.0, v_threshold=v_threshold, **options)
    return make_runners(Sequential([Dense(weight), neuron]), t_end)[0]


def check(runner, events, weight, wanted, ratio, t_end):
    """Heights and times of the wanted neurons; returns which sorts of maximum there were."""
    peaks, record, seen = runner.peaks(wanted), runner.record, set()
    for b, n in np.argwhere(wanted):
        mine = slice(events.offsets[b], events.offsets[b + 1])
        arrivals = events.times[mine]
        value, time = highest(arrivals, weight[events.neurons[mine], n], ratio, 1.0, t_end)
        # sums of up to 120 terms of both signs
        assert peaks[b, n] == pytest.approx(value, rel=0, abs=1e-12)
        if value == 0.0:
            assert record.time[b, n] == np.inf
            seen.add("rest")
            continue
        # dv/dt of cancelling terms is zero up to its rounding errors
        assert record.time[b, n] == pytest.approx(time, rel=0, abs=1e-9)
        kink = record.slope[b, n] < 0.0
        seen.add("kink" if kink else "end" if record.time[b, n] == t_end else "interior")
        # the events before a peak are causal, that of a kink is not
        causal = (arrivals < record.time[b, n]) if kink else (arrivals <= record.time[b, n])
        assert record.causal_end[b, n] == events.offsets[b] + causal.sum()
    return seen


@pytest.mark.parametrize("t_end", [np.inf, 2.0])
@pytest.mark.parametrize("ratio", RATIOS)
def test_layer_peaks_finds_the_maxima_of_wanted_neurons_and_leaves_the_others_alone(ratio, t_end):
    rng = np.random.default_rng(0)
    n_pre, n_post = 12, 2 * LANES + 8
    events = events_of(rng.uniform(0.0, 3.0, (3, 25)), rng.integers(0, n_pre, (3, 25)), n_pre)
    weight = rng.normal(np.linspace(-1.0, 1.0, n_post), 1.0, (n_pre, n_post))
    runner = runner_of(weight, ratio, t_end)
    runner.forward(events)
    wanted = rng.random((3, n_post)) < 0.5
    wanted[:, ::4] = False  # more than a chunk, with gaps
    wanted[1] = False  # a sample without any
    assert wanted.any(axis=0).sum() > LANES
    seen = check(runner, events, weight, wanted, ratio, t_end)
    assert {"rest", "kink", "interior" if t_end == np.inf else "end"} <= seen
    assert (runner.record.time[~wanted] == np.inf).all()
    assert (runner.peaks(wanted)[~wanted] == 0.0).all()


@pytest.mark.parametrize("ratio", RATIOS)
def test_layer_peaks_sums_simultaneous_inputs_first(ratio):
    rng = np.random.default_rng(1)
    times = rng.integers(0, 8, (4, 40)) / 4.0  # five inputs at every time
    events = events_of(times, rng.integers(0, 20, (4, 40)), 20)
    weight = rng.normal(0.0, 1.0, (20, 10))
    runner = runner_of(weight, ratio)
    runner.forward(events)
    seen = check(runner, events, weight, np.ones((4, 10), bool), ratio, np.inf)
    assert "kink" in seen


@pytest.mark.parametrize("ratio", RATIOS)
def test_layer_peaks_moves_its_reference_through_long_windows(ratio):
    rng = np.random.default_rng(2)
    events = events_of(rng.uniform(0.0, 150.0, (1, 120)), rng.integers(0, 6, (1, 120)), 6)
    weight = rng.normal(0.0, 1.0, (6, 12))
    runner = runner_of(weight, ratio)
    runner.forward(events)
    check(runner, events, weight, np.ones((1, 12), bool), ratio, np.inf)
    assert (runner.record.time[np.isfinite(runner.record.time)] > 40.0).any()


def test_layer_peaks_in_float32_is_as_precise_as_the_forward_pass():
    rng = np.random.default_rng(3)
    events = events_of(rng.uniform(0.0, 4.0, (4, 100)), rng.integers(0, 50, (4, 100)), 50)
    weight = rng.normal(0.1, 1.0, (50, 40)).astype(np.float32)
    both = []
    for dtype in (np.float32, np.float64):
        runner = runner_of(weight.astype(dtype), 4.0)
        runner.forward(events)
        both.append(runner.peaks(np.ones((4, 40), bool)).copy())
    # coefficients of float32 summed over 100 events; measured: 7e-7
    assert np.allclose(both[0], both[1], rtol=0, atol=5e-6 * both[1].max())


def test_layer_peaks_skips_neurons_that_fired_and_samples_without_inputs():
    times, neurons = np.array([[0.0, 0.5]]), np.array([[0, 1]])
    events = events_of(times, neurons, 2)
    events = InputEvents(np.array([0, 2, 2]), events.neurons, events.times)  # the second sample is empty
    weight = np.array([[9.0, 1.0], [0.0, -0.5]])
    runner = runner_of(weight, 2.0, v_threshold=1.0, max_spikes=1)
    runner.forward(events)
    fired = runner.record.time[0, 0]
    assert np.isfinite(fired)
    peaks = runner.peaks(np.ones((2, 2), bool))
    assert peaks[0, 0] == 0.0
    assert runner.record.time[0, 0] == fired
    assert peaks[0, 1] > 0.0
    assert (peaks[1] == 0.0).all()
