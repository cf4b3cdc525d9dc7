"""Both heaps against sorted lists."""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.heap import (
    ARRIVAL,
    EMITTED,
    RANK,
    SEGMENT,
    pop_arrival,
    push_arrival,
    put_neuron,
    remove_neuron,
)


def test_neurons_come_in_the_order_of_their_keys_then_numbers():
    rng = np.random.default_rng(0)
    n = 40
    heap, place, key = np.empty(n, np.int64), np.full(n, -1, np.int64), np.zeros(n)
    size, inside = 0, {}
    for _ in range(3000):
        neuron = int(rng.integers(n))
        if neuron in inside and rng.random() < 0.3:
            size = remove_neuron(heap, place, key, size, neuron)
            del inside[neuron]
            assert place[neuron] == -1
        else:
            inside[neuron] = float(rng.integers(12))  # many equal keys; new ones, earlier ones, later ones
            size = put_neuron(heap, place, key, size, neuron, inside[neuron])
        assert size == len(inside)
        if inside:
            assert heap[0] == min(inside, key=lambda m: (inside[m], m))
        assert all(heap[place[m]] == m for m in inside)
    order = []
    while size:
        order.append(int(heap[0]))
        size = remove_neuron(heap, place, key, size, heap[0])
    assert order == sorted(inside, key=lambda m: (inside[m], m))


def test_arrivals_come_in_the_order_of_their_times_then_ranks():
    rng = np.random.default_rng(1)
    times, items = np.empty((2, 64)), np.empty((2, 64), np.int64)
    size, inside = 0, []
    for rank in range(3000):
        if inside and (rng.random() < 0.5 or size == 63):
            first = min(inside)
            assert (times[ARRIVAL, 0], items[RANK, 0], times[EMITTED, 0], items[SEGMENT, 0]) == first
            size = pop_arrival(times, items, size)
            inside.remove(first)
        else:
            t = float(rng.integers(20))
            size = push_arrival(times, items, size, t, t - 0.5, rank, rank % 7)
            inside.append((t, rank, t - 0.5, rank % 7))
        assert size == len(inside)
