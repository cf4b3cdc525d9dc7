from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, Spikes
from eventsnn.kernels.constants import STATUS_NOT_FINITE, STATUS_OK, OutputEvents
from eventsnn.kernels.euler_forward import euler_forward, events_of_first_spikes
from eventsnn.simulation.layers import input_events, neuron_constants
from tests.reference.euler_numpy import euler_first_spike

NO_DELAY, NO_THRESHOLD, NO_JITTER = np.empty((0, 0)), np.empty((0, 0)), np.empty((0, 0, 0))


def case(seed, n_samples=3, n_pre=12, n_post=5):
    """Events off the grid of 1/64 (in the middle of its steps, so that no rounding decides), and a layer."""
    rng = np.random.default_rng(seed)
    times = (rng.integers(0, 128, (n_samples, n_pre)) + 0.5) / 64
    neuron = LIF(tau_mem=rng.uniform(1, 3, n_post), tau_syn=rng.uniform(0.5, 2, n_post), v_leak=-0.25, max_spikes=1)
    return rng, Spikes.from_first_times(times), rng.normal(0.7, 0.6, (n_pre, n_post)), neuron


def run(spikes, weight, neuron, dt, n_steps, *, delay=NO_DELAY, threshold=NO_THRESHOLD, jitter=NO_JITTER, t_end=np.inf):
    times = np.empty((spikes.n_samples, weight.shape[1]))
    constants = neuron_constants(neuron, weight.shape[1], t_end)
    status, sample = euler_forward(
        constants, weight, delay, threshold, jitter, input_events(spikes), dt, n_steps, times
    )
    return status, sample, times


@pytest.mark.parametrize("with_jitter", [False, True])
@pytest.mark.parametrize("with_delay", [False, True])
def test_euler_forward_is_that_of_the_reference(with_delay, with_jitter):
    rng, spikes, weight, neuron = case(1)
    delay = rng.integers(0, 32, weight.shape) / 64 if with_delay else NO_DELAY
    jitter = rng.integers(-90, 90, (3, *weight.shape)) / 64 if with_jitter else NO_JITTER
    threshold = rng.uniform(0.8, 1.6, (3, weight.shape[1])) if with_jitter else NO_THRESHOLD
    status, _, times = run(spikes, weight, neuron, 1 / 64, 256, delay=delay, threshold=threshold, jitter=jitter)
    assert status == STATUS_OK
    assert 5 <= np.isfinite(times).sum() < times.size  # both kinds
    first = spikes.first_times()
    for b in range(3):
        for n in range(weight.shape[1]):
            arrival = first[b] + (delay[:, n] if with_delay else 0.0)
            if with_jitter:
                arrival = np.maximum(arrival + jitter[b, :, n], 0.0)
            theta = threshold[b, n] if with_jitter else 1.25
            arrivals = list(zip(arrival, weight[:, n], strict=True))
            expected = euler_first_spike(arrivals, neuron.tau_mem[n], neuron.tau_syn[n], theta, 1 / 64, 256)
            assert times[b, n] == expected  # multiples of 1/64: exact unless u misses theta by rounding


def test_euler_forward_ends_at_the_last_step():
    _, spikes, weight, neuron = case(1)
    whole = run(spikes, weight, neuron, 1 / 64, 256)[2]
    middle = np.sort(whole, axis=None)[3]
    expected = np.where(whole <= middle, whole, np.inf)
    assert (expected != whole).any()
    assert (run(spikes, weight, neuron, 1 / 64, round(middle * 64))[2] == expected).all()
    assert (run(spikes, weight, neuron, 1 / 64, 256, t_end=middle)[2] == expected).all()


@pytest.mark.parametrize("dt", [0.1, 0.01, 1 / 3])
def test_euler_forward_takes_spikes_on_the_grid_in_their_own_step(dt):
    # strong enough to fire in the very step of the arrival: k dt/dt may round to k (1 + 1e-16)
    neuron = LIF(tau_mem=1.0, tau_syn=1.0, max_spikes=1)
    steps = np.arange(1, 31)
    spikes = Spikes.from_first_times((steps * dt)[:, None])
    times = run(spikes, np.array([[1e3]]), neuron, dt, 31)[2]
    assert (times[:, 0] == steps * dt).all()
    assert run(Spikes([0], [0], [0.0], n_samples=1, n_neurons=1), np.array([[1e3]]), neuron, dt, 31)[2] == dt


def test_euler_forward_names_the_sample_that_is_not_finite():
    neuron = LIF(tau_mem=1.0, tau_syn=1.0, max_spikes=1)
    spikes = Spikes.from_first_times([[np.inf], [0.5]])
    assert run(spikes, np.array([[-1e308]]), neuron, 0.5, 8)[:2] == (STATUS_OK, -1)
    spikes = Spikes.from_first_times([[np.inf, np.inf], [0.5, 0.5]])
    with np.errstate(over="ignore", invalid="ignore"):  # uncompiled kernels warn
        assert run(spikes, np.full((2, 1), -1e308), neuron, 0.5, 8)[:2] == (STATUS_NOT_FINITE, 1)


def test_events_of_first_spikes_are_canonical():
    rng = np.random.default_rng(0)
    times = rng.integers(0, 9, (6, 40)) / 8.0
    times[rng.random(times.shape) < 0.3] = np.inf
    times[2] = np.inf
    out = OutputEvents(np.zeros(7, np.int64), np.empty(240, np.int64), np.empty(240))
    events_of_first_spikes(times, out)
    expected = Spikes.from_first_times(times)
    n = int(out.offsets[-1])
    assert (out.offsets == expected.offsets).all()
    assert (out.neurons[:n] == expected.neurons).all()
    assert (out.times[:n] == expected.times).all()
