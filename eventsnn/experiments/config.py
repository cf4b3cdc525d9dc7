"""Reading and writing configurations: YAML 1.2, read by a loader that cannot build objects, checked by the schema."""

from __future__ import annotations

import difflib
import io
import os
import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from eventsnn.errors import ConfigError
from eventsnn.experiments.config_errors import describe_errors, did_you_mean
from eventsnn.experiments.fast_and_deep import is_fast_and_deep, translate
from eventsnn.experiments.schema import ENGINES, Config
from eventsnn.training.files import reason

__all__ = [
    "builtin_text", "config_of", "dump_config", "list_configs", "load_config", "parse_yaml", "plain", "read_text",
    "with_overrides",
]  # fmt: skip

_SUFFIXES = (".yaml", ".yml")


def load_config(
    name_or_path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    edits: Mapping[str, Any] | None = None,
    note: Callable[[str], None] | None = None,
) -> Config:
    """Read a built-in configuration or a YAML file; a file of fastAndDeep / DelGrad is translated.

    Parameters
    ----------
    name_or_path : str or path
        A built-in name (see `list_configs`), or a file. A built-in name wins over a file of the same name;
        write ``./mnist`` for the file.
    overrides : mapping, optional
        Values that replace those of the configuration (of a file's translation), by dotted path:
        ``{"training.epochs": 5}``; a number is an index of a list, ``"network.hidden.0"``.
    edits : mapping, optional
        The same in the file as it is written, whatever its schema, by the path of its keys: ``{"training/epochs": 5}``.
    note : callable, optional
        Called with a line on what a translated file says that does not matter here.

    Raises
    ------
    ConfigError
        No such file, no valid YAML (with line and column), a doubled, unknown or missing key, a wrong type, or a
        value out of range; the message names the path (``training.learning_rate``) and the nearest valid key.
    """
    source = str(name_or_path)
    if source in list_configs():
        text, where = builtin_text(source), f"built-in configuration {source!r}"
    else:
        text, where = _read_file(Path(name_or_path)), source
    data = _apply(parse_yaml(text, where), edits, where, "/")
    return config_of(data, where, overrides, note=note, name=_run_name(source))


def config_of(
    data: dict[str, Any],
    where: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    note: Callable[[str], None] | None = None,
    name: str = "fast_and_deep",
) -> Config:
    """The configuration that the content of a file says; `where` begins errors, `name` is for files without one."""
    if is_fast_and_deep(data):
        translation = translate(data, name, where)
        if note is not None:
            for line in translation.notes:
                note(f"{where}: {line}")
        data, where = translation.config, f"{where}, translated"
    return _checked(_apply(data, overrides, where), where)


def with_overrides(config: Config, overrides: Mapping[str, Any]) -> Config:
    """The configuration with some values replaced, by dotted path, and checked again."""
    where = f"configuration {config.name!r}"
    return _checked(_apply(plain(config), overrides, where), where)


def dump_config(config: Config) -> str:
    """Complete YAML text of a configuration, defaults included; `load_config` reads the same values back."""
    stream = io.StringIO()
    yaml = _yaml()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(plain(config), stream)
    return stream.getvalue()


def list_configs() -> dict[str, str]:
    """Names of the built-in configurations, each with its first comment line, in alphabetical order."""
    found = {}
    for file in _configs_folder().iterdir():
        if file.name.endswith(".yaml"):
            first = file.read_text(encoding="utf-8").partition("\n")[0]
            found[file.name.removesuffix(".yaml")] = first.lstrip("# ") if first.startswith("#") else ""
    return dict(sorted(found.items()))


def builtin_text(name: str) -> str:
    """The YAML text of a built-in configuration, comments included."""
    known = list_configs()
    if name not in known:
        raise ConfigError(f"no built-in configuration {name!r}{_suggestion(name)}")
    text: str = (_configs_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    return text


# -- steps --------------------------------------------------------------------------------------------------------


def _configs_folder() -> Any:
    return resources.files("eventsnn.experiments") / "configs"


def _run_name(source: str) -> str:
    """A name for a run, from that of a file."""
    path = Path(source).absolute()
    stem = path.parent.name if path.stem == "config" else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-")[:80] or "fast_and_deep"


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)  # pure: YAML 1.2, where 1e-3 is a number and `on` a string


