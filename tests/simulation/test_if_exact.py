"""Integrate-and-fire chains in continuous time: against fractions, and as the limit of short steps."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from eventsnn import (
    IF,
    LIF,
    AvgPool2d,
    Conv2d,
    Currents,
    Dense,
    MaxPool2d,
    Sequential,
    SimulationError,
    Spikes,
    ValidationError,
    simulate_clocked,
    simulate_if,
)
from tests.reference import if_fractions
from tests.reference.convolution_numpy import average, convolve, matrix_of

READOUT = IF(v_threshold=np.inf)


def chain(rng, sizes=(4, 6, 5, 3), reset="subtract", bias=0.1, **others):
    parts = []
    for k in range(len(sizes) - 1):
        n = sizes[k + 1]
        parts.append(Dense.normal(sizes[k], n, mean=0.15, std=0.5, rng=rng))
        last = k == len(sizes) - 2
        given = {"bias": rng.normal(0.0, bias, n)}
        if not last:
            given |= {"v_threshold": rng.uniform(0.6, 1.4, n), "reset": reset}
        parts.append(IF(**given | ({"v_threshold": np.inf} if last else {}) | others))
    return Sequential(parts)


def reference(net, sample, t_max, soft=True):
    """The same in fractions; sample : currents, or pairs of time and input."""
    rules = [layer.neuron.step_rule(layer.n_neurons, 1.0) for layer in net.layers]
    inputs = {"spikes": sample} if isinstance(sample, list) else {"currents": sample}
    return if_fractions.chain(
        [np.asarray(w, np.float64) for w in net.weights], [own.v_start for own in rules],
        [own.drive for own in rules], [*(own.threshold for own in rules[:-1]), None], soft, Fraction(t_max), **inputs,
    )  # fmt: skip


def assert_equals_reference(run, net, samples, t_max, soft=True):
    for b, sample in enumerate(samples):
        expected = reference(net, sample, t_max, soft)
        for layer, (spikes, potentials) in zip(net.layers[:-1], expected, strict=False):
            own = run.spikes[layer.name][b]
            assert own.neurons.tolist() == [n for _, n in spikes]
            # a few sums and a division
            np.testing.assert_allclose(own.times, [float(t) for t, _ in spikes], rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(run.potentials[layer.name][b], [float(v) for v in potentials], atol=1e-11)
            np.testing.assert_array_equal(own.counts()[0], run.counts[layer.name][b])
        np.testing.assert_allclose(run.outputs[b, -1], [float(v) for v in expected[-1][1]], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("seed", range(3))
def test_constant_currents_equal_the_fractions(seed, reset):
    rng = np.random.default_rng(seed)
    start = [0.0, 0.3, -0.4][seed]
    net, currents, t_max = chain(rng, reset=reset, v_init=start), rng.uniform(0.0, 1.0, (3, 4)), 9.5
    run = simulate_if(net, Currents(currents), t_max=t_max, keep="spikes", n_threads=2)
    assert run.n_spikes.min() > 3
    assert_equals_reference(run, net, list(currents), t_max, reset == "subtract")


def test_units_that_start_at_or_above_their_threshold_fire_at_once():
    hidden = IF(v_threshold=[0.5, 1.0, 1.0, 1.0], v_init=[1.25, 1.0, 0.75, 1.0], bias=[-0.1, 0.0, 0.0, 0.0])
    net = Sequential([Dense([[0.0, 0.0, 0.0, -0.5]]), hidden, Dense(np.eye(4)), IF(v_threshold=np.inf, v_init=2.0)])
    # what arrives at t = 0 is added first: the last one does not fire
    spikes = Spikes([0], [0], [0.0], n_samples=1, n_neurons=1)
    run = simulate_if(net, spikes, t_max=2.0, times=[0.0, 2.0], keep="spikes")
    assert run.spikes["hidden"].times.tolist() == [0.0, 0.0, 0.0]
    assert run.spikes["hidden"].neurons.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(run.outputs[0, 0], [4.0, 3.0, 2.0, 2.0])
    np.testing.assert_allclose(run.potentials["hidden"][0], [0.05, 0.0, 0.75, 0.5], atol=1e-15)
    later = simulate_if(net, Spikes([0], [0], [1.0], n_samples=1, n_neurons=1), t_max=2.0)
    assert later.counts["hidden"].tolist() == [[2, 1, 0, 1]]


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_spikes_equal_the_fractions(reset):
    rng = np.random.default_rng(5)
    # weights beyond two thresholds: several spikes at once with a soft reset; and inputs at one time
    net = Sequential(
        [Dense.normal(3, 4, mean=1.5, std=1.5, rng=rng), IF(v_threshold=0.8, reset=reset),
         Dense.normal(4, 2, mean=0.2, std=1.0, rng=rng), IF(v_threshold=np.inf)]
    )  # fmt: skip
    times, neurons = np.repeat(rng.uniform(0.0, 5.0, 8), 2), rng.integers(0, 3, 16)
    spikes = Spikes(np.zeros(16, np.int64), neurons, times, n_samples=1, n_neurons=3)
    run = simulate_if(net, spikes, t_max=5.0, keep="spikes")
    given = list(zip(times, neurons.tolist(), strict=True))
    assert_equals_reference(run, net, [given], 5.0, reset == "subtract")
    own = run.spikes["hidden"]
    assert (np.unique(np.stack((own.times, own.neurons)), axis=1).shape[1] < own.n_events) == (reset == "subtract")


def test_conservation_holds_to_the_bit_where_sums_are_exact():
    # dyadic weights, thresholds and currents: every sum is exact in float64
    rng = np.random.default_rng(6)
    sizes, parts = (4, 6, 3), []
    for n_pre, n_post in pairwise(sizes):
        parts += [Dense(rng.integers(-8, 16, (n_pre, n_post)) / 16), IF(bias=rng.integers(-2, 4, n_post) / 64)]
    net = Sequential([*parts, Dense(rng.integers(-8, 16, (3, 2)) / 16), READOUT])
    spikes = Spikes(
        np.repeat([0, 1], 100), rng.integers(0, 4, 200), rng.integers(0, 256, 200) / 16, n_samples=2, n_neurons=4
    )
    run = simulate_if(net, spikes, t_max=16.0)
    for name, counts in run.counts.items():
        assert counts.sum() > 20
        np.testing.assert_array_equal(counts * 1.0, run.received[name] - run.potentials[name])


def test_what_is_received_is_the_weighted_sum_of_the_spikes():
    rng = np.random.default_rng(7)
    net, currents = chain(rng), rng.uniform(0.0, 1.0, (2, 4))
    run = simulate_if(net, Currents(currents), t_max=20.0)
    first, second = net.layers[0], net.layers[1]
    own = 20.0 * (currents @ first.connection.weight + first.neuron.bias)
    np.testing.assert_allclose(run.received["hidden1"], own, rtol=1e-13)
    own = run.counts["hidden1"] @ second.connection.weight + 20.0 * second.neuron.bias
    np.testing.assert_allclose(run.received["hidden2"], own, rtol=1e-12, atol=1e-12)
    assert run.n_synaptic_events[:, 1].tolist() == (5 * run.counts["hidden1"].sum(axis=1)).tolist()
    assert run.n_synaptic_events[:, 0].tolist() == [0, 0]


def clocked(net, currents, t_max, refinement):
    """The same network with steps of 1/refinement: counts and the readout's potential at the end."""
    parts = []
    for layer in net.layers:
        own = layer.neuron
        neuron = IF(own.v_threshold, np.asarray(own.bias) / refinement, own.reset, v_init=own.v_init)
        parts += [layer.connection, neuron]
    fine = Sequential(parts, [layer.name for layer in net.layers])
    result = simulate_clocked(fine, Currents(currents / refinement), dt=1.0, n_steps=round(t_max * refinement))
    return [result.spikes[layer.name].counts() for layer in net.layers[:-1]], result


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_it_is_the_limit_of_short_steps(reset):
    rng = np.random.default_rng(8)
    net = chain(rng, (6, 20, 20, 4), reset, v_init=0.3)
    currents, t_max = rng.uniform(0.0, 1.0, (4, 6)), 10.0
    run = simulate_if(net, Currents(currents), t_max=t_max)
    differences = []
    for refinement in (1, 4, 16, 64, 256):
        counts, result = clocked(net, currents, t_max, refinement)
        off = [np.abs(own - run.counts[name]).sum() for own, name in zip(counts, run.counts, strict=True)]
        differences.append(sum(off) / run.n_spikes.sum())
    assert differences[0] > 0.1
    assert all(later < earlier or later == 0.0 for earlier, later in pairwise(differences))
    if reset == "subtract":
        # a charge that comes later in its step is kept: with the counts equal, so are the potentials, to rounding
        assert differences[-1] == 0.0
        for b in range(4):
            np.testing.assert_allclose(result.v("output", b)[-1], run.outputs[b, 0], atol=1e-9)
    else:
        assert differences[-1] < 0.05  # what lies above the threshold at a step's end is dropped: in proportion to dt


