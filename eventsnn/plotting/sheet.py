"""Finished pictures put together: two beside each other on common scales, many on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.plotting.style import DARK, DPI, LABEL_SIZE, SMALL_SIZE, TITLE_SIZE, finish

__all__ = ["plot_beside", "plot_sheet", "share_scales"]

#: pixels of a sheet at `DPI`: its width, the space between its pictures, the height of its heading
_WIDTH, _GAP, _LINE = 1800, 16, 22
#: resolution of pictures on a sheet: best one, largest one. Text of 8 points is legible from 70 on
_WANTED_DPI, _LARGEST_DPI = 90.0, 115.0


def plot_beside(
    left: Figure,
    right: Figure,
    headings: tuple[str, str] = ("untrained", "trained"),
    *,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Two pictures side by side under headings, pixel by pixel as they are.

    Parameters
    ----------
    left, right : Figure
        As the functions of this package return them; `share_scales` first gives both the same axes.
    headings : (str, str)
    title, path : optional

    Returns
    -------
    Figure
    """
    images = [_rendered(figure, DPI) for figure in (left, right)]
    head = _LINE * (2 if title else 1) + _GAP
    height = head + max(image.shape[0] for image in images)
    width = sum(image.shape[1] for image in images) + _GAP
    figure, x = _canvas(width, height), 0
    if title:
        figure.text(0.5, 1 - 0.5 * _LINE / height, title, ha="center", va="center", fontsize=TITLE_SIZE)
    for image, heading in zip(images, headings, strict=True):
        _place(figure, image, x, head)
        center, y = (x + image.shape[1] / 2) / width, 1 - (head - _GAP - 0.3 * _LINE) / height
        figure.text(center, y, heading, ha="center", va="center", fontsize=TITLE_SIZE, fontweight="bold", color=DARK)
        x += image.shape[1] + _GAP
    return finish(figure, path)


def share_scales(left: Figure, right: Figure) -> None:
    """Give two pictures of the same kind, of two networks, the same axes and colour scales, wide enough for both.

    Axes are paired in their order. Pictures with another number of axes stay as they are, and so do axes on which only
    one side is logarithmic, or whose ticks were placed one by one (names of classes, a band for silent neurons).
    """
    if len(left.axes) != len(right.axes):
        return
    for one, other in zip(left.axes, right.axes, strict=True):
        if _is_bar(one):
            continue
        for image, twin in zip(one.images, other.images, strict=False):
            norms: list[Any] = [image.norm, twin.norm]
            if all(type(norm) is Normalize for norm in norms):
                low, high = min(norm.vmin for norm in norms), max(norm.vmax for norm in norms)
                image.set_clim(low, high)
                twin.set_clim(low, high)
        if one.images or other.images:
            continue
        for axis in ("x", "y"):
            _share_limits(one, other, axis)


def _is_bar(ax: Axes) -> bool:
    """Whether it is the axes of a colour bar, which follow their image."""
    return getattr(ax, "_colorbar", None) is not None


def _share_limits(one: Axes, other: Axes, axis: str) -> None:
    pair = one, other
    if len({getattr(ax, f"get_{axis}scale")() for ax in pair}) > 1 or any(_names_ticks(ax, axis) for ax in pair):
        return
    limits = [getattr(ax, f"get_{axis}lim")() for ax in pair]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    for ax in pair:
        getattr(ax, f"set_{axis}lim")(low, high)


def _names_ticks(ax: Axes, axis: str) -> bool:
    """Whether the ticks were placed one by one, as those with words are."""
    return isinstance(getattr(ax, f"{axis}axis").get_major_locator(), FixedLocator)


def plot_sheet(
    figures: Sequence[Figure], title: str, lines: Sequence[str] = (), *, path: str | Path | None = None
) -> Figure:
    """Pictures in rows on one sheet, in their order, scaled so that every row is as wide as the sheet.

    Parameters
    ----------
    figures : sequence of Figure
        They are drawn anew at the resolution of their place, so that lines and letters stay sharp.
    title : str
    lines : sequence of str
        Facts below the title.
    path : optional

    Raises
    ------
    ValidationError
        No figures.
    """
    if not figures:
        raise ValidationError("plot_sheet.figures: needs at least one")
    rows = _rows([(figure.get_figwidth(), figure.get_figheight()) for figure in figures])
    head = round(1.6 * _LINE) + _LINE * len(lines) + _GAP
    height = head + sum(round(height) + _GAP for _, height in rows)
    sheet, y, k = _canvas(_WIDTH, height), head, 0
    sheet.text(0.5, 1 - 0.9 * _LINE / height, title, ha="center", va="center", fontsize=1.4 * TITLE_SIZE)
    for row, line in enumerate(lines):
        below = 1 - (1.6 + row + 0.5) * _LINE / height
        sheet.text(0.5, below, line, ha="center", va="center", fontsize=LABEL_SIZE if row == 0 else SMALL_SIZE)
    for count, row_height in rows:
        images = [_rendered(figure, row_height / figure.get_figheight()) for figure in figures[k : k + count]]
        x = max(0, (_WIDTH - sum(image.shape[1] for image in images) - _GAP * (count - 1)) // 2)
        for image in images:
            _place(sheet, image, x, y)
            x += image.shape[1] + _GAP
        y += round(row_height) + _GAP
        k += count
    return finish(sheet, path)


def _rows(sizes: Sequence[tuple[float, float]]) -> list[tuple[int, float]]:
    """Number of pictures and height in pixels of every row: of all ways to break the rows, the most legible one.

    Measured by the squared logarithm of every picture's resolution over that wanted, summed; found by dynamic
    programming over where the last row begins.
    """
    best: list[tuple[float, list[tuple[int, float]]]] = [(0.0, [])]
    for end in range(1, len(sizes) + 1):
        choices = []
        for start in range(end):
            row = sizes[start:end]
            room = _WIDTH - _GAP * (len(row) - 1)
            height = min(room / sum(w / h for w, h in row), _LARGEST_DPI * min(h for _, h in row))
            cost = sum(math.log(height / h / _WANTED_DPI) ** 2 for _, h in row)
            # What a row leaves empty counts a little, or every picture would have a row of its own.
            empty = 1 - sum(w / h for w, h in row) * height / room
            choices.append((best[start][0] + cost + 0.3 * empty, [*best[start][1], (len(row), height)]))
        best.append(min(choices, key=lambda choice: choice[0]))
    return best[-1][1]


def _rendered(figure: Figure, dpi: float) -> NDArray[np.uint8]:
    """The picture in RGBA; the figure keeps its own resolution."""
    own = figure.dpi
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    try:
        figure.set_dpi(dpi)
        canvas.draw()  # type: ignore[no-untyped-call]
        return np.array(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    finally:
        figure.set_dpi(own)


def _canvas(width: int, height: int) -> Figure:
    """An empty figure of that many pixels."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _place(figure: Figure, image: NDArray[np.uint8], x: int, y: int) -> None:
    """Put an image x pixels from the left and y from the top."""
    height = round(figure.get_figheight() * DPI)
    figure.figimage(image, x, height - y - image.shape[0], origin="upper")
