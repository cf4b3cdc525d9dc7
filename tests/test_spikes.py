import copy
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsnn import Spikes, ValidationError, concatenate
from eventsnn.errors import MissingDependencyError

# times on a coarse grid now and then, so that ties in time are common
TIMES = st.one_of(st.integers(0, 4).map(float), st.floats(0, 1e6, allow_nan=False))


@st.composite
def events(draw, max_events=30):
    """Arguments of Spikes, in any order."""
    n_samples, n_neurons = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    if n_samples == 0 or n_neurons == 0:
        return [], [], [], n_samples, n_neurons
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, n_samples - 1), st.integers(0, n_neurons - 1), TIMES),
            max_size=max_events,
        )
    )
    samples, neurons, times = zip(*rows, strict=True) if rows else ((), (), ())
    return list(samples), list(neurons), list(times), n_samples, n_neurons


def make(args):
    samples, neurons, times, n_samples, n_neurons = args
    return Spikes(samples, neurons, times, n_samples=n_samples, n_neurons=n_neurons)


def assert_canonical(spikes):
    """The invariants every Spikes must hold, however it was made."""
    rows = list(zip(spikes.samples, spikes.times, spikes.neurons, strict=True))
    assert rows == sorted(rows)
    assert spikes.offsets.shape == (spikes.n_samples + 1,)
    assert spikes.offsets[0] == 0
    assert spikes.offsets[-1] == spikes.n_events == spikes.times.size == spikes.neurons.size
    for s in range(spikes.n_samples):
        assert np.all(spikes.samples[spikes.offsets[s] : spikes.offsets[s + 1]] == s)
    for array, dtype in ((spikes.samples, "int64"), (spikes.neurons, "int64"), (spikes.times, "float64")):
        assert array.dtype == dtype
        assert not array.flags.writeable
    assert not spikes.offsets.flags.writeable


def example():
    return Spikes([0, 2, 0, 2], [1, 0, 0, 0], [3e-3, 1e-3, 2e-3, 1e-3], n_samples=3, n_neurons=2)


# -- construction -------------------------------------------------------------------------------------------------


@given(events(), st.randoms(use_true_random=False))
def test_spikes_ignore_the_order_of_the_input(args, random):
    samples, neurons, times, n_samples, n_neurons = args
    order = list(range(len(times)))
    random.shuffle(order)
    shuffled = [[values[k] for k in order] for values in (samples, neurons, times)]
    spikes = make(args)
    assert_canonical(spikes)
    assert spikes == make((*shuffled, n_samples, n_neurons))
    assert sorted(zip(samples, times, neurons, strict=True)) == list(
        zip(spikes.samples, spikes.times, spikes.neurons, strict=True)
    )


def test_spikes_keep_duplicates():
    assert example().n_events == 4
    assert example().counts().tolist() == [[1, 1], [0, 0], [2, 0]]


def test_spikes_sort_with_more_neurons_than_fit_16_bits():
    spikes = Spikes([0, 0, 0], [70_000, 65_536, 4_463], [1.0, 1.0, 1.0], n_samples=1, n_neurons=100_000)
    assert spikes.neurons.tolist() == [4_463, 65_536, 70_000]


def test_spikes_accept_whole_floats_as_indices():
    assert Spikes([0.0, 1.0], [1.0, 0.0], [1, 2], n_samples=2, n_neurons=2).samples.tolist() == [0, 1]


def test_spikes_do_not_change_with_the_arrays_they_came_from():
    samples, neurons, times = np.array([0, 1]), np.array([0, 1]), np.array([1.0, 2.0])
    spikes = Spikes(samples, neurons, times, n_samples=2, n_neurons=2)
    samples[0], neurons[0], times[0] = 1, 1, 9.0
    assert (spikes.samples[0], spikes.neurons[0], spikes.times[0]) == (0, 0, 1.0)


