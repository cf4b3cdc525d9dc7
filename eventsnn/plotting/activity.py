"""Activity of populations: rates over time, intervals between spikes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.plotting.style import (
    BLUE,
    DARK,
    SMALL_SIZE,
    TICK_SIZE,
    TimeUnit,
    check_index,
    check_name,
    finish,
    new_figure,
    note,
    style_axes,
    time_unit,
)

if TYPE_CHECKING:
    from eventsnn.simulation import Result

__all__ = ["plot_intervals"]

#: fewer intervals say little about the coefficient of variation of a neuron
_ENOUGH_INTERVALS = 5
_MAX_BINS = 100
_THIN_LINES = 400  # bins
#: at least this part of the intervals lies on the axis
_IN_VIEW = 0.99


def plot_intervals(
    result: Result,
    name: str,
    sample: int = 0,
    *,
    unit: str = "ms",
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Histogram of the inter-spike intervals of one population in one sample.

    Parameters
    ----------
    result : Result
        Of `simulate`.
    name : str
        Population or input.
    sample : int
    unit : {"s", "ms"}
        Unit of the intervals; both take the library's times to be seconds.
    title, path : optional

    Returns
    -------
    Figure
        The intervals of all neurons in one histogram, beside the exponential density that a Poisson process with the
        same mean interval would have. Where the longest 1 % would take most of the axis it ends before them, and the
        heading says so. The legend gives the mean rate (spikes per neuron and second from
        `result.t_start` to `result.t_max`) and the coefficient of variation CV (standard deviation over mean) of all
        intervals together and as the mean over the neurons with at least five intervals: the first also grows where
        neurons differ in their rates, the second does not.

    Raises
    ------
    ValidationError
        An unknown name, a sample out of range, an unknown unit.
    """
    where = "plot_intervals"
    own = result.spikes[check_name(f"{where}.name", name, result.spikes, "input or population")]
    sample = check_index(f"{where}.sample", sample, result.n_samples, "n_samples")
    if unit not in ("s", "ms"):
        raise ValidationError(f"{where}.unit: must be 's' or 'ms', got {unit!r}")
    scale = time_unit(where, unit=unit)
    by_neuron = result.intervals(name, sample)
    intervals = scale(np.concatenate(by_neuron))
    figure = new_figure(6.4, 4.6, title or (name if result.n_samples == 1 else f"{name}, sample {sample}"))
    ax = figure.subplots()
    style_axes(ax, x=scale.label("interval"), y=f"density [1/{scale.symbol}]")
    n_active = np.unique(own[sample].neurons).size
    heading = f"{intervals.size:,} intervals, {n_active:,} of {own.n_neurons:,} neurons active"
    if intervals.size == 0:
        ax.set_title(heading, fontsize=TICK_SIZE, loc="left", pad=3)
        note(ax, "no neuron spiked twice")
        ax.set_xticks([])
        ax.set_yticks([])
        return finish(figure, path)
    top = float(intervals.max()) or 1.0
    common = float(np.quantile(intervals, _IN_VIEW))
    if 0 < common < 0.5 * top:  # a few neurons that hardly fire must not flatten the rest
        top = common
        heading += f"; {np.count_nonzero(intervals > top):,} beyond the axis"
    ax.set_title(heading, fontsize=TICK_SIZE, loc="left", pad=3)
    edges = np.linspace(0.0, top, int(np.clip(2 * np.sqrt(intervals.size), 10, _MAX_BINS)) + 1)
    density = np.histogram(intervals, edges)[0] / (intervals.size * np.diff(edges))
    ax.stairs(density, edges, fill=True, color=BLUE, alpha=0.75, label="intervals")
    mean = float(intervals.mean())
    if mean > 0:
        grid = np.linspace(0.0, top, 300)
        ax.plot(grid, np.exp(-grid / mean) / mean, color=DARK, linewidth=1.1, label="Poisson, same mean")
    ax.set_xlim(0.0, top)
    for line in _statistics(by_neuron, own.counts()[sample].mean(), result.t_max - result.t_start):
        ax.plot([], [], linestyle="none", label=line)
    figure.legend(
        *ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=SMALL_SIZE, frameon=False
    )  # fmt: skip
    return finish(figure, path)


def _statistics(by_neuron: list[NDArray[np.float64]], mean_count: float, duration: float) -> list[str]:
    """Lines for the legend: mean rate, coefficients of variation."""
    lines = [f"mean rate {mean_count / duration:.3g} Hz"] if 0 < duration < np.inf else []
    everything = np.concatenate(by_neuron)
    if everything.size > 1 and everything.mean() > 0:
        lines.append(f"CV {variation(everything):.2f}, all intervals together")
    enough = [intervals for intervals in by_neuron if intervals.size >= _ENOUGH_INTERVALS and intervals.mean() > 0]
    if enough:
        mean = float(np.mean([variation(intervals) for intervals in enough]))
        lines.append(f"CV {mean:.2f}, mean of {_plural(len(enough), 'neuron')}")
    return lines


def variation(intervals: NDArray[np.float64]) -> float:
    """Coefficient of variation: standard deviation (of the sample, n - 1) over mean."""
    return float(intervals.std(ddof=1) / intervals.mean())


def _plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def rate_panel(
    ax: Axes,
    scale: TimeUnit,
    times: Mapping[str, NDArray[np.float64]],
    sizes: Mapping[str, int],
    colors: Mapping[str, str],
    window: tuple[float, float],
    rate_bin: float,
) -> None:
    """Spikes per neuron and time in bins of width `rate_bin`, the last one cut off at the window's end."""
    low, high = window
    n_bins = max(1, int(np.ceil((high - low) / rate_bin * (1 - 1e-12))))  # no bin for what is left by rounding
    edges = low + rate_bin * np.arange(n_bins + 1)
    if high > low:
        edges[-1] = high
    # Rates are per second where times are taken to be seconds, else per unit of the axis.
    second, symbol = (1.0, "Hz") if scale.symbol in ("s", "ms") else (scale.scale, f"1/{scale.symbol}")
    for name, own in times.items():
        rates = np.histogram(own, edges)[0] / (np.diff(edges) * sizes[name]) * second
        width = 1.2 if n_bins <= _THIN_LINES else 0.7
        ax.stairs(rates, scale(edges), baseline=None, color=colors[name], linewidth=width, label=name)
    ax.set_ylim(bottom=0.0)
    style_axes(ax, y=f"rate [{symbol}]", grid=True)
    heading = f"spikes per neuron, bins of {float(scale(rate_bin)):.3g} {scale.symbol}"
    ax.set_title(heading, fontsize=TICK_SIZE, loc="left", pad=3)
