"""Weights, delays and time constants over the epochs."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from eventsnn.errors import ValidationError
from eventsnn.plotting.style import (
    BLUE,
    DARK,
    ORANGE,
    SMALL_SIZE,
    TimeUnit,
    finish,
    integer_ticks,
    new_figure,
    note,
    style_axes,
    time_unit,
)
from eventsnn.training.monitor import ParameterCourse, ParameterMonitor

__all__ = ["plot_parameters"]

#: opacity of the bands: all values, 5 .. 95 %, 25 .. 75 %
_BANDS = (0.12, 0.3, 0.5)


def plot_parameters(
    monitor: ParameterMonitor,
    tau_syn: float | None = None,
    *,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """How weights, delays and time constants change over the epochs; those that never change are left out.

    Parameters
    ----------
    monitor : ParameterMonitor
    tau_syn : float, optional
        Unit of delays and time constants; default milliseconds, of delays in seconds.
    title, path : optional

    Returns
    -------
    Figure
        One axes per parameter: bands from the least to the largest entry, from 5 % to 95 %, from 25 % to 75 %, the
        median, and as thin lines up to eight entries that are spread evenly over the array. Of a parameter of at most
        eight entries these are all, and there are no bands.

    Raises
    ------
    ValidationError
        Nothing was recorded.
    """
    where = "plot_parameters"
    if monitor.epochs.size == 0:
        raise ValidationError(f"{where}.monitor: nothing was recorded")
    unit = time_unit(where, unit="ms") if tau_syn is None else time_unit(where, tau_syn)
    courses = {name: monitor.course(name) for name in monitor.names}
    courses = {name: course for name, course in courses.items() if not course.is_constant}
    if not courses:
        figure = new_figure(5.6, 3.4, title)
        note(figure.subplots(), "no parameter changed")
        return finish(figure, path)
    n_columns = min(len(courses), 2 if len(courses) <= 4 else 3)
    n_rows = -(-len(courses) // n_columns)
    figure = new_figure(max(5.6, 4.4 * n_columns), 2.5 * n_rows + 0.8, title)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True).ravel()
    for ax, (name, course) in zip(axes, courses.items(), strict=False):
        _draw(ax, monitor, name, course, unit)
    for ax in axes[len(courses) :]:
        ax.set_visible(False)
    for ax in axes[max(len(courses) - n_columns, 0) : len(courses)]:
        style_axes(ax, x="epoch")
        ax.tick_params(labelbottom=True)
    handles: list[Patch | Line2D] = [Line2D([], [], color=DARK, linewidth=0.7, label="single entries")]
    if not all(course.is_complete for course in courses.values()):
        labels = ("all", "5 .. 95 %", "25 .. 75 %")
        handles += [Patch(color=BLUE, alpha=a, label=text) for a, text in zip(_BANDS, labels, strict=True)]
        handles.append(Line2D([], [], color=ORANGE, linewidth=1.5, label="median"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=SMALL_SIZE, frameon=False)
    return finish(figure, path)


def _draw(ax: Axes, monitor: ParameterMonitor, name: str, course: ParameterCourse, unit: TimeUnit) -> None:
    """One parameter."""
    kind = name.rpartition(".")[2].partition("[")[0]
    is_time = kind != "weight"
    quantiles, values = course.quantiles, course.values
    if is_time:
        quantiles, values = unit(quantiles), unit(values)
    epochs = monitor.epochs
    if not course.is_complete:
        for band, opacity in enumerate(_BANDS):
            ax.fill_between(
                epochs, quantiles[:, band], quantiles[:, -1 - band], color=BLUE, alpha=opacity, linewidth=0
            )  # fmt: skip
        ax.plot(epochs, quantiles[:, 3], color=ORANGE, linewidth=1.5)
    marker = "o" if epochs.size == 1 else ""
    width = 1.2 if course.is_complete else 0.6
    ax.plot(epochs, values, color=DARK, linewidth=width, marker=marker, markersize=3)
    size = " x ".join(map(str, course.shape)) or "1"
    if course.is_complete:
        ends = f"{values[0].mean():.3g} to {values[-1].mean():.3g}"
        what = "" if values.shape[1] == 1 else "mean "
    else:
        ends, what = f"{quantiles[0, 3]:.3g} to {quantiles[-1, 3]:.3g}", "median "
    style_axes(ax, title=f"{name} ({size}), {what}{ends}", y=unit.label(kind) if is_time else "weight", grid=True)
    ax.set_xlim(float(epochs[0]) - 0.5 * (epochs.size == 1), float(epochs[-1]) + 0.5 * (epochs.size == 1))
    integer_ticks(ax.xaxis, 6)
