"""What every data set loader returns, and what the generated ones share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._validation import count, number
from eventsnn.currents import Currents
from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes

#: synaptic time constant of the built-in data in seconds; their spike times are given in units of it
DEFAULT_TAU_SYN = 5e-3

Seed = TypeVar("Seed")


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes
    ----------
    spikes : Spikes or Currents of n_samples samples, what the network gets
    labels : int64, shape (n_samples,)
    values : float64 or float32, shape (n_samples, n_features), the values before encoding (for plots); None where
        there are none
    """

    spikes: Spikes | Currents
    labels: NDArray[np.int64]
    values: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        if self.labels.shape != (self.spikes.n_samples,):
            raise ValidationError(f"Split: {self.spikes.n_samples} samples but labels of shape {self.labels.shape}")
        if self.values is not None and (self.values.ndim != 2 or len(self.values) != self.spikes.n_samples):
            raise ValidationError(f"Split: {self.spikes.n_samples} samples but values of shape {self.values.shape}")

    def __len__(self) -> int:
        return self.spikes.n_samples

    def __getitem__(self, key: int | slice | ArrayLike) -> Split:
        """Select samples as `Spikes` does: an integer keeps a split of one sample."""
        if isinstance(key, (int, np.integer)):
            key = [int(key)]
        key = key if isinstance(key, slice) else np.asarray(key, dtype=None if np.size(key) else np.int64)
        return Split(self.spikes[key], self.labels[key], None if self.values is None else self.values[key])


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test part of a classification task, as spikes or input currents.

    Attributes
    ----------
    name : str, for titles and logs
    train, valid, test : Split
    class_names : tuple of str, one per class
    origin : str, where the data came from (a path, "generated", "downloaded from ...")
    """

    name: str
    train: Split
    valid: Split
    test: Split
    class_names: tuple[str, ...]
    origin: str = "generated"

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def n_inputs(self) -> int:
        """Number of input channels."""
        return self.train.spikes.n_neurons


@dataclass(frozen=True)
class Images:
    """Labelled images as they are, for networks that take planes of pixels.

    Attributes
    ----------
    images : uint8, shape (n_samples, height, width, channels)
    labels : int64, shape (n_samples,)
    class_names : tuple of str, one per class
    origin : str, where the data came from (a path, "downloaded from ...")
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    origin: str

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValidationError(
                "Images: images must be uint8 of shape (n_samples, height, width, channels), "
                f"got {self.images.dtype}, {self.images.shape}"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise ValidationError(f"Images: {len(self.images)} images but labels of shape {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: slice | ArrayLike) -> Images:
        """Some of the samples: a slice, a mask or indices."""
        key = key if isinstance(key, slice) else np.atleast_1d(np.asarray(key, dtype=None if np.size(key) else int))
        return Images(self.images[key], self.labels[key], self.class_names, self.origin)

    def values(self) -> NDArray[np.float32]:
        """The pixels as float32 in [0, 1], shape (n_samples, height, width, channels)."""
        return self.images.astype(np.float32) / np.float32(255)


def generate(
    name: str,
    class_names: tuple[str, ...],
    draw: Callable[[int, Seed], Split],
    sizes: tuple[int, int, int],
    seeds: Sequence[Seed],
) -> Dataset:
    """The data set whose train, valid and test part are `draw(n_samples, seed)`."""
    train, valid, test = (
        draw(count(f"load_{name}.n_{part}", n_samples), seed)
        for part, n_samples, seed in zip(("train", "valid", "test"), sizes, seeds, strict=True)
    )
    return Dataset(name, train, valid, test, class_names)


def spikes_from_times(
    where: str,
    times: NDArray[np.float64],
    tau_syn: float,
    *,
    bias_time: float | None = None,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Spikes:
    """First spike times in units of tau_syn, jittered, with the bias spike as one more channel, as `Spikes`.

    Gaussian jitter of standard deviation `jitter` tau_syn moves every spike but the bias; times that would become
    negative are set to 0.
    """
    tau_syn = number(f"{where}.tau_syn", tau_syn, above=0)
    if number(f"{where}.jitter", jitter, at_least=0) > 0:
        assert rng is not None
        times = np.maximum(times + jitter * rng.standard_normal(times.shape), 0.0)
    if bias_time is not None:
        bias = np.full((len(times), 1), number(f"{where}.bias_time", bias_time, at_least=0))
        times = np.concatenate((times, bias), axis=1)
    return Spikes.from_first_times(times * tau_syn)
