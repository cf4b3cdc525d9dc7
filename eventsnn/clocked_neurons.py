"""Neurons on a time grid: units whose state is updated once per step, as in surrogate-gradient training.

All follow one step rule, which `StepRule` spells out; they differ in its factors and in their reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventsnn._neuron import Neuron, parameter, require
from eventsnn._validation import number
from eventsnn.errors import ValidationError

__all__ = ["IF", "CurrentLIF", "Leaky", "StepNeuron", "StepRule", "Synaptic", "decay_factor"]

Reset = Literal["zero", "subtract", "none"]
ResetAt = Literal["same_step", "next_step"]
Decay = Literal["exponential", "euler"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StepRule:
    """What happens in step t to every neuron of a population; arrays of shape (n_neurons,), float64.

        i_t = alpha i_(t-1) + x_t            x_t: the weights that arrive in this step
        u_t = beta v_(t-1) + gain i_t + drive
        s_t = 1 where u_t > threshold
        v_t = v_reset where s_t (reset "zero"), u_t - s_t threshold ("subtract"), u_t ("none")

    With `late_input` u_t takes i_(t-1) instead. With `reset_at` "next_step" and reset "subtract" v_t = u_t, and
    u_(t+1) is lowered by s_t threshold instead. v_(-1) = v_start, i_(-1) = 0. Losses and surrogates see u_t.
    """

    alpha: Array
    beta: Array
    gain: Array
    drive: Array
    threshold: Array
    v_reset: Array
    v_start: Array
    reset: Reset
    reset_at: ResetAt = "same_step"
    late_input: bool = False

    @property
    def has_current(self) -> bool:
        """Whether there is a current that outlives its step, or a gain."""
        return self.late_input or bool(self.alpha.any()) or bool((self.gain != 1.0).any())


class StepNeuron(Neuron):
    """What the units of a time grid share; its children are frozen dataclasses.

    `simulate_clocked` runs them, surrogate gradients train them; the exact engines take `LIF` and `LI` instead.
    """

    OPTIONS = frozenset({"reset", "reset_at", "decay"})
    MAY_BE_INFINITE = frozenset({"v_threshold"})

    v_threshold: Any
    bias: Any
    reset: Reset
    reset_at: ResetAt

    def __post_init__(self) -> None:
        kind = type(self).__name__
        self._validate(allows_receptors=False)
        require(f"{kind}.v_threshold", self.v_threshold, np.asarray(self.v_threshold) > 0, "must be > 0")
        for name in ("alpha", "beta"):
            if name in self.parameter_names():
                value = np.asarray(getattr(self, name))
                require(f"{kind}.{name}", value, (value >= 0) & (value <= 1), "must lie in 0 .. 1")
        choices = {"reset": ("zero", "subtract", "none"), "reset_at": ("same_step", "next_step")}
        choices["decay"] = ("exponential", "euler")
        for name, known in choices.items():
            if getattr(self, name, known[0]) not in known:
                raise ValidationError(f"{kind}.{name}: must be one of {known}, got {getattr(self, name)!r}")

    @property
    def can_spike(self) -> bool:
        """Whether some neuron has a finite threshold."""
        return bool(np.isfinite(np.asarray(self.v_threshold)).any())

    def factors(self, dt: float) -> dict[str, Any]:
        """alpha and beta, scalars or one per neuron, for steps of length dt."""
        raise NotImplementedError

    def factor_slopes(self, dt: float) -> dict[str, dict[str, Any]]:
        """d(alpha or beta)/d(parameter), by name of the parameter, then of the factor."""
        raise NotImplementedError

    def step_rule(self, n_neurons: int, dt: float) -> StepRule:
        """The rule of n_neurons such neurons for steps of length dt."""
        factors = {"alpha": 0.0, "beta": 1.0} | self.factors(dt)
        ones, zeros = np.ones(n_neurons), np.zeros(n_neurons)
        starts = self.per_neuron("v_init", n_neurons) if "v_init" in self.parameter_names() else zeros
        return StepRule(
            alpha=self._spread("alpha", factors["alpha"], n_neurons),
            beta=self._spread("beta", factors["beta"], n_neurons),
            gain=ones,
            drive=self.per_neuron("bias", n_neurons),
            threshold=self.per_neuron("v_threshold", n_neurons),
            v_reset=zeros,
            v_start=starts,
            reset=self.reset,
            reset_at=self.reset_at,
        )

    def parameter_gradients(self, of_rule: Mapping[str, Array], dt: float) -> dict[str, Array]:
        """dL/d(parameter) in the shape each was given in, from those of the rule, (n_neurons,) each."""
        found = {"bias": of_rule["drive"], "v_threshold": of_rule["threshold"]}
        if "v_init" in self.parameter_names():
            found["v_init"] = of_rule["start"]
        for name, slopes in self.factor_slopes(dt).items():
            found[name] = sum((of_rule[factor] * slope for factor, slope in slopes.items()), np.zeros(()))
        return {
            name: np.asarray(gradient if isinstance(getattr(self, name), np.ndarray) else gradient.sum())
            for name, gradient in found.items()
        }


def decay_factor(where: str, tau: Any, dt: float, decay: Decay) -> Any:
    """exp(-dt/tau), or 1 - dt/tau by Euler's rule."""
    if decay == "exponential":
        return np.exp(-dt / np.asarray(tau))
    factor = 1.0 - dt / np.asarray(tau)
    require(where, tau, factor >= 0, f"Euler's rule needs at least one step, dt={dt:g}")
    return factor


