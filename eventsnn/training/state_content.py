"""A nested state as JSON with references to arrays, and back: what savepoints and model files have in common."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import ValidationError

__all__ = ["checksum", "decode_value", "encode_value"]

# Beyond 2**53 other JSON readers round integers, and Python refuses to parse more than 4300 decimal digits:
# larger ones (the state of PCG64 has 128 bits) are written in hexadecimal, which has no limit.
_LARGEST_PLAIN_INT = 2**53
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def checksum(document: dict[str, Any]) -> str:
    """SHA-256 of a JSON document, independent of white space (numbers print and parse back to the same bits)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def encode_value(owner: str, value: Any, place: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """JSON for one value; a dict with one key ``__array__``, ``__int__``, ``__float__`` or ``__dict__`` is a tag."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _LARGEST_PLAIN_INT else {"__int__": hex(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"__float__": repr(float(value))}
    if type(value) is np.ndarray and not value.dtype.hasobject:
        name = f"{len(arrays)}_" + re.sub(r"[^A-Za-z0-9_.-]", "_", place)
        arrays[name] = value
        return {"__array__": name}
    if isinstance(value, list):
        return [encode_value(owner, item, f"{place}.{k}", arrays) for k, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValidationError(f"{owner}: {place} has the key {key!r}; keys must be str")
        tree = {key: encode_value(owner, item, f"{place}.{key}", arrays) for key, item in value.items()}
        return {"__dict__": tree} if any(key.startswith("__") for key in value) else tree
    raise ValidationError(
        f"{owner}: {place} is a {type(value).__name__}; only arrays (not of objects), int, float, str, bool, "
        "None, list and dict can be stored"
    )


def decode_value(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """The value that `encode_value` gave JSON and arrays for."""
    if isinstance(value, list):
        return [decode_value(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        tag, content = next(iter(value.items()))
        if tag == "__array__":
            return arrays[content]
        if tag == "__int__":
            return int(content, 16)
        if tag == "__float__":
            return _NON_FINITE[content]
        if tag == "__dict__":
            value = content
    return {key: decode_value(item, arrays) for key, item in value.items()}
