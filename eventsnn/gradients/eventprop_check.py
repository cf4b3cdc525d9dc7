"""`check_eventprop`: the gradients of EventProp against central differences, both numbers side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._names import hint
from eventsnn._validation import number
from eventsnn.errors import ValidationError
from eventsnn.gradients.check import GradientEntry, GradientReport, check_precision, drawn, with_errors
from eventsnn.gradients.differences import FLOAT64_TOLERANCE
from eventsnn.gradients.eventprop_adjoint import eventprop
from eventsnn.gradients.eventprop_differences import (
    INITIAL,
    NOT_NEGATIVE,
    MovedArray,
    RunDifference,
    SimulatedDifference,
    SolvedDifference,
)
from eventsnn.gradients.eventprop_sums import EventPropGradients
from eventsnn.gradients.loss_check import Loss, check_loss
from eventsnn.gradients.recorded_events import LossTerms
from eventsnn.graph import Network
from eventsnn.network import Sequential
from eventsnn.simulation.event_driven import simulate
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes

__all__ = ["check_eventprop", "moved_array"]

Initial = Mapping[str, Mapping[str, ArrayLike]]

#: what a loss returns behind its value
_DERIVATIVES = ("d_times", "d_v", "d_slopes", "d_neurons")
#: precision "auto" computes everything in high precision up to so many events to be computed (a few seconds)
SMALL = 60_000
#: tolerance in high precision where none is given: of a gradient in float64
HIGH_TOLERANCE = 1e-9


def check_eventprop(
    network: Sequential | Network,
    spikes: Mapping[str, Spikes] | Spikes,
    loss: Loss,
    t_max: float = np.inf,
    *,
    parameters: Sequence[str] | None = None,
    n_entries: int | None = None,
    initial: Initial | None = None,
    precision: Literal["auto", "float64", "high"] = "auto",
    digits: int = 40,
    rng: int | np.random.Generator | None = None,
    step: float | None = None,
    tolerance: float | None = None,
) -> GradientReport:
    """Compare `eventprop` with central differences, for a loss and a network of one's own.

    Parameters
    ----------
    network : with float64 weights; it is not changed
    spikes, t_max, initial : as for `simulate`
    loss : takes the `Result` and returns (value, d_times) or, as far as it needs them, (value, d_times, d_v, d_slopes,
        d_neurons), all but the value as for `eventprop`
    parameters : names of the arrays to look at; default all. They are ``"pre->post.weight"`` and ``"pre->post.delay"``
        (see `Network.projection_names`), ``"population.tau_mem"``, ``"population.tau_syn"``, ..., ``"input.times"``;
        ``"population.initial_v"`` and ``"population.initial_i_syn"`` where `initial` gives them. A delay or a neuron
        parameter that is shared is one entry.
    n_entries : look at so many entries of each array, drawn with `rng`; default all
    precision : "float64" simulates with the parameter moved and takes the difference of the loss; "high" solves the
        recorded spikes again in `digits` decimal digits (mpmath) and takes differences of their times and of the
        potentials that the loss looks at. "auto" takes "high" for small problems and, in larger ones, where float64
        and the analytic value differ by more than `tolerance`; a loss with d_neurons or `VoltageGradient.slopes` is
        compared in float64.
    digits : decimal digits of "high", >= 20
    rng : seed or generator; needed when entries are drawn
    step : of the differences, relative to the largest value of the array; default 6e-6 in float64 and 10^(-3/8 digits)
        in high precision, both the best compromise of rounding and truncation
    tolerance : largest error, relative to the largest numeric entry of the array, with which the report passes; default
        1e-5 for entries in float64 and 1e-9 for those in high precision

    Returns
    -------
    GradientReport

    Raises
    ------
    ValidationError
        Weights that are not float64, unknown parameters, an unknown precision, a number out of range, entries to be
        drawn without a seed.
    SimulationError
        In high precision a spike does not lie where it was recorded: float64 has lost its digits (a long chaotic run),
        or it grazes the threshold; or a potential is above threshold without a spike.

    Notes
    -----
    "float64" has about six digits, and sees everything: the loss, its derivatives, the simulation. An entry whose step
    changed how often some neuron fires does not count and is marked.

    "high" has the digits of the gradient itself and more. It sums the loss's own derivatives times the differences of
    spike times and potentials, so the loss needs no version for mpmath; what the loss gives as its derivatives is
    compared by itself, in float64, as ``loss.d_times[name]`` and ``loss.d_v[name]`` in `GradientReport.loss_entries`,
    with a tolerance not below 1e-5. There potentials count that the loss asks `Result.v` for, at the times that d_v
    names. An entry does not count and is marked whose step changed the order of what a neuron meets (arrivals, its
    spikes, the ends of its refractory times, potentials the loss looks at), or took away or added a spike. A spike that
    the simulation missed is noticed where v is above threshold at one of sixteen times between two events of a neuron.

    Cost: two simulations per entry, or two passes over the events, from the first on that the entry reaches, about a
    tenth of a millisecond for each.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense, LIF, Sequential, Spikes, check_eventprop
    >>> net = Sequential([Dense([[8.0], [5.0]]), LIF(tau_mem=2.0, tau_syn=1.0)])
    >>> drive = Spikes([0, 0], [0, 1], [0.1, 0.9], n_samples=1, n_neurons=2)
    >>> def sum_of_times(result):
    ...     times = result.spikes["output"].times
    ...     return times.sum(), {"output": np.ones(times.size)}
    >>> report = check_eventprop(net, drive, sum_of_times)
    >>> report.passed, report.entries["input->output.weight"][0].error < 1e-12
    (True, True)
    """
    graph = _checked_network(network)
    check_precision("check_eventprop", precision, digits, n_entries)
    for what, value in (("step", step), ("tolerance", tolerance)):
        if value is not None:
            number(f"check_eventprop.{what}", value, above=0)
    if not callable(loss):
        raise ValidationError(f"check_eventprop.loss: must be a function of a Result, got {type(loss).__name__}")
    result = simulate(graph, spikes, t_max, initial=initial, progress=False)
    given = _derivatives(loss(result))
    analytic = _by_name(graph, eventprop(result, **given), initial or {})
    names = list(analytic) if parameters is None else list(dict.fromkeys(parameters))
    for name in names:
        if name not in analytic:
            raise ValidationError(f"check_eventprop.parameters: no {name!r}{hint(name, analytic)}")
    generator = np.random.default_rng(rng) if rng is not None else None
    places = {
        name: drawn("check_eventprop", name, np.argwhere(np.ones(analytic[name].shape)), n_entries, generator)
        for name in names
    }

    def compared(how: RunDifference, chosen: Mapping[str, Sequence[Any]]) -> dict[str, list[GradientEntry]]:
        entries = {}
        for name, indices in chosen.items():
            array = moved_array(result, initial, name)
            entries[name] = [how.entry(array, at, float(analytic[name][at]), step) for at in indices]
        return entries

    terms, limit = _terms(given), tolerance or FLOAT64_TOLERANCE
    if precision != "float64" and not _is_solvable(given):
        if precision == "high":
            raise ValidationError(
                "check_eventprop.precision: 'high' is for losses without d_neurons and VoltageGradient.slopes; use "
                "'float64'"
            )
        precision = "float64"
    n_high = sum(len(indices) for indices in places.values())
    if precision == "high" or (precision == "auto" and 2 * n_high * _n_events(result) <= SMALL):
        entries = compared(SolvedDifference(result, terms, digits), places)
    else:
        entries, n_high = compared(SimulatedDifference(result, loss), places), 0
        if precision == "auto":
            coarse = {
                name: [k for k, e in enumerate(with_errors(own)) if e.changed or not e.error <= limit]
                for name, own in entries.items()
            }
            n_high = sum(len(own) for own in coarse.values())
            if n_high:
                chosen = {name: [places[name][k] for k in own] for name, own in coarse.items()}
                for name, finer in compared(SolvedDifference(result, terms, digits), chosen).items():
                    for k, entry in zip(coarse[name], finer, strict=True):
                        entries[name][k] = entry
    return GradientReport(
        {name: with_errors(own) for name, own in entries.items()},
        tolerance or (HIGH_TOLERANCE if n_high else FLOAT64_TOLERANCE),
        float64_tolerance=max(limit, FLOAT64_TOLERANCE) if n_high else None,
        loss_entries=check_loss(result, loss, terms, n_entries, generator) if n_high else {},
    )


def _checked_network(network: Any) -> Network:
    graph = network.as_network() if isinstance(network, Sequential) else network
    if not isinstance(graph, Network):
        raise ValidationError(f"check_eventprop: expected a Sequential or a Network, got {type(network).__name__}")
    for name, weight in graph.parameters().items():
        if weight.dtype != np.float64:
            raise ValidationError(f"check_eventprop: {name} is {weight.dtype}; differences need float64 weights")
    return graph


def _derivatives(outcome: Any) -> dict[str, Any]:
    """What a loss returns behind its value, by name."""
    is_sequence = isinstance(outcome, (tuple, list))
    if not is_sequence or not 2 <= len(outcome) <= 1 + len(_DERIVATIVES):
        got = f"{len(outcome)} items" if is_sequence else type(outcome).__name__
        raise ValidationError(
            "check_eventprop.loss: must return (value, d_times) or, behind them, d_v, d_slopes and d_neurons, "
            f"got {got}"
        )
    return dict(zip(_DERIVATIVES, outcome[1:], strict=False))


def _terms(given: Mapping[str, Any]) -> LossTerms:
    """What `eventprop` has accepted, as arrays."""
    times, slopes = (
        {name: np.asarray(own, dtype=np.float64) for name, own in (given.get(what) or {}).items()}
        for what in ("d_times", "d_slopes")
    )
    return LossTerms(times, given.get("d_v") or {}, slopes)


def _is_solvable(given: Mapping[str, Any]) -> bool:
    """Whether spikes and potentials at fixed times are all that the loss depends on."""
    moving = any(own.slopes is not None and np.any(own.slopes) for own in (given.get("d_v") or {}).values())
    return not moving and not given.get("d_neurons")


def _n_events(result: Result) -> int:
    return result.n_synaptic_events + sum(own.n_events for own in result.spikes.values())


def moved_array(result: Result, initial: Initial | None, name: str) -> MovedArray:
    """An array of the run `result`, and what is simulated with others in its place."""
    graph = result._graph
    inputs = {own: result.spikes[own] for own in graph.inputs}
    owner, _, key = name.rpartition(".")
    if key not in INITIAL:
        values, with_values = _values_of(graph, inputs, name)
        return MovedArray(name, values, lambda other: (*with_values(other), initial), _unit(graph, name, values))
    what, given = INITIAL[key], dict(initial or {})
    assert result._start is not None
    values = np.array(getattr(result._start[0][owner], what))

    def with_start(other: NDArray[np.float64]) -> Any:
        return graph, inputs, {**given, owner: {**given[owner], what: other}}

    return MovedArray(name, values, with_start, _unit(graph, name, values))


def _by_name(graph: Network, gradients: EventPropGradients, initial: Initial) -> dict[str, NDArray[np.float64]]:
    """All derivatives, in the shapes of the values: a shared parameter's is the sum over the neurons."""
    found = gradients.by_parameter(graph)
    for name, times in gradients.input_times.items():
        found[f"{name}.times"] = times
    for name, start in initial.items():
        for key, what in INITIAL.items():
            if what in start:
                found[f"{name}.{key}"] = gradients.initial[name][what].sum(axis=0)
    return found


def _values_of(graph: Network, inputs: dict[str, Spikes], name: str) -> tuple[NDArray[Any], Callable[..., Any]]:
    """The values of an array, and a function from other values to (network, inputs)."""
    owner, _, key = name.rpartition(".")
    if key != "times":
        return graph.parameter(name), lambda values: (graph.with_parameters({name: values}), inputs)
    own = inputs[owner]

    def with_times(values: NDArray[np.float64]) -> Any:
        moved = Spikes(own.samples, own.neurons, values, n_samples=own.n_samples, n_neurons=own.n_neurons)
        return graph, inputs | {owner: moved}

    return own.times.copy(), with_times


def _unit(graph: Network, name: str, values: NDArray[np.float64]) -> float:
    """A step's unit: the largest value; where all are zero a time constant for times, 1 for potentials and weights."""
    if values.any():
        return float(np.abs(values).max())
    owner, _, key = name.rpartition(".")
    if key not in NOT_NEGATIVE:
        return 1.0
    target = owner.partition("->")[2].partition("#")[0]
    populations = graph.populations
    population = populations.get(owner) or populations.get(target) or next(iter(populations.values()))
    return float(np.min(population.neuron.tau_mem))
