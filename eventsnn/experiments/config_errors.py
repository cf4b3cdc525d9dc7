"""What is wrong in a configuration, in words: the dotted path, what was expected, what was found, the nearest key."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

__all__ = ["describe_errors", "did_you_mean"]

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "an integer",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "a string",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("> ", "gt"),
    "greater_than_equal": (">= ", "ge"),
    "less_than": ("< ", "lt"),
    "less_than_equal": ("<= ", "le"),
}


def describe_errors(error: ValidationError, data: Any, model: type[BaseModel]) -> list[str]:
    """One line per mistake in `data`, which `model` refused with `error`; misspelt keys come first."""
    unknown, others, guesses = [], [], set()
    for item in error.errors(include_url=False):
        keys = _real_path(item["loc"], data, is_missing=item["type"] == "missing")
        path = dotted(keys)
        if item["type"] in ("extra_forbidden", "invalid_key"):
            hint, meant = _nearest_key(keys, data, model)
            guesses.add(meant)
            unknown.append(f"{path}: unknown key{hint}")
        else:
            others.append((path, f"{path or 'the configuration'}: {_describe(item, keys)}"))
    # A misspelt key is one mistake, not an unknown key and a missing one.
    return unknown + [line for path, line in others if not (path in guesses and line.endswith("is missing"))]


def dotted(keys: Sequence[Any]) -> str:
    """``("network", "hidden", 0)`` as ``network.hidden[0]``."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def _describe(item: Any, keys: Sequence[Any]) -> str:
    kind, value, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {_shown(value)}"
    if kind in _BOUNDS:
        sign, bound = _BOUNDS[kind]
        return f"must be {sign}{context[bound]}, got {value!r}"
    if kind == "finite_number":
        return f"must be finite, got {value!r}"
    if kind == "union_tag_not_found":
        return f"its key {context['discriminator']} is missing, which says which variant is meant"
    if kind == "union_tag_invalid":
        choices = [choice.strip(" '") for choice in context["expected_tags"].split(",")]
        key = context["discriminator"].strip("'")
        return f"its {key} must be one of {', '.join(choices)}, got {did_you_mean(context['tag'], choices)}"
    if kind == "literal_error":
        choices = [choice.strip(" '") for choice in context["expected"].replace(" or ", ", ").split(",")]
        return f"must be one of {', '.join(choices)}, got {did_you_mean(value, choices)}"
    if kind == "string_pattern_mismatch":
        return f"must consist of letters, digits, '.', '_' and '-' and start with a letter or digit, got {value!r}"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters, got {len(str(value))}"
    if kind == "value_error":
        return str(context["error"])
    return f"{item['msg']}, got {_shown(value)}"


def _shown(value: Any) -> str:
    """A value and its type, with a hint where quotes turned a number into a string."""
    names = {dict: "a mapping", list: "a list", tuple: "a list", str: "a string", bool: "a boolean", int: "an integer"}
    text = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    if value is None:
        return "nothing (null)"
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            pass
        else:
            return f"the string {text} (remove the quotes)"
    return f"{names.get(type(value), type(value).__name__)}: {text}"


def did_you_mean(value: Any, choices: Sequence[str]) -> str:
    """What was found, and the nearest of the choices."""
    close = difflib.get_close_matches(str(value), choices, n=1)
    return f"{value!r}" + (f"; did you mean {close[0]!r}?" if close else "")


# -- paths --------------------------------------------------------------------------------------------------------


def _real_path(location: Sequence[Any], data: Any, *, is_missing: bool) -> list[Any]:
    """pydantic's location without the tags of unions, which are no keys of the file."""
    keys: list[Any] = []
    for part in location:
        if isinstance(data, dict) and part in data:
            data = data[part]
            keys.append(part if isinstance(part, str) else str(part))
        elif isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data):
            data = data[part]
            keys.append(part)
    if is_missing:
        keys.append(location[-1])
    return keys


def _nearest_key(keys: Sequence[Any], data: Any, model: type[BaseModel]) -> tuple[str, str]:
    """A hint at the key that was meant, and its path."""
    *parents, wrong = keys
    for key in parents:
        data = data[key]
    owner = _model_at(parents, model, data)
    if owner is None:
        return "", ""
    valid = list(owner.model_fields)
    close = difflib.get_close_matches(str(wrong), valid, n=1)
    if close:
        return f"; did you mean {close[0]!r}?", dotted([*parents, close[0]])
    elsewhere = [path for path in _all_paths(model) if path.rpartition(".")[2] == wrong]
    if elsewhere:
        return f"; did you mean {elsewhere[0]!r}?", elsewhere[0]
    where = f" in {dotted(parents)}" if parents else ""
    return f"; valid keys{where} are {', '.join(valid)}", ""


def _model_at(keys: Sequence[Any], model: type[BaseModel], data: Any) -> type[BaseModel] | None:
    """The model of the mapping at this path; `data` is that mapping (`name` or `type` chooses among variants)."""
    candidates = [model]
    for key in keys:
        if isinstance(key, int):
            continue
        fields = [candidate.model_fields[key] for candidate in candidates if key in candidate.model_fields]
        candidates = [found for field in fields for found in _models_in(field.annotation)]
    for key in ("name", "type"):  # what chooses a variant
        value = data.get(key) if isinstance(data, dict) else None
        for candidate in candidates:
            field = candidate.model_fields.get(key)
            if field is not None and value in get_args(field.annotation):
                return candidate
    known = [len(set(data) & set(candidate.model_fields)) for candidate in candidates]
    return candidates[known.index(max(known))] if candidates else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """All models inside an annotation such as ``Annotated[A | tuple[B, ...], ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and get_origin(annotation) is None:
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from _models_in(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType, tuple, list):
        for part in get_args(annotation):
            yield from _models_in(part)


def _all_paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in _models_in(field.annotation):
            yield from _all_paths(inner, f"{prefix}{name}.")
