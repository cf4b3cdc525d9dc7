import numpy as np
import pytest

from eventsnn import ValidationError, encode_rate
from eventsnn.encoding import blocks, rate_code

VALUES = np.array([[0.0, 0.1, 0.5, 0.9, 1.0]])


def encode(values, n_steps, seed=0, **options):
    return encode_rate(values, n_steps, rng=np.random.default_rng(seed), **options)


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_bernoulli_counts_are_binomial(gain):
    n = 200_000
    [counts] = encode(VALUES, n, gain=gain).counts()
    p = VALUES[0] * gain
    # five standard deviations of a binomial count; p = 0 and p = 1 have none
    assert (np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p))).all()


def test_bernoulli_steps_have_one_spike_at_most_and_are_independent():
    grid = encode(np.full((300, 4), 0.3), 100).to_dense(1.0, 100).astype(float)
    assert set(np.unique(grid)) == {0.0, 1.0}
    deviation = grid - 0.3
    n = deviation[:, :, 1:].size
    # products of independent deviations: mean 0, standard deviation p (1 - p) / sqrt(n); five of them
    bound = 5 * 0.3 * 0.7 / np.sqrt(n)
    assert abs((deviation[:, :, 1:] * deviation[:, :, :-1]).mean()) < bound
    assert abs((deviation[:, 1:] * deviation[:, :-1]).mean()) < bound
    assert abs((deviation[1:] * deviation[:-1]).mean()) < bound


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_poisson_counts_of_every_step_are_poisson(gain):
    grid = encode(np.tile(VALUES, (400, 1)), 200, gain=gain, process="poisson").to_dense(1.0, 200)
    mean = VALUES[0] * gain
    n = 400 * 200
    # five standard deviations of a mean of n Poisson numbers
    assert (np.abs(grid.mean(axis=(0, 2)) - mean) <= 5 * np.sqrt(mean / n)).all()
    # the variance of a variance is (mean + 2 mean^2) / n
    assert (np.abs(grid.var(axis=(0, 2)) - mean) <= 5 * np.sqrt((mean + 2 * mean**2) / n)).all()
    silent = (grid == 0).mean(axis=(0, 2))
    p = np.exp(-mean)
    assert (np.abs(silent - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()
    # no step is special: five standard deviations of each of the 200 totals
    totals = grid.sum(axis=(0, 1))
    assert (np.abs(totals - 400 * mean.sum()) <= 5 * np.sqrt(400 * mean.sum())).all()


@pytest.mark.parametrize("process", ["bernoulli", "poisson"])
def test_spikes_are_in_order_and_on_the_grid(process):
    values = np.random.default_rng(1).random((40, 7))
    values[values < 0.4] = 0.0
    spikes = encode(values, 30, process=process, dt=0.25)
    assert (spikes.n_samples, spikes.n_neurons) == (40, 7)
    order = np.lexsort((spikes.neurons, spikes.times, spikes.samples))
    assert np.array_equal(order, np.arange(spikes.n_events))
    steps = spikes.times / 0.25
    assert np.array_equal(steps, np.floor(steps))
    assert steps.max() == 29
    assert not spikes.counts()[values == 0].any()
    assert spikes == encode(values, 30, process=process, dt=0.25)
    assert spikes != encode(values, 30, seed=1, process=process, dt=0.25)


@pytest.mark.parametrize("size", [1, 100, 999, 5000])
def test_blocks_change_no_bernoulli_spike_where_no_value_is_0(monkeypatch, size):
    values = np.random.default_rng(2).uniform(0.1, 0.5, (9, 11))
    whole = encode(values, 50)
    monkeypatch.setattr(blocks, "BLOCK", size)
    monkeypatch.setattr(rate_code, "BLOCK", size)
    assert encode(values, 50) == whole


@pytest.mark.parametrize("process", ["bernoulli", "poisson"])
def test_blocks_keep_rates_in_their_places(monkeypatch, process):
    monkeypatch.setattr(blocks, "BLOCK", 1000)
    monkeypatch.setattr(rate_code, "BLOCK", 1000)
    values = np.random.default_rng(3).random((50, 6)) * (np.random.default_rng(4).random((50, 6)) < 0.3)
    counts = encode(values, 400, process=process).counts()
    # six standard deviations for 300 counts, of a Poisson count, which is the wider
    assert (np.abs(counts - 400 * values) <= 6 * np.sqrt(400 * values)).all()


@pytest.mark.parametrize("process", ["bernoulli", "poisson"])
def test_nothing_makes_nothing(process):
    for values, gain in ((np.zeros((0, 3)), 1.0), (np.zeros((2, 0)), 1.0), (np.zeros((2, 3)), 1.0), (VALUES, 0.0)):
        spikes = encode(values, 10, process=process, gain=gain)
        assert (spikes.n_samples, spikes.n_neurons, spikes.n_events) == (*values.shape, 0)


def test_argument_is_left_alone():
    values = VALUES.copy()
    encode(values, 5)
    assert np.array_equal(values, VALUES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [[0.5, np.nan]]}, "encode_rate.values: sample 0, feature 1 is nan; must lie in .0, 1."),
        ({"values": [[0.5], [-0.5]]}, "encode_rate.values: sample 1, feature 0 is -0.5"),
        ({"values": [0.5]}, r"encode_rate.values: must be real numbers of shape .* got shape \(1,\)"),
        ({"n_steps": 0}, "encode_rate.n_steps: must be an integer >= 1 .*, got 0"),
        ({"dt": -1.0}, "encode_rate.dt: must be a finite number and > 0, got -1.0"),
        ({"gain": -1.0}, "encode_rate.gain: must be a finite number and >= 0, got -1.0"),
        ({"gain": np.inf}, "encode_rate.gain: must be a finite number"),
        ({"gain": 2.0}, "encode_rate.gain: the probability of a spike, value times gain, is 2 at sample 0, feature 1"),
        ({"gain": 1e13, "process": "poisson"}, "encode_rate: more than .* spikes are to be expected"),
        ({"gain": 1e308, "process": "poisson"}, "encode_rate: more than .* spikes are to be expected"),
        ({"process": "gamma"}, "encode_rate.process: must be 'bernoulli' or 'poisson', got 'gamma'"),
        ({"rng": 0}, "encode_rate.rng: must be a numpy.random.Generator, such as .*, got int"),
    ],
)
def test_encode_rate_refuses_bad_input(change, message):
    good = {"values": [[0.5, 1.0]], "n_steps": 10, "rng": np.random.default_rng(0)}
    encode_rate(**good)
    with pytest.raises(ValidationError, match=message):
        encode_rate(**(good | change))
