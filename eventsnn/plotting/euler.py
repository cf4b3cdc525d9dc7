"""What a time grid would make of a network: exact membrane voltages beside those of Euler's method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.network import Sequential
from eventsnn.neurons import LIF
from eventsnn.plotting.style import (
    BLUE,
    DARK,
    LABEL_SIZE,
    ORANGE,
    PURPLE,
    SMALL_SIZE,
    TICK_SIZE,
    TimeUnit,
    check_class_names,
    check_index,
    check_neurons,
    evenly_spaced,
    finish,
    new_figure,
    note,
    style_axes,
    time_unit,
)
from eventsnn.spikes import Spikes

if TYPE_CHECKING:
    from eventsnn.simulation import Result

__all__ = ["EulerLayer", "euler_layers", "plot_euler_comparison"]

#: an arrival so small a part of a step behind a grid point is one at it: spikes lie on the grid, and time / dt rounds
_ROUNDING = 1e-9
_MOST_STEPS = 100_000
_COLORS = (ORANGE, PURPLE, DARK)
_N_GRID = 800
_TAU = r"$\tau_\mathrm{syn}$"


@dataclass(frozen=True)
class EulerLayer:
    """What Euler's method makes of a layer in one sample.

    v : (n_steps + 1, n_neurons), after every step, the start first; a spike is written as the reset after it
    spikes : of one sample, at grid points
    """

    v: NDArray[np.float64]
    spikes: Spikes

    def first_times(self) -> NDArray[np.float64]:
        """First spike of every neuron, inf for none."""
        first: NDArray[np.float64] = self.spikes.first_times()[0]
        return first


def euler_layers(network: Sequential, spikes: Spikes, dt: float, n_steps: int) -> dict[str, EulerLayer]:
    """A chain of LIF layers on the grid dt, 2 dt, ..., layer by layer.

    Parameters
    ----------
    network : Sequential
    spikes : Spikes
        One sample.
    dt : float
        Step, in the unit of the spike times, at most the smallest time constant.
    n_steps : int

    Returns
    -------
    dict of name to EulerLayer

    Raises
    ------
    ValidationError
        More than one sample, a step that is not > 0 or too long to be stable, too many steps.

    Notes
    -----
    In the step that ends at t: i_syn *= 1 - dt/tau_syn; every arrival in (t - dt, t] adds its weight to i_syn;
    v += (v_leak - v + i_syn + i_bias) dt/tau_mem. Where v reaches v_threshold, the neuron fires at t.
    """
    where = "euler_layers"
    if spikes.n_samples != 1:
        raise ValidationError(f"{where}.spikes: needs one sample, got {spikes.n_samples}")
    number(f"{where}.dt", dt, above=0)
    taus = [tau for layer in network.layers for tau in (layer.neuron.tau_mem, layer.neuron.tau_syn)]
    shortest = min(float(np.min(tau)) for tau in taus)
    if dt > shortest:
        raise ValidationError(f"{where}.dt: must be at most the shortest time constant, {shortest:g}, got {dt:g}")
    if not 1 <= n_steps <= _MOST_STEPS:
        raise ValidationError(f"{where}.n_steps: must lie in 1 .. {_MOST_STEPS}, got {n_steps}")
    found: dict[str, EulerLayer] = {}
    graph = network.as_network()
    sent = {"input": (spikes.times, spikes.neurons)}
    for name, times in getattr(network, "bias_times", {}).items():
        sent[name] = (times, np.arange(times.size))
    for layer in network.layers:
        drive = np.zeros((n_steps, layer.n_neurons))
        for projection in graph.projections_to(layer.name):
            _add_arrivals(drive, *sent[projection.source], projection.connection, dt)
        found[layer.name] = _stepped(layer.neuron, layer.n_neurons, drive, dt)
        own = found[layer.name].spikes
        sent[layer.name] = (own.times, own.neurons)
    return found


def _add_arrivals(
    drive: NDArray[np.float64], times: NDArray[np.float64], neurons: NDArray[np.int64], connection: Any, dt: float
) -> None:
    """Add the weights of all arrivals to the rows of their steps."""
    weight = connection.weight[neurons].astype(np.float64)
    delay = np.broadcast_to(connection.delay, connection.weight.shape)[neurons]
    steps = np.maximum(np.ceil((times[:, None] + delay) / dt - _ROUNDING) - 1, 0)
    inside = steps < len(drive)
    columns = np.broadcast_to(np.arange(drive.shape[1]), steps.shape)
    np.add.at(drive, (steps[inside].astype(np.int64), columns[inside]), weight[inside])


def _stepped(neuron: Any, n: int, drive: NDArray[np.float64], dt: float) -> EulerLayer:
    """Voltage and spikes of one layer."""
    keep, rate = 1 - dt / neuron.per_neuron("tau_syn", n), dt / neuron.per_neuron("tau_mem", n)
    rest = neuron.per_neuron("v_leak", n) + neuron.per_neuron("i_bias", n)
    threshold, reset, pause, left = np.full(n, np.inf), np.zeros(n), np.zeros(n), np.full(n, np.inf)
    if isinstance(neuron, LIF):
        threshold, reset = neuron.per_neuron("v_threshold", n), neuron.per_neuron("v_reset", n)
        pause = neuron.per_neuron("t_refrac", n)
        left = np.full(n, np.inf if neuron.max_spikes is None else float(neuron.max_spikes))
    current, held_until = np.zeros(n), np.full(n, -np.inf)
    v = np.empty((len(drive) + 1, n))
    v[0] = neuron.v_start(n)
    times, neurons = [], []
    for step, row in enumerate(drive):
        t = (step + 1) * dt
        current = current * keep + row
        now = v[step] + (rest - v[step] + current) * rate
        now = np.where(t > held_until + _ROUNDING * dt, now, reset)
        fires = (now >= threshold) & (left > 0)
        if fires.any():
            which = np.flatnonzero(fires)
            times.append(np.full(which.size, t))
            neurons.append(which)
            now[fires], held_until[fires] = reset[fires], t + pause[fires]
            left[fires] -= 1
        v[step + 1] = now
    own, at = np.concatenate([*neurons, np.empty(0, np.int64)]), np.concatenate([*times, np.empty(0)])
    return EulerLayer(v, Spikes(np.zeros_like(own), own, at, n_samples=1, n_neurons=n))


def plot_euler_comparison(
    result: Result,
    sample: int = 0,
    *,
    steps: Sequence[float] = (0.1, 0.02),
    neurons: ArrayLike | None = None,
    neuron_names: Sequence[str] | None = None,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Exact voltages of the output neurons of a chain, those of Euler's method, and how far all spikes move.

    Parameters
    ----------
    result : Result
        Of `simulate`, of a `Sequential`.
    sample : int
    steps : sequence of up to three floats
        Steps of the grids, in units of the output's shortest tau_syn.
    neurons : array_like of int, optional
        Output neurons; default all up to four, else four spread evenly.
    neuron_names : sequence of str, optional
        One per output neuron, such as the class names.
    title, path : optional

    Returns
    -------
    Figure
        One axes per neuron: v exact (line) and on the grids (`euler_layers`), up to the neuron's last allowed spike.
        Below, for every neuron of the chain that fires both ways, its first spike on the grid minus the exact one;
        the heading counts those that fire one way only.

    Raises
    ------
    ValidationError
        A network that is no chain, no steps or more than three, a sample or neuron out of range.
    """
    where = "plot_euler_comparison"
    network = result.network
    if not isinstance(network, Sequential):
        raise ValidationError(f"{where}.result: must be of a Sequential, got one of a {type(network).__name__}")
    sample = check_index(f"{where}.sample", sample, result.n_samples, "n_samples")
    if not 1 <= len(steps) <= len(_COLORS):
        raise ValidationError(f"{where}.steps: needs one to {len(_COLORS)} steps, got {len(steps)}")
    layer = network.layers[-1]
    names = None if neuron_names is None else check_class_names(f"{where}.neuron_names", neuron_names, layer.n_neurons)
    chosen = evenly_spaced(layer.n_neurons, 4) if neurons is None else neurons
    chosen = check_neurons(f"{where}.neurons", chosen, layer.n_neurons)
    tau = float(np.min(layer.neuron.tau_syn))
    unit = time_unit(where, layer.neuron)
    last = max((float(own[sample].times.max(initial=0.0)) for own in result.spikes.values()), default=0.0)
    longest = max((float(np.max(own.connection.delay)) for own in network.layers), default=0.0)
    end = last + longest + 0.5 * float(np.max(layer.neuron.tau_mem))
    if np.isfinite(result.t_max):
        end = min(end, result.t_max)
    inputs = result.spikes["input"][sample]
    grids = {}
    for step in steps:
        dt = number(f"{where}.steps", step, above=0) * tau
        grids[f"{step:g}"] = dt, euler_layers(network, inputs, dt, int(np.ceil(end / dt)))

    figure = new_figure(7.5, 1.3 * chosen.size + 3.3, None)
    axes = figure.subplots(chosen.size + 1, 1, squeeze=False, height_ratios=[1.0] * chosen.size + [1.5])[:, 0]
    exact = np.asarray(result.spikes[layer.name][sample].first_times()[0])
    for ax, neuron in zip(axes[:-1], chosen, strict=True):
        own = _of_neuron(result, sample, layer, int(neuron))
        _voltages(ax, unit, result, sample, layer, int(neuron), own, grids, end)
        tag = names[neuron] if names is not None else f"neuron {neuron}"
        if layer.can_spike:
            firsts = {label: layers[layer.name].first_times()[neuron] for label, (_, layers) in grids.items()}
            tag += f": {_compared(unit, exact[neuron], firsts)}"
        ax.set_title(tag, fontsize=TICK_SIZE, loc="left", pad=3)
    for ax in axes[1:-1]:
        ax.sharex(axes[0])
    axes[0].set_xlim(0.0, float(unit(end)))
    axes[chosen.size - 1].set_xlabel(unit.label(), fontsize=LABEL_SIZE)
    for ax in axes[: chosen.size - 1]:
        ax.tick_params(labelbottom=False)
    _errors(axes[-1], unit, result, sample, network, grids)
    figure.suptitle(title or f"Euler's method, sample {sample}", fontsize=LABEL_SIZE + 1)
    lines = [line for ax in axes[:-1] for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    handles = {str(line.get_label()): line for line in lines}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=5, fontsize=SMALL_SIZE, frameon=False
    )  # fmt: skip
    return finish(figure, path)


