"""Neuron parameters: frozen, validated, scalar or one value per neuron."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import float_array
from eventsnn.errors import ValidationError

__all__ = ["LIF"]


@dataclass(frozen=True, eq=False)
class LIF:
    """Current-based leaky integrate-and-fire neurons with exponential synapses.

    Parameters
    ----------
    tau_mem, tau_syn : float or array_like, shape (n_neurons,)
        Membrane and synaptic time constants, > 0, in seconds (or any unit shared with the spike times).
    v_threshold, v_reset, v_leak : float or array_like, shape (n_neurons,)
        Threshold, reset and leak (resting) potential; `v_reset < v_threshold`, `v_leak < v_threshold`.
    t_refrac : float or array_like, shape (n_neurons,)
        Time for which `v` is held at `v_reset` after a spike, >= 0; `i_syn` runs on.
    i_bias : float or array_like, shape (n_neurons,)
        Constant drive.
    max_spikes : int or None
        After this many spikes in a sample a neuron stays silent; 1 is a first-spike (time-to-first-spike) neuron,
        None means no limit.

    Notes
    -----
    ``tau_mem dv/dt = -(v - v_leak) + i_syn + i_bias``, ``tau_syn di_syn/dt = -i_syn``; a spike arriving over a
    synapse adds its weight to ``i_syn``. The neuron fires when v reaches v_threshold from below with dv/dt > 0 (a
    grazing touch is no spike). Every sample starts at t = 0 with ``v = v_leak``, ``i_syn = 0``. All ratios
    tau_mem/tau_syn are exact, and the solution is continuous through ratio 1.

    Examples
    --------
    >>> from eventsnn import LIF
    >>> LIF(tau_mem=20e-3, tau_syn=5e-3).v_threshold
    1.0
    """

    tau_mem: Any
    tau_syn: Any
    v_threshold: Any = 1.0
    v_reset: Any = 0.0
    v_leak: Any = 0.0
    t_refrac: Any = 0.0
    i_bias: Any = 0.0
    max_spikes: int | None = None

    def __post_init__(self) -> None:
        sizes = {}
        for name in self.parameter_names():
            value = _parameter(name, getattr(self, name))
            object.__setattr__(self, name, value)
            if isinstance(value, np.ndarray):
                sizes[name] = value.size
        if len(set(sizes.values())) > 1:
            raise ValidationError(f"LIF: per-neuron parameters differ in length: {sizes}")
        for name in ("tau_mem", "tau_syn"):
            _require(name, getattr(self, name), np.asarray(getattr(self, name)) > 0, "must be > 0")
        _require("t_refrac", self.t_refrac, np.asarray(self.t_refrac) >= 0, "must be >= 0")
        for name in ("v_reset", "v_leak"):
            below = np.asarray(getattr(self, name)) < np.asarray(self.v_threshold)
            _require(name, getattr(self, name), below, f"must be below v_threshold ({self.v_threshold})")
        if self.max_spikes is not None and (
            isinstance(self.max_spikes, bool)
            or not isinstance(self.max_spikes, (int, np.integer))
            or self.max_spikes < 1
        ):
            raise ValidationError(f"LIF.max_spikes: must be an integer >= 1 or None, got {self.max_spikes!r}")

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Names of the numeric parameters, in declaration order."""
        return tuple(f.name for f in fields(cls) if f.name != "max_spikes")

    @property
    def n_neurons(self) -> int | None:
        """Number of neurons if some parameter is given per neuron, else None (any number)."""
        for name in self.parameter_names():
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                return int(value.size)
        return None

    @property
    def is_shared(self) -> bool:
        """Whether all neurons have the same parameters."""
        return self.n_neurons is None

    def per_neuron(self, name: str, n_neurons: int) -> NDArray[np.float64]:
        """Parameter `name` as a new contiguous array of shape (n_neurons,)."""
        value = np.asarray(getattr(self, name), dtype=np.float64)
        if value.ndim and value.size != n_neurons:
            raise ValidationError(f"LIF.{name}: given for {value.size} neurons, asked for {n_neurons}")
        return np.broadcast_to(value, n_neurons).copy()

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                shown.append(f"{field.name}=array({value.size})")
            elif field.name in ("tau_mem", "tau_syn") or value != field.default:
                shown.append(f"{field.name}={value!r}")
        return f"LIF({', '.join(shown)})"


def _parameter(name: str, value: ArrayLike) -> float | NDArray[np.float64]:
    try:
        array = float_array(f"LIF.{name}", value)
    except ValueError:  # ragged lists too
        raise ValidationError(f"LIF.{name}: must be a number or an array of numbers, got {value!r}") from None
    if array.ndim > 1 or array.size == 0:
        raise ValidationError(f"LIF.{name}: must be a scalar or of shape (n_neurons,), got shape {array.shape}")
    _require(name, array, np.isfinite(array), "must be finite")
    if array.ndim == 0:
        return float(array)
    array.flags.writeable = False
    return array


def _require(name: str, value: Any, holds: NDArray[np.bool_], rule: str) -> None:
    holds = np.atleast_1d(holds)
    if not holds.all():
        array = np.atleast_1d(np.asarray(value))
        k = int(np.flatnonzero(~holds)[0])
        place = f" at neuron {k}" if array.size > 1 else ""
        raise ValidationError(f"LIF.{name}: {rule}, got {array[k if array.size > 1 else 0]}{place}")
