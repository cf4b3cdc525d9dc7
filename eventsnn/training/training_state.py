"""Whether a state of a training fits the trainer that shall take it over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eventsnn.errors import ValidationError
from eventsnn.graph import Network
from eventsnn.network import Sequential

__all__ = ["require_fits"]

_REMEDY = "use the configuration the run was started with"


def require_fits(state: Mapping[str, Any], own: Mapping[str, Any], network: Sequential | Network) -> None:
    """Raise unless `state` has arrays, treatment of silent neurons and noise of the same form as `own`."""
    found, expected = ({name: np.shape(w) for name, w in s["weights"].items()} for s in (state, own))
    if found != expected:
        raise ValidationError(f"Trainer.load_state_dict: weights {found} do not fit the network {network!r}; {_REMEDY}")
    if set(state["silent"]) != set(own["silent"]):
        raise ValidationError(
            "Trainer.load_state_dict: the state was written with another treatment of silent neurons; " + _REMEDY
        )
    noisy = bool(state.get("hardware"))  # states of older versions have no such entry
    if noisy != bool(own["hardware"]):
        raise ValidationError(
            f"Trainer.load_state_dict: the state was written {'with' if noisy else 'without'} hardware=; {_REMEDY}"
        )
