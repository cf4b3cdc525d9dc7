"""Surrogate derivatives by name, for configurations."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from eventsnn._names import NameTable, hint
from eventsnn.errors import ValidationError
from eventsnn.surrogates.base import Surrogate
from eventsnn.surrogates.piecewise import Boxcar, ReLUDerivative, SpikeAsGradient, StraightThrough, Triangular
from eventsnn.surrogates.smooth import Arctan, Exponential, FastSigmoid, Gaussian, MultiGaussian, Sigmoid

__all__ = ["SURROGATES", "surrogate_of"]

_CLASSES: tuple[type[Surrogate], ...] = (
    ReLUDerivative,
    SpikeAsGradient,
    StraightThrough,
    Boxcar,
    Triangular,
    FastSigmoid,
    Arctan,
    Sigmoid,
    Gaussian,
    Exponential,
    MultiGaussian,
)
#: name -> class of all that need no function of the user
SURROGATES = NameTable({kind.name: kind for kind in _CLASSES})


def surrogate_of(name: str, **options: float) -> Surrogate:
    """Surrogate derivative by its name.

    Parameters
    ----------
    name : str
        "relu_derivative", "spike_as_gradient", "straight_through", "boxcar", "triangular", "fast_sigmoid", "arctan",
        "sigmoid", "gaussian", "exponential" or "multi_gaussian".
    **options : float
        Its parameters; those left out have their defaults.

    Returns
    -------
    Surrogate

    Raises
    ------
    ValidationError
        There is no such name or parameter, or a parameter is out of range.

    Examples
    --------
    >>> from eventsnn import surrogate_of
    >>> surrogate_of("triangular", width=0.5)
    Triangular(height=0.3, width=0.5)
    """
    if name not in SURROGATES:
        raise ValidationError(f"surrogate_of: no surrogate {name!r}{hint(name, SURROGATES)}")
    kind: Any = SURROGATES[name]
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            raise ValidationError(f"surrogate_of({name!r}): no parameter {option!r}{hint(option, known)}")
    surrogate: Surrogate = kind(**options)
    return surrogate
