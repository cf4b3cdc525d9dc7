"""Results of a sweep against one of its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.plotting.style import (
    BLUE,
    CLASS_COLORS,
    SMALL_SIZE,
    TICK_SIZE,
    class_color,
    finish,
    new_figure,
    note,
    style_axes,
)

__all__ = ["MAX_PANELS", "plot_sweep"]

_LOG_FROM = 20.0  # largest over smallest value from which the axis is logarithmic
_MAX_TICKS = 8  # numbers up to which every value gets a tick of its own
MAX_PANELS = 6
_PER_ROW = 3


def plot_sweep(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    *,
    lines: str | None = None,
    panels: str | None = None,
    column: str = "test_accuracy",
    names: Mapping[str, str] | None = None,
    connect: bool = True,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Mean and spread of a result against a parameter: lines for the values of a second one, axes for a third.

    Parameters
    ----------
    rows : sequence of mappings, one per run
        With the parameters and the result; a result that is None or NaN is left out, and said to be missing.
    x : str
        The parameter along the axis. Numbers are placed by their value, on a logarithmic axis where they are positive
        and span a factor of 20; anything else is placed in the order in which it comes.
    lines, panels : str, optional
        Parameters with a line and with axes for each value (at most six axes).
    column : str
        The result. A name that ends in "accuracy" (0 .. 1) is shown in percent.
    names : mapping, optional
        What to call the parameters in the picture; default their own names.
    connect : bool
        Draw lines between the means where `x` has numbers; not for seeds, between which there is nothing.
    title, path : optional

    Returns
    -------
    Figure
        A point per run, pale; the mean over all runs that share the values of the parameters shown, with its standard
        deviation (n - 1) as a bar where there are two or more.

    Raises
    ------
    ValidationError
        No rows, a parameter or result that a row lacks, a result that is no number, too many axes.

    Examples
    --------
    >>> rows = [{"size": n, "seed": s, "test_accuracy": 0.9 + n / 1000 + s / 100} for n in (10, 30) for s in (0, 1)]
    >>> figure = plot_sweep(rows, "size")
    >>> figure.axes[0].get_xlabel()
    'size'
    """
    where = "plot_sweep"
    shown = [name for name in (x, lines, panels) if name is not None]
    if len(rows) == 0:
        raise ValidationError(f"{where}.rows: needs at least one run")
    if len(set(shown)) < len(shown):
        raise ValidationError(f"{where}: x, lines and panels must be different parameters, got {', '.join(shown)}")
    for name in (*shown, column):
        lacking = next((k for k, row in enumerate(rows) if name not in row), None)
        if lacking is not None:
            raise ValidationError(f"{where}.rows[{lacking}]: has no {name!r}; there are {', '.join(rows[lacking])}")
    names = names or {}
    results = _results(where, rows, column)
    panel_values = _distinct(rows, panels)
    if len(panel_values) > MAX_PANELS:
        raise ValidationError(
            f"{where}.panels: {panels} has {len(panel_values)} values, at most {MAX_PANELS} are drawn"
        )

    scale = _Scale(_distinct(rows, x))
    scale.connect &= connect
    line_values = _distinct(rows, lines)
    if _are_numbers(line_values):
        line_values.sort()
    colors = _colors(len(line_values))
    n_columns = min(len(panel_values), _PER_ROW)
    n_rows = math.ceil(len(panel_values) / n_columns)
    legend_width = 1.9 if lines is not None else 0.0
    figure = new_figure(5.4 + 3.4 * (n_columns - 1) + legend_width, 0.5 + 3.6 * n_rows, title)
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(panel_values) :]:
        ax.set_visible(False)
    for ax, panel in zip(axes.flat, panel_values, strict=False):
        inside = np.array([panels is None or _key(row[panels]) == _key(panel) for row in rows])
        style_axes(ax, x=names.get(x, x), y=_label(column) if ax.get_subplotspec().is_first_col() else None, grid=True)
        if panels is not None:
            ax.set_title(f"{names.get(panels, panels)} = {_text(panel)}", fontsize=TICK_SIZE)
        for k, value in enumerate(line_values):
            chosen = inside & np.array([lines is None or _key(row[lines]) == _key(value) for row in rows])
            _draw_line(ax, scale, rows, x, results, chosen, colors[k], _shift(k, len(line_values)), _text(value))
        scale.set_ticks(ax)
        if not np.isfinite(results[inside]).any():
            note(ax, "no finished run")
    if lines is not None:
        handles, texts = axes.flat[0].get_legend_handles_labels()
        figure.legend(
            handles, texts, title=names.get(lines, lines), loc="outside right upper", fontsize=SMALL_SIZE,
            title_fontsize=SMALL_SIZE, frameon=False,
        )  # fmt: skip
    n_missing = int((~np.isfinite(results)).sum())
    if n_missing:
        text = f"{n_missing} of {len(rows)} runs have no {column}"
        figure.supxlabel(text, fontsize=SMALL_SIZE, color="#8a8f98")
    return finish(figure, path)


