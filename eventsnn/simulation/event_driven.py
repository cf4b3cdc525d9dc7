"""`simulate`: exact simulation of chains and of networks of any graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn.clocked_neurons import StepNeuron
from eventsnn.errors import ValidationError
from eventsnn.graph import Network
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.gather import first_spikes
from eventsnn.network import Sequential
from eventsnn.simulation.delayed_layers import make_runners
from eventsnn.simulation.graph_driven import NetworkState, require_end, simulate_network
from eventsnn.simulation.layers import input_events
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes, concatenate

__all__ = ["first_spike_times", "simulate"]


def simulate(
    network: Sequential | Network,
    spikes: Spikes | Mapping[str, Spikes] | None = None,
    t_max: float = math.inf,
    *,
    n_threads: int = 1,
    engine: Literal["auto", "layers", "queue"] = "auto",
    initial: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    state: NetworkState | None = None,
    resumable: bool = False,
    max_events: int = 50_000_000,
    progress: bool = True,
) -> Result:
    """Simulate every sample of `spikes` exactly, from t = 0 to `t_max`.

    Parameters
    ----------
    network : Sequential or Network
    spikes : input spikes, in a dict by input name; of a network with one input the `Spikes` themselves. An input that
        is left out is silent; without any there is one sample.
    t_max : end of the simulation, in the unit of the spike times. Input and arrivals after it are ignored, spikes after
        it are not emitted; one at t_max itself is. `inf` (the default) runs until nothing can happen any more; neurons
        that fire for ever (rest above threshold) need a limit.
    n_threads : threads over samples; the result does not depend on it
    engine : "layers" takes populations without loops one after the other, all neurons of a layer together; "queue"
        takes events one by one in the order of their times, for any graph; "auto" (the default) chooses for each part
        of the network. Both are one model and agree to rounding.
    initial : {population: {"v": ..., "i_syn": ...}}, potentials (n_neurons,) and currents, one number, (n_neurons,
        n_receptors), or a dict by receptor. Default: `LIF.v_start`, no current.
    state : `Result.state` of an earlier run, to go on from; times are absolute
    resumable : keep `Result.state`. A run in parts gives the same bits as one in one piece with ``resumable=True``.
    max_events : safety stop, spikes in one sample of one part of the network
    progress : show a bar on standard error if it takes more than two seconds

    Returns
    -------
    Result with the spikes of every population and, in closed form, its membrane potentials.

    Raises
    ------
    ValidationError
        `spikes`, `initial` or `state` do not fit the network, `t_max` is negative or NaN, or infinite for a population
        that would fire for ever, or nothing drives the network.
    SimulationError
        A membrane potential stops being finite; or `max_events` was reached: the error's `result` has those so far.

    Notes
    -----
    Readouts (`LI`) have no spikes; their potentials are those of `Result.v`. `initial`, `state` and `resumable` do not
    cover networks with readouts.

    Exact up to rounding, in the dtype of the weights (the queue: float64). Simultaneous arrivals are added up before
    the threshold is tested, so opposite ones cancel exactly. Spikes of one instant are taken in the order of
    populations and neurons; over a projection without delay a spike arrives in the instant it is emitted, after it.

    Cost: per synaptic event two multiply-adds and a test, per spike one closed-form or Newton solution.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, LIF, Sequential, Spikes, simulate
    >>> net = Sequential([Dense(np.array([[3.0]])), LIF(tau_mem=1.0, tau_syn=1.0, max_spikes=1)])
    >>> result = simulate(net, Spikes([0], [0], [0.0], n_samples=1, n_neurons=1))
    >>> result.spikes["output"].times.round(6)
    array([0.619061])
    """
    if math.isnan(t_max) or t_max < 0:
        raise ValidationError(f"simulate: t_max must be >= 0, got {t_max}")
    if engine not in ("auto", "layers", "queue"):
        raise ValidationError(f"simulate: unknown engine {engine!r}; there are 'auto', 'layers' and 'queue'")
    if isinstance(max_events, bool) or not isinstance(max_events, int) or max_events < 1:
        raise ValidationError(f"simulate: max_events must be an integer >= 1, got {max_events!r}")
    require_continuous("simulate", network)
    if isinstance(network, Sequential):
        plain = engine != "queue" and initial is None and state is None and not resumable and network.is_layerwise
        if plain and isinstance(spikes, Spikes):
            return _simulate_chain(network, spikes, t_max, n_threads)
        if isinstance(spikes, Spikes):
            check_inputs(network, spikes)
            if network.bias_times:
                spikes = {"input": spikes, **bias_spikes(network, spikes.n_samples)}
    elif not isinstance(network, Network):
        raise ValidationError(f"simulate: expected a Sequential or a Network, got {type(network).__name__}")
    graph = network.as_network() if isinstance(network, Sequential) else network
    readouts = [name for name, population in graph.populations.items() if not population.can_spike]
    if readouts and (initial is not None or state is not None or resumable):
        raise ValidationError(
            f"simulate: initial, state and resumable do not cover readouts, whose state no engine keeps: {readouts}; "
            "leave them out, or simulate from t = 0 in one piece"
        )
    result = simulate_network(
        graph, spikes, t_max, n_threads=n_threads, engine=engine, initial=initial, state=state, resumable=resumable,
        max_events=max_events, progress=progress,
    )  # fmt: skip
    result.network = network
    return result


def _simulate_chain(network: Sequential, spikes: Spikes, t_max: float, n_threads: int) -> Result:
    """A chain without delays: a block of samples goes through all layers at once."""
    check_inputs(network, spikes)
    for layer in network.layers:
        require_end(layer.name, layer.neuron, t_max)
    blocks = sample_blocks(spikes.n_samples)
    source = input_events(spikes)

    def work(block: tuple[int, int]) -> list[Spikes]:
        events = slice_events(source, *block)
        parts = []
        for runner in make_runners(network, t_max):
            events = runner.forward(events, block[0])
            parts.append(
                Spikes._from_offsets(events.offsets.copy(), events.neurons.copy(), events.times.copy(), runner.n_post)
            )
        return parts

    with BlockPool(n_threads) as pool:
        outcomes = pool.map(work, blocks)
    found = {"input": spikes, **bias_spikes(network, spikes.n_samples)}
    for k, layer in enumerate(network.layers):
        if outcomes and layer.can_spike:
            found[layer.name] = concatenate(parts[k] for parts in outcomes)
        else:
            found[layer.name] = Spikes([], [], [], n_samples=spikes.n_samples, n_neurons=layer.n_neurons)
    return Result(network, found, t_max)


def bias_spikes(network: Sequential, n_samples: int) -> dict[str, Spikes]:
    """The spikes of a chain's `BiasSpikes`, by the names of the inputs that they are in `Sequential.as_network`."""
    return {name: Spikes.from_first_times(np.tile(times, (n_samples, 1))) for name, times in network.bias_times.items()}


