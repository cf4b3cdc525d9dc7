"""A network as the clock-driven engine has it: parts that are stepped together, in order, and what drives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._parameters import parameters_of
from eventsnn._validation import number
from eventsnn.clocked_neurons import StepNeuron, StepRule
from eventsnn.connections import Dense
from eventsnn.convolution import Conv2d, SharedConnection
from eventsnn.errors import ValidationError
from eventsnn.graph import Network, Projection
from eventsnn.kernels.grid_step import EARLY, LATE, NO_CURRENT, NONE, SUBTRACT, SUBTRACT_LATER, ZERO
from eventsnn.network import Sequential
from eventsnn.neurons import LI, LIF
from eventsnn.pooling import Pooled
from eventsnn.simulation.grid_windows import GridWindows

__all__ = ["GridLoop", "GridNetwork", "GridPart", "GridProjection", "GridRule"]

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

#: a threshold that no potential reaches: its square is finite in float32
_NEVER = 1e18


@dataclass
class GridRule:
    """The rule of a part in the dtype of its kernels, arrays of shape (n,); see `kernels.grid_step`."""

    alpha: Floats
    beta: Floats
    gain: Floats
    drive: Floats
    threshold: Floats
    height: Floats
    v_reset: Floats
    v_start: Floats
    reset: int
    current: int
    #: neurons whose threshold is inf
    never_fires: NDArray[np.bool_]


@dataclass
class GridProjection:
    """A connection into a part from an input or an earlier part; `lags` of the synapses if it is no `Dense`.

    `transposed` is empty where the source is an input. `GridWindows` is one that slides over a plane.
    """

    name: str
    source: str
    first: int
    weight: Floats
    transposed: Floats
    lag: int
    indptr: Ints
    indices: NDArray[np.int32]
    lags: Ints
    is_dense: bool


@dataclass
class GridLoop:
    """What connects a part to itself: `dense` and `transposed` (n, n) for one connection, else synapses by neuron.

    `places` : of the synapses of every projection, where they are among all
    """

    dense: Floats
    transposed: Floats
    indptr: Ints
    indices: Ints
    weights: Floats
    lags: Ints
    names: list[str]
    places: list[Ints]
    connections: list[Any]


@dataclass
class GridPart:
    """Populations that are stepped together: one, or all of a loop."""

    populations: list[tuple[str, int, int]]  # name, first neuron, number of neurons
    rule: GridRule
    projections: list[GridProjection | GridWindows]
    loop: GridLoop
    can_spike: bool

    @property
    def n(self) -> int:
        """Number of neurons."""
        return int(self.rule.beta.size)


class GridNetwork:
    """A network laid out for steps of length dt; shares the weight arrays of its dense connections.

    Raises
    ------
    ValidationError
        Neurons that cannot be on a grid, delays that are no multiple of dt, connections of different dtypes.
    """

    def __init__(self, network: Sequential | Network, dt: float) -> None:
        graph = network.as_network() if isinstance(network, Sequential) else network
        self.graph, self.dt = graph, number("simulate_clocked: dt", dt, above=0)
        connections = [projection.connection for projection in graph.projections]
        dtypes = {own.dtype for own in connections if "weight" in parameters_of(own)} or {c.dtype for c in connections}
        if len(dtypes) > 1:
            raise ValidationError("simulate_clocked: connections must be all float32 or all float64; see astype")
        self.neurons = {name: population.neuron for name, population in graph.populations.items()}
        self.dtype: np.dtype[Any] = dtypes.pop() if dtypes else np.dtype(np.float64)
        names = dict(zip(graph.projections, graph.projection_names, strict=True))
        self.parts: list[GridPart] = []
        for members in graph.components():
            self.parts.append(self._part(members, names))
        self.part_of = {name: (part, first, n) for part in self.parts for name, first, n in part.populations}

    @property
    def weights(self) -> dict[str, Floats]:
        """The weight arrays of all projections by name, those that are no parameters left out."""
        found: dict[str, Floats] = {
            name.removesuffix(".weight"): array for name, array in self.graph.parameters().items()
        }
        return found

    def _part(self, members: tuple[str, ...], names: dict[Projection, str]) -> GridPart:
        populations, first = [], 0
        for name in members:
            n = self.graph.populations[name].n_neurons
            populations.append((name, first, n))
            first += n
        place = {name: start for name, start, _ in populations}
        projections, inner = [], []
        for projection, name in names.items():
            if projection.target in place:
                if projection.source in place:
                    inner.append((projection, name))
                else:
                    projections.append(self._projection(projection, name, place[projection.target]))
        can_spike = any(self.graph.populations[name].can_spike for name in members)
        return GridPart(populations, self._rule(populations), projections, self._loop(inner, place, first), can_spike)

    def _rule(self, populations: list[tuple[str, int, int]]) -> GridRule:
        members = [name for name, _, _ in populations]
        rules = [_rule_of(name, self.neurons[name], n, self.dt) for name, _, n in populations]
        if len({(rule.reset, rule.reset_at, rule.late_input) for rule in rules}) > 1:
            raise ValidationError(
                f"simulate_clocked: {', '.join(members)} are in one loop and must have the same kind of step rule "
                "(reset, reset_at, LIF or a unit of the grid)"
            )

        def joined(name: str) -> Floats:
            return np.concatenate([getattr(rule, name) for rule in rules]).astype(self.dtype)

        one = rules[0]
        reset = {"none": NONE, "zero": ZERO, "subtract": SUBTRACT}[one.reset]
        if reset == SUBTRACT and one.reset_at == "next_step":
            reset = SUBTRACT_LATER
        current = LATE if one.late_input else EARLY if any(rule.has_current for rule in rules) else NO_CURRENT
        threshold = joined("threshold")
        never = np.isinf(threshold)
        return GridRule(
            joined("alpha"), joined("beta"), joined("gain"), joined("drive"),
            np.where(never, self.dtype.type(_NEVER), threshold), np.where(never, self.dtype.type(0), threshold),
            joined("v_reset"), joined("v_start"), NONE if never.all() else reset, current, never,
        )  # fmt: skip

    def _projection(self, projection: Projection, name: str, first: int) -> GridProjection | GridWindows:
        connection = projection.connection
        if isinstance(connection, (Conv2d, Pooled)):
            lag = int(self._lags(name, connection.delay))
            windows: GridWindows = GridWindows.of(connection, name, projection.source, first, lag)
            return windows
        is_dense = isinstance(connection, Dense) and connection.delay.ndim == 0
        if is_dense:
            weight = connection.weight
            lag = int(self._lags(name, connection.delay))
            empty = np.empty(0, np.int64)
            from_input = projection.source in self.graph.inputs  # no error goes back to it
            transposed = weight[:0].T if from_input else weight.T.copy()
            indices = empty.astype(np.int32)
            return GridProjection(name, projection.source, first, weight, transposed, lag, empty, indices, empty, True)
        indptr, indices, weights, delays = connection.rows()
        weights = weights.astype(self.dtype, copy=False)  # those of an average may be of another type
        lags = self._lags(name, delays)
        return GridProjection(name, projection.source, first, weights, weights, 0, indptr, indices, lags, False)

    def _loop(self, inner: list[tuple[Projection, str]], place: dict[str, int], n: int) -> GridLoop:
        none, nowhere = np.empty((0, 0), self.dtype), np.empty(0, np.int64)
        loop = GridLoop(none, none, nowhere, nowhere, np.empty(0, self.dtype), nowhere, [], [], [])
        if not inner:
            return loop
        loop.names, loop.connections = [name for _, name in inner], [own.connection for own, _ in inner]
        for connection, name in zip(loop.connections, loop.names, strict=True):
            if getattr(connection, "gates", ()):
                raise ValidationError(
                    f"simulate_clocked: {name} leads through {connection.gates[0]!r} inside a loop; a gate must come "
                    "before it, AvgPool2d may be inside"
                )
        only = inner[0][0].connection
        if len(inner) == 1 and isinstance(only, Dense) and only.n_pre == n and only.delay.ndim == 0:
            lag = int(self._lags(inner[0][1], only.delay))
            if lag <= 1:
                loop.dense, loop.transposed = only.weight, only.weight.T.copy()
                return loop
        columns = []
        for projection, name in inner:
            indptr, indices, weights, delays = projection.connection.rows()
            sources = np.repeat(np.arange(indptr.size - 1), np.diff(indptr)) + place[projection.source]
            lags = np.maximum(self._lags(name, delays), 1)
            columns.append((sources, indices + place[projection.target], weights, lags))
        sources, targets, weights, lags = (np.concatenate(column) for column in zip(*columns, strict=True))
        order = np.argsort(sources, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(order.size)
        ends = np.cumsum([column[0].size for column in columns])
        loop.indptr = np.concatenate(([0], np.cumsum(np.bincount(sources, minlength=n))))
        loop.indices, loop.lags = targets[order].astype(np.int64), lags[order]
        loop.weights = weights[order].astype(self.dtype, copy=False)
        loop.places = np.split(back, ends[:-1])
        return loop

    def _lags(self, name: str, delays: NDArray[np.float64]) -> Any:
        """Delays in steps."""
        exact = np.asarray(delays) / self.dt
        steps = np.rint(exact)
        bad = np.abs(exact - steps) > 1e-6 * np.maximum(steps, 1.0)
        if bad.any():
            delay = np.asarray(delays)[bad].flat[0]
            raise ValidationError(f"simulate_clocked: the delay {delay:g} of {name} is no multiple of dt={self.dt:g}")
        return steps.astype(np.int64)

    def refresh(self, neurons: Mapping[str, Any] | None = None) -> None:
        """Take over weights that have changed in place, and other neurons of the same kind, by population."""
        if neurons:
            self.neurons.update(neurons)
        for part in self.parts:
            if neurons and any(name in neurons for name, _, _ in part.populations):
                part.rule = self._rule(part.populations)
            for projection in part.projections:
                if projection.is_dense and isinstance(projection, GridProjection) and projection.transposed.size:
                    np.copyto(projection.transposed, projection.weight.T)
            loop = part.loop
            if loop.dense.size:
                np.copyto(loop.transposed, loop.dense.T)
            for connection, places in zip(loop.connections, loop.places, strict=False):
                loop.weights[places] = synapse_weights(connection)


def synapse_weights(connection: Any) -> Floats:
    """The weight of every synapse, in the order of `Connection.rows`."""
    shared: Floats = connection.weight
    if isinstance(connection, SharedConnection):
        shared = connection.shared.weights(shared)
    return shared.reshape(-1)


def _rule_of(name: str, neuron: Any, n: int, dt: float) -> StepRule:
    """The step rule of a population."""
    if isinstance(neuron, StepNeuron):
        return neuron.step_rule(n, dt)
    refused = None
    if neuron.has_named_receptors:
        refused = "named receptors"
    elif isinstance(neuron, LIF) and neuron.max_spikes is not None:
        refused = "max_spikes"
    elif isinstance(neuron, LIF) and np.any(np.asarray(neuron.t_refrac) > 0):
        refused = "t_refrac"
    if refused is not None or not isinstance(neuron, (LIF, LI)):
        raise ValidationError(
            f"simulate_clocked: population {name!r} is {neuron!r}; {refused or 'such neurons'} cannot be on a time "
            "grid, simulate is exact for it"
        )
    tau_mem, tau_syn = neuron.per_neuron("tau_mem", n), neuron.per_neuron("tau_syn", n)
    beta, alpha = np.exp(-dt / tau_mem), np.exp(-dt / tau_syn)
    # v after a step that starts with i_syn = 1: exact, and continuous through tau_mem = tau_syn
    rate = dt * (1.0 / tau_mem - 1.0 / tau_syn)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(rate == 0.0, 1.0, np.expm1(rate) / rate)
    rest = neuron.per_neuron("v_leak", n) + neuron.per_neuron("i_bias", n)
    # step 0 is t = 0: a step of decay before it leads to the potential that `simulate` starts from
    before = rest + (neuron.v_start(n) - rest) / np.maximum(beta, np.finfo(np.float32).tiny)
    return StepRule(
        alpha=alpha,
        beta=beta,
        gain=dt / tau_mem * beta * share,
        drive=(1.0 - beta) * rest,
        threshold=neuron.per_neuron("v_threshold", n) if isinstance(neuron, LIF) else np.full(n, np.inf),
        v_reset=neuron.per_neuron("v_reset", n) if isinstance(neuron, LIF) else np.zeros(n),
        v_start=before,
        reset="zero" if isinstance(neuron, LIF) else "none",
        late_input=True,
    )
