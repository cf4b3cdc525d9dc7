from __future__ import annotations

import math

import numpy as np
import pytest

from eventsnn import LI, LIF, Dense, Network, Population, Projection, Sequential, Spikes, simulate
from eventsnn.errors import ValidationError
from eventsnn.kernels.euler_forward import euler_forward
from eventsnn.plotting import plot_euler_comparison
from eventsnn.plotting.euler import euler_layers
from eventsnn.simulation.layers import input_events, neuron_constants

RNG = np.random.default_rng(5)
INPUTS = Spikes.from_first_times([[0.0, 0.31, 1.0, 0.5]])
FIRES_ONCE = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)


def chain(neurons, delays=(0.0, 0.0)):
    hidden, output = RNG.normal(2.0, 1.0, (4, 6)), RNG.normal(1.0, 1.0, (6, 3))
    return Sequential([Dense(hidden, delays[0]), neurons[0], Dense(output, delays[1]), neurons[1]])


def slow(weight, delay, neuron, arrivals, dt, n_steps):
    """Neuron by neuron, arrival by arrival; `arrivals` is a list of (time, channel)."""
    voltages, spikes = [], []
    delay = np.broadcast_to(delay, weight.shape)
    for k in range(weight.shape[1]):
        v, i, held, count, course = neuron.v_leak, 0.0, -1.0, 0, [neuron.v_leak]
        for step in range(1, n_steps + 1):
            i *= 1 - dt / neuron.tau_syn
            for t, j in arrivals:
                due = t + delay[j, k]
                if math.ceil(due / dt - 1e-9) == step or (step == 1 and due == 0):
                    i += weight[j, k]
            v += (neuron.v_leak + getattr(neuron, "i_bias", 0.0) - v + i) * dt / neuron.tau_mem
            if step * dt <= held + 1e-9 * dt:
                v = neuron.v_reset
            allowed = isinstance(neuron, LIF) and (neuron.max_spikes is None or count < neuron.max_spikes)
            if allowed and v >= neuron.v_threshold:
                spikes.append((step * dt, k))
                v, held, count = neuron.v_reset, step * dt + neuron.t_refrac, count + 1
            course.append(v)
        voltages.append(course)
    return np.array(voltages).T, sorted(spikes)


@pytest.mark.parametrize(
    ("neurons", "delays"),
    [
        ((FIRES_ONCE, FIRES_ONCE), (0.0, 0.0)),
        ((FIRES_ONCE, FIRES_ONCE), (RNG.uniform(0, 1, (4, 6)), RNG.uniform(0, 1, (6, 1)))),
        ((LIF(1.0, 1.0, t_refrac=0.25, i_bias=0.3, v_leak=-0.2), LI(2.0, 0.7)), (RNG.uniform(0, 1, (1, 6)), 0.2)),
    ],
)
def test_euler_layers_agree_with_the_slow_way(neurons, delays):
    network = chain(neurons, delays)
    found = euler_layers(network, INPUTS, 0.1, 40)
    arrivals = list(zip(INPUTS.times, INPUTS.neurons, strict=True))
    for layer in network.layers:
        v, spikes = slow(layer.connection.weight, layer.connection.delay, layer.neuron, arrivals, 0.1, 40)
        own = found[layer.name]
        np.testing.assert_allclose(own.v, v, rtol=0, atol=1e-12)  # the sums of arrivals are taken in another order
        assert own.spikes.neurons.tolist() == [k for _, k in spikes]
        np.testing.assert_allclose(own.spikes.times, [t for t, _ in spikes], rtol=1e-12)
        arrivals = spikes
    assert found["hidden"].spikes.n_events > 0


def test_euler_layers_fire_when_the_kernel_of_the_euler_forward_pass_does():
    network = chain((FIRES_ONCE, FIRES_ONCE), (RNG.uniform(0, 1, (4, 6)), 0.0))
    found, spikes = euler_layers(network, INPUTS, 0.05, 100), INPUTS
    for layer in network.layers:
        times, none = np.empty((1, layer.n_neurons)), np.empty((0, 0))
        constants = neuron_constants(layer.neuron, layer.n_neurons, np.inf)
        delay = np.broadcast_to(layer.connection.delay, layer.connection.weight.shape).copy()
        euler_forward(
            constants, layer.connection.weight, delay, none, np.empty((0, 0, 0)), input_events(spikes), 0.05, 100, times
        )  # fmt: skip
        np.testing.assert_allclose(found[layer.name].first_times(), times[0], rtol=1e-12)
        spikes = Spikes.from_first_times(times)


