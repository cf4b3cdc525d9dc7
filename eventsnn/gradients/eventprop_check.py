"""`check_eventprop`: the gradients of EventProp against central differences of the simulation, side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.gradients.check import GradientEntry, GradientReport, drawn, with_errors
from eventsnn.gradients.differences import CENTRAL, FLOAT64_STEP, ONE_SIDED
from eventsnn.gradients.eventprop_adjoint import eventprop
from eventsnn.gradients.eventprop_sums import EventPropGradients
from eventsnn.graph import Network, Population
from eventsnn.network import Sequential
from eventsnn.simulation.event_driven import simulate
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes

__all__ = ["check_eventprop"]

#: parameters that cannot be negative: at 0 the difference is one-sided
_NOT_NEGATIVE = ("delay", "t_refrac", "times")
#: what a loss returns behind its value
_DERIVATIVES = ("d_times", "d_v", "d_slopes", "d_neurons")


def check_eventprop(
    network: Sequential | Network,
    spikes: Mapping[str, Spikes] | Spikes,
    loss: Callable[[Result], tuple[Any, ...]],
    t_max: float = np.inf,
    *,
    parameters: Sequence[str] | None = None,
    n_entries: int | None = None,
    rng: int | np.random.Generator | None = None,
    step: float = FLOAT64_STEP,
    tolerance: float = 1e-5,
) -> GradientReport:
    """Compare `eventprop` with central differences of the loss, for a loss and a network of one's own.

    Parameters
    ----------
    network : with float64 weights; it is not changed
    spikes, t_max : as for `simulate`
    loss : takes the `Result` and returns (value, d_times) or, as far as it needs them, (value, d_times, d_v, d_slopes,
        d_neurons), all but the value as for `eventprop`
    parameters : names of the arrays to look at; default all. They are ``"pre->post.weight"`` and ``"pre->post.delay"``
        (see `Network.projection_names`), ``"population.tau_mem"``, ``"population.tau_syn"``, ... and ``"input.times"``.
        A delay or a neuron parameter that is shared is one entry.
    n_entries : look at so many entries of each array, drawn with `rng`; default all
    step : relative step of the differences
    tolerance : largest error, relative to the largest numeric entry of the array, with which the report passes

    Returns
    -------
    GradientReport

    Raises
    ------
    ValidationError
        Weights that are not float64, unknown parameters, entries to be drawn without a seed.

    Notes
    -----
    In float64: about six digits. An entry whose step changed how often some neuron fires does not count and is marked.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, LIF, Sequential, Spikes, check_eventprop
    >>> net = Sequential([Dense([[8.0], [5.0]]), LIF(tau_mem=2.0, tau_syn=1.0)])
    >>> drive = Spikes([0, 0], [0, 1], [0.1, 0.9], n_samples=1, n_neurons=2)
    >>> def sum_of_times(result):
    ...     times = result.spikes["output"].times
    ...     return times.sum(), {"output": np.ones(times.size)}
    >>> check_eventprop(net, drive, sum_of_times).passed
    True
    """
    graph = network.as_network() if isinstance(network, Sequential) else network
    if not isinstance(graph, Network):
        raise ValidationError(f"check_eventprop: expected a Sequential or a Network, got {type(network).__name__}")
    for name, weight in graph.parameters().items():
        if weight.dtype != np.float64:
            raise ValidationError(f"check_eventprop: {name} is {weight.dtype}; differences need float64 weights")
    number("check_eventprop.step", step, above=0)
    number("check_eventprop.tolerance", tolerance, above=0)
    if not callable(loss):
        raise ValidationError(f"check_eventprop.loss: must be a function of a Result, got {type(loss).__name__}")
    result = simulate(graph, spikes, t_max, progress=False)
    inputs = {name: result.spikes[name] for name in graph.inputs}
    outcome = loss(result)
    analytic = _by_name(graph, eventprop(result, **dict(zip(_DERIVATIVES, outcome[1:], strict=False))))
    names = list(analytic) if parameters is None else list(dict.fromkeys(parameters))
    for name in names:
        if name not in analytic:
            raise ValidationError(f"check_eventprop.parameters: no {name!r}{hint(name, analytic)}")
    generator = np.random.default_rng(rng) if rng is not None else None
    counts = {name: own.counts() for name, own in result.spikes.items()}
    entries: dict[str, list[GradientEntry]] = {}
    for name in names:
        values, moved = _values_of(graph, inputs, name)
        scale = float(np.abs(values).max(initial=0.0)) or _unit(graph, name)
        places = drawn("check_eventprop", name, np.argwhere(np.ones(values.shape)), n_entries, generator)
        found = []
        for index in places:
            h = step * scale
            one_sided = name.rpartition(".")[2] in _NOT_NEGATIVE and values[index] < h
            numeric, changed = 0.0, False
            for offset, coefficient in ONE_SIDED if one_sided else CENTRAL:
                array = values.copy()
                array[index] += offset * h
                other_network, other_inputs = moved(array)
                other = simulate(other_network, other_inputs, t_max, progress=False)
                numeric += coefficient * float(loss(other)[0])
                changed |= any((other.spikes[n].counts() != counts[n]).any() for n in counts)
            found.append(
                GradientEntry(name, index, float(analytic[name][index]), numeric / h, "float64", bool(changed))
            )
        entries[name] = with_errors(found)
    return GradientReport(entries, tolerance)


def _by_name(graph: Network, gradients: EventPropGradients) -> dict[str, NDArray[np.float64]]:
    """All derivatives, in the shapes of the values: a shared parameter's is the sum over the neurons."""
    found: dict[str, NDArray[np.float64]] = {}
    for k, name in enumerate(graph.projection_names):
        found[f"{name}.weight"] = gradients.weights[k]
        found[f"{name}.delay"] = gradients.delays[k]
    for name, own in gradients.neurons.items():
        neuron = graph.populations[name].neuron
        for parameter, values in own.items():
            columns = {parameter: values}
            if parameter == "tau_syn":
                columns = {
                    f"tau_syn[{receptor}]" if neuron.has_named_receptors else "tau_syn": values[:, r]
                    for r, receptor in enumerate(neuron.receptors)
                }
            for key, column in columns.items():
                shared = np.ndim(_parameter(neuron, key)) == 0
                found[f"{name}.{key}"] = column.sum() * np.ones(()) if shared else column
    for name, times in gradients.input_times.items():
        found[f"{name}.times"] = times
    return found


