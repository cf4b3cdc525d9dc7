"""Membrane potentials and currents in closed form against sums over the spikes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventsnn import LIF, Dense, Sequential, Spikes, ValidationError, simulate

RATIOS = (1.0, 2.0, 0.5, 1.37, 4.0)


def kernel(s, tau_mem, tau_syn):
    """Potential after one input of weight 1, 0 before it."""
    s = np.maximum(s, 0.0)
    if tau_mem == tau_syn:
        return s / tau_mem * np.exp(-s / tau_mem)
    return tau_syn / (tau_mem - tau_syn) * (np.exp(-s / tau_mem) - np.exp(-s / tau_syn))


def problem(ratio, **lif):
    rng = np.random.default_rng(int(10 * ratio))
    neuron = LIF(**{"tau_mem": ratio, "tau_syn": 1.0, "v_reset": -0.3, **lif})
    net = Sequential(
        [
            Dense(rng.normal(1.5, 3.0, (4, 5))), neuron,
            Dense(rng.normal(1.0, 2.0, (5, 2))), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1),
        ]
    )  # fmt: skip
    n = 30
    spikes = Spikes(np.repeat([0, 1, 2], 10), rng.integers(0, 4, n), rng.uniform(0.0, 6.0, n), n_samples=3, n_neurons=4)
    return net, simulate(net, spikes, 20.0)


@pytest.mark.parametrize("sample", [0, 2])
@pytest.mark.parametrize("ratio", RATIOS)
def test_v_is_the_sum_of_the_responses_and_resets(ratio, sample):
    lif = {"v_leak": 0.1, "i_bias": 0.2}
    net, result = problem(ratio, **lif)
    rng = np.random.default_rng(1)
    times = rng.uniform(0.0, 19.0, 40)  # unsorted
    inputs, own = result.inputs[sample], result.spikes["hidden"][sample]
    assert own.n_events > 3
    rest = 0.1 + 0.2 - 0.2 * np.exp(-times / ratio)  # the bias charges the membrane from v_leak
    v = np.tile(rest[:, None], (1, 5))
    i_syn = np.zeros((40, 5))
    weight = net.layers[0].connection.weight
    for j, t in zip(inputs.neurons, inputs.times, strict=True):
        v += kernel(times - t, ratio, 1.0)[:, None] * weight[j]
        i_syn += np.where(times >= t, np.exp(-(times - t)), 0.0)[:, None] * weight[j]
    for k, t in zip(own.neurons, own.times, strict=True):
        # At an exact crossing, reset is subtraction of the jump from threshold, which then decays.
        v[:, k] -= np.where(times >= t, (1.0 + 0.3) * np.exp(-(times - t) / ratio), 0.0)
    # Sums of some ten terms of size 1 .. 10 in another order; each spike time is exact to 1e-14.
    assert np.allclose(result.v("hidden", times, sample), v, rtol=0, atol=1e-11)
    assert np.allclose(result.i_syn("hidden", times, sample), i_syn, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_v_is_at_threshold_before_a_spike_and_at_v_reset_after_it(ratio):
    _, result = problem(ratio)
    for sample in range(3):
        own = result.spikes["hidden"][sample]
        for k, t in zip(own.neurons, own.times, strict=True):
            before, at = result.v("hidden", [t - 1e-9, t], sample)[:, k]
            assert at == -0.3
            # 1e-9 before it, with slopes up to 30.
            assert before == pytest.approx(1.0, abs=5e-8)
            assert before < 1.0


def test_v_stays_below_threshold():
    _, result = problem(2.0)
    v = result.v("hidden", np.linspace(0.0, 20.0, 2001))
    assert 0.9 < v.max() <= 1.0


def test_v_is_held_during_the_refractory_time():
    _, result = problem(2.0, t_refrac=0.4)
    own = result.spikes["hidden"][0]
    assert own.n_events > 3
    for k, t in zip(own.neurons, own.times, strict=True):
        held = result.v("hidden", t + np.array([0.0, 0.1, 0.3999, 0.41]), 0)[:, k]
        assert held[:3].tolist() == [-0.3] * 3
        assert held[3] != -0.3
    # i_syn runs on as if nothing had happened.
    free = problem(2.0)[1]
    times = np.linspace(0.0, 10.0, 50)
    assert np.allclose(result.i_syn("hidden", times), free.i_syn("hidden", times), rtol=0, atol=1e-12)


def test_v_of_the_next_layer_is_driven_by_the_spikes_before():
    net, result = problem(1.0)
    hidden = result.spikes["hidden"][1]
    times = np.linspace(0.0, 20.0, 30)
    i_syn = np.zeros((30, 2))
    for j, t in zip(hidden.neurons, hidden.times, strict=True):
        i_syn += np.where(times >= t, np.exp(-(times - t)), 0.0)[:, None] * net.layers[1].connection.weight[j]
    assert np.abs(i_syn).max() > 0.5
    assert np.allclose(result.i_syn("output", times, 1), i_syn, rtol=0, atol=1e-12)


def test_first_times_and_repr():
    _, result = problem(2.0)
    assert result.n_samples == 3
    first = result.first_times("hidden")
    assert first.shape == (3, 5)
    assert np.array_equal(first, result.spikes["hidden"].first_times())
    assert np.array_equal(result.first_times("input"), result.inputs.first_times())
    assert repr(result).startswith("Result(n_samples=3, spikes: input 30, hidden ")


def test_v_takes_no_times():
    _, result = problem(2.0)
    assert result.v("hidden", []).shape == (0, 5)


def test_result_refuses_what_is_not_there():
    _, result = problem(2.0)
    with pytest.raises(ValidationError, match="no population 'hiden'; there are"):
        result.first_times("hiden")
    with pytest.raises(ValidationError, match="no population 'input' with a membrane potential"):
        result.v("input", [0.0])
    for sample in (-1, 3):
        with pytest.raises(ValidationError, match=f"sample must lie in 0 .. 2, got {sample}"):
            result.v("hidden", [0.0], sample)
    for times in ([[0.0]], [-1.0], [math.nan], [math.inf]):
        with pytest.raises(ValidationError, match="times must be a one-dimensional array of finite values >= 0"):
            result.i_syn("hidden", times)
