"""Softmax cross-entropy of logits: the formula that the losses on potentials and on spike counts share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.softmax import softmax_rows

__all__ = ["softmax_cross_entropy"]


def softmax_cross_entropy(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``-log softmax(z)[label]`` of each sample, shape (n_samples,), and its derivative with respect to the logits z.

    Parameters
    ----------
    logits : shape (n_samples, n_outputs), finite
    labels : class of each sample, shape (n_samples,)

    Notes
    -----
    No overflow for any finite logits, and a small loss keeps its digits.
    """
    d_logits = np.array(logits, dtype=np.float64, order="C")
    losses = np.empty(labels.size)
    softmax_rows(d_logits, labels, losses)
    return losses, d_logits
