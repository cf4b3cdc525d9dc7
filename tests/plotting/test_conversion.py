from __future__ import annotations

import numpy as np
import pytest

from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_accuracy_over_time, plot_activations, plot_layer_rates


def legend(figure):
    (own,) = figure.legends
    return [text.get_text() for text in own.get_texts()]


def solid(ax):
    return [line for line in ax.get_lines() if line.get_linestyle() == "-"]


def test_plot_accuracy_over_time_draws_a_line_per_scale_and_the_ann():
    accuracy = [[0.5, 0.75, 0.96, 0.97], [0.25, 0.9, 0.98, 0.99]]
    figure = plot_accuracy_over_time(accuracy, 0.98, scales=(0.6, 1.0), title="mnist_mlp")
    above, lacking = figure.axes
    for ax in (above, lacking):
        assert ax.get_xscale() == "log"
        assert ax.xaxis.get_transform().base == 2
        assert [t for t in ax.get_xticks() if t <= 4] == [1, 2, 4]
    for k, line in enumerate(solid(above)):
        np.testing.assert_allclose(line.get_ydata(), 100 * np.array(accuracy[k]), rtol=1e-15)
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    # a difference of numbers near 1, in percent
    np.testing.assert_allclose(solid(lacking)[1].get_ydata(), [73, 8, 0, -1], atol=1e-12)
    (dashed,) = [line for line in above.get_lines() if line.get_linestyle() == "--"]
    assert list(dashed.get_ydata()) == [98.0, 98.0]
    assert legend(figure) == [
        "scale 0.6: 97.00 % after 4, within 1 point from 4",
        "scale 1: 99.00 % after 4, within 1 point from 3",
        "ANN: 98.00 %",
    ]


def test_plot_accuracy_over_time_of_what_was_interrupted_leaves_a_gap():
    figure = plot_accuracy_over_time([[0.5, 0.9, np.nan], [np.nan] * 3], 0.95, scales=(1.0, 2.0))
    assert legend(figure)[:2] == ["scale 1: 90.00 % after 2", "scale 2: nothing"]


def test_plot_accuracy_over_time_of_one_step_and_one_line():
    above, _ = plot_accuracy_over_time([0.5], 0.5).axes
    assert solid(above)[0].get_marker() == "o"
    assert above.get_xlim()[0] < 1 < above.get_xlim()[1]


def test_plot_accuracy_over_time_ticks_the_last_step():
    above, _ = plot_accuracy_over_time(np.linspace(0, 1, 100), 1.0).axes
    assert list(above.get_xticks()) == [1, 2, 4, 8, 16, 32, 64, 100]


@pytest.mark.parametrize(
    ("accuracy", "ann", "scales", "message"),
    [
        ([97.0], 0.98, (1.0,), r"accuracy: must lie in 0 .. 1 \(a fraction"),
        ([0.97], 98.0, (1.0,), r"ann_accuracy: must lie in 0 .. 1 \(a fraction"),
        ([0.97], 0.98, (1.0, 2.0), "scales: one per line is needed, 1, got 2"),
        (np.zeros((1, 2, 3)), 0.98, (1.0,), r"accuracy: must have shape \(n_scales, n_steps\)"),
        (np.zeros((1, 0)), 0.98, (1.0,), r"accuracy: must have shape \(n_scales, n_steps\)"),
    ],
)
def test_plot_accuracy_over_time_rejects_bad_input(accuracy, ann, scales, message):
    with pytest.raises(ValidationError, match=f"plot_accuracy_over_time.{message}"):
        plot_accuracy_over_time(accuracy, ann, scales=scales)


def test_plot_layer_rates_shows_quartiles_mean_and_silent_neurons():
    rates = {"conv1": np.linspace(0.0, 0.4, 101), "linear1": np.r_[np.zeros(3), 0.2]}
    (ax,) = plot_layer_rates(rates).axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["conv1", "linear1"]
    texts = [text.get_text() for text in ax.texts]
    assert texts[:4] == ["0.200", "1 %", "0.050", "75 %"]
    ends = [path.get_path().get_extents() for path in ax.patches]
    assert (ends[0].y0, ends[0].y1) == pytest.approx((0.1, 0.3))


def test_plot_layer_rates_of_a_silent_layer():
    (ax,) = plot_layer_rates({"dead": np.zeros((2, 3))}).axes
    assert [text.get_text() for text in ax.texts][:2] == ["0.000", "100 %"]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({}, "needs at least one layer"),
        ({"a": []}, r"\['a'\]: must hold finite numbers"),
        ({"a": [np.nan]}, r"\['a'\]: must hold finite numbers"),
        ({"a": [3.0]}, r".rates\['a'\]: must lie in 0 .. 1, spikes per step"),
    ],
)
def test_plot_layer_rates_rejects_bad_input(rates, message):
    with pytest.raises(ValidationError, match=f"plot_layer_rates.*{message}"):
        plot_layer_rates(rates)


def test_plot_activations_draws_pairs_beside_the_diagonal():
    x, y = np.array([[0.0, 1.0], [2.0, 4.0]]), np.array([[0.0, 1.0], [2.0, 3.0]])
    ax, other = plot_activations({"a": y, "b": x}, {"a": x, "b": x}).axes
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), np.column_stack((x.ravel(), y.ravel())))
    (diagonal,) = ax.get_lines()
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert ax.get_aspect() == 1.0
    # sqrt(1/4) of sqrt(21/4); the correlation is that of NumPy
    r = np.corrcoef(x.ravel(), y.ravel())[0, 1]
    assert ax.get_title() == f"a: 22 %, r = {r:.3f}"
    assert other.get_title() == "b: 0 %, r = 1.000"


def test_plot_activations_of_many_pairs_is_a_density():
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(300, 1000)), 0.0)
    figure = plot_activations({"a": x + 0.1}, {"a": x})
    assert [ax.get_ylabel() for ax in figure.axes] == ["of the spikes", "pairs"]
    # thinned out to no more than the limit, and nothing of it lost
    assert figure.axes[0].collections[0].get_array().sum() == pytest.approx(200_000, abs=1)


def test_plot_activations_of_a_silent_layer_says_so():
    (ax,) = plot_activations({"a": np.zeros(5)}, {"a": np.zeros(5)}).axes
    assert ax.get_title() == "a: all silent"


@pytest.mark.parametrize(
    ("spiking", "activations", "message"),
    [
        ({}, {}, "needs at least one layer"),
        ({"a": [1.0]}, {"b": [1.0]}, "activations: must have the layers of spiking, 'a', got 'b'"),
        ({"a": [1.0]}, {"a": [1.0, 2.0]}, r"activations\['a'\]: must have the shape of spiking, \(1,\), got \(2,\)"),
        ({"a": [np.inf]}, {"a": [1.0]}, r"\['a'\]: must hold finite numbers"),
    ],
)
def test_plot_activations_rejects_bad_input(spiking, activations, message):
    with pytest.raises(ValidationError, match=f"plot_activations.*{message}"):
        plot_activations(spiking, activations)
