"""Difference quotients for `check_eventprop`: of the simulated loss, and of spike times solved in high precision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsnn.gradients.check import GradientEntry
from eventsnn.gradients.differences import FLOAT64_STEP, FLOAT64_TOLERANCE, ROUNDING, difference, high_step
from eventsnn.gradients.loss_check import Loss
from eventsnn.gradients.recorded_events import Key, LossTerms, parameter_table
from eventsnn.gradients.recorded_spikes import Places, RecordedRun
from eventsnn.simulation.event_driven import simulate
from eventsnn.simulation.result import Result
from eventsnn.simulation.windows import is_windowed

__all__ = ["INITIAL", "NOT_NEGATIVE", "MovedArray", "RunDifference", "SimulatedDifference", "SolvedDifference"]

#: parameters that cannot be negative: at 0 the difference is one-sided
NOT_NEGATIVE = ("delay", "t_refrac", "times")
#: Derivatives that are less than this, relative to the terms they are the sum of, have an error relative to the terms.
CANCELLED = 1e-3
#: what `simulate` calls a start
INITIAL = {"initial_v": "v", "initial_i_syn": "i_syn"}


class MovedArray(NamedTuple):
    """An array of a run, what is simulated with other values in its place, and the unit of a step.

    with_values : from other values to (network, inputs, initial)
    """

    name: str
    values: NDArray[np.float64]
    with_values: Callable[[NDArray[np.float64]], Any]
    unit: float

    def moved(self, index: tuple[int, ...], move: float) -> Any:
        """(network, inputs, initial) after one entry has moved."""
        array = self.values.copy()
        array[index] += move
        return self.with_values(array)


class RunDifference(ABC):
    """How a run changes with one entry of its parameters."""

    precision: str
    default_step: float

    def __init__(self, result: Result) -> None:
        self.result = result

    @abstractmethod
    def change(self, array: MovedArray, index: tuple[int, ...]) -> Callable[[float], tuple[Any, bool, Any]]:
        """A function of a move: the loss up to a constant, whether the move met a jump or a kink, the least scale.

        Changes that are less than this scale have lost digits in it.
        """

    @staticmethod
    def is_one_sided(array: MovedArray, index: tuple[int, ...], h: float) -> bool:
        """Whether a step back would make negative what cannot be."""
        return array.name.rpartition(".")[2] in NOT_NEGATIVE and bool(array.values[index] < h)

    def entry(self, array: MovedArray, index: tuple[int, ...], analytic: float, step: float | None) -> GradientEntry:
        """The analytic derivative beside the difference quotient; step : relative to the unit of the array."""
        h = (self.default_step if step is None else step) * array.unit
        change_at, scales = self.change(array, index), []

        def value_at(move: float) -> tuple[Any, bool]:
            value, changed, scale = change_at(move)
            scales.append(scale)
            return value, changed

        total, changed = difference(value_at, h, self.is_one_sided(array, index, h))
        numeric, least = float(total / h), float(max(scales) / h)
        return GradientEntry(array.name, index, analytic, numeric, self.precision, changed, least_scale=least)


class SimulatedDifference(RunDifference):
    """By simulations with the entry moved; changed: some neuron fires more or less often."""

    precision = "float64"
    default_step = FLOAT64_STEP

    def __init__(self, result: Result, loss: Loss) -> None:
        super().__init__(result)
        self.loss = loss
        self.counts = {name: own.counts() for name, own in result.spikes.items()}

    def change(self, array: MovedArray, index: tuple[int, ...]) -> Callable[[float], tuple[Any, bool, Any]]:
        """See `RunDifference.change`."""

        def loss_at(move: float) -> tuple[float, bool, float]:
            network, inputs, initial = array.moved(index, move)
            other = simulate(network, inputs, self.result.t_max, initial=initial, progress=False)
            changed = any((other.spikes[n].counts() != own).any() for n, own in self.counts.items())
            value = float(self.loss(other)[0])
            return value, changed, ROUNDING * abs(value) / FLOAT64_TOLERANCE

        return loss_at


class SolvedDifference(RunDifference):
    """By the recorded spikes, solved again; changed: they, or an order that matters, are not as recorded."""

    precision = "high"

    def __init__(self, result: Result, terms: LossTerms, digits: int) -> None:
        super().__init__(result)
        self.run = RecordedRun(result, terms, digits)
        self.default_step = high_step(digits)

    def entry(self, array: MovedArray, index: tuple[int, ...], analytic: float, step: float | None) -> GradientEntry:
        """See `RunDifference.entry`."""
        with self.run.mp.workdps(self.run.digits):  # for the difference itself as well
            return super().entry(array, index, analytic, step)

    def change(self, array: MovedArray, index: tuple[int, ...]) -> Callable[[float], tuple[Any, bool, Any]]:
        """See `RunDifference.change`."""
        places = self._places(array, index)

        def change_at(move: float) -> tuple[Any, bool, Any]:
            if places is None:
                return 0.0, True, 0.0
            change, changed, size = self.run.change(places, move)
            return change, changed, CANCELLED * size

        return change_at

    def _places(self, array: MovedArray, index: tuple[int, ...]) -> Places | None:
        """The numbers of the run that follow an entry, and how; None if one jumps, as a start potential may."""
        owner, _, key = array.name.rpartition(".")
        if key == "times":  # `Spikes` may bring them into another order
            return {("times", owner): (np.array(index), np.ones(1))}
        if key in INITIAL:
            return {(owner, INITIAL[key], *index[1:]): (np.array(index[:1]), np.ones(1))}
        if key == "weight":
            p = self.result._graph.projection_names.index(owner)
            connection: Any = self.result._graph.projections[p].connection
            if is_windowed(connection):  # through a pool, a synapse has a part of the weight
                one = np.zeros(array.values.shape)
                one[index] = 1.0
                factors = connection.with_values(weight=one).rows()[2]
                return {("weight", p): (np.flatnonzero(factors), factors[factors != 0.0])}
        found: dict[Key, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        h = FLOAT64_STEP * array.unit
        for move in (h,) if self.is_one_sided(array, index, h) else (h, -h):
            network, inputs, _ = array.moved(index, move)
            for where, column in parameter_table(self.result, network, inputs).items():
                change = column - self.run.table[where]
                if change.any():
                    places = np.flatnonzero(change)
                    found[where] = places, np.ones(places.size)
                    if (abs(change[places] - move) > 1e-3 * h).any():
                        return None
        return found
