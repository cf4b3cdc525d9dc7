"""Convolutions and pools in exact simulation, against `Dense` connections with the same synapses written out."""

import numpy as np
import pytest

from eventsnn import (
    LI,
    LIF,
    AvgPool2d,
    Conv2d,
    Dense,
    MaxPool2d,
    Network,
    Pooled,
    Population,
    Projection,
    Sequential,
    SimulationError,
    Spikes,
    ValidationError,
    eventprop,
    margins,
    simulate,
)
from tests.reference.convolution_numpy import average, convolve, matrix_of

# (height, width, channels in), size, channels out, stride, padding, groups
CASES = [
    ((5, 5, 1), (3, 3), 2, (1, 1), (0, 0), 1),
    ((5, 6, 2), (3, 2), 4, (1, 1), (1, 1), 2),
    ((6, 5, 3), (2, 3), 3, (2, 1), (0, 1), 3),
    ((3, 3, 2), (2, 2), 2, (3, 3), (2, 2), 1),  # windows without a pixel, and pixels without a window
]
ONCE = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
MANY = LIF(tau_mem=2.0, tau_syn=1.0)
#: closed forms of one model, in another order of the same events: rounding of a few sums
ROUNDING = 1e-12


def conv(case, rng, mean=1.0, std=0.8, **others):
    shape, size, n_out, stride, padding, groups = case
    weight = rng.normal(mean, std, size=(*size, shape[2] // groups, n_out))
    return Conv2d(weight, shape, stride, padding, groups, **others)


def dense_of(own):
    """The same synapses as a `Dense`, by the reference."""

    def function(plane):
        return convolve(plane, own.weight, own.stride, own.padding, own.groups)

    return Dense(matrix_of(function, own.image_shape), float(own.delay))


def inputs(rng, n_neurons, n_samples=4, share=0.8, n_each=1):
    times = rng.uniform(0.0, 2.0, (n_each, n_samples, n_neurons))
    times[rng.random(times.shape) > share] = np.inf
    parts = [Spikes.from_first_times(own) for own in times]
    return Spikes(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("samples", "neurons", "times")),
        n_samples=n_samples,
        n_neurons=n_neurons,
    )


def assert_same_spikes(found, expected):
    for name, own in expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[name].samples, own.samples)
        np.testing.assert_array_equal(found.spikes[name].neurons, own.neurons)
        np.testing.assert_allclose(found.spikes[name].times, own.times, rtol=ROUNDING, atol=ROUNDING)


