"""Drive the priority-queue kernel over a part of a network, one sample at a time: arrays, growth, progress, errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import SimulationError
from eventsnn.graph import Network
from eventsnn.kernels.constants import NO_LIMIT, STATUS_BUFFER_FULL, STATUS_OK
from eventsnn.kernels.exponential_sum import scratch_size
from eventsnn.kernels.flow import decay_difference
from eventsnn.kernels.heap import EMITTED, SEGMENT
from eventsnn.kernels.queue_engine import queue_run
from eventsnn.kernels.queue_state import (
    N_COUNTS,
    N_ON_WAY,
    N_REALS,
    N_SYNAPTIC,
    N_WRITTEN,
    NEXT_INPUT,
    SEGMENT_END,
    SEGMENT_LAST,
    SEGMENT_START,
    WIDTH,
    WINDOW_END,
    WINDOW_START,
    QueueNetwork,
    QueueScratch,
    QueueState,
)
from eventsnn.kernels.queue_window import potentials

#: steps of the kernel between two looks at Ctrl-C and the progress bar: a fraction of a second
_STEPS_PER_CALL = 200_000
#: what a leaky integrator counts as: a neuron that never comes to threshold
_OF_READOUTS = {"v_threshold": np.inf, "v_reset": 0.0, "t_refrac": 0.0}
#: width of the first window in units of the shortest time constant; it adapts
_FIRST_WIDTH = 0.125


@dataclass(frozen=True)
class QueuePart:
    """A part of a network in the form the kernel takes.

    sources : (name, first source number, size) of every input and population that drives it from outside
    populations : (name, first neuron, size)
    order : (n_synapses,) where each synapse of the kernel lies among the `rows` of all projections, one after the other
    most_at_once : synapses that one spike reaches in one instant, at most; a neuron may be among them more than once
    """

    network: QueueNetwork
    sources: tuple[tuple[str, int, int], ...]
    populations: tuple[tuple[str, int, int], ...]
    order: NDArray[np.int64]
    most_at_once: int


def build_part(network: Network, names: tuple[str, ...]) -> QueuePart:
    """The populations `names` and everything that drives them."""
    populations, first = [], 0
    for name in names:
        n = network.populations[name].n_neurons
        populations.append((name, first, n))
        first += n
    n_neurons = first
    place = {name: start for name, start, _ in populations}
    projections = [p for p in network.projections if p.target in place]
    sizes = network.sizes
    sources, first = [], 0
    for name in dict.fromkeys(p.source for p in projections):
        if name not in place:
            sources.append((name, first, sizes[name]))
            first += sizes[name]
    source_place = {name: start for name, start, _ in sources}
    source_place |= {name: first + start for name, start, _ in populations}

    neurons = [(network.populations[name].neuron, n) for name, _, n in populations]
    n_receptors = max(len(neuron.receptors) for neuron, _ in neurons)
    tau_mem = np.concatenate([neuron.per_neuron("tau_mem", n) for neuron, n in neurons])
    tau_syn = np.ones((n_neurons, n_receptors))
    used = np.repeat([len(neuron.receptors) for neuron, _ in neurons], [n for _, n in neurons])
    for (neuron, n), (_, start, _) in zip(neurons, populations, strict=True):
        for r, receptor in enumerate(neuron.receptors):
            tau_syn[start : start + n, r] = neuron.tau_syn_of(receptor, n)
    both = np.column_stack([tau_mem, tau_syn, used])
    begins = np.concatenate(([True], (both[1:] != both[:-1]).any(axis=1)))
    group_start = np.concatenate((np.flatnonzero(begins), [n_neurons])).astype(np.int64)
    heads = group_start[:-1]

    def all_of(name: str) -> NDArray[np.float64]:
        values = []
        for neuron, n in neurons:
            known = name in neuron.parameter_names()
            values.append(neuron.per_neuron(name, n) if known else np.full(n, _OF_READOUTS[name]))
        return np.concatenate(values)

    v_inf = all_of("v_leak") + all_of("i_bias")
    group_of = np.cumsum(begins) - 1
    order, segments = _segments(
        [
            (
                source_place[p.source],
                place[p.target],
                _receptor_index(network, p.target, p.receptor),
                p.connection.rows(),
            )
            for p in projections
        ],
        group_of,
        first + n_neurons,
    )
    delta = np.array(
        [[decay_difference(tau_mem[h], tau_syn[h, r]) for r in range(n_receptors)] for h in heads], dtype=np.float64
    )
    compiled = QueueNetwork(
        group_start=group_start,
        group_of=group_of.astype(np.int64),
        n_receptors=used[heads].astype(np.int64),
        tau_mem=np.ascontiguousarray(tau_mem[heads]),
        tau_syn=np.ascontiguousarray(tau_syn[heads]),
        delta=delta,
        theta=all_of("v_threshold") - v_inf,
        reset=all_of("v_reset") - v_inf,
        t_refrac=all_of("t_refrac"),
        max_spikes=np.repeat(
            np.array([getattr(neuron, "max_spikes", None) or NO_LIMIT for neuron, _ in neurons], np.int64),
            [n for _, n in neurons],
        ),
        **segments,
        n_external=first,
    )
    return QueuePart(compiled, tuple(sources), tuple(populations), order, _most_at_once(compiled))


def _receptor_index(network: Network, target: str, receptor: str | None) -> int:
    return 0 if receptor is None else network.populations[target].neuron.receptors.index(receptor)


def _segments(synapses: list[Any], group_of: NDArray[np.int64], n_sources: int) -> Any:
    """Synapses ordered by source, delay, group, receptor and target, and where each run of equals begins.

    Returns where they were, and the entries of `QueueNetwork`.
    """
    parts = []
    for first_source, first_target, receptor, (indptr, indices, weights, delays) in synapses:
        source = np.repeat(np.arange(indptr.size - 1) + first_source, np.diff(indptr))
        target = indices.astype(np.int64) + first_target
        parts.append((source, delays.astype(np.float64), np.full(target.size, receptor), target, weights))
    if parts:
        source, delay, receptor, target, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    else:
        source = receptor = target = np.empty(0, np.int64)
        delay = weight = np.empty(0)
    order = np.lexsort((target, receptor, group_of[target], delay, source))
    source, delay, receptor, target = source[order], delay[order], receptor[order], target[order]
    group = group_of[target]
    new_source = np.diff(source, prepend=-1) != 0
    begins = new_source.copy()
    begins[1:] |= (np.diff(delay) != 0) | (np.diff(group) != 0) | (np.diff(receptor) != 0)
    heads = np.flatnonzero(begins)
    ends = np.append(heads[1:], source.size)[: heads.size]
    last = np.append(source[heads][1:] != source[heads][:-1], True)[: heads.size]
    place = np.column_stack([group[heads], receptor[heads], heads, ends, last]).astype(np.int64)
    return order, {
        "source_segments": np.searchsorted(source[heads], np.arange(n_sources + 1)).astype(np.int64),
        "segment_delay": np.ascontiguousarray(delay[heads], dtype=np.float64),
        "segment_place": np.ascontiguousarray(place.reshape(-1, 5)),
        "targets": np.ascontiguousarray(target, dtype=np.uint32),
        "weights": np.ascontiguousarray(weight[order], dtype=np.float64),
    }


def make_scratch(part: QueuePart) -> QueueScratch:
    """Work space for one run."""
    net = part.network
    n, (n_groups, n_receptors) = net.theta.size, net.tau_syn.shape
    return QueueScratch(
        push=np.zeros((n_groups, n_receptors)),
        at_end=np.zeros((n_groups, 1 + n_receptors)),
        bends=np.zeros((n_groups, 1 + n_receptors)),
        at_end_syn=np.zeros((n_groups, n_receptors)),
        now=np.full(n_groups, np.nan),
        at_now=np.zeros((n_groups, 1 + n_receptors)),
        mix=np.zeros(n_receptors),
        fade=np.zeros(n_receptors),
        crossing=np.empty(scratch_size(n_receptors)),
        todo=np.empty(max(n, part.most_at_once) + 1, np.int64),
        sums=np.zeros((n, n_receptors)),
        is_touched=np.zeros(n, np.uint8),
        touched=np.empty(n, np.int64),
    )


def _most_at_once(net: QueueNetwork) -> int:
    """See `QueuePart`."""
    if net.segment_delay.size == 0:
        return 0
    sizes = net.segment_place[:, SEGMENT_END] - net.segment_place[:, SEGMENT_START]
    goes_on = (net.segment_place[:-1, SEGMENT_LAST] == 0) & (np.diff(net.segment_delay) == 0)
    return int(np.bincount(np.cumsum(np.append(True, ~goes_on)), sizes).max())


def start_state(net: QueueNetwork, u: NDArray[np.float64], i_syn: NDArray[np.float64], t_start: float) -> QueueState:
    """A state at t_start with these potentials (v - v_inf, (N,)) and currents (N, K)."""
    n, n_receptors = net.theta.size, net.tau_syn.shape[1]
    state = QueueState(
        cells=np.column_stack([np.zeros(n), u, i_syn / net.tau_mem[net.group_of][:, None]]),
        off=np.zeros(n),
        held_until=np.full(n, -np.inf),
        n_spikes=np.zeros(n, np.int64),
        queue=np.empty(n, np.int64),
        place=np.full(n, -1, np.int64),
        key=np.zeros(n),
        stale=np.zeros(n, np.uint8),
        held=np.empty(n, np.int64),
        way_times=np.empty((2, 64)),
        way_items=np.empty((2, 64), np.int64),
        reals=np.zeros(N_REALS),
        counts=np.zeros(N_COUNTS, np.int64),
    )
    in_use = np.arange(n_receptors) < net.n_receptors[:, None]
    shortest = min(net.tau_mem.min(), net.tau_syn[in_use].min())
    state.reals[WINDOW_START] = state.reals[WINDOW_END] = t_start
    state.reals[WIDTH] = _FIRST_WIDTH * shortest
    return state


def copy_state(state: QueueState) -> QueueState:
    """A state of its own, so that the given one can be continued again."""
    return state._replace(**{name: array.copy() for name, array in state._asdict().items()})


def present_state(
    part: QueuePart, state: QueueState, t: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """v - v_inf (N,), currents (N, K) and the ends of refractory times (N,) at time t."""
    net = part.network
    u, i_syn = np.empty(net.theta.size), np.zeros((net.theta.size, net.tau_syn.shape[1]))
    potentials(net, state, t, u, i_syn)
    return u, i_syn, np.where(state.off > 0.0, state.held_until, -np.inf)


def on_the_way(
    part: QueuePart, state: QueueState
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Spikes that have not arrived yet: targets, times, receptors and weights of the synapses they are on."""
    net, found = part.network, []
    for k in range(int(state.counts[N_ON_WAY])):
        segment, emitted = int(state.way_items[SEGMENT, k]), state.way_times[EMITTED, k]
        while True:
            _, receptor, low, high, last = net.segment_place[segment]
            n = high - low
            arrival = np.full(n, emitted + net.segment_delay[segment])
            found.append((net.targets[low:high].astype(np.int64), arrival, np.full(n, receptor), net.weights[low:high]))
            if last:
                break
            segment += 1
    if not found:
        return np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0)
    targets, times, receptors, weights = (np.concatenate(column) for column in zip(*found, strict=True))
    return targets, times, receptors, weights


