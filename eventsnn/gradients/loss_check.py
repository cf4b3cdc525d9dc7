"""The derivatives that a loss gives, against differences of its value: the part of `check_eventprop` in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn.gradients.check import GradientEntry, drawn, with_errors
from eventsnn.gradients.differences import FLOAT64_STEP, FLOAT64_TOLERANCE, ROUNDING, difference
from eventsnn.gradients.recorded_events import LossTerms
from eventsnn.simulation.result import Result
from eventsnn.spikes import Spikes

__all__ = ["Loss", "check_loss"]

#: Of a result: the value, and its derivatives as `eventprop` takes them.
Loss = Callable[[Result], tuple[Any, ...]]


def check_loss(
    result: Result, loss: Loss, terms: LossTerms, n_entries: int | None, generator: np.random.Generator | None
) -> dict[str, list[GradientEntry]]:
    """Entries "loss.d_times[name]" and "loss.d_v[name]": the record is changed a little and the loss looks once more.

    For d_times one spike is moved, of the inputs as well (which a loss has no derivative by). The potentials and slopes
    that follow move with it: what they contribute by d_v and d_slopes is taken off. For d_v one potential is raised
    that the loss asks `Result.v` for; one that it finds out in another way has no entry.

    Errors are relative to the largest derivative by a spike time of the record, or by a potential of the population;
    where these are less than rounding of the value lets a difference tell, to the least that it does.
    """
    value = float(loss(result)[0])
    latest = max(float(own.times.max(initial=0.0)) for own in result.spikes.values())
    h = FLOAT64_STEP * (latest or 1.0)
    least = ROUNDING * abs(value) / FLOAT64_TOLERANCE
    report: dict[str, list[GradientEntry]] = {}
    largest = least / h
    for name, own in result.spikes.items():
        label, given = f"loss.d_times[{name}]", terms.times.get(name, np.zeros(own.n_events))
        for (k,) in drawn("check_eventprop", label, np.arange(own.n_events)[:, None], n_entries, generator):
            changes, changed = difference(_with_spike_moved(result, loss, terms, name, k), h, bool(own.times[k] < h))
            alone, whole = (float(change) / h for change in changes)
            largest = largest if changed else max(largest, abs(whole))
            report.setdefault(label, []).append(GradientEntry(label, (k,), float(given[k]), alone, "float64", changed))
    report = {label: [replace(e, least_scale=largest) for e in entries] for label, entries in report.items()}
    for name in terms.potentials:
        entries = _raised_potentials(result, loss, terms, name, least, n_entries, generator)
        report |= {entries[0].name: entries} if entries else {}
    return {label: with_errors(entries) for label, entries in report.items()}


def _with_spike_moved(result: Result, loss: Loss, terms: LossTerms, name: str, k: int) -> Any:
    """A function of a move of spike k: the value without and with what potentials and slopes contribute.

    And whether the spike passed another one, a potential that the loss looks at, or an end of the simulation.
    """
    own = result.spikes[name]
    sample, neuron = int(own.samples[k]), own.neurons[k]

    def value_at(move: float) -> tuple[NDArray[np.float64], bool]:
        times = own.times.copy()
        times[k] += move
        outside = not result.t_start <= times[k] <= result.t_max
        if outside:
            return np.zeros(2), True
        spikes = Spikes(own.samples, own.neurons, times, n_samples=own.n_samples, n_neurons=own.n_neurons)
        changed = not np.array_equal(spikes.times, times)
        if name in terms.potentials:
            probes = terms.potentials[name]
            near = (np.atleast_1d(probes.samples) == sample) & (np.atleast_1d(probes.neurons) == neuron)
            low, high = sorted((own.times[k], times[k]))
            changed |= bool((near & (np.atleast_1d(probes.times) >= low) & (np.atleast_1d(probes.times) <= high)).any())
        other = Result(
            result.network, {**result.spikes, name: spikes}, result.t_max,
            t_start=result.t_start, start=result._start, given_v=result._given_v,
        )  # fmt: skip
        value = float(loss(other)[0])
        return np.array([value - sum(_seen(other, terms, sample)), value]), changed

    return value_at


def _seen(result: Result, terms: LossTerms, sample: int) -> Iterator[float]:
    """The potentials and slopes that the loss looks at in a sample, times its derivatives with respect to them."""
    for name, probes in terms.potentials.items():
        mine = np.flatnonzero(np.atleast_1d(probes.samples) == sample)
        neurons, times, values = (np.atleast_1d(c)[mine] for c in (probes.neurons, probes.times, probes.values))
        chosen, column = np.unique(neurons, return_inverse=True)
        at, row = np.unique(times, return_inverse=True)
        yield float(values @ result.v(name, at, sample, chosen)[row, column]) if mine.size else 0.0
    for name, d_slopes in terms.slopes.items():
        # v is v_threshold there, so a slope is what the currents make of it
        own, population = result.spikes[name], result._graph.populations[name]
        for k in range(int(own.offsets[sample]), int(own.offsets[sample + 1])):
            n, before = int(own.neurons[k]), np.nextafter(own.times[k], -np.inf)
            tau_mem = population.neuron.per_neuron("tau_mem", population.n_neurons)[n]
            yield float(d_slopes[k] * result.i_syn(name, [before], sample, [n]).item() / tau_mem)


class _Raised(Result):
    """A result with one potential raised, at one time exactly."""

    def __init__(self, result: Result, place: tuple[str, int, int, float], move: float) -> None:
        self.__dict__.update(result.__dict__)
        self._place, self._move, self.was_asked = place, move, False

    def v(self, name: str, times: ArrayLike, sample: int = 0, neurons: ArrayLike | None = None) -> NDArray[np.float64]:
        """As `Result.v`."""
        found = super().v(name, times, sample, neurons)
        if (name, sample) == self._place[:2]:
            rows = np.asarray(times, dtype=np.float64) == self._place[3]
            columns = (np.arange(found.shape[1]) if neurons is None else np.asarray(neurons)) == self._place[2]
            raised = rows[:, None] & columns
            self.was_asked |= bool(raised.any())
            found = found + self._move * raised
        return found


def _raised_potentials(
    result: Result, loss: Loss, terms: LossTerms, name: str, least: float, n_entries: int | None,
    generator: np.random.Generator | None,
) -> list[GradientEntry]:  # fmt: skip
    """Entries of the potentials that the loss asks for; least : change of the value that differences can tell."""
    probes, label, entries = terms.potentials[name], f"loss.d_v[{name}]", []
    samples, neurons, times, values = (
        np.atleast_1d(c) for c in (probes.samples, probes.neurons, probes.times, probes.values)
    )
    size = float(np.abs(result.v(name, np.unique(np.append(times, result.t_start)))).max())
    h = FLOAT64_STEP * (size or 1.0)
    for (k,) in drawn("check_eventprop", label, np.arange(times.size)[:, None], n_entries, generator):
        place = name, int(samples[k]), int(neurons[k]), float(times[k])
        same = np.flatnonzero((samples == place[1]) & (neurons == place[2]) & (times == place[3]))
        if same[0] != k:  # given in parts: one entry, their sum
            continue
        asked: list[bool] = []

        def value_at(move: float, place: Any = place, asked: list[bool] = asked) -> tuple[float, bool]:
            raised = _Raised(result, place, move)
            value = float(loss(raised)[0])
            asked.append(raised.was_asked)
            return value, False

        change, _ = difference(value_at, h, one_sided=False)
        if all(asked):
            given = float(values[same].sum())
            entries.append(
                GradientEntry(label, (k,), given, change / h, "float64", changed=False, least_scale=least / h)
            )
    return entries