def neurons_of(kind, n, n_channels, rng):
    if kind == "once":
        return ONCE
    if kind == "many":
        return MANY
    by_channel = rng.uniform(1.2, 3.0, n_channels)
    if kind == "channels":
        return LIF(tau_mem=np.tile(by_channel, n // n_channels), tau_syn=1.0, max_spikes=1)
    if kind == "unlike":
        return LIF(tau_mem=rng.uniform(1.2, 3.0, n), tau_syn=1.0, max_spikes=1)
    return LIF(tau_mem=2.0, tau_syn=1.0, i_bias=0.1, t_refrac=0.05)


@pytest.mark.parametrize("kind", ["once", "many", "channels", "unlike", "driven"])
@pytest.mark.parametrize("case", CASES)
def test_spikes_are_those_of_the_dense_connection(case, kind):
    rng = np.random.default_rng(3)
    own = conv(case, rng, delay=0.2 if kind != "driven" else 0.0)
    neuron = neurons_of(kind, own.n_post, own.weight.shape[3], rng)
    readout = Dense.normal(own.n_post, 3, mean=0.5, std=0.5, rng=rng)
    spikes = inputs(rng, own.n_pre, n_each=1 if kind == "once" else 2)
    chain = Sequential([own, neuron, readout, ONCE])
    expected = simulate(Sequential([dense_of(own), neuron, readout, ONCE]), spikes, 5.0)
    assert expected.spikes["hidden"].n_events > 5
    found = simulate(chain, spikes, 5.0, n_threads=2)
    assert_same_spikes(found, expected)
    assert_same_spikes(simulate(chain, spikes, 5.0, engine="queue"), expected)
    assert_same_spikes(simulate(chain.as_network(), spikes, 5.0), expected)
    assert found.n_synaptic_events == simulate(chain, spikes, 5.0, engine="queue").n_synaptic_events
    at = [0.3, 1.1, 4.0]
    for sample in (0, 3):
        np.testing.assert_allclose(found.v("hidden", at, sample), expected.v("hidden", at, sample), atol=1e-12)
        np.testing.assert_allclose(found.i_syn("hidden", at, sample), expected.i_syn("hidden", at, sample), atol=1e-12)


def test_two_convolutions_in_float32_and_float64_agree():
    rng = np.random.default_rng(5)
    first = conv(CASES[0], rng)
    second = Conv2d.normal(first.out_shape, 3, 2, mean=0.8, std=0.5, rng=rng)
    chain = Sequential([first, ONCE, second, ONCE])
    spikes = inputs(rng, first.n_pre)
    found, expected = simulate(chain.astype(np.float32), spikes), simulate(chain, spikes)
    assert expected.spikes["output"].n_events > 10
    np.testing.assert_array_equal(found.spikes["output"].counts(), expected.spikes["output"].counts())
    # float32 weights, steep crossings: a few units in the seventh digit
    np.testing.assert_allclose(found.first_times("output"), expected.first_times("output"), rtol=1e-5)


@pytest.mark.parametrize("padding", [(0, 0), (1, 1)])
@pytest.mark.parametrize("stride", [(2, 2), (1, 2)])
@pytest.mark.parametrize("neuron", [ONCE, MANY], ids=["once", "many"])
def test_an_average_pool_is_part_of_the_weights(neuron, stride, padding):
    rng = np.random.default_rng(8)
    shape, size = (5, 5, 2), (2, 3)
    pool = AvgPool2d(shape, size, stride, padding)

    def mean(plane):
        return average(plane, size, stride, padding)

    spikes = inputs(rng, 50, n_each=2)
    inner = Conv2d.normal(pool.out_shape, 3, 2, mean=2.0, std=1.0, rng=rng, padding=1)
    full = matrix_of(lambda plane: convolve(mean(plane), inner.weight, padding=(1, 1)), shape)
    expected = simulate(Sequential([Dense(full), neuron]), spikes, 5.0)
    assert expected.spikes["output"].n_events > 20
    assert_same_spikes(simulate(Sequential([pool, inner, neuron]), spikes, 5.0), expected)
    assert_same_spikes(simulate(Sequential([pool, inner, neuron]), spikes, 5.0, engine="queue"), expected)

    dense = Dense.normal(pool.n_post, 4, mean=1.5, std=1.0, rng=rng)
    full = matrix_of(lambda plane: mean(plane).reshape(-1) @ dense.weight, shape)
    expected = simulate(Sequential([Dense(full), neuron]), spikes, 5.0)
    assert expected.spikes["output"].n_events > 5
    assert_same_spikes(simulate(Sequential([pool, dense, neuron]), spikes, 5.0), expected)


@pytest.mark.parametrize("alike", [True, False])
def test_an_average_pool_drives_neurons_by_itself(alike):
    rng = np.random.default_rng(9)
    pool = AvgPool2d((4, 4, 2), 2)
    threshold = 0.1 if alike else rng.uniform(0.05, 0.15, pool.n_post)
    neuron = LIF(tau_mem=2.0, tau_syn=1.0, v_threshold=threshold)
    spikes = inputs(rng, 32, n_each=2)
    full = Dense(matrix_of(lambda plane: average(plane, (2, 2), (2, 2)), (4, 4, 2)))
    expected = simulate(Sequential([full, neuron]), spikes, 5.0)
    assert expected.spikes["output"].n_events > 10
    assert_same_spikes(simulate(Sequential([pool, neuron]), spikes, 5.0), expected)


def first_of_windows(times, shape, size, stride):
    """The earliest times of the windows of every sample."""
    planes = times.reshape(-1, *shape)
    n_y, n_x = ((shape[axis] - size) // stride + 1 for axis in (0, 1))
    found = np.empty((len(planes), n_y, n_x, shape[2]))
    for y, x in np.ndindex(n_y, n_x):
        pixels = planes[:, y * stride : y * stride + size, x * stride : x * stride + size]
        found[:, y, x] = pixels.min(axis=(1, 2))
    return found.reshape(len(planes), -1)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1)])
def test_a_maximum_pool_passes_the_first_spike_of_every_window(size, stride):
    rng = np.random.default_rng(10)
    first = conv(((5, 5, 1), (2, 2), 3, (1, 1), (0, 0), 1), rng, 2.0, 1.0)
    pool = MaxPool2d(first.out_shape, size, stride, rule="first_spike")
    second = Conv2d.normal(pool.out_shape, 2, 2, mean=1.0, std=0.5, rng=rng)
    readout = Dense.normal(pool.n_post, 2, mean=0.6, std=0.5, rng=rng)
    spikes = inputs(rng, 25)
    hidden = simulate(Sequential([first, ONCE]), spikes).first_times("output")
    assert 0 < np.isinf(hidden).sum() < hidden.size
    passed = Spikes.from_first_times(first_of_windows(hidden, first.out_shape, size, stride))
    for own in (second, readout):
        found = simulate(Sequential([first, ONCE, pool, own, ONCE]), spikes)
        expected = simulate(Sequential([own, ONCE]), passed)
        assert expected.spikes["output"].n_events > 2
        np.testing.assert_array_equal(found.spikes["output"].neurons, expected.spikes["output"].neurons)
        np.testing.assert_allclose(
            found.spikes["output"].times, expected.spikes["output"].times, rtol=ROUNDING, atol=ROUNDING
        )
        np.testing.assert_allclose(found.v("output", [1.0, 2.0], 1), expected.v("output", [1.0, 2.0], 1), atol=1e-12)


