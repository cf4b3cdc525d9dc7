"""Yin-Yang: what the network does over the whole plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from numpy.typing import ArrayLike, NDArray

from eventsnn.decoding import decode_first_spike
from eventsnn.errors import ValidationError
from eventsnn.plotting.style import (
    DARK,
    LABEL_SIZE,
    LIGHT_GRAY,
    RED,
    SMALL_SIZE,
    TICK_SIZE,
    TimeUnit,
    check_class_names,
    check_first_times,
    check_labels,
    check_neurons,
    class_color,
    evenly_spaced,
    finish,
    image_grid,
    style_axes,
    time_unit,
)
from eventsnn.plotting.yin_yang_plane import R_BIG, FirstTimes, Plane, show

__all__ = [
    "plot_yin_yang_hidden_times",
    "plot_yin_yang_map",
    "plot_yin_yang_output_times",
    "plot_yin_yang_time_differences",
]

_NAMES = ("yin", "yang", "dot")


def plot_yin_yang_map(
    first_times: FirstTimes,
    values: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    name: str = "output",
    class_names: Sequence[str] = _NAMES,
    n_grid: int = 201,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Predicted class over the plane with the true borders, and the misclassified samples.

    Parameters
    ----------
    first_times : callable
        values (n, 2) -> dict of name -> (n, n_neurons), as from `yin_yang_first_times`.
    values : array_like, shape (n_samples, >= 2), optional
        Test points; the first two columns are x and y.
    labels : array_like of int, shape (n_samples,), optional
        Their true classes. Misclassified ones are drawn as dots in the colour of the true class.
    name : str
        Population that decides.
    class_names : sequence of str
    n_grid : int
        Points per side of the plane.
    title, path : optional

    Raises
    ------
    ValidationError
        Points without labels, shapes that do not fit, an unknown population, n_grid < 2.
    """
    where = "plot_yin_yang_map"
    plane = Plane(where, n_grid)
    times = _times_of(where, first_times, plane.points, name)
    names = check_class_names(f"{where}.class_names", class_names, times.shape[1])
    figure, (ax,), legend_axes = image_grid(
        1, 1, (4.4, 4.4), gaps=(0, 0), left=0.7, bottom=0.55, right=2.0, title=title or "classification map"
    )
    legend_axes.set_axis_off()
    # Pale fields, so that dots in the full colour of a class stand out on the field of another.
    colors: list[Any] = [LIGHT_GRAY, *(_pale(class_color(k)) for k in range(len(names)))]
    image = plane.image(decode_first_spike(times).astype(np.float64))
    show(ax, image, ListedColormap(colors), Normalize(-1.5, len(names) - 0.5))
    handles: list[Patch | Line2D] = [Patch(color=colors[k + 1], label=f"predicted {c}") for k, c in enumerate(names)]
    if np.isinf(times).all(axis=1).any():
        handles.append(Patch(color=LIGHT_GRAY, label="no output spike"))
    handles.append(Line2D([], [], color=DARK, linewidth=1.0, label="true borders"))
    result = None
    if values is not None or labels is not None:
        points, true = _test_points(where, values, labels, len(names))
        wrong = decode_first_spike(_times_of(where, first_times, points, name)) != true
        for k, class_name in enumerate(names):
            chosen = wrong & (true == k)
            if chosen.any():
                x, y = points[chosen].T
                dots = ax.scatter(x, y, s=26, color=class_color(k), edgecolors=DARK, linewidths=0.8, zorder=5)
                dots.set_label(f"wrong, truly {class_name} ({chosen.sum()})")
                handles.append(dots)  # type: ignore[arg-type]
        n = true.size
        result = f"test: {100 * (1 - wrong.sum() / max(n, 1)):.2f} % right, {wrong.sum()} of {n} wrong"
    style_axes(ax, title=result, x="x", y="y")
    legend_axes.legend(handles=handles, loc="center left", fontsize=SMALL_SIZE, frameon=False, borderaxespad=0.0)
    return finish(figure, path)


