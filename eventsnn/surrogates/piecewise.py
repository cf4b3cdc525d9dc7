"""Surrogate derivatives made of straight pieces; most of them vanish away from the threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsnn.surrogates.base import Surrogate, kernels

__all__ = ["Boxcar", "ReLUDerivative", "SpikeAsGradient", "StraightThrough", "Triangular"]


@dataclass(frozen=True)
class ReLUDerivative(Surrogate):
    """Derivative of a rectified linear unit: 1 where x >= 0, else 0.

    Notes
    -----
    ``sigma(x) = 1 if x >= 0 else 0``. The error passes to every neuron at or above threshold, however far. `support`
    begins at the largest normal float32 number below 0, so that x = 0 lies inside.

    References
    ----------
    Nair and Hinton (2010), Rectified linear units improve restricted Boltzmann machines, ICML.

    Examples
    --------
    >>> from eventsnn import ReLUDerivative
    >>> ReLUDerivative().derivative([-0.5, 0.0, 2.0])
    array([0., 1., 1.])
    """

    name = "relu_derivative"

    @property
    def support(self) -> tuple[float, float]:
        """From just below 0 on, x = 0 included."""
        return -float(np.finfo(np.float32).smallest_normal), math.inf

    def row_formula(self) -> tuple[int, float, float]:
        """See `Surrogate.row_formula`."""
        return kernels().RELU_DERIVATIVE, 0.0, 0.0

    def _run(self, values: NDArray[np.floating]) -> None:
        kernels().apply_relu_derivative(values)


@dataclass(frozen=True)
class SpikeAsGradient(Surrogate):
    """The spike itself: 1 where the neuron fired, else 0.

    Notes
    -----
    ``sigma(x) = 1 if x > 0 else 0``. It differs from `ReLUDerivative` at x = 0 alone, where a neuron does not fire.

    References
    ----------
    Eshraghian et al. (2023), Training spiking neural networks using lessons from deep learning, section on the dead
    neuron problem, doi 10.1109/JPROC.2023.3308088.

    Examples
    --------
    >>> from eventsnn import SpikeAsGradient
    >>> SpikeAsGradient().derivative([-0.5, 0.0, 2.0])
    array([0., 0., 1.])
    """

    name = "spike_as_gradient"

    @property
    def support(self) -> tuple[float, float]:
        """Above 0."""
        return 0.0, math.inf

    def row_formula(self) -> tuple[int, float, float]:
        """See `Surrogate.row_formula`."""
        return kernels().SPIKE_AS_GRADIENT, 0.0, 0.0

    def _run(self, values: NDArray[np.floating]) -> None:
        kernels().apply_spike_as_gradient(values)


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    """1 everywhere: the error passes as if the spike were the potential.

    Notes
    -----
    ``sigma(x) = 1``.

    References
    ----------
    Bengio, Leonard and Courville (2013), arXiv 1308.3432.

    Examples
    --------
    >>> from eventsnn import StraightThrough
    >>> StraightThrough().derivative([-0.5, 0.0, 2.0])
    array([1., 1., 1.])
    """

    name = "straight_through"

    def row_formula(self) -> tuple[int, float, float]:
        """See `Surrogate.row_formula`."""
        return kernels().STRAIGHT_THROUGH, 0.0, 0.0

    def _run(self, values: NDArray[np.floating]) -> None:
        kernels().apply_straight_through(values)


@dataclass(frozen=True)
class Boxcar(Surrogate):
    """A rectangle of area 1 about the threshold.

    Parameters
    ----------
    width : float
        Whole width; the height is 1/width.

    Raises
    ------
    ValidationError
        `width` does not lie in 1e-9 .. 1e9.

    Notes
    -----
    ``sigma(x) = 1/width if |x| < width/2 else 0``.

    References
    ----------
    Wu et al. (2018), h_1 with a_1 = width, doi 10.3389/fnins.2018.00331.

    Examples
    --------
    >>> from eventsnn import Boxcar
    >>> Boxcar(width=0.5).derivative([-0.3, -0.2, 0.0, 0.25])
    array([0., 2., 2., 0.])
    """

    width: float = 1.0
    name = "boxcar"

    @property
    def support(self) -> tuple[float, float]:
        """Within half the width."""
        return -self.width / 2, self.width / 2

    def row_formula(self) -> tuple[int, float, float]:
        """See `Surrogate.row_formula`."""
        return kernels().BOXCAR, self.width / 2, 1 / self.width

    def _run(self, values: NDArray[np.floating]) -> None:
        _, first, second = self.row_formula()
        kernels().apply_boxcar(values, values.dtype.type(first), values.dtype.type(second))


@dataclass(frozen=True)
class Triangular(Surrogate):
    """A triangle about the threshold, also called piecewise linear.

    Parameters
    ----------
    height : float
        Value at the threshold.
    width : float
        Half the base: the distance from the threshold at which it becomes 0.

    Raises
    ------
    ValidationError
        A parameter does not lie in 1e-9 .. 1e9.

    Notes
    -----
    ``sigma(x) = height max(0, 1 - |x|/width)``; its area is height times width. The defaults are those of the second
    reference with v_threshold = 1.

    References
    ----------
    Esser et al. (2016), doi 10.1073/pnas.1604850113; Bellec et al. (2018), arXiv 1803.09574.

    Examples
    --------
    >>> from eventsnn import Triangular
    >>> Triangular(height=0.5, width=2.0).derivative([-3.0, -1.0, 0.0, 2.0])
    array([0.  , 0.25, 0.5 , 0.  ])
    """

    height: float = 0.3
    width: float = 1.0
    name = "triangular"

    @property
    def support(self) -> tuple[float, float]:
        """Within the width."""
        return -self.width, self.width

    def row_formula(self) -> tuple[int, float, float]:
        """See `Surrogate.row_formula`."""
        return kernels().TRIANGULAR, self.width, self.height / self.width

    def _run(self, values: NDArray[np.floating]) -> None:
        _, first, second = self.row_formula()
        kernels().apply_triangular(values, values.dtype.type(first), values.dtype.type(second))
