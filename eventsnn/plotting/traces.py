"""Membrane voltages of one sample, evaluated in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.network import Sequential
from eventsnn.neurons import LIF
from eventsnn.plotting.style import (
    BLUE,
    CLASS_COLORS,
    DARK,
    LABEL_SIZE,
    ORANGE,
    PURPLE,
    RED,
    SMALL_SIZE,
    TICK_SIZE,
    TimeUnit,
    axis_unit,
    check_class_names,
    check_index,
    check_name,
    finish,
    graph_of,
    new_figure,
    some_neurons,
    style_axes,
)

if TYPE_CHECKING:
    from eventsnn.simulation import Result

__all__ = ["plot_traces"]

_N_GRID = 800
#: arrivals of a kind that are more in some panel are counted, not marked; in a chain all neurons get the same spikes
_MOST_MARKS, _MOST_MARKS_IN_CHAIN = 800, 200
_THIN_MARKS = 150  # from so many on
_ROW = 7.0  # height of a row of ticks, in points
#: colours of arrivals from several sources; blue and red are the potential and the spikes
_ARRIVAL_COLORS = (ORANGE, PURPLE, *CLASS_COLORS[6:], *CLASS_COLORS[4:6])


def plot_traces(
    result: Result,
    name: str,
    sample: int = 0,
    neurons: ArrayLike | None = None,
    *,
    neuron_names: Sequence[str] | None = None,
    t_start: float | None = None,
    t_end: float | None = None,
    unit: str | None = None,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Membrane voltage of neurons of one population over one sample, with threshold, spikes and arrivals.

    Parameters
    ----------
    result : Result
        Of `simulate`.
    name : str
        Population.
    sample : int
    neurons : array_like of int, optional
        Default all up to ten, else six spread evenly over the population.
    neuron_names : sequence of str, optional
        One per neuron of the population, such as the class names for the outputs.
    t_start : float, optional
        Beginning of the time axis, in the unit of the spike times; default that of the simulation.
    t_end : float, optional
        End of the time axis; default `result.t_max`. For a `Sequential` or a t_max of inf: the last spike of the sample
        anywhere, or arrival at these neurons, plus half a tau_mem.
    unit : {"tau_syn", "s", "ms"}, optional
        Unit of the time axis; tau_syn is that of the population. Default "tau_syn" for a `Sequential`, else "ms" up to
        two seconds, then "s".
    title, path : optional

    Returns
    -------
    Figure
        One axes per neuron. The voltage is evaluated with `result.v` on a dense grid and just before and after every
        spike that arrives or is sent, so that kinks, threshold crossings and resets are exact and not interpolated.
        Dotted where the neuron has used up its `max_spikes`; the y axis is scaled to the rest. Ticks at the bottom
        are spikes that arrive, delays included, by their sources, but none where they would make a solid band;
        spikes sent before `result.t_start` have no tick. A heading counts what the axes show (of a `Sequential`, the
        spikes of the whole sample).

    Raises
    ------
    ValidationError
        An unknown population, a sample or neuron out of range, an empty time axis.
    """
    where = "plot_traces"
    graph, is_chain = graph_of(result.network), isinstance(result.network, Sequential)
    name = check_name(f"{where}.name", name, graph.populations)
    sample = check_index(f"{where}.sample", sample, result.n_samples, "n_samples")
    cell, size = graph.populations[name].neuron, graph.populations[name].n_neurons
    chosen = some_neurons(f"{where}.neurons", neurons, size)
    names = None if neuron_names is None else check_class_names(f"{where}.neuron_names", neuron_names, size)
    arrivals = _arrivals(result, name, sample, chosen)
    low, high = _window(where, result, sample, arrivals, 0.5 * float(np.max(cell.tau_mem)), t_start, t_end)
    scale = axis_unit(where, result, cell, unit, high - low)

    sent = result.spikes[name][sample]
    own = [sent.times[sent.neurons == neuron] for neuron in chosen]
    t_refrac = cell.per_neuron("t_refrac", size) if isinstance(cell, LIF) else np.zeros(size)
    held = [times + pause for times, pause in zip(own, t_refrac[chosen], strict=True)]
    events = [*own, *held, *(times for kinds in arrivals for times in kinds.values())]
    times = _sampling_times(events, low, high)
    voltage = np.asarray(result.v(name, times, sample, chosen))
    max_spikes = cell.max_spikes if isinstance(cell, LIF) else None
    spent = np.column_stack([_spent(train, times, max_spikes) for train in own])
    threshold = cell.per_neuron("v_threshold", size)[chosen] if isinstance(cell, LIF) else None

    arrivals = [{kind: _inside(times, low, high) for kind, times in own.items()} for own in arrivals]
    most = _MOST_MARKS_IN_CHAIN if is_chain else _MOST_MARKS
    kinds = [kind for kind in arrivals[0] if 0 < max(own[kind].size for own in arrivals) <= most]
    # height with the heading, in inches; more for many rows of ticks
    panel = (1.3 if chosen.size <= 4 else 0.95) + _ROW / 72 * max(len(kinds) - 3, 0)
    n_legend_rows = 1 if len(kinds) <= 2 else (len(kinds) + 5) // 3
    figure = new_figure(7.5, panel * chosen.size + 1.4 + 0.17 * (n_legend_rows - 1))
    axes = figure.subplots(chosen.size, 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for k, (ax, neuron) in enumerate(zip(axes, chosen, strict=True)):
        inside = _inside(own[k], low, high)
        _panel(ax, scale, times, voltage[:, k], spent[:, k], None if threshold is None else threshold[k], inside)
        for row, kind in enumerate(kinds):
            _mark_arrivals(ax, scale(arrivals[k][kind]), kind, row, alone=len(kinds) == 1)
        tag = f"{names[neuron]}" if names is not None else f"neuron {neuron}"
        heading = tag if threshold is None else f"{tag}: {_summary(own[k] if is_chain else inside, scale)}"
        if not is_chain:
            n_arrivals = sum(times.size for times in arrivals[k].values())
            n_marked = sum(arrivals[k][kind].size for kind in kinds)
            heading += f", {_plural(n_arrivals, 'arrival')}" + (" (not all marked)" if n_marked < n_arrivals else "")
        ax.set_title(heading, fontsize=TICK_SIZE, loc="left", pad=3)
    axes[0].set_xlim(float(scale(low)), float(scale(high)))
    # A neuron that may not spike again can drift far: it must not flatten the part that decides.
    shown = voltage[~spent]
    bottom, top = float(shown.min(initial=np.inf)), float(shown.max(initial=-np.inf))
    if threshold is not None:
        bottom = min(bottom, float(cell.per_neuron("v_reset", size)[chosen].min()))
        top = max(top, float(threshold.max()))
    margin = 0.08 * ((top - bottom) or 1.0)
    below = _ROW * (len(kinds) - 1) / (72 * (panel - 0.35)) if len(kinds) > 1 else 0.0  # part of the axes for more rows
    axes[0].set_ylim(bottom - margin - below / (1 - below) * (top - bottom), top + 1.5 * margin)
    axes[-1].set_xlabel(scale.label(), fontsize=LABEL_SIZE)
    figure.supylabel("v" if threshold is None else "v (unit of v_threshold)", fontsize=LABEL_SIZE)
    head = name if result.n_samples == 1 and not is_chain else f"{name}, sample {sample}"
    figure.suptitle(title or head, fontsize=LABEL_SIZE + 1)
    handles = {str(line.get_label()): line for ax in axes for line in ax.get_lines()}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=5 if len(handles) <= 5 else 3,
        fontsize=SMALL_SIZE, frameon=False,
    )  # fmt: skip
    return finish(figure, path)


