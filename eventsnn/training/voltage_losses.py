"""Losses on membrane potentials of readouts (`LI`): softmax cross-entropy on their maximum, integral or samples.

Every loss is a frozen dataclass that says what it needs of the potentials (`kind`, `times`: what
`eventsnn.simulation.readouts.ReadoutRunner` takes) and has ``value_and_grad(values, labels)``, whose second result is
d(loss)/d(values). The losses of a sample are not divided by anything; the trainer takes the mean over the samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import float_array, number
from eventsnn.errors import ValidationError
from eventsnn.training.cross_entropy import softmax_cross_entropy

__all__ = ["IntegralCrossEntropy", "MaxVoltageCrossEntropy", "VoltageCrossEntropy", "VoltageLoss"]


@dataclass(frozen=True, kw_only=True)
class VoltageLoss(ABC):
    """Cross-entropy ``-log softmax(z)[label]`` of logits z that are linear in the values of the readout.

    Parameters
    ----------
    scale : float, > 0
        z = scale * values: larger asks for smaller differences between right and wrong.
    """

    #: see `eventsnn.gradients.chain.target_of`
    looks_at: ClassVar[str] = "potentials"
    #: what `ReadoutRunner` computes for this loss
    kind: ClassVar[Literal["max", "integral", "at"]]

    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", number(f"{type(self).__name__}.scale", self.scale, above=0.0))

    @abstractmethod
    def _logits(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_samples, n_outputs)."""

    @abstractmethod
    def _d_values(self, d_logits: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Transpose of `_logits`."""

    def value_and_grad(
        self, values: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of each sample, shape (n_samples,), and d(loss)/d(values), of the shape of `values`.

        Parameters
        ----------
        values : what the readout gives, shape (n_samples, n_outputs), or (n_samples, n_times, n_outputs)
        labels : class of each sample, shape (n_samples,)
        """
        losses, d_logits = softmax_cross_entropy(self._logits(np.asarray(values, dtype=np.float64)), labels)
        return losses, self._d_values(d_logits, np.shape(values))

    def predictions(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The class with the highest logit, the lowest of equal ones, shape (n_samples,)."""
        chosen: NDArray[np.int64] = self._logits(np.asarray(values, dtype=np.float64)).argmax(axis=1)
        return chosen


@dataclass(frozen=True, kw_only=True)
class MaxVoltageCrossEntropy(VoltageLoss):
    """Cross-entropy on the highest potential of every output over time.

    Parameters
    ----------
    scale : see `VoltageLoss`

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn.training.voltage_losses import MaxVoltageCrossEntropy
    >>> MaxVoltageCrossEntropy().value_and_grad(np.zeros((1, 2)), np.array([0]))
    (array([0.69314718]), array([[-0.5,  0.5]]))
    """

    kind: ClassVar[Literal["max", "integral", "at"]] = "max"

    def _logits(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.scale * values

    def _d_values(self, d_logits: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        return self.scale * d_logits


@dataclass(frozen=True, kw_only=True)
class IntegralCrossEntropy(MaxVoltageCrossEntropy):
    """Cross-entropy on the integral of the potential over time.

    Parameters
    ----------
    scale : float, > 0
        Per unit of potential and time; the inverse of the simulated time makes it the mean potential.
    """

    kind: ClassVar[Literal["max", "integral", "at"]] = "integral"

    scale: float = field()


@dataclass(frozen=True, kw_only=True)
class VoltageCrossEntropy(VoltageLoss):
    """Cross-entropy on the mean of the potentials at given times.

    Parameters
    ----------
    times : array_like, shape (n_times,)
        Sorted, finite, >= 0, in the unit of the spike times; kept as a tuple of floats.
    scale : see `VoltageLoss`
    """

    kind: ClassVar[Literal["max", "integral", "at"]] = "at"

    times: Any = field(kw_only=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        array: NDArray[np.float64] = float_array("VoltageCrossEntropy.times", _as_array(self.times))
        if array.ndim != 1 or array.size == 0:
            raise ValidationError(
                f"VoltageCrossEntropy.times: must have shape (n_times,) with n_times >= 1, got {array.shape}"
            )
        if not np.isfinite(array).all() or array[0] < 0 or (np.diff(array) < 0).any():
            raise ValidationError(f"VoltageCrossEntropy.times: must be finite, sorted and >= 0, got {array.tolist()}")
        object.__setattr__(self, "times", tuple(array.tolist()))

    def _logits(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        logits: NDArray[np.float64] = self.scale * values.mean(axis=1)
        return logits

    def _d_values(self, d_logits: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        return np.repeat((self.scale / shape[1]) * d_logits[:, None, :], shape[1], axis=1)


def _as_array(times: ArrayLike) -> NDArray[Any]:
    return np.atleast_1d(np.asarray(times))