def _draw_line(
    ax: Axes, scale: _Scale, rows: Sequence[Mapping[str, Any]], x: str, results: NDArray[np.float64],
    chosen: NDArray[np.bool_], color: Any, shift: float, label: str,
) -> None:  # fmt: skip
    """Runs, means and spread of one value of the lines' parameter."""
    places, means, spreads = [], [], []
    for value in scale.values:
        here = chosen & np.array([_key(row[x]) == _key(value) for row in rows]) & np.isfinite(results)
        own = results[here]
        if own.size == 0:
            continue
        place = scale.place(value, shift)
        if own.size > 1:
            ax.plot([place] * own.size, own, "o", color=color, alpha=0.35, markersize=3, markeredgewidth=0)
        places.append(place)
        means.append(own.mean())
        spreads.append(own.std(ddof=1) if own.size > 1 else 0.0)
    style = "-" if scale.connect else "none"
    ax.errorbar(
        places, means, yerr=spreads if any(spreads) else None, color=color, linestyle=style, linewidth=1.5, marker="o",
        markersize=5, capsize=3, elinewidth=1.0, label=label,
    )  # fmt: skip


class _Scale:
    """Where the values of a parameter lie on the axis."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.is_numeric = self.connect = _are_numbers(values)
        self.values = sorted(values) if self.is_numeric else list(values)
        self.is_log = self.is_numeric and self.values[0] > 0 and self.values[-1] >= _LOG_FROM * self.values[0]
        span = 1.0
        if self.is_numeric and len(self.values) > 1:
            places = np.log10(self.values) if self.is_log else np.asarray(self.values, dtype=np.float64)
            span = min(float(np.diff(places).min()), float(places[-1] - places[0]) / 8)
        self.span = span  # the least distance of two values, not more than 1/8 of all, in the axis' own measure

    def place(self, value: Any, shift: float) -> float:
        """Position of a value; `shift`, a part of the least distance, keeps the bars of several lines apart."""
        if self.is_log:
            return float(value * 10 ** (shift * self.span))
        base = float(value) if self.is_numeric else float([_key(v) for v in self.values].index(_key(value)))
        return base + shift * self.span

    def set_ticks(self, ax: Axes) -> None:
        """A tick per value where they are few."""
        if self.is_log:
            ax.set_xscale("log")
        if not self.is_numeric:
            texts = [_text(value) for value in self.values]
            slanted = max(map(len, texts)) * len(texts) > 45
            ax.set_xticks(
                range(len(texts)), labels=texts, rotation=30 if slanted else 0, ha="right" if slanted else "center",
                rotation_mode="anchor" if slanted else None, fontsize=TICK_SIZE,
            )  # fmt: skip
            ax.set_xlim(-0.5, len(texts) - 0.5)
        elif len(self.values) <= _MAX_TICKS:
            ax.xaxis.set_major_locator(FixedLocator([float(value) for value in self.values]))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if self.is_log:
            ax.xaxis.set_minor_formatter(NullFormatter())
        if self.is_numeric and len(self.values) == 1:
            centre = float(self.values[0])
            ax.set_xlim(centre - 1, centre + 1)
        ax.tick_params(labelbottom=True)  # axes that share x have labels in the last row alone, which may be short


def _results(where: str, rows: Sequence[Mapping[str, Any]], column: str) -> NDArray[np.float64]:
    """The results as drawn; NaN where there is none."""
    results = np.full(len(rows), np.nan)
    for k, row in enumerate(rows):
        value = row[column]
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise ValidationError(f"{where}.rows[{k}].{column}: must be a number or None, got {value!r}")
        results[k] = value
    return 100.0 * results if column.endswith("accuracy") else results


def _label(column: str) -> str:
    text = column.replace("_", " ")
    return f"{text} [%]" if column.endswith("accuracy") else f"{text} [s]" if column == "seconds" else text


def _distinct(rows: Sequence[Mapping[str, Any]], name: str | None) -> list[Any]:
    """Values of a parameter in the order in which they come; of None a single one."""
    if name is None:
        return [None]
    return list({_key(row[name]): row[name] for row in rows}.values())


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _key(value: Any) -> str:
    """Something to compare by: values may be lists."""
    return repr(value)


def _text(value: Any) -> str:
    """A value in a few characters; of a mapping with a name the name first, bare."""
    if isinstance(value, Mapping):
        rest = [f"{key}={_text(inner)}" for key, inner in value.items() if key != "name"]
        text = ", ".join([str(value["name"]), *rest] if "name" in value else rest)
    else:
        text = "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 28 else text[:25] + "..."


def _colors(n_lines: int) -> list[Any]:
    """The palette of the house, or shades in order where there are more lines than it has colours."""
    if n_lines == 1:
        return [BLUE]
    if n_lines <= len(CLASS_COLORS):
        return [class_color(k) for k in range(n_lines)]
    return list(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.92, n_lines)))


def _shift(k: int, n_lines: int) -> float:
    """Sideways shift of a line, as a part of the distance of two values."""
    return 0.0 if n_lines == 1 else 0.24 * (k / (n_lines - 1) - 0.5)