@dataclass(frozen=True, eq=False, repr=False)
class Leaky(StepNeuron):
    """Leaky integrate-and-fire unit without synaptic current: u_t = beta v_(t-1) + x_t + bias.

    Parameters
    ----------
    beta : float or array_like, shape (n_neurons,)
        Share of the potential that is left after a step, 0 .. 1; `from_tau` computes it.
    v_threshold : float or array_like, shape (n_neurons,)
        A unit fires where its potential is above, > 0; inf makes it a readout that never fires.
    bias : float or array_like, shape (n_neurons,)
        Added to the potential in every step.
    reset : {"subtract", "zero", "none"}
        After a spike the threshold is subtracted, the potential is set to 0, or nothing happens.
    reset_at : {"next_step", "same_step"}
        "next_step": the threshold is subtracted from the potential of the next step, after its decay; the potential
        that `ClockedResult.v` and losses on it show is the same either way, that before the reset.
    v_init : float or array_like, shape (n_neurons,)
        Potential before the first step, v_(-1).

    Raises
    ------
    ValidationError
        A parameter out of its range, not a number, or of another length than the others.

    Notes
    -----
    The defaults are those of the unit that the tutorials of snnTorch train with. In the tutorials' own unit the next
    layer sees a spike one step later: give the connection a delay of one step.

    References
    ----------
    Eshraghian, J. K. et al. (2023), Training spiking neural networks using lessons from deep learning,
    doi 10.1109/JPROC.2023.3308088

    Examples
    --------
    >>> from eventsnn import Leaky
    >>> round(Leaky.from_tau(20e-3, dt=1e-3).beta, 4), Leaky(beta=0.95)
    (0.9512, Leaky(beta=0.95))
    """

    beta: Any
    v_threshold: Any = 1.0
    bias: Any = 0.0
    reset: Reset = "subtract"
    reset_at: ResetAt = "next_step"
    v_init: Any = 0.0

    @classmethod
    def from_tau(cls, tau_mem: Any, *, dt: float, decay: Decay = "exponential", **others: Any) -> Leaky:
        """The unit with beta = exp(-dt/tau_mem), or 1 - dt/tau_mem by Euler's rule; `others` as for `Leaky`."""
        dt = number("Leaky.from_tau.dt", dt, above=0)
        tau = parameter("Leaky.from_tau.tau_mem", tau_mem)
        require("Leaky.from_tau.tau_mem", tau, np.asarray(tau) > 0, "must be > 0")
        return cls(decay_factor("Leaky.from_tau.tau_mem", tau, dt, decay), **others)

    def factors(self, dt: float) -> dict[str, Any]:
        """See `StepNeuron.factors`."""
        return {"beta": self.beta}

    def factor_slopes(self, dt: float) -> dict[str, dict[str, Any]]:
        """See `StepNeuron.factor_slopes`."""
        return {"beta": {"beta": 1.0}}


