"""First spike times of a whole data set: histograms by layer, distance between the first output and the second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from eventsnn.decoding import decode_first_spike
from eventsnn.errors import ValidationError
from eventsnn.plotting.style import (
    BLUE,
    DARK,
    GRAY,
    LABEL_SIZE,
    ORANGE,
    RED,
    SMALL_SIZE,
    TICK_SIZE,
    TimeUnit,
    check_first_times,
    check_labels,
    finish,
    new_figure,
    note,
    style_axes,
    time_unit,
)

__all__ = ["plot_spike_time_histograms", "plot_time_differences"]

_N_BINS = 80
#: the axis ends where all but this part of the spikes of every layer is over
_BEYOND = 0.002


def plot_spike_time_histograms(
    first_times: Mapping[str, ArrayLike],
    labels: ArrayLike,
    predictions: ArrayLike | None = None,
    tau_syn: float = 1.0,
    *,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """When the neurons of every layer fire first, in samples that are classified rightly and wrongly.

    Parameters
    ----------
    first_times : mapping of name to array_like, shape (n_samples, n_neurons)
        First spike times of the layers, inf where silent; the last one is the output, with one neuron per class.
    labels : array_like of int, shape (n_samples,)
        True classes.
    predictions : array_like of int, shape (n_samples,), optional
        Classes found, -1 for none; default the output that fires first.
    tau_syn : float
        Synaptic time constant, in the unit of `first_times`; the unit of the time axis.
    title, path : optional

    Returns
    -------
    Figure
        One axes per layer. A bar is the share of all neurons and samples of its kind that fire in that bin, so that
        rare wrong samples can be compared, and what is missing to 100 % is silent; the legends say how much. Spikes
        beyond the axis, 0.2 % of a layer's at most, are counted in its heading.

    Raises
    ------
    ValidationError
        No layers, no samples, arrays of different length, labels out of range, NaN or negative times.
    """
    where = "plot_spike_time_histograms"
    if not first_times:
        raise ValidationError(f"{where}.first_times: needs at least one layer")
    unit = time_unit(where, tau_syn)
    layers = {name: unit(check_first_times(f"{where}.first_times[{name!r}]", own)) for name, own in first_times.items()}
    output = layers[next(reversed(layers))]
    true = _labels_of(where, labels, output)
    found = decode_first_spike(output)
    if predictions is not None:
        found = check_labels(f"{where}.predictions", predictions, lowest=-1)
    for name, own in [*layers.items(), ("predictions", found)]:
        if len(own) != true.size:
            raise ValidationError(f"{where}: {true.size} labels but {len(own)} samples of {name}")
    right = found == true

    edges = np.linspace(*_span(list(layers.values())), _N_BINS + 1)
    figure = new_figure(7.5, 1.75 * len(layers) + 0.7 + 0.4 * bool(title), title)
    axes = figure.subplots(len(layers), 1, squeeze=False, sharex=True)[:, 0]
    for k, (ax, (name, times)) in enumerate(zip(axes, layers.items(), strict=True)):
        if k == len(layers) - 1:
            own = np.arange(output.shape[1]) == true[:, None]
            kinds = [
                ("other neurons", times[~own], GRAY, False),
                ("neuron of the class, sample right", times[own & right[:, None]], BLUE, True),
                ("neuron of the class, sample wrong", times[own & ~right[:, None]], ORANGE, False),
            ]
        else:
            kinds = [("samples right", times[right], BLUE, True), ("samples wrong", times[~right], ORANGE, False)]
        for label, values, color, filled in kinds:
            _shares(ax, label, values.ravel(), edges, color, filled)
        finite = times[np.isfinite(times)]
        heading = f"{name}: {100 * finite.size / max(times.size, 1):.1f} % of neurons and samples fire"
        if n_beyond := int(np.count_nonzero(finite > edges[-1])):
            heading += f"; {n_beyond:,} spikes beyond the axis"
        ax.set_title(heading, fontsize=TICK_SIZE, loc="left", pad=3)
        style_axes(ax, y="share per bin [%]", grid=True)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
        ax.set_ylim(bottom=0.0)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=SMALL_SIZE, frameon=False)
        if finite.size == 0:
            note(ax, "no spikes")
    axes[0].set_xlim(edges[0], edges[-1])
    axes[-1].set_xlabel(unit.label("first spike"), fontsize=LABEL_SIZE)
    return finish(figure, path)


def _labels_of(where: str, labels: ArrayLike, output: NDArray[np.float64]) -> NDArray[np.int64]:
    true = check_labels(f"{where}.labels", labels, output.shape[1])
    if true.size == 0:
        raise ValidationError(f"{where}.labels: needs at least one sample")
    return true


def _span(layers: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Ends of the time axis."""
    finite = [times[np.isfinite(times)] for times in layers]
    finite = [times for times in finite if times.size]
    if not finite:
        return 0.0, 1.0
    low = min(float(times.min()) for times in finite)
    high = max(float(np.quantile(times, 1 - _BEYOND, method="higher")) for times in finite)
    return (low, high) if high > low else (max(low - 0.5, 0.0), low + 0.5)


