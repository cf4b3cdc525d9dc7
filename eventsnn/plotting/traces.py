"""Membrane voltages of one sample, evaluated in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from eventsnn.errors import ValidationError
from eventsnn.plotting.style import (
    BLUE,
    DARK,
    LABEL_SIZE,
    RED,
    SMALL_SIZE,
    TICK_SIZE,
    TimeUnit,
    check_class_names,
    check_index,
    check_neurons,
    evenly_spaced,
    finish,
    new_figure,
    style_axes,
    time_unit,
)

if TYPE_CHECKING:
    from eventsnn.simulation import Result
    from eventsnn.spikes import Spikes

__all__ = ["plot_traces"]

_N_GRID = 800
_MANY = 10


def plot_traces(
    result: Result,
    name: str,
    sample: int = 0,
    neurons: ArrayLike | None = None,
    *,
    neuron_names: Sequence[str] | None = None,
    t_end: float | None = None,
    unit: str = "tau_syn",
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Membrane voltage of neurons of one population over one sample, with threshold and spikes.

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
    t_end : float, optional
        End of the time axis, in the unit of the spike times; default the last spike of the sample anywhere plus half
        a tau_mem.
    unit : {"tau_syn", "s", "ms"}
        Unit of the time axis; tau_syn is that of the population.
    title, path : optional

    Returns
    -------
    Figure
        One axes per neuron. The voltage is evaluated with `result.v` on a dense grid and just before and after every
        spike that arrives or is sent, so that kinks, threshold crossings and resets are exact and not interpolated.
        Dotted where the neuron has used up its `max_spikes`; the y axis is scaled to the rest.

    Raises
    ------
    ValidationError
        An unknown population, a sample or neuron out of range, t_end not > 0.
    """
    where = "plot_traces"
    network = result.network
    order = [layer.name for layer in network.layers]
    if name not in order:
        raise ValidationError(f"{where}.name: no population {name!r}; there are {', '.join(map(repr, order))}")
    sample = check_index(f"{where}.sample", sample, result.inputs.n_samples, "n_samples")
    layer = network.layers[order.index(name)]
    size = layer.n_neurons
    if neurons is None:
        neurons = np.arange(size) if size <= _MANY else evenly_spaced(size, 6)
    chosen = check_neurons(f"{where}.neurons", neurons, size)
    names = None if neuron_names is None else check_class_names(f"{where}.neuron_names", neuron_names, size)
    scale = time_unit(where, layer.neuron, unit)

    events = {p: (result.inputs if p == "input" else result.spikes[p])[sample] for p in ["input", *order]}
    before = order[order.index(name) - 1] if name != order[0] else "input"
    if t_end is None:
        latest = max((float(part.times.max()) for part in events.values() if part.n_events), default=0.0)
        t_end = latest + 0.5 * float(np.max(layer.neuron.tau_mem))
    if not (np.isfinite(t_end) and t_end > 0):
        raise ValidationError(f"{where}.t_end: must be finite and > 0, got {t_end}")
    times = _sampling_times(events[before], events[name], t_end)
    voltage = np.asarray(result.v(name, times, sample))
    if voltage.shape != (times.size, size):
        raise ValidationError(f"{where}.result: v must have shape {(times.size, size)}, got {voltage.shape}")

    spent = _spent(events[name], times, layer.neuron.max_spikes)
    threshold = layer.neuron.per_neuron("v_threshold", size)
    figure = new_figure(7.5, (1.3 if chosen.size <= 4 else 0.95) * chosen.size + 1.4)
    axes = figure.subplots(chosen.size, 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    arrivals = events[before].times[events[before].times <= t_end]
    for ax, neuron in zip(axes, chosen, strict=True):
        own = events[name].times[events[name].neurons == neuron]
        _panel(ax, scale, times, voltage[:, neuron], spent[:, neuron], threshold[neuron], own[own <= t_end])
        tag = f"{names[neuron]}" if names is not None else f"neuron {neuron}"
        ax.set_title(f"{tag}: {_summary(own, scale)}", fontsize=TICK_SIZE, loc="left", pad=3)
        if 0 < arrivals.size <= 200:
            ax.plot(
                scale(arrivals), np.zeros(arrivals.size), transform=ax.get_xaxis_transform(), color="#9aa0a8",
                linestyle="none", marker="|", markersize=7, clip_on=False, label=f"spike of {before}",
            )  # fmt: skip
    axes[0].set_xlim(0.0, float(scale(t_end)))
    # A neuron that may not spike again can drift far: it must not flatten the part that decides.
    shown = voltage[:, chosen][~spent[:, chosen]]
    low = float(min(shown.min(), layer.neuron.per_neuron("v_reset", size)[chosen].min()))
    high = float(max(shown.max(), threshold[chosen].max()))
    margin = 0.08 * (high - low)
    axes[0].set_ylim(low - margin, high + 1.5 * margin)
    axes[-1].set_xlabel(scale.label(), fontsize=LABEL_SIZE)
    figure.supylabel("v (unit of v_threshold)", fontsize=LABEL_SIZE)
    figure.suptitle(title or f"{name}, sample {sample}", fontsize=LABEL_SIZE + 1)
    handles = {str(line.get_label()): line for ax in axes for line in ax.get_lines()}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=5, fontsize=SMALL_SIZE, frameon=False
    )  # fmt: skip
    return finish(figure, path)


