"""A surrogate derivative of one's own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn.errors import ValidationError
from eventsnn.surrogates.base import Surrogate

__all__ = ["CustomSurrogate"]

_PROBED_TO = 3  # the power of ten
_DOUBLE = np.dtype(np.float64)


@dataclass(frozen=True)
class CustomSurrogate(Surrogate):
    """A Python function of the user as surrogate derivative, compiled by Numba.

    Parameters
    ----------
    function : callable
        Takes the number x = v - v_threshold and returns sigma(x), a number. What Numba compiles: arithmetic,
        comparisons, `math` and NumPy functions of scalars, numbers from outside (their values now; later changes are
        not seen), compiled functions; not lists of objects, files, or functions that are not compiled.
    support : (low, high)
        Outside this open interval sigma is 0, and `function` is not called.
    name : str, optional
        For messages and pictures; default the function's own.

    Raises
    ------
    ValidationError
        `function` is not a Python function of one number, does not compile, raises, or returns something else than a
        finite number at one of about a hundred x over the support: next to its ends (in float64; in float32 at the
        first use with float32), about them and about 0 in all orders of magnitude from 1e-6 to 1000. `support` is no
        pair low < high.

    Notes
    -----
    It is compiled when the object is made, which takes some tenths of a second, without fast-math flags. Division by
    zero gives inf or NaN as in NumPy. Values between the x that were tried are not looked at here: who calls `apply`
    checks what comes out, `derivative` does so itself. float32 numbers are passed as they are; a function with
    constants such as 2.0 computes with them in float64 and is rounded at the end.

    The object can be pickled if the function can, that is if it is found by its name in a module: no lambda.

    Examples
    --------
    >>> from eventsnn import CustomSurrogate
    >>> def parabola(x):
    ...     return 0.75 * (1.0 - x * x)
    >>> CustomSurrogate(parabola, support=(-1.0, 1.0)).derivative([-2.0, 0.0, 0.5])
    array([0.    , 0.75  , 0.5625])
    """

    function: Callable[[float], float]
    support: Any = (-math.inf, math.inf)
    name: Any = None

    def __post_init__(self) -> None:
        if self.name is None:
            own = getattr(self.function, "__name__", "custom")
            object.__setattr__(self, "name", "custom" if own == "<lambda>" else own)
        if not isinstance(self.name, str) or not self.name:
            raise ValidationError(f"CustomSurrogate.name: must be a string that is not empty, got {self.name!r}")
        object.__setattr__(self, "support", _interval(f"{self._place}.support", self.support))
        self._require_one_argument()
        object.__setattr__(self, "_scalar", self._compiled_scalar())
        object.__setattr__(self, "_loops", {})
        self._probe_scalar()

    def __reduce__(self) -> tuple[Any, ...]:
        return CustomSurrogate, (self.function, self.support, self.name)

    @property
    def _place(self) -> str:
        return f"CustomSurrogate({self.name!r})"

    def derivative(self, x: ArrayLike) -> NDArray[np.floating]:
        """sigma(x), a new array; see `Surrogate.derivative`. Also raises where the function is not finite."""
        values = super().derivative(x)
        self._require_finite(np.asarray(x, dtype=values.dtype).reshape(-1), values.reshape(-1))
        return values

    def _run(self, values: NDArray[np.floating]) -> None:
        loops: dict[Any, Callable[..., None]] = self._loops  # type: ignore[attr-defined]
        loop = loops.get(values.dtype)
        if loop is None:
            loop = loops[values.dtype] = self._compiled_loop(values.dtype)
        loop(values, *self.support)

    def _require_one_argument(self) -> None:
        plain = getattr(self.function, "py_func", self.function)
        if not inspect.isfunction(plain):
            raise ValidationError(
                f"{self._place}.function: must be a Python function of x, got {self.function!r}; wrap it in one"
            )
        try:
            inspect.signature(plain).bind(0.0)
        except TypeError:
            raise ValidationError(
                f"{self._place}.function: must be callable with one argument, x = v - v_threshold; "
                f"it is {plain.__name__}{inspect.signature(plain)}"
            ) from None

    def _compiled_scalar(self) -> Callable[[float], Any]:
        from eventsnn.kernels.custom_surrogate import compile_scalar

        try:
            return compile_scalar(self.function)
        except Exception as error:  # numba's own, and whatever its reading of a strange function ends in
            raise ValidationError(f"{self._place}.function: does not compile: {_reason(error)}") from error

    def _compiled_loop(self, dtype: np.dtype[Any]) -> Callable[..., None]:
        from eventsnn.kernels.custom_surrogate import compile_loop

        x = _probe(self.support, dtype)
        values = x.copy()
        try:
            loop = compile_loop(self._scalar, dtype)  # type: ignore[attr-defined]
        except Exception as error:
            raise ValidationError(f"{self._place}.function: does not compile for {dtype}: {_reason(error)}") from error
        try:
            with np.errstate(all="ignore"):
                loop(values, *self.support)
        except Exception as error:
            raise ValidationError(f"{self._place}.function: raises {error!r} for a {dtype}") from error
        self._require_finite(x, values)
        return loop

    def _probe_scalar(self) -> None:
        for x in _probe(self.support, _DOUBLE):
            try:
                with np.errstate(all="ignore"):  # without a compiler NumPy warns of what is an error below
                    value = self._scalar(x)  # type: ignore[attr-defined]
            except Exception as error:
                raise ValidationError(f"{self._place}.function: raises {error!r} at x = {x:g}") from error
            if not isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
                raise ValidationError(f"{self._place}.function: must return a number, returned {value!r} at x = {x:g}")
            self._require_finite(np.array([x]), np.array([value]))

    def _require_finite(self, x: NDArray[np.floating], values: NDArray[Any]) -> None:
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            k = bad[0]
            raise ValidationError(
                f"{self._place}.function: must return finite numbers, returned {values[k]} at x = {x[k]:g} "
                f"({x.dtype}); a narrower support=(low, high) keeps it from being called there"
            )


def _interval(place: str, given: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in given)
    except (TypeError, ValueError):
        raise ValidationError(f"{place}: must be two numbers (low, high), got {given!r}") from None
    if not low < high:
        raise ValidationError(f"{place}: must have low < high, got {given!r}")
    return low, high


def _probe(support: tuple[float, float], dtype: np.dtype[Any]) -> NDArray[np.floating]:
    """x at which a function is tried: about 0 and the ends in all orders of magnitude, between them, next to them."""
    low, high = support
    steps = np.logspace(-6, _PROBED_TO, 19)
    steps = np.concatenate((-steps[::-1], [0.0], steps))
    ends = [end for end in (low, high) if math.isfinite(end)]
    parts = [steps, *(end + steps for end in ends)]
    if len(ends) == 2:
        parts.append(np.linspace(low, high, 19))
    for end in ends:
        near = dtype.type(end)
        parts.append(np.array([np.nextafter(near, dtype.type(-np.inf)), near, np.nextafter(near, dtype.type(np.inf))]))
    x = np.unique(np.concatenate(parts).astype(dtype))
    inside = (low < x.astype(np.float64)) & (x.astype(np.float64) < high)
    return x[inside]


def _reason(error: Exception) -> str:
    """The line of numba's message that says why; the others say in which of its passes, and where."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Failed in ")]
    if len(lines) > 1 and lines[0].endswith(":"):
        return f"{lines[0]} {lines[1].removeprefix('>>> ')}"
    return lines[0] if lines else type(error).__name__