def _parameter(neuron: Any, key: str) -> Any:
    if key.startswith("tau_syn["):
        return neuron.tau_syn[key[len("tau_syn[") : -1]]
    return getattr(neuron, key)


def _values_of(graph: Network, inputs: dict[str, Spikes], name: str) -> tuple[NDArray[np.float64], Callable[..., Any]]:
    """The values of an array, and a function from other values to (network, inputs)."""
    owner, _, key = name.rpartition(".")
    if key in ("weight", "delay"):
        k = list(graph.projection_names).index(owner)

        def with_synapses(values: NDArray[np.float64]) -> Any:
            connection = copy.copy(graph.projections[k].connection)
            object.__setattr__(connection, key, values)
            projections = list(graph.projections)
            projections[k] = replace(projections[k], connection=connection)
            return Network(graph.inputs, graph.populations, tuple(projections)), inputs

        return np.array(getattr(graph.projections[k].connection, key), dtype=np.float64), with_synapses
    if key == "times":
        own = inputs[owner]

        def with_times(values: NDArray[np.float64]) -> Any:
            moved = Spikes(own.samples, own.neurons, values, n_samples=own.n_samples, n_neurons=own.n_neurons)
            return graph, inputs | {owner: moved}

        return own.times.copy(), with_times
    population = graph.populations[owner]

    def with_parameter(values: NDArray[np.float64]) -> Any:
        value: Any = values if values.ndim else float(values)
        field, neuron = key.partition("[")[0], population.neuron
        if field != key:
            value = dict(neuron.tau_syn) | {key[len("tau_syn[") : -1]: value}
        other = Population(replace(neuron, **{field: value}), population.n_neurons)  # type: ignore[type-var]
        return Network(graph.inputs, dict(graph.populations) | {owner: other}, graph.projections), inputs

    return np.array(_parameter(population.neuron, key), dtype=np.float64), with_parameter


def _unit(graph: Network, name: str) -> float:
    """A step's unit where all values are zero: a time constant for times, 1 for potentials and weights."""
    owner, _, key = name.rpartition(".")
    if key not in _NOT_NEGATIVE:
        return 1.0
    target = owner.partition("->")[2].partition("#")[0]
    populations = graph.populations
    population = populations.get(owner) or populations.get(target) or next(iter(populations.values()))
    return float(np.min(population.neuron.tau_mem))
