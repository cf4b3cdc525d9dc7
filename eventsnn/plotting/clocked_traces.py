"""Membrane potentials of one sample on a time grid, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from eventsnn.plotting.style import (
    BLUE,
    DARK,
    LABEL_SIZE,
    RED,
    SMALL_SIZE,
    TICK_SIZE,
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
    from eventsnn.simulation.clock_driven import ClockedResult

__all__ = ["plot_clocked_traces"]


def plot_clocked_traces(
    result: ClockedResult,
    name: str,
    sample: int = 0,
    neurons: ArrayLike | None = None,
    *,
    neuron_names: Sequence[str] | None = None,
    unit: str | None = None,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Membrane potentials of units of one population over the steps of one sample, with threshold and spikes.

    Parameters
    ----------
    result : ClockedResult
        Of `simulate_clocked`.
    name : str
        Population.
    sample : int
    neurons : array_like of int, optional
        Default all up to ten, else six spread evenly over the population.
    neuron_names : sequence of str, optional
        One per unit of the population, such as the class names for the outputs.
    unit : {"step", "s", "ms"}, optional
        Unit of the time axis; default "step".
    title, path : optional

    Returns
    -------
    Figure
        One axes per unit: the potential that was compared with the threshold in each step, before its reset, and a dot
        where it was above. The axes of a readout share their scale.

    Raises
    ------
    ValidationError
        An unknown population, a sample or unit out of range.
    """
    where = "plot_clocked_traces"
    graph = graph_of(result.network)
    name = check_name(f"{where}.name", name, graph.populations)
    sample = check_index(f"{where}.sample", sample, result.n_samples, "n_samples")
    population = graph.populations[name]
    size = population.n_neurons
    chosen = some_neurons(f"{where}.neurons", neurons, size)
    names = None if neuron_names is None else check_class_names(f"{where}.neuron_names", neuron_names, size)
    scale = axis_unit(where, result, population.neuron, unit, 0.0)

    potentials = np.asarray(result.v(name, sample, chosen), dtype=np.float64)
    threshold = population.neuron.per_neuron("v_threshold", size)[chosen] if population.can_spike else None
    sent = result.spikes[name][sample]
    times = scale(result.times)
    figure = new_figure(7.5, (1.3 if chosen.size <= 4 else 0.95) * chosen.size + 1.4)
    axes = figure.subplots(chosen.size, 1, squeeze=False, sharex=True, sharey=threshold is None)[:, 0]
    for k, (ax, neuron) in enumerate(zip(axes, chosen, strict=True)):
        style_axes(ax, grid=True)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
        ax.plot(times, potentials[:, k], color=BLUE, linewidth=1.2, drawstyle="steps-mid", label="v, before the reset")
        heading = f"{names[neuron]}" if names is not None else f"neuron {neuron}"
        if threshold is not None:
            ax.axhline(threshold[k], color=DARK, linewidth=0.9, linestyle="--", label="v_threshold")
            own = np.rint(sent.times[sent.neurons == neuron] / result.dt).astype(np.int64)
            ax.plot(
                times[own], potentials[own, k], color=RED, linestyle="none", marker="o", markersize=3.5, label="spike"
            )
            heading += f": {own.size or 'no'} spike{'' if own.size == 1 else 's'}"
        else:
            heading += f": highest {potentials[:, k].max():.3g}"
        ax.set_title(heading, fontsize=TICK_SIZE, loc="left", pad=3)
    axes[0].margins(x=0.01)
    axes[-1].set_xlabel(scale.label(), fontsize=LABEL_SIZE)
    figure.supylabel("v", fontsize=LABEL_SIZE)
    figure.suptitle(title or f"{name}, sample {sample}", fontsize=LABEL_SIZE + 1)
    handles = {str(line.get_label()): line for line in axes[0].get_lines()}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=SMALL_SIZE, frameon=False
    )  # fmt: skip
    return finish(figure, path)
