"""A converted network beside the network it was made from: accuracy over the steps, firing rates, activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import ArrayLike, NDArray

from eventsnn._names import listed
from eventsnn._validation import float_array, number
from eventsnn.errors import ValidationError
from eventsnn.plotting.style import (
    BLUE,
    CLASS_COLORS,
    DARK,
    GRAY,
    LIGHT_GRAY,
    ORANGE,
    SMALL_SIZE,
    TICK_SIZE,
    class_color,
    evenly_spaced,
    finish,
    new_figure,
    style_axes,
)

__all__ = ["plot_accuracy_over_time", "plot_activations", "plot_layer_rates"]

_MOST_POINTS = 200_000  # of a scatter: more are thinned out evenly
_LINEAR_POINTS = 0.1  # percentage points about zero on a linear axis
_FEW_POINTS = 2_000  # up to here every point is a dot; beyond, the density is drawn


def plot_accuracy_over_time(
    accuracy: ArrayLike,
    ann_accuracy: float,
    *,
    scales: Sequence[float] = (1.0,),
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Accuracy of a converted network after every step, a line per threshold scale, with that of the ANN.

    Parameters
    ----------
    accuracy : shape (n_scales, n_steps) or (n_steps,), each 0 .. 1; NaN leaves a gap
    ann_accuracy : accuracy of the ANN on the same images, 0 .. 1
    scales : what all thresholds are multiplied by, one per line
    title : str, optional
    path : path, optional
        Also write the picture there, atomically.

    Returns
    -------
    Figure
        Two axes over the steps (binary logarithm): the accuracy in percent, and what it lacks to the ANN's, in
        percentage points (logarithmic, linear within 0.1 of zero). The legend gives each line's accuracy after the last
        step, and the first step from which on it lacks at most one point.

    Raises
    ------
    ValidationError
        Accuracies of another shape or outside 0 .. 1, not one scale per line.
    """
    where = "plot_accuracy_over_time"
    lines = np.atleast_2d(float_array(f"{where}.accuracy", accuracy))
    if lines.ndim != 2 or 0 in lines.shape:
        raise ValidationError(f"{where}.accuracy: must have shape (n_scales, n_steps), got {np.shape(accuracy)}")
    if ((lines < 0) | (lines > 1) | np.isinf(lines)).any():
        raise ValidationError(f"{where}.accuracy: must lie in 0 .. 1 (a fraction, not %), or be NaN")
    ann = number(f"{where}.ann_accuracy", ann_accuracy, at_least=0.0)
    if ann > 1:
        raise ValidationError(f"{where}.ann_accuracy: must lie in 0 .. 1 (a fraction, not %), got {ann:g}")
    if len(scales) != len(lines):
        raise ValidationError(f"{where}.scales: one per line is needed, {len(lines)}, got {len(scales)}")
    steps = np.arange(1, lines.shape[1] + 1)
    figure = new_figure(9.0, 4.3, title)
    above, lacking = figure.subplots(1, 2)
    for line, scale, color in zip(lines, scales, _colors(len(lines)), strict=True):
        marker = "o" if steps.size <= 16 else ""
        label = f"scale {scale:g}: {_last(line)}{_within(line, ann)}"
        above.plot(steps, 100 * line, color=color, linewidth=1.5, marker=marker, markersize=3.5, label=label)
        lacking.plot(steps, 100 * (ann - line), color=color, linewidth=1.5, marker=marker, markersize=3.5)
    above.axhline(100 * ann, color=DARK, linewidth=1.0, linestyle="--", label=f"ANN: {100 * ann:.2f} %")
    style_axes(above, x="steps", y="accuracy [%]", grid=True)
    style_axes(lacking, x="steps", y="below the ANN [percentage points]", grid=True)
    known = lines[np.isfinite(lines)]
    lowest = 100 * min(known.min(initial=1.0), ann)
    above.set_ylim(max(-2.0, lowest - 5.0), min(102.0, 100 * max(known.max(initial=0.0), ann) + 4.0))
    for ax in (above, lacking):
        _step_axis(ax, steps.size)
    lacking.set_yscale("symlog", linthresh=_LINEAR_POINTS, linscale=0.5)
    lacking.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lacking.axhline(0.0, color=DARK, linewidth=1.0, linestyle="--")
    lacking.axhline(1.0, color=GRAY, linewidth=1.0, linestyle=":")
    figure.legend(loc="outside lower center", ncols=2, fontsize=SMALL_SIZE, frameon=False)
    return finish(figure, path)


