"""Which model trains a network: the fastest way to its exact gradient, and which options go with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eventsnn._names import hint
from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.gradients.chain import require_chain, require_time_loss, target_of
from eventsnn.gradients.first_spike import require_first_spike
from eventsnn.gradients.spike_count_surrogate import SpikeCountSurrogate
from eventsnn.graph import Network
from eventsnn.network import Sequential
from eventsnn.simulation.event_driven import require_continuous
from eventsnn.training.count_regularizers import SpikeCountTarget
from eventsnn.training.first_spike_model import FirstSpikeModel
from eventsnn.training.hardware import Hardware
from eventsnn.training.hardware_model import HardwareModel
from eventsnn.training.learned_delays import DelayL2, LearnedDelay
from eventsnn.training.models import ChainModel, GraphModel, Model
from eventsnn.training.regularizers import SilentHinge, WeightBumping

__all__ = ["max_norms", "model_of", "require_options"]

ONLY_WEIGHTS = {"weight": 1.0}
_NOT_OF_CHAINS = "not for a Sequential, whose layers have fast kernels of their own; give network.as_network()"


def max_norms(model: Model, max_dw_norm: float | Mapping[str, float] | None) -> float | list[float]:
    """Bound on the norm of each sample's weight gradient, one for all layers or one each; inf for none.

    Raises
    ------
    ValidationError
        A bound that is not positive, or for a population that there is not.
    """
    if max_dw_norm is None:
        return np.inf
    if not isinstance(max_dw_norm, Mapping):
        return number("Trainer.max_dw_norm", max_dw_norm, above=0.0)
    for name in max_dw_norm:
        if name not in model.layer_names:
            raise ValidationError(f"Trainer.max_dw_norm: no population {name!r}{hint(name, model.layer_names)}")
    return [
        number(f"Trainer.max_dw_norm[{name!r}]", max_dw_norm[name], above=0.0) if name in max_dw_norm else np.inf
        for name in model.layer_names
    ]


def require_options(
    model: Model, max_dw_norm: float | Mapping[str, float] | None, silent: SilentHinge | WeightBumping | None
) -> None:
    """Raise for options of the trainer that the model does not have."""
    if max_dw_norm is not None and not isinstance(model, FirstSpikeModel):
        raise ValidationError(
            "Trainer.max_dw_norm: only for chains in which every neuron fires at most once; min_slope bounds "
            "the gradients of EventProp"
        )
    if isinstance(silent, WeightBumping):
        if not isinstance(model.network, Sequential):
            raise ValidationError("Trainer.silent: WeightBumping is for a Sequential; use SilentHinge or None")
        if target_of(model.loss) == "potentials":
            raise ValidationError("Trainer.silent: WeightBumping is for spiking outputs; use SilentHinge or None")


def model_of(
    network: Sequential | Network,
    loss: Any,
    t_max: float,
    *,
    output: str | None = None,
    learn: Mapping[str, float | LearnedDelay] | None = None,
    regularizers: Sequence[Any] = (),
    surrogate: SpikeCountSurrogate | None = None,
    hardware: Hardware | None = None,
    seed: int | np.random.SeedSequence = 0,
    batch_size: int = 1,
) -> Model:
    """The model of a network, by the fastest way to its gradient.

    Raises
    ------
    ValidationError
        A loss that does not fit the output, or a network that cannot be trained.
    """
    require_continuous("Trainer", network)
    learned: Any = ONLY_WEIGHTS if learn is None else learn
    once = isinstance(network, Sequential) and t_max == np.inf and all(layer.fires_once for layer in network.layers)
    if hardware is not None and not once:
        raise ValidationError(
            "Trainer.hardware: only for a Sequential whose neurons fire at most once, LIF(..., max_spikes=1), without "
            "t_max"
        )
    if isinstance(network, Sequential):
        if output is not None and output != network.layers[-1].name:
            raise ValidationError(
                f"Trainer.output: that of a Sequential is its last population, {network.layers[-1].name!r}, got "
                f"{output!r}"
            )
        if surrogate is not None:
            raise ValidationError(f"Trainer.surrogate: {_NOT_OF_CHAINS}")
        if once:
            require_first_spike(network)
            require_time_loss("Trainer", loss)
            if not all(isinstance(regularizer, DelayL2) for regularizer in regularizers):
                raise ValidationError(f"Trainer.regularizers: but for DelayL2, {_NOT_OF_CHAINS}")
            if hardware is not None:
                return HardwareModel(
                    network, loss, learned, regularizers, hardware=hardware, seed=seed, batch_size=batch_size
                )
            return FirstSpikeModel(network, loss, learned, regularizers)
        if regularizers:
            raise ValidationError(f"Trainer.regularizers: {_NOT_OF_CHAINS}")
        if dict(learned) != ONLY_WEIGHTS:
            raise ValidationError(
                "Trainer.learn: a Sequential whose neurons may fire more than once, or with t_max, learns its weights; "
                "give network.as_network()"
            )
        require_chain(network, loss)
        return ChainModel(network, loss, t_max)
    for regularizer in regularizers:
        if isinstance(regularizer, SpikeCountTarget) or not hasattr(regularizer, "value_and_grad"):
            raise ValidationError(
                "Trainer.regularizers: must be MarginPenalty, SpikeCountUpperBound, SpikeCountLowerBound or DelayL2, "
                f"or of their form, with terms that belong to single samples; got {regularizer!r}"
            )
    return GraphModel(network, loss, t_max, output, learned, regularizers, surrogate)
