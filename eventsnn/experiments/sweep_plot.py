"""The pictures of a sweep's table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eventsnn.errors import CheckpointError, ValidationError
from eventsnn.experiments.sweep_file import short_names
from eventsnn.experiments.sweep_table import SweepTable, read_table

__all__ = ["draw_sweep"]

_COLUMNS = ("test_accuracy", "test_loss", "valid_accuracy", "epochs", "seconds")


def draw_sweep(folder: Path | str, *, column: str = "test_accuracy") -> list[Path]:
    """Draw a result against each parameter that was varied, into the sweep's ``plots/``; returns the pictures.

    A second parameter has lines, a third one axes; the mean goes over the others and over seeds (parameters whose name
    ends in "seed"), which have a picture of their own only where nothing else was varied.

    Parameters
    ----------
    folder : path
        The sweep's folder, or its ``sweep.csv``.
    column : {"test_accuracy", "test_loss", "valid_accuracy", "epochs", "seconds"}
        The result to draw.

    Raises
    ------
    CheckpointError
        There is no table, it is damaged, or no run of it is finished.
    ValidationError
        A column that is not one of these.
    """
    from eventsnn.plotting import plot_sweep

    if column not in _COLUMNS:
        raise ValidationError(f"draw_sweep.column: must be one of {', '.join(_COLUMNS)}, got {column!r}")
    table = read_table(folder)
    folder = Path(folder)
    folder = folder if folder.is_dir() else folder.parent
    if all(row[column] is None for row in table.rows):
        raise CheckpointError(f"{folder}: no run has a {column} yet; `eventsnn sweep` goes on with the sweep")
    names = dict(zip(table.parameters, short_names(table.parameters), strict=True))
    varied = [name for name in table.parameters if len({repr(row[name]) for row in table.rows}) > 1]
    drawn = [name for name in varied if not _is_seed(name)] or varied[:1] or list(table.parameters[:1])
    written = []
    for x in drawn:
        lines, panels = _others(table, [name for name in drawn if name != x])
        pooled = [names[name] for name in varied if name not in (x, lines, panels)]
        title = folder.resolve().name
        if pooled:
            title += f": mean and spread over {', '.join(pooled)}"
        elif _is_seed(x):
            title += f": {_summary([row[column] for row in table.rows], column)}"
        path = folder / "plots" / f"{column}_{names[x]}.png"
        plot_sweep(
            table.rows, x, lines=lines, panels=panels, column=column, names=names, connect=not _is_seed(x), title=title,
            path=path,
        )  # fmt: skip
        written.append(path)
    return written


def _others(table: SweepTable, names: Sequence[str]) -> tuple[str | None, str | None]:
    """Of the other parameters that with the lines and that with the axes."""
    from eventsnn.plotting.sweep import MAX_PANELS

    if not names:
        return None, None
    lines, *rest = names
    return lines, next((name for name in rest if len(_values(table, name)) <= MAX_PANELS), None)


def _values(table: SweepTable, name: str) -> set[Any]:
    return {repr(row[name]) for row in table.rows}


def _is_seed(name: str) -> bool:
    return name.endswith("seed")


def _summary(values: Sequence[float | None], column: str) -> str:
    """Mean and standard deviation."""
    present = [value for value in values if value is not None]
    mean, spread = statistics.mean(present), statistics.stdev(present) if len(present) > 1 else 0.0
    if column.endswith("accuracy"):
        return f"{100 * mean:.2f} ± {100 * spread:.2f} % (n = {len(present)})"
    return f"{mean:.4g} ± {spread:.2g} (n = {len(present)})"