def first_spike_times(network: Sequential, spikes: Spikes, pool: BlockPool) -> NDArray[np.float64]:
    """First spike times of the last population, (n_samples, n_outputs), inf where silent; keeps nothing else."""
    times = np.full((spikes.n_samples, network.n_outputs), np.inf)
    source = input_events(spikes)

    def work(block: tuple[int, int]) -> None:
        events = slice_events(source, *block)
        runners = make_runners(network)
        for runner in runners:
            events = runner.forward(events, block[0])
        if network.layers[-1].fires_once:
            times[slice(*block)] = runners[-1].record.time
        else:
            mine = times[slice(*block)]
            first_spikes(events, mine, np.zeros(mine.shape, np.int64))

    pool.map(work, sample_blocks(spikes.n_samples))
    return times


def require_continuous(where: str, network: Any) -> None:
    """Raise if a population of the network lives on a time grid."""
    parts = network.layers if isinstance(network, Sequential) else getattr(network, "populations", {}).values()
    for part in parts:
        if isinstance(part.neuron, StepNeuron):
            raise ValidationError(
                f"{where}: {part.neuron!r} lives on a time grid; use simulate_clocked, for gradients "
                "method='surrogate', for training Trainer(clock=...), or build the network with LIF and LI"
            )


def slice_events(source: InputEvents, start: int, stop: int) -> InputEvents:
    """The events of consecutive samples; no copy of the times."""
    low, high = source.offsets[start], source.offsets[stop]
    return InputEvents(
        np.ascontiguousarray(source.offsets[start : stop + 1] - low), source.neurons[low:high], source.times[low:high]
    )


def check_inputs(network: Sequential | Network, spikes: Spikes) -> None:
    """Raise unless `spikes` fit the network's only input."""
    if not isinstance(spikes, Spikes):
        raise ValidationError(f"spikes: expected Spikes, got {type(spikes).__name__}")
    n_inputs = network.n_inputs if isinstance(network, Sequential) else next(iter(network.inputs.values()))
    if spikes.n_neurons != n_inputs:
        raise ValidationError(f"spikes: n_neurons={spikes.n_neurons}, but the network has {n_inputs} input channels")
