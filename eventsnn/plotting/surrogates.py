"""Surrogate derivatives over the distance from the threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.plotting.style import DARK, SMALL_SIZE, class_color, finish, new_figure, style_axes
from eventsnn.surrogates import Surrogate
from eventsnn.surrogates.lookup import SURROGATES

__all__ = ["plot_surrogates"]

_DASHES = ("-", (0, (4, 3)), (0, (1.2, 3)))
_POINTS = 1001


def plot_surrogates(
    surrogates: Sequence[Surrogate] | None = None,
    *,
    x_range: tuple[float, float] = (-1.5, 1.5),
    relative: bool = False,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Surrogate derivatives of the spike over x = v - v_threshold, in one picture.

    Parameters
    ----------
    surrogates : sequence of Surrogate, optional
        Default all that the library has, with their defaults.
    x_range : (low, high)
        Of the axis.
    relative : bool
        Divide each by its largest value in the range, to compare shapes where heights differ much.
    title, path : optional

    Returns
    -------
    Figure
        One line each; the legend gives parameters and the largest value in the range.

    Raises
    ------
    ValidationError
        No surrogates, something else among them, a range that is not finite or does not have low < high.
    """
    chosen = [SURROGATES[name]() for name in SURROGATES] if surrogates is None else list(surrogates)
    if not chosen:
        raise ValidationError("plot_surrogates.surrogates: needs at least one")
    for k, surrogate in enumerate(chosen):
        if not isinstance(surrogate, Surrogate):
            raise ValidationError(f"plot_surrogates.surrogates[{k}]: must be a surrogate, got {surrogate!r}")
    low, high = x_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValidationError(f"plot_surrogates.x_range: must be finite with low < high, got {x_range!r}")

    figure = new_figure(8.6, max(4.0, 1.2 + 0.34 * len(chosen)), title)
    ax = figure.subplots()
    for k, surrogate in enumerate(chosen):
        x = _points(low, high, surrogate.support)
        values = surrogate.derivative(x)
        largest = float(np.abs(values).max())
        label = f"{surrogate.name.replace('_', ' ')}, largest {largest:.3g}\n{_parameters(surrogate)}".strip()
        shown = values / largest if relative and largest > 0 else values
        dashes = _DASHES[k % len(_DASHES)]  # several are 0 or 1 in the same places
        ax.plot(x, shown, color=class_color(k), linestyle=dashes, linewidth=1.8, label=label)
    ax.axvline(0.0, color=DARK, linewidth=0.8, zorder=0)
    ax.set_xlim(low, high)
    y = r"$\sigma(x)$ / largest" if relative else r"$\sigma(x)$, in place of $\mathrm{d}s/\mathrm{d}v$"
    style_axes(ax, x=r"$x = v - v_\mathrm{threshold}$", y=y, grid=True)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=SMALL_SIZE, frameon=False)
    return finish(figure, path)


def _points(low: float, high: float, support: tuple[float, float]) -> NDArray[np.float64]:
    """Even points, 0, and both sides of the ends of the support, so that jumps are drawn upright and where they are."""
    sides = [side for end in support for side in (np.nextafter(end, -np.inf), end, np.nextafter(end, np.inf))]
    x = np.concatenate((np.linspace(low, high, _POINTS), [0.0], sides))
    return np.unique(x[(x >= low) & (x <= high)])


def _parameters(surrogate: Surrogate) -> str:
    """The numeric ones, such as "height 0.3, width 1"."""
    named = [(f.name, getattr(surrogate, f.name)) for f in fields(surrogate)]  # type: ignore[arg-type]
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in named if isinstance(value, float))
