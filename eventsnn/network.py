"""Chains: populations of neurons, each driven by the one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from eventsnn._names import hint
from eventsnn._neuron import Neuron
from eventsnn._parameters import parameters_of
from eventsnn._windows import plane_text
from eventsnn.channels import BiasSpikes, ChannelMap, Repeat, channel_map, n_sources_of
from eventsnn.connections import Dense
from eventsnn.convolution import Conv2d
from eventsnn.errors import ValidationError
from eventsnn.graph import Network, Population, Projection
from eventsnn.neurons import LIF
from eventsnn.pooling import AvgPool2d, MaxPool2d, Pooled

__all__ = ["Layer", "Sequential"]


@dataclass(frozen=True)
class Layer:
    """One population of a chain and the connection that drives it."""

    name: str
    connection: Any  # Dense, Conv2d, AvgPool2d or Pooled
    neuron: Any  # a Neuron; of which kind, the engines ask
    channels: tuple[Repeat | BiasSpikes, ...] = ()

    @property
    def n_sources(self) -> int:
        """Number of neurons (or inputs) before it."""
        return n_sources_of(self.name, self.connection.n_pre, self.channels)

    @property
    def channel_map(self) -> ChannelMap:
        """Where the channels of its connection come from."""
        return channel_map(self.n_sources, self.channels)

    @property
    def n_neurons(self) -> int:
        """Number of neurons of the population."""
        return int(self.connection.n_post)

    @property
    def can_spike(self) -> bool:
        """Whether its neurons have a threshold; those of a readout (`LI`) have none."""
        return bool(self.neuron.can_spike)

    @property
    def fires_once(self) -> bool:
        """Whether its neurons fire at most once in a sample, and are no readout."""
        return isinstance(self.neuron, LIF) and self.neuron.max_spikes == 1

    @property
    def is_layerwise(self) -> bool:
        """Whether there is a kernel for the whole layer.

        Every neuron must start below its threshold; delays that differ between the neurons are for those that fire
        once and rest without input.
        """
        if not self.neuron.starts_below_threshold:
            return False
        if not self.has_delay_per_neuron:
            return not self.connection.has_delay or self.can_spike
        return not self.connection.has_delay or (self.fires_once and not np.any(self.neuron.i_bias))

    @property
    def in_shape(self) -> tuple[int, ...] | None:
        """(height, width, n_channels) of the neurons before it; None where the connection sees no plane."""
        return getattr(self.connection, "image_shape", None)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(height, width, n_channels) of its neurons; (n_neurons,) where they are on no plane."""
        shape: tuple[int, ...] = getattr(self.connection, "out_shape", (self.n_neurons,))
        return shape

    @property
    def has_delay_per_neuron(self) -> bool:
        """Whether its neurons see their inputs in different orders: dendritic or synaptic delays."""
        delay = self.connection.delay
        return bool(delay.ndim == 2 and delay.shape[1] > 1)


