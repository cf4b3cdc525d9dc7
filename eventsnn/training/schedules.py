"""Learning-rate schedules: a factor on the optimiser's learning rate as a function of the finished epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eventsnn.errors import ValidationError

__all__ = ["Constant", "CosineDecay", "ExponentialDecay", "MultiStepDecay", "Schedule", "StepDecay"]


def _require(holds: bool, place: str, rule: str, value: object) -> None:
    if not holds:
        raise ValidationError(f"{place}: {rule}, got {value!r}")


class Schedule:
    """Base class; `factor(progress)` takes the finished epochs, a float that grows within an epoch."""

    def factor(self, progress: float) -> float:
        """Factor on the learning rate after `progress` epochs."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """Always 1."""

    def factor(self, progress: float) -> float:
        """Factor on the learning rate after `progress` epochs."""
        return 1.0


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiply by `gamma` every `step` epochs."""

    step: int
    gamma: float

    def __post_init__(self) -> None:
        _require(self.step >= 1, "StepDecay.step", "must be >= 1", self.step)
        _require(0 < self.gamma <= 1, "StepDecay.gamma", "must lie in (0, 1]", self.gamma)

    def factor(self, progress: float) -> float:
        """Factor on the learning rate after `progress` epochs."""
        return self.gamma ** (int(progress) // self.step)


@dataclass(frozen=True)
class MultiStepDecay(Schedule):
    """Multiply by `gamma` at each of the `milestones` (epochs)."""

    milestones: tuple[int, ...]
    gamma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(sorted(self.milestones)))
        _require(all(m >= 1 for m in self.milestones), "MultiStepDecay.milestones", "must be >= 1", self.milestones)
        _require(0 < self.gamma <= 1, "MultiStepDecay.gamma", "must lie in (0, 1]", self.gamma)

    def factor(self, progress: float) -> float:
        """Factor on the learning rate after `progress` epochs."""
        return self.gamma ** sum(int(progress) >= m for m in self.milestones)


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """Multiply by `gamma` every epoch."""

    gamma: float

    def __post_init__(self) -> None:
        _require(0 < self.gamma <= 1, "ExponentialDecay.gamma", "must lie in (0, 1]", self.gamma)

    def factor(self, progress: float) -> float:
        """Factor on the learning rate after `progress` epochs."""
        return self.gamma ** int(progress)


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """Half a cosine from 1 to `minimum` over `n_epochs`, following the batches; `warmup` epochs rise linearly first."""

    n_epochs: int
    minimum: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _require(self.n_epochs >= 1, "CosineDecay.n_epochs", "must be >= 1", self.n_epochs)
        _require(0 <= self.minimum <= 1, "CosineDecay.minimum", "must lie in [0, 1]", self.minimum)
        _require(0 <= self.warmup < self.n_epochs, "CosineDecay.warmup", "must lie in [0, n_epochs)", self.warmup)

    def factor(self, progress: float) -> float:
        """Factor on the learning rate after `progress` epochs."""
        if progress < self.warmup:
            return progress / self.warmup
        done = min((progress - self.warmup) / (self.n_epochs - self.warmup), 1.0)
        return self.minimum + (1.0 - self.minimum) * 0.5 * (1.0 + math.cos(math.pi * done))
