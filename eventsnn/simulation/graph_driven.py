"""`simulate` for networks of any graph: part by part, layer-wise where that is enough, else by the priority queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._synapses import real_array
from eventsnn.errors import SimulationError, ValidationError
from eventsnn.graph import Network
from eventsnn.kernels.queue_state import QueueState
from eventsnn.neurons import LIF, CurrentBased
from eventsnn.simulation.graph_layers import is_layer, run_layer
from eventsnn.simulation.parallel import BlockPool
from eventsnn.simulation.priority_queue import (
    QueuePart,
    build_part,
    copy_state,
    on_the_way,
    present_state,
    run_queue,
    start_state,
)
from eventsnn.simulation.progress import TimeBar
from eventsnn.simulation.result import Result, StartOfPopulation
from eventsnn.spikes import Spikes, concatenate


@dataclass(frozen=True)
class NetworkState:
    """Where a simulation stands at time t: give it to ``simulate(..., state=...)`` to go on.

    Everything is kept as the engine has it, so a run in parts gives the same bits as a run in one. It fits the network
    it came from, in memory; it is not meant to be stored.
    """

    network: Network
    t: float
    parts: tuple[QueuePart, ...]
    samples: tuple[tuple[QueueState, ...], ...]

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def v(self, name: str, sample: int = 0) -> NDArray[np.float64]:
        """Membrane potentials of a population, shape (n_neurons,)."""
        return self._start(name, sample).v

    def i_syn(self, name: str, sample: int = 0) -> NDArray[np.float64]:
        """Synaptic currents of a population, shape (n_neurons, n_receptors)."""
        return self._start(name, sample).i_syn

    def _start(self, name: str, sample: int) -> StartOfPopulation:
        if name not in self.network.populations:
            raise ValidationError(f"NetworkState: no population {name!r}; there are {list(self.network.populations)}")
        if not 0 <= sample < self.n_samples:
            raise ValidationError(f"NetworkState: sample must lie in 0 .. {self.n_samples - 1}, got {sample}")
        return _starts(self.network, self.parts, self.samples[sample], self.t)[name]


def simulate_network(
    network: Network,
    spikes: Mapping[str, Spikes] | Spikes | None,
    t_max: float,
    *,
    n_threads: int,
    engine: str,
    initial: Mapping[str, Mapping[str, ArrayLike]] | None,
    state: NetworkState | None,
    resumable: bool,
    max_events: int,
    progress: bool,
) -> Result:
    """See `simulate`."""
    if state is not None and not isinstance(state, NetworkState):
        raise ValidationError(f"simulate: state: must be a Result.state, got {type(state).__name__}")
    inputs = _checked_inputs(network, spikes, state)
    t_start = 0.0 if state is None else state.t
    if t_max < t_start:
        raise ValidationError(f"simulate: t_max is {t_max}, but the state given stands at {t_start}")
    n_samples = next(iter(inputs.values())).n_samples if inputs else (1 if state is None else state.n_samples)
    if state is not None:
        _require_state_fits(network, state, n_samples, initial, inputs)
    _require_drive(network, t_max, state, initial)
    components = [names for names in network.components() if network.populations[names[0]].can_spike]
    all_queued = resumable or state is not None or initial is not None or engine == "queue"
    layered = [not all_queued and is_layer(network, names) for names in components]
    if engine == "layers" and not all(layered):
        names = next(names for names, ok in zip(components, layered, strict=True) if not ok)
        raise ValidationError(
            f"simulate: engine='layers' cannot take {', '.join(names)}: it needs one population without loops, one "
            "receptor, Dense connections or a single Conv2d, no dendritic or synaptic delays, no initial state; use "
            "engine='auto'"
        )
    if state is not None:
        parts = state.parts
    else:
        parts = tuple(build_part(network, names) for names, ok in zip(components, layered, strict=True) if not ok)
    starts = None
    if state is not None:
        start_states = state.samples
        starts = [_starts(network, parts, own, t_start) for own in start_states]
    else:
        initial_states = tuple(_initial_state(network, part, initial) for part in parts)
        start_states = (initial_states,) * n_samples  # every run works on a copy
        if initial is not None:
            starts = [_starts(network, parts, initial_states, t_start)] * n_samples
    found = {name: inputs[name] for name in network.inputs}
    finals: list[list[QueueState]] = [[] for _ in range(n_samples)]
    stopped = None
    with BlockPool(n_threads) as pool, TimeBar(t_start, t_max, n_samples * len(parts), enabled=progress) as bar:
        k = 0
        for names, as_layer in zip(components, layered, strict=True):
            if as_layer:
                found[names[0]] = run_layer(network, names[0], found, t_max, n_samples, pool)
                continue
            part = parts[k]

            def work(b: int, k: int = k, part: QueuePart = part) -> Any:
                times, sources = _merge(part, found, b)
                return run_queue(
                    part, copy_state(start_states[b][k]), times, sources, t_max, max_events, bar.reporter()
                )

            outcomes = pool.map(work, range(n_samples))
            for name, first, n in part.populations:
                found[name] = concatenate([_spikes_of(o, first, n) for o in outcomes]) if outcomes else _none(n)
            for own, outcome in zip(finals, outcomes, strict=True):
                own.append(outcome.state)
            k += 1
            runaway = [b for b, outcome in enumerate(outcomes) if outcome.stopped]
            if runaway:
                stopped = (names, runaway[0], outcomes[runaway[0]])
                break
    kept = None
    if resumable and stopped is None:
        kept = NetworkState(network, t_max, parts, tuple(tuple(own) for own in finals))
    for name, population in network.populations.items():
        found.setdefault(name, _none(population.n_neurons, n_samples))
    ordered = {name: found[name] for name in network.sizes}
    given_v = frozenset(name for name, own in (initial or {}).items() if "v" in own)
    result = Result(network, ordered, t_max, t_start=t_start, start=starts, state=kept, given_v=given_v)
    if stopped is not None:
        names, b, outcome = stopped
        raise SimulationError(
            f"simulate: {', '.join(names)} reached max_events={max_events} in sample {b} at t = {outcome.times[-1]:g}; "
            "is the recurrent excitation too strong? The spikes so far are in this error's `result`; a larger "
            "max_events goes on",
            result=result,
        )
    return result


# -- checks ----------------------------------------------------------------------------------------------------


def _checked_inputs(
    network: Network, spikes: Mapping[str, Spikes] | Spikes | None, state: NetworkState | None
) -> dict[str, Spikes]:
    names = list(network.inputs)
    if isinstance(spikes, Spikes):
        if len(names) != 1:
            raise ValidationError(
                f"simulate: the network has {len(names)} inputs {names}; give spikes as a dict by name"
            )
        spikes = {names[0]: spikes}
    if spikes is not None and not isinstance(spikes, Mapping):
        raise ValidationError(f"spikes: expected Spikes, or a dict of them by input name, got {type(spikes).__name__}")
    given = dict(spikes or {})
    unknown = [name for name in given if name not in network.inputs]
    if unknown:
        raise ValidationError(f"simulate: no input {unknown[0]!r}; the network has {names}")
    sizes = {own.n_samples for own in given.values() if isinstance(own, Spikes)}
    n_samples = sizes.pop() if len(sizes) == 1 else (1 if state is None else state.n_samples)
    if sizes:
        counts = {name: own.n_samples for name, own in given.items()}
        raise ValidationError(f"simulate: inputs differ in their number of samples: {counts}")
    for name, own in given.items():
        if not isinstance(own, Spikes):
            raise ValidationError(f"simulate: input {name!r} must be Spikes, got {type(own).__name__}")
        if own.n_neurons != network.inputs[name]:
            raise ValidationError(
                f"simulate: input {name!r} has {network.inputs[name]} channels, the spikes are for {own.n_neurons}"
            )
    # an input that is not given is silent
    return {name: given.get(name, _none(n, n_samples)) for name, n in network.inputs.items()}


def _require_state_fits(
    network: Network, state: NetworkState, n_samples: int, initial: Any, inputs: dict[str, Spikes]
) -> None:
    if initial is not None:
        raise ValidationError("simulate: give either a state to go on from or an initial one, not both")
    if state.network is not network:
        raise ValidationError("simulate: the state belongs to another network; go on with the network it came from")
    if state.n_samples != n_samples:
        raise ValidationError(f"simulate: the state has {state.n_samples} samples, the inputs {n_samples}")
    for name, own in inputs.items():
        if own.n_events and own.times.min() <= state.t:
            raise ValidationError(
                f"simulate: input {name!r} has a spike at {own.times.min():g}, but the state stands at {state.t:g}; "
                "times are absolute, give only the spikes after it"
            )


def _require_drive(network: Network, t_max: float, state: NetworkState | None, initial: Any) -> None:
    for name, population in network.populations.items():
        require_end(name, population.neuron, t_max)
    if not network.is_driven and state is None and initial is None:
        raise ValidationError(
            "simulate: nothing drives this network: no projection comes from an input, and no neuron rests above "
            "threshold; add an input, a bias current or an initial state"
        )


def require_end(name: str, neuron: CurrentBased, t_max: float) -> None:
    """Raise if a population would fire for ever."""
    if np.isinf(t_max) and isinstance(neuron, LIF) and neuron.max_spikes is None and neuron.rests_above_threshold:
        raise ValidationError(
            f"simulate: population {name!r} rests above threshold and would fire for ever; give t_max"
        )


# -- the priority queue ----------------------------------------------------------------------------------------


def _merge(part: QueuePart, found: dict[str, Spikes], b: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The spikes of all outside sources in one sample, by time, then source."""
    times, sources = [np.empty(0)], [np.empty(0, np.int64)]
    for name, first, _ in part.sources:
        low, high = found[name].offsets[b], found[name].offsets[b + 1]
        times.append(found[name].times[low:high])
        sources.append(found[name].neurons[low:high] + first)
    t, source = np.concatenate(times), np.concatenate(sources)
    order = np.lexsort((source, t))
    return t[order], source[order]


