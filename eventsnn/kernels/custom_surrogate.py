"""A surrogate derivative that the user wrote as a Python function of x, compiled."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from eventsnn.kernels.jit import kernel

__all__ = ["compile_loop", "compile_scalar"]


def compile_scalar(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """The function, compiled for a float64; raises what numba raises if it cannot be."""
    plain = getattr(function, "py_func", function)  # one that the user compiled is compiled again, in the house's way
    compiled: Any = kernel(plain, allocates=True, keep=False)
    if hasattr(compiled, "compile"):
        _, *further = inspect.signature(plain).parameters.values()
        compiled.compile((numba.float64, *(numba.types.Omitted(parameter.default) for parameter in further)))
    return compiled


def compile_loop(scalar: Callable[[Any], Any], dtype: np.dtype[Any]) -> Callable[..., None]:
    """``loop(values, low, high)``: every x becomes scalar(x) where low < x < high, and 0 elsewhere."""

    @kernel(allocates=True, keep=False)
    def apply_custom(values, low, high):
        zero = values.dtype.type(0.0)
        for i in range(values.size):
            x = values[i]
            values[i] = scalar(x) if low < x and x < high else zero

    if hasattr(apply_custom, "compile"):
        apply_custom.compile(f"({dtype.name}[::1], float64, float64)")
    return apply_custom
