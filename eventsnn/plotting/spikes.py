"""Spikes: sorted output times over a test set, raster of one sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number
from eventsnn.decoding import decode_first_spike
from eventsnn.errors import ValidationError
from eventsnn.network import Sequential
from eventsnn.plotting.activity import rate_panel
from eventsnn.plotting.style import (
    BLUE,
    GRAY,
    LABEL_SIZE,
    LIGHT_GRAY,
    ORANGE,
    RED,
    SMALL_SIZE,
    TICK_SIZE,
    axis_unit,
    check_class_names,
    check_first_times,
    check_index,
    check_labels,
    check_name,
    class_color,
    finish,
    graph_of,
    integer_ticks,
    is_clocked,
    new_figure,
    note,
    style_axes,
    time_unit,
)

if TYPE_CHECKING:
    from eventsnn.simulation import Result
    from eventsnn.simulation.clock_driven import ClockedResult

__all__ = ["plot_raster", "plot_sorted_output_times"]

#: marks of `plot_sorted_output_times`, in the order of its legend
_MARKS = {
    "correct output, first": (BLUE, "o"),
    "correct output, beaten": (ORANGE, "o"),
    "other outputs": ("#b9bdc4", "o"),
    "correct output, silent": (RED, "x"),
    "other output, silent": (GRAY, "|"),
}

# Sizes in a raster, in points (1/72 inch): width of a panel, height of a row below which dots are drawn, diameters of
# dots; dots cover at most this part of a panel. _HIGHEST: all panels together, in inches.
_PANEL_WIDTH, _NARROW_ROW, _SMALLEST_DOT, _LARGEST_DOT, _COVERED = 470.0, 3.0, 0.8, 2.5, 0.25
_HIGHEST = 9.0
_MAX_BINS = 100_000


def plot_sorted_output_times(
    first_times: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str] | None = None,
    tau_syn: float = 1.0,
    *,
    t_range: tuple[float, float] | None = None,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """First output spikes, one panel per class, samples sorted by the spike time of the correct neuron.

    Parameters
    ----------
    first_times : array_like, shape (n_samples, n_classes)
        First spike time of each output neuron, inf where it is silent.
    labels : array_like of int, shape (n_samples,)
        True classes.
    class_names : sequence of str, optional
        Default the class numbers.
    tau_syn : float
        Synaptic time constant, in the unit of `first_times`; the unit of the time axis.
    t_range : (float, float), optional
        Times that the axis takes in at least, in the unit of `first_times`.
    title, path : optional

    Returns
    -------
    Figure
        Blue: the correct neuron where it wins; orange: where another output spikes first or at the same time with a
        lower index; grey: the other outputs. Silent neurons lie in the band at the top, a silent correct one as a
        red cross.

    Raises
    ------
    ValidationError
        No samples, arrays of different length, labels out of range, NaN or negative times, tau_syn not > 0.
    """
    where = "plot_sorted_output_times"
    times = check_first_times(f"{where}.first_times", first_times)
    n_samples, n_classes = times.shape
    true = check_labels(f"{where}.labels", labels, n_classes)
    names = check_class_names(f"{where}.class_names", class_names, n_classes)
    unit = time_unit(where, tau_syn)
    if true.size != n_samples:
        raise ValidationError(f"{where}: first_times has {n_samples} samples but there are {true.size} labels")
    if n_samples == 0:
        raise ValidationError(f"{where}.first_times: needs at least one sample")

    times = unit(times)
    finite = times[np.isfinite(times)]
    if t_range is not None:
        finite = np.concatenate((finite, unit(t_range)))
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low == high:
        low, high = max(low - 0.5, 0.0), high + 0.5
    span = high - low
    band = (high + 0.05 * span, high + 0.17 * span)
    n_columns = n_classes if n_classes <= 3 else min(-(-n_classes // 2), 5)
    n_rows = -(-n_classes // n_columns)
    panel = 3.1 if n_columns <= 3 else 2.15
    height = 3.4 if n_rows == 1 else 2.5 * n_rows
    figure = new_figure(max(5.6, panel * n_columns + 0.6), height + 0.8, title)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
    predictions = decode_first_spike(times)
    size = 3.0 if n_samples <= 100 * n_classes else 2.0
    for k, ax in enumerate(axes):
        if k >= n_classes:
            ax.set_visible(False)
            continue
        members = true == k
        _sorted_panel(ax, times[members], k, predictions[members] == k, band, size)
        n_wrong = int(np.sum(members & (predictions != k)))
        heading = f"{names[k]}: {n_wrong} of {members.sum()} wrong" if members.any() else names[k]
        style_axes(ax, title=heading, x="sample, sorted" if k + n_columns >= n_classes else None)
        if k % n_columns == 0:
            ax.set_ylabel(unit.label("first spike"), fontsize=LABEL_SIZE)
    ticks = [
        float(tick)
        for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
        if low - 0.02 * span <= tick <= high
    ]
    axes[0].set_yticks([*ticks, sum(band) / 2], labels=[*_plain(ticks), "silent"])
    axes[0].set_ylim(low - 0.05 * span, band[1])
    drawn = {line.get_label() for ax in axes[:n_classes] for line in ax.get_lines()}
    handles = [
        Line2D([], [], linestyle="none", color=color, marker=marker, markersize=5, label=label)
        for label, (color, marker) in _MARKS.items()
        if label in drawn
    ]
    n_across = max(1, min(len(handles), int(figure.get_figwidth() / 1.8)))
    figure.legend(handles=handles, loc="outside lower center", ncols=n_across, fontsize=SMALL_SIZE, frameon=False)
    return finish(figure, path)


def _sorted_panel(
    ax: Axes,
    times: NDArray[np.float64],
    k: int,
    right: NDArray[np.bool_],
    band: tuple[float, float],
    size: float,
) -> None:
    """One class: times (n, n_classes) in plotted units, `right` marks samples that are classified as k."""
    ax.axhspan(*band, color="#f2f2f2", zorder=0)
    if times.shape[0] == 0:
        note(ax, "no samples")
        ax.set_xticks([])
        return
    order = np.argsort(times[:, k], kind="stable")
    times, right = times[order], right[order]
    rank = np.arange(times.shape[0])
    wrong_columns = np.delete(times, k, axis=1)
    ranks = np.repeat(rank, wrong_columns.shape[1]).reshape(wrong_columns.shape)
    spiked = np.isfinite(wrong_columns)
    low, high = band
    others_row, own_row = low + 0.3 * (high - low), low + 0.7 * (high - low)
    _draw(ax, "other outputs", ranks[spiked], wrong_columns[spiked], size)
    _draw(ax, "other output, silent", ranks[~spiked], np.full(np.count_nonzero(~spiked), others_row), 3.0)
    own = times[:, k]
    late, dead = ~right & np.isfinite(own), np.isinf(own)
    _draw(ax, "correct output, first", rank[right], own[right], size)
    _draw(ax, "correct output, beaten", rank[late], own[late], size + 1.0)
    _draw(ax, "correct output, silent", rank[dead], np.full(np.count_nonzero(dead), own_row), 4.0)
    margin = max(0.5, 0.02 * times.shape[0])
    ax.set_xlim(-margin, times.shape[0] - 1 + margin)
    integer_ticks(ax.xaxis, 4)


def _draw(ax: Axes, label: str, x: NDArray[Any], y: NDArray[np.float64], size: float) -> None:
    """The marks of one kind, if there are any."""
    if x.size == 0:
        return
    color, marker = _MARKS[label]
    width = 0.0 if marker == "o" else 1.0
    ax.plot(
        x, y, color=color, marker=marker, markersize=size, markeredgewidth=width, linestyle="none", label=label,
        rasterized=True,
    )  # fmt: skip


def _plain(ticks: Sequence[float]) -> list[str]:
    """Tick labels with the same number of decimals."""
    n_decimals = max((len(f"{tick:.6g}".partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:.{n_decimals}f}" for tick in ticks]


def plot_raster(
    result: Result | ClockedResult,
    sample: int = 0,
    *,
    names: Sequence[str] | None = None,
    label: int | None = None,
    class_names: Sequence[str] | None = None,
    rate_bin: float | None = None,
    t_start: float | None = None,
    t_end: float | None = None,
    unit: str | None = None,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """All spikes of one sample, a panel for each input and population.

    Parameters
    ----------
    result : Result or ClockedResult
        Of `simulate` or `simulate_clocked`; inputs that were given as currents have no panel.
    sample : int
    names : sequence of str, optional
        Inputs and populations to draw, from top to bottom; default all, the inputs first.
    label : int, optional
        True class: its neuron in the last panel is highlighted.
    class_names : sequence of str, optional
        Names of the neurons in the last panel.
    rate_bin : float, optional
        Width of the bins of one more panel below, in the unit of the spike times: the spikes per neuron and time of
        the populations drawn (of the inputs, where only inputs are).
    t_start, t_end : float, optional
        Ends of the time axis, in the unit of the spike times; default all of the simulation, or up to the last spike
        for a `Sequential` or a t_max of inf.
    unit : {"tau_syn", "s", "ms", "step"}, optional
        Unit of the time axis; tau_syn is that of the last panel's neurons. Default "step" on a time grid, "tau_syn" for
        a `Sequential`, else "ms" up to two seconds, then "s".
    title, path : optional

    Returns
    -------
    Figure
        Where a panel would be black with spikes, only those of every second, third ... neuron are drawn; its heading,
        which counts all of them, says so.

    Raises
    ------
    ValidationError
        An unknown name, a sample or label out of range, class names that do not fit, an empty time axis, a `rate_bin`
        that is not > 0, an unknown unit.
    """
    where = "plot_raster"
    graph = graph_of(result.network)
    sample = check_index(f"{where}.sample", sample, result.n_samples, "n_samples")
    shown = _chosen_names(where, names, {name: size for name, size in graph.sizes.items() if name in result.spikes})
    sizes = [graph.sizes[name] for name in shown]
    if label is not None:
        label = check_index(f"{where}.label", label, sizes[-1], "n_outputs")
    output_names = None
    if class_names is not None:
        output_names = check_class_names(f"{where}.class_names", class_names, sizes[-1])
    is_chain = isinstance(result.network, Sequential) and not is_clocked(result)
    events = {name: result.spikes[name][sample] for name in shown}
    window = _window(where, result, [part.times for part in events.values()], t_start, t_end)
    last = graph.populations.get(shown[-1]) or list(graph.populations.values())[-1]
    scale = axis_unit(where, result, last.neuron, unit, window[1] - window[0])
    inside = {name: (part.times >= window[0]) & (part.times <= window[1]) for name, part in events.items()}
    rated = [] if rate_bin is None else [name for name in shown if name in graph.populations] or shown
    if rate_bin is not None:
        rate_bin = number(f"{where}.rate_bin", rate_bin, above=0)
        if (window[1] - window[0]) / rate_bin > _MAX_BINS:
            raise ValidationError(f"{where}.rate_bin: {rate_bin:g} makes more than {_MAX_BINS} bins; look at its unit")
    colors = dict.fromkeys(shown, BLUE)
    if len(rated) > 1:
        colors = dict.fromkeys(shown, GRAY) | {name: class_color(k) for k, name in enumerate(rated)}

    heights = _heights(sizes, np.inf if is_chain else _HIGHEST) + [1.2] * bool(rated)
    figure = new_figure(7.5, sum(heights) + 1.1 + 0.28 * len(heights))
    axes = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for k, (ax, name) in enumerate(zip(axes, shown, strict=False)):
        points = 72 * heights[k] / sizes[k]
        times, neurons = scale(events[name].times[inside[name]]), events[name].neurons[inside[name]]
        highlight = label if name == shown[-1] else None
        _raster_panel(ax, name, times, neurons, sizes[k], points, highlight, colors[name], dots=not is_chain)
        if name == shown[-1] and output_names is not None and sizes[k] <= 30:
            ax.set_yticks(range(sizes[k]), labels=output_names)
    if rated and rate_bin is not None:
        own = {name: events[name].times for name in rated}
        rate_panel(axes[-1], scale, own, graph.sizes, colors, window, rate_bin)
        if len(rated) > 1:
            figure.legend(
                *axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=SMALL_SIZE,
                frameon=False,
            )  # fmt: skip
    low, high = (float(scale(t)) for t in window)
    if high == low and not any(part.n_events for part in events.values()):
        high = low + 1.0
    margin = (0.02 if is_chain else 0.01) * (high - low)
    axes[0].set_xlim(low - margin, high + margin if high > low else low + 1.0)
    axes[-1].set_xlabel(scale.label(), fontsize=LABEL_SIZE)
    figure.align_ylabels(axes)
    if title is None and (is_chain or label is not None):
        title = _sample_title(events[shown[-1]], sample, label, output_names)
    elif title is None and result.n_samples > 1:
        title = f"sample {sample}"
    if title:
        figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    return finish(figure, path)


def _chosen_names(where: str, names: Sequence[str] | None, known: dict[str, int]) -> list[str]:
    """What to draw, from top to bottom."""
    shown = list(known) if names is None else [names] if isinstance(names, str) else list(names)
    if not shown or len(set(shown)) < len(shown):
        raise ValidationError(f"{where}.names: needs at least one name and none twice, got {shown}")
    return [check_name(f"{where}.names", name, known, "input or population") for name in shown]


def _heights(sizes: Sequence[int], most: float) -> list[float]:
    """Heights of the panels in inches, about `most` together at most."""
    heights = [0.17 * n + 0.3 if n <= 16 else min(2.8, 1.5 + 0.006 * n) for n in sizes]
    shrink = min(1.0, most / sum(heights))
    return heights if shrink == 1.0 else [max(0.5, shrink * height) for height in heights]


def _window(
    where: str, result: Any, times: Sequence[NDArray[np.float64]], t_start: float | None, t_end: float | None
) -> tuple[float, float]:
    """Ends of the time axis."""
    low = result.t_start if t_start is None else number(f"{where}.t_start", t_start, at_least=0)
    if t_end is not None:
        return low, number(f"{where}.t_end", t_end, above=low)
    if np.isfinite(result.t_max) and (is_clocked(result) or not isinstance(result.network, Sequential)):
        high = result.t_max
    else:
        high = max((float(own.max()) for own in times if own.size), default=low)
    if high < low or (t_start is not None and high == low):
        raise ValidationError(f"{where}.t_start: must be below the end of the time axis, {high:g}, got {low:g}")
    return low, high


def _raster_panel(
    ax: Axes, name: str, times: NDArray[np.float64], neurons: NDArray[np.int64], size: int, points: float,
    label: int | None, color: str, *, dots: bool,
) -> None:  # fmt: skip
    """One population; `points` is the height of one neuron's row, `dots` allows dots where rows are narrow."""
    mark: dict[str, Any] = {"linestyle": "none", "marker": "|"}
    mark["markersize"] = float(np.clip(0.8 * points, 4.0, 11.0))
    mark["markeredgewidth"] = 1.0 if size > 100 else 1.4
    n_active, n_spikes, every = np.unique(neurons).size, times.size, 1
    if dots and points < _NARROW_ROW:
        area = _PANEL_WIDTH * points * size
        every = max(1, int(np.ceil(n_spikes * _SMALLEST_DOT**2 / (_COVERED * area))))
        if every > 1:
            times, neurons = times[neurons % every == 0], neurons[neurons % every == 0]
        diameter = np.clip(np.sqrt(_COVERED * area / max(times.size, 1)), _SMALLEST_DOT, _LARGEST_DOT)
        mark |= {"marker": "o", "markersize": float(diameter), "markeredgewidth": 0.0, "rasterized": True}
    own = np.zeros(neurons.size, dtype=bool) if label is None else neurons == label
    if label is not None:
        ax.axhspan(label - 0.5, label + 0.5, color=LIGHT_GRAY, alpha=0.6, zorder=0)
    ax.plot(times[~own], neurons[~own], color=color, label=name, **mark)
    if own.any():
        ax.plot(times[own], neurons[own], color=RED, label=f"{name}, correct", **mark)
    heading = f"{name}: {_plural(n_spikes, 'spike')}, {n_active} of {_plural(size, 'neuron')} active"
    if every > 1:
        heading += f"; one neuron in {every} drawn"
    if label is not None:
        heading += "; true class shaded"
    ax.set_title(heading, fontsize=TICK_SIZE, loc="left", pad=3)
    style_axes(ax, y="neuron")
    ax.set_ylim(-0.6, size - 0.4)
    integer_ticks(ax.yaxis, 5)
    if n_spikes == 0:
        note(ax, "no spikes")


def _sample_title(output: Any, sample: int, label: int | None, names: list[str] | None) -> str:
    winner = int(decode_first_spike(output.first_times())[0])
    text = names if names is not None else [str(k) for k in range(output.n_neurons)]
    first = "no output spike" if winner < 0 else f"first output {text[winner]}"
    return f"sample {sample}: {first}" if label is None else f"sample {sample}: true class {text[label]}, {first}"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
