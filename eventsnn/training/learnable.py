"""What an optimiser may change: weights, delays and time constants, as arrays without constraints but one.

A weight is its own array. A time constant is learned as its logarithm, so it stays positive, and a step changes it by
a factor. A delay is learned in units of the synaptic time constant of its target; after a step, negative ones become 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.graph import Network

__all__ = ["Learnable"]

KINDS = ("weight", "delay", "tau_mem", "tau_syn")


class Learnable:
    """The parameters of a network that are learned.

    Parameters
    ----------
    network : Network
    learn : relative learning rate by kind (weight, delay, tau_mem, tau_syn) or by the name of one parameter, as in
        `Network.parameter_names`, which goes before its kind. A kind stands for all parameters of that kind, but for
        delays of connections that were given none, and the time constants of readouts. 0 leaves a parameter as it is.

    Attributes
    ----------
    arrays : by name, float64; the optimiser changes them in place
    rates : by name, factor on the learning rate

    Raises
    ------
    ValidationError
        An unknown name, a negative rate, a time constant of a readout, or nothing to learn.
    """

    def __init__(self, network: Network, learn: Mapping[str, float]) -> None:
        self._network = network
        names = _chosen(network, learn)
        self.rates = names
        self._units = {name: _unit(network, name) for name in names if _kind(name) == "delay"}
        self.arrays: dict[str, NDArray[np.floating]] = {}
        for name in names:
            value = network.parameter(name).astype(np.float64)
            if name in self._units:
                value = value / self._units[name]
            elif _kind(name) != "weight":
                value = np.log(value)
            self.arrays[name] = np.array(value)  # arithmetic on one of shape () has made a scalar

    def network(self) -> Network:
        """The network with the present values; delays that an update made negative are set to 0 first."""
        values = {}
        for name, array in self.arrays.items():
            if name in self._units:
                np.maximum(array, 0.0, out=array)
                values[name] = array * self._units[name]
            else:
                values[name] = array if _kind(name) == "weight" else np.exp(array)
        return self._network.with_parameters(values)

    def scales(self) -> dict[str, NDArray[np.float64]]:
        """By name, the derivative of the present parameter with respect to its array."""
        found = {}
        for name, array in self.arrays.items():
            if name in self._units:
                found[name] = np.asarray(self._units[name])
            else:
                found[name] = np.ones(()) if _kind(name) == "weight" else np.exp(array)
        return found


def _kind(name: str) -> str:
    return name.rpartition(".")[2].partition("[")[0]


def _chosen(network: Network, learn: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(learn, Mapping):
        raise ValidationError(
            f"Trainer.learn: must be a dict of learning rates by kind or name, got {type(learn).__name__}"
        )
    known = network.parameter_names
    rates = {}
    for key, rate in learn.items():
        if key not in KINDS and key not in known:
            raise ValidationError(f"Trainer.learn: no parameter {key!r}{hint(key, [*KINDS, *known])}")
        if key not in KINDS and _kind(key) not in KINDS:
            raise ValidationError(f"Trainer.learn: {key} cannot be learned; what can is {', '.join(KINDS)}")
        rates[key] = number(f"Trainer.learn[{key!r}]", rate, at_least=0.0)
    readouts = {name for name, population in network.populations.items() if not population.can_spike}
    found = {}
    for name in known:
        owner, kind = name.rpartition(".")[0], _kind(name)
        rate = rates.get(name, rates.get(kind, 0.0))
        if owner in readouts and kind != "weight":
            if rates.get(name, 0.0) > 0.0:
                raise ValidationError(f"Trainer.learn: {name}: the time constants of readouts are not learned")
            continue
        if kind == "delay" and name not in rates:
            delay = network.parameter(name)
            if delay.ndim == 0 and not delay.any():
                continue
        if rate > 0.0:
            found[name] = rate
    if not found:
        raise ValidationError(f"Trainer.learn: {dict(learn)} leaves nothing to learn in this network")
    return found


def _unit(network: Network, name: str) -> float:
    """Unit of a delay: the synaptic time constant it leads to, the median where the neurons differ."""
    projection = network.projections[network.projection_names.index(name.rpartition(".")[0])]
    population = network.populations[projection.target]
    receptor = projection.receptor
    assert receptor is not None  # Network fills it in
    return float(np.median(population.neuron.tau_syn_of(receptor, population.n_neurons)))
