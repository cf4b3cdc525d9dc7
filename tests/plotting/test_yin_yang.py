from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import Arc, Circle

from eventsnn import decode_first_spike
from eventsnn.datasets import load_yin_yang, yin_yang_class
from eventsnn.errors import ValidationError
from eventsnn.plotting import (
    plot_yin_yang_hidden_times,
    plot_yin_yang_map,
    plot_yin_yang_output_times,
    plot_yin_yang_time_differences,
    yin_yang_first_times,
)
from tests.plotting.fake import make_network, simulate

INF = np.inf
N_GRID = 40
AXIS = (np.arange(N_GRID) + 0.5) / N_GRID


def perfect(values):
    """A network that knows the answer, spikes at 1 + x and 2 + y, and never outside the disc."""
    x, y = values.T
    label = yin_yang_class(x, y)
    times = np.where(np.arange(3) == label[:, None], 1.0 + x[:, None], 3.0 + y[:, None])
    hidden = np.column_stack((x, np.where(x > 0.5, y, INF), np.full(x.size, INF)))
    return {"hidden": hidden, "output": times}


def picture(ax):
    (image,) = ax.images
    return np.ma.filled(image.get_array(), np.nan)


def inside():
    x, y = np.meshgrid(AXIS, AXIS)
    return np.hypot(x - 0.5, y - 0.5) < 0.5


# -- the network as a function of the plane -------------------------------------------------------------------


@pytest.mark.parametrize("bias_time", [None, 0.9])
def test_yin_yang_first_times_encodes_as_the_data_set_does(monkeypatch, bias_time):
    seen = []

    def spy(network, spikes, **options):
        seen.append(spikes)
        return simulate(network, spikes)

    monkeypatch.setattr("eventsnn.simulation.simulate", spy)
    test = load_yin_yang(tau_syn=5e-3, bias_time=bias_time, n_train=0, n_valid=0, n_test=50).test
    network = make_network([4 if bias_time is None else 5, 6, 3])
    answer = yin_yang_first_times(network, bias_time=bias_time)(test.values[:, :2])
    assert seen == [test.spikes]  # bit for bit
    np.testing.assert_array_equal(answer["hidden"], simulate(network, test.spikes).first_times("hidden"))


def test_yin_yang_first_times_simulates_the_same_plane_once(monkeypatch):
    calls = []

    def spy(network, spikes, **options):
        calls.append(spikes.n_samples)
        return simulate(network, spikes)

    monkeypatch.setattr("eventsnn.simulation.simulate", spy)
    first_times = yin_yang_first_times(make_network([4, 6, 3]))
    plot_yin_yang_map(first_times, n_grid=N_GRID)
    plot_yin_yang_output_times(first_times, n_grid=N_GRID)
    plot_yin_yang_hidden_times(first_times, n_grid=N_GRID)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("n_inputs", "arguments", "message"),
    [
        (5, {}, "4 inputs are needed without bias_time, the network has 5"),
        (4, {"bias_time": 0.9}, "5 inputs are needed with bias_time, the network has 4"),
        (4, {"t_early": -0.1}, "t_early: .*-0.1"),
        (4, {"t_late": 0.1}, "t_late: .*> 0.15"),
        (4, {"tau_syn": 0.0}, "tau_syn: one value > 0"),
        (4, {"tau_syn": [1.0, 2.0]}, "tau_syn: one value > 0"),
    ],
)
def test_yin_yang_first_times_rejects_bad_input(n_inputs, arguments, message):
    with pytest.raises(ValidationError, match=message):
        yin_yang_first_times(make_network([n_inputs, 6, 3]), **arguments)


# -- classification map ---------------------------------------------------------------------------------------


def test_plot_yin_yang_map_colours_the_predicted_class():
    figure = plot_yin_yang_map(perfect, n_grid=N_GRID)
    ax = figure.axes[0]
    x, y = np.meshgrid(AXIS, AXIS)
    expected = decode_first_spike(perfect(np.column_stack((x.ravel(), y.ravel())))["output"]).reshape(x.shape)
    np.testing.assert_array_equal(picture(ax)[inside()], expected[inside()])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == ["predicted yin", "predicted yang", "predicted dot", "true borders"]


