"""`Spikes`: spike events of many samples in coordinate form, with exact times as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import count, float_array, index_array, number
from eventsnn.errors import MissingDependencyError, ValidationError

if TYPE_CHECKING:
    import pandas
    import sparse

__all__ = ["Spikes", "concatenate"]

_BLOCK = 256  # samples sorted at a time


class Spikes:
    """Immutable spike events of `n_samples` samples, in the order (sample, time, neuron).

    Parameters
    ----------
    samples, neurons : array_like of int, shape (n_events,)
        Sample and neuron index of each event.
    times : array_like of float, shape (n_events,)
        Spike times, finite and >= 0, in the unit of the time constants (seconds in all built-in data). Times are
        data: they are kept exactly, never rounded to a grid.
    n_samples, n_neurons : int
        Shape of the container; samples and neurons without a spike count too.

    Raises
    ------
    ValidationError
        NaN, infinite or negative times, an index out of range, or arrays of different length.

    Notes
    -----
    Unsorted events are sorted; duplicates are kept (as inputs they add up). The arrays are read-only.

    Examples
    --------
    >>> from eventsnn import Spikes
    >>> Spikes([0, 0, 1], [2, 0, 1], [3e-3, 1e-3, 2e-3], n_samples=2, n_neurons=3)
    Spikes(n_samples=2, n_neurons=3, n_events=3, times 0.001 .. 0.003)
    """

    __slots__ = ("_samples", "n_neurons", "n_samples", "neurons", "offsets", "times")

    neurons: NDArray[np.int64]
    times: NDArray[np.float64]
    #: events of sample s are offsets[s] : offsets[s + 1]
    offsets: NDArray[np.int64]
    n_samples: int
    n_neurons: int
    _samples: NDArray[np.int64] | None

    def __init__(
        self, samples: ArrayLike, neurons: ArrayLike, times: ArrayLike, *, n_samples: int, n_neurons: int
    ) -> None:
        n_samples, n_neurons = count("Spikes.n_samples", n_samples), count("Spikes.n_neurons", n_neurons)
        sample_array = index_array("Spikes.samples", samples, n_samples, "n_samples")
        neuron_array = index_array("Spikes.neurons", neurons, n_neurons, "n_neurons")
        time_array = float_array("Spikes.times", times)
        if time_array.ndim != 1 or not sample_array.size == neuron_array.size == time_array.size:
            raise ValidationError(
                "Spikes: samples, neurons and times must be one-dimensional and of equal length, "
                f"got {sample_array.shape}, {neuron_array.shape}, {time_array.shape}"
            )
        bad = ~np.isfinite(time_array) | (time_array < 0)
        if bad.any():
            k = int(np.flatnonzero(bad)[0])
            raise ValidationError(
                f"Spikes.times: entry {k} (sample {sample_array[k]}, neuron {neuron_array[k]}) is {time_array[k]}; "
                "must be finite and >= 0 (leave silent neurons out, or use Spikes.from_first_times with inf)"
            )
        if not _is_canonical(sample_array, time_array, neuron_array):
            order = _canonical_order(sample_array, time_array, neuron_array)
            sample_array, neuron_array, time_array = sample_array[order], neuron_array[order], time_array[order]
        self._set(_offsets(sample_array, n_samples), neuron_array, time_array, n_neurons, sample_array)

    def _set(self, offsets: Any, neurons: Any, times: Any, n_neurons: int, samples: Any = None) -> None:
        for array in (offsets, neurons, times, *(() if samples is None else (samples,))):
            array.flags.writeable = False
        object.__setattr__(self, "_samples", samples)
        object.__setattr__(self, "neurons", neurons)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "n_samples", offsets.size - 1)
        object.__setattr__(self, "n_neurons", n_neurons)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Spikes is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Spikes is immutable: cannot delete {name!r}")

    @classmethod
    def _from_offsets(cls, offsets: Any, neurons: Any, times: Any, n_neurons: int) -> Spikes:
        """Wrap arrays that are known to be valid and in canonical order, events of sample s at offsets[s : s + 2]."""
        spikes = cls.__new__(cls)
        spikes._set(offsets, neurons, times, n_neurons)
        return spikes

    @classmethod
    def _from_canonical(cls, samples: Any, neurons: Any, times: Any, n_samples: int, n_neurons: int) -> Spikes:
        """Wrap arrays that are known to be valid and in canonical order (the engine's own output)."""
        spikes = cls.__new__(cls)
        spikes._set(_offsets(samples, n_samples), neurons, times, n_neurons, samples)
        return spikes

    def __reduce__(self) -> tuple[Any, ...]:
        return Spikes._from_offsets, (self.offsets, self.neurons, self.times, self.n_neurons)

    @property
    def samples(self) -> NDArray[np.int64]:
        """Sample index of each event, shape (n_events,)."""
        samples = self._samples
        if samples is None:  # worked out on demand: a batch of a training loop needs the offsets only
            samples = np.repeat(np.arange(self.n_samples), np.diff(self.offsets))
            samples.flags.writeable = False
            object.__setattr__(self, "_samples", samples)
        return samples

    # -- conversions ------------------------------------------------------------------------------------------

    @classmethod
    def from_first_times(cls, first_times: ArrayLike) -> Spikes:
        """Events from an array of at most one spike time per neuron.

        Parameters
        ----------
        first_times : array_like, shape (n_samples, n_neurons)
            Spike times >= 0; `inf` means silent. NaN and negative values raise `ValidationError`.
        """
        array = np.asarray(first_times)
        if array.ndim != 2:
            raise ValidationError(f"Spikes.from_first_times: expected (n_samples, n_neurons), got shape {array.shape}")
        array = float_array("Spikes.from_first_times", array)
        bad = ~(array >= 0)  # NaN too
        if bad.any():
            s, n = np.argwhere(bad)[0]
            raise ValidationError(
                f"Spikes.from_first_times: sample {s}, neuron {n} is {array[s, n]}; must be >= 0, or inf for silent"
            )
        n_samples, n_neurons = array.shape
        fires = np.isfinite(array)
        offsets = np.concatenate(([0], np.cumsum(np.count_nonzero(fires, axis=1))))
        neurons, times = np.empty(offsets[-1], dtype=np.int64), np.empty(offsets[-1])
        for start in range(0, n_samples, _BLOCK):  # blocks that fit into the cache sort several times faster
            stop = min(start + _BLOCK, n_samples)
            s, n = np.nonzero(fires[start:stop])
            t = array[start:stop][s, n]
            order = np.lexsort((t, s))  # stable, so that equal times stay in the order of the neurons
            neurons[offsets[start] : offsets[stop]] = n[order]
            times[offsets[start] : offsets[stop]] = t[order]
        return cls._from_offsets(offsets, neurons, times, n_neurons)

    def first_times(self) -> NDArray[np.float64]:
        """First spike time of each neuron, shape (n_samples, n_neurons); `inf` where it is silent."""
        first = np.full(self.n_samples * self.n_neurons, np.inf)
        # Not by assignment in reverse order: numpy does not say which of several writes to one place stays.
        np.minimum.at(first, self.samples * self.n_neurons + self.neurons, self.times)
        return first.reshape(self.n_samples, self.n_neurons)

    def counts(self) -> NDArray[np.int64]:
        """Number of spikes of each neuron, shape (n_samples, n_neurons)."""
        flat = np.bincount(self.samples * self.n_neurons + self.neurons, minlength=self.n_samples * self.n_neurons)
        return flat.reshape(self.n_samples, self.n_neurons)

    @classmethod
    def from_dense(cls, dense: ArrayLike, dt: float) -> Spikes:
        """Events from a grid of counts, shape (n_samples, n_neurons, n_steps); step k becomes time k dt."""
        array = np.asarray(dense)
        if array.ndim != 3:
            raise ValidationError(
                f"Spikes.from_dense: expected (n_samples, n_neurons, n_steps), got shape {array.shape}"
            )
        coords = np.nonzero(array)
        return cls._from_grid(coords, array[coords], array.shape, dt, "Spikes.from_dense")

    def to_dense(self, dt: float, n_steps: int) -> NDArray[np.int64]:
        """Counts on a grid, shape (n_samples, n_neurons, n_steps): an event at t falls into step round(t / dt)."""
        steps = self._steps("Spikes.to_dense", dt, n_steps)
        dense = np.zeros((self.n_samples, self.n_neurons, n_steps), dtype=np.int64)
        np.add.at(dense, (self.samples, self.neurons, steps), 1)
        return dense

    @classmethod
    def from_sparse(cls, coo: sparse.COO, dt: float) -> Spikes:
        """Events from a pydata `sparse.COO` of counts, shape (n_samples, n_neurons, n_steps); step k is time k dt."""
        if getattr(coo, "ndim", None) != 3 or not hasattr(coo, "coords"):
            raise ValidationError(
                "Spikes.from_sparse: expected a sparse.COO of shape (n_samples, n_neurons, n_steps), "
                f"got {type(coo).__name__} of shape {getattr(coo, 'shape', None)}"
            )
        if coo.fill_value != 0:
            raise ValidationError(f"Spikes.from_sparse: fill_value must be 0, got {coo.fill_value}")
        return cls._from_grid(tuple(coo.coords), coo.data, coo.shape, dt, "Spikes.from_sparse")

    def to_sparse(self, dt: float, n_steps: int) -> sparse.COO:
        """The grid of `to_dense` as a pydata `sparse.COO`; coinciding events add up."""
        try:
            import sparse
        except ImportError as error:
            raise MissingDependencyError("Spikes.to_sparse needs pydata sparse: pip install sparse") from error
        coords = np.stack((self.samples, self.neurons, self._steps("Spikes.to_sparse", dt, n_steps)))
        shape = (self.n_samples, self.n_neurons, n_steps)
        return sparse.COO(coords, np.ones(self.n_events, dtype=np.int64), shape=shape)

    @classmethod
    def _from_grid(cls, coords: Any, counts: Any, shape: Any, dt: float, where: str) -> Spikes:
        dt = number(f"{where}: dt", dt, above=0)
        counts = float_array(where, counts) if np.asarray(counts).dtype.kind != "b" else np.asarray(counts, float)
        if not np.all(np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))):
            raise ValidationError(f"{where}: entries must be spike counts (integers >= 0)")
        repeats = counts.astype(np.int64)
        samples, neurons, steps = (np.repeat(np.asarray(c, dtype=np.int64), repeats) for c in coords)
        return cls(samples, neurons, steps * dt, n_samples=int(shape[0]), n_neurons=int(shape[1]))

    def _steps(self, where: str, dt: float, n_steps: int) -> NDArray[np.int64]:
        dt, n_steps = number(f"{where}: dt", dt, above=0), count(f"{where}: n_steps", n_steps)
        with np.errstate(over="ignore"):  # a tiny dt gives inf, which is refused below
            steps = np.rint(self.times / dt)
        if steps.size and steps.max() >= n_steps:
            k = int(np.argmax(steps))
            raise ValidationError(
                f"{where}: the event at time {self.times[k]} falls into step {steps[k]:.0f}, beyond n_steps={n_steps}; "
                "raise n_steps or dt"
            )
        return steps.astype(np.int64)

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with the columns sample, neuron, time, one row per event."""
        try:
            import pandas
        except ImportError as error:
            raise MissingDependencyError("Spikes.to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame({"sample": self.samples, "neuron": self.neurons, "time": self.times})

    # -- container behaviour ----------------------------------------------------------------------------------

    @property
    def n_events(self) -> int:
        """Number of events over all samples."""
        return int(self.times.size)

    def __len__(self) -> int:
        """Number of samples, as for an array of shape (n_samples, n_neurons)."""
        return self.n_samples

    def __iter__(self) -> Iterator[Spikes]:
        return (self[s] for s in range(self.n_samples))

    def __getitem__(self, key: int | slice | ArrayLike) -> Spikes:
        """Select samples by integer (kept as one sample), slice, boolean mask or index array."""
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if not -self.n_samples <= key < self.n_samples:
                raise IndexError(f"Spikes: sample {key} is out of range for n_samples={self.n_samples}")
            first = int(key) % self.n_samples
            return self._range(first, first + 1)
        if isinstance(key, slice):
            start, stop, step = key.indices(self.n_samples)
            if step == 1:
                return self._range(start, max(start, stop))
        return self._gather(self._chosen(key))

    def _chosen(self, key: Any) -> NDArray[np.int64]:
        """Sample numbers that `key` selects, by numpy's rules."""
        if isinstance(key, np.ndarray) and key.ndim == 1 and key.dtype.kind == "i":
            # The fast way for batches: without writing down all samples first.
            chosen: NDArray[np.int64] = np.where(key < 0, key + self.n_samples, key)
            if chosen.size and (chosen.min() < 0 or chosen.max() >= self.n_samples):
                bad = key[(chosen < 0) | (chosen >= self.n_samples)][0]
                raise IndexError(f"Spikes: sample {bad} is out of range for n_samples={self.n_samples}")
            return chosen
        try:
            chosen = np.arange(self.n_samples)[key]
        except IndexError as error:
            raise IndexError(f"Spikes: {error} (n_samples={self.n_samples}; only samples can be indexed)") from None
        if chosen.ndim != 1 or isinstance(key, tuple):
            raise IndexError("Spikes: only samples can be indexed, by an integer, a slice, or a one-dimensional array")
        return chosen

    def _range(self, start: int, stop: int) -> Spikes:
        """Samples start .. stop - 1; their events lie side by side, so these are views."""
        first, last = self.offsets[start], self.offsets[stop]
        offsets = self.offsets[start : stop + 1] - first
        return Spikes._from_offsets(offsets, self.neurons[first:last], self.times[first:last], self.n_neurons)

    def _gather(self, chosen: NDArray[np.int64]) -> Spikes:
        """The chosen samples in the given order; touches their events only."""
        starts = self.offsets[chosen]
        counts = self.offsets[chosen + 1] - starts
        offsets = np.zeros(chosen.size + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        events = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return Spikes._from_offsets(offsets, self.neurons[events], self.times[events], self.n_neurons)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spikes):
            return NotImplemented
        return (
            (self.n_samples, self.n_neurons) == (other.n_samples, other.n_neurons)
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.neurons, other.neurons)
            and np.array_equal(self.times, other.times)
        )

    __hash__ = None  # type: ignore[assignment]

    def _summary(self) -> str:
        span = f"times {self.times.min():.6g} .. {self.times.max():.6g}" if self.n_events else "no events"
        return f"n_samples={self.n_samples}, n_neurons={self.n_neurons}, n_events={self.n_events}, {span}"

    def __repr__(self) -> str:
        return f"Spikes({self._summary()})"

    def _repr_html_(self) -> str:
        per_sample = np.diff(self.offsets)
        rows = {
            "samples": self.n_samples,
            "neurons": self.n_neurons,
            "events": self.n_events,
            "events per sample": f"{per_sample.min()} .. {per_sample.max()}, mean {per_sample.mean():.1f}"
            if self.n_samples
            else "-",
            "times": f"{self.times.min():.6g} .. {self.times.max():.6g}" if self.n_events else "-",
        }
        cells = "".join(f"<tr><th style='text-align:left'>{k}</th><td>{v}</td></tr>" for k, v in rows.items())
        return f"<table><caption>Spikes</caption>{cells}</table>"


