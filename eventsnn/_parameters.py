"""The parameters of a network by name, and the same network with other values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn.errors import ValidationError

_OF_CONNECTIONS = ("weight", "delay")


def parameter_names(network: Any) -> list[str]:
    """``"exc->inh.weight"``, ``"exc->inh.delay"``, ``"exc.tau_mem"``, ``"exc.tau_syn[ampa]"`` and so on."""
    names = [
        f"{name}.{key}"
        for name, projection in zip(network.projection_names, network.projections, strict=True)
        for key in parameters_of(projection.connection)
    ]
    for name, population in network.populations.items():
        neuron = population.neuron
        for key in neuron.parameter_names():
            if key == "tau_syn" and neuron.has_named_receptors:
                names += [f"{name}.tau_syn[{receptor}]" for receptor in neuron.receptors]
            else:
                names.append(f"{name}.{key}")
    return names


def parameters_of(connection: Any) -> tuple[str, ...]:
    """What of a connection is a parameter: "weight" and "delay", or nothing where the weights are fixed."""
    return () if getattr(connection, "has_fixed_weights", False) else _OF_CONNECTIONS


def value_of(where: str, network: Any, name: str) -> NDArray[np.floating]:
    """The value of a parameter, a copy; of shape () for a neuron parameter that all share."""
    _require_known(where, network, name)
    owner, _, key = name.rpartition(".")
    if key in _OF_CONNECTIONS:
        k = network.projection_names.index(owner)
        return np.array(getattr(network.projections[k].connection, key))
    neuron = network.populations[owner].neuron
    field, receptor = _receptor_of(key)
    value = getattr(neuron, field) if receptor is None else neuron.tau_syn[receptor]
    return np.array(value, dtype=np.float64)


def with_values(where: str, network: Any, values: Mapping[str, Any]) -> Any:
    """The network with some parameters replaced; what is not named is shared with it."""
    projections, populations = list(network.projections), dict(network.populations)
    for name, given in values.items():
        old = value_of(where, network, name)
        array = np.asarray(given)
        if array.shape != old.shape:
            raise ValidationError(f"{where}: {name} must have shape {old.shape}, got {array.shape}")
        owner, _, key = name.rpartition(".")
        if key in _OF_CONNECTIONS:
            k = network.projection_names.index(owner)
            connection = _replaced(f"{where}: {name}", projections[k].connection, key, array)
            projections[k] = replace(projections[k], connection=connection)
            continue
        neuron = populations[owner].neuron
        field, receptor = _receptor_of(key)
        value: Any = array if array.ndim else float(array)
        if receptor is not None:
            value = dict(neuron.tau_syn) | {receptor: value}
        changed: Any = replace(neuron, **{field: value})
        populations[owner] = replace(populations[owner], neuron=changed)
    return replace(network, populations=populations, projections=tuple(projections))


def _receptor_of(key: str) -> tuple[str, str | None]:
    """Name of the field, and the receptor of ``tau_syn[receptor]``."""
    field, bracket, receptor = key.partition("[")
    return field, receptor[:-1] if bracket else None


def _replaced(where: str, connection: Any, key: str, array: NDArray[Any]) -> Any:
    """A connection with other weights or delays; its structure is shared."""
    if not np.isfinite(array).all() or (key == "delay" and (array < 0).any()):
        raise ValidationError(f"{where} must be finite" + (" and >= 0" if key == "delay" else ""))
    return connection.with_values(**{key: array})


def _require_known(where: str, network: Any, name: str) -> None:
    known = parameter_names(network)
    if name not in known:
        raise ValidationError(f"{where}: no parameter {name!r}{hint(name, known)}")