def plot_layer_rates(
    rates: Mapping[str, ArrayLike], *, title: str | None = None, path: str | Path | None = None
) -> Figure:
    """How often the neurons of each layer fire, in spikes per step.

    Parameters
    ----------
    rates : by name of a layer, the rate of each neuron, 0 .. 1, of any shape: its spikes over the steps, on average
        over the samples or of every sample
    title : str, optional
    path : path, optional
        Also write the picture there, atomically.

    Returns
    -------
    Figure
        For each layer a box from the lower to the upper quartile with whiskers to the 1st and 99th percentile, the
        median as a line and the mean as a diamond; above it the mean, below it the share of neurons that never fire.

    Raises
    ------
    ValidationError
        No layers, a layer without neurons, a rate outside 0 .. 1.
    """
    where = "plot_layer_rates"
    own = _by_layer(where, rates)
    for name, values in own.items():
        if (values < 0).any() or (values > 1).any():
            raise ValidationError(f"{where}.rates[{name!r}]: must lie in 0 .. 1, spikes per step")
    figure = new_figure(max(4.5, 1.6 + 0.75 * len(own)), 4.0, title)
    ax = figure.subplots()
    boxes = [
        {
            "med": np.median(values), "q1": np.quantile(values, 0.25), "q3": np.quantile(values, 0.75),
            "whislo": np.quantile(values, 0.01), "whishi": np.quantile(values, 0.99), "mean": values.mean(),
        }
        for values in own.values()
    ]  # fmt: skip
    diamond = {"marker": "D", "markerfacecolor": ORANGE, "markeredgecolor": ORANGE, "markersize": 5}
    ax.bxp(
        boxes, showfliers=False, showmeans=True, meanprops=diamond, patch_artist=True, widths=0.55,
        boxprops={"facecolor": LIGHT_GRAY, "edgecolor": BLUE}, medianprops={"color": BLUE, "linewidth": 1.6},
        whiskerprops={"color": BLUE}, capprops={"color": BLUE},
    )  # fmt: skip
    top = max(max(float(box["whishi"]), float(box["mean"])) for box in boxes)
    for k, (box, values) in enumerate(zip(boxes, own.values(), strict=True), start=1):
        height = max(float(box["whishi"]), float(box["mean"]))
        ax.annotate(
            f"{box['mean']:.3f}", (k, height), xytext=(0, 4), textcoords="offset points", ha="center",
            fontsize=SMALL_SIZE, color=DARK,
        )  # fmt: skip
        silent = f"{100 * np.mean(values == 0):.0f} %"
        ax.annotate(
            silent, (k, 0), xytext=(0, -4), textcoords="offset points", ha="center", va="top", fontsize=SMALL_SIZE,
            color=GRAY,
        )  # fmt: skip
    names = list(own)
    ax.set_xticks(range(1, len(names) + 1), names, rotation=30 if len(names) > 6 else 0)
    # room for the shares of silent neurons below zero
    ax.set_ylim(-0.1 * (top or 1.0), 1.15 * (top or 1.0))
    style_axes(ax, y="spikes per step", grid=True)
    ax.grid(False, axis="x")
    ax.text(
        0.01, 0.99, "diamond: mean (above: its value); gray: share that never fires", transform=ax.transAxes, va="top",
        fontsize=SMALL_SIZE, color=GRAY,
    )  # fmt: skip
    return finish(figure, path)


