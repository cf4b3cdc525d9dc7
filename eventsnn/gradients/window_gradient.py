"""The way back through convolutions and pools on a time grid: errors of the inputs, gradients of the weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eventsnn.kernels.convolution_backward import convolution_weight_gradient, fold_columns, gather_groups
from eventsnn.kernels.grid_projection import weight_gradient_dense
from eventsnn.kernels.pooling_backward import average_backward, gate_backward, record_winners
from eventsnn.simulation.grid_inputs import GridEvents
from eventsnn.simulation.grid_windows import GridPool, WindowWork

__all__ = ["add_weight_gradient", "gather_windows"]

Floats = NDArray[np.floating]

#: numbers in the columns that are multiplied and folded at once: half of a second-level cache in float32
_COLUMNS = 2**18


def gather_windows(work: WindowWork, a: Floats, window: int, source: int, e: Floats) -> None:
    """Add to e[s, t], columns from `source` on, what a[s, t + lag] hands back through the connection and its pools.

    a : dL/dx of the target part, e : of the source part, (n_samples, n_steps, n); window : of truncated backpropagation
    """
    projection = work.projection
    pools = projection.pools
    errors = [e]
    for pool in pools:
        errors.append(np.zeros((*e.shape[:2], pool.n_out), e.dtype))
    offset = 0 if pools else source
    for rows, target in _shifted(a, errors[-1], projection.lag, window):
        if projection.geometry.size:
            _gather_convolution(work, rows, offset, target)
        else:  # a product for all steps loads the weights once; step by step they would not stay in the cache
            target += rows[:, projection.first : projection.first + projection.n_post] @ projection.weight.T
    for k in range(len(pools) - 1, -1, -1):
        _through_pool(pools[k], work.stages[k], errors[k + 1], source if k == 0 else 0, errors[k])


def _shifted(a: Floats, e: Floats, lag: int, window: int) -> Iterator[tuple[Floats, Floats]]:
    """Rows of a, (n, n_post), and those of e that are `lag` steps earlier in the same window of backpropagation."""
    n_samples, n_steps = a.shape[:2]
    if lag == 0:
        yield a.reshape(-1, a.shape[2]), e.reshape(-1, e.shape[2])
        return
    length = window or n_steps
    for s in range(n_samples):
        for begin in range(0, n_steps, length):
            end = min(begin + length, n_steps)
            if begin + lag < end:
                yield a[s, begin + lag : end], e[s, begin : end - lag]


def _gather_convolution(work: WindowWork, a: Floats, source: int, e: Floats) -> None:
    """A matrix product for the windows, whose columns are then added up where they overlap."""
    projection, geometry = work.projection, work.projection.geometry
    if geometry[11] > 1:
        gather_groups(projection.weight, a, geometry, projection.first, source, e)
        return
    n_rows, n_out = len(a), projection.weight.shape[1]
    n_columns = len(projection.weight)
    mine = a[:, projection.first : projection.first + projection.n_post]
    errors = np.ascontiguousarray(mine).reshape(-1, n_out)
    size = max(1, _COLUMNS // n_columns)
    buffer = np.empty((min(size, n_rows * (projection.n_post // n_out)), n_columns), a.dtype)
    for begin in range(0, len(errors), size):
        some = errors[begin : begin + size]
        if some.any():
            columns = np.matmul(some, projection.weight.T, out=buffer[: len(some)])
            fold_columns(columns, geometry, begin, source, e)


def _through_pool(pool: GridPool, events: GridEvents, given: Floats, source: int, e: Floats) -> None:
    """Errors of the windows of a pool to the neurons before it; events : those that came into it."""
    if not pool.is_gate:
        average_backward(
            pool.indptr, pool.windows, e.dtype.type(pool.share), given.reshape(-1, pool.n_out), source,
            e.reshape(-1, e.shape[2]),
        )  # fmt: skip
        return
    record = np.empty(given.shape, np.int32)
    counts, winners = np.empty(pool.n_in, np.int64), np.empty(pool.n_out, np.int64)
    record_winners(
        events.starts, events.neurons, given.shape[1], pool.indptr, pool.windows, pool.rule, counts, winners,
        np.empty(pool.n_out, np.uint8), record,
    )  # fmt: skip
    gate_backward(pool.indptr, pool.windows, record, given, source, e)


def add_weight_gradient(work: WindowWork, a: Floats, weight: Floats) -> None:
    """Add the gradient of the weights, in their shape, for the events that were sent last."""
    projection, events = work.projection, work.stages[-1]
    d_weight = weight.reshape(projection.weight.shape)
    if not projection.geometry.size:
        weight_gradient_dense(
            events.starts, events.neurons, events.values, a, projection.lag, projection.first, d_weight
        )
        return
    convolution_weight_gradient(
        events.starts, events.neurons, events.values, a, projection.geometry, projection.lag, projection.first,
        work.place, work.rows, work.factors, d_weight,
    )  # fmt: skip