def _window(
    where: str,
    result: Result,
    sample: int,
    arrivals: list[dict[str, NDArray[np.float64]]],
    tail: float,
    t_start: float | None,
    t_end: float | None,
) -> tuple[float, float]:
    """Ends of the time axis."""
    low = result.t_start if t_start is None else number(f"{where}.t_start", t_start, at_least=result.t_start)
    if t_end is None:
        if np.isfinite(result.t_max) and not isinstance(result.network, Sequential):
            t_end = result.t_max
        else:
            parts = [spikes[sample].times for spikes in result.spikes.values()]
            parts += [times for kinds in arrivals for times in kinds.values()]
            t_end = max((float(times.max()) for times in parts if times.size), default=low) + tail
    if not (np.isfinite(t_end) and t_end > low):
        raise ValidationError(f"{where}.t_end: must be finite and > {low:g}, got {t_end}")
    return low, t_end


def _arrivals(
    result: Result, name: str, sample: int, chosen: NDArray[np.int64]
) -> list[dict[str, NDArray[np.float64]]]:
    """When spikes arrive at each of the chosen neurons, by where they come from."""
    graph = graph_of(result.network)
    several = len(graph.populations[name].neuron.receptors) > 1
    found: list[dict[str, NDArray[np.float64]]] = [{} for _ in chosen]
    for projection in graph.projections_to(name):
        sent = result.spikes[projection.source][sample]
        by_source = np.argsort(sent.neurons, kind="stable")
        ends = np.searchsorted(sent.neurons[by_source], np.arange(sent.n_neurons + 1))
        indptr, targets, _, delays = projection.connection.rows()
        kind = f"{'arrival from' if projection.connection.has_delay else 'spike of'} {projection.source}"
        if several:
            kind += f" ({projection.receptor})"
        for own, neuron in zip(found, chosen, strict=True):
            synapses = np.flatnonzero(targets == neuron)
            sources = np.searchsorted(indptr, synapses, side="right") - 1
            parts = [
                sent.times[by_source[ends[j] : ends[j + 1]]] + delays[synapse]
                for j, synapse in zip(sources, synapses, strict=True)
            ]
            own[kind] = np.sort(np.concatenate([*([own[kind]] if kind in own else []), *parts, np.empty(0)]))
    return found


