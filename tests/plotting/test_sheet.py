from __future__ import annotations

import numpy as np
import pytest

from eventsnn.errors import ValidationError
from eventsnn.plotting import plot_beside, plot_sheet, plot_weight_histograms, plot_weight_matrices
from eventsnn.plotting.sheet import _rows, share_scales
from eventsnn.plotting.style import DPI, new_figure
from tests.plotting.fake import make_network


def pixels(figure):
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())


def colored(width, height, color):
    figure = new_figure(width, height)
    figure.patch.set_facecolor(color)
    return figure


def test_plot_beside_keeps_both_pictures_pixel_by_pixel():
    left, right = plot_weight_histograms(make_network([4, 6, 2])), colored(2.0, 5.0, "red")
    both = pixels(plot_beside(left, right, ("before", "after"), title="weights"))
    one, other = pixels(left), pixels(right)
    top = both.shape[0] - other.shape[0]  # the taller one ends at the bottom
    np.testing.assert_array_equal(both[top : top + one.shape[0], : one.shape[1]], one)
    np.testing.assert_array_equal(both[top:, -other.shape[1] :], other)


def test_share_scales_gives_both_the_wider_limits():
    left = plot_weight_matrices(make_network([5, 12, 3], mean=[2.0, -1.0]))
    right = plot_weight_matrices(make_network([5, 12, 3], mean=[0.1, -9.0], std=[0.1, 0.1]))
    wanted = [max(abs(side.axes[k].images[0].norm.vmax) for side in (left, right)) for k in (0, 1)]
    share_scales(left, right)
    for side in (left, right):
        assert [side.axes[k].images[0].get_clim() for k in (0, 1)] == [(-limit, limit) for limit in wanted]


def test_share_scales_widens_axes_and_leaves_named_ticks_and_other_scales_alone():
    figures = []
    for factor in (1.0, 10.0):
        figure = new_figure(4, 3)
        plain, log, named = figure.subplots(1, 3)
        plain.plot([0, factor], [-factor, 1])
        log.plot([1, factor + 1], [1, 2])
        log.set_xscale("log" if factor > 1 else "linear")
        named.plot([0, factor], [0, factor])
        named.set_yticks([0.0, 1.0], labels=["a", "b"])
        figures.append(figure)
    before = [[ax.get_xlim() + ax.get_ylim() for ax in figure.axes] for figure in figures]
    share_scales(*figures)
    for k, figure in enumerate(figures):
        plain, log, named = figure.axes
        assert (*plain.get_xlim(), *plain.get_ylim()) == pytest.approx((-0.5, 10.5, -10.55, 1.55))
        assert log.get_xlim() == before[k][1][:2]
        assert named.get_ylim() == before[k][2][2:]
        assert named.get_xlim() == plain.get_xlim()


def test_share_scales_leaves_pictures_of_different_kinds_alone():
    left, right = plot_weight_histograms(make_network([4, 6, 2])), plot_weight_histograms(make_network([4, 2]))
    before = left.axes[0].get_xlim()
    share_scales(left, right)
    assert left.axes[0].get_xlim() == before


def test_plot_sheet_shows_every_picture_in_order_and_fills_its_rows():
    colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250)]
    sizes = [(9.0, 3.9), (5.2, 4.1), (9.9, 4.2), (7.5, 6.6), (7.5, 5.3)]
    figures = [colored(*size, [c / 255 for c in color]) for size, color in zip(sizes, colors, strict=True)]
    image = pixels(plot_sheet(figures, "run", ["facts", "more facts"]))[..., :3]
    centers = []
    for (width, height), color in zip(sizes, colors, strict=True):
        y, x = np.nonzero((image == color).all(axis=-1))
        # Rounding to whole pixels moves each of the two ends by half a pixel, in each direction.
        assert np.ptp(x) / np.ptp(y) == pytest.approx(width / height, rel=0.01)
        assert y.size == (np.ptp(x) + 1) * (np.ptp(y) + 1)  # nothing covers it
        centers.append((y.mean(), x.mean()))
    assert centers == sorted(centers, key=lambda center: (round(center[0] / 100), center[1]))
    assert all(figure.dpi == DPI for figure in figures)  # they keep their own resolution


def test_rows_prefer_legible_pictures():
    assert [count for count, _ in _rows([(9.0, 4.0)] * 4)] == [2, 2]
    assert [count for count, _ in _rows([(5.0, 5.0)])] == [1]
    ((_, height),) = _rows([(5.0, 5.0)])
    assert height <= 5.0 * 115  # a single picture is not blown up to the width of the sheet


def test_plot_sheet_rejects_nothing():
    with pytest.raises(ValidationError, match="plot_sheet.figures: needs at least one"):
        plot_sheet([], "run")