def test_plot_yin_yang_map_draws_the_true_borders():
    ax = plot_yin_yang_map(perfect, n_grid=N_GRID).axes[0]
    arcs = [patch for patch in ax.patches if isinstance(patch, Arc)]
    circles = [patch for patch in ax.patches if type(patch) is Circle]
    assert (len(arcs), len(circles)) == (2, 3)
    for patch in arcs:
        # 10 degrees off the ends, where the arc touches the rim of the disc
        angle = np.deg2rad(np.linspace(patch.theta1 + 10, patch.theta2 - 10, 50))
        outward = np.column_stack((np.cos(angle), np.sin(angle)))
        near = [np.array(patch.center) + (patch.width / 2 + step) * outward for step in (-1e-3, 1e-3)]
        before, behind = (yin_yang_class(*points.T) for points in near)
        assert np.all(before != behind)
        assert {*before, *behind} == {0, 1}
    for patch in circles:
        angle = np.linspace(0.01, 2 * np.pi, 50)
        outward = np.column_stack((np.cos(angle), np.sin(angle)))
        near = [np.array(patch.center) + (patch.radius + step) * outward for step in (-1e-3, 1e-3)]
        before, behind = (yin_yang_class(*points.T) for points in near)
        assert np.all(before == 2) if patch.radius < 0.2 else np.all(behind == -1)
        assert np.all(before != behind)


def test_plot_yin_yang_map_marks_misclassified_samples():
    test = load_yin_yang(n_train=0, n_valid=0, n_test=60).test
    labels = test.labels.copy()
    labels[:7] = (labels[:7] + 1) % 3
    figure = plot_yin_yang_map(perfect, test.values, labels, n_grid=N_GRID)
    ax = figure.axes[0]
    dots = np.concatenate([part.get_offsets() for part in ax.collections])
    assert {tuple(p) for p in np.asarray(dots)} == {tuple(p) for p in test.values[:7, :2]}
    for part in ax.collections:
        label = part.get_label().removeprefix("wrong, truly ").split(" (")[0]
        assert len(part.get_offsets()) == np.sum(labels[:7] == ["yin", "yang", "dot"].index(label))
    assert ax.get_title() == "test: 88.33 % right, 7 of 60 wrong"


def test_plot_yin_yang_map_shows_where_no_output_spikes():
    figure = plot_yin_yang_map(lambda v: {"output": np.full((len(v), 3), INF)}, [[0.5, 0.9]], [1], n_grid=N_GRID)
    assert np.all(picture(figure.axes[0])[inside()] == -1)
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert "no output spike" in legend
    assert "wrong, truly yang (1)" in legend


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": [[0.5, 0.5]]}, "values and labels must be given together"),
        ({"values": [[0.5, 0.5]], "labels": [3]}, "labels: entry 0 is 3"),
        ({"values": [[0.5]], "labels": [0]}, r"values: must have shape \(1, >= 2\), got \(1, 1\)"),
        ({"name": "out"}, "name: no population 'out'; there are 'hidden', 'output'"),
        ({"class_names": ["a"]}, "class_names: 3 names"),
        ({"n_grid": 1}, "n_grid: .*got 1"),
    ],
)
def test_plot_yin_yang_map_rejects_bad_input(arguments, message):
    with pytest.raises(ValidationError, match=message):
        plot_yin_yang_map(perfect, **{"n_grid": N_GRID, **arguments})


def test_plot_yin_yang_map_rejects_a_wrong_answer():
    with pytest.raises(ValidationError, match="first_times: answered 1 rows to"):
        plot_yin_yang_map(lambda values: {"output": np.ones((1, 3))}, n_grid=N_GRID)


# -- maps of spike times --------------------------------------------------------------------------------------