def test_rates_above_one_per_step_are_not_capped():
    net = Sequential([Dense([[1.0]]), IF(), Dense([[1.0]]), READOUT])
    run = simulate_if(net, Currents([[2.5]]), t_max=8.0)
    counts, _ = clocked(net, np.array([[2.5]]), 8.0, 1)
    assert run.counts["hidden"][0, 0] == 20
    assert run.rates("hidden")[0, 0] == 2.5
    assert counts[0][0, 0] == 8
    assert run.outputs[0, 0, 0] == 20.0


def test_outputs_at_any_time_contain_what_arrives_then():
    net = Sequential([Dense([[0.5]]), IF(), Dense([[2.0]]), IF(v_threshold=np.inf, bias=0.25)])
    run = simulate_if(net, Currents([[1.0]]), t_max=5.0, times=[0.0, 1.0, 2.0, 3.9, 4.0, 5.0])
    np.testing.assert_array_equal(run.outputs[0, :, 0], [0.0, 0.25, 2.5, 2.975, 5.0, 5.25])


def test_rates_of_a_converted_network_follow_its_activations():
    # a spike stands for the threshold of its unit: the weights that leave it are multiplied by it
    rng = np.random.default_rng(9)
    plain, currents = chain(rng), rng.uniform(0.0, 1.0, (3, 4))
    parts, activations, x, scale = [], {}, currents, np.ones(4)
    for layer in plain.layers:
        weight = layer.connection.weight
        parts += [Dense(scale[:, None] * weight), layer.neuron]
        scale = np.broadcast_to(layer.neuron.v_threshold, layer.n_neurons)
        x = np.maximum(x @ weight + layer.neuron.bias, 0.0)
        activations[layer.name] = x
    net = Sequential(parts, [layer.name for layer in plain.layers])
    del activations["output"]
    errors = [simulate_if(net, Currents(currents), t_max=t).rate_errors(activations) for t in (20.0, 2000.0)]
    for name in activations:
        assert np.abs(errors[1][name]).max() < 0.02
        assert np.abs(errors[1][name]).max() < 0.1 * np.abs(errors[0][name]).max()  # they fall like 1/T
    with pytest.raises(ValidationError, match=r"rate_errors: activations\['hidden1'\]: must hold 3 x 6"):
        simulate_if(net, Currents(currents), t_max=1.0).rate_errors({"hidden1": np.zeros((3, 5))})
    with pytest.raises(ValidationError, match="no layer 'hiden'"):
        simulate_if(net, Currents(currents), t_max=1.0).rates("hiden")