def test_euler_layers_come_closer_with_the_step():
    network = chain((FIRES_ONCE, FIRES_ONCE), (RNG.uniform(0, 1, (4, 6)), 0.0))
    exact = simulate(network, INPUTS).first_times("hidden")[0]
    fires = np.isfinite(exact)
    errors = []
    for dt in (0.02, 0.002):
        first = euler_layers(network, INPUTS, dt, int(6 / dt))["hidden"].first_times()
        np.testing.assert_array_equal(np.isfinite(first), fires)
        errors.append(np.abs(first - exact)[fires].max())
    assert fires.any()
    assert errors[1] < 0.02  # a few steps
    assert errors[1] < 0.2 * errors[0]  # first order: a tenth, up to the grid


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spikes": Spikes.from_first_times(np.ones((2, 4)))}, "spikes: needs one sample, got 2"),
        ({"dt": 0.0}, "euler_layers.dt: "),
        ({"dt": 1.5}, "dt: must be at most the shortest time constant, 1, got 1.5"),
        ({"n_steps": 100_001}, r"n_steps: must lie in 1 \.\. 100000"),
    ],
)
def test_euler_layers_reject_bad_input(options, message):
    arguments = {"spikes": INPUTS, "dt": 0.1, "n_steps": 10} | options
    with pytest.raises(ValidationError, match=message):
        euler_layers(chain((FIRES_ONCE, FIRES_ONCE)), **arguments)


def test_plot_euler_comparison_shows_exact_and_grid_voltages():
    network = chain((FIRES_ONCE, FIRES_ONCE))
    result = simulate(network, INPUTS)
    first = result.first_times("output")[0]
    axes = plot_euler_comparison(result, steps=(0.1, 0.01), neuron_names=["a", "b", "c"]).axes
    assert len(axes) == 4
    fires = int(np.flatnonzero(np.isfinite(first))[0])
    exact, marker = axes[fires].get_lines()[:2]
    assert exact.get_label() == "exact"
    at, v = exact.get_xydata().T
    np.testing.assert_allclose(v[:-1], result.v("output", at[:-1], 0, [fires])[:, 0], atol=1e-12)
    assert marker.get_xydata() == pytest.approx(np.array([[first[fires], 1.0]]))
    assert axes[fires].get_title(loc="left").startswith(f"{'abc'[fires]}: exact {first[fires]:.5g}")
    coarse, fine = (line for line in axes[-1].get_lines() if line.get_label().startswith("dt ="))
    assert np.abs(fine.get_ydata()).max() < np.abs(coarse.get_ydata()).max()
    assert fine.get_xdata().size <= 9  # of the chain's neurons, those that fire both ways


def test_plot_euler_comparison_of_readouts_and_of_silence():
    readout = simulate(chain((FIRES_ONCE, LI(2.0, 1.0))), INPUTS, 3.0)
    axes = plot_euler_comparison(readout, neurons=[1]).axes
    assert axes[0].get_title(loc="left") == "neuron 1"
    silent = simulate(chain((FIRES_ONCE, FIRES_ONCE)), Spikes.from_first_times([[np.inf] * 4]))
    axes = plot_euler_comparison(silent, title="nothing").axes
    assert [text.get_text() for text in axes[-1].texts] == ["no neuron fires"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 1}, r"sample: must be an integer in 0 \.\. 0"),
        ({"steps": ()}, "steps: needs one to 3 steps, got 0"),
        ({"steps": (-0.1,)}, "plot_euler_comparison.steps: "),
        ({"neurons": [3]}, r"neurons: entry 0 is 3"),
        ({"neuron_names": ["a"]}, "neuron_names: 3 names are needed, got 1"),
    ],
)
def test_plot_euler_comparison_rejects_bad_input(options, message):
    with pytest.raises(ValidationError, match=message):
        plot_euler_comparison(simulate(chain((FIRES_ONCE, FIRES_ONCE)), INPUTS), **options)


def test_plot_euler_comparison_needs_a_chain():
    network = Network({"in": 1}, {"a": Population(FIRES_ONCE, 1)}, [Projection("in", "a", Dense([[1.0]]))])
    with pytest.raises(ValidationError, match="result: must be of a Sequential, got one of a Network"):
        plot_euler_comparison(simulate(network, Spikes.from_first_times([[0.0]])))
