from __future__ import annotations

import numpy as np
import pytest

from eventsnn.kernels.sorting import sort_events


def check(times, neurons, first=0, n=None):
    """Sort entries first : first + n and compare with numpy; what lies outside must stay."""
    times, neurons = np.array(times, dtype=np.float64), np.array(neurons, dtype=np.int64)
    n = times.size - first if n is None else n
    own_times, own_neurons = times.copy(), neurons.copy()
    spare = np.empty(n), np.empty(n, np.int64), np.empty(n + 1, np.int64)
    sort_events(own_times, own_neurons, *spare, first, n)
    inside = slice(first, first + n)
    order = np.lexsort((neurons[inside], times[inside]))
    times[inside], neurons[inside] = times[inside][order], neurons[inside][order]
    assert np.array_equal(own_times, times)
    assert np.array_equal(own_neurons, neurons)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 15, 16, 17, 33, 100, 1000])
def test_sort_events_sorts_spread_times(n):
    rng = np.random.default_rng(n)
    check(rng.uniform(0.0, 1.0, n), rng.permutation(n))


@pytest.mark.parametrize("n", [2, 17, 40, 200, 1000])
def test_sort_events_breaks_ties_by_neuron(n):
    rng = np.random.default_rng(n)
    check(np.zeros(n), rng.permutation(n))
    check(rng.integers(0, 3, n), rng.permutation(n))
    check(rng.integers(0, max(n // 2, 1), n), rng.integers(0, 5, n))


@pytest.mark.parametrize("n", [30, 300])
def test_sort_events_takes_crowded_times(n):
    # Nearly all spikes at one time and one far away: equal buckets would put all into one.
    rng = np.random.default_rng(n)
    times = 1.0 + 1e-12 * rng.uniform(0.0, 1.0, n)
    times[rng.integers(n)] = 1e9
    check(times, rng.permutation(n))
    check(np.sort(times)[::-1], rng.permutation(n))


def test_sort_events_takes_extreme_spans():
    # (n - 1)/span is infinite for a denormal span, tiny for a huge one.
    rng = np.random.default_rng(0)
    check(5e-324 * rng.integers(0, 4, 40), rng.permutation(40))
    check(np.concatenate((np.zeros(20), np.full(20, 1e308))), rng.permutation(40))


@pytest.mark.parametrize(("first", "n"), [(0, 5), (7, 30), (20, 0), (3, 1), (50, 50)])
def test_sort_events_leaves_the_others_alone(first, n):
    rng = np.random.default_rng(1)
    check(rng.uniform(0.0, 1.0, 100), rng.permutation(100), first, n)
    check(rng.integers(0, 2, 100), rng.permutation(100), first, n)
