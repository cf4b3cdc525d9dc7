"""The network section of a configuration."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from eventsnn.experiments.schema_base import NonNegativeFloat, PositiveFloat, PositiveInt, Strict, default, described

__all__ = ["NetworkConfig", "WeightInit"]


class WeightInit(Strict):
    """Normally distributed initial weights of one layer."""

    mean: float = described("mean of the weights")
    std: NonNegativeFloat = described("standard deviation of the weights")
    scale: Literal["none", "fan_in"] = default(
        "none", "fan_in: the mean is divided by n_pre and the standard deviation by sqrt(n_pre)"
    )

    def moments(self, n_pre: int) -> dict[str, float]:
        """Mean and standard deviation of the weights from n_pre neurons."""
        if self.scale == "fan_in":
            return {"mean": self.mean / n_pre, "std": self.std / math.sqrt(n_pre)}
        return {"mean": self.mean, "std": self.std}


class HiddenAndOutput(Strict):
    """One initialisation for all hidden layers, one for the output layer."""

    hidden: WeightInit = described("initial weights of every hidden layer")
    output: WeightInit = described("initial weights of the output layer")


class Recurrent(WeightInit):
    """Connections from every hidden layer to itself, all to all."""

    delay: tuple[NonNegativeFloat, NonNegativeFloat] = default(
        (0.0, 0.0), "axonal delays, in seconds: drawn evenly from the first to the second", strict=False
    )

    @model_validator(mode="after")
    def _delays_in_order(self) -> Recurrent:
        if self.delay[0] > self.delay[1]:
            raise ValueError(f"delay: the first ({self.delay[0]}) must not be more than the second ({self.delay[1]})")
        return self


def _list_or_mapping(value: Any) -> str:
    return "per_layer" if isinstance(value, (list, tuple)) else "hidden_and_output"


WeightInits = Annotated[
    Annotated[HiddenAndOutput, Tag("hidden_and_output")]
    | Annotated[tuple[WeightInit, ...], Field(strict=False), Tag("per_layer")],
    Discriminator(_list_or_mapping),
]


class NetworkConfig(Strict):
    """A chain of fully connected layers in continuous time; by default every neuron fires at most once."""

    engine: Literal["event_driven"] = default("event_driven", "exact events; clocked: steps on a time grid")
    tau_mem: PositiveFloat = described("membrane time constant, in seconds")
    tau_syn: PositiveFloat = described("synaptic time constant, in seconds")
    v_threshold: float = default(1.0, "threshold of all neurons")
    v_leak: float = default(0.0, "resting potential of all neurons, below the threshold")
    hidden: tuple[PositiveInt, ...] = described("sizes of the hidden layers, for example [120]", strict=False)
    hidden_spikes: PositiveInt | None = default(
        1, "spikes of a hidden neuron in a sample, at most; null: no limit. Other than 1, EventProp gives the gradients"
    )
    output: Literal["first_spike", "leaky"] = default(
        "first_spike", "output neurons: they fire once, or they are leaky integrators whose potential is read out"
    )
    t_max: PositiveFloat | None = default(
        None, "end of every simulation, in seconds; null: when nothing happens any more"
    )
    weight_init: WeightInits = described(
        "initial weights in the drive convention (a spike adds its weight to i_syn): hidden and output, or one entry "
        "per layer"
    )

    recurrent: Recurrent | None = default(
        None, "connections from every hidden layer to itself: initial weights and delays; null for none"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> NetworkConfig:
        if self.v_leak >= self.v_threshold:
            raise ValueError(f"v_leak ({self.v_leak}) must be less than v_threshold ({self.v_threshold})")
        n_layers = len(self.hidden) + 1
        if isinstance(self.weight_init, tuple) and len(self.weight_init) != n_layers:
            raise ValueError(
                f"weight_init has {len(self.weight_init)} entries for {n_layers} layers "
                f"({len(self.hidden)} hidden and the output)"
            )
        return self
