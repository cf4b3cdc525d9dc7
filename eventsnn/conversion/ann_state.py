"""An `ANN` as a nested state of arrays and numbers, as model files hold it, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from eventsnn.conversion.ann_layers import (
    ANNLayer,
    AvgPool,
    BatchNorm,
    Convolution,
    Dropout,
    Flatten,
    Linear,
    MaxPool,
    ReLU,
    Shape,
)
from eventsnn.errors import DataError, ValidationError

__all__ = ["layers_of_state", "state_of_layers"]

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Linear, Convolution, BatchNorm, ReLU, AvgPool, MaxPool, Dropout, Flatten)
}


def state_of_layers(layers: tuple[ANNLayer, ...], input_shape: Shape, dtype: DTypeLike | None) -> dict[str, Any]:
    """The state of a network, weights in `dtype` (None: as they are); see `ANN.save`.

    Raises
    ------
    ValidationError
        `dtype` is no float type, or a weight is too large for it.
    """
    wanted = None if dtype is None else np.dtype(dtype)
    if wanted is not None and wanted not in (np.float16, np.float32, np.float64):
        raise ValidationError(f"ANN.save.dtype: must be float16, float32, float64 or None, got {wanted}")
    return {
        "input_shape": list(input_shape),
        "layers": [_state_of_layer(k, layer, wanted) for k, layer in enumerate(layers)],
    }


def _state_of_layer(k: int, layer: ANNLayer, dtype: np.dtype[Any] | None) -> dict[str, Any]:
    state: dict[str, Any] = {"kind": type(layer).__name__}
    for field in fields(layer):
        value = getattr(layer, field.name)
        if isinstance(value, np.ndarray) and dtype is not None:
            value = _narrowed(f"ANN.layers[{k}] {layer!r}.{field.name}", value, dtype, field.name == "weight")
        state[field.name] = list(value) if isinstance(value, tuple) else value
    return state


def _narrowed(name: str, values: np.ndarray, dtype: np.dtype[Any], is_weight: bool) -> np.ndarray:
    """float16 is for weights; the few biases and statistics stay at float32, in which variances cannot become 0."""
    target = dtype if is_weight else np.promote_types(dtype, np.float32)
    with np.errstate(over="ignore"):
        found = values.astype(target)
    if not np.isfinite(found).all():
        raise ValidationError(
            f"{name}: holds {np.abs(values).max():g}, too large for {target}; save with dtype=float32"
        )
    return found


def layers_of_state(path: str, state: dict[str, Any]) -> tuple[list[ANNLayer], list[int]]:
    """Layers and input shape of a state; `path` is what errors call the file."""
    layers: list[ANNLayer] = []
    try:
        shape = list(state["input_shape"])
        for k, entry in enumerate(state["layers"]):
            entry = dict(entry)
            kind = entry.pop("kind")
            if kind not in _KINDS:
                raise DataError(f"{path}: layer {k} is a {kind!r}, which this eventsnn does not know; update eventsnn")
            values = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}
            layers.append(_KINDS[kind](**values))
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise DataError(f"{path}: damaged, its layers cannot be understood ({error}); export the file again") from error
    return layers, shape