def _offsets(samples: NDArray[Any], n_samples: int) -> NDArray[np.int64]:
    """First event of each sample, and their number at the end."""
    offsets = np.zeros(n_samples + 1, dtype=np.int64)
    np.cumsum(np.bincount(samples, minlength=n_samples), out=offsets[1:])
    return offsets


def _is_canonical(samples: NDArray[Any], times: NDArray[Any], neurons: NDArray[Any]) -> bool:
    """Whether the events are already in the order (sample, time, neuron)."""
    ds, dt = np.diff(samples), np.diff(times)
    if (ds < 0).any() or ((ds == 0) & (dt < 0)).any():
        return False
    tied = np.flatnonzero((ds == 0) & (dt == 0))
    return bool((neurons[tied] <= neurons[tied + 1]).all())


def _canonical_order(samples: NDArray[Any], times: NDArray[Any], neurons: NDArray[Any]) -> NDArray[np.intp]:
    """The permutation into the order (sample, time, neuron), keeping equal events as they come."""
    order = _index_argsort(neurons)
    order = order[np.argsort(times[order], kind="stable")]
    return order[_index_argsort(samples[order])]


def _index_argsort(values: NDArray[np.int64]) -> NDArray[np.intp]:
    # numpy sorts 16-bit integers by radix, an order of magnitude faster; most populations and data sets fit
    narrow = values.astype(np.uint16) if values.size and values.max() < 2**16 else values
    return np.argsort(narrow, kind="stable")


def concatenate(parts: Iterable[Spikes]) -> Spikes:
    """Stack several `Spikes` along the samples; all must have the same `n_neurons`.

    Raises
    ------
    ValidationError
        Nothing to concatenate, or different `n_neurons`.
    """
    parts = list(parts)
    if not parts:
        raise ValidationError("concatenate: needs at least one Spikes")
    for k, part in enumerate(parts):
        if not isinstance(part, Spikes):
            raise ValidationError(f"concatenate: part {k} must be Spikes, got {type(part).__name__}")
    sizes = sorted({p.n_neurons for p in parts})
    if len(sizes) > 1:
        raise ValidationError(f"concatenate: all parts must have the same n_neurons, got {sizes}")
    starts = np.cumsum([0] + [p.n_events for p in parts])
    return Spikes._from_offsets(
        np.concatenate([p.offsets[:-1] + start for p, start in zip(parts, starts[:-1], strict=True)] + [starts[-1:]]),
        np.concatenate([p.neurons for p in parts]),
        np.concatenate([p.times for p in parts]),
        sizes[0],
    )
