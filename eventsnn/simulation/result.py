"""`Result`: the spikes of a simulation, and its membrane potentials in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import index_array
from eventsnn.errors import ValidationError
from eventsnn.graph import Network
from eventsnn.kernels.traces import membrane_traces
from eventsnn.network import Sequential
from eventsnn.simulation.windows import linear_rows, passed_spikes
from eventsnn.spikes import Spikes

if TYPE_CHECKING:
    from eventsnn.simulation.graph_driven import NetworkState

__all__ = ["Result"]


@dataclass(frozen=True)
class StartOfPopulation:
    """What a population of one sample starts from.

    v, held_until : (n_neurons,); i_syn : (n_neurons, n_receptors)
    targets, times, receptors, weights : spikes on their way to it, ordered by target, then time
    """

    v: NDArray[np.float64]
    i_syn: NDArray[np.float64]
    held_until: NDArray[np.float64]
    targets: NDArray[np.int64]
    times: NDArray[np.float64]
    receptors: NDArray[np.int64]
    weights: NDArray[np.float64]


class Result:
    """Outcome of `simulate`.

    Attributes
    ----------
    network : the simulated network
    spikes : dict of Spikes by name, the inputs included (a chain's is called "input")
    t_start, t_max : beginning and end of the simulation
    n_synaptic_events : synapses that spikes were sent over
    """

    def __init__(
        self,
        network: Sequential | Network,
        spikes: dict[str, Spikes],
        t_max: float,
        *,
        t_start: float = 0.0,
        start: list[dict[str, StartOfPopulation]] | None = None,
        state: NetworkState | None = None,
        given_v: frozenset[str] = frozenset(),
    ) -> None:
        self.network = network
        self.spikes = spikes
        self.t_start = t_start
        self.t_max = t_max
        self._graph = network.as_network() if isinstance(network, Sequential) else network
        self._start = start
        self._final_state = state
        #: populations whose potentials at the start were given, and do not follow from their parameters
        self._given_v = given_v

    @property
    def inputs(self) -> Spikes:
        """The spikes of the only input; of a chain, those that were given, without its bias spikes.

        Raises
        ------
        ValidationError
            The network has none, or several.
        """
        if isinstance(self.network, Sequential):
            return self.spikes["input"]
        if len(self._graph.inputs) != 1:
            raise ValidationError(f"Result.inputs: the network has {len(self._graph.inputs)} inputs; use spikes[name]")
        return self.spikes[next(iter(self._graph.inputs))]

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return next(iter(self.spikes.values())).n_samples

    @property
    def n_synaptic_events(self) -> int:
        """Number of synapses that spikes were sent over, from t_start on."""
        total = 0
        for projection in self._graph.projections:
            connection = projection.connection
            passed = passed_spikes(connection, self.spikes[projection.source])
            total += int(np.diff(linear_rows(connection)[0])[passed.neurons].sum())
        return total

    @property
    def state(self) -> NetworkState:
        """What `simulate(..., state=...)` continues from.

        Raises
        ------
        ValidationError
            The simulation was not run with ``resumable=True``.
        """
        if self._final_state is None:
            raise ValidationError("Result.state: only kept by simulate(..., resumable=True)")
        return self._final_state

    def first_times(self, name: str) -> NDArray[np.float64]:
        """First spike times of a population, shape (n_samples, n_neurons), inf where silent."""
        return self._spikes_of(name).first_times()

    def rates(self, name: str) -> NDArray[np.float64]:
        """Spikes per unit of time from t_start to t_max (which must be finite), shape (n_samples, n_neurons)."""
        if not np.isfinite(self.t_max) or self.t_max <= self.t_start:
            raise ValidationError(f"Result.rates: needs a simulation of finite length, t_max is {self.t_max}")
        return self._spikes_of(name).counts() / (self.t_max - self.t_start)

    def intervals(self, name: str, sample: int = 0) -> list[NDArray[np.float64]]:
        """Inter-spike intervals of every neuron in one sample: a list of n_neurons arrays."""
        own = self._spikes_of(name)[self._checked_sample(sample)]
        order = np.argsort(own.neurons, kind="stable")
        ends = np.searchsorted(own.neurons[order], np.arange(own.n_neurons + 1))
        times = own.times[order]
        return [np.diff(times[low:high]) for low, high in pairwise(ends)]

    def v(self, name: str, times: ArrayLike, sample: int = 0, neurons: ArrayLike | None = None) -> NDArray[np.float64]:
        """Membrane potential of a population at any times, in closed form, shape (n_times, n_neurons).

        At a spike time it is the value after the reset. `times`, from t_start on, need not be sorted; values beyond
        `t_max` continue the free solution. `neurons`: only these, in this order.
        """
        return self._state(name, times, sample, neurons)[0]

    def i_syn(
        self,
        name: str,
        times: ArrayLike,
        sample: int = 0,
        neurons: ArrayLike | None = None,
        *,
        receptor: str | None = None,
    ) -> NDArray[np.float64]:
        """Synaptic current of a population at any times, shape (n_times, n_neurons); inputs at a time included.

        That of one receptor, or (None) of all together.
        """
        currents = self._state(name, times, sample, neurons)[1]
        if receptor is None:
            total: NDArray[np.float64] = currents.sum(axis=2)
            return total
        known = self._graph.populations[name].neuron.receptors
        if receptor not in known:
            raise ValidationError(f"Result.i_syn: {name!r} has no receptor {receptor!r}; there are {list(known)}")
        return np.ascontiguousarray(currents[:, :, known.index(receptor)])

    def _state(
        self, name: str, times: ArrayLike, sample: int, neurons: ArrayLike | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if name not in self._graph.populations:
            known = list(self._graph.populations)
            raise ValidationError(f"Result: no population {name!r} with a membrane potential; there are {known}")
        self._checked_sample(sample)
        at = np.asarray(times, dtype=np.float64)
        if at.ndim != 1 or not np.isfinite(at).all() or (at < self.t_start).any():
            raise ValidationError(f"Result: times must be a one-dimensional array of finite values >= {self.t_start:g}")
        population = self._graph.populations[name]
        chosen = np.arange(population.n_neurons) if neurons is None else self._checked_neurons(name, neurons)
        columns, tau_syn, currents = (table[chosen] for table in self._neuron_columns(name, sample))
        start = self._start[sample][name] if self._start is not None else None
        own = self.spikes[name][sample]
        spike_ends, (spike_times,) = _by_neuron(own.neurons, own.times, chosen)
        order = np.argsort(at, kind="stable")
        v, i_syn = np.empty((at.size, chosen.size)), np.empty((at.size, *tau_syn.shape))
        ends, (arrival_times, receptors, weights) = self._arrivals(name, sample, chosen, start)
        membrane_traces(
            columns, tau_syn, self.t_start, currents, ends, arrival_times, receptors, weights,
            spike_ends, spike_times, at[order], np.empty(3), np.empty(tau_syn.shape[1]), v, i_syn,
        )  # fmt: skip
        back = np.empty_like(order)
        back[order] = np.arange(order.size)
        return v[back], i_syn[back]

    def _neuron_columns(self, name: str, sample: int) -> tuple[NDArray[np.float64], ...]:
        """What the kernels take of a population: parameters (n, 6), see `traces`; tau_syn and currents at the start."""
        population = self._graph.populations[name]
        neuron, n = population.neuron, population.n_neurons
        start = self._start[sample][name] if self._start is not None else None
        v_leak = neuron.per_neuron("v_leak", n)
        columns = [
            neuron.per_neuron("tau_mem", n),
            v_leak + neuron.per_neuron("i_bias", n),
            *((neuron.per_neuron(p, n) for p in ("v_reset", "t_refrac")) if population.can_spike else np.zeros((2, n))),
            start.v if start else neuron.v_start(n),
            start.held_until if start else np.full(n, -np.inf),
        ]
        tau_syn = np.column_stack([neuron.tau_syn_of(receptor, n) for receptor in neuron.receptors])
        return np.column_stack(columns), tau_syn, start.i_syn if start else np.zeros_like(tau_syn)

    def _arrivals(
        self, name: str, sample: int, chosen: NDArray[np.int64], start: StartOfPopulation | None
    ) -> tuple[NDArray[np.int64], list[NDArray[Any]]]:
        """Everything that arrives at the chosen neurons, neuron by neuron in the order of the times."""
        receptors = self._graph.populations[name].neuron.receptors
        nothing = (np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0))
        parts = [(start.targets, start.times, start.receptors, start.weights) if start else nothing]
        for projection in self._graph.projections_to(name):
            indptr, indices, weights, delays = linear_rows(projection.connection)
            kept = np.isin(indices, chosen)
            indptr = np.concatenate(([0], np.cumsum(kept)))[indptr]
            indices, weights, delays = indices[kept], weights[kept], delays[kept]
            sent = passed_spikes(projection.connection, self.spikes[projection.source][sample])
            counts = np.diff(indptr)[sent.neurons]
            synapses = np.repeat(indptr[sent.neurons] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
            r = receptors.index(projection.receptor or receptors[0])
            parts.append((
                indices[synapses].astype(np.int64), np.repeat(sent.times, counts) + delays[synapses],
                np.full(synapses.size, r), weights[synapses].astype(np.float64),
            ))  # fmt: skip
        targets, times, kinds, strengths = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(times, kind="stable")
        return _by_neuron(targets[order], times[order], chosen, kinds[order], strengths[order])

    def _spikes_of(self, name: str) -> Spikes:
        if name not in self.spikes:
            raise ValidationError(f"Result: no population {name!r}; there are {sorted(self.spikes)}")
        return self.spikes[name]

    def _checked_sample(self, sample: int) -> int:
        if not 0 <= sample < self.n_samples:
            raise ValidationError(f"Result: sample must lie in 0 .. {self.n_samples - 1}, got {sample}")
        return sample

    def _checked_neurons(self, name: str, neurons: ArrayLike) -> NDArray[np.int64]:
        return index_array("Result: neurons", neurons, self._graph.populations[name].n_neurons, "number of neurons")

    def __iter__(self) -> Iterator[str]:
        """Names of the inputs and populations."""
        return iter(self.spikes)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {spikes.n_events}" for name, spikes in self.spikes.items())
        return f"Result(n_samples={self.n_samples}, spikes: {counts})"


def _by_neuron(
    neurons: NDArray[np.int64], times: NDArray[np.float64], chosen: NDArray[np.int64], *others: NDArray[Any]
) -> tuple[NDArray[np.int64], list[NDArray[Any]]]:
    """Events (ordered by time) of the chosen neurons, one neuron after the other: where each ends, and the columns."""
    order = np.argsort(neurons, kind="stable")
    low, high = np.searchsorted(neurons[order], chosen), np.searchsorted(neurons[order], chosen, side="right")
    counts = high - low
    ends = np.concatenate(([0], np.cumsum(counts)))
    rows = order[np.repeat(low - ends[:-1], counts) + np.arange(ends[-1])]
    return ends, [column[rows] for column in (times, *others)]
