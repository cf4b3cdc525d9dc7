"""Optimisers: settings are frozen; the running state belongs to an `OptimizerState`, one per training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import CheckpointError, ValidationError
from eventsnn.kernels.optimizer_step import adam_step, sgd_step
from eventsnn.simulation.parallel import BlockPool

__all__ = ["SGD", "Adam", "Optimizer", "OptimizerState"]

#: Elements of one piece of work. Fixed, and the update is element-wise: threads do not change the result.
_PIECE = 65536


@dataclass(frozen=True)
class Optimizer:
    """Base class of the optimisers' settings."""

    learning_rate: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValidationError(f"{type(self).__name__}.learning_rate: must be > 0, got {self.learning_rate}")

    def _unit_interval(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise ValidationError(f"{type(self).__name__}.{name}: must lie in [0, 1), got {getattr(self, name)}")

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept per parameter."""
        return ()

    def update(
        self, weight: Any, gradients: Any, slots: dict[str, Any], rate: float, step: int, scale: float, span: Any
    ) -> None:
        """Update the flat array `weight` on the elements span[0] : span[1]."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum: ``u = momentum u + g; w -= learning_rate u``."""

    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unit_interval("momentum")

    @property
    def slots(self) -> tuple[str, ...]:
        """See `Optimizer.slots`."""
        return ("velocity",)

    def update(
        self, weight: Any, gradients: Any, slots: dict[str, Any], rate: float, step: int, scale: float, span: Any
    ) -> None:
        """See `Optimizer.update`."""
        real = weight.dtype.type
        sgd_step(weight, gradients, slots["velocity"], real(rate), real(self.momentum), real(scale), *span)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980), optionally AMSGrad (Reddi et al. 2018)."""

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    amsgrad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unit_interval("beta1", "beta2")
        if not (np.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValidationError(f"Adam.epsilon: must be > 0, got {self.epsilon}")

    @property
    def slots(self) -> tuple[str, ...]:
        """See `Optimizer.slots`."""
        return ("first", "second", "second_max") if self.amsgrad else ("first", "second")

    def update(
        self, weight: Any, gradients: Any, slots: dict[str, Any], rate: float, step: int, scale: float, span: Any
    ) -> None:
        """See `Optimizer.update`."""
        real = weight.dtype.type
        second_max = slots["second_max"] if self.amsgrad else np.empty(0, weight.dtype)
        adam_step(
            weight, gradients, slots["first"], slots["second"], second_max,
            real(rate / (1.0 - self.beta1**step)), real(self.beta1), real(self.beta2),
            real(1.0 / math.sqrt(1.0 - self.beta2**step)), real(self.epsilon), real(scale), *span,
        )  # fmt: skip


class OptimizerState:
    """The running state of an optimiser for a set of parameter arrays, which it updates in place.

    rates : by name of an array, a factor on the learning rate; 1 where it is not named
    """

    def __init__(
        self,
        optimizer: Optimizer,
        parameters: dict[str, NDArray[np.floating]],
        rates: Mapping[str, float] | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.rates = dict.fromkeys(parameters, 1.0) | dict(rates or {})
        self.step_count = 0
        self.slots = {
            name: {slot: np.zeros(array.size, array.dtype) for slot in optimizer.slots}
            for name, array in parameters.items()
        }
        self._flat = {name: array.reshape(-1) for name, array in parameters.items()}
        self._pieces = [
            (name, (low, min(low + _PIECE, flat.size)))
            for name, flat in self._flat.items()
            for low in range(0, flat.size, _PIECE)
        ]

    def step(self, gradients: dict[str, NDArray[np.floating]], factor: float, scale: float, pool: BlockPool) -> None:
        """One update with the learning rate times `factor`.

        `gradients[name]` is (n_blocks, n_elements): block sums, added in order, times `scale`, and set to zero.
        """
        self.step_count += 1
        rate = self.optimizer.learning_rate * factor

        def work(piece: tuple[str, tuple[int, int]]) -> None:
            name, span = piece
            self.optimizer.update(
                self._flat[name],
                gradients[name],
                self.slots[name],
                rate * self.rates[name],
                self.step_count,
                scale,
                span,
            )

        pool.map(work, self._pieces)

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything that changes, for a savepoint."""
        return {
            "kind": type(self.optimizer).__name__,
            "step_count": self.step_count,
            "slots": {name: {slot: a.copy() for slot, a in slots.items()} for name, slots in self.slots.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict` of the same optimiser on the same parameters."""
        expected = {name: sorted(slots) for name, slots in self.slots.items()}
        found = {name: sorted(slots) for name, slots in state["slots"].items()}
        if state["kind"] != type(self.optimizer).__name__ or expected != found:
            raise CheckpointError(
                f"the savepoint was written by {state['kind']} for {found}, this run has "
                f"{type(self.optimizer).__name__} for {expected}; use the configuration the run was started with"
            )
        self.step_count = int(state["step_count"])
        for name, slots in state["slots"].items():
            for slot, array in slots.items():
                self.slots[name][slot][:] = array
