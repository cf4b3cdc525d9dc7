"""Order output spikes canonically: by time, ties by neuron."""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.jit import kernel

#: An insertion sort is linear in the displacement of its entries: buckets larger than this are merged instead.
_LARGE_BUCKET = 24
_RUN = 16


@kernel
def _insertion_sort(times, neurons, start, end):
    for i in range(start + 1, end):
        t, m = times[i], neurons[i]
        j = i - 1
        while j >= start and (times[j] > t or (times[j] == t and neurons[j] > m)):
            times[j + 1], neurons[j + 1] = times[j], neurons[j]
            j -= 1
        times[j + 1], neurons[j + 1] = t, m


@kernel
def _merge_sort(times, neurons, spare_times, spare_neurons, first, n):
    """Bottom-up merge sort over insertion-sorted runs; two runs already in order are not merged."""
    stop = first + n
    for start in range(first, stop, _RUN):
        _insertion_sort(times, neurons, start, min(start + _RUN, stop))
    width = _RUN
    while width < n:
        for start in range(first, stop - width, 2 * width):
            middle, end = start + width, min(start + 2 * width, stop)
            t, m = times[middle - 1], neurons[middle - 1]
            if t < times[middle] or (t == times[middle] and m <= neurons[middle]):
                continue
            for i in range(width):
                spare_times[i], spare_neurons[i] = times[start + i], neurons[start + i]
            i, j, k = 0, middle, start
            while i < width:
                t, m = spare_times[i], spare_neurons[i]
                if j < end and (times[j] < t or (times[j] == t and neurons[j] < m)):
                    times[k], neurons[k] = times[j], neurons[j]
                    j += 1
                else:
                    times[k], neurons[k] = t, m
                    i += 1
                k += 1
        width *= 2


@kernel
def sort_events(times, neurons, spare_times, spare_neurons, heads, first, n):
    """Sort n entries of (times, neurons) from `first` on, in place; spare arrays hold >= n entries, heads >= n + 1.

    Spikes spread over their time span, so n equal buckets leave one or two in each: linear time, and hardly a branch
    that depends on the data. A crowded bucket (many spikes at nearly one time) falls back to a merge sort.
    """
    if n < 2:
        return
    low, high = times[first], times[first]
    for i in range(first, first + n):
        low = times[i] if times[i] < low else low
        high = times[i] if times[i] > high else high
    if n <= _RUN or not high > low:
        _merge_sort(times, neurons, spare_times, spare_neurons, first, n)
        return
    scale = (n - 1) / (high - low)
    if not scale < np.inf:
        _merge_sort(times, neurons, spare_times, spare_neurons, first, n)
        return
    heads[: n + 1] = 0
    for i in range(first, first + n):
        heads[int((times[i] - low) * scale) + 1] += 1
    largest = 0
    for i in range(n):
        largest = max(largest, heads[i + 1])
        heads[i + 1] += heads[i]
    if largest > _LARGE_BUCKET:
        _merge_sort(times, neurons, spare_times, spare_neurons, first, n)
        return
    for i in range(first, first + n):
        bucket = int((times[i] - low) * scale)
        k = heads[bucket]
        heads[bucket] = k + 1
        spare_times[k], spare_neurons[k] = times[i], neurons[i]
    for i in range(n):
        times[first + i], neurons[first + i] = spare_times[i], spare_neurons[i]
    _insertion_sort(times, neurons, first, first + n)
