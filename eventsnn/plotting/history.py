"""The training curve: loss and error over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.plotting.style import (
    BLUE,
    ORANGE,
    SMALL_SIZE,
    finish,
    integer_ticks,
    new_figure,
    note,
    set_log_y,
    style_axes,
)

__all__ = ["plot_history"]

_CURVES = (("train", BLUE), ("valid", ORANGE))


def plot_history(
    history: Sequence[Mapping[str, Any] | Any], *, title: str | None = None, path: str | Path | None = None
) -> Figure:
    """Loss and classification error of training and validation over the epochs.

    Parameters
    ----------
    history : sequence of mappings or dataclasses, one per finished epoch
        With `epoch` and any of `train_loss`, `train_accuracy` (0 .. 1), `valid_loss`, `valid_accuracy`; None and NaN
        leave a gap.
    title : str, optional
    path : path, optional
        Also write the picture there, atomically.

    Returns
    -------
    Figure
        Two axes: loss (no unit), and error = 100 (1 - accuracy) in percent. An axis is logarithmic where all values
        are positive and span more than a factor of five. The legend gives the last and the best value.

    Raises
    ------
    ValidationError
        No epochs, an entry without `epoch`, something that is not a number, an accuracy outside 0 .. 1.
    """
    if len(history) == 0:
        raise ValidationError("plot_history.history: needs at least one epoch")
    entries = [_entry(k, entry) for k, entry in enumerate(history)]
    epochs = _column(entries, "epoch")
    if not np.isfinite(epochs).all():
        k = int(np.flatnonzero(~np.isfinite(epochs))[0])
        raise ValidationError(f"plot_history.history[{k}].epoch: must be a number, got {entries[k].get('epoch')!r}")

    figure = new_figure(9.0, 3.9, title)
    figure.set_layout_engine("none")  # fixed places take half the time, and this picture is redrawn while training
    loss_axes, error_axes = (figure.add_axes((left, 0.13, 0.395, 0.67)) for left in (0.095, 0.595))
    losses = {name: _column(entries, f"{name}_loss") for name, _ in _CURVES}
    errors = {}
    for name, _ in _CURVES:
        accuracy = _column(entries, f"{name}_accuracy")
        outside = (accuracy < 0) | (accuracy > 1)
        if outside.any():
            k = int(np.flatnonzero(outside)[0])
            raise ValidationError(
                f"plot_history.history[{k}].{name}_accuracy: must lie in 0 .. 1, got {accuracy[k]} (a fraction, not %)"
            )
        errors[name] = 100.0 * (1.0 - accuracy)
    _draw(loss_axes, epochs, losses, "loss", "{:.4g}")
    _draw(error_axes, epochs, errors, "error [%]", "{:.2f} %")
    return finish(figure, path)


def _draw(
    ax: Axes, epochs: NDArray[np.float64], curves: Mapping[str, NDArray[np.float64]], label: str, form: str
) -> None:
    style_axes(ax, x="epoch", y=label, grid=True)
    drawn = []
    for name, color in _CURVES:
        values = curves[name]
        finite = np.flatnonzero(np.isfinite(values))
        if finite.size == 0:
            continue
        last, best = finite[-1], finite[np.argmin(values[finite])]
        text = f"{name}: last {form.format(values[last])}, best {form.format(values[best])} (epoch {epochs[best]:g})"
        shown = np.where(np.isfinite(values), values, np.nan)
        # A single finite value between gaps has no line: with few epochs every value gets a marker.
        marker = "o" if epochs.size <= 30 or finite.size == 1 else ""
        ax.plot(epochs, shown, color=color, linewidth=1.5, marker=marker, markersize=3.5, label=text)
        drawn.append(values[finite])
    if not drawn:
        note(ax, f"no finite {label.split(' [')[0]}")
        return
    values = np.concatenate(drawn)
    if values.min() > 0 and values.max() > 5 * values.min():
        set_log_y(ax)
    elif values.min() >= 0 and label.startswith("error"):
        ax.set_ylim(bottom=0, top=max(1.0, 1.05 * values.max()))
    margin = max(0.5, 0.02 * (epochs.max() - epochs.min()))
    ax.set_xlim(epochs.min() - margin, epochs.max() + margin)
    integer_ticks(ax.xaxis, 8)
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=SMALL_SIZE, frameon=False, borderaxespad=0.2)


def _entry(k: int, entry: Any) -> Mapping[str, Any]:
    if isinstance(entry, Mapping):
        return entry
    if is_dataclass(entry) and not isinstance(entry, type):
        return asdict(entry)
    raise ValidationError(f"plot_history.history[{k}]: must be a mapping or a dataclass, got {type(entry).__name__}")


def _column(entries: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """Values of one key, NaN where missing or None."""
    column = np.full(len(entries), np.nan)
    for k, entry in enumerate(entries):
        value = entry.get(name)
        if value is None:
            continue
        try:
            column[k] = float(value)
        except (TypeError, ValueError):
            raise ValidationError(
                f"plot_history.history[{k}].{name}: must be a number or None, got {value!r}"
            ) from None
    return column
