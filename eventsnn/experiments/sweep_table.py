"""The table of a sweep, one row per run: read from the run folders, written and read as CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventsnn.errors import CheckpointError, ConfigError
from eventsnn.experiments.config import read_text
from eventsnn.experiments.run_folder import RunFolder
from eventsnn.training.files import write_bytes_atomic

__all__ = ["RESULTS", "SweepTable", "read_table", "run_results", "write_table"]

#: columns after those of the parameters: fractions, loss, epochs finished, seconds of training, state and folder
RESULTS = ("test_accuracy", "test_loss", "valid_accuracy", "epochs", "seconds", "state", "run")


@dataclass(frozen=True)
class SweepTable:
    """`parameters` are the columns of what was varied, `rows` map them and `RESULTS` to values; None is unknown."""

    parameters: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]


def run_results(run: RunFolder, n_epochs: int) -> dict[str, Any]:
    """What metrics.json says of a run; its state is "finished" or "unfinished"."""
    metrics = run.read_metrics()
    history = metrics.get("epochs")
    history = history if isinstance(history, list) else []
    accuracy = metrics.get("test_accuracy")
    is_finished = accuracy is not None and len(history) == n_epochs
    return {
        "test_accuracy": accuracy if is_finished else None,
        "test_loss": metrics.get("test_loss") if is_finished else None,
        "valid_accuracy": history[-1].get("valid_accuracy") if history else None,
        "epochs": len(history),
        "seconds": round(sum(entry.get("seconds", 0.0) for entry in history), 3),
        "state": "finished" if is_finished else "unfinished",
    }


def write_table(table: SweepTable, path: Path) -> None:
    """Replace the CSV file; a crash leaves the old one or the new one."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = (*table.parameters, *RESULTS)
    writer.writerow(columns)
    for row in table.rows:
        writer.writerow([_cell(row[column]) for column in columns])
    write_bytes_atomic(path, stream.getvalue().encode())


def read_table(path: Path | str) -> SweepTable:
    """Read ``sweep.csv``, or that of a sweep's folder.

    Raises
    ------
    CheckpointError
        There is none, or it is not a sweep's table.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "sweep.csv"
    try:
        lines = list(csv.reader(io.StringIO(read_text(path))))
    except FileNotFoundError:
        hint = "; `eventsnn sweep SWEEP.yaml` makes one"
        raise CheckpointError(f"{path.parent}: is not the folder of a sweep, it has no {path.name}{hint}") from None
    except (ConfigError, csv.Error) as error:
        raise CheckpointError(f"{path}: cannot be read as a table ({error})") from error
    header = tuple(lines[0]) if lines else ()
    n_parameters = len(header) - len(RESULTS)
    if n_parameters < 0 or header[n_parameters:] != RESULTS:
        raise CheckpointError(f"{path}: is not a sweep's table, its last columns must be {', '.join(RESULTS)}")
    damaged = [k for k, line in enumerate(lines, start=1) if len(line) != len(header)]
    if damaged:
        raise CheckpointError(f"{path}: line {damaged[0]} has another number of columns than the first")
    rows = tuple(dict(zip(header, map(_value, line), strict=True)) for line in lines[1:])
    return SweepTable(header[:n_parameters], rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _value(text: str) -> Any:
    """A cell as what it was; what is no JSON is a string."""
    if text == "":
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
