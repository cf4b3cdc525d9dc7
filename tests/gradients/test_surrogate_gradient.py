"""`loss_and_grad(method="surrogate")` against the dense reference, and what no gradient may depend on."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from eventsnn import (
    Arctan,
    BinningWarning,
    Boxcar,
    Clock,
    CurrentLIF,
    Currents,
    CustomSurrogate,
    Dense,
    Exponential,
    FastSigmoid,
    Gaussian,
    Leaky,
    MaxVoltageCrossEntropy,
    MultiGaussian,
    ReLUDerivative,
    Sequential,
    Sigmoid,
    SimulationError,
    SpikeAsGradient,
    SpikeCountCrossEntropy,
    SpikeCountMSE,
    Spikes,
    StraightThrough,
    Triangular,
    ValidationError,
    loss_and_grad,
)
from tests.reference import grid_numpy as reference
from tests.simulation.grid_cases import DT, KINDS, RESETS, WIRINGS, random_case
from tests.simulation.test_clock_driven import NOTEBOOKS, images, notebook_projections  # noqa: F401

SURROGATES = {
    "relu": ReLUDerivative(),
    "spike": SpikeAsGradient(),
    "straight": StraightThrough(),
    "boxcar": Boxcar(width=0.8),
    "triangular": Triangular(height=0.3, width=1.0),
    "fast_sigmoid": FastSigmoid(slope=5.0),
    "arctan": Arctan(alpha=2.0),
    "sigmoid": Sigmoid(slope=4.0),
    "gaussian": Gaussian(width=0.5),
    "exponential": Exponential(slope=3.0),
    "multi_gaussian": MultiGaussian(),
    "custom": CustomSurrogate(lambda x: 0.5 / (1.0 + x * x)),
    "custom_sparse": CustomSurrogate(lambda x: 1.0 - x * x, support=(-1.0, 1.0)),
}


@dataclass(frozen=True)
class LinearLoss:
    """A weighted sum of counts, rates or potentials; the weights of a sample are those of its label."""

    looks_at: str
    weights: Any

    def value_and_grad(self, values, labels):
        chosen = self.weights[labels]
        return (values * chosen).reshape(len(values), -1).sum(axis=1), chosen


def linear_loss(looks_at, n_outputs, n_steps, seed=0):
    shape = (n_outputs, n_steps, n_outputs) if looks_at == "membrane" else (n_outputs, n_outputs)
    return LinearLoss(looks_at, np.random.default_rng([seed, 77]).normal(size=shape))


def labels_of(case):
    n_samples = len(case.dense["x"])
    return np.arange(n_samples) % 4


def dense_spikes(case):
    """Every channel in every step of every sample, as spikes and as numbers."""
    dense = {name: np.ones_like(x) for name, x in case.dense.items()}
    return {name: Spikes.from_dense(np.moveaxis(x, 1, 2), DT) for name, x in dense.items()}, dense


def clock_of(case, **options):
    return Clock(n_steps=case.n_steps, dt=DT, decode="membrane", **options)


def found_gradients(case, loss, clock, output="out", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        return loss_and_grad(
            case.network, case.spikes, labels_of(case), loss, method="surrogate", clock=clock, output=output, **options
        )


def expected_gradients(case, loss, clock, output="out"):
    """Mean loss, and by name its gradients that the reference knows."""
    result = case.run(surrogate=clock.surrogate.derivative, detach_reset=clock.detach_reset, truncate=clock.truncate)
    labels, n_samples = labels_of(case), len(case.dense["x"])
    values = {
        "membrane": lambda: result.u[output],
        "counts": lambda: result.counts(output),
        "rates": lambda: result.counts(output) / case.n_steps,
    }[loss.looks_at]()
    losses, derivative = loss.value_and_grad(values, labels)
    derivative = derivative / n_samples
    if loss.looks_at == "membrane":
        gradients = result.backward(d_u={output: derivative})
    else:
        gradients = result.backward({output: derivative / (case.n_steps if loss.looks_at == "rates" else 1)})
    return losses.mean(), case.weights_of(gradients.weights) | of_neurons(case, gradients.parameters)


def of_neurons(case, of_rule):
    """dL/d(parameter) by name in eventsnn, in the shape it was given in."""
    found = {}
    for name, population in case.network.populations.items():
        neuron = population.neuron
        drive, threshold, alpha, beta = (of_rule[name, key] for key in ("drive", "threshold", "alpha", "beta"))
        own = {"bias": drive, "v_threshold": threshold, "v_init": of_rule[name, "v_start"]}
        if isinstance(neuron, CurrentLIF):
            for key, gradient in (("tau_mem", beta), ("tau_syn", alpha)):
                tau = np.asarray(getattr(neuron, key))
                own[key] = gradient * DT / tau**2 * (np.exp(-DT / tau) if neuron.decay == "exponential" else 1.0)
        else:
            own |= {"alpha": alpha, "beta": beta}
        for key, gradient in own.items():
            if hasattr(neuron, key):
                shared = not isinstance(getattr(neuron, key), np.ndarray)
                found[f"{name}.{key}"] = gradient.sum() if shared else gradient
    return found


def assert_gradients(found, expected, tolerance=1e-12, names=None):
    for name in names or expected:
        scale = np.abs(expected[name]).max()
        assert scale > 0, f"{name}: nothing to compare"
        # Sums in another order. The adjoint is carried through the same thirty steps and three populations by both, and
        # its rounding grows as it does itself: 1e-12 of the largest entry of an array.
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


def assert_case(case, loss, clock, tolerance=1e-12, output="out"):
    """Compare everything; the names that eventsnn gives, and those that the reference has."""
    value, gradients = found_gradients(case, loss, clock, output)
    expected_value, expected = expected_gradients(case, loss, clock, output)
    assert value == pytest.approx(expected_value, rel=tolerance, abs=tolerance)
    found = gradients.parameters
    assert set(case.network.parameters()) <= set(found)
    # What acts through spikes that never come has no gradient: the threshold of a readout.
    moving = {name for name in expected if expected[name].any()}
    assert {"x->a.weight", "y->a.weight"} <= moving
    assert_gradients(found, expected, tolerance, sorted(moving & set(found)))
    for name in (set(expected) - moving) & set(found):
        np.testing.assert_array_equal(found[name], 0.0, err_msg=name)
    return set(found), set(expected)


@pytest.mark.parametrize("looks_at", ["membrane", "counts"])
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_gradients_are_those_of_the_reference_for_every_surrogate(surrogate, wiring, looks_at):
    case = random_case(1, "leaky", wiring, readout="fires", n_steps=20)
    loss = linear_loss(looks_at, 4, case.n_steps)
    assert_case(case, loss, clock_of(case, surrogate=SURROGATES[surrogate]))


@pytest.mark.parametrize("detach_reset", [False, True], ids=["through", "detached"])
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize(
    ("kind", "reset"),
    [(kind, reset) for kind in KINDS for reset in (RESETS if kind != "lif" else RESETS[:1])],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_gradients_are_those_of_the_reference_for_every_neuron_and_reset(kind, reset, wiring, detach_reset):
    case = random_case(2, kind, wiring, reset=reset)
    loss = linear_loss("membrane", 4, case.n_steps)
    found, expected = assert_case(case, loss, clock_of(case, surrogate=Arctan(), detach_reset=detach_reset))
    if kind != "lif":
        assert expected <= found


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_shared_parameters_are_sums(kind, wiring):
    case = random_case(3, kind, wiring, shared=True, delays=False, n_steps=20)
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case, surrogate=Triangular()))


@pytest.mark.parametrize("truncate", [2, 7, 100])
@pytest.mark.parametrize("reset", RESETS, ids="-".join)
@pytest.mark.parametrize("wiring", WIRINGS)
def test_truncated_gradients_are_those_of_the_reference(wiring, reset, truncate):
    case = random_case(4, "synaptic", wiring, reset=reset, n_steps=20)
    loss = linear_loss("membrane", 4, case.n_steps)
    for detach_reset in (False, True):
        assert_case(case, loss, clock_of(case, surrogate=Arctan(), truncate=truncate, detach_reset=detach_reset))


@pytest.mark.parametrize("truncate", [6, 9])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_truncated_gradients_of_late_inputs_are_those_of_the_reference(wiring, truncate):
    case = random_case(5, "lif", wiring, n_steps=20)
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case, truncate=truncate))


@pytest.mark.parametrize("looks_at", ["membrane", "counts"])
@pytest.mark.parametrize(("output", "n_outputs"), [("a", 9), ("b", 6)])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_any_population_can_be_the_output(wiring, output, n_outputs, looks_at):
    case = random_case(15, "current_lif", wiring, kind_b="leaky", reset=("zero", "same_step"))
    loss = linear_loss(looks_at, n_outputs, case.n_steps)
    assert_case(case, loss, clock_of(case, surrogate=FastSigmoid(slope=3.0)), output=output)


@pytest.mark.parametrize(("n_samples", "n_steps"), [(1, 1), (1, 3), (4, 1)])
def test_gradients_of_a_single_step_or_sample(n_samples, n_steps):
    case = random_case(16, "leaky", "layers", n_samples=n_samples, n_steps=n_steps, delays=False)
    case.spikes, case.dense = dense_spikes(case)
    assert_case(case, linear_loss("membrane", 4, n_steps), clock_of(case))


@pytest.mark.parametrize("looks_at", ["counts", "rates"])
def test_losses_on_counts_and_rates(looks_at):
    case = random_case(6, "current_lif", "recurrent", readout="fires")
    loss = linear_loss(looks_at, 4, case.n_steps)
    assert_case(case, loss, clock_of(case, surrogate=Sigmoid(slope=3.0)))


@pytest.mark.parametrize("loss", [SpikeCountMSE(correct=8, wrong=1), SpikeCountCrossEntropy(scale=0.3)], ids=repr)
def test_losses_of_the_library_on_counts(loss):
    case = random_case(7, "current_lif", "loop", readout="fires")
    assert_case(case, loss, clock_of(case))


def test_the_maximum_takes_its_own_step():
    case = random_case(8, "current_lif", "layers")
    loss, labels = MaxVoltageCrossEntropy(scale=2.0), labels_of(case)
    clock = clock_of(case)
    result = case.run(surrogate=clock.surrogate.derivative)
    u = result.u["out"]
    losses, d_max = loss.value_and_grad(u.max(axis=1), labels)
    d_u = np.zeros_like(u)
    np.put_along_axis(d_u, u.argmax(axis=1)[:, None], d_max[:, None] / len(u), axis=1)
    value, gradients = found_gradients(case, loss, clock)
    assert value == pytest.approx(losses.mean(), rel=1e-12)
    assert_gradients(gradients.parameters, case.weights_of(result.backward(d_u={"out": d_u}).weights))


# -- forms of the same input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["coo", "currents"])
def test_gradients_of_values(form):
    import sparse

    case = random_case(9, "leaky", "sparse")
    for x in case.dense.values():
        x *= np.random.default_rng(9).normal(1.0, 0.5, x.shape)
    dense = {name: np.moveaxis(x, 1, 2) for name, x in case.dense.items()}
    make = sparse.COO.from_numpy if form == "coo" else Currents
    case.spikes = {name: make(x) for name, x in dense.items()}
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case))


@pytest.mark.parametrize("truncate", [None, 4])
@pytest.mark.parametrize("wiring", ["layers", "recurrent", "loop"])
def test_gradients_of_constant_currents(wiring, truncate):
    case = random_case(10, "leaky", wiring, delays=False)
    rng = np.random.default_rng(10)
    rows = {name: rng.uniform(0.0, 0.3, (3, x.shape[2])) for name, x in case.dense.items()}
    rows["x"][:, 2] = 0.0
    case.dense = {name: np.repeat(row[:, None], case.n_steps, axis=1) for name, row in rows.items()}
    case.spikes = {name: Currents(row) for name, row in rows.items()}
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case, truncate=truncate))


# -- what the gradient may not depend on -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_gradients_have_the_same_bits_for_every_number_of_threads(wiring, dtype):
    case = random_case(11, "synaptic", wiring, n_samples=230, n_steps=10, dtype=dtype)
    loss = linear_loss("membrane", 4, case.n_steps)
    one, gradients = found_gradients(case, loss, clock_of(case))
    for n_threads in (2, 3):
        other, others = found_gradients(case, loss, clock_of(case), n_threads=n_threads)
        assert one == other
        for name, gradient in gradients.parameters.items():
            np.testing.assert_array_equal(gradient, others.parameters[name])


def test_gradients_do_not_depend_on_the_order_of_samples():
    case = random_case(12, "current_lif", "loop", n_samples=120, n_steps=10)
    loss = linear_loss("membrane", 4, case.n_steps)
    order = np.random.default_rng(12).permutation(30) * 4  # keeps the labels
    order = (order[:, None] + np.arange(4)).ravel()
    value, gradients = found_gradients(case, loss, clock_of(case))
    case.spikes = {name: spikes[order] for name, spikes in case.spikes.items()}
    shuffled, others = found_gradients(case, loss, clock_of(case))
    assert shuffled == pytest.approx(value, rel=1e-13)
    assert_gradients(others.parameters, {name: gradients.parameters[name] for name in case.network.parameters()})


@pytest.mark.parametrize("wiring", WIRINGS)
def test_gradients_in_single_precision(wiring):
    case = random_case(13, "leaky", wiring, dtype=np.float32, n_steps=20)
    # the tolerance in double times 2^29
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case), tolerance=5e-4)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_batch_without_a_spike_has_the_gradients_of_the_reference(wiring):
    case = random_case(14, "current_lif", wiring, n_steps=20)
    case.spikes = {name: Spikes([], [], [], n_samples=3, n_neurons=s.n_neurons) for name, s in case.spikes.items()}
    case.dense = {name: np.zeros_like(x) for name, x in case.dense.items()}
    loss = linear_loss("membrane", 4, case.n_steps)
    value, gradients = found_gradients(case, loss, clock_of(case))
    expected_value, expected = expected_gradients(case, loss, clock_of(case))
    assert value == pytest.approx(expected_value, rel=1e-12, abs=1e-12)
    for name, gradient in gradients.parameters.items():
        if name in expected:
            # eventsnn does not keep the current but takes it from the potential: 0 up to its rounding
            np.testing.assert_allclose(gradient, expected[name], rtol=1e-12, atol=1e-14, err_msg=name)
    np.testing.assert_array_equal(gradients.parameters["x->a.weight"], 0.0)


# -- the networks of the two published notebooks, on images ------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_gradients_of_the_notebooks(name, images):  # noqa: F811
    build, dt, n_steps = NOTEBOOKS[name]
    network, populations, given, dense = build(images)
    labels = np.arange(len(images)) % 10
    if name == "latency":
        clock = Clock(n_steps=n_steps, dt=dt, surrogate=ReLUDerivative(), detach_reset=True)
        loss = SpikeCountMSE(correct=100, wrong=10)
    else:
        clock = Clock(n_steps=n_steps, dt=dt, surrogate=Arctan(), detach_reset=True)
        loss = linear_loss("membrane", 10, n_steps)
    result = reference.run(
        populations,
        notebook_projections(network),
        {"input": dense},
        surrogate=clock.surrogate.derivative,
        detach_reset=True,
    )
    if name == "latency":
        losses, derivative = loss.value_and_grad(result.counts("output"), labels)
        expected = result.backward({"output": derivative / len(images)})
    else:
        losses, derivative = loss.value_and_grad(result.u["output"], labels)
        expected = result.backward(d_u={"output": derivative / len(images)})
    value, gradients = loss_and_grad(network, given, labels, loss, method="surrogate", clock=clock)
    assert value == pytest.approx(losses.mean(), rel=1e-12)
    assert_gradients(gradients.parameters, dict(zip(("hidden.weight", "output.weight"), expected.weights, strict=True)))
    if name == "rate":
        drives = {f"{layer}.bias": expected.parameters[layer, "drive"] for layer in ("hidden", "output")}
        assert_gradients(gradients.parameters, drives)


# -- bad input ---------------------------------------------------------------------------------------------------------


def _chain():
    return Sequential([Dense(np.full((2, 3), 0.8)), Leaky(0.9), Dense(np.full((3, 2), 0.8)), Leaky(0.9)])


def _spikes(n_samples=2):
    return Spikes(np.arange(n_samples), np.zeros(n_samples, int), np.zeros(n_samples), n_samples=n_samples, n_neurons=2)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 2], {}, "targets"),
        ([0, -1], {}, "targets"),
        ([0], {}, "targets: 1 labels for 2 samples"),
        ([0, 0.5], {}, "targets"),
        ([0, 1], {"clock": None}, "clock"),
        ([0, 1], {"clock": 0.1}, "clock"),
        ([0, 1], {"output": "nobody"}, "nobody"),
        ([0, 1], {"method": "surrogates"}, "unknown method 'surrogates'"),
        ([0, 1], {"t_max": 5.0}, "t_max"),
    ],
)
def test_loss_and_grad_refuses(labels, options, message):
    options = {"method": "surrogate", "clock": Clock(n_steps=4)} | options
    with pytest.raises(ValidationError, match=message):
        loss_and_grad(_chain(), _spikes(), labels, SpikeCountMSE(correct=2, wrong=0), **options)


def test_loss_and_grad_refuses_an_empty_batch():
    with pytest.raises(ValidationError, match="the batch is empty"):
        loss_and_grad(
            _chain(), _spikes(0), [], SpikeCountMSE(correct=2, wrong=0), method="surrogate", clock=Clock(n_steps=4)
        )


def test_a_surrogate_that_gives_nan_is_an_error_with_its_place():
    def hole(x):  # narrow: not among the numbers that are tried when it is made
        return np.nan if 0.3 < x < 0.31 else 1.0

    network = Sequential([Dense([[1.305, 0.9]]), Leaky(0.9)])
    spikes = Spikes([0, 1], [0, 0], [0.0, 0.0], n_samples=2, n_neurons=1)
    clock = Clock(n_steps=4, surrogate=CustomSurrogate(hole))
    with pytest.raises(SimulationError, match="at output is not finite .* CustomSurrogate.*hole"):
        loss_and_grad(network, spikes, [0, 1], SpikeCountMSE(correct=2, wrong=0), method="surrogate", clock=clock)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 0}, "Clock.n_steps: must be >= 1"),
        ({"n_steps": 2.5}, "Clock.n_steps"),
        ({"dt": 0.0}, "Clock.dt"),
        ({"surrogate": np.tanh}, "Clock.surrogate: must be a surrogate"),
        ({"detach_reset": 1}, "Clock.detach_reset"),
        ({"truncate": 0}, "Clock.truncate"),
        ({"decode": "mean"}, "Clock.decode"),
    ],
)
def test_clock_refuses(options, message):
    with pytest.raises(ValidationError, match=message):
        Clock(**{"n_steps": 4} | options)


@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_gradients_to_many_neurons_leave_out_only_what_a_surrogate_makes_zero(delay):
    """Triangular vanishes, so that neurons far from threshold are skipped; the same formula without support is not."""
    rng = np.random.default_rng(0)
    sizes = (20, 30, 50, 10)  # to 50: gather_active; to 10: grid_narrow
    layers: list[Any] = []
    for n_pre, n_post in itertools.pairwise(sizes):
        layers += [Dense(rng.normal(0.1, 0.5, (n_pre, n_post)), delay=delay if n_post == 50 else 0.0), Leaky(0.9)]
    network = Sequential(layers)
    x = (rng.random((6, 20, 15)) < 0.1) * np.array([1.0, 0.1, 1.0, 0.0, 1.0, 0.5])[:, None, None]
    full = CustomSurrogate(lambda u: 0.3 * max(0.0, 1.0 - abs(u)))
    found = [
        loss_and_grad(
            network, Currents(x), np.arange(6), SpikeCountMSE(5, 1), method="surrogate",
            clock=Clock(n_steps=15, surrogate=surrogate),
        )[1].parameters
        for surrogate in (Triangular(), full)
    ]  # fmt: skip
    for name, expected in found[1].items():
        assert np.abs(expected).max() > 0
        # sums in another order
        np.testing.assert_allclose(found[0][name], expected, rtol=0, atol=1e-12 * np.abs(expected).max(), err_msg=name)
