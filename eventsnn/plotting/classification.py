"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from eventsnn.errors import ValidationError
from eventsnn.plotting.style import (
    DARK,
    LABEL_SIZE,
    SMALL_SIZE,
    TICK_SIZE,
    check_class_names,
    check_labels,
    finish,
    new_figure,
    style_axes,
)

__all__ = ["plot_confusion_matrix"]


def plot_confusion_matrix(
    labels: ArrayLike,
    predictions: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    title: str | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Counts of (true class, predicted class); the colour is the fraction of the true class.

    Parameters
    ----------
    labels : array_like of int, shape (n_samples,)
        True classes.
    predictions : array_like of int, shape (n_samples,)
        Predicted classes; -1 where no output spiked, which adds a "no spike" column.
    class_names : sequence of str, optional
        One per class; default the class numbers up to the largest that occurs.
    title, path : optional

    Returns
    -------
    Figure
        The colour scale follows the square root of the fraction, so that rare confusions stay visible.

    Raises
    ------
    ValidationError
        No samples, arrays of different length, classes out of range.
    """
    where = "plot_confusion_matrix"
    n_classes = len(class_names) if class_names is not None else None
    true = check_labels(f"{where}.labels", labels, n_classes)
    predicted = check_labels(f"{where}.predictions", predictions, n_classes, lowest=-1)
    if true.size != predicted.size:
        raise ValidationError(f"{where}: {true.size} labels but {predicted.size} predictions")
    if true.size == 0:
        raise ValidationError(f"{where}.labels: needs at least one sample")
    if n_classes is None:
        n_classes = int(max(true.max(), predicted.max())) + 1
    names = check_class_names(f"{where}.class_names", class_names, n_classes)

    column = np.where(predicted < 0, n_classes, predicted)
    counts = np.zeros((n_classes, n_classes + 1), dtype=np.int64)
    np.add.at(counts, (true, column), 1)
    columns = list(names)
    if counts[:, n_classes].any():
        columns.append("no spike")
    else:
        counts = counts[:, :n_classes]
    per_class = counts.sum(axis=1)
    fractions = counts / np.maximum(per_class, 1)[:, None]

    n_right = int(np.trace(counts[:, :n_classes]))
    accuracy = f"accuracy {100 * n_right / true.size:.2f} % ({n_right} of {true.size})"
    cell = 0.52 if n_classes > 4 else 0.95
    longest = max(len(name) for name in columns)
    size = max(3.0, min(9.0, cell * len(columns)))
    figure = new_figure(size + 2.2, max(2.6, min(9.0, cell * n_classes)) + 1.3)
    ax = figure.subplots()
    image = ax.imshow(fractions, cmap="Blues", norm=PowerNorm(0.5, vmin=0.0, vmax=1.0), aspect="auto")
    style_axes(ax, title=f"{title}\n{accuracy}" if title else accuracy, x="predicted class", y="true class")
    slanted = longest > (5 if n_classes > 4 else 9)
    ax.set_xticks(
        range(len(columns)),
        labels=columns,
        rotation=40 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else None,
        fontsize=TICK_SIZE if n_classes <= 20 else SMALL_SIZE * 0.8,
    )
    ax.set_yticks(range(n_classes), labels=names, fontsize=TICK_SIZE if n_classes <= 20 else SMALL_SIZE * 0.8)
    ax.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n_classes + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="both", length=0)
    if len(columns) > n_classes:
        ax.axvline(n_classes - 0.5, color=DARK, linewidth=1.0)
    if n_classes <= 20:
        text_size = LABEL_SIZE if n_classes <= 4 else SMALL_SIZE if n_classes <= 12 else SMALL_SIZE * 0.75
        for i, j in np.ndindex(*counts.shape):
            text = str(counts[i, j]) if n_classes > 4 else f"{counts[i, j]}\n{100 * fractions[i, j]:.1f} %"
            faint = counts[i, j] == 0
            color = "#b0b0b0" if faint else "white" if fractions[i, j] > 0.4 else DARK
            ax.text(j, i, "0" if faint else text, ha="center", va="center", fontsize=text_size, color=color)
    bar = figure.colorbar(image, ax=ax, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0], pad=0.02)
    bar.ax.set_yticklabels(["0", "1", "5", "10", "25", "50", "100"], fontsize=TICK_SIZE)
    bar.set_label("share of the true class [%]", fontsize=LABEL_SIZE)
    return finish(figure, path)
