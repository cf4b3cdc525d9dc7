"""What connections are made of: checked weights and delays, entries of sparse matrices, random pairs of neurons."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import count, number
from eventsnn.errors import ValidationError

#: indices of postsynaptic neurons are int32
LARGEST_SIZE = 2**31 - 1


def checked_size(name: str, value: int) -> int:
    """A number of neurons or channels."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= LARGEST_SIZE:
        raise ValidationError(f"{name}: must be an integer >= 1 and below 2**31, got {value!r}")
    return int(value)


def real_array(name: str, values: ArrayLike) -> NDArray[Any]:
    """`values` as an array of real numbers, not copied."""
    try:
        array = np.asarray(values)
    except ValueError:  # ragged lists
        raise ValidationError(f"{name}: must hold real numbers, got lists of unlike length") from None
    if array.size and array.dtype.kind not in "iuf":
        raise ValidationError(f"{name}: must hold real numbers, got dtype {array.dtype}")
    return array


def weight_dtype(given: np.dtype[Any]) -> type[np.floating]:
    """float32 stays float32, everything else becomes float64."""
    return np.float32 if given == np.float32 else np.float64


def checked_delay(
    owner: str, delay: ArrayLike, n_pre: int, n_post: int, n_synapses: int | None = None
) -> NDArray[np.float64]:
    """A read-only float64 copy of `delay` in the shape given.

    `n_synapses`: where synapses can also be counted one by one, how many there are; else None.
    """
    name = f"{owner}.delay"
    delays = real_array(name, delay).astype(np.float64)
    shape = delays.shape
    if shape not in ((), (n_pre, 1), (1, n_post), (n_pre, n_post)) and (n_synapses is None or shape != (n_synapses,)):
        forms = f"(n_pre, 1) = ({n_pre}, 1) axonal, (1, n_post) = (1, {n_post}) dendritic, ({n_pre}, {n_post}) synaptic"
        if n_synapses is not None:
            forms += f", or (n_synapses,) = ({n_synapses},) in the order of the matrix's data"
        if delays.ndim == 1 and n_synapses is None:
            raise ValidationError(f"{name}: a one-dimensional delay is ambiguous, got shape {shape}; give {forms}")
        raise ValidationError(f"{name}: must be a scalar or of shape {forms}; got shape {shape}")
    bad = ~(np.isfinite(delays) & (delays >= 0))
    if bad.any():
        place = tuple(int(k) for k in np.argwhere(bad)[0])
        raise ValidationError(
            f"{name}: must be finite and >= 0 (in the unit of the time constants), got {delays[place]}"
            + (f" at {list(place)}" if place else "")
        )
    delays.flags.writeable = False
    return delays


def delay_text(delay: NDArray[np.float64]) -> str:
    """What `repr` says of the delays: nothing if there are none."""
    if not delay.size or not delay.any():
        return ""
    low, high = float(delay.min()), float(delay.max())
    return f", delay {low:g}" if low == high else f", delay {low:g} .. {high:g}"


# -- sparse matrices ----------------------------------------------------------------------------------------------


def matrix_entries(
    name: str, matrix: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any], tuple[int, int]]:
    """Rows, columns and values of a matrix in the order of its data, and its shape; indices are in range."""
    from scipy import sparse  # on first use: `import eventsnn` stays light

    if not sparse.issparse(matrix):
        try:
            matrix = _read(sparse, matrix)
        except (TypeError, ValueError, IndexError, OverflowError, RuntimeError) as error:
            raise ValidationError(
                f"{name}: needs a scipy.sparse matrix or what scipy.sparse.csr_array takes, "
                f"got {type(matrix).__name__} ({error})"
            ) from None
    if len(matrix.shape) != 2 or 0 in matrix.shape or max(matrix.shape) > LARGEST_SIZE:
        raise ValidationError(
            f"{name}: must have shape (n_pre, n_post), both >= 1 and below 2**31, got {tuple(matrix.shape)}"
        )
    n_pre, n_post = (int(n) for n in matrix.shape)
    if matrix.format in ("csr", "csc"):
        rows, columns, values = _compressed_entries(name, matrix)
    else:
        matrix = matrix.tocoo()
        rows, columns, values = matrix.row, matrix.col, matrix.data
    outside = (rows < 0) | (rows >= n_pre) | (columns < 0) | (columns >= n_post)
    if outside.any():
        k = int(np.flatnonzero(outside)[0])
        raise ValidationError(
            f"{name}: entry {k} of its data lies at [{rows[k]}, {columns[k]}], outside shape ({n_pre}, {n_post})"
        )
    return (
        rows.astype(np.int64, copy=False),
        columns.astype(np.int64, copy=False),
        real_array(name, values),
        (n_pre, n_post),
    )


