from __future__ import annotations

import numpy as np
import pytest

from eventsnn import Spikes
from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_raster, plot_sorted_output_times
from tests.plotting.fake import make_graph_result, make_network, simulate

INF = np.inf


def marks(ax):
    """Data (x, y) of every kind of mark."""
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_plot_sorted_output_times_places_every_spike():
    rng = np.random.default_rng(0)
    times = rng.gamma(10.0, 1e-3, size=(200, 3))
    times[rng.random(times.shape) < 0.2] = INF
    labels = rng.integers(0, 3, 200)
    axes = plot_sorted_output_times(times, labels, ["a", "b", "c"], tau_syn=5e-3).axes
    first = np.where(np.isinf(times).all(axis=1), -1, times.argmin(axis=1))
    for k, ax in enumerate(axes):
        own, mine = times[labels == k, k], marks(ax)
        right = first[labels == k] == k
        assert len(mine["correct output, first"]) == right.sum()
        assert len(mine["correct output, beaten"]) == (~right & np.isfinite(own)).sum()
        assert len(mine["correct output, silent"]) == np.isinf(own).sum()
        others = np.delete(times[labels == k], k, axis=1)
        assert len(mine["other outputs"]) == np.isfinite(others).sum()
        assert len(mine["other output, silent"]) == np.isinf(others).sum()
        drawn = np.concatenate([mine["correct output, first"], mine["correct output, beaten"]])
        drawn = drawn[np.argsort(drawn[:, 0])]
        # the same divisions, so the same bits
        np.testing.assert_array_equal(drawn[:, 1], np.sort(own[np.isfinite(own)]) / 5e-3)
        assert ax.get_title() == f"{'abc'[k]}: {(~right).sum()} of {own.size} wrong"
    assert axes[0].get_ylabel() == r"first spike [$\tau_\mathrm{syn}$]"
    assert axes[0].get_xlabel() == "sample, sorted"


def test_plot_sorted_output_times_keeps_others_above_their_sample():
    ax = plot_sorted_output_times([[3.0, 9.0], [1.0, 7.0], [2.0, 8.0]], [0, 0, 0]).axes[0]
    np.testing.assert_array_equal(marks(ax)["correct output, first"], [(0, 1), (1, 2), (2, 3)])
    np.testing.assert_array_equal(marks(ax)["other outputs"], [(0, 7), (1, 8), (2, 9)])


def test_plot_sorted_output_times_silent_band_lies_above_all_spikes():
    ax, _ = plot_sorted_output_times([[1.0, 5.0], [INF, 2.0]], [0, 0]).axes
    silent = marks(ax)["correct output, silent"]
    assert silent[0, 1] > 5.0
    assert silent[0, 1] < ax.get_ylim()[1]
    assert ax.get_yticklabels()[-1].get_text() == "silent"


def test_plot_sorted_output_times_without_any_spike():
    axes = plot_sorted_output_times(np.full((4, 2), INF), [0, 0, 1, 1]).axes
    assert set(marks(axes[0])) == {"correct output, silent", "other output, silent"}


def test_plot_sorted_output_times_with_a_missing_class():
    axes = plot_sorted_output_times([[1.0, 2.0, 3.0]], [0], ["a", "b", "c"]).axes
    assert [text.get_text() for text in axes[1].texts] == ["no samples"]
    assert axes[1].get_title() == "b"


def test_plot_sorted_output_times_of_one_output_and_one_sample():
    (ax,) = plot_sorted_output_times([[0.0]], [0]).axes
    assert ax.get_title() == "0: 0 of 1 wrong"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, np.nan]], [0]), "sample 0, neuron 1 is nan"),
        (([[1.0, -2.0]], [0]), "sample 0, neuron 1 is -2.0"),
        (([1.0, 2.0], [0]), r"first_times: must have shape \(n_samples, n_neurons\)"),
        (([[1.0, 2.0]], [2]), r"labels: entry 0 is 2, must lie in 0 \.\. 1"),
        (([[1.0, 2.0]], [0, 1]), "1 samples but there are 2 labels"),
        (([[1.0, 2.0]], [0], ["a"]), "class_names: 2 names are needed, got 1"),
        (([[1.0, 2.0]], [0], None, 0.0), "tau_syn: must be finite and > 0"),
        ((np.empty((0, 2)), np.empty(0, dtype=int)), "at least one sample"),
    ],
)
def test_plot_sorted_output_times_rejects_bad_input(arguments, message):
    with pytest.raises(ValidationError, match=message):
        plot_sorted_output_times(*arguments)


# -- raster ---------------------------------------------------------------------------------------------------


