"""Weights: histograms, matrices, receptive fields."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from eventsnn._parameters import parameters_of
from eventsnn.errors import ValidationError
from eventsnn.network import Sequential
from eventsnn.plotting.style import (
    BLUE,
    DARK,
    LABEL_SIZE,
    ORANGE,
    SMALL_SIZE,
    TICK_SIZE,
    check_neurons,
    drives_of,
    evenly_spaced,
    finish,
    image_grid,
    integer_ticks,
    matrix_bar,
    matrix_of,
    n_bins_of,
    new_figure,
    row_name,
    smoothing_of,
    style_axes,
)

if TYPE_CHECKING:
    from eventsnn.graph import Network

__all__ = ["plot_receptive_fields", "plot_weight_histograms", "plot_weight_matrices"]

_MAP = "RdBu_r"


def plot_weight_histograms(
    network: Sequential | Network, *, title: str | None = None, path: str | Path | None = None
) -> Figure:
    """Distribution of the weights of every connection, with mean and standard deviation; without averages, all alike.

    Parameters
    ----------
    network : Sequential or Network
    title, path : optional

    Returns
    -------
    Figure
        One axes per connection; counts are logarithmic from 1,000 weights on, where tails matter.
    """
    drives = _with_weights(network)
    figure = new_figure(4.2 * len(drives) + 0.3, 3.8, title)
    axes = figure.subplots(1, len(drives), squeeze=False)[0]
    for ax, (source, target, connection) in zip(axes, drives, strict=True):
        weight = connection.weight.astype(np.float64).ravel()
        mean, std = weight.mean(), weight.std()
        low, high = weight.min(), weight.max()
        if low == high:  # a histogram needs a width
            low, high = low - 0.5, high + 0.5
        ax.hist(weight, bins=n_bins_of(weight), range=(low, high), color=BLUE, log=weight.size >= 1000)
        ax.axvline(0.0, color=DARK, linewidth=0.8)
        ax.axvline(mean, color=ORANGE, linewidth=1.5)
        ax.margins(x=0.02)
        name = target if isinstance(network, Sequential) else f"{source} to {target}"
        shape = connection.weight.shape
        size = " x ".join(map(str, shape if len(shape) > 1 else (connection.n_pre, connection.n_post)))
        heading = f"{name} ({size})\n{weight.min():.3g} .. {weight.max():.3g}, mean {mean:.3g} (line), std {std:.3g}"
        counted = "synapses" if weight.size == connection.n_synapses else "weights"
        style_axes(ax, title=heading, x="weight (jump of i_syn)", y=f"number of {counted}", grid=True)
    return finish(figure, path)


def plot_weight_matrices(
    network: Sequential | Network, *, title: str | None = None, path: str | Path | None = None
) -> Figure:
    """Weight matrix of every connection as an image: red excites, blue inhibits, white is zero or no synapse.

    Averages, whose weights are all alike, are left out.

    Parameters
    ----------
    network : Sequential or Network
    title, path : optional

    Returns
    -------
    Figure
        One image per connection, rows presynaptic, columns postsynaptic, of a convolution those of one window. Each
        colour scale is symmetric about zero and ends at the 99.5th percentile of the absolute weights (pointed ends of
        the bar: values beyond).
    """
    drives = _with_weights(network)
    widths = [float(np.clip(1.2 + 0.03 * connection.n_post, 2.2, 4.4)) for _, _, connection in drives]
    figure = new_figure(sum(widths) + 0.9 * len(drives), 4.6, title)
    axes = figure.subplots(1, len(drives), squeeze=False, width_ratios=widths)[0]
    for ax, (before, after, connection) in zip(axes, drives, strict=True):
        weight = matrix_of(connection, connection.weight)
        n_sharing = connection.n_post // weight.shape[1]  # neurons that share a weight of a convolution
        rows = "place in the window" if n_sharing > 1 else f"{before} {row_name(network, before, connection)}"
        if n_sharing == 1 and weight.shape[0] != connection.n_pre:
            rows = f"pool over {before}"
        norm, extend = _centred_norm(weight)
        image = ax.imshow(weight, cmap=_MAP, norm=norm, aspect="auto", interpolation=smoothing_of(weight))
        style_axes(
            ax,
            title=f"{before} to {after}",
            x=f"{after} " + ("neuron" if n_sharing == 1 else "channel"),
            y=rows,
        )
        for axis in (ax.xaxis, ax.yaxis):
            integer_ticks(axis, 6)
        matrix_bar(figure, ax, image, "weight", extend)
    return finish(figure, path)


def plot_receptive_fields(
    network: Sequential,
    *,
    shape: tuple[int, int] | None = None,
    neurons: ArrayLike | None = None,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Input weights of some neurons of the first layer, each as an image.

    Parameters
    ----------
    network : Sequential
    shape : (height, width), optional
        Of the input image, row by row; default a square. Of a convolution it is that of its window.
    neurons : array_like of int, optional
        Default 24, spread evenly over the layer. Of a convolution they are pairs of an output and an input channel of
        its group, output n_inputs + input.
    title, path : optional

    Raises
    ------
    ValidationError
        The inputs do not fill `shape`, are not a square number without it, or a neuron is out of range.
    """
    where = "plot_receptive_fields"
    layer = network.layers[0]
    weight, noun = matrix_of(layer.connection, layer.connection.weight), "neurons"
    if layer.connection.weight.ndim == 4:  # by window, as (places, pairs of channels)
        noun = "pairs of output and input channel"
        n_y, n_x, n_in, n_out = layer.connection.weight.shape
        if shape not in (None, (n_y, n_x)):
            raise ValidationError(f"{where}.shape: the windows of {layer.name!r} are {(n_y, n_x)}, got {shape}")
        shape, weight = (n_y, n_x), weight.reshape(n_y * n_x, n_in, n_out).swapaxes(1, 2).reshape(n_y * n_x, -1)
    elif shape is None:
        side = math.isqrt(network.n_inputs)
        if side * side != network.n_inputs:
            raise ValidationError(f"{where}.shape: {network.n_inputs} inputs are no square, give (height, width)")
        shape = (side, side)
    if len(shape) != 2 or shape[0] * shape[1] != weight.shape[0]:
        raise ValidationError(f"{where}.shape: {shape} does not hold {network.n_inputs} inputs")
    n_columns = weight.shape[1]
    chosen = evenly_spaced(n_columns, 24) if neurons is None else neurons
    chosen = check_neurons(f"{where}.neurons", chosen, n_columns)

    heading = f"input weights of {chosen.size} of {n_columns} {layer.name} {noun}"
    width = min(1.1, 1.1 * shape[1] / shape[0])
    figure, axes, bar_axes = image_grid(
        chosen.size,
        min(8, max(4, chosen.size)),
        (width, width * shape[0] / shape[1]),
        gaps=(0.1, 0.22),
        left=0.15,
        bottom=0.15,
        right=1.15,
        title=f"{title}: {heading}" if title else heading,
    )
    norm, extend = _centred_norm(weight[:, chosen])
    for ax, neuron in zip(axes, chosen, strict=True):
        image = ax.imshow(weight[:, neuron].reshape(shape), cmap=_MAP, norm=norm, interpolation="nearest")
        ax.set_title(f"{neuron}", fontsize=SMALL_SIZE, pad=2)
        ax.set_axis_off()
    bar = figure.colorbar(image, cax=bar_axes, extend=extend)
    bar.ax.tick_params(labelsize=TICK_SIZE)
    bar.set_label("weight", fontsize=LABEL_SIZE)
    return finish(figure, path)


def _with_weights(network: Sequential | Network) -> list[tuple[str, str, Any]]:
    """The connections with weights of their own; all, if there are none."""
    drives = drives_of(network)
    return [drive for drive in drives if "weight" in parameters_of(drive[2])] or drives


def _centred_norm(weight: NDArray[np.floating]) -> tuple[Normalize, str]:
    """Limits symmetric about 0 that a few large weights do not stretch, and which ends are cut."""
    limit = float(np.percentile(np.abs(weight), 99.5))
    if limit == 0.0:
        limit = float(np.abs(weight).max()) or 1.0
    above, below = bool(weight.max() > limit), bool(weight.min() < -limit)
    extend = {(True, True): "both", (True, False): "max", (False, True): "min", (False, False): "neither"}
    return Normalize(-limit, limit), extend[above, below]
