from __future__ import annotations

import numpy as np
import pytest

from eventsnn import Spikes
from eventsnn.gradients.first_spike import block_events
from eventsnn.simulation.layers import input_events
from eventsnn.training.input_noise import InputNoise

BLOCKS = [(0, 20), (20, 45)]


def drawn(noise, source):
    """The events of two batches of 45 samples, with noise."""
    found = []
    for chosen in (np.arange(45), np.arange(44, -1, -1)):
        add = noise.draw(source, chosen, BLOCKS)
        for k, block in enumerate(BLOCKS):
            events = block_events(source, chosen[slice(*block)])
            add(k, events)
            found.append((events.offsets.copy(), events.times[: events.offsets[-1]].copy()))
    return found


def equal(one, other):
    return all((x == y).all() for a, b in zip(one, other, strict=True) for x, y in zip(a, b, strict=True))


@pytest.fixture
def source():
    return input_events(Spikes.from_first_times(np.random.default_rng(0).uniform(0.0, 1.0, (45, 30))))


def test_input_noise_moves_times_and_drops_spikes(source):
    middle = input_events(Spikes.from_first_times(np.full((45, 30), 0.5)))
    found = drawn(InputNoise(0.1, 0.0, 3), middle)
    assert [o[-1] for o, _ in found] == [600, 750, 600, 750]
    times = np.concatenate([t for _, t in found])
    # 2700 draws: standard errors of 0.002 and 1.4 %
    assert abs(times.mean() - 0.5) < 0.01
    assert abs(times.std() / 0.1 - 1) < 0.06
    assert (np.concatenate([t for _, t in drawn(InputNoise(2.0, 0.0, 3), middle)]) >= 0.0).all()
    n_left = sum(o[-1] for o, _ in drawn(InputNoise(0.0, 0.25, 3), source))
    assert abs(n_left - 0.75 * 2700) < 100  # a standard error of 22
    assert equal(drawn(InputNoise(0.0, 0.0, 3), source), drawn(InputNoise(0.0, 0.0, 4), source))


def test_input_noise_has_a_stream_of_each_kind(source):
    # the times that both have left are the same: dropping spikes takes nothing from the stream of the times
    both, times = drawn(InputNoise(0.1, 0.25, 3), source), drawn(InputNoise(0.1, 0.0, 3), source)
    for (_, some), (_, all_of_them) in zip(both, times, strict=True):
        assert np.isin(some, all_of_them).all()
    assert [o.tolist() for o, _ in both] == [o.tolist() for o, _ in drawn(InputNoise(0.5, 0.25, 3), source)]


def test_input_noise_goes_on_from_its_state(source):
    one, other = InputNoise(0.1, 0.25, 3), InputNoise(0.1, 0.25, 4)
    assert not equal(drawn(one, source), drawn(other, source))
    other.load_state_dict(one.state_dict())
    assert equal(drawn(one, source), drawn(other, source))
