"""Neurons in continuous time: LIF and its readout LI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import NameTable, hint
from eventsnn._neuron import PLAIN_RECEPTOR, Neuron, require
from eventsnn.errors import ValidationError

__all__ = ["LI", "LIF", "CurrentBased"]


class CurrentBased(Neuron):
    """What all neurons with a membrane and exponential synaptic currents share."""

    OPTIONS = frozenset({"max_spikes"})

    tau_mem: Any
    tau_syn: Any
    v_leak: Any
    i_bias: Any

    @property
    def receptors(self) -> tuple[str, ...]:
        """Names of the receptors in order; ``("syn",)`` if `tau_syn` is not a dict."""
        return tuple(self.tau_syn) if isinstance(self.tau_syn, NameTable) else (PLAIN_RECEPTOR,)

    @property
    def has_named_receptors(self) -> bool:
        """Whether `tau_syn` was given as a dict."""
        return isinstance(self.tau_syn, NameTable)

    @property
    def rests_above_threshold(self) -> bool:
        """Whether some neuron fires without input."""
        return False

    @property
    def starts_below_threshold(self) -> bool:
        """Whether every neuron can start at its potential without input (see `v_start`)."""
        return True

    def tau_syn_of(self, receptor: str, n_neurons: int) -> NDArray[np.float64]:
        """Synaptic time constant of a receptor as a new contiguous float64 array of shape (n_neurons,).

        Raises
        ------
        ValidationError
            There is no such receptor, or its time constant is given for another number of neurons.
        """
        if receptor not in self.receptors:
            raise ValidationError(
                f"{type(self).__name__}.tau_syn_of: no receptor {receptor!r}{hint(receptor, self.receptors)}"
            )
        if not isinstance(self.tau_syn, NameTable):
            return self._spread("tau_syn", self.tau_syn, n_neurons)
        return self._spread(f"tau_syn[{receptor!r}]", self.tau_syn[receptor], n_neurons)

    def v_start(self, n_neurons: int) -> NDArray[np.float64]:
        """Potential at t = 0, a new float64 array of shape (n_neurons,): that without input, v_leak + i_bias."""
        return self.per_neuron("v_leak", n_neurons) + self.per_neuron("i_bias", n_neurons)


@dataclass(frozen=True, eq=False, repr=False)
class LIF(CurrentBased):
    """Current-based leaky integrate-and-fire neurons with exponential synapses.

    Parameters
    ----------
    tau_mem : float or array_like, shape (n_neurons,)
        Membrane time constant, > 0, in seconds (or any unit shared with the spike times).
    tau_syn : float or array_like, shape (n_neurons,), or dict of these by receptor name
        Synaptic time constant, > 0, in the same unit. A dict, such as ``{"exc": 5e-3, "inh": 10e-3}``, makes one
        receptor with a current of its own for each name; it is kept, read-only, in the order given. Otherwise there
        is one receptor, ``"syn"``.
    v_threshold, v_reset, v_leak : float or array_like, shape (n_neurons,)
        Threshold, reset and leak (resting) potential; `v_reset < v_threshold`. `v_leak` may lie above `v_threshold`:
        such a neuron fires without input.
    t_refrac : float or array_like, shape (n_neurons,)
        Time for which `v` is held at `v_reset` after a spike, >= 0, in the unit of `tau_mem`; the currents run on.
    i_bias : float or array_like, shape (n_neurons,)
        Constant drive.
    max_spikes : int or None
        After this many spikes in a sample a neuron stays silent; 1 is a first-spike (time-to-first-spike) neuron,
        None means no limit.

    Raises
    ------
    ValidationError
        A parameter is not a finite number (or array of them), out of its range, or of another length than the others;
        a dict of receptors is empty or has names that are no strings.

    Notes
    -----
    ``tau_mem dv/dt = -(v - v_leak) + i_syn + i_bias``, ``tau_syn di_syn/dt = -i_syn``; a spike arriving over a
    synapse adds its weight to ``i_syn``. With several receptors r, i_syn is the sum of their currents i_r, each with
    ``tau_syn[r] di_r/dt = -i_r``, and the projection says which of them a spike adds to. The neuron fires when v
    reaches v_threshold from below with dv/dt > 0 (a grazing touch is no spike). It does so exactly, so a reset by
    subtraction is the same as one to v_reset = v_threshold minus what is subtracted. Every sample starts at t = 0 with
    ``v = v_start(n_neurons)`` and no current. All ratios tau_mem/tau_syn are exact, and the solution is continuous
    through ratio 1.

    Examples
    --------
    >>> from eventsnn import LIF
    >>> LIF(tau_mem=20e-3, tau_syn=5e-3).v_threshold
    1.0
    >>> cell = LIF(20e-3, {"exc": 5e-3, "inh": 10e-3}, v_threshold=-50e-3, v_reset=-60e-3, v_leak=-49e-3)
    >>> cell.receptors, cell.tau_syn_of("inh", 2), cell.rests_above_threshold
    (('exc', 'inh'), array([0.01, 0.01]), True)
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
        self._validate(allows_receptors=True)
        require("LIF.t_refrac", self.t_refrac, np.asarray(self.t_refrac) >= 0, "must be >= 0")
        below = np.asarray(self.v_reset) < np.asarray(self.v_threshold)
        require("LIF.v_reset", self.v_reset, below, f"must be below v_threshold ({self.v_threshold})")
        if self.max_spikes is not None and (
            isinstance(self.max_spikes, bool)
            or not isinstance(self.max_spikes, (int, np.integer))
            or self.max_spikes < 1
        ):
            raise ValidationError(f"LIF.max_spikes: must be an integer >= 1 or None, got {self.max_spikes!r}")

    @property
    def rests_above_threshold(self) -> bool:
        """Whether some neuron fires without input: v_leak + i_bias > v_threshold."""
        drive = np.asarray(self.v_leak) + np.asarray(self.i_bias)
        return bool(np.any(drive > np.asarray(self.v_threshold)))

    @property
    def starts_below_threshold(self) -> bool:
        """Whether every neuron can start at `v_leak`: v_leak < v_threshold (see `v_start`)."""
        return bool(np.all(np.asarray(self.v_leak) < np.asarray(self.v_threshold)))

    def v_start(self, n_neurons: int) -> NDArray[np.float64]:
        """Potential at t = 0, a new float64 array of shape (n_neurons,).

        `v_leak`, or `v_reset` for a neuron whose `v_leak` is not below `v_threshold`: the threshold is reached from
        below, so a neuron that began above it would not fire until something pushed it down.
        """
        v_leak, v_reset, v_threshold = (self.per_neuron(p, n_neurons) for p in ("v_leak", "v_reset", "v_threshold"))
        return np.where(v_leak < v_threshold, v_leak, v_reset)


