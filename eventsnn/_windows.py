"""Windows that slide over a plane of neurons, channel-last: what convolution and pooling ask of their sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsnn.errors import ValidationError


def pair(name: str, value: Any, at_least: int) -> tuple[int, int]:
    """(vertical, horizontal) from an integer, which counts for both, or from two of them."""
    try:
        values = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    except TypeError:
        values = ()
    if len(values) != 2 or any(
        isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < at_least for k in values
    ):
        raise ValidationError(f"{name}: must be an integer >= {at_least} or two of them, got {value!r}")
    return int(values[0]), int(values[1])


def image_shape(name: str, value: Any) -> tuple[int, int, int]:
    """(height, width, channels), each >= 1."""
    try:
        values = tuple(value)
    except TypeError:
        values = ()
    if len(values) != 3 or any(isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1 for k in values):
        raise ValidationError(f"{name}: must be (height, width, channels), integers >= 1, got {value!r}")
    return int(values[0]), int(values[1]), int(values[2])


def windows_shape(
    name: str,
    plane: tuple[int, int],
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> tuple[int, int]:
    """(vertical, horizontal) number of windows wholly inside the padded plane; what is left over is cut off."""
    counts = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(plane, size, stride, padding, strict=True)]
    if min(counts) < 1:
        raise ValidationError(
            f"{name}: a window of {size[0]} x {size[1]} does not fit into a plane of {plane[0]} x {plane[1]} with "
            f"padding {padding[0]} x {padding[1]}; take a smaller window or more padding"
        )
    return counts[0], counts[1]
