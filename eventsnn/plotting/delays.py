"""Delays: histograms and matrices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from eventsnn.connections import Connection, Dense
from eventsnn.errors import ValidationError
from eventsnn.network import Sequential
from eventsnn.plotting.style import (
    BLUE,
    ORANGE,
    TimeUnit,
    drives_of,
    finish,
    integer_ticks,
    matrix_bar,
    matrix_of,
    n_bins_of,
    new_figure,
    row_name,
    smoothing_of,
    style_axes,
    time_unit,
)

if TYPE_CHECKING:
    from eventsnn.graph import Network

__all__ = ["plot_delay_histograms", "plot_delay_matrices"]


def plot_delay_histograms(
    network: Sequential | Network, *, title: str | None = None, path: str | Path | None = None
) -> Figure:
    """Distribution of the delays of every connection that has some.

    Parameters
    ----------
    network : Sequential or Network
    title, path : optional

    Returns
    -------
    Figure
        One axes per connection, in units of the target's tau_syn for a chain, else in milliseconds (of delays in
        seconds). Axonal and dendritic delays are counted once for each neuron.

    Raises
    ------
    ValidationError
        No connection has a delay.
    """
    drives = _with_delays("plot_delay_histograms", network)
    figure = new_figure(4.2 * len(drives) + 0.3, 3.8, title)
    axes = figure.subplots(1, len(drives), squeeze=False)[0]
    for ax, (source, target, connection, unit) in zip(axes, drives, strict=True):
        delay = unit(connection.delay.ravel())
        ax.hist(delay, bins=n_bins_of(delay), range=(0.0, 1.02 * delay.max()), color=BLUE)
        ax.axvline(delay.mean(), color=ORANGE, linewidth=1.5)
        ax.margins(x=0.02)
        heading = (
            f"{source} to {target}, {_kind(connection)}\n"
            f"mean {delay.mean():.3g} (line), longest {delay.max():.3g} {unit.symbol}"
        )
        style_axes(ax, title=heading, x=unit.label("delay"), y="number of delays", grid=True)
    return finish(figure, path)


def plot_delay_matrices(
    network: Sequential | Network, *, title: str | None = None, path: str | Path | None = None
) -> Figure:
    """Delays of every connection that has several as an image, rows presynaptic, columns postsynaptic.

    Parameters
    ----------
    network : Sequential or Network
    title, path : optional

    Returns
    -------
    Figure
        One image per connection, in the units of `plot_delay_histograms`; axonal delays are one column, dendritic ones
        one row. Each colour scale begins at 0; from 1,000 delays on it ends at the 99.5th percentile.

    Raises
    ------
    ValidationError
        No connection has delays that differ.
    """
    drives = [drive for drive in _with_delays("plot_delay_matrices", network) if drive[2].delay.size > 1]
    if not drives:
        raise ValidationError("plot_delay_matrices.network: no connection has more than one delay")
    delays = [
        unit(connection.delay if isinstance(connection, Dense) else matrix_of(connection, connection.rows()[3]))
        for _, _, connection, unit in drives
    ]
    widths = [float(np.clip(1.6 + 0.03 * delay.shape[1], 2.4, 4.4)) for delay in delays]
    figure = new_figure(sum(widths) + 0.9 * len(drives), 4.6, title)
    axes = figure.subplots(1, len(drives), squeeze=False, width_ratios=widths)[0]
    for ax, (source, target, connection, unit), delay in zip(axes, drives, delays, strict=True):
        high = float(np.percentile(delay, 99.5)) if delay.size >= 1000 else 0.0
        high = high or float(delay.max())
        image = ax.imshow(
            delay, cmap="viridis", norm=Normalize(0.0, high), aspect="auto", interpolation=smoothing_of(delay)
        )
        rows = "all" if delay.shape[0] < connection.n_pre else row_name(network, source, connection)
        columns = "all" if delay.shape[1] < connection.n_post else "neuron"
        style_axes(ax, title=f"{source} to {target}", x=f"{target} ({columns})", y=f"{source} ({rows})")
        for axis, n in ((ax.xaxis, delay.shape[1]), (ax.yaxis, delay.shape[0])):
            integer_ticks(axis, 6)
            if n == 1:
                axis.set_ticks([])
        extend = "max" if delay.max() > high else "neither"
        matrix_bar(figure, ax, image, unit.label("delay"), extend)
    return finish(figure, path)


def _with_delays(where: str, network: Sequential | Network) -> list[tuple[str, str, Connection, TimeUnit]]:
    """Source, target, connection and unit of all that have delays."""
    found = []
    for k, (source, target, connection) in enumerate(drives_of(network)):
        if connection.has_delay:
            neuron = network.layers[k].neuron if isinstance(network, Sequential) else None
            unit = time_unit(where, unit="ms") if neuron is None else time_unit(where, neuron)
            found.append((source, target, connection, unit))
    if not found:
        raise ValidationError(f"{where}.network: no connection has a delay")
    return found


def _kind(connection: Connection) -> str:
    """What the delays depend on, in a word."""
    shape = connection.delay.shape
    if not shape:
        return "one delay"
    if len(shape) == 1 or min(shape) > 1 or max(shape) == 1:
        return f"{connection.delay.size} synaptic delays"
    return f"{shape[0]} axonal delays" if shape[1] == 1 else f"{shape[1]} dendritic delays"