def _compared(unit: TimeUnit, exact: float, firsts: dict[str, float]) -> str:
    """The exact first spike of a neuron, and how far it moves on every grid."""
    text = f"exact {unit(exact):.5g} {unit.symbol}" if np.isfinite(exact) else "exact silent"
    for label, first in firsts.items():
        if np.isinf(first):
            text += f"; dt = {label}: silent"
        else:
            text += f"; dt = {label}: " + (
                f"{unit(first - exact):+.2g}" if np.isfinite(exact) else f"{unit(first):.5g}"
            )
    return text


_Grids = dict[str, tuple[float, dict[str, EulerLayer]]]


def _of_neuron(result: Result, sample: int, layer: Any, neuron: int) -> NDArray[np.float64]:
    """Exact spikes of one neuron."""
    sent = result.spikes[layer.name][sample]
    own: NDArray[np.float64] = sent.times[sent.neurons == neuron]
    return own


def _voltages(
    ax: Axes, unit: TimeUnit, result: Result, sample: int, layer: Any, neuron: int, own: NDArray[np.float64],
    grids: _Grids, end: float,
) -> None:  # fmt: skip
    """One neuron: exact and on every grid."""
    style_axes(ax, y="v", grid=True)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
    most = layer.neuron.max_spikes if isinstance(layer.neuron, LIF) else None
    both_sides = np.nextafter(own, 0.0), np.nextafter(own, np.inf)
    times = np.unique(np.concatenate((np.linspace(0.0, end, _N_GRID), *both_sides)))
    if most is not None and own.size >= most:
        times = times[times <= own[most - 1]]
    v = np.asarray(result.v(layer.name, times, sample, [neuron]))[:, 0]
    curves = [("exact", own, times, v, BLUE)]
    for (label, (dt, layers)), color in zip(grids.items(), _COLORS, strict=False):
        grid = layers[layer.name]
        train = grid.spikes.times[grid.spikes.neurons == neuron]
        n = len(grid.v) if most is None or train.size < most else round(float(train[most - 1]) / dt)
        curves.append((f"Euler, dt = {label} {_TAU}", train, dt * np.arange(n), grid.v[:n, neuron], color))
    threshold = layer.neuron.per_neuron("v_threshold", layer.n_neurons)[neuron] if layer.can_spike else None
    for label, train, at, shown, color in curves:
        if threshold is not None and train.size and at[-1] < train[-1]:  # up to the threshold, not only near it
            at, shown = np.append(at, train[-1]), np.append(shown, threshold)
        style: dict[str, Any] = {"linewidth": 1.6} if color == BLUE else {"linewidth": 1.0, "linestyle": "--"}
        ax.plot(unit(at), shown, color=color, label=label, **style)
        if threshold is not None and train.size:
            level = np.full(train.size, threshold)
            ax.plot(unit(train), level, color=color, linestyle="none", marker="o", markersize=4, label="_spikes")
    low, high = float(v.min()), float(v.max())  # a neuron that stays silent on a grid may drift far
    if threshold is not None:
        ax.axhline(threshold, color=DARK, linewidth=0.9, linestyle=":", label="v_threshold")
        high = max(high, threshold)
    margin = 0.1 * ((high - low) or 1.0)
    ax.set_ylim(low - margin, high + margin)


