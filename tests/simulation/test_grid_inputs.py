"""What the time grid does to its inputs, and what it refuses."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from eventsnn import (
    LIF,
    BinningWarning,
    CurrentLIF,
    Currents,
    Dense,
    Leaky,
    Sequential,
    SimulationError,
    Spikes,
    ValidationError,
    simulate,
    simulate_clocked,
)

# -- binning -----------------------------------------------------------------------------------------------------------


def _relay():
    return Sequential([Dense([[2.0]]), Leaky(0.0)])


def _one(neuron, delay=0.0):
    return Sequential([Dense([[1.0]], delay=delay), neuron])


def _spikes(times, n_samples=1):
    times = np.asarray(times, dtype=float)
    return Spikes(np.zeros(times.size, int), np.zeros(times.size, int), times, n_samples=n_samples, n_neurons=1)


def test_times_between_steps_go_to_the_nearest_with_one_warning():
    with pytest.warns(BinningWarning, match="3 of 4 spikes are no multiple of dt=1 .* by up to 0.5") as caught:
        result = simulate_clocked(_relay(), _spikes([0.4, 1.6, 4.5, 5.0]), n_steps=6)
    assert len(caught) == 1
    # into the steps 0, 2, 4 (a half goes to the even one) and 5; the reset takes 1 from the step after a spike
    assert result.v("output").ravel().tolist() == [2.0, -1.0, 2.0, -1.0, 2.0, 1.0]


def test_spikes_of_one_step_add_up_with_one_warning():
    with pytest.warns(BinningWarning, match="2 of 4 spikes share their step") as caught:
        result = simulate_clocked(_relay(), _spikes([1.0, 1.0, 1.0, 2.0]), n_steps=3)
    assert len(caught) == 1
    assert result.v("output").ravel().tolist() == [0.0, 6.0, 1.0]


def test_times_on_the_grid_but_for_rounding_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = simulate_clocked(
            _one(Leaky(0.0, 0.5, reset="none")), _spikes(np.arange(100) * 0.1), dt=0.1, n_steps=100
        )
    assert result.counts("output").tolist() == [[100]]


# -- bad input ---------------------------------------------------------------------------------------------------------


def _coo(coords=((0,), (0,), (0,)), data=(1.0,), shape=(1, 1, 4)):
    import sparse

    return sparse.COO(np.array(coords), np.array(data), shape=shape)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (_spikes([5.0]), {"n_steps": 5}, "input 'input': the event at time 5 .* step 5, beyond n_steps=5"),
        (_spikes([4.6]), {"n_steps": 5}, "step 5, beyond n_steps=5"),
        (_spikes([1.0]), {}, "n_steps is needed"),
        (_spikes([1.0]), {"n_steps": 0}, "n_steps must be >= 1"),
        (_spikes([1.0]), {"n_steps": 2.5}, "n_steps"),
        (_spikes([1.0]), {"n_steps": 5, "dt": 0.0}, "dt"),
        (_spikes([1.0]), {"n_steps": 5, "dt": np.nan}, "dt"),
        (Currents([[1.0]]), {}, "n_steps is needed"),
        (Currents([[1.0, 2.0]]), {"n_steps": 5}, "n_neurons=2, but the network has 1"),
        (Currents(np.ones((1, 1, 4))), {"n_steps": 5}, "n_steps=5, but input 'input' has 4 steps"),
        (np.ones((1, 1)), {"n_steps": 5}, "must be Spikes, Currents, or a sparse.COO .* got ndarray"),
        ({"inputs": _spikes([1.0])}, {"n_steps": 5}, "the network has the inputs"),
        ({}, {"n_steps": 5}, "the network has the inputs"),
        (_spikes([1.0]), {"n_steps": 5, "n_threads": 0}, "n_threads"),
    ],
)
def test_simulate_clocked_refuses(given, options, message):
    with pytest.raises(ValidationError, match=message):
        simulate_clocked(_relay(), given, **options)


def test_halves_of_a_step_go_to_the_even_one_at_any_dt():
    times = (np.arange(60) + 0.5) * 0.1
    counts = np.bincount(np.rint(times / 0.1).astype(int), minlength=62)
    with pytest.warns(BinningWarning):
        result = simulate_clocked(_one(Leaky(0.0, np.inf)), _spikes(times), dt=0.1, n_steps=62)
    np.testing.assert_array_equal(result.v("output").ravel(), counts)


def test_simulate_clocked_refuses_a_grid_longer_or_shorter_than_n_steps():
    for n_steps in (3, 5):
        with pytest.raises(ValidationError, match=f"n_steps={n_steps}, but input 'input' has 4 steps"):
            simulate_clocked(_relay(), _coo(), n_steps=n_steps)


@pytest.mark.parametrize(("axis", "value"), [(0, 1), (1, 1), (2, 4), (2, -1), (0, -1)])
def test_simulate_clocked_refuses_coordinates_out_of_range(axis, value):
    coo = _coo()
    coo.coords[axis, 0] = value  # sparse itself would refuse it when it is made
    with pytest.raises(ValidationError, match=f"input 'input': .* coordinate {value} on axis {axis}"):
        simulate_clocked(_relay(), coo)


def test_simulate_clocked_refuses_coordinates_that_are_no_integers():
    coo = _coo()
    coo.coords = coo.coords.astype(float) + 0.5
    with pytest.raises(ValidationError, match="input 'input': coordinates must be integers"):
        simulate_clocked(_relay(), coo)


def test_simulate_clocked_refuses_a_grid_without_steps():
    import sparse

    with pytest.raises(ValidationError, match="input 'input': needs at least one step"):
        simulate_clocked(_relay(), sparse.COO.from_numpy(np.zeros((1, 1, 0))))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_simulate_clocked_refuses_values_that_are_not_finite(value):
    with pytest.raises(ValidationError, match="finite"):
        simulate_clocked(_relay(), _coo(data=(value,)))
    with pytest.raises(ValidationError, match="finite"):
        Currents([[value]])


def test_simulate_clocked_refuses_another_fill_value():
    import sparse

    coo = sparse.COO(np.array([[0], [0], [0]]), np.array([1.0]), shape=(1, 1, 4), fill_value=1.0)
    with pytest.raises(ValidationError, match="fill_value"):
        simulate_clocked(_relay(), coo)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_one(Leaky(0.5), delay=1.5), "the delay 1.5 of input->output is no multiple of dt=1"),
        (_one(CurrentLIF(0.5, 2.0, decay="euler")), "Euler's rule"),
        (_one(LIF(5.0, 2.0, t_refrac=1.0)), "'output' is .* t_refrac"),
        (_one(LIF(5.0, 2.0, max_spikes=1)), "'output' is .* max_spikes"),
    ],
)
def test_simulate_clocked_refuses_networks(network, message):
    with pytest.raises(ValidationError, match=message):
        simulate_clocked(network, _spikes([1.0]), n_steps=5)


def test_simulate_clocked_refuses_a_constant_current_with_a_delay():
    with pytest.raises(ValidationError, match="delay"):
        simulate_clocked(_one(Leaky(0.5), delay=1.0), Currents([[1.0]]), n_steps=5)


def test_simulate_refuses_units_of_the_grid():
    with pytest.raises(ValidationError, match="Leaky"):
        simulate(_one(Leaky(0.5)), _spikes([1.0]))


def test_a_potential_that_is_not_finite_is_an_error_with_its_place():
    network = Sequential([Dense([[1e308, 1.0]]), Leaky(1.0, reset="none")])
    currents = np.zeros((2, 1, 5))
    currents[1, 0, 1:3] = 1e3
    with pytest.raises(SimulationError, match="neuron 0 of 'output' in sample 1"):
        simulate_clocked(network, Currents(currents))