def plot_activations(
    spiking: Mapping[str, ArrayLike],
    activations: Mapping[str, ArrayLike],
    *,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """What the spikes of each layer stand for, against the activation of the same neuron in the ANN.

    Parameters
    ----------
    spiking : by name of a layer, spikes per step times the layer's scale, of any shape; of the readout its potential
        over the number of steps
    activations : likewise, the ANN's, of the same shapes
    title : str, optional
    path : path, optional
        Also write the picture there, atomically.

    Returns
    -------
    Figure
        One square axes per layer with the diagonal; dots where there are few pairs, else their density (logarithmic).
        Above it the root mean square difference in percent of that of the activations, and the correlation.

    Raises
    ------
    ValidationError
        Other names or shapes on one side, no layers, values that are not finite.
    """
    where = "plot_activations"
    if list(spiking) != list(activations):
        raise ValidationError(
            f"{where}.activations: must have the layers of spiking, {listed(spiking)}, got {listed(activations)}"
        )
    found, wanted = _by_layer(where, spiking), _by_layer(where, activations)
    for name in found:
        if np.shape(spiking[name]) != np.shape(activations[name]):
            raise ValidationError(
                f"{where}.activations[{name!r}]: must have the shape of spiking, {np.shape(spiking[name])}, got "
                f"{np.shape(activations[name])}"
            )
    n_columns = min(len(found), 4)
    n_rows = -(-len(found) // n_columns)
    figure = new_figure(2.9 * n_columns + 0.7, 3.1 * n_rows + 0.2, title)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    density = None
    for ax, name in zip(axes, found, strict=False):
        x, y = wanted[name], found[name]
        kept = evenly_spaced(x.size, _MOST_POINTS)
        low = float(min(x.min(), y.min(), 0.0))
        high = float(max(x.max(), y.max()))
        margin = 0.04 * (high - low or 1.0)
        ends = (low - margin, high + margin)
        if x.size <= _FEW_POINTS:
            ax.scatter(x, y, s=6, color=BLUE, alpha=0.5, linewidths=0)
        else:
            density = ax.hexbin(
                x[kept], y[kept], gridsize=60, extent=(*ends, *ends), norm=LogNorm(1, kept.size), cmap="viridis",
                mincnt=1, linewidths=0,
            )  # fmt: skip
        ax.plot(ends, ends, color=ORANGE, linewidth=1.0)
        ax.set_xlim(*ends)
        ax.set_ylim(*ends)
        ax.set_aspect("equal")
        style_axes(ax, title=f"{name}: {_agreement(x, y)}", x="activation of the ANN", y="of the spikes")
    for ax in axes[len(found) :]:
        ax.set_axis_off()
    if density is not None:
        bar = figure.colorbar(density, ax=list(axes), pad=0.01, aspect=40)
        bar.ax.tick_params(labelsize=TICK_SIZE)
        bar.set_label("pairs", fontsize=TICK_SIZE)
    return finish(figure, path)


def _agreement(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Root mean square difference relative to the activations, and correlation where both vary."""
    size = float(np.sqrt(np.mean(x**2)))
    text = "all silent" if size == 0 else f"{100 * np.sqrt(np.mean((y - x) ** 2)) / size:.2g} %"
    if x.std() > 0 and y.std() > 0:
        text += f", r = {np.corrcoef(x, y)[0, 1]:.3f}"
    return text


def _by_layer(where: str, values: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    """Flat and finite."""
    found = {str(name): float_array(f"{where}[{name!r}]", own).ravel() for name, own in values.items()}
    if not found:
        raise ValidationError(f"{where}: needs at least one layer")
    for name, own in found.items():
        if own.size == 0 or not np.isfinite(own).all():
            raise ValidationError(f"{where}[{name!r}]: must hold finite numbers, at least one")
    return found


def _step_axis(ax: Axes, n_steps: int) -> None:
    """Binary logarithm, ticks at powers of two and at the last step."""
    ax.set_xscale("log", base=2)
    powers = [2**k for k in range(n_steps.bit_length()) if 1.3 * 2**k < n_steps or 2**k == n_steps]
    ax.xaxis.set_major_locator(FixedLocator(sorted({*powers, n_steps})))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlim(1 / 1.08, max(n_steps, 2) * 1.08)


def _last(line: NDArray[np.float64]) -> str:
    known = np.flatnonzero(np.isfinite(line))
    return "nothing" if known.size == 0 else f"{100 * line[known[-1]]:.2f} % after {known[-1] + 1}"


def _within(line: NDArray[np.float64], ann: float) -> str:
    """From which step on a line lacks at most one point, where that is so at its end."""
    known = np.flatnonzero(np.isfinite(line))
    lacking = known[line[known] < ann - 0.01 - 1e-12]
    if known.size == 0 or (lacking.size and lacking[-1] == known[-1]):
        return ""
    return f", within 1 point from {1 if lacking.size == 0 else lacking[-1] + 2}"


def _colors(n_lines: int) -> list[Any]:
    if n_lines <= len(CLASS_COLORS):
        return [class_color(k) for k in range(n_lines)]
    return list(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.92, n_lines)))
