"""What an optimiser may change: weights, delays and time constants, as arrays without constraints but one.

A weight is its own array. A time constant is learned as its logarithm, so it stays positive, and a step changes it by
a factor. For delays see `learned_delays`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.graph import Network
from eventsnn.training.learn import Rate, chosen, kind_of
from eventsnn.training.learned_delays import LearnedDelay

__all__ = ["Learnable"]

KINDS = ("weight", "delay", "tau_mem", "tau_syn")


class Learnable:
    """The parameters of a network that are learned.

    Parameters
    ----------
    network : Network
    learn : relative learning rate by kind (weight, delay, tau_mem, tau_syn) or by the name of one parameter, as in
        `Network.parameter_names`, which goes before its kind; for delays also a `LearnedDelay`. A kind stands for all
        parameters of that kind, but for delays of connections that were given none, and the time constants of readouts.
        0 leaves a parameter as it is.

    Attributes
    ----------
    arrays : by name, float64; the optimiser changes them in place
    rates : by name, factor on the learning rate

    Raises
    ------
    ValidationError
        An unknown name, a negative rate, a time constant of a readout, delays that `LearnedDelay` cannot give, or
        nothing to learn.
    """

    def __init__(self, network: Network, learn: Mapping[str, Rate]) -> None:
        self._network = network
        wanted = _chosen(network, learn)
        self.rates = {name: how.rate if isinstance(how, LearnedDelay) else how for name, how in wanted.items()}
        self._delays = {name: how for name, how in wanted.items() if isinstance(how, LearnedDelay)}
        self._units = {name: _unit(network, name) for name in self._delays}
        self.arrays: dict[str, NDArray[np.floating]] = {}
        for name in wanted:
            value: NDArray[np.floating] = network.parameter(name).astype(np.float64)
            if name in self._delays:
                value = self._delays[name].raw_of(f"Trainer.learn: {name}", value, self._units[name])
            elif kind_of(name) != "weight":
                value = np.log(value)
            self.arrays[name] = np.array(value)  # arithmetic on one of shape () has made a scalar

    @property
    def delays(self) -> dict[str, tuple[LearnedDelay, NDArray[np.floating]]]:
        """By name of a delay, how it is learned, and its array."""
        return {name: (how, self.arrays[name]) for name, how in self._delays.items()}

    def network(self) -> Network:
        """The network with the present values; delays are rectified first (`LearnedDelay.rectify`)."""
        values: dict[str, NDArray[np.floating]] = {}
        for name, array in self.arrays.items():
            if name in self._delays:
                self._delays[name].rectify(array)
                values[name] = self._delays[name].delay_of(array, self._units[name])
            else:
                values[name] = array if kind_of(name) == "weight" else np.exp(array)
        return self._network.with_parameters(values)

    def rules(self) -> dict[str, Callable[[Any], Any]]:
        """By name, the chain rule from the gradient of the present parameter to that of its array."""
        found: dict[str, Callable[[Any], Any]] = {}
        for name, array in self.arrays.items():
            if name in self._delays:
                found[name] = partial(self._delays[name].raw_gradient, array, unit=self._units[name])
            elif kind_of(name) != "weight":
                found[name] = partial(np.multiply, np.exp(array))
        return found


def _chosen(network: Network, learn: Mapping[str, Rate]) -> dict[str, Rate]:
    """What is learned, by name: a relative rate; for delays a `LearnedDelay`."""
    readouts = {name for name, population in network.populations.items() if not population.can_spike}

    def is_left_out(name: str, by_name: bool) -> bool:
        if name.rpartition(".")[0] in readouts and kind_of(name) != "weight":
            if by_name:
                raise ValidationError(f"Trainer.learn: {name}: the time constants of readouts are not learned")
            return True
        if kind_of(name) != "delay" or by_name:
            return False
        delay = network.parameter(name)
        return delay.ndim == 0 and not delay.any()

    return chosen(learn, network.parameter_names, KINDS, is_left_out)


def _unit(network: Network, name: str) -> float:
    """Unit of a delay: the synaptic time constant it leads to, the median where the neurons differ."""
    projection = network.projections[network.projection_names.index(name.rpartition(".")[0])]
    population = network.populations[projection.target]
    receptor = projection.receptor
    assert receptor is not None  # Network fills it in
    return float(np.median(population.neuron.tau_syn_of(receptor, population.n_neurons)))