def _spikes_of(outcome: Any, first: int, n: int) -> Spikes:
    mine = (outcome.neurons >= first) & (outcome.neurons < first + n)
    neurons, times = outcome.neurons[mine] - first, outcome.times[mine]
    return Spikes(np.zeros(neurons.size, np.int64), neurons, times, n_samples=1, n_neurons=n)


def _none(n_neurons: int, n_samples: int = 0) -> Spikes:
    return Spikes([], [], [], n_samples=n_samples, n_neurons=n_neurons)


def _initial_state(
    network: Network, part: QueuePart, initial: Mapping[str, Mapping[str, ArrayLike]] | None
) -> QueueState:
    """Rest, or what `initial` says: {population: {"v": ..., "i_syn": ...}}."""
    given: Mapping[str, Mapping[str, ArrayLike]] = {} if initial is None else initial
    _require_dict("initial", given)
    n_receptors = part.network.tau_syn.shape[1]
    u, i_syn = np.empty(part.network.theta.size), np.zeros((part.network.theta.size, n_receptors))
    unknown = [name for name in given if name not in network.populations]
    if unknown:
        raise ValidationError(f"simulate: initial: no population {unknown[0]!r}; there are {list(network.populations)}")
    for name, first, n in part.populations:
        _require_dict(f"initial[{name!r}]", given.get(name, {}))
        neuron, own = network.populations[name].neuron, dict(given.get(name, {}))
        v = _given_array(name, "v", own.pop("v", neuron.v_start(n)), (n,))
        above = np.flatnonzero(v >= neuron.per_neuron("v_threshold", n))
        if above.size:
            raise ValidationError(
                f"simulate: initial[{name!r}]['v']: neuron {above[0]} starts at {v[above[0]]:g}, not below its "
                "threshold; a spike is a crossing from below"
            )
        u[first : first + n] = v - neuron.per_neuron("v_leak", n) - neuron.per_neuron("i_bias", n)
        currents = own.pop("i_syn", 0.0)
        if isinstance(currents, Mapping):
            other = [r for r in currents if r not in neuron.receptors]
            if other:
                raise ValidationError(
                    f"simulate: initial[{name!r}]['i_syn']: no receptor {other[0]!r}; there are "
                    f"{list(neuron.receptors)}"
                )
            currents = np.column_stack(
                [_given_array(name, "i_syn", currents.get(r, 0.0), (n,)) for r in neuron.receptors]
            )
        shape = (n, len(neuron.receptors))
        i_syn[first : first + n, : shape[1]] = _given_array(name, "i_syn", currents, shape)
        if own:
            raise ValidationError(f"simulate: initial[{name!r}]: unknown {next(iter(own))!r}; there are 'v', 'i_syn'")
    return start_state(part.network, u, i_syn, 0.0)


