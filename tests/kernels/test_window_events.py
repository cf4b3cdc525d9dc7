"""Events of planes by window and by pool, against loops over all windows."""

import numpy as np
import pytest

from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.if_exact import most_spikes_events
from eventsnn.kernels.window_events import count_window_events, join_windows, pooled_events, window_events

# height, width, channels, size y, x, stride y, x, padding y, x
GRIDS = [
    (4, 5, 2, 2, 3, 1, 1, 0, 0),
    (5, 4, 1, 3, 2, 2, 1, 1, 1),
    (3, 3, 3, 1, 1, 2, 2, 0, 0),  # pixels without a window
    (3, 4, 2, 3, 4, 1, 1, 2, 3),  # windows with one pixel
]


def geometry_of(grid):
    n_y, n_x = ((grid[axis] + 2 * grid[7 + axis] - grid[3 + axis]) // grid[5 + axis] + 1 for axis in (0, 1))
    return np.array([*grid, n_y, n_x, 1])


def events_of(grid, rng, n_samples=3, n=40):
    """Sorted by time, then neuron; times coincide often."""
    parts = []
    for _ in range(n_samples):
        times, neurons = rng.integers(0, 10, n) / 8, rng.integers(0, int(np.prod(grid[:3])), n)
        order = np.lexsort((neurons, times))
        parts.append((times[order], neurons[order]))
    parts.insert(1, (np.empty(0), np.empty(0, np.int64)))  # a sample without events
    offsets = np.concatenate(([0], np.cumsum([len(t) for t, _ in parts])))
    return InputEvents(offsets, np.concatenate([n for _, n in parts]), np.concatenate([t for t, _ in parts]))


def windows_of(grid):
    """Of every window: by pixel in it (y, x) on the plane the place in the window."""
    height, width, _, size_y, size_x, stride_y, stride_x, pad_y, pad_x = grid
    n_y, n_x = geometry_of(grid)[9:11]
    for y, x in np.ndindex(n_y, n_x):
        places = {}
        for i, j in np.ndindex(size_y, size_x):
            pixel = y * stride_y - pad_y + i, x * stride_x - pad_x + j
            if 0 <= pixel[0] < height and 0 <= pixel[1] < width:
                places[pixel] = i * size_x + j
        yield places


@pytest.mark.parametrize("grid", GRIDS)
def test_window_events_are_those_under_every_window(grid):
    rng = np.random.default_rng(0)
    geometry, events, n_channels = geometry_of(grid), events_of(grid, rng), grid[2]
    all_windows = list(windows_of(grid))
    n_samples = events.offsets.size - 1
    offsets = np.empty(n_samples * len(all_windows) + 1, np.int64)
    n = count_window_events(geometry, events, offsets)
    made, origins = InputEvents(offsets, np.empty(n, np.int64), np.empty(n)), np.empty(n, np.int64)
    window_events(geometry, events, 0.25, np.empty(len(all_windows), np.int64), made, origins)
    i = 0
    for b in range(n_samples):
        for places in all_windows:
            expected = []
            for k in range(events.offsets[b], events.offsets[b + 1]):
                pixel, channel = divmod(int(events.neurons[k]), n_channels)
                place = places.get(divmod(pixel, grid[1]))
                if place is not None:
                    expected.append((events.times[k] + 0.25, place * n_channels + channel, k))
            mine = slice(offsets[i], offsets[i + 1])
            assert list(zip(made.times[mine], made.neurons[mine], origins[mine], strict=True)) == expected
            i += 1
    assert n == offsets[-1]


@pytest.mark.parametrize("rule", ["all", "first", "most"])
@pytest.mark.parametrize("grid", GRIDS)
def test_pooled_events_are_those_of_the_winners(grid, rule):
    rng = np.random.default_rng(1)
    geometry, events, n_channels = geometry_of(grid), events_of(grid, rng), grid[2]
    all_windows = list(windows_of(grid))
    n_samples = events.offsets.size - 1
    n = count_window_events(geometry, events, np.empty(n_samples * len(all_windows) + 1, np.int64))
    made, origins = InputEvents(np.empty(n_samples + 1, np.int64), np.empty(n, np.int64), np.empty(n)), np.empty(n, int)
    winners = np.empty(len(all_windows) * n_channels, np.int64)
    if rule == "most":
        most_spikes_events(geometry, events, np.empty(int(np.prod(grid[:3])), np.int64), winners, made, origins)
    else:
        pooled_events(geometry, events, rule == "first", winners, made, origins)
    for b in range(n_samples):
        low, high = events.offsets[b], events.offsets[b + 1]
        expected = []
        for i, places in enumerate(all_windows):
            for channel in range(n_channels):
                own = [
                    k for k in range(low, high)
                    if events.neurons[k] % n_channels == channel
                    and divmod(int(events.neurons[k]) // n_channels, grid[1]) in places
                ]  # fmt: skip
                for k in own:
                    if winner_at(events, own, events.times[k], rule, events.neurons[k]):
                        expected.append((events.times[k], i * n_channels + channel, k))
        mine = slice(made.offsets[b], made.offsets[b + 1])
        found = list(zip(made.times[mine], made.neurons[mine], origins[mine], strict=True))
        assert sorted(found) == sorted(expected)
        assert (np.diff(made.times[mine]) >= 0).all()


def winner_at(events, own, t, rule, neuron):
    """Whether a neuron is the winner of the window with the events `own` at time t."""
    if rule == "all":
        return True
    if rule == "first":
        return neuron == events.neurons[own[0]]
    counts, winner = {}, None
    for time in np.unique(events.times[own]):
        if time > t:
            break
        group = [events.neurons[k] for k in own if events.times[k] == time]
        for member in group:
            counts[member] = counts.get(member, 0) + 1
        for member in group:
            if winner is None or counts[member] > counts[winner]:
                winner = member
    return neuron == winner


def test_join_windows_sorts_by_time_then_neuron():
    rng = np.random.default_rng(2)
    n_windows, n_channels, parts = 4, 3, []
    for _ in range(2 * n_windows):
        n = rng.integers(0, 6)
        times, neurons = rng.integers(0, 5, n) / 4, rng.integers(0, n_channels, n)
        order = np.lexsort((neurons, times))
        parts.append((times[order], neurons[order]))
    offsets = np.concatenate(([0], np.cumsum([len(t) for t, _ in parts])))
    found = InputEvents(offsets, np.concatenate([n for _, n in parts]), np.concatenate([t for t, _ in parts]))
    n = int(offsets[-1])
    out, order = InputEvents(np.empty(3, np.int64), np.empty(n, np.int64), np.empty(n)), np.empty(n, np.int64)
    join_windows(found, n_windows, n_channels, out, order)
    neurons = np.repeat(np.tile(np.arange(n_windows), 2), np.diff(offsets)) * n_channels + found.neurons
    sample = np.repeat(np.arange(2 * n_windows), np.diff(offsets)) // n_windows
    expected = np.lexsort((neurons, found.times, sample))
    np.testing.assert_array_equal(out.times, found.times[expected])
    np.testing.assert_array_equal(out.neurons, neurons[expected])
    np.testing.assert_array_equal(out.times, found.times[order])
    assert out.offsets.tolist() == [0, offsets[n_windows], n]
