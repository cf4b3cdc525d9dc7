"""The spikes of a recorded run, solved again in high precision: what `check_eventprop` takes its differences of.

Nothing is searched. The run says which spikes there are and in which order everything happens; each spike's time is
solved again from its recorded one, v(T) = v_threshold, with v in closed form over what its neuron had met before. So
with a parameter moved a little all times follow, as long as the order of what a neuron meets stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.gradients.high_precision import GUARD_DIGITS, crossing_near, flow_factors
from eventsnn.gradients.recorded_events import AGREEMENT, Key, LossTerms, RecordedSample, parameter_table
from eventsnn.kernels.eventprop_engine import ARRIVAL, PROBE, RELEASE, SPIKE
from eventsnn.neurons import LIF
from eventsnn.simulation.result import Result

__all__ = ["Places", "RecordedRun"]

#: by key, which numbers move, and how far: factors of the move
Places = Mapping[Key, tuple[NDArray[np.int64], NDArray[np.float64]]]


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
            self.samples = [RecordedSample(result, terms, b, mp) for b in range(result.n_samples)]
            self.recorded = [_Pass(sample, self, {}, None, mp.mpf(0)) for sample in self.samples]
            for sample, own in zip(self.samples, self.recorded, strict=True):
                sample.require_no_missed_spike(result)
                own.run()

    def change(self, places: Places, move: Any) -> tuple[Any, bool, Any]:
        """Change of the loss, to first order in times and potentials, after adding `move` to the numbers at `places`.

        Each number moves by its factor times `move`.

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
                terms, cancelled = own.changes()
                total, size = total + mp.fsum(terms), size + mp.fsum(terms + cancelled, absolute=True)
            return total, False, size


class _ChangedError(Exception):
    """The recorded spikes in the recorded order are not what happens."""


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
        self,
        sample: RecordedSample,
        run: RecordedRun,
        places: Places,
        recorded: _Pass | None,
        move: Any,
    ) -> None:
        self.sample, self.recorded, self.mp = sample, recorded, run.mp
        self.numbers = dict(run.numbers)
        n_external = len(sample.external)
        self.moved_neurons: set[int] = set()
        self.moved_synapses: set[tuple[int, int]] = set()
        self.moved_sources: set[int] = set()
        for key, (indices, factors) in places.items():
            column = self.numbers[key] = list(self.numbers[key])
            for index, factor in zip(indices.tolist(), factors.tolist(), strict=True):
                column[index] += move if factor == 1.0 else factor * move
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
            self.bends: list[Any] = [self.mp.mpf(0)] * len(sample.spikes)
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

    def changes(self) -> tuple[list[Any], list[Any]]:
        """The loss's derivatives times the changes against the recorded pass; and what cancels in those of slopes."""
        recorded, sample, n_external = self.recorded, self.sample, len(self.sample.external)
        assert recorded is not None
        pairs = zip(
            (*sample.d_spikes, *sample.d_slopes, *sample.d_probes),
            (*self.times[n_external:], *self.slopes, *self.potentials),
            (*recorded.times[n_external:], *recorded.slopes, *recorded.potentials),
            strict=True,
        )
        terms = [d * (new - old) for d, new, old in pairs if d and new is not old]
        moved = (
            d * rate * (self.times[n_external + e] - recorded.times[n_external + e])
            for e, (d, rate) in enumerate(zip(sample.d_slopes, recorded.bends, strict=True))
            if d
        )
        return terms, list(moved)

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
            if self.recorded is None:
                self.bends[number] = sum(abs(q) / numbers[name, "tau_syn", r][k] for r, q in enumerate(state.q))
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
        """A move has not brought v above threshold where no spike is on record, as far as events show."""
        if self.recorded is not None and state.left > 0:
            name, k = self.sample.neurons[n]
            if state.u > self.numbers[name, "v_threshold"][k] - self._v_inf(n):
                raise _ChangedError

    def _lost(self, n: int, what: str) -> None:
        """A spike is not found: an error as recorded, a change where something was moved."""
        if self.recorded is not None:
            raise _ChangedError
        self.sample.lost(n, what)
