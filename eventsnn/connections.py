"""Connections between populations: weights and delays of their synapses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._synapses import (
    checked_delay,
    delay_text,
    matrix_entries,
    random_pairs,
    real_array,
    weight_dtype,
)
from eventsnn.errors import ValidationError

__all__ = ["Connection", "Dense", "Sparse", "SynapseRows"]

#: (indptr, indices, weights, delays), see `Connection.rows`
SynapseRows = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.floating], NDArray[np.float64]]


@runtime_checkable
class Connection(Protocol):
    """What a network asks of the synapses from n_pre to n_post neurons."""

    @property
    def n_pre(self) -> int:
        """Number of presynaptic neurons."""

    @property
    def n_post(self) -> int:
        """Number of postsynaptic neurons."""

    @property
    def n_synapses(self) -> int:
        """Number of synapses."""

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """float32 or float64: the type of the weights."""

    @property
    def weight(self) -> NDArray[np.floating]:
        """The trainable array itself."""

    @property
    def delay(self) -> NDArray[np.float64]:
        """Delays in the shape they were given in, read-only."""

    @property
    def has_delay(self) -> bool:
        """Whether some delay is not zero."""

    def rows(self) -> SynapseRows:
        """All synapses by presynaptic neuron: neuron j has the synapses indptr[j] : indptr[j + 1].

        indptr : (n_pre + 1,) int64; indices : (n_synapses,) int32, postsynaptic neurons, ascending for each j;
        weights : (n_synapses,), a view of `weight`, or, where synapses share weights, spread out into a new array;
        delays : (n_synapses,) float64
        """

    def fold(self, per_synapse: NDArray[np.floating]) -> NDArray[np.floating]:
        """Derivatives by synapse, in the order of `rows`, as derivatives by `weight`, in its shape."""

    def with_values(self, *, weight: ArrayLike | None = None, delay: ArrayLike | None = None) -> Connection:
        """The same connection with other weights or delays of the same shape; copies."""


class _Synapses:
    """What follows from the weights and delays of any connection."""

    weight: NDArray[np.floating]
    delay: Any

    #: whether the weights are given by the kind of connection, and so no parameter
    has_fixed_weights = False

    @property
    def n_synapses(self) -> int:
        """Number of synapses."""
        return int(self.weight.size)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """float32 or float64: the type of the weights."""
        return self.weight.dtype

    @property
    def has_delay(self) -> bool:
        """Whether some delay is not zero."""
        return bool(self.delay.any())

    def fold(self, per_synapse: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Connection.fold`: every synapse has a weight of its own."""
        return per_synapse.reshape(self.weight.shape)


@dataclass(frozen=True, eq=False)
class Dense(_Synapses):
    """All-to-all connection.

    Parameters
    ----------
    weight : array_like of float, shape (n_pre, n_post)
        `weight[j, k]` is what one spike of presynaptic neuron j adds to `i_syn` of neuron k (drive convention of
        `LIF`: a fastAndDeep weight w is ``tau_mem * w`` here, a torch weight is transposed). float32 is kept as
        float32, everything else becomes float64; the array is copied.
    delay : array_like of float, default 0
        Time from a spike to its arrival, finite and >= 0, in seconds (or the unit of the spike times): a scalar, shape
        (n_pre, 1) for axonal, (1, n_post) for dendritic, (n_pre, n_post) for synaptic delays. Kept as a read-only
        float64 array of that shape.

    Raises
    ------
    ValidationError
        The weights are not two-dimensional, empty, or not finite; the delays are negative, not finite, or of another
        shape.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense
    >>> Dense.normal(5, 120, mean=1.5, std=0.8, rng=np.random.default_rng(0)).weight.shape
    (5, 120)
    >>> Dense(np.ones((2, 3)), delay=[[1e-3], [2e-3]])
    Dense(2 -> 3, float64, delay 0.001 .. 0.002)
    """

    weight: NDArray[np.floating]
    delay: Any = 0.0

    def __post_init__(self) -> None:
        given = real_array("Dense.weight", self.weight)
        weight = given.astype(weight_dtype(given.dtype), order="C")
        if weight.ndim != 2 or 0 in weight.shape:
            raise ValidationError(f"Dense.weight: must have shape (n_pre, n_post), both >= 1, got {weight.shape}")
        if not np.isfinite(weight).all():
            j, k = np.argwhere(~np.isfinite(weight))[0]
            raise ValidationError(f"Dense.weight: must be finite, got {weight[j, k]} at [{j}, {k}]")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "delay", checked_delay("Dense", self.delay, *weight.shape))

    @classmethod
    def normal(
        cls, n_pre: int, n_post: int, *, mean: float, std: float, rng: np.random.Generator, delay: ArrayLike = 0.0
    ) -> Dense:
        """Weights drawn from a normal distribution with the given `rng`; `delay` as in `Dense`."""
        return cls(rng.normal(mean, std, size=(n_pre, n_post)), delay)

    @classmethod
    def uniform(
        cls, n_pre: int, n_post: int, *, low: float, high: float, rng: np.random.Generator, delay: ArrayLike = 0.0
    ) -> Dense:
        """Weights drawn evenly from `low` to `high` with the given `rng`; `delay` as in `Dense`.

        torch's linear layers begin with -low = high = 1/sqrt(n_pre), their biases too.
        """
        return cls(rng.uniform(low, high, size=(n_pre, n_post)), delay)

    @property
    def n_pre(self) -> int:
        """Number of presynaptic neurons."""
        return int(self.weight.shape[0])

    @property
    def n_post(self) -> int:
        """Number of postsynaptic neurons."""
        return int(self.weight.shape[1])

    def rows(self) -> SynapseRows:
        """All synapses by presynaptic neuron, see `Connection.rows`; the weights are a view, the rest is new."""
        n_pre, n_post = self.weight.shape
        indptr = np.arange(n_pre + 1, dtype=np.int64) * n_post
        indices = np.tile(np.arange(n_post, dtype=np.int32), n_pre)
        delays = np.broadcast_to(self.delay, (n_pre, n_post)).flatten()
        return indptr, indices, self.weight.reshape(-1), delays

    def with_values(self, *, weight: ArrayLike | None = None, delay: ArrayLike | None = None) -> Dense:
        """The same connection with other weights or delays."""
        return Dense(self.weight if weight is None else weight, self.delay if delay is None else delay)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Dense({self.n_pre} -> {self.n_post}, {self.dtype}{delay_text(self.delay)})"


