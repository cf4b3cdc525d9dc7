"""Order output spikes canonically: by time, ties by neuron."""

from __future__ import annotations

from numba import njit

_RUN = 16


@njit(cache=True, nogil=True, error_model="numpy")
def sort_events(times, neurons, spare_times, spare_neurons, n):
    """Sort the first n entries of (times, neurons) in place; the spare arrays hold at least n entries.

    Bottom-up merge sort over insertion-sorted runs: spikes arrive nearly in order (interval by interval), and two runs
    already in order are not merged.
    """
    for start in range(0, n, _RUN):
        for i in range(start + 1, min(start + _RUN, n)):
            t, m = times[i], neurons[i]
            j = i - 1
            while j >= start and (times[j] > t or (times[j] == t and neurons[j] > m)):
                times[j + 1], neurons[j + 1] = times[j], neurons[j]
                j -= 1
            times[j + 1], neurons[j + 1] = t, m
    width = _RUN
    while width < n:
        for start in range(0, n - width, 2 * width):
            middle, end = start + width, min(start + 2 * width, n)
            t, m = times[middle - 1], neurons[middle - 1]
            if t < times[middle] or (t == times[middle] and m <= neurons[middle]):
                continue
            for i in range(start, middle):
                spare_times[i], spare_neurons[i] = times[i], neurons[i]
            i, j, k = start, middle, start
            while i < middle:
                t, m = spare_times[i], spare_neurons[i]
                if j < end and (times[j] < t or (times[j] == t and neurons[j] < m)):
                    times[k], neurons[k] = times[j], neurons[j]
                    j += 1
                else:
                    times[k], neurons[k] = t, m
                    i += 1
                k += 1
        width *= 2
