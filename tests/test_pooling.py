import numpy as np
import pytest

from eventsnn import IF, AvgPool2d, Conv2d, Dense, MaxPool2d, Pooled, Sequential, ValidationError
from eventsnn.connections import Connection
from tests.reference.convolution_numpy import average, convolve, matrix_of
from tests.test_convolution import dense_matrix

# (height, width, channels), size, stride, padding
POOLS = [
    ((4, 4, 2), 2, None, 0),
    ((5, 6, 3), (2, 3), None, 0),  # a row is left over
    ((5, 5, 2), 3, 2, 1),  # windows overlap
    ((6, 5, 1), (3, 2), (1, 3), (2, 0)),
    ((5, 5, 1), 1, 2, 0),
]


def reference(pool):
    return lambda plane: average(plane, pool.size, pool.stride, pool.padding)


@pytest.mark.parametrize("case", POOLS)
def test_average_is_its_matrix(case):
    pool = AvgPool2d(*case)
    expected = matrix_of(reference(pool), pool.image_shape)
    np.testing.assert_array_equal(dense_matrix(pool), expected)
    assert (pool.n_pre, pool.n_post, pool.n_synapses) == (*expected.shape, (expected != 0).sum())
    assert MaxPool2d(*case).out_shape == pool.out_shape


def test_average_is_a_connection_without_parameters():
    pool = AvgPool2d((4, 4, 1), 2)
    assert isinstance(pool, Connection)
    assert pool.with_values() is pool
    with pytest.raises(ValidationError, match="weights are fixed"):
        pool.with_values(weight=pool.weight)
    assert not pool.has_delay


def inner(plane, seed=0):
    """What may follow pools that give such a plane."""
    rng, n = np.random.default_rng(seed), int(np.prod(plane))
    yield Dense(rng.normal(size=(n, 4)), 0.5)
    yield Conv2d(rng.normal(size=(2, 1, plane[2], 3)), plane, padding=1, stride=(1, 2))


@pytest.mark.parametrize("case", POOLS)
def test_pooled_rows_are_the_product_of_the_matrices(case):
    pool = AvgPool2d(*case)
    for connection in inner(pool.out_shape):
        pooled = Pooled(pool, connection)
        expected = matrix_of(reference(pool), pool.image_shape) @ dense_matrix(connection)
        # where windows overlap a synapse is a sum of a few products
        np.testing.assert_allclose(dense_matrix(pooled), expected, rtol=0, atol=1e-15 * 10)
        indptr, indices, weights, delays = pooled.rows()
        assert indices.size == weights.size == delays.size == pooled.n_synapses == indptr[-1]
        assert (delays == connection.delay).all()
        for j in range(pooled.n_pre):
            assert (np.diff(indices[indptr[j] : indptr[j + 1]]) > 0).all()


@pytest.mark.parametrize("case", POOLS)
def test_pooled_fold_is_the_transpose_of_rows(case):
    pool, rng = AvgPool2d(*case), np.random.default_rng(2)
    for connection in inner(pool.out_shape):
        pooled = Pooled(pool, connection)
        given, change = rng.normal(size=pooled.n_synapses), rng.normal(size=connection.weight.shape)
        spread = pooled.with_values(weight=change).rows()[2]
        # both are sums of the same products in other orders
        np.testing.assert_allclose((pooled.fold(given) * change).sum(), (given * spread).sum(), rtol=1e-12)


def test_pooled_chains_several_averages():
    first, second = AvgPool2d((8, 8, 1), 2), AvgPool2d((4, 4, 1), 3, 1)
    connection = Conv2d(np.ones((2, 2, 1, 1)), (2, 2, 1))
    pooled = Pooled([first, second], connection)
    both = lambda plane: convolve(average(average(plane, (2, 2), (2, 2)), (3, 3), (1, 1)), connection.weight)  # noqa: E731
    # dyadic numbers over 9: a few roundings of numbers below 1
    np.testing.assert_allclose(dense_matrix(pooled), matrix_of(both, (8, 8, 1)), rtol=0, atol=1e-15)


def test_pooled_with_a_gate_has_no_rows():
    gate = MaxPool2d((4, 4, 1), 2, rule="first_spike")
    pooled = Pooled([gate, AvgPool2d((2, 2, 1), 2)], Dense(np.ones((1, 3))))
    with pytest.raises(ValidationError, match="MaxPool2d.* is a gate .* rule=.first_spike."):
        pooled.rows()
    assert pooled.after_gates()[2].tolist() == [0.25] * 12
    assert (pooled.gates, pooled.averages) == ((gate,), pooled.pools[1:])
    assert pooled.fold(np.ones(12)).tolist() == [[1, 1, 1]]


def test_pooled_lends_its_inner_weights():
    connection = Dense(np.ones((4, 3), np.float32), delay=0.1)
    pooled = Pooled(AvgPool2d((4, 4, 1), 2), connection)
    assert pooled.weight is connection.weight
    assert pooled.delay is connection.delay
    assert pooled.dtype == np.float32
    assert pooled.has_delay
    assert (pooled.n_pre, pooled.n_post, pooled.image_shape, pooled.out_shape) == (16, 3, (4, 4, 1), (3,))