@pytest.fixture
def result():
    network = make_network([5, 40, 3], mean=[1.5, 0.3], std=[1.0, 0.8])
    times = np.random.default_rng(1).uniform(1e-3, 10e-3, size=(3, 5))
    times[:, 2] = INF
    return simulate(network, Spikes.from_first_times(times))


def drawn(ax):
    return np.concatenate([line.get_xydata() for line in ax.get_lines()])


def test_plot_raster_draws_every_spike_of_the_sample(result):
    figure = plot_raster(result, 1, unit="ms")
    assert len(figure.axes) == 3
    for ax, name in zip(figure.axes, ("input", "hidden", "output"), strict=True):
        first = result.first_times(name)[1]
        neurons = np.flatnonzero(np.isfinite(first))
        expected = np.column_stack((first[neurons] / 1e-3, neurons))
        points = drawn(ax)
        np.testing.assert_array_equal(points[np.argsort(points[:, 1])], expected)  # the same divisions
        assert f"{neurons.size} of {first.size} neurons active" in ax.get_title(loc="left")
        assert ax.get_ylabel() == "neuron"
        low, high = ax.get_xlim()
        assert low < points[:, 0].min()
        assert high > points[:, 0].max()
    assert figure.axes[-1].get_xlabel() == "time [ms]"
    assert "input: 4 spikes, 4 of 5" in figure.axes[0].get_title(loc="left")


def test_plot_raster_in_units_of_tau_syn(result):
    ax = plot_raster(result, 0).axes[0]
    first = result.first_times("input")[0]
    np.testing.assert_array_equal(np.sort(drawn(ax)[:, 0]), np.sort(first[np.isfinite(first)]) / 5e-3)
    assert ax.figure.axes[-1].get_xlabel() == r"time [$\tau_\mathrm{syn}$]"


def test_plot_raster_highlights_the_true_class(result):
    figure = plot_raster(result, 0, label=2, class_names=["a", "b", "c"])
    ax = figure.axes[-1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    spiked = np.isfinite(result.first_times("output")[0])
    assert len(marks(ax)["output"]) == spiked[:2].sum()
    assert len(marks(ax).get("output, correct", [])) == spiked[2]
    assert "true class c" in figure.get_suptitle()
    assert "true class shaded" in ax.get_title(loc="left")


def test_plot_raster_without_spikes_says_so():
    network = make_network([2, 1, 1])
    figure = plot_raster(simulate(network, Spikes([], [], [], n_samples=1, n_neurons=2)))
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [["no spikes"]] * 3
    assert figure.get_suptitle() == "sample 0: no output spike"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample": 3}, r"sample: must be an integer in 0 \.\. 2 \(n_samples=3\), got 3"),
        ({"sample": -1}, "sample: .*got -1"),
        ({"label": 3}, "label: .*got 3"),
        ({"class_names": ["a"]}, "class_names: 3 names are needed"),
        ({"unit": "min"}, "unit: .*'min'"),
    ],
)
def test_plot_raster_rejects_bad_input(result, arguments, message):
    with pytest.raises(ValidationError, match=message):
        plot_raster(result, **arguments)


# -- raster of a network ------------------------------------------------------------------------------------------


def headings(figure):
    return [ax.get_title(loc="left") for ax in figure.axes]


def test_plot_raster_of_a_network_draws_every_input_and_population():
    result = make_graph_result()
    figure = plot_raster(result, 1)
    assert [heading.split(":")[0] for heading in headings(figure)] == ["drive", "noise", "exc", "inh", "out"]
    for ax, name in zip(figure.axes, result, strict=True):
        own = result.spikes[name][1]
        points = drawn(ax)
        order = np.lexsort((points[:, 1], points[:, 0]))
        np.testing.assert_array_equal(points[order], np.column_stack((own.times / 1e-3, own.neurons)))
    assert figure.axes[-1].get_xlabel() == "time [ms]"
    low, high = figure.axes[0].get_xlim()
    assert low < 0 < 200 < high < 210  # t_max, not the last spike
    assert figure.get_suptitle() == "sample 1"
    assert plot_raster(make_graph_result(n_samples=1)).get_suptitle() == ""


def test_plot_raster_draws_the_names_asked_for():
    result = make_graph_result()
    assert [h.split(":")[0] for h in headings(plot_raster(result, names=["inh", "drive"]))] == ["inh", "drive"]
    assert len(plot_raster(result, names="exc").axes) == 1


