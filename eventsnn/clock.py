"""`Clock`: the time grid of a clock-driven network, and how its gradient is taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from eventsnn._validation import count, number
from eventsnn.errors import ValidationError
from eventsnn.surrogates import Arctan, Surrogate

__all__ = ["Clock"]


@dataclass(frozen=True)
class Clock:
    """Time grid and surrogate gradient, for `loss_and_grad` and `Trainer`.

    Parameters
    ----------
    n_steps : number of steps of a sample, >= 1
    dt : length of a step, in the unit of the spike times and time constants
    surrogate : stands in for ds/dv, default ``Arctan()``
    method : how `Trainer` takes the gradient: "surrogate", backpropagation through time; "eprop", forward in time, see
        `loss_and_grad`, whose own `method` goes before this one
    detach_reset : take the spikes in the reset as constants, so that the gradient goes around it
    truncate : steps after which states and spikes on their way are taken as constants (truncated backpropagation
        through time); None for never
    decode : what the class of a sample is read from: the "rate" of the output spikes (most of them), their "latency"
        (the first), the highest "membrane" potential, the highest "mean_membrane" potential over all steps, or the
        highest "last_membrane" potential, that after the last step

    Raises
    ------
    ValidationError
        A value out of range, or something that is no surrogate.

    Examples
    --------
    >>> from eventsnn import Clock
    >>> Clock(n_steps=25).surrogate
    Arctan(alpha=2.0)
    """

    n_steps: int
    dt: float = 1.0
    surrogate: Any = field(default_factory=Arctan)
    detach_reset: bool = False
    truncate: int | None = None
    decode: Literal["rate", "latency", "membrane", "mean_membrane", "last_membrane"] = "rate"
    method: Literal["surrogate", "eprop"] = "surrogate"

    def __post_init__(self) -> None:
        if count("Clock.n_steps", self.n_steps) < 1:
            raise ValidationError(f"Clock.n_steps: must be >= 1, got {self.n_steps}")
        object.__setattr__(self, "dt", number("Clock.dt", self.dt, above=0))
        if not isinstance(self.surrogate, Surrogate):
            raise ValidationError(
                f"Clock.surrogate: must be a surrogate such as Arctan(), got {self.surrogate!r}; "
                "CustomSurrogate(function) takes one of your own"
            )
        if not isinstance(self.detach_reset, bool):
            raise ValidationError(f"Clock.detach_reset: must be True or False, got {self.detach_reset!r}")
        if self.truncate is not None and count("Clock.truncate", self.truncate) < 1:
            raise ValidationError(f"Clock.truncate: must be >= 1 or None, got {self.truncate}")
        known = ("rate", "latency", "membrane", "mean_membrane", "last_membrane")
        if self.decode not in known:
            raise ValidationError(f"Clock.decode: must be one of {known}, got {self.decode!r}")
        if self.method not in ("surrogate", "eprop"):
            raise ValidationError(f"Clock.method: must be 'surrogate' or 'eprop', got {self.method!r}")

    @property
    def needs_output_spikes(self) -> bool:
        """Whether the class is read from spikes, so that a sample whose outputs are silent has none."""
        return self.decode in ("rate", "latency")
