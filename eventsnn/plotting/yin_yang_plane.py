"""The Yin-Yang plane: the network as a function of (x, y), the grid, the true borders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Arc, Circle
from numpy.typing import NDArray

from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.plotting.style import DARK
from eventsnn.spikes import Spikes

if TYPE_CHECKING:
    from eventsnn.network import Sequential

__all__ = ["R_BIG", "R_SMALL", "FirstTimes", "Plane", "show", "yin_yang_first_times"]

#: values (n, 2) in the unit square -> first spike times (n, n_neurons) by population, inf = silent
FirstTimes = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]

# The published geometry: the disc of radius R_BIG about (R_BIG, R_BIG), two dots of radius R_SMALL.
R_BIG, R_SMALL = 0.5, 0.1
_BLOCK = 4096  # points simulated at a time: bounds the memory for hidden spikes


def yin_yang_first_times(
    network: Sequential,
    *,
    t_early: float = 0.15,
    t_late: float = 2.0,
    bias_time: float | None = None,
    tau_syn: float | None = None,
    n_threads: int = 1,
) -> FirstTimes:
    """The network as a function of the plane: ``(x, y) -> first spike times`` of every population.

    Parameters
    ----------
    network : Sequential
        With 4 inputs, or 5 with a bias spike.
    t_early, t_late : float
        The spike of value 0 and of value 1, in units of `tau_syn`.
    bias_time : float, optional
        Time of the bias spike in units of `tau_syn`; None for 4 inputs.
    tau_syn : float, optional
        Default that of the network's first population.
    n_threads : int

    Returns
    -------
    callable
        values (n, 2) -> dict of name -> (n, n_neurons), inf = silent. Input neurons are x, y, 1 - x, 1 - y (and the
        bias), each at ``(t_early + value (t_late - t_early)) tau_syn``. It remembers its last answer, so that
        several pictures of the same plane cost one simulation.

    Raises
    ------
    ValidationError
        A network with another number of inputs, times that are negative or not finite.
    """
    where = "yin_yang_first_times"
    n_inputs = 4 if bias_time is None else 5
    if network.n_inputs != n_inputs:
        bias = "without" if bias_time is None else "with"
        raise ValidationError(
            f"{where}: {n_inputs} inputs are needed {bias} bias_time, the network has {network.n_inputs}"
        )
    number(f"{where}.t_early", t_early, at_least=0)
    number(f"{where}.t_late", t_late, above=t_early)
    if bias_time is not None:
        number(f"{where}.bias_time", bias_time, at_least=0)
    scale = network.layers[0].neuron.tau_syn if tau_syn is None else tau_syn
    if np.unique(scale).size != 1 or not np.all(np.asarray(scale) > 0):
        raise ValidationError(f"{where}.tau_syn: one value > 0 is needed, got {scale!r}")
    tau = float(np.unique(scale)[0])
    last: tuple[bytes, dict[str, NDArray[np.float64]]] | None = None

    def first_times(values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        nonlocal last
        values = np.ascontiguousarray(values, dtype=np.float64)
        if last is None or last[0] != values.tobytes():
            last = (
                values.tobytes(),
                _simulate_plane(network, _encode(values, t_early, t_late, bias_time, tau), n_threads),
            )
        return last[1]

    return first_times


def _encode(
    values: NDArray[np.float64], t_early: float, t_late: float, bias_time: float | None, tau_syn: float
) -> NDArray[np.float64]:
    """Input times, shape (n, 4) or (n, 5)."""
    times = (t_early + np.hstack((values, 1.0 - values)) * (t_late - t_early)) * tau_syn
    if bias_time is None:
        return times
    return np.hstack((times, np.full((values.shape[0], 1), bias_time * tau_syn)))


def _simulate_plane(
    network: Sequential, input_times: NDArray[np.float64], n_threads: int
) -> dict[str, NDArray[np.float64]]:
    from eventsnn.simulation import simulate

    blocks: dict[str, list[NDArray[np.float64]]] = {layer.name: [] for layer in network.layers}
    for start in range(0, input_times.shape[0], _BLOCK):
        spikes = Spikes.from_first_times(input_times[start : start + _BLOCK])
        result = simulate(network, spikes, n_threads=n_threads)
        for name, parts in blocks.items():
            parts.append(result.first_times(name))
    return {name: np.concatenate(parts) for name, parts in blocks.items()}


class Plane:
    """A square grid of points; only those that touch the disc are simulated."""

    def __init__(self, where: str, n_grid: int) -> None:
        if isinstance(n_grid, bool) or not isinstance(n_grid, (int, np.integer)) or n_grid < 2:
            raise ValidationError(f"{where}.n_grid: must be an integer >= 2, got {n_grid!r}")
        axis = (np.arange(n_grid) + 0.5) / n_grid
        x, y = np.meshgrid(axis, axis)
        self.inside = np.hypot(x - R_BIG, y - R_BIG) <= R_BIG + 1.0 / n_grid
        self.points = np.column_stack((x[self.inside], y[self.inside]))

    def image(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of the points as an image, row 0 at the bottom, NaN outside the disc."""
        image = np.full(self.inside.shape, np.nan)
        image[self.inside] = values
        return image


def show(ax: Axes, image: NDArray[np.float64], colors: ListedColormap | str, norm: Normalize) -> None:
    """The image inside the disc and the true borders on top."""
    disc = Circle((R_BIG, R_BIG), R_BIG, fill=False, edgecolor=DARK, linewidth=1.0)
    shown = ax.imshow(
        image, cmap=colors, norm=norm, origin="lower", extent=(0.0, 1.0, 0.0, 1.0), interpolation="nearest"
    )
    ax.add_patch(disc)
    shown.set_clip_path(disc)
    half = R_BIG / 2
    for center, start in ((half, 180.0), (3 * half, 0.0)):
        ax.add_patch(Arc((center, R_BIG), R_BIG, R_BIG, theta1=start, theta2=start + 180.0, color=DARK, linewidth=1.0))
        ax.add_patch(Circle((center, R_BIG), R_SMALL, fill=False, edgecolor=DARK, linewidth=1.0))
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.01)
    ax.set_aspect("equal")
