"""Surrogate gradients of clock-driven networks: backpropagation through time over sparse spikes, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.clock import Clock
from eventsnn.clocked_neurons import StepNeuron
from eventsnn.errors import SimulationError
from eventsnn.gradients.first_spike import BlockOutcome
from eventsnn.gradients.grid_adjoint import Adjoint, ConstantGradient
from eventsnn.gradients.grid_outputs import GridOutputs
from eventsnn.gradients.window_gradient import add_weight_gradient, gather_windows
from eventsnn.kernels.grid_narrow import WIDEST, weight_gradient_narrow
from eventsnn.kernels.grid_projection import (
    gather_dense,
    gather_sparse,
    weight_gradient_dense,
    weight_gradient_sparse,
)
from eventsnn.kernels.grid_step import EARLY, factor_gradients, step_backward
from eventsnn.kernels.grid_tiles import tiles_backward
from eventsnn.kernels.surrogates import PREPARED
from eventsnn.simulation.grid_inputs import GridEvents
from eventsnn.simulation.grid_network import GridNetwork, GridPart, GridProjection
from eventsnn.simulation.grid_runner import GridRunner, chunk_size, constant_drive, runs_in_tiles
from eventsnn.simulation.grid_windows import GridWindows

__all__ = ["ClockedGradient"]

#: arrays of a number per neuron and step that forward and backward keep of a chunk
_N_ARRAYS = 2


class ClockedGradient:
    """Forward, loss and backward of blocks of samples, chunk by chunk; has its own buffers.

    Parameters
    ----------
    grid : the network on the grid; `GridNetwork.refresh` takes over other values
    loss, clock : see `require_grid_loss`
    output : population that the loss looks at
    gradients : by name of a parameter, as in `Network.parameter_names`; added to
    block_size : samples of a block, at most
    regularizers : of the spike counts of every other population that fires
    scales : by name, what a gradient is multiplied by before it is added; 1 where there is none
    deferred : names of weights whose gradient from a constant input is handed on in `BlockOutcome.deferred`
    """

    #: whether the surrogate is wanted of a whole chunk at once
    NEEDS_SLOPES = False
    #: whether the spikes of all populations are
    NEEDS_SPIKES = False

    def __init__(
        self,
        grid: GridNetwork,
        loss: Any,
        clock: Clock,
        output: str,
        gradients: Mapping[str, NDArray[np.floating]],
        block_size: int,
        *,
        regularizers: Sequence[Any] = (),
        scales: Mapping[str, Any] | None = None,
        deferred: Set[str] = frozenset(),
    ) -> None:
        self.grid, self.loss, self.clock, self.output, self.gradients = grid, loss, clock, output, gradients
        self.regularizers, self.scales, self.deferred = tuple(regularizers), scales or {}, deferred
        self.window = clock.truncate or 0
        size = chunk_size(grid, clock.n_steps, block_size, _N_ARRAYS)
        keeps_margin = self.NEEDS_SLOPES or any(self._formula(part)[0] == PREPARED for part in grid.parts)
        listed = {output} if GridOutputs.lists_output(clock) else set()
        self.runner = GridRunner(
            grid, size, clock.n_steps, keeps_margin=keeps_margin, listed=None if self.NEEDS_SPIKES else listed
        )
        self._hidden = [
            name for name, population in grid.graph.populations.items() if population.can_spike and name != output
        ]
        self._wants = [self._wanted_of(part) for part in grid.parts]

    @cached_property
    def _adjoints(self) -> list[Adjoint]:
        """Made for the first way back: evaluation has none."""
        shape = (self.runner.n_samples, self.clock.n_steps)
        return [Adjoint(self.grid, k, shape, "factors" in wants) for k, wants in enumerate(self._wants)]

    def _wanted_of(self, part: GridPart) -> set[str]:
        wanted = set()
        for name, _, _ in part.populations:
            for key in ("alpha", "beta", "tau_mem", "tau_syn"):
                wanted |= {"factors"} if f"{name}.{key}" in self.gradients else set()
            wanted |= {"threshold"} if f"{name}.v_threshold" in self.gradients else set()
            wanted |= {"start"} if f"{name}.v_init" in self.gradients else set()
        return wanted

    # -- a block ---------------------------------------------------------------------------------------------------

    def run(
        self, inputs: Mapping[str, GridEvents], n_samples: int, labels: NDArray[np.int64], *, first_sample: int = 0
    ) -> BlockOutcome:
        """Add the gradients of a block."""
        constants = constant_drive(self.grid, inputs, n_samples)
        d_constants = {k: np.zeros((n_samples, part.n), self.grid.dtype)
                       for k, part in enumerate(self.grid.parts) if k in constants}  # fmt: skip
        losses, classes = np.empty(n_samples), np.empty(n_samples, np.int64)
        silent = [np.zeros(self.grid.graph.populations[name].n_neurons, np.int64) for name in self._hidden]
        for low in range(0, n_samples, self.runner.n_samples):
            high = min(low + self.runner.n_samples, n_samples)
            outputs = self._forward(inputs, constants, low, high, first_sample)
            values = outputs.values(self.loss)
            losses[low:high], d_values = self.loss.value_and_grad(values, labels[low:high])
            classes[low:high] = outputs.classes()
            d_counts, d_u = outputs.derivatives(self.loss, d_values)
            of_counts = {} if d_counts is None else {self.output: d_counts}
            for k, name in enumerate(self._hidden):
                counts = self.runner.counts(name, high - low)
                silent[k] += (counts == 0).sum(axis=0)
                for regularizer in self.regularizers:
                    value, d_count = regularizer.value_and_grad(counts)
                    losses[low:high] += value
                    of_counts[name] = of_counts.get(name, 0.0) + d_count
            self._backward(high - low, of_counts, d_u, {k: d[low:high] for k, d in d_constants.items()})
        deferred = self._finish_block(inputs, d_constants, first_sample)
        silent.append(np.zeros(self.grid.graph.populations[self.output].n_neurons, np.int64))
        return BlockOutcome(losses, classes, silent, 0, None, deferred=deferred)

    def evaluate(
        self, inputs: Mapping[str, GridEvents], n_samples: int, labels: NDArray[np.int64] | None, first_sample: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """Losses (zeros without labels), classes, and what is told of the outputs, per sample; see `GridOutputs`."""
        constants = constant_drive(self.grid, inputs, n_samples)
        losses, classes = np.zeros(n_samples), np.empty(n_samples, np.int64)
        shown = np.empty((n_samples, self.grid.graph.populations[self.output].n_neurons))
        for low in range(0, n_samples, self.runner.n_samples):
            high = min(low + self.runner.n_samples, n_samples)
            outputs = self._forward(inputs, constants, low, high, first_sample)
            if labels is not None:
                losses[low:high] = self.loss.value_and_grad(outputs.values(self.loss), labels[low:high])[0]
            classes[low:high] = outputs.classes()
            shown[low:high] = outputs.shown()
        return losses, classes, shown

    def _forward(
        self, inputs: Mapping[str, GridEvents], constants: Mapping[int, Any], low: int, high: int, first_sample: int
    ) -> GridOutputs:
        n = self.clock.n_steps
        own = {
            name: events
            if events.is_constant
            else GridEvents(events.starts[low * n : high * n + 1], events.neurons, events.values)
            for name, events in inputs.items()
        }
        chunk = {k: drive[low:high] for k, drive in constants.items()}
        self.runner.forward(own, high - low, constants=chunk, first_sample=first_sample + low)
        name, runner, n_samples = self.output, self.runner, high - low
        return GridOutputs(self.clock, runner.events(name), runner.counts(name, n_samples), runner.u(name, n_samples))

    # -- backwards through a chunk ---------------------------------------------------------------------------------

    def _backward(
        self,
        n_samples: int,
        d_counts: Mapping[str, Any],
        d_u: NDArray[np.float64] | None,
        d_constants: Mapping[int, Any],
    ) -> None:
        for k in range(len(self.grid.parts) - 1, -1, -1):
            part, adjoint = self.grid.parts[k], self._adjoints[k]
            e = adjoint.e[:n_samples]
            adjoint.d_counts[:] = 0
            for name, first, n in part.populations:
                if name in d_counts:
                    adjoint.d_counts[:n_samples, first : first + n] = d_counts[name]
            if adjoint.down is None:
                e[:] = adjoint.d_counts[:n_samples, None]
                for name, first, _ in part.populations:
                    for later, projection in adjoint.ways:
                        if projection.source == name:
                            self._gather(projection, self._adjoints[later].e[:n_samples], first, e)
            keeps_rows = adjoint.keeps_rows or k not in d_constants
            self._step(k, n_samples, e if keeps_rows else adjoint.nothing, d_u, d_constants.get(k, adjoint.no_sum))
            for projection in part.projections:
                events = self.runner.events(projection.source)
                weight = self.gradients.get(f"{projection.name}.weight")
                narrow = self.runner.narrow.get(projection.name)
                if weight is not None and narrow is not None:
                    source = self.runner.buffers[narrow.source]
                    weight_gradient_narrow(
                        events.starts, events.neurons, source.n_spikes, source.history, e, projection.lag,
                        projection.first, narrow.sums, narrow.total, weight,
                    )  # fmt: skip
                elif weight is not None and not events.is_constant:
                    self._add_weight_gradient(projection, events, e, weight)
            self._add_loop_gradient(k, part, adjoint, e)

    def _gather(
        self, projection: GridProjection | GridWindows, a: NDArray[np.floating], source: int, e: NDArray[np.floating]
    ) -> None:
        if isinstance(projection, GridWindows):
            gather_windows(self.runner.windows[projection.name], a, self.window, source, e)
        elif projection.is_dense:
            gather_dense(projection.transposed, a, projection.lag, projection.first, self.window, source, e)
        else:
            gather_sparse(
                projection.indptr, projection.indices, projection.weight, projection.lags, a, projection.first,
                self.window, source, e,
            )  # fmt: skip

    def _add_weight_gradient(
        self, projection: GridProjection | GridWindows, events: GridEvents, a: NDArray[np.floating],
        weight: NDArray[np.floating],
    ) -> None:  # fmt: skip
        if isinstance(projection, GridWindows):
            add_weight_gradient(self.runner.windows[projection.name], a, weight)
        elif projection.is_dense:
            weight_gradient_dense(
                events.starts, events.neurons, events.values, a, projection.lag, projection.first, weight
            )
        else:
            weight_gradient_sparse(
                events.starts, events.neurons, events.values, projection.indptr, projection.indices, projection.lags, a,
                projection.first, weight.reshape(-1),
            )  # fmt: skip

    def _slopes(self, k: int, n_samples: int) -> NDArray[np.floating]:
        """The surrogate at the potentials of part k, in the place of the margins; of no samples if it never fires."""
        part, sigma = self.grid.parts[k], self.runner.buffers[k].margin[:n_samples]
        if part.can_spike:
            flat = sigma.reshape(-1)
            self.clock.surrogate.apply(flat, flat)
            never = part.rule.never_fires
            if never.any():  # a surrogate need not vanish far below the threshold
                sigma[:, :, never] = 0
        return sigma

    def _step(
        self,
        k: int,
        n_samples: int,
        e: NDArray[np.floating],
        d_u: NDArray[np.float64] | None,
        d_sum: NDArray[np.floating],
    ) -> None:
        part, adjoint, buffers = self.grid.parts[k], self._adjoints[k], self.runner.buffers[k]
        rule, loop, real = part.rule, part.loop, self.grid.dtype.type
        u, prepared = buffers.u[:n_samples], buffers.margin[:n_samples]
        formula, first, second = self._formula(part)
        if formula == PREPARED:
            self._slopes(k, n_samples)
        given = adjoint.nothing
        for name, start, n in part.populations:
            if name == self.output and d_u is not None:
                given = np.zeros(u.shape, u.dtype)
                given[:, :, start : start + n] = d_u
        down, way = adjoint.nothing, adjoint.down
        if way is not None:
            down = self._adjoints[adjoint.down_part].e[:n_samples]
        wants, nothing = self._wants[k], np.empty(0, u.dtype)
        first_down, transposed = (way.first, way.transposed) if way else (0, adjoint.no_sum)
        d_start = adjoint.d_start if "start" in wants else nothing
        if self._goes_by_tiles(part, way, wants):
            tiles_backward(
                u, e, adjoint.d_counts, down, first_down, transposed, formula, real(first), real(second), prepared,
                given, rule.alpha, rule.beta, rule.gain, rule.threshold, rule.height, rule.v_reset, rule.reset,
                rule.current, self.clock.detach_reset, adjoint.h, adjoint.slope, adjoint.a, adjoint.error,
                adjoint.d_drive, d_start, d_sum, adjoint.h_record[:n_samples],
            )  # fmt: skip
        else:
            step_backward(
                u, e, adjoint.d_counts, down, first_down, way.weight if way else adjoint.no_sum, transposed, formula,
                real(first), real(second), prepared, given, rule.alpha, rule.beta, rule.gain, rule.threshold,
                rule.height, rule.v_reset, rule.reset, rule.current, self.clock.detach_reset, self.window,
                loop.transposed, loop.indptr, loop.indices, loop.weights, loop.lags, adjoint.h, adjoint.a,
                adjoint.error, adjoint.slope[0], adjoint.words, adjoint.flags, adjoint.active, adjoint.d_drive,
                adjoint.d_threshold if "threshold" in wants else nothing, d_start, d_sum,
                adjoint.h_record[:n_samples],
            )  # fmt: skip
        if "factors" in wants:
            factor_gradients(
                u, adjoint.h_record, e, rule.beta, rule.drive, rule.threshold, rule.height, rule.v_reset,
                rule.v_start, rule.reset, adjoint.d_alpha if rule.current == EARLY else nothing, adjoint.d_beta,
            )  # fmt: skip

    def _goes_by_tiles(self, part: GridPart, way: GridProjection | None, wants: Set[str]) -> bool:
        """Whether `tiles_backward` can do it; it looks at all of the way down, where `step_backward` may leave out."""
        is_narrow = way is None or way.transposed.shape[0] <= WIDEST
        return runs_in_tiles(part) and is_narrow and self.window == 0 and "threshold" not in wants

    def _formula(self, part: GridPart) -> tuple[int, float, float]:
        """The surrogate of a part as `step_backward` takes it."""
        if not part.can_spike:
            return -1, 0.0, 0.0
        return (PREPARED, 0.0, 0.0) if part.rule.never_fires.any() else self.clock.surrogate.row_formula()

    def _add_loop_gradient(self, k: int, part: GridPart, adjoint: Adjoint, e: NDArray[np.floating]) -> None:
        loop, buffers = part.loop, self.runner.buffers[k]
        nothing = np.empty(0, e.dtype)
        if loop.dense.size:
            weight = self.gradients.get(f"{loop.names[0]}.weight")
            if weight is not None:
                weight_gradient_dense(buffers.starts, buffers.neurons, nothing, e, 1, 0, weight)
        elif loop.weights.size:
            weight_gradient_sparse(
                buffers.starts, buffers.neurons, nothing, loop.indptr, loop.indices, loop.lags, e, 0,
                adjoint.d_loop,
            )  # fmt: skip

    def _finish_block(
        self, inputs: Mapping[str, GridEvents], d_constants: Mapping[int, NDArray[np.floating]], first_sample: int
    ) -> list[ConstantGradient]:
        """What is added up over a whole block goes where it belongs; what is deferred is returned."""
        found = []
        for k, (part, adjoint) in enumerate(zip(self.grid.parts, self._adjoints, strict=True)):
            if not np.isfinite(adjoint.d_drive).all():
                raise SimulationError(
                    f"the surrogate gradient at {', '.join(name for name, _, _ in part.populations)} is not finite "
                    f"(samples from {first_sample} on); does {self.clock.surrogate!r} give NaN or inf?"
                )
            for projection in part.projections:
                name = f"{projection.name}.weight"
                weight, events = self.gradients.get(name), inputs.get(projection.source)
                if events is None or not events.is_constant or (weight is None and name not in self.deferred):
                    continue
                if not isinstance(projection, GridProjection) or not projection.is_dense:
                    assert weight is not None  # only dense ones are deferred
                    if isinstance(projection, GridWindows):
                        self.runner.windows[projection.name].through_pools(events, 1)
                    self._add_weight_gradient(projection, events, d_constants[k][:, None], weight)
                    continue
                constant = ConstantGradient.of(projection, events, d_constants[k])
                if weight is None:
                    found.append(constant)
                else:
                    constant.add(weight, 0, weight.shape[1])
            loop = part.loop
            for name, connection, places in zip(loop.names, loop.connections, loop.places, strict=False):
                weight = self.gradients.get(f"{name}.weight")
                if weight is not None:
                    weight += connection.fold(adjoint.d_loop[places])
            self._add_neuron_gradients(part, adjoint)
            adjoint.clear_sums()
        return found

    def _add_neuron_gradients(self, part: GridPart, adjoint: Adjoint) -> None:
        for name, first, n in part.populations:
            neuron = self.grid.neurons[name]
            mine = slice(first, first + n)
            of_rule = {
                "drive": adjoint.d_drive[mine], "threshold": adjoint.d_threshold[mine],
                "alpha": adjoint.d_alpha[mine], "beta": adjoint.d_beta[mine], "start": adjoint.d_start[mine],
            }  # fmt: skip
            if isinstance(neuron, StepNeuron):
                for key, gradient in neuron.parameter_gradients(of_rule, self.clock.dt).items():
                    target = self.gradients.get(f"{name}.{key}")
                    if target is not None:
                        target += gradient * self.scales.get(f"{name}.{key}", 1.0)
