"""Runs the parts of a `GridNetwork` over a chunk of samples, with buffers of its own."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import SimulationError, ValidationError
from eventsnn.kernels.bits import FLAGS_AT_ONCE, flag_words
from eventsnn.kernels.grid_events import count_grid_spikes, list_spikes, pack_spikes
from eventsnn.kernels.grid_narrow import WIDEST, most_listed, scatter_narrow
from eventsnn.kernels.grid_projection import constant_dense, scatter_dense, scatter_sparse
from eventsnn.kernels.grid_step import step_forward
from eventsnn.kernels.grid_tiles import HAS_TILES, tiles_forward
from eventsnn.kernels.pattern_rows import LANES
from eventsnn.simulation.grid_inputs import GridEvents
from eventsnn.simulation.grid_network import GridNetwork, GridPart, GridProjection
from eventsnn.simulation.grid_windows import GridWindows, WindowWork

__all__ = ["GridRunner", "Narrow", "chunk_size", "constant_drive", "runs_in_tiles"]

#: What the potentials and derivatives of a chunk may take: a few of the second-level caches of a core.
_CHUNK_BYTES = 2**22


def chunk_size(grid: GridNetwork, n_steps: int, n_samples: int, n_arrays: int) -> int:
    """Samples that are stepped together, so that `n_arrays` numbers per neuron and step stay in the cache."""
    per_sample = sum(part.n for part in grid.parts) * n_steps * grid.dtype.itemsize * n_arrays
    return max(1, min(n_samples, _CHUNK_BYTES // max(per_sample, 1)))


class PartBuffers:
    """What a part keeps of a chunk: potentials u (n_samples, n_steps, n), and its spikes by (sample, step).

    `margin`, u - threshold, is kept for the way back only, and overwritten there. Spikes are listed of samples that
    have at most `most` of them, and counted of all.
    """

    def __init__(
        self, part: GridPart, n_samples: int, n_steps: int, dtype: np.dtype[Any], keeps_margin: bool, most: int
    ) -> None:
        self.u = np.zeros((n_samples, n_steps, part.n), dtype)
        self.margin = np.zeros((n_samples if keeps_margin and part.can_spike else 0, n_steps, part.n), dtype)
        self.starts = np.zeros(n_samples * n_steps + 1, np.int64)
        self.most = most
        self.neurons = np.empty(n_samples * most + 1 if part.can_spike else 1, np.int64)
        self.counts, self.n_spikes = np.zeros((n_samples, part.n), dtype), np.zeros(n_samples, np.int64)
        self.v, self.i_syn, self.taken = np.empty((3, part.n), dtype)
        n_words = -(-part.n // FLAGS_AT_ONCE)
        self.masks = np.zeros((n_samples, n_steps, n_words), np.uint64)
        self.bits = self.masks.view(np.uint8)
        self.history = np.zeros((n_samples, -(-n_steps // 8), FLAGS_AT_ONCE * n_words), np.uint8)
        self.flags, self.words = flag_words(part.n)
        self.fired = self.words.view(np.uint8)
        self.nothing = np.empty((0, part.n), dtype)


class Narrow:
    """Work arrays of a projection to few neurons, and the part that it comes from; see `kernels.grid_narrow`."""

    def __init__(self, source: int, projection: GridProjection, dtype: np.dtype[Any]) -> None:
        n_pre, n = projection.weight.shape
        self.source = source
        n_blocks, n_bytes = -(-n // LANES), 8 * -(-n_pre // FLAGS_AT_ONCE)
        self.table = np.empty((n_blocks, 32 * n_bytes, LANES), dtype)
        self.sums = np.empty((32, LANES), dtype)
        self.total = np.empty((n_blocks, n_pre, LANES), dtype)


class GridRunner:
    """Forward pass of chunks of at most `n_samples` samples.

    Attributes
    ----------
    narrow : by name of a projection, those from a whole part to few neurons
    windows : by name of a projection, those that slide over a plane
    buffers : by number of the part; views of a chunk are given by `u`, `events`, `counts`

    Parameters
    ----------
    listed : populations whose spikes the caller asks for by `events`; None: all. Of the others there are only those
        that this forward pass, or `narrow` on the way back, goes by.
    """

    def __init__(
        self,
        grid: GridNetwork,
        n_samples: int,
        n_steps: int,
        *,
        keeps_margin: bool = False,
        listed: Set[str] | None = None,
    ) -> None:
        self.grid, self.n_samples, self.n_steps = grid, n_samples, n_steps
        self._place = {name: (k, first, n) for k, part in enumerate(grid.parts) for name, first, n in part.populations}
        self._found: dict[str, GridEvents] = {}
        self.narrow = {
            projection.name: Narrow(self._place[projection.source][0], projection, grid.dtype)
            for part in grid.parts
            for projection in part.projections
            if isinstance(projection, GridProjection) and self._is_narrow(projection)
        }
        self.windows = windows_of(grid)
        self.buffers = [
            PartBuffers(part, n_samples, n_steps, grid.dtype, keeps_margin, self._most_listed(part, listed))
            for part in grid.parts
        ]

    def _most_listed(self, part: GridPart, listed: Set[str] | None) -> int:
        """Spikes that a sample may have to be listed; 0: none is."""
        own = {name for name, _, _ in part.populations}
        ways = [p.name for other in self.grid.parts for p in other.projections if p.source in own]
        is_asked = listed is None or bool(own & listed) or len(own) > 1
        if is_asked or not runs_in_tiles(part) or any(name not in self.narrow for name in ways):
            return self.n_steps * part.n
        most: int = most_listed(self.n_steps, part.n) if ways else 0
        return most

    def _is_narrow(self, projection: GridProjection) -> bool:
        if not projection.is_dense or projection.weight.shape[1] > WIDEST or projection.source not in self._place:
            return False
        k, _, n = self._place[projection.source]
        return n == self.grid.parts[k].n

    def u(self, name: str, n_samples: int) -> NDArray[np.floating]:
        """Potentials of a population before the reset, (n_samples, n_steps, n), a view."""
        k, first, n = self._place[name]
        return self.buffers[k].u[:n_samples, :, first : first + n]

    def events(self, name: str) -> GridEvents:
        """Spikes of an input or population in this chunk; see `listed`."""
        return self._found[name]

    def counts(self, name: str, n_samples: int) -> NDArray[np.float64]:
        """Spikes of every neuron of a population, (n_samples, n)."""
        k, first, n = self._place[name]
        return self.buffers[k].counts[:n_samples, first : first + n].astype(np.float64)

    def forward(
        self,
        inputs: Mapping[str, GridEvents],
        n_samples: int,
        *,
        constants: Mapping[int, NDArray[np.floating]] | None = None,
        first_sample: int = 0,
    ) -> None:
        """Step all parts.

        constants : by number of a part, the drive of its constant inputs, (n_samples, n); see `constant_drive`
        """
        self._found = dict(inputs)
        for k, part in enumerate(self.grid.parts):
            buffers = self.buffers[k]
            u = buffers.u[:n_samples]
            constant = None if constants is None else constants.get(k)
            if constant is None:
                u[:] = 0
            elif part.loop.dense.size or part.loop.indptr.size or len(part.projections) > 1:
                u[:] = constant[:, None]  # other inputs are added to it
                constant = None
            for projection in part.projections:
                events = self._found[projection.source]
                if isinstance(projection, GridProjection) and projection.name in self.narrow:
                    narrow = self.narrow[projection.name]
                    source = self.buffers[narrow.source]
                    scatter_narrow(
                        events.starts, events.neurons, source.n_spikes, source.bits, projection.weight, projection.lag,
                        projection.first, narrow.table, u,
                    )  # fmt: skip
                elif not events.is_constant:
                    scatter(events, projection, u, self.windows)
            self._step(k, u, buffers.nothing if constant is None else constant)
            self._require_finite(part, u, first_sample)
            for name, first, n in part.populations:
                self._found[name] = self._events_of(buffers, first, n, part, n_samples)

    def _step(self, number: int, u: NDArray[np.floating], constant: NDArray[np.floating]) -> None:
        part, buffers = self.grid.parts[number], self.buffers[number]
        rule, loop = part.rule, part.loop
        starts, counts = buffers.starts[: u.shape[0] * self.n_steps + 1], buffers.counts[: u.shape[0]]
        if runs_in_tiles(part):
            tiles_forward(
                u, constant, rule.alpha, rule.beta, rule.gain, rule.drive, rule.threshold, rule.height, rule.v_reset,
                rule.v_start, rule.reset, rule.current, buffers.v, buffers.taken, counts, buffers.n_spikes,
                buffers.bits, buffers.history,
            )  # fmt: skip
            if buffers.margin.shape[0] > 0:
                np.subtract(u, rule.threshold, out=buffers.margin[: u.shape[0]])
            list_spikes(buffers.masks[: u.shape[0]], buffers.n_spikes, buffers.most, starts, buffers.neurons)
            return
        step_forward(
            u, constant, rule.alpha, rule.beta, rule.gain, rule.drive, rule.threshold, rule.height, rule.v_reset,
            rule.v_start, rule.reset, rule.current, loop.dense, loop.indptr, loop.indices, loop.weights, loop.lags,
            buffers.v, buffers.i_syn, buffers.taken, buffers.fired, buffers.words, starts, buffers.neurons,
            buffers.margin[: u.shape[0]],
        )  # fmt: skip
        counts[:] = 0
        count_grid_spikes(starts, buffers.neurons, self.n_steps, counts)
        buffers.n_spikes[: u.shape[0]] = np.diff(starts[:: self.n_steps])
        if any(narrow.source == number for narrow in self.narrow.values()):
            pack_spikes(u, rule.threshold, buffers.flags, buffers.words, buffers.masks, buffers.history)

    def _events_of(self, buffers: PartBuffers, first: int, n: int, part: GridPart, n_samples: int) -> GridEvents:
        """Spikes of one population of a part."""
        nothing = np.empty(0, self.grid.dtype)
        starts = buffers.starts[: n_samples * self.n_steps + 1]
        if len(part.populations) == 1:
            return GridEvents(starts, buffers.neurons, nothing)
        neurons = buffers.neurons[: starts[-1]]
        own = (neurons >= first) & (neurons < first + n)
        ends = np.concatenate(([0], np.cumsum(own)))[starts]
        return GridEvents(ends, neurons[own] - first, nothing)

    def _require_finite(self, part: GridPart, u: NDArray[np.floating], first_sample: int) -> None:
        # Once it is not finite a potential stays so: the last step shows it.
        bad = ~np.isfinite(u[:, -1])
        if bad.any():
            s, k = (int(i) for i in np.argwhere(bad)[0])
            name, first = next((name, first) for name, first, n in part.populations if first <= k < first + n)
            raise SimulationError(
                f"the potential of neuron {k - first} of {name!r} in sample {first_sample + s} is {u[s, -1, k]}; are "
                "the weights or inputs too large?"
            )


def runs_in_tiles(part: GridPart) -> bool:
    """Whether the neurons of a part do not hear of each other; see `kernels.grid_tiles`."""
    return HAS_TILES and part.loop.dense.size == 0 and part.loop.indptr.size == 0


def windows_of(grid: GridNetwork) -> dict[str, WindowWork]:
    """Work arrays of the projections that slide over a plane, by name."""
    return {
        projection.name: WindowWork(projection, grid.dtype)
        for part in grid.parts
        for projection in part.projections
        if isinstance(projection, GridWindows)
    }


def scatter(
    events: GridEvents, projection: GridProjection | GridWindows, x: NDArray[np.floating],
    windows: Mapping[str, WindowWork],
) -> None:  # fmt: skip
    """Add what the events send over a connection to x (n_samples, n_steps, n)."""
    if isinstance(projection, GridWindows):
        windows[projection.name].scatter(events, x)
    elif projection.is_dense:
        scatter_dense(
            events.starts, events.neurons, events.values, projection.weight, projection.lag, projection.first, x
        )
    else:
        scatter_sparse(
            events.starts, events.neurons, events.values, projection.indptr, projection.indices, projection.weight,
            projection.lags, projection.first, x,
        )  # fmt: skip


def constant_drive(grid: GridNetwork, inputs: Mapping[str, GridEvents], n_samples: int) -> dict[int, NDArray[Any]]:
    """What constant inputs give to each part in every step, (n_samples, n), by number of the part."""
    found: dict[int, NDArray[Any]] = {}
    windows = windows_of(grid)
    for k, part in enumerate(grid.parts):
        for projection in part.projections:
            events = inputs.get(projection.source)
            if events is None or not events.is_constant:
                continue
            if projection.lag or (isinstance(projection, GridProjection) and projection.lags.any()):
                raise ValidationError(
                    f"simulate_clocked: {projection.name} has a delay, but a constant input acts from the first step "
                    "on; leave the delay out, or give the current step by step"
                )
            if k not in found:
                found[k] = np.zeros((n_samples, part.n), grid.dtype)
            if projection.is_dense:
                weight = projection.weight
                constant_dense(
                    events.starts, events.neurons, events.values, weight, 0, weight.shape[1], projection.first, found[k]
                )
            else:
                scatter(events, projection, found[k][:, None], windows)
    return found