@pytest.mark.parametrize("kind", [AvgPool2d, MaxPool2d])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 6}, "window of 6 x 6 does not fit into a plane of 5 x 5"),
        ({"size": 0}, "size: must be an integer >= 1 or two of them"),
        ({"size": 2, "stride": 0}, "stride: must be an integer >= 1"),
        ({"size": 2, "padding": 2}, r"padding: must be smaller than size=\(2, 2\), got \(2, 2\)"),
        ({"size": 2, "image_shape": (5, 5)}, r"image_shape: must be \(height"),
    ],
)
def test_pools_refuse(kind, options, message):
    with pytest.raises(ValidationError, match=f"{kind.__name__}.*{message}"):
        kind(**{"image_shape": (5, 5, 1)} | options)


def test_pools_refuse_their_own_options():
    with pytest.raises(ValidationError, match="MaxPool2d.rule: must be 'max_rate' or 'first_spike', got 'last'"):
        MaxPool2d((4, 4, 1), 2, rule="last")
    for dtype in ("int64", "nonsense"):
        with pytest.raises(ValidationError, match="AvgPool2d.dtype: must be float32 or float64"):
            AvgPool2d((4, 4, 1), 2, dtype=dtype)


AVG, MAX = AvgPool2d((4, 4, 1), 2), MaxPool2d((4, 4, 1), 2)


@pytest.mark.parametrize(
    ("pools", "connection", "message"),
    [
        ([], Dense(np.ones((4, 1))), "pools: must be one or more"),
        ([Dense(np.ones((4, 1)))], Dense(np.ones((4, 1))), "pools: must be one or more"),
        (AVG, Dense(np.ones((5, 1))), "expects 5 inputs, but AvgPool2d.* gives 2x2x1 = 4"),
        (AVG, Conv2d(np.ones((1, 1, 1, 1)), (4, 1, 1)), "expects 4x1x1 inputs, but AvgPool2d.* gives 2x2x1"),
        (AVG, Dense(np.ones((4, 1)), np.ones((4, 1))), "connection: must be Conv2d, or Dense with one delay"),
        (AVG, AVG, "connection: must be Conv2d, or Dense with one delay"),
        ([AVG, AVG], Dense(np.ones((4, 1))), "pool 1, .* expects 4x4x1, but pool 0 gives 2x2x1"),
        ([AVG, MaxPool2d((2, 2, 1), 2)], Dense(np.ones((1, 1))), "follows an average, which is no spike train"),
    ],
)
def test_pooled_refuses(pools, connection, message):
    with pytest.raises(ValidationError, match=f"Pooled.*{message}"):
        Pooled(pools, connection)


def test_sequential_folds_pools_into_the_connection():
    net = Sequential([AVG, Dense(np.ones((4, 2), np.float32)), IF(), Dense(np.ones((2, 16), np.float32)), IF()])
    assert isinstance(net.layers[0].connection, Pooled)
    assert net.n_inputs == 16
    assert list(net.parameters()) == ["hidden.weight", "output.weight"]
    other = net.with_parameters({"hidden.weight": np.full((4, 2), 3.0)})
    assert repr(other.layers[0].connection) == (
        "Pooled(AvgPool2d(4x4x1 -> 2x2x1, 2x2, stride 2), Dense(4 -> 2, float64))"
    )


def test_sequential_takes_an_average_as_connection():
    parts = [
        Conv2d(np.ones((1, 1, 1, 1), np.float32), (4, 4, 1)),
        IF(),
        AVG,
        IF(),
        Dense(np.ones((4, 1), np.float32)),
        IF(),
    ]
    net = Sequential(parts)
    assert list(net.parameters()) == ["hidden1.weight", "output.weight"]
    assert net.parameter_names == ("hidden1.weight", "hidden1.delay", "output.weight", "output.delay")
    assert len(net.weights) == 2
    assert {layer.connection.dtype for layer in net.layers} == {np.dtype(np.float32)}
    assert {layer.connection.dtype for layer in net.astype(np.float64).layers} == {np.dtype(np.float64)}
    assert list(net.as_network().parameters()) == ["input->hidden1.weight", "hidden2->output.weight"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([MAX, IF()], "part 0, MaxPool2d.*: a pool drives no neurons by itself; put the pools before"),
        ([AVG], "part 0, AvgPool2d.*: a pool drives no neurons by itself"),
        ([AVG, AvgPool2d((2, 2, 1), 2), IF()], "part 1, AvgPool2d.*: a pool drives no neurons"),
        ([AVG, "x", IF()], "part 0, AvgPool2d.*: .* may be followed by a Conv2d or Dense, got str"),
        ([AVG, Dense(np.ones((5, 1))), IF()], "parts 0 to 1: Pooled: Dense.* expects 5 inputs"),
    ],
)
def test_sequential_refuses_pools_that_do_not_fit(parts, message):
    with pytest.raises(ValidationError, match=f"Sequential: {message}"):
        Sequential(parts)