def test_plot_yin_yang_output_times_shows_times_in_tau_syn():
    figure = plot_yin_yang_output_times(perfect, tau_syn=2.0, n_grid=N_GRID)
    *maps, bar = figure.axes
    assert [ax.get_title() for ax in maps] == ["yin", "yang", "dot"]
    x, y = np.meshgrid(AXIS, AXIS)
    times = perfect(np.column_stack((x.ravel(), y.ravel())))["output"].reshape(N_GRID, N_GRID, 3)
    for k, ax in enumerate(maps):
        np.testing.assert_array_equal(picture(ax)[inside()], times[inside(), k] / 2.0)
    assert len({ax.images[0].get_clim() for ax in maps}) == 1
    assert bar.get_ylabel() == r"first spike [$\tau_\mathrm{syn}$]"


def test_plot_yin_yang_hidden_times_leaves_silent_places_open():
    *maps, _ = plot_yin_yang_hidden_times(perfect, n_grid=N_GRID).axes
    titles = [ax.get_title() for ax in maps]
    assert titles[0] == "0"
    assert titles[1] == "1 (50 % silent)"
    assert titles[2] == "2 (100 % silent)"
    half = picture(maps[1])
    assert np.isnan(half[:, : N_GRID // 2]).all()
    assert np.isfinite(half[:, N_GRID // 2 :][inside()[:, N_GRID // 2 :]]).all()
    assert np.isnan(picture(maps[2])).all()


def test_plot_yin_yang_hidden_times_takes_chosen_neurons():
    *maps, _ = plot_yin_yang_hidden_times(perfect, neurons=[2, 0], n_grid=N_GRID).axes
    assert [ax.get_title().split()[0] for ax in maps] == ["2", "0"]
    with pytest.raises(ValidationError, match="neurons: entry 0 is 3"):
        plot_yin_yang_hidden_times(perfect, neurons=[3], n_grid=N_GRID)


def test_plot_yin_yang_times_without_any_spike():
    def dead(values):
        return {"output": np.full((len(values), 3), INF)}

    *maps, _ = plot_yin_yang_output_times(dead, n_grid=N_GRID).axes
    assert all(np.isnan(picture(ax)).all() for ax in maps)


def test_plot_yin_yang_time_differences_shows_second_minus_first():
    ax, _ = plot_yin_yang_time_differences(perfect, 2.0, n_grid=N_GRID).axes
    alone, none, gap = ax.images
    x, y = np.meshgrid(AXIS, AXIS)
    shown, chosen = np.ma.filled(gap.get_array(), np.nan), inside()
    np.testing.assert_allclose(shown[chosen], ((3 + y - 1 - x) / 2)[chosen], rtol=1e-12)
    for image in (alone, none):
        assert np.isnan(np.ma.filled(image.get_array(), np.nan)).all()
    assert gap.get_clim()[0] == 0.0


def test_plot_yin_yang_time_differences_marks_where_fewer_than_two_fire():
    def first_times(values):
        x, y = values.T
        return {"output": np.column_stack((np.where(x < 0.5, 1.0, INF), np.where(y < 0.5, 2.0, INF)))}

    ax, _ = plot_yin_yang_time_differences(first_times, n_grid=N_GRID).axes
    x, y = np.meshgrid(AXIS, AXIS)
    chosen = inside()
    wanted = (x < 0.5) != (y < 0.5), (x > 0.5) & (y > 0.5), (x < 0.5) & (y < 0.5)
    for image, where in zip(ax.images, wanted, strict=True):
        drawn = ~np.isnan(np.ma.filled(image.get_array(), np.nan))
        np.testing.assert_array_equal(drawn[chosen], where[chosen])
    assert ax.get_title() == "one output fires (grey) in 50 %, none (red) in 25 %"


def test_plot_yin_yang_time_differences_needs_two_outputs():
    with pytest.raises(ValidationError, match="name: 'hidden' has one neuron, a difference needs two"):
        plot_yin_yang_time_differences(lambda values: {"hidden": values[:, :1]}, name="hidden", n_grid=4)
