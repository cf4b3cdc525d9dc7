"""A sweep file: a configuration and, for some of its values, lists of others; every combination is a run."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eventsnn.errors import ConfigError
from eventsnn.experiments.config import list_configs, load_config, parse_yaml, read_text
from eventsnn.experiments.config_errors import describe_errors
from eventsnn.experiments.run import located
from eventsnn.experiments.schema import Config
from eventsnn.experiments.schema_base import Strict, default, described

__all__ = ["Sweep", "SweepPoint", "read_sweep", "short_names"]

_MAX_NAME = 120  # characters of a folder's name; file systems end at 255 bytes


class SweepParameter(Strict):
    """What is varied: one value of the configuration, or several that are set together."""

    path: tuple[str, ...] = described(
        "where the value is: training.seed or network.hidden.0 in the configuration, training_params/torch_seed in the "
        "file as it is written; a list: all get the same value",
        strict=False,
        min_length=1,
    )
    values: tuple[Any, ...] = described("the values it takes", strict=False, min_length=1)


class SweepFile(Strict):
    """The content of a sweep file."""

    config: str | None = default(None, "built-in configuration, or a file, relative to the sweep file")
    parameters: tuple[SweepParameter, ...] = described(
        "what is varied; the first varies slowest", strict=False, min_length=1
    )


@dataclass(frozen=True)
class SweepPoint:
    """One combination of values: `values` has one per parameter, `name` is that of the run's folder."""

    name: str
    values: tuple[Any, ...]
    config: Config


@dataclass(frozen=True)
class Sweep:
    """All runs of a sweep; `parameters` are the (first) paths of what is varied."""

    name: str
    parameters: tuple[str, ...]
    points: tuple[SweepPoint, ...]


def read_sweep(
    path: str | Path, config: str | Path | None = None, *, note: Callable[[str], None] | None = None
) -> Sweep:
    """Read a sweep file and check every configuration that it leads to.

    Parameters
    ----------
    path : path
        The file: ``parameters``, a list of ``path`` (one, or a list of paths that are set together) and ``values`` (or
        ``value``), and ``config``, the configuration they belong to.
    config : str or path, optional
        A built-in configuration or a file, instead of the sweep file's own.
    note : callable, optional
        As for `load_config`; of the first combination.

    Raises
    ------
    ConfigError
        The file cannot be read, has an unknown key, names no configuration or the same value twice; or one of the
        configurations cannot be used.
    """
    path = Path(path)
    data = _read(path)
    base = config if config is not None else data.config
    if base is None:
        raise ConfigError(f"{path}: config is missing; name the configuration there, or with --config CONFIG")
    if config is None and base not in list_configs():
        base = path.parent / Path(base).expanduser()
    parameters = tuple(parameter.path[0] for parameter in data.parameters)
    doubled = [name for name, n in Counter(p for entry in data.parameters for p in entry.path).items() if n > 1]
    if doubled:
        raise ConfigError(f"{path}: {doubled[0]} is listed twice")
    grid = list(itertools.product(*(parameter.values for parameter in data.parameters)))
    points: list[SweepPoint] = []
    for name, values in zip(_folder_names(short_names(parameters), grid), grid, strict=True):
        say = None if points else note
        points.append(SweepPoint(name, values, _config_of(path, base, data.parameters, values, say)))
    return Sweep(_safe(path.name.removesuffix(path.suffix)) or "sweep", parameters, tuple(points))


def short_names(paths: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that say which is which: ``training.seed`` is ``seed``.

    An index stays with what it belongs to: ``network/layers/2/size`` is ``layers.2.size``.
    """
    split = [re.split("[./]", path) for path in paths]
    starts = []
    for keys in split:
        indices = [k for k, key in enumerate(keys) if key.isdecimal()]
        starts.append(max(0, indices[0] - 1) if indices else len(keys) - 1)
    while True:
        names = [".".join(keys[start:]) for keys, start in zip(split, starts, strict=True)]
        count = Counter(names)
        longer = [k for k, name in enumerate(names) if count[name] > 1 and starts[k] > 0]
        if not longer:
            return names
        for k in longer:
            starts[k] -= 1


# -- steps --------------------------------------------------------------------------------------------------------


def _read(path: Path) -> SweepFile:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such sweep file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; give the file that the sweep was started with") from None
    data = _one_spelling(parse_yaml(text, str(path)))
    try:
        file = SweepFile.model_validate(data)
    except ValidationError as error:
        lines = describe_errors(error, data, SweepFile)
        separator = "\n  " if len(lines) > 1 else " "
        raise ConfigError(f"{path}:{separator}" + "\n  ".join(lines)) from None
    for k, parameter in enumerate(file.parameters):
        texts = [_text(value) for value in parameter.values]
        doubled = [text for text, n in Counter(texts).items() if n > 1]
        if doubled:
            raise ConfigError(f"{path}: parameters[{k}].values: {doubled[0]} is listed twice")
    return file


def _one_spelling(data: dict[str, Any]) -> dict[str, Any]:
    """`value` as `values`, and a single path as a list of one."""
    entries = data.get("parameters")
    if not isinstance(entries, list):
        return data
    changed = []
    for entry in entries:
        if isinstance(entry, dict):
            entry = {"values" if key == "value" and "values" not in entry else key: entry[key] for key in entry}
            if isinstance(entry.get("path"), str):
                entry["path"] = [entry["path"]]
        changed.append(entry)
    return {**data, "parameters": changed}


def _config_of(
    path: Path,
    base: str | Path,
    parameters: Sequence[SweepParameter],
    values: Sequence[Any],
    note: Callable[[str], None] | None,
) -> Config:
    overrides: dict[str, Any] = {}
    edits: dict[str, Any] = {}
    for parameter, value in zip(parameters, values, strict=True):
        for place in parameter.path:
            (edits if "/" in place else overrides)[place] = value
    try:
        return located(load_config(base, overrides, edits=edits, note=note))
    except ConfigError as error:
        setting = ", ".join(f"{p.path[0]} = {_text(v)}" for p, v in zip(parameters, values, strict=True))
        raise ConfigError(f"{path}: with {setting}: {error}") from error


def _text(value: Any) -> str:
    """A value as in JSON, strings without quotes."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _safe(text: str) -> str:
    """What is left of a text in a folder's name."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.")


def _folder_names(labels: Sequence[str], grid: Sequence[Sequence[Any]]) -> list[str]:
    """Names of the runs' folders; those that are too long, or that several would share, end in a digest."""
    names = []
    for values in grid:
        parts = [f"{label}={_safe(_text(value))}" for label, value in zip(map(_safe, labels), values, strict=True)]
        names.append(",".join(parts))
    count = Counter(names)
    for k, values in enumerate(grid):
        if count[names[k]] > 1 or len(names[k]) > _MAX_NAME:
            digest = hashlib.sha256(json.dumps([list(labels), list(values)], default=str).encode()).hexdigest()[:8]
            names[k] = f"{names[k][: _MAX_NAME - 9]}-{digest}"
    return names
