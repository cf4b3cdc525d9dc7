"""Events on a grid, against plain NumPy; the engine without the compiler gives the same."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from eventsnn import Spikes
from eventsnn.kernels.bits import flag_words
from eventsnn.kernels.grid_events import (
    bin_events,
    count_grid_spikes,
    events_of_rows,
    first_steps,
    inspect_binning,
    list_spikes,
    pack_spikes,
    spike_events,
)
from eventsnn.kernels.grid_projection import transpose_entries
from eventsnn.kernels.grid_step import list_flags

# A scalar product that leaves its upper half out, on purpose; without the compiler NumPy warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")


def _spikes(seed, n_samples=4, n_neurons=6, n_events=60, t_max=9.4):
    rng = np.random.default_rng(seed)
    samples, neurons = rng.integers(0, n_samples, n_events), rng.integers(0, n_neurons, n_events)
    return Spikes(samples, neurons, rng.uniform(0.0, t_max, n_events), n_samples=n_samples, n_neurons=n_neurons)


@pytest.mark.parametrize("n", [8, 16, 72])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
def test_list_flags_lists_every_place_in_order(n, density):
    rng = np.random.default_rng(0)
    for _ in range(50):
        fired = (rng.random(n) < density).astype(np.uint8)
        neurons = np.full(n + 3, -1)
        n_listed = list_flags(fired.view(np.uint64), neurons, 2)
        assert n_listed == 2 + fired.sum()
        np.testing.assert_array_equal(neurons[2:n_listed], np.flatnonzero(fired))
        assert neurons[:2].tolist() == [-1, -1]


def test_list_flags_knows_every_word():
    for pattern in range(256):
        fired = np.array([pattern >> k & 1 for k in range(8)], np.uint8)
        neurons = np.empty(8, np.int64)
        n_listed = list_flags(fired.view(np.uint64), neurons, 0)
        assert neurons[:n_listed].tolist() == np.flatnonzero(fired).tolist()


@pytest.mark.parametrize("dt", [0.1, 0.5, 1.0, 3.0])
def test_bin_events_counts_events_by_step(dt):
    spikes = _spikes(1)
    steps = np.rint(spikes.times / dt).astype(int)
    n_steps = steps.max() + 2
    starts = np.empty(4 * n_steps + 1, np.int64)
    bin_events(spikes.offsets, spikes.times, dt, n_steps, starts)
    expected = np.zeros((4, n_steps), int)
    np.add.at(expected, (spikes.samples, steps), 1)
    np.testing.assert_array_equal(np.diff(starts).reshape(4, n_steps), expected)
    assert starts[0] == 0


def test_inspect_binning_reports_what_the_grid_changes():
    spikes = _spikes(2)
    dt, n_steps = 0.5, 20
    exact = spikes.times / dt
    steps = np.rint(exact).astype(int)
    shared = spikes.times.size - len(np.unique([spikes.samples, spikes.neurons, steps], axis=1).T)
    seen = np.full(6, -1, np.int64)
    beyond, n_moved, largest, n_shared = inspect_binning(
        spikes.offsets, spikes.neurons, spikes.times, dt, n_steps, seen
    )
    assert (beyond, n_moved, n_shared) == (-1, spikes.times.size, shared)
    assert shared > 0
    assert largest == np.abs(exact - steps).max()
    short = inspect_binning(spikes.offsets, spikes.neurons, spikes.times, dt, 10, np.full(6, -1, np.int64))
    assert short[0] == np.flatnonzero(steps >= 10)[0]


def test_events_of_rows_are_the_entries_by_step():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(3, 5, 7)) * (rng.random((3, 5, 7)) < 0.3)
    n_events = np.count_nonzero(rows)
    starts, neurons, values = np.empty(22, np.int64), np.empty(n_events + 1, np.int64), np.empty(n_events + 1)
    assert events_of_rows(rows, starts, neurons, values) == n_events
    neurons, values = neurons[:n_events], values[:n_events]
    by_step = np.moveaxis(rows, 1, 2)
    samples, steps, expected = np.nonzero(by_step)
    np.testing.assert_array_equal(neurons, expected)
    np.testing.assert_array_equal(values, by_step[samples, steps, expected])
    np.testing.assert_array_equal(np.diff(starts), np.bincount(samples * 7 + steps, minlength=21))


def test_spikes_by_step_are_counted_and_timed():
    spikes = _spikes(4)
    n_steps = 20
    starts = np.empty(4 * n_steps + 1, np.int64)
    bin_events(spikes.offsets, spikes.times, 0.5, n_steps, starts)
    counts = np.zeros((4, 6))
    count_grid_spikes(starts, spikes.neurons, n_steps, counts)
    np.testing.assert_array_equal(counts, spikes.counts())
    first = np.full((4, 6), np.inf)
    first_steps(starts, spikes.neurons, n_steps, first)
    np.testing.assert_array_equal(first, np.rint(spikes.first_times() / 0.5))
    offsets, times = np.empty(5, np.int64), np.empty(spikes.n_events)
    spike_events(starts, n_steps, 0.5, offsets, times)
    np.testing.assert_array_equal(offsets, spikes.offsets)
    np.testing.assert_array_equal(times, np.rint(spikes.times / 0.5) * 0.5)


@pytest.mark.parametrize("n", [3, 64, 70])
def test_spikes_are_packed_and_listed(n):
    rng = np.random.default_rng(n)
    u, threshold = rng.standard_normal((4, 11, n)), rng.standard_normal(n)
    u[1] = threshold  # at the threshold is not above it
    u[2] = threshold + 1
    fired = u > threshold
    n_words = -(-n // 64)
    masks, history = np.full((5, 11, n_words), 255, np.uint64), np.full((5, 2, 64 * n_words), 255, np.uint8)
    pack_spikes(u, threshold, *flag_words(n), masks, history)
    bits = masks.view(np.uint8)
    np.testing.assert_array_equal(np.unpackbits(bits[:4], axis=2, count=n, bitorder="little"), fired)
    assert not np.unpackbits(bits[:4], axis=2, bitorder="little")[:, :, n:].any()
    np.testing.assert_array_equal(np.unpackbits(history[:4], axis=1, count=11, bitorder="little")[:, :, :n], fired)
    assert (masks[4] == 255).all()
    assert (history[4] == 255).all()
    n_spikes = fired.sum(axis=(1, 2))
    starts, neurons = np.full(4 * 11 + 1, -1), np.full(fired.sum() + 1, -1)
    list_spikes(masks[:4], n_spikes, 11 * n - 1, starts, neurons)  # all but sample 2
    fired[2] = False
    np.testing.assert_array_equal(starts, np.concatenate(([0], np.cumsum(fired.sum(axis=2)))))
    np.testing.assert_array_equal(neurons[: starts[-1]], np.nonzero(fired)[2])


def test_transpose_entries_sorts_by_column():
    rng = np.random.default_rng(5)
    dense = rng.normal(size=(6, 9)) * (rng.random((6, 9)) < 0.4)
    rows, columns = np.nonzero(dense)
    starts = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=6))))
    place, samples, entries = np.empty(10, np.int64), np.empty(rows.size, np.int64), np.empty(rows.size)
    transpose_entries(starts, columns, dense[rows, columns], place, samples, entries)
    found = np.zeros((9, 6))
    for j in range(9):
        found[j, samples[place[j] : place[j + 1]]] = entries[place[j] : place[j + 1]]
    np.testing.assert_array_equal(found, dense.T)


WITHOUT_COMPILER = """
import numpy as np
from tests.gradients.test_surrogate_gradient import FastSigmoid, assert_case, clock_of, linear_loss
from tests.simulation.grid_cases import WIRINGS, random_case
from tests.simulation.test_clock_driven import assert_same, run_case
for kind, reset in (("current_lif", ("zero", "same_step")), ("leaky", ("subtract", "next_step")),
                    ("if", ("subtract", "same_step")), ("lif", ("zero", "same_step"))):
    for wiring in WIRINGS:
        case = random_case(3, kind, wiring, reset=reset, n_steps=12, n_samples=2)
        assert_same(run_case(case), case.run(), case)
        assert_case(case, linear_loss("membrane", 4, 12), clock_of(case, surrogate=FastSigmoid(slope=3.0)))
"""


def test_the_engine_without_the_compiler_is_the_reference():
    environment = dict(os.environ, NUMBA_DISABLE_JIT="1")
    command = [sys.executable, "-W", "error:::eventsnn", "-W", "ignore:overflow encountered", "-c", WITHOUT_COMPILER]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