@dataclass(frozen=True, eq=False, repr=False)
class LI(CurrentBased):
    """Leaky integrators: neurons like `LIF` without a threshold, to be read out. They never spike.

    Parameters
    ----------
    tau_mem, tau_syn : float or array_like, shape (n_neurons,)
        Membrane and synaptic time constant, > 0, in seconds (or any unit shared with the spike times).
    v_leak, i_bias : float or array_like, shape (n_neurons,)
        Leak (resting) potential and constant drive.

    Raises
    ------
    ValidationError
        A parameter is not a finite number (or array of them), out of its range, or of another length than the others.

    Notes
    -----
    ``tau_mem dv/dt = -(v - v_leak) + i_syn + i_bias``, ``tau_syn di_syn/dt = -i_syn``. Every sample starts with no
    current and at rest, ``v = v_leak + i_bias`` (`LIF` starts at `v_leak`): `i_bias` is an offset of the potential.
    Nothing can follow these neurons: in a `Sequential` they are the last layer, in a `Network` no projection starts
    from them.

    Examples
    --------
    >>> from eventsnn import LI
    >>> LI(tau_mem=20e-3, tau_syn=5e-3, i_bias=0.1).v_start(2)
    array([0.1, 0.1])
    """

    tau_mem: Any
    tau_syn: Any
    v_leak: Any = 0.0
    i_bias: Any = 0.0

    def __post_init__(self) -> None:
        self._validate(allows_receptors=False)

    @property
    def can_spike(self) -> bool:
        """No: there is no threshold."""
        return False