@pytest.mark.parametrize("pool", [None, "average", "maximum"])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_and_pools_equal_the_written_out_network(groups, pool):
    rng = np.random.default_rng(10)
    first = Conv2d.normal((6, 6, 2), 4, 3, mean=0.1, std=0.3, rng=rng, padding=1, groups=groups)
    bias = np.tile(rng.normal(0.05, 0.05, 4), 36)
    neuron = IF(bias=bias)
    full_first = Dense(matrix_of(lambda x: convolve(x, first.weight, (1, 1), (1, 1), groups), (6, 6, 2)))
    currents = Currents(rng.uniform(0.0, 1.0, (3, 72)))
    hidden = simulate_if(
        Sequential([full_first, neuron, Dense(np.eye(144)), READOUT]), currents, t_max=7.0, keep="spikes"
    )
    spikes = hidden.spikes["hidden"]
    if pool is None:
        before, n, inner = (), 144, Dense.normal(144, 5, mean=0.0, std=0.3, rng=rng)
        full = inner
    elif pool == "average":
        before, n = (AvgPool2d((6, 6, 4), 2),), 36
        inner = Dense.normal(n, 5, mean=0.1, std=0.5, rng=rng)
        full = Dense(matrix_of(lambda x: average(x, (2, 2), (2, 2)).reshape(-1) @ inner.weight, (6, 6, 4)))
    else:
        before, n = (MaxPool2d((6, 6, 4), 2),), 36
        inner = full = Dense.normal(n, 5, mean=0.1, std=0.5, rng=rng)
        spikes = most_frequent(spikes, (6, 6, 4), 2)
    run = simulate_if(
        Sequential([first, neuron, *before, inner, READOUT]), currents, t_max=7.0, times=[2.0, 7.0], keep="spikes"
    )
    np.testing.assert_array_equal(run.counts["hidden"], hidden.counts["hidden"])
    np.testing.assert_allclose(run.spikes["hidden"].times, hidden.spikes["hidden"].times, rtol=1e-12)
    assert run.n_spikes.min() > 50
    for b in range(3):
        own = spikes[b]
        for m, t in enumerate((2.0, 7.0)):
            counts = np.bincount(own.neurons[own.times <= t], minlength=full.n_pre)
            np.testing.assert_allclose(run.outputs[b, m], counts @ full.weight, rtol=1e-12, atol=1e-12)


