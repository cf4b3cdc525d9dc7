"""Pictures of results on a time grid: rasters, and potentials step by step."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import Dense, Leaky, Sequential, Spikes, simulate_clocked
from eventsnn.currents import Currents
from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_clocked_traces, plot_raster


def make_result(inputs=None, *, threshold=1.0, dt=2.0, n_steps=40):
    """Six inputs, seven hidden units, three outputs, two samples."""
    rng = np.random.default_rng(0)
    if inputs is None:
        n = 150
        inputs = Spikes(
            rng.integers(0, 2, n), rng.integers(0, 6, n), dt * rng.integers(0, n_steps, n), n_samples=2, n_neurons=6
        )
    parts = [Dense(rng.normal(0.2, 0.4, (6, 7))), Leaky(0.9), Dense(rng.normal(0.2, 0.5, (7, 3)))]
    network = Sequential([*parts, Leaky(0.9, v_threshold=threshold)])
    with pytest.warns(UserWarning, match="share their step") if isinstance(inputs, Spikes) else _nothing():
        return simulate_clocked(network, inputs, dt=dt, n_steps=n_steps)


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def line(ax, label):
    found = [line for line in ax.get_lines() if line.get_label() == label]
    return found[0].get_xydata() if found else np.empty((0, 2))


def test_plot_clocked_traces_shows_potentials_and_spikes_of_every_step():
    result = make_result()
    axes = plot_clocked_traces(result, "output", 1, neuron_names=["a", "b", "c"]).axes
    v, sent = result.v("output", 1), result.spikes["output"][1]
    assert sent.n_events > 3
    for k, ax in enumerate(axes):
        np.testing.assert_array_equal(line(ax, "v, before the reset"), np.column_stack((np.arange(40), v[:, k])))
        steps = np.flatnonzero(v[:, k] > 1.0)
        np.testing.assert_array_equal(line(ax, "spike"), np.column_stack((steps, v[steps, k])))
        assert steps.size == np.count_nonzero(sent.neurons == k)
        assert ax.get_title(loc="left") == f"{'abc'[k]}: {steps.size or 'no'} spikes"
    assert axes[-1].get_xlabel() == "time [step]"


def test_plot_clocked_traces_takes_units_of_time_and_chosen_units():
    axes = plot_clocked_traces(make_result(), "hidden", neurons=[6, 2], unit="s").axes
    assert [ax.get_title(loc="left").partition(":")[0] for ax in axes] == ["neuron 6", "neuron 2"]
    np.testing.assert_array_equal(line(axes[0], "v, before the reset")[:, 0], 2.0 * np.arange(40))
    assert axes[-1].get_xlabel() == "time [s]"


def test_plot_clocked_traces_of_a_readout_has_no_threshold():
    axes = plot_clocked_traces(make_result(threshold=np.inf), "output").axes
    assert all(len(line(ax, label)) == 0 for ax in axes for label in ("v_threshold", "spike"))
    assert axes[0].get_ylim() == axes[2].get_ylim()
    assert "highest" in axes[0].get_title(loc="left")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "input"}, "plot_clocked_traces.name"),
        ({"name": "output", "sample": 2}, r"sample: must be an integer in 0 \.\. 1"),
        ({"name": "output", "neurons": [3]}, "plot_clocked_traces.neurons"),
        ({"name": "output", "unit": "tau_syn"}, "unit: must be 'step', 's' or 'ms' for a time grid, got 'tau_syn'"),
        ({"name": "output", "unit": "us"}, "plot_clocked_traces.unit"),
    ],
)
def test_plot_clocked_traces_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValidationError, match=message):
        plot_clocked_traces(make_result(), **arguments)


def test_plot_raster_of_a_grid_shows_all_steps():
    result = make_result()
    axes = plot_raster(result, 1, label=2).axes
    assert [ax.get_title(loc="left").partition(":")[0] for ax in axes] == ["input", "hidden", "output"]
    assert axes[-1].get_xlabel() == "time [step]"
    low, high = axes[-1].get_xlim()
    assert low <= 0
    assert high >= 40
    own = result.spikes["hidden"][1]
    drawn = np.concatenate([mark.get_xydata() for mark in axes[1].get_lines()])
    expected = np.column_stack((own.times / 2.0, own.neurons))
    np.testing.assert_array_equal(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)])


def test_plot_raster_has_no_panel_for_currents():
    currents = Currents(np.full((2, 6), 0.5))
    axes = plot_raster(make_result(currents)).axes
    assert [ax.get_title(loc="left").partition(":")[0] for ax in axes] == ["hidden", "output"]
    with pytest.raises(ValidationError, match="plot_raster.names"):
        plot_raster(make_result(currents), names=["input"])