@dataclass(frozen=True, eq=False, init=False)
class Sparse(_Synapses):
    """Connection with a synapse wherever a sparse matrix has an entry.

    Parameters
    ----------
    matrix : scipy.sparse array or matrix of shape (n_pre, n_post), or anything `scipy.sparse.csr_array` takes
        An entry w at [j, k] is a synapse that adds w to `i_syn` of neuron k when neuron j fires, as in `Dense`; an
        explicit zero is a synapse of weight 0. A dense array has its synapses where it is not 0. float32 is kept as
        float32, everything else becomes float64; the data are copied and kept in CSR order.
    delay : array_like of float, default 0
        As in `Dense`, in seconds (or the unit of the spike times); or one value per synapse, shape (n_synapses,), in
        the order of the matrix's `data` (for formats other than CSR, CSC and COO, of that of its `.tocoo()`).

    Attributes
    ----------
    weight : (n_synapses,) float32 or float64, in CSR order: by presynaptic neuron, then by postsynaptic neuron
    indptr, indices : (n_pre + 1,) int64 and (n_synapses,) int32, read-only; neuron j has the synapses
        indptr[j] : indptr[j + 1], and `indices` holds their postsynaptic neurons
    delay : float64, read-only, in the shape given; per synapse, in CSR order

    Raises
    ------
    ValidationError
        `matrix` is no two-dimensional matrix of real numbers, holds entries outside its shape, values that are not
        finite, or two entries for one pair of neurons; the delays are negative, not finite, or of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import coo_array
    >>> from eventsnn import Sparse
    >>> synapses = Sparse(coo_array(([0.5, -2.0], ([1, 0], [2, 0])), shape=(2, 3)), delay=[1e-3, 4e-3])
    >>> synapses
    Sparse(2 -> 3, 2 synapses, float64, delay 0.001 .. 0.004)
    >>> synapses.indices, synapses.weight, synapses.delay
    (array([0, 2], dtype=int32), array([-2. ,  0.5]), array([0.004, 0.001]))
    """

    weight: NDArray[np.floating] = field(init=False)
    indptr: NDArray[np.int64] = field(init=False)
    indices: NDArray[np.int32] = field(init=False)
    delay: NDArray[np.float64] = field(init=False)
    n_pre: int = field(init=False)
    n_post: int = field(init=False)

    def __init__(self, matrix: Any, delay: ArrayLike = 0.0) -> None:
        rows, columns, values, (n_pre, n_post) = matrix_entries("Sparse.matrix", matrix)
        delays = checked_delay("Sparse", delay, n_pre, n_post, values.size)
        keys = rows * n_post + columns
        if (np.diff(keys) <= 0).any():
            order = np.argsort(keys, kind="stable")
            rows, columns, values, keys = rows[order], columns[order], values[order], keys[order]
            if delays.ndim == 1:
                delays = delays[order]
                delays.flags.writeable = False
            twice = np.flatnonzero(np.diff(keys) == 0)
            if twice.size:
                j, k = rows[twice[0]], columns[twice[0]]
                raise ValidationError(
                    f"Sparse.matrix: two entries at [{j}, {k}]. Two synapses with one delay are one synapse: add them "
                    "up (matrix.sum_duplicates()); synapses with different delays go into projections of their own"
                )
        weight = values.astype(weight_dtype(values.dtype))
        if not np.isfinite(weight).all():
            bad = int(np.flatnonzero(~np.isfinite(weight))[0])
            raise ValidationError(f"Sparse.matrix: must be finite, got {weight[bad]} at [{rows[bad]}, {columns[bad]}]")
        indptr = np.zeros(n_pre + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=n_pre), out=indptr[1:])
        indices = columns.astype(np.int32)
        indptr.flags.writeable = indices.flags.writeable = False
        own = {
            "weight": weight,
            "indptr": indptr,
            "indices": indices,
            "delay": delays,
            "n_pre": n_pre,
            "n_post": n_post,
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @classmethod
    def random(
        cls,
        n_pre: int,
        n_post: int,
        *,
        probability: float | None = None,
        out_degree: int | None = None,
        in_degree: int | None = None,
        weight: float | Callable[[int], ArrayLike],
        rng: np.random.Generator,
        delay: ArrayLike | Callable[[int], ArrayLike] = 0.0,
        self_connections: bool = True,
    ) -> Sparse:
        """Random connectivity, at most one synapse per pair of neurons.

        Parameters
        ----------
        n_pre, n_post : numbers of neurons, >= 1
        probability : each pair has a synapse with this probability, independently of the others, or
        out_degree : each presynaptic neuron has exactly so many, to different neurons drawn uniformly, or
        in_degree : each postsynaptic neuron has exactly so many. One of the three must be given.
        weight : one value for all, or a function that takes a number n and gives n values, one per synapse
        rng : numpy Generator that draws the pairs, before `weight` and `delay` are asked
        delay : as in `Sparse`, or a function like that of `weight`
        self_connections : False leaves out the pairs (j, j); n_pre and n_post must then be equal

        Raises
        ------
        ValidationError
            None or more than one of the three rules, values out of range, a function that gives another number of
            values.

        Examples
        --------
        >>> import numpy as np
        >>> from eventsnn import Sparse
        >>> rng = np.random.default_rng(1)
        >>> Sparse.random(100, 50, in_degree=10, weight=lambda n: rng.normal(0.1, 0.02, n), rng=rng, delay=1e-3)
        Sparse(100 -> 50, 500 synapses, float64, delay 0.001)
        >>> recurrent = Sparse.random(800, 800, probability=0.02, weight=-9e-3, rng=rng, self_connections=False)
        >>> abs(recurrent.n_synapses - 0.02 * 800 * 799) < 600
        True
        """
        from scipy import sparse

        if not isinstance(rng, np.random.Generator):
            raise ValidationError(f"Sparse.random.rng: must be a numpy.random.Generator, got {type(rng).__name__}")
        rules = {"probability": probability, "out_degree": out_degree, "in_degree": in_degree}
        keys = random_pairs("Sparse.random", n_pre, n_post, rules, self_connections, rng)
        weights = _per_synapse("weight", weight, keys.size)
        if weights.ndim == 0:
            weights = np.full(keys.size, weights)
        matrix = sparse.coo_array((weights, (keys // n_post, keys % n_post)), shape=(n_pre, n_post))
        return cls(matrix, _per_synapse("delay", delay, keys.size) if callable(delay) else delay)

    def rows(self) -> SynapseRows:
        """All synapses by presynaptic neuron, see `Connection.rows`; all but the delays are the arrays themselves."""
        shape = (self.n_pre, self.n_post)
        if self.delay.ndim == 1:
            delays = self.delay.copy()
        else:
            sources = np.repeat(np.arange(self.n_pre), np.diff(self.indptr))
            delays = np.broadcast_to(self.delay, shape)[sources, self.indices]
        return self.indptr, self.indices, self.weight, delays

    def with_values(self, *, weight: ArrayLike | None = None, delay: ArrayLike | None = None) -> Sparse:
        """The same synapses with other weights or delays, both in the order and shape of these; structure is shared."""
        given = real_array("Sparse.weight", self.weight if weight is None else weight)
        if given.shape != self.weight.shape:
            raise ValidationError(f"Sparse.weight: must have shape {self.weight.shape}, got {given.shape}")
        if not np.isfinite(given).all():
            raise ValidationError(f"Sparse.weight: must be finite, got {given[~np.isfinite(given)][0]}")
        delays = self.delay if delay is None else checked_delay("Sparse", delay, self.n_pre, self.n_post, given.size)
        other = copy.copy(self)
        object.__setattr__(other, "weight", given.astype(weight_dtype(given.dtype)))
        object.__setattr__(other, "delay", delays)
        return other

    def to_scipy(self) -> Any:
        """The weights as a new `scipy.sparse.csr_array` of shape (n_pre, n_post)."""
        from scipy import sparse

        return sparse.csr_array((self.weight, self.indices, self.indptr), shape=(self.n_pre, self.n_post), copy=True)

    def __repr__(self) -> str:
        size = f"{self.n_pre} -> {self.n_post}, {self.n_synapses} synapses"
        return f"Sparse({size}, {self.dtype}{delay_text(self.delay)})"


def _per_synapse(name: str, given: Any, n_synapses: int) -> NDArray[Any]:
    """A number, or what a function gives for `n_synapses`."""
    values = real_array(f"Sparse.random.{name}", given(n_synapses) if callable(given) else given)
    wanted = (n_synapses,) if callable(given) else ()
    if values.shape != wanted:
        what = f"the function must give {n_synapses} values" if callable(given) else "must be a number or a function"
        raise ValidationError(f"Sparse.random.{name}: {what}, got shape {values.shape}")
    return values
