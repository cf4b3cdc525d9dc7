"""Losses on the spike counts or rates of output neurons: the class is the output that fires most.

Every loss is a frozen dataclass with ``value_and_grad(counts, labels)``, whose second result is d(loss)/d(counts),
exact for counts that are taken as real numbers; with rates in their place likewise. It knows nothing of where the
counts come from. They are whole numbers, so their own derivative with respect to a weight is zero almost everywhere;
what stands in for it is a surrogate (`SpikeCountSurrogate`), and that is not exact. The losses of a sample are not
divided by the number of samples; for the mean over the samples divide both results by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import index_array, number, spike_counts
from eventsnn.decoding import busiest
from eventsnn.errors import ValidationError
from eventsnn.training.cross_entropy import softmax_cross_entropy

__all__ = ["SpikeCountCrossEntropy", "SpikeCountLoss", "SpikeCountMSE", "SpikeRateCrossEntropy"]


@dataclass(frozen=True)
class SpikeCountLoss(ABC):
    """What all losses on spike counts or rates share: the check of their arguments, and the prediction."""

    #: "counts" or "rates"; see `eventsnn.gradients.chain.target_of`
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
        n = self._checked(where, counts)
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
        return busiest(self._checked(f"{type(self).__name__}.predictions", counts))

    def _checked(self, where: str, counts: ArrayLike) -> NDArray[np.float64]:
        source = "Spikes.counts()" if self.looks_at == "counts" else "Spikes.counts() / n_steps"
        return spike_counts(f"{where}: {self.looks_at}", counts, source=source)


@dataclass(frozen=True)
class SpikeCountMSE(SpikeCountLoss):
    """Squared error of spike counts: so many spikes of the right output, so many of each other one.

    Parameters
    ----------
    correct, wrong : float
        Target count of the right output and of the others; 0 <= wrong < correct.
    reduction : "half_sum" or "mean"
        Over the outputs of a sample: half the sum of the squares, or their mean without the half. The mean over the
        samples of the latter is the mean over all entries, which other libraries call the mean squared error.

    Notes
    -----
    ``L = 1/2 sum_k (n_k - target_k)^2`` over the outputs k, or ``L = 1/n_outputs sum_k (n_k - target_k)^2``.

    A target of 0 silences the wrong outputs for good if the surrogate acts on spikes alone
    (``SpikeCountSurrogate(function="constant")``): a few spikes keep them within reach.

    References
    ----------
    Shrestha, S. B. & Orchard, G. (2018), SLAYER, arXiv 1810.08646: target counts for the right and the wrong classes

    Examples
    --------
    >>> from eventsnn import SpikeCountMSE
    >>> SpikeCountMSE(correct=5, wrong=1).value_and_grad([[3, 2, 1, 1]], [0])
    (array([2.5]), array([[-2.,  1.,  0.,  0.]]))
    >>> SpikeCountMSE(correct=5, wrong=1, reduction="mean").value_and_grad([[3, 2, 1, 1]], [0])
    (array([1.25]), array([[-1. ,  0.5,  0. ,  0. ]]))
    """

    correct: float
    wrong: float
    reduction: Literal["half_sum", "mean"] = "half_sum"

    def __post_init__(self) -> None:
        for name in ("correct", "wrong"):
            object.__setattr__(self, name, number(f"SpikeCountMSE.{name}", getattr(self, name), at_least=0.0))
        if self.correct <= self.wrong:
            raise ValidationError(f"SpikeCountMSE.correct: must be above wrong ({self.wrong:g}), got {self.correct:g}")
        if self.reduction not in ("half_sum", "mean"):
            raise ValidationError(f"SpikeCountMSE.reduction: must be 'half_sum' or 'mean', got {self.reduction!r}")

    def _value_and_grad(
        self, counts: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        error = counts - self.wrong
        rows = np.arange(labels.size)
        error[rows, labels] = counts[rows, labels] - self.correct
        if self.reduction == "mean":
            return (error * error).mean(axis=1), (2.0 / error.shape[1]) * error
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
        object.__setattr__(self, "scale", number(f"{type(self).__name__}.scale", self.scale, above=0.0))

    def _value_and_grad(
        self, counts: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        losses, d_logits = softmax_cross_entropy(self.scale * counts, labels)
        return losses, self.scale * d_logits


@dataclass(frozen=True, kw_only=True)
class SpikeRateCrossEntropy(SpikeCountCrossEntropy):
    """Cross-entropy ``-log softmax(scale r)[label]`` on the rates r of the outputs: spikes per step of a time grid.

    Parameters
    ----------
    scale : float, > 0
        Larger asks for smaller differences between right and wrong. Rates lie between 0 and 1, so with scale = 1 and
        ten outputs the loss cannot fall below log(1 + 9/e) = 1.46; 10 or so lets it approach 0.

    Notes
    -----
    ``r = counts / n_steps``. The same as `SpikeCountCrossEntropy` with ``scale / n_steps``, but `scale` need not be
    chosen anew for another number of steps. ``value_and_grad(rates, labels)`` gives d(loss)/d(rates);
    ``predictions(rates)`` the output that fires most, -1 where none does.

    References
    ----------
    Eshraghian, J. K. et al. (2023), Training spiking neural networks using lessons from deep learning, doi
    10.1109/JPROC.2023.3308088: cross-entropy on spike rates

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import SpikeRateCrossEntropy
    >>> rates = np.array([[20, 5]]) / 25
    >>> SpikeRateCrossEntropy(scale=10.0).value_and_grad(rates, [0])
    (array([0.00247569]), array([[-0.02472623,  0.02472623]]))
    """

    looks_at: ClassVar[str] = "rates"
