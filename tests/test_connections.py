import copy
import dataclasses
import pickle

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsnn import Dense, Sparse, ValidationError
from eventsnn.connections import Connection
from eventsnn.kernels.jit import kernel

WEIGHT = np.arange(1.0, 7.0).reshape(2, 3)
# entries [0, 2] = 1, [1, 0] = 2, [1, 2] = 3 of a 2 x 3 matrix, in an order of their own
ROWS, COLUMNS, VALUES = [1, 0, 1], [2, 2, 0], [3.0, 1.0, 2.0]


def coo(values=VALUES, rows=ROWS, columns=COLUMNS, shape=(2, 3)):
    return scipy.sparse.coo_array((values, (rows, columns)), shape=shape)


def synapses(connection):
    """{(j, k): (weight, delay)} by way of rows(), whose form is checked."""
    indptr, indices, weights, delays = connection.rows()
    assert indptr.dtype == np.int64
    assert indices.dtype == np.int32
    assert weights.dtype == connection.dtype
    assert delays.dtype == np.float64
    assert indptr.shape == (connection.n_pre + 1,)
    assert indices.shape == weights.shape == delays.shape == (connection.n_synapses,)
    assert all(array.flags.c_contiguous for array in (indptr, indices, weights, delays))
    assert np.shares_memory(weights, connection.weight) or not weights.size
    found = {}
    for j in range(connection.n_pre):
        mine = slice(indptr[j], indptr[j + 1])
        assert (np.diff(indices[mine]) > 0).all()
        found |= {(j, k): (w, d) for k, w, d in zip(indices[mine].tolist(), weights[mine], delays[mine], strict=True)}
    return found


@pytest.mark.parametrize(
    ("dtype", "kept"), [("float32", "float32"), ("float64", "float64"), ("float16", "float64"), ("int64", "float64")]
)
def test_dense_keeps_float32_and_makes_the_rest_float64(dtype, kept):
    dense = Dense(np.arange(6).reshape(2, 3).astype(dtype))
    assert dense.weight.dtype == kept
    assert dense.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (dense.n_pre, dense.n_post) == (2, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_copies_into_contiguous_rows(dtype):
    given = np.arange(6, dtype=dtype).reshape(2, 3).T
    dense = Dense(given)
    given[:] = -1
    assert dense.weight.flags.c_contiguous
    assert dense.weight.tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 2.0], r"shape \(n_pre, n_post\), both >= 1, got \(2,\)"),
        (np.zeros((0, 3)), r"got \(0, 3\)"),
        (np.zeros((3, 0)), r"got \(3, 0\)"),
        ([[1.0, np.nan]], r"must be finite, got nan at \[0, 1\]"),
        (np.array([[1.0], [np.inf]], dtype=np.float32), r"must be finite, got inf at \[1, 0\]"),
        ([["1.0"]], "must hold real numbers"),
        ([[1j]], "must hold real numbers"),
        ([[None]], "must hold real numbers"),
        ([[True]], "must hold real numbers, got dtype bool"),
        ([[1.0], [1.0, 2.0]], "must hold real numbers, got lists of unlike length"),
    ],
)
def test_dense_refuses_bad_weights(weight, message):
    with pytest.raises(ValidationError, match=f"Dense.weight: .*{message}"):
        Dense(weight)


def test_dense_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dense(np.ones((1, 1))).weight = np.zeros((1, 1))


