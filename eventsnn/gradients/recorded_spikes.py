"""The spikes of a recorded run, solved again in high precision: what `check_eventprop` takes its differences of.

Nothing is searched. The run says which spikes there are and in which order everything happens; each spike's time is
solved again from its recorded one, v(T) = v_threshold, with v in closed form over what its neuron had met before. So
with a parameter moved a little all times follow, as long as the order of what a neuron meets stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import SimulationError
from eventsnn.gradients.eventprop_sums import VoltageGradient
from eventsnn.gradients.high_precision import GUARD_DIGITS, crossing_near, flow_factors
from eventsnn.graph import Network
from eventsnn.kernels.eventprop_engine import ARRIVAL, PROBE, RELEASE, SPIKE
from eventsnn.neurons import LIF
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes

__all__ = ["Key", "LossTerms", "RecordedRun", "parameter_table"]

#: How far a spike solved again may lie from its recorded time, relative to that time or to tau_mem; and how far above
#: threshold, relative to the potentials around, a neuron without a spike on record may be found: rounding.
AGREEMENT = 1e-9

#: ("weight", projection), ("delay", projection), (population, parameter), (population, "tau_syn" or "i_syn", receptor)
Key = tuple[Any, ...]


@dataclass(frozen=True)
class LossTerms:
    """What the loss makes of each spike and potential.

    times, slopes : by population, dL/dT and dL/d(dv/dt just before it) of its spikes, in the order of `Result.spikes`
    potentials : by population
    """

    times: Mapping[str, NDArray[np.float64]]
    potentials: Mapping[str, VoltageGradient] = field(default_factory=dict)
    slopes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def parameter_table(result: Result, network: Network, inputs: Mapping[str, Spikes]) -> dict[Key, NDArray[np.float64]]:
    """All numbers that a run of `network` follows from, synapse by synapse and neuron by neuron."""
    table: dict[Key, NDArray[np.float64]] = {("times", name): own.times for name, own in inputs.items()}
    for p, projection in enumerate(network.projections):
        _, _, weights, delays = projection.connection.rows()
        table["weight", p], table["delay", p] = weights.astype(np.float64), delays
    for name, population in network.populations.items():
        neuron, n = population.neuron, population.n_neurons
        start = result._start[0][name] if result._start else None
        for parameter in neuron.parameter_names():
            if parameter != "tau_syn":
                table[name, parameter] = neuron.per_neuron(parameter, n)
        table[name, "v"] = start.v if start and name in result._given_v else neuron.v_start(n)
        for r, receptor in enumerate(neuron.receptors):
            table[name, "tau_syn", r] = neuron.tau_syn_of(receptor, n)
            table[name, "i_syn", r] = start.i_syn[:, r] if start else np.zeros(n)
    return table


class RecordedRun:
    """A run whose recorded spikes are solved again in `digits` decimal digits, with parameters as they are or moved.

    Raises
    ------
    SimulationError
        A spike solved again does not lie where it was recorded, or a potential is above threshold without a spike.
    """

    def __init__(self, result: Result, terms: LossTerms, digits: int) -> None:
        from mpmath import mp

        self.mp, self.digits = mp, digits + GUARD_DIGITS
        self.table = parameter_table(result, result._graph, {n: result.spikes[n] for n in result._graph.inputs})
        with mp.workdps(self.digits):
            self.numbers = {key: [mp.mpf(x) for x in column.tolist()] for key, column in self.table.items()}
            self.samples = [_Sample(result, terms, b, mp) for b in range(result.n_samples)]
            self.recorded = [_Pass(sample, self, {}, None, mp.mpf(0)) for sample in self.samples]
            for own in self.recorded:
                own.run()

    def change(self, places: Mapping[Key, NDArray[np.int64]], move: Any) -> tuple[Any, bool, Any]:
        """Change of the loss, to first order in times and potentials, after adding `move` to the numbers at `places`.

        And whether the move changed the spikes or an order that matters, so that the change means nothing; and the sum
        of the absolute values of all that the change is made of.
        """
        mp = self.mp
        with mp.workdps(self.digits):
            total = size = mp.mpf(0)
            if not move:
                return total, False, size
            for sample, recorded in zip(self.samples, self.recorded, strict=True):
                own = _Pass(sample, self, places, recorded, mp.mpf(move))
                try:
                    own.run()
                except _ChangedError:
                    return mp.mpf(0), True, mp.mpf(0)
                terms = own.changes()
                total, size = total + mp.fsum(terms), size + mp.fsum(terms, absolute=True)
            return total, False, size


class _ChangedError(Exception):
    """The recorded spikes in the recorded order are not what happens."""


class _Sample:
    """What happened in a sample: sources (external spikes, then those of neurons), and what each neuron met."""

    def __init__(self, result: Result, terms: LossTerms, b: int, mp: Any) -> None:
        network = result._graph
        self.number, self.t_max, self.network = b, result.t_max, network
        self.external: list[tuple[str, int]] = []
        self.neurons: list[tuple[str, int]] = []
        self.first: dict[str, int] = {}
        spikes: list[tuple[float, int, str, int]] = []  # time, neuron, population, number in its Spikes
        for name in network.inputs:
            self.external += [(name, k) for k in _events(result, name, b)]
        for name, population in network.populations.items():
            self.first[name] = len(self.neurons)
            self.neurons += [(name, n) for n in range(population.n_neurons)]
            own = result.spikes[name]
            spikes += [
                (float(own.times[k]), self.first[name] + int(own.neurons[k]), name, k) for k in _events(result, name, b)
            ]
        self.spikes = sorted(spikes, key=lambda spike: spike[0])
        # items of each neuron: (time, kind, number of the source, spike or probe, projection, synapse)
        items: list[list[tuple[float, int, int, int, int]]] = [[] for _ in self.neurons]
        senders = [(result.spikes[name].neurons[k], result.spikes[name].times[k], name) for name, k in self.external]
        senders += [(result.spikes[name].neurons[k], time, name) for time, _, name, k in self.spikes]
        rows = [projection.connection.rows() for projection in network.projections]
        for e, (neuron, time, name) in enumerate(senders):
            for p, projection in enumerate(network.projections):
                if projection.source == name:
                    indptr, indices, _, delays = rows[p]
                    for s in range(indptr[neuron], indptr[neuron + 1]):
                        target = self.first[projection.target] + int(indices[s])
                        items[target].append((float(time + delays[s]), ARRIVAL, e, p, s))
        for e, (time, neuron, name, _) in enumerate(self.spikes):
            t_refrac = network.populations[name].neuron.per_neuron("t_refrac", network.populations[name].n_neurons)
            items[neuron].append((time, SPIKE, e, 0, 0))
            items[neuron].append((float(time + t_refrac[neuron - self.first[name]]), RELEASE, e, 0, 0))
        self.probe_times: list[Any] = []
        self.d_probes: list[float] = []
        for name, probes in terms.potentials.items():
            columns = [np.atleast_1d(np.asarray(c)) for c in vars(probes).values()]
            for sample, neuron, time, value in zip(*columns, strict=True):
                if sample == b:
                    probe = (float(time), PROBE, len(self.d_probes), 0, 0)
                    items[self.first[name] + int(neuron)].append(probe)
                    self.probe_times.append(mp.mpf(float(time)))
                    self.d_probes.append(float(value))
        self.items = [sorted((i for i in own if i[0] <= self.t_max), key=lambda item: item[:2]) for own in items]
        self.place = {item[2]: i for own in self.items for i, item in enumerate(own) if item[1] == SPIKE}
        self.d_spikes, self.d_slopes = (
            [float(by[name][k]) if name in by else 0.0 for _, _, name, k in self.spikes]
            for by in (terms.times, terms.slopes)
        )
        self.receptor = [
            network.populations[p.target].neuron.receptors.index(p.receptor) if p.receptor else 0
            for p in network.projections
        ]


def _events(result: Result, name: str, b: int) -> range:
    offsets = result.spikes[name].offsets
    return range(int(offsets[b]), int(offsets[b + 1]))


class _State:
    """A neuron between two items: u = v - v_inf, q = i_syn/tau_mem by receptor; the latest items before it."""

    __slots__ = ("held", "last", "last_but_arrivals", "left", "q", "t", "u")

    def __init__(
        self, t: Any, u: Any, q: list[Any], left: float, held: bool, last: Any, last_but_arrivals: Any
    ) -> None:
        self.t, self.u, self.q, self.left, self.held = t, u, q, left, held
        self.last, self.last_but_arrivals = last, last_but_arrivals

    def copy(self) -> _State:
        return _State(self.t, self.u, list(self.q), self.left, self.held, self.last, self.last_but_arrivals)


class _Pass:
    """One sample with some numbers moved: neurons are followed from the first item on that the move reaches."""

    def __init__(
        self, sample: _Sample, run: RecordedRun, places: Mapping[Key, Iterable[int]], recorded: _Pass | None, move: Any
    ) -> None:
        self.sample, self.recorded, self.mp = sample, recorded, run.mp
        self.numbers = dict(run.numbers)
        n_external = len(sample.external)
        self.moved_neurons: set[int] = set()
        self.moved_synapses: set[tuple[int, int]] = set()
        self.moved_sources: set[int] = set()
        for key, indices in places.items():
            column = self.numbers[key] = list(self.numbers[key])
            for index in indices:
                column[index] += move
                if key[0] == "times":
                    continue
                if key[0] in ("weight", "delay"):
                    self.moved_synapses.add((key[1], int(index)))
                else:
                    self.moved_neurons.add(sample.first[key[0]] + int(index))
        self.times = [self.numbers["times", name][k] for name, k in sample.external]
        if recorded is None:
            self.times += [self.mp.mpf(time) for time, *_ in sample.spikes]
            self.slopes: list[Any] = [self.mp.mpf(0)] * len(sample.spikes)
            self.potentials: list[Any] = [self.mp.mpf(0)] * len(sample.d_probes)
            self.factors: dict[Any, Any] = {}
        else:
            self.moved_sources |= {e for e in range(n_external) if self.times[e] != recorded.times[e]}
            self.times += recorded.times[n_external:]
            self.slopes, self.potentials = list(recorded.slopes), list(recorded.potentials)
            self.factors = recorded.factors
        self.before: list[list[_State]] = [[] for _ in sample.items]
        self.position = [0] * len(sample.items)
        self.states: list[_State | None] = [None] * len(sample.items)
        #: a crossing is solved to the cube of this (relative to tau_mem), of `digits` and more
        self.small = self.mp.mpf(10) ** (-(self.mp.dps // 2))

    def changes(self) -> list[Any]:
        """The loss's derivatives times the changes against the recorded pass."""
        recorded, sample, n_external = self.recorded, self.sample, len(self.sample.external)
        assert recorded is not None
        pairs = zip(
            (*sample.d_spikes, *sample.d_slopes, *sample.d_probes),
            (*self.times[n_external:], *self.slopes, *self.potentials),
            (*recorded.times[n_external:], *recorded.slopes, *recorded.potentials),
            strict=True,
        )
        return [d * (new - old) for d, new, old in pairs if d and new is not old]

    def run(self) -> None:
        """Every spike in the recorded order, then what comes after each neuron's last one."""
        for n in range(len(self.states)):
            if self.recorded is None or n in self.moved_neurons:
                self.states[n] = self._start(n)
        for e, (_, neuron, _, _) in enumerate(self.sample.spikes):
            self._follow(neuron, self.sample.place[e])
        for neuron, items in enumerate(self.sample.items):
            self._follow(neuron, len(items) - 1)
            state = self.states[neuron]
            if state is not None and not state.held and self.mp.isfinite(self.sample.t_max):
                self._flow(neuron, state, self.mp.mpf(self.sample.t_max))
                self._require_below(neuron, state)

    def _start(self, n: int) -> _State:
        name, k = self.sample.neurons[n]
        neuron, numbers = self.sample.network.populations[name].neuron, self.numbers
        tau_mem, zero = numbers[name, "tau_mem"][k], self.mp.mpf(0)
        q = [numbers[name, "i_syn", r][k] / tau_mem for r in range(len(neuron.receptors))]
        left = 0.0
        if isinstance(neuron, LIF):
            left = np.inf if neuron.max_spikes is None else neuron.max_spikes
        return _State(zero, numbers[name, "v"][k] - self._v_inf(n), q, left, False, -self.mp.inf, -self.mp.inf)

    def _v_inf(self, n: int) -> Any:
        name, k = self.sample.neurons[n]
        return self.numbers[name, "v_leak"][k] + self.numbers[name, "i_bias"][k]

    def _follow(self, n: int, last: int) -> None:
        """Take neuron n through its items up to number `last`."""
        items, state = self.sample.items[n], self.states[n]
        for i in range(self.position[n], last + 1):
            _, kind, number, p, s = items[i]
            if state is None and kind == ARRIVAL and (number in self.moved_sources or (p, s) in self.moved_synapses):
                assert self.recorded is not None
                state = self.states[n] = self.recorded.before[n][i].copy()
            if state is not None:
                if self.recorded is None:
                    self.before[n].append(state.copy())
                self._take(n, state, items[i])
        self.position[n] = max(self.position[n], last + 1)

    def _take(self, n: int, state: _State, item: tuple[float, int, int, int, int]) -> None:
        """One item: to its time, in the recorded order, and what it does."""
        _, kind, number, p, s = item
        (name, k), numbers, n_external = self.sample.neurons[n], self.numbers, len(self.sample.external)
        if kind == ARRIVAL:
            t = self.times[number] + numbers["delay", p][s]
        elif kind == PROBE:
            t = self.sample.probe_times[number]
        elif kind == RELEASE:
            t = self.times[n_external + number] + numbers[name, "t_refrac"][k]
        else:
            t = self._solve(n, state, number)
        # Arrivals add up: their order among themselves is nothing. As recorded, rounding may swap what coincides.
        if self.recorded is not None and t < (state.last_but_arrivals if kind == ARRIVAL else state.last):
            raise _ChangedError
        state.last = max(state.last, t)
        if kind != ARRIVAL:
            state.last_but_arrivals = max(state.last_but_arrivals, t)
        self._flow(n, state, t)
        if kind == ARRIVAL:
            state.q[self.sample.receptor[p]] += numbers["weight", p][s] / numbers[name, "tau_mem"][k]
        elif kind == PROBE:
            held = numbers[name, "v_reset"][k] if state.held else None
            self.potentials[number] = state.u + self._v_inf(n) if held is None else held
        elif kind == RELEASE:
            state.held, state.u = False, numbers[name, "v_reset"][k] - self._v_inf(n)
        else:
            self.times[n_external + number] = t
            self.moved_sources.add(n_external + number)
            self.slopes[number] = sum(state.q) - state.u / numbers[name, "tau_mem"][k]
            if self.slopes[number] <= 0 or t > self.sample.t_max:
                self._lost(n, f"the spike recorded at t = {item[0]:g} only grazes the threshold")
            state.held, state.left = True, state.left - 1
        if kind != SPIKE and not state.held:
            self._require_below(n, state)

    def _solve(self, n: int, state: _State, number: int) -> Any:
        """Time of a spike, near the recorded one."""
        (name, k), numbers, mp = self.sample.neurons[n], self.numbers, self.mp
        tau_mem, guess = numbers[name, "tau_mem"][k], self.times[len(self.sample.external) + number]
        tau_syn = [numbers[name, "tau_syn", r][k] for r in range(len(state.q))]
        theta = numbers[name, "v_threshold"][k] - self._v_inf(n)
        s = crossing_near(
            mp, state.u, state.q, tau_mem, tau_syn, theta, guess - state.t, self.small * tau_mem, tau_mem
        )  # fmt: skip
        if s is None or (self.recorded is None and abs(state.t + s - guess) > AGREEMENT * max(guess, tau_mem)):
            found = "nowhere near" if s is None else f"at {mp.nstr(state.t + s, 17)}"
            self._lost(n, f"the spike recorded at t = {mp.nstr(guess, 17)}, solved again, lies {found}")
        return state.t + s

    def _flow(self, n: int, state: _State, t: Any) -> None:
        """Move a state to t; while it is held only its currents run on."""
        h = t - state.t
        if h:
            name, k = self.sample.neurons[n]
            tau_mem, u = self.numbers[name, "tau_mem"][k], state.u
            for r, q in enumerate(state.q):
                key = (tau_mem, self.numbers[name, "tau_syn", r][k], h)
                factors = self.factors.get(key)
                if factors is None:
                    factors = flow_factors(self.mp, h, key[0], key[1])
                    if self.recorded is None:
                        self.factors[key] = factors
                decay, kernel, syn_decay = factors
                u = (decay * u if r == 0 else u) + kernel * q
                state.q[r] = syn_decay * q
            if not state.held:
                state.u = u
        state.t = t

    def _require_below(self, n: int, state: _State) -> None:
        """v is not above threshold while spikes are to come: one would be missing on record."""
        if state.left > 0:
            name, k = self.sample.neurons[n]
            v_inf = self._v_inf(n)
            theta = self.numbers[name, "v_threshold"][k] - v_inf
            margin = (
                AGREEMENT * (abs(theta) + abs(self.numbers[name, "v_reset"][k] - v_inf)) if not self.recorded else 0
            )
            if state.u > theta + margin:
                self._lost(n, f"v is above threshold at t = {self.mp.nstr(state.t, 17)}, without a spike on record")

    def _lost(self, n: int, what: str) -> None:
        """The record does not hold: an error as it stands, a change where something was moved."""
        if self.recorded is not None:
            raise _ChangedError
        name, k = self.sample.neurons[n]
        raise SimulationError(
            f"check_eventprop: population {name!r}, neuron {k}, sample {self.sample.number}: {what}; float64 has lost "
            "the digits that a check in high precision needs: take a shorter t_max, or precision='float64'"
        )