@dataclass(frozen=True, eq=False, repr=False)
class IF(StepNeuron):
    """Integrate-and-fire unit without leak: u_t = v_(t-1) + x_t + bias.

    Parameters
    ----------
    v_threshold, bias, reset, reset_at, v_init : as for `Leaky`; the reset comes in the same step by default

    Notes
    -----
    With reset "subtract" nothing is lost: `v_init` plus the sum of inputs is the number of spikes times the threshold
    plus the potential that is left (a soft reset); "zero" drops what lies above the threshold (a hard reset).

    Examples
    --------
    >>> from eventsnn import IF
    >>> IF(v_threshold=2.0, reset="zero")
    IF(v_threshold=2.0, reset='zero')
    """

    v_threshold: Any = 1.0
    bias: Any = 0.0
    reset: Reset = "subtract"
    reset_at: ResetAt = "same_step"
    v_init: Any = 0.0

    def factors(self, dt: float) -> dict[str, Any]:
        """See `StepNeuron.factors`."""
        return {}

    def factor_slopes(self, dt: float) -> dict[str, dict[str, Any]]:
        """See `StepNeuron.factor_slopes`."""
        return {}


@dataclass(frozen=True, eq=False, repr=False)
class Synaptic(StepNeuron):
    """Second-order unit with a synaptic current: i_t = alpha i_(t-1) + x_t, u_t = beta v_(t-1) + i_t + bias.

    Parameters
    ----------
    alpha, beta : float or array_like, shape (n_neurons,)
        Shares of the current and of the potential that are left after a step, 0 .. 1.
    v_threshold, bias, reset, reset_at : as for `Leaky`

    Examples
    --------
    >>> from eventsnn import Synaptic
    >>> Synaptic(alpha=0.8, beta=0.9)
    Synaptic(alpha=0.8, beta=0.9)
    """

    alpha: Any
    beta: Any
    v_threshold: Any = 1.0
    bias: Any = 0.0
    reset: Reset = "subtract"
    reset_at: ResetAt = "next_step"

    def factors(self, dt: float) -> dict[str, Any]:
        """See `StepNeuron.factors`."""
        return {"alpha": self.alpha, "beta": self.beta}

    def factor_slopes(self, dt: float) -> dict[str, dict[str, Any]]:
        """See `StepNeuron.factor_slopes`."""
        return {"alpha": {"alpha": 1.0}, "beta": {"beta": 1.0}}


@dataclass(frozen=True, eq=False, repr=False)
class CurrentLIF(StepNeuron):
    """Current-based LIF unit of a time grid, by its time constants: `Synaptic` with the decays of a step.

    Parameters
    ----------
    tau_mem, tau_syn : float or array_like, shape (n_neurons,)
        Time constants, > 0, in the unit of `dt`.
    v_threshold, bias, reset, reset_at : as for `Leaky`; the potential is set to 0 in the same step by default
    decay : {"exponential", "euler"}
        The factors of a step are exp(-dt/tau), or 1 - dt/tau by Euler's rule, which needs dt <= tau.

    Notes
    -----
    A spike adds its weight to the current, and the current is added to the potential without the factor dt/tau_mem that
    the differential equation of `LIF` has: weights differ by that factor. `simulate_clocked` takes a `LIF` too, and
    follows its equation.

    Examples
    --------
    >>> from eventsnn import CurrentLIF
    >>> CurrentLIF(tau_mem=20e-3, tau_syn=5e-3).step_rule(1, 1e-3).beta.round(4)
    array([0.9512])
    """

    tau_mem: Any
    tau_syn: Any
    v_threshold: Any = 1.0
    bias: Any = 0.0
    reset: Reset = "zero"
    reset_at: ResetAt = "same_step"
    decay: Decay = "exponential"

    def factors(self, dt: float) -> dict[str, Any]:
        """See `StepNeuron.factors`."""
        return {
            "alpha": decay_factor("CurrentLIF.tau_syn", self.tau_syn, dt, self.decay),
            "beta": decay_factor("CurrentLIF.tau_mem", self.tau_mem, dt, self.decay),
        }

    def factor_slopes(self, dt: float) -> dict[str, dict[str, Any]]:
        """See `StepNeuron.factor_slopes`."""
        found = {}
        for name, factor in (("tau_syn", "alpha"), ("tau_mem", "beta")):
            tau = np.asarray(getattr(self, name))
            share = np.exp(-dt / tau) if self.decay == "exponential" else 1.0
            found[name] = {factor: share * dt / (tau * tau)}
        return found
