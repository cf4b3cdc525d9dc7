import numpy as np
import pytest

from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_sweep


def rows(**parameters):
    """Every combination of the parameters; the accuracy is 0.5 + size / 1000 + seed / 100."""
    combinations = [{}]
    for name, values in parameters.items():
        combinations = [{**row, name: value} for row in combinations for value in values]
    return [
        {**row, "test_accuracy": 0.5 + row.get("size", 0) / 1000 + row.get("seed", 0) / 100} for row in combinations
    ]


def means(container):
    return container.lines[0].get_xydata()


def half_lengths(container):
    (bars,) = container.lines[2]
    return [np.diff(segment[:, 1])[0] / 2 for segment in bars.get_segments()]


def test_plot_sweep_shows_mean_and_spread_over_what_is_not_shown():
    (ax,) = plot_sweep(rows(size=[30, 10], seed=[0, 1, 5]), "size").axes
    (container,) = ax.containers
    np.testing.assert_allclose(means(container), [[10, 53.0], [30, 55.0]])  # percent, in the order of the sizes
    np.testing.assert_allclose(half_lengths(container), np.std([0, 1, 5], ddof=1))
    runs = np.concatenate([line.get_xydata() for line in ax.lines if line.get_alpha() == 0.35])
    assert sorted(map(tuple, runs.round(9))) == [(10, 51), (10, 52), (10, 56), (30, 53), (30, 54), (30, 58)]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("size", "test accuracy [%]")


def test_plot_sweep_has_lines_and_axes_for_two_more_parameters():
    data = rows(size=[10, 20], kind=["axonal", "synaptic"], loss=[{"name": "mse", "t": 1.5}, {"name": "ttfs"}])
    figure = plot_sweep(data, "size", lines="loss", panels="kind", names={"kind": "layers.0.kind"})
    axes = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in axes] == ["layers.0.kind = axonal", "layers.0.kind = synaptic"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["mse, t=1.5", "ttfs"]
    assert legend.get_title().get_text() == "loss"
    assert all(len(ax.containers) == 2 for ax in axes)
    assert means(axes[0].containers[0])[0, 0] < 10 < means(axes[0].containers[1])[0, 0]  # beside each other


def test_plot_sweep_sorts_numbers_of_lines():
    figure = plot_sweep(rows(kind=["a", "b"], size=[30, 5, 10]), "kind", lines="size")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["5", "10", "30"]


@pytest.mark.parametrize(
    ("values", "scale", "places", "connected"),
    [
        ([1e-4, 1e-2, 1e-3], "log", [1e-4, 1e-3, 1e-2], True),
        ([0, 1, 100], "linear", [0, 1, 100], True),
        (["b", "a", None], "linear", [0, 1, 2], False),
        ([True, False], "linear", [0, 1], False),
        ([[10], [10, 10]], "linear", [0, 1], False),
        ([7], "linear", [7], True),
    ],
)
def test_plot_sweep_places_values(values, scale, places, connected):
    (ax,) = plot_sweep(rows(x=values), "x").axes
    assert ax.get_xscale() == scale
    (container,) = ax.containers
    np.testing.assert_allclose(means(container)[:, 0], places)
    assert (container.lines[0].get_linestyle() == "-") == connected
    low, high = ax.get_xlim()
    assert low < min(places) <= max(places) < high


def test_plot_sweep_does_not_connect_seeds():
    (ax,) = plot_sweep(rows(seed=[0, 1, 2]), "seed", connect=False).axes
    assert ax.containers[0].lines[0].get_linestyle() == "None"


def test_plot_sweep_says_what_is_missing():
    data = rows(size=[10, 20], seed=[0, 1])
    data[0]["test_accuracy"], data[3]["test_accuracy"] = None, float("nan")
    figure = plot_sweep(data, "size")
    np.testing.assert_allclose(means(figure.axes[0].containers[0]), [[10, 52], [20, 52]])
    assert figure.get_supxlabel() == "2 of 4 runs have no test_accuracy"
    for row in data:
        row["test_accuracy"] = None
    (ax,) = plot_sweep(data, "size").axes
    assert [text.get_text() for text in ax.texts] == ["no finished run"]


def test_plot_sweep_has_a_colour_for_each_of_many_lines():
    figure = plot_sweep(rows(x=[1, 2], size=list(range(14))), "x", lines="size")
    colors = {tuple(container.lines[0].get_color()) for container in figure.axes[0].containers}
    assert len(colors) == 14


def test_plot_sweep_writes_the_picture(tmp_path):
    plot_sweep(rows(size=[1, 2]), "size", column="test_accuracy", title="a sweep", path=tmp_path / "plots" / "a.png")
    assert (tmp_path / "plots" / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], "size"), "rows: needs at least one run"),
        ((rows(size=[1]), "site"), r"rows\[0\]: has no 'site'; there are size, test_accuracy"),
        ((rows(size=[1]), "size", "size"), "must be different parameters"),
        ((rows(size=[1], seed=range(7)), "size", None, "seed"), "seed has 7 values, at most 6 are drawn"),
        (([{"size": 1, "test_accuracy": "high"}], "size"), r"rows\[0\].test_accuracy: must be a number or None"),
    ],
)
def test_plot_sweep_refuses(arguments, message):
    data, x, *others = arguments
    with pytest.raises(ValidationError, match=message):
        plot_sweep(data, x, **dict(zip(("lines", "panels"), others, strict=False)))
