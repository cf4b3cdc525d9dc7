"""The surrogate of spike counts: differences of the smooth count that it is the derivative of, and what it trains."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventsnn import (
    LI,
    LIF,
    Dense,
    Network,
    Population,
    Projection,
    Sequential,
    SpikeCountCrossEntropy,
    SpikeCountLowerBound,
    SpikeCountMSE,
    SpikeCountSurrogate,
    SpikeCountTarget,
    SpikeCountUpperBound,
    Spikes,
    ValidationError,
    eventprop,
    margins,
    poisson_spikes,
    simulate,
)

T_MAX = 20.0
SURROGATES = [
    SpikeCountSurrogate(),
    SpikeCountSurrogate(slope=4.0, height=0.7),
    SpikeCountSurrogate(function="exponential", slope=2.5),
    SpikeCountSurrogate(function="triangular", slope=0.8),
    SpikeCountSurrogate(function="constant", height=1.5),
]


def step(surrogate, u):
    """The smooth step H, 0 at the threshold; its derivative is `height` h."""
    a, x = surrogate.slope, abs(u)
    if surrogate.function == "constant":
        return surrogate.height * u
    size = {
        "fast_sigmoid": lambda: x / (1.0 + a * x),
        "exponential": lambda: -math.expm1(-a * x) / a,
        "triangular": lambda: x - 0.5 * a * x * x if a * x < 1.0 else 0.5 / a,
    }[surrogate.function]()
    return surrogate.height * math.copysign(size, u)


def recurrent(weights, v_threshold=1.0, v_reset=-0.3):
    """Inputs, two populations, and connections among them, with delays."""
    first = LIF(4.0, 2.0, v_threshold=v_threshold, v_reset=v_reset, v_leak=v_reset)
    second = LIF(3.0, 3.0, v_threshold=v_threshold, v_reset=v_reset, v_leak=v_reset, t_refrac=0.5)
    return Network(
        inputs={"in": 4},
        populations={"a": Population(first, 6), "b": Population(second, 5)},
        projections=[
            Projection("in", "a", Dense(weights[0])),
            Projection("a", "b", Dense(weights[1], delay=0.3)),
            Projection("b", "a", Dense(weights[2], delay=0.7)),
        ],
    )


def case(seed):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(1.0, 1.0, (4, 6)), rng.normal(0.8, 0.8, (6, 5)), rng.normal(0.0, 0.7, (5, 6))]
    spikes = poisson_spikes(0.25, T_MAX, n_neurons=4, n_samples=2, rng=rng)
    d_counts = {name: rng.normal(0.0, 1.0, (2, n)) for name, n in (("a", 6), ("b", 5))}
    return weights, spikes, d_counts


def smooth_count(surrogate, result, spikes, with_peaks, d_counts, early):
    """sum d_count (sum_k H(u(T_k - early)) + H(u of the highest peak)), the T_k given and the peaks its own."""
    total, peaks = [], margins(result).peak
    for name, own in spikes.items():
        neuron, v, weights = result.network.populations[name].neuron, [], []
        for b in range(result.n_samples):
            now = own[b]
            v.append(result.v(name, now.times - early, b)[np.arange(now.n_events), now.neurons])
            weights.append(d_counts[name][b, now.neurons])
        if name in with_peaks:
            place = (with_peaks[name].samples, with_peaks[name].neurons)
            v.append(peaks[name][place])
            weights.append(d_counts[name][place])
        u = (np.concatenate(v) - neuron.v_threshold) / (neuron.v_threshold - neuron.v_reset)
        total += [c * step(surrogate, x) for c, x in zip(np.concatenate(weights), u, strict=True)]
    return math.fsum(total)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_derivative_is_that_of_the_step(surrogate):
    assert surrogate.derivative(0.0) == surrogate.height
    if surrogate.function == "constant":
        assert surrogate.derivative([-0.5, 0.0]).tolist() == [0.0, 1.5]
        return
    for u in (-3.0, -0.7, -0.1, 0.4):
        difference = (step(surrogate, u + 1e-6) - step(surrogate, u - 1e-6)) / 2e-6
        assert surrogate.derivative(u) == pytest.approx(difference, abs=1e-9)  # rounding: 1e-16/1e-6


@pytest.mark.parametrize(
    ("surrogate", "seed"), [*((surrogate, 4) for surrogate in SURROGATES), (SURROGATES[0], 3)], ids=repr
)
def test_gradient_is_that_of_the_smooth_count(surrogate, seed):
    weights, spikes, d_counts = case(seed)
    result = simulate(recurrent(weights), spikes, T_MAX)
    given = surrogate.arguments(result, d_counts)
    gradients = eventprop(result, **given, neuron_parameters=False)
    assert min(result.spikes[name].n_events for name in ("a", "b")) > 30
    if surrogate.creates_spikes:
        assert min(given["d_v"][name].values.size for name in ("a", "b")) > 5
        assert any(given["d_v"][name].slopes.any() for name in ("a", "b"))  # a peak that an inhibiting spike ends

    own = {name: result.spikes[name] for name in ("a", "b")}
    scale = max(np.abs(g).max() for g in gradients.weights)
    h = 1e-8
    for k, weight in enumerate(weights):
        for place in list(np.ndindex(weight.shape))[::3]:
            counts = []
            for change in (h, -h):
                moved = [w.copy() for w in weights]
                moved[k][place] += change
                outcome = simulate(recurrent(moved), spikes, T_MAX)
                # A little before the spikes, so that they still come later; then up to them by a straight line.
                near, far = (
                    smooth_count(surrogate, outcome, own, given["d_v"], d_counts, early) for early in (1e-5, 2e-5)
                )
                counts.append(2.0 * near - far)
            difference = (counts[0] - counts[1]) / (2.0 * h)
            # rounding: 1e-14/h, next to a scale of tens
            assert gradients.weights[k][place] == pytest.approx(difference, abs=1e-6 * scale), (k, place)


def test_a_single_spike_has_the_closed_form():
    tau_mem, tau_syn, start = 4.0, 2.0, 1.0
    net = Sequential(
        [Dense([[3.5]]), LIF(tau_mem=tau_mem, tau_syn=tau_syn, v_threshold=0.8, v_reset=-0.2, max_spikes=1)]
    )
    result = simulate(net, Spikes([0], [0], [start], n_samples=1, n_neurons=1), T_MAX)
    [time] = result.spikes["output"].times
    # Nowotny et al.: lambda_v jumps by -dL/dn, and dL/dv = -tau_mem lambda_v
    surrogate = SpikeCountSurrogate(function="constant", height=tau_mem * (0.8 + 0.2))
    given = surrogate.arguments(result, {"output": [[0.7]]})
    assert given["d_v"] == {}
    s = time - start
    response = tau_syn / (tau_mem - tau_syn) * (math.exp(-s / tau_mem) - math.exp(-s / tau_syn))
    assert eventprop(result, **given).weights[0] == pytest.approx(0.7 * tau_mem * response, rel=1e-12)


def test_the_unit_of_potential_does_not_matter():
    weights, spikes, d_counts = case(2)
    small = simulate(recurrent(weights), spikes, T_MAX)
    large = simulate(recurrent([4.0 * w for w in weights], v_threshold=4.0, v_reset=-1.2), spikes, T_MAX)
    ours, theirs = (
        eventprop(r, **SpikeCountSurrogate().arguments(r, d_counts), neuron_parameters=False) for r in (small, large)
    )
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        assert 4.0 * b == pytest.approx(a, rel=1e-9, abs=1e-9)  # rounding of the spike times, amplified by 1/(dv/dt)


def test_neurons_that_may_not_fire_again_have_no_peak():
    net = Sequential([Dense([[0.9, 0.9], [0.9, 8.0]]), LIF(tau_mem=4.0, tau_syn=2.0, max_spikes=1)])
    result = simulate(net, Spikes([0, 0], [0, 1], [1.0, 9.0], n_samples=1, n_neurons=2), T_MAX)
    assert result.spikes["output"].counts().tolist() == [[0, 1]]
    assert (margins(result).gain["output"] < 1.0).all()  # both have a peak before t = 9
    given = SpikeCountSurrogate().arguments(result, {"output": [[1.0, 1.0]]})
    assert given["d_heights"]["output"].tolist() == [1.0]
    assert given["d_v"]["output"].neurons.tolist() == [0]


def test_peaks_that_no_weight_moves_are_left_out():
    net = Sequential([Dense([[-1.0, 0.5, 0.0]]), LIF(tau_mem=4.0, tau_syn=2.0, i_bias=[0.0, 0.0, 0.5])])
    # neuron 0 is highest at the start, neuron 2 comes up to v_inf for ever
    result = simulate(net, Spikes([0], [0], [1.0], n_samples=1, n_neurons=1))
    given = SpikeCountSurrogate(function="exponential", slope=1.0).arguments(result, {"output": [[1.0, 2.0, 3.0]]})
    [peak] = given["d_v"]["output"].values
    assert given["d_v"]["output"].neurons.tolist() == [1]
    height = 0.5 * 0.25  # w k(s), highest at s = 4 log 2, where it is w/4
    assert given["d_v"]["output"].times == pytest.approx([1.0 + 4.0 * math.log(2.0)], rel=1e-12)
    assert peak == pytest.approx(2.0 * math.exp(height - 1.0), rel=1e-12)


def test_counts_without_a_derivative_take_no_part():
    weights, spikes, d_counts = case(0)
    result = simulate(recurrent(weights), spikes, T_MAX)
    d_counts["a"][:, 2:] = 0.0
    given = SpikeCountSurrogate(function="triangular", slope=3.0).arguments(result, {"a": d_counts["a"]})
    assert set(given["d_heights"]) == set(given["d_v"]) == {"a"}
    assert not given["d_heights"]["a"][result.spikes["a"].neurons >= 2].any()
    assert given["d_v"]["a"].values.all()
    assert given["d_v"]["a"].neurons.max(initial=0) < 2
    empty = SpikeCountSurrogate().arguments(result, {})
    assert empty == {"d_heights": {}, "d_v": {}}


def test_arguments_do_not_depend_on_the_threads():
    weights, spikes, d_counts = case(3)
    result = simulate(recurrent(weights), spikes, T_MAX)
    one, two = (SpikeCountSurrogate().arguments(result, d_counts, n_threads=n) for n in (1, 2))
    for name in ("a", "b"):
        assert np.array_equal(one["d_heights"][name], two["d_heights"][name])
        assert np.array_equal(one["d_v"][name].values, two["d_v"][name].values)
    with pytest.raises(ValidationError, match="n_threads"):
        SpikeCountSurrogate().arguments(result, d_counts, n_threads=0)


# --- training ---


def descend(build, weights, spikes, objective, surrogate, learning_rate, n_steps):
    """Plain gradient descent; objective(result) gives d_counts by population. Returns the last result."""
    for _ in range(n_steps):
        result = simulate(build(weights), spikes, T_MAX)
        given = surrogate.arguments(result, objective(result))
        gradients = eventprop(result, **given, min_slope=0.05, neuron_parameters=False)
        weights = [w - learning_rate * g for w, g in zip(weights, gradients.weights, strict=True)]
    return weights, simulate(build(weights), spikes, T_MAX)


def one_layer(weights):
    return Sequential([Dense(weights[0]), LIF(tau_mem=4.0, tau_syn=2.0)])


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_a_silent_neuron_comes_back(surrogate):
    spikes = Spikes([0, 0], [0, 1], [1.0, 2.0], n_samples=1, n_neurons=2)
    before = [np.array([[0.5], [0.2]])]
    assert simulate(one_layer(before), spikes, T_MAX).spikes["output"].n_events == 0
    bound = SpikeCountLowerBound(bound=1.0, strength=1.0)

    def objective(result):
        return {"output": bound.value_and_grad(result.spikes["output"].counts())[1]}

    weights, result = descend(one_layer, before, spikes, objective, surrogate, 1.0, 100)
    if surrogate.function == "constant":
        assert np.array_equal(weights[0], before[0])  # nothing to act on, as documented
    else:
        assert result.spikes["output"].n_events >= 1
        assert (weights[0] > before[0]).all()


@pytest.mark.parametrize(
    ("mean_weight", "learning_rate"), [(0.15, 4e-3), (1.0, 1e-3)], ids=["too_silent", "too_active"]
)
def test_a_regulariser_moves_a_population_to_its_target(mean_weight, learning_rate):
    rng = np.random.default_rng(5)
    before = [rng.normal(mean_weight, 0.03, (8, 10))]
    spikes = poisson_spikes(0.3, T_MAX, n_neurons=8, n_samples=4, rng=rng)
    target = SpikeCountTarget(target=4.0, strength=1.0)

    def objective(result):
        return {"output": target.value_and_grad(result.spikes["output"].counts())[1] / 4}

    start = simulate(one_layer(before), spikes, T_MAX).spikes["output"].counts().mean(axis=0)
    assert np.abs(start - 4.0).min() > 2.0
    _, result = descend(one_layer, before, spikes, objective, SpikeCountSurrogate(), learning_rate, 100)
    # mean counts of 4 samples come in quarters, and the surrogate's pull has no equilibrium between them
    assert np.abs(result.spikes["output"].counts().mean(axis=0) - 4.0).max() <= 0.75


def test_an_upper_bound_leaves_quiet_neurons_alone():
    before = [np.array([[6.0, 1.9]])]
    spikes = poisson_spikes(0.5, T_MAX, n_neurons=1, rng=np.random.default_rng(3))
    bound = SpikeCountUpperBound(bound=3.0, strength=1.0)

    def objective(result):
        return {"output": bound.value_and_grad(result.spikes["output"].counts())[1]}

    start = simulate(one_layer(before), spikes, T_MAX).spikes["output"].counts()[0]
    assert start[0] > 6
    assert 0 < start[1] <= 3
    weights, result = descend(one_layer, before, spikes, objective, SpikeCountSurrogate(), 0.01, 60)
    assert result.spikes["output"].counts()[0, 0] <= 3
    assert weights[0][0, 1] == before[0][0, 1]


def two_layers(weights):
    return Sequential(
        [Dense(weights[0]), LIF(tau_mem=4.0, tau_syn=2.0), Dense(weights[1]), LIF(tau_mem=4.0, tau_syn=2.0)]
    )


def order_of_inputs(n_samples=8, n_inputs=6):
    """Class 0: the inputs fire one after the other; class 1: the other way round. All fire twice."""
    rng = np.random.default_rng(0)
    labels = np.arange(n_samples) % 2
    b, i, again = (a.ravel() for a in np.meshgrid(np.arange(n_samples), np.arange(n_inputs), [0.0, 4.0], indexing="ij"))
    rank = np.where(labels[b] == 0, i, n_inputs - i)
    times = 1.0 + 8.0 * rank / n_inputs + again + rng.normal(0.0, 0.3, b.size)
    return Spikes(b, i, times, n_samples=n_samples, n_neurons=n_inputs), labels


@pytest.mark.parametrize(
    ("loss", "learning_rate"), [(SpikeCountCrossEntropy(), 0.05), (SpikeCountMSE(4, 1), 0.01)], ids=["ce", "mse"]
)
def test_a_network_learns_to_separate_two_classes(loss, learning_rate):
    spikes, labels = order_of_inputs()
    rng = np.random.default_rng(3)
    before = [rng.normal(0.8, 1.0, (6, 12)), rng.normal(0.6, 0.6, (12, 2))]
    target = SpikeCountTarget(target=3.0, strength=0.02)

    def objective(result):
        hidden, output = list(result.network.as_network().populations)
        return {
            output: loss.value_and_grad(result.spikes[output].counts(), labels)[1] / labels.size,
            hidden: target.value_and_grad(result.spikes[hidden].counts())[1] / labels.size,
        }

    def judge(result):
        counts = result.spikes["output"].counts()
        return loss.value_and_grad(counts, labels)[0].mean(), (loss.predictions(counts) == labels).mean()

    loss_before, right_before = judge(simulate(two_layers(before), spikes, T_MAX))
    _, result = descend(two_layers, before, spikes, objective, SpikeCountSurrogate(), learning_rate, 100)
    loss_after, right_after = judge(result)
    assert right_before <= 0.5
    assert right_after >= 0.875
    assert loss_after < 0.5 * loss_before


# --- bad input ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": "relu"}, r"function: must be one of \['fast_sigmoid', .*'constant'\], got 'relu'"),
        ({"function": "constant", "slope": 2.0}, "slope: 'constant' has none, got 2.0; leave it out"),
        ({"slope": 0.0}, "slope: must be a finite number and > 0, got 0.0"),
        ({"height": -1.0}, "height: must be a finite number and > 0, got -1.0"),
    ],
)
def test_parameters_are_checked(arguments, message):
    with pytest.raises(ValidationError, match=f"SpikeCountSurrogate.{message}"):
        SpikeCountSurrogate(**arguments)


@pytest.mark.parametrize(
    ("d_counts", "message"),
    [
        ({"hiden": np.zeros((1, 3))}, r"d_counts: no population 'hiden'.*those that fire are \['hidden'\]"),
        ({"in": np.zeros((1, 2))}, "d_counts: no population 'in'"),
        ({"out": np.zeros((1, 2))}, r"d_counts: population 'out' never fires \(LI\); use a loss on its potential"),
        (
            {"hidden": np.zeros(3)},
            r"d_counts\['hidden'\]: must have shape \(n_samples, n_neurons\) = \(1, 3\), got \(3,\)",
        ),
        ({"hidden": [[1.0, np.nan, 0.0]]}, r"d_counts\['hidden'\]: must be finite"),
        ({"hidden": [["a", "b", "c"]]}, r"d_counts\['hidden'\]: must hold real numbers"),
        ([np.zeros((1, 3))], "d_counts: must be a dict by population, got list"),
    ],
)
def test_arguments_checks_the_derivatives(d_counts, message):
    net = Network(
        inputs={"in": 2},
        populations={"hidden": Population(LIF(4.0, 2.0), 3), "out": Population(LI(4.0, 2.0), 2)},
        projections=[
            Projection("in", "hidden", Dense(np.ones((2, 3)))),
            Projection("hidden", "out", Dense(np.ones((3, 2)))),
        ],
    )
    result = simulate(net, Spikes([0], [0], [1.0], n_samples=1, n_neurons=2), T_MAX)
    for surrogate in (SpikeCountSurrogate(), SpikeCountSurrogate(function="constant")):
        with pytest.raises(ValidationError, match=f"SpikeCountSurrogate.arguments: {message}"):
            surrogate.arguments(result, d_counts)


def test_arguments_wants_a_result():
    with pytest.raises(ValidationError, match="arguments: result: expected the Result of simulate, got dict"):
        SpikeCountSurrogate().arguments({}, {})