def test_of_neurons_that_spike_often_the_first_one_of_a_window_passes_all_its_spikes():
    # pixels 0 and 1 are one window: 1 is first, then its later spikes pass and those of 0 do not
    pool, readout = MaxPool2d((1, 2, 1), (1, 2), rule="first_spike"), Dense([[4.0]])
    spikes = Spikes([0] * 4, [1, 0, 1, 0], [0.1, 0.2, 0.3, 0.4], n_samples=1, n_neurons=2)
    passed = Spikes([0, 0], [0, 0], [0.1, 0.3], n_samples=1, n_neurons=1)
    found = simulate(Sequential([pool, readout, MANY]), spikes, 4.0)
    expected = simulate(Sequential([readout, MANY]), passed, 4.0)
    np.testing.assert_array_equal(found.spikes["output"].times, expected.spikes["output"].times)
    # at one time the lower number wins
    tie = Spikes([0] * 3, [0, 1, 1], [0.1, 0.1, 0.3], n_samples=1, n_neurons=2)
    found = simulate(Sequential([pool, readout, MANY]), tie, 4.0)
    expected = simulate(Sequential([readout, MANY]), Spikes([0], [0], [0.1], n_samples=1, n_neurons=1), 4.0)
    np.testing.assert_array_equal(found.spikes["output"].times, expected.spikes["output"].times)


def test_margins_are_those_of_the_dense_connection():
    rng = np.random.default_rng(12)
    own = conv(CASES[1], rng, 0.4, 0.5)
    spikes = inputs(rng, own.n_pre)
    found, expected = (margins(simulate(Sequential([c, MANY]), spikes, 4.0)) for c in (own, dense_of(own)))
    np.testing.assert_allclose(found.gain["output"], expected.gain["output"], atol=1e-12)
    np.testing.assert_allclose(found.slope["output"], expected.slope["output"], rtol=1e-11)


def test_a_network_may_have_a_convolution_among_other_projections():
    rng = np.random.default_rng(13)
    own = conv(CASES[0], rng, delay=0.1)
    back = Dense.normal(own.n_post, own.n_post, mean=-0.2, std=0.1, rng=rng, delay=0.3)

    def network(forward):
        projections = [Projection("in", "a", forward), Projection("a", "a", back)]
        return Network({"in": own.n_pre}, {"a": Population(MANY, own.n_post)}, projections)

    spikes = inputs(rng, own.n_pre, n_each=2)
    found, expected = (simulate(network(c), spikes, 4.0) for c in (own, dense_of(own)))
    assert expected.spikes["a"].n_events > 30
    assert_same_spikes(found, expected)


def test_what_continuous_time_does_not_take_is_refused_by_name():
    rng = np.random.default_rng(14)
    spikes, readout = inputs(rng, 16), Dense.normal(4, 2, mean=1.0, std=0.5, rng=rng)
    by_rate = Sequential([MaxPool2d((4, 4, 1), 2), readout, ONCE])
    with pytest.raises(ValidationError, match=r"'output'.*max_rate.*rule='first_spike'"):
        simulate(by_rate, spikes)
    first = Sequential([MaxPool2d((4, 4, 1), 2, rule="first_spike"), readout, ONCE])
    with pytest.raises(ValidationError, match=r"MaxPool2d.*gate.*AvgPool2d"):
        simulate(first, spikes, engine="queue")
    result = simulate(first, spikes)
    with pytest.raises(ValidationError, match=r"MaxPool2d.*gate.*AvgPool2d"):
        eventprop(result, {"output": np.ones(result.spikes["output"].n_events)})


def test_a_potential_that_is_not_finite_names_population_and_sample():
    own = Conv2d(np.full((2, 2, 1, 2), 1e308), (3, 3, 1))
    spikes = Spikes(np.repeat([0, 1], 9)[8:], np.tile(np.arange(9), 2)[8:], np.zeros(10), n_samples=2, n_neurons=9)
    with pytest.raises(SimulationError, match=r"'output', sample 1"):
        simulate(Sequential([own, ONCE]), spikes)


def test_readouts_take_a_convolution():
    rng = np.random.default_rng(15)
    own = conv(CASES[0], rng)
    li = LI(tau_mem=2.0, tau_syn=1.0)
    spikes = inputs(rng, own.n_pre)
    found, expected = (simulate(Sequential([c, li]), spikes, 4.0) for c in (own, dense_of(own)))
    np.testing.assert_allclose(found.v("output", [1.0, 3.0], 2), expected.v("output", [1.0, 3.0], 2), atol=1e-12)


def test_pooled_reads_the_synapses_behind_its_gate():
    pooled = Pooled(MaxPool2d((2, 2, 1), 2, rule="first_spike"), Dense([[1.0, 2.0]]))
    network = Sequential([MaxPool2d((2, 2, 1), 2, rule="first_spike"), Dense([[1.0, 2.0]]), ONCE])
    spikes = Spikes([0, 0], [2, 1], [0.1, 0.2], n_samples=1, n_neurons=4)
    assert simulate(network, spikes).n_synaptic_events == 2  # one spike passes, to two neurons
    assert pooled.after_gates()[0].size == 2
