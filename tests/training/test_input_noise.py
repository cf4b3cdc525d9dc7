from __future__ import annotations

import itertools

import numpy as np
import pytest

from eventsnn import Currents, ImageShift, Spikes, ValidationError
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
    moved = drawn(InputNoise(0.1, 0.25, 3, ImageShift((5, 6), 1)), source)
    for (_, some), (_, all_of_them) in zip(moved, both, strict=True):
        assert 0 < some.size < all_of_them.size
        assert np.isin(some, all_of_them).all()
    assert [o.tolist() for o, _ in both] == [o.tolist() for o, _ in drawn(InputNoise(0.5, 0.25, 3), source)]


def test_input_noise_goes_on_from_its_state(source):
    one, other = (InputNoise(0.1, 0.25, seed, ImageShift((5, 6), 2)) for seed in (3, 4))
    assert not equal(drawn(one, source), drawn(other, source))
    other.load_state_dict(one.state_dict())
    assert equal(drawn(one, source), drawn(other, source))


def test_image_shift_moves_whole_images():
    # every neuron spikes once, at a time that says which one it was
    shape = (4, 5, 2)
    image = np.arange(40.0).reshape(shape)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=-1.0)
    source = input_events(Spikes.from_first_times(np.tile(image.ravel(), (45, 1))))
    add = InputNoise(0.0, 0.0, 3, ImageShift(shape, 2)).draw(source, np.arange(45), BLOCKS)
    moves = set()
    for k, block in enumerate(BLOCKS):
        events = block_events(source, np.arange(*block))
        add(k, events)
        for start, end in itertools.pairwise(events.offsets):
            found = np.full(40, -1.0)
            found[events.neurons[start:end]] = events.times[start:end]
            fits = [
                (down, right)
                for down, right in itertools.product(range(-2, 3), repeat=2)
                if (padded[2 - down : 6 - down, 2 - right : 7 - right].ravel() == found).all()
            ]
            assert len(fits) == 1
            assert (np.diff(events.times[start:end]) > 0).all()
            moves.add(fits[0])
    # of 25 moves all but 4 are expected in 45 draws
    assert len(moves) > 14
    assert {-2, 2} <= {down for down, _ in moves} & {right for _, right in moves}


@pytest.mark.parametrize(
    ("shape", "pixels", "message"),
    [
        (28, 1, r"ImageShift: shape must be \(height, width.*got 28$"),
        ((28,), 1, r"ImageShift: shape must be \(height, width"),
        ((28, 0), 1, r"ImageShift: shape must be \(height, width"),
        ((28, 2.5), 1, "ImageShift: shape: must be an integer"),
        ((28, 28), -1, "ImageShift: pixels: must be an integer >= 0"),
        ((28, 3), 3, r"ImageShift: pixels \(3\) must be less than height and width"),
    ],
)
def test_image_shift_refuses(shape, pixels, message):
    with pytest.raises(ValidationError, match=message):
        ImageShift(shape, pixels)


def test_image_shift_is_for_spikes_of_such_images(source):
    noise = InputNoise(0.0, 0.0, 3, ImageShift((5, 6), 1))
    noise.check(Spikes.from_first_times(np.ones((2, 30))))
    with pytest.raises(ValidationError, match=r"images of \(5, 6\) do not have the inputs' 31 neurons"):
        noise.check(Spikes.from_first_times(np.ones((2, 31))))
    with pytest.raises(ValidationError, match="image_shift: only for inputs that are spikes"):
        noise.check(Currents(np.ones((2, 30))))
    with pytest.raises(ValidationError, match="image_shift: must be an ImageShift or None"):
        InputNoise(0.0, 0.0, 3, 1)
