"""Losses on the spike counts of output neurons: the class is the output that fires most.

Every loss is a frozen dataclass with ``value_and_grad(counts, labels)``, whose second result is d(loss)/d(counts),
exact for counts that are taken as real numbers. It knows nothing of where the counts come from. They are whole numbers,
so their own derivative with respect to a weight is zero almost everywhere; what stands in for it is a surrogate
(`SpikeCountSurrogate`), and that is not exact. The losses of a sample are not divided by anything; for the mean over
the samples divide both results by their number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import index_array, number, spike_counts
from eventsnn.errors import ValidationError
from eventsnn.training.cross_entropy import softmax_cross_entropy

__all__ = ["SpikeCountCrossEntropy", "SpikeCountLoss", "SpikeCountMSE"]


@dataclass(frozen=True)
class SpikeCountLoss(ABC):
    """What all losses on spike counts share: the check of their arguments, and the prediction."""

    #: see `eventsnn.gradients.chain.target_of`
    looks_at: ClassVar[str] = "counts"

    def value_and_grad(self, counts: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of each sample, and d(loss)/d(counts).

        Parameters
        ----------
        counts : spikes of every output, shape (n_samples, n_outputs), such as ``result.spikes["output"].counts()``
        labels : class of each sample, shape (n_samples,)

        Returns
        -------
        losses : shape (n_samples,)
        d_counts : shape (n_samples, n_outputs)

        Raises
        ------
        ValidationError
            Counts that are negative, not finite or of another shape; labels of another number or beyond the outputs.
        """
        where = f"{type(self).__name__}.value_and_grad"
        n = spike_counts(f"{where}: counts", counts)
        classes = index_array(f"{where}: labels", labels, n.shape[1], "number of outputs")
        if classes.size != n.shape[0]:
            raise ValidationError(f"{where}: labels: one per sample is needed, {n.shape[0]}, got {classes.size}")
        return self._value_and_grad(n, classes)

    @abstractmethod
    def _value_and_grad(
        self, counts: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same, of checked arguments."""

    def predictions(self, counts: ArrayLike) -> NDArray[np.int64]:
        """The output that fires most, shape (n_samples,): the lowest of equal ones, -1 where none fires."""
        n = spike_counts(f"{type(self).__name__}.predictions: counts", counts)
        return np.where(n.any(axis=1), n.argmax(axis=1), -1)


@dataclass(frozen=True)
class SpikeCountMSE(SpikeCountLoss):
    """Squared error of spike counts: so many spikes of the right output, so many of each other one.

    Parameters
    ----------
    correct, wrong : float
        Target count of the right output and of the others; 0 <= wrong < correct.

    Notes
    -----
    ``L = 1/2 sum_k (n_k - target_k)^2`` over the outputs k.

    A target of 0 silences the wrong outputs for good if the surrogate acts on spikes alone
    (``SpikeCountSurrogate(function="constant")``): a few spikes keep them within reach.

    References
    ----------
    Shrestha, S. B. & Orchard, G. (2018), SLAYER, arXiv 1810.08646: target counts for the right and the wrong classes

    Examples
    --------
    >>> from eventsnn import SpikeCountMSE
    >>> SpikeCountMSE(correct=5, wrong=1).value_and_grad([[3, 2]], [0])
    (array([2.5]), array([[-2.,  1.]]))
    """

    correct: float
    wrong: float

    def __post_init__(self) -> None:
        for name in ("correct", "wrong"):
            object.__setattr__(self, name, number(f"SpikeCountMSE.{name}", getattr(self, name), at_least=0.0))
        if self.correct <= self.wrong:
            raise ValidationError(f"SpikeCountMSE.correct: must be above wrong ({self.wrong:g}), got {self.correct:g}")

    def _value_and_grad(
        self, counts: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        error = counts - self.wrong
        rows = np.arange(labels.size)
        error[rows, labels] = counts[rows, labels] - self.correct
        return 0.5 * (error * error).sum(axis=1), error


@dataclass(frozen=True, kw_only=True)
class SpikeCountCrossEntropy(SpikeCountLoss):
    """Cross-entropy ``-log softmax(scale n)[label]`` on the spike counts n of the outputs.

    Parameters
    ----------
    scale : float, > 0
        Per spike: larger asks for smaller differences between right and wrong.

    Notes
    -----
    Where all outputs are silent the loss is log(n_outputs), and its derivative asks for spikes of the right one.

    Examples
    --------
    >>> from eventsnn import SpikeCountCrossEntropy
    >>> SpikeCountCrossEntropy().value_and_grad([[0, 0]], [0])
    (array([0.69314718]), array([[-0.5,  0.5]]))
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", number("SpikeCountCrossEntropy.scale", self.scale, above=0.0))

    def _value_and_grad(
        self, counts: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        losses, d_logits = softmax_cross_entropy(self.scale * counts, labels)
        return losses, self.scale * d_logits
