"""Convolutions and pools in `simulate_clocked` against the dense reference."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from eventsnn import (
    IF,
    AvgPool2d,
    BinningWarning,
    Conv2d,
    Currents,
    Dense,
    Leaky,
    MaxPool2d,
    Network,
    Pooled,
    Population,
    Projection,
    Sequential,
    Spikes,
    ValidationError,
    simulate_clocked,
)
from tests.reference import convolution_numpy as windows
from tests.reference import grid_numpy as reference
from tests.simulation.grid_cases import DT, KINDS, RESETS
from tests.simulation.test_clock_driven import assert_same, run_case
from tests.simulation.window_cases import FORMS, PLANE, convolution_matrix, random_windows

SIDES = ["none", "recurrent", "loop", "average", "skip"]


@pytest.mark.parametrize("reset", RESETS, ids="-".join)
@pytest.mark.parametrize("form", FORMS)
def test_windows_are_the_dense_reference(form, reset):
    case = random_windows(1, form, "leaky", reset=reset)
    expected = case.run()
    assert all(expected.counts(name).sum() > 2 for name in ("a", "b"))
    assert_same(run_case(case), expected, case)


@pytest.mark.parametrize("form", ["strided", "groups", "average", "overlapping maximum"])
@pytest.mark.parametrize("kind", KINDS)
def test_windows_drive_every_kind_of_neuron(kind, form):
    case = random_windows(2, form, kind, reset=("zero", "same_step"))
    expected = case.run()
    assert expected.counts("a").sum() > 2
    assert_same(run_case(case), expected, case)


@pytest.mark.parametrize("delays", [False, True], ids=["at once", "delayed"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("form", ["average", "maximum", "overlapping first spike"])
def test_windows_are_the_dense_reference_in_any_graph(form, side, delays):
    if side == "loop" and form != "average":
        pytest.skip("a gate inside a loop is refused")
    case = random_windows(3, form, side=side, delays=delays)
    expected = case.run()
    assert all(expected.counts(name).sum() > 2 for name in ("a", "b"))
    assert_same(run_case(case), expected, case)


@pytest.mark.parametrize("form", FORMS)
def test_windows_in_single_precision(form):
    case = random_windows(4, form, dtype=np.float32, side="average")
    # the tolerance in double times 2^29
    assert_same(run_case(case), case.run(), case, tolerance=5e-4)


# -- inputs -----------------------------------------------------------------------------------------------------------


def pair_of(first, second=None):
    """Input `x` onto readouts `a` by `first`, so that their potentials are what came in."""
    return Network({"x": first.n_pre}, {"a": Population(IF(v_threshold=np.inf), first.n_post)},
                   [Projection("x", "a", first)])  # fmt: skip


def test_spikes_that_were_moved_into_one_step_are_put_in_order():
    conv = Conv2d(np.arange(1.0, 9.0).reshape(2, 2, 1, 2), (3, 3, 1))
    # in order of time: neurons 8, 0 and twice 4, all in step 1
    spikes = Spikes([0] * 4, [8, 0, 4, 4], [0.8, 0.9, 1.0, 1.1], n_samples=1, n_neurons=9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        result = simulate_clocked(pair_of(conv), spikes, n_steps=2)
    plane = np.zeros((3, 3, 1))
    plane.flat[[0, 4, 8]] = 1, 2, 1
    # small integers: exact
    np.testing.assert_array_equal(result.v("a")[1], windows.convolve(plane, conv.weight).ravel())


@pytest.mark.parametrize("rule", ["max_rate", "first_spike"])
def test_a_gate_sees_spikes_of_one_step_by_number(rule):
    gate = Pooled(MaxPool2d((1, 3, 1), (1, 3), rule=rule), Dense([[1.0]]))
    # neuron 2 comes first in time, 1 has the lower number and, with both its spikes, the higher count
    spikes = Spikes([0] * 4, [2, 1, 1, 2], [0.8, 1.0, 1.1, 2.0], n_samples=1, n_neurons=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        result = simulate_clocked(pair_of(gate), spikes, n_steps=3)
    assert result.v("a").ravel().tolist() == [0, 1, 1]


@pytest.mark.parametrize("form", ["values", "constant", "coo"])
@pytest.mark.parametrize("kind", [MaxPool2d, AvgPool2d])
def test_pools_of_numbers(kind, form):
    import sparse

    rng = np.random.default_rng(5)
    pool = kind(PLANE, 3, stride=2, padding=1)
    conv = Conv2d.normal(pool.out_shape, 3, 2, mean=0.1, std=1.0, rng=rng)
    n_steps, n = 4, int(np.prod(PLANE))
    values = rng.normal(size=(2, n, n_steps)) * (rng.random((2, n, n_steps)) < 0.6)
    if form == "constant":
        values[:] = values[:, :, :1]
    given = {"constant": lambda: Currents(values[:, :, 0]), "values": lambda: Currents(values),
             "coo": lambda: sparse.COO.from_numpy(values)}[form]()  # fmt: skip
    result = simulate_clocked(pair_of(Pooled(pool, conv)), given, n_steps=n_steps)
    reduce = windows.maximum if kind is MaxPool2d else windows.average
    for s in range(2):
        total = np.zeros(conv.n_post)
        for t in range(n_steps):
            plane = reduce(values[s, :, t].reshape(PLANE), (3, 3), (2, 2), (1, 1))
            total += windows.convolve(plane, conv.weight).ravel()
            # sums of some tens of products of order 1, in another order
            np.testing.assert_allclose(result.v("a", s)[t], total, rtol=0, atol=1e-13)


def test_constant_currents_are_convolved_once_and_act_in_every_step():
    rng = np.random.default_rng(6)
    conv = Conv2d.normal(PLANE, 4, 3, mean=0.0, std=0.5, rng=rng, stride=2, padding=1, groups=2)
    network = Sequential([conv, Leaky(beta=0.8, bias=rng.normal(0, 0.1, conv.n_post))])
    images = rng.random((3, conv.n_pre))
    images[:, ::3] = 0.0
    result = simulate_clocked(network, Currents(images), n_steps=12)
    neuron = network.layers[0].neuron
    expected = reference.run(
        {"output": reference.Population(conv.n_post, beta=0.8, drive=neuron.bias, reset_at="next_step")},
        [reference.Projection("input", "output", convolution_matrix(conv, conv.weight))],
        {"input": np.repeat(images[:, None], 12, axis=1)},
    )
    assert expected.counts("output").sum() > 5
    for s in range(3):
        # sums of twenty products in another order, carried on with a factor 0.8
        np.testing.assert_allclose(result.v("output", s), expected.u["output"][s], rtol=0, atol=1e-13)


# -- what nothing may depend on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["strided", "average", "overlapping maximum"])
def test_windows_have_the_same_bits_for_every_number_of_threads(form):
    case = random_windows(7, form, n_samples=130, n_steps=6)
    one = run_case(case)
    two = run_case(case, n_threads=2)
    for name in case.populations:
        np.testing.assert_array_equal(one.spikes[name].neurons, two.spikes[name].neurons)
        np.testing.assert_array_equal(one.spikes[name].times, two.spikes[name].times)
    assert one.v("out", 120).tolist() == two.v("out", 120).tolist()


def test_soft_reset_loses_nothing():
    """Inputs that are multiples of 1/64, weights of 1/16, thresholds of 1/4: every number is exact."""
    rng = np.random.default_rng(8)
    conv = Conv2d(rng.integers(-8, 12, (3, 3, 1, 4)) / 16, PLANE, padding=1, groups=2)
    pool = Pooled(
        AvgPool2d(conv.out_shape, 2, stride=(2, 1)), Conv2d(rng.integers(-8, 16, (2, 2, 4, 3)) / 16, (3, 5, 4))
    )
    charge, bias = rng.integers(-8, 8, conv.n_post) / 64, rng.integers(-4, 8, conv.n_post) / 64
    thresholds = [rng.integers(1, 5, n) / 4 for n in (conv.n_post, pool.n_post)]
    network = Sequential([conv, IF(thresholds[0], bias=bias, v_init=charge), pool, IF(thresholds[1])])
    images = rng.integers(0, 64, (4, conv.n_pre)) / 64
    n_steps = 50
    result = simulate_clocked(network, Currents(images), n_steps=n_steps)
    counts = result.counts("hidden")
    assert counts.sum() > 1000
    assert result.counts("output").sum() > 100
    for s in range(4):
        drive = windows.convolve(images[s].reshape(PLANE), conv.weight, padding=(1, 1), groups=2).ravel()
        pooled = windows.average(counts[s].reshape(conv.out_shape).astype(float), (2, 2), (2, 1))
        given = [charge + n_steps * (drive + bias), windows.convolve(pooled, pool.weight).ravel()]
        for k, name in enumerate(("hidden", "output")):
            u = result.v(name, s)[-1]
            residue = u - thresholds[k] * (u > thresholds[k])
            # to the bit
            np.testing.assert_array_equal(result.counts(name)[s] * thresholds[k], given[k] - residue)


@pytest.mark.parametrize("kind", [IF, lambda **options: Leaky(beta=0.5, **options)], ids=["IF", "Leaky"])
@pytest.mark.parametrize("reset_at", ["same_step", "next_step"])
def test_v_init_is_the_potential_before_the_first_step(kind, reset_at):
    neuron = kind(v_init=[0.5, -0.25, 4.0], reset_at=reset_at)
    silent = Spikes([], [], [], n_samples=2, n_neurons=1)
    result = simulate_clocked(Sequential([Dense(np.zeros((1, 3))), neuron]), silent, n_steps=2)
    beta = getattr(neuron, "beta", 1.0)
    first = beta * np.array([0.5, -0.25, 4.0])
    np.testing.assert_array_equal(result.v("output", 1)[0], first)  # nothing is reset before the first step
    fired = (first > 1.0) * 1.0
    second = beta * (first - fired) if reset_at == "same_step" else beta * first - fired
    np.testing.assert_array_equal(result.v("output", 1)[1], second)


# -- bad input --------------------------------------------------------------------------------------------------------


def test_a_gate_inside_a_loop_is_refused():
    gate = Pooled(MaxPool2d((4, 4, 1), 2), Dense(np.ones((4, 16))))
    network = Network({"x": 1}, {"a": Population(IF(), 16)}, [Projection("x", "a", Dense(np.ones((1, 16)))),
                                                              Projection("a", "a", gate)])  # fmt: skip
    with pytest.raises(ValidationError, match="a->a leads through MaxPool2d.* inside a loop"):
        simulate_clocked(network, Currents(np.ones((1, 1))), n_steps=2)


def test_delays_of_windows_must_fit_the_grid():
    conv = Conv2d(np.ones((2, 2, 1, 1)), (3, 3, 1), delay=0.7 * DT)
    with pytest.raises(ValidationError, match="the delay 0.35 of x->a is no multiple of dt=0.5"):
        simulate_clocked(pair_of(conv), Currents(np.ones((1, 9))), dt=DT, n_steps=2)
    late = Conv2d(np.ones((2, 2, 1, 1)), (3, 3, 1), delay=DT)
    with pytest.raises(ValidationError, match="x->a has a delay, but a constant input acts from the first step"):
        simulate_clocked(pair_of(late), Currents(np.ones((1, 9))), dt=DT, n_steps=2)


def test_mixed_float_types_are_refused_but_for_averages():
    first, last = Conv2d(np.ones((1, 1, 1, 1), np.float32), (4, 4, 1)), Dense(np.ones((4, 1)))
    populations = {"a": Population(IF(), 16), "b": Population(IF(), 4), "c": Population(IF(), 1)}
    chain = [Projection("x", "a", first), Projection("a", "b", AvgPool2d((4, 4, 1), 2)), Projection("b", "c", last)]
    with pytest.raises(ValidationError, match="must be all float32 or all float64"):
        simulate_clocked(Network({"x": 16}, populations, chain), Currents(np.ones((1, 16))), n_steps=2)
    chain[2] = Projection("b", "c", last.with_values(weight=last.weight.astype(np.float32)))
    result = simulate_clocked(Network({"x": 16}, populations, chain), Currents(2.0 * np.ones((1, 16))), n_steps=2)
    assert result.v("b").dtype == np.float32
    # 2 in every step makes every neuron of a spike in both, so the average is 1
    assert result.v("b").tolist() == [[1.0] * 4, [2.0] * 4]
