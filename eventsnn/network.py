"""Chains: populations of neurons, each driven by the one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from eventsnn._neuron import Neuron
from eventsnn.connections import Dense
from eventsnn.errors import ValidationError
from eventsnn.graph import Network, Population, Projection
from eventsnn.neurons import LIF

__all__ = ["Layer", "Sequential"]


@dataclass(frozen=True)
class Layer:
    """One population of a chain and the connection that drives it."""

    name: str
    connection: Dense
    neuron: Any  # a Neuron; of which kind, the engines ask

    @property
    def n_neurons(self) -> int:
        """Number of neurons of the population."""
        return self.connection.n_post

    @property
    def can_spike(self) -> bool:
        """Whether its neurons have a threshold; those of a readout (`LI`) have none."""
        return bool(self.neuron.can_spike)

    @property
    def fires_once(self) -> bool:
        """Whether its neurons fire at most once in a sample, and are no readout."""
        return isinstance(self.neuron, LIF) and self.neuron.max_spikes == 1


class Sequential:
    """A feed-forward chain: input -> connection -> neurons -> connection -> neurons ...

    Parameters
    ----------
    parts : sequence
        `Dense` connections, with or without delays, and neurons in turn, starting with a connection:
        ``[Dense(w0), LIF(...), Dense(w1), LIF(...)]``. The last neurons may be `LI`, a readout without spikes.
        For `Sparse` connections, neurons with named receptors or any graph other than a chain there is `Network`.
    names : sequence of str, optional
        Names of the populations, one per connection; default ``hidden`` (``hidden1``, ``hidden2`` ... when there are
        several) and ``output``. The input is always called ``input``.

    Raises
    ------
    ValidationError
        Parts out of order, sizes that do not chain, neuron parameters of another length, doubled names, neurons with
        named receptors.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, LIF, Sequential
    >>> rng = np.random.default_rng(0)
    >>> lif = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
    >>> hidden, output = Dense.normal(5, 30, mean=1.5, std=1, rng=rng), Dense.normal(30, 3, mean=0.5, std=1, rng=rng)
    >>> Sequential([hidden, lif, output, lif])
    Sequential(input 5 -> hidden 30 -> output 3)
    """

    layers: tuple[Layer, ...]

    def __init__(self, parts: Sequence[Dense | Neuron], names: Sequence[str] | None = None) -> None:
        parts = list(parts)
        if not parts or len(parts) % 2:
            raise ValidationError(f"Sequential: needs connections and neurons in turn, got {len(parts)} parts")
        n_layers = len(parts) // 2
        if names is None:
            hidden = ["hidden"] if n_layers == 2 else [f"hidden{k + 1}" for k in range(n_layers - 1)]
            names = [*hidden, "output"]
        names = [names] if isinstance(names, str) else list(names)
        is_text = all(isinstance(name, str) and name for name in names)
        if len(names) != n_layers or not is_text or len({*names, "input"}) != n_layers + 1:
            raise ValidationError(
                f"Sequential.names: needs {n_layers} different names, none of them 'input', got {names}"
            )
        layers: list[Layer] = []
        for k, name in enumerate(names):
            connection, neuron = parts[2 * k], parts[2 * k + 1]
            if not isinstance(connection, Dense) or not isinstance(neuron, Neuron):
                raise ValidationError(
                    f"Sequential: parts {2 * k} and {2 * k + 1} must be a connection and neurons, "
                    f"got {type(connection).__name__} and {type(neuron).__name__}; a chain takes Dense and LIF, "
                    "for anything else there is Network"
                )
            if layers and not layers[-1].can_spike:
                raise ValidationError(
                    f"Sequential: {layers[-1].name!r} has {type(layers[-1].neuron).__name__} neurons, which never "
                    f"spike, so {name!r} would get no input; they can only be the last layer"
                )
            if neuron.has_named_receptors:
                raise ValidationError(
                    f"Sequential: {name!r} has named receptors {neuron.receptors}, but a chain cannot say which one a "
                    "connection drives; give tau_syn as a number (or one per neuron), or build a Network"
                )
            if layers and layers[-1].n_neurons != connection.n_pre:
                raise ValidationError(
                    f"Sequential: {name!r} expects {connection.n_pre} inputs, "
                    f"but {layers[-1].name!r} has {layers[-1].n_neurons} neurons"
                )
            if neuron.n_neurons not in (None, connection.n_post):
                raise ValidationError(
                    f"Sequential: {name!r} has {connection.n_post} neurons, "
                    f"but its {type(neuron).__name__} parameters are given for {neuron.n_neurons}"
                )
            layers.append(Layer(name, connection, neuron))
        self.layers = tuple(layers)

    @property
    def n_inputs(self) -> int:
        """Number of input channels."""
        return self.layers[0].connection.n_pre

    @property
    def n_outputs(self) -> int:
        """Number of neurons of the last population."""
        return self.layers[-1].n_neurons

    @property
    def has_delay(self) -> bool:
        """Whether some connection has a delay that is not zero."""
        return any(layer.connection.has_delay for layer in self.layers)

    @property
    def is_layerwise(self) -> bool:
        """Whether it can be simulated layer by layer: no delays, and every neuron starts below its threshold."""
        return not self.has_delay and all(layer.neuron.starts_below_threshold for layer in self.layers)

    @property
    def weights(self) -> list[NDArray[np.floating]]:
        """The weight matrices in order, the arrays themselves."""
        return [layer.connection.weight for layer in self.layers]

    def parameters(self) -> dict[str, NDArray[np.floating]]:
        """Trainable arrays by name: ``{"hidden.weight": ..., "output.weight": ...}``."""
        return {f"{layer.name}.weight": layer.connection.weight for layer in self.layers}

    def with_parameters(self, parameters: Mapping[str, NDArray[np.floating]]) -> Sequential:
        """The same network with other trainable arrays; names as in `parameters()`, all of them, shapes unchanged.

        Delays stay as they are.
        """
        own = self.parameters()
        if set(parameters) != set(own):
            raise ValidationError(f"Sequential.with_parameters: expected {sorted(own)}, got {sorted(parameters)}")
        parts: list[Dense | Neuron] = []
        for layer in self.layers:
            weight = np.asarray(parameters[f"{layer.name}.weight"])
            if weight.shape != layer.connection.weight.shape:
                raise ValidationError(
                    f"Sequential.with_parameters: {layer.name}.weight must have shape "
                    f"{layer.connection.weight.shape}, got {weight.shape}"
                )
            parts += [Dense(weight, layer.connection.delay), layer.neuron]
        return Sequential(parts, [layer.name for layer in self.layers])

    def astype(self, dtype: DTypeLike) -> Sequential:
        """A copy with weights of another float type; float32 selects the fast path, float64 is the reference."""
        if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValidationError(f"Sequential.astype: must be float32 or float64, got {np.dtype(dtype)}")
        return self.with_parameters({k: w.astype(dtype, copy=True) for k, w in self.parameters().items()})

    def as_network(self) -> Network:
        """The equivalent `Network`: the input is called ``input``; connections and neurons are the same objects.

        Examples
        --------
        >>> import numpy as np
        >>> from eventsnn import Dense, LIF, Sequential
        >>> Sequential([Dense(np.ones((3, 2)), delay=1e-3), LIF(tau_mem=20e-3, tau_syn=5e-3)]).as_network()
        Network(
            inputs: input 3
            populations: output 2
            input -> output: Dense(3 -> 2, float64, delay 0.001)
        )
        """
        sources = ["input", *(layer.name for layer in self.layers)]
        return Network(
            inputs={"input": self.n_inputs},
            populations={layer.name: Population(layer.neuron, layer.n_neurons) for layer in self.layers},
            projections=tuple(
                Projection(source, layer.name, layer.connection)
                for source, layer in zip(sources, self.layers, strict=False)
            ),
        )

    def __repr__(self) -> str:
        chain = "".join(f" -> {layer.name} {layer.n_neurons}" for layer in self.layers)
        return f"Sequential(input {self.n_inputs}{chain})"
