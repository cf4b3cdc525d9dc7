"""The reference on the grid against rules written down by hand, and its gradients against central differences.

A step function has no derivative to compare with, so the spike is replaced by a smooth function and the surrogate by
its derivative: then backward has to be the true derivative of what forward computed, for every parameter and reset.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.reference.grid_numpy import PARAMETERS, Population, Projection, heaviside, run


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-3.0 * x))


def sigmoid_slope(x):
    return 3.0 * sigmoid(x) * (1.0 - sigmoid(x))


def arctan(x):
    return 0.5 + np.arctan(np.pi * x) / np.pi


def arctan_slope(x):
    return 1.0 / (1.0 + (np.pi * x) ** 2)


SMOOTH = {"sigmoid": (sigmoid, sigmoid_slope), "arctan": (arctan, arctan_slope)}
RESETS = [("zero", "same_step"), ("subtract", "same_step"), ("subtract", "next_step"), ("none", "same_step")]
WIRINGS = ["layers", "recurrent", "loop"]
N_STEPS = 7


def _population(rng, size, **changes):
    drawn = {
        "alpha": rng.uniform(0.3, 0.9, size),
        "beta": rng.uniform(0.5, 1.0, size),
        "gain": rng.uniform(0.6, 1.4, size),
        "drive": rng.normal(0.0, 0.2, size),
        "threshold": rng.uniform(0.5, 1.2, size),
        "v_reset": rng.normal(0.0, 0.2, size),
        "v_start": rng.normal(0.0, 0.2, size),
    }
    return Population(size, **drawn | changes)


def _network(seed, wiring="layers", *, reset="subtract", reset_at="same_step", late_input=False):
    """Populations, projections and inputs; hidden neurons of which one cannot fire, then a readout that cannot."""
    rng = np.random.default_rng(seed)
    rule = {"reset": reset, "reset_at": reset_at, "late_input": late_input}
    sizes = {"inputs": 3, "a": 3, "b": 2, "out": 2}

    def projection(pre, post, delay):
        return Projection(pre, post, rng.normal(0.3, 0.8, (sizes[pre], sizes[post])), delay)

    a = _population(rng, 3, **rule)
    a = dataclasses.replace(a, threshold=np.array([a.threshold[0], np.inf, a.threshold[2]]))
    populations = {"a": a, "b": _population(rng, 2, **rule), "out": _population(rng, 2, **rule | {"threshold": np.inf})}
    projections = [
        projection("inputs", "a", 0),
        projection("inputs", "a", rng.integers(0, 4, (3, 3))),
        projection("a", "b", 0),
        projection("b", "out", 0),
        projection("a", "out", 2),
    ]
    if wiring in ("recurrent", "loop"):
        projections += [projection("a", "a", 0), projection("b", "b", rng.integers(0, 4, (2, 2)))]
    if wiring == "loop":
        projections += [projection("b", "a", 0)]
    inputs = {"inputs": rng.normal(0.4, 0.6, (2, N_STEPS, 3))}
    return populations, projections, inputs


class Loss:
    """A weighted sum of all spike counts and all potentials."""

    def __init__(self, populations, seed, n_samples=2):
        rng = np.random.default_rng(seed)
        self.d_counts = {name: rng.normal(size=(n_samples, p.size)) for name, p in populations.items()}
        self.d_u = {name: rng.normal(size=(n_samples, N_STEPS, p.size)) for name, p in populations.items()}

    def __call__(self, result):
        return sum(
            np.sum(self.d_counts[name] * result.counts(name)) + np.sum(self.d_u[name] * result.u[name])
            for name in self.d_counts
        )


def _difference(value, array, direction):
    """d value along `direction` in `array` from central differences at two distances; `array` is put back."""
    centre = array.copy()

    def central(h):
        values = []
        for x in (centre + h * direction, centre - h * direction):
            array[...] = x
            values.append(value())
        array[...] = centre
        return (values[0] - values[1]) / (2.0 * h)

    h = 3e-4
    return (4.0 * central(h / 2.0) - central(h)) / 3.0


def _assert_true_derivative(populations, projections, inputs, seed, smooth="sigmoid", **options):
    """Every gradient against central differences, along a random direction, in which what is constant is held."""
    spike, surrogate = SMOOTH[smooth]
    options = {"spike": spike, "surrogate": surrogate, **options}
    loss = Loss(populations, seed)
    base = run(populations, projections, inputs, **options)
    gradients = base.backward(loss.d_counts, loss.d_u)

    def value():
        return loss(run(populations, projections, inputs, constants=base.constants, **options))

    arrays = [(p.weight, g, f"{p.pre}->{p.post}") for p, g in zip(projections, gradients.weights, strict=True)]
    arrays += [
        (getattr(p, key), gradients.parameters[name, key], f"{name}.{key}")
        for name, p in populations.items()
        for key in PARAMETERS
        if np.ndim(getattr(p, key)) and np.all(np.isfinite(getattr(p, key)))
    ]
    arrays += [(x, gradients.inputs[name], name) for name, x in inputs.items()]
    rng = np.random.default_rng(seed + 1)
    for array, gradient, name in arrays:
        direction = rng.normal(size=array.shape)
        direction /= np.linalg.norm(direction)
        difference = _difference(value, array, direction)
        # The differences leave out terms of h^4 = 1e-14 times the fifth derivative, which for these slopes and seven
        # steps is up to some 1e4, and round to 1e-16 |loss|/h = 1e-12 |loss|; the loss is some 10.
        tolerance = 1e-9 * np.linalg.norm(gradient) + 1e-10
        assert np.sum(gradient * direction) == pytest.approx(difference, rel=0, abs=tolerance), name


@pytest.mark.parametrize("late_input", [False, True], ids=["", "late"])
@pytest.mark.parametrize(("reset", "reset_at"), RESETS)
@pytest.mark.parametrize("wiring", WIRINGS)
def test_backward_is_the_derivative_of_smooth_spikes(wiring, reset, reset_at, late_input):
    network = _network(11, wiring, reset=reset, reset_at=reset_at, late_input=late_input)
    _assert_true_derivative(*network, seed=12)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_backward_takes_the_surrogate_given(wiring):
    _assert_true_derivative(*_network(13, wiring, reset="zero"), seed=14, smooth="arctan")


@pytest.mark.parametrize(("reset", "reset_at"), RESETS)
@pytest.mark.parametrize("wiring", WIRINGS)
def test_backward_holds_the_spikes_of_resets(wiring, reset, reset_at):
    network = _network(15, wiring, reset=reset, reset_at=reset_at)
    _assert_true_derivative(*network, seed=16, detach_reset=True)


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("truncate", [1, 3])
@pytest.mark.parametrize(("reset", "reset_at"), RESETS)
def test_backward_holds_the_state_of_windows_before(reset, reset_at, truncate, detach_reset):
    network = _network(17, "loop", reset=reset, reset_at=reset_at, late_input=truncate == 3)
    _assert_true_derivative(*network, seed=18, truncate=truncate, detach_reset=detach_reset)


def test_backward_of_longer_windows_than_the_run_is_the_whole_derivative():
    network = _network(19, "loop")
    loss = Loss(network[0], 20)
    whole, cut = (
        run(*network, surrogate=sigmoid_slope, truncate=truncate).backward(loss.d_counts, loss.d_u)
        for truncate in (None, N_STEPS)
    )
    for a, b in zip(whole.weights, cut.weights, strict=True):
        np.testing.assert_array_equal(a, b)


# -- what is constant, by another way: one neuron that projects to itself, with everything held written out ----------


def _one_neuron(parameters, x, reset, frozen, *, hold_resets, window):
    """(v, i, s) by step of one smooth neuron with weight w onto itself, one step later.

    `frozen`: such a list, from which the spikes of resets, and the state and spikes of windows before, are taken.
    """
    alpha, beta, threshold, weight = parameters
    kind, when = reset
    states, u_sum = [], 0.0
    v = i = s = 0.0
    for t in range(len(x)):
        old_window = window is not None and t % window == 0 and t > 0
        v_from, i_from, s_from = frozen[t - 1] if old_window else (v, i, s)
        s_reset = frozen[t - 1][2] if hold_resets and t > 0 else s_from
        i = alpha * i_from + x[t] + weight * s_from
        u = beta * v_from + i - (s_reset * threshold if when == "next_step" and kind == "subtract" else 0.0)
        s = sigmoid(u - threshold)
        s_reset = frozen[t][2] if hold_resets else s
        v = {
            "none": u,
            "zero": u * (1.0 - s_reset),
            "subtract": u - (s_reset * threshold if when == "same_step" else 0.0),
        }[kind]
        states.append((v, i, s))
        u_sum += (t + 1.0) * u + s
    return states, u_sum


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("hold_resets", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_backward_holds_what_the_loop_by_hand_holds(reset, hold_resets, window):
    x = np.array([0.9, 0.1, 0.7, -0.2, 0.8, 0.3, 0.6])
    parameters = np.array([0.6, 0.8, 0.9, 0.5])
    options = {"hold_resets": hold_resets, "window": window}
    nothing = [(0.0, 0.0, 0.0)] * N_STEPS
    frozen, _ = _one_neuron(parameters, x, reset, nothing, hold_resets=False, window=None)

    def value():
        return _one_neuron(parameters, x, reset, frozen, **options)[1]

    differences = [_difference(value, parameters, unit) for unit in np.eye(4)]

    alpha, beta, threshold, weight = parameters
    cell = Population(1, alpha=alpha, beta=beta, threshold=threshold, reset=reset[0], reset_at=reset[1])
    projections = [Projection("x", "cell", np.ones((1, 1))), Projection("cell", "cell", np.full((1, 1), weight))]
    result = run(
        {"cell": cell},
        projections,
        {"x": x[None, :, None]},
        spike=sigmoid,
        surrogate=sigmoid_slope,
        detach_reset=hold_resets,
        truncate=window,
    )
    # the same sums in the same order, but for the zeros of the frozen list
    np.testing.assert_allclose(result.v["cell"][0, :, 0], [v for v, _, _ in frozen], rtol=1e-14)
    gradients = result.backward({"cell": np.ones((1, 1))}, {"cell": np.arange(1.0, N_STEPS + 1)[None, :, None]})
    found = [gradients.parameters["cell", key][0] for key in ("alpha", "beta", "threshold")]
    # as above
    np.testing.assert_allclose([*found, gradients.weights[1][0, 0]], differences, rtol=1e-9, atol=1e-10)


# -- the forward pass against the two rules of the published notebooks, as they stand there -------------------------


def test_run_is_the_current_lif_rule():
    rng = np.random.default_rng(21)
    alpha, beta = np.exp(-1.0 / 5.0), np.exp(-1.0 / 20.0)
    weights = [rng.normal(0.0, 0.4, (30, 20)), rng.normal(0.0, 0.6, (20, 5))]
    spikes = (rng.random((3, 40, 30)) < 0.05).astype(np.float64)
    layer = {"alpha": alpha, "beta": beta, "reset": "zero"}
    result = run(
        {"hidden": Population(20, **layer), "out": Population(5, **layer)},
        [Projection("inputs", "hidden", weights[0]), Projection("hidden", "out", weights[1])],
        {"inputs": spikes},
    )
    state = [(np.zeros((3, n)), np.zeros((3, n))) for n in (20, 5)]
    for t in range(40):
        s = spikes[:, t]
        for k, name in enumerate(("hidden", "out")):
            v, i = state[k]
            v = v * beta
            i = i * alpha
            i = i + s @ weights[k]
            v = v + i
            # the same operations but for 0 + x: equal to the last bit
            np.testing.assert_array_equal(result.u[name][:, t], v)
            s = (v > 1.0).astype(np.float64)
            v = np.where(s == 1.0, 0.0, v)
            np.testing.assert_array_equal(result.spikes[name][:, t], s)
            state[k] = v, i
    assert result.counts("hidden").sum() > 50
    assert result.counts("out").sum() > 10


def test_run_is_the_leaky_rule_with_the_reset_one_step_later():
    rng = np.random.default_rng(22)
    weight, bias = rng.normal(0.05, 0.1, (30, 20)), rng.normal(0.0, 0.1, 20)
    image = rng.random((3, 30))
    result = run(
        {"cells": Population(20, beta=0.95, drive=bias, reset_at="next_step")},
        [Projection("inputs", "cells", weight)],
        {"inputs": np.repeat(image[:, None], 25, axis=1)},
    )
    v = np.zeros((3, 20))
    for t in range(25):
        r = (v > 1.0).astype(np.float64)
        v = 0.95 * v + (image @ weight + bias) - r * 1.0
        # the bias is added to beta v + i there and to i here
        np.testing.assert_allclose(result.u["cells"][:, t], v, rtol=1e-13, atol=1e-13)
        np.testing.assert_array_equal(result.spikes["cells"][:, t], (v > 1.0).astype(np.float64))
    assert result.counts("cells").sum() > 50


def test_run_delays_spikes_per_synapse():
    delays = np.array([[0, 1, 3]])
    pulse = np.zeros((1, 5, 1))
    pulse[0, 0, 0] = 1.0
    cells = Population(3, beta=0.0, threshold=np.inf)
    result = run({"cells": cells}, [Projection("x", "cells", np.array([[1.0, 2.0, 3.0]]), delays)], {"x": pulse})
    expected = np.zeros((5, 3))
    expected[0, 0], expected[1, 1], expected[3, 2] = 1.0, 2.0, 3.0
    np.testing.assert_array_equal(result.u["cells"][0], expected)


def test_run_takes_one_step_inside_a_loop_only():
    pulse = np.zeros((1, 6, 1))
    pulse[0, 0, 0] = 2.0
    relay = Population(1, beta=0.0)
    two = np.full((1, 1), 2.0)
    chain = [Projection("x", "a", two), Projection("a", "b", two), Projection("b", "c", two)]
    populations = {"c": relay, "b": relay, "a": relay}
    once = run(populations, chain, {"x": pulse})
    assert [np.flatnonzero(once.spikes[name][0, :, 0]).tolist() for name in "abc"] == [[0], [0], [0]]
    round_ = run(populations, [*chain, Projection("b", "a", two)], {"x": pulse})
    # a -> b and b -> a take a step each, x -> a and b -> c none
    assert [np.flatnonzero(round_.spikes[name][0, :, 0]).tolist() for name in "abc"] == [
        [0, 2, 4],
        [1, 3, 5],
        [1, 3, 5],
    ]


def test_run_uses_the_input_of_the_step_before_where_it_is_late():
    pulse = np.zeros((1, 4, 1))
    pulse[0, 0, 0] = 1.0
    cell = Population(1, alpha=0.5, beta=0.25, gain=3.0, drive=0.1, threshold=np.inf, v_start=8.0, late_input=True)
    result = run({"cell": cell}, [Projection("x", "cell", np.ones((1, 1)))], {"x": pulse})
    # binary fractions but for the drive: within rounding
    first = 2.0 + 0.1
    second = first / 4 + 3.0 + 0.1
    third = second / 4 + 1.5 + 0.1
    np.testing.assert_allclose(result.u["cell"][0, :3, 0], [first, second, third], rtol=1e-15)


def test_heaviside_is_strict():
    np.testing.assert_array_equal(heaviside(np.array([-1.0, 0.0, 1e-300])), [0.0, 0.0, 1.0])
