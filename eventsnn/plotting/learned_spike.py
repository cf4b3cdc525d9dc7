"""Learning one spike time: the spike over the epochs, the voltage before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.network import Sequential
from eventsnn.plotting.style import (
    BLUE,
    DARK,
    GRAY,
    ORANGE,
    RED,
    SMALL_SIZE,
    TimeUnit,
    evenly_spaced,
    finish,
    integer_ticks,
    new_figure,
    note,
    style_axes,
    time_unit,
)
from eventsnn.training.monitor import ParameterMonitor

if TYPE_CHECKING:
    from eventsnn.spikes import Spikes

__all__ = ["plot_learned_spike"]

_MOST_EPOCHS = 400
_N_GRID = 600


def plot_learned_spike(
    monitor: ParameterMonitor,
    network: Sequential,
    spikes: Spikes,
    target: float | None = None,
    *,
    neuron: int = 0,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """How a small chain learns when to fire: the output's first spike over the epochs, its voltage before and after.

    Parameters
    ----------
    monitor : ParameterMonitor
        It must have followed every weight and delay, so none has more than eight entries.
    network : Sequential
        The network that was recorded.
    spikes : Spikes
        One sample.
    target : float, optional
        Time that was to be learned, in the unit of the spike times.
    neuron : int
        Of the last population.
    title, path : optional

    Returns
    -------
    Figure
        Left: the spike time over the epochs, at most 400 of them; epochs without a spike lie at the top as crosses.
        Right: the voltage at the first and the last recorded epoch, up to its spike, with the spikes that arrive.

    Raises
    ------
    ValidationError
        Nothing was recorded, or not all of a parameter; more than one sample; a network of other shape; a target that
        is not >= 0.
    """
    from eventsnn.simulation import simulate

    where = "plot_learned_spike"
    if monitor.epochs.size == 0:
        raise ValidationError(f"{where}.monitor: nothing was recorded")
    if spikes.n_samples != 1:
        raise ValidationError(f"{where}.spikes: needs one sample, got {spikes.n_samples}")
    if target is not None:
        target = number(f"{where}.target", target, at_least=0)
    layer = network.layers[-1]
    unit = time_unit(where, layer.neuron)
    shown = evenly_spaced(monitor.epochs.size, _MOST_EPOCHS)
    first = np.empty(shown.size)
    for k, record in enumerate(shown):
        result = simulate(_network_of(where, monitor, network, record), spikes)
        first[k] = result.first_times(layer.name)[0, neuron]
    ends = [simulate(_network_of(where, monitor, network, record), spikes) for record in (shown[0], shown[-1])]

    figure = new_figure(9.6, 4.0, title)
    course, voltages = figure.subplots(1, 2)
    _course(course, unit, monitor.epochs[shown], first, target)
    labels = [f"after {monitor.epochs[k]} epochs" for k in (shown[0], shown[-1])]
    _voltages(voltages, unit, ends, labels, layer, neuron, target)
    return finish(figure, path)


def _network_of(where: str, monitor: ParameterMonitor, network: Sequential, record: int) -> Sequential:
    """The network as it was."""
    parts: list[Any] = []
    for layer in network.layers:
        values = {}
        for key, present in (("weight", layer.connection.weight), ("delay", layer.connection.delay)):
            course = monitor.course(f"{layer.name}.{key}")
            if not course.is_complete or course.shape != present.shape:
                raise ValidationError(
                    f"{where}.monitor: {layer.name}.{key} must be of shape {present.shape} and recorded completely, "
                    f"got shape {course.shape} with {course.followed.size} entries"
                )
            values[key] = course.values[record].reshape(course.shape).astype(present.dtype)
        own = layer.connection
        parts += [*getattr(layer, "channels", ()), own.with_values(**values), layer.neuron]
    return Sequential(parts, [layer.name for layer in network.layers])


def _course(
    ax: Axes, unit: TimeUnit, epochs: NDArray[np.int64], first: NDArray[np.float64], target: float | None
) -> None:
    """The spike time over the epochs."""
    style_axes(ax, x="epoch", y=unit.label("output spike"), grid=True)
    times = unit(first)
    spiked = np.isfinite(times)
    marker = "o" if epochs.size <= 30 else ""
    if spiked.any():
        label = f"spike: first {times[spiked][0]:.4g}, last {times[spiked][-1]:.4g}"
        ax.plot(epochs, np.where(spiked, times, np.nan), color=BLUE, marker=marker, markersize=3.5, label=label)
    else:
        note(ax, "never fires")
    if target is not None:
        ax.axhline(float(unit(target)), color=DARK, linestyle="--", linewidth=1.0, label=f"target {unit(target):.4g}")
    if not spiked.all():
        top = np.full(np.count_nonzero(~spiked), 0.98)
        ax.plot(
            epochs[~spiked], top, transform=ax.get_xaxis_transform(), color=RED, marker="x", linestyle="none",
            markersize=4, label=f"silent in {top.size} epochs",
        )  # fmt: skip
    margin = max(0.5, 0.02 * float(epochs[-1] - epochs[0]))
    ax.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    integer_ticks(ax.xaxis, 6)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=SMALL_SIZE, frameon=False, borderaxespad=0.2
        )


def _voltages(
    ax: Axes, unit: TimeUnit, results: list[Any], labels: list[str], layer: Any, neuron: int, target: float | None
) -> None:
    """The voltage at both ends of the training."""
    firsts = [float(result.first_times(layer.name)[0, neuron]) for result in results]
    last = max(
        [float(own.times.max(initial=0.0)) for result in results for own in result.spikes.values()] + [target or 0.0]
    )
    end = last + 0.5 * float(np.max(layer.neuron.tau_mem))
    threshold = float(layer.neuron.per_neuron("v_threshold", layer.n_neurons)[neuron])
    for result, first, label, color in zip(results, firsts, labels, (GRAY, BLUE), strict=True):
        times = np.linspace(0.0, min(np.nextafter(first, 0.0), end), _N_GRID)
        v = np.asarray(result.v(layer.name, times, 0, [neuron]))[:, 0]
        text = f"{label}: {unit(first):.4g} {unit.symbol}" if np.isfinite(first) else f"{label}: silent"
        ax.plot(unit(times), v, color=color, linewidth=1.5, label=text)
        if np.isfinite(first):
            ax.plot([unit(first)], [threshold], color=color, marker="o", markersize=5, linestyle="none")
    ax.axhline(threshold, color=DARK, linestyle=":", linewidth=0.9)
    if target is not None:
        ax.axvline(float(unit(target)), color=ORANGE, linestyle="--", linewidth=1.0, label="target")
    style_axes(ax, x=unit.label(), y="v (dotted: v_threshold)", grid=True)
    ax.set_xlim(0.0, float(unit(end)))
    ax.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=SMALL_SIZE, frameon=False, borderaxespad=0.2
    )