def most_frequent(spikes, shape, size):
    """What a maximum pool by counts lets through, one window at a time."""
    found = ([], [], [])
    for b in range(spikes.n_samples):
        own = spikes[b]
        y, x, c = np.unravel_index(own.neurons, shape)
        pools = ((y // size) * (shape[1] // size) + x // size) * shape[2] + c
        for pool in np.unique(pools):
            mine = np.flatnonzero(pools == pool)
            counts, winner = {}, None
            for t in np.unique(own.times[mine]):
                group = [int(own.neurons[k]) for k in mine if own.times[k] == t]
                for neuron in group:
                    counts[neuron] = counts.get(neuron, 0) + 1
                for neuron in group:
                    if winner is None or counts[neuron] > counts[winner]:
                        winner = neuron
                for neuron in group:
                    if neuron == winner:
                        for column, value in zip(found, (b, pool, t), strict=True):
                            column.append(value)
    n = int(np.prod(shape)) // size**2
    return Spikes(*found, n_samples=spikes.n_samples, n_neurons=n)


@pytest.mark.parametrize(
    "first",
    [AvgPool2d((4, 4, 1), 2), MaxPool2d((4, 4, 1), 2, rule="first_spike"), Conv2d(np.ones((2, 2, 1, 1)), (4, 4, 1))],
)
def test_constant_currents_pass_pools_and_convolutions(first):
    image = np.arange(16.0) / 16
    plane = image.reshape(4, 4)
    windows = np.lib.stride_tricks.sliding_window_view(plane, (2, 2))
    if isinstance(first, Conv2d):
        net, expected = Sequential([first, READOUT]), windows.sum(axis=(2, 3)).ravel()
    elif isinstance(first, AvgPool2d):
        net, expected = Sequential([first, READOUT]), windows[::2, ::2].mean(axis=(2, 3)).ravel()
    else:
        net, expected = Sequential([first, Dense(np.eye(4)), READOUT]), windows[::2, ::2].max(axis=(2, 3)).ravel()
    run = simulate_if(net, Currents(image[None]), t_max=3.0)
    np.testing.assert_allclose(run.outputs[0, 0], 3.0 * expected, rtol=1e-14)


def test_a_delay_moves_what_arrives():
    net = Sequential([Dense([[1.0]], delay=0.5), IF(), Dense([[1.0]], delay=0.25), READOUT])
    spikes = Spikes([0, 0], [0, 0], [1.0, 2.0], n_samples=1, n_neurons=1)
    run = simulate_if(net, spikes, t_max=3.0, times=[1.5, 1.75, 3.0], keep="spikes")
    assert run.spikes["hidden"].times.tolist() == [1.5, 2.5]
    assert run.outputs[0, :, 0].tolist() == [0.0, 1.0, 2.0]


def test_bits_do_not_depend_on_threads_or_batch():
    rng = np.random.default_rng(11)
    net, currents = chain(rng), Currents(rng.uniform(0.0, 1.0, (40, 4)))
    whole = simulate_if(net, currents, t_max=6.0, n_threads=2)
    parts = [simulate_if(net, currents[k : k + 20], t_max=6.0) for k in (0, 20)]
    assert whole.outputs.tobytes() == np.concatenate([own.outputs for own in parts]).tobytes()


def test_bad_input_is_refused_by_name():
    net = Sequential([Dense([[1.0]]), IF(), Dense([[1.0]]), READOUT])
    ones = Currents([[1.0]])
    for bad, message in (
        (Sequential([Dense([[1.0]]), LIF(1.0, 1.0), Dense([[1.0]]), READOUT]), "layer 'hidden': must be IF"),
        (Sequential([Dense([[1.0]]), IF()]), "layer 'output': the last layer must be a readout"),
        (Sequential([Dense([[1.0]]), IF(reset="none"), Dense([[1.0]]), READOUT]), "reset='none'"),
        (Sequential([Dense([[1.0, 1.0]], delay=[[0.0, 1.0]]), IF(), Dense([[1.0], [1.0]]), READOUT]), "one delay"),
    ):
        with pytest.raises(ValidationError, match=message):
            simulate_if(bad, ones, t_max=1.0)
    for options, message in (
        ({"t_max": 0.0}, "t_max"), ({"t_max": 1.0, "times": [2.0]}, "times"), ({"t_max": 1.0, "keep": ["v"]}, "keep"),
        ({"t_max": 1.0, "max_events": 0}, "max_events"),
    ):  # fmt: skip
        with pytest.raises(ValidationError, match=message):
            simulate_if(net, ones, **options)
    with pytest.raises(ValidationError, match="constant"):
        simulate_if(net, Currents(np.ones((1, 1, 3))), t_max=1.0)
    with pytest.raises(ValidationError, match="2 channels, but the network has 1"):
        simulate_if(net, Currents([[1.0, 1.0]]), t_max=1.0)
    with pytest.raises(SimulationError, match=r"layer 'hidden' reached max_events=10 in sample 0"):
        simulate_if(net, ones, t_max=20.0, max_events=10)
    huge = Sequential([Dense([[1e308]]), IF(), Dense([[1.0]]), READOUT])
    twice = Spikes([0, 0], [0, 0], [1.0, 1.0], n_samples=1, n_neurons=1)
    with pytest.raises(SimulationError, match=r"layer 'hidden', sample 0: a potential is not finite"):
        simulate_if(huge, twice, t_max=2.0)