def _shares(
    ax: Axes, label: str, values: NDArray[np.float64], edges: NDArray[np.float64], color: str, filled: bool
) -> None:
    """Histogram of one kind, in percent of all its neurons and samples, the silent ones included."""
    if values.size == 0:
        return
    shares = 100 * np.histogram(values, edges)[0] / values.size
    silent = 100 * np.count_nonzero(np.isinf(values)) / values.size
    text = f"{label}\n({silent:.1f} % silent)" if silent else label
    if filled:
        ax.stairs(shares, edges, fill=True, color=color, alpha=0.75, label=text)
    else:
        ax.stairs(shares, edges, color=color, linewidth=1.3, label=text)


def plot_time_differences(
    first_times: ArrayLike,
    labels: ArrayLike,
    tau_syn: float = 1.0,
    *,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """How far the output that fires first is ahead of the second, and the right one of all others.

    Parameters
    ----------
    first_times : array_like, shape (n_samples, n_classes)
        First spike time of each output neuron, inf where it is silent; at least two classes.
    labels : array_like of int, shape (n_samples,)
        True classes.
    tau_syn : float
        Synaptic time constant, in the unit of `first_times`; the unit of the axes.
    title, path : optional

    Returns
    -------
    Figure
        Left: number of samples by the earliest of the wrong outputs minus the right output, so wrong ones lie below
        zero; the bars at the ends are samples in which only wrong outputs fire, or only the right one. Right: share of
        samples whose second output comes within a time after the first, of those classified rightly and of those
        classified wrongly; it ends below 100 % where no second output fires.

    Raises
    ------
    ValidationError
        Fewer than two classes, no samples, arrays of different length, labels out of range, NaN or negative times.
    """
    where = "plot_time_differences"
    unit = time_unit(where, tau_syn)
    times = unit(check_first_times(f"{where}.first_times", first_times))
    if times.shape[1] < 2:
        raise ValidationError(f"{where}.first_times: needs at least two classes, got {times.shape[1]}")
    true = _labels_of(where, labels, times)
    if true.size != len(times):
        raise ValidationError(f"{where}: first_times has {len(times)} samples but there are {true.size} labels")
    right = decode_first_spike(times) == true
    rows = np.arange(true.size)
    own, others = times[rows, true], times.copy()
    others[rows, true] = np.inf
    earliest = others.min(axis=1)
    silent = np.isinf(own) & np.isinf(earliest)
    with np.errstate(invalid="ignore"):  # inf - inf, where no output fires
        lead = np.where(silent, np.nan, earliest - own)
        first, second = np.partition(times, 1, axis=1)[:, :2].T
        gap = np.where(np.isinf(first), np.nan, second - first)

    figure = new_figure(9.0, 3.9, title)
    bars, curves = figure.subplots(1, 2)
    _leads(bars, unit, lead, right, int(silent.sum()))
    _gaps(curves, unit, gap, right)
    return finish(figure, path)


def _leads(ax: Axes, unit: TimeUnit, lead: NDArray[np.float64], right: NDArray[np.bool_], n_silent: int) -> None:
    """Histogram of how far the right output is ahead; bars of their own at the ends for what is infinite."""
    finite = lead[np.isfinite(lead)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (-1.0, 1.0)
    low, high = min(low, -0.05 * (high - low)), max(high, 0.05 * (high - low))
    if low == high:
        low, high = -1.0, 1.0
    width = (high - low) / 50
    # Zero is an edge, so that no bar mixes right samples with wrong ones.
    edges = width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)
    for label, chosen, color in (("right", right, BLUE), ("wrong", ~right, ORANGE)):
        if chosen.any():
            counts = np.histogram(lead[chosen & np.isfinite(lead)], edges)[0]
            share = f"{label}: {int(chosen.sum()):,}"
            ax.stairs(counts, edges, fill=True, color=color, alpha=0.8, label=share)
    ends = (
        ("only wrong\noutputs", np.count_nonzero(np.isneginf(lead)), edges[0] - 3 * width, ORANGE, -1),
        ("only the\nright one", np.count_nonzero(np.isposinf(lead)), edges[-1] + 3 * width, BLUE, 1),
    )
    for label, count, center, color, side in ends:
        if count:
            ax.bar(center, count, 3 * width, color=color, alpha=0.8, hatch="//", edgecolor="white", linewidth=0)
            align: Literal["left", "right"] = "left" if side < 0 else "right"
            at = center + side * 1.5 * width
            ax.text(at, 1.05 * count, f"{label}\n{count:,}", ha=align, va="bottom", fontsize=SMALL_SIZE)
    ax.axvline(0.0, color=DARK, linewidth=0.8)
    style_axes(ax, x=unit.label("earliest wrong output - right output"), y="samples", grid=True)
    ax.set_xlim(edges[0] - 6 * width, edges[-1] + 6 * width)
    if ax.dataLim.y1 > 0:  # a logarithmic axis wants something to show
        ax.set_yscale("log")
    ax.set_ylim(0.7, 4 * max(ax.dataLim.y1, 10))  # room for the counts above the bars
    ax.yaxis.set_major_formatter("{x:,.0f}")
    if n_silent:
        ax.plot([], [], linestyle="none", marker="x", color=RED, label=f"no output fires: {n_silent:,}")
    ax.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=SMALL_SIZE, frameon=False, borderaxespad=0.2
    )