def test_normal_draws_from_the_given_generator():
    dense = Dense.normal(200, 100, mean=1.5, std=0.5, rng=np.random.default_rng(3))
    again = Dense.normal(200, 100, mean=1.5, std=0.5, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(dense.weight, again.weight)
    # 20,000 draws: five standard errors of mean (0.0035) and standard deviation (0.0025)
    assert abs(dense.weight.mean() - 1.5) < 0.018
    assert abs(dense.weight.std() - 0.5) < 0.013


def test_uniform_draws_from_the_given_generator():
    dense = Dense.uniform(200, 100, low=-0.5, high=1.5, rng=np.random.default_rng(3), delay=2.0)
    again = Dense.uniform(200, 100, low=-0.5, high=1.5, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(dense.weight, again.weight)
    assert dense.delay == 2.0
    assert (dense.weight >= -0.5).all()
    assert (dense.weight < 1.5).all()
    # 20,000 draws: five standard errors of the mean, 2 / sqrt(12) / sqrt(20000) = 0.0041
    assert abs(dense.weight.mean() - 0.5) < 0.021
    assert np.ptp(dense.weight) > 1.99


def test_dense_repr_shows_sizes_and_type():
    assert repr(Dense(np.ones((2, 3), dtype=np.float32))) == "Dense(2 -> 3, float32)"
    assert repr(Dense(WEIGHT, delay=1e-3)) == "Dense(2 -> 3, float64, delay 0.001)"
    assert repr(Dense(WEIGHT, delay=[[0.0], [2e-3]])) == "Dense(2 -> 3, float64, delay 0 .. 0.002)"


# -- delays -------------------------------------------------------------------------------------------------------

DELAYS = [
    (0.0, np.zeros((2, 3))),
    (1.5, np.full((2, 3), 1.5)),
    (2, np.full((2, 3), 2.0)),
    (np.float32(0.5), np.full((2, 3), 0.5)),
    ([[1.0], [2.0]], [[1, 1, 1], [2, 2, 2]]),
    ([[1.0, 2.0, 3.0]], [[1, 2, 3], [1, 2, 3]]),
    (np.arange(6.0).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
    (np.arange(6.0).reshape(3, 2).T, [[0, 2, 4], [1, 3, 5]]),
]


@pytest.mark.parametrize(("delay", "spread"), DELAYS)
def test_dense_delays_broadcast(delay, spread):
    dense = Dense(WEIGHT, delay)
    assert dense.delay.shape == np.shape(delay)
    assert dense.delay.dtype == np.float64
    assert dense.has_delay is bool(np.any(spread))
    assert synapses(dense) == {(j, k): (WEIGHT[j, k], spread[j][k]) for j in range(2) for k in range(3)}


@pytest.mark.parametrize(("delay", "spread"), DELAYS)
def test_sparse_delays_broadcast(delay, spread):
    sparse = Sparse(coo(), delay)
    assert sparse.delay.shape == np.shape(delay)
    assert sparse.has_delay is bool(np.any(spread))
    assert synapses(sparse) == {(0, 2): (1, spread[0][2]), (1, 0): (2, spread[1][0]), (1, 2): (3, spread[1][2])}


@pytest.mark.parametrize("connection", [Dense(WEIGHT, [[1.0], [2.0]]), Sparse(coo(), [1.0, 2.0, 3.0])])
def test_delays_are_copied_and_read_only(connection):
    with pytest.raises(ValueError, match="read-only"):
        connection.delay[0] = 5.0
    delays = connection.rows()[3]
    delays[:] = 9.0  # its own memory
    assert connection.delay.max() < 9.0


def test_dense_copies_the_delay():
    given_delay = np.ones((1, 3))
    dense = Dense(WEIGHT, given_delay)
    given_delay[:] = 7.0
    assert dense.delay.tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize("make", [lambda delay: Dense(WEIGHT, delay), lambda delay: Sparse(coo(), delay)])
@pytest.mark.parametrize(
    ("delay", "message"),
    [
        (-1e-3, r"must be finite and >= 0 \(in the unit of the time constants\), got -0.001$"),
        (np.nan, "got nan$"),
        (np.inf, "got inf$"),
        ([[1.0], [-2.0]], r"got -2.0 at \[1, 0\]$"),
        ([[1.0, np.nan, 2.0]], r"got nan at \[0, 1\]$"),
        (np.full((2, 3), np.inf), r"got inf at \[0, 0\]$"),
        (np.ones((3, 2)), r"\(n_pre, 1\) = \(2, 1\) axonal, \(1, n_post\) = \(1, 3\) dendritic.*shape \(3, 2\)"),
        (np.ones((1, 1)), r"shape \(1, 1\)"),
        (np.ones((2, 3, 1)), r"shape \(2, 3, 1\)"),
        ([1.0, 2.0], r"shape \(2,\)"),
        ("1.0", "must hold real numbers"),
        (None, "must hold real numbers, got dtype object"),
        (True, "must hold real numbers, got dtype bool"),
        ([[1.0], [1.0, 2.0]], "must hold real numbers, got lists of unlike length"),
        (scipy.sparse.csr_array(WEIGHT), "must hold real numbers, got dtype object"),
    ],
)
def test_connections_refuse_bad_delays(make, delay, message):
    with pytest.raises(ValidationError, match=rf"(Dense|Sparse)\.delay: .*{message}"):
        make(delay)


@pytest.mark.parametrize("delay", [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0], np.ones(6)])
def test_dense_refuses_one_dimensional_delays(delay):
    message = (
        r"Dense.delay: a one-dimensional delay is ambiguous, got shape \(\d,\); give \(n_pre, 1\) = \(2, 1\) axonal, "
        r"\(1, n_post\) = \(1, 3\) dendritic, \(2, 3\) synaptic"
    )
    with pytest.raises(ValidationError, match=message):
        Dense(WEIGHT, delay)


# -- sparse -------------------------------------------------------------------------------------------------------

TRIPLES = {(0, 2): 1.0, (1, 0): 2.0, (1, 2): 3.0}
UNSORTED_CSR = scipy.sparse.csr_array(
    (np.array([1.0, 3.0, 2.0]), np.array([2, 2, 0]), np.array([0, 1, 3])), shape=(2, 3)
)


@pytest.mark.parametrize(
    "matrix",
    [
        coo(),
        coo().tocsr(),
        coo().tocsc(),
        coo().tolil(),
        coo().todok(),
        scipy.sparse.csr_matrix(coo()),
        scipy.sparse.coo_matrix(coo()),
        scipy.sparse.bsr_array(coo().toarray(), blocksize=(1, 1)),
        UNSORTED_CSR,
        coo().toarray(),
        coo().toarray().tolist(),
        (VALUES, (ROWS, COLUMNS)),
        (np.array([1.0, 2.0, 3.0]), np.array([2, 0, 2]), np.array([0, 1, 3])),
        coo(np.array(VALUES, dtype=int)),
    ],
    ids=lambda matrix: type(matrix).__name__,
)
def test_sparse_takes_what_scipy_takes(matrix):
    sparse = Sparse(matrix)
    assert (sparse.n_pre, sparse.n_post, sparse.n_synapses, sparse.dtype) == (2, 3, 3, np.float64)
    assert sparse.indptr.tolist() == [0, 1, 3]
    assert sparse.indices.tolist() == [2, 0, 2]
    assert sparse.weight.tolist() == [1.0, 2.0, 3.0]
    assert synapses(sparse) == {pair: (w, 0.0) for pair, w in TRIPLES.items()}


@pytest.mark.parametrize(
    ("matrix", "order"),
    [
        (coo(), [3.0, 1.0, 2.0]),
        (coo().tocsr(), [1.0, 2.0, 3.0]),
        (coo().tocsc(), [2.0, 1.0, 3.0]),
        (UNSORTED_CSR, [1.0, 3.0, 2.0]),
        ((VALUES, (ROWS, COLUMNS)), [3.0, 1.0, 2.0]),
    ],
)
def test_sparse_delay_per_synapse_follows_the_data(matrix, order):
    """Each delay is ten times the weight, given in the order of the data."""
    assert getattr(matrix, "data", np.array(VALUES)).tolist() == order
    sparse = Sparse(matrix, 10.0 * np.array(order))
    assert sparse.delay.tolist() == [10.0, 20.0, 30.0]
    assert synapses(sparse) == {pair: (w, 10.0 * w) for pair, w in TRIPLES.items()}


@settings(deadline=None)
@given(
    n_pre=st.integers(1, 6),
    n_post=st.integers(1, 6),
    layout=st.sampled_from(["coo", "csr", "csc"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_sparse_keeps_every_synapse(n_pre, n_post, layout, seed):
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(n_pre * n_post)[: rng.integers(0, n_pre * n_post + 1)]
    weights, delays = rng.normal(size=(2, pairs.size))
    matrix = scipy.sparse.coo_array((weights, (pairs // n_post, pairs % n_post)), shape=(n_pre, n_post))
    wanted = dict(zip(zip(matrix.row.tolist(), matrix.col.tolist(), strict=True), weights, strict=True))
    matrix = matrix.asformat(layout)
    by_weight = dict(zip(weights, np.abs(delays), strict=True))
    sparse = Sparse(matrix, [by_weight[w] for w in matrix.data])
    assert synapses(sparse) == {pair: (w, by_weight[w]) for pair, w in wanted.items()}
    np.testing.assert_array_equal(sparse.to_scipy().toarray(), matrix.toarray())


def test_sparse_keeps_explicit_zeros_and_float32():
    sparse = Sparse(coo(np.array([0.0, 1.0, 0.0], dtype=np.float32)))
    assert sparse.dtype == np.float32
    assert synapses(sparse) == {(0, 2): (1.0, 0.0), (1, 0): (0.0, 0.0), (1, 2): (0.0, 0.0)}


def test_sparse_may_have_no_synapses():
    sparse = Sparse(scipy.sparse.csr_array((2, 3)), delay=[])
    assert (sparse.n_pre, sparse.n_post, sparse.n_synapses, sparse.has_delay) == (2, 3, 0, False)
    assert synapses(sparse) == {}
    assert repr(sparse) == "Sparse(2 -> 3, 0 synapses, float64)"


@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
def test_sparse_copies_and_leaves_the_matrix_alone(layout):
    matrix = UNSORTED_CSR.asformat(layout, copy=True)
    before = copy.deepcopy(matrix)
    sparse = Sparse(matrix)
    for name in ("data", *(("row", "col") if layout == "coo" else ("indices", "indptr"))):
        np.testing.assert_array_equal(getattr(matrix, name), getattr(before, name))
    matrix.data[:] = -1.0
    assert sparse.weight.tolist() == [1.0, 2.0, 3.0]
    sparse.weight[0] = 5.0  # trainable
    assert synapses(sparse)[0, 2] == (5.0, 0.0)
    for name in ("indptr", "indices"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(sparse, name)[0] = 1


def test_to_scipy_is_a_copy():
    sparse = Sparse(coo())
    matrix = sparse.to_scipy()
    assert matrix.format == "csr"
    matrix.data[:] = 0.0
    assert sparse.weight.tolist() == [1.0, 2.0, 3.0]


def spoiled(matrix, name, entry, value):
    """A matrix whose index arrays were changed after scipy checked them."""
    getattr(matrix, name)[entry] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (coo([1.0, np.nan, 2.0]), r"must be finite, got nan at \[0, 2\]"),
        (coo([np.inf, 1.0, 2.0]), r"must be finite, got inf at \[1, 2\]"),
        (coo(np.array([1e300, -np.inf, 1])), r"must be finite, got -inf at \[0, 2\]"),
        (np.array([[0.0, np.nan]]), r"must be finite, got nan at \[0, 1\]"),
        (coo([1j, 2, 3]), "must hold real numbers, got dtype complex128"),
        (coo([True, True, True]), "must hold real numbers, got dtype bool"),
        (coo([1.0, 2.0, 3.0], [1, 0, 1], [2, 1, 2]), r"two entries at \[1, 2\]. Two synapses with one delay are one"),
        ((VALUES, ([0, 1, 0], [1, 1, 1])), r"two entries at \[0, 1\].*sum_duplicates.*projections of their own"),
        (
            scipy.sparse.csr_array((np.ones(3), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 3)),
            r"two entries at \[0, 1\]",
        ),
        (
            scipy.sparse.csr_array((0, 3)),
            r"must have shape \(n_pre, n_post\), both >= 1 and below 2\*\*31, got \(0, 3\)",
        ),
        (scipy.sparse.csr_array((3, 0)), r"got \(3, 0\)"),
        (scipy.sparse.coo_array((3, 2**31)), r"got \(3, 2147483648\)"),
        (spoiled(coo(), "row", 1, 2), r"entry 1 of its data lies at \[2, 2\], outside shape \(2, 3\)"),
        (spoiled(coo(), "col", 0, -1), r"entry 0 of its data lies at \[1, -1\], outside shape \(2, 3\)"),
        (spoiled(coo().tocsr(), "indices", 2, 3), r"entry 2 of its data lies at \[1, 3\], outside"),
        (spoiled(coo().tocsc(), "indices", 0, 2), r"entry 0 of its data lies at \[2, 0\], outside"),
        (
            spoiled(coo().tocsr(), "indptr", 2, 4),
            r"indptr must have 3 entries.*the number of entries stored, got \[0 1 4\]",
        ),
        (spoiled(coo().tocsr(), "indptr", 0, 1), r"indptr must have 3 entries, start at 0"),
        (spoiled(coo().tocsr(), "indptr", 1, 9), r"indptr .* never decrease .*got \[0 9 3\]"),
        ((VALUES, ([0.5, 0, 1], COLUMNS)), r"got tuple \(rows and columns must be integers\)"),
        ((VALUES, ([-1, 0, 1], COLUMNS)), "got tuple"),
        ((VALUES, ([0, 1], [0, 1])), "got tuple"),
        (np.ones((2, 2, 2)), "got ndarray"),
        (None, "needs a scipy.sparse matrix or what scipy.sparse.csr_array takes, got NoneType"),
        ("matrix", "got str"),
        ([[1.0], [1.0, 2.0]], "got list"),
    ],
)
def test_sparse_refuses_bad_matrices(matrix, message):
    with pytest.raises(ValidationError, match=f"Sparse.matrix: .*{message}"):
        Sparse(matrix)


@pytest.mark.parametrize(
    ("delay", "message"),
    [
        ([1.0, -2.0, 3.0], r"must be finite and >= 0 .* got -2.0 at \[1\]"),
        (
            [1.0, 2.0],
            r"must be a scalar or .*, or \(n_synapses,\) = \(3,\) in the order of the matrix's data; got shape \(2,\)",
        ),
    ],
)
def test_sparse_refuses_bad_delays_per_synapse(delay, message):
    with pytest.raises(ValidationError, match=f"Sparse.delay: {message}"):
        Sparse(coo(), delay)


def test_sparse_repr_shows_sizes_and_delay():
    assert repr(Sparse(coo())) == "Sparse(2 -> 3, 3 synapses, float64)"
    assert repr(Sparse(coo(), [1e-3, 2e-3, 0.0])) == "Sparse(2 -> 3, 3 synapses, float64, delay 0 .. 0.002)"


@pytest.mark.parametrize("connection", [Dense(WEIGHT, [[1.0], [2.0]]), Sparse(coo(), [1.0, 2.0, 3.0])])
def test_connections_are_frozen_and_can_be_pickled(connection):
    assert isinstance(connection, Connection)
    for name in ("weight", "delay", "n_pre"):
        with pytest.raises(AttributeError):
            setattr(connection, name, 1)
    assert synapses(pickle.loads(pickle.dumps(connection))) == synapses(connection)


@kernel
def sum_by_row(indptr, indices, weights, delays, sums):
    for j in range(indptr.size - 1):
        for s in range(indptr[j], indptr[j + 1]):
            sums[indices[s]] += weights[s] * delays[s]


def test_rows_go_into_a_kernel():
    weight = np.where(np.arange(12).reshape(4, 3) % 2, 1.5, 0.0)
    sums = np.zeros((2, 3))
    sum_by_row(*Dense(weight, 2.0).rows(), sums[0])
    sum_by_row(*Sparse(weight, 2.0).rows(), sums[1])
    np.testing.assert_array_equal(sums, np.tile(2.0 * weight.sum(axis=0), (2, 1)))
