"""Firing-rate regularisers: what hidden neurons pay for firing too much or too little, as functions of spike counts.

Every regulariser is a frozen dataclass with ``value_and_grad(counts)``. It gives a value per sample and the derivative
of their *sum* with respect to every count, exact for counts that are taken as real numbers: the same rule as for the
losses, so the mean over the samples of loss and regularisers has the derivatives divided by n_samples. What turns a
derivative by a count into one by a weight is a surrogate (`SpikeCountSurrogate`), and that is not exact.

Counts are spikes per sample. For a rate in spikes per unit of time multiply it by the length of a sample.

`SpikeRateL1` and `SpikeRateL2` are sums over the neurons: the price of a spike is the same in layers of any size. The
bounds are means over the neurons.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import number, spike_counts
from eventsnn.errors import ValidationError

__all__ = [
    "SpikeCountLowerBound",
    "SpikeCountRegularizer",
    "SpikeCountTarget",
    "SpikeCountUpperBound",
    "SpikeRateL1",
    "SpikeRateL2",
]


@dataclass(frozen=True)
class SpikeCountRegularizer(ABC):
    """What all regularisers of spike counts share: the check of their argument."""

    #: see `eventsnn.gradients.chain.target_of`
    looks_at: ClassVar[str] = "counts"

    def value_and_grad(self, counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Value of each sample, and the derivative of their sum with respect to the counts.

        Parameters
        ----------
        counts : spikes of every neuron of a population, shape (n_samples, n_neurons), such as
            ``result.spikes["hidden"].counts()``

        Returns
        -------
        values : shape (n_samples,)
        d_counts : shape (n_samples, n_neurons)

        Raises
        ------
        ValidationError
            Counts that are negative, not finite or of another shape.
        """
        return self._value_and_grad(spike_counts(f"{type(self).__name__}.value_and_grad: counts", counts))

    @abstractmethod
    def _value_and_grad(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same, of checked counts."""


@dataclass(frozen=True)
class SpikeCountTarget(SpikeCountRegularizer):
    """Squared distance of each neuron's mean count over the samples from a target.

    Parameters
    ----------
    target : float, >= 0
        Spikes per sample that a neuron should have on average; in single samples it may have any number.
    strength : float, >= 0

    Notes
    -----
    ``R = strength/2 sum_n (mean_b c_bn - target)^2`` over the neurons n of the population. R is the value of every
    sample, so that the mean over samples is R.

    References
    ----------
    Nowotny, T., Turner, J. P. & Knight, J. C. (2022), Loss shaping enhances exact gradient learning with Eventprop in
    spiking neural networks, arXiv 2212.01232, with ``SpikeCountSurrogate(function="constant")``

    Examples
    --------
    >>> from eventsnn import SpikeCountTarget
    >>> SpikeCountTarget(target=2.0, strength=0.5).value_and_grad([[6, 1], [2, 1]])
    (array([1.25, 1.25]), array([[ 1. , -0.5],
           [ 1. , -0.5]]))
    """

    target: float
    strength: float

    def __post_init__(self) -> None:
        _check_numbers(self, "target", "strength")

    def _value_and_grad(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not counts.shape[0]:
            return np.empty(0), np.empty(counts.shape)
        error = counts.mean(axis=0) - self.target
        values = np.full(counts.shape[0], 0.5 * self.strength * (error @ error))
        return values, np.broadcast_to(self.strength * error, counts.shape).copy()


@dataclass(frozen=True)
class _SpikeCountBound(SpikeCountRegularizer):
    """A bound on the counts of every sample, and what they pay beyond it."""

    #: d(excess)/d(count)
    _sign: ClassVar[float]

    bound: float
    strength: float
    power: Literal[1, 2] = 2
    over: Literal["neurons", "population"] = "neurons"

    def __post_init__(self) -> None:
        _check_numbers(self, "bound", "strength")
        if isinstance(self.power, bool) or self.power not in (1, 2):
            raise ValidationError(f"{type(self).__name__}.power: must be 1 or 2, got {self.power!r}")
        if self.over not in ("neurons", "population"):
            raise ValidationError(f"{type(self).__name__}.over: must be 'neurons' or 'population', got {self.over!r}")

    def _value_and_grad(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        observed = counts.mean(axis=1, keepdims=True) if self.over == "population" else counts
        excess = np.maximum(self._sign * (observed - self.bound), 0.0)
        if self.power == 2:
            values, d_excess = excess * excess, 2.0 * excess
        else:
            values, d_excess = excess, (excess > 0.0).astype(np.float64)
        # a neuron has a share of 1/n in the population's mean, and in the mean over the neurons' values
        d_counts = (self.strength * self._sign / counts.shape[1]) * d_excess + 0.0  # 0.0: not -0.0
        return self.strength * values.mean(axis=1), np.broadcast_to(d_counts, counts.shape).copy()


@dataclass(frozen=True)
class SpikeCountUpperBound(_SpikeCountBound):
    """What counts above a bound cost, sample by sample.

    Parameters
    ----------
    bound : float, >= 0
        Spikes per sample.
    strength : float, >= 0
    power : 1 or 2
        L1 or L2.
    over : "neurons" or "population"
        Whether every neuron is held below the bound, or the mean count of the population.

    Notes
    -----
    In sample b ``strength mean_n [c_bn - bound]_+^power`` over neurons, ``strength [mean_n c_bn - bound]_+^power`` over
    the population. At the bound itself the derivative is 0.

    References
    ----------
    Zenke, F. & Vogels, T. P. (2021), doi 10.1162/neco_a_01367; Cramer, B. et al. (2022), The Heidelberg spiking data
    sets, doi 10.1109/TNNLS.2020.3044364

    Examples
    --------
    >>> from eventsnn import SpikeCountUpperBound
    >>> SpikeCountUpperBound(bound=3.0, strength=1.0, power=1).value_and_grad([[5, 1]])
    (array([1.]), array([[0.5, 0. ]]))
    """

    _sign: ClassVar[float] = 1.0


@dataclass(frozen=True)
class SpikeCountLowerBound(_SpikeCountBound):
    """What counts below a bound cost, sample by sample.

    Parameters
    ----------
    bound : float, >= 0
        Spikes per sample.
    strength : float, >= 0
    power : 1 or 2
        L1 or L2.
    over : "neurons" or "population"
        Whether every neuron is held above the bound, or the mean count of the population.

    Notes
    -----
    In sample b ``strength mean_n [bound - c_bn]_+^power`` over neurons, ``strength [bound - mean_n c_bn]_+^power`` over
    the population. At the bound itself the derivative is 0. A neuron without any spike is brought back only by a
    surrogate that sees peaks below threshold; see `SpikeCountSurrogate`.

    References
    ----------
    Zenke, F. & Vogels, T. P. (2021), doi 10.1162/neco_a_01367; Cramer, B. et al. (2022), The Heidelberg spiking data
    sets, doi 10.1109/TNNLS.2020.3044364

    Examples
    --------
    >>> from eventsnn import SpikeCountLowerBound
    >>> SpikeCountLowerBound(bound=1.0, strength=1.0).value_and_grad([[0, 4]])
    (array([0.5]), array([[-1.,  0.]]))
    """

    _sign: ClassVar[float] = -1.0


@dataclass(frozen=True)
class SpikeRateL1(SpikeCountRegularizer):
    """A price on every spike.

    Parameters
    ----------
    strength : float, >= 0
        Price of one spike.

    Notes
    -----
    In sample b ``strength sum_n c_bn`` over the neurons n. For rates in spikes per step of a time grid divide
    `strength` by the number of steps. The mean over the neurons instead of the sum is
    ``SpikeCountUpperBound(bound=0, power=1)``, but for silent neurons: here their derivative is `strength` as well, so
    that potentials just below threshold are pushed away from it.

    References
    ----------
    Neftci, E. O., Mostafa, H. & Zenke, F. (2019), Surrogate gradient learning in spiking neural networks, doi
    10.1109/MSP.2019.2931595, and its tutorial: the total number of spikes

    Examples
    --------
    >>> from eventsnn import SpikeRateL1
    >>> SpikeRateL1(strength=0.5).value_and_grad([[3, 1, 0]])
    (array([2.]), array([[0.5, 0.5, 0.5]]))
    """

    strength: float

    def __post_init__(self) -> None:
        _check_numbers(self, "strength")

    def _value_and_grad(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.strength * counts.sum(axis=1), np.full(counts.shape, self.strength)


@dataclass(frozen=True)
class SpikeRateL2(SpikeCountRegularizer):
    """A price on every spike that grows with the number of spikes of its neuron: against few, very busy neurons.

    Parameters
    ----------
    strength : float, >= 0

    Notes
    -----
    In sample b ``strength sum_n c_bn^2`` over the neurons n. For rates in spikes per step of a time grid divide
    `strength` by the square of the number of steps. The mean over the neurons instead of the sum is
    ``SpikeCountUpperBound(bound=0, power=2)``. A silent neuron pays nothing and its derivative is 0.

    References
    ----------
    Zenke, F. & Vogels, T. P. (2021), The remarkable robustness of surrogate gradient learning, doi
    10.1162/neco_a_01367: squares of the counts, there above a bound

    Examples
    --------
    >>> from eventsnn import SpikeRateL2
    >>> SpikeRateL2(strength=0.5).value_and_grad([[3, 1, 0]])
    (array([5.]), array([[3., 1., 0.]]))
    """

    strength: float

    def __post_init__(self) -> None:
        _check_numbers(self, "strength")

    def _value_and_grad(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.strength * (counts * counts).sum(axis=1), 2.0 * self.strength * counts


def _check_numbers(regularizer: SpikeCountRegularizer, *names: str) -> None:
    for name in names:
        value = number(f"{type(regularizer).__name__}.{name}", getattr(regularizer, name), at_least=0.0)
        object.__setattr__(regularizer, name, value)