def _panel(
    ax: Axes, scale: TimeUnit, times: NDArray[np.float64], voltage: NDArray[np.float64], spent: NDArray[np.bool_],
    threshold: float, own: NDArray[np.float64],
) -> None:  # fmt: skip
    """Voltage, threshold and spikes of one neuron."""
    style_axes(ax, grid=True)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
    ax.plot(scale(times[~spent]), voltage[~spent], color=BLUE, linewidth=1.3, label="v")
    if spent.any():
        style: dict[str, Any] = {"color": BLUE, "alpha": 0.6, "linewidth": 1.0, "linestyle": ":"}
        ax.plot(scale(times[spent]), voltage[spent], label="v, no spikes left", **style)
    ax.axhline(threshold, color=DARK, linewidth=0.9, linestyle="--", label="v_threshold")
    if own.size:
        level = np.full(own.size, threshold)
        ax.plot(scale(own), level, color=RED, linestyle="none", marker="o", markersize=5, label="spike", zorder=5)


def _summary(own: NDArray[np.float64], scale: TimeUnit) -> str:
    if own.size == 0:
        return "silent"
    return f"t = {scale(own)[0]:.5g} {scale.symbol}" if own.size == 1 else f"{own.size} spikes"


def _spent(sent: Spikes, times: NDArray[np.float64], max_spikes: int | None) -> NDArray[np.bool_]:
    """Where a neuron has used up its spikes and the last reset is done, shape (n_times, n_neurons)."""
    last_allowed = np.full(sent.n_neurons, np.inf)
    if max_spikes is not None:
        for neuron in np.flatnonzero(sent.counts()[0] >= max_spikes):
            last_allowed[neuron] = sent.times[sent.neurons == neuron][max_spikes - 1]
    spent: NDArray[np.bool_] = times[:, None] > np.nextafter(last_allowed, np.inf)
    return spent


def _sampling_times(arriving: Spikes, sent: Spikes, t_end: float) -> NDArray[np.float64]:
    """A dense grid, and every event from both sides: v is continuous up to a spike and jumps behind it."""
    exact = np.concatenate((arriving.times, sent.times))
    exact = exact[exact <= t_end]
    both = np.concatenate((np.nextafter(exact, 0.0), np.nextafter(exact, np.inf)))
    return np.unique(np.concatenate((np.linspace(0.0, t_end, _N_GRID), both)))
