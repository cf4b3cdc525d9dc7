"""Smooth surrogate derivatives, which never vanish."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsnn.surrogates.base import Surrogate, kernels

__all__ = ["Arctan", "Exponential", "FastSigmoid", "Gaussian", "MultiGaussian", "Sigmoid"]


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """Derivative of a fast sigmoid (SuperSpike), of height 1.

    Parameters
    ----------
    slope : float
        The larger, the narrower.

    Raises
    ------
    ValidationError
        `slope` does not lie in 1e-9 .. 1e9.

    Notes
    -----
    ``sigma(x) = 1/(1 + slope |x|)^2``; its area is 2/slope. The default is that of snnTorch.

    References
    ----------
    Zenke and Ganguli (2018), doi 10.1162/neco_a_01086.

    Examples
    --------
    >>> from eventsnn import FastSigmoid
    >>> FastSigmoid(slope=2.0).derivative([-0.5, 0.0, 1.5])
    array([0.25  , 1.    , 0.0625])
    """

    slope: float = 25.0
    name = "fast_sigmoid"

    def row_formula(self) -> tuple[int, float, float]:
        """See `Surrogate.row_formula`."""
        return kernels().FAST_SIGMOID, self.slope, 0.0

    def _run(self, values: NDArray[np.floating]) -> None:
        kernels().apply_fast_sigmoid(values, values.dtype.type(self.slope))


@dataclass(frozen=True)
class Arctan(Surrogate):
    """Derivative of a scaled arctangent, of area 1.

    Parameters
    ----------
    alpha : float
        Twice the height; the larger, the narrower.

    Raises
    ------
    ValidationError
        `alpha` does not lie in 1e-9 .. 1e9.

    Notes
    -----
    ``sigma(x) = (alpha/2)/(1 + (pi alpha x/2)^2)``, the derivative of ``arctan(pi alpha x/2)/pi``. The default is
    that of the reference.

    References
    ----------
    Fang et al. (2021), arXiv 2007.05785.

    Examples
    --------
    >>> import math
    >>> from eventsnn import Arctan
    >>> Arctan(alpha=2.0).derivative([0.0, 1 / math.pi])
    array([1. , 0.5])
    """

    alpha: float = 2.0
    name = "arctan"

    def row_formula(self) -> tuple[int, float, float]:
        """See `Surrogate.row_formula`."""
        return kernels().ARCTAN, self.alpha / 2, math.pi * self.alpha / 2

    def _run(self, values: NDArray[np.floating]) -> None:
        _, first, second = self.row_formula()
        kernels().apply_arctan(values, values.dtype.type(first), values.dtype.type(second))


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """Derivative of the logistic function, of area 1.

    Parameters
    ----------
    slope : float
        Four times the height; the larger, the narrower.

    Raises
    ------
    ValidationError
        `slope` does not lie in 1e-9 .. 1e9.

    Notes
    -----
    ``sigma(x) = slope s (1 - s)`` with ``s = 1/(1 + exp(-slope x))``. The default is that of snnTorch.

    References
    ----------
    Zenke and Vogels (2021), doi 10.1162/neco_a_01367.

    Examples
    --------
    >>> from eventsnn import Sigmoid
    >>> Sigmoid(slope=4.0).derivative([-0.5, 0.0, 0.5]).round(6)
    array([0.419974, 1.      , 0.419974])
    """

    slope: float = 25.0
    name = "sigmoid"

    def _run(self, values: NDArray[np.floating]) -> None:
        kernels().apply_sigmoid(values, values.dtype.type(self.slope))


def _normal(width: float) -> tuple[float, float]:
    """height and rate of the normal density of that standard deviation: height exp(-(rate x)^2)."""
    return 1 / (width * math.sqrt(2 * math.pi)), math.sqrt(0.5) / width


@dataclass(frozen=True)
class Gaussian(Surrogate):
    """The density of a normal distribution, of area 1.

    Parameters
    ----------
    width : float
        Standard deviation.

    Raises
    ------
    ValidationError
        `width` does not lie in 1e-9 .. 1e9.

    Notes
    -----
    ``sigma(x) = exp(-x^2/(2 width^2))/(width sqrt(2 pi))``. The default is that of `MultiGaussian`.

    References
    ----------
    Wu et al. (2018), h_4 with a_4 = width^2, doi 10.3389/fnins.2018.00331.

    Examples
    --------
    >>> from eventsnn import Gaussian
    >>> Gaussian(width=0.5).derivative([-0.5, 0.0, 0.5]).round(6)
    array([0.483941, 0.797885, 0.483941])
    """

    width: float = 0.5
    name = "gaussian"

    def _run(self, values: NDArray[np.floating]) -> None:
        kernels().apply_gaussian(values, *map(values.dtype.type, _normal(self.width)))


@dataclass(frozen=True)
class Exponential(Surrogate):
    """A double exponential about the threshold (SLAYER's spike escape rate).

    Parameters
    ----------
    scale : float
        Value at the threshold.
    slope : float
        The larger, the narrower.

    Raises
    ------
    ValidationError
        A parameter does not lie in 1e-9 .. 1e9.

    Notes
    -----
    ``sigma(x) = scale exp(-slope |x|)``; its area is 2 scale/slope. The reference leaves both open; 1 and 1 are its
    program's for v_threshold = 1.

    References
    ----------
    Shrestha and Orchard (2018), arXiv 1810.08646: scale = 1/alpha, slope = beta.

    Examples
    --------
    >>> from eventsnn import Exponential
    >>> Exponential(scale=0.5, slope=2.0).derivative([-0.5, 0.0, 0.5]).round(6)
    array([0.18394, 0.5    , 0.18394])
    """

    scale: float = 1.0
    slope: float = 1.0
    name = "exponential"

    def _run(self, values: NDArray[np.floating]) -> None:
        real = values.dtype.type
        kernels().apply_exponential(values, real(self.scale), real(self.slope))


@dataclass(frozen=True)
class MultiGaussian(Surrogate):
    """A narrow Gaussian minus two wide ones beside it: slightly negative far from the threshold.

    Parameters
    ----------
    width : float
        Standard deviation of the one in the middle; the others stand at -width and width.
    depth : float
        Weight of those two; 0 leaves scale times a `Gaussian`.
    spread : float
        How many times as wide they are.
    scale : float
        Factor on all of it.

    Raises
    ------
    ValidationError
        A parameter does not lie in 1e-9 .. 1e9 (`depth` may be 0).

    Notes
    -----
    With N(x; m, s) the density of a normal distribution of mean m and standard deviation s::

        sigma(x) = scale ((1 + depth) N(x; 0, width) - depth N(x; width, spread width)
                                                     - depth N(x; -width, spread width))

    Its area is scale (1 - depth). `width`, `depth` and `spread` are the reference's; `scale` is its program's.

    References
    ----------
    Yin, Corradi and Bohte (2021), doi 10.1038/s42256-021-00397-w: width = sigma, depth = h, spread = s.

    Examples
    --------
    >>> from eventsnn import MultiGaussian
    >>> MultiGaussian().derivative([-2.0, 0.0, 2.0]).round(6)
    array([-0.015696,  0.439112, -0.015696])
    """

    width: float = 0.5
    depth: float = 0.15
    spread: float = 6.0
    scale: float = 0.5
    name = "multi_gaussian"
    _may_be_zero = ("depth",)

    def _run(self, values: NDArray[np.floating]) -> None:
        height, rate = _normal(self.width)
        side_height, side_rate = _normal(self.spread * self.width)
        height *= self.scale * (1 + self.depth)
        side_height *= self.scale * self.depth
        constants = height, rate, self.width, side_height, side_rate
        kernels().apply_multi_gaussian(values, *map(values.dtype.type, constants))
