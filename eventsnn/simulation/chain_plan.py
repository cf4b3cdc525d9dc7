"""A chain of a time grid as inference has it: its layers laid out for the kernels of `kernels.layer_steps`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.clocked_neurons import IF, Leaky
from eventsnn.connections import Dense
from eventsnn.convolution import Conv2d
from eventsnn.errors import ValidationError
from eventsnn.kernels.grid_step import NONE, SUBTRACT, ZERO
from eventsnn.network import Layer, Sequential
from eventsnn.pooling import AvgPool2d, Pooled
from eventsnn.simulation.grid_windows import GridPool

__all__ = ["ChainPlan", "LayerPlan", "Units"]

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
#: columns of the weights of a narrow layer are filled up to a multiple of so many, for wide instructions without a rest
_LANES = 16
_NO_GEOMETRY = np.empty(0, np.int64)
#: inputs of a window that fit into a byte
_LARGEST = 255


@dataclass
class Units:
    """Neurons in `n_rows` rows of the same parameters, arrays of shape (width,)."""

    n_rows: int
    beta: Floats
    bias: Floats
    threshold: Floats
    v_init: Floats  # (n_rows * width,)
    reset: int

    @property
    def width(self) -> int:
        """Neurons in a row."""
        return int(self.beta.size)

    @classmethod
    def of(cls, where: str, neuron: Any, shape: tuple[int, ...], dtype: Any) -> Units:
        """The neurons of a layer of shape (n,) or (height, width, channels)."""
        if not isinstance(neuron, (IF, Leaky)):
            raise ValidationError(f"{where}: must be IF or Leaky, got {neuron!r}; simulate_clocked takes other units")
        if neuron.reset == "subtract" and neuron.reset_at != "same_step":
            raise ValidationError(f"{where}: must reset in the same step; simulate_clocked takes reset_at='next_step'")
        n = int(np.prod(shape))
        rule = neuron.step_rule(n, 1.0)
        n_rows = shape[0] if len(shape) == 3 else 1
        rows = {name: getattr(rule, name).reshape(n_rows, -1) for name in ("beta", "drive", "threshold")}
        if any((array != array[:1]).any() for array in rows.values()):
            rows = {name: array.reshape(1, n) for name, array in rows.items()}
            n_rows = 1
        reset = {"none": NONE, "zero": ZERO, "subtract": SUBTRACT}[neuron.reset]
        beta, bias, threshold = (np.ascontiguousarray(array[0], dtype=dtype) for array in rows.values())
        return cls(n_rows, beta, bias, threshold, rule.v_start.astype(dtype), reset)


@dataclass
class LayerPlan:
    """A layer and what its inputs go through.

    weight : (n_rows of the connection, n_post), see `kernels.convolution`; of a readout filled up with zero columns
    geometry : of a convolution, else empty
    average : geometry of the one average pool that its inputs go through, or empty; scale : what a spike then counts
    pools : all other pools, and those of the network's inputs
    """

    name: str
    n_pre: int
    n_post: int
    weight: Floats
    geometry: Ints
    units: Units
    is_readout: bool
    scale: float = 1.0
    average: Ints = field(default_factory=lambda: _NO_GEOMETRY)
    pools: list[GridPool] = field(default_factory=list)

    @property
    def is_convolution(self) -> bool:
        """Whether it is none of all to all."""
        return bool(self.geometry.size)

    @property
    def fan_out(self) -> int:
        """Synapses that adding a row of the weights stands for."""
        return int(self.weight.shape[1] // self.geometry[-1]) if self.is_convolution else self.n_post

    @property
    def n_pooled(self) -> int:
        """Inputs of the connection, behind the pool."""
        return int(np.prod(self.geometry[:3])) if self.is_convolution else int(self.weight.shape[0])

    @property
    def n_pixels(self) -> int:
        """Pixels of the plane that a convolution sees."""
        return int(self.geometry[0] * self.geometry[1])

    @property
    def largest_window(self) -> int:
        """Events of a step in a window of a convolution, at most: an input behind a pool is listed once per spike."""
        repeats = int(self.average[3] * self.average[4]) if self.average.size else 1
        return int(self.geometry[3] * self.geometry[4] * self.geometry[2]) * repeats

    @property
    def windows_per_input(self) -> int:
        """Windows of the average pool that an input may lie in."""
        if not self.average.size:
            return 1
        return int(np.prod([-(-self.average[3 + axis] // self.average[5 + axis]) for axis in (0, 1)]))


class ChainPlan:
    """The layers of a chain.

    Raises
    ------
    ValidationError
        Neurons, connections or pools that inference does not know; a chain whose last layer fires.
    """

    def __init__(self, network: Sequential) -> None:
        if not isinstance(network, Sequential):
            raise ValidationError(f"run_chain: expected a Sequential, got {type(network).__name__}")
        self.dtype = network.layers[0].connection.dtype
        first, last = network.layers[0], network.layers[-1]
        self.layers = [self._layer(layer, is_first=layer is first, is_last=layer is last) for layer in network.layers]
        self.n_inputs = network.n_inputs

    def _layer(self, layer: Layer, *, is_first: bool, is_last: bool) -> LayerPlan:
        where = f"run_chain: layer {layer.name!r}"
        connection: Any = layer.connection
        if layer.channels:
            raise ValidationError(f"{where}: Repeat and BiasSpikes are for continuous time")
        if connection.dtype != self.dtype:
            raise ValidationError(f"{where}: connections must be all float32 or all float64; see astype")
        if connection.has_delay:
            raise ValidationError(f"{where}: has a delay; simulate_clocked takes delays")
        pools: tuple[Any, ...] = ()
        n_pre = connection.n_pre
        if isinstance(connection, Pooled):
            pools, connection = connection.pools, connection.connection
        geometry = _NO_GEOMETRY
        shape: tuple[int, ...] = (connection.n_post,)
        if isinstance(connection, Conv2d):
            geometry, shape = connection.windows.geometry(connection.groups), connection.out_shape
            weight = connection.weight.reshape(-1, connection.weight.shape[-1])
        elif isinstance(connection, Dense):
            weight = connection.weight
        else:
            raise ValidationError(f"{where}: must be a Conv2d or Dense connection, got {connection!r}")
        if is_last == layer.can_spike:
            what = "the last layer must be a readout, IF(v_threshold=inf)" if is_last else "never fires"
            raise ValidationError(f"{where}: {what}; simulate_clocked takes any chain")
        units = Units.of(f"{where}: neurons", layer.neuron, shape, self.dtype)
        if is_last and connection.n_post % _LANES and not geometry.size:
            weight = np.pad(weight, ((0, 0), (0, -connection.n_post % _LANES)))
        own = LayerPlan(layer.name, n_pre, connection.n_post, weight, geometry, units, is_last)
        only = pools[0] if len(pools) == 1 else None
        if is_first or not isinstance(only, AvgPool2d) or only.windows.size[0] * only.windows.size[1] > _LARGEST:
            own.pools = [GridPool(pool) for pool in pools]
        else:
            own.average, own.scale = only.windows.geometry(only.image_shape[2]), float(only.weight.flat[0])
        return own
