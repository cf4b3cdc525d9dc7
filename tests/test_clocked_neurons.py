"""What the neurons of a time grid refuse, and their step rules."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import IF, CurrentLIF, Leaky, Synaptic, ValidationError


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Leaky(-0.1), "Leaky.beta: must lie in 0 .. 1, got -0.1"),
        (lambda: Leaky([0.5, 1.5]), "Leaky.beta: must lie in 0 .. 1, got 1.5 at neuron 1"),
        (lambda: Leaky(np.nan), "Leaky.beta: must be finite"),
        (lambda: Leaky(0.5, v_threshold=0.0), "Leaky.v_threshold: must be > 0"),
        (lambda: Leaky(0.5, reset="soft"), "Leaky.reset: must be one of"),
        (lambda: Leaky(0.5, reset_at="later"), "Leaky.reset_at: must be one of"),
        (lambda: Leaky.from_tau(-1.0, dt=1.0), "Leaky.from_tau.tau_mem: must be > 0"),
        (lambda: Leaky.from_tau("a", dt=1.0), "Leaky.from_tau.tau_mem"),
        (lambda: Leaky.from_tau(0.5, dt=1.0, decay="euler"), "Euler's rule"),
        (lambda: Synaptic(1.1, 0.5), "Synaptic.alpha: must lie in 0 .. 1"),
        (lambda: CurrentLIF(0.0, 1.0), "CurrentLIF.tau_mem: must be > 0"),
        (lambda: CurrentLIF(1.0, 1.0, decay="exp"), "CurrentLIF.decay: must be one of"),
        (lambda: IF(v_threshold=[1.0, 1.0], bias=[0.0]), "differ in length"),
        (lambda: IF(v_init=np.inf), "IF.v_init: must be finite"),
        (lambda: Leaky(0.5, v_init=[0.0, np.nan]), "Leaky.v_init: must be finite, got nan at neuron 1"),
    ],
)
def test_neurons_of_the_grid_refuse(build, message):
    with pytest.raises(ValidationError, match=message):
        build()


def test_step_rules_follow_the_parameters():
    cell = CurrentLIF([10.0, 20.0], 5.0, v_threshold=[1.0, 2.0], bias=0.5)
    rule = cell.step_rule(2, 2.0)
    np.testing.assert_allclose(rule.beta, np.exp([-0.2, -0.1]), rtol=1e-15)
    np.testing.assert_allclose(rule.alpha, np.exp([-0.4, -0.4]), rtol=1e-15)
    np.testing.assert_array_equal(rule.threshold, [1.0, 2.0])
    np.testing.assert_array_equal(rule.drive, [0.5, 0.5])
    euler = CurrentLIF([10.0, 20.0], 5.0, decay="euler").step_rule(2, 2.0)
    np.testing.assert_allclose(euler.beta, [0.8, 0.9], rtol=1e-15)
    assert Leaky.from_tau(20.0, dt=2.0).beta == pytest.approx(np.exp(-0.1), rel=1e-15)
    assert Leaky.from_tau(20.0, dt=2.0, decay="euler").beta == pytest.approx(0.9, rel=1e-15)
    assert IF().step_rule(3, 1.0).beta.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "neuron",
    [
        Leaky(beta=[0.4, 0.9], bias=0.1),
        Synaptic(alpha=0.7, beta=[0.4, 0.9]),
        CurrentLIF([10.0, 20.0], 5.0),
        CurrentLIF(10.0, [5.0, 6.0], decay="euler"),
        IF(bias=[0.1, 0.2], v_init=0.3),
    ],
)
def test_parameter_gradients_are_those_of_the_rule(neuron):
    """Chain rule against central differences: L = a weighted sum of what the rule has."""
    rng = np.random.default_rng(0)
    fields = ("alpha", "beta", "drive", "threshold", "v_start")
    of_rule = {name: rng.normal(size=2) for name in fields}

    def value(cell):
        rule = cell.step_rule(2, 1.5)
        return sum(float(np.sum(of_rule[name] * getattr(rule, name))) for name in fields)

    for name, gradient in neuron.parameter_gradients(of_rule | {"start": of_rule["v_start"]}, 1.5).items():
        given = np.asarray(getattr(neuron, name), dtype=float)
        assert gradient.shape == given.shape
        for index in np.ndindex(given.shape):
            h = 1e-5 * max(1.0, abs(given[index]))
            sides = []
            for step in (h, -h):
                moved = given.copy()
                moved[index] += step
                changed = {key: getattr(neuron, key) for key in neuron.__dataclass_fields__} | {name: moved}
                sides.append(value(type(neuron)(**changed)))
            # rounding 1e-16/h, and h^2 times a third derivative below 1
            assert gradient[index] == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-8, abs=1e-9), name