def _require_dict(what: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValidationError(f"simulate: {what}: must be a dict, got {type(value).__name__}")


def _given_array(name: str, what: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A finite array that broadcasts to `shape`; one value per neuron may also be given for a single receptor."""
    array = real_array(f"simulate: initial[{name!r}][{what!r}]", value).astype(np.float64)
    if array.shape == shape[:1] and shape[1:] == (1,):
        array = array[:, None]
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise ValidationError(
            f"simulate: initial[{name!r}][{what!r}]: must be a number or of shape {shape}, got shape {array.shape}"
        ) from None
    if not np.isfinite(array).all():
        raise ValidationError(f"simulate: initial[{name!r}][{what!r}]: must be finite")
    return array


def _starts(
    network: Network, parts: tuple[QueuePart, ...], states: tuple[QueueState, ...], t: float
) -> dict[str, StartOfPopulation]:
    """What every population of a sample starts from at time t."""
    starts = {}
    for part, state in zip(parts, states, strict=True):
        u, i_syn, held_until = present_state(part, state, t)
        targets, times, receptors, weights = on_the_way(part, state)
        for name, first, n in part.populations:
            neuron, mine = network.populations[name].neuron, slice(first, first + n)
            here = np.flatnonzero((targets >= first) & (targets < first + n))
            here = here[np.lexsort((times[here], targets[here]))]
            starts[name] = StartOfPopulation(
                v=u[mine] + neuron.per_neuron("v_leak", n) + neuron.per_neuron("i_bias", n),
                i_syn=np.ascontiguousarray(i_syn[mine, : len(neuron.receptors)]),
                held_until=held_until[mine],
                targets=targets[here] - first,
                times=times[here],
                receptors=receptors[here],
                weights=weights[here],
            )
    return starts