def _mark_arrivals(ax: Axes, times: NDArray[np.float64], kind: str, row: int, *, alone: bool) -> None:
    """Ticks at the bottom of the axes, in one of several rows."""
    if times.size == 0:
        return
    bottom = ax.get_xaxis_transform()
    if row > 0:
        bottom += ScaledTranslation(0.0, row * _ROW / 72, ax.figure.dpi_scale_trans)
    ax.plot(
        times, np.zeros(times.size), transform=bottom, linestyle="none", marker="|", markersize=7,
        markeredgewidth=1.0 if alone or times.size < _THIN_MARKS else 0.5, clip_on=False, label=kind,
        color="#9aa0a8" if alone else _ARRIVAL_COLORS[row % len(_ARRIVAL_COLORS)],
    )  # fmt: skip


def _inside(times: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return times[(times >= low) & (times <= high)]


def _panel(
    ax: Axes, scale: TimeUnit, times: NDArray[np.float64], voltage: NDArray[np.float64], spent: NDArray[np.bool_],
    threshold: float | None, own: NDArray[np.float64],
) -> None:  # fmt: skip
    """Voltage, threshold (None for readouts) and spikes of one neuron."""
    style_axes(ax, grid=True)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
    ax.plot(scale(times[~spent]), voltage[~spent], color=BLUE, linewidth=1.3, label="v")
    if spent.any():
        style: dict[str, Any] = {"color": BLUE, "alpha": 0.6, "linewidth": 1.0, "linestyle": ":"}
        ax.plot(scale(times[spent]), voltage[spent], label="v, no spikes left", **style)
    if threshold is None:
        return
    ax.axhline(threshold, color=DARK, linewidth=0.9, linestyle="--", label="v_threshold")
    if own.size:
        level = np.full(own.size, threshold)
        ax.plot(scale(own), level, color=RED, linestyle="none", marker="o", markersize=5, label="spike", zorder=5)


def _summary(own: NDArray[np.float64], scale: TimeUnit) -> str:
    if own.size == 0:
        return "silent"
    return f"t = {scale(own)[0]:.5g} {scale.symbol}" if own.size == 1 else _plural(own.size, "spike")


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _spent(own: NDArray[np.float64], times: NDArray[np.float64], max_spikes: int | None) -> NDArray[np.bool_]:
    """Where a neuron with these spikes has used up its spikes and the last reset is done, shape (n_times,)."""
    if max_spikes is None or own.size < max_spikes:
        return np.zeros(times.size, dtype=bool)
    spent: NDArray[np.bool_] = times > np.nextafter(own[max_spikes - 1], np.inf)
    return spent


def _sampling_times(events: Sequence[NDArray[np.float64]], low: float, high: float) -> NDArray[np.float64]:
    """A dense grid, and every event from both sides: v is continuous up to a spike and jumps behind it."""
    exact = _inside(np.concatenate(events), low, high)
    both = np.concatenate((np.maximum(np.nextafter(exact, 0.0), low), np.nextafter(exact, np.inf)))
    return np.unique(np.concatenate((np.linspace(low, high, _N_GRID), both)))