@dataclass
class QueueOutcome:
    """Spikes of a run in the order of (time, neuron), its final state, and whether `max_events` stopped it."""

    times: NDArray[np.float64]
    neurons: NDArray[np.int64]
    state: QueueState
    n_synaptic_events: int
    stopped: bool


def run_queue(
    part: QueuePart,
    state: QueueState,
    times: NDArray[np.float64],
    sources: NDArray[np.int64],
    t_max: float,
    max_events: int,
    report: Callable[[float, int], None] | None = None,
) -> QueueOutcome:
    """Continue `state` (changed in place, but for growing buffers) with these inputs, ordered by time, up to t_max.

    report : called as report(time reached, spikes so far) several times a second
    """
    net, scratch = part.network, make_scratch(part)
    state.counts[NEXT_INPUT] = state.counts[N_WRITTEN] = state.counts[N_SYNAPTIC] = 0
    out_times, out_neurons = np.empty(1024), np.empty(1024, np.int64)
    stopped = False
    while True:
        status = queue_run(
            net, state, scratch, times, sources, t_max, out_times[:max_events], out_neurons[:max_events],
            _STEPS_PER_CALL,
        )  # fmt: skip
        written = int(state.counts[N_WRITTEN])
        if status == STATUS_OK:
            break
        if status == STATUS_BUFFER_FULL:
            if written == min(out_times.size, max_events):
                if written == max_events:
                    stopped = True
                    break
                out_times = np.concatenate([out_times, np.empty_like(out_times)])
                out_neurons = np.concatenate([out_neurons, np.empty_like(out_neurons)])
            if state.counts[N_ON_WAY] + 3 > state.way_times.shape[1]:
                way_times = np.concatenate([state.way_times, np.empty_like(state.way_times)], axis=1)
                way_items = np.concatenate([state.way_items, np.empty_like(state.way_items)], axis=1)
                state = state._replace(way_times=way_times, way_items=way_items)
        if report is not None:
            report(min(state.reals[WINDOW_START], t_max), written)
    if report is not None and not stopped and np.isfinite(t_max):
        report(t_max, written)
    finite = np.isfinite(state.cells[:, 1:]).all(axis=1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        name, first, _ = next(p for p in reversed(part.populations) if p[1] <= bad)
        raise SimulationError(
            f"population {name!r}, neuron {bad - first}: the membrane potential is not finite; look for huge weights "
            "or time constants far too short"
        )
    return QueueOutcome(
        out_times[:written].copy(), out_neurons[:written].copy(), state, int(state.counts[N_SYNAPTIC]), stopped
    )
