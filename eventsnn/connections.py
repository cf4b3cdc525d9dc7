"""Connections between populations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import ValidationError

__all__ = ["Dense"]


@dataclass(frozen=True, eq=False)
class Dense:
    """All-to-all connection.

    Parameters
    ----------
    weight : array_like of float, shape (n_pre, n_post)
        `weight[j, k]` is what one spike of presynaptic neuron j adds to `i_syn` of neuron k (drive convention of
        `LIF`: a fastAndDeep weight w is ``tau_mem * w`` here, a torch weight is transposed). float32 is kept as
        float32, everything else becomes float64; the array is copied.

    Raises
    ------
    ValidationError
        Not two-dimensional, empty, or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import Dense
    >>> Dense.normal(5, 120, mean=1.5, std=0.8, rng=np.random.default_rng(0)).weight.shape
    (5, 120)
    """

    weight: NDArray[np.floating]

    def __post_init__(self) -> None:
        given = np.asarray(self.weight)
        if given.size and given.dtype.kind not in "iuf":
            raise ValidationError(f"Dense.weight: must hold real numbers, got dtype {given.dtype}")
        weight = given.astype(np.float32 if given.dtype == np.float32 else np.float64, order="C")
        if weight.ndim != 2 or 0 in weight.shape:
            raise ValidationError(f"Dense.weight: must have shape (n_pre, n_post), both >= 1, got {weight.shape}")
        if not np.isfinite(weight).all():
            j, k = np.argwhere(~np.isfinite(weight))[0]
            raise ValidationError(f"Dense.weight: must be finite, got {weight[j, k]} at [{j}, {k}]")
        object.__setattr__(self, "weight", weight)

    @classmethod
    def normal(cls, n_pre: int, n_post: int, *, mean: float, std: float, rng: np.random.Generator) -> Dense:
        """Weights drawn from a normal distribution with the given `rng`."""
        return cls(rng.normal(mean, std, size=(n_pre, n_post)))

    @property
    def n_pre(self) -> int:
        """Number of presynaptic neurons."""
        return int(self.weight.shape[0])

    @property
    def n_post(self) -> int:
        """Number of postsynaptic neurons."""
        return int(self.weight.shape[1])

    def __repr__(self) -> str:
        return f"Dense({self.n_pre} -> {self.n_post}, {self.weight.dtype})"