def _gaps(ax: Axes, unit: TimeUnit, gap: NDArray[np.float64], right: NDArray[np.bool_]) -> None:
    """Cumulated shares of samples by the time from the first output to the second."""
    finite = gap[np.isfinite(gap)]
    high = float(finite.max()) if finite.size else 1.0
    for label, chosen, color in (("right", right, BLUE), ("wrong", ~right, ORANGE)):
        own = np.sort(gap[chosen & ~np.isnan(gap)])
        if own.size == 0:
            continue
        within = own[np.isfinite(own)]
        steps = 100 * np.arange(1, within.size + 1) / own.size
        x = np.concatenate(([0.0], within, [high]))
        y = np.concatenate(([0.0], steps, steps[-1:] if within.size else [0.0]))
        median = np.median(own)
        text = f"{label}: median {median:.3g} {unit.symbol}" if np.isfinite(median) else f"{label}: most fire alone"
        ax.step(x, y, where="post", color=color, linewidth=1.5, label=text)
    style_axes(ax, x=unit.label("second output - first output"), y="samples up to there [%]", grid=True)
    ax.set_ylim(0, 103)
    ax.set_xlim(0, high or 1.0)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=SMALL_SIZE, frameon=False, borderaxespad=0.2
        )
    else:
        note(ax, "no output fires")
