"""Losses on whole spike trains, for `eventprop`: the output's spikes against those of a target.

Every loss is a frozen dataclass with ``value_and_grad(spikes, targets)``. It gives the loss of each sample and the
derivative of their *sum* with respect to every spike time of ``spikes``, in the order of its events, as
``eventprop(result, {"name": d_times})`` takes it. For a mean over the samples divide both by their number.

`TargetSpikeTimes` compares the k-th spike with the k-th target, so it wants about as many spikes as there are targets.
`VanRossum` compares the trains as a whole, whatever their numbers of spikes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.kernels.spike_train_losses import van_rossum
from eventsnn.spikes import Spikes

__all__ = ["SpikeTrainLoss", "TargetSpikeTimes", "VanRossum"]


@dataclass(frozen=True)
class SpikeTrainLoss(ABC):
    """Distance of the spike trains of every sample from target trains.

    Parameters
    ----------
    tau : float, > 0
        In the unit of the spike times; what it does is said by each loss.
    """

    tau: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", number(f"{type(self).__name__}.tau", self.tau, above=0.0))

    def value_and_grad(self, spikes: Spikes, targets: Spikes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of each sample, and the derivative of their sum with respect to the spike times.

        Parameters
        ----------
        spikes : of a population, such as ``result.spikes["output"]``
        targets : what they should be, with the same `n_samples` and `n_neurons`

        Returns
        -------
        losses : shape (n_samples,), summed over the neurons
        d_times : shape (spikes.n_events,), in the order of `spikes`

        Raises
        ------
        ValidationError
            An argument that is not `Spikes`, or targets for other numbers of samples or neurons.

        Notes
        -----
        The derivative does not see that a spike may appear or vanish.
        """
        where = f"{type(self).__name__}.value_and_grad"
        for name, given in (("spikes", spikes), ("targets", targets)):
            if not isinstance(given, Spikes):
                raise ValidationError(f"{where}: {name}: must be Spikes, got {type(given).__name__}")
        for size in ("n_samples", "n_neurons"):
            if getattr(targets, size) != getattr(spikes, size):
                raise ValidationError(
                    f"{where}: targets: {size} must be that of spikes, {getattr(spikes, size)}, "
                    f"got {getattr(targets, size)}"
                )
        return self._value_and_grad(spikes, targets)

    @abstractmethod
    def _value_and_grad(self, spikes: Spikes, targets: Spikes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same, of checked arguments."""


@dataclass(frozen=True)
class VanRossum(SpikeTrainLoss):
    """Squared distance of the exponentially filtered trains, neuron by neuron.

    Parameters
    ----------
    tau : float, > 0
        Time constant of the filter. Much shorter than the intervals it counts spikes without a partner at the same
        time; much longer it compares the numbers of spikes.

    Notes
    -----
    ``D^2 = 1/tau integral (f - g)^2 dt`` with ``f(t) = sum_k exp(-(t - t_k)/tau)`` over the spikes t_k <= t, g the same
    of the targets: in closed form, to infinite time. A single spike against none costs 1/2; one spike against one
    target at distance d costs 1 - exp(-d/tau).

    The derivative is exact too. Where a spike coincides with a target of its neuron the loss has a cusp; the pair adds
    0, the mean of both sides. A train equal to its target has loss 0 and gradient 0.

    Cost: the sum of spikes, targets, and samples times neurons.

    References
    ----------
    van Rossum, M. C. W. (2001), A novel spike distance, doi 10.1162/089976601300014321

    Examples
    --------
    >>> from eventsnn import Spikes, VanRossum
    >>> spikes = Spikes([0, 0], [0, 1], [1.0, 2.0], n_samples=1, n_neurons=2)
    >>> target = Spikes([0], [0], [2.0], n_samples=1, n_neurons=2)
    >>> VanRossum(tau=1.0).value_and_grad(spikes, target)  # 1 - exp(-1), and 1/2 for the spike of neuron 1
    (array([1.13212056]), array([-0.36787944,  0.        ]))
    """

    def _value_and_grad(self, spikes: Spikes, targets: Spikes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        losses, d_times = np.zeros(spikes.n_samples), np.zeros(spikes.n_events)
        after, before, last = np.empty((3, spikes.n_neurons))
        van_rossum(
            spikes.offsets, spikes.neurons, spikes.times, targets.offsets, targets.neurons, targets.times, self.tau,
            after, before, last, losses, d_times,
        )  # fmt: skip
        return losses, d_times


@dataclass(frozen=True)
class TargetSpikeTimes(SpikeTrainLoss):
    """Squared error of spike times: the k-th spike of a neuron against its k-th target.

    Parameters
    ----------
    tau : float, > 0
        Unit of time in which the error is measured.
    penalty : float, >= 0
        What every spike without a target and every target without a spike adds. It has no gradient: it shows in the
        loss that the numbers differ and does nothing to change them.

    Notes
    -----
    ``L = 1/2 sum (t_k - target_k)^2 / tau^2 + penalty |n_spikes - n_targets|``, summed over neurons and over the k that
    have both. A spike without a target has derivative 0.

    Examples
    --------
    >>> from eventsnn import Spikes, TargetSpikeTimes
    >>> spikes = Spikes([0, 0], [0, 0], [1.0, 4.0], n_samples=1, n_neurons=1)
    >>> target = Spikes([0], [0], [3.0], n_samples=1, n_neurons=1)
    >>> TargetSpikeTimes(tau=1.0, penalty=0.5).value_and_grad(spikes, target)
    (array([2.5]), array([-2.,  0.]))
    """

    penalty: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "penalty", number("TargetSpikeTimes.penalty", self.penalty, at_least=0.0))

    def _value_and_grad(self, spikes: Spikes, targets: Spikes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        train, order, rank = _by_neuron(spikes)
        _, target_order, _ = _by_neuron(targets)
        n_targets = targets.counts().ravel()
        first_target = np.cumsum(n_targets) - n_targets
        paired = rank < n_targets[train]
        own = order[paired]
        partner = target_order[first_target[train[paired]] + rank[paired]]
        error = (spikes.times[own] - targets.times[partner]) / self.tau
        d_times = np.zeros(spikes.n_events)
        d_times[own] = error / self.tau
        losses = np.zeros(spikes.n_samples)
        np.add.at(losses, spikes.samples[own], 0.5 * error * error)
        losses += self.penalty * np.abs(spikes.counts() - targets.counts()).sum(axis=1)
        return losses, d_times


def _by_neuron(spikes: Spikes) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.int64]]:
    """Events train by train, a train being a neuron in a sample: their trains, events, and numbers in the train."""
    train = spikes.samples * spikes.n_neurons + spikes.neurons
    order = np.argsort(train, kind="stable")  # in the order of time within a train
    counts = spikes.counts().ravel()
    rank = np.arange(spikes.n_events) - np.repeat(np.cumsum(counts) - counts, counts)
    return train[order], order, rank
