"""Input currents of clock-driven networks: numbers instead of spikes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._synapses import real_array
from eventsnn.errors import ValidationError

__all__ = ["Currents"]


class Currents:
    """What every input channel sends in every step, constant or not.

    Parameters
    ----------
    values : array_like of float, shape (n_samples, n_neurons) or (n_samples, n_neurons, n_steps)
        In the first form the same in every step: the product with the weights is then taken once per sample. What a
        connection of weight w passes on is ``value * w``. float32 is kept, everything else becomes float64; not copied
        if it has that type already.

    Raises
    ------
    ValidationError
        Values that are no finite real numbers, or of another number of dimensions.

    Examples
    --------
    >>> from eventsnn import Currents
    >>> images = Currents([[0.0, 0.5], [1.0, 0.2], [0.3, 0.0]])
    >>> images, images[1:]
    (Currents(n_samples=3, n_neurons=2, constant), Currents(n_samples=2, n_neurons=2, constant))
    """

    values: NDArray[np.floating]

    def __init__(self, values: ArrayLike) -> None:
        given = real_array("Currents.values", values)
        dtype = np.float32 if given.dtype == np.float32 else np.float64
        array: NDArray[Any] = np.ascontiguousarray(given, dtype=dtype).view()
        if array.ndim not in (2, 3) or 0 in array.shape[1:]:
            raise ValidationError(
                "Currents.values: must have shape (n_samples, n_neurons) or (n_samples, n_neurons, n_steps), "
                f"got {array.shape}"
            )
        if not np.isfinite(array).all():
            bad = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
            raise ValidationError(f"Currents.values: must be finite, got {array[bad]} at {list(bad)}")
        array.flags.writeable = False
        self.values = array

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.values.shape[0])

    @property
    def n_neurons(self) -> int:
        """Number of input channels."""
        return int(self.values.shape[1])

    @property
    def is_constant(self) -> bool:
        """Whether the currents are the same in every step."""
        return self.values.ndim == 2

    @property
    def n_steps(self) -> int | None:
        """Number of steps, None if they are constant."""
        return None if self.is_constant else int(self.values.shape[2])

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, key: Any) -> Currents:
        """Select samples by an integer (kept as one sample), a slice, a boolean mask or an index array."""
        if isinstance(key, tuple) or np.ndim(key) > 1:
            raise IndexError(
                "Currents: only samples can be indexed, by an integer, a slice, or an array of one dimension"
            )
        chosen = self.values[[int(key)]] if isinstance(key, (int, np.integer)) else self.values[key]
        found = Currents.__new__(Currents)
        found.values = chosen
        return found

    def __repr__(self) -> str:
        time = "constant" if self.is_constant else f"n_steps={self.n_steps}"
        return f"Currents(n_samples={self.n_samples}, n_neurons={self.n_neurons}, {time})"
