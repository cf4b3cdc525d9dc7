"""Random connectivity: `Sparse.random`."""

import numpy as np
import pytest

from eventsnn import Sparse, ValidationError
from eventsnn._synapses import _independent_pairs


def drawn(seed=0, **options):
    return Sparse.random(**({"n_pre": 30, "n_post": 20, "weight": 1.0, "rng": np.random.default_rng(seed)} | options))


def test_random_with_probability_has_independent_pairs():
    """Over many draws every pair has the probability, and two neighbouring pairs are independent."""
    rng = np.random.default_rng(5)
    n_draws, p = 4000, 0.3
    draws = np.zeros((n_draws, 3, 4))
    for draw in draws:
        draw[:] = Sparse.random(3, 4, probability=p, weight=1.0, rng=rng).to_scipy().toarray()
    # five standard errors, sqrt(p (1 - p)/4000) = 0.0072
    np.testing.assert_allclose(draws.mean(axis=0), p, atol=0.037)
    flat = draws.reshape(n_draws, 12)
    np.testing.assert_allclose((flat[:, 1:] * flat[:, :-1]).mean(axis=0), p * p, atol=0.023)
    # the number of synapses is binomial: variance 12 p (1 - p), its standard error 2.52 sqrt(2/4000) = 0.056
    assert abs(flat.sum(axis=1).var() - 12 * p * (1 - p)) < 0.29


def test_independent_pairs_go_on_where_a_draw_falls_short():
    class Short:
        def geometric(self, p, size):
            return np.array([1, 3])  # two gaps, however many are asked for

    pairs = _independent_pairs(3, 5, 0.5, Short())
    assert pairs.tolist() == [0, 3, 4, 7, 8, 11, 12]


@pytest.mark.parametrize(("probability", "n_synapses"), [(0, 0), (0.0, 0), (1, 600), (1.0, 600), (1e-300, 0)])
def test_random_with_the_ends_of_probability(probability, n_synapses):
    assert drawn(probability=probability).n_synapses == n_synapses


def test_random_is_cheap_for_few_of_many_pairs():
    """10^12 pairs, of which 1000 +- 32 are connected: five standard deviations."""
    sparse = drawn(n_pre=10**6, n_post=10**6, probability=1e-9)
    assert abs(sparse.n_synapses - 1000) < 160
    assert sparse.indices.max() > 900_000


@pytest.mark.parametrize("self_connections", [True, False])
@pytest.mark.parametrize("degree", [0, 1, 7, 19])
def test_random_with_a_degree_is_exact(degree, self_connections):
    options = {"n_pre": 20, "n_post": 20, "self_connections": self_connections}
    out = drawn(out_degree=degree, **options).to_scipy().toarray()
    assert (out.sum(axis=1) == degree).all()
    into = drawn(in_degree=degree, **options).to_scipy().toarray()
    assert (into.sum(axis=0) == degree).all()
    if not self_connections:
        assert not out.diagonal().any()
        assert not into.diagonal().any()


def test_random_degrees_draw_all_partners_alike():
    rng = np.random.default_rng(2)
    n_draws = 4000
    total = np.zeros((4, 4))
    for _ in range(n_draws):
        total += Sparse.random(4, 4, out_degree=2, weight=1.0, rng=rng, self_connections=False).to_scipy().toarray()
    # each of three partners with 2/3; five standard errors, sqrt(2/9/4000) = 0.0075
    np.testing.assert_allclose(total / n_draws, (2 / 3) * (1 - np.eye(4)), atol=0.038)


def test_random_without_self_connections_keeps_the_rest():
    rng = np.random.default_rng(0)
    sparse = Sparse.random(20, 20, probability=1.0, weight=1.0, rng=rng, self_connections=False)
    np.testing.assert_array_equal(sparse.to_scipy().toarray(), 1 - np.eye(20))


def test_random_asks_functions_for_weights_and_delays():
    rng = np.random.default_rng(3)
    sparse = Sparse.random(
        30,
        20,
        out_degree=5,
        weight=lambda n: np.arange(n, dtype=np.float32),
        rng=rng,
        delay=lambda n: 0.5 * np.arange(n),
    )
    assert sparse.dtype == np.float32
    assert sparse.weight.tolist() == list(range(150))  # in CSR order
    assert sparse.delay.tolist() == [0.5 * k for k in range(150)]


@pytest.mark.parametrize(("weight", "dtype"), [(2, np.float64), (2.0, np.float64), (np.float32(2.0), np.float32)])
def test_random_takes_one_weight_for_all(weight, dtype):
    sparse = drawn(in_degree=3, weight=weight, delay=np.ones((30, 1)))
    assert sparse.dtype == dtype
    assert (sparse.weight == 2.0).all()
    assert sparse.delay.shape == (30, 1)


@pytest.mark.parametrize("rule", [{"probability": 0.2}, {"out_degree": 4}, {"in_degree": 4}])
def test_random_follows_its_generator(rule):
    one, same, other = (drawn(seed, **rule).to_scipy().toarray() for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"Sparse.random: give one of probability, out_degree, in_degree; got none"),
        ({"probability": 0.1, "in_degree": 2}, "got probability and in_degree"),
        ({"probability": 1.5}, "Sparse.random.probability: must be <= 1, got 1.5"),
        ({"probability": -0.1}, "Sparse.random.probability: must be a finite number and >= 0, got -0.1"),
        ({"probability": np.nan}, "Sparse.random.probability: must be a finite number"),
        ({"probability": "half"}, "Sparse.random.probability: must be a finite number"),
        ({"out_degree": 21}, "Sparse.random.out_degree: must be <= 20, the number of partners there are, got 21"),
        ({"in_degree": 31}, "Sparse.random.in_degree: must be <= 30"),
        ({"in_degree": 30, "n_post": 30, "self_connections": False}, "Sparse.random.in_degree: must be <= 29"),
        ({"in_degree": -1}, "Sparse.random.in_degree: must be an integer >= 0, got -1"),
        ({"in_degree": 2.5}, "Sparse.random.in_degree: must be an integer >= 0, got 2.5"),
        ({"in_degree": 2, "n_pre": 0}, r"Sparse.random.n_pre: must be an integer >= 1 and below 2\*\*31, got 0"),
        ({"in_degree": 2, "n_post": 2.0}, "Sparse.random.n_post: must be an integer >= 1"),
        ({"in_degree": 2, "self_connections": False}, "a population that projects to itself, got n_pre=30, n_post=20"),
        ({"in_degree": 2, "rng": 3}, "Sparse.random.rng: must be a numpy.random.Generator, got int"),
        (
            {"in_degree": 2, "weight": [1.0, 2.0]},
            r"Sparse.random.weight: must be a number or a function, got shape \(2,\)",
        ),
        ({"in_degree": 2, "weight": "strong"}, "Sparse.random.weight: must hold real numbers"),
        ({"in_degree": 2, "weight": np.nan}, "Sparse.matrix: must be finite, got nan"),
        (
            {"in_degree": 2, "weight": lambda n: np.ones(n + 1)},
            r"Sparse.random.weight: the function must give 40 values, got shape \(41,\)",
        ),
        (
            {"in_degree": 2, "delay": lambda n: 1.0},
            r"Sparse.random.delay: the function must give 40 values, got shape \(\)",
        ),
        ({"in_degree": 2, "delay": -1.0}, "Sparse.delay: must be finite and >= 0"),
    ],
)
def test_random_refuses_bad_rules(options, message):
    with pytest.raises(ValidationError, match=message):
        drawn(**options)
