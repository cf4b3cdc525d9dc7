"""Highest membrane potential of silent neurons, in closed form: what the silent-neuron hinge pushes on."""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.constants import TIME
from eventsnn.kernels.highest import HIGHEST_WORK, LANES, enter_highest, find_highest
from eventsnn.kernels.jit import kernel


@kernel
def _lanes_of(weight, columns, n_columns, lanes):
    """Copy the chosen columns of the weights to lanes[input, chunk, lane], zeros behind the last."""
    lanes[:] = weight.dtype.type(0.0)
    for j in range(weight.shape[0]):
        for m in range(n_columns):
            lanes[j, m // LANES, m % LANES] = weight[j, columns[m]]


@kernel(allocates=True)
def layer_peaks(constants, weight, events, factors, wanted, record, peaks):
    """Enter the highest peak of every silent neuron with wanted[sample, neuron] into `record`, its height into `peaks`.

    The maximum over a sample (see `highest`) lies inside an interval, at t_end, or at a kink. A neuron that never rose
    above its resting value, or that fired, keeps peak 0; its time stays as it was. Must run after the outputs of the
    forward pass have been used: the record of a silent neuron is overwritten.

    The neurons that are wanted in any sample are taken together in all samples: mostly they are the same.
    """
    offsets, neurons, clock, times = events.offsets, events.neurons, factors.clock, record.time
    n_samples, n_post = wanted.shape
    chosen, columns = np.zeros(n_post, np.bool_), np.empty(n_post + 1, np.int64)
    for b in range(n_samples):
        for n in range(n_post):
            chosen[n] |= wanted[b, n]
    n_columns = 0
    for n in range(n_post):
        columns[n_columns] = n
        n_columns += chosen[n]
    n_chunks = -(-n_columns // LANES)
    lanes = np.empty((weight.shape[0], n_chunks, LANES), weight.dtype)
    _lanes_of(weight, columns, n_columns, lanes)
    work, best = np.empty(HIGHEST_WORK, weight.dtype), np.empty(LANES, np.int64)
    peaks[:, :] = 0.0
    for b in range(n_samples):
        start, end = offsets[b], offsets[b + 1]
        while end > start and clock[TIME, end - 1] > constants.t_end:
            end -= 1
        for c in range(n_chunks):
            mine = columns[LANES * c : min(LANES * (c + 1), n_columns)]
            n_silent = 0
            for i in range(mine.size):
                n_silent += wanted[b, mine[i]] and times[b, mine[i]] == np.inf
            if n_silent == 0:
                continue
            find_highest(constants, lanes, c, neurons, factors, start, end, work, best)
            for i in range(mine.size):
                n = mine[i]
                if wanted[b, n] and times[b, n] == np.inf and best[i] >= 0:
                    enter_highest(
                        constants, lanes, c, i, neurons, factors, start, end, work, best[i], b, n, record, peaks
                    )