@pytest.mark.parametrize("name", ["samples", "neurons", "times", "offsets", "n_samples", "n_neurons", "other"])
def test_spikes_are_immutable(name):
    spikes = example()
    with pytest.raises(AttributeError, match=r"immutable|no attribute"):
        setattr(spikes, name, 0)
    with pytest.raises(AttributeError, match=r"immutable|no attribute"):
        delattr(spikes, name)
    if isinstance(getattr(spikes, name, None), np.ndarray):
        with pytest.raises(ValueError, match="read-only"):
            getattr(spikes, name)[0] = 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [1.0, np.nan]}, r"Spikes.times: entry 1 \(sample 1, neuron 1\) is nan"),
        ({"times": [1.0, np.inf]}, "is inf"),
        ({"times": [-1.0, 1.0]}, "entry 0 .* is -1.0"),
        ({"times": ["a", "b"]}, "Spikes.times: must hold real numbers"),
        ({"times": [1j, 2.0]}, "Spikes.times: must hold real numbers"),
        ({"times": [[1.0, 2.0]]}, "one-dimensional and of equal length"),
        ({"times": [1.0]}, "equal length"),
        ({"samples": [0, 2]}, r"Spikes.samples: entry 1 is 2, must lie in 0 .. 1 \(n_samples=2\)"),
        ({"samples": [-1, 0]}, "entry 0 is -1"),
        ({"samples": [[0, 1]]}, "one-dimensional"),
        ({"samples": [0.5, 1.0]}, "Spikes.samples: must hold integers"),
        ({"samples": [np.nan, 1.0]}, "must hold integers"),
        ({"samples": [np.inf, 1.0]}, "entry 0 is inf"),
        ({"samples": [0.0, 1e300]}, "entry 1 is 1e"),
        ({"samples": np.array([0, 2**64 - 1], dtype=np.uint64)}, "entry 1 is 18446744073709551615"),
        ({"samples": ["a", "b"]}, "must hold integers"),
        ({"samples": [False, True]}, "must hold integers"),
        ({"neurons": [0, 3]}, r"Spikes.neurons: entry 1 is 3, must lie in 0 .. 2 \(n_neurons=3\)"),
        ({"neurons": [0, -3]}, "entry 1 is -3"),
        ({"n_samples": -1}, "Spikes.n_samples: must be an integer >= 0, got -1"),
        ({"n_samples": 2.0}, "Spikes.n_samples"),
        ({"n_samples": True}, "Spikes.n_samples"),
        ({"n_neurons": None}, "Spikes.n_neurons"),
    ],
)
def test_spikes_refuse_bad_input(change, message):
    good = {"samples": [0, 1], "neurons": [0, 1], "times": [1.0, 2.0], "n_samples": 2, "n_neurons": 3}
    Spikes(**good)
    with pytest.raises(ValidationError, match=message):
        Spikes(**(good | change))


# -- round trips --------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 5).flatmap(
        lambda n_neurons: st.lists(
            st.lists(st.one_of(st.just(np.inf), TIMES), min_size=n_neurons, max_size=n_neurons), min_size=1, max_size=5
        )
    )
)
def test_from_first_times_and_back_is_exact(first_times):
    spikes = Spikes.from_first_times(first_times)
    assert_canonical(spikes)
    np.testing.assert_array_equal(spikes.first_times(), np.array(first_times))


def test_from_first_times_agrees_with_the_constructor_across_blocks():
    rng = np.random.default_rng(0)
    first = np.where(rng.random((1000, 7)) < 0.5, rng.integers(0, 5, (1000, 7)), np.inf)  # many ties
    samples, neurons = np.nonzero(np.isfinite(first))
    spikes = Spikes.from_first_times(first)
    assert_canonical(spikes)
    assert spikes == Spikes(samples, neurons, first[samples, neurons], n_samples=1000, n_neurons=7)


@given(events())
def test_first_times_are_the_earliest_of_each_neuron(args):
    spikes = make(args)
    expected = np.full((spikes.n_samples, spikes.n_neurons), np.inf)
    np.minimum.at(expected, (spikes.samples, spikes.neurons), spikes.times)
    np.testing.assert_array_equal(spikes.first_times(), expected)


@pytest.mark.parametrize(
    ("first_times", "message"),
    [
        ([[1.0, np.nan]], "sample 0, neuron 1 is nan"),
        ([[1.0], [-np.inf]], "sample 1, neuron 0 is -inf"),
        ([[1.0], [-2.0]], "sample 1, neuron 0 is -2"),
        ([1.0, 2.0], r"expected \(n_samples, n_neurons\), got shape \(2,\)"),
        ([["a"]], "must hold real numbers"),
    ],
)
def test_from_first_times_refuses_bad_input(first_times, message):
    with pytest.raises(ValidationError, match=message):
        Spikes.from_first_times(first_times)


