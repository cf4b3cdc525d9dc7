"""What is on record of a run: its numbers, and sample by sample what each neuron met, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import SimulationError
from eventsnn.gradients.eventprop_sums import VoltageGradient
from eventsnn.graph import Network
from eventsnn.kernels.eventprop_engine import ARRIVAL, PROBE, RELEASE, SPIKE
from eventsnn.neurons import LIF
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes

__all__ = ["AGREEMENT", "Key", "LossTerms", "RecordedSample", "parameter_table"]

#: How far a spike solved again may lie from its recorded time, relative to that time or to tau_mem; and how far above
#: threshold, relative to it and the reset, a neuron without a spike on record may be found: rounding.
AGREEMENT = 1e-9
#: potentials looked at between two events, in search of spikes that are not on record
N_LOOKS = 16

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


class RecordedSample:
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
            columns = [np.atleast_1d(c) for c in (probes.samples, probes.neurons, probes.times, probes.values)]
            for sample, neuron, time, value in zip(*columns, strict=True):
                if sample == b:
                    probe = (float(time), PROBE, len(self.d_probes), 0, 0)
                    items[self.first[name] + int(neuron)].append(probe)
                    self.probe_times.append(mp.mpf(float(time)))
                    self.d_probes.append(float(value))
        self.items = [sorted((i for i in own if i[0] <= self.t_max), key=lambda item: item[:2]) for own in items]
        #: where the spikes are among the items of their neurons
        self.place = {item[2]: i for own in self.items for i, item in enumerate(own) if item[1] == SPIKE}
        self.d_spikes, self.d_slopes = (
            [float(by[name][k]) if name in by else 0.0 for _, _, name, k in self.spikes]
            for by in (terms.times, terms.slopes)
        )
        self.receptor = [
            network.populations[p.target].neuron.receptors.index(p.receptor) if p.receptor else 0
            for p in network.projections
        ]

    def require_no_missed_spike(self, result: Result) -> None:
        """No potential of the record is above threshold, between the events either, as far as a sample of it shows."""
        for n, (name, k) in enumerate(self.neurons):
            population = self.network.populations[name]
            neuron = population.neuron
            if not isinstance(neuron, LIF):
                continue
            tau_mem, v_threshold, v_reset = (
                neuron.per_neuron(p, population.n_neurons)[k] for p in ("tau_mem", "v_threshold", "v_reset")
            )
            taus = [tau_mem, *(neuron.tau_syn_of(receptor, population.n_neurons)[k] for receptor in neuron.receptors)]
            ends = [0.0, *(item[0] for item in self.items[n])]
            ends.append(self.t_max if np.isfinite(self.t_max) else ends[-1] + 10.0 * max(taus))
            at = np.unique(np.linspace(ends[:-1], ends[1:], N_LOOKS, endpoint=False).T.ravel())
            if neuron.max_spikes is not None:
                own = [item[0] for item in self.items[n] if item[1] == SPIKE]
                at = at[at < own[-1]] if len(own) >= neuron.max_spikes else at
            above = result.v(name, at, self.number, [k])[:, 0] > v_threshold + AGREEMENT * (
                abs(v_threshold) + abs(v_reset)
            )
            if above.any():
                self.lost(n, f"v is above threshold at t = {at[above][0]:g}, without a spike on record")

    def lost(self, n: int, what: str) -> None:
        """The record does not hold."""
        name, k = self.neurons[n]
        raise SimulationError(
            f"check_eventprop: population {name!r}, neuron {k}, sample {self.number}: {what}. Where float64 has "
            "lost its digits (a long chaotic run, a grazing spike) take a shorter t_max, or precision='float64'"
        )


def _events(result: Result, name: str, b: int) -> range:
    offsets = result.spikes[name].offsets
    return range(int(offsets[b]), int(offsets[b + 1]))
