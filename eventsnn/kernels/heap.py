"""Two binary heaps in plain arrays: spikes to come, one entry per neuron, and spikes on their way, any number."""

from __future__ import annotations

from eventsnn.kernels.jit import kernel

# -- an indexed heap: neurons by (key, neuron); place[n] is where neuron n sits, -1 for nowhere ------------------------


@kernel
def _before(key, a, b):
    return key[a] < key[b] or (key[a] == key[b] and a < b)


@kernel
def _rise(heap, place, key, i):
    n = heap[i]
    while i > 0:
        above = (i - 1) // 2
        if not _before(key, n, heap[above]):
            break
        heap[i] = heap[above]
        place[heap[i]] = i
        i = above
    heap[i] = n
    place[n] = i


@kernel
def _sink(heap, place, key, size, i):
    n = heap[i]
    while 2 * i + 1 < size:
        below = 2 * i + 1
        if below + 1 < size and _before(key, heap[below + 1], heap[below]):
            below += 1
        if not _before(key, heap[below], n):
            break
        heap[i] = heap[below]
        place[heap[i]] = i
        i = below
    heap[i] = n
    place[n] = i


@kernel
def put_neuron(heap, place, key, size, n, time):
    """Enter neuron n with this key, or change its key; returns the new size."""
    i = place[n]
    if i < 0:
        key[n] = time
        heap[size] = n
        _rise(heap, place, key, size)
        return size + 1
    earlier = time < key[n]
    key[n] = time
    if earlier:
        _rise(heap, place, key, i)
    else:
        _sink(heap, place, key, size, i)
    return size


@kernel
def remove_neuron(heap, place, key, size, n):
    """Take neuron n out, wherever it sits; returns the new size."""
    i = place[n]
    place[n] = -1
    size -= 1
    if i < size:
        last = heap[size]
        heap[i] = last
        place[last] = i
        _rise(heap, place, key, i)
        _sink(heap, place, key, size, place[last])
    return size


# -- a heap of spikes on their way: by arrival time, then in the order of their ranks ----------------------------------
# times : (2, capacity), rows ARRIVAL and EMITTED; items : (2, capacity) int64, rows RANK and SEGMENT

ARRIVAL, EMITTED = 0, 1
RANK, SEGMENT = 0, 1


@kernel
def _earlier(times, items, a, b):
    return times[ARRIVAL, a] < times[ARRIVAL, b] or (
        times[ARRIVAL, a] == times[ARRIVAL, b] and items[RANK, a] < items[RANK, b]
    )


@kernel
def _move(times, items, source, goal):
    times[ARRIVAL, goal], times[EMITTED, goal] = times[ARRIVAL, source], times[EMITTED, source]
    items[RANK, goal], items[SEGMENT, goal] = items[RANK, source], items[SEGMENT, source]


@kernel
def push_arrival(times, items, size, arrival, emitted, rank, segment):
    """Add an entry; returns the new size. The last column is scratch: there is room for capacity - 1 entries."""
    spare = times.shape[1] - 1
    times[ARRIVAL, spare], times[EMITTED, spare] = arrival, emitted
    items[RANK, spare], items[SEGMENT, spare] = rank, segment
    i = size
    while i > 0 and _earlier(times, items, spare, (i - 1) // 2):
        _move(times, items, (i - 1) // 2, i)
        i = (i - 1) // 2
    _move(times, items, spare, i)
    return size + 1


@kernel
def pop_arrival(times, items, size):
    """Take out the earliest entry (the caller has read entry 0); returns the new size."""
    size -= 1
    i = 0
    while 2 * i + 1 < size:
        below = 2 * i + 1
        if below + 1 < size and _earlier(times, items, below + 1, below):
            below += 1
        if not _earlier(times, items, below, size):
            break
        _move(times, items, below, i)
        i = below
    _move(times, items, size, i)
    return size
