import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eventsnn import Spikes, ValidationError, given_spikes, poisson_spikes, regular_spikes


def rng(seed=0):
    return np.random.default_rng(seed)


# -- Poisson --------------------------------------------------------------------------------------------------


def test_poisson_spikes_has_poisson_counts():
    counts = poisson_spikes(2.0, 3.0, n_neurons=100, n_samples=200, rng=rng()).counts().ravel()
    # Mean and variance are 6: their standard errors over 20,000 draws are 0.017 and 0.063; four of them.
    assert counts.mean() == pytest.approx(6.0, abs=0.07)
    assert counts.var() == pytest.approx(6.0, abs=0.25)
    observed = np.bincount(np.minimum(counts, 14), minlength=15)
    expected = stats.poisson.pmf(np.arange(15), 6.0)
    expected[14] += stats.poisson.sf(14, 6.0)
    assert stats.chisquare(observed, expected * counts.size).pvalue > 1e-3


def test_poisson_spikes_has_exponential_intervals():
    spikes = poisson_spikes(50.0, 400.0, n_neurons=1, rng=rng(1))
    intervals = np.diff(spikes.times)
    # A window of 20,000 mean intervals: that it ends is not seen in a test of this size.
    assert stats.kstest(intervals, "expon", args=(0.0, 1 / 50.0)).pvalue > 1e-3
    # independent: a correlation of n pairs has the standard error 1 / sqrt(n) = 0.007
    assert abs(np.corrcoef(intervals[1:], intervals[:-1])[0, 1]) < 0.03


def test_poisson_spikes_has_uniform_times_from_t_start_to_t_max():
    times = poisson_spikes(1000.0, 5.0, n_neurons=3, t_start=2.0, rng=rng(2)).times
    assert times.min() >= 2.0
    assert times.max() <= 5.0
    assert stats.kstest(times, "uniform", args=(2.0, 3.0)).pvalue > 1e-3


def test_poisson_spikes_takes_a_rate_per_neuron():
    rates = np.array([0.0, 1.0, 10.0, 100.0])
    counts = poisson_spikes(rates, 100.0, n_neurons=4, rng=rng(3)).counts()[0]
    assert counts[0] == 0
    assert np.all(np.abs(counts - 100 * rates) <= 4 * np.sqrt(100 * rates))  # four standard deviations


def test_poisson_spikes_samples_and_neurons_differ():
    spikes = poisson_spikes(100.0, 1.0, n_neurons=2, n_samples=2, rng=rng(4))
    assert np.unique(spikes.times).size == spikes.n_events > 300
    assert spikes.first_times().shape == (2, 2)


def test_poisson_spikes_follow_their_generator():
    one, same, other = (poisson_spikes(100.0, 1.0, n_neurons=5, rng=rng(seed)) for seed in (5, 5, 6))
    assert one == same
    assert one != other


def test_poisson_spikes_of_rate_zero_or_no_samples_are_none():
    assert poisson_spikes(0.0, 1.0, n_neurons=3, rng=rng()).n_events == 0
    empty = poisson_spikes(10.0, 1.0, n_neurons=3, n_samples=0, rng=rng())
    assert (empty.n_samples, empty.n_neurons, empty.n_events) == (0, 3, 0)


def test_poisson_spikes_never_lie_beyond_a_window_of_few_floats():
    start = 1.0
    end = np.nextafter(start, 2.0)
    times = poisson_spikes(1e19, end, n_neurons=1, t_start=start, rng=rng()).times
    assert times.size > 1000
    assert set(times.tolist()) <= {start, end}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": -1.0}, r"rate: must be a finite number and >= 0, got -1\.0"),
        ({"rate": [1.0, np.nan]}, r"rate\[1\]: must be a finite number and >= 0, got nan"),
        ({"rate": [1.0, 2.0, 3.0]}, r"rate: must be a number or of shape \(2,\), got shape \(3,\)"),
        ({"rate": "fast"}, "rate: must hold real numbers"),
        ({"t_max": 0.0}, r"t_max: must be a finite number and > 0, got 0\.0"),
        ({"t_max": np.inf}, "t_max: must be a finite number"),
        ({"t_start": 1.0}, r"t_max: must be a finite number and > 1, got 1\.0"),
        ({"t_start": -1.0}, "t_start: must be a finite number and >= 0"),
        ({"n_neurons": 0}, "n_neurons: must be an integer >= 1"),
        ({"n_samples": -1}, "n_samples: must be an integer >= 0"),
        ({"rng": 0}, r"rng: must be a numpy.random.Generator, got int"),
        ({"rate": 1e300, "t_max": 1e300}, "about inf spikes .* in Hz"),
        ({"rate": 1e13}, "about 2e.13 spikes .* in Hz"),
    ],
)
def test_poisson_spikes_rejects_bad_input(change, message):
    with pytest.raises(ValidationError, match=rf"poisson_spikes[.:] ?{message}"):
        poisson_spikes(**{"rate": 1.0, "t_max": 1.0, "n_neurons": 2, "rng": rng(), **change})