@st.composite
def grids(draw):
    shape = tuple(draw(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 6))))
    counts = draw(st.lists(st.integers(0, 2), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    return np.array(counts, dtype=np.int64).reshape(shape)


@given(grids(), st.sampled_from([1e-4, 1e-3, 0.1, 0.3, 1.0]))
def test_from_dense_and_back_is_exact(dense, dt):
    spikes = Spikes.from_dense(dense, dt)
    assert_canonical(spikes)
    np.testing.assert_array_equal(spikes.to_dense(dt, dense.shape[2]), dense)
    np.testing.assert_array_equal(spikes.counts(), dense.sum(axis=2))


@settings(deadline=None)  # the first example imports sparse
@given(grids(), st.sampled_from([1e-3, 0.1]))
def test_from_sparse_and_back_is_exact(dense, dt):
    import sparse

    spikes = Spikes.from_sparse(sparse.COO.from_numpy(dense), dt)
    assert_canonical(spikes)
    assert spikes == Spikes.from_dense(dense, dt)
    back = spikes.to_sparse(dt, dense.shape[2])
    assert isinstance(back, sparse.COO)
    assert back.shape == dense.shape
    np.testing.assert_array_equal(back.todense(), dense)


def test_from_dense_takes_booleans_and_whole_floats():
    dense = np.array([[[0, 1, 1]]])
    for other in (dense.astype(bool), dense.astype(float)):
        assert Spikes.from_dense(other, 0.1) == Spikes.from_dense(dense, 0.1)


def test_to_dense_rounds_to_the_nearest_step():
    spikes = Spikes([0, 0], [0, 0], [0.14, 0.16], n_samples=1, n_neurons=1)
    assert spikes.to_dense(0.1, 3).tolist() == [[[0, 1, 1]]]


@pytest.mark.parametrize("dt", [0, -1e-3, np.nan, np.inf, "1", None])
def test_grid_conversions_refuse_a_bad_dt(dt):
    with pytest.raises(ValidationError, match="dt: must be a finite number"):
        Spikes.from_dense(np.ones((1, 1, 1)), dt)
    with pytest.raises(ValidationError, match="to_dense: dt"):
        example().to_dense(dt, 10)
    with pytest.raises(ValidationError, match="to_sparse: dt"):
        example().to_sparse(dt, 10)


def test_to_dense_refuses_events_beyond_the_grid():
    with pytest.raises(ValidationError, match=r"time 0\.003 falls into step 3, beyond n_steps=3; raise n_steps or dt"):
        example().to_dense(1e-3, 3)
    assert example().to_dense(1e-3, 4).sum() == 4
    with pytest.raises(ValidationError, match="beyond n_steps"):
        example().to_dense(1e-320, 4)  # the step number overflows to inf
    with pytest.raises(ValidationError, match="beyond n_steps"):
        example().to_dense(1e-25, 4)  # the step number exceeds int64
    with pytest.raises(ValidationError, match="n_steps: must be an integer >= 0"):
        example().to_dense(1e-3, -1)


@pytest.mark.parametrize("bad", [-1.0, 0.5, np.nan, np.inf])
def test_from_dense_refuses_what_is_no_count(bad):
    with pytest.raises(ValidationError, match="spike counts"):
        Spikes.from_dense(np.array([[[0.0, bad]]]), 1e-3)
    with pytest.raises(ValidationError, match="n_samples, n_neurons, n_steps"):
        Spikes.from_dense(np.ones((2, 2)), 1e-3)


def test_from_sparse_refuses_other_things():
    import sparse

    with pytest.raises(ValidationError, match="got ndarray"):
        Spikes.from_sparse(np.ones((1, 1, 1)), 1e-3)
    with pytest.raises(ValidationError, match=r"shape \(2, 2\)"):
        Spikes.from_sparse(sparse.COO.from_numpy(np.eye(2)), 1e-3)
    with pytest.raises(ValidationError, match="fill_value must be 0"):
        Spikes.from_sparse(sparse.COO.from_numpy(np.ones((1, 1, 1)), fill_value=1), 1e-3)


@settings(deadline=None)  # the first example imports pandas
@given(events())
def test_to_pandas_holds_every_event_in_order(args):
    spikes = make(args)
    frame = spikes.to_pandas()
    assert list(frame.columns) == ["sample", "neuron", "time"]
    rebuilt = Spikes(
        frame["sample"], frame["neuron"], frame["time"], n_samples=spikes.n_samples, n_neurons=spikes.n_neurons
    )
    assert rebuilt == spikes


@pytest.mark.parametrize(
    ("package", "convert"),
    [("pandas", lambda s: s.to_pandas()), ("sparse", lambda s: s.to_sparse(1e-3, 4))],
)
def test_conversions_name_the_missing_package(monkeypatch, package, convert):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"pip install {package}"):
        convert(example())


# -- samples ------------------------------------------------------------------------------------------------------


KEYS = [
    0,
    -1,
    np.int32(1),
    slice(None),
    slice(1, 3),
    slice(3, 1),
    slice(None, None, -1),
    slice(None, None, 2),
    [],
    [2, 0, 2],
    [-1],
    np.array([1, 2]),
    np.array([], dtype=int),
    np.array([-1, -4]),
    np.array([3, 0], dtype=np.uint8),
    np.array([True, False, True, False]),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_getitem_selects_samples_as_numpy_does(key):
    rng = np.random.default_rng(1)
    first = np.where(rng.random((4, 6)) < 0.6, rng.random((4, 6)), np.inf)
    chosen = Spikes.from_first_times(first)[key]
    assert_canonical(chosen)
    assert chosen.n_neurons == 6
    np.testing.assert_array_equal(chosen.first_times(), np.atleast_2d(first[key]).reshape(-1, 6))


@pytest.mark.parametrize(
    "key", [4, -5, [4], np.array([0, 4]), np.array([-5]), [True, False], [0.5], "a", np.array([0.0])]
)
def test_getitem_refuses_what_is_out_of_range_or_no_index(key):
    with pytest.raises(IndexError, match="Spikes"):
        make(([], [], [], 4, 1))[key]


@pytest.mark.parametrize("key", [(0, 0), None, np.array([[0, 1]]), True])
def test_getitem_refuses_more_than_one_axis(key):
    with pytest.raises(IndexError, match="only samples can be indexed"):
        make(([], [], [], 4, 1))[key]


def test_getitem_of_a_range_copies_no_events():
    spikes = example()
    assert np.shares_memory(spikes[1:].times, spikes.times)


@given(events())
def test_concatenate_undoes_iteration(args):
    spikes = make(args)
    assert len(spikes) == spikes.n_samples
    parts = list(spikes)
    assert all(len(part) == 1 for part in parts)
    if parts:
        together = concatenate(parts)
        assert_canonical(together)
        assert together == spikes
        assert concatenate([spikes, spikes])[spikes.n_samples :] == spikes


def test_concatenate_refuses_bad_input():
    with pytest.raises(ValidationError, match="at least one"):
        concatenate([])
    with pytest.raises(ValidationError, match=r"same n_neurons, got \[1, 2\]"):
        concatenate([example(), make(([], [], [], 1, 1))])
    with pytest.raises(ValidationError, match="part 1 must be Spikes, got ndarray"):
        concatenate([example(), np.zeros(3)])


# -- behaviour as an object ---------------------------------------------------------------------------------------


@given(events())
def test_pickle_and_copy_give_equal_immutable_spikes(args):
    spikes = make(args)
    for twin in (pickle.loads(pickle.dumps(spikes)), copy.copy(spikes), copy.deepcopy(spikes)):
        assert_canonical(twin)
        assert twin == spikes


def test_eq_sees_every_difference():
    spikes = example()
    assert spikes == example()
    assert spikes != Spikes(spikes.samples, spikes.neurons, spikes.times + 1e-18, n_samples=3, n_neurons=3)
    assert spikes != Spikes(spikes.samples, 1 - spikes.neurons, spikes.times, n_samples=3, n_neurons=2)
    assert spikes != Spikes(spikes.samples, spikes.neurons, spikes.times * 2, n_samples=3, n_neurons=2)
    assert spikes != Spikes([0, 1, 1, 1], spikes.neurons, spikes.times, n_samples=3, n_neurons=2)
    assert spikes != spikes[:2]
    assert spikes != "spikes"
    with pytest.raises(TypeError, match="unhashable"):
        hash(spikes)


def test_repr_shows_counts_and_time_range():
    assert repr(example()) == "Spikes(n_samples=3, n_neurons=2, n_events=4, times 0.001 .. 0.003)"
    assert repr(example()[1]) == "Spikes(n_samples=1, n_neurons=2, n_events=0, no events)"


def test_repr_html_shows_counts_and_time_range():
    html = example()._repr_html_()
    for text in ("Spikes", "<td>3</td>", "<td>4</td>", "0 .. 2, mean 1.3", "0.001 .. 0.003"):
        assert text in html
    assert "<td>-</td>" in make(([], [], [], 0, 1))._repr_html_()
