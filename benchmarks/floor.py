"""The floor: what any event-driven pass must do at least, two multiply-adds per synaptic event, and nothing else.

Forward, every input spike adds its row of weights to two coefficients per neuron, ``a += w e1; b += w e2``; backward,
every input spike adds ``a e1 + b e2`` to its row of the weight gradient. No factors, no threshold test, no spike times.
The loops are the fastest form found: forward, four events share one load and store of a and b. These kernels are no
part of the library, which is why they are here, with an njit of their own.
"""

from __future__ import annotations

import threading

import numpy as np
from numba import njit


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def _four_rows(row0, row1, row2, row3, e1, e2, a, b):
    g0, g1, g2, g3 = e1[0], e1[1], e1[2], e1[3]
    c0, c1, c2, c3 = e2[0], e2[1], e2[2], e2[3]
    for n in range(a.size):
        a[n] += row0[n] * g0 + row1[n] * g1 + row2[n] * g2 + row3[n] * g3
        b[n] += row0[n] * c0 + row1[n] * c1 + row2[n] * c2 + row3[n] * c3


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def _one_row(row, e1, e2, a, b):
    for n in range(a.size):
        a[n] += row[n] * e1
        b[n] += row[n] * e2


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def _add_row(d_row, a, b, e1, e2):
    for n in range(d_row.size):
        d_row[n] += a[n] * e1 + b[n] * e2


@njit(nogil=True, error_model="numpy")
def forward(offsets, neurons, e1, e2, weight, first, last, a, b):
    """Samples first : last of one layer; a and b (samples, n_post) hold the coefficients at the end."""
    for s in range(first, last):
        a_s, b_s = a[s - first], b[s - first]
        a_s[:] = 0.0
        b_s[:] = 0.0
        k, end = offsets[s], offsets[s + 1]
        while k + 4 <= end:
            _four_rows(
                weight[neurons[k]], weight[neurons[k + 1]], weight[neurons[k + 2]], weight[neurons[k + 3]],
                e1[k : k + 4], e2[k : k + 4], a_s, b_s,
            )  # fmt: skip
            k += 4
        while k < end:
            _one_row(weight[neurons[k]], e1[k], e2[k], a_s, b_s)
            k += 1


@njit(nogil=True, error_model="numpy")
def backward(offsets, neurons, e1, e2, first, last, a, b, d_weight):
    """The weight gradient of the same samples, from late to early."""
    for s in range(first, last):
        for k in range(offsets[s + 1] - 1, offsets[s] - 1, -1):
            _add_row(d_weight[neurons[k]], a[s - first], b[s - first], e1[k], e2[k])


class Floor:
    """Forward and backward floor of a chain over the spikes of a finished simulation, in blocks like the library."""

    def __init__(self, weights, spikes, block_size=64):
        self.weights = [np.ascontiguousarray(w) for w in weights]
        self.block_size = block_size
        self.n_samples = spikes[0].n_samples
        self._buffers = threading.local()
        rng = np.random.default_rng(0)
        self.events = []
        for layer_spikes in spikes:
            factors = rng.uniform(0.1, 1.0, (2, layer_spikes.n_events)).astype(self.weights[0].dtype)
            self.events.append((layer_spikes.offsets, layer_spikes.neurons, factors[0], factors[1]))

    @property
    def n_synaptic_events(self):
        return sum(events[1].size * w.shape[1] for events, w in zip(self.events, self.weights, strict=True))

    def blocks(self):
        return [(k, min(k + self.block_size, self.n_samples)) for k in range(0, self.n_samples, self.block_size)]

    def run(self, pool, *, with_backward):
        """All samples once, without an optimiser."""
        dtype = self.weights[0].dtype

        def work(block):
            for (offsets, neurons, e1, e2), w in zip(self.events, self.weights, strict=True):
                a = np.empty((block[1] - block[0], w.shape[1]), dtype)
                b = np.empty_like(a)
                forward(offsets, neurons, e1, e2, w, *block, a, b)
                if with_backward:
                    backward(offsets, neurons, e1, e2, *block, a, b, self._gradient(w.shape, dtype))

        pool.map(work, self.blocks())

    def _gradient(self, shape, dtype):
        """This thread's gradient buffer, kept between calls."""
        mine = self._buffers.__dict__
        if shape not in mine:
            mine[shape] = np.zeros(shape, dtype)
        return mine[shape]
