"""Surrogate gradients through convolutions and pools, against the dense reference and central differences."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import (
    IF,
    Arctan,
    AvgPool2d,
    Boxcar,
    Clock,
    Conv2d,
    Currents,
    Dense,
    FastSigmoid,
    MaxPool2d,
    Sequential,
    Triangular,
    loss_and_grad,
)
from tests.gradients.test_surrogate_gradient import (
    assert_gradients,
    clock_of,
    expected_gradients,
    found_gradients,
    linear_loss,
)
from tests.simulation.grid_cases import KINDS, RESETS
from tests.simulation.window_cases import FORMS, PLANE, random_windows


def assert_case(case, loss, clock, tolerance=1e-12):
    """Value and every gradient; `x->a.weight` is among them, so the error came through everything."""
    value, gradients = found_gradients(case, loss, clock)
    expected_value, expected = expected_gradients(case, loss, clock)
    assert value == pytest.approx(expected_value, rel=tolerance, abs=tolerance)
    moving = {name for name in expected if expected[name].any()}
    assert {"x->a.weight", "a->b.weight"} <= moving
    assert set(gradients.parameters) >= set(case.network.parameters())
    assert not any(name.startswith("x->out2") for name in gradients.parameters)  # an average has no parameters
    assert_gradients(gradients.parameters, expected, tolerance, sorted(moving & set(gradients.parameters)))


@pytest.mark.parametrize("surrogate", [Arctan(), Triangular(), Boxcar(width=0.6)], ids=repr)
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_reference(form, surrogate):
    case = random_windows(1, form, "leaky", reset=("subtract", "next_step"))
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case, surrogate=surrogate))


@pytest.mark.parametrize("reset", RESETS, ids="-".join)
@pytest.mark.parametrize("form", ["groups", "average", "overlapping maximum"])
def test_gradients_through_every_reset(form, reset):
    case = random_windows(2, form, "if", reset=reset)
    for detach_reset in (False, True):
        clock = clock_of(case, surrogate=FastSigmoid(slope=3.0), detach_reset=detach_reset)
        assert_case(case, linear_loss("membrane", 4, case.n_steps), clock)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_every_kind_of_neuron(kind):
    case = random_windows(3, "average", kind, reset=("zero", "same_step"))
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case))


@pytest.mark.parametrize("truncate", [None, 9])
@pytest.mark.parametrize("side", ["none", "recurrent", "loop", "average", "skip"])
@pytest.mark.parametrize("delays", [False, True], ids=["at once", "delayed"])
def test_gradients_in_any_graph(side, delays, truncate):
    form = "average" if side == "loop" else "maximum"
    case = random_windows(4, form, side=side, delays=delays)
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case, truncate=truncate))


def test_gradients_of_counts():
    case = random_windows(5, "overlapping average", "leaky", readout="fires")
    assert_case(case, linear_loss("counts", 4, case.n_steps), clock_of(case))


@pytest.mark.parametrize("form", ["strided", "groups", "two averages", "overlapping maximum"])
def test_gradients_in_single_precision(form):
    case = random_windows(6, form, dtype=np.float32)
    # the tolerance in double times 2^29
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case), tolerance=5e-4)


@pytest.mark.parametrize("form", ["plain", "groups"])
def test_gradients_of_constant_currents(form):
    case = random_windows(7, form, side="average")
    images = np.random.default_rng(7).uniform(0.0, 0.4, (3, int(np.prod(PLANE))))
    images[:, ::5] = 0.0
    case.spikes = {"x": Currents(images)}
    case.dense = {"x": np.repeat(images[:, None], case.n_steps, axis=1)}
    assert_case(case, linear_loss("membrane", 4, case.n_steps), clock_of(case))


@pytest.mark.parametrize("form", ["strided", "overlapping maximum"])
def test_gradients_have_the_same_bits_for_every_number_of_threads(form):
    case = random_windows(8, form, n_samples=130, n_steps=6)
    loss = linear_loss("membrane", 4, case.n_steps)
    one, gradients = found_gradients(case, loss, clock_of(case))
    two, others = found_gradients(case, loss, clock_of(case), n_threads=2)
    assert one == two
    for name, gradient in gradients.parameters.items():
        np.testing.assert_array_equal(gradient, others.parameters[name])


# -- what is linear, against differences ------------------------------------------------------------------------------


def rates_of(pools, rng):
    """A network without spikes that are not given: readouts behind a convolution, of constant currents."""
    shape = pools[-1].out_shape if pools else PLANE
    conv = Conv2d.normal(shape, 4, 2, mean=0.1, std=0.6, rng=rng, padding=1, groups=2)
    return Sequential([*pools, conv, IF(v_threshold=np.inf, bias=rng.normal(size=conv.n_post))])


@pytest.mark.parametrize(
    "pools",
    [[], [AvgPool2d(PLANE, 2)], [AvgPool2d(PLANE, 3, stride=2, padding=1)], [MaxPool2d(PLANE, 3, stride=2, padding=1)]],
    ids=["none", "average", "overlapping", "maximum"],
)
def test_linear_gradients_are_central_differences(pools):
    rng = np.random.default_rng(9)
    network = rates_of(pools, rng)
    images, n_steps = Currents(rng.normal(size=(4, int(np.prod(PLANE))))), 3
    loss, clock = linear_loss("membrane", network.n_outputs, n_steps), Clock(n_steps=n_steps, decode="membrane")
    labels = np.arange(4)

    def value(weight):
        changed = network.with_parameters({"output.weight": weight})
        return loss_and_grad(changed, images, labels, loss, method="surrogate", clock=clock)

    weight = network.parameter("output.weight")
    gradient = value(weight)[1].parameters["output.weight"]
    for _ in range(5):
        direction = rng.normal(size=weight.shape)
        # linear in the weights: a difference of any width is exact but for the rounding of a sum of thousands
        difference = (value(weight + direction)[0] - value(weight - direction)[0]) / 2
        assert (gradient * direction).sum() == pytest.approx(difference, rel=1e-11, abs=1e-11)


def test_a_window_without_a_spike_hands_its_error_to_all():
    """Of four neurons at rest each would pass: dL/dbias is the same for all, and nothing when another has won."""
    first = Sequential(
        [
            Dense(np.diag([1.0, 0.0, 0.0, 0.0])),
            IF(v_threshold=1.0, bias=np.zeros(4)),
            MaxPool2d((2, 2, 1), 2),
            Dense([[1.0]]),
            IF(v_threshold=np.inf),
        ]
    )
    clock = Clock(n_steps=1, surrogate=Boxcar(width=8.0), decode="membrane")
    loss = linear_loss("membrane", 1, 1)
    for drive, winners in ((0.0, [1, 1, 1, 1]), (2.0, [1, 0, 0, 0])):
        given = Currents([[drive, 0.0, 0.0, 0.0]])
        _, gradients = loss_and_grad(first, given, [0], loss, method="surrogate", clock=clock)
        slope = loss.weights.item() * clock.surrogate.derivative(np.array([0.0])).item()
        np.testing.assert_allclose(gradients.parameters["hidden.bias"], slope * np.array(winners), rtol=1e-15)