def test_plot_raster_shows_a_window():
    result = make_graph_result()
    figure = plot_raster(result, names=["exc"], t_start=0.05, t_end=0.1)
    times = result.spikes["exc"][0].times
    inside = times[(times >= 0.05) & (times <= 0.1)]
    np.testing.assert_array_equal(np.sort(drawn(figure.axes[0])[:, 0]), inside / 1e-3)
    assert f"exc: {inside.size} spikes" in headings(figure)[0]
    assert figure.axes[0].get_xlim() == pytest.approx((49.5, 100.5))


def test_plot_raster_chooses_seconds_for_long_simulations():
    assert plot_raster(make_graph_result(3.0)).axes[-1].get_xlabel() == "time [s]"
    assert plot_raster(make_graph_result(), unit="s").axes[-1].get_xlabel() == "time [s]"
    # of two receptors there is no common tau_syn; "out" has one
    assert plot_raster(make_graph_result(), names=["exc"], unit="tau_syn").axes[-1].get_xlabel() == "time [ms]"
    assert "tau" in plot_raster(make_graph_result(), unit="tau_syn").axes[-1].get_xlabel()


def test_plot_raster_without_t_max_ends_at_the_last_spike():
    result = make_graph_result(np.inf)
    high = plot_raster(result, names=["noise"]).axes[0].get_xlim()[1]
    assert high == pytest.approx(1.01 * result.spikes["noise"][0].times.max() / 1e-3)


def test_plot_raster_rates_are_spikes_per_neuron_and_second():
    result = make_graph_result()
    figure = plot_raster(result, 1, rate_bin=15e-3)  # 13 bins and a third of one
    assert "bins of 15 ms" in headings(figure)[-1]
    assert figure.axes[-1].get_ylabel() == "rate [Hz]"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["exc", "inh", "out"]
    edges = np.append(15e-3 * np.arange(14), 0.2)
    for patch, name in zip(figure.axes[-1].patches, ("exc", "inh", "out"), strict=True):
        values, drawn_edges, _ = patch.get_data()
        own = result.spikes[name][1]
        np.testing.assert_allclose(drawn_edges, edges * 1e3, rtol=1e-12)
        np.testing.assert_allclose(values, np.histogram(own.times, edges)[0] / np.diff(edges) / own.n_neurons)
        # all spikes are counted: the areas give back their number, to rounding
        assert np.sum(values * np.diff(edges)) * own.n_neurons == pytest.approx(own.n_events, rel=1e-12)


def test_plot_raster_rates_of_inputs_where_only_inputs_are_shown():
    figure = plot_raster(make_graph_result(), names=["drive"], rate_bin=10e-3)
    assert len(figure.axes[-1].patches) == 1
    assert figure.legends == []


def test_plot_raster_rates_of_a_chain_are_per_tau_syn(result):
    figure = plot_raster(result, 0, rate_bin=5e-3)
    values, edges, _ = figure.axes[-1].patches[0].get_data()
    assert figure.axes[-1].get_ylabel() == r"rate [1/$\tau_\mathrm{syn}$]"
    assert np.sum(values * np.diff(edges)) * 40 == pytest.approx(result.spikes["hidden"][0].n_events, rel=1e-12)


def test_plot_raster_of_very_many_spikes_thins_neurons_evenly_and_says_so():
    result = make_graph_result(n_exc=3000, rate=300.0)
    figure = plot_raster(result, names=["exc"])
    own = result.spikes["exc"][0]
    heading = headings(figure)[0]
    assert f"exc: {own.n_events} spikes" in heading
    every = int(heading.split("one neuron in ")[1].split()[0])
    assert every > 1
    neurons = drawn(figure.axes[0])[:, 1]
    np.testing.assert_array_equal(np.sort(neurons), np.sort(own.neurons[own.neurons % every == 0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["exc", "excc"]}, "names: no input or population 'excc'; there are 'drive', 'noise', 'exc'"),
        ({"names": []}, "names: needs at least one name"),
        ({"names": ["exc", "exc"]}, "names: .* none twice"),
        ({"rate_bin": 0.0}, "rate_bin: must be a finite number and > 0"),
        ({"rate_bin": 1e-9}, "rate_bin: 1e-09 makes more than 100000 bins"),
        ({"t_start": 0.3}, "t_start: must be below the end of the time axis, 0.2, got 0.3"),
        ({"t_start": 0.1, "t_end": 0.1}, "t_end: must be a finite number and > 0.1"),
        ({"sample": 2}, "sample: .*n_samples=2"),
    ],
)
def test_plot_raster_of_a_network_rejects_bad_input(arguments, message):
    with pytest.raises(ValidationError, match=message):
        plot_raster(make_graph_result(), **arguments)
