"""A penalty on neurons that are about to gain or to lose a spike, with its exact gradient by EventProp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.gradients.eventprop_sums import VoltageGradient
from eventsnn.gradients.spike_margins import PLACES, Margins, margins
from eventsnn.simulation.result import Result

__all__ = ["MarginPenalty", "PenaltyGradient"]


class PenaltyGradient(NamedTuple):
    """The loss of each sample, (n_samples,), and the derivatives of their sum as `eventprop` takes them."""

    losses: NDArray[np.float64]
    d_times: dict[str, NDArray[np.float64]]
    d_v: dict[str, VoltageGradient]
    d_slopes: dict[str, NDArray[np.float64]]
    d_neurons: dict[str, dict[str, NDArray[np.float64]]]


@dataclass(frozen=True, kw_only=True)
class MarginPenalty:
    """Squared hinges on the distance from another spike, and on dv/dt at the spikes there are.

    Parameters
    ----------
    gain : in units of |v_threshold - v_leak - i_bias|, so that a neuron at rest has 1; peaks of v closer to the
        threshold than this cost. 0: none
    slope : in units of |v_threshold - v_leak - i_bias|/tau_mem; spikes at which v rises less fast cost. 0: none
    strength : what a peak just at the threshold costs, and a spike with dv/dt = 0
    populations : names; default all that can spike

    Notes
    -----
    With m the highest peak's distance from the threshold of a neuron in a sample (`margins`), and S = dv/dt at a spike,
    in their units,

        loss = strength (sum over neurons of max(0, 1 - m/gain)^2 + sum over spikes of max(0, 1 - S/slope)^2)

    Where a peak turns into a spike, which has dv/dt = 0 then, one costs `strength` as the other did; what the spike
    does from there on makes the loss jump. Where a neuron has two peaks of one height there is a kink; the derivative
    is that of the earlier one. There is one as well in the delays of several spikes that arrive at one instant, where v
    is highest: the peak is taken to move with the most inhibitory. A neuron that rests at its threshold has no unit
    and costs nothing.

    Examples
    --------
    >>> from eventsnn import Dense, LIF, MarginPenalty, Sequential, Spikes, eventprop, simulate
    >>> net = Sequential([Dense([[3.9, 4.2]]), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    >>> result = simulate(net, Spikes([0], [0], [0.5], n_samples=1, n_neurons=1))
    >>> losses, *derivatives = MarginPenalty(gain=0.1, slope=1.0).value_and_grad(result)
    >>> losses.round(3)  # the first neuron's peak lies at 3.9/4, the second just fires
    array([0.758])
    >>> d_times, d_v, d_slopes, d_neurons = derivatives
    >>> gradients = eventprop(result, d_times, d_v, d_slopes=d_slopes, d_neurons=d_neurons)
    >>> gradients.weights[0] < 0.0  # less for one that shall not fire, more for one that shall
    array([[False,  True]])
    """

    gain: float = 0.1
    slope: float = 0.1
    strength: float = 1.0
    populations: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("gain", "slope", "strength"):
            object.__setattr__(self, name, number(f"MarginPenalty.{name}", getattr(self, name), at_least=0.0))
        if isinstance(self.populations, str):
            raise ValidationError(f"MarginPenalty.populations: must be a list of names, got {self.populations!r}")
        if self.populations is not None:
            object.__setattr__(self, "populations", tuple(self.populations))

    def value_and_grad(self, result: Result, n_threads: int = 1) -> PenaltyGradient:
        """Loss of each sample, and the derivatives of their sum.

        Parameters
        ----------
        result : of `simulate`
        n_threads : threads over blocks of samples

        Returns
        -------
        PenaltyGradient
            (losses, d_times, d_v, d_slopes, d_neurons); d_times is empty: the loss depends on times only through
            potentials and slopes. For a mean over the samples divide all by their number.

        Raises
        ------
        ValidationError
            What `margins` refuses.
        """
        found = margins(result, self.populations, n_threads)
        outcome = PenaltyGradient(np.zeros(result.n_samples), {}, {}, {}, {})
        for name in found.gain:
            neuron, n = result._graph.populations[name].neuron, result._graph.populations[name].n_neurons
            direct = {key: np.zeros(n) for key in ("v_threshold", "v_reset", "v_leak", "i_bias", "tau_mem")}
            d_rest = np.zeros(n)
            theta = neuron.per_neuron("v_threshold", n) - neuron.per_neuron("v_leak", n)
            theta -= neuron.per_neuron("i_bias", n)
            per_theta = np.divide(1.0, theta, out=np.zeros(n), where=theta != 0.0)
            if self.gain > 0.0:
                self._add_gain(found, name, per_theta, outcome, direct, d_rest)
            if self.slope > 0.0:
                spikes = result.spikes[name]
                tau_mem = neuron.per_neuron("tau_mem", n)
                unit = np.abs(per_theta) * tau_mem
                relative = found.spike_slopes[name] * unit[spikes.neurons]
                short = np.where(per_theta[spikes.neurons] != 0.0, np.maximum(1.0 - relative / self.slope, 0.0), 0.0)
                outcome.losses[:] += self.strength * np.bincount(spikes.samples, short**2, result.n_samples)
                d_relative = -2.0 * self.strength / self.slope * short
                outcome.d_slopes[name] = d_relative * unit[spikes.neurons]
                d_unit = np.bincount(spikes.neurons, d_relative * relative, n)
                direct["tau_mem"] += d_unit / tau_mem
                direct["v_threshold"] -= d_unit * per_theta
                d_rest += d_unit * per_theta
            direct["v_leak"] += d_rest
            direct["i_bias"] += d_rest
            outcome.d_neurons[name] = direct
        return outcome

    def _add_gain(
        self,
        found: Margins,
        name: str,
        per_theta: NDArray[np.float64],
        outcome: PenaltyGradient,
        direct: dict[str, NDArray[np.float64]],
        d_rest: NDArray[np.float64],
    ) -> None:
        """The hinge on the highest peaks of one population; per_theta: (n_neurons,), 0 where there is no unit."""
        relative = np.where(np.isfinite(found.gain[name]), found.gain[name] * np.abs(per_theta), np.inf)
        short = np.where(per_theta != 0.0, np.maximum(1.0 - relative / self.gain, 0.0), 0.0)
        outcome.losses[:] += self.strength * (short**2).sum(axis=1)
        d_relative = -2.0 * self.strength / self.gain * short
        d_peak = -d_relative * np.abs(per_theta)
        by_unit = np.where(short > 0.0, d_relative * np.where(short > 0.0, relative, 0.0), 0.0).sum(axis=0) * per_theta
        direct["v_threshold"] += -d_peak.sum(axis=0) - by_unit
        d_rest += by_unit
        place, time = found.peak_place[name], found.peak_time[name]
        # v_reset and, for ever, v_inf: these peaks are parameters, whatever the time
        is_reset, is_rest = place == PLACES.index("release"), np.isinf(time)
        direct["v_reset"] += np.where(is_reset, d_peak, 0.0).sum(axis=0)
        d_rest += np.where(is_rest, d_peak, 0.0).sum(axis=0)
        outcome.d_v[name] = found.voltage_gradient(name, np.where(is_reset | is_rest, 0.0, d_peak))