def _read(sparse: Any, matrix: Any) -> Any:
    if isinstance(matrix, tuple) and len(matrix) == 2 and isinstance(matrix[1], (tuple, list)):
        for index in matrix[1]:  # scipy would cut off the fraction of 0.5
            if np.size(index) and np.asarray(index).dtype.kind not in "iu":
                raise ValueError("rows and columns must be integers")
        return sparse.coo_array(matrix)  # csr_array would add up duplicates
    return sparse.csr_array(matrix)


def _compressed_entries(name: str, matrix: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Rows, columns, values of a CSR or CSC matrix, without the compiled code of scipy, which trusts `indptr`."""
    indptr, n_major = matrix.indptr.astype(np.int64), matrix.shape[0 if matrix.format == "csr" else 1]
    stored = min(matrix.indices.size, matrix.data.size)
    counts = np.diff(indptr)
    if indptr.size != n_major + 1 or indptr[0] != 0 or (counts < 0).any() or indptr[-1] > stored:
        raise ValidationError(
            f"{name}: indptr must have {n_major + 1} entries, start at 0, never decrease and end at or before "
            f"{stored}, the number of entries stored, got {np.array2string(indptr, threshold=8)}"
        )
    major = np.repeat(np.arange(n_major), counts)
    minor, values = matrix.indices[: major.size], matrix.data[: major.size]
    return (major, minor, values) if matrix.format == "csr" else (minor, major, values)


# -- random connectivity ------------------------------------------------------------------------------------------


def random_pairs(
    name: str,
    n_pre: int,
    n_post: int,
    rules: dict[str, float | None],
    self_connections: bool,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Positions j n_post + k of the pairs (j, k) drawn by the one of the rules that is given; sorted.

    rules : "probability", "out_degree" and "in_degree", see `Sparse.random`
    """
    n_pre, n_post = checked_size(f"{name}.n_pre", n_pre), checked_size(f"{name}.n_post", n_post)
    if not self_connections and n_pre != n_post:
        raise ValidationError(
            f"{name}: self_connections=False is for a population that projects to itself, "
            f"got n_pre={n_pre}, n_post={n_post}"
        )
    given = [rule for rule, value in rules.items() if value is not None]
    if len(given) != 1:
        raise ValidationError(f"{name}: give one of {', '.join(rules)}; got {' and '.join(given) or 'none'}")
    [rule] = given
    if rule == "probability":
        probability = number(f"{name}.{rule}", rules[rule], at_least=0)  # type: ignore[arg-type]
        if probability > 1:
            raise ValidationError(f"{name}.{rule}: must be <= 1, got {probability}")
        pairs = _independent_pairs(n_pre, n_post, probability, rng)
        return pairs if self_connections else pairs[pairs % (n_post + 1) != 0]
    degree = count(f"{name}.{rule}", rules[rule])  # type: ignore[arg-type]
    n_neurons, n_partners = (n_pre, n_post) if rule == "out_degree" else (n_post, n_pre)
    most = n_partners - (not self_connections)
    if degree > most:
        raise ValidationError(f"{name}.{rule}: must be <= {most}, the number of partners there are, got {degree}")
    partners = _distinct_partners(n_neurons, n_partners, degree, rng, with_self=self_connections)
    own = np.arange(n_neurons)[:, None]
    return np.sort(own * n_post + partners if rule == "out_degree" else partners * n_post + own, axis=None)


def _independent_pairs(n_pre: int, n_post: int, probability: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Each pair taken with `probability` on its own.

    The gaps between successes are geometric, so the cost follows the pairs taken, not all pairs.
    """
    total = n_pre * n_post
    if probability == 0:
        return np.empty(0, np.int64)
    found, last = [], -1
    while last < total:
        expected = (total - 1 - last) * probability
        gaps = rng.geometric(probability, int(expected + 5.0 * math.sqrt(expected)) + 16)
        places = last + np.cumsum(np.minimum(gaps, total + 1))
        found.append(places[places < total])
        last = int(places[-1])
    return np.concatenate(found)


def _distinct_partners(
    n_neurons: int, n_partners: int, degree: int, rng: np.random.Generator, *, with_self: bool
) -> NDArray[np.int64]:
    """For each of n_neurons, `degree` different ones of n_partners, all sets alike; shape (n_neurons, degree)."""
    partners = np.empty((n_neurons, degree), np.int64)
    for j in range(n_neurons):
        chosen = rng.choice(n_partners - (not with_self), degree, replace=False, shuffle=False)
        partners[j] = chosen if with_self else chosen + (chosen >= j)
    return partners
