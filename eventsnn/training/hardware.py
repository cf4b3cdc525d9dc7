"""`Hardware`: what an analog chip does to a first-spike network, and `Trainer` with it: noise, weights of few bits.

Descriptions only, frozen and checked. Noise is drawn by `hardware_noise`, weights are rounded by `effective_weights`,
the Euler forward pass and the mismatched gradient are those of `simulation.hardware_layers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from eventsnn._names import NameTable, hint
from eventsnn._validation import number
from eventsnn.errors import ValidationError

__all__ = ["NO_NOISE", "EulerForward", "Hardware", "LayerHardware", "ThresholdNoise"]


@dataclass(frozen=True)
class ThresholdNoise:
    """Gaussian noise on the thresholds of a layer, in the unit of `LIF.v_threshold`; its parts add up.

    Parameters
    ----------
    sample : standard deviation from sample to sample: each neuron in each sample has a draw of its own
    batch : standard deviation from batch to batch: each neuron has one draw for all samples of a batch
    fixed_mean, fixed_std : mean and standard deviation of the fixed pattern: each neuron has one draw for good, the
        same in training and evaluation

    Raises
    ------
    ValidationError
        A value that is not finite, or a negative standard deviation.

    Notes
    -----
    A threshold that noise brings below v_leak is reflected there: v_leak + |v_threshold - v_leak + noise|. With noise
    from sample to sample, `SilentHinge` and `Trainer.min_slope` are measured by the threshold without it.

    Examples
    --------
    >>> from eventsnn import ThresholdNoise
    >>> ThresholdNoise(batch=0.04, fixed_mean=0.13, fixed_std=0.08)
    ThresholdNoise(sample=0.0, batch=0.04, fixed_mean=0.13, fixed_std=0.08)
    """

    sample: float = 0.0
    batch: float = 0.0
    fixed_mean: float = 0.0
    fixed_std: float = 0.0

    def __post_init__(self) -> None:
        for name in ("sample", "batch", "fixed_std"):
            object.__setattr__(self, name, number(f"ThresholdNoise.{name}", getattr(self, name), at_least=0))
        object.__setattr__(self, "fixed_mean", number("ThresholdNoise.fixed_mean", self.fixed_mean))


@dataclass(frozen=True)
class EulerForward:
    """A forward pass on a time grid, for comparison with the exact one; the gradient is exact at the spikes it finds.

    Parameters
    ----------
    dt : length of a step, in the unit of the spike times
    t_max : end of the grid; nothing fires later

    Raises
    ------
    ValidationError
        A value that is not finite and > 0, or a grid without a step.

    Notes
    -----
    In the step from t to t + dt

        i(t + dt) = i(t) (1 - dt/tau_syn) + sum of w arriving within the step
        v(t + dt) = v(t) + (v_leak - v(t) + i(t + dt)) dt/tau_mem

    A neuron whose v(t + dt) reaches its threshold fires at t + dt. An arrival at a grid point belongs to the step
    that ends there.
    """

    dt: float
    t_max: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "dt", number("EulerForward.dt", self.dt, above=0))
        object.__setattr__(self, "t_max", number("EulerForward.t_max", self.t_max, above=0))
        if self.n_steps < 1:
            raise ValidationError(f"EulerForward.t_max: must be >= dt={self.dt}, got {self.t_max}")

    @property
    def n_steps(self) -> int:
        """Steps until `t_max`."""
        return int(np.floor(self.t_max / self.dt * (1 + 1e-12)))  # 0.3/0.1 is 2.9999999999999996


NO_NOISE = ThresholdNoise()


@dataclass(frozen=True)
class LayerHardware:
    """What `Hardware` says about one layer; see there."""

    threshold_noise: ThresholdNoise = NO_NOISE
    delay_jitter: float = 0.0
    spike_jitter: float = 0.0
    weight_max: float | None = None
    weight_step: float | None = None
    gradient_tau_ratio: float | None = None

    @property
    def is_random(self) -> bool:
        """Whether the same weights and inputs can give other spikes: noise beyond the fixed pattern."""
        noise = self.threshold_noise
        return max(noise.sample, noise.batch, self.delay_jitter, self.spike_jitter) > 0.0


@dataclass(frozen=True)
class Hardware:
    """Noise and limits of analog hardware in first-spike training, for `Trainer`.

    Every setting of a layer is one value for all layers, or a dict by population name; layers that it does not name
    have none.

    Parameters
    ----------
    threshold_noise : `ThresholdNoise`, or dict of them
    delay_jitter : standard deviation of Gaussian noise on the delays, drawn anew for every sample and synapse, in the
        unit of the spike times; what would arrive before 0 arrives at 0
    spike_jitter : the same on the output spike times, for every sample and neuron; times are reflected at 0
    weight_max : weights are clamped to -weight_max .. weight_max after every update
    weight_step : the network computes with weights rounded to multiples of this (half to even); the gradient goes to
        the weights before rounding unchanged ("straight through")
    gradient_tau_ratio : the gradient is that of neurons with tau_mem = ratio tau_syn, at the spike times that the
        real ones made. None: their own ratio, the exact gradient
    euler : `EulerForward`, or None for the exact forward pass

    Raises
    ------
    ValidationError
        A value out of range; for an unknown population, when a `Trainer` is built.

    Examples
    --------
    >>> from eventsnn import Hardware, ThresholdNoise
    >>> noise = ThresholdNoise(batch=0.04, fixed_std=0.08, fixed_mean=0.13)
    >>> hardware = Hardware(threshold_noise=noise, delay_jitter={"hidden": 0.01}, weight_max=2.1, weight_step=1 / 30)
    >>> hardware.of("output").delay_jitter
    0.0
    """

    threshold_noise: ThresholdNoise | Mapping[str, ThresholdNoise] | None = None
    delay_jitter: float | Mapping[str, float] = 0.0
    spike_jitter: float | Mapping[str, float] = 0.0
    weight_max: float | Mapping[str, float] | None = None
    weight_step: float | Mapping[str, float] | None = None
    gradient_tau_ratio: float | Mapping[str, float] | None = None
    euler: EulerForward | None = None

    def __post_init__(self) -> None:
        for name in _PER_LAYER:
            given = getattr(self, name)
            if isinstance(given, Mapping):
                table = {key: _checked(f"Hardware.{name}[{key!r}]", name, value) for key, value in given.items()}
                object.__setattr__(self, name, NameTable(table))
            elif given is not None:
                object.__setattr__(self, name, _checked(f"Hardware.{name}", name, given))
            elif name.endswith("jitter"):
                raise ValidationError(f"Hardware.{name}: must be a finite number and >= 0, got None; 0 for none")
        if self.euler is not None and not isinstance(self.euler, EulerForward):
            raise ValidationError(f"Hardware.euler: must be an EulerForward or None, got {self.euler!r}")

    def of(self, name: str) -> LayerHardware:
        """The settings of the layer `name`."""
        found = {}
        for setting in _PER_LAYER:
            given = getattr(self, setting)
            value = given.get(name) if isinstance(given, Mapping) else given
            if value is not None:
                found[setting] = value
        return LayerHardware(**found)

    def require_names(self, names: Sequence[str]) -> None:
        """Raise for settings of populations that are not there."""
        for setting in _PER_LAYER:
            given = getattr(self, setting)
            for name in given if isinstance(given, Mapping) else ():
                if name not in names:
                    raise ValidationError(f"Hardware.{setting}: no population {name!r}{hint(name, names)}")


#: the settings that a layer may have of its own
_PER_LAYER = tuple(field.name for field in fields(LayerHardware))


def _checked(place: str, setting: str, value: Any) -> Any:
    if setting == "threshold_noise":
        if not isinstance(value, ThresholdNoise):
            raise ValidationError(f"{place}: must be a ThresholdNoise, got {value!r}")
        return value
    if setting.endswith("jitter"):
        return number(place, value, at_least=0)
    return number(place, value, above=0)
