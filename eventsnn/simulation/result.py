"""`Result`: the spikes of a simulation, and its membrane potentials in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn.errors import ValidationError
from eventsnn.kernels.traces import membrane_traces
from eventsnn.network import Layer, Sequential
from eventsnn.spikes import Spikes

__all__ = ["Result"]


class Result:
    """Outcome of `simulate`.

    Attributes
    ----------
    network : the simulated network
    spikes : dict of Spikes by population, the input included as "input"
    t_max : end of the simulation
    """

    def __init__(self, network: Sequential, spikes: dict[str, Spikes], t_max: float) -> None:
        self.network = network
        self.spikes = spikes
        self.t_max = t_max

    @property
    def inputs(self) -> Spikes:
        """The input spikes."""
        return self.spikes["input"]

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.inputs.n_samples

    def first_times(self, name: str) -> NDArray[np.float64]:
        """First spike times of a population, shape (n_samples, n_neurons), inf where silent."""
        if name not in self.spikes:
            raise ValidationError(f"Result: no population {name!r}; there are {sorted(self.spikes)}")
        return self.spikes[name].first_times()

    def v(self, name: str, times: ArrayLike, sample: int = 0) -> NDArray[np.float64]:
        """Membrane potential of a population at any times, in closed form, shape (n_times, n_neurons).

        At a spike time it is the value after the reset. `times` need not be sorted; values beyond `t_max` continue
        the free solution.
        """
        return self._state(name, times, sample)[0]

    def i_syn(self, name: str, times: ArrayLike, sample: int = 0) -> NDArray[np.float64]:
        """Synaptic current of a population at any times, shape (n_times, n_neurons); inputs at a time included."""
        return self._state(name, times, sample)[1]

    def _state(self, name: str, times: ArrayLike, sample: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        layer, before = self._layer(name)
        if not 0 <= sample < self.n_samples:
            raise ValidationError(f"Result: sample must lie in 0 .. {self.n_samples - 1}, got {sample}")
        at = np.asarray(times, dtype=np.float64)
        if at.ndim != 1 or not np.isfinite(at).all() or (at < 0).any():
            raise ValidationError("Result: times must be a one-dimensional array of finite values >= 0")
        order = np.argsort(at, kind="stable")
        arrivals, own = self.spikes[before][sample], self.spikes[name][sample]
        n = layer.n_neurons
        v = np.empty((at.size, n))
        i_syn = np.empty((at.size, n))
        parameters = [layer.neuron.per_neuron(p, n) for p in layer.neuron.parameter_names()]
        membrane_traces(
            np.stack(parameters), layer.connection.weight, arrivals.neurons, arrivals.times, own.neurons, own.times,
            at[order], v, i_syn,
        )  # fmt: skip
        back = np.empty_like(order)
        back[order] = np.arange(order.size)
        return v[back], i_syn[back]

    def _layer(self, name: str) -> tuple[Layer, str]:
        before = "input"
        for layer in self.network.layers:
            if layer.name == name:
                return layer, before
            before = layer.name
        known = [layer.name for layer in self.network.layers]
        raise ValidationError(f"Result: no population {name!r} with a membrane potential; there are {known}")

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {spikes.n_events}" for name, spikes in self.spikes.items())
        return f"Result(n_samples={self.n_samples}, spikes: {counts})"
