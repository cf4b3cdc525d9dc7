"""What the way back through a clock-driven network keeps of every part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.bits import flag_words
from eventsnn.kernels.grid_projection import constant_dense, transpose_entries
from eventsnn.simulation.grid_inputs import GridEvents
from eventsnn.simulation.grid_network import GridNetwork, GridProjection

__all__ = ["Adjoint", "ConstantGradient"]


@dataclass
class ConstantGradient:
    """Gradient of the weights of a dense connection from a constant input, as the two factors of a product.

    Summing it up once for many samples loads and stores every row of the gradient once, and into one array in the order
    of the blocks, so that they need no gradient of these weights, the largest of a network, of their own.

    name : of the weights; place, samples, entries : the input by channel, see `kernels.grid_projection`
    a : (n_samples, n), dL/dx summed over the steps
    """

    name: str
    place: NDArray[np.int64]
    samples: NDArray[np.int64]
    entries: NDArray[np.floating]
    a: NDArray[np.floating]

    @classmethod
    def of(cls, projection: GridProjection, events: GridEvents, d_drive: NDArray[np.floating]) -> ConstantGradient:
        """From the inputs of a block and dL/d(drive) of the whole part."""
        n_pre, n_post = projection.weight.shape
        place = np.empty(n_pre + 1, np.int64)
        samples, entries = np.empty_like(events.neurons), np.empty_like(events.values)
        transpose_entries(events.starts, events.neurons, events.values, place, samples, entries)
        mine = d_drive[:, projection.first : projection.first + n_post]
        return cls(f"{projection.name}.weight", place, samples, entries, np.ascontiguousarray(mine))

    def add(self, weight: NDArray[np.floating], begin: int, end: int) -> None:
        """Add columns begin : end of the product to the gradient `weight`."""
        constant_dense(self.place, self.samples, self.entries, self.a, begin, end, 0, weight)


class Adjoint:
    """Buffers of one part for the way back, and its sums over a block.

    down : the only way back into the part, a dense connection without delay to part `down_part`; else None
    ways : all others, with the part they lead to
    keeps_rows : whether dL/dx of every step is needed even with constant inputs
    e : errors in, dL/dx out, (n_samples, n_steps, n)
    """

    def __init__(self, grid: GridNetwork, k: int, shape: tuple[int, int], wants_factors: bool) -> None:
        part, dtype = grid.parts[k], grid.dtype
        n, own = part.n, {name for name, _, _ in part.populations}
        ways = [(later, p) for later, other in enumerate(grid.parts) for p in other.projections if p.source in own]
        self.down: GridProjection | None = None
        if len(ways) == 1 and len(own) == 1:
            later, way = ways[0]
            if isinstance(way, GridProjection) and way.is_dense and way.lag == 0:
                self.down_part, self.down = later, way
        self.ways = [] if self.down is not None else ways
        # of a part that only constant inputs drive, the sum over the steps is enough, and is in the nearest cache
        from_populations = any(p.source not in grid.graph.inputs for p in part.projections)
        has_loop = bool(part.loop.dense.size or part.loop.indptr.size)
        several_inputs = len({p.source for p in part.projections}) > 1
        self.keeps_rows = self.down is None or from_populations or has_loop or wants_factors or several_inputs
        self.e = np.zeros((*shape, n), dtype)
        self.h_record = np.zeros((*shape, n) if wants_factors else (0, shape[1], n), dtype)
        self.h, self.a, self.error = (np.zeros(n, dtype) for _ in range(3))
        self.slope = np.zeros((shape[1], n), dtype)
        self.words, self.active = flag_words(n)[1], np.empty(n, np.int64)
        self.flags = self.words.view(np.uint8)
        self.d_drive, self.d_threshold, self.d_start = (np.zeros(n, dtype) for _ in range(3))
        self.d_alpha, self.d_beta = np.zeros(n, dtype), np.zeros(n, dtype)
        self.d_loop = np.zeros(part.loop.weights.size, dtype)
        self.d_counts = np.zeros((shape[0], n), dtype)
        self.nothing, self.no_sum = np.zeros((0, shape[1], n), dtype), np.zeros((0, n), dtype)

    def clear_sums(self) -> None:
        """Begin a new block."""
        sums = (self.d_drive, self.d_threshold, self.d_start, self.d_alpha, self.d_beta, self.d_loop)
        for total in sums:
            total[:] = 0