def _errors(ax: Axes, unit: TimeUnit, result: Result, sample: int, network: Sequential, grids: _Grids) -> None:
    """First spikes on the grids minus the exact ones, of all neurons."""
    layers = [layer for layer in network.layers if layer.can_spike]
    exact = np.concatenate([result.first_times(layer.name)[sample] for layer in layers] + [np.empty(0)])
    for (label, (_, found)), color in zip(grids.items(), _COLORS, strict=False):
        first = np.concatenate([found[layer.name].first_times() for layer in layers] + [np.empty(0)])
        both = np.isfinite(first) & np.isfinite(exact)
        error = unit(first[both] - exact[both])
        text = f"dt = {label}"
        if error.size:
            text += f": mean {np.mean(error):+.2g}, largest {np.abs(error).max():.2g}"
        lone = int(np.count_nonzero(np.isfinite(first) != np.isfinite(exact)))
        text += f", {lone} fire one way only" if lone else ""
        ax.plot(
            unit(exact[both]), error, color=color, linestyle="none", marker="o", markersize=3, alpha=0.7, label=text
        )  # fmt: skip
    style_axes(
        ax, x=unit.label(f"exact first spike of all {exact.size} neurons"), y=unit.label("Euler - exact"), grid=True
    )
    ax.axhline(0.0, color=BLUE, linewidth=1.0)
    if np.isfinite(exact).any():
        ax.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=SMALL_SIZE,
            frameon=False, borderaxespad=0.1,
        )  # fmt: skip
    else:
        note(ax, "no neuron fires")
