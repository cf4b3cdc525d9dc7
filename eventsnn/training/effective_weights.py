"""Weights as the hardware has them: clamped and rounded. The gradient goes to the exact ones ("straight through")."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["clamp_weights", "round_weights"]

#: 2.1/0.7 is 3.0000000000000004, and 0.3/0.1 is 2.9999999999999996: a whole number of steps up to rounding is one
_ROUNDING = 1e-6


def clamp_weights(weight: NDArray[np.floating], weight_max: float | None) -> None:
    """Clamp to -weight_max .. weight_max, in place."""
    if weight_max is not None:
        limit = weight.dtype.type(weight_max)
        np.clip(weight, -limit, limit, out=weight)


def round_weights(
    weight: NDArray[np.floating], out: NDArray[np.floating], step: float | None, weight_max: float | None = None
) -> None:
    """Write the nearest multiples of `step` (half to even) to `out`, none of them beyond `weight_max`.

    step : None for no rounding
    """
    if step is None:
        out[...] = weight
        return
    real = weight.dtype.type
    np.divide(weight, real(step), out=out)
    np.rint(out, out=out)
    if weight_max is not None:
        levels = real(math.floor(weight_max / step * (1.0 + _ROUNDING)))
        np.clip(out, -levels, levels, out=out)
    out *= real(step)
