"""Gradients of shared weights: against the written-out `Dense`, high-precision differences, and between the methods."""

import numpy as np
import pytest

from eventsnn import (
    LI,
    LIF,
    AvgPool2d,
    Conv2d,
    Dense,
    FirstSpikeMSE,
    MaxPool2d,
    MaxVoltageCrossEntropy,
    Sequential,
    Spikes,
    check_eventprop,
    check_gradients,
    eventprop,
    loss_and_grad,
    simulate,
)
from eventsnn.gradients.chain import ChainGradient
from eventsnn.gradients.first_spike import BlockGradient
from eventsnn.simulation.layers import input_events
from eventsnn.simulation.windows import fold_matrix, matrix_of

ONCE = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
MANY = LIF(tau_mem=2.0, tau_syn=1.0)
LOSS = FirstSpikeMSE(t_correct=1.0, t_wrong=2.0)


def chain(rng, neuron=ONCE, *, pools=(), readout=None, groups=1, delay=0.0):
    """Convolution, pools or none, convolution, dense: small enough for high precision."""
    first = Conv2d.normal((4, 4, 2), 2, 2, mean=1.5 * groups, std=0.8, rng=rng, groups=groups, padding=1, delay=delay)
    parts, shape = [first, neuron], first.out_shape
    for kind, size, options in pools:
        parts.append(kind(shape, size, **options))
        shape = parts[-1].out_shape
    second = Conv2d.normal(shape, 2, 2, mean=1.5, std=0.5, rng=rng, stride=2)
    last = Dense.normal(second.n_post, 2, mean=13.0 / second.n_post, std=0.6, rng=rng)
    return Sequential([*parts, second, neuron, last, readout or neuron])


def batch(rng, n_inputs=32, n_samples=3):
    times = rng.uniform(0.05, 1.5, (n_samples, n_inputs))
    times[rng.random(times.shape) < 0.3] = np.inf
    return Spikes.from_first_times(times), rng.integers(0, 2, n_samples)


def written_out(network):
    parts = []
    for layer in network.layers:
        parts += [Dense(matrix_of(layer.connection), layer.connection.delay), layer.neuron]
    return Sequential(parts)


POOLS = {
    "none": (),
    "average": ((AvgPool2d, 2, {"stride": 1}),),
    "maximum": ((MaxPool2d, 2, {"stride": 1, "rule": "first_spike"}),),
    "both": ((MaxPool2d, 2, {"stride": 1, "rule": "first_spike"}), (AvgPool2d, 2, {"stride": 1})),
}


@pytest.mark.parametrize("pools", POOLS)
def test_first_spike_gradients_agree_with_differences_in_high_precision(pools):
    rng = np.random.default_rng(1)
    net = chain(rng, pools=POOLS[pools], delay=0.1)
    spikes, labels = batch(rng)
    assert np.isfinite(simulate(net, spikes).first_times("output")).mean() > 0.8
    # 40 digits against float64: rounding of the analytic gradient alone
    report = check_gradients(
        net, spikes, labels, LOSS, precision="high", n_entries=6, rng=0, tolerance=1e-10, verbose=False
    )
    assert report.passed, report
    assert report.n_changed == 0
    assert "hidden1.delay" in report.entries


def test_float64_differences_of_a_maximum_pool():
    rng = np.random.default_rng(2)
    net = chain(rng, pools=POOLS["maximum"])
    spikes, labels = batch(rng)
    report = check_gradients(
        net, spikes, labels, LOSS, precision="float64", n_entries=8, rng=0, tolerance=1e-6, verbose=False
    )
    assert report.passed, report  # differences of step 6e-6 have about nine digits


