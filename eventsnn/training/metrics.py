"""What training and evaluation report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EpochMetrics", "Metrics", "Predictions"]


@dataclass(frozen=True)
class Metrics:
    """Loss and accuracy (fractions of 1) on a data set; `n_silent_outputs`: samples in which no output fired."""

    loss: float
    accuracy: float
    n_silent_outputs: int


@dataclass(frozen=True)
class Predictions:
    """labels: (n_samples,), -1 where no output fired; outputs: what the loss looks at.

    That is, (n_samples, n_outputs), the first spike times, inf where silent, or the values of the readout.
    """

    labels: NDArray[np.int64]
    outputs: NDArray[np.float64]


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch of training gave. Losses and accuracies of the training set are those seen while training.

    n_clipped: weight gradients of single samples that `max_dw_norm` shortened; silent_hidden: fraction of hidden
    neurons and samples without a spike; valid_*: None without a validation set; n_raised: spikes of neurons without a
    limit whose dv/dt was raised to `min_slope`.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    valid_loss: float | None
    valid_accuracy: float | None
    seconds: float
    samples_per_second: float
    learning_rate: float
    n_clipped: int
    n_bumped: int
    silent_hidden: float
    n_raised: int = 0
