from __future__ import annotations

import math

import numpy as np
import pytest

from eventsnn import Arctan, Boxcar, CustomSurrogate, Sigmoid, Triangular, ValidationError
from eventsnn.plotting import plot_surrogates
from eventsnn.surrogates.lookup import SURROGATES


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_plot_surrogates_shows_every_value():
    chosen = [Triangular(), Arctan(alpha=3.0)]
    (ax,) = plot_surrogates(chosen, x_range=(-2.0, 3.0)).axes
    for surrogate, line in zip(chosen, ax.get_lines(), strict=False):
        np.testing.assert_array_equal(line.get_ydata(), surrogate.derivative(line.get_xdata()))
        assert (line.get_xdata().min(), line.get_xdata().max()) == (-2.0, 3.0)
    assert labels(ax) == ["triangular, largest 0.3\nheight 0.3, width 1", "arctan, largest 1.5\nalpha 3"]
    assert ax.get_xlim() == (-2.0, 3.0)


def test_plot_surrogates_has_all_of_the_library_by_default():
    (ax,) = plot_surrogates().axes
    assert [label.split(",")[0].replace(" ", "_") for label in labels(ax)] == list(SURROGATES)


def test_plot_surrogates_draws_jumps_upright():
    (ax,) = plot_surrogates([Boxcar(width=0.3)]).axes
    x, y = ax.get_lines()[0].get_data()
    (jumps,) = np.nonzero(np.diff(y))
    assert x[jumps] == pytest.approx([-0.15, 0.15], rel=1e-15)
    assert x[jumps + 1] == pytest.approx([-0.15, 0.15], rel=1e-15)


def test_plot_surrogates_relative_has_the_largest_value_one():
    (ax,) = plot_surrogates([Sigmoid(), Triangular()], relative=True).axes
    assert [line.get_ydata().max() for line in ax.get_lines()[:2]] == [1.0, 1.0]
    assert labels(ax)[0] == "sigmoid, largest 6.25\nslope 25"
    assert "largest" in ax.get_ylabel()


def test_plot_surrogates_relative_of_nothing_but_zeros():
    (ax,) = plot_surrogates([Boxcar(width=0.1)], x_range=(1.0, 2.0), relative=True).axes
    assert not ax.get_lines()[0].get_ydata().any()


def test_plot_surrogates_of_a_function():
    (ax,) = plot_surrogates([CustomSurrogate(lambda x: 0.5, (-1.0, 1.0), name="half")]).axes
    assert labels(ax) == ["half, largest 0.5"]


@pytest.mark.parametrize(
    ("surrogates", "options", "message"),
    [
        ([], {}, r"plot_surrogates\.surrogates: needs at least one"),
        ([Arctan(), "boxcar"], {}, r"plot_surrogates\.surrogates\[1\]: must be a surrogate, got 'boxcar'"),
        (
            None,
            {"x_range": (1.0, 1.0)},
            r"\.x_range: must be finite with low < high, got \(1\.0, 1\.0\)",
        ),
        (None, {"x_range": (0.0, math.inf)}, "must be finite"),
        (None, {"x_range": (math.nan, 0.0)}, "must be finite"),
    ],
)
def test_plot_surrogates_refuses(surrogates, options, message):
    with pytest.raises(ValidationError, match=message):
        plot_surrogates(surrogates, **options)