def test_a_step_that_changes_the_winner_does_not_count():
    # two pixels 1e-9 apart: a step of 6e-6 swaps them
    net = Sequential([MaxPool2d((1, 2, 1), (1, 2), rule="first_spike"), Dense([[6.0, 6.0]]), ONCE])
    spikes = Spikes.from_first_times([[0.5, 0.5 + 1e-9]])
    for precision, changed in (("float64", 2), ("high", 0)):
        report = check_gradients(net, spikes, [0], LOSS, parameters=["input_times"], precision=precision, verbose=False)
        assert report.n_changed == changed, report


@pytest.mark.parametrize("pools", ["none", "average"])
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_are_the_folded_ones_of_the_dense_connections(groups, pools):
    rng = np.random.default_rng(3)
    net = chain(rng, pools=POOLS[pools], groups=groups)
    spikes, labels = batch(rng, n_samples=40)
    value, found = loss_and_grad(net, spikes, labels, LOSS, silent_strength=0.5)
    expected_value, expected = loss_and_grad(written_out(net), spikes, labels, LOSS, silent_strength=0.5)
    assert value == pytest.approx(expected_value, rel=1e-12)
    for layer in net.layers:
        own = fold_matrix(layer.connection, expected.parameters[f"{layer.name}.weight"])
        # sums in another order
        np.testing.assert_allclose(found.parameters[f"{layer.name}.weight"], own, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.input_times, expected.input_times, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("pools", ["none", "average"])
def test_eventprop_agrees_with_differences_in_high_precision(pools):
    rng = np.random.default_rng(4)
    net = chain(rng, MANY, pools=POOLS[pools], delay=0.1)
    spikes, _ = batch(rng, n_samples=1)

    def loss(result):
        times = result.spikes["output"].times
        return (times**2).sum(), {"output": 2.0 * times}

    assert simulate(net, spikes, 3.0).spikes["output"].n_events > 1
    report = check_eventprop(
        net, spikes, loss, 3.0, precision="high", n_entries=4, rng=0, tolerance=1e-10,
        parameters=["input->hidden1.weight", "hidden1->hidden2.weight", "input->hidden1.delay", "input.times"],
    )  # fmt: skip
    assert report.passed, report
    assert report.n_changed == 0


def test_the_methods_agree():
    rng = np.random.default_rng(5)
    net = chain(rng, pools=POOLS["average"])
    spikes, labels = batch(rng, n_samples=5)
    value, by_times = loss_and_grad(net, spikes, labels, LOSS)
    other_value, by_eventprop = loss_and_grad(net, spikes, labels, LOSS, method="eventprop")
    assert value == pytest.approx(other_value, rel=1e-12)
    for name in net.parameters():
        np.testing.assert_allclose(by_eventprop.parameters[name], by_times.parameters[name], rtol=1e-10, atol=1e-12)
    report = check_gradients(net, spikes, labels, LOSS, method="eventprop", n_entries=3, rng=0, verbose=False)
    assert report.passed, report


def of_chain(net, spikes, labels, loss, t_max, **options):
    found = [np.zeros_like(layer.connection.weight) for layer in net.layers]
    outcome = ChainGradient(net, found, loss, t_max).run(input_events(spikes), labels, loss, **options)
    return outcome.losses.mean(), [own / labels.size for own in found]


@pytest.mark.parametrize("readout", [None, LI(tau_mem=2.0, tau_syn=1.0)], ids=["times", "voltage"])
@pytest.mark.parametrize("neuron", [ONCE, MANY], ids=["once", "many"])
def test_layer_by_layer_and_event_by_event_agree(neuron, readout):
    rng = np.random.default_rng(6)
    net = chain(rng, neuron, pools=POOLS["average"], readout=readout)
    spikes, labels = batch(rng, n_samples=6)
    loss = LOSS if readout is None else MaxVoltageCrossEntropy()
    hinge = [(np.ones(layer.n_neurons, dtype=bool), 0.3) for layer in net.layers[:-1]]
    value, found = of_chain(net, spikes, labels, loss, 4.0, hidden_hinge=hinge, output_hinge=0.3)
    # by layers the hinge counts neurons too that get no input at all
    assert value == pytest.approx(
        of_chain(written_out(net), spikes, labels, loss, 4.0, hidden_hinge=hinge, output_hinge=0.3)[0], rel=1e-12
    )
    _, expected = loss_and_grad(net, spikes, labels, loss, method="eventprop", t_max=4.0, silent_strength=0.3)
    for own, name in zip(found, net.parameters(), strict=True):
        np.testing.assert_allclose(own, expected.parameters[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["max", "integral", "at"])
def test_readouts_behind_a_convolution(kind):
    from eventsnn.network import Layer
    from eventsnn.simulation.convolution_layers import WindowReadout
    from eventsnn.simulation.readouts import ReadoutRunner

    rng = np.random.default_rng(7)
    own = Conv2d.normal((4, 4, 2), 3, 2, mean=0.5, std=1.0, rng=rng)
    layer = Layer("readout", own, LI(tau_mem=2.0, tau_syn=1.0))
    options = {"kind": kind, "times": [0.5, 1.0, 2.0]} if kind == "at" else {"kind": kind}
    spikes, _ = batch(rng, n_samples=4)
    dense = matrix_of(own)
    runners = WindowReadout(layer, 3.0, **options), ReadoutRunner(layer, dense, 3.0, **options)
    found, expected = (runner.forward(input_events(spikes)) for runner in runners)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    d_values, d_weight, d_dense = rng.normal(size=found.shape), np.zeros_like(own.weight), np.zeros_like(dense)
    d_times = runners[0].backward(d_values, d_weight)
    np.testing.assert_allclose(d_times, runners[1].backward(d_values, d_dense), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(d_weight, own.fold(d_dense[matrix_places(own)]), rtol=1e-10, atol=1e-12)


def matrix_places(connection):
    indptr, indices, _, _ = connection.rows()
    return np.repeat(np.arange(connection.n_pre), np.diff(indptr)), indices


def test_the_bound_is_on_each_samples_gradient_of_the_shared_weights():
    rng = np.random.default_rng(8)
    net = chain(rng, groups=2)
    spikes, labels = batch(rng, n_samples=5)
    alone = [loss_and_grad(net, spikes[k : k + 1], labels[k : k + 1], LOSS)[1].parameters for k in range(5)]
    norms = np.array([np.linalg.norm(own["hidden1.weight"]) for own in alone])
    bound = float(np.median(norms))
    gradients = {name: np.zeros_like(own) for name, own in net.parameters().items()}
    outcome = BlockGradient(net, gradients).run(
        input_events(spikes), labels, LOSS, max_norm=[bound, np.inf, np.inf], want_inputs=True
    )
    assert outcome.n_clipped == 2
    scales = np.minimum(1.0, bound / norms)
    expected = sum(scale * own["hidden1.weight"] for scale, own in zip(scales, alone, strict=True))
    np.testing.assert_allclose(gradients["hidden1.weight"], expected, rtol=1e-12)
    # the bound is on weights alone
    free = BlockGradient(net, {}).run(input_events(spikes), labels, LOSS, want_inputs=True)
    np.testing.assert_allclose(outcome.d_inputs, free.d_inputs, rtol=1e-12)


def test_eventprop_of_a_network_folds_too():
    rng = np.random.default_rng(9)
    net = chain(rng, MANY)
    spikes, _ = batch(rng, n_samples=2)
    found, expected = (simulate(own, spikes, 3.0) for own in (net, written_out(net)))
    d_times = {"output": np.ones(found.spikes["output"].n_events)}
    a, b = eventprop(found, d_times), eventprop(expected, d_times)
    for layer, own, dense in zip(net.layers, a.weights, b.weights, strict=True):
        assert own.shape == layer.connection.weight.shape
        np.testing.assert_allclose(own, fold_matrix(layer.connection, dense), rtol=1e-9, atol=1e-12)