class Sequential:
    """A feed-forward chain: input -> connection -> neurons -> connection -> neurons ...

    Parameters
    ----------
    parts : sequence
        `Dense` or `Conv2d` connections, with or without delays, and neurons in turn, starting with a connection:
        ``[Conv2d(w0, (28, 28, 1)), IF(...), Dense(w1), IF(...)]``. The last neurons may be `LI`, a readout without
        spikes. Before a `Conv2d` or `Dense` there may be pools, `AvgPool2d` and `MaxPool2d`, which become one
        connection with it (`Pooled`); an `AvgPool2d` before neurons is a connection itself. Before a `Dense` there may
        be `Repeat` and `BiasSpikes`, in the order in which they apply.
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

    def __init__(self, parts: Sequence[Any], names: Sequence[str] | None = None) -> None:
        groups = _grouped(list(parts))
        n_layers = len(groups)
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
        for name, (channels, connection, neuron) in zip(names, groups, strict=True):
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
            layer = Layer(name, connection, neuron, channels)
            n_sources = layer.n_sources  # where the channels cannot be, it raises
            if layers and layers[-1].n_neurons != n_sources:
                raise ValidationError(
                    f"Sequential: {name!r} expects {n_sources} inputs, "
                    f"but {layers[-1].name!r} has {layers[-1].n_neurons} neurons"
                )
            shape = layer.in_shape
            if layers and shape is not None and len(layers[-1].out_shape) == 3 and layers[-1].out_shape != shape:
                raise ValidationError(
                    f"Sequential: {name!r} expects a plane of {plane_text(shape)}, "
                    f"but {layers[-1].name!r} has one of {plane_text(layers[-1].out_shape)}"
                )
            if neuron.n_neurons not in (None, connection.n_post):
                raise ValidationError(
                    f"Sequential: {name!r} has {connection.n_post} neurons, "
                    f"but its {type(neuron).__name__} parameters are given for {neuron.n_neurons}"
                )
            layers.append(layer)
        self.layers = tuple(layers)

    @property
    def n_inputs(self) -> int:
        """Number of input channels."""
        return self.layers[0].n_sources

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
        """Whether it can be simulated layer by layer."""
        return all(layer.is_layerwise for layer in self.layers)

    @property
    def bias_times(self) -> dict[str, NDArray[np.float64]]:
        """Times of the bias spikes, by the name of the input that they are in `as_network`."""
        found = {}
        for layer in self.layers:
            sources, times = layer.channel_map
            if (sources < 0).any():
                found[f"{layer.name}.bias"] = times[sources < 0]
        return found

    @property
    def weights(self) -> list[NDArray[np.floating]]:
        """The weight arrays in order, the arrays themselves; not those that are fixed, of `AvgPool2d`."""
        return list(self.parameters().values())

    def parameters(self) -> dict[str, NDArray[np.floating]]:
        """The weights by name, the arrays themselves: ``{"hidden.weight": ..., "output.weight": ...}``."""
        return {
            f"{layer.name}.weight": layer.connection.weight
            for layer in self.layers
            if "weight" in parameters_of(layer.connection)
        }

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """What `parameter` and `with_parameters` know: weights and delays of every connection."""
        return tuple(f"{layer.name}.{key}" for layer in self.layers for key in parameters_of(layer.connection))

    def parameter(self, name: str) -> NDArray[np.floating]:
        """The value of a parameter, a copy; delays in the shape they were given in."""
        if name not in self.parameter_names:
            raise ValidationError(f"Sequential.parameter: no parameter {name!r}{hint(name, self.parameter_names)}")
        owner, _, key = name.rpartition(".")
        layer = next(layer for layer in self.layers if layer.name == owner)
        return np.array(getattr(layer.connection, key))

    def with_parameters(self, parameters: Mapping[str, NDArray[np.floating]]) -> Sequential:
        """The same network with other weights or delays; names as in `parameter_names`, shapes unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from eventsnn import Dense, LIF, Sequential
        >>> lif = LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)
        >>> chain = Sequential([Dense(np.ones((2, 3)), delay=[[0.1], [0.2]]), lif])
        >>> chain.with_parameters({"output.delay": [[0.3], [0.2]]}).parameter("output.delay").ravel()
        array([0.3, 0.2])
        """
        for name, given in parameters.items():
            if name not in self.parameter_names:
                raise ValidationError(
                    f"Sequential.with_parameters: no parameter {name!r}{hint(name, self.parameter_names)}"
                )
            shape = self.parameter(name).shape
            if np.shape(given) != shape:
                raise ValidationError(
                    f"Sequential.with_parameters: {name} must have shape {shape}, got {np.shape(given)}"
                )
        connections: list[Any] = []
        for layer in self.layers:
            own = layer.connection
            values = {key: parameters.get(f"{layer.name}.{key}") for key in parameters_of(own)}
            connections.append(own.with_values(**values) if values else own)
        return self._with_connections(connections)

    def astype(self, dtype: DTypeLike) -> Sequential:
        """A copy with weights of another float type; float32 selects the fast path, float64 is the reference."""
        if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValidationError(f"Sequential.astype: must be float32 or float64, got {np.dtype(dtype)}")
        own = [layer.connection for layer in self.layers]
        return self._with_connections(
            [c.astype(dtype) if c.has_fixed_weights else c.with_values(weight=c.weight.astype(dtype)) for c in own]
        )

    def _with_connections(self, connections: Sequence[Any]) -> Sequential:
        parts: list[Any] = []
        for layer, connection in zip(self.layers, connections, strict=True):
            parts += [*layer.channels, connection, layer.neuron]
        return Sequential(parts, [layer.name for layer in self.layers])

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
        names = ["input", *(layer.name for layer in self.layers)]
        return Network(
            inputs={"input": self.n_inputs} | {name: times.size for name, times in self.bias_times.items()},
            populations={layer.name: Population(layer.neuron, layer.n_neurons) for layer in self.layers},
            projections=tuple(
                projection
                for source, layer in zip(names, self.layers, strict=False)
                for projection in _projections(source, layer)
            ),
        )

    def __repr__(self) -> str:
        chain = ""
        for layer in self.layers:
            chain += "".join(f" -> {part!r}" for part in layer.channels) + f" -> {layer.name} {layer.n_neurons}"
        return f"Sequential(input {self.n_inputs}{chain})"


_Group = tuple[tuple[Repeat | BiasSpikes, ...], Any, Neuron]


def _grouped(parts: list[Any]) -> list[_Group]:
    """Channels, connection and neurons of every layer."""
    groups: list[_Group] = []
    k = 0
    while k < len(parts):
        first = k
        while k < len(parts) and isinstance(parts[k], (Repeat, BiasSpikes)):
            k += 1
        channels = tuple(parts[first:k])
        connection, k = _connection(parts, k)
        if k >= len(parts):
            raise ValidationError(f"Sequential: needs connections and neurons in turn, got {len(parts)} parts")
        neuron = parts[k]
        if not isinstance(connection, (Dense, Conv2d, AvgPool2d, Pooled)) or not isinstance(neuron, Neuron):
            raise ValidationError(
                f"Sequential: parts {k - 1} and {k} must be a connection and neurons, "
                f"got {type(connection).__name__} and {type(neuron).__name__}; a chain takes Dense and LIF, "
                "for anything else there is Network"
            )
        if channels and not isinstance(connection, Dense):
            raise ValidationError(
                f"Sequential: part {k - 1}, {connection!r}, cannot follow {channels[-1]!r}: repeated channels and bias "
                "spikes are no plane; they go before a Dense"
            )
        groups.append((channels, connection, neuron))
        k += 1
    if not groups:
        raise ValidationError("Sequential: needs connections and neurons in turn, got 0 parts")
    dtypes = [connection.dtype for _, connection, _ in groups if not connection.has_fixed_weights]
    if dtypes:
        groups = [(c, _in_dtype(connection, dtypes[0]), neuron) for c, connection, neuron in groups]
    return groups


def _connection(parts: list[Any], k: int) -> tuple[Any, int]:
    """The connection at part k, with the pools before it folded in, and the part after it."""
    first = k
    while k < len(parts) and isinstance(parts[k], (AvgPool2d, MaxPool2d)):
        k += 1
    pools = parts[first:k]
    follower = parts[k] if k < len(parts) else None
    if not pools:
        return follower, k + 1
    where = f"Sequential: part {k - 1}, {pools[-1]!r}"
    if isinstance(follower, (Dense, Conv2d)):
        try:
            return Pooled(tuple(pools), follower), k + 1
        except ValidationError as error:
            raise ValidationError(f"Sequential: parts {first} to {k}: {error}") from None
    if isinstance(follower, Neuron) and isinstance(pools[-1], AvgPool2d) and len(pools) == 1:
        return pools[0], k
    remedy = (
        "put the pools before a Conv2d or Dense"
        if isinstance(follower, Neuron) or follower is None
        else f"it may be followed by a Conv2d or Dense, got {type(follower).__name__}"
    )
    raise ValidationError(f"{where}: a pool drives no neurons by itself; {remedy}")


def _in_dtype(connection: Any, dtype: Any) -> Any:
    """An average in the float type of the other connections."""
    return connection.astype(dtype) if connection.has_fixed_weights and connection.dtype != dtype else connection


def _projections(source: str, layer: Layer) -> list[Projection]:
    """The projections that drive a layer: one for every time its source is repeated, and one from its bias spikes."""
    connection = layer.connection
    if not layer.channels:
        return [Projection(source, layer.name, connection)]
    sources = layer.channel_map.sources
    found = []
    order = np.argsort(sources, kind="stable")[(sources < 0).sum() :]
    for rows in order.reshape(layer.n_sources, -1).T:
        found.append(Projection(source, layer.name, _rows_of(connection, rows)))
    if (sources < 0).any():
        found.append(Projection(f"{layer.name}.bias", layer.name, _rows_of(connection, np.flatnonzero(sources < 0))))
    return found


def _rows_of(connection: Dense, rows: NDArray[np.int64]) -> Dense:
    """Some of the channels of a connection."""
    delay = connection.delay
    return Dense(connection.weight[rows], delay[rows] if delay.ndim == 2 and delay.shape[0] > 1 else delay)