def _suggestion(name: str) -> str:
    known = list(list_configs())
    stem = os.path.basename(name).removesuffix(".yaml").removesuffix(".yml")
    close = difflib.get_close_matches(stem, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{hint}; built-in configurations: {', '.join(known)}"


def _read_file(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        what = "no such file" if path.suffix in _SUFFIXES else "neither a built-in configuration nor a file"
        raise ConfigError(f"{path}: {what}{_suggestion(str(path))}") from None
    except IsADirectoryError:
        hint = ""
        if (path / "config.yaml").is_file():
            hint = f"; it is a run folder: eventsnn continue {path} EPOCH goes on with it, eventsnn train "
            hint += f"{path / 'config.yaml'} starts anew"
        raise ConfigError(f"{path}: is a folder, not a configuration file{hint}") from None


def read_text(path: Path) -> str:
    """Text of a file; FileNotFoundError and IsADirectoryError are left to the caller, who knows what was wanted.

    Raises
    ------
    ConfigError
        It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); is it a YAML file?") from None
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot be read ({why})") from error


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping in a YAML 1.2 text; `where` names it in messages."""
    try:
        data = _yaml().load(text)
    except YAMLError as error:
        raise ConfigError(f"{where}: {_yaml_problem(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: lists or mappings are nested too deeply") from error
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{where}: a value cannot be understood ({error})") from error
    if not isinstance(data, dict):
        found = "it is empty" if data is None else f"got {type(data).__name__}"
        raise ConfigError(f"{where}: a configuration must be a mapping of keys to values, {found}")
    return data


def _yaml_problem(error: YAMLError) -> str:
    """ruamel's finding in one line, with line and column counted from 1."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    if "'\\t'" in problem:
        problem = "a tab cannot be used here; indent with spaces"
    context = getattr(error, "context", None)
    if context and "duplicate" not in problem:
        problem = f"{problem} ({context})"
    return f"{place}{problem}"


def _apply(data: dict[str, Any], values: Mapping[str, Any] | None, where: str, separator: str = ".") -> dict[str, Any]:
    """A copy of `data` with the values set; what is not a valid path is left for the schema to refuse."""
    result = data
    for path, value in (values or {}).items():
        result = _with(result, path.split(separator), value, [], f"{where}: {path} cannot be set")
    return result


def _with(data: Any, keys: list[str], value: Any, above: list[str], problem: str) -> Any:
    """A copy of `data` in which the entry at the end of `keys` is `value`; mappings that are missing are made."""
    key, *rest = keys
    name = repr(".".join(above))
    if isinstance(data, dict):
        inner = data.get(key, {})
        copy: Any = dict(data)
    elif isinstance(data, (list, tuple)):
        if not key.isdecimal() or int(key) >= len(data):
            raise ConfigError(f"{problem}, {name} is a list of {len(data)} and {key!r} is no index of it")
        inner, copy = data[int(key)], list(data)
    else:
        raise ConfigError(f"{problem}, {name} is not a mapping")
    new = _with(inner, rest, value, [*above, key], problem) if rest else value
    copy[int(key) if isinstance(copy, list) else key] = new
    return copy


def _checked(data: dict[str, Any], where: str) -> Config:
    network = data.get("network")
    engine = network.get("engine", "event_driven") if isinstance(network, dict) else "event_driven"
    if engine not in list(ENGINES):  # it may be unhashable
        shown = did_you_mean(engine, list(ENGINES))
        raise ConfigError(f"{where}: network.engine: must be one of {', '.join(ENGINES)}, got {shown}")
    model = ENGINES[engine]
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = describe_errors(error, data, model)
    except RecursionError as error:
        raise ConfigError(f"{where}: lists or mappings are nested too deeply") from error
    separator = "\n  " if len(lines) > 1 else " "
    raise ConfigError(f"{where}:{separator}" + "\n  ".join(lines))


def plain(value: Any) -> Any:
    """Models and tuples as dicts and lists."""
    if isinstance(value, Config):
        value = value.model_dump()
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value, key=lambda key: key != "name")}  # the name first
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
