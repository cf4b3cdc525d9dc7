"""Analytic gradients against central differences, in float64 and in 40 digits, and the options around them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from eventsnn import (
    LIF,
    Dense,
    FirstSpikeCrossEntropy,
    FirstSpikeMSE,
    Sequential,
    ShiftInvariantMSE,
    Spikes,
    ValidationError,
    check_gradients,
    loss_and_grad,
    simulate,
)
from eventsnn.gradients.first_spike import BlockGradient
from eventsnn.simulation.layers import input_events

#: the three families of time constants, on both sides of 1
RATIOS = (1.0, 2.0, 1.37, 0.5, 4.0)
LOSSES = [
    FirstSpikeCrossEntropy(xi=0.4, alpha=0.01),
    FirstSpikeMSE(t_correct=1.0, t_wrong=2.0, alpha=0.02, beta=1.5),
    ShiftInvariantMSE(delta_t=0.7, alpha=0.02),
]


def network(rng, ratio, sizes=(4, 6, 3), *, mean=2.0, std=1.5, per_neuron=False):
    parts = []
    for n_pre, n_post in pairwise(sizes):
        tau = np.full(n_post, ratio) if per_neuron else ratio
        parts += [
            Dense.normal(n_pre, n_post, mean=mean * ratio**0.5, std=std, rng=rng),
            LIF(tau_mem=tau, tau_syn=1.0, max_spikes=1),
        ]
    return Sequential(parts)


def block_of(net, found):
    return BlockGradient(net, dict(zip(net.parameters(), found, strict=True)))


def batch(rng, n_samples=4, n_inputs=4, span=2.0):
    return Spikes.from_first_times(rng.uniform(0.0, span, (n_samples, n_inputs))), rng.integers(0, 3, n_samples)


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("ratio", RATIOS)
def test_loss_and_grad_agrees_with_central_differences(ratio, loss, per_neuron):
    rng = np.random.default_rng(int(10 * ratio))
    net = network(rng, ratio, per_neuron=per_neuron)
    spikes, labels = batch(rng)
    report = check_gradients(net, spikes, labels, loss, precision="float64", verbose=False)
    assert report.n_entries == 4 * 6 + 6 * 3 + 16
    assert report.n_changed <= 2
    # A float64 difference of step 6e-6 leaves 1e-10 by rounding and by truncation, more at a grazing spike.
    assert report.max_relative_error <= 1e-7


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("ratio", RATIOS)
def test_loss_and_grad_agrees_with_differences_in_high_precision(ratio, loss):
    rng = np.random.default_rng(int(10 * ratio))
    net = network(rng, ratio)
    spikes, labels = batch(rng)
    report = check_gradients(net, spikes, labels, loss, precision="high", verbose=False)
    assert report.n_changed == 0
    # The difference itself is good to 1e-25; the float64 gradient to a few ulp (measured: 2e-15 and less).
    assert report.max_relative_error <= 1e-12


@pytest.mark.parametrize("ratio", RATIOS)
def test_loss_and_grad_moves_its_reference_through_long_windows(ratio):
    rng = np.random.default_rng(int(10 * ratio) + 1)
    net = network(rng, ratio, (60, 5, 3), mean=0.9, std=1.0)
    spikes, labels = batch(rng, 2, 60, span=150.0)
    times = simulate(net, spikes).first_times("hidden")
    assert (times[np.isfinite(times)] > 30.0).any()  # beyond the first reference
    report = check_gradients(
        net, spikes, labels, LOSSES[1], precision="high", n_entries=40, rng=0, tolerance=1e-10, verbose=False
    )
    assert report.n_changed == 0
    assert report.max_relative_error <= 1e-10  # measured: 1e-13 and less


# -- the hinge on silent neurons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("ratio", RATIOS)
def test_loss_and_grad_of_the_silent_hinge_agrees_with_central_differences(ratio, per_neuron):
    # Weights of both signs: peaks inside intervals, and kinks where an inhibitory input cuts a rise short.
    rng = np.random.default_rng(int(10 * ratio) + 100)  # seeds without a grazing spike, where the step would be coarse
    net = network(rng, ratio, (6, 12, 3), mean=0.3, std=ratio**0.7, per_neuron=per_neuron)
    spikes, labels = batch(rng, 6, 6, span=3.0)
    result = simulate(net, spikes)
    silent = np.isinf(result.first_times("hidden"))
    assert 10 < silent.sum() < silent.size
    assert np.isinf(result.first_times("output")).any()
    report = check_gradients(
        net, spikes, labels, LOSSES[0], precision="float64", silent_strength=0.3, tolerance=1e-6, verbose=False
    )
    assert report.n_changed == 0
    assert report.max_relative_error <= 1e-6  # measured: 1e-8 and less
    without = loss_and_grad(net, spikes, labels, LOSSES[0])[1]
    with_hinge = loss_and_grad(net, spikes, labels, LOSSES[0], silent_strength=0.3)[1]
    assert not np.allclose(without.parameters["hidden.weight"], with_hinge.parameters["hidden.weight"], rtol=1e-3)


@pytest.mark.parametrize("per_neuron", [False, True])
def test_loss_and_grad_of_the_silent_hinge_at_a_kink(per_neuron):
    # Up by 0.8 at 0, down by 5 at 0.5: the peak is a kink and moves with the second input.
    tau = np.full(1, 2.0) if per_neuron else 2.0
    net = Sequential([Dense(np.array([[0.8], [-5.0]])), LIF(tau_mem=tau, tau_syn=1.0, max_spikes=1)])
    spikes = Spikes([0, 0], [0, 1], [0.25, 0.75], n_samples=1, n_neurons=2)
    strength = 0.7
    loss = FirstSpikeMSE(t_correct=1.0, t_wrong=2.0, t_silent=10.0)
    value, gradients = loss_and_grad(net, spikes, [0], loss, silent_strength=strength)
    peak = 0.8 * (np.exp(-0.25) - np.exp(-0.5))  # v of one input, k(s) = e^(-s/2) - e^(-s), at s = 0.5
    slope = 0.8 * (np.exp(-0.5) - 0.5 * np.exp(-0.25))
    assert value == pytest.approx(0.5 * 9.0**2 + strength * (1.0 - peak), rel=1e-14)
    expected = np.array([[-strength * peak / 0.8], [0.0]])
    assert np.allclose(gradients.parameters["output.weight"], expected, rtol=1e-14, atol=0)
    assert np.allclose(gradients.input_times, [[strength * slope, -strength * slope]], rtol=1e-13, atol=0)


@pytest.mark.parametrize("max_norm", [np.inf, 0.05])
@pytest.mark.parametrize("ratio", RATIOS)
def test_block_gradient_of_a_kink_where_the_reference_time_moves(ratio, max_norm):
    # A weak input at 0 sets the reference; a strong one at t is cut short at t + 0.5. For one of these t the cut is
    # the first event of a new reference time, while all causal inputs count from the old one.
    times = np.arange(0.25, 30.0, 0.25)
    spikes = Spikes.from_first_times(np.stack((0.0 * times, times, times + 0.5), axis=1))
    labels = np.zeros(times.size, np.int64)
    results = []
    for tau_mem in (ratio, np.full(1, ratio)):
        net = Sequential([Dense(np.array([[0.1], [1.0], [-5.0]])), LIF(tau_mem=tau_mem, tau_syn=1.0, max_spikes=1)])
        found = [np.zeros((3, 1))]
        outcome = block_of(net, found).run(
            input_events(spikes), labels, LOSSES[1], output_hinge=1.0, max_norm=max_norm, want_inputs=True
        )
        results.append((found[0], outcome.d_inputs, outcome.losses))
    assert (results[1][1][:, 2] < 0.0).all()  # a later cut lets the potential rise further
    for fast, general in zip(*results, strict=True):
        # Rounding only (measured: 1e-13 and less).
        assert np.allclose(fast, general, rtol=1e-11, atol=1e-11 * np.abs(general).max())
    if max_norm == np.inf:
        report = check_gradients(
            net, spikes, labels, LOSSES[1], precision="float64", silent_strength=1.0, n_entries=40, rng=0, verbose=False
        )
        assert report.n_changed == 0
        assert report.max_relative_error <= 1e-7  # nothing is close to threshold


def test_loss_and_grad_of_a_hinge_that_nothing_reaches_is_zero():
    net = Sequential([Dense(np.array([[-1.0]])), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    spikes = Spikes([0], [0], [0.25], n_samples=2, n_neurons=1)  # inhibited only, and no input at all
    value, gradients = loss_and_grad(
        net, spikes, [0, 0], FirstSpikeMSE(t_correct=1.0, t_wrong=2.0, t_silent=10.0), silent_strength=1.0
    )
    assert value == 0.5 * 9.0**2 + 1.0  # the full distance from rest to threshold
    assert gradients.parameters["output.weight"].tolist() == [[0.0]]
    assert gradients.input_times.tolist() == [[0.0], [0.0]]


# -- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("span", [2.0, 60.0])
@pytest.mark.parametrize("per_neuron", [False, True])
def test_block_gradient_clips_the_weight_gradient_of_each_sample(per_neuron, span):
    rng = np.random.default_rng(8)
    net = network(rng, 2.0, (12, 6, 3), mean=1.5, per_neuron=per_neuron)
    spikes, labels = batch(rng, 30, 12, span)
    loss = LOSSES[0]
    one_by_one = [loss_and_grad(net, spikes[s], labels[s : s + 1], loss)[1] for s in range(30)]
    norms = np.array([[np.linalg.norm(g) for g in sample.parameters.values()] for sample in one_by_one])
    max_norm = float(np.median(norms))
    expected = [np.zeros_like(w) for w in net.weights]
    for sample, lengths in zip(one_by_one, norms, strict=True):
        for total, gradient, length in zip(expected, sample.parameters.values(), lengths, strict=True):
            total += gradient * min(1.0, max_norm / length if length else 1.0)
    found = [np.zeros_like(w) for w in net.weights]
    outcome = block_of(net, found).run(input_events(spikes), labels, loss, max_norm=max_norm, want_inputs=True)
    assert outcome.n_clipped == int((norms > max_norm).sum()) > 10
    for a, b in zip(found, expected, strict=True):
        # Sums of 30 terms; the norm comes from running sums, equal to rounding.
        assert np.allclose(a, b, rtol=1e-10, atol=1e-11 * np.abs(b).max())
    # What flows to the layers before is not shortened.
    unclipped = np.concatenate([sample.input_times for sample in one_by_one])
    assert np.allclose(outcome.d_inputs, unclipped, rtol=1e-10, atol=1e-14)


def test_block_gradient_bounds_the_factor_of_grazing_spikes():
    # k(s) = e^(-s/2) - e^(-s) peaks at 1/4: the weight 4.0001 makes a spike with hardly any slope.
    net = Sequential([Dense(np.array([[4.0001]])), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    spikes, labels = Spikes([0], [0], [0.0], n_samples=1, n_neurons=1), np.array([0])
    loss = FirstSpikeMSE(t_correct=1.0, t_wrong=2.0, t_silent=10.0)
    gradients = []
    for min_slope in (0.0, 0.1):
        found = [np.zeros((1, 1))]
        block_of(net, found).run(input_events(spikes), labels, loss, min_slope=min_slope)
        gradients.append(found[0][0, 0])
    t = simulate(net, spikes).spikes["output"].times[0]
    slope = 4.0001 * (np.exp(-t) - 0.5 * np.exp(-t / 2))
    # The slope is a difference of numbers 100 times its size.
    assert gradients[0] == pytest.approx(-(t - 1.0) / 4.0001 / slope, rel=1e-9)
    assert gradients[1] == pytest.approx(-(t - 1.0) / 4.0001 / (0.1 / 2.0), rel=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_loss_and_grad_in_float32_stays_close_to_float64(ratio):
    rng = np.random.default_rng(3)
    net = network(rng, ratio, (20, 30, 3), mean=0.4, std=0.4).astype(np.float32)
    spikes, labels = batch(rng, 40, 20)
    value, fast = loss_and_grad(net, spikes, labels, LOSSES[0])
    exact_value, exact = loss_and_grad(net.astype(np.float64), spikes, labels, LOSSES[0])
    assert value == pytest.approx(exact_value, rel=1e-5)
    for name, gradient in fast.parameters.items():
        assert gradient.dtype == np.float32
        error = np.abs(gradient - exact.parameters[name]).max() / np.abs(exact.parameters[name]).max()
        # 2^-24, amplified by the slopes of 30 neurons and 40 samples (measured: 2e-7 .. 1e-5).
        assert error <= 1e-4


def test_loss_and_grad_gives_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(5)
    net = network(rng, 2.0)
    spikes, labels = batch(rng, 300)
    value, one = loss_and_grad(net, spikes, labels, LOSSES[0], silent_strength=0.1)
    for n_threads in (2, 3):
        again, other = loss_and_grad(net, spikes, labels, LOSSES[0], silent_strength=0.1, n_threads=n_threads)
        assert again == value
        assert np.array_equal(one.input_times, other.input_times)
        assert all(np.array_equal(one.parameters[name], other.parameters[name]) for name in one.parameters)


def test_loss_and_grad_is_the_mean_over_the_samples():
    rng = np.random.default_rng(6)
    net = network(rng, 1.0)
    spikes, labels = batch(rng, 7)
    value, together = loss_and_grad(net, spikes, labels, LOSSES[2])
    alone = [loss_and_grad(net, spikes[s], labels[s : s + 1], LOSSES[2]) for s in range(7)]
    assert value == pytest.approx(np.mean([v for v, _ in alone]), rel=1e-14)
    for name, gradient in together.parameters.items():
        mean = np.mean([g.parameters[name] for _, g in alone], axis=0)
        # Another order of summation.
        assert np.allclose(gradient, mean, rtol=1e-12, atol=1e-14 * np.abs(mean).max())
    assert np.allclose(together.input_times * 7, np.concatenate([g.input_times for _, g in alone]), rtol=1e-14)


def test_loss_and_grad_of_silence_is_zero():
    net = network(np.random.default_rng(0), 2.0)
    value, gradients = loss_and_grad(net, Spikes([], [], [], n_samples=2, n_neurons=4), [0, 1], LOSSES[0])
    assert np.isfinite(value)
    assert not any(g.any() for g in gradients.parameters.values())
    assert not gradients.input_times.any()


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "guess"}, "unknown method 'guess'; available: 'first_spike', 'eventprop'"),
        ({"targets": [0]}, "targets: 1 labels for 2 samples"),
        ({"targets": [0, 3]}, "targets: entry 1 is 3"),
        ({"targets": [0, 0.5]}, "targets: must hold integers"),
        ({"targets": [[0], [1]]}, "targets: must be one-dimensional"),
        ({"spikes": Spikes([], [], [], n_samples=0, n_neurons=4), "targets": []}, "the batch is empty"),
        ({"spikes": Spikes([], [], [], n_samples=2, n_neurons=5)}, "n_neurons=5, but the network has 4"),
        ({"n_threads": 0}, "n_threads"),
        (
            {"network": Sequential([Dense(np.ones((4, 3))), LIF(tau_mem=1.0, tau_syn=1.0, max_spikes=2)])},
            "'output' has max_spikes=2",
        ),
    ],
)
def test_loss_and_grad_refuses_what_does_not_fit(change, message):
    rng = np.random.default_rng(0)
    spikes, _ = batch(rng, 2)
    arguments = {"network": network(rng, 2.0), "spikes": spikes, "targets": [0, 1], "loss": LOSSES[0]} | change
    with pytest.raises(ValidationError, match=message):
        loss_and_grad(**arguments)


def test_loss_and_grad_by_eventprop_is_the_closed_form():
    rng = np.random.default_rng(5)
    net = network(rng, 2.0)
    spikes, labels = batch(rng)
    loss = FirstSpikeCrossEntropy(xi=0.5)
    value, closed = loss_and_grad(net, spikes, labels, loss)
    other, found = loss_and_grad(net, spikes, labels, loss, method="eventprop", n_threads=2)
    assert other == pytest.approx(value, rel=1e-13)
    for name, array in closed.parameters.items():
        np.testing.assert_allclose(found.parameters[name], array, rtol=1e-12, atol=1e-13 * np.abs(array).max())
    by_event = closed.input_times[spikes.samples, spikes.neurons]
    np.testing.assert_allclose(found.input_times, by_event, rtol=1e-11, atol=1e-13 * np.abs(by_event).max())
    assert set(found.parameters) > {"hidden.tau_mem", "output.v_threshold", "hidden.delay"}
