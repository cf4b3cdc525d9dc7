"""EventProp: exact gradients of any loss on spike times and potentials, for every network that `simulate` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn._validation import number
from eventsnn.errors import SimulationError, ValidationError
from eventsnn.gradients.eventprop_sums import BlockSums, EventPropGradients, SampleGradient, VoltageGradient, collect
from eventsnn.kernels.eventprop_engine import ARRIVAL, KIND, NUMBER, PROBE, RELEASE, SEGMENT, SPIKE, adjoint_run
from eventsnn.kernels.eventprop_forward import I_SYN, EventRecord, P, V, add_neuron_parameters, forward_run
from eventsnn.kernels.queue_state import SEGMENT_END, SEGMENT_START
from eventsnn.kernels.traces import V_INF, V_START
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.simulation.priority_queue import QueuePart, build_part
from eventsnn.simulation.result import Result

__all__ = ["EventPropGradients", "VoltageGradient", "eventprop"]


def eventprop(
    result: Result,
    d_times: Mapping[str, Any] | None = None,
    d_v: Mapping[str, VoltageGradient] | None = None,
    *,
    d_slopes: Mapping[str, Any] | None = None,
    d_heights: Mapping[str, Any] | None = None,
    d_neurons: Mapping[str, Mapping[str, Any]] | None = None,
    min_slope: float = 0.0,
    neuron_parameters: bool = True,
    n_threads: int = 1,
) -> EventPropGradients:
    """Gradients of a loss with respect to every parameter, backwards over the spikes of a simulation.

    Parameters
    ----------
    result : of `simulate`, from t = 0 on
    d_times : by population, dL/dT of its spikes, (n_events,), in the order of ``result.spikes[name]``
    d_v : by population, dL/dv of the potentials that the loss looks at
    d_slopes : by population, in the form of d_times, dL/d(dv/dt) of the slope with which v comes to the threshold,
        just before each spike
    d_heights : by population, in the form of d_times, what is put in for dL/dv just before each spike at a fixed time;
        a surrogate, see Notes
    d_neurons : by population, then parameter, in the shapes of `EventPropGradients.neurons`: derivatives of the loss at
        fixed spikes and potentials, where it depends on parameters directly; they are added
    min_slope : least dv/dt at a spike, in units of |v_threshold - v_leak - i_bias|/tau_mem, in the factor 1/(dv/dt);
        bounds the gradients of nearly grazing spikes, which are counted. 0 leaves the exact gradient. The slopes that
        `d_slopes` is about stay what they are.
    neuron_parameters : also time constants, v_leak and i_bias, which take a few multiply-adds more per synaptic event
    n_threads : threads over blocks of samples; the result does not depend on it

    Returns
    -------
    EventPropGradients

    Raises
    ------
    ValidationError
        An unknown population, arrays of another shape, values that are not finite, a run that was continued from a
        state (what came before it is not on record).
    SimulationError
        A spike that the loss depends on grazes the threshold, so that 1/(dv/dt) is infinite; `min_slope` bounds it.

    Notes
    -----
    Wunderlich & Pehle 2021, doi 10.1038/s41598-021-91786-z. Exact while no spike appears or vanishes. Where an arrival
    meets the end of a refractory time the loss has a kink; the derivative is that of the side on which the refractory
    time ends first. Memory follows the number of events.

    v just before a spike is v_threshold, whatever the weights are, so no loss has a `d_heights`. It is the place where
    surrogates for spikes that appear and vanish come in, such as terms on firing rates (Nowotny et al. 2022,
    arXiv:2212.01232): it is added to dL/dv as the adjoint passes the spike, and reaches all that v at this time depends
    on, but not v_threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, LIF, Sequential, Spikes, eventprop, simulate
    >>> net = Sequential([Dense([[8.0]]), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    >>> result = simulate(net, Spikes([0], [0], [0.5], n_samples=1, n_neurons=1))
    >>> gradients = eventprop(result, {"output": [1.0]})
    >>> gradients.input_times["input"]  # the spike comes as much later as its input does
    array([1.])
    """
    if not isinstance(result, Result):
        raise ValidationError(f"eventprop: result: expected the Result of simulate, got {type(result).__name__}")
    min_slope = number("eventprop.min_slope", min_slope, at_least=0)
    network = result._graph
    starts = [own for of_sample in result._start or () for own in of_sample.values()]
    if result.t_start > 0.0 or any(own.times.size or (own.held_until > 0.0).any() for own in starts):
        raise ValidationError(
            f"eventprop: the simulation was continued at t = {result.t_start:g}, and what came before is not on "
            "record; simulate it in one run"
        )
    given = [
        _checked_by_spike(result, what, own)
        for what, own in (("d_times", d_times), ("d_slopes", d_slopes), ("d_heights", d_heights))
    ]
    probes = _checked_d_v(result, d_v)
    direct = _checked_d_neurons(result, d_neurons)
    part = build_part(network, tuple(network.populations))
    blocks = sample_blocks(result.n_samples)
    theta = np.where(np.isfinite(part.network.theta), np.abs(part.network.theta), 0.0)
    floor = min_slope * theta / part.network.tau_mem[part.network.group_of]
    at_rest = _cells_at_start(result, part, 0) if result._start is None else None

    def work(block: tuple[int, int]) -> BlockSums:
        net = part.network
        sums = BlockSums(
            np.zeros(net.weights.size), np.zeros(net.weights.size), np.zeros((3, net.theta.size)),
            np.zeros((net.theta.size, 2 + net.tau_syn.shape[1])),
        )  # fmt: skip
        for b in range(*block):
            cells = at_rest.copy() if at_rest is not None else _cells_at_start(result, part, b)
            sums.samples.append(_run_sample(result, part, b, given, probes, floor, cells, sums, neuron_parameters))
        return sums

    with BlockPool(n_threads) as pool:
        outcomes = pool.map(work, blocks)
    gradients = collect(result, network, part, outcomes, neuron_parameters)
    for name, own in direct.items():
        neurons = gradients.neurons[name]
        neurons.update({key: neurons[key] + values for key, values in own.items() if key in neurons})
    return gradients


# -- one sample ----------------------------------------------------------------------------------------------------


def _run_sample(
    result: Result, part: QueuePart, b: int, given: list[dict[str, NDArray[np.float64]]],
    probes: dict[str, VoltageGradient], floor: NDArray[np.float64], cells: NDArray[np.float64], sums: BlockSums,
    neuron_parameters: bool,
) -> SampleGradient:  # fmt: skip
    net = part.network
    n_sources = [result.spikes[name][b] for name, _, _ in part.sources]
    source_times = np.concatenate([own.times for own in n_sources]) if n_sources else np.empty(0)
    source = np.concatenate([own.neurons + first for own, (_, first, _) in zip(n_sources, part.sources, strict=True)] or
                            [np.empty(0, np.int64)])  # fmt: skip
    own = [result.spikes[name][b] for name, _, _ in part.populations]
    spike_times = np.concatenate([s.times for s in own])
    spike_neurons = np.concatenate([s.neurons + first for s, (_, first, _) in zip(own, part.populations, strict=True)])
    d_loss, d_slopes, d_heights = (
        np.concatenate([by[name][slice(*result.spikes[name].offsets[b : b + 2])] for name, _, _ in part.populations])
        for by in given
    )
    d_times = np.concatenate([np.zeros(source_times.size), d_loss])
    probe_neurons, probe_times, probe_values, probe_motion = _probes_of(part, probes, b)
    times, items = _items(
        net, np.concatenate((source_times, spike_times)), np.concatenate((source, net.n_external + spike_neurons)),
        source_times.size, spike_times + net.t_refrac[spike_neurons], probe_times, result.t_max,
    )  # fmt: skip
    for k in np.flatnonzero(probe_motion):
        e, synapse = _arrival_at(part, times, items, probe_times[k], int(probe_neurons[k]), b)
        d_times[e] += probe_motion[k]
        sums.delays[synapse] += probe_motion[k]
    n_neurons, n_receptors = net.theta.size, net.tau_syn.shape[1]
    n_columns = 2 + 2 * n_receptors if neuron_parameters else 0
    before, fading, after = np.zeros((3, spike_times.size))
    record = EventRecord(
        before, fading, after, np.zeros(n_neurons + probe_times.size, np.uint8),
        np.zeros((spike_times.size, n_columns)), np.zeros((probe_times.size, n_columns)),
    )  # fmt: skip
    factors = np.zeros((net.tau_mem.size, n_receptors, 4))
    forward_run(net, times, items, spike_neurons, probe_neurons, cells, factors, 0.0, record)
    adjoint = np.zeros((n_neurons, 1 + n_receptors))
    n_raised = adjoint_run(
        net, times, items, spike_neurons, probe_neurons, probe_values, record, floor, 0.0, adjoint, d_times, d_slopes,
        d_heights, sums.weights, sums.delays, sums.sums,
    )  # fmt: skip
    d_spikes = d_times[source_times.size :]
    if not np.isfinite(d_times).all() or not np.isfinite(adjoint).all():
        grazing = np.flatnonzero((before <= 0.0) & (d_spikes != 0.0))
        e = grazing[0] if grazing.size else 0
        name, n = _name_of(part, int(spike_neurons[e]) if spike_neurons.size else 0)
        raise SimulationError(
            f"eventprop: population {name!r}, neuron {n}, sample {b}: the spike at t = {spike_times[e]:g} grazes the "
            "threshold, so its gradient is infinite; min_slope > 0 bounds it and counts such spikes"
        )
    if neuron_parameters:
        add_neuron_parameters(
            net, spike_neurons, probe_neurons, probe_values, record, d_slopes, d_heights, sums.neurons
        )  # fmt: skip
    return SampleGradient(d_times[: source_times.size], d_spikes, adjoint, int(n_raised))


def _items(
    net: Any, times: NDArray[np.float64], sources: NDArray[np.int64], n_external: int, releases: NDArray[np.float64],
    probe_times: NDArray[np.float64], t_max: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:  # fmt: skip
    """Everything that happens in a sample, in order: spikes, releases, probes, arrivals; see `eventprop_engine`."""
    counts = np.diff(net.source_segments)[sources]
    number = np.repeat(np.arange(times.size), counts)
    segment = np.arange(counts.sum()) + np.repeat(net.source_segments[sources] - np.cumsum(counts) + counts, counts)
    own = np.arange(times.size - n_external)
    at = np.concatenate((times[n_external:], releases, probe_times, times[number] + net.segment_delay[segment]))
    sizes = (own.size, own.size, probe_times.size, segment.size)
    kind = np.repeat([SPIKE, RELEASE, PROBE, ARRIVAL], sizes)
    numbers = np.concatenate((own, own, np.arange(probe_times.size), number))
    segments = np.concatenate((np.zeros(sum(sizes[:3]), np.int64), segment))
    order = np.lexsort((kind, at))
    order = order[at[order] <= t_max]
    return at[order], np.ascontiguousarray(np.stack((kind[order], numbers[order], segments[order])))


def _probes_of(part: QueuePart, probes: dict[str, VoltageGradient], b: int) -> Any:
    """Neurons (of the whole network), times, dL/dv and dL/d(time) of one sample."""
    neurons, times, values, motion = [np.empty(0, np.int64)], [np.empty(0)], [np.empty(0)], [np.empty(0)]
    for name, first, _ in part.populations:
        if name in probes:
            own = probes[name]
            mine = own.samples == b
            neurons.append(own.neurons[mine] + first)
            times.append(own.times[mine])
            values.append(own.values[mine])
            motion.append(own.values[mine] * own.slopes[mine])  # type: ignore[index]  # checked: an array
    return tuple(np.concatenate(column) for column in (neurons, times, values, motion))


def _arrival_at(
    part: QueuePart, times: NDArray[np.float64], items: NDArray[np.int64], t: float, neuron: int, b: int
) -> tuple[int, int]:
    """Number of the spike and synapse of what arrives at a neuron at t; of several the most inhibitory."""
    net, found = part.network, []
    for k in range(*np.searchsorted(times, [t, np.nextafter(t, np.inf)])):
        if items[KIND, k] == ARRIVAL:
            low, high = net.segment_place[items[SEGMENT, k], [SEGMENT_START, SEGMENT_END]]
            mine = low + np.flatnonzero(net.targets[low:high] == neuron)
            found += [(float(net.weights[j]), int(items[NUMBER, k]), int(j)) for j in mine]
    if not found:
        name, n = _name_of(part, neuron)
        raise ValidationError(
            f"eventprop: d_v[{name!r}].slopes: nothing arrives at neuron {n} in sample {b} at t = {t:.17g}; where the "
            "time is fixed the slope must be 0"
        )
    return min(found)[1:]


def _cells_at_start(result: Result, part: QueuePart, b: int) -> NDArray[np.float64]:
    """All neurons at t = 0 in the form of `forward_run`."""
    net = part.network
    cells = np.zeros((net.theta.size, 3 + 3 * net.tau_syn.shape[1]))
    cells[:, V] = 1.0
    for name, first, n in part.populations:
        parameters, _, i_syn = result._neuron_columns(name, b)
        mine = slice(first, first + n)
        cells[mine, P] = parameters[:, V_START] - parameters[:, V_INF]
        cells[mine, I_SYN : I_SYN + 3 * i_syn.shape[1] : 3] = i_syn
    return cells


def _name_of(part: QueuePart, neuron: int) -> tuple[str, int]:
    for name, first, n in part.populations:
        if first <= neuron < first + n:
            return name, neuron - first
    raise AssertionError(neuron)


# -- checks ----------------------------------------------------------------------------------------------------------


def _checked_by_spike(result: Result, what: str, given: Mapping[str, Any] | None) -> dict[str, NDArray[np.float64]]:
    found = {name: np.zeros(result.spikes[name].n_events) for name in result._graph.populations}
    for name, values in _checked_dict(what, given).items():
        _require_population(result, what, name)
        array = np.asarray(values, dtype=np.float64)
        if array.shape != found[name].shape:
            raise ValidationError(
                f"eventprop: {what}[{name!r}]: {name!r} has {found[name].size} spikes, so the shape must be "
                f"{found[name].shape}, got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValidationError(f"eventprop: {what}[{name!r}]: must be finite")
        found[name] = array
    return found


def _checked_d_v(result: Result, d_v: Mapping[str, VoltageGradient] | None) -> dict[str, VoltageGradient]:
    found = {}
    for name, own in _checked_dict("d_v", d_v).items():
        _require_population(result, "d_v", name)
        if not isinstance(own, VoltageGradient):
            raise ValidationError(f"eventprop: d_v[{name!r}]: must be a VoltageGradient, got {type(own).__name__}")
        slopes = np.zeros(np.shape(own.values)) if own.slopes is None else own.slopes
        columns = [np.atleast_1d(np.asarray(c)) for c in (own.samples, own.neurons, own.times, own.values, slopes)]
        if len({c.shape for c in columns}) != 1 or columns[0].ndim != 1:
            raise ValidationError(
                f"eventprop: d_v[{name!r}]: samples, neurons, times, values and slopes must be of one length, got "
                f"shapes {[c.shape for c in columns]}"
            )
        samples, neurons = columns[0].astype(np.int64), columns[1].astype(np.int64)
        times, values, slopes = (c.astype(np.float64) for c in columns[2:])
        n = result._graph.populations[name].n_neurons
        for what, index, size in (("samples", samples, result.n_samples), ("neurons", neurons, n)):
            if index.size and (index.min() < 0 or index.max() >= size):
                raise ValidationError(f"eventprop: d_v[{name!r}].{what}: must lie in 0 .. {size - 1}")
        if not all(np.isfinite(c).all() for c in (times, values, slopes)):
            raise ValidationError(f"eventprop: d_v[{name!r}]: times, values and slopes must be finite")
        if times.size and (times.min() < 0.0 or times.max() > result.t_max):
            raise ValidationError(f"eventprop: d_v[{name!r}].times: must lie in 0 .. t_max = {result.t_max:g}")
        found[name] = VoltageGradient(samples, neurons, times, values, slopes)
    return found


def _checked_d_neurons(
    result: Result, d_neurons: Mapping[str, Mapping[str, Any]] | None
) -> dict[str, dict[str, NDArray[np.float64]]]:
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, own in _checked_dict("d_neurons", d_neurons).items():
        _require_population(result, "d_neurons", name)
        population, found[name] = result._graph.populations[name], {}
        known = population.neuron.parameter_names()
        for key, values in _checked_dict(f"d_neurons[{name!r}]", own).items():
            if key not in known:
                raise ValidationError(f"eventprop: d_neurons[{name!r}]: no parameter {key!r}{hint(key, known)}")
            array, n = np.asarray(values, dtype=np.float64), population.n_neurons
            shape = (n, len(population.neuron.receptors)) if key == "tau_syn" else (n,)
            if array.shape != shape or not np.isfinite(array).all():
                raise ValidationError(
                    f"eventprop: d_neurons[{name!r}][{key!r}]: must be finite and of shape {shape}, got {array.shape}"
                )
            found[name][key] = array
    return found


def _checked_dict(what: str, given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise ValidationError(f"eventprop: {what}: must be a dict by population, got {type(given).__name__}")
    return given or {}


def _require_population(result: Result, what: str, name: str) -> None:
    if name not in result._graph.populations:
        raise ValidationError(
            f"eventprop: {what}: no population {name!r}{hint(name, result._graph.populations)}; "
            f"there are {list(result._graph.populations)}"
        )