def plot_yin_yang_output_times(
    first_times: FirstTimes,
    tau_syn: float = 1.0,
    *,
    name: str = "output",
    class_names: Sequence[str] = _NAMES,
    n_grid: int = 201,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """First spike time of every output neuron over the plane; grey where it is silent.

    Parameters are those of `plot_yin_yang_map`; `tau_syn` is the unit of the colour scale.
    """
    where = "plot_yin_yang_output_times"
    plane = Plane(where, n_grid)
    times = _times_of(where, first_times, plane.points, name)
    names = check_class_names(f"{where}.class_names", class_names, times.shape[1])
    figure, axes, bar_axes = image_grid(
        len(names), len(names), (2.9, 2.9), gaps=(0.2, 0), left=0.65, bottom=0.55, right=1.15,
        title=title or "first spike of the output neurons (grey: silent)",
    )  # fmt: skip
    _time_maps(figure, axes, bar_axes, plane, times, names, time_unit(where, tau_syn))
    for ax in axes:
        style_axes(ax, x="x")
    for ax in axes[1:]:
        ax.tick_params(labelleft=False)
    style_axes(axes[0], y="y")
    return finish(figure, path)


def plot_yin_yang_hidden_times(
    first_times: FirstTimes,
    tau_syn: float = 1.0,
    neurons: ArrayLike | None = None,
    *,
    name: str = "hidden",
    n_grid: int = 201,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """First spike time of hidden neurons over the plane; grey where a neuron is silent.

    `neurons` defaults to 15, spread evenly over the population. The other parameters are those of
    `plot_yin_yang_output_times`.
    """
    where = "plot_yin_yang_hidden_times"
    plane = Plane(where, n_grid)
    times = _times_of(where, first_times, plane.points, name)
    chosen = evenly_spaced(times.shape[1], 15) if neurons is None else neurons
    chosen = check_neurons(f"{where}.neurons", chosen, times.shape[1])
    n_columns = min(5, max(3, chosen.size))
    figure, axes, bar_axes = image_grid(
        chosen.size, n_columns, (1.6, 1.6), gaps=(0.1, 0.27), left=0.35, bottom=0.35, right=1.15,
        title=title or f"first spike of {chosen.size} of {times.shape[1]} {name} neurons (grey: silent)",
    )  # fmt: skip
    chosen_times = times[:, chosen]
    silent = np.isinf(chosen_times).mean(axis=0)
    titles = [f"{k}" if s == 0 else f"{k} ({100 * s:.0f} % silent)" for k, s in zip(chosen, silent, strict=True)]
    _time_maps(figure, axes, bar_axes, plane, chosen_times, titles, time_unit(where, tau_syn))
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.title.set_fontsize(TICK_SIZE)
    first_of_last_row = axes[(chosen.size - 1) // n_columns * n_columns]
    style_axes(first_of_last_row, x="x", y="y")
    return finish(figure, path)


def plot_yin_yang_time_differences(
    first_times: FirstTimes,
    tau_syn: float = 1.0,
    *,
    name: str = "output",
    n_grid: int = 201,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """How long after the first output neuron the second one fires, over the plane: small where the decision is close.

    Parameters are those of `plot_yin_yang_output_times`.

    Returns
    -------
    Figure
        The colour scale ends at the 99th percentile. Grey: only one output neuron fires; red: none.
    """
    where = "plot_yin_yang_time_differences"
    plane = Plane(where, n_grid)
    unit = time_unit(where, tau_syn)
    times = np.sort(unit(_times_of(where, first_times, plane.points, name)), axis=1)
    if times.shape[1] < 2:
        raise ValidationError(f"{where}.name: {name!r} has one neuron, a difference needs two")
    first, second = times[:, 0], times[:, 1]
    alone = np.isfinite(first) & np.isinf(second)
    none = np.isinf(first)
    gap = np.full(first.size, np.nan)
    np.subtract(second, first, out=gap, where=np.isfinite(second))
    figure, (ax,), legend_axes = image_grid(
        1, 1, (4.4, 4.4), gaps=(0, 0), left=0.7, bottom=0.55, right=1.15,
        title=title or "second output spike - first output spike",
    )  # fmt: skip
    finite = gap[np.isfinite(gap)]
    high = float(np.percentile(finite, 99.0)) if finite.size else 1.0
    norm = Normalize(0.0, high or 1.0)
    for mask, color in ((alone, LIGHT_GRAY), (none, RED)):
        show(ax, plane.image(np.where(mask, 0.0, np.nan)), ListedColormap([color]), Normalize(-1.0, 1.0))
    show(ax, plane.image(gap), "viridis", norm)
    kinds = ((alone, "one output fires (grey)"), (none, "none (red)"))
    shares = [f"{what} in {100 * mask.mean():.2g} %" for mask, what in kinds if mask.any()]
    style_axes(ax, title=", ".join(shares), x="x", y="y")
    extend = "max" if finite.size and finite.max() > high else "neither"
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), cax=legend_axes, extend=extend)
    bar.set_label(unit.label("difference"), fontsize=LABEL_SIZE)
    bar.ax.tick_params(labelsize=TICK_SIZE)
    return finish(figure, path)


def _time_maps(
    figure: Figure, axes: Sequence[Axes], bar_axes: Axes, plane: Plane, times: NDArray[np.float64],
    titles: Sequence[str], unit: TimeUnit,
) -> None:  # fmt: skip
    """One map per column of `times` on a common colour scale that ends at the 1st and 99th percentile."""
    shown = unit(times)
    finite = shown[np.isfinite(shown)]
    low, high = np.percentile(finite, (1.0, 99.0)) if finite.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    norm = Normalize(low, high)
    above, below = bool((finite > high).any()), bool((finite < low).any())
    extend = {(True, True): "both", (True, False): "max", (False, True): "min", (False, False): "neither"}
    for ax, column, heading in zip(axes, shown.T, titles, strict=True):
        ax.add_patch(Circle((R_BIG, R_BIG), R_BIG, facecolor=LIGHT_GRAY, edgecolor="none", zorder=-1))
        show(ax, plane.image(np.where(np.isfinite(column), column, np.nan)), "viridis", norm)
        ax.set_title(heading, fontsize=LABEL_SIZE)
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), cax=bar_axes, extend=extend[above, below])
    bar.set_label(unit.label("first spike"), fontsize=LABEL_SIZE)
    bar.ax.tick_params(labelsize=TICK_SIZE)


def _times_of(where: str, first_times: FirstTimes, points: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    answer = first_times(points)
    if name not in answer:
        raise ValidationError(f"{where}.name: no population {name!r}; there are {', '.join(map(repr, answer))}")
    times = check_first_times(f"{where}.first_times", answer[name])
    if times.shape[0] != points.shape[0]:
        raise ValidationError(f"{where}.first_times: answered {times.shape[0]} rows to {points.shape[0]} points")
    return times


def _test_points(
    where: str, values: ArrayLike | None, labels: ArrayLike | None, n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if values is None or labels is None:
        raise ValidationError(f"{where}: values and labels must be given together")
    points = np.asarray(values, dtype=np.float64)
    true = check_labels(f"{where}.labels", labels, n_classes)
    if points.ndim != 2 or points.shape[1] < 2 or points.shape[0] != true.size:
        raise ValidationError(f"{where}.values: must have shape ({true.size}, >= 2), got {points.shape}")
    return np.ascontiguousarray(points[:, :2]), true


def _pale(color: str) -> tuple[float, float, float]:
    """The colour mixed with white."""
    rgb = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (0.45 * c + 0.55 for c in rgb)
    return red, green, blue
