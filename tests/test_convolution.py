import copy
import pickle

import numpy as np
import pytest

from eventsnn import IF, Conv2d, Dense, Network, Population, Projection, Sequential, ValidationError
from eventsnn.connections import Connection
from tests.reference.convolution_numpy import convolve, matrix_of
from tests.test_connections import synapses

# (height, width, channels in), size, channels out, stride, padding, groups
CASES = [
    ((5, 5, 1), (3, 3), 2, 1, 0, 1),
    ((5, 6, 2), (3, 2), 4, 1, 1, 2),
    ((6, 5, 3), (2, 3), 3, (2, 1), (0, 1), 3),
    ((4, 4, 2), (1, 1), 2, 2, 0, 1),
    ((3, 3, 2), (2, 2), 2, 3, 2, 1),  # some windows see only padding, and a pixel no window
    ((4, 3, 4), (4, 3), 6, 1, 0, 2),  # one window
]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def conv(case, seed=0, **others):
    shape, size, n_out, stride, padding, groups = case
    weight = np.random.default_rng(seed).normal(size=(*size, shape[2] // groups, n_out))
    return Conv2d(weight, shape, stride, padding, groups, **others)


def dense_matrix(connection):
    matrix = np.zeros((connection.n_pre, connection.n_post))
    indptr, indices, weights, _ = connection.rows()
    for j in range(connection.n_pre):
        matrix[j, indices[indptr[j] : indptr[j + 1]]] += weights[indptr[j] : indptr[j + 1]]
    return matrix


@pytest.mark.parametrize("case", CASES)
def test_rows_are_the_matrix_of_the_convolution(case):
    shape, _, _, stride, padding, groups = case
    own = conv(case)
    expected = matrix_of(lambda plane: convolve(plane, own.weight, pair(stride), pair(padding), groups), shape)
    np.testing.assert_array_equal(dense_matrix(own), expected)  # each entry is one weight
    assert own.n_synapses == (expected != 0).sum()
    assert (own.n_pre, own.n_post) == expected.shape
    assert own.n_post == np.prod(own.out_shape)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_have_the_form_that_engines_expect(case, dtype):
    own = conv(case, delay=0.5)
    own = own.with_values(weight=own.weight.astype(dtype))
    indptr, indices, weights, delays = own.rows()
    assert (indptr.dtype, indices.dtype, weights.dtype, delays.dtype) == (np.int64, np.int32, dtype, np.float64)
    assert indptr.shape == (own.n_pre + 1,)
    assert indices.shape == weights.shape == delays.shape == (own.n_synapses,)
    assert (delays == 0.5).all()
    for j in range(own.n_pre):
        assert (np.diff(indices[indptr[j] : indptr[j + 1]]) > 0).all()


@pytest.mark.parametrize("case", CASES)
def test_fold_is_the_transpose_of_rows(case):
    own, rng = conv(case), np.random.default_rng(1)
    given = rng.normal(size=own.n_synapses)
    change = rng.normal(size=own.weight.shape)
    spread = own.with_values(weight=change).rows()[2]
    assert own.fold(given).shape == own.weight.shape
    # both are sums of the same products in other orders
    np.testing.assert_allclose((own.fold(given) * change).sum(), (given * spread).sum(), rtol=1e-12)
    assert own.fold(given.astype(np.float32)).dtype == np.float32


def test_fold_of_dense_is_a_reshape():
    dense = Dense(np.ones((2, 3)))
    assert dense.fold(np.arange(6.0)).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_conv2d_is_a_connection():
    own = conv(CASES[0])
    assert isinstance(own, Connection)
    assert not own.has_delay
    assert conv(CASES[0], delay=1e-3).has_delay
    assert own.dtype == np.float64
    assert repr(conv(CASES[2], delay=1e-3)) == (
        "Conv2d(6x5x3 -> 3x5x3, 2x3, stride (2, 1), padding (0, 1), 3 groups, float64, delay 0.001)"
    )


def test_conv2d_copies_its_weights():
    given = np.ones((2, 2, 1, 1), np.float32)
    own = Conv2d(given, (3, 3, 1))
    given[:] = 7
    assert own.weight.dtype == np.float32
    assert (own.weight == 1).all()
    other = own.with_values(weight=own.weight)
    assert not np.shares_memory(other.weight, own.weight)
    assert pickle.loads(pickle.dumps(own)).image_shape == copy.deepcopy(own).image_shape == (3, 3, 1)


def test_conv2d_draws_weights():
    rng = np.random.default_rng(0)
    own = Conv2d.normal((28, 28, 2), 64, (5, 3), mean=1.0, std=0.5, rng=rng, groups=2, padding=1)
    assert own.weight.shape == (5, 3, 1, 64)
    assert own.out_shape == (26, 28, 64)
    # 960 values: the mean is within 5 standard errors
    assert abs(own.weight.mean() - 1.0) < 5 * 0.5 / np.sqrt(960)
    even = Conv2d.uniform((8, 8, 2), 4, 3, low=-0.1, high=0.2, rng=rng)
    assert -0.1 <= even.weight.min() < even.weight.max() <= 0.2


@pytest.mark.parametrize(
    ("weight", "options", "message"),
    [
        (np.ones((3, 3, 1)), {}, r"weight: must have shape \(kernel_height, .*got \(3, 3, 1\)"),
        (np.ones((3, 3, 0, 1)), {}, "weight: must have shape"),
        (np.full((1, 1, 1, 1), np.nan), {}, r"weight: must be finite, got nan at \[0, 0, 0, 0\]"),
        (np.array("a"), {}, "weight: must hold real numbers"),
        (np.ones((3, 3, 2, 4)), {}, r"takes 2 channels in each of 1 group\(s\), but image_shape=\(5, 5, 1\) has 1"),
        (
            np.ones((3, 3, 1, 3)),
            {"image_shape": (5, 5, 2), "groups": 2},
            "3 output channels are no multiple of groups=2",
        ),
        (np.ones((6, 3, 1, 1)), {}, "window of 6 x 3 does not fit into a plane of 5 x 5"),
        (np.ones((3, 8, 1, 1)), {"padding": 1}, "window of 3 x 8 does not fit .* with padding 1 x 1"),
        (np.ones((3, 3, 1, 1)), {"image_shape": (5, 5)}, r"image_shape: must be \(height, width, channels\)"),
        (np.ones((3, 3, 1, 1)), {"image_shape": (5, 5.0, 1)}, "image_shape: must be"),
        (np.ones((3, 3, 1, 1)), {"image_shape": (2**20, 2**20, 1)}, "fewer than 2"),
        (np.ones((3, 3, 1, 1)), {"stride": 0}, "stride: must be an integer >= 1 or two of them, got 0"),
        (np.ones((3, 3, 1, 1)), {"stride": (1, 1, 1)}, "stride: must be an integer"),
        (np.ones((3, 3, 1, 1)), {"padding": -1}, "padding: must be an integer >= 0 or two of them, got -1"),
        (np.ones((3, 3, 1, 1)), {"padding": True}, "padding: must be an integer"),
        (np.ones((3, 3, 1, 1)), {"groups": 0}, "groups: must be an integer >= 1"),
        (np.ones((3, 3, 1, 1)), {"delay": -1.0}, "delay: must be finite and >= 0"),
        (np.ones((3, 3, 1, 1)), {"delay": [1.0]}, r"delay: must be one number for all synapses, got shape \(1,\)"),
    ],
)
def test_conv2d_refuses(weight, options, message):
    with pytest.raises(ValidationError, match=f"Conv2d.*{message}"):
        Conv2d(weight, **{"image_shape": (5, 5, 1)} | options)


# -- in a network -------------------------------------------------------------------------------------------------


def chain():
    first = Conv2d(np.ones((3, 3, 1, 2)), (5, 5, 1))
    return Sequential([first, IF(), Dense(np.ones((18, 4))), IF()])


def test_sequential_takes_convolutions():
    net = chain()
    assert (net.n_inputs, net.n_outputs) == (25, 4)
    assert list(net.parameters()) == ["hidden.weight", "output.weight"]
    assert net.layers[0].out_shape == (3, 3, 2)
    assert net.layers[1].out_shape == (4,)
    changed = net.with_parameters({"hidden.weight": np.full((3, 3, 1, 2), 2.0), "hidden.delay": 0.5})
    assert isinstance(changed.layers[0].connection, Conv2d)
    assert (changed.parameter("hidden.weight") == 2).all()
    assert changed.parameter("hidden.delay") == 0.5
    assert net.astype(np.float32).layers[0].connection.dtype == np.float32
    assert net.as_network().projections[0].connection is net.layers[0].connection


def test_sequential_says_which_planes_do_not_chain():
    first = Conv2d(np.ones((3, 3, 1, 2)), (5, 6, 1))
    second = Conv2d(np.ones((1, 1, 2, 2)), (4, 3, 2))
    with pytest.raises(ValidationError, match="'output' expects a plane of 4x3x2, but 'hidden' has one of 3x4x2"):
        Sequential([first, IF(), second, IF()])
    with pytest.raises(ValidationError, match="'output' expects 9 inputs, but 'hidden' has 24 neurons"):
        Sequential([first, IF(), Dense(np.ones((9, 1))), IF()])


def test_network_takes_convolutions():
    own = chain().layers[0].connection
    net = Network({"in": 25}, {"a": Population(IF(), 18)}, [Projection("in", "a", own)])
    assert list(net.parameters()) == ["in->a.weight"]
    other = net.with_parameters({"in->a.weight": np.zeros((3, 3, 1, 2))})
    assert not other.projections[0].connection.weight.any()
    with pytest.raises(ValidationError, match="must be finite"):
        net.with_parameters({"in->a.weight": np.full((3, 3, 1, 2), np.inf)})


def test_synapses_of_one_kernel_are_a_dense_connection():
    whole = Conv2d(np.arange(1.0, 13.0).reshape(2, 3, 1, 2), (2, 3, 1))
    assert synapses(Dense(whole.weight.reshape(6, 2))) == {
        (j, k): (weight, 0.0) for (j, k), weight in np.ndenumerate(dense_matrix(whole))
    }
