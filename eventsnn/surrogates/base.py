"""What all surrogate derivatives share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number
from eventsnn.errors import ValidationError

__all__ = ["Surrogate"]

#: widths, slopes and heights lie between them: squares and products of three stay within float32
_SMALLEST, _LARGEST = 1e-9, 1e9
_TYPES = (np.dtype(np.float32), np.dtype(np.float64))


def kernels() -> Any:
    """The compiled loops; imported when first needed, so that `import eventsnn` stays light."""
    from eventsnn.kernels import surrogates

    return surrogates


class Surrogate(ABC):
    """Base of the surrogate derivatives; its children are frozen dataclasses."""

    name: str
    _may_be_zero: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Replace every parameter by a float; raise where one cannot be."""
        for field in fields(self):  # type: ignore[arg-type]
            place = f"{type(self).__name__}.{field.name}"
            value = number(place, getattr(self, field.name))
            if not (_SMALLEST <= value <= _LARGEST or (value == 0.0 and field.name in self._may_be_zero)):
                zero = "0 or " if field.name in self._may_be_zero else ""
                raise ValidationError(f"{place}: must be {zero}in {_SMALLEST:g} .. {_LARGEST:g}, got {value!r}")
            object.__setattr__(self, field.name, value)

    @property
    def support(self) -> tuple[float, float]:
        """(low, high), the open interval of x = v - v_threshold outside which the derivative is 0."""
        return -math.inf, math.inf

    def row_formula(self) -> tuple[int, float, float]:
        """Number of the formula in `kernels.surrogates.fill_row`, and its parameters; (0, 0, 0) if it is not there."""
        return 0, 0.0, 0.0

    @abstractmethod
    def _run(self, values: NDArray[np.floating]) -> None:
        """Replace every x by sigma(x)."""

    def derivative(self, x: ArrayLike) -> NDArray[np.floating]:
        """sigma(x), a new array of the shape of `x`.

        Parameters
        ----------
        x : array_like of float
            v - v_threshold; may be infinite.

        Returns
        -------
        ndarray
            float32 if `x` is a float32 array, else float64.

        Raises
        ------
        ValidationError
            `x` holds something else than real numbers, or NaN.
        """
        where = f"{type(self).__name__}.derivative"
        given = np.asarray(x)
        if given.size and given.dtype.kind not in "iuf":
            raise ValidationError(f"{where}: x must hold real numbers, got dtype {given.dtype}")
        values = np.array(given, dtype=given.dtype if given.dtype in _TYPES else np.float64, order="C")
        if np.isnan(values).any():
            raise ValidationError(f"{where}: x is NaN at index {tuple(map(int, np.argwhere(np.isnan(values))[0]))}")
        self._run(values.reshape(-1))
        return values

    def apply(self, x: NDArray[np.floating], out: NDArray[np.floating]) -> None:
        """Write sigma(x) to `out` by a compiled loop: the hot path of training.

        Parameters
        ----------
        x, out : ndarray, shape (n,), C-contiguous, both float32 or both float64
            v - v_threshold, and where the derivative goes. They may be the same array, which saves a copy. A NaN in
            `x` is not looked for and may come out as a number.

        Raises
        ------
        ValidationError
            The arrays differ in shape or type, are not flat, not contiguous, of another type, or `out` is read-only.

        Notes
        -----
        float32 is computed in float32, with an error of a few units in the last place of the largest term; a term with
        an exponential exp(-z) has (1 + z) times that. An exponential below exp(-87) (float32) or exp(-708) (float64)
        counts as 0.
        """
        if (
            x.dtype not in _TYPES
            or x.dtype != out.dtype
            or x.ndim != 1
            or x.shape != out.shape
            or not (x.flags.c_contiguous and out.flags.c_contiguous)
            or not out.flags.writeable
        ):
            raise ValidationError(
                f"{type(self).__name__}.apply: x and out must be flat, C-contiguous, both float32 or both float64, of "
                f"one length, and out writeable; got {x.dtype} {x.shape} and {out.dtype} {out.shape}"
            )
        if out is not x:
            np.copyto(out, x)
        self._run(out)
