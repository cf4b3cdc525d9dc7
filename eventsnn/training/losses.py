"""Losses on first spike times of the output neurons.

Every loss is a frozen dataclass with ``value(times, labels, tau_syn)`` per sample and ``value_and_grad``, whose second
result is d(value)/d(times). All times are divided by the output layer's tau_syn first, so a loss does not depend on the
unit of time.

Silent outputs count as firing at ``t_silent`` (in units of tau_syn): the loss stays finite, the neuron's own
derivative is zero. What makes a silent output of the right class fire again is the silent-neuron hinge
(`regularizers.SilentHinge`), whose gradient comes from its membrane potential.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn.errors import ValidationError
from eventsnn.kernels.time_losses import (
    cross_entropy,
    finish_loss,
    scaled_times,
    shifted_squared_error,
    squared_error,
)

__all__ = ["FirstSpikeCrossEntropy", "FirstSpikeLoss", "FirstSpikeMSE", "ShiftInvariantMSE"]


@dataclass(frozen=True, kw_only=True)
class FirstSpikeLoss(ABC):
    """What all losses share: the early-spike regulariser and the treatment of silent outputs.

    Parameters
    ----------
    alpha, beta : float
        Strength and scale of the regulariser ``alpha exp(t*/(beta tau_syn))``, which wants the right neuron to fire
        early; alpha 0 (the default) leaves it out.
    t_silent : float
        Time, in units of tau_syn, at which a silent output neuron counts as firing.
    """

    alpha: float = 0.0
    beta: float = 1.0
    t_silent: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not np.isfinite(value):
                raise ValidationError(f"{type(self).__name__}.{field.name}: must be finite, got {value}")
        for name in ("beta", "t_silent", *self._positive()):
            if getattr(self, name) <= 0:
                raise ValidationError(f"{type(self).__name__}.{name}: must be > 0, got {getattr(self, name)}")
        if self.alpha < 0:
            raise ValidationError(f"{type(self).__name__}.alpha: must be >= 0, got {self.alpha}")

    def _positive(self) -> tuple[str, ...]:
        return ()

    def value_and_grad(
        self, times: NDArray[np.float64], labels: NDArray[np.int64], tau_syn: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of each sample, shape (n_samples,), and d(loss)/d(times), shape (n_samples, n_outputs).

        Parameters
        ----------
        times : first spike times, shape (n_samples, n_outputs), inf where silent
        labels : class of each sample, shape (n_samples,)
        tau_syn : synaptic time constant(s) of the outputs, scalar or (n_outputs,)
        """
        tau = np.full(times.shape[1], tau_syn, dtype=np.float64)
        value, grad, t = np.empty(labels.size), np.empty(times.shape), np.empty(times.shape)
        scaled_times(times, tau, float(self.t_silent), t)
        self._loss(t, labels, value, grad)
        finish_loss(times, t, labels, tau, float(self.alpha), float(self.beta), value, grad)
        return value, grad

    def value(
        self,
        times: NDArray[Any],
        labels: NDArray[np.int64],
        tau_syn: ArrayLike,
        exp: Callable[..., Any] = np.exp,
        log: Callable[..., Any] = np.log,
    ) -> NDArray[Any]:
        """Loss of each sample from the defining formula; `exp` and `log` may work on numbers of higher precision.

        Slower and less careful about overflow than `value_and_grad`; `check_gradients` compares the two.
        """
        tau = np.broadcast_to(np.asarray(tau_syn), times.shape)
        t = np.where(times == np.inf, self.t_silent, times / tau)
        rows = np.arange(labels.size)
        result: NDArray[Any] = self._formula(t, labels, rows, exp, log)
        return result + self.alpha * exp(t[rows, labels] / self.beta) if self.alpha else result

    @abstractmethod
    def _loss(
        self,
        t: NDArray[np.float64],
        labels: NDArray[np.int64],
        value: NDArray[np.float64],
        grad: NDArray[np.float64],
    ) -> None:
        """Fill value, (n_samples,), and grad, its derivative with respect to t = times/tau_syn, of the shape of t."""

    @abstractmethod
    def _formula(self, t: Any, labels: Any, rows: Any, exp: Callable[..., Any], log: Callable[..., Any]) -> Any:
        """The value, written as in the paper."""


