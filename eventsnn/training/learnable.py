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

from eventsnn._names import hint
from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.graph import Network
from eventsnn.training.learned_delays import LearnedDelay, learned_delay

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

    def __init__(self, network: Network, learn: Mapping[str, float | LearnedDelay]) -> None:
        self._network = network
        chosen = _chosen(network, learn)
        self.rates = {name: how.rate if isinstance(how, LearnedDelay) else how for name, how in chosen.items()}
        self._delays = {name: how for name, how in chosen.items() if isinstance(how, LearnedDelay)}
        self._units = {name: _unit(network, name) for name in self._delays}
        self.arrays: dict[str, NDArray[np.floating]] = {}
        for name in chosen:
            value: NDArray[np.floating] = network.parameter(name).astype(np.float64)
            if name in self._delays:
                value = self._delays[name].raw_of(f"Trainer.learn: {name}", value, self._units[name])
            elif _kind(name) != "weight":
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
                values[name] = array if _kind(name) == "weight" else np.exp(array)
        return self._network.with_parameters(values)

    def rules(self) -> dict[str, Callable[[Any], Any]]:
        """By name, the chain rule from the gradient of the present parameter to that of its array."""
        found: dict[str, Callable[[Any], Any]] = {}
        for name, array in self.arrays.items():
            if name in self._delays:
                found[name] = partial(self._delays[name].raw_gradient, array, unit=self._units[name])
            elif _kind(name) != "weight":
                found[name] = partial(np.multiply, np.exp(array))
        return found


def _kind(name: str) -> str:
    return name.rpartition(".")[2].partition("[")[0]


def _chosen(network: Network, learn: Mapping[str, float | LearnedDelay]) -> dict[str, float | LearnedDelay]:
    """What is learned, by name: a relative rate; for delays a `LearnedDelay`."""
    if not isinstance(learn, Mapping):
        raise ValidationError(
            f"Trainer.learn: must be a dict of learning rates by kind or name, got {type(learn).__name__}"
        )
    known = network.parameter_names
    asked: dict[str, float | LearnedDelay] = {}
    for key, how in learn.items():
        if key not in KINDS and key not in known:
            raise ValidationError(f"Trainer.learn: no parameter {key!r}{hint(key, [*KINDS, *known])}")
        if key not in KINDS and _kind(key) not in KINDS:
            raise ValidationError(f"Trainer.learn: {key} cannot be learned; what can is {', '.join(KINDS)}")
        where = f"Trainer.learn[{key!r}]"
        if _kind(key) == "delay":
            asked[key] = learned_delay(where, how)
        elif isinstance(how, LearnedDelay):
            raise ValidationError(f"{where}: LearnedDelay is for delays; give a number")
        else:
            asked[key] = number(where, how, at_least=0.0)
    readouts = {name for name, population in network.populations.items() if not population.can_spike}
    found: dict[str, float | LearnedDelay] = {}
    for name in known:
        owner, kind = name.rpartition(".")[0], _kind(name)
        how = asked.get(name, asked.get(kind, 0.0))
        if owner in readouts and kind != "weight":
            if asked.get(name):
                raise ValidationError(f"Trainer.learn: {name}: the time constants of readouts are not learned")
            continue
        if kind == "delay" and name not in asked:
            delay = network.parameter(name)
            if delay.ndim == 0 and not delay.any():
                continue
        if (how.rate if isinstance(how, LearnedDelay) else how) > 0.0:
            found[name] = how
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