# -- regular --------------------------------------------------------------------------------------------------


def test_regular_spikes_includes_both_ends():
    assert regular_spikes(0.25, 1.0).times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert regular_spikes(0.25, 1.0, phase=1.0).times.tolist() == [1.0]
    assert regular_spikes(0.25, 1.0, phase=1.0 + 1e-9).n_events == 0
    assert regular_spikes(0.25, 0.0).times.tolist() == [0.0]


@given(st.floats(1e-3, 10.0), st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_regular_spikes_are_all_multiples_up_to_t_max(interval, phase, t_max):
    expected, k = [], 0
    while phase + k * interval <= t_max:
        expected.append(phase + k * interval)
        k += 1
    assert regular_spikes(interval, t_max, phase=phase).times.tolist() == expected


def test_regular_spikes_differ_by_neuron_and_repeat_by_sample():
    spikes = regular_spikes([1.0, 2.0, 0.5], 2.0, n_neurons=3, phase=[0.0, 0.5, 5.0], n_samples=2)
    for sample in spikes:
        assert sample.neurons.tolist() == [0, 1, 0, 0]
        assert sample.times.tolist() == [0.0, 0.5, 1.0, 2.0]
    assert regular_spikes(1.0, 2.0, n_neurons=2).counts().tolist() == [[3, 3]]
    assert regular_spikes(1.0, 2.0, n_samples=0).n_samples == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 0.0}, r"interval: must be a finite number and > 0, got 0\.0"),
        ({"interval": [1.0, -1.0], "n_neurons": 2}, r"interval\[1\]: must be a finite number and > 0, got -1\.0"),
        ({"interval": [1.0, 1.0]}, r"interval: must be a number or of shape \(1,\), got shape \(2,\)"),
        ({"phase": -0.1}, r"phase: must be a finite number and >= 0, got -0\.1"),
        ({"phase": np.inf}, "phase: must be a finite number"),
        ({"t_max": np.inf}, "t_max: must be a finite number and >= 0, got inf"),
        ({"n_neurons": 1.5}, "n_neurons: must be an integer"),
        ({"n_samples": True}, "n_samples: must be an integer"),
        ({"interval": 1e-15}, "1e.15 spikes; interval and t_max must be in the same unit"),
        ({"interval": 5e-324}, "inf spikes"),
    ],
)
def test_regular_spikes_rejects_bad_input(change, message):
    with pytest.raises(ValidationError, match=rf"regular_spikes[.:] ?{message}"):
        regular_spikes(**{"interval": 1.0, "t_max": 1.0, **change})


# -- given ----------------------------------------------------------------------------------------------------


def test_given_spikes_of_a_list_and_of_a_dict_are_the_same():
    from_list = given_spikes([[3.0, 1.0], [], np.array([2.0])])
    assert from_list == given_spikes({2: [2.0], 0: (1.0, 3.0)})
    assert from_list == Spikes([0, 0, 0], [0, 2, 0], [1.0, 2.0, 3.0], n_samples=1, n_neurons=3)


def test_given_spikes_keeps_equal_times():
    assert given_spikes([[1.0, 1.0]]).times.tolist() == [1.0, 1.0]


def test_given_spikes_takes_generators_and_numpy_keys():
    assert given_spikes(np.arange(k) for k in range(3)).counts().tolist() == [[0, 1, 2]]
    assert given_spikes({np.int64(1): np.array([5], dtype=np.int32)}).times.tolist() == [5.0]


def test_given_spikes_may_have_more_neurons_than_trains():
    assert given_spikes([[1.0]], n_neurons=4).n_neurons == 4
    assert given_spikes([], n_neurons=4).n_events == given_spikes({}, n_neurons=4).n_events == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0], [2.0, np.nan]],), r"times_by_neuron\[1\]: entry 1 is nan; must be finite and >= 0"),
        (({4: [-1.0]},), r"times_by_neuron\[4\]: entry 0 is -1\.0"),
        (([1.0, 2.0],), r"times_by_neuron\[0\]: must be a one-dimensional array of times, got shape \(\)"),
        (([["soon"]],), r"times_by_neuron\[0\]: must hold real numbers"),
        (([[1.0], [1.0]], 1), r"times_by_neuron: entry 1 is 1, must lie in 0 \.\. 0 \(n_neurons=1\)"),
        (({5: [1.0]}, 3), r"times_by_neuron: entry 0 is 5, must lie in 0 \.\. 2"),
        (({-1: [1.0]},), r"times_by_neuron: neurons must be integers >= 0, got -1"),
        (({"a": [1.0]},), r"times_by_neuron: neurons must be integers >= 0, got 'a'"),
        ((3.0,), "times_by_neuron: must be a list or dict of times, got float"),
        (([],), "n_neurons: must be given where times_by_neuron is empty"),
        (([[1.0]], 0), "n_neurons: must be an integer >= 1"),
    ],
)
def test_given_spikes_rejects_bad_input(arguments, message):
    with pytest.raises(ValidationError, match=rf"given_spikes\.{message}"):
        given_spikes(*arguments)