@dataclass(frozen=True, kw_only=True)
class FirstSpikeCrossEntropy(FirstSpikeLoss):
    """Cross-entropy on spike times: ``log sum_k exp(-t_k/(xi tau_syn)) + t*/(xi tau_syn)``.

    Parameters
    ----------
    xi : float
        Scale of the softmax in units of tau_syn; smaller asks for smaller distances between right and wrong.
    alpha, beta, t_silent : see `FirstSpikeLoss`

    References
    ----------
    Goeltz et al. 2021, Fast and energy-efficient neuromorphic deep learning with first-spike times,
    doi 10.1038/s42256-021-00388-x, eq. 3.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import FirstSpikeCrossEntropy
    >>> loss = FirstSpikeCrossEntropy(xi=0.5)
    >>> value, grad = loss.value_and_grad(np.array([[1.0, 1.0]]), np.array([0]), tau_syn=1.0)
    >>> value.round(4), grad
    (array([0.6931]), array([[ 1., -1.]]))
    """

    xi: float = 0.2

    def _positive(self) -> tuple[str, ...]:
        return ("xi",)

    def _loss(self, t: Any, labels: Any, value: Any, grad: Any) -> None:
        cross_entropy(t, labels, float(self.xi), value, grad)

    def _formula(self, t: Any, labels: Any, rows: Any, exp: Any, log: Any) -> Any:
        return log(exp(-t / self.xi).sum(axis=1)) + t[rows, labels] / self.xi


@dataclass(frozen=True, kw_only=True)
class FirstSpikeMSE(FirstSpikeLoss):
    """Squared distance to target times: ``1/2 sum_k (t_k - target_k)^2 / tau_syn^2``.

    Parameters
    ----------
    t_correct, t_wrong : float
        Target times of the right and of all other output neurons, in units of tau_syn.
    alpha, beta, t_silent : see `FirstSpikeLoss`
    """

    t_correct: float
    t_wrong: float

    def _targets(self, shape: Any, labels: Any, rows: Any) -> Any:
        targets = np.full(shape, float(self.t_wrong))
        targets[rows, labels] = self.t_correct
        return targets

    def _loss(self, t: Any, labels: Any, value: Any, grad: Any) -> None:
        squared_error(t, labels, float(self.t_correct), float(self.t_wrong), value, grad)

    def _formula(self, t: Any, labels: Any, rows: Any, exp: Any, log: Any) -> Any:
        return ((t - self._targets(t.shape, labels, rows)) ** 2).sum(axis=1) / 2


@dataclass(frozen=True, kw_only=True)
class ShiftInvariantMSE(FirstSpikeLoss):
    """Squared error of the distances to the right neuron: ``1/2 sum_{k wrong} (t_k - t* - delta_t)^2 / tau_syn^2``.

    Parameters
    ----------
    delta_t : float
        Wanted distance between the right spike and the others, in units of tau_syn.
    alpha, beta, t_silent : see `FirstSpikeLoss`
    """

    delta_t: float

    def _positive(self) -> tuple[str, ...]:
        return ("delta_t",)

    def _loss(self, t: Any, labels: Any, value: Any, grad: Any) -> None:
        shifted_squared_error(t, labels, float(self.delta_t), value, grad)

    def _formula(self, t: Any, labels: Any, rows: Any, exp: Any, log: Any) -> Any:
        error = t - t[rows, labels][:, None] - self.delta_t
        error[rows, labels] = 0.0 * error[rows, labels]
        return (error**2).sum(axis=1) / 2
