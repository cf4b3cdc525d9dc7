"""`simulate_clocked` against the dense reference, and what no simulation may depend on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from eventsnn import (
    IF,
    LI,
    LIF,
    BinningWarning,
    CurrentLIF,
    Currents,
    Dense,
    Leaky,
    Network,
    Population,
    Projection,
    Sequential,
    SimulationError,
    Spikes,
    ValidationError,
    simulate,
    simulate_clocked,
)
from eventsnn.datasets import load_mnist
from eventsnn.simulation import progress
from tests.reference import grid_numpy as reference
from tests.simulation.grid_cases import DT, KINDS, RESETS, WIRINGS, random_case

CASES = [
    pytest.param(kind, wiring, reset, id=f"{kind}-{wiring}-{'-'.join(reset)}")
    for kind in KINDS
    for wiring in WIRINGS
    for reset in (RESETS if kind != "lif" else RESETS[:1])
]


def run_case(case, **options):
    """The network of a case; that spikes of one step add up is what the inputs are for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        return simulate_clocked(case.network, case.spikes, dt=DT, n_steps=case.n_steps, **options)


def assert_same(result, expected, case, tolerance=1e-12):
    """Spikes step for step, and potentials to rounding."""
    for name in case.populations:
        found = np.moveaxis(result.spikes[name].to_dense(result.dt, case.n_steps), 2, 1)
        np.testing.assert_array_equal(found, expected.spikes[name], err_msg=name)
        np.testing.assert_array_equal(result.counts(name), expected.counts(name))
        scale = np.abs(expected.u[name]).max()
        for s in range(len(expected.u[name])):
            # Sums of some twenty weights in another order, carried on with a factor <= 1 over thirty steps: 600
            # roundings of 1e-16 of the largest potential at the very worst, 1e-13; LIF's gain by another formula.
            np.testing.assert_allclose(result.v(name, s), expected.u[name][s], rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(("kind", "wiring", "reset"), CASES)
def test_simulate_clocked_is_the_dense_reference(kind, wiring, reset):
    case = random_case(1, kind, wiring, reset=reset)
    expected = case.run()
    assert all(expected.counts(name).sum() > 2 for name in ("a", "b"))
    assert_same(run_case(case), expected, case)


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_simulate_clocked_takes_shared_parameters(kind, wiring):
    case = random_case(2, kind, wiring, shared=True, delays=False, readout="fires", n_steps=20)
    expected = case.run()
    assert expected.counts("out").sum() > 0
    assert_same(run_case(case), expected, case)


@pytest.mark.parametrize(("kind", "kind_b"), [("leaky", "synaptic"), ("current_lif", "if")])
def test_populations_of_a_loop_may_differ(kind, kind_b):
    case = random_case(13, kind, "loop", kind_b=kind_b)
    expected = case.run()
    assert all(expected.counts(name).sum() > 2 for name in ("a", "b"))
    assert_same(run_case(case), expected, case)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_simulate_clocked_in_single_precision(wiring):
    case = random_case(3, "synaptic", wiring, dtype=np.float32)
    # the tolerance of the test above times 2^29
    assert_same(run_case(case), case.run(), case, tolerance=5e-4)
    assert run_case(case).v("a").dtype == np.float32


def test_a_loop_takes_a_step_and_a_chain_none():
    relay = Population(Leaky(0.0), 1)
    two = Dense([[2.0]])
    chain = [Projection("x", "a", two), Projection("a", "b", two), Projection("b", "c", two)]
    pulse = Spikes([0], [0], [0.0], n_samples=1, n_neurons=1)
    populations = {"c": relay, "b": relay, "a": relay}

    def steps(projections):
        result = simulate_clocked(Network({"x": 1}, populations, projections), pulse, n_steps=6)
        return [result.spikes[name].times.tolist() for name in "abc"]

    assert steps(chain) == [[0], [0], [0]]
    assert steps([*chain, Projection("b", "a", two)]) == [[0, 2, 4], [1, 3, 5], [1, 3, 5]]


def test_a_potential_at_the_threshold_does_not_fire():
    network = Sequential([Dense([[0.5]]), IF()])
    spikes = Spikes([0, 0, 0], [0, 0, 0], [0.0, 1.0, 2.0], n_samples=1, n_neurons=1)
    result = simulate_clocked(network, spikes, n_steps=4)
    assert result.spikes["output"].times.tolist() == [2.0]
    # binary fractions: exact
    assert result.v("output").ravel().tolist() == [0.5, 1.0, 1.5, 0.5]


# -- forms of the same input -------------------------------------------------------------------------------------------


def _forms(case):
    """The input of a case as spikes, as sparse.COO, and as currents."""
    import sparse

    dense = {name: np.moveaxis(x, 1, 2) for name, x in case.dense.items()}
    return {
        "spikes": case.spikes,
        "coo": {name: sparse.COO.from_numpy(x) for name, x in dense.items()},
        "currents": {name: Currents(x) for name, x in dense.items()},
        "mixed": {"x": case.spikes["x"], "y": Currents(dense["y"])},
    }


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("form", ["coo", "currents", "mixed"])
def test_simulate_clocked_takes_every_form_of_input(form, wiring):
    case = random_case(4, "current_lif", wiring)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        result = simulate_clocked(case.network, _forms(case)[form], dt=DT, n_steps=case.n_steps)
    assert_same(result, case.run(), case)


def test_simulate_clocked_knows_the_steps_of_a_grid():
    case = random_case(4, "leaky")
    for form in ("coo", "currents"):
        assert simulate_clocked(case.network, _forms(case)[form], dt=DT).n_steps == case.n_steps


def test_simulate_clocked_multiplies_weights_by_values():
    rng = np.random.default_rng(5)
    case = random_case(5, "synaptic", "sparse")
    for x in case.dense.values():
        x *= rng.normal(1.0, 0.5, x.shape)
    expected = case.run()
    for form in ("coo", "currents"):
        assert_same(simulate_clocked(case.network, _forms(case)[form], dt=DT), expected, case)


@pytest.mark.parametrize("wiring", ["layers", "recurrent", "loop"])
def test_simulate_clocked_takes_constant_currents(wiring):
    case = random_case(6, "leaky", wiring, delays=False)
    rng = np.random.default_rng(6)
    images = {name: rng.uniform(0.0, 0.3, (3, x.shape[2])) for name, x in case.dense.items()}
    images["x"][:, 3] = 0.0
    for name, image in images.items():
        case.dense[name] = np.repeat(image[:, None], case.n_steps, axis=1)
    expected = case.run()
    assert expected.counts("a").sum() > 10
    constant = {name: Currents(image) for name, image in images.items()}
    assert_same(simulate_clocked(case.network, constant, dt=DT, n_steps=case.n_steps), expected, case)
    assert_same(simulate_clocked(case.network, _forms(case)["currents"], dt=DT), expected, case)
    only_x = {"x": constant["x"], "y": _forms(case)["coo"]["y"]}
    assert_same(simulate_clocked(case.network, only_x, dt=DT), expected, case)


# -- what the result may not depend on ---------------------------------------------------------------------------------


def _assert_bitwise(one, other):
    for name in one.network.populations:
        for key in ("samples", "neurons", "times"):
            np.testing.assert_array_equal(getattr(one.spikes[name], key), getattr(other.spikes[name], key))
        for sample in (0, one.n_samples - 1):
            np.testing.assert_array_equal(one.v(name, sample), other.v(name, sample))


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("n_threads", [2, 3])
def test_simulate_clocked_gives_the_same_bits_for_every_number_of_threads(n_threads, wiring):
    case = random_case(7, "synaptic", wiring, n_samples=230, n_steps=12)
    one = run_case(case)
    assert all(one.spikes[name].n_events for name in ("a", "b"))
    _assert_bitwise(one, run_case(case, n_threads=n_threads))


def test_samples_do_not_depend_on_each_other():
    case = random_case(8, "current_lif", "loop", n_samples=200, n_steps=15)
    order = np.random.default_rng(8).permutation(200)[:77]
    whole = run_case(case)
    case.spikes = {name: spikes[order] for name, spikes in case.spikes.items()}
    part = run_case(case)
    for name in case.populations:
        chosen = whole.spikes[name][order]
        for key in ("samples", "neurons", "times"):
            np.testing.assert_array_equal(getattr(part.spikes[name], key), getattr(chosen, key))
        np.testing.assert_array_equal(part.v(name, 5), whole.v(name, int(order[5])))


@pytest.mark.parametrize(("n_samples", "n_steps"), [(1, 1), (1, 2), (2, 1)])
def test_a_single_step_or_sample(n_samples, n_steps):
    for wiring in WIRINGS:
        case = random_case(14, "synaptic", wiring, n_samples=n_samples, n_steps=n_steps)
        assert_same(run_case(case), case.run(), case)


def test_the_network_is_not_changed():
    case = random_case(9, "leaky", "loop")
    before = {name: w.copy() for name, w in case.network.parameters().items()}
    run_case(case)
    for name, weight in case.network.parameters().items():
        np.testing.assert_array_equal(weight, before[name])


# -- the networks of the two published notebooks, on images ------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    values = load_mnist(n_train=6, n_valid=0, n_test=0).train.values
    return np.asarray(values, dtype=np.float64)


def latency_notebook(images, seed=31):
    """784-128-10 current LIF, weights N(0, 0.1), 100 steps of 1 ms; a pixel x >= 0.25 fires in step (1 - x) 100."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0.0, 0.1, (784, 128)), rng.normal(0.0, 0.1, (128, 10))]
    cell = CurrentLIF(tau_mem=20e-3, tau_syn=5e-3)
    samples, pixels = np.nonzero(images >= 0.25)
    steps = np.floor((1.0 - images[samples, pixels]) * 100)
    spikes = Spikes(samples, pixels, steps * 1e-3, n_samples=len(images), n_neurons=784)
    dense = np.zeros((len(images), 100, 784))
    dense[samples, steps.astype(int), pixels] = 1.0
    layer = {"alpha": np.exp(-1.0 / 5.0), "beta": np.exp(-1.0 / 20.0), "reset": "zero"}
    populations = {"hidden": reference.Population(128, **layer), "output": reference.Population(10, **layer)}
    return Sequential([Dense(weights[0]), cell, Dense(weights[1]), cell]), populations, spikes, dense


def rate_notebook(images, seed=32):
    """784-1000-10 leaky units, beta 0.95, torch's linear initialisation with bias, constant currents, 25 steps."""
    rng = np.random.default_rng(seed)
    parts, populations = [], {}
    for name, n_pre, n_post in (("hidden", 784, 1000), ("output", 1000, 10)):
        bound = 1.0 / np.sqrt(n_pre)
        weight, bias = rng.uniform(-bound, bound, (n_pre, n_post)), rng.uniform(-bound, bound, n_post)
        parts += [Dense(weight), Leaky(beta=0.95, bias=bias)]
        populations[name] = reference.Population(n_post, beta=0.95, drive=bias, reset_at="next_step")
    dense = np.repeat(images[:, None], 25, axis=1)
    return Sequential(parts), populations, Currents(images), dense


NOTEBOOKS = {"latency": (latency_notebook, 1e-3, 100), "rate": (rate_notebook, 1.0, 25)}


def notebook_projections(network):
    sources = ["input", *(layer.name for layer in network.layers)]
    return [
        reference.Projection(source, layer.name, layer.connection.weight)
        for source, layer in zip(sources, network.layers, strict=False)
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_simulate_clocked_runs_the_notebooks(name, images):
    build, dt, n_steps = NOTEBOOKS[name]
    network, populations, given, dense = build(images)
    expected = reference.run(populations, notebook_projections(network), {"input": dense})
    result = simulate_clocked(network, given, dt=dt, n_steps=n_steps)
    assert expected.counts("hidden").sum() > 1000
    for layer in network.layers:
        found = np.moveaxis(result.spikes[layer.name].to_dense(dt, n_steps), 2, 1)
        np.testing.assert_array_equal(found, expected.spikes[layer.name])
        for s in range(len(images)):
            # potentials of some 10 from up to 784 terms of either sign, over at most 100 steps
            np.testing.assert_allclose(result.v(layer.name, s), expected.u[layer.name][s], rtol=0, atol=1e-11)


# -- LIF on the grid and in continuous time ----------------------------------------------------------------------------


def test_leaky_integrators_on_the_grid_are_exact():
    rng = np.random.default_rng(10)
    tau_mem, tau_syn = np.array([10.0, 5.0, 8.0]), np.array([5.0, 5.0, 9.0])
    reads = LI(tau_mem, tau_syn, v_leak=0.1, i_bias=[0.0, 0.2, -0.1])
    network = Sequential([Dense(rng.normal(0.0, 1.0, (4, 3)), delay=0.5), reads])
    times = rng.permutation(60)[:12] * 0.25
    spikes = Spikes(np.zeros(12, int), rng.integers(0, 4, 12), times, n_samples=1, n_neurons=4)
    grid = simulate_clocked(network, spikes, dt=0.25, n_steps=80)
    exact = simulate(network, spikes, t_max=20.0).v("output", np.arange(80) * 0.25)
    # a dozen terms of size 1 on both sides; exponents up to 4
    np.testing.assert_allclose(grid.v("output"), np.asarray(exact).reshape(80, 3), rtol=0, atol=1e-13)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_first_spikes_of_lif_are_late_by_less_than_a_step(ratio):
    rng = np.random.default_rng(11)
    network = Sequential([Dense(rng.normal(3.0, 3.0, (10, 40))), LIF(5.0 * ratio, 5.0)])
    spikes = Spikes(np.zeros(10, int), np.arange(10), rng.integers(0, 20, 10) * 0.5, n_samples=1, n_neurons=10)
    exact = simulate(network, spikes, t_max=30.0).first_times("output")[0]
    grid = simulate_clocked(network, spikes, dt=0.5, n_steps=61).spikes["output"].first_times()[0]
    fires = np.isfinite(grid)
    assert fires.sum() > 10
    # what crosses within a step and is below again at its end is missed, so only those that fire on the grid count
    late = grid[fires] - exact[fires]
    assert ((late >= -1e-9) & (late < 0.5)).mean() > 0.9


# -- silence -----------------------------------------------------------------------------------------------------------


def test_a_batch_without_a_spike_stays_at_rest():
    case = random_case(11, "leaky", "recurrent")
    case.spikes = {name: Spikes([], [], [], n_samples=3, n_neurons=s.n_neurons) for name, s in case.spikes.items()}
    case.dense = {name: np.zeros_like(x) for name, x in case.dense.items()}
    assert_same(run_case(case), case.run(), case)


def test_a_bias_alone_makes_spikes():
    network = Network({}, {"cells": Population(Leaky(0.5, bias=[0.4, 0.9]), 2)}, [])
    result = simulate_clocked(network, {}, n_steps=6)
    expected = reference.run(
        {"cells": reference.Population(2, beta=0.5, drive=[0.4, 0.9], reset_at="next_step")},
        [],
        {"x": np.zeros((1, 6, 1))},
    )
    np.testing.assert_array_equal(result.counts("cells"), expected.counts("cells"))
    assert result.counts("cells")[0, 1] > 0


def test_no_samples_give_no_spikes():
    network = Sequential([Dense([[2.0]]), Leaky(0.5)])
    result = simulate_clocked(network, Spikes([], [], [], n_samples=0, n_neurons=1), n_steps=4)
    assert (result.n_samples, result.counts("output").shape) == (0, (0, 1))


def test_result_shows_chosen_neurons_and_refuses_what_is_not_there():
    case = random_case(12, "leaky")
    result = run_case(case)
    np.testing.assert_array_equal(result.v("a", 1, [4, 0]), result.v("a", 1)[:, [4, 0]])
    np.testing.assert_array_equal(result.times, np.arange(case.n_steps) * DT)
    for call, message in [
        (lambda: result.v("c"), "no population 'c'"),
        (lambda: result.v("x"), "no population 'x'"),
        (lambda: result.v("a", 3), "sample must lie in 0 .. 2, got 3"),
        (lambda: result.v("a", -1), "sample must lie"),
        (lambda: result.v("a", 0, [9]), "neurons"),
        (lambda: result.counts("c"), "no population 'c'"),
    ]:
        with pytest.raises(ValidationError, match=message):
            call()


def test_lif_on_the_grid_follows_its_equation_from_step_to_step():
    """Without spikes the grid has no error: the potential of step t is that of `simulate` at t dt."""
    rng = np.random.default_rng(3)
    neuron = LIF(9.0, 4.0, v_leak=0.1, i_bias=rng.uniform(-0.2, 0.2, 5), v_threshold=50.0)
    net = Sequential(
        [Dense(rng.normal(0, 1, (6, 5))), neuron, Dense(rng.normal(0, 1, (5, 2))), LI(5.0, 5.0, i_bias=0.3)]
    )
    spikes = Spikes([0] * 8, rng.integers(0, 6, 8), rng.integers(0, 20, 8) * 0.5, n_samples=1, n_neurons=6)
    grid = simulate_clocked(net, spikes, dt=0.5, n_steps=40)
    exact = simulate(net, spikes, t_max=30.0)
    for name in ("hidden", "output"):
        # a dozen roundings of numbers of order 1, over 40 steps
        np.testing.assert_allclose(grid.v(name), exact.v(name, grid.times), rtol=1e-12, atol=1e-13)


def test_an_infinite_potential_is_found_behind_its_reset():
    net = Sequential([Dense([[1e308]]), Leaky(0.5, reset="zero")])
    with pytest.raises(SimulationError, match="neuron 0 of 'output' in sample 0"):
        simulate_clocked(net, Currents([[[0.0, 1e3, 1e3, 0.0, 0.0]]]))


@pytest.mark.parametrize("sample", [0.0, "a", None, 1, -1])
def test_v_refuses_samples_that_are_not_there(sample):
    result = simulate_clocked(Sequential([Dense([[1.0]]), Leaky(0.5)]), Currents([[0.1]]), n_steps=2)
    with pytest.raises(ValidationError, match="sample"):
        result.v("output", sample)


def test_a_long_run_shows_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    net = Sequential([Dense(np.full((4, 3), 0.4)), Leaky(0.9)])
    inputs = Currents(np.ones((20_000, 4)))  # some tenths of a second: the bar comes from another thread
    shown = simulate_clocked(net, inputs, n_steps=200, progress=True)
    assert "spikes" in capsys.readouterr().err
    quiet = simulate_clocked(net, inputs, n_steps=200, progress=False)
    assert capsys.readouterr().err == ""
    assert shown.spikes["output"] == quiet.spikes["output"]
