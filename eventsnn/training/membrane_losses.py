"""Losses on the membrane potential in every step of a time grid.

A loss is a frozen dataclass with ``value_and_grad(v, labels)``, whose second result is d(loss)/d(v) in every step. The
losses of a sample are not divided by anything, not by the steps either; for the mean over the samples divide both
results by their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import index_array, number
from eventsnn.errors import ValidationError
from eventsnn.training.cross_entropy import softmax_cross_entropy

__all__ = ["MembraneCrossEntropy"]


@dataclass(frozen=True, kw_only=True)
class MembraneCrossEntropy:
    """Softmax cross-entropy on the potentials of the outputs in every step, summed over the steps.

    Parameters
    ----------
    scale : float, > 0
        Per unit of potential: larger asks for smaller differences between right and wrong.

    Notes
    -----
    ``L = sum_t -log softmax(scale v_t)[label]`` over the steps t. Every step asks for the right class, the first one
    too, so the network learns to be right early. No overflow for any finite potentials.

    Cost: one exponential per potential.

    References
    ----------
    Eshraghian, J. K. et al. (2023), Training spiking neural networks using lessons from deep learning, doi
    10.1109/JPROC.2023.3308088: cross-entropy on the membrane, summed over time

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import MembraneCrossEntropy
    >>> losses, d_v = MembraneCrossEntropy().value_and_grad(np.zeros((1, 3, 2)), [0])
    >>> losses  # three times log(2)
    array([2.07944154])
    >>> d_v
    array([[[-0.5,  0.5],
            [-0.5,  0.5],
            [-0.5,  0.5]]])
    """

    #: see `eventsnn.gradients.chain.target_of`
    looks_at: ClassVar[str] = "membrane"

    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", number("MembraneCrossEntropy.scale", self.scale, above=0.0))

    def value_and_grad(self, v: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of each sample, and d(loss)/d(v).

        Parameters
        ----------
        v : potential of every output in every step, shape (n_samples, n_steps, n_outputs)
        labels : class of each sample, shape (n_samples,)

        Returns
        -------
        losses : shape (n_samples,)
        d_v : float64, shape (n_samples, n_steps, n_outputs)

        Raises
        ------
        ValidationError
            Potentials of another shape, or that are not finite when scaled; labels of another number or beyond the
            outputs.
        """
        where = "MembraneCrossEntropy.value_and_grad"
        logits = self._logits(f"{where}: v", v)
        n_samples, n_steps, n_outputs = logits.shape
        classes = index_array(f"{where}: labels", labels, n_outputs, "number of outputs")
        if classes.size != n_samples:
            raise ValidationError(f"{where}: labels: one per sample is needed, {n_samples}, got {classes.size}")
        losses, d_logits = softmax_cross_entropy(logits.reshape(-1, n_outputs), np.repeat(classes, n_steps))
        d_logits *= self.scale
        return losses.reshape(n_samples, n_steps).sum(axis=1), d_logits.reshape(logits.shape)

    def predictions(self, v: ArrayLike) -> NDArray[np.int64]:
        """The class whose loss would be the lowest: the highest potential summed over the steps.

        Parameters
        ----------
        v : potential of every output in every step, shape (n_samples, n_steps, n_outputs)

        Returns
        -------
        int64 array, shape (n_samples,): of equal sums the lowest index

        Notes
        -----
        ``L(k) = sum_t log sum_j exp(scale v_tj) - scale sum_t v_tk``, and only the second term depends on the class k.
        The potential's maximum over the steps is another answer, `decode_max_membrane`, and the number of spikes a
        third, `decode_rate`.
        """
        chosen: NDArray[np.int64] = self._logits("MembraneCrossEntropy.predictions: v", v).sum(axis=1).argmax(axis=1)
        return chosen

    def _logits(self, name: str, v: ArrayLike) -> NDArray[np.float64]:
        """``scale v`` in float64, finite, (n_samples, n_steps, n_outputs)."""
        potentials = np.asarray(v)
        if potentials.ndim != 3 or 0 in potentials.shape[1:] or potentials.dtype.kind not in "iuf":
            raise ValidationError(
                f"{name}: must be real numbers of shape (n_samples, n_steps, n_outputs), n_steps and n_outputs >= 1, "
                f"got shape {potentials.shape}, dtype {potentials.dtype}"
            )
        with np.errstate(over="ignore"):  # refused below
            logits: NDArray[np.float64] = np.multiply(potentials, self.scale, dtype=np.float64)
        finite = np.isfinite(logits)
        if not finite.all():
            b, t, k = np.argwhere(~finite)[0]
            raise ValidationError(
                f"{name}: must be finite, also times scale={self.scale:g}, got {potentials[b, t, k]:g} at sample {b}, "
                f"step {t}, output {k}"
            )
        return logits
