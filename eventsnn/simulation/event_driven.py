"""`simulate`: exact simulation of a network, layer by layer over sorted events."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import ValidationError
from eventsnn.kernels.constants import InputEvents
from eventsnn.network import Sequential
from eventsnn.simulation.layers import input_events, make_runners
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes, concatenate

__all__ = ["first_spike_times", "simulate"]


def simulate(network: Sequential, spikes: Spikes, t_max: float = math.inf, *, n_threads: int = 1) -> Result:
    """Simulate every sample of `spikes` exactly, from rest at t = 0 to `t_max`.

    Parameters
    ----------
    network : Sequential
    spikes : Spikes with n_neurons = network.n_inputs
    t_max : end of the simulation; input after it is ignored, spikes after it are not emitted. `inf` (the default)
        runs until nothing can happen any more; neurons that fire for ever (rest above threshold) then need a limit.
    n_threads : threads over blocks of samples; the result does not depend on it

    Returns
    -------
    Result with the spikes of every population and, in closed form, its membrane potentials.

    Raises
    ------
    ValidationError
        `spikes` do not fit the network, `t_max` is negative or NaN, or `t_max` is infinite for a population that would
        fire for ever.
    SimulationError
        A membrane potential stops being finite.

    Notes
    -----
    Exact up to rounding, in the dtype of the weights. Cost: two multiply-adds and a threshold test per synaptic event,
    and one closed-form solution per spike.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, LIF, Sequential, Spikes, simulate
    >>> net = Sequential([Dense(np.array([[3.0]])), LIF(tau_mem=1.0, tau_syn=1.0, max_spikes=1)])
    >>> result = simulate(net, Spikes([0], [0], [0.0], n_samples=1, n_neurons=1))
    >>> result.spikes["output"].times.round(6)
    array([0.619061])
    """
    check_inputs(network, spikes)
    if math.isnan(t_max) or t_max < 0:
        raise ValidationError(f"simulate: t_max must be >= 0, got {t_max}")
    for layer in network.layers:
        neuron = layer.neuron
        drive = np.asarray(neuron.v_leak) + np.asarray(neuron.i_bias) - np.asarray(neuron.v_threshold)
        if math.isinf(t_max) and neuron.max_spikes is None and np.any(drive > 0):
            raise ValidationError(
                f"simulate: population {layer.name!r} rests above threshold and would fire for ever; give t_max"
            )
    blocks = sample_blocks(spikes.n_samples)
    source = input_events(spikes)

    def work(block: tuple[int, int]) -> list[Spikes]:
        events = _slice(source, *block)
        parts = []
        for runner in make_runners(network, t_max):
            events = runner.forward(events, block[0])
            samples = np.repeat(np.arange(block[1] - block[0]), np.diff(events.offsets))
            parts.append(
                Spikes._from_canonical(
                    samples, events.neurons.copy(), events.times.copy(), block[1] - block[0], runner.n_post
                )
            )
        return parts

    with BlockPool(n_threads) as pool:
        outcomes = pool.map(work, blocks)
    found = {"input": spikes}
    for k, layer in enumerate(network.layers):
        if outcomes:
            found[layer.name] = concatenate(parts[k] for parts in outcomes)
        else:
            found[layer.name] = Spikes([], [], [], n_samples=0, n_neurons=layer.n_neurons)
    return Result(network, found, t_max)


def first_spike_times(network: Sequential, spikes: Spikes, pool: BlockPool) -> NDArray[np.float64]:
    """First spike times of the last population, (n_samples, n_outputs), inf where silent; keeps nothing else."""
    times = np.full((spikes.n_samples, network.n_outputs), np.inf)
    source = input_events(spikes)

    def work(block: tuple[int, int]) -> None:
        events = _slice(source, *block)
        runners = make_runners(network)
        for runner in runners:
            events = runner.forward(events, block[0])
        if network.layers[-1].neuron.max_spikes == 1:
            times[slice(*block)] = runners[-1].record.time
        else:
            for b in range(block[1] - block[0]):
                mine = slice(events.offsets[b], events.offsets[b + 1])
                # canonical order: written from late to early, the first spike stays
                times[block[0] + b, events.neurons[mine][::-1]] = events.times[mine][::-1]

    pool.map(work, sample_blocks(spikes.n_samples))
    return times


def _slice(source: InputEvents, start: int, stop: int) -> InputEvents:
    """The events of consecutive samples; no copy of the times."""
    low, high = source.offsets[start], source.offsets[stop]
    return InputEvents(
        np.ascontiguousarray(source.offsets[start : stop + 1] - low), source.neurons[low:high], source.times[low:high]
    )


def check_inputs(network: Sequential, spikes: Spikes) -> None:
    """Raise unless `spikes` fit the network's input."""
    if not isinstance(spikes, Spikes):
        raise ValidationError(f"spikes: expected Spikes, got {type(spikes).__name__}")
    if spikes.n_neurons != network.n_inputs:
        raise ValidationError(
            f"spikes: n_neurons={spikes.n_neurons}, but the network has {network.n_inputs} input channels"
        )
